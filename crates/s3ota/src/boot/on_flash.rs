//! What decides what boots, as flash has it.

use embedded_storage_async::nor_flash::NorFlash;

use crate::apart::ok;
use crate::boot::launch;
use crate::boot::otadata::Otadata;
use crate::error::Error;
use crate::flash::partitions::{Layout, Running};

/// The partitions, which of them runs, and otadata.
pub(crate) struct OnFlash {
    pub(crate) layout: Layout,
    pub(crate) running: Running,
    pub(crate) otadata: Otadata,
}

impl OnFlash {
    /// Reads it from a flash whose partition table is at `table`. The firmware runs from the flash offset `running`.
    // In one place: nearly everything about trials begins with it.
    #[inline(never)]
    pub(crate) fn read<F: NorFlash>(
        flash: &mut F,
        table: u32,
        running: u32,
    ) -> Result<Self, Error> {
        let layout = ok!(Layout::read(flash, table));
        let running = ok!(layout.running(running));
        let otadata = ok!(launch::read_otadata(flash, &layout));
        Ok(Self {
            layout,
            running,
            otadata,
        })
    }
}
