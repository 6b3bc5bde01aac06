//! `s3ota rollout`: sets the percentage of a channel's devices that take its release.

use clap::Args;
use s3ota_manifest::Rollout;
use serde_json::json;

use crate::bucket::channel::{
    self, Act, ChangeArgs, Changing, Channel, Opened, PlaceArgs, parse_rollout,
};
use crate::bucket::channel::{must_have_image, see_that_it_stands};
use crate::bucket::resign::{self, MeantArgs, Origin};
use crate::bucket::seal::SealArgs;
use crate::commands::fleet::HealthArgs;
use crate::error::CliError;
use crate::legacy;
use crate::output::Output;
use crate::s3::S3Args;

/// Set the percentage of a channel's devices that take its release
///
/// A hash of a device's id and the release decides whether the device is included: a higher percentage adds devices and removes
/// none. Devices that have the release keep it, also after `pause`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota rollout s3://my-bucket/lamp 5%
  s3ota rollout s3://my-bucket/lamp 100%
  s3ota rollout s3://my-bucket/lamp pause --channel beta
  s3ota rollout s3://my-bucket/lamp 25% --if-healthy --logs s3://my-logs/my-bucket/
  s3ota rollout s3://my-bucket/lamp 25% --key kms:alias/lamp-release --version 1.3.0")]
pub struct RolloutArgs {
    #[command(flatten)]
    pub place: PlaceArgs,

    /// The percentage, or `pause`: no more devices take the release
    #[arg(value_name = "PERCENT|pause")]
    pub percent: String,

    /// The channel
    #[arg(long, default_value = "stable")]
    pub channel: String,

    #[command(flatten)]
    pub change: ChangeArgs,

    #[command(flatten)]
    pub seal: SealArgs,

    #[command(flatten)]
    pub meant: MeantArgs,

    /// Let devices that run a newer version go back to this one, until --expires. An earlier permission ends with this change unless
    /// it is given again
    #[arg(long, requires = "expires")]
    pub allow_downgrade: bool,

    #[command(flatten)]
    pub health: HealthArgs,

    #[command(flatten)]
    pub s3: S3Args,
}

/// Changes a rollout.
pub async fn run(args: RolloutArgs, out: &Output) -> Result<(), CliError> {
    let percent = match args.percent.as_str() {
        "pause" => "0",
        percent => percent,
    };
    let rollout = parse_rollout(percent).map_err(CliError::usage)?;
    let opened = Changing {
        change: &args.change,
        seal: &args.seal,
        s3: &args.s3,
        allow_downgrade: args.allow_downgrade,
    };
    let opened = opened.open(&args.place.location, args.meant.intent()?);
    let Opened {
        location,
        store,
        host,
    } = opened.await?;
    let host = host.as_ref();
    let channel = Channel::read(&store, &location.prefix, &args.channel).await?;
    let current = channel.manifest(&store)?;
    let signing = match host {
        Some(host) => {
            let vouched = host.vouch(&channel, &store, host.intent().version.as_deref())?;
            Some((host, Origin::Bucket(vouched)))
        }
        None => None,
    };
    let before = current.rollout.unwrap_or(Rollout::EVERYONE);
    let (version, name) = (current.version.clone(), &args.channel);
    let paused = rollout.to_string() == "0";
    // A channel can always be paused, whatever else was done.
    if !paused {
        resign::refuse_yanked(host, &store, &location.prefix, &version).await?;
        must_have_image(&store, &location.prefix, current).await?;
    }
    let told = |event: &str, serial: Option<u64>| {
        out.event(
            event,
            json!({
                "channel": name, "version": version, "rollout": rollout.to_string(),
                "before": before.to_string(), "serial": serial,
            }),
        );
    };
    if rollout == before && !args.allow_downgrade {
        if !args.change.dry_run {
            if let Some(host) = host {
                host.remember_present(&channel)?;
            }
            channel
                .update_legacy(&store, args.change.public_read)
                .await?;
        }
        told("unchanged", current.serial);
        match paused {
            true => out.prose(format_args!("{version} is paused on {name} already")),
            false => out.prose(format_args!("{rollout}% of {name} take {version} already")),
        }
        return Ok(());
    }
    if rollout > before {
        args.health.check(&version, &args.s3, out)?;
    }
    let mut manifest = current.clone();
    manifest.rollout = (rollout != Rollout::EVERYONE).then_some(rollout);
    if let Some(warning) = resign::end_permission(&mut manifest, args.allow_downgrade) {
        out.warning(&warning);
    }
    let act = Act {
        action: if paused { "pause" } else { "rollout" },
        from: Some(format!("{before}%")),
        by: args.change.by(),
        signing,
        lifetime: args.seal.expires.or_else(|| channel::lifetime(current)),
        unsigned: args.change.unsigned,
        legacy: None,
    };
    if let Some(warning) = channel.stamp(&mut manifest, &act).await? {
        out.warning(&warning);
    }
    if args.change.dry_run {
        told("would_roll_out", manifest.serial);
        out.prose(format_args!(
            "nothing was changed; without --dry-run {rollout}% of {name} take {version}, not {before}%"
        ));
        return Ok(());
    }
    channel
        .replace(&store, &manifest, host, args.change.public_read)
        .await?;
    if !paused {
        see_that_it_stands(&store, &location.prefix, &manifest).await?;
    }
    channel::warn_of_store(&store, out);
    legacy::warn(&manifest, out);
    told("rolled_out", manifest.serial);
    if paused {
        let key = args.change.key_option(&args.seal);
        out.prose(format_args!(
            "paused {version} on {name}, from {before}%; devices that have it keep it. To continue: `s3ota rollout {location} {before}% --channel {name}{key}`"
        ));
    } else {
        let direction = if rollout < before { "down" } else { "up" };
        out.say(format_args!(
            "{rollout}% of {name} take {version}, {direction} from {before}%"
        ));
        if rollout < before {
            out.say("Devices that have it keep it; to withdraw it, use s3ota yank.");
        }
    }
    Ok(())
}
