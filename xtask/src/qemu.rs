//! `cargo xtask qemu`: the firmware under the real boot chain.
//!
//! An emulator of the ESP32-C3 runs the chip's own mask ROM, ESP-IDF's bootloader (espflash's, and one with app rollback), and
//! the example `simple`, unchanged except for its network: Ethernet in place of Wi-Fi. It updates itself from `s3ota serve`,
//! with releases by `s3ota publish`, through failures and power cuts.
//!
//! `variants.rs` has the firmwares, `scenarios.rs` what they go through: releases that die are in `deaths.rs`, power cuts inside
//! flash operations in `inside.rs`, updates by a delta in `delta.rs`, Wi-Fi credentials in `improv.rs`, the bootloaders' behaviour in `otadata.rs`. `device.rs` has
//! a device, `emulator.rs` its chip, `bootloader.rs` its bootloader, `server.rs` the bucket, `chain.rs` other certificates for it, `wire.rs` what is between
//! them, and `transcript.rs` the output of all of them.

pub mod bootloader;
mod chain;
mod deaths;
mod delta;
pub mod device;
pub mod emulator;
mod improv;
pub mod inside;
pub mod mode;
mod otadata;
pub mod random;
pub mod scenarios;
pub mod server;
pub mod transcript;
mod variants;
mod wire;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs, thread};

use self::bootloader::Bootloader;
use self::deaths::DEATHS;
use self::mode::Mode;
use self::scenarios::{Bench, Extent};
use self::transcript::Transcript;
use self::variants::{Settings, Variant};
use crate::stack::{Program, RESERVE};
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

    /// Run what was built last, and build only what is missing
    #[arg(long)]
    built: bool,

    /// Only update, with an ECDSA certificate and with chains of RSA certificates, and print how much of the main task's stack was used
    #[arg(long, conflicts_with = "only")]
    stack: bool,

    /// Who boots a firmware on trial: `switch` is the bootloader, `launch` the firmware before it; both if not given
    #[arg(long, value_name = "MODE")]
    mode: Option<Mode>,

    /// How many updates lose power in the middle, every other one twice
    #[arg(long, value_name = "N", default_value_t = 30)]
    cuts: u32,

    /// How many updates lose power inside a flash operation, every other one twice
    #[arg(long, value_name = "N", default_value_t = 30)]
    cuts_inside: u32,

    /// How often an update by a delta loses power
    #[arg(long, value_name = "N", default_value_t = 30)]
    cuts_delta: u32,

    /// The seed of the moments of the power cuts
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Besides the updates, build and run only scenarios with this text in their name
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,

    /// How many emulators run at the same time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: u16,
}

/// The server's address for the firmware, in the emulator's own network. [`relay`] is behind it.
pub const SERVER: &str = "10.0.2.100";
pub const PORT: u16 = 9443;

