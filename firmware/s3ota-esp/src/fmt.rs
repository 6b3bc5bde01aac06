//! The log: by the features `log` and `defmt`, to either, to both, or to neither.
//!
//! A message is a literal with `{}` for each value, without names in the braces: that is what defmt reads, too. Without `log`
//! the values must implement `defmt::Format` only, and with both features both.

macro_rules! message {
    ($level:ident, $text:literal $(, $value:expr)* $(,)?) => {{
        #[cfg(feature = "log")]
        ::log::$level!($text $(, $value)*);
        #[cfg(feature = "defmt")]
        ::defmt::$level!($text $(, $value)*);
        // Neither: the values are used all the same.
        #[cfg(not(any(feature = "log", feature = "defmt")))]
        { $( let _ = &$value; )* }
    }};
}

macro_rules! debug {
    ($($message:tt)+) => { message!(debug, $($message)+) };
}

macro_rules! info {
    ($($message:tt)+) => { message!(info, $($message)+) };
}

macro_rules! warn {
    ($($message:tt)+) => { message!(warn, $($message)+) };
}

macro_rules! error {
    ($($message:tt)+) => { message!(error, $($message)+) };
}

/// A value of another crate, which may not know defmt, as its `Debug` shows it.
#[cfg(feature = "wifi")]
pub(crate) struct Debugged<T>(pub T);

#[cfg(feature = "wifi")]
impl<T: core::fmt::Debug> core::fmt::Debug for Debugged<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(all(feature = "wifi", feature = "defmt"))]
impl<T: core::fmt::Debug> defmt::Format for Debugged<T> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{}", defmt::Debug2Format(&self.0));
    }
}
