//! The building blocks: check, install, prove, confirm, roll back.
//!
//! An installation is a straight line. Each stage takes what the one before has proven:
//!
//! ```text
//!  manifest ──parse──► Manifest ──decide──► (go) ──download──► Verified ──complete──► Bootable ──switch──► Installed
//! ```

use core::time::Duration;

use edge_nal::{Dns, TcpConnect};
use embedded_io_async::{Read, Write};
use embedded_storage_async::nor_flash::NorFlash;
use heapless::String;
use rand_core::{CryptoRng, RngCore};
use s3ota_image::app::{Descriptor, Hardware, Header, Image, PREFIX_LEN};
use s3ota_image::{Chip, ImageError};
use s3ota_manifest::{HttpsUrl, MAX_DOCUMENT, Manifest, Timestamp, Version};
use s3ota_tls::CertTime;

use crate::apart::apart;
use crate::boot::otadata::Otadata;
use crate::boot::reset::Bootloader;
use crate::boot::rollback_state::{Claim, Tries};
use crate::boot::trial;
use crate::boot::trial::Own;
use crate::check::decision::{Facts, decide, has_expired, identify, show};
use crate::config::Config;
use crate::device::{Clock, Device};
use crate::error::{Error, FirmwareError, HttpError, LayoutError, Name, ReleaseError, cut};
use crate::flash::access as flash;
use crate::flash::partitions::{Layout, Running, Slot};
use crate::flash::release::ReleaseId;
use crate::hooks::{Hooks, Progress};
use crate::install::BLOCK;
use crate::install::wear::Wear;
use crate::install::writer::{Budget, Known, SlotWriter};
use crate::net::http::{Body, Framing, Head, Identity, MAX_ETAG, Part, Want};
use crate::net::link::Deadline;
use crate::net::session::{Answer, Opener, Session, SessionBuffers, Target};
use crate::outcome::{Available, Checked, Installed, NoUpdate, Outcome};

/// The memory an [`Updater`] works in, about 36 KB: TLS records, HTTP heads, URL and manifest, one flash sector.
///
/// It is the program's to place, usually in a `static`: the library allocates nothing.
// The block comes first and aligned: flash drivers copy what is not in whole words.
#[repr(C, align(4))]
pub struct Workspace {
    block: [u8; BLOCK],
    session: SessionBuffers,
    target: Target,
    document: [u8; MAX_DOCUMENT],
}

impl Workspace {
    /// An empty workspace.
    pub const fn new() -> Self {
        Self {
            session: SessionBuffers::new(),
            target: Target::new(),
            document: [0; MAX_DOCUMENT],
            block: [0; BLOCK],
        }
    }
}

impl Default for Workspace {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for Workspace {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Workspace").finish_non_exhaustive()
    }
}

/// Updates one device. See the [crate's documentation](crate) for an example.
pub struct Updater<'a, F, N, C, R> {
    config: Config<'a>,
    device: Device<F, N, C, R>,
    workspace: &'a mut Workspace,
    /// The last manifest that left nothing to do: its entity tag, and how long it may be believed.
    settled: Option<(String<MAX_ETAG>, Option<Timestamp>)>,
    wear: Wear,
    known: Known,
    /// The last update broke off, and is to be gone on with.
    half_done: bool,
    /// What the running image has, once it was read.
    own: Option<Own>,
}

/// What an attempt is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aim {
    /// To see whether there is something to install.
    Look,
    /// To see whether the running firmware could be replaced.
    Prove,
    Install,
}

