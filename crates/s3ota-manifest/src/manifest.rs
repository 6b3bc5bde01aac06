//! The manifest's fields, and how they are read.

#[cfg(feature = "delta")]
use crate::artefacts::{Artefact, Artefacts, Delta};
use crate::json::{Reader, Token};
use crate::{HttpsUrl, ManifestError, Rollout, Sha256Digest, TextProblem, Timestamp, Version};

/// How long a manifest may be, in bytes. A device needs a buffer of this size to read any manifest.
pub const MAX_DOCUMENT: usize = 8192;
/// How long `chip` may be, in bytes of UTF-8.
pub const MAX_CHIP: usize = 32;
/// How long `board` may be, in bytes of UTF-8.
pub const MAX_BOARD: usize = 64;
/// How long `project` may be, in bytes of UTF-8: as long as an app descriptor has room for.
pub const MAX_PROJECT: usize = 32;
/// How long `channel` may be, in bytes of UTF-8.
pub const MAX_CHANNEL: usize = 64;
/// How long `signature.keyid` may be, in bytes of UTF-8.
pub const MAX_KEYID: usize = 128;
/// How long `signature.sig` may be, in bytes. An ECDSA P-256 signature has at most 72 bytes in DER,
/// or 96 characters in base64.
pub const MAX_SIGNATURE: usize = 128;

/// What a manifest says about a release. It borrows from the document it was read from.
///
/// Only [`Manifest::parse`] makes one, so every text in it is within its limits and contains no control
/// characters.
///
/// The fields `date`, `notes` and `uploader` are for people. Like any field not listed here they are
/// skipped.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Manifest<'a> {
    /// The version of the release.
    pub version: Version<'a>,
    /// Where the image lies.
    pub url: HttpsUrl<'a>,
    /// The image's size in bytes, never 0.
    pub size: Option<u32>,
    /// The SHA-256 of the whole image file.
    pub sha256: Option<Sha256Digest>,
    /// The image's project, as its app descriptor names it. Not empty, at most [`MAX_PROJECT`] bytes. A device installs no
    /// release of another project.
    pub project: Option<&'a str>,
    /// The chip that the image is for, spelled as in esptool and espflash: `esp32c3`. Not empty, at most
    /// [`MAX_CHIP`] bytes.
    pub chip: Option<&'a str>,
    /// The product's own name for the hardware that the image is for. Not empty, at most [`MAX_BOARD`]
    /// bytes.
    pub board: Option<&'a str>,
    /// The channel of the release. Not empty, at most [`MAX_CHANNEL`] bytes.
    pub channel: Option<&'a str>,
    /// Which share of the devices installs the release; all of them if absent.
    pub rollout: Option<Rollout>,
    /// A device that has seen this release never again goes back below this version, whoever asks it to: earlier versions
    /// have a vulnerability. The pre-release part does not count: `1.2.0-rc.1` is as good as `1.2.0`.
    pub min_version: Option<Version<'a>>,
    /// Whether devices that run a newer version go back to this one. The manifest must then be signed, have a serial, and
    /// expire.
    pub downgrade: bool,
    /// Counts the manifests of a channel. Each has a higher number than those before it, so an old one cannot be replayed.
    /// `s3ota` uses the time of publishing, in seconds.
    pub serial: Option<u64>,
    /// The manifest's expiry. A device that knows the time refuses it from this moment on, so an attacker
    /// cannot serve an old manifest for ever.
    pub expires: Option<Timestamp>,
    /// The release key's signature of the [release statement](Manifest::write_statement).
    pub signature: Option<Signature<'a>>,
    /// What makes the image in fewer bytes.
    #[cfg(feature = "delta")]
    artefacts: Artefacts<'a>,
}

/// A signature of the [release statement](Manifest::write_statement). Reading it verifies nothing:
/// [`Manifest::verify`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Signature<'a> {
    /// Which key: a [`KeyId`](crate::KeyId) in hex. At most [`MAX_KEYID`] bytes.
    pub keyid: &'a str,
    /// The ECDSA P-256 signature with SHA-256, DER in base64. At most [`MAX_SIGNATURE`] bytes. Whether it
    /// is valid base64 is checked by the verifier.
    pub sig: &'a str,
}

