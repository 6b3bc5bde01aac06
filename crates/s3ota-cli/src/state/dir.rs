//! The folder in which this user's `s3ota` keeps its state.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The variable that names another folder.
pub const VARIABLE: &str = "S3OTA_STATE";

/// `S3OTA_STATE` if it is set, or else the system's place for the state of programs. `None` where there is no home directory.
pub fn state_dir() -> Option<PathBuf> {
    find(|name| std::env::var_os(name))
}

fn find(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name: &str| {
        variable(name)
            .filter(|it| !it.is_empty())
            .map(PathBuf::from)
    };
    if let Some(own) = folder(VARIABLE) {
        return Some(own);
    }
    if cfg!(windows) {
        return Some(folder("LOCALAPPDATA")?.join("s3ota"));
    }
    if cfg!(target_os = "macos") {
        return Some(folder("HOME")?.join("Library/Application Support/s3ota"));
    }
    // The XDG Base Directory Specification: a relative path is to be ignored.
    let state = folder("XDG_STATE_HOME").filter(|path| path.is_absolute());
    let state = state.or_else(|| Some(folder("HOME")?.join(".local/state")))?;
    Some(state.join("s3ota"))
}

/// Creates a folder that only its owner can enter.
pub fn make(folder: &Path) -> std::io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Writes a file that only its owner can read, as a whole or not at all.
pub fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let new = path.with_extension(format!("{}.new", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&new).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written?;
    // Whether the new name outlives a power cut is up to the folder.
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(all(test, unix, not(target_os = "macos")))]
mod tests {
    use std::path::Path;

    use super::*;

    fn with(variables: &[(&str, &str)]) -> Option<PathBuf> {
        find(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| value.into())
        })
    }

    #[test]
    fn the_users_own_word_counts_then_the_systems() {
        let home = ("HOME", "/home/ada");
        let xdg = ("XDG_STATE_HOME", "/state");
        for (variables, dir) in [
            (&[("S3OTA_STATE", "here"), xdg, home][..], Some("here")),
            (&[("S3OTA_STATE", ""), xdg, home], Some("/state/s3ota")),
            (
                &[("XDG_STATE_HOME", "state"), home],
                Some("/home/ada/.local/state/s3ota"),
            ),
            (&[home], Some("/home/ada/.local/state/s3ota")),
            (&[], None),
        ] {
            assert_eq!(with(variables).as_deref(), dir.map(Path::new));
        }
    }
}
