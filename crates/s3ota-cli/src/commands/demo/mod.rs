//! `s3ota demo`: the whole path in one terminal. Only the firmware is made up.
//!
//! The server is the development server, the publisher is the one behind `s3ota publish`, and the device runs the
//! library and the TLS client that run on the chip.

mod fetched;
mod keep;

use std::fs;
use std::path::PathBuf;

use clap::Args;
use s3ota::manifest::{ManifestDocument, Version};
use s3ota::{Chip, Error, ReleaseError, Timeouts};
use s3ota_image::app::{Descriptor, ImageBuilder};
use s3ota_sim::host::Date;
use s3ota_sim::{Flash, Setup};
use serde_json::json;
use sha2::{Digest, Sha256};

use self::fetched::Fetched;
use self::keep::Kept;
use crate::bucket::resign::{Intent, SigningHost};
use crate::error::CliError;
use crate::firmware;
use crate::firmware::Firmware;
use crate::firmware::dump::Dump;
use crate::firmware::report;
use crate::judge::device::{Settings, Station};
use crate::keys::{self, Signer};
use crate::output::{self, Output};
use crate::publishing::{ReleaseOptions, publish};
use crate::s3::development::{bucket_on, start_for_now};
use crate::s3::{Location, Upload};
use crate::state::rollback::RollbackState;

/// See the whole path in one terminal: no account, no board
///
/// A local S3 server; version 1.0.0, signed and published, and a virtual ESP32 that runs it; version 1.1.0, which the device
/// installs over real TLS by a delta, and so fetches only what has changed; a manifest that an attacker changed, and that the device refuses; then a version 1.2.0 that never confirms itself and is
/// rolled back.
///
/// With --keep, all of that stays in a folder, with the commands to go on by hand.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota demo
  s3ota demo --keep lamp
  s3ota demo --firmware lamp-1.0.0.bin lamp-1.1.0.bin")]
pub struct DemoArgs {
    /// Use two firmwares of your own instead of made-up ones
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"])]
    pub firmware: Option<Vec<PathBuf>>,

    /// Keep the server's data, the firmwares, the key and the device's flash in this new folder, to go on by hand
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}

/// The size of the made-up firmwares: that of a small Wi-Fi program.
const FIRMWARE_SIZE: usize = 900_000;

