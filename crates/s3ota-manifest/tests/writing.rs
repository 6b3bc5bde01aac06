//! What a publisher writes, a device reads.

use s3ota_manifest::{
    ArtefactDocument, DeltaDocument, HttpsUrl, MAX_DELTAS, MAX_DOCUMENT, Manifest,
    ManifestDocument, ManifestError, Rollout, Sha256Digest, SignatureDocument, TextProblem,
    Timestamp, UrlError, Version, VersionError,
};
use serde_json::json;

fn minimal() -> ManifestDocument {
    let url = HttpsUrl::parse("https://example.com/app.bin?a=1&b=2").unwrap();
    ManifestDocument::new(&Version::parse("v1.2").unwrap(), &url)
}

fn delta(from: &str) -> DeltaDocument {
    DeltaDocument {
        from: from.into(),
        base_sha256: Sha256Digest([0xcd; 32]),
        base_size: 902_144,
        artefact: ArtefactDocument {
            url: "https://example.com/d.s3od".into(),
            size: 1183,
        },
    }
}

fn full() -> ManifestDocument {
    let mut document = minimal();
    document.size = Some(1_048_576);
    document.sha256 = Some(Sha256Digest([0xab; 32]));
    document.project = Some("lamp".into());
    document.chip = Some("esp32c3".into());
    document.channel = Some("stable".into());
    document.min_version = Some("1.1.0".into());
    document.downgrade = true;
    document.serial = Some(1_795_500_000);
    document.board = Some("Gewächshaus \"2\"".into());
    document.rollout = Some("0.000001".parse().unwrap());
    document.expires = Timestamp::from_unix_seconds(1_801_396_800);
    document.signature = Some(SignatureDocument {
        keyid: "release".into(),
        sig: "MEUCIQ==".into(),
    });
    document.deltas = vec![delta("1.1.0"), delta("1.0.0-rc.1+b")];
    document.compressed = Some(ArtefactDocument {
        url: "https://example.com/c.s3od?a=1&b=2".into(),
        size: 501_220,
    });
    document.date = Some("2026-12-01T08:00:00Z".into());
    document.notes = Some("One.\nTwo.\u{1}".into());
    document.uploader = Some("ci".into());
    document
        .extra
        .insert("build".into(), json!({"a": [1, 2.5, "x\ny"], "b": {}}));
    document.extra.insert("audit".into(), json!(null));
    document
}

const FULL: &str = r#"{
  "version": "1.2.0",
  "url": "https://example.com/app.bin?a=1&b=2",
  "size": 1048576,
  "sha256": "abababababababababababababababababababababababababababababababab",
  "project": "lamp",
  "chip": "esp32c3",
  "board": "Gewächshaus \"2\"",
  "channel": "stable",
  "rollout": 0.000001,
  "min_version": "1.1.0",
  "downgrade": true,
  "serial": 1795500000,
  "expires": "2027-01-31T12:00:00Z",
  "signature": {
    "keyid": "release",
    "sig": "MEUCIQ=="
  },
  "deltas": [
    {
      "from": "1.1.0",
      "base_sha256": "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
      "base_size": 902144,
      "url": "https://example.com/d.s3od",
      "size": 1183
    },
    {
      "from": "1.0.0-rc.1+b",
      "base_sha256": "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
      "base_size": 902144,
      "url": "https://example.com/d.s3od",
      "size": 1183
    }
  ],
  "compressed": {
    "url": "https://example.com/c.s3od?a=1&b=2",
    "size": 501220
  },
  "date": "2026-12-01T08:00:00Z",
  "notes": "One.\nTwo.\u0001",
  "uploader": "ci",
  "audit": null,
  "build": {
    "a": [
      1,
      2.5,
      "x\ny"
    ],
    "b": {}
  }
}
"#;

#[test]
fn the_text_is_for_people_too_and_always_the_same() {
    assert_eq!(full().to_json().unwrap(), FULL);
}

#[test]
fn a_device_reads_every_field_as_it_was_written() {
    let document = full();
    let mut json = document.to_json().unwrap().into_bytes();
    let manifest = Manifest::parse(&mut json).unwrap();
    assert_eq!(manifest.version, Version::new(1, 2, 0));
    assert_eq!(manifest.url.as_str(), document.url);
    assert_eq!(manifest.size, document.size);
    assert_eq!(manifest.sha256, document.sha256);
    assert_eq!(manifest.chip, document.chip.as_deref());
    assert_eq!(manifest.board, document.board.as_deref());
    assert_eq!(manifest.rollout, document.rollout);
    assert_eq!(manifest.expires, document.expires);
    assert_eq!(
        manifest.signature.map(SignatureDocument::from),
        document.signature
    );
    let deltas: Vec<DeltaDocument> = manifest.deltas().map(DeltaDocument::from).collect();
    assert_eq!(deltas, document.deltas);
    let compressed = manifest.compressed().map(ArtefactDocument::from);
    assert_eq!(compressed, document.compressed);
}

#[test]
fn what_a_delta_is_fetched_from_is_not_signed() {
    let mut without = full();
    without.deltas.clear();
    without.compressed = None;
    assert_eq!(without.statement(), full().statement());
}