impl<'a, F, N, C, R> Updater<'a, F, N, C, R>
where
    F: NorFlash,
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
            known: Known::default(),
            half_done: false,
            own: None,
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

    /// What the updates so far have cost the flash. A device that sleeps between two looks keeps it through that.
    pub fn wear(&self) -> Wear {
        self.wear
    }

    /// Goes on with what was kept: see [`Updater::wear`].
    pub fn set_wear(&mut self, wear: Wear) {
        self.wear = wear;
    }

    /// Whether the last update broke off with a part of the image on flash.
    pub(crate) fn is_half_done(&self) -> bool {
        self.half_done
    }

    /// Looks whether there is a release to install. Reads flash, writes nothing.
    ///
    /// # Errors
    ///
    /// Every [`Error`] up to the decision: the connection, the manifest, a release that is refused. One attempt only.
    pub async fn check(&mut self) -> Result<Checked, Error> {
        Ok(match apart!(self.attempt_once(Aim::Look, Duration::MAX))? {
            Attempt::Found(available) => Checked::Available(available),
            Attempt::NoUpdate(reason) => Checked::NoUpdate(reason),
            // A look ends before it proves or installs.
            Attempt::Proven => Checked::NoUpdate(NoUpdate::UpToDate),
            Attempt::Installed(installed) => Checked::Available(Available {
                version: installed.version,
                size: Some(installed.size),
            }),
        })
    }

    /// Shows that this firmware could be replaced by its successor: it reaches its manifest, the manifest is of its project,
    /// chip, board, channel and owner, and the image that it names can be fetched from its own URL. Writes nothing, and
    /// fetches no more of the image than its end.
    ///
    /// Before that, do not [`confirm`](Self::confirm) a firmware: with a slip in its board, its channel, its chip or its
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
        apart!(self.attempt_once(Aim::Prove, time)).map(drop)
    }

    /// One attempt without hooks, in this time at most.
    async fn attempt_once(&mut self, aim: Aim, time: Duration) -> Result<Attempt, Error> {
        let (deadline, mut hooks) = (self.config.timeouts.deadline.min(time), ());
        let mut watched = Watched::new(&mut hooks);
        apart!(self.attempt(&mut watched, aim, deadline))
    }

    /// Looks for a release and installs it.
    ///
    /// Failures that may pass are tried again with growing pauses, each time from the manifest on, so that a pre-signed
    /// URL is fresh. After [`Outcome::Installed`] restart the device.
    ///
    /// # Errors
    ///
    /// The [`Error`] of the last attempt. The running firmware stays the one that boots.
    pub async fn install(&mut self, hooks: &mut dyn Hooks) -> Result<Outcome, Error> {
        let timeouts = self.config.timeouts;
        let began = self.device.clock.uptime();
        let mut attempt = 1;
        let mut reached = 0;
        loop {
            let spent = self.device.clock.uptime().saturating_sub(began);
            let left = timeouts.deadline.saturating_sub(spent);
            let mut watched = Watched::new(&mut *hooks);
            let result = apart!(self.attempt(&mut watched, Aim::Install, left));
            let Watched {
                started,
                taken_up,
                written,
                ..
            } = watched;
            self.half_done = match &result {
                Ok(_) | Err(Error::Image(_)) => false,
                Err(_) => self.half_done || written.max(taken_up) > 0,
            };
            // Attempts are counted while nothing gets better: a line that breaks after every 100 KB does in the end.
            if taken_up > reached {
                reached = taken_up;
                attempt = 1;
            }
            let error = match result {
                Ok(Attempt::Installed(installed)) => {
                    hooks.on_complete(&installed);
                    return Ok(Outcome::Installed(installed));
                }
                Ok(Attempt::NoUpdate(reason)) => {
                    log::info!("no update: {reason:?}");
                    hooks.on_no_update(reason);
                    return Ok(Outcome::NoUpdate(reason));
                }
                Ok(Attempt::Found(_) | Attempt::Proven) => {
                    return Ok(Outcome::NoUpdate(NoUpdate::UpToDate));
                }
                Err(error) => error,
            };
            let spent = self.device.clock.uptime().saturating_sub(began);
            let left = timeouts.deadline.saturating_sub(spent);
            let error = if left.is_zero() {
                Error::Deadline {
                    after: timeouts.deadline,
                }
            } else {
                error
            };
            let pause = self.pause(attempt, error.retry_after());
            let again = is_worth_another_attempt(&error, started, taken_up)
                && (self.may_erase() || !matches!(error, Error::Image(_)))
                && attempt < timeouts.attempts
                && pause < left;
            hooks.on_error(&error, again.then_some(pause));
            if started {
                hooks.on_stop();
            }
            if !again {
                log::error!("update failed: {error}");
                return Err(error);
            }
            log::warn!(
                "attempt {attempt} failed, again in {} s: {error}",
                pause.as_secs()
            );
            apart!(self.device.clock.sleep(pause));
            attempt = attempt.saturating_add(1);
        }
    }

    /// How the running firmware stands, without counting a boot.
    pub async fn is_on_trial(&mut self) -> Result<bool, Error> {
        let (layout, running) = self.layout()?;
        let otadata = Otadata::read(&mut self.device.flash, &layout)?;
        Ok(trial::on_trial(&layout, running, &otadata))
    }

    /// Notes that this boot of the running firmware's trial ends in order: the firmware runs well, and only did not reach its
    /// server. **Restart** afterwards.
    ///
    /// A release all of owner boots end so is given up like any other. But it is tried again later, up to four times in all,
    /// while one that crashed is not.
    ///
    /// # Errors
    ///
    /// [`Error::Flash`] and [`Error::Layout`]; the boot then counts as one that crashed.
    pub async fn end_trial_boot(&mut self) -> Result<(), Error> {
        let (layout, running) = self.layout()?;
        trial::end_boot(&mut self.device.flash, &layout, running)
    }

    /// Ends the running firmware's trial: it is now the one to go back to. `false` if it was not on trial.
    ///
    /// # Errors
    ///
    /// [`Error::Flash`] and [`Error::Layout`]; the trial then goes on.
    pub async fn confirm(&mut self) -> Result<bool, Error> {
        let (layout, running) = self.layout()?;
        let confirmed = trial::confirm(&mut self.device.flash, &layout, running)?;
        if confirmed {
            // What it cost to get here was worth it.
            self.wear = Wear::default();
        }
        Ok(confirmed)
    }

    /// Gives the running firmware up and selects the one that it replaced. **Restart** afterwards.
    ///
    /// A confirmed firmware's record says which slot that was. Where the image is not there any more, another whole one is
    /// selected that did not fail, or the factory app. The release given up is not installed again.
    ///
    /// # Errors
    ///
    /// [`Error::NothingToGoBackTo`] where no other slot holds such an image.
    pub async fn roll_back(&mut self) -> Result<(), Error> {
        let (layout, running) = self.layout()?;
        trial::roll_back(
            &mut self.device.flash,
            &layout,
            running,
            self.config.release_keys,
            &mut self.workspace.block,
        )
        .await
    }

    /// Whether an image could be begun now.
    fn may_erase(&self) -> bool {
        self.known.is_blank() || self.wear.rest(self.device.clock.since_power_on()).is_zero()
    }

    fn layout(&mut self) -> Result<(Layout, Running), Error> {
        let layout = Layout::read(&mut self.device.flash)?;
        let running = layout.running(self.device.running)?;
        Ok((layout, running))
    }

    /// The pause after attempt number `attempt`: random, up to a bound that doubles, so that devices which lost the same
    /// server do not come back together. What the server asked for comes before it, because it asks all of them for the
    /// same.
    fn pause(&mut self, attempt: u8, retry_after: Option<Duration>) -> Duration {
        let timeouts = self.config.timeouts;
        let doubled = 1u32
            .checked_shl(u32::from(attempt.saturating_sub(1)))
            .unwrap_or(u32::MAX);
        let bound = timeouts
            .first_pause
            .saturating_mul(doubled)
            .min(timeouts.longest_pause);
        let asked = retry_after.unwrap_or_default().min(timeouts.longest_pause);
        asked.saturating_add(share(bound, &mut self.device.rng))
    }

    /// One attempt: the manifest, the decision, the image, the switch; over one connection where one server has both.
    async fn attempt(
        &mut self,
        hooks: &mut Watched<'_>,
        aim: Aim,
        time: Duration,
    ) -> Result<Attempt, Error> {
        let Self {
            config,
            device,
            workspace,
            settled,
            wear,
            known,
            own,
            ..
        } = self;
        let Workspace {
            session: buffers,
            target,
            document,
            block,
        } = &mut **workspace;
        let flash = &mut device.flash;
        let (on_trial, bootloader) = Standing::read(flash, device.running, block)?.state();
        if on_trial && aim == Aim::Install {
            return Err(Error::OnTrial);
        }
        let since_power_on = || device.clock.since_power_on();

        let now = device
            .clock
            .unix_time()
            .filter(|&now| now >= config.built_at);
        let identity = Identity {
            device: Some(config.device_id).filter(|id| config.send_device_id && !id.is_empty()),
            firmware: config.version,
            chip: config.chip.name(),
            state: if on_trial { "trial" } else { "valid" },
            bootloader,
        };
        let mut opener = Opener {
            network: &device.network,
            rng: &mut device.rng,
            roots: &config.roots,
            time: now.map_or(CertTime::AtLeast(config.built_at), CertTime::Known),
            deadline: Deadline::new(&device.clock, time, config.timeouts.idle),
        };

        // The manifest. One that was good and has not changed is looked at again once its time is over.
        if aim == Aim::Prove
            || settled
                .as_ref()
                .is_some_and(|(_, expires)| has_expired(*expires, now, config))
        {
            *settled = None;
        }
        target.aim(&HttpsUrl::parse(config.manifest_url).map_err(Error::ManifestUrl)?)?;
        let (mut session, head) = loop {
            let mut session = apart!(opener.open(target, buffers))?;
            let want = settled
                .as_ref()
                .map_or(Want::All, |(etag, _)| Want::Changed(etag));
            if let Answer::Here(head) = apart!(session.get(target, identity, want))? {
                break (session, head);
            }
        };
        if head.status == 304 {
            return Ok(Attempt::NoUpdate(NoUpdate::NotModified));
        }
        let mut body = session.body(&head);
        let document = apart!(read_document(&mut body, &head, document))?;
        let at_end = body.at_end();
        session.finished(&head, at_end);
        let manifest = Manifest::parse(document)?;

        // The decision.
        let (tries, decision, slot, hardware, project) = {
            // What it holds besides is not kept while the image is fetched.
            let mut standing = Standing::read(flash, device.running, block)?;
            let (tries, decision) = standing.consider(flash, &manifest, config, now, aim)?;
            let (slot, hardware) = (standing.target, standing.hardware(config));
            (tries, decision, slot, hardware, standing.project)
        };
        let release = tries.release();
        if let Some(reason) = decision {
            *settled = head.etag.map(|etag| (etag, manifest.expires));
            return Ok(Attempt::NoUpdate(reason));
        }
        *settled = None;
        let expected = Expected {
            manifest: &manifest,
            config,
            project: project.as_deref(),
            hardware,
            slot,
        };
        if aim != Aim::Prove {
            if wear.rests(release, tries.away(), since_power_on()) {
                return Ok(Attempt::NoUpdate(NoUpdate::Resting));
            }
            if aim == Aim::Look {
                return Ok(Attempt::Found(Available {
                    version: show(&manifest.version),
                    size: manifest.size,
                }));
            }
            if !hooks.may_start(&manifest) {
                return Ok(Attempt::NoUpdate(NoUpdate::Vetoed));
            }
            hooks.on_start(&manifest);
            if own.is_none() {
                *own = Some(apart!(trial::own(flash, device.running, block))?);
            }
        }
        let mut writer = if aim == Aim::Prove {
            None
        } else {
            let budget = Budget {
                wear,
                now: &since_power_on,
                known,
            };
            let taken_up = SlotWriter::take_up(flash, slot, block, release, budget);
            let taken_up = apart!(taken_up)?;
            hooks.taken_up(taken_up.written(), manifest.size);
            Some(taken_up)
        };

        // The image: what is missing of it, and then the whole of it checked. As a proof its end will do.
        let head = if writer.as_ref().is_some_and(SlotWriter::is_complete) {
            None
        } else {
            let mut goes_on = target.aim(&manifest.url)? && session.is_usable();
            loop {
                if !goes_on {
                    drop(session);
                    session = apart!(opener.open(target, buffers))?;
                }
                let part = match &writer {
                    Some(writer) => writer.missing(),
                    None => end_of(&manifest),
                };
                match apart!(session.get(target, identity, part.map_or(Want::All, Want::Rest)))? {
                    Answer::Here(head) => break Some(head),
                    Answer::Elsewhere => {}
                    Answer::NoSuchPart => match &mut writer {
                        Some(writer) => {
                            log::warn!(
                                "the server does not give the rest of the image: all of it then"
                            );
                            writer.begin_again();
                        }
                        None => return Err(HttpError::NoSuchPart.into()),
                    },
                }
                goes_on = false;
            }
        };
        let Some(writer) = &mut writer else {
            if let Some(head) = head {
                let mut body = session.body(&head);
                apart!(some_of(&mut body))?;
            }
            return Ok(Attempt::Proven);
        };
        let fetched = match &head {
            None => {
                drop(session);
                expected.check_prefix(writer).map_err(Error::from)
            }
            Some(head) => apart!(download(&mut session, head, writer, &expected, hooks)),
        };
        let verified = match fetched {
            Ok(()) => {
                let sha256 = manifest.sha256.map(Into::into);
                let verified = apart!(writer.verify(manifest.size, sha256));
                verified.and_then(|verified| match own {
                    Some(own) => Ok(own.is_kept_by(verified.image()).map(|()| verified)?),
                    None => Ok(verified),
                })
            }
            Err(error) => Err(error),
        };
        let verified = match verified {
            Ok(verified) => verified,
            Err(Error::Image(error)) => {
                log::warn!("the image is refused: {error}");
                writer.refuse(release);
                // It could not be booted anyway: what cannot be erased, or not now, changes nothing about the refusal.
                if apart!(writer.wipe()).is_err() {
                    log::warn!("what was written of it stays for now");
                }
                return Err(error.into());
            }
            // A connection that broke says nothing against what has arrived.
            Err(error) => return Err(error),
        };
        hooks.on_progress(Progress {
            written: writer.written(),
            total: Some(writer.written()),
        });

        // The switch.
        *known = Known::default();
        let image = verified.complete(flash, block, release)?;
        let size = image.image.length;
        let slot = trial::switch(flash, device.running, image)?;
        let version = show(&manifest.version);
        log::info!(
            "{version} is on flash in slot {} and boots next",
            slot.index
        );
        Ok(Attempt::Installed(Installed {
            version,
            size,
            slot,
        }))
    }
}

