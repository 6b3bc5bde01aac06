//! The building blocks: check, install, prove, confirm, roll back.
//!
//! [`attempt`] tells what happens in one attempt, [`retry`] when another follows, and [`trial`] what the running firmware does
//! about itself.

mod attempt;
pub(crate) mod retry;
mod step;
mod trial;
#[cfg(feature = "delta")]
mod ways;
mod workspace;

use core::time::Duration;

use edge_nal::{Dns, TcpConnect};
use embedded_io_async::{Read, Seek};
use rand_core::{CryptoRng, RngCore};

use crate::apart::apart;
use crate::check::Settled;
use crate::check::past::Past;
use crate::config::Config;
use crate::device::{Clock, Device, Flash};
use crate::error::{Error, Name};
use crate::hooks::{Hooks, Watched};
use crate::install::check::Own;
use crate::install::wear::Wear;
use crate::install::writer::Known;
use crate::outcome::{Checked, Finished, Outcome};

pub use workspace::Workspace;

/// Updates one device. See the [crate's documentation](crate) for an example.
pub struct Updater<'a, F, N, C, R> {
    config: Config<'a>,
    device: Device<F, N, C, R>,
    workspace: &'a mut Workspace,
    settled: Settled,
    wear: Wear,
    past: Past,
    /// The release that the present attempt is about, once it is known.
    offered: Name,
    known: Known,
    /// The last update broke off, and the next one resumes it.
    half_done: bool,
    /// What the running image has, once it was read.
    own: Option<Own>,
    #[cfg(feature = "delta")]
    ways: ways::Ways,
}

