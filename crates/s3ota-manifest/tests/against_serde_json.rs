//! Our reader against serde_json's, on documents that were generated and then damaged.
//!
//! They must agree: what is JSON to one is JSON to the other, and a manifest that we read has the
//! values that serde_json finds in it. The random numbers have a fixed seed, so a failure repeats.

mod random;

use std::fmt::Write;

use random::Random;
use s3ota_manifest::{
    Artefact, HttpsUrl, Manifest, ManifestError, Sha256Digest, Timestamp, Version,
};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

const KNOWN: [&str; 16] = [
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
    "deltas",
    "compressed",
];

/// All members of an object in their order, duplicates too.
struct Members(Vec<(String, Value)>);

impl Members {
    fn read(document: &[u8]) -> Result<Members, serde_json::Error> {
        struct ToMembers;
        impl<'de> Visitor<'de> for ToMembers {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        let mut deserializer = serde_json::Deserializer::from_slice(document);
        let members = deserializer.deserialize_map(ToMembers)?;
        deserializer.end()?;
        Ok(members)
    }

    /// The one value of a field.
    fn get(&self, name: &str) -> Option<&Value> {
        let mut values = self.0.iter().filter(|(key, _)| key == name);
        let value = values.next();
        assert!(
            values.next().is_none(),
            "a duplicate of {name} was accepted"
        );
        value.map(|(_, value)| value)
    }
}

/// What both say about one document; true where it is a manifest.
fn judge(document: &[u8]) -> bool {
    let text = String::from_utf8_lossy(document);
    let oracle = serde_json::from_slice::<Value>(document);
    let mut buffer = document.to_vec();
    match (Manifest::parse(&mut buffer), oracle) {
        (Ok(manifest), Ok(_)) => {
            compare(&manifest, &Members::read(document).unwrap());
            true
        }
        // RFC 8259 has numbers of any size; we do not read the ones that we skip.
        (Ok(_), Err(error)) if error.to_string().contains("number out of range") => true,
        (Ok(_), Err(error)) => panic!("only we accept {text}: {error}"),
        (
            Err(
                error @ (ManifestError::Syntax { .. }
                | ManifestError::Truncated
                | ManifestError::TrailingGarbage { .. }
                | ManifestError::Utf8 { .. }
                | ManifestError::ByteOrderMark),
            ),
            Ok(_),
        ) => panic!("only we refuse {text}: {error}"),
        (Err(ManifestError::NotAnObject), Ok(value)) => {
            assert!(!value.is_object(), "{text}");
            false
        }
        (Err(_), _) => false,
    }
}

fn compare(ours: &Manifest<'_>, oracle: &Members) {
    let string = |name| oracle.get(name).map(|value| value.as_str().unwrap());
    let version = Version::parse(string("version").unwrap()).unwrap();
    assert_eq!(ours.version.to_string(), version.to_string());
    assert_eq!(ours.url, HttpsUrl::parse(string("url").unwrap()).unwrap());
    assert_eq!(
        ours.size.map(u64::from),
        oracle.get("size").map(|value| value.as_u64().unwrap())
    );
    let sha256 = string("sha256").map(|text| text.parse::<Sha256Digest>().unwrap());
    assert_eq!(ours.sha256, sha256);
    assert_eq!(ours.project, string("project"));
    assert_eq!(ours.chip, string("chip"));
    assert_eq!(ours.board, string("board"));
    assert_eq!(ours.channel, string("channel"));
    let min_version = string("min_version").map(|text| Version::parse(text).unwrap());
    assert_eq!(ours.min_version, min_version);
    let downgrade = oracle
        .get("downgrade")
        .map(|value| value.as_bool().unwrap());
    assert_eq!(ours.downgrade, downgrade.unwrap_or(false));
    let serial = oracle.get("serial").map(|value| value.as_u64().unwrap());
    assert_eq!(ours.serial, serial);
    let expires = string("expires").map(|text| Timestamp::parse(text).unwrap());
    assert_eq!(ours.expires, expires);
    match (ours.rollout, oracle.get("rollout")) {
        (None, None) => {}
        (Some(ours), Some(oracle)) => {
            let ours: f64 = ours.to_string().parse().unwrap();
            let below = oracle.as_f64().unwrap() - ours;
            assert!((-1e-9..0.000_001_001).contains(&below), "{oracle} {ours}");
        }
        (ours, oracle) => panic!("{ours:?} {oracle:?}"),
    }
    match (ours.signature, oracle.get("signature")) {
        (None, None) => {}
        (Some(ours), Some(oracle)) => {
            assert_eq!(Some(ours.keyid), oracle["keyid"].as_str());
            assert_eq!(Some(ours.sig), oracle["sig"].as_str());
        }
        (ours, oracle) => panic!("{ours:?} {oracle:?}"),
    }
    // What is read has the oracle's values. What is skipped may have any: serde_json's `Value` does not tell a member that stands
    // twice from one that does not.
    let entries = oracle.get("deltas").and_then(Value::as_array);
    let mut entries = entries.into_iter().flatten();
    for delta in ours.deltas() {
        let is_same = |entry: &&Value| {
            let text = |name: &str| entry[name].as_str().unwrap_or_default();
            is_artefact(&delta.artefact, entry)
                && Version::parse(text("from")) == Ok(delta.from)
                && text("base_sha256").parse() == Ok(delta.base)
                && entry["base_size"].as_u64() == Some(delta.base_size.into())
        };
        assert!(entries.any(|entry| is_same(&entry)), "{delta:?}");
    }
    if let Some(compressed) = ours.compressed() {
        assert!(is_artefact(&compressed, oracle.get("compressed").unwrap()));
    }
}

fn is_artefact(ours: &Artefact<'_>, oracle: &Value) -> bool {
    let url = oracle["url"].as_str().map(HttpsUrl::parse);
    url == Some(Ok(ours.url)) && oracle["size"].as_u64() == Some(ours.size.into())
}

fn white_space(random: &mut Random) -> &'static str {
    random.pick(&["", "", "", " ", "\n  ", "\t", "\r\n"])
}

