//! Semantic versions and their order.

use core::cmp::Ordering;
use core::fmt;

/// How long a version may be, in bytes of its canonical form.
pub const MAX_VERSION: usize = 64;

/// How many digits git abbreviates a commit to, at the least, unless it is told otherwise (`git help config`, core.abbrev).
const COMMIT: usize = 7;

/// A version, ordered by section 11 of [Semantic Versioning 2.0.0](https://semver.org).
///
/// Hand-written versions are read with some tolerance: one leading `v` or `V` is ignored, and a missing
/// minor or patch number counts as 0. The canonical form, in which a version displays, has neither.
///
/// ```
/// use s3ota_manifest::Version;
///
/// let version = Version::parse("v1.2")?;
/// assert_eq!(format!("{version}"), "1.2.0");
/// assert!(version > Version::parse("1.2.0-rc.10")?); // a pre-release comes before its release
/// # Ok::<(), s3ota_manifest::VersionError>(())
/// ```
///
/// What `git describe` appends to a tag is read as what it says, where semver would take it for a pre-release: so many commits
/// after the tag. ESP-IDF names firmware this way by default.
///
/// ```
/// # use s3ota_manifest::Version;
/// let ninth = Version::parse("v1.2.3-9-g0a1b2c3")?;
/// assert!(ninth > Version::parse("1.2.3")?);
/// assert!(ninth < Version::parse("1.2.3-10-g4d5e6f7")?);
/// assert!(ninth < Version::parse("1.2.4-rc.1")?);
/// # Ok::<(), s3ota_manifest::VersionError>(())
/// ```
///
/// Equality is equality of precedence: build metadata does not count (section 10), so
/// `1.2.0+a == 1.2.0+b`. A device does not update from one to the other.
#[derive(Clone, Copy, Debug)]
pub struct Version<'a> {
    major: u64,
    minor: u64,
    patch: u64,
    pre: &'a str,
    build: &'a str,
}

impl<'a> Version<'a> {
    /// A release version, without pre-release or build metadata.
    pub const fn new(major: u64, minor: u64, patch: u64) -> Self {
        Version {
            major,
            minor,
            patch,
            pre: "",
            build: "",
        }
    }

    /// Reads a version.
    ///
    /// # Errors
    ///
    /// A [`VersionError`] names the rule that the text breaks.
    pub fn parse(text: &'a str) -> Result<Self, VersionError> {
        let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
        if text.is_empty() {
            return Err(VersionError::Empty);
        }
        if text.len() > MAX_VERSION {
            return Err(VersionError::TooLong);
        }
        let (rest, build) = match text.split_once('+') {
            Some((rest, build)) => (rest, check_identifiers(build, Zeros::Allowed)?),
            None => (text, ""),
        };
        let (numbers, pre) = match rest.split_once('-') {
            Some((numbers, pre)) => (numbers, check_identifiers(pre, Zeros::Refused)?),
            None => (rest, ""),
        };

        let mut parts = numbers.split('.');
        let mut canonical_len = text.len();
        let mut next = |required: bool| match parts.next() {
            Some(part) => number(part),
            None if required => Err(VersionError::MissingNumber),
            None => {
                canonical_len = canonical_len.saturating_add(".0".len());
                Ok(0)
            }
        };
        let (major, minor, patch) = (next(true)?, next(false)?, next(false)?);
        if numbers.len() >= COMMIT && !numbers.contains('.') {
            return Err(VersionError::BareNumber);
        }
        if parts.next().is_some() {
            return Err(VersionError::TooManyNumbers);
        }
        if canonical_len > MAX_VERSION {
            return Err(VersionError::TooLong);
        }
        Ok(Version {
            major,
            minor,
            patch,
            pre,
            build,
        })
    }

    /// The first number.
    pub const fn major(&self) -> u64 {
        self.major
    }

    /// The second number, 0 if it was left out.
    pub const fn minor(&self) -> u64 {
        self.minor
    }

