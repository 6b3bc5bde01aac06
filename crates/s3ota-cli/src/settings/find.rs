//! Which `s3ota.toml` counts: the nearest, from the working directory upwards to the root of the repository (a folder with `.git`) or
//! of the file system.
//!
//! Whoever can write to a folder above yours could so choose your location. So a file above the working directory counts only if
//! it belongs to the owner of the working directory, or to root. Another is named in a warning, and the search goes on.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use crate::error::CliError;

/// The file.
pub const FILE: &str = "s3ota.toml";

/// What the search came to.
#[derive(Debug, Default)]
pub struct Found {
    /// The nearest file: its bare name if it is in the working directory.
    pub file: Option<PathBuf>,
    /// A nearer one that does not count, and why.
    pub ignored: Option<CliError>,
}

/// Looks for the nearest file.
pub fn nearest() -> Result<Found, CliError> {
    if is_there(Path::new(FILE)) {
        return Ok(Found {
            file: Some(PathBuf::from(FILE)),
            ignored: None,
        });
    }
    // A working directory that is gone has nothing above it.
    let here = std::env::current_dir().unwrap_or_default();
    above(&here, is_strangers)
}

/// Looks for the nearest file above a folder.
fn above(folder: &Path, is_strangers: fn(&Metadata, &Metadata) -> bool) -> Result<Found, CliError> {
    let mut found = Found::default();
    let read =
        |path: &Path| fs::symlink_metadata(path).map_err(|error| CliError::file(path, &error));
    let mut below = folder;
    for above in folder.ancestors().skip(1) {
        if is_there(&below.join(".git")) {
            break;
        }
        below = above;
        let file = above.join(FILE);
        if !is_there(&file) {
            continue;
        }
        // Of a link, its own owner counts: whoever made it chose the target.
        if is_strangers(&read(&file)?, &read(folder)?) {
            let message = format!(
                "{} is not used: it belongs to another user than this folder",
                file.display()
            );
            let ignored = CliError::new("cli.untrusted", message)
                .hint("copy it into this folder, if you want its settings");
            found.ignored.get_or_insert(ignored);
            continue;
        }
        found.file = Some(file);
        break;
    }
    Ok(found)
}

/// Whether there is something, readable or not.
fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Whether a file belongs neither to the owner of the working directory nor to root.
#[cfg(unix)]
fn is_strangers(file: &Metadata, folder: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.uid() != folder.uid() && file.uid() != 0
}

/// Elsewhere the folders above one's own are not open to others.
#[cfg(not(unix))]
fn is_strangers(_: &Metadata, _: &Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_file_counts_and_none_above_the_repository() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let deep = root.join("repository/firmware/src");
        fs::create_dir_all(&deep).unwrap();
        let search = || above(&deep, |_, _| false).unwrap().file;
        fs::write(root.join(FILE), "").unwrap();
        assert_eq!(search(), Some(root.join(FILE)));
        fs::write(root.join("repository").join(FILE), "").unwrap();
        assert_eq!(search(), Some(root.join("repository").join(FILE)));
        fs::create_dir(root.join("repository/.git")).unwrap();
        assert_eq!(search(), Some(root.join("repository").join(FILE)));
        // In a worktree or submodule, `.git` is a file.
        fs::write(root.join("repository/firmware/.git"), "").unwrap();
        assert_eq!(search(), None);
        fs::write(root.join("repository/firmware").join(FILE), "").unwrap();
        assert_eq!(search(), Some(root.join("repository/firmware").join(FILE)));
        fs::write(deep.join(".git"), "").unwrap();
        assert_eq!(search(), None);
    }

    #[test]
    fn a_strangers_file_above_is_named_and_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("mine");
        fs::create_dir(&deep).unwrap();
        fs::write(dir.path().join(FILE), "").unwrap();
        let found = above(&deep, |_, _| true).unwrap();
        assert_eq!(found.file, None);
        let ignored = found.ignored.unwrap();
        assert_eq!(ignored.code, "cli.untrusted");
        let path = dir.path().join(FILE).display().to_string();
        assert!(ignored.message.contains(&path), "{ignored}");
    }
}
