//! `s3ota publish --web-installer`: the page, in a real browser.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use crate::bucket::*;
use s3ota_devserver::Access;
use sha2::{Digest, Sha384};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

const ELF: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/fixtures/hello-esp32c3-1.1.0.elf"
);

/// The Chromium that is installed.
fn chromium() -> &'static str {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = names
        .into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok());
    found.expect("chromium")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs chromium: apt-get install chromium"]
async fn the_page_renders_in_a_browser_and_serves_its_manifest() {
    let chromium = chromium();
    let bench = Bench::new(Access::PublicRead).await;
    let run = bench.s3ota(&["publish", ELF, "s3://firmware/lamp", "--web-installer"]);
    let page = run.succeeded()["url"].as_str().unwrap().to_owned();
    let mut requests = bench.server.requests();
    let dom = browse(chromium, &bench, &page, None).await;
    // The version and the files are filled in from the manifest, though the CDN may be out of reach.
    for text in [
        "1.1.0</span>",
        "ESP32-C3",
        "write-flash<span id=\"parts\"> 0x0 <a href=",
        "</a> 0xd000 <a href=",
        "esp-web-install-button",
    ] {
        assert!(dom.contains(text), "{text}: {dom}");
    }
    assert_eq!(state(&dom), "problem");
    assert!(dom.contains("install by hand"), "{dom}");
    let mut asked = Vec::new();
    while let Ok(request) = requests.try_recv() {
        asked.push(request.path);
    }
    assert!(
        asked
            .iter()
            .any(|path| path.ends_with("manifest-webtools.json")),
        "{asked:?}"
    );
}

/// What a page has become in a browser. The CDN is where `cdn` says, or nowhere.
async fn browse(chromium: &'static str, bench: &Bench, page: &str, cdn: Option<u16>) -> String {
    let profile = tempfile::tempdir_in(bench.dir.path()).unwrap();
    let cdn = match cdn {
        Some(port) => format!("MAP unpkg.com:443 127.0.0.1:{port}"),
        None => "MAP unpkg.com ~NOTFOUND".to_owned(),
    };
    let mut browser = Command::new(chromium);
    browser
        .args(["--headless", "--no-sandbox", "--disable-gpu"])
        .args(["--ignore-certificate-errors", "--virtual-time-budget=20000"])
        .arg("--dump-dom")
        .arg(format!("--host-resolver-rules={cdn}"))
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(page);
    let output = tokio::task::spawn_blocking(move || browser.output().unwrap());
    String::from_utf8_lossy(&output.await.unwrap().stdout).into_owned()
}

/// The one state that a page is in.
fn state(dom: &str) -> &'static str {
    let shown: Vec<_> = ["loading", "ready", "problem"]
        .into_iter()
        .filter(|id| {
            let (_, tag) = dom.split_once(&format!("id=\"{id}\"")).expect(dom);
            let (tag, _) = tag.split_once('>').unwrap();
            !tag.contains("hidden")
        })
        .collect();
    assert_eq!(shown.len(), 1, "{shown:?}: {dom}");
    shown[0]
}

