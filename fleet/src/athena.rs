//! Amazon Athena, which reads the logs where they lie, and answers the questions.
//!
//! In a database of its own there is a table over the log objects, with a partition for each day that Athena works out by itself. Each run
//! makes two tables more and drops them at its end: what the User-Agents say, and the devices. So the logs, which is what Athena takes
//! money for, are read once, and not by each question.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_athena::Client;
use aws_sdk_athena::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_athena::types::{
    QueryExecutionContext, QueryExecutionState, ResultConfiguration, ResultSet,
};
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};

use crate::error::{Error, Result};
use crate::questions::engine::Rows;
use crate::questions::{DEVICES, Question, Value, uncommented};
use crate::schema;
use crate::sources::bucket::{Access, Bucket, Location};

/// How long to wait before it is asked whether a query is done, at the most.
const PAUSE: Duration = Duration::from_secs(2);

/// How Athena is to be used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// The database, which is made.
    pub database: String,
    /// The workgroup. Athena's `primary` if none is named.
    pub workgroup: Option<String>,
    /// `s3://BUCKET/PREFIX` for the results. The workgroup's if none is named.
    pub results: Option<String>,
}

/// Athena with tables over the logs.
#[derive(Debug)]
pub struct Athena {
    client: Client,
    options: Options,
    /// The tables of this run.
    requests: String,
    devices: String,
}

