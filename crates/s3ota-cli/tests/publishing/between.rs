//! Someone else acts between two requests of a command: what it has read is no longer true.

use std::sync::{Arc, Mutex};

use crate::bucket::*;
use crate::proxy::{Asked, Fate};
use s3ota_devserver::{Access, Options};
use s3ota_image::Chip;
use serde_json::Value;

const PLACE: &str = "s3://firmware/lamp";

/// A request of a command: the method, what its path contains, and the how-manieth of them it is, from 0.
type At = (&'static str, &'static str, usize);

/// What someone does at that moment.
type Deed = Box<dyn FnOnce() + Send>;

/// Runs a command; when it comes to a request, someone does something first. `fate` is what becomes of requests with a condition.
async fn with_deed(bench: &Bench, args: &[&str], at: At, fate: Fate, deed: Deed) -> Run {
    let waiting = Arc::new(Mutex::new((0, Some(deed))));
    let left = waiting.clone();
    let decide = move |asked: Asked| {
        let mut waiting = waiting.lock().unwrap();
        let is_it = asked.method == at.0 && asked.path.contains(at.1);
        let deed = if is_it && waiting.0 == at.2 {
            waiting.1.take()
        } else {
            None
        };
        waiting.0 += usize::from(is_it);
        async move {
            if let Some(deed) = deed {
                tokio::task::spawn_blocking(deed).await.unwrap();
            }
            if asked.has_condition {
                fate
            } else {
                Fate::Pass
            }
        }
    };
    let url = crate::proxy::proxy(&bench.server, decide, || {}).await;
    let mut command = bench.command();
    command
        .env("AWS_ENDPOINT_URL", url)
        .arg("--json")
        .args(args)
        .current_dir(bench.dir.path());
    let run = Run::of(command.output().unwrap());
    assert!(
        left.lock().unwrap().1.is_none(),
        "{args:?} never asked {at:?}"
    );
    run
}

/// Runs a command; when it comes to a request, someone else runs another one first. What became of both.
async fn meanwhile(bench: &Bench, args: &[&str], at: At, other: &[&str]) -> (Run, Run) {
    let mut command = bench.command();
    command
        .arg("--json")
        .args(other)
        .current_dir(bench.dir.path());
    let theirs = Arc::new(Mutex::new(None));
    let slot = theirs.clone();
    let deed = move || *slot.lock().unwrap() = Some(Run::of(command.output().unwrap()));
    let run = with_deed(bench, args, at, Fate::Pass, Box::new(deed)).await;
    let theirs = theirs.lock().unwrap().take().unwrap();
    (run, theirs)
}

impl Bench {
    fn image_of(&self, version: &str, payload: &str) -> String {
        let path = self.firmware(Chip::Esp32C3, version, payload.as_bytes());
        path.to_str().unwrap().to_owned()
    }

    async fn version(&self, channel: &str) -> String {
        self.manifest(&format!("lamp/{channel}.json")).await.version
    }

    async fn read_if_there(&self, key: &str) -> Option<Vec<u8>> {
        match self.has(key).await {
            true => Some(self.read(key).await.2),
            false => None,
        }
    }

