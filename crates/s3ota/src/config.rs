//! What an updater must know about its device, and what its owner wants.

mod header;

use core::time::Duration;

use s3ota_image::Chip;
use s3ota_image::app::Hardware;
use s3ota_image::partition::TABLE_OFFSET;
use s3ota_manifest::ReleaseKey;
use s3ota_manifest::user_agent::{HashedId, hashed_id};
use s3ota_tls::Roots;

pub use header::{Header, HeaderError};

/// What an [`Updater`](crate::Updater) works by. [`Config::new`] has defaults for all but the four essentials.
#[derive(Debug, Clone)]
pub struct Config<'a> {
    /// The https URL of the manifest, at most 2,048 bytes. A pre-signed URL is fine.
    pub manifest_url: &'a str,
    /// The version of the running firmware: `env!("CARGO_PKG_VERSION")` in most programs.
    pub version: &'a str,
    /// The chip this firmware runs on. Manifests and images for another are refused.
    pub chip: Chip,
    /// The product's own hardware name. Where set, a manifest naming another board is refused; and so is, where there
    /// are [`release_keys`](Config::release_keys), one that names none.
    pub board: Option<&'a str>,
    /// The keys that may sign releases. If there is one, a manifest that none of them signed is refused before any of its image
    /// is fetched. None by default.
    ///
    /// To replace a key, first release a firmware that trusts both. **List the newest first.** A manifest must not be below the
    /// serials and min_versions that its own key and the keys listed before it have signed. So an old key cannot bring back
    /// what its successor has replaced, and nothing that was signed with it binds its successor.
    pub release_keys: &'a [ReleaseKey],
    /// The channel that this device follows. A manifest signed for another one is refused.
    ///
    /// By default it is taken from the manifest's URL, if that ends as the publisher's do: in `<channel>.json`.
    pub channel: Option<&'a str>,
    /// The name that the project has from some release on. Releases and images must name the project of the running
    /// firmware, by its app descriptor, or this one. None by default.
    pub renamed_to: Option<&'a str>,
    /// Tells this device from others of its kind: a MAC address, a serial number.
    ///
    /// It decides the device's place in a staged rollout. An empty id gives all such devices the same place.
    pub device_id: &'a str,
    /// How the id is sent in the User-Agent, where the bucket's access log shows it. As it is by default.
    pub send_id: SendId,
    /// The roots a server's certificate must lead to. By default [those built in](Roots::built_in): Amazon's, and those of the
    /// features `roots-isrg` and `roots-gts`.
    pub roots: Roots<'a>,
    /// When this firmware was built, in seconds since the Unix epoch. The date cannot be earlier.
    pub built_at: u64,
    /// Header fields to send besides the client's own: an API key, a token. None by default.
    ///
    /// They go to the server of the [`manifest_url`](Config::manifest_url) and to no other, neither the image's nor one that a
    /// redirect leads to, unless [`Header::also_to`] names it.
    pub headers: &'a [Header<'a>],
    /// How long to wait for what, and how often to retry.
    pub timeouts: Timeouts,
    /// Where the partition table is on flash: the bootloader's `CONFIG_PARTITION_TABLE_OFFSET`. 0x8000 by default.
    ///
    /// The boot guard must look there, too: [`boot_guard_at`](crate::boot_guard_at).
    pub partition_table: u32,
    /// What is known of the chip besides its kind. An image that the bootloader would refuse on it is refused before anything is
    /// erased. Nothing by default.
    pub hardware: Hardware,
    /// Who boots a new firmware on trial: the bootloader, or this firmware. [`TrialMode::Switch`] by default.
    pub trial_mode: TrialMode,
}

impl<'a> Config<'a> {
    /// A configuration with defaults for everything but what only the firmware knows.
    pub fn new(manifest_url: &'a str, version: &'a str, chip: Chip, device_id: &'a str) -> Self {
        Self {
            manifest_url,
            version,
            chip,
            board: None,
            release_keys: &[],
            channel: None,
            renamed_to: None,
            device_id,
            send_id: SendId::Plain,
            roots: Roots::built_in(),
            built_at: 0,
            headers: &[],
            timeouts: Timeouts::default(),
            partition_table: TABLE_OFFSET,
            hardware: Hardware::default(),
            trial_mode: TrialMode::default(),
        }
    }

    /// Whether a device whose firmware is of the project `own` takes images of another, or of this one.
    pub(crate) fn takes_project(&self, own: &str, other: &str) -> bool {
        own == other || self.renamed_to == Some(other)
    }

