//! What a device does with what a server sends: the library and its TLS client, against a real HTTPS server.

use std::time::Duration;

use s3ota::HttpError;
use s3ota::{
    Boot, Checked, Error, FirmwareError, Hooks, NoUpdate, Outcome, ReleaseError, Timeouts,
    Workspace,
};
use scripted_server::*;

fn installed(result: Result<Outcome, Error>) -> s3ota::Installed {
    match result {
        Ok(Outcome::Installed(installed)) => installed,
        other => panic!("not installed: {other:?}"),
    }
}

#[tokio::test]
async fn a_two_field_manifest_updates_a_device_which_confirms_and_is_up_to_date() {
    let server = Server::start(serving("1.1.0", firmware("1.1.0"))).await;
    let mut device = device("1.0.0");
    let news = installed(update(&mut device, &server, IMPATIENT).await);
    assert_eq!((news.version.as_str(), news.slot.index), ("1.1.0", 1));

    let running = device.power_on().unwrap();
    assert_eq!(running.version(), "1.1.0");
    assert_eq!(running.boot, Boot::Trial { boot: 1, of: 3 });
    assert!(confirm(&mut device, &running, &server).await);
    for _ in 0..5 {
        let running = device.power_on().unwrap();
        assert_eq!(
            (running.version(), running.boot),
            ("1.1.0", Boot::Confirmed)
        );
    }
    let again = update(&mut device, &server, IMPATIENT).await;
    assert_eq!(again, Ok(Outcome::NoUpdate(NoUpdate::UpToDate)));
}

#[tokio::test]
async fn updates_go_to_the_slots_in_turn() {
    let mut device = device("1.0.0");
    for (version, slot) in [("1.1.0", 1), ("1.2.0", 0), ("1.3.0", 1)] {
        let server = Server::start(serving(version, firmware(version))).await;
        assert_eq!(
            installed(update(&mut device, &server, IMPATIENT).await)
                .slot
                .index,
            slot
        );
        let running = device.power_on().unwrap();
        assert_eq!(running.version(), version);
        assert!(confirm(&mut device, &running, &server).await);
    }
}

#[tokio::test]
async fn a_release_that_never_confirms_is_rolled_back_and_not_tried_again() {
    for with_hash in [false, true] {
        let image = firmware("1.1.0");
        let server = Server::start(move |request, port| match request.path.as_str() {
            "/manifest.json" if with_hash => Reply::Send(ok(&full_manifest("1.1.0", port, &image))),
            "/manifest.json" => Reply::Send(ok(&manifest("1.1.0", port))),
            _ => Reply::Send(ok(&image)),
        })
        .await;
        let mut device = device("1.0.0");
        installed(update(&mut device, &server, IMPATIENT).await);
        for boot in 1..=3 {
            let running = device.power_on().unwrap();
            assert_eq!(
                (running.version(), running.boot),
                ("1.1.0", Boot::Trial { boot, of: 3 })
            );
        }
        let running = device.power_on().unwrap();
        assert_eq!((running.version(), running.restarts), ("1.0.0", 1));
        let again = update(&mut device, &server, IMPATIENT).await;
        assert_eq!(again, Ok(Outcome::NoUpdate(NoUpdate::FailedBefore)));

        let other = Server::start(serving("1.2.0", firmware("1.2.0"))).await;
        assert_eq!(
            installed(update(&mut device, &other, IMPATIENT).await).version,
            "1.2.0"
        );
    }
}

#[tokio::test]
async fn nothing_is_installed_while_the_running_firmware_is_on_trial() {
    let server = Server::start(serving("1.1.0", firmware("1.1.0"))).await;
    let mut device = device("1.0.0");
    installed(update(&mut device, &server, IMPATIENT).await);
    let newer = Server::start(serving("1.2.0", firmware("1.2.0"))).await;
    assert_eq!(
        update(&mut device, &newer, IMPATIENT).await,
        Err(Error::OnTrial)
    );
}

