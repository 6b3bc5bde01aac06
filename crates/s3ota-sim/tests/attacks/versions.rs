//! Going back: rollback attacks, and the `min_version` below which no release can take a device.

use s3ota::manifest::Rollout;
use s3ota::{Error, NoUpdate};

use crate::field::*;
use scripted_server::bucket::Bucket;

/// A release that forbids what is below `floor`.
fn with_floor(owner: &Owner, version: &str, serial: u64, floor: &str) -> Bucket {
    owner.signs(&release(version), |document| {
        document.serial = Some(serial);
        document.min_version = Some(floor.into());
    })
}

/// A release that a device may go back to.
fn by_permission(owner: &Owner, version: &str, serial: u64) -> Bucket {
    owner.signs(&release(version), |document| {
        document.serial = Some(serial);
        document.downgrade = true;
        document.expires = in_days(30);
    })
}

#[tokio::test]
async fn rollback() {
    let owner = Owner::new(1);
    let mut lamp = Lamp::running("1.10.0", &[&owner]);
    for older in ["1.9.9", "1.10.0-rc.1", "0.99.0", "1.2.0"] {
        let offer = owner.releases(older, 9);
        lamp.is_offered(&offer)
            .await
            .is_refused("release.downgrade");
    }
    // Under a higher number it is another release, which nobody signed.
    let renamed = replaced(&owner.releases("1.9.9", 9), "\"1.9.9\"", "\"1.11.0\"");
    lamp.is_offered(&renamed)
        .await
        .is_refused("release.signature");
    let same = owner.releases("1.10.0+other", 9);
    lamp.is_offered(&same).await.is_nothing(NoUpdate::UpToDate);
}

#[tokio::test]
async fn release_below_the_floor() {
    let owner = Owner::new(1);
    let mut lamp = Lamp::trusting(&[&owner]);
    // To have seen it is enough.
    let seen = owner.signs(&with_floor(&owner, "1.3.0", 1, "1.2.0"), |document| {
        document.rollout = Some(Rollout::NOBODY);
    });
    lamp.is_offered(&seen)
        .await
        .is_nothing(NoUpdate::NotInRollout);
    for below in ["1.1.0", "1.1.9"] {
        lamp.is_offered(&owner.releases(below, 2))
            .await
            .is_refused("release.floor");
    }
    lamp.is_offered(&with_floor(&owner, "1.3.0", 3, "1.0.0"))
        .await
        .is_installed("1.3.0");
    // Not by permission either; and a lower floor does not lower it.
    lamp.is_offered(&by_permission(&owner, "1.1.0", 4))
        .await
        .is_refused("release.floor");
    lamp.is_offered(&by_permission(&owner, "1.2.0", 4))
        .await
        .is_installed("1.2.0");
}

#[tokio::test]
async fn floor_after_an_image_was_rolled_back() {
    let owner = Owner::new(1);
    let mut lamp = Lamp::trusting(&[&owner]);
    lamp.is_offered(&with_floor(&owner, "1.2.0", 1, "1.2.0"))
        .await
        .is_installed("1.2.0");
    // It fails its trial: a device that does not work is no safer.
    lamp.rolls_back().await.unwrap();
    assert_eq!(lamp.version(), "1.0.0");
    lamp.is_offered(&owner.releases("1.1.0", 2))
        .await
        .is_refused("release.floor");
    lamp.is_offered(&owner.releases("1.2.1", 2))
        .await
        .is_installed("1.2.1");
    // Confirmed, it is not left for what is below the floor.
    lamp.is_offered(&owner.releases("1.2.1", 2))
        .await
        .is_nothing(NoUpdate::UpToDate);
    assert_eq!(lamp.rolls_back().await, Err(Error::NothingToGoBackTo));
}

#[tokio::test]
async fn floor_of_a_pre_release_does_not_forbid_it() {
    let owner = Owner::new(1);
    let mut lamp = Lamp::trusting(&[&owner]);
    let first = with_floor(&owner, "1.2.0-rc.1", 1, "1.2.0-rc.1");
    lamp.is_offered(&first).await.is_installed("1.2.0-rc.1");
    lamp.is_offered(&first).await.is_nothing(NoUpdate::UpToDate);
    lamp.is_offered(&owner.releases("1.2.0-rc.2", 2))
        .await
        .is_installed("1.2.0-rc.2");
}

#[tokio::test]
async fn floor_above_its_own_release_locks_nobody_out() {
    let owner = Owner::new(1);
    let mut lamp = Lamp::trusting(&[&owner]);
    lamp.is_offered(&with_floor(&owner, "1.1.0", 1, "11.0.0"))
        .await
        .is_installed("1.1.0");
    lamp.is_offered(&owner.releases("1.1.1", 2))
        .await
        .is_installed("1.1.1");
}
