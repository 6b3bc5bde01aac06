//! A layer around the S3 service that corrects its HTTP and reports requests.
//!
//! It wraps any hyper service with the S3 service's types, and is one itself. Other layers (faults for tests) fit in the
//! same way.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http_body::{Frame, SizeHint};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue, RANGE, USER_AGENT};
use hyper::service::Service;
use hyper::{Request, Response};
use s3s::{Body, HttpError};
use tokio::sync::broadcast;

/// A request and its response. Without the query: in a pre-signed URL it is a secret.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct RequestRecord {
    /// The client's address. The same address and port are the same connection.
    pub peer: SocketAddr,
    /// `GET`, `PUT`…
    pub method: String,
    /// The `Host` header.
    pub host: String,
    /// The path as sent, percent-encoded.
    pub path: String,
    /// The `Range` header.
    pub range: Option<String>,
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
    /// Whether the request had a signature, valid or not, in a header or in the URL.
    pub signed: bool,
    /// The response's HTTP status.
    pub status: u16,
    /// Bytes of the response's body that were passed to the connection: fewer than its length if the client disconnected.
    pub bytes: u64,
    /// From the request's head to the end of the response's body.
    pub duration: Duration,
}

/// A service whose requests are reported.
#[derive(Clone)]
pub(crate) struct Observed<S> {
    pub(crate) inner: S,
    pub(crate) peer: SocketAddr,
    pub(crate) audience: broadcast::Sender<RequestRecord>,
}

impl<S> Service<Request<Incoming>> for Observed<S>
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = HttpError>,
    S::Future: Send + 'static,
{
    type Response = Response<ObservedBody>;
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, HttpError>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let started = Instant::now();
        let record = self.record(&request);
        let audience = self.audience.clone();
        ignore_invalid_range(request.headers_mut());
        let response = self.inner.call(request);
        Box::pin(async move {
            let mut response = response.await?;
            let status = response.status().as_u16();
            response
                .headers_mut()
                .insert(HeaderName::from_static("x-amz-request-id"), request_id());
            Ok(response.map(|inner| ObservedBody {
                inner,
                record: RequestRecord { status, ..record },
                started,
                audience,
            }))
        })
    }
}

impl<S> Observed<S> {
    fn record(&self, request: &Request<Incoming>) -> RequestRecord {
        let header =
            |name: HeaderName| Some(request.headers().get(name)?.to_str().ok()?.to_owned());
        // Of either version of the signature, 4 or 2.
        let in_query = request
            .uri()
            .query()
            .is_some_and(|query| query.contains("Signature="));
        RequestRecord {
            peer: self.peer,
            method: request.method().to_string(),
            host: header(HOST).unwrap_or_default(),
            path: request.uri().path().to_owned(),
            range: header(RANGE),
            user_agent: header(USER_AGENT),
            signed: in_query || request.headers().contains_key(AUTHORIZATION),
            status: 0,
            bytes: 0,
            duration: Duration::ZERO,
        }
    }
}

/// S3 ignores a `Range` that it cannot parse (`bytes=9-3`, several ranges) and serves the whole object; the S3 service
/// refuses it. To remove a signed header would break the signature, so a signed request keeps it.
fn ignore_invalid_range(headers: &mut HeaderMap) {
    let readable = |value: &HeaderValue| {
        value
            .to_str()
            .is_ok_and(|text| s3s::dto::Range::parse(text).is_ok())
    };
    if !headers.contains_key(AUTHORIZATION)
        && headers.get(RANGE).is_some_and(|value| !readable(value))
    {
        headers.remove(RANGE);
    }
}

fn request_id() -> HeaderValue {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let id = format!("{:016X}", NEXT.fetch_add(1, Ordering::Relaxed));
    HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("0"))
}

/// A body that counts its bytes, and reports when it is complete or dropped.
pub(crate) struct ObservedBody {
    inner: Body,
    record: RequestRecord,
    started: Instant,
    audience: broadcast::Sender<RequestRecord>,
}

impl http_body::Body for ObservedBody {
    type Data = Bytes;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            this.record.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for ObservedBody {
    fn drop(&mut self) {
        self.record.duration = self.started.elapsed();
        let RequestRecord {
            method,
            path,
            status,
            bytes,
            ..
        } = &self.record;
        tracing::debug!(%method, %path, status, bytes, "request");
        // Without a listener this fails, which does not matter.
        let _ = self.audience.send(self.record.clone());
    }
}
