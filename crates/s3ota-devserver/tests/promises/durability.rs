//! Promises about what stays, and where.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use s3ota_devserver::{Access, DevServer, DevServerError, Options};

use crate::client::{Connection, options, sdk, start};

async fn start_in(dir: &Path) -> DevServer {
    DevServer::start(Options {
        dir: Some(dir.to_owned()),
        ..options(Access::PublicRead)
    })
    .await
    .unwrap()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path))
        } else {
            found.push(path)
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_restart_keeps_objects_policies_and_the_authority() {
    let dir = tempfile::tempdir().unwrap();
    let server = start_in(dir.path()).await;
    let client = sdk(&server);
    client
        .create_bucket()
        .bucket("firmware")
        .send()
        .await
        .unwrap();
    let put = client
        .put_object()
        .bucket("firmware")
        .key("fw/a b.json")
        .content_type("application/json");
    let etag = put
        .body(ByteStream::from_static(b"{}"))
        .send()
        .await
        .unwrap()
        .e_tag
        .unwrap();
    let policy = r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"s3:ListBucket","Resource":"arn:aws:s3:::firmware"}}"#;
    client
        .put_bucket_policy()
        .bucket("firmware")
        .policy(policy)
        .send()
        .await
        .unwrap();
    let ca = server.ca_der().to_vec();
    assert_eq!(
        std::fs::read_to_string(server.ca_path()).unwrap(),
        server.ca_pem()
    );
    server.stop().await;

    let server = start_in(dir.path()).await;
    assert_eq!(server.ca_der(), ca);
    let got = sdk(&server)
        .get_object()
        .bucket("firmware")
        .key("fw/a b.json")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (got.e_tag(), got.content_type()),
        (Some(&*etag), Some("application/json"))
    );
    assert_eq!(got.body.collect().await.unwrap().to_vec(), b"{}");
    let mut connection = Connection::open(&server, "localhost").await;
    assert_eq!(
        connection.get("/firmware/missing", &[]).await.status,
        404,
        "the policy still lets anybody list"
    );
    server.stop().await;
}

#[tokio::test]
async fn no_key_leads_out_of_the_directory() {
    let outside = tempfile::tempdir().unwrap();
    let dir = outside.path().join("server");
    let server = start_in(&dir).await;
    let client = sdk(&server);
    client
        .create_bucket()
        .bucket("firmware")
        .send()
        .await
        .unwrap();
    let long = "n".repeat(1024);
    let keys = [
        "../../../escape",
        "..",
        "a/../../b",
        "/etc/passwd",
        "a//b",
        "a\\..\\b",
        "con",
        "A",
        "a",
        "\u{1}",
        &long,
    ];
    for key in keys {
        let put = client
            .put_object()
            .bucket("firmware")
            .key(key)
            .body(ByteStream::from(key.as_bytes().to_vec()));
        put.send()
            .await
            .unwrap_or_else(|error| panic!("{key}: {error:?}"));
    }
    for key in keys {
        let got = client
            .get_object()
            .bucket("firmware")
            .key(key)
            .send()
            .await
            .unwrap();
        assert_eq!(
            got.body.collect().await.unwrap().to_vec(),
            key.as_bytes(),
            "{key}"
        );
    }
    let beside: Vec<_> = std::fs::read_dir(outside.path())
        .unwrap()
        .map(|it| it.unwrap().file_name())
        .collect();
    assert_eq!(beside, ["server"]);
    let records = dir.join("buckets/firmware/objects");
    assert_eq!(files(&records).len(), keys.len());

    // A raw path is no way out either.
    let mut connection = Connection::open(&server, "localhost").await;
    for target in [
        "/firmware/../../../lock",
        "/firmware/%2e%2e/%2e%2e/lock",
        "/../lock",
        "/%2e%2e/ca-key.pem",
    ] {
        let status = connection.get(target, &[]).await.status;
        assert!((400..500).contains(&status), "{target}: {status}");
    }
    server.stop().await;
}

#[tokio::test]
async fn replaced_and_deleted_bytes_leave_the_disk() {
    let server = start(Access::PublicRead).await;
    let client = sdk(&server);
    client
        .create_bucket()
        .bucket("firmware")
        .send()
        .await
        .unwrap();
    let data = server.dir().join("buckets/firmware/data");
    for body in ["1", "2", "3"] {
        let put = client
            .put_object()
            .bucket("firmware")
            .key("a")
            .body(ByteStream::from_static(body.as_bytes()));
        put.send().await.unwrap();
        assert_eq!(files(&data).len(), 1);
    }
    client
        .delete_object()
        .bucket("firmware")
        .key("a")
        .send()
        .await
        .unwrap();
    assert_eq!(
        files(server.dir().join("buckets/firmware").as_path()).len(),
        1,
        "only the bucket's own record"
    );
    server.stop().await;
}

