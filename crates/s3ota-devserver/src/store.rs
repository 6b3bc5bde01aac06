//! Buckets and objects in a directory.
//!
//! ```text
//! <dir>/lock                                      held while a server runs
//! <dir>/buckets/<bucket>/bucket.json              when it was created, its policy
//! <dir>/buckets/<bucket>/objects/<sha256>.json    one record per object: key, headers, ETag, name of its data file
//! <dir>/buckets/<bucket>/data/<random>            the bytes of one version of one object, never changed
//! ```
//!
//! A record's file is named after the SHA-256 of its key. So no key can escape the directory, be too long for the file
//! system, or collide with one that differs only in case. An object changes when a new record is renamed over the old
//! one: a reader sees the old bytes with the old headers, or the new ones with the new. Data files that no record names
//! (after a crash or an unfinished upload) are removed at the next start.
//!
//! All records are kept in memory, too. Do not change files while a server runs.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base16ct::lower::encode_string as hex;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Sha256};
use s3s::dto::{Checksum, ETag, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
use time::OffsetDateTime;

use crate::DevServerError;
use crate::condition::WriteCondition;
use crate::error::file_error;
use crate::listing::{Page, Query};
use crate::policy::{Policy, PublicAccessBlock};
use crate::receive::Received;

const BUCKET_RECORD: &str = "bucket.json";

/// The prefix of files that are being written.
const PART_PREFIX: &str = ".part-";

/// The buckets of one directory.
pub(crate) struct Store {
    root: PathBuf,
    buckets: Mutex<BTreeMap<String, Bucket>>,
}

/// Why the store refuses an operation.
#[derive(Debug)]
pub(crate) enum StoreError {
    BucketExists,
    BucketNotEmpty,
    NoSuchBucket,
    NoSuchKey,
    PreconditionFailed,
    Io(io::Error),
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> StoreError {
        StoreError::Io(error)
    }
}

struct Bucket {
    record: BucketRecord,
    policy: Option<Arc<Policy>>,
    objects: BTreeMap<String, Arc<Object>>,
}

#[derive(Clone, Deserialize, Serialize)]
struct BucketRecord {
    /// Unix time in seconds.
    created: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public_access_block: Option<PublicAccessBlock>,
}

/// An object's metadata.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Object {
    pub(crate) key: String,
    /// In bytes.
    pub(crate) size: u64,
    /// Without the quotes.
    pub(crate) etag: String,
    /// Unix time in seconds: S3 has no fractions.
    last_modified: i64,
    #[serde(default, skip_serializing_if = "Checksums::is_empty")]
    pub(crate) checksums: Checksums,
    #[serde(flatten)]
    pub(crate) headers: Headers,
    /// The name of the file with the bytes.
    data: String,
}

impl Object {
    pub(crate) fn etag(&self) -> ETag {
        ETag::Strong(self.etag.clone())
    }

    pub(crate) fn last_modified(&self) -> Timestamp {
        timestamp(self.last_modified)
    }
}

/// The headers that an object is stored and served with.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Headers {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cache_control: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content_disposition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content_encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content_language: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<Timestamp>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) metadata: BTreeMap<String, String>,
}

/// Checksums of a whole object, in base64, by the algorithms that its uploader chose.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub(crate) struct Checksums {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) crc32: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) crc32c: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) crc64nvme: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sha1: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sha256: Option<String>,
}

impl Checksums {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Checksums::default()
    }

    pub(crate) fn finalize(hasher: ChecksumHasher) -> Checksums {
        let Checksum {
            checksum_crc32,
            checksum_crc32c,
            checksum_crc64nvme,
            checksum_sha1,
            checksum_sha256,
            ..
        } = hasher.finalize();
        Checksums {
            crc32: checksum_crc32,
            crc32c: checksum_crc32c,
            crc64nvme: checksum_crc64nvme,
            sha1: checksum_sha1,
            sha256: checksum_sha256,
        }
    }
}

