//! `s3ota verify`: would a device take this release?

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};

use crate::error::CliError;
use crate::judge::artefacts::Bases;
use crate::judge::rehearsal::MoreRoots;
use crate::judge::release::{Case, Terms, manifest_url};
use crate::keys;
use crate::output::Output;
use crate::s3::{Location, S3Args, Store};
use crate::settings::Settings;

/// Check whether a device would take a release
///
/// A virtual device in memory decides. It takes the same path as a real one, from the server's certificate to the last byte of
/// the image, and installs the release or refuses it for the same reasons. Nothing is changed anywhere.
///
/// With a URL, the image is downloaded and checked too, and so are the deltas and the compressed image: each is decoded as on the
/// device. With s3://BUCKET/PREFIX, the URL is the one that devices have there; looking it
/// up needs credentials. With a manifest in a file, the image is checked if --image names it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota verify s3://my-bucket/lamp --release-key release.key.pub
  s3ota verify https://my-bucket.s3.eu-central-1.amazonaws.com/lamp/stable.json --release-key release.key.pub
  s3ota verify stable.json --image lamp.bin --release-key release.key.pub
  s3ota verify https://localhost:9443/firmware/lamp/stable.json --unsigned --ca s3ota-data/ca.pem

Exit status: 0 a device would take it, 1 it would not, 2 wrong usage.")]
#[command(group(ArgGroup::new("trust").required(true).args(["release_keys", "unsigned"])))]
pub struct VerifyArgs {
    /// The manifest: an https URL, s3://bucket/prefix, or a file
    #[arg(value_name = "URL|s3://BUCKET/PREFIX|FILE")]
    pub target: String,

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

    /// The device's channel; by default the one in the URL or in the file, and of s3://bucket/prefix the one that s3ota.toml sets, or
    /// stable
    // The setting `channel` is for commands on a bucket. It must not change what a URL or a file is.
    #[arg(id = "of_channel", long = "channel", value_name = "CHANNEL")]
    pub channel: Option<String>,

    /// Do not download the image
    #[arg(long, conflicts_with = "image")]
    pub manifest_only: bool,

    #[command(flatten)]
    pub s3: S3Args,
}

/// Lets a device decide.
pub async fn run(args: VerifyArgs, settings: &Settings, out: &Output) -> Result<(), CliError> {
    let release_keys = args
        .release_keys
        .iter()
        .map(|path| keys::read_public(path))
        .collect::<Result<Vec<_>, _>>()?;
    let is_file = !args.target.contains("://");
    if args.image.is_some() && !is_file {
        return Err(CliError::new(
            "cli.usage",
            "--image is for a manifest in a file: with a URL, the image is downloaded",
        )
        .usage());
    }
    let mut roots = MoreRoots::default();
    let case = if is_file {
        Case::of_files(Path::new(&args.target), args.image.as_deref()).await?
    } else {
        let (url, bases) = url(&args, settings).await?;
        let ca = args.s3.aws.ca.as_deref();
        roots = MoreRoots::read(ca)?;
        let case = Case::at_url(&url, ca, roots.der.clone(), !args.manifest_only).await?;
        case.with_bases(bases)
    };
    let terms = Terms {
        release_keys: &release_keys,
        chip: args.chip.as_deref(),
        board: args.board.as_deref(),
        channel: args.channel.as_deref(),
    };
    let judged = case.judge(&terms, out).await;
    judged.map_err(|error| roots.explain(error))
}

/// The URL of the manifest for devices, and the bucket where that is named.
async fn url(args: &VerifyArgs, settings: &Settings) -> Result<(String, Option<Bases>), CliError> {
    let target = &args.target;
    match target.split_once("://") {
        Some(("https", _)) => Ok((target.clone(), None)),
        Some(("s3", _)) => {
            let location: Location = target.parse().map_err(CliError::usage)?;
            let channel = args.channel.as_deref().or(settings.value("channel"));
            let store = Store::connect(&args.s3, &location, None).await?;
            let url = manifest_url(&store, &location, channel.unwrap_or("stable")).await?;
            let prefix = location.prefix;
            Ok((url, Some(Bases { store, prefix })))
        }
        scheme => {
            let scheme = scheme.map_or("", |(scheme, _)| scheme);
            let message = format!("devices download a manifest over https, not {scheme}: {target}");
            Err(CliError::new("cli.usage", message)
                .hint("give the URL for devices that `s3ota publish` printed, https://…/stable.json; or s3://BUCKET/PREFIX; or a file")
                .usage())
        }
    }
}
