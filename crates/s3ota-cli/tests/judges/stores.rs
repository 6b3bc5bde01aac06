//! A release from an empty account to an updated device, on three S3 servers with nothing in common but the protocol: the
//! development server, moto, and Ceph's gateway.

mod life;

use crate::servers::Server;
use serde_json::Value;

/// What a server does not have.
#[derive(Default)]
struct Lacks {
    /// Rules by which objects are deleted.
    lifecycle: bool,
    /// Conditions on writes.
    conditions: bool,
    /// A Block Public Access that can be read: Ceph 16 answers with something else than S3 does.
    block: bool,
    /// An access log.
    log: bool,
}

#[test]
#[ignore = "needs aws: pip install awscli"]
fn on_the_development_server() {
    let lacks = Lacks {
        lifecycle: true,
        log: true,
        ..Lacks::default()
    };
    walk(&Server::development(), &lacks);
}

#[test]
#[ignore = "needs moto and aws: pip install 'moto[server]' awscli"]
fn on_moto() {
    walk(&Server::moto(), &Lacks::default());
}

#[test]
#[ignore = "needs Ceph and aws: apt-get install radosgw ceph-mon ceph-osd ceph-common; pip install awscli"]
fn on_cephs_gateway() {
    let lacks = Lacks {
        block: true,
        log: true,
        ..Lacks::default()
    };
    walk(&Server::ceph(), &lacks);
}

fn walk(server: &Server, lacks: &Lacks) {
    a_bucket_is_set_up_after_saying_what_would_be_done(server, lacks);
    a_release_reaches_a_device(server);
    a_private_bucket_serves_devices_by_signed_urls(server);
    what_others_have_set_in_a_bucket_stays(server, lacks);
    accesses_are_logged_on_request(server, lacks);
    life::a_release_lives_as_aws_sees_it(server, !lacks.conditions);
}

fn named<'e>(events: &'e [Value], name: &str) -> Vec<&'e Value> {
    let named = events.iter().filter(|event| event["event"] == name);
    named.collect()
}

fn is_there(server: &Server, bucket: &str) -> bool {
    let mut head = server.command("aws");
    head.args(["s3api", "head-bucket", "--bucket", bucket]);
    head.output().unwrap().status.success()
}

/// Whether anyone may read an object.
fn is_public(server: &Server, bucket: &str, key: &str) -> bool {
    let mut get = server.command("aws");
    get.args([
        "s3api",
        "get-object",
        "--no-sign-request",
        "--bucket",
        bucket,
        "--key",
        key,
        "got",
    ]);
    get.output().unwrap().status.success()
}

fn a_bucket_is_set_up_after_saying_what_would_be_done(server: &Server, lacks: &Lacks) {
    let init = ["bucket", "init", "s3://firmware/lamp"];
    let asked = server.try_s3ota(&init);
    assert_eq!(
        asked.status.code(),
        Some(2),
        "nobody can be asked: {asked:?}"
    );
    let planned = server.events(&[&init[..], &["--dry-run"]].concat());
    let steps: Vec<_> = named(&planned, "planned")
        .iter()
        .map(|step| step["step"].clone())
        .collect();
    assert!(
        steps.contains(&"create".into()) && steps.contains(&"policy".into()),
        "{planned:?}"
    );
    assert!(!is_there(server, "firmware"), "a dry run changes nothing");

    let done = server.events(&[&init[..], &["--yes"]].concat());
    assert_eq!(named(&done, "bucket")[0]["changed"], true);
    let lacking: Vec<_> = named(&done, "warning")
        .into_iter()
        .filter(|warning| warning["code"] == "s3.unsupported")
        .map(|warning| warning["message"].to_string())
        .collect();
    let says = |what: &str| lacking.iter().any(|message| message.contains(what));
    assert_eq!(says("lifecycle"), lacks.lifecycle, "{lacking:?}");
    assert_eq!(
        says("conditions on writes"),
        lacks.conditions,
        "{lacking:?}"
    );
    let listed = server.aws(&["s3", "ls", "--recursive", "s3://firmware/"]);
    assert!(listed.trim().is_empty(), "the probe is gone: {listed}");

    let again = server.events(&[&init[..], &["--yes"]].concat());
    assert_eq!(named(&again, "bucket")[0]["changed"], false, "{again:?}");
}

