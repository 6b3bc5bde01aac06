//! A terminal shows what a bucket or a server says, and does not obey it.
//!
//! Every text in the bucket contains commands for terminals. Every command that reads the bucket is run on it, for people, for
//! programs, and with all its logs, and nothing that it prints is a command.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Output;

use crate::bucket::*;
use s3ota_devserver::Access;
use s3ota_image::Chip;
use s3ota_image::app::ImageBuilder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Renames the window, colours, clears the screen by C1, writes over the line, and turns the direction of what follows.
const HOSTILE: &str = "\u{1b}]0;owned\u{7}\u{1b}[31m\u{9b}2J\u{8}\r\u{202e}\u{2066}\u{200b}\u{2028}\u{7f}\u{85}\nerror: x";

/// The same for the 32 bytes that an image has for a name.
const SHORT: &str = "\u{1b}]0;o\u{7}\u{9b}2J\r\u{202e}\u{200b}";

/// The rest of an output that a terminal would obey. Line breaks are the command's own; colours are, where it is told to
/// use them.
fn obeyed(text: &str, with_colours: bool) -> Option<char> {
    let mut rest = text.to_owned();
    if with_colours {
        for colour in ["0", "1", "2", "4", "31", "32", "33", "36"] {
            rest = rest.replace(&format!("\u{1b}[{colour}m"), "");
        }
    }
    rest.chars().find(|&c| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    })
}

/// Checks both outputs of a run; how often it shows what it does not obey.
fn check(what: &str, output: &Output, with_colours: bool) -> usize {
    let mut shown = 0;
    for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        let text = std::str::from_utf8(bytes).unwrap();
        assert_eq!(obeyed(text, with_colours), None, "{what}: {name}: {text:?}");
        // No text of the bucket's can begin a line.
        assert!(
            !text.lines().any(|line| line == "error: x"),
            "{what}: {name}: {text}"
        );
        shown += usize::from(
            ["\\u{1b}", "\\u001b", "\\u{9b}", "\\u009b"]
                .iter()
                .any(|escape| text.contains(escape)),
        );
    }
    shown
}

