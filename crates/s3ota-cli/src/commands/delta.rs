//! `s3ota delta`: makes deltas and compressed images, explains them, and applies them.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use s3ota_codec::encode::{self, CannotEncode, Cost, Encoded};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::error::CliError;
use crate::firmware::report::{ArtefactReport, refused};
use crate::firmware::{self, in_file};
use crate::output::table::{Column, Table};
use crate::output::{Output, bytes, hex};

/// Make a delta between two firmwares, or a compressed firmware, and see what it costs
///
/// A delta makes the new image of the old one, which the device has. It knows the chip's instructions: what only moved costs nearly
/// nothing. With - in place of the old image the result is the new image, compressed. Without --output nothing is written.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "\
Examples:
  s3ota delta lamp-1.0.0.bin lamp-1.1.0.bin
  s3ota delta lamp-1.0.0.bin lamp-1.1.0.bin --output lamp.delta
  s3ota delta - lamp-1.1.0.bin --output lamp.packed
  s3ota delta apply lamp-1.0.0.bin lamp.delta --output lamp-1.1.0.bin")]
pub struct DeltaArgs {
    /// The image that the device has, or its ELF file; - for none
    #[arg(required = true)]
    pub old: Option<PathBuf>,

    /// The image that it is to have, or its ELF file
    #[arg(required = true)]
    pub new: Option<PathBuf>,

    /// Write the delta to this file
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    #[command(subcommand)]
    pub command: Option<DeltaCommand>,
}

#[derive(Debug, Subcommand)]
pub enum DeltaCommand {
    Apply(ApplyArgs),
}

/// Apply a delta to the image that it was made from, with the code that runs on the device
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota delta apply lamp-1.0.0.bin lamp.delta --output lamp-1.1.0.bin
  s3ota delta apply - lamp.packed --output lamp-1.1.0.bin")]
pub struct ApplyArgs {
    /// The image that the delta was made from, or its ELF file; - for none
    pub old: PathBuf,

    /// The delta or the compressed image
    pub delta: PathBuf,

    /// Write the new image to this file
    #[arg(short, long, value_name = "NEW")]
    pub output: PathBuf,
}

/// Makes a delta, or applies one.
pub fn run(args: &DeltaArgs, out: &Output) -> Result<(), CliError> {
    match (&args.command, &args.old, &args.new) {
        (Some(DeltaCommand::Apply(args)), ..) => apply(args, out),
        (None, Some(old), Some(new)) => make(old, new, args.output.as_deref(), out),
        _ => Err(CliError::new("cli.usage", "name the old and the new image").usage()),
    }
}

fn make(old: &Path, new: &Path, output: Option<&Path>, out: &Output) -> Result<(), CliError> {
    if let Some(output) = output {
        must_not_overwrite(output, &[old, new])?;
    }
    let base = read_base(old)?;
    let result = read_image(new)?;
    let chips = [(old, &base), (new, &result)].map(|(path, image)| chip_of(path, image, out));
    if let [Some(old), Some(new)] = chips
        && old != new
    {
        let message =
            "the two images are for different chips: no device has the one and takes the other";
        out.warning(&CliError::new("delta.chip", message));
    }
    let mut progress = out.progress("encode", result.len() as u64);
    let total = result.len() as f32;
    let made = encode::encode(&base, &result, &mut |part| {
        progress.set((part * total) as u64)
    });
    progress.finish();
    let made = made.map_err(|error| {
        let failure = CliError::new("delta.impossible", error.to_string());
        match error {
            CannotEncode::TooLarge | CannotEncode::Empty => {
                failure.hint("an app image has a few bytes to 16 MiB: check the files")
            }
            CannotEncode::TooManySections => {
                failure.hint("devices fetch the image itself where there is nothing smaller")
            }
            _ => failure,
        }
    })?;
    if let Some(path) = output {
        fs::write(path, &made.bytes).map_err(|error| CliError::file(path, &error))?;
    }
    explain(&made, &base, &result, output, out);
    Ok(())
}

/// The input is not to be lost.
fn must_not_overwrite(output: &Path, inputs: &[&Path]) -> Result<(), CliError> {
    let is_output = |input: &&&Path| match (fs::canonicalize(input), fs::canonicalize(output)) {
        (Ok(input), Ok(output)) => input == output,
        _ => false,
    };
    let Some(input) = inputs.iter().find(is_output) else {
        return Ok(());
    };
    let message = format!(
        "--output {} would overwrite what it is made of",
        input.display()
    );
    Err(CliError::new("cli.usage", message)
        .hint("name another file")
        .usage())
}

/// The id of the chip that an image is for. `None` for no image, and for what is none, of which it warns.
fn chip_of(path: &Path, image: &[u8], out: &Output) -> Option<u16> {
    if image.is_empty() {
        return None;
    }
    match firmware::Firmware::from_image(image.to_vec()) {
        Ok(firmware) => Some(firmware.image.header.chip_id),
        Err(error) => {
            out.warning(&in_file(path, error));
            None
        }
    }
}

