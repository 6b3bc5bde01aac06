//! The S3 side of publishing: one bucket, seen with the ordinary AWS credentials.

mod access;
mod args;
pub mod certificates;
pub mod development;
mod endpoint;
mod error;
mod listing;
mod location;
mod probe;
mod settings;
mod tls;
mod upload;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use aws_config::Region;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Credentials as AwsCredentials, StalledStreamProtectionConfig};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::types::{BucketLocationConstraint, ChecksumMode, CreateBucketConfiguration};
use sha2::{Digest, Sha256};

use self::access::DEFAULT_REGION;
pub use self::access::{Access, Credentials};
pub use self::args::{AwsArgs, S3Args};
#[cfg(feature = "kms")]
pub use self::error::chain as error_chain;
pub use self::listing::{Folders, Listed};
pub use self::location::Location;
pub use self::probe::Probe;
pub use self::settings::{PublicAccessBlock, Setting};
pub use self::upload::{Condition, Put, Upload};
use crate::error::CliError;

/// The longest time a pre-signed URL can be good for
/// ([Signature Version 4](https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-presigned-url.html)).
const MAX_PRESIGN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Refuses a time for which no URL can be signed.
pub fn check_presign(time: Duration) -> Result<(), CliError> {
    if time <= MAX_PRESIGN {
        return Ok(());
    }
    let message = "a pre-signed URL is valid for 7 days at most";
    Err(CliError::new("publish.presign", message)
        .hint("use --presign 7d, and renew the URLs before they end: `s3ota presign`"))
}

/// The largest object that is read back: a manifest has at most 8 KiB.
const MAX_READ: i64 = 1 << 20;

/// A bucket. A copy is the same one, for tasks of their own.
#[derive(Debug, Clone)]
pub struct Store {
    client: Client,
    probe: Arc<Probe>,
    bucket: String,
    /// What every key begins with, for the policies that errors tell.
    prefix: String,
    region: String,
    credentials: AwsCredentials,
    is_aws: bool,
    is_https: bool,
    /// Whether the service was found to write no matter what must hold.
    ignores_conditions: Arc<AtomicBool>,
}

/// An object that was read.
#[derive(Debug, Clone)]
pub struct Object {
    /// Its contents.
    pub bytes: Vec<u8>,
    /// Its entity tag, to say which state of it one has seen.
    pub etag: Option<String>,
    /// When it was written, in seconds since 1970.
    pub modified: Option<u64>,
}

/// What a service says of an object without sending it.
#[derive(Debug, Clone, Default)]
pub struct Head {
    /// Bytes.
    pub size: u64,
    /// Its SHA-256 in base64, where it was uploaded with one and the service keeps it.
    pub sha256: Option<String>,
    /// When it was written, in seconds since 1970.
    pub modified: Option<u64>,
}

impl Store {
    /// The bucket of a location, in whatever region it lies. Without `credentials`, the AWS chain finds them:
    /// environment, profiles with SSO or a process, web identity, container, instance.
    pub async fn connect(
        args: &S3Args,
        location: &Location,
        credentials: Option<Credentials>,
    ) -> Result<Self, CliError> {
        let endpoint_url = args.endpoint_url.as_deref().filter(|url| !url.is_empty());
        if let Some(url) = endpoint_url {
            endpoint::check(url)?;
        }
        // A server whose key and CA are given is trusted by them alone.
        let system_roots = credentials.is_none() || !args.aws.names_ca();
        let access = Access::of(&args.aws, credentials, system_roots).await?;
        // Uploads are watched by `upload.rs`. The SDK's own guard does not see what our counter sends, and would end every one
        // that takes longer than five seconds.
        let guard = StalledStreamProtectionConfig::enabled().upload_enabled(false);
        let mut config = aws_sdk_s3::config::Builder::from(&access.config)
            .stalled_stream_protection(guard.build());
        if let Some(url) = endpoint_url {
            config = config.endpoint_url(url);
        }

        let mut store = Self {
            client: Client::from_conf(config.clone().build()),
            probe: Arc::new(Probe::new(access.tls)),
            bucket: location.bucket.clone(),
            prefix: location.prefix.clone(),
            region: access.region,
            credentials: access.credentials,
            is_aws: false,
            is_https: true,
            ignores_conditions: Arc::default(),
        };
        // Profiles and the environment can name an endpoint as well, so the SDK is asked where it would go.
        let url = store.object_url("probe").await?;
        store.is_aws = endpoint_url.is_none() && is_aws_host(host(&url));
        store.is_https = url.starts_with("https://");
        if !store.is_aws {
            store.client = Client::from_conf(config.clone().force_path_style(true).build());
        }
        endpoint::check(&store.object_url("probe").await?)?;
        if store.is_aws {
            location.check_tls_name()?;
            if let Some(region) = store.bucket_region(&location.bucket).await?
                && region != store.region
            {
                tracing::info!("the bucket {} lies in {region}", location.bucket);
                store.client =
                    Client::from_conf(config.region(Region::new(region.clone())).build());
                store.region = region;
            }
        }
        Ok(store)
    }