#[tokio::test]
async fn manifest_and_image_come_over_one_connection() {
    let server = Server::start(serving("1.1.0", firmware("1.1.0"))).await;
    installed(update(&mut device("1.0.0"), &server, IMPATIENT).await);
    let requests = server.requests();
    assert_eq!(
        requests
            .iter()
            .map(|request| request.connection)
            .collect::<Vec<_>>(),
        [0, 0]
    );
    assert!(
        requests[0].head.contains("User-Agent: s3ota/"),
        "{}",
        requests[0].head
    );
    assert!(
        requests[0]
            .head
            .contains(" dev=device-1 fw=1.0.0 chip=esp32c3 state=valid\r\n")
    );
    assert!(
        requests[0]
            .head
            .contains(&format!("Host: localhost:{}\r\n", server.port))
    );
}

#[tokio::test]
async fn a_connection_the_server_closed_meanwhile_is_opened_anew() {
    let image = firmware("1.1.0");
    let server =
        Server::start(
            move |request, port| match (request.path.as_str(), request.connection) {
                ("/manifest.json", _) => Reply::Send(ok(&manifest("1.1.0", port))),
                // The second request on the first connection finds it closed.
                (_, 0) => Reply::SendAndClose(Vec::new(), true),
                _ => Reply::Send(ok(&image)),
            },
        )
        .await;
    installed(update(&mut device("1.0.0"), &server, IMPATIENT).await);
    assert_eq!(server.requests().last().unwrap().connection, 1);
}

#[tokio::test]
async fn every_way_to_send_an_image_arrives() {
    let image = firmware("1.1.0");
    let mut chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in image.chunks(7_777) {
        chunked.extend(
            format!("{:x}\r\n", chunk.len())
                .bytes()
                .chain(chunk.iter().copied())
                .chain(*b"\r\n"),
        );
    }
    chunked.extend(b"0\r\n\r\n");
    let until_close = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), image.clone()].concat();
    for response in [Reply::Send(chunked), Reply::SendAndClose(until_close, true)] {
        let response = std::sync::Mutex::new(Some(response));
        let server = Server::start(move |request, port| match request.path.as_str() {
            "/manifest.json" => Reply::Send(ok(&manifest("1.1.0", port))),
            _ => response.lock().unwrap().take().unwrap(),
        })
        .await;
        let mut device = device("1.0.0");
        installed(update(&mut device, &server, IMPATIENT).await);
        assert_eq!(device.power_on().unwrap().version(), "1.1.0");
    }
}

#[tokio::test]
async fn redirects_are_followed_to_https_and_no_further_than_allowed() {
    let image = firmware("1.1.0");
    let server = Server::start(move |request, port| match request.path.as_str() {
        "/manifest.json" => Reply::Send(status(
            "307 Temporary Redirect",
            "Location: /elsewhere/m.json?x=1\r\n",
        )),
        "/elsewhere/m.json?x=1" => Reply::Send(ok(&manifest("1.1.0", port))),
        // Another authority: another connection.
        "/image.bin" => {
            let location = format!("Location: https://127.0.0.1:{port}/real.bin\r\n");
            Reply::Send(status("302 Found", &location))
        }
        "/real.bin" => Reply::Send(ok(&image)),
        _ => Reply::Send(status("404 Not Found", "")),
    })
    .await;
    installed(update(&mut device("1.0.0"), &server, IMPATIENT).await);
    assert_eq!(
        server
            .requests()
            .iter()
            .map(|request| request.connection)
            .collect::<Vec<_>>(),
        [0, 0, 0, 1]
    );

    let looping =
        Server::start(|_, _| Reply::Send(status("301 Moved", "Location: /manifest.json\r\n")))
            .await;
    let error = update(&mut device("1.0.0"), &looping, IMPATIENT)
        .await
        .unwrap_err();
    assert_eq!(error, Error::Http(HttpError::TooManyRedirects));
    assert_eq!(
        looping.requests().len(),
        1 + usize::from(s3ota::MAX_REDIRECTS)
    );

    let downgrading = Server::start(|_, _| {
        Reply::Send(status("302 Found", "Location: http://localhost/m.json\r\n"))
    })
    .await;
    let error = update(&mut device("1.0.0"), &downgrading, IMPATIENT)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "http.redirect");
}