fn explain(made: &Encoded, base: &[u8], result: &[u8], output: Option<&Path>, out: &Output) {
    let report = &made.report;
    let parts = [
        ("code as in the old image", report.copied_code),
        ("data as in the old image", report.copied_data),
        ("what the new image repeats", report.repeated),
        ("new code", report.new_code),
        ("new data", report.new_data),
    ];
    let mut table = Table::new(&[
        Column::new("part").text(),
        Column::new("new image"),
        Column::new("delta"),
    ]);
    for (name, cost) in parts {
        if cost != Cost::default() {
            table.row([
                name.to_owned(),
                bytes(cost.result as u64),
                bytes(cost.bytes() as u64),
            ]);
        }
    }
    let blocks = match report.blocks {
        0 => "segments".to_owned(),
        1 => "segments, and 1 block that is copied".to_owned(),
        n => format!("segments, and {n} blocks that are copied"),
    };
    table.row([blocks, String::new(), bytes(report.table as u64)]);
    table.row([
        "header".to_owned(),
        String::new(),
        bytes(report.header as u64),
    ]);
    out.table(&table);
    let (size, whole) = (made.bytes.len() as u64, result.len() as u64);
    let percent = 100.0 * size as f64 / whole as f64;
    let kind = if base.is_empty() {
        "compressed image"
    } else {
        "delta"
    };
    let place = output.map_or_else(String::new, |path| format!(", in {}", path.display()));
    out.say("");
    out.prose(format_args!(
        "a {kind} of {} in place of {}: {percent:.1} %{place}",
        bytes(size),
        bytes(whole)
    ));
    let costs = |cost: Cost| json!({ "image": cost.result, "bytes": cost.bytes() });
    out.event(
        "delta",
        json!({
            "bytes": size,
            "base": (!base.is_empty()).then(|| hex(&Sha256::digest(base))),
            "base_bytes": base.len(),
            "result": hex(&Sha256::digest(result)),
            "result_bytes": whole,
            "file": output.map(|path| path.display().to_string()),
            "costs": {
                "header": report.header,
                "table": report.table,
                "blocks": report.blocks,
                "copied_code": costs(report.copied_code),
                "copied_data": costs(report.copied_data),
                "repeated": costs(report.repeated),
                "new_code": costs(report.new_code),
                "new_data": costs(report.new_data),
            },
        }),
    );
}

fn apply(args: &ApplyArgs, out: &Output) -> Result<(), CliError> {
    must_not_overwrite(&args.output, &[&args.old, &args.delta])?;
    let base = read_base(&args.old)?;
    let artefact = fs::read(&args.delta).map_err(|error| CliError::file(&args.delta, &error))?;
    let report = ArtefactReport::of(&artefact).map_err(|error| in_file(&args.delta, error))?;
    let header = report.header();
    let is_base = header.base_size == 0 || header.base[..] == *Sha256::digest(&base);
    if !is_base {
        let name = args.delta.display();
        let digest = hex(&header.base);
        let message = match base.is_empty() {
            true => format!(
                "{name} is no compressed image: it applies to the image with SHA-256 {digest}"
            ),
            false => format!(
                "{name} applies to the image with SHA-256 {digest}, which {} is not",
                args.old.display()
            ),
        };
        let hint = "name the image that the delta was made from";
        return Err(CliError::new("delta.base", message).hint(hint));
    }
    let made =
        encode::apply(&base, &artefact).map_err(|error| in_file(&args.delta, refused(error)))?;
    fs::write(&args.output, &made).map_err(|error| CliError::file(&args.output, &error))?;
    out.say(format_args!(
        "{}: {}, as promised",
        args.output.display(),
        bytes(made.len() as u64)
    ));
    let mut fields = report.to_json();
    fields["file"] = json!(args.output.display().to_string());
    out.event("applied", fields);
    Ok(())
}

/// The image that a device has; nothing for `-`.
fn read_base(path: &Path) -> Result<Vec<u8>, CliError> {
    if path == Path::new("-") {
        return Ok(Vec::new());
    }
    read_image(path)
}

/// An image as it is, or the image of an ELF file.
fn read_image(path: &Path) -> Result<Vec<u8>, CliError> {
    let bytes = fs::read(path).map_err(|error| CliError::file(path, &error))?;
    if bytes.is_empty() {
        let empty = std::io::Error::new(ErrorKind::InvalidData, "the file is empty");
        return Err(CliError::file(path, &empty).hint("for no old image, write -"));
    }
    if firmware::is_elf(&bytes) {
        return firmware::elf_to_image(&bytes).map_err(|error| in_file(path, error));
    }
    Ok(bytes)
}
