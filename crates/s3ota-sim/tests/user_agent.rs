//! What a device tells of itself in each request: so the bucket's access log says who runs what, and how it goes.

use s3ota::manifest::user_agent::{Last, State, UserAgent, hashed_id};
use s3ota::{Chip, NoUpdate, Outcome, Reset, SendId, Updater, Wear, Workspace};
use s3ota_image::app::ImageBuilder;
use s3ota_sim::{Flash, Setup};
use scripted_server::bucket::Bucket;
use scripted_server::network::{Network, PORT};
use scripted_server::starts::{Device, LAUNCH, OTA_1, PLAIN, ROLLBACK, Runs, serving, unreachable};
use scripted_server::{IMPATIENT, Reply, firmware, ok, status};

/// The User-Agents that reached the server.
fn heard(network: &Network) -> Vec<String> {
    let requests = network.requests();
    let heard = requests.iter().map(|it| it.field("User-Agent").unwrap());
    heard.map(str::to_owned).collect()
}

/// The last of them.
fn last(network: &Network) -> String {
    heard(network).pop().expect("a request")
}

/// What the running firmware tells when it looks for an update, as after a restart.
async fn tells(device: &mut Device, runs: &Runs) -> String {
    let network = serving(&runs.version);
    let check = device.does(runs, &network, async |updater| updater.check().await);
    check.await.unwrap();
    last(&network)
}

/// The value of a field.
fn field<'a>(agent: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = agent.split(' ');
    fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
}

