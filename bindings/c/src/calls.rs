//! The functions of `s3ota.h`, which has their documentation.

use core::ffi::{c_char, c_void};
use core::fmt::{self, Write};
use core::future::Future;
use core::pin::pin;
use core::ptr::{self, NonNull};
use core::task::{Context, Poll, Waker};

use s3ota::{Boot, Booted, Bootloader, DEFAULT_TRIAL_BOOTS, Reset, Wear, boot_guard_at};

use crate::flash::Flash;
use crate::source::Given;
use crate::state::{self, Begin, Entered, State};
use crate::types::{Config, Guard, Hooks, Log, Port, Release, Source};
use crate::{codes, logs, memory, operations, pem};

const VERSION: &core::ffi::CStr =
    match core::ffi::CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes())
    {
        Ok(version) => version,
        Err(_) => c"",
    };

/// `s3ota_version`
#[unsafe(no_mangle)]
pub extern "C" fn s3ota_version() -> *const c_char {
    VERSION.as_ptr()
}

/// `s3ota_error_name`
#[unsafe(no_mangle)]
pub extern "C" fn s3ota_error_name(result: i32) -> *const c_char {
    codes::name(result).as_ptr()
}

/// `s3ota_size`
#[unsafe(no_mangle)]
pub extern "C" fn s3ota_size() -> usize {
    state::SIZE
}

/// `s3ota_align`
#[unsafe(no_mangle)]
pub extern "C" fn s3ota_align() -> usize {
    state::ALIGN
}

/// `s3ota_set_log`
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3ota_set_log(log: *const Log) -> i32 {
    // SAFETY: the header's rules.
    unsafe { logs::set(log) }
}

/// `s3ota_pem`
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3ota_pem(pem: *mut *const c_char, der: *mut u8, room: usize) -> i32 {
    // SAFETY: the header's rules.
    match unsafe { pem.as_mut() } {
        // SAFETY: the header's rules.
        Some(text) if !text.is_null() && !der.is_null() => unsafe { pem::next(text, der, room) },
        _ => codes::ARGUMENT,
    }
}

/// `s3ota_boot_guard`
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3ota_boot_guard(port: *const Port, guard: *mut Guard) -> i32 {
    // SAFETY: the header's rules.
    match unsafe { guarded(port, guard) } {
        Ok(result) | Err(result) => result,
    }
}

/// # Safety
///
/// As [`s3ota_boot_guard`].
unsafe fn guarded(port: *const Port, guard: *mut Guard) -> Result<i32, i32> {
    // SAFETY: the header's rules.
    let port = unsafe { memory::copy(port)? };
    if port.flash_read.is_none() || port.flash_write.is_none() || port.flash_erase.is_none() {
        return Err(codes::ARGUMENT);
    }
    let asked = if guard.is_null() {
        None
    } else {
        // SAFETY: the header's rules.
        Some(unsafe { memory::copy(guard.cast_const())? })
    };
    let table = asked.map_or(0, |asked| asked.partition_table);
    let table = if table == 0 { 0x8000 } else { table };
    let reset = match asked.map_or(0, |asked| asked.reset) {
        1 => Reset::PowerOn,
        2 => Reset::Wake,
        _ => Reset::Crash,
    };
    let trial_boots = asked.map_or(0, |asked| asked.trial_boots);
    let trial_boots = if trial_boots == 0 {
        DEFAULT_TRIAL_BOOTS
    } else {
        trial_boots
    };
    let mut flash = Flash::alone(&port);
    let booted = at_once(boot_guard_at(
        table,
        reset,
        &mut flash,
        port.running,
        trial_boots,
    ));
    let Booted {
        boot, bootloader, ..
    } = booted
        .ok_or(codes::FLASH_IO)?
        .map_err(|error| codes::of_error(&error))?;
    let (result, count, of) = match boot {
        Boot::Trial { boot, of } => (codes::ON_TRIAL, boot, of),
        Boot::FellBack => (codes::FELL_BACK, 0, 0),
        Boot::GivenUp => (codes::GIVEN_UP, 0, 0),
        _ => (codes::CONFIRMED, 0, 0),
    };
    if !guard.is_null() {
        // SAFETY: the header's rules, and it is as large as was checked when it was copied.
        unsafe {
            (*guard).boot = count;
            (*guard).of = of;
            (*guard).bootloader = match bootloader {
                Some(Bootloader::Plain) => 1,
                Some(Bootloader::AppRollback) => 2,
                _ => 0,
            };
        }
    }
    Ok(result)
}

