//! Whether an image may run on the chip at hand.

use core::fmt;

use super::{Descriptor, Header};
use crate::Chip;

/// What is known about the chip that an image will run on, beyond its kind. By default, nothing.
///
/// Only what is known is checked. Revisions are major * 100 + minor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Hardware {
    /// Revision of the chip (`efuse_hal_chip_revision`).
    pub revision: Option<u16>,
    /// Revision of its eFuse block (`efuse_hal_blk_version`).
    pub block_revision: Option<u16>,
    /// The minimum secure version that may run: the number of bits burnt in the eFuse `SECURE_VERSION`, if
    /// the bootloader does anti-rollback.
    pub secure_version: Option<u32>,
    /// The eFuse `DISABLE_WAFER_VERSION_MAJOR` is burnt: maximum chip revisions are ignored.
    pub any_max_revision: bool,
    /// The eFuse `DISABLE_BLK_VERSION_MAJOR` is burnt: maximum eFuse block revisions are ignored.
    pub any_max_block_revision: bool,
}

/// Why the bootloader would refuse an image on this chip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Misfit {
    /// The chip is older than the image allows.
    MinRevision {
        /// The image's minimum revision.
        needed: u16,
        /// The chip's revision.
        found: u16,
    },
    /// The chip is newer than the image allows.
    MaxRevision {
        /// The image's maximum revision.
        needed: u16,
        /// The chip's revision.
        found: u16,
    },
    /// The chip's eFuse block is older than the image allows.
    MinBlockRevision {
        /// The image's minimum revision.
        needed: u16,
        /// The chip's revision.
        found: u16,
    },
    /// The chip's eFuse block is newer than the image allows.
    MaxBlockRevision {
        /// The image's maximum revision.
        needed: u16,
        /// The chip's revision.
        found: u16,
    },
    /// The image's secure version is lower than the device's.
    SecureVersion {
        /// The device's minimum secure version.
        needed: u32,
        /// The image's secure version.
        found: u32,
    },
}

impl Hardware {
    /// Whether the bootloader would boot an image with this header and descriptor on this chip.
    ///
    /// The rules are the bootloader's, of ESP-IDF `components/bootloader_support/src/`:
    ///
    /// | | |
    /// |---|---|
    /// | chip revision | `bootloader_common_check_chip_revision_validity` (`bootloader_common_loader.c`) |
    /// | eFuse block revision | `bootloader_common_check_efuse_blk_validity` (same file), called by `process_segment_data` (`esp_image_format.c`) on every chip but the ESP32 |
    /// | secure version | `check_anti_rollback` (`bootloader_utility.c`), `esp_efuse_check_secure_version` (`components/efuse/src/esp_efuse_fields.c`) |
    ///
    /// The kind of chip is not checked: see [`Header::chip`]. An image without a descriptor has secure
    /// version 0, and its block revisions are unknown.
    ///
    /// # Errors
    /// The first [`Misfit`], in the order of the table.
    pub fn accepts(&self, header: &Header, descriptor: Option<&Descriptor>) -> Result<(), Misfit> {
        if let Some(found) = self.revision {
            let needed = header.min_revision;
            if found < needed {
                return Err(Misfit::MinRevision { needed, found });
            }
            let needed = header.max_revision;
            if is_set(needed) && found > needed && !self.any_max_revision {
                return Err(Misfit::MaxRevision { needed, found });
            }
        }
        if let (Some(found), Some(descriptor)) = (self.block_revision, descriptor)
            && header.chip_id != Chip::Esp32.id()
        {
            let needed = descriptor.min_efuse_block_revision;
            if is_set(needed) && found < needed {
                return Err(Misfit::MinBlockRevision { needed, found });
            }
            let needed = descriptor.max_efuse_block_revision;
            if is_set(needed) && found > needed && !self.any_max_block_revision {
                return Err(Misfit::MaxBlockRevision { needed, found });
            }
        }
        let found = descriptor.map_or(0, |descriptor| descriptor.secure_version);
        match self.secure_version {
            Some(needed) if found < needed => Err(Misfit::SecureVersion { needed, found }),
            _ => Ok(()),
        }
    }
}

/// `IS_FIELD_SET` of `bootloader_common_loader.c`.
fn is_set(revision: u16) -> bool {
    revision != 0 && revision != u16::MAX
}

impl Misfit {
    /// A stable dotted code for programs: `image.revision` for a chip revision, `image.efuse` for an
    /// eFuse block revision, `image.rollback` for a secure version.
    pub const fn code(&self) -> &'static str {
        match self {
            Misfit::MinRevision { .. } | Misfit::MaxRevision { .. } => "image.revision",
            Misfit::MinBlockRevision { .. } | Misfit::MaxBlockRevision { .. } => "image.efuse",
            Misfit::SecureVersion { .. } => "image.rollback",
        }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, limit, needed, found) = match *self {
            Misfit::MinRevision { needed, found } => ("chip", "later", needed, found),
            Misfit::MaxRevision { needed, found } => ("chip", "earlier", needed, found),
            Misfit::MinBlockRevision { needed, found } => ("eFuse block", "later", needed, found),
            Misfit::MaxBlockRevision { needed, found } => ("eFuse block", "earlier", needed, found),
            Misfit::SecureVersion { needed, found } => {
                return write!(
                    f,
                    "the image has secure version {found}, this device requires {needed} or higher; \
                     build it with a higher one",
                );
            }
        };
        write!(
            f,
            "the image needs {what} revision {} or {limit}, this chip has {}; \
             build it for this revision",
            Revision(needed),
            Revision(found),
        )
    }
}

