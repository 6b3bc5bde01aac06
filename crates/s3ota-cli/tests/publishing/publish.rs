//! `s3ota publish`, on a real S3 server over TLS.

use std::path::Path;
use std::process::Command;

use crate::bucket::*;
use aws_sdk_s3::types::ChecksumMode;
use s3ota_devserver::Access;
use s3ota_image::Chip;
use s3ota_image::app::{GuardMarker, Header, ImageBuilder, SignatureKind, VersionMarker};
use s3ota_manifest::{MAX_URL, ManifestDocument, Rollout};

const ELF: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/fixtures/hello-esp32c3-1.1.0.elf"
);

/// What espflash has made of it.
const IMAGE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../s3ota-image/tests/fixtures/hello-esp32c3-1.1.0.bin"
);

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_three_objects_with_the_right_headers() {
    let bench = Bench::new(Access::PublicRead).await;
    let firmware = bench.firmware(Chip::Esp32C3, "1.0.0", b"first");
    let run = bench.publish(
        &firmware,
        &[
            "--notes",
            "the first one",
            "--board",
            "lamp-2",
            "--rollout",
            "12.5%",
        ],
    );
    let published = run.published();
    assert_eq!(run.warnings(), Vec::<&str>::new());

    let image = std::fs::read(&firmware).unwrap();
    let sha256 = published["sha256"].as_str().unwrap().to_owned();
    let image_key = format!("lamp/images/1.0.0-{}.bin", &sha256[..12]);
    assert_eq!(
        bench.keys().await,
        [
            image_key.as_str(),
            "lamp/releases/1.0.0.json",
            "lamp/stable.json"
        ]
    );
    let uploaded: Vec<_> = run
        .all("uploaded")
        .iter()
        .map(|event| event["object"].clone())
        .collect();
    assert_eq!(
        uploaded,
        ["image", "record", "manifest"],
        "the manifest comes last"
    );

    let (content_type, cache_control, bytes) = bench.read(&image_key).await;
    assert_eq!(
        (content_type.as_str(), cache_control.as_str()),
        (
            "application/octet-stream",
            "public, max-age=31536000, immutable"
        )
    );
    assert_eq!(bytes, image);
    let head = bench
        .client
        .head_object()
        .bucket("firmware")
        .key(&image_key);
    let head = head.checksum_mode(ChecksumMode::Enabled).send();
    assert!(
        head.await.unwrap().checksum_sha256.is_some(),
        "the server was told, and has verified it"
    );
    let (content_type, cache_control, record) = bench.read("lamp/releases/1.0.0.json").await;
    assert_eq!(
        (content_type.as_str(), cache_control.as_str()),
        ("application/json", "public, max-age=31536000, immutable")
    );
    let (content_type, cache_control, manifest) = bench.read("lamp/stable.json").await;
    assert_eq!(
        (content_type.as_str(), cache_control.as_str()),
        ("application/json", "public, max-age=60")
    );
    assert_eq!(record, manifest);

    let manifest = ManifestDocument::parse(&manifest).unwrap();
    let base = format!("{}/firmware", bench.server.endpoint_url());
    assert_eq!(manifest.version, "1.0.0");
    assert_eq!(manifest.url, format!("{base}/{image_key}"));
    assert_eq!(manifest.size, Some(image.len() as u32));
    assert_eq!(manifest.sha256.unwrap().to_string(), sha256);
    assert_eq!(manifest.chip.as_deref(), Some("esp32c3"));
    assert_eq!(manifest.board.as_deref(), Some("lamp-2"));
    assert_eq!(manifest.rollout.unwrap().to_string(), "12.5");
    assert_eq!(manifest.notes.as_deref(), Some("the first one"));
    assert!(manifest.date.is_some());
    assert_eq!(
        published["manifest_url"],
        format!("{base}/lamp/stable.json")
    );
    assert_eq!(published["chip"], "esp32c3");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_get_the_manifests_url_on_a_line_of_its_own() {
    let bench = Bench::new(Access::PublicRead).await;
    let firmware = bench.firmware(Chip::Esp32C3, "1.0.0", b"");
    let output = bench
        .command()
        .arg("publish")
        .arg(&firmware)
        .arg("s3://firmware/")
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{stdout}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        stdout.lines().last(),
        Some(format!("{}/firmware/stable.json", bench.server.endpoint_url()).as_str())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_elf_is_published_as_the_image_espflash_makes_of_it() {
    let bench = Bench::new(Access::PublicRead).await;
    let run = bench.publish(Path::new(ELF), &[]);
    let key = format!(
        "lamp/images/1.1.0-{}.bin",
        &run.published()["sha256"].as_str().unwrap()[..12]
    );
    assert!(bench.read(&key).await.2 == std::fs::read(IMAGE).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_the_same_again_changes_nothing_but_the_date() {
    let bench = Bench::new(Access::PublicRead).await;
    let firmware = bench.firmware(Chip::Esp32C3, "1.0.0", b"");
    bench.publish(&firmware, &[]).published();
    let record = bench.read("lamp/releases/1.0.0.json").await;
    let again = bench.publish(&firmware, &[]);
    again.published();
    let existed: Vec<_> = again
        .all("uploaded")
        .iter()
        .map(|event| event["existed"].clone())
        .collect();
    assert_eq!(existed, [true, true, false]);
    assert_eq!(bench.read("lamp/releases/1.0.0.json").await, record);
    let keys = bench.keys().await;
    assert_eq!(keys.len(), 4, "what the channel held before: {keys:?}");
    assert!(keys[0].starts_with("lamp/history/stable/"), "{keys:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_never_names_two_images() {
    let bench = Bench::new(Access::PublicRead).await;
    bench
        .publish(&bench.firmware(Chip::Esp32C3, "1.0.0", b"one"), &[])
        .published();
    let before = bench.read("lamp/stable.json").await;
    let other = bench.firmware(Chip::Esp32C3, "1.0.0", b"another");
    assert_eq!(bench.publish(&other, &[]).error(), "publish.exists");
    assert_eq!(
        bench.publish(&other, &["--channel", "beta"]).error(),
        "publish.exists"
    );
    assert_eq!(bench.read("lamp/stable.json").await, before);
    assert_eq!(bench.keys().await.len(), 3, "nothing was uploaded");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_belong_on_a_channel_is_refused_by_its_real_reason_unless_a_switch_allows_it()
{
    let bench = Bench::new(Access::PublicRead).await;
    let first = bench.firmware(Chip::Esp32C3, "1.10.0", b"");
    bench.publish(&first, &[]).published();
    let image = |chip, version: &str, project: &str| {
        let path = bench.dir.path().join(format!("{version}-{project}.bin"));
        let builder = ImageBuilder::new(chip, version).project_name(project);
        std::fs::write(&path, builder.build()).unwrap();
        path
    };
    let arduino = |name: &str| {
        let path = bench.dir.path().join(name);
        let builder =
            ImageBuilder::new(Chip::Esp32C3, "v5.5.1").project_name("arduino-lib-builder");
        std::fs::write(&path, builder.build()).unwrap();
        path
    };
    for (firmware, more, reason, switch) in [
        (
            image(Chip::Esp32C3, "1.9.0", "lamp"),
            &[][..],
            "publish.downgrade",
            "--lower-version",
        ),
        // The chip explains it, not that the version is taken.
        (
            image(Chip::Esp32C6, "1.10.0", "lamp"),
            &[],
            "publish.chip",
            "--other-chip",
        ),
        (
            image(Chip::Esp32C6, "1.11.0", "lamp"),
            &[],
            "publish.chip",
            "--other-chip",
        ),
        (
            image(Chip::Esp32C6, "1.12.0", "kettle"),
            &[],
            "publish.project",
            "--other-project",
        ),
        // The project of an Arduino build is not its own.
        (
            arduino("sketch.bin"),
            &["--version", "1.13.0", "--other-chip"],
            "publish.project",
            "--other-project",
        ),
        (
            arduino("again.bin"),
            &["--version", "1.14.0"],
            "publish.same_image",
            "--same-image",
        ),
    ] {
        let before = bench.read("lamp/stable.json").await;
        let run = bench.publish(&firmware, more);
        assert_eq!(run.error(), reason, "{firmware:?}");
        let hint = run.events.last().unwrap()["hint"].as_str().unwrap();
        assert!(hint.contains(switch), "{hint}");
        assert_eq!(bench.read("lamp/stable.json").await, before);
        if !firmware.ends_with("1.10.0-lamp.bin") {
            bench
                .publish(&firmware, &[more, &[switch]].concat())
                .published();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_not_followed_by_none_nor_none_by_a_project() {
    let bench = Bench::new(Access::PublicRead).await;
    let nameless = |version: &str| {
        let path = bench.path(&format!("nameless-{version}.bin"));
        let image = ImageBuilder::new(Chip::Esp32C3, version).project_name("");
        std::fs::write(&path, image.build()).unwrap();
        path
    };
    bench.release("1.0.0", "stable");
    let (lamp, none) = (bench.image("1.2.0"), nameless("1.1.0"));
    let device = bench.path("lamp.bin");
    bench.new_device("lamp.bin", bench.image("1.0.0").as_ref());
    for (firmware, named) in [(&none, "names no project"), (&lamp, "project lamp")] {
        let refused = bench.publish(firmware.as_ref(), &[]);
        assert_eq!(refused.error(), "publish.project");
        let error = refused.all("error")[0];
        assert!(
            error["message"].as_str().unwrap().contains(named),
            "{error}"
        );
        bench
            .publish(firmware.as_ref(), &["--other-project"])
            .published();
        // What the refusal says of devices is true.
        let url = bench.server.endpoint_url().to_owned() + "/firmware/lamp/stable.json";
        let run = ["device", "run", &device, "--once", "--attempts", "1"];
        let run = bench.s3ota(&[&run[..], &["--manifest-url", &url, "--ca", bench.ca()]].concat());
        assert_eq!(run.status == 0, *firmware == lamp, "{:?}", run.events);
        if run.status != 0 {
            assert_eq!(run.error(), "image.project");
            let message = run.all("error")[0]["message"].as_str().unwrap();
            assert!(message.contains("the image names no project"), "{message}");
        }
    }
    // A manifest by hand says nothing about it.
    let by_hand = r#"{"version":"0.9.0","url":"https://example.com/lamp.bin"}"#;
    bench.write("lamp/stable.json", by_hand).await;
    bench.publish(lamp.as_ref(), &[]).published();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_board_is_not_followed_by_another_or_by_all_unless_told_to() {
    let bench = Bench::new(Access::PublicRead).await;
    let publish = |version: &str, args: &[&str]| bench.publish(bench.image(version).as_ref(), args);
    let (v1, v2) = (["--board", "v1"], ["--board", "v2"]);
    publish("1.0.0", &v1).published();
    let before = bench.read("lamp/stable.json").await;
    for args in [&v2[..], &[]] {
        for version in ["1.0.0", "1.1.0"] {
            let refused = publish(version, args);
            assert_eq!(refused.error(), "publish.board");
            let error = refused.all("error")[0];
            let hint = error["hint"].as_str().unwrap();
            assert!(hint.contains("--other-board"), "{error}");
        }
        let beta = ["--channel", "beta", "--other-board"];
        publish("1.1.0", &[args, &beta].concat()).published();
        let promote = ["promote", "s3://firmware/lamp", "beta", "stable"];
        assert_eq!(bench.s3ota(&promote).error(), "publish.board");
        let told = [&promote[..], &["--other-board", "--dry-run"]].concat();
        bench.s3ota(&told).succeeded();
    }
    assert_eq!(bench.read("lamp/stable.json").await, before);
    let run = publish("1.1.0", &v1);
    assert_eq!(run.warnings(), Vec::<&str>::new());
    run.published();

    publish("1.2.0", &["--other-board"]).published();
    // Devices that know no board take it as before, and others do not.
    let run = publish("1.3.0", &v2);
    assert_eq!(run.warnings(), ["publish.board"]);
    run.published();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leap_of_the_version_is_not_promoted_unless_it_is_named() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.release("1.0.0", "stable");
    bench.release("2026.11.28", "nightly");
    let promote = |to: &str, args: &[&str]| {
        let all = ["promote", "s3://firmware/lamp", "nightly", to];
        bench.s3ota(&[&all[..], args].concat())
    };
    for args in [&[][..], &["--version", "2026.11.27"], &["--lower-version"]] {
        let refused = promote("stable", args);
        assert_eq!(refused.error(), "publish.version", "{args:?}");
        let hint = refused.all("error")[0]["hint"].as_str().unwrap();
        assert!(hint.contains("--version 2026.11.28"), "{hint}");
    }
    assert_eq!(bench.manifest("lamp/stable.json").await.version, "1.0.0");
    promote("first", &[]).succeeded();
    promote("stable", &["--version", "2026.11.28"]).succeeded();
    // It is there now, and no leap any more.
    promote("stable", &[]).succeeded();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_commits_as_far_from_a_tag_neither_follows_the_other_by_itself() {
    for (first, then) in [("0a1b2c3", "4d5e6f7"), ("4d5e6f7", "0a1b2c3")] {
        let bench = Bench::new(Access::PublicRead).await;
        bench.release(&format!("v1.2.3-9-g{first}"), "stable");
        let other = bench.image(&format!("v1.2.3-9-g{then}"));
        let refused = bench.publish(other.as_ref(), &[]);
        assert_eq!(refused.error(), "publish.downgrade");
        let error = refused.all("error")[0];
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("on another branch"), "{error}");
        bench
            .publish(other.as_ref(), &["--lower-version"])
            .published();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_again_keeps_the_rollout_and_says_so() {
    let bench = Bench::new(Access::PublicRead).await;
    let firmware = bench.firmware(Chip::Esp32C3, "1.1.0", b"");
    let rollout = async || bench.manifest("lamp/stable.json").await.rollout;
    let percent = |text: &str| Some(text.parse::<Rollout>().unwrap());
    bench.publish(&firmware, &["--rollout", "5%"]).published();
    for more in [&[][..], &["--not-also", "esp32fota"], &["--notes", "again"]] {
        let run = bench.publish(&firmware, more);
        assert_eq!(run.published()["rollout"], "5", "{more:?}");
        assert_eq!(rollout().await, percent("5"), "{more:?}");
    }
    bench
        .s3ota(&["rollout", "s3://firmware/lamp", "pause"])
        .succeeded();
    assert_eq!(bench.publish(&firmware, &[]).published()["rollout"], "0");
    assert_eq!(rollout().await, percent("0"));
    bench.publish(&firmware, &["--rollout", "100%"]).published();
    assert!(rollout().await.is_none_or(|all| all == Rollout::EVERYONE));

    // Another version is another rollout.
    bench.publish(&firmware, &["--rollout", "5%"]).published();
    let next = bench.firmware(Chip::Esp32C3, "1.2.0", b"");
    assert_eq!(bench.publish(&next, &[]).published()["rollout"], "100");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_looks_like_a_mistake_is_said_to_the_letter() {
    let bench = Bench::new(Access::PublicRead).await;
    let stable = bench.firmware(Chip::Esp32C3, "1.2.3", b"");
    bench.publish(&stable, &[]).published();
    for version in [
        "1.2.4-dirty",
        "1.2.4-9-g0a1b2c3-dirty",
        "1.2.4-rc.1-10-g0a1b2c3d4e5f6-di",
        "2026.11.28",
    ] {
        let firmware = bench.firmware(Chip::Esp32C3, version, b"");
        let run = bench.publish(&firmware, &["--dry-run"]);
        assert_eq!(run.error(), "publish.version", "{version}");
        let hint = run.events.last().unwrap()["hint"].as_str().unwrap();
        assert!(hint.contains(&format!("--version {version}")), "{hint}");
        bench
            .publish(&firmware, &["--dry-run", "--version", version])
            .succeeded();
    }
    // A commit is no version, even if all its digits are decimal.
    for commit in ["8bb5d7f", "1234567"] {
        let firmware = bench.firmware(Chip::Esp32C3, commit, b"");
        assert_eq!(bench.publish(&firmware, &[]).error(), "publish.version");
    }
    // What comes after a tag comes after its release.
    for version in ["v1.2.3-9-g0a1b2c3", "v1.2.3-10-g4d5e6f7", "1.2.4"] {
        let firmware = bench.firmware(Chip::Esp32C3, version, b"");
        bench.publish(&firmware, &[]).published();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_contradicts_the_image_is_refused() {
    let bench = Bench::new(Access::PublicRead).await;
    let firmware = bench.firmware(Chip::Esp32C3, "1.0.0", b"");
    let run = bench.publish(&firmware, &["--version", "2.0.0"]);
    assert_eq!(run.error(), "publish.version");
    let message = run.events.last().unwrap()["message"].as_str().unwrap();
    assert!(
        message.contains("2.0.0") && message.contains("1.0.0"),
        "{message}"
    );
    assert!(bench.keys().await.is_empty());
    bench.publish(&firmware, &["--version", "v1.0"]).published();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_arduino_build_is_published_under_the_given_version() {
    let bench = Bench::new(Access::PublicRead).await;
    let path = bench.dir.path().join("sketch.bin");
    std::fs::write(
        &path,
        ImageBuilder::new(Chip::Esp32, "v5.5.1")
            .project_name("arduino-lib-builder")
            .build(),
    )
    .unwrap();
    assert_eq!(bench.publish(&path, &[]).error(), "publish.version");
    assert_eq!(
        bench.publish(&path, &["--version", "1.4"]).published()["version"],
        "1.4.0"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sketch_is_published_under_the_version_of_its_marker() {
    let bench = Bench::new(Access::PublicRead).await;
    let sketch = |name: &str, versions: &[&str]| {
        let path = bench.dir.path().join(name);
        let markers = versions.iter().map(|it| VersionMarker::new(it).unwrap());
        let payload: Vec<u8> = markers.flat_map(|marker| marker.bytes()).collect();
        let builder = ImageBuilder::new(Chip::Esp32, "v5.5.1")
            .project_name("arduino-lib-builder")
            .payload(&payload)
            .guard(GuardMarker::new(GuardMarker::ARDUINO, 1));
        std::fs::write(&path, builder.build()).unwrap();
        path
    };
    let run = bench.publish(&sketch("one.bin", &["1.2.0"]), &[]);
    assert_eq!(run.published()["version"], "1.2.0");
    assert_eq!(run.warnings(), Vec::<&str>::new());
    let higher = bench.publish(&sketch("higher.bin", &["1.3.0"]), &["--version", "1.4.0"]);
    assert_eq!(higher.error(), "publish.version");

    let two = sketch("two.bin", &["1.3.0", "1.4.0"]);
    let run = bench.publish(&two, &[]);
    assert_eq!(run.error(), "publish.version");
    let message = run.events.last().unwrap()["message"].as_str().unwrap();
    assert!(message.contains("both 1.3.0 and 1.4.0"), "{message}");
    assert_eq!(bench.manifest("lamp/stable.json").await.version, "1.2.0");
    let run = bench.publish(&two, &["--version", "1.4.0"]);
    assert_eq!(run.published()["version"], "1.4.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn presigned_urls_open_a_private_bucket_to_anyone() {
    let bench = Bench::new(Access::Policy).await;
    let firmware = bench.firmware(Chip::Esp32C3, "1.0.0", b"");
    let run = bench.publish(&firmware, &["--presign", "7d"]);
    let published = run.published();
    // The publisher itself read both by these URLs, without credentials.
    assert_eq!(run.warnings(), Vec::<&str>::new());
    for url in [&published["manifest_url"], &published["image_url"]] {
        let url = url.as_str().unwrap();
        assert!(
            url.contains("X-Amz-Expires=604800") && url.len() <= MAX_URL,
            "{url}"
        );
    }
    assert_eq!(
        bench.manifest("lamp/stable.json").await.url,
        published["image_url"].as_str().unwrap()
    );
    let record = bench.manifest("lamp/releases/1.0.0.json").await;
    assert!(
        !record.url.contains('?'),
        "the history holds nothing that ends: {}",
        record.url
    );

    assert_eq!(
        bench.publish(&firmware, &["--presign", "8d"]).usage_error(),
        "publish.presign"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_bucket_is_reported_with_the_command_that_opens_it() {
    let bench = Bench::new(Access::Policy).await;
    let run = bench.publish(&bench.firmware(Chip::Esp32C3, "1.0.0", b""), &[]);
    run.published();
    assert_eq!(run.warnings(), ["publish.private"]);
    let hint = run.all("warning")[0]["hint"].as_str().unwrap().to_owned();

    // The command of the hint does what it says.
    let command = hint.split('`').nth(1).unwrap();
    let words = command.strip_prefix("s3ota ").unwrap().split(' ');
    let args: Vec<&str> = words.chain(["--yes"]).collect();
    bench.s3ota(&args).succeeded();
    let run = bench.publish(&bench.firmware(Chip::Esp32C3, "1.1.0", b""), &[]);
    run.published();
    assert_eq!(run.warnings(), Vec::<&str>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_url_stands_for_the_bucket() {
    let bench = Bench::new(Access::PublicRead).await;
    let firmware = bench.firmware(Chip::Esp32C3, "1.0.0+b7", b"");
    // The same server by another name of its certificate.
    let base = format!(
        "https://127.0.0.1:{}/firmware/",
        bench.server.local_addr().port()
    );
    let run = bench.publish(&firmware, &["--public-url", &base]);
    assert_eq!(
        run.published()["manifest_url"],
        format!("{base}lamp/stable.json")
    );
    assert_eq!(
        run.warnings(),
        Vec::<&str>::new(),
        "a `+` in a key survives the way through a URL"
    );
    assert!(
        bench
            .manifest("lamp/stable.json")
            .await
            .url
            .starts_with(&format!("{base}lamp/images/1.0.0%2Bb7-"))
    );
    for wrong in [
        "http://cdn.example.com",
        "cdn.example.com",
        "https://cdn.example.com/?a=b",
    ] {
        assert_eq!(
            bench
                .publish(&firmware, &["--public-url", wrong])
                .usage_error(),
            "publish.url",
            "{wrong}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_options_are_refused_with_a_code_and_a_hint() {
    let bench = Bench::new(Access::PublicRead).await;
    let firmware = bench.firmware(Chip::Esp32C3, "1.0.0", b"");
    let text = bench.dir.path().join("text.bin");
    std::fs::write(&text, "hello").unwrap();
    let prefix = "s3://firmware/lamp";
    let nowhere = Path::new("nowhere.bin");
    let unreachable: &[&str] = &["--endpoint-url", "https://127.0.0.1:1"];
    let no_scheme: &[&str] = &["--endpoint-url", "localhost:9443"];
    for (firmware, destination, args, code) in [
        (
            firmware.as_path(),
            "s3://nowhere/lamp",
            &[][..],
            "s3.bucket",
        ),
        (&firmware, prefix, unreachable, "s3.connect"),
        (&firmware, prefix, no_scheme, "s3.endpoint"),
        (&text, prefix, &[], "image.invalid"),
        (nowhere, prefix, &[], "file.io"),
    ] {
        let run = bench.publish_to(firmware, destination, args);
        assert_eq!(run.error(), code, "{destination} {args:?}");
    }
    for (destination, args, code) in [
        ("firmware/lamp", &[][..], "s3.url"),
        (prefix, &["--channel", "a/b"], "publish.channel"),
        (prefix, &["--rollout", "200"], "publish.rollout"),
        (prefix, &["--presign", "8d"], "publish.presign"),
        (prefix, &["--presign", "soon"], "cli.usage"),
        (prefix, &["--frobnicate"], "cli.usage"),
    ] {
        let run = bench.publish_to(&firmware, destination, args);
        assert_eq!(run.usage_error(), code, "{destination} {args:?}");
    }
    assert!(bench.keys().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_and_wrong_credentials_are_reported() {
    let bench = Bench::new(Access::PublicRead).await;
    let firmware = bench.firmware(Chip::Esp32C3, "1.0.0", b"");
    let run = |command: &mut Command| {
        command
            .arg("--json")
            .arg("publish")
            .arg(&firmware)
            .arg("s3://firmware/lamp");
        command
            .args(["--endpoint-url", &bench.server.endpoint_url(), "--ca"])
            .arg(bench.server.ca_path());
        Run::of(command.output().unwrap())
    };
    assert_eq!(run(&mut s3ota()).error(), "s3.credentials");
    assert_eq!(
        run(bench.command().env("AWS_SECRET_ACCESS_KEY", "wrong")).error(),
        "s3.credentials"
    );

    let profiles = bench.dir.path().join("credentials");
    std::fs::write(
        &profiles,
        "[lab]\naws_access_key_id = s3ota\naws_secret_access_key = s3ota-secret\n",
    )
    .unwrap();
    run(s3ota()
        .env("AWS_SHARED_CREDENTIALS_FILE", &profiles)
        .env("AWS_PROFILE", "lab"))
    .published();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_an_unknown_ca_gets_nothing() {
    let bench = Bench::new(Access::PublicRead).await;
    let firmware = bench.firmware(Chip::Esp32C3, "1.0.0", b"");
    let mut command = bench.command();
    let output = command
        .env_remove("AWS_CA_BUNDLE")
        .arg("--json")
        .arg("publish")
        .arg(&firmware)
        .arg("s3://firmware/lamp");
    let run = Run::of(output.output().unwrap());
    assert_eq!(run.error(), "s3.connect");
    assert!(
        run.events.last().unwrap()["hint"]
            .as_str()
            .unwrap()
            .contains("--ca")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn urls_of_temporary_credentials_are_warned_of_and_must_fit_the_device() {
    let bench = Bench::new(Access::PublicRead).await;
    let firmware = bench.firmware(Chip::Esp32C3, "1.0.0", b"");
    let presign = |token: String| {
        let mut command = bench.command();
        command
            .env("AWS_SESSION_TOKEN", token)
            .arg("--json")
            .arg("publish")
            .arg(&firmware);
        Run::of(
            command
                .args(["s3://firmware/lamp", "--presign", "1h"])
                .output()
                .unwrap(),
        )
    };
    assert_eq!(presign("t".repeat(MAX_URL)).error(), "publish.presign");
    assert!(bench.keys().await.is_empty(), "nothing was uploaded");
    let run = presign("t".repeat(1000));
    run.published();
    assert_eq!(run.warnings(), ["publish.presign"]);
}

// ---- What the next image must not lose ----

impl Bench {
    /// Writes a firmware of `lamp` as it is built.
    fn built(&self, name: &str, image: ImageBuilder) -> std::path::PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, image.project_name("lamp").build()).unwrap();
        path
    }

    /// Writes a firmware without a boot guard.
    fn unguarded(&self, version: &str) -> std::path::PathBuf {
        let image = ImageBuilder::new(Chip::Esp32C3, version).without_guard();
        self.built(&format!("unguarded-{version}.bin"), image)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firmware_without_a_boot_guard_is_warned_of() {
    let bench = Bench::new(Access::PublicRead).await;
    for version in ["1.0.0", "1.1.0"] {
        let run = bench.publish(&bench.unguarded(version), &[]);
        assert_eq!(run.warnings(), ["image.guard"]);
        run.published();
    }
    // A firmware with a guard needs no flag.
    let guarded = bench.firmware(Chip::Esp32C3, "1.2.0", b"");
    let run = bench.publish(&guarded, &[]);
    assert_eq!(run.warnings(), Vec::<&str>::new());
    run.published();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firmware_without_a_boot_guard_does_not_follow_one_with_it_unless_told_to() {
    let bench = Bench::new(Access::PublicRead).await;
    bench
        .publish(&bench.firmware(Chip::Esp32C3, "1.0.0", b""), &[])
        .published();
    let before = bench.keys().await;
    let unguarded = bench.unguarded("1.1.0");
    let refused = bench.publish(&unguarded, &[]);
    assert_eq!(refused.error(), "publish.guard");
    let error = refused.all("error")[0];
    for (field, text) in [("message", "1.0.0 before it"), ("hint", "--drop-guard")] {
        assert!(error[field].as_str().unwrap().contains(text), "{error}");
    }
    let dry = bench.publish(&unguarded, &["--dry-run"]);
    assert_eq!(dry.error(), "publish.guard");
    assert_eq!(bench.keys().await, before, "nothing was uploaded");
    // Another channel has nothing to lose.
    bench
        .publish(&unguarded, &["--channel", "beta"])
        .published();

    let told = bench.publish(&unguarded, &["--drop-guard"]);
    assert_eq!(told.warnings(), ["image.guard"]);
    told.published();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firmware_without_a_boot_guard_is_not_promoted_over_one_with_it_unless_told_to() {
    let bench = Bench::new(Access::PublicRead).await;
    bench
        .publish(&bench.firmware(Chip::Esp32C3, "1.0.0", b""), &[])
        .published();
    let beta = ["--channel", "beta"];
    bench.publish(&bench.unguarded("1.1.0"), &beta).published();
    let promote = ["promote", "s3://firmware/lamp", "beta", "stable"];
    assert_eq!(bench.s3ota(&promote).error(), "publish.guard");
    assert_eq!(bench.manifest("lamp/stable.json").await.version, "1.0.0");
    let told = bench.s3ota(&[&promote[..], &["--drop-guard"]].concat());
    assert_eq!(told.succeeded()["event"], "promoted");
}

/// An attacker who can write to the bucket cannot hide the guard by removing the image that has it.
#[tokio::test(flavor = "multi_thread")]
async fn that_the_release_before_had_no_guard_is_not_believed_without_its_image() {
    let bench = Bench::new(Access::PublicRead).await;
    let first = bench.firmware(Chip::Esp32C3, "1.0.0", b"");
    let run = bench.publish(&first, &[]);
    let sha256 = run.published()["sha256"].as_str().unwrap();
    let image = format!("lamp/images/1.0.0-{}.bin", &sha256[..12]);

    let next = bench.unguarded("1.1.0");
    let stranger = std::fs::read(&next).unwrap();
    bench.write(&image, stranger).await;
    assert_eq!(bench.publish(&next, &[]).error(), "publish.guard");
    bench.write(&image, *b"short").await;
    assert_eq!(bench.publish(&next, &[]).error(), "publish.guard");
    let delete = bench.client.delete_object().bucket("firmware").key(&image);
    delete.send().await.unwrap();
    assert_eq!(bench.publish(&next, &[]).error(), "publish.guard");

    // A firmware with a guard has nothing to prove.
    let guarded = bench.firmware(Chip::Esp32C3, "1.2.0", b"");
    bench.publish(&guarded, &[]).published();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_made_by_hand_is_followed_without_checking_its_image() {
    let bench = Bench::new(Access::PublicRead).await;
    let by_hand = r#"{"version":"0.9.0","url":"https://example.com/lamp.bin"}"#;
    bench.write("lamp/stable.json", by_hand).await;
    bench.publish(&bench.unguarded("1.0.0"), &[]).published();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_some_devices_would_refuse_after_the_release_before_is_reported() {
    let bench = Bench::new(Access::PublicRead).await;
    let image = |version: &str| ImageBuilder::new(Chip::Esp32C3, version).length(5000);
    let first = image("1.0.0")
        .secure_version(2)
        .signature(SignatureKind::Rsa);
    let run = bench.publish(&bench.built("first.bin", first), &[]);
    assert_eq!(run.warnings(), Vec::<&str>::new());
    for (next, warnings) in [
        (
            image("1.1.0")
                .secure_version(2)
                .signature(SignatureKind::Rsa),
            &[][..],
        ),
        (
            image("1.2.0").secure_version(1).revisions(4, 199),
            &[
                "publish.rollback",
                "publish.secure_boot",
                "publish.revision",
            ],
        ),
        (
            image("1.3.0")
                .secure_version(1)
                .revisions(4, 199)
                .block_revisions(25_185, 0),
            &["image.efuse", "publish.efuse"],
        ),
    ] {
        let run = bench.publish(&bench.built("next.bin", next), &[]);
        assert_eq!(run.warnings(), warnings);
        run.published();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_elf_is_published_with_its_minimum_chip_revision() {
    let bench = Bench::new(Access::PublicRead).await;
    let mut elf = std::fs::read(ELF).unwrap();
    let said = b"esp32c30serial";
    let at = elf.windows(said.len()).position(|it| it == said).unwrap();
    elf[at + 7] = b'4';
    let path = bench.dir.path().join("lamp.elf");
    std::fs::write(&path, elf).unwrap();
    let run = bench.publish(&path, &[]);
    let sha256 = run.published()["sha256"].as_str().unwrap();
    let image = format!("lamp/images/1.1.0-{}.bin", &sha256[..12]);
    let header = Header::parse(bench.read(&image).await.2.first_chunk().unwrap()).unwrap();
    assert_eq!(header.min_revision, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_of_a_merged_image_is_published_when_asked() {
    let bench = Bench::new(Access::PublicRead).await;
    let image = ImageBuilder::new(Chip::Esp32C3, "1.2.0").project_name("lamp");
    let app = image.signature(SignatureKind::Rsa).build();
    let mut flash = s3ota_sim::Setup::default().flash(&app).unwrap();
    let end = flash.iter().rposition(|&byte| byte != 0xFF).unwrap() + 1;
    flash.truncate(end);
    let merged = bench.dir.path().join("merged.bin");
    std::fs::write(&merged, &flash).unwrap();

    let refused = bench.publish(&merged, &[]);
    assert_eq!(refused.error(), "image.invalid");
    let hint = refused.all("error")[0]["hint"].as_str().unwrap();
    assert!(
        hint.contains("--from-merged takes lamp 1.2.0, the one in ota_0"),
        "{hint}"
    );
    assert!(bench.keys().await.is_empty());

    let run = bench.publish(&merged, &["--from-merged"]);
    let sha256 = run.published()["sha256"].as_str().unwrap();
    assert_eq!(run.all("taken")[0]["partition"], "ota_0");
    let key = format!("lamp/images/1.2.0-{}.bin", &sha256[..12]);
    assert!(bench.read(&key).await.2 == app, "with its signature");

    // A slot that was read from a chip.
    let slot = bench.dir.path().join("slot.bin");
    let next = ImageBuilder::new(Chip::Esp32C3, "1.3.0").project_name("lamp");
    let next = next.signature(SignatureKind::Rsa).build();
    std::fs::write(&slot, [&next[..], &[0xFF; 5000]].concat()).unwrap();
    let refused = bench.publish(&slot, &[]);
    assert_eq!(refused.error(), "image.size");
    let run = bench.publish(&slot, &["--from-merged"]);
    assert_eq!(run.published()["version"], "1.3.0");
    let plain = bench.firmware(Chip::Esp32C3, "1.4.0", b"");
    let plain = bench.publish(&plain, &["--from-merged"]);
    assert_eq!(plain.error(), "image.invalid");
}
