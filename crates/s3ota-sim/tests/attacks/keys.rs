//! Who may release: arbitrary installs, signatures that are none, and keys that are lost.

use std::future::pending;
use std::time::Duration;

use p256::ecdsa::Signature;
use s3ota::manifest::{Manifest, ManifestDocument, Rollout};
use s3ota::{Agent, Chip, Config, NoUpdate, Schedule, Timeouts, Updater, Workspace};
use s3ota_sim::{Flash, Setup, VirtualDevice};
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use crate::field::*;
use scripted_server::bucket::{Bucket, Object};
use scripted_server::network::{Network, PORT};
use scripted_server::{IMPATIENT, Reply, firmware, status};

/// The code of every refusal for the sake of the signature.
const SIGNATURE: &str = "release.signature";

#[tokio::test]
async fn what_a_trusted_key_signed_is_installed() {
    let (owner, next) = (Owner::new(1), Owner::new(2));
    let signed = owner.releases("1.1.0", 1);
    for trusted in [&[&owner][..], &[&next, &owner]] {
        let mut lamp = Lamp::trusting(trusted);
        lamp.is_offered(&signed).await.is_installed("1.1.0");
    }
}

#[tokio::test]
async fn arbitrary_install() {
    let (owner, stranger) = (Owner::new(1), Owner::new(2));
    let foreign = stranger.releases("1.1.0", 1);
    let offers = [
        release("1.1.0"),
        // Nothing but version and URL, as a device without keys takes it.
        Bucket::bare("1.1.0", firmware("1.1.0"), 65_535),
        foreign.clone(),
        // A stranger's signature under the owner's name.
        replaced(&foreign, &stranger.id(), &owner.id()),
        // The owner's, of another image.
        Bucket {
            image: release("1.1.0").image,
            manifest: edited(&owner.releases("1.1.0", 1), |document| {
                document.sha256 = Some("00".repeat(32).parse().unwrap());
            })
            .manifest,
        },
    ];
    for offer in offers {
        let mut lamp = Lamp::trusting(&[&owner]);
        lamp.is_offered(&offer).await.is_refused(SIGNATURE);
    }
    // Without keys a device takes what its server says: the server is all it trusts.
    let mut lamp = Lamp::trusting(&[]);
    lamp.is_offered(&release("1.1.0"))
        .await
        .is_installed("1.1.0");
}

#[tokio::test]
async fn signature_of_one_key_under_the_name_of_another() {
    let (owner, other, stranger) = (Owner::new(1), Owner::new(2), Owner::new(3));
    let signed = owner.releases("1.1.0", 1);
    for name in [
        other.id(),
        stranger.id(),
        owner.id().to_uppercase(),
        "x".into(),
    ] {
        let mut lamp = Lamp::trusting(&[&other, &owner]);
        let renamed = replaced(&signed, &owner.id(), &name);
        lamp.is_offered(&renamed).await.is_refused(SIGNATURE);
    }
}

#[tokio::test]
async fn signature_over_other_bytes() {
    let owner = Owner::new(1);
    let plain = edited(&release("1.1.0"), |document| document.serial = Some(1));
    let mut manifest = plain.manifest.clone();
    let mut statement = String::new();
    Manifest::parse(&mut manifest)
        .unwrap()
        .write_statement(&mut statement)
        .unwrap();
    let hash = |bytes: &[u8]| -> [u8; 32] { Sha256::digest(bytes).into() };
    let digest = hash(statement.as_bytes());
    let mut lamp = Lamp::trusting(&[&owner]);
    for other in [
        hash(&plain.manifest),
        hash(&plain.image),
        hash(statement.replace('\n', "\r\n").as_bytes()),
        hash(statement.trim_end().as_bytes()),
        hash(statement.replace("release-v1", "release-v2").as_bytes()),
        hash(statement.split_once('\n').unwrap().1.as_bytes()),
        hash(format!("{statement}downgrade=true\n").as_bytes()),
        hash(&digest),
        [0; 32],
    ] {
        let offer = owner.signs_digest(&plain, &other);
        lamp.is_offered(&offer).await.is_refused(SIGNATURE);
    }
    let offer = owner.signs_digest(&plain, &digest);
    lamp.is_offered(&offer).await.is_installed("1.1.0");
}

