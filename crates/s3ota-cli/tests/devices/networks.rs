//! Ways to a store: through a proxy, and over IPv6.

use std::net::Ipv6Addr;
use std::process::Command;

use s3ota_devserver::{Access, Options};

use crate::bucket::{Bench, Run};
use crate::http_proxy::{HttpProxy, http_proxy};

const PLACE: &str = "s3://firmware/lamp";

/// A store whose name exists for the proxy only.
async fn behind_a_proxy(refusal: &'static str, user: Option<&'static str>) -> (Bench, HttpProxy) {
    let bench = Bench::with(Options {
        access: Access::PublicRead,
        host_names: vec!["store.example".to_owned()],
        ..Options::default()
    })
    .await;
    let proxy = http_proxy(bench.server.local_addr().port(), refusal, user).await;
    (bench, proxy)
}

fn command(bench: &Bench, args: &[&str]) -> Command {
    let mut command = bench.command();
    for name in ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    command
        .env("AWS_ENDPOINT_URL", "https://store.example")
        .arg("--json")
        .args(args)
        .current_dir(bench.dir.path());
    command
}

fn message(run: &Run) -> &str {
    run.events.last().unwrap()["message"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_goes_through_the_proxy() {
    // "ada:p@ss"
    let (bench, proxy) = behind_a_proxy("", Some("Basic YWRhOnBAc3M=")).await;
    let url = "https://store.example/firmware/lamp/stable.json";
    let image = bench.image("1.1.0");
    let first = bench.image("1.0.0");
    bench.new_device("flash.bin", first.as_ref());
    let set = format!("http://ada:p%40ss@127.0.0.1:{}", proxy.port);
    let ca = bench.ca();
    for args in [
        &["publish", &image, PLACE][..],
        &["status", PLACE],
        &["doctor", PLACE, "--ca", ca],
        &["doctor", url, "--ca", ca],
        &["verify", url, "--unsigned", "--ca", ca],
        &[
            "device",
            "run",
            "flash.bin",
            "--once",
            "--attempts",
            "1",
            "--ca",
            ca,
            "--manifest-url",
            url,
        ],
    ] {
        for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
            let before = proxy.heads().len();
            let run = Run::of(command(&bench, args).env(variable, &set).output().unwrap());
            assert_eq!(run.status, 0, "{args:?}: {:?}", run.events);
            assert!(
                run.warnings()
                    .iter()
                    .all(|code| *code != "publish.unreachable"),
                "{:?}",
                run.events
            );
            let heads = proxy.heads();
            assert!(heads.len() > before, "{args:?}");
            for head in &heads[before..] {
                assert!(
                    head.starts_with("CONNECT store.example:443 HTTP/1.1\r\n"),
                    "{head}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_refuses_is_named_with_its_answer_and_without_its_password() {
    let url = "https://store.example/firmware/lamp/stable.json";
    let (bench, proxy) = behind_a_proxy("403 Blocked by policy", None).await;
    let set = format!("http://ada:secret@127.0.0.1:{}", proxy.port);
    let shown = format!("http://127.0.0.1:{} (HTTPS_PROXY)", proxy.port);
    let first = bench.image("1.0.0");
    bench.new_device("flash.bin", first.as_ref());
    for args in [
        &["status", PLACE][..],
        &["verify", url, "--unsigned"],
        &[
            "device",
            "run",
            "flash.bin",
            "--once",
            "--attempts",
            "1",
            "--manifest-url",
            url,
        ],
    ] {
        let run = Run::of(
            command(&bench, args)
                .env("HTTPS_PROXY", &set)
                .output()
                .unwrap(),
        );
        assert_eq!(run.status, 1);
        let message = message(&run);
        assert!(
            message.contains(&shown) && message.contains("403 Blocked by policy"),
            "{message}"
        );
        assert!(
            !format!("{:?}", run.events).contains("secret"),
            "{:?}",
            run.events
        );
        assert!(message.contains("store.example:443"), "{message}");
    }
    let run = Run::of(
        command(&bench, &["doctor", url])
            .env("HTTPS_PROXY", &set)
            .output()
            .unwrap(),
    );
    assert!(
        run.events.iter().any(|event| event["code"] == "net.proxy"),
        "{:?}",
        run.events
    );

    let (bench, proxy) = behind_a_proxy("", Some("Basic other")).await;
    let set = format!("http://127.0.0.1:{}", proxy.port);
    let run = Run::of(
        command(&bench, &["status", PLACE])
            .env("HTTPS_PROXY", &set)
            .output()
            .unwrap(),
    );
    assert!(message(&run).contains("407"), "{}", message(&run));

    for (value, word) in [
        ("socks5://127.0.0.1:1", "SOCKS"),
        ("http://127.0.0.1:1", "cannot be reached"),
        ("http://u:p@ss@:x", "percent-encoded"),
    ] {
        let run = Run::of(
            command(&bench, &["status", PLACE])
                .env("ALL_PROXY", value)
                .output()
                .unwrap(),
        );
        let message = message(&run);
        assert!(
            message.contains(word) && message.contains("ALL_PROXY"),
            "{message}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_does_not_accept_the_user_is_asked_once() {
    let url = "https://store.example/firmware/lamp/stable.json";
    let (bench, proxy) = behind_a_proxy("", Some("Basic other")).await;
    let set = format!("http://ada:secret@127.0.0.1:{}", proxy.port);
    let image = bench.image("1.1.0");
    let first = bench.image("1.0.0");
    bench.new_device("flash.bin", first.as_ref());
    for args in [
        &["status", PLACE][..],
        &["publish", &image, PLACE],
        &["verify", url, "--unsigned"],
        &["doctor", PLACE],
        &["doctor", url],
        &[
            "device",
            "run",
            "flash.bin",
            "--once",
            "--attempts",
            "1",
            "--manifest-url",
            url,
        ],
    ] {
        let before = proxy.heads().len();
        let mut command = command(&bench, args);
        let run = Run::of(command.env("HTTPS_PROXY", &set).output().unwrap());
        assert_eq!(run.status, 1, "{:?}", run.events);
        let said = format!("{:?}", run.events);
        assert!(said.contains("407") && !said.contains("secret"), "{said}");
        assert_eq!(proxy.heads().len() - before, 1, "{args:?}: {said}");
    }
    // Trouble behind the proxy may be over in a moment.
    let (bench, proxy) = behind_a_proxy("502 Bad Gateway", None).await;
    let set = format!("http://127.0.0.1:{}", proxy.port);
    let mut status = command(&bench, &["status", PLACE]);
    let run = Run::of(status.env("HTTPS_PROXY", &set).output().unwrap());
    assert!(message(&run).contains("502 Bad Gateway"));
    assert!(proxy.heads().len() > 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_with_a_certificate_of_its_own_is_a_matter_of_its_ca() {
    let (bench, proxy) = behind_a_proxy("", None).await;
    let set = format!("http://127.0.0.1:{}", proxy.port);
    let mut status = command(&bench, &["status", PLACE]);
    status.env("HTTPS_PROXY", &set).env_remove("AWS_CA_BUNDLE");
    let run = Run::of(status.output().unwrap());
    assert!(message(&run).contains("UnknownIssuer"), "{}", message(&run));
    let hint = run.events.last().unwrap()["hint"].as_str().unwrap();
    assert!(hint.contains("--ca or AWS_CA_BUNDLE"), "{hint}");
    assert!(!hint.contains("NO_PROXY"), "{hint}");
}

#[tokio::test(flavor = "multi_thread")]
async fn exempt_hosts_and_this_machine_are_asked_directly() {
    let (bench, proxy) = behind_a_proxy("", None).await;
    let set = format!("http://127.0.0.1:{}", proxy.port);
    let image = bench.image("1.0.0");
    let endpoint = bench.server.endpoint_url();
    let mut here = command(&bench, &["publish", &image, PLACE]);
    here.env("HTTPS_PROXY", &set)
        .env("AWS_ENDPOINT_URL", &endpoint);
    Run::of(here.output().unwrap()).published();
    let url = format!("{endpoint}/firmware/lamp/stable.json");
    let mut doctor = command(&bench, &["doctor", &url, "--ca", bench.ca()]);
    doctor.env("HTTPS_PROXY", &set);
    Run::of(doctor.output().unwrap()).succeeded();
    for exempt in ["*", "example", ".store.example", "store.example:443"] {
        let mut status = command(&bench, &["status", PLACE]);
        status.env("HTTPS_PROXY", &set).env("no_proxy", exempt);
        // Directly, the name does not exist.
        let run = Run::of(status.output().unwrap());
        let text = message(&run);
        assert!(text.contains("dns error"), "{exempt}: {text}");
        assert!(text.contains("NO_PROXY exempts store.example"), "{text}");
    }
    // Nor with a proxy for the other scheme.
    let mut status = command(&bench, &["status", PLACE]);
    let run = Run::of(status.env("HTTP_PROXY", &set).output().unwrap());
    let text = message(&run);
    assert!(text.contains("HTTP_PROXY is not used"), "{text}");
    assert!(text.contains("set HTTPS_PROXY"), "{text}");
    let url = "https://store.example/firmware/lamp/stable.json";
    let mut verify = command(&bench, &["verify", url, "--unsigned"]);
    verify.env("HTTPS_PROXY", &set).env("NO_PROXY", "*");
    let run = Run::of(verify.output().unwrap());
    let text = message(&run);
    assert!(text.contains("NO_PROXY exempts store.example"), "{text}");
    let mut doctor = command(&bench, &["doctor", url]);
    doctor.env("HTTPS_PROXY", &set).env("NO_PROXY", ".example");
    let run = Run::of(doctor.output().unwrap());
    assert!(
        run.events.iter().any(|event| event["code"] == "net.dns"),
        "{:?}",
        run.events
    );
    assert_eq!(proxy.heads(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_and_its_devices_may_speak_ipv6() {
    if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        eprintln!("skipped: this machine has no IPv6");
        return;
    }
    let bench = Bench::new(Access::PublicRead).await;
    let mut serve = bench.command();
    let dir = bench.path("data");
    serve.args([
        "--json", "serve", "--dir", &dir, "--bucket", "firmware", "--listen", "[::1]:0",
    ]);
    let mut serve = Server::start(serve);
    let listening = serve.listening();
    let endpoint = listening["endpoint_url"].as_str().unwrap().to_owned();
    assert!(endpoint.starts_with("https://[::1]:"), "{endpoint}");
    let ca = listening["ca"].as_str().unwrap().to_owned();
    let command = |args: &[&str]| {
        let mut command = bench.command();
        for (variable, value) in [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_CA_BUNDLE", &ca),
            (
                "AWS_ACCESS_KEY_ID",
                listening["access_key"].as_str().unwrap(),
            ),
            (
                "AWS_SECRET_ACCESS_KEY",
                listening["secret_key"].as_str().unwrap(),
            ),
        ] {
            command.env(variable, value);
        }
        command
            .arg("--json")
            .args(args)
            .current_dir(bench.dir.path());
        command
    };
    let run = |args: &[&str]| Run::of(command(args).output().unwrap());
    let (first, next) = (bench.image("1.0.0"), bench.image("1.1.0"));
    let published = run(&["publish", &next, PLACE]);
    let url = published.published()["manifest_url"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(url, format!("{endpoint}/firmware/lamp/stable.json"));
    assert_eq!(
        published.warnings(),
        [] as [&str; 0],
        "{:?}",
        published.events
    );
    run(&["doctor", &url, "--ca", &ca]).succeeded();
    bench.new_device("flash.bin", first.as_ref());
    let device = run(&[
        "device",
        "run",
        "flash.bin",
        "--once",
        "--ca",
        &ca,
        "--manifest-url",
        &url,
    ]);
    assert_eq!(device.succeeded()["version"], "1.1.0");

    let mut gateway = Server::start(command(&["gateway", PLACE, "--listen", "[::1]:0"]));
    let url = gateway.listening()["url"].as_str().unwrap().to_owned();
    assert!(url.starts_with("http://[::1]:"), "{url}");
}

/// A command that serves until the test ends.
struct Server(std::process::Child);

impl Server {
    fn start(mut command: Command) -> Self {
        Self(
            command
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap(),
        )
    }

    /// Its event that it listens.
    fn listening(&mut self) -> serde_json::Value {
        use std::io::BufRead;
        let stdout = std::io::BufReader::new(self.0.stdout.take().unwrap());
        let mut lines = stdout.lines();
        while let Some(line) = lines.next() {
            let event: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            if event["event"] == "listening" {
                // What follows must go on being read: the command ends with its reader.
                std::thread::spawn(move || lines.for_each(drop));
                return event;
            }
        }
        panic!("it does not listen");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_urls_would_not_fit_into_devices_does_not_start() {
    let bench = Bench::new(Access::PublicRead).await;
    bench.release("1.0.0", "stable");
    let gateway = |token: usize| {
        let mut command = bench.command();
        command
            .env("AWS_SESSION_TOKEN", "t/+=".repeat(token / 4))
            .args(["--json", "gateway", PLACE, "--listen", "127.0.0.1:0"]);
        command
    };
    let run = Run::of(gateway(2000).output().unwrap());
    assert_eq!(run.error(), "publish.presign");
    assert!(message(&run).contains("no room"), "{}", message(&run));
    let mut fits = Server::start(gateway(600));
    assert!(fits.listening()["port"].is_number());
}
