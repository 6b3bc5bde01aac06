//! Checksum headers, and stores that refuse them.
//!
//! S3 verifies an upload against the checksum in a header, and returns the checksum that it keeps. Stores that do not know these
//! headers ignore them, or refuse the whole request by the header's name: Backblaze B2 with 400 InvalidArgument until 2025, Cloudflare
//! R2 with 501 NotImplemented for `x-amz-checksum-algorithm`. Then s3ota goes on without them, and reads back what it uploaded.
//!
//! `AWS_REQUEST_CHECKSUM_CALCULATION` and `AWS_RESPONSE_CHECKSUM_VALIDATION`, or `request_checksum_calculation` and
//! `response_checksum_validation` in the profile, set to `when_required`, leave them out from the beginning.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_config::SdkConfig;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::interceptors::{
    BeforeSerializationInterceptorContextMut, BeforeTransmitInterceptorContextMut,
};
use aws_sdk_s3::config::{
    ConfigBag, Intercept, RequestChecksumCalculation, ResponseChecksumValidation, RuntimeComponents,
};
use aws_sdk_s3::error::{BoxError, ProvideErrorMetadata, SdkError};

/// Asks S3 to return the checksum that it keeps.
const MODE: &str = "x-amz-checksum-mode";

/// Which checksum headers are left out. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Checksums {
    /// Those of what is sent.
    sent: Arc<AtomicBool>,
    /// The question for those of what is received.
    received: Arc<AtomicBool>,
}

/// Whether a request may have had checksum headers. Several go out at a time: the first to be refused turns them off, and the others
/// are refused for them, too.
#[derive(Debug, Clone, Copy)]
pub(super) struct Had {
    sent: bool,
    received: bool,
}

impl Checksums {
    /// What the next request has.
    pub(super) fn now(&self) -> Had {
        Had {
            sent: self.are_sent(),
            received: !self.received.load(Ordering::Relaxed),
        }
    }

    /// What the environment and the profile want.
    pub(super) fn of(config: &SdkConfig) -> Self {
        let sent = config.request_checksum_calculation();
        let received = config.response_checksum_validation();
        let this = Self::default();
        this.leave_out(
            sent == Some(RequestChecksumCalculation::WhenRequired),
            received == Some(ResponseChecksumValidation::WhenRequired),
        );
        this
    }

    fn leave_out(&self, sent: bool, received: bool) {
        self.sent.fetch_or(sent, Ordering::Relaxed);
        self.received.fetch_or(received, Ordering::Relaxed);
    }

    /// Whether the store refused a request for a checksum header, which the next one does without: without all of them, since such a
    /// store names the first that it sees.
    pub(super) fn do_without<E: ProvideErrorMetadata>(
        &self,
        error: &SdkError<E, HttpResponse>,
        had: Had,
    ) -> bool {
        // A checksum that is wrong is not one that the store does not know.
        let code = error.code().unwrap_or_default();
        let is_wrong = ["Digest", "Mismatch"].iter().any(|it| code.contains(it));
        if !is_refusal(error) || is_wrong {
            return false;
        }
        let named = error.message().and_then(named_header);
        let Some(header) = named.filter(|it| it == MODE || is_of_checksum(it)) else {
            return false;
        };
        self.leave_out(true, true);
        tracing::info!("the store refuses {header}: going on without checksum headers");
        had.sent || had.received
    }

    /// Whether a refused download may be one for the question for checksums, since the store does not say why. The next one does
    /// without.
    pub(super) fn may_be_the_question<E: ProvideErrorMetadata>(
        &self,
        error: &SdkError<E, HttpResponse>,
        had: Had,
    ) -> bool {
        let general = [
            "",
            "BadRequest",
            "InvalidArgument",
            "InvalidRequest",
            "NotImplemented",
        ];
        let may = had.received
            && is_refusal(error)
            && general.contains(&error.code().unwrap_or_default())
            && error.message().and_then(named_header).is_none();
        self.leave_out(false, may);
        may
    }

    /// Does not ask for checksums any more.
    pub(super) fn do_not_ask(&self) {
        self.received.store(true, Ordering::Relaxed);
    }

    /// Asks for checksums again: that was not the reason.
    pub(super) fn ask_again(&self) {
        self.received.store(false, Ordering::Relaxed);
    }

