//! `s3ota diff`: compares two releases.

use std::collections::BTreeSet;

use clap::Args;
use s3ota_image::app::{Descriptor, Header};
use s3ota_manifest::{ManifestDocument, Rollout, Version};
use serde_json::json;

use crate::bucket::catalogue;
use crate::bucket::channel::{self, Channel, PlaceArgs};
use crate::clock;
use crate::error::CliError;
use crate::output::table::{Column, Table};
use crate::output::{self, Output, terminal};
use crate::s3::{Location, S3Args, Store};

/// Compare two releases
///
/// Name each by its version or by a channel that serves it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota diff s3://my-bucket/lamp stable beta
  s3ota diff s3://my-bucket/lamp 1.2.0 1.3.0")]
pub struct DiffArgs {
    #[command(flatten)]
    pub place: PlaceArgs,

    /// A version or a channel
    pub a: String,

    /// Another one
    pub b: String,

    #[command(flatten)]
    pub s3: S3Args,
}

/// Compares two releases.
pub async fn run(args: DiffArgs, out: &Output) -> Result<(), CliError> {
    let (location, store) = args.place.open(&args.s3).await?;
    let (a, both) = find(&store, &location, &args.a).await?;
    let (b, is_channel) = find(&store, &location, &args.b).await?;
    // A release's record names no artefacts: channels do, each its own.
    let both = both && is_channel;
    let prefix = &location.prefix;
    let yanked = catalogue::yanked(&store, prefix).await?;
    let is_yanked = |release: &ManifestDocument| yanked.contains(&release.version);
    let left = facts(&a, is_yanked(&a), descriptor(&store, prefix, &a).await?);
    let right = facts(&b, is_yanked(&b), descriptor(&store, prefix, &b).await?);

    let mut table = Table::new(&[
        Column::new(""),
        Column::new("a").text(),
        Column::new("b").text(),
    ]);
    let mut differences = serde_json::Map::new();
    for ((name, left), (_, right)) in left.iter().zip(&right) {
        if left == right || (!both && matches!(*name, "deltas" | "compressed")) {
            continue;
        }
        let shown = |value: &Option<String>| match value {
            None => "none".to_owned(),
            Some(date) if matches!(*name, "expires" | "date") => clock::day(date),
            Some(percent) if *name == "rollout" && percent == "0%" => "paused".to_owned(),
            Some(value) => value.clone(),
        };
        // The signature is not verified here.
        let shown_name = match *name {
            "key" => "names key",
            "expires" => "expires (UTC)",
            "date" => "date (UTC)",
            "deltas" => "deltas from",
            name => name,
        };
        table.row([shown_name.to_owned(), shown(left), shown(right)]);
        differences.insert((*name).to_owned(), json!([left, right]));
    }
    let grows = match (a.size, b.size) {
        (Some(a), Some(b)) => Some(i64::from(b) - i64::from(a)),
        _ => None,
    };
    let order = match (Version::parse(&a.version), Version::parse(&b.version)) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        _ => std::cmp::Ordering::Equal,
    };
    let same_image = a.sha256.is_some() && a.sha256 == b.sha256;
    out.event(
        "diff",
        json!({
            "a": args.a, "b": args.b, "versions": [a.version, b.version], "differences": differences,
            "size_change": grows, "same_image": same_image, "is_update": order.is_lt(),
            "yanked": [is_yanked(&a), is_yanked(&b)],
        }),
    );
    if table.is_empty() {
        out.say(format_args!("{} and {} are the same", args.a, args.b));
        tell_yanked([&a], &yanked, out);
        return Ok(());
    }
    out.table(&table);
    let verdict = match order {
        _ if same_image => "the same image, byte for byte".to_owned(),
        std::cmp::Ordering::Less => {
            let (a, new) = (&a.version, &b.version);
            // A release's record says nothing about rollouts.
            let rollout = b.rollout.filter(|_| is_channel).map(|it| it.to_string());
            match rollout.as_deref() {
                _ if is_yanked(&b) => {
                    format!("devices with {a} would update to {new}, but it was yanked")
                }
                Some("0") => format!("devices with {a} would update to {new}, but it is paused"),
                Some(percent) if percent != "100" => {
                    format!("{percent}% of the devices with {a} update to {new}")
                }
                _ => format!("devices with {a} update to {new}"),
            }
        }
        std::cmp::Ordering::Greater => {
            format!("devices with {} do not go back to {}", a.version, b.version)
        }
        std::cmp::Ordering::Equal => {
            "devices see no difference: their versions are equal".to_owned()
        }
    };
    out.prose(match grows {
        Some(grows) if grows != 0 => {
            let sign = if grows > 0 { "larger" } else { "smaller" };
            format!(
                "{verdict}; it is {} {sign}",
                output::bytes(grows.unsigned_abs())
            )
        }
        _ => verdict,
    });
    tell_yanked([&a, &b], &yanked, out);
    Ok(())
}

