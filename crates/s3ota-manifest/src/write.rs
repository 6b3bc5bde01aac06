//! Writing manifests (feature `alloc`).

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde_json::{Map, Value};

use crate::{
    Artefact, Delta, HttpsUrl, MAX_DELTAS, Manifest, ManifestError, Rollout, Sha256Digest,
    Signature, Timestamp, Version,
};

/// The fields that devices read, in the order they are written.
const DEVICE_FIELDS: [&str; 16] = [
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
    "deltas",
    "compressed",
];

/// A manifest as its publisher sees it: everything in the document, including what devices skip.
///
/// A device can read whatever [`to_json`](ManifestDocument::to_json) writes: it checks its output with
/// [`Manifest::parse`].
///
/// ```
/// use s3ota_manifest::{HttpsUrl, ManifestDocument, Rollout, Version};
///
/// let url = HttpsUrl::parse("https://bucket.s3.eu-west-1.amazonaws.com/app.bin")?;
/// let mut document = ManifestDocument::new(&Version::parse("v1.2")?, &url);
/// document.rollout = Some(Rollout::from_percent(25).unwrap());
/// document.notes = Some("Keeps its clock over a restart.".into());
/// assert_eq!(
///     document.to_json()?,
///     r#"{
///   "version": "1.2.0",
///   "url": "https://bucket.s3.eu-west-1.amazonaws.com/app.bin",
///   "rollout": 25,
///   "notes": "Keeps its clock over a restart."
/// }
/// "#
/// );
/// # Ok::<(), s3ota_manifest::ManifestError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ManifestDocument {
    /// The version of the release; see [`Manifest::version`].
    pub version: String,
    /// Where the image lies; see [`Manifest::url`].
    pub url: String,
    /// The image's size in bytes; see [`Manifest::size`].
    pub size: Option<u32>,
    /// The SHA-256 of the whole image file; see [`Manifest::sha256`].
    pub sha256: Option<Sha256Digest>,
    /// The project that the image is built from; see [`Manifest::project`].
    pub project: Option<String>,
    /// The chip that the image is for; see [`Manifest::chip`].
    pub chip: Option<String>,
    /// The hardware that the image is for; see [`Manifest::board`].
    pub board: Option<String>,
    /// The channel it is on; see [`Manifest::channel`].
    pub channel: Option<String>,
    /// Which share of the devices installs it; see [`Manifest::rollout`].
    pub rollout: Option<Rollout>,
    /// The version below which no device goes; see [`Manifest::min_version`].
    pub min_version: Option<String>,
    /// Whether devices go back to it; see [`Manifest::downgrade`].
    pub downgrade: bool,
    /// The manifest's number; see [`Manifest::serial`].
    pub serial: Option<u64>,
    /// The manifest's expiry; see [`Manifest::expires`].
    pub expires: Option<Timestamp>,
    /// The release key's signature; see [`Manifest::signature`].
    pub signature: Option<SignatureDocument>,
    /// What makes the image of those that devices may run, at most [`MAX_DELTAS`]; see [`Manifest::deltas`].
    pub deltas: Vec<DeltaDocument>,
    /// What makes it of nothing; see [`Manifest::compressed`].
    pub compressed: Option<ArtefactDocument>,
    /// For people: when it was published, preferably in RFC 3339.
    pub date: Option<String>,
    /// For people: what is new.
    pub notes: Option<String>,
    /// For people: who published it, or with which tool.
    pub uploader: Option<String>,
    /// Every other field of the document. They are kept when a manifest is read and written again,
    /// but numbers that do not fit into 64 bits lose digits.
    pub extra: Map<String, Value>,
}

/// A signature in a [`ManifestDocument`]; see [`Signature`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureDocument {
    /// The key's id.
    pub keyid: String,
    /// The ECDSA P-256 signature with SHA-256 of the release statement, DER in base64.
    pub sig: String,
}

/// A delta in a [`ManifestDocument`]; see [`Delta`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeltaDocument {
    /// The version of the image that it is applied to.
    pub from: String,
    /// That image's SHA-256.
    pub base_sha256: Sha256Digest,
    /// That image's size in bytes.
    pub base_size: u32,
    /// The delta itself.
    pub artefact: ArtefactDocument,
}

/// A delta or a compressed image in a [`ManifestDocument`]; see [`Artefact`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtefactDocument {
    /// Where it lies.
    pub url: String,
    /// Its size in bytes.
    pub size: u32,
}

