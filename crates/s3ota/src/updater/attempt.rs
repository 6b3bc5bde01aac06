//! One attempt, from the manifest to the switch.
//!
//! Each stage takes what the one before has proven:
//!
//! ```text
//!  fetch ──► Manifest ──judge──► Offer ──start──► Installation ──run──► Bootable ──switch──► Installed
//! ```

use core::time::Duration;

use edge_nal::{Dns, TcpConnect};
use embedded_io_async::{Read, Seek};
use rand_core::{CryptoRng, RngCore};
use s3ota_manifest::Manifest;

use crate::apart::{apart, ok};
use crate::boot;
use crate::check::{Look, Offer, changed, read_manifest};
use crate::config::Config;
use crate::device::{Clock, Flash};
use crate::error::{Error, HttpError, show};
use crate::hooks::{Hooks as _, Watched};
use crate::install::check::{Expected, Own};
use crate::install::decode::Identity;
use crate::install::source::{Opened, Source, open};
use crate::install::wear::Wear;
use crate::install::writer::{Bootable, Budget};
use crate::install::{BLOCK, Installation};
use crate::net::http::{Part, Want};
use crate::net::session::Answer;
use crate::outcome::{Available, Checked, Installed, NoUpdate, Outcome};
use crate::updater::{Updater, Workspace};

