//! `s3ota verify`: would a device take this release?

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};

use crate::error::CliError;
use crate::judge::rehearsal::more_roots;
use crate::judge::release::{Case, Terms};
use crate::keys;
use crate::output::Output;

/// Check whether a device would take a release
///
/// A virtual device in memory decides. It takes the same path as a real one, from the server's certificate to the last byte of
/// the image, and installs the release or refuses it for the same reasons. Nothing is changed anywhere.
///
/// With a URL, the image is downloaded and checked too. With a manifest in a file, the image is checked if --image names it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota verify https://my-bucket.s3.eu-central-1.amazonaws.com/lamp/stable.json --release-key release.key.pub
  s3ota verify stable.json --image lamp.bin --release-key release.key.pub
  s3ota verify https://localhost:9443/firmware/lamp/stable.json --unsigned --ca s3ota-data/ca.pem

Exit status: 0 a device would take it, 1 it would not.")]
#[command(group(ArgGroup::new("trust").required(true).args(["release_keys", "unsigned"])))]
pub struct VerifyArgs {
    /// The manifest: an https URL, or a file
    #[arg(value_name = "URL|FILE")]
    pub manifest: String,

    /// A release key that the device trusts, PEM or DER, as `s3ota keygen` writes it. One of several must have signed
    #[arg(long = "release-key", value_name = "FILE")]
    pub release_keys: Vec<PathBuf>,

    /// Act as a device without release keys, which checks no signature
    #[arg(long)]
    pub unsigned: bool,

    /// The image, where the manifest is a file
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,

    /// The device's chip; by default the one that the manifest names, or else esp32c3
    #[arg(long, value_name = "NAME")]
    pub chip: Option<String>,

    /// The device's board name; by default the one that the manifest names
    #[arg(long, value_name = "NAME")]
    pub board: Option<String>,

    /// The device's channel; by default the one in the URL or in the file
    #[arg(long)]
    pub channel: Option<String>,

    /// Do not download the image
    #[arg(long, conflicts_with = "image")]
    pub manifest_only: bool,

    /// A root certificate to trust besides the built-in ones, PEM or DER. A whole bundle of CAs in AWS_CA_BUNDLE is ignored: a device has room
    /// for few
    #[arg(long, env = "AWS_CA_BUNDLE", value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

/// Lets a device decide.
pub async fn run(args: VerifyArgs, out: &Output) -> Result<(), CliError> {
    let release_keys = args
        .release_keys
        .iter()
        .map(|path| keys::read_public(path))
        .collect::<Result<Vec<_>, _>>()?;
    let roots = more_roots(args.ca.as_deref())?;
    let case = if args.manifest.starts_with("https://") {
        if args.image.is_some() {
            return Err(CliError::new(
                "cli.usage",
                "--image is for a manifest in a file: with a URL, the image is downloaded",
            )
            .usage());
        }
        Case::at_url(
            &args.manifest,
            args.ca.as_deref(),
            roots,
            !args.manifest_only,
        )
        .await?
    } else if let Some((scheme, _)) = args.manifest.split_once("://") {
        let message = format!(
            "devices download a manifest over https, not {scheme}: {}",
            args.manifest
        );
        return Err(CliError::new("cli.usage", message)
            .hint("give the URL for devices that `s3ota publish` printed, https://…/stable.json; or a file")
            .usage());
    } else {
        Case::of_files(Path::new(&args.manifest), args.image.as_deref()).await?
    };
    let terms = Terms {
        release_keys: &release_keys,
        chip: args.chip.as_deref(),
        board: args.board.as_deref(),
        channel: args.channel.as_deref(),
    };
    case.judge(&terms, out).await
}
