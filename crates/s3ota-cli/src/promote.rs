//! `s3ota promote`: what one channel serves is released on another one too. Nothing is uploaded but a manifest.

use std::time::Duration;

use clap::Args;
use s3ota_manifest::{ManifestDocument, Rollout, layout};
use serde_json::json;

use crate::anew::{self, Desk, FloorArgs, MeantArgs, Origin, Said};
use crate::catalogue;
use crate::channel::{self, Act, ChangeArgs, Channel, PlaceArgs, older};
use crate::cli::parse_duration;
use crate::error::CliError;
use crate::output::Output;
use crate::publish::{self, parse_rollout};
use crate::s3::{S3Args, Store};
use crate::seal::{self, SealArgs};

/// Release on one channel what another one serves
///
/// The same bytes under the same version: devices of the second channel get exactly what those of the first one
/// proved. Nothing is uploaded but the channel's manifest.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota promote s3://my-bucket/lamp beta stable
  s3ota promote s3://my-bucket/lamp beta stable --rollout 5%
  s3ota promote s3://my-bucket/lamp beta stable --key kms:alias/lamp-release --version 1.3.0 --min-version 1.1.0")]
pub struct PromoteArgs {
    #[command(flatten)]
    pub place: PlaceArgs,

    /// The channel that serves the release
    pub from: String,

    /// The channel that gets it
    pub to: String,

    /// How many percent of the channel's devices take it
    #[arg(long, value_name = "PERCENT", default_value = "100%")]
    pub rollout: String,

    /// Sign the image's URL anew, for a private bucket; it is good for so long, at most 7d
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub presign: Option<Duration>,

    /// Give a firmware without a boot guard to a channel whose release has one: devices that take it cannot go back from it
    #[arg(long)]
    pub drop_guard: bool,

    #[command(flatten)]
    pub change: ChangeArgs,

    #[command(flatten)]
    pub seal: SealArgs,

    #[command(flatten)]
    pub meant: MeantArgs,

    #[command(flatten)]
    pub floor: FloorArgs,

    /// Devices of the second channel that run a newer version go back to this one, until --expires: a permission that the
    /// first channel has is not promoted
    #[arg(long, requires = "expires")]
    pub allow_downgrade: bool,

    #[command(flatten)]
    pub s3: S3Args,
}

