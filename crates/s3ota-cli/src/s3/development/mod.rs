//! The development server: our own S3 service, and a client for it.

mod secret;

use std::net::{Ipv4Addr, SocketAddr};

use s3ota_devserver::{DevServer, DevServerError, Options};

pub use self::secret::{of_folder as secret_of_folder, warn_if_open};
use super::{AwsArgs, Credentials, Location, S3Args, Store};
use crate::error::CliError;

/// Starts a development server. Returns it with its access key.
pub async fn start(options: Options) -> Result<(DevServer, Credentials), CliError> {
    let credentials = Credentials {
        access_key: options.access_key.clone(),
        secret_key: options.secret_key.clone(),
    };
    Ok((DevServer::start(options).await?, credentials))
}

/// A development server for one command: on any free port, leaving nothing behind.
pub async fn start_for_now() -> Result<(DevServer, Credentials), CliError> {
    start(Options {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        secret_key: secret::random(),
        ..Options::default()
    })
    .await
}

/// The location's bucket on a development server. It is created if needed.
pub async fn bucket_on(
    server: &DevServer,
    credentials: &Credentials,
    location: &Location,
) -> Result<Store, CliError> {
    let s3 = S3Args {
        endpoint_url: Some(server.endpoint_url()),
        aws: AwsArgs {
            region: Some("us-east-1".to_owned()),
            ca: Some(server.ca_path().to_owned()),
            ..AwsArgs::default()
        },
        ..S3Args::default()
    };
    let store = Store::connect(&s3, location, Some(credentials.clone())).await?;
    store.create_bucket().await?;
    Ok(store)
}

impl From<DevServerError> for CliError {
    fn from(error: DevServerError) -> Self {
        Self::new("serve.start", error.to_string())
    }
}
