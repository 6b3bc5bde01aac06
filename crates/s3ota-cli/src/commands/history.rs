//! `s3ota history`: who changed the channels, when and how.

use clap::Args;
use s3ota_manifest::{ManifestDocument, Rollout};
use serde_json::json;

use crate::bucket::channel::{Channel, Held, PlaceArgs};
use crate::bucket::{artefacts, catalogue};
use crate::clock;
use crate::error::CliError;
use crate::output::Output;
use crate::output::table::{Column, Table};
use crate::s3::S3Args;

/// Show who changed the channels, when and how, newest first
///
/// Every manifest that a channel has served, and the yanked versions.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota history s3://my-bucket/lamp
  s3ota history s3://my-bucket/lamp --channel stable --limit 100 --json")]
pub struct HistoryArgs {
    #[command(flatten)]
    pub place: PlaceArgs,

    /// Show this channel only
    // The setting `channel` is the channel to change. It must not hide the history of the others.
    #[arg(id = "only_channel", long = "channel", value_name = "CHANNEL")]
    pub channel: Option<String>,

    /// Show at most this many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = super::parse_limit)]
    pub limit: usize,

    #[command(flatten)]
    pub s3: S3Args,
}

/// One change.
struct Entry {
    /// What it is ordered by: the time, then the serial.
    order: (u64, u64),
    date: String,
    channel: String,
    action: String,
    version: String,
    rollout: String,
    artefacts: String,
    by: String,
    notes: String,
    event: serde_json::Value,
}

/// Shows the history.
pub async fn run(args: HistoryArgs, out: &Output) -> Result<(), CliError> {
    let (location, store) = args.place.open(&args.s3).await?;
    let prefix = &location.prefix;
    let mut names = catalogue::channels_of_history(&store, prefix).await?;
    // Read before the histories: what is replaced in the meantime is then in both, and nothing is missing.
    let channels = catalogue::channels(&store, prefix).await?;
    names.extend(channels.iter().map(|channel| channel.name.clone()));
    if let Some(wanted) = &args.channel {
        names.retain(|name| name == wanted);
        if names.is_empty() {
            let message = format!("there is no channel {wanted} at {location}");
            return Err(
                CliError::new("channel.empty", message).hint("`s3ota status` shows the channels")
            );
        }
    }
    let mut entries = Vec::new();
    for name in names {
        // One more, to know whether there are more.
        let limit = args.limit.saturating_add(1);
        let mut held = catalogue::history(&store, prefix, &name, limit).await?;
        let current = channels.iter().find(|channel| channel.name == name);
        let current = current.and_then(|channel: &Channel| channel.current.clone());
        let filed = |current: &Held| held.iter().any(|held| held.bytes() == current.bytes());
        if let Some(current) = current.filter(|current| !filed(current)) {
            held.push(current);
        }
        entries.extend(held.iter().map(|held| entry(&name, held)));
    }
    if args.channel.is_none() {
        for (version, yank) in catalogue::yanks(&store, prefix).await? {
            let when = yank.date.as_deref().and_then(clock::seconds).unwrap_or(0);
            entries.push(Entry {
                // The mark comes before what it does to channels.
                order: (when, 0),
                date: yank.date.clone().unwrap_or_default(),
                channel: String::new(),
                action: "mark yanked".to_owned(),
                event: json!({
                    "action": "mark", "version": version, "date": yank.date, "by": yank.by, "reason": yank.reason,
                }),
                version,
                rollout: String::new(),
                artefacts: String::new(),
                by: yank.by.unwrap_or_default(),
                notes: yank.reason.unwrap_or_default(),
            });
        }
    }
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.order));
    let all = entries.len();
    entries.truncate(args.limit);
    let mut table = Table::new(&[
        Column::new("date (UTC)"),
        Column::new("channel"),
        Column::new("action"),
        Column::new("version"),
        Column::new("rollout").rank(2),
        Column::new("artefacts").rank(1),
        Column::new("by").rank(4),
        Column::new("notes").text().rank(3),
    ]);
    for entry in entries {
        out.event("change", entry.event);
        table.row([
            clock::day(&entry.date),
            entry.channel,
            entry.action,
            entry.version,
            entry.rollout,
            entry.artefacts,
            entry.by,
            entry.notes,
        ]);
    }
    if table.is_empty() {
        out.say(format_args!("nothing has happened at {location} yet"));
    }
    out.table(&table);
    if all > args.limit {
        let more = args.limit.saturating_mul(10);
        out.prose(format_args!("older changes are not shown: --limit {more}"));
    }
    Ok(())
}

/// `2 deltas, compressed`, as far as there are any.
fn artefacts(manifest: &ManifestDocument) -> String {
    let deltas = match manifest.deltas.len() {
        0 => None,
        1 => Some("1 delta".to_owned()),
        n => Some(format!("{n} deltas")),
    };
    let compressed = manifest
        .compressed
        .as_ref()
        .map(|_| "compressed".to_owned());
    let named: Vec<_> = deltas.into_iter().chain(compressed).collect();
    named.join(", ")
}

fn entry(channel: &str, held: &Held) -> Entry {
    let date = held.date();
    let when = date.map_or(0, |date| date.unix_seconds());
    let date = date.map(|date| date.to_string());
    let serial = held.serial();
    let blank = Entry {
        order: (when, serial),
        date: date.clone().unwrap_or_default(),
        channel: channel.to_owned(),
        action: "by hand".to_owned(),
        version: String::new(),
        rollout: String::new(),
        artefacts: String::new(),
        by: String::new(),
        notes: String::new(),
        event: json!({ "channel": channel, "serial": serial, "date": date }),
    };
    let Ok(manifest) = &held.manifest else {
        return Entry {
            notes: "not a manifest".to_owned(),
            ..blank
        };
    };
    let text = |field: &str| manifest.extra.get(field).and_then(|value| value.as_str());
    let (action, from) = (text("action"), text("from"));
    let rollout = manifest.rollout.unwrap_or(Rollout::EVERYONE).to_string();
    Entry {
        action: match (action, from) {
            (Some("rollout" | "pause"), _) => action.unwrap_or_default().to_owned(),
            (Some("yank"), Some(from)) if from == manifest.version => "pause after yank".to_owned(),
            (Some(action), Some(from)) => format!("{action} from {from}"),
            (Some(action), None) => action.to_owned(),
            (None, _) => blank.action,
        },
        version: manifest.version.clone(),
        by: manifest.uploader.clone().unwrap_or_default(),
        notes: manifest.notes.clone().unwrap_or_default(),
        event: json!({
            "channel": channel, "serial": serial, "date": date, "action": action, "from": from,
            "version": manifest.version, "rollout": rollout, "by": manifest.uploader, "notes": manifest.notes,
            "downgrade": manifest.downgrade, "sha256": manifest.sha256.map(|it| it.to_string()), "size": manifest.size,
            "keyid": manifest.signature.as_ref().map(|signature| signature.keyid.clone()),
            "deltas": artefacts::deltas(manifest), "compressed": manifest.compressed.as_ref().map(|it| it.size),
        }),
        artefacts: artefacts(manifest),
        rollout: match rollout.as_str() {
            "0" => "paused".to_owned(),
            percent => format!("{percent}%"),
        },
        ..blank
    }
}
