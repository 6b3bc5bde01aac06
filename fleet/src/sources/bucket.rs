//! Logs in an S3 bucket, and what the devices' bucket says of their release.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use flate2::read::MultiGzDecoder;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use s3ota_manifest::{ManifestDocument, Rollout, Version, layout};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{cloudfront, text, time};
use crate::ask::Published;
use crate::cache::{Cache, Entry};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::sightings::{Sightings, Tally};

/// How many objects are fetched at a time.
const AT_A_TIME: usize = 32;

/// How much of them is in memory at a time, in units of [`UNIT`].
const ROOM: u32 = 256;

const UNIT: u64 = 1 << 20;

/// After so much, or so long, what was read is kept.
const ROUND: (u64, Duration) = (512 << 20, Duration::from_secs(20));

/// Objects that come this much later than the newest one are looked for: S3 delivers most logs within hours.
const LATE_DAYS: u32 = 3;

/// The deepest folder in which logs are looked for one by one: `AWSLogs/ACCOUNT/REGION/BUCKET` and some more.
const DEPTH: usize = 8;

/// `s3://BUCKET/PREFIX`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The bucket.
    pub bucket: String,
    /// What all keys begin with.
    pub prefix: String,
}

impl FromStr for Location {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let rest = text.strip_prefix("s3://").unwrap_or_default();
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let fits =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
        if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(fits) {
            return Err(
                Error::new("s3.url", format!("`{text}` is not a location in S3"))
                    .hint("write it as s3://BUCKET/PREFIX, for example s3://my-logs/my-bucket/"),
            );
        }
        Ok(Self {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.prefix)
    }
}

/// How to reach S3.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// The profile of the AWS configuration.
    pub profile: Option<String>,
    /// The bucket's region.
    pub region: Option<String>,
    /// Another service than AWS.
    pub endpoint_url: Option<String>,
    /// A CA to trust besides the system's.
    pub ca: Option<PathBuf>,
}

impl Access {
    /// The configuration of AWS, with the usual credentials.
    ///
    /// # Errors
    ///
    /// If the CA cannot be read.
    pub async fn config(&self) -> Result<SdkConfig> {
        let tls = trust(self.ca.as_deref())?;
        let http = Builder::new().build_with_connector_fn(move |settings, _| {
            let mut connector = Connector::builder();
            connector.set_connector_settings(settings.cloned());
            connector
                .proxy_config(ProxyConfig::from_env())
                .tls_provider(Provider::rustls(CryptoMode::Ring))
                .tls_context(tls.clone())
                .build()
        });
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
        if let Some(profile) = &self.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        Ok(loader.load().await)
    }
}

/// A bucket.
#[derive(Debug, Clone)]
pub struct Bucket {
    client: Client,
    location: Location,
}

/// An object.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Object {
    key: String,
    size: u64,
    modified: i64,
}

impl Bucket {
    /// Connects to a bucket, with the usual AWS credentials.
    ///
    /// # Errors
    ///
    /// If the CA cannot be read, or S3 cannot be reached.
    pub async fn connect(access: &Access, location: Location) -> Result<Self> {
        let config = access.config().await?;
        let endpoint = access
            .endpoint_url
            .clone()
            .or_else(|| config.endpoint_url().map(str::to_owned));
        let is_aws = endpoint.as_deref().is_none_or(str::is_empty);
        let mut s3 = aws_sdk_s3::config::Builder::from(&config);
        if config.region().is_none() {
            s3 = s3.region(Region::new("us-east-1"));
        }
        if let Some(url) = endpoint.filter(|_| !is_aws) {
            s3 = s3.endpoint_url(url).force_path_style(true);
        }
        let mut bucket = Self {
            client: Client::from_conf(s3.clone().build()),
            location,
        };
        if is_aws && let Some(region) = bucket.region().await {
            bucket.client = Client::from_conf(s3.region(Region::new(region)).build());
        }
        Ok(bucket)
    }

