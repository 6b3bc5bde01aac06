//! Where a project takes s3ota's crates from.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::error::CliError;

/// Where s3ota's crates come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// crates.io, in this command's version.
    CratesIo,
    /// A checkout of the repository.
    Checkout(String),
    /// A git repository, at a commit, or at its newest one.
    Git { url: String, rev: Option<String> },
}

impl Source {
    /// The checkout that this command was built from if it is still there, and crates.io otherwise.
    pub fn of_this_command() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        Self::checkout(&root).unwrap_or(Self::CratesIo)
    }

    /// A checkout.
    ///
    /// # Errors
    ///
    /// `project.source` if this is none.
    pub fn checkout(root: &Path) -> Result<Self, CliError> {
        let wrong = |what: &str| {
            let message = format!("{} {what}", root.display());
            CliError::new("project.source", message)
                .hint("name the folder that `git clone https://github.com/s3ota/s3ota` has made")
        };
        for part in ["crates/s3ota", "firmware/s3ota-esp"] {
            if !root.join(part).join("Cargo.toml").is_file() {
                return Err(wrong(&format!(
                    "is not a checkout of s3ota: it has no {part}"
                )));
            }
        }
        // Cargo looks for a crate's workspace above its path, and a `..` in it leads astray.
        let root: PathBuf = root
            .canonicalize()
            .map_err(|error| CliError::file(root, &error))?;
        let text = root.to_str().filter(|it| !it.contains(char::is_control));
        let text = text.ok_or_else(|| wrong("has a name that Cargo.toml cannot hold"))?;
        // Windows' own form of absolute paths, which not every tool takes.
        let text = text.strip_prefix(r"\\?\").unwrap_or(text);
        Ok(Self::Checkout(text.to_owned()))
    }

    /// A git repository.
    ///
    /// # Errors
    ///
    /// `project.source` if Cargo.toml cannot hold these texts.
    pub fn git(url: String, rev: Option<String>) -> Result<Self, CliError> {
        for text in [Some(&url), rev.as_ref()].into_iter().flatten() {
            if text.is_empty() || text.contains(|c: char| c.is_control() || c == '"') {
                let message = format!("`{}` is no git URL or commit", text.escape_default());
                return Err(CliError::new("project.source", message).usage());
            }
        }
        Ok(Self::Git { url, rev })
    }

    /// The keys of a dependency in Cargo.toml on the crate in this folder of the repository.
    pub fn of(&self, folder: &str) -> String {
        let quoted =
            |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        match self {
            Self::CratesIo => format!("version = \"{}\"", env!("CARGO_PKG_VERSION")),
            Self::Checkout(root) => format!("path = {}", quoted(&format!("{root}/{folder}"))),
            Self::Git { url, rev: None } => format!("git = {}", quoted(url)),
            Self::Git {
                url,
                rev: Some(rev),
            } => {
                format!("git = {}, rev = {}", quoted(url), quoted(rev))
            }
        }
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        match self {
            Self::CratesIo => json!({ "version": env!("CARGO_PKG_VERSION") }),
            Self::Checkout(path) => json!({ "path": path }),
            Self::Git { url, rev } => json!({ "git": url, "rev": rev }),
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::CratesIo => write!(f, "crates.io, version {}", env!("CARGO_PKG_VERSION")),
            Self::Checkout(root) => f.write_str(root),
            Self::Git { url, rev: None } => f.write_str(url),
            Self::Git {
                url,
                rev: Some(rev),
            } => write!(f, "{url} at {rev}"),
        }
    }
}
