//! `--delta-from`: which releases to make deltas from.

use std::str::FromStr;

use s3ota_manifest::{MAX_DELTAS, Version};

/// How many releases `auto` means.
const AUTO: usize = 5;

/// Which releases to make deltas from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeltaFrom {
    /// The newest ones that the channel served, so many.
    Newest(usize),
    /// These, in their canonical form.
    Versions(Vec<String>),
    /// Make nothing, the compressed image neither.
    Nothing,
}

impl Default for DeltaFrom {
    fn default() -> Self {
        Self::Newest(AUTO)
    }
}

impl FromStr for DeltaFrom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let too_many = |n: usize| {
            (n > MAX_DELTAS).then(|| format!("a manifest names at most {MAX_DELTAS} deltas"))
        };
        match text {
            "auto" => return Ok(Self::default()),
            "none" => return Ok(Self::Nothing),
            _ => {}
        }
        if let Ok(n) = text.parse() {
            return too_many(n).map_or(Ok(Self::Newest(n)), Err);
        }
        let mut versions = Vec::new();
        for version in text.split(',') {
            let version = Version::parse(version.trim())
                .map_err(|error| format!("{version}: {error}; or write auto, a number or none"))?
                .to_string();
            if !versions.contains(&version) {
                versions.push(version);
            }
        }
        too_many(versions.len()).map_or(Ok(Self::Versions(versions)), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_word_a_number_or_versions() {
        let parse = str::parse::<DeltaFrom>;
        assert_eq!(parse("auto"), Ok(DeltaFrom::Newest(5)));
        assert_eq!(parse("2"), Ok(DeltaFrom::Newest(2)));
        assert_eq!(parse("0"), Ok(DeltaFrom::Newest(0)));
        assert_eq!(parse("none"), Ok(DeltaFrom::Nothing));
        let versions = ["1.0.0", "1.1.0-rc.1"].map(str::to_owned).to_vec();
        assert_eq!(
            parse("v1.0, 1.1.0-rc.1,1.0.0"),
            Ok(DeltaFrom::Versions(versions))
        );
        let nine = "1.0,1.1,1.2,1.3,1.4,1.5,1.6,1.7,1.8";
        for wrong in ["", "all", "9", "1.0.0,", nine] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
