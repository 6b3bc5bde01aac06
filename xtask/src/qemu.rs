//! `cargo xtask qemu`: the firmware under the real boot chain.
//!
//! An emulator of the ESP32-C3 runs the chip's own mask ROM, ESP-IDF's bootloader (espflash's, and one with app rollback), and
//! the example `simple`, unchanged except for its network: Ethernet in place of Wi-Fi. It updates itself from `s3ota serve`,
//! with releases by `s3ota publish`, through failures and power cuts.
//!
//! `variants.rs` has the firmwares, `scenarios.rs` what they go through: releases that die are in `deaths.rs`, power cuts inside
//! flash operations in `inside.rs`, the bootloaders' behaviour in `otadata.rs`. `device.rs` has a device, `emulator.rs` its
//! chip, `bootloader.rs` its bootloader, `server.rs` the bucket, and `transcript.rs` the output of all of them.

mod bootloader;
mod deaths;
mod device;
mod emulator;
mod inside;
mod otadata;
mod random;
mod scenarios;
mod server;
mod transcript;
mod variants;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs, thread};

use self::bootloader::Bootloader;
use self::scenarios::{Bench, Extent};
use self::transcript::Transcript;
use self::variants::{Settings, Variant};
use crate::{Result, alone, paths, toolchain};

/// Run the firmware in an emulator: updates, broken releases, power cuts
///
/// Needs espflash, and a qemu-system-riscv32 with an esp32c3 machine, in PATH or at S3OTA_QEMU. S3OTA_BOOTLOADER_APP_ROLLBACK is
/// the path of a bootloader with app rollback. The output is kept in target/emulator/transcript.txt.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Build everything, but run nothing
    #[arg(long)]
    build_only: bool,

    /// Only update once, and print how much of the main task's stack was used
    #[arg(long, conflicts_with = "only")]
    stack: bool,

    /// How many updates lose power in the middle, every other one twice
    #[arg(long, value_name = "N", default_value_t = 27)]
    cuts: u32,

    /// How many updates lose power inside a flash operation, every other one twice
    #[arg(long, value_name = "N", default_value_t = 30)]
    cuts_inside: u32,

    /// The seed of the moments of the power cuts
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Besides the updates, run only scenarios with this text in their name
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,

    /// How many emulators run at the same time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: u16,
}

/// The server's address for the firmware, in the emulator's own network. [`relay`] is behind it.
const SERVER: &str = "10.0.2.100";
const PORT: u16 = 9443;

/// What is flashed by cable, and where that flash is kept.
const FLASHES: [(&str, Variant); 3] = [
    (scenarios::FLASHED, variants::FIRST),
    (scenarios::FLASHED_WITH_KEY, variants::FIRST_WITH_KEY),
    (scenarios::FLASHED_IDLE, variants::HANGS_AT_ITS_ENTRY),
];

