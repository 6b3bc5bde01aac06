//! A device with release keys takes what one of them signed, and nothing else.

#[path = "support/bucket.rs"]
mod bucket;
#[path = "support/network.rs"]
mod network;
mod support;

use base64ct::{Base64, Encoding};
use bucket::*;
use network::*;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::ecdsa::{DerSignature, SigningKey};
use s3ota::manifest::{Manifest, ManifestDocument, SignatureDocument};
use s3ota::{Config, Error, NoUpdate, Outcome, ReleaseKey, Updater, Workspace};
use s3ota_sim::{Flash, Setup};
use support::*;

const SLOT_0: u32 = 0x1_0000;

/// The owner of the devices, and someone else.
struct Signer(SigningKey);

impl Signer {
    fn new(seed: u8) -> Self {
        Self(SigningKey::from_slice(&[seed; 32]).unwrap())
    }

    fn key(&self) -> ReleaseKey {
        let point = self.0.verifying_key().to_encoded_point(false);
        ReleaseKey::from_point(point.as_bytes().try_into().unwrap())
    }

    /// Signs a manifest after a change to it.
    fn sign(&self, manifest: &[u8], change: impl FnOnce(&mut ManifestDocument)) -> Vec<u8> {
        let mut document = ManifestDocument::parse(manifest).unwrap();
        change(&mut document);
        document.signature = None;
        let mut json = document.to_json().unwrap().into_bytes();
        let digest = Manifest::parse(&mut json).unwrap().statement_digest();
        let signature: DerSignature = self.0.sign_prehash(&digest).unwrap();
        document.signature = Some(SignatureDocument {
            keyid: self.key().id().to_string(),
            sig: Base64::encode_string(signature.as_bytes()),
        });
        document.to_json().unwrap().into_bytes()
    }
}

fn fresh(version: &str) -> Flash {
    Flash::in_memory(Setup::default().flash(&firmware(version)).unwrap())
}

/// A release in a bucket, before anyone signed it.
fn release(version: &str) -> Bucket {
    Bucket::hashed(version, firmware(version), PORT)
}

/// What a device running `version` with this flash and these keys makes of a bucket; and how often it asked for the image.
async fn offer(
    flash: &mut Flash,
    version: &str,
    keys: &[ReleaseKey],
    bucket: Bucket,
) -> (Result<Outcome, Error>, usize) {
    let network = Network::new(faulty(bucket, vec![]));
    let mut workspace = Box::new(Workspace::new());
    let config = Config {
        release_keys: keys,
        ..network.config(version, IMPATIENT)
    };
    let outcome = Updater::new(config, network.device(flash, SLOT_0), &mut workspace)
        .install(&mut ())
        .await;
    let images = network
        .requests()
        .iter()
        .filter(|request| Object::of(request) == Object::Image)
        .count();
    (outcome, images)
}

/// The code of the error with which a release is refused, before anything of its image was asked for.
async fn refused(
    flash: &mut Flash,
    version: &str,
    keys: &[ReleaseKey],
    bucket: Bucket,
) -> &'static str {
    let (outcome, images) = offer(flash, version, keys, bucket).await;
    assert_eq!(images, 0, "the image was asked for");
    outcome.unwrap_err().code()
}

