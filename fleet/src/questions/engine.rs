//! DataFusion, which answers the questions from the cache.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::compute::{cast, concat_batches};
use datafusion::arrow::datatypes::{DataType, Int64Type, SchemaRef};
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext, col, lit};

use super::{DEVICES, Question, Value};
use crate::cache;
use crate::error::{Error, Result};

/// The tables, and who can be asked about them.
pub struct Engine {
    context: SessionContext,
}

/// Rows of an answer.
#[derive(Debug, Clone)]
pub struct Rows(pub RecordBatch);

fn failed(error: DataFusionError) -> Error {
    Error::new(
        "fleet.query",
        format!("the logs cannot be queried: {error}"),
    )
    .hint("a broken cache may be deleted; it is made again from the logs")
}

impl Engine {
    fn empty() -> Result<Self> {
        let mut config = SessionConfig::new().with_information_schema(false);
        // Views into the file's pages would keep a whole page for each batch that has one text of it.
        config
            .options_mut()
            .execution
            .parquet
            .schema_force_view_types = false;
        Ok(Self {
            context: SessionContext::new_with_config(config),
        })
    }

    /// Over the files of a cache.
    ///
    /// # Errors
    ///
    /// If they cannot be opened.
    pub async fn over_files(sightings: Vec<PathBuf>, anonymous: Vec<PathBuf>) -> Result<Self> {
        let engine = Self::empty()?;
        engine
            .files("all_sightings", sightings, cache::schema())
            .await?;
        engine
            .files("all_anonymous", anonymous, cache::anonymous_schema())
            .await?;
        Ok(engine)
    }

    /// Over rows in memory.
    ///
    /// # Errors
    ///
    /// If they have other columns.
    pub fn over_rows(sightings: Vec<RecordBatch>, anonymous: RecordBatch) -> Result<Self> {
        let engine = Self::empty()?;
        engine.rows("all_sightings", cache::schema(), sightings)?;
        engine.rows("all_anonymous", cache::anonymous_schema(), vec![anonymous])?;
        Ok(engine)
    }

    async fn files(&self, name: &str, files: Vec<PathBuf>, schema: SchemaRef) -> Result<()> {
        if files.is_empty() {
            return self.rows(name, schema, Vec::new());
        }
        let files: Vec<String> = files
            .iter()
            .map(|it| it.to_string_lossy().into_owned())
            .collect();
        let options = ParquetReadOptions::default().schema(&schema);
        let frame = self
            .context
            .read_parquet(files, options)
            .await
            .map_err(failed)?;
        self.context
            .register_table(name, frame.into_view())
            .map_err(failed)?;
        Ok(())
    }

    fn rows(&self, name: &str, schema: SchemaRef, rows: Vec<RecordBatch>) -> Result<()> {
        let table = MemTable::try_new(schema, vec![rows]).map_err(failed)?;
        self.context
            .register_table(name, Arc::new(table))
            .map_err(failed)?;
        Ok(())
    }

    /// Makes the tables that the questions are about, as of a moment.
    ///
    /// # Errors
    ///
    /// If the cache cannot be read.
    pub async fn as_of(&self, at: Option<u32>) -> Result<()> {
        for (all, name) in [
            ("all_sightings", "sightings"),
            ("all_anonymous", "anonymous"),
        ] {
            let mut frame = self.context.table(all).await.map_err(failed)?;
            if let Some(at) = at {
                frame = frame
                    .filter(col("time").lt_eq(lit(i64::from(at))))
                    .map_err(failed)?;
            }
            self.context.deregister_table(name).map_err(failed)?;
            self.context
                .register_table(name, frame.into_view())
                .map_err(failed)?;
        }
        // All other questions about devices begin with this one, so it is asked once.
        let frame = self.context.sql(&DEVICES.sql(&[])).await.map_err(failed)?;
        let devices = frame.cache().await.map_err(failed)?;
        self.context.deregister_table("devices").map_err(failed)?;
        self.context
            .register_table("devices", devices.into_view())
            .map_err(failed)?;
        Ok(())
    }

    /// Asks a question.
    ///
    /// # Errors
    ///
    /// If the cache cannot be read.
    pub async fn ask(&self, question: Question, values: &[(&str, Value<'_>)]) -> Result<Rows> {
        self.query(&question.sql(values)).await
    }

    /// All rows of the table of devices.
    ///
    /// # Errors
    ///
    /// If the cache cannot be read.
    pub async fn devices(&self) -> Result<Rows> {
        self.query("SELECT * FROM devices ORDER BY device").await
    }

    async fn query(&self, sql: &str) -> Result<Rows> {
        let frame = self.context.sql(sql).await.map_err(failed)?;
        let schema = Arc::clone(frame.schema().inner());
        let batches = frame.collect().await.map_err(failed)?;
        let rows = concat_batches(&schema, &batches);
        rows.map(Rows).map_err(|error| failed(error.into()))
    }
}

impl Rows {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.num_rows()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A column of texts.
    ///
    /// # Errors
    ///
    /// If there is no such column.
    pub fn texts(&self, name: &str) -> Result<Vec<String>> {
        let column = self.column(name, &DataType::Utf8)?;
        let texts = column.as_string_opt::<i32>().ok_or_else(|| missing(name))?;
        Ok(texts
            .iter()
            .map(|it| it.unwrap_or_default().to_owned())
            .collect())
    }

    /// A column of numbers, which may be missing.
    ///
    /// # Errors
    ///
    /// If there is no such column.
    pub fn numbers(&self, name: &str) -> Result<Vec<Option<i64>>> {
        let column = self.column(name, &DataType::Int64)?;
        let numbers = column
            .as_primitive_opt::<Int64Type>()
            .ok_or_else(|| missing(name))?;
        Ok(numbers.iter().collect())
    }

    /// A column of counts.
    ///
    /// # Errors
    ///
    /// If there is no such column.
    pub fn counts(&self, name: &str) -> Result<Vec<u64>> {
        let numbers = self.numbers(name)?.into_iter();
        Ok(numbers
            .map(|it| it.and_then(|it| u64::try_from(it).ok()).unwrap_or_default())
            .collect())
    }

    fn column(&self, name: &str, kind: &DataType) -> Result<Arc<dyn Array>> {
        let column = self.0.column_by_name(name).ok_or_else(|| missing(name))?;
        cast(column, kind).map_err(|error| failed(error.into()))
    }
}

fn missing(name: &str) -> Error {
    Error::new("fleet.query", format!("an answer has no column {name}"))
}
