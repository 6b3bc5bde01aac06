//! The agent's loop: its schedule, calls in between, cancellation.

use c_device::{Device, firmware, offer};
use s3ota_manifest::user_agent::{State, UserAgent, hashed_id};
use scripted_server::{Reply, Request, Server};

use crate::device;

fn lamp(server: &Server) -> Device {
    Device::new(device(), "1.0.0")
        .with_file("root", &server.ca)
        .set(&format!("url={}", server.url("/stable.json")))
}

async fn serving(version: &'static str) -> Server {
    offer(version, &firmware(version), &[]).serve().await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_checks_after_boot_installs_and_confirms() {
    let server = serving("1.1.0").await;
    let mut lamp = lamp(&server).set("first_ms=50");
    let said = lamp.run(&["guard", "init", "took", "run", "run"]);
    let results: Vec<_> = said
        .lines
        .iter()
        .filter(|it| it.starts_with("run "))
        .collect();
    assert_eq!(results, ["run installed", "run installed"]);
    // Told once, however often it is asked.
    assert_eq!(said.of("hook before_restart"), "installed");
    assert!(said.number("ms", "ms") >= 50);
    // On trial it checks at once, confirms, and waits for the next check.
    let said = lamp.run(&["guard", "init", "budget=20", "turns=2000", "is_on_trial"]);
    assert!(said.has("hook confirmed"), "{said:#?}");
    assert!(said.has("hook no_update up_to_date"), "{said:#?}");
    assert_eq!(said.of("poll"), "waiting");
    assert!(said.number("turns", "idle") > 3_000_000, "{said:#?}");
    assert_eq!(said.of("is_on_trial"), "confirmed");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_between_two_checks_leave_the_schedule_alone() {
    let server = serving("1.0.0").await;
    let mut lamp = lamp(&server).set("first_ms=1000000");
    let said = lamp.run(&[
        "guard",
        "init",
        "turns=3",
        "check",
        "is_on_trial",
        "wear",
        "turns=3",
        "check_now",
        "budget=20",
        "turns=2000",
    ]);
    let idle: Vec<u64> = said
        .lines
        .iter()
        .filter_map(|line| {
            line.strip_prefix("turns ")?
                .rsplit(' ')
                .next()?
                .parse()
                .ok()
        })
        .collect();
    // The first check comes after 1,000 s, and up to as much more.
    assert!((900_000..=2_000_000).contains(&idle[0]), "{idle:?}");
    // The call in between took its time, and no more than that is missing.
    assert!(idle[1] <= idle[0] && idle[0] - idle[1] < 10_000, "{idle:?}");
    assert_eq!(said.of("check"), "up_to_date");
    // And after check_now the next one comes after an hour.
    assert!(said.has("hook no_update up_to_date"), "{said:#?}");
    assert!(idle[2] > 3_000_000, "{idle:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_in_the_middle_of_an_update_are_refused() {
    let server = serving("1.1.0").await;
    let mut lamp = lamp(&server).set("first_ms=1");
    let said = lamp.run(&[
        "init", "turns=40", "check", "install", "confirm", "wear", "poll=10",
    ]);
    assert_eq!(said.of("check"), "busy");
    assert_eq!(said.of("install"), "busy");
    assert_eq!(said.of("confirm"), "busy");
    assert_eq!(said.of("wear"), "busy");
    assert!(said.has("poll installed"), "{said:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_from_a_callback_are_refused() {
    let server = serving("1.1.0").await;
    let said = lamp(&server).run(&["calls_back=1", "init", "update"]);
    for call in [
        "check",
        "install_from",
        "poll",
        "run",
        "confirm",
        "wear",
        "deinit",
    ] {
        assert_eq!(said.of(&format!("nested {call}")), "busy");
    }
    assert_eq!(said.of("nested text"), "0");
    assert_eq!(said.of("update"), "installed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cancelled_goes_on_later() {
    let server = serving("1.1.0").await;
    let mut lamp = lamp(&server);
    let said = lamp.run(&[
        "cancels=1",
        "init",
        "install",
        "tally",
        "cancels=0",
        "install",
        "tally",
    ]);
    let installs: Vec<_> = said
        .lines
        .iter()
        .filter(|it| it.starts_with("install "))
        .collect();
    assert_eq!(installs, ["install cancelled", "install installed"]);
    assert!(said.has("hook stop"));
    assert!(
        said.lines
            .iter()
            .filter(|it| it.starts_with("writes "))
            .all(|it| it.contains(" open 0 "))
    );
    // Cancelled from the agent's loop, too; and the next poll goes on with the schedule.
    let mut lamp = self::lamp(&server).set("first_ms=1");
    let said = lamp.run(&[
        "cancels=1",
        "init",
        "poll=5",
        "cancels=0",
        "turns=1",
        "tally",
    ]);
    assert!(
        said.has("poll cancelled") && said.has("hook stop"),
        "{said:#?}"
    );
    assert!(said.has("poll waiting"), "{said:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_that_does_not_reach_its_server_is_over_in_time() {
    let server = serving("1.1.0").await;
    let mut lamp = lamp(&server);
    assert_eq!(lamp.run(&["init", "update"]).of("update"), "installed");
    let said = lamp.run(&[
        "guard",
        "offline_ms=60000",
        "trial_time_ms=500",
        "init",
        "took",
        "run",
    ]);
    assert_eq!(said.of("run"), "trial_over");
    assert_eq!(said.of("hook before_restart"), "trial_over");
    let took = said.number("ms", "ms");
    assert!((400..5_000).contains(&took), "{took} ms");
    // By the application nothing is confirmed and nothing is installed.
    let said = lamp.run(&["guard", "confirm=1", "init", "update", "confirm"]);
    assert_eq!((said.of("update"), said.of("confirm")), ("on_trial", "ok"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_application_may_say_no() {
    let server = serving("1.1.0").await;
    let said = lamp(&server).run(&["vetoes=1", "init", "install", "vetoes=0", "install"]);
    let installs: Vec<_> = said
        .lines
        .iter()
        .filter(|it| it.starts_with("install "))
        .collect();
    assert_eq!(installs, ["install vetoed", "install installed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn log_lines_come_where_they_are_wanted() {
    let server = serving("1.1.0").await;
    let said = lamp(&server).run(&["log", "init", "install"]);
    assert!(said.has("log ok"), "{said:#?}");
    // Errors, warnings and events, but no details.
    let is_line = |it: &&String| {
        it.strip_prefix("log 3 ")
            .is_some_and(|line| line.len() > 10)
    };
    assert!(said.lines.iter().any(|line| is_line(&line)), "{said:#?}");
    assert!(!said.has("log 4 "), "{said:#?}");
    assert!(!lamp(&server).run(&["init", "install"]).has("log "));
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_go_to_the_server() {
    let release = offer("1.1.0", &firmware("1.1.0"), &[]);
    let server =
        Server::start(
            move |request: &Request, port| match request.field("Authorization") {
                Some("Bearer secret") => release.answer(request, port),
                _ => Reply::Send(scripted_server::status("403 Forbidden", "")),
            },
        )
        .await;
    let mut lamp = lamp(&server);
    let said = lamp.run(&[
        "header_name=Authorization",
        "header_value=Bearer secret",
        "init",
        "install",
    ]);
    assert_eq!(said.of("install"), "installed");
    let said = self::lamp(&server).run(&["init", "install"]);
    assert_eq!(said.of("install"), "http.status");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_agent_tells_who_asks_and_how_it_went() {
    let hash = hashed_id(b"the owner's key", b"device-1");
    for (setting, device) in [
        ("version=1.0.0", Some("device-1")),
        ("id_key=the owner's key", Some(hash.as_str())),
        ("hide_device_id=1", None),
    ] {
        // There is no manifest.
        let server = Server::start(|_: &Request, _| {
            Reply::Send(scripted_server::status("404 Not Found", ""))
        })
        .await;
        let said = lamp(&server).run(&[setting, "init", "install", "install", "check", "install"]);
        let installs = said.lines.iter().filter(|it| it.starts_with("install "));
        assert_eq!(
            installs.filter(|it| *it == "install http.status").count(),
            3
        );
        let requests = server.requests();
        let agents: Vec<_> = requests
            .iter()
            .map(|it| it.field("User-Agent").unwrap())
            .collect();
        let last = UserAgent::parse(agents.last().unwrap()).unwrap();
        assert_eq!(last.device, device, "{agents:?}");
        assert_eq!(last.state, Some(State::Stuck("http.status")), "{agents:?}");
        assert_eq!(
            UserAgent::parse(agents[0]).unwrap().state,
            Some(State::Valid)
        );
    }
}