    /// Makes the bucket, if it is not there already.
    pub async fn create_bucket(&self) -> Result<(), CliError> {
        let mut request = self.client.create_bucket().bucket(&self.bucket);
        if self.region != DEFAULT_REGION {
            let constraint = BucketLocationConstraint::from(self.region.as_str());
            let configuration = CreateBucketConfiguration::builder()
                .location_constraint(constraint)
                .build();
            request = request.create_bucket_configuration(configuration);
        }
        match request.send().await {
            Err(error)
                if !error
                    .as_service_error()
                    .is_some_and(|error| error.is_bucket_already_owned_by_you()) =>
            {
                Err(self.explain(error, "s3:CreateBucket", ""))
            }
            _ => Ok(()),
        }
    }

    /// What the service says of an object, `None` where there is none.
    pub async fn head(&self, key: &str) -> Result<Option<Head>, CliError> {
        match self
            .client
            .head_object()
            .bucket(&self.bucket)
            .key(key)
            .checksum_mode(ChecksumMode::Enabled)
            .send()
            .await
        {
            Ok(head) => Ok(Some(Head {
                size: head
                    .content_length()
                    .and_then(|length| u64::try_from(length).ok())
                    .unwrap_or(0),
                sha256: head.checksum_sha256().map(str::to_owned),
                modified: head.last_modified().and_then(seconds),
            })),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|error| error.is_not_found()) =>
            {
                Ok(None)
            }
            Err(error) => Err(self.explain(error, "s3:GetObject", key)),
        }
    }

    /// Asks for an object, or the part of it that a `Range` names; `None` where there is none.
    async fn open(
        &self,
        key: &str,
        range: Option<String>,
    ) -> Result<Option<GetObjectOutput>, CliError> {
        let request = self.client.get_object().bucket(&self.bucket).key(key);
        match request.set_range(range).send().await {
            Ok(object) => Ok(Some(object)),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|error| error.is_no_such_key()) =>
            {
                Ok(None)
            }
            Err(error) => Err(self.explain(error, "s3:GetObject", key)),
        }
    }

    /// An object's body broke off.
    fn broken(&self, key: &str, error: &dyn std::fmt::Display) -> CliError {
        let message = format!("s3://{}/{key} broke off: {error}", self.bucket);
        CliError::new("s3.connect", message)
    }

    /// A small object, `None` where there is none.
    pub async fn get(&self, key: &str) -> Result<Option<Object>, CliError> {
        let Some(object) = self.open(key, None).await? else {
            return Ok(None);
        };
        if object
            .content_length()
            .is_some_and(|length| length > MAX_READ)
        {
            let message = format!(
                "s3://{}/{key} is no manifest, it is far too large",
                self.bucket
            );
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

    /// The first `length` bytes of an object, `None` where there is none or it is not so long.
    pub async fn get_start(&self, key: &str, length: u64) -> Result<Option<Vec<u8>>, CliError> {
        let range = format!("bytes=0-{}", length.saturating_sub(1));
        let Some(object) = self.open(key, Some(range)).await? else {
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

    /// The SHA-256 of a whole object that the service sends, `None` where there is none.
    pub async fn read_sha256(&self, key: &str) -> Result<Option<[u8; 32]>, CliError> {
        let Some(object) = self.open(key, None).await? else {
            return Ok(None);
        };
        let mut body = object.body;
        let mut hash = Sha256::new();
        while let Some(chunk) = body.next().await {
            hash.update(&chunk.map_err(|error| self.broken(key, &error))?);
        }
        Ok(Some(hash.finalize().into()))
    }

    /// Deletes an object. That it is not there is no error.
    pub async fn delete(&self, key: &str) -> Result<(), CliError> {
        let request = self.client.delete_object().bucket(&self.bucket).key(key);
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.explain(error, "s3:DeleteObject", key)),
        }
    }

    /// The public URL of an object. It works if the object may be read by anyone.
    pub async fn object_url(&self, key: &str) -> Result<String, CliError> {
        // The SDK knows every partition's domain and every service's style; the URL without its signature is what it
        // would ask itself.
        let mut url = self.presign_get(key, Duration::from_secs(60)).await?;
        url.truncate(url.find('?').unwrap_or(url.len()));
        Ok(url)
    }

    /// A URL by which anyone may read an object for some time.
    pub async fn presign_get(&self, key: &str, good_for: Duration) -> Result<String, CliError> {
        let failed = |error: String| {
            CliError::new(
                "publish.presign",
                format!("the URL cannot be signed: {error}"),
            )
        };
        let good_for =
            PresigningConfig::expires_in(good_for).map_err(|error| failed(error.to_string()))?;
        let request = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(key)
            .presigned(good_for)
            .await;
        let request = request.map_err(|error| failed(error::chain(&error)))?;
        Ok(request.uri().to_owned())
    }

    /// When the credentials end, for temporary ones: `Some(None)` where that is not known.
    pub fn credentials_end(&self) -> Option<Option<SystemTime>> {
        let temporary =
            self.credentials.session_token().is_some() || self.credentials.expiry().is_some();
        temporary.then(|| self.credentials.expiry())
    }

    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The region it lies in, as far as known.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Whether the service is AWS.
    pub fn is_aws(&self) -> bool {
        self.is_aws
    }

    /// The host and port of the service; `None` for AWS, where a bucket's name says enough.
    pub async fn service(&self) -> Result<Option<String>, CliError> {
        let url = self.object_url("x").await?;
        let is_aws = is_aws_host(host(&url));
        Ok((!is_aws).then(|| authority(&url).to_ascii_lowercase()))
    }

    /// Whether the service was found to know no conditional writes.
    pub fn ignores_conditions(&self) -> bool {
        self.ignores_conditions.load(Ordering::Relaxed)
    }

    /// Whether the service is asked over HTTPS.
    pub fn is_https(&self) -> bool {
        self.is_https
    }

    /// Asks for URLs as a device does: without credentials.
    pub fn probe(&self) -> &Probe {
        &self.probe
    }

    /// The statement of a bucket policy that lets anyone read what lies under a prefix.
    pub fn public_read_policy(&self, prefix: &str) -> String {
        format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"{}"}}]}}"#,
            self.objects(prefix)
        )
    }

    /// The name in policies of all that lies under a prefix.
    pub fn objects(&self, prefix: &str) -> String {
        let slash = if prefix.is_empty() { "" } else { "/" };
        self.arn(&format!("{prefix}{slash}*"))
    }

    /// The name of objects in policies; an empty key is the bucket.
    pub fn arn(&self, key: &str) -> String {
        let partition = match &self.region {
            region if region.starts_with("cn-") => "aws-cn",
            region if region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        };
        let slash = if key.is_empty() { "" } else { "/" };
        format!("arn:{partition}:s3:::{}{slash}{key}", self.bucket)
    }

    /// The region the bucket lies in, if S3 says it. It does so also to those who may not read the bucket.
    async fn bucket_region(&self, bucket: &str) -> Result<Option<String>, CliError> {
        const REGION: &str = "x-amz-bucket-region";
        match self.client.head_bucket().bucket(bucket).send().await {
            Ok(head) => Ok(head.bucket_region().map(str::to_owned)),
            Err(error) => {
                let response = error.raw_response();
                let region = response
                    .and_then(|response| response.headers().get(REGION))
                    .map(str::to_owned);
                let status = response.map(|response| response.status().as_u16());
                match (region, status) {
                    (Some(region), _) => Ok(Some(region)),
                    // What is wrong with it, if it is there at all, the first real request will say better.
                    (None, Some(_)) => Ok(None),
                    _ => Err(self.explain(error, "s3:ListBucket", "")),
                }
            }
        }
    }
}

