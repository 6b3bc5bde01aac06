//! What makes a channel's manifest one that nobody else can write and no older one can replace: the channel's name, a serial, an
//! expiry, and a signature over all of it.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use s3ota_manifest::{ManifestDocument, Timestamp, Version};

use crate::bucket::resign::Last;
use crate::clock;
use crate::clock::parse_duration;
use crate::error::CliError;
use crate::keys::{KeyArgs, Signer};
use crate::state::rollback;

/// The default lifetime of a signed manifest: a year.
///
/// Without an expiry, an attacker who controls the bucket could show devices the same manifest for ever. With a short one, the
/// owner must sign again and again.
pub const DEFAULT_LIFETIME: Lifetime = Lifetime::For(Duration::from_secs(365 * 24 * 60 * 60));

/// How a manifest is signed.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Signing")]
pub struct SealArgs {
    #[command(flatten)]
    pub key: KeyArgs,

    /// How long the manifest is valid (90d, 12h… or `never`). Devices that know the date refuse it afterwards, so an attacker who can
    /// write to the bucket cannot hide newer releases for longer. By default 365d if it is signed, and never if it is not
    #[arg(long, value_name = "TIME")]
    pub expires: Option<Lifetime>,
}

/// How long a manifest is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// For this long from now.
    For(Duration),
    /// Without end.
    Never,
}

impl FromStr for Lifetime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "never" => Ok(Self::Never),
            text => parse_duration(text).map(Self::For),
        }
    }
}

impl Lifetime {
    /// The expiry, if it begins now.
    pub fn end(self) -> Result<Option<Timestamp>, CliError> {
        let Self::For(time) = self else {
            return Ok(None);
        };
        let end = clock::now()
            .checked_add(time.as_secs())
            .and_then(Timestamp::from_unix_seconds);
        let too_far = || {
            CliError::new(
                "publish.expires",
                "--expires: there is no date so far in the future",
            )
            .usage()
        };
        end.map(Some).ok_or_else(too_far)
    }
}

/// Makes a manifest the next one of a channel, and signs it.
///
/// Its serial is the highest of the current second, its own, and the last one plus 1. The last serial comes from the
/// [`SigningHost`](crate::bucket::resign::SigningHost): nothing is taken over from a manifest that someone else signed. With a
/// serial near the highest possible one, an attacker could have us sign one after which there is no other.
///
/// `min_version` never goes down: the last one stays unless this one is higher.
pub async fn seal(
    manifest: &mut ManifestDocument,
    channel: &str,
    lifetime: Option<Lifetime>,
    last: &Last,
    signer: &Signer,
) -> Result<(), CliError> {
    let serial = last.serial.unwrap_or(0);
    let next = serial.checked_add(1).ok_or_else(|| {
        CliError::new("publish.serial", format!("the channel {channel} has the highest possible serial, {serial}"))
            .hint("devices that trust this key take nothing newer on this channel: sign with another key that they trust")
    })?;
    let least = manifest.serial.unwrap_or(0).max(clock::now());
    manifest.serial = Some(next.max(least));
    manifest.channel = Some(channel.to_owned());
    manifest.expires = lifetime.unwrap_or(DEFAULT_LIFETIME).end()?;
    raise_min_version(manifest, last.min_version.as_deref())?;
    signer.sign_manifest(manifest).await
}

/// Takes over the last `min_version` if it is higher, and refuses a release below it.
fn raise_min_version(manifest: &mut ManifestDocument, last: Option<&str>) -> Result<(), CliError> {
    let parse = |text: &str| {
        let wrong =
            |error| CliError::new("publish.min_version", format!("--min-version: {error}")).usage();
        Version::parse(text)
            .map(|version| version.to_string())
            .map_err(wrong)
    };
    let given = manifest.min_version.as_deref().map(parse).transpose()?;
    let min_version = rollback::highest(given, last.map(parse).transpose()?);
    if let Some(min_version) = &min_version
        && let (Ok(least), Ok(version)) = (
            Version::parse(min_version),
            Version::parse(&manifest.version),
        )
        && numbers(&version) < numbers(&least)
    {
        let message = format!("devices no longer go below {min_version}, and this is {version}");
        return Err(CliError::new("publish.min_version", message).hint(
            "raise the version of the firmware; or use --no-min-version if new devices may go below it",
        ));
    }
    manifest.min_version = min_version;
    Ok(())
}

/// Refuses a permission to go back that devices would ignore, or that would never end.
pub fn may_allow_downgrade(expires: Option<Lifetime>, is_signed: bool) -> Result<(), CliError> {
    if !is_signed {
        let message =
            "--allow-downgrade needs a signature: devices ignore it in an unsigned manifest";
        return Err(CliError::new("publish.unsigned", message).hint("sign the release with --key"));
    }
    if expires == Some(Lifetime::Never) {
        let message = "a permission to go back must end, and --expires says never";
        return Err(CliError::new("publish.expires", message)
            .hint("set how long devices may go back, such as --expires 14d"));
    }
    Ok(())
}

