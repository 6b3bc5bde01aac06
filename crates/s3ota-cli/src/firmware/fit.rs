//! Which chips a firmware runs on, and whether a device can roll back from it: what looks like a mistake in the image itself, and
//! compared with the release before.
//!
//! None of this stops a device from downloading the release. It stops the bootloader from booting it, or the device from ever
//! rolling back, so it is reported before you publish.

use s3ota_image::Chip;
use s3ota_image::app::{Image, Revision};

use crate::error::CliError;

/// The highest revision of a chip or an eFuse block (v9.99); above it, the field holds something else.
const NO_REVISION: u16 = 999;

/// The newest eFuse block revision that any chip may have.
pub const NEWEST_BLOCK: u16 = NO_REVISION;

/// The newest revision that a chip of this kind may have: the last minor of the newest major that its datasheet or errata
/// name. A chip that is newer than this command is not of these.
pub const fn newest_revision(chip: Chip) -> u16 {
    match chip {
        Chip::Esp32 | Chip::Esp32P4 => 399,
        Chip::Esp32C2 => 299,
        Chip::Esp32S3 | Chip::Esp32C6 => 99,
        Chip::Esp32S2 | Chip::Esp32C3 | Chip::Esp32C5 | Chip::Esp32C61 | Chip::Esp32H2 => 199,
        _ => NO_REVISION,
    }
}

/// What looks like a mistake in an image.
pub fn remarks(image: &Image) -> Vec<CliError> {
    let mut remarks = Vec::new();
    let mut remark = |code, message: String, hint: &str| {
        remarks.push(CliError::new(code, message).hint(hint));
    };
    let header = &image.header;
    let range = limits(header.min_revision, header.max_revision);
    if is_empty(header.min_revision, header.max_revision) {
        let hint = "build it again, with another minimum or maximum revision";
        remark(
            "image.revision",
            format!("it requires chip revision {range}, which no chip has: no bootloader boots it"),
            hint,
        );
    } else if let Some(chip) = header.chip()
        && header.min_revision > newest_revision(chip)
    {
        let newest = Revision(newest_revision(chip) / 100 * 100);
        remark(
            "image.revision",
            format!(
                "it requires {chip} revision {range}, but s3ota knows of none newer than {}.x: the bootloader of every other chip refuses it",
                newest.to_string().trim_end_matches(".0")
            ),
            "build it for the revision of your chips: CONFIG_*_REV_MIN in ESP-IDF, ESP_HAL_CONFIG_MIN_CHIP_REVISION with esp-hal",
        );
    }
    if let Some(descriptor) = &image.descriptor {
        let most = header.chip().map_or(32, secure_version_bits);
        let version = descriptor.secure_version;
        if version > most {
            remark(
                "image.rollback",
                format!(
                    "its secure version is {version}, but the eFuses have room for {most}: anti-rollback cannot count that far"
                ),
                "check its app descriptor, or build it with a lower secure version",
            );
        }
        let pages = descriptor.mmu_page_size;
        if let Some(chip) = header.chip()
            && !mmu_pages(chip).contains(&pages)
        {
            remark(
                "image.mmu_page",
                format!(
                    "its app descriptor names MMU pages of 2^{pages} bytes, which the {chip} does not have: its bootloader may not boot it"
                ),
                "check its app descriptor: another layout, or other data, is in its place",
            );
        }
        let (min, max) = (
            descriptor.min_efuse_block_revision,
            descriptor.max_efuse_block_revision,
        );
        // As a minimum block revision, 65535 means none.
        if header.chip() != Some(Chip::Esp32) && min != u16::MAX && is_empty(min, max) {
            let range = limits(min, max);
            let hint = "check its app descriptor: another layout, or other data, is in its place";
            remark(
                "image.efuse",
                format!(
                    "it requires eFuse block revision {range}, which no chip has: newer bootloaders refuse it"
                ),
                hint,
            );
        }
        // esp-hal names the revision that it requires in the ELF file, and older espflash did not copy it to the image. Its descriptor
        // names no ESP-IDF.
        let starts_on_all = !matches!(header.chip(), Some(Chip::Esp32 | Chip::Esp32P4));
        if header.min_revision == 0 && descriptor.idf_version() == "0.0.0" && !starts_on_all {
            let hint = "publish the ELF file, or save the image with espflash 4.6 or newer; \
                        for older chips build with ESP_HAL_CONFIG_MIN_CHIP_REVISION=0";
            remark(
                "image.revision",
                "it accepts every chip revision, but esp-hal requires v3.0 by default: \
                 older chips would install it and fail"
                    .to_owned(),
                hint,
            );
        }
    }
    if image.guard.is_none() {
        let is_arduino = image.descriptor.as_ref().is_some_and(|it| it.is_arduino());
        let hint = if is_arduino {
            "use the library s3ota in the sketch, which brings the boot guard; for devices with other libraries nothing is to be done"
        } else {
            "call the boot guard first thing in the firmware, as the examples do"
        };
        remark(
            "image.guard",
            "it has no boot guard: if it fails, a device cannot roll back from it, unless its bootloader does".to_owned(),
            hint,
        );
    }
    remarks
}

