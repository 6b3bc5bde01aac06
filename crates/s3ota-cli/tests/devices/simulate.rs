//! `s3ota simulate`: the model with its files, and a crowd that is real.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use s3ota_devserver::Access;
use serde_json::Value;

use crate::bucket::Bench;

fn simulate(args: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_s3ota"));
    command.arg("simulate").args(args).current_dir(dir);
    command.output().unwrap()
}

/// The last event of a run that went well.
fn event(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

#[test]
fn a_fleet_leaves_its_logs_and_the_truth() {
    let dir = tempfile::tempdir().unwrap();
    let args = [
        "--devices",
        "60",
        "--days",
        "10",
        "--end",
        "2026-11-29T00:00:00Z",
        "--json",
    ];
    let told = event(&simulate(&args, dir.path()));
    assert_eq!(
        (&told["event"], &told["devices"]),
        (&"simulated".into(), &60.into())
    );
    let truth = std::fs::read(dir.path().join("s3ota-fleet/truth.json")).unwrap();
    let truth: Value = serde_json::from_slice(&truth).unwrap();
    assert_eq!(truth["status"], told["status"]);
    for question in ["at", "rollouts", "mix", "errors", "devices"] {
        assert!(!truth[question].is_null(), "{question}");
    }
    let day = "s3ota-fleet/logs/111122223333/us-east-1/example-firmware/2026/11/20";
    let objects = std::fs::read_dir(dir.path().join(day)).unwrap();
    assert!(objects.count() > 10);
    assert!(told["files"]["lines"].as_u64() >= told["requests"].as_u64());
    assert!(told["month"]["total"].as_f64() > Some(0.0));
    let every: Vec<_> = told["intervals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["every"])
        .collect();
    assert_eq!(every, [3600, 21_600, 86_400]);

    // What is there stays as it is.
    let again = simulate(&args, dir.path());
    let text = String::from_utf8_lossy(&again.stdout);
    assert!(
        !again.status.success() && text.contains("simulate.exists"),
        "{text}"
    );
}

#[test]
fn a_plan_writes_nothing_and_fits_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    for width in ["40", "80", "200"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_s3ota"));
        let command = command.args([
            "simulate",
            "--plan",
            "--devices",
            "300",
            "--days",
            "30",
            "--every",
            "2h",
        ]);
        let output = command
            .env("COLUMNS", width)
            .current_dir(dir.path())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        let width: usize = width.parse().unwrap();
        for line in text.lines() {
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
        assert!(
            text.contains("99 %") && text.contains('█') == (width > 40),
            "{text}"
        );
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_crowd_downloads_and_updates_itself() {
    let dir = tempfile::tempdir().unwrap();
    let args = [
        "--real",
        "--devices",
        "12",
        "--at-once",
        "5",
        "--first",
        "1s",
        "--json",
    ];
    let told = event(&simulate(&args, dir.path()));
    assert_eq!((&told["updated"], &told["failed"]), (&12.into(), &0.into()));
    let sum = |name: &str| {
        let counts = told[name].as_array().unwrap().iter();
        counts.map(|count| count.as_u64().unwrap()).sum::<u64>()
    };
    for name in ["due", "asked", "installed", "confirmed"] {
        assert_eq!(sum(name), 12, "{name}");
    }
    // Of the new image, otadata, and hardly more.
    let own = told["own_flash"].as_u64().unwrap() / 12;
    assert!((100_000..140_000).contains(&own), "{own}");
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_decide_on_what_a_bucket_serves() {
    let bench = Bench::new(Access::PublicRead).await;
    let output = bench.path("fleet");
    let place = "s3://firmware/try".to_owned();
    let args = [
        "simulate",
        "--bucket",
        &place,
        "--devices",
        "200",
        "--days",
        "15",
        "--image-size",
        "80000",
        "--output",
        &output,
    ];
    let run = bench.s3ota(&args);
    let versions = &run.succeeded()["status"]["versions"];
    assert!(versions["1.2.1"].as_u64() > Some(100), "{versions}");

    // What was published is there, step by step.
    for product in ["lamp-c3", "lamp-s3"] {
        let manifest = bench.manifest(&format!("try/{product}/stable.json")).await;
        assert_eq!(manifest.version, "1.3.0");
        assert_eq!(manifest.rollout.unwrap().to_string(), "25");
        let place = format!("{place}/{product}");
        let history = bench.s3ota(&["history", &place]);
        let actions: Vec<_> = history
            .all("change")
            .iter()
            .map(|it| it["action"].clone())
            .collect();
        assert_eq!(
            actions.iter().filter(|it| *it == "yank").count(),
            1,
            "{actions:?}"
        );
    }

    // What devices fetched lies in the bucket, and is so large.
    let sizes: BTreeMap<String, usize> = bench
        .objects()
        .await
        .into_iter()
        .map(|(key, bytes)| (key, bytes.len()))
        .collect();
    let mut fetched = BTreeSet::new();
    for file in files(Path::new(&output).join("logs")) {
        for line in fs::read_to_string(file).unwrap().lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            assert_eq!(fields[1], "firmware");
            let (key, status, size) = (fields[8], fields[12], fields[15]);
            if fields[7] == "REST.GET.OBJECT"
                && key.contains("/images/")
                && ["200", "206"].contains(&status)
            {
                assert_eq!(sizes[key].to_string(), size, "{line}");
                fetched.insert(key.to_owned());
            }
        }
    }
    assert!(
        fetched.iter().any(|key| key.ends_with(".delta")) && fetched.len() > 10,
        "{fetched:?}"
    );

    // It is not mixed up with what is there.
    let again = bench.path("again");
    let args = [
        "simulate",
        "--bucket",
        &place,
        "--devices",
        "2",
        "--output",
        &again,
    ];
    // And a failure leaves nothing that is in the way of the next attempt: it is the bucket that refuses again.
    for _ in 0..2 {
        let refused = bench.s3ota(&args);
        assert_eq!(refused.error(), "simulate.exists");
        let message = refused.events.last().unwrap()["message"].to_string();
        assert!(message.contains("s3://firmware/try is in use"), "{message}");
    }
}

/// All files below a folder.
fn files(folder: PathBuf) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    files
}
