//! What a power cut leads to.

use s3ota_sim::Flash;

use crate::device::{Device, NothingRuns, Release, Running};

/// Restarts a firmware is watched for, and attempts it is given to update. s3ota gives a firmware three boots: both the
/// new one and, were it taken for one on trial, the old one are through with theirs by then.
const PATIENCE: usize = 10;

/// What became of a device.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// What runs, now or after some restarts, and should not.
    pub wrong: Option<&'static str>,
    /// The new firmware runs and was never confirmed, and does not give way to the old one.
    pub trial_lost: bool,
    /// What came of the next update, where it did not work at once.
    pub refused: Option<String>,
    /// It did not work after restarts either.
    pub stuck: bool,
}

/// What may run, and what must not last.
#[derive(Debug, Clone, Copy)]
pub struct Promise {
    pub old: Release,
    /// Whether the new firmware was never confirmed.
    pub on_trial: bool,
}

impl Promise {
    /// What is wrong with what runs.
    fn wrong(self, running: Result<Running, NothingRuns>) -> Option<&'static str> {
        match running.map(|running| running.release) {
            Ok(release) if release == self.old => None,
            Ok(Release::New) => None,
            Ok(Release::Rejected) => Some("a firmware runs that was given up before"),
            Ok(_) => Some("an older firmware runs"),
            Err(NothingRuns) => Some("nothing boots"),
        }
    }
}

/// Judges a flash on which power has failed.
pub fn judge(device: &Device<'_>, bytes: &[u8], promise: Promise) -> Verdict {
    let mut verdict = Verdict::default();
    verdict.restarts(device, bytes, promise);
    verdict.next_update(device, bytes);
    verdict
}

impl Verdict {
    /// Whether anything is wrong.
    pub fn is_harm(&self) -> bool {
        self.wrong.is_some() || self.trial_lost || self.refused.is_some()
    }

    /// What is wrong, in words.
    pub fn words(&self) -> Vec<String> {
        let wrong = self.wrong.map(str::to_owned);
        let lost = self
            .trial_lost
            .then(|| "the new firmware lost its trial".to_owned());
        let refused = self.refused.as_ref().map(|what| match self.stuck {
            true => format!("the next update fails for good: {what}"),
            false => format!("the next update fails: {what}"),
        });
        wrong.into_iter().chain(lost).chain(refused).collect()
    }

    /// Restarts a firmware that never confirms itself.
    fn restarts(&mut self, device: &Device<'_>, bytes: &[u8], promise: Promise) {
        let mut flash = Flash::in_memory(bytes.to_vec());
        let runs: Vec<_> = (0..PATIENCE).map(|_| device.boot(&mut flash)).collect();
        self.wrong = runs.iter().find_map(|running| promise.wrong(*running));
        let is_new = |running: &Result<Running, NothingRuns>| {
            running.is_ok_and(|running| running.release == Release::New)
        };
        let after_new = runs.iter().skip_while(|running| !is_new(running));
        if after_new.skip_while(|running| is_new(running)).any(is_new) {
            self.wrong
                .get_or_insert("the new firmware runs again after it gave way");
        }
        let has_trial = device.library.has_trial(device.board.bootloader);
        self.trial_lost = runs.last().is_some_and(is_new) && promise.on_trial && has_trial;
    }

    /// Lets a firmware that is content with itself update, and gives it time.
    fn next_update(&mut self, device: &Device<'_>, bytes: &[u8]) {
        let mut flash = Flash::in_memory(bytes.to_vec());
        for _ in 0..PATIENCE {
            match update(device, &mut flash) {
                Ok(()) => return,
                Err(refusal) => drop(self.refused.get_or_insert(refusal)),
            }
        }
        self.stuck = true;
    }
}

/// Boots, confirms, updates, and looks whether the update stays.
fn update(device: &Device<'_>, flash: &mut Flash) -> Result<(), String> {
    let running = device.boot(flash).map_err(|_| "nothing boots")?;
    device.confirm(flash, running)?;
    device.update(flash, running, Release::Later)?;
    for what in ["it says it is done, but does not boot", "it does not stay"] {
        match device.boot(flash) {
            Ok(now) if now.release == Release::Later => device.confirm(flash, now)?,
            _ => return Err(what.to_owned()),
        }
    }
    Ok(())
}
