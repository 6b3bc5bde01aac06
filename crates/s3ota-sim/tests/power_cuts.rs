//! It never bricks a device: each promise, tried at every point where power could fail.
//!
//! A scenario is run once, and what it does to flash is recorded. Then power fails before, inside and after each of these
//! operations, in every way that [`s3ota_sim::Mix`] and `cuts.rs` know, including bits that read either way from then on. For a
//! part of these it fails once more while the device recovers. Some of the boards have flash encryption. `promises.rs` says what
//! must hold each time:
//!
//! - something boots, and it is the old image or the new one, whole;
//! - the next update attempt succeeds;
//! - a firmware on trial that nobody confirms gives way to the old one, and one that is confirmed stays;
//! - no state is stuck: whatever happened, a later release can be installed;
//! - nothing older than the confirmed release runs, unless somebody asked for it.
//!
//! `cargo test -p s3ota-sim --test power_cuts` tries a sample, spread over everything, in about a minute. All of it:
//!
//! ```text
//! cargo test --release -p s3ota-sim --test power_cuts -- --ignored --nocapture
//! ```
//!
//! `S3OTA_POWER_CUTS=refuses` in the environment tries only the scenarios with this in their names.

#[path = "power_cuts/cuts.rs"]
mod cuts;
#[path = "power_cuts/life.rs"]
mod life;
#[path = "power_cuts/promises.rs"]
mod promises;
#[path = "power_cuts/report.rs"]
mod report;

use cuts::Effort;
use life::Step::{self, Boot, Confirm, EndBoot, PowerOn, Refuse, RollBack, Update};
use life::{Offer, Release, Start};
use report::{Report, Row, print};

/// What a device goes through.
struct Scenario {
    name: &'static str,
    /// What happened before, on a device that runs the old image. Power holds.
    before: &'static [Step],
    /// What power fails in.
    then: &'static [Step],
    /// What the server offers when the device asks again.
    next: Offer,
    /// Whether the new image may have been confirmed where power fails.
    may_be_confirmed: bool,
    /// Where the old image lies; `None` for everywhere in turn.
    from: Option<Start>,
}

/// The new image, in a manifest with its hash.
const NEW: Offer = Offer::of(Release::New);
/// A different one, and later.
const LATER: Offer = Offer::of(Release::Later);

