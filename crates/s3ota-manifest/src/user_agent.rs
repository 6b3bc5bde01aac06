//! The `User-Agent` of a device: what it says about itself in each request, and what so stands in the bucket's access log.
//!
//! ```text
//! s3ota/0.1.0 dev=a0b1c2d3e4f5 fw=1.2.0 chip=esp32c3 state=trial:1/3 boot=plain last=ok@1.2.0 image=delta
//! ```
//!
//! Fields are separated by one space. Their order means nothing, and every one may be missing. The device writes them with
//! [`UserAgent::write`], and whoever reads a log parses them with [`UserAgent::parse`]:
//!
//! ```
//! use s3ota_manifest::user_agent::{Boots, Last, State, UserAgent};
//!
//! let agent = UserAgent::parse("s3ota/0.1.0 dev=a0b1c2 fw=1.2.0 chip=esp32c3 state=trial:1/3 last=ok@1.2.0").unwrap();
//! assert_eq!(agent.device, Some("a0b1c2"));
//! assert_eq!(agent.state, Some(State::Trial(Some(Boots { boot: 1, of: 3 }))));
//! assert_eq!(agent.last, Some(Last::Ok { version: "1.2.0" }));
//!
//! let mut line = String::new();
//! agent.write(&mut line).unwrap();
//! assert_eq!(UserAgent::parse(&line), Some(agent));
//!
//! assert_eq!(UserAgent::parse("curl/8.5.0"), None);
//! ```
//!
//! Whoever can reach the bucket can send any User-Agent. So the parser takes no value that the writer would not write: what it
//! returns has no control characters, no spaces, no quotes and no backslashes, and is at most [`MAX_VALUE`] bytes long.

use core::fmt;
use core::str::Split;

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The most bytes that a device's `User-Agent` has.
pub const MAX_USER_AGENT: usize = 224;

/// The most bytes of an id, a version, a chip's name or an error's code in it. The writer cuts what is longer.
pub const MAX_VALUE: usize = 64;

/// What every device's `User-Agent` begins with.
const PRODUCT: &str = "s3ota/";

/// What a device says about itself in a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct UserAgent<'a> {
    /// The version of the library s3ota.
    pub library: &'a str,
    /// `dev`: the device's id, or [a keyed hash of it](hashed_id), which begins with `~`. Its owner may prefer to send neither.
    pub device: Option<&'a str>,
    /// `fw`: the version of the running firmware.
    pub firmware: Option<&'a str>,
    /// `chip`: the chip's name.
    pub chip: Option<&'a str>,
    /// `state`: how the running firmware stands.
    pub state: Option<State<'a>>,
    /// `boot`: the kind of bootloader, once trials have shown it.
    pub bootloader: Option<Bootloader>,
    /// `last`: how the last update ended, as far as this boot knows.
    pub last: Option<Last<'a>>,
    /// `image`: what is fetched, where that is an image or makes one.
    pub image: Option<Fetched>,
}

/// How the running firmware stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State<'a> {
    /// `valid`: it is confirmed.
    Valid,
    /// `trial:1/3`, or `trial` where the boots are not known: it is on trial.
    Trial(Option<Boots>),
    /// `back:1.2.0`: it runs because the release of this version was rolled back. So until another release is installed.
    Back(&'a str),
    /// `stuck:tls.certificate`: the last three checks or more ended in the error with this code.
    Stuck(&'a str),
}

/// The boots of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Boots {
    /// Which boot this is, from 1.
    pub boot: u8,
    /// How many the trial has.
    pub of: u8,
}

/// How an update ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Last<'a> {
    /// `ok@1.2.0`: this release was installed, or confirmed.
    Ok {
        /// Its version.
        version: &'a str,
    },
    /// `image.digest@1.2.0`, or `net.dns` where no release was known yet: it failed.
    Error {
        /// The stable code of the error, of lower-case letters, digits, `_`, `.` and `-`.
        code: &'a str,
        /// The release that it was about.
        version: Option<&'a str>,
    },
}

/// The kind of bootloader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bootloader {
    /// `plain`: it does no app rollback.
    Plain,
    /// `rollback`: it does.
    Rollback,
}

impl Bootloader {
    /// Its name in the `User-Agent`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Rollback => "rollback",
        }
    }
}

