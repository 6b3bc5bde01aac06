//! Errors of S3, with a next step.

use std::error::Error;
use std::fmt::Debug;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};

use super::checksums::{is_refusal, named_header};
use super::{Denial, Store};
use crate::clock;
use crate::error::CliError;

/// Why the service refused a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    NoBucket,
    NoKey,
    Credentials,
    Clock,
    Acl,
    Region,
    Denied,
    /// The service wants the bucket's name elsewhere in the URL.
    Addressing,
    /// It wants fewer requests.
    Busy,
    /// A condition does not hold.
    Conflict,
    Other,
}

impl Problem {
    pub(super) fn of<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Self {
        let Some(service) = error.as_service_error() else {
            return Self::Other;
        };
        let status = error.raw_response().map_or(0, |it| it.status().as_u16());
        // Answers to HEAD have no body, so only the HTTP status.
        let said = service.message().unwrap_or_default();
        match (service.code().unwrap_or_default(), status) {
            ("SecondLevelDomainForbidden", _) => Self::Addressing,
            _ if said.to_ascii_lowercase().contains("virtual host") => Self::Addressing,
            ("SlowDown" | "ServiceUnavailable" | "RequestLimitExceeded" | "TooManyRequests", _)
            | (_, 429 | 503) => Self::Busy,
            ("NoSuchBucket", _) | ("NotFound" | "", 404) => Self::NoBucket,
            (
                "InvalidAccessKeyId"
                | "SignatureDoesNotMatch"
                | "ExpiredToken"
                | "InvalidToken"
                | "TokenRefreshRequired",
                _,
            ) => Self::Credentials,
            ("RequestTimeTooSkewed", _) => Self::Clock,
            ("AccessControlListNotSupported", _) => Self::Acl,
            (
                "PermanentRedirect"
                | "AuthorizationHeaderMalformed"
                | "IllegalLocationConstraintException",
                _,
            )
            | (_, 301) => Self::Region,
            ("AccessDenied" | "AllAccessDisabled" | "Forbidden", _) | (_, 401 | 403) => {
                Self::Denied
            }
            ("NoSuchKey", _) => Self::NoKey,
            ("PreconditionFailed" | "ConditionalRequestConflict", _) | (_, 412) => Self::Conflict,
            _ => Self::Other,
        }
    }
}

impl Store {
    /// Explains why a request that needed `action` on `key` failed; an empty key is the bucket.
    pub(super) fn explain<E>(
        &self,
        error: SdkError<E, HttpResponse>,
        action: &'static str,
        key: &str,
    ) -> CliError
    where
        E: ProvideErrorMetadata + Error + Debug + 'static,
    {
        let bucket = &self.bucket;
        let status = error
            .raw_response()
            .map(|response| response.status().as_u16());
        let Some(service) = error.as_service_error() else {
            return match status {
                Some(status) => {
                    if wants_tls(&error) {
                        return plain_http();
                    }
                    let message = format!(
                        "the server's answer cannot be understood (HTTP {status}): {}",
                        chain(&error)
                    );
                    CliError::new("s3.error", message)
                        .hint("is --endpoint-url the URL of an S3 service?")
                }
                None => unreachable_server(&chain(&error), &self.region),
            };
        };
        let said = service.message().unwrap_or("the server gave no reason");
        match Problem::of(&error) {
            Problem::NoBucket => {
                CliError::new("s3.bucket", format!("there is no bucket {bucket}"))
                    .hint(format!("create it with `s3ota bucket init s3://{bucket}/PREFIX`, or check its spelling and the --endpoint-url"))
            }
            Problem::Credentials => {
                CliError::new("s3.credentials", format!("the server rejects the credentials: {said}"))
                    .hint("`aws sts get-caller-identity` shows which ones are used; choose others with --profile")
            }
            Problem::Clock => {
                let message = format!("the server says that this computer's clock is wrong{}: {said}", clock_error(&error));
                CliError::new("s3.clock", message).hint("set the clock: signatures are valid for 15 minutes")
            }
            Problem::Addressing => {
                CliError::new("s3.addressing", format!("the service wants the bucket's name in another place of the URL: {said}"))
                    .hint("use --addressing-style virtual (or path), or addressing_style in s3ota.toml or in the AWS configuration")
            }
            Problem::Busy => {
                CliError::new("s3.busy", format!("the service asks for fewer requests, even after some attempts: {}", coded(service.code(), said)))
                    .hint("wait a minute, and run the command again: it goes on where it stopped")
            }
            Problem::Acl => {
                CliError::new("s3.acl", format!("ACLs are disabled for the bucket {bucket}, as they are for every new bucket"))
                    .hint(format!("leave out --public-read, and open the bucket with `s3ota bucket init s3://{bucket}/PREFIX`"))
            }
            Problem::Region => {
                CliError::new("s3.region", format!("the bucket {bucket} is not in {}: {said}", self.region))
                    .hint(match right_region(&error, said) {
                        Some(region) => format!("it is in {region}: use --region {region}"),
                        None => "set its region with --region".to_owned(),
                    })
            }
            Problem::Denied => self.denied(said, action, key),
            Problem::NoKey => CliError::new("s3.missing", format!("there is no s3://{bucket}/{key}")),
            Problem::Conflict => self.changed(key),
            Problem::Other if wants_tls(&error) => plain_http(),
            Problem::Other if service.code().is_some_and(|code| code.starts_with("KMS.")) => {
                let name = format!("{bucket}/{key}");
                CliError::new("s3.kms", format!("the KMS key of s3://{name} cannot be used: {}", coded(service.code(), said)))
                    .hint("enable the key, or choose another one with --sse aws:kms:KEY, or S3's own keys with --sse AES256")
            }
            Problem::Other => {
                let message = match service.code() {
                    None | Some("") => format!("the server answers HTTP {}: {said}", status.unwrap_or_default()),
                    Some(code) => format!("the server answers {code}: {said}"),
                };
                let other = CliError::new("s3.error", message);
                match is_refusal(&error) {
                    true => self.without_header(other, named_header(said)),
                    false => other,
                }
            }
        }
    }

