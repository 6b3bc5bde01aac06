//! A device's life, from `s3ota serve`: updates, trials, confirmation, rollback, and power cuts.

use c_device::{Device, Serving, firmware};
use s3ota_sim::Bootloader;

use crate::device;

/// A device that runs 1.0.0, a server that it trusts, and its URL.
fn lamp(server: &Serving) -> Device {
    Device::new(device(), "1.0.0")
        .with_file("root", &server.ca())
        .set(&format!("url={}", server.manifest_url()))
}

/// Boots, and installs what is there.
fn update(lamp: &mut Device) {
    let said = lamp.run(&["guard", "init", "update"]);
    assert_eq!(said.of("update"), "installed");
}

#[test]
fn update_trial_and_confirmation() {
    let server = Serving::start();
    server.publish(&firmware("1.1.0"), &[]);
    let mut lamp = lamp(&server);
    let said = lamp.run(&["guard", "init", "check", "update", "tally", "text"]);
    assert_eq!(said.of("guard"), "confirmed 0/0");
    assert_eq!(said.of("check"), "available");
    assert_eq!(said.of("available"), "1.1.0");
    assert_eq!(said.of("update"), "installed");
    assert_eq!(said.of("hook start"), "1.1.0 100000");
    assert_eq!(said.of("hook complete"), "1.1.0");
    assert_eq!(said.of("text"), "");
    assert_eq!(said.number("writes", "open"), 0);

    let (version, said) = lamp.boot(&["guard", "init", "is_on_trial", "install", "update"]);
    assert_eq!(version, "1.1.0");
    assert_eq!(said.of("guard"), "on_trial 1/3");
    assert_eq!(said.of("is_on_trial"), "on_trial");
    assert_eq!(said.of("install"), "update.trial");
    assert!(said.has("hook confirmed"));
    assert_eq!(said.of("update"), "up_to_date");
    let said = lamp.run(&["guard", "init", "is_on_trial", "confirm"]);
    assert_eq!(said.of("guard"), "confirmed 0/0");
    assert_eq!(said.of("is_on_trial"), "confirmed");
    assert_eq!(said.of("confirm"), "confirmed");
}

#[test]
fn a_trial_that_nobody_confirms_ends_with_the_old_firmware() {
    let server = Serving::start();
    server.publish(&firmware("1.1.0"), &[]);
    let mut lamp = lamp(&server);
    update(&mut lamp);
    for boot in 1..=3 {
        let (version, said) = lamp.boot(&["guard"]);
        assert_eq!(
            (&*version, said.of("guard")),
            ("1.1.0", &*format!("on_trial {boot}/3"))
        );
    }
    assert_eq!(lamp.run(&["guard"]).of("guard"), "given_up 0/0");
    let (version, said) = lamp.boot(&["guard", "init", "update"]);
    assert_eq!((&*version, said.of("guard")), ("1.0.0", "confirmed 0/0"));
    assert_eq!(said.of("update"), "failed_before");
}

#[test]
fn starts_that_say_nothing_against_the_firmware_do_not_count() {
    let server = Serving::start();
    server.publish(&firmware("1.1.0"), &[]);
    let mut lamp = lamp(&server);
    update(&mut lamp);
    for reset in ["reset=1", "reset=2", "reset=1", "reset=1", "reset=2"] {
        let said = lamp.run(&[reset, "guard"]);
        assert_eq!(said.of("guard"), "on_trial 1/3");
    }
    let said = lamp.run(&["trial_boots=1", "guard", "init", "confirm"]);
    assert_eq!(said.of("guard"), "on_trial 1/1");
    assert_eq!(said.of("confirm"), "ok");
}

#[test]
fn a_bootloader_with_app_rollback() {
    let server = Serving::start();
    server.publish(&firmware("1.1.0"), &[]);
    let mut lamp = lamp(&server).with_bootloader(Bootloader { app_rollback: true });
    update(&mut lamp);
    assert_eq!(lamp.run(&["guard"]).of("guard"), "on_trial 1/3");
    // It was not confirmed: the bootloader gives it up by itself.
    assert_eq!(lamp.version(), "1.0.0");
    server.publish(&firmware("1.2.0"), &[]);
    update(&mut lamp);
    assert_eq!(lamp.run(&["guard", "init", "confirm"]).of("confirm"), "ok");
    assert_eq!(lamp.version(), "1.2.0");
}

