//! Artefacts that lie. Whoever owns the bucket can put any bytes there: none of them are installed but those of the image, none
//! keep a device from it, and none cost more than one erasure of the slot beside its own.

use std::time::Duration;

use s3ota::{Error, Outcome};
use scripted_server::Reply;
use scripted_server::bucket::Response;
use scripted_server::deltas::{Release, artefact, firmware_of, noise};
use tokio::time::Instant;

use crate::field::*;

/// The delta of the release is replaced by these bytes, which the manifest names as they are.
fn with(release: &Release, bytes: Vec<u8>) -> Release {
    let mut release = release.clone();
    release.deltas[0].artefact.size = bytes.len();
    release.deltas[0].artefact.bytes = bytes;
    release
}

/// The header of an artefact, changed at these bytes.
fn patched(bytes: &[u8], at: usize, with: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + with.len()].copy_from_slice(with);
    bytes
}

/// The attack table.
fn attacks() -> Vec<(&'static str, Release)> {
    let release = similar();
    let right = &release.deltas[0].artefact.bytes;
    let other = firmware_of("1.1.0", &noise(5, 50_000));
    let of_other_base = artefact(&other, &release.image);
    let to_other = artefact(&OLD, &other);
    let bomb = artefact(&OLD, &vec![0; 1 << 20]);
    let digest = |bytes: &[u8]| -> Vec<u8> { bytes[48..80].to_vec() };
    vec![
        ("nothing", with(&release, b"s".to_vec())),
        ("no artefact", with(&release, noise(7, 2000))),
        ("another format", with(&release, patched(right, 4, &[99]))),
        (
            "truncated in the header",
            with(&release, right[..60].to_vec()),
        ),
        (
            "truncated in the body",
            with(&release, right[..right.len() - 40].to_vec()),
        ),
        ("for another base", with(&release, of_other_base.clone())),
        ("for another base that it calls ours", {
            let lie = patched(&of_other_base, 8, &right[8..44]);
            with(&release, lie)
        }),
        ("makes another image", with(&release, to_other.clone())),
        ("makes another image that it calls ours", {
            let lie = patched(&to_other, 44, &right[44..48]);
            with(&release, patched(&lie, 48, &digest(right)))
        }),
        ("a patch bomb", with(&release, bomb.clone())),
        ("a patch bomb that it calls ours", {
            let lie = patched(&bomb, 44, &right[44..48]);
            with(&release, patched(&lie, 48, &digest(right)))
        }),
        (
            "the compressed image instead",
            with(&release, artefact(&[], &release.image)),
        ),
        (
            "sections without end",
            with(&release, patched(right, 5, &[96])),
        ),
        (
            "references outside",
            with(&release, patched(right, 80, &[0xff; 20])),
        ),
        ("shorter than announced", {
            let mut release = release.clone();
            release.deltas[0].artefact.size += 1;
            release
        }),
        ("longer than announced", {
            let mut release = release.clone();
            release.deltas[0].artefact.size -= 1;
            release
        }),
    ]
}

