//! The release statement: the bytes that a release's signature signs.

use core::fmt;

use sha2::{Digest, Sha256};

use crate::Manifest;

/// The first line of a release statement, without its line end. The number is the version of
/// this format: another set of lines or another spelling gets another number.
pub const STATEMENT_HEADER: &str = "s3ota-release-v1";

impl Manifest<'_> {
    /// Writes the *release statement*, the text that a [`Signature`](crate::Signature) signs.
    ///
    /// A signature of the manifest's own bytes would break as soon as its URL is renewed or its notes are
    /// corrected. So the statement is a separate text, made from the fields that decide what runs, where,
    /// and until when:
    ///
    /// ```text
    /// s3ota-release-v1
    /// version=1.2.0
    /// size=1048576
    /// sha256=9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    /// project=lamp
    /// chip=esp32c3
    /// board=greenhouse-2
    /// channel=stable
    /// rollout=12.5
    /// min_version=1.1.4
    /// downgrade=true
    /// serial=1795500000
    /// expires=2027-01-31T12:00:00Z
    /// ```
    ///
    /// Every line, including the last, ends with one line feed (0x0A). The lines come in this order. An
    /// absent field has no line, so its absence is signed too: a field cannot be added or removed later.
    /// Values are in canonical form, so their spelling in the manifest does not matter: the
    /// version as [`Version`](crate::Version) displays it (build metadata included), `size` in decimal,
    /// `sha256` in lower-case hex, `rollout` as the shortest decimal number, `expires` in UTC with `Z`,
    /// `serial` in decimal; `downgrade` has a line only if it is true. `project`, `chip`, `board` and
    /// `channel` are copied as they are, in UTF-8. No value can contain a line break, so two different releases never have
    /// the same statement.
    ///
    /// What is signed, and why:
    ///
    /// | field | signed | because |
    /// |---|---|---|
    /// | `version` | yes | it decides what counts as newer: an old image must not return under a higher number |
    /// | `size` | yes | a device can refuse an endless download before the hash is known |
    /// | `sha256` | yes | it identifies what runs, to the last bit |
    /// | `project` | yes | a key may release several products: none may be offered as another |
    /// | `chip`, `board` | yes | an image must not be offered to hardware it was not made for |
    /// | `channel` | yes | a beta must not be offered to everyone |
    /// | `rollout` | yes | an attacker must not widen a release for one percent to everyone |
    /// | `min_version`, `downgrade` | yes | they decide how far back a device may go |
    /// | `serial` | yes | an older manifest must not be replayed |
    /// | `expires` | yes | otherwise an attacker could move the date that ends a freeze attack |
    /// | `url` | no | it only says where to fetch; the hash says what. A job without the key can renew pre-signed URLs |
    /// | `deltas`, `compressed` | no | what they make must have the signed size and hash, or it is not installed |
    /// | `date`, `notes`, `uploader`, unknown fields | no | they are for people, nothing depends on them |
    ///
    /// A statement without `size` and `sha256` does not identify an image: [`Manifest::verify`] requires both.
    ///
    /// # Errors
    ///
    /// Only those of `out`.
    pub fn write_statement<W: fmt::Write>(&self, out: &mut W) -> fmt::Result {
        writeln!(out, "{STATEMENT_HEADER}")?;
        writeln!(out, "version={}", self.version)?;
        if let Some(size) = self.size {
            writeln!(out, "size={size}")?;
        }
        if let Some(sha256) = self.sha256 {
            writeln!(out, "sha256={sha256}")?;
        }
        if let Some(project) = self.project {
            writeln!(out, "project={project}")?;
        }
        if let Some(chip) = self.chip {
            writeln!(out, "chip={chip}")?;
        }
        if let Some(board) = self.board {
            writeln!(out, "board={board}")?;
        }
        if let Some(channel) = self.channel {
            writeln!(out, "channel={channel}")?;
        }
        if let Some(rollout) = self.rollout {
            writeln!(out, "rollout={rollout}")?;
        }
        if let Some(version) = self.min_version {
            writeln!(out, "min_version={version}")?;
        }
        if self.downgrade {
            writeln!(out, "downgrade=true")?;
        }
        if let Some(serial) = self.serial {
            writeln!(out, "serial={serial}")?;
        }
        if let Some(expires) = self.expires {
            writeln!(out, "expires={expires}")?;
        }
        Ok(())
    }

    /// The SHA-256 of the [release statement](Manifest::write_statement): what ECDSA signs.
    // The stack of the hash and of the formatting, too, is free again before a signature is verified.
    #[inline(never)]
    pub fn statement_digest(&self) -> [u8; 32] {
        let mut hash = HashWriter(Sha256::new());
        // Writing into a hash cannot fail.
        let _ = self.write_statement(&mut hash);
        hash.0.finalize().into()
    }
}

/// A hash as a [`fmt::Write`].
pub(crate) struct HashWriter(pub(crate) Sha256);

impl fmt::Write for HashWriter {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text);
        Ok(())
    }
}
