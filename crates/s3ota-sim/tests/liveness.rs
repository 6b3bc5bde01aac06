//! Nothing waits for ever: whatever the network does or leaves undone, an update ends by its deadline.
//!
//! Time is the test's own (tokio's paused clock), so the waits are exact and cost nothing.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use s3ota::{Agent, Boot, Hooks, Schedule, Timeouts, Updater, Workspace};
use s3ota_sim::{Flash, VirtualDevice};
use scripted_server::Reply;
use scripted_server::bench::{Bench, NEW, OLD, image, timeouts};
use scripted_server::bucket::{Bucket, Object, faulty};
use scripted_server::network::{Ending, Fault, Network, PORT, Way, identity};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

fn second(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A release with a small image.
fn release() -> Bucket {
    Bucket::hashed(NEW, image(NEW, 8_000), PORT)
}

/// Updates over a network that does not let it. Returns the code of the error, and how long it took.
async fn held_up(network: &Network, timeouts: Timeouts) -> (&'static str, Duration) {
    let mut bench = Bench::new();
    let attempt = bench.update(network, timeouts).await;
    bench.unharmed().unwrap();
    let next = Network::new(faulty(release(), Vec::new()));
    let then = bench.update(&next, timeouts).await;
    assert_eq!(then.verdict(), "updated", "{:?}", then.outcome);
    (attempt.verdict(), attempt.took)
}

const FOR_EVER: [(&str, Fault, &str); 6] = [
    ("resolving", Fault::ResolvesForever, "net.dns"),
    ("connecting", Fault::ConnectsForever, "net.connect"),
    ("writing", Fault::NeverReads, "net.io"),
    (
        "reading",
        Fault::Cut(Way::ToDevice, 0, Ending::Silence),
        "net.io",
    ),
    (
        "reading in the handshake",
        Fault::Cut(Way::ToDevice, 400, Ending::Silence),
        "net.io",
    ),
    (
        "reading in the manifest",
        Fault::Cut(Way::ToDevice, 1000, Ending::Silence),
        "net.io",
    ),
];

#[tokio::test(start_paused = true)]
async fn a_network_that_never_returns_is_given_up_after_the_longest_silence() {
    for (what, fault, code) in FOR_EVER {
        let network = Network::new(faulty(release(), Vec::new())).with_faults(move |_| Some(fault));
        let once = Timeouts {
            attempts: 1,
            ..timeouts()
        };
        let (ended, took) = held_up(&network, once).await;
        assert_eq!(
            (ended, took.as_secs()),
            (code, 20),
            "{what} for ever: {took:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_without_number_end_at_the_deadline_to_the_second() {
    for (what, fault, _) in FOR_EVER {
        let network = Network::new(faulty(release(), Vec::new())).with_faults(move |_| Some(fault));
        let stubborn = Timeouts {
            attempts: u8::MAX,
            longest_pause: second(1),
            ..timeouts()
        };
        let (_, took) = held_up(&network, stubborn).await;
        // A pause that would outlast the deadline is not begun.
        let left = stubborn.deadline - took;
        assert!(
            left <= second(1),
            "{what} for ever: ended {left:?} before the deadline"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_within_a_silence_cuts_the_silence_short() {
    for (what, fault, _) in FOR_EVER {
        let network = Network::new(faulty(release(), Vec::new())).with_faults(move |_| Some(fault));
        let short = Timeouts {
            deadline: second(7),
            ..timeouts()
        };
        let (code, took) = held_up(&network, short).await;
        assert_eq!(
            (code, took),
            ("update.deadline", second(7)),
            "{what} for ever"
        );
    }
}

/// Sends the bytes over and over, for as long as the other side is there.
async fn without_end(mut socket: DuplexStream, bytes: &'static [u8]) {
    while socket.write_all(bytes).await.is_ok() {}
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_records_without_end_does_not_hold_a_device() {
    let records: [(&str, &str, &[u8]); 8] = [
        (
            "change_cipher_spec",
            "tls.record",
            b"\x14\x03\x03\x00\x01\x01",
        ),
        ("warnings", "tls.handshake", b"\x15\x03\x03\x00\x02\x01\x5a"),
        (
            "empty handshake records",
            "tls.record",
            b"\x16\x03\x03\x00\x00",
        ),
        (
            "hello requests",
            "tls.handshake",
            b"\x16\x03\x03\x00\x04\x00\x00\x00\x00",
        ),
        ("empty data records", "tls.record", b"\x17\x03\x03\x00\x00"),
        ("heartbeats", "tls.handshake", b"\x18\x03\x03\x00\x01\x00"),
        (
            "no records at all",
            "tls.handshake",
            b"SSH-2.0-OpenSSH_9.6\r\n",
        ),
        ("zeros", "tls.handshake", &[0; 512]),
    ];
    for (what, expected, record) in records {
        // A few bytes a second: never silent.
        let network = Network::of_peers(move |socket, _| without_end(socket, record))
            .with_faults(|_| Some(Fault::Pace(64, second(1))));
        let (code, _) = held_up(&network, timeouts()).await;
        assert_eq!(code, expected, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_never_becomes_whole_is_given_up_at_the_deadline() {
    // A ServerHello that is in order, with the generator of P-256 as its key, then the longest record there may be.
    const HELLO: &[u8] = b"\x16\x03\x03\x00\x7b\x02\x00\x00\x77\x03\x03\
        any 32 bytes will do as a random\
        \x00\x13\x01\x00\x00\x4f\x00\x2b\x00\x02\x03\x04\x00\x33\x00\x45\x00\x17\x00\x41\x04\
        \x6b\x17\xd1\xf2\xe1\x2c\x42\x47\xf8\xbc\xe6\xe5\x63\xa4\x40\xf2\
        \x77\x03\x7d\x81\x2d\xeb\x33\xa0\xf4\xa1\x39\x45\xd8\x98\xc2\x96\
        \x4f\xe3\x42\xe2\xfe\x1a\x7f\x9b\x8e\xe7\xeb\x4a\x7c\x0f\x9e\x16\
        \x2b\xce\x33\x57\x6b\x31\x5e\xce\xcb\xb6\x40\x68\x37\xbf\x51\xf5";
    let network = Network::of_peers(async |mut socket: DuplexStream, _| {
        let _ = socket.write_all(HELLO).await;
        let _ = socket.write_all(b"\x17\x03\x03\x41\x00").await;
        without_end(socket, b"\0").await;
    })
    .with_faults(|_| Some(Fault::Pace(1, second(1))));
    assert_eq!(
        held_up(&network, timeouts()).await,
        ("update.deadline", timeouts().deadline)
    );
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_session_tickets_is_refused() {
    // Half a megabyte, in full records.
    let mut config = (*identity().config).clone();
    config.send_tls13_tickets = 2000;
    let config = Arc::new(config);
    let network = Network::of_peers(move |socket, _| {
        let acceptor = TlsAcceptor::from(config.clone());
        async move {
            if let Ok(mut stream) = acceptor.accept(socket).await {
                let _ = stream.flush().await;
                pending::<()>().await;
            }
        }
    })
    .with_faults(|_| Some(Fault::Pace(100, second(1))));
    let once = Timeouts {
        attempts: 1,
        ..timeouts()
    };
    let (code, took) = held_up(&network, once).await;
    assert_eq!(code, "tls.record");
    assert!(took < once.deadline, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn interim_answers_without_end_are_given_up_at_the_deadline() {
    let network = Network::new(|_, _| {
        Reply::Endless(Vec::new(), b"HTTP/1.1 102 Processing\r\n\r\n".to_vec())
    })
    .with_faults(|_| Some(Fault::Pace(200, second(1))));
    assert_eq!(
        held_up(&network, timeouts()).await,
        ("update.deadline", timeouts().deadline)
    );
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_after_the_handshake_is_given_up() {
    let network = Network::of_peers(async |socket, _| {
        let acceptor = TlsAcceptor::from(identity().config.clone());
        let stream = acceptor.accept(socket).await;
        pending::<()>().await;
        drop(stream);
    });
    let once = Timeouts {
        attempts: 1,
        ..timeouts()
    };
    assert_eq!(held_up(&network, once).await, ("net.io", once.idle));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_the_request_a_byte_at_a_time_is_given_up_at_the_deadline() {
    let network = Network::of_peers(async |mut socket: DuplexStream, _| {
        while socket.read_u8().await.is_ok() {
            tokio::time::sleep(second(10)).await;
        }
    })
    .with_faults(|_| Some(Fault::Pace(1, second(10))));
    assert_eq!(
        held_up(&network, timeouts()).await,
        ("update.deadline", timeouts().deadline)
    );
}

#[tokio::test(start_paused = true)]
async fn a_check_ends_by_the_deadline_too() {
    for (what, fault, _) in FOR_EVER {
        let network = Network::new(faulty(release(), Vec::new())).with_faults(move |_| Some(fault));
        let bench = Bench::new();
        let (flash, running) = bench.flash();
        let mut flash = Flash::in_memory(flash.to_vec());
        let mut workspace = Box::new(Workspace::new());
        let config = network.config(OLD, timeouts());
        let mut updater = Updater::new(config, network.device(&mut flash, running), &mut workspace);
        let start = Instant::now();
        let checked = timeout(second(3600), updater.check()).await;
        assert!(
            matches!(checked, Ok(Err(_))),
            "{what} for ever: {checked:?}"
        );
        assert_eq!(start.elapsed().as_secs(), 20, "{what} for ever");
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_that_was_cut_off_for_a_week_updates_once_the_line_is_back() {
    const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
    let start = Instant::now();
    // A line that fails in another way each time.
    let network = Network::new(faulty(release(), Vec::new())).with_faults(move |connection| {
        let (_, fault, _) = FOR_EVER[connection % FOR_EVER.len()];
        (start.elapsed() < WEEK).then_some(fault)
    });
    let bench = Bench::new();
    let (flash, running) = bench.flash();
    let mut flash = Flash::in_memory(flash.to_vec());
    let mut workspace = Box::new(Workspace::new());
    let config = network.config(OLD, Timeouts::default());
    let updater = Updater::new(config, network.device(&mut flash, running), &mut workspace);
    let schedule = Schedule::default();
    let mut agent = Agent::new(updater, schedule);
    let installed = timeout(2 * WEEK, agent.run(&mut (), pending)).await;
    let installed = installed.expect("an agent that goes on looking");
    assert_eq!(installed.version, NEW);
    let late = start.elapsed() - WEEK;
    let longest = schedule.every + schedule.every * u32::from(schedule.jitter_percent) / 100;
    assert!(late <= longest + Timeouts::default().deadline, "{late:?}");
    let after = network.requests();
    let images = after
        .iter()
        .filter(|request| Object::of(request) == Object::Image);
    assert_eq!(images.count(), 1);
}

/// When the trial was over.
#[derive(Default)]
struct Confirmed(Option<Instant>);

impl Hooks for Confirmed {
    fn on_confirm(&mut self) {
        self.0 = Some(Instant::now());
    }
}

#[tokio::test(start_paused = true)]
async fn a_trial_outlasts_a_line_that_fails_for_some_minutes() {
    // On the chip a watchdog ends each boot of a firmware on trial after this time.
    const WATCHDOG: Duration = Duration::from_secs(15 * 60);
    let honest = Network::new(faulty(release(), Vec::new()));
    let mut bench = Bench::new();
    assert_eq!(bench.update(&honest, timeouts()).await.verdict(), "updated");
    let mut device = VirtualDevice::new(Flash::in_memory(bench.flash().0.to_vec()));
    let running = device.power_on().unwrap();
    assert_eq!(
        (running.version(), running.boot),
        (NEW, Boot::Trial { boot: 1, of: 3 })
    );

    let start = Instant::now();
    let network = Network::new(faulty(release(), Vec::new())).with_faults(move |connection| {
        let (_, fault, _) = FOR_EVER[connection % FOR_EVER.len()];
        (start.elapsed() < second(8 * 60)).then_some(fault)
    });
    let mut flash = Flash::in_memory(device.flash().bytes().to_vec());
    let mut workspace = Box::new(Workspace::new());
    let config = network.config(NEW, Timeouts::default());
    let parts = network.device(&mut flash, running.app.partition.offset);
    let mut agent = Agent::new(
        Updater::new(config, parts, &mut workspace),
        Schedule::default(),
    );
    let mut hooks = Confirmed::default();
    let _ = timeout(WATCHDOG, agent.run(&mut hooks, pending)).await;
    let Confirmed(at) = hooks;
    let at = at.expect("a trial that is over") - start;
    assert!(at >= second(8 * 60), "{at:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stalls_for_ten_minutes_costs_minutes() {
    let stalls = second(600);
    let began = Instant::now();
    let image = image(NEW, 60_000);
    let network = Network::new(faulty(Bucket::hashed(NEW, image, PORT), Vec::new()));
    let network = network.with_faults(move |connection| match connection {
        // Half of the image arrives, and then nothing more until the server is well again.
        0 => Some(Fault::Cut(Way::ToDevice, 30_000, Ending::Silence)),
        _ if began.elapsed() < stalls => Some(Fault::Cut(Way::ToDevice, 0, Ending::Silence)),
        _ => None,
    });
    let bench = Bench::new();
    let (flash, running) = bench.flash();
    let mut flash = Flash::in_memory(flash.to_vec());
    let mut workspace = Box::new(Workspace::new());
    let config = network.config(OLD, Timeouts::default());
    let updater = Updater::new(config, network.device(&mut flash, running), &mut workspace);
    let mut agent = Agent::new(updater, Schedule::default());
    let installed = agent.run(&mut (), pending).await;
    assert_eq!(installed.version.as_str(), NEW);
    let took = began.elapsed();
    assert!(took < second(20 * 60), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_firmware_on_trial_looks_at_once() {
    let mut bench = Bench::new();
    let network = Network::new(faulty(release(), Vec::new()));
    assert_eq!(
        bench.update(&network, timeouts()).await.verdict(),
        "updated"
    );
    let mut device = VirtualDevice::new(Flash::in_memory(bench.flash().0.to_vec()));
    let running = device.power_on().unwrap();
    assert!(matches!(running.boot, Boot::Trial { .. }));
    let mut flash = Flash::in_memory(device.flash().bytes().to_vec());
    let parts = network.device(&mut flash, running.app.partition.offset);
    let mut workspace = Box::new(Workspace::new());
    let updater = Updater::new(network.config(NEW, timeouts()), parts, &mut workspace);
    let schedule = Schedule {
        first: second(3600),
        ..Schedule::default()
    };
    let mut agent = Agent::new(updater, schedule);
    let _ = timeout(second(5), agent.run(&mut (), pending)).await;
    assert_eq!(agent.updater().is_on_trial().await, Ok(false));
}
