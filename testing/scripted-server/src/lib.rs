//! An HTTPS server that answers by a script, and virtual devices that update from it.
//!
//! | module | what it is |
//! |---|---|
//! | [`server`] | the server, on the loopback address |
//! | [`network`] | the same in memory, on lines that fail as lines do |
//! | [`bucket`] | a script that answers as S3 does, but for what goes wrong |
//! | [`deltas`] | a bucket that has deltas and compressed images, too |
//! | [`mod@bench`] | a device, and what an update must leave behind on it |
//! | [`slots`] | devices with other slots than the usual two |

pub mod bench;
pub mod bucket;
pub mod deltas;
pub mod network;
pub mod server;
pub mod slots;
pub mod starts;

use std::time::Duration;

use s3ota::tls::Roots;
use s3ota::{Chip, Config, Error, Hooks, Outcome, Timeouts, Workspace};
use s3ota_image::app::ImageBuilder;
use s3ota_sim::{Flash, RunningFirmware, Setup, VirtualDevice};
use server::Script;
pub use server::{Reply, Request, Server};
use sha2::{Digest, Sha256};

/// A 200 with a length.
pub fn ok(body: &[u8]) -> Vec<u8> {
    let mut response =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    response.extend(body);
    response
}

/// An answer without a body.
pub fn status(line: &str, fields: &str) -> Vec<u8> {
    format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\n{fields}\r\n").into_bytes()
}

/// A firmware for the ESP32-C3, of 100,000 bytes.
pub fn firmware(version: &str) -> Vec<u8> {
    ImageBuilder::new(Chip::Esp32C3, version)
        .length(100_000)
        .build()
}

/// A manifest as people write it.
pub fn manifest(version: &str, port: u16) -> Vec<u8> {
    format!(r#"{{"version":"{version}","url":"https://localhost:{port}/image.bin"}}"#).into_bytes()
}

/// A manifest with size and hash.
pub fn full_manifest(version: &str, port: u16, image: &[u8]) -> Vec<u8> {
    let sha256: String = Sha256::digest(image)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!(
        r#"{{"version":"{version}","url":"https://localhost:{port}/image.bin","size":{},"sha256":"{sha256}","chip":"esp32c3"}}"#,
        image.len()
    )
    .into_bytes()
}

/// A script that serves a manifest and an image.
pub fn serving(version: &'static str, image: Vec<u8>) -> impl Script {
    move |request, port| match request.path.as_str() {
        "/manifest.json" => Reply::Send(ok(&manifest(version, port))),
        "/image.bin" => Reply::Send(ok(&image)),
        _ => Reply::Send(status("404 Not Found", "")),
    }
}

/// A script that serves the firmware of this version, with its hash: the same release wherever it comes from.
pub fn releasing(version: &'static str) -> impl Script {
    let image = firmware(version);
    move |request, port| match request.path.as_str() {
        "/manifest.json" => Reply::Send(ok(&full_manifest(version, port, &image))),
        "/image.bin" => Reply::Send(ok(&image)),
        _ => Reply::Send(status("404 Not Found", "")),
    }
}

/// One attempt, and timeouts enough for a machine that does other things beside.
pub const IMPATIENT: Timeouts = Timeouts {
    idle: Duration::from_secs(10),
    deadline: Duration::from_secs(60),
    attempts: 1,
    first_pause: Duration::from_millis(10),
    longest_pause: Duration::from_millis(50),
};

/// A device that runs `version` from `ota_0`.
pub fn device(version: &str) -> VirtualDevice {
    VirtualDevice::new(Flash::in_memory(
        Setup::default().flash(&firmware(version)).unwrap(),
    ))
}

/// Boots the device and updates it from the server's `/manifest.json`.
pub async fn update(
    device: &mut VirtualDevice,
    server: &Server,
    timeouts: Timeouts,
) -> Result<Outcome, Error> {
    let running = device.power_on().unwrap();
    update_with(device, &running, server, timeouts, &mut ()).await
}

/// Updates a booted device.
pub async fn update_with(
    device: &mut VirtualDevice,
    running: &RunningFirmware,
    server: &Server,
    timeouts: Timeouts,
    hooks: &mut impl Hooks,
) -> Result<Outcome, Error> {
    let mut workspace = Box::new(Workspace::new());
    let url = server.url("/manifest.json");
    let config = config(&url, running, server, timeouts);
    device
        .updater(running, config, &mut workspace)
        .install(hooks)
        .await
}

/// The configuration of the running firmware.
pub fn config<'a>(
    url: &'a str,
    running: &'a RunningFirmware,
    server: &'a Server,
    timeouts: Timeouts,
) -> Config<'a> {
    let mut roots = Roots::empty();
    roots.add_der(&server.ca).unwrap();
    Config {
        roots,
        timeouts,
        ..Config::new(url, running.version(), Chip::Esp32C3, "device-1")
    }
}

/// Confirms the running firmware.
pub async fn confirm(
    device: &mut VirtualDevice,
    running: &RunningFirmware,
    server: &Server,
) -> bool {
    let mut workspace = Box::new(Workspace::new());
    let config = config("https://localhost/", running, server, IMPATIENT);
    device
        .updater(running, config, &mut workspace)
        .confirm()
        .await
        .unwrap()
}
