//! Certificates and keys out of PEM text (RFC 7468), into memory that may be the text's own.

use core::ffi::c_char;

use crate::codes;

const BEGINS: [&[u8]; 2] = [
    b"-----BEGIN CERTIFICATE-----",
    b"-----BEGIN PUBLIC KEY-----",
];
const END: &[u8] = b"-----END ";

/// A text that ends with a 0. Byte by byte, for the output may lie in the same memory: a slice would promise that nobody
/// writes there.
#[derive(Clone, Copy)]
struct Text {
    at: *const u8,
}

impl Text {
    /// The byte at the position. It is 0 at the end.
    ///
    /// # Safety
    ///
    /// No byte from the position up to `offset` is 0.
    unsafe fn byte(self, offset: usize) -> u8 {
        // SAFETY: the text goes on to its 0, and that was not passed.
        unsafe { self.at.add(offset).read() }
    }

    /// Whether the text goes on with `prefix`.
    fn starts_with(self, prefix: &[u8]) -> bool {
        // SAFETY: `all` ends at the first byte that is another, and a 0 is another.
        prefix
            .iter()
            .enumerate()
            .all(|(at, byte)| unsafe { self.byte(at) } == *byte)
    }

    /// The text behind so many bytes, none of which is a 0.
    fn skip(self, bytes: usize) -> Self {
        Self {
            at: self.at.wrapping_add(bytes),
        }
    }

    /// The first byte, and the text behind it. `None` at the end.
    fn next(self) -> Option<(u8, Self)> {
        // SAFETY: it is the first one.
        let byte = unsafe { self.byte(0) };
        (byte != 0).then(|| (byte, self.skip(1)))
    }
}

/// The value of a character of base64.
const fn value(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(value as u32)
}

/// Takes the next block. The number of bytes; 0 if there is none.
///
/// # Safety
///
/// `*pem` ends with a 0; `der` has room for `room` bytes. They may be the same memory, if `der` does not begin behind `*pem`.
pub unsafe fn next(pem: &mut *const c_char, der: *mut u8, room: usize) -> i32 {
    let mut text = Text { at: pem.cast() };
    loop {
        if let Some(begin) = BEGINS.iter().find(|begin| text.starts_with(begin)) {
            text = text.skip(begin.len());
            break;
        }
        match text.next() {
            Some((_, rest)) => text = rest,
            None => {
                *pem = text.at.cast();
                return codes::OK;
            }
        }
    }
    // SAFETY: as this function's. What was read lies before what is written: four characters make three bytes.
    match unsafe { decode(&mut text, der, room) } {
        Ok(length) => {
            *pem = text.at.cast();
            length
        }
        Err(error) => error,
    }
}

/// # Safety
///
/// As [`next`]'s.
unsafe fn decode(text: &mut Text, der: *mut u8, room: usize) -> Result<i32, i32> {
    let (mut bits, mut count, mut padding, mut length) = (0u32, 0u32, 0u32, 0usize);
    while !text.starts_with(END) {
        let (byte, rest) = text.next().ok_or(codes::PEM)?;
        *text = rest;
        let value = match byte {
            b' ' | b'\t' | b'\r' | b'\n' => continue,
            b'=' => {
                padding += 1;
                0
            }
            _ if padding > 0 => return Err(codes::PEM),
            _ => value(byte).ok_or(codes::PEM)?,
        };
        bits = bits << 6 | value;
        count += 1;
        if count < 4 {
            continue;
        }
        if padding > 2 {
            return Err(codes::PEM);
        }
        let [_, group @ ..] = bits.to_be_bytes();
        for byte in group.iter().take(3usize.saturating_sub(padding as usize)) {
            if length >= room {
                return Err(codes::MEMORY);
            }
            // SAFETY: `length` is below `room`.
            unsafe { der.add(length).write(*byte) };
            length += 1;
        }
        (bits, count) = (0, 0);
    }
    if count > 0 || length == 0 {
        return Err(codes::PEM);
    }
    // The rest of the line: "-----END CERTIFICATE-----".
    while let Some((byte, rest)) = text.next() {
        *text = rest;
        if byte == b'\n' {
            break;
        }
    }
    i32::try_from(length).map_err(|_| codes::MEMORY)
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::format;
    use std::string::String;
    use std::vec;
    use std::vec::Vec;

    use super::*;

    const KEY: &str = "-----BEGIN PUBLIC KEY-----\nAQID\r\nBAU=\n-----END PUBLIC KEY-----\n";

    /// All blocks of a text, and the error at its end.
    fn blocks(text: &str, room: usize) -> (Vec<Vec<u8>>, i32) {
        let text = CString::new(text).unwrap();
        let mut pem = text.as_ptr();
        let mut found = vec![];
        loop {
            let mut der = vec![0; room];
            // SAFETY: the text ends with a 0, and there is as much room as that.
            match unsafe { next(&mut pem, der.as_mut_ptr(), room) } {
                length @ 1.. => found.push(der[..length as usize].to_vec()),
                end => return (found, end),
            }
        }
    }

    #[test]
    fn blocks_come_one_after_the_other_whatever_is_between() {
        let text = format!("a comment\n{KEY}\n# and\n{}", KEY.replace("AQID", "CQkJ"));
        let (found, end) = blocks(&text, 10);
        assert_eq!(found, [vec![1, 2, 3, 4, 5], vec![9, 9, 9, 4, 5]]);
        assert_eq!(end, 0);
        assert_eq!(blocks("no PEM at all", 10), (vec![], 0));
        assert_eq!(blocks("", 10), (vec![], 0));
    }

    #[test]
    fn in_its_own_memory() {
        let mut memory = format!("{KEY}{KEY}\0").into_bytes();
        let der = memory.as_mut_ptr();
        let mut pem = der.cast_const().cast();
        // SAFETY: the text ends with a 0, and its memory may be written.
        unsafe {
            assert_eq!(next(&mut pem, der, usize::MAX), 5);
            assert_eq!(next(&mut pem, der.add(5), usize::MAX), 5);
            assert_eq!(next(&mut pem, der.add(10), usize::MAX), 0);
        }
        assert_eq!(memory[..10], [1, 2, 3, 4, 5, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn what_is_broken_is_no_block() {
        for broken in [
            KEY.replace("BAU=", "BAU"),
            KEY.replace("AU=", "A=U"),
            KEY.replace("BAU=", "B==="),
            KEY.replace("AU=", "A.="),
            KEY.replace("AQID\r\nBAU=\n", ""),
            KEY.replace("-----END PUBLIC KEY-----", ""),
            String::from("-----BEGIN CERTIFICATE-----"),
        ] {
            assert_eq!(blocks(&broken, 10), (vec![], codes::PEM), "{broken}");
        }
        assert_eq!(blocks(KEY, 5).0.len(), 1);
        assert_eq!(blocks(KEY, 4), (vec![], codes::MEMORY));
    }
}
