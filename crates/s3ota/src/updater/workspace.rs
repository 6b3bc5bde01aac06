//! The memory an update works in.

use s3ota_tls::Buffers;

use crate::install::{BLOCK, PAGES, Pages};

/// The memory that an [`Updater`](crate::Updater) works in, about 25 KB: TLS records, and two pages.
/// With the feature `delta` 32 KB more: what a decoder learns.
///
/// The pages are for one thing after the other: what a server claims in a handshake, heads of HTTP messages and a URL that a redirect
/// has led to, the manifest, and, when all else that is needed of it is kept elsewhere, a sector of the image and its URL.
///
/// The program places it, usually in a `static`: the library allocates nothing.
// The pages come first and aligned: flash drivers copy what is not in whole words.
#[repr(C, align(4))]
pub struct Workspace {
    pub(super) pages: Pages,
    pub(super) tls: Buffers,
    #[cfg(feature = "delta")]
    pub(super) codec: s3ota_codec::Memory,
}

impl Workspace {
    /// An empty workspace.
    pub const fn new() -> Self {
        Self {
            pages: [[0; BLOCK]; PAGES],
            tls: Buffers::new(),
            #[cfg(feature = "delta")]
            codec: s3ota_codec::Memory::new(),
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
