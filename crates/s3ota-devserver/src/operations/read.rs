//! Reading objects.

use hyper::header::{
    CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, IF_RANGE, LAST_MODIFIED,
};
use s3s::dto::*;
use s3s::{Body, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

use super::{Operations, expect_no_version, full_object, length};
use crate::body::FileBody;
use crate::condition::{ReadCondition, ReadVerdict, if_range_holds};
use crate::receive::internal;
use crate::store::{Checksums, Object as StoredObject, StoreError};

/// The type that S3 gives an object that was put without one.
const DEFAULT_CONTENT_TYPE: &str = "binary/octet-stream";

/// The conditions of GetObject or HeadObject.
macro_rules! condition {
    ($input:ident) => {
        ReadCondition {
            if_match: $input.if_match,
            if_none_match: $input.if_none_match,
            if_modified_since: $input.if_modified_since,
            if_unmodified_since: $input.if_unmodified_since,
        }
    };
}

/// What the outputs of GetObject and HeadObject say about an object, apart from its length.
macro_rules! described {
    ($output:ident, $object:ident, $checksums:ident) => {{
        let headers = $object.headers.clone();
        $output {
            accept_ranges: Some("bytes".to_owned()),
            cache_control: headers.cache_control,
            checksum_type: full_object(&$checksums),
            checksum_crc32: $checksums.crc32,
            checksum_crc32c: $checksums.crc32c,
            checksum_crc64nvme: $checksums.crc64nvme,
            checksum_sha1: $checksums.sha1,
            checksum_sha256: $checksums.sha256,
            content_disposition: headers.content_disposition,
            content_encoding: headers.content_encoding,
            content_language: headers.content_language,
            content_type: headers
                .content_type
                .or_else(|| Some(DEFAULT_CONTENT_TYPE.to_owned())),
            e_tag: Some($object.etag()),
            expires: headers.expires,
            last_modified: Some($object.last_modified()),
            metadata: metadata(headers.metadata),
            ..Default::default()
        }
    }};
}

impl Operations {
    pub(super) async fn get_object(
        &self,
        req: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let if_range = req
            .headers
            .get(IF_RANGE)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let signed = req.credentials.is_some();
        let input = req.input;
        expect_no_version(input.version_id.as_deref())?;
        let (object, file) = self
            .store
            .open_object(&input.bucket, &input.key)
            .map_err(|error| self.hide_missing(error, signed, &input.bucket))?;
        expect_whole(input.part_number, &object)?;
        check_read(&object, &condition!(input))?;
        let range = input
            .range
            .filter(|_| if_range.is_none_or(|value| if_range_holds(&value, &object)));
        let (start, end) = match range {
            None => (0, object.size),
            Some(range) => {
                let bytes = range
                    .check(object.size)
                    .map_err(|_| range_not_satisfiable(object.size))?;
                (bytes.start, bytes.end)
            }
        };
        let body = FileBody::new(file, start, end - start).map_err(internal)?;
        // Checksums are of the whole object.
        let checksums = match range {
            None => wanted_checksums(input.checksum_mode.as_ref(), &object),
            Some(_) => Checksums::default(),
        };
        Ok(S3Response::new(GetObjectOutput {
            body: Some(StreamingBlob::from(Body::http_body(body))),
            content_length: Some(length(end - start)),
            content_range: range.map(|_| format!("bytes {start}-{}/{}", end - 1, object.size)),
            ..described!(GetObjectOutput, object, checksums)
        }))
    }

    pub(super) async fn head_object(
        &self,
        req: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let signed = req.credentials.is_some();
        let input = req.input;
        expect_no_version(input.version_id.as_deref())?;
        let object = self
            .store
            .object(&input.bucket, &input.key)
            .map_err(|error| self.hide_missing(error, signed, &input.bucket))?;
        expect_whole(input.part_number, &object)?;
        check_read(&object, &condition!(input))?;
        let checksums = wanted_checksums(input.checksum_mode.as_ref(), &object);
        Ok(S3Response::new(HeadObjectOutput {
            content_length: Some(length(object.size)),
            ..described!(HeadObjectOutput, object, checksums)
        }))
    }

    /// S3 does not tell a client that may not list a bucket which keys are missing.
    fn hide_missing(&self, error: StoreError, signed: bool, bucket: &str) -> S3Error {
        match error {
            StoreError::NoSuchKey if !self.gate.allows(signed, "s3:ListBucket", bucket, None) => {
                s3_error!(AccessDenied, "Access Denied")
            }
            error => error.into(),
        }
    }
}

fn wanted_checksums(mode: Option<&ChecksumMode>, object: &StoredObject) -> Checksums {
    match mode {
        Some(mode) if mode.as_str() == ChecksumMode::ENABLED => object.checksums.clone(),
        _ => Checksums::default(),
    }
}

fn metadata(metadata: std::collections::BTreeMap<String, String>) -> Option<Metadata> {
    (!metadata.is_empty()).then(|| metadata.into_iter().collect())
}

fn check_read(object: &StoredObject, condition: &ReadCondition) -> S3Result<()> {
    match condition.check(object) {
        ReadVerdict::Serve => Ok(()),
        ReadVerdict::PreconditionFailed => Err(StoreError::PreconditionFailed.into()),
        ReadVerdict::NotModified => {
            // The headers of a 200 that a cache needs: RFC 9110 section 15.4.5.
            let mut headers = HeaderMap::new();
            let mut date = Vec::new();
            object
                .last_modified()
                .format(TimestampFormat::HttpDate, &mut date)
                .map_err(S3Error::internal_error)?;
            headers.insert(
                LAST_MODIFIED,
                date.try_into().map_err(S3Error::internal_error)?,
            );
            headers.insert(
                ETAG,
                object
                    .etag()
                    .to_http_header()
                    .map_err(S3Error::internal_error)?,
            );
            if let Some(value) = &object.headers.cache_control {
                headers.insert(
                    CACHE_CONTROL,
                    value.try_into().map_err(S3Error::internal_error)?,
                );
            }
            let mut error = S3Error::new(S3ErrorCode::NotModified);
            error.set_headers(headers);
            Err(error)
        }
    }
}

pub(super) fn range_not_satisfiable(size: u64) -> S3Error {
    let mut error = s3_error!(InvalidRange, "The requested range is not satisfiable");
    let mut headers = HeaderMap::new();
    if let Ok(value) = format!("bytes */{size}").try_into() {
        headers.insert(CONTENT_RANGE, value);
    }
    headers.insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static("application/xml"),
    );
    error.set_headers(headers);
    error
}

/// Part 1 of an object that was uploaded at once is the whole object. Parts of other objects are not kept.
fn expect_whole(part_number: Option<i32>, object: &StoredObject) -> S3Result<()> {
    match part_number {
        None => Ok(()),
        Some(1) if !object.etag.contains('-') => Ok(()),
        Some(_) => Err(s3_error!(
            NotImplemented,
            "Parts of an object cannot be read one by one"
        )),
    }
}