    /// What to leave out of a request that the service calls wrong, by the header that it names.
    fn without_header(&self, error: CliError, header: Option<String>) -> CliError {
        let header = header.unwrap_or_default();
        if header.starts_with("x-amz-server-side-encryption") {
            error.hint("leave out --sse: the service does not take the encryption from its users")
        } else if header == "x-amz-acl" {
            error.hint("leave out --public-read: the service has no ACLs. Open the bucket in its own settings")
        } else if !self.is_aws && !self.checksums.are_left_out() {
            error.hint(
                "some services refuse checksum headers: set AWS_REQUEST_CHECKSUM_CALCULATION=when_required and \
                 AWS_RESPONSE_CHECKSUM_VALIDATION=when_required, and try again",
            )
        } else {
            error
        }
    }

    /// The error that someone else has changed an object.
    pub(super) fn changed(&self, key: &str) -> CliError {
        let message = format!(
            "someone else has changed s3://{}/{key} in the meantime",
            self.bucket
        );
        CliError::new("s3.conflict", message).hint("check what is published now, and publish again")
    }

    fn denied(&self, said: &str, action: &str, key: &str) -> CliError {
        let name = if key.is_empty() {
            self.bucket.clone()
        } else {
            format!("{}/{key}", self.bucket)
        };
        if let Some(error) = Denial::read(said).explain(said, action, &name) {
            return error;
        }
        let message = format!("the credentials do not permit {action} on s3://{name}: {said}");
        let (resource, owner) = match key {
            "" => (self.arn(""), "bucket"),
            _ if self.prefix.is_empty() => (self.arn("*"), "object"),
            _ => (self.arn(&format!("{}/*", self.prefix)), "object"),
        };
        let actions: Vec<String> = action
            .split(" and ")
            .map(|action| format!("\"{action}\""))
            .collect();
        // Without s3:ListBucket, S3 answers 403 for a missing object.
        CliError::new("s3.denied", message).hint(format!(
            r#"the {owner} statement in an IAM policy that grants it: {{"Effect":"Allow","Action":[{}],"Resource":"{resource}"}}; s3ota needs s3:GetObject and s3:PutObject on {}, s3:DeleteObject there for gc, and s3:ListBucket on {}"#,
            actions.join(","),
            self.arn("*"),
            self.arn("")
        ))
    }
}

/// Why there are no credentials.
pub(super) fn credentials(error: &CredentialsError, profile: Option<&str>) -> CliError {
    // The last place in the chain is the metadata service of an EC2 instance, which fails in many ways elsewhere.
    let nowhere =
        matches!(error, CredentialsError::CredentialsNotLoaded(_)) || chain(error).contains("IMDS");
    match (error, profile) {
        (_, None) if nowhere => {
            CliError::new("s3.credentials", "no AWS credentials were found").hint(
                "run `aws configure` or `aws sso login`, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; \
                 --profile chooses a profile",
            )
        }
        (error, Some(profile)) => {
            let message = format!("the profile {profile} has no usable credentials: {}", chain(error));
            CliError::new("s3.credentials", message).hint("`aws configure list-profiles` lists the profiles")
        }
        (error, None) => CliError::new("s3.credentials", format!("the AWS credentials are not available: {}", chain(error)))
            .hint("try `aws sts get-caller-identity`, which uses the same credentials; `aws sso login` renews a session"),
    }
}

/// Code and message.
fn coded(code: Option<&str>, said: &str) -> String {
    match code {
        None | Some("") => said.to_owned(),
        Some(code) => format!("{code}: {said}"),
    }
}

/// How wrong the clock is by the server's, as a part of a sentence.
fn clock_error<E>(error: &SdkError<E, HttpResponse>) -> String {
    let date = error
        .raw_response()
        .and_then(|answer| answer.headers().get("date"));
    let date = date
        .and_then(|date| DateTime::from_str(date, DateTimeFormat::HttpDate).ok())
        .and_then(|date| u64::try_from(date.secs()).ok());
    let here = clock::now();
    match date {
        Some(there) if there.abs_diff(here) >= 60 => {
            let word = if here > there { "ahead" } else { "behind" };
            format!(", {} {word}", clock::span(there.abs_diff(here)))
        }
        _ => String::new(),
    }
}

