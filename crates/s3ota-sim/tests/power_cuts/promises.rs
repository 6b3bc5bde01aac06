//! What must hold after power has failed, whatever it failed in.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use s3ota::{Error, NoUpdate, Outcome, ReleaseError, TrialMode};
use s3ota_sim::{Launcher, Operation, PowerCut, Tear};

use crate::contents::{Contents, Digest};
use crate::life::{Harm, Life, Offer, Release, Running, Step, Stopped, TRIAL_BOOTS, broken};
use crate::recall::{Device, Recall};
use crate::{LATER, Scenario};

/// What is known of a device at the moment power fails.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Known {
    /// What may boot: whole images that were selected, or may have been.
    pub may_boot: Vec<Release>,
    /// What may run without being on trial.
    pub confirmed: Vec<Release>,
    /// Whether a release may have been given up already, and is rightly refused.
    pub may_have_failed: bool,
}

/// The promises, and what is known of them.
pub struct Promises<'l> {
    life: &'l Life,
    recall: &'l Recall,
    next: Offer,
    kept: RefCell<HashMap<(Digest, Known), Verdict>>,
}

pub type Verdict = Result<(), (Harm, String)>;

/// How a device recovers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Its firmware is content with itself, and updates.
    Attended,
    /// Its firmware never confirms itself.
    Unattended,
}

/// The last proof that a device is not stuck.
const LAST: Offer = Offer::of(Release::Last);
/// The very last one.
const BEYOND: Offer = Offer::of(Release::Beyond);

/// What is offered to a device that does not take this.
fn later_than(offer: Offer) -> Offer {
    match offer.release {
        Release::Last => BEYOND,
        Release::Later => LAST,
        _ => LATER,
    }
}

impl Known {
    /// What is known where power fails in a scenario.
    pub fn of(scenario: &Scenario, old: Release) -> Self {
        let steps = || scenario.before.iter().chain(scenario.then);
        let installed = steps().filter_map(|step| match step {
            Step::Update(offer) if offer.is_whole() => Some(offer.release),
            _ => None,
        });
        let may_boot: Vec<_> = [old].into_iter().chain(installed).collect();
        let tried = steps()
            .skip_while(|step| !matches!(step, Step::Update(offer) if offer.is_whole()))
            .any(|step| matches!(step, Step::Boot | Step::PowerOn));
        Self {
            confirmed: match scenario.may_be_confirmed {
                true => may_boot.clone(),
                false => vec![old],
            },
            may_boot,
            may_have_failed: tried,
        }
    }

    /// What is known where power fails in the recovery.
    pub fn after(&self, recovery: Recovery, next: Offer) -> Self {
        let mut known = self.clone();
        let more = match recovery {
            Recovery::Attended => [next.release, Release::Later, Release::Last],
            Recovery::Unattended => [Release::Last, Release::Last, Release::Beyond],
        };
        known.may_boot.extend(more);
        known.confirmed = known.may_boot.clone();
        known.may_have_failed = true;
        known
    }
}

fn in_words(stopped: Stopped, recovery: Recovery) -> (Harm, String) {
    match stopped {
        Stopped::Broken(harm, what) => (harm, format!("{recovery:?}: {what}")),
        Stopped::NoPower => unreachable!("power holds while a device recovers"),
    }
}

impl<'l> Promises<'l> {
    pub fn new(life: &'l Life, recall: &'l Recall, next: Offer) -> Self {
        Self {
            life,
            recall,
            next,
            kept: RefCell::default(),
        }
    }

    /// How many states were judged that differ.
    pub fn states(&self) -> usize {
        self.kept.borrow().len()
    }

    /// Whether they are kept from this state on. `true` if it was not seen before.
    pub fn keep(&self, contents: &Contents, known: &Known) -> (Verdict, bool) {
        let key = (contents.digest(), known.clone());
        if let Some(verdict) = self.kept.borrow().get(&key) {
            return (verdict.clone(), false);
        }
        let verdict = [Recovery::Attended, Recovery::Unattended]
            .into_iter()
            .try_for_each(|recovery| self.recover(contents, known, recovery).map(drop));
        self.kept.borrow_mut().insert(key, verdict.clone());
        (verdict, true)
    }

    /// Whether they are kept where power fails in an operation on this flash, and bits stay that read as the one or the
    /// other.
    pub fn keep_flaky(
        &self,
        before: &Contents,
        operation: &Operation,
        tear: Tear,
        known: &Known,
    ) -> Verdict {
        for recovery in [Recovery::Attended, Recovery::Unattended] {
            let cut = PowerCut {
                operation: 0,
                tear,
                flaky: true,
            };
            let mut device = Device::torn(self.life, self.recall, before, operation, cut);
            self.recover_on(&mut device, known, recovery)
                .map_err(|stopped| in_words(stopped, recovery))?;
        }
        Ok(())
    }

    /// Recovers from a state. What that did to flash.
    pub fn recover(
        &self,
        contents: &Contents,
        known: &Known,
        recovery: Recovery,
    ) -> Result<Vec<Rc<Operation>>, (Harm, String)> {
        let mut device = Device::new(self.life, self.recall, contents.clone());
        self.recover_on(&mut device, known, recovery)
            .map_err(|stopped| in_words(stopped, recovery))?;
        Ok(device.operations())
    }

