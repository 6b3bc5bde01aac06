//! Devices update themselves from a private bucket through the gateway, with a token and a fresh URL.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};

use crate::bucket::*;
use s3ota_devserver::Access;
use s3ota_image::Chip;
use serde_json::{Value, json};

const TOKEN: &str = "a-token.of-device-17";

/// A private bucket with a signed 1.1.0.
async fn bench() -> Bench {
    let bench = Bench::new(Access::Policy).await;
    bench.key("release");
    let release = bench.firmware(Chip::Esp32C3, "1.1.0", b"");
    bench
        .publish(&release, &["--key", "release.key"])
        .published();
    std::fs::write(bench.path("tokens"), format!("# the lamps\n{TOKEN}\n")).unwrap();
    bench
}

/// A gateway that ends with the test.
struct Gateway {
    process: Child,
    port: u64,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Gateway {
    fn start(bench: &Bench, args: &[&str]) -> Self {
        let mut process = bench
            .command()
            .args([
                "--json",
                "gateway",
                "s3://firmware/lamp",
                "--listen",
                "127.0.0.1:0",
            ])
            .args(args)
            .current_dir(bench.dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let listening: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(listening["event"], "listening");
        // What follows must go on being read, or the gateway would wait for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            process,
            port: listening["port"].as_u64().unwrap(),
        }
    }

    /// The status, the head and the body of an answer.
    fn ask(&self, method: &str, target: &str, fields: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port as u16)).unwrap();
        write!(
            stream,
            "{method} {target} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n{fields}\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_ascii_lowercase(), body.to_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_with_a_token_updates_itself_from_a_private_bucket() {
    let bench = bench().await;
    let authority = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "the gateway's authority");
    let root = params.self_signed(&authority).unwrap();
    let issuer = rcgen::Issuer::new(params, authority);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(["localhost".to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    std::fs::write(bench.path("chain.pem"), leaf.pem()).unwrap();
    std::fs::write(bench.path("key.pem"), key.serialize_pem()).unwrap();
    // The device meets two servers: the gateway and the bucket.
    std::fs::write(
        bench.path("roots.pem"),
        format!("{}{}", root.pem(), bench.server.ca_pem()),
    )
    .unwrap();

    let gateway = Gateway::start(
        &bench,
        &[
            "--tls-cert",
            "chain.pem",
            "--tls-key",
            "key.pem",
            "--token-file",
            "tokens",
        ],
    );
    let first = bench.firmware(Chip::Esp32C3, "1.0.0", b"");
    bench.new_device("flash.bin", &first);
    let run = |url: &str| bench.run_device("flash.bin", "roots.pem", url, &[]);
    let url = format!("https://localhost:{}/stable.json", gateway.port);
    assert_eq!(run(&url).error(), "http.status");
    let with_token = format!("{url}?token={TOKEN}");
    let confirmed = run(&with_token);
    assert_eq!(
        (
            &confirmed.succeeded()["event"],
            &confirmed.succeeded()["version"]
        ),
        (&json!("confirmed"), &json!("1.1.0"))
    );
    // Nobody else can read the bucket: it was the fresh URL that did it.
    let direct = format!("{}/firmware/lamp/stable.json", bench.server.endpoint_url());
    assert_eq!(run(&direct).error(), "http.status");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delta_gets_a_fresh_url_as_well() {
    let bench = Bench::new(Access::Policy).await;
    for version in ["1.0.0", "1.1.0"] {
        let firmware = bench.program(version);
        bench.publish(&firmware, &[]).published();
    }
    let gateway = Gateway::start(&bench, &[]);
    let (status, _, body) = gateway.ask("GET", "/stable.json", "");
    assert_eq!(status, 200, "{body}");
    let manifest = s3ota_manifest::ManifestDocument::parse(body.as_bytes()).unwrap();
    let delta = &manifest.deltas[0];
    assert_eq!(delta.from, "1.0.0");
    for artefact in [&delta.artefact, manifest.compressed.as_ref().unwrap()] {
        assert!(artefact.url.contains("X-Amz-Signature="), "{artefact:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_gets_the_right_answer() {
    let bench = bench().await;
    let gateway = Gateway::start(&bench, &["--token-file", "tokens", "--presign", "10m"]);
    let stable = format!("/any/stage/stable.json?token={TOKEN}");
    let (status, head, body) = gateway.ask("GET", &stable, "");
    assert_eq!(status, 200, "{body}");
    assert!(head.contains("cache-control: private, no-store"), "{head}");
    let etag = head
        .lines()
        .find_map(|line| line.strip_prefix("etag: "))
        .unwrap()
        .to_owned();
    // All of the manifest as it was signed, and a URL of now.
    let mut answered = s3ota_manifest::ManifestDocument::parse(body.as_bytes()).unwrap();
    assert!(
        answered.url.contains("X-Amz-Expires=600"),
        "{}",
        answered.url
    );
    let stored = bench.manifest("lamp/stable.json").await;
    answered.url.clone_from(&stored.url);
    assert_eq!(answered, stored);

    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(gateway.ask("GET", "/stable.json", &bearer).0, 200);
    let known = format!("If-None-Match: {etag}\r\n");
    let (status, _, body) = gateway.ask("GET", &stable, &known);
    assert_eq!((status, body.as_str()), (304, ""));
    let (status, head, body) = gateway.ask("HEAD", &stable, "");
    assert_eq!((status, body.as_str()), (200, ""), "{head}");

    for (method, target, expected) in [
        ("GET", "/stable.json".to_owned(), 403),
        (
            "GET",
            "/stable.json?token=a-token.of-device-18".to_owned(),
            403,
        ),
        ("GET", format!("/beta.json?token={TOKEN}"), 404),
        ("GET", format!("/?token={TOKEN}"), 404),
        ("GET", format!("/releases%2F1.1.0.json?token={TOKEN}"), 404),
        ("GET", format!("/..json?token={TOKEN}"), 404),
        ("PUT", stable.clone(), 405),
    ] {
        let (status, _, body) = gateway.ask(method, &target, "");
        assert_eq!(status, expected, "{method} {target}: {body}");
        assert!(body.contains("error"), "{body}");
    }

    // A manifest written by hand names no image that could be found.
    let by_hand = r#"{"version":"1.2.0","url":"https://example.com/lamp.bin"}"#;
    bench.write("lamp/stable.json", by_hand).await;
    assert_eq!(gateway.ask("GET", &stable, "").0, 502);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_would_open_or_break_it_are_refused() {
    let bench = Bench::new(Access::Policy).await;
    let gateway = |args: &[&str]| bench.s3ota(&[&["gateway", "s3://firmware/lamp"], args].concat());
    std::fs::write(bench.path("empty"), "# none yet\n").unwrap();
    std::fs::write(bench.path("short"), "secret\n").unwrap();
    assert_eq!(
        gateway(&["--token-file", "empty"]).usage_error(),
        "gateway.token"
    );
    assert_eq!(
        gateway(&["--token-file", "short"]).usage_error(),
        "gateway.token"
    );
    assert_eq!(gateway(&["--token-file", "none"]).usage_error(), "file.io");
    assert_eq!(
        gateway(&["--presign", "8d"]).usage_error(),
        "publish.presign"
    );
    assert_eq!(
        gateway(&["--tls-cert", "empty", "--tls-key", "empty"]).usage_error(),
        "gateway.tls"
    );
}

/// Reads one request; its first line and its body.
fn read_request(stream: &mut BufReader<TcpStream>) -> Option<(String, String)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head
        .to_ascii_lowercase()
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    let line = head.lines().next()?.to_owned();
    Some((line, String::from_utf8(body).ok()?))
}

/// The process meets the runtime API as Lambda documents it
/// (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>): it asks for an event, and posts its answer.
#[tokio::test(flavor = "multi_thread")]
async fn as_a_lambda_function_it_answers_the_events_of_a_function_url() {
    let bench = bench().await;
    let runtime = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut process = bench
        .command()
        .args(["--json", "gateway"])
        .env("S3OTA_LOCATION", "s3://firmware/lamp")
        .env("S3OTA_GATEWAY_TOKENS", TOKEN)
        .env(
            "AWS_LAMBDA_RUNTIME_API",
            runtime.local_addr().unwrap().to_string(),
        )
        .env("AWS_LAMBDA_FUNCTION_NAME", "gateway")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
        .env("AWS_LAMBDA_LOG_STREAM_NAME", "stream")
        .env("AWS_LAMBDA_LOG_GROUP_NAME", "group")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();

    let event = |query: &str| {
        json!({
            "version": "2.0", "rawPath": "/stable.json", "rawQueryString": query,
            "headers": { "user-agent": "s3ota/0.1.0 dev=17" },
            "requestContext": { "http": { "method": "GET", "path": "/stable.json" } },
            "isBase64Encoded": false,
        })
    };
    let events = [event(&format!("token={TOKEN}")), event("token=wrong")];
    // The runtime may open as many connections as it likes: each asks for the next event or sends an answer.
    let (answers, answered) = std::sync::mpsc::channel();
    let waiting = std::sync::Arc::new(std::sync::Mutex::new(events.into_iter().enumerate()));
    std::thread::spawn(move || {
        for stream in runtime.incoming().map_while(Result::ok) {
            let (answers, waiting) = (answers.clone(), waiting.clone());
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut stream = stream;
                while let Some((line, body)) = read_request(&mut reader) {
                    if line.starts_with("GET /2018-06-01/runtime/invocation/next") {
                        let Some((number, event)) = waiting.lock().unwrap().next() else {
                            // No more events: Lambda lets a function wait here.
                            std::thread::park();
                            return;
                        };
                        let event = event.to_string();
                        write!(
                            stream,
                            "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: {number}\r\n\
                             Lambda-Runtime-Deadline-Ms: 4102444800000\r\n\
                             Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:eu-central-1:123456789012:function:gateway\r\n\
                             Lambda-Runtime-Trace-Id: Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700\r\n\
                             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{event}",
                            event.len()
                        )
                        .unwrap();
                    } else {
                        answers.send((line, body)).unwrap();
                        write!(stream, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
                            .unwrap();
                    }
                }
            });
        }
    });

    let minute = std::time::Duration::from_secs(120);
    let next = || {
        let (line, body) = answered.recv_timeout(minute).expect("an answer");
        (line, serde_json::from_str::<Value>(&body).expect(&body))
    };
    let (line, answer) = next();
    assert!(line.contains("/invocation/0/response"), "{line}: {answer}");
    assert_eq!(answer["statusCode"], 200, "{answer}");
    assert_eq!(answer["headers"]["content-type"], "application/json");
    let manifest: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
    assert_eq!(manifest["version"], "1.1.0");
    assert!(
        manifest["url"]
            .as_str()
            .unwrap()
            .contains("X-Amz-Signature=")
    );
    let (line, answer) = next();
    assert!(line.contains("/invocation/1/response"), "{line}: {answer}");
    assert_eq!(answer["statusCode"], 403, "{answer}");
    process.kill().unwrap();
    process.wait().unwrap();
}
