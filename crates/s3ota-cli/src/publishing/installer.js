
  // Made by `s3ota publish --web-installer`. Its hash is in the page's policy.
  const note = document.querySelector("#note");
  const say = text => { note.textContent = text; };
  const load = url => import(url).then(() => true, () => false);
  const install = async () => {
    // The hash of this file is not the one in the import map: a browser that loads it ignores hashes, and gets no program.
    const probe = "./{{probe}}";
    if (!(await fetch(probe)).ok) return say("The page is incomplete: publish it again.");
    if (await load(probe)) return say("This browser does not check what it loads: use a new version of Chrome or Edge.");
    for (const url of {{first}}) {
      if (!await load(url)) return say("The installer program cannot be downloaded, or is not the right one: it was not run.");
    }
  };
  install().catch(() => say("The installer program cannot be loaded."));
  const manifest = await (await fetch("manifest-webtools.json")).json();
  const part = manifest.builds[0].parts[0];
  document.querySelector("#version").textContent = manifest.version;
  document.querySelector("#offset").textContent = "0x" + part.offset.toString(16);
  const image = document.querySelector("#image");
  image.textContent = image.href = part.path;
