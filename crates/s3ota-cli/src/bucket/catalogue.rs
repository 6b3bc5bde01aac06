//! Everything under a prefix: channels, releases, images, yanks, and what channels held before.

use std::collections::{BTreeMap, BTreeSet};

use s3ota_manifest::layout::LayoutError;
use s3ota_manifest::{ManifestDocument, Version, layout};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::bucket::channel::{Channel, Held};
use crate::error::CliError;
use crate::s3::{Folders, Listed, Object, Store};
use crate::versions;

/// How many objects are read at a time.
const AT_A_TIME: usize = 16;

/// A mark that a version is yanked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Yank {
    /// When.
    pub date: Option<String>,
    /// By whom.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

impl Yank {
    /// Reads a mark. It counts whatever it contains.
    fn parse(json: &[u8]) -> Self {
        let fields: Value = serde_json::from_slice(json).unwrap_or_default();
        let text = |field: &str| fields[field].as_str().map(str::to_owned);
        Self {
            date: text("date"),
            by: text("by"),
            reason: text("reason"),
        }
    }

    /// Writes a mark.
    pub fn to_json(&self, version: &str) -> String {
        let mut fields = json!({ "version": version });
        for (name, value) in [
            ("date", &self.date),
            ("by", &self.by),
            ("reason", &self.reason),
        ] {
            if let Some(value) = value {
                fields[name] = json!(value);
            }
        }
        format!("{fields:#}\n")
    }
}

fn named(error: LayoutError) -> CliError {
    CliError::new("s3.url", error.to_string())
}

/// Reads objects, several at a time, in the order of their keys. Objects that have gone in the meantime are left out.
async fn get_all(store: &Store, keys: Vec<String>) -> Result<Vec<(String, Object)>, CliError> {
    let mut waiting = keys.into_iter().enumerate();
    let mut running = JoinSet::new();
    let mut read = BTreeMap::new();
    loop {
        while running.len() < AT_A_TIME
            && let Some((index, key)) = waiting.next()
        {
            let store = store.clone();
            running.spawn(async move { (index, store.get(&key).await.map(|got| (key, got))) });
        }
        let Some(ended) = running.join_next().await else {
            return Ok(read.into_values().collect());
        };
        let (index, result) =
            ended.map_err(|error| CliError::new("s3.error", format!("reading: {error}")))?;
        if let (key, Some(object)) = result? {
            read.insert(index, (key, object));
        }
    }
}

/// All channels, by name.
pub async fn channels(store: &Store, prefix: &str) -> Result<Vec<Channel>, CliError> {
    let folder = match prefix {
        "" => String::new(),
        prefix => format!("{prefix}/"),
    };
    let listed = store.list(&folder, Folders::Without).await?;
    let keys = listed.into_iter().map(|object| object.key);
    let keys = keys.filter(|key| layout::name_in(&folder, key).is_some());
    let objects = get_all(store, keys.collect()).await?;
    Ok(objects
        .into_iter()
        .filter_map(|(key, object)| {
            let name = layout::name_in(&folder, &key)?.to_owned();
            layout::channel_key(prefix, &name).ok()?;
            Some(Channel::holding(prefix, &name, key, object))
        })
        // A JSON file of another kind, such as a web installer's, is not a channel; a broken manifest is one.
        .filter(|channel| {
            channel
                .current
                .as_ref()
                .is_some_and(|held| held.manifest.is_ok() || !is_other_json(held.bytes()))
        })
        .collect())
}

/// Whether this is JSON that was never meant to be a manifest.
fn is_other_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Value>(bytes).is_ok_and(|json| json.get("url").is_none())
}

/// The versions that have a record, highest first.
pub async fn versions(store: &Store, prefix: &str) -> Result<Vec<String>, CliError> {
    let folder = layout::releases_folder(prefix).map_err(named)?;
    let mut versions = names(store, &folder).await?;
    versions.sort_by(|a, b| versions::by_precedence(b, a));
    Ok(versions)
}

/// The records of some versions, where there are any.
pub async fn records(
    store: &Store,
    prefix: &str,
    versions: &[String],
) -> Result<BTreeMap<String, ManifestDocument>, CliError> {
    let folder = layout::releases_folder(prefix).map_err(named)?;
    let keys = versions
        .iter()
        .map(|version| format!("{folder}{version}.json"));
    let objects = get_all(store, keys.collect()).await?;
    Ok(objects
        .into_iter()
        .filter_map(|(key, object)| {
            let version = layout::name_in(&folder, &key)?.to_owned();
            Some((version, ManifestDocument::parse(&object.bytes).ok()?))
        })
        .collect())
}

/// The images, by key.
pub async fn images(store: &Store, prefix: &str) -> Result<BTreeMap<String, Listed>, CliError> {
    let folder = layout::images_folder(prefix).map_err(named)?;
    let listed = store.list(&folder, Folders::With).await?;
    Ok(listed
        .into_iter()
        .map(|object| (object.key.clone(), object))
        .collect())
}

