//! Promises kept to the AWS SDK for Rust.

use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, Delete, MetadataDirective,
    ObjectIdentifier,
};
use s3ota_devserver::{Access, DevServer};

use crate::client::{noise, sdk, start};

async fn with_bucket() -> (DevServer, Client) {
    let server = start(Access::Policy).await;
    let client = sdk(&server);
    client
        .create_bucket()
        .bucket("firmware")
        .send()
        .await
        .unwrap();
    (server, client)
}

async fn put(client: &Client, key: &str, bytes: &[u8]) -> String {
    let request = client
        .put_object()
        .bucket("firmware")
        .key(key)
        .body(ByteStream::from(bytes.to_vec()));
    request.send().await.unwrap().e_tag.unwrap()
}

async fn get(client: &Client, key: &str) -> Vec<u8> {
    let object = client
        .get_object()
        .bucket("firmware")
        .key(key)
        .send()
        .await
        .unwrap();
    object.body.collect().await.unwrap().to_vec()
}

#[tokio::test]
async fn an_object_comes_back_with_its_bytes_and_headers() {
    let (server, client) = with_bucket().await;
    let put = client
        .put_object()
        .bucket("firmware")
        .key("demo/stable.json")
        .body(ByteStream::from_static(b"{}"))
        .content_type("application/json")
        .cache_control("max-age=60")
        .content_encoding("identity")
        .metadata("uploader", "ci")
        .send()
        .await
        .unwrap();
    // md5("{}")
    assert_eq!(put.e_tag(), Some("\"99914b932bd37a50b983c5e7c90ae93b\""));

    let head = client
        .head_object()
        .bucket("firmware")
        .key("demo/stable.json")
        .send()
        .await
        .unwrap();
    let got = client
        .get_object()
        .bucket("firmware")
        .key("demo/stable.json")
        .send()
        .await
        .unwrap();
    assert_eq!(head.content_type(), Some("application/json"));
    assert_eq!(got.content_type(), Some("application/json"));
    assert_eq!(head.cache_control(), Some("max-age=60"));
    assert_eq!(got.cache_control(), Some("max-age=60"));
    assert_eq!(got.content_encoding(), Some("identity"));
    assert_eq!(got.metadata().unwrap()["uploader"], "ci");
    assert_eq!(head.content_length(), Some(2));
    assert_eq!((head.e_tag(), got.e_tag()), (put.e_tag(), put.e_tag()));
    assert_eq!(head.last_modified(), got.last_modified());
    assert_eq!(got.body.collect().await.unwrap().to_vec(), b"{}");
    server.stop().await;
}

#[tokio::test]
async fn an_object_put_without_a_type_has_the_sdks_or_s3s() {
    let (server, client) = with_bucket().await;
    put(&client, "image.bin", b"\xe9").await;
    let head = client
        .head_object()
        .bucket("firmware")
        .key("image.bin")
        .send()
        .await
        .unwrap();
    assert_eq!(head.content_type(), Some("application/octet-stream"));
    server.stop().await;
}

