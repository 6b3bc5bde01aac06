//! Uploads in parts.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use s3s::dto::*;
use s3s::{Body, S3Error, S3Request, S3Response, S3Result, s3_error};

use super::list::{Encoding, count, max_keys};
use super::read::range_not_satisfiable;
use super::{
    Operations, check_copy_source, copy_source_condition, declared, expect_no_public_acl,
    full_object, headers, length, write_condition,
};
use crate::body::FileBody;
use crate::receive::{Declared, Received, internal, receive};
use crate::store::Checksums;
use crate::upload::{Listed, MAX_PART_NUMBER, UploadError};

impl Operations {
    pub(super) async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let mut input = req.input;
        expect_no_public_acl(input.acl.as_ref())?;
        self.expect_bucket(&input.bucket)?;
        let id = random_id();
        let headers = headers!(input);
        self.uploads
            .begin(id.clone(), input.bucket.clone(), input.key.clone(), headers);
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            checksum_algorithm: input.checksum_algorithm,
            checksum_type: input.checksum_type,
            ..Default::default()
        }))
    }

    pub(super) async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let input = req.input;
        self.expect_bucket(&input.bucket)?;
        if input.delimiter.is_some() {
            return Err(s3_error!(
                NotImplemented,
                "Uploads are listed without a delimiter"
            ));
        }
        let encode = Encoding::new(input.encoding_type.as_ref());
        let prefix = input.prefix.unwrap_or_default();
        let mut listed = self.uploads.list(&input.bucket, &prefix);
        if let Some(key) = &input.key_marker {
            let last = input.upload_id_marker.as_ref().and_then(|id| {
                let is_it = |upload: &Listed| upload.key == *key && upload.id == *id;
                listed.iter().position(is_it)
            });
            match last {
                Some(last) => drop(listed.drain(..=last)),
                None => listed.retain(|upload| upload.key > *key),
            }
        }
        let max_uploads = max_keys(input.max_uploads)?;
        let is_truncated = listed.len() > max_uploads;
        listed.truncate(max_uploads);
        let next = listed.last().filter(|_| is_truncated);
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            prefix: Some(encode.text(&prefix)),
            key_marker: input.key_marker.map(|key| encode.text(&key)),
            upload_id_marker: input.upload_id_marker,
            next_key_marker: next.map(|next| encode.text(&next.key)),
            next_upload_id_marker: next.map(|next| next.id.clone()),
            max_uploads: Some(count(max_uploads)),
            encoding_type: input.encoding_type,
            is_truncated: Some(is_truncated),
            uploads: Some(
                listed
                    .iter()
                    .map(|upload| in_progress(upload, encode))
                    .collect(),
            ),
            ..Default::default()
        }))
    }

    pub(super) async fn upload_part(
        &self,
        mut req: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let declared = declared!(req);
        let input = req.input;
        self.expect_part(
            &input.upload_id,
            &input.bucket,
            &input.key,
            input.part_number,
        )?;
        let body = input.body.map_or_else(Body::empty, Body::from);
        let part = receive(body, self.store.new_data(&input.bucket)?, declared).await?;
        let (etag, checksums) = (part.etag.clone(), part.checksums.clone());
        self.uploads.add_part(
            &input.upload_id,
            &input.bucket,
            &input.key,
            input.part_number,
            part,
        )?;
        Ok(S3Response::new(UploadPartOutput {
            e_tag: Some(ETag::Strong(etag)),
            checksum_crc32: checksums.crc32,
            checksum_crc32c: checksums.crc32c,
            checksum_crc64nvme: checksums.crc64nvme,
            checksum_sha1: checksums.sha1,
            checksum_sha256: checksums.sha256,
            ..Default::default()
        }))
    }

    pub(super) async fn upload_part_copy(
        &self,
        req: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        let mut input = req.input;
        self.expect_part(
            &input.upload_id,
            &input.bucket,
            &input.key,
            input.part_number,
        )?;
        let (source_bucket, source_key) = self.copy_source(&input.copy_source)?;
        let (source, file) = self.store.open_object(&source_bucket, &source_key)?;
        check_copy_source(&source, &copy_source_condition!(input))?;
        let (start, end) = match &input.copy_source_range {
            None => (0, source.size),
            Some(text) => {
                let range = Range::parse(text)
                    .map_err(|_| s3_error!(InvalidArgument, "Invalid copy source range"))?;
                let bytes = range
                    .check(source.size)
                    .map_err(|_| range_not_satisfiable(source.size))?;
                (bytes.start, bytes.end)
            }
        };
        let body = FileBody::new(file, start, end - start).map_err(internal)?;
        let part = receive(
            Body::http_body(body),
            self.store.new_data(&input.bucket)?,
            Declared::default(),
        )
        .await?;
        let etag = part.etag.clone();
        self.uploads.add_part(
            &input.upload_id,
            &input.bucket,
            &input.key,
            input.part_number,
            part,
        )?;
        Ok(S3Response::new(UploadPartCopyOutput {
            copy_part_result: Some(CopyPartResult {
                e_tag: Some(ETag::Strong(etag)),
                last_modified: Some(source.last_modified()),
                ..Default::default()
            }),
            ..Default::default()
        }))
    }

    pub(super) async fn list_parts(
        &self,
        req: S3Request<ListPartsInput>,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        let input = req.input;
        let parts = self
            .uploads
            .parts(&input.upload_id, &input.bucket, &input.key)?;
        let part = |(number, part): (i32, Arc<Received>)| Part {
            part_number: Some(number),
            e_tag: Some(ETag::Strong(part.etag.clone())),
            size: Some(length(part.size)),
            ..Default::default()
        };
        Ok(S3Response::new(ListPartsOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            is_truncated: Some(false),
            parts: Some(parts.into_iter().map(part).collect()),
            ..Default::default()
        }))
    }

    pub(super) async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = req.input;
        let condition = write_condition(input.if_match, input.if_none_match)?;
        let mut named = Vec::new();
        for part in input
            .multipart_upload
            .and_then(|upload| upload.parts)
            .unwrap_or_default()
        {
            let (Some(number), Some(etag)) = (part.part_number, part.e_tag) else {
                return Err(s3_error!(
                    MalformedXML,
                    "A part needs its number and its ETag."
                ));
            };
            named.push((number, etag.into_value()));
        }
        let assembly =
            self.uploads
                .assemble(&input.upload_id, &input.bucket, &input.key, &named)?;
        let file = self.store.new_data(&input.bucket)?;
        // Only checksums of the whole object can be checked here; parts have been checked one by one.
        let whole = input
            .checksum_type
            .is_some_and(|it| it.as_str() == ChecksumType::FULL_OBJECT);
        let declared = Declared {
            checksums: Checksums {
                crc32: input.checksum_crc32.filter(|_| whole),
                crc32c: input.checksum_crc32c.filter(|_| whole),
                crc64nvme: input.checksum_crc64nvme,
                ..Checksums::default()
            },
            ..Declared::default()
        };
        let headers = assembly.headers.clone();
        let received = tokio::task::spawn_blocking(move || assembly.write(file, declared))
            .await
            .map_err(S3Error::internal_error)??;
        let object = self.store.commit(
            &input.bucket,
            input.key.clone(),
            received,
            headers,
            &condition,
        )?;
        self.uploads
            .end(&input.upload_id, &input.bucket, &input.key)?;
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            location: Some(format!("/{}/{}", input.bucket, input.key)),
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(object.etag()),
            checksum_type: full_object(&object.checksums),
            checksum_crc32: object.checksums.crc32.clone(),
            checksum_crc32c: object.checksums.crc32c.clone(),
            checksum_crc64nvme: object.checksums.crc64nvme.clone(),
            ..Default::default()
        }))
    }

    pub(super) async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let input = req.input;
        self.uploads
            .end(&input.upload_id, &input.bucket, &input.key)?;
        Ok(S3Response::with_status(
            AbortMultipartUploadOutput::default(),
            hyper::StatusCode::NO_CONTENT,
        ))
    }

    fn expect_part(&self, upload_id: &str, bucket: &str, key: &str, number: i32) -> S3Result<()> {
        if !self.uploads.exists(upload_id, bucket, key) {
            return Err(UploadError::NoSuchUpload.into());
        }
        if !(1..=MAX_PART_NUMBER).contains(&number) {
            return Err(s3_error!(
                InvalidArgument,
                "Part number must be an integer between 1 and 10000, inclusive"
            ));
        }
        Ok(())
    }
}

fn in_progress(upload: &Listed, encode: Encoding) -> MultipartUpload {
    MultipartUpload {
        key: Some(encode.text(&upload.key)),
        upload_id: Some(upload.id.clone()),
        initiated: Some(upload.begun.into()),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        ..Default::default()
    }
}

/// Only signed requests can name an upload, so its id must be new but not secret.
fn random_id() -> String {
    (0..2)
        .map(|_| format!("{:016x}", RandomState::new().build_hasher().finish()))
        .collect()
}
