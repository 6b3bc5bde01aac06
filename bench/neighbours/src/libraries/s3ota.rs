//! s3ota, whose update is a download: from a server over TLS, on a network in memory.

use s3ota::{Boot, DEFAULT_TRIAL_BOOTS, Error, Outcome, Timeouts, Updater, Workspace, boot_guard};
use s3ota_sim::host::{HostClock, OsRng};
use s3ota_sim::{Bootloader, Flash};
use tokio::runtime::Runtime;

use super::{Firmware, Library, Refusal, refusal};
use scripted_server::bucket::Bucket;
use crate::device::Release;
use scripted_server::network::{Network, PORT};

/// The library.
pub struct S3ota {
    runtime: Runtime,
}

impl S3ota {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime on this thread needs nothing");
        Self { runtime }
    }

    fn with(
        &self,
        firmware: &mut Firmware<'_>,
        act: impl AsyncFnOnce(&mut LocalUpdater<'_>) -> Result<(), Error>,
    ) -> Result<(), Refusal> {
        let network = Network::new(|_, _| unreachable!("no server is asked"));
        let version = firmware.release.version();
        let mut workspace = Box::new(Workspace::new());
        let config = network.config(&version, Timeouts::default());
        let device = network.device(&mut *firmware.flash, firmware.at);
        let mut updater = Updater::new(config, device, &mut workspace);
        self.runtime.block_on(act(&mut updater)).map_err(refusal)
    }
}

/// The updater of a device here.
type LocalUpdater<'a> = Updater<'a, &'a mut Flash, &'a Network, HostClock, OsRng>;

impl Library for S3ota {
    fn name(&self) -> &'static str {
        "s3ota"
    }

    fn has_trial(&self, _: Bootloader) -> bool {
        true
    }

    fn start(&self, firmware: &mut Firmware<'_>) -> Result<bool, Refusal> {
        let guard = boot_guard(&mut *firmware.flash, firmware.at, DEFAULT_TRIAL_BOOTS);
        let boot = self.runtime.block_on(guard).map_err(refusal)?;
        Ok(boot == Boot::GivenUp)
    }

    fn confirm(&self, firmware: &mut Firmware<'_>) -> Result<(), Refusal> {
        self.with(firmware, async |updater| updater.confirm().await.map(drop))
    }

    fn reject(&self, firmware: &mut Firmware<'_>) -> Result<(), Refusal> {
        self.with(firmware, async |updater| updater.roll_back().await)
    }

    fn update(&self, firmware: &mut Firmware<'_>, to: Release) -> Result<(), Refusal> {
        let bucket = Bucket::hashed(&to.version(), to.image().to_vec(), PORT);
        let network = Network::new(move |request, _| bucket.answer(request).into());
        let version = firmware.release.version();
        let result = self.runtime.block_on(network.install(
            &mut *firmware.flash,
            firmware.at,
            &version,
            Timeouts::default(),
            &mut (),
        ));
        match result {
            Ok(Outcome::Installed(_)) => Ok(()),
            other => Err(refusal(other)),
        }
    }
}