    /// Recovers this device, whatever its flash does.
    fn recover_on(
        &self,
        device: &mut Device<'_>,
        known: &Known,
        recovery: Recovery,
    ) -> Result<(), Stopped> {
        match recovery {
            Recovery::Attended => self.attended(device, known),
            Recovery::Unattended => self.unattended(device, known),
        }
    }

    /// A firmware that is content with itself confirms, updates to what is offered, and confirms again.
    fn attended(&self, device: &mut Device<'_>, known: &Known) -> Result<(), Stopped> {
        let mut known = known.clone();
        let mut offer = self.next;
        let mut running = self.boot(device, &known)?;
        for _ in 0..8 {
            match device.update(running, offer) {
                Ok(Outcome::Installed(_)) => {
                    known.may_boot.push(offer.release);
                    running = self.boot(device, &known)?;
                    if running.release != offer.release || !running.on_trial {
                        return broken(
                            Harm::Stuck,
                            format!("{offer:?} installed, then {running:?}"),
                        );
                    }
                }
                Err(Error::OnTrial) => {
                    device.decide(running, Step::Confirm)?;
                    known.confirmed.push(running.release);
                    let again = self.boot(device, &known)?;
                    if again.on_trial || again.release != running.release {
                        return broken(
                            Harm::Stuck,
                            format!("{running:?} confirmed, then {again:?}"),
                        );
                    }
                    running = again;
                }
                Ok(Outcome::NoUpdate(NoUpdate::UpToDate)) if running.release == offer.release => {
                    for _ in 0..TRIAL_BOOTS + 2 {
                        let again = self.boot(device, &known)?;
                        if again != running {
                            return broken(
                                Harm::Stuck,
                                format!("{running:?} did not stay: {again:?}"),
                            );
                        }
                    }
                    return Ok(());
                }
                // A recovery that was cut off may have tried it already, or gone beyond it.
                Ok(Outcome::NoUpdate(NoUpdate::FailedBefore))
                | Err(Error::Release(ReleaseError::Downgrade { .. }))
                    if known.may_have_failed && offer != BEYOND =>
                {
                    offer = later_than(offer);
                }
                other => {
                    return broken(
                        Harm::Stuck,
                        format!("{running:?} was offered {offer:?}: {other:?}"),
                    );
                }
            }
        }
        broken(Harm::Stuck, "it updates for ever")
    }

    /// A firmware that is never confirmed gives way to the one before; and that one can be updated.
    fn unattended(&self, device: &mut Device<'_>, known: &Known) -> Result<(), Stopped> {
        let first = self.boot(device, known)?;
        let mut last = first;
        for _ in 0..TRIAL_BOOTS + 2 {
            last = self.boot(device, known)?;
        }
        let right = !last.on_trial
            && match first.on_trial {
                true => last.release != first.release && known.confirmed.contains(&last.release),
                false => last.release == first.release,
            };
        if !right {
            return broken(
                Harm::Stuck,
                format!("{first:?}, never confirmed, became {last:?}"),
            );
        }
        let mut offer = LAST;
        let mut outcome = device.update(last, offer);
        // A recovery that was cut off may have tried that one already.
        if known.may_have_failed && outcome == Ok(Outcome::NoUpdate(NoUpdate::FailedBefore)) {
            offer = BEYOND;
            outcome = device.update(last, offer);
        }
        match outcome {
            Ok(Outcome::Installed(_)) => {}
            Ok(Outcome::NoUpdate(_)) if last.release == Release::Last => return Ok(()),
            other => {
                return broken(
                    Harm::Stuck,
                    format!("{last:?} was offered {offer:?}: {other:?}"),
                );
            }
        }
        let mut known = known.clone();
        known.may_boot.push(offer.release);
        let running = self.boot(device, &known)?;
        if running.release != offer.release || !running.on_trial {
            return broken(
                Harm::Stuck,
                format!("{offer:?} installed, then {running:?}"),
            );
        }
        Ok(())
    }

    /// Boots, and looks whether what boots is what may.
    fn boot(&self, device: &mut Device<'_>, known: &Known) -> Result<Running, Stopped> {
        let running = device.boot()?;
        if running.release.age() < self.life.board.old().age() {
            return broken(
                Harm::Older,
                format!("older than the old image: {running:?}"),
            );
        }
        if !known.may_boot.contains(&running.release) {
            return broken(Harm::Stuck, format!("neither old nor new: {running:?}"));
        }
        let board = &self.life.board;
        if board.mode == TrialMode::Launch
            && board.launcher == Launcher::Able
            && !known.confirmed.contains(&running.booted)
        {
            return broken(
                Harm::Bricked,
                format!("otadata selects what is not confirmed: {running:?}"),
            );
        }
        if !running.on_trial && !known.confirmed.contains(&running.release) {
            return broken(
                Harm::Stuck,
                format!("not confirmed, and not on trial: {running:?}"),
            );
        }
        Ok(running)
    }
}
