//! Reading objects. What is in an archive counts as missing where a device would have to read it, and is an error elsewhere.

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::{GetObjectError, GetObjectOutput};
use aws_sdk_s3::operation::head_object::{HeadObjectError, HeadObjectOutput};
use aws_sdk_s3::types::ChecksumMode;
use sha2::{Digest, Sha256};

use super::archive::Storage;
use super::checksums::is_refusal;
use super::{Archived, Store, seconds};
use crate::error::CliError;

/// The largest object that is read: a manifest has at most 8 KiB.
const MAX_READ: i64 = 1 << 20;

/// An object.
#[derive(Debug, Clone)]
pub struct Object {
    /// Its contents.
    pub bytes: Vec<u8>,
    /// Its entity tag, which identifies this state of it.
    pub etag: Option<String>,
    /// When it was written, in seconds since 1970.
    pub modified: Option<u64>,
}

/// The metadata of an object.
#[derive(Debug, Clone, Default)]
pub struct Head {
    /// Bytes.
    pub size: u64,
    /// Its SHA-256 in base64, if it was uploaded with one and the service keeps it.
    pub sha256: Option<String>,
    /// When it was written, in seconds since 1970.
    pub modified: Option<u64>,
}

/// What there is under a key.
#[derive(Debug, Clone)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// An object that nobody can read.
    Archived(Archived, Head),
    /// An object.
    Object(Head),
}

/// A started download.
enum Opened {
    Nothing,
    Archived(Archived),
    Object(Box<GetObjectOutput>),
}

impl Store {
    /// The metadata of an object that can be read; `None` if there is none, or if it is archived.
    pub async fn head(&self, key: &str) -> Result<Option<Head>, CliError> {
        match self.find(key).await? {
            Found::Object(head) => Ok(Some(head)),
            Found::Nothing | Found::Archived(..) => Ok(None),
        }
    }

    /// What there is under a key.
    pub async fn find(&self, key: &str) -> Result<Found, CliError> {
        let mut answer = self.ask_head(key).await;
        if let Err(error) = &answer
            && gives_no_reason(error)
        {
            let is_refusal = is_refusal(error);
            // Answers to HEAD have no body. A GET is refused for the same reason, and says it.
            match self.ask_get(key, Some("bytes=0-0".to_owned())).await {
                Err(error) if is_archived(&error) => {
                    return Ok(Found::Archived(class_in(&error), Head::default()));
                }
                Err(error) if is_missing(&error) => return Ok(Found::Nothing),
                Err(error) => return Err(self.explain(error, "s3:GetObject", key)),
                // It may have been a checksum header, without which the store was asked now, or is.
                Ok(_) => {
                    if is_refusal {
                        self.checksums.do_not_ask();
                    }
                    answer = self.ask_head(key).await;
                }
            }
        }
        let answer = match answer {
            Ok(answer) => answer,
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(HeadObjectError::is_not_found) =>
            {
                return Ok(Found::Nothing);
            }
            Err(error) => return Err(self.explain(error, "s3:GetObject", key)),
        };
        let head = Head {
            size: answer
                .content_length()
                .and_then(|length| u64::try_from(length).ok())
                .unwrap_or(0),
            sha256: answer.checksum_sha256().map(str::to_owned),
            modified: answer.last_modified().and_then(seconds),
        };
        match Storage::of(&answer) {
            Storage::Readable => Ok(Found::Object(head)),
            Storage::Archived(archived) => Ok(Found::Archived(archived, head)),
            Storage::Unknown => match self.open(key, Some("bytes=0-0".to_owned())).await? {
                Opened::Nothing => Ok(Found::Nothing),
                Opened::Archived(archived) => Ok(Found::Archived(archived, head)),
                Opened::Object(_) => Ok(Found::Object(head)),
            },
        }
    }

    pub(super) async fn ask_head(
        &self,
        key: &str,
    ) -> Result<HeadObjectOutput, SdkError<HeadObjectError, HttpResponse>> {
        let request = self.client.head_object().bucket(&self.bucket).key(key);
        request.checksum_mode(ChecksumMode::Enabled).send().await
    }

    async fn ask_get(
        &self,
        key: &str,
        range: Option<String>,
    ) -> Result<GetObjectOutput, SdkError<GetObjectError, HttpResponse>> {
        let ask = || {
            let request = self.client.get_object().bucket(&self.bucket).key(key);
            request.set_range(range.clone()).send()
        };
        let had = self.checksums.now();
        match ask().await {
            Err(error) if self.checksums.do_without(&error, had) => ask().await,
            Err(error) if self.checksums.may_be_the_question(&error, had) => {
                let answer = ask().await;
                if answer.as_ref().is_err_and(is_refusal) {
                    self.checksums.ask_again();
                }
                answer
            }
            answer => answer,
        }
    }

