//! Where things are.

use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::Result;

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(PathBuf::new, Path::to_owned)
}

/// The workspace of what runs on the chip.
pub fn firmware() -> PathBuf {
    root().join("firmware")
}

/// Cargo's target directory of this workspace: this program is in it, two levels down.
pub fn target() -> Result<PathBuf> {
    let this = env::current_exe().map_err(|error| format!("the path of this program: {error}"))?;
    this.ancestors()
        .nth(2)
        .map(Path::to_owned)
        .ok_or_else(|| format!("{} is not in a target directory", this.display()))
}

/// Creates a directory and its parents.
pub fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|error| about(path, &error))
}

/// Writes a file, unless it already has these contents: cargo rebuilds what has a newer date.
pub fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    path.parent().map_or(Ok(()), make_dir)?;
    fs::write(path, bytes).map_err(|error| about(path, &error))
}

/// Lets a file be run as a program.
pub fn make_executable(path: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let permissions = fs::Permissions::from_mode(0o755);
        fs::set_permissions(path, permissions).map_err(|error| about(path, &error))?;
    }
    Ok(())
}

/// The files in a directory and below it.
pub fn files_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = fs::read_dir(dir).map_err(|error| about(dir, &error))?;
    for entry in entries {
        let path = entry.map_err(|error| about(dir, &error))?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

/// Copies files and directories of the repository to the same paths in another directory.
pub fn copy_parts(parts: &[&str], to: &Path) -> Result<()> {
    let root = root();
    for part in parts.iter().map(|part| root.join(part)) {
        let files = if part.is_dir() {
            files_below(&part)?
        } else {
            vec![part]
        };
        for file in files {
            let bytes = fs::read(&file).map_err(|error| about(&file, &error))?;
            let within = file.strip_prefix(&root).unwrap_or(&file);
            write_if_changed(&to.join(within), &bytes)?;
        }
    }
    Ok(())
}

/// Copies a directory, each file as `edit` makes it from its relative path and its bytes.
pub fn copy(
    from: &Path,
    to: &Path,
    edit: impl Fn(&Path, Vec<u8>) -> Result<Vec<u8>>,
) -> Result<()> {
    for file in files_below(from)? {
        let place = file.strip_prefix(from).unwrap_or(&file);
        let bytes = fs::read(&file).map_err(|error| about(&file, &error))?;
        write_if_changed(&to.join(place), &edit(place, bytes)?)?;
    }
    Ok(())
}

/// An error of the operating system about a file.
pub fn about(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_holds_the_bytes_already_keeps_its_date() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/file");
        write_if_changed(&path, b"one").unwrap();
        let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        fs::File::open(&path)
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
        write_if_changed(&path, b"one").unwrap();
        let date = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        assert_eq!(date(&path), long_ago);
        write_if_changed(&path, b"two").unwrap();
        assert_ne!(date(&path), long_ago);
        assert_eq!(files_below(dir.path()).unwrap(), [path]);
    }
}
