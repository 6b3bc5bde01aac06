//! Manifests, and the texts in them.
//!
//! The input is a document. Its bytes are also parsed as a URL, a redirect, a version, a timestamp and a rollout.

use s3ota_manifest::{
    HttpsUrl, MAX_DOCUMENT, MAX_URL, MAX_VERSION, Manifest, ManifestDocument, ManifestError,
    Rollout, Sha256Digest, Timestamp, Version,
};
use serde_json::Value;

/// Parses the input as a manifest, and as each kind of text in it.
pub fn target(data: &[u8]) {
    document(data);
    if let Ok(text) = std::str::from_utf8(data) {
        url(text);
        version(text);
        timestamp(text);
        rollout(text);
    }
}

/// serde_json, an independent parser, must agree on what is JSON and on every value.
fn document(data: &[u8]) {
    let oracle = serde_json::from_slice::<Value>(data);
    let mut buffer = data.to_vec();
    let manifest = match Manifest::parse(&mut buffer) {
        Ok(manifest) => manifest,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            let is_json = oracle.is_ok() && data.len() <= MAX_DOCUMENT;
            match error {
                ManifestError::Syntax { .. }
                | ManifestError::Truncated
                | ManifestError::TrailingGarbage { .. }
                | ManifestError::Utf8 { .. }
                | ManifestError::ByteOrderMark => assert!(!is_json, "refused as {error}"),
                ManifestError::NotAnObject => {
                    assert!(!oracle.is_ok_and(|value| value.is_object()), "{error}");
                }
                _ => {}
            }
            return;
        }
    };
    let oracle = match oracle {
        Ok(oracle) => oracle,
        // RFC 8259 allows numbers of any size; a device does not evaluate those it skips.
        Err(error) if error.to_string().contains("number out of range") => return,
        Err(error) => panic!("accepted what is not JSON: {error}"),
    };
    let text = |field: &str| {
        oracle
            .get(field)
            .map(|value| value.as_str().expect("a string"))
    };
    let oracle_version = Version::parse(text("version").expect("a version")).expect("a version");
    assert_eq!(manifest.version.to_string(), oracle_version.to_string());
    assert_eq!(
        Some(manifest.url),
        text("url").map(|url| HttpsUrl::parse(url).expect("a URL"))
    );
    assert_eq!(
        manifest.size.map(u64::from),
        oracle
            .get("size")
            .map(|size| size.as_u64().expect("a number"))
    );
    assert_eq!(
        manifest.sha256,
        text("sha256").map(|hash| hash.parse::<Sha256Digest>().expect("a hash"))
    );
    assert_eq!(manifest.project, text("project"));
    assert_eq!(manifest.chip, text("chip"));
    assert_eq!(manifest.board, text("board"));
    assert_eq!(
        manifest.expires,
        text("expires").map(|time| Timestamp::parse(time).expect("a time"))
    );
    assert_eq!(manifest.rollout.is_some(), oracle.get("rollout").is_some());
    assert_eq!(
        manifest
            .signature
            .map(|signature| (Some(signature.keyid), Some(signature.sig))),
        oracle
            .get("signature")
            .map(|oracle| (oracle["keyid"].as_str(), oracle["sig"].as_str()))
    );

    for delta in manifest.deltas() {
        let entries = oracle["deltas"].as_array().expect("an array");
        let of_url = |entry: &&Value| entry["url"].as_str() == Some(delta.artefact.url.as_str());
        assert!(delta.base_size > 0 && delta.artefact.size > 0);
        assert!(delta.artefact.url.as_str().len() < data.len() && !entries.is_empty());
        // A fragment is no part of our URL.
        assert!(entries.iter().any(|entry| of_url(&entry)) || data.contains(&b'#'));
    }
    if let Some(compressed) = manifest.compressed() {
        let size = oracle["compressed"]["size"].as_u64();
        assert_eq!(size, Some(compressed.size.into()));
    }
    let mut statement = String::new();
    manifest
        .write_statement(&mut statement)
        .expect("a string takes all");
    // The publisher's side writes it with the same meaning.
    let again = ManifestDocument::parse(data).expect("a manifest");
    assert_eq!(again.url, manifest.url.as_str());
    match again.to_json() {
        Ok(json) => {
            let mut json = json.into_bytes();
            let mut again = String::new();
            let manifest = Manifest::parse(&mut json).expect("what was checked");
            manifest
                .write_statement(&mut again)
                .expect("a string takes all");
            assert_eq!(statement, again);
        }
        // It adds white space.
        Err(ManifestError::TooLarge) => {}
        Err(error) => panic!("cannot be written again: {error}"),
    }
}