    /// The third number, 0 if it was left out.
    pub const fn patch(&self) -> u64 {
        self.patch
    }

    /// The pre-release identifiers: `rc.1` of `1.0.0-rc.1+abc`, empty for a release.
    pub const fn pre(&self) -> &'a str {
        self.pre
    }

    /// The build metadata: `abc` of `1.0.0-rc.1+abc`, empty if there is none.
    pub const fn build(&self) -> &'a str {
        self.build
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Version<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{}", defmt::Display2Format(self));
    }
}

impl fmt::Display for Version<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)?;
        if !self.pre.is_empty() {
            write!(f, "-{}", self.pre)?;
        }
        if !self.build.is_empty() {
            write!(f, "+{}", self.build)?;
        }
        Ok(())
    }
}

impl Version<'_> {
    /// Whether both are by `git describe`, equally far from the same tag, and yet of two commits. They have an order, by the letters of
    /// the commits, but which is newer cannot be told.
    pub fn differs_in_commit_only(&self, other: &Version<'_>) -> bool {
        let numbers = |it: &Version<'_>| (it.major, it.minor, it.patch);
        let (left, right) = (Described::read(self.pre), Described::read(other.pre));
        // Git abbreviates a commit to as many digits as it needs.
        let is_same =
            left.commit.starts_with(right.commit) || right.commit.starts_with(left.commit);
        numbers(self) == numbers(other)
            && (left.tag, left.commits) == (right.tag, right.commits)
            && !is_same
    }
}

impl Ord for Version<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.major, self.minor, self.patch)
            .cmp(&(other.major, other.minor, other.patch))
            .then_with(|| {
                let (left, right) = (Described::read(self.pre), Described::read(other.pre));
                cmp_pre(left.tag, right.tag)
                    .then_with(|| cmp_numeric(left.commits, right.commits))
                    // Two commits that are as far from the tag: builds of two branches.
                    .then_with(|| left.rest.cmp(right.rest))
            })
    }
}

impl PartialOrd for Version<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version<'_> {}

/// Sections 11.3 and 11.4: a release comes after its pre-releases, which compare identifier by identifier.
fn cmp_pre(left: &str, right: &str) -> Ordering {
    match (left.is_empty(), right.is_empty()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => {
            let (mut left, mut right) = (left.split('.'), right.split('.'));
            loop {
                match (left.next(), right.next()) {
                    (None, None) => return Ordering::Equal,
                    (None, Some(_)) => return Ordering::Less,
                    (Some(_), None) => return Ordering::Greater,
                    (Some(left), Some(right)) => match cmp_identifier(left, right) {
                        Ordering::Equal => {}
                        order => return order,
                    },
                }
            }
        }
    }
}

/// What stands after the numbers, as `git describe --tags --long --dirty` makes it of a tag: `rc.1-9-g0a1b2c3-dirty`.
struct Described<'a> {
    /// What the tag itself has there: `rc.1`, mostly nothing.
    tag: &'a str,
    /// How many commits came after it, as digits: `9`. Empty where git has not described anything.
    commits: &'a str,
    /// The commit, as digits: `0a1b2c3`. Empty where git has not described anything.
    commit: &'a str,
    /// The commit, and whether the work tree was dirty: `-g0a1b2c3-dirty`.
    rest: &'a str,
}

impl<'a> Described<'a> {
    fn read(pre: &'a str) -> Self {
        Self::suffix(pre).unwrap_or(Self {
            tag: pre,
            commits: "",
            commit: "",
            rest: "",
        })
    }

    fn suffix(pre: &'a str) -> Option<Self> {
        let clean = pre.strip_suffix("-dirty").unwrap_or(pre);
        let (before, commit) = clean.rsplit_once("-g")?;
        let (tag, commits) = before.rsplit_once('-').unwrap_or(("", before));
        // git abbreviates to four digits at the least (`git help config`, core.abbrev).
        let is_commit = commit.len() >= 4 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_count = !commits.is_empty() && is_numeric(commits) && !has_leading_zero(commits);
        (is_commit && is_count).then_some(Self {
            tag,
            commits,
            commit,
            rest: pre.get(before.len()..)?,
        })
    }
}

