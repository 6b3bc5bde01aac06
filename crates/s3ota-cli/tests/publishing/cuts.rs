//! The publisher is killed at every S3 request: before it reaches the server, and after the server has carried it out but before
//! the answer arrives. The channel then holds the old release or the new one, whole; and the command, run again, completes what
//! was begun.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::bucket::*;
use crate::proxy::{Asked, Fate};
use s3ota_devserver::Access;
use s3ota_image::Chip;
use s3ota_manifest::ManifestDocument;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// What a process is killed at.
#[derive(Clone, Copy)]
enum At {
    EveryRequest,
    /// Between two of them nothing changes.
    EveryWrite,
}

/// The bench, with a state of the bucket that each case begins with, under the prefix `lamp`.
struct Stage {
    bench: Bench,
    cases: AtomicUsize,
}

impl Stage {
    async fn new() -> Self {
        Self {
            bench: Bench::new(Access::PublicRead).await,
            cases: AtomicUsize::new(0),
        }
    }

    /// A prefix of its own with what lies under `lamp`.
    async fn copy(&self) -> String {
        let case = format!("case{}", self.cases.fetch_add(1, Ordering::Relaxed));
        for key in self.bench.keys().await {
            let Some(rest) = key.strip_prefix("lamp/") else {
                continue;
            };
            let mut bytes = self.bench.read(&key).await.2;
            if key.ends_with(".json") {
                let text = String::from_utf8(bytes).unwrap();
                bytes = text.replace("/lamp/", &format!("/{case}/")).into_bytes();
            }
            self.bench.write(&format!("{case}/{rest}"), bytes).await;
        }
        case
    }

    /// What each channel under a prefix serves, read as a device reads it: manifest, image, hash.
    async fn served(&self, prefix: &str) -> Vec<(String, String)> {
        let keys = self.bench.keys().await;
        let mut served = Vec::new();
        let base = format!("{}/firmware/", self.bench.server.endpoint_url());
        for key in &keys {
            let Some(rest) = key.strip_prefix(&format!("{prefix}/")) else {
                continue;
            };
            let Some(channel) = rest.strip_suffix(".json") else {
                continue;
            };
            let is_history = channel.starts_with("history/");
            if let Some(older) = channel.strip_prefix("older/") {
                let json: Value = serde_json::from_slice(&self.bench.read(key).await.2).unwrap();
                let offered = json["version"].as_str().unwrap_or("nothing");
                served.push((format!("older {older}"), offered.to_owned()));
                continue;
            }
            if channel.contains('/') && !is_history {
                continue;
            }
            let manifest = ManifestDocument::parse(&self.bench.read(key).await.2)
                .unwrap_or_else(|error| panic!("{key}: {error}"));
            if is_history {
                continue;
            }
            let record = format!("{prefix}/releases/{}.json", manifest.version);
            assert!(
                keys.contains(&record),
                "{channel} serves what {record} does not tell"
            );
            let image = over_http(&manifest.url)
                .strip_prefix(&over_http(&base))
                .map(str::to_owned)
                .or_else(|| manifest.url.split("/firmware/").nth(1).map(str::to_owned))
                .unwrap();
            assert!(
                keys.contains(&image),
                "{channel} names {image}, which is not there"
            );
            let bytes = self.bench.read(&image).await.2;
            let sha256: [u8; 32] = Sha256::digest(&bytes).into();
            assert_eq!(manifest.sha256.unwrap().0, sha256, "{channel}: {image}");
            assert_eq!(manifest.size.unwrap() as usize, bytes.len());
            let deltas = manifest.deltas.iter().map(|it| &it.artefact);
            for artefact in deltas.chain(&manifest.compressed) {
                let (_, key) = artefact.url.split_once("/firmware/").unwrap();
                assert!(
                    keys.contains(&key.to_owned()),
                    "{channel} names {key}, which is not there"
                );
                assert_eq!(self.bench.read(key).await.2.len(), artefact.size as usize);
            }
            let rollout = manifest
                .rollout
                .map_or("100".to_owned(), |it| it.to_string());
            served.push((
                channel.to_owned(),
                format!("{} {rollout}%", manifest.version),
            ));
        }
        served
    }

