//! `s3ota doctor` finds what is wrong with a bucket and says how to fix it: one test for each fault.
//!
//! The buckets are on the development server, which is S3 with all its checks. What no S3 server does (an expired certificate, a
//! redirect to http) comes from a scripted server.

use std::process::{Command, Output};
use std::sync::Arc;

use crate::bucket::{Bench, s3ota};
use aws_sdk_s3::primitives::ByteStream;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType, date_time_ymd,
};
use s3ota::tls::BuiltWith;
use s3ota_devserver::Access;
use s3ota_image::Chip;
use s3ota_image::app::ImageBuilder;
use scripted_server::*;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::rustls::{ServerConfig, crypto::ring};

/// What the doctor reported.
struct Diagnosis {
    findings: Vec<Value>,
    status: Option<i32>,
}

impl Diagnosis {
    fn of(output: &Output) -> Self {
        let text = std::str::from_utf8(&output.stdout).unwrap();
        let events = text.lines().map(|line| {
            serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("no JSON: {line}"))
        });
        let findings: Vec<Value> = events.filter(|event| event["event"] == "finding").collect();
        assert!(!findings.is_empty(), "{output:?}");
        Self {
            findings,
            status: output.status.code(),
        }
    }

    /// The codes of what is worse than a note.
    fn codes(&self, severity: &str) -> Vec<&str> {
        let bad = self
            .findings
            .iter()
            .filter(|finding| finding["severity"] == severity);
        bad.map(|finding| finding["code"].as_str().unwrap())
            .collect()
    }

    /// Exactly this fault was found, in words that hold `what`, with a fix that holds `fix`, and it stops a device.
    fn is_fault(&self, code: &str, what: &str, fix: &str) {
        assert_eq!(self.codes("fault"), [code], "{:#?}", self.findings);
        self.is_named(code, what, fix);
        assert_eq!(self.status, Some(1));
    }

    /// Exactly this warning was given, and no device is stopped.
    fn is_warning(&self, code: &str, what: &str, fix: &str) {
        assert_eq!(self.codes("warning"), [code], "{:#?}", self.findings);
        assert_eq!(self.codes("fault"), [""; 0], "{:#?}", self.findings);
        self.is_named(code, what, fix);
        assert_eq!(self.status, Some(0));
    }

    fn is_named(&self, code: &str, what: &str, fix: &str) {
        let finding = self.findings.iter().find(|finding| finding["code"] == code);
        let finding = finding.unwrap_or_else(|| panic!("no {code}: {:#?}", self.findings));
        let holds = |field: &str, text: &str| finding[field].as_str().unwrap().contains(text);
        assert!(holds("message", what), "{what:?} in {finding}");
        assert!(holds("fix", fix), "{fix:?} in {finding}");
    }
}

/// Runs the doctor beside the servers, which live on this test's runtime.
async fn doctor(mut command: Command, args: Vec<String>) -> Diagnosis {
    let run = move || {
        command
            .args(["--json", "doctor"])
            .args(args)
            .output()
            .unwrap()
    };
    Diagnosis::of(&tokio::task::spawn_blocking(run).await.unwrap())
}

/// A bucket on the development server, with a release of `lamp` in it that a test then spoils.
struct Bucket {
    bench: Bench,
}

impl Bucket {
    async fn released(access: Access) -> Self {
        Self::released_with(access, &[]).await
    }

    /// The release was published with further arguments.
    async fn released_with(access: Access, args: &[&str]) -> Self {
        let bench = Bench::new(access).await;
        let firmware = bench.dir.path().join("lamp.bin");
        std::fs::write(&firmware, image(Chip::Esp32C3, "1.1.0")).unwrap();
        let published = tokio::task::block_in_place(|| bench.publish(&firmware, args));
        published.published();
        Self { bench }
    }

    async fn manifest(&self) -> Value {
        let object = self
            .bench
            .client
            .get_object()
            .bucket("firmware")
            .key("lamp/stable.json");
        let body = object.send().await.unwrap().body.collect().await.unwrap();
        serde_json::from_slice(&body.to_vec()).unwrap()
    }