#[tokio::test(start_paused = true)]
async fn every_attack_ends_with_the_image_of_the_manifest() {
    for (name, release) in attacks() {
        let image = release.image.clone();
        let mut device = Field::new();
        let updated = device.updates(&serving(release)).await;
        assert_eq!(updated.ways, ["delta", "whole"], "{name}");
        assert!(updated.erased <= 2, "{name}: {} erasures", updated.erased);
        assert!(device.runs(&image), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_costs_a_request() {
    for status in [
        "404 Not Found",
        "403 Forbidden",
        "410 Gone",
        "301 Moved",
        "400 Bad Request",
    ] {
        let release = similar().compressed();
        let network = spoiling(release, 0, move |_, _| Response::new(status, b"").into());
        let mut device = Field::new();
        let updated = device.updates(&network).await;
        assert_eq!(updated.ways, ["delta", "compressed"], "{status}");
        assert_eq!(updated.erased, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_compressed_image_that_lies_gives_way_to_the_image() {
    let mut release = Release::whole("1.1.0", similar().image).compressed();
    let compressed = release.compressed.as_mut().unwrap();
    let middle = compressed.bytes.len() / 2;
    compressed.bytes[middle] ^= 1;
    let mut device = Field::new();
    let updated = device.updates(&serving(release)).await;
    assert_eq!(updated.ways, ["compressed", "whole"]);
    assert_eq!(updated.erased, 2);
}

/// What a damaged artefact makes right is not erased: the image is compared with what is there.
#[tokio::test(start_paused = true)]
async fn what_is_right_is_not_erased_when_the_image_comes() {
    let release = different();
    let bytes = &release.deltas[0].artefact.bytes;
    let late = bytes.len() - 30_000;
    let damaged = with(&release, patched(bytes, late, &[bytes[late] ^ 0x55]));
    let mut device = Field::new();
    device.flash.record();
    let updated = device.updates(&serving(damaged)).await;
    assert_eq!(updated.ways, ["delta", "whole"]);
    assert!(device.runs(&release.image));
}

/// An hour later it is not tried again: the artefact that made a wrong image is remembered as long as the wear is.
#[tokio::test(start_paused = true)]
async fn a_delta_that_made_a_wrong_image_is_not_tried_again() {
    let release = different();
    let bytes = &release.deltas[0].artefact.bytes;
    let damaged = with(&release, patched(bytes, 70_000, &[bytes[70_000] ^ 0x55]));
    let network = network(move |request, port| {
        let answer = damaged.answer(request, port);
        match request.path.as_str() {
            "/image.bin" => cut(&answer, 50_000),
            _ => answer.into(),
        }
    });
    let mut device = Field::new();
    let mut workspace = Box::new(s3ota::Workspace::new());
    let mut updater = network.updater(&mut device.flash, SLOT_0, "1.0.0", ONCE, &mut workspace);
    for _ in 0..3 {
        let outcome = updater.install(&mut ()).await;
        assert!(outcome.unwrap_err().is_transient());
    }
    let words = updater.wear().to_words();
    drop(updater);
    let ways: Vec<String> = asked(&network).into_iter().map(|(way, _)| way).collect();
    let tried = ways.iter().take_while(|way| *way == "delta").count();
    assert!(tried > 0 && ways[tried..] == ["whole"; 3], "{ways:?}");
    // After deep sleep.
    let mut workspace = Box::new(s3ota::Workspace::new());
    let mut updater = network.updater(&mut device.flash, SLOT_0, "1.0.0", ONCE, &mut workspace);
    updater.set_wear(s3ota::Wear::from_words(words));
    let _ = updater.install(&mut ()).await;
    assert_eq!(asked(&network).last().unwrap().0, "whole");
}

/// The image's own faults are not the delta's: it is refused as it would be if it came whole.
#[tokio::test(start_paused = true)]
async fn a_delta_to_an_image_that_is_refused_is_refused_once() {
    let image = s3ota_image::app::ImageBuilder::new(s3ota::Chip::Esp32C3, "1.1.0")
        .payload(&noise(1, 120_000))
        .without_guard()
        .build();
    let release = Release::whole("1.1.0", image).from("1.0.0", &OLD);
    let mut device = Field::new();
    let tried = device.tries(&serving(release)).await;
    assert_eq!(tried.outcome.unwrap_err().code(), "image.guard");
    assert_eq!(tried.ways, ["delta"]);
    assert!(device.runs_the_old());
}

/// A server that drips the delta, or never gives it, does not keep a device from the image for ever.
#[tokio::test(start_paused = true)]
async fn a_delta_that_never_comes_gives_way_to_the_image() {
    let stalls: [fn(Response) -> Reply; 3] = [
        |answer| Reply::Drip(answer.bytes(), Duration::from_secs(9)),
        |answer| cut(&answer, 0),
        |_| Response::new("503 Slow Down", b"").into(),
    ];
    for stall in stalls {
        let network = network(move |request, port| {
            let answer = similar().answer(request, port);
            match request.path.as_str() {
                "/delta.s3od" => stall(answer),
                _ => answer.into(),
            }
        });
        let mut device = Field::new();
        let mut workspace = Box::new(s3ota::Workspace::new());
        let mut updater = network.updater(&mut device.flash, SLOT_0, "1.0.0", ONCE, &mut workspace);
        let began = Instant::now();
        let mut outcomes: Vec<Result<Outcome, Error>> = Vec::new();
        for _ in 0..3 {
            outcomes.push(updater.install(&mut ()).await);
        }
        drop(updater);
        assert!(outcomes[0].is_err() && outcomes[1].is_err());
        assert!(
            matches!(outcomes[2], Ok(Outcome::Installed(_))),
            "{outcomes:?}"
        );
        assert!(began.elapsed() < 3 * ONCE.deadline);
    }
}

/// Bytes changed at random: the image of the manifest is installed, or nothing is.
#[tokio::test(start_paused = true)]
async fn no_bytes_make_another_image() {
    let release = similar();
    let right = release.deltas[0].artefact.bytes.clone();
    for seed in 0..48 {
        let dice = noise(1000 + seed, 64);
        let mut bytes = right.clone();
        for pair in dice[..2 + 2 * (seed as usize % 8)].chunks_exact(2) {
            let at = 80 + usize::from(pair[0]) * (bytes.len() - 81) / 255;
            bytes[at] = pair[1];
        }
        let mut device = Field::new();
        let updated = device.updates(&serving(with(&release, bytes))).await;
        assert!(device.runs(&release.image), "{seed}");
        assert!(updated.erased <= 2);
        let last = updated.ways.last().unwrap();
        assert!(last == "whole" || last == "delta");
    }
}
