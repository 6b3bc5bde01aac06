//! Buckets, their policies and their public access blocks.

use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

use super::Operations;
use crate::policy::{Policy, PolicyError, PublicAccessBlock};

impl Operations {
    pub(super) async fn create_bucket(
        &self,
        req: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        self.store.create_bucket(&req.input.bucket)?;
        Ok(S3Response::new(CreateBucketOutput {
            location: Some(format!("/{}", req.input.bucket)),
        }))
    }

    pub(super) async fn delete_bucket(
        &self,
        req: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        self.store.delete_bucket(&req.input.bucket)?;
        Ok(S3Response::with_status(
            DeleteBucketOutput::default(),
            hyper::StatusCode::NO_CONTENT,
        ))
    }

    pub(super) async fn head_bucket(
        &self,
        req: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.expect_bucket(&req.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput {
            bucket_region: Some(self.region.clone()),
            ..Default::default()
        }))
    }

    pub(super) async fn get_bucket_location(
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

    pub(super) async fn list_buckets(
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

    pub(super) async fn put_bucket_policy(
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

    pub(super) async fn get_bucket_policy(
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

    pub(super) async fn get_bucket_policy_status(
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

    pub(super) async fn delete_bucket_policy(
        &self,
        req: S3Request<DeleteBucketPolicyInput>,
    ) -> S3Result<S3Response<DeleteBucketPolicyOutput>> {
        self.store.set_policy(&req.input.bucket, None)?;
        Ok(S3Response::new(DeleteBucketPolicyOutput::default()))
    }

    pub(super) async fn put_public_access_block(
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

    pub(super) async fn get_public_access_block(
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

    pub(super) async fn delete_public_access_block(
        &self,
        req: S3Request<DeletePublicAccessBlockInput>,
    ) -> S3Result<S3Response<DeletePublicAccessBlockOutput>> {
        self.store
            .set_public_access_block(&req.input.bucket, None)?;
        Ok(S3Response::new(DeletePublicAccessBlockOutput::default()))
    }
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
