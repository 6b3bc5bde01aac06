//! The S3 client: one bucket, with the usual AWS credentials.

mod access;
mod archive;
mod args;
pub mod certificates;
mod checksums;
mod config_files;
mod denial;
pub mod development;
mod endpoint;
mod error;
mod listing;
mod location;
mod network;
mod probe;
mod profile;
mod proxy;
mod read;
mod reason;
mod settings;
mod sse;
mod tls;
pub mod tunnel;
mod upload;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use aws_config::{Region, SdkConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Credentials as AwsCredentials, StalledStreamProtectionConfig};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use s3ota_manifest::Timestamp;

use self::access::DEFAULT_REGION;
pub use self::access::{Access, Credentials};
pub use self::archive::{Archived, class_of_rule, covers, prefix_of};
pub use self::args::{AddressingStyle, AwsArgs, S3Args};
use self::checksums::Checksums;
pub use self::denial::Denial;
#[cfg(feature = "kms")]
pub use self::error::chain as error_chain;
pub use self::listing::{Folders, Listed};
pub use self::location::Location;
pub use self::probe::Probe;
pub use self::read::{Found, Object};
pub use self::reason::Reason;
pub use self::settings::{LogTarget, PublicAccessBlock, Setting};
pub use self::sse::Sse;
pub use self::upload::{Condition, Put, Upload};
use crate::error::CliError;

/// The longest lifetime of a pre-signed URL
/// ([Signature Version 4](https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-presigned-url.html)).
const MAX_PRESIGN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Refuses a lifetime that no pre-signed URL can have.
pub fn check_presign(time: Duration) -> Result<(), CliError> {
    if time <= MAX_PRESIGN {
        return Ok(());
    }
    let message = "a pre-signed URL is valid for 7 days at most";
    Err(CliError::new("publish.presign", message)
        .hint("use --presign 7d, and renew the URLs before they end: `s3ota presign`"))
}

/// A bucket. Clones share everything, for use in other tasks.
#[derive(Debug, Clone)]
pub struct Store {
    client: Client,
    probe: Arc<Probe>,
    bucket: String,
    /// The beginning of every key, for the policies in errors.
    prefix: String,
    region: String,
    credentials: AwsCredentials,
    /// The configuration for other services of AWS.
    aws: SdkConfig,
    is_aws: bool,
    is_https: bool,
    sse: Option<Sse>,
    /// The checksum headers that it refuses.
    checksums: Checksums,
    /// Whether the service was found to ignore conditions.
    ignores_conditions: Arc<AtomicBool>,
}

