//! What is known of a virtual device's chip, beside its flash: what a real one has in its eFuses.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use s3ota::Chip;
use s3ota_image::app::Hardware;
use serde_json::{Value, json};

use crate::error::CliError;
use crate::firmware::{NEWEST_BLOCK, newest_revision};
use crate::text;

/// The known facts of a chip. Revisions are major * 100 + minor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownChip {
    /// The kind of chip.
    pub chip: Chip,
    /// Its revision.
    pub revision: Option<u16>,
    /// The revision of its eFuse block.
    pub block_revision: Option<u16>,
    /// The secure version in its eFuses, if its bootloader does anti-rollback.
    pub secure_version: Option<u32>,
}

impl KnownChip {
    /// A chip of which nothing else is known.
    pub fn of(chip: Chip) -> Self {
        Self {
            chip,
            revision: None,
            block_revision: None,
            secure_version: None,
        }
    }

    /// Whether anything but its kind is known.
    pub fn is_described(&self) -> bool {
        *self != Self::of(self.chip)
    }

    /// The contents of its eFuses. A revision that is not known is the newest that such a chip may have, and no maximum is too low for
    /// it: so the device boots whatever one of these chips boots, and not what none does.
    pub fn hardware(self) -> Hardware {
        Hardware {
            revision: Some(self.revision.unwrap_or(newest_revision(self.chip))),
            block_revision: Some(self.block_revision.unwrap_or(NEWEST_BLOCK)),
            secure_version: self.secure_version,
            any_max_revision: self.revision.is_none(),
            any_max_block_revision: self.block_revision.is_none(),
        }
    }

    /// Reads the facts for a flash file; `None` if there are none: an older device, or a dump.
    pub fn beside(flash: &Path) -> Result<Option<Self>, CliError> {
        let path = path_beside(flash);
        let text = match text::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(CliError::file(&path, &error)),
        };
        let known = serde_json::from_str(&text).ok().and_then(|value: Value| {
            let number = |field: &str| match &value[field] {
                Value::Null => Some(None),
                number => number.as_u64().map(Some),
            };
            let revision = |field| match number(field)? {
                Some(number) => u16::try_from(number).ok().map(Some),
                None => Some(None),
            };
            let secure_version = match number("secure_version")? {
                Some(number) => Some(u32::try_from(number).ok()?),
                None => None,
            };
            Some(Self {
                chip: value["chip"].as_str()?.parse().ok()?,
                revision: revision("revision")?,
                block_revision: revision("block_revision")?,
                secure_version,
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
            Some(known) => {
                let facts = json!({
                    "chip": known.chip.name(),
                    "revision": known.revision,
                    "block_revision": known.block_revision,
                    "secure_version": known.secure_version,
                });
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
