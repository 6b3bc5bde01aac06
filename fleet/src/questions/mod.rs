//! The questions: each is one file of SQL, for every engine that is asked.
//!
//! They are about two tables. `sightings` has a row for each request of a device, or as few of them as say the same; its columns are those
//! of [`crate::cache::schema`], and what a device did not tell is an empty text. `anonymous` has the requests without an id. From
//! `sightings`, `devices` is made, by a question of its own. The SQL is what DataFusion and Trino (so Amazon Athena, too) both understand;
//! what differs between them is only where the tables come from.

pub mod engine;

use std::fmt;

/// What a question can be told.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// A number.
    Number(i64),
    /// A text, which is quoted.
    Text(&'a str),
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "'{}'", text.replace('\'', "''")),
        }
    }
}

/// A question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Its name.
    pub name: &'static str,
    text: &'static str,
}

macro_rules! questions {
    ($($(#[$doc:meta])* $name:ident = $file:literal;)*) => {
        $($(#[$doc])* pub const $name: Question = Question { name: $file, text: include_str!(concat!($file, ".sql")) };)*

        /// All of them.
        pub const ALL: &[Question] = &[$($name),*];
    };
}

questions! {
    /// One row for each device.
    DEVICES = "devices";
    /// How many devices have each value.
    COUNTS = "counts";
    /// The silent devices.
    SILENT = "silent";
    /// Requests without an id.
    WITHOUT_ID = "without_id";
    /// The newest sighting.
    NEWEST = "newest";
    /// Devices by channel and version.
    CHANNELS = "channels";
    /// All versions.
    VERSIONS = "versions";
    /// The versions that devices of a channel have run.
    RAN = "ran";
    /// The figures of a release.
    RELEASE = "release";
    /// Its adoption curve.
    CURVE = "curve";
    /// Versions over time.
    MIX = "mix";
    /// Errors over time.
    ERRORS = "errors";
    /// All that a device told.
    STORY = "story";
    /// A device as it was last seen.
    ONE = "one";
}

impl Question {
    /// Its SQL over the tables `sightings`, `anonymous` and `devices`, with the values in place.
    pub fn sql(&self, values: &[(&str, Value<'_>)]) -> String {
        // A value may look like another's place, so all are put in at once.
        let mut rest = self.text;
        let mut sql = String::with_capacity(rest.len());
        while let Some((before, after)) = rest.split_once('{') {
            sql.push_str(before);
            let (name, after) = after.split_once('}').unwrap_or((after, ""));
            let value = values.iter().find(|value| value.0 == name);
            match value {
                Some((_, value)) => sql.push_str(&value.to_string()),
                // Not a statement, so that it cannot be taken for one.
                None => sql.push_str(&format!("{{{name}}}")),
            }
            rest = after;
        }
        sql.push_str(rest);
        sql
    }
}

/// SQL without the comment above it.
pub fn uncommented(sql: &str) -> &str {
    let comment = sql
        .split_inclusive('\n')
        .take_while(|line| line.starts_with("--"));
    sql.get(comment.map(str::len).sum::<usize>()..)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stays_a_text() {
        let hostile = "' OR {version} --";
        let sql = RELEASE.sql(&[("version", Value::Text(hostile))]);
        assert!(
            sql.contains("WHEN n.version = ''' OR {version} --'"),
            "{sql}"
        );
        assert!(!STORY.sql(&[("device", Value::Text("a"))]).contains('{'));
    }
}
