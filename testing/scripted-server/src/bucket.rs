//! A bucket that behaves as S3 does: a manifest and an image, entity tags, ranges (RFC 9110 sections 13 and 14).

use std::ops::{Bound, RangeBounds};
use std::sync::Mutex;

use sha2::{Digest, Sha256};

use crate::server::Script;
use crate::{Reply, Request, full_manifest, manifest};

/// Where the manifest is. Every other path is the image.
const MANIFEST: &str = "/manifest.json";

/// A published release.
#[derive(Debug, Clone)]
pub struct Bucket {
    pub manifest: Vec<u8>,
    pub image: Vec<u8>,
}

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    Manifest,
    Image,
}

/// A whole answer, before it goes onto the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: String,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Bucket {
    /// A release with the manifest of two fields: what an image is, its ETag says.
    pub fn bare(version: &str, image: Vec<u8>, port: u16) -> Self {
        let manifest = manifest(version, port);
        Self { manifest, image }
    }

    /// A release whose manifest has size and hash.
    pub fn hashed(version: &str, image: Vec<u8>, port: u16) -> Self {
        let manifest = full_manifest(version, port, &image);
        Self { manifest, image }
    }

    /// Answers a request.
    pub fn answer(&self, request: &Request) -> Response {
        serve(
            match Object::of(request) {
                Object::Manifest => &self.manifest,
                Object::Image => &self.image,
            },
            request,
        )
    }
}

/// Answers a request for this object.
pub fn serve(object: &[u8], request: &Request) -> Response {
    let etag = etag(object);
    if request.field("If-None-Match") == Some(&etag) {
        return Response::new("304 Not Modified", b"").with("ETag", &etag);
    }
    let fresh = request.field("If-Range").is_none_or(|tag| tag == etag);
    let range = request.field("Range").filter(|_| fresh);
    let Some(from) = range.map(first_byte) else {
        return Response::new("200 OK", object)
            .with("ETag", &etag)
            .with("Accept-Ranges", "bytes");
    };
    let length = object.len();
    match object.get(from..) {
        Some(rest) if !rest.is_empty() => Response::new("206 Partial Content", rest)
            .with("ETag", &etag)
            .with(
                "Content-Range",
                &format!("bytes {from}-{}/{length}", length - 1),
            ),
        _ => Response::new("416 Range Not Satisfiable", b"")
            .with("Content-Range", &format!("bytes */{length}")),
    }
}

impl Object {
    /// What a request asks for.
    pub fn of(request: &Request) -> Self {
        let path = request.path.split('?').next();
        if path == Some(MANIFEST) {
            Self::Manifest
        } else {
            Self::Image
        }
    }
}

/// Something that goes wrong between a bucket's answer and the wire.
pub struct AnswerFault {
    object: Object,
    times: (Bound<usize>, Bound<usize>),
    spoil: Box<dyn Fn(Exchange<'_>) -> Reply + Send + Sync>,
}

/// A request, and what a bucket that behaves says to it.
pub struct Exchange<'e> {
    pub request: &'e Request,
    pub bucket: &'e Bucket,
    pub answer: Response,
    /// How often the object was asked for before.
    pub before: usize,
}

impl AnswerFault {
    /// Spoils the answers to so many requests for an object: `0..1` is the first, `0..` are all of them.
    pub fn new<R: Into<Reply>>(
        object: Object,
        times: impl RangeBounds<usize>,
        spoil: impl Fn(Exchange<'_>) -> R + Send + Sync + 'static,
    ) -> Self {
        Self {
            object,
            times: (times.start_bound().cloned(), times.end_bound().cloned()),
            spoil: Box::new(move |exchange| spoil(exchange).into()),
        }
    }
}

/// A script that serves `bucket`. Of the faults that are for a request, the first one happens.
pub fn faulty(bucket: Bucket, faults: Vec<AnswerFault>) -> impl Script {
    let asked = Mutex::new([0; 2]);
    move |request, _| {
        let object = Object::of(request);
        let before = {
            let count = &mut asked.lock().unwrap()[object as usize];
            *count += 1;
            *count - 1
        };
        let answer = bucket.answer(request);
        let fault = faults
            .iter()
            .find(|fault| fault.object == object && fault.times.contains(&before));
        let Some(fault) = fault else {
            return answer.into();
        };
        (fault.spoil)(Exchange {
            request,
            bucket: &bucket,
            answer,
            before,
        })
    }
}

/// The entity tag S3 would give an object: something in quotes that only this object has.
pub fn etag(object: &[u8]) -> String {
    let hash = Sha256::digest(object);
    let digits: String = hash[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("\"{digits}\"")
}

/// The `n` of `bytes=n-`, the one form a device that resumes has a use for.
fn first_byte(range: &str) -> usize {
    range
        .strip_prefix("bytes=")
        .and_then(|range| range.strip_suffix('-'))
        .and_then(|first| first.parse().ok())
        .unwrap_or_else(|| panic!("not the range of a device that resumes: {range}"))
}

impl Response {
    /// An answer with a length.
    pub fn new(status: &str, body: &[u8]) -> Self {
        let response = Self {
            status: status.to_owned(),
            fields: Vec::new(),
            body: body.to_vec(),
        };
        response.with("Content-Length", &body.len().to_string())
    }

    /// The same with a field set, in place of the one of that name if there is one.
    pub fn with(self, name: &str, value: &str) -> Self {
        let mut response = self.without(name);
        response.fields.push((name.to_owned(), value.to_owned()));
        response
    }

    /// The same without a field.
    pub fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(field, _)| field != name);
        self
    }

    /// The bytes of status line and fields.
    pub fn head(&self) -> Vec<u8> {
        let fields: String = self
            .fields
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        format!("HTTP/1.1 {}\r\n{fields}\r\n", self.status).into_bytes()
    }

    /// All bytes.
    pub fn bytes(&self) -> Vec<u8> {
        [self.head(), self.body.clone()].concat()
    }

    /// All bytes, the body in chunks.
    pub fn chunked(self) -> Vec<u8> {
        let response = self
            .without("Content-Length")
            .with("Transfer-Encoding", "chunked");
        let mut bytes = response.head();
        for chunk in response.body.chunks(7_777) {
            bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            bytes.extend(chunk);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\n\r\n");
        bytes
    }
}

impl From<Response> for Reply {
    fn from(response: Response) -> Self {
        Self::Send(response.bytes())
    }
}