/// The output of a future that waits for nothing.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// `s3ota_init`
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3ota_init(
    memory: *mut c_void,
    size: usize,
    config: *const Config,
    port: *const Port,
    hooks: *const Hooks,
    state: *mut *mut State,
) -> i32 {
    if state.is_null() {
        return codes::ARGUMENT;
    }
    // SAFETY: the header's rules.
    let made = unsafe { made(memory, size, config, port, hooks) };
    let (result, place) = match made {
        Ok(place) => (codes::OK, place),
        Err(error) => (error, ptr::null_mut()),
    };
    // SAFETY: it is not null, and the caller's by the header.
    unsafe { *state = place };
    result
}

/// # Safety
///
/// As [`s3ota_init`].
unsafe fn made(
    memory: *mut c_void,
    size: usize,
    config: *const Config,
    port: *const Port,
    hooks: *const Hooks,
) -> Result<*mut State, i32> {
    // SAFETY: the header's rules.
    let (config, port) = unsafe { (memory::copy(config)?, memory::copy(port)?) };
    let hooks = if hooks.is_null() {
        NO_HOOKS
    } else {
        // SAFETY: the header's rules.
        unsafe { memory::copy(hooks)? }
    };
    if !is_whole(&port) {
        return Err(codes::ARGUMENT);
    }
    if memory.is_null() || size < state::SIZE || !memory.cast::<State>().is_aligned() {
        return Err(codes::MEMORY);
    }
    // SAFETY: the memory is large enough and aligned; the rest by the header's rules.
    unsafe { State::init(memory, &config, port, hooks) }
}

const NO_HOOKS: Hooks = Hooks {
    size: 0,
    reserved: 0,
    ctx: ptr::null_mut(),
    may_start: None,
    start: None,
    progress: None,
    no_update: None,
    error: None,
    stop: None,
    complete: None,
    confirmed: None,
    before_restart: None,
};

/// Whether all functions are there that must be.
fn is_whole(port: &Port) -> bool {
    let flash =
        port.flash_read.is_some() && port.flash_write.is_some() && port.flash_erase.is_some();
    let sockets = port.open.is_some()
        && port.connect.is_some()
        && port.recv.is_some()
        && port.send.is_some()
        && port.close.is_some();
    let rest = port.uptime_ms.is_some() && port.sleep_ms.is_some() && port.random.is_some();
    flash && port.resolve.is_some() && sockets && rest
}

/// `s3ota_deinit`
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3ota_deinit(state: *mut State) -> i32 {
    // SAFETY: the header's rules.
    match unsafe { Entered::new(state) } {
        Ok(entered) => {
            entered.end();
            codes::OK
        }
        Err(error) => error,
    }
}

/// `s3ota_poll`
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3ota_poll(state: *mut State, budget_ms: u32) -> i32 {
    // SAFETY: the header's rules.
    match unsafe { Entered::new(state) } {
        Ok(mut entered) => entered.run_agent(Some(budget_ms)),
        Err(error) => error,
    }
}

/// `s3ota_run`
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3ota_run(state: *mut State) -> i32 {
    // SAFETY: the header's rules.
    match unsafe { Entered::new(state) } {
        Ok(mut entered) => entered.run_agent(None),
        Err(error) => error,
    }
}

/// `s3ota_wait_ms`
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3ota_wait_ms(state: *mut State) -> u32 {
    // SAFETY: the header's rules.
    unsafe { Entered::new(state) }.map_or(0, |entered| entered.idle_ms())
}

/// `s3ota_check_now`
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3ota_check_now(state: *mut State) {
    // SAFETY: the header's rules.
    unsafe { State::wish(state, |shared| &shared.check_now) };
}

/// `s3ota_cancel`
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3ota_cancel(state: *mut State) {
    // SAFETY: the header's rules.
    unsafe { State::wish(state, |shared| &shared.cancel) };
}

/// Runs an operation to its end.
///
/// # Safety
///
/// As the header says of the calls.
unsafe fn run<F>(state: *mut State, begin: Begin<F>) -> i32
where
    F: Future<Output = i32> + 'static,
{
    // SAFETY: the header's rules.
    match unsafe { Entered::new(state) } {
        Ok(mut entered) => entered.run(begin),
        Err(error) => error,
    }
}

/// `s3ota_check`
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3ota_check(state: *mut State, release: *mut Release) -> i32 {
    // SAFETY: the header's rules.
    match unsafe { checked(state, release) } {
        Ok(result) | Err(result) => result,
    }
}

/// # Safety
///
/// As [`s3ota_check`].
unsafe fn checked(state: *mut State, release: *mut Release) -> Result<i32, i32> {
    if !release.is_null() {
        // SAFETY: the header's rules. The copy is only for its checks.
        unsafe { memory::copy(release.cast_const())? };
    }
    // SAFETY: the header's rules.
    let mut entered = unsafe { Entered::new(state)? };
    entered.shared().wanted.set(NonNull::new(release));
    let result = entered.run(operations::check);
    entered.shared().wanted.set(None);
    Ok(result)
}

/// `s3ota_install`
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3ota_install(state: *mut State) -> i32 {
    // SAFETY: the header's rules.
    unsafe { run(state, operations::install) }
}