/// Where a device stands before an attempt.
struct Standing {
    layout: Layout,
    running: Running,
    otadata: Otadata,
    /// Whether the running firmware is on trial.
    on_trial: bool,
    /// The slot an image would go to.
    target: Slot,
    /// The name of the running firmware's project, as its app descriptor has it.
    project: Option<Name>,
    /// The chip that its image is for.
    chip: Option<Chip>,
    /// Its secure version. The chip's eFuse follows it, where the bootloader does anti-rollback.
    secure_version: u32,
    /// The kind of bootloader, as the User-Agent names it.
    bootloader: Option<&'static str>,
}

impl Standing {
    /// Reads where the device stands owner firmware runs from flash offset `running`.
    #[inline(never)]
    fn read<F: NorFlash>(
        flash: &mut F,
        running: u32,
        block: &mut [u8; BLOCK],
    ) -> Result<Self, Error> {
        let prefix = block.first_chunk_mut::<PREFIX_LEN>();
        let prefix = prefix.ok_or(LayoutError::RunningUnknown { offset: running })?;
        let layout = Layout::read(flash)?;
        flash::read(flash, running, prefix)?;
        let running = layout.running(running)?;
        let otadata = Otadata::read(flash, &layout)?;
        let descriptor = prefix.last_chunk().and_then(Descriptor::parse);
        let descriptor = descriptor.as_ref();
        let header = prefix
            .first_chunk()
            .and_then(|bytes| Header::parse(bytes).ok());
        Ok(Self {
            chip: header.and_then(|header| header.chip()),
            secure_version: descriptor.map_or(0, |descriptor| descriptor.secure_version),
            bootloader: trial::bootloader(&layout, running, &otadata).map(Bootloader::name),
            on_trial: trial::on_trial(&layout, running, &otadata),
            target: layout.target(running)?,
            project: descriptor.map(|descriptor| cut(descriptor.project_name())),
            layout,
            running,
            otadata,
        })
    }

