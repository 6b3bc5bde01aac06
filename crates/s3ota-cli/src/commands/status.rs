//! `s3ota status`: what each channel serves, since when, to how many devices, and what needs attention.

use clap::Args;
use console::Style;
use s3ota_manifest::{ReleaseKey, Rollout, Timestamp};
use serde_json::json;

use crate::bucket::artefacts;
use crate::bucket::catalogue;
use crate::bucket::channel::{self, Held, PlaceArgs};
use crate::clock;
use crate::error::CliError;
use crate::keys::signature::{KnownKeysArgs, Signature};
use crate::legacy::LegacyClient;
use crate::output::table::{Column, Table};
use crate::output::terminal::{self, Painted};
use crate::output::{self, Output};
use crate::s3::{self, Location, S3Args, Store};

/// Warn of an expiry that is nearer than this.
const SOON: u64 = 7 * 24 * 60 * 60;

/// Pre-signed URLs are valid for a week at most, so theirs is warned of later.
const SOON_PRESIGNED: u64 = 24 * 60 * 60;

/// Show what each channel serves
///
/// Shows version, rollout, date, size, publisher and expiry, when pre-signed URLs end, and what needs attention: a manifest or a URL
/// that expires soon, a yanked release, a missing image, legacy clients that are offered something else.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota status s3://my-bucket/lamp
  s3ota status s3://my-bucket/lamp --release-key release.key.pub
  s3ota status s3://my-bucket/lamp --json")]
pub struct StatusArgs {
    #[command(flatten)]
    pub place: PlaceArgs,

    #[command(flatten)]
    pub keys: KnownKeysArgs,

    #[command(flatten)]
    pub s3: S3Args,
}

/// Shows the status.
pub async fn run(args: StatusArgs, out: &Output) -> Result<(), CliError> {
    tell(args, out).await.map(drop)
}

/// Shows the status. Returns whether a channel's manifest has a signature, verified or not.
pub async fn tell(args: StatusArgs, out: &Output) -> Result<bool, CliError> {
    let keys = args.keys.read()?;
    let (location, store) = args.place.open(&args.s3).await?;
    show(&store, &location, &keys, out).await
}

