//! Promises about what may be read without credentials.

use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::PublicAccessBlockConfiguration;
use s3ota_devserver::{Access, DevServer};

use crate::client::{Connection, sdk, start};

async fn with_objects(access: Access) -> (DevServer, Client) {
    let server = start(access).await;
    let client = sdk(&server);
    client
        .create_bucket()
        .bucket("firmware")
        .send()
        .await
        .unwrap();
    for key in ["public/a", "public/b", "publicity", "private"] {
        client
            .put_object()
            .bucket("firmware")
            .key(key)
            .body(ByteStream::from_static(b"1"))
            .send()
            .await
            .unwrap();
    }
    (server, client)
}

/// What each key answers to anybody.
async fn statuses<const N: usize>(server: &DevServer, keys: [&str; N]) -> [u16; N] {
    let mut connection = Connection::open(server, "localhost").await;
    let mut statuses = [0; N];
    for (status, key) in statuses.iter_mut().zip(keys) {
        *status = connection
            .get(&format!("/firmware/{key}"), &[])
            .await
            .status;
        let head = connection
            .ask("HEAD", &format!("/firmware/{key}"), "localhost", &[])
            .await;
        assert_eq!(head.status, *status, "HEAD {key}");
    }
    statuses
}

fn statement(effect: &str, action: &str, resource: &str) -> String {
    format!(
        r#"{{"Effect":"{effect}","Principal":{{"AWS":"*"}},"Action":["{action}"],"Resource":"arn:aws:s3:::{resource}"}}"#
    )
}

async fn set_policy(client: &Client, statements: &[String]) {
    let policy = format!(
        r#"{{"Version":"2012-10-17","Statement":[{}]}}"#,
        statements.join(",")
    );
    client
        .put_bucket_policy()
        .bucket("firmware")
        .policy(&policy)
        .send()
        .await
        .unwrap();
    let kept = client
        .get_bucket_policy()
        .bucket("firmware")
        .send()
        .await
        .unwrap();
    assert_eq!(kept.policy(), Some(&*policy));
}

#[tokio::test]
async fn without_a_policy_nothing_is_public() {
    let (server, client) = with_objects(Access::Policy).await;
    assert_eq!(
        statuses(&server, ["public/a", "private", "missing"]).await,
        [403, 403, 403]
    );
    let error = client
        .get_bucket_policy()
        .bucket("firmware")
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("NoSuchBucketPolicy"));
    server.stop().await;
}

#[tokio::test]
async fn a_policy_opens_exactly_its_prefix_until_it_is_deleted() {
    let (server, client) = with_objects(Access::Policy).await;
    set_policy(
        &client,
        &[statement("Allow", "s3:GetObject", "firmware/public/*")],
    )
    .await;
    assert_eq!(
        statuses(
            &server,
            [
                "public/a",
                "public/b",
                "publicity",
                "private",
                "public/missing"
            ]
        )
        .await,
        [200, 200, 403, 403, 403]
    );
    let status = client
        .get_bucket_policy_status()
        .bucket("firmware")
        .send()
        .await
        .unwrap();
    assert_eq!(status.policy_status().unwrap().is_public(), Some(true));

    client
        .delete_bucket_policy()
        .bucket("firmware")
        .send()
        .await
        .unwrap();
    assert_eq!(statuses(&server, ["public/a"]).await, [403]);
    server.stop().await;
}

#[tokio::test]
async fn who_may_list_is_told_what_is_missing() {
    let (server, client) = with_objects(Access::Policy).await;
    set_policy(
        &client,
        &[
            statement("Allow", "s3:GetObject", "firmware/*"),
            statement("Allow", "s3:ListBucket", "firmware"),
        ],
    )
    .await;
    assert_eq!(statuses(&server, ["public/a", "missing"]).await, [200, 404]);
    let mut connection = Connection::open(&server, "localhost").await;
    let list = connection
        .get("/firmware?list-type=2&prefix=public/", &[])
        .await;
    assert_eq!(list.status, 200);
    assert!(list.text().contains("<Key>public/a</Key>"));
    server.stop().await;
}

