//! Uploads: in one request or in parts, with progress.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::upload_part::{UploadPartError, UploadPartOutput};
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_sdk_s3::types::{
    ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, ObjectCannedAcl,
};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use s3ota_manifest::{Sha256Digest, layout};
use tokio::task::JoinSet;

use super::checksums::{is_refusal, named_header};
use super::error::Problem;
use super::{Object, Store};
use crate::error::CliError;

/// The size of the pieces that go to the connection, and so the resolution of progress.
const CHUNK: usize = 16 * 1024;

/// The interval of progress.
const TICK: Duration = Duration::from_millis(100);

/// The longest time without a byte sent or an answer. Some services take their time to answer.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The size of a part. Larger objects are uploaded in parts, so that a broken connection costs one part, not all of it. The
/// same as the `aws` command's; S3 requires at least 5 MiB.
const PART: usize = 8 * 1024 * 1024;

/// How many parts are uploaded at a time.
const PARTS_AT_A_TIME: usize = 4;

/// An object to upload.
#[derive(Debug)]
pub struct Upload<'a> {
    /// Its key.
    pub key: &'a str,
    /// Its contents.
    pub bytes: Bytes,
    /// Its SHA-256, if known: the service then rejects anything else.
    pub sha256: Option<Sha256Digest>,
    /// Its `Content-Type`.
    pub content_type: &'a str,
    /// Its `Cache-Control`.
    pub cache_control: &'a str,
    /// Whether the ACL `public-read` is set on it.
    pub public_read: bool,
}

impl<'a> Upload<'a> {
    /// A channel's manifest, whatever the channel holds now.
    pub fn manifest(key: &'a str, json: impl AsRef<[u8]>) -> Self {
        Self {
            key,
            bytes: Bytes::copy_from_slice(json.as_ref()),
            sha256: None,
            content_type: layout::MANIFEST_CONTENT_TYPE,
            cache_control: layout::CHANNEL_CACHE_CONTROL,
            public_read: false,
        }
    }

    /// The permissions that it needs.
    fn action(&self) -> &'static str {
        if self.public_read {
            "s3:PutObject and s3:PutObjectAcl"
        } else {
            "s3:PutObject"
        }
    }

    fn acl(&self) -> Option<ObjectCannedAcl> {
        self.public_read.then_some(ObjectCannedAcl::PublicRead)
    }
}

/// The condition of a write. Services without conditional writes ignore it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// None.
    None,
    /// The object does not exist yet.
    Absent,
    /// The object is still the one with this entity tag.
    Unchanged(String),
}

impl Condition {
    /// That the object, or its absence, is as it was read.
    pub fn as_read(object: Option<&Object>) -> Self {
        match object.map(|object| &object.etag) {
            None => Self::Absent,
            Some(Some(etag)) => Self::Unchanged(etag.clone()),
            Some(None) => Self::None,
        }
    }
}

/// What a service has not implemented.
enum Lack {
    Checksums,
    Conditions,
}

/// The result of a conditional write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Put {
    /// The upload is the object.
    Written,
    /// The object is not the one in the condition. Nothing was written.
    Conflict,
    /// The condition requires an object, and there is none. Nothing was written.
    Missing,
}

impl Store {
    /// Uploads an object, with a checksum that the service verifies first. Large objects go up in parts.
    pub async fn put(
        &self,
        upload: &Upload<'_>,
        progress: impl FnMut(u64),
    ) -> Result<(), CliError> {
        if upload.bytes.len() > PART {
            return self.put_parts(upload, progress).await;
        }
        let put = self.put_whole(upload, &Condition::None, progress).await?;
        self.must_be_written(put, upload.key)
    }

    fn must_be_written(&self, put: Put, key: &str) -> Result<(), CliError> {
        match put {
            Put::Written => Ok(()),
            Put::Conflict | Put::Missing => Err(self.changed(key)),
        }
    }

    /// Uploads an object if a condition holds.
    pub async fn put_if(
        &self,
        condition: &Condition,
        upload: &Upload<'_>,
    ) -> Result<Put, CliError> {
        self.put_whole(upload, condition, |_| {}).await
    }

