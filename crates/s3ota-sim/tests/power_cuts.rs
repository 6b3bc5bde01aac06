//! It never bricks a device: each promise, tried at every point where power could fail.
//!
//! A scenario is run once, with a record of what it does to flash. Then power fails before, inside and after each of
//! these operations, in every way [`s3ota_sim::Mix`] and `cuts.rs` know; and, for a part of these, once more while the
//! device recovers. `promises.rs` says what must hold each time:
//!
//! - something boots, and it is the old image or the new one, whole;
//! - the next update attempt succeeds;
//! - a firmware on trial that nobody confirms gives way to the old one, and one that is confirmed stays;
//! - no state is stuck: whatever happened, a later release can be installed.
//!
//! `cargo test -p s3ota-sim --test power_cuts` tries a sample, spread over everything, in about a minute. All of it:
//!
//! ```text
//! cargo test --release -p s3ota-sim --test power_cuts -- --ignored --nocapture
//! ```

#[path = "support/bucket.rs"]
mod bucket;
#[path = "power_cuts/cuts.rs"]
mod cuts;
#[path = "power_cuts/life.rs"]
mod life;
#[path = "support/network.rs"]
mod network;
#[path = "power_cuts/promises.rs"]
mod promises;
#[path = "power_cuts/report.rs"]
mod report;
mod support;

use cuts::Effort;
use life::Step::{self, Boot, Confirm, RollBack, Update};
use life::{Board, Offer, Release};
use report::{Report, print};

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
}

/// The new image, in a manifest with its hash.
const NEW: Offer = Offer::of(Release::New);
/// A different one, and later.
const LATER: Offer = Offer::of(Release::Later);

const SCENARIOS: &[Scenario] = &[
    Scenario::new("update", &[], &[Boot, Update(NEW)]),
    Scenario::new(
        "update, manifest without a hash",
        &[],
        &[Boot, Update(NEW.bare())],
    )
    .offered(NEW.bare()),
    Scenario::new(
        "update with an image that fills its slot",
        &[],
        &[Boot, Update(Offer::of(Release::Full))],
    )
    .offered(Offer::of(Release::Full)),
    Scenario::new(
        "update after a lost connection",
        &[Boot, Update(NEW.lost_after(15_000))],
        &[Boot, Update(NEW)],
    ),
    Scenario::new(
        "the same without a hash",
        &[Boot, Update(NEW.bare().lost_after(15_000))],
        &[Boot, Update(NEW.bare())],
    )
    .offered(NEW.bare()),
    Scenario::new(
        "a different release after it",
        &[Boot, Update(NEW.lost_after(15_000))],
        &[Boot, Update(LATER)],
    )
    .offered(LATER),
    Scenario::new(
        "a smaller image after it",
        &[Boot, Update(Offer::of(Release::Full).lost_after(50_000))],
        &[Boot, Update(NEW)],
    ),
    Scenario::new(
        "an image that fails its checks",
        &[],
        &[Boot, Update(NEW.damaged())],
    ),
    Scenario::new(
        "first boots of a trial",
        &[Boot, Update(NEW)],
        &[Boot, Boot],
    ),
    Scenario::new("confirm", &[Boot, Update(NEW)], &[Boot, Confirm, Boot]).may_be_confirmed(),
    Scenario::new(
        "rollback by the boot guard",
        &[Boot, Update(NEW)],
        &[Boot, Boot, Boot, Boot, Boot],
    ),
    Scenario::new(
        "rollback asked for on trial",
        &[Boot, Update(NEW)],
        &[Boot, RollBack, Boot],
    ),
    Scenario::new(
        "rollback asked for after it",
        &[Boot, Update(NEW), Boot, Confirm],
        &[Boot, RollBack, Boot],
    )
    .may_be_confirmed(),
    Scenario::new(
        "update while on trial",
        &[Boot, Update(NEW)],
        &[Boot, Update(LATER)],
    ),
    Scenario::new(
        "giving up, then the same release again",
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

/// Tries everything at every board and prints the table.
fn prove(effort: Effort) {
    let boards = Board::all();
    let report = Report::of(SCENARIOS, &boards, effort);
    print(&report);
    assert!(
        report.broken.is_empty(),
        "{} promises broken",
        report.broken.len()
    );
    let tried = report.rows.iter().all(|row| row.cuts > 0);
    assert!(
        tried,
        "a scenario in which power never failed proves nothing"
    );
}

#[test]
fn power_may_fail_anywhere() {
    prove(Effort::Sample);
}

#[test]
#[ignore = "takes many minutes, and a release build"]
fn power_may_fail_anywhere_in_full() {
    prove(Effort::Full);
}