    /// Kills a command at each of its requests.
    async fn kill_at_every(&self, at: At, args: &[&str]) -> usize {
        let place = |prefix: &str| {
            args.iter()
                .map(|arg| arg.replace("PLACE", &format!("s3://firmware/{prefix}")))
                .collect::<Vec<_>>()
        };
        // What there is without any cut.
        let whole = self.copy().await;
        let before = self.served(&whole).await;
        // What is to be removed must not be too young for it.
        let age = Duration::from_millis(if args[0] == "gc" { 2100 } else { 0 });
        tokio::time::sleep(age).await;
        self.run(&place(&whole)).published_or_done();
        let after = self.served(&whole).await;

        let mut kills = 0;
        for fate in [Fate::Lost, Fate::Unanswered] {
            for n in 0.. {
                let prefix = self.copy().await;
                tokio::time::sleep(age).await;
                if !self.kill(at, fate, n, &place(&prefix)).await {
                    break;
                }
                kills += 1;
                for (channel, release) in self.served(&prefix).await {
                    let is = |served: &[(String, String)]| {
                        served.contains(&(channel.clone(), release.clone()))
                    };
                    assert!(
                        is(&before) || is(&after),
                        "{args:?} killed at request {n} ({fate:?}): {channel} serves {release}, not {before:?} or {after:?}"
                    );
                }
                if fate == Fate::Unanswered {
                    self.run(&place(&prefix)).published_or_done();
                    assert_eq!(
                        self.served(&prefix).await,
                        after,
                        "{args:?} after a kill at request {n}"
                    );
                }
            }
        }
        kills
    }

