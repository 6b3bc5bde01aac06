//! A missing permission is named, with the policy statement that grants it.

use crate::bucket::*;
use s3ota_devserver::Access;
use s3ota_image::Chip;
use serde_json::{Value, json};

const PLACE: &str = "s3://firmware/lamp";

/// The statement of a policy in a hint.
fn statement(hint: &str) -> Value {
    let begin = hint.find('{').expect(hint);
    let mut values = serde_json::Deserializer::from_str(&hint[begin..]).into_iter();
    values.next().expect(hint).expect(hint)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_permission_is_named_with_the_policy_statement_that_grants_it() {
    let bench = Bench::new(Access::PublicRead).await;
    let image = bench
        .firmware(Chip::Esp32C3, "1.0.0", b"")
        .display()
        .to_string();
    bench.s3ota(&["publish", &image, PLACE]).published();
    let next = bench
        .firmware(Chip::Esp32C3, "1.1.0", b"next")
        .display()
        .to_string();
    bench
        .write("lamp/images/0.9.0-0123456789ab.bin", *b"old")
        .await;
    tokio::time::sleep(std::time::Duration::from_millis(2100)).await;

    let objects = "arn:aws:s3:::firmware/lamp/*";
    let bucket = "arn:aws:s3:::firmware";
    let publish = ["publish", &next, PLACE];
    let gc = ["gc", PLACE, "--grace", "1s", "--delete"];
    for (action, resource, args) in [
        ("s3:PutObject", objects, &publish[..]),
        ("s3:GetObject", objects, &publish),
        ("s3:PutObject", objects, &["rollout", PLACE, "5%"]),
        (
            "s3:GetObject",
            objects,
            &["promote", PLACE, "stable", "beta"],
        ),
        ("s3:ListBucket", bucket, &["status", PLACE]),
        ("s3:ListBucket", bucket, &["yank", PLACE, "1.0.0"]),
        ("s3:DeleteObject", objects, &gc),
        ("s3:PutObject", objects, &["presign", PLACE]),
    ] {
        let deny = json!({ "Version": "2012-10-17", "Statement": [
            { "Effect": "Deny", "Principal": "*", "Action": action, "Resource": resource },
        ] });
        let put = bench.client.put_bucket_policy().bucket("firmware");
        put.policy(deny.to_string()).send().await.unwrap();

        let run = bench.s3ota(args);
        assert_eq!(run.error(), "s3.denied", "{args:?}");
        let last = run.events.last().unwrap();
        let message = last["message"].as_str().unwrap();
        assert!(message.contains(action), "{args:?}: {message}");
        let granted = statement(last["hint"].as_str().unwrap());
        assert_eq!(
            granted,
            json!({ "Effect": "Allow", "Action": [action], "Resource": resource }),
            "{args:?}"
        );
    }
}
