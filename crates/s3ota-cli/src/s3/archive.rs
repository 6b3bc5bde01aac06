//! Objects in an archive: they exist, and nobody can read them before they are restored.
//!
//! Lifecycle rules move objects there by age, and Intelligent-Tiering moves what nobody reads
//! ([S3 User Guide](https://docs.aws.amazon.com/AmazonS3/latest/userguide/archived-objects.html)).

use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use aws_sdk_s3::types::{ExpirationStatus, LifecycleRule, TransitionStorageClass};

use super::{Setting, Store};
use crate::clock;
use crate::error::CliError;

/// The classes from which every object can be read at once. GLACIER_IR is one of them, whatever its name says.
const READABLE: [&str; 10] = [
    "STANDARD",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER_IR",
    "REDUCED_REDUNDANCY",
    "EXPRESS_ONEZONE",
    "OUTPOSTS",
    "SNOW",
    "FSX_OPENZFS",
];

/// No image is larger: it fits into the flash of a chip.
const LARGEST: u64 = 128 * 1024 * 1024;

/// Where an archived object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// The storage class, or the archive tier of INTELLIGENT_TIERING, as the store names it.
    pub class: String,
}

/// What the answer to a HEAD tells about the object's storage.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Storage {
    /// It can be read.
    Readable,
    /// It cannot.
    Archived(Archived),
    /// The class is not one of S3's: a read shows it.
    Unknown,
}

impl Storage {
    pub(super) fn of(head: &HeadObjectOutput) -> Self {
        let class = head.storage_class().map_or("", |class| class.as_str());
        let tier = head.archive_status().map(|tier| tier.as_str());
        Self::from(class, tier, head.restore(), clock::now())
    }

    fn from(class: &str, tier: Option<&str>, restore: Option<&str>, now: u64) -> Self {
        let upper = class.to_ascii_uppercase();
        let name = match tier {
            Some(tier) => format!("{class} {tier}"),
            None if ["GLACIER", "DEEP_ARCHIVE"].contains(&upper.as_str()) => class.to_owned(),
            None if upper.is_empty() || READABLE.contains(&upper.as_str()) => {
                return Self::Readable;
            }
            None => return Self::Unknown,
        };
        match restore.is_some_and(|restore| is_restored(restore, now)) {
            true => Self::Readable,
            false => Self::Archived(Archived { class: name }),
        }
    }
}

/// Whether `x-amz-restore` tells of a copy that can be read: `ongoing-request="false", expiry-date="Fri, 21 Dec 2012 00:00:00 GMT"`.
fn is_restored(restore: &str, now: u64) -> bool {
    let value = |name: &str| {
        let rest = restore.split_once(name)?.1.strip_prefix("=\"")?;
        rest.split('"').next()
    };
    let ends = value("expiry-date")
        .and_then(|date| DateTime::from_str(date, DateTimeFormat::HttpDate).ok())
        .and_then(|date| u64::try_from(date.secs()).ok());
    value("ongoing-request") == Some("false") && ends.is_none_or(|ends| ends > now)
}

impl Store {
    /// The error that an object is archived.
    pub async fn archived(&self, what: &str, key: &str, archived: &Archived) -> CliError {
        let message = format!(
            "{what} is archived: s3://{}/{key} has the storage class {}, and nobody can read it{}",
            self.bucket,
            archived.class,
            self.archived_by(key, &archived.class).await
        );
        CliError::new("s3.archived", message)
    }

    /// Which rule moved an object to an archive, as the end of a sentence; nothing if the rules cannot be read or none does so.
    async fn archived_by(&self, key: &str, class: &str) -> String {
        let Ok(Setting::Is(rules)) = self.lifecycle().await else {
            return String::new();
        };
        let size = self.ask_head(key).await.ok();
        let size = size.and_then(|head| u64::try_from(head.content_length()?).ok());
        let rule = rules
            .iter()
            .find(|rule| moves_to(rule, class) && covers(rule, key, size));
        rule.map_or(String::new(), |rule| {
            let id = rule.id().unwrap_or("without an ID");
            format!("; the lifecycle rule `{id}` moves objects to {class}")
        })
    }
}

/// The archive that an enabled rule moves current objects to.
pub fn class_of_rule(rule: &LifecycleRule) -> Option<&str> {
    archives_of_rule(rule).next()
}

/// The same for several, one after the other.
fn archives_of_rule(rule: &LifecycleRule) -> impl Iterator<Item = &str> {
    let is_enabled = *rule.status() == ExpirationStatus::Enabled;
    let classes = rule
        .transitions()
        .iter()
        .filter_map(|to| to.storage_class());
    classes
        .map(TransitionStorageClass::as_str)
        .filter(move |class| is_enabled && !READABLE.contains(&class.to_ascii_uppercase().as_str()))
}

/// Whether a rule moves objects to this archive.
fn moves_to(rule: &LifecycleRule, class: &str) -> bool {
    archives_of_rule(rule).any(|archive| archive.eq_ignore_ascii_case(class))
}

/// What the keys begin with that a rule is for.
pub fn prefix_of(rule: &LifecycleRule) -> &str {
    #[expect(deprecated, reason = "older rules have their prefix there")]
    let old = rule.prefix();
    let filter = rule.filter();
    let and = filter.and_then(|filter| filter.and());
    let prefix = filter.and_then(|filter| filter.prefix().or_else(|| and?.prefix()));
    prefix.or(old).unwrap_or_default()
}