/// Tells which of the releases is withdrawn.
fn tell_yanked<'a>(
    releases: impl IntoIterator<Item = &'a ManifestDocument>,
    yanked: &BTreeSet<String>,
    out: &Output,
) {
    for release in releases {
        let version = &release.version;
        if yanked.contains(version) {
            out.prose(format_args!(
                "{} was yanked: `s3ota history` says why",
                terminal::one_line(version)
            ));
        }
    }
}

/// The release that a name stands for, and whether the name is a channel's.
async fn find(
    store: &Store,
    location: &Location,
    name: &str,
) -> Result<(ManifestDocument, bool), CliError> {
    let prefix = &location.prefix;
    if let Ok(version) = Version::parse(name) {
        let version = version.to_string();
        let wanted = std::slice::from_ref(&version);
        if let Some(record) = catalogue::records(store, prefix, wanted)
            .await?
            .remove(&version)
        {
            return Ok((record, false));
        }
    }
    let channel = Channel::read(store, prefix, name).await?;
    if channel.current.is_none() {
        let message = format!("there is no release and no channel {name} at {location}");
        return Err(
            CliError::new("release.unknown", message).hint("`s3ota list` shows the releases")
        );
    }
    Ok((channel.manifest(store)?.clone(), true))
}

/// The descriptor in the image, if the image is there.
async fn descriptor(
    store: &Store,
    prefix: &str,
    manifest: &ManifestDocument,
) -> Result<Option<Descriptor>, CliError> {
    // The header, then the header of the first segment, then the descriptor.
    const START: usize = Header::LEN + 8;
    let Some(key) = channel::image_key(prefix, &manifest.version, manifest.sha256) else {
        return Ok(None);
    };
    let length = START + Descriptor::LEN;
    let start = store.get_start(&key, length as u64).await?;
    Ok(start
        .and_then(|bytes| bytes.get(START..length)?.try_into().ok())
        .and_then(|bytes| Descriptor::parse(&bytes)))
}

/// The facts of a release to compare, each with its name.
fn facts(
    manifest: &ManifestDocument,
    is_yanked: bool,
    descriptor: Option<Descriptor>,
) -> Vec<(&'static str, Option<String>)> {
    let rollout = manifest.rollout.unwrap_or(Rollout::EVERYONE);
    let image = |text: fn(&Descriptor) -> String| descriptor.as_ref().map(text);
    vec![
        ("version", Some(manifest.version.clone())),
        (
            "yanked",
            Some(if is_yanked { "yes" } else { "no" }.to_owned()),
        ),
        ("sha256", manifest.sha256.map(|sha256| sha256.to_string())),
        ("size", manifest.size.map(|size| output::bytes(size.into()))),
        ("deltas", deltas(manifest)),
        (
            "compressed",
            manifest
                .compressed
                .as_ref()
                .map(|it| output::bytes(it.size.into())),
        ),
        ("chip", manifest.chip.clone()),
        ("board", manifest.board.clone()),
        ("project", image(|it| it.project_name().to_owned())),
        ("built", image(|it| format!("{} {}", it.date(), it.time()))),
        ("ESP-IDF", image(|it| it.idf_version().to_owned())),
        ("rollout", Some(format!("{rollout}%"))),
        ("min_version", manifest.min_version.clone()),
        ("expires", manifest.expires.map(|end| end.to_string())),
        (
            "key",
            manifest
                .signature
                .as_ref()
                .map(|signature| signature.keyid.clone()),
        ),
        ("date", manifest.date.clone()),
        ("by", manifest.uploader.clone()),
        ("notes", manifest.notes.clone()),
    ]
}

/// What each delta is made from, and its size.
fn deltas(manifest: &ManifestDocument) -> Option<String> {
    let each = manifest.deltas.iter().map(|delta| {
        let size = output::bytes(delta.artefact.size.into());
        format!("{} ({size})", delta.from)
    });
    let all: Vec<_> = each.collect();
    (!all.is_empty()).then(|| all.join(", "))
}