fn a_release_reaches_a_device(server: &Server) {
    let image = server.firmware("1.1.0");
    let events = server.events(&["publish", &image, "s3://firmware/lamp"]);
    assert!(named(&events, "warning").is_empty(), "{events:?}");
    let url = events.last().unwrap()["manifest_url"].as_str().unwrap();

    let diagnosis = server.events(&["doctor", "s3://firmware/lamp"]);
    assert_eq!(diagnosis.last().unwrap()["faults"], 0, "{diagnosis:?}");
    assert_eq!(diagnosis.last().unwrap()["warnings"], 0, "{diagnosis:?}");
    server.update_a_device(url, &[]);

    // Only the prefix was opened.
    server.aws(&["s3", "cp", &image, "s3://firmware/secret/lamp.bin"]);
    assert!(is_public(server, "firmware", "lamp/stable.json"));
    assert!(!is_public(server, "firmware", "secret/lamp.bin"));

    let mut other = std::fs::read(server.path(&image)).unwrap();
    other.truncate(0);
    other.extend(
        s3ota_image::app::ImageBuilder::new(s3ota_image::Chip::Esp32C3, "1.1.0")
            .project_name("lamp")
            .length(149_000)
            .build(),
    );
    std::fs::write(server.path("other.bin"), other).unwrap();
    let refused = server.try_s3ota(&["publish", "other.bin", "s3://firmware/lamp", "--json"]);
    let text = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(text.contains("publish.exists"), "{text}");
}

fn a_private_bucket_serves_devices_by_signed_urls(server: &Server) {
    server.s3ota(&["bucket", "init", "s3://private/lamp", "--private", "--yes"]);
    let image = server.firmware("1.1.0");
    let events = server.events(&["publish", &image, "s3://private/lamp", "--presign", "1h"]);
    assert!(!is_public(server, "private", "lamp/stable.json"));
    server.update_a_device(
        events.last().unwrap()["manifest_url"].as_str().unwrap(),
        &[],
    );
    let diagnosis = server.events(&["doctor", "s3://private/lamp"]);
    assert_eq!(diagnosis.last().unwrap()["faults"], 0, "{diagnosis:?}");

    // What was opened is closed again.
    server.aws(&["s3", "cp", &image, "s3://firmware/lamp/x.bin"]);
    assert!(is_public(server, "firmware", "lamp/x.bin"));
    server.s3ota(&["bucket", "init", "s3://firmware/lamp", "--private", "--yes"]);
    assert!(!is_public(server, "firmware", "lamp/x.bin"));
}