#[tokio::test]
async fn a_checksum_is_verified_kept_and_given_back() {
    let (server, client) = with_bucket().await;
    for algorithm in [
        ChecksumAlgorithm::Crc32,
        ChecksumAlgorithm::Crc32C,
        ChecksumAlgorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1,
        ChecksumAlgorithm::Sha256,
    ] {
        let key = algorithm.as_str();
        let request = client
            .put_object()
            .bucket("firmware")
            .key(key)
            .body(ByteStream::from(noise(100_000)));
        let put = request
            .checksum_algorithm(algorithm.clone())
            .send()
            .await
            .unwrap();
        // The SDK asks for the checksum and verifies it while it reads.
        assert_eq!(get(&client, key).await, noise(100_000));
        let head = client.head_object().bucket("firmware").key(key);
        let head = head
            .checksum_mode(aws_sdk_s3::types::ChecksumMode::Enabled)
            .send()
            .await
            .unwrap();
        let of = |checksums: [Option<&str>; 5]| {
            checksums
                .into_iter()
                .flatten()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let stored = of([
            head.checksum_crc32(),
            head.checksum_crc32_c(),
            head.checksum_crc64_nvme(),
            head.checksum_sha1(),
            head.checksum_sha256(),
        ]);
        let answered = of([
            put.checksum_crc32(),
            put.checksum_crc32_c(),
            put.checksum_crc64_nvme(),
            put.checksum_sha1(),
            put.checksum_sha256(),
        ]);
        assert_eq!(stored.len(), 1, "{key}");
        assert_eq!(stored, answered);
    }

    let wrong = client
        .put_object()
        .bucket("firmware")
        .key("wrong")
        .body(ByteStream::from_static(b"1"));
    let error = wrong.checksum_crc32("AAAAAA==").send().await.unwrap_err();
    assert_eq!(error.code(), Some("BadDigest"));
    assert!(
        client
            .head_object()
            .bucket("firmware")
            .key("wrong")
            .send()
            .await
            .is_err()
    );
    server.stop().await;
}

#[tokio::test]
async fn a_missing_key_and_a_missing_bucket_are_told_apart() {
    let (server, client) = with_bucket().await;
    let error = client
        .get_object()
        .bucket("firmware")
        .key("nothing")
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("NoSuchKey"));
    let error = client
        .get_object()
        .bucket("nowhere")
        .key("nothing")
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("NoSuchBucket"));
    let error = client
        .put_object()
        .bucket("nowhere")
        .key("x")
        .body(ByteStream::from(noise(3_000_000)));
    assert_eq!(error.send().await.unwrap_err().code(), Some("NoSuchBucket"));
    let error = client
        .head_object()
        .bucket("firmware")
        .key("nothing")
        .send()
        .await
        .unwrap_err();
    assert!(error.into_service_error().is_not_found());
    let error = client
        .head_bucket()
        .bucket("nowhere")
        .send()
        .await
        .unwrap_err();
    assert!(error.into_service_error().is_not_found());
    server.stop().await;
}

#[tokio::test]
async fn buckets_are_made_listed_located_and_removed_when_empty() {
    let (server, client) = with_bucket().await;
    let again = client
        .create_bucket()
        .bucket("firmware")
        .send()
        .await
        .unwrap_err();
    assert_eq!(again.code(), Some("BucketAlreadyOwnedByYou"));
    client
        .head_bucket()
        .bucket("firmware")
        .send()
        .await
        .unwrap();
    let buckets = client.list_buckets().send().await.unwrap();
    assert_eq!(
        buckets
            .buckets()
            .iter()
            .map(|it| it.name().unwrap())
            .collect::<Vec<_>>(),
        ["firmware"]
    );
    let location = client
        .get_bucket_location()
        .bucket("firmware")
        .send()
        .await
        .unwrap();
    assert!(
        location
            .location_constraint()
            .is_none_or(|it| it.as_str().is_empty())
    );

    put(&client, "a", b"1").await;
    let error = client
        .delete_bucket()
        .bucket("firmware")
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("BucketNotEmpty"));
    client
        .delete_object()
        .bucket("firmware")
        .key("a")
        .send()
        .await
        .unwrap();
    client
        .delete_bucket()
        .bucket("firmware")
        .send()
        .await
        .unwrap();
    assert!(
        client
            .head_bucket()
            .bucket("firmware")
            .send()
            .await
            .is_err()
    );
    server.stop().await;
}

#[tokio::test]
async fn a_list_has_prefixes_delimiters_and_pages() {
    let (server, client) = with_bucket().await;
    for key in [
        "a",
        "fw/images/1.bin",
        "fw/images/2.bin",
        "fw/ä &<b>+c.json",
        "fw/stable.json",
        "z",
    ] {
        put(&client, key, key.as_bytes()).await;
    }
    let page = client
        .list_objects_v2()
        .bucket("firmware")
        .prefix("fw/")
        .delimiter("/")
        .send()
        .await
        .unwrap();
    assert_eq!(
        page.contents()
            .iter()
            .map(|it| it.key().unwrap())
            .collect::<Vec<_>>(),
        ["fw/stable.json", "fw/ä &<b>+c.json"]
    );
    assert_eq!(page.contents()[0].size(), Some(14));
    assert_eq!(page.common_prefixes()[0].prefix(), Some("fw/images/"));
    assert_eq!(page.key_count(), Some(3));

    let mut keys = Vec::new();
    let mut pages = client
        .list_objects_v2()
        .bucket("firmware")
        .max_keys(2)
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        assert!(page.contents().len() <= 2);
        keys.extend(
            page.contents()
                .iter()
                .map(|it| it.key().unwrap().to_owned()),
        );
    }
    assert_eq!(
        keys,
        [
            "a",
            "fw/images/1.bin",
            "fw/images/2.bin",
            "fw/stable.json",
            "fw/ä &<b>+c.json",
            "z"
        ]
    );
    server.stop().await;
}

