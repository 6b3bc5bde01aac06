//! Credentials, region and TLS for AWS services: credentials and region by the usual chain, TLS by the trusted roots.

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::{Credentials as AwsCredentials, ProvideCredentials, SharedHttpClient};
use aws_smithy_http_client::tls::TlsContext;

use super::network::Network;
use super::profile::Profiles;
use super::{AwsArgs, config_files, endpoint, tls};
use crate::error::CliError;

/// The region to ask for a bucket's region, and the one for services other than AWS.
pub(super) const DEFAULT_REGION: &str = "us-east-1";

/// An access key that is given, not looked up.
#[derive(Clone)]
pub struct Credentials {
    /// The access key id.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
}

/// What the client of any AWS service is made from.
#[derive(Debug)]
pub struct Access {
    /// The SDK's configuration.
    pub config: SdkConfig,
    pub(super) credentials: AwsCredentials,
    pub(super) region: String,
    pub(super) tls: TlsContext,
    pub(super) profiles: Profiles,
}

impl Access {
    /// Access with these credentials. Without any, the AWS chain finds them: environment, profiles with SSO or a process, web
    /// identity, container, instance.
    pub async fn of(
        args: &AwsArgs,
        credentials: Option<Credentials>,
        system_roots: bool,
    ) -> Result<Self, CliError> {
        let profiles = match &credentials {
            Some(_) => Profiles::none(),
            None => {
                config_files::check()?;
                Profiles::read(args.profile.as_deref()).await?
            }
        };
        let ca = args.ca.as_deref().filter(|_| args.names_ca());
        let tls = tls::trust(ca, system_roots)?;
        let http = SharedHttpClient::new(Network::new(tls.clone()));
        let region = find_region(args).await;
        check_region(&region)?;
        let credentials = match credentials {
            Some(given) => {
                AwsCredentials::new(given.access_key, given.secret_key, None, None, "given")
            }
            None => find_credentials(args, region.clone(), http.clone()).await?,
        };
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            .credentials_provider(credentials.clone())
            .region(Region::new(region.clone()));
        if let Some(profile) = &args.profile {
            loader = loader.profile_name(profile);
        }
        let config = loader.load().await;
        // The environment and the profile may name an endpoint for every service.
        if let Some(url) = config.endpoint_url().filter(|url| !url.is_empty()) {
            endpoint::check(url)?;
        }
        Ok(Self {
            config,
            credentials,
            region,
            tls,
            profiles,
        })
    }
}

impl Access {
    /// The region.
    #[cfg(feature = "kms")]
    pub fn region(&self) -> &str {
        &self.region
    }
}

impl AwsArgs {
    /// Whether a CA is named; an empty variable names none.
    pub(super) fn names_ca(&self) -> bool {
        self.ca
            .as_deref()
            .is_some_and(|path| !path.as_os_str().is_empty())
    }
}

/// The region that the command line, the environment or the profile names. The instance is not asked for its own: anywhere but on
/// AWS that takes seconds, and on AWS the bucket's region is found anyway.
async fn find_region(args: &AwsArgs) -> String {
    let mut profile = ProfileFileRegionProvider::builder();
    if let Some(name) = &args.profile {
        profile = profile.profile_name(name);
    }
    let chain = RegionProviderChain::first_try(args.region.clone().map(Region::new))
        .or_else(EnvironmentVariableRegionProvider::new())
        .or_else(profile.build());
    chain
        .region()
        .await
        .map_or_else(|| DEFAULT_REGION.to_owned(), |region| region.to_string())
}

/// Refuses a region that is not a label of a host name: it becomes part of the server's name.
fn check_region(region: &str) -> Result<(), CliError> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if (1..=63).contains(&region.len()) && region.bytes().all(inner) {
        return Ok(());
    }
    let message = format!("`{region}` is not a valid region");
    Err(CliError::new("s3.region", message).hint("write it like eu-central-1"))
}

async fn find_credentials(
    args: &AwsArgs,
    region: String,
    http: SharedHttpClient,
) -> Result<AwsCredentials, CliError> {
    let config = ProviderConfig::default()
        .with_region(Some(Region::new(region)))
        .with_http_client(http);
    let mut chain = DefaultCredentialsChain::builder().configure(config);
    if let Some(profile) = &args.profile {
        chain = chain.profile_name(profile);
    }
    let found = chain.build().await.provide_credentials().await;
    found.map_err(|error| super::error::credentials(&error, args.profile.as_deref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_cannot_lead_to_another_server() {
        for region in ["us-east-1", "auto", "garage", "eu-central-003"] {
            assert_eq!(check_region(region), Ok(()));
        }
        for region in [
            "",
            "x.example.com",
            "x@example.com/",
            "example.com#",
            "x/y",
            "\u{e9}",
        ] {
            assert_eq!(check_region(region).unwrap_err().code, "s3.region");
        }
    }
}
