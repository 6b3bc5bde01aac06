//! SHA-256 digests, and how they are written.

use core::fmt;
use core::str::FromStr;

use base16ct::HexDisplay;

/// A SHA-256 digest of 32 bytes. It displays as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha256Digest(pub [u8; 32]);

/// The text is not 64 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Sha256Error;

impl Sha256Digest {
    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for Sha256Digest {
    type Err = Sha256Error;

    /// Reads 64 hex digits in either case, as `sha256sum` and `Get-FileHash` print them.
    fn from_str(text: &str) -> Result<Self, Sha256Error> {
        let mut digest = [0; 32];
        match base16ct::mixed::decode(text, &mut digest) {
            Ok(decoded) if decoded.len() == 32 => Ok(Sha256Digest(digest)),
            _ => Err(Sha256Error),
        }
    }
}

impl From<[u8; 32]> for Sha256Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Sha256Digest(bytes)
    }
}

impl From<Sha256Digest> for [u8; 32] {
    fn from(digest: Sha256Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&HexDisplay(&self.0), f)
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256Digest({self})")
    }
}

impl fmt::Display for Sha256Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a SHA-256 is written as exactly 64 hex digits, as sha256sum prints it")
    }
}

impl core::error::Error for Sha256Error {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn either_case_is_read_and_lower_case_is_written() {
        let digest: Sha256Digest = EMPTY.parse().unwrap();
        assert_eq!(digest.as_bytes()[..4], [0xe3, 0xb0, 0xc4, 0x42]);
        assert_eq!(EMPTY.to_uppercase().parse(), Ok(digest));
        assert_eq!(digest.to_string(), EMPTY);
    }

    #[test]
    fn anything_but_64_hex_digits_is_refused() {
        let long = std::format!("{EMPTY}00");
        let wide = EMPTY.replace("e3", "é");
        for text in [
            "",
            "e3",
            &EMPTY[1..],
            &EMPTY[2..],
            &long,
            &EMPTY.replace('f', "g"),
            &wide,
        ] {
            assert_eq!(text.parse::<Sha256Digest>(), Err(Sha256Error), "{text}");
        }
    }
}
