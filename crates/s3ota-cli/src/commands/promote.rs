//! `s3ota promote`: releases on one channel what another serves. What is uploaded is the manifest, and deltas from what the devices of
//! the second channel run.

use std::time::Duration;

use clap::Args;
use s3ota_manifest::{ManifestDocument, Rollout};
use serde_json::json;

use crate::bucket::artefacts;
use crate::bucket::channel::{
    self, Act, ChangeArgs, Changing, Channel, Opened, PlaceArgs, parse_rollout,
};
use crate::bucket::resign::{self, Intent, MeantArgs, MinVersionArgs, Origin};
use crate::bucket::seal::SealArgs;
use crate::clock::parse_duration;
use crate::error::CliError;
use crate::legacy;
use crate::output::Output;
use crate::publishing::{self, DeltaFrom, MISTAKES, Maker, SuccessionArgs, Successor, Urls};
use crate::s3::{S3Args, Store};

/// Release on one channel what another serves
///
/// The same bytes under the same version: devices of the second channel get exactly what those of the first have proved. Only
/// the channel's manifest is uploaded, and deltas from the releases that it has served, where they are missing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota promote s3://my-bucket/lamp beta stable
  s3ota promote s3://my-bucket/lamp beta stable --rollout 5%
  s3ota promote s3://my-bucket/lamp beta stable --delta-from 1.0.0,1.1.0
  s3ota promote s3://my-bucket/lamp beta stable --key kms:alias/lamp-release --version 1.3.0 --min-version 1.1.0")]
pub struct PromoteArgs {
    #[command(flatten)]
    pub place: PlaceArgs,

    /// The channel that serves the release
    pub from: String,

    /// The channel that gets it
    pub to: String,

    /// The percentage of the channel's devices that take it
    #[arg(long, value_name = "PERCENT", default_value = "100%")]
    pub rollout: String,

    /// Pre-sign the image's URL again, for a private bucket; valid for this long, at most 7d
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub presign: Option<Duration>,

    /// The releases to make deltas from, besides those that the first channel names: auto, which is the newest 5 that the second channel
    /// has served; another number of them; versions like 1.0.0,1.1.0; or none
    #[arg(long, value_name = "FROM", default_value = "auto")]
    pub delta_from: DeltaFrom,

    #[command(flatten)]
    pub change: ChangeArgs,

    #[command(flatten)]
    pub seal: SealArgs,

    #[command(flatten)]
    pub meant: MeantArgs,

    #[command(flatten)]
    pub min_version: MinVersionArgs,

    /// Let devices of the second channel that run a newer version go back to this one, until --expires. The permission of the first
    /// channel is not promoted
    #[arg(long, requires = "expires")]
    pub allow_downgrade: bool,

    #[command(flatten)]
    pub s3: S3Args,

    #[command(flatten)]
    pub succession: SuccessionArgs,

    /// Allow a firmware without a boot guard on a channel whose release has one: devices cannot roll back from it
    #[arg(long, help_heading = MISTAKES)]
    pub drop_guard: bool,
}

