//! The SQL for Trino and Athena beside DataFusion, over the same logs: sqlglot reads it as Trino's dialect, and DuckDB runs it.

use std::io::Write as _;

use crate::common::{DAY, HOUR, Request, START, asks, fleet, line};
use crate::duck::judge;
use s3ota_fleet::cache;
use s3ota_fleet::questions::engine::Engine;
use s3ota_fleet::questions::{self, Value};
use s3ota_fleet::schema::{self, Partitions};
use s3ota_fleet::sightings::Sightings;
use s3ota_fleet::sources::text;
use serde_json::{Value as Json, json};

/// Runs the statements over the log. It is given the schema's SQL, the questions and the log, and prints the rows of each question.
const JUDGE: &str = r#"
import json, sys
import sqlglot
given = json.load(sys.stdin)
table, rest = given["schema"].split(");\n", 1)
load_lines(given["log"])
make_log_table(table)
def run(sql):
    for statement in sqlglot.transpile(sql, read="trino", write="duckdb"):
        result = db.execute(statement)
    return result
for statement in sqlglot.transpile(rest, read="trino", write="duckdb"):
    db.execute(statement)
answers = {}
for name, sql in given["questions"]:
    result = run(sql)
    heads = [it[0] for it in result.description]
    answers[name] = [{head: str(value) if value is not None else None for head, value in zip(heads, row)} for row in result.fetchall()]
json.dump(answers, sys.stdout)
"#;

fn hostile() -> Vec<Request> {
    let says = [
        "dev=a\"b fw=1.0.0 state=valid",
        "dev=q\" fw=1\" state=valid",
        "dev=h1 fw=1\"0 state=nonsense last=ok chip=<script> boot=none",
        "dev=h2 fw=1.0.0 fw=2.0.0 state=trial state=valid more=1",
        "dev=h3 fw=1.0.0 state=trial:0/3 last=Net.DNS@1.0.0",
        "dev=h4 fw=1.0.0 state=trial:255/256 last=net.dns@",
        "dev=h5 fw=1.0.0 state=back: last=ok@1.0.0@2.0.0",
        "dev=h6 fw=' state=stuck:net.dns last=net.dns",
        "  dev=h7  fw=1.0.0",
        "fw=1.0.0",
        "dev= fw=1.0.0",
        "xdev=h8 dev=h9 fw=\\1",
    ];
    let mut requests: Vec<Request> = (0..)
        .zip(says)
        .map(|(at, says)| asks(START + at, says))
        .collect();
    for (at, key) in (100..).zip([
        "stable.json",
        "lamp/releases/1.0.0.json",
        "lamp/history/stable/1.json",
        "lamp/-x.json",
        "lamp/beta.json?x",
    ]) {
        let mut request = asks(START + at, "dev=keys fw=1.0.0");
        request.key = key;
        requests.push(request);
    }
    requests.push(Request {
        at: START + 200,
        key: "lamp/stable.json",
        agent: "s3ota/".to_owned(),
    });
    requests.push(asks(
        START + 201,
        &format!("dev={} fw=1.0.0", "x".repeat(65)),
    ));
    requests
}

#[tokio::test]
#[ignore = "needs DuckDB and sqlglot: pip install duckdb sqlglot"]
async fn both_dialects_have_the_same_answers() {
    let log: String = fleet().iter().chain(&hostile()).map(line).collect();
    let mut seen = Sightings::default();
    text::stream(log.as_bytes(), &mut seen).unwrap();
    let rows = cache::batches(&seen).unwrap();
    let engine = Engine::over_rows(rows, cache::anonymous_batch(&seen).unwrap()).unwrap();
    engine.as_of(None).await.unwrap();

    let values = [
        ("at", Value::Number((START + 19 * DAY + 20 * HOUR).into())),
        ("silent_after", Value::Number((7 * DAY).into())),
        ("limit", Value::Number(20)),
        ("version", Value::Text("1.2.0")),
        ("since", Value::Number((START + 9 * DAY).into())),
        ("device", Value::Text("d05")),
        ("channel", Value::Text("stable")),
    ];
    let partitions = Partitions {
        location: "s3://my-logs/".into(),
        account: "1".into(),
        region: "eu-central-1".into(),
        bucket: "my-bucket".into(),
    };
    let asked: Vec<(&str, String)> = questions::ALL
        .iter()
        .map(|it| (it.name, it.sql(&values)))
        .collect();
    let given =
        json!({ "schema": schema::sql(&partitions, false), "questions": asked, "log": log });
    let theirs = judged(&given);
    for question in questions::ALL {
        let ours = engine.ask(*question, &values).await.unwrap();
        let mut wanted: Vec<Json> = (0..ours.len()).map(|_| json!({})).collect();
        for field in ours.0.schema().fields() {
            let numbers = ours
                .numbers(field.name())
                .ok()
                .filter(|_| field.data_type().is_numeric());
            let texts = ours.texts(field.name()).unwrap();
            for (at, (row, text)) in wanted.iter_mut().zip(texts).enumerate() {
                row[field.name()] = match &numbers {
                    Some(numbers) => numbers[at].map_or(Json::Null, |it| json!(it.to_string())),
                    None => json!(text),
                };
            }
        }
        let mut theirs = theirs[question.name].as_array().unwrap().clone();
        // What counts for a reduced story: how often the same was seen does not.
        for rows in [&mut wanted, &mut theirs] {
            rows.sort_by_key(Json::to_string);
        }
        assert!(!wanted.is_empty(), "{}", question.name);
        match question.name {
            // Every request is told there, and here the first and the last of a day that say the same.
            "story" => assert!(wanted.iter().all(|row| theirs.contains(row))),
            name => assert_eq!(wanted, theirs, "{name}"),
        }
    }
}

fn judged(given: &Json) -> Json {
    let mut python = judge(JUDGE);
    python
        .stdin
        .take()
        .unwrap()
        .write_all(given.to_string().as_bytes())
        .unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}