#[tokio::test]
async fn a_url_of_two_thousand_bytes_is_fetched_whole() {
    let image = firmware("1.1.0");
    let base = "/image.bin?X-Amz-Security-Token=";
    let server = Server::start(move |request, port| match request.path.as_str() {
        "/manifest.json" => {
            let start = format!("https://localhost:{port}{base}");
            let url = format!("{start}{}", "t".repeat(2048 - start.len()));
            Reply::Send(ok(
                format!(r#"{{"url":"{url}","version":"1.1.0"}}"#).as_bytes()
            ))
        }
        path if path.starts_with(base) && path.ends_with("ttt") => Reply::Send(ok(&image)),
        _ => Reply::Send(status("404 Not Found", "")),
    })
    .await;
    installed(update(&mut device("1.0.0"), &server, IMPATIENT).await);
}

#[tokio::test]
async fn polling_costs_a_304_once_the_manifest_is_known() {
    let server = Server::start(|request, port| {
        if request.head.contains("If-None-Match: \"tag\"") {
            return Reply::Send(b"HTTP/1.1 304 Not Modified\r\nETag: \"tag\"\r\n\r\n".to_vec());
        }
        let body = manifest("1.0.0", port);
        let mut response = format!(
            "HTTP/1.1 200 OK\r\nETag: \"tag\"\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        response.extend(body);
        Reply::Send(response)
    })
    .await;
    let mut device = device("1.0.0");
    let running = device.power_on().unwrap();
    let mut workspace = Box::new(Workspace::new());
    let url = server.url("/manifest.json");
    let config = config(&url, &running, &server, IMPATIENT);
    let mut updater = device.updater(&running, config, &mut workspace);
    assert_eq!(
        updater.check().await,
        Ok(Checked::NoUpdate(NoUpdate::UpToDate))
    );
    assert_eq!(
        updater.check().await,
        Ok(Checked::NoUpdate(NoUpdate::NotModified))
    );
}

/// Serves `response` as the image, expects the update to fail with the code, and the flash to hold what it held.
async fn refused(
    manifest_of: impl Fn(u16) -> Vec<u8> + Send + Sync + 'static,
    response: Vec<u8>,
    code: &str,
) {
    let server = Server::start(move |request, port| match request.path.as_str() {
        "/manifest.json" => Reply::Send(ok(&manifest_of(port))),
        _ => Reply::SendAndClose(response.clone(), true),
    })
    .await;
    let mut device = device("1.0.0");
    device.power_on().unwrap();
    let before = device.flash().bytes().to_vec();
    let error = update(&mut device, &server, IMPATIENT).await.unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    assert!(
        device.flash().bytes() == before,
        "{code}: the flash has changed"
    );
    assert_eq!(device.power_on().unwrap().version(), "1.0.0");
}

#[tokio::test]
async fn images_that_are_not_right_are_refused_and_leave_nothing_behind() {
    let good = firmware("1.1.0");
    let two_fields = |port| manifest("1.1.0", port);
    let with_hash = |image: &[u8]| {
        let image = image.to_vec();
        move |port| full_manifest("1.1.0", port, &image)
    };

    let other_chip = s3ota_image::app::ImageBuilder::new(s3ota::Chip::Esp32C6, "1.1.0")
        .length(100_000)
        .build();
    refused(two_fields, ok(&other_chip), "image.chip").await;
    refused(two_fields, ok(&firmware("1.2.0")), "image.version").await;
    refused(
        two_fields,
        ok(b"<html>not an image</html>"),
        "image.invalid",
    )
    .await;
    refused(two_fields, ok(&[]), "image.size").await;
    refused(two_fields, ok(&good[..good.len() - 5000]), "image.size").await;
    refused(
        two_fields,
        ok(&[&good[..], &[0; 64]].concat()),
        "image.size",
    )
    .await;
    refused(two_fields, ok(&vec![0xe9; 0x1f_0001]), "image.size").await;
    let unsigned = s3ota_image::app::ImageBuilder::new(s3ota::Chip::Esp32C3, "1.1.0")
        .without_digest()
        .build();
    refused(two_fields, ok(&unsigned), "image.digest").await;

    for at in [300, 50_000, good.len() - 1] {
        let mut flipped = good.clone();
        flipped[at] ^= 0x10;
        refused(two_fields, ok(&flipped), "image.digest").await;
        refused(with_hash(&good), ok(&flipped), "image.digest").await;
    }
    // Another image, whole and valid in itself, but not the one the manifest names.
    let other = s3ota_image::app::ImageBuilder::new(s3ota::Chip::Esp32C3, "1.1.0+other")
        .length(100_000)
        .build();
    refused(with_hash(&good), ok(&other), "image.digest").await;
    refused(with_hash(&good), ok(&good[..90_000]), "image.size").await;

    let endless = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![0; 400]].concat();
    refused(two_fields, endless, "image.invalid").await;
    refused(two_fields, status("404 Not Found", ""), "http.status").await;
    refused(two_fields, status("403 Forbidden", ""), "http.status").await;
}

#[tokio::test]
async fn manifests_that_are_not_right_are_refused() {
    let refuse = async |document: &str, code: &str| {
        let document = document.as_bytes().to_vec();
        refused(move |_| document.clone(), Vec::new(), code).await;
    };
    refuse(
        r#"{"version":"1.1.0","url":"http://localhost/image.bin"}"#,
        "manifest.url",
    )
    .await;
    refuse(r#"{"version":"1.1.0"}"#, "manifest.invalid").await;
    refuse(
        r#"{"version":"1.1.0","url":"https://x/","url":"https://y/"}"#,
        "manifest.invalid",
    )
    .await;
    refuse("<html></html>", "manifest.invalid").await;
    refuse(&" ".repeat(9000), "http.length").await;
    refuse(
        r#"{"version":"0.9.0","url":"https://localhost/image.bin"}"#,
        "release.downgrade",
    )
    .await;
    refuse(
        r#"{"version":"1.1.0","url":"https://localhost/","chip":"esp32s3"}"#,
        "image.chip",
    )
    .await;
    refuse(
        r#"{"version":"1.1.0","url":"https://localhost/","size":9999999}"#,
        "image.size",
    )
    .await;
    refuse(
        r#"{"version":"1.1.0","url":"https://localhost/","expires":"2020-01-01T00:00:00Z"}"#,
        "release.expired",
    )
    .await;
}

#[tokio::test]
async fn versions_are_compared_as_numbers() {
    let server = Server::start(serving("1.10.0", firmware("1.10.0"))).await;
    installed(update(&mut device("1.9.0"), &server, IMPATIENT).await);
    let older = Server::start(serving("1.9.0", firmware("1.9.0"))).await;
    let error = update(&mut device("1.10.0"), &older, IMPATIENT)
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        Error::Release(ReleaseError::Downgrade { .. })
    ));
}

