//! Keys in AWS KMS, which sign there and never leave it.

use aws_sdk_kms::Client;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{MessageType, SigningAlgorithmSpec};
use s3ota_manifest::ReleaseKey;

use crate::error::CliError;
use crate::s3::{Access, AwsArgs, Denial, error_chain};

/// A key of the spec ECC_NIST_P256 for SIGN_VERIFY.
pub struct KmsKey {
    client: Client,
    id: String,
    region: String,
}

impl KmsKey {
    /// Looks a key up by its id, alias or ARN, and fetches its public part.
    pub async fn open(id: &str, aws: &AwsArgs) -> Result<(ReleaseKey, Self), CliError> {
        // An ARN contains the region: arn:aws:kms:REGION:ACCOUNT:key/ID.
        let region = id
            .strip_prefix("arn:")
            .and_then(|rest| rest.split(':').nth(2));
        let aws = AwsArgs {
            region: region.map(str::to_owned).or_else(|| aws.region.clone()),
            ..aws.clone()
        };
        let access = Access::of(&aws, None, true).await?;
        let key = Self {
            client: Client::new(&access.config),
            id: id.to_owned(),
            region: access.region().to_owned(),
        };
        let public = match key.client.get_public_key().key_id(id).send().await {
            Ok(answer) => answer.public_key.unwrap_or_else(|| Blob::new([])),
            Err(error) => return Err(key.explain(&error, "kms:GetPublicKey")),
        };
        let not_p256 = || {
            CliError::new("key.invalid", format!("the KMS key {id} is not a P-256 key, and devices support no other kind"))
                .hint("create one with `aws kms create-key --key-spec ECC_NIST_P256 --key-usage SIGN_VERIFY`")
        };
        let public = ReleaseKey::from_spki(public.as_ref()).ok_or_else(not_p256)?;
        Ok((public, key))
    }

    /// The signature of a message of up to 4,096 bytes, with SHA-256, in DER. KMS computes the hash.
    pub async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CliError> {
        let request = self
            .client
            .sign()
            .key_id(&self.id)
            .message(Blob::new(message))
            .message_type(MessageType::Raw)
            .signing_algorithm(SigningAlgorithmSpec::EcdsaSha256);
        let answer = request
            .send()
            .await
            .map_err(|error| self.explain(&error, "kms:Sign"))?;
        let empty = || CliError::new("key.kms", "KMS answered without a signature");
        Ok(answer.signature.ok_or_else(empty)?.into_inner())
    }

    /// Explains why a request that needed `action` failed.
    fn explain<E, R>(&self, error: &SdkError<E, R>, action: &str) -> CliError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: std::fmt::Debug + 'static,
    {
        let id = &self.id;
        let Some(service) = error.as_service_error() else {
            return CliError::new(
                "key.kms",
                format!(
                    "KMS cannot be reached (region {}): {}",
                    self.region,
                    error_chain(error)
                ),
            )
            .hint("check the network, the region, and AWS_ENDPOINT_URL_KMS if it is set");
        };
        let said = service.message().unwrap_or("KMS gave no reason");
        match service.code().unwrap_or_default() {
            "NotFoundException" => {
                CliError::new("key.kms", format!("there is no KMS key {id}: {said}"))
                    .hint("write it kms:ARN, or kms:alias/NAME with --region")
            }
            "AccessDeniedException" if let Some(kind) = Denial::read(said).explicit => {
                let message = format!("an explicit deny in a {kind} forbids {action} with the KMS key {id}: {said}");
                CliError::new("key.kms", message)
                    .hint("no permission outweighs it: ask those who administer the key, the account or the organization")
            }
            "AccessDeniedException" => CliError::new(
                "key.kms",
                format!("the credentials do not permit {action} with the KMS key {id}: {said}"),
            )
            .hint(
                "signing needs kms:GetPublicKey and kms:Sign on the key, by its key policy or by IAM",
            ),
            code => CliError::new(
                "key.kms",
                format!("KMS answers {code} for the key {id}: {said}"),
            ),
        }
    }
}
