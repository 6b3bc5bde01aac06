//! Limits on silence and on the whole time, over a port that blocks for as long as it may, and over one that never waits.
//!
//! The upper bounds on time are far above the limits, and far below what would come without them: other things run on this machine.

use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use c_device::{Device, firmware, offer};

use crate::device;

/// A device whose server takes connections, and says nothing.
fn lamp() -> Device {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let connections: Vec<_> = listener.incoming().take(20).collect();
        thread::sleep(Duration::from_secs(60));
        drop(connections);
    });
    Device::new(device(), "1.0.0").set(&format!("url=https://localhost:{port}/stable.json"))
}

/// The kinds of silence: a server's, a port that waits for all its time, and one that does not wait.
const SILENCES: [&str; 3] = ["is_deaf=0", "is_deaf=1", "is_mute=1"];

#[test]
fn silence_ends_an_attempt() {
    for silence in SILENCES {
        let said = lamp().run(&[silence, "idle_ms=700", "init", "took", "install", "tally"]);
        assert_eq!(said.of("install"), "net.io", "{silence}");
        let took = said.number("ms", "ms");
        assert!((700..5_000).contains(&took), "{silence}: {took} ms");
        // Nobody was asked again and again without a pause.
        let calls = said.number("writes", "calls");
        assert!(calls < 200, "{silence}: {calls} calls");
        assert_eq!(said.number("writes", "open"), 0);
    }
}

#[test]
fn the_deadline_is_for_all_attempts() {
    for silence in SILENCES {
        let mut lamp = lamp().set("attempts=50").set("first_pause_ms=10");
        let said = lamp.run(&[
            silence,
            "idle_ms=300",
            // In the third attempt, which begins after 630 ms: not in a pause.
            "deadline_ms=800",
            "init",
            "took",
            "install",
        ]);
        assert_eq!(said.of("install"), "update.deadline", "{silence}");
        let took = said.number("ms", "ms");
        assert!((700..5_000).contains(&took), "{silence}: {took} ms");
    }
}

#[test]
fn a_turn_is_no_longer_than_its_budget() {
    for silence in SILENCES {
        for budget in [0, 20] {
            let turns = format!("budget={budget}");
            let said = lamp().run(&[
                silence,
                "idle_ms=400",
                "first_ms=1",
                &turns,
                "init",
                "turns=300",
            ]);
            let longest = said.number("turns", "longest");
            assert!(
                longest <= budget + 200,
                "{silence}, {budget} ms: {longest} ms"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_is_held_against_the_date_where_there_is_one() {
    let server = offer("1.1.0", &firmware("1.1.0"), &[]).serve().await;
    let mut lamp = Device::new(device(), "1.0.0")
        .with_file("root", &server.ca)
        .set(&format!("url={}", server.url("/stable.json")));
    let said = lamp.run(&["has_no_date=1", "init", "install"]);
    assert_eq!(said.of("install"), "installed");
}
