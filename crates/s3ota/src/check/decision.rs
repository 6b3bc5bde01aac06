//! The decision: is this release one for this device, now?

use core::cmp::Ordering;

use s3ota_manifest::{Manifest, Place, Timestamp, Version};

use crate::boot::rollback_state::{MinVersion, Signer};
use crate::config::Config;
use crate::error::{Error, FirmwareError, ReleaseError, cut, show};
use crate::flash::release::ReleaseId;
use crate::outcome::NoUpdate;

/// What the device knows when it decides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'f> {
    /// The running firmware's project, if it has a name.
    pub(crate) project: Option<&'f str>,
    /// The release that is running, as far as otadata knows.
    pub(crate) running: Option<ReleaseId>,
    /// Whether the release offered was tried before and given up.
    pub(crate) has_failed: bool,
    /// Seconds since the epoch, if known.
    pub(crate) now: Option<u64>,
    /// Bytes that an image may have.
    pub(crate) room: u32,
    /// Who signed the manifest, if this device asks for that.
    pub(crate) signer: Option<Signer>,
}

/// Decides about a manifest: `Ok(None)` is to install it, `Ok(Some(_))` why there is nothing to do, and an error why
/// the release is refused.
#[inline(never)]
pub(crate) fn decide(
    manifest: &Manifest<'_>,
    id: ReleaseId,
    config: &Config<'_>,
    facts: &Facts<'_>,
) -> Result<Option<NoUpdate>, Error> {
    check_product(manifest, config, facts)?;
    if has_expired(manifest.expires, facts.now, config) {
        return Err(ReleaseError::Expired.into());
    }
    if let Some(signer) = &facts.signer {
        check_signed(manifest, config, signer)?;
        check_min_version(manifest, signer)?;
    }
    let running = Version::parse(config.version).map_err(Error::Config)?;
    match manifest.version.cmp(&running) {
        Ordering::Equal => return Ok(Some(NoUpdate::UpToDate)),
        Ordering::Less if may_downgrade(manifest, facts) => {}
        Ordering::Less => {
            let error = ReleaseError::Downgrade {
                running: show(&running),
                offered: show(&manifest.version),
            };
            return Err(error.into());
        }
        Ordering::Greater => {}
    }
    // An image owner own idea of its version differs from the manifest's must not be installed again and again.
    if facts.running == Some(id) {
        return Ok(Some(NoUpdate::UpToDate));
    }
    if facts.has_failed {
        return Ok(Some(NoUpdate::FailedBefore));
    }
    if let Some(rollout) = manifest.rollout
        && !rollout.includes(Place::of(config.device_id.as_bytes(), manifest))
    {
        return Ok(Some(NoUpdate::NotInRollout));
    }
    if let Some(size) = manifest.size
        && size > facts.room
    {
        return Err(FirmwareError::TooLarge {
            size: size.into(),
            slot: facts.room,
        }
        .into());
    }
    Ok(None)
}

/// Whether a manifest is one that this firmware would be replaced by: of its product, its channel and its owner, and none that
/// was brought back. It may be old, expired or forbidden by now: that does not matter here.
#[inline(never)]
pub(crate) fn identify(
    manifest: &Manifest<'_>,
    config: &Config<'_>,
    facts: &Facts<'_>,
) -> Result<(), Error> {
    check_product(manifest, config, facts)?;
    if let Some(signer) = &facts.signer {
        check_signed(manifest, config, signer)?;
    }
    Ok(())
}

/// Whether a manifest is for this project, chip and board.
#[inline(never)]
fn check_product(
    manifest: &Manifest<'_>,
    config: &Config<'_>,
    facts: &Facts<'_>,
) -> Result<(), Error> {
    if let (Some(own), Some(found)) = (facts.project, manifest.project)
        && !config.takes_project(own, found)
    {
        return Err(ReleaseError::Project {
            expected: cut(own),
            found: cut(found),
        }
        .into());
    }
    if let Some(chip) = manifest.chip
        && chip != config.chip.name()
    {
        return Err(FirmwareError::Chip {
            expected: config.chip,
            found: cut(chip),
        }
        .into());
    }
    if let Some(expected) = config.board
        && let Some(found) = manifest.board.or(facts.signer.map(|_| "none"))
        && expected != found
    {
        return Err(ReleaseError::Board {
            expected: cut(expected),
            found: cut(found),
        }
        .into());
    }
    Ok(())
}

/// What only a signed manifest can be held to.
#[inline(never)]
fn check_signed(
    manifest: &Manifest<'_>,
    config: &Config<'_>,
    signer: &Signer,
) -> Result<(), ReleaseError> {
    let offered = manifest.channel.or(config.channel.map(|_| "none"));
    if let (Some(expected), Some(found)) = (config.channel(), offered)
        && expected != found
    {
        return Err(ReleaseError::Channel {
            expected: cut(expected),
            found: cut(found),
        });
    }
    if manifest.serial.unwrap_or(0) < signer.newest {
        return Err(ReleaseError::Replayed);
    }
    Ok(())
}

/// Whether a release is none that its owner has forbidden since.
fn check_min_version(manifest: &Manifest<'_>, signer: &Signer) -> Result<(), ReleaseError> {
    if MinVersion::of(&manifest.version) < signer.min_version {
        return Err(ReleaseError::BelowMinVersion {
            min_version: show(&signer.min_version.version()),
            offered: show(&manifest.version),
        });
    }
    Ok(())
}

/// Whether the time is over that a manifest is good for, as far as the device knows.
///
/// Without a clock it knows at least that it is not earlier than its firmware was built. It writes no time to flash: one that
/// was forged must not outlive a power cut. That an older manifest does not come back is up to the serial.
pub(crate) fn has_expired(
    expires: Option<Timestamp>,
    now: Option<u64>,
    config: &Config<'_>,
) -> bool {
    let time = now.unwrap_or(config.built_at);
    expires.is_some_and(|expires| expires.unix_seconds() <= time)
}