/// `s3ota_install_from`
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3ota_install_from(
    state: *mut State,
    manifest: *const c_void,
    manifest_len: usize,
    source: *const Source,
) -> i32 {
    // SAFETY: the header's rules.
    match unsafe { installed_from(state, manifest, manifest_len, source) } {
        Ok(result) | Err(result) => result,
    }
}

/// # Safety
///
/// As [`s3ota_install_from`].
unsafe fn installed_from(
    state: *mut State,
    manifest: *const c_void,
    manifest_len: usize,
    source: *const Source,
) -> Result<i32, i32> {
    // SAFETY: the header's rules. The manifest stays as it is while this call lasts, and no longer does anything refer to it.
    let (manifest, source) = unsafe {
        (
            memory::array(manifest.cast(), manifest_len)?,
            memory::copy(source)?,
        )
    };
    if source.read.is_none() {
        return Err(codes::ARGUMENT);
    }
    // SAFETY: the header's rules.
    let mut entered = unsafe { Entered::new(state)? };
    entered.shared().given.set(Some(Given { manifest, source }));
    let result = entered.run(operations::install_from);
    entered.shared().given.set(None);
    Ok(result)
}

/// `s3ota_update`
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3ota_update(state: *mut State) -> i32 {
    // SAFETY: the header's rules.
    unsafe { run(state, operations::update) }
}

/// `s3ota_prove`
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3ota_prove(state: *mut State) -> i32 {
    // SAFETY: the header's rules.
    unsafe { run(state, operations::prove) }
}

/// `s3ota_confirm`
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3ota_confirm(state: *mut State) -> i32 {
    // SAFETY: the header's rules.
    unsafe { run(state, operations::confirm) }
}

/// `s3ota_roll_back`
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3ota_roll_back(state: *mut State) -> i32 {
    // SAFETY: the header's rules.
    unsafe { run(state, operations::roll_back) }
}

/// `s3ota_is_on_trial`
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3ota_is_on_trial(state: *mut State) -> i32 {
    // SAFETY: the header's rules.
    unsafe { run(state, operations::is_on_trial) }
}

/// `s3ota_end_trial_boot`
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3ota_end_trial_boot(state: *mut State) -> i32 {
    // SAFETY: the header's rules.
    unsafe { run(state, operations::end_trial_boot) }
}

/// `s3ota_error_text`
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3ota_error_text(
    state: *mut State,
    buffer: *mut c_char,
    room: usize,
) -> usize {
    let room = if buffer.is_null() { 0 } else { room };
    let mut text = Into {
        to: buffer,
        room,
        length: 0,
    };
    // SAFETY: the header's rules.
    if let Ok(entered) = unsafe { Entered::new(state) }
        && let Ok(error) = entered.shared().error.try_borrow()
        && let Some(error) = error.as_ref()
    {
        let _ = write!(text, "{error}");
    }
    if room > 0 {
        let end = text.length.min(room - 1);
        // SAFETY: within the buffer's `room`.
        unsafe { buffer.add(end).write(0) };
    }
    text.length
}

/// A text into the caller's buffer, as far as it goes.
struct Into {
    to: *mut c_char,
    room: usize,
    length: usize,
}

impl Write for Into {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if self.length.saturating_add(1) < self.room {
                // SAFETY: within the buffer's `room`.
                unsafe { self.to.add(self.length).write(byte.cast_signed() as c_char) };
            }
            self.length = self.length.saturating_add(1);
        }
        Ok(())
    }
}

/// `s3ota_wear`
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3ota_wear(state: *mut State, words: *mut [u32; Wear::WORDS]) -> i32 {
    // SAFETY: the header's rules.
    let entered = unsafe { Entered::new(state) };
    let mut entered = match entered {
        Ok(entered) => entered,
        Err(error) => return error,
    };
    // SAFETY: the header's rules.
    match (entered.updates(), unsafe { words.as_mut() }) {
        (Err(error), _) => error,
        (_, None) => codes::ARGUMENT,
        (Ok(updates), Some(words)) => {
            *words = updates.updater().wear().to_words();
            codes::OK
        }
    }
}

/// `s3ota_set_wear`
///
/// # Safety
///
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn s3ota_set_wear(
    state: *mut State,
    words: *const [u32; Wear::WORDS],
) -> i32 {
    // SAFETY: the header's rules.
    let entered = unsafe { Entered::new(state) };
    let mut entered = match entered {
        Ok(entered) => entered,
        Err(error) => return error,
    };
    // SAFETY: the header's rules.
    match (entered.updates(), unsafe { words.as_ref() }) {
        (Err(error), _) => error,
        (_, None) => codes::ARGUMENT,
        (Ok(updates), Some(words)) => {
            updates.updater().set_wear(Wear::from_words(*words));
            codes::OK
        }
    }
}