const SCENARIOS: &[Scenario] = &[
    Scenario::new("update from the factory app", &[], &[Boot, Update(NEW)]).from(Start::Factory),
    Scenario::new("update from ota_0", &[], &[Boot, Update(NEW)]).from(Start::Slot(0)),
    Scenario::new("update from ota_1", &[], &[Boot, Update(NEW)]).from(Start::Slot(1)),
    Scenario::new("update from ota_2", &[], &[Boot, Update(NEW)]).from(Start::Slot(2)),
    Scenario::new(
        "update, manifest without a hash",
        &[],
        &[Boot, Update(NEW.bare())],
    )
    .offered(NEW.bare()),
    Scenario::new(
        "full-size image that needs the last sector",
        &[],
        &[Boot, Update(Offer::of(Release::Full))],
    )
    .offered(Offer::of(Release::Full)),
    Scenario::new(
        "resumed update",
        &[Boot, Update(NEW.lost_after(15_000))],
        &[Boot, Update(NEW)],
    ),
    Scenario::new(
        "resumed update, manifest without a hash",
        &[Boot, Update(NEW.bare().lost_after(15_000))],
        &[Boot, Update(NEW.bare())],
    )
    .offered(NEW.bare()),
    Scenario::new(
        "interrupted update, then a different release",
        &[Boot, Update(NEW.lost_after(15_000))],
        &[Boot, Update(LATER)],
    )
    .offered(LATER),
    Scenario::new(
        "aborted download, then a smaller image",
        &[Boot, Update(Offer::of(Release::Full).lost_after(50_000))],
        &[Boot, Update(NEW)],
    ),
    Scenario::new(
        "update to an image that fails its checks",
        &[],
        &[Boot, Update(NEW.damaged())],
    ),
    Scenario::new(
        "update to a release that fails",
        &[],
        &[Boot, Update(NEW), Boot, Boot, Boot, Boot, Boot],
    ),
    Scenario::new(
        "first boots of a trial",
        &[Boot, Update(NEW)],
        &[Boot, Boot],
    ),
    Scenario::new("confirm", &[Boot, Update(NEW)], &[Boot, Confirm, Boot]).may_be_confirmed(),
    Scenario::new(
        "rollback by the guard",
        &[Boot, Update(NEW)],
        &[Boot, Boot, Boot, Boot, Boot],
    ),
    Scenario::new(
        "rollback asked for, on trial",
        &[Boot, Update(NEW)],
        &[Boot, RollBack, Boot],
    ),
    Scenario::new(
        "rollback asked for, after the trial",
        &[Boot, Update(NEW), Boot, Confirm],
        &[Boot, RollBack, Boot],
    )
    .may_be_confirmed(),
    Scenario::new(
        "power switched off and on, on trial",
        &[Boot, Update(NEW)],
        &[Boot, PowerOn, PowerOn, Boot],
    ),
    Scenario::new(
        "a trial that misses its server",
        &[Boot, Update(NEW)],
        &[Boot, EndBoot, Boot, EndBoot, Boot, EndBoot, Boot],
    ),
    Scenario::new(
        "a release that missed its server, tried again",
        &[
            Boot,
            Update(NEW),
            Boot,
            EndBoot,
            Boot,
            EndBoot,
            Boot,
            EndBoot,
            Boot,
        ],
        &[Boot, Update(NEW), Boot, Boot, Boot, Boot],
    ),
    Scenario::new(
        "an image that the bootloader refuses",
        &[Boot, Update(NEW), Refuse],
        &[Boot, Boot, Update(LATER)],
    )
    .offered(LATER),
    Scenario::new(
        "update while a trial is pending",
        &[Boot, Update(NEW)],
        &[Boot, Update(LATER)],
    ),
    Scenario::new(
        "the release that failed, offered again",
        &[Boot, Update(NEW)],
        &[Boot, Boot, Boot, Boot, Update(NEW)],
    ),
    Scenario::new(
        "update after a release that failed",
        &[Boot, Update(NEW), Boot, Boot, Boot, Boot],
        &[Boot, Update(LATER)],
    )
    .offered(LATER),
];

impl Scenario {
    const fn new(name: &'static str, before: &'static [Step], then: &'static [Step]) -> Self {
        Self {
            name,
            before,
            then,
            next: NEW,
            may_be_confirmed: false,
            from: None,
        }
    }

    const fn from(self, start: Start) -> Self {
        Self {
            from: Some(start),
            ..self
        }
    }

    const fn offered(self, next: Offer) -> Self {
        Self { next, ..self }
    }

    const fn may_be_confirmed(self) -> Self {
        Self {
            may_be_confirmed: true,
            ..self
        }
    }
}

/// Tries everything on every board and prints the table.
fn prove(effort: Effort) -> Report {
    let report = Report::of(SCENARIOS, effort);
    print(&report);
    assert!(
        report.broken.is_empty(),
        "{} promises broken",
        report.broken.len()
    );
    let only = std::env::var("S3OTA_POWER_CUTS").unwrap_or_default();
    for row in report.rows.iter().filter(|row| row.name.contains(&only)) {
        let both = row.first.iter().all(|&cuts| cuts > 0);
        assert!(
            both,
            "{}: power never failed, which proves nothing",
            row.name
        );
    }
    report
}

#[test]
fn power_may_fail_anywhere() {
    prove(Effort::Sample);
}

#[test]
#[ignore = "takes many minutes, and a release build"]
fn power_may_fail_anywhere_in_full() {
    let cuts: usize = prove(Effort::Full).rows.iter().map(Row::cuts).sum();
    assert!(cuts >= 2_000_000, "{cuts} cuts");
}