    async fn put_whole(
        &self,
        upload: &Upload<'_>,
        condition: &Condition,
        mut progress: impl FnMut(u64),
    ) -> Result<Put, CliError> {
        let mut condition = condition.clone();
        let mut is_second = false;
        // Whether checksums are left out on suspicion.
        let mut doubt = false;
        loop {
            let had = self.checksums.now();
            let sent = Arc::new(AtomicU64::new(0));
            let mut request = self
                .client
                .put_object()
                .bucket(&self.bucket)
                .key(upload.key)
                .body(ByteStream::from(upload.bytes.clone()))
                .content_type(upload.content_type)
                .cache_control(upload.cache_control)
                .set_acl(upload.acl())
                .set_server_side_encryption(self.sse.as_ref().map(|sse| sse.kind.clone()))
                .set_ssekms_key_id(self.sse.as_ref().and_then(|sse| sse.key.clone()));
            request = match &upload.sha256 {
                Some(sha256) => request.checksum_sha256(base64(sha256)),
                None => request.checksum_algorithm(ChecksumAlgorithm::Crc32),
            };
            match &condition {
                Condition::None => {}
                Condition::Absent => request = request.if_none_match("*"),
                Condition::Unchanged(etag) => request = request.if_match(etag),
            }
            let send = request
                .customize()
                .interceptor(Counter(Arc::clone(&sent)))
                .send();
            tokio::pin!(send);
            let mut watch = Watch::new();
            let result = loop {
                tokio::select! {
                    result = &mut send => break result,
                    () = tokio::time::sleep(TICK) => progress(watch.see(sent.load(Ordering::Relaxed))?),
                }
            };
            let error = match result {
                Ok(_) => {
                    progress(upload.bytes.len() as u64);
                    return Ok(Put::Written);
                }
                Err(error) => error,
            };
            if self.checksums.do_without(&error, had) {
                continue;
            }
            match self.lacks(&error, &condition, doubt) {
                Some(Lack::Checksums) => {
                    doubt = true;
                    continue;
                }
                Some(Lack::Conditions) => {
                    if doubt {
                        self.checksums.send_again();
                    }
                    self.ignores_conditions.store(true, Ordering::Relaxed);
                    condition = Condition::None;
                    continue;
                }
                None => {}
            }
            let refused = match Problem::of(&error) {
                _ if is_second => Put::Conflict,
                Problem::Conflict => Put::Conflict,
                Problem::NoKey => Put::Missing,
                _ => return Err(self.explain(error, upload.action(), upload.key)),
            };
            // Ceph compares the tag with its quotes to one without, and so refuses a matching one. Asking again without quotes does not
            // change the condition.
            match bare(&condition) {
                Some(unquoted) if !self.is_aws && !is_second && refused == Put::Conflict => {
                    condition = unquoted;
                    is_second = true;
                }
                _ => return Ok(refused),
            }
        }
    }

    /// What the service has not implemented, so that the write can go on without it. Conditions are the last to be given up, and only
    /// where nothing says that it is something else.
    fn lacks<E: ProvideErrorMetadata>(
        &self,
        error: &SdkError<E, HttpResponse>,
        condition: &Condition,
        doubt: bool,
    ) -> Option<Lack> {
        let is_conditional = *condition != Condition::None;
        let named = error.message().and_then(named_header);
        let is_named = matches!(named.as_deref(), Some("if-match" | "if-none-match"));
        // Some stores call a header wrong that they have not implemented. AWS has these.
        if is_named && is_conditional && is_refusal(error) && !self.is_aws {
            return Some(Lack::Conditions);
        }
        if error.code() != Some("NotImplemented") {
            return None;
        }
        match named.as_deref() {
            Some(_) if is_named && is_conditional => Some(Lack::Conditions),
            Some(_) => None,
            None if !doubt && self.checksums.may_be_why(error) => Some(Lack::Checksums),
            None => is_conditional.then_some(Lack::Conditions),
        }
    }

    async fn put_parts(
        &self,
        upload: &Upload<'_>,
        mut progress: impl FnMut(u64),
    ) -> Result<(), CliError> {
        let begin = || {
            self.client
                .create_multipart_upload()
                .bucket(&self.bucket)
                .key(upload.key)
                .checksum_algorithm(ChecksumAlgorithm::Crc32)
                .content_type(upload.content_type)
                .cache_control(upload.cache_control)
                .set_acl(upload.acl())
                .set_server_side_encryption(self.sse.as_ref().map(|sse| sse.kind.clone()))
                .set_ssekms_key_id(self.sse.as_ref().and_then(|sse| sse.key.clone()))
                .send()
        };
        let had = self.checksums.now();
        let begun = match begin().await {
            Err(error) if self.checksums.do_without(&error, had) => begin().await,
            begun => begun,
        };
        let begun = match begun {
            Ok(begun) => begun,
            // Nobody else could know the key before: the service has no uploads in parts.
            Err(error)
                if matches!(
                    error.code(),
                    Some("NoSuchKey" | "NotImplemented" | "MethodNotAllowed")
                ) =>
            {
                tracing::info!("the store takes no uploads in parts");
                let put = self.put_whole(upload, &Condition::None, progress).await?;
                return self.must_be_written(put, upload.key);
            }
            Err(error) => return Err(self.explain(error, upload.action(), upload.key)),
        };
        let id = begun.upload_id().unwrap_or_default();
        let result = self.send_parts(upload, id, &mut progress).await;
        if result.is_err() {
            // Its parts would cost money. If this fails too, `gc` finds it.
            let abort = self.client.abort_multipart_upload();
            let _ = abort
                .bucket(&self.bucket)
                .key(upload.key)
                .upload_id(id)
                .send()
                .await;
        }
        result
    }

