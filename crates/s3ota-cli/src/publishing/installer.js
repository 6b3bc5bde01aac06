
  // Made by `s3ota publish --web-installer`. Its hash is in the page's policy.
  const find = id => document.querySelector("#" + id);
  // The page is in one state at a time.
  const show = state => {
    for (const id of ["loading", "ready", "problem"]) find(id).hidden = id !== state;
  };
  const fail = text => { find("problem").textContent = text; show("problem"); };
  const load = url => import(url).then(() => true, () => false);
  const install = async () => {
    // The hash of this file is not the one in the import map: a browser that loads it ignores hashes, and gets no program.
    const probe = "./{{probe}}";
    if (!(await fetch(probe)).ok) return fail("The page is incomplete: publish it again.");
    if (await load(probe)) return fail("This browser does not check what it loads: use a new version of Chrome or Edge.");
    for (const url of {{first}}) {
      if (!await load(url)) return fail("The installer program cannot be downloaded, or is not the right one: it was not run. Check your connection, or install by hand.");
    }
    show("ready");
  };
  const describe = async () => {
    const manifest = await (await fetch("manifest-webtools.json")).json();
    find("version").textContent = manifest.version;
    for (const part of manifest.builds[0].parts) {
      const file = document.createElement("a");
      file.textContent = file.href = part.path;
      find("parts").append(` 0x${part.offset.toString(16)} `, file);
    }
    find("by-hand").hidden = false;
  };
  try {
    await describe();
    await install();
  } catch {
    fail("The page is incomplete, or the connection is: reload it, or publish it again.");
  }
