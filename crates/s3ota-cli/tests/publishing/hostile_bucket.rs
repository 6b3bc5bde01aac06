//! An attacker who controls the bucket but not the release key cannot make a device install, roll back or freeze beyond `expires`;
//! nor make the owner do it, by putting old, signed manifests where the owner's next command finds them.
//!
//! A real server over TLS, the real command as publisher and as device, and an attacker who writes anything into the bucket. When
//! something is refused, not a bit of the device's flash changes.

use crate::bucket::*;
use s3ota_devserver::Access;
use s3ota_image::Chip;
use s3ota_image::app::ImageBuilder;
use s3ota_manifest::{ManifestDocument, Rollout, Sha256Digest, Timestamp};
use serde_json::Value;
use sha2::{Digest, Sha256};

const MANIFEST: &str = "lamp/stable.json";

/// A bucket in hostile hands, and a device that follows it.
struct Siege {
    bench: Bench,
}

impl Siege {
    /// A device that runs `version` and has seen that its owner released it.
    async fn of_a_device_with(version: &str) -> Self {
        let siege = Self {
            bench: Bench::new(Access::PublicRead).await,
        };
        siege.bench.key("release");
        let first = siege.firmware("lamp", version);
        siege.bench.new_device("flash.bin", first.as_ref());
        siege.release("lamp", version, &[]);
        assert_eq!(siege.run(&[])["reason"], "up_to_date");
        siege
    }

    /// A firmware in a file.
    fn firmware(&self, project: &str, version: &str) -> String {
        let path = self.bench.path(&format!("{project}-{version}.bin"));
        std::fs::write(
            &path,
            ImageBuilder::new(Chip::Esp32C3, version)
                .project_name(project)
                .length(20_000)
                .build(),
        )
        .unwrap();
        path
    }

    /// The owner releases a version of a product, under its prefix.
    fn release(&self, product: &str, version: &str, args: &[&str]) {
        let firmware = self.firmware(product, version);
        let destination = format!("s3://firmware/{product}");
        let mut all = vec!["publish", &firmware, &destination, "--key", "release.key"];
        all.extend(args);
        self.bench.s3ota(&all).succeeded();
    }

    /// Powers the device on once; the last thing that happens.
    fn run(&self, args: &[&str]) -> Value {
        let url = format!("{}/firmware/{MANIFEST}", self.bench.server.endpoint_url());
        let bench = &self.bench;
        let run = bench.run_device("flash.bin", bench.ca(), &url, args);
        run.events.last().unwrap().clone()
    }

    /// Has the device look at what is in the bucket: it refuses with this code, and no bit of its flash is another.
    fn refuses(&self, what: &str, code: &str, args: &[&str]) {
        let flash = std::fs::read(self.bench.path("flash.bin")).unwrap();
        let last = self.run(args);
        assert_eq!(
            (&last["event"], &last["code"]),
            (&"error".into(), &code.into()),
            "{what}: {last}"
        );
        assert!(
            std::fs::read(self.bench.path("flash.bin")).unwrap() == flash,
            "{what}: the flash has changed"
        );
    }

    /// Has the device look at what is in the bucket: it updates itself.
    fn updates_to(&self, version: &str) {
        let last = self.run(&[]);
        assert_eq!(
            (&last["event"], &last["version"]),
            (&"confirmed".into(), &version.into()),
            "{last}"
        );
    }

    async fn manifest(&self) -> ManifestDocument {
        self.bench.manifest(MANIFEST).await
    }

    async fn write(&self, manifest: &ManifestDocument) {
        self.bench
            .write(MANIFEST, manifest.to_json().unwrap())
            .await;
    }
}