impl Athena {
    /// Makes the tables over the logs of a bucket.
    ///
    /// # Errors
    ///
    /// If the logs are not in folders by date, or Athena refuses.
    pub async fn over(
        access: &Access,
        location: &Location,
        options: Options,
        at: Option<u32>,
    ) -> Result<Self> {
        let bucket = Bucket::connect(access, location.clone()).await?;
        let folder = bucket.dated_folder().await?;
        let config = access.config().await?;
        let mut athena =
            aws_sdk_athena::config::Builder::from(&config).region(bucket.region_used());
        if let Some(url) = access.endpoint_url.as_ref().filter(|it| !it.is_empty()) {
            athena = athena.endpoint_url(url);
        }
        let run = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |it| it.as_micros());
        let run = format!("{run}_{}", std::process::id());
        let athena = Self {
            client: Client::from_conf(athena.build()),
            options,
            requests: format!("s3ota_run_{run}_requests"),
            devices: format!("s3ota_run_{run}_devices"),
        };
        let made = athena.make(&folder, at).await;
        if made.is_err() {
            athena.close().await;
        }
        made.map(|()| athena)
    }

    async fn make(&self, folder: &str, at: Option<u32>) -> Result<()> {
        let database = &self.options.database;
        self.run(
            &format!("CREATE DATABASE IF NOT EXISTS `{database}`"),
            false,
        )
        .await?;
        let (logs, table) = log_table(folder);
        self.run(&table, true).await?;
        let seen = uncommented(schema::REQUESTS_SQL).replace(schema::LOGS, &logs);
        let until = at.map_or(String::new(), |at| format!("\nWHERE time <= {at}"));
        let requests = format!(
            "CREATE TABLE {} WITH (format = 'PARQUET') AS\nSELECT * FROM (\n{}\n) r{until}",
            self.requests,
            seen.trim_end()
        );
        self.run(&requests, true).await?;
        let devices = format!(
            "CREATE TABLE {} WITH (format = 'PARQUET') AS\n{}",
            self.devices,
            with(&DEVICES.sql(&[]), &self.tables()[..2])
        );
        self.run(&devices, true).await?;
        Ok(())
    }

    /// The tables that the questions are about, and what they are here.
    fn tables(&self) -> [(&'static str, String); 3] {
        let here = |sql| {
            uncommented(sql)
                .trim_end()
                .replace(schema::REQUESTS, &self.requests)
        };
        [
            ("sightings", here(schema::SIGHTINGS_SQL)),
            ("anonymous", here(schema::ANONYMOUS_SQL)),
            ("devices", format!("SELECT * FROM {}", self.devices)),
        ]
    }

    /// Asks a question.
    ///
    /// # Errors
    ///
    /// If Athena refuses.
    pub async fn ask(&self, question: Question, values: &[(&str, Value<'_>)]) -> Result<Rows> {
        self.query(&with(&question.sql(values), &self.tables()))
            .await
    }

    /// All rows of the table of devices.
    ///
    /// # Errors
    ///
    /// If Athena refuses.
    pub async fn devices(&self) -> Result<Rows> {
        self.query(&format!("SELECT * FROM {} ORDER BY device", self.devices))
            .await
    }

    /// Drops the tables of this run. Their rows stay among Athena's results, as those of all queries do.
    pub async fn close(&self) {
        for table in [&self.requests, &self.devices] {
            let _ = self
                .run(&format!("DROP TABLE IF EXISTS `{table}`"), true)
                .await;
        }
    }

    async fn query(&self, sql: &str) -> Result<Rows> {
        let id = self.run(sql, true).await?;
        let mut rows = Reading::default();
        let mut token = None;
        loop {
            let page = self
                .client
                .get_query_results()
                .query_execution_id(&id)
                .set_next_token(token.take())
                .send()
                .await
                .map_err(|error| refused(&error))?;
            if let Some(set) = page.result_set {
                rows.take(set);
            }
            token = page.next_token;
            if token.is_none() {
                return rows.rows();
            }
        }
    }

    /// Runs a statement to its end. Returns its id.
    async fn run(&self, sql: &str, in_database: bool) -> Result<String> {
        let mut query = self
            .client
            .start_query_execution()
            .query_string(sql)
            .set_work_group(self.options.workgroup.clone());
        if in_database {
            let context = QueryExecutionContext::builder().database(&self.options.database);
            query = query.query_execution_context(context.build());
        }
        if let Some(results) = &self.options.results {
            let results = ResultConfiguration::builder().output_location(results);
            query = query.result_configuration(results.build());
        }
        let started = query.send().await.map_err(|error| refused(&error))?;
        let id = started.query_execution_id.unwrap_or_default();
        let mut pause = PAUSE / 16;
        loop {
            let asked = self.client.get_query_execution().query_execution_id(&id);
            let asked = asked.send().await.map_err(|error| refused(&error))?;
            let status = asked.query_execution.and_then(|it| it.status);
            let state = status.as_ref().and_then(|it| it.state.clone());
            match state {
                Some(QueryExecutionState::Succeeded) => return Ok(id),
                Some(QueryExecutionState::Failed | QueryExecutionState::Cancelled) => {
                    let why = status.and_then(|it| it.state_change_reason);
                    let why = why.unwrap_or_else(|| "it does not say why".to_owned());
                    return Err(Error::new("athena.query", format!("Athena ended a query: {why}"))
                        .hint(format!("Athena keeps it as {id}; `s3ota fleet schema --questions` prints what is asked")));
                }
                _ => tokio::time::sleep(pause).await,
            }
            pause = (pause * 2).min(PAUSE);
        }
    }
}

/// The name of the table over a folder's logs, and its statement. Another folder or another statement has another name, so a table that
/// is there already is the right one.
fn log_table(folder: &str) -> (String, String) {
    let sql = schema::table(folder);
    let mut hasher = DefaultHasher::new();
    sql.hash(&mut hasher);
    let name = format!("{}_{:016x}", schema::LOGS, hasher.finish());
    let sql = uncommented(&sql).replacen(schema::LOGS, &name, 1);
    (name, sql)
}

/// A question about tables that are given with it.
fn with(question: &str, tables: &[(&str, String)]) -> String {
    let tables: Vec<String> = tables
        .iter()
        .map(|(name, sql)| format!("{name} AS (\n{sql}\n)"))
        .collect();
    let tables = tables.join(", ");
    let body = uncommented(question).trim_end();
    match body.strip_prefix("WITH ") {
        Some(rest) => format!("WITH {tables}, {rest}"),
        None => format!("WITH {tables}\n{body}"),
    }
}

/// An answer, as its pages come.
#[derive(Debug, Default)]
struct Reading {
    /// Name, whether it has numbers, and the values.
    columns: Vec<(String, bool, Vec<Option<String>>)>,
}

impl Reading {
    fn take(&mut self, set: ResultSet) {
        let mut rows = set.rows.unwrap_or_default().into_iter();
        if self.columns.is_empty() {
            let about = set.result_set_metadata.and_then(|it| it.column_info);
            self.columns = about
                .unwrap_or_default()
                .into_iter()
                .map(|it| {
                    (
                        it.name,
                        matches!(it.r#type.as_str(), "bigint" | "integer"),
                        Vec::new(),
                    )
                })
                .collect();
            // The first row of the first page has the names once more.
            rows.next();
        }
        for row in rows {
            let mut values = row.data.unwrap_or_default().into_iter();
            for (_, _, column) in &mut self.columns {
                column.push(values.next().and_then(|it| it.var_char_value));
            }
        }
    }

    fn rows(self) -> Result<Rows> {
        let failed = |why: String| {
            Error::new(
                "athena.answer",
                format!("Athena's answer cannot be read: {why}"),
            )
        };
        let columns: Vec<(String, ArrayRef)> = self
            .columns
            .into_iter()
            .map(|(name, is_number, values)| {
                let column: ArrayRef = if is_number {
                    let numbers = values
                        .iter()
                        .map(|it| it.as_ref().map(|it| it.parse::<i64>()).transpose());
                    let numbers: std::result::Result<Int64Array, _> = numbers.collect();
                    Arc::new(numbers.map_err(|error| failed(format!("{name}: {error}")))?)
                } else {
                    Arc::new(values.into_iter().collect::<StringArray>())
                };
                Ok((name, column))
            })
            .collect::<Result<_>>()?;
        RecordBatch::try_from_iter(columns)
            .map(Rows)
            .map_err(|error| failed(error.to_string()))
    }
}

fn refused<E>(error: &SdkError<E>) -> Error
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    let (code, message) = (
        error.code().unwrap_or_default(),
        error.message().unwrap_or_default(),
    );
    if message.contains("output location") {
        return Error::new(
            "athena.results",
            format!("Athena does not know where results go: {message}"),
        )
        .hint("name a folder with --results s3://BUCKET/PREFIX, or set it for the workgroup");
    }
    match code {
        "AccessDeniedException" | "UnrecognizedClientException" => {
            Error::new("athena.denied", format!("Athena does not take these credentials: {message}")).hint(
                "they need athena:StartQueryExecution, athena:GetQueryExecution and athena:GetQueryResults, the tables of the database in \
                 AWS Glue, and the log bucket and the results' in S3",
            )
        }
        "" => Error::new("athena.network", DisplayErrorContext(error).to_string()).hint("try again"),
        _ => Error::new("athena.query", format!("{message} ({code})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::questions::{ALL, MIX, NEWEST};

    #[test]
    fn tables_are_given_with_a_question() {
        let tables = [
            ("sightings", "SELECT 1".to_owned()),
            ("anonymous", "SELECT 2".to_owned()),
        ];
        let sql = with(&NEWEST.sql(&[]), &tables);
        assert!(
            sql.starts_with(
                "WITH sightings AS (\nSELECT 1\n), anonymous AS (\nSELECT 2\n)\nSELECT max(time)"
            ),
            "{sql}"
        );
        let sql = with(&MIX.sql(&[]), &tables);
        assert!(sql.contains("SELECT 2\n), ends AS ("), "{sql}");
        assert_eq!(sql.matches("WITH ").count(), 1, "{sql}");
        for question in ALL {
            let sql = with(&question.sql(&[]), &tables);
            assert!(!sql.contains("--") && !sql.ends_with(';'), "{sql}");
        }
    }

    #[test]
    fn another_folder_has_another_table() {
        let (name, sql) = log_table("s3://my-logs/my-bucket/1/eu-central-1/my-bucket/");
        assert!(
            sql.contains(&format!("TABLE IF NOT EXISTS {name} (")),
            "{sql}"
        );
        assert!(
            sql.contains("LOCATION 's3://my-logs/my-bucket/1/eu-central-1/my-bucket/'"),
            "{sql}"
        );
        assert_ne!(log_table("s3://my-logs/other/").0, name);
    }
}
