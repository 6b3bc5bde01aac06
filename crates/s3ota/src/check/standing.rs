//! Where a device stands: what runs, what may replace it, and what the device remembers.

use embedded_storage_async::nor_flash::NorFlash;
use s3ota_image::Chip;
use s3ota_image::app::{Descriptor, Hardware, Header, PREFIX_LEN};
use s3ota_manifest::user_agent::Bootloader;
use s3ota_manifest::{KeyId, Manifest};

use crate::apart::ok;
use crate::boot::on_flash::OnFlash;
use crate::boot::otadata::Boots;
use crate::boot::rollback_state::{Claim, RollbackState, Tries};
use crate::boot::trial;
use crate::check::decision::{Facts, decide, identify};
use crate::config::Config;
use crate::error::{Error, FirmwareError, Name, ReleaseError, cut};
use crate::flash::access as flash;
use crate::flash::partitions::Slot;
use crate::flash::release::ReleaseId;
use crate::outcome::NoUpdate;

/// Where a device stands before an attempt.
pub(crate) struct Standing {
    on_flash: OnFlash,
    /// The boots of the running firmware's trial, if it is on one.
    trial: Option<Boots>,
    /// The slot an image would go to.
    pub(crate) target: Slot,
    /// The name of the running firmware's project, as its app descriptor has it.
    pub(crate) project: Option<Name>,
    /// The chip that its image is for.
    chip: Option<Chip>,
    /// Its secure version. The chip's eFuse follows it, where the bootloader does anti-rollback.
    secure_version: u32,
    bootloader: Option<Bootloader>,
}

/// What of that the device tells when it asks for a manifest.
pub(crate) struct Told {
    /// The boots of the running firmware's trial, if it is on one.
    pub(crate) trial: Option<Boots>,
    /// The kind of bootloader, as the User-Agent names it.
    pub(crate) bootloader: Option<Bootloader>,
    /// The version of the release that was rolled back, so that the running firmware runs again. Empty if there is none.
    pub(crate) back: Name,
}

impl Told {
    /// Reads it. In a function of its own: the rest takes stack, and is not needed.
    #[inline(never)]
    pub(crate) fn read<F: NorFlash>(
        flash: &mut F,
        config: &Config<'_>,
        running: u32,
    ) -> Result<Self, Error> {
        match Standing::read(flash, config, running) {
            Ok(ref standing) => Ok(Self {
                trial: standing.trial,
                bootloader: standing.bootloader,
                back: ok!(standing.rolled_back(flash)),
            }),
            Err(error) => Err(error),
        }
    }
}

impl Standing {
    /// Reads where a device stands whose firmware runs from flash offset `running`.
    #[inline(never)]
    pub(crate) fn read<F: NorFlash>(
        flash: &mut F,
        config: &Config<'_>,
        running: u32,
    ) -> Result<Self, Error> {
        let on_flash = ok!(OnFlash::read(flash, config.partition_table, running));
        Self::on(flash, on_flash, running)
    }

    /// By what lies on flash. In a function of its own: the partition table was read without its stack.
    #[inline(never)]
    fn on<F: NorFlash>(flash: &mut F, on_flash: OnFlash, running: u32) -> Result<Self, Error> {
        let mut prefix = [0; PREFIX_LEN];
        ok!(flash::read(flash, running, &mut prefix));
        let descriptor = prefix.last_chunk().and_then(Descriptor::parse);
        let descriptor = descriptor.as_ref();
        let header = prefix
            .first_chunk()
            .and_then(|bytes| Header::parse(bytes).ok());
        Ok(Self {
            chip: header.and_then(|header| header.chip()),
            secure_version: descriptor.map_or(0, |descriptor| descriptor.secure_version),
            bootloader: trial::bootloader(&on_flash).map(Bootloader::from),
            trial: ok!(trial::boots(flash, &on_flash)),
            target: ok!(on_flash.layout.target(on_flash.running)),
            project: descriptor.map(|descriptor| cut(descriptor.project_name())),
            on_flash,
        })
    }

    /// The version of the release that was rolled back, so that the running firmware runs again. Empty if there is none.
    #[inline(never)]
    fn rolled_back<F: NorFlash>(&self, flash: &mut F) -> Result<Name, Error> {
        let mut version = Name::new();
        if let Some(slot) = ok!(trial::rolled_back(flash, &self.on_flash)) {
            let mut prefix = [0; PREFIX_LEN];
            ok!(flash::read(flash, slot.offset, &mut prefix));
            // An image that is being written there now has no header before it is whole.
            let header = prefix.first_chunk().map(Header::parse);
            if let (Some(Ok(_)), Some(bytes)) = (header, prefix.last_chunk())
                && let Some(descriptor) = Descriptor::parse(bytes)
            {
                version = cut(descriptor.version());
            }
        }
        Ok(version)
    }