/// Builds the firmwares and takes them through the scenarios.
pub fn run(args: &Args) -> Result<ExitCode> {
    let emulator = emulator::find()?;
    let skipped = emulator.is_none() && !args.build_only;
    if skipped {
        println!(
            "skipped: there is no qemu-system-riscv32 with an esp32c3 machine in PATH or S3OTA_QEMU; Espressif's comes \
             with `python $IDF_PATH/tools/idf_tools.py install qemu-riscv32` or from github.com/espressif/qemu/releases"
        );
        return Ok(ExitCode::SUCCESS);
    }
    let dir = paths::target()?.join("emulator");
    let s3ota = build_s3ota()?;
    let authority = server::authority(&s3ota, &dir.join("authority"))?;
    let release_key = server::release_key(&s3ota, &dir.join("keys"))?;
    let (wanted, flashes) = if args.stack {
        (&variants::ALL[..2], &FLASHES[..1])
    } else {
        (&variants::ALL[..], &FLASHES[..])
    };
    let images = build_firmwares(wanted, &dir, &authority, &release_key)?;
    let app_rollback = bootloader::app_rollback()?;
    let bootloaders: Vec<_> = std::iter::once(Bootloader::Stock)
        .chain(app_rollback.as_ref().map(|_| Bootloader::AppRollback))
        .collect();
    for (name, variant) in flashes {
        let bytes = flash_image(&dir.join(name), &images[variant.name])?;
        for &bootloader in &bootloaders {
            let mut bytes = bytes.clone();
            if let (Bootloader::AppRollback, Some(image)) = (bootloader, &app_rollback) {
                bootloader::replace(&mut bytes, image);
            }
            let flash = bootloader.flash(&dir, name);
            fs::write(&flash, bytes).map_err(|error| paths::about(&flash, &error))?;
        }
    }
    println!(
        "{} firmwares and flashes of 4 MB are in {}",
        images.len(),
        dir.display()
    );
    let Some(emulator) = emulator.filter(|_| !args.build_only) else {
        return Ok(ExitCode::SUCCESS);
    };

    let transcript = Transcript::create(&dir.join("transcript.txt"))?;
    let cuts_inside = inside::can_cut(
        &emulator,
        &Bootloader::Stock.flash(&dir, scenarios::FLASHED),
    )?;
    let bench = Bench {
        emulator,
        cuts_inside,
        s3ota,
        authority,
        release_key,
        images,
        dir: dir.clone(),
        bootloaders,
        transcript,
    };
    if args.stack {
        let (_, stack) = scenarios::update(&bench, Bootloader::Stock)?;
        println!("the update took {stack} bytes of the main task's stack");
        return Ok(ExitCode::SUCCESS);
    }
    let extent = Extent {
        cuts: args.cuts,
        cuts_inside: args.cuts_inside,
        seed: args.seed,
        jobs: args.jobs,
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

/// Builds the command `s3ota` and returns its path.
fn build_s3ota() -> Result<PathBuf> {
    println!("building s3ota");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--package", "s3ota-cli"])
        .current_dir(paths::root())
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    if !status.success() {
        return Err("s3ota does not compile".into());
    }
    let this = env::current_exe().map_err(|error| format!("the path of this program: {error}"))?;
    Ok(paths::target()?
        .join("debug")
        .join("s3ota")
        .with_extension(this.extension().unwrap_or_default()))
}

/// Builds these variants, and returns their ELF files by name.
fn build_firmwares(
    variants: &[Variant],
    dir: &Path,
    authority: &Path,
    release_key: &Path,
) -> Result<HashMap<&'static str, PathBuf>> {
    let manifest_url = format!("https://{SERVER}:{PORT}/{}/stable.json", server::PREFIX);
    let settings = Settings {
        manifest_url: &manifest_url,
        root_ca: authority,
        release_key: &release_key.with_extension("key.pub"),
    };
    let build = |variant: &Variant| {
        println!("building {} {}", alone::PACKAGE, variant.name);
        let elf = variant.build(&dir.join("firmware"), settings)?;
        Ok((variant.name, elf))
    };
    variants.iter().map(build).collect()
}

/// Makes the flash of a new device: bootloader, partition table, and a firmware in the first slot.
fn flash_image(flash: &Path, elf: &Path) -> Result<Vec<u8>> {
    let espflash = toolchain::in_path("espflash").ok_or(
        "espflash is missing: `cargo install --locked espflash --version 4.7.0 --no-default-features --features cli`",
    )?;
    let merged = flash.with_extension("merged");
    let output = Command::new(espflash)
        .args([
            "save-image",
            "--merge",
            "--flash-size",
            "4mb",
            "--chip",
            variants::CHIP,
        ])
        .arg("--partition-table")
        .arg(paths::firmware().join("partitions/4mb.csv"))
        .args([elf, &merged])
        .output()
        .map_err(|error| format!("espflash: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "espflash: {}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    let mut bytes = fs::read(&merged).map_err(|error| paths::about(&merged, &error))?;
    bytes.resize(4 << 20, 0xff);
    Ok(bytes)
}

/// Connects stdin and stdout to a TCP connection until either side ends.
///
/// The emulator starts this for each connection of its guest to [`SERVER`]. So the address in the firmware need not be that of
/// the server, which uses any free port.
pub fn relay(to: SocketAddr) -> ExitCode {
    let Ok(server) = TcpStream::connect(to) else {
        return ExitCode::FAILURE;
    };
    let Ok(mut from_server) = server.try_clone() else {
        return ExitCode::FAILURE;
    };
    // The server's side ends the process: the guest's side of a dead emulator may stay open.
    thread::spawn(move || {
        let mut server = server;
        pass(&mut std::io::stdin(), &mut server);
        let _ = server.shutdown(Shutdown::Write);
    });
    pass(&mut from_server, &mut std::io::stdout());
    ExitCode::SUCCESS
}

/// Forwards bytes as they come.
fn pass(from: &mut impl Read, to: &mut impl Write) {
    let mut bytes = [0; 4096];
    while let Ok(n @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..n]).is_err() || to.flush().is_err() {
            return;
        }
    }
}