impl Store {
    /// Connects to the bucket of a location, in whatever region it is. Without `credentials`, the AWS chain finds them: environment,
    /// profiles with SSO or a process, web identity, container, instance.
    pub async fn connect(
        args: &S3Args,
        location: &Location,
        credentials: Option<Credentials>,
    ) -> Result<Self, CliError> {
        let endpoint_url = args.endpoint_url();
        if let Some(url) = endpoint_url {
            endpoint::check(url)?;
        }
        // If a server's key and CA are given, only that CA is trusted.
        let system_roots = credentials.is_none() || !args.aws.names_ca();
        let access = Access::of(&args.aws, credentials, system_roots).await?;
        // `upload.rs` watches uploads itself. The SDK's own guard does not see what our counter sends, and would end every upload that
        // takes longer than five seconds.
        let guard = StalledStreamProtectionConfig::enabled().upload_enabled(false);
        let checksums = Checksums::of(&access.config);
        let mut config = aws_sdk_s3::config::Builder::from(&access.config)
            .stalled_stream_protection(guard.build())
            .interceptor(checksums.clone());
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
            aws: access.config,
            is_aws: false,
            is_https: true,
            sse: args.sse.clone(),
            checksums,
            ignores_conditions: Arc::default(),
        };
        // Profiles and the environment can name an endpoint as well, so ask the SDK where it would go.
        let mut url = store.object_url("probe").await?;
        store.is_aws = endpoint_url.is_none() && is_aws_host(host(&url));
        store.is_https = url.starts_with("https://");
        if !store.is_aws {
            config = config.force_path_style(true);
            store.client = Client::from_conf(config.clone().build());
            // Behind an endpoint with a path, the SDK puts the bucket without a slash (aws-sdk-rust#1387).
            url = store.object_url("probe").await?;
            let endpoint = url.strip_suffix(&format!("{}/probe", store.bucket));
            if let Some(endpoint) = endpoint.filter(|it| !it.ends_with('/')) {
                config = config.endpoint_url(format!("{endpoint}/"));
            }
        }
        let named = access.profiles.addressing_style()?;
        let is_virtual = match args
            .addressing_style
            .or(named)
            .unwrap_or(AddressingStyle::Auto)
        {
            AddressingStyle::Path => false,
            AddressingStyle::Virtual => true,
            AddressingStyle::Auto => store.is_aws || endpoint::wants_virtual(host(&url)),
        };
        if is_virtual && !store.is_aws {
            endpoint::may_have_bucket_before(host(&url), &location.bucket)?;
        }
        config = config.force_path_style(!is_virtual);
        store.client = Client::from_conf(config.clone().build());
        url = store.object_url("probe").await?;
        endpoint::check(&url)?;
        if is_virtual {
            location.check_tls_name()?;
        }
        if store.is_aws
            && let Some(region) = store.bucket_region(&location.bucket).await?
            && region != store.region
        {
            tracing::info!("the bucket {} is in {region}", location.bucket);
            store.client = Client::from_conf(config.region(Region::new(region.clone())).build());
            store.region = region;
        }
        Ok(store)
    }

    /// Creates the bucket, if it does not exist.
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

    /// Deletes an object. A missing object is not an error.
    pub async fn delete(&self, key: &str) -> Result<(), CliError> {
        let request = self.client.delete_object().bucket(&self.bucket).key(key);
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.explain(error, "s3:DeleteObject", key)),
        }
    }

    /// The public URL of an object. It works if anyone may read the object.
    pub async fn object_url(&self, key: &str) -> Result<String, CliError> {
        // The SDK knows every partition's domain and every service's style: take the URL that it would request itself, without its
        // signature.
        let mut url = self.presign_get(key, Duration::from_secs(60)).await?;
        url.truncate(url.find('?').unwrap_or(url.len()));
        Ok(url)
    }

    /// A URL with which anyone may read an object for a while.
    pub async fn presign_get(&self, key: &str, good_for: Duration) -> Result<String, CliError> {
        let failed = |error: String| {
            CliError::new(
                "publish.presign",
                format!("the URL cannot be pre-signed: {error}"),
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

    /// The expiry of temporary credentials: `Some(None)` if it is not known.
    pub fn credentials_end(&self) -> Option<Option<SystemTime>> {
        let temporary =
            self.credentials.session_token().is_some() || self.credentials.expiry().is_some();
        temporary.then(|| self.credentials.expiry())
    }

    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The region that it is in, if known.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Whether the service is AWS.
    pub fn is_aws(&self) -> bool {
        self.is_aws
    }

    /// The host and port of the service; `None` for AWS, where the bucket's name is enough.
    pub async fn service(&self) -> Result<Option<String>, CliError> {
        let url = self.object_url("x").await?;
        let is_aws = is_aws_host(host(&url));
        Ok((!is_aws).then(|| authority(&url).to_ascii_lowercase()))
    }

    /// The number of the AWS account; `None` elsewhere, and where it cannot be found out.
    pub async fn account(&self) -> Option<String> {
        if !self.is_aws {
            return None;
        }
        let sts = aws_sdk_sts::Client::new(&self.aws);
        let identity = sts.get_caller_identity().send().await;
        identity.ok()?.account
    }

    /// Whether the service was found to have no conditional writes.
    pub fn ignores_conditions(&self) -> bool {
        self.ignores_conditions.load(Ordering::Relaxed)
    }

    /// Whether the service is used over HTTPS.
    pub fn is_https(&self) -> bool {
        self.is_https
    }

    /// A client that requests URLs as a device does: without credentials.
    pub fn probe(&self) -> &Probe {
        &self.probe
    }

    /// The policy that lets anyone read what is under a prefix.
    pub fn public_read_policy(&self, prefix: &str) -> String {
        format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"{}"}}]}}"#,
            self.objects(prefix)
        )
    }

    /// The ARN of everything under a prefix.
    pub fn objects(&self, prefix: &str) -> String {
        let slash = if prefix.is_empty() { "" } else { "/" };
        self.arn(&format!("{prefix}{slash}*"))
    }

    /// The ARN of objects; an empty key is the bucket.
    pub fn arn(&self, key: &str) -> String {
        let partition = match &self.region {
            region if region.starts_with("cn-") => "aws-cn",
            region if region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        };
        let slash = if key.is_empty() { "" } else { "/" };
        format!("arn:{partition}:s3:::{}{slash}{key}", self.bucket)
    }

    /// The region of the bucket, if S3 tells it. S3 does so even without permission to read the bucket.
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
                    // Whatever is wrong with it, the first real request will explain better.
                    (None, Some(_)) => Ok(None),
                    _ => Err(self.explain(error, "s3:ListBucket", "")),
                }
            }
        }
    }
}

