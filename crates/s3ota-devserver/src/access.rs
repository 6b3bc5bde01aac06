//! Permissions: the key pair may do everything, everyone else may at most read.

use std::sync::Arc;

use hyper::{StatusCode, Uri};
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::path::S3Path;
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use crate::Access;
use crate::policy::Verdict;
use crate::store::Store;

/// The longest a pre-signed URL may be valid, in seconds: a week.
const MAX_EXPIRES: u64 = 604_800;

/// The only key pair.
pub(crate) struct KeyPair {
    pub(crate) access_key: String,
    pub(crate) secret_key: SecretKey,
}

#[async_trait::async_trait]
impl S3Auth for KeyPair {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == self.access_key {
            Ok(self.secret_key.clone())
        } else {
            Err(s3_error!(
                InvalidAccessKeyId,
                "The AWS Access Key Id you provided does not exist in our records."
            ))
        }
    }
}

/// Decides by the signature, the bucket's policy and [`Access`].
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) store: Arc<Store>,
    pub(crate) access: Access,
}

impl Gate {
    /// Whether `action` ("s3:GetObject") on `key` of `bucket`, or on the bucket itself, is allowed.
    pub(crate) fn allows(
        &self,
        signed: bool,
        action: &str,
        bucket: &str,
        key: Option<&str>,
    ) -> bool {
        let resource = match key {
            Some(key) => format!("arn:aws:s3:::{bucket}/{key}"),
            None => format!("arn:aws:s3:::{bucket}"),
        };
        let verdict = self
            .store
            .policy(bucket)
            .map_or(Verdict::Silent, |policy| policy.verdict(action, &resource));
        match (verdict, action) {
            // The owner can always remove a policy, like the root user on S3.
            (_, "s3:GetBucketPolicy" | "s3:PutBucketPolicy" | "s3:DeleteBucketPolicy") => signed,
            (Verdict::Deny, _) => false,
            _ if signed => true,
            (Verdict::Allow, "s3:GetObject" | "s3:ListBucket") if !self.restricts(bucket) => true,
            (_, "s3:GetObject") => self.access == Access::PublicRead,
            _ => false,
        }
    }

    /// Whether the bucket's public access block overrides its public policy.
    fn restricts(&self, bucket: &str) -> bool {
        let block = self.store.public_access_block(bucket);
        matches!(block, Ok(Some(block)) if block.restrict_public_buckets)
    }
}

#[async_trait::async_trait]
impl S3Access for Gate {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let signed = cx.credentials().is_some();
        check_expiry(cx.uri())?;
        let (bucket, key) = match cx.s3_path() {
            S3Path::Root if signed => return Ok(()),
            S3Path::Root => return Err(s3_error!(AccessDenied, "Access Denied")),
            S3Path::Bucket { bucket } => (bucket, None),
            S3Path::Object { bucket, key } => (bucket, Some(&**key)),
        };
        if !signed && !self.store.bucket_exists(bucket) {
            return Err(s3_error!(
                NoSuchBucket,
                "The specified bucket does not exist"
            ));
        }
        if self.allows(signed, action(cx.s3_op().name()), bucket, key) {
            Ok(())
        } else {
            Err(s3_error!(AccessDenied, "Access Denied"))
        }
    }
}

/// A pre-signed URL is valid for at most a week. Whether it has expired has been checked with its signature.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>.
fn check_expiry(uri: &Uri) -> S3Result<()> {
    let mut parameters = uri.query().unwrap_or_default().split('&');
    let expires = parameters.find_map(|parameter| parameter.strip_prefix("X-Amz-Expires="));
    let seconds = expires.and_then(|seconds| seconds.parse::<u64>().ok());
    if seconds.is_some_and(|seconds| seconds > MAX_EXPIRES) {
        let mut error = S3Error::with_message(
            S3ErrorCode::Custom("AuthorizationQueryParametersError".into()),
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less \
             than 604800 seconds",
        );
        error.set_status_code(StatusCode::BAD_REQUEST);
        return Err(error);
    }
    Ok(())
}

/// The permission that an operation needs.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html>.
fn action(operation: &str) -> &'static str {
    match operation {
        "GetObject" | "HeadObject" => "s3:GetObject",
        "ListObjects" | "ListObjectsV2" | "HeadBucket" => "s3:ListBucket",
        "PutObject"
        | "CopyObject"
        | "CreateMultipartUpload"
        | "UploadPart"
        | "UploadPartCopy"
        | "CompleteMultipartUpload" => "s3:PutObject",
        "DeleteObject" => "s3:DeleteObject",
        "AbortMultipartUpload" => "s3:AbortMultipartUpload",
        "ListMultipartUploads" => "s3:ListBucketMultipartUploads",
        "ListParts" => "s3:ListMultipartUploadParts",
        "CreateBucket" => "s3:CreateBucket",
        "DeleteBucket" => "s3:DeleteBucket",
        "GetBucketLocation" => "s3:GetBucketLocation",
        "GetBucketPolicy" => "s3:GetBucketPolicy",
        "GetBucketPolicyStatus" => "s3:GetBucketPolicyStatus",
        "PutBucketPolicy" => "s3:PutBucketPolicy",
        "DeleteBucketPolicy" => "s3:DeleteBucketPolicy",
        "GetPublicAccessBlock" => "s3:GetBucketPublicAccessBlock",
        "PutPublicAccessBlock" | "DeletePublicAccessBlock" => "s3:PutBucketPublicAccessBlock",
        // DeleteObjects checks each key itself; the rest is not implemented.
        _ => "",
    }
}