#[tokio::test]
async fn signature_that_is_garbage() {
    let owner = Owner::new(1);
    let plain = release("1.1.0");
    let der = owner.signature(&digest(&plain)).as_bytes().to_vec();
    let (r, s) = der.split_at(usize::from(der[3]) + 4);
    let changed = |change: fn(&mut Vec<u8>)| {
        let mut der = der.clone();
        change(&mut der);
        der
    };
    let zero = [0x02, 0x01, 0x00];
    let sequence = |parts: &[&[u8]]| {
        let body = parts.concat();
        [&[0x30, body.len() as u8], &body[..]].concat()
    };
    let mut lamp = Lamp::trusting(&[&owner]);
    for garbage in [
        vec![0],
        vec![0x30, 0],
        // Something behind it, inside it, and its last byte missing.
        changed(|der| der.push(0)),
        sequence(&[&der[2..], &zero]),
        changed(|der| der.truncate(der.len() - 1)),
        // A length in two bytes, as BER allows.
        [&[0x30, 0x81], &der[1..]].concat(),
        // r or s is nothing, which verified in more than one library once (CVE-2022-21449).
        sequence(&[&zero, &zero]),
        sequence(&[&r[2..], &zero]),
        sequence(&[&zero, s]),
        // Swapped; and as plain numbers, without DER.
        sequence(&[s, &r[2..]]),
        [&r[r.len() - 32..], &s[s.len() - 32..]].concat(),
        changed(|der| der[10] ^= 1),
    ] {
        let offer = with_signature(&plain, &owner.id(), &garbage);
        lamp.is_offered(&offer).await.is_refused(SIGNATURE);
    }
    // Base64 that is none, or not the one spelling.
    let signed = with_signature(&plain, &owner.id(), &der);
    let manifest = String::from_utf8(signed.manifest.clone()).unwrap();
    let base64 = manifest.split("\"sig\": \"").nth(1).unwrap();
    let base64 = base64.split('"').next().unwrap();
    for spelling in [
        format!(" {base64}"),
        base64.replacen(&base64[..4], "****", 1),
        format!("{base64}="),
        format!("{base64}AAAA"),
    ] {
        let offer = replaced(&signed, base64, &spelling);
        lamp.is_offered(&offer).await.is_refused(SIGNATURE);
    }
    lamp.is_offered(&signed).await.is_installed("1.1.0");
}

#[tokio::test]
async fn signature_in_its_other_form() {
    // Anyone who sees (r, s) can make (r, -s), which verifies too (FIPS 186-5 allows both). It signs the same release.
    let owner = Owner::new(1);
    let plain = release("1.1.0");
    let signature = Signature::try_from(owner.signature(&digest(&plain))).unwrap();
    let (r, s) = signature.split_scalars();
    let other = Signature::from_scalars(r, -s).unwrap();
    assert_ne!(other, signature);
    let offer = with_signature(&plain, &owner.id(), other.to_der().as_bytes());
    let mut lamp = Lamp::trusting(&[&owner]);
    lamp.is_offered(&offer).await.is_installed("1.1.0");
    lamp.is_offered(&offer).await.is_nothing(NoUpdate::UpToDate);
    let changed = edited(&offer, |document| document.version = "1.2.0".into());
    lamp.is_offered(&changed).await.is_refused(SIGNATURE);
}