/// The yanked versions.
pub async fn yanked(store: &Store, prefix: &str) -> Result<BTreeSet<String>, CliError> {
    let folder = layout::yanked_folder(prefix).map_err(named)?;
    Ok(names(store, &folder).await?.into_iter().collect())
}

/// The yanked versions, with their marks.
pub async fn yanks(store: &Store, prefix: &str) -> Result<BTreeMap<String, Yank>, CliError> {
    let folder = layout::yanked_folder(prefix).map_err(named)?;
    let listed = store.list(&folder, Folders::Without).await?;
    let keys = listed.into_iter().map(|object| object.key);
    let objects = get_all(store, keys.collect()).await?;
    Ok(objects
        .into_iter()
        .filter_map(|(key, object)| {
            let version = layout::name_in(&folder, &key)?.to_owned();
            Some((version, Yank::parse(&object.bytes)))
        })
        .collect())
}

/// The mark of a version, if it is yanked.
pub async fn yank_of(store: &Store, prefix: &str, version: &str) -> Result<Option<Yank>, CliError> {
    let parsed = Version::parse(version)
        .map_err(|error| CliError::new("publish.version", format!("{version}: {error}")))?;
    let key = layout::yanked_key(prefix, &parsed).map_err(named)?;
    Ok(store
        .get(&key)
        .await?
        .map(|object| Yank::parse(&object.bytes)))
}

/// Refuses a yanked version.
pub async fn refuse_yanked(store: &Store, prefix: &str, version: &str) -> Result<(), CliError> {
    let Some(yank) = yank_of(store, prefix, version).await? else {
        return Ok(());
    };
    let by = yank.by.map_or(String::new(), |by| format!(" by {by}"));
    let why = yank
        .reason
        .map_or(String::new(), |reason| format!(": {reason}"));
    let message = format!("{version} was yanked{by}{why}");
    Err(CliError::new("publish.yanked", message).hint(format!(
        "build it again under a higher version; if a channel still serves {version}, run `s3ota yank` again"
    )))
}

/// What a channel held before, oldest first; at most the newest `limit`.
pub async fn history(
    store: &Store,
    prefix: &str,
    channel: &str,
    limit: usize,
) -> Result<Vec<Held>, CliError> {
    let filed = filed(store, prefix, channel, limit).await?;
    Ok(filed.into_iter().map(|(_, held)| held).collect())
}

/// The same with their keys. They are in the order of their names, which anyone can choose who can write to the bucket; what is
/// signed is ordered by its signed serials.
pub async fn filed(
    store: &Store,
    prefix: &str,
    channel: &str,
    limit: usize,
) -> Result<Vec<(String, Held)>, CliError> {
    let folder = layout::history_folder(prefix, channel).map_err(named)?;
    let mut names: Vec<(u64, String)> = names(store, &folder)
        .await?
        .into_iter()
        // Where two documents had the same number, the name of the second has its hash as well.
        .filter_map(|name| Some((name.split('-').next()?.parse().ok()?, name)))
        .collect();
    names.sort_unstable();
    let from = names.len().saturating_sub(limit);
    let keys = names
        .split_off(from)
        .into_iter()
        .map(|(_, name)| format!("{folder}{name}.json"));
    let objects = get_all(store, keys.collect()).await?;
    Ok(objects
        .into_iter()
        .map(|(key, object)| (key, Held::of(object)))
        .collect())
}

/// The channels that have a history, including those whose manifest was deleted.
pub async fn channels_of_history(
    store: &Store,
    prefix: &str,
) -> Result<BTreeSet<String>, CliError> {
    let folder = layout::history_folder(prefix, "x").map_err(named)?;
    let folder = folder.strip_suffix("x/").unwrap_or(&folder).to_owned();
    let listed = store.list(&folder, Folders::With).await?;
    Ok(listed
        .iter()
        .filter_map(|object| {
            Some(
                object
                    .key
                    .strip_prefix(&folder)?
                    .split_once('/')?
                    .0
                    .to_owned(),
            )
        })
        .collect())
}

async fn names(store: &Store, folder: &str) -> Result<Vec<String>, CliError> {
    let listed = store.list(folder, Folders::Without).await?;
    Ok(listed
        .iter()
        .filter_map(|object| layout::name_in(folder, &object.key).map(str::to_owned))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written_and_counts_whatever_it_holds() {
        let yank = Yank {
            date: Some("2026-01-01T00:00:00Z".into()),
            by: Some("ada".into()),
            reason: Some("it \"hangs\"".into()),
        };
        assert_eq!(Yank::parse(yank.to_json("1.0.0").as_bytes()), yank);
        assert_eq!(Yank::parse(b"not even JSON"), Yank::default());
    }
}
