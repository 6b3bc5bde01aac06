//! Where this user's `s3ota` keeps what it must remember.

use std::ffi::OsString;
use std::path::PathBuf;

/// `S3OTA_STATE` if it is set; else the place where the system keeps the state of programs. `None` where there is no home.
pub fn state_dir() -> Option<PathBuf> {
    find(|name| std::env::var_os(name))
}

fn find(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name: &str| {
        variable(name)
            .filter(|it| !it.is_empty())
            .map(PathBuf::from)
    };
    if let Some(own) = folder("S3OTA_STATE") {
        return Some(own);
    }
    if cfg!(windows) {
        return Some(folder("LOCALAPPDATA")?.join("s3ota"));
    }
    if cfg!(target_os = "macos") {
        return Some(folder("HOME")?.join("Library/Application Support/s3ota"));
    }
    // The XDG Base Directory Specification: a path that is not absolute counts for nothing.
    let state = folder("XDG_STATE_HOME").filter(|path| path.is_absolute());
    let state = state.or_else(|| Some(folder("HOME")?.join(".local/state")))?;
    Some(state.join("s3ota"))
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
