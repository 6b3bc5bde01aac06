//! `bucket init --log-bucket` on AWS: a server that keeps settings as S3 does stands where AWS would, behind a proxy that joins every
//! name to it.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};

use scripted_server::server::Identity;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::bucket::{Run, s3ota};
use crate::http_proxy::{HttpProxy, http_proxy};

const REGION: &str = "eu-central-1";
const ACCOUNT: &str = "111122223333";

/// The settings of each bucket, as they were put.
type Buckets = Arc<Mutex<BTreeMap<String, BTreeMap<String, String>>>>;

/// Stands where AWS would.
struct Aws {
    proxy: HttpProxy,
    buckets: Buckets,
    dir: tempfile::TempDir,
}

impl Aws {
    async fn start() -> Self {
        let names = [
            format!("*.s3.{REGION}.amazonaws.com"),
            format!("s3.{REGION}.amazonaws.com"),
            format!("sts.{REGION}.amazonaws.com"),
        ];
        let identity = Identity::new(|leaf| {
            let names = names.map(|name| rcgen::SanType::DnsName(name.try_into().unwrap()));
            leaf.subject_alt_names.extend(names);
        });
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.der"), &identity.ca).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = TlsAcceptor::from(identity.config.clone());
        let buckets = Buckets::default();
        let kept = buckets.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, kept) = (acceptor.clone(), kept.clone());
                tokio::spawn(async move {
                    // A client may hang up.
                    let _ = serve(client, &acceptor, &kept).await;
                });
            }
        });
        let proxy = http_proxy(port, "", None).await;
        Self {
            proxy,
            buckets,
            dir,
        }
    }

    fn run(&self, args: &[&str]) -> Run {
        let mut command: Command = s3ota();
        let ca = self.dir.path().join("ca.der");
        command
            .env("AWS_ACCESS_KEY_ID", "x")
            .env("AWS_SECRET_ACCESS_KEY", "x")
            .env("AWS_REGION", REGION)
            .env(
                "HTTPS_PROXY",
                format!("http://127.0.0.1:{}", self.proxy.port),
            )
            .env_remove("NO_PROXY")
            .env_remove("no_proxy")
            .args(["--json", "bucket", "init", "s3://firmware/lamp"])
            .args(args)
            .arg("--ca")
            .arg(ca)
            .current_dir(self.dir.path());
        tokio::task::block_in_place(|| Run::of(command.output().unwrap()))
    }

    /// A setting of a bucket, as it was put.
    fn setting(&self, bucket: &str, name: &str) -> Option<String> {
        let buckets = self.buckets.lock().unwrap();
        buckets.get(bucket)?.get(name).cloned()
    }

    fn put(&self, bucket: &str, name: &str, value: &str) {
        let mut buckets = self.buckets.lock().unwrap();
        let bucket = buckets.entry(bucket.to_owned()).or_default();
        bucket.insert(name.to_owned(), value.to_owned());
    }
}

async fn serve(
    client: TcpStream,
    acceptor: &TlsAcceptor,
    buckets: &Buckets,
) -> std::io::Result<()> {
    let mut client = BufStream::new(acceptor.accept(client).await?);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if client.read_line(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let field = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            let found = lines.find(|(field, _)| field.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_owned())
        };
        let length = field("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        client.read_exact(&mut body).await?;
        let body = String::from_utf8(body).unwrap();
        let (method, rest) = head.split_once(' ').unwrap();
        let path = rest.split(' ').next().unwrap();
        let host = field("host").unwrap();
        let (status, answer) = answer(method, &host, path, &body, buckets);
        let length = answer.len();
        // What is said of a head has no body.
        let answer = if method == "HEAD" { "" } else { &answer };
        let answer = format!(
            "HTTP/1.1 {status} X\r\nx-amz-bucket-region: {REGION}\r\nContent-Length: {length}\r\n\r\n{answer}"
        );
        client.write_all(answer.as_bytes()).await?;
        client.flush().await?;
    }
}