/// What is fetched for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fetched {
    /// `whole`: the image itself.
    Whole,
    /// `delta`: a delta for the image that runs.
    Delta,
    /// `compressed`: the compressed image.
    Compressed,
}

impl Fetched {
    /// Its name in the `User-Agent`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Delta => "delta",
            Self::Compressed => "compressed",
        }
    }
}

impl UserAgent<'_> {
    /// Writes the `User-Agent`, at most [`MAX_USER_AGENT`] bytes of it.
    ///
    /// Whatever is not fit for a log becomes `_`: an id with a line break in it must not become a header of its own, and one
    /// with a quote must not end a log's field. A value is cut after [`MAX_VALUE`] bytes. A field that does not fit into the
    /// whole is left out, for half a version would be another one; those that matter most come first.
    ///
    /// # Errors
    ///
    /// Only those of `out`.
    pub fn write<W: fmt::Write>(&self, out: &mut W) -> fmt::Result {
        let mut line = Line {
            out,
            room: MAX_USER_AGENT,
        };
        line.field(PRODUCT, &[self.library])?;
        line.optional(" dev=", self.device)?;
        line.optional(" fw=", self.firmware)?;
        line.optional(" chip=", self.chip)?;
        match self.state {
            None => {}
            Some(State::Valid) => line.field(" state=valid", &[])?,
            Some(State::Trial(None)) => line.field(" state=trial", &[])?,
            Some(State::Trial(Some(Boots { boot, of }))) => {
                let (mut digits, mut more) = ([0; 3], [0; 3]);
                let boots = [decimal(boot, &mut digits), "/", decimal(of, &mut more)];
                line.field(" state=trial:", &boots)?;
            }
            Some(State::Back(version)) => line.field(" state=back:", &[version])?,
            Some(State::Stuck(code)) => line.field(" state=stuck:", &[code])?,
        }
        match self.last {
            None => {}
            Some(Last::Ok { version }) => line.field(" last=ok@", &[version])?,
            Some(Last::Error { code, version }) => match version {
                Some(version) => line.field(" last=", &[code, "@", version])?,
                None => line.field(" last=", &[code])?,
            },
        }
        line.optional(" boot=", self.bootloader.map(Bootloader::name))?;
        line.optional(" image=", self.image.map(Fetched::name))
    }
}

/// Writes whole fields while there is room.
struct Line<'w, W> {
    out: &'w mut W,
    room: usize,
}

impl<W: fmt::Write> Line<'_, W> {
    fn optional(&mut self, start: &str, value: Option<&str>) -> fmt::Result {
        match value {
            Some(value) => self.field(start, &[value]),
            None => Ok(()),
        }
    }

    /// One field: what it begins with, and the parts of its value. It is written as a whole, or not at all.
    #[inline(never)]
    fn field(&mut self, start: &str, value: &[&str]) -> fmt::Result {
        let value = || value.iter().flat_map(|part| part.chars().take(MAX_VALUE));
        let length = start.len().saturating_add(value().count());
        if let Some(room) = self.room.checked_sub(length) {
            self.room = room;
            self.out.write_str(start)?;
            for c in value() {
                let fits = u8::try_from(c).is_ok_and(fits_a_log);
                self.out.write_char(if fits { c } else { '_' })?;
            }
        }
        Ok(())
    }
}

/// Whether a byte may stand in a value: graphic ASCII, but what would end a quoted field of a log.
const fn fits_a_log(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\')
}

fn decimal(number: u8, digits: &mut [u8; 3]) -> &str {
    *digits = [number / 100, number / 10 % 10, number % 10].map(|digit| b'0' + digit);
    let zeros = usize::from(number < 100) + usize::from(number < 10);
    let digits = digits.get(zeros..).unwrap_or_default();
    str::from_utf8(digits).unwrap_or_default()
}

