//! Whether there is a release for this device: fetch the manifest, judge it.
//!
//! ```text
//!  connect ──► request ──► Manifest::parse ──► judge ──► Offer, or NoUpdate, or an error
//! ```

pub(crate) mod decision;
pub(crate) mod past;
pub(crate) mod standing;

use core::time::Duration;

use edge_nal::{Dns, TcpConnect};
use embedded_io_async::{Read, Write};
use heapless::String;
use rand_core::{CryptoRng, RngCore};
use s3ota_image::app::Hardware;
use s3ota_manifest::{MAX_DOCUMENT, Manifest, Timestamp};
use s3ota_tls::CertTime;

use crate::apart::ok;
use crate::boot::rollback_state::Tries;
use crate::check::decision::has_expired;
use crate::check::past::Past;
use crate::check::standing::{Standing, Told};
use crate::config::Config;
use crate::device::{Clock, Device, Flash};
use crate::error::{Error, HttpError, Name, show};
use crate::flash::partitions::Slot;
use crate::install::Pages;
use crate::install::wear::Wear;
use crate::net::http::{Framing, Head, Identity, MAX_ETAG, Want};
use crate::net::link::Deadline;
use crate::net::session::{Opener, Session, Target};
use crate::outcome::NoUpdate;

/// The last manifest that left nothing to do: its entity tag, and when it expires.
pub(crate) type Settled = Option<(String<MAX_ETAG>, Option<Timestamp>)>;

/// What an attempt works with: the parts of an updater, each for itself.
pub(crate) struct Look<'l, 'c, F, N, C, R> {
    pub(crate) config: &'l Config<'c>,
    pub(crate) flash: &'l mut F,
    pub(crate) clock: &'l C,
    pub(crate) target: Target<'l>,
    pub(crate) opener: Opener<'l, N, C, R>,
    /// Where the running firmware lies.
    pub(crate) running: u32,
    /// Whether the running firmware is on trial. Then it installs nothing: it is confirmed first.
    pub(crate) on_trial: bool,
    pub(crate) settled: &'l mut Settled,
    /// The release that the manifest offers, once it was read.
    offered: &'l mut Name,
}

/// A release that this device takes.
pub(crate) struct Offer {
    /// The release, and how its trials ended so far.
    pub(crate) tries: Tries,
    /// Where its image goes.
    pub(crate) slot: Slot,
    /// Bytes that it may have.
    pub(crate) room: u32,
    /// What the image may ask of the chip.
    pub(crate) hardware: Hardware,
    /// The running firmware's project.
    pub(crate) project: Option<Name>,
}