fn answer(method: &str, host: &str, path: &str, body: &str, buckets: &Buckets) -> (u16, String) {
    if host.starts_with("sts.") {
        let identity = format!(
            "<GetCallerIdentityResponse><GetCallerIdentityResult><Account>{ACCOUNT}</Account></GetCallerIdentityResult>\
             </GetCallerIdentityResponse>"
        );
        return (200, identity);
    }
    let (bucket, _) = host.split_once(".s3.").unwrap();
    let setting = path.split_once('?').map_or("", |(_, query)| query);
    let setting = setting.split(['=', '&']).next().unwrap().to_owned();
    let mut buckets = buckets.lock().unwrap();
    if (method, &*setting) == ("PUT", "") {
        buckets.entry(bucket.to_owned()).or_default();
        return (200, String::new());
    }
    let error = |code: &str| (404, format!("<Error><Code>{code}</Code></Error>"));
    let Some(settings) = buckets.get_mut(bucket) else {
        return error("NoSuchBucket");
    };
    match (method, &*setting) {
        ("PUT", _) => {
            settings.insert(setting, body.to_owned());
            (200, String::new())
        }
        ("HEAD", _) => (200, String::new()),
        (_, name) => match (settings.get(name), name) {
            (Some(kept), _) => (200, kept.clone()),
            (None, "logging") => (200, "<BucketLoggingStatus/>".to_owned()),
            (None, "versioning") => (200, "<VersioningConfiguration/>".to_owned()),
            (None, "policy") => error("NoSuchBucketPolicy"),
            (None, "lifecycle") => error("NoSuchLifecycleConfiguration"),
            (None, "cors") => error("NoSuchCORSConfiguration"),
            (None, _) => error("NoSuchPublicAccessBlockConfiguration"),
        },
    }
}

fn steps(run: &Run, event: &str) -> Vec<String> {
    let all = run.all(event);
    all.iter()
        .map(|it| it["step"].as_str().unwrap().to_owned())
        .collect()
}

