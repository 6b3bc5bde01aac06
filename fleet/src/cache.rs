//! What was read, so that the next run reads only what is new.
//!
//! The cache of a source is a folder: segments with reduced sightings, a ledger of the files that they were made of, and `cache.json`, which
//! names both. A run writes new segments and a new ledger, and then exchanges `cache.json` by renaming. Until then the old one is in force,
//! and then the new one; what neither names is litter, and is removed by the next run. So a run that is killed loses its own work at most
//! since its last commit, and nothing of those before.
//!
//! Segments may overlap and repeat each other, for sightings are sets.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, StringBuilder, UInt64Array,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use datafusion::parquet::basic::Compression;
use datafusion::parquet::file::properties::WriterProperties;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::sightings::{DAY, Facts, Row, Sightings, Span};

/// Caches of another version are made anew.
const VERSION: u32 = 1;

/// More segments are made one.
const MAX_SEGMENTS: usize = 12;

const STATE: &str = "cache.json";

/// How many rows are written at a time.
const BATCH: usize = 1 << 16;

/// What is known of a file or an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its size when it was read.
    pub size: u64,
    /// When it was changed last, in whatever unit its source has.
    pub modified: i64,
    /// How far its lines were read.
    pub read_to: u64,
    /// A hash of its beginning, by which a file that grew is told from another one of its name.
    pub head: u64,
    /// Whether it was read to its end.
    pub done: bool,
}

/// `cache.json`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    version: u32,
    source: String,
    next: u64,
    segments: Vec<Segment>,
    ledger: Option<String>,
}

/// Two files: the sightings, and the requests without an id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Segment {
    sightings: String,
    anonymous: String,
}

/// The cache of one source, which this process alone uses.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
    state: State,
    ledger: HashMap<String, Entry>,
    /// Held until the end.
    _lock: File,
}

impl Cache {
    /// Opens the cache in a folder, or begins it.
    ///
    /// # Errors
    ///
    /// If the folder cannot be read or written, or is another source's.
    pub fn open(dir: &Path, source: &str) -> Result<Self> {
        fs::create_dir_all(dir).map_err(|error| failed(dir, error))?;
        let path = dir.join("lock");
        let lock = File::create(&path).map_err(|error| failed(&path, error))?;
        lock.lock().map_err(|error| failed(&path, error))?;
        let path = dir.join(STATE);
        let state: Option<State> = match fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json).ok(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(&path, error)),
        };
        if let Some(state) = &state
            && state.source != source
        {
            let message = format!("the cache in {} is of {}", dir.display(), state.source);
            return Err(Error::new("cache.source", message)
                .hint("give this source a cache of its own: --cache with another folder"));
        }
        let new = || State {
            version: VERSION,
            source: source.to_owned(),
            ..State::default()
        };
        let state = state.filter(|it| it.version == VERSION).unwrap_or_else(new);
        let mut cache = Self {
            dir: dir.to_owned(),
            state,
            ledger: HashMap::new(),
            _lock: lock,
        };
        if cache.load().is_err() {
            // A part is missing or broken, by other hands: everything is read again.
            cache.state = new();
            cache.ledger.clear();
        }
        cache.sweep();
        Ok(cache)
    }

    /// What is known of a file or object.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.ledger.get(key)
    }

    /// The names of all files and objects that are known.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.ledger.keys().map(String::as_str)
    }

    /// The files with sightings, and those with requests without an id.
    pub fn segments(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let path = |name: &String| self.dir.join(name);
        let segments = self.state.segments.iter();
        segments
            .map(|it| (path(&it.sightings), path(&it.anonymous)))
            .unzip()
    }

    /// Adds what was read, and what it was read from.
    ///
    /// # Errors
    ///
    /// If it cannot be written: then the cache is as it was.
    pub fn commit(&mut self, sightings: Sightings, entries: Vec<(String, Entry)>) -> Result<()> {
        let mut state = self.state.clone();
        let mut sightings = sightings;
        if !sightings.is_empty() {
            if state.segments.len() >= MAX_SEGMENTS {
                for segment in &state.segments {
                    load(&self.dir, segment, &mut sightings)?;
                }
                state.segments.clear();
            }
            let segment = Segment {
                sightings: format!("{}.sightings.parquet", state.next),
                anonymous: format!("{}.anonymous.parquet", state.next),
            };
            store(&self.dir, &segment, &sightings)?;
            state.segments.push(segment);
        }
        self.ledger.extend(entries);
        let ledger = format!("{}.ledger.parquet", state.next);
        self.store_ledger(&self.dir.join(&ledger))?;
        state.ledger = Some(ledger);
        state.next += 1;
        replace(
            &self.dir.join(STATE),
            &serde_json::to_vec(&state).unwrap_or_default(),
        )?;
        self.state = state;
        self.sweep();
        Ok(())
    }

    fn load(&mut self) -> Result<()> {
        for segment in &self.state.segments {
            for name in [&segment.sightings, &segment.anonymous] {
                let path = self.dir.join(name);
                let file = File::open(&path).map_err(|error| failed(&path, error))?;
                // Its end is where a file that was cut shows it.
                ParquetRecordBatchReaderBuilder::try_new(file)
                    .map_err(|error| failed(&path, error))?;
            }
        }
        let Some(ledger) = &self.state.ledger else {
            return Ok(());
        };
        for batch in read(&self.dir.join(ledger))? {
            let batch = batch?;
            let keys = column::<StringArray>(&batch, 0)?;
            let numbers = [1, 3, 4].map(|at| column::<UInt64Array>(&batch, at));
            let [size, read_to, head] = numbers;
            let (size, read_to, head) = (size?, read_to?, head?);
            let modified = column::<Int64Array>(&batch, 2)?;
            let done = column::<BooleanArray>(&batch, 5)?;
            for row in 0..batch.num_rows() {
                let entry = Entry {
                    size: size.value(row),
                    modified: modified.value(row),
                    read_to: read_to.value(row),
                    head: head.value(row),
                    done: done.value(row),
                };
                self.ledger.insert(keys.value(row).to_owned(), entry);
            }
        }
        Ok(())
    }

    fn store_ledger(&self, path: &Path) -> Result<()> {
        let mut entries: Vec<(&String, &Entry)> = self.ledger.iter().collect();
        entries.sort_unstable_by_key(|(key, _)| *key);
        let numbers = |of: fn(&Entry) -> u64| -> ArrayRef {
            Arc::new(UInt64Array::from_iter_values(
                entries.iter().map(|it| of(it.1)),
            ))
        };
        let columns: Vec<(&str, ArrayRef)> = vec![
            (
                "key",
                Arc::new(StringArray::from_iter_values(entries.iter().map(|it| it.0))),
            ),
            ("size", numbers(|it| it.size)),
            (
                "modified",
                Arc::new(Int64Array::from_iter_values(
                    entries.iter().map(|it| it.1.modified),
                )),
            ),
            ("read_to", numbers(|it| it.read_to)),
            ("head", numbers(|it| it.head)),
            (
                "done",
                Arc::new(BooleanArray::from_iter(
                    entries.iter().map(|it| Some(it.1.done)),
                )),
            ),
        ];
        let batch = RecordBatch::try_from_iter(columns).map_err(|error| failed(path, error))?;
        write(path, batch.schema(), [Ok(batch)])
    }

    /// Removes files that nothing names: those of runs that were killed, and those that were replaced.
    fn sweep(&self) {
        let named = |name: &str| {
            self.state.ledger.as_deref() == Some(name)
                || self
                    .state
                    .segments
                    .iter()
                    .any(|it| it.sightings == name || it.anonymous == name)
        };
        let ours = |name: &str| name.ends_with(".parquet") || name.ends_with(".new");
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            if let Some(name) = entry.file_name().to_str()
                && ours(name)
                && !named(name)
            {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

fn failed(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::new("cache.io", format!("the cache {}: {error}", path.display()))
        .hint("name another folder with --cache; a cache may be deleted at any time")
}

/// Writes a file that is there as a whole or not at all.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let new = path.with_extension("new");
    let written = File::create(&new).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)
    });
    written.map_err(|error| failed(path, error))
}

