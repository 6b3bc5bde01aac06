//! Listing a bucket.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::types::MultipartUpload;

use super::{Store, seconds};
use crate::error::CliError;

/// A listed object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// When it was written, in seconds since 1970.
    pub modified: Option<u64>,
    /// Its storage class, where the service tells it.
    pub class: Option<String>,
}

impl Store {
    /// The objects whose keys begin with `prefix`; without those in subfolders, if `folders` says so.
    pub async fn list(&self, prefix: &str, folders: Folders) -> Result<Vec<Listed>, CliError> {
        let mut request = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(prefix);
        if folders == Folders::Without {
            request = request.delimiter("/");
        }
        let mut pages = request.into_paginator().send();
        let mut objects = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.explain(error, "s3:ListBucket", ""))?;
            objects.extend(page.contents().iter().filter_map(|object| {
                Some(Listed {
                    key: object.key()?.to_owned(),
                    size: object
                        .size()
                        .and_then(|size| u64::try_from(size).ok())
                        .unwrap_or(0),
                    modified: object.last_modified().and_then(seconds),
                    class: object
                        .storage_class()
                        .map(|class| class.as_str().to_owned()),
                })
            }));
        }
        Ok(objects)
    }

    /// The folders right below `prefix`, with their slash.
    pub async fn folders(&self, prefix: &str) -> Result<Vec<String>, CliError> {
        let list = self.client.list_objects_v2().bucket(&self.bucket);
        let request = list.prefix(prefix).delimiter("/");
        let mut pages = request.into_paginator().send();
        let mut folders = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.explain(error, "s3:ListBucket", ""))?;
            let found = page.common_prefixes().iter();
            folders.extend(found.filter_map(|folder| folder.prefix().map(str::to_owned)));
        }
        Ok(folders)
    }

    /// Multipart uploads under a prefix that began longer ago than `age` and were never completed. Their parts cost money, and no
    /// list shows them.
    pub async fn abandoned_uploads(
        &self,
        prefix: &str,
        age: Duration,
    ) -> Result<Vec<Abandoned>, CliError> {
        let request = self
            .client
            .list_multipart_uploads()
            .bucket(&self.bucket)
            .prefix(prefix);
        let before = SystemTime::now()
            .checked_sub(age)
            .and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
        // The first thousand; run the command again for more.
        let page = request
            .send()
            .await
            .map_err(|error| self.explain(error, "s3:ListBucketMultipartUploads", ""))?;
        let old = |upload: &&MultipartUpload| {
            let begun = upload.initiated().and_then(seconds);
            matches!((begun, before), (Some(begun), Some(before)) if begun < before.as_secs())
        };
        let old = page.uploads().iter().filter(old);
        Ok(old
            .filter_map(|upload| {
                Some(Abandoned {
                    key: upload.key()?.to_owned(),
                    id: upload.upload_id()?.to_owned(),
                })
            })
            .collect())
    }

    /// Aborts a multipart upload.
    pub async fn abort_upload(&self, upload: &Abandoned) -> Result<(), CliError> {
        let request = self
            .client
            .abort_multipart_upload()
            .bucket(&self.bucket)
            .key(&upload.key)
            .upload_id(&upload.id);
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.explain(error, "s3:AbortMultipartUpload", &upload.key)),
        }
    }
}

/// Whether to list subfolders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folders {
    /// Everything that begins with the prefix.
    With,
    /// Only this folder.
    Without,
}

/// A multipart upload that was never completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abandoned {
    /// The key of its object.
    pub key: String,
    /// Its id.
    pub id: String,
}