    /// The region of the bucket. S3 tells it even to those who may not read the bucket.
    async fn region(&self) -> Option<String> {
        let header = "x-amz-bucket-region";
        match self
            .client
            .head_bucket()
            .bucket(&self.location.bucket)
            .send()
            .await
        {
            Ok(head) => head.bucket_region().map(str::to_owned),
            Err(error) => Some(error.raw_response()?.headers().get(header)?.to_owned()),
        }
    }

    /// Reads what is new of the logs into the cache. Returns what was read, and what could not be.
    ///
    /// # Errors
    ///
    /// If the bucket cannot be read, or the cache cannot be written.
    pub async fn read(
        &self,
        cache: &mut Cache,
        everything: bool,
        progress: &Progress,
    ) -> Result<(Tally, Vec<String>)> {
        let name = |key: &str| format!("s3://{}/{key}", self.location.bucket);
        let known: BTreeSet<String> = match everything {
            true => BTreeSet::new(),
            false => {
                let root = name("");
                cache
                    .keys()
                    .filter_map(|key| key.strip_prefix(&root).map(str::to_owned))
                    .collect()
            }
        };
        let mut objects = self.list(&known).await?;
        objects.retain(|object| {
            object.size > 0
                && cache
                    .entry(&name(&object.key))
                    .is_none_or(|it| (it.size, it.modified) != (object.size, object.modified))
        });
        progress.begin(objects.iter().map(|object| object.size).sum());
        let (mut tally, mut problems) = (Tally::default(), Vec::new());
        let mut seen = Sightings::default();
        let mut entries = Vec::new();
        let (mut bytes, mut since) = (0, Instant::now());
        let mut fetches = Fetches::new(self, objects, None);
        while let Some((object, found)) = fetches.next().await? {
            let (more, problem) = found;
            problems.extend(problem);
            tally.add(more.tally);
            seen.merge(more);
            bytes += object.size;
            progress.add(object.size);
            let entry = Entry {
                size: object.size,
                modified: object.modified,
                read_to: object.size,
                head: 0,
                done: true,
            };
            entries.push((name(&object.key), entry));
            if bytes >= ROUND.0 || since.elapsed() >= ROUND.1 {
                cache.commit(std::mem::take(&mut seen), std::mem::take(&mut entries))?;
                (bytes, since) = (0, Instant::now());
            }
        }
        if !entries.is_empty() {
            cache.commit(seen, entries)?;
        }
        Ok((tally, problems))
    }

    /// Reads all there is up to a moment, without a cache.
    ///
    /// # Errors
    ///
    /// If the bucket cannot be read.
    pub async fn read_until(&self, moment: u32, progress: &Progress) -> Result<Sightings> {
        let objects = self.list(&BTreeSet::new()).await?;
        progress.begin(objects.iter().map(|object| object.size).sum());
        let mut seen = Sightings::until(Some(moment));
        let mut fetches = Fetches::new(self, objects, Some(moment));
        while let Some((object, (more, _))) = fetches.next().await? {
            progress.add(object.size);
            seen.merge(more);
        }
        Ok(seen)
    }

