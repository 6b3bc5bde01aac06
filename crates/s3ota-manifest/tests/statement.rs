//! Test vectors of the release statement.
//!
//! FROZEN. Devices in the field verify signatures over exactly these bytes. If one of these tests
//! fails, the code is wrong and not the vector; another format needs another header line.
//!
//! The digests were computed apart from this crate, with `printf '…' | sha256sum`.

use s3ota_manifest::{Manifest, Sha256Digest};

fn assert_statement(document: &str, statement: &str, sha256: &str) {
    let mut document = document.as_bytes().to_vec();
    let manifest = Manifest::parse(&mut document).unwrap();
    let mut written = String::new();
    manifest.write_statement(&mut written).unwrap();
    assert_eq!(written, statement);
    assert_eq!(
        Sha256Digest(manifest.statement_digest()).to_string(),
        sha256
    );
}

#[test]
fn the_smallest_release() {
    assert_statement(
        r#"{"version":"1.2.0","url":"https://example.com/app.bin"}"#,
        "s3ota-release-v1\nversion=1.2.0\n",
        "06fc945f315139e0df2e2ff12df6bc3e7338c7f67b79a88acfab701831a0cff1",
    );
}

#[test]
fn a_release_with_every_field() {
    assert_statement(
        r#"{
            "signature": {"keyid": "k", "sig": "MEUCIQ=="},
            "serial": 1795500000,
            "downgrade": true,
            "min_version": "1.1",
            "channel": "stable",
            "expires": "2027-01-31T13:30:00.25+01:30",
            "rollout": 1.250e1,
            "board": "Gew\u00e4chshaus 2",
            "chip": "esp32c3",
            "project": "lamp",
            "sha256": "9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08",
            "size": 1048576,
            "url": "https://example.com/app.bin",
            "version": "v1.2-rc.1+build.7",
            "date": "2026-01-01", "notes": "new", "uploader": "ci", "more": [1, 2]
        }"#,
        "s3ota-release-v1\n\
         version=1.2.0-rc.1+build.7\n\
         size=1048576\n\
         sha256=9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\n\
         project=lamp\n\
         chip=esp32c3\n\
         board=Gewächshaus 2\n\
         channel=stable\n\
         rollout=12.5\n\
         min_version=1.1.0\n\
         downgrade=true\n\
         serial=1795500000\n\
         expires=2027-01-31T12:00:00Z\n",
        "fa2ff4e12351da8719e2f110c2c5e513b7a332fa4d79ce3d3f4c7db6b4e63bbe",
    );
}

#[test]
fn absent_fields_have_no_line() {
    assert_statement(
        r#"{"version":"10","url":"https://example.com/app.bin","rollout":1e-6,
            "sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}"#,
        "s3ota-release-v1\n\
         version=10.0.0\n\
         sha256=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n\
         rollout=0.000001\n",
        "5519df26be377537e9cfd2b68532558ec7f469517750d65dfe907a67a51210f5",
    );
    assert_statement(
        r#"{"version":"2.0.0","url":"https://example.com/app.bin","size":4294967295,
            "board":"a=b","rollout":100,"expires":"1970-01-01T00:00:00Z"}"#,
        "s3ota-release-v1\n\
         version=2.0.0\n\
         size=4294967295\n\
         board=a=b\n\
         rollout=100\n\
         expires=1970-01-01T00:00:00Z\n",
        "268768473f750b4e36f462960485f851d7d3c3b32a6ce5040ad8a37ab823d924",
    );
}

fn digest(document: &str) -> [u8; 32] {
    Manifest::parse(&mut document.as_bytes().to_vec())
        .unwrap_or_else(|error| panic!("{document}: {error}"))
        .statement_digest()
}

const FULL: &str = r#"{"version":"1.2.0","url":"https://example.com/app.bin","size":7,
    "sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","project":"p",
    "chip":"esp32",    "board":"b","channel":"c","rollout":5,"min_version":"1.0.0","downgrade":true,"serial":9,
    "expires":"2027-01-31T12:00:00Z","notes":"old",
    "signature":{"keyid":"k","sig":"s"}}"#;

#[test]
fn what_only_says_where_to_fetch_or_is_for_people_is_not_signed() {
    for (from, to) in [
        ("example.com/app.bin", "example.org/a?X-Amz-Signature=1"),
        ("old", "new"),
        (r#""keyid":"k""#, r#""keyid":"other""#),
        (r#""notes""#, r#""date":"today","product":1,"notes""#),
    ] {
        assert!(FULL.contains(from));
        assert_eq!(digest(&FULL.replace(from, to)), digest(FULL), "{to}");
    }
}

#[test]
fn every_field_that_decides_what_runs_is_signed() {
    for (from, to) in [
        ("1.2.0", "1.2.1"),
        ("1.2.0", "1.2.0+build"),
        (r#""size":7"#, r#""size":8"#),
        ("e3b0", "e3b1"),
        (r#""project":"p""#, r#""project":"q""#),
        ("esp32", "esp32s3"),
        (r#""board":"b""#, r#""board":"B""#),
        (r#""channel":"c""#, r#""channel":"beta""#),
        (r#""rollout":5"#, r#""rollout":100"#),
        (r#""min_version":"1.0.0""#, r#""min_version":"0.9.0""#),
        (r#""downgrade":true"#, r#""downgrade":false"#),
        (r#""serial":9"#, r#""serial":10"#),
        ("2027-01-31T12:00:00Z", "2027-01-31T12:00:01Z"),
        // Taking a field away, by giving it a name that nobody knows.
        ("size", "x"),
        ("sha256", "x"),
        ("project", "x"),
        ("chip", "x"),
        ("board", "x"),
        ("channel", "x"),
        ("rollout", "x"),
        ("min_version", "x"),
        ("downgrade", "x"),
        ("serial", "x"),
        ("expires", "x"),
    ] {
        assert!(FULL.contains(from));
        assert_ne!(digest(&FULL.replace(from, to)), digest(FULL), "{from} {to}");
    }
}