/// Promotes what the command line says.
pub async fn run(args: PromoteArgs, out: &Output) -> Result<(), CliError> {
    let rollout = parse_rollout(&args.rollout).map_err(CliError::usage)?;
    if args.from == args.to {
        let message = format!(
            "{} is both the channel to take from and the one to give to",
            args.to
        );
        return Err(CliError::new("publish.channel", message).usage());
    }
    let is_signed = args.change.signs(&args.seal);
    args.floor.check(is_signed).map_err(CliError::usage)?;
    if args.allow_downgrade {
        seal::may_allow_downgrade(&args.seal, is_signed)?;
    }
    let signer = args.change.signer(&args.seal, &args.s3).await?;
    let (location, store) = args.place.open(&args.s3).await?;
    let prefix = &location.prefix;
    let said = Said {
        floor: args.floor.clone(),
        ..args.meant.said()?
    };
    let desk = match &signer {
        Some(signer) => Some(Desk::open(signer, &store, &location, said).await?),
        None => None,
    };
    let desk = desk.as_ref();
    let source = Channel::read(&store, prefix, &args.from).await?;
    let target = Channel::read(&store, prefix, &args.to).await?;
    let offered = source.manifest(&store)?;
    let signing = match desk {
        Some(desk) => {
            let vouched = desk.vouch(&source, &store, desk.said().version.as_deref())?;
            desk.present(&target)?;
            desk.floor_is_known(&store, prefix, &target).await?;
            Some((desk, Origin::Bucket(vouched)))
        }
        None => None,
    };
    if offered.signature.is_some() && desk.is_none() && !args.change.unsigned {
        let message = format!(
            "the release on the channel {} is signed, and on {} it would not be: devices that trust keys would refuse it",
            args.from, args.to
        );
        return Err(CliError::new("publish.unsigned", message)
            .hint("sign it with --key; or say --unsigned if that is what you want"));
    }
    anew::refuse_yanked(desk, &store, prefix, &offered.version).await?;
    if let Some(current) = &target.current
        && let Some(warning) = publish::may_follow(offered, current.bytes(), &args.to)?
    {
        out.warning(&warning);
    }
    if let Some(Ok(current)) = target.current.as_ref().map(|held| &held.manifest) {
        let drop = args.drop_guard;
        let may = publish::may_be_promoted(offered, current, &args.to, drop, &store, prefix);
        for warning in may.await? {
            out.warning(&warning);
        }
    }

    if let Some(Ok(current)) = target.current.as_ref().map(|held| &held.manifest)
        && (&current.version, current.sha256) == (&offered.version, offered.sha256)
    {
        let serves = current.rollout.unwrap_or(Rollout::EVERYONE);
        if !args.change.dry_run {
            if let Some(desk) = desk {
                desk.remember_present(&source)?;
                desk.remember_present(&target)?;
            }
            target.update_older(&store, args.change.public_read).await?;
        }
        out.event(
            "unchanged",
            json!({ "version": current.version, "channel": args.to, "rollout": serves.to_string() }),
        );
        out.say(format_args!(
            "{} serves {} already, to {serves}%; `s3ota rollout` changes that",
            args.to, current.version
        ));
        return Ok(());
    }

    let mut manifest = ManifestDocument {
        rollout: (rollout != Rollout::EVERYONE).then_some(rollout),
        ..offered.clone()
    };
    manifest.min_version = args.floor.raise(manifest.min_version)?;
    if let Some(warning) = anew::end_permission(&mut manifest, args.allow_downgrade) {
        out.warning(&warning);
    }
    manifest.url = match args.presign {
        Some(good_for) => presigned(&store, prefix, offered, good_for).await?,
        None if offered.url.contains("X-Amz-Signature=") => {
            let message = format!(
                "the URL that {} names is signed, and ends some day",
                args.from
            );
            return Err(CliError::new("publish.presign", message)
                .hint("sign it anew: s3ota promote … --presign 7d"));
        }
        None => offered.url.clone(),
    };
    let act = Act {
        action: "promote",
        from: Some(args.from.clone()),
        by: args.change.by(),
        signing,
        lifetime: args.seal.expires.or_else(|| channel::lifetime(offered)),
        unsigned: args.change.unsigned,
        older: None,
    };
    if let Some(warning) = target.stamp(&mut manifest, &act).await? {
        out.warning(&warning);
    }
    let (version, rollout) = (manifest.version.clone(), rollout.to_string());
    if !args.change.dry_run {
        target
            .replace(&store, &manifest, desk, args.change.public_read)
            .await?;
        if let Some(desk) = desk {
            desk.remember_present(&source)?;
        }
        see_that_it_stands(&store, prefix, &manifest).await?;
        channel::warn_of_store(&store, out);
        older::warn(&manifest, out);
    }
    let event = if args.change.dry_run {
        "would_promote"
    } else {
        "promoted"
    };
    out.event(
        event,
        json!({
            "version": version, "from": args.from, "channel": args.to, "rollout": rollout,
            "replaced": target.current.as_ref().and_then(|held| held.manifest.as_ref().ok()).map(|it| it.version.clone()),
            "serial": manifest.serial,
            "keyid": manifest.signature.as_ref().map(|signature| &signature.keyid),
        }),
    );
    let word = if args.change.dry_run {
        "nothing was changed; without --dry-run this gives"
    } else {
        "gave"
    };
    out.say(format_args!(
        "{word} {version} from {} to {rollout}% of {}",
        args.from, args.to
    ));
    Ok(())
}

async fn presigned(
    store: &Store,
    prefix: &str,
    manifest: &ManifestDocument,
    good_for: Duration,
) -> Result<String, CliError> {
    let Some(key) = channel::image_key(prefix, &manifest.version, manifest.sha256) else {
        let message =
            "the manifest names no SHA-256, so it is not known which object the URL is of";
        return Err(CliError::new("publish.presign", message)
            .hint("publish the firmware to the channel instead"));
    };
    publish::presigned_url(store, &key, good_for).await
}

/// Looks again for what others may have done meanwhile: withdrawn the version, or removed the image.
pub async fn see_that_it_stands(
    store: &Store,
    prefix: &str,
    manifest: &ManifestDocument,
) -> Result<(), CliError> {
    catalogue::refuse_yanked(store, prefix, &manifest.version).await?;
    if let Some(key) = channel::image_key(prefix, &manifest.version, manifest.sha256)
        && manifest.url.contains(&layout::url_path(&key))
        && store.head(&key).await?.is_none()
    {
        let message = format!(
            "the image of {} is not in the bucket any more: s3://{}/{key}",
            manifest.version,
            store.bucket()
        );
        return Err(CliError::new("release.image", message).hint(
            "publish the firmware again: the same bytes under the same version bring it back",
        ));
    }
    Ok(())
}
