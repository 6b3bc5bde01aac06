//! The page in a real browser.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use s3ota_fleet::page::page;

/// The Chromium that is installed.
fn chromium() -> &'static str {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = names
        .into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok());
    found.expect("chromium")
}

/// Runs Chromium on a page with a width of this many pixels. Whatever it asks of the network goes to `proxy`.
fn browse(dir: &Path, page: &Path, width: u32, proxy: &Proxy, further: &[&str]) -> String {
    let output = Command::new(chromium())
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
        ])
        .args(["--disable-sync", "--disable-quic", "--hide-scrollbars"])
        .arg("--virtual-time-budget=2000")
        .arg(format!("--window-size={width},1400"))
        .arg(format!("--proxy-server=http://127.0.0.1:{}", proxy.port))
        .arg("--proxy-bypass-list=<-loopback>")
        .arg(format!("--user-data-dir={}", dir.join("profile").display()))
        .args(further)
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A proxy that answers nothing, and keeps the first lines of what it is asked.
#[derive(Clone)]
struct Proxy {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            asked: Arc::default(),
        };
        let asked = proxy.asked.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut line = String::new();
                let _ = BufReader::new(stream.unwrap()).read_line(&mut line);
                asked.lock().unwrap().push(line);
            }
        });
        proxy
    }

    /// What was asked for, but for the browser's own calls to its maker.
    fn asked(&self) -> Vec<String> {
        let of_its_own = |line: &&String| line.contains("google") || line.contains("gvt1.com");
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .filter(|line| !of_its_own(line))
            .cloned()
            .collect()
    }
}

/// The page in a frame of this many pixels. Chromium's own window is never narrower than a tablet.
fn framed(dir: &Path, html: &str, width: u32) -> PathBuf {
    fs::write(dir.join("inner.html"), html).unwrap();
    let frame = format!(
        "<body style=margin:0><iframe src=inner.html style='border:0;height:3000px;width:{width}px'></iframe>
        <script>onmessage = (message) => document.title = 'width=' + message.data</script>"
    );
    let path = dir.join("frame.html");
    fs::write(&path, frame).unwrap();
    path
}

/// The width of what is shown, found by a script that is put into a copy of the page.
fn shown_width(dir: &Path, html: &str, width: u32, proxy: &Proxy) -> u32 {
    let measure =
        "<script>parent.postMessage(document.documentElement.scrollWidth, '*')</script></body>";
    let measured = html
        .replace("default-src 'none'", "script-src 'unsafe-inline'")
        .replace("</body>", measure);
    let path = framed(dir, &measured, width);
    let dom = browse(dir, &path, 1300, proxy, &["--dump-dom"]);
    let (_, rest) = dom.split_once("<title>width=").expect(&dom);
    rest.split('<').next().unwrap().parse().unwrap()
}

#[test]
#[ignore = "needs chromium: apt-get install chromium"]
fn it_fits_a_phone_and_a_desktop_and_asks_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let proxy = Proxy::start();
    let html = page(&crate::samples::report(), "s3://logs/lamp");
    for width in [360, 800, 1280] {
        assert!(
            shown_width(dir.path(), &html, width, &proxy) <= width,
            "{width}"
        );
        let picture = dir.path().join(format!("{width}.png"));
        let screenshot = format!("--screenshot={}", picture.display());
        browse(
            dir.path(),
            &framed(dir.path(), &html, width),
            1300,
            &proxy,
            &[&screenshot],
        );
        assert!(fs::metadata(&picture).unwrap().len() > 20_000);
    }
    assert_eq!(proxy.asked(), [""; 0]);
}

#[test]
#[ignore = "needs chromium: apt-get install chromium"]
fn nothing_that_a_device_says_is_run_or_fetched() {
    let dir = tempfile::tempdir().unwrap();
    let proxy = Proxy::start();
    let path = dir.path().join("report.html");
    fs::write(&path, page(&crate::samples::hostile(), "s3://logs")).unwrap();
    let dom = browse(dir.path(), &path, 800, &proxy, &["--dump-dom"]);
    assert!(dom.contains("<title>Fleet · s3://logs</title>"), "{dom}");
    assert_eq!(proxy.asked(), [""; 0]);

    // Were the page not to protect itself, this would have seen it.
    fs::write(
        &path,
        format!("<title>as it was</title>{}", crate::samples::HOSTILE[1]),
    )
    .unwrap();
    let dom = browse(dir.path(), &path, 800, &proxy, &["--dump-dom"]);
    assert!(dom.contains("<title>run</title>"), "{dom}");
}
