//! One attempt, from the manifest to the switch.
//!
//! Each stage takes what the one before has proven:
//!
//! ```text
//!  fetch ──► Manifest ──judge──► Offer ──start──► Installation ──run──► Bootable ──switch──► Installed
//! ```

use core::ops::Range;
use core::time::Duration;

use edge_nal::{Dns, TcpConnect};
use embedded_io_async::{Read, Seek};
use rand_core::{CryptoRng, RngCore};
use s3ota_manifest::{HttpsUrl, Manifest, ManifestError, UrlError};

use crate::apart::{apart, ok};
use crate::boot;
use crate::check::{Look, Offer, changed, read_manifest};
use crate::config::Config;
use crate::device::{Clock, Flash};
use crate::error::{Error, HttpError, Name, show};
use crate::hooks::{Hooks as _, Watched};
use crate::install::check::{Announced, Expected, Own};
use crate::install::decode::{Decode, image};
use crate::install::source::{Opened, Source, open};
use crate::install::wear::Wear;
use crate::install::writer::{Bootable, Budget};
use crate::install::{BLOCK, Installation, Pages};
use crate::net::http::{Head, Part, Want};
use crate::net::session::{Answer, Target};
use crate::outcome::{Available, Checked, Installed, NoUpdate, Outcome};
use crate::updater::step::step;
use crate::updater::{Updater, Workspace};

/// Asks for the manifest over a new connection, which lies in `line` then; and over another one, if it is elsewhere. A macro, since
/// the session borrows what it lies in.
macro_rules! ask {
    ($failure:ident, $look:ident, $pages:ident, $tls:ident, $line:ident, $head:ident) => {
        loop {
            let [buffer, page] = &mut *$pages;
            let pages = (&mut *buffer, &*page);
            let open = $look.opener.open(&$look.target, pages, $tls, &mut $line);
            let mut session = step!($failure, open);
            let want = changed($look.settled);
            let get = session.get(&mut $look.target, want, (buffer, page), &mut $head);
            if let Answer::Here = step!($failure, get) {
                break session;
            }
            $line = None;
        }
    };
}