/// A moment as the SDK has it, in seconds since 1970.
fn seconds(time: &aws_sdk_s3::primitives::DateTime) -> Option<u64> {
    u64::try_from(time.secs()).ok()
}

fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or(rest)
}

fn host(url: &str) -> &str {
    let authority = authority(url);
    authority.split(':').next().unwrap_or(authority)
}

fn is_aws_host(host: &str) -> bool {
    // The domains of the SDK's partitions that have S3 for the public.
    [".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu"]
        .iter()
        .any(|domain| host.ends_with(domain))
}

#[cfg(test)]
mod tests {
    use aws_config::BehaviorVersion;

    use super::*;

    /// A bucket on AWS, which is not asked anything.
    fn on_aws(region: &'static str, session_token: Option<String>) -> Store {
        let credentials = AwsCredentials::new("AKIDEXAMPLE", "secret", session_token, None, "test");
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(credentials.clone())
            .region(Region::from_static(region));
        Store {
            client: Client::from_conf(config.build()),
            probe: Arc::new(Probe::new(tls::trust(None, false).unwrap())),
            bucket: "my-bucket".to_owned(),
            prefix: "lamp".to_owned(),
            region: region.to_owned(),
            credentials,
            is_aws: true,
            is_https: true,
            ignores_conditions: Arc::default(),
        }
    }

