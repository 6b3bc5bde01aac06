//! Files that people write, as their editors leave them.

use std::path::Path;
use std::{fs, io};

/// Reads a file that is text, or may be: without the byte order mark that Notepad puts first, and in UTF-8 if it was in UTF-16, as
/// PowerShell's `>` writes. A file without such a mark, DER for example, is returned as it is.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    fs::read(path).map(decoded)
}

/// The same for a file that must be text.
pub fn read_to_string(path: &Path) -> io::Result<String> {
    let wrong = "it is not text in UTF-8, nor in UTF-16 with a byte order mark: save it as UTF-8";
    let text = String::from_utf8(read(path)?).ok();
    text.filter(|text| !text.contains('\0'))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, wrong))
}

/// Whether this looks like text in UTF-16 without a byte order mark: every second byte of its first line is zero.
pub fn is_unmarked_utf16(bytes: &[u8]) -> bool {
    let (units, odd) = bytes.as_chunks::<2>();
    let start = &units[..units.len().min(16)];
    let is_text = |byte: u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    let all = |low: usize, high: usize| {
        start
            .iter()
            .all(|unit| is_text(unit[low]) && unit[high] == 0)
    };
    odd.is_empty() && !start.is_empty() && (all(0, 1) || all(1, 0))
}

/// The same for bytes that were read.
pub fn decoded(bytes: Vec<u8>) -> Vec<u8> {
    let text = match bytes.as_slice() {
        // Two of them, where a program added one to a file that had it.
        [0xEF, 0xBB, 0xBF, rest @ ..] => return decoded(rest.to_vec()),
        [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes),
        _ => None,
    };
    text.map_or(bytes, String::into_bytes)
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<String> {
    let (units, odd) = bytes.as_chunks::<2>();
    let units: Vec<u16> = units.iter().copied().map(unit).collect();
    odd.is_empty()
        .then(|| String::from_utf16(&units).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_dropped_and_utf_16_becomes_utf_8() {
        let text = "location = 's3://bucket/lämp'\r\n";
        let utf16 = |bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            let units = std::iter::once(0xFEFF).chain(text.encode_utf16());
            units.flat_map(bytes).collect()
        };
        for bytes in [
            text.as_bytes().to_vec(),
            [b"\xEF\xBB\xBF", text.as_bytes()].concat(),
            [b"\xEF\xBB\xBF\xEF\xBB\xBF", text.as_bytes()].concat(),
            utf16(u16::to_le_bytes),
            utf16(u16::to_be_bytes),
        ] {
            assert_eq!(String::from_utf8(decoded(bytes)).as_deref(), Ok(text));
        }
    }

    #[test]
    fn utf_16_without_a_mark_is_told_from_other_bytes() {
        let text = "nvs,data,nvs,,0x6000\n";
        let file = tempfile::NamedTempFile::new().unwrap();
        for bytes in [u16::to_le_bytes, u16::to_be_bytes] {
            let bytes: Vec<u8> = text.encode_utf16().flat_map(bytes).collect();
            assert!(is_unmarked_utf16(&bytes));
            fs::write(file.path(), bytes).unwrap();
            let error = read_to_string(file.path()).unwrap_err();
            assert!(error.to_string().contains("UTF-16"), "{error}");
        }
        for other in [text.as_bytes(), b"", b"a", &[0; 64], &[0xE9, 0, 1, 0]] {
            assert!(!is_unmarked_utf16(other), "{other:?}");
        }
    }

    #[test]
    fn what_is_no_text_stays_as_it_is() {
        for bytes in [
            &b"\x30\x82\x01\x00"[..],
            b"",
            b"\xFF",
            b"\xFF\xFE\x00",
            b"\xFF\xFE\x00\xD8",
        ] {
            assert_eq!(decoded(bytes.to_vec()), bytes);
        }
    }
}
