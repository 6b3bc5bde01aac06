//! Putting an object, and telling how far it is.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::{BoxError, ProvideErrorMetadata};
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_sdk_s3::types::{ChecksumAlgorithm, ObjectCannedAcl};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use s3ota_manifest::layout;

use super::Store;
use crate::error::CliError;

/// How much is handed to the connection at a time, and so how fine progress is told.
const CHUNK: usize = 16 * 1024;

/// How often progress is told.
const TICK: Duration = Duration::from_millis(100);

/// An object to put.
#[derive(Debug)]
pub struct Upload<'a> {
    /// Its key.
    pub key: &'a str,
    /// Its contents.
    pub bytes: Bytes,
    /// Its `Content-Type`.
    pub content_type: &'a str,
    /// Its `Cache-Control`.
    pub cache_control: &'a str,
    /// Whether the ACL `public-read` is set on it.
    pub public_read: bool,
    /// What must hold, or nothing is put.
    pub condition: Condition,
}

impl<'a> Upload<'a> {
    /// A channel's manifest, whatever the channel holds now.
    pub fn manifest(key: &'a str, json: &str) -> Self {
        Self {
            key,
            bytes: Bytes::copy_from_slice(json.as_bytes()),
            content_type: layout::MANIFEST_CONTENT_TYPE,
            cache_control: layout::CHANNEL_CACHE_CONTROL,
            public_read: false,
            condition: Condition::None,
        }
    }
}

/// What must hold for an object to be put. Services that know no conditional writes put it in any case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    None,
    /// There is no such object yet.
    Absent,
    /// The object is still the one with this entity tag.
    Unchanged(String),
}

impl Store {
    /// Puts an object in one request, with its CRC, which the service checks before it takes the object.
    pub async fn put(
        &self,
        upload: &Upload<'_>,
        mut progress: impl FnMut(u64),
    ) -> Result<(), CliError> {
        let mut condition = &upload.condition;
        loop {
            let sent = Arc::new(AtomicU64::new(0));
            let mut request = self
                .client
                .put_object()
                .bucket(&self.bucket)
                .key(upload.key)
                .body(ByteStream::from(upload.bytes.clone()))
                .checksum_algorithm(ChecksumAlgorithm::Crc32)
                .content_type(upload.content_type)
                .cache_control(upload.cache_control);
            match condition {
                Condition::None => {}
                Condition::Absent => request = request.if_none_match("*"),
                Condition::Unchanged(etag) => request = request.if_match(etag),
            }
            if upload.public_read {
                request = request.acl(ObjectCannedAcl::PublicRead);
            }
            let send = request
                .customize()
                .interceptor(Counter(Arc::clone(&sent)))
                .send();
            tokio::pin!(send);
            let result = loop {
                tokio::select! {
                    result = &mut send => break result,
                    () = tokio::time::sleep(TICK) => progress(sent.load(Ordering::Relaxed)),
                }
            };
            match result {
                Ok(_) => {
                    progress(upload.bytes.len() as u64);
                    return Ok(());
                }
                Err(error)
                    if *condition != Condition::None && error.code() == Some("NotImplemented") =>
                {
                    tracing::info!("the service knows no conditional writes");
                    condition = &Condition::None;
                }
                Err(error) => {
                    let action = if upload.public_read {
                        "s3:PutObject and s3:PutObjectAcl"
                    } else {
                        "s3:PutObject"
                    };
                    return Err(self.explain(error, action, upload.key));
                }
            }
        }
    }
}

/// Puts a counter around each attempt's body. That happens after signing, so the body is signed and sent as the plain
/// bytes it is: not every service takes the chunked signatures of a stream.
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

/// A body that counts what was taken of it.
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
    use s3ota_devserver::{DevServer, Options};

    use super::*;
    use crate::s3::{AwsArgs, Credentials, Location, S3Args};

    #[tokio::test]
    async fn a_condition_that_does_not_hold_is_a_conflict_and_changes_nothing() {
        let options = Options {
            listen: ([127, 0, 0, 1], 0).into(),
            ..Options::default()
        };
        let credentials = Credentials {
            access_key: options.access_key.clone(),
            secret_key: options.secret_key.clone(),
        };
        let server = DevServer::start(options).await.unwrap();
        let args = S3Args {
            endpoint_url: Some(server.endpoint_url()),
            aws: AwsArgs {
                ca: Some(server.ca_path().to_owned()),
                ..AwsArgs::default()
            },
        };
        let location: Location = "s3://firmware".parse().unwrap();
        let store = Store::connect(&args, &location, Some(credentials))
            .await
            .unwrap();
        store.create_bucket().await.unwrap();
        store.create_bucket().await.unwrap();

        let upload = |bytes: &'static str, condition| Upload {
            key: "stable.json",
            bytes: Bytes::from_static(bytes.as_bytes()),
            content_type: "application/json",
            cache_control: "no-cache",
            public_read: false,
            condition,
        };
        let mut sent = 0;
        let first = upload("first", Condition::Absent);
        store.put(&first, |bytes| sent = bytes).await.unwrap();
        assert_eq!(sent, 5);
        let seen = store.get("stable.json").await.unwrap().unwrap();
        let unchanged = Condition::Unchanged(seen.etag.unwrap());
        store
            .put(&upload("second", unchanged.clone()), |_| {})
            .await
            .unwrap();

        for condition in [Condition::Absent, unchanged] {
            let late = store.put(&upload("late", condition), |_| {}).await;
            assert_eq!(late.unwrap_err().code, "s3.conflict");
        }
        let now = store.get("stable.json").await.unwrap().unwrap();
        assert_eq!(now.bytes, b"second");
        assert_eq!(store.size("stable.json").await.unwrap(), Some(6));
        assert_eq!(store.size("other.json").await.unwrap(), None);
        assert!(store.get("other.json").await.unwrap().is_none());
    }
}