/// What is flashed by cable, and where that flash is kept.
const FLASHES: [(&str, Variant); 4] = [
    (scenarios::FLASHED, variants::FIRST),
    (scenarios::FLASHED_WITH_KEY, variants::FIRST_WITH_KEY),
    (scenarios::FLASHED_WITH_DELTA, variants::FIRST_WITH_DELTA),
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
    let s3ota = match args.built {
        true => s3ota()?,
        false => build_s3ota()?,
    };
    let mut all_held = true;
    let modes = args.mode.map_or_else(Mode::all, |mode| vec![mode]);
    for mode in modes {
        all_held &= run_in(mode, args, emulator.as_deref(), &s3ota)?;
    }
    Ok(if all_held {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Builds the firmwares for a mode and takes them through the scenarios. Whether all have held.
fn run_in(mode: Mode, args: &Args, emulator: Option<&Path>, s3ota: &Path) -> Result<bool> {
    let shared = paths::target()?.join("emulator");
    let dir = mode.dir(&shared);
    let authority = server::authority(s3ota, &shared.join("authority"))?;
    let release_key = server::release_key(s3ota, &shared.join("keys"))?;
    let wanted = wanted(args);
    let settings = Settings {
        manifest_url: &format!("https://{SERVER}:{PORT}/{}/stable.json", server::PREFIX),
        root_ca: &authority,
        release_key: &release_key.with_extension("key.pub"),
        mode,
    };
    let mut images = build_firmwares(&wanted, &dir, settings, args.built)?;
    let bootloaders = flashes(mode, &dir, &images)?;
    if !args.stack && improv::NAME.contains(&args.only) {
        let elf = improv::build(&dir, settings, args.built)?;
        let flash = Bootloader::Stock.flash(&dir, improv::FLASHED);
        let bytes = flash_image(&dir.join(improv::FLASHED), &elf)?;
        fs::write(&flash, bytes).map_err(|error| paths::about(&flash, &error))?;
        images.insert(improv::PACKAGE, elf);
    }
    println!(
        "{} firmwares and flashes of 4 MB are in {}",
        images.len(),
        dir.display()
    );
    let Some(emulator) = emulator.filter(|_| !args.build_only) else {
        return Ok(true);
    };

    let transcript = Transcript::create(&dir.join("transcript.txt"))?;
    let cuts_inside =
        inside::can_cut(emulator, &Bootloader::Stock.flash(&dir, scenarios::FLASHED))?;
    let bench = Bench {
        emulator: emulator.to_owned(),
        cuts_inside,
        s3ota: s3ota.to_owned(),
        authority: authority.clone(),
        release_key,
        images,
        mode,
        dir: dir.clone(),
        bootloaders,
        transcript,
        chain: None,
    };
    if args.stack {
        let (_, stack) = scenarios::update(&bench, Bootloader::Stock)?;
        println!("{mode}: the update took {stack} bytes of the main task's stack");
        return stacks_with_rsa(bench, &wanted, settings, args.built);
    }
    let extent = Extent {
        cuts: args.cuts,
        cuts_inside: args.cuts_inside,
        cuts_delta: args.cuts_delta,
        seed: args.seed,
        jobs: args.jobs,
        only: args.only.clone(),
    };
    let all_held = scenarios::run(&bench, &extent)?;
    println!(
        "\n{mode}: the transcript is in {}",
        dir.join("transcript.txt").display()
    );
    Ok(all_held)
}

/// The update with chains of RSA certificates. Whether none took more stack than is counted from the firmware's code, and what is
/// reserved for what is not counted.
fn stacks_with_rsa(
    mut bench: Bench,
    wanted: &[Variant],
    settings: Settings<'_>,
    built: bool,
) -> Result<bool> {
    let dir = bench.dir.join("rsa");
    let root_ca = chain::root(&dir)?;
    let settings = Settings {
        root_ca: &root_ca,
        ..settings
    };
    bench.images = build_firmwares(wanted, &dir, settings, built)?;
    flashes(bench.mode, &dir, &bench.images)?;
    bench.transcript = Transcript::create(&dir.join("transcript.txt"))?;
    bench.dir = dir;
    let mut all_held = true;
    for chain in chain::CHAINS {
        bench.chain = Some(chain);
        let (_, stack) = scenarios::update(&bench, Bootloader::Stock)?;
        let elf = &bench.images[variants::SECOND.name];
        let elf = fs::read(elf).map_err(|error| paths::about(elf, &error))?;
        let counted = Program::of(&elf)?.peak(chain.authorities + 1)?.bytes;
        println!(
            "{}: with a chain {}, the update took {stack} bytes; counted from its code are {counted}, and {RESERVE} for the rest",
            bench.mode, chain.name
        );
        all_held &= stack as u64 <= counted + RESERVE;
    }
    Ok(all_held)
}

/// The firmwares that the wanted scenarios take.
fn wanted(args: &Args) -> Vec<Variant> {
    use variants::*;

    let is_wanted = |name: &str| name.contains(&args.only);
    if args.stack {
        return vec![FIRST, SECOND];
    }
    if args.only.is_empty() {
        return ALL.to_vec();
    }
    let mut wanted = vec![FIRST, SECOND];
    if DEATHS
        .iter()
        .any(|death| is_wanted(&format!("1.2.0 {}", death.what)))
    {
        wanted.push(NEXT);
    }
    wanted.extend(
        DEATHS
            .iter()
            .filter(|death| is_wanted(&format!("1.2.0 {}", death.what)))
            .map(|death| death.variant),
    );
    let is_compared = [Bootloader::Stock, Bootloader::AppRollback]
        .into_iter()
        .any(|bootloader| is_wanted(&scenarios::compared(bootloader)));
    let is_delta = delta::Way::ALL.iter().any(|way| is_wanted(way.name()))
        || is_wanted(&delta::cuts_name(args.cuts_delta));
    let others: [(bool, &[Variant]); 5] = [
        (
            is_wanted(scenarios::SIGNED),
            &[FIRST_WITH_KEY, NEXT_WITH_KEY],
        ),
        (is_wanted(scenarios::IN_RAM), &[LARGE]),
        (is_delta, &[FIRST_WITH_DELTA, SECOND_WITH_DELTA]),
        // With a firmware that does nothing.
        (is_compared, &[HANGS_AT_ITS_ENTRY]),
        // Their names say when, which is not known here, and begin so. Some are in trials that fail.
        (args.only.contains("cut"), &[PANICS, NEXT]),
    ];
    for (is_wanted, variants) in others {
        if is_wanted {
            wanted.extend(variants);
        }
    }
    wanted.sort_by_key(|variant| variant.name);
    wanted.dedup_by_key(|variant| variant.name);
    wanted
}

/// Makes the flashes of new devices, for the bootloaders that there are.
fn flashes(
    mode: Mode,
    dir: &Path,
    images: &HashMap<&'static str, PathBuf>,
) -> Result<Vec<Bootloader>> {
    // It protects by itself: the first trial shows that, and from then on nothing is launched.
    let app_rollback = bootloader::app_rollback()?.filter(|_| mode == Mode::Switch);
    let bootloaders: Vec<_> = std::iter::once(Bootloader::Stock)
        .chain(app_rollback.as_ref().map(|_| Bootloader::AppRollback))
        .collect();
    for (name, variant) in FLASHES {
        let Some(elf) = images.get(variant.name) else {
            continue;
        };
        let bytes = flash_image(&dir.join(name), elf)?;
        for &bootloader in &bootloaders {
            let mut bytes = bytes.clone();
            if let (Bootloader::AppRollback, Some(image)) = (bootloader, &app_rollback) {
                bootloader::replace(&mut bytes, image);
            }
            let flash = bootloader.flash(dir, name);
            fs::write(&flash, bytes).map_err(|error| paths::about(&flash, &error))?;
        }
    }
    Ok(bootloaders)
}

/// Builds the command `s3ota` and returns its path.
pub fn build_s3ota() -> Result<PathBuf> {
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
    s3ota()
}

/// Where it is then.
fn s3ota() -> Result<PathBuf> {
    let this = env::current_exe().map_err(|error| format!("the path of this program: {error}"))?;
    Ok(paths::target()?
        .join("debug")
        .join("s3ota")
        .with_extension(this.extension().unwrap_or_default()))
}

/// Builds these variants, or only those that are `missing`, and returns their ELF files by name.
fn build_firmwares(
    variants: &[Variant],
    dir: &Path,
    settings: Settings<'_>,
    missing: bool,
) -> Result<HashMap<&'static str, PathBuf>> {
    let dir = dir.join("firmware");
    let build = |variant: &Variant| {
        let elf = variant.elf(&dir);
        if missing && elf.exists() {
            return Ok((variant.name, elf));
        }
        println!(
            "building {} {}, {}",
            alone::PACKAGE,
            variant.name,
            settings.mode
        );
        Ok((variant.name, variant.build(&dir, settings)?))
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
