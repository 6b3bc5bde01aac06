//! The model comes to the same as real devices: twenty virtual ESP32 with the whole library, over HTTPS, with the same ids, rollouts and
//! releases, run the same, and say the same of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use s3ota::{Chip, Config, NoUpdate, Outcome, Workspace};
use s3ota_manifest::Sha256Digest;
use s3ota_manifest::user_agent::{State, UserAgent};
use s3ota_sim::VirtualDevice;
use s3ota_simulate::{Bucket, Change, Model, Product, Release, Scenario, simulate};
use scripted_server::{IMPATIENT, Reply, Server, config, device, firmware, ok, status};
use sha2::{Digest, Sha256};

const DAY: u64 = 24 * 60 * 60;

/// The releases, and whether they crash on trial.
const RELEASES: [(&str, bool); 4] = [
    ("1.0.0", false),
    ("1.1.0", false),
    ("1.2.0", true),
    ("1.3.0", false),
];

/// What the publisher does each day: release and percentage. The last but one brings back what was superseded.
const CHANGES: [(usize, u8); 9] = [
    (0, 100),
    (1, 0),
    (1, 30),
    (1, 60),
    (2, 40),
    (2, 80),
    (1, 100),
    (3, 50),
    (3, 100),
];

fn ids() -> Vec<String> {
    (0..20).map(|device| format!("agree-{device:02}")).collect()
}

fn digest(version: &str) -> Sha256Digest {
    Sha256Digest(Sha256::digest(firmware(version)).into())
}

/// What a device runs, and how that stands.
type Shown = (String, String);

/// What the model's devices said last on this day.
fn modelled(days: usize) -> BTreeMap<String, Shown> {
    let release = |(version, crashes): (&str, bool)| Release {
        crashes,
        artefacts: false,
        sha256: vec![digest(version)],
        share_at_start: if version == "1.0.0" { 1.0 } else { 0.0 },
        ..Release::new(version, 100_000)
    };
    let changes = CHANGES.iter().enumerate().take(days);
    let scenario = Scenario {
        seed: 1,
        devices: 20,
        start: 1_795_824_000,
        seconds: days as u64 * DAY,
        every: Duration::from_secs(60 * 60),
        products: vec![Product {
            prefix: "lamp".to_owned(),
            chip: Chip::Esp32C3,
            share: 1.0,
        }],
        releases: RELEASES.map(release).into(),
        changes: changes
            .map(|(day, &(release, percent))| Change {
                at: day as u64 * DAY,
                release,
                percent,
            })
            .collect(),
        model: Model {
            odd_batch: 1.0,
            app_rollback: 0.0,
            ..Model::without_misfortune()
        },
        power_failure: None,
        forbidden: None,
        foreign_a_day: 0.0,
        ids: ids(),
        bucket: Bucket::default(),
        served: Vec::new(),
    };
    let truth = simulate(&scenario, None, &mut |_| {}).unwrap().truth;
    let devices = truth.devices.into_iter();
    devices
        .map(|(id, device)| (id, (device.version, device.state)))
        .collect()
}

/// The manifest of a day.
fn manifest(day: usize, port: u16) -> Vec<u8> {
    let (release, percent) = CHANGES[day];
    let (version, _) = RELEASES[release];
    let sha256 = digest(version);
    format!(
        r#"{{"version":"{version}","url":"https://localhost:{port}/{version}","size":100000,"sha256":"{sha256}","rollout":{percent}}}"#
    )
    .into_bytes()
}

/// What each real device said last.
fn said(server: &Server) -> BTreeMap<String, Shown> {
    let mut all = BTreeMap::new();
    for request in server.requests() {
        let text = request.field("User-Agent").unwrap();
        let agent = UserAgent::parse(text).unwrap();
        let state = match agent.state.unwrap() {
            State::Back(from) => format!("back:{from}"),
            State::Valid => "valid".to_owned(),
            other => format!("{other:?}"),
        };
        let shown = (agent.firmware.unwrap().to_owned(), state);
        all.insert(agent.device.unwrap().to_owned(), shown);
    }
    all
}

/// Checks until there is nothing more to do. What runs then.
async fn settle(device: &mut VirtualDevice, id: &str, server: &Server) -> String {
    let url = server.url("/lamp/stable.json");
    loop {
        let running = device.power_on().unwrap();
        let version = running.version().to_owned();
        let on_trial = matches!(running.boot, s3ota::Boot::Trial { .. });
        let crashes = RELEASES.contains(&(version.as_str(), true));
        if on_trial && crashes {
            continue;
        }
        let mut workspace = Box::new(Workspace::new());
        let config = Config {
            device_id: id,
            ..config(&url, &running, server, IMPATIENT)
        };
        let mut updater = device.updater(&running, config, &mut workspace);
        if on_trial {
            updater.prove().await.unwrap();
            assert!(updater.confirm().await.unwrap());
        }
        match updater.install(&mut ()).await {
            Ok(Outcome::Installed(_)) => {}
            Ok(Outcome::NoUpdate(reason)) => {
                assert_ne!(reason, NoUpdate::Vetoed);
                return version;
            }
            Err(error) => panic!("{id}: {error}"),
        }
    }
}

#[tokio::test]
async fn real_devices_run_and_say_what_the_model_says() {
    let today = Arc::new(Mutex::new(0));
    let day = Arc::clone(&today);
    let server = Server::start(move |request, port| {
        let day = *day.lock().unwrap();
        match request.path.as_str() {
            "/lamp/stable.json" => Reply::Send(ok(&manifest(day, port))),
            path => match RELEASES
                .iter()
                .find(|it| path.strip_prefix('/') == Some(it.0))
            {
                None => Reply::Send(status("404 Not Found", "")),
                Some((version, _)) => Reply::Send(image(version, request.field("Range"))),
            },
        }
    })
    .await;
    let ids = ids();
    let mut devices: Vec<VirtualDevice> = ids.iter().map(|_| device("1.0.0")).collect();
    let mut seen = Vec::new();
    for day in 0..CHANGES.len() {
        *today.lock().unwrap() = day;
        let mut real = BTreeMap::new();
        for (device, id) in devices.iter_mut().zip(&ids) {
            real.insert(id.clone(), settle(device, id, &server).await);
        }
        let said = said(&server);
        assert!(said.iter().all(|(id, it)| real.get(id) == Some(&it.0)));
        assert_eq!(said, modelled(day + 1), "on day {day}");
        let newest = RELEASES[CHANGES[day].0].0;
        seen.push(real.values().filter(|it| *it == newest).count());
    }
    // A rollout is a part of the devices, more of them each time; a release that crashes stays on none.
    assert_eq!((seen[0], seen[1]), (20, 0));
    assert!(0 < seen[2] && seen[2] < seen[3] && seen[3] < 20, "{seen:?}");
    assert_eq!((seen[4], seen[5]), (0, 0));
    assert_eq!((seen[6], seen[8]), (20, 20));
    assert!(0 < seen[7] && seen[7] < 20, "{seen:?}");
}

/// An image, or the end of it.
fn image(version: &str, range: Option<&str>) -> Vec<u8> {
    let image = firmware(version);
    let from = range.and_then(|it| it.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let Some(from) = from else {
        return ok(&image);
    };
    let part: &[u8] = &image[from..];
    let mut answer = format!(
        "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{}\r\n\r\n",
        part.len(),
        image.len() - 1,
        image.len()
    )
    .into_bytes();
    answer.extend(part);
    answer
}