    /// Requests an object, or the part of it that a `Range` names.
    async fn open(&self, key: &str, range: Option<String>) -> Result<Opened, CliError> {
        match self.ask_get(key, range).await {
            Ok(object) => Ok(Opened::Object(Box::new(object))),
            Err(error) if is_missing(&error) => Ok(Opened::Nothing),
            Err(error) if is_archived(&error) => Ok(Opened::Archived(class_in(&error))),
            Err(error) => Err(self.explain(error, "s3:GetObject", key)),
        }
    }

    /// The error that the download of an object was interrupted.
    fn broken(&self, key: &str, error: &dyn std::fmt::Display) -> CliError {
        let message = format!(
            "the download of s3://{}/{key} was interrupted: {error}",
            self.bucket
        );
        CliError::new("s3.connect", message)
    }

    /// A small object; `None` if it does not exist. An archived one is an error: it counts, and nobody knows what it says.
    pub async fn get(&self, key: &str) -> Result<Option<Object>, CliError> {
        let object = match self.open(key, None).await? {
            Opened::Nothing => return Ok(None),
            Opened::Object(object) => object,
            Opened::Archived(archived) => {
                let error = self
                    .archived("an object that s3ota needs", key, &archived)
                    .await;
                return Err(error.hint(format!(
                    "restore it with `aws s3api restore-object --bucket {} --key {key} --restore-request Days=7`, copy it onto itself \
                     with the storage class STANDARD, and exclude the prefix from the lifecycle rule",
                    self.bucket
                )));
            }
        };
        if object
            .content_length()
            .is_some_and(|length| length > MAX_READ)
        {
            let message = format!("s3://{}/{key} is too large for a manifest", self.bucket);
            return Err(
                CliError::new("manifest.invalid", message).hint("choose another prefix or channel")
            );
        }
        let etag = object.e_tag().map(str::to_owned);
        let modified = object.last_modified().and_then(seconds);
        let bytes = object.body.collect().await;
        let bytes = bytes.map_err(|error| self.broken(key, &error))?;
        Ok(Some(Object {
            bytes: bytes.to_vec(),
            etag,
            modified,
        }))
    }

    /// The first `length` bytes of an object; `None` if it does not exist, is archived or is shorter.
    pub async fn get_start(&self, key: &str, length: u64) -> Result<Option<Vec<u8>>, CliError> {
        let range = format!("bytes=0-{}", length.saturating_sub(1));
        let Opened::Object(object) = self.open(key, Some(range)).await? else {
            return Ok(None);
        };
        let mut body = object.body;
        let mut bytes = Vec::new();
        while let Some(Ok(chunk)) = body.next().await {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 >= length {
                bytes.truncate(length as usize);
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// The SHA-256 of a whole object; `None` if it does not exist or is archived.
    pub async fn read_sha256(&self, key: &str) -> Result<Option<[u8; 32]>, CliError> {
        let Opened::Object(object) = self.open(key, None).await? else {
            return Ok(None);
        };
        let mut body = object.body;
        let mut hash = Sha256::new();
        while let Some(chunk) = body.next().await {
            hash.update(&chunk.map_err(|error| self.broken(key, &error))?);
        }
        Ok(Some(hash.finalize().into()))
    }
}

/// Whether a refusal says nothing but its status, and is not the plain answer that there is nothing.
fn gives_no_reason<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let status = error.raw_response().map(|answer| answer.status().as_u16());
    status.is_some_and(|status| matches!(status, 301 | 307 | 400..=403 | 405..=599))
}

fn is_missing(error: &SdkError<GetObjectError, HttpResponse>) -> bool {
    error
        .as_service_error()
        .is_some_and(GetObjectError::is_no_such_key)
}

fn is_archived(error: &SdkError<GetObjectError, HttpResponse>) -> bool {
    error.code() == Some("InvalidObjectState")
}

/// The class that S3 names with InvalidObjectState.
fn class_in(error: &SdkError<GetObjectError, HttpResponse>) -> Archived {
    let named = match error.as_service_error() {
        Some(GetObjectError::InvalidObjectState(state)) => {
            let tier = state
                .access_tier()
                .map(|tier| format!(" {}", tier.as_str()));
            let class = state.storage_class().map(|class| class.as_str());
            class.map(|class| format!("{class}{}", tier.unwrap_or_default()))
        }
        _ => None,
    };
    Archived {
        class: named.unwrap_or_else(|| "of an archive".to_owned()),
    }
}
