//! An answer that cannot be used.

use core::fmt;
use core::time::Duration;

/// What can be wrong with a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum HttpError {
    /// The server answered with a status that is not a success.
    Status {
        /// The status code, 100 to 599.
        status: u16,
        /// How long the server asked to wait, if it did.
        retry_after: Option<Duration>,
    },
    /// The head was not HTTP/1.x.
    Malformed,
    /// The head was longer than 4,096 bytes, or had more fields than are ever needed.
    HeadTooLarge,
    /// The body's length was given twice, or as no number, or in a transfer coding other than `chunked`.
    Framing,
    /// The body was encoded (gzip…), though the request allowed no encoding.
    Encoded,
    /// The connection ended before the body did.
    Incomplete {
        /// Bytes of the body that had arrived.
        received: u64,
    },
    /// The body went on past the most that was acceptable.
    TooLong {
        /// The most bytes that were acceptable.
        limit: u32,
    },
    /// More redirects than [`MAX_REDIRECTS`](crate::MAX_REDIRECTS), or a loop.
    TooManyRedirects,
    /// A redirect without a place to go to.
    NoLocation,
    /// The document is not as long as it should be, or the server does not give out parts of it.
    NoSuchPart,
}

impl HttpError {
    /// Whether the same request may succeed later: an overloaded server, a connection that broke.
    ///
    /// 4xx answers do not pass by themselves, save 408 (the server got tired of waiting) and 429 (too many requests).
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 408 | 429 | 500 | 502 | 503 | 504),
            Self::Incomplete { .. } => true,
            _ => false,
        }
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { status: 403, .. } => write!(
                f,
                "the server answered 403 Forbidden: the object is not public, the pre-signed URL has expired, or there is no such object"
            ),
            Self::Status { status: 404, .. } => {
                write!(
                    f,
                    "the server answered 404 Not Found: check the bucket, the prefix and the channel"
                )
            }
            Self::Status { status, .. } => write!(f, "the server answered with status {status}"),
            Self::Malformed => write!(f, "the server's answer is not HTTP/1.1"),
            Self::HeadTooLarge => write!(
                f,
                "the head of the server's answer is longer than 4096 bytes, or has more than 48 fields"
            ),
            Self::Framing => write!(
                f,
                "the server's answer is ambiguous about where its body ends"
            ),
            Self::Encoded => write!(
                f,
                "the server sent an encoded body, which was not asked for: remove Content-Encoding from the object"
            ),
            Self::Incomplete { received } => {
                write!(
                    f,
                    "the connection ended after {received} bytes of the body, before its end"
                )
            }
            Self::TooLong { limit } => write!(
                f,
                "the body is longer than {limit} bytes, the most that fits"
            ),
            Self::TooManyRedirects => write!(f, "the server redirected too often"),
            Self::NoLocation => write!(f, "the server redirected without a Location"),
            Self::NoSuchPart => write!(
                f,
                "the server does not serve the end of the image that the manifest names: publish the release again"
            ),
        }
    }
}

impl core::error::Error for HttpError {}
