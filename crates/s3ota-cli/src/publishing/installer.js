
  // Made by `s3ota publish --web-installer`. Its hash stands in the page's policy.
  const note = document.querySelector("#note");
  const say = text => { note.textContent = text; };
  const load = url => import(url).then(() => true, () => false);
  const install = async () => {
    // This file has another hash than the import map says: who loads it heeds no hashes, and must not be given a program.
    const probe = "./{{probe}}";
    if (!(await fetch(probe)).ok) return say("The page is not complete: publish it again.");
    if (await load(probe)) return say("This browser does not check what it loads: take a new version of Chrome or Edge.");
    for (const url of {{first}}) {
      if (!await load(url)) return say("The program that installs cannot be reached, or is not the one that belongs here: it was not run.");
    }
  };
  install().catch(() => say("The program that installs cannot be loaded."));
  const manifest = await (await fetch("manifest-webtools.json")).json();
  const part = manifest.builds[0].parts[0];
  document.querySelector("#version").textContent = manifest.version;
  document.querySelector("#offset").textContent = "0x" + part.offset.toString(16);
  const image = document.querySelector("#image");
  image.textContent = image.href = part.path;
