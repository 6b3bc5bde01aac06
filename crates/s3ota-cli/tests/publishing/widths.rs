//! Tables and help fit the terminal, from 40 columns on.

use std::collections::BTreeSet;
use std::process::Command;

use s3ota_devserver::Access;
use s3ota_image::Chip;
use s3ota_image::app::ImageBuilder;
use sha2::{Digest, Sha256};
use unicode_width::UnicodeWidthStr;

use crate::bucket::*;

const WIDTHS: [usize; 4] = [40, 60, 80, 200];

/// What a command prints on a terminal so wide.
fn shown(bench: &Bench, args: &[&str], width: usize) -> String {
    let mut command = bench.command();
    command.env("COLUMNS", width.to_string());
    command.current_dir(bench.dir.path());
    let output = command.args(args).output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// No line is wider than the terminal, but for URLs and commands, which stay in one piece.
fn assert_fits(what: &str, text: &str, width: usize) {
    for line in text.lines() {
        let is_whole = line.contains("://") || line.matches('`').count() >= 2;
        assert!(
            line.width() <= width || is_whole,
            "{what} at {width} columns: {line:?} in\n{text}"
        );
        assert!(!line.ends_with(' '), "{what} at {width} columns: {line:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_fits_the_terminal() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.key("release");
    let signed = ["--key", "release.key"];
    let notes = "fixes the Wi-Fi that was lost after a day, 日本語のノート, and a_word_that_is_longer_than_any_column_of_it";
    let described = "1.10.0-rc.1-9-gabc1234";
    for (version, channel) in [
        ("1.9.0", "stable"),
        (described, "a-channel-with-a-long-name"),
    ] {
        let image = bench.image(version);
        let more = [
            "--channel",
            channel,
            "--notes",
            notes,
            "--by",
            "名前 of someone",
        ];
        bench
            .publish(image.as_ref(), &[&signed[..], &more].concat())
            .published();
    }
    bench.release("1.8.0", "old");
    bench.s3ota(&[
        "yank",
        "s3://firmware/lamp",
        "1.8.0",
        "--reason",
        notes,
        "--unsigned",
    ]);
    let image = bench.image("1.9.0");
    bench.new_device("flash.bin", image.as_ref());
    let (place, release) = ("s3://firmware/lamp", "release.key.pub");
    // Each command, and what it shows at every width.
    for (args, always) in [
        (&["status", place][..], &["stable", "1.9.0", "CHANNEL"][..]),
        (&["status", place, "--release-key", release], &["1.9.0"]),
        (&["list", place], &["1.8.0", "(yanked)", "stable"]),
        (&["list", place, "--limit", "1"], &["2 lower versions"]),
        (&["history", place], &["publish", "1.9.0", "yanked"]),
        (
            &["diff", place, "1.8.0", "stable"],
            &["1.8.0", "yanked", "sha256"],
        ),
        (&["gc", place, "--keep", "1", "--grace", "1s"], &["need"]),
        (&["state", "show"], &["stable", "1.9.0"]),
        (
            &["inspect", "flash.bin"],
            &["ota_0", "boots: ota_0", "1.9.0"],
        ),
        (&["inspect", &image], &["sha256", "1.9.0"]),
        (
            &["verify", place, "--release-key", release],
            &["sha256", "a device would take it"],
        ),
        (
            &["doctor", place, "--release-key", release],
            &["✓", "it releases 1.9.0"],
        ),
        (&["bucket", "init", place, "--dry-run"], &["ok ", "to do "]),
        (
            &[
                "publish",
                &image,
                place,
                "--dry-run",
                "--unsigned",
                "--same-image",
            ],
            &["image     s3://", "exists already"],
        ),
        (&[], &["s3ota demo", "s3ota.toml"]),
    ] {
        for width in WIDTHS {
            let text = shown(&bench, args, width);
            let what = format!("{args:?}");
            assert_fits(&what, &text, width);
            for part in always {
                assert!(
                    text.contains(part),
                    "{what} at {width} columns: no {part} in\n{text}"
                );
            }
            let has_room = !text.contains("no room for");
            assert!(has_room || width < 200, "{what}: {text}");
        }
    }
    // Nothing of a text is cut off, however it wraps.
    let wide = shown(&bench, &["history", place], 200);
    let narrow = shown(&bench, &["history", place], 140);
    for text in [wide, narrow] {
        let squeezed: String = text.split_whitespace().collect();
        assert!(
            !text.contains('…') && squeezed.contains("日本語のノート"),
            "{text}"
        );
    }
    // Elsewhere than on a terminal, a row is a line.
    let mut command = bench.command();
    let output = command
        .args(["history", place])
        .env_remove("COLUMNS")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().any(|line| line.contains(notes)), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_room_is_named() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.release("1.0.0", "stable");
    let text = shown(&bench, &["status", "s3://firmware/lamp"], 40);
    assert!(
        text.contains("(no room for: ") && text.contains("--json has"),
        "{text}"
    );
    // A hash is shortened before anything wraps.
    bench.release("1.1.0", "beta");
    let text = shown(
        &bench,
        &["diff", "s3://firmware/lamp", "stable", "beta"],
        60,
    );
    let image = ImageBuilder::new(Chip::Esp32C3, "1.0.0").project_name("lamp");
    let sha256 = Sha256::digest(image.payload(b"1.0.0").build());
    let start: String = sha256[..6]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert!(text.contains(&format!("{start}…")), "{text}");
}

/// All commands, as the manual pages name them.
fn commands() -> Vec<Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_str().unwrap();
    assert!(
        s3ota()
            .args(["man", "--dir", folder])
            .status()
            .unwrap()
            .success()
    );
    let pages = std::fs::read_dir(&dir).unwrap();
    let name =
        |page: std::io::Result<std::fs::DirEntry>| page.unwrap().file_name().into_string().unwrap();
    // That of `fleet` is another program's.
    let ours = |name: &String| !name.contains("help") && name != "s3ota-fleet.1";
    let names = pages.map(name).filter(ours);
    let words = |name: String| {
        let words = name.trim_end_matches(".1").split('-').skip(1);
        words.map(str::to_owned).collect()
    };
    let commands: Vec<Vec<String>> = names.map(words).collect();
    assert!(commands.len() > 25, "{commands:?}");
    commands
}

fn help(command: &[String], flag: &str, width: usize, environment: &[(&str, &str)]) -> String {
    let mut run: Command = s3ota();
    for name in ["AWS_CA_BUNDLE", "AWS_ENDPOINT_URL", "S3OTA_KEY", "S3OTA_BY"] {
        run.env_remove(name);
    }
    let run = run
        .args(command)
        .arg(flag)
        .env("COLUMNS", width.to_string());
    let output = run.envs(environment.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The examples, as a shell reads them.
fn examples(help: &str) -> BTreeSet<String> {
    let lines = help.split_once("Examples:\n").map_or("", |(_, rest)| rest);
    let joined = lines.replace("\\\n", " ");
    let joined = joined.lines().take_while(|line| line.starts_with("  "));
    joined
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

#[test]
fn every_help_fits_the_terminal_and_its_examples_can_be_pasted() {
    let mut seen = 0;
    for command in commands() {
        let wide = examples(&help(&command, "--help", 200, &[]));
        seen += wide.len();
        for width in WIDTHS {
            for flag in ["-h", "--help"] {
                let text = help(&command, flag, width, &[]);
                for line in text.lines() {
                    // A single word does not break.
                    let word = line.trim().trim_end_matches(" \\");
                    assert!(
                        line.width() <= width || !word.contains(' '),
                        "{command:?} {flag} at {width} columns: {line:?}"
                    );
                }
                assert_eq!(
                    examples(&text),
                    wide,
                    "{command:?} {flag} at {width} columns"
                );
            }
        }
    }
    assert!(seen > 50, "{seen} examples");
    // What an option or a command does is not squeezed into a column of a word.
    let text = help(&[], "-h", 40, &[]);
    assert!(text.lines().any(|line| line.trim() == "publish"), "{text}");
}

#[test]
fn what_the_environment_sets_changes_no_help_and_no_usage() {
    let environment = [
        (
            "AWS_CA_BUNDLE",
            "/a/path/that/is/longer/than/forty/columns/of/a/terminal.pem",
        ),
        ("AWS_ENDPOINT_URL", "https://user:password@localhost:9443"),
        ("S3OTA_KEY", "release.key"),
        ("S3OTA_BY", "zoe"),
    ];
    for command in commands() {
        let plain = help(&command, "--help", 40, &[]);
        assert_eq!(
            help(&command, "--help", 40, &environment),
            plain,
            "{command:?}"
        );
    }
    let mut run = s3ota();
    let dir = tempfile::tempdir().unwrap();
    let run = run
        .arg("publish")
        .envs(environment)
        .env_remove("S3OTA_LOCATION");
    let output = run.current_dir(&dir).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("publish [OPTIONS] <FIRMWARE> <s3://BUCKET/PREFIX>"),
        "{text}"
    );
}

#[test]
fn a_missing_location_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let mut command = s3ota();
        let command = command
            .args(args)
            .env_remove("S3OTA_LOCATION")
            .current_dir(&dir);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    for args in [
        &["publish"][..],
        &["publish", "lamp.bin"],
        &["status"],
        &["yank", "1.2.0"],
        &["promote", "beta", "stable"],
        &["rollout", "5%"],
        &["diff", "1.0.0", "1.1.0"],
        &["presign"],
        &["doctor"],
        &["verify", "--unsigned"],
        &["sign"],
        &["bucket", "init"],
    ] {
        let text = run(args);
        for part in ["s3ota.toml", "S3OTA_LOCATION"] {
            assert!(text.contains(part), "{args:?}: {text}");
        }
    }
    // What is missing here is something else.
    for args in [
        &["yank", "s3://firmware/lamp"][..],
        &["verify", "https://localhost/stable.json"],
        &["inspect"],
    ] {
        let text = run(args);
        assert!(!text.contains("S3OTA_LOCATION"), "{args:?}: {text}");
    }
}