impl ManifestDocument {
    /// The smallest manifest; the version is written in its canonical form. Fill in the other fields as needed.
    pub fn new(version: &Version<'_>, url: &HttpsUrl<'_>) -> Self {
        ManifestDocument {
            version: version.to_string(),
            url: url.as_str().to_string(),
            size: None,
            sha256: None,
            project: None,
            chip: None,
            board: None,
            channel: None,
            rollout: None,
            min_version: None,
            downgrade: false,
            serial: None,
            expires: None,
            signature: None,
            deltas: Vec::new(),
            compressed: None,
            date: None,
            notes: None,
            uploader: None,
            extra: Map::new(),
        }
    }

    /// Reads a manifest with everything in it, to change a field and write it again.
    ///
    /// `date`, `notes` and `uploader` go to [`extra`](ManifestDocument::extra) where they are not strings. Of `deltas` and
    /// `compressed`, what no device can read is left out.
    ///
    /// # Errors
    ///
    /// The errors of [`Manifest::parse`]; and a number in an extra field that does not fit 64-bit floating
    /// point, because it could not be written back.
    pub fn parse(json: &[u8]) -> Result<Self, ManifestError> {
        let mut buffer = json.to_vec();
        let manifest = Manifest::parse(&mut buffer)?;
        let mut document = ManifestDocument {
            version: manifest.version.to_string(),
            url: manifest.url.as_str().to_string(),
            size: manifest.size,
            sha256: manifest.sha256,
            project: manifest.project.map(String::from),
            chip: manifest.chip.map(String::from),
            board: manifest.board.map(String::from),
            channel: manifest.channel.map(String::from),
            rollout: manifest.rollout,
            min_version: manifest.min_version.map(|version| version.to_string()),
            downgrade: manifest.downgrade,
            serial: manifest.serial,
            expires: manifest.expires,
            signature: manifest.signature.map(SignatureDocument::from),
            deltas: manifest.deltas().map(DeltaDocument::from).collect(),
            compressed: manifest.compressed().map(ArtefactDocument::from),
            date: None,
            notes: None,
            uploader: None,
            extra: Map::new(),
        };
        // Such a number is all that is left for serde_json to refuse.
        let mut extra: Map<String, Value> =
            serde_json::from_slice(json).map_err(|_| ManifestError::Syntax {
                at: 0,
                expected: "numbers that fit into 64 bits of floating point",
            })?;
        for field in DEVICE_FIELDS {
            extra.remove(field);
        }
        for (field, text) in [
            ("date", &mut document.date),
            ("notes", &mut document.notes),
            ("uploader", &mut document.uploader),
        ] {
            if let Some(Value::String(string)) = extra.get(field) {
                *text = Some(string.clone());
                extra.remove(field);
            }
        }
        document.extra = extra;
        Ok(document)
    }

    /// Writes the manifest: indented by two spaces, the fields in the order of this type, then the extra ones,
    /// and a final line break.
    ///
    /// # Errors
    ///
    /// A [`ManifestError`] if a device could not read the result, a part of which are the deltas and the compressed image; or if
    /// an extra field has the name of another field.
    pub fn to_json(&self) -> Result<String, ManifestError> {
        let mut members = Vec::new();
        let mut member = |name: &str, value: String| members.push((quoted(name), value));

        member("version", quoted(&self.version));
        member("url", quoted(&self.url));
        if let Some(size) = self.size {
            member("size", size.to_string());
        }
        if let Some(sha256) = self.sha256 {
            member("sha256", quoted(&sha256.to_string()));
        }
        if let Some(project) = &self.project {
            member("project", quoted(project));
        }
        if let Some(chip) = &self.chip {
            member("chip", quoted(chip));
        }
        if let Some(board) = &self.board {
            member("board", quoted(board));
        }
        if let Some(channel) = &self.channel {
            member("channel", quoted(channel));
        }
        if let Some(rollout) = self.rollout {
            member("rollout", rollout.to_string());
        }
        if let Some(version) = &self.min_version {
            member("min_version", quoted(version));
        }
        if self.downgrade {
            member("downgrade", "true".into());
        }
        if let Some(serial) = self.serial {
            member("serial", serial.to_string());
        }
        if let Some(expires) = self.expires {
            member("expires", quoted(&expires.to_string()));
        }
        if let Some(SignatureDocument { keyid, sig }) = &self.signature {
            let (keyid, sig) = (quoted(keyid), quoted(sig));
            member(
                "signature",
                object(&[("\"keyid\"".into(), keyid), ("\"sig\"".into(), sig)]),
            );
        }
        if self.deltas.len() > MAX_DELTAS {
            return Err(ManifestError::TooManyDeltas);
        }
        if !self.deltas.is_empty() {
            let deltas: Result<Vec<_>, _> = self.deltas.iter().map(DeltaDocument::json).collect();
            member("deltas", array(&deltas?));
        }
        if let Some(compressed) = &self.compressed {
            member("compressed", object(&compressed.members("compressed")?));
        }
        for (name, text) in [
            ("date", &self.date),
            ("notes", &self.notes),
            ("uploader", &self.uploader),
        ] {
            if let Some(text) = text {
                if self.extra.contains_key(name) {
                    return Err(ManifestError::DuplicateKey(name));
                }
                member(name, quoted(text));
            }
        }
        for (name, value) in &self.extra {
            // Also where the field is not set: it must not come in by the back door.
            if let Some(name) = DEVICE_FIELDS.into_iter().find(|field| field == name) {
                return Err(ManifestError::DuplicateKey(name));
            }
            member(name, alloc::format!("{value:#}"));
        }

        let mut json = object(&members);
        json.push('\n');
        Manifest::parse(&mut json.clone().into_bytes())?;
        Ok(json)
    }

