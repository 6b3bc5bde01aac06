//! Someone who owns the bucket, but not the release key, cannot make a device install, go back, or stand still beyond `expires`.
//!
//! A real server over TLS, the real command as publisher and as device, and a hand in the bucket that writes what it likes. What is
//! refused leaves the device's flash as it was, to the bit.

mod bucket;

use bucket::*;
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
async fn it_cannot_exchange_the_image_behind_a_good_manifest() {
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
async fn it_cannot_hold_a_device_on_a_release_beyond_its_expiry() {
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
    // Before it is over, nobody can tell. After, each attempt says that something is wrong.
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
    // A device without a clock remembers at least what it has seen.
    siege.write(&frozen).await;
    siege.refuses(
        "the release before, without a clock",
        "release.replayed",
        &["--now", "unknown"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn it_cannot_have_the_owner_sign_what_it_put_there() {
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