/// A CDN: files by name, whatever folder they are asked for in, and what was asked for.
#[derive(Clone, Default)]
struct Cdn {
    files: Arc<Mutex<BTreeMap<&'static str, String>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Cdn {
    /// Starts one; its port.
    async fn start(&self) -> u16 {
        let made = rcgen::generate_simple_self_signed(["unpkg.com".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cdn = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (cdn, acceptor) = (cdn.clone(), acceptor.clone());
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = stream.read_u8().await else {
                            return;
                        };
                        head.push(byte);
                    }
                    let head = String::from_utf8_lossy(&head).into_owned();
                    let path = head.split(' ').nth(1).unwrap_or_default();
                    let name = path.rsplit('/').next().unwrap_or_default();
                    cdn.asked.lock().unwrap().push(path.to_owned());
                    let file = cdn.files.lock().unwrap().get(name).cloned();
                    let (status, body) = file.map_or((404, String::new()), |file| (200, file));
                    let answer = format!(
                        "HTTP/1.1 {status} .\r\nContent-Type: text/javascript\r\nAccess-Control-Allow-Origin: *\r\n\
                         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                        body.len()
                    );
                    let _ = stream.write_all(answer.as_bytes()).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        port
    }

    fn serve(&self, name: &'static str, script: &str) {
        self.files.lock().unwrap().insert(name, script.to_owned());
    }
}

/// The page with the hash of this script for one of the files.
fn with_hash_of(page: &str, name: &str, script: &str) -> String {
    let (before, rest) = page.split_once(&format!("{name}\":\"")).expect(name);
    let (_, after) = rest.split_once('"').unwrap();
    let hash = base64_simd::STANDARD.encode_to_string(Sha384::digest(script));
    format!("{before}{name}\":\"sha384-{hash}\"{after}")
}

/// The page without its policy, which would not run a page that the test has changed.
fn without_policy(page: &str) -> String {
    let (before, rest) = page.split_once("<meta http-equiv").unwrap();
    before.to_owned() + rest.split_once('>').unwrap().1
}

const PAGE: &str = "lamp/installer/stable/index.html";
const DIALOG: &str = "install-dialog-im156JnI.js";
const BUTTON: &str = "install-button.js";
const CHUNK: &str = "styles-sT2V1cOw.js";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs chromium: apt-get install chromium"]
async fn a_browser_runs_no_changed_file_of_the_program() {
    let chromium = chromium();
    let bench = Bench::new(Access::PublicRead).await;
    let run = bench.s3ota(&["publish", ELF, "s3://firmware/lamp", "--web-installer"]);
    let url = run.succeeded()["url"].as_str().unwrap().to_owned();
    let published = String::from_utf8(bench.read(PAGE).await.2).unwrap();

    let cdn = Cdn::default();
    let port = cdn.start().await;
    let evil = |what: &str| format!("document.title = 'ran {what}';");
    for name in [DIALOG, BUTTON, CHUNK] {
        cdn.serve(name, &evil(name));
    }
    let dom = browse(chromium, &bench, &url, Some(port)).await;
    assert!(
        !dom.contains("<title>ran") && dom.contains("it was not run"),
        "{dom}"
    );
    assert_eq!(state(&dom), "problem");
    let asked = cdn.asked.lock().unwrap().clone();
    assert_eq!(asked, [format!("/esp-web-tools@10.4.0/dist/web/{DIALOG}")]);

    // It is the hash that keeps it from running: with its own hash in the page, it runs.
    let free = without_policy(&published);
    let mut told = with_hash_of(&free, DIALOG, &evil(DIALOG));
    bench.write_page(&told).await;
    let dom = browse(chromium, &bench, &url, Some(port)).await;
    assert!(dom.contains(&format!("<title>ran {DIALOG}")), "{dom}");
    // The other of the two is still the wrong one.
    assert!(dom.contains("it was not run"), "{dom}");

    // A file that a good one asks for is looked at in the same way, whether it is asked for at once or later.
    for good in [
        format!("import './{CHUNK}';"),
        format!("await import('./{CHUNK}');"),
    ] {
        cdn.serve(DIALOG, &good);
        told = with_hash_of(&free, DIALOG, &good);
        bench.write_page(&told).await;
        let dom = browse(chromium, &bench, &url, Some(port)).await;
        assert!(
            !dom.contains("<title>ran") && dom.contains("it was not run"),
            "{good}: {dom}"
        );
        told = with_hash_of(&told, CHUNK, &evil(CHUNK));
        bench.write_page(&told).await;
        let dom = browse(chromium, &bench, &url, Some(port)).await;
        assert!(
            dom.contains(&format!("<title>ran {CHUNK}")),
            "{good}: {dom}"
        );
    }

    // A browser that knows no hashes in import maps is as one that is given none.
    cdn.serve(DIALOG, &evil(DIALOG));
    cdn.asked.lock().unwrap().clear();
    bench
        .write_page(&free.replace("{\"integrity\":", "{\"unknown\":"))
        .await;
    let dom = browse(chromium, &bench, &url, Some(port)).await;
    assert!(
        !dom.contains("<title>ran") && dom.contains("does not check what it loads"),
        "{dom}"
    );
    assert_eq!(state(&dom), "problem");
    assert_eq!(*cdn.asked.lock().unwrap(), Vec::<String>::new());

    // The policy: what an evil hand adds to the page without changing the policy is not run.
    let added = format!(
        "{published}<script>document.title = 'ran inline'</script><script src='https://unpkg.com/evil.js'></script>"
    );
    cdn.serve("evil.js", &evil("evil.js"));
    bench.write_page(&added).await;
    let dom = browse(chromium, &bench, &url, Some(port)).await;
    assert!(!dom.contains("<title>ran"), "{dom}");
    bench.write_page(&without_policy(&added)).await;
    let dom = browse(chromium, &bench, &url, Some(port)).await;
    assert!(dom.contains("<title>ran"), "{dom}");
}

/// The unpacked npm package esp-web-tools: the one in `S3OTA_ESP_WEB_TOOLS`, or from npm.
fn esp_web_tools() -> PathBuf {
    if let Some(given) = std::env::var_os("S3OTA_ESP_WEB_TOOLS") {
        return given.into();
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("esp-web-tools");
    let package = folder.join("package");
    if !package.join("dist/web").join(BUTTON).exists() {
        std::fs::create_dir_all(&folder).unwrap();
        let ran = |program: &str, args: &[&str]| {
            let ran = Command::new(program)
                .args(args)
                .current_dir(&folder)
                .output();
            ran.is_ok_and(|output| output.status.success())
        };
        let fetched = ran("npm", &["pack", "--silent", "esp-web-tools@10.4.0"])
            && ran("tar", &["xzf", "esp-web-tools-10.4.0.tgz"]);
        assert!(
            fetched,
            "`npm pack` does not work here: name the unpacked package in S3OTA_ESP_WEB_TOOLS"
        );
    }
    package
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs npm and chromium: apt-get install npm chromium"]
async fn with_its_program_beside_it_the_page_loads_nothing_from_elsewhere() {
    let (package, chromium) = (esp_web_tools(), chromium());
    let bench = Bench::new(Access::PublicRead).await;
    let publish = |package: &Path| {
        let package = package.to_str().unwrap();
        let options = ["--web-installer", "--esp-web-tools", package];
        bench.s3ota(&[&["publish", ELF, "s3://firmware/lamp"][..], &options].concat())
    };
    let url = publish(&package).succeeded()["url"]
        .as_str()
        .unwrap()
        .to_owned();
    let published = String::from_utf8(bench.read(PAGE).await.2).unwrap();
    assert!(!published.contains("https:"), "{published}");
    let folder = "lamp/installer/stable/esp-web-tools-10.4.0";
    assert!(bench.keys().await.contains(&format!("{folder}/LICENSE")));

    // The button has come to life: it has looked whether there are USB ports.
    let dom = browse(chromium, &bench, &url, None).await;
    assert!(
        dom.contains(" install-supported") || dom.contains(" install-unsupported"),
        "{dom}"
    );
    assert_eq!(state(&dom), "ready");

    // A file that an attacker changes afterwards, who controls the bucket but not the page.
    let (_, _, mut dialog) = bench.read(&format!("{folder}/{DIALOG}")).await;
    dialog.extend_from_slice(b";document.title = 'ran';");
    bench
        .write_script(&format!("{folder}/{DIALOG}"), dialog)
        .await;
    let dom = browse(chromium, &bench, &url, None).await;
    assert!(
        !dom.contains("<title>ran") && dom.contains("it was not run"),
        "{dom}"
    );
    assert!(!dom.contains(" install-supported") && !dom.contains(" install-unsupported"));

    // A package that is not what was published by that name is not uploaded.
    let other = bench.dir.path().join("other");
    std::fs::create_dir_all(other.join("dist/web")).unwrap();
    for entry in std::fs::read_dir(package.join("dist/web")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), other.join("dist/web").join(entry.file_name())).unwrap();
    }
    std::fs::copy(package.join("LICENSE"), other.join("LICENSE")).unwrap();
    publish(&other).succeeded();
    std::fs::write(
        other.join("dist/web").join(CHUNK),
        "fetch('https://evil.example')",
    )
    .unwrap();
    assert_eq!(publish(&other).error(), "publish.installer");
    std::fs::remove_file(other.join("dist/web").join(CHUNK)).unwrap();
    assert_eq!(publish(&other).error(), "publish.installer");
}

impl Bench {
    async fn write_page(&self, html: &str) {
        self.write_as(PAGE, "text/html; charset=utf-8", html.as_bytes().to_vec())
            .await;
    }

    async fn write_script(&self, key: &str, script: Vec<u8>) {
        self.write_as(key, "text/javascript", script).await;
    }

    async fn write_as(&self, key: &str, content_type: &str, bytes: Vec<u8>) {
        let put = self.client.put_object().bucket("firmware").key(key);
        let put = put.content_type(content_type).body(bytes.into());
        put.send().await.unwrap();
    }
}