/// Writes a string with some of its characters escaped.
fn write_string(random: &mut Random, text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '/' if random.below(3) == 0 => out.push_str("\\/"),
            '\n' => out.push_str("\\n"),
            _ if (character as u32) < 0x20 || random.below(12) == 0 => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}").unwrap();
                }
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}

fn write_any_value(random: &mut Random, depth: usize, out: &mut String) {
    match random.below(if depth < 12 { 8 } else { 5 }) {
        0 => out.push_str(random.pick(&["null", "true", "false"])),
        1 => out.push_str(random.pick(&["0", "-0", "1.5e3", "-12.25E-2", "18446744073709551616"])),
        2 => write!(out, "{}", random.next() as i64 >> random.below(60)).unwrap(),
        3 | 4 => {
            let text = random.pick(&["", "text", "é € 😀", "]}\",:", "\n\u{1}\u{7f}", "version"]);
            write_string(random, text, out);
        }
        5 => {
            out.push('[');
            for index in 0..random.below(4) {
                out.push_str(if index > 0 { "," } else { white_space(random) });
                write_any_value(random, depth + 1, out);
            }
            out.push(']');
        }
        _ => {
            out.push('{');
            for index in 0..random.below(4) {
                out.push_str(if index > 0 { "," } else { white_space(random) });
                let name = random.pick(&["", "a", "b c", "version", "ü"]);
                write_string(random, name, out);
                out.push_str(random.pick(&[":", ": ", " :\n"]));
                write_any_value(random, depth + 1, out);
            }
            out.push('}');
        }
    }
}

