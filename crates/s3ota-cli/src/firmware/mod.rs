//! Firmware files: app images, and ELF files, which are converted to one.

pub mod contents;
pub mod dump;
mod fit;
mod own_version;
pub mod report;

use std::fs;
use std::panic;
use std::path::Path;

use espflash::flasher::{FlashData, FlashSettings, FlashSize};
use espflash::image_format::{Metadata, idf::IdfBootloaderFormat};
use object::{Architecture, Object, ObjectSection};
use s3ota_image::app::{Image, Verifier};
use s3ota_image::{Chip, ImageError};

use self::contents::{Contents, Format, Trailer};
use self::dump::image_in;
use self::report::FlashReport;

pub use self::fit::{NEWEST_BLOCK, limits, newest_revision, remarks, remarks_on_change, revisions};
pub use self::own_version::OwnVersion;
use crate::error::CliError;

/// A firmware that was checked to be complete and intact.
#[derive(Debug, Clone)]
pub struct Firmware {
    /// The app image, as it goes to the bucket and into a slot.
    pub bytes: Vec<u8>,
    /// The facts in the image.
    pub image: Image,
}

impl Firmware {
    /// A firmware from the bytes of an app image.
    pub fn from_image(bytes: Vec<u8>) -> Result<Self, CliError> {
        match (verify(&bytes), contents::recognise(&bytes, None)) {
            (Ok(image), Contents::Image) => Ok(Self { bytes, image }),
            (verdict, contents) => Err(refuse(verdict.err(), &contents, &bytes)),
        }
    }
}

/// Reads a firmware, an app image or an ELF file; the contents decide, not the name.
pub fn read(path: &Path) -> Result<Firmware, CliError> {
    let bytes = fs::read(path).map_err(|error| CliError::file(path, &error))?;
    let firmware = if is_elf(&bytes) {
        elf_to_image(&bytes)
    } else {
        Ok(bytes)
    }
    .and_then(Firmware::from_image);
    firmware.map_err(|error| in_file(path, error))
}

/// An app image that was taken out of a larger file.
#[derive(Debug)]
pub struct Taken {
    /// The firmware.
    pub firmware: Firmware,
    /// The partition it was in; `None` if the file is a slot.
    pub partition: Option<String>,
}

/// Takes the app image out of a merged image or a flash dump: the one that would boot. Or out of a slot, of which it is the
/// beginning. Any other file is an error.
pub fn take_from_merged(path: &Path, table_offset: Option<u32>) -> Result<Taken, CliError> {
    let bytes = fs::read(path).map_err(|error| CliError::file(path, &error))?;
    let taken = match contents::recognise(&bytes, table_offset) {
        Contents::Flash(dump) => FlashReport::of(&dump).and_then(|report| {
            let app = report.app()?;
            Ok(Taken {
                firmware: Firmware::from_image(dump.image_of(app).to_vec())?,
                partition: Some(app.partition.label.to_string()),
            })
        }),
        Contents::Followed(Trailer::Erased | Trailer::Slot) => {
            let mut verifier = Verifier::in_slot();
            let image = verifier.update(&bytes).and_then(|()| verifier.finish());
            image
                .map_err(|error| CliError::new(error.code(), error.to_string()))
                .and_then(|image| Firmware::from_image(image_in(&bytes, &image).to_vec()))
                .map(|firmware| Taken {
                    firmware,
                    partition: None,
                })
        }
        Contents::Image | Contents::Elf => {
            let message = "this is no merged image but a firmware alone";
            Err(CliError::new("image.invalid", message).hint("publish it without --from-merged"))
        }
        contents => Err(refuse(None, &contents, &bytes)),
    };
    taken.map_err(|error| in_file(path, error))
}

/// A problem with the contents of a file.
pub fn in_file(path: &Path, error: CliError) -> CliError {
    CliError {
        message: format!("{}: {}", path.display(), error.message),
        ..error
    }
}

/// The most bytes of an image: the flash of the largest chips.
pub const MAX_IMAGE: u32 = 32 << 20;

/// Whether these bytes begin as an ELF file does.
pub fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF")
}

