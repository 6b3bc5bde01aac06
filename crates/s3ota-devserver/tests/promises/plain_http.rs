//! Promises kept to a client that speaks plain HTTP/1.1 over TLS, as devices do.

use aws_sdk_s3::primitives::ByteStream;
use s3ota_devserver::{Access, DevServer};

use crate::client::{Connection, noise, sdk, start};

/// A server with `firmware/fw/image.bin`, 1,000 bytes of noise.
async fn with_image() -> (DevServer, Connection) {
    let server = start(Access::PublicRead).await;
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
        .key("fw/image.bin")
        .cache_control("max-age=60");
    put.body(ByteStream::from(noise(1000)))
        .send()
        .await
        .unwrap();
    let connection = Connection::open(&server, "localhost").await;
    (server, connection)
}

const IMAGE: &str = "/firmware/fw/image.bin";

#[tokio::test]
async fn an_answer_tells_length_tag_and_date() {
    let (server, mut connection) = with_image().await;
    let got = connection.get(IMAGE, &[]).await;
    assert_eq!((got.status, &got.body), (200, &noise(1000)));
    assert_eq!(got.header("content-length"), Some("1000"));
    assert_eq!(got.header("accept-ranges"), Some("bytes"));
    assert_eq!(got.header("transfer-encoding"), None);
    assert!(got.header("etag").unwrap().starts_with('"'));
    assert!(got.header("last-modified").unwrap().ends_with(" GMT"));
    let head = connection.ask("HEAD", IMAGE, "localhost", &[]).await;
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("1000"))
    );
    assert_eq!(head.header("etag"), got.header("etag"));
    server.stop().await;
}

