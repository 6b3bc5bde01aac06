//! What lies in a bucket, and every way to change it.
//!
//! | file | what it is about |
//! |---|---|
//! | `channel/` | the manifest that a channel serves, and the one way to replace it |
//! | `artefacts.rs` | the deltas and the compressed image that a manifest names |
//! | `catalogue.rs` | everything under a prefix: channels, releases, images, history, yanks |
//! | `resign/` | which manifests in the bucket may be signed again |
//! | `seal.rs` | what makes a manifest one that nobody else can write and no older one can replace |
//! | `withdrawal.rs` | a yank: the mark, and what each channel goes back to |
//! | `cleanup.rs` | which images and artefacts nobody needs any more |
//! | `setup/` | the settings of the bucket itself |

pub mod artefacts;
pub mod catalogue;
pub mod channel;
pub mod cleanup;
pub mod resign;
pub mod seal;
pub mod setup;
pub mod withdrawal;
