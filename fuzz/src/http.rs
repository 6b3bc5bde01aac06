//! Responses of a server.
//!
//! The first byte: how the connection splits them into pieces. The second: the size of the body's buffer, and whether the body
//! is read or skipped. The response follows.

use embassy_futures::block_on;
use s3ota::Error;
use s3ota::HttpError;
use s3ota::fuzzing::Response;
use s3ota::http::{Framing, Head, MAX_ETAG, MAX_HEAD};

use crate::input::{Input, Pieces};
use crate::wire::Wire;

/// The result of a response.
#[derive(Debug, PartialEq)]
struct Outcome {
    head: Option<Head>,
    location: Option<String>,
    /// Where the body begins in the connection's bytes.
    start: usize,
    body: Vec<u8>,
    end: Result<(), Error>,
}

/// Reads the response in pieces and at once, and its body with a second parser.
pub fn target(data: &[u8]) {
    let mut input = Input::new(data);
    let pieces = input.byte();
    let mode = input.byte();
    let wire = input.rest();
    let buffer = 1 + usize::from(mode / 2);

    let cut = fetch(wire, Pieces::new(pieces), buffer);
    let whole = fetch(wire, Pieces::new(0), 4096);
    assert_eq!(cut.end, whole.end, "the pieces matter");
    assert_eq!((&cut.location, &cut.body), (&whole.location, &whole.body));
    let (Some(head), Some(of_whole)) = (&cut.head, &whole.head) else {
        return assert_eq!(cut.head, whole.head);
    };
    sound(head, cut.location.as_deref());
    // Where the first part of the body is in the buffer depends on the pieces.
    assert_eq!(
        (
            head.status,
            head.framing,
            head.keep_alive,
            &head.etag,
            head.content_range,
            head.retry_after
        ),
        (
            of_whole.status,
            of_whole.framing,
            of_whole.keep_alive,
            &of_whole.etag,
            of_whole.content_range,
            of_whole.retry_after
        )
    );
    assert_eq!(cut.start, whole.start);

    let (expected, is_whole) = body_of(&wire[cut.start..], head.framing);
    match is_whole {
        Some(true) => assert_eq!(cut.end, Ok(())),
        Some(false) => assert_eq!(
            cut.end,
            Err(HttpError::Incomplete {
                received: expected.len() as u64
            }
            .into())
        ),
        None => assert_eq!(cut.end, Err(HttpError::Framing.into())),
    }
    assert_eq!(cut.body, expected);
    if mode & 1 != 0 {
        drain(wire, Pieces::new(pieces), cut.body.len(), &cut.end);
    }
}

fn fetch(bytes: &[u8], pieces: Pieces, buffer: usize) -> Outcome {
    block_on(async {
        let mut wire = Wire::new(bytes, pieces);
        let mut head = [0; MAX_HEAD];
        let mut outcome = Outcome {
            head: None,
            location: None,
            start: 0,
            body: Vec::new(),
            end: Ok(()),
        };
        let response = match Response::read(&mut wire, &mut head).await {
            Ok(response) => response,
            Err(error) => {
                assert!(refused(&error), "{error:?}");
                outcome.end = Err(error);
                return outcome;
            }
        };
        outcome.start = wire.delivered() - response.early.len();
        let so_far = wire.delivered();
        let mut part = vec![0; buffer];
        let body = &mut outcome.body;
        outcome.end = response
            .body(&mut wire, &mut part, |bytes| body.extend(bytes))
            .await;
        // The next response on this connection is left alone.
        if let Framing::Length(length) = response.head.framing {
            let end = length.saturating_add(outcome.start as u64);
            assert!(
                wire.delivered() as u64 <= end.max(so_far as u64),
                "read past the end"
            );
        }
        outcome.location = response.location.map(String::from);
        outcome.head = Some(response.head);
        outcome
    })
}