    /// Puts the manifest with some of its fields changed; `null` takes one out.
    async fn change_manifest(&self, changes: Value) {
        let mut manifest = self.manifest().await;
        for (field, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => manifest.as_object_mut().unwrap().remove(field),
                value => manifest
                    .as_object_mut()
                    .unwrap()
                    .insert(field.clone(), value.clone()),
            };
        }
        self.put(
            "lamp/stable.json",
            manifest.to_string().into_bytes(),
            |put| put,
        )
        .await;
    }

    /// Puts an object as the publisher does, but for what `change` does to it.
    async fn put(
        &self,
        key: &str,
        bytes: Vec<u8>,
        change: impl FnOnce(
            aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder,
        )
            -> aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder,
    ) {
        let put = self
            .bench
            .client
            .put_object()
            .bucket("firmware")
            .key(key)
            .content_type(if key.ends_with(".json") {
                "application/json"
            } else {
                "application/octet-stream"
            })
            .cache_control("public, max-age=60")
            .body(ByteStream::from(bytes));
        change(put).send().await.unwrap();
    }

    /// The key of the image the manifest names.
    async fn image_key(&self) -> String {
        let url = self.manifest().await["url"].as_str().unwrap().to_owned();
        url.split_once("/firmware/")
            .unwrap()
            .1
            .split('?')
            .next()
            .unwrap()
            .to_owned()
    }

    /// The doctor looks at the manifest's URL, as devices have it.
    async fn examined(&self) -> Diagnosis {
        let url = format!(
            "{}/firmware/lamp/stable.json",
            self.bench.server.endpoint_url()
        );
        self.examined_at(&url, &[]).await
    }

    async fn examined_at(&self, target: &str, more: &[&str]) -> Diagnosis {
        let args = [&[target], more].concat();
        doctor(
            self.bench.command(),
            args.into_iter().map(str::to_owned).collect(),
        )
        .await
    }
}

fn image(chip: Chip, version: &str) -> Vec<u8> {
    ImageBuilder::new(chip, version)
        .project_name("lamp")
        .length(60_000)
        .build()
}

/// The doctor looks at a scripted server.
async fn examined(server: &Server) -> Diagnosis {
    let ca = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca.path(), &server.ca).unwrap();
    let ca = ca.path().to_str().unwrap().to_owned();
    doctor(
        s3ota(),
        vec![server.url("/manifest.json"), "--ca".to_owned(), ca.clone()],
    )
    .await
}

/// An answer as S3 gives it, with other fields before the usual ones.
fn served(fields: &str, body: &[u8]) -> Reply {
    let tag = body.len();
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\n{fields}ETag: \"{tag}\"\r\nContent-Type: application/json\r\nCache-Control: max-age=60\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend(body);
    Reply::Send(answer)
}

/// A script that does everything right, but what `spoil` answers first.
fn all_but(
    spoil: impl Fn(&Request, &[u8], &[u8]) -> Option<Reply> + Send + Sync + 'static,
) -> impl server::Script {
    all_but_of(firmware("1.1.0"), spoil)
}

