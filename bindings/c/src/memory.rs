//! What is read from C's memory.

use core::ffi::{CStr, c_char};
use core::mem::{MaybeUninit, size_of};
use core::ptr;
use core::slice;

use crate::codes;

/// A struct of the header that begins with its size. Any bytes are one: it has only numbers, pointers, and functions that
/// may be null.
///
/// # Safety
///
/// As said: `repr(C)`, a `u32` with the size first, and valid whatever its bytes are, zeros included.
pub unsafe trait Sized32: Copy {}

// SAFETY: `repr(C)`, size first, and every field may have any bits.
unsafe impl Sized32 for crate::types::Port {}
// SAFETY: the same.
unsafe impl Sized32 for crate::types::Hooks {}
// SAFETY: the same.
unsafe impl Sized32 for crate::types::Config {}
// SAFETY: the same.
unsafe impl Sized32 for crate::types::Guard {}
// SAFETY: the same.
unsafe impl Sized32 for crate::types::Log {}
// SAFETY: the same.
unsafe impl Sized32 for crate::types::Release {}
// SAFETY: the same.
unsafe impl Sized32 for crate::types::Source {}

/// A copy of a struct, of whatever size the program knows. What the library does not know must be zero.
///
/// # Safety
///
/// `from` is null, or points to as many readable bytes as the `u32` at its beginning says.
pub unsafe fn copy<T: Sized32>(from: *const T) -> Result<T, i32> {
    if from.is_null() || !from.is_aligned() {
        return Err(codes::ARGUMENT);
    }
    // SAFETY: it begins with its size, is not null, and is aligned.
    let given = unsafe { from.cast::<u32>().read() };
    let (given, known) = (given as usize, size_of::<T>());
    // Every program so far knows all of it.
    if given < known {
        return Err(codes::ARGUMENT);
    }
    for at in known..given {
        // SAFETY: within the size that was given.
        if unsafe { from.cast::<u8>().add(at).read() } != 0 {
            return Err(codes::ARGUMENT);
        }
    }
    let mut copy = MaybeUninit::<T>::zeroed();
    // SAFETY: `known` bytes are readable at `from`, and the copy is as large. Any bytes are a `T`.
    unsafe {
        ptr::copy_nonoverlapping(from.cast::<u8>(), copy.as_mut_ptr().cast(), known);
        Ok(copy.assume_init())
    }
}

/// An array, which stays as it is while the state lives.
///
/// # Safety
///
/// `from` is null, or points to `count` elements that stay as they are.
pub unsafe fn array<T>(from: *const T, count: usize) -> Result<&'static [T], i32> {
    if count == 0 {
        return Ok(&[]);
    }
    if from.is_null() || !from.is_aligned() || count > isize::MAX as usize / size_of::<T>() {
        return Err(codes::ARGUMENT);
    }
    // SAFETY: not null, aligned, not longer than an object can be, and readable by the header's rules.
    Ok(unsafe { slice::from_raw_parts(from, count) })
}

/// A text that may be missing.
///
/// # Safety
///
/// `from` is null, or points to a text that ends with a 0 and stays as it is.
pub unsafe fn text(from: *const c_char) -> Result<Option<&'static str>, i32> {
    if from.is_null() {
        return Ok(None);
    }
    // SAFETY: not null, and ended by a 0.
    let text = unsafe { CStr::from_ptr(from) };
    text.to_str().map(Some).map_err(|_| codes::TEXT)
}
