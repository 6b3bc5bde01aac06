//! Random texts: nothing panics, and what is accepted keeps its promises.

mod random;

use random::Random;
use s3ota_manifest::{HttpsUrl, MAX_URL, MAX_VERSION, Rollout, Timestamp, Version};

#[test]
fn an_accepted_url_can_be_put_together_again_from_its_parts() {
    let pieces = [
        "https://",
        "https:",
        "//",
        "/",
        "a",
        "B.c",
        ":",
        "443",
        "8",
        "0",
        "[::1]",
        "[",
        "]",
        "?",
        "#",
        ".",
        "..",
        "/../",
        "@",
        "%2e",
        "\\",
        " ",
        "é",
        "\n",
        "-",
        "_",
        "127.0.0.1",
        "&x=y",
    ];
    let mut random = Random::new(0x5EED);
    let mut accepted = 0;
    for _ in 0..100_000 {
        let text = format!("https://a{}", random.join(&pieces, 11));
        let Ok(url) = HttpsUrl::parse(&text) else {
            continue;
        };
        accepted += 1;
        let again = format!("https://{}{}", url.authority(), url.path_and_query());
        let again = HttpsUrl::parse(&again).unwrap();
        assert_eq!(
            (
                again.host(),
                again.port(),
                again.authority(),
                again.path_and_query()
            ),
            (
                url.host(),
                url.port(),
                url.authority(),
                url.path_and_query()
            ),
            "{text}"
        );
    }
    assert!(accepted > 10_000, "{accepted}");
}

#[test]
fn a_redirect_leads_to_an_absolute_https_url_or_nowhere() {
    let pieces = [
        "https://", "http://", "//", "/", "a", "B.c", ":", "8", "?", "#", ".", "..", "/../", "/./",
        "@", "x:", "\\", " ", "é", "[::1]",
    ];
    let base = HttpsUrl::parse("https://base.example:9443/a/b/c?q").unwrap();
    let mut random = Random::new(0x5EED);
    let mut accepted = 0;
    for _ in 0..100_000 {
        let location = random.join(&pieces, 11);
        let mut buffer = [0; MAX_URL];
        let Ok(target) = base.join(&location, &mut buffer) else {
            continue;
        };
        accepted += 1;
        assert!(target.as_str().starts_with("https://"), "{location}");
        let path = target.path_and_query().split('?').next().unwrap();
        assert!(
            path.split('/')
                .all(|segment| !matches!(segment, "." | "..")),
            "{location}: {path}"
        );
        // Another server only where the location names one.
        assert!(
            target.same_server(&base) || location.contains("//"),
            "{location}"
        );
        // What is absolute already stays as it is.
        let mut again = [0; MAX_URL];
        assert_eq!(
            base.join(target.as_str(), &mut again),
            Ok(target),
            "{location}"
        );
    }
    assert!(accepted > 10_000, "{accepted}");
}

#[test]
fn an_accepted_version_reads_the_same_in_its_canonical_form() {
    let pieces = [
        "v",
        "0",
        "1",
        "10",
        "99999999999",
        ".",
        "-",
        "+",
        "rc",
        "A",
        "_",
        " ",
        "é",
        "\n",
        "00",
    ];
    let mut random = Random::new(0x5EED);
    let mut accepted = 0;
    for _ in 0..100_000 {
        let text = format!("1{}", random.join(&pieces, 11));
        let Ok(version) = Version::parse(&text) else {
            continue;
        };
        accepted += 1;
        let canonical = version.to_string();
        assert!(canonical.len() <= MAX_VERSION);
        let again = Version::parse(&canonical).unwrap();
        assert_eq!(again, version);
        assert_eq!(again.to_string(), canonical);
        assert!(semver::Version::parse(&canonical).is_ok(), "{canonical}");
    }
    assert!(accepted > 10_000, "{accepted}");
}

#[test]
fn an_accepted_percentage_is_the_number_rounded_down() {
    let pieces = [
        "0",
        "1",
        "5",
        "99",
        "100",
        ".",
        "e",
        "E",
        "+",
        "-",
        "000000",
        "é",
        "e-",
        "2147483648",
    ];
    let mut random = Random::new(0x5EED);
    let mut accepted = 0;
    for _ in 0..100_000 {
        let text = random.join(&pieces, 11);
        let number = text.parse::<f64>();
        let Ok(rollout) = text.parse::<Rollout>() else {
            // f64 rounds the smallest negative numbers to zero, and those just above 100 to 100.
            let outside =
                text.starts_with('-') || !(0.0..=99.999_999_999).contains(&number.unwrap_or(-1.0));
            let is_json = serde_json::from_str::<serde_json::Number>(&text).is_ok();
            assert!(outside || !is_json, "{text}");
            continue;
        };
        accepted += 1;
        let exact: f64 = rollout.to_string().parse().unwrap();
        let dropped = number.unwrap() - exact;
        assert!(
            (-1e-9..0.000_001_001).contains(&dropped),
            "{text}: {rollout}"
        );
        assert_eq!(rollout.to_string().parse(), Ok(rollout));
    }
    assert!(accepted > 1_000, "{accepted}");
}

#[test]
fn an_accepted_timestamp_reads_the_same_in_its_canonical_form() {
    let numbers = [
        "00", "01", "12", "23", "28", "29", "30", "31", "59", "60", "99", "é",
    ];
    let mut random = Random::new(0x5EED);
    let mut next = || random.join(&numbers, 11);
    let mut accepted = 0;
    for _ in 0..20_000 {
        // Twenty digits or so, put into the form.
        let digits = format!("{}{}", next(), next());
        let mut digits = digits.chars();
        let text: String = "dddd-dd-ddTdd:dd:dd.d+dd:dd"
            .chars()
            .map(|place| match place {
                'd' => digits.next().unwrap_or('0'),
                other => other,
            })
            .collect();
        let month_is_never_0 = text.replacen("-00-", "-02-", 1).replace("-00T", "-29T");
        if let Ok(timestamp) = Timestamp::parse(&month_is_never_0) {
            accepted += 1;
            let canonical = timestamp.to_string();
            assert_eq!(Timestamp::parse(&canonical), Ok(timestamp), "{text}");
        }
    }
    assert!(accepted > 100, "{accepted}");
}
