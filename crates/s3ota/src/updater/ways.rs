//! Which way an image comes (feature `delta`): made by a delta, compressed, or as it is.
//!
//! A device takes the shortest way that the manifest names. Where that leads nowhere it takes the next one at once, from the
//! manifest on: a delta that is not there, that is refused, or that makes another image keeps no device from its update.

use edge_nal::{Dns, TcpConnect};
use embassy_futures::yield_now;
use embedded_storage_async::nor_flash::ReadNorFlash;
use rand_core::{CryptoRng, RngCore};
use s3ota_codec::Memory;
use s3ota_manifest::user_agent::Fetched;
use s3ota_manifest::{HttpsUrl, Manifest, Version};
use sha2::{Digest, Sha256};

use crate::apart::{apart, ok};
use crate::check::{Look, Offer};
use crate::device::{Clock, Flash};
use crate::error::{Error, FirmwareError};
use crate::flash::access as flash;
use crate::flash::release::ReleaseId;
use crate::install::decode::{Artefact, Base, Made, Place};
use crate::install::wear::Wear;

/// The ways, the shortest first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    #[default]
    Delta,
    Compressed,
    Whole,
}

/// How many attempts on one way may break off without a byte of the image on flash.
const STALLS: u8 = 2;

/// The ways of a release, and how far they have led.
#[derive(Debug, Default)]
pub(super) struct Ways {
    release: Option<ReleaseId>,
    /// The first one that has not failed.
    first: Way,
    /// The one that this attempt is on.
    present: Option<Way>,
    /// How many attempts have broken off in a row.
    stalls: u8,
}

impl Ways {
    /// Chooses the way of an attempt: the URL of what is to be fetched, and how that is decoded.
    pub(super) async fn choose<'u, 'p, 'm, F, N, C, R>(
        &mut self,
        look: &mut Look<'_, '_, F, N, C, R>,
        manifest: &Manifest<'u>,
        offer: &Offer,
        wear: &Wear,
        place: &'p mut Place<'m>,
        memory: &'m mut Memory,
    ) -> Result<(HttpsUrl<'u>, Artefact<'p, 'm>), Error>
    where
        F: Flash,
        N: TcpConnect + Dns,
        C: Clock,
        R: CryptoRng + RngCore,
    {
        let release = offer.tries.release();
        if self.release != Some(release) {
            *self = Self {
                release: Some(release),
                ..Self::default()
            };
        }
        if wear.is_only_whole(release) {
            self.first = Way::Whole;
        }
        // Without them there is nothing to hold against what is made.
        if let (Some(size), Some(sha256)) = (manifest.size, manifest.sha256) {
            let made = Made {
                size,
                sha256: sha256.into(),
            };
            if self.first == Way::Delta {
                let (delta, base) = ok!(apart!(fitting(look, manifest)));
                if let Some(artefact) = delta {
                    info!("fetching a delta of {} bytes", artefact.size);
                    self.take(look, Way::Delta, Fetched::Delta);
                    let decoder = Artefact::patch(artefact.size, base, made, place, memory);
                    return Ok((artefact.url, decoder));
                }
            }
            if self.first <= Way::Compressed
                && let Some(artefact) = manifest.compressed()
            {
                info!("fetching the compressed image, {} bytes", artefact.size);
                self.take(look, Way::Compressed, Fetched::Compressed);
                let decoder = Artefact::patch(artefact.size, None, made, place, memory);
                return Ok((artefact.url, decoder));
            }
        }
        self.take(look, Way::Whole, Fetched::Whole);
        Ok((manifest.url, Artefact::image()))
    }

    fn take<F, N, C, R>(
        &mut self,
        look: &mut Look<'_, '_, F, N, C, R>,
        way: Way,
        fetched: Fetched,
    ) {
        self.present = Some(way);
        look.target.fetches(fetched);
    }

    /// After an attempt that failed so: whether there is another way, to be tried at once. `progress` says whether bytes of the
    /// image came on flash.
    pub(super) fn has_another(&mut self, error: &Error, progress: bool) -> bool {
        let present = self.present.take();
        let Some(way) = present.filter(|&way| way != Way::Whole) else {
            return false;
        };
        let leads_nowhere = match error {
            Error::Image(FirmwareError::Artefact) => true,
            Error::Http(_) | Error::Tls(_) | Error::Redirect(_) => !error.is_transient(),
            _ => false,
        };
        if leads_nowhere {
            self.first = match way {
                Way::Delta => Way::Compressed,
                Way::Compressed | Way::Whole => Way::Whole,
            };
            self.stalls = 0;
        } else if progress {
            self.stalls = 0;
        } else if error.is_transient() || matches!(error, Error::Deadline { .. }) {
            self.stalls = self.stalls.saturating_add(1);
            if self.stalls >= STALLS {
                // The next attempt takes the way that needs nothing but the image's own server.
                self.first = Way::Whole;
            }
        }
        leads_nowhere
    }
}

/// The first delta for what runs: for its version, and for its very bytes.
async fn fitting<'m, F, N, C, R>(
    look: &mut Look<'_, '_, F, N, C, R>,
    manifest: &Manifest<'m>,
) -> Result<(Option<s3ota_manifest::Artefact<'m>>, Option<Base>), Error>
where
    F: Flash,
{
    let Ok(own) = Version::parse(look.config.version) else {
        return Ok((None, None));
    };
    for delta in manifest.deltas().filter(|delta| delta.from == own) {
        let image = Made {
            size: delta.base_size,
            sha256: delta.base.into(),
        };
        if ok!(apart!(is_at(look.flash, look.running, image))) {
            let base = Base {
                offset: look.running,
                image,
            };
            return Ok((Some(delta.artefact), Some(base)));
        }
    }
    Ok((None, None))
}

/// Whether this very image lies at this offset on flash.
async fn is_at<F: Flash>(flash: &mut F, offset: u32, image: Made) -> Result<bool, Error> {
    let end = u64::from(offset) + u64::from(image.size);
    if end > flash.lock().await.capacity() as u64 {
        return Ok(false);
    }
    let mut hash = Sha256::new();
    let mut bytes = [0; 512];
    for at in (0..image.size).step_by(bytes.len()) {
        let length = (image.size - at).min(bytes.len() as u32) as usize;
        let bytes = bytes.get_mut(..length).unwrap_or_default();
        ok!(flash::read_any(
            &mut *flash.lock().await,
            offset + at,
            bytes
        ));
        hash.update(bytes);
        // A second of work, on a slow chip.
        if at.is_multiple_of(1 << 14) {
            yield_now().await;
        }
    }
    Ok(hash.finalize().as_slice() == image.sha256)
}
