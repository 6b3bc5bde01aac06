//! `--athena` beside the engine in the program, over the same logs. The API is moto's, and DuckDB runs what it is asked.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command};

use crate::common::{Request, START, asks, fleet, line};
use crate::duck::judge;
use s3ota_fleet::sightings::DAY;
use serde_json::{Value, json};

/// Serves S3 and Athena. It is given the logs by day, prints its port, and at the end what was asked and which tables are left.
const JUDGE: &str = r#"
import json, logging, re, sys
import boto3, sqlglot
from moto.server import ThreadedMotoServer
from moto.athena import models

given = json.loads(sys.stdin.readline())
asked = []

def trino(sql):
    (statement,) = sqlglot.transpile(sql, read="trino", write="duckdb")
    return db.execute(statement)

def answer(sql):
    made = re.match(r"CREATE TABLE (\w+) WITH \(format = 'PARQUET'\) AS\n(.*)", sql, re.S)
    if sql.startswith("CREATE DATABASE"):
        return [], []
    if sql.startswith("CREATE EXTERNAL TABLE"):
        make_log_table(sql)
        return [], []
    if made:
        trino(f"CREATE TABLE {made.group(1)} AS {made.group(2)}")
        return [], []
    if sql.startswith("DROP"):
        db.execute(sql.replace("`", '"'))
        return [], []
    result = trino(sql)
    return [(it[0], str(it[1]).lower()) for it in result.description], result.fetchall()

start = models.AthenaBackend.start_query_execution
def run(self, query, context, config, **further):
    id = start(self, query=query, context=context, config=config, **further)
    asked.append([query, (context or {}).get("Database"), (config or {}).get("OutputLocation")])
    columns, rows = answer(query)
    cell = lambda it: {} if it is None else {"VarCharValue": str(it)}
    self.query_results[id] = models.QueryResults(
        rows=[{"Data": [cell(it) for it in row]} for row in [[name for name, _ in columns], *rows]],
        column_info=[{"Name": name, "Type": "bigint" if "int" in kind or "number" in kind else "varchar"} for name, kind in columns])
    return id
models.AthenaBackend.start_query_execution = run

logging.getLogger("werkzeug").setLevel("ERROR")
server = ThreadedMotoServer(port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
s3 = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
s3.create_bucket(Bucket="my-logs")
for day, text in given.items():
    s3.put_object(Bucket="my-logs", Key=f"lamp/123456789012/us-east-1/my-bucket/{day}/log", Body=text.encode())
    load_lines(text)
print(f"http://{host}:{port}", flush=True)
sys.stdin.read()
print(json.dumps({"asked": asked, "tables": [it[0] for it in db.execute("SHOW TABLES").fetchall()]}), flush=True)
server.stop()
"#;

struct Judge {
    python: Child,
    output: BufReader<std::process::ChildStdout>,
    url: String,
}

impl Judge {
    fn start(logs: &Value) -> Self {
        let mut python = judge(JUDGE);
        writeln!(python.stdin.as_mut().unwrap(), "{logs}").unwrap();
        let mut output = BufReader::new(python.stdout.take().unwrap());
        let mut url = String::new();
        output.read_line(&mut url).unwrap();
        Self {
            python,
            output,
            url: url.trim().to_owned(),
        }
    }

    /// What it was asked, and which tables it has.
    fn end(mut self) -> Value {
        drop(self.python.stdin.take());
        let mut told = String::new();
        self.output.read_line(&mut told).unwrap();
        self.python.wait().unwrap();
        serde_json::from_str(&told).unwrap()
    }

    fn ask(&self, dir: &Path, args: &[&str]) -> Value {
        let output = Command::new(env!("CARGO_BIN_EXE_s3ota-fleet"))
            .args(args)
            .arg("--json")
            .env("AWS_ACCESS_KEY_ID", "a")
            .env("AWS_SECRET_ACCESS_KEY", "b")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ENDPOINT_URL", &self.url)
            .env("AWS_CONFIG_FILE", dir.join("none"))
            .env("AWS_SHARED_CREDENTIALS_FILE", dir.join("none"))
            .env("XDG_CACHE_HOME", dir)
            .env("NO_PROXY", "127.0.0.1,0.0.0.0")
            .env_remove("AWS_PROFILE")
            .env_remove("AWS_CA_BUNDLE")
            .env_remove("S3OTA_LOGS")
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{args:?}: {output:?}"))
    }
}

fn day_of(request: &Request) -> String {
    let day = s3ota_fleet::sources::time::written(request.at);
    day[..10].replace('-', "/")
}

#[test]
#[ignore = "needs moto, DuckDB and sqlglot: pip install 'moto[server]' boto3 duckdb sqlglot"]
fn athena_has_the_answers_of_the_engine_in_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let mut requests = fleet();
    requests.push(asks(START + 5, "dev=a\"b fw=1.0.0 state=valid"));
    requests.push(asks(START + 6, "fw=1.0.0"));
    let mut logs = json!({});
    for request in &requests {
        let day = day_of(request);
        let text = logs[&day].as_str().unwrap_or_default().to_owned() + &line(request);
        let path = dir.path().join("logs").join(&day);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("log"), &text).unwrap();
        logs[&day] = text.into();
    }
    let here = dir.path().join("logs");
    let here = here.to_str().unwrap();
    let judge = Judge::start(&logs);
    let there = "s3://my-logs/lamp/";
    let end = s3ota_fleet::sources::time::written(START + 10 * DAY);
    let questions: &[&[&str]] = &[
        &["status"],
        &["status", "--at", &end],
        &["rollout", "1.2.0"],
        &["rollout"],
        &["mix"],
        &["errors"],
        &["device", "d05"],
    ];
    for question in questions {
        let asked = |logs: &str, more: &[&str]| {
            judge.ask(
                dir.path(),
                &[question, &["--logs", logs][..], more].concat(),
            )
        };
        let wanted = asked(here, &[]);
        assert!(wanted["event"] != "error", "{wanted}");
        let results = ["--athena=lamps", "--results", "s3://my-results/x/"];
        assert_eq!(asked(there, &results), wanted, "{question:?}");
    }
    let missing = judge.ask(
        dir.path(),
        &["device", "nobody", "--logs", there, "--athena"],
    );
    assert_eq!(missing["code"], "fleet.device");
    let nothing = judge.ask(
        dir.path(),
        &["status", "--logs", "s3://my-logs/other/", "--athena"],
    );
    assert_eq!(nothing["code"], "logs.partitions");

    let told = judge.end();
    let asked: Vec<_> = told["asked"].as_array().unwrap().iter().collect();
    let logs_are_read = |it: &&&Value| {
        let sql = it[0].as_str().unwrap();
        sql.contains("FROM s3_access_logs_")
    };
    // Athena takes money for what is read: that is the logs once for each run.
    assert_eq!(
        asked.iter().filter(logs_are_read).count(),
        questions.len() + 1
    );
    assert!(asked[0][1].is_null() && asked[1][1] == "lamps", "{asked:?}");
    assert!(
        asked[0][2]
            .as_str()
            .unwrap()
            .starts_with("s3://my-results/x/")
    );
    let tables: Vec<_> = told["tables"].as_array().unwrap().iter().collect();
    assert_eq!(tables.len(), 2, "{tables:?}");
    assert!(
        tables
            .iter()
            .all(|it| !it.as_str().unwrap().contains("run")),
        "{tables:?}"
    );
}
