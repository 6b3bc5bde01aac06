//! A bucket on a real S3 server over TLS, and the command `s3ota` to use on it.

// Each test takes what it needs.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use s3ota_devserver::{Access, DevServer, Options};
use s3ota_image::Chip;
use s3ota_image::app::ImageBuilder;
use s3ota_manifest::ManifestDocument;
use serde_json::Value;

/// A server with a bucket, and a folder for firmwares.
pub struct Bench {
    pub server: DevServer,
    pub client: Client,
    pub dir: tempfile::TempDir,
}

impl Bench {
    pub async fn new(access: Access) -> Self {
        Self::with(Options {
            access,
            ..Options::default()
        })
        .await
    }

    /// A server as it is wanted, on any free port.
    pub async fn with(options: Options) -> Self {
        let listen = ([127, 0, 0, 1], 0).into();
        let server = DevServer::start(Options { listen, ..options })
            .await
            .unwrap();
        let roots = TrustStore::empty().with_pem_certificate(server.ca_pem());
        let tls = TlsContext::builder()
            .with_trust_store(roots)
            .build()
            .unwrap();
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::rustls(CryptoMode::Ring))
            .tls_context(tls);
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http.build_https())
            .endpoint_url(server.endpoint_url())
            .force_path_style(true)
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new(
                "s3ota",
                "s3ota-secret",
                None,
                None,
                "test",
            ));
        let client = Client::from_conf(config.build());
        let made = client.create_bucket().bucket("firmware").send().await;
        if let Err(error) = made {
            assert!(error.into_service_error().is_bucket_already_owned_by_you());
        }
        Self {
            server,
            client,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// Writes a firmware file; `payload` makes it another one of the same version.
    pub fn firmware(&self, chip: Chip, version: &str, payload: &[u8]) -> PathBuf {
        let image = ImageBuilder::new(chip, version)
            .project_name("lamp")
            .payload(payload)
            .build();
        let path = self
            .dir
            .path()
            .join(format!("{chip}-{version}-{}.bin", payload.len()));
        std::fs::write(&path, image).unwrap();
        path
    }

    /// Writes a firmware file that goes up in two parts: more than 8 MiB. Gives its path.
    pub fn large_firmware(&self, version: &str) -> String {
        let image = ImageBuilder::new(Chip::Esp32C3, version)
            .project_name("lamp")
            .length(9_000_000);
        let path = self.path("large.bin");
        std::fs::write(&path, image.build()).unwrap();
        path
    }

    /// Writes a firmware file that is worth a delta: of a version's own it has a few hundred bytes. Gives its path.
    pub fn program(&self, version: &str) -> PathBuf {
        let mut state = 1_u32;
        let mut payload: Vec<u8> = (0..120_000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 28) as u8
            })
            .collect();
        let own = version.as_bytes().repeat(60);
        payload[50_000..50_000 + own.len()].copy_from_slice(&own);
        self.firmware(Chip::Esp32C3, version, &payload)
    }

    /// Writes a firmware file of a version. Gives its path.
    pub fn image(&self, version: &str) -> String {
        let path = self.firmware(Chip::Esp32C3, version, version.as_bytes());
        path.to_str().unwrap().to_owned()
    }

    /// Publishes a version to a channel. Gives the path of its firmware.
    pub fn release(&self, version: &str, channel: &str) -> String {
        let image = self.image(version);
        self.publish(image.as_ref(), &["--channel", channel])
            .published();
        image
    }

    /// Runs `s3ota --json publish FIRMWARE s3://firmware/lamp` with further arguments.
    pub fn publish(&self, firmware: &Path, args: &[&str]) -> Run {
        self.publish_to(firmware, "s3://firmware/lamp", args)
    }

    pub fn publish_to(&self, firmware: &Path, destination: &str, args: &[&str]) -> Run {
        let mut command = self.command();
        command
            .arg("--json")
            .arg("publish")
            .arg(firmware)
            .arg(destination)
            .args(args)
            .current_dir(self.dir.path());
        Run::of(command.output().unwrap())
    }

    /// The command `s3ota` with this server for AWS.
    pub fn command(&self) -> Command {
        let mut command = s3ota();
        command
            .env("AWS_ACCESS_KEY_ID", "s3ota")
            .env("AWS_SECRET_ACCESS_KEY", "s3ota-secret");
        command
            .env("AWS_ENDPOINT_URL", self.server.endpoint_url())
            .env("AWS_CA_BUNDLE", self.server.ca_path())
            .env("S3OTA_STATE", self.dir.path().join("state"));
        command
    }

    /// Runs `s3ota --json` in the folder of the firmwares.
    pub fn s3ota(&self, args: &[&str]) -> Run {
        let mut command = self.command();
        command
            .arg("--json")
            .args(args)
            .current_dir(self.dir.path());
        Run::of(command.output().unwrap())
    }

    /// The same on another host, whose rollback state is in a folder of its own.
    pub fn s3ota_on(&self, host: &str, args: &[&str]) -> Run {
        let mut command = self.command();
        command
            .env("S3OTA_STATE", self.dir.path().join(host))
            .arg("--json")
            .args(args)
            .current_dir(self.dir.path());
        Run::of(command.output().unwrap())
    }

    /// Every object of the bucket, and its bytes.
    pub async fn objects(&self) -> Vec<(String, Vec<u8>)> {
        let mut objects = Vec::new();
        for key in self.keys().await {
            let bytes = self.read(&key).await.2;
            objects.push((key, bytes));
        }
        objects
    }

    /// Makes a key, `NAME.key` and `NAME.key.pub`; its id.
    pub fn key(&self, name: &str) -> String {
        let file = format!("{name}.key");
        let made = self.s3ota(&["keygen", &file, "--no-passphrase"]);
        made.succeeded()["keyid"].as_str().unwrap().to_owned()
    }

    /// Makes a virtual device with an image, in a file of the folder.
    pub fn new_device(&self, flash: &str, image: &Path) {
        let image = image.to_str().unwrap();
        let new = ["device", "new", flash, "--force", "--image", image];
        self.s3ota(&new).succeeded();
    }

    /// The file of the server's CA.
    pub fn ca(&self) -> &str {
        self.server.ca_path().to_str().unwrap()
    }

    /// Powers a device on once. It trusts `release.key`, and the CAs in a file.
    pub fn run_device(&self, flash: &str, ca: &str, manifest_url: &str, args: &[&str]) -> Run {
        let run = ["device", "run", flash, "--once", "--attempts", "1"];
        let url = ["--manifest-url", manifest_url, "--ca", ca];
        let key = ["--release-key", "release.key.pub"];
        self.s3ota(&[&run[..], &url, &key, args].concat())
    }

    /// The path of a file in the folder, as text.
    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// Writes an object over whatever is there.
    pub async fn write(&self, key: &str, bytes: impl Into<Vec<u8>>) {
        let body = ByteStream::from(bytes.into());
        self.client
            .put_object()
            .bucket("firmware")
            .key(key)
            .body(body)
            .send()
            .await
            .unwrap();
    }

    pub async fn read(&self, key: &str) -> (String, String, Vec<u8>) {
        let object = self
            .client
            .get_object()
            .bucket("firmware")
            .key(key)
            .send()
            .await
            .unwrap();
        let header = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let (content_type, cache_control) = (
            header(object.content_type()),
            header(object.cache_control()),
        );
        (
            content_type,
            cache_control,
            object.body.collect().await.unwrap().to_vec(),
        )
    }

    pub async fn manifest(&self, key: &str) -> ManifestDocument {
        ManifestDocument::parse(&self.read(key).await.2).unwrap()
    }

    /// Deletes an object.
    pub async fn remove(&self, key: &str) {
        let delete = self.client.delete_object().bucket("firmware");
        delete.key(key).send().await.unwrap();
    }

    pub async fn keys(&self) -> Vec<String> {
        let list = self
            .client
            .list_objects_v2()
            .bucket("firmware")
            .send()
            .await
            .unwrap();
        list.contents()
            .iter()
            .map(|object| object.key().unwrap_or_default().to_owned())
            .collect()
    }
}