/// Shows the channels at a location, and verifies their signatures with the keys.
async fn show(
    store: &Store,
    location: &Location,
    keys: &[ReleaseKey],
    out: &Output,
) -> Result<bool, CliError> {
    let prefix = &location.prefix;
    let channels = catalogue::channels(store, prefix).await?;
    let yanked = catalogue::yanked(store, prefix).await?;
    let mut table = Table::new(&[
        Column::new("channel"),
        Column::new("version"),
        Column::new("rollout"),
        Column::new("since").rank(5),
        Column::new("size").rank(1),
        Column::new("signed").rank(4),
        Column::new("expires (UTC)").rank(3),
        Column::new("URL ends (UTC)").rank(6),
        Column::new("by").rank(2),
    ]);
    let (mut warnings, mut unverified) = (Vec::new(), Vec::new());
    let mut is_signed = false;
    for channel in &channels {
        let manifest = match channel.manifest(store) {
            Ok(manifest) => manifest,
            Err(error) => {
                out.event(
                    "channel",
                    json!({ "channel": channel.name, "error": error.message }),
                );
                warnings.push(error.hint("publish to the channel again, which replaces it"));
                continue;
            }
        };
        let rollout = manifest.rollout.unwrap_or(Rollout::EVERYONE).to_string();
        let since = channel::since(manifest);
        let claimed = manifest
            .signature
            .as_ref()
            .map(|signature| signature.keyid.clone());
        let bytes = channel.current.as_ref().map_or(&[][..], Held::bytes);
        is_signed |= claimed.is_some();
        let signature = Signature::of(bytes, keys);
        let presigned_until =
            s3::presigned_until(&manifest.url).and_then(Timestamp::from_unix_seconds);
        let is_yanked = yanked.contains(&manifest.version);
        let lack = channel::image_lack(store, prefix, manifest).await?;
        let lack_code = lack.as_ref().map(|lack| lack.code);
        let deltas = artefacts::deltas(manifest);
        let legacy: Vec<_> = channel
            .legacy()
            .into_iter()
            .map(LegacyClient::name)
            .collect();
        table.row([
            Painted::new(Style::new().bold(), &channel.name),
            match is_yanked {
                true => {
                    let version = format!("{} (yanked)", manifest.version);
                    Painted::new(Style::new().red(), &version)
                }
                false => manifest.version.as_str().into(),
            },
            match rollout.as_str() {
                "0" => Painted::new(Style::new().yellow(), "paused"),
                percent => format!("{percent}%").into(),
            },
            since.as_deref().map_or(String::new(), clock::ago).into(),
            manifest
                .size
                .map_or(String::new(), |size| output::bytes(size.into()))
                .into(),
            signature.painted(),
            manifest
                .expires
                .map_or(String::new(), |end| clock::day(&end.to_string()))
                .into(),
            presigned_until
                .map_or(String::new(), |end| clock::day(&end.to_string()))
                .into(),
            manifest.uploader.clone().unwrap_or_default().into(),
        ]);
        out.event(
            "channel",
            json!({
                "channel": channel.name, "version": manifest.version, "rollout": rollout, "since": since,
                "changed": manifest.date, "size": manifest.size, "sha256": manifest.sha256.map(|it| it.to_string()),
                "chip": manifest.chip, "board": manifest.board, "by": manifest.uploader, "keyid": claimed,
                "signature": signature.word(), "verified_by": signature.verified_by(),
                "serial": manifest.serial, "action": manifest.extra.get("action"),
                "expires": manifest.expires.map(|end| end.to_string()),
                "url_until": presigned_until.map(|end| end.to_string()),
                "yanked": is_yanked, "has_image": lack_code.is_none(), "is_archived": lack_code == Some("s3.archived"), "notes": manifest.notes, "also": legacy,
                "deltas": deltas, "compressed": manifest.compressed.as_ref().map(|it| it.size),
            }),
        );
        let mut warn = |code, problem: String, hint: &str| {
            let message = format!("{}: {problem}", channel.name);
            warnings.push(CliError::new(code, message).hint(hint));
        };
        match &signature {
            Signature::NotVerified(keyid) => unverified.push((channel.name.clone(), keyid.clone())),
            Signature::Wrong(keyid) => {
                let problem = format!("the signature that names the key {keyid} does not verify");
                let hint = "find out who writes to your bucket, and publish again: devices with release keys refuse this manifest";
                warn("release.signature", problem, hint);
            }
            Signature::By(_) if manifest.channel.as_ref() != Some(&channel.name) => {
                let of = manifest.channel.as_deref().unwrap_or("no channel");
                let problem = format!("its manifest is signed for {of}");
                let hint = "find out who writes to your bucket, and publish to the channel again";
                warn("release.channel", problem, hint);
            }
            Signature::By(_) | Signature::None => {}
        }
        if is_yanked && rollout != "0" {
            let problem = format!("{} was yanked, but is still served", manifest.version);
            warn("publish.yanked", problem, "run s3ota yank again");
        }
        if let Some(lack) = lack {
            let hint = lack.hint.as_deref().unwrap_or_default();
            warn(lack.code, lack.message, hint);
        }
        for (from, artefact) in artefacts::all(manifest) {
            if !artefacts::is_there(store, prefix, &manifest.version, artefact).await? {
                let problem = format!(
                    "{} is not in the bucket: devices ask for it in vain, and fetch more",
                    artefacts::name(from)
                );
                let hint = "publish the same firmware again, which makes it anew";
                warn("release.artefact", problem, hint);
            }
        }
        for library in channel.legacy_out_of_step(store).await? {
            let problem = format!(
                "legacy clients with {} are offered something else: a command was interrupted, or is running",
                library.name()
            );
            let hint =
                "set the same rollout again, or publish again: either updates their manifest";
            warn("publish.older", problem, hint);
        }
        let name = output::for_shell(&channel.name);
        match manifest.expires.and_then(|end| ending(end, SOON)) {
            Some(Ending::Over) => warn(
                "manifest.expires",
                "the manifest has expired: devices that know the date refuse it".to_owned(),
                "publish the same firmware again, with a later --expires",
            ),
            Some(Ending::Soon(left)) => {
                let hint = match claimed {
                    Some(_) => format!(
                        "sign it again before that: `s3ota sign {location} --channel {name} --key KEY --expires 90d`"
                    ),
                    None => "publish the same firmware again before that, with a later --expires"
                        .to_owned(),
                };
                let problem = format!("the manifest expires in {left}");
                warn("manifest.expires", problem, &hint);
            }
            None => {}
        }
        if let Some(ending) = presigned_until.and_then(|end| ending(end, SOON_PRESIGNED)) {
            let problem = match ending {
                Ending::Over => {
                    "the image's URL has expired: no device can fetch it any more".to_owned()
                }
                Ending::Soon(left) => format!("the image's URL expires in {left}"),
            };
            let hint = format!("renew it with `s3ota presign {location} --channel {name}`");
            warn("publish.presign", problem, &hint);
        }
    }
    if channels.is_empty() {
        out.say(format_args!("there is nothing at {location} yet"));
        out.say(format_args!("  → s3ota publish FIRMWARE {location}"));
    }
    out.table(&table);
    for (channel, keyid) in &unverified {
        let why = match keys {
            [] => "give --release-key",
            _ => "it is none of the given keys",
        };
        out.prose(format_args!(
            "{} has a signature by the key {}, which is not verified: {why}",
            terminal::one_line(channel),
            terminal::one_line(keyid)
        ));
    }
    for warning in &warnings {
        out.warning(warning);
    }
    Ok(is_signed)
}

/// How near an expiry is.
#[derive(Debug, PartialEq, Eq)]
enum Ending {
    /// It is over.
    Over,
    /// It is near: the time that is left, for people.
    Soon(String),
}

/// An expiry that is over, or nearer than `soon`.
fn ending(end: Timestamp, soon: u64) -> Option<Ending> {
    let (end, now) = (end.unix_seconds(), clock::now());
    if end <= now {
        Some(Ending::Over)
    } else {
        (end - now < soon).then(|| Ending::Soon(clock::span(end - now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_reported_when_it_is_near() {
        let at = |seconds| Timestamp::from_unix_seconds(clock::now() + seconds).unwrap();
        assert_eq!(ending(at(SOON + 100), SOON), None);
        let left = ending(at(3 * 3600 + 100), SOON);
        assert_eq!(left, Some(Ending::Soon("3 hours".to_owned())));
        let past = Timestamp::from_unix_seconds(1).unwrap();
        assert_eq!(ending(past, SOON), Some(Ending::Over));
    }
}