#[tokio::test]
async fn a_copy_keeps_headers_or_replaces_them() {
    let (server, client) = with_bucket().await;
    client
        .put_object()
        .bucket("firmware")
        .key("from it")
        .body(ByteStream::from_static(b"1"))
        .content_type("text/plain")
        .cache_control("no-cache")
        .send()
        .await
        .unwrap();
    let copy = |key: &str| {
        client
            .copy_object()
            .bucket("firmware")
            .key(key)
            .copy_source("firmware/from%20it")
    };
    copy("kept").send().await.unwrap();
    copy("replaced")
        .metadata_directive(MetadataDirective::Replace)
        .content_type("application/json")
        .send()
        .await
        .unwrap();

    let kept = client
        .head_object()
        .bucket("firmware")
        .key("kept")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (kept.content_type(), kept.cache_control()),
        (Some("text/plain"), Some("no-cache"))
    );
    let replaced = client
        .head_object()
        .bucket("firmware")
        .key("replaced")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (replaced.content_type(), replaced.cache_control()),
        (Some("application/json"), None)
    );
    assert_eq!(get(&client, "kept").await, b"1");

    // Onto itself: only to change something.
    assert_eq!(
        copy("from it").send().await.unwrap_err().code(),
        Some("InvalidRequest")
    );
    copy("from it")
        .metadata_directive(MetadataDirective::Replace)
        .content_type("a/b")
        .send()
        .await
        .unwrap();
    assert_eq!(get(&client, "from it").await, b"1");
    server.stop().await;
}

#[tokio::test]
async fn deleted_objects_are_gone_one_by_one_or_many_at_once() {
    let (server, client) = with_bucket().await;
    for key in ["a", "b", "c"] {
        put(&client, key, b"1").await;
    }
    client
        .delete_object()
        .bucket("firmware")
        .key("a")
        .send()
        .await
        .unwrap();
    client
        .delete_object()
        .bucket("firmware")
        .key("never there")
        .send()
        .await
        .unwrap();
    let identifier = |key: &str| ObjectIdentifier::builder().key(key).build().unwrap();
    let delete = Delete::builder()
        .objects(identifier("b"))
        .objects(identifier("never there"))
        .build()
        .unwrap();
    let deleted = client
        .delete_objects()
        .bucket("firmware")
        .delete(delete)
        .send()
        .await
        .unwrap();
    assert_eq!((deleted.deleted().len(), deleted.errors().len()), (2, 0));
    let left = client
        .list_objects_v2()
        .bucket("firmware")
        .send()
        .await
        .unwrap();
    assert_eq!(
        left.contents()
            .iter()
            .map(|it| it.key().unwrap())
            .collect::<Vec<_>>(),
        ["c"]
    );
    server.stop().await;
}