/// The eight of the most frequent case, with long URLs, leave room for the rest.
#[test]
fn as_many_deltas_as_a_device_reads_fit_into_a_manifest() {
    let mut document = full();
    document.deltas = vec![delta("10.20.30"); MAX_DELTAS];
    for delta in &mut document.deltas {
        delta.artefact.url = format!("https://example.com/{}", "x".repeat(480));
    }
    assert!(document.to_json().unwrap().len() <= MAX_DOCUMENT);
}

#[test]
fn reading_and_writing_again_changes_nothing() {
    for document in [minimal(), full()] {
        let json = document.to_json().unwrap();
        let again = ManifestDocument::parse(json.as_bytes()).unwrap();
        assert_eq!(again, document);
        assert_eq!(again.to_json().unwrap(), json);
    }
}

#[test]
fn a_url_can_be_refreshed_without_the_key() {
    let before = full();
    let mut after = ManifestDocument::parse(FULL.as_bytes()).unwrap();
    after.url = "https://example.com/app.bin?X-Amz-Signature=new".into();
    assert_ne!(after.to_json().unwrap(), FULL);
    assert_eq!(after.statement().unwrap(), before.statement().unwrap());
    assert_eq!(after.signature, before.signature);
}

#[test]
fn fields_for_people_keep_their_shape() {
    let json = r#"{"version":"1.0.0","url":"https://a/","date":1801396800,"notes":["a","b"]}"#;
    let document = ManifestDocument::parse(json.as_bytes()).unwrap();
    assert_eq!(document.date, None);
    assert_eq!(document.extra["date"], json!(1_801_396_800));
    let again = ManifestDocument::parse(document.to_json().unwrap().as_bytes()).unwrap();
    assert_eq!(again, document);
}

#[test]
fn what_a_device_could_not_read_cannot_be_written() {
    type Break = fn(&mut ManifestDocument);
    let artefact = |field, member| ManifestError::Artefact { field, member };
    let cases: [(Break, ManifestError); 15] = [
        (
            |document| document.deltas = vec![delta("1.0.0"); MAX_DELTAS + 1],
            ManifestError::TooManyDeltas,
        ),
        (
            |document| document.deltas[1].from = "last week's".into(),
            artefact("deltas", "from"),
        ),
        (
            |document| document.deltas[0].base_size = 0,
            artefact("deltas", "base_size"),
        ),
        (
            |document| document.deltas[0].artefact.url = "ftp://example.com/".into(),
            artefact("deltas", "url"),
        ),
        (
            |document| document.compressed.as_mut().unwrap().size = 0,
            artefact("compressed", "size"),
        ),
        (
            |document| {
                document.deltas.clear();
                document.extra.insert("deltas".into(), json!([]));
            },
            ManifestError::DuplicateKey("deltas"),
        ),
        (
            |document| document.version = "next".into(),
            ManifestError::Version(VersionError::NotANumber),
        ),
        (
            |document| document.url = "http://example.com/".into(),
            ManifestError::Url(UrlError::Http),
        ),
        (|document| document.size = Some(0), ManifestError::Size),
        (
            |document| document.chip = Some(String::new()),
            ManifestError::Text {
                field: "chip",
                problem: TextProblem::Empty,
            },
        ),
        (
            |document| document.board = Some("a\nrollout=100".into()),
            ManifestError::Text {
                field: "board",
                problem: TextProblem::ControlCharacter,
            },
        ),
        (
            |document| document.notes = Some("x".repeat(MAX_DOCUMENT)),
            ManifestError::TooLarge,
        ),
        (
            |document| {
                document.extra.insert("notes".into(), json!("other"));
            },
            ManifestError::DuplicateKey("notes"),
        ),
        (
            |document| {
                document.rollout = None;
                document.extra.insert("rollout".into(), json!(100));
            },
            ManifestError::DuplicateKey("rollout"),
        ),
        (
            |document| {
                let deep = (0..16).fold(json!(0), |value, _| json!([value]));
                document.extra.insert("x".into(), deep);
            },
            ManifestError::TooDeep { at: 0 },
        ),
    ];
    for (break_it, expected) in cases {
        let mut document = full();
        break_it(&mut document);
        let error = document.to_json().unwrap_err();
        assert_eq!(document.statement().unwrap_err(), error);
        match error {
            ManifestError::TooDeep { .. } => {
                assert!(matches!(expected, ManifestError::TooDeep { .. }));
            }
            error => assert_eq!(error, expected),
        }
    }
}

#[test]
fn every_millionth_of_a_percent_survives_the_way_through_json() {
    for rollout in [
        "0",
        "100",
        "12.5",
        "33.333333",
        "0.1",
        "99.999999",
        "7.000001",
    ] {
        let mut document = minimal();
        document.rollout = Some(rollout.parse::<Rollout>().unwrap());
        let json = document.to_json().unwrap();
        assert!(
            json.contains(&format!("\"rollout\": {rollout}\n")),
            "{json}"
        );
        assert_eq!(ManifestDocument::parse(json.as_bytes()).unwrap(), document);
    }
}

#[test]
fn a_number_that_cannot_be_kept_is_refused_rather_than_changed() {
    let json = r#"{"version":"1.0.0","url":"https://a/","x":1e999}"#;
    assert!(Manifest::parse(&mut json.as_bytes().to_vec()).is_ok());
    assert!(matches!(
        ManifestDocument::parse(json.as_bytes()),
        Err(ManifestError::Syntax { .. })
    ));
}
