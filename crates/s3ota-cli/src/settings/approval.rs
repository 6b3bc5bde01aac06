//! Which settings of an `s3ota.toml` the user has approved.
//!
//! The file lies in a folder, and folders come from others. If you clone a repository and run `s3ota status` in it, that must
//! not send your credentials to someone else's server. So the settings that decide which server is asked, which CA and which
//! identity are used, which key signs, and who can read the result ([`SENSITIVE`]) are used only after the user has seen and
//! approved them: on a terminal when they are first needed, or with `s3ota trust`.
//!
//! An approval covers the file's path, the values of these settings and of the location, and the contents of the CA. If one of
//! them changes, the user is asked again. Approvals are kept in `approved.json` in the [state directory](dir::state_dir).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::error::CliError;
use crate::output::terminal;
use crate::output::{self, Output};
use crate::settings::FILE;
use crate::state::dir;

/// The settings that need approval:
///
/// - `endpoint_url` receives the user's credentials and the releases;
/// - `ca` vouches for the endpoint;
/// - `profile` chooses one of the user's identities;
/// - `key` signs;
/// - `public_url` is where devices and `doctor` are sent;
/// - `public_read` opens what is uploaded to everyone.
///
/// The others take effect at a service that the user has chosen: `location`, `channel`, `board`, `by`, `presign`,
/// `region`, `addressing_style`, `sse`.
pub const SENSITIVE: [&str; 6] = [
    "ca",
    "endpoint_url",
    "key",
    "profile",
    "public_read",
    "public_url",
];

/// A file, and the part of it that needs approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The file's path, with all links resolved in its folder.
    file: String,
    /// Its location and its sensitive settings, and the hash of a file that they name.
    says: BTreeMap<String, String>,
}

impl Claim {
    /// The claim of a file.
    pub fn of(
        path: &Path,
        location: Option<&str>,
        settings: &[(String, String)],
    ) -> Result<Self, CliError> {
        // The folder counts, and not the target of a link in its place: what the file names lies in the folder.
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let file = fs::canonicalize(folder)
            .map_err(|error| CliError::file(folder, &error))?
            .join(FILE);
        let sensitive = |(name, _): &&(String, String)| SENSITIVE.contains(&name.as_str());
        let mut says: BTreeMap<_, _> = settings.iter().filter(sensitive).cloned().collect();
        if let Some(location) = location {
            says.insert("location".to_owned(), location.to_owned());
        }
        if let Some(ca) = says.get("ca") {
            let ca = folder.join(ca);
            let held = fs::read(&ca).map_err(|error| CliError::file(&ca, &error))?;
            says.insert("ca_sha256".to_owned(), output::hex(&Sha256::digest(held)));
        }
        Ok(Self {
            file: file.display().to_string(),
            says,
        })
    }

    /// Whether nothing in it needs approval.
    pub fn is_harmless(&self) -> bool {
        !self
            .says
            .keys()
            .any(|name| SENSITIVE.contains(&name.as_str()))
    }

    /// Permits a command to use these settings of the file, if they are approved or if the user agrees on the terminal.
    pub fn permit(&self, used: &[&str], out: &Output) -> Result<(), CliError> {
        if Approvals::read().holds(self) {
            return Ok(());
        }
        if out.is_for_programs() || !terminal::can_ask() {
            let message = format!(
                "{} sets {}, which you have not approved: it decides where your credentials and releases go",
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
        terminal::tell_plain(&format!("{} sets\n{}", self.file, self.listing()));
        if !terminal::agrees("Use these settings from now on, with your credentials?") {
            let message = format!("you have not approved {}; nothing was done", self.file);
            return Err(CliError::new("cli.untrusted", message)
                .hint(instead(used))
                .usage());
        }
        if let Err(error) = self.remember() {
            out.warning(&error.hint("the approval counts for this command only"));
        }
        Ok(())
    }

    /// The settings, one per line.
    pub fn listing(&self) -> String {
        let line = |(name, value): (&String, &String)| format!("  {name} = {value:?}");
        self.says.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        json!({ "file": self.file, "settings": self.says })
    }

    /// Approves it, in place of an earlier approval of the same file.
    pub fn remember(&self) -> Result<(), CliError> {
        let mut approvals = Approvals::read();
        approvals.forget(&self.file);
        approvals.0.push(self.clone());
        approvals.write()
    }

    /// Revokes the approval. `false` if there was none.
    pub fn forget(&self) -> Result<bool, CliError> {
        let mut approvals = Approvals::read();
        let found = approvals.forget(&self.file);
        if found {
            approvals.write()?;
        }
        Ok(found)
    }
}

/// How to set the same without the file.
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
    format!("set {} yourself", said.join(" and "))
}

/// All approvals.
#[derive(Debug, Default)]
struct Approvals(Vec<Claim>);

impl Approvals {
    /// Reads them. A file that cannot be read approves nothing.
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

    /// Writes them, for their owner only: they tell which endpoints are used.
    fn write(&self) -> Result<(), CliError> {
        let Some(path) = path() else {
            return Err(CliError::new(
                "cli.state",
                "there is no folder in which to keep the approval",
            )
            .hint(format!("name one in {}", dir::VARIABLE)));
        };
        let claims: Vec<Value> = self.0.iter().map(Claim::to_json).collect();
        let text = format!("{:#}\n", json!({ "approved": claims }));
        let folder = path.parent().unwrap_or(Path::new("."));
        dir::make(folder)
            .and_then(|()| dir::replace(&path, &text))
            .map_err(|error| CliError::file(&path, &error))
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
    Some(dir::state_dir()?.join("approved.json"))
}