/// Without leading zeros the longer number is the greater, however long.
fn cmp_numeric(left: &str, right: &str) -> Ordering {
    (left.len(), left).cmp(&(right.len(), right))
}

fn cmp_identifier(left: &str, right: &str) -> Ordering {
    match (is_numeric(left), is_numeric(right)) {
        (true, true) => cmp_numeric(left, right),
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => left.cmp(right),
    }
}

fn number(text: &str) -> Result<u64, VersionError> {
    if text.is_empty() {
        return Err(VersionError::MissingNumber);
    }
    if !is_numeric(text) {
        return Err(VersionError::NotANumber);
    }
    if has_leading_zero(text) {
        return Err(VersionError::LeadingZero);
    }
    text.parse().map_err(|_| VersionError::NumberTooLarge)
}

#[derive(Clone, Copy, PartialEq)]
enum Zeros {
    Allowed,
    Refused,
}

fn check_identifiers(list: &str, leading_zeros: Zeros) -> Result<&str, VersionError> {
    for identifier in list.split('.') {
        if identifier.is_empty() {
            return Err(VersionError::EmptyIdentifier);
        }
        if !identifier
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        {
            return Err(VersionError::InvalidCharacter);
        }
        if leading_zeros == Zeros::Refused && is_numeric(identifier) && has_leading_zero(identifier)
        {
            return Err(VersionError::LeadingZero);
        }
    }
    Ok(list)
}

fn is_numeric(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn has_leading_zero(digits: &str) -> bool {
    digits.len() > 1 && digits.starts_with('0')
}

/// Why a text is not a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum VersionError {
    /// It is empty, or only a `v`.
    Empty,
    /// The canonical form is longer than [`MAX_VERSION`] bytes.
    TooLong,
    /// A number is missing, as in `1..2`.
    MissingNumber,
    /// Something else is where a number should be, as in `1.x`.
    NotANumber,
    /// A long number and no other, as in `1234567`: a commit whose digits happen to be decimal, or a date.
    BareNumber,
    /// A fourth number, as in `1.2.3.4`.
    TooManyNumbers,
    /// A number has a leading zero, as in `1.02` or `1.0.0-rc.01`.
    LeadingZero,
    /// A number does not fit into 64 bits.
    NumberTooLarge,
    /// An identifier of the pre-release or the build metadata is empty, as in `1.0.0-rc..1`.
    EmptyIdentifier,
    /// The pre-release or the build metadata contains something other than ASCII letters, digits, `-` and `.`.
    InvalidCharacter,
}

impl fmt::Display for VersionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            VersionError::Empty => "the version is empty; write one like 1.2.0",
            VersionError::TooLong => {
                return write!(
                    f,
                    "the version is longer than {MAX_VERSION} bytes; shorten it"
                );
            }
            VersionError::MissingNumber => "the version lacks a number; write one like 1.2.0",
            VersionError::NotANumber => {
                "the version contains something else where a number should be; write one like 1.2.0"
            }
            VersionError::BareNumber => {
                "the version is one long number, which may be a commit; write one like 1.2.0"
            }
            VersionError::TooManyNumbers => {
                "the version has more than three numbers; write the fourth as 1.2.3-4 or 1.2.3+4"
            }
            VersionError::LeadingZero => {
                "a number in the version has a leading zero; write 1.2.0, not 1.02.0"
            }
            VersionError::NumberTooLarge => "a number in the version does not fit into 64 bits",
            VersionError::EmptyIdentifier => {
                "an identifier after `-` or `+` in the version is empty; write one like 1.2.0-rc.1"
            }
            VersionError::InvalidCharacter => {
                "after `-` or `+` a version may contain only ASCII letters, digits, `-` and `.`"
            }
        })
    }
}