    /// Whether the running firmware is on trial, and the bootloader's name.
    fn state(&self) -> (bool, Option<&'static str>) {
        (self.on_trial, self.bootloader)
    }

    /// What an image must fit.
    fn hardware(&self, config: &Config<'_>) -> Hardware {
        let least = config.hardware.secure_version.unwrap_or(0);
        Hardware {
            secure_version: Some(least.max(self.secure_version)),
            ..config.hardware
        }
    }

    /// Decides about a manifest: which release it is, and why it is not to be installed, if it is not. Where that is what this
    /// is for, what its signer said is remembered.
    #[inline(never)]
    fn consider<F: NorFlash>(
        &mut self,
        flash: &mut F,
        manifest: &Manifest<'_>,
        config: &Config<'_>,
        now: Option<u64>,
        aim: Aim,
    ) -> Result<(Tries, Option<NoUpdate>), Error> {
        // What nobody signed is not even looked at.
        let key = if config.release_keys.is_empty() {
            None
        } else {
            let key = manifest.verify(config.release_keys);
            Some(key.map_err(ReleaseError::Signature)?)
        };
        let state = self.otadata.rollback_state(flash)?;
        let release = ReleaseId::of(manifest);
        let tries = state.tries(release);
        let facts = Facts {
            project: self.project.as_deref(),
            running: trial::running_release(&self.layout, self.running, &self.otadata),
            has_failed: tries.has_failed(),
            now,
            target: self.target,
            signer: key.map(|key| state.signer(config.release_keys, key, manifest.channel)),
        };
        log::info!(
            "the manifest offers {}, running is {}",
            manifest.version,
            config.version
        );
        if aim == Aim::Prove {
            self.check_own_chip(config)?;
            identify(manifest, config, &facts)?;
            return Ok((tries, None));
        }
        let decision = decide(manifest, release, config, &facts)?;
        if let Some(key) = key.filter(|_| aim == Aim::Install) {
            let news = Claim::of(key, manifest);
            self.otadata.remember(flash, state, news)?;
        }
        Ok((tries, decision))
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

/// What one attempt came to.
enum Attempt {
    NoUpdate(NoUpdate),
    Found(Available),
    Proven,
    Installed(Installed),
}

/// The end of an image is proof enough that it can be fetched, and that it has the size the manifest says.
const PROOF: u32 = 256;

/// That end, where the manifest says where it is.
fn end_of<'m>(manifest: &Manifest<'_>) -> Option<Part<'m>> {
    let size = manifest.size?;
    Some(Part {
        from: size.checked_sub(PROOF).filter(|&from| from > 0)?,
        total: Some(size),
        etag: None,
    })
}