/// What looks like a mistake in an image that follows another one.
pub fn remarks_on_change(image: &Image, before: &Image) -> Vec<CliError> {
    let mut remarks = Vec::new();
    let mut remark = |code, message: String, hint: &str| {
        remarks.push(CliError::new(code, message).hint(hint));
    };
    let secure = |image: &Image| image.descriptor.as_ref().map_or(0, |it| it.secure_version);
    let (new, old) = (secure(image), secure(before));
    if new < old {
        remark(
            "publish.rollback",
            format!(
                "its secure version is {new}, and the release before has {old}: devices with anti-rollback refuse it"
            ),
            "build it with the same secure version, or a higher one",
        );
    }
    if image.signature != before.signature {
        let named = |image: &Image| {
            let kind = image.signature;
            kind.map_or_else(
                || "not signed".to_owned(),
                |kind| format!("signed with {kind}"),
            )
        };
        let (new, old) = (named(image), named(before));
        remark(
            "publish.secure_boot",
            format!(
                "it is {new} for Secure Boot, and the release before is {old}: a device with Secure Boot accepts one kind only"
            ),
            "sign it like the release before: espsecure sign-data --version 2",
        );
    }
    let pages = |image: &Image| image.descriptor.as_ref().map_or(0, |it| it.mmu_page_size);
    let (new, old) = (pages(image), pages(before));
    if new != old && new != 0 && old != 0 {
        remark(
            "publish.mmu_page",
            format!(
                "it was linked for MMU pages of {} KiB, and the release before for {} KiB: bootloaders before ESP-IDF 5.4 are \
                 built for one size and fail with the other",
                kib(new),
                kib(old)
            ),
            "build it with the same CONFIG_MMU_PAGE_SIZE as the bootloaders in the field",
        );
    }
    if image.header.chip_id == before.header.chip_id {
        let of = |image: &Image| {
            (
                image.header.min_revision,
                greatest(image.header.max_revision),
            )
        };
        let hint = "build it for all chips in the field, or give these a channel of their own";
        let ((min, max), (old_min, old_max)) = (of(image), of(before));
        if min > old_min || max < old_max {
            let (new, old) = (revisions(min, max), revisions(old_min, old_max));
            remark(
                "publish.revision",
                format!(
                    "it runs on chips of {new}, and the release before on {old}: the other chips keep what they have"
                ),
                hint,
            );
        }
        let ((min, max), (old_min, old_max)) = (block_limits(image), block_limits(before));
        if image.header.chip() != Some(Chip::Esp32) && (min > old_min || max < old_max) {
            let (new, old) = (limits(min, max), limits(old_min, old_max));
            remark(
                "publish.efuse",
                format!(
                    "it requires eFuse block revision {new}, and the release before {old}: the other chips keep what they have"
                ),
                hint,
            );
        }
    }
    remarks
}

/// The MMU page sizes of a chip, as powers of two; 0 where the image does not tell (`SOC_MMU_PAGE_SIZE_CONFIGURABLE` and
/// `MMU_PAGE_SIZE_*` of ESP-IDF's `hal/mmu_types.h`).
fn mmu_pages(chip: Chip) -> &'static [u8] {
    match chip {
        Chip::Esp32C2 => &[0, 14, 15, 16],
        Chip::Esp32C6 | Chip::Esp32C61 | Chip::Esp32H2 => &[0, 13, 14, 15, 16],
        Chip::Esp32 | Chip::Esp32S2 | Chip::Esp32S3 | Chip::Esp32C3 => &[0, 16],
        _ => &[0, 13, 14, 15, 16],
    }
}

/// The highest secure version that the eFuses of a chip can count to (`BOOTLOADER_APP_SEC_VER_SIZE_EFUSE_FIELD` in ESP-IDF's
/// `Kconfig.app_rollback`).
fn secure_version_bits(chip: Chip) -> u32 {
    match chip {
        Chip::Esp32 => 32,
        Chip::Esp32C2 => 4,
        _ => 16,
    }
}

/// A page size in KiB.
fn kib(bits: u8) -> u32 {
    1_u32.checked_shl(bits.into()).map_or(0, |size| size / 1024)
}

/// The eFuse block revisions that an image accepts. As a minimum, 65535 means none.
fn block_limits(image: &Image) -> (u16, u16) {
    let descriptor = image.descriptor.as_ref();
    descriptor.map_or((0, u16::MAX), |it| {
        let min = it.min_efuse_block_revision;
        let min = if min == u16::MAX { 0 } else { min };
        (min, greatest(it.max_efuse_block_revision))
    })
}

/// A maximum revision, where 0 means none.
fn greatest(max: u16) -> u16 {
    if max == 0 { u16::MAX } else { max }
}

/// Whether no chip lies between these limits.
fn is_empty(min: u16, max: u16) -> bool {
    min > greatest(max) || min > NO_REVISION
}

