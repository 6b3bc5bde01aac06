//! `s3ota simulate --real`: no model, but thousands of virtual devices that download.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use s3ota::Chip;
use s3ota::manifest::{HttpsUrl, ManifestDocument, Sha256Digest, Version, layout};
use s3ota_image::app::ImageBuilder;
use s3ota_sim::Setup;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::SimulateArgs;
use crate::error::CliError;
use crate::judge::crowd::{Course, Crowd};
use crate::output::table::{Column, Table};
use crate::output::{self, Output};
use crate::s3::development::{bucket_on, start_for_now};
use crate::s3::{Location, Upload};

/// Two slots for images of at most 128 KB, after ESP-IDF's usual places.
const PARTITIONS: &str = "
otadata,  data, ota,     0xd000,  0x2000
ota_0,    app,  ota_0,   0x10000, 0x20000
ota_1,    app,  ota_1,   0x30000, 0x20000
";

/// The most bytes of an image: a slot has its journal behind it.
pub const MAX_IMAGE: u32 = 120_000;

/// Plays the crowd.
pub async fn run(args: &SimulateArgs, out: &Output) -> Result<(), CliError> {
    let size = args.image_size.unwrap_or(100_000);
    if size > MAX_IMAGE {
        let message = format!("with --real an image has at most {MAX_IMAGE} bytes");
        return Err(CliError::new("cli.usage", message).usage());
    }
    let image = |version| {
        ImageBuilder::new(Chip::Esp32C3, version)
            .length(size as usize)
            .build()
    };
    let (old, new) = (image("1.0.0"), image("1.1.0"));
    let mut flash = Setup::from_csv(PARTITIONS)?.flash(&old)?;
    flash.truncate(0x5_0000);
    let (server, credentials) = start_for_now().await?;
    let location: Location = "s3://firmware/lamp".parse()?;
    let store = bucket_on(&server, &credentials, &location).await?;
    let sha256 = Sha256Digest(Sha256::digest(&new).into());
    let version = Version::new(1, 1, 0);
    let place = |error: layout::LayoutError| CliError::new("publish.key", error.to_string());
    let image_key = layout::image_key(&location.prefix, &version, &sha256).map_err(place)?;
    let channel_key = layout::channel_key(&location.prefix, "stable").map_err(place)?;
    let url = |key: &str| format!("{}/firmware/{key}", server.endpoint_url());
    let image_url = url(&image_key);
    let parsed = HttpsUrl::parse(&image_url);
    let parsed = parsed.map_err(|error| CliError::new("publish.url", error.to_string()))?;
    let mut manifest = ManifestDocument::new(&version, &parsed);
    (manifest.size, manifest.sha256) = (Some(new.len() as u32), Some(sha256));
    let image = Upload {
        key: &image_key,
        bytes: Bytes::from(new),
        sha256: None,
        content_type: layout::IMAGE_CONTENT_TYPE,
        cache_control: layout::IMMUTABLE_CACHE_CONTROL,
        public_read: false,
    };
    store.put(&image, |_| {}).await?;
    let json = manifest.to_json()?;
    store
        .put(&Upload::manifest(&channel_key, json), |_| {})
        .await?;

    let crowd = Crowd {
        devices: args.devices,
        at_once: args.at_once,
        first: args.first,
        flash: flash.into(),
        manifest_url: url(&channel_key),
        ca: Arc::from(server.ca_der()),
        version: "1.1.0".to_owned(),
    };
    let mut progress = out.progress_in_percent("devices");
    let devices = f64::from(args.devices);
    let began = Instant::now();
    let course = crowd
        .come(move |done| progress.set_share(done as f64 / devices))
        .await;
    let took = began.elapsed();
    server.stop().await;
    tell(args, size, &course, took, out);
    match course.failures.first() {
        None => Ok(()),
        Some(first) => {
            let failed = output::count(course.failures.len() as u64, "device");
            let message = format!("{failed} did not update, the first because: {first}");
            Err(CliError::new("simulate.device", message))
        }
    }
}

/// The most memory that this process has had, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// How many of these came in each part of the time.
fn counts(times: &[Duration], step: u64, parts: usize) -> Vec<u64> {
    let mut counts = vec![0; parts];
    for time in times {
        if let Some(count) = counts.get_mut((time.as_secs() / step) as usize) {
            *count += 1;
        }
    }
    counts
}

fn tell(args: &SimulateArgs, size: u32, course: &Course, took: Duration, out: &Output) {
    let memory = peak_memory();
    let seconds = took.as_secs_f64();
    out.heading(format_args!(
        "{} came back at once, and updated themselves",
        output::count(args.devices, "virtual device")
    ));
    let fact = |name, value: String| out.say(output::fact(name, 9, value));
    fact(
        "updated",
        format!(
            "{} of {}, each with {} over TLS 1.3, in {seconds:.0} s",
            course.confirmed.len(),
            args.devices,
            output::bytes(size.into())
        ),
    );
    if let Some(memory) = memory {
        fact(
            "memory",
            format!(
                "{} at most, of which {} are the devices' own flash",
                output::bytes(memory),
                output::bytes(course.own_bytes())
            ),
        );
    }
    let step = took.as_secs().div_ceil(20).max(1);
    let parts = (took.as_secs() / step) as usize + 1;
    let columns = [
        &course.due,
        &course.asked,
        &course.installed,
        &course.confirmed,
    ]
    .map(|times| counts(times, step, parts));
    let mut table = Table::new(&[
        Column::new("seconds"),
        Column::new("due"),
        Column::new("asked"),
        Column::new("installed"),
        Column::new("confirmed"),
    ]);
    for part in 0..parts {
        let begin = part as u64 * step;
        let of = |column: usize| columns[column].get(part).copied().unwrap_or(0).to_string();
        table.row([begin.to_string(), of(0), of(1), of(2), of(3)]);
    }
    out.table(&table);
    out.prose(format_args!(
        "Devices are due when their pause after power-on is over. {} of them are awake at once; server and devices share this process.",
        args.at_once
    ));
    let [due, asked, installed, confirmed] = columns;
    out.event(
        "crowd",
        json!({
            "devices": args.devices, "updated": course.confirmed.len(), "failed": course.failures.len(), "image": size,
            "seconds": seconds, "memory": memory, "own_flash": course.own_bytes(), "step": step,
            "due": due, "asked": asked, "installed": installed, "confirmed": confirmed,
        }),
    );
}