/// Reads some of a body, which must not be empty.
async fn some_of<IO>(body: &mut Body<'_, IO>) -> Result<(), Error>
where
    IO: Read,
    Error: From<IO::Error>,
{
    let mut bytes = [0; 64];
    match body.read(&mut bytes).await? {
        0 => Err(HttpError::Incomplete { received: 0 }.into()),
        _ => Ok(()),
    }
}

/// Whether an update that failed so may do better from the manifest on.
fn is_worth_another_attempt(error: &Error, started: bool, taken_up: u32) -> bool {
    match error {
        // The manifest was good, so the image's URL may have been signed for a time that is over.
        Error::Http(HttpError::Status { status: 403, .. }) => started,
        // What came before the cut may be what is wrong with it. It is erased by now.
        Error::Image(_) => taken_up > 0,
        error => error.is_transient(),
    }
}

/// The application's hooks, and what happened in an attempt.
struct Watched<'h> {
    hooks: &'h mut dyn Hooks,
    /// The application was told of the start.
    started: bool,
    /// Bytes of the image that were on flash before.
    taken_up: u32,
    /// Bytes of the image that are on flash now.
    written: u32,
}

impl<'h> Watched<'h> {
    fn new(hooks: &'h mut dyn Hooks) -> Self {
        Self {
            hooks,
            started: false,
            taken_up: 0,
            written: 0,
        }
    }

