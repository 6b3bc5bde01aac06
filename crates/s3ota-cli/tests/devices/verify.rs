//! `s3ota verify` with manifests written by others, on servers other than S3.

use std::process::Command;

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
    // All CAs of a system are more than a device has room for: it does without those of the environment.
    let pem = base64_simd::STANDARD.encode_to_string(&server.ca);
    let pem = format!("-----BEGIN CERTIFICATE-----\n{pem}\n-----END CERTIFICATE-----\n").repeat(20);
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
        last["code"].as_str().map(str::to_owned)
    };
    let copy = dir.path().join("copy.pem");
    std::fs::copy(dir.path().join("bundle.pem"), &copy).unwrap();
    let both = move || [run(&[]), run(&["--ca", copy.to_str().unwrap()])];
    let codes = tokio::task::spawn_blocking(both).await.unwrap();
    assert_eq!(
        codes,
        ["tls.certificate", "tls.root"].map(|it| Some(it.to_owned()))
    );
    let other_ca = Server::start(releasing("1.1.0")).await.ca;
    assert_eq!(
        verify(&server, "/manifest.json", &other_ca, &[]).await["code"],
        "http.get"
    );
}

#[test]
fn only_urls_that_a_device_can_fetch_are_accepted() {
    for url in [
        "s3://firmware/lamp/stable.json",
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
