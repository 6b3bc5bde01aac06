//! `s3ota new`: a firmware project of one's own.

use std::path::PathBuf;

use clap::Args;
use s3ota_image::Chip;
use serde_json::json;

use crate::error::CliError;
use crate::output::Output;
use crate::project::{self, FlashSize, Project, Source};

/// Create a firmware project for a chip
///
/// The folder NAME gets a firmware in Rust that joins Wi-Fi, checks its bucket after boot and every hour, installs new releases and
/// proves them on a trial boot: Cargo.toml with the versions that fit together, flags, partition table, settings, and a main of some
/// seventy lines to go on from. Its README.md has the next steps.
///
/// s3ota's own crates come from the checkout that this command was built from, or from crates.io if there is none; --path and --git
/// name another source.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota new lamp --chip esp32c3
  s3ota new lamp --chip esp32s3 --flash 16mb
  s3ota new lamp --chip esp32c6 --path ~/s3ota")]
pub struct NewArgs {
    /// The firmware's name, as in Cargo.toml and in its images
    pub name: String,

    /// The chip: esp32, esp32s2, esp32s3, esp32c2, esp32c3, esp32c5 or esp32c6
    #[arg(long, value_parser = parse_chip)]
    pub chip: Chip,

    /// The size of the board's flash
    #[arg(long, value_name = "SIZE", default_value = "4mb", ignore_case = true)]
    pub flash: FlashSize,

    /// The folder to create; by default NAME. It may exist if it is empty
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,

    /// The manifest's URL for cfg.toml, as `s3ota publish` prints it
    #[arg(long, value_name = "URL")]
    pub manifest_url: Option<String>,

    /// Take s3ota's crates from this checkout of its repository
    #[arg(long, value_name = "DIR", conflicts_with = "git")]
    pub path: Option<PathBuf>,

    /// Take s3ota's crates from this git repository
    #[arg(long, value_name = "URL")]
    pub git: Option<String>,

    /// The commit of the git repository
    #[arg(long, requires = "git")]
    pub rev: Option<String>,
}

/// Creates the project.
pub fn run(args: NewArgs, out: &Output) -> Result<(), CliError> {
    let source = match (args.path, args.git) {
        (Some(root), _) => Source::checkout(&root)?,
        (None, Some(url)) => Source::git(url, args.rev)?,
        (None, None) => Source::of_this_command(),
    };
    let dir = args.dir.unwrap_or_else(|| PathBuf::from(&args.name));
    let project = Project::new(
        args.name.clone(),
        args.chip,
        args.flash,
        source.clone(),
        args.manifest_url,
    )?;
    project.write(&dir)?;

    let files: Vec<_> = project.files().into_iter().map(|(path, _)| path).collect();
    out.event(
        "project",
        json!({
            "name": args.name,
            "dir": dir.display().to_string(),
            "chip": args.chip.name(),
            "target": project.target(),
            "flash": args.flash.to_string(),
            "s3ota": source.to_json(),
            "files": files,
        }),
    );
    let (chip, name) = (args.chip.family(), &args.name);
    out.prose(format_args!(
        "{} has a firmware for the {chip} with {} of flash. s3ota's crates: {source}",
        dir.display(),
        args.flash
    ));
    out.heading("Next");
    out.say(format_args!("  cd {}", dir.display()));
    if project.is_xtensa() {
        out.say("  cargo install espup --locked && espup install && . ~/export-esp.sh");
    } else {
        out.say(format_args!("  rustup target add {}", project.target()));
    }
    out.say("  cargo install espflash --locked");
    out.say(format_args!(
        "  s3ota bucket init s3://BUCKET/{name} --region REGION"
    ));
    out.say("  # enter your network and the manifest's URL in cfg.toml");
    out.say("  cargo run --release");
    out.say(format_args!(
        "  s3ota publish target/{}/release/{name} s3://BUCKET/{name}",
        project.target()
    ));
    out.say("\nREADME.md there says more.");
    Ok(())
}

/// A chip, in any of the ways that it is written.
fn parse_chip(text: &str) -> Result<Chip, String> {
    let plain = text.to_ascii_lowercase().replace(['-', '_'], "");
    plain
        .parse()
        .map_err(|_| format!("there are {}", project::supported().join(", ")))
}
