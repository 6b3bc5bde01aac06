//! What lies in a bucket.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::types::MultipartUpload;

use super::{Store, seconds};
use crate::error::CliError;

/// An object in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// When it was written, in seconds since 1970.
    pub modified: Option<u64>,
}

impl Store {
    /// The objects whose keys begin with `prefix`; without those in folders below it, where `folders` says so.
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
                })
            }));
        }
        Ok(objects)
    }

    /// Uploads in parts under a prefix that were begun longer ago than `age` and never completed: their parts are
    /// paid for, and no list shows them.
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
        // The first thousand; who has more calls again.
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

    /// Gives an upload in parts up.
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

/// Whether a list goes down into folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folders {
    /// Everything that begins with the prefix.
    With,
    /// What lies in this folder alone.
    Without,
}

/// An upload in parts that was never completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abandoned {
    /// The key it was to have.
    pub key: String,
    /// Its name.
    pub id: String,
}
