//! The one kind of request a device makes.

use core::fmt::{self, Write as _};

use s3ota_manifest::HttpsUrl;
use s3ota_manifest::user_agent::UserAgent;

use super::MAX_HEAD;
use crate::config::Header;
use crate::error::HttpError;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// What S3 keeps in its access log, and so gives a view of a fleet without a server.
    pub agent: UserAgent<'a>,
    /// What the application sends besides.
    pub headers: &'a [Header<'a>],
    /// Whose server may have that.
    pub manifest_url: &'a str,
}

/// A GET request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// What to get.
    pub url: HttpsUrl<'a>,
    /// Who asks.
    pub identity: Identity<'a>,
    /// What is asked for.
    pub want: Want<'a>,
}

/// How much of a document is asked for.
#[derive(Debug, Clone, Copy)]
pub enum Want<'a> {
    /// All of it.
    All,
    /// All of it, unless it is still the one with this entity tag.
    Changed(&'a str),
    /// What is missing of it.
    Rest(Part<'a>),
}

/// The end of a document, from some byte on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<'a> {
    /// The first byte wanted.
    pub from: u32,
    /// How many bytes the document has in all, if known.
    pub total: Option<u32>,
    /// The strong entity tag of the document the bytes before came from.
    pub etag: Option<&'a str>,
}

impl Request<'_> {
    /// Writes the request into `buffer`, which has room for every URL: they are half as long at most.
    ///
    /// # Errors
    ///
    /// [`HttpError::HeadTooLarge`] if headers and entity tag do not fit in beside the URL.
    pub fn encode<'b>(&self, buffer: &'b mut [u8; MAX_HEAD]) -> Result<&'b [u8], HttpError> {
        let mut head = Text { buffer, length: 0 };
        self.write(&mut head).map_err(|_| HttpError::HeadTooLarge)?;
        let Text { buffer, length } = head;
        Ok(buffer.get(..length).unwrap_or_default())
    }

    fn write(&self, head: &mut Text<'_>) -> fmt::Result {
        let Identity {
            ref agent,
            headers,
            manifest_url,
        } = self.identity;
        head.push(&["GET ", self.url.path_and_query(), " HTTP/1.1\r\nHost: "])?;
        head.push(&[self.url.authority(), "\r\nAccept-Encoding: identity"])?;
        head.push(&["\r\nUser-Agent: "])?;
        agent.write(head)?;
        for header in headers {
            if header.goes_to(&self.url, manifest_url) {
                head.push(&["\r\n", header.name(), ": ", header.value()])?;
            }
        }
        match self.want {
            Want::All => {}
            Want::Changed(tag) => head.push(&["\r\nIf-None-Match: ", tag])?,
            Want::Rest(part) => {
                write!(head, "\r\nRange: bytes={}-", part.from)?;
                if let Some(tag) = part.etag {
                    head.push(&["\r\nIf-Range: ", tag])?;
                }
            }
        }
        head.write_str("\r\n\r\n")
    }
}

/// Text that grows in a buffer.
struct Text<'b> {
    buffer: &'b mut [u8; MAX_HEAD],
    length: usize,
}

impl Text<'_> {
    fn push(&mut self, parts: &[&str]) -> fmt::Result {
        parts.iter().try_for_each(|part| self.write_str(part))
    }
}

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length.checked_add(text.len()).ok_or(fmt::Error)?;
        let room = self.buffer.get_mut(self.length..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_tells_who_asks() {
        let identity = Identity {
            agent: UserAgent {
                library: "0.1.0",
                device: Some("x\r\nHost: evil"),
                firmware: Some("1.2.0"),
                ..UserAgent::default()
            },
            headers: &[],
            manifest_url: "",
        };
        let request = Request {
            url: HttpsUrl::parse("https://bucket.example/stable.json").unwrap(),
            identity,
            want: Want::Changed("\"abc\""),
        };
        let mut buffer = [0; MAX_HEAD];
        assert_eq!(
            request.encode(&mut buffer).map(core::str::from_utf8),
            Ok(Ok(
                "GET /stable.json HTTP/1.1\r\nHost: bucket.example\r\nAccept-Encoding: identity\r\n\
                   User-Agent: s3ota/0.1.0 dev=x__Host:_evil fw=1.2.0\r\nIf-None-Match: \"abc\"\r\n\r\n"
            ))
        );
    }
}
