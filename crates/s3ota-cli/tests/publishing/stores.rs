//! Stores that are not quite S3, and S3 where it refuses: archives, checksum headers, addressing, denials.

use s3ota_devserver::Access;
use s3ota_image::Chip;
use s3ota_image::app::ImageBuilder;

use crate::bucket::{Bench, Run, s3ota};
use crate::quirks::{Asked, Reply, Store, refuse, store};

const PLACE: &str = "s3://firmware/lamp";

/// A bench whose command talks to a misbehaving store.
struct Odd {
    bench: Bench,
    store: Store,
}

impl Odd {
    async fn new(decide: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let bench = Bench::new(Access::PublicRead).await;
        let store = store(&bench.server, decide).await;
        Self { bench, store }
    }

    fn run(&self, args: &[&str]) -> Run {
        self.run_with(args, &[])
    }

    /// With more variables; one without a value is not set.
    fn run_with(&self, args: &[&str], env: &[(&str, &str)]) -> Run {
        let mut command = self.bench.command();
        command.env("AWS_ENDPOINT_URL", &self.store.url);
        for (name, value) in env {
            match *value {
                "" => command.env_remove(name),
                value => command.env(name, value),
            };
        }
        command
            .arg("--json")
            .args(args)
            .current_dir(self.bench.dir.path());
        Run::of(command.output().unwrap())
    }
}

/// The last error or warning: code, message and hint.
fn said(run: &Run) -> (String, String) {
    let last = run
        .events
        .iter()
        .rev()
        .find(|event| event["event"] == "error" || event["event"] == "warning");
    let last = last.unwrap_or_else(|| panic!("{:?}", run.events));
    let text = |field: &str| last[field].as_str().unwrap_or_default().to_owned();
    (
        text("code"),
        format!("{}\n{}", text("message"), text("hint")),
    )
}

fn is_image(asked: &Asked) -> bool {
    asked.path().ends_with(".bin")
}