#[tokio::test]
async fn a_denial_holds_even_for_the_owner_and_in_development() {
    let (server, client) = with_objects(Access::PublicRead).await;
    set_policy(
        &client,
        &[statement("Deny", "s3:GetObject", "firmware/public/*")],
    )
    .await;
    assert_eq!(statuses(&server, ["public/a", "private"]).await, [403, 200]);
    let error = client
        .get_object()
        .bucket("firmware")
        .key("public/a")
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("AccessDenied"));
    // But the owner is never locked out of the policy.
    set_policy(&client, &[statement("Deny", "s3:*", "firmware/*")]).await;
    client
        .delete_bucket_policy()
        .bucket("firmware")
        .send()
        .await
        .unwrap();
    assert_eq!(statuses(&server, ["public/a"]).await, [200]);
    server.stop().await;
}

#[tokio::test]
async fn in_development_every_object_is_public_but_no_list() {
    let (server, _client) = with_objects(Access::PublicRead).await;
    assert_eq!(
        statuses(&server, ["public/a", "private", "missing"]).await,
        [200, 200, 403]
    );
    let mut connection = Connection::open(&server, "localhost").await;
    assert_eq!(connection.get("/firmware", &[]).await.status, 403);
    assert_eq!(connection.get("/nowhere/x", &[]).await.status, 404);
    server.stop().await;
}

#[tokio::test]
async fn a_policy_that_cannot_be_kept_to_is_not_taken() {
    let (server, client) = with_objects(Access::Policy).await;
    let put = |policy: &str| {
        client
            .put_bucket_policy()
            .bucket("firmware")
            .policy(policy)
            .send()
    };
    for (policy, code) in [
        ("not json", "MalformedPolicy"),
        (r#"{"Statement":[]}"#, "MalformedPolicy"),
        (
            &*format!(
                r#"{{"Statement":{}}}"#,
                statement("Allow", "s3:GetObject", "other/*")
            ),
            "MalformedPolicy",
        ),
        (
            &*format!(
                r#"{{"Statement":{}}}"#,
                statement("Allow", "s3:GetObject", "firmware/*").replacen(
                    '{',
                    r#"{"Condition":{},"#,
                    1
                )
            ),
            "NotImplemented",
        ),
    ] {
        assert_eq!(
            put(policy).await.unwrap_err().code(),
            Some(code),
            "{policy}"
        );
    }
    assert_eq!(statuses(&server, ["public/a"]).await, [403]);
    server.stop().await;
}

#[tokio::test]
async fn a_public_access_block_stops_public_policies_as_on_a_new_bucket_of_s3() {
    let (server, client) = with_objects(Access::Policy).await;
    let error = client
        .get_public_access_block()
        .bucket("firmware")
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("NoSuchPublicAccessBlockConfiguration"));
    set_policy(&client, &[statement("Allow", "s3:GetObject", "firmware/*")]).await;
    assert_eq!(statuses(&server, ["public/a"]).await, [200]);

    let block = PublicAccessBlockConfiguration::builder()
        .block_public_policy(true)
        .restrict_public_buckets(true);
    let put = client.put_public_access_block().bucket("firmware");
    put.public_access_block_configuration(block.build())
        .send()
        .await
        .unwrap();
    assert_eq!(statuses(&server, ["public/a"]).await, [403]);
    let policy = format!(
        r#"{{"Statement":{}}}"#,
        statement("Allow", "s3:GetObject", "firmware/fw/*")
    );
    let error = client
        .put_bucket_policy()
        .bucket("firmware")
        .policy(policy)
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("AccessDenied"));
    assert!(error.message().unwrap().contains("BlockPublicPolicy"));
    let kept = client
        .get_public_access_block()
        .bucket("firmware")
        .send()
        .await
        .unwrap();
    let kept = kept.public_access_block_configuration().unwrap();
    assert_eq!(
        (kept.block_public_policy(), kept.block_public_acls()),
        (Some(true), Some(false))
    );

    client
        .delete_public_access_block()
        .bucket("firmware")
        .send()
        .await
        .unwrap();
    assert_eq!(statuses(&server, ["public/a"]).await, [200]);
    server.stop().await;
}