    /// The channel this device follows, as far as it knows.
    pub(crate) fn channel(&self) -> Option<&'a str> {
        let from_url = || {
            let path = self.manifest_url.split(['?', '#']).next()?;
            path.rsplit('/').next()?.strip_suffix(".json")
        };
        self.channel.or_else(from_url)
    }
}

/// How a device names itself in the User-Agent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendId {
    /// By its [id](Config::device_id).
    #[default]
    Plain,
    /// By a keyed hash of its id: see [`SendId::hashed`].
    Hashed(HashedId),
    /// Not at all.
    No,
}

impl SendId {
    /// By a hash of this id with this key: whoever reads the log can tell devices apart, and only with the key which one it is.
    ///
    /// `s3ota device hash` computes the same on your computer.
    pub fn hashed(key: &[u8], device_id: &str) -> Self {
        Self::Hashed(hashed_id(key, device_id.as_bytes()))
    }
}

/// Who boots a new firmware on trial.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TrialMode {
    /// The bootloader: otadata selects the new image, which counts its own boots. A bootloader with app rollback gives it up
    /// whatever it does; without, an image that dies before it counts its boot stays.
    #[default]
    Switch,
    /// The old firmware: otadata goes on selecting it, and at each boot it counts, and launches the new image itself. So the
    /// device comes back from whatever restarts, or hangs while a watchdog runs. Only when the new firmware confirms itself
    /// does otadata select it.
    ///
    /// The caller of [`boot_guard`](crate::boot_guard) must be able to do that: see [`Boot::Launch`](crate::Boot::Launch). It
    /// is as with `Switch` where the bootloader has shown that it does app rollback, which protects as well, and for an image
    /// whose guard does not know of such trials: one of an older version, or built without the feature `launch`.
    #[cfg(feature = "launch")]
    Launch,
}

impl TrialMode {
    #[inline]
    pub(crate) fn launches(self) -> bool {
        cfg!(feature = "launch") && self != Self::Switch
    }
}

/// How long to wait for what, and how often to retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// The longest silence on a connection before it is given up. 20 seconds by default.
    pub idle: Duration,
    /// The longest a whole update may take, all attempts and pauses counted. 30 minutes by default.
    ///
    /// It is measured from the start and nothing extends it: a server that sends a byte a second does not hold a
    /// device for ever.
    pub deadline: Duration,
    /// How many attempts an update gets where the failure may pass (a lost connection, a busy server). 5 by default.
    ///
    /// The count starts again whenever one got further than those before.
    pub attempts: u8,
    /// The longest pause before the second attempt; it doubles with each further one. 30 seconds by default.
    ///
    /// The pause is anything between none and this, so this is also the time over which a fleet that lost its server
    /// at the same moment comes back.
    pub first_pause: Duration,
    /// The longest pause of all. 2 minutes by default. A server's `Retry-After` is waited for up to this, and the
    /// pause added to it.
    pub longest_pause: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(20),
            deadline: Duration::from_secs(30 * 60),
            attempts: 5,
            first_pause: Duration::from_secs(30),
            longest_pause: Duration::from_secs(120),
        }
    }
}

/// When an [`Agent`](crate::Agent) checks for an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// The least time between the start of the agent and its first check; up to as much again is added at random. 10
    /// seconds by default.
    pub first: Duration,
    /// The time between checks. One hour by default.
    pub every: Duration,
    /// Up to how many percent of `every` are added at random, so that a fleet that was powered up together does not
    /// ask together for ever. 10 by default.
    pub jitter_percent: u8,
    /// What makes a firmware on trial the confirmed one.
    pub confirm: Confirm,
    /// How long one boot of a firmware on trial may try to reach its server, before the device restarts. 14 minutes by
    /// default: a little less than the trial's watchdog gives it, which would make a crash of it.
    pub trial_time: Duration,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(10),
            every: Duration::from_secs(60 * 60),
            jitter_percent: 10,
            confirm: Confirm::WhenServerReached,
            trial_time: Duration::from_secs(14 * 60),
        }
    }
}

/// What makes a firmware on trial the confirmed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Confirm {
    /// The agent confirms once [`Updater::prove`](crate::Updater::prove) has shown that the firmware could be replaced by a
    /// better one.
    WhenServerReached,
    /// The application calls [`Updater::confirm`](crate::Updater::confirm) itself, after its own tests;
    /// [`Updater::prove`](crate::Updater::prove) should be one of them. Until it has, the agent installs nothing.
    ByApplication,
}