#[tokio::test]
async fn one_connection_serves_many_requests_errors_among_them() {
    let (server, mut connection) = with_image().await;
    let mut requests = server.requests();
    for (target, status) in [
        (IMAGE, 200),
        ("/firmware/nothing", 403),
        ("/nowhere/x", 404),
        (IMAGE, 200),
    ] {
        assert_eq!(connection.get(target, &[]).await.status, status, "{target}");
    }
    let first = requests.recv().await.unwrap();
    for _ in 0..3 {
        assert_eq!(requests.recv().await.unwrap().peer, first.peer);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_range_is_served_as_asked() {
    let (server, mut connection) = with_image().await;
    for (range, from, to) in [
        ("0-0", 0, 1),
        ("200-299", 200, 300),
        ("900-", 900, 1000),
        ("990-5000", 990, 1000),
        ("-10", 990, 1000),
    ] {
        let got = connection
            .get(IMAGE, &[&format!("range: bytes={range}")])
            .await;
        assert_eq!(got.status, 206, "{range}");
        assert_eq!(
            got.header("content-range"),
            Some(&*format!("bytes {from}-{}/1000", to - 1))
        );
        assert_eq!(
            got.header("content-length"),
            Some(&*(to - from).to_string())
        );
        assert_eq!(got.body, noise(1000)[from..to]);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_range_beyond_the_end_is_refused_and_a_senseless_one_ignored() {
    let (server, mut connection) = with_image().await;
    let beyond = connection.get(IMAGE, &["range: bytes=1000-"]).await;
    assert_eq!(beyond.status, 416);
    assert_eq!(beyond.header("content-range"), Some("bytes */1000"));
    assert!(beyond.text().contains("<Code>InvalidRange</Code>"));
    for range in ["bytes=9-3", "bytes=0-1,5-6", "lines=1-2", "bytes=x"] {
        let got = connection.get(IMAGE, &[&format!("range: {range}")]).await;
        assert_eq!((got.status, got.body.len()), (200, 1000), "{range}");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_the_client_has_already_is_not_sent_again() {
    let (server, mut connection) = with_image().await;
    let got = connection.get(IMAGE, &[]).await;
    let (etag, date) = (
        got.header("etag").unwrap().to_owned(),
        got.header("last-modified").unwrap().to_owned(),
    );
    for (method, condition) in [
        ("GET", format!("if-none-match: {etag}")),
        ("HEAD", format!("if-none-match: {etag}")),
        ("GET", format!("if-none-match: W/{etag}")),
        ("GET", format!("if-modified-since: {date}")),
    ] {
        let answer = connection
            .ask(method, IMAGE, "localhost", &[&condition])
            .await;
        assert_eq!(answer.status, 304, "{method} {condition}");
        assert_eq!(answer.header("etag"), Some(&*etag));
        assert_eq!(answer.header("last-modified"), Some(&*date));
        assert_eq!(answer.header("cache-control"), Some("max-age=60"));
        assert_eq!(answer.header("content-length"), None);
    }
    // The tag outranks the date.
    let conditions = [
        "if-none-match: \"other\"",
        &format!("if-modified-since: {date}"),
    ];
    assert_eq!(connection.get(IMAGE, &conditions).await.status, 200);
    assert_eq!(
        connection.get(IMAGE, &["if-match: \"other\""]).await.status,
        412
    );
    assert_eq!(
        connection
            .get(
                IMAGE,
                &["if-unmodified-since: Thu, 01 Jan 1970 00:00:00 GMT"]
            )
            .await
            .status,
        412
    );
    assert_eq!(
        connection
            .get(IMAGE, &[&format!("if-match: {etag}")])
            .await
            .status,
        200
    );
    server.stop().await;
}

#[tokio::test]
async fn a_resumed_download_of_a_changed_object_starts_over() {
    let (server, mut connection) = with_image().await;
    let got = connection.get(IMAGE, &[]).await;
    let (etag, date) = (
        got.header("etag").unwrap().to_owned(),
        got.header("last-modified").unwrap().to_owned(),
    );
    for (validator, status) in [
        (&*etag, 206),
        (&*date, 206),
        ("\"other\"", 200),
        (&*format!("W/{etag}"), 200),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 200),
    ] {
        let answer = connection
            .get(
                IMAGE,
                &["range: bytes=100-", &format!("if-range: {validator}")],
            )
            .await;
        let length = if status == 206 { 900 } else { 1000 };
        assert_eq!(
            (answer.status, answer.body.len()),
            (status, length),
            "{validator}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn a_bucket_is_found_by_path_and_by_host_name() {
    let (server, _) = with_image().await;
    for (name, target) in [
        ("localhost", IMAGE),
        ("s3.localhost", IMAGE),
        ("127.0.0.1", IMAGE),
        ("firmware.s3.localhost", "/fw/image.bin"),
        ("firmware.s3.us-east-1.localhost", "/fw/image.bin"),
    ] {
        let mut connection = Connection::open(&server, name).await;
        for host in [
            name.to_owned(),
            format!("{name}:{}", server.local_addr().port()),
        ] {
            let got = connection.ask("GET", target, &host, &[]).await;
            assert_eq!((got.status, got.body.len()), (200, 1000), "{host}{target}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn every_request_is_told_to_who_listens() {
    let (server, mut connection) = with_image().await;
    let mut requests = server.requests();
    connection
        .get(
            IMAGE,
            &["user-agent: s3ota/0.1.0 dev=1", "range: bytes=0-9"],
        )
        .await;
    let record = requests.recv().await.unwrap();
    assert_eq!(
        (&*record.method, &*record.path, record.status, record.bytes),
        ("GET", IMAGE, 206, 10)
    );
    assert_eq!(record.user_agent.as_deref(), Some("s3ota/0.1.0 dev=1"));
    assert_eq!(record.range.as_deref(), Some("bytes=0-9"));
    assert_eq!((&*record.host, record.signed), ("localhost", false));

    sdk(&server).list_buckets().send().await.unwrap();
    assert!(requests.recv().await.unwrap().signed);
    server.stop().await;
}

#[tokio::test]
async fn an_object_that_is_replaced_while_it_is_read_is_read_to_its_end() {
    let (server, _) = with_image().await;
    let client = sdk(&server);
    let put = |byte: u8| {
        let put = client
            .put_object()
            .bucket("firmware")
            .key("big")
            .body(ByteStream::from(vec![byte; 8_000_000]));
        put.send()
    };
    put(1).await.unwrap();
    let reading = client
        .get_object()
        .bucket("firmware")
        .key("big")
        .send()
        .await
        .unwrap();
    put(2).await.unwrap();
    assert!(reading.body.collect().await.unwrap().to_vec() == vec![1; 8_000_000]);
    server.stop().await;
}
