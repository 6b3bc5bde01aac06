//! The access log: whether there is one, and whether S3 still delivers it.

use std::time::{SystemTime, UNIX_EPOCH};

use s3ota_manifest::Timestamp;

use super::finding::Report;
use crate::error::CliError;
use crate::output;
use crate::s3::{Folders, Location, LogTarget, Setting, Store};

/// The subject of findings about the log.
const LOG: &str = "log";

const DAY: u64 = 24 * 60 * 60;

/// Says whether the accesses to a bucket are logged. A device updates itself without, so nothing here is a fault.
pub async fn examine(report: &mut Report, store: &Store, location: &Location) {
    match find(store).await {
        Ok(Log::Unknown) => {}
        Ok(Log::Off) => report.note(
            LOG,
            format!(
                "accesses are not logged, so nobody sees which device runs what: `s3ota bucket init {location} --log-bucket NAME` changes \
                 that"
            ),
        ),
        Ok(Log::Empty(place)) => report.note(
            LOG,
            format!("accesses are logged to {place}, where nothing has arrived yet: S3 may take some hours for the first log"),
        ),
        Ok(Log::Until(place, newest)) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let age = now.map_or(0, |now| now.as_secs()).saturating_sub(newest);
            match age / DAY {
                0 => report.good(LOG, format!("accesses are logged to {place}")),
                days => report.warning(
                    LOG,
                    "bucket.log",
                    format!(
                        "the newest log in {place} is {} old: no device has asked since, or S3 cannot write there",
                        output::count(days, "day")
                    ),
                    format!(
                        "`s3ota bucket init {location} --log-bucket NAME --dry-run` shows what the log bucket lacks"
                    ),
                ),
            }
        }
        Err(error) => report.note(
            LOG,
            format!("whether accesses are logged is not known: {}", error.message),
        ),
    }
}

enum Log {
    /// The service has none.
    Unknown,
    /// It is off.
    Off,
    /// It is on, and nothing has arrived here.
    Empty(String),
    /// What has arrived here, up to this time in seconds since 1970.
    Until(String, u64),
}

async fn find(store: &Store) -> Result<Log, CliError> {
    let target = match store.logging().await? {
        Setting::Unsupported => return Ok(Log::Unknown),
        Setting::Unset => return Ok(Log::Off),
        Setting::Is(target) => target,
    };
    let place = format!("s3://{}/{}", target.bucket, target.prefix);
    let logs = store.of_bucket(&target.bucket);
    let newest = match target.by_day {
        true => newest_by_day(&logs, store, &target).await?,
        false => newest_by_name(&logs, &target).await?,
    };
    Ok(match newest {
        Some(newest) => Log::Until(place, newest),
        None => Log::Empty(place),
    })
}

/// The newest log below `<prefix><account>/<region>/<bucket>/<year>/<month>/<day>/`.
async fn newest_by_day(
    logs: &Store,
    store: &Store,
    target: &LogTarget,
) -> Result<Option<u64>, CliError> {
    let mut newest = None;
    for account in logs.folders(&target.prefix).await? {
        let mut folder = format!("{account}{}/{}/", store.region(), store.bucket());
        for _ in ["year", "month", "day"] {
            match logs.folders(&folder).await?.pop() {
                Some(last) => folder = last,
                None => break,
            }
        }
        newest = newest.max(newest_in(logs, &folder).await?);
    }
    Ok(newest)
}

/// The newest log whose key is `<prefix><year>-<month>-<day>-…`: of the last two days, or any.
async fn newest_by_name(logs: &Store, target: &LogTarget) -> Result<Option<u64>, CliError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_secs());
    for ago in [0, DAY] {
        let Some(time) = Timestamp::from_unix_seconds(now.saturating_sub(ago)) else {
            continue;
        };
        let day = time.to_string();
        let day = day.split('T').next().unwrap_or_default();
        let of_day = format!("{}{day}", target.prefix);
        if let newest @ Some(_) = newest_in(logs, &of_day).await? {
            return Ok(newest);
        }
    }
    newest_in(logs, &target.prefix).await
}

async fn newest_in(logs: &Store, prefix: &str) -> Result<Option<u64>, CliError> {
    let objects = logs.list(prefix, Folders::Without).await?;
    Ok(objects.iter().filter_map(|log| log.modified).max())
}
