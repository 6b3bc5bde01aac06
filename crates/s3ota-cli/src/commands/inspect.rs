//! `s3ota inspect`: shows what a file of a build or a flash contains.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use s3ota_image::partition::{LAST_TABLE_OFFSET, TABLE_OFFSET};

use crate::error::CliError;
use crate::firmware::contents::{self, Contents};
use crate::firmware::dump::Dump;
use crate::firmware::report::{ArtefactReport, FlashReport, ImageReport, TableReport};
use crate::firmware::{self, Firmware, in_file};
use crate::output::Output;

/// Show what an app image or a flash contains
///
/// For an app image: chip, version, size, digest, and whether it is intact. For a flash dump or a merged image: partition table,
/// slots, versions, otadata, which firmware would boot, and what will stop updates. For a partition table, binary or CSV: the same
/// of it. For a delta or a compressed image: what it is made from, and what it makes. Any other file is named.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota inspect lamp.bin
  s3ota inspect flash.bin --json
  s3ota inspect partitions.csv")]
pub struct InspectArgs {
    /// An app image, an ELF file, a flash dump or merged image, a partition table, or a delta
    pub file: PathBuf,

    /// Where the partition table is on this flash. By default it is looked for
    #[arg(long, value_name = "OFFSET", value_parser = parse_offset)]
    pub partition_table_offset: Option<u32>,
}

/// An offset on flash, in decimal or in hexadecimal: a multiple of the 4 KiB sector.
pub fn parse_offset(text: &str) -> Result<u32, String> {
    let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    match number {
        Ok(offset)
            if offset > 0 && offset <= LAST_TABLE_OFFSET && offset.is_multiple_of(0x1000) =>
        {
            Ok(offset)
        }
        _ => Err(format!(
            "write it like 0x8000: a multiple of 0x1000, up to {LAST_TABLE_OFFSET:#x}"
        )),
    }
}

/// Shows what is in a file. Fails if it is damaged or would not boot.
pub fn run(args: &InspectArgs, out: &Output) -> Result<(), CliError> {
    let path = &args.file;
    let bytes = fs::read(path).map_err(|error| CliError::file(path, &error))?;
    let shown = show(&bytes, args.partition_table_offset, out);
    shown.map_err(|error| in_file(path, error))
}

fn show(bytes: &[u8], table_offset: Option<u32>, out: &Output) -> Result<(), CliError> {
    let contents = contents::recognise(bytes, table_offset);
    let has_table = matches!(
        contents,
        Contents::Flash(_) | Contents::Table | Contents::TableCsv(_)
    );
    if table_offset.is_some() && !has_table {
        return Dump::of(bytes, table_offset).map(drop);
    }
    match contents {
        Contents::Flash(dump) => show_flash(&dump, out),
        Contents::Table => {
            let offset = table_offset.unwrap_or(TABLE_OFFSET);
            show_table(&TableReport::of(bytes, offset)?, out);
            Ok(())
        }
        Contents::TableCsv(text) => {
            let offset = table_offset.unwrap_or(TABLE_OFFSET);
            let report = TableReport::of_csv(&text, offset)?;
            show_table(&report, out);
            if table_offset.is_none() {
                warn(report.gap().as_slice(), out);
            }
            Ok(())
        }
        Contents::Artefact => {
            let report = ArtefactReport::of(bytes)?;
            out.prose(&report);
            out.event("artefact", report.to_json());
            report.check(bytes)
        }
        Contents::Bootloader => {
            let report = ImageReport::of_slot(bytes);
            out.prose(format_args!("a bootloader\n{report}"));
            out.event("bootloader", report.to_json());
            Ok(())
        }
        Contents::Elf => {
            let image = firmware::elf_to_image(bytes)?;
            out.say("An ELF file, which becomes this app image:\n");
            show_image(ImageReport::of_file(&image), image, out)
        }
        Contents::Image => show_image(ImageReport::of_file(bytes), bytes.to_vec(), out),
        Contents::Followed(_) => show_image(ImageReport::of_slot(bytes), bytes.to_vec(), out),
        Contents::Other(_) => Firmware::from_image(bytes.to_vec()).map(drop),
    }
}

fn show_flash(dump: &Dump, out: &Output) -> Result<(), CliError> {
    let report = FlashReport::of(dump);
    if let (Err(_), Some(table)) = (&report, TableReport::misplaced(dump.table_bytes())) {
        out.prose(format_args!("at {:#x}, {table}", dump.table_offset));
    }
    let report = report?;
    out.prose(&report);
    out.event("flash", report.to_json());
    warn(report.warnings(), out);
    report.check()
}

/// Warnings for people; programs have them in the report.
fn warn(warnings: &[CliError], out: &Output) {
    if !out.is_for_programs() {
        warnings.iter().for_each(|warning| out.warning(warning));
    }
}

fn show_table(report: &TableReport, out: &Output) {
    out.prose(report);
    out.event("partitions", report.to_json());
    warn(report.warnings(), out);
}

/// Shows an image as far as it is one. Fails with the same errors as publishing it.
fn show_image(report: ImageReport, bytes: Vec<u8>, out: &Output) -> Result<(), CliError> {
    let checked = Firmware::from_image(bytes);
    if report.header.is_some() {
        out.prose(&report);
        out.event("image", report.to_json());
        warn(&report.warnings(), out);
    }
    checked.map(drop)
}