/// The columns of the table `sightings`, which all questions are about.
pub fn schema() -> SchemaRef {
    let number = |name| Field::new(name, DataType::Int64, false);
    let text = |name| Field::new(name, DataType::Utf8, false);
    Arc::new(Schema::new(vec![
        number("time"),
        number("day"),
        text("device"),
        text("state"),
        text("fw"),
        text("last"),
        text("chip"),
        text("boot"),
        text("channel"),
        text("state_kind"),
        text("back_from"),
        text("error"),
        text("about"),
    ]))
}

/// The columns of the table `anonymous`.
pub fn anonymous_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("time", DataType::Int64, false),
        Field::new("requests", DataType::Int64, false),
    ]))
}

/// The kind of a state, and the version that was rolled back.
fn parts_of_state(state: &str) -> (&str, &str) {
    match state.split_once(':') {
        Some(("back", version)) => ("back", version),
        Some((kind, _)) => (kind, ""),
        None => (state, ""),
    }
}

/// The error of an outcome, and the version that it was about.
fn parts_of_outcome(last: &str) -> (&str, &str) {
    let (code, version) = last.split_once('@').unwrap_or((last, ""));
    (if code == "ok" { "" } else { code }, version)
}

fn batch(rows: &[Row<'_>]) -> Result<RecordBatch> {
    let moments = |span: &Span| {
        let last = (span.last != span.first).then_some(span.last);
        [Some(span.first), last].into_iter().flatten()
    };
    let all = || {
        rows.iter()
            .flat_map(|row| moments(&row.2).map(move |time| (time, row)))
    };
    let texts = |of: for<'r> fn(&'r Row<'_>) -> &'r str| -> ArrayRef {
        let mut texts = StringBuilder::new();
        for row in rows {
            for _ in moments(&row.2) {
                texts.append_value(of(row));
            }
        }
        Arc::new(texts.finish())
    };
    let numbers = |of: fn(u32) -> u32| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(
            all().map(|(time, _)| of(time).into()),
        ))
    };
    let columns = vec![
        numbers(|time| time),
        numbers(|time| time / DAY),
        texts(|row| row.0),
        texts(|row| &row.1.state),
        texts(|row| &row.1.fw),
        texts(|row| &row.1.last),
        texts(|row| &row.1.chip),
        texts(|row| &row.1.boot),
        texts(|row| &row.1.channel),
        texts(|row| parts_of_state(&row.1.state).0),
        texts(|row| parts_of_state(&row.1.state).1),
        texts(|row| parts_of_outcome(&row.1.last).0),
        texts(|row| parts_of_outcome(&row.1.last).1),
    ];
    RecordBatch::try_new(schema(), columns)
        .map_err(|error| Error::new("cache.rows", error.to_string()))
}

