//! The building blocks: check, install, confirm, roll back.
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
use s3ota_image::ImageError;
use s3ota_image::app::{Descriptor, PREFIX_LEN};
use s3ota_manifest::{HttpsUrl, MAX_DOCUMENT, Manifest, Timestamp, Version};
use s3ota_tls::CertTime;

use crate::apart::apart;
use crate::error::{Name, cut};
use crate::http::{Body, Framing, Head, HttpError, Identity, MAX_ETAG, Want};
use crate::layout::{Layout, LayoutError, Running, Slot};
use crate::link::Deadline;
use crate::memory::Told;
use crate::otadata::Otadata;
use crate::release::{Facts, ReleaseId, decide, has_expired, show};
use crate::session::{Answer, Opener, Session, SessionBuffers, Target};
use crate::slot::{BLOCK, SlotWriter};
use crate::{
    Clock, Config, Device, Error, FirmwareError, Hooks, Progress, ReleaseError, flash, trial,
};

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

/// Why there is nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoUpdate {
    /// The release offered is the one that is running.
    UpToDate,
    /// The manifest is the one the last check saw (the server answered 304).
    NotModified,
    /// The release is being rolled out in stages and this device is not among the first.
    NotInRollout,
    /// The release was tried on this device and given up.
    FailedBefore,
    /// [`Hooks::may_start`] said no.
    Vetoed,
}

/// A release that could be installed, as [`Updater::check`] found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Available {
    /// Its version.
    pub version: Name,
    /// The size of its image in bytes, where the manifest says.
    pub size: Option<u32>,
}

/// What [`Updater::check`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// There is a release to install.
    Available(Available),
    /// There is nothing to do.
    NoUpdate(NoUpdate),
}

/// A new firmware, on flash and selected. **Restart** to run it: the library never does that by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Its version, by the manifest.
    pub version: Name,
    /// Bytes of its image.
    pub size: u32,
    /// The slot it lies in.
    pub slot: Slot,
}

/// What became of [`Updater::install`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A new firmware is on flash: restart.
    Installed(Installed),
    /// There was nothing to do.
    NoUpdate(NoUpdate),
}

