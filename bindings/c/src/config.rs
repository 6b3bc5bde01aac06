//! The configuration, from C's to the library's.

use core::time::Duration;

use heapless::Vec;
use s3ota::tls::Roots;
use s3ota::{Chip, Config, Confirm, Header, ReleaseKey, Schedule, SendId, Timeouts};

use crate::hooks::NONE;
use crate::{codes, memory, types};

pub const MAX_RELEASE_KEYS: usize = 4;
pub const MAX_HEADERS: usize = 4;
#[allow(dead_code, reason = "for the test of the header")]
pub const MAX_ROOTS: usize = 11;

const REVISION: u32 = 1;
const BLOCK_REVISION: u32 = 2;
const SECURE_VERSION: u32 = 4;
const ANY_MAX_REVISION: u32 = 8;
const ANY_MAX_BLOCK_REVISION: u32 = 16;

/// What a configuration refers to, and what C has in another form. It lies in the state.
pub struct Parts {
    keys: Vec<ReleaseKey, MAX_RELEASE_KEYS>,
    hosts: Vec<[&'static str; 1], MAX_HEADERS>,
    headers: Vec<Header<'static>, MAX_HEADERS>,
}

impl Parts {
    pub const fn new() -> Self {
        Self {
            keys: Vec::new(),
            hosts: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// Reads the keys, and which hosts the headers go to.
    ///
    /// # Safety
    ///
    /// What the configuration points to is as the header says.
    pub unsafe fn read(&mut self, config: &types::Config) -> Result<(), i32> {
        // SAFETY: as above.
        for bytes in unsafe { memory::array(config.release_keys, config.release_key_count)? } {
            // SAFETY: as above.
            let bytes = unsafe { memory::array(bytes.data, bytes.len)? };
            let key = ReleaseKey::from_spki(bytes).or_else(|| of_point(bytes));
            let key = key.ok_or(codes::KEY)?;
            self.keys.push(key).map_err(|_| codes::KEY)?;
        }
        // SAFETY: as above.
        for header in unsafe { memory::array(config.headers, config.header_count)? } {
            // SAFETY: as above.
            let host = unsafe { memory::text(header.also_to)? };
            self.hosts
                .push([host.unwrap_or("")])
                .map_err(|_| codes::HEADER)?;
        }
        Ok(())
    }

    /// Reads the headers, whose hosts are known.
    ///
    /// # Safety
    ///
    /// As [`read`](Self::read).
    pub unsafe fn read_headers(
        &'static mut self,
        config: &types::Config,
    ) -> Result<&'static Self, i32> {
        let hosts: &'static Vec<_, MAX_HEADERS> = &self.hosts;
        // SAFETY: as above.
        let headers = unsafe { memory::array(config.headers, config.header_count)? };
        for (header, host) in headers.iter().zip(hosts) {
            // SAFETY: as above.
            let (name, value) =
                unsafe { (memory::text(header.name)?, memory::text(header.value)?) };
            let (name, value) = (name.ok_or(codes::HEADER)?, value.ok_or(codes::HEADER)?);
            let header = Header::new(name, value).map_err(|_| codes::HEADER)?;
            let header = match host {
                [""] => header,
                _ => header.also_to(host),
            };
            self.headers.push(header).map_err(|_| codes::HEADER)?;
        }
        Ok(self)
    }
}

/// A key that is no more than its point.
fn of_point(bytes: &[u8]) -> Option<ReleaseKey> {
    let point: &[u8; 65] = bytes.try_into().ok()?;
    // Only what is a point on the curve is a key.
    let key = ReleaseKey::from_point(*point);
    ReleaseKey::from_spki(&key.to_spki())
}

/// The library's configuration.
///
/// # Safety
///
/// What the configuration points to is as the header says.
pub unsafe fn library(
    config: &types::Config,
    parts: &'static Parts,
) -> Result<Config<'static>, i32> {
    // SAFETY: as above.
    let text = |text| unsafe { memory::text(text) };
    let needed = |given| text(given)?.ok_or(codes::TEXT);
    let chip = Chip::from_name(needed(config.chip)?).ok_or(codes::CHIP)?;
    let mut made = Config::new(
        needed(config.manifest_url)?,
        needed(config.version)?,
        chip,
        needed(config.device_id)?,
    );
    made.board = text(config.board)?;
    made.channel = text(config.channel)?;
    made.renamed_to = text(config.renamed_to)?;
    made.release_keys = &parts.keys;
    made.headers = &parts.headers;
    // SAFETY: as above.
    let id_key = unsafe { memory::array(config.id_key.data, config.id_key.len)? };
    made.send_id = match (config.hide_device_id, id_key) {
        (0, []) => SendId::Plain,
        (0, key) => SendId::hashed(key, made.device_id),
        _ => SendId::No,
    };
    made.built_at = config.built_at;
    if config.no_built_in_roots != 0 {
        made.roots = Roots::empty();
    }
    // SAFETY: as above.
    for root in unsafe { memory::array(config.roots, config.root_count)? } {
        // SAFETY: as above.
        let der = unsafe { memory::array(root.data, root.len)? };
        made.roots.add_der(der).map_err(|_| codes::ROOT)?;
    }
    made.timeouts = timeouts(config);
    if config.partition_table != 0 {
        made.partition_table = config.partition_table;
    }
    let known = |bit| config.hardware_known & bit != 0;
    let hardware = &mut made.hardware;
    hardware.revision = known(REVISION).then_some(config.hardware_revision);
    hardware.block_revision = known(BLOCK_REVISION).then_some(config.hardware_block_revision);
    hardware.secure_version = known(SECURE_VERSION).then_some(config.hardware_secure_version);
    hardware.any_max_revision = known(ANY_MAX_REVISION);
    hardware.any_max_block_revision = known(ANY_MAX_BLOCK_REVISION);
    Ok(made)
}

fn timeouts(config: &types::Config) -> Timeouts {
    let usual = Timeouts::default();
    Timeouts {
        idle: time(config.idle_ms, usual.idle),
        deadline: time(config.deadline_ms, usual.deadline),
        attempts: number(config.attempts, usual.attempts),
        first_pause: time(config.first_pause_ms, usual.first_pause),
        longest_pause: time(config.longest_pause_ms, usual.longest_pause),
    }
}

/// The agent's schedule.
pub fn schedule(config: &types::Config) -> Result<Schedule, i32> {
    let usual = Schedule::default();
    Ok(Schedule {
        first: time(config.first_ms, usual.first),
        every: time(config.every_ms, usual.every),
        jitter_percent: number(config.jitter_percent, usual.jitter_percent),
        confirm: match config.confirm {
            0 => Confirm::WhenServerReached,
            1 => Confirm::ByApplication,
            _ => return Err(codes::ARGUMENT),
        },
        trial_time: time(config.trial_time_ms, usual.trial_time),
    })
}

const fn time(given: u32, usual: Duration) -> Duration {
    match given {
        0 => usual,
        NONE => Duration::ZERO,
        ms => Duration::from_millis(ms as u64),
    }
}

const fn number(given: u8, usual: u8) -> u8 {
    if given == 0 { usual } else { given }
}