#[tokio::test(start_paused = true)]
async fn a_device_tells_of_its_trial_and_of_what_it_confirmed() {
    for (way, boot) in [
        (PLAIN, Some("plain")),
        (ROLLBACK, Some("rollback")),
        (LAUNCH, None),
    ] {
        let mut device = Device::new(way);
        let runs = device.starts(Reset::PowerOn).await;
        let old = tells(&mut device, &runs).await;
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            old,
            format!("s3ota/{version} dev=device-1 fw=1.0.0 chip=esp32c3 state=valid")
        );

        let (mut device, runs) = Device::on_trial(way).await;
        let first = tells(&mut device, &runs).await;
        assert_eq!(field(&first, "state"), Some("trial:1/3"), "{way:?}");
        assert_eq!(field(&first, "fw"), Some("1.1.0"));
        assert_eq!(field(&first, "boot"), boot, "{way:?}");
        assert_eq!(field(&first, "last"), None);
        if way == ROLLBACK {
            // It has but one boot.
            device.confirms(&runs).await;
            continue;
        }
        let runs = device.starts(Reset::Crash).await;
        let second = tells(&mut device, &runs).await;
        assert_eq!(field(&second, "state"), Some("trial:2/3"), "{way:?}");

        // Confirmed, it says so as long as it runs.
        let network = serving("1.1.0");
        let checks = device.does(&runs, &network, async |updater| {
            updater.prove().await?;
            updater.confirm().await?;
            updater.install(&mut ()).await?;
            updater.install(&mut ()).await
        });
        let nothing = Ok(Outcome::NoUpdate(NoUpdate::NotModified));
        assert_eq!(checks.await, nothing);
        let confirmed = last(&network);
        assert_eq!(field(&confirmed, "state"), Some("valid"), "{way:?}");
        assert_eq!(field(&confirmed, "last"), Some("ok@1.1.0"), "{way:?}");
        let runs = device.starts(Reset::PowerOn).await;
        let later = tells(&mut device, &runs).await;
        assert_eq!(
            (field(&later, "state"), field(&later, "last")),
            (Some("valid"), None)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_that_rolled_back_tells_from_what_until_it_has_another_release() {
    for way in [PLAIN, ROLLBACK, LAUNCH] {
        let (mut device, _) = Device::on_trial(way).await;
        let runs = loop {
            let runs = device.starts(Reset::Crash).await;
            if runs.version == "1.0.0" {
                break runs;
            }
        };
        for _ in 0..3 {
            let old = tells(&mut device, &runs).await;
            assert_eq!(field(&old, "state"), Some("back:1.1.0"), "{way:?}");
            assert_eq!(field(&old, "fw"), Some("1.0.0"));
        }
        let runs = device.starts(Reset::PowerOn).await;
        let old = tells(&mut device, &runs).await;
        assert_eq!(field(&old, "state"), Some("back:1.1.0"), "{way:?}");

        // Another release, whose download breaks off: the slot holds nothing whole.
        let image = firmware("1.2.0");
        let bucket = Bucket::hashed("1.2.0", image, PORT);
        let broken = Network::new(move |request, _| {
            let answer = bucket.answer(request);
            match request.path.as_str() {
                "/manifest.json" => answer.into(),
                _ => {
                    let mut bytes = answer.bytes();
                    bytes.truncate(bytes.len() - 100);
                    Reply::SendAndClose(bytes, false)
                }
            }
        });
        let cut = device.does(&runs, &broken, async |updater| {
            updater.install(&mut ()).await
        });
        cut.await.unwrap_err();
        let half = tells(&mut device, &runs).await;
        assert_eq!(field(&half, "state"), Some("valid"), "{way:?}");

        let outcome = device.installs(&runs, "1.2.0").await;
        assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
        let runs = device.starts(Reset::Crash).await;
        device.confirms(&runs).await;
        let new = tells(&mut device, &runs).await;
        assert_eq!(field(&new, "state"), Some("valid"), "{way:?}");
        assert_eq!(field(&new, "fw"), Some("1.2.0"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_that_the_application_gave_up_is_told_too() {
    let (mut device, runs) = Device::on_trial(PLAIN).await;
    device.confirms(&runs).await;
    let network = serving("1.1.0");
    let back = device.does(&runs, &network, async |updater| updater.roll_back().await);
    back.await.unwrap();
    let runs = device.starts(Reset::Crash).await;
    assert_eq!(runs.version, "1.0.0");
    let old = tells(&mut device, &runs).await;
    assert_eq!(field(&old, "state"), Some("back:1.1.0"));
}

#[tokio::test(start_paused = true)]
async fn a_device_tells_the_error_that_it_ended_in_and_with_which_release() {
    let mut device = Device::new(PLAIN);
    let runs = device.starts(Reset::PowerOn).await;

    // The image is another one than the manifest says, and later all is well.
    let good = Bucket::hashed("1.1.0", firmware("1.1.0"), PORT);
    let bad = Bucket {
        image: firmware("1.1.1"),
        ..good.clone()
    };
    let spoilt = std::sync::atomic::AtomicBool::new(true);
    let network = Network::new(move |request, _| {
        let is_bad = spoilt.load(std::sync::atomic::Ordering::Relaxed);
        if is_bad && request.path != "/manifest.json" {
            spoilt.store(false, std::sync::atomic::Ordering::Relaxed);
            return bad.answer(request).into();
        }
        good.answer(request).into()
    });
    let both = device.does(&runs, &network, async |updater| {
        let error = updater.install(&mut ()).await.unwrap_err();
        let again = updater.install(&mut ()).await;
        (error, again)
    });
    let (error, again) = both.await;
    assert!(matches!(again, Ok(Outcome::Installed(_))), "{again:?}");
    let heard = heard(&network);
    let told = format!("{}@1.1.0", error.code());
    let tail: Vec<_> = heard.iter().map(|agent| field(agent, "last")).collect();
    assert_eq!(tail, [None, None, Some(&*told), Some(&*told)]);
    assert!(heard.iter().all(|it| field(it, "state") == Some("valid")));
}

#[tokio::test(start_paused = true)]
async fn a_device_that_fails_three_times_in_a_row_is_stuck_until_it_succeeds() {
    let mut flash = Flash::in_memory(Setup::default().flash(&firmware("1.0.0")).unwrap());
    let answers = std::sync::Mutex::new(0);
    // The server is broken, for six requests.
    let network = Network::new(move |request, port| {
        let mut asked = answers.lock().unwrap();
        *asked += 1;
        match *asked {
            1 => Reply::Send(ok(b"not a manifest")),
            2..=6 => Reply::Send(status("403 Forbidden", "")),
            _ => Bucket::hashed("1.0.0", firmware("1.0.0"), port)
                .answer(request)
                .into(),
        }
    });
    let mut workspace = Box::new(Workspace::new());
    let mut updater = network.updater(&mut flash, 0x1_0000, "1.0.0", IMPATIENT, &mut workspace);
    for _ in 0..9 {
        let _ = updater.install(&mut ()).await;
    }
    let heard = heard(&network);
    let told: Vec<_> = heard
        .iter()
        .map(|agent| (field(agent, "state").unwrap(), field(agent, "last")))
        .collect();
    let http = Some("http.status");
    assert_eq!(
        told,
        [
            ("valid", None),
            ("valid", Some("manifest.invalid")),
            ("valid", http),
            ("valid", http),
            ("stuck:http.status", http),
            ("stuck:http.status", http),
            ("stuck:http.status", http),
            ("valid", None),
            ("valid", None),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_device_that_sleeps_between_checks_is_stuck_as_well() {
    let mut device = Device::new(PLAIN);
    let mut words = [0; Wear::WORDS];
    let mut states = Vec::new();
    for wake in 0..5 {
        let runs = device.starts(Reset::Wake).await;
        // The last time there is a server.
        let network = if wake < 4 {
            unreachable()
        } else {
            serving("1.0.0")
        };
        words = device.checks_once(&runs, &network, words).await;
        states.extend(heard(&network));
    }
    // Whoever cannot reach the server can tell it only afterwards.
    let agent = UserAgent::parse(&states[0]).unwrap();
    assert_eq!(states.len(), 1);
    assert_eq!(agent.state, Some(State::Stuck("net.connect")));
    let error = Last::Error {
        code: "net.connect",
        version: None,
    };
    assert_eq!(agent.last, Some(error));
    assert_eq!(
        words[Wear::A_DAY..],
        [0; Wear::WORDS - Wear::A_DAY],
        "it has recovered"
    );
}

#[tokio::test(start_paused = true)]
async fn whatever_is_kept_through_sleep_the_line_is_one_of_ours() {
    let mut device = Device::new(PLAIN);
    let runs = device.starts(Reset::PowerOn).await;
    for word in [u32::MAX, 0x0d0a_0d0a, 0x2020_2020, 0x2f22_5c00] {
        let network = serving("1.0.0");
        let check = device.does(&runs, &network, async |updater| {
            updater.set_wear(Wear::from_words([word; Wear::WORDS]));
            updater.check().await
        });
        check.await.unwrap();
        let agent = last(&network);
        let fits = |byte: u8| byte == b' ' || byte.is_ascii_graphic() && !b"\"\\".contains(&byte);
        assert!(agent.bytes().all(fits), "{agent:?}");
        let agent = UserAgent::parse(&agent).unwrap();
        assert_eq!(
            (agent.device, agent.firmware),
            (Some("device-1"), Some("1.0.0"))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn no_name_that_an_image_has_breaks_the_line() {
    let hostile = "1.1.0\"\r\nHost: x\\ dev=y";
    let mut device = Device::new(PLAIN);
    let runs = device.starts(Reset::PowerOn).await;
    device.installs(&runs, "1.1.0").await.unwrap();
    // Somebody has flashed another image where that was, by cable; and the trial fails.
    let image = ImageBuilder::new(Chip::Esp32C3, hostile)
        .project_name(hostile)
        .build();
    device.change(|flash| flash[OTA_1..][..image.len()].copy_from_slice(&image));
    let runs = loop {
        let runs = device.starts(Reset::Crash).await;
        if runs.version == "1.0.0" {
            break runs;
        }
    };
    let agent = tells(&mut device, &runs).await;
    assert_eq!(field(&agent, "state"), Some("back:1.1.0___Host:_x__dev=y"));
    assert_eq!(UserAgent::parse(&agent).unwrap().device, Some("device-1"));
}

#[tokio::test(start_paused = true)]
async fn an_owner_may_send_a_hash_of_the_id_or_none() {
    let hash = hashed_id(b"a key of the owner's", b"device-1");
    for (send, told) in [
        (SendId::Plain, Some("device-1")),
        (
            SendId::hashed(b"a key of the owner's", "device-1"),
            Some(hash.as_str()),
        ),
        (SendId::No, None),
    ] {
        let mut flash = Flash::in_memory(Setup::default().flash(&firmware("1.0.0")).unwrap());
        let network = serving("1.0.0");
        let mut workspace = Box::new(Workspace::new());
        let mut config = network.config("1.0.0", IMPATIENT);
        config.send_id = send;
        let parts = network.device(&mut flash, 0x1_0000);
        Updater::new(config, parts, &mut workspace)
            .check()
            .await
            .unwrap();
        let agent = last(&network);
        assert_eq!(UserAgent::parse(&agent).unwrap().device, told);
        assert!(
            told == Some("device-1") || !agent.contains("device-1"),
            "{agent}"
        );
    }
}
