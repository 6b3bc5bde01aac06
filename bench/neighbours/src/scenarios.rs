//! The operations in which power fails, on every board.

use std::collections::{BTreeMap, HashMap};

use crate::cuts::moments;
use crate::device::Step::{self, Boot, Confirm, Reject, Update};
use crate::device::{Board, Device, OTADATA, Release};
use crate::libraries::Library;
use crate::verdict::{Promise, Verdict, judge};

/// What a device goes through.
pub struct Scenario {
    pub name: &'static str,
    /// What happened before. Power holds.
    before: &'static [Step],
    /// What power fails in.
    then: &'static [Step],
    /// Whether the new firmware may have been confirmed where power fails.
    may_be_confirmed: bool,
}

pub const SCENARIOS: [Scenario; 6] = [
    Scenario {
        name: "switching to a new image",
        before: &[Boot],
        then: &[Update(Release::New)],
        may_be_confirmed: false,
    },
    Scenario {
        name: "switching to it after one that was given up",
        before: &[Boot, Update(Release::Rejected), Boot, Reject, Boot],
        then: &[Update(Release::New)],
        may_be_confirmed: false,
    },
    Scenario {
        name: "its first boots, unconfirmed",
        before: &[Boot, Update(Release::New)],
        then: &[Boot, Boot, Boot, Boot],
        may_be_confirmed: false,
    },
    Scenario {
        name: "confirming it",
        before: &[Boot, Update(Release::New), Boot],
        then: &[Confirm],
        may_be_confirmed: true,
    },
    Scenario {
        name: "confirming it after one that was given up",
        before: &[
            Boot,
            Update(Release::Rejected),
            Boot,
            Reject,
            Boot,
            Update(Release::New),
            Boot,
        ],
        then: &[Confirm],
        may_be_confirmed: true,
    },
    Scenario {
        name: "giving it up",
        before: &[Boot, Update(Release::New), Boot],
        then: &[Reject],
        may_be_confirmed: false,
    },
];

/// How many cuts led to which harm.
#[derive(Debug, Clone, Default)]
pub struct Count {
    pub cuts: usize,
    pub wrong: usize,
    pub trial_lost: usize,
    pub refused: usize,
    pub stuck: usize,
    /// Any of these.
    pub harmed: usize,
}

/// The results of a library.
pub struct Outcome {
    pub library: &'static str,
    /// By scenario, on all boards.
    pub counts: [Count; SCENARIOS.len()],
    /// What was observed, in words, and after how many cuts.
    pub seen: BTreeMap<String, usize>,
    /// What goes wrong without power cuts, in words, and on how many boards. There, power is not cut.
    pub without_cuts: BTreeMap<String, usize>,
}

/// Runs everything with a library.
pub fn run(library: &dyn Library) -> Outcome {
    let mut outcome = Outcome {
        library: library.name(),
        counts: Default::default(),
        seen: BTreeMap::new(),
        without_cuts: BTreeMap::new(),
    };
    for (seed, board) in (0..).zip(Board::all()) {
        let device = Device { board, library };
        for (row, scenario) in SCENARIOS.iter().enumerate() {
            if let Err(what) = outcome.cut(row, scenario, &device, seed) {
                let what = format!("{}: {what}", scenario.name);
                *outcome.without_cuts.entry(what).or_default() += 1;
            }
        }
    }
    outcome
}

impl Outcome {
    /// Cuts power everywhere in one scenario on one board.
    fn cut(
        &mut self,
        row: usize,
        scenario: &Scenario,
        device: &Device<'_>,
        seed: u64,
    ) -> Result<(), String> {
        let mut flash = device.flash()?;
        let running = device.run(&mut flash, None, scenario.before)?;
        let mut before = flash.bytes().to_vec();
        flash.record();
        device.run(&mut flash, running, scenario.then)?;
        let record = flash.take_record();
        let promise = Promise {
            old: device.board.old(),
            on_trial: !scenario.may_be_confirmed,
        };
        let whole = judge(device, flash.bytes(), promise);
        if whole.is_harm() {
            return Err(whole.words().join(", "));
        }
        for (index, operation) in (0..).zip(&record) {
            if OTADATA.contains(&operation.range().start) {
                let mut judged: HashMap<Vec<u8>, Verdict> = HashMap::new();
                for moment in moments(operation, seed << 8 | index) {
                    let mut after = before.clone();
                    moment.apply(operation, &mut after);
                    let otadata = after[OTADATA.start as usize..OTADATA.end as usize].to_vec();
                    let verdict = judged
                        .entry(otadata)
                        .or_insert_with(|| judge(device, &after, promise));
                    self.count(row, verdict);
                }
            }
            operation.apply(&mut before);
        }
        Ok(())
    }

    fn count(&mut self, row: usize, verdict: &Verdict) {
        let count = &mut self.counts[row];
        count.cuts += 1;
        count.wrong += usize::from(verdict.wrong.is_some());
        count.trial_lost += usize::from(verdict.trial_lost);
        count.refused += usize::from(verdict.refused.is_some());
        count.stuck += usize::from(verdict.stuck);
        count.harmed += usize::from(verdict.is_harm());
        for word in verdict.words() {
            *self.seen.entry(word).or_default() += 1;
        }
    }

    /// All scenarios together.
    pub fn total(&self) -> Count {
        self.counts
            .iter()
            .fold(Count::default(), |sum, count| Count {
                cuts: sum.cuts + count.cuts,
                wrong: sum.wrong + count.wrong,
                trial_lost: sum.trial_lost + count.trial_lost,
                refused: sum.refused + count.refused,
                stuck: sum.stuck + count.stuck,
                harmed: sum.harmed + count.harmed,
            })
    }
}