impl Store {
    /// Opens the store in `root`, and removes what an earlier run left unfinished.
    pub(crate) fn open(root: &Path) -> Result<Store, DevServerError> {
        let root = root.join("buckets");
        fs::create_dir_all(&root).map_err(file_error(&root))?;
        let mut buckets = BTreeMap::new();
        for path in entries(&root)? {
            // Without a record it is a bucket whose creation was interrupted, or not one of ours.
            if let Some(name) = file_name(&path).filter(|_| path.join(BUCKET_RECORD).is_file()) {
                buckets.insert(name.to_owned(), Bucket::open(&path)?);
            }
        }
        Ok(Store {
            root,
            buckets: Mutex::new(buckets),
        })
    }

    pub(crate) fn create_bucket(&self, name: &str) -> Result<(), StoreError> {
        let mut buckets = self.buckets();
        if buckets.contains_key(name) {
            return Err(StoreError::BucketExists);
        }
        let dir = self.root.join(name);
        fs::create_dir_all(dir.join("objects"))?;
        fs::create_dir_all(dir.join("data"))?;
        let record = BucketRecord {
            created: now(),
            policy: None,
            public_access_block: None,
        };
        write_record(&dir, BUCKET_RECORD, &record)?;
        buckets.insert(
            name.to_owned(),
            Bucket {
                record,
                policy: None,
                objects: BTreeMap::new(),
            },
        );
        Ok(())
    }

    pub(crate) fn delete_bucket(&self, name: &str) -> Result<(), StoreError> {
        let mut buckets = self.buckets();
        let bucket = buckets.get(name).ok_or(StoreError::NoSuchBucket)?;
        if !bucket.objects.is_empty() {
            return Err(StoreError::BucketNotEmpty);
        }
        fs::remove_dir_all(self.root.join(name))?;
        buckets.remove(name);
        Ok(())
    }

    /// Names and creation times of all buckets, in order.
    pub(crate) fn list_buckets(&self) -> Vec<(String, Timestamp)> {
        self.buckets()
            .iter()
            .map(|(name, bucket)| (name.clone(), timestamp(bucket.record.created)))
            .collect()
    }

    pub(crate) fn bucket_exists(&self, name: &str) -> bool {
        self.buckets().contains_key(name)
    }

    pub(crate) fn policy(&self, bucket: &str) -> Option<Arc<Policy>> {
        self.buckets().get(bucket)?.policy.clone()
    }

    /// The policy, byte for byte as it was put.
    pub(crate) fn policy_text(&self, bucket: &str) -> Result<Option<String>, StoreError> {
        let buckets = self.buckets();
        Ok(buckets
            .get(bucket)
            .ok_or(StoreError::NoSuchBucket)?
            .record
            .policy
            .clone())
    }

    pub(crate) fn set_policy(
        &self,
        name: &str,
        policy: Option<(String, Policy)>,
    ) -> Result<(), StoreError> {
        let mut buckets = self.buckets();
        let bucket = buckets.get_mut(name).ok_or(StoreError::NoSuchBucket)?;
        let (text, policy) = policy.unzip();
        let record = BucketRecord {
            policy: text,
            ..bucket.record.clone()
        };
        write_record(&self.root.join(name), BUCKET_RECORD, &record)?;
        bucket.record = record;
        bucket.policy = policy.map(Arc::new);
        Ok(())
    }

    pub(crate) fn public_access_block(
        &self,
        bucket: &str,
    ) -> Result<Option<PublicAccessBlock>, StoreError> {
        let buckets = self.buckets();
        let bucket = buckets.get(bucket).ok_or(StoreError::NoSuchBucket)?;
        Ok(bucket.record.public_access_block)
    }