/// What an image is fetched by, and made with, in this place.
#[cfg(not(feature = "delta"))]
macro_rules! choose {
    ($updater:ident, $failure:ident, $look:ident, $manifest:ident, $offer:ident, $place:ident) => {
        ($manifest.url, image())
    };
}
#[cfg(feature = "delta")]
macro_rules! choose {
    ($updater:ident, $failure:ident, $look:ident, $manifest:ident, $offer:ident, $place:ident) => {{
        let memory = &mut $updater.workspace.codec;
        let ways = &mut $updater.ways;
        let choose = ways.choose(
            $look,
            $manifest,
            $offer,
            &$updater.wear,
            &mut $place,
            memory,
        );
        step!($failure, choose)
    }};
}

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
        let Workspace { pages, tls, .. } = &mut *self.workspace;
        let (config, device, settled) = (&self.config, &mut self.device, &mut self.settled);
        let mut failure = None;
        let mut place = None;
        let told = (&mut self.past, &mut self.offered);
        let begin = Look::begin(&mut place, config, device, settled, told, time);
        let look = step!(failure, begin);
        let mut line = None;
        let mut head = Head::none();
        let mut session = ask!(failure, look, pages, tls, line, head);
        if head.status == 304 {
            return Ok(Checked::NoUpdate(NoUpdate::NotModified));
        }
        let document = step!(failure, read_manifest(&mut session, &head, pages));
        let mut place = None;
        let manifest = ok!(parse(&mut place, document));
        let mut offer = None;
        Ok(
            match step!(failure, look.judge(&mut offer, manifest, head.etag, false)) {
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
        let Workspace { pages, tls, .. } = &mut *self.workspace;
        // A manifest that was judged before is fetched again.
        self.settled = None;
        let (config, device, settled) = (&self.config, &mut self.device, &mut self.settled);
        let mut failure = None;
        let mut place = None;
        let told = (&mut self.past, &mut self.offered);
        let begin = Look::begin(&mut place, config, device, settled, told, time);
        let look = step!(failure, begin);
        let mut line = None;
        let mut head = Head::none();
        let mut session = ask!(failure, look, pages, tls, line, head);
        let pages_at = address(pages);
        let document = step!(failure, read_manifest(&mut session, &head, pages));
        let mut place = None;
        let manifest = ok!(parse(&mut place, document));
        step!(failure, look.prove(manifest));
        let want = end_of(manifest).map_or(Want::All, Want::Rest);
        let mut goes_on = look.target.is_on_server_of(&manifest.url) && session.is_usable();
        let url = place_of(&manifest.url, pages_at);
        if !keep(url, pages, &mut look.target) {
            return Err(Error::ManifestUrl(UrlError::TooLong));
        }
        loop {
            let [buffer, page] = &mut *pages;
            if !goes_on {
                line = None;
                let pages = (&mut *buffer, &*page);
                let open = look.opener.open(&look.target, pages, tls, &mut line);
                session = step!(failure, open);
            }
            let get = session.get(&mut look.target, want, (buffer, page), &mut head);
            match step!(failure, get) {
                Answer::Here => break,
                Answer::Elsewhere => goes_on = false,
                Answer::NoSuchPart => return Err(HttpError::NoSuchPart.into()),
            }
        }
        let mut body = session.body(&head);
        apart!(some_of(&mut body))
    }

    /// The manifest, the image, the switch; over one connection where one server has both.
    pub(super) async fn attempt(
        &mut self,
        hooks: &mut Watched<'_>,
        time: Duration,
    ) -> Result<Outcome, Error> {
        let (pages, tls) = (&mut self.workspace.pages, &mut self.workspace.tls);
        let (config, device, settled) = (&self.config, &mut self.device, &mut self.settled);
        let (mut failure, mut place) = (None, None);
        let told = (&mut self.past, &mut self.offered);
        let begin = Look::begin(&mut place, config, device, settled, told, time);
        let look = step!(failure, begin);
        if look.on_trial {
            return Err(Error::OnTrial);
        }
        // The manifest.
        let mut line = None;
        let mut head = Head::none();
        let mut session = ask!(failure, look, pages, tls, line, head);
        if head.status == 304 {
            return Ok(Outcome::NoUpdate(NoUpdate::NotModified));
        }
        let pages_at = address(pages);
        let document = step!(failure, read_manifest(&mut session, &head, pages));
        let clock = look.clock;
        let now = || clock.since_power_on();
        let mut place = None;
        #[cfg(feature = "delta")]
        let mut place_of_decoder = None;
        let (offer, mut goes_on, url, decoder, announced);
        {
            let mut place_of_manifest = None;
            let manifest = ok!(parse(&mut place_of_manifest, document));

            // The decision.
            let judge = look.judge(&mut place, manifest, head.etag.take(), true);
            let verdict = step!(failure, judge);
            let start = |offer| Offer::start(offer, manifest, &mut self.wear, now(), hooks);
            offer = match verdict.and_then(start) {
                Ok(offer) => offer,
                Err(reason) => return Ok(Outcome::NoUpdate(reason)),
            };

            // All that is needed of the manifest from now on. Its memory is free.
            let chosen = choose!(self, failure, look, manifest, offer, place_of_decoder);
            goes_on = look.target.is_on_server_of(&chosen.0) && session.is_usable();
            url = place_of(&chosen.0, pages_at);
            decoder = chosen.1;
            announced = Announced::by(manifest);
        }
        if !keep(url, pages, &mut look.target) {
            return Err(Error::ManifestUrl(UrlError::TooLong));
        }

        // The installation begins, or resumes.
        let [block, page] = pages;
        let own = step!(failure, own(look, &mut self.own, block));
        let (now, wear, known) = (&now, &mut self.wear, &mut self.known);
        let budget = Budget { wear, now, known };
        let mut place = None;
        let expected = offer.expected(&announced, config, own);
        let installation = offer.installation(&mut place, expected, decoder, block, budget);
        step!(failure, installation.resume(look.flash, hooks));

        // The image: the part that is missing. Source, decoder, check, writer.
        let image = loop {
            let mut is_open = false;
            while !installation.is_complete() && !is_open {
                if !goes_on {
                    line = None;
                    let pages = (installation.missing().1, &*page);
                    let open = look.opener.open(&look.target, pages, tls, &mut line);
                    session = step!(failure, open);
                }
                let (part, block) = installation.missing();
                let want = part.map_or(Want::All, Want::Rest);
                let pages = (block, &mut *page);
                let get = session.get(&mut look.target, want, pages, &mut head);
                match step!(failure, get) {
                    Answer::Here => is_open = true,
                    Answer::Elsewhere => {}
                    Answer::NoSuchPart => ok!(installation.begin_again()),
                }
                goes_on = false;
            }
            let mut source = is_open.then(|| (Opened::of(&head), session.body(&head)));
            let source = source.as_mut().map(|(opened, body)| (&*opened, body));
            if let Some(image) = step!(failure, installation.run(look.flash, source, hooks)) {
                break image;
            }
        };
        apart!(switch(look, image, announced.version()))
    }

    /// A manifest and an image that the application has, the switch.
    pub(super) async fn attempt_from<S: Read + Seek>(
        &mut self,
        manifest: &[u8],
        source: S,
        hooks: &mut Watched<'_>,
    ) -> Result<Outcome, Error> {
        let time = self.config.timeouts.deadline;
        let Workspace { pages, .. } = &mut *self.workspace;
        let (config, device, settled) = (&self.config, &mut self.device, &mut self.settled);
        let mut failure = None;
        let mut place = None;
        let told = (&mut self.past, &mut self.offered);
        let begin = Look::begin(&mut place, config, device, settled, told, time);
        let look = step!(failure, begin);
        if look.on_trial {
            return Err(Error::OnTrial);
        }
        let document = pages.as_flattened_mut();
        let limit = document.len() as u32;
        let document = document.get_mut(..manifest.len());
        let document = document.ok_or(HttpError::TooLong { limit })?;
        document.copy_from_slice(manifest);
        let mut place = None;
        let manifest = ok!(parse(&mut place, document));
        let mut place = None;
        let judge = look.judge(&mut place, manifest, None, true);
        let verdict = step!(failure, judge);
        let clock = look.clock;
        let now = || clock.since_power_on();
        let start = |offer| Offer::start(offer, manifest, &mut self.wear, now(), hooks);
        let offer = match verdict.and_then(start) {
            Ok(offer) => offer,
            Err(reason) => return Ok(Outcome::NoUpdate(reason)),
        };
        let announced = Announced::by(manifest);
        let [block, ..] = pages;
        let own = step!(failure, own(look, &mut self.own, block));
        let (now, wear, known) = (&now, &mut self.wear, &mut self.known);
        let budget = Budget { wear, now, known };
        let mut place = None;
        let expected = offer.expected(&announced, config, own);
        let installation = offer.installation(&mut place, expected, image(), block, budget);
        step!(failure, installation.resume(look.flash, hooks));
        let mut source = match installation.is_complete() {
            true => None,
            false => {
                let from = installation.missing().0.map_or(0, |part| part.from);
                Some(step!(failure, open(source, from, look.opener.deadline)))
            }
        };
        let source = source.as_mut().map(|(opened, source)| (&*opened, source));
        match step!(failure, installation.run(look.flash, source, hooks)) {
            Some(image) => apart!(switch(look, image, announced.version())),
            // Only a delta is fetched in parts.
            None => Err(HttpError::NoSuchPart.into()),
        }
    }
}