impl core::error::Error for VersionError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::{String, ToString};
    use std::vec::Vec;

    fn version(text: &str) -> Version<'_> {
        Version::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn the_canonical_form_is_complete_and_bare() {
        for (text, canonical) in [
            ("1", "1.0.0"),
            ("v1.2", "1.2.0"),
            ("V1.2.3", "1.2.3"),
            ("1-rc1", "1.0.0-rc1"),
            ("1.2+build.007", "1.2.0+build.007"),
            ("v0.9-4-gabcdef0-dirty", "0.9.0-4-gabcdef0-dirty"),
            ("1.0.0--", "1.0.0--"),
            ("1.0.0+a-b", "1.0.0+a-b"),
            ("18446744073709551615.0.0", "18446744073709551615.0.0"),
        ] {
            assert_eq!(version(text).to_string(), canonical);
            assert_eq!(version(canonical), version(text));
        }
    }

    #[test]
    fn each_way_to_be_no_version_has_its_name() {
        for (text, error) in [
            ("", VersionError::Empty),
            ("v", VersionError::Empty),
            ("vv1", VersionError::NotANumber),
            ("latest", VersionError::NotANumber),
            ("1.x", VersionError::NotANumber),
            (" 1.0.0", VersionError::NotANumber),
            ("1.0.0\n", VersionError::NotANumber),
            ("+1.0.0", VersionError::MissingNumber),
            ("-1.0.0", VersionError::MissingNumber),
            ("1..2", VersionError::MissingNumber),
            ("1.2.", VersionError::MissingNumber),
            ("1234567", VersionError::BareNumber),
            ("v20261128-dirty", VersionError::BareNumber),
            ("1.2.3.4", VersionError::TooManyNumbers),
            ("01.2.3", VersionError::LeadingZero),
            ("1.2.3-01", VersionError::LeadingZero),
            ("18446744073709551616.0.0", VersionError::NumberTooLarge),
            ("1.0.0-", VersionError::EmptyIdentifier),
            ("1.0.0-rc..1", VersionError::EmptyIdentifier),
            ("1.0.0+", VersionError::EmptyIdentifier),
            ("1.0.0-rc_1", VersionError::InvalidCharacter),
            ("1.0.0+a+b", VersionError::InvalidCharacter),
            ("1.0.0-ä", VersionError::InvalidCharacter),
        ] {
            assert_eq!(Version::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn the_limit_is_on_the_canonical_form() {
        let pre = "a".repeat(MAX_VERSION - "1.0.0-".len());
        assert_eq!(version(&std::format!("v1.0.0-{pre}")).to_string().len(), 64);
        assert_eq!(version(&std::format!("v1-{pre}")).to_string().len(), 64);
        for text in [std::format!("1.0.0-{pre}a"), std::format!("1-{pre}a")] {
            assert_eq!(Version::parse(&text), Err(VersionError::TooLong));
        }
    }

    #[test]
    fn numbers_compare_as_numbers() {
        assert!(version("1.10") > version("1.9.3"));
        assert!(version("1.0.0-rc.10") > version("1.0.0-rc.9"));
        // Longer than any integer type.
        assert!(
            version("1.0.0-100000000000000000000000") > version("1.0.0-99999999999999999999999")
        );
    }

    #[test]
    fn the_order_is_that_of_the_specification() {
        // The example of semver.org, section 11.
        let ordered = [
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "2.0.0",
            "2.1.0",
            "2.1.1",
        ];
        for pair in ordered.windows(2) {
            assert!(version(pair[0]) < version(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn what_git_describe_appends_counts_commits_after_the_tag() {
        let ordered = [
            "1.2.3-dirty",
            "1.2.3-rc.1",
            "1.2.3-rc.1-2-g0a1b2c3",
            "1.2.3-rc.1-10-g0a1b2c3",
            "1.2.3-rc.2",
            "1.2.3",
            "1.2.3-0-g8bb5d7f",
            "1.2.3-9-g0a1b2c3",
            "1.2.3-9-g0a1b2c3-dirty",
            "v1.2.3-10-g0123",
            "1.2.3-100000000000000000000000-g0a1b2c3",
            "1.2.4-rc.1",
            "1.2.4",
        ];
        for (index, left) in ordered.iter().enumerate() {
            for (other, right) in ordered.iter().enumerate() {
                let order = version(left).cmp(&version(right));
                assert_eq!(order, index.cmp(&other), "{left} {right}");
            }
        }
        // Builds of two branches are as far from the tag, and not the same.
        assert_ne!(version("1.2.3-9-g0a1b2c3"), version("1.2.3-9-g4d5e6f7"));
    }

    #[test]
    fn two_commits_as_far_from_a_tag_have_no_order() {
        let differ = |a, b| version(a).differs_in_commit_only(&version(b));
        assert!(differ("1.2.3-9-g0a1b2c3", "1.2.3-9-g4d5e6f7"));
        assert!(differ("1.2.3-rc.1-9-g4d5e6f7", "1.2.3-rc.1-9-g0a1b2c3"));
        for other in [
            "1.2.3-9-g0a1b2c3",
            "1.2.3-9-g0a1b2c3-dirty",
            "1.2.3-9-g0a1b2c3d4e",
            "1.2.3-10-g4d5e6f7",
            "1.2.4-9-g4d5e6f7",
            "1.2.3-rc.1-9-g4d5e6f7",
            "1.2.3-x-g4d5e6f7",
            "1.2.3-9-green",
            "1.2.3",
        ] {
            assert!(!differ("1.2.3-9-g0a1b2c3", other), "{other}");
        }
    }

    #[test]
    fn what_only_looks_like_git_describe_is_a_pre_release() {
        for pre in [
            "9-gamma",
            "9-g123",
            "g0a1b2c3",
            "9.g0a1b2c3",
            "beta-g0a1b2c3",
            "09a-g0a1b2c3",
            "9-g0a1b2c3-dirt",
            "9-g0a1b2c3.1",
        ] {
            let text = std::format!("1.2.3-{pre}");
            assert!(version(&text) < version("1.2.3"), "{text}");
        }
    }

    #[test]
    fn build_metadata_does_not_count() {
        assert_eq!(version("1.2.0+a"), version("1.2+b"));
    }

    /// Every combination of some telling pieces, judged by the `semver` crate.
    #[test]
    fn reading_and_order_agree_with_the_semver_crate() {
        let cores = [
            "0.0.0", "0.0.1", "1.0.0", "1.10.0", "1.9.0", "01.0.0", "1.0", "1.0.0.0", "a.0.0",
        ];
        let pres = [
            "", "-", "-0", "-1", "-10", "-9", "-01", "-a", "-a.1", "-a.b", "-a..b", "-A", "--",
            "-1a", "-0a", "-00a", "-1.2.3", "-a.", "-a_b",
        ];
        let builds = ["", "+", "+1", "+01", "+a.b", "+a..b", "+a+b", "+-"];
        let mut accepted = Vec::<String>::new();
        for core in cores {
            for pre in pres {
                for build in builds {
                    let text = std::format!("{core}{pre}{build}");
                    let oracle = semver::Version::parse(&text);
                    match Version::parse(&text) {
                        Ok(ours) if core == "1.0" => {
                            let complete = std::format!("1.0.0{pre}{build}");
                            assert_eq!(
                                ours.to_string(),
                                semver::Version::parse(&complete).unwrap().to_string()
                            );
                        }
                        Ok(ours) => {
                            assert_eq!(ours.to_string(), oracle.unwrap().to_string());
                            accepted.push(text);
                        }
                        Err(error) => assert!(oracle.is_err(), "{text}: {error}"),
                    }
                }
            }
        }
        assert!(accepted.len() > 200);
        for left in &accepted {
            for right in &accepted {
                let oracle = semver::Version::parse(left)
                    .unwrap()
                    .cmp_precedence(&semver::Version::parse(right).unwrap());
                assert_eq!(version(left).cmp(&version(right)), oracle, "{left} {right}");
            }
        }
    }
}