/// The same with this image.
fn all_but_of(
    image: Vec<u8>,
    spoil: impl Fn(&Request, &[u8], &[u8]) -> Option<Reply> + Send + Sync + 'static,
) -> impl server::Script {
    move |request: &Request, port| {
        let manifest = full_manifest("1.1.0", port, &image);
        if let Some(reply) = spoil(request, &manifest, &image) {
            return reply;
        }
        let body = match request.path.as_str() {
            "/manifest.json" => &manifest,
            "/image.bin" => &image,
            _ => return Reply::Send(status("404 Not Found", "")),
        };
        let range = request
            .field("range")
            .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
        if request.field("if-none-match").is_some() {
            return Reply::Send(status("304 Not Modified", ""));
        }
        if let Some(from) = range.and_then(|from| from.parse::<usize>().ok()) {
            let (part, last, total) = (&body[from..], body.len() - 1, body.len());
            let head = format!(
                "HTTP/1.1 206 Partial Content\r\nETag: \"{total}\"\r\nContent-Range: bytes {from}-{last}/{total}\r\nContent-Length: {}\r\n\r\n",
                part.len()
            );
            return Reply::Send([head.as_bytes(), part].concat());
        }
        served("", body)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_bucket_passes_by_url_and_by_location() {
    let bucket = Bucket::released(Access::PublicRead).await;
    for diagnosis in [
        bucket.examined().await,
        bucket.examined_at("s3://firmware/lamp", &[]).await,
    ] {
        assert_eq!(diagnosis.codes("fault"), [""; 0]);
        assert_eq!(
            diagnosis.codes("warning"),
            [""; 0],
            "{:#?}",
            diagnosis.findings
        );
        assert_eq!(diagnosis.status, Some(0));
        let last = diagnosis.findings.last().unwrap();
        assert_eq!(
            (&last["subject"], &last["severity"]),
            (&json!("device"), &json!("good"))
        );
    }
    let scripted = Server::start(all_but(|_, _, _| None)).await;
    let diagnosis = examined(&scripted).await;
    assert_eq!(
        diagnosis.codes("warning"),
        [""; 0],
        "{:#?}",
        diagnosis.findings
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_bucket_with_pre_signed_urls_passes() {
    let bucket = Bucket::released_with(Access::Policy, &["--presign", "7d"]).await;
    let diagnosis = bucket.examined_at("s3://firmware/lamp", &[]).await;
    // The URL that is pre-signed for this examination ends soon; that of devices does not.
    assert!(!diagnosis.codes("warning").contains(&"url.expires"));
    assert_eq!(
        diagnosis.codes("fault"),
        [""; 0],
        "{:#?}",
        diagnosis.findings
    );
    assert_eq!(diagnosis.status, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_01_a_dot_in_the_buckets_name() {
    for target in [
        "https://my.bucket.s3.eu-central-1.amazonaws.com/lamp/stable.json",
        "s3://my.bucket/lamp",
    ] {
        let diagnosis = doctor(s3ota(), vec![target.to_owned()]).await;
        diagnosis.is_fault("url.dots", "my.bucket", "a bucket name without dots");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_02_a_manifest_over_http() {
    let url = "http://my-bucket.s3.eu-central-1.amazonaws.com/lamp/stable.json";
    let diagnosis = doctor(s3ota(), vec![url.to_owned()]).await;
    diagnosis.is_fault("url.invalid", "http://", "give devices an https:// URL");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_03_a_certificate_of_an_unknown_ca() {
    let server = Server::start(all_but(|_, _, _| None)).await;
    let diagnosis = doctor(s3ota(), vec![server.url("/manifest.json")]).await;
    diagnosis.is_fault("tls.certificate", "trusted authority", "Config::roots");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_04_a_certificate_that_has_expired() {
    let expired = |leaf: &mut rcgen::CertificateParams| leaf.not_after = date_time_ymd(2024, 1, 1);
    let server = Server::start_as(expired, all_but(|_, _, _| None)).await;
    examined(&server)
        .await
        .is_fault("tls.certificate", "expired on 2024-01-01", "renew");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_05_a_certificate_for_another_host() {
    let other = |leaf: &mut rcgen::CertificateParams| {
        leaf.subject_alt_names = vec![SanType::DnsName("elsewhere.example".try_into().unwrap())];
    };
    let server = Server::start_as(other, all_but(|_, _, _| None)).await;
    examined(&server)
        .await
        .is_fault("tls.certificate", "another host", "with localhost among");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_06_a_private_bucket() {
    let bucket = Bucket::released(Access::Policy).await;
    bucket
        .examined()
        .await
        .is_fault("http.denied", "403", "s3ota bucket init");
    let diagnosis = bucket.examined_at("s3://firmware/lamp", &[]).await;
    diagnosis.is_fault(
        "http.denied",
        "may not read",
        "arn:aws:s3:::firmware/lamp/*",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_07_an_empty_channel() {
    let bucket = Bucket::released(Access::PublicRead).await;
    let diagnosis = bucket
        .examined_at("s3://firmware/lamp", &["--channel", "beta"])
        .await;
    diagnosis.is_fault("manifest.missing", "lamp/beta.json", "--channel beta");
    let nothing = |request: &Request, _: &[u8], _: &[u8]| {
        (request.path == "/manifest.json").then(|| Reply::Send(status("404 Not Found", "")))
    };
    let server = Server::start(all_but(nothing)).await;
    examined(&server)
        .await
        .is_fault("http.missing", "404", "publish a release");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_08_a_manifest_that_is_not_json() {
    let bucket = Bucket::released(Access::PublicRead).await;
    let page = b"<html>Welcome to your new bucket</html>".to_vec();
    bucket.put("lamp/stable.json", page, |put| put).await;
    bucket.examined().await.is_fault(
        "manifest.invalid",
        "JSON object",
        "is this the URL of a manifest",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_09_a_manifest_that_has_expired() {
    let bucket = Bucket::released(Access::PublicRead).await;
    bucket
        .change_manifest(json!({ "expires": "2026-01-31T12:00:00Z" }))
        .await;
    bucket
        .examined()
        .await
        .is_fault("release.expired", "2026-01-31", "with a later --expires");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_10_an_image_over_http() {
    let bucket = Bucket::released(Access::PublicRead).await;
    bucket
        .change_manifest(json!({ "url": "http://example.com/lamp.bin" }))
        .await;
    bucket
        .examined()
        .await
        .is_fault("manifest.url", "http://", "https://");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_11_a_manifest_that_is_compressed() {
    let bucket = Bucket::released(Access::PublicRead).await;
    let bytes = bucket.manifest().await.to_string().into_bytes();
    bucket
        .put("lamp/stable.json", bytes, |put| {
            put.content_encoding("gzip")
        })
        .await;
    let diagnosis = bucket.examined().await;
    diagnosis.is_fault("http.encoded", "gzip", "without --content-encoding");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_12_a_redirect_to_http() {
    let away = |request: &Request, _: &[u8], _: &[u8]| {
        let to_http = status(
            "301 Moved Permanently",
            "Location: http://example.com/m.json\r\n",
        );
        (request.path == "/manifest.json").then_some(Reply::Send(to_http))
    };
    let server = Server::start(all_but(away)).await;
    examined(&server).await.is_fault(
        "http.redirect",
        "http://example.com/m.json",
        "https:// only",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_13_a_missing_image() {
    let bucket = Bucket::released(Access::PublicRead).await;
    let key = bucket.image_key().await;
    bucket
        .bench
        .client
        .delete_object()
        .bucket("firmware")
        .key(key)
        .send()
        .await
        .unwrap();
    let diagnosis = bucket.examined_at("s3://firmware/lamp", &[]).await;
    diagnosis.is_fault(
        "http.missing",
        "images/1.1.0-",
        "publish the firmware again",
    );
    // Without credentials, nobody can tell whether it exists.
    let diagnosis = bucket.examined().await;
    diagnosis.is_fault("http.denied", "the image", "publish it again");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_14_an_image_of_another_size() {
    let bucket = Bucket::released(Access::PublicRead).await;
    bucket
        .change_manifest(json!({ "size": 60_001, "sha256": null }))
        .await;
    bucket.examined().await.is_fault(
        "image.size",
        "the manifest says 60001",
        "publish the release again",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_15_an_image_with_other_bytes() {
    let bucket = Bucket::released(Access::PublicRead).await;
    let key = bucket.image_key().await;
    let other = ImageBuilder::new(Chip::Esp32C3, "1.1.0")
        .project_name("pmal")
        .length(60_000);
    bucket.put(&key, other.build(), |put| put).await;
    bucket
        .examined()
        .await
        .is_fault("image.digest", "SHA-256", "publish the release again");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_16_an_image_that_is_torn() {
    let bucket = Bucket::released(Access::PublicRead).await;
    let mut torn = image(Chip::Esp32C3, "1.1.0");
    torn[30_000] ^= 1;
    let key = bucket.image_key().await;
    bucket.put(&key, torn, |put| put).await;
    let diagnosis = bucket.examined().await;
    // Its own digest is wrong, and it is not what the manifest names.
    assert_eq!(diagnosis.codes("fault"), ["image.digest", "image.digest"]);
    diagnosis.is_named("image.digest", "SHA-256", "publish the release again");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_17_an_image_for_another_chip() {
    let bucket = Bucket::released(Access::PublicRead).await;
    bucket.change_manifest(json!({ "chip": "esp32s3" })).await;
    bucket
        .examined()
        .await
        .is_fault("image.chip", "esp32s3", "one prefix for each product");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_18_an_image_with_another_version() {
    let bucket = Bucket::released(Access::PublicRead).await;
    bucket.change_manifest(json!({ "version": "1.2.0" })).await;
    bucket
        .examined()
        .await
        .is_fault("image.version", "calls itself 1.1.0", "publish it as 1.1.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_19_an_expired_pre_signed_url() {
    let bucket = Bucket::released(Access::PublicRead).await;
    let url = bucket.manifest().await["url"].as_str().unwrap().to_owned();
    let ended =
        format!("{url}?X-Amz-Date=20260101T000000Z&X-Amz-Expires=604800&X-Amz-Signature=00");
    bucket.change_manifest(json!({ "url": ended })).await;
    bucket
        .examined()
        .await
        .is_fault("url.expired", "expired on 2026-01-08", "s3ota presign");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_20_an_unsigned_release() {
    let bucket = Bucket::released(Access::PublicRead).await;
    let key = rcgen::KeyPair::generate().unwrap();
    let path = bucket.bench.path("release.pub");
    std::fs::write(&path, key.public_key_pem()).unwrap();
    let url = format!(
        "{}/firmware/lamp/stable.json",
        bucket.bench.server.endpoint_url()
    );
    let diagnosis = bucket.examined_at(&url, &["--release-key", &path]).await;
    diagnosis.is_fault(
        "release.signature",
        "not signed",
        "with a key that devices trust",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_21_a_head_that_is_too_long_for_a_device() {
    let chatty = |request: &Request, manifest: &[u8], _: &[u8]| {
        let cookies = format!("Set-Cookie: {}\r\n", "x".repeat(5000));
        (request.path == "/manifest.json").then(|| served(&cookies, manifest))
    };
    let server = Server::start(all_but(chatty)).await;
    examined(&server)
        .await
        .is_fault("http.invalid", "head", "shorter header fields");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_22_a_signed_release_that_was_changed() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("release.key").to_str().unwrap().to_owned();
    let made = s3ota()
        .args(["keygen", "--no-passphrase", &key])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let bucket =
        Bucket::released_with(Access::PublicRead, &["--key", &key, "--rollout", "10"]).await;
    let url = format!(
        "{}/firmware/lamp/stable.json",
        bucket.bench.server.endpoint_url()
    );
    let public = format!("{key}.pub");
    let more = ["--release-key", &public];
    let diagnosis = bucket.examined_at(&url, &more).await;
    assert_eq!(
        diagnosis.codes("fault"),
        [""; 0],
        "{:#?}",
        diagnosis.findings
    );
    bucket.change_manifest(json!({ "rollout": 100 })).await;
    let diagnosis = bucket.examined_at(&url, &more).await;
    diagnosis.is_fault(
        "release.signature",
        "changed after it was signed",
        "sign the release again",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn warning_01_a_manifest_that_caches_keep_too_long() {
    let bucket = Bucket::released(Access::PublicRead).await;
    let bytes = bucket.manifest().await.to_string().into_bytes();
    bucket
        .put("lamp/stable.json", bytes, |put| {
            put.cache_control("max-age=604800")
        })
        .await;
    bucket
        .examined()
        .await
        .is_warning("http.cache", "7 days", "max-age=60");
}

#[tokio::test(flavor = "multi_thread")]
async fn warning_02_a_manifest_of_another_content_type() {
    let bucket = Bucket::released(Access::PublicRead).await;
    let bytes = bucket.manifest().await.to_string().into_bytes();
    bucket
        .put("lamp/stable.json", bytes, |put| {
            put.content_type("text/plain")
        })
        .await;
    bucket
        .examined()
        .await
        .is_warning("http.type", "text/plain", "application/json");
}

#[tokio::test(flavor = "multi_thread")]
async fn warning_03_a_server_without_range_requests() {
    let whole = |request: &Request, _: &[u8], image: &[u8]| {
        request.field("range").map(|_| served("", image))
    };
    let server = Server::start(all_but(whole)).await;
    examined(&server)
        .await
        .is_warning("http.range", "HTTP 200", "answer Range with 206");
}

#[tokio::test(flavor = "multi_thread")]
async fn warning_04_a_server_without_conditional_requests() {
    let always = |request: &Request, manifest: &[u8], _: &[u8]| {
        request.field("if-none-match").map(|_| served("", manifest))
    };
    let server = Server::start(all_but(always)).await;
    examined(&server)
        .await
        .is_warning("http.not_modified", "instead of 304", "If-None-Match");
}

#[tokio::test(flavor = "multi_thread")]
async fn warning_05_a_clock_that_is_off() {
    let late = |request: &Request, manifest: &[u8], _: &[u8]| {
        let first = request.path == "/manifest.json" && request.field("if-none-match").is_none();
        first.then(|| served("Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n", manifest))
    };
    let server = Server::start(all_but(late)).await;
    examined(&server)
        .await
        .is_warning("clock.skew", "behind", "NTP");
}

#[tokio::test(flavor = "multi_thread")]
async fn warning_06_a_manifest_without_a_hash() {
    let bucket = Bucket::released(Access::PublicRead).await;
    bucket.change_manifest(json!({ "sha256": null })).await;
    bucket
        .examined()
        .await
        .is_warning("manifest.digest", "SHA-256", "`sha256`");
}

#[tokio::test(flavor = "multi_thread")]
async fn warning_07_an_image_without_a_boot_guard() {
    let bucket = Bucket::released(Access::PublicRead).await;
    let firmware = bucket.bench.dir.path().join("unguarded.bin");
    let image = ImageBuilder::new(Chip::Esp32C3, "1.2.0").project_name("lamp");
    std::fs::write(&firmware, image.length(60_000).without_guard().build()).unwrap();
    let told = ["--drop-guard"];
    tokio::task::block_in_place(|| bucket.bench.publish(&firmware, &told)).published();
    let diagnosis = bucket.examined().await;
    diagnosis.is_warning("image.guard", "no boot guard", "first thing");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_for_a_chip_revision_that_does_not_exist_stops_every_device() {
    let bucket = Bucket::released(Access::PublicRead).await;
    let firmware = bucket.bench.dir.path().join("asks.bin");
    let image = ImageBuilder::new(Chip::Esp32C3, "1.2.0").project_name("lamp");
    let image = image.length(60_000).block_revisions(25_185, 0);
    std::fs::write(&firmware, image.build()).unwrap();
    tokio::task::block_in_place(|| bucket.bench.publish(&firmware, &[])).published();
    let diagnosis = bucket.examined().await;
    diagnosis.is_fault("image.efuse", "v251.85", "app descriptor");
}

/// A server with the answers of [`all_but`] and a chain of such keys: root, issuer, server. The image tells what it was built with,
/// if it does.
async fn with_keys(
    keys: [&'static rcgen::SignatureAlgorithm; 3],
    built_with: Option<BuiltWith>,
) -> Server {
    let mut sent = Vec::new();
    let mut ca = Vec::new();
    let mut above: Option<Issuer<'_, KeyPair>> = None;
    let mut own_key = Vec::new();
    for (name, algorithm) in ["Root", "Issuer", "localhost"].into_iter().zip(keys) {
        let key = KeyPair::generate_for(algorithm).unwrap();
        own_key = key.serialize_der();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        if name != "localhost" {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        match &above {
            None => ca = params.self_signed(&key).unwrap().der().to_vec(),
            Some(issuer) => {
                let signed = params.signed_by(&key, issuer).unwrap();
                sent.insert(0, signed.der().clone());
            }
        }
        above = Some(Issuer::new(params, key));
    }
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(sent, PrivatePkcs8KeyDer::from(own_key).into())
        .unwrap();
    let identity = Arc::new(server::Identity {
        ca,
        config: Arc::new(config),
    });
    let mut image = ImageBuilder::new(Chip::Esp32C3, "1.1.0");
    let label = built_with.map(BuiltWith::label);
    if let Some(label) = &label {
        image = image.payload(label);
    }
    let image = image.build();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = Server {
        port,
        ca: identity.ca.clone(),
        requests: Arc::default(),
    };
    let script = Arc::new(all_but_of(image, |_, _, _| None));
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let (identity, script) = (identity.clone(), script.clone());
            tokio::spawn(async move {
                let answer = move |request: Request| script(&request, port);
                identity.serve(socket, 0, answer).await;
            });
        }
    });
    server
}

async fn over(
    keys: [&'static rcgen::SignatureAlgorithm; 3],
    built_with: Option<BuiltWith>,
) -> Diagnosis {
    examined(&with_keys(keys, built_with).await).await
}

const P256: &rcgen::SignatureAlgorithm = &rcgen::PKCS_ECDSA_P256_SHA256;
const P384: &rcgen::SignatureAlgorithm = &rcgen::PKCS_ECDSA_P384_SHA384;

#[tokio::test(flavor = "multi_thread")]
async fn warning_09_certificates_that_need_p384() {
    let diagnosis = over([P384, P384, P256], None).await;
    diagnosis.is_warning(
        "tls.features",
        "the certificate \"Issuer\" and the certificate \"Root\" have P-384 keys",
        "the feature `p384` of s3ota-esp; `p384` takes 95 KB",
    );
    // The command has the feature: the virtual device has installed the release.
    assert_eq!(diagnosis.findings.last().unwrap()["subject"], "device");
    for (keys, name) in [
        ([P384, P256, P256], "\"Root\" has a P-384 key"),
        ([P256, P384, P256], "\"Issuer\" has a P-384 key"),
        ([P256, P256, P384], "\"localhost\" has a P-384 key"),
    ] {
        let diagnosis = over(keys, None).await;
        diagnosis.is_warning("tls.features", name, "`p384`");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_23_an_image_without_p384_where_it_is_needed() {
    let built_with = |p384| Some(BuiltWith { rsa: true, p384 });
    let diagnosis = over([P384, P256, P256], built_with(false)).await;
    diagnosis.is_fault(
        "tls.features",
        "it was built without `p384`, and the certificate \"Root\" has a P-384 key",
        "build the firmware with the feature `p384`",
    );
    let diagnosis = over([P384, P256, P256], built_with(true)).await;
    assert_eq!(diagnosis.codes("warning"), [""; 0]);
    assert_eq!(diagnosis.status, Some(0), "{:#?}", diagnosis.findings);
    let diagnosis = over([P256, P256, P256], built_with(false)).await;
    assert_eq!(diagnosis.codes("warning"), [""; 0]);
    assert_eq!(diagnosis.status, Some(0), "{:#?}", diagnosis.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_warns_of_certificates_that_need_p384() {
    for (root, warned) in [(P384, true), (P256, false)] {
        let server = with_keys([root, P256, P256], None).await;
        let ca = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(ca.path(), &server.ca).unwrap();
        let mut command = s3ota();
        command
            .args([
                "verify",
                &server.url("/manifest.json"),
                "--unsigned",
                "--ca",
            ])
            .arg(ca.path());
        let run = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = run.await.unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        assert_eq!(text.contains("\"Root\" has a P-384 key"), warned, "{text}");
    }
}

/// What S3 answers to a request for a list, where these keys are, each with its time.
fn list(request: &Request, keys: &[(String, String)]) -> String {
    let query = request.path.split_once('?').unwrap().1;
    let value = |name: &str| {
        let mut fields = query.split('&');
        let value = fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='))?;
        Some(value.replace("%2F", "/"))
    };
    let prefix = value("prefix").unwrap_or_default();
    let mut answer = String::from("<ListBucketResult><IsTruncated>false</IsTruncated>");
    let mut folders = Vec::new();
    for (key, time) in keys.iter().filter(|(key, _)| key.starts_with(&prefix)) {
        match key[prefix.len()..]
            .find('/')
            .filter(|_| value("delimiter").is_some())
        {
            Some(end) => folders.push(&key[..=prefix.len() + end]),
            None => {
                answer += &format!(
                    "<Contents><Key>{key}</Key><Size>1</Size><LastModified>{time}</LastModified></Contents>"
                )
            }
        }
    }
    folders.dedup();
    for folder in folders {
        answer += &format!("<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>");
    }
    answer + "</ListBucketResult>"
}

/// The doctor looks at a bucket whose log goes there, and has arrived at these times. What it finds of the log.
async fn log_of(target: &'static str, delivered: &[(&str, &str)]) -> Value {
    let keys: Vec<_> = delivered
        .iter()
        .map(|(key, time)| ((*key).to_owned(), (*time).to_owned()))
        .collect();
    let server = Server::start(all_but(move |request, manifest, _| {
        let path = request.path.as_str();
        let answer = match path.split('?').next().unwrap() {
            "/firmware/lamp/stable.json" => return Some(served("", manifest)),
            "/firmware" | "/firmware/" if path.contains("?logging") && target == "denied" => {
                let error = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
                let mut answer = status(
                    "403 Forbidden",
                    &format!("Content-Length: {}\r\n", error.len()),
                );
                answer.extend(error.bytes());
                return Some(Reply::Send(answer));
            }
            "/firmware" | "/firmware/" if path.contains("?logging") => {
                format!("<BucketLoggingStatus>{target}</BucketLoggingStatus>")
            }
            "/logs" | "/logs/" => list(request, &keys),
            _ => return None,
        };
        Some(served("", answer.as_bytes()))
    }))
    .await;
    let ca = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca.path(), &server.ca).unwrap();
    let mut command = s3ota();
    command
        .env("AWS_ACCESS_KEY_ID", "a")
        .env("AWS_SECRET_ACCESS_KEY", "b");
    let endpoint = server.url("");
    let args = [
        "s3://firmware/lamp",
        "--endpoint-url",
        &endpoint,
        "--ca",
        ca.path().to_str().unwrap(),
    ];
    let diagnosis = doctor(command, args.map(str::to_owned).to_vec()).await;
    assert_eq!(diagnosis.status, Some(0), "{:#?}", diagnosis.findings);
    let mut findings = diagnosis.findings.into_iter();
    findings
        .find(|finding| finding["subject"] == "log")
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_log_that_is_off_or_late_is_told() {
    const BY_DAY: &str = "<LoggingEnabled><TargetBucket>logs</TargetBucket><TargetPrefix>firmware/</TargetPrefix><TargetObjectKeyFormat>\
        <PartitionedPrefix><PartitionDateSource>DeliveryTime</PartitionDateSource></PartitionedPrefix></TargetObjectKeyFormat></LoggingEnabled>";
    const BY_NAME: &str = "<LoggingEnabled><TargetBucket>logs</TargetBucket><TargetPrefix>firmware/</TargetPrefix></LoggingEnabled>";
    let now = s3ota_manifest::Timestamp::from_unix_seconds(
        std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() - 3600,
    );
    let now = now.unwrap().to_string();
    let old = "2026-01-31T12:00:00Z";
    let folder = "firmware/111122223333/us-east-1/firmware";
    let late = format!("{folder}/2026/01/31/2026-01-31-12-00-00-0123456789ABCDEF");
    let new = format!("{folder}/2026/11/29/2026-11-29-12-00-00-0123456789ABCDEF");
    let old_name = "firmware/2026-01-31-12-00-00-0123456789ABCDEF";
    let new_name = format!("firmware/{}-12-00-00-0123456789ABCDEF", &now[..10]);
    for (target, delivered, severity, says) in [
        ("", vec![], "note", "not logged"),
        ("denied", vec![], "note", "is not known"),
        (BY_DAY, vec![], "note", "nothing has arrived yet"),
        (
            BY_DAY,
            vec![(&*late, old), (&*new, &*now)],
            "good",
            "logged to s3://logs/firmware/",
        ),
        (BY_DAY, vec![(&*late, old)], "warning", "days old"),
        (BY_NAME, vec![], "note", "nothing has arrived yet"),
        (
            BY_NAME,
            vec![(old_name, old), (&*new_name, &*now)],
            "good",
            "logged to",
        ),
        (BY_NAME, vec![(old_name, old)], "warning", "days old"),
    ] {
        let finding = log_of(target, &delivered).await;
        assert_eq!(
            finding["severity"], severity,
            "{target} {delivered:?}: {finding}"
        );
        let message = finding["message"].as_str().unwrap();
        assert!(message.contains(says), "{message}");
    }
}
