//! Fifty publishers on one channel at once: one wins each round, every loser is told, and nothing is lost.

use std::collections::BTreeSet;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::bucket::*;
use crate::proxy::{Asked, Fate};
use s3ota_devserver::Access;
use s3ota_image::Chip;
use s3ota_manifest::ManifestDocument;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

const PUBLISHERS: usize = 50;

/// Lets all publishers of a round come as far as replacing the manifest, and then all go at once.
#[derive(Default)]
struct Gate {
    waiting: AtomicUsize,
    expected: AtomicUsize,
    open: Notify,
}

impl Gate {
    async fn pass(&self, asked: &Asked) {
        if asked.method != "PUT" || !asked.path.ends_with("/lamp/stable.json") {
            return;
        }
        let opened = self.open.notified();
        // A retry has been let through once.
        if self.waiting.fetch_add(1, Ordering::SeqCst) + 1 >= self.expected.load(Ordering::SeqCst) {
            self.open.notify_waiters();
        } else {
            opened.await;
        }
    }
}

struct Race {
    bench: Bench,
    gate: Arc<Gate>,
    url: String,
}

impl Race {
    async fn new() -> Self {
        let bench = Bench::new(Access::PublicRead).await;
        let gate = Arc::new(Gate::default());
        let at = gate.clone();
        let decide = move |asked: Asked| {
            let at = at.clone();
            async move {
                at.pass(&asked).await;
                Fate::Pass
            }
        };
        let url = crate::proxy::proxy(&bench.server, decide, || {}).await;
        Self { bench, gate, url }
    }

    /// Lets some publishers release a version each, all at once. Returns the one that won.
    async fn round(&self, versions: &[String]) -> String {
        self.gate.waiting.store(0, Ordering::SeqCst);
        self.gate.expected.store(versions.len(), Ordering::SeqCst);
        let publishers: Vec<(String, Child)> = versions
            .iter()
            .map(|version| {
                let firmware = self
                    .bench
                    .firmware(Chip::Esp32C3, version, version.as_bytes());
                let mut command = self.bench.command();
                command
                    .env("AWS_ENDPOINT_URL", &self.url)
                    .env("SSL_CERT_FILE", self.bench.server.ca_path())
                    .env("S3OTA_BY", format!("publisher of {version}"))
                    .args(["--json", "publish"])
                    .arg(firmware)
                    .arg("s3://firmware/lamp")
                    .stdout(Stdio::piped())
                    .stderr(Stdio::null());
                (version.clone(), command.spawn().unwrap())
            })
            .collect();
        let ended = tokio::task::spawn_blocking(move || {
            publishers
                .into_iter()
                .map(|(version, child)| (version, Run::of(child.wait_with_output().unwrap())))
                .collect::<Vec<_>>()
        });
        let mut winners = Vec::new();
        for (version, run) in ended.await.unwrap() {
            if run.status == 0 {
                run.published();
                winners.push(version);
            } else {
                let last = run.events.last().unwrap();
                assert_eq!(run.error(), "s3.conflict", "every loser is told: {last}");
                assert!(last["hint"].as_str().unwrap().contains("again"), "{last}");
            }
        }
        assert_eq!(winners.len(), 1, "one wins: {winners:?}");
        winners.remove(0)
    }

    /// What `s3ota history` tells: the versions that were on the channel, in their order.
    fn history(&self) -> Vec<String> {
        let place = ["history", "s3://firmware/lamp", "--limit", "1000"];
        let run = self.bench.s3ota(&place);
        run.succeeded();
        let mut changes: Vec<(u64, String)> = run
            .all("change")
            .iter()
            .map(|change| {
                let version = change["version"].as_str().unwrap().to_owned();
                assert_eq!(change["by"], format!("publisher of {version}"));
                (change["serial"].as_u64().unwrap(), version)
            })
            .collect();
        changes.sort();
        changes.into_iter().map(|(_, version)| version).collect()
    }

    /// Every manifest and every record names an image that is there, and is the one it says.
    async fn nothing_dangles(&self) {
        let keys: BTreeSet<String> = self.bench.keys().await.into_iter().collect();
        for key in keys.iter().filter(|key| key.ends_with(".json")) {
            let manifest = ManifestDocument::parse(&self.bench.read(key).await.2).unwrap();
            let image = manifest.url.split("/firmware/").nth(1).unwrap();
            assert!(keys.contains(image), "{key} names {image}");
            let bytes = self.bench.read(image).await.2;
            let sha256: [u8; 32] = Sha256::digest(&bytes).into();
            assert_eq!(manifest.sha256.unwrap().0, sha256, "{key}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_publishers_at_once_one_wins_each_round_and_every_loser_is_told() {
    let race = Race::new().await;
    let mut winners = Vec::new();
    // The first on a channel that is empty, the second on one that is not.
    for round in 0..2 {
        let versions: Vec<String> = (0..PUBLISHERS).map(|n| format!("1.{round}.{n}")).collect();
        winners.push(race.round(&versions).await);
    }
    assert_eq!(race.history(), winners, "the history is complete, and true");
    race.nothing_dangles().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: 1275 processes"]
async fn fifty_publishers_that_retry_all_win_in_the_end() {
    let race = Race::new().await;
    let mut versions: Vec<String> = (0..PUBLISHERS).map(|n| format!("1.0.{n}")).collect();
    let mut winners = Vec::new();
    while !versions.is_empty() {
        let winner = race.round(&versions).await;
        versions.retain(|version| *version != winner);
        winners.push(winner);
    }
    assert_eq!(winners.len(), PUBLISHERS);
    assert_eq!(race.history(), winners, "the history is complete, and true");
    race.nothing_dangles().await;
}