    /// Bytes that an image may have.
    pub(crate) fn room(&self) -> u32 {
        self.on_flash.layout.room()
    }

    /// What an image must fit.
    pub(crate) fn hardware(&self, config: &Config<'_>) -> Hardware {
        let least = config.hardware.secure_version.unwrap_or(0);
        Hardware {
            secure_version: Some(least.max(self.secure_version)),
            ..config.hardware
        }
    }

    /// Judges a manifest: which release it offers, and why that is not to be installed, if it is not.
    ///
    /// With `remember` what its key has signed is remembered from now on; and where the running firmware launches a new one, nothing
    /// else leads to that.
    #[inline(never)]
    pub(crate) fn judge<F: NorFlash>(
        &mut self,
        flash: &mut F,
        manifest: &Manifest<'_>,
        config: &Config<'_>,
        now: Option<u64>,
        remember: bool,
    ) -> Result<(Tries, Option<NoUpdate>), Error> {
        let (key, state) = ok!(self.signer(flash, manifest, config));
        let release = ReleaseId::of(manifest);
        let tries = state.tries(release);
        let facts = Facts {
            has_failed: tries.has_failed(),
            ..self.facts(manifest, config, now, key, &state)
        };
        say(manifest, config);
        let decision = ok!(decide(manifest, release, config, &facts));
        if let Some(key) = key.filter(|_| remember) {
            let news = Claim::of(key, manifest);
            ok!(self.on_flash.otadata.remember(flash, state, news));
        }
        if remember && decision.is_none() && config.trial_mode.launches() {
            ok!(trial::clear_way(flash, &mut self.on_flash));
        }
        Ok((tries, decision))
    }

    /// Shows that a manifest is one by which this firmware would be replaced.
    #[inline(never)]
    pub(crate) fn prove<F: NorFlash>(
        &self,
        flash: &mut F,
        manifest: &Manifest<'_>,
        config: &Config<'_>,
        now: Option<u64>,
    ) -> Result<(), Error> {
        let (key, state) = ok!(self.signer(flash, manifest, config));
        say(manifest, config);
        ok!(self.check_own_chip(config));
        identify(
            manifest,
            config,
            &self.facts(manifest, config, now, key, &state),
        )
    }

    /// The release key that has signed a manifest, `None` where the firmware asks for none, and what the device remembers.
    #[inline(never)]
    fn signer<F: NorFlash>(
        &self,
        flash: &mut F,
        manifest: &Manifest<'_>,
        config: &Config<'_>,
    ) -> Result<(Option<KeyId>, RollbackState), Error> {
        // The signature comes first: nothing else in an unsigned manifest is looked at.
        let key = if config.release_keys.is_empty() {
            None
        } else {
            let key = manifest.verify(config.release_keys);
            Some(ok!(key.map_err(ReleaseError::Signature)))
        };
        Ok((key, ok!(self.on_flash.otadata.rollback_state(flash))))
    }

    /// What the device knows.
    fn facts<'f>(
        &'f self,
        manifest: &Manifest<'_>,
        config: &Config<'_>,
        now: Option<u64>,
        key: Option<KeyId>,
        state: &RollbackState,
    ) -> Facts<'f> {
        Facts {
            project: self.project.as_deref(),
            running: trial::running_release(&self.on_flash),
            has_failed: false,
            now,
            room: self.room(),
            signer: key.map(|key| state.signer(config.release_keys, key, manifest.channel)),
        }
    }

    /// A firmware configured for another chip than the one it was built for would never take its successor.
    fn check_own_chip(&self, config: &Config<'_>) -> Result<(), FirmwareError> {
        match self.chip {
            Some(chip) if chip != config.chip => Err(FirmwareError::Chip {
                expected: config.chip,
                found: cut(chip.name()),
            }),
            _ => Ok(()),
        }
    }
}

/// Logs what is offered to whom, once the signature is known to be good.
#[inline(never)]
fn say(manifest: &Manifest<'_>, config: &Config<'_>) {
    info!(
        "the manifest offers {}, running is {}",
        manifest.version, config.version
    );
}
