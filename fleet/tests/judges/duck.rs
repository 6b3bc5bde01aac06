//! DuckDB in the place of Athena and Trino, run by Python.

use std::process::{Child, Command, Stdio};

/// What the judges share: `load_lines` takes a log, and `make_log_table` makes the table over its lines that the DDL for Athena describes.
const LOG_TABLE: &str = r#"
import re
import duckdb

db = duckdb.connect()
db.execute("CREATE TABLE lines (line VARCHAR)")

def load_lines(log):
    for line in log.split("\n"):
        db.execute("INSERT INTO lines VALUES (?)", [line])

def make_log_table(ddl):
    name = re.search(r"CREATE EXTERNAL TABLE IF NOT EXISTS (\w+)", ddl).group(1)
    columns = re.search(r"\((.*?)\)\nPARTITIONED", ddl, re.S).group(1)
    names = [it.split()[0] for it in columns.split(",")]
    # All of a line, as the RegexSerDe matches it.
    pattern = "^" + re.search(r"'input.regex' = '(.*?)'\n", ddl).group(1).replace("\\\\", "\\") + "$"
    fields = ", ".join(f"f['{it}'] AS {it}" for it in names)
    db.execute(f"CREATE TABLE IF NOT EXISTS {name} AS SELECT {fields} FROM (SELECT regexp_extract(line, ?, ?) AS f FROM lines "
        "WHERE regexp_full_match(line, ?))", [pattern, names, pattern])
"#;

/// Starts a judge, which is given its case and answers by pipes.
pub fn judge(program: &str) -> Child {
    Command::new("python3")
        .arg("-c")
        .arg([LOG_TABLE, program].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}
