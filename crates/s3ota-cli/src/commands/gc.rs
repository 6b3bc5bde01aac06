//! `s3ota gc`: removes images that nobody needs any more.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::bucket::catalogue;
use crate::bucket::channel::PlaceArgs;
use crate::bucket::cleanup;
use crate::clock;
use crate::clock::parse_duration;
use crate::error::CliError;
use crate::output::table::{Column, Table};
use crate::output::{self, Output};
use crate::s3::S3Args;

/// Remove images that no channel needs
///
/// Shows what it would remove; --delete removes it. It keeps the images that channels serve, the last releases of each channel,
/// their deltas and compressed images, and what is newer than a day, which someone may be about to publish.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota gc s3://my-bucket/lamp
  s3ota gc s3://my-bucket/lamp --keep 10 --delete")]
pub struct GcArgs {
    #[command(flatten)]
    pub place: PlaceArgs,

    /// How many good releases of each channel to keep, including the one it serves
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub keep: usize,

    /// Keep images newer than this, and images that left a channel within this time. Shorten it only while nobody publishes
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = parse_duration)]
    pub grace: Duration,

    /// Remove the images, for good
    #[arg(long)]
    pub delete: bool,

    /// Show what would be removed, and remove nothing: the default
    #[arg(long, conflicts_with = "delete")]
    pub dry_run: bool,

    #[command(flatten)]
    pub s3: S3Args,
}

/// Removes images, or shows which.
pub async fn run(args: GcArgs, out: &Output) -> Result<(), CliError> {
    let (location, store) = args.place.open(&args.s3).await?;
    let prefix = &location.prefix;
    let images = catalogue::images(&store, prefix).await?;
    let unneeded = cleanup::unneeded(&store, prefix, &images, args.keep, args.grace).await?;

    let mut table = Table::new(&[
        Column::new("image"),
        Column::new("size").rank(2),
        Column::new("uploaded").rank(1),
    ]);
    let (mut count, mut bytes) = (0, 0);
    for image in unneeded {
        if args.delete && !cleanup::remove(&store, prefix, image, args.grace).await? {
            continue;
        }
        count += 1;
        bytes += image.size;
        let event = if args.delete {
            "removed"
        } else {
            "would_remove"
        };
        out.event(event, json!({ "key": image.key, "size": image.size }));
        let uploaded = image
            .modified
            .and_then(s3ota_manifest::Timestamp::from_unix_seconds)
            .map_or(String::new(), |date| clock::ago(&date.to_string()));
        table.row([image.key.clone(), output::bytes(image.size), uploaded]);
    }
    let uploads = cleanup::abandoned(&store, prefix, args.grace, args.delete).await;
    out.event(
        "collected",
        json!({ "images": count, "bytes": bytes, "uploads": uploads, "kept": images.len() - count, "dry_run": !args.delete }),
    );
    out.table(&table);
    let (size, kept) = (output::bytes(bytes), images.len() - count);
    if uploads > 0 {
        let what = if args.delete {
            "aborted"
        } else {
            "to be aborted"
        };
        let uploads = output::count(uploads as u64, "unfinished upload");
        out.say(format_args!("{uploads} {what}"));
    }
    let images = |n: usize| output::count(n as u64, "image");
    match (count, args.delete) {
        (0, _) if kept == 0 => out.prose(format_args!("there are no images at {location}")),
        (0, _) => out.prose(format_args!(
            "nothing to remove: {} needed or new",
            match kept {
                1 => "1 image is".to_owned(),
                n => format!("{} are", images(n)),
            }
        )),
        (n, true) => out.prose(format_args!("removed {}, {size}; kept {kept}", images(n))),
        (n, false) => out.prose(format_args!(
            "would remove {}, {size}, and keep {kept}; --delete removes {} for good",
            images(n),
            if n == 1 { "it" } else { "them" }
        )),
    }
    Ok(())
}
