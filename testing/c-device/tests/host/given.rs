//! Images that the application gives: `s3ota_install_from`. There is no server.

use c_device::{Device, Owner, Said, firmware, offer};
use scripted_server::full_manifest;

use crate::device;

const IMAGE: usize = 100_000;

/// A device that runs 1.0.0, and a card in it.
fn lamp(manifest: &[u8], image: &[u8]) -> Device {
    Device::new(device(), "1.0.0")
        .set("url=https://localhost/stable.json")
        .with_file("card_manifest", manifest)
        .with_file("card_image", image)
}

fn released() -> (Vec<u8>, Vec<u8>) {
    let image = firmware("1.1.0");
    (full_manifest("1.1.0", 443, &image), image)
}

fn read(said: &Said) -> (u64, u64) {
    (said.number("card", "read"), said.number("card", "sought"))
}

#[test]
fn one_is_installed_without_a_network() {
    let (manifest, image) = released();
    let mut lamp = lamp(&manifest, &image);
    let said = lamp.run(&["guard", "init", "install_from", "tally", "text"]);
    assert_eq!(said.of("install_from"), "installed", "{said:#?}");
    assert_eq!(said.of("hook may_start"), "1.1.0");
    assert_eq!(said.of("hook start"), "1.1.0 100000");
    assert_eq!(said.of("hook complete"), "1.1.0");
    assert_eq!(read(&said), (IMAGE as u64, 0));
    assert_eq!(said.number("writes", "sockets"), 0);
    assert_eq!(said.of("text"), "");
    // It is on trial as any other, and another is refused until that is over.
    let (version, said) = lamp.boot(&["guard", "init", "install_from", "confirm"]);
    assert_eq!((&*version, said.of("guard")), ("1.1.0", "on_trial 1/3"));
    assert_eq!(said.of("install_from"), "update.trial");
    assert_eq!(said.of("confirm"), "ok");
    assert_eq!(
        lamp.run(&["init", "install_from"]).of("install_from"),
        "up_to_date"
    );
}

#[test]
fn what_was_torn_goes_on_where_it_was() {
    let (manifest, image) = released();
    let torn: [&[&str]; 2] = [&["dies_at_write=14"], &["card_fails_at=60000"]];
    for torn in torn {
        for stream in ["card_is_stream=0", "card_is_stream=1"] {
            let mut lamp = lamp(&manifest, &image);
            let (_, said) = lamp.boot(&[torn, &["guard", "init", "install_from"]].concat());
            if said.code == Some(0) {
                assert_eq!(said.of("install_from"), "source.io");
                assert!(said.has("hook stop"), "{said:#?}");
            } else {
                assert_eq!(said.code, Some(9), "{said:#?}");
            }
            assert_eq!(lamp.version(), "1.0.0");
            let said = lamp.run(&[stream, "guard", "init", "install_from"]);
            assert_eq!(said.of("install_from"), "installed", "{said:#?}");
            let (bytes, sought) = read(&said);
            // A source that cannot seek is read again.
            assert_eq!(sought > 0, stream == "card_is_stream=0", "{said:#?}");
            assert_eq!(bytes, IMAGE as u64 - sought);
            assert_eq!(lamp.version(), "1.1.0");
        }
    }
}

#[test]
fn a_source_that_cannot_be_used_is_given_up() {
    let (manifest, image) = released();
    for fault in ["card_fails_at=1", "card_boasts=1", "card_is_silent=1"] {
        let mut lamp = lamp(&manifest, &image);
        let said = lamp.run(&["idle_ms=300", fault, "init", "install_from", "text"]);
        assert_eq!(said.of("install_from"), "source.io", "{fault}");
        assert!(!said.of("text").is_empty());
        assert_eq!(lamp.version(), "1.0.0");
    }
    // One that says that it can seek, and cannot.
    let mut lamp = lamp(&manifest, &image);
    let _ = lamp.run(&["card_fails_at=60000", "init", "install_from"]);
    let said = lamp.run(&["card_seek_fails=1", "init", "install_from"]);
    assert_eq!(said.of("install_from"), "source.io", "{said:#?}");
    assert_eq!(
        lamp.run(&["init", "install_from"]).of("install_from"),
        "installed"
    );
}

#[test]
fn what_others_put_there_is_refused() {
    let (manifest, image) = released();
    let changed = {
        let mut image = image.clone();
        image[70_000] ^= 1;
        image
    };
    let longer = [&image[..], &[0; 300]].concat();
    let older = full_manifest("0.9.0", 443, &image);
    for (manifest, image, code) in [
        (&manifest[..], &changed[..], "image.digest"),
        (&manifest, &image[..IMAGE - 1], "image.size"),
        (&manifest, &image[..100], "image.size"),
        (&manifest, &longer, "image.size"),
        (&manifest, &firmware("1.2.0"), "image.version"),
        (&older, &image, "release.downgrade"),
        (b"{", &image, "manifest.invalid"),
        (&[b' '; 100_001], &image, "http.length"),
    ] {
        let mut lamp = lamp(manifest, image);
        let said = lamp.run(&["guard", "init", "install_from"]);
        assert_eq!(said.of("install_from"), code, "{said:#?}");
        assert_eq!(lamp.version(), "1.0.0", "{code}");
    }
}

#[test]
fn with_a_release_key_its_owner_must_have_signed_the_manifest() {
    let (unsigned, image) = released();
    let owner = Owner::default();
    let signed = owner.signs(&offer("1.1.0", &image, &[]));
    let signed = signed.manifest.replace("PORT", "443").into_bytes();
    for (manifest, result) in [(unsigned, "release.signature"), (signed, "installed")] {
        let mut lamp = lamp(&manifest, &image).with_file("key", &owner.spki());
        let said = lamp.run(&["init", "install_from"]);
        assert_eq!(said.of("install_from"), result, "{said:#?}");
        let is_read = said.number("card", "read") > 0;
        assert_eq!(is_read, result == "installed");
    }
}

#[test]
fn while_the_agent_waits_the_application_may_install_and_may_cancel() {
    let (manifest, image) = released();
    let mut waiting = lamp(&manifest, &image);
    let said = waiting.run(&[
        "first_ms=100000",
        "init",
        "budget=5",
        "turns=1",
        "install_from",
    ]);
    assert_eq!(said.of("poll"), "waiting");
    assert_eq!(said.of("install_from"), "installed");
    let mut lamp = lamp(&manifest, &image);
    let said = lamp.run(&["init", "cancels=1", "install_from"]);
    assert_eq!(said.of("install_from"), "cancelled", "{said:#?}");
    assert_eq!(lamp.version(), "1.0.0");
}