impl<'a, F, N, C, R> Updater<'a, F, N, C, R>
where
    F: Flash,
    N: TcpConnect + Dns,
    C: Clock,
    R: CryptoRng + RngCore,
{
    /// An updater for `device`. Nothing is read or sent yet.
    pub fn new(
        config: Config<'a>,
        device: Device<F, N, C, R>,
        workspace: &'a mut Workspace,
    ) -> Self {
        Self {
            config,
            device,
            workspace,
            settled: None,
            wear: Wear::default(),
            past: Past::default(),
            offered: Name::new(),
            known: Known::default(),
            half_done: false,
            own: None,
            #[cfg(feature = "delta")]
            ways: ways::Ways::default(),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &Config<'a> {
        &self.config
    }

    /// The device's parts.
    pub fn device(&mut self) -> &mut Device<F, N, C, R> {
        &mut self.device
    }

    /// What the updates so far have cost the flash, and the error that they end in. A device that sleeps between two checks keeps
    /// it through that.
    pub fn wear(&self) -> Wear {
        self.wear.with(self.past.trouble)
    }

    /// Goes on with the wear that was kept: see [`Updater::wear`].
    pub fn set_wear(&mut self, wear: Wear) {
        self.past.trouble = wear.trouble();
        self.wear = wear;
    }

    /// Whether the last update broke off with a part of the image on flash.
    pub(crate) fn is_half_done(&self) -> bool {
        self.half_done
    }

    /// Checks whether there is a release to install. Reads flash, writes nothing.
    ///
    /// # Errors
    ///
    /// Every [`Error`] up to the decision: the connection, the manifest, a release that is refused. One attempt only.
    pub async fn check(&mut self) -> Result<Checked, Error> {
        let result = apart!(self.check_once());
        let how = match &result {
            Ok(Checked::Available(_)) => return result,
            Ok(Checked::NoUpdate(reason)) => Ok(Some(*reason)),
            Err(error) => Err(error),
        };
        self.past.ended(&self.offered, how);
        result
    }

    /// Shows that this firmware could be replaced by its successor: it reaches its manifest, the manifest is of its project,
    /// chip, board, channel and owner, and the image that it names can be fetched from its own URL. Writes nothing, and
    /// fetches no more of the image than its end.
    ///
    /// Do not [`confirm`](Self::confirm) a firmware before that: with a mistake in its board, its channel, its chip or its
    /// keys it would run for good.
    ///
    /// # Errors
    ///
    /// Those of [`check`](Self::check), and of a download. A manifest that has expired, is older, or forbidden by now is no
    /// error.
    pub async fn prove(&mut self) -> Result<(), Error> {
        self.prove_within(Duration::MAX).await
    }

    /// [`prove`](Self::prove), in this time at most.
    pub(crate) async fn prove_within(&mut self, time: Duration) -> Result<(), Error> {
        let result = apart!(self.prove_once(time));
        if let Err(error) = &result {
            self.past.ended(&self.offered, Err(error));
        }
        result
    }

    /// Checks for a release and installs it.
    ///
    /// Failures that may pass are retried after growing pauses, each time from the manifest on, so that a pre-signed URL is
    /// fresh. After [`Outcome::Installed`] restart the device.
    ///
    /// # Errors
    ///
    /// The [`Error`] of the last attempt. The running firmware stays the one that boots.
    pub async fn install(&mut self, hooks: &mut dyn Hooks) -> Result<Outcome, Error> {
        apart!(self.attempts(hooks))
    }

    /// [`install`](Self::install) as a future that owns all it needs, to be driven by hand: see [`poll`](crate::poll).
    #[allow(
        clippy::manual_async_fn,
        reason = "an async fn keeps what it is given twice, and an updater is large"
    )]
    pub fn begin<H: Hooks>(mut self, mut hooks: H) -> impl Future<Output = Finished<Self, H>> {
        async move {
            let result = self.install(&mut hooks).await;
            Finished {
                result,
                updater: self,
                hooks,
            }
        }
    }

    /// Installs an image that the application has, or gets by a way of its own: a UART, Bluetooth, an SD card, the HTTP client
    /// of a modem.
    ///
    /// `manifest` is the manifest document, which may have come by the same way. It is judged as one from the network is: the
    /// signature, where there are [release keys](Config::release_keys), the project, the chip, the version and so on. So are
    /// the image, and [the wear of the slot](Wear).
    ///
    /// `source` gives the image's bytes from its start. If a part of this image is on flash already, `source` is asked to
    /// [seek](Seek) to the first byte that is missing; where it answers [`Unsupported`](embedded_io_async::ErrorKind), all of
    /// the image is read again. An update that broke off can be resumed so if its manifest has a `sha256`.
    ///
    /// The limits of [`Timeouts`](crate::Timeouts) on silence and on the whole time hold here, too. It is one attempt: call it
    /// again to retry. After [`Outcome::Installed`] restart the device.
    ///
    /// ```no_run
    /// # use s3ota::device::{Clock, Dns, Flash, TcpConnect};
    /// # use s3ota::{Error, Outcome, Updater};
    /// # use embedded_io_async::{Read, Seek};
    /// # use rand_core::{CryptoRng, RngCore};
    /// # async fn from_card<F: Flash, N: TcpConnect + Dns, C: Clock, R: CryptoRng + RngCore>(
    /// #     updater: &mut Updater<'_, F, N, C, R>, image: impl Read + Seek, restart: fn() -> !) -> Result<(), Error> {
    /// // From an SD card: `stable.json`, and the image as an open file.
    /// let manifest = br#"{"version":"1.1.0","url":"https://example.com/lamp-1.1.0.bin"}"#;
    /// if let Outcome::Installed(_) = updater.install_from(manifest, image, &mut ()).await? {
    ///     restart();
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Source`] where `source` fails, and those of [`install`](Self::install) but for the network's.
    pub async fn install_from<S: Read + Seek>(
        &mut self,
        manifest: &[u8],
        source: S,
        hooks: &mut dyn Hooks,
    ) -> Result<Outcome, Error> {
        let mut watched = Watched::new(&mut *hooks);
        let result = apart!(self.attempt_from(manifest, source, &mut watched));
        self.settle(result, watched)
    }
}