    /// The [release statement](Manifest::write_statement) of the manifest: the text to sign.
    ///
    /// # Errors
    ///
    /// As [`to_json`](ManifestDocument::to_json): what a device could not read cannot be signed.
    pub fn statement(&self) -> Result<String, ManifestError> {
        let mut json = self.to_json()?.into_bytes();
        let mut statement = String::new();
        // Writing into a string cannot fail.
        let _ = Manifest::parse(&mut json)?.write_statement(&mut statement);
        Ok(statement)
    }
}

impl DeltaDocument {
    fn json(&self) -> Result<String, ManifestError> {
        check("deltas", "from", Version::parse(&self.from).is_ok())?;
        check("deltas", "base_size", self.base_size > 0)?;
        let mut members = Vec::from([
            (quoted("from"), quoted(&self.from)),
            (quoted("base_sha256"), quoted(&self.base_sha256.to_string())),
            (quoted("base_size"), self.base_size.to_string()),
        ]);
        members.extend(self.artefact.members("deltas")?);
        Ok(object(&members))
    }
}

impl ArtefactDocument {
    fn members(&self, field: &'static str) -> Result<[(String, String); 2], ManifestError> {
        check(field, "url", HttpsUrl::parse(&self.url).is_ok())?;
        check(field, "size", self.size > 0)?;
        Ok([
            (quoted("url"), quoted(&self.url)),
            (quoted("size"), self.size.to_string()),
        ])
    }
}

impl From<Delta<'_>> for DeltaDocument {
    fn from(delta: Delta<'_>) -> Self {
        DeltaDocument {
            from: delta.from.to_string(),
            base_sha256: delta.base,
            base_size: delta.base_size,
            artefact: delta.artefact.into(),
        }
    }
}

impl From<Artefact<'_>> for ArtefactDocument {
    fn from(artefact: Artefact<'_>) -> Self {
        ArtefactDocument {
            url: artefact.url.as_str().into(),
            size: artefact.size,
        }
    }
}

/// A device skips what it cannot read, so a publisher must not write it.
fn check(
    field: &'static str,
    member: &'static str,
    is_readable: bool,
) -> Result<(), ManifestError> {
    match is_readable {
        true => Ok(()),
        false => Err(ManifestError::Artefact { field, member }),
    }
}

impl From<Signature<'_>> for SignatureDocument {
    fn from(signature: Signature<'_>) -> Self {
        SignatureDocument {
            keyid: signature.keyid.into(),
            sig: signature.sig.into(),
        }
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// An object of members that are JSON already, indented.
fn object(members: &[(String, String)]) -> String {
    let mut lines = Vec::new();
    for (name, value) in members {
        lines.push(alloc::format!("{name}: {value}"));
    }
    indented('{', &lines, '}')
}

/// An array of elements that are JSON already, indented.
fn array(elements: &[String]) -> String {
    indented('[', elements, ']')
}

fn indented(open: char, parts: &[String], close: char) -> String {
    let mut json = String::from(open);
    for (index, part) in parts.iter().enumerate() {
        json.push_str(if index == 0 { "\n  " } else { ",\n  " });
        // Line ends in JSON stand between its tokens only, strings have them escaped.
        json.push_str(&part.replace('\n', "\n  "));
    }
    json.push('\n');
    json.push(close);
    json
}