#[tokio::test]
async fn a_write_may_depend_on_what_is_there() {
    let (server, client) = with_bucket().await;
    let write = |body: &'static [u8]| {
        client
            .put_object()
            .bucket("firmware")
            .key("stable.json")
            .body(ByteStream::from_static(body))
    };
    let error = write(b"0").if_match("\"0\"").send().await.unwrap_err();
    assert_eq!(error.code(), Some("NoSuchKey"));
    let first = write(b"1")
        .if_none_match("*")
        .send()
        .await
        .unwrap()
        .e_tag
        .unwrap();
    let error = write(b"2").if_none_match("*").send().await.unwrap_err();
    assert_eq!(error.code(), Some("PreconditionFailed"));
    let second = write(b"3")
        .if_match(&first)
        .send()
        .await
        .unwrap()
        .e_tag
        .unwrap();
    let error = write(b"4").if_match(&first).send().await.unwrap_err();
    assert_eq!(error.raw_response().unwrap().status().as_u16(), 412);
    assert_eq!(get(&client, "stable.json").await, b"3");

    let error = client
        .delete_object()
        .bucket("firmware")
        .key("stable.json")
        .if_match(&first)
        .send()
        .await;
    assert_eq!(error.unwrap_err().code(), Some("PreconditionFailed"));
    client
        .delete_object()
        .bucket("firmware")
        .key("stable.json")
        .if_match(&second)
        .send()
        .await
        .unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_writers_of_a_new_key_exactly_one_wins() {
    let (server, client) = with_bucket().await;
    for round in 0..10 {
        let writers: Vec<_> = (0..8_usize)
            .map(|writer| {
                let body = vec![writer as u8; 50_000 + writer];
                let request = client
                    .put_object()
                    .bucket("firmware")
                    .key(format!("{round}"))
                    .if_none_match("*");
                tokio::spawn(request.body(ByteStream::from(body)).send())
            })
            .collect();
        let mut winners = Vec::new();
        for (writer, task) in writers.into_iter().enumerate() {
            match task.await.unwrap() {
                Ok(_) => winners.push(writer),
                Err(error) => assert_eq!(error.code(), Some("PreconditionFailed")),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}");
        assert_eq!(
            get(&client, &round.to_string()).await,
            vec![winners[0] as u8; 50_000 + winners[0]]
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn an_upload_in_parts_becomes_one_object() {
    let (server, client) = with_bucket().await;
    let bytes = noise(11 * 1024 * 1024);
    let created = client
        .create_multipart_upload()
        .bucket("firmware")
        .key("big.bin")
        .content_type("application/x-firmware")
        .cache_control("immutable")
        .send()
        .await
        .unwrap();
    let id = created.upload_id().unwrap();
    let mut parts = Vec::new();
    for (number, chunk) in (1..).zip(bytes.chunks(5 * 1024 * 1024)) {
        let part = client
            .upload_part()
            .bucket("firmware")
            .key("big.bin")
            .upload_id(id)
            .part_number(number);
        let part = part
            .body(ByteStream::from(chunk.to_vec()))
            .send()
            .await
            .unwrap();
        parts.push(
            CompletedPart::builder()
                .part_number(number)
                .set_e_tag(part.e_tag)
                .build(),
        );
    }
    assert!(
        client
            .head_object()
            .bucket("firmware")
            .key("big.bin")
            .send()
            .await
            .is_err(),
        "not before it is complete"
    );
    let listed = client
        .list_parts()
        .bucket("firmware")
        .key("big.bin")
        .upload_id(id)
        .send()
        .await
        .unwrap();
    assert_eq!(listed.parts().len(), 3);

    let complete = |parts: Vec<CompletedPart>| {
        let upload = CompletedMultipartUpload::builder()
            .set_parts(Some(parts))
            .build();
        client
            .complete_multipart_upload()
            .bucket("firmware")
            .key("big.bin")
            .upload_id(id)
            .multipart_upload(upload)
    };
    let swapped = vec![parts[1].clone(), parts[0].clone()];
    assert_eq!(
        complete(swapped).send().await.unwrap_err().code(),
        Some("InvalidPartOrder")
    );
    let foreign = vec![
        CompletedPart::builder()
            .part_number(1)
            .e_tag("\"0\"")
            .build(),
    ];
    assert_eq!(
        complete(foreign).send().await.unwrap_err().code(),
        Some("InvalidPart")
    );
    let done = complete(parts).send().await.unwrap();
    assert!(
        done.e_tag().unwrap().ends_with("-3\""),
        "{:?}",
        done.e_tag()
    );

    let got = client
        .get_object()
        .bucket("firmware")
        .key("big.bin")
        .send()
        .await
        .unwrap();
    assert_eq!(got.e_tag(), done.e_tag());
    assert_eq!(
        (got.content_type(), got.cache_control()),
        (Some("application/x-firmware"), Some("immutable"))
    );
    assert!(got.body.collect().await.unwrap().to_vec() == bytes);
    let again = client
        .list_parts()
        .bucket("firmware")
        .key("big.bin")
        .upload_id(id)
        .send()
        .await
        .unwrap_err();
    assert_eq!(again.code(), Some("NoSuchUpload"));
    server.stop().await;
}

#[tokio::test]
async fn a_small_part_before_the_last_and_an_aborted_upload_make_no_object() {
    let (server, client) = with_bucket().await;
    let created = client
        .create_multipart_upload()
        .bucket("firmware")
        .key("x")
        .send()
        .await
        .unwrap();
    let id = created.upload_id().unwrap();
    let mut parts = Vec::new();
    for number in 1..=2 {
        let part = client
            .upload_part()
            .bucket("firmware")
            .key("x")
            .upload_id(id)
            .part_number(number);
        let part = part
            .body(ByteStream::from_static(b"small"))
            .send()
            .await
            .unwrap();
        parts.push(
            CompletedPart::builder()
                .part_number(number)
                .set_e_tag(part.e_tag)
                .build(),
        );
    }
    let upload = CompletedMultipartUpload::builder()
        .set_parts(Some(parts))
        .build();
    let complete = client
        .complete_multipart_upload()
        .bucket("firmware")
        .key("x")
        .upload_id(id);
    let error = complete.multipart_upload(upload).send().await.unwrap_err();
    assert_eq!(error.code(), Some("EntityTooSmall"));
    let listed = async |prefix: &str| {
        let list = client.list_multipart_uploads().bucket("firmware");
        let list = list.prefix(prefix).send().await.unwrap();
        let uploads = list.uploads().iter();
        let uploads = uploads.map(|it| {
            (
                it.key().unwrap().to_owned(),
                it.upload_id == created.upload_id,
            )
        });
        uploads.collect::<Vec<_>>()
    };
    assert_eq!(listed("").await, [("x".to_owned(), true)]);
    assert_eq!(listed("y").await, []);
    client
        .abort_multipart_upload()
        .bucket("firmware")
        .key("x")
        .upload_id(id)
        .send()
        .await
        .unwrap();
    let data = server.dir().join("buckets/firmware/data");
    assert_eq!(
        std::fs::read_dir(data).unwrap().count(),
        0,
        "the parts are removed"
    );
    assert_eq!(listed("").await, []);
    assert!(
        client
            .head_object()
            .bucket("firmware")
            .key("x")
            .send()
            .await
            .is_err()
    );
    server.stop().await;
}

#[tokio::test]
async fn unfinished_uploads_are_listed_page_by_page() {
    let (server, client) = with_bucket().await;
    let mut begun = Vec::new();
    for key in ["b", "a b", "b", "c"] {
        let create = client.create_multipart_upload().bucket("firmware").key(key);
        begun.push((key, create.send().await.unwrap().upload_id.unwrap()));
    }
    // By key, and those of one key in the order they were begun.
    begun.sort_by_key(|(key, _)| *key);
    let mut listed = Vec::new();
    let (mut key, mut id) = (None, None);
    loop {
        let list = client.list_multipart_uploads().bucket("firmware");
        let list = list.set_key_marker(key).set_upload_id_marker(id);
        let page = list.max_uploads(1).send().await.unwrap();
        assert_eq!(page.uploads().len(), 1);
        let upload = &page.uploads()[0];
        listed.push((
            upload.key.clone().unwrap(),
            upload.upload_id.clone().unwrap(),
        ));
        if page.is_truncated != Some(true) {
            break;
        }
        (key, id) = (page.next_key_marker, page.next_upload_id_marker);
    }
    let listed: Vec<_> = listed.iter().map(|(key, id)| (&**key, id)).collect();
    let begun: Vec<_> = begun.iter().map(|(key, id)| (*key, id)).collect();
    assert_eq!(listed, begun);
    server.stop().await;
}

#[tokio::test]
async fn an_acl_that_a_new_bucket_on_s3_refuses_is_refused() {
    let (server, client) = with_bucket().await;
    let put = client
        .put_object()
        .bucket("firmware")
        .key("x")
        .body(ByteStream::from_static(b"1"));
    let error = put
        .acl(aws_sdk_s3::types::ObjectCannedAcl::PublicRead)
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("AccessControlListNotSupported"));
    server.stop().await;
}

#[tokio::test]
async fn a_large_upload_that_is_refused_hears_why() {
    let server = start(Access::Policy).await;
    let client = crate::client::sdk_with_secret(&server, "wrong");
    for _ in 0..5 {
        let put = client
            .put_object()
            .bucket("nowhere")
            .key("x")
            .body(ByteStream::from(noise(20_000_000)));
        let error = put.send().await.unwrap_err();
        assert_eq!(error.code(), Some("SignatureDoesNotMatch"), "{error:?}");
    }
    server.stop().await;
}
