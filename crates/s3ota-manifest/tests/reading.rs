//! What a device reads, and what it refuses to read.

use s3ota_manifest::{
    MAX_BOARD, MAX_CHANNEL, MAX_CHIP, MAX_DELTAS, MAX_DOCUMENT, MAX_KEYID, MAX_PROJECT,
    MAX_SIGNATURE, MAX_URL, Manifest, ManifestError, Rollout, RolloutError, TextProblem, Timestamp,
    TimestampError, UrlError, Version, VersionError,
};

const MINIMAL: &str = r#"{"version":"1.2.0","url":"https://bucket.s3.amazonaws.com/app.bin"}"#;

const FULL: &str = r#"{
  "version": "1.2.0",
  "url": "https://bucket.s3.amazonaws.com/app.bin?X-Amz-Expires=60&X-Amz-Signature=f00",
  "size": 1048576,
  "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
  "project": "lamp",
  "chip": "esp32c3",
  "board": "Gewächshaus",
  "channel": "stable",
  "rollout": 12.5,
  "min_version": "1.1",
  "downgrade": true,
  "serial": 18446744073709551615,
  "expires": "2027-01-31T12:00:00Z",
  "signature": {"keyid": "release-2026", "sig": "MEUCIQ=="},
  "date": "2026-12-01T08:00:00Z",
  "notes": "Line 1\nLine 2 😀",
  "uploader": "ci"
}
"#;