#[tokio::test]
async fn a_rollout_of_nobody_reaches_nobody() {
    let server = Server::start(|_, _| {
        Reply::Send(ok(
            br#"{"version":"1.1.0","url":"https://localhost/image.bin","rollout":0}"#,
        ))
    })
    .await;
    let outcome = update(&mut device("1.0.0"), &server, IMPATIENT).await;
    assert_eq!(outcome, Ok(Outcome::NoUpdate(NoUpdate::NotInRollout)));
}

#[tokio::test]
async fn an_arduino_image_that_does_not_know_its_version_is_installed_once() {
    let arduino = |version: &str| {
        s3ota_image::app::ImageBuilder::new(s3ota::Chip::Esp32C3, version)
            .project_name("arduino-lib-builder")
            .length(100_000)
            .build()
    };
    let server = Server::start(serving("1.1.0", arduino("esp-idf: v4.4.6 3572900934"))).await;
    let old = arduino("esp-idf: v4.4.5 ac5d805d0e");
    let flash = s3ota_sim::Setup::default().flash(&old).unwrap();
    let mut device = s3ota_sim::VirtualDevice::new(s3ota_sim::Flash::in_memory(flash));
    // Both take themselves for 1.0.0.
    let look = async |device: &mut s3ota_sim::VirtualDevice| {
        let running = device.power_on().unwrap();
        confirm(device, &running, &server).await;
        let mut workspace = Box::new(Workspace::new());
        let url = server.url("/manifest.json");
        let config = s3ota::Config {
            version: "1.0.0",
            ..config(&url, &running, &server, IMPATIENT)
        };
        let mut updater = device.updater(&running, config, &mut workspace);
        updater.install(&mut ()).await
    };
    installed(look(&mut device).await);
    // The same release must not be installed for ever.
    let outcome = look(&mut device).await;
    assert_eq!(outcome, Ok(Outcome::NoUpdate(NoUpdate::UpToDate)));
}