    async fn send_parts(
        &self,
        upload: &Upload<'_>,
        id: &str,
        progress: &mut impl FnMut(u64),
    ) -> Result<(), CliError> {
        let count = upload.bytes.len().div_ceil(PART);
        let sent: Vec<Arc<AtomicU64>> = (0..count).map(|_| Arc::default()).collect();
        let mut waiting = sent.iter().cloned().enumerate();
        let mut running = JoinSet::new();
        let mut done = Vec::with_capacity(count);
        let mut watch = Watch::new();
        loop {
            while running.len() < PARTS_AT_A_TIME
                && let Some((index, counter)) = waiting.next()
            {
                let end = upload.bytes.len().min((index + 1) * PART);
                let number = index as i32 + 1;
                let bytes = upload.bytes.slice(index * PART..end);
                let (store, key, id) = (self.clone(), upload.key.to_owned(), id.to_owned());
                running.spawn(async move {
                    (
                        number,
                        store.send_part(&key, &id, number, bytes, counter).await,
                    )
                });
            }
            let ended = tokio::select! {
                ended = running.join_next() => ended,
                () = tokio::time::sleep(TICK) => {
                    let sent = sent.iter().map(|sent| sent.load(Ordering::Relaxed)).sum();
                    progress(watch.see(sent)?);
                    continue;
                }
            };
            let Some(ended) = ended else { break };
            let (number, result) = ended
                .map_err(|error| CliError::new("s3.error", format!("a part's upload: {error}")))?;
            let part = result.map_err(|error| self.explain(error, upload.action(), upload.key))?;
            done.push(
                CompletedPart::builder()
                    .part_number(number)
                    .set_e_tag(part.e_tag().map(str::to_owned))
                    .set_checksum_crc32(part.checksum_crc32().map(str::to_owned))
                    .build(),
            );
        }
        done.sort_by_key(CompletedPart::part_number);
        let parts = CompletedMultipartUpload::builder().set_parts(Some(done));
        let completed = self
            .client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(upload.key)
            .upload_id(id)
            .multipart_upload(parts.build())
            .send()
            .await;
        match completed {
            // A success in a form that the SDK does not expect (moto): the check of the object shows the result.
            Err(error)
                if error.code().is_none()
                    && error
                        .raw_response()
                        .is_some_and(|response| response.status().is_success()) =>
            {
                tracing::info!("the answer to a completed upload cannot be understood");
            }
            Err(error) => return Err(self.explain(error, upload.action(), upload.key)),
            Ok(_) => {}
        }
        progress(upload.bytes.len() as u64);
        Ok(())
    }

    async fn send_part(
        &self,
        key: &str,
        id: &str,
        number: i32,
        bytes: Bytes,
        counter: Arc<AtomicU64>,
    ) -> Result<UploadPartOutput, SdkError<UploadPartError, HttpResponse>> {
        let send = || {
            self.client
                .upload_part()
                .bucket(&self.bucket)
                .key(key)
                .upload_id(id)
                .part_number(number)
                .checksum_algorithm(ChecksumAlgorithm::Crc32)
                .body(ByteStream::from(bytes.clone()))
                .customize()
                .interceptor(Counter(Arc::clone(&counter)))
                .send()
        };
        let had_checksum = self.checksums.are_sent();
        let had = self.checksums.now();
        match send().await {
            // Of several parts that are refused at once, the first turns checksums off.
            Err(error)
                if self.checksums.do_without(&error, had)
                    || self.checksums.may_be_why(&error)
                    || had_checksum && !self.checksums.are_sent() =>
            {
                send().await
            }
            sent => sent,
        }
    }

    /// Whether an object exists and is exactly this one. A service that keeps the SHA-256 of the upload is trusted; otherwise the
    /// object is read.
    pub async fn holds(
        &self,
        key: &str,
        size: u64,
        sha256: &Sha256Digest,
    ) -> Result<bool, CliError> {
        let Some(head) = self.head(key).await? else {
            return Ok(false);
        };
        if head.size != size {
            return Ok(false);
        }
        match head.sha256 {
            // For a multipart upload, it is a hash of hashes.
            Some(kept) if !kept.contains('-') => Ok(kept == base64(sha256)),
            _ => Ok(self.read_sha256(key).await? == Some(sha256.0)),
        }
    }

