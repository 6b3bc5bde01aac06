//! Answers as tables for other tools: CSV and Parquet.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::csv::WriterBuilder;
use datafusion::arrow::datatypes::{DataType, TimeUnit};

use crate::answers::{Errors, Mix, Rollout};
use crate::cache;
use crate::error::{Error, Result};

/// Writes a table as CSV, with the names of its columns in the first line.
///
/// # Errors
///
/// If the file cannot be written.
pub fn csv(path: &Path, table: &RecordBatch) -> Result<()> {
    let file = File::create(path).map_err(|error| Error::file(path, error))?;
    let mut writer = WriterBuilder::new().with_header(true).build(file);
    writer
        .write(table)
        .map_err(|error| Error::file(path, error))
}

/// Writes a table as Parquet.
///
/// # Errors
///
/// If the file cannot be written.
pub fn parquet(path: &Path, table: &RecordBatch) -> Result<()> {
    cache::write(path, table.schema(), [Ok(table.clone())])
        .map_err(|error| Error::file(path, error.message))
}

fn texts<'a>(texts: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(texts))
}

fn numbers(numbers: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(UInt64Array::from_iter_values(numbers))
}

fn table(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch> {
    RecordBatch::try_from_iter(columns)
        .map_err(|error| Error::new("fleet.table", error.to_string()))
}

/// One row for each device.
///
/// # Errors
///
/// If the table has other columns.
pub fn devices(devices: &RecordBatch) -> Result<RecordBatch> {
    let failed = |error: String| Error::new("fleet.table", error);
    let names = [
        "device",
        "version",
        "chip",
        "channel",
        "state",
        "last",
        "boot",
        "first_seen",
        "last_seen",
    ];
    let columns = names.map(|name| {
        let column = devices
            .column_by_name(name)
            .ok_or_else(|| failed(format!("no column {name}")))?;
        let kind = match name {
            "first_seen" | "last_seen" => {
                DataType::Timestamp(TimeUnit::Second, Some("+00:00".into()))
            }
            _ => DataType::Utf8,
        };
        let column = cast(column, &kind).map_err(|error| failed(error.to_string()))?;
        Ok((name, column))
    });
    table(columns.into_iter().collect::<Result<_>>()?)
}

/// Versions over time.
///
/// # Errors
///
/// None that can be expected.
pub fn mix(mix: &[Mix]) -> Result<RecordBatch> {
    table(vec![
        ("day", texts(mix.iter().map(|it| &*it.day))),
        ("version", texts(mix.iter().map(|it| &*it.version))),
        ("devices", numbers(mix.iter().map(|it| it.devices))),
    ])
}

/// Errors over time.
///
/// # Errors
///
/// None that can be expected.
pub fn errors(errors: &[Errors]) -> Result<RecordBatch> {
    table(vec![
        ("day", texts(errors.iter().map(|it| &*it.day))),
        ("code", texts(errors.iter().map(|it| &*it.code))),
        ("devices", numbers(errors.iter().map(|it| it.devices))),
    ])
}

/// The adoption curve of a release.
///
/// # Errors
///
/// None that can be expected.
pub fn rollout(rollout: &Rollout) -> Result<RecordBatch> {
    let release = &rollout.release;
    table(vec![
        (
            "version",
            texts(release.curve.iter().map(|_| &*release.version)),
        ),
        ("at", texts(release.curve.iter().map(|it| &*it.at))),
        (
            "running",
            numbers(release.curve.iter().map(|it| it.running)),
        ),
    ])
}
