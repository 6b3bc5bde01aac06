//! What is known of a virtual device's chip, beside its flash: what a real one has in its eFuses.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use s3ota::Chip;
use s3ota_image::app::Hardware;
use serde_json::{Value, json};

use crate::error::CliError;

/// The known facts of a chip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownChip {
    /// The kind of chip.
    pub chip: Chip,
    /// Its revision, major * 100 + minor.
    pub revision: u16,
}

impl KnownChip {
    /// The contents of its eFuses.
    pub fn hardware(self) -> Hardware {
        Hardware {
            revision: Some(self.revision),
            ..Hardware::default()
        }
    }

    /// Reads the facts for a flash file; `None` if there are none: an older device, or a dump.
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
            let message = format!("{} does not name the chip of the device", path.display());
            CliError::new("device.chip", message).hint(
                "create the device again with s3ota device new --chip-revision, or delete the file: then it accepts any image",
            )
        })
    }

    /// Writes the facts for a flash file, or removes them.
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
