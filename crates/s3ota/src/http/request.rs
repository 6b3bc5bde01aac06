//! The one kind of request a device makes.

use core::fmt::{self, Write as _};

use embedded_io_async::Write;
use heapless::String;
use s3ota_manifest::HttpsUrl;

use crate::Error;

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
    /// Sends the request.
    pub(crate) async fn send<IO>(&self, io: &mut IO) -> Result<(), Error>
    where
        IO: Write,
        Error: From<IO::Error>,
    {
        for part in [
            "GET ",
            self.url.path_and_query(),
            " HTTP/1.1\r\nHost: ",
            self.url.authority(),
        ] {
            io.write_all(part.as_bytes()).await?;
        }
        field(io, "Accept-Encoding", "identity").await?;
        field(io, "User-Agent", &self.identity.user_agent()).await?;
        match self.want {
            Want::All => {}
            Want::Changed(tag) => field(io, "If-None-Match", tag).await?,
            Want::Rest(part) => {
                let mut range: String<20> = String::new();
                // "bytes=", ten digits and a dash.
                let _ = write!(range, "bytes={}-", part.from);
                field(io, "Range", &range).await?;
                if let Some(tag) = part.etag {
                    field(io, "If-Range", tag).await?;
                }
            }
        }
        io.write_all(b"\r\n\r\n").await?;
        io.flush().await?;
        Ok(())
    }
}

/// A header field, with the line break that ends the line before.
async fn field<IO>(io: &mut IO, name: &str, value: &str) -> Result<(), Error>
where
    IO: Write,
    Error: From<IO::Error>,
{
    for part in ["\r\n", name, ": ", value] {
        io.write_all(part.as_bytes()).await?;
    }
    Ok(())
}

impl Identity<'_> {
    /// `s3ota/0.1.0 dev=… fw=… chip=… state=…`
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
        };
        let expected = concat!(
            "s3ota/",
            env!("CARGO_PKG_VERSION"),
            " dev=a0b1c2 fw=1.2.0 chip=esp32c3 state=valid"
        );
        assert_eq!(identity.user_agent(), expected);
        let anonymous = Identity {
            device: None,
            ..identity
        };
        assert!(!anonymous.user_agent().contains("dev="));
    }

    #[test]
    fn no_value_can_become_a_header_of_its_own() {
        let identity = Identity {
            device: Some("x\r\nHost: evil"),
            firmware: "1\u{e4}",
            chip: "esp32",
            state: &"s".repeat(500),
        };
        let agent = identity.user_agent();
        assert!(
            agent.bytes().all(|b| b == b' ' || b.is_ascii_graphic()),
            "{agent}"
        );
        assert!(agent.contains("dev=x__Host:_evil fw=1_ "));
    }
}
