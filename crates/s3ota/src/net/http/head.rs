//! The head of a response: what the status line and the header fields say.

use core::time::Duration;

use embedded_io_async::Read;
use heapless::String;

use super::{MAX_ETAG, MAX_HEAD};
use crate::error::{Error, HttpError};

/// Header fields in one response. S3 sends about 15; CloudFront adds some.
pub const MAX_FIELDS: usize = 48;

/// Where a body ends (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes.
    Length(u64),
    /// With the last chunk.
    Chunked,
    /// With the connection. Over TLS such an end is authentic: it is a close_notify, not a cut cable.
    Close,
}

/// Which bytes of a document a body holds (RFC 9110 section 14.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRange {
    /// The first byte.
    pub first: u64,
    /// The last byte, itself included.
    pub last: u64,
    /// Bytes of the whole document, if the server knows.
    pub total: Option<u64>,
}

/// What a response's head says, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// Where the body ends.
    pub framing: Framing,
    /// Whether another request may follow on the same connection.
    pub keep_alive: bool,
    /// The entity tag, with its quotes, if it is one short enough to be remembered.
    pub etag: Option<String<MAX_ETAG>>,
    /// Which part of the document the body is. `None` where the server did not say, or not clearly.
    pub content_range: Option<ContentRange>,
    /// How long the server asks to wait. Only the form in seconds is understood.
    pub retry_after: Option<Duration>,
    /// The range of the head's buffer that holds the Location field's value.
    pub location: Option<(usize, usize)>,
    /// The range of the head's buffer that holds the first bytes of the body.
    pub body: (usize, usize),
}

impl ContentRange {
    /// Parses `bytes 0-499/1234` or `bytes 0-499/*`.
    fn parse(value: &str) -> Option<Self> {
        let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let total = match total {
            "*" => None,
            number => Some(decimal(number)?),
        };
        let (first, last) = (decimal(first)?, decimal(last)?);
        let sound = first <= last && last < total.unwrap_or(u64::MAX);
        sound.then_some(Self { first, last, total })
    }
}

/// A number in digits only: no sign, no spaces.
fn decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

impl Head {
    /// Of no response.
    pub(crate) const fn none() -> Self {
        Self {
            status: 0,
            framing: Framing::Length(0),
            keep_alive: false,
            etag: None,
            content_range: None,
            retry_after: None,
            location: None,
            body: (0, 0),
        }
    }

    /// Reads one response head from `io` into `buffer`. Interim 1xx responses are passed over.
    ///
    /// When it refuses a whole head, `buffer` begins with that head.
    ///
    /// # Errors
    ///
    /// The connection's, and [`HttpError`] for a head that is not HTTP/1.x, not whole, or of a body that is not read.
    pub async fn read<IO>(io: &mut IO, buffer: &mut [u8; MAX_HEAD]) -> Result<Self, Error>
    where
        IO: Read,
        Error: From<IO::Error>,
    {
        let mut filled = 0;
        loop {
            let have = buffer.get(..filled).unwrap_or_default();
            if let Some(head) = parse(have)? {
                if head.status < 200 {
                    // 100 Continue and its like have no body: what follows is the next head.
                    let (start, end) = head.body;
                    buffer.copy_within(start..end, 0);
                    filled = end - start;
                    continue;
                }
                return Ok(head);
            }
            let room = buffer.get_mut(filled..).unwrap_or_default();
            if room.is_empty() {
                return Err(HttpError::HeadTooLarge.into());
            }
            match io.read(room).await? {
                0 if filled == 0 => return Err(Error::ConnectionClosed),
                0 => return Err(HttpError::Incomplete { received: 0 }.into()),
                n => filled = (filled + n).min(MAX_HEAD),
            }
        }
    }
}

/// Parses a head, or says `None` if it is not whole yet. A function of its own, for the stack it takes.
///
/// # Errors
///
/// [`HttpError`] for a head that is not HTTP/1.x, or of a body that is not read.
#[inline(never)]
pub fn parse(bytes: &[u8]) -> Result<Option<Head>, HttpError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let start_of_body = match response.parse(bytes) {
        Ok(httparse::Status::Complete(n)) => n,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(HttpError::HeadTooLarge),
        Err(_) => return Err(HttpError::Malformed),
    };
    let status = response.code.ok_or(HttpError::Malformed)?;
    let http_1_1 = response.version == Some(1);

    let mut length = None;
    let mut chunked = false;
    let mut keep_alive = http_1_1;
    let mut etag = None;
    let mut content_range = None;
    let mut retry_after = None;
    let mut location = None;
    for field in response.headers.iter() {
        let value = core::str::from_utf8(field.value.trim_ascii()).unwrap_or_default();
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            // A sign, a list or a second and different number could make two readers see two bodies.
            let number = decimal(value).ok_or(HttpError::Framing)?;
            if length.is_some_and(|earlier| earlier != number) {
                return Err(HttpError::Framing);
            }
            length = Some(number);
        } else if is("transfer-encoding") {
            if chunked || !value.eq_ignore_ascii_case("chunked") {
                return Err(HttpError::Framing);
            }
            chunked = true;
        } else if is("content-encoding") {
            if !value.is_empty() && !value.eq_ignore_ascii_case("identity") {
                return Err(HttpError::Encoded);
            }
        } else if is("connection") {
            for option in value.split(',').map(str::trim_ascii) {
                if option.eq_ignore_ascii_case("close") {
                    keep_alive = false;
                } else if option.eq_ignore_ascii_case("keep-alive") && !http_1_1 {
                    keep_alive = true;
                }
            }
        } else if is("etag") {
            etag = String::try_from(value).ok().filter(|tag| !tag.is_empty());
        } else if is("content-range") {
            content_range = ContentRange::parse(value);
        } else if is("retry-after") {
            retry_after = value
                .parse::<u32>()
                .ok()
                .map(|s| Duration::from_secs(s.into()));
        } else if is("location") && !value.is_empty() {
            let start = value.as_ptr().addr().wrapping_sub(bytes.as_ptr().addr());
            location = Some((start, start.saturating_add(value.len())));
        }
    }
    let framing = framing(status, chunked, length)?;
    Ok(Some(Head {
        status,
        framing,
        keep_alive: keep_alive && framing != Framing::Close,
        etag,
        content_range,
        retry_after,
        location,
        body: (start_of_body, bytes.len()),
    }))
}

