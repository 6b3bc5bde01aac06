//! Two parts of a certificate that rustls-webpki does not expose without `alloc`; and the two numbers in an RSA key or an
//! ECDSA signature.
//!
//! webpki has parsed the certificates before: the walk skips what it does not need, without checking it. The numbers come
//! unchecked, so they must be strict DER.
//!
//! p256's own parser (`Signature::from_der`) would take 3.1 KB more flash on an ESP32-C3, measured with `simple`: the crate
//! `der` comes with it. RSA keys need this one anyway.

/// The part of `whole` that has this address and length, if it is one.
pub(crate) fn part(whole: &[u8], address: usize, length: usize) -> Option<&[u8]> {
    let start = address.checked_sub(whole.as_ptr().addr())?;
    whole.get(start..start.checked_add(length)?)
}

/// Subject and SubjectPublicKeyInfo, each without its header, from the bytes in which they follow each other.
pub(crate) fn subject_and_key(fields: &[u8]) -> Option<(&[u8], &[u8])> {
    let subject = element(fields)?;
    Some((subject.value, element(subject.rest)?.value))
}

/// The SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7) with its header.
pub(crate) fn subject_public_key_info(certificate: &[u8]) -> Option<&[u8]> {
    let subject = element(from_subject(certificate)?)?;
    Some(element(subject.rest)?.whole)
}

/// A Name's text for display: its common name, or else its last attribute that is text.
pub(crate) fn display_name(mut name: &[u8]) -> Option<&str> {
    const COMMON_NAME: [u8; 3] = [0x55, 4, 3];
    let mut last = None;
    while !name.is_empty() {
        // A SET of one SEQUENCE of OID and value.
        let set = element(name)?;
        let oid = element(element(set.value)?.value)?;
        let text = element(oid.rest)?.value;
        name = set.rest;
        if let Ok(text) = core::str::from_utf8(text) {
            if oid.value == COMMON_NAME {
                return Some(text);
            }
            last = Some(text);
        }
    }
    last
}

/// The part of TBSCertificate that starts with the subject (RFC 5280 section 4.1).
fn from_subject(certificate: &[u8]) -> Option<&[u8]> {
    const EXPLICIT_VERSION: u8 = 0xA0;
    let mut fields = element(element(certificate)?.value)?.value;
    if fields.first() == Some(&EXPLICIT_VERSION) {
        fields = element(fields)?.rest;
    }
    let serial = element(fields)?;
    let signature = element(serial.rest)?;
    let issuer = element(signature.rest)?;
    let validity = element(issuer.rest)?;
    Some(validity.rest)
}

/// The two numbers of an RSAPublicKey (RFC 8017 appendix A.1.1) or an Ecdsa-Sig-Value (RFC 3279 section 2.2.3): a
/// SEQUENCE of two positive INTEGERs, and nothing else.
pub(crate) fn two_numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    const SEQUENCE: u8 = 0x30;
    let sequence = element(der)?;
    let (first, rest) = number(sequence.value)?;
    let (second, end) = number(rest)?;
    let whole = der.first() == Some(&SEQUENCE) && sequence.rest.is_empty() && end.is_empty();
    whole.then_some((first, second))
}

/// A big-endian number in `N` bytes, if it fits.
pub(crate) fn padded<const N: usize>(number: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let start = N.checked_sub(number.len())?;
    bytes.get_mut(start..)?.copy_from_slice(number);
    Some(bytes)
}

/// The bytes of a positive INTEGER, without the zero that keeps its first bit from being a sign, and what follows it.
fn number(der: &[u8]) -> Option<(&[u8], &[u8])> {
    const INTEGER: u8 = 2;
    let integer = element(der)?;
    let bytes = match integer.value {
        [0, bytes @ ..] if *bytes.first()? >= 0x80 => bytes,
        bytes if (1..0x80).contains(bytes.first()?) => bytes,
        _ => return None,
    };
    (der.first() == Some(&INTEGER)).then_some((bytes, integer.rest))
}

struct Element<'a> {
    whole: &'a [u8],
    value: &'a [u8],
    rest: &'a [u8],
}

