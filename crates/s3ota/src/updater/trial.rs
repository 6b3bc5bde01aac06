//! What the running firmware does about its own trial.
//!
//! Each in functions of its own: whoever awaits one does not get its stack.

use crate::apart::{apart, ok};
use crate::boot::on_flash::OnFlash;
use crate::boot::trial;
use crate::device::Flash;
use crate::error::{Error, cut};
use crate::install::wear::Wear;
use crate::updater::Updater;

impl<F: Flash, N, C, R> Updater<'_, F, N, C, R> {
    /// Whether the running firmware is on trial. No boot is counted.
    ///
    /// # Errors
    ///
    /// [`Error::Flash`] and [`Error::Layout`].
    pub async fn is_on_trial(&mut self) -> Result<bool, Error> {
        apart!(self.state())
    }

    async fn state(&mut self) -> Result<bool, Error> {
        let flash = &mut *self.device.flash.lock().await;
        let on_flash = ok!(OnFlash::read(
            flash,
            self.config.partition_table,
            self.device.running
        ));
        Ok(trial::on_trial(&on_flash))
    }

    /// Notes that this boot of the running firmware's trial ends in order: the firmware runs well, and only did not reach its
    /// server. **Restart** afterwards.
    ///
    /// A release whose boots all end so is given up like any other. But it is tried again later, up to four times in all; one
    /// that crashed is not.
    ///
    /// # Errors
    ///
    /// [`Error::Flash`] and [`Error::Layout`]; the boot then counts as one that crashed.
    pub async fn end_trial_boot(&mut self) -> Result<(), Error> {
        apart!(self.end_boot())
    }

    async fn end_boot(&mut self) -> Result<(), Error> {
        let flash = &mut *self.device.flash.lock().await;
        trial::end_boot(flash, self.config.partition_table, self.device.running)
    }

    /// Ends the running firmware's trial: it is now the one to go back to. `false` if it was not on trial.
    ///
    /// # Errors
    ///
    /// [`Error::Flash`] and [`Error::Layout`]; the trial then goes on.
    pub async fn confirm(&mut self) -> Result<bool, Error> {
        apart!(self.make_confirmed())
    }

    async fn make_confirmed(&mut self) -> Result<bool, Error> {
        let flash = &mut *self.device.flash.lock().await;
        let confirmed = ok!(trial::confirm(
            flash,
            self.config.partition_table,
            self.device.running
        ));
        if confirmed {
            // What it cost to get here was worth it.
            self.wear = Wear::default();
            self.past.ended(&cut(self.config.version), Ok(None));
        }
        Ok(confirmed)
    }

    /// Gives up the running firmware and selects the one that it replaced. **Restart** afterwards.
    ///
    /// A confirmed firmware's record says which slot that was. If the image is not there any more, another whole one that did not
    /// fail is selected, on trial, or the factory app. On trial is also an image whose version is later, or not known, as with Arduino:
    /// it may be an update that lost its power before it ever ran. The release given up is not installed again.
    ///
    /// # Errors
    ///
    /// [`Error::NothingToGoBackTo`] where no other slot holds such an image.
    pub async fn roll_back(&mut self) -> Result<(), Error> {
        apart!(self.go_back())
    }

    async fn go_back(&mut self) -> Result<(), Error> {
        let [block, ..] = &mut self.workspace.pages;
        trial::roll_back(
            &mut self.device.flash,
            (self.config.partition_table, self.device.running),
            (self.config.release_keys, self.config.version),
            block,
        )
        .await
    }
}