impl<'l, 'c, F, N, C, R> Look<'l, 'c, F, N, C, R>
where
    F: Flash,
    N: TcpConnect + Dns,
    C: Clock,
    R: CryptoRng + RngCore,
{
    /// Reads where the device stands, and points at the manifest. The attempt must be over in `time`. What it works with is made in
    /// `place`: it is too large to be passed around.
    pub(crate) async fn begin<'p>(
        place: &'p mut Option<Self>,
        config: &'l Config<'c>,
        device: &'l mut Device<F, N, C, R>,
        settled: &'l mut Settled,
        (past, offered): (&'l mut Past, &'l mut Name),
        time: Duration,
    ) -> Result<&'p mut Self, Error> {
        let told = {
            let flash = &mut *device.flash.lock().await;
            ok!(Told::read(flash, config, device.running))
        };
        let on_trial = told.trial.is_some();
        *offered = Name::new();
        let now = date(&device.clock, config);
        // A manifest that has not changed is judged again once it has expired.
        if settled
            .as_ref()
            .is_some_and(|(_, expires)| has_expired(*expires, now, config))
        {
            *settled = None;
        }
        let target = ok!(Target::new(Identity {
            agent: past.tell(config, told),
            headers: config.headers,
            manifest_url: config.manifest_url,
        }));
        Ok(place.insert(Self {
            opener: Opener {
                network: &device.network,
                rng: &mut device.rng,
                roots: &config.roots,
                time: now.map_or(CertTime::AtLeast(config.built_at), CertTime::Known),
                deadline: Deadline::new(&device.clock, time, config.timeouts.idle),
            },
            running: device.running,
            on_trial,
            flash: &mut device.flash,
            clock: &device.clock,
            config,
            target,
            settled,
            offered,
        }))
    }

    /// Seconds since the epoch, if known.
    fn now(&self) -> Option<u64> {
        match self.opener.time {
            CertTime::Known(now) => Some(now),
            CertTime::AtLeast(_) => None,
        }
    }

    /// Judges the manifest with this entity tag. With `remember` what its key has signed is remembered from now on. The offer is made
    /// in `place`.
    pub(crate) async fn judge<'p>(
        &mut self,
        place: &'p mut Option<Offer>,
        manifest: &Manifest<'_>,
        etag: Option<String<MAX_ETAG>>,
        remember: bool,
    ) -> Result<Result<&'p Offer, NoUpdate>, Error> {
        *self.offered = show(&manifest.version);
        let now = self.now();
        let Self { config, flash, .. } = self;
        let flash = &mut *flash.lock().await;
        let mut standing = ok!(Standing::read(flash, config, self.running));
        let judged = standing.judge(flash, manifest, config, now, remember);
        let (tries, decision) = judged?;
        *self.settled = None;
        Ok(match decision {
            Some(reason) => {
                *self.settled = etag.map(|etag| (etag, manifest.expires));
                Err(reason)
            }
            None => Ok(place.insert(Offer {
                tries,
                slot: standing.target,
                room: standing.room(),
                hardware: standing.hardware(config),
                project: standing.project,
            })),
        })
    }

    /// Shows that the manifest is one by which this firmware would be replaced.
    pub(crate) async fn prove(&mut self, manifest: &Manifest<'_>) -> Result<(), Error> {
        *self.offered = show(&manifest.version);
        let now = self.now();
        let flash = &mut *self.flash.lock().await;
        let standing = ok!(Standing::read(flash, self.config, self.running));
        standing.prove(flash, manifest, self.config, now)
    }
}

impl Offer {
    /// Whether the release rests, see [`Wear`].
    pub(crate) fn rests(&self, wear: &mut Wear, now: Duration) -> bool {
        wear.rests(self.tries.release(), self.tries.away(), now)
    }
}

/// Seconds since the Unix epoch, where the device knows: a date before its firmware was built is none.
fn date(clock: &impl Clock, config: &Config<'_>) -> Option<u64> {
    clock.unix_time().filter(|&now| now >= config.built_at)
}

/// What is asked for: the manifest, unless it is the one that was judged before.
pub(crate) fn changed(settled: &Settled) -> Want<'_> {
    let etag = settled.as_ref().map(|(etag, _)| etag);
    etag.map_or(Want::All, |etag| Want::Changed(etag))
}

/// Reads the manifest that is the body of this answer into the pages.
pub(crate) async fn read_manifest<'m, S>(
    session: &mut Session<'_, '_, S>,
    head: &Head,
    pages: &'m mut Pages,
) -> Result<&'m mut [u8], Error>
where
    S: Read + Write,
{
    let too_long = || {
        Error::Http(HttpError::TooLong {
            limit: MAX_DOCUMENT as u32,
        })
    };
    if matches!(head.framing, Framing::Length(length) if length > MAX_DOCUMENT as u64) {
        return Err(too_long());
    }
    let buffer = pages.as_flattened_mut();
    let mut body = session.body(head);
    let mut filled = 0;
    loop {
        let room = buffer.get_mut(filled..).unwrap_or_default();
        let n = if room.is_empty() {
            ok!(body.read(&mut [0]).await)
        } else {
            ok!(body.read(room).await)
        };
        match n {
            0 => break,
            _ if filled == MAX_DOCUMENT => return Err(too_long()),
            n => filled = filled.saturating_add(n).min(MAX_DOCUMENT),
        }
    }
    let at_end = body.at_end();
    session.finished(head, at_end);
    Ok(buffer.get_mut(..filled).unwrap_or_default())
}
