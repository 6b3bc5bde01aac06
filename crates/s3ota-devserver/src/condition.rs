//! Conditional reads and writes (RFC 9110 section 13).

use s3s::dto::{ETag, ETagCondition, Timestamp, TimestampFormat};

use crate::store::{Object, StoreError};

/// What the condition of a read leads to.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum ReadVerdict {
    Serve,
    NotModified,
    PreconditionFailed,
}

/// The conditions of a GET or HEAD.
#[derive(Default)]
pub(crate) struct ReadCondition {
    pub(crate) if_match: Option<ETagCondition>,
    pub(crate) if_none_match: Option<ETagCondition>,
    pub(crate) if_modified_since: Option<Timestamp>,
    pub(crate) if_unmodified_since: Option<Timestamp>,
}

impl ReadCondition {
    /// In the order of RFC 9110 section 13.2.2, which S3 follows: an entity tag takes precedence over a date.
    pub(crate) fn check(&self, object: &Object) -> ReadVerdict {
        let etag = object.etag();
        let holds = match (&self.if_match, &self.if_unmodified_since) {
            (Some(ETagCondition::Any), _) => true,
            (Some(ETagCondition::ETag(wanted)), _) => etag.strong_cmp(wanted),
            (None, Some(date)) => object.last_modified() <= *date,
            (None, None) => true,
        };
        if !holds {
            return ReadVerdict::PreconditionFailed;
        }
        let unchanged = match (&self.if_none_match, &self.if_modified_since) {
            (Some(ETagCondition::Any), _) => true,
            (Some(ETagCondition::ETag(known)), _) => etag.weak_cmp(known),
            (None, Some(date)) => object.last_modified() <= *date,
            (None, None) => false,
        };
        if unchanged {
            ReadVerdict::NotModified
        } else {
            ReadVerdict::Serve
        }
    }
}

/// Whether a range may be served: the value of `If-Range` matches the current object (RFC 9110 section 13.1.5). S3
/// implements this, although its API reference does not mention the header.
pub(crate) fn if_range_holds(value: &str, object: &Object) -> bool {
    if value.starts_with('"') || value.starts_with("W/") {
        return ETag::parse_http_header(value.as_bytes())
            .is_ok_and(|wanted| object.etag().strong_cmp(&wanted));
    }
    Timestamp::parse(TimestampFormat::HttpDate, value)
        .is_ok_and(|date| date == object.last_modified())
}

/// The condition of a write.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) enum WriteCondition {
    #[default]
    None,
    /// `If-None-Match: *`
    Absent,
    /// `If-Match: *`
    Present,
    /// `If-Match: "…"`
    Matches(String),
}

impl WriteCondition {
    /// `None` for a combination that S3 does not implement either: `If-None-Match` with an entity tag.
    pub(crate) fn new(
        if_match: Option<ETagCondition>,
        if_none_match: Option<ETagCondition>,
    ) -> Option<WriteCondition> {
        match (if_match, if_none_match) {
            (None, None) => Some(WriteCondition::None),
            (None, Some(ETagCondition::Any)) => Some(WriteCondition::Absent),
            (Some(ETagCondition::Any), None) => Some(WriteCondition::Present),
            (Some(ETagCondition::ETag(etag)), None) => {
                Some(WriteCondition::Matches(etag.into_value()))
            }
            _ => None,
        }
    }

    pub(crate) fn check(&self, object: Option<&Object>) -> Result<(), StoreError> {
        match (self, object) {
            (WriteCondition::None, _)
            | (WriteCondition::Absent, None)
            | (WriteCondition::Present, Some(_)) => Ok(()),
            (WriteCondition::Matches(etag), Some(object)) if *etag == object.etag => Ok(()),
            (WriteCondition::Present | WriteCondition::Matches(_), None) => {
                Err(StoreError::NoSuchKey)
            }
            _ => Err(StoreError::PreconditionFailed),
        }
    }
}
