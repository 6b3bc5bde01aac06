//! Promises about which signatures let a request in.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use s3ota_devserver::{Access, DevServer, DevServerError, Options};

use crate::client::{Answer, Connection, sdk, sdk_with_secret, start};

/// A server with a private `firmware/a`.
async fn with_object() -> DevServer {
    let server = start(Access::Policy).await;
    let client = sdk(&server);
    client
        .create_bucket()
        .bucket("firmware")
        .send()
        .await
        .unwrap();
    client
        .put_object()
        .bucket("firmware")
        .key("a")
        .body(ByteStream::from_static(b"1"))
        .send()
        .await
        .unwrap();
    server
}

async fn presigned(server: &DevServer, config: PresigningConfig) -> String {
    let request = sdk(server)
        .get_object()
        .bucket("firmware")
        .key("a")
        .presigned(config)
        .await
        .unwrap();
    request
        .uri()
        .strip_prefix(&server.endpoint_url())
        .unwrap()
        .to_owned()
}

async fn get(server: &DevServer, target: &str) -> Answer {
    let host = format!("localhost:{}", server.local_addr().port());
    Connection::open(server, "localhost")
        .await
        .ask("GET", target, &host, &[])
        .await
}

#[tokio::test]
async fn a_pre_signed_url_works_until_it_expires() {
    let server = with_object().await;
    let target = presigned(
        &server,
        PresigningConfig::expires_in(Duration::from_secs(2)).unwrap(),
    )
    .await;
    let got = get(&server, &target).await;
    assert_eq!((got.status, got.text()), (200, "1"));

    tokio::time::sleep(Duration::from_secs(3)).await;
    let got = get(&server, &target).await;
    assert_eq!(got.status, 403);
    assert!(
        got.text().contains("<Code>AccessDenied</Code>"),
        "{}",
        got.text()
    );
    assert!(got.text().contains("Request has expired"), "{}", got.text());
    server.stop().await;
}

#[tokio::test]
async fn an_expired_url_and_one_from_the_future_are_refused() {
    let server = with_object().await;
    let at = |start: SystemTime| {
        PresigningConfig::builder()
            .start_time(start)
            .expires_in(Duration::from_secs(3600))
            .build()
            .unwrap()
    };
    let now = SystemTime::now();
    let expired = presigned(&server, at(now - Duration::from_secs(3700))).await;
    assert_eq!(get(&server, &expired).await.status, 403);
    let future = presigned(&server, at(now + Duration::from_secs(3600))).await;
    assert_eq!(get(&server, &future).await.status, 403);
    server.stop().await;
}

#[tokio::test]
async fn a_tampered_pre_signed_url_is_refused() {
    let server = with_object().await;
    let target = presigned(
        &server,
        PresigningConfig::expires_in(Duration::from_secs(60)).unwrap(),
    )
    .await;
    assert_eq!(get(&server, &target).await.status, 200);
    let (head, signature) = target.split_once("X-Amz-Signature=").unwrap();
    let flipped = if signature.starts_with('0') { '1' } else { '0' };
    for tampered in [
        format!("{head}X-Amz-Signature={flipped}{}", &signature[1..]),
        target.replace("X-Amz-Expires=60", "X-Amz-Expires=61"),
        target.replacen("/a?", "/b?", 1),
    ] {
        assert_ne!(tampered, target);
        let got = get(&server, &tampered).await;
        assert_eq!(got.status, 403, "{tampered}");
        assert!(
            got.text().contains("SignatureDoesNotMatch"),
            "{}",
            got.text()
        );
    }
    let taken_out = get(&server, head.trim_end_matches('&')).await;
    assert_eq!(taken_out.status, 403);
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_secret_or_an_unknown_key_id_is_refused() {
    let server = with_object().await;
    let error = sdk_with_secret(&server, "wrong")
        .list_buckets()
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("SignatureDoesNotMatch"));
    let target = presigned(
        &server,
        PresigningConfig::expires_in(Duration::from_secs(60)).unwrap(),
    )
    .await;
    let got = get(
        &server,
        &target.replace("Credential=s3ota%2F", "Credential=nobody%2F"),
    )
    .await;
    assert_eq!(got.status, 403);
    assert!(got.text().contains("InvalidAccessKeyId"), "{}", got.text());
    server.stop().await;
}

#[tokio::test]
async fn nobody_writes_lists_or_administers_without_credentials() {
    let server = start(Access::PublicRead).await;
    sdk(&server)
        .create_bucket()
        .bucket("firmware")
        .send()
        .await
        .unwrap();
    let mut connection = Connection::open(&server, "localhost").await;
    for (method, target) in [
        ("PUT", "/firmware/a"),
        ("DELETE", "/firmware/a"),
        ("GET", "/firmware"),
        ("GET", "/firmware?policy"),
        ("PUT", "/other"),
        ("DELETE", "/firmware"),
        ("POST", "/firmware?delete"),
        ("POST", "/firmware/a?uploads"),
        ("GET", "/"),
    ] {
        let answer = connection
            .ask(method, target, "localhost", &["content-length: 0"])
            .await;
        assert!(
            answer.status == 403 || (target == "/other" && answer.status == 404),
            "{method} {target}: {answer:?}"
        );
    }
    assert_eq!(
        sdk(&server)
            .list_buckets()
            .send()
            .await
            .unwrap()
            .buckets()
            .len(),
        1
    );
    server.stop().await;
}

#[tokio::test]
async fn beyond_this_machine_nobody_writes_with_the_secret_that_everyone_knows() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let options = Options {
            listen: address.parse().unwrap(),
            ..Options::default()
        };
        let refused = DevServer::start(options).await;
        assert!(
            matches!(refused, Err(DevServerError::KnownSecret { .. })),
            "{address}: {refused:?}"
        );
    }
    let options = Options {
        listen: "0.0.0.0:0".parse().unwrap(),
        secret_key: "one-of-my-own-for-this-test".to_owned(),
        ..Options::default()
    };
    DevServer::start(options).await.unwrap();
}