fn what_others_have_set_in_a_bucket_stays(server: &Server, lacks: &Lacks) {
    server.aws(&["s3", "mb", "s3://shared"]);
    let theirs = r#"{"Version":"2012-10-17","Statement":[{"Sid":"Theirs","Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::shared/site/*"}]}"#;
    server.aws(&[
        "s3api",
        "put-bucket-policy",
        "--bucket",
        "shared",
        "--policy",
        theirs,
    ]);
    if !lacks.lifecycle {
        let rules = r#"{"Rules":[{"ID":"theirs","Status":"Enabled","Filter":{"Prefix":""},"Expiration":{"Days":30}}]}"#;
        server.aws(&[
            "s3api",
            "put-bucket-lifecycle-configuration",
            "--bucket",
            "shared",
            "--lifecycle-configuration",
            rules,
        ]);
    }
    let block = "BlockPublicAcls=false,IgnorePublicAcls=false,BlockPublicPolicy=true,RestrictPublicBuckets=true";
    if !lacks.block {
        server.aws(&[
            "s3api",
            "put-public-access-block",
            "--bucket",
            "shared",
            "--public-access-block-configuration",
            block,
        ]);
    }
    let events = server.events(&["bucket", "init", "s3://shared/lamp", "--yes"]);
    server.aws(&["s3", "cp", "ca.pem", "s3://shared/lamp/x.bin"]);
    assert!(
        is_public(server, "shared", "lamp/x.bin"),
        "nothing blocks it: {events:?}"
    );
    let policy = server.aws(&[
        "s3api",
        "get-bucket-policy",
        "--bucket",
        "shared",
        "--output",
        "text",
    ]);
    assert!(
        policy.contains("Theirs") && policy.contains("arn:aws:s3:::shared/lamp/*"),
        "{policy}"
    );
    if !lacks.lifecycle {
        let rules = server.aws(&[
            "s3api",
            "get-bucket-lifecycle-configuration",
            "--bucket",
            "shared",
        ]);
        assert!(
            rules.contains("\"theirs\"") && rules.contains("AbortIncompleteMultipartUpload"),
            "{rules}"
        );
        let warned = named(&events, "warning")
            .iter()
            .any(|warning| warning["code"] == "bucket.lifecycle");
        assert!(
            warned,
            "a rule that deletes images by their age is warned of: {events:?}"
        );
    }
}

fn accesses_are_logged_on_request(server: &Server, lacks: &Lacks) {
    let init = [
        "bucket",
        "init",
        "s3://logged/lamp",
        "--log-bucket",
        "logs",
        "--yes",
        "--json",
    ];
    let refused = |why: &str| {
        let output = server.try_s3ota(&init);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(why), "{text}");
    };
    refused("there is no bucket logs for the access log");
    assert!(!is_there(server, "logged"), "nothing was begun");
    server.aws(&["s3", "mb", "s3://logs"]);
    if lacks.log {
        let events = server.events(&init[..6]);
        let warned = named(&events, "warning");
        assert!(
            warned
                .iter()
                .any(|it| it["message"] == "the service has no access log"),
            "{events:?}"
        );
        return;
    }
    // On AWS the command gives this permission; elsewhere it says what the service asks for.
    refused("InvalidTargetBucketForLogging");
    let permission = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"logging.s3.amazonaws.com"},"Action":"s3:PutObject","Resource":"arn:aws:s3:::logs/logged/*","Condition":{"ArnLike":{"aws:SourceArn":"arn:aws:s3:::logged"}}}]}"#;
    let policy = ["s3api", "put-bucket-policy", "--bucket", "logs", "--policy"];
    server.aws(&[&policy[..], &[permission]].concat());
    let events = server.events(&init[..6]);
    let done = named(&events, "done");
    assert!(done.iter().any(|it| it["step"] == "logging"), "{events:?}");
    let set = server.aws(&["s3api", "get-bucket-logging", "--bucket", "logged"]);
    let set: Value = serde_json::from_str(&set).unwrap();
    assert_eq!(set["LoggingEnabled"]["TargetBucket"], "logs");
    assert_eq!(set["LoggingEnabled"]["TargetPrefix"], "logged/");
    let rules = [
        "s3api",
        "get-bucket-lifecycle-configuration",
        "--bucket",
        "logs",
    ];
    let rules: Value = serde_json::from_str(&server.aws(&rules)).unwrap();
    assert_eq!(rules["Rules"][0]["Expiration"]["Days"], 90, "{rules}");
    let again = server.events(&init[..6]);
    assert_eq!(named(&again, "bucket")[0]["changed"], false, "{again:?}");
    // Nobody has made this bucket before.
    let other = [&init[..4], &["new-logs", "--yes", "--json"]].concat();
    let output = server.try_s3ota(&other);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("InvalidTargetBucketForLogging"), "{text}");
    assert!(is_there(server, "new-logs"), "{text}");
}
