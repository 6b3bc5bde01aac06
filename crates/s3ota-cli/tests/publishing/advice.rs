//! What the commands say to do next: it is true, and it works where it is pasted.

use s3ota_devserver::Access;

use crate::bucket::*;

const PLACE: &str = "s3://firmware/lamp";

/// What a command prints for people, on both streams.
fn said(bench: &Bench, args: &[&str]) -> String {
    let mut command = bench.command();
    command.args(args).current_dir(bench.dir.path());
    let output = command.output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

/// The commands between backticks.
fn to_paste(text: &str) -> Vec<Vec<&str>> {
    let quoted = text.split('`').skip(1).step_by(2);
    let commands = quoted.filter_map(|text| text.strip_prefix("s3ota "));
    commands
        .map(|command| command.split(' ').collect())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_rollout_can_be_continued_with_the_command_that_is_named() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.key("release");
    let image = bench.image("1.0.0");
    let key = ["--key", "release.key"];
    bench.publish(image.as_ref(), &key).published();
    let pause = [&["rollout", PLACE, "pause"][..], &key].concat();
    let text = said(&bench, &pause);
    let [command] = &to_paste(&text)[..] else {
        panic!("{text}")
    };
    assert_says(
        &said(&bench, &pause),
        &["1.0.0 is paused on stable already"],
    );
    assert_eq!(bench.s3ota(command).succeeded()["rollout"], "100");
    // An unsigned channel needs no key.
    bench.release("1.0.0", "beta");
    let text = said(&bench, &["rollout", PLACE, "pause", "--channel", "beta"]);
    assert!(!text.contains("--key"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_commands_sign_where_releases_are_signed() {
    let bench = Bench::new(Access::PublicRead).await;
    let home = |key: &str| {
        let mut command = bench.command();
        command.env("S3OTA_LOCATION", PLACE).env("S3OTA_KEY", key);
        let output = command.current_dir(bench.dir.path()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let image = bench.release("1.0.0", "stable");
    assert!(!home("").contains("--key"), "{}", home(""));
    bench.key("release");
    bench
        .publish(
            image.as_ref(),
            &["--channel", "beta", "--key", "release.key"],
        )
        .published();
    assert_says(&home(""), &["s3ota rollout 100% --key KEY"]);
    assert!(!home("release.key").contains("--key"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_expires_soon_is_renewed_with_the_command_that_is_named() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.key("release");
    let image = bench.image("1.0.0");
    let args = ["--key", "release.key", "--expires", "2d"];
    bench.publish(image.as_ref(), &args).published();
    let status = || said(&bench, &["status", PLACE]);
    let text = status().replace("KEY", "release.key");
    let [command] = &to_paste(&text)[..] else {
        panic!("{text}")
    };
    bench.s3ota(command).succeeded();
    assert!(!status().contains("expires in"), "{}", status());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_says_who_would_update() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.release("1.0.0", "stable");
    bench.release("1.1.0", "beta");
    let diff = |b: &str| said(&bench, &["diff", PLACE, "stable", b]);
    assert_says(&diff("beta"), &["devices with 1.0.0 update to 1.1.0"]);
    let rollout = |percent: &str| {
        let args = ["rollout", PLACE, percent, "--channel", "beta"];
        bench.s3ota(&args).succeeded();
    };
    rollout("5%");
    assert_says(
        &diff("beta"),
        &["5% of the devices with 1.0.0 update to 1.1.0"],
    );
    rollout("pause");
    assert_says(
        &diff("beta"),
        &["would update to 1.1.0, but it is paused", "paused"],
    );
    // A version is on any number of channels.
    assert_says(&diff("1.1.0"), &["devices with 1.0.0 update to 1.1.0"]);
    bench.s3ota(&["yank", PLACE, "1.1.0"]).succeeded();
    for b in ["beta", "1.1.0"] {
        assert_says(&diff(b), &["would update to 1.1.0, but it was yanked"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_says_only_that_there_is_more_where_there_is() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.release("1.0.0", "stable");
    bench.release("1.1.0", "stable");
    let history = |limit: &str| said(&bench, &["history", PLACE, "--limit", limit]);
    assert_says(&history("1"), &["older changes are not shown", "1.1.0"]);
    assert!(!history("1").contains("1.0.0"), "{}", history("1"));
    for limit in ["2", "3"] {
        let text = history(limit);
        assert!(!text.contains("older changes"), "{text}");
    }
    // A channel that never served anything else.
    bench.release("2.0.0", "beta");
    bench.s3ota(&["yank", PLACE, "2.0.0"]).succeeded();
    assert_says(&history("9"), &["pause after yank", "paused"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yank_of_two_channels_says_whose_devices_may_go_back() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.key("release");
    let key = ["--key", "release.key"];
    let publish = |version: &str, channel: &str| {
        let image = bench.image(version);
        let args = [&["--channel", channel][..], &key].concat();
        bench.publish(image.as_ref(), &args).published();
    };
    publish("1.0.0", "stable");
    publish("1.1.0", "stable");
    publish("1.1.0", "beta");
    let yank = [
        "yank",
        PLACE,
        "1.1.0",
        "--allow-downgrade",
        "--expires",
        "2d",
    ];
    let text = said(&bench, &[&yank[..], &key].concat());
    assert_says(
        &text,
        &[
            "devices of stable that run 1.1.0 may go back",
            "devices of beta that run 1.1.0 stay on it",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said() {
    let bench = Bench::new(Access::PublicRead).await;
    let text = said(&bench, &["gc", PLACE]);
    assert_says(&text, &["there are no images at s3://firmware/lamp"]);
    let text = said(&bench, &["verify", PLACE]);
    assert_says(&text, &["name the key that devices trust"]);
    // The versions of a bucket can be kept once there is a bucket.
    let text = said(&bench, &["bucket", "init", "s3://another", "--dry-run"]);
    assert_says(&text, &["create the bucket another"]);
    assert!(!text.contains("put-bucket-versioning"), "{text}");
}
