//! A virtual device that is killed again and again: each time a new process goes on with the flash that the last one left.
//!
//! It measures times, so it is a program of its own: nothing else runs beside it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand_core::{OsRng, RngCore};
use s3ota_image::Chip;
use s3ota_image::app::ImageBuilder;
use scripted_server::bucket::Bucket;
use scripted_server::*;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How often the device is killed.
const KILLS: u32 = 200;

/// Bytes of each image.
const SIZE: usize = 2_000_000;

fn image(minor: u32) -> Vec<u8> {
    ImageBuilder::new(Chip::Esp32C3, &format!("1.{minor}.0"))
        .length(SIZE)
        .build()
}

/// A line of about 0.5 MB/s to the server, over which the images go. It counts what arrives at the device's end.
async fn slow_line(server: u16) -> (u16, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let passed = Arc::new(AtomicU64::new(0));
    let count = passed.clone();
    tokio::spawn(async move {
        loop {
            let (device, _) = listener.accept().await.unwrap();
            let count = count.clone();
            tokio::spawn(async move {
                let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                let (mut from_device, mut to_device) = device.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut from_device, &mut to_server).await;
                });
                let mut bytes = [0; 2048];
                while let Ok(n @ 1..) = from_server.read(&mut bytes).await {
                    if to_device.write_all(&bytes[..n]).await.is_err() {
                        return;
                    }
                    count.fetch_add(n as u64, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(4)).await;
                }
            });
        }
    });
    (port, passed)
}

/// The files of one device.
struct Device {
    flash: PathBuf,
    ca: PathBuf,
    log: PathBuf,
    manifest_url: String,
}

impl Device {
    /// Switches the device on.
    fn start(&self) -> Child {
        let log = fs::File::create(&self.log).unwrap();
        Command::new(env!("CARGO_BIN_EXE_s3ota"))
            .args(["device", "run", "--json", "--once"])
            .arg(&self.flash)
            .args(["--manifest-url", &self.manifest_url, "--ca"])
            .arg(&self.ca)
            .stdout(Stdio::from(log))
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// The events of the last process. Its last line may be cut.
    fn events(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.log).unwrap();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Runs the device until it has nothing more to do.
    fn run(&self) -> Vec<Value> {
        let status = self.start().wait().unwrap();
        assert!(status.success(), "{:?}", self.events());
        self.events()
    }
}

/// A fraction between 0 and 1.
fn random() -> f64 {
    f64::from(OsRng.next_u32()) / f64::from(u32::MAX)
}

fn path(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_killed_200_times_is_updated_and_fetches_at_most_half_of_the_image_again() {
    let dir = tempfile::tempdir().unwrap();
    let published = Arc::new(Mutex::new(Bucket::bare("1.0.0", Vec::new(), 0)));
    let served = published.clone();
    let server = Server::start(move |request, _| {
        let bucket = served.lock().unwrap().clone();
        bucket.answer(request).into()
    })
    .await;
    let (line, passed) = slow_line(server.port).await;
    let newest = AtomicU32::new(0);
    let publish_next = || {
        let minor = newest.fetch_add(1, Ordering::Relaxed) + 1;
        let version = format!("1.{minor}.0");
        *published.lock().unwrap() = Bucket::hashed(&version, image(minor), line);
    };
    publish_next();

    let first = path(dir.path(), "first.bin", &image(0));
    let device = Device {
        flash: dir.path().join("flash.bin"),
        ca: path(dir.path(), "ca.der", &server.ca),
        log: dir.path().join("log"),
        manifest_url: server.url("/manifest.json"),
    };
    let made = Command::new(env!("CARGO_BIN_EXE_s3ota"))
        .args(["device", "new"])
        .arg(&device.flash)
        .arg("--image")
        .arg(&first)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");

    // How long a device takes to its first bytes, on this machine today: kills fall before and behind that.
    let mut to_first_bytes = Duration::MAX;
    for _ in 0..3 {
        let (began, before) = (Instant::now(), passed.load(Ordering::Relaxed));
        let mut child = device.start();
        while passed.load(Ordering::Relaxed) == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        to_first_bytes = to_first_bytes.min(began.elapsed());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    let (mut in_download, mut on_trial) = (0, 0);
    for _ in 0..KILLS {
        let before = passed.load(Ordering::Relaxed);
        let mut child = device.start();
        tokio::time::sleep(to_first_bytes.mul_f64(1.5 * random())).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let events = device.events();
        let happened = |name: &str| events.iter().any(|event| event["event"] == name);
        in_download += u32::from(passed.load(Ordering::Relaxed) > before);
        on_trial += u32::from(events.iter().any(|event| event["state"] == "trial"));
        // It has what there was, or has given it up: its trial was cut off too often. There is always a next one.
        if happened("no_update") || happened("confirmed") {
            publish_next();
        }
    }
    device.run();
    let last = device.run();
    let version = format!("1.{}.0", newest.load(Ordering::Relaxed));
    assert_eq!(last[0]["version"], version.as_str(), "{last:?}");
    assert_eq!(last[0]["state"], "confirmed", "{last:?}");

    let images = u64::from(newest.load(Ordering::Relaxed)) * SIZE as u64;
    let fetched = passed.load(Ordering::Relaxed);
    println!(
        "{KILLS} kills, {in_download} of them in a download and {on_trial} on a trial, {} releases: \
         {fetched} bytes fetched for {images} of images, {:.2} times as many",
        newest.load(Ordering::Relaxed),
        fetched as f64 / images as f64
    );
    assert!(fetched * 2 <= images * 3, "{fetched} of {images}");
}