/// Converts an ELF file to an app image, the same to the byte as `espflash save-image`, except for the minimum chip revision: see
/// [`min_revision`].
pub fn elf_to_image(elf: &[u8]) -> Result<Vec<u8>, CliError> {
    convert(elf, |image| {
        let app = image.ota_segments().next();
        app.map(|segment| segment.data().to_vec())
    })
}

/// The bootloader that espflash would write with this ELF file.
pub fn bundled_bootloader(elf: &[u8]) -> Result<Vec<u8>, CliError> {
    convert(elf, |image| {
        let bootloader = image.flash_segments().next();
        bootloader.map(|segment| segment.data().to_vec())
    })
}

/// The address at which the chip's ROM looks for the bootloader.
pub fn bootloader_address(chip: Chip) -> Result<u32, CliError> {
    Ok(espflash_chip(chip)?.boot_address())
}

fn espflash_chip(chip: Chip) -> Result<espflash::target::Chip, CliError> {
    chip.name().parse().map_err(|_| {
        by_hand(
            format!("there is no conversion to an app image for {chip}"),
            Some(chip),
        )
    })
}

/// Lets espflash lay out an ELF file, and takes a part of the result.
fn convert(
    elf: &[u8],
    part: fn(IdfBootloaderFormat<'_>) -> Option<Vec<u8>>,
) -> Result<Vec<u8>, CliError> {
    let chip = elf_chip(elf)?;
    let target = espflash_chip(chip)?;
    let min_revision = min_revision(elf, chip);
    // The flash size of espflash limits the image, and is in its header. espflash's default is 4 MB; an image that does not fit
    // was not made for such a flash.
    let mut problem = None;
    for size in [FlashSize::_4Mb, FlashSize::_8Mb, FlashSize::_16Mb] {
        let settings = FlashSettings::new(None, Some(size), None);
        let crystal = target.default_xtal_frequency();
        let flash = FlashData::new(settings, min_revision, None, target, crystal);
        // espflash assumes that the linker script was one of the usual ones.
        let made = panic::catch_unwind(|| {
            let image = IdfBootloaderFormat::new(elf, &flash, None, None, None, None)?;
            Ok::<_, espflash::Error>(part(image))
        });
        match made {
            Ok(Ok(Some(image))) => return Ok(image),
            Ok(Err(error @ espflash::Error::ElfTooBig(..))) => problem = Some(error.to_string()),
            Ok(Err(error)) => return Err(by_hand(error.to_string(), Some(chip))),
            Ok(Ok(None)) | Err(_) => {
                return Err(by_hand(
                    "this ELF file does not have the layout of a firmware".to_owned(),
                    Some(chip),
                ));
            }
        }
    }
    Err(by_hand(problem.unwrap_or_default(), Some(chip)))
}

/// The chip for which an ELF file was linked.
///
/// esp-hal names it in the section `.espressif.metadata`: by a symbol, or as plain text if the symbols were stripped. Other
/// firmwares have an address that no other chip has (memory maps of the technical reference manuals).
fn elf_chip(elf: &[u8]) -> Result<Chip, CliError> {
    let metadata = Metadata::from_bytes(Some(elf));
    if let Some(name) = metadata.chip_name() {
        return name
            .parse()
            .map_err(|_| by_hand(format!("the ELF file is for the unknown chip {name}"), None));
    }
    let file = object::File::parse(elf).map_err(|error| {
        CliError::new(
            "image.invalid",
            format!("the ELF file cannot be read: {error}"),
        )
    })?;
    let arch = file.architecture();
    if is_esp8266(&file) {
        return Err(
            CliError::new("image.chip", "this ELF file is for the ESP8266").hint(
                "s3ota updates the chips of the ESP32 family; build the firmware for one of them",
            ),
        );
    }
    if !matches!(arch, Architecture::Riscv32 | Architecture::Xtensa) {
        let message = format!("this ELF file is not for an ESP32 but for {arch:?}");
        let hint = "build the firmware for the chip, as in `cargo build --target riscv32imc-unknown-none-elf`";
        return Err(CliError::new("image.chip", message).hint(hint));
    }
    let section = file
        .section_by_name(".espressif.metadata")
        .and_then(|section| section.data().ok());
    let named = section.and_then(chip_in_text);
    named
        .or_else(|| chip_by_address(&file))
        .ok_or_else(|| by_hand("the ELF file does not name its chip".to_owned(), None))
}

/// The minimum chip revision of an ELF file; 0 if it names none.
///
/// esp-hal 1.2 and newer has it beside the chip's name: `build_info.MIN_CHIP_REVISION`, the value of
/// `ESP_HAL_CONFIG_MIN_CHIP_REVISION` (`metadata!` in its `src/lib.rs`), with which `esp_hal::init` panics on an older chip.
/// espflash reads the symbol; if the symbols were stripped, the number still follows the name. Older esp-hal does not have it,
/// and ESP-IDF passes the number to esptool and not to the linker: there it cannot be known.
fn min_revision(elf: &[u8], chip: Chip) -> u16 {
    let metadata = Metadata::from_bytes(Some(elf));
    if metadata.chip_name().is_some() {
        return metadata.min_chip_revision().unwrap_or(0);
    }
    let file = object::File::parse(elf).ok();
    let section = file.and_then(|file| {
        let section = file.section_by_name(".espressif.metadata")?;
        section.data().ok().map(<[u8]>::to_vec)
    });
    section.map_or(0, |text| revision_in_text(&text, chip))
}

/// The number that follows a chip's name in a text without separators.
fn revision_in_text(text: &[u8], chip: Chip) -> u16 {
    let name = chip.name().as_bytes();
    let at = text.windows(name.len()).position(|window| window == name);
    let behind = at.and_then(|at| text.get(at + name.len()..));
    let digits = behind.unwrap_or_default().iter();
    let digits = digits.take_while(|byte| byte.is_ascii_digit());
    let digits: String = digits.map(|&byte| char::from(byte)).collect();
    digits.parse().unwrap_or(0)
}

/// The chip whose name is in a text without separators; `None` if two names are possible.
fn chip_in_text(text: &[u8]) -> Option<Chip> {
    let holds = |name: &str| {
        text.windows(name.len())
            .any(|window| window == name.as_bytes())
    };
    let named = Chip::ALL.into_iter().filter(|chip| holds(chip.name()));
    let chip = named.max_by_key(|chip| chip.name().len())?;
    // A revision may follow: `esp32c6` and `100` look like `esp32c61` and `00`.
    (chip != Chip::Esp32C61).then_some(chip)
}

/// Whether an ELF file has code and data where only the ESP8266 has RAM, and nothing in the RAM for code that every ESP32 has.
fn is_esp8266(file: &object::File<'_>) -> bool {
    let uses = |from: u64, to: u64| {
        file.sections()
            .any(|section| section.size() > 0 && (from..to).contains(&section.address()))
    };
    file.architecture() == Architecture::Xtensa
        && uses(0x3FFE_8000, 0x4000_0000)
        && uses(0x4010_0000, 0x4030_0000)
        && !uses(0x4002_0000, 0x400D_0000)
        && !uses(0x4037_0000, 0x403F_0000)
}

/// The only chip that has memory where the ELF file is to be loaded.
fn chip_by_address(file: &object::File<'_>) -> Option<Chip> {
    let uses = |from: u64, to: u64| {
        file.sections()
            .any(|section| section.size() > 0 && (from..to).contains(&section.address()))
    };
    match file.architecture() {
        Architecture::Xtensa if uses(0x4200_0000, 0x4400_0000) => Some(Chip::Esp32S3),
        Architecture::Xtensa
            if uses(0x400D_0000, 0x4040_0000) && !uses(0x4002_0000, 0x4007_0000) =>
        {
            Some(Chip::Esp32)
        }
        Architecture::Xtensa if uses(0x4002_0000, 0x4007_0000) => Some(Chip::Esp32S2),
        Architecture::Riscv32 if uses(0x3FC8_0000, 0x3FCA_0000) => Some(Chip::Esp32C3),
        Architecture::Riscv32 if uses(0x4FF0_0000, 0x4FFC_0000) => Some(Chip::Esp32P4),
        _ => None,
    }
}

fn by_hand(problem: String, chip: Option<Chip>) -> CliError {
    let chip = chip.map_or("CHIP", Chip::name);
    CliError::new("image.invalid", problem).hint(format!(
        "make the app image with `espflash save-image --chip {chip} ELF firmware.bin`, and use that file"
    ))
}

/// Checks a whole app image.
pub fn verify(bytes: &[u8]) -> Result<Image, ImageError> {
    let mut verifier = Verifier::new();
    verifier.update(bytes)?;
    verifier.finish()
}

/// Why a file that holds these contents is no firmware, and the next step. `error` says what is wrong with it as an app image.
fn refuse(error: Option<ImageError>, contents: &Contents, bytes: &[u8]) -> CliError {
    let invalid = |message: String| CliError::new("image.invalid", message);
    match contents {
        Contents::Image | Contents::Elf => match error {
            Some(error) => CliError::new(error.code(), error.to_string()),
            None => invalid("this is not an app image".to_owned()),
        },
        Contents::Followed(Trailer::SignatureV1) => invalid(
            "this app image is signed for Secure Boot V1, of the ESP32 before revision v3.0, which s3ota does not support"
                .to_owned(),
        )
        .hint("for a chip without Secure Boot V1, publish the image as it was before it was signed"),
        Contents::Followed(trailer) => {
            let length = error.map_or(0, |error| match error {
                ImageError::TrailingData { image_length } => image_length,
                _ => 0,
            });
            let more = bytes.len().saturating_sub(length as usize);
            let what = match trailer {
                Trailer::Erased => "erased flash (0xFF), as in a slot that was read from a chip",
                _ => "something that is not part of it, as in a slot that was read from a chip",
            };
            CliError::new(
                "image.size",
                format!("the app image is followed by {more} bytes of {what}"),
            )
            .hint("publish the app image alone; --from-merged takes it out of this file")
        }
        Contents::Artefact => {
            invalid("this is a delta or a compressed image, not an app image".to_owned())
                .hint("publish the app image itself; `s3ota delta apply` makes it again of a delta and its base")
        }
        Contents::Bootloader => invalid("this is a bootloader, not an app image".to_owned())
            .hint("publish the app image of the same build: build/PROJECT.bin of `idf.py build`, or the output of `espflash save-image`"),
        Contents::Flash(dump) => {
            let error = invalid(
                "this is not an app image but a whole flash, with bootloader and partition table: a merged image, or a dump of a chip"
                    .to_owned(),
            );
            let report = FlashReport::of(dump);
            match report.as_ref().map(FlashReport::app) {
                Ok(Ok(app)) => error.hint(format!(
                    "publish the app image alone: `espflash save-image` without --merge, or the project's .bin of `idf.py build`; \
                     --from-merged takes {}, the one in {} that would boot, out of this file",
                    title(app),
                    app.partition.label
                )),
                _ => error.hint(
                    "publish the app image alone: `espflash save-image` without --merge, or the project's .bin of `idf.py build`; \
                     `s3ota inspect` says why nothing in this file would boot",
                ),
            }
        }
        Contents::Table | Contents::TableCsv(_) => {
            invalid("this is a partition table, not an app image".to_owned())
                .hint("publish the app image; to see what the table means for updates, use `s3ota inspect`")
        }
        Contents::Other(_) if bytes.is_empty() => {
            CliError::new("image.size", "the file is empty").hint(contents::MAKE)
        }
        Contents::Other(Format { name, hint }) => invalid(format!("this is {name}")).hint(*hint),
    }
}

/// `lamp 1.1.0`.
fn title(app: &s3ota_sim::App) -> String {
    let descriptor = app.image.descriptor.as_ref();
    let texts = descriptor.map_or(["an app", ""], |it| [it.project_name(), it.version()]);
    texts.join(" ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3ota_image::app::ImageBuilder;
    use s3ota_sim::Setup;
    use std::sync::LazyLock;

    const ELF: &[u8] = include_bytes!("../../fixtures/hello-esp32c3-1.1.0.elf");
    static IMAGE: LazyLock<Vec<u8>> = LazyLock::new(|| elf_to_image(ELF).unwrap());

    #[test]
    fn an_elf_becomes_an_image_of_its_version_and_chip() {
        assert!(is_elf(ELF) && !is_elf(&IMAGE));
        let firmware = Firmware::from_image(IMAGE.clone()).unwrap();
        assert_eq!(firmware.image.header.chip(), Some(Chip::Esp32C3));
        assert_eq!(firmware.image.descriptor.unwrap().version(), "1.1.0");
    }

    #[test]
    fn a_chip_is_recognised_by_its_name_or_by_its_addresses() {
        assert_eq!(chip_in_text(b"ESP-IDFesp32c30serial"), Some(Chip::Esp32C3));
        assert_eq!(chip_in_text(b"esp32100"), Some(Chip::Esp32));
        assert_eq!(chip_in_text(b"esp32c6100serial"), None);
        assert_eq!(chip_in_text(b"serial"), None);
        assert_eq!(
            chip_by_address(&object::File::parse(ELF).unwrap()),
            Some(Chip::Esp32C3)
        );
    }

    #[test]
    fn an_elf_becomes_an_image_with_its_minimum_revision() {
        let min_revision = |elf: &[u8]| {
            let image = Firmware::from_image(elf_to_image(elf).unwrap()).unwrap();
            image.image.header.min_revision
        };
        assert_eq!(min_revision(ELF), 0);
        // The metadata of a stripped file: `ESP-IDFesp32c30serial`.
        let mut newer = ELF.to_vec();
        let said = b"esp32c30serial";
        let at = newer.windows(said.len()).position(|it| it == said).unwrap();
        newer[at + 7] = b'4';
        assert_eq!(min_revision(&newer), 4);
    }

    #[test]
    fn the_minimum_revision_is_the_number_that_follows_the_chip() {
        for (text, chip, revision) in [
            (&b"ESP-IDFesp32c30serial"[..], Chip::Esp32C3, 0),
            (b"esp32300serial", Chip::Esp32, 300),
            (b"esp32p4301", Chip::Esp32P4, 301),
            (b"esp32s3", Chip::Esp32S3, 0),
            (b"esp32c3serial4", Chip::Esp32C3, 0),
            (b"esp32c399999", Chip::Esp32C3, 0),
            (b"", Chip::Esp32, 0),
        ] {
            assert_eq!(revision_in_text(text, chip), revision);
        }
    }

    #[test]
    fn an_elf_of_another_machine_is_refused() {
        let mut desktop = ELF.to_vec();
        desktop[18..20].copy_from_slice(&3u16.to_le_bytes()); // e_machine: EM_386
        let renamed = ELF
            .windows(7)
            .position(|window| window == b"esp32c3")
            .unwrap();
        desktop[renamed..renamed + 7].copy_from_slice(b"desktop");
        assert_eq!(elf_to_image(&desktop).unwrap_err().code, "image.chip");
    }

    #[test]
    fn a_broken_elf_is_an_error_and_not_a_panic() {
        for length in (0..ELF.len()).step_by(977) {
            assert!(elf_to_image(&ELF[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_whole_flash_is_not_a_firmware() {
        let without_bootloader = Setup::default().flash(&IMAGE).unwrap();
        let mut with_bootloader = without_bootloader.clone();
        with_bootloader[..0x8000].copy_from_slice(&IMAGE[..0x8000]); // begins as an image does
        for flash in [without_bootloader, with_bootloader] {
            let error = Firmware::from_image(flash).unwrap_err();
            assert!(
                error.message.contains("whole flash") && error.hint.is_some(),
                "{error}"
            );
        }
    }

    #[test]
    fn what_is_not_a_firmware_is_named() {
        for (bytes, code) in [
            (&b""[..], "image.size"),
            (b"<html>", "image.invalid"),
            (&IMAGE[..5000], "image.size"),
        ] {
            assert_eq!(Firmware::from_image(bytes.to_vec()).unwrap_err().code, code);
        }
        let mut flipped = ImageBuilder::new(Chip::Esp32C3, "1.0.0").build();
        flipped[250] ^= 1;
        assert_eq!(
            Firmware::from_image(flipped).unwrap_err().code,
            "image.digest"
        );
    }
}
