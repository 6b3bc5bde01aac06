//! Two parts of a certificate that rustls-webpki does not give out without `alloc`.
//!
//! Only for certificates that webpki has parsed: this walk skips what it does not need, without judging it.

/// The subject, a Name (RFC 5280 section 4.1.2.4) without its outer header.
pub(crate) fn subject(certificate: &[u8]) -> Option<&[u8]> {
    let element = element(from_subject(certificate)?)?;
    Some(element.value)
}

/// The SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7) with its header.
pub(crate) fn subject_public_key_info(certificate: &[u8]) -> Option<&[u8]> {
    let subject = element(from_subject(certificate)?)?;
    Some(element(subject.rest)?.whole)
}

/// The text of a Name for display: its common name, or else its last attribute that is text.
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

struct Element<'a> {
    whole: &'a [u8],
    value: &'a [u8],
    rest: &'a [u8],
}

/// Splits off the first DER element: one byte of tag, a length below 64 KiB, a value.
fn element(der: &[u8]) -> Option<Element<'_>> {
    let (length, content) = match der {
        [_, 0x82, high, low, content @ ..] => (u16::from_be_bytes([*high, *low]), content),
        [_, 0x81, length, content @ ..] => ((*length).into(), content),
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
        assert_eq!(
            subject(ROOT).and_then(display_name),
            Some("Amazon Root CA 3")
        );
        let key = subject_public_key_info(ROOT).unwrap();
        // A P-256 key: 91 bytes, the last 65 an uncompressed point.
        assert_eq!((key.len(), key[0], key[26]), (91, 0x30, 4));
    }

    #[test]
    fn a_certificate_cut_anywhere_gives_nothing() {
        for length in 0..ROOT.len() {
            assert_eq!(subject_public_key_info(&ROOT[..length]), None);
        }
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
