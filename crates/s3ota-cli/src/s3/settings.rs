//! The settings of a bucket: read access, deletion, logging.
//!
//! Not every service has all of them: one that is missing is `Setting::Unsupported`, not an error.

use std::error::Error;
use std::fmt::Debug;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, BucketLoggingStatus, BucketVersioningStatus, LifecycleRule,
    LoggingEnabled, PartitionDateSource, PartitionedPrefix, PublicAccessBlockConfiguration,
    TargetObjectKeyFormat,
};

use super::Store;
use super::error::Problem;
use crate::error::CliError;

/// The value of a setting.
#[derive(Debug, Clone, PartialEq)]
pub enum Setting<T> {
    /// This value.
    Is(T),
    /// None.
    Unset,
    /// The service has no such setting.
    Unsupported,
}

impl<T> Setting<T> {
    fn map<U>(self, f: impl FnOnce(T) -> Option<U>) -> Setting<U> {
        match self {
            Self::Is(value) => f(value).map_or(Setting::Unset, Setting::Is),
            Self::Unset => Setting::Unset,
            Self::Unsupported => Setting::Unsupported,
        }
    }
}

/// The switches of Block Public Access.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PublicAccessBlock {
    /// Public ACLs cannot be set, and existing ones have no effect.
    pub acls: bool,
    /// Public policies cannot be set, and existing ones have no effect.
    pub policy: bool,
}

/// Where an access log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogTarget {
    /// The bucket.
    pub bucket: String,
    /// The beginning of the keys.
    pub prefix: String,
    /// Whether a folder for each day follows it.
    pub by_day: bool,
}

impl Store {
    /// Whether the bucket exists and the credentials can see it.
    pub async fn exists(&self) -> Result<bool, CliError> {
        match self.client.head_bucket().bucket(&self.bucket).send().await {
            Ok(_) => Ok(true),
            Err(error) if status(&error) == Some(404) => Ok(false),
            Err(error) if status(&error) == Some(403) => {
                let message = format!(
                    "the bucket {} belongs to someone else, or the credentials may not see it",
                    self.bucket
                );
                Err(CliError::new("s3.denied", message).hint(
                    "choose another name: all of AWS shares the names of buckets; or get s3:ListBucket on it",
                ))
            }
            Err(error) => Err(self.explain(error, "s3:ListBucket", "")),
        }
    }

    /// The bucket's policy.
    pub async fn policy(&self) -> Result<Setting<String>, CliError> {
        let answer = self.client.get_bucket_policy().bucket(&self.bucket).send();
        let setting = self.setting(answer.await, "s3:GetBucketPolicy")?;
        Ok(setting.map(|answer| answer.policy))
    }

    /// Replaces the bucket's policy; an empty one is deleted. `false` if the service has no policies.
    pub async fn set_policy(&self, policy: Option<&str>) -> Result<bool, CliError> {
        match policy {
            Some(policy) => {
                let put = self.client.put_bucket_policy().bucket(&self.bucket);
                self.done(put.policy(policy).send().await, "s3:PutBucketPolicy")
            }
            None => {
                let delete = self.client.delete_bucket_policy().bucket(&self.bucket);
                self.done(delete.send().await, "s3:DeleteBucketPolicy")
            }
        }
    }

    /// The bucket's own Block Public Access.
    pub async fn public_access_block(&self) -> Result<Setting<PublicAccessBlock>, CliError> {
        let get = self.client.get_public_access_block().bucket(&self.bucket);
        let setting = self.setting(get.send().await, "s3:GetBucketPublicAccessBlock")?;
        Ok(setting.map(|answer| {
            let block = answer.public_access_block_configuration?;
            let on = |switch: Option<bool>| switch.unwrap_or(false);
            Some(PublicAccessBlock {
                acls: on(block.block_public_acls) && on(block.ignore_public_acls),
                policy: on(block.block_public_policy) || on(block.restrict_public_buckets),
            })
        }))
    }

    /// Sets the bucket's Block Public Access. `false` if the service has none.
    pub async fn set_public_access_block(
        &self,
        block: PublicAccessBlock,
    ) -> Result<bool, CliError> {
        let configuration = PublicAccessBlockConfiguration::builder()
            .block_public_acls(block.acls)
            .ignore_public_acls(block.acls)
            .block_public_policy(block.policy)
            .restrict_public_buckets(block.policy)
            .build();
        let put = self.client.put_public_access_block().bucket(&self.bucket);
        let put = put.public_access_block_configuration(configuration);
        self.done(put.send().await, "s3:PutBucketPublicAccessBlock")
    }

    /// The lifecycle rules, which delete objects.
    pub async fn lifecycle(&self) -> Result<Setting<Vec<LifecycleRule>>, CliError> {
        let get = self
            .client
            .get_bucket_lifecycle_configuration()
            .bucket(&self.bucket);
        let setting = self.setting(get.send().await, "s3:GetLifecycleConfiguration")?;
        Ok(setting.map(|answer| answer.rules))
    }

    /// Replaces the lifecycle rules. `false` if the service has none.
    pub async fn set_lifecycle(&self, rules: Vec<LifecycleRule>) -> Result<bool, CliError> {
        let configuration = BucketLifecycleConfiguration::builder()
            .set_rules(Some(rules))
            .build()
            .map_err(|error| CliError::new("s3.error", error.to_string()))?;
        let put = self
            .client
            .put_bucket_lifecycle_configuration()
            .bucket(&self.bucket);
        let put = put.lifecycle_configuration(configuration);
        self.done(put.send().await, "s3:PutLifecycleConfiguration")
    }

