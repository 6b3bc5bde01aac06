//! What of an `s3ota.toml` its user has approved.
//!
//! The file lies in a folder, and folders come from others: whoever clones a repository and runs `s3ota status` in it must
//! not thereby ask a stranger's server with credentials of their own. So the settings that say whom to ask, whom to
//! believe, as whom, with which key, and who else is to read ([`SENSITIVE`]) are used only after the user has seen them
//! and agreed, once: on a terminal when they are first needed, or with `s3ota trust`.
//!
//! What is approved is the file's path with the values of these settings and of the location, and the contents of the CA:
//! if one of them changes, the user is asked again. It is kept in `approved.json` in the [state directory](state_dir).

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::error::CliError;
use crate::output::terminal;
use crate::output::{self, Output};
use crate::settings::FILE;
use crate::state::dir::state_dir;

/// The settings that need approval:
///
/// - `endpoint_url` is asked with the user's credentials, and gets the releases;
/// - `ca` says whom to believe that they are the endpoint;
/// - `profile` chooses among the user's identities;
/// - `key` signs;
/// - `public_url` is where devices and `doctor` are sent;
/// - `public_read` opens what is uploaded to everyone.
///
/// The others choose what is done at a service that the user has chosen: `location`, `channel`, `board`, `by`, `presign`,
/// `region`.
pub const SENSITIVE: [&str; 6] = [
    "ca",
    "endpoint_url",
    "key",
    "profile",
    "public_read",
    "public_url",
];

/// What is approved or not: a file, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The file's path, in a folder without links.
    file: String,
    /// Its location and its sensitive settings; and of what a file is named by them, the hash.
    says: BTreeMap<String, String>,
}

impl Claim {
    /// What the file in the working directory says.
    pub fn of(location: Option<&str>, settings: &[(String, String)]) -> Result<Self, CliError> {
        // The folder counts, and not where a link in its place leads: what the file names lies in the folder.
        let file = fs::canonicalize(".")
            .map_err(|error| CliError::file(Path::new("."), &error))?
            .join(FILE);
        let sensitive = |(name, _): &&(String, String)| SENSITIVE.contains(&name.as_str());
        let mut says: BTreeMap<_, _> = settings.iter().filter(sensitive).cloned().collect();
        if let Some(location) = location {
            says.insert("location".to_owned(), location.to_owned());
        }
        if let Some(ca) = says.get("ca") {
            let held = fs::read(ca).map_err(|error| CliError::file(Path::new(ca), &error))?;
            says.insert("ca_sha256".to_owned(), output::hex(&Sha256::digest(held)));
        }
        Ok(Self {
            file: file.display().to_string(),
            says,
        })
    }

    /// Whether there is anything in it that needs approval.
    pub fn is_harmless(&self) -> bool {
        !self
            .says
            .keys()
            .any(|name| SENSITIVE.contains(&name.as_str()))
    }

    /// Lets a command use these settings of the file: if they are approved, or if who sits at the terminal agrees.
    pub fn permit(&self, used: &[&str], out: &Output) -> Result<(), CliError> {
        if Approvals::read().holds(self) {
            return Ok(());
        }
        if out.is_for_programs() || !terminal::can_ask() {
            let message = format!(
                "{} sets {}, and you have not approved that: it decides where your credentials and releases go",
                self.file,
                used.join(" and ")
            );
            return Err(CliError::new("cli.untrusted", message)
                .hint(format!(
                    "{}; or read the file, and approve it with `s3ota trust`",
                    instead(used)
                ))
                .usage());
        }
        terminal::tell_plain(&format!("{} says\n{}", self.file, self.listing()));
        if !terminal::agrees("Use that from now on, with your credentials?") {
            let message = format!("{} is not approved, and nothing was done", self.file);
            return Err(CliError::new("cli.untrusted", message)
                .hint(instead(used))
                .usage());
        }
        if let Err(error) = self.remember() {
            out.warning(&error.hint("it counts for this command alone"));
        }
        Ok(())
    }

    /// The settings, one a line.
    pub fn listing(&self) -> String {
        let line = |(name, value): (&String, &String)| format!("  {name} = {value:?}");
        self.says.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        json!({ "file": self.file, "settings": self.says })
    }

    /// Approves it, in place of what was approved of the same file before.
    pub fn remember(&self) -> Result<(), CliError> {
        let mut approvals = Approvals::read();
        approvals.forget(&self.file);
        approvals.0.push(self.clone());
        approvals.write()
    }

    /// Takes the approval back. `false` if there was none.
    pub fn forget(&self) -> Result<bool, CliError> {
        let mut approvals = Approvals::read();
        let found = approvals.forget(&self.file);
        if found {
            approvals.write()?;
        }
        Ok(found)
    }
}

/// How to say the same without the file.
fn instead(used: &[&str]) -> String {
    let said = used.iter().map(|name| {
        let flag = format!("--{}", name.replace('_', "-"));
        let variable = match *name {
            "ca" => "AWS_CA_BUNDLE",
            "endpoint_url" => "AWS_ENDPOINT_URL",
            "key" => "S3OTA_KEY",
            "profile" => "AWS_PROFILE",
            _ => return flag,
        };
        format!("{flag} (or {variable})")
    });
    let said: Vec<String> = said.collect();
    format!("say {} yourself", said.join(" and "))
}

/// All that is approved.
#[derive(Debug, Default)]
struct Approvals(Vec<Claim>);

impl Approvals {
    /// What cannot be read approves nothing.
    fn read() -> Self {
        let read = path().and_then(|path| fs::read(path).ok());
        let json: Value = read
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let claims = json["approved"].as_array().map_or(&[][..], Vec::as_slice);
        Self(claims.iter().filter_map(claim).collect())
    }

    fn holds(&self, claim: &Claim) -> bool {
        self.0.contains(claim)
    }

    fn forget(&mut self, file: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|claim| claim.file != file);
        self.0.len() < before
    }

    /// Replaces the file as a whole. It is its owner's alone: it tells which endpoints they use.
    fn write(&self) -> Result<(), CliError> {
        let Some(path) = path() else {
            return Err(
                CliError::new("cli.state", "there is no folder to remember that in")
                    .hint("name one in S3OTA_STATE"),
            );
        };
        let failed = |error: std::io::Error| CliError::file(&path, &error);
        let dir = path.parent().unwrap_or(Path::new("."));
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(dir).map_err(failed)?;
        let claims: Vec<Value> = self.0.iter().map(Claim::to_json).collect();
        let text = format!("{:#}\n", json!({ "approved": claims }));
        let fresh = path.with_extension(format!("{}.new", std::process::id()));
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written = options.open(&fresh).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&fresh, &path)
        });
        written.map_err(|error| {
            if error.kind() != ErrorKind::AlreadyExists {
                let _ = fs::remove_file(&fresh);
            }
            failed(error)
        })
    }
}

fn claim(json: &Value) -> Option<Claim> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let says = json["settings"].as_object()?.iter();
    let says = says.map(|(name, value)| Some((name.clone(), text(value)?)));
    Some(Claim {
        file: text(&json["file"])?,
        says: says.collect::<Option<_>>()?,
    })
}

fn path() -> Option<PathBuf> {
    Some(state_dir()?.join("approved.json"))
}
