//! The SQL for engines that read the logs themselves: Amazon Athena, Trino.

use crate::questions::{ALL, DEVICES, uncommented};

/// Where the logs lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partitions {
    /// `s3://BUCKET/PREFIX/`
    pub location: String,
    /// The account whose bucket is logged.
    pub account: String,
    /// Its region.
    pub region: String,
    /// The bucket that devices read.
    pub bucket: String,
}

impl Partitions {
    /// The folder with a folder for each year.
    pub fn folder(&self) -> String {
        let location = self.location.trim_end_matches('/');
        format!(
            "{location}/{}/{}/{}/",
            self.account, self.region, self.bucket
        )
    }
}

/// The table over the log objects.
pub const LOGS: &str = "s3_access_logs";

/// What the requests of devices say.
pub const REQUESTS: &str = "s3ota_requests";

const TABLE: &str = include_str!("questions/athena_table.sql");

/// [`REQUESTS`], by [`LOGS`].
pub const REQUESTS_SQL: &str = include_str!("questions/trino_requests.sql");

/// `sightings`, by [`REQUESTS`].
pub const SIGHTINGS_SQL: &str = include_str!("questions/trino_sightings.sql");

/// `anonymous`, by [`REQUESTS`].
pub const ANONYMOUS_SQL: &str = include_str!("questions/trino_anonymous.sql");

/// The statement that makes the table over the logs of a folder with folders by date.
pub fn table(folder: &str) -> String {
    let sql = TABLE.replace("{folder}", &folder.replace('\'', "''"));
    sql.trim_end().trim_end_matches(';').to_owned()
}

/// The statements, one after the other.
pub fn sql(partitions: &Partitions, questions: bool) -> String {
    let mut sql = format!("{};\n\n{}", table(&partitions.folder()), views());
    if questions {
        for question in ALL.iter().filter(|it| **it != DEVICES) {
            sql.push_str(&format!(
                "\n-- {}\n{};\n",
                question.name,
                question.sql(&[]).trim_end()
            ));
        }
    }
    sql
}

/// The views that the questions are about.
pub fn views() -> String {
    let devices = DEVICES.sql(&[]);
    let views = [
        (REQUESTS, REQUESTS_SQL),
        ("sightings", SIGHTINGS_SQL),
        ("anonymous", ANONYMOUS_SQL),
        ("devices", &devices),
    ];
    let view = |(name, sql): (&str, &str)| {
        let body = uncommented(sql).trim_end();
        let comment = sql.strip_suffix(uncommented(sql)).unwrap_or_default();
        format!("{comment}CREATE OR REPLACE VIEW {name} AS\n{body};\n")
    };
    views.map(view).join("\n")
}
