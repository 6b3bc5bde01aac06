//! The operations of S3, on a [`Store`].

mod buckets;
mod errors;
mod list;
mod multipart;
mod read;
mod write;

use std::sync::Arc;

use s3s::dto::*;
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

use crate::access::Gate;
use crate::condition::{ReadCondition, ReadVerdict, WriteCondition};
use crate::store::{Checksums, Object as StoredObject, Store, StoreError};
use crate::upload::Uploads;

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

/// Implements [`S3`], which must be one block, by methods of the same names, which are in a file per subject.
macro_rules! operations {
    ($($operation:ident($input:ident) -> $output:ident;)*) => {
        #[async_trait::async_trait]
        impl S3 for Operations {
            $(
                async fn $operation(
                    &self,
                    req: S3Request<$input>,
                ) -> S3Result<S3Response<$output>> {
                    Operations::$operation(self, req).await
                }
            )*
        }
    };
}

operations! {
    create_bucket(CreateBucketInput) -> CreateBucketOutput;
    delete_bucket(DeleteBucketInput) -> DeleteBucketOutput;
    head_bucket(HeadBucketInput) -> HeadBucketOutput;
    get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput;
    list_buckets(ListBucketsInput) -> ListBucketsOutput;
    put_bucket_policy(PutBucketPolicyInput) -> PutBucketPolicyOutput;
    get_bucket_policy(GetBucketPolicyInput) -> GetBucketPolicyOutput;
    get_bucket_policy_status(GetBucketPolicyStatusInput) -> GetBucketPolicyStatusOutput;
    delete_bucket_policy(DeleteBucketPolicyInput) -> DeleteBucketPolicyOutput;
    put_public_access_block(PutPublicAccessBlockInput) -> PutPublicAccessBlockOutput;
    get_public_access_block(GetPublicAccessBlockInput) -> GetPublicAccessBlockOutput;
    delete_public_access_block(DeletePublicAccessBlockInput) -> DeletePublicAccessBlockOutput;
    get_object(GetObjectInput) -> GetObjectOutput;
    head_object(HeadObjectInput) -> HeadObjectOutput;
    list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output;
    list_objects(ListObjectsInput) -> ListObjectsOutput;
    put_object(PutObjectInput) -> PutObjectOutput;
    copy_object(CopyObjectInput) -> CopyObjectOutput;
    delete_object(DeleteObjectInput) -> DeleteObjectOutput;
    delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput;
    create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput;
    list_multipart_uploads(ListMultipartUploadsInput) -> ListMultipartUploadsOutput;
    upload_part(UploadPartInput) -> UploadPartOutput;
    upload_part_copy(UploadPartCopyInput) -> UploadPartCopyOutput;
    list_parts(ListPartsInput) -> ListPartsOutput;
    complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput;
    abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput;
}

/// The headers to keep with an object: takes them out of the input of PutObject, CopyObject or CreateMultipartUpload.
macro_rules! headers {
    ($input:ident) => {
        $crate::store::Headers {
            content_type: $input.content_type.take(),
            cache_control: $input.cache_control.take(),
            content_disposition: $input.content_disposition.take(),
            content_encoding: $input
                .content_encoding
                .take()
                .and_then($crate::operations::without_aws_chunked),
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

/// What an upload says about its bytes: takes it out of the request of PutObject or UploadPart.
macro_rules! declared {
    ($req:ident) => {
        $crate::receive::Declared {
            md5: $req.input.content_md5.take(),
            checksums: $crate::store::Checksums {
                crc32: $req.input.checksum_crc32.take(),
                crc32c: $req.input.checksum_crc32c.take(),
                crc64nvme: $req.input.checksum_crc64nvme.take(),
                sha1: $req.input.checksum_sha1.take(),
                sha256: $req.input.checksum_sha256.take(),
            },
            algorithm: $crate::receive::trailing_algorithm(&$req.headers)
                .or($req.input.checksum_algorithm.take()),
            trailers: $req.trailing_headers.take(),
        }
    };
}

/// The conditions on the source of CopyObject or UploadPartCopy: takes them out of its input.
macro_rules! copy_source_condition {
    ($input:ident) => {
        $crate::condition::ReadCondition {
            if_match: $input.copy_source_if_match.take(),
            if_none_match: $input.copy_source_if_none_match.take(),
            if_modified_since: $input.copy_source_if_modified_since.take(),
            if_unmodified_since: $input.copy_source_if_unmodified_since.take(),
        }
    };
}

use {copy_source_condition, declared, headers};

impl Operations {
    fn expect_bucket(&self, bucket: &str) -> S3Result<()> {
        if self.store.bucket_exists(bucket) {
            Ok(())
        } else {
            Err(StoreError::NoSuchBucket.into())
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
        // Only signed requests get here.
        if !self.gate.allows(true, "s3:GetObject", bucket, Some(key)) {
            return Err(s3_error!(AccessDenied, "Access Denied"));
        }
        Ok((bucket.to_string(), key.to_string()))
    }
}

/// `aws-chunked` is how an upload is transferred, not how the object is encoded.
fn without_aws_chunked(encoding: String) -> Option<String> {
    let kept: Vec<&str> = encoding
        .split(',')
        .map(str::trim)
        .filter(|it| !it.is_empty() && *it != "aws-chunked")
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

fn full_object(checksums: &Checksums) -> Option<ChecksumType> {
    (!checksums.is_empty()).then(|| ChecksumType::from_static(ChecksumType::FULL_OBJECT))
}

/// For a copy, a source that has not changed is a failed precondition too: API reference, CopyObject.
fn check_copy_source(source: &StoredObject, condition: &ReadCondition) -> S3Result<()> {
    match condition.check(source) {
        ReadVerdict::Serve => Ok(()),
        _ => Err(StoreError::PreconditionFailed.into()),
    }
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

fn expect_no_version(version_id: Option<&str>) -> S3Result<()> {
    match version_id {
        None | Some("null") => Ok(()),
        Some(_) => Err(s3_error!(
            NoSuchVersion,
            "The specified version does not exist."
        )),
    }
}

/// On S3, new buckets have ACLs disabled: an upload with a public ACL fails there, so it fails here.
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

fn length(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