    /// So much of the image is on flash from an attempt before.
    fn taken_up(&mut self, written: u32, total: Option<u32>) {
        self.taken_up = written;
        if written > 0 {
            log::info!("going on after {written} bytes that are on flash already");
            self.hooks.on_progress(Progress { written, total });
        }
    }
}

impl Hooks for Watched<'_> {
    fn may_start(&mut self, release: &Manifest<'_>) -> bool {
        self.hooks.may_start(release)
    }

    fn on_start(&mut self, release: &Manifest<'_>) {
        self.started = true;
        self.hooks.on_start(release);
    }

    fn on_progress(&mut self, progress: Progress) {
        self.written = progress.written;
        self.hooks.on_progress(progress);
    }
}

/// A random part of a time, between nothing and all of it.
pub(crate) fn share(of: Duration, rng: &mut impl RngCore) -> Duration {
    of.saturating_mul(rng.next_u32()) / u32::MAX
}

/// Reads a whole manifest document into `buffer`.
async fn read_document<'d, IO>(
    body: &mut Body<'_, IO>,
    head: &Head,
    buffer: &'d mut [u8; MAX_DOCUMENT],
) -> Result<&'d mut [u8], Error>
where
    IO: Read,
    Error: From<IO::Error>,
{
    let too_long = || {
        Error::Http(HttpError::TooLong {
            limit: MAX_DOCUMENT as u32,
        })
    };
    if matches!(head.framing, Framing::Length(length) if length > MAX_DOCUMENT as u64) {
        return Err(too_long());
    }
    let mut filled = 0;
    loop {
        let room = buffer.get_mut(filled..).unwrap_or_default();
        let n = if room.is_empty() {
            body.read(&mut [0]).await?
        } else {
            body.read(room).await?
        };
        match n {
            0 => return Ok(buffer.get_mut(..filled).unwrap_or_default()),
            _ if filled == MAX_DOCUMENT => return Err(too_long()),
            n => filled = filled.saturating_add(n).min(MAX_DOCUMENT),
        }
    }
}