impl<'a> Manifest<'a> {
    /// Reads a manifest, unescaping its strings in place.
    ///
    /// The document must be complete. After an error its bytes may have changed.
    ///
    /// A field that is `null` is an error, not an absent field. A tool that writes `null` for `rollout` or
    /// `sha256` has most likely failed to determine it, and a device must not read that as "everyone" or
    /// "unchecked".
    ///
    /// # Errors
    ///
    /// A [`ManifestError`] names the field or the position at fault: the first one that the reader
    /// encounters.
    #[inline(never)]
    pub fn parse(document: &'a mut [u8]) -> Result<Manifest<'a>, ManifestError> {
        let mut reader = Reader::new(document)?;
        match reader.next() {
            Ok(Token::ObjectStart) => {}
            Ok(_) | Err(ManifestError::Syntax { .. }) => return Err(ManifestError::NotAnObject),
            Err(error) => return Err(error),
        }

        let mut fields = Fields::default();
        let mut seen = [false; FIELDS.len()];
        while let Token::Key(key) = reader.next()? {
            match FIELDS
                .iter()
                .zip(&mut seen)
                .find(|(field, _)| **field == key)
            {
                Some((field, true)) => return Err(ManifestError::DuplicateKey(field)),
                Some((field, seen)) => {
                    *seen = true;
                    fields.read(field, &mut reader)?;
                }
                None => reader.skip_value()?,
            }
        }
        // The loop ended with the object; now the document must end too.
        reader.next()?;

        Ok(Manifest {
            version: fields
                .version
                .ok_or(ManifestError::MissingField("version"))?,
            url: fields.url.ok_or(ManifestError::MissingField("url"))?,
            size: fields.size,
            sha256: fields.sha256,
            project: fields.project,
            chip: fields.chip,
            board: fields.board,
            channel: fields.channel,
            rollout: fields.rollout,
            min_version: fields.min_version,
            downgrade: fields.downgrade,
            serial: fields.serial,
            expires: fields.expires,
            signature: fields.signature,
            #[cfg(feature = "delta")]
            artefacts: fields.artefacts,
        })
    }

    /// What makes the image of one that a device may run: the `deltas` that can be read, at most
    /// [`MAX_DELTAS`](crate::MAX_DELTAS).
    #[cfg(feature = "delta")]
    pub fn deltas(&self) -> impl Iterator<Item = Delta<'a>> + use<'a> {
        self.artefacts.deltas()
    }

    /// What makes the image of nothing: `compressed`, if it can be read.
    #[cfg(feature = "delta")]
    pub fn compressed(&self) -> Option<Artefact<'a>> {
        self.artefacts.compressed()
    }
}

fn read_size(reader: &mut Reader<'_>) -> Result<u32, ManifestError> {
    match number("size", "a number of bytes", reader)?.parse() {
        Ok(0) | Err(_) => Err(ManifestError::Size),
        Ok(size) => Ok(size),
    }
}

fn read_signature<'a>(reader: &mut Reader<'a>) -> Result<Signature<'a>, ManifestError> {
    if reader.next()? != Token::ObjectStart {
        return Err(ManifestError::WrongType {
            field: "signature",
            expected: "an object with `keyid` and `sig`",
        });
    }
    let mut keyid = None;
    let mut sig = None;
    while let Token::Key(key) = reader.next()? {
        match key {
            "keyid" => once("signature.keyid", &mut keyid, || {
                text("signature.keyid", MAX_KEYID, reader)
            })?,
            "sig" => once("signature.sig", &mut sig, || {
                text("signature.sig", MAX_SIGNATURE, reader)
            })?,
            _ => reader.skip_value()?,
        }
    }
    Ok(Signature {
        keyid: keyid.ok_or(ManifestError::MissingField("signature.keyid"))?,
        sig: sig.ok_or(ManifestError::MissingField("signature.sig"))?,
    })
}

/// The fields that are read.
const FIELDS: &[&str] = &[
    "version",
    "url",
    "size",
    "sha256",
    "project",
    "chip",
    "board",
    "channel",
    "rollout",
    "min_version",
    "downgrade",
    "serial",
    "expires",
    "signature",
    #[cfg(feature = "delta")]
    "deltas",
    #[cfg(feature = "delta")]
    "compressed",
];

