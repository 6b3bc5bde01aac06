//! Promises kept to the `aws` command.

#[path = "promises/client.rs"]
mod client;

use s3ota_devserver::{Access, DevServer};
use tempfile::TempDir;
use tokio::process::Command;

use client::{Connection, noise, start};

/// The command, set up for a server of its own.
struct Aws {
    server: DevServer,
    dir: TempDir,
}

impl Aws {
    async fn start() -> Aws {
        Aws {
            server: start(Access::Policy).await,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.dir.path().join(name), bytes).unwrap();
    }

    /// Runs a command and gives back what it printed, or what it complained about.
    async fn run(&self, command: &str) -> Result<String, String> {
        self.run_args(&command.split_whitespace().collect::<Vec<_>>())
            .await
    }

    async fn run_args(&self, args: &[&str]) -> Result<String, String> {
        let output = Command::new("aws")
            .args(["--endpoint-url", &self.server.endpoint_url()])
            .args(args)
            .current_dir(self.dir.path())
            .env("AWS_CA_BUNDLE", self.server.ca_path())
            .env("AWS_ACCESS_KEY_ID", "s3ota")
            .env("AWS_SECRET_ACCESS_KEY", "s3ota-secret")
            .env("AWS_REGION", "eu-central-1")
            .env("AWS_MAX_ATTEMPTS", "1")
            .env("AWS_CONFIG_FILE", self.dir.path().join("config"))
            .env(
                "AWS_SHARED_CREDENTIALS_FILE",
                self.dir.path().join("credentials"),
            )
            .output()
            .await
            .expect("aws");
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }

    async fn ok(&self, command: &str) -> String {
        self.run(command)
            .await
            .unwrap_or_else(|error| panic!("aws {command}: {error}"))
    }
}

#[tokio::test]
#[ignore = "needs aws: pip install awscli"]
async fn the_aws_command_publishes_reads_and_cleans_up() {
    let aws = Aws::start().await;
    let (small, big) = (noise(20_000), noise(20 * 1024 * 1024));
    aws.write("small.bin", &small);
    aws.write("big.bin", &big);

    aws.ok("s3 mb s3://firmware").await;
    aws.ok("s3 cp small.bin s3://firmware/fw/small.bin --cache-control max-age=60")
        .await;
    // More than 8 MiB goes in parts.
    aws.ok("s3 cp big.bin s3://firmware/fw/big.bin --content-type application/x-firmware")
        .await;
    aws.ok("s3 cp s3://firmware/fw/big.bin s3://firmware/fw/copy.bin")
        .await;
    let list = aws.ok("s3 ls s3://firmware/fw/").await;
    let names: Vec<&str> = list
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .collect();
    assert_eq!(names, ["big.bin", "copy.bin", "small.bin"]);

    aws.ok("s3 cp s3://firmware/fw/copy.bin copy.bin").await;
    assert!(std::fs::read(aws.dir.path().join("copy.bin")).unwrap() == big);
    let head = aws
        .ok("s3api head-object --bucket firmware --key fw/small.bin")
        .await;
    assert!(head.contains("\"max-age=60\""), "{head}");
    let head = aws
        .ok("s3api head-object --bucket firmware --key fw/big.bin")
        .await;
    assert!(head.contains("application/x-firmware"), "{head}");

    let url = aws.ok("s3 presign s3://firmware/fw/small.bin").await;
    let target = url.trim().strip_prefix(&aws.server.endpoint_url()).unwrap();
    let host = format!("localhost:{}", aws.server.local_addr().port());
    let got = Connection::open(&aws.server, "localhost")
        .await
        .ask("GET", target, &host, &[])
        .await;
    assert!(got.status == 200 && got.body == small, "{}", got.status);
    let error = aws.run("s3 rb s3://firmware").await.unwrap_err();
    assert!(error.contains("BucketNotEmpty"), "{error}");
    aws.ok("s3 rm s3://firmware --recursive").await;
    aws.ok("s3 rb s3://firmware").await;
    assert_eq!(aws.ok("s3 ls").await, "");
    aws.server.stop().await;
}

#[tokio::test]
#[ignore = "needs aws: pip install awscli"]
async fn urls_that_the_aws_command_signs_work_for_a_week_at_most() {
    let aws = Aws::start().await;
    let small = noise(1000);
    aws.write("small.bin", &small);
    aws.ok("s3 mb s3://firmware").await;
    aws.ok("s3 cp small.bin s3://firmware/small.bin").await;
    let host = format!("localhost:{}", aws.server.local_addr().port());
    let mut connection = Connection::open(&aws.server, "localhost").await;
    let mut get = async |arguments: &str| {
        let url = aws
            .ok(&format!("s3 presign s3://firmware/small.bin {arguments}"))
            .await;
        let target = url.trim().strip_prefix(&aws.server.endpoint_url()).unwrap();
        connection.ask("GET", target, &host, &[]).await
    };
    // Version 2 of the signature, which the command prefers for other endpoints than Amazon's.
    assert_eq!(get("").await.body, small);
    assert_eq!(get("--expires-in -1").await.status, 403);

    aws.write("config", b"[default]\ns3 =\n    signature_version = s3v4\n");
    assert_eq!(get("--expires-in 604800").await.body, small);
    assert_eq!(get("--expires-in 604801").await.status, 400);
    aws.server.stop().await;
}

#[tokio::test]
#[ignore = "needs aws: pip install awscli"]
async fn the_aws_command_lists_odd_names_page_by_page() {
    let aws = Aws::start().await;
    aws.write("x", b"1");
    aws.ok("s3 mb s3://firmware").await;
    let keys = ["a +&.bin", "a b", "ä<>\"%25", "z"];
    for key in keys {
        let put = [
            "s3api",
            "put-object",
            "--bucket",
            "firmware",
            "--body",
            "x",
            "--key",
            key,
        ];
        aws.run_args(&put).await.unwrap();
    }
    let mut expected = keys.to_vec();
    expected.sort_unstable();
    for operation in ["list-objects", "list-objects-v2"] {
        let listed = aws
            .ok(&format!(
                "s3api {operation} --bucket firmware --page-size 1 --query Contents[].Key --output text"
            ))
            .await;
        let listed: Vec<&str> = listed
            .split(['\t', '\n'])
            .filter(|it| !it.is_empty())
            .collect();
        assert_eq!(listed, expected, "{operation}");
    }
    aws.server.stop().await;
}

#[tokio::test]
#[ignore = "needs aws: pip install awscli"]
async fn the_aws_command_opens_a_prefix_with_a_policy() {
    let aws = Aws::start().await;
    aws.write("x", b"1");
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Sid":"fw","Effect":"Allow","Principal":"*",
        "Action":"s3:GetObject","Resource":"arn:aws:s3:::firmware/fw/*"}]}"#;
    aws.write("policy.json", policy.as_bytes());
    aws.ok("s3api create-bucket --bucket firmware").await;
    aws.ok("s3 cp x s3://firmware/fw/x").await;
    aws.ok("s3 cp x s3://firmware/other").await;
    aws.ok("s3api put-bucket-policy --bucket firmware --policy file://policy.json")
        .await;
    let kept = aws
        .ok("s3api get-bucket-policy --bucket firmware --output text")
        .await;
    assert_eq!(kept.trim_end(), policy);
    let mut connection = Connection::open(&aws.server, "localhost").await;
    assert_eq!(connection.get("/firmware/fw/x", &[]).await.status, 200);
    assert_eq!(connection.get("/firmware/other", &[]).await.status, 403);
    aws.server.stop().await;
}
