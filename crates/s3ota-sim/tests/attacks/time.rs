//! Old manifests: freeze, replay, and permissions that are over.

use std::time::Duration;

use s3ota::manifest::Rollout;
use s3ota::{Config, NoUpdate, Outcome, Updater, Workspace};
use s3ota_sim::host::{Date, HostClock};
use s3ota_sim::{Flash, Setup};

use crate::field::*;
use scripted_server::bucket::Bucket;
use scripted_server::network::{Network, PORT};
use scripted_server::{IMPATIENT, firmware};

/// A release that is good for so many days from now.
fn good_for(owner: &Owner, version: &str, serial: u64, days: u64) -> Bucket {
    owner.signs(&release(version), |document| {
        document.serial = Some(serial);
        document.expires = in_days(days);
    })
}

/// Permission to go back, for 30 days.
fn permission(owner: &Owner, version: &str, serial: Option<u64>) -> Bucket {
    owner.signs(&release(version), |document| {
        document.serial = serial;
        document.downgrade = true;
        document.expires = in_days(30);
    })
}

fn later(days: u64) -> Date {
    Date::At(NOW + days * DAY)
}

#[tokio::test]
async fn freeze_while_the_time_is_known() {
    let owner = Owner::new(1);
    let release = good_for(&owner, "1.1.0", 1, 30);
    for (days, refused) in [(29, false), (30, true), (400, true)] {
        let mut lamp = Lamp::trusting(&[&owner]);
        lamp.device.set_date(later(days));
        let answer = lamp.is_offered(&release).await;
        match refused {
            true => answer.is_refused("release.expired"),
            false => answer.is_installed("1.1.0"),
        }
    }
    // Nor does it go by unseen where the device has that release already.
    let mut lamp = Lamp::running("1.1.0", &[&owner]);
    lamp.is_offered(&release)
        .await
        .is_nothing(NoUpdate::UpToDate);
    lamp.device.set_date(later(31));
    lamp.is_offered(&release)
        .await
        .is_refused("release.expired");
}

#[tokio::test]
async fn freeze_while_the_time_is_unknown() {
    let owner = Owner::new(1);
    let mut lamp = Lamp::trusting(&[&owner]).with(|config| config.built_at = NOW);
    // Not set, or set to before the firmware was built: by someone who wants old manifests to be good again.
    for date in [Date::Unknown, Date::At(NOW - 900 * DAY)] {
        lamp.device.set_date(date);
        // What had expired when the firmware was built has expired.
        lamp.is_offered(&good_for(&owner, "1.5.0", 9, 0))
            .await
            .is_refused("release.expired");
    }
    // What may have expired since is taken: the device must not be stuck for ever.
    lamp.is_offered(&good_for(&owner, "1.1.0", 10, 1))
        .await
        .is_installed("1.1.0");
    // But from now on nothing that is older.
    lamp.is_offered(&good_for(&owner, "1.6.0", 9, 99))
        .await
        .is_refused("release.replayed");
}

#[tokio::test(start_paused = true)]
async fn freeze_by_saying_that_nothing_has_changed() {
    let owner = Owner::new(1);
    let signed = good_for(&owner, "1.0.0", 1, 30);
    let network = Network::new(move |request, _| at_port(&signed, PORT).answer(request).into());
    let keys = [owner.key()];
    let config = Config {
        release_keys: &keys,
        ..network.config("1.0.0", IMPATIENT)
    };
    let mut flash = Flash::in_memory(Setup::default().flash(&firmware("1.0.0")).unwrap());
    let mut device = network.device(&mut flash, 0x1_0000);
    device.clock = HostClock::with_date(later(0));
    let mut workspace = Box::new(Workspace::new());
    let mut updater = Updater::new(config, device, &mut workspace);
    let mut look = async |expected| {
        let outcome = updater.install(&mut ()).await.map_err(|error| error.code());
        assert_eq!(outcome, expected);
        tokio::time::advance(Duration::from_secs(20 * DAY)).await;
    };
    look(Ok(Outcome::NoUpdate(NoUpdate::UpToDate))).await;
    look(Ok(Outcome::NoUpdate(NoUpdate::NotModified))).await;
    look(Err("release.expired")).await;
    look(Err("release.expired")).await;
}

#[tokio::test]
async fn forged_time_does_not_outlive_a_restart() {
    let owner = Owner::new(1);
    let mut lamp = Lamp::trusting(&[&owner]);
    lamp.device.set_date(later(10_000));
    lamp.is_offered(&good_for(&owner, "1.1.0", 1, 30))
        .await
        .is_refused("release.expired");
    lamp.device.set_date(later(0));
    lamp.is_offered(&good_for(&owner, "1.1.0", 1, 30))
        .await
        .is_installed("1.1.0");
}

