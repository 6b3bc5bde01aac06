//! Failures, for people and for programs.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

/// A failure: a stable dotted code for programs, a sentence for people, and a next step where that helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliError {
    /// `tls.certificate`, `manifest.invalid`, `image.chip`…
    pub code: &'static str,
    /// What happened, and to what.
    pub message: String,
    /// The next step.
    pub hint: Option<String>,
    /// Whether the command line is wrong, and nothing was tried.
    pub is_usage: bool,
}

impl CliError {
    /// A failure with its code and sentence.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
            is_usage: false,
        }
    }

    /// The same failure with a next step.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// The same failure, caused by the command line.
    pub fn usage(self) -> Self {
        Self {
            is_usage: true,
            ..self
        }
    }

    /// A file or folder that cannot be read or written.
    pub fn file(path: &Path, error: &std::io::Error) -> Self {
        let failure = Self::new("file.io", format!("{}: {error}", path.display()));
        let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
        let hint = match (error.kind(), folder) {
            (ErrorKind::NotFound, Some(folder)) if !folder.exists() => {
                format!("there is no folder {}: check the path", folder.display())
            }
            (ErrorKind::NotFound, None) => match std::env::current_dir() {
                Ok(here) => format!("it was looked for in {}: check the name", here.display()),
                Err(_) => "check the name".to_owned(),
            },
            (ErrorKind::NotFound, Some(_)) => "check the name".to_owned(),
            (ErrorKind::IsADirectory, _) => "name a file in it".to_owned(),
            (ErrorKind::AlreadyExists, _) if path.is_file() => {
                "there is a file of that name: choose another name".to_owned()
            }
            _ => return failure,
        };
        failure.hint(hint)
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CliError {}

impl From<s3ota_manifest::ManifestError> for CliError {
    fn from(error: s3ota_manifest::ManifestError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<s3ota_manifest::SignatureError> for CliError {
    fn from(error: s3ota_manifest::SignatureError) -> Self {
        Self::new("release.signature", error.to_string())
    }
}

impl From<s3ota::Error> for CliError {
    fn from(error: s3ota::Error) -> Self {
        Self::new(error.code(), error.to_string())
    }
}
