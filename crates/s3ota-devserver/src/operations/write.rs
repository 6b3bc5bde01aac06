//! Writing, copying and deleting objects.

use hyper::header::HeaderMap;
use s3s::dto::*;
use s3s::{Body, S3Request, S3Response, S3Result, s3_error};

use super::{
    Operations, check_copy_source, copy_source_condition, declared, expect_no_public_acl,
    expect_no_version, full_object, headers, write_condition,
};
use crate::body::FileBody;
use crate::receive::{Declared, internal, receive};

/// The most keys that one request may delete.
const MAX_DELETED: usize = 1000;

impl Operations {
    pub(super) async fn put_object(
        &self,
        mut req: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let declared = declared!(req);
        let mut input = req.input;
        expect_no_public_acl(input.acl.as_ref())?;
        let condition = write_condition(input.if_match.take(), input.if_none_match.take())?;
        let body = input.body.take().map_or_else(Body::empty, Body::from);
        let received = receive(body, self.store.new_data(&input.bucket)?, declared).await?;
        let headers = headers!(input);
        let object = self
            .store
            .commit(&input.bucket, input.key, received, headers, &condition)?;
        let checksums = object.checksums.clone();
        Ok(S3Response::new(PutObjectOutput {
            e_tag: Some(object.etag()),
            checksum_type: full_object(&checksums),
            checksum_crc32: checksums.crc32,
            checksum_crc32c: checksums.crc32c,
            checksum_crc64nvme: checksums.crc64nvme,
            checksum_sha1: checksums.sha1,
            checksum_sha256: checksums.sha256,
            ..Default::default()
        }))
    }

    pub(super) async fn copy_object(
        &self,
        req: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        let condition = write_condition(
            header_condition(&req.headers, "if-match")?,
            header_condition(&req.headers, "if-none-match")?,
        )?;
        let mut input = req.input;
        expect_no_public_acl(input.acl.as_ref())?;
        let (source_bucket, source_key) = self.copy_source(&input.copy_source)?;
        let replace = input
            .metadata_directive
            .as_ref()
            .is_some_and(|it| it.as_str() == MetadataDirective::REPLACE);
        if !replace && source_bucket == input.bucket && source_key == input.key {
            return Err(s3_error!(
                InvalidRequest,
                "This copy request is illegal because it is trying to copy an object to itself without changing \
                 the object's metadata, storage class, website redirect location or encryption attributes."
            ));
        }
        let (source, file) = self.store.open_object(&source_bucket, &source_key)?;
        check_copy_source(&source, &copy_source_condition!(input))?;
        let body = FileBody::new(file, 0, source.size).map_err(internal)?;
        let mut received = receive(
            Body::http_body(body),
            self.store.new_data(&input.bucket)?,
            Declared::default(),
        )
        .await?;
        received.checksums = source.checksums.clone();
        let headers = if replace {
            headers!(input)
        } else {
            source.headers.clone()
        };
        let object = self
            .store
            .commit(&input.bucket, input.key, received, headers, &condition)?;
        Ok(S3Response::new(CopyObjectOutput {
            copy_object_result: Some(CopyObjectResult {
                e_tag: Some(object.etag()),
                last_modified: Some(object.last_modified()),
                ..Default::default()
            }),
            ..Default::default()
        }))
    }

    pub(super) async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = req.input;
        expect_no_version(input.version_id.as_deref())?;
        self.store.delete(
            &input.bucket,
            &input.key,
            &write_condition(input.if_match, None)?,
        )?;
        Ok(S3Response::with_status(
            DeleteObjectOutput::default(),
            hyper::StatusCode::NO_CONTENT,
        ))
    }

    pub(super) async fn delete_objects(
        &self,
        req: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let signed = req.credentials.is_some();
        let DeleteObjectsInput { bucket, delete, .. } = req.input;
        self.expect_bucket(&bucket)?;
        if delete.objects.len() > MAX_DELETED {
            return Err(s3_error!(
                MalformedXML,
                "At most 1000 keys can be deleted in one request."
            ));
        }
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for ObjectIdentifier {
            key,
            version_id,
            e_tag,
            ..
        } in delete.objects
        {
            match self.delete_one(signed, &bucket, &key, version_id.as_deref(), e_tag) {
                Ok(()) => deleted.push(DeletedObject {
                    key: Some(key),
                    ..Default::default()
                }),
                Err(error) => errors.push(Error {
                    code: Some(error.code().as_str().to_owned()),
                    message: error.message().map(str::to_owned),
                    key: Some(key),
                    version_id,
                }),
            }
        }
        let quiet = delete.quiet.unwrap_or(false);
        Ok(S3Response::new(DeleteObjectsOutput {
            deleted: (!quiet).then_some(deleted),
            errors: (!errors.is_empty()).then_some(errors),
            ..Default::default()
        }))
    }

    fn delete_one(
        &self,
        signed: bool,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
        etag: Option<ETag>,
    ) -> S3Result<()> {
        expect_no_version(version_id)?;
        if !self
            .gate
            .allows(signed, "s3:DeleteObject", bucket, Some(key))
        {
            return Err(s3_error!(AccessDenied, "Access Denied"));
        }
        let condition = write_condition(etag.map(ETagCondition::ETag), None)?;
        Ok(self.store.delete(bucket, key, &condition)?)
    }
}

fn header_condition(headers: &HeaderMap, name: &str) -> S3Result<Option<ETagCondition>> {
    let parse =
        |value: &hyper::header::HeaderValue| ETagCondition::parse_http_header(value.as_bytes());
    headers
        .get(name)
        .map(parse)
        .transpose()
        .map_err(|error| s3_error!(error, InvalidArgument, "Invalid {}", name))
}