fn url(text: &str) {
    let base = HttpsUrl::parse("https://base.example:9443/a/b/c?q").expect("a URL");
    let mut buffer = [0; MAX_URL];
    if let Ok(target) = base.join(text, &mut buffer) {
        assert!(target.as_str().starts_with("https://"));
        let path = target
            .path_and_query()
            .split('?')
            .next()
            .unwrap_or_default();
        assert!(
            path.split('/')
                .all(|segment| !matches!(segment, "." | ".."))
        );
        assert!(target.same_server(&base) || text.contains("//"));
        let mut again = [0; MAX_URL];
        assert_eq!(base.join(target.as_str(), &mut again), Ok(target));
    }
    let Ok(url) = HttpsUrl::parse(text) else {
        return;
    };
    // It is put into a request as it is.
    for part in [url.authority(), url.path_and_query()] {
        assert!(part.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    assert!(url.path_and_query().starts_with('/') && !url.path_and_query().contains('#'));
    assert!(!url.authority().contains(['/', '?', '@']) && url.port() != 0);
    let parts = format!("https://{}{}", url.authority(), url.path_and_query());
    let again = HttpsUrl::parse(&parts).expect("a URL from the parts of one");
    assert_eq!((again.host(), again.port()), (url.host(), url.port()));
    assert_eq!(again.authority(), url.authority());
    assert_eq!(again.path_and_query(), url.path_and_query());
}

fn version(text: &str) {
    let Ok(version) = Version::parse(text) else {
        return;
    };
    let canonical = version.to_string();
    assert!(canonical.len() <= MAX_VERSION);
    let again = Version::parse(&canonical).expect("the canonical form");
    assert_eq!(again.to_string(), canonical);
    let oracle = semver::Version::parse(&canonical).expect("a semantic version");
    for other in [
        "0.0.0",
        "1.0.0-rc.9",
        "1.0.0-rc.10",
        "1.0.0",
        "1.2.3-a.b+c",
        "18446744073709551615.0.0",
    ] {
        assert_eq!(
            version.cmp(&Version::parse(other).expect("a version")),
            oracle.cmp_precedence(&semver::Version::parse(other).expect("a version")),
            "{other}"
        );
    }
}

fn timestamp(text: &str) {
    if let Ok(timestamp) = Timestamp::parse(text) {
        assert!(timestamp <= Timestamp::MAX);
        assert_eq!(Timestamp::parse(&timestamp.to_string()), Ok(timestamp));
    }
}

fn rollout(text: &str) {
    if let Ok(rollout) = text.parse::<Rollout>() {
        let number: f64 = text.parse().expect("a number");
        let exact: f64 = rollout.to_string().parse().expect("a number");
        // Rounded down to about a millionth of a percent: never to more devices than the manifest says.
        assert!(
            (-1e-9..0.000_001_001).contains(&(number - exact)),
            "{rollout}"
        );
        assert_eq!(rollout.to_string().parse(), Ok(rollout));
    }
}

/// Manifests made by hand and by the publisher, and the texts in them.
pub fn seeds() -> Vec<Vec<u8>> {
    let url = "https://my-bucket.s3.eu-central-1.amazonaws.com/lamp/images/1.2.0-6d31bd30aad5.bin";
    let mut published = ManifestDocument::new(
        &Version::new(1, 2, 0),
        &HttpsUrl::parse(url).expect("a URL"),
    );
    let smallest = published.to_json().expect("a manifest");
    published.size = Some(76_848);
    published.sha256 = Some("6d".repeat(32).parse().expect("a hash"));
    published.project = Some("lamp".into());
    published.chip = Some("esp32c3".into());
    published.board = Some("lamp \u{e9} v2".into());
    published.rollout = Rollout::from_percent(25).ok();
    published.expires = Timestamp::parse("2027-01-31T12:00:00+01:00").ok();
    published.signature = Some(s3ota_manifest::SignatureDocument {
        keyid: "arn:aws:kms:eu-central-1:111122223333:key/release".into(),
        sig: "MEUCIQDx".into(),
    });
    let delta = |from: &str| s3ota_manifest::DeltaDocument {
        from: from.into(),
        base_sha256: s3ota_manifest::Sha256Digest([0x9f; 32]),
        base_size: 76_800,
        artefact: s3ota_manifest::ArtefactDocument {
            url: url.replace(".bin", ".s3od"),
            size: 1183,
        },
    };
    published.deltas = vec![delta("1.1.0"), delta("1.0.0")];
    published.compressed = Some(delta("0.0.0").artefact);
    published.notes = Some("Keeps its clock\nover a restart \u{1f600}.".into());
    published.extra.insert(
        "by".into(),
        serde_json::json!([null, {"a": -1.5e3, "b": [true]}]),
    );
    let full = published.to_json().expect("a manifest");
    [
        smallest.as_str(),
        &full,
        r#"{"version": "v1.10", "url": "https://bucket.s3.eu-west-1.amazonaws.com/app.bin"}"#,
        r#"{"ver\u0073ion":"1.0.0","url":"https:\/\/a\/\u0062","x":[[[{"y":1e999}]]],"rollout":12.5e0}"#,
        "{\"version\":\"1.0.0-rc.1+b\",\"url\":\"https://[::1]:8443/x?y=%20#z\",\"size\":1}\r\n",
        "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>",
        url,
        "https://localhost:9443/bucket/app.bin?X-Amz-Signature=0123&X-Amz-Expires=900#top",
        "//cdn.example/a/../b/./c?d",
        "v1.2.3-rc.10+build.5",
        "2027-01-31T23:59:60.123-05:30",
        "99.999999",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// Tokens of manifests, URLs, versions and times.
pub const TOKENS: &[&[u8]] = &[
    b"\"version\":",
    b"\"url\":",
    b"\"size\":",
    b"\"sha256\":",
    b"\"project\":",
    b"\"chip\":",
    b"\"board\":",
    b"\"rollout\":",
    b"\"expires\":",
    b"\"signature\":",
    b"\"deltas\":[",
    b"\"compressed\":{",
    b"\"from\":",
    b"\"base_sha256\":",
    b"\"base_size\":",
    b"\"keyid\":",
    b"\"sig\":",
    b"null",
    b"true",
    b"false",
    b"\\u0000",
    b"\\ud83d\\ude00",
    b"\\u0076",
    b"\\\"",
    b"\\/",
    b"[[[[[[[[",
    b"]]]]",
    b"{\"a\":",
    b"1e999",
    b"-0",
    b"0.1",
    b"18446744073709551616",
    b"4294967296",
    b"\xef\xbb\xbf",
    b"\xc3\xa9",
    b"https://",
    b"http://",
    b"//",
    b"/../",
    b"/./",
    b"?",
    b"#",
    b"@",
    b":443",
    b":65536",
    b"[::1]",
    b"%2e",
    b"127.0.0.1",
    b"-rc.",
    b"+",
    b"v",
    b"T00:00:00Z",
    b"+23:59",
    b":60",
    b"2000-02-29",
    b"9999-12-31",
];
