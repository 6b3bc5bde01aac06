//! What devices are called.

use s3ota::manifest::user_agent::hashed_id;

/// The key of those who send a hash of their id.
const KEY: &[u8] = b"the key of a fleet that is made up";

/// How a device is named in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    Plainly,
    Hashed,
    Not,
}

/// The id of a device: a MAC address of Espressif's, or the one that is given.
pub(crate) fn id(ids: &[String], index: u32) -> String {
    match ids.get(index as usize) {
        Some(id) => id.clone(),
        // An odd factor: different for each of 2²⁴.
        None => format!(
            "240ac4{:06x}",
            index.wrapping_mul(0x006d_2b79) & 0x00ff_ffff
        ),
    }
}

/// Its name in the log, if it has one there.
pub(crate) fn name(ids: &[String], index: u32, named: Named) -> Option<String> {
    let id = id(ids, index);
    match named {
        Named::Plainly => Some(id),
        Named::Hashed => Some(hashed_id(KEY, id.as_bytes()).to_string()),
        Named::Not => None,
    }
}