/// The region that a bucket is in, if the answer tells it.
fn right_region<E>(error: &SdkError<E, HttpResponse>, said: &str) -> Option<String> {
    let header = error
        .raw_response()
        .and_then(|answer| answer.headers().get("x-amz-bucket-region"));
    let quoted = || said.split_once("expecting '")?.1.split('\'').next();
    let region = header.or_else(quoted)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (!region.is_empty() && region.chars().all(plain)).then(|| region.to_owned())
}

fn plain_http() -> CliError {
    let message = "the server speaks TLS on this port, and the endpoint is plain http";
    CliError::new("s3.connect", message).hint("write the endpoint with https://")
}

/// Whether a server complains that it was spoken to without TLS, as Go's and nginx do.
fn wants_tls<E>(error: &SdkError<E, HttpResponse>) -> bool {
    let body = error
        .raw_response()
        .and_then(|answer| answer.body().bytes());
    let text = String::from_utf8_lossy(body.unwrap_or_default()).to_ascii_lowercase();
    text.contains("request to an https server") || text.contains("sent to https port")
}

fn unreachable_server(problem: &str, region: &str) -> CliError {
    let unreachable = |problem: &str| {
        let message = format!("the S3 service cannot be reached (region {region}): {problem}");
        CliError::new("s3.connect", message)
    };
    // rustls shows the bytes of every algorithm.
    if let Some((at, _)) = problem.split_once("invalid peer certificate")
        && problem.contains("UnsupportedSignatureAlgorithm")
    {
        let message = format!(
            "{at}a certificate of its chain has a signature algorithm that is not supported"
        );
        return unreachable(&message).hint(
            "use certificates with keys of P-256 or P-384 and SHA-256 or SHA-384, or of RSA with 2048 bits or more",
        );
    }
    let error = unreachable(problem);
    let is_proxied = problem.contains(" through the proxy ");
    if problem.contains("UnknownIssuer") {
        return error.hint(match is_proxied {
            true => {
                "the proxy may have put its own certificate in the place of the server's: pass the CA of the proxy, as your \
                 administrators have it, with --ca or AWS_CA_BUNDLE"
            }
            false => "pass the CA of the server's certificate with --ca or AWS_CA_BUNDLE",
        });
    }
    if problem.contains("invalid peer certificate") {
        return error.hint(match is_proxied {
            true => "the certificate that came through the proxy is not valid; is it for the host name in --endpoint-url?",
            false => "the server's certificate is not valid; is it for the host name in --endpoint-url?",
        });
    }
    if problem.contains(" is not used: ") {
        return error.hint("check the --endpoint-url, the network, and the variables of the proxy");
    }
    if problem.contains("_PROXY") || problem.contains("_proxy") {
        return error.hint("check the proxy's URL, or exempt the host with NO_PROXY");
    }
    if problem.contains("speak TLS") {
        return error.hint(
            "check the scheme and the port of --endpoint-url: plain http is for this machine only",
        );
    }
    if problem.contains("https:") {
        return error.hint("write the endpoint with https://");
    }
    error.hint("check the --endpoint-url and the network")
}

/// An error and its causes, each once.
pub fn chain(error: &dyn Error) -> String {
    let mut causes: Vec<String> = Vec::new();
    let mut cause = Some(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if !causes.iter().any(|said| said.contains(&text)) {
            causes.push(text);
        }
        cause = error.source();
    }
    // Layers of the HTTP client, which tell nothing about the problem.
    let layers = [
        "dispatch failure",
        "io error",
        "user error",
        "other",
        "client error (Connect)",
        "client error (SendRequest)",
    ];
    if causes
        .last()
        .is_some_and(|last| !layers.contains(&last.as_str()))
    {
        causes.retain(|text| !layers.contains(&text.as_str()));
    }
    causes.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_algorithm_that_is_not_supported_is_named_without_its_bytes() {
        let problem = "localhost:9443: TLS handshake failed: invalid peer certificate: UnsupportedSignatureAlgorithmContext { \
            signature_algorithm_id: [6, 8, 42, 134, 72, 206, 61, 4, 3, 4], supported_algorithms: [0x06082a8648ce3d040302] }";
        let error = unreachable_server(problem, "eu-west-1");
        assert!(
            error.message.ends_with("localhost:9443: TLS handshake failed: a certificate of its chain has a signature algorithm that is not supported"),
            "{error}"
        );
        assert!(error.hint.unwrap().contains("P-256 or P-384"));
        let wrong_name = "localhost:9443: invalid peer certificate: NotValidForName";
        let error = unreachable_server(wrong_name, "eu-west-1");
        assert!(error.hint.unwrap().contains("for the host name"));
    }
}