#[tokio::test]
async fn a_lost_connection_and_a_busy_server_are_tried_again() {
    let image = firmware("1.1.0");
    let half = {
        let mut response =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", image.len()).into_bytes();
        response.extend(&image[..40_000]);
        response
    };
    let server =
        Server::start(
            move |request, port| match (request.path.as_str(), request.connection) {
                ("/manifest.json", 0) => Reply::Send(status("503 Slow Down", "Retry-After: 0\r\n")),
                ("/manifest.json", _) => Reply::Send(ok(&manifest("1.1.0", port))),
                (_, 1) => Reply::SendAndClose(half.clone(), false),
                (_, 2) => Reply::SendAndClose(half.clone(), true),
                _ => Reply::Send(ok(&image)),
            },
        )
        .await;
    let mut device = device("1.0.0");
    let timeouts = Timeouts {
        attempts: 5,
        ..IMPATIENT
    };
    installed(update(&mut device, &server, timeouts).await);
    assert_eq!(device.power_on().unwrap().version(), "1.1.0");
}

#[tokio::test]
async fn a_slow_drip_does_not_outlast_the_deadline() {
    let image = firmware("1.1.0");
    let server = Server::start(move |request, port| match request.path.as_str() {
        "/manifest.json" => Reply::Send(ok(&manifest("1.1.0", port))),
        _ => Reply::Drip(ok(&image), Duration::from_millis(50)),
    })
    .await;
    let timeouts = Timeouts {
        deadline: Duration::from_secs(1),
        attempts: 200,
        ..IMPATIENT
    };
    let error = update(&mut device("1.0.0"), &server, timeouts)
        .await
        .unwrap_err();
    assert_eq!(
        error,
        Error::Deadline {
            after: Duration::from_secs(1)
        }
    );
}

#[tokio::test]
async fn silence_is_given_up_and_tried_again() {
    let server = Server::start(|_, _| Reply::Send(Vec::new())).await;
    let timeouts = Timeouts {
        idle: Duration::from_secs(1),
        attempts: 2,
        ..IMPATIENT
    };
    let error = update(&mut device("1.0.0"), &server, timeouts)
        .await
        .unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert_eq!(server.requests().len(), 2);
}

#[derive(Default)]
struct Log {
    veto: bool,
    calls: Vec<&'static str>,
}

impl Hooks for Log {
    fn may_start(&mut self, _: &s3ota::manifest::Manifest<'_>) -> bool {
        self.calls.push("may_start");
        !self.veto
    }

