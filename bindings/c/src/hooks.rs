//! The application's functions, behind the library's trait.

use core::ffi::{CStr, c_char};
use core::fmt::{self, Write};
use core::mem::size_of;
use core::time::Duration;

use s3ota::manifest::Manifest;
use s3ota::{Error, Installed, NoUpdate, Progress};

use crate::codes;
use crate::shared::Shared;
use crate::types::Release;

/// For a time that is none.
pub const NONE: u32 = u32::MAX;

/// The hooks of a state.
pub struct Hooks(pub &'static Shared);

impl s3ota::Hooks for Hooks {
    fn may_start(&mut self, release: &Manifest<'_>) -> bool {
        let Some(may_start) = self.0.hooks.may_start else {
            return true;
        };
        let release = of_manifest(release);
        // SAFETY: the caller's function, with its `ctx`.
        unsafe { may_start(self.0.hooks.ctx, &release) != 0 }
    }

    fn on_start(&mut self, release: &Manifest<'_>) {
        self.0.has_started.set(true);
        if let Some(start) = self.0.hooks.start {
            let release = of_manifest(release);
            // SAFETY: the caller's function, with its `ctx`.
            unsafe { start(self.0.hooks.ctx, &release) };
        }
    }

    fn on_progress(&mut self, progress: Progress) {
        if let Some(hook) = self.0.hooks.progress {
            let total = progress.total.unwrap_or(0);
            // SAFETY: the caller's function, with its `ctx`.
            unsafe { hook(self.0.hooks.ctx, progress.written, total) };
        }
    }

    fn on_no_update(&mut self, reason: NoUpdate) {
        let result = codes::of_no_update(reason);
        self.0.last.set(result);
        if let Some(no_update) = self.0.hooks.no_update {
            // SAFETY: the caller's function, with its `ctx`.
            unsafe { no_update(self.0.hooks.ctx, result) };
        }
    }

    fn on_error(&mut self, error: &Error, retry_in: Option<Duration>) {
        let number = self.0.keep(error);
        self.0.last.set(number);
        if let Some(hook) = self.0.hooks.error {
            let longest = NONE - 1;
            let ms = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(longest);
            let retry_ms = retry_in.map_or(NONE, |time| ms(time).min(longest));
            let text = Line::of(format_args!("{error}"));
            // SAFETY: the caller's function, with its `ctx`.
            unsafe { hook(self.0.hooks.ctx, number, text.as_ptr(), retry_ms) };
        }
    }

    fn on_confirm(&mut self) {
        if let Some(confirmed) = self.0.hooks.confirmed {
            // SAFETY: the caller's function, with its `ctx`.
            unsafe { confirmed(self.0.hooks.ctx) };
        }
    }

    fn on_complete(&mut self, installed: &Installed) {
        self.0.has_started.set(false);
        if let Some(complete) = self.0.hooks.complete {
            let release = release(installed.size, &installed.version.as_str());
            // SAFETY: the caller's function, with its `ctx`.
            unsafe { complete(self.0.hooks.ctx, &release) };
        }
    }

    fn on_stop(&mut self) {
        self.0.stop();
    }
}

impl Shared {
    /// Tells the application, once, that what was started has ended.
    pub fn stop(&self) {
        if self.has_started.replace(false)
            && let Some(stop) = self.hooks.stop
        {
            // SAFETY: the caller's function, with its `ctx`.
            unsafe { stop(self.hooks.ctx) };
        }
    }

    /// Tells the application that a restart is due.
    pub fn before_restart(&self, why: i32) {
        if let Some(before_restart) = self.hooks.before_restart {
            // SAFETY: the caller's function, with its `ctx`.
            unsafe { before_restart(self.hooks.ctx, why) };
        }
    }
}

#[inline(never)]
fn of_manifest(manifest: &Manifest<'_>) -> Release {
    release(manifest.size.unwrap_or(0), &manifest.version)
}

/// A release as C sees it.
pub fn release(image_size: u32, version: &dyn fmt::Display) -> Release {
    let mut text = Cut::<48>::new();
    let _ = write!(text, "{version}");
    let mut release = Release {
        size: size_of::<Release>() as u32,
        image_size,
        version: [0; 48],
    };
    let bytes = text.bytes.iter().map(|byte| byte.cast_signed() as c_char);
    release
        .version
        .iter_mut()
        .zip(bytes)
        .for_each(|(to, from)| *to = from);
    release
}

/// A text that ends with a 0, cut where it has more than `N - 1` bytes.
pub struct Cut<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

/// A sentence: none of the library's is longer, unless a name in it is.
pub type Line = Cut<384>;

impl<const N: usize> Cut<N> {
    const fn new() -> Self {
        Self {
            bytes: [0; N],
            length: 0,
        }
    }

    /// What this writes.
    pub fn of(text: fmt::Arguments<'_>) -> Self {
        let mut cut = Self::new();
        let _ = cut.write_fmt(text);
        cut
    }

    /// For C.
    pub fn as_ptr(&self) -> *const c_char {
        CStr::from_bytes_until_nul(&self.bytes).map_or(c"".as_ptr(), CStr::as_ptr)
    }
}

impl<const N: usize> Write for Cut<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = N.saturating_sub(self.length).saturating_sub(1);
        // No character is cut in two.
        let length = text.floor_char_boundary(room);
        let place = self.bytes.get_mut(self.length..).unwrap_or_default();
        let part = text.as_bytes().get(..length).unwrap_or_default();
        place
            .iter_mut()
            .zip(part)
            .for_each(|(to, from)| *to = *from);
        self.length = self.length.saturating_add(length);
        if length < text.len() {
            Err(fmt::Error)
        } else {
            Ok(())
        }
    }
}