/// Where the body ends.
fn framing(status: u16, chunked: bool, length: Option<u64>) -> Result<Framing, HttpError> {
    match (chunked, length) {
        // RFC 9112 6.1: both together is how requests are smuggled.
        (true, Some(_)) => Err(HttpError::Framing),
        // A 304 may carry the length that its body would have had, and has none.
        _ if status == 304 => Ok(Framing::Length(0)),
        (true, None) => Ok(Framing::Chunked),
        (false, Some(length)) => Ok(Framing::Length(length)),
        (false, None) if status < 200 || status == 204 => Ok(Framing::Length(0)),
        (false, None) => Ok(Framing::Close),
    }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::prelude::rust_2024::*;

    use super::*;

    fn head(text: &str) -> Result<Head, HttpError> {
        parse(text.as_bytes()).map(|head| head.expect("a whole head"))
    }

    #[test]
    fn an_answer_of_s3_is_understood() {
        let text = "HTTP/1.1 200 OK\r\nx-amz-id-2: abc\r\nETag: \"9bb58f26192e4ba00f01e2e7b136bbd8\"\r\n\
                    Accept-Ranges: bytes\r\nContent-Type: application/json\r\nContent-Length: 4\r\nServer: AmazonS3\r\n\r\nbody";
        let head = head(text).unwrap();
        assert_eq!(head.status, 200);
        assert_eq!(head.framing, Framing::Length(4));
        assert!(head.keep_alive);
        assert_eq!(
            head.etag.as_deref(),
            Some("\"9bb58f26192e4ba00f01e2e7b136bbd8\"")
        );
        assert_eq!(&text[head.body.0..head.body.1], "body");
    }

    #[test]
    fn a_head_that_is_not_whole_yet_is_no_error() {
        let text = "HTTP/1.1 302 Found\r\nLocation: https://elsewhere.example/x?y=1\r\n\r\n";
        for end in 0..text.len() {
            assert_eq!(parse(&text.as_bytes()[..end]), Ok(None), "{end}");
        }
        let head = head(text).unwrap();
        let (start, end) = head.location.unwrap();
        assert_eq!(&text[start..end], "https://elsewhere.example/x?y=1");
    }

    #[test]
    fn an_unclear_end_of_the_body_is_refused() {
        for fields in [
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: +5",
            "Content-Length: 5, 5",
            "Content-Length:",
            "Content-Length: 99999999999999999999999",
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        ] {
            assert_eq!(
                head(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n")),
                Err(HttpError::Framing),
                "{fields}"
            );
        }
    }

    #[test]
    fn the_same_length_twice_is_clear() {
        let head =
            head("HTTP/1.1 200 OK\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\n").unwrap();
        assert_eq!(head.framing, Framing::Length(5));
    }

    #[test]
    fn a_content_range_is_understood_or_none() {
        let range = |value: &str| {
            head(&format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Range: {value}\r\nContent-Length: 5\r\n\r\n"
            ))
            .unwrap()
            .content_range
        };
        let of = |first, last, total| Some(ContentRange { first, last, total });
        assert_eq!(range("bytes 5-9/10"), of(5, 9, Some(10)));
        assert_eq!(range("bytes 5-9/*"), of(5, 9, None));
        for value in [
            "bytes */10",
            "bytes 9-5/10",
            "bytes 5-10/10",
            "bytes 5-9",
            "bytes=5-9/10",
            "bytes +5-9/10",
            "items 5-9/10",
            "bytes 5-99999999999999999999/*",
            "",
        ] {
            assert_eq!(range(value), None, "{value:?}");
        }
    }

    #[test]
    fn an_encoding_nobody_asked_for_is_refused() {
        assert_eq!(
            head("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\n"),
            Err(HttpError::Encoded)
        );
    }

    #[test]
    fn a_304_has_no_body_whatever_its_fields_say() {
        let head = head("HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n").unwrap();
        assert_eq!(head.framing, Framing::Length(0));
        assert!(head.keep_alive);
    }

    #[test]
    fn what_is_not_http_is_malformed() {
        assert_eq!(
            parse(b"<html>hello</html>\r\n\r\n"),
            Err(HttpError::Malformed)
        );
        assert_eq!(
            parse(b"\x16\x03\x01\x00\x00\r\n\r\n"),
            Err(HttpError::Malformed)
        );
    }
}
