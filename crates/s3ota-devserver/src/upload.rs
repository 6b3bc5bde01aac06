//! Multipart uploads in progress. They are kept in memory, their parts in data files, and end with the server.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use base16ct::lower::encode_string as hex;
use s3s::S3Result;
use s3s::crypto::{Checksum as _, Md5};
use tempfile::NamedTempFile;

use crate::receive::{Declared, Received, internal};
use crate::store::{Checksums, Headers};

/// The least bytes of every part but the last: 5 MiB, as on S3.
pub(crate) const MIN_PART_SIZE: u64 = 5 * 1024 * 1024;

/// The highest number of a part, as on S3. The lowest is 1.
pub(crate) const MAX_PART_NUMBER: i32 = 10_000;

/// Bytes to copy at a time.
const BUFFER_SIZE: usize = 256 * 1024;

/// The uploads in progress.
#[derive(Default)]
pub(crate) struct Uploads(Mutex<HashMap<String, Upload>>);

/// One upload in progress.
pub(crate) struct Upload {
    bucket: String,
    key: String,
    pub(crate) headers: Headers,
    begun: SystemTime,
    parts: BTreeMap<i32, Arc<Received>>,
}

/// An upload in progress, for listing.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Listed {
    pub(crate) key: String,
    pub(crate) begun: SystemTime,
    pub(crate) id: String,
}

/// Why an upload was refused.
#[derive(Debug)]
pub(crate) enum UploadError {
    NoSuchUpload,
    InvalidPart,
    InvalidPartOrder,
    EntityTooSmall,
}

/// The parts of an upload, checked and in order, with the headers of the object they make.
pub(crate) struct Assembly {
    pub(crate) headers: Headers,
    parts: Vec<Arc<Received>>,
}

impl Uploads {
    /// Starts an upload with a new `id`.
    pub(crate) fn begin(&self, id: String, bucket: String, key: String, headers: Headers) {
        self.uploads().insert(
            id,
            Upload {
                bucket,
                key,
                headers,
                begun: SystemTime::now(),
                parts: BTreeMap::new(),
            },
        );
    }

    /// The uploads of a bucket whose keys begin with `prefix`, ordered by key, and for one key by their start.
    pub(crate) fn list(&self, bucket: &str, prefix: &str) -> Vec<Listed> {
        let uploads = self.uploads();
        let listed = uploads
            .iter()
            .filter(|(_, upload)| upload.bucket == bucket && upload.key.starts_with(prefix))
            .map(|(id, upload)| Listed {
                key: upload.key.clone(),
                begun: upload.begun,
                id: id.clone(),
            });
        let mut listed: Vec<_> = listed.collect();
        listed.sort();
        listed
    }

    pub(crate) fn exists(&self, id: &str, bucket: &str, key: &str) -> bool {
        find(&mut self.uploads(), id, bucket, key).is_ok()
    }

    /// Adds a part, or replaces the one with the same number.
    pub(crate) fn add_part(
        &self,
        id: &str,
        bucket: &str,
        key: &str,
        number: i32,
        part: Received,
    ) -> Result<(), UploadError> {
        find(&mut self.uploads(), id, bucket, key)?
            .parts
            .insert(number, Arc::new(part));
        Ok(())
    }

    pub(crate) fn parts(
        &self,
        id: &str,
        bucket: &str,
        key: &str,
    ) -> Result<BTreeMap<i32, Arc<Received>>, UploadError> {
        Ok(find(&mut self.uploads(), id, bucket, key)?.parts.clone())
    }

    /// The parts with these numbers and ETags, in this order. The upload remains until it is ended.
    pub(crate) fn assemble(
        &self,
        id: &str,
        bucket: &str,
        key: &str,
        named: &[(i32, String)],
    ) -> Result<Assembly, UploadError> {
        let mut uploads = self.uploads();
        let upload = find(&mut uploads, id, bucket, key)?;
        if named.is_empty() {
            return Err(UploadError::InvalidPart);
        }
        if !named.is_sorted_by(|(one, _), (next, _)| one < next) {
            return Err(UploadError::InvalidPartOrder);
        }
        let mut parts = Vec::with_capacity(named.len());
        for (number, etag) in named {
            let part = upload.parts.get(number).filter(|part| part.etag == *etag);
            parts.push(Arc::clone(part.ok_or(UploadError::InvalidPart)?));
        }
        if parts
            .iter()
            .rev()
            .skip(1)
            .any(|part| part.size < MIN_PART_SIZE)
        {
            return Err(UploadError::EntityTooSmall);
        }
        Ok(Assembly {
            headers: upload.headers.clone(),
            parts,
        })
    }

    /// Ends an upload and removes its parts.
    pub(crate) fn end(&self, id: &str, bucket: &str, key: &str) -> Result<(), UploadError> {
        let mut uploads = self.uploads();
        find(&mut uploads, id, bucket, key)?;
        uploads.remove(id);
        Ok(())
    }

    fn uploads(&self) -> MutexGuard<'_, HashMap<String, Upload>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Assembly {
    /// Copies the parts one after the other into `file`, and checks the result. This blocks.
    pub(crate) fn write(&self, mut file: NamedTempFile, declared: Declared) -> S3Result<Received> {
        let mut hasher = declared.hasher();
        let mut digests = Md5::new();
        let mut size = 0;
        let mut buffer = vec![0; BUFFER_SIZE];
        for part in &self.parts {
            let mut input = File::open(part.file.path()).map_err(internal)?;
            loop {
                let read = input.read(&mut buffer).map_err(internal)?;
                if read == 0 {
                    break;
                }
                hasher.update(&buffer[..read]);
                file.write_all(&buffer[..read]).map_err(internal)?;
            }
            digests.update(&part.md5);
            size += part.size;
        }
        file.flush().map_err(internal)?;
        let md5 = digests.finalize();
        let checksums = Checksums::finalize(hasher);
        declared.check(&md5, &checksums)?;
        let etag = format!("{}-{}", hex(&md5), self.parts.len());
        Ok(Received {
            file,
            size,
            md5,
            etag,
            checksums,
        })
    }
}

fn find<'a>(
    uploads: &'a mut HashMap<String, Upload>,
    id: &str,
    bucket: &str,
    key: &str,
) -> Result<&'a mut Upload, UploadError> {
    uploads
        .get_mut(id)
        .filter(|upload| upload.bucket == bucket && upload.key == key)
        .ok_or(UploadError::NoSuchUpload)
}