    #[tokio::test]
    async fn devices_are_given_the_regional_url_of_the_buckets_own_host() {
        for (region, host) in [
            ("us-east-1", "my-bucket.s3.us-east-1.amazonaws.com"),
            ("eu-central-1", "my-bucket.s3.eu-central-1.amazonaws.com"),
            ("cn-north-1", "my-bucket.s3.cn-north-1.amazonaws.com.cn"),
            ("us-gov-west-1", "my-bucket.s3.us-gov-west-1.amazonaws.com"),
        ] {
            let url = on_aws(region, None)
                .object_url("lamp/a b+c.bin")
                .await
                .unwrap();
            assert_eq!(url, format!("https://{host}/lamp/a%20b%2Bc.bin"));
            assert!(is_aws_host(super::host(&url)));
        }
        assert!(!is_aws_host(super::host("http://127.0.0.1:9000/x")));
        assert!(!is_aws_host("s3.amazonaws.com.example.org"));
    }

    #[tokio::test]
    async fn a_presigned_url_carries_the_session_token_and_its_time() {
        let store = on_aws("eu-central-1", Some("t".repeat(900)));
        let url = store
            .presign_get("lamp/stable.json", MAX_PRESIGN)
            .await
            .unwrap();
        assert!(
            url.contains("X-Amz-Expires=604800") && url.contains(&"t".repeat(900)),
            "{url}"
        );
        assert_eq!(store.credentials_end(), Some(None));
        assert_eq!(on_aws("eu-central-1", None).credentials_end(), None);
        let too_long = MAX_PRESIGN + Duration::from_secs(1);
        assert!(
            store
                .presign_get("lamp/stable.json", too_long)
                .await
                .is_err()
        );
    }

    #[test]
    fn a_policy_names_the_partition_and_the_prefix() {
        let resource = |region, prefix| {
            let policy = on_aws(region, None).public_read_policy(prefix);
            let policy: serde_json::Value = serde_json::from_str(&policy).unwrap();
            policy["Statement"][0]["Resource"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        assert_eq!(
            resource("eu-west-1", "lamp"),
            "arn:aws:s3:::my-bucket/lamp/*"
        );
        assert_eq!(resource("cn-north-1", ""), "arn:aws-cn:s3:::my-bucket/*");
        assert_eq!(
            resource("us-gov-west-1", ""),
            "arn:aws-us-gov:s3:::my-bucket/*"
        );
    }
}