/// Runs a command for people, coloured, for programs, and with all its logs.
fn run(bench: &Bench, args: &[&str]) -> usize {
    let what = format!("{args:?}");
    let run = |more: &[&str], colours: bool| {
        let mut command = bench.command();
        command
            .args(args)
            .args(more)
            .env("S3OTA_STATE", bench.path("state"))
            .current_dir(bench.dir.path());
        if colours {
            command.env("CLICOLOR_FORCE", "1");
        }
        command.output().unwrap()
    };
    let programs = run(&["--json"], false);
    for line in std::str::from_utf8(&programs.stdout).unwrap().lines() {
        serde_json::from_str::<Value>(line)
            .unwrap_or_else(|error| panic!("{what}: {error}: {line}"));
    }
    check(&what, &run(&[], false), false)
        + check(&what, &run(&[], true), true)
        + check(&what, &programs, false)
        + check(&what, &run(&["-vv"], false), false)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_prints_what_a_terminal_would_obey() {
    let bench = Bench::new(Access::PublicRead).await;
    let url = |path: &str| format!("{}/firmware/{path}", bench.server.endpoint_url());
    let hostile_image = ImageBuilder::new(Chip::Esp32C3, SHORT)
        .project_name(SHORT)
        .build();
    let sha256: String = Sha256::digest(&hostile_image)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    std::fs::write(bench.path("hostile.bin"), &hostile_image).unwrap();
    let good = bench.firmware(Chip::Esp32C3, "1.0.0", b"");
    bench.publish(&good, &[]).published();
    // Every field that may be a text is one, and what makes a manifest a manifest is as it must be, to get further.
    let image_key = format!("lamp/images/1.0.0-{}.bin", &sha256[..12]);
    let manifest = |version: &str| {
        let mut fields = json!({
            "version": version, "url": url(&image_key), "size": hostile_image.len(), "sha256": sha256,
        });
        for field in [
            "notes", "uploader", "action", "from", "since", "date", "chip", "board", "project",
            "channel", "also",
        ] {
            fields[field] = HOSTILE.into();
        }
        fields["signature"] = json!({ "keyid": HOSTILE, "sig": "AAAA" });
        fields.to_string()
    };
    // Some readers are stricter than others: this one has what even they take.
    let mild = json!({
        "version": "1.0.0", "url": url(&image_key), "size": hostile_image.len(), "sha256": sha256, "chip": "esp32c3",
        "notes": HOSTILE, "uploader": HOSTILE, "action": HOSTILE, "from": HOSTILE, "date": HOSTILE, "since": HOSTILE,
    });
    let yank = json!({ "version": "0.9.0", "by": HOSTILE, "reason": HOSTILE, "date": HOSTILE });
    for (key, bytes) in [
        ("lamp/stable.json", mild.to_string()),
        ("lamp/beta.json", manifest("1.0.0")),
        ("lamp/gamma.json", manifest(HOSTILE)),
        ("lamp/\u{202e}\u{9b}2Jname.json", manifest("1.0.0")),
        ("lamp/releases/1.0.0.json", mild.to_string()),
        ("lamp/releases/1.1.0.json", manifest("1.1.0")),
        ("lamp/releases/\u{202e}\u{9b}2J.json", manifest("1.1.0")),
        ("lamp/history/stable/17.json", mild.to_string()),
        ("lamp/history/\u{202e}\u{9b}2J/17.json", manifest("1.0.0")),
        ("lamp/yanked/0.9.0.json", yank.to_string()),
        ("lamp/yanked/\u{202e}\u{9b}2J.json", yank.to_string()),
        ("lamp/images/\u{202e}\u{9b}2J.bin", "x".to_owned()),
    ] {
        bench.write(key, bytes).await;
    }
    bench.write(&image_key, hostile_image.clone()).await;
    bench.write("lamp/images/1.0.0-x.bin", "x").await;
    bench.key("release");
    bench.new_device("flash.bin", &good);
    std::fs::write(bench.path("hostile.json"), manifest("1.2.0")).unwrap();
    std::fs::write(bench.path("mild.json"), mild.to_string()).unwrap();
    let older = ImageBuilder::new(Chip::Esp32C3, "0.9.0").project_name("lamp");
    std::fs::write(bench.path("older.bin"), older.build()).unwrap();

    let place = "s3://firmware/lamp";
    let ca = bench.ca();
    let stable = url("lamp/stable.json");
    let beta = url("lamp/beta.json");
    let device = [
        "device",
        "run",
        "flash.bin",
        "--once",
        "--attempts",
        "1",
        "--ca",
        ca,
    ];
    let with = |more: &[&'static str]| [&device[..], more].concat();
    let mut shown = 0;
    for args in [
        &["status", place][..],
        &["status", place, "--release-key", "release.key.pub"],
        &["list", place],
        &["history", place],
        &["history", place, "--channel", "stable"],
        &["diff", "stable", "beta", place],
        &["diff", "1.0.0", "1.1.0", place],
        &["diff", "gamma", "stable", place],
        &["gc", place, "--dry-run"],
        &["presign", place, "--channel", "beta"],
        &["promote", "beta", "stable", place, "--dry-run"],
        &["promote", "gamma", "stable", place, "--dry-run"],
        &["promote", HOSTILE, "stable", place, "--dry-run"],
        &["rollout", "5%", place, "--dry-run"],
        &["rollout", "5%", place, "--dry-run", "--key", "release.key"],
        &["yank", "1.0.0", place, "--dry-run"],
        &["publish", "older.bin", place, "--dry-run"],
        &["publish", "hostile.bin", place, "--dry-run"],
        &[
            "publish",
            "hostile.bin",
            place,
            "--version",
            "3.0.0",
            "--notes",
            HOSTILE,
        ],
        &["inspect", "hostile.bin"],
        &["verify", "hostile.json", "--unsigned"],
        &[
            "verify",
            "mild.json",
            "--unsigned",
            "--image",
            "hostile.bin",
        ],
        &["verify", &beta, "--unsigned", "--ca", ca],
        &[
            "verify",
            &stable,
            "--release-key",
            "release.key.pub",
            "--ca",
            ca,
        ],
        &["doctor", place, "--ca", ca],
        &["doctor", &beta, "--ca", ca],
        &["doctor", &stable, "--ca", ca],
        &[
            "device",
            "new",
            "fresh.bin",
            "--force",
            "--image",
            "hostile.bin",
        ],
        &with(&["--manifest-url"])[..],
        &["inspect", "fresh.bin"],
        &["sign", "hostile.json", "--key", "release.key"],
        &[HOSTILE],
        &["status", HOSTILE],
        &["status", place, "--channel", HOSTILE],
    ] {
        let args: Vec<&str> = match args.last() {
            Some(&"--manifest-url") => [args, &[&beta]].concat(),
            _ => args.to_vec(),
        };
        shown += run(&bench, &args);
    }
    for url in [&stable, &url("lamp/gamma.json"), &url("lamp/nothing.json")] {
        shown += run(&bench, &[&device[..], &["--manifest-url", url]].concat());
    }
    assert!(
        shown > 40,
        "hardly anything of the bucket's was printed: {shown}"
    );
}

/// An S3 service over plain HTTP that says such things where a service says anything.
fn hostile_service() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for (turn, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 16_384]);
            // C0 cannot stand in XML, but for these two.
            let said =
                "\u{9b}2J\u{9d}0;owned\u{9c}\u{202e}\u{2066}\u{200b}\u{2028}&#13;&#10;error: x";
            let body = match turn % 4 {
                0 => format!("<Error><Code>AccessDenied</Code><Message>{said}</Message></Error>"),
                1 => format!("<Error><Code>{said}</Code><Message>{said}</Message></Error>"),
                2 => format!("<html>{said}"),
                _ => format!(
                    "<ListBucketResult><Contents><Key>{said}</Key></Contents></ListBucketResult>"
                ),
            };
            let status = ["403", "400", "418", "200"][turn % 4];
            let answer = format!(
                "HTTP/1.1 {status} \u{9b}2J\r\nServer: \u{9b}2J\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url
}

#[test]
fn the_answer_of_a_service_is_not_obeyed_either() {
    let url = hostile_service();
    let dir = tempfile::tempdir().unwrap();
    let mut shown = 0;
    for args in [
        &["status"][..],
        &["list"],
        &["history"],
        &["gc", "--dry-run"],
        &["promote", "beta", "stable", "--dry-run"],
    ] {
        for more in [&[][..], &["--json"], &["-vv"]] {
            for _ in 0..4 {
                let output = s3ota()
                    .args(args)
                    .arg("s3://firmware/lamp")
                    .args(more)
                    .env("AWS_ACCESS_KEY_ID", "s3ota")
                    .env("AWS_SECRET_ACCESS_KEY", "s3ota-secret")
                    .env("AWS_ENDPOINT_URL", &url)
                    .env("AWS_MAX_ATTEMPTS", "1")
                    .env("S3OTA_STATE", dir.path())
                    .current_dir(dir.path())
                    .output()
                    .unwrap();
                shown += check(&format!("{args:?} {more:?}"), &output, false);
            }
        }
    }
    assert!(
        shown > 10,
        "hardly anything of the service's was printed: {shown}"
    );
}
