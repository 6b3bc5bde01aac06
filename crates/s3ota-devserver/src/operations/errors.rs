//! The store's errors, in S3's words.

use std::io::ErrorKind;

use s3s::{S3Error, s3_error};

use crate::receive::internal;
use crate::store::StoreError;
use crate::upload::UploadError;

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
            // Somebody has deleted its file.
            StoreError::Io(error) if error.kind() == ErrorKind::NotFound => {
                StoreError::NoSuchKey.into()
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
