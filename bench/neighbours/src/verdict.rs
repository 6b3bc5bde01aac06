//! The result of a power cut.

use s3ota_sim::Flash;

use crate::device::{Device, NothingRuns, Release, Running};

/// How many restarts to watch a firmware for, and how many attempts to update it gets. s3ota gives a firmware three boots: by then
/// the new one has used them up and, if it were considered on trial, the old one too.
const RESTARTS: usize = 10;

/// What became of a device.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// What should not run, but does, now or after some restarts.
    pub wrong: Option<&'static str>,
    /// The new firmware runs, was never confirmed, and is not rolled back.
    pub trial_lost: bool,
    /// The result of the next update, if it did not work at once.
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

/// Checks a flash after a power cut.
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
        let runs: Vec<_> = (0..RESTARTS).map(|_| device.boot(&mut flash)).collect();
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

    /// Lets a firmware that confirms itself update, and gives it time.
    fn next_update(&mut self, device: &Device<'_>, bytes: &[u8]) {
        let mut flash = Flash::in_memory(bytes.to_vec());
        for _ in 0..RESTARTS {
            match update(device, &mut flash) {
                Ok(()) => return,
                Err(refusal) => drop(self.refused.get_or_insert(refusal)),
            }
        }
        self.stuck = true;
    }
}

/// Boots, confirms, updates, and checks whether the update stays.
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