/// The sightings as rows of the table `sightings`.
///
/// # Errors
///
/// If there are more than a table can hold.
pub fn batches(sightings: &Sightings) -> Result<Vec<RecordBatch>> {
    sightings.rows().chunks(BATCH).map(batch).collect()
}

/// The requests without an id as rows of the table `anonymous`.
///
/// # Errors
///
/// If there are more than a table can hold.
pub fn anonymous_batch(sightings: &Sightings) -> Result<RecordBatch> {
    let rows = sightings.without_id();
    let requests = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(
            rows.iter().map(|row| i64::from(row.0)),
        )),
        Arc::new(Int64Array::from_iter_values(
            rows.iter().map(|row| requests(row.1)),
        )),
    ];
    RecordBatch::try_new(anonymous_schema(), columns)
        .map_err(|error| Error::new("cache.rows", error.to_string()))
}

fn store(dir: &Path, segment: &Segment, sightings: &Sightings) -> Result<()> {
    let rows = sightings.rows();
    write(
        &dir.join(&segment.sightings),
        schema(),
        rows.chunks(BATCH).map(batch),
    )?;
    let batch = anonymous_batch(sightings);
    write(&dir.join(&segment.anonymous), anonymous_schema(), [batch])
}

fn load(dir: &Path, segment: &Segment, into: &mut Sightings) -> Result<()> {
    for batch in read(&dir.join(&segment.sightings))? {
        let batch = batch?;
        let times = column::<Int64Array>(&batch, 0)?;
        let texts = [2, 3, 4, 5, 6, 7, 8].map(|at| column::<StringArray>(&batch, at));
        let [device, state, fw, last, chip, boot, channel] = texts;
        let (device, state, fw, last) = (device?, state?, fw?, last?);
        let (chip, boot, channel) = (chip?, boot?, channel?);
        for row in 0..batch.num_rows() {
            let facts = Facts {
                state: state.value(row).into(),
                fw: fw.value(row).into(),
                last: last.value(row).into(),
                chip: chip.value(row).into(),
                boot: boot.value(row).into(),
                channel: channel.value(row).into(),
            };
            let time = u32::try_from(times.value(row)).unwrap_or_default();
            let span = Span {
                first: time,
                last: time,
            };
            into.row(device.value(row), &facts, span);
        }
    }
    for batch in read(&dir.join(&segment.anonymous))? {
        let batch = batch?;
        let (times, requests) = (
            column::<Int64Array>(&batch, 0)?,
            column::<Int64Array>(&batch, 1)?,
        );
        for row in 0..batch.num_rows() {
            let time = u32::try_from(times.value(row)).unwrap_or_default();
            into.anonymous(time, u64::try_from(requests.value(row)).unwrap_or_default());
        }
    }
    Ok(())
}

fn column<T: Array + 'static>(batch: &RecordBatch, at: usize) -> Result<&T> {
    let column = batch
        .columns()
        .get(at)
        .and_then(|it| it.as_any().downcast_ref());
    column.ok_or_else(|| {
        Error::new(
            "cache.rows",
            "the cache has other columns than this version writes",
        )
    })
}

/// Writes a table as a Parquet file.
///
/// # Errors
///
/// If it cannot be written.
pub fn write(
    path: &Path,
    schema: SchemaRef,
    batches: impl IntoIterator<Item = Result<RecordBatch>>,
) -> Result<()> {
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
    let file = File::create(path).map_err(|error| failed(path, error))?;
    let writer = ArrowWriter::try_new(file, schema, Some(properties.build()));
    let mut writer = writer.map_err(|error| failed(path, error))?;
    for batch in batches {
        writer.write(&batch?).map_err(|error| failed(path, error))?;
    }
    let file = writer.into_inner().map_err(|error| failed(path, error))?;
    file.sync_all().map_err(|error| failed(path, error))
}

fn read(path: &Path) -> Result<impl Iterator<Item = Result<RecordBatch>>> {
    let file = File::open(path).map_err(|error| failed(path, error))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(|it| it.build());
    let reader = reader.map_err(|error| failed(path, error))?;
    let path = path.to_owned();
    Ok(reader.map(move |batch| batch.map_err(|error| failed(&path, error))))
}
