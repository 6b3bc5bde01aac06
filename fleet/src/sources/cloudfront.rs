//! CloudFront's standard logs in Parquet. Those in text are read by `text.rs`, and those in JSON by `events.rs`.

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::parquet::arrow::ProjectionMask;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use datafusion::parquet::file::reader::ChunkReader;

use super::{text, time};
use crate::sightings::{PRODUCT, Sightings};

/// What every Parquet file begins with.
pub const MAGIC: &[u8] = b"PAR1";

/// The columns, by the names that CloudFront gives them.
const COLUMNS: [&str; 4] = ["date", "time", "cs_uri_stem", "cs_user_agent"];

/// Reads a file. Files with other columns have no sightings.
///
/// # Errors
///
/// If it is no Parquet file, or a broken one.
pub fn parquet(file: impl ChunkReader + 'static, into: &mut Sightings) -> Result<(), String> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|it| it.to_string())?;
    let schema = builder.parquet_schema();
    if COLUMNS
        .iter()
        .any(|name| builder.schema().index_of(name).is_err())
    {
        return Ok(());
    }
    let mask = ProjectionMask::columns(schema, COLUMNS);
    let reader = builder
        .with_projection(mask)
        .build()
        .map_err(|it| it.to_string())?;
    for batch in reader {
        rows(&batch.map_err(|it| it.to_string())?, into)?;
    }
    Ok(())
}

fn rows(batch: &RecordBatch, into: &mut Sightings) -> Result<(), String> {
    let column = |name: &str| {
        let column = batch.column_by_name(name).ok_or("a column is missing")?;
        cast(column, &DataType::Utf8).map_err(|error| error.to_string())
    };
    let [date, clock, path, agent] = COLUMNS.map(column);
    let (date, clock, path, agent) = (date?, clock?, path?, agent?);
    let [date, clock, path, agent] =
        [&date, &clock, &path, &agent].map(|column| column.as_string::<i32>());
    for row in 0..batch.num_rows() {
        if [date, clock, path, agent]
            .iter()
            .any(|column| column.is_null(row))
        {
            continue;
        }
        let agent = text::decoded(agent.value(row));
        let at = time::date_and_clock(date.value(row).as_bytes(), clock.value(row).as_bytes());
        if let Some(at) = at.filter(|_| agent.starts_with(PRODUCT)) {
            into.tally.lines += 1;
            into.request(at, path.value(row), &agent);
        }
    }
    Ok(())
}
