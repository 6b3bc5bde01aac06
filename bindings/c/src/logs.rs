//! Log lines, to a function of the program.

use crate::codes;
use crate::memory;
use crate::types::Log;

/// Sets where lines go.
///
/// # Safety
///
/// `log` is null, or points to a struct of its size that stays as it is.
pub unsafe fn set(log: *const Log) -> i32 {
    if !log.is_null() {
        // SAFETY: by the rule above.
        match unsafe { memory::copy(log) } {
            Ok(copy) if copy.line.is_some() => {}
            _ => return codes::ARGUMENT,
        }
    }
    #[cfg(feature = "log")]
    to_lines::set(log);
    codes::OK
}

#[cfg(feature = "log")]
mod to_lines {
    use core::ptr;

    use log::{Level, LevelFilter, Metadata, Record};
    use portable_atomic::{AtomicBool, AtomicPtr, Ordering};

    use crate::hooks::Cut;
    use crate::types::Log;

    /// Where lines go now.
    static TARGET: AtomicPtr<Log> = AtomicPtr::new(ptr::null_mut());
    static IS_SET: AtomicBool = AtomicBool::new(false);
    static LINES: Lines = Lines;

    struct Lines;

    pub fn set(log: *const Log) {
        TARGET.store(log.cast_mut(), Ordering::Release);
        if !IS_SET.swap(true, Ordering::AcqRel) {
            #[cfg(target_has_atomic = "ptr")]
            let _ = log::set_logger(&LINES);
            #[cfg(not(target_has_atomic = "ptr"))]
            // SAFETY: once, by the flag above; nobody else in this archive sets a logger.
            let _ = unsafe { log::set_logger_racy(&LINES) };
            #[cfg(target_has_atomic = "ptr")]
            log::set_max_level(LevelFilter::Debug);
            #[cfg(not(target_has_atomic = "ptr"))]
            // SAFETY: once, as above.
            unsafe {
                log::set_max_level_racy(LevelFilter::Debug);
            }
        }
    }

    fn target() -> Option<&'static Log> {
        // SAFETY: null, or what `set` was given: a whole struct that stays as it is.
        unsafe { TARGET.load(Ordering::Acquire).as_ref() }
    }

    const fn number(level: Level) -> i32 {
        match level {
            Level::Error => 1,
            Level::Warn => 2,
            Level::Info => 3,
            Level::Debug | Level::Trace => 4,
        }
    }

    impl log::Log for Lines {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            target().is_some_and(|target| number(metadata.level()) <= target.most)
        }

        fn log(&self, record: &Record<'_>) {
            let level = number(record.level());
            let Some(target) = target().filter(|target| level <= target.most) else {
                return;
            };
            if let Some(line) = target.line {
                let text = Cut::<256>::of(*record.args());
                // SAFETY: the caller's function, with its `ctx`.
                unsafe { line(target.ctx, level, text.as_ptr()) };
            }
        }

        fn flush(&self) {}
    }
}