    pub(crate) fn set_public_access_block(
        &self,
        name: &str,
        block: Option<PublicAccessBlock>,
    ) -> Result<(), StoreError> {
        let mut buckets = self.buckets();
        let bucket = buckets.get_mut(name).ok_or(StoreError::NoSuchBucket)?;
        let record = BucketRecord {
            public_access_block: block,
            ..bucket.record.clone()
        };
        write_record(&self.root.join(name), BUCKET_RECORD, &record)?;
        bucket.record = record;
        Ok(())
    }

    pub(crate) fn list(&self, bucket: &str, query: &Query) -> Result<Page, StoreError> {
        let buckets = self.buckets();
        Ok(query.run(&buckets.get(bucket).ok_or(StoreError::NoSuchBucket)?.objects))
    }

    pub(crate) fn object(&self, bucket: &str, key: &str) -> Result<Arc<Object>, StoreError> {
        let buckets = self.buckets();
        buckets
            .get(bucket)
            .ok_or(StoreError::NoSuchBucket)?
            .objects
            .get(key)
            .cloned()
            .ok_or(StoreError::NoSuchKey)
    }

    /// An object and its bytes, which (on Unix) remain readable if the object is replaced meanwhile.
    pub(crate) fn open_object(
        &self,
        bucket: &str,
        key: &str,
    ) -> Result<(Arc<Object>, File), StoreError> {
        // The lock is held until the file is open, so no writer can remove it in between.
        let buckets = self.buckets();
        let object = buckets
            .get(bucket)
            .ok_or(StoreError::NoSuchBucket)?
            .objects
            .get(key);
        let object = object.ok_or(StoreError::NoSuchKey)?;
        let file = File::open(self.data_path(bucket, &object.data))?;
        Ok((Arc::clone(object), file))
    }

    /// An empty data file for a new version. It is removed when it is dropped.
    pub(crate) fn new_data(&self, bucket: &str) -> Result<NamedTempFile, StoreError> {
        if !self.bucket_exists(bucket) {
            return Err(StoreError::NoSuchBucket);
        }
        Ok(tempfile::Builder::new()
            .prefix("")
            .rand_bytes(24)
            .tempfile_in(self.root.join(bucket).join("data"))?)
    }

    /// Turns received bytes into the object `key`, if `condition` holds. This is atomic.
    pub(crate) fn commit(
        &self,
        bucket: &str,
        key: String,
        received: Received,
        headers: Headers,
        condition: &WriteCondition,
    ) -> Result<Arc<Object>, StoreError> {
        let mut buckets = self.buckets();
        let objects = &mut buckets
            .get_mut(bucket)
            .ok_or(StoreError::NoSuchBucket)?
            .objects;
        let old = objects.get(&key).cloned();
        condition.check(old.as_deref())?;

        let (_, data_path) = received.file.keep().map_err(|error| error.error)?;
        let object = Arc::new(Object {
            data: file_name(&data_path)
                .ok_or(io::ErrorKind::InvalidFilename)
                .map_err(io::Error::from)?
                .to_owned(),
            size: received.size,
            etag: received.etag,
            last_modified: now(),
            checksums: received.checksums,
            headers,
            key: key.clone(),
        });
        write_record(
            &self.root.join(bucket).join("objects"),
            &record_name(&key),
            &*object,
        )?;
        objects.insert(key, Arc::clone(&object));
        if let Some(old) = old {
            self.remove_data(bucket, &old);
        }
        Ok(object)
    }

    /// Removes an object if it exists and `condition` holds.
    pub(crate) fn delete(
        &self,
        bucket: &str,
        key: &str,
        condition: &WriteCondition,
    ) -> Result<(), StoreError> {
        let mut buckets = self.buckets();
        let objects = &mut buckets
            .get_mut(bucket)
            .ok_or(StoreError::NoSuchBucket)?
            .objects;
        condition.check(objects.get(key).map(|object| &**object))?;
        if let Some(object) = objects.get(key).cloned() {
            fs::remove_file(
                self.root
                    .join(bucket)
                    .join("objects")
                    .join(record_name(key)),
            )?;
            objects.remove(key);
            self.remove_data(bucket, &object);
        }
        Ok(())
    }