/// Updates one device. See the [crate's documentation](crate) for an example.
pub struct Updater<'a, F, N, C, R> {
    config: Config<'a>,
    device: Device<F, N, C, R>,
    workspace: &'a mut Workspace,
    /// The last manifest that left nothing to do: its entity tag, and how long it may be believed.
    settled: Option<(String<MAX_ETAG>, Option<Timestamp>)>,
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

    /// Looks whether there is a release to install. Reads flash, writes nothing.
    ///
    /// # Errors
    ///
    /// Every [`Error`] up to the decision: the connection, the manifest, a release that is refused. One attempt only.
    pub async fn check(&mut self) -> Result<Checked, Error> {
        let (patience, mut hooks) = (self.config.patience, ());
        let mut watched = Watched::new(&mut hooks);
        let result = apart!(self.attempt(&mut watched, true, patience.deadline))?;
        Ok(match result {
            Attempt::Found(available) => Checked::Available(available),
            Attempt::NoUpdate(reason) => Checked::NoUpdate(reason),
            // `look_only` ends an attempt before it installs.
            Attempt::Installed(installed) => Checked::Available(Available {
                version: installed.version,
                size: Some(installed.size),
            }),
        })
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
        let patience = self.config.patience;
        let began = self.device.clock.uptime();
        let mut attempt = 1;
        let mut reached = 0;
        loop {
            let spent = self.device.clock.uptime().saturating_sub(began);
            let left = patience.deadline.saturating_sub(spent);
            let mut watched = Watched::new(&mut *hooks);
            let result = apart!(self.attempt(&mut watched, false, left));
            let Watched {
                started, taken_up, ..
            } = watched;
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
                Ok(Attempt::Found(_)) => return Ok(Outcome::NoUpdate(NoUpdate::UpToDate)),
                Err(error) => error,
            };
            let spent = self.device.clock.uptime().saturating_sub(began);
            let left = patience.deadline.saturating_sub(spent);
            let error = if left.is_zero() {
                Error::Deadline {
                    after: patience.deadline,
                }
            } else {
                error
            };
            let pause = self.pause(attempt, error.retry_after());
            let again = is_worth_another_attempt(&error, started, taken_up)
                && attempt < patience.attempts
                && pause < left;
            hooks.on_error(&error, again.then_some(pause));
            if started {
                hooks.on_resume();
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

    /// Ends the running firmware's trial: it is now the one to go back to. `false` if it was not on trial.
    ///
    /// # Errors
    ///
    /// [`Error::Flash`] and [`Error::Layout`]; the trial then goes on.
    pub async fn confirm(&mut self) -> Result<bool, Error> {
        let (layout, running) = self.layout()?;
        trial::confirm(&mut self.device.flash, &layout, running)
    }

    /// Gives the running firmware up and selects the one before, or the factory app. **Restart** afterwards.
    ///
    /// The release is not installed again until a different one is published.
    ///
    /// # Errors
    ///
    /// [`Error::NothingToGoBackTo`] where no other slot holds a whole image.
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

    fn layout(&mut self) -> Result<(Layout, Running), Error> {
        let layout = Layout::read(&mut self.device.flash)?;
        let running = layout.running(self.device.running)?;
        Ok((layout, running))
    }

    /// The pause after attempt number `attempt`: random, up to a bound that doubles, so that devices which lost the same
    /// server do not come back together. What the server asked for comes before it, because it asks all of them for the
    /// same.
    fn pause(&mut self, attempt: u8, retry_after: Option<Duration>) -> Duration {
        let patience = self.config.patience;
        let doubled = 1u32
            .checked_shl(u32::from(attempt.saturating_sub(1)))
            .unwrap_or(u32::MAX);
        let bound = patience
            .first_pause
            .saturating_mul(doubled)
            .min(patience.longest_pause);
        let asked = retry_after.unwrap_or_default().min(patience.longest_pause);
        asked.saturating_add(share(bound, &mut self.device.rng))
    }

    /// One attempt: the manifest, the decision, the image, the switch; over one connection where one server has both.
    async fn attempt(
        &mut self,
        hooks: &mut Watched<'_>,
        look_only: bool,
        time: Duration,
    ) -> Result<Attempt, Error> {
        let Self {
            config,
            device,
            workspace,
            settled,
        } = self;
        let Workspace {
            session: buffers,
            target,
            document,
            block,
        } = &mut **workspace;
        let flash = &mut device.flash;
        let mut standing = Standing::read(flash, device.running, block)?;
        if standing.on_trial && !look_only {
            return Err(Error::OnTrial);
        }

        let now = device
            .clock
            .unix_time()
            .filter(|&now| now >= config.built_at);
        let identity = Identity {
            device: Some(config.device_id).filter(|id| config.send_device_id && !id.is_empty()),
            firmware: config.version,
            chip: config.chip.name(),
            state: if standing.on_trial { "trial" } else { "valid" },
        };
        let mut opener = Opener {
            network: &device.network,
            rng: &mut device.rng,
            roots: &config.roots,
            time: now.map_or(CertTime::AtLeast(config.built_at), CertTime::Known),
            deadline: Deadline::new(&device.clock, time, config.patience.idle),
        };

        // The manifest. One that was good and has not changed is looked at again once its time is over.
        if settled
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
        let (release, decision) = standing.consider(flash, &manifest, config, now, look_only)?;
        if let Some(reason) = decision {
            *settled = head.etag.map(|etag| (etag, manifest.expires));
            return Ok(Attempt::NoUpdate(reason));
        }
        *settled = None;
        let version = show(&manifest.version);
        if look_only {
            return Ok(Attempt::Found(Available {
                version,
                size: manifest.size,
            }));
        }
        if !hooks.may_start(&manifest) {
            return Ok(Attempt::NoUpdate(NoUpdate::Vetoed));
        }
        hooks.on_start(&manifest);

        // The image: what is missing of it, and then the whole of it checked.
        let expected = Expected {
            manifest: &manifest,
            config,
            project: standing.project.as_deref(),
            slot: standing.target,
        };
        let mut writer = apart!(SlotWriter::take_up(flash, standing.target, block, release))?;
        hooks.taken_up(writer.written(), manifest.size);
        let fetched = if writer.is_complete() {
            drop(session);
            expected.check_prefix(&writer).map_err(Error::from)
        } else {
            let mut goes_on = target.aim(&manifest.url)? && session.is_usable();
            let head = loop {
                if !goes_on {
                    drop(session);
                    session = apart!(opener.open(target, buffers))?;
                }
                let want = writer.missing().map_or(Want::All, Want::Rest);
                match apart!(session.get(target, identity, want))? {
                    Answer::Here(head) => break head,
                    Answer::Elsewhere => {}
                    Answer::NoSuchPart => {
                        log::warn!(
                            "the server does not give the rest of the image: all of it then"
                        );
                        writer.begin_again();
                    }
                }
                goes_on = false;
            };
            apart!(download(&mut session, &head, &mut writer, &expected, hooks))
        };
        let verified = match fetched {
            Ok(()) => {
                let sha256 = manifest.sha256.map(Into::into);
                apart!(writer.verify(manifest.size, sha256))
            }
            Err(error) => Err(error),
        };
        let verified = match verified {
            Ok(verified) => verified,
            Err(Error::Image(error)) => {
                log::warn!("the image is refused, what was written of it is erased: {error}");
                // It could not be booted anyway: a flash that cannot be erased changes nothing about the refusal.
                if let Err(error) = apart!(writer.wipe()) {
                    log::error!("{error}");
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
        let image = verified.complete(flash, block, release)?;
        let size = image.image.length;
        let slot = trial::switch(flash, &standing.layout, standing.running, image)?;
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
}

impl Standing {
    /// Reads where the device stands whose firmware runs from flash offset `running`.
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
        Ok(Self {
            on_trial: trial::on_trial(&layout, running, &otadata),
            target: layout.target(running)?,
            project: descriptor.map(|descriptor| cut(descriptor.project_name())),
            layout,
            running,
            otadata,
        })
    }

    /// Decides about a manifest: which release it is, and why it is not to be installed, if it is not. Unless this is
    /// only a look, what its signer said is remembered.
    #[inline(never)]
    fn consider<F: NorFlash>(
        &mut self,
        flash: &mut F,
        manifest: &Manifest<'_>,
        config: &Config<'_>,
        now: Option<u64>,
        look_only: bool,
    ) -> Result<(ReleaseId, Option<NoUpdate>), Error> {
        // What nobody signed is not even looked at.
        let key = if config.release_keys.is_empty() {
            None
        } else {
            let key = manifest.verify(config.release_keys);
            Some(key.map_err(ReleaseError::Signature)?)
        };
        let memory = self.otadata.memory(flash)?;
        let release = ReleaseId::of(manifest);
        let facts = Facts {
            project: self.project.as_deref(),
            running: trial::running_release(&self.layout, self.running, &self.otadata),
            has_failed: self.otadata.has_failed(flash, release)?,
            now,
            target: self.target,
            signer: key.map(|key| memory.signer(config.release_keys, key, manifest.channel)),
        };
        log::info!(
            "the manifest offers {}, running is {}",
            manifest.version,
            config.version
        );
        let decision = decide(manifest, release, config, &facts)?;
        if let Some(key) = key.filter(|_| !look_only) {
            let news = Told::by(key, manifest);
            self.otadata.remember(flash, memory, news)?;
        }
        Ok((release, decision))
    }
}

/// What one attempt came to.
enum Attempt {
    NoUpdate(NoUpdate),
    Found(Available),
    Installed(Installed),
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
}

impl<'h> Watched<'h> {
    fn new(hooks: &'h mut dyn Hooks) -> Self {
        Self {
            hooks,
            started: false,
            taken_up: 0,
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

/// What an image must be.
struct Expected<'e> {
    manifest: &'e Manifest<'e>,
    config: &'e Config<'e>,
    /// The running firmware's.
    project: Option<&'e str>,
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

    /// Checks what the first bytes say: the chip, and the project and version the image calls itself by. Before anything is erased.
    fn check_prefix<F: NorFlash>(&self, writer: &SlotWriter<'_, F>) -> Result<(), FirmwareError> {
        let chip = writer
            .verifier()
            .header()
            .map(|header| (header.chip(), header.chip_id));
        if let Some((chip, id)) = chip
            && chip != Some(self.config.chip)
        {
            let mut unknown = Name::new();
            let _ = core::fmt::write(&mut unknown, format_args!("an unknown chip ({id:#06x})"));
            let found = chip.map_or(unknown, |chip| cut(chip.name()));
            return Err(FirmwareError::Chip {
                expected: self.config.chip,
                found,
            });
        }
        let descriptor = writer
            .verifier()
            .descriptor()
            .ok_or(FirmwareError::NoDescriptor)?;
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
