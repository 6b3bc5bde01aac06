//! Errors of S3, with a next step.

use std::error::Error;
use std::fmt::Debug;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::Store;
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
        match (service.code().unwrap_or_default(), status) {
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
                    let message = format!(
                        "the server's answer cannot be understood (HTTP {status}): {}",
                        chain(&error)
                    );
                    CliError::new("s3.error", message)
                        .hint("is --endpoint-url the URL of an S3 service?")
                }
                None => unreachable_server(&chain(&error)),
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
            Problem::Clock => CliError::new("s3.error", "the server says that this computer's clock is wrong")
                .hint("set the clock: signatures are valid for 15 minutes"),
            Problem::Acl => {
                CliError::new("s3.acl", format!("ACLs are disabled for the bucket {bucket}, as they are for every new bucket"))
                    .hint(format!("leave out --public-read, and open the bucket with `s3ota bucket init s3://{bucket}/PREFIX`"))
            }
            Problem::Region => {
                CliError::new("s3.region", format!("the bucket {bucket} is not in {}: {said}", self.region))
                    .hint("set its region with --region")
            }
            Problem::Denied => self.denied(said, action, key),
            Problem::NoKey => CliError::new("s3.missing", format!("there is no s3://{bucket}/{key}")),
            Problem::Conflict => self.changed(key),
            Problem::Other => match service.code() {
                None | Some("") => CliError::new("s3.error", format!("the server answers HTTP {}: {said}", status.unwrap_or_default())),
                Some(code) => CliError::new("s3.error", format!("the server answers {code}: {said}")),
            },
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

fn unreachable_server(problem: &str) -> CliError {
    let error = CliError::new(
        "s3.connect",
        format!("the S3 service cannot be reached: {problem}"),
    );
    if problem.contains("UnknownIssuer") {
        error.hint("pass the CA of the server's certificate with --ca")
    } else if problem.contains("invalid peer certificate") {
        error.hint(
            "the server's certificate is not valid; is it for the host name in --endpoint-url?",
        )
    } else {
        error.hint("check the --endpoint-url and the network")
    }
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
    let layers = ["dispatch failure", "io error", "client error (Connect)"];
    if causes
        .last()
        .is_some_and(|last| !layers.contains(&last.as_str()))
    {
        causes.retain(|text| !layers.contains(&text.as_str()));
    }
    causes.join(": ")
}
