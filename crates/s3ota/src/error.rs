//! What can go wrong, and what a person can do about it.

use core::fmt;
use core::time::Duration;

use embedded_io_async::ErrorKind;
use embedded_storage_async::nor_flash::NorFlashErrorKind;
use s3ota_image::ImageError;
use s3ota_manifest::{ManifestError, UrlError};
use s3ota_tls::TlsError;

mod http;
mod image;
mod layout;
mod release;
mod text;

pub use http::HttpError;
pub use image::FirmwareError;
pub use layout::LayoutError;
pub use release::ReleaseError;
pub use text::{Host, Name, Text};
pub(crate) use text::{cut, show};

/// Why an update was not made. The device goes on with the firmware it has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
#[repr(u32)]
pub enum Error {
    /// The configured version is not valid.
    Config(s3ota_manifest::VersionError),
    /// The configured URL of the manifest is not valid.
    ManifestUrl(UrlError),
    /// The manifest cannot be used.
    Manifest(ManifestError),
    /// A redirect leads to a URL that a device does not follow.
    Redirect(UrlError),
    /// The manifest is valid, but not for this device, or not any more.
    Release(ReleaseError),
    /// The image is not what it should be.
    Image(FirmwareError),
    /// The server's answer cannot be used.
    Http(HttpError),
    /// The server did not prove its identity, or TLS failed.
    Tls(TlsError),
    /// The host's name has no address.
    Resolve(Host),
    /// The server cannot be reached.
    Connect {
        /// Its name.
        host: Host,
        /// Its port.
        port: u16,
        /// What the network said.
        kind: ErrorKind,
    },
    /// The server closed the connection instead of answering.
    ConnectionClosed,
    /// The update as a whole took longer than its deadline.
    Deadline {
        /// The deadline, from the start.
        after: Duration,
    },
    /// Flash cannot be read or written.
    Flash(NorFlashErrorKind),
    /// The application's source of the image failed: see [`Updater::install_from`](crate::Updater::install_from).
    Source(ErrorKind),
    /// The partition table does not allow updates.
    Layout(LayoutError),
    /// The running firmware is on trial: it must be confirmed before another can be installed.
    OnTrial,
    /// This number of trial boots cannot be counted: 1 to [`MAX_TRIAL_BOOTS`](crate::MAX_TRIAL_BOOTS) can.
    TrialBoots(u8),
    /// The slot was erased too often lately to be written again now: see [`Wear`](crate::Wear).
    Worn {
        /// How long it rests.
        rest: Duration,
    },
    /// There is no other firmware to roll back to.
    NothingToGoBackTo,
}

