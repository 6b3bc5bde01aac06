//! Receives the bytes of an upload, into a file and through every digest that the client declared.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;

use base16ct::lower::encode_string as hex;
use http_body::Body as _;
use hyper::HeaderMap;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::ChecksumAlgorithm;
use s3s::{Body, S3Error, S3ErrorCode, S3Result, TrailingHeaders, s3_error};
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt;

use crate::store::Checksums;

/// Uploaded bytes that are not an object yet.
pub(crate) struct Received {
    pub(crate) file: NamedTempFile,
    pub(crate) size: u64,
    /// MD5 of the bytes.
    pub(crate) md5: [u8; 16],
    /// The MD5 in hex: the ETag of an object that is uploaded at once.
    pub(crate) etag: String,
    pub(crate) checksums: Checksums,
}

/// What the client declares about the bytes it sends.
#[derive(Default)]
pub(crate) struct Declared {
    /// `Content-MD5`, in base64.
    pub(crate) md5: Option<String>,
    pub(crate) checksums: Checksums,
    /// The algorithm of a checksum that follows the bytes.
    pub(crate) algorithm: Option<ChecksumAlgorithm>,
    pub(crate) trailers: Option<TrailingHeaders>,
}

/// Writes `body` to `file` and checks it against what was declared.
pub(crate) async fn receive(
    mut body: Body,
    file: NamedTempFile,
    declared: Declared,
) -> S3Result<Received> {
    let mut hasher = declared.hasher();
    let mut md5 = Md5::new();
    let mut size = 0;
    let mut output = tokio::fs::File::from_std(file.as_file().try_clone().map_err(internal)?);
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(rejected)?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        md5.update(&data);
        hasher.update(&data);
        size += data.len() as u64;
        output.write_all(&data).await.map_err(internal)?;
    }
    output.flush().await.map_err(internal)?;

    let md5 = md5.finalize();
    let checksums = Checksums::finalize(hasher);
    declared.check(&md5, &checksums)?;
    Ok(Received {
        file,
        size,
        md5,
        etag: hex(&md5),
        checksums,
    })
}

impl Declared {
    /// A hasher for what was declared.
    pub(crate) fn hasher(&self) -> ChecksumHasher {
        let mut hasher = ChecksumHasher::default();
        let declared = &self.checksums;
        let by = |algorithm| {
            self.algorithm
                .as_ref()
                .is_some_and(|it| it.as_str() == algorithm)
        };
        hasher.crc32 =
            (declared.crc32.is_some() || by(ChecksumAlgorithm::CRC32)).then(Default::default);
        hasher.crc32c =
            (declared.crc32c.is_some() || by(ChecksumAlgorithm::CRC32C)).then(Default::default);
        hasher.crc64nvme = (declared.crc64nvme.is_some() || by(ChecksumAlgorithm::CRC64NVME))
            .then(Default::default);
        hasher.sha1 =
            (declared.sha1.is_some() || by(ChecksumAlgorithm::SHA1)).then(Default::default);
        hasher.sha256 =
            (declared.sha256.is_some() || by(ChecksumAlgorithm::SHA256)).then(Default::default);
        hasher
    }

    /// Compares what was declared with what was computed.
    pub(crate) fn check(self, md5: &[u8], actual: &Checksums) -> S3Result<()> {
        let trailers = self
            .trailers
            .and_then(|trailers| trailers.take())
            .unwrap_or_default();
        let Checksums {
            crc32,
            crc32c,
            crc64nvme,
            sha1,
            sha256,
        } = self.checksums;
        for (name, declared, actual) in [
            ("x-amz-checksum-crc32", crc32, &actual.crc32),
            ("x-amz-checksum-crc32c", crc32c, &actual.crc32c),
            ("x-amz-checksum-crc64nvme", crc64nvme, &actual.crc64nvme),
            ("x-amz-checksum-sha1", sha1, &actual.sha1),
            ("x-amz-checksum-sha256", sha256, &actual.sha256),
        ] {
            let declared = declared.or_else(|| header(&trailers, name));
            if declared.is_some() && declared != *actual {
                return Err(S3Error::with_message(
                    S3ErrorCode::BadDigest,
                    format!("The {name} you specified did not match the calculated checksum."),
                ));
            }
        }
        if self
            .md5
            .is_some_and(|declared| declared != base64_simd::STANDARD.encode_to_string(md5))
        {
            return Err(s3_error!(
                BadDigest,
                "The Content-MD5 you specified did not match what we received."
            ));
        }
        Ok(())
    }
}

/// The algorithm whose checksum follows the bytes, from `x-amz-trailer` (sent by current SDKs).
pub(crate) fn trailing_algorithm(headers: &HeaderMap) -> Option<ChecksumAlgorithm> {
    let name = header(headers, "x-amz-trailer")?;
    let algorithm = match name
        .trim()
        .to_ascii_lowercase()
        .strip_prefix("x-amz-checksum-")?
    {
        "crc32" => ChecksumAlgorithm::CRC32,
        "crc32c" => ChecksumAlgorithm::CRC32C,
        "crc64nvme" => ChecksumAlgorithm::CRC64NVME,
        "sha1" => ChecksumAlgorithm::SHA1,
        "sha256" => ChecksumAlgorithm::SHA256,
        _ => return None,
    };
    Some(ChecksumAlgorithm::from_static(algorithm))
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// The connection broke, or a chunk or the payload did not match its signature or hash.
fn rejected(error: Box<dyn std::error::Error + Send + Sync>) -> S3Error {
    S3Error::with_source(S3ErrorCode::IncompleteBody, error)
}

pub(crate) fn internal(error: io::Error) -> S3Error {
    S3Error::internal_error(error)
}
