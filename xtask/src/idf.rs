//! `cargo xtask idf`: the component for ESP-IDF, built by an ESP-IDF that is installed, under the real boot chain.
//!
//! An emulator of the ESP32-C3 runs the mask ROM, ESP-IDF's bootloader as the project builds it, with and without app rollback, and
//! the component's example `ethernet`. It updates itself from `s3ota serve`, with releases by `s3ota publish`.
//!
//! `project.rs` builds, `scenarios.rs` has what a device goes through. The device itself, its chip, its bucket and the transcript
//! are those of `cargo xtask qemu`.

mod project;
mod scenarios;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, fs};

use self::project::{Kind, Project};
use self::scenarios::Extent;
use crate::qemu::bootloader::Bootloader;
use crate::qemu::mode::Mode;
use crate::qemu::scenarios::Bench;
use crate::qemu::transcript::Transcript;
use crate::qemu::{build_s3ota, emulator, inside, server};
use crate::{Result, paths};

/// Run the component for ESP-IDF in an emulator: an update, broken releases, power cuts
///
/// Needs ESP-IDF 5.1 or newer (IDF_PATH, and its export.sh), and a qemu-system-riscv32 with an esp32c3 machine, in PATH or at
/// S3OTA_QEMU. The output is kept in target/idf/transcript.txt.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many updates lose power in the middle, under each bootloader
    #[arg(long, value_name = "N", default_value_t = 8)]
    cuts: u32,

    /// How many updates lose power inside a flash operation, under both bootloaders together
    #[arg(long, value_name = "N", default_value_t = 20)]
    cuts_inside: u32,

    /// The seed of the moments of the power cuts
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Run what was built last, and build only what is missing
    #[arg(long, conflicts_with = "component")]
    built: bool,

    /// Besides the updates, run only scenarios with this text in their name
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,

    /// The component to test, as a release has it, in place of the one that is built now
    #[arg(long, value_name = "DIR")]
    component: Option<PathBuf>,

    /// Arguments for CMake, for each build: `--cmake=-DCCACHE_ENABLE=1`
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    cmake: Vec<String>,
}

/// Builds the example, and takes it through the scenarios.
pub fn run(args: &Args) -> Result<ExitCode> {
    let Some(idf) = env::var_os("IDF_PATH").map(PathBuf::from) else {
        println!(
            "skipped: there is no ESP-IDF. Install it (docs.espressif.com, \"Get Started\"), and run `. $IDF_PATH/export.sh` \
             before"
        );
        return Ok(ExitCode::SUCCESS);
    };
    let Some(emulator) = emulator::find()? else {
        println!(
            "skipped: there is no qemu-system-riscv32 with an esp32c3 machine in PATH or S3OTA_QEMU; \
             `python $IDF_PATH/tools/idf_tools.py install qemu-riscv32` brings it"
        );
        return Ok(ExitCode::SUCCESS);
    };
    let dir = paths::target()?.join("idf");
    paths::make_dir(&dir)?;
    let s3ota = build_s3ota()?;
    let authority = server::authority(&s3ota, &dir.join("authority"))?;
    let release_key = server::release_key(&s3ota, &dir.join("keys"))?;
    let project = match args.built {
        true => Project::prepared(idf, &dir, &args.cmake),
        false => {
            let component = match &args.component {
                Some(component) => component.clone(),
                None => project::component()?,
            };
            Project::prepare(idf, &dir, &component, &authority, &release_key, &args.cmake)?
        }
    };

    let mut images = HashMap::new();
    for kind in Kind::ALL {
        let built = project.image(kind);
        let image = match args.built && built.exists() {
            true => built,
            false => project.build(kind, Bootloader::Stock)?,
        };
        images.insert(kind.version(), image);
    }
    if !args.built || project.flash(Bootloader::AppRollback).is_err() {
        project.build(Kind::First, Bootloader::AppRollback)?;
    }
    let bootloaders = vec![Bootloader::Stock, Bootloader::AppRollback];
    for bootloader in &bootloaders {
        let flash = bootloader.flash(&dir, scenarios::FLASHED);
        fs::write(&flash, project.flash(*bootloader)?)
            .map_err(|error| paths::about(&flash, &error))?;
    }
    let cuts_inside = inside::can_cut(
        &emulator,
        &Bootloader::Stock.flash(&dir, scenarios::FLASHED),
    )?;
    let bench = Bench {
        emulator,
        mode: Mode::Switch,
        cuts_inside,
        s3ota,
        authority,
        release_key,
        images,
        dir: dir.clone(),
        bootloaders,
        transcript: Transcript::create(&dir.join("transcript.txt"))?,
        chain: None,
    };
    let extent = Extent {
        cuts: args.cuts,
        cuts_inside: args.cuts_inside,
        seed: args.seed,
        only: args.only.clone(),
    };
    let all_held = scenarios::run(&bench, &extent)?;
    println!(
        "\nthe transcript is in {}",
        dir.join("transcript.txt").display()
    );
    Ok(if all_held {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