/// The command, in an environment that names no AWS account.
pub fn s3ota() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_s3ota"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command
        .env("AWS_CONFIG_FILE", "/nonexistent")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent");
    for name in [
        "RUST_LOG",
        "S3OTA_BY",
        "S3OTA_KEY",
        "S3OTA_LOCATION",
        "S3OTA_PASSPHRASE",
        "GITHUB_ACTOR",
        "GITLAB_USER_LOGIN",
    ] {
        command.env_remove(name);
    }
    command
        .env("AWS_EC2_METADATA_DISABLED", "true")
        // What signs gets a folder of its own.
        .env("S3OTA_STATE", "/nonexistent");
    command
}

/// What a run printed: only JSON objects on stdout.
pub struct Run {
    pub status: i32,
    pub events: Vec<Value>,
}

impl Run {
    pub fn of(output: Output) -> Self {
        let stdout = String::from_utf8(output.stdout).unwrap();
        let events = stdout
            .lines()
            .map(|line| serde_json::from_str(line).expect(line))
            .collect();
        Self {
            status: output.status.code().unwrap(),
            events,
        }
    }

    pub fn all(&self, name: &str) -> Vec<&Value> {
        self.events
            .iter()
            .filter(|event| event["event"] == name)
            .collect()
    }

    /// The last event of a run that succeeded.
    pub fn succeeded(&self) -> &Value {
        assert_eq!(self.status, 0, "{:?}", self.events);
        self.events.last().unwrap()
    }

    /// The last event of a run that published.
    pub fn published(&self) -> &Value {
        let last = self.succeeded();
        assert_eq!(last["event"], "published");
        last
    }

    /// The code of a run that failed.
    pub fn error(&self) -> &str {
        assert_eq!(self.status, 1, "{:?}", self.events);
        self.code()
    }

    /// The code of a run that could not begin.
    pub fn usage_error(&self) -> &str {
        assert_eq!(self.status, 2, "{:?}", self.events);
        self.code()
    }

    fn code(&self) -> &str {
        let last = self.events.last().unwrap();
        assert_eq!(last["event"], "error");
        assert!(!last["message"].as_str().unwrap().is_empty());
        last["code"].as_str().unwrap()
    }

    pub fn warnings(&self) -> Vec<&str> {
        self.all("warning")
            .iter()
            .map(|warning| warning["code"].as_str().unwrap())
            .collect()
    }
}