/// Whether a rule applies to objects of ours below a prefix, or above it: to one of this size, if it is known. A rule for a tag does
/// not: s3ota sets none.
pub fn covers(rule: &LifecycleRule, under: &str, size: Option<u64>) -> bool {
    let prefix = prefix_of(rule);
    let filter = rule.filter();
    let and = filter.and_then(|filter| filter.and());
    let is_for_tags = filter.is_some_and(|filter| filter.tag().is_some())
        || and.is_some_and(|and| !and.tags().is_empty());
    let above = filter.and_then(|filter| {
        let and = || and?.object_size_greater_than();
        filter.object_size_greater_than().or_else(and)
    });
    let below = filter.and_then(|filter| {
        let and = || and?.object_size_less_than();
        filter.object_size_less_than().or_else(and)
    });
    let is_above = |limit: i64, size: u64| i64::try_from(size).is_ok_and(|size| size > limit);
    let is_below = |limit: i64, size: u64| i64::try_from(size).is_ok_and(|size| size < limit);
    let fits = above.is_none_or(|limit| is_above(limit, size.unwrap_or(LARGEST)))
        && below.is_none_or(|limit| is_below(limit, size.unwrap_or(0)));
    !is_for_tags && fits && (under.starts_with(prefix) || prefix.starts_with(under))
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::types::{LifecycleRuleAndOperator, LifecycleRuleFilter, Tag, Transition};

    use super::*;

    const NOW: u64 = 1_767_225_600; // 2026-01-01

    #[test]
    fn what_can_be_read_is_decided_by_class_tier_and_restored_copy() {
        for class in [
            "",
            "STANDARD",
            "GLACIER_IR",
            "INTELLIGENT_TIERING",
            "standard_ia",
        ] {
            assert_eq!(Storage::from(class, None, None, NOW), Storage::Readable);
        }
        let archived = |class: &str| {
            Storage::Archived(Archived {
                class: class.to_owned(),
            })
        };
        for class in ["GLACIER", "DEEP_ARCHIVE"] {
            assert_eq!(Storage::from(class, None, None, NOW), archived(class));
        }
        let tiered = Storage::from("INTELLIGENT_TIERING", Some("ARCHIVE_ACCESS"), None, NOW);
        assert_eq!(tiered, archived("INTELLIGENT_TIERING ARCHIVE_ACCESS"));
        assert_eq!(
            Storage::from("ColdArchive", None, None, NOW),
            Storage::Unknown
        );

        let restored = r#"ongoing-request="false", expiry-date="Fri, 02 Jan 2026 00:00:00 GMT""#;
        let over = r#"ongoing-request="false", expiry-date="Wed, 31 Dec 2025 00:00:00 GMT""#;
        for (restore, readable) in [
            (restored, true),
            (r#"ongoing-request="false""#, true),
            (over, false),
            (r#"ongoing-request="true""#, false),
            ("", false),
        ] {
            let storage = Storage::from("GLACIER", None, Some(restore), NOW);
            assert_eq!(storage == Storage::Readable, readable, "{restore}");
        }
    }

    #[test]
    fn rules_that_archive_are_told_from_others() {
        let rule = |class: &str, filter: LifecycleRuleFilter| {
            LifecycleRule::builder()
                .status(ExpirationStatus::Enabled)
                .filter(filter)
                .transitions(Transition::builder().storage_class(class.into()).build())
                .build()
                .unwrap()
        };
        let under = |prefix: &str| LifecycleRuleFilter::builder().prefix(prefix).build();
        let glacier = rule("GLACIER", under("lamp/images/"));
        assert_eq!(class_of_rule(&glacier), Some("GLACIER"));
        assert_eq!(class_of_rule(&rule("STANDARD_IA", under(""))), None);
        assert_eq!(class_of_rule(&rule("GLACIER_IR", under(""))), None);
        assert!(covers(&glacier, "lamp/", None));
        assert!(covers(&glacier, "lamp/images/1.0.0-0123456789ab.bin", None));
        assert!(!covers(&glacier, "lamp/stable.json", None));
        let tag = Tag::builder().key("old").value("yes").build().unwrap();
        let tagged = LifecycleRuleFilter::builder().tag(tag).build();
        assert!(!covers(&rule("GLACIER", tagged), "lamp/", None));
        assert!(moves_to(&glacier, "glacier"));
        assert!(!moves_to(&glacier, "DEEP_ARCHIVE"));
        assert!(!moves_to(&glacier, "INTELLIGENT_TIERING ARCHIVE_ACCESS"));

        let large = LifecycleRuleFilter::builder().object_size_greater_than(1_000_000);
        let large = rule("GLACIER", large.build());
        let and = LifecycleRuleAndOperator::builder()
            .prefix("lamp/")
            .object_size_less_than(1000);
        let small = LifecycleRuleFilter::builder().and(and.build()).build();
        let small = rule("GLACIER", small);
        for (size, is_large, is_small) in [
            (Some(500), false, true),
            (Some(1000), false, false),
            (Some(2_000_000), true, false),
            (None, true, true),
        ] {
            assert_eq!(covers(&large, "lamp/", size), is_large, "{size:?}");
            assert_eq!(covers(&small, "lamp/", size), is_small, "{size:?}");
        }
        let huge = LifecycleRuleFilter::builder().object_size_greater_than(1 << 40);
        assert!(!covers(&rule("GLACIER", huge.build()), "lamp/", None));
    }
}