    /// A file that cannot be removed now (because it is open, on Windows) is removed at the next start.
    fn remove_data(&self, bucket: &str, object: &Object) {
        if let Err(error) = fs::remove_file(self.data_path(bucket, &object.data)) {
            tracing::debug!(%error, key = object.key, "old data file stays until the next start");
        }
    }

    fn data_path(&self, bucket: &str, data: &str) -> PathBuf {
        self.root.join(bucket).join("data").join(data)
    }

    fn buckets(&self) -> MutexGuard<'_, BTreeMap<String, Bucket>> {
        // Every change is made on disk first and in memory last, so the map is valid even after a panic in between.
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket {
    fn open(dir: &Path) -> Result<Bucket, DevServerError> {
        let record: BucketRecord = read_record(&dir.join(BUCKET_RECORD))?;
        let mut objects = BTreeMap::new();
        for path in entries(&dir.join("objects"))? {
            if file_name(&path).is_some_and(|name| name.starts_with(PART_PREFIX)) {
                fs::remove_file(&path).map_err(file_error(&path))?;
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let object: Object = read_record(&path)?;
            if file_name(&path) != Some(&*record_name(&object.key))
                || object.data.contains(['/', '\\'])
            {
                return Err(DevServerError::Damaged {
                    path,
                    reason: "it does not match its name".to_owned(),
                });
            }
            if !dir.join("data").join(&object.data).is_file() {
                let reason = format!("its data file {} is missing", object.data);
                return Err(DevServerError::Damaged { path, reason });
            }
            objects.insert(object.key.clone(), Arc::new(object));
        }
        let named: std::collections::HashSet<&str> =
            objects.values().map(|object| &*object.data).collect();
        for path in entries(&dir.join("data"))? {
            if !file_name(&path).is_some_and(|name| named.contains(name)) {
                fs::remove_file(&path).map_err(file_error(&path))?;
            }
        }
        let policy = match &record.policy {
            None => None,
            Some(text) => {
                let bucket = file_name(dir).unwrap_or_default();
                Some(Arc::new(Policy::parse(text, bucket).map_err(|error| {
                    DevServerError::Damaged {
                        path: dir.join(BUCKET_RECORD),
                        reason: error.to_string(),
                    }
                })?))
            }
        };
        Ok(Bucket {
            record,
            policy,
            objects,
        })
    }
}

/// Locks the directory for one server, for as long as the file is open.
pub(crate) fn lock(dir: &Path) -> Result<File, DevServerError> {
    let path = dir.join("lock");
    let file = File::create(&path).map_err(file_error(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DevServerError::DirectoryInUse {
            dir: dir.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(DevServerError::File { path, source }),
    }
}

fn record_name(key: &str) -> String {
    format!("{}.json", hex(Sha256::checksum(key.as_bytes()).as_ref()))
}

fn write_record(dir: &Path, name: &str, record: &impl Serialize) -> io::Result<()> {
    let mut part = tempfile::Builder::new()
        .prefix(PART_PREFIX)
        .tempfile_in(dir)?;
    part.write_all(&serde_json::to_vec_pretty(record)?)?;
    part.persist(dir.join(name)).map_err(|error| error.error)?;
    Ok(())
}

fn read_record<T: DeserializeOwned>(path: &Path) -> Result<T, DevServerError> {
    let text = fs::read(path).map_err(file_error(path))?;
    serde_json::from_slice(&text).map_err(|error| DevServerError::Damaged {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, DevServerError> {
    let list = || {
        fs::read_dir(dir)?
            .map(|entry| Ok(entry?.path()))
            .collect::<io::Result<Vec<_>>>()
    };
    list().map_err(file_error(dir))
}

fn file_name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

fn timestamp(unix: i64) -> Timestamp {
    OffsetDateTime::from_unix_timestamp(unix)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        .into()
}
