//! The memory an update works in.

use s3ota_manifest::MAX_DOCUMENT;

use crate::install::BLOCK;
use crate::net::session::{SessionBuffers, Target};

/// The memory that an [`Updater`](crate::Updater) works in, about 36 KB: TLS records, HTTP heads, URL and manifest, one flash
/// sector.
///
/// The program places it, usually in a `static`: the library allocates nothing.
// The block comes first and aligned: flash drivers copy what is not in whole words.
#[repr(C, align(4))]
pub struct Workspace {
    pub(super) block: [u8; BLOCK],
    pub(super) session: SessionBuffers,
    pub(super) target: Target,
    pub(super) document: [u8; MAX_DOCUMENT],
}

impl Workspace {
    /// An empty workspace.
    pub const fn new() -> Self {
        Self {
            session: SessionBuffers::new(),
            target: Target::new(),
            document: [0; MAX_DOCUMENT],
            block: [0; BLOCK],
        }
    }
}

impl Default for Workspace {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for Workspace {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Workspace").finish_non_exhaustive()
    }
}