/// The hostile firmware, and what a manifest says of it.
fn evil(version: &str) -> (Vec<u8>, u32, Sha256Digest) {
    let image = ImageBuilder::new(Chip::Esp32C3, version)
        .project_name("lamp")
        .payload(&[0xee; 20_000 - 336])
        .build();
    let (size, sha256) = (
        image.len() as u32,
        Sha256Digest(Sha256::digest(&image).into()),
    );
    (image, size, sha256)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_cannot_make_a_device_install_what_the_owner_did_not_release() {
    let siege = Siege::of_a_device_with("1.0.0").await;
    siege.release(
        "lamp",
        "1.1.0",
        &[
            "--board",
            "lamp-2",
            "--rollout",
            "50",
            "--min-version",
            "1.0",
            "--expires",
            "30d",
        ],
    );
    siege.release("lamp", "2.0.0", &["--channel", "beta"]);
    siege.release("kettle", "3.0.0", &[]);
    let good = siege.manifest().await;
    let (image, size, sha256) = evil("9.0.0");
    siege.bench.write("lamp/evil.bin", image).await;
    let evil_url = format!(
        "{}/firmware/lamp/evil.bin",
        siege.bench.server.endpoint_url()
    );

    // A manifest of its own: unsigned, signed with a key of its own, under the name of the owner's key.
    let mut own = good.clone();
    (own.version, own.size, own.sha256, own.url) =
        ("9.0.0".into(), Some(size), Some(sha256), evil_url.clone());
    siege.write(&own).await;
    siege.refuses("the signature of another release", "release.signature", &[]);
    own.signature = None;
    siege.write(&own).await;
    siege.refuses("no signature", "release.signature", &[]);
    siege.bench.key("hostile");
    std::fs::write(siege.bench.path("own.json"), own.to_json().unwrap()).unwrap();
    siege
        .bench
        .s3ota(&["sign", "own.json", "--key", "hostile.key"])
        .succeeded();
    let mut own =
        ManifestDocument::parse(&std::fs::read(siege.bench.path("own.json")).unwrap()).unwrap();
    siege.write(&own).await;
    siege.refuses("a key of its own", "release.signature", &[]);
    own.signature
        .as_mut()
        .unwrap()
        .keyid
        .clone_from(&good.signature.as_ref().unwrap().keyid);
    siege.write(&own).await;
    siege.refuses(
        "a key of its own by the owner's name",
        "release.signature",
        &[],
    );

    // The owner's manifest with one field changed, added or taken away.
    type Edit = fn(&mut ManifestDocument);
    let edits: [(&str, Edit); 17] = [
        ("version", |m| m.version = "1.2.0".into()),
        ("version's build", |m| m.version = "1.1.0+b2".into()),
        ("size", |m| m.size = m.size.map(|size| size + 16)),
        ("no size", |m| m.size = None),
        ("sha256", |m| m.sha256 = Some(evil("1.1.0").2)),
        ("no sha256", |m| m.sha256 = None),
        ("project", |m| m.project = Some("kettle".into())),
        ("chip", |m| m.chip = Some("esp32s3".into())),
        ("no board", |m| m.board = None),
        ("channel", |m| m.channel = Some("beta".into())),
        ("rollout", |m| m.rollout = Rollout::from_percent(100).ok()),
        ("no rollout", |m| m.rollout = None),
        ("no min_version", |m| m.min_version = None),
        ("downgrade", |m| m.downgrade = true),
        ("serial", |m| m.serial = Some(u64::MAX)),
        ("expires", |m| m.expires = Some(Timestamp::MAX)),
        ("no expires", |m| m.expires = None),
    ];
    for (what, edit) in edits {
        let mut edited = good.clone();
        edit(&mut edited);
        assert_ne!(edited, good, "{what}");
        siege.write(&edited).await;
        siege.refuses(what, "release.signature", &[]);
    }

    // What the owner signed, for others.
    siege
        .bench
        .write(MANIFEST, siege.bench.read("lamp/beta.json").await.2)
        .await;
    siege.refuses("another channel's release", "release.channel", &[]);
    siege
        .bench
        .write(MANIFEST, siege.bench.read("kettle/stable.json").await.2)
        .await;
    siege.refuses("another product's release", "release.project", &[]);
    siege.write(&good).await;
    siege.refuses(
        "another board's release",
        "release.board",
        &["--board", "lamp-1"],
    );

    // No manifest at all, or no end of it.
    let twice = good
        .to_json()
        .unwrap()
        .replacen('{', r#"{"version": "9.0.0","#, 1);
    siege.bench.write(MANIFEST, twice).await;
    siege.refuses("two versions", "manifest.invalid", &[]);
    siege.bench.write(MANIFEST, "").await;
    siege.refuses("nothing", "manifest.invalid", &[]);
    siege.bench.write(MANIFEST, vec![b' '; 1 << 20]).await;
    siege.refuses("a megabyte", "http.length", &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_cannot_replace_the_image_of_a_valid_manifest() {
    let siege = Siege::of_a_device_with("1.0.0").await;
    siege.release("lamp", "1.1.0", &[]);
    let good = siege.manifest().await;
    let key = good.url.split("/firmware/").nth(1).unwrap().to_owned();
    let image = siege.bench.read(&key).await.2;
    let (evil, ..) = evil("1.1.0");
    assert_eq!(evil.len(), image.len());
    // What the owner signed is remembered, and that much may be written.
    siege.bench.write(&key, "").await;
    assert_eq!(siege.run(&[])["code"], "image.size");
    let mut flipped = image.clone();
    flipped[15_000] ^= 1;
    let longer = [&image[..], &[0; 16]].concat();
    let other = std::fs::read(siege.firmware("lamp", "1.0.0")).unwrap();
    for (what, bytes, code) in [
        ("a firmware of its own", &evil[..], "image.digest"),
        ("one bit", &flipped, "image.digest"),
        ("the end cut off", &image[..image.len() - 16], "image.size"),
        ("something behind the end", &longer, "image.size"),
        ("the firmware before", &other, "image.version"),
        ("nothing", &[], "image.size"),
    ] {
        siege.bench.write(&key, bytes).await;
        siege.refuses(what, code, &[]);
    }
    siege.bench.write(&key, image).await;

    // The URL is not signed: it may lead anywhere, but only to the same bytes.
    siege.bench.write("lamp/evil.bin", evil).await;
    for (url, code) in [
        (good.url.replace(&key, "lamp/evil.bin"), "image.digest"),
        (good.url.replace(&key, "lamp/none.bin"), "http.status"),
        (good.url.replace(&key, MANIFEST), "image.size"),
        ("https://localhost:1/lamp.bin".into(), "net.connect"),
    ] {
        siege
            .write(&ManifestDocument {
                url: url.clone(),
                ..good.clone()
            })
            .await;
        siege.refuses(&url, code, &[]);
    }
    let plain = good.to_json().unwrap().replace("https://", "http://");
    siege.bench.write(MANIFEST, plain).await;
    siege.refuses("a URL without TLS", "manifest.url", &[]);

    siege.write(&good).await;
    siege.updates_to("1.1.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_cannot_make_a_device_go_back() {
    let siege = Siege::of_a_device_with("1.0.0").await;
    let first = siege.manifest().await;
    // The owner let devices go back once, and has moved on since.
    siege.release("lamp", "0.9.0", &["--allow-downgrade", "--expires", "30d"]);
    let permission = siege.manifest().await;
    siege.release("lamp", "1.1.0", &["--min-version", "1.0.0"]);
    siege.updates_to("1.1.0");
    let newest = siege.manifest().await;

    siege.write(&first).await;
    siege.refuses("the release before", "release.replayed", &[]);
    siege.write(&permission).await;
    siege.refuses("a permission of the past", "release.replayed", &[]);
    siege
        .bench
        .write(
            MANIFEST,
            siege.bench.read("lamp/releases/1.0.0.json").await.2,
        )
        .await;
    siege.refuses("what the history holds", "release.replayed", &[]);
    let mut mixed = permission.clone();
    mixed.serial = newest.serial;
    siege.write(&mixed).await;
    siege.refuses(
        "the permission with the newest serial",
        "release.signature",
        &[],
    );
    mixed.signature = newest.signature;
    siege.write(&mixed).await;
    siege.refuses("and with the newest signature", "release.signature", &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_cannot_freeze_a_device_on_a_release_beyond_its_expiry() {
    let siege = Siege::of_a_device_with("1.0.0").await;
    siege.release("lamp", "1.1.0", &["--expires", "90d"]);
    let frozen = siege.manifest().await;
    // The owner releases a newer one, and the hand in the bucket hides it.
    siege.release("lamp", "1.2.0", &["--expires", "180d"]);
    let hidden = siege.manifest().await;
    siege.write(&frozen).await;
    let day = |days: u64| {
        let moment = frozen.expires.unwrap().unix_seconds() - 90 * 86_400 + days * 86_400;
        Timestamp::from_unix_seconds(moment).unwrap().to_string()
    };
    // Before the expiry, nobody can tell. After it, each attempt reports that something is wrong.
    siege.refuses("a frozen release", "release.expired", &["--now", &day(91)]);
    let last = siege.run(&["--now", &day(89)]);
    assert_eq!(
        (&last["event"], &last["version"]),
        (&"confirmed".into(), &"1.1.0".into()),
        "{last}"
    );
    siege.refuses(
        "the release it runs",
        "release.expired",
        &["--now", &day(91)],
    );
    siege
        .write(&ManifestDocument {
            expires: hidden.expires,
            ..frozen.clone()
        })
        .await;
    siege.refuses("a longer life", "release.signature", &["--now", &day(91)]);

    siege.write(&hidden).await;
    let last = siege.run(&["--now", &day(91)]);
    assert_eq!(
        (&last["event"], &last["version"]),
        (&"confirmed".into(), &"1.2.0".into()),
        "{last}"
    );
    // A device without a clock has at least its rollback state.
    siege.write(&frozen).await;
    siege.refuses(
        "the release before, without a clock",
        "release.replayed",
        &["--now", "unknown"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn it_cannot_get_the_owner_to_sign_what_it_put_there() {
    let siege = Siege::of_a_device_with("1.0.0").await;
    siege.release("lamp", "1.1.0", &[]);
    siege.release("lamp", "1.2.0", &["--channel", "beta"]);
    let (stable, beta) = (
        siege.manifest().await,
        siege.bench.manifest("lamp/beta.json").await,
    );
    let (image, size, sha256) = evil("1.2.0");
    siege.bench.write("lamp/evil.bin", image).await;
    let owner = |args: &[&str]| {
        siege
            .bench
            .s3ota(&[args, &["--key", "release.key"]].concat())
    };
    let acts: [&[&str]; 4] = [
        &["promote", "s3://firmware/lamp", "beta", "stable"],
        &["rollout", "s3://firmware/lamp", "25%", "--channel", "beta"],
        &["yank", "s3://firmware/lamp", "1.2.0"],
        &["sign", "s3://firmware/lamp", "--channel", "beta"],
    ];
    for signature in [beta.signature.clone(), None] {
        let planted = ManifestDocument {
            size: Some(size),
            sha256: Some(sha256),
            signature,
            ..beta.clone()
        };
        siege
            .bench
            .write("lamp/beta.json", planted.to_json().unwrap())
            .await;
        for act in acts {
            assert_eq!(owner(act).error(), "sign.untrusted", "{act:?}");
        }
        assert_eq!(siege.bench.manifest("lamp/beta.json").await, planted);
        assert_eq!(siege.manifest().await, stable);
    }

    // Nor is the history believed: what a channel goes back to is what the owner signed.
    siege
        .bench
        .write("lamp/beta.json", beta.to_json().unwrap())
        .await;
    owner(acts[0]).succeeded();
    let serial = u64::from(u32::MAX);
    let filed = ManifestDocument {
        version: "1.1.9".into(),
        serial: Some(serial),
        ..stable
    };
    siege
        .bench
        .write(
            &format!("lamp/history/stable/{serial}.json"),
            filed.to_json().unwrap(),
        )
        .await;
    owner(acts[2]).succeeded();
    assert_eq!(siege.manifest().await.version, "1.1.0");
    siege.updates_to("1.1.0");
}

/// The owner at work, and everything that was ever signed in hostile hands.
struct Replay {
    bench: Bench,
}

/// A host that has signed nothing, and seen nothing signed.
const FRESH: &str = "fresh";

const PLACE: &str = "s3://firmware/lamp";

impl Replay {
    async fn new() -> Self {
        let replay = Self {
            bench: Bench::new(Access::PublicRead).await,
        };
        replay.bench.key("release");
        replay
    }

    fn firmware(&self, version: &str) -> String {
        let path = self
            .bench
            .firmware(Chip::Esp32C3, version, version.as_bytes());
        path.to_str().unwrap().to_owned()
    }

    /// The owner releases a version; the manifest.
    async fn release(&self, channel: &str, version: &str, args: &[&str]) -> ManifestDocument {
        let firmware = self.firmware(version);
        let publish = ["publish", &firmware, PLACE, "--channel", channel];
        self.owner(&[&publish[..], args].concat()).published();
        self.bench.manifest(&format!("lamp/{channel}.json")).await
    }

    /// The owner's command, on the host that has signed everything.
    fn owner(&self, args: &[&str]) -> Run {
        self.bench
            .s3ota(&[args, &["--key", "release.key"]].concat())
    }

    fn on_a_fresh_host(&self, args: &[&str]) -> Run {
        self.bench
            .s3ota_on(FRESH, &[args, &["--key", "release.key"]].concat())
    }

    async fn put(&self, key: &str, manifest: &ManifestDocument) {
        self.bench.write(key, manifest.to_json().unwrap()).await;
    }

    async fn remove(&self, key: &str) {
        self.bench.remove(key).await;
    }

    async fn stable(&self) -> ManifestDocument {
        self.bench.manifest(MANIFEST).await
    }

    /// A command is refused with these codes, on the owner's host and on a fresh one. Nothing is signed, and no byte of the
    /// bucket is another.
    async fn refuses(&self, args: &[&str], [owner, fresh]: [&str; 2]) {
        let before = self.bench.objects().await;
        let runs = [
            (self.owner(args), owner),
            (self.on_a_fresh_host(args), fresh),
        ];
        for (run, code) in runs {
            assert_eq!(run.error(), code, "{args:?}: {:?}", run.events);
            let last = run.events.last().unwrap();
            assert!(last["hint"].is_string(), "what to do is said: {last}");
        }
        assert!(self.bench.objects().await == before, "{args:?}");
    }
}

async fn until_it_has_expired(manifest: &ManifestDocument) {
    while Timestamp::from_unix_seconds(now()).unwrap() <= manifest.expires.unwrap() {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap().as_secs()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_channels_manifest_is_not_signed_for_this_channel() {
    let replay = Replay::new().await;
    let good = replay.release("stable", "1.0.0", &[]).await;
    let beta = replay.release("beta", "2.0.0", &[]).await;
    replay.put(MANIFEST, &beta).await;
    let next = replay.firmware("2.1.0");
    let acts: [&[&str]; 8] = [
        &["sign", PLACE],
        &["sign", PLACE, "--version", "2.0.0"],
        &["sign", PLACE, "--expires", "90d", "--newer-is-lost"],
        &["rollout", PLACE, "99%"],
        &["rollout", PLACE, "100%"],
        &["promote", PLACE, "stable", "beta"],
        &["yank", PLACE, "2.0.0"],
        &["publish", &next, PLACE],
    ];
    for act in acts {
        replay.refuses(act, ["sign.channel"; 2]).await;
    }
    // Nor is it signed for a channel that was made up for it.
    replay.put(MANIFEST, &good).await;
    replay.put("lamp/nightly.json", &beta).await;
    let nightly = ["sign", PLACE, "--channel", "nightly"];
    let yank = ["yank", PLACE, "2.0.0"];
    for act in [&nightly[..], &yank] {
        replay.refuses(act, ["sign.channel"; 2]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_permission_to_go_back_is_not_rolled_out() {
    let replay = Replay::new().await;
    let back = ["--allow-downgrade", "--expires", "1s"];
    let permission = replay.release("stable", "1.1.0", &back).await;
    replay.release("stable", "1.3.0", &[]).await;
    until_it_has_expired(&permission).await;
    replay.put(MANIFEST, &permission).await;
    let rollout = ["rollout", PLACE, "99%"];
    let named = [&rollout[..], &["--version", "1.1.0"]].concat();
    for act in [&rollout[..], &named] {
        replay.refuses(act, ["sign.replayed", "sign.expired"]).await;
    }
    // Were it the newest, it would not be renewed either.
    let lost = [&named[..], &["--newer-is-lost"]].concat();
    replay.refuses(&lost, ["sign.expired"; 2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_to_go_back_ends_with_the_next_change_unless_it_is_given_again() {
    let replay = Replay::new().await;
    let back = ["--allow-downgrade", "--expires", "7d"];
    for (act, channel) in [
        (&["rollout", PLACE, "99%"][..], "stable"),
        (&["sign", PLACE], "stable"),
        (&["promote", PLACE, "stable", "beta"], "beta"),
    ] {
        let given = replay.release("stable", "1.1.0", &back).await;
        assert!(given.downgrade);
        let run = replay.owner(act);
        run.succeeded();
        assert_eq!(run.warnings(), ["publish.downgrade"], "{act:?}");
        let key = format!("lamp/{channel}.json");
        assert!(!replay.bench.manifest(&key).await.downgrade, "{act:?}");
    }
    let again = [&["rollout", PLACE, "50%"][..], &back].concat();
    replay.owner(&again).succeeded();
    assert!(replay.stable().await.downgrade);
    let for_ever = ["--allow-downgrade", "--expires", "never"];
    let for_ever = [&["rollout", PLACE, "40%"][..], &for_ever].concat();
    assert_eq!(replay.owner(&for_ever).usage_error(), "publish.expires");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_channels_manifest_is_not_promoted() {
    let replay = Replay::new().await;
    replay.release("stable", "1.0.0", &[]).await;
    replay.release("beta", "1.1.0", &[]).await;
    let nightly = replay.release("nightly", "2.0.0", &[]).await;
    replay.put("lamp/beta.json", &nightly).await;
    for more in [&[][..], &["--version", "2.0.0"], &["--dry-run"]] {
        let promote = [&["promote", PLACE, "beta", "stable"], more].concat();
        replay.refuses(&promote, ["sign.channel"; 2]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_manifest_is_not_promoted_nor_followed_by_what_is() {
    let replay = Replay::new().await;
    let stable = replay.release("stable", "1.0.0", &[]).await;
    replay.release("stable", "1.2.0", &[]).await;
    let beta = replay.release("beta", "1.1.0", &[]).await;
    let newest = replay.release("beta", "1.3.0", &[]).await;
    replay.put("lamp/beta.json", &beta).await;
    let promote = ["promote", PLACE, "beta", "stable"];
    replay
        .refuses(&promote, ["sign.replayed", "sign.unknown"])
        .await;
    // The channel that gets it is looked at as well.
    replay.put("lamp/beta.json", &newest).await;
    replay.put(MANIFEST, &stable).await;
    let named = [&promote[..], &["--version", "1.3.0"]].concat();
    replay
        .refuses(&named, ["sign.replayed", "sign.min_version"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_does_not_go_back_to_a_release_planted_in_its_history() {
    let replay = Replay::new().await;
    let first = replay.release("stable", "1.0.0", &[]).await;
    replay.release("stable", "1.1.0", &[]).await;
    let beta = replay.release("beta", "1.2.0", &[]).await;
    replay.release("stable", "1.3.0", &[]).await;
    let yank = ["yank", PLACE, "1.3.0"];
    let dry = [&yank[..], &["--dry-run"]].concat();
    let late = |n: u32| format!("lamp/history/stable/{}.json", u32::MAX - n);
    replay.put(&late(0), &beta).await;
    for act in [&yank[..], &dry] {
        replay.refuses(act, ["sign.channel"; 2]).await;
    }

    // A later name does not make an older manifest newer; unsigned ones and those of other keys do not count.
    replay.put(&late(0), &first).await;
    let unsigned = ManifestDocument {
        version: "1.2.9".into(),
        serial: Some(u64::from(u32::MAX)),
        signature: None,
        ..first
    };
    replay.put(&late(1), &unsigned).await;
    replay.bench.key("hostile");
    let file = replay.bench.path("planted.json");
    std::fs::write(&file, unsigned.to_json().unwrap()).unwrap();
    let sign = ["sign", &file, "--key", "hostile.key"];
    replay.bench.s3ota(&sign).succeeded();
    replay
        .bench
        .write(&late(2), std::fs::read(&file).unwrap())
        .await;
    assert_eq!(replay.on_a_fresh_host(&yank).error(), "sign.unknown");
    replay.owner(&yank).succeeded();
    assert_eq!(replay.stable().await.version, "1.1.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_does_not_go_further_back_because_of_a_deleted_object_or_a_planted_mark() {
    for what in ["history", "mark", "image"] {
        let replay = Replay::new().await;
        replay.release("stable", "1.0.0", &[]).await;
        let good = replay.release("stable", "1.1.0", &[]).await;
        replay.release("stable", "1.2.0", &[]).await;
        let filed = format!("lamp/history/stable/{}.json", good.serial.unwrap());
        match what {
            "history" => replay.remove(&filed).await,
            "mark" => replay.bench.write("lamp/yanked/1.1.0.json", "{}").await,
            _ => {
                let image = good.url.split("/firmware/").nth(1).unwrap();
                replay.remove(image).await;
            }
        }
        let yank = ["yank", PLACE, "1.2.0"];
        replay
            .refuses(&yank, ["sign.history", "sign.unknown"])
            .await;
        // A named release is that one or none.
        let named = [&yank[..], &["--version", "1.1.0"]].concat();
        replay.refuses(&named, ["sign.history"; 2]).await;
        let named = [&yank[..], &["--version", "1.0.0"]].concat();
        replay.on_a_fresh_host(&named).succeeded();
        assert_eq!(replay.stable().await.version, "1.0.0", "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_not_left_on_a_channel_because_someone_hides_it_from_the_yank() {
    let replay = Replay::new().await;
    let before = replay.release("stable", "1.0.0", &[]).await;
    let good = replay.release("stable", "1.1.0", &[]).await;
    let yank = ["yank", PLACE, "1.1.0"];
    let unsigned = ManifestDocument {
        signature: None,
        ..before.clone()
    };
    for (hidden_by, code) in [
        (Some(&before), "sign.replayed"),
        (Some(&unsigned), "sign.untrusted"),
        (None, "sign.replayed"),
    ] {
        match hidden_by {
            Some(manifest) => replay.put(MANIFEST, manifest).await,
            None => replay.remove(MANIFEST).await,
        }
        let objects = replay.bench.objects().await;
        let run = replay.owner(&yank);
        assert_eq!(run.error(), code, "{:?}", run.events);
        assert!(replay.bench.objects().await == objects);
    }
    replay.put(MANIFEST, &good).await;
    replay.owner(&yank).succeeded();
    assert_eq!(replay.stable().await.version, "1.0.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_manifest_does_not_get_a_new_expiry() {
    let replay = Replay::new().await;
    let frozen = replay
        .release("stable", "1.0.0", &["--expires", "1s"])
        .await;
    let newest = replay
        .release("stable", "1.1.0", &["--expires", "1s"])
        .await;
    until_it_has_expired(&newest).await;
    let sign = ["sign", PLACE, "--expires", "90d"];
    // Not even the newest; but its firmware may be published again.
    for act in [&sign[..], &["rollout", PLACE, "99%"]] {
        replay.refuses(act, ["sign.expired"; 2]).await;
    }
    replay.put(MANIFEST, &frozen).await;
    replay
        .refuses(&sign, ["sign.replayed", "sign.expired"])
        .await;
    replay.put(MANIFEST, &newest).await;
    replay.release("stable", "1.1.0", &[]).await;
    replay.owner(&sign).succeeded();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_min_version_is_not_lost_with_an_older_manifest() {
    let replay = Replay::new().await;
    let before = replay.release("stable", "1.0.0", &[]).await;
    let min_version = ["--min-version", "1.1.0"];
    let with_min_version = replay.release("stable", "1.1.0", &min_version).await;
    replay.put(MANIFEST, &before).await;
    let firmware = replay.firmware("1.2.0");
    let publish = ["publish", &firmware, PLACE];
    replay
        .refuses(&publish, ["sign.replayed", "sign.min_version"])
        .await;

    // Nor with something else in its place, or nothing: this host knows it, and another one asks.
    let unsigned = ManifestDocument {
        signature: None,
        ..before
    };
    let altered = ManifestDocument {
        min_version: None,
        ..with_min_version.clone()
    };
    for planted in [Some(&unsigned), Some(&altered), None] {
        match planted {
            Some(manifest) => replay.put(MANIFEST, manifest).await,
            None => replay.remove(MANIFEST).await,
        }
        assert_eq!(
            replay.on_a_fresh_host(&publish).error(),
            "sign.min_version",
            "the history and the records show that the key has signed before"
        );
        let run = replay.owner(&publish);
        assert_eq!(run.published()["min_version"], "1.1.0");
        assert!(run.warnings().contains(&"publish.key"), "{:?}", run.events);
        if planted.is_none() {
            let warned = run.all("warning");
            let says = |it: &&&Value| {
                let message = it["message"].as_str().unwrap();
                message.contains("its manifest is no longer in the bucket")
            };
            assert_eq!(warned.iter().filter(says).count(), 1, "{warned:?}");
        }
        assert!(replay.stable().await.serial > with_min_version.serial);
    }

    // Flags lower it, or drop it.
    let one = [&publish[..], &["--min-version", "1.0.0"]].concat();
    assert_eq!(replay.owner(&one).published()["min_version"], "1.1.0");
    let one = [&one[..], &["--no-min-version"]].concat();
    assert_eq!(replay.owner(&one).published()["min_version"], "1.0.0");
    assert_eq!(replay.owner(&publish).published()["min_version"], "1.0.0");
    let none = [&publish[..], &["--no-min-version"]].concat();
    for publish in [&none[..], &publish] {
        replay.owner(publish).published();
        assert_eq!(replay.stable().await.min_version, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unsigned_fields_of_a_manifest_decide_nothing_that_is_signed() {
    let replay = Replay::new().await;
    let args = ["--expires", "30d", "--also", "aws-s3-ota"];
    let good = replay.release("stable", "1.0.0", &args).await;
    // By this date it would be good for decades; libraries, and where the release came from, are anyone's to write, too.
    let edit = |manifest: &ManifestDocument| {
        let mut edited = manifest.clone();
        edited.date = Some("1970-01-01T00:00:00Z".into());
        for (field, value) in [
            ("also", serde_json::json!(["esp32fota"])),
            ("action", "yank".into()),
            ("from", "0.9.0".into()),
        ] {
            edited.extra.insert(field.into(), value);
        }
        edited
    };
    replay.put(MANIFEST, &edit(&good)).await;
    replay.owner(&["rollout", PLACE, "50%"]).succeeded();
    let rolled_out = replay.stable().await;
    let lifetime = rolled_out.expires.unwrap().unix_seconds() - now();
    assert!(lifetime <= 30 * 86_400, "{lifetime}");
    assert_eq!(rolled_out.extra["also"], serde_json::json!(["aws-s3-ota"]));
    let keys = replay.bench.keys().await;
    assert!(
        !keys.iter().any(|key| key.contains("esp32fota")),
        "{keys:?}"
    );

    // It never went back from 0.9.0, so nothing is allowed to follow it back.
    let edited = edit(&rolled_out);
    replay.put(MANIFEST, &edited).await;
    let record = replay.bench.read("lamp/releases/1.0.0.json").await.2;
    replay.bench.write("lamp/releases/0.9.0.json", record).await;
    let allow = ["--allow-downgrade", "--expires", "7d"];
    let yank = [&["yank", PLACE, "0.9.0"][..], &allow].concat();
    replay.owner(&yank).succeeded();
    assert_eq!(replay.stable().await, edited, "it was not signed anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planted_record_gets_nothing_signed() {
    let replay = Replay::new().await;
    let first = replay.release("stable", "1.0.0", &[]).await;
    replay.release("beta", "1.1.0", &[]).await;
    replay.put("lamp/releases/1.2.0.json", &first).await;
    let firmware = replay.firmware("1.2.0");
    let publish = ["publish", &firmware, PLACE, "--min-version", "1.0.0"];
    replay.refuses(&publish, ["publish.exists"; 2]).await;
    // A record is a signed manifest, too: of the channel it was published to.
    let record = replay.bench.manifest("lamp/releases/1.1.0.json").await;
    replay.put(MANIFEST, &record).await;
    replay.refuses(&["sign", PLACE], ["sign.channel"; 2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_without_a_key_change_nothing_and_renew_no_urls_of_what_was_put_back() {
    let replay = Replay::new().await;
    let first = replay
        .release("stable", "1.0.0", &["--expires", "1s"])
        .await;
    let older = replay.release("stable", "1.1.0", &[]).await;
    replay.release("stable", "1.2.0", &[]).await;
    let beta = replay.release("beta", "2.0.0", &[]).await;
    until_it_has_expired(&first).await;
    for (planted, code) in [
        (&older, "sign.replayed"),
        (&beta, "sign.channel"),
        (&first, "sign.expired"),
    ] {
        replay.put(MANIFEST, planted).await;
        let before = replay.bench.objects().await;
        let run = replay.bench.s3ota(&["presign", PLACE]);
        assert_eq!(run.error(), code);
        let acts: [&[&str]; 5] = [
            &["status", PLACE],
            &["list", PLACE],
            &["history", PLACE],
            &["diff", PLACE, "stable", "beta"],
            &["gc", PLACE, "--grace", "1s"],
        ];
        for act in acts {
            assert_eq!(replay.bench.s3ota(act).status, 0, "{act:?}");
        }
        assert!(replay.bench.objects().await == before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_key_does_not_bring_back_what_its_successor_has_replaced() {
    let replay = Replay::new().await;
    replay.bench.key("new");
    let min_version = ["--min-version", "1.0.0"];
    let old = replay.release("stable", "1.0.0", &min_version).await;
    let exchange = ["sign", PLACE, "--release-key", "release.key.pub"];
    let with_new = |args: &[&str]| replay.bench.s3ota(&[args, &["--key", "new.key"]].concat());
    // The new key has no min_version yet; signing with the old key named takes it over.
    let firmware = replay.firmware("1.1.0");
    let publish = ["publish", &firmware, PLACE];
    assert_eq!(with_new(&publish).error(), "sign.min_version");
    with_new(&exchange).succeeded();
    let new = replay.stable().await;
    assert_eq!(new.min_version.as_deref(), Some("1.0.0"));
    replay.put(MANIFEST, &old).await;
    let before = replay.bench.objects().await;
    assert_eq!(with_new(&exchange).error(), "sign.replayed");
    assert!(replay.bench.objects().await == before);
    replay.put(MANIFEST, &new).await;
    assert_eq!(with_new(&publish).published()["min_version"], "1.0.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_on_a_host_without_state_does_not_silently_drop_the_min_version() {
    let replay = Replay::new().await;
    replay.bench.key("new");
    replay
        .release("stable", "1.0.0", &["--min-version", "1.0.0"])
        .await;
    let firmware = replay.firmware("1.1.0");
    let publish = ["publish", &firmware, PLACE, "--key", "new.key"];
    let on_a_fresh_host = |args: &[&str]| replay.bench.s3ota_on(FRESH, &[&publish, args].concat());
    let before = replay.bench.objects().await;
    let refused = on_a_fresh_host(&[]);
    assert_eq!(refused.error(), "sign.min_version");
    let hint = refused.events.last().unwrap()["hint"].as_str().unwrap();
    assert!(hint.contains("--min-version 1.0.0") && hint.contains("--no-min-version"));
    assert!(replay.bench.objects().await == before);
    let kept = on_a_fresh_host(&["--min-version", "1.0.0"]);
    assert_eq!(kept.published()["min_version"], "1.0.0");

    let bench = Bench::new(Access::PublicRead).await;
    bench.key("release");
    bench.key("new");
    let old = [
        "publish",
        &firmware,
        PLACE,
        "--key",
        "release.key",
        "--min-version",
        "1.0.0",
    ];
    bench.s3ota(&old).published();
    let dropped = bench.s3ota_on(FRESH, &[&publish[..], &["--no-min-version"]].concat());
    assert_eq!(dropped.published()["min_version"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_shows_how_many_devices_get_what_it_signed() {
    let replay = Replay::new().await;
    let unpaused = replay.release("stable", "1.1.0", &[]).await;
    replay.owner(&["rollout", PLACE, "pause"]).succeeded();
    let sign = ["sign", PLACE, "--version", "1.1.0"];
    assert_eq!(replay.owner(&sign).all("signed")[0]["rollout"], "0");
    // A host that knows nothing signs what an attacker put back, of the same version. It shows that it is not paused.
    replay.put(MANIFEST, &unpaused).await;
    let run = replay.on_a_fresh_host(&sign);
    assert_eq!(run.all("signed")[0]["rollout"], "100");
    for (percent, shown) in [("5%", "to 5% of devices"), ("pause", "paused")] {
        replay
            .on_a_fresh_host(&["rollout", PLACE, percent])
            .succeeded();
        let mut command = replay.bench.command();
        command
            .args(sign)
            .args(["--key", "release.key"])
            .env("S3OTA_STATE", replay.bench.path(FRESH))
            .current_dir(replay.bench.dir.path());
        let output = command.output();
        let said = String::from_utf8(output.unwrap().stdout).unwrap();
        let expected = format!("signed 1.1.0 on stable, {shown}, with the key ");
        assert!(said.starts_with(&expected), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_products_manifest_is_not_signed_although_its_channel_has_the_same_name() {
    // Images built with Arduino do not name their project: there the owner's host has to know where a manifest was.
    for (lamp, kettle) in [
        ("lamp", "kettle"),
        ("arduino-lib-builder", "arduino-lib-builder"),
    ] {
        let replay = Replay::new().await;
        let publish = |project: &str, version: &str, prefix: &str| {
            let firmware = replay.bench.path(&format!("{prefix}-{version}.bin"));
            let image = ImageBuilder::new(Chip::Esp32C3, version).project_name(project);
            std::fs::write(&firmware, image.build()).unwrap();
            let place = format!("s3://firmware/{prefix}");
            replay.owner(&["publish", &firmware, &place, "--version", version])
        };
        publish(lamp, "1.0.0", "lamp").published();
        publish(kettle, "3.0.0", "kettle").published();
        let kettles = replay.bench.manifest("kettle/stable.json").await;
        replay.put(MANIFEST, &kettles).await;
        let before = replay.bench.objects().await;
        for run in [
            replay.owner(&["sign", PLACE]),
            replay.owner(&["rollout", PLACE, "99%"]),
            replay.owner(&["promote", PLACE, "stable", "beta"]),
            replay.owner(&["yank", PLACE, "3.0.0"]),
            publish(lamp, "3.1.0", "lamp"),
        ] {
            assert_eq!(run.error(), "sign.product", "{:?}", run.events);
        }
        assert!(replay.bench.objects().await == before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yanked_release_is_not_released_again_after_someone_has_deleted_its_mark() {
    let replay = Replay::new().await;
    replay.release("stable", "1.0.0", &[]).await;
    let stable = replay.release("stable", "1.1.0", &[]).await;
    let beta = replay.release("beta", "1.2.0", &[]).await;
    replay.owner(&["yank", PLACE, "1.2.0"]).succeeded();
    replay.owner(&["yank", PLACE, "1.0.0"]).succeeded();
    replay.remove("lamp/yanked/1.2.0.json").await;
    replay.remove("lamp/yanked/1.0.0.json").await;
    // The record is gone, too: it looks like a version that never was.
    replay.remove("lamp/releases/1.2.0.json").await;
    let firmware = replay.firmware("1.2.0");
    let acts: [&[&str]; 7] = [
        &["promote", PLACE, "beta", "stable"],
        &["promote", PLACE, "beta", "nightly", "--version", "1.2.0"],
        &["rollout", PLACE, "50%", "--channel", "beta"],
        &["rollout", PLACE, "100%", "--channel", "beta"],
        &["sign", PLACE, "--channel", "beta"],
        &["publish", &firmware, PLACE],
        &["publish", &firmware, PLACE, "--channel", "nightly"],
    ];
    for act in acts {
        let before = replay.bench.objects().await;
        let run = replay.owner(act);
        assert_eq!(run.error(), "publish.yanked", "{act:?}: {:?}", run.events);
        assert!(replay.bench.objects().await == before, "{act:?}");
    }
    // A copy in a file is known for what it is, too.
    let file = replay.bench.path("fetched.json");
    std::fs::write(&file, beta.to_json().unwrap()).unwrap();
    assert_eq!(replay.owner(&["sign", &file]).error(), "publish.yanked");
    assert_eq!(
        std::fs::read(&file).unwrap(),
        beta.to_json().unwrap().as_bytes()
    );

    // Nor does a channel go back to it, named or not.
    assert_eq!(replay.stable().await.serial, stable.serial);
    let back = ["yank", PLACE, "1.1.0"];
    let named = [&back[..], &["--version", "1.0.0"]].concat();
    assert_eq!(replay.owner(&named).error(), "sign.history");
    replay.owner(&back).succeeded();
    let paused = replay.stable().await;
    assert_eq!(
        (&*paused.version, paused.rollout),
        ("1.1.0", Rollout::from_percent(0).ok())
    );
    // The mark comes back by the command that made it, even if nothing in the bucket shows that there was such a version.
    replay.remove("lamp/releases/1.0.0.json").await;
    replay.owner(&["yank", PLACE, "1.0.0"]).succeeded();
    let keys = replay.bench.keys().await;
    assert!(
        keys.contains(&"lamp/yanked/1.0.0.json".to_owned()),
        "{keys:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yanked_release_is_not_signed_again_except_to_pause_it() {
    let replay = Replay::new().await;
    replay.release("stable", "1.0.0", &[]).await;
    // Its mark is there, and the channel serves it still, as where a yank was cut off.
    replay.bench.write("lamp/yanked/1.0.0.json", "{}").await;
    let acts: [&[&str]; 4] = [
        &["rollout", PLACE, "50%", "--version", "1.0.0"],
        &["rollout", PLACE, "100%", "--version", "1.0.0"],
        &["rollout", PLACE, "50%", "--version", "1.0.0", "--dry-run"],
        &["sign", PLACE, "--version", "1.0.0"],
    ];
    for act in acts {
        replay.refuses(act, ["publish.yanked"; 2]).await;
    }
    replay.owner(&["rollout", PLACE, "pause"]).succeeded();
    assert_eq!(replay.stable().await.rollout, Rollout::from_percent(0).ok());
    // From there it does not come back.
    replay
        .refuses(
            &["rollout", PLACE, "1%", "--version", "1.0.0"],
            ["publish.yanked"; 2],
        )
        .await;

    // Nor do devices get a permission to go back to it.
    replay.release("stable", "1.1.0", &[]).await;
    replay.release("stable", "1.2.0", &[]).await;
    let yank = ["yank", PLACE, "1.2.0"];
    replay.owner(&yank).succeeded();
    replay.bench.write("lamp/yanked/1.1.0.json", "{}").await;
    let allow = ["--allow-downgrade", "--expires", "7d", "--version", "1.1.0"];
    let allow = [&yank[..], &allow].concat();
    replay.refuses(&allow, ["publish.yanked"; 2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_manifest_is_not_paused_on_a_host_that_cannot_know_that_it_is_old() {
    let replay = Replay::new().await;
    let old = replay.release("stable", "1.0.0", &[]).await;
    replay.release("stable", "1.1.0", &[]).await;
    replay.put(MANIFEST, &old).await;
    for key in replay.bench.keys().await {
        if key.contains("/history/") {
            replay.remove(&key).await;
        }
    }
    let yank = ["yank", PLACE, "1.0.0"];
    replay
        .refuses(&yank, ["sign.replayed", "sign.unknown"])
        .await;
    // If no channel seems to serve the version, only that is reported.
    let run = replay.on_a_fresh_host(&["yank", PLACE, "1.1.0"]);
    run.succeeded();
    assert_eq!(run.warnings(), ["sign.unknown", "release.left"]);
    assert_eq!(replay.stable().await, old);
    // The user who has checked elsewhere names the version.
    let named = [&yank[..], &["--version", "1.0.0"]].concat();
    replay.on_a_fresh_host(&named).succeeded();
    assert_eq!(replay.stable().await.rollout, Rollout::from_percent(0).ok());
    // From then on, this host knows.
    let run = replay.on_a_fresh_host(&yank);
    run.succeeded();
    assert_eq!(run.warnings(), ["release.left"]);
}