    /// Finds out whether the service has conditional writes, with one that must fail. A service without them is left with an object
    /// that says so.
    pub async fn try_conditions(&self, key: &str) -> Result<(), CliError> {
        // AWS has them.
        if self.is_aws || self.ignores_conditions() {
            return Ok(());
        }
        let upload = Upload {
            key,
            bytes: Bytes::from_static(b"This store ignores conditions on writes.\n"),
            sha256: None,
            content_type: "text/plain",
            cache_control: "no-store",
            public_read: false,
        };
        let never = Condition::Unchanged("\"00000000000000000000000000000000\"".to_owned());
        if self.put_if(&never, &upload).await? == Put::Written {
            self.ignores_conditions.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// A condition on an entity tag without its quotes.
fn bare(condition: &Condition) -> Option<Condition> {
    let Condition::Unchanged(etag) = condition else {
        return None;
    };
    let etag = etag.strip_prefix('"')?.strip_suffix('"')?;
    Some(Condition::Unchanged(etag.to_owned()))
}

/// Watches whether an upload makes progress.
struct Watch {
    sent: u64,
    since: Instant,
}

impl Watch {
    fn new() -> Self {
        Self {
            sent: 0,
            since: Instant::now(),
        }
    }

    /// The bytes sent so far.
    fn see(&mut self, sent: u64) -> Result<u64, CliError> {
        if sent != self.sent {
            *self = Self {
                sent,
                since: Instant::now(),
            };
        } else if self.since.elapsed() > TIMEOUT {
            let message = format!(
                "the upload is stuck: no byte sent and no answer for {} seconds",
                TIMEOUT.as_secs()
            );
            return Err(CliError::new("s3.connect", message)
                .hint("check the network, and run the command again"));
        }
        Ok(sent)
    }
}

fn base64(sha256: &Sha256Digest) -> String {
    base64_simd::STANDARD.encode_to_string(sha256.0)
}

/// Wraps the body of each attempt in a counter. That happens after signing, so the body is signed and sent as the plain bytes that
/// it is: not every service accepts the chunked signatures of a stream.
#[derive(Debug)]
struct Counter(Arc<AtomicU64>);

impl Intercept for Counter {
    fn name(&self) -> &'static str {
        "Counter"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.request_mut().body_mut();
        if let Some(bytes) = body.bytes() {
            let left = Bytes::copy_from_slice(bytes);
            self.0.store(0, Ordering::Relaxed);
            *body = SdkBody::from_body_1_x(Counted {
                left,
                sent: Arc::clone(&self.0),
            });
        }
        Ok(())
    }
}

/// A body that counts the bytes taken from it.
struct Counted {
    left: Bytes,
    sent: Arc<AtomicU64>,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.left.len().min(CHUNK);
        let chunk = self.left.split_to(length);
        self.sent.fetch_add(length as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::development::{bucket_on, start_for_now};

    #[tokio::test]
    async fn a_condition_that_does_not_hold_is_a_conflict_and_changes_nothing() {
        let (server, credentials) = start_for_now().await.unwrap();
        let location = "s3://firmware".parse().unwrap();
        let store = bucket_on(&server, &credentials, &location).await.unwrap();
        store.create_bucket().await.unwrap();

        let upload = |bytes: &'static str| Upload {
            key: "stable.json",
            bytes: Bytes::from_static(bytes.as_bytes()),
            sha256: None,
            content_type: "application/json",
            cache_control: "no-cache",
            public_read: false,
        };
        let first = store.put_if(&Condition::Absent, &upload("first")).await;
        assert_eq!(first, Ok(Put::Written));
        let seen = store.get("stable.json").await.unwrap().unwrap();
        let unchanged = Condition::Unchanged(seen.etag.unwrap());
        let second = store.put_if(&unchanged, &upload("second")).await;
        assert_eq!(second, Ok(Put::Written));

        for condition in [Condition::Absent, unchanged.clone()] {
            let late = store.put_if(&condition, &upload("late")).await;
            assert_eq!(late, Ok(Put::Conflict));
        }
        let gone = Upload {
            key: "gone.json",
            ..upload("gone")
        };
        assert_eq!(store.put_if(&unchanged, &gone).await, Ok(Put::Missing));
        let mut sent = 0;
        let whole = Upload {
            key: "whole.json",
            ..upload("whole")
        };
        store.put(&whole, |bytes| sent = bytes).await.unwrap();
        assert_eq!(sent, 5);
        let now = store.get("stable.json").await.unwrap().unwrap();
        assert_eq!(now.bytes, b"second");
        assert_eq!(store.head("stable.json").await.unwrap().unwrap().size, 6);
        assert!(store.head("other.json").await.unwrap().is_none());
        store.try_conditions("other.json").await.unwrap();
        assert!(!store.ignores_conditions());
        assert!(store.get("other.json").await.unwrap().is_none());
    }
}
