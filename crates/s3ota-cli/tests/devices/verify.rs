//! `s3ota verify` with manifests written by others, on servers other than S3.

use std::process::Command;

use crate::bucket::Bench;
use s3ota_devserver::Access;
use scripted_server::*;
use serde_json::Value;

/// Judges as a device without keys; the last thing it says.
async fn verify(server: &Server, path: &str, ca: &[u8], more: &'static [&str]) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.der");
    std::fs::write(&file, ca).unwrap();
    let url = server.url(path);
    // The server runs on this thread's runtime, so the command must not block it.
    let run = move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_s3ota"));
        command
            .args(["--json", "verify", &url, "--unsigned", "--ca"])
            .arg(&file)
            .args(more);
        command.output().unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(
        output.status.success(),
        last["event"] == "verified",
        "{text}"
    );
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_of_two_fields_is_judged_and_redirects_are_followed_as_a_device_does() {
    let image = firmware("1.1.0");
    let server = Server::start(move |request, port| match request.path.as_str() {
        "/moved.json" => Reply::Send(status(
            "307 Temporary Redirect",
            &format!("Location: https://localhost:{port}/manifest.json\r\n"),
        )),
        "/round.json" => Reply::Send(status(
            "302 Found",
            &format!("Location: https://localhost:{port}/round.json\r\n"),
        )),
        "/plain.json" => Reply::Send(status(
            "301 Moved",
            "Location: http://localhost/manifest.json\r\n",
        )),
        "/long.json" => Reply::Send(ok(&[b' '; 10_000])),
        "/manifest.json" => Reply::Send(ok(&manifest("1.1.0", port))),
        "/image.bin" => Reply::Send(ok(&image)),
        _ => Reply::Send(status("404 Not Found", "")),
    })
    .await;
    for path in ["/manifest.json", "/moved.json"] {
        let verified = verify(&server, path, &server.ca, &[]).await;
        assert_eq!(
            (&verified["image"], &verified["keyid"]),
            (&true.into(), &Value::Null),
            "{verified}"
        );
    }
    for (path, more, code) in [
        ("/manifest.json", &["--chip", "esp32c6"][..], "image.chip"),
        ("/manifest.json", &["--chip", "esp8266"], "image.chip"),
        ("/round.json", &[], "http.redirect"),
        ("/plain.json", &[], "http.redirect"),
        ("/long.json", &[], "http.length"),
        ("/none.json", &[], "http.status"),
    ] {
        assert_eq!(
            verify(&server, path, &server.ca, more).await["code"],
            code,
            "{path}"
        );
    }
    // The CA can be in the environment, as for the commands on a bucket. The command line counts more.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.der");
    std::fs::write(&file, &server.ca).unwrap();
    let url = server.url("/manifest.json");
    let run = move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_s3ota"));
        command
            .args(["--json", "verify", &url, "--unsigned"])
            .env("AWS_CA_BUNDLE", &file);
        command.output().unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    // All CAs of a system are more than a device has room for: it does without those of the environment, and says so.
    let mut pem = String::new();
    for _ in 0..20 {
        let key = rcgen::KeyPair::generate().unwrap();
        let ca = rcgen::CertificateParams::default()
            .self_signed(&key)
            .unwrap();
        pem.push_str(&ca.pem());
    }
    let own = base64_simd::STANDARD.encode_to_string(&server.ca);
    pem += &format!("-----BEGIN CERTIFICATE-----\n{own}\n-----END CERTIFICATE-----\n");
    let bundle = dir.path().join("bundle.pem");
    std::fs::write(&bundle, pem).unwrap();
    let url = server.url("/manifest.json");
    let run = move |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_s3ota"));
        command
            .args(["--json", "verify", &url, "--unsigned"])
            .args(args)
            .env("AWS_CA_BUNDLE", &bundle);
        let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        let is_told = text.contains(r#""tls.roots""#) && text.contains("21 CAs of AWS_CA_BUNDLE");
        (last["code"].as_str().unwrap().to_owned(), is_told)
    };
    let copy = dir.path().join("copy.pem");
    std::fs::copy(dir.path().join("bundle.pem"), &copy).unwrap();
    let both = move || [run(&[]), run(&["--ca", copy.to_str().unwrap()])];
    let codes = tokio::task::spawn_blocking(both).await.unwrap();
    let codes = codes
        .each_ref()
        .map(|(code, is_told)| (code.as_str(), *is_told));
    assert_eq!(codes, [("tls.certificate", true), ("tls.root", false)]);
    let other_ca = Server::start(releasing("1.1.0")).await.ca;
    assert_eq!(
        verify(&server, "/manifest.json", &other_ca, &[]).await["code"],
        "http.get"
    );
}

#[test]
fn only_urls_that_a_device_can_fetch_are_accepted() {
    for url in [
        "ftp://localhost/stable.json",
        "http://localhost/stable.json",
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_s3ota"));
        let output = command
            .args(["--json", "verify", url, "--unsigned"])
            .output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(2));
        let last: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(last["code"], "cli.usage");
        assert!(
            last["hint"].as_str().unwrap().contains("https://"),
            "{last}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_is_verified_by_its_location() {
    for (access, presign) in [
        (Access::PublicRead, &[][..]),
        (Access::Policy, &["--presign", "1h"]),
    ] {
        let bench = Bench::new(access).await;
        bench.key("release");
        let image = bench.image("1.0.0");
        let key = ["--key", "release.key"];
        bench
            .publish(image.as_ref(), &[&key[..], presign].concat())
            .published();
        let place = "s3://firmware/lamp";
        let verify = |args: &[&str]| {
            bench.s3ota(&[&["verify", place, "--release-key", "release.key.pub"], args].concat())
        };
        let run = verify(&[]);
        let verified = run.succeeded();
        assert_eq!(
            (&verified["event"], &verified["image"]),
            (&"verified".into(), &true.into())
        );
        assert_eq!(verify(&["--channel", "beta"]).error(), "manifest.missing");
        assert_eq!(verify(&["--image", &image]).usage_error(), "cli.usage");
        // Settings name the location, and the channel there. They do not change what a URL is.
        let other = bench.image("1.1.0");
        let beta = [&key[..], &["--channel", "beta"], presign].concat();
        let beta = bench.publish(other.as_ref(), &beta);
        let url = beta.published()["manifest_url"]
            .as_str()
            .unwrap()
            .to_owned();
        let file = bench.path("s3ota.toml");
        std::fs::write(&file, "location = 's3://firmware/lamp'\nchannel = 'beta'").unwrap();
        let run = bench.s3ota(&["verify", "--release-key", "release.key.pub"]);
        assert_eq!(run.succeeded()["version"], "1.1.0");
        std::fs::write(&file, "location = 's3://firmware/lamp'\nchannel = 'stable'").unwrap();
        let run = bench.s3ota(&["verify", &url, "--release-key", "release.key.pub"]);
        assert_eq!(run.succeeded()["version"], "1.1.0");
    }
}