impl core::error::Error for Misfit {}

/// A revision of a chip or an eFuse block, for people: `v3.1` for 301, as ESP-IDF and esptool print
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Revision(pub u16);

#[cfg(feature = "defmt")]
impl defmt::Format for Revision {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{}", defmt::Display2Format(self));
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}", self.0 / 100, self.0 % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::ImageBuilder;
    use alloc::string::ToString;

    /// Header and descriptor of an image with these limits: chip revision, eFuse block revision.
    fn image(chip: Chip, chips: [u16; 2], blocks: [u16; 2]) -> (Header, Descriptor) {
        let image = ImageBuilder::new(chip, "1.0.0")
            .revisions(chips[0], chips[1])
            .block_revisions(blocks[0], blocks[1])
            .secure_version(3)
            .build();
        let header = Header::parse(image.first_chunk().unwrap()).unwrap();
        let descriptor = Descriptor::parse(image[32..].first_chunk().unwrap());
        (header, descriptor.unwrap())
    }

    fn judge(hardware: Hardware, chip: Chip, chips: [u16; 2], blocks: [u16; 2]) -> Option<Misfit> {
        let (header, descriptor) = image(chip, chips, blocks);
        hardware.accepts(&header, Some(&descriptor)).err()
    }

    const OPEN: [u16; 2] = [0, u16::MAX];

    #[test]
    fn chip_revisions_have_a_minimum_and_a_maximum() {
        let chip = |found| Hardware {
            revision: Some(found),
            ..Hardware::default()
        };
        let at = |found, limits| judge(chip(found), Chip::Esp32C3, limits, OPEN);
        assert_eq!(at(3, [3, 199]), None);
        assert_eq!(at(199, [3, 199]), None);
        let low = Misfit::MinRevision {
            needed: 3,
            found: 2,
        };
        assert_eq!(at(2, [3, 199]), Some(low));
        let (needed, found) = (199, 200);
        assert_eq!(
            at(200, [3, 199]),
            Some(Misfit::MaxRevision { needed, found })
        );
        assert_eq!(at(u16::MAX, [0, 0]), None, "0 is no greatest revision");
        assert_eq!(at(0, OPEN), None);
        // A minimum of 65535 counts, unlike that of an eFuse block.
        assert!(at(399, [u16::MAX, 0]).is_some());
        let burnt = Hardware {
            any_max_revision: true,
            ..chip(200)
        };
        assert_eq!(judge(burnt, Chip::Esp32C3, [3, 199], OPEN), None);
        assert!(judge(burnt, Chip::Esp32C3, [201, 199], OPEN).is_some());
    }

    #[test]
    fn efuse_block_revisions_count_on_every_chip_but_the_esp32() {
        let chip = |found| Hardware {
            block_revision: Some(found),
            ..Hardware::default()
        };
        for kind in Chip::ALL {
            let at = |found, limits| judge(chip(found), kind, OPEN, limits);
            if kind == Chip::Esp32 {
                assert_eq!(at(0, [100, 0]), None);
                continue;
            }
            // "Image requires efuse blk rev >= v251.85": what a linker put into the field.
            let (needed, found) = (25_185, 103);
            let low = Misfit::MinBlockRevision { needed, found };
            assert_eq!(at(found, [needed, 0]), Some(low));
            let (needed, found) = (199, 200);
            let high = Misfit::MaxBlockRevision { needed, found };
            assert_eq!(at(found, [0, needed]), Some(high));
            assert_eq!(at(100, [100, 199]), None);
            for none in [0, u16::MAX] {
                assert_eq!(at(0, [none, none]), None);
            }
            let burnt = Hardware {
                any_max_block_revision: true,
                ..chip(200)
            };
            assert_eq!(judge(burnt, kind, OPEN, [0, 199]), None);
        }
    }

    #[test]
    fn a_lower_secure_version_is_refused() {
        let (header, descriptor) = image(Chip::Esp32C3, OPEN, OPEN);
        let at = |needed, descriptor| {
            let hardware = Hardware {
                secure_version: Some(needed),
                ..Hardware::default()
            };
            hardware.accepts(&header, descriptor)
        };
        assert_eq!(at(3, Some(&descriptor)), Ok(()));
        let (needed, found) = (4, 3);
        let low = Misfit::SecureVersion { needed, found };
        assert_eq!(at(4, Some(&descriptor)), Err(low));
        assert_eq!(at(0, None), Ok(()));
        assert!(at(1, None).is_err());
    }

    #[test]
    fn what_is_not_known_is_not_checked() {
        let nothing = Hardware::default();
        assert_eq!(judge(nothing, Chip::Esp32S3, [900, 1], [900, 1]), None);
    }

    #[test]
    fn a_misfit_says_what_is_needed_and_what_is_there() {
        let (needed, found) = (301, 100);
        let misfit = Misfit::MinRevision { needed, found };
        assert_eq!(
            misfit.to_string(),
            "the image needs chip revision v3.1 or later, this chip has v1.0; \
             build it for this revision"
        );
        assert_eq!(misfit.code(), "image.revision");
        let misfit = Misfit::MaxBlockRevision { needed, found };
        assert!(
            misfit
                .to_string()
                .contains("eFuse block revision v3.1 or earlier")
        );
        assert_eq!(misfit.code(), "image.efuse");
        let (needed, found) = (3, 2);
        let misfit = Misfit::SecureVersion { needed, found };
        assert!(
            misfit
                .to_string()
                .starts_with("the image has secure version 2, this device requires 3")
        );
        assert_eq!(misfit.code(), "image.rollback");
    }
}
