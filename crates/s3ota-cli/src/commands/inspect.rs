//! `s3ota inspect`: shows what an app image or a flash dump contains.

use std::fs;
use std::path::PathBuf;

use clap::Args;

use crate::error::CliError;
use crate::firmware;
use crate::firmware::report::{FlashReport, ImageReport};
use crate::output::Output;

/// Show what an app image or a flash dump contains
///
/// For an app image: chip, version, size, digest, and whether it is intact. For a flash dump: partition table, slots, versions,
/// otadata, and which firmware would boot.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// An app image, an ELF file, or a dump of a whole flash
    pub file: PathBuf,
}

/// Shows what is in a file. Fails if it is damaged or would not boot.
pub fn run(args: &InspectArgs, out: &Output) -> Result<(), CliError> {
    let path = &args.file;
    let bytes = fs::read(path).map_err(|error| CliError::file(path, &error))?;
    let named = |error: CliError| CliError {
        message: format!("{}: {}", path.display(), error.message),
        ..error
    };
    if firmware::is_flash(&bytes) {
        let report = FlashReport::of(&bytes).map_err(named)?;
        out.prose(&report);
        out.event("flash", report.to_json());
        return report.check().map_err(named);
    }
    let image = if firmware::is_elf(&bytes) {
        out.say("An ELF file, which becomes this app image:\n");
        firmware::elf_to_image(&bytes).map_err(named)?
    } else {
        bytes
    };
    let report = ImageReport::of_file(&image);
    if report.header.is_some() {
        out.prose(&report);
        out.event("image", report.to_json());
    }
    // The same errors as for publishing it.
    firmware::Firmware::from_image(image)
        .map(drop)
        .map_err(named)
}