    fn on_start(&mut self, _: &s3ota::manifest::Manifest<'_>) {
        self.calls.push("start");
    }

    fn on_progress(&mut self, _: s3ota::Progress) {
        if self.calls.last() != Some(&"progress") {
            self.calls.push("progress");
        }
    }

    fn on_no_update(&mut self, _: NoUpdate) {
        self.calls.push("no_update");
    }

    fn on_error(&mut self, _: &Error, retry_in: Option<Duration>) {
        self.calls
            .push(if retry_in.is_some() { "retry" } else { "error" });
    }

    fn on_complete(&mut self, _: &s3ota::Installed) {
        self.calls.push("complete");
    }

    fn on_stop(&mut self) {
        self.calls.push("resume");
    }
}

type Script = Box<dyn Fn(&Request, u16) -> Reply + Send + Sync>;

#[tokio::test]
async fn hooks_are_called_in_order() {
    let run = async |script: Script, veto| {
        let server = Server::start(script).await;
        let mut device = device("1.0.0");
        let running = device.power_on().unwrap();
        let mut log = Log {
            veto,
            ..Log::default()
        };
        let _ = update_with(&mut device, &running, &server, IMPATIENT, &mut log).await;
        log.calls
    };
    let good = || Box::new(serving("1.1.0", firmware("1.1.0")));
    assert_eq!(
        run(good(), false).await,
        ["may_start", "start", "progress", "complete"]
    );
    assert_eq!(run(good(), true).await, ["may_start", "no_update"]);
    let broken = Box::new(serving("1.1.0", firmware("1.1.0")[..50_000].to_vec()));
    assert_eq!(
        run(broken, false).await,
        ["may_start", "start", "progress", "error", "resume"]
    );
    assert_eq!(
        run(Box::new(serving("1.0.0", Vec::new())), false).await,
        ["no_update"]
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_of_its_own() {
    let server = Server::start(serving("1.1.0", Vec::new())).await;
    let gone = Server { port: 1, ..server };
    let error = update(&mut device("1.0.0"), &gone, IMPATIENT)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "net.connect");
}

#[tokio::test]
async fn an_image_too_large_is_known_before_flash_is_touched() {
    let server = Server::start(|request, port| match request.path.as_str() {
        "/manifest.json" => Reply::Send(ok(&manifest("1.1.0", port))),
        _ => Reply::SendAndClose(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2031617\r\n\r\n".to_vec(),
            true,
        ),
    })
    .await;
    let mut device = device("1.0.0");
    device.power_on().unwrap();
    let wear = device.flash().wear();
    let error = update(&mut device, &server, IMPATIENT).await.unwrap_err();
    assert_eq!(
        error,
        Error::Image(FirmwareError::TooLarge {
            size: 2_031_617,
            slot: 0x1f_0000
        })
    );
    assert_eq!(device.flash().wear(), wear);
}

#[tokio::test]
async fn an_update_fits_into_the_memory_a_chip_has() {
    let server = Server::start(serving("1.1.0", Vec::new())).await;
    let mut device = device("1.0.0");
    let running = device.power_on().unwrap();
    let mut workspace = Box::new(Workspace::new());
    // The virtual device can decode deltas.
    let (memory, decoder) = (
        size_of::<s3ota_codec::Memory>(),
        size_of::<s3ota_codec::Decoder<'_>>(),
    );
    assert!(memory + decoder <= 32 * 1024, "{memory} and {decoder}");
    assert!(size_of::<Workspace>() - memory <= 37 * 1024);
    let url = server.url("/manifest.json");
    let config = config(&url, &running, &server, IMPATIENT);
    let mut updater = device.updater(&running, config, &mut workspace);
    // The future is where an async function keeps its variables; on a chip it lies in the task's static memory.
    let future = size_of_val(&updater.install(&mut ()));
    assert!(future - decoder <= 10 * 1024, "{future} bytes");
}