/// Answers as S3 does for an object in an archive. An upload brings it back.
fn archives(head: &'static str, class: &'static str) -> impl Fn(&Asked) -> Reply + Send + Sync {
    let fresh = std::sync::atomic::AtomicBool::new(false);
    move |asked| {
        let order = std::sync::atomic::Ordering::Relaxed;
        match asked.method.as_str() {
            "PUT" if is_image(asked) => fresh.store(true, order),
            "GET" if asked.target.contains("lifecycle") => {
                return Reply::Refuse(
                    200,
                    format!(
                        "<LifecycleConfiguration><Rule><ID>old-to-cold</ID><Status>Enabled</Status><Filter><Prefix>lamp/</Prefix></Filter>\
                         <Transition><Days>30</Days><StorageClass>{class}</StorageClass></Transition></Rule></LifecycleConfiguration>"
                    ),
                );
            }
            _ => {}
        }
        if !is_image(asked) || fresh.load(order) {
            return Reply::Pass;
        }
        match asked.method.as_str() {
            "HEAD" => Reply::With(head.to_owned()),
            "GET" => refuse(
                403,
                "InvalidObjectState",
                "The operation is not valid for the object's storage class",
                &format!("<StorageClass>{class}</StorageClass>"),
            ),
            _ => Reply::Pass,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archived_image_counts_as_missing() {
    for (head, class) in [
        ("x-amz-storage-class: GLACIER\r\n", "GLACIER"),
        (
            "x-amz-storage-class: DEEP_ARCHIVE\r\nx-amz-restore: ongoing-request=\"true\"\r\n",
            "DEEP_ARCHIVE",
        ),
        (
            "x-amz-storage-class: INTELLIGENT_TIERING\r\nx-amz-archive-status: ARCHIVE_ACCESS\r\n",
            "ARCHIVE_ACCESS",
        ),
        // Other stores have classes of their own.
        ("x-amz-storage-class: ColdArchive\r\n", "COLDARCHIVE"),
    ] {
        let odd = Odd::new(archives(head, class)).await;
        let image = odd.bench.release("1.0.0", "stable");
        let next = odd.bench.release("1.1.0", "beta");

        // Whether it has a boot guard cannot be known now, but later.
        let unguarded = odd.bench.path("unguarded.bin");
        let bare = ImageBuilder::new(Chip::Esp32C3, "1.2.0").project_name("lamp");
        std::fs::write(&unguarded, bare.without_guard().build()).unwrap();
        let refused = odd.run(&["publish", &unguarded, PLACE]);
        let (code, text) = said(&refused);
        assert_eq!(code, "s3.archived");
        assert!(text.contains("has no boot guard"), "{text}");
        assert!(
            text.contains("is archived") && text.contains("restore"),
            "{text}"
        );
        assert!(!text.contains("missing"), "{text}");

        let promoted = odd.run(&["promote", PLACE, "beta", "stable"]);
        assert_eq!(promoted.error(), "s3.archived");
        let (_, text) = said(&promoted);
        assert!(text.to_uppercase().contains(class), "{text}");
        // Intelligent-Tiering moves objects by itself, and no rule is to blame.
        let is_blamed = class != "ARCHIVE_ACCESS";
        assert_eq!(text.contains("old-to-cold"), is_blamed, "{text}");
        assert_eq!(odd.run(&["rollout", PLACE, "50"]).error(), "s3.archived");
        assert_eq!(odd.run(&["presign", PLACE]).error(), "s3.archived");
        assert_eq!(odd.run(&["rollout", PLACE, "pause"]).status, 0);
        let stable = odd.bench.manifest("lamp/stable.json").await;
        assert_eq!(stable.version, "1.0.0");

        let status = odd.run(&["status", PLACE]);
        let channel = status.all("channel")[0];
        assert_eq!(channel["is_archived"], true, "{channel}");
        assert!(status.warnings().contains(&"s3.archived"));
        let doctor = odd.run(&["doctor", PLACE]);
        assert_eq!(doctor.status, 1);
        assert!(
            doctor
                .events
                .iter()
                .any(|event| event["code"] == "s3.archived"),
            "{:?}",
            doctor.events
        );

        // The same bytes are uploaded again, and count from then on.
        let again = odd.run(&["publish", &image, PLACE, "--rollout", "100"]);
        again.published();
        let uploaded = again.all("uploaded");
        assert!(
            uploaded
                .iter()
                .any(|it| it["object"] == "image" && it["existed"] == false),
            "{uploaded:?}"
        );
        assert_eq!(odd.run(&["promote", PLACE, "beta", "stable"]).status, 0);
        drop(next);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_copy_and_instant_classes_can_be_read() {
    for head in [
        "x-amz-storage-class: GLACIER\r\nx-amz-restore: ongoing-request=\"false\", expiry-date=\"Fri, 01 Jan 2100 00:00:00 GMT\"\r\n",
        "x-amz-storage-class: GLACIER_IR\r\n",
        "x-amz-storage-class: STANDARD_IA\r\n",
    ] {
        let odd = Odd::new(move |asked| match asked.method.as_str() {
            "HEAD" if is_image(asked) => Reply::With(head.to_owned()),
            _ => Reply::Pass,
        })
        .await;
        let image = odd.bench.release("1.0.0", "beta");
        assert_eq!(odd.run(&["promote", PLACE, "beta", "stable"]).status, 0);
        let again = odd.run(&["publish", &image, PLACE, "--channel", "beta"]);
        again.published();
        let existed = again.all("uploaded")[0];
        assert_eq!(
            (&existed["object"], &existed["existed"]),
            (&"image".into(), &true.into())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_archived_at_once_is_not_released() {
    let odd = Odd::new(|asked| match asked.method.as_str() {
        "HEAD" if is_image(asked) => Reply::With("x-amz-storage-class: GLACIER\r\n".to_owned()),
        _ => Reply::Pass,
    })
    .await;
    let image = odd.bench.image("1.0.0");
    assert_eq!(odd.run(&["publish", &image, PLACE]).error(), "s3.archived");
    let keys = odd.bench.keys().await;
    assert!(!keys.contains(&"lamp/stable.json".to_owned()), "{keys:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bucket_init_warns_of_rules_that_archive_below_the_prefix() {
    let odd = Odd::new(archives("", "DEEP_ARCHIVE")).await;
    let run = odd.run(&["bucket", "init", PLACE, "--dry-run"]);
    let warned = run
        .events
        .iter()
        .find(|event| event["code"] == "bucket.lifecycle");
    let message = warned.unwrap()["message"].as_str().unwrap();
    assert!(
        message.contains("old-to-cold") && message.contains("DEEP_ARCHIVE"),
        "{message}"
    );
}

/// Refuses headers by name, as Backblaze B2 did.
fn like_b2(asked: &Asked) -> Reply {
    match asked
        .header_like("x-amz-checksum")
        .or(asked.header_like("x-amz-sdk-checksum"))
    {
        Some(name) => refuse(
            400,
            "InvalidArgument",
            &format!("Unsupported header '{name}' received for this API call."),
            "",
        ),
        None => Reply::Pass,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_refuses_checksum_headers_is_asked_without() {
    let like_r2 = |asked: &Asked| match asked.header("x-amz-checksum-algorithm") {
        Some(kind) => refuse(
            501,
            "NotImplemented",
            &format!("Header 'x-amz-checksum-algorithm' with value '{kind}' not implemented"),
            "",
        ),
        None => Reply::Pass,
    };
    // As many an older gateway does, which names nothing.
    let unnamed = |asked: &Asked| match asked.method == "PUT"
        && asked.header_like("x-amz-checksum").is_some()
    {
        true => refuse(
            501,
            "NotImplemented",
            "A header you provided implies functionality that is not implemented",
            "",
        ),
        false => Reply::Pass,
    };
    for odd in [
        Odd::new(like_b2).await,
        Odd::new(like_r2).await,
        Odd::new(unnamed).await,
    ] {
        let large = odd.bench.large_firmware("1.1.0");
        let image = odd.bench.image("1.0.0");
        let run = odd.run(&["publish", &image, PLACE]);
        run.published();
        // None of that is about conditional writes.
        assert!(
            !run.warnings().contains(&"s3.conditional"),
            "{:?}",
            run.events
        );
        odd.run(&["publish", &large, PLACE, "--delta-from", "none"])
            .published();
        assert_eq!(odd.run(&["promote", PLACE, "stable", "beta"]).status, 0);
        // What cannot be verified by the store is read back.
        let whole = odd.store.asked().into_iter().filter(|asked| {
            asked.method == "GET" && is_image(asked) && asked.header("range").is_none()
        });
        assert!(whole.count() >= 1);
        let asked = odd.store.asked();
        let conditional = asked.iter().filter(|asked| asked.is("PUT", "stable.json"));
        for put in conditional {
            assert!(put.header("if-match").is_some() || put.header("if-none-match").is_some());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_list_the_bucket_publishes_without_deltas() {
    let odd = Odd::new(|asked| match asked.target.contains("list-type=2") {
        true => refuse(403, "AccessDenied", "Access Denied", ""),
        false => Reply::Pass,
    })
    .await;
    let publish = |version: &str| {
        let firmware = odd.bench.program(version);
        odd.run(&["publish", firmware.to_str().unwrap(), PLACE])
    };
    let first = publish("1.0.0");
    first.published();
    let run = publish("1.1.0");
    run.published();
    assert!(
        run.warnings().contains(&"publish.delta"),
        "{:?}",
        run.events
    );
    let made = run.all("artefact");
    assert_eq!((made.len(), &made[0]["object"]), (1, &"compressed".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn checksum_headers_are_sent_only_when_required_if_that_is_wanted() {
    let odd = Odd::new(|_| Reply::Pass).await;
    let large = odd.bench.large_firmware("1.1.0");
    let config = odd.bench.path("config");
    std::fs::write(&config, "[default]\nrequest_checksum_calculation = when_required\nresponse_checksum_validation = when_required\n").unwrap();
    let wanted = [
        ("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required"),
        ("AWS_RESPONSE_CHECKSUM_VALIDATION", "WHEN_REQUIRED"),
    ];
    for (place, env) in [
        ("s3://firmware/a", &wanted[..]),
        ("s3://firmware/c", &[("AWS_CONFIG_FILE", config.as_str())]),
    ] {
        let image = odd.bench.image("1.0.0");
        odd.run_with(&["publish", &image, place], env).published();
        odd.run_with(&["publish", &large, place], env).published();
        let asked = odd.store.asked();
        let with = asked.iter().find(|asked| {
            asked
                .header_like("x-amz-checksum")
                .or(asked.header_like("x-amz-sdk-checksum"))
                .is_some()
        });
        assert!(with.is_none(), "{with:?}");
    }
    let image = odd.bench.image("1.0.0");
    odd.run(&["publish", &image, "s3://firmware/b"]).published();
    assert!(
        odd.store
            .asked()
            .iter()
            .any(|asked| asked.header("x-amz-checksum-sha256").is_some())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_without_a_reason_is_asked_again_as_a_get() {
    let odd = Odd::new(|asked| match is_image(asked) {
        true => refuse(400, "ExpiredToken", "The provided token has expired.", ""),
        false => Reply::Pass,
    })
    .await;
    odd.bench.release("1.0.0", "stable");
    let run = odd.run(&["promote", PLACE, "stable", "beta"]);
    assert_eq!(run.error(), "s3.credentials");
    assert!(said(&run).1.contains("token has expired"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_uploads_in_parts_gets_the_image_whole() {
    let odd = Odd::new(|asked| match asked.method == "POST" {
        true => refuse(
            501,
            "NotImplemented",
            "A header you provided implies functionality that is not implemented",
            "",
        ),
        false => Reply::Pass,
    })
    .await;
    let large = odd.bench.large_firmware("1.1.0");
    odd.run(&["publish", &large, PLACE, "--delta-from", "none"])
        .published();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_buckets_name_may_be_before_the_hosts() {
    // As Alibaba OSS and Tencent COS.
    let odd = Odd::new(|asked| match asked.header("host") {
        Some(host) if host.starts_with("firmware.") => Reply::Pass,
        _ => refuse(
            403,
            "SecondLevelDomainForbidden",
            "Please use virtual hosted style to access.",
            "",
        ),
    })
    .await;
    let image = odd.bench.image("1.0.0");
    let endpoint = format!("http://s3.localhost:{}", odd.store.port);
    let publish = ["publish", &image, PLACE, "--endpoint-url", &endpoint];

    let run = odd.run(&publish);
    assert_eq!(run.error(), "s3.addressing");
    assert!(said(&run).1.contains("--addressing-style virtual"));

    let url = format!(
        "https://firmware.s3.localhost:{}/lamp/stable.json",
        odd.store.port
    );
    let styled = [&publish[..], &["--addressing-style", "virtual"]].concat();
    assert_eq!(odd.run(&styled).published()["manifest_url"], url);
    let config = odd.bench.path("config");
    std::fs::write(
        &config,
        "[default]\ns3 =\n  max_concurrent_requests = 4\n  addressing_style = virtual\n",
    )
    .unwrap();
    let run = odd.run_with(&publish, &[("AWS_CONFIG_FILE", &config)]);
    assert_eq!(run.published()["manifest_url"], url);
    std::fs::write(
        odd.bench.path("s3ota.toml"),
        "addressing_style = \"virtual\"\n",
    )
    .unwrap();
    assert_eq!(odd.run(&publish).published()["manifest_url"], url);

    let address = format!("http://127.0.0.1:{}", odd.store.port);
    let run = odd.run(&["status", PLACE, "--endpoint-url", &address]);
    assert_eq!(run.error(), "s3.addressing");
    let doubled = format!("http://firmware.s3.localhost:{}", odd.store.port);
    let run = odd.run(&["status", PLACE, "--endpoint-url", &doubled]);
    assert_eq!(run.error(), "s3.addressing");
    assert!(said(&run).1.contains("leave the bucket out"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_has_its_path_from_every_source() {
    let odd = Odd::new(
        |asked| match asked.target.starts_with("/storage/v1/s3/firmware") {
            true => refuse(404, "NoSuchKey", "", ""),
            false => refuse(400, "WrongPath", &asked.target, ""),
        },
    )
    .await;
    let endpoint = format!("{}/storage/v1/s3", odd.store.url);
    let config = odd.bench.path("config");
    std::fs::write(&config, format!("[default]\nendpoint_url = {endpoint}\n")).unwrap();
    let services = odd.bench.path("services");
    std::fs::write(
        &services,
        format!("[default]\nservices = x\n[services x]\ns3 =\n  endpoint_url = {endpoint}/\n"),
    )
    .unwrap();
    let sources: [&[(&str, &str)]; 5] = [
        &[("AWS_ENDPOINT_URL", &endpoint)],
        &[("AWS_ENDPOINT_URL_S3", &endpoint), ("AWS_ENDPOINT_URL", "")],
        // What is for this service only counts more.
        &[
            ("AWS_ENDPOINT_URL_S3", &endpoint),
            ("AWS_ENDPOINT_URL", "http://localhost:1"),
        ],
        &[("AWS_CONFIG_FILE", &config), ("AWS_ENDPOINT_URL", "")],
        &[("AWS_CONFIG_FILE", &services), ("AWS_ENDPOINT_URL", "")],
    ];
    for env in sources {
        let run = odd.run_with(&["presign", PLACE], env);
        assert_eq!(run.error(), "channel.empty", "{env:?}: {:?}", run.events);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn denials_are_told_from_missing_permissions() {
    const WHO: &str = "User: arn:aws:iam::111122223333:user/ci is not authorized to perform: ";
    for (status, code, reason, expected, advice) in [
        (
            403,
            "AccessDenied",
            "s3:PutObject on resource: x because no identity-based policy allows the s3:PutObject action",
            "s3.denied",
            "\"Effect\":\"Allow\"",
        ),
        (
            403,
            "AccessDenied",
            "s3:PutObject on resource: x with an explicit deny in a resource-based policy",
            "s3.forbidden",
            "--sse",
        ),
        (
            403,
            "AccessDenied",
            "s3:PutObject on resource: x with an explicit deny in a service control policy",
            "s3.forbidden",
            "organization",
        ),
        (
            403,
            "AccessDenied",
            "s3:PutObject on resource: x because no VPC endpoint policy allows the s3:PutObject action",
            "s3.forbidden",
            "VPC endpoint",
        ),
        (
            403,
            "AccessDenied",
            "kms:GenerateDataKey on resource: arn:aws:kms:eu-west-1:1:key/2 because no identity-based policy allows it",
            "s3.kms",
            "kms:GenerateDataKey",
        ),
        (
            400,
            "KMS.DisabledException",
            "the key is disabled",
            "s3.kms",
            "--sse",
        ),
        (
            403,
            "RequestTimeTooSkewed",
            "The difference is too large.",
            "s3.clock",
            "set the clock",
        ),
        (
            503,
            "SlowDown",
            "Please reduce your request rate.",
            "s3.busy",
            "wait",
        ),
        (
            400,
            "AuthorizationHeaderMalformed",
            "the region 'us-east-1' is wrong; expecting 'eu-central-1'",
            "s3.region",
            "--region eu-central-1",
        ),
    ] {
        let message = match status == 403 && code == "AccessDenied" {
            true => format!("{WHO}{reason}"),
            false => reason.to_owned(),
        };
        let odd = Odd::new(move |asked| match asked.method == "PUT" {
            true => refuse(status, code, &message, ""),
            false => Reply::Pass,
        })
        .await;
        let image = odd.bench.image("1.0.0");
        let run = odd.run(&["publish", &image, PLACE]);
        assert_eq!(run.error(), expected, "{reason}: {:?}", run.events);
        assert!(said(&run).1.contains(advice), "{:?}", said(&run));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_ask_for_the_encryption_that_a_policy_demands() {
    let odd = Odd::new(|asked| match asked.method.as_str() {
        "PUT" if asked.header("x-amz-server-side-encryption").is_none() => {
            refuse(403, "AccessDenied", "no", "")
        }
        "POST"
            if asked.target.contains("uploads")
                && asked.header("x-amz-server-side-encryption").is_none() =>
        {
            refuse(403, "AccessDenied", "no", "")
        }
        _ => Reply::Pass,
    })
    .await;
    let image = odd.bench.image("1.0.0");
    assert_eq!(odd.run(&["publish", &image, PLACE]).error(), "s3.denied");
    let key = "arn:aws:kms:eu-west-1:1:key/2";
    odd.run(&["publish", &image, PLACE, "--sse", "AES256"])
        .published();
    let put = odd
        .store
        .asked()
        .into_iter()
        .rfind(|asked| asked.is("PUT", "stable.json"))
        .unwrap();
    assert_eq!(put.header("x-amz-server-side-encryption"), Some("AES256"));
    let run = odd.run(&[
        "promote",
        PLACE,
        "stable",
        "beta",
        "--sse",
        &format!("aws:kms:{key}"),
    ]);
    assert_eq!(run.status, 0, "{:?}", run.events);
    let put = odd
        .store
        .asked()
        .into_iter()
        .rfind(|asked| asked.is("PUT", "beta.json"))
        .unwrap();
    assert_eq!(put.header("x-amz-server-side-encryption"), Some("aws:kms"));
    assert_eq!(
        put.header("x-amz-server-side-encryption-aws-kms-key-id"),
        Some(key)
    );
    assert_eq!(odd.run(&["status", PLACE, "--sse", "aes"]).status, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_does_not_exist_is_named() {
    let bench = Bench::new(Access::PublicRead).await;
    let config = bench.path("config");
    std::fs::write(&config, "[default]\n[profile work]\nregion = eu-west-1\n").unwrap();
    let run = |profile: &str, args: &[&str]| {
        let mut command = bench.command();
        command
            .env("AWS_CONFIG_FILE", &config)
            .env("AWS_PROFILE", profile);
        Run::of(
            command
                .args([&["--json", "status", PLACE], args].concat())
                .output()
                .unwrap(),
        )
    };
    let missing = run("workk", &[]);
    assert_eq!(missing.error(), "s3.profile");
    let (_, text) = said(&missing);
    assert!(
        text.contains("workk") && text.contains("AWS_PROFILE") && text.contains("work"),
        "{text}"
    );
    assert_eq!(run("", &["--profile", "none"]).error(), "s3.profile");
    assert_eq!(run("work", &[]).status, 0);
    assert_eq!(run("", &[]).status, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_the_sdk_cannot_read_is_an_error_also_with_credentials_in_the_environment()
 {
    let odd = Odd::new(|_| Reply::Pass).await;
    let path = odd.bench.path("aws");
    let text = "[default]\nregion = eu-west-1\n";
    let utf16 = std::iter::once(0xFEFF).chain(text.encode_utf16());
    for (bytes, word) in [
        (
            [b"\xEF\xBB\xBF", text.as_bytes()].concat(),
            "byte order mark",
        ),
        (utf16.flat_map(u16::to_le_bytes).collect(), "UTF-16"),
        (b"region = eu-west-1\n".to_vec(), "cannot be read"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        for variable in ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"] {
            let run = odd.run_with(&["status", PLACE], &[(variable, &path)]);
            assert_eq!(run.status, 1, "{word}: {:?}", run.events);
            let (_, text) = said(&run);
            assert!(text.contains(word), "{text}");
            assert!(text.contains(&path), "{text}");
        }
    }
    assert_eq!(odd.store.asked().len(), 0);
    std::fs::write(&path, text).unwrap();
    let run = odd.run_with(&["status", PLACE], &[("AWS_CONFIG_FILE", &path)]);
    assert_eq!(run.status, 0, "{:?}", run.events);
}

/// Whether a request has a header of checksums: of the upload, or the question for that of the download.
fn has_checksum(asked: &Asked) -> bool {
    let starts = ["x-amz-checksum", "x-amz-sdk-checksum"];
    starts.iter().any(|it| asked.header_like(it).is_some())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_may_refuse_checksum_headers_with_any_code_or_none() {
    let one_name = |asked: &Asked| match has_checksum(asked) {
        true => refuse(
            400,
            "UnsupportedHeader",
            "x-amz-checksum-sha256 is not supported",
            "",
        ),
        false => Reply::Pass,
    };
    let no_reason = |status: u16| {
        move |asked: &Asked| match asked.header("x-amz-checksum-mode") {
            Some(_) => Reply::Refuse(status, String::new()),
            None => Reply::Pass,
        }
    };
    let head_only = |asked: &Asked| match asked.method == "HEAD" && has_checksum(asked) {
        true => Reply::Refuse(400, String::new()),
        false => Reply::Pass,
    };
    for odd in [
        Odd::new(one_name).await,
        Odd::new(no_reason(400)).await,
        Odd::new(no_reason(501)).await,
        Odd::new(head_only).await,
    ] {
        let image = odd.bench.image("1.0.0");
        let run = odd.run(&["publish", &image, PLACE]);
        run.published();
        assert!(
            !run.warnings().contains(&"s3.conditional"),
            "{:?}",
            run.events
        );
        assert_eq!(odd.run(&["promote", PLACE, "stable", "beta"]).status, 0);
        let status = odd.run(&["status", PLACE]);
        assert_eq!(status.status, 0, "{:?}", status.events);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checksum_that_does_not_match_is_no_refusal_of_its_header() {
    let odd = Odd::new(|asked| match asked.method == "PUT" {
        true => refuse(
            400,
            "XAmzContentChecksumMismatch",
            "The provided x-amz-checksum-sha256 header does not match what was computed.",
            "",
        ),
        false => Reply::Pass,
    })
    .await;
    let image = odd.bench.image("1.0.0");
    let run = odd.run(&["publish", &image, PLACE]);
    assert_eq!(run.error(), "s3.error");
    let asked = odd.store.asked();
    let mut puts = asked.iter().filter(|asked| asked.method == "PUT");
    assert!(puts.all(has_checksum));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_may_call_a_condition_a_wrong_argument() {
    let odd = Odd::new(|asked| {
        let is_conditional =
            asked.header("if-match").is_some() || asked.header("if-none-match").is_some();
        match asked.method == "PUT" && is_conditional {
            true => refuse(
                400,
                "InvalidArgument",
                "Unsupported header 'If-Match' received for this API call.",
                "",
            ),
            false => Reply::Pass,
        }
    })
    .await;
    for version in ["1.0.0", "1.1.0"] {
        let image = odd.bench.image(version);
        let run = odd.run(&["publish", &image, PLACE]);
        run.published();
        assert!(
            run.warnings().contains(&"s3.conditional"),
            "{:?}",
            run.events
        );
    }
    // The checksums were not the reason.
    let asked = odd.store.asked();
    let mut puts = asked.iter().filter(|asked| asked.method == "PUT");
    assert!(puts.all(has_checksum));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_store_calls_wrong_has_a_hint_to_leave_it_out() {
    let odd = Odd::new(|asked| {
        let header = ["x-amz-acl", "x-amz-server-side-encryption"]
            .into_iter()
            .find(|header| asked.header(header).is_some());
        match (header, asked.method.as_str()) {
            (Some(header), _) => refuse(
                400,
                "InvalidArgument",
                &format!("Unsupported header '{header}'"),
                "",
            ),
            (None, "PUT") => refuse(400, "InvalidArgument", "Invalid argument.", ""),
            _ => Reply::Pass,
        }
    })
    .await;
    let image = odd.bench.image("1.0.0");
    for (more, word) in [
        (&["--public-read"][..], "leave out --public-read"),
        (&["--sse", "AES256"], "leave out --sse"),
        (&[], "AWS_REQUEST_CHECKSUM_CALCULATION=when_required"),
    ] {
        let run = odd.run(&[&["publish", &image, PLACE], more].concat());
        assert_eq!(run.error(), "s3.error");
        let (_, text) = said(&run);
        assert!(text.contains(word), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_errors_name_host_and_region_and_a_wrong_scheme() {
    let bench = Bench::new(Access::PublicRead).await;
    let plain = store(&bench.server, |_| Reply::Pass).await;
    let run = |endpoint: String| {
        let mut command = s3ota();
        command
            .env("AWS_ACCESS_KEY_ID", "s3ota")
            .env("AWS_SECRET_ACCESS_KEY", "s3ota-secret")
            .env("AWS_REGION", "eu-west-7")
            .args(["--json", "status", PLACE, "--endpoint-url", &endpoint]);
        let run = Run::of(command.output().unwrap());
        assert_eq!(run.error(), "s3.connect", "{:?}", run.events);
        said(&run).1
    };
    let refused = run("https://localhost:1".to_owned());
    assert!(
        refused.contains("localhost:1:") && refused.contains("eu-west-7"),
        "{refused}"
    );
    let text = run(format!("https://localhost:{}", plain.port));
    assert!(text.contains("does not speak TLS"), "{text}");
    let text = run(format!(
        "http://localhost:{}",
        bench.server.local_addr().port()
    ));
    assert!(text.contains("https://"), "{text}");
}