impl Own {
    /// Whether an image has what the running one has.
    fn is_kept_by(&self, image: &Image) -> Result<(), FirmwareError> {
        if self.guard && image.guard.is_none() {
            return Err(FirmwareError::NoGuard);
        }
        if self.signature.is_some() && self.signature != image.signature {
            return Err(FirmwareError::SecureBoot);
        }
        Ok(())
    }
}

/// What an image must be.
struct Expected<'e> {
    manifest: &'e Manifest<'e>,
    config: &'e Config<'e>,
    /// The running firmware's.
    project: Option<&'e str>,
    hardware: Hardware,
    slot: Slot,
}

impl Expected<'_> {
    /// Checks the length the server announces, before anything is erased.
    fn check_length(&self, length: u64) -> Result<(), FirmwareError> {
        if let Some(expected) = self.manifest.size
            && u64::from(expected) != length
        {
            return Err(FirmwareError::Size {
                expected,
                found: length,
            });
        }
        if length > u64::from(self.slot.size) {
            return Err(FirmwareError::TooLarge {
                size: length,
                slot: self.slot.size,
            });
        }
        Ok(())
    }

    /// Checks what the first bytes say: the chip and what is asked of it, and the project and version the image calls itself
    /// by. Before anything is erased.
    fn check_prefix<F: NorFlash>(&self, writer: &SlotWriter<'_, F>) -> Result<(), FirmwareError> {
        let verifier = writer.verifier();
        let descriptor = verifier.descriptor();
        if let Some(header) = verifier.header() {
            let chip = header.chip();
            if chip != Some(self.config.chip) {
                let mut unknown = Name::new();
                let id = header.chip_id;
                let _ = core::fmt::write(&mut unknown, format_args!("an unknown chip ({id:#06x})"));
                let found = chip.map_or(unknown, |chip| cut(chip.name()));
                return Err(FirmwareError::Chip {
                    expected: self.config.chip,
                    found,
                });
            }
            let fits = self.hardware.accepts(header, descriptor);
            fits.map_err(FirmwareError::Misfit)?;
        }
        let descriptor = descriptor.ok_or(FirmwareError::NoDescriptor)?;
        let found = descriptor.project_name();
        let other = match (self.manifest.project, self.project) {
            (Some(named), _) => Some(named).filter(|&named| named != found),
            (None, own) => own.filter(|own| !self.config.takes_project(own, found)),
        };
        if let Some(expected) = other {
            return Err(FirmwareError::Project {
                expected: cut(expected),
                found: cut(found),
            });
        }
        // Arduino builds carry the version of the core, and some builds a git hash: neither can be compared.
        if !descriptor.is_arduino()
            && let Ok(found) = Version::parse(descriptor.version())
            && found != self.manifest.version
        {
            return Err(FirmwareError::Version {
                expected: show(&self.manifest.version),
                found: show(&found),
            });
        }
        Ok(())
    }
}