/// The revisions between two limits, for people: `v0.3 to v1.99`, `v0.3 and later`, `any`.
pub fn limits(min: u16, max: u16) -> String {
    match (min, greatest(max)) {
        (0, u16::MAX) => "any".to_owned(),
        (min, u16::MAX) => format!("{} and later", Revision(min)),
        (min, max) => format!("{} to {}", Revision(min), Revision(max)),
    }
}

/// The same in a sentence: `revision v0.3 and later`, `any revision`.
pub fn revisions(min: u16, max: u16) -> String {
    match limits(min, max).as_str() {
        "any" => "any revision".to_owned(),
        limits => format!("revision {limits}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firmware::Firmware;
    use s3ota_image::app::{ImageBuilder, SignatureKind};

    fn image(builder: ImageBuilder) -> Image {
        Firmware::from_image(builder.build()).unwrap().image
    }

    fn builder() -> ImageBuilder {
        ImageBuilder::new(Chip::Esp32C3, "1.0.0")
    }

    fn codes(remarks: Vec<CliError>) -> Vec<&'static str> {
        assert!(remarks.iter().all(|remark| remark.hint.is_some()));
        remarks.iter().map(|remark| remark.code).collect()
    }

    #[test]
    fn limits_that_no_chip_meets_are_reported() {
        for (image, expected) in [
            (builder(), &[][..]),
            (builder().revisions(3, 199).block_revisions(100, 199), &[]),
            (builder().revisions(3, 0).block_revisions(u16::MAX, 0), &[]),
            (builder().revisions(301, 300), &["image.revision"]),
            (builder().revisions(25_185, 0), &["image.revision"]),
            (
                builder().block_revisions(25_185, u16::MAX),
                &["image.efuse"],
            ),
            (builder().block_revisions(200, 199), &["image.efuse"]),
            (builder().without_guard(), &["image.guard"]),
            (builder().revisions(200, 0), &["image.revision"]),
            (builder().revisions(199, 0), &[]),
            (builder().secure_version(17), &["image.rollback"]),
            (builder().secure_version(16), &[]),
        ] {
            assert_eq!(codes(remarks(&self::image(image))), expected);
        }
        let esp32 = ImageBuilder::new(Chip::Esp32, "1.0.0").block_revisions(25_185, 0);
        assert_eq!(codes(remarks(&image(esp32))), &[] as &[&str]);
        let arduino = builder()
            .project_name("arduino-lib-builder")
            .without_guard();
        let remarks = remarks(&image(arduino));
        let hint = remarks[0].hint.as_deref().unwrap();
        assert!(hint.contains("in the sketch"), "{hint}");
        assert_eq!(codes(remarks), ["image.guard"]);
    }

    #[test]
    fn what_some_devices_would_refuse_after_the_release_before_is_reported() {
        let signed = |kind| builder().signature(kind);
        let (rsa, ecdsa) = (SignatureKind::Rsa, SignatureKind::Ecdsa);
        for (before, after, expected) in [
            (builder(), builder(), &[][..]),
            (
                builder().secure_version(1),
                builder().secure_version(2),
                &[],
            ),
            (
                builder().secure_version(2),
                builder().secure_version(1),
                &["publish.rollback"],
            ),
            (
                builder().secure_version(2),
                builder().without_descriptor().payload(&[0; 256]),
                &["publish.rollback"],
            ),
            (signed(rsa), signed(rsa), &[]),
            (signed(rsa), signed(ecdsa), &["publish.secure_boot"]),
            (signed(rsa), builder(), &["publish.secure_boot"]),
            (builder(), signed(ecdsa), &["publish.secure_boot"]),
            (
                builder(),
                builder().revisions(3, u16::MAX),
                &["publish.revision"],
            ),
            (builder().revisions(3, 0), builder().revisions(0, 0), &[]),
            (
                builder().revisions(0, 0),
                builder().revisions(0, 199),
                &["publish.revision"],
            ),
            (
                builder().revisions(0, 199),
                builder().revisions(0, 399),
                &[],
            ),
            (
                builder(),
                builder().block_revisions(101, 0),
                &["publish.efuse"],
            ),
            (
                builder().block_revisions(u16::MAX, 0),
                builder().block_revisions(0, 199),
                &["publish.efuse"],
            ),
            (
                builder().block_revisions(101, 199),
                builder().block_revisions(100, u16::MAX),
                &[],
            ),
        ] {
            assert_eq!(
                codes(remarks_on_change(&image(after), &image(before))),
                expected
            );
        }
    }

    #[test]
    fn limits_are_told_as_esptool_tells_revisions() {
        assert_eq!(limits(0, 0), "any");
        assert_eq!(revisions(0, 0), "any revision");
        assert_eq!(revisions(3, u16::MAX), "revision v0.3 and later");
        assert_eq!(limits(3, u16::MAX), "v0.3 and later");
        assert_eq!(limits(301, 399), "v3.1 to v3.99");
    }
}
