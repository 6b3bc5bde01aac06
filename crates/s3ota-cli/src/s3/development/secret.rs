//! The secret key of a development server: random, and kept in its folder for the next start.
//!
//! Anyone who knows it can write to the server's buckets, from every machine that reaches it.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

use rand_core::{OsRng, RngCore};

use crate::error::CliError;
use crate::output::{self, Output};

/// The file in the server's folder.
const FILE: &str = "secret-key";

/// The shortest secret that cannot be guessed.
const LEAST: usize = 16;

/// A random secret.
pub fn random() -> String {
    let mut bytes = [0; 20];
    OsRng.fill_bytes(&mut bytes);
    output::hex(&bytes)
}

/// The secret of the server on a folder. It is created if needed; to choose another one, write it into the file.
pub fn of_folder(dir: &Path) -> Result<String, CliError> {
    fs::create_dir_all(dir).map_err(|error| CliError::file(dir, &error))?;
    let path = dir.join(FILE);
    let failed = |error| CliError::file(&path, &error);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(&path) {
        Ok(mut file) => {
            let secret = random();
            file.write_all(format!("{secret}\n").as_bytes())
                .map_err(failed)?;
            return Ok(secret);
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    let text = fs::read_to_string(&path).map_err(failed)?;
    let secret = text.trim_end();
    if secret.len() < LEAST || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = format!(
            "{} contains no secret key: at least {LEAST} letters, digits and signs on one line",
            path.display()
        );
        return Err(CliError::new("serve.secret", message)
            .hint("delete it, and the next start creates another"));
    }
    Ok(secret.to_owned())
}

/// Warns if other users of this machine can read the secret. Only a warning: some file systems have no owners.
pub fn warn_if_open(dir: &Path, out: &Output) {
    let path = dir.join(FILE);
    if is_open(&path) {
        let message = format!("other users of this machine can read {}", path.display());
        out.warning(&CliError::new("serve.secret", message).hint(format!(
            "run `chmod 600 {0}`; or delete it, and the next start creates another",
            path.display()
        )));
    }
}

#[cfg(unix)]
fn is_open(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_open(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_belongs_to_its_folder_and_only_its_owner_can_read_it() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let secret = of_folder(one.path()).unwrap();
        assert_eq!(of_folder(one.path()).unwrap(), secret);
        assert_ne!(of_folder(other.path()).unwrap(), secret);
        assert!(secret.len() >= 40);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let path = one.path().join(FILE);
            assert!(!is_open(&path));
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            assert!(is_open(&path));
        }
        for short in ["", "short\n", "sixteen or more but spaces"] {
            fs::write(one.path().join(FILE), short).unwrap();
            assert_eq!(of_folder(one.path()).unwrap_err().code, "serve.secret");
        }
        fs::write(one.path().join(FILE), "a-secret-of-my-own\n").unwrap();
        assert_eq!(of_folder(one.path()).unwrap(), "a-secret-of-my-own");
    }
}
