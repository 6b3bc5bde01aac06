//! Logs in files and folders.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::UNIX_EPOCH;

use flate2::read::MultiGzDecoder;

use super::cloudfront;
use super::text::{self, Format};
use crate::cache::{Cache, Entry};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::sightings::{Sightings, Tally};

/// A file of lines is read in parts of this size, by all threads.
const PART: u64 = 8 << 20;

/// After so much, what was read is kept.
const ROUND: u64 = 1 << 30;

/// What gzip files begin with.
pub(super) const GZIP: &[u8] = &[0x1f, 0x8b];

/// How much of a file says what it holds.
const HEAD: u64 = 4096;

/// How much of a file tells it from another one.
const MARK: u64 = 256;

/// A file.
#[derive(Debug, Clone)]
struct Log {
    path: PathBuf,
    size: u64,
    modified: i64,
    /// From where on it is new.
    from: u64,
}

/// A part of a file, and whether it is the last one.
#[derive(Debug, Clone, Copy)]
struct Part {
    log: usize,
    from: u64,
    to: u64,
    is_last: bool,
}

/// What came of a part: how far it was read, and what was wrong with it.
struct Outcome {
    part: Part,
    read_to: u64,
    problem: Option<String>,
}

/// Reads what is new of files and folders into the cache. Returns what was read, and what could not be.
///
/// # Errors
///
/// If a file cannot be read, or the cache cannot be written.
pub fn read(
    roots: &[PathBuf],
    cache: &mut Cache,
    progress: &Progress,
) -> Result<(Tally, Vec<String>)> {
    let mut logs = list(roots)?;
    logs.retain_mut(|log| is_new(log, cache));
    progress.begin(logs.iter().map(|log| log.size - log.from).sum());
    let mut parts = Vec::new();
    for (at, log) in logs.iter().enumerate() {
        split(at, log, &mut parts)?;
    }
    let (mut tally, mut problems) = (Tally::default(), Vec::new());
    let mut rest = parts.as_slice();
    while !rest.is_empty() {
        let mut size = 0;
        let fits = rest.iter().take_while(|part| {
            size += part.to - part.from;
            size <= ROUND
        });
        let (round, later) = rest.split_at(fits.count().max(1));
        rest = later;
        let (seen, outcomes) = round_of(round, &logs, None, progress)?;
        tally.add(seen.tally);
        let mut entries = Vec::new();
        for outcome in outcomes {
            let Some(log) = logs.get(outcome.part.log) else {
                continue;
            };
            problems.extend(outcome.problem);
            let entry = Entry {
                size: log.size,
                modified: log.modified,
                read_to: outcome.read_to,
                head: mark(&log.path, outcome.read_to).unwrap_or_default(),
                done: outcome.part.is_last,
            };
            entries.push((key(&log.path), entry));
        }
        cache.commit(seen, entries)?;
    }
    Ok((tally, problems))
}

/// Reads all there is up to a moment, without a cache.
///
/// # Errors
///
/// If a file cannot be read.
pub fn read_until(roots: &[PathBuf], moment: u32, progress: &Progress) -> Result<Sightings> {
    let logs = list(roots)?;
    progress.begin(logs.iter().map(|log| log.size).sum());
    let mut parts = Vec::new();
    for (at, log) in logs.iter().enumerate() {
        split(at, log, &mut parts)?;
    }
    Ok(round_of(&parts, &logs, Some(moment), progress)?.0)
}

/// The files below some folders, by name.
fn list(roots: &[PathBuf]) -> Result<Vec<Log>> {
    let mut logs = Vec::new();
    for root in roots {
        let about = fs::metadata(root).map_err(|error| {
            Error::file(root, error)
                .hint("name a file or a folder with access logs, or s3://BUCKET/PREFIX")
        })?;
        walk(root, &about, &mut logs)?;
    }
    logs.sort_by(|a, b| a.path.cmp(&b.path));
    logs.dedup_by(|a, b| a.path == b.path);
    Ok(logs)
}

fn walk(path: &Path, about: &fs::Metadata, logs: &mut Vec<Log>) -> Result<()> {
    let failed = |error| Error::file(path, error);
    if about.is_dir() {
        for entry in fs::read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // A link to a folder could lead around in circles; one to a file cannot.
            let about = entry.metadata().map_err(failed)?;
            let about = match about.is_symlink() {
                true => fs::metadata(entry.path())
                    .ok()
                    .filter(fs::Metadata::is_file),
                false => Some(about),
            };
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if let Some(about) = about.filter(|_| !hidden) {
                walk(&entry.path(), &about, logs)?;
            }
        }
    } else if about.is_file() {
        let modified = about
            .modified()
            .ok()
            .and_then(|it| it.duration_since(UNIX_EPOCH).ok());
        logs.push(Log {
            path: path.to_owned(),
            size: about.len(),
            modified: modified.map_or(0, |it| i64::try_from(it.as_nanos()).unwrap_or(i64::MAX)),
            from: 0,
        });
    }
    Ok(())
}