/// Plays the demo.
pub async fn run(args: DemoArgs, out: &Output) -> Result<(), CliError> {
    let cast = Cast::choose(&args)?;
    let kept = args.keep.map(Kept::new).transpose()?;

    out.heading("1. A bucket");
    let (server, credentials) = match &kept {
        Some(kept) => kept.serve().await?,
        None => start_for_now().await?,
    };
    let endpoint = server.endpoint_url();
    let location: Location = "s3://firmware/lamp".parse()?;
    let store = bucket_on(&server, &credentials, &location).await?;
    out.say(output::fact(
        "server",
        9,
        format_args!("an S3 server listens on {endpoint}, with a certificate from its own CA"),
    ));
    out.event("server", json!({ "endpoint_url": endpoint }));

    let secret = keys::generate();
    if let Some(kept) = &kept {
        kept.key(&secret)?;
        kept.firmwares([&cast.old, &cast.new, &cast.broken, &cast.next])?;
    }
    let owner = Signer::from_key(secret);
    out.say(output::fact(
        "key",
        9,
        format_args!(
            "the owner's key {} signs releases; the device trusts it",
            owner.key_id()
        ),
    ));
    out.event("key", json!({ "keyid": owner.key_id().to_string() }));

    out.heading(format_args!(
        "2. {} is published, and a device runs it",
        cast.old.version()
    ));
    let options = ReleaseOptions::channel("stable");
    let state = match &kept {
        Some(kept) => kept.state()?,
        None => RollbackState::volatile(),
    };
    let device_trusts = owner.key();
    let host = SigningHost::with(state, owner, &store, &location, Intent::default()).await?;
    publish(&cast.old, &options, Some(&host), &store, &location, out).await?;
    let flash = match &kept {
        Some(kept) => kept.flash(),
        None => server.dir().join("flash.bin"),
    };
    fs::write(&flash, Setup::default().flash(&cast.old.bytes)?)
        .map_err(|error| CliError::file(&flash, &error))?;
    let settings = Settings {
        manifest_url: String::new(),
        roots: vec![server.ca_der().to_vec()],
        device_id: "demo".to_owned(),
        board: None,
        release_keys: vec![device_trusts],
        date: Date::Host,
        firmware_version: None,
        timeouts: Timeouts::default(),
    };
    let flash = Flash::open(&flash).map_err(|error| CliError::file(&flash, &error))?;
    let mut station = Station::new(flash, settings, *out);
    let running = station.power_on()?;

    out.heading(format_args!(
        "3. {} is signed and published, and the device updates itself",
        cast.new.version()
    ));
    let published = publish(&cast.new, &options, Some(&host), &store, &location, out).await?;
    station.settings.manifest_url = published.manifest_url;
    let mut requests = server.requests();
    if !station.update(&running).await? {
        return Err(unexpected("the device did not install the release"));
    }
    let fetched = Fetched::find(&mut requests, published.size).await;
    out.say(output::fact("device", 9, &fetched));
    out.event("fetched", fetched.to_json());
    let running = station.restart()?;
    station.confirm(&running).await?;
    station.update(&running).await?;

    out.heading(format_args!(
        "4. An attacker who can write to the bucket offers 9.9.9"
    ));
    let key = format!("{}/stable.json", location.prefix);
    let good = store
        .get(&key)
        .await?
        .ok_or_else(|| unexpected("the manifest is gone"))?;
    let good = ManifestDocument::parse(&good.bytes)?;
    let mut forged = good.clone();
    forged.version = "9.9.9".to_owned();
    store
        .put(&Upload::manifest(&key, &forged.to_json()?), |_| {})
        .await?;
    match station.try_update(&running).await? {
        Err(refused @ Error::Release(ReleaseError::Signature(_))) => {
            out.say(output::fact(
                "device",
                9,
                format_args!("refuses it: {refused}"),
            ));
            out.event(
                "refused",
                json!({ "code": refused.code(), "message": refused.to_string() }),
            );
        }
        Err(error) => return Err(error.into()),
        Ok(_) => {
            return Err(unexpected(
                "the device took a release that its owner did not sign",
            ));
        }
    }
    store
        .put(&Upload::manifest(&key, &good.to_json()?), |_| {})
        .await?;

    out.heading(format_args!(
        "5. The owner publishes {}, and it never confirms itself",
        cast.broken.version()
    ));
    publish(&cast.broken, &options, Some(&host), &store, &location, out).await?;
    if !station.update(&running).await? {
        return Err(unexpected("the device did not install the release"));
    }
    let broken = station.restart()?.slot();
    let running = loop {
        let hangs = "hangs before it confirms itself, until its watchdog restarts it";
        out.say(output::fact("device", 9, hangs));
        let running = station.restart()?;
        if running.slot() != broken {
            break running;
        }
    };
    station.update(&running).await?;

    out.heading("6. What is on the flash now");
    let report = report::FlashReport::of(&Dump::of(station.flash(), None)?)?;
    out.prose(&report);
    out.event("flash", report.to_json());

    server.stop().await;
    if running.version != cast.new.version() {
        return Err(unexpected(
            "the device does not run the firmware that it should",
        ));
    }
    let size = output::bytes(fetched.bytes);
    out.prose(format_args!(
        "\nThe device runs {}: it was updated once ({size} over TLS 1.3 instead of {}), and rolled back from {}.\n\
         {}",
        cast.new.version(),
        output::bytes(fetched.image.into()),
        cast.broken.version(),
        match &kept {
            Some(_) => "Go on by hand:",
            None => "Next: go on by hand with `s3ota demo --keep DIR`, or read the README for a real board.",
        }
    ));
    if let Some(kept) = &kept {
        kept.tell(&endpoint, &credentials.access_key, &cast.next, out)?;
    }
    out.event("done", json!({ "version": cast.new.version() }));
    Ok(())
}

