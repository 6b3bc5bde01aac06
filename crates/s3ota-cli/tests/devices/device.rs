//! `s3ota device`: a virtual device updates itself, and leaves its flash unchanged when it refuses something.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rcgen::{SanType, date_time_ymd};
use rogue_server::{Misbehaviour, RogueServer};
use s3ota_image::Chip;
use s3ota_image::app::ImageBuilder;
use scripted_server::*;
use serde_json::{Value, json};
use tempfile::TempDir;

fn s3ota(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_s3ota"))
        .args(args)
        .output()
        .unwrap()
}

/// The JSON objects a command printed; nothing else may be on stdout.
fn events(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect()
}

fn names(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .filter(|name| *name != "progress")
        .collect()
}

/// A bench with one virtual device on it.
struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let image = bench.file("first.bin", &firmware("1.0.0"));
        let made = s3ota(&[
            "device",
            "new",
            bench.path("flash.bin").to_str().unwrap(),
            "--image",
            image.to_str().unwrap(),
        ]);
        assert!(made.status.success(), "{made:?}");
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn flash(&self) -> Vec<u8> {
        fs::read(self.path("flash.bin")).unwrap()
    }

    /// Runs the device once, with `--json` and a CA.
    async fn run_with(&self, url: &str, ca: &[u8], more: &[&str]) -> Output {
        let ca = self.file("ca.der", ca);
        let flash = self.path("flash.bin");
        let mut args = vec![
            "device",
            "run",
            flash.to_str().unwrap(),
            "--json",
            "--once",
            "--attempts",
            "1",
        ];
        args.extend(["--manifest-url", url, "--ca", ca.to_str().unwrap()]);
        args.extend(more);
        let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        // The scripted server runs on this thread's runtime, so the command must not block it.
        let run = move || s3ota(&args.iter().map(String::as_str).collect::<Vec<_>>());
        tokio::task::spawn_blocking(run).await.unwrap()
    }

    async fn run(&self, server: &Server, more: &[&str]) -> Output {
        self.run_with(&server.url("/manifest.json"), &server.ca, more)
            .await
    }

    /// Runs the device, which must refuse with this code, say why, and leave its flash as it was.
    async fn refuses(&self, url: &str, ca: &[u8], code: &str) {
        // The first boot of all writes the first otadata record.
        let _ = self.run_with("https://localhost:1/", ca, &[]).await;
        let before = self.flash();
        let output = self.run_with(url, ca, &[]).await;
        let events = events(&output);
        let error = events.last().unwrap();
        assert_eq!(error["event"], "error", "{code}: {events:?}");
        assert_eq!(error["code"], code, "{error}");
        assert!(error["message"].as_str().unwrap().len() > 20, "{error}");
        assert_eq!(output.status.code(), Some(1));
        assert!(self.flash() == before, "{code}: the flash has changed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn once_updates_restarts_confirms_and_then_has_nothing_to_do() {
    let bench = Bench::new();
    let server = Server::start(releasing("1.1.0")).await;
    let output = bench.run(&server, &[]).await;
    assert!(output.status.success(), "{output:?}");
    let happened = events(&output);
    assert_eq!(
        names(&happened),
        [
            "boot",
            "download",
            "installed",
            "restart",
            "boot",
            "confirmed"
        ]
    );
    assert_eq!(
        (&happened[0]["version"], &happened[0]["slot"]),
        (&"1.0.0".into(), &"ota_0".into())
    );
    let second_boot = happened
        .iter()
        .rfind(|event| event["event"] == "boot")
        .unwrap();
    assert_eq!(
        (&second_boot["version"], &second_boot["state"]),
        (&"1.1.0".into(), &"trial".into())
    );

    let flash = bench.flash();
    let output = bench.run(&server, &[]).await;
    let happened = events(&output);
    assert_eq!(names(&happened), ["boot", "no_update"]);
    assert_eq!(happened[1]["reason"], "up_to_date");
    assert_eq!(output.status.code(), Some(0));
    assert!(bench.flash() == flash);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firmware_left_on_trial_is_rolled_back_and_its_release_not_tried_again() {
    let bench = Bench::new();
    let server = Server::start(releasing("1.1.0")).await;
    let output = bench.run(&server, &["--no-confirm"]).await;
    assert!(output.status.success(), "{output:?}");
    for boot in 2..=3 {
        let happened = events(&bench.run(&server, &["--no-confirm"]).await);
        assert_eq!(
            (&happened[0]["state"], &happened[0]["boot"]),
            (&"trial".into(), &boot.into())
        );
    }
    let happened = events(&bench.run(&server, &[]).await);
    assert_eq!(
        (&happened[0]["version"], &happened[0]["state"]),
        (&"1.0.0".into(), &"rolled_back".into())
    );
    assert_eq!(happened[1]["reason"], "failed_before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firmware_that_launches_the_new_one_stays_the_one_that_boots_until_that_is_confirmed() {
    let bench = Bench::new();
    let server = Server::start(releasing("1.1.0")).await;
    let boots = |happened: &[Value]| {
        let boot = happened.iter().rfind(|event| event["event"] == "boot");
        boot.unwrap().clone()
    };
    let trial = || {
        let flash = bench.path("flash.bin");
        let report = events(&s3ota(&["inspect", flash.to_str().unwrap(), "--json"]));
        (
            report[0]["launched_trial"].clone(),
            report[0]["boots"]["version"].clone(),
        )
    };
    for boot in 1..=3 {
        let happened = events(&bench.run(&server, &["--launch", "--no-confirm"]).await);
        let last = boots(&happened);
        assert_eq!(
            (&last["version"], &last["boot"]),
            (&"1.1.0".into(), &boot.into())
        );
        assert_eq!(last["launched"], true);
        let told = json!({ "slot": 1, "boots": boot, "of": 3 });
        assert_eq!(trial(), (told, "1.0.0".into()));
    }
    let happened = events(&bench.run(&server, &["--launch"]).await);
    assert_eq!(boots(&happened)["state"], "fell_back");
    assert_eq!(happened[1]["reason"], "failed_before");

    let server = Server::start(releasing("1.2.0")).await;
    let happened = events(&bench.run(&server, &["--launch"]).await);
    assert!(names(&happened).contains(&"confirmed"), "{happened:?}");
    assert_eq!(trial(), (Value::Null, "1.2.0".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wake_from_deep_sleep_uses_up_no_boot_of_a_trial() {
    let bench = Bench::new();
    let server = Server::start(releasing("1.1.0")).await;
    bench.run(&server, &["--no-confirm"]).await;
    // The start after the installation was the first boot.
    for _ in 0..5 {
        let happened = events(&bench.run(&server, &["--no-confirm", "--wake"]).await);
        assert_eq!(
            (&happened[0]["state"], &happened[0]["boot"]),
            (&"trial".into(), &1.into())
        );
    }
    let happened = events(&bench.run(&server, &["--no-confirm"]).await);
    assert_eq!(happened[0]["boot"], 2);
    let happened = events(&bench.run(&server, &["--wake"]).await);
    assert_eq!(happened[0]["version"], "1.1.0");
    let happened = events(&bench.run(&server, &["--wake"]).await);
    assert_eq!(happened[0]["state"], "confirmed");
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_that_are_not_for_this_device_are_refused_and_flash_is_unchanged() {
    let bench = Bench::new();
    let good = firmware("1.1.0");
    let refuse =
        async |manifest_of: &(dyn Fn(u16) -> Vec<u8> + Sync), image: Vec<u8>, code: &str| {
            // The port is known only once the server runs: the manifest is made for port 0 and mended.
            let manifest = manifest_of(0);
            let server = Server::start(move |request, port| match request.path.as_str() {
                "/manifest.json" => {
                    let text = String::from_utf8(manifest.clone()).unwrap();
                    Reply::Send(ok(text
                        .replace("localhost:0/", &format!("localhost:{port}/"))
                        .as_bytes()))
                }
                _ => Reply::Send(ok(&image)),
            })
            .await;
            bench
                .refuses(&server.url("/manifest.json"), &server.ca, code)
                .await;
        };
    let bare = |port| manifest("1.1.0", port);
    let full = |port| full_manifest("1.1.0", port, &good);

    refuse(
        &|port| manifest("0.9.0", port),
        firmware("0.9.0"),
        "release.downgrade",
    )
    .await;
    let other = ImageBuilder::new(Chip::Esp32S3, "1.1.0")
        .length(100_000)
        .build();
    refuse(&bare, other, "image.chip").await;
    let large = ImageBuilder::new(Chip::Esp32C3, "1.1.0")
        .length(0x1f_0010)
        .build();
    refuse(&bare, large, "image.size").await;
    refuse(&bare, good[..60_000].to_vec(), "image.size").await;
    refuse(&full, good[..60_000].to_vec(), "image.size").await;
    let mut flipped = good.clone();
    flipped[77_777] ^= 1;
    refuse(&bare, flipped.clone(), "image.digest").await;
    refuse(&full, flipped, "image.digest").await;
    refuse(
        &bare,
        b"this is not an image at all".repeat(100),
        "image.invalid",
    )
    .await;
    let http = |_| br#"{"version":"1.1.0","url":"http://localhost/image.bin"}"#.to_vec();
    refuse(&http, good.clone(), "manifest.url").await;
    refuse(&|_| b"{".to_vec(), good.clone(), "manifest.invalid").await;
    refuse(&|_| Vec::new(), good.clone(), "manifest.invalid").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_do_not_prove_who_they_are_are_refused_and_flash_is_unchanged() {
    let bench = Bench::new();
    let other_ca = Server::start(releasing("1.1.0")).await.ca;
    let server = Server::start(releasing("1.1.0")).await;
    bench
        .refuses(&server.url("/manifest.json"), &other_ca, "tls.certificate")
        .await;

    let expired = |leaf: &mut rcgen::CertificateParams| leaf.not_after = date_time_ymd(2024, 1, 1);
    let server = Server::start_as(expired, releasing("1.1.0")).await;
    bench
        .refuses(&server.url("/manifest.json"), &server.ca, "tls.certificate")
        .await;

    let not_yet = |leaf: &mut rcgen::CertificateParams| leaf.not_before = date_time_ymd(2124, 1, 1);
    let server = Server::start_as(not_yet, releasing("1.1.0")).await;
    bench
        .refuses(&server.url("/manifest.json"), &server.ca, "tls.certificate")
        .await;

    let wrong_name = |leaf: &mut rcgen::CertificateParams| {
        leaf.subject_alt_names = vec![SanType::DnsName("elsewhere.example".try_into().unwrap())];
    };
    let server = Server::start_as(wrong_name, releasing("1.1.0")).await;
    bench
        .refuses(&server.url("/manifest.json"), &server.ca, "tls.certificate")
        .await;

    for misbehaviour in [
        Misbehaviour::NoCertificate,
        Misbehaviour::EmptyCertificate,
        Misbehaviour::NoCertificateVerify,
    ] {
        let server = RogueServer::spawn(misbehaviour);
        let url = format!("https://localhost:{}/manifest.json", server.port());
        bench
            .refuses(&url, server.ca_der(), "tls.certificate")
            .await;
    }
    let server = RogueServer::spawn(Misbehaviour::PlainHttp);
    let url = format!("https://localhost:{}/manifest.json", server.port());
    bench.refuses(&url, server.ca_der(), "tls.handshake").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_may_be_pem_or_der_and_a_wrong_one_is_an_error() {
    let bench = Bench::new();
    let server = Server::start(releasing("1.1.0")).await;
    let pem = pem_of(&server.ca);
    let output = bench
        .run_with(&server.url("/manifest.json"), pem.as_bytes(), &[])
        .await;
    assert!(output.status.success(), "{output:?}");
    let output = bench
        .run_with(&server.url("/manifest.json"), b"not a certificate", &[])
        .await;
    assert_eq!(events(&output).last().unwrap()["code"], "tls.root");
}

fn pem_of(der: &[u8]) -> String {
    let base64 = base64_simd::STANDARD.encode_to_string(der);
    let lines: Vec<&str> = base64
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_in_mid_update_is_a_power_cut_and_the_next_run_updates() {
    let bench = Bench::new();
    let image = firmware("1.1.0");
    let slow = Server::start(move |request, port| match request.path.as_str() {
        "/manifest.json" => Reply::Send(ok(&manifest("1.1.0", port))),
        // The head and most of the image at once, the rest never.
        _ => {
            let mut response = ok(&image);
            response.truncate(response.len() - 20_000);
            Reply::Send(response)
        }
    })
    .await;
    let ca = bench.file("ca.der", &slow.ca);
    let mut device = Command::new(env!("CARGO_BIN_EXE_s3ota"))
        .args([
            "device",
            "run",
            "--once",
            "--json",
            "--manifest-url",
            &slow.url("/manifest.json"),
        ])
        .args([
            "--ca".as_ref(),
            ca.as_os_str(),
            bench.path("flash.bin").as_os_str(),
        ])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let written = |bytes: &[u8]| bytes[0x20_0000..0x21_0000].iter().any(|&byte| byte != 0xff);
    for _ in 0..3000 {
        if written(&bench.flash()) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(
        written(&bench.flash()),
        "the device has not begun to write within a minute"
    );
    device.kill().unwrap();
    device.wait().unwrap();

    let server = Server::start(releasing("1.2.0")).await;
    let output = bench.run(&server, &[]).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(events(&output)[0]["version"], "1.0.0");
    assert_eq!(events(&output).last().unwrap()["event"], "confirmed");
}

#[test]
fn a_flash_file_is_not_overwritten_by_accident() {
    let bench = Bench::new();
    let (flash, image) = (bench.path("flash.bin"), bench.path("first.bin"));
    let new = |more: &[&str]| {
        let mut args = vec![
            "--json",
            "device",
            "new",
            flash.to_str().unwrap(),
            "--image",
            image.to_str().unwrap(),
        ];
        args.extend(more);
        s3ota(&args)
    };
    let refused = new(&[]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(events(&refused)[0]["code"], "file.io");
    assert!(new(&["--force"]).status.success());
}

#[test]
fn wrong_usage_exits_with_2_and_help_with_0() {
    let wrong = s3ota(&["device", "run", "--json"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert_eq!(events(&wrong)[0]["code"], "cli.usage");
    assert_eq!(s3ota(&["frobnicate"]).status.code(), Some(2));
    for help in [
        &["--help"][..],
        &["publish", "--help"],
        &["device", "run", "--help"],
    ] {
        let output = s3ota(help);
        assert!(output.status.success() && !output.stdout.is_empty());
    }
}

#[test]
fn a_file_that_is_not_a_flash_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let run = |path: &Path| {
        let path = path.to_str().unwrap();
        s3ota(&[
            "--json",
            "device",
            "run",
            path,
            "--once",
            "--manifest-url",
            "https://localhost:1/",
        ])
    };
    let missing = run(&dir.path().join("missing.bin"));
    assert_eq!(events(&missing)[0]["code"], "file.io");
    let blank = dir.path().join("blank.bin");
    fs::write(&blank, vec![0xff; 4 << 20]).unwrap();
    assert_eq!(events(&run(&blank))[0]["code"], "flash.partitions");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_for_newer_chips_is_refused_by_an_older_one_before_its_flash_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let image = |version: &str| ImageBuilder::new(Chip::Esp32, version).project_name("lamp");
    fs::write(path("first.bin"), image("1.0.0").build()).unwrap();
    let (flash, first) = (path("flash.bin"), path("first.bin"));
    let new = |more: &[&str]| {
        let args = ["--json", "device", "new", &flash, "--image", &first];
        s3ota(&[&args[..], more].concat())
    };
    let made = new(&["--chip-revision", "v1.0"]);
    assert_eq!(events(&made)[0]["chip_revision"], 100, "{made:?}");

    let next = image("1.1.0").revisions(301, 399).build();
    let server = Server::start(serving("1.1.0", next)).await;
    fs::write(path("ca.der"), &server.ca).unwrap();
    let run = || {
        let run = [
            "--json",
            "device",
            "run",
            &flash,
            "--once",
            "--attempts",
            "1",
        ];
        let (url, ca) = (server.url("/manifest.json"), path("ca.der"));
        let args = [&run[..], &["--manifest-url", &url, "--ca", &ca]].concat();
        let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        tokio::task::spawn_blocking(move || {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            events(&s3ota(&args))
        })
    };
    let boots = |events: &[Value]| {
        let boots = events.iter().filter(|event| event["event"] == "boot");
        boots
            .map(|boot| boot["version"].to_string())
            .collect::<Vec<_>>()
    };
    // What lies behind the partition table and otadata, in which the library counts its tries: the slots.
    let slots = || fs::read(&flash).unwrap().split_off(0x1_0000);
    let before = slots();
    for _ in 0..2 {
        let happened = run().await.unwrap();
        assert_eq!(boots(&happened), ["\"1.0.0\""], "{happened:?}");
        let last = happened.last().unwrap();
        assert_eq!(last["code"], "image.revision", "{happened:?}");
        assert!(slots() == before, "nothing was erased or written");
    }

    // A chip of which nothing is known runs it, and so does a newer one.
    for more in [&["--force"][..], &["--force", "--chip-revision", "301"]] {
        assert!(new(more).status.success());
        let happened = run().await.unwrap();
        assert_eq!(boots(&happened), ["\"1.0.0\"", "\"1.1.0\""], "{happened:?}");
    }
}

#[test]
fn a_device_is_not_created_with_a_firmware_that_its_chip_does_not_boot() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let image = ImageBuilder::new(Chip::Esp32, "1.0.0").revisions(300, 399);
    fs::write(path("first.bin"), image.build()).unwrap();
    let new = |revision: &str| {
        let (flash, first) = (path("flash.bin"), path("first.bin"));
        let args = ["device", "new", &flash, "--image", &first];
        s3ota(&[&["--json"], &args[..], &["--chip-revision", revision]].concat())
    };
    let refused = new("1.0");
    let error = &events(&refused)[0];
    assert_eq!(error["code"], "image.revision", "{error}");
    assert!(
        error["message"].as_str().unwrap().contains("v3.0 or later"),
        "{error}"
    );
    assert!(!Path::new(&path("flash.bin")).exists());
    assert_eq!(new("3,0").status.code(), Some(2));

    assert!(new("3.1").status.success());
    fs::write(path("flash.bin.chip"), "{}").unwrap();
    let (flash, url) = (path("flash.bin"), "https://localhost:1/");
    let run = s3ota(&[
        "--json",
        "device",
        "run",
        &flash,
        "--once",
        "--manifest-url",
        url,
    ]);
    assert_eq!(events(&run)[0]["code"], "device.chip", "{run:?}");
}

/// A merged image as `esptool merge-bin` writes it: up to the end of the app.
fn merged(firmware: &[u8]) -> Vec<u8> {
    let mut flash = s3ota_sim::Setup::default().flash(firmware).unwrap();
    let end = flash.iter().rposition(|&byte| byte != 0xFF).unwrap() + 1;
    flash.truncate(end);
    flash
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merged_image_is_a_device() {
    let bench = Bench::new();
    let merged = merged(&firmware("1.0.0"));
    let file = bench.file("merged.bin", &merged);
    let flash = bench.path("flash.bin");
    let args = [
        "device",
        "new",
        flash.to_str().unwrap(),
        "--force",
        "--json",
    ];
    let made = s3ota(&[&args[..], &["--image", file.to_str().unwrap()]].concat());
    assert_eq!(events(&made)[0]["version"], "1.0.0", "{made:?}");
    assert_eq!(bench.flash().len(), 4 << 20);
    let with_csv = ["--image", file.to_str().unwrap(), "--partitions", "p.csv"];
    let refused = s3ota(&[&args[..], &with_csv].concat());
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");

    // As it is, too: what is missing is erased flash, which an update writes.
    bench.file("flash.bin", &merged);
    let server = Server::start(releasing("1.1.0")).await;
    let output = bench.run(&server, &[]).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(events(&output).last().unwrap()["event"], "confirmed");
    assert_eq!(bench.flash().len(), 4 << 20);
    assert!(bench.flash()[0x3F_0000..].iter().all(|&byte| byte == 0xFF));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_whose_partition_table_is_elsewhere_updates_itself() {
    let bench = Bench::new();
    let csv = b"nvs,data,nvs,0x11000,16K\notadata,data,ota,,8K\nota_0,app,ota_0,,1M\nota_1,app,ota_1,,1M\n";
    let csv = bench.file("p.csv", csv);
    let image = bench.file("1.0.0.bin", &firmware("1.0.0"));
    let flash = bench.path("flash.bin");
    let [csv, image, flash] = [&csv, &image, &flash].map(|path| path.to_str().unwrap());
    let new = ["device", "new", flash, "--force", "--image", image];
    let offset = ["--partition-table-offset", "0x10000", "--partitions", csv];
    let made = s3ota(&[&new[..], &offset].concat());
    assert!(made.status.success(), "{made:?}");

    let server = Server::start(releasing("1.1.0")).await;
    let output = bench.run(&server, &[]).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(events(&output).last().unwrap()["event"], "confirmed");
}

#[test]
fn a_merged_image_that_starts_at_its_bootloader_is_made_into_a_flash_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let app = ImageBuilder::new(Chip::Esp32, "1.0.0").build();
    let mut flash = merged(&app);
    let boot = ImageBuilder::new(Chip::Esp32, "")
        .without_descriptor()
        .build();
    flash[0x1000..0x1000 + boot.len()].copy_from_slice(&boot);
    fs::write(path("merged.bin"), &flash[0x1000..]).unwrap();
    let url = ["--manifest-url", "https://localhost:1/"];
    let run = ["--json", "device", "run", "--once", &path("merged.bin")];
    let refused = s3ota(&[&run[..], &url].concat());
    let error = &events(&refused)[0];
    assert_eq!(error["code"], "flash.partitions", "{error}");
    assert!(
        error["hint"].as_str().unwrap().contains("device new"),
        "{error}"
    );

    let new = [
        "device",
        "new",
        &path("flash.bin"),
        "--image",
        &path("merged.bin"),
    ];
    assert!(s3ota(&new).status.success());
    let made = fs::read(path("flash.bin")).unwrap();
    assert!(made.starts_with(&flash) && made.len() == 4 << 20);
}

#[test]
fn a_table_that_bites_later_is_warned_of_before_the_device_leaves_the_host() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("first.bin"), firmware("1.0.0")).unwrap();
    let new = |csv: &str, more: &[&str]| {
        fs::write(path("p.csv"), csv).unwrap();
        let (flash, image, csv) = (path("flash.bin"), path("first.bin"), path("p.csv"));
        let args = [
            "--json", "device", "new", &flash, "--force", "--image", &image,
        ];
        let made = s3ota(&[&args[..], &["--partitions", &csv], more].concat());
        let events = events(&made);
        let codes = events.iter().filter(|event| event["event"] != "created");
        codes
            .map(|event| event["code"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let otadata = "nvs,data,nvs,,16K\notadata,data,ota,,8K\n";
    let slots = "ota_0,app,ota_0,,1M\nota_1,app,ota_1,,1M\n";
    let good = format!("{otadata}{slots}");
    assert_eq!(new(&good, &[]), [""; 0]);
    let one = format!("{otadata}factory,app,factory,,1M\nota_0,app,ota_0,,1M\n");
    assert_eq!(new(&one, &[]), ["flash.slots"]);
    assert_eq!(new(slots, &[]), ["flash.otadata"]);
    let short = good.replace("8K", "4K");
    assert_eq!(new(&short, &[]), ["device.partitions"]);
    let placed = format!(
        "bootloader,bootloader,primary,N/A,N/A\npt,partition_table,primary,N/A,N/A\n{good}"
    );
    assert_eq!(new(&placed, &[]), [""; 0]);
    // Made for a table at 0x10000.
    let other = good.replace("nvs,,16K", "nvs,0x11000,16K");
    assert_eq!(new(&other, &[]), ["flash.partitions"]);
    assert_eq!(
        new(&other, &["--partition-table-offset", "0x10000"]),
        [""; 0]
    );
    assert_eq!(
        new(&good, &["--partition-table-offset", "0x10000"]),
        [""; 0]
    );
    let flash = fs::read(path("flash.bin")).unwrap();
    assert!(flash[0x1_0000..].starts_with(&[0xAA, 0x50]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_no_chip_boots_is_refused_by_a_chip_of_which_nothing_is_known() {
    let bench = Bench::new();
    let image = || ImageBuilder::new(Chip::Esp32C3, "1.1.0").project_name("lamp");
    for (next, code) in [
        (image().block_revisions(25_185, 0), "image.efuse"),
        (image().revisions(301, 399), "image.revision"),
    ] {
        let server = Server::start(serving("1.1.0", next.build())).await;
        let output = bench.run(&server, &[]).await;
        let happened = events(&output);
        assert_eq!(happened.last().unwrap()["code"], code, "{happened:?}");
        let names = names(&happened);
        assert_eq!(names.iter().filter(|it| **it == "boot").count(), 1);
    }
}

#[test]
fn efuse_block_and_secure_version_of_a_chip_can_be_described() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let image = ImageBuilder::new(Chip::Esp32C3, "1.0.0").block_revisions(101, 199);
    fs::write(path("first.bin"), image.secure_version(3).build()).unwrap();
    let new = |more: &[&str]| {
        let (flash, first) = (path("flash.bin"), path("first.bin"));
        let args = [
            "--json", "device", "new", &flash, "--force", "--image", &first,
        ];
        events(&s3ota(&[&args[..], more].concat()))[0].clone()
    };
    for (more, code) in [
        (["--efuse-block-revision", "v1.0"], "image.efuse"),
        (["--efuse-block-revision", "v2.0"], "image.efuse"),
        (["--secure-version", "4"], "image.rollback"),
    ] {
        assert_eq!(new(&more)["code"], code, "{more:?}");
    }
    for more in [
        ["--efuse-block-revision", "v1.1"],
        ["--secure-version", "3"],
    ] {
        assert_eq!(new(&more)["event"], "created", "{more:?}");
    }
    let known = fs::read_to_string(path("flash.bin.chip")).unwrap();
    assert!(known.contains("\"secure_version\":3"), "{known}");
}

#[test]
fn the_hash_of_an_id_is_the_one_that_the_device_sends() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("id.key");
    let key = key.to_str().unwrap();
    fs::write(key, "a key of at least 16 bytes\r\n").unwrap();
    let output = s3ota(&["device", "hash", "a0b1c2d3e4f5", "x", "--key-file", key]);
    let text = String::from_utf8(output.stdout).unwrap();
    let (first, second) = text.trim_end().split_once('\n').unwrap();
    assert_eq!(first, "~d1aa8e1ca14530bf2ccb6ea48d334f44");
    assert!(second.starts_with('~') && second != first, "{text}");
    let output = s3ota(&[
        "--json",
        "device",
        "hash",
        "a0b1c2d3e4f5",
        "--key-file",
        key,
    ]);
    assert_eq!(events(&output)[0]["hash"], first);
    fs::write(key, "\n").unwrap();
    let output = s3ota(&["device", "hash", "a0b1c2d3e4f5", "--key-file", key]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