/// Splits off the first DER element: one byte of tag, a length below 64 KiB in as few bytes as possible, a value.
fn element(der: &[u8]) -> Option<Element<'_>> {
    let (length, content) = match der {
        [_, 0x82, high @ 1..=0xff, low, content @ ..] => {
            (u16::from_be_bytes([*high, *low]), content)
        }
        [_, 0x81, length @ 0x80..=0xff, content @ ..] => ((*length).into(), content),
        [_, length, content @ ..] if *length < 0x80 => ((*length).into(), content),
        _ => return None,
    };
    let (value, rest) = content.split_at_checked(length.into())?;
    let (whole, rest_of_der) = der.split_at_checked(der.len().checked_sub(rest.len())?)?;
    Some(Element {
        whole,
        value,
        rest: rest_of_der,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &[u8] = include_bytes!("../roots/amazon-root-ca-3.der");

    #[test]
    fn a_certificate_gives_its_subject_and_key() {
        let (subject, _) = subject_and_key(from_subject(ROOT).unwrap()).unwrap();
        assert_eq!(display_name(subject), Some("Amazon Root CA 3"));
        let key = subject_public_key_info(ROOT).unwrap();
        // A P-256 key: 91 bytes, the last 65 an uncompressed point.
        assert_eq!((key.len(), key[0], key[26]), (91, 0x30, 4));
    }

    #[test]
    fn a_part_is_found_where_it_lies_and_nowhere_else() {
        let part_of = |whole, of: &[u8]| part(whole, of.as_ptr().addr(), of.len());
        let (start, end) = ROOT.split_at(100);
        assert_eq!(part_of(ROOT, end), Some(end));
        assert_eq!(part_of(ROOT, &end[..0]), Some(&end[..0]));
        assert_eq!(part_of(start, &ROOT[50..150]), None);
        assert_eq!(part_of(end, start), None);
    }

    #[test]
    fn a_certificate_cut_anywhere_gives_nothing() {
        for length in 0..ROOT.len() {
            assert_eq!(subject_public_key_info(&ROOT[..length]), None);
        }
    }

    #[test]
    fn two_numbers_are_positive_in_der_and_nothing_else() {
        let numbers = |der: &'static [u8]| two_numbers(der);
        assert_eq!(
            numbers(b"\x30\x08\x02\x02\x00\x81\x02\x02\x01\x03"),
            Some((&b"\x81"[..], &b"\x01\x03"[..]))
        );
        // A set; something in front of the end of the sequence; something after it.
        assert_eq!(numbers(b"\x31\x08\x02\x02\x00\x81\x02\x02\x01\x03"), None);
        assert_eq!(numbers(b"\x30\x07\x02\x01\x7f\x02\x01\x03\x00"), None);
        assert_eq!(numbers(b"\x30\x06\x02\x01\x7f\x02\x01\x03\x00"), None);
        // No number; another tag; below zero; zero; a zero, and a length, that need not be there.
        assert_eq!(numbers(b"\x30\x05\x02\x00\x02\x01\x03"), None);
        assert_eq!(numbers(b"\x30\x06\x04\x01\x7f\x02\x01\x03"), None);
        assert_eq!(numbers(b"\x30\x06\x02\x01\x81\x02\x01\x03"), None);
        assert_eq!(numbers(b"\x30\x06\x02\x01\x7f\x02\x01\x00"), None);
        assert_eq!(numbers(b"\x30\x07\x02\x02\x00\x7f\x02\x01\x03"), None);
        assert_eq!(numbers(b"\x30\x81\x06\x02\x01\x7f\x02\x01\x03"), None);
        assert_eq!(numbers(b""), None);
    }

    #[test]
    fn a_name_without_a_common_name_shows_its_last_text() {
        // O=Org, OU=Unit
        let name = b"\x31\x0C\x30\x0A\x06\x03\x55\x04\x0A\x13\x03Org\x31\x0D\x30\x0B\x06\x03\x55\x04\x0B\x0C\x04Unit";
        assert_eq!(display_name(name), Some("Unit"));
        assert_eq!(display_name(b""), None);
        assert_eq!(display_name(b"\x31\x7F\x30"), None);
    }
}