    async fn has(&self, part: &str) -> bool {
        self.keys().await.iter().any(|key| key.contains(part))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_names_one_image_even_if_two_are_published_at_once() {
    let bench = Bench::new(Access::PublicRead).await;
    let (one, another) = (
        bench.image_of("1.0.0", "one"),
        bench.image_of("1.0.0", "another"),
    );
    let (run, theirs) = meanwhile(
        &bench,
        &["publish", &one, PLACE],
        ("PUT", "/releases/1.0.0.json", 0),
        &["publish", &another, PLACE, "--channel", "beta"],
    )
    .await;
    theirs.published();
    assert_eq!(run.error(), "publish.exists");
    assert!(!bench.has("stable.json").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_yank_and_a_release_of_the_same_version_one_sees_the_other() {
    for by_promotion in [false, true] {
        let bench = Bench::new(Access::PublicRead).await;
        bench.release("1.0.0", "stable");
        let image = bench.release("1.1.0", "beta");
        let release = match by_promotion {
            false => ["publish", &image, PLACE, "--channel=stable"],
            true => ["promote", PLACE, "beta", "stable"],
        };
        let yank = ["yank", PLACE, "1.1.0"];
        let (run, theirs) = meanwhile(&bench, &release, ("PUT", "/stable.json", 0), &yank).await;
        assert_eq!(theirs.status, 0);
        assert_eq!(run.error(), "publish.yanked");
        let hint = run.events.last().unwrap()["hint"].as_str().unwrap();
        assert!(hint.contains("run `s3ota yank` again"), "{hint}");
        assert_eq!(bench.version("stable").await, "1.1.0");
        bench.s3ota(&yank).succeeded();
        assert_eq!(bench.version("stable").await, "1.0.0");
    }
    let bench = Bench::new(Access::PublicRead).await;
    bench.release("1.0.0", "stable");
    let image = bench.release("1.1.0", "stable");
    let (run, theirs) = meanwhile(
        &bench,
        &["yank", PLACE, "1.1.0"],
        ("PUT", "/stable.json", 0),
        &["publish", &image, PLACE, "--channel", "nightly"],
    )
    .await;
    assert_eq!(run.status, 0);
    assert_eq!(theirs.error(), "publish.yanked", "the mark comes first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yank_is_not_stopped_by_a_change_of_the_channel() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.release("1.0.0", "stable");
    bench.release("1.1.0", "stable");
    let (run, theirs) = meanwhile(
        &bench,
        &["yank", PLACE, "1.1.0"],
        ("PUT", "/stable.json", 0),
        &["rollout", PLACE, "50%"],
    )
    .await;
    assert_eq!(run.status, 0, "{:?}", run.events);
    assert_eq!(theirs.error(), "publish.yanked", "and who did so is told");
    assert_eq!(bench.version("stable").await, "1.0.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_back_between_check_and_write_is_not_signed_either() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.key("release");
    let key = ["--key", "release.key"];
    let mut older = Vec::new();
    for version in ["1.0.0", "1.1.0"] {
        let image = bench.image_of(version, version);
        let publish = ["publish", &image, PLACE];
        older.push(bench.read_if_there("lamp/stable.json").await);
        bench.s3ota(&[&publish[..], &key].concat()).published();
    }
    let older = older.pop().flatten().unwrap();
    let (client, handle) = (bench.client.clone(), tokio::runtime::Handle::current());
    let body = older.clone();
    let deed = move || {
        let put = client
            .put_object()
            .bucket("firmware")
            .key("lamp/stable.json");
        handle.block_on(put.body(body.into()).send()).unwrap();
    };
    let rollout = ["rollout", PLACE, "50%", "--version", "1.1.0"];
    let rollout = [&rollout[..], &key].concat();
    let at = ("PUT", "/stable.json", 0);
    let run = with_deed(&bench, &rollout, at, Fate::Pass, Box::new(deed)).await;
    assert_eq!(run.error(), "s3.conflict");
    assert_eq!(bench.read("lamp/stable.json").await.2, older);
    assert_eq!(bench.s3ota(&rollout).error(), "sign.replayed");
}

#[tokio::test(flavor = "multi_thread")]
async fn gc_checks_again_before_it_removes_an_image() {
    let bench = Bench::new(Access::PublicRead).await;
    let old = bench.release("1.0.0", "stable");
    bench.release("1.1.0", "stable");
    tokio::time::sleep(std::time::Duration::from_millis(3100)).await;
    let gc = ["gc", PLACE, "--keep", "1", "--grace", "2s", "--delete"];
    // It has seen which channels there are.
    let (run, theirs) = meanwhile(
        &bench,
        &gc,
        ("GET", "/history/stable/", 0),
        &["publish", &old, PLACE, "--channel", "old"],
    )
    .await;
    theirs.published();
    assert_eq!(run.succeeded()["images"], 0);
    assert!(bench.has("images/1.0.0-").await);

    // Or someone is about to publish it, and has just sent it again.
    let bench = Bench::new(Access::PublicRead).await;
    let old = bench.release("1.0.0", "stable");
    bench.release("1.1.0", "stable");
    let keys = bench.keys().await;
    let key = keys.iter().find(|key| key.contains("images/1.0.0-"));
    let key = key.unwrap().clone();
    tokio::time::sleep(std::time::Duration::from_millis(3100)).await;
    let (client, handle) = (bench.client.clone(), tokio::runtime::Handle::current());
    let deed = move || {
        let put = client.put_object().bucket("firmware").key(key);
        let body = std::fs::read(old).unwrap().into();
        handle.block_on(put.body(body).send()).unwrap();
    };
    let at = ("GET", "/history/stable/", 0);
    let run = with_deed(&bench, &gc, at, Fate::Pass, Box::new(deed)).await;
    assert_eq!(run.succeeded()["images"], 0);
    assert!(bench.has("images/1.0.0-").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_gc_removes_during_a_publish_is_uploaded_again() {
    let bench = Bench::new(Access::PublicRead).await;
    let old = bench.release("1.0.0", "stable");
    bench.release("1.1.0", "stable");
    tokio::time::sleep(std::time::Duration::from_millis(2100)).await;
    let (run, theirs) = meanwhile(
        &bench,
        &["publish", &old, PLACE, "--channel", "old"],
        ("PUT", "/old.json", 0),
        &["gc", PLACE, "--keep", "1", "--grace", "1s", "--delete"],
    )
    .await;
    assert_eq!(theirs.succeeded()["images"], 1);
    run.published();
    assert!(bench.has("images/1.0.0-").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_gc_may_be_about_to_remove_is_uploaded_again_and_new() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options {
        dir: Some(dir.path().to_owned()),
        ..Options::default()
    };
    let bench = Bench::with(options()).await;
    bench.release("1.0.0", "stable");
    bench.release("1.1.0", "stable");
    bench.server.stop().await;
    // Half a day and an hour later.
    for record in std::fs::read_dir(dir.path().join("buckets/firmware/objects")).unwrap() {
        let path = record.unwrap().path();
        let mut record: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let written = record["last_modified"].as_i64().unwrap();
        record["last_modified"] = (written - 13 * 60 * 60).into();
        std::fs::write(path, record.to_string()).unwrap();
    }
    let bench = Bench::with(options()).await;
    for (version, channel, is_there) in [("1.1.0", "stable", true), ("1.0.0", "old", false)] {
        let image = bench.image_of(version, version);
        let run = bench.s3ota(&["publish", &image, PLACE, "--channel", channel]);
        run.published();
        assert_eq!(run.all("uploaded")[0]["object"], "image");
        assert_eq!(run.all("uploaded")[0]["existed"], is_there, "{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_change_of_a_channel_decides_for_legacy_clients_too() {
    for at in [
        ("PUT", "/older/stable.aws-s3-ota.json", 0),
        ("GET", "/older/stable.aws-s3-ota.json", 0),
    ] {
        let bench = Bench::new(Access::PublicRead).await;
        let image = bench.image_of("1.0.0", "");
        let also = ["--also", "aws-s3-ota"];
        let publish = ["publish", &image, PLACE];
        bench.s3ota(&[&publish[..], &also].concat()).published();
        let (image, newer) = (bench.image_of("1.1.0", ""), bench.image_of("1.2.0", ""));
        let other = ["publish", &newer, PLACE];
        let (run, theirs) = meanwhile(&bench, &["publish", &image, PLACE], at, &other).await;
        run.published();
        theirs.published();
        assert_eq!(bench.version("stable").await, "1.2.0");
        let older = bench.read("lamp/older/stable.aws-s3-ota.json").await.2;
        let older: Value = serde_json::from_slice(&older).unwrap();
        assert_eq!(older["version"], "1.2.0", "{at:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_conditions_is_read_before_it_is_written() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.release("1.0.0", "stable");
    let image = bench.image_of("1.1.0", "");
    let publish = ["publish", &image, PLACE];
    let (mut other, newer) = (bench.command(), bench.image_of("1.2.0", ""));
    other.args(["publish", &newer, PLACE]);
    let deed = move || assert!(other.output().unwrap().status.success());
    // The old manifest is filed, and then read once more.
    let at = ("PUT", "/history/stable/", 0);
    let run = with_deed(&bench, &publish, at, Fate::NotImplemented, Box::new(deed)).await;
    assert_eq!(run.error(), "s3.conflict");
    assert_eq!(bench.version("stable").await, "1.2.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_counts_as_uploaded_only_if_it_is_this_image() {
    let bench = Bench::new(Access::PublicRead).await;
    let image = bench.image_of("1.0.0", "");
    let bytes = std::fs::read(&image).unwrap();
    let publish = ["publish", &image, PLACE];
    let sha256 = bench
        .s3ota(&[&publish[..], &["--dry-run"]].concat())
        .succeeded()["sha256"]
        .clone();
    let key = format!("lamp/images/1.0.0-{}.bin", &sha256.as_str().unwrap()[..12]);
    let mut other = bytes.clone();
    other[100] ^= 1;
    // The store keeps something else than it was sent: the channel is not touched.
    let (client, handle) = (bench.client.clone(), tokio::runtime::Handle::current());
    let (to, body) = (key.clone(), other.clone());
    let deed = move || {
        let put = client.put_object().bucket("firmware").key(to);
        handle.block_on(put.body(body.into()).send()).unwrap();
    };
    let run = with_deed(
        &bench,
        &publish,
        ("HEAD", "/images/", 1),
        Fate::Pass,
        Box::new(deed),
    )
    .await;
    assert_eq!(run.error(), "s3.damaged");
    assert!(!bench.has("stable.json").await);
    // What lies there under its name is looked at before it is relied on.
    bench.s3ota(&publish).published();
    assert!(bench.read(&key).await.2 == bytes);
}