/// The errors by which a head may be refused.
fn refused(error: &Error) -> bool {
    matches!(
        error,
        Error::ConnectionClosed
            | Error::Http(
                HttpError::Malformed
                    | HttpError::HeadTooLarge
                    | HttpError::Framing
                    | HttpError::Encoded
                    | HttpError::Incomplete { received: 0 }
            )
    )
}

/// What is sent back to the server, or followed, is one line of text.
fn sound(head: &Head, location: Option<&str>) {
    assert!((200..1000).contains(&head.status));
    let is_line = |text: &str| !text.contains(['\r', '\n', '\0']);
    if let Some(etag) = &head.etag {
        assert!(!etag.is_empty() && etag.len() <= MAX_ETAG && is_line(etag));
    }
    if let Some(location) = location {
        assert!(!location.is_empty() && is_line(location));
    }
    if let Some(range) = head.content_range {
        assert!(range.first <= range.last && range.total.is_none_or(|total| range.last < total));
    }
    assert!(!(head.keep_alive && head.framing == Framing::Close));
    if matches!(head.status, 204 | 304) && head.framing != Framing::Chunked {
        assert!(head.status == 204 || head.framing == Framing::Length(0));
    }
}

/// A second parser for a body (RFC 9112 sections 6 and 7), from all its bytes. Whether it is complete; `None`: it is invalid.
fn body_of(bytes: &[u8], framing: Framing) -> (Vec<u8>, Option<bool>) {
    match framing {
        Framing::Close => (bytes.to_vec(), Some(true)),
        Framing::Length(length) => {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let body = &bytes[..length.min(bytes.len())];
            (body.to_vec(), Some(body.len() == length))
        }
        Framing::Chunked => {
            let mut body = Vec::new();
            let is_whole = chunks(bytes, &mut body);
            (body, is_whole)
        }
    }
}

fn chunks(mut bytes: &[u8], body: &mut Vec<u8>) -> Option<bool> {
    loop {
        let size = match line(&mut bytes)? {
            Line::Whole(line) => chunk_size(line)?,
            // What is there must be the beginning of a size.
            Line::Cut(part) => {
                let is_begun = chunk_size(part).is_some();
                return (is_begun || chunk_size(&[part, b"0"].concat()).is_some()).then_some(false);
            }
        };
        if size == 0 {
            break;
        }
        let (data, rest) = bytes.split_at(size.min(bytes.len()));
        body.extend(data);
        bytes = rest;
        if data.len() < size {
            return Some(false);
        }
        match line(&mut bytes)? {
            Line::Whole([]) => {}
            Line::Cut([] | [b'\r']) => return Some(false),
            _ => return None,
        }
    }
    for _ in 0..16 {
        match line(&mut bytes)? {
            Line::Cut(_) => return Some(false),
            Line::Whole([]) => return Some(true),
            Line::Whole(_) => {}
        }
    }
    None
}

fn chunk_size(line: &[u8]) -> Option<usize> {
    let size = line.split(|&byte| byte == b';').next()?.trim_ascii();
    let size = std::str::from_utf8(size).ok()?;
    let is_number = (1..=8).contains(&size.len()) && size.bytes().all(|b| b.is_ascii_hexdigit());
    usize::from_str_radix(size, 16).ok().filter(|_| is_number)
}

enum Line<'b> {
    /// Without its CRLF.
    Whole(&'b [u8]),
    /// The bytes end before it does.
    Cut(&'b [u8]),
}

/// The next line. `None`: it is too long, or ends with LF alone.
fn line<'b>(bytes: &mut &'b [u8]) -> Option<Line<'b>> {
    let longest = &bytes[..bytes.len().min(65)];
    let Some(end) = longest.iter().position(|&byte| byte == b'\n') else {
        return (longest.len() < 65).then_some(Line::Cut(longest));
    };
    let line = bytes[..end].strip_suffix(b"\r")?;
    *bytes = &bytes[end + 1..];
    Some(Line::Whole(line))
}