/// The steps that have to do with the log.
fn log_steps(run: &Run) -> Vec<String> {
    let mut steps = steps(run, "planned");
    steps.retain(|step| step.contains("log"));
    steps
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_sets_the_access_log_up_on_aws_and_is_right_afterwards() {
    let aws = Aws::start().await;
    let args = ["--log-bucket", "my-logs"];
    let planned = aws.run(&[&args[..], &["--dry-run"]].concat());
    assert_eq!(planned.status, 0, "{:?}", planned.events);
    let all = ["create-logs", "log-policy", "log-lifecycle", "logging"];
    assert_eq!(log_steps(&planned), all);
    assert!(
        aws.buckets.lock().unwrap().is_empty(),
        "a dry run changes nothing"
    );

    let done = aws.run(&[&args[..], &["--yes"]].concat());
    assert_eq!(done.status, 0, "{:?}", done.events);
    assert_eq!(steps(&done, "done"), steps(&planned, "planned"));
    let logging = aws.setting("firmware", "logging").unwrap();
    for part in [
        "<TargetBucket>my-logs</TargetBucket>",
        "<TargetPrefix>firmware/</TargetPrefix>",
        "<PartitionedPrefix><PartitionDateSource>DeliveryTime</PartitionDateSource></PartitionedPrefix>",
    ] {
        assert!(logging.contains(part), "{part}: {logging}");
    }
    let policy = aws.setting("my-logs", "policy").unwrap();
    let policy: Value = serde_json::from_str(&policy).unwrap();
    assert_eq!(
        policy["Statement"],
        json!([{
            "Sid": "s3otalogs",
            "Effect": "Allow",
            "Principal": { "Service": "logging.s3.amazonaws.com" },
            "Action": "s3:PutObject",
            "Resource": "arn:aws:s3:::my-logs/firmware/*",
            "Condition": {
                "ArnLike": { "aws:SourceArn": "arn:aws:s3:::firmware" },
                "StringEquals": { "aws:SourceAccount": ACCOUNT },
            },
        }])
    );
    let lifecycle = aws.setting("my-logs", "lifecycle").unwrap();
    for part in [
        "<Days>90</Days>",
        "<Prefix>firmware/</Prefix>",
        "<Status>Enabled</Status>",
    ] {
        assert!(lifecycle.contains(part), "{part}: {lifecycle}");
    }
    let reader = &done.all("log-reader")[0];
    assert_eq!(reader["location"], "s3://my-logs/firmware/");
    let statements = reader["policy"]["Statement"].as_array().unwrap();
    let actions: Vec<_> = statements.iter().map(|it| &it["Action"]).collect();
    assert_eq!(actions, ["s3:ListBucket", "s3:GetObject"]);
    assert_eq!(
        statements[0]["Condition"]["StringLike"]["s3:prefix"],
        "firmware/*"
    );
    assert_eq!(statements[1]["Resource"], "arn:aws:s3:::my-logs/firmware/*");

    // A second time there is nothing to do, and with another number of days just that.
    let again = aws.run(&[&args[..], &["--yes"]].concat());
    assert_eq!(steps(&again, "planned"), [""; 0], "{:?}", again.events);
    let longer = aws.run(&[&args[..], &["--log-days", "400", "--yes"]].concat());
    assert_eq!(
        steps(&longer, "done"),
        ["log-lifecycle"],
        "{:?}",
        longer.events
    );
    let lifecycle = aws.setting("my-logs", "lifecycle").unwrap();
    assert!(lifecycle.contains("<Days>400</Days>") && !lifecycle.contains("<Days>90</Days>"));
    let again = aws.run(&[&args[..], &["--yes"]].concat());
    assert_eq!(steps(&again, "planned"), [""; 0], "{:?}", again.events);
    assert!(
        aws.proxy
            .heads()
            .iter()
            .all(|head| head.contains(".amazonaws.com:443"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_have_set_in_a_log_bucket_stays() {
    let aws = Aws::start().await;
    let theirs = r#"{"Version":"2012-10-17","Statement":[{"Sid":"Theirs","Effect":"Deny","Principal":"*","Action":"s3:DeleteObject","Resource":"arn:aws:s3:::logs/*"}]}"#;
    aws.put("logs", "policy", theirs);
    let rule = "<LifecycleConfiguration><Rule><ID>theirs</ID><Filter><Prefix>other/</Prefix></Filter><Status>Enabled</Status>\
                <Expiration><Days>7</Days></Expiration></Rule></LifecycleConfiguration>";
    aws.put("logs", "lifecycle", rule);
    // Logs are on, at a prefix of their choice, and not by day.
    let target = "<BucketLoggingStatus><LoggingEnabled><TargetBucket>logs</TargetBucket><TargetPrefix>all/</TargetPrefix></LoggingEnabled>\
                  </BucketLoggingStatus>";
    aws.put("firmware", "logging", target);
    let done = aws.run(&["--log-bucket", "logs", "--yes"]);
    assert_eq!(done.status, 0, "{:?}", done.events);
    assert_eq!(log_steps(&done), ["log-policy", "log-lifecycle", "logging"]);
    let policy = aws.setting("logs", "policy").unwrap();
    assert!(
        policy.contains("Theirs") && policy.contains("arn:aws:s3:::logs/all/*"),
        "{policy}"
    );
    let rules = aws.setting("logs", "lifecycle").unwrap();
    assert!(
        rules.contains("theirs") && rules.contains("<Prefix>all/</Prefix>"),
        "{rules}"
    );
    let logging = aws.setting("firmware", "logging").unwrap();
    assert!(
        logging.contains("<TargetPrefix>all/</TargetPrefix>"),
        "{logging}"
    );
    assert!(logging.contains("PartitionedPrefix"), "{logging}");
}