/// What devices compare with `min_version`: a release candidate of it is not below.
fn numbers(version: &Version<'_>) -> [u64; 3] {
    [version.major(), version.minor(), version.patch()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::channel::Channel;
    use crate::bucket::resign::SigningHost;
    use crate::keys;
    use crate::s3::Object;
    use s3ota_manifest::{HttpsUrl, Sha256Digest};

    fn manifest(version: &str) -> ManifestDocument {
        let url = HttpsUrl::parse("https://example.com/app.bin").unwrap();
        let mut manifest = ManifestDocument::new(&Version::parse(version).unwrap(), &url);
        (manifest.size, manifest.sha256) = (Some(1000), Some(Sha256Digest([7; 32])));
        manifest
    }

    fn signer() -> Signer {
        Signer::from_key(keys::generate())
    }

    fn last(serial: Option<u64>, min_version: Option<&str>) -> Last {
        Last {
            serial,
            min_version: min_version.map(str::to_owned),
            ..Last::default()
        }
    }

    #[test]
    fn a_lifetime_is_a_time_or_never() {
        assert_eq!(
            "90d".parse(),
            Ok(Lifetime::For(Duration::from_secs(90 * 86_400)))
        );
        assert_eq!("never".parse(), Ok(Lifetime::Never));
        assert!("soon".parse::<Lifetime>().is_err());
        let endless = Lifetime::For(Duration::from_secs(u64::MAX));
        assert_eq!(endless.end().unwrap_err().code, "publish.expires");
    }

    #[tokio::test]
    async fn serials_go_up_even_if_the_clock_is_behind() {
        let signer = signer();
        let ahead = clock::now() + 1_000_000;
        let mut new = manifest("1.1.0");
        seal(&mut new, "stable", None, &last(Some(ahead), None), &signer)
            .await
            .unwrap();
        assert_eq!(new.serial, Some(ahead + 1));
        assert_eq!(new.channel.as_deref(), Some("stable"));
        let year = new.expires.unwrap().unix_seconds() - clock::now();
        assert!((31_535_000..=31_536_000).contains(&year), "{year}");
        let end = seal(
            &mut new,
            "stable",
            None,
            &last(Some(u64::MAX), None),
            &signer,
        )
        .await;
        assert_eq!(end.unwrap_err().code, "publish.serial");
    }

    #[tokio::test]
    async fn another_keys_manifest_does_not_carry_its_serial_or_min_version_forward() {
        let stranger = signer();
        let host = SigningHost::without_state(signer());
        let signer = &host.signer;
        for signed_by in [None, Some(&stranger), Some(signer)] {
            let mut planted = manifest("1.0.0");
            (planted.serial, planted.min_version) = (Some(u64::MAX - 1), Some("1.0.0".into()));
            planted.channel = Some("stable".into());
            if let Some(signer) = signed_by {
                signer.sign_manifest(&mut planted).await.unwrap();
            }
            let object = Object {
                bytes: planted.to_json().unwrap().into_bytes(),
                etag: None,
                modified: None,
            };
            let channel = Channel::holding("p", "stable", "p/stable.json".into(), object);
            let last = host.last(&channel).unwrap();
            let mut new = manifest("1.1.0");
            seal(&mut new, "stable", None, &last, signer).await.unwrap();
            if signed_by.map(Signer::key_id) == Some(signer.key_id()) {
                assert_eq!(new.serial, Some(u64::MAX), "what it has signed counts");
                assert_eq!(new.min_version.as_deref(), Some("1.0.0"));
            } else {
                assert!(new.serial.unwrap() <= clock::now(), "{:?}", new.serial);
                assert_eq!(new.min_version, None);
            }
        }
    }

    #[tokio::test]
    async fn the_min_version_never_goes_down() {
        let signer = signer();
        let last = last(None, Some("1.4.0"));
        for (given, min_version) in [
            (None, "1.4.0"),
            (Some("1.3"), "1.4.0"),
            (Some("1.6"), "1.6.0"),
            (Some("1.10"), "1.10.0"),
        ] {
            let mut new = manifest("1.10.0");
            new.min_version = given.map(str::to_owned);
            seal(&mut new, "stable", Some(Lifetime::Never), &last, &signer)
                .await
                .unwrap();
            assert_eq!(
                (new.min_version.as_deref(), new.expires),
                (Some(min_version), None)
            );
        }
        let mut candidate = manifest("1.4.0-rc.1");
        seal(&mut candidate, "stable", None, &last, &signer)
            .await
            .unwrap();
        let mut below = manifest("1.3.9");
        let refused = seal(&mut below, "stable", None, &last, &signer).await;
        assert_eq!(refused.unwrap_err().code, "publish.min_version");
    }
}