fn write_known_value(random: &mut Random, field: &str, out: &mut String) {
    let texts: &[&str] = match field {
        "version" | "min_version" => &["1.2.0", "v1.2", "1-rc.1", "0.0.1+b.7"],
        "url" => &[
            "https://a.example/x",
            "HTTPS://[::1]:9443/?a=b&c=d#e",
            "https://b",
        ],
        "sha256" => &["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
        "chip" => &["esp32", "esp32c3"],
        "project" | "board" | "channel" => &["b", "é \"2\" 😀 \\/"],
        "expires" => &["2027-01-31T12:00:00Z", "2027-01-31 12:00:00.5+01:00"],
        "downgrade" => return out.push_str(random.pick(&["true", "false"])),
        "serial" => {
            return out.push_str(random.pick(&["0", "1795500000", "18446744073709551615"]));
        }
        "size" => return out.push_str(random.pick(&["1", "1048576", "4294967295"])),
        "rollout" => {
            return out.push_str(random.pick(&["0", "100", "12.5", "1e-1", "33.333333333333336"]));
        }
        "deltas" => {
            out.push('[');
            for index in 0..random.below(4) {
                out.push_str(if index > 0 { "," } else { white_space(random) });
                write_artefact(random, true, out);
            }
            return out.push(']');
        }
        "compressed" => return write_artefact(random, false, out),
        "signature" => {
            let space = white_space(random);
            out.push_str(random.pick(&["{", "{\"x\":[],"]));
            write!(out, "\"keyid\":{space}\"k\",\"sig\":\"MEUCIQ==\"{space}}}").unwrap();
            return;
        }
        _ => unreachable!("{field}"),
    };
    let text = random.pick(texts);
    write_string(random, text, out);
}

fn write_artefact(random: &mut Random, is_delta: bool, out: &mut String) {
    let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    out.push('{');
    if is_delta {
        let from = random.pick(&["1.2.0", "v1.1", "1.0.0-rc.1"]);
        write!(
            out,
            r#""from":"{from}","base_sha256":"{hash}","base_size":{},"#,
            1 + random.below(9)
        )
        .unwrap();
    }
    out.push_str(white_space(random));
    let name = random.pick(&["url", "url", "u"]);
    write_string(random, name, out);
    out.push(':');
    let url = random.pick(&["https://a/d", "https://[::1]:9443/?a=b", "x"]);
    write_string(random, url, out);
    write!(out, r#","size":{}"#, random.below(4)).unwrap();
    if random.below(3) == 0 {
        out.push_str(r#","more":"#);
        write_any_value(random, 3, out);
    }
    out.push('}');
}

fn generate(random: &mut Random) -> String {
    let mut names: Vec<&str> = vec!["version", "url"];
    names.extend(KNOWN[2..].iter().filter(|_| random.below(3) == 0));
    for _ in 0..random.below(4) {
        names.push(random.pick(&["notes", "date", "", "versio", "version ", "x\"y", "ключ"]));
    }
    for index in (1..names.len()).rev() {
        names.swap(index, random.below(index + 1));
    }
    let mut document = String::from(white_space(random));
    document.push('{');
    for (index, name) in names.iter().enumerate() {
        document.push_str(if index > 0 { "," } else { "" });
        document.push_str(white_space(random));
        write_string(random, name, &mut document);
        document.push_str(white_space(random));
        document.push(':');
        document.push_str(white_space(random));
        if KNOWN.contains(name) {
            write_known_value(random, name, &mut document);
        } else {
            write_any_value(random, 1, &mut document);
        }
        document.push_str(white_space(random));
    }
    document.push('}');
    document.push_str(white_space(random));
    document
}

fn damage(random: &mut Random, document: &mut Vec<u8>) {
    const PIECES: [&[u8]; 24] = [
        b"\"",
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b" ",
        b"0",
        b"-",
        b".",
        b"e9",
        b"null",
        b"\\u",
        b"\\ud83d",
        b"\xC3",
        b"\xA9",
        b"\xEF\xBB\xBF",
        b"\0",
        b"\n",
        b"\"version\":\"9\",",
        b"\"ver\\u0073ion\":\"9\",",
        b"/",
    ];
    let at = random.below(document.len() + 1);
    match random.below(6) {
        0 => document.truncate(at),
        1 => {
            let end = (at + 1 + random.below(8)).min(document.len());
            document.drain(at..end);
        }
        2 => {
            let end = (at + 1 + random.below(30)).min(document.len());
            let copy = document[at..end].to_vec();
            let to = random.below(document.len() + 1);
            document.splice(to..to, copy);
        }
        3 if at < document.len() => document[at] ^= 1 << random.below(8),
        _ => {
            let piece = random.pick(&PIECES);
            document.splice(at..at, piece.iter().copied());
        }
    }
}

#[test]
fn generated_manifests_are_read_with_the_same_values() {
    let mut random = Random::new(0x5330_7461);
    for _ in 0..10_000 {
        let document = generate(&mut random);
        assert!(judge(document.as_bytes()), "{document}");
    }
}

#[test]
fn both_agree_on_what_is_json() {
    let mut random = Random::new(0x0D15_EA5E);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..100_000 {
        let mut document = generate(&mut random).into_bytes();
        for _ in 0..=random.below(3) {
            damage(&mut random, &mut document);
        }
        match judge(&document) {
            true => accepted += 1,
            false => refused += 1,
        }
    }
    // Damage often hits a value that is skipped or white space: both outcomes must be common.
    assert!(accepted > 5_000 && refused > 50_000, "{accepted} {refused}");
}

#[test]
fn every_flipped_bit_is_judged_alike() {
    let mut random = Random::new(0xB17);
    for _ in 0..20 {
        let document = generate(&mut random).into_bytes();
        for at in 0..document.len() {
            for bit in 0..8 {
                let mut flipped = document.clone();
                flipped[at] ^= 1 << bit;
                judge(&flipped);
            }
        }
    }
}

#[test]
fn noise_is_refused_without_a_panic() {
    let mut random = Random::new(0x4015E);
    for _ in 0..50_000 {
        let noise: Vec<u8> = (0..random.below(64)).map(|_| random.next() as u8).collect();
        assert!(!judge(&noise));
        let json_like: Vec<u8> = (0..random.below(64))
            .map(|_| br#"{}[]",:\u0e-. "version"tn"#[random.below(25)])
            .collect();
        assert!(!judge(&json_like));
    }
}