impl Error {
    /// A short, stable name for programs: `tls.certificate`, `manifest.invalid`, `image.chip`…
    pub fn code(&self) -> &'static str {
        match self {
            Self::Config(_) => "config.version",
            Self::ManifestUrl(_) => "manifest.url",
            Self::Manifest(error) => error.code(),
            Self::Redirect(_) => "http.redirect",
            Self::Release(ReleaseError::Downgrade { .. }) => "release.downgrade",
            Self::Release(ReleaseError::Board { .. }) => "release.board",
            Self::Release(ReleaseError::Project { .. }) => "release.project",
            Self::Release(ReleaseError::Expired) => "release.expired",
            Self::Release(ReleaseError::Signature(_)) => "release.signature",
            Self::Release(ReleaseError::Channel { .. }) => "release.channel",
            Self::Release(ReleaseError::Replayed) => "release.replayed",
            Self::Release(ReleaseError::BelowMinVersion { .. }) => "release.floor",
            Self::Image(FirmwareError::Chip { .. }) => "image.chip",
            Self::Image(FirmwareError::TooLarge { .. } | FirmwareError::Size { .. }) => {
                "image.size"
            }
            Self::Image(FirmwareError::Sha256) => "image.digest",
            Self::Image(FirmwareError::Version { .. }) => "image.version",
            Self::Image(FirmwareError::Project { .. }) => "image.project",
            Self::Image(FirmwareError::NoDescriptor) => "image.invalid",
            Self::Image(FirmwareError::Misfit(misfit)) => misfit.code(),
            Self::Image(FirmwareError::NoGuard) => "image.guard",
            Self::Image(FirmwareError::SecureBoot) => "image.secure_boot",
            Self::Image(FirmwareError::Invalid(error)) => error.code(),
            #[cfg(feature = "delta")]
            Self::Image(FirmwareError::Artefact) => "image.artefact",
            Self::Image(FirmwareError::ReadBack) => "flash.readback",
            Self::Http(HttpError::Status { .. }) => "http.status",
            Self::Http(HttpError::TooManyRedirects | HttpError::NoLocation) => "http.redirect",
            Self::Http(HttpError::Incomplete { .. }) => "http.incomplete",
            Self::Http(HttpError::TooLong { .. }) => "http.length",
            Self::Http(_) => "http.invalid",
            Self::Tls(error) => error.code(),
            Self::Resolve(_) => "net.dns",
            Self::Connect { .. } => "net.connect",
            Self::ConnectionClosed => "net.closed",
            Self::Deadline { .. } => "update.deadline",
            Self::Flash(_) => "flash.io",
            Self::Source(_) => "source.io",
            Self::Layout(_) => "flash.layout",
            Self::OnTrial => "update.trial",
            Self::TrialBoots(_) => "config.trial_boots",
            Self::Worn { .. } => "update.rests",
            Self::NothingToGoBackTo => "update.rollback",
        }
    }

    /// Whether the firmware itself is at fault: it was configured with what its own releases are not for.
    pub(crate) fn is_own_fault(&self) -> bool {
        use ReleaseError::{Board, Channel, Project, Signature};
        matches!(
            self,
            Self::Config(_)
                | Self::ManifestUrl(_)
                | Self::Release(Board { .. } | Channel { .. } | Project { .. } | Signature(_))
                | Self::Image(FirmwareError::Chip { .. })
        )
    }

    /// Whether the same attempt may succeed later without anyone doing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Http(error) => error.is_transient(),
            Self::Tls(error) => error.is_transient(),
            Self::Resolve(_) | Self::Connect { .. } | Self::ConnectionClosed => true,
            _ => false,
        }
    }

    /// How long the server asked to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Http(HttpError::Status { retry_after, .. }) => *retry_after,
            _ => None,
        }
    }

    /// Whether the connection was lost, as one that was kept open too long is.
    pub(crate) fn is_connection_loss(&self) -> bool {
        match self {
            Self::ConnectionClosed => true,
            Self::Tls(error) => {
                error.is_transient() && !matches!(error, TlsError::Io(ErrorKind::TimedOut))
            }
            _ => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => {
                write!(f, "the running firmware's version is not valid: {error}")
            }
            Self::ManifestUrl(error) => write!(f, "the manifest cannot be fetched: {error}"),
            Self::Manifest(error) => write!(f, "{error}"),
            Self::Redirect(error) => write!(
                f,
                "the server redirects to a URL that a device does not follow: {error}"
            ),
            Self::Release(error) => write!(f, "{error}"),
            Self::Image(error) => write!(f, "{error}"),
            Self::Http(error) => write!(f, "{error}"),
            Self::Tls(error) => write!(f, "{error}"),
            Self::Resolve(host) => {
                write!(
                    f,
                    "no address found for {host}: check the URL, and that the device's network has DNS"
                )
            }
            Self::Connect { host, port, kind } => {
                write!(
                    f,
                    "cannot connect to {host}:{port} ({kind:?}): check that the server is up and reachable"
                )
            }
            Self::ConnectionClosed => {
                write!(f, "the server closed the connection without an answer")
            }
            Self::Deadline { after } => {
                write!(
                    f,
                    "the update took longer than its deadline of {} s and was stopped",
                    after.as_secs()
                )
            }
            Self::Flash(kind) => write!(f, "flash cannot be read or written ({kind:?})"),
            Self::Source(kind) => write!(
                f,
                "the source of the image failed ({kind:?}): give the image again, what has arrived is kept"
            ),
            Self::Layout(error) => write!(f, "{error}"),
            Self::OnTrial => write!(
                f,
                "the running firmware is on trial and must be confirmed before another can be installed"
            ),
            Self::TrialBoots(boots) => write!(
                f,
                "{boots} trial boots cannot be counted: give the boot guard a number from 1 to 100"
            ),
            Self::Worn { rest } => write!(
                f,
                "the slot was erased too often lately: the update resumes in {} min",
                rest.as_secs() / 60 + 1
            ),
            Self::NothingToGoBackTo => {
                write!(f, "there is no other firmware on flash to roll back to")
            }
        }
    }
}

impl core::error::Error for Error {}

impl From<ManifestError> for Error {
    fn from(error: ManifestError) -> Self {
        Self::Manifest(error)
    }
}

impl From<ReleaseError> for Error {
    fn from(error: ReleaseError) -> Self {
        Self::Release(error)
    }
}

impl From<FirmwareError> for Error {
    fn from(error: FirmwareError) -> Self {
        Self::Image(error)
    }
}

impl From<ImageError> for Error {
    fn from(error: ImageError) -> Self {
        Self::Image(FirmwareError::Invalid(error))
    }
}

impl From<HttpError> for Error {
    fn from(error: HttpError) -> Self {
        Self::Http(error)
    }
}

impl From<TlsError> for Error {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

impl From<LayoutError> for Error {
    fn from(error: LayoutError) -> Self {
        Self::Layout(error)
    }
}

/// The flash driver has failed. What does nothing but read and append fails in no other way, and says so by this single byte: an
/// [`Error`] is checked and passed on in thirty bytes of code, at each access to flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FlashFault(pub(crate) NorFlashErrorKind);

impl From<FlashFault> for Error {
    fn from(fault: FlashFault) -> Self {
        Self::Flash(fault.0)
    }
}

/// An error of the flash driver, as ours.
pub(crate) fn flash<E: embedded_storage_async::nor_flash::NorFlashError>(error: E) -> Error {
    Error::Flash(error.kind())
}