#[tokio::test]
async fn what_a_crash_left_behind_is_removed_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let server = start_in(dir.path()).await;
    sdk(&server)
        .create_bucket()
        .bucket("firmware")
        .send()
        .await
        .unwrap();
    server.stop().await;
    let before = files(dir.path());
    std::fs::write(dir.path().join("buckets/firmware/data/half-written"), b"1").unwrap();
    std::fs::write(dir.path().join("buckets/firmware/objects/.part-x"), b"{").unwrap();
    start_in(dir.path()).await.stop().await;
    assert_eq!(files(dir.path()), before);
    // A bucket that was never quite made is none yet.
    std::fs::create_dir_all(dir.path().join("buckets/half-made/objects")).unwrap();
    let server = start_in(dir.path()).await;
    let client = sdk(&server);
    assert!(
        client
            .head_bucket()
            .bucket("half-made")
            .send()
            .await
            .is_err()
    );
    client
        .create_bucket()
        .bucket("half-made")
        .send()
        .await
        .unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_damaged_record_is_named_not_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let server = start_in(dir.path()).await;
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
    server.stop().await;
    let record = files(&dir.path().join("buckets/firmware/objects")).remove(0);
    let whole = std::fs::read_to_string(&record).unwrap();
    for damaged in [&whole[..whole.len() / 2], &whole.replace("\"a\"", "\"b\"")] {
        std::fs::write(&record, damaged).unwrap();
        let started = DevServer::start(Options {
            dir: Some(dir.path().to_owned()),
            ..options(Access::Policy)
        })
        .await;
        let Err(DevServerError::Damaged { path, .. }) = started else {
            panic!("started on {damaged}")
        };
        assert_eq!(path.file_name(), record.file_name());
    }
    std::fs::write(&record, whole).unwrap();
    start_in(dir.path()).await.stop().await;
    std::fs::remove_file(&files(&dir.path().join("buckets/firmware/data"))[0]).unwrap();
    let started = DevServer::start(Options {
        dir: Some(dir.path().to_owned()),
        ..options(Access::Policy)
    })
    .await;
    assert!(matches!(started, Err(DevServerError::Damaged { .. })));
}

#[tokio::test]
async fn two_servers_do_not_share_a_directory_or_a_port() {
    let dir = tempfile::tempdir().unwrap();
    let server = start_in(dir.path()).await;
    let same_dir = DevServer::start(Options {
        dir: Some(dir.path().to_owned()),
        ..options(Access::Policy)
    })
    .await;
    assert!(matches!(
        same_dir,
        Err(DevServerError::DirectoryInUse { .. })
    ));
    let same_port = DevServer::start(Options {
        listen: server.local_addr(),
        ..options(Access::Policy)
    })
    .await;
    let Err(error @ DevServerError::Listen { .. }) = same_port else {
        panic!("two servers on one port")
    };
    assert!(error.to_string().contains("already in use"), "{error}");
    server.stop().await;
    start_in(dir.path()).await.stop().await;
}

#[tokio::test]
async fn a_temporary_directory_goes_with_its_server() {
    for stopped in [true, false] {
        let server = start(Access::PublicRead).await;
        let dir = server.dir().to_owned();
        assert!(server.ca_path().exists());
        if stopped {
            server.stop().await
        } else {
            drop(server)
        }
        assert!(!dir.exists(), "stopped: {stopped}");
    }
}

#[tokio::test]
async fn an_upload_that_breaks_off_makes_no_object() {
    let server = start(Access::PublicRead).await;
    let client = sdk(&server);
    client
        .create_bucket()
        .bucket("firmware")
        .send()
        .await
        .unwrap();
    let presigned = client.put_object().bucket("firmware").key("a");
    let lasting = PresigningConfig::expires_in(Duration::from_secs(60)).unwrap();
    let presigned = presigned.presigned(lasting).await.unwrap();
    let target = presigned
        .uri()
        .strip_prefix(&server.endpoint_url())
        .unwrap();
    let host = format!("localhost:{}", server.local_addr().port());
    let data = server.dir().join("buckets/firmware/data");

    let mut connection = Connection::open(&server, "localhost").await;
    connection
        .send("PUT", target, &host, &["content-length: 1000"], &[1; 500])
        .await;
    wait_until(|| files(&data).len() == 1).await;
    drop(connection);
    wait_until(|| files(&data).is_empty()).await;
    assert!(
        client
            .head_object()
            .bucket("firmware")
            .key("a")
            .send()
            .await
            .is_err()
    );

    let mut connection = Connection::open(&server, "localhost").await;
    connection
        .send("PUT", target, &host, &["content-length: 1000"], &[1; 1000])
        .await;
    assert_eq!(connection.receive("PUT").await.status, 200);
    server.stop().await;
}

async fn wait_until(condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "waited too long");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
