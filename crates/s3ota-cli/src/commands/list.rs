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
use crate::s3::S3Args;

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
        Column::new("published").rank(5),
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
        let has_image = key.as_ref().is_none_or(|key| images.contains_key(key));
        let is_yanked = yanked.contains(version);
        let channels = serving.get(version).cloned().unwrap_or_default();
        let state = match (is_yanked, has_image) {
            (true, true) => " (yanked)",
            (true, false) => " (yanked, image removed)",
            (false, false) => " (image removed)",
            (false, true) => "",
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
                "version": version, "channels": channels, "yanked": is_yanked, "has_image": has_image,
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
        let hidden = output::count((all - versions.len()) as u64, "older release");
        out.prose(format_args!("not shown: {hidden}; --limit {all} shows all"));
    }
    Ok(())
}
