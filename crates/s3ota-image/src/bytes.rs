//! Little-endian fields at fixed offsets in fixed-size records.
//!
//! The offsets are constants, checked against the record's length at compile time: no access can be out
//! of bounds.

/// The `N` bytes at `OFFSET` of a record of `LEN` bytes.
pub(crate) fn field<const OFFSET: usize, const N: usize, const LEN: usize>(
    record: &[u8; LEN],
) -> [u8; N] {
    const { assert!(OFFSET + N <= LEN) };
    core::array::from_fn(|i| record[OFFSET + i])
}

/// Puts `value` at `OFFSET` of a record of `LEN` bytes.
pub(crate) fn put<const OFFSET: usize, const N: usize, const LEN: usize>(
    record: &mut [u8; LEN],
    value: [u8; N],
) {
    const { assert!(OFFSET + N <= LEN) };
    record[OFFSET..OFFSET + N].copy_from_slice(&value);
}

/// The little-endian `u16` at `OFFSET`.
pub(crate) fn u16_at<const OFFSET: usize, const LEN: usize>(record: &[u8; LEN]) -> u16 {
    u16::from_le_bytes(field::<OFFSET, 2, LEN>(record))
}

/// The little-endian `u32` at `OFFSET`.
pub(crate) fn u32_at<const OFFSET: usize, const LEN: usize>(record: &[u8; LEN]) -> u32 {
    u32::from_le_bytes(field::<OFFSET, 4, LEN>(record))
}

/// The text in a C string buffer: up to the first NUL, or all of it. Empty where it is not UTF-8.
pub(crate) fn c_str(buffer: &[u8]) -> &str {
    let end = buffer.iter().position(|b| *b == 0).unwrap_or(buffer.len());
    buffer
        .get(..end)
        .and_then(|text| core::str::from_utf8(text).ok())
        .unwrap_or_default()
}

/// A C string buffer of `N` bytes with `text` in it, padded with NUL. `None` if the text does not fit or
/// contains a NUL.
pub(crate) fn c_buffer<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.bytes().any(|b| b == 0) {
        return None;
    }
    let mut buffer = [0; N];
    buffer
        .get_mut(..text.len())?
        .copy_from_slice(text.as_bytes());
    Some(buffer)
}