/// Promotes a release.
pub async fn run(args: PromoteArgs, out: &Output) -> Result<(), CliError> {
    let rollout = parse_rollout(&args.rollout).map_err(CliError::usage)?;
    if args.from == args.to {
        let message = format!("{} is both the source and the target", args.to);
        return Err(CliError::new("publish.channel", message).usage());
    }
    let opened = Changing {
        change: &args.change,
        seal: &args.seal,
        s3: &args.s3,
        allow_downgrade: args.allow_downgrade,
    };
    let intent = Intent {
        min_version: args.min_version.clone(),
        ..args.meant.intent()?
    };
    let meant = intent.version.clone();
    let Opened {
        location,
        store,
        host,
    } = opened.open(&args.place.location, intent).await?;
    let prefix = &location.prefix;
    let host = host.as_ref();
    let source = Channel::read(&store, prefix, &args.from).await?;
    let target = Channel::read(&store, prefix, &args.to).await?;
    let offered = source.manifest(&store)?;
    // What the release follows. Of what someone else signed, nothing counts.
    let (signing, present) = match host {
        Some(host) => {
            let vouched = host.vouch(&source, &store, host.intent().version.as_deref())?;
            let present = host.present(&target)?;
            host.min_version_is_known(&store, prefix, &target).await?;
            (Some((host, Origin::Bucket(vouched))), present)
        }
        None => (None, target.readable()),
    };
    if offered.signature.is_some() && host.is_none() && !args.change.unsigned {
        let message = format!(
            "the release on the channel {} is signed, and on {} it would not be: devices with release keys would refuse it",
            args.from, args.to
        );
        return Err(CliError::new("publish.unsigned", message)
            .hint("sign it with --key; or use --unsigned if that is what you want"));
    }
    resign::refuse_yanked(host, &store, prefix, &offered.version).await?;
    if let Some(current) = target.readable() {
        let (name, downgrade, counts) = (&args.to, args.allow_downgrade, present.is_some());
        let follows = Successor::of(offered);
        let warning = follows.may_follow(current, name, &args.succession, downgrade, counts)?;
        if let Some(warning) = warning {
            out.warning(&warning);
        }
        if present.is_some() && meant.as_ref() != Some(&offered.version) {
            must_be_no_leap(offered, current, &args)?;
        }
        let drop = args.drop_guard;
        let may = publishing::may_be_promoted(offered, current, &args.to, drop, &store, prefix);
        for warning in may.await? {
            out.warning(&warning);
        }
    }

    if let Some(current) = target.readable()
        && (&current.version, current.sha256) == (&offered.version, offered.sha256)
    {
        let serves = current.rollout.unwrap_or(Rollout::EVERYONE);
        if !args.change.dry_run {
            if let Some(host) = host {
                host.remember_present(&source)?;
                host.remember_present(&target)?;
            }
            target
                .update_legacy(&store, args.change.public_read)
                .await?;
        }
        out.event(
            "unchanged",
            json!({ "version": current.version, "channel": args.to, "rollout": serves.to_string() }),
        );
        out.say(format_args!(
            "{} serves {} already, to {serves}% of its devices; `s3ota rollout` changes that",
            args.to, current.version
        ));
        return Ok(());
    }

    let mut manifest = ManifestDocument {
        rollout: (rollout != Rollout::EVERYONE).then_some(rollout),
        ..offered.clone()
    };
    manifest.min_version = args.min_version.raise(manifest.min_version)?;
    if let Some(warning) = resign::end_permission(&mut manifest, args.allow_downgrade) {
        out.warning(&warning);
    }
    manifest.url = match args.presign {
        Some(good_for) => presigned(&store, prefix, offered, good_for).await?,
        None if offered.url.contains("X-Amz-Signature=") => {
            let message = format!(
                "the URL in the manifest of {} is pre-signed, and will expire",
                args.from
            );
            return Err(CliError::new("publish.presign", message)
                .hint("pre-sign it again: s3ota promote … --presign 7d"));
        }
        None => offered.url.clone(),
    };
    artefacts::leave_out_missing(&store, prefix, &mut manifest).await;
    if let Some(good_for) = args.presign {
        publishing::presign_artefacts(&store, prefix, &mut manifest, good_for).await;
    }
    let act = Act {
        action: "promote",
        from: Some(args.from.clone()),
        by: args.change.by(),
        signing,
        lifetime: args.seal.expires.or_else(|| channel::lifetime(offered)),
        unsigned: args.change.unsigned,
        legacy: None,
    };
    if let Some(warning) = target.stamp(&mut manifest, &act).await? {
        out.warning(&warning);
    }
    channel::must_have_image(&store, prefix, &manifest).await?;
    let (version, rollout) = (manifest.version.clone(), rollout.to_string());
    let image = channel::image_key(prefix, &version, manifest.sha256).unwrap_or_default();
    let maker = Maker {
        store: &store,
        prefix,
        channel: &target,
        urls: Urls::like(&store, args.presign, &manifest.url, &image),
        delta_from: &args.delta_from,
        public_read: args.change.public_read,
    };
    if args.change.dry_run {
        maker.tell(&manifest, out).await;
    } else {
        maker.add_to_release(&mut manifest, out).await?;
        target
            .replace(&store, &manifest, host, args.change.public_read)
            .await?;
        if let Some(host) = host {
            host.remember_present(&source)?;
        }
        channel::see_that_it_stands(&store, prefix, &manifest).await?;
        channel::warn_of_store(&store, out);
        legacy::warn(&manifest, out);
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
            "replaced": target.readable().map(|it| it.version.clone()),
            "serial": manifest.serial,
            "keyid": manifest.signature.as_ref().map(|signature| &signature.keyid),
        }),
    );
    let word = if args.change.dry_run {
        "nothing was changed; without --dry-run this releases"
    } else {
        "released"
    };
    out.say(format_args!(
        "{word} {version} from {} to {rollout}% of {}",
        args.from, args.to
    ));
    Ok(())
}

/// Refuses a version that is too far above what the channel serves.
fn must_be_no_leap(
    offered: &ManifestDocument,
    current: &ManifestDocument,
    args: &PromoteArgs,
) -> Result<(), CliError> {
    let Some(leap) = Successor::of(offered).leap(current) else {
        return Ok(());
    };
    let (version, from, to) = (&offered.version, &args.from, &args.to);
    Err(CliError::new("publish.version", leap).hint(format!(
        "if {version} is right for {to}, say so: s3ota promote … {from} {to} --version {version}"
    )))
}

async fn presigned(
    store: &Store,
    prefix: &str,
    manifest: &ManifestDocument,
    good_for: Duration,
) -> Result<String, CliError> {
    let Some(key) = channel::image_key(prefix, &manifest.version, manifest.sha256) else {
        let message =
            "the manifest has no SHA-256, so the object that its URL leads to is not known";
        return Err(CliError::new("publish.presign", message)
            .hint("publish the firmware to the channel instead"));
    };
    publishing::presigned_url(store, &key, good_for).await
}