/// Whether an older release is one to go back to: its owner signed that, for a time that is known not to be over, and in a
/// manifest that the next one makes void.
fn may_downgrade(manifest: &Manifest<'_>, facts: &Facts<'_>) -> bool {
    facts.signer.is_some()
        && manifest.downgrade
        && manifest.serial.is_some()
        && manifest.expires.is_some()
        && facts.now.is_some()
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::prelude::rust_2024::*;

    use s3ota_image::Chip;

    use super::*;

    const FACTS: Facts<'_> = Facts {
        project: Some("lamp"),
        running: None,
        has_failed: false,
        now: Some(1_800_000_000),
        room: 1000,
        signer: None,
    };

    /// Decides about a manifest with these fields besides version 1.1.0 and a URL, on a device that runs 1.0.0.
    fn decide_about(
        fields: &str,
        change: impl FnOnce(&mut Config<'_>, &mut Facts<'_>),
    ) -> Result<Option<NoUpdate>, Error> {
        let mut document =
            format!(r#"{{"version":"1.1.0","url":"https://host/path?signature"{fields}}}"#)
                .into_bytes();
        let manifest = Manifest::parse(&mut document).unwrap();
        let mut config = Config::new("https://host/m.json", "1.0.0", Chip::Esp32C3, "device");
        let mut facts = FACTS;
        change(&mut config, &mut facts);
        decide(&manifest, ReleaseId::of(&manifest), &config, &facts)
    }

    fn id(document: &str) -> ReleaseId {
        ReleaseId::of(&Manifest::parse(&mut document.as_bytes().to_vec()).unwrap())
    }

    #[test]
    fn a_newer_release_is_installed() {
        assert_eq!(decide_about("", |_, _| {}), Ok(None));
        assert_eq!(
            decide_about(
                r#","chip":"esp32c3","board":"lamp","rollout":100,"size":1000"#,
                |_, _| {}
            ),
            Ok(None)
        );
    }

    #[test]
    fn every_field_that_does_not_fit_has_its_own_refusal() {
        let code = |fields, change: fn(&mut Config<'_>, &mut Facts<'_>)| {
            decide_about(fields, change).unwrap_err().code()
        };
        assert_eq!(code(r#","chip":"esp32""#, |_, _| {}), "image.chip");
        assert_eq!(code(r#","project":"kettle""#, |_, _| {}), "release.project");
        assert_eq!(
            code(r#","board":"lamp""#, |config, _| config.board =
                Some("kettle")),
            "release.board"
        );
        assert_eq!(
            code(r#","expires":"2026-01-01T00:00:00Z""#, |_, _| {}),
            "release.expired"
        );
        assert_eq!(code(r#","size":1001"#, |_, _| {}), "image.size");
        assert_eq!(
            code("", |config, _| config.version = "1.1.1-rc1"),
            "release.downgrade"
        );
        assert_eq!(
            code("", |config, _| config.version = "latest"),
            "config.version"
        );
    }

    #[test]
    fn a_project_may_be_renamed() {
        let offered = |project, renamed_to| {
            decide_about(project, |config, _| config.renamed_to = renamed_to).is_ok()
        };
        for project in [r#","project":"lamp""#, r#","project":"light""#] {
            assert!(offered(project, Some("light")), "{project}");
        }
        assert!(!offered(r#","project":"kettle""#, Some("light")));
    }

    #[test]
    fn an_expiry_is_not_held_against_a_release_while_the_time_is_unknown() {
        assert_eq!(
            decide_about(r#","expires":"2026-01-01T00:00:00Z""#, |_, facts| facts
                .now =
                None),
            Ok(None)
        );
    }

    #[test]
    fn there_is_nothing_to_do_for_a_reason() {
        let reason = |fields, change: fn(&mut Config<'_>, &mut Facts<'_>)| {
            decide_about(fields, change).unwrap()
        };
        assert_eq!(
            reason("", |config, _| config.version = "v1.1"),
            Some(NoUpdate::UpToDate)
        );
        assert_eq!(
            reason("", |_, facts| facts.has_failed = true),
            Some(NoUpdate::FailedBefore)
        );
        assert_eq!(
            reason(r#","rollout":0"#, |_, _| {}),
            Some(NoUpdate::NotInRollout)
        );
    }

    #[test]
    fn a_release_that_runs_already_is_known_though_it_calls_itself_otherwise() {
        let running = id(r#"{"version":"1.1.0","url":"https://host/path?signature"}"#);
        assert_eq!(
            decide_about("", |_, facts| facts.running = Some(running)),
            Ok(Some(NoUpdate::UpToDate))
        );
    }

    #[test]
    fn a_url_signed_again_is_the_same_release_and_another_hash_is_not() {
        let first = id(r#"{"version":"1.1.0","url":"https://host/path?X-Amz-Signature=1"}"#);
        assert_eq!(
            first,
            id(r#"{"version":"v1.1","url":"https://cdn.example/path?X-Amz-Signature=2"}"#)
        );
        assert_ne!(
            first,
            id(r#"{"version":"1.1.0","url":"https://host/other"}"#)
        );
        assert_ne!(
            first,
            id(r#"{"version":"1.1.1","url":"https://host/path"}"#)
        );
        let with_hash = |digit: &str| {
            let sha256 = digit.repeat(64);
            id(&format!(
                r#"{{"version":"1.1.0","url":"https://host/{digit}","sha256":"{sha256}"}}"#
            ))
        };
        assert_ne!(with_hash("a"), with_hash("b"));
    }
}