#[tokio::test]
async fn fields_taken_away_or_changed_under_the_signature() {
    let owner = Owner::new(1);
    let signed = owner.signs(&release("1.1.0"), |document| {
        document.project = Some(PROJECT.into());
        document.board = Some("greenhouse".into());
        document.channel = Some(CHANNEL.into());
        document.rollout = Some(Rollout::EVERYONE);
        document.min_version = Some("1.0.0".into());
        document.serial = Some(7);
        document.expires = in_days(30);
    });
    let text = String::from_utf8(signed.manifest.clone()).unwrap();
    let fields: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("  \"") && !line.contains("url"))
        .take_while(|line| !line.contains("signature"))
        .collect();
    assert_eq!(fields.len(), 11, "{text}");
    let mut lamp = Lamp::trusting(&[&owner]);
    for field in &fields[1..] {
        let without = replaced(&signed, &format!("{field}\n"), "");
        lamp.is_offered(&without).await.is_refused(SIGNATURE);
    }
    for (from, to) in [
        ("\"1.1.0\"", "\"1.2.0\""),
        ("\"size\": 100000", "\"size\": 99984"),
        ("\"rollout\": 100", "\"rollout\": 99"),
        ("\"serial\": 7", "\"serial\": 8"),
        ("\"min_version\": \"1.0.0\"", "\"min_version\": \"0.0.0\""),
        ("2027-02", "2028-02"),
        ("\"serial\"", "\"downgrade\": true, \"serial\""),
    ] {
        let changed = replaced(&signed, from, to);
        lamp.is_offered(&changed).await.is_refused(SIGNATURE);
    }
    // What vouches for no image, although the owner signed it.
    for change in [
        |document: &mut ManifestDocument| document.sha256 = None,
        |document: &mut ManifestDocument| document.size = None,
    ] {
        let vague = owner.signs(&release("1.1.0"), change);
        lamp.is_offered(&vague).await.is_refused(SIGNATURE);
    }
    lamp.is_offered(&signed).await.is_installed("1.1.0");
}

#[tokio::test]
async fn rollout_manipulated() {
    let owner = Owner::new(1);
    let nobody = owner.signs(&release("1.1.0"), |document| {
        document.rollout = Some(Rollout::NOBODY);
    });
    let mut lamp = Lamp::trusting(&[&owner]);
    for to in ["\"rollout\": 100", "\"rollout\": 1e2", "\"roll\": 0"] {
        let wider = replaced(&nobody, "\"rollout\": 0", to);
        lamp.is_offered(&wider).await.is_refused(SIGNATURE);
    }
    lamp.is_offered(&nobody)
        .await
        .is_nothing(NoUpdate::NotInRollout);
}

#[tokio::test]
async fn key_rotation() {
    let (old, new) = (Owner::new(1), Owner::new(2));
    let mut lamp = Lamp::trusting(&[&old]);
    // A device that has not heard of the new key does not take it from the manifest.
    lamp.is_offered(&new.releases("1.1.0", 5))
        .await
        .is_refused(SIGNATURE);
    // The old key's last release brings a firmware that trusts both.
    lamp.is_offered(&old.releases("1.1.0", 6))
        .await
        .is_installed("1.1.0");
    lamp.trusts(&[&new, &old]);
    // The new key's first one brings a firmware that trusts it alone.
    lamp.is_offered(&new.releases("1.2.0", 7))
        .await
        .is_installed("1.2.0");
    lamp.trusts(&[&new]);
    lamp.is_offered(&old.releases("1.3.0", 8))
        .await
        .is_refused(SIGNATURE);
    lamp.is_offered(&new.releases("1.3.0", 8))
        .await
        .is_installed("1.3.0");
}

#[tokio::test]
async fn key_that_goes_brings_back_what_its_successor_replaced() {
    let (old, new) = (Owner::new(1), Owner::new(2));
    let back = old.signs(&release("1.0.0"), |document| {
        document.serial = Some(6);
        document.downgrade = true;
        document.expires = in_days(30);
    });
    let mut lamp = Lamp::running("1.1.0", &[&new, &old]);
    lamp.is_offered(&new.releases("1.2.0", 7))
        .await
        .is_installed("1.2.0");
    lamp.is_offered(&back).await.is_refused("release.replayed");
}

