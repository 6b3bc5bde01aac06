//! The example `simple` in a workspace of its own, as if a user had copied it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Result, paths};

/// The example's package, and the project name in its images.
pub const PACKAGE: &str = "simple";

/// The files of that workspace, by their paths. It uses the crates of the repository at `root`.
pub fn files(root: &Path) -> Result<Vec<(PathBuf, String)>> {
    let firmware = root.join("firmware");
    let mut files = paths::files_below(&firmware.join("examples").join(PACKAGE))?;
    files.extend(
        [
            "Cargo.toml",
            "Cargo.lock",
            ".cargo/config.toml",
            "examples/build.rs",
        ]
        .map(|file| firmware.join(file)),
    );
    let read = |file: PathBuf| {
        let text = fs::read_to_string(&file).map_err(|error| paths::about(&file, &error))?;
        let place = file.strip_prefix(&firmware).unwrap_or(&file).to_owned();
        let text = if place == Path::new("Cargo.toml") {
            only_the_example(&text, &firmware)
                .map_err(|problem| format!("{}: {problem}", file.display()))?
        } else {
            text
        };
        Ok((place, text))
    };
    files.into_iter().map(read).collect()
}

/// The other members with an entry in the profile. Cargo would warn about entries for missing packages.
const OTHERS: [&str; 3] = ["advanced", "sleeper", "size-baseline"];

/// The firmware's workspace with the example as its only member. The crates beside it stay where they are, as members of the
/// repository's workspaces, even if those are below this one.
fn only_the_example(manifest: &str, firmware: &Path) -> Result<String> {
    let root = firmware.parent().ok_or("a firmware above everything")?;
    let members = format!(
        "members = [\"examples/{PACKAGE}\"]\nexclude = [\"{}\", \"{}\"]",
        root.join("crates").display(),
        firmware.display()
    );
    let manifest = replace_line(manifest, "members = ", &members)?;
    let manifest = OTHERS.iter().try_fold(manifest, |manifest, other| {
        let entry = the_line(&manifest, &format!("{other} = {{ opt-level"))?.to_owned();
        Ok::<_, String>(manifest.replacen(&format!("{entry}\n"), "", 1))
    })?;
    const PATH: &str = "path = \"";
    let mut text = String::new();
    let mut rest = manifest.as_str();
    while let Some((before, after)) = rest.split_once(PATH) {
        let (path, after) = after.split_once('"').ok_or("a path without an end")?;
        // With `..` in the path, cargo would look for the crate's workspace in the wrong place.
        let absolute = match path.strip_prefix("../") {
            Some(path) => root.join(path),
            None => firmware.join(path),
        };
        text.push_str(&format!("{before}{PATH}{}\"", absolute.display()));
        rest = after;
    }
    Ok(text + rest)
}

/// `text` with another line in place of the one with this beginning.
pub fn replace_line(text: &str, begins: &str, with: &str) -> Result<String> {
    let line = the_line(text, begins)?;
    Ok(text.replacen(line, with, 1))
}

/// The only line with this beginning, apart from leading spaces.
pub fn the_line<'a>(text: &'a str, begins: &str) -> Result<&'a str> {
    let mut lines = text
        .lines()
        .filter(|line| line.trim_start().starts_with(begins));
    match (lines.next(), lines.next()) {
        (Some(line), None) => Ok(line),
        (None, _) => Err(format!("no line begins with `{begins}`")),
        (Some(_), Some(_)) => Err(format!("more than one line begins with `{begins}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_builds_the_example_alone_on_the_repositorys_crates() {
        let root = paths::root();
        let files = files(&root).unwrap();
        let text = |place: &str| {
            let mut texts = files.iter().filter(|(path, _)| path == Path::new(place));
            texts.next().map(|(_, text)| text.as_str()).unwrap()
        };
        let original = fs::read_to_string(root.join("firmware/examples/simple/src/main.rs"));
        assert_eq!(text("examples/simple/src/main.rs"), original.unwrap());

        let manifest = text("Cargo.toml");
        let has = |line: String| assert!(manifest.contains(&line), "no {line} in {manifest}");
        has("members = [\"examples/simple\"]".to_owned());
        let (crates, firmware) = (root.join("crates"), root.join("firmware"));
        has(format!(
            "exclude = [\"{}\", \"{}\"]",
            crates.display(),
            firmware.display()
        ));
        has(format!("\"{}\"", firmware.join("s3ota-esp").display()));
        has(format!("\"{}\"", crates.join("s3ota").display()));
        has("lto = \"fat\"".to_owned());
        has("simple = { opt-level = \"z\" }".to_owned());
        assert!(!manifest.contains("sleeper"), "{manifest}");
    }
}