fn key(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Whether there is something in a file that was not read yet, and from where on.
fn is_new(log: &mut Log, cache: &Cache) -> bool {
    let Some(entry) = cache.entry(&key(&log.path)) else {
        return log.size > 0;
    };
    if entry.done && (entry.size, entry.modified) == (log.size, log.modified) {
        return false;
    }
    // A log that grew begins as it did.
    if log.size >= entry.read_to && mark(&log.path, entry.read_to).ok() == Some(entry.head) {
        log.from = entry.read_to;
    }
    true
}

/// A hash of a file's beginning, of which this much was read.
fn mark(path: &Path, read_to: u64) -> io::Result<u64> {
    let mut start = Vec::new();
    File::open(path)?
        .take(read_to.min(MARK))
        .read_to_end(&mut start)?;
    let mut hasher = DefaultHasher::new();
    hasher.write(&start);
    Ok(hasher.finish())
}

fn split(at: usize, log: &Log, parts: &mut Vec<Part>) -> Result<()> {
    let mut part = Part {
        log: at,
        from: log.from,
        to: log.size,
        is_last: true,
    };
    if log.size - log.from > 2 * PART {
        let mut file = File::open(&log.path).map_err(|error| Error::file(&log.path, error))?;
        let head = head(&mut file).map_err(|error| Error::file(&log.path, error))?;
        if !head.starts_with(GZIP) && !head.starts_with(cloudfront::MAGIC) {
            while log.size - part.from > 2 * PART {
                let to = part.from + PART;
                parts.push(Part {
                    to,
                    is_last: false,
                    ..part
                });
                part.from = to;
            }
        }
    }
    parts.push(part);
    Ok(())
}

fn head(file: &mut File) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.by_ref().take(HEAD).read_to_end(&mut head)?;
    Ok(head)
}

/// Reads parts on all cores.
fn round_of(
    parts: &[Part],
    logs: &[Log],
    until: Option<u32>,
    progress: &Progress,
) -> Result<(Sightings, Vec<Outcome>)> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::with_capacity(parts.len()));
    let work = || -> Result<Sightings> {
        let mut seen = Sightings::until(until);
        while let Some(&part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
            let Some(log) = logs.get(part.log) else { break };
            let outcome =
                one(part, log, &mut seen).map_err(|error| Error::file(&log.path, error))?;
            seen.tally.bytes += part.to - part.from;
            progress.add(part.to - part.from);
            if let Ok(mut outcomes) = outcomes.lock() {
                outcomes.push(outcome);
            }
        }
        Ok(seen)
    };
    let threads = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(parts.len());
    let seen = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut seen = work()?;
        for other in others {
            let other = other
                .join()
                .map_err(|_| Error::new("logs.reader", "a reader has failed"))??;
            seen.merge(other);
        }
        Ok(seen)
    })?;
    let mut outcomes = outcomes.into_inner().unwrap_or_default();
    // The last part of a file says how far it was read.
    outcomes.sort_by_key(|it| (it.part.log, it.part.from));
    Ok((seen, outcomes))
}

fn one(part: Part, log: &Log, seen: &mut Sightings) -> io::Result<Outcome> {
    let mut file = File::open(&log.path)?;
    let head = head(&mut file)?;
    let broken = |error: &dyn std::fmt::Display| {
        Some(format!(
            "{}: {error}; what could be read of it counts",
            log.path.display()
        ))
    };
    let mut outcome = Outcome {
        part,
        read_to: log.size,
        problem: None,
    };
    if head.starts_with(GZIP) {
        file.seek(SeekFrom::Start(0))?;
        if let Err(error) = text::stream(MultiGzDecoder::new(file), seen) {
            outcome.problem = broken(&error);
        }
    } else if head.starts_with(cloudfront::MAGIC) {
        outcome.problem = cloudfront::parquet(file, seen)
            .err()
            .and_then(|error| broken(&error));
    } else {
        let end = text::part(&mut file, &Format::of(&head), part.from, part.to, seen)?;
        // What follows begins where this part ends, also in the middle of a line.
        outcome.read_to = if part.is_last { end } else { part.to };
    }
    Ok(outcome)
}
