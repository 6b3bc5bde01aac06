//! Every error code, seen once.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use c_device::{Device, Offer, Owner, builder, firmware, in_repository, offer};
use s3ota_image::app::SignatureKind;
use s3ota_sim::Setup;
use scripted_server::{Reply, Request, Server, ok, status};

use crate::device;

/// A device that runs 1.0.0 and trusts this server.
fn lamp(server: &Server) -> Device {
    trusting(Device::new(device(), "1.0.0"), server)
}

fn trusting(device: Device, server: &Server) -> Device {
    device
        .with_file("root", &server.ca)
        .set(&format!("url={}", server.url("/stable.json")))
}

/// What a device with these settings makes of an offer.
async fn refused(code: &str, offered: Offer, settings: &[&str]) {
    let server = offered.serve().await;
    let arguments = [settings, &["init", "install", "text"]].concat();
    let said = lamp(&server).run(&arguments);
    assert_eq!(said.of("install"), code, "{said:#?}");
    assert!(!said.of("text").is_empty());
}

fn newer() -> Offer {
    offer("1.1.0", &firmware("1.1.0"), &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_release() {
    let image = firmware("1.1.0");
    let changed = |from, to| offer("1.1.0", &image, &[(from, to)]);
    let other = |image: Vec<u8>| offer("1.1.0", &image, &[]);
    let none: &[&str] = &[];
    for (code, offered, settings) in [
        (
            "release.downgrade",
            offer("0.9.0", &firmware("0.9.0"), &[]),
            none,
        ),
        (
            "release.board",
            newer().with(r#""board":"b""#),
            &["board=a"],
        ),
        (
            "release.project",
            newer().with(r#""project":"kettle""#),
            none,
        ),
        (
            "release.expired",
            newer().with(r#""expires":"2001-02-03T04:05:06Z""#),
            none,
        ),
        (
            "manifest.invalid",
            changed("\"version\"", "\"versio\""),
            none,
        ),
        ("manifest.url", changed("https:", "http:"), none),
        ("image.chip", changed("esp32c3", "esp32s3"), none),
        ("image.size", changed("100000", "100004"), none),
        (
            "image.digest",
            {
                let mut changed = newer();
                changed.image[50_000] ^= 1;
                changed
            },
            none,
        ),
        ("image.version", other(firmware("1.2.0")), none),
        (
            "image.project",
            other(builder("1.1.0").project_name("kettle").build()),
            none,
        ),
        ("image.invalid", other(vec![0; 100_000]), none),
        (
            "image.guard",
            other(builder("1.1.0").without_guard().build()),
            none,
        ),
        (
            "image.revision",
            other(builder("1.1.0").revisions(300, 399).build()),
            &["hardware_known=1", "revision=4"],
        ),
        (
            "image.efuse",
            other(builder("1.1.0").block_revisions(200, 299).build()),
            &["hardware_known=2", "block_revision=100"],
        ),
        (
            "image.rollback",
            other(image.clone()),
            &["hardware_known=4", "secure_version=5"],
        ),
        ("config.version", newer(), &["version=one"]),
        ("flash.io", newer(), &["fails_at_write=3"]),
        ("flash.readback", newer(), &["lies_at_write=20"]),
        (
            "net.dns",
            newer(),
            &["url=https://nowhere.example/stable.json"],
        ),
        (
            "net.connect",
            newer(),
            &["url=https://localhost:1/stable.json"],
        ),
        ("net.io", newer(), &["is_deaf=1", "idle_ms=50"]),
        (
            "tls.certificate",
            newer(),
            &["url=https://127.0.0.1:PORT/stable.json"],
        ),
    ] {
        if code == "tls.certificate" {
            // Nobody vouches for it.
            let server = offered.serve().await;
            let said = Device::new(device(), "1.0.0")
                .set(&format!("url={}", server.url("/stable.json")))
                .run(&["init", "install"]);
            assert_eq!(said.of("install"), code);
            continue;
        }
        refused(code, offered, settings).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_image_that_lost_its_signature() {
    let server = newer().serve().await;
    let signed = builder("1.0.0").signature(SignatureKind::Rsa).build();
    let said = trusting(Device::with(device(), &signed), &server).run(&["init", "install"]);
    assert_eq!(said.of("install"), "image.secure_boot");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_signatures() {
    let owner = Owner::default();
    let release = |version: &str, fields: &str| {
        let unsigned = offer(version, &firmware(version), &[]).with(fields);
        owner.signs(&unsigned)
    };
    let (first, floor) = (
        release("1.1.0", r#""serial":9"#),
        r#""serial":10,"min_version":"1.1.0""#,
    );
    let offers = [
        ("installed", first),
        ("release.replayed", release("1.2.0", r#""serial":8"#)),
        ("installed", release("1.2.0", floor)),
    ];
    let mut flash = Setup::default().flash(&firmware("1.0.0")).unwrap();
    for (result, offered) in offers {
        let server = offered.serve().await;
        let mut lamp =
            trusting(Device::set_up(device(), &flash), &server).with_file("key", &owner.spki());
        assert_eq!(lamp.run(&["init", "install"]).of("install"), result);
        if result == "installed" {
            assert_eq!(lamp.run(&["guard", "init", "confirm"]).of("confirm"), "ok");
        }
        flash = fs::read(lamp.flash()).unwrap();
    }
    // What is below the floor comes back only as a downgrade that the owner has signed.
    let back = r#""serial":11,"downgrade":true,"expires":"2100-01-01T00:00:00Z""#;
    let server = release("1.0.5", back).serve().await;
    let mut lamp =
        trusting(Device::set_up(device(), &flash), &server).with_file("key", &owner.spki());
    assert_eq!(
        lamp.run(&["init", "install"]).of("install"),
        "release.floor"
    );

    let server = release("1.3.0", r#""serial":12,"channel":"beta""#)
        .serve()
        .await;
    let mut lamp =
        trusting(Device::set_up(device(), &flash), &server).with_file("key", &owner.spki());
    assert_eq!(
        lamp.run(&["init", "install"]).of("install"),
        "release.channel"
    );

    let server = newer().serve().await;
    let said = self::lamp(&server)
        .with_file("key", &owner.spki())
        .run(&["init", "install"]);
    assert_eq!(said.of("install"), "release.signature");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_answers() {
    let cut = |bytes: Vec<u8>| bytes[..40].to_vec();
    let long = |_: &Request| Reply::Send(ok(&[b' '; 10_000]));
    type Answer = fn(&Request) -> Reply;
    let answers: [(&str, Answer); 4] = [
        ("http.status", |_| Reply::Send(status("404 Not Found", ""))),
        ("http.redirect", |_| {
            Reply::Send(status("302 Found", "Location: http://localhost/\r\n"))
        }),
        ("http.invalid", |_| {
            Reply::Send(b"HTTP/1.1 OK 200\r\n\r\n".to_vec())
        }),
        ("net.closed", |_| Reply::SendAndClose(Vec::new(), true)),
    ];
    for (code, answer) in answers {
        let server = Server::start(move |request: &Request, _| answer(request)).await;
        let said = lamp(&server).run(&["init", "install"]);
        assert_eq!(said.of("install"), code, "{said:#?}");
    }
    for (code, clean) in [("http.incomplete", true), ("tls.truncated", false)] {
        let answer = move |_: &Request, _| Reply::SendAndClose(cut(ok(&[b' '; 100])), clean);
        let server = Server::start(answer).await;
        let said = lamp(&server).run(&["init", "install"]);
        assert_eq!(said.of("install"), code, "{said:#?}");
    }
    let server = Server::start(move |request: &Request, _| long(request)).await;
    assert_eq!(
        lamp(&server).run(&["init", "install"]).of("install"),
        "http.length"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_records_that_were_changed_on_the_way() {
    let server = newer().serve().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let to = server.port;
    thread::spawn(move || meddle(&listener.accept().unwrap().0, to));
    let url = format!("url=https://localhost:{port}/stable.json");
    let said = lamp(&server).run(&[&url, "init", "install"]);
    assert_eq!(said.of("install"), "tls.record", "{said:#?}");
}

/// Passes a connection on, and changes what the server says after the handshake.
fn meddle(client: &TcpStream, to: u16) {
    static SENT: AtomicUsize = AtomicUsize::new(0);
    let server = TcpStream::connect(("127.0.0.1", to)).unwrap();
    let (mut from_client, mut to_server) =
        (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = from_client.read(&mut bytes) {
            // The first is the ClientHello.
            SENT.fetch_add(1, Ordering::SeqCst);
            let _ = to_server.write_all(&bytes[..count]);
        }
    });
    let (mut from_server, mut to_client) = (server, client);
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from_server.read(&mut bytes) {
        if SENT.load(Ordering::SeqCst) > 1 {
            bytes[count - 1] ^= 1;
        }
        let _ = to_client.write_all(&bytes[..count]);
    }
}

#[test]
fn of_a_server_without_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        thread::sleep(Duration::from_secs(1));
    });
    let url = format!("url=https://localhost:{port}/stable.json");
    let said = Device::new(device(), "1.0.0").run(&[&url, "init", "install"]);
    assert_eq!(said.of("install"), "tls.handshake");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_updates_as_a_whole() {
    // A server that takes its time.
    let server =
        Server::start(|_: &Request, _| Reply::Drip(ok(&[b' '; 1000]), Duration::from_millis(20)))
            .await;
    let said = lamp(&server).run(&["deadline_ms=300", "init", "took", "install"]);
    assert_eq!(said.of("install"), "update.deadline");
    let took = said.number("ms", "ms");
    assert!((300..900).contains(&took), "{took} ms");

    // One that names another image each time, and breaks off.
    static ASKED: AtomicUsize = AtomicUsize::new(1);
    let server = Server::start(|request: &Request, port| {
        if request.path == "/stable.json" {
            ASKED.fetch_add(1, Ordering::SeqCst);
        }
        let version = format!("1.{}.0", ASKED.load(Ordering::SeqCst));
        let mut broken = offer(&version, &firmware(&version), &[]);
        broken.image[90_000] ^= 1;
        broken.answer(request, port)
    })
    .await;
    let said = lamp(&server).run(&["init", "install", "install", "install", "text"]);
    let results: Vec<_> = said
        .lines
        .iter()
        .filter(|line| line.starts_with("install "))
        .collect();
    assert_eq!(
        results,
        [
            "install image.digest",
            "install image.digest",
            "install update.rests"
        ]
    );

    let said = lamp(&server).run(&["init", "roll_back"]);
    assert_eq!(said.of("roll_back"), "update.rollback");

    let server = newer().serve().await;
    let mut lamp = lamp(&server);
    assert_eq!(lamp.run(&["init", "install"]).of("install"), "installed");
    let said = lamp.run(&["init", "install"]);
    assert_eq!(said.of("install"), "update.trial");
    // A number of trial boots that cannot be counted, and flash that does not take the end of the trial.
    let said = lamp.run(&["trial_boots=200", "fails_at_write=1", "guard"]);
    assert_eq!(said.of("guard"), "config.trial_boots 0/0");
}

#[test]
fn of_a_flash_without_partitions() {
    let mut lamp = Device::new(device(), "1.0.0").set("url=https://localhost/stable.json");
    let said = lamp.run(&["partition_table=4096", "guard", "init", "install"]);
    assert_eq!(said.of("guard"), "flash.layout 0/0");
    assert_eq!(said.of("install"), "flash.layout");
}

/// The codes that these tests have seen are all that the header has, but for those that cannot be seen.
#[test]
fn all_of_them_are_here() {
    // This library fetches no artefacts. A connection that is closed or was left in the middle is not used again. OTHER is for what
    // a later version adds.
    const NOT_SEEN: [&str; 4] = ["IMAGE_ARTEFACT", "TLS_CLOSED", "TLS_INTERRUPTED", "OTHER"];
    let header = fs::read_to_string(in_repository("bindings/c/include/s3ota.h")).unwrap();
    let codes = header.lines().filter_map(|line| {
        let (name, value) = line.strip_prefix("#define S3OTA_ERR_")?.split_once(' ')?;
        value.starts_with("(-").then_some(name)
    });
    let tests = ["errors", "programs", "life", "agent", "limits", "given"].map(|name| {
        let path = format!("testing/c-device/tests/host/{name}.rs");
        fs::read_to_string(in_repository(&path)).unwrap()
    });
    let programs = ["misuse", "device"].map(|name| {
        fs::read_to_string(in_repository(&format!("bindings/c/tests/{name}.c"))).unwrap()
    });
    let missing: BTreeSet<_> = codes
        .filter(|code| !NOT_SEEN.contains(code))
        .filter(|code| {
            let name = code.to_lowercase().replacen('_', ".", 1);
            let is_in_a_test = tests.iter().any(|test| test.contains(&name));
            !is_in_a_test
                && !programs
                    .iter()
                    .any(|it| it.contains(&format!("S3OTA_ERR_{code}")))
        })
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