#[test]
fn rolling_back_by_hand() {
    let server = Serving::start();
    server.publish(&firmware("1.1.0"), &[]);
    let mut lamp = lamp(&server);
    update(&mut lamp);
    assert_eq!(lamp.run(&["guard", "init", "confirm"]).of("confirm"), "ok");
    assert_eq!(
        lamp.run(&["guard", "init", "roll_back"]).of("roll_back"),
        "ok"
    );
    let (version, said) = lamp.boot(&["guard", "init", "update"]);
    assert_eq!((&*version, said.of("update")), ("1.0.0", "failed_before"));
}

#[test]
fn a_trial_boot_that_ends_in_order_does_not_speak_against_the_firmware() {
    let server = Serving::start();
    server.publish(&firmware("1.1.0"), &[]);
    let mut lamp = lamp(&server);
    update(&mut lamp);
    for _ in 0..3 {
        let said = lamp.run(&["guard", "init", "end_trial_boot"]);
        assert_eq!(said.of("end_trial_boot"), "ok");
    }
    assert_eq!(lamp.run(&["guard"]).of("guard"), "given_up 0/0");
    // Given up, but tried again later: it rests.
    assert_eq!(
        lamp.run(&["guard", "init", "update"]).of("update"),
        "resting"
    );
}

#[test]
fn an_update_that_was_cut_off_is_resumed() {
    let server = Serving::start();
    server.publish(&firmware("1.1.0"), &[]);
    let mut lamp = lamp(&server);
    let mut cuts = 0;
    // Some writes come before the image, in each start.
    for write in [14, 12, 16, 13] {
        let (_, said) = lamp.boot(&[&format!("dies_at_write={write}"), "guard", "init", "update"]);
        match said.code {
            Some(9) => cuts += 1,
            _ => panic!("{said:#?}"),
        }
    }
    let said = lamp.run(&["guard", "init", "update", "tally"]);
    assert_eq!(said.of("update"), "installed");
    let progress = said.number("hook progress", "progress");
    assert!(
        progress > 40_000,
        "{progress} bytes were on flash after {cuts} cuts"
    );
    assert_eq!(lamp.version(), "1.1.0");
}

#[test]
fn signed_releases_and_no_others() {
    let server = Serving::start();
    server.s3ota(&["keygen", "--no-passphrase", "release.key"]);
    server.s3ota(&["keygen", "--no-passphrase", "other.key"]);
    let mut lamp = lamp(&server)
        .with_file("key", &server.file("other.key.pub"))
        .with_file("key", &server.file("release.key.pub"));
    server.publish(&firmware("1.1.0"), &["--key", "release.key"]);
    update(&mut lamp);
    assert_eq!(
        lamp.run(&["guard", "init", "update"]).of("update"),
        "up_to_date"
    );
    assert_eq!(lamp.version(), "1.1.0");

    let mut stranger = self::lamp(&server).with_file("key", &server.file("other.key.pub"));
    let said = stranger.run(&["guard", "init", "update", "text"]);
    assert_eq!(said.of("update"), "release.signature");
    assert!(
        said.of("hook error release.signature")
            .starts_with("final: "),
        "{said:#?}"
    );
    assert!(said.of("text").contains("does not trust"), "{said:#?}");
}

#[test]
fn over_ipv6() {
    let server = Serving::listen("[::1]:0");
    server.publish(&firmware("1.1.0"), &[]);
    let mut lamp = lamp(&server).set("only_ipv6=1");
    update(&mut lamp);
    assert_eq!(lamp.version(), "1.1.0");
}

#[test]
fn in_turns_of_one_operation() {
    let server = Serving::start();
    server.publish(&firmware("1.1.0"), &[]);
    let mut lamp = lamp(&server).set("first_ms=1");
    let said = lamp.run(&["guard", "init", "poll=0", "tally"]);
    assert_eq!(said.of("poll"), "installed");
    assert_eq!(said.of("hook before_restart"), "installed");
    assert!(said.number("turns", "turns") > 100, "{said:#?}");
    assert_eq!(said.number("writes", "open"), 0);
    assert_eq!(lamp.version(), "1.1.0");
}