/// What a made-up firmware is filled with: the same bytes in all of them, with as much in them as in machine code, and a few that are
/// its own.
fn program(version: &str, length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        // Marsaglia's xorshift: "Xorshift RNGs", Journal of Statistical Software 8 (14), 2003.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 16) as u8
    };
    // Half of it is new each time, and half has been there before: what repeats in machine code.
    let known: Vec<[u8; 32]> = (0..400).map(|_| core::array::from_fn(|_| next())).collect();
    let mut bytes = Vec::with_capacity(length + 64);
    while bytes.len() < length {
        bytes.extend((0..24).map(|_| next()));
        let index = usize::from(next()) * known.len() / 256;
        bytes.extend(known.get(index).into_iter().flatten());
    }
    bytes.truncate(length);
    // What is new in a version: a kilobyte.
    let new: Vec<u8> = (0..32_u8)
        .flat_map(|part| {
            Sha256::new()
                .chain_update(version)
                .chain_update([part])
                .finalize()
        })
        .collect();
    if let Some(place) = bytes.get_mut(length / 2..length / 2 + new.len()) {
        place.copy_from_slice(&new);
    }
    bytes
}

fn unexpected(what: &str) -> CliError {
    CliError::new("demo.failed", what)
        .hint("this is a bug in s3ota: please report it with the output of `s3ota demo -vv`")
}

/// The firmwares of the demo.
struct Cast {
    old: Firmware,
    new: Firmware,
    broken: Firmware,
    /// The one to go on with.
    next: Firmware,
}

impl Cast {
    fn choose(args: &DemoArgs) -> Result<Self, CliError> {
        let Some([old, new]) = args.firmware.as_deref() else {
            let made_up = |version| Firmware::made_up(Chip::Esp32C3, "lamp", version);
            return Ok(Self {
                old: made_up("1.0.0")?,
                new: made_up("1.1.0")?,
                broken: made_up("1.2.0")?,
                next: made_up("1.3.0")?,
            });
        };
        let (old, new) = (firmware::read(old)?, firmware::read(new)?);
        let chip = new.image.header.chip().unwrap_or(Chip::Esp32C3);
        let version = Version::parse(new.version()).map_err(|error| {
            CliError::new(
                "publish.version",
                format!("the new firmware's version: {error}"),
            )
        })?;
        // A device does not go back.
        if Version::parse(old.version()).is_ok_and(|old| old >= version) {
            let message = format!(
                "NEW ({}) must have a higher version than OLD ({})",
                new.version(),
                old.version()
            );
            return Err(CliError::new("cli.usage", message)
                .hint("raise the version of NEW, or swap the two")
                .usage());
        }
        // Devices take releases of their own project only.
        let project = new
            .image
            .descriptor
            .as_ref()
            .map_or("", Descriptor::project_name)
            .to_owned();
        let later = |minors: u64| {
            let minor = version.minor().saturating_add(minors);
            Firmware::made_up(chip, &project, &format!("{}.{minor}.0", version.major()))
        };
        let (broken, next) = (later(1)?, later(2)?);
        Ok(Self {
            old,
            new,
            broken,
            next,
        })
    }
}

impl Firmware {
    /// A firmware that is valid in every respect, but does not run.
    fn made_up(chip: Chip, project: &str, version: &str) -> Result<Self, CliError> {
        let builder = ImageBuilder::new(chip, version).project_name(project);
        let program = program(version, FIRMWARE_SIZE);
        Self::from_image(builder.payload(&program).build())
    }

    /// The version in its descriptor; empty where it has none.
    fn version(&self) -> &str {
        self.image
            .descriptor
            .as_ref()
            .map_or("", Descriptor::version)
    }
}