/// The expiry of a pre-signed URL, in seconds since 1970; `None` for other URLs.
///
/// Signature version 4 has the time of signing and the lifetime, version 2 has the expiry.
pub fn presigned_until(url: &str) -> Option<u64> {
    let query = url.split_once('?')?.1;
    let value = |name: &str| {
        query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    };
    if let (Some(made), Some(lifetime)) = (value("X-Amz-Date"), value("X-Amz-Expires")) {
        // 20261125T130413Z
        let digits = |range| made.get(range);
        let text = format!(
            "{}-{}-{}T{}:{}:{}Z",
            digits(0..4)?,
            digits(4..6)?,
            digits(6..8)?,
            digits(9..11)?,
            digits(11..13)?,
            digits(13..15)?
        );
        let made = Timestamp::parse(&text).ok()?.unix_seconds();
        return made.checked_add(lifetime.parse().ok()?);
    }
    value("Signature")?;
    value("Expires")?.parse().ok()
}

/// A time of the SDK in seconds since 1970.
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
    // The domains of the SDK's partitions that offer S3 to the public.
    [".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu"]
        .iter()
        .any(|domain| host.ends_with(domain))
}

#[cfg(test)]
mod tests {
    use aws_config::BehaviorVersion;

    use super::*;

    /// A bucket on AWS that receives no requests.
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
            aws: SdkConfig::builder().build(),
            is_aws: true,
            is_https: true,
            sse: None,
            checksums: Checksums::default(),
            ignores_conditions: Arc::default(),
        }
    }

    #[tokio::test]
    async fn an_endpoint_may_have_a_path() {
        let location: Location = "s3://firmware/lamp".parse().unwrap();
        for endpoint in [
            "https://localhost:1/storage/v1/s3",
            "https://localhost:1/storage/v1/s3/",
        ] {
            let args = S3Args {
                endpoint_url: Some(endpoint.to_owned()),
                ..S3Args::default()
            };
            let credentials = Credentials {
                access_key: "key".to_owned(),
                secret_key: "secret".to_owned(),
            };
            let store = Store::connect(&args, &location, Some(credentials)).await;
            assert_eq!(
                store.unwrap().object_url("lamp/stable.json").await.unwrap(),
                "https://localhost:1/storage/v1/s3/firmware/lamp/stable.json"
            );
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

    #[test]
    fn both_kinds_of_pre_signed_urls_have_an_expiry() {
        let v4 = "https://b/k?X-Amz-Date=20261125T130413Z&X-Amz-Expires=60&X-Amz-Signature=0";
        assert_eq!(
            presigned_until(v4),
            Some(
                Timestamp::parse("2026-11-25T13:05:13Z")
                    .unwrap()
                    .unix_seconds()
            )
        );
        let v2 = "https://b/k?AWSAccessKeyId=A&Signature=x%3D&Expires=1795611913";
        assert_eq!(presigned_until(v2), Some(1_795_611_913));
        for other in [
            "https://b/k",
            "https://b/k?Expires=5",
            "https://b/k?X-Amz-Date=2026&X-Amz-Expires=60",
        ] {
            assert_eq!(presigned_until(other), None, "{other}");
        }
    }
}