impl<F, N, C, R> Updater<'_, F, N, C, R>
where
    F: Flash,
    N: TcpConnect + Dns,
    C: Clock,
    R: CryptoRng + RngCore,
{
    /// The manifest, and what the device makes of it.
    pub(super) async fn check_once(&mut self) -> Result<Checked, Error> {
        let time = self.config.timeouts.deadline;
        let Workspace {
            session: buffers,
            target,
            document,
            block,
        } = &mut *self.workspace;
        let (config, device, settled) = (&self.config, &mut self.device, &mut self.settled);
        let mut look = ok!(apart!(Look::begin(
            config, device, target, block, settled, time
        )));
        let mut place = None;
        let (mut session, head) = loop {
            let mut session = ok!(apart!(look.opener.open(look.target, buffers, &mut place)));
            let answer = session.get(look.target, look.identity, changed(look.settled));
            if let Answer::Here(head) = ok!(apart!(answer)) {
                break (session, head);
            }
            place = None;
        };
        if head.status == 304 {
            return Ok(Checked::NoUpdate(NoUpdate::NotModified));
        }
        let document = ok!(apart!(read_manifest(&mut session, &head, document)));
        let manifest = Manifest::parse(document)?;
        Ok(
            match ok!(apart!(look.judge(&manifest, head.etag, block, false))) {
                Ok(offer) if offer.rests(&mut self.wear, look.clock.since_power_on()) => {
                    Checked::NoUpdate(NoUpdate::Resting)
                }
                Ok(_) => Checked::Available(Available {
                    version: show(&manifest.version),
                    size: manifest.size,
                }),
                Err(reason) => Checked::NoUpdate(reason),
            },
        )
    }

    /// The manifest, and the end of the image that it names.
    pub(super) async fn prove_once(&mut self, time: Duration) -> Result<(), Error> {
        let time = self.config.timeouts.deadline.min(time);
        let Workspace {
            session: buffers,
            target,
            document,
            block,
        } = &mut *self.workspace;
        // A manifest that was judged before is fetched again.
        self.settled = None;
        let (config, device, settled) = (&self.config, &mut self.device, &mut self.settled);
        let mut look = ok!(apart!(Look::begin(
            config, device, target, block, settled, time
        )));
        let mut place = None;
        let (mut session, head) = loop {
            let mut session = ok!(apart!(look.opener.open(look.target, buffers, &mut place)));
            let answer = session.get(look.target, look.identity, Want::All);
            if let Answer::Here(head) = ok!(apart!(answer)) {
                break (session, head);
            }
            place = None;
        };
        let document = ok!(apart!(read_manifest(&mut session, &head, document)));
        let manifest = Manifest::parse(document)?;
        ok!(apart!(look.prove(&manifest, block)));
        let want = end_of(&manifest).map_or(Want::All, Want::Rest);
        let mut goes_on = ok!(look.target.aim(&manifest.url)) && session.is_usable();
        let head = loop {
            if !goes_on {
                place = None;
                session = ok!(apart!(look.opener.open(look.target, buffers, &mut place)));
            }
            match ok!(apart!(session.get(look.target, look.identity, want))) {
                Answer::Here(head) => break head,
                Answer::Elsewhere => goes_on = false,
                Answer::NoSuchPart => return Err(HttpError::NoSuchPart.into()),
            }
        };
        let mut body = session.body(&head);
        apart!(some_of(&mut body))
    }

    /// The manifest, the image, the switch; over one connection where one server has both.
    pub(super) async fn attempt(
        &mut self,
        hooks: &mut Watched<'_>,
        time: Duration,
    ) -> Result<Outcome, Error> {
        let Workspace {
            session: buffers,
            target,
            document,
            block,
        } = &mut *self.workspace;
        let (config, device, settled) = (&self.config, &mut self.device, &mut self.settled);
        let mut look = ok!(apart!(Look::begin(
            config, device, target, block, settled, time
        )));
        if look.on_trial {
            return Err(Error::OnTrial);
        }
        // The manifest.
        let mut place = None;
        let (mut session, head) = loop {
            let mut session = ok!(apart!(look.opener.open(look.target, buffers, &mut place)));
            let answer = session.get(look.target, look.identity, changed(look.settled));
            if let Answer::Here(head) = ok!(apart!(answer)) {
                break (session, head);
            }
            place = None;
        };
        if head.status == 304 {
            return Ok(Outcome::NoUpdate(NoUpdate::NotModified));
        }
        let document = ok!(apart!(read_manifest(&mut session, &head, document)));
        let manifest = Manifest::parse(document)?;

        // The decision.
        let offer = match ok!(apart!(look.judge(&manifest, head.etag, block, true))) {
            Ok(offer) => offer,
            Err(reason) => return Ok(Outcome::NoUpdate(reason)),
        };

        // The installation begins, or resumes.
        let clock = look.clock;
        let now = || clock.since_power_on();
        if let Some(reason) = offer.is_left(&manifest, &mut self.wear, now(), hooks) {
            return Ok(Outcome::NoUpdate(reason));
        }
        let own = ok!(apart!(own(&mut look, &mut self.own, block)));
        let budget = Budget {
            wear: &mut self.wear,
            now: &now,
            known: &mut self.known,
        };
        let mut installation = offer.installation(&manifest, config, own, block, budget);
        ok!(apart!(installation.resume(look.flash, hooks)));

        // The image: the part that is missing.
        let mut head = None;
        if !installation.is_complete() {
            let mut goes_on = ok!(look.target.aim(&manifest.url)) && session.is_usable();
            while head.is_none() {
                if !goes_on {
                    place = None;
                    session = ok!(apart!(look.opener.open(look.target, buffers, &mut place)));
                }
                let want = installation.missing().map_or(Want::All, Want::Rest);
                match ok!(apart!(session.get(look.target, look.identity, want))) {
                    Answer::Here(answer) => head = Some(answer),
                    Answer::Elsewhere => {}
                    Answer::NoSuchPart => installation.begin_again(),
                }
                goes_on = false;
            }
        }

        // Source, decoder, check, writer; and the switch.
        let source = head
            .as_ref()
            .map(|head| (Opened::of(head), session.body(head)));
        let image = ok!(apart!(installation.run(look.flash, source, hooks)));
        apart!(switch(&mut look, image, &manifest))
    }

    /// A manifest and an image that the application has, the switch.
    pub(super) async fn attempt_from<S: Read + Seek>(
        &mut self,
        manifest: &[u8],
        source: S,
        hooks: &mut Watched<'_>,
    ) -> Result<Outcome, Error> {
        let time = self.config.timeouts.deadline;
        let Workspace {
            target,
            document,
            block,
            ..
        } = &mut *self.workspace;
        let (config, device, settled) = (&self.config, &mut self.device, &mut self.settled);
        let mut look = ok!(apart!(Look::begin(
            config, device, target, block, settled, time
        )));
        if look.on_trial {
            return Err(Error::OnTrial);
        }
        let limit = document.len() as u32;
        let document = document.get_mut(..manifest.len());
        let document = document.ok_or(HttpError::TooLong { limit })?;
        document.copy_from_slice(manifest);
        let manifest = Manifest::parse(document)?;
        let offer = match ok!(apart!(look.judge(&manifest, None, block, true))) {
            Ok(offer) => offer,
            Err(reason) => return Ok(Outcome::NoUpdate(reason)),
        };
        let clock = look.clock;
        let now = || clock.since_power_on();
        if let Some(reason) = offer.is_left(&manifest, &mut self.wear, now(), hooks) {
            return Ok(Outcome::NoUpdate(reason));
        }
        let own = ok!(apart!(own(&mut look, &mut self.own, block)));
        let budget = Budget {
            wear: &mut self.wear,
            now: &now,
            known: &mut self.known,
        };
        let mut installation = offer.installation(&manifest, config, own, block, budget);
        ok!(apart!(installation.resume(look.flash, hooks)));
        let source = match installation.is_complete() {
            true => None,
            false => {
                let from = installation.missing().map_or(0, |part| part.from);
                Some(ok!(apart!(open(source, from, look.opener.deadline))))
            }
        };
        let image = ok!(apart!(installation.run(look.flash, source, hooks)));
        apart!(switch(&mut look, image, &manifest))
    }
}

