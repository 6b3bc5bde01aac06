//! The virtual device that judges a release: in memory, with a firmware older than any release. It takes the same path as a real
//! one, from the server's certificate to the last byte of the image, with the library and the TLS client that run on the chip.

use std::path::Path;

use s3ota::manifest::{Manifest, Place};
use s3ota::tls::{RootError, Roots};
use s3ota::{
    Checked, Chip, Config, Error, NoUpdate, Outcome, ReleaseKey, SendId, Timeouts, Workspace,
};
use s3ota_image::app::ImageBuilder;
use s3ota_sim::host::Date;
use s3ota_sim::{Flash, Setup, VirtualDevice};

use super::chip::KnownChip;
use crate::error::CliError;
use crate::s3::{certificates, tunnel};

/// The version of the device's firmware: no release is older.
pub const OLDEST: &str = "0.0.0-0";

/// A device, and its configuration.
pub struct Rehearsal<'a> {
    /// The manifest's URL.
    pub manifest_url: &'a str,
    /// Its id, which decides its place in a rollout.
    pub device_id: &'a str,
    /// Its chip.
    pub chip: Chip,
    /// The project of its firmware; a firmware of no project takes images of any.
    pub project: Option<&'a str>,
    /// Its board name.
    pub board: Option<&'a str>,
    /// Its channel, if the URL does not end with it.
    pub channel: Option<&'a str>,
    /// The keys that it trusts.
    pub release_keys: &'a [ReleaseKey],
    /// The roots that it trusts.
    pub roots: Roots<'a>,
    /// The number of attempts.
    pub attempts: u8,
    /// The size of the image in bytes, if known: the slots have room for it.
    pub size: Option<u32>,
}

impl Rehearsal<'_> {
    /// Lets the device check for the release, and install it if `with_image` is set. Returns the device's answer: `None` for an
    /// update, the reason if there is none, or the device's refusal.
    pub async fn play(self, with_image: bool) -> Result<Result<Option<NoUpdate>, Error>, CliError> {
        let mut device = VirtualDevice::new(self.flash()?)
            .with_date(Date::Host)
            .with_network(tunnel::network());
        let running = device.power_on()?;
        let config = Config {
            board: self.board,
            channel: self.channel,
            release_keys: self.release_keys,
            roots: self.roots,
            timeouts: Timeouts {
                attempts: self.attempts,
                ..Timeouts::default()
            },
            hardware: KnownChip::of(self.chip).hardware(),
            // It is no device that anybody has.
            send_id: SendId::No,
            ..Config::new(self.manifest_url, OLDEST, self.chip, self.device_id)
        };
        let mut workspace = Box::new(Workspace::new());
        let mut updater = device.updater(&running, config, &mut workspace);
        Ok(if with_image {
            updater.install(&mut ()).await.map(|outcome| match outcome {
                Outcome::Installed(_) => None,
                Outcome::NoUpdate(reason) => Some(reason),
            })
        } else {
            updater.check().await.map(|checked| match checked {
                Checked::Available(_) => None,
                Checked::NoUpdate(reason) => Some(reason),
            })
        })
    }

    /// A flash with slots that have room for the image, and the oldest firmware in the first.
    fn flash(&self) -> Result<Flash, CliError> {
        const MEGABYTE: u32 = 1 << 20;
        // The largest flash that an image can be made for has 16 MB.
        let slot = self
            .size
            .unwrap_or(7 * MEGABYTE)
            .clamp(2 * MEGABYTE, 7 * MEGABYTE)
            .next_multiple_of(MEGABYTE);
        let table = format!(
            "otadata, data, ota, 0xe000, 0x2000\nota_0, app, ota_0, {MEGABYTE}, {slot}\nota_1, app, ota_1, , {slot}\n"
        );
        // A device with a boot guard refuses an image without one, which is not the question here.
        let firmware = ImageBuilder::new(self.chip, OLDEST).without_guard();
        let firmware = match self.project {
            Some(project) => firmware.project_name(project),
            None => firmware.without_descriptor(),
        };
        Ok(Flash::in_memory(
            Setup::from_csv(&table)?.flash(&firmware.build())?,
        ))
    }
}

/// The id of a device that a rollout includes; `None` if there is none.
pub fn id_in_rollout(manifest: &Manifest<'_>) -> Option<String> {
    let reached = |id: &String| {
        let place = Place::of(id.as_bytes(), manifest);
        manifest
            .rollout
            .is_none_or(|rollout| rollout.includes(place))
    };
    (0..100_000)
        .map(|number| format!("virtual-{number}"))
        .find(reached)
}

/// The roots that a device trusts besides the built-in ones.
#[derive(Debug, Default)]
pub struct MoreRoots {
    /// As DER.
    pub der: Vec<Vec<u8>>,
    /// How many CAs of `AWS_CA_BUNDLE` it does not trust.
    unused: usize,
}

impl MoreRoots {
    /// Those that `--ca`, or `AWS_CA_BUNDLE` in its place, adds.
    ///
    /// A device has room for few roots. If `AWS_CA_BUNDLE` names more of them, such as all CAs of the system, it is for the S3 client:
    /// the device then trusts the built-in roots only. With `--ca`, that is an error.
    pub fn read(ca: Option<&Path>) -> Result<Self, CliError> {
        let mut der = certificates::read_all(ca)?;
        // Bundles are often put together from others.
        der.sort();
        der.dedup();
        let is_from_environment =
            std::env::var_os("AWS_CA_BUNDLE").is_some_and(|named| ca == Some(Path::new(&named)));
        if is_from_environment && der.len() > Self::room() {
            return Ok(Self {
                der: Vec::new(),
                unused: der.len(),
            });
        }
        trusting(&der)?;
        Ok(Self { der, unused: 0 })
    }

    fn room() -> usize {
        Roots::MAX.saturating_sub(Roots::built_in().len())
    }

    /// What the device does not trust, and why.
    pub fn warning(&self) -> Option<CliError> {
        let (unused, room) = (self.unused, Self::room());
        (unused > 0).then(|| {
            let message = format!(
                "the virtual device trusts none of the {unused} CAs in AWS_CA_BUNDLE, only the built-in roots: a device has room for {room} more"
            );
            CliError::new("tls.roots", message).hint(
                "if your devices' server has a certificate of another CA, name that CA with --ca",
            )
        })
    }

    /// A failure of the device, explained if it may come from that.
    pub fn explain(&self, failure: CliError) -> CliError {
        match self.warning() {
            Some(warning) if failure.code.starts_with("tls.") => failure.hint(format!(
                "{}; {}",
                warning.message,
                warning.hint.unwrap_or_default()
            )),
            _ => failure,
        }
    }
}

/// All roots that can be built into a firmware, and these, given as DER.
pub fn trusting(more: &[Vec<u8>]) -> Result<Roots<'_>, CliError> {
    with(Roots::built_in(), more)
}

/// These roots and more, given as DER.
pub fn with<'a>(mut roots: Roots<'a>, more: &'a [Vec<u8>]) -> Result<Roots<'a>, CliError> {
    for der in more {
        roots.add_der(der).map_err(|error| {
            CliError::new("tls.root", format!("the CA certificate: {error}")).hint(match error {
                RootError::Full => {
                    "a device trusts few roots: name only the CA that it needs with --ca"
                }
                _ => "--ca takes the certificate of a CA, PEM or DER",
            })
        })?;
    }
    Ok(roots)
}
