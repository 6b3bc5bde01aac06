//! Failures, for people and for programs.

use std::fmt;
use std::path::Path;

/// A failure: a stable dotted code for programs, a sentence for people, and a next step where that helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// `logs.empty`, `cache.io`, `s3.denied`…
    pub code: &'static str,
    /// What happened, and to what.
    pub message: String,
    /// The next step.
    pub hint: Option<String>,
}

/// The result of what may fail.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A failure with its code and sentence.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
        }
    }

    /// The same failure with a next step.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// A file or folder that cannot be read or written.
    pub fn file(path: &Path, error: impl fmt::Display) -> Self {
        Self::new("file.io", format!("{}: {error}", path.display()))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
