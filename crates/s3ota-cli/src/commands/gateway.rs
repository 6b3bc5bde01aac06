//! `s3ota gateway`: serves devices the manifests of a private bucket, each with a fresh URL of its image.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::clock::parse_duration;
use crate::error::CliError;
use crate::gateway::{Gateway, Tokens, lambda, local};
use crate::output::Output;
use crate::s3::{self, Location, S3Args};
use crate::text;

/// Serve devices the manifests of a private bucket, each with a fresh URL of its image
///
/// A device asks for https://GATEWAY/CHANNEL.json and gets the channel's manifest unchanged, except for its URL, which is signed
/// for this request. The image itself comes from the bucket. The gateway needs no release key: it only reads the bucket, and a
/// signed manifest stays as it was signed.
///
/// It listens on an address, or runs as an AWS Lambda function behind a function URL, which it detects by itself.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota gateway s3://my-bucket/lamp
  s3ota gateway s3://my-bucket/lamp --listen 0.0.0.0:443 --tls-cert chain.pem --tls-key key.pem --token-file tokens

With tokens, the manifest's URL for devices is https://GATEWAY/CHANNEL.json?token=TOKEN.
Its IAM policy, and how to run it on Lambda: https://github.com/s3ota/s3ota/blob/main/docs/private-buckets.md")]
pub struct GatewayArgs {
    /// Where the releases are
    #[arg(value_name = "s3://BUCKET/PREFIX")]
    pub location: String,

    /// The address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8443", value_parser = super::parse_listen)]
    pub listen: SocketAddr,

    /// The gateway's certificate chain, PEM. Without it, the gateway speaks plain HTTP and needs a TLS proxy in front: devices
    /// accept HTTPS only
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// How long a URL is valid, at most 7d. A device starts its download at once, and asks for a new URL after an interruption
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "1h")]
    pub presign: Duration,

    /// Answer only devices that send one of these tokens: a file with one per line, at least 16 characters each
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// The same in the environment, separated by commas
    #[arg(
        long,
        value_name = "TOKENS",
        env = "S3OTA_GATEWAY_TOKENS",
        hide_env_values = true,
        hide = true
    )]
    pub tokens: Option<String>,

    #[command(flatten)]
    pub s3: S3Args,
}

/// Serves until Ctrl-C, or as long as Lambda wants.
pub async fn run(args: GatewayArgs, out: &Output) -> Result<(), CliError> {
    let location: Location = args.location.parse().map_err(CliError::usage)?;
    s3::check_presign(args.presign).map_err(CliError::usage)?;
    let tokens = tokens(&args)?;
    let is_open = tokens.is_none();
    let gateway = Gateway::open(args.s3, location, args.presign, tokens, *out).await?;
    if lambda::is_there() {
        return lambda::run(gateway).await;
    }
    let tls = match args.tls_cert.as_deref().zip(args.tls_key.as_deref()) {
        Some((chain, key)) => Some(local::tls(chain, key)?),
        None => None,
    };
    local::run(gateway, args.listen, tls, is_open, out).await
}

/// The accepted tokens; `None` if none are required.
fn tokens(args: &GatewayArgs) -> Result<Option<Tokens>, CliError> {
    let read = |path: &Path| {
        text::read_to_string(path).map_err(|error| CliError::file(path, &error).usage())
    };
    let from_file = args.token_file.as_deref().map(read).transpose()?;
    let named = args.tokens.is_some() || from_file.is_some();
    let lines = from_file.iter().flat_map(|text| text.lines());
    let given = args.tokens.iter().flat_map(|text| text.split(','));
    let all = lines.chain(given).map(str::trim);
    let tokens = Tokens::new(all.filter(|token| !token.is_empty() && !token.starts_with('#')))
        .map_err(CliError::usage)?;
    // An empty list must not open what was meant to be closed.
    if named && tokens.is_none() {
        return Err(CliError::new(
            "gateway.token",
            "the list of tokens is empty, so no device would be answered",
        )
        .hint("add a token: `openssl rand -hex 16` makes one")
        .usage());
    }
    Ok(tokens)
}
