//! The operations of S3, on a [`Store`].

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use hyper::header::{
    CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, IF_RANGE, LAST_MODIFIED,
};
use s3s::dto::*;
use s3s::{Body, S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

use crate::access::Gate;
use crate::body::FileBody;
use crate::condition::{ReadCondition, ReadVerdict, WriteCondition, if_range_holds};
use crate::listing::{Page, Query};
use crate::policy::{Policy, PolicyError, PublicAccessBlock};
use crate::receive::{Declared, Received, internal, receive, trailing_algorithm};
use crate::store::{Checksums, Headers, Object as StoredObject, Store, StoreError, hex};
use crate::upload::{Listed, MAX_PART_NUMBER, UploadError, Uploads};

/// The type S3 gives an object that was put without one.
const DEFAULT_CONTENT_TYPE: &str = "binary/octet-stream";

/// More keys than this are never listed in one page.
const MAX_KEYS: usize = 1000;

/// More keys than this are never deleted in one request.
const MAX_DELETED: usize = 1000;

/// The service behind the protocol.
pub(crate) struct Operations {
    store: Arc<Store>,
    gate: Gate,
    region: String,
    uploads: Uploads,
}

impl Operations {
    pub(crate) fn new(store: Arc<Store>, gate: Gate, region: String) -> Operations {
        Operations {
            store,
            gate,
            region,
            uploads: Uploads::default(),
        }
    }
}

/// Takes the headers to be kept out of the input of PutObject, CopyObject or CreateMultipartUpload.
macro_rules! headers {
    ($input:ident) => {
        Headers {
            content_type: $input.content_type.take(),
            cache_control: $input.cache_control.take(),
            content_disposition: $input.content_disposition.take(),
            content_encoding: $input.content_encoding.take().and_then(without_aws_chunked),
            content_language: $input.content_language.take(),
            expires: $input.expires.take(),
            metadata: $input
                .metadata
                .take()
                .unwrap_or_default()
                .into_iter()
                .collect(),
        }
    };
}

#[async_trait::async_trait]
impl S3 for Operations {
    // Buckets.

    async fn create_bucket(
        &self,
        req: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        self.store.create_bucket(&req.input.bucket)?;
        Ok(S3Response::new(CreateBucketOutput {
            location: Some(format!("/{}", req.input.bucket)),
        }))
    }

    async fn delete_bucket(
        &self,
        req: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        self.store.delete_bucket(&req.input.bucket)?;
        Ok(S3Response::with_status(
            DeleteBucketOutput::default(),
            hyper::StatusCode::NO_CONTENT,
        ))
    }

    async fn head_bucket(
        &self,
        req: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.expect_bucket(&req.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput {
            bucket_region: Some(self.region.clone()),
            ..Default::default()
        }))
    }

    async fn get_bucket_location(
        &self,
        req: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.expect_bucket(&req.input.bucket)?;
        // The oldest region has no name here: API reference, GetBucketLocation.
        let name = (self.region != "us-east-1").then(|| self.region.clone().into());
        Ok(S3Response::new(GetBucketLocationOutput {
            location_constraint: name,
        }))
    }

    async fn list_buckets(
        &self,
        _req: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let bucket = |(name, created)| Bucket {
            name: Some(name),
            creation_date: Some(created),
            bucket_region: Some(self.region.clone()),
        };
        let buckets = self.store.list_buckets().into_iter().map(bucket).collect();
        Ok(S3Response::new(ListBucketsOutput {
            buckets: Some(buckets),
            ..Default::default()
        }))
    }

    async fn put_bucket_policy(
        &self,
        req: S3Request<PutBucketPolicyInput>,
    ) -> S3Result<S3Response<PutBucketPolicyOutput>> {
        let PutBucketPolicyInput { bucket, policy, .. } = req.input;
        self.expect_bucket(&bucket)?;
        let parsed = Policy::parse(&policy, &bucket).map_err(|error| {
            let code = match error {
                PolicyError::Malformed(_) => S3ErrorCode::MalformedPolicy,
                PolicyError::Unsupported(_) => S3ErrorCode::NotImplemented,
            };
            S3Error::with_message(code, error.to_string())
        })?;
        let block = self.store.public_access_block(&bucket)?.unwrap_or_default();
        if block.block_public_policy && parsed.is_public() {
            return Err(s3_error!(
                AccessDenied,
                "Public policies are blocked by the BlockPublicPolicy block public access setting."
            ));
        }
        self.store.set_policy(&bucket, Some((policy, parsed)))?;
        Ok(S3Response::new(PutBucketPolicyOutput::default()))
    }

    async fn get_bucket_policy(
        &self,
        req: S3Request<GetBucketPolicyInput>,
    ) -> S3Result<S3Response<GetBucketPolicyOutput>> {
        let policy = self
            .store
            .policy_text(&req.input.bucket)?
            .ok_or_else(no_policy)?;
        Ok(S3Response::new(GetBucketPolicyOutput {
            policy: Some(policy),
        }))
    }

    async fn get_bucket_policy_status(
        &self,
        req: S3Request<GetBucketPolicyStatusInput>,
    ) -> S3Result<S3Response<GetBucketPolicyStatusOutput>> {
        self.expect_bucket(&req.input.bucket)?;
        let policy = self.store.policy(&req.input.bucket).ok_or_else(no_policy)?;
        let status = PolicyStatus {
            is_public: Some(policy.is_public()),
        };
        Ok(S3Response::new(GetBucketPolicyStatusOutput {
            policy_status: Some(status),
        }))
    }

    async fn delete_bucket_policy(
        &self,
        req: S3Request<DeleteBucketPolicyInput>,
    ) -> S3Result<S3Response<DeleteBucketPolicyOutput>> {
        self.store.set_policy(&req.input.bucket, None)?;
        Ok(S3Response::new(DeleteBucketPolicyOutput::default()))
    }

    async fn put_public_access_block(
        &self,
        req: S3Request<PutPublicAccessBlockInput>,
    ) -> S3Result<S3Response<PutPublicAccessBlockOutput>> {
        let setting = req.input.public_access_block_configuration;
        let block = PublicAccessBlock {
            block_public_acls: setting.block_public_acls.unwrap_or(false),
            ignore_public_acls: setting.ignore_public_acls.unwrap_or(false),
            block_public_policy: setting.block_public_policy.unwrap_or(false),
            restrict_public_buckets: setting.restrict_public_buckets.unwrap_or(false),
        };
        self.store
            .set_public_access_block(&req.input.bucket, Some(block))?;
        Ok(S3Response::new(PutPublicAccessBlockOutput::default()))
    }

    async fn get_public_access_block(
        &self,
        req: S3Request<GetPublicAccessBlockInput>,
    ) -> S3Result<S3Response<GetPublicAccessBlockOutput>> {
        let block = self
            .store
            .public_access_block(&req.input.bucket)?
            .ok_or_else(no_public_access_block)?;
        Ok(S3Response::new(GetPublicAccessBlockOutput {
            public_access_block_configuration: Some(PublicAccessBlockConfiguration {
                block_public_acls: Some(block.block_public_acls),
                ignore_public_acls: Some(block.ignore_public_acls),
                block_public_policy: Some(block.block_public_policy),
                restrict_public_buckets: Some(block.restrict_public_buckets),
            }),
        }))
    }

    async fn delete_public_access_block(
        &self,
        req: S3Request<DeletePublicAccessBlockInput>,
    ) -> S3Result<S3Response<DeletePublicAccessBlockOutput>> {
        self.store
            .set_public_access_block(&req.input.bucket, None)?;
        Ok(S3Response::new(DeletePublicAccessBlockOutput::default()))
    }

    // Reading objects.

    async fn get_object(
        &self,
        req: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let if_range = req
            .headers
            .get(IF_RANGE)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let signed = req.credentials.is_some();
        let input = req.input;
        expect_no_version(input.version_id.as_deref())?;
        let (object, file) = self
            .store
            .open_object(&input.bucket, &input.key)
            .map_err(|error| self.hide_missing(error, signed, &input.bucket))?;
        expect_whole(input.part_number, &object)?;
        check_read(
            &object,
            &ReadCondition {
                if_match: input.if_match,
                if_none_match: input.if_none_match,
                if_modified_since: input.if_modified_since,
                if_unmodified_since: input.if_unmodified_since,
            },
        )?;
        let range = input
            .range
            .filter(|_| if_range.is_none_or(|value| if_range_holds(&value, &object)));
        let (start, end) = match range {
            None => (0, object.size),
            Some(range) => {
                let bytes = range
                    .check(object.size)
                    .map_err(|_| range_not_satisfiable(object.size))?;
                (bytes.start, bytes.end)
            }
        };
        let body = FileBody::new(file, start, end - start).map_err(internal)?;
        let wants_checksums = input
            .checksum_mode
            .is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED);
        let checksums = if wants_checksums && range.is_none() {
            object.checksums.clone()
        } else {
            Checksums::default()
        };
        let headers = object.headers.clone();
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            body: Some(StreamingBlob::from(Body::http_body(body))),
            cache_control: headers.cache_control,
            checksum_type: full_object(&checksums),
            checksum_crc32: checksums.crc32,
            checksum_crc32c: checksums.crc32c,
            checksum_crc64nvme: checksums.crc64nvme,
            checksum_sha1: checksums.sha1,
            checksum_sha256: checksums.sha256,
            content_disposition: headers.content_disposition,
            content_encoding: headers.content_encoding,
            content_language: headers.content_language,
            content_length: Some(length(end - start)),
            content_range: range.map(|_| format!("bytes {start}-{}/{}", end - 1, object.size)),
            content_type: headers
                .content_type
                .or_else(|| Some(DEFAULT_CONTENT_TYPE.to_owned())),
            e_tag: Some(object.etag()),
            expires: headers.expires,
            last_modified: Some(object.last_modified()),
            metadata: metadata(headers.metadata),
            ..Default::default()
        }))
    }

    async fn head_object(
        &self,
        req: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let signed = req.credentials.is_some();
        let input = req.input;
        expect_no_version(input.version_id.as_deref())?;
        let object = self
            .store
            .object(&input.bucket, &input.key)
            .map_err(|error| self.hide_missing(error, signed, &input.bucket))?;
        expect_whole(input.part_number, &object)?;
        check_read(
            &object,
            &ReadCondition {
                if_match: input.if_match,
                if_none_match: input.if_none_match,
                if_modified_since: input.if_modified_since,
                if_unmodified_since: input.if_unmodified_since,
            },
        )?;
        let wants_checksums = input
            .checksum_mode
            .is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED);
        let checksums = if wants_checksums {
            object.checksums.clone()
        } else {
            Checksums::default()
        };
        let headers = object.headers.clone();
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            cache_control: headers.cache_control,
            checksum_type: full_object(&checksums),
            checksum_crc32: checksums.crc32,
            checksum_crc32c: checksums.crc32c,
            checksum_crc64nvme: checksums.crc64nvme,
            checksum_sha1: checksums.sha1,
            checksum_sha256: checksums.sha256,
            content_disposition: headers.content_disposition,
            content_encoding: headers.content_encoding,
            content_language: headers.content_language,
            content_length: Some(length(object.size)),
            content_type: headers
                .content_type
                .or_else(|| Some(DEFAULT_CONTENT_TYPE.to_owned())),
            e_tag: Some(object.etag()),
            expires: headers.expires,
            last_modified: Some(object.last_modified()),
            metadata: metadata(headers.metadata),
            ..Default::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = req.input;
        let after = match &input.continuation_token {
            Some(token) => read_token(token)?,
            None => input.start_after.clone().unwrap_or_default(),
        };
        let query = Query {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone(),
            after,
            max_keys: max_keys(input.max_keys)?,
        };
        let encode = Encoding::new(input.encoding_type.as_ref());
        let page = self.store.list(&input.bucket, &query)?;
        let (contents, common_prefixes) = entries(&page, encode);
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(encode.text(&query.prefix)),
            delimiter: input.delimiter.map(|delimiter| encode.text(&delimiter)),
            max_keys: Some(count(query.max_keys)),
            key_count: Some(count(contents.len() + common_prefixes.len())),
            continuation_token: input.continuation_token,
            start_after: input.start_after.map(|key| encode.text(&key)),
            encoding_type: input.encoding_type,
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next.map(|name| hex(name.as_bytes())),
            contents: Some(contents),
            common_prefixes: Some(common_prefixes),
            ..Default::default()
        }))
    }

    async fn list_objects(
        &self,
        req: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let input = req.input;
        let query = Query {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone(),
            after: input.marker.clone().unwrap_or_default(),
            max_keys: max_keys(input.max_keys)?,
        };
        let encode = Encoding::new(input.encoding_type.as_ref());
        let page = self.store.list(&input.bucket, &query)?;
        let (contents, common_prefixes) = entries(&page, encode);
        Ok(S3Response::new(ListObjectsOutput {
            name: Some(input.bucket),
            prefix: Some(encode.text(&query.prefix)),
            // Without a delimiter the last key is the next marker, and S3 does not repeat it.
            next_marker: page
                .next
                .as_deref()
                .filter(|_| query.delimiter.is_some())
                .map(|name| encode.text(name)),
            delimiter: input.delimiter.map(|delimiter| encode.text(&delimiter)),
            marker: Some(encode.text(&query.after)),
            max_keys: Some(count(query.max_keys)),
            encoding_type: input.encoding_type,
            is_truncated: Some(page.next.is_some()),
            contents: Some(contents),
            common_prefixes: Some(common_prefixes),
            ..Default::default()
        }))
    }

    // Writing objects.

    async fn put_object(
        &self,
        req: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let algorithm = trailing_algorithm(&req.headers);
        let mut input = req.input;
        expect_no_public_acl(input.acl.as_ref())?;
        let condition = write_condition(input.if_match.take(), input.if_none_match.take())?;
        let declared = Declared {
            md5: input.content_md5.take(),
            checksums: Checksums {
                crc32: input.checksum_crc32.take(),
                crc32c: input.checksum_crc32c.take(),
                crc64nvme: input.checksum_crc64nvme.take(),
                sha1: input.checksum_sha1.take(),
                sha256: input.checksum_sha256.take(),
            },
            algorithm: algorithm.or(input.checksum_algorithm.take()),
            trailers: req.trailing_headers,
        };
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

    async fn copy_object(
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
        check_copy_source(
            &source,
            &ReadCondition {
                if_match: input.copy_source_if_match.take(),
                if_none_match: input.copy_source_if_none_match.take(),
                if_modified_since: input.copy_source_if_modified_since.take(),
                if_unmodified_since: input.copy_source_if_unmodified_since.take(),
            },
        )?;
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

    async fn delete_object(
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

    async fn delete_objects(
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

    // Multipart uploads.

    async fn create_multipart_upload(
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

    async fn list_multipart_uploads(
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

    async fn upload_part(
        &self,
        req: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let algorithm = trailing_algorithm(&req.headers);
        let input = req.input;
        self.expect_part(
            &input.upload_id,
            &input.bucket,
            &input.key,
            input.part_number,
        )?;
        let declared = Declared {
            md5: input.content_md5,
            checksums: Checksums {
                crc32: input.checksum_crc32,
                crc32c: input.checksum_crc32c,
                crc64nvme: input.checksum_crc64nvme,
                sha1: input.checksum_sha1,
                sha256: input.checksum_sha256,
            },
            algorithm: algorithm.or(input.checksum_algorithm),
            trailers: req.trailing_headers,
        };
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

    async fn upload_part_copy(
        &self,
        req: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        let input = req.input;
        self.expect_part(
            &input.upload_id,
            &input.bucket,
            &input.key,
            input.part_number,
        )?;
        let (source_bucket, source_key) = self.copy_source(&input.copy_source)?;
        let (source, file) = self.store.open_object(&source_bucket, &source_key)?;
        check_copy_source(
            &source,
            &ReadCondition {
                if_match: input.copy_source_if_match,
                if_none_match: input.copy_source_if_none_match,
                if_modified_since: input.copy_source_if_modified_since,
                if_unmodified_since: input.copy_source_if_unmodified_since,
            },
        )?;
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

    async fn list_parts(
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

    async fn complete_multipart_upload(
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
        // Of checksums, only those over the whole object can be checked here; parts were checked one by one.
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

    async fn abort_multipart_upload(
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
}

impl Operations {
    fn expect_bucket(&self, bucket: &str) -> S3Result<()> {
        if self.store.bucket_exists(bucket) {
            Ok(())
        } else {
            Err(StoreError::NoSuchBucket.into())
        }
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

    /// Who may not list a bucket is not told which keys are missing in it.
    fn hide_missing(&self, error: StoreError, signed: bool, bucket: &str) -> S3Error {
        match error {
            StoreError::NoSuchKey if !self.gate.allows(signed, "s3:ListBucket", bucket, None) => {
                s3_error!(AccessDenied, "Access Denied")
            }
            error => error.into(),
        }
    }

    fn copy_source(&self, source: &CopySource) -> S3Result<(String, String)> {
        let CopySource::Bucket {
            bucket,
            key,
            version_id,
        } = source
        else {
            return Err(s3_error!(
                NotImplemented,
                "Only <bucket>/<key> can be copied from"
            ));
        };
        expect_no_version(version_id.as_deref())?;
        // Only signed requests come as far as here.
        if !self.gate.allows(true, "s3:GetObject", bucket, Some(key)) {
            return Err(s3_error!(AccessDenied, "Access Denied"));
        }
        Ok((bucket.to_string(), key.to_string()))
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

/// `aws-chunked` is how an upload travels, not how the object is encoded.
fn without_aws_chunked(encoding: String) -> Option<String> {
    let kept: Vec<&str> = encoding
        .split(',')
        .map(str::trim)
        .filter(|it| !it.is_empty() && *it != "aws-chunked")
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

fn metadata(metadata: std::collections::BTreeMap<String, String>) -> Option<Metadata> {
    (!metadata.is_empty()).then(|| metadata.into_iter().collect())
}

fn full_object(checksums: &Checksums) -> Option<ChecksumType> {
    (!checksums.is_empty()).then(|| ChecksumType::from_static(ChecksumType::FULL_OBJECT))
}

fn check_read(object: &StoredObject, condition: &ReadCondition) -> S3Result<()> {
    match condition.check(object) {
        ReadVerdict::Serve => Ok(()),
        ReadVerdict::PreconditionFailed => Err(StoreError::PreconditionFailed.into()),
        ReadVerdict::NotModified => {
            // The headers that a 200 would carry and a cache needs: RFC 9110 section 15.4.5.
            let mut headers = HeaderMap::new();
            let mut date = Vec::new();
            object
                .last_modified()
                .format(TimestampFormat::HttpDate, &mut date)
                .map_err(S3Error::internal_error)?;
            headers.insert(
                LAST_MODIFIED,
                date.try_into().map_err(S3Error::internal_error)?,
            );
            headers.insert(
                ETAG,
                object
                    .etag()
                    .to_http_header()
                    .map_err(S3Error::internal_error)?,
            );
            if let Some(value) = &object.headers.cache_control {
                headers.insert(
                    CACHE_CONTROL,
                    value.try_into().map_err(S3Error::internal_error)?,
                );
            }
            let mut error = S3Error::new(S3ErrorCode::NotModified);
            error.set_headers(headers);
            Err(error)
        }
    }
}

/// For a copy, a source that did not change is a failed precondition too: API reference, CopyObject.
fn check_copy_source(source: &StoredObject, condition: &ReadCondition) -> S3Result<()> {
    match condition.check(source) {
        ReadVerdict::Serve => Ok(()),
        _ => Err(StoreError::PreconditionFailed.into()),
    }
}

fn range_not_satisfiable(size: u64) -> S3Error {
    let mut error = s3_error!(InvalidRange, "The requested range is not satisfiable");
    let mut headers = HeaderMap::new();
    if let Ok(value) = format!("bytes */{size}").try_into() {
        headers.insert(CONTENT_RANGE, value);
    }
    headers.insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static("application/xml"),
    );
    error.set_headers(headers);
    error
}

fn write_condition(
    if_match: Option<ETagCondition>,
    if_none_match: Option<ETagCondition>,
) -> S3Result<WriteCondition> {
    WriteCondition::new(if_match, if_none_match).ok_or_else(|| {
        s3_error!(
            NotImplemented,
            "A write can have If-Match, or If-None-Match with the value *."
        )
    })
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

fn expect_no_version(version_id: Option<&str>) -> S3Result<()> {
    match version_id {
        None | Some("null") => Ok(()),
        Some(_) => Err(s3_error!(
            NoSuchVersion,
            "The specified version does not exist."
        )),
    }
}

/// Part 1 of an object that was uploaded at once is the whole object; others are not remembered.
fn expect_whole(part_number: Option<i32>, object: &StoredObject) -> S3Result<()> {
    match part_number {
        None => Ok(()),
        Some(1) if !object.etag.contains('-') => Ok(()),
        Some(_) => Err(s3_error!(
            NotImplemented,
            "Parts of an object cannot be read one by one"
        )),
    }
}

/// New buckets on S3 have ACLs disabled: an upload that asks for a public one fails there, so it fails here.
fn expect_no_public_acl(acl: Option<&ObjectCannedACL>) -> S3Result<()> {
    let public = [
        ObjectCannedACL::PUBLIC_READ,
        ObjectCannedACL::PUBLIC_READ_WRITE,
    ];
    if acl.is_some_and(|acl| public.contains(&acl.as_str())) {
        return Err(S3Error::with_message(
            S3ErrorCode::AccessControlListNotSupported,
            "The bucket does not allow ACLs: publish with a bucket policy.",
        ));
    }
    Ok(())
}

fn no_policy() -> S3Error {
    s3_error!(NoSuchBucketPolicy, "The bucket policy does not exist")
}

fn no_public_access_block() -> S3Error {
    let mut error = S3Error::with_message(
        S3ErrorCode::Custom("NoSuchPublicAccessBlockConfiguration".into()),
        "The public access block configuration was not found",
    );
    error.set_status_code(hyper::StatusCode::NOT_FOUND);
    error
}

/// How keys are written in a list: as they are, or percent-encoded, for keys that XML cannot carry.
#[derive(Clone, Copy)]
struct Encoding {
    url: bool,
}

impl Encoding {
    fn new(encoding_type: Option<&EncodingType>) -> Encoding {
        Encoding {
            url: encoding_type.is_some_and(|it| it.as_str() == EncodingType::URL),
        }
    }

    fn text(self, key: &str) -> String {
        if !self.url {
            return key.to_owned();
        }
        let mut encoded = String::with_capacity(key.len());
        for &byte in key.as_bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
                encoded.push(char::from(byte));
            } else {
                encoded.push_str(&format!("%{byte:02X}"));
            }
        }
        encoded
    }
}

fn entries(page: &Page, encode: Encoding) -> (Vec<Object>, Vec<CommonPrefix>) {
    let object = |object: &Arc<StoredObject>| Object {
        key: Some(encode.text(&object.key)),
        e_tag: Some(object.etag()),
        last_modified: Some(object.last_modified()),
        size: Some(length(object.size)),
        storage_class: Some(ObjectStorageClass::from_static(
            ObjectStorageClass::STANDARD,
        )),
        ..Default::default()
    };
    let prefix = |prefix: &String| CommonPrefix {
        prefix: Some(encode.text(prefix)),
    };
    (
        page.objects.iter().map(object).collect(),
        page.common_prefixes.iter().map(prefix).collect(),
    )
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

fn max_keys(asked: Option<i32>) -> S3Result<usize> {
    match asked {
        None => Ok(MAX_KEYS),
        Some(asked) => usize::try_from(asked)
            .map(|asked| asked.min(MAX_KEYS))
            .map_err(|_| s3_error!(InvalidArgument, "max-keys must not be negative")),
    }
}

/// A continuation token is the last name of the page before, in hexadecimal: nobody is to read anything into it.
fn read_token(token: &str) -> S3Result<String> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = token.as_bytes().chunks(2).map(pair).collect();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| {
            s3_error!(
                InvalidArgument,
                "The continuation token provided is incorrect"
            )
        })
}

/// Only signed requests can name an upload, so its id must be new but need not be a secret.
fn random_id() -> String {
    (0..2)
        .map(|_| format!("{:016x}", RandomState::new().build_hasher().finish()))
        .collect()
}

fn length(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

impl From<StoreError> for S3Error {
    fn from(error: StoreError) -> S3Error {
        match error {
            StoreError::BucketExists => s3_error!(
                BucketAlreadyOwnedByYou,
                "Your previous request to create the named bucket succeeded and you already own it."
            ),
            StoreError::BucketNotEmpty => s3_error!(
                BucketNotEmpty,
                "The bucket you tried to delete is not empty"
            ),
            StoreError::NoSuchBucket => {
                s3_error!(NoSuchBucket, "The specified bucket does not exist")
            }
            StoreError::NoSuchKey => s3_error!(NoSuchKey, "The specified key does not exist."),
            StoreError::PreconditionFailed => {
                s3_error!(
                    PreconditionFailed,
                    "At least one of the pre-conditions you specified did not hold"
                )
            }
            StoreError::Io(error) => internal(error),
        }
    }
}

impl From<UploadError> for S3Error {
    fn from(error: UploadError) -> S3Error {
        match error {
            UploadError::NoSuchUpload => s3_error!(
                NoSuchUpload,
                "The specified upload does not exist. It may have been aborted or completed."
            ),
            UploadError::InvalidPart => {
                s3_error!(
                    InvalidPart,
                    "One or more of the specified parts could not be found."
                )
            }
            UploadError::InvalidPartOrder => {
                s3_error!(
                    InvalidPartOrder,
                    "The list of parts was not in ascending order."
                )
            }
            UploadError::EntityTooSmall => s3_error!(
                EntityTooSmall,
                "Your proposed upload is smaller than the minimum allowed size: 5 MiB for all parts but the last."
            ),
        }
    }
}
