//! Manifests that two readers could understand in two ways.

use s3ota::NoUpdate;

use crate::field::*;

/// A device with keys and one without: what is refused must be by both.
async fn both_refuse(lamps: &mut [Lamp; 2], offer: &scripted_server::bucket::Bucket) {
    for lamp in lamps {
        lamp.is_offered(offer).await.is_refused("manifest.invalid");
    }
}

#[tokio::test]
async fn duplicate_json_keys_with_different_values() {
    let owner = Owner::new(1);
    let signed = owner.releases("1.1.0", 1);
    let sha256 = "00".repeat(32);
    let mut lamps = [Lamp::trusting(&[&owner]), Lamp::trusting(&[])];
    for member in [
        r#""version": "9.9.9""#,
        r#""ver\u0073ion": "9.9.9""#,
        &format!(r#""sha256": "{sha256}""#),
        r#""size": 1"#,
        r#""url": "https://evil.example/""#,
        r#""serial": 99"#,
        r#""signature": {"keyid": "x", "sig": "x"}"#,
    ] {
        // First, and last.
        let first = replaced(
            &signed,
            "{\n  \"version\"",
            &format!("{{{member}, \"version\""),
        );
        let last = replaced(&signed, "\n  }\n}", &format!("\n  }},{member}\n}}"));
        for offer in [first, last] {
            both_refuse(&mut lamps, &offer).await;
        }
    }
    let within = replaced(&signed, "\"keyid\"", "\"keyid\": \"x\", \"keyid\"");
    both_refuse(&mut lamps, &within).await;
    // A second document behind it.
    let twice = replaced(&signed, "\n  }\n}", "\n  }\n}{\"version\": \"9.9.9\"}");
    both_refuse(&mut lamps, &twice).await;
}

#[tokio::test]
async fn number_and_unicode_confusions_in_versions() {
    let owner = Owner::new(1);
    let signed = owner.releases("1.1.0", 1);
    let mut lamps = [
        Lamp::running("1.0.0", &[&owner]),
        Lamp::running("1.0.0", &[]),
    ];
    for version in [
        // Digits that are none of ASCII's: full-width, Arabic, Devanagari, Roman, superscript.
        "\"１.1.0\"",
        "\"٢.1.0\"",
        "\"1.१.0\"",
        "\"Ⅱ.1.0\"",
        "\"1².1.0\"",
        // Dots that are none, and what cannot be seen.
        "\"1．1.0\"",
        "\"1。1.0\"",
        "\"1.1.0\\u0000\"",
        "\"1.1.0\\u200b\"",
        "\"\\ufeff1.1.0\"",
        "\"1.1.0 \"",
        "\"1.1.0\\n\"",
        // Numbers as other languages read them, and such as wrap around.
        "1.1",
        "\"+1.1.0\"",
        "\"-1.1.0\"",
        "\"01.1.0\"",
        "\"1e1.0.0\"",
        "\"0x2.0.0\"",
        "\"18446744073709551618.0.0\"",
        "\"1.18446744073709551617.0\"",
        "\"1.1.0.1\"",
        "\"1..1\"",
        "\"1.1.0-01\"",
        "\"\"",
        "[1, 1, 0]",
    ] {
        both_refuse(&mut lamps, &replaced(&signed, "\"1.1.0\"", version)).await;
    }
    for (field, value) in [
        ("\"serial\": 1", "\"serial\": 1.0"),
        ("\"serial\": 1", "\"serial\": -1"),
        ("\"serial\": 1", "\"serial\": 18446744073709551617"),
        ("\"serial\": 1", "\"serial\": \"1\""),
        ("\"size\": 100000", "\"size\": 1e5"),
        ("\"size\": 100000", "\"size\": 4295067296"),
        ("\"size\": 100000", "\"size\": -100000"),
    ] {
        both_refuse(&mut lamps, &replaced(&signed, field, value)).await;
    }
    // A key that only looks like one (its e is Cyrillic) is none: there is no version.
    both_refuse(
        &mut lamps,
        &replaced(&signed, "\"version\"", "\"v\u{435}rsion\""),
    )
    .await;
    // Line ends in a text would be lines of the statement.
    let lines = replaced(
        &signed,
        "\"serial\"",
        "\"board\": \"x\\nrollout=100\", \"serial\"",
    );
    both_refuse(&mut lamps, &lines).await;
}

#[tokio::test]
async fn spelling_of_a_value_makes_no_difference() {
    let owner = Owner::new(1);
    let signed = owner.releases("1.10.0", 1);
    for spelling in ["\"v1.10\"", "\"1.10\"", "\"\\u0031.10.0\""] {
        // 1.10 is more than 1.9, not less.
        let mut lamp = Lamp::running("1.9.0", &[&owner]);
        let spelt = replaced(&signed, "\"1.10.0\"", spelling);
        lamp.is_offered(&spelt).await.is_installed("1.10.0");
        lamp.is_offered(&spelt).await.is_nothing(NoUpdate::UpToDate);
    }
}
