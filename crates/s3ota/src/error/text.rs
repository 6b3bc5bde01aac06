//! Texts in errors and results, which take no heap.

use core::fmt;
use core::ops::Deref;

use s3ota_manifest::Version;

/// A version, board or chip name: enough of it to recognise.
pub type Name = Text<40>;

/// A host name, cut where it is very long.
pub type Host = Text<96>;

/// A text of at most `N` bytes. It is a `str` in all but ownership.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Text<const N: usize>(heapless::String<N>);

impl<const N: usize> Text<N> {
    /// No text yet.
    pub(crate) const fn new() -> Self {
        Self(heapless::String::new())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const N: usize> Deref for Text<N> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<const N: usize> PartialEq<&str> for Text<N> {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == **other
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(feature = "defmt")]
impl<const N: usize> defmt::Format for Text<N> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::Format::format(self.as_str(), f);
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.push_str(text).map_err(|_| fmt::Error)
    }
}

/// As much of a text as there is room for.
pub(crate) fn cut<const N: usize>(text: &str) -> Text<N> {
    let mut cut = Text::new();
    let _ = text.chars().try_for_each(|c| cut.0.push(c));
    cut
}

/// A version in its canonical form, cut where an error message has no room for more.
pub(crate) fn show(version: &Version<'_>) -> Name {
    let mut text = Name::new();
    let _ = core::fmt::write(&mut text, format_args!("{version}"));
    text
}
