//! HTTP/1.1 as far as fetching from S3 needs it (RFC 9112): GET requests, response heads, framed bodies.
//!
//! It is strict. A response with two contradicting lengths, an unknown transfer coding or an encoding nobody asked
//! for is an error, because a body whose end is a guess can never be trusted to be whole.

mod body;
mod head;
mod request;

pub use body::Body;
pub use head::{ContentRange, Framing, Head, MAX_FIELDS, parse};
pub use request::{Identity, Part, Request, Want};

/// The most bytes of a response head: status line and header fields. A redirect to a 2,048-byte URL fits.
pub const MAX_HEAD: usize = 4096;

/// An ETag worth remembering is at most this long; S3's are 34 to 40 bytes.
pub const MAX_ETAG: usize = 72;
