//! The log: by the features `log` and `defmt`, to either, to both, or to neither.
//!
//! A message is a literal with `{}` for each value, without names in the braces: that is what defmt reads, too. Without `log`
//! the values must implement `defmt::Format` only, and with both features both.

macro_rules! message {
    ($level:ident, $log:ident, $text:literal $(, $value:expr)* $(,)?) => {{
        // What the application has compiled out is out here, too.
        #[cfg(feature = "log")]
        if ::log::Level::$log <= ::log::STATIC_MAX_LEVEL {
            crate::fmt::log(::log::Level::$log, format_args!($text $(, $value)*));
        }
        #[cfg(feature = "defmt")]
        ::defmt::$level!($text $(, $value)*);
        // Neither: the values are used all the same.
        #[cfg(not(any(feature = "log", feature = "defmt")))]
        { $( let _ = &$value; )* }
    }};
}

/// Logs in the name of this crate. In one place, because `log`'s own macros keep module, file and line of each message: 80 bytes of
/// flash.
#[cfg(feature = "log")]
#[inline(never)]
pub(crate) fn log(level: log::Level, message: core::fmt::Arguments<'_>) {
    log::log!(target: "s3ota_esp", level, "{}", message);
}

macro_rules! debug {
    ($($message:tt)+) => { message!(debug, Debug, $($message)+) };
}

macro_rules! info {
    ($($message:tt)+) => { message!(info, Info, $($message)+) };
}

macro_rules! warn {
    ($($message:tt)+) => { message!(warn, Warn, $($message)+) };
}

macro_rules! error {
    ($($message:tt)+) => { message!(error, Error, $($message)+) };
}

/// A line on the serial port before the firmware has set up its logger, where the crate has a panic handler that prints.
macro_rules! say {
    ($text:literal $(, $value:expr)* $(,)?) => {{
        #[cfg(feature = "panic-handler")]
        crate::fmt::say(format_args!($text $(, $value)*));
        #[cfg(not(feature = "panic-handler"))]
        { $( let _ = &$value; )* }
    }};
}

/// Prints a line.
#[cfg(feature = "panic-handler")]
#[inline(never)]
pub(crate) fn say(line: core::fmt::Arguments<'_>) {
    esp_println::println!("{}", line);
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
