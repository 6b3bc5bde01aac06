//! `s3ota presign`: fresh URLs for a release in a private bucket, without its release key.

use std::time::Duration;

use clap::Args;
use s3ota_manifest::ManifestDocument;
use serde_json::json;

use crate::bucket::artefacts;
use crate::bucket::channel::{self, Channel};
use crate::bucket::resign;
use crate::clock::parse_duration;
use crate::error::CliError;
use crate::output::Output;
use crate::publishing::{
    ends_early, image_to_renew, presign_artefacts, presigned_url, valid_until,
};
use crate::s3::{self, Location, S3Args, Store};

/// Renew the pre-signed URLs of a release in a private bucket
///
/// Writes fresh URLs of the image, its deltas and the compressed image into the channel's manifest, and prints a fresh URL of the manifest. Run it from cron or CI
/// before the old URLs expire. It needs no release key: a signature covers what is installed, not where it is downloaded from,
/// and stays valid. It refuses a signed manifest of another channel, an expired one, and one that this host knows to be
/// outdated.
///
/// Devices must learn the manifest's new URL before the old one expires. Where they cannot, make the manifest public, and only
/// the images private.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota presign s3://my-bucket/lamp
  s3ota presign s3://my-bucket/lamp --channel beta --presign 12h --json

The credentials need s3:GetObject and s3:PutObject on the channel's manifest, and s3:GetObject on the images. A URL expires with \
the credentials that signed it: after hours for those of a role or of SSO, after 7 days for those of an IAM user.")]
pub struct PresignArgs {
    /// Where the releases are
    #[arg(value_name = "s3://BUCKET/PREFIX")]
    pub location: String,

    /// The channel
    #[arg(long, default_value = "stable")]
    pub channel: String,

    /// How long the URLs are valid, at most 7d (12h, 30m…)
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "7d")]
    pub presign: Duration,

    #[command(flatten)]
    pub s3: S3Args,
}

/// Warns where the channel's URLs never ended until now: it is not for a private bucket.
fn was_public(manifest: &ManifestDocument, channel: &str, location: &Location) -> Option<CliError> {
    if s3::presigned_until(&manifest.url).is_some() {
        return None;
    }
    let message = format!(
        "until now {channel} named {} by a public URL, which does not end. The new one does, and from then on devices get no release \
         unless you renew it in time",
        manifest.version
    );
    let hint = format!(
        "if the bucket is public, publish the same firmware to {location} again without --presign, which brings the URL back"
    );
    Some(CliError::new("presign.public", message).hint(hint))
}

/// Renews the URLs.
pub async fn run(args: PresignArgs, out: &Output) -> Result<(), CliError> {
    let location: Location = args.location.parse().map_err(CliError::usage)?;
    s3::check_presign(args.presign).map_err(CliError::usage)?;
    let store = Store::connect(&args.s3, &location, None).await?;

    let channel = Channel::read(&store, &location.prefix, &args.channel).await?;
    let mut manifest = channel.manifest(&store)?.clone();
    let place = resign::place(&store, &location).await?;
    resign::may_be_renewed(&channel, &manifest, &place)?;
    let image_key = image_to_renew(&manifest, &location)?;
    if let Some(lack) = channel::lack_of(&store, &manifest.version, &image_key).await? {
        let code = match lack.code {
            "release.image" => "presign.nothing",
            code => code,
        };
        return Err(CliError { code, ..lack });
    }
    if let Some(warning) = was_public(&manifest, &args.channel, &location) {
        out.warning(&warning);
    }
    manifest.url = presigned_url(&store, &image_key, args.presign).await?;
    artefacts::leave_out_missing(&store, &location.prefix, &mut manifest).await;
    presign_artefacts(&store, &location.prefix, &mut manifest, args.presign).await;
    // Someone who publishes in the meantime has the last word.
    channel.refresh(&store, &manifest, false).await?;
    let manifest_url = presigned_url(&store, &channel.key, args.presign).await?;

    if let Some(warning) = ends_early(&store, args.presign) {
        out.warning(&warning);
    }
    out.prose(format_args!(
        "pre-signed {} on {}; the manifest's URL{}:",
        manifest.version,
        args.channel,
        valid_until(&manifest_url)
    ));
    out.say(&manifest_url);
    out.event(
        "presigned",
        json!({
            "version": manifest.version, "channel": args.channel, "good_for_s": args.presign.as_secs(),
            "manifest_url": manifest_url, "image_url": manifest.url,
        }),
    );
    Ok(())
}