#[tokio::test(start_paused = true)]
async fn what_a_trusted_key_signed_is_installed() {
    let owner = Signer::new(1);
    let mut bucket = release("1.1.0");
    bucket.manifest = owner.sign(&bucket.manifest, |_| {});
    let (outcome, _) = offer(&mut fresh("1.0.0"), "1.0.0", &[owner.key()], bucket.clone()).await;
    assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
    // Two keys at a time, while one takes the other's place.
    let next = Signer::new(2);
    let (outcome, _) = offer(
        &mut fresh("1.0.0"),
        "1.0.0",
        &[next.key(), owner.key()],
        bucket,
    )
    .await;
    assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn what_no_trusted_key_signed_is_refused_before_its_image_is_asked_for() {
    let (owner, stranger) = (Signer::new(1), Signer::new(2));
    let keys = [owner.key()];
    let plain = release("1.1.0");
    let with = |manifest: Vec<u8>| Bucket {
        manifest,
        ..plain.clone()
    };
    let signed = owner.sign(&plain.manifest, |_| {});
    let text = String::from_utf8(signed.clone()).unwrap();
    let wrong = [
        plain.manifest.clone(),
        stranger.sign(&plain.manifest, |_| {}),
        // Another's signature under the owner's name.
        String::from_utf8(stranger.sign(&plain.manifest, |_| {}))
            .unwrap()
            .replace(
                &stranger.key().id().to_string(),
                &owner.key().id().to_string(),
            )
            .into_bytes(),
        text.replace("1.1.0", "1.2.0").into_bytes(),
        text.replace("\"size\": 100000", "\"size\": 100001")
            .into_bytes(),
        text.replace("\"chip\": \"esp32c3\"", "\"rollout\": 100")
            .into_bytes(),
        // It vouches for no image.
        owner.sign(&plain.manifest, |document| document.sha256 = None),
        owner.sign(&plain.manifest, |document| document.size = None),
    ];
    for manifest in wrong {
        let told = String::from_utf8_lossy(&manifest).into_owned();
        assert_ne!(manifest, signed, "nothing was changed");
        let code = refused(&mut fresh("1.0.0"), "1.0.0", &keys, with(manifest)).await;
        assert_eq!(code, "release.signature", "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_url_may_be_signed_anew_without_the_key() {
    let owner = Signer::new(1);
    let mut bucket = release("1.1.0");
    let signed = String::from_utf8(owner.sign(&bucket.manifest, |_| {})).unwrap();
    bucket.manifest = signed
        .replace("image.bin", "image.bin?X-Amz-Signature=1")
        .into_bytes();
    let (outcome, _) = offer(&mut fresh("1.0.0"), "1.0.0", &[owner.key()], bucket).await;
    assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_was_replaced_by_a_newer_one_does_not_come_back() {
    let owner = Signer::new(1);
    let keys = [owner.key()];
    let signed = |version: &str, serial: u64| {
        let mut bucket = release(version);
        // For no device at all: it is only seen.
        let nobody = s3ota::manifest::Rollout::from_percent(0).ok();
        bucket.manifest = owner.sign(&bucket.manifest, |document| {
            document.serial = Some(serial);
            document.rollout = nobody;
        });
        bucket
    };
    let mut flash = fresh("1.0.0");
    let (seen, _) = offer(&mut flash, "1.0.0", &keys, signed("1.2.0", 20)).await;
    assert_eq!(seen, Ok(Outcome::NoUpdate(NoUpdate::NotInRollout)));
    let code = refused(&mut flash, "1.0.0", &keys, signed("1.1.0", 19)).await;
    assert_eq!(code, "release.replayed");
    // The owner may well go back to it, in a new manifest.
    let (again, _) = offer(&mut flash, "1.0.0", &keys, signed("1.1.0", 21)).await;
    assert_eq!(again, Ok(Outcome::NoUpdate(NoUpdate::NotInRollout)));
}

#[tokio::test(start_paused = true)]
async fn what_was_seen_outlives_an_update() {
    let owner = Signer::new(1);
    let keys = [owner.key()];
    let signed = |version: &str, serial: u64| {
        let mut bucket = release(version);
        bucket.manifest = owner.sign(&bucket.manifest, |document| document.serial = Some(serial));
        bucket
    };
    let mut flash = fresh("1.0.0");
    // Each writes another otadata record, and erases its sector.
    for (version, serial) in [("1.1.0", 20), ("1.2.0", 21), ("1.3.0", 22)] {
        let (outcome, _) = offer(&mut flash, "1.0.0", &keys, signed(version, serial)).await;
        assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
        let code = refused(&mut flash, "1.0.0", &keys, signed("1.9.0", serial - 1)).await;
        assert_eq!(code, "release.replayed", "{version}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_release_below_the_least_version_is_taken_any_more() {
    let owner = Signer::new(1);
    let keys = [owner.key()];
    let mut floor = release("1.3.0");
    floor.manifest = owner.sign(&floor.manifest, |document| {
        document.min_version = Some("1.2.0".into());
        document.rollout = s3ota::manifest::Rollout::from_percent(0).ok();
    });
    let mut flash = fresh("1.0.0");
    let (seen, _) = offer(&mut flash, "1.0.0", &keys, floor).await;
    assert_eq!(seen, Ok(Outcome::NoUpdate(NoUpdate::NotInRollout)));
    let mut below = release("1.1.0");
    below.manifest = owner.sign(&below.manifest, |_| {});
    let code = refused(&mut flash, "1.0.0", &keys, below).await;
    assert_eq!(code, "release.floor");
}

#[tokio::test(start_paused = true)]
async fn a_release_of_another_channel_is_refused() {
    let owner = Signer::new(1);
    let mut bucket = release("1.1.0");
    bucket.manifest = owner.sign(&bucket.manifest, |document| {
        document.channel = Some("beta".into());
    });
    // The URL ends in manifest.json: that is the channel this device follows.
    let code = refused(&mut fresh("1.0.0"), "1.0.0", &[owner.key()], bucket.clone()).await;
    assert_eq!(code, "release.channel");
    bucket.manifest = owner.sign(&bucket.manifest, |document| {
        document.channel = Some("manifest".into());
    });
    let (outcome, _) = offer(&mut fresh("1.0.0"), "1.0.0", &[owner.key()], bucket).await;
    assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_device_goes_back_only_where_its_owner_signed_that_for_a_time() {
    let owner = Signer::new(1);
    let keys = [owner.key()];
    let older = |expires: Option<&str>, downgrade: bool| {
        let mut bucket = release("1.1.0");
        bucket.manifest = owner.sign(&bucket.manifest, |document| {
            document.downgrade = downgrade;
            document.serial = Some(1);
            document.expires = expires.map(|time| s3ota::manifest::Timestamp::parse(time).unwrap());
        });
        bucket
    };
    let far = Some("2099-01-01T00:00:00Z");
    for (expires, downgrade) in [(far, false), (None, true)] {
        let code = refused(
            &mut fresh("1.2.0"),
            "1.2.0",
            &keys,
            older(expires, downgrade),
        )
        .await;
        assert_eq!(code, "release.downgrade", "{expires:?} {downgrade}");
    }
    let past = Some("2020-01-01T00:00:00Z");
    let code = refused(&mut fresh("1.2.0"), "1.2.0", &keys, older(past, true)).await;
    assert_eq!(code, "release.expired");
    let (outcome, _) = offer(&mut fresh("1.2.0"), "1.2.0", &keys, older(far, true)).await;
    assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
    // Without keys nobody can have signed it.
    let code = refused(&mut fresh("1.2.0"), "1.2.0", &[], older(far, true)).await;
    assert_eq!(code, "release.downgrade");
}
