//! `s3ota status`: what each channel serves, since when, to how many devices, and what needs attention.

use clap::Args;
use console::Style;
use s3ota_manifest::{ReleaseKey, Rollout, Timestamp};
use serde_json::json;

use crate::bucket::catalogue;
use crate::bucket::channel::{self, Channel, Held, PlaceArgs};
use crate::clock;
use crate::error::CliError;
use crate::keys::signature::{KnownKeysArgs, Signature};
use crate::legacy::LegacyClient;
use crate::output::table::Table;
use crate::output::terminal::{self, Painted};
use crate::output::{self, Output};
use crate::s3::{Location, S3Args, Store};

/// Warn of an expiry that is nearer than this.
const SOON: u64 = 7 * 24 * 60 * 60;

/// Pre-signed URLs are valid for a week at most, so theirs is warned of later.
const SOON_PRESIGNED: u64 = 24 * 60 * 60;

/// Show what each channel serves
///
/// Version, rollout, since when, size, by whom, expiry; and what needs attention: a manifest or a URL that expires soon, a yanked
/// release, a missing image, legacy clients that are offered something else.
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
) -> Result<(), CliError> {
    let prefix = &location.prefix;
    let channels = catalogue::channels(store, prefix).await?;
    let yanked = catalogue::yanked(store, prefix).await?;
    let mut table = Table::new(&[
        "channel", "version", "rollout", "since", "size", "signed", "expires", "by",
    ]);
    let (mut warnings, mut unverified) = (Vec::new(), Vec::new());
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
        let signature = Signature::of(bytes, keys);
        let presigned_until = presigned_until(&manifest.url);
        let is_yanked = yanked.contains(&manifest.version);
        let image = has_image(channel, store, prefix).await?;
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
                "yanked": is_yanked, "has_image": image, "notes": manifest.notes, "also": legacy,
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
        if !image {
            let problem = format!("the image of {} is not in the bucket", manifest.version);
            let hint = "publish the same firmware again, which restores it";
            warn("release.image", problem, hint);
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
        if let Some(problem) = manifest.expires.and_then(|end| ends(end, SOON)) {
            let hint = "publish or promote again, with a later expiry: then devices stop trusting this manifest";
            warn("manifest.expires", format!("the manifest {problem}"), hint);
        }
        if let Some(problem) = presigned_until.and_then(|end| ends(end, SOON_PRESIGNED)) {
            let hint = "publish the same firmware again with --presign 7d";
            warn(
                "publish.presign",
                format!("the image's URL {problem}"),
                hint,
            );
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
        out.say(format_args!(
            "{} has a signature by the key {}, which is not verified: {why}",
            terminal::one_line(channel),
            terminal::one_line(keyid)
        ));
    }
    for warning in &warnings {
        out.warning(warning);
    }
    Ok(())
}

/// Whether the image of a channel's manifest is in the bucket; an image elsewhere is taken to be there.
async fn has_image(channel: &Channel, store: &Store, prefix: &str) -> Result<bool, CliError> {
    let manifest = channel.manifest(store)?;
    match channel::image_key(prefix, &manifest.version, manifest.sha256) {
        Some(key)
            if manifest
                .url
                .contains(&s3ota_manifest::layout::url_path(&key)) =>
        {
            Ok(store.head(&key).await?.is_some())
        }
        _ => Ok(true),
    }
}

/// Tells that something has expired, or will soon.
fn ends(end: Timestamp, soon: u64) -> Option<String> {
    let (end, now) = (end.unix_seconds(), clock::now());
    if end <= now {
        Some("has expired: no device takes the release any more".to_owned())
    } else {
        (end - now < soon).then(|| format!("expires in {}", clock::span(end - now)))
    }
}

/// When a pre-signed URL expires: its date and its lifetime (AWS, "Signature Version 4 query parameters").
fn presigned_until(url: &str) -> Option<Timestamp> {
    let parameter = |name: &str| {
        let (_, query) = url.split_once('?')?;
        query.split('&').find_map(|pair| pair.strip_prefix(name))
    };
    let date = parameter("X-Amz-Date=")?;
    let seconds: u64 = parameter("X-Amz-Expires=")?.parse().ok()?;
    // 20270131T120000Z
    let part = |from: usize, to: usize| date.get(from..to);
    let begin = Timestamp::parse(&format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0, 4)?,
        part(4, 6)?,
        part(6, 8)?,
        part(9, 11)?,
        part(11, 13)?,
        part(13, 15)?
    ));
    Timestamp::from_unix_seconds(begin.ok()?.unix_seconds().checked_add(seconds)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expiry_of_a_presigned_url_is_read_from_it() {
        let url = "https://b.s3.eu-west-1.amazonaws.com/a.bin?X-Amz-Algorithm=AWS4-HMAC-SHA256\
                   &X-Amz-Date=20270131T120000Z&X-Amz-Expires=3600&X-Amz-Signature=00";
        assert_eq!(
            presigned_until(url).map(|end| end.to_string()).as_deref(),
            Some("2027-01-31T13:00:00Z")
        );
        assert_eq!(presigned_until("https://b.example.com/a.bin"), None);
        assert_eq!(
            presigned_until("https://b.example.com/a?X-Amz-Date=é&X-Amz-Expires=1"),
            None
        );
    }

    #[test]
    fn an_expiry_is_reported_when_it_is_near() {
        let at = |seconds| Timestamp::from_unix_seconds(clock::now() + seconds).unwrap();
        assert_eq!(ends(at(SOON + 100), SOON), None);
        assert!(ends(at(3 * 3600 + 100), SOON).unwrap().contains("3 hours"));
        let past = Timestamp::from_unix_seconds(1).unwrap();
        assert!(ends(past, SOON).unwrap().contains("has ended"));
    }
}
