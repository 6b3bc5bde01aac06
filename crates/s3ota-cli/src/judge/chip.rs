//! What a virtual device's chip is, beside its flash: the facts that a real one has in its eFuses.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use s3ota::Chip;
use s3ota_image::app::Hardware;
use serde_json::{Value, json};

use crate::error::CliError;

/// A chip of which something is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownChip {
    /// Its kind.
    pub chip: Chip,
    /// Its revision, major * 100 + minor.
    pub revision: u16,
}

impl KnownChip {
    /// What the chip's eFuses say.
    pub fn hardware(self) -> Hardware {
        Hardware {
            revision: Some(self.revision),
            ..Hardware::default()
        }
    }

    /// Reads what is known of the chip of a flash file, `None` where nothing is: a device from before, or a dump.
    pub fn beside(flash: &Path) -> Result<Option<Self>, CliError> {
        let path = path_beside(flash);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(CliError::file(&path, &error)),
        };
        let known = serde_json::from_str(&text).ok().and_then(|value: Value| {
            Some(Self {
                chip: value["chip"].as_str()?.parse().ok()?,
                revision: value["revision"].as_u64()?.try_into().ok()?,
            })
        });
        known.map(Some).ok_or_else(|| {
            let message = format!("{} does not say which chip the device has", path.display());
            CliError::new("device.chip", message).hint(
                "make the device anew with s3ota device new --chip-revision, or delete the file: then its chip runs any image",
            )
        })
    }

    /// Keeps beside a flash file what is known of its chip, or that nothing is.
    pub fn keep(known: Option<Self>, flash: &Path) -> Result<(), CliError> {
        let path = path_beside(flash);
        let kept = match known {
            Some(Self { chip, revision }) => {
                let facts = json!({ "chip": chip.name(), "revision": revision });
                fs::write(&path, format!("{facts}\n"))
            }
            None => match fs::remove_file(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                removed => removed,
            },
        };
        kept.map_err(|error| CliError::file(&path, &error))
    }
}

/// `FLASH.chip`.
fn path_beside(flash: &Path) -> PathBuf {
    let mut path = OsString::from(flash);
    path.push(".chip");
    path.into()
}