impl<'a> UserAgent<'a> {
    /// Parses a `User-Agent`; `None` if it is not a device's.
    ///
    /// It parses what any version of s3ota writes. Unknown fields are skipped; of a field that comes twice, the first counts. A
    /// field whose value makes no sense, or that no device would write, is as one that is missing.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut fields = text.strip_prefix(PRODUCT)?.split(' ');
        let library = fields.next().and_then(value).unwrap_or_default();
        let [device, firmware, chip, state, bootloader, last, image] = Self::named(fields);
        Some(Self {
            library,
            device: device.and_then(value),
            firmware: firmware.and_then(value),
            chip: chip.and_then(value),
            state: state.and_then(State::parse),
            bootloader: bootloader.and_then(Bootloader::parse),
            last: last.and_then(Last::parse),
            image: image.and_then(Fetched::parse),
        })
    }

    /// The values of the fields that there are, in the order of this type.
    fn named(fields: Split<'a, char>) -> [Option<&'a str>; 7] {
        let mut values = [None; 7];
        let [device, firmware, chip, state, bootloader, last, image] = &mut values;
        for field in fields {
            let Some((name, value)) = field.split_once('=') else {
                continue;
            };
            let place = match name {
                "dev" => &mut *device,
                "fw" => &mut *firmware,
                "chip" => &mut *chip,
                "state" => &mut *state,
                "boot" => &mut *bootloader,
                "last" => &mut *last,
                "image" => &mut *image,
                _ => continue,
            };
            place.get_or_insert(value);
        }
        values
    }
}

impl<'a> State<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        match text.split_once(':') {
            None if text == "valid" => Some(Self::Valid),
            None if text == "trial" => Some(Self::Trial(None)),
            Some(("trial", boots)) => Boots::parse(boots).map(|boots| Self::Trial(Some(boots))),
            Some(("back", version)) => value(version).map(Self::Back),
            Some(("stuck", text)) => code(text).map(Self::Stuck),
            _ => None,
        }
    }
}

impl Boots {
    fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            let canonical = digits && !text.starts_with('0');
            text.parse().ok().filter(|_| canonical)
        };
        let (boot, of) = text.split_once('/')?;
        Some(Self {
            boot: number(boot)?,
            of: number(of)?,
        })
    }
}

impl<'a> Last<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (outcome, version) = match text.split_once('@') {
            Some((outcome, version)) => (outcome, Some(value(version)?)),
            None => (text, None),
        };
        match (outcome, version) {
            ("ok", Some(version)) => Some(Self::Ok { version }),
            ("ok", None) => None,
            _ => code(outcome).map(|code| Self::Error { code, version }),
        }
    }
}

impl Bootloader {
    fn parse(text: &str) -> Option<Self> {
        let all = [Self::Plain, Self::Rollback];
        all.into_iter().find(|kind| kind.name() == text)
    }
}

impl Fetched {
    fn parse(text: &str) -> Option<Self> {
        let all = [Self::Whole, Self::Delta, Self::Compressed];
        all.into_iter().find(|fetched| fetched.name() == text)
    }
}

/// A value as the writer writes it.
fn value(text: &str) -> Option<&str> {
    let fits = (1..=MAX_VALUE).contains(&text.len()) && text.bytes().all(fits_a_log);
    fits.then_some(text)
}

/// An error's code.
fn code(text: &str) -> Option<&str> {
    let of_code = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-');
    value(text).filter(|text| text.bytes().all(of_code))
}

/// A device's id as a keyed hash: `~`, and the first 16 bytes of HMAC-SHA-256 over the id, in hex.
///
/// It is the device's name in the log for those who prefer not to send the id itself. Whoever has the key can tell which device it is;
/// without, nobody can, not even by trying all ids there are. So all devices have the same key, or each has one of its own.
///
/// ```
/// use s3ota_manifest::user_agent::hashed_id;
///
/// let hashed = hashed_id(b"a key of at least 16 bytes", b"a0b1c2d3e4f5");
/// assert_eq!(hashed.as_str(), "~d1aa8e1ca14530bf2ccb6ea48d334f44");
/// ```
///
/// The same with openssl, without the `~`: `printf %s a0b1c2d3e4f5 | openssl dgst -sha256 -hmac 'a key of at least 16 bytes'`, and of that
/// the first 32 digits.
pub fn hashed_id(key: &[u8], device_id: &[u8]) -> HashedId {
    let mut hashed = [b'~'; HASHED_ID];
    // A key of any length will do.
    if let (Ok(mut hmac), [_, hex @ ..]) = (Hmac::<Sha256>::new_from_slice(key), &mut hashed) {
        hmac.update(device_id);
        let [short @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _]: [u8; 32] =
            hmac.finalize().into_bytes().into();
        let _ = base16ct::lower::encode(&short, hex);
    }
    HashedId(hashed)
}

