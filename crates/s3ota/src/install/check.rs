//! What an image must be, and what the running one has that its successor must not lose.

use embedded_storage_async::nor_flash::ReadNorFlash;
use heapless::String;
use s3ota_image::app::{Hardware, SignatureKind, Verifier};
use s3ota_manifest::{MAX_PROJECT, MAX_VERSION, Manifest, Version};

use crate::apart::apart;
use crate::config::Config;
use crate::device::Flash;
use crate::error::{Error, FirmwareError, Name, cut, flash as flash_error, show};
use crate::flash::access as flash;
use crate::install::BLOCK;
use crate::install::writer::Whole;

/// What a manifest says of its image. When the image comes the manifest is gone: its memory is used again.
pub(crate) struct Announced {
    version: String<MAX_VERSION>,
    project: Option<String<MAX_PROJECT>>,
    pub(crate) size: Option<u32>,
    pub(crate) sha256: Option<[u8; 32]>,
}

impl Announced {
    /// By this manifest.
    #[inline(never)]
    pub(crate) fn by(manifest: &Manifest<'_>) -> Self {
        let mut version = String::new();
        // It has room: a version's text is no longer than that, and neither is a project's.
        let _ = core::fmt::write(&mut version, format_args!("{}", manifest.version));
        Self {
            version,
            project: manifest
                .project
                .and_then(|name| String::try_from(name).ok()),
            size: manifest.size,
            sha256: manifest.sha256.map(Into::into),
        }
    }

    /// The version of the release.
    pub(crate) fn version(&self) -> Name {
        cut(&self.version)
    }

    /// Whether the image calls itself by this version.
    fn is_called(&self, version: &Version<'_>) -> bool {
        Version::parse(&self.version).is_ok_and(|announced| announced == *version)
    }
}

/// What an image must be.
pub(crate) struct Expected<'e> {
    pub(crate) announced: &'e Announced,
    pub(crate) config: &'e Config<'e>,
    /// The running firmware's project.
    pub(crate) project: Option<&'e str>,
    /// Bytes that it may have.
    pub(crate) room: u32,
    /// What the image may ask of the chip.
    pub(crate) hardware: Hardware,
    /// What the running image has.
    pub(crate) own: Own,
}

impl Expected<'_> {
    /// Checks what the first [`PREFIX_LEN`](s3ota_image::app::PREFIX_LEN) bytes say, before anything is erased: the chip and
    /// what is asked of it, the project, and the version that the image calls itself by.
    #[inline(never)]
    pub(crate) fn check_prefix(&self, verifier: &Verifier) -> Result<(), FirmwareError> {
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
        let other = match (self.announced.project.as_deref(), self.project) {
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
            && !self.announced.is_called(&found)
        {
            return Err(FirmwareError::Version {
                expected: self.announced.version(),
                found: show(&found),
            });
        }
        Ok(())
    }
}

/// Reads the image that lies at `start`, at most up to `end`, and checks it as far as it is right.
pub(crate) async fn read_image<F: Flash>(
    flash: &mut F,
    start: u32,
    end: u32,
    block: &mut [u8; BLOCK],
) -> Result<Verifier, Error> {
    let mut verifier = Verifier::in_slot();
    for at in (start..end).step_by(BLOCK) {
        flash
            .lock()
            .await
            .read(at, block)
            .await
            .map_err(flash_error)?;
        if !verifier.takes_more(block) {
            break;
        }
    }
    Ok(verifier)
}

/// What the running image has, and its successor must not lose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Own {
    /// A boot guard.
    pub(crate) guard: bool,
    /// A signature for Secure Boot.
    pub(crate) signature: Option<SignatureKind>,
}

impl Own {
    /// Reads what the image has that lies at flash offset `start`.
    pub(crate) async fn read<F: Flash>(
        flash: &mut F,
        start: u32,
        block: &mut [u8; BLOCK],
    ) -> Result<Self, Error> {
        let end = u32::try_from(flash.lock().await.capacity()).unwrap_or(u32::MAX);
        let image = apart!(read_image(flash, start, end, block))?;
        let guard = image.guard().is_some();
        let mut signature = None;
        if let Ok(image) = image.finish() {
            let mut first = [0; 4];
            let at = start.saturating_add(image.signature_offset());
            // Behind the end of flash there is none.
            if flash::read(&mut *flash.lock().await, at, &mut first).is_ok() {
                signature = SignatureKind::parse(&first);
            }
        }
        Ok(Self { guard, signature })
    }

    /// Whether an image has what the running one has.
    pub(crate) fn is_kept_by(&self, image: &Whole) -> Result<(), FirmwareError> {
        if self.guard && image.guard.is_none() {
            return Err(FirmwareError::NoGuard);
        }
        if self.signature.is_some() && self.signature != image.signature {
            return Err(FirmwareError::SecureBoot);
        }
        Ok(())
    }
}
