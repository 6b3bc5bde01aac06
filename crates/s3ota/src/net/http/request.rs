//! The one kind of request a device makes.

use core::fmt::{self, Write as _};

use heapless::String;
use s3ota_manifest::HttpsUrl;

use super::MAX_HEAD;
use crate::config::Header;
use crate::error::HttpError;

/// Who asks: the User-Agent, which S3 keeps in its access log and so gives a view of a fleet without a server.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// The device's id, unless its owner prefers not to send it.
    pub device: Option<&'a str>,
    /// The version of the running firmware.
    pub firmware: &'a str,
    /// The chip's name.
    pub chip: &'a str,
    /// `trial` while the firmware is not confirmed, else `valid`.
    pub state: &'a str,
    /// The kind of bootloader, once it is known: `rollback` where it does app rollback, else `plain`.
    pub bootloader: Option<&'a str>,
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
        let mut push = |parts: &[&str]| parts.iter().try_for_each(|part| head.write_str(part));
        push(&["GET ", self.url.path_and_query(), " HTTP/1.1\r\nHost: "])?;
        push(&[self.url.authority(), "\r\nAccept-Encoding: identity"])?;
        push(&["\r\nUser-Agent: ", &self.identity.user_agent()])?;
        let Identity {
            headers,
            manifest_url,
            ..
        } = self.identity;
        for header in headers {
            if header.goes_to(&self.url, manifest_url) {
                push(&["\r\n", header.name(), ": ", header.value()])?;
            }
        }
        match self.want {
            Want::All => {}
            Want::Changed(tag) => push(&["\r\nIf-None-Match: ", tag])?,
            Want::Rest(part) => {
                write!(head, "\r\nRange: bytes={}-", part.from)?;
                if let Some(tag) = part.etag {
                    head.write_str("\r\nIf-Range: ")?;
                    head.write_str(tag)?;
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

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length.checked_add(text.len()).ok_or(fmt::Error)?;
        let room = self.buffer.get_mut(self.length..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

impl Identity<'_> {
    /// `s3ota/0.1.0 dev=… fw=… chip=… state=… boot=…`
    fn user_agent(&self) -> String<224> {
        let mut agent = String::new();
        // A field too long for the buffer is cut: a short log line is better than none.
        let mut out = Field(&mut agent);
        let _ = out.write_str(concat!("s3ota/", env!("CARGO_PKG_VERSION")));
        let named = [
            ("dev", self.device),
            ("fw", Some(self.firmware)),
            ("chip", Some(self.chip)),
            ("state", Some(self.state)),
            ("boot", self.bootloader),
        ];
        for (name, value) in named {
            if let Some(value) = value {
                let _ = write!(out.0, " {name}=");
                let _ = out.write_str(value);
            }
        }
        agent
    }
}

/// Writes what is fit for a header field, at most 64 bytes a value, and `_` for everything else: an id with a line
/// break in it must not become a header of its own.
struct Field<'a>(&'a mut String<224>);

impl fmt::Write for Field<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars().take(64) {
            self.0
                .push(if c.is_ascii_graphic() { c } else { '_' })
                .map_err(|_| fmt::Error)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::prelude::rust_2024::*;

    use super::*;

    #[test]
    fn the_user_agent_tells_what_a_fleet_view_needs() {
        let identity = Identity {
            device: Some("a0b1c2"),
            firmware: "1.2.0",
            chip: "esp32c3",
            state: "valid",
            bootloader: Some("rollback"),
            headers: &[],
            manifest_url: "",
        };
        let expected = concat!(
            "s3ota/",
            env!("CARGO_PKG_VERSION"),
            " dev=a0b1c2 fw=1.2.0 chip=esp32c3 state=valid boot=rollback"
        );
        assert_eq!(identity.user_agent(), expected);
        let anonymous = Identity {
            device: None,
            bootloader: None,
            ..identity
        };
        assert!(!anonymous.user_agent().contains("dev="));
        assert!(anonymous.user_agent().ends_with(" state=valid"));
    }

    #[test]
    fn no_value_can_become_a_header_of_its_own() {
        let identity = Identity {
            device: Some("x\r\nHost: evil"),
            firmware: "1\u{e4}",
            chip: "esp32",
            state: &"s".repeat(500),
            bootloader: None,
            headers: &[],
            manifest_url: "",
        };
        let agent = identity.user_agent();
        assert!(
            agent.bytes().all(|b| b == b' ' || b.is_ascii_graphic()),
            "{agent}"
        );
        assert!(agent.contains("dev=x__Host:_evil fw=1_ "));
    }
}
