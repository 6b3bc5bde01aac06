//! `s3ota list`: the releases.

use std::collections::BTreeMap;

use clap::Args;
use console::Style;
use serde_json::json;

use crate::bucket::catalogue;
use crate::bucket::channel::{self, PlaceArgs};
use crate::clock;
use crate::error::CliError;
use crate::output::table::{Column, Table};
use crate::output::terminal::Painted;
use crate::output::{self, Output};
use crate::s3::{Found, Listed, S3Args, Store};

/// List the releases, highest version first
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota list s3://my-bucket/lamp
  s3ota list s3://my-bucket/lamp --limit 100 --json")]
pub struct ListArgs {
    #[command(flatten)]
    pub place: PlaceArgs,

    /// Show at most this many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = super::parse_limit)]
    pub limit: usize,

    #[command(flatten)]
    pub s3: S3Args,
}

/// Lists the releases.
pub async fn run(args: ListArgs, out: &Output) -> Result<(), CliError> {
    let (location, store) = args.place.open(&args.s3).await?;
    let prefix = &location.prefix;
    let mut versions = catalogue::versions(&store, prefix).await?;
    let all = versions.len();
    versions.truncate(args.limit);
    let records = catalogue::records(&store, prefix, &versions).await?;
    let yanked = catalogue::yanked(&store, prefix).await?;
    let images = catalogue::images(&store, prefix).await?;
    let mut serving: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for channel in catalogue::channels(&store, prefix).await? {
        if let Ok(manifest) = channel.manifest(&store) {
            let names = serving.entry(manifest.version.clone()).or_default();
            names.push(channel.name);
        }
    }

    let mut table = Table::new(&[
        Column::new("version"),
        Column::new("channels"),
        Column::new("published (UTC)").rank(5),
        Column::new("size").rank(2),
        Column::new("chip").rank(1),
        Column::new("by").rank(3),
        Column::new("notes").text().rank(4),
    ]);
    for version in &versions {
        let Some(record) = records.get(version) else {
            out.warning(&CliError::new(
                "manifest.invalid",
                format!("the record of {version} cannot be read"),
            ));
            continue;
        };
        let key = channel::image_key(prefix, version, record.sha256);
        let image = key.as_ref().map(|key| images.get(key));
        let has_image = image.is_none_or(|image| image.is_some());
        let is_archived = match image.flatten() {
            Some(image) => is_archived(&store, image).await?,
            None => false,
        };
        let is_yanked = yanked.contains(version);
        let channels = serving.get(version).cloned().unwrap_or_default();
        let state = match (is_yanked, has_image, is_archived) {
            (true, true, false) => " (yanked)",
            (true, true, true) => " (yanked, image archived)",
            (true, false, _) => " (yanked, image removed)",
            (false, false, _) => " (image removed)",
            (false, true, true) => " (image archived)",
            (false, true, false) => "",
        };
        table.row([
            match is_yanked {
                true => Painted::new(Style::new().red(), &format!("{version}{state}")),
                false => format!("{version}{state}").into(),
            },
            channels.join(", ").into(),
            record
                .date
                .as_deref()
                .map_or(String::new(), clock::day)
                .into(),
            record
                .size
                .map_or(String::new(), |size| output::bytes(size.into()))
                .into(),
            record.chip.clone().unwrap_or_default().into(),
            record.uploader.clone().unwrap_or_default().into(),
            record.notes.clone().unwrap_or_default().into(),
        ]);
        out.event(
            "release",
            json!({
                "version": version, "channels": channels, "yanked": is_yanked, "has_image": has_image, "is_archived": is_archived,
                "date": record.date, "size": record.size, "sha256": record.sha256.map(|it| it.to_string()),
                "chip": record.chip, "board": record.board, "by": record.uploader, "notes": record.notes,
                "image": key,
            }),
        );
    }
    if table.is_empty() {
        out.say(format_args!("there are no releases at {location}"));
        out.say(format_args!("  → s3ota publish FIRMWARE {location}"));
    }
    out.table(&table);
    if all > versions.len() {
        let hidden = output::count((all - versions.len()) as u64, "lower version");
        out.prose(format_args!("not shown: {hidden}; --limit {all} shows all"));
    }
    Ok(())
}

/// Whether nobody can read an image. The list of a bucket names the class; whether there is a restored copy, only the object.
async fn is_archived(store: &Store, image: &Listed) -> Result<bool, CliError> {
    match image.class.as_deref() {
        None | Some("STANDARD") => Ok(false),
        Some(_) => Ok(matches!(store.find(&image.key).await?, Found::Archived(..))),
    }
}
