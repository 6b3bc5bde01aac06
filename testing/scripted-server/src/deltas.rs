//! A bucket that has what makes an image in fewer bytes, too: a delta, and the compressed image.

use s3ota::Chip;
use s3ota_codec::encode::encode;
use s3ota_image::app::ImageBuilder;
use sha2::{Digest, Sha256};

use crate::Request;
use crate::bucket::{Response, serve};

/// A release, and the ways to its image.
#[derive(Debug, Clone)]
pub struct Release {
    pub version: String,
    pub image: Vec<u8>,
    pub deltas: Vec<Delta>,
    pub compressed: Option<Artefact>,
}

/// What a manifest says of a delta, and what is there.
#[derive(Debug, Clone)]
pub struct Delta {
    pub from: String,
    pub base_sha256: String,
    pub base_size: usize,
    pub artefact: Artefact,
}

/// What a manifest says of an artefact, and what is there.
#[derive(Debug, Clone)]
pub struct Artefact {
    pub path: String,
    pub size: usize,
    pub bytes: Vec<u8>,
}

/// A firmware for the ESP32-C3 with these bytes in it.
pub fn firmware_of(version: &str, payload: &[u8]) -> Vec<u8> {
    ImageBuilder::new(Chip::Esp32C3, version)
        .payload(payload)
        .build()
}

/// Bytes that do not compress, always the same for a seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
    };
    (0..length).map(next).collect()
}

/// The artefact that makes `image` of `base`.
pub fn artefact(base: &[u8], image: &[u8]) -> Vec<u8> {
    encode(base, image, &mut |_| ()).expect("an image").bytes
}

impl Artefact {
    fn at(path: &str, bytes: Vec<u8>) -> Self {
        Self {
            path: path.into(),
            size: bytes.len(),
            bytes,
        }
    }

    fn members(&self, port: u16) -> String {
        let (path, size) = (&self.path, self.size);
        format!(r#""url":"https://localhost:{port}{path}","size":{size}"#)
    }
}

impl Delta {
    /// The delta of an image to another one.
    pub fn new(from: &str, base: &[u8], image: &[u8]) -> Self {
        Self {
            from: from.into(),
            base_sha256: hex(base),
            base_size: base.len(),
            artefact: Artefact::at("/delta.s3od", artefact(base, image)),
        }
    }
}

impl Release {
    /// A release of an image, and no more.
    pub fn whole(version: &str, image: Vec<u8>) -> Self {
        Self {
            version: version.into(),
            image,
            deltas: Vec::new(),
            compressed: None,
        }
    }

    /// With its compressed image.
    pub fn compressed(self) -> Self {
        let bytes = artefact(&[], &self.image);
        Self {
            compressed: Some(Artefact::at("/compressed.s3od", bytes)),
            ..self
        }
    }

    /// With a delta for this image.
    pub fn from(mut self, version: &str, base: &[u8]) -> Self {
        self.deltas.push(Delta::new(version, base, &self.image));
        self
    }

    /// The manifest, for a server at this port.
    pub fn manifest(&self, port: u16) -> Vec<u8> {
        let (version, size, sha256) = (&self.version, self.image.len(), hex(&self.image));
        let mut json = format!(
            r#"{{"version":"{version}","url":"https://localhost:{port}/image.bin","size":{size},"sha256":"{sha256}""#
        );
        let deltas = self.deltas.iter().map(|delta| {
            let members = delta.artefact.members(port);
            let (from, hash, size) = (&delta.from, &delta.base_sha256, delta.base_size);
            format!(r#"{{"from":"{from}","base_sha256":"{hash}","base_size":{size},{members}}}"#)
        });
        let deltas: Vec<String> = deltas.collect();
        json += &format!(r#","deltas":[{}]"#, deltas.join(","));
        if let Some(compressed) = &self.compressed {
            json += &format!(r#","compressed":{{{}}}"#, compressed.members(port));
        }
        (json + "}").into_bytes()
    }

    /// Answers a request, as S3 does.
    pub fn answer(&self, request: &Request, port: u16) -> Response {
        let path = request.path.split('?').next().unwrap_or_default();
        let deltas = self.deltas.iter().map(|delta| &delta.artefact);
        let mut artefacts = deltas.chain(&self.compressed);
        match path {
            "/manifest.json" => serve(&self.manifest(port), request),
            "/image.bin" => serve(&self.image, request),
            path => match artefacts.find(|artefact| artefact.path == path) {
                Some(artefact) => serve(&artefact.bytes, request),
                None => Response::new("404 Not Found", b""),
            },
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
