//! What the running firmware does about its own trial.

use embedded_storage_async::nor_flash::NorFlash;

use crate::boot::otadata::Otadata;
use crate::boot::trial;
use crate::device::Flash;
use crate::error::Error;
use crate::flash::partitions::{Layout, Running};
use crate::install::wear::Wear;
use crate::updater::Updater;

impl<F: Flash, N, C, R> Updater<'_, F, N, C, R> {
    /// Whether the running firmware is on trial. No boot is counted.
    ///
    /// # Errors
    ///
    /// [`Error::Flash`] and [`Error::Layout`].
    pub async fn is_on_trial(&mut self) -> Result<bool, Error> {
        let flash = &mut *self.device.flash.lock().await;
        let (layout, running) = layout(flash, self.device.running)?;
        let otadata = Otadata::read(flash, &layout)?;
        Ok(trial::on_trial(&layout, running, &otadata))
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
        let flash = &mut *self.device.flash.lock().await;
        let (layout, running) = layout(flash, self.device.running)?;
        trial::end_boot(flash, &layout, running)
    }

    /// Ends the running firmware's trial: it is now the one to go back to. `false` if it was not on trial.
    ///
    /// # Errors
    ///
    /// [`Error::Flash`] and [`Error::Layout`]; the trial then goes on.
    pub async fn confirm(&mut self) -> Result<bool, Error> {
        let flash = &mut *self.device.flash.lock().await;
        let (layout, running) = layout(flash, self.device.running)?;
        let confirmed = trial::confirm(flash, &layout, running)?;
        if confirmed {
            // What it cost to get here was worth it.
            self.wear = Wear::default();
        }
        Ok(confirmed)
    }

    /// Gives up the running firmware and selects the one that it replaced. **Restart** afterwards.
    ///
    /// A confirmed firmware's record says which slot that was. If the image is not there any more, another whole one that did not
    /// fail is selected, or the factory app. The release given up is not installed again.
    ///
    /// # Errors
    ///
    /// [`Error::NothingToGoBackTo`] where no other slot holds such an image.
    pub async fn roll_back(&mut self) -> Result<(), Error> {
        let (layout, running) = {
            let flash = &mut *self.device.flash.lock().await;
            layout(flash, self.device.running)?
        };
        trial::roll_back(
            &mut self.device.flash,
            &layout,
            running,
            self.config.release_keys,
            &mut self.workspace.block,
        )
        .await
    }
}

fn layout<C: NorFlash>(flash: &mut C, running: u32) -> Result<(Layout, Running), Error> {
    let layout = Layout::read(flash)?;
    let running = layout.running(running)?;
    Ok((layout, running))
}
