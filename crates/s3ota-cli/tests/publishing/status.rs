//! `s3ota status` shows as *signed* only what verifies, and by which key, whatever a manifest claims.

use crate::bucket::*;
use s3ota_devserver::Access;
use s3ota_image::Chip;
use serde_json::Value;

const PLACE: &str = "s3://firmware/lamp";

/// What `status` says of the channel `stable`, to programs and to people.
fn status(bench: &Bench, args: &[&str], variables: &[(&str, &str)]) -> (Run, String) {
    let run = |first: &[&str]| {
        let mut command = bench.command();
        command
            .args(first)
            .args(["status", PLACE])
            .args(args)
            .envs(variables.iter().copied())
            .current_dir(bench.dir.path());
        command.output().unwrap()
    };
    let people = run(&[]);
    let said = [people.stdout, people.stderr].concat();
    (Run::of(run(&["--json"])), String::from_utf8(said).unwrap())
}

fn stable(run: &Run) -> (&str, Option<&str>) {
    let channels = run.all("channel");
    let channel = channels
        .iter()
        .find(|channel| channel["channel"] == "stable")
        .unwrap();
    (
        channel["signature"].as_str().unwrap(),
        channel["verified_by"].as_str(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_verifies_with_a_given_key_is_shown_as_signed() {
    let bench = Bench::new(Access::PublicRead).await;
    let (owner, stranger) = (bench.key("release"), bench.key("stranger"));
    let first = bench.firmware(Chip::Esp32C3, "1.0.0", b"");
    bench.publish(&first, &[]).published();
    let (run, said) = status(&bench, &[], &[]);
    assert_eq!(stable(&run), ("none", None));
    assert!(!said.contains("signature"), "{said}");

    let second = bench.firmware(Chip::Esp32C3, "1.1.0", b"");
    bench
        .publish(&second, &["--key", "release.key"])
        .published();
    let (run, said) = status(&bench, &[], &[]);
    assert_eq!(stable(&run), ("not verified", None));
    let sentence = format!(
        "stable has a signature by the key {owner}, which is not verified: give --release-key\n"
    );
    assert!(
        said.contains(&sentence) && !said.contains(&format!("by {owner} ")),
        "{said}"
    );

    let release_key = ["--release-key", "release.key.pub"];
    for (args, variables) in [
        (&release_key[..], &[][..]),
        (
            &[
                "--release-key",
                "stranger.key.pub",
                "--release-key",
                "release.key.pub",
            ],
            &[],
        ),
        // What signs here is known here.
        (&[], &[("S3OTA_KEY", "release.key")]),
    ] {
        let (run, said) = status(&bench, args, variables);
        assert_eq!(stable(&run), ("verified", Some(&*owner)));
        assert!(
            said.contains(&format!("by {owner}")) && !said.contains("not verified"),
            "{said}"
        );
        assert_eq!(run.warnings(), Vec::<&str>::new());
    }
    for file in ["key = 'release.key'", "release_key = 'release.key.pub'"] {
        std::fs::write(bench.path("s3ota.toml"), file).unwrap();
        assert_eq!(
            stable(&status(&bench, &[], &[]).0),
            ("verified", Some(&*owner)),
            "{file}"
        );
    }
    std::fs::remove_file(bench.path("s3ota.toml")).unwrap();
    let (run, said) = status(&bench, &["--release-key", "stranger.key.pub"], &[]);
    assert_eq!(stable(&run), ("not verified", None));
    assert!(said.contains("none of the given keys"), "{said}");

    // Somebody signs in the owner's name, and somebody changes what the owner signed.
    let signed = bench.manifest("lamp/stable.json").await;
    let mut forged = signed.clone();
    forged.signature.as_mut().unwrap().sig = "MAYCAQECAQE=".to_owned();
    let mut changed = signed.clone();
    changed.rollout = Some("5".parse().unwrap());
    for lie in [forged, changed] {
        bench
            .write("lamp/stable.json", lie.to_json().unwrap())
            .await;
        let (run, said) = status(&bench, &release_key, &[]);
        assert_eq!(stable(&run), ("wrong", None));
        assert_eq!(run.warnings(), ["release.signature"]);
        assert!(
            said.contains("does not verify") && !said.contains(&format!("by {owner} ")),
            "{said}"
        );
        // The name of a key alone does not make publishing easier or harder to believe.
        let next = bench.firmware(Chip::Esp32C3, "1.2.0", b"");
        let refused = bench.publish(&next, &[]);
        assert_eq!(refused.error(), "publish.unsigned");
        let message: &Value = &refused.events.last().unwrap()["message"];
        assert!(
            message
                .as_str()
                .unwrap()
                .contains("has a signature by the key"),
            "{message}"
        );
    }

    // What the owner signed for one channel lies on another.
    let beta = bench.firmware(Chip::Esp32C3, "1.3.0", b"");
    bench
        .publish(&beta, &["--key", "release.key", "--channel", "beta"])
        .published();
    let beta = bench.read("lamp/beta.json").await.2;
    bench.write("lamp/stable.json", beta).await;
    let (run, _) = status(&bench, &release_key, &[]);
    assert_eq!(run.warnings(), ["release.channel"]);
    assert_ne!(owner, stranger);
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_does_not_say_signed_before_it_has_verified() {
    let bench = Bench::new(Access::PublicRead).await;
    let owner = bench.key("release");
    let firmware = bench.firmware(Chip::Esp32C3, "1.0.0", b"");
    bench
        .publish(&firmware, &["--key", "release.key"])
        .published();
    let verify = |args: &[&str]| {
        let url = format!("{}/firmware/lamp/stable.json", bench.server.endpoint_url());
        let mut command = bench.command();
        command
            .args(["verify", &url, "--ca", bench.ca()])
            .args(args)
            .current_dir(bench.dir.path());
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let unsigned = verify(&["--unsigned"]);
    assert!(
        unsigned.contains(&format!("names the key {owner}")),
        "{unsigned}"
    );
    assert!(
        unsigned.contains("but no signature") && !unsigned.contains("signed by"),
        "{unsigned}"
    );
    let signed = verify(&["--release-key", "release.key.pub"]);
    assert!(
        signed.contains(&format!("checked   the signature of the key {owner}")),
        "{signed}"
    );
}
