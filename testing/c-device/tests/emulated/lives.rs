//! Whole updates over TLS, from `s3ota serve`.

use c_device::{Device, Program, Serving, firmware};

#[test]
fn as_riscv_code() {
    lives(&Program::on_riscv());
}

#[test]
fn as_xtensa_code() {
    lives(&Program::on_xtensa());
}

/// A device's life: an update that is cut off and resumed, a trial, a confirmation; a signed release; a release that fails.
fn lives(program: &Program) {
    let server = Serving::start();
    server.s3ota(&["keygen", "--no-passphrase", "release.key"]);
    server.publish(&firmware("1.1.0"), &["--key", "release.key"]);
    let mut lamp = Device::new(program, "1.0.0")
        .with_file("root", &server.ca())
        .with_file("key", &server.file("release.key.pub"))
        .set(&format!("url={}", server.manifest_url()));
    let (_, said) = lamp.boot(&["dies_at_write=14", "guard", "init", "update"]);
    assert_eq!(said.code, Some(9), "{said:#?}");
    let said = lamp.run(&["guard", "init", "update", "tally"]);
    assert_eq!(said.of("guard"), "confirmed 0/0");
    assert_eq!(said.of("update"), "installed", "{said:#?}");
    assert_eq!(said.number("writes", "open"), 0);

    let (version, said) = lamp.boot(&[
        "guard",
        "init",
        "first_ms=1",
        "update",
        "budget=20",
        "turns=2",
    ]);
    assert_eq!((&*version, said.of("guard")), ("1.1.0", "on_trial 1/3"));
    assert!(said.has("hook confirmed"), "{said:#?}");
    assert_eq!(said.of("update"), "up_to_date");

    // A release that nobody confirms, and one that is not signed by the owner.
    server.publish(&firmware("1.2.0"), &["--key", "release.key"]);
    assert_eq!(
        lamp.run(&["guard", "init", "update"]).of("update"),
        "installed"
    );
    for boot in 1..=3 {
        assert_eq!(
            lamp.run(&["guard"]).of("guard"),
            format!("on_trial {boot}/3")
        );
    }
    assert_eq!(lamp.run(&["guard"]).of("guard"), "given_up 0/0");
    let (version, said) = lamp.boot(&["guard", "init", "update"]);
    assert_eq!((&*version, said.of("update")), ("1.1.0", "failed_before"));
    server.s3ota(&["keygen", "--no-passphrase", "other.key"]);
    let mut stranger = Device::new(program, "1.0.0")
        .with_file("root", &server.ca())
        .with_file("key", &server.file("other.key.pub"))
        .set(&format!("url={}", server.manifest_url()));
    assert_eq!(
        stranger.run(&["init", "update"]).of("update"),
        "release.signature"
    );
}
