//! Logs in a bucket, on the development server.

mod common;

use std::path::Path;
use std::process::Command;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use common::{START, asks, fleet, line};
use s3ota_devserver::{Access, DevServer, Options};
use serde_json::Value;
use tempfile::TempDir;

const BUCKET: &str = "my-logs";

async fn server() -> (DevServer, Client) {
    let options = Options {
        listen: ([127, 0, 0, 1], 0).into(),
        access: Access::Policy,
        ..Options::default()
    };
    let server = DevServer::start(options).await.unwrap();
    let roots = TrustStore::empty().with_pem_certificate(server.ca_pem());
    let tls = TlsContext::builder()
        .with_trust_store(roots)
        .build()
        .unwrap();
    let http = Builder::new()
        .tls_provider(Provider::rustls(CryptoMode::Ring))
        .tls_context(tls)
        .build_https();
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http)
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new(
            "s3ota",
            "s3ota-secret",
            None,
            None,
            "test",
        ))
        .endpoint_url(server.endpoint_url())
        .force_path_style(true);
    let client = Client::from_conf(config.build());
    client.create_bucket().bucket(BUCKET).send().await.unwrap();
    (server, client)
}

async fn put(client: &Client, key: &str, text: String) {
    let put = client.put_object().bucket(BUCKET).key(key);
    put.body(text.into_bytes().into()).send().await.unwrap();
}

async fn ask(server: &DevServer, dir: &Path, args: &[&str], secret: &str) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_s3ota-fleet"));
    command
        .args(args)
        .arg("--json")
        .env("AWS_ACCESS_KEY_ID", "s3ota")
        .env("AWS_SECRET_ACCESS_KEY", secret)
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ENDPOINT_URL", server.endpoint_url())
        .env("AWS_CA_BUNDLE", server.ca_path())
        .env("AWS_CONFIG_FILE", dir.join("none"))
        .env("AWS_SHARED_CREDENTIALS_FILE", dir.join("none"))
        .env("HOME", dir)
        .env("XDG_CACHE_HOME", dir)
        .env("LOCALAPPDATA", dir)
        .env_remove("AWS_PROFILE");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

/// The keys that the server was asked for since the last time.
fn fetched(
    requests: &mut tokio::sync::broadcast::Receiver<s3ota_devserver::RequestRecord>,
) -> Vec<String> {
    let mut keys = Vec::new();
    while let Ok(request) = requests.try_recv() {
        if request.method == "GET" && request.path.contains("/2026") {
            keys.push(request.path.rsplit('/').next().unwrap().to_owned());
        }
    }
    keys.sort();
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_read_from_a_bucket_and_only_once() {
    let (server, client) = server().await;
    let dir = TempDir::new().unwrap();
    let lines: Vec<String> = fleet().iter().map(line).collect();
    let place = "lamp/123456789012/eu-central-1/my-bucket";
    // Twelve objects a day, in the layout by date.
    for (at, part) in lines.chunks(lines.len() / 240 + 1).enumerate() {
        let day = format!("{place}/2026/11/{:02}", 1 + at / 12);
        put(
            &client,
            &format!(
                "{day}/2026-11-{:02}-{:02}-00-00-0123456789ABCDEF",
                1 + at / 12,
                at % 12
            ),
            part.concat(),
        )
        .await;
    }
    put(
        &client,
        "other/2026/11/01/2026-11-01-00-00-00-0123456789ABCDEF",
        line(&asks(START, "dev=other fw=9.9.9")),
    )
    .await;
    let mut requests = server.requests();
    let status = ask(
        &server,
        dir.path(),
        &["status", "s3://my-logs/lamp/"],
        "s3ota-secret",
    )
    .await;
    assert_eq!(
        (&status["devices"], &status["rolled_back"]),
        (&12.into(), &1.into()),
        "{status}"
    );
    let first = fetched(&mut requests);
    assert!(first.len() > 200, "{first:?}");

    let again = ask(
        &server,
        dir.path(),
        &["status", "s3://my-logs/lamp/"],
        "s3ota-secret",
    )
    .await;
    assert_eq!(again, status);
    assert_eq!(fetched(&mut requests), Vec::<String>::new());

    // A late one for a day before, and one that is much too late.
    let late = line(&asks(START, "dev=late fw=1.0.0"));
    let newest: String = first.last().unwrap()[8..10].to_owned();
    let day_before: u32 = newest.parse::<u32>().unwrap() - 1;
    let key =
        |day: u32| format!("{place}/2026/11/{day:02}/2026-11-{day:02}-23-00-00-FEDCBA9876543210");
    put(&client, &key(day_before), late).await;
    put(&client, &key(1), line(&asks(START, "dev=later fw=1.0.0"))).await;
    let more = ask(
        &server,
        dir.path(),
        &["status", "s3://my-logs/lamp/"],
        "s3ota-secret",
    )
    .await;
    assert_eq!(more["devices"], 13);
    assert_eq!(fetched(&mut requests).len(), 1);
    let all = ask(
        &server,
        dir.path(),
        &["status", "s3://my-logs/lamp/", "--rescan"],
        "s3ota-secret",
    )
    .await;
    assert_eq!(all["devices"], 14);
    assert_eq!(fetched(&mut requests).len(), 1);

    let denied = ask(
        &server,
        dir.path(),
        &["status", "s3://my-logs/lamp/"],
        "wrong",
    )
    .await;
    assert_eq!(denied["code"], "s3.denied");
    let missing = ask(
        &server,
        dir.path(),
        &["status", "s3://no-such-logs/"],
        "s3ota-secret",
    )
    .await;
    assert_eq!(missing["code"], "s3.bucket");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifest_says_which_release_is_served_and_to_how_many() {
    let (server, client) = server().await;
    let dir = TempDir::new().unwrap();
    put(
        &client,
        "logs/2026-11-20-00-00-00-0123456789ABCDEF",
        fleet().iter().map(line).collect(),
    )
    .await;
    let manifest = r#"{"version":"1.2.0","url":"https://localhost/lamp.bin","rollout":25}"#;
    put(&client, "lamp/stable.json", manifest.to_owned()).await;
    let record =
        r#"{"version":"1.2.0","url":"https://localhost/lamp.bin","date":"2026-11-28T12:00:00Z"}"#;
    put(&client, "lamp/releases/1.2.0.json", record.to_owned()).await;
    let with = ["s3://my-logs/logs/", "--bucket", "s3://my-logs/lamp"];
    let args = |command| [&[command][..], &with].concat();
    let status = ask(&server, dir.path(), &args("status"), "s3ota-secret").await;
    assert_eq!(
        (&status["rollout"]["percent"], &status["rollout"]["running"]),
        (&25.0.into(), &8.into()),
        "{status}"
    );
    let rollout = ask(&server, dir.path(), &args("rollout"), "s3ota-secret").await;
    assert_eq!(rollout["since"], "2026-11-28T12:00:00Z");
    assert_eq!(rollout["curve"][0]["running"], 0);
    server.stop().await;
}