/// Reads a document and gives its manifest to a test.
fn read<T>(document: &str, test: impl FnOnce(Manifest<'_>) -> T) -> T {
    let mut bytes = document.as_bytes().to_vec();
    match Manifest::parse(&mut bytes) {
        Ok(manifest) => test(manifest),
        Err(error) => panic!("{document}: {error}"),
    }
}

fn refusal(document: impl AsRef<[u8]>) -> ManifestError {
    let document = document.as_ref();
    match Manifest::parse(&mut document.to_vec()) {
        Ok(_) => panic!("accepted: {}", String::from_utf8_lossy(document)),
        Err(error) => error,
    }
}

/// The minimal manifest with more members.
fn with(members: &str) -> String {
    MINIMAL.replacen('{', &format!("{{{members},"), 1)
}

fn assert_full(manifest: Manifest<'_>) {
    assert_eq!(manifest.version.to_string(), "1.2.0");
    assert_eq!(
        manifest.url.as_str(),
        "https://bucket.s3.amazonaws.com/app.bin?X-Amz-Expires=60&X-Amz-Signature=f00"
    );
    assert_eq!(manifest.size, Some(1_048_576));
    assert_eq!(
        manifest.sha256.unwrap().to_string(),
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    );
    assert_eq!(manifest.project, Some("lamp"));
    assert_eq!(manifest.chip, Some("esp32c3"));
    assert_eq!(manifest.board, Some("Gewächshaus"));
    assert_eq!(manifest.channel, Some("stable"));
    assert_eq!(manifest.rollout, Some("12.5".parse().unwrap()));
    assert_eq!(manifest.min_version, Some(Version::new(1, 1, 0)));
    assert!(manifest.downgrade);
    assert_eq!(manifest.serial, Some(u64::MAX));
    assert_eq!(
        manifest.expires,
        Timestamp::from_unix_seconds(1_801_396_800)
    );
    let signature = manifest.signature.unwrap();
    assert_eq!(signature.keyid, "release-2026");
    assert_eq!(signature.sig, "MEUCIQ==");
}

#[test]
fn two_fields_are_a_manifest() {
    read(MINIMAL, |manifest| {
        assert_eq!(manifest.version, Version::new(1, 2, 0));
        assert_eq!(manifest.url.host(), "bucket.s3.amazonaws.com");
        assert_eq!(manifest.url.path_and_query(), "/app.bin");
        assert_eq!(manifest.size, None);
        assert_eq!(manifest.sha256, None);
        assert_eq!(manifest.project, None);
        assert_eq!(manifest.chip, None);
        assert_eq!(manifest.board, None);
        assert_eq!(manifest.channel, None);
        assert_eq!(manifest.rollout, None);
        assert_eq!(manifest.min_version, None);
        assert!(!manifest.downgrade);
        assert_eq!(manifest.serial, None);
        assert_eq!(manifest.expires, None);
        assert_eq!(manifest.signature, None);
    });
}

#[test]
fn every_field_is_read() {
    read(FULL, assert_full);
}

#[test]
fn fields_may_come_in_any_order() {
    let mut lines: Vec<&str> = FULL
        .lines()
        .filter(|line| line.starts_with(' '))
        .map(|line| line.trim_end_matches(','))
        .collect();
    for _ in 0..lines.len() {
        lines.rotate_left(1);
        read(&format!("{{{}}}", lines.join(",")), assert_full);
        lines.reverse();
        read(&format!("{{{}}}", lines.join(",")), assert_full);
        lines.reverse();
    }
}

#[test]
fn escapes_are_understood_as_other_tools_write_them() {
    // Python and PHP escape non-ASCII, PHP also `/`; Go escapes `&`.
    let escaped = FULL
        .replace("ä", "\\u00e4")
        .replace('&', "\\u0026")
        .replace('/', "\\/")
        .replace("\"chip\"", "\"\\u0063hip\"");
    assert_ne!(escaped, FULL);
    read(&escaped, assert_full);
}

#[test]
fn unknown_fields_of_any_shape_are_skipped() {
    for value in [
        "null",
        "true",
        "-1.5e300",
        r#""\ud83d\ude00 \"}""#,
        "[]",
        "{}",
        r#"[[{"version":"9.9.9"},{"url":["https://evil.example/"]}],{"a":{"b":[null]}}]"#,
        r#"{"version":"9.9.9","url":"http://evil.example/","size":0,"signature":null}"#,
    ] {
        read(
            &FULL.replacen('{', &format!("{{\"x\":{value},"), 1),
            assert_full,
        );
        let last = FULL.replace("\"ci\"", &format!("\"ci\",\"x\":{value}"));
        read(&last, assert_full);
        let within_signature = FULL.replace("{\"keyid\"", &format!("{{\"x\":{value},\"keyid\""));
        read(&within_signature, assert_full);
    }
}

#[test]
fn fields_for_people_may_have_any_shape() {
    for field in ["date", "notes", "uploader"] {
        read(&with(&format!(r#""{field}":[null,{{}}]"#)), |_| ());
    }
}

#[test]
fn names_are_case_sensitive() {
    assert_eq!(
        refusal(MINIMAL.replace("version", "Version")),
        ManifestError::MissingField("version")
    );
}

#[test]
fn a_missing_field_is_named() {
    assert_eq!(refusal("{}"), ManifestError::MissingField("version"));
    assert_eq!(
        refusal(r#"{"version":"1.0.0"}"#),
        ManifestError::MissingField("url")
    );
    assert_eq!(
        refusal(with(r#""signature":{"sig":"x"}"#)),
        ManifestError::MissingField("signature.keyid")
    );
    assert_eq!(
        refusal(with(r#""signature":{"keyid":"x"}"#)),
        ManifestError::MissingField("signature.sig")
    );
}

#[test]
fn a_field_that_appears_twice_is_refused_even_with_the_same_value() {
    for field in [
        "version",
        "url",
        "size",
        "sha256",
        "project",
        "chip",
        "board",
        "channel",
        "rollout",
        "min_version",
        "downgrade",
        "serial",
        "expires",
        "signature",
    ] {
        let name = format!("\"{field}\": ");
        let line = FULL.lines().find(|line| line.contains(&name)).unwrap();
        let twice = FULL.replace("\"ci\"", &format!("\"ci\",{}", line.trim_end_matches(',')));
        assert_eq!(refusal(twice), ManifestError::DuplicateKey(field));
        // Its value does not matter.
        let twice = FULL.replace("\"ci\"", &format!("\"ci\",\"{field}\":null"));
        assert_eq!(refusal(twice), ManifestError::DuplicateKey(field));
    }
    assert_eq!(
        refusal(FULL.replace("{\"keyid\"", "{\"keyid\":\"x\",\"keyid\"")),
        ManifestError::DuplicateKey("signature.keyid")
    );
    assert_eq!(
        refusal(FULL.replace("\"sig\"", "\"sig\":\"x\",\"sig\"")),
        ManifestError::DuplicateKey("signature.sig")
    );
}

#[test]
fn a_duplicate_in_disguise_is_refused() {
    assert_eq!(
        refusal(with(r#""ver\u0073ion":"9.9.9""#)),
        ManifestError::DuplicateKey("version")
    );
    assert_eq!(
        refusal(MINIMAL.replace('}', r#","\u0075\u0072\u006c":"https://evil.example/"}"#)),
        ManifestError::DuplicateKey("url")
    );
}

#[test]
fn null_is_not_the_same_as_absent() {
    for field in [
        "version",
        "url",
        "size",
        "sha256",
        "project",
        "chip",
        "board",
        "channel",
        "rollout",
        "min_version",
        "downgrade",
        "serial",
        "expires",
        "signature",
    ] {
        assert!(matches!(
            refusal(format!(r#"{{"{field}":null}}"#)),
            ManifestError::WrongType { field: wrong, .. } if wrong == field
        ));
    }
}

#[test]
fn a_wrong_type_is_named() {
    let (number, text) = ("1.0", r#""1""#);
    for (field, value) in [
        ("version", number),
        ("version", "[]"),
        ("url", "{}"),
        ("size", text),
        ("sha256", number),
        ("project", number),
        ("chip", "true"),
        ("board", number),
        ("rollout", text),
        ("rollout", "false"),
        ("channel", number),
        ("min_version", number),
        ("downgrade", text),
        ("downgrade", "1"),
        ("serial", text),
        ("expires", "1801396800"),
        ("signature", text),
        ("signature", "[]"),
    ] {
        let error = refusal(format!(r#"{{"{field}":{value}}}"#));
        assert!(
            matches!(error, ManifestError::WrongType { field: wrong, .. } if wrong == field),
            "{field}: {error:?}"
        );
    }
    assert_eq!(
        refusal(with(r#""signature":{"keyid":1}"#)),
        ManifestError::WrongType {
            field: "signature.keyid",
            expected: "a string"
        }
    );
}

#[test]
fn a_value_that_makes_no_sense_is_named() {
    for (member, error) in [
        (
            r#""version":"1.x""#,
            ManifestError::Version(VersionError::NotANumber),
        ),
        (
            r#""version":"""#,
            ManifestError::Version(VersionError::Empty),
        ),
        (r#""url":"""#, ManifestError::Url(UrlError::Empty)),
        (
            r#""url":"http://example.com/app.bin""#,
            ManifestError::Url(UrlError::Http),
        ),
        (
            r#""url":"https://example.com/a\r\nb""#,
            ManifestError::Url(UrlError::InvalidCharacter { at: 21 }),
        ),
        (r#""size":0"#, ManifestError::Size),
        (r#""size":-1"#, ManifestError::Size),
        (r#""size":-0"#, ManifestError::Size),
        (r#""size":4294967296"#, ManifestError::Size),
        (r#""size":1.0"#, ManifestError::Size),
        (r#""size":1e6"#, ManifestError::Size),
        (r#""sha256":"""#, ManifestError::Sha256),
        (r#""sha256":"9f86d081""#, ManifestError::Sha256),
        (
            r#""rollout":101"#,
            ManifestError::Rollout(RolloutError::OutOfRange),
        ),
        (
            r#""rollout":-0.5"#,
            ManifestError::Rollout(RolloutError::OutOfRange),
        ),
        (
            r#""expires":"tomorrow""#,
            ManifestError::Expires(TimestampError::Syntax),
        ),
        (
            r#""expires":"2027-02-29T00:00:00Z""#,
            ManifestError::Expires(TimestampError::NoSuchMoment),
        ),
    ] {
        assert_eq!(refusal(format!("{{{member}}}")), error, "{member}");
    }
    for size in [1, u32::MAX] {
        read(&with(&format!(r#""size":{size}"#)), |manifest| {
            assert_eq!(manifest.size, Some(size));
        });
    }
    for (rollout, expected) in [("0", Rollout::NOBODY), ("1e2", Rollout::EVERYONE)] {
        read(&with(&format!(r#""rollout":{rollout}"#)), |manifest| {
            assert_eq!(manifest.rollout, Some(expected));
        });
    }
}

#[test]
fn texts_are_bounded_and_hold_no_control_characters() {
    type Wrap = fn(&str) -> String;
    let fields: [(&str, usize, Wrap); 6] = [
        ("project", MAX_PROJECT, |text| {
            with(&format!(r#""project":"{text}""#))
        }),
        ("channel", MAX_CHANNEL, |text| {
            with(&format!(r#""channel":"{text}""#))
        }),
        ("chip", MAX_CHIP, |text| {
            with(&format!(r#""chip":"{text}""#))
        }),
        ("board", MAX_BOARD, |text| {
            with(&format!(r#""board":"{text}""#))
        }),
        ("signature.keyid", MAX_KEYID, |text| {
            with(&format!(r#""signature":{{"keyid":"{text}","sig":"x"}}"#))
        }),
        ("signature.sig", MAX_SIGNATURE, |text| {
            with(&format!(r#""signature":{{"keyid":"x","sig":"{text}"}}"#))
        }),
    ];
    for (field, limit, wrap) in fields {
        let error = |text: &str| match refusal(wrap(text)) {
            ManifestError::Text {
                field: wrong,
                problem,
            } if wrong == field => problem,
            other => panic!("{field}: {other:?}"),
        };
        assert_eq!(error(""), TextProblem::Empty);
        read(&wrap(&"a".repeat(limit)), |_| ());
        assert_eq!(
            error(&"a".repeat(limit + 1)),
            TextProblem::TooLong { limit }
        );
        assert_eq!(error(&"ä".repeat(limit)), TextProblem::TooLong { limit });
        for text in ["a\\nversion=9.9.9", "\\r", "\\u0000", "\u{7f}", "\\u0085"] {
            assert_eq!(error(text), TextProblem::ControlCharacter, "{text}");
        }
    }
}

#[test]
fn a_pre_signed_url_of_2048_bytes_fits() {
    let head = "https://bucket.s3.amazonaws.com/app.bin?X-Amz-Security-Token=";
    let url = format!("{head}{}", "x".repeat(MAX_URL - head.len()));
    let document = |url: &str| format!(r#"{{"version":"1.2.0","url":"{url}"}}"#);
    read(&document(&url), |manifest| {
        assert_eq!(manifest.url.as_str(), url);
    });
    // Escapes do not count.
    read(
        &document(&url.replace('x', "\\u0078").replacen("\\u0078", "x", 900)),
        |manifest| {
            assert_eq!(manifest.url.as_str(), url);
        },
    );
    assert_eq!(
        refusal(document(&format!("{url}x"))),
        ManifestError::Url(UrlError::TooLong)
    );
}

#[test]
fn a_document_of_8_kib_fits() {
    let notes = |length: usize| with(&format!(r#""notes":"{}""#, "x".repeat(length)));
    let empty = notes(0).len();
    let longest = notes(MAX_DOCUMENT - empty);
    assert_eq!(longest.len(), MAX_DOCUMENT);
    read(&longest, |_| ());
    assert_eq!(refusal(format!("{longest} ")), ManifestError::TooLarge);
}

#[test]
fn what_is_no_object_is_no_manifest() {
    for document in [
        "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>",
        "[]",
        "\"1.2.0\"",
        "null",
        "1",
        "version=1.2.0",
    ] {
        assert_eq!(refusal(document), ManifestError::NotAnObject, "{document}");
    }
}

#[test]
fn nothing_may_follow_the_document() {
    read(&format!("\r\n\t {MINIMAL}\r\n\t "), |_| ());
    for garbage in ["}", "{}", "x", ",", "\0", "/", "\u{feff}"] {
        assert_eq!(
            refusal(format!("{MINIMAL} {garbage}")),
            ManifestError::TrailingGarbage {
                at: MINIMAL.len() + 1
            }
        );
    }
}

#[test]
fn a_byte_order_mark_is_named() {
    assert_eq!(
        refusal(format!("\u{feff}{MINIMAL}")),
        ManifestError::ByteOrderMark
    );
}

#[test]
fn broken_utf_8_is_named_wherever_it_is() {
    let text = with(r#""notes":"??""#).into_bytes();
    let at = text.iter().position(|byte| *byte == b'?').unwrap();
    for broken in [*b"\xFF?", *b"\xC3?", *b"\xED\xA0", *b"\xC0\x80"] {
        let mut document = text.clone();
        document[at..at + 2].copy_from_slice(&broken);
        assert_eq!(refusal(document), ManifestError::Utf8 { at });
    }
}

#[test]
fn a_document_that_was_cut_is_never_a_manifest() {
    let document = FULL.trim_end().as_bytes();
    for length in 0..document.len() {
        assert_eq!(
            refusal(&document[..length]),
            ManifestError::Truncated,
            "{length}"
        );
    }
}

#[test]
fn only_the_url_has_a_code_of_its_own() {
    assert_eq!(refusal(r#"{"url":"http://a/"}"#).code(), "manifest.url");
    for document in ["", "{}", "<", r#"{"url":1}"#, r#"{"version":"x"}"#] {
        assert_eq!(refusal(document).code(), "manifest.invalid", "{document}");
    }
}

#[test]
fn errors_speak_to_people() {
    for (document, sentence) in [
        (
            r#"{"version":"1.0.0"}"#,
            "the manifest has no `url`; add it",
        ),
        (
            r#"{"url":"http://a/"}"#,
            "the manifest's `url`: the URL is http://, which anyone on the network path can change; use https://",
        ),
        (
            r#"{"version":"1.0.0",}"#,
            "the manifest is not valid JSON at byte 19: expected `\"`",
        ),
        (
            r#"{"chip":""}"#,
            "the manifest's `chip` is empty; fill it in or leave the field out",
        ),
    ] {
        assert_eq!(refusal(document).to_string(), sentence);
    }
}

#[test]
fn a_serial_is_a_whole_number_of_64_bits() {
    for serial in ["-1", "1.0", "1e3", "18446744073709551616"] {
        assert_eq!(
            refusal(with(&format!(r#""serial":{serial}"#))),
            ManifestError::Serial,
            "{serial}"
        );
    }
    read(&with(r#""serial":0"#), |manifest| {
        assert_eq!(manifest.serial, Some(0));
    });
}

#[test]
fn a_least_version_is_a_version() {
    for version in ["", "1.x", "1.02"] {
        assert!(matches!(
            refusal(with(&format!(r#""min_version":"{version}""#))),
            ManifestError::MinVersion(_)
        ));
    }
}

const DELTA: &str = r#"{"from":"1.1","base_sha256":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08","base_size":9,"url":"https://a/d","size":3}"#;

#[test]
fn deltas_and_the_compressed_image_are_read() {
    let document = with(&format!(
        r#""deltas":[{DELTA}, {DELTA}],"compressed":{{"x":[{{}}],"size":7,"url":"https:\/\/a\/c"}}"#
    ));
    read(&document, |manifest| {
        assert_eq!(manifest.deltas().count(), 2);
        let delta = manifest.deltas().next().unwrap();
        assert_eq!(delta.from, Version::new(1, 1, 0));
        assert_eq!(delta.base.as_bytes()[..2], [0x9f, 0x86]);
        assert_eq!((delta.base_size, delta.artefact.size), (9, 3));
        assert_eq!(delta.artefact.url.as_str(), "https://a/d");
        let compressed = manifest.compressed().unwrap();
        assert_eq!(
            (compressed.url.as_str(), compressed.size),
            ("https://a/c", 7)
        );
    });
    read(MINIMAL, |manifest| {
        assert_eq!(manifest.deltas().count(), 0);
        assert_eq!(manifest.compressed(), None);
    });
}

/// They say how an image may be fetched, and not what it is: a mistake in one keeps no device from its update.
#[test]
fn what_cannot_be_read_of_a_delta_is_skipped_and_the_next_is_read() {
    let entries = [
        "null".into(),
        "7".into(),
        r#""text""#.into(),
        "[]".into(),
        format!("[[{DELTA}]]"),
        "{}".into(),
        DELTA.replace("1.1", "latest"),
        DELTA.replace("9f86", "9g86"),
        DELTA.replace("9f86", ""),
        DELTA.replace(":9,", ":0,"),
        DELTA.replace(":9,", ":-9,"),
        DELTA.replace(":9,", ":9.5,"),
        DELTA.replace(":9,", ":4294967296,"),
        DELTA.replace(":9,", r#":"9","#),
        DELTA.replace(":9,", ":null,"),
        DELTA.replace("https", "http"),
        DELTA.replace(r#""https://a/d""#, r#"["https://a/d"]"#),
        DELTA.replace(r#""size":3"#, r#""length":3"#),
        DELTA.replace(r#""size":3"#, r#""size":{"size":3}"#),
        DELTA.replace(r#""size":3"#, r#""size":3,"size":3"#),
        DELTA.replace(r#""from":"1.1""#, r#""from":"1.1","fr\u006fm":"1.1""#),
    ];
    for entry in entries {
        let document = with(&format!(
            r#""deltas":[{entry},{DELTA}],"compressed":{entry}"#
        ));
        read(&document, |manifest| {
            assert_eq!(manifest.deltas().count(), 1, "{document}");
        });
        let document = with(&format!(r#""deltas":{entry}"#));
        read(&document, |manifest| {
            assert_eq!(manifest.deltas().count(), 0, "{document}");
        });
    }
    for entry in [
        "null",
        "[{}]",
        "7",
        r#"{"size":3}"#,
        r#"{"size":3,"url":"x"}"#,
    ] {
        read(&with(&format!(r#""compressed":{entry}"#)), |manifest| {
            assert_eq!(manifest.compressed(), None, "{entry}");
        });
    }
}

#[test]
fn more_deltas_than_a_device_keeps_are_skipped() {
    let many = [DELTA; MAX_DELTAS + 3].join(",");
    read(&with(&format!(r#""deltas":[{many}]"#)), |manifest| {
        assert_eq!(manifest.deltas().count(), MAX_DELTAS);
    });
}

#[test]
fn broken_json_in_a_delta_is_an_error_all_the_same() {
    for broken in [
        r#""deltas":[{"from":}]"#,
        r#""deltas":[{]"#,
        r#""compressed":{"url" 1}"#,
    ] {
        assert!(
            matches!(refusal(with(broken)), ManifestError::Syntax { .. }),
            "{broken}"
        );
    }
    let twice = with(&format!(r#""deltas":[],"deltas":[{DELTA}]"#));
    assert_eq!(refusal(twice), ManifestError::DuplicateKey("deltas"));
}