    /// The number of rules that let web pages of other origins read the bucket.
    pub async fn cors(&self) -> Result<Setting<usize>, CliError> {
        let get = self.client.get_bucket_cors().bucket(&self.bucket);
        let setting = self.setting(get.send().await, "s3:GetBucketCORS")?;
        Ok(setting.map(|answer| Some(answer.cors_rules().len()).filter(|&rules| rules > 0)))
    }

    /// Whether overwritten and deleted objects are kept.
    pub async fn versioning(&self) -> Result<Setting<bool>, CliError> {
        let get = self.client.get_bucket_versioning().bucket(&self.bucket);
        let setting = self.setting(get.send().await, "s3:GetBucketVersioning")?;
        Ok(setting.map(|answer| Some(answer.status? == BucketVersioningStatus::Enabled)))
    }

    /// Where the access log goes.
    pub async fn logging(&self) -> Result<Setting<LogTarget>, CliError> {
        let get = self.client.get_bucket_logging().bucket(&self.bucket);
        let setting = self.setting(get.send().await, "s3:GetBucketLogging")?;
        Ok(setting.map(|answer| {
            let target = answer.logging_enabled?;
            let format = target.target_object_key_format.as_ref();
            Some(LogTarget {
                by_day: format.is_some_and(|format| format.partitioned_prefix().is_some()),
                bucket: target.target_bucket,
                prefix: target.target_prefix,
            })
        }))
    }

    /// Logs every access to another bucket, in a folder for each day. `false` if the service has no access log.
    ///
    /// The day is the one of the delivery. So whoever reads the logs finds all that is new in the last folders.
    pub async fn set_logging(&self, bucket: &str, prefix: &str) -> Result<bool, CliError> {
        let by_day = PartitionedPrefix::builder()
            .partition_date_source(PartitionDateSource::DeliveryTime)
            .build();
        let format = TargetObjectKeyFormat::builder().partitioned_prefix(by_day);
        let target = LoggingEnabled::builder()
            .target_bucket(bucket)
            .target_prefix(prefix)
            .target_object_key_format(format.build())
            .build()
            .map_err(|error| CliError::new("s3.error", error.to_string()))?;
        let status = BucketLoggingStatus::builder().logging_enabled(target);
        let put = self.client.put_bucket_logging().bucket(&self.bucket);
        let put = put.bucket_logging_status(status.build());
        self.done(put.send().await, "s3:PutBucketLogging")
    }

    /// Another bucket, with the same service and credentials.
    pub fn of_bucket(&self, bucket: &str) -> Self {
        Self {
            bucket: bucket.to_owned(),
            ..self.clone()
        }
    }

    fn setting<T, E>(
        &self,
        result: Result<T, SdkError<E, HttpResponse>>,
        action: &'static str,
    ) -> Result<Setting<T>, CliError>
    where
        E: ProvideErrorMetadata + Error + Debug + 'static,
    {
        match result {
            Ok(value) => Ok(Setting::Is(value)),
            Err(error) if is_unset(&error) => Ok(Setting::Unset),
            Err(error) if is_unsupported(&error) => Ok(Setting::Unsupported),
            Err(error) => Err(self.explain_setting(error, action)),
        }
    }

    fn done<T, E>(
        &self,
        result: Result<T, SdkError<E, HttpResponse>>,
        action: &'static str,
    ) -> Result<bool, CliError>
    where
        E: ProvideErrorMetadata + Error + Debug + 'static,
    {
        match result {
            Ok(_) => Ok(true),
            Err(error) if is_unsupported(&error) => Ok(false),
            Err(error) => Err(self.explain_setting(error, action)),
        }
    }

    fn explain_setting<E>(&self, error: SdkError<E, HttpResponse>, action: &'static str) -> CliError
    where
        E: ProvideErrorMetadata + Error + Debug + 'static,
    {
        let problem = Problem::of(&error);
        let error = self.explain(error, action, "");
        if problem != Problem::Denied {
            return error;
        }
        let hint = match action {
            "s3:PutBucketPolicy" => format!(
                "it needs s3:PutBucketPolicy on {}, and Block Public Access must permit it: see \
                 `aws s3api get-public-access-block --bucket {}`, and for the whole account \
                 `aws s3control get-public-access-block --account-id ID`; or keep the bucket private with --private",
                self.arn(""),
                self.bucket
            ),
            _ => format!(
                "setting up a bucket needs {action} on {}, and the matching Get and Put permissions: ask an administrator",
                self.arn("")
            ),
        };
        error.hint(hint)
    }
}

fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error
        .raw_response()
        .map(|response| response.status().as_u16())
}

fn is_unset<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    // moto answers 200 without a value if versioning was never set.
    status(error) == Some(200)
        || matches!(
            error.code(),
            Some(
                "NoSuchBucketPolicy"
                    | "NoSuchPublicAccessBlockConfiguration"
                    | "NoSuchLifecycleConfiguration"
                    | "NoSuchCORSConfiguration"
            )
        )
}

fn is_unsupported<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    matches!(error.code(), Some("NotImplemented" | "MethodNotAllowed"))
        || matches!(status(error), Some(405 | 501))
}