/// Downloads the image, or the rest of it, of the response with this head into the slot.
async fn download<F: NorFlash>(
    session: &mut Session<'_, impl Read + Write>,
    head: &Head,
    writer: &mut SlotWriter<'_, F>,
    expected: &Expected<'_>,
    hooks: &mut dyn Hooks,
) -> Result<(), Error> {
    if head.status == 200 {
        // All of it, be it that the server knows no ranges or has another image by now.
        writer.begin_again();
    }
    let announced = match (head.content_range, head.framing) {
        (Some(range), _) if head.status == 206 => Some(range.last.saturating_add(1)),
        (_, Framing::Length(length)) => Some(length),
        (_, Framing::Chunked | Framing::Close) => None,
    };
    if let Some(length) = announced {
        expected.check_length(length)?;
    }
    let announced = announced.and_then(|length| u32::try_from(length).ok());
    let total = expected.manifest.size.or(announced);
    writer.expect(total, head.etag.clone());
    if expected.manifest.sha256.is_none() {
        writer.rely_on_etag();
    }
    let mut body = session.body(head);
    apart!(receive(&mut body, writer, expected, total, hooks))
}

/// Streams the body to flash, looking at the first bytes before anything is erased.
async fn receive<IO, F>(
    body: &mut Body<'_, IO>,
    writer: &mut SlotWriter<'_, F>,
    expected: &Expected<'_>,
    total: Option<u32>,
    hooks: &mut dyn Hooks,
) -> Result<(), Error>
where
    IO: Read,
    Error: From<IO::Error>,
    F: NorFlash,
{
    // What was taken up is checked again: this may be another manifest than the one it was begun under.
    let mut prefix_checked = writer.received() >= PREFIX_LEN as u32;
    if prefix_checked {
        expected.check_prefix(writer)?;
    }
    loop {
        let n = apart!(body.read(writer.room()))?;
        if n == 0 {
            let needed = PREFIX_LEN as u32;
            let short = ImageError::Truncated {
                length: writer.received(),
                needed,
            };
            return if prefix_checked {
                Ok(())
            } else {
                Err(short.into())
            };
        }
        writer.received_more(n)?;
        if !prefix_checked && writer.received() >= PREFIX_LEN as u32 {
            expected.check_prefix(writer)?;
            prefix_checked = true;
        }
        if let Some(expected) = total
            && writer.received() > expected
        {
            return Err(FirmwareError::Size {
                expected,
                found: writer.received().into(),
            }
            .into());
        }
        if writer.is_block_full() {
            apart!(writer.write_block())?;
            hooks.on_progress(Progress {
                written: writer.written(),
                total,
            });
        }
    }
}