/// Skipping a body reports its length correctly.
fn drain(bytes: &[u8], pieces: Pieces, length: usize, end: &Result<(), Error>) {
    block_on(async {
        for most in [0, length.saturating_sub(1), length, length + 1] {
            let mut wire = Wire::new(bytes, pieces.clone());
            let mut head = [0; MAX_HEAD];
            let response = Response::read(&mut wire, &mut head)
                .await
                .expect("read before");
            let drained = response.drain(&mut wire, most).await;
            if most < length {
                assert_eq!(drained, Ok(false), "{most} of {length}");
            } else {
                assert_eq!(drained, end.clone().map(|()| true), "{most} of {length}");
            }
        }
    });
}

/// Answers as S3, CloudFront and a proxy give them.
pub fn seeds() -> Vec<Vec<u8>> {
    let s3 = "x-amz-id-2: rkrKMjQ3DNgHDF8g3ZUjP0jVq9gWl1f+NNy8=\r\nx-amz-request-id: 4RXBKQ6EXAMPLE\r\n\
              Date: Tue, 24 Nov 2026 04:38:09 GMT\r\nLast-Modified: Mon, 23 Nov 2026 10:00:00 GMT\r\n\
              ETag: \"9bb58f26192e4ba00f01e2e7b136bbd8\"\r\nx-amz-server-side-encryption: AES256\r\n\
              Accept-Ranges: bytes\r\nContent-Type: binary/octet-stream\r\nServer: AmazonS3\r\n";
    let error =
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>AccessDenied</Code></Error>";
    [
        (0, 0, format!("HTTP/1.1 200 OK\r\n{s3}Content-Length: 12\r\n\r\nhello, world")),
        (3, 1, format!("HTTP/1.1 206 Partial Content\r\n{s3}Content-Range: bytes 4096-4107/76848\r\nContent-Length: 12\r\n\r\nhello, worldHTTP/1.1 200 OK\r\n")),
        (1, 9, "HTTP/1.1 304 Not Modified\r\nETag: \"9bb58f26192e4ba00f01e2e7b136bbd8\"\r\nContent-Length: 500\r\n\r\n".into()),
        (7, 30, format!("HTTP/1.1 403 Forbidden\r\n{s3}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{error}\r\n0\r\n\r\n", error.len())),
        (5, 3, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n7;name=value\r\n, world\r\n0\r\nTrailer: x\r\n\r\nmore".into()),
        (6, 3, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello, but".into()),
        (2, 63, "HTTP/1.1 302 Found\r\nLocation: https://my-bucket.s3.amazonaws.com/lamp/stable.json?X-Amz-Date=20261124T043809Z\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into()),
        (11, 5, "HTTP/1.1 503 Slow Down\r\nRetry-After: 30\r\nConnection: close\r\n\r\nslow down".into()),
        (4, 2, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello".into()),
        (0, 255, "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */76848\r\nContent-Encoding: identity\r\nContent-Length: 0\r\n\r\n".into()),
        (9, 8, format!("HTTP/1.1 200 OK\r\nX-Cache: {}\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\nhello", "y".repeat(3000))),
    ]
    .map(|(pieces, mode, response)| [&[pieces, mode], response.as_bytes()].concat())
    .to_vec()
}

/// Tokens of responses.
pub const TOKENS: &[&[u8]] = &[
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.0 ",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"\r\n\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\nContent-Length: ",
    b"\r\nContent-Length: 0",
    b"\r\nTransfer-Encoding: chunked",
    b"\r\nTransfer-Encoding: ",
    b"\r\nContent-Encoding: gzip",
    b"\r\nConnection: close",
    b"\r\nETag: \"",
    b"W/\"",
    b"\r\nLocation: https://",
    b"\r\nContent-Range: bytes 0-4/5",
    b"/*",
    b"\r\nRetry-After: 4294967296",
    b"18446744073709551615",
    b"18446744073709551616",
    b"0\r\n\r\n",
    b"ffffffff\r\n",
    b"100000000\r\n",
    b"1\r\nx\r\n",
    b";",
    b"+5",
    b"5, 5",
    b"\0",
    b"\xc2\xa0",
    b"\t",
];
