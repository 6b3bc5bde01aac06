//! `s3ota.toml` is found from any folder below it.

use std::process::Command;

use crate::bucket::*;
use s3ota_devserver::Access;

/// A command in a folder of the bench.
fn command(bench: &Bench, folder: &str, args: &[&str]) -> Command {
    let mut command = bench.command();
    command
        .args(args)
        .current_dir(bench.dir.path().join(folder));
    command.env_remove("COLUMNS");
    command
}

fn run(bench: &Bench, folder: &str, args: &[&str]) -> Run {
    Run::of(
        command(bench, folder, &[&["--json"], args].concat())
            .output()
            .unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_counts_in_the_folders_below_it_and_its_paths_are_its_own() {
    let bench = Bench::new(Access::PublicRead).await;
    std::fs::create_dir_all(bench.path("project/firmware/src")).unwrap();
    std::fs::create_dir_all(bench.path("project/keys")).unwrap();
    let image = bench.image("1.0.0");
    run(
        &bench,
        "project/keys",
        &["keygen", "release.key", "--no-passphrase"],
    )
    .succeeded();
    let file = bench.path("project/s3ota.toml");
    std::fs::write(
        &file,
        "location = 's3://firmware/lamp'\nkey = 'keys/release.key'\n",
    )
    .unwrap();
    let below = "project/firmware/src";
    // It may be someone else's there as well.
    let publish = ["publish", &image];
    assert_eq!(run(&bench, below, &publish).usage_error(), "cli.untrusted");
    let approved = run(&bench, "project/firmware", &["trust"]);
    let claimed = approved.succeeded()["file"].as_str().unwrap().to_owned();
    assert!(claimed.ends_with("project/s3ota.toml"), "{claimed}");
    for folder in [below, "project/firmware", "project"] {
        let run = run(&bench, folder, &publish);
        assert!(
            run.published()["keyid"].is_string(),
            "{folder}: {:?}",
            run.events
        );
    }
    // The public half beside the key is found as well.
    let status = run(&bench, below, &["status"]);
    assert_eq!(status.all("channel")[0]["signature"], "verified");
    let home = run(&bench, below, &[]);
    let home = home.all("home")[0].clone();
    assert_eq!(
        (&home["from"], &home["location"]),
        (&"s3ota.toml".into(), &"s3://firmware/lamp".into())
    );
    assert!(
        home["file"]
            .as_str()
            .unwrap()
            .ends_with("project/s3ota.toml"),
        "{home}"
    );

    // Which file it was is in the log, and in errors.
    let output = command(&bench, below, &["list", "-v"]).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(
        log.contains("settings from ") && log.contains("project/s3ota.toml"),
        "{log}"
    );
    std::fs::write(&file, "locaton = 's3://firmware/lamp'").unwrap();
    let wrong = run(&bench, below, &["list"]);
    assert_eq!(wrong.usage_error(), "cli.config");
    let message = wrong.events[0]["message"].as_str().unwrap();
    assert!(
        message.contains("project/s3ota.toml") && message.contains("locaton"),
        "{message}"
    );

    // A nearer file counts more, and a repository of its own has no business with what is above it.
    std::fs::write(
        bench.path("project/firmware/s3ota.toml"),
        "location = 's3://firmware/other'",
    )
    .unwrap();
    assert_eq!(
        run(&bench, below, &[]).all("home")[0]["location"],
        "s3://firmware/other"
    );
    std::fs::create_dir(bench.path("project/firmware/src/.git")).unwrap();
    assert!(run(&bench, below, &[]).all("home")[0]["location"].is_null());
    let nothing = run(&bench, below, &["trust"]);
    assert_eq!(nothing.error(), "cli.config");
}