/// Where the pages begin.
fn address(pages: &Pages) -> usize {
    pages.as_ptr().addr()
}

/// Where in the pages, which begin at this address, the URL lies that a manifest there names.
fn place_of(url: &HttpsUrl<'_>, pages: usize) -> Range<usize> {
    let url = url.as_str();
    let start = url.as_ptr().addr().wrapping_sub(pages);
    start..start.saturating_add(url.len())
}

/// Keeps the URL that lies there in the second page, as the target; unless it is too long.
#[inline(never)]
fn keep(url: Range<usize>, pages: &mut Pages, target: &mut Target<'_>) -> bool {
    let kept = url.len();
    let pages = pages.as_flattened_mut();
    let fits = url.end <= pages.len() && kept <= BLOCK;
    if fits {
        pages.copy_within(url, BLOCK);
        target.aim(kept);
    }
    fits
}

/// Parses a manifest into `place`: it is too large to be passed around.
#[inline(never)]
fn parse<'p, 'm>(
    place: &'p mut Option<Manifest<'m>>,
    document: &'m mut [u8],
) -> Result<&'p Manifest<'m>, ManifestError> {
    Ok(place.insert(Manifest::parse(document)?))
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
    /// Starts what is offered, or says why it is left for later: its release rests, or the application does not agree.
    fn start<'o>(
        offer: &'o Self,
        manifest: &Manifest<'_>,
        wear: &mut Wear,
        now: Duration,
        hooks: &mut Watched<'_>,
    ) -> Result<&'o Self, NoUpdate> {
        if offer.rests(wear, now) {
            return Err(NoUpdate::Resting);
        }
        if !hooks.may_start(manifest) {
            return Err(NoUpdate::Vetoed);
        }
        hooks.on_start(manifest);
        Ok(offer)
    }

    /// What its image must be.
    fn expected<'i>(
        &'i self,
        announced: &'i Announced,
        config: &'i Config<'i>,
        own: Own,
    ) -> Expected<'i> {
        Expected {
            announced,
            config,
            project: self.project.as_deref(),
            hardware: self.hardware,
            room: self.room,
            own,
        }
    }

    /// The installation of this offer, made in `place`: it is too large to be passed around.
    #[inline(never)]
    fn installation<'p, 'i, D: Decode>(
        &self,
        place: &'p mut Option<Installation<'i, D>>,
        expected: Expected<'i>,
        decoder: D,
        block: &'i mut [u8; BLOCK],
        budget: Budget<'i>,
    ) -> &'p mut Installation<'i, D> {
        let release = self.tries.release();
        place.insert(Installation::new(
            expected, release, self.slot, decoder, block, budget,
        ))
    }
}

/// Makes an image the one that boots next, on trial.
async fn switch<F: Flash, N, C, R>(
    look: &mut Look<'_, '_, F, N, C, R>,
    image: Bootable,
    version: Name,
) -> Result<Outcome, Error> {
    let size = image.image.length;
    let slot = ok!(boot::trial::switch(
        &mut *look.flash.lock().await,
        look.config.partition_table,
        look.running,
        image,
        look.config.trial_mode.launches(),
    ));
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