    /// The objects below the prefix that may be new: in each folder with dates, from some days before the newest known one on.
    async fn list(&self, known: &BTreeSet<String>) -> Result<Vec<Object>> {
        let mut found = Vec::new();
        let mut folders = vec![(self.location.prefix.clone(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            let after = start_after(&folder, known);
            let flat = depth >= DEPTH;
            let (objects, below) = self.list_folder(&folder, after.as_deref(), flat).await?;
            if below.iter().any(|it| is_year(&folder, it)) {
                // All below is by date: in one list, from that date on.
                found.extend(self.list_folder(&folder, after.as_deref(), true).await?.0);
            } else {
                found.extend(objects);
                folders.extend(below.into_iter().map(|it| (it, depth + 1)));
            }
        }
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    /// The folder below the prefix that has a folder for each year, as a location.
    ///
    /// # Errors
    ///
    /// If there is none, or more than one, or the bucket cannot be read.
    pub async fn dated_folder(&self) -> Result<String> {
        let mut dated = Vec::new();
        let mut folders = vec![(self.location.prefix.clone(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            let (_, below) = self.list_folder(&folder, None, false).await?;
            if below.iter().any(|it| is_year(&folder, it)) {
                dated.push(format!("s3://{}/{folder}", self.location.bucket));
            } else if depth < DEPTH {
                folders.extend(below.into_iter().map(|it| (it, depth + 1)));
            }
        }
        dated.sort();
        match dated.as_slice() {
            [folder] => Ok(folder.clone()),
            [] => Err(Error::new(
                "logs.partitions",
                format!("there are no logs in folders by date in {}", self.location),
            )
            .hint("Athena needs them as `s3ota bucket init --log-bucket` sets it up; S3 may take some hours until the first")),
            [first, ..] => Err(Error::new(
                "logs.partitions",
                format!("{} has the logs of {} buckets", self.location, dated.len()),
            )
            .hint(format!("name the one that is asked about, like {first}"))),
        }
    }

    /// The region that its requests go to.
    #[cfg(feature = "athena")]
    pub(crate) fn region_used(&self) -> Option<Region> {
        self.client.config().region().cloned()
    }

    async fn list_folder(
        &self,
        folder: &str,
        after: Option<&str>,
        flat: bool,
    ) -> Result<(Vec<Object>, Vec<String>)> {
        let (mut objects, mut below) = (Vec::new(), Vec::new());
        let mut token = None;
        loop {
            let mut list = self
                .client
                .list_objects_v2()
                .bucket(&self.location.bucket)
                .prefix(folder);
            list = list
                .set_continuation_token(token.take())
                .set_start_after(after.map(str::to_owned));
            if !flat {
                list = list.delimiter("/");
            }
            let page = list
                .send()
                .await
                .map_err(|error| self.explain(&error, "s3:ListBucket", ""))?;
            let is_dated = page
                .common_prefixes()
                .iter()
                .filter_map(|it| it.prefix())
                .any(|it| is_year(folder, it));
            below.extend(
                page.common_prefixes
                    .unwrap_or_default()
                    .into_iter()
                    .filter_map(|it| it.prefix),
            );
            objects.extend(
                page.contents
                    .unwrap_or_default()
                    .into_iter()
                    .filter_map(|object| {
                        Some(Object {
                            size: u64::try_from(object.size.unwrap_or_default()).ok()?,
                            modified: object.last_modified.map_or(0, |it| it.secs()),
                            key: object.key?,
                        })
                    }),
            );
            token = page.next_continuation_token;
            if token.is_none() || is_dated {
                return Ok((objects, below));
            }
        }
    }

    async fn get(&self, key: &str) -> Result<ByteStream> {
        let request = self
            .client
            .get_object()
            .bucket(&self.location.bucket)
            .key(key);
        let answer = request.send().await;
        answer
            .map(|it| it.body)
            .map_err(|error| self.explain(&error, "s3:GetObject", key))
    }

    async fn bytes(&self, key: &str) -> Result<Vec<u8>> {
        let body = self.get(key).await?.collect().await;
        let body = body.map_err(|error| {
            Error::new(
                "s3.network",
                format!("{key} could not be read to its end: {error}"),
            )
            .hint("try again: what was read is kept")
        })?;
        Ok(body.to_vec())
    }

    /// What the devices' bucket says of a channel's release.
    ///
    /// # Errors
    ///
    /// If there is no such channel, or its manifest cannot be read.
    pub async fn published(&self, channel: &str) -> Result<Published> {
        let prefix = self.location.prefix.trim_end_matches('/');
        let named = |error: layout::LayoutError| Error::new("s3.url", error.to_string());
        let key = layout::channel_key(prefix, channel).map_err(named)?;
        let json = self.bytes(&key).await?;
        let manifest = ManifestDocument::parse(&json)
            .map_err(|error| Error::new("manifest.invalid", format!("{key}: {error}")))?;
        let rollout = manifest.rollout.unwrap_or(Rollout::EVERYONE).to_string();
        let mut since = None;
        if let Ok(version) = Version::parse(&manifest.version)
            && let Ok(record) = layout::release_key(prefix, &version)
            && let Ok(json) = self.bytes(&record).await
            && let Ok(record) = serde_json::from_slice::<serde_json::Value>(&json)
        {
            since = record["date"].as_str().and_then(time::rfc3339);
        }
        Ok(Published {
            channel: channel.to_owned(),
            percent: rollout.parse().unwrap_or(100.0),
            version: manifest.version,
            since,
        })
    }

    fn explain<E>(&self, error: &SdkError<E>, action: &str, key: &str) -> Error
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        let bucket = &self.location.bucket;
        let status = error.raw_response().map(|it| it.status().as_u16());
        let about = format!("s3://{bucket}/{key}");
        match (status, error.code()) {
            (_, Some("NoSuchBucket")) => Error::new("s3.bucket", format!("there is no bucket {bucket}"))
                .hint("logs lie in the bucket that `s3ota bucket init --log-bucket` named; `aws s3api get-bucket-logging` shows it"),
            (Some(404), _) => Error::new("s3.missing", format!("there is no {about}")).hint("check bucket, prefix and channel"),
            (Some(401 | 403), code) => {
                let code = code.unwrap_or("denied");
                Error::new("s3.denied", format!("S3 does not let these credentials read {about} ({code})")).hint(format!(
                    "the reader of logs needs s3:ListBucket on the bucket and s3:GetObject on what is in it; this was {action}. \
                     --profile chooses other credentials"
                ))
            }
            _ => Error::new("s3.network", format!("{about}: {}", DisplayErrorContext(error)))
                .hint("try again: what was read is kept"),
        }
    }
}

/// What came of an object: what was seen in it, and what was wrong with it.
type Found = (Sightings, Option<String>);

/// Objects, fetched and read many at a time.
struct Fetches {
    bucket: Bucket,
    waiting: std::vec::IntoIter<Object>,
    running: JoinSet<Result<(Object, Found)>>,
    room: Arc<Semaphore>,
    until: Option<u32>,
}

impl Fetches {
    fn new(bucket: &Bucket, objects: Vec<Object>, until: Option<u32>) -> Self {
        Self {
            bucket: bucket.clone(),
            waiting: objects.into_iter(),
            running: JoinSet::new(),
            room: Arc::new(Semaphore::new(ROOM as usize)),
            until,
        }
    }

    async fn next(&mut self) -> Result<Option<(Object, Found)>> {
        while self.running.len() < AT_A_TIME
            && let Some(object) = self.waiting.next()
        {
            let (bucket, room, until) = (self.bucket.clone(), Arc::clone(&self.room), self.until);
            self.running.spawn(async move {
                let units = u32::try_from(object.size / UNIT + 1)
                    .unwrap_or(ROOM)
                    .min(ROOM);
                let _room = room.acquire_many(units).await;
                let bytes = bucket.bytes(&object.key).await?;
                let read = tokio::task::spawn_blocking(move || {
                    let found = object_of(&object.key, bytes, until);
                    (object, found)
                });
                read.await
                    .map_err(|_| Error::new("logs.reader", "a reader has failed"))
            });
        }
        match self.running.join_next().await {
            None => Ok(None),
            Some(ended) => ended
                .map_err(|_| Error::new("logs.reader", "a reader has failed"))?
                .map(Some),
        }
    }
}

/// Reads an object that is in memory.
fn object_of(key: &str, bytes: Vec<u8>, until: Option<u32>) -> Found {
    let mut seen = Sightings::until(until);
    seen.tally.bytes = bytes.len() as u64;
    let problem = if bytes.starts_with(super::files::GZIP) {
        text::stream(MultiGzDecoder::new(Cursor::new(bytes)), &mut seen)
            .err()
            .map(|it| it.to_string())
    } else if bytes.starts_with(cloudfront::MAGIC) {
        cloudfront::parquet(bytes::Bytes::from(bytes), &mut seen).err()
    } else {
        text::stream(Cursor::new(bytes), &mut seen)
            .err()
            .map(|it| it.to_string())
    };
    let problem = problem.map(|error| format!("{key}: {error}; what could be read of it counts"));
    (seen, problem)
}

/// Whether what lies below a folder begins with a year: `2026/`.
fn is_year(folder: &str, below: &str) -> bool {
    let name = below.strip_prefix(folder).unwrap_or_default();
    let name = name.strip_suffix('/').unwrap_or(name);
    name.len() == 4 && name.bytes().all(|byte| byte.is_ascii_digit())
}

/// Where to begin in a folder whose objects are named by date, `2026/11/20/…` or `2026-11-20-…`: some days before the newest known one.
fn start_after(folder: &str, known: &BTreeSet<String>) -> Option<String> {
    let newest = known
        .range(format!("{folder}2")..format!("{folder}3"))
        .next_back()?;
    let date = newest.strip_prefix(folder)?.get(..10)?;
    let separator = date.get(4..5).filter(|it| matches!(*it, "/" | "-"))?;
    let at = time::date_and_clock(date.replace('/', "-").as_bytes(), b"00:00:00")?;
    let from = time::written(at.saturating_sub(LATE_DAYS * 86_400));
    Some(format!(
        "{folder}{}",
        from.get(..10)?.replace('-', separator)
    ))
}

/// Trusts the system's certificates, and the one of a CA.
fn trust(ca: Option<&Path>) -> Result<TlsContext> {
    let mut roots = TrustStore::empty().with_native_roots(true);
    if let Some(path) = ca.filter(|path| !path.as_os_str().is_empty()) {
        let pem = std::fs::read(path).map_err(|error| Error::file(path, error))?;
        // The SDK panics on a certificate that it cannot read.
        let usable = CertificateDer::pem_slice_iter(&pem)
            .flatten()
            .any(|der| webpki::anchor_from_trusted_cert(&der).is_ok());
        if !usable {
            let message = format!("{} contains no usable certificate", path.display());
            return Err(
                Error::new("tls.root", message).hint("--ca takes the certificate of a CA in PEM")
            );
        }
        roots.add_pem_certificate(pem);
    }
    let context = TlsContext::builder().with_trust_store(roots).build();
    context.map_err(|error| {
        Error::new(
            "tls.root",
            format!("the trusted certificates cannot be used: {error}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_begins_some_days_before_the_newest_known_object() {
        let known = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        let keys: BTreeSet<String> = known(&[
            "logs/1/eu/b/2026/11/20/2026-11-20-08-15-00-0123456789ABCDEF",
            "logs/1/eu/b/2026/12/01/2026-12-01-08-15-00-0123456789ABCDEF",
            "logs/1/us/c/2027/01/01/x",
            "flat/2026-11-20-08-15-00-0123456789ABCDEF",
            "other/20/x",
        ]);
        let after = |folder| start_after(folder, &keys);
        assert_eq!(
            after("logs/1/eu/b/").as_deref(),
            Some("logs/1/eu/b/2026/11/28")
        );
        assert_eq!(
            after("logs/1/us/c/").as_deref(),
            Some("logs/1/us/c/2026/12/29")
        );
        assert_eq!(after("flat/").as_deref(), Some("flat/2026-11-17"));
        for folder in ["logs/", "logs/1/", "logs/1/eu/", "other/", ""] {
            assert_eq!(after(folder), None, "{folder}");
        }
        assert!(is_year("logs/", "logs/2026/"));
        assert!(!is_year("logs/", "logs/20261/"));
        assert!(!is_year("logs/", "logs/eu/"));
    }

    #[test]
    fn a_location_is_a_bucket_and_a_prefix() {
        let location: Location = "s3://my-logs/lamp/x".parse().unwrap();
        assert_eq!(
            (location.bucket.as_str(), location.prefix.as_str()),
            ("my-logs", "lamp/x")
        );
        assert_eq!(location.to_string(), "s3://my-logs/lamp/x");
        for text in ["", "s3://", "s3://ab", "s3://My_Logs/x", "https://b/x"] {
            assert_eq!(
                text.parse::<Location>().unwrap_err().code,
                "s3.url",
                "{text}"
            );
        }
    }
}