#[tokio::test]
async fn replay_of_an_older_signed_manifest() {
    let owner = Owner::new(1);
    let only_seen = |version: &str, serial: Option<u64>| {
        owner.signs(&release(version), |document| {
            document.serial = serial;
            document.rollout = Some(Rollout::NOBODY);
        })
    };
    let mut lamp = Lamp::trusting(&[&owner]);
    lamp.is_offered(&only_seen("1.2.0", Some(20)))
        .await
        .is_nothing(NoUpdate::NotInRollout);
    lamp.is_offered(&only_seen("1.1.0", Some(19)))
        .await
        .is_refused("release.replayed");
    lamp.is_offered(&only_seen("1.9.0", None))
        .await
        .is_refused("release.replayed");
    // The same one again is no replay, and the owner may well go back to what was before, in a new manifest.
    lamp.is_offered(&only_seen("1.2.0", Some(20)))
        .await
        .is_nothing(NoUpdate::NotInRollout);
    lamp.is_offered(&only_seen("1.1.0", Some(21)))
        .await
        .is_nothing(NoUpdate::NotInRollout);
    lamp.is_offered(&only_seen("1.2.0", Some(20)))
        .await
        .is_refused("release.replayed");
}

#[tokio::test]
async fn replay_after_updates() {
    let owner = Owner::new(1);
    let mut lamp = Lamp::trusting(&[&owner]);
    // Each update writes another otadata record, and erases its sector.
    for (version, serial) in [("1.1.0", 20), ("1.2.0", 21), ("1.3.0", 22)] {
        lamp.is_offered(&owner.releases(version, serial))
            .await
            .is_installed(version);
        let older = owner.releases("1.9.0", serial - 1);
        lamp.is_offered(&older).await.is_refused("release.replayed");
    }
}

#[tokio::test]
async fn release_of_another_channel() {
    let owner = Owner::new(1);
    let on = |channel: Option<&str>, serial| {
        owner.signs(&release("1.1.0"), |document| {
            document.channel = channel.map(String::from);
            document.serial = Some(serial);
        })
    };
    let mut lamp = Lamp::trusting(&[&owner]);
    lamp.is_offered(&on(Some("beta"), 9))
        .await
        .is_refused("release.channel");
    let mut told = Lamp::trusting(&[&owner]).with(|config| config.channel = Some("stable"));
    for channel in [Some("beta"), Some(CHANNEL), None] {
        told.is_offered(&on(channel, 9))
            .await
            .is_refused("release.channel");
    }
    told.is_offered(&on(Some("stable"), 9))
        .await
        .is_installed("1.1.0");
    // Each channel has its own serials: a device that was on beta may take an older manifest of stable.
    let mut tester = Lamp::trusting(&[&owner]).with(|config| config.channel = Some("beta"));
    let seen = owner.signs(&on(Some("beta"), 9), |document| {
        document.rollout = Some(Rollout::NOBODY);
    });
    tester
        .is_offered(&seen)
        .await
        .is_nothing(NoUpdate::NotInRollout);
    let mut back = tester.with(|config| config.channel = Some("stable"));
    back.is_offered(&on(Some("stable"), 8))
        .await
        .is_installed("1.1.0");
}

#[tokio::test]
async fn downgrade_without_permission() {
    let owner = Owner::new(1);
    let without = |change: fn(&mut s3ota::manifest::ManifestDocument)| {
        owner.signs(&permission(&owner, "1.1.0", Some(5)), change)
    };
    let offers = [
        without(|document| document.downgrade = false),
        without(|document| document.expires = None),
        without(|document| document.serial = None),
        owner.releases("1.2.0-rc.9", 5),
    ];
    let mut lamp = Lamp::running("1.2.0", &[&owner]);
    for offer in offers {
        lamp.is_offered(&offer)
            .await
            .is_refused("release.downgrade");
    }
    // Nobody can have signed it, nobody may have, and it may be over.
    let given = permission(&owner, "1.1.0", Some(5));
    let mut without_keys = Lamp::running("1.2.0", &[]);
    without_keys
        .is_offered(&given)
        .await
        .is_refused("release.downgrade");
    let mut others = Lamp::running("1.2.0", &[&Owner::new(2)]);
    others
        .is_offered(&given)
        .await
        .is_refused("release.signature");
    let mut without_time = Lamp::running("1.2.0", &[&owner]);
    without_time.device.set_date(Date::Unknown);
    without_time
        .is_offered(&given)
        .await
        .is_refused("release.downgrade");
    lamp.is_offered(&given).await.is_installed("1.1.0");
}

#[tokio::test]
async fn downgrade_permission_that_has_expired() {
    let owner = Owner::new(1);
    let given = permission(&owner, "1.1.0", Some(5));
    let mut lamp = Lamp::running("1.2.0", &[&owner]);
    lamp.device.set_date(later(31));
    lamp.is_offered(&given).await.is_refused("release.expired");
}

#[tokio::test]
async fn downgrade_permission_replayed() {
    let owner = Owner::new(1);
    let given = permission(&owner, "1.1.0", Some(5));
    let mut lamp = Lamp::running("1.2.0", &[&owner]);
    lamp.is_offered(&given).await.is_installed("1.1.0");
    lamp.is_offered(&owner.releases("1.3.0", 6))
        .await
        .is_installed("1.3.0");
    lamp.is_offered(&given).await.is_refused("release.replayed");
}
