//! What a firmware's TLS client was built with, as a label in its image.
//!
//! An image does not otherwise tell whether its firmware will accept the certificates of a server. The label is for tools on
//! a computer, which look at an image before it is released: `s3ota doctor` does.

/// The features of this crate that decide which certificates a firmware can verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BuiltWith {
    /// RSA: the feature `rsa`.
    pub rsa: bool,
    /// P-384: the feature `p384`.
    pub p384: bool,
}

const START: [u8; 10] = *b"\xF5s3ota-tls";

/// In the read-only data of every firmware that connects.
static LABEL: [u8; BuiltWith::LEN] = BuiltWith::THIS.label();

/// Keeps the linker from dropping the label.
pub(crate) fn label() {
    core::hint::black_box(&LABEL);
}

impl BuiltWith {
    /// The bytes of a label.
    pub const LEN: usize = 13;

    /// This build.
    pub const THIS: Self = Self {
        rsa: cfg!(feature = "rsa"),
        p384: cfg!(feature = "p384"),
    };

    /// What the firmware in an app image was built with. `None` if it does not tell: it has no client of this crate, or an
    /// older one.
    pub fn of(image: &[u8]) -> Option<Self> {
        image.windows(Self::LEN).find_map(|bytes| {
            let all = [(false, false), (false, true), (true, false), (true, true)];
            let mut all = all.map(|(rsa, p384)| Self { rsa, p384 }).into_iter();
            // Almost all of an image ends here.
            let starts = bytes.first() == START.first();
            all.find(|it| starts && it.label() == bytes)
        })
    }

    /// The label in the image of such a firmware: the start, a letter for each feature or `-`, and the byte that it began with.
    pub const fn label(self) -> [u8; Self::LEN] {
        let mut label = [0xF5; Self::LEN];
        let mut i = 0;
        while i < START.len() {
            label[i] = START[i];
            i += 1;
        }
        label[i] = if self.rsa { b'r' } else { b'-' };
        label[i + 1] = if self.p384 { b'p' } else { b'-' };
        label
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn an_image_tells_what_its_client_was_built_with() {
        for (rsa, p384) in [(false, false), (false, true), (true, false), (true, true)] {
            let built_with = BuiltWith { rsa, p384 };
            let mut image: Vec<u8> = (0..=255).collect();
            image.extend(built_with.label());
            image.extend(START);
            assert_eq!(BuiltWith::of(&image), Some(built_with));
        }
    }

    #[test]
    fn an_image_without_a_whole_label_tells_nothing() {
        assert_eq!(BuiltWith::of(b""), None);
        assert_eq!(BuiltWith::of(&START), None);
        let label = BuiltWith::THIS.label();
        for at in 0..BuiltWith::LEN {
            let mut other = label;
            other[at] ^= 1;
            assert_eq!(BuiltWith::of(&other), None, "{at}");
        }
    }
}