/// What the running image has, read once.
async fn own<F: Flash, N, C, R>(
    look: &mut Look<'_, '_, F, N, C, R>,
    known: &mut Option<Own>,
    block: &mut [u8; BLOCK],
) -> Result<Own, Error> {
    if let Some(own) = *known {
        return Ok(own);
    }
    let own = ok!(apart!(Own::read(look.flash, look.running, block)));
    *known = Some(own);
    Ok(own)
}

impl Offer {
    /// Why the offer is left for later, if it is: its release rests, or the application does not agree. Else it starts.
    fn is_left(
        &self,
        manifest: &Manifest<'_>,
        wear: &mut Wear,
        now: Duration,
        hooks: &mut Watched<'_>,
    ) -> Option<NoUpdate> {
        if self.rests(wear, now) {
            return Some(NoUpdate::Resting);
        }
        if !hooks.may_start(manifest) {
            return Some(NoUpdate::Vetoed);
        }
        hooks.on_start(manifest);
        None
    }

    /// The installation of this offer.
    fn installation<'i>(
        &'i self,
        manifest: &'i Manifest<'i>,
        config: &'i Config<'i>,
        own: Own,
        block: &'i mut [u8; BLOCK],
        budget: Budget<'i>,
    ) -> Installation<'i, Identity> {
        let expected = Expected {
            manifest,
            config,
            project: self.project.as_deref(),
            hardware: self.hardware,
            own,
        };
        let release = self.tries.release();
        Installation::new(expected, release, self.slot, Identity, block, budget)
    }
}

/// Makes an image the one that boots next, on trial.
async fn switch<F: Flash, N, C, R>(
    look: &mut Look<'_, '_, F, N, C, R>,
    image: Bootable,
    manifest: &Manifest<'_>,
) -> Result<Outcome, Error> {
    let size = image.image.length;
    let slot = ok!(boot::trial::switch(
        &mut *look.flash.lock().await,
        look.running,
        image
    ));
    let version = show(&manifest.version);
    info!(
        "{} is on flash in slot {} and boots next",
        version, slot.index
    );
    Ok(Outcome::Installed(Installed {
        version,
        size,
        slot,
    }))
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
async fn some_of(body: &mut impl Source) -> Result<(), Error> {
    match body.read(&mut [0; 64]).await? {
        0 => Err(HttpError::Incomplete { received: 0 }.into()),
        _ => Ok(()),
    }
}