#[tokio::test]
async fn key_compromise_with_fast_forward() {
    // A thief signs the greatest serial there is. Devices that saw it take nothing older any more.
    let (old, new) = (Owner::new(1), Owner::new(2));
    let thief = &old;
    let far = thief.signs(&release("9.0.0"), |document| {
        document.serial = Some(u64::MAX);
        document.min_version = Some("8.0.0".into());
        document.rollout = Some(Rollout::NOBODY);
    });
    let mut lamp = Lamp::trusting(&[&old]);
    lamp.is_offered(&far)
        .await
        .is_nothing(NoUpdate::NotInRollout);
    lamp.is_offered(&old.releases("9.1.0", 7))
        .await
        .is_refused("release.replayed");
    lamp.is_offered(&old.releases("1.1.0", u64::MAX))
        .await
        .is_refused("release.floor");
    // The owner's way out: what is not older than it, and trusts a new key.
    lamp.is_offered(&old.releases("8.0.0", u64::MAX))
        .await
        .is_installed("8.0.0");
    lamp.trusts(&[&new, &old]);
    // Nothing of the thief's binds the new key: ordinary serials, and by permission ordinary versions.
    let back = new.signs(&release("1.1.0"), |document| {
        document.serial = Some(8);
        document.downgrade = true;
        document.expires = in_days(30);
    });
    lamp.is_offered(&back).await.is_installed("1.1.0");
    lamp.trusts(&[&new]);
    lamp.is_offered(&thief.releases("9.9.0", u64::MAX))
        .await
        .is_refused(SIGNATURE);
    lamp.is_offered(&new.releases("1.2.0", 9))
        .await
        .is_installed("1.2.0");
}

#[tokio::test]
async fn owners_clock_is_wrong_once() {
    // No new key is needed: whoever signed an enormous serial can sign the next one.
    let owner = Owner::new(1);
    let mut lamp = Lamp::trusting(&[&owner]);
    let serial = 4_102_444_800_000;
    lamp.is_offered(&owner.releases("1.1.0", serial))
        .await
        .is_installed("1.1.0");
    lamp.is_offered(&owner.releases("1.2.0", NOW))
        .await
        .is_refused("release.replayed");
    lamp.is_offered(&owner.releases("1.2.0", serial + 1))
        .await
        .is_installed("1.2.0");
}

#[tokio::test(start_paused = true)]
async fn firmware_that_trusts_no_key_in_use_is_not_confirmed() {
    let (owner, nobody) = (Owner::new(1), Owner::new(2));
    let signed = owner.releases("1.1.0", 1);
    let network = Network::new(move |request, _| at_port(&signed, PORT).answer(request).into());
    let mut flash = Flash::in_memory(Setup::default().flash(&firmware("1.0.0")).unwrap());
    let hooks = &mut ();
    let install = network.install(&mut flash, 0x1_0000, "1.0.0", IMPATIENT, hooks);
    install.await.unwrap();
    let mut on_trial = VirtualDevice::new(flash);
    let running = on_trial.power_on().unwrap();
    for (trusted, confirmed) in [(nobody, false), (owner, true)] {
        let keys = [trusted.key()];
        let config = Config {
            release_keys: &keys,
            ..network.config("1.1.0", Timeouts::default())
        };
        let mut flash = Flash::in_memory(on_trial.flash().bytes().to_vec());
        let device = network.device(&mut flash, running.app.partition.offset);
        let mut workspace = Box::new(Workspace::new());
        let updater = Updater::new(config, device, &mut workspace);
        let mut agent = Agent::new(updater, Schedule::default());
        let time = Duration::from_secs(600);
        let _ = timeout(time, agent.run(&mut (), pending)).await;
        assert_eq!(agent.updater().is_on_trial().await, Ok(!confirmed));
    }
}

