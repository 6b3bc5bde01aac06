//! The secret key of a development server: random, and kept in its folder for the next start.
//!
//! Whoever knows it may write to the server's buckets, from every machine that reaches it.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

use rand_core::{OsRng, RngCore};

use crate::error::CliError;
use crate::output;

/// The file in the server's folder.
const FILE: &str = "secret-key";

/// The least that is not guessed.
const LEAST: usize = 16;

/// A secret that nobody else knows.
pub fn random() -> String {
    let mut bytes = [0; 20];
    OsRng.fill_bytes(&mut bytes);
    output::hex(&bytes)
}

/// The secret of the server on a folder. It is made if there is none yet; who wants another writes it into the file.
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
            "{} holds no secret key: {LEAST} or more letters, digits and signs in one line",
            path.display()
        );
        return Err(CliError::new("serve.secret", message)
            .hint("delete it, and the next start makes another"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(&path).map_err(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            let message = format!("{} may be read by others on this machine", path.display());
            return Err(CliError::new("serve.secret", message).hint(format!(
                "close it with `chmod 600 {0}`; or delete it, and the next start makes another",
                path.display()
            )));
        }
    }
    Ok(secret.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_its_folders_own_and_its_owners_alone() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let secret = of_folder(one.path()).unwrap();
        assert_eq!(of_folder(one.path()).unwrap(), secret);
        assert_ne!(of_folder(other.path()).unwrap(), secret);
        assert!(secret.len() >= 40);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let path = one.path().join(FILE);
            let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let found = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(found & 0o777, 0o600);
            mode(0o640);
            assert_eq!(of_folder(one.path()).unwrap_err().code, "serve.secret");
            mode(0o600);
        }
        for short in ["", "short\n", "sixteen or more but spaces"] {
            fs::write(one.path().join(FILE), short).unwrap();
            assert_eq!(of_folder(one.path()).unwrap_err().code, "serve.secret");
        }
        fs::write(one.path().join(FILE), "a-secret-of-my-own\n").unwrap();
        assert_eq!(of_folder(one.path()).unwrap(), "a-secret-of-my-own");
    }
}
