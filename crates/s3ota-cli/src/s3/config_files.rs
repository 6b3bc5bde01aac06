//! The files of the AWS configuration. The SDK reads them by itself, and fails at a byte order mark.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::CliError;

/// Refuses configuration files that begin with a byte order mark, by name: the SDK's message does not say what is wrong. The SDK
/// reads both files at once and ignores both if it cannot read one, also when the credentials are in the environment: then they would
/// go to another region or endpoint than the files name.
pub(super) fn check() -> Result<(), CliError> {
    for (variable, name) in [
        ("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
        ("AWS_CONFIG_FILE", "config"),
    ] {
        let path = match std::env::var_os(variable).filter(|path| !path.is_empty()) {
            Some(path) => Some(PathBuf::from(path)),
            None => home().map(|home| home.join(".aws").join(name)),
        };
        if let Some(path) = path {
            check_file(&path)?;
        }
    }
    Ok(())
}

fn check_file(path: &Path) -> Result<(), CliError> {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(3).read_to_end(&mut start));
    let encoding = match start.as_slice() {
        _ if read.is_err() => return Ok(()),
        [0xEF, 0xBB, 0xBF] => "a byte order mark",
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => "the byte order mark of UTF-16",
        _ => return Ok(()),
    };
    let message = format!(
        "{} begins with {encoding}, and the AWS SDK cannot read it",
        path.display()
    );
    Err(CliError::new("s3.credentials", message)
        .hint("save it as UTF-8 without a byte order mark: in Notepad as UTF-8, not UTF-8 with BOM; in PowerShell 7 with -Encoding utf8NoBOM"))
}

fn home() -> Option<PathBuf> {
    let variables = ["HOME", "USERPROFILE"];
    let home = variables.iter().find_map(std::env::var_os);
    home.map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_a_mark_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (bytes, named) in [
            (&b"[default]\r\n"[..], None),
            (b"", None),
            (b"\xEF\xBB\xBF[default]\r\n", Some("a byte order mark")),
            (b"\xFF\xFE[\0", Some("UTF-16")),
        ] {
            std::fs::write(file.path(), bytes).unwrap();
            let checked = check_file(file.path());
            assert_eq!(checked.is_err(), named.is_some(), "{bytes:?}");
            if let (Err(error), Some(named)) = (checked, named) {
                assert!(error.message.contains(named), "{error}");
                assert!(error.message.contains(&*file.path().to_string_lossy()));
            }
        }
        assert_eq!(check_file(Path::new("/nowhere/credentials")), Ok(()));
    }
}
