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
//! - nothing older than the confirmed release runs, unless somebody asked for it;
//! - where the old firmware launches the trial, the bootloader never boots what is not confirmed.
//!
//! `cargo test -p s3ota-sim --test power_cuts` tries a sample, spread over everything. All of it:
//!
//! ```text
//! cargo test --profile dist -p s3ota-sim --test power_cuts -- --ignored --nocapture
//! ```
//!
//! In that profile everything is optimised. A run that was stopped goes on when it is started again. `S3OTA_POWER_CUTS=refuses` in
//! the environment tries only the scenarios with this in their names.
//!
//! Contents of flash that were judged before in the same life are not judged again, and a step of a device that reads what a step
//! before it has read is not run again: `recall.rs` says why that hides nothing.

#[path = "power_cuts/contents.rs"]
mod contents;
#[path = "power_cuts/cuts.rs"]
mod cuts;
#[path = "power_cuts/life.rs"]
mod life;
#[path = "power_cuts/progress.rs"]
mod progress;
#[path = "power_cuts/promises.rs"]
mod promises;
#[path = "power_cuts/recall.rs"]
mod recall;
#[path = "power_cuts/report.rs"]
mod report;

use cuts::Effort;
use life::Board;
use life::Step::{self, Boot, Confirm, EndBoot, PowerOn, Refuse, RollBack, Update};
use life::{By, Offer, Release, Start};
use report::{Report, Row, print};
use s3ota::TrialMode;
use s3ota_sim::Launcher;

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
    /// Whether the new image dies before it counts its boot. That is tried only where the old firmware launches it: without app
    /// rollback in the bootloader it is a brick, and with it, a power cut in the bootloader's own erasure of the record can make
    /// one, at worst: a record that reads as Valid.
    is_deadly: bool,
    /// What the old firmware does where it is to launch the new one.
    launcher: Launcher,
    /// Whether the image goes on where it broke off before: its slot is not erased again.
    resumes: bool,
}

/// The new image, in a manifest with its hash.
const NEW: Offer = Offer::of(Release::New);
/// A different one, and later.
const LATER: Offer = Offer::of(Release::Later);
/// The new image, made of something else.
const BY_DELTA: Offer = NEW.by(By::Delta);
const BY_WRONG_DELTA: Offer = NEW.by(By::WrongDelta);
const COMPRESSED: Offer = NEW.by(By::Compressed);
/// Images that never reach their guard.
const DEAD: Offer = Offer::of(Release::Dead);
const FOREIGN: Offer = Offer::of(Release::Foreign);
/// One that hangs later.
const HANGS: Offer = Offer::of(Release::Hangs);

const SCENARIOS: &[Scenario] = &[
    Scenario::new("update from the factory app", &[], &[Boot, Update(NEW)]).from(Start::Factory),
    Scenario::new("update from ota_0", &[], &[Boot, Update(NEW)]).from(Start::Slot(0)),
    Scenario::new("update from ota_1", &[], &[Boot, Update(NEW)]).from(Start::Slot(1)),
    Scenario::new("update from ota_2", &[], &[Boot, Update(NEW)]).from(Start::Slot(2)),
    Scenario::new("update by a delta", &[], &[Boot, Update(BY_DELTA)]).offered(BY_DELTA),
    Scenario::new(
        "update by the compressed image",
        &[],
        &[Boot, Update(COMPRESSED)],
    )
    .offered(COMPRESSED),
    Scenario::new(
        "resumed update by a delta",
        &[Boot, Update(BY_DELTA.lost_after(6_000))],
        &[Boot, Update(BY_DELTA)],
    )
    .resumed()
    .offered(BY_DELTA),
    Scenario::new(
        "resumed update by the compressed image",
        &[Boot, Update(COMPRESSED.lost_after(6_500))],
        &[Boot, Update(COMPRESSED)],
    )
    .resumed()
    .offered(COMPRESSED),
    Scenario::new(
        "a delta that makes another image, then the image",
        &[],
        &[Boot, Update(BY_WRONG_DELTA)],
    )
    .offered(BY_WRONG_DELTA),
    Scenario::new(
        "a wrong delta that broke off, then the image",
        &[Boot, Update(BY_WRONG_DELTA.lost_after(7_000))],
        &[Boot, Update(NEW)],
    ),
    Scenario::new(
        "an image that broke off, then the delta",
        &[Boot, Update(NEW.lost_after(15_000))],
        &[Boot, Update(BY_DELTA)],
    )
    .offered(COMPRESSED),
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
    )
    .resumed(),
    Scenario::new(
        "resumed update, manifest without a hash",
        &[Boot, Update(NEW.bare().lost_after(15_000))],
        &[Boot, Update(NEW.bare())],
    )
    .resumed()
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
    Scenario::new(
        "an image that never reaches its entry",
        &[],
        &[Boot, Update(DEAD), Boot],
    )
    .deadly()
    .offered(LATER),
    Scenario::new(
        "an image without the library",
        &[],
        &[Boot, Update(FOREIGN), Boot],
    )
    .deadly()
    .offered(LATER),
    Scenario::new(
        "an image that hangs once the chip is set up",
        &[],
        &[Boot, Update(HANGS), Boot],
    )
    .offered(LATER),
    Scenario::new(
        "an image that never reaches its entry, twice",
        &[Boot, Update(DEAD), Boot],
        &[
            Boot,
            Update(FOREIGN),
            Boot,
            Update(LATER),
            Boot,
            Confirm,
            Boot,
        ],
    )
    .deadly()
    .may_be_confirmed()
    .offered(Offer::of(Release::Last)),
    Scenario::new(
        "an image that cannot be launched",
        &[],
        &[Boot, Update(NEW), Boot, Boot, Boot, Boot, Boot, Boot],
    )
    .not_launched(),
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
            is_deadly: false,
            launcher: Launcher::Able,
            resumes: false,
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

    const fn deadly(self) -> Self {
        Self {
            is_deadly: true,
            ..self
        }
    }

    const fn resumed(self) -> Self {
        Self {
            resumes: true,
            ..self
        }
    }

    const fn not_launched(self) -> Self {
        Self {
            launcher: Launcher::Unable,
            ..self
        }
    }

    /// Whether it is tried on this board.
    fn is_for(&self, board: &Board) -> bool {
        let launches = board.mode == TrialMode::Launch;
        self.from.is_none_or(|from| from == board.running)
            && (launches || (!self.is_deadly && self.launcher == Launcher::Able))
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
        let only_launched = SCENARIOS
            .iter()
            .any(|it| it.name == row.name && (it.is_deadly || it.launcher == Launcher::Unable));
        let [switched @ .., launched] = row.first;
        assert!(
            launched > 0 && (only_launched || switched.iter().all(|&cuts| cuts > 0)),
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
#[ignore = "takes many minutes, and everything optimised: --profile dist"]
fn power_may_fail_anywhere_in_full() {
    let cuts: usize = prove(Effort::Full).rows.iter().map(Row::cuts).sum();
    let is_all = std::env::var_os("S3OTA_POWER_CUTS").is_none();
    assert!(!is_all || cuts >= 1_000_000, "{cuts} cuts");
}