    /// Runs a command that is killed at its `n`th request. Says whether it got so far.
    async fn kill(&self, at: At, fate: Fate, n: usize, args: &[String]) -> bool {
        let child: Arc<Mutex<Option<Child>>> = Arc::default();
        let count = AtomicUsize::new(0);
        let (victim, other) = (child.clone(), child.clone());
        let url = crate::proxy::proxy(
            &self.bench.server,
            move |asked: Asked| {
                let counts = matches!(at, At::EveryRequest) || asked.writes();
                let mine = counts && count.fetch_add(1, Ordering::Relaxed) == n;
                if mine && fate == Fate::Lost {
                    kill(&victim);
                }
                async move { if mine { fate } else { Fate::Pass } }
            },
            move || kill(&other),
        )
        .await;
        {
            let mut child = child.lock().unwrap();
            *child = Some(self.command(&url).args(args).spawn().unwrap());
        }
        loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let ended = child.lock().unwrap().as_mut().unwrap().try_wait().unwrap();
            if let Some(status) = ended {
                assert!(
                    status.success() || status.code().is_none(),
                    "{args:?} failed by itself: {status}"
                );
                return status.code().is_none();
            }
        }
    }

    fn command(&self, url: &str) -> Command {
        let mut command = self.bench.command();
        command
            .env("AWS_ENDPOINT_URL", url)
            // Without the system's certificates the process starts faster.
            .env("SSL_CERT_FILE", self.bench.server.ca_path())
            .env("S3OTA_BY", "test")
            .current_dir(self.bench.dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn run(&self, args: &[String]) -> Run {
        let mut command = self.command(&self.bench.server.endpoint_url());
        Run::of(
            command
                .arg("--json")
                .args(args)
                .stdout(Stdio::piped())
                .output()
                .unwrap(),
        )
    }
}

trait Done {
    fn published_or_done(&self);
}

impl Done for Run {
    fn published_or_done(&self) {
        assert_eq!(self.status, 0, "{:?}", self.events);
    }
}

fn kill(child: &Mutex<Option<Child>>) {
    let mut child = child.lock().unwrap();
    let child = child.as_mut().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The proxy is plain, and manifests name https.
fn over_http(url: &str) -> String {
    url.replace("https://", "http://")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publish_killed_at_every_request_leaves_a_whole_release_and_can_be_run_again() {
    let stage = Stage::new().await;
    let bench = &stage.bench;
    bench
        .publish(&bench.firmware(Chip::Esp32C3, "1.0.0", b"old"), &[])
        .published();
    let new = bench.firmware(Chip::Esp32C3, "1.1.0", b"new one");
    let new = new.to_str().unwrap();
    let kills = stage
        .kill_at_every(At::EveryRequest, &["publish", new, "PLACE"])
        .await;
    // Manifest, record, image: asked for and put; the image looked at, the old manifest filed.
    assert!(kills >= 2 * 8, "{kills}");
    let first = stage
        .kill_at_every(
            At::EveryWrite,
            &["publish", new, "PLACE", "--channel", "beta"],
        )
        .await;
    println!("{kills} kills of a second release, {first} of a first one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_commands_killed_at_every_write_leave_whole_releases_and_can_be_run_again() {
    let stage = Stage::new().await;
    let bench = &stage.bench;
    for (version, channel) in [("1.0.0", "stable"), ("1.1.0", "stable"), ("1.2.0", "beta")] {
        let firmware = bench.firmware(Chip::Esp32C3, version, version.as_bytes());
        let args = ["--channel", channel, "--also", "aws-s3-ota"];
        bench.publish(&firmware, &args).published();
    }
    // Not served by any channel.
    bench
        .write("lamp/images/0.9.0-0123456789ab.bin", b"an old one".to_vec())
        .await;
    let commands: [&[&str]; 4] = [
        &["promote", "PLACE", "beta", "stable", "--rollout", "5%"],
        &["rollout", "PLACE", "25%"],
        &["yank", "PLACE", "1.1.0", "--reason", "it hangs"],
        &["gc", "PLACE", "--keep", "1", "--grace", "1s", "--delete"],
    ];
    for args in commands {
        let kills = stage.kill_at_every(At::EveryWrite, args).await;
        println!("{}: {kills} kills", args[0]);
        assert!(kills >= 4, "{args:?}: {kills}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publish_killed_between_its_deltas_names_none_that_is_missing() {
    let stage = Stage::new().await;
    let bench = &stage.bench;
    bench.publish(&bench.program("1.0.0"), &[]).published();
    let next = bench.program("1.1.0");
    let publish = ["publish", next.to_str().unwrap(), "PLACE"];
    let kills = stage.kill_at_every(At::EveryWrite, &publish).await;
    // The image, the compressed one, the delta; the record, the condition tried, the old manifest filed, the new one.
    assert_eq!(kills, 2 * 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publish_killed_in_a_multipart_upload_leaves_a_whole_release_and_parts_that_gc_removes() {
    let stage = Stage::new().await;
    let bench = &stage.bench;
    bench
        .publish(&bench.firmware(Chip::Esp32C3, "1.0.0", b"old"), &[])
        .published();
    let large = bench.large_firmware("1.1.0");
    let mut requests = bench.server.requests();
    let kills = stage
        .kill_at_every(
            At::EveryWrite,
            &["publish", &large, "PLACE", "--delta-from", "none"],
        )
        .await;
    // The upload begun, two parts, the upload completed; the record, the condition tried, the old manifest filed, the new one.
    assert_eq!(kills, 2 * 8);
    let mut parts = 0;
    while let Ok(request) = requests.try_recv() {
        parts += usize::from(request.method == "PUT" && request.path.contains("/images/1.1.0"));
    }
    assert!(parts >= 2 * kills, "{parts} parts");

    let unfinished = async || {
        let list = bench.client.list_multipart_uploads().bucket("firmware");
        list.send().await.unwrap().uploads().len()
    };
    let left = unfinished().await;
    assert!(left >= 4, "{left} unfinished uploads");
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let mut cleared = 0;
    for case in 0..stage.cases.load(Ordering::Relaxed) {
        let place = format!("s3://firmware/case{case}");
        let gc = ["gc", &place, "--grace", "1s"];
        let found = bench.s3ota(&gc).succeeded()["uploads"].as_u64().unwrap();
        let run = bench.s3ota(&[&gc[..], &["--delete"]].concat());
        assert_eq!(run.succeeded()["uploads"], found);
        cleared += found;
    }
    assert_eq!(cleared as usize, left);
    assert_eq!(unfinished().await, 0);
}