#[tokio::test(start_paused = true)]
async fn firmware_that_would_refuse_its_own_successor_is_not_confirmed() {
    let owner = Owner::new(1);
    let signed = owner.signs(&release("1.1.0"), |document| {
        document.serial = Some(1);
        document.board = Some("lamp-2".into());
        document.channel = Some(CHANNEL.into());
    });
    let held = signed.clone();
    let network = Network::new(move |request, _| at_port(&held, PORT).answer(request).into());
    let mut flash = Flash::in_memory(Setup::default().flash(&firmware("1.0.0")).unwrap());
    let hooks = &mut ();
    let install = network.install(&mut flash, 0x1_0000, "1.0.0", IMPATIENT, hooks);
    install.await.unwrap();
    let mut on_trial = VirtualDevice::new(flash);
    let running = on_trial.power_on().unwrap();
    let keys = [owner.key()];
    // A slip in what the new firmware was configured with, or an image that is not there.
    type Slip = fn(&mut Config<'_>);
    let cases: [(&str, Slip, bool, bool); 7] = [
        ("no slip", |_| {}, true, true),
        ("board", |config| config.board = Some("lamp2"), true, false),
        (
            "channel",
            |config| config.channel = Some("stabel"),
            true,
            false,
        ),
        ("chip", |config| config.chip = Chip::Esp32C6, true, false),
        ("key", |config| config.release_keys = &[], true, true),
        ("the image is gone", |_| {}, false, false),
        (
            "right board",
            |config| config.board = Some("lamp-2"),
            true,
            true,
        ),
    ];
    for (slip, settings, image, confirmed) in cases {
        let held = signed.clone();
        let network = Network::new(move |request, _| match Object::of(request) {
            Object::Image if !image => Reply::Send(status("403 Forbidden", "")),
            _ => at_port(&held, PORT).answer(request).into(),
        });
        let mut config = Config {
            release_keys: &keys,
            ..network.config("1.1.0", Timeouts::default())
        };
        settings(&mut config);
        let mut flash = Flash::in_memory(on_trial.flash().bytes().to_vec());
        let device = network.device(&mut flash, running.app.partition.offset);
        let mut workspace = Box::new(Workspace::new());
        let mut agent = Agent::new(
            Updater::new(config, device, &mut workspace),
            Schedule::default(),
        );
        let time = Duration::from_secs(600);
        let _ = timeout(time, agent.run(&mut (), pending)).await;
        assert_eq!(
            agent.updater().is_on_trial().await,
            Ok(!confirmed),
            "{slip}"
        );
    }
}

#[tokio::test]
async fn firmware_is_not_confirmed_by_a_manifest_that_was_brought_back() {
    let owner = Owner::new(1);
    let mut lamp = Lamp::trusting(&[&owner]);
    let first = owner.releases("1.1.0", 1);
    lamp.is_offered(&owner.releases("1.2.0", 5))
        .await
        .is_installed("1.2.0");
    let flash = lamp.device.flash().bytes().to_vec();
    let mut device = VirtualDevice::new(Flash::in_memory(flash));
    let running = device.power_on().unwrap();
    let network = Network::new(move |request, _| at_port(&first, PORT).answer(request).into());
    let keys = [owner.key()];
    let config = Config {
        release_keys: &keys,
        ..network.config("1.2.0", IMPATIENT)
    };
    let mut flash = Flash::in_memory(device.flash().bytes().to_vec());
    let parts = network.device(&mut flash, running.app.partition.offset);
    let mut workspace = Box::new(Workspace::new());
    let mut updater = Updater::new(config, parts, &mut workspace);
    let error = updater.prove().await.unwrap_err();
    assert_eq!(error.code(), "release.replayed");
}