const HASHED_ID: usize = 33;

/// What [`hashed_id`] makes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HashedId([u8; HASHED_ID]);

impl HashedId {
    /// The text, with its `~`.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for HashedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for HashedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HashedId({self})")
    }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::String;
    use std::vec::Vec;

    use super::*;

    fn written(agent: &UserAgent<'_>) -> String {
        let mut line = String::new();
        agent.write(&mut line).unwrap();
        line
    }

    fn full() -> UserAgent<'static> {
        UserAgent {
            library: "0.1.0",
            device: Some("a0b1c2d3e4f5"),
            firmware: Some("1.2.0"),
            chip: Some("esp32c3"),
            state: Some(State::Valid),
            bootloader: Some(Bootloader::Rollback),
            last: Some(Last::Ok { version: "1.2.0" }),
            image: Some(Fetched::Delta),
        }
    }

    #[test]
    fn a_device_says_all_of_it_in_one_line() {
        assert_eq!(
            written(&full()),
            "s3ota/0.1.0 dev=a0b1c2d3e4f5 fw=1.2.0 chip=esp32c3 state=valid last=ok@1.2.0 boot=rollback image=delta"
        );
        let silent = UserAgent {
            library: "0.1.0",
            ..UserAgent::default()
        };
        assert_eq!(written(&silent), "s3ota/0.1.0");
    }

    #[test]
    fn what_is_written_is_parsed_the_same() {
        let boots = |boot, of| State::Trial(Some(Boots { boot, of }));
        let states = [
            State::Valid,
            State::Trial(None),
            boots(1, 3),
            boots(10, 99),
            boots(100, 255),
            State::Back("1.3.0-rc.1+b"),
            State::Back("a:b@c=d"),
            State::Stuck("image.secure_boot"),
        ];
        let error = |code, version| Last::Error { code, version };
        let lasts = [
            Last::Ok { version: "1.2.0" },
            Last::Ok { version: "x@y=z" },
            error("net.dns", None),
            error("image.digest", Some("1.3.0")),
        ];
        let mut seen = Vec::new();
        for state in states.map(Some).into_iter().chain([None]) {
            for last in lasts.map(Some).into_iter().chain([None]) {
                for image in [None, Some(Fetched::Whole), Some(Fetched::Compressed)] {
                    let agent = UserAgent {
                        state,
                        last,
                        image,
                        ..full()
                    };
                    let line = written(&agent);
                    assert_eq!(UserAgent::parse(&line), Some(agent), "{line}");
                    seen.push(line);
                }
            }
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 9 * 5 * 3);
    }

    #[test]
    fn the_order_of_fields_means_nothing_and_unknown_ones_are_skipped() {
        let line = "s3ota/0.1.0 image=delta boot=rollback moon=full last=ok@1.2.0 x chip=esp32c3 fw=1.2.0  state=valid dev=a0b1c2d3e4f5 ";
        assert_eq!(UserAgent::parse(line), Some(full()));
    }

    #[test]
    fn of_a_field_that_comes_twice_the_first_counts() {
        let agent = UserAgent::parse("s3ota/1 fw=1.0.0 fw=2.0.0 state=? state=valid").unwrap();
        assert_eq!((agent.firmware, agent.state), (Some("1.0.0"), None));
    }

    #[test]
    fn what_older_devices_write_is_parsed() {
        let agent = UserAgent::parse("s3ota/0.1.0 fw=1.2.0 chip=esp32 state=trial").unwrap();
        assert_eq!(agent.state, Some(State::Trial(None)));
        assert_eq!((agent.device, agent.last), (None, None));
    }

    #[test]
    fn what_is_no_devices_is_none() {
        for text in [
            "",
            "s3ota",
            "S3OTA/0.1.0",
            " s3ota/0.1.0",
            "curl/8.5.0",
            "s3otaX/1",
        ] {
            assert_eq!(UserAgent::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_field_that_makes_no_sense_is_unknown_and_the_others_are_not() {
        let long = "1".repeat(MAX_VALUE + 1);
        for (name, values) in [
            (
                "dev",
                &["", "\u{1b}[31m", "a\"b", "a\\b", "\u{e9}", "a\tb", &long][..],
            ),
            ("fw", &["", "<\u{7f}>", &long]),
            ("chip", &["", "esp\u{0}32"]),
            (
                "state",
                &[
                    "",
                    "Valid",
                    "valid:",
                    "trial:",
                    "trial:1",
                    "trial:1/",
                    "trial:0/3",
                    "trial:01/3",
                    "trial:+1/3",
                    "trial:1/256",
                    "trial:1/3/3",
                    "back",
                    "back:",
                    "back:\u{1b}",
                    "stuck",
                    "stuck:",
                    "stuck:A",
                    "stuck:net/dns",
                ],
            ),
            (
                "last",
                &["", "ok", "ok@", "@", "@1.0.0", "net.dns@", "Net.dns", "a:b"],
            ),
            ("boot", &["", "Plain", "grub"]),
            ("image", &["", "half"]),
        ] {
            for value in values {
                let line = format!("s3ota/0.1.0 {name}={value} moon=full");
                let agent = UserAgent::parse(&line).unwrap();
                let nothing = UserAgent {
                    library: "0.1.0",
                    ..UserAgent::default()
                };
                assert_eq!(agent, nothing, "{line:?}");
            }
        }
    }

    #[test]
    fn no_value_can_become_a_field_or_a_header_of_its_own() {
        let hostile = "x\r\nHost: evil dev=other\"\\\u{1b}[2J\u{e9}\0";
        let agent = UserAgent {
            library: hostile,
            device: Some(hostile),
            firmware: Some(hostile),
            chip: Some(hostile),
            state: Some(State::Back(hostile)),
            last: Some(Last::Error {
                code: hostile,
                version: Some(hostile),
            }),
            ..full()
        };
        let line = written(&agent);
        assert!(
            line.bytes().all(|byte| byte == b' ' || fits_a_log(byte)),
            "{line:?}"
        );
        assert!(line.len() <= MAX_USER_AGENT);
        let parsed = UserAgent::parse(&line).unwrap();
        let cleaned = "x__Host:_evil_dev=other___[2J__";
        assert_eq!(parsed.library, cleaned);
        assert_eq!(parsed.device, Some(cleaned));
        assert_eq!(parsed.state, Some(State::Back(cleaned)));
    }

    #[test]
    fn a_field_that_does_not_fit_is_left_out_whole() {
        let long = "9".repeat(500);
        let cut = &long[..MAX_VALUE];
        let agent = UserAgent {
            device: Some(&long),
            firmware: Some(&long),
            state: Some(State::Back(&long)),
            ..full()
        };
        let line = written(&agent);
        // 11 of the library, twice 64 with the names, the chip: no room for a third one, but for all that is short.
        assert!(line.len() <= MAX_USER_AGENT, "{}", line.len());
        let expected = UserAgent {
            device: Some(cut),
            firmware: Some(cut),
            state: None,
            image: None,
            ..full()
        };
        assert_eq!(
            UserAgent::parse(&line),
            Some(UserAgent {
                image: full().image,
                ..expected
            })
        );
    }

    #[test]
    fn an_error_of_the_writer_is_handed_on() {
        struct Full;
        impl fmt::Write for Full {
            fn write_str(&mut self, _: &str) -> fmt::Result {
                Err(fmt::Error)
            }
        }
        assert_eq!(full().write(&mut Full), Err(fmt::Error));
    }

    #[test]
    fn a_hash_tells_nothing_without_its_key() {
        let hashed = hashed_id(b"key", b"The quick brown fox jumps over the lazy dog");
        // The example of Wikipedia's article on HMAC.
        assert_eq!(hashed.as_str(), "~f7bc83f430538424b13298e6aa6fb143");
        assert_ne!(hashed, hashed_id(b"key", b"another"));
        assert_ne!(
            hashed,
            hashed_id(b"other", b"The quick brown fox jumps over the lazy dog")
        );
        // Also with a key longer than a block, and with none.
        assert_ne!(hashed_id(&[1; 100], b"id"), hashed_id(&[], b"id"));
        let agent = UserAgent {
            device: Some(hashed.as_str()),
            ..full()
        };
        assert_eq!(
            UserAgent::parse(&written(&agent)).unwrap().device,
            Some(hashed.as_str())
        );
    }
}