/// What has been read so far. One function reads all fields: fourteen would take twice as much flash.
#[derive(Default)]
struct Fields<'a> {
    version: Option<Version<'a>>,
    url: Option<HttpsUrl<'a>>,
    size: Option<u32>,
    sha256: Option<Sha256Digest>,
    project: Option<&'a str>,
    chip: Option<&'a str>,
    board: Option<&'a str>,
    channel: Option<&'a str>,
    rollout: Option<Rollout>,
    min_version: Option<Version<'a>>,
    downgrade: bool,
    serial: Option<u64>,
    expires: Option<Timestamp>,
    signature: Option<Signature<'a>>,
    #[cfg(feature = "delta")]
    artefacts: Artefacts<'a>,
}

impl<'a> Fields<'a> {
    /// Reads the value of a field, one of [`FIELDS`].
    fn read(&mut self, field: &'static str, reader: &mut Reader<'a>) -> Result<(), ManifestError> {
        match field {
            "version" => self.version = Some(Version::parse(string(field, reader)?)?),
            "url" => self.url = Some(HttpsUrl::parse(string(field, reader)?)?),
            "size" => self.size = Some(read_size(reader)?),
            "sha256" => {
                let digest = string(field, reader)?.parse();
                self.sha256 = Some(digest.map_err(|_| ManifestError::Sha256)?);
            }
            "project" => self.project = Some(text(field, MAX_PROJECT, reader)?),
            "chip" => self.chip = Some(text(field, MAX_CHIP, reader)?),
            "board" => self.board = Some(text(field, MAX_BOARD, reader)?),
            "channel" => self.channel = Some(text(field, MAX_CHANNEL, reader)?),
            "rollout" => {
                let rollout = number(field, "a number from 0 to 100", reader)?.parse();
                self.rollout = Some(rollout.map_err(ManifestError::Rollout)?);
            }
            "min_version" => {
                let version = Version::parse(string(field, reader)?);
                self.min_version = Some(version.map_err(ManifestError::MinVersion)?);
            }
            "downgrade" => self.downgrade = boolean(field, reader)?,
            "serial" => {
                let serial = number(field, "a whole number", reader)?.parse();
                self.serial = Some(serial.map_err(|_| ManifestError::Serial)?);
            }
            "expires" => {
                let expires = Timestamp::parse(string(field, reader)?);
                self.expires = Some(expires.map_err(ManifestError::Expires)?);
            }
            "signature" => self.signature = Some(read_signature(reader)?),
            #[cfg(feature = "delta")]
            "deltas" => self.artefacts.read_deltas(reader)?,
            #[cfg(feature = "delta")]
            "compressed" => self.artefacts.read_compressed(reader)?,
            _ => reader.skip_value()?,
        }
        Ok(())
    }
}

/// Reads a field that has not been read before.
fn once<T>(
    field: &'static str,
    slot: &mut Option<T>,
    read: impl FnOnce() -> Result<T, ManifestError>,
) -> Result<(), ManifestError> {
    if slot.is_some() {
        return Err(ManifestError::DuplicateKey(field));
    }
    *slot = Some(read()?);
    Ok(())
}

fn string<'a>(field: &'static str, reader: &mut Reader<'a>) -> Result<&'a str, ManifestError> {
    match reader.next()? {
        Token::String(string) => Ok(string),
        _ => Err(ManifestError::WrongType {
            field,
            expected: "a string",
        }),
    }
}

fn number<'a>(
    field: &'static str,
    expected: &'static str,
    reader: &mut Reader<'a>,
) -> Result<&'a str, ManifestError> {
    match reader.next()? {
        Token::Number(number) => Ok(number),
        _ => Err(ManifestError::WrongType { field, expected }),
    }
}

fn boolean(field: &'static str, reader: &mut Reader<'_>) -> Result<bool, ManifestError> {
    match reader.next()? {
        Token::Bool(value) => Ok(value),
        _ => Err(ManifestError::WrongType {
            field,
            expected: "true or false",
        }),
    }
}

/// Reads a string that must not be empty, too long, or contain control characters.
fn text<'a>(
    field: &'static str,
    limit: usize,
    reader: &mut Reader<'a>,
) -> Result<&'a str, ManifestError> {
    let text = string(field, reader)?;
    let problem = if text.is_empty() {
        TextProblem::Empty
    } else if text.len() > limit {
        TextProblem::TooLong { limit }
    } else if text.contains(char::is_control) {
        TextProblem::ControlCharacter
    } else {
        return Ok(text);
    };
    Err(ManifestError::Text { field, problem })
}