    /// Whether no request has a checksum header.
    pub(super) fn are_left_out(&self) -> bool {
        self.sent.load(Ordering::Relaxed) && self.received.load(Ordering::Relaxed)
    }

    /// Whether a checksum header may be what the store has not implemented, since it names nothing. The next upload does without.
    pub(super) fn may_be_why<E: ProvideErrorMetadata>(
        &self,
        error: &SdkError<E, HttpResponse>,
    ) -> bool {
        error.code() == Some("NotImplemented")
            && error.message().and_then(named_header).is_none()
            && !self.sent.swap(true, Ordering::Relaxed)
    }

    /// Whether uploads carry a checksum.
    pub(super) fn are_sent(&self) -> bool {
        !self.sent.load(Ordering::Relaxed)
    }

    /// Sends checksums again: they were not the reason.
    pub(super) fn send_again(&self) {
        self.sent.store(false, Ordering::Relaxed);
    }
}

/// Whether a store calls a request wrong, or does not know what it asks for.
pub(super) fn is_refusal<E>(error: &SdkError<E, HttpResponse>) -> bool {
    let status = error.raw_response().map(|answer| answer.status().as_u16());
    matches!(status, Some(400 | 501))
}

fn is_of_checksum(header: &str) -> bool {
    ["x-amz-checksum-", "x-amz-sdk-checksum-"]
        .iter()
        .any(|start| header.starts_with(start))
        || ["x-amz-checksum", "x-amz-trailer"].contains(&header)
}

/// The header that a message names, in lower case: what begins with `x-amz-`, or is a condition of a write, or else what is in quotes
/// after the word header.
pub(super) fn named_header(message: &str) -> Option<String> {
    let lower = message.to_ascii_lowercase();
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let name = match lower.find("x-amz-") {
        Some(at) => &lower[at..],
        None if lower.contains("if-none-match") => "if-none-match",
        None if lower.contains("if-match") => "if-match",
        None => {
            let rest = lower.split_once("header")?.1;
            let rest = rest.trim_start_matches([' ', ':']);
            rest.strip_prefix(['\'', '"', '`'])?
        }
    };
    let end = name.find(|c| !is_of_name(c)).unwrap_or(name.len());
    Some(name[..end].to_owned()).filter(|name| !name.is_empty())
}

impl Intercept for Checksums {
    fn name(&self) -> &'static str {
        "Checksums"
    }

    /// Keeps the SDK from adding them.
    fn modify_before_serialization(
        &self,
        _: &mut BeforeSerializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let state = config.interceptor_state();
        if self.sent.load(Ordering::Relaxed) {
            state.store_put(RequestChecksumCalculation::WhenRequired);
        }
        if self.received.load(Ordering::Relaxed) {
            state.store_put(ResponseChecksumValidation::WhenRequired);
        }
        Ok(())
    }

    /// Takes out those that a request was made with.
    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let sent = self.sent.load(Ordering::Relaxed);
        let received = self.received.load(Ordering::Relaxed);
        let headers = context.request_mut().headers_mut();
        let names = headers.iter().map(|(name, _)| name.to_owned());
        let is_out = |name: &String| match name.as_str() {
            MODE => received,
            name => sent && is_of_checksum(name),
        };
        let out: Vec<String> = names.filter(is_out).collect();
        for name in out {
            headers.remove(&name);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_in_a_refusal_is_found() {
        for (message, header) in [
            (
                "Unsupported header 'x-amz-checksum-sha256' received for this API call.",
                Some("x-amz-checksum-sha256"),
            ),
            (
                "Header 'x-amz-checksum-algorithm' with value 'CRC32' not implemented",
                Some("x-amz-checksum-algorithm"),
            ),
            ("X-Amz-Checksum-Mode: not supported", Some(MODE)),
            ("Header 'If-Match' is not implemented", Some("if-match")),
            ("If-None-Match: not supported", Some("if-none-match")),
            ("the header 'Range' is not supported", Some("range")),
            (
                "A header you provided implies functionality that is not implemented",
                None,
            ),
            ("Invalid argument.", None),
        ] {
            assert_eq!(named_header(message).as_deref(), header, "{message}");
        }
    }
}
