//! Publishing: a firmware becomes a release in a bucket.
//!
//! A release is planned as a whole before anything is uploaded ([`Plan`]), and then becomes visible in one step: the image is
//! uploaded first, then the deltas and the compressed image, its record, and the channel's manifest, which devices ask for, last.

mod artefacts;
mod delta_from;
mod esp_web_tools;
mod guard;
mod installer;
mod plan;
mod reach;
mod release;
mod succession;
mod urls;

use std::time::Duration;

use s3ota_manifest::{HttpsUrl, Rollout, layout};
use serde_json::json;

pub use self::artefacts::Maker;
pub use self::delta_from::DeltaFrom;
pub use self::guard::may_be_promoted;
pub use self::installer::Installer;
use self::plan::Plan;
pub use self::reach::ends_early;
pub use self::release::Release;
pub use self::succession::{MISTAKES, SuccessionArgs, Successor};
pub use self::urls::{Urls, image_to_renew, presign_artefacts, presigned_url, valid_until};
use crate::bucket::channel::{self, ChangeArgs};
use crate::bucket::resign::{MinVersionArgs, SigningHost};
use crate::bucket::seal::{self, Lifetime};
use crate::error::CliError;
use crate::firmware::Firmware;
use crate::legacy::{self, LegacyClient};
use crate::output::{self, Output};
use crate::s3::{self, Location, Store};

/// How to release a firmware.
#[derive(Debug, Clone)]
pub struct ReleaseOptions {
    /// The channel whose devices get it.
    pub channel: String,
    /// Its version, if the image does not name it.
    pub version: Option<String>,
    /// The only board that takes it.
    pub board: Option<String>,
    /// The percentage of devices that take it.
    pub rollout: Option<Rollout>,
    /// The lifetime of pre-signed URLs; `None` for public ones.
    pub presign: Option<Duration>,
    /// The URL at which devices reach the bucket, if it is not the S3 service's own.
    pub public_url: Option<String>,
    /// The releases to make deltas from.
    pub delta_from: DeltaFrom,
    /// A note for people.
    pub notes: Option<String>,
    /// The lifetime of the manifest; `None` for the default.
    pub expires: Option<Lifetime>,
    /// The `min_version`.
    pub min_version: MinVersionArgs,
    /// Whether devices may go back to it.
    pub downgrade: bool,
    /// What it may be although it looks like a mistake.
    pub succession: SuccessionArgs,
    /// Whether it may lack a boot guard although the release before had one.
    pub drop_guard: bool,
    /// The legacy clients to serve from now on.
    pub also: Vec<LegacyClient>,
    /// The legacy clients not to serve any more.
    pub not_also: Vec<LegacyClient>,
    /// The name for the history, ACLs, --dry-run.
    pub change: ChangeArgs,
}

impl ReleaseOptions {
    /// A release for all devices of a channel, with public URLs.
    pub fn channel(name: &str) -> Self {
        Self {
            channel: name.to_owned(),
            version: None,
            board: None,
            rollout: None,
            presign: None,
            public_url: None,
            delta_from: DeltaFrom::default(),
            notes: None,
            expires: None,
            min_version: MinVersionArgs::default(),
            downgrade: false,
            succession: SuccessionArgs::default(),
            drop_guard: false,
            also: Vec::new(),
            not_also: Vec::new(),
            change: ChangeArgs::default(),
        }
    }

    /// Refuses impossible combinations, before anyone is asked for anything.
    pub fn check(&self, is_signed: bool) -> Result<(), CliError> {
        if self.downgrade {
            seal::may_allow_downgrade(self.expires, is_signed)?;
        }
        self.min_version.check(is_signed)?;
        if let Some(time) = self.presign {
            s3::check_presign(time)?;
        }
        layout::channel_key("", &self.channel)
            .map_err(|error| CliError::new("publish.channel", error.to_string()))?;
        if let Some(url) = &self.public_url {
            let problem = match HttpsUrl::parse(url) {
                Err(error) => Some(error.to_string()),
                Ok(parsed) if parsed.path_and_query().contains('?') => {
                    Some("the URL has a query".to_owned())
                }
                Ok(_) => None,
            };
            if let Some(problem) = problem {
                let hint =
                    "give the https URL of the bucket, for example https://firmware.example.com";
                return Err(
                    CliError::new("publish.url", format!("--public-url: {problem}")).hint(hint),
                );
            }
        }
        Ok(())
    }
}

/// What was published.
#[derive(Debug, Clone)]
pub struct Published {
    /// The version.
    pub version: String,
    /// The chip's name.
    pub chip: String,
    /// The manifest's URL for devices.
    pub manifest_url: String,
    /// The image's URL in the manifest.
    pub image_url: String,
    /// Bytes of the image.
    pub size: u32,
    /// The SHA-256 of the image, in hexadecimal.
    pub sha256: String,
}

/// Publishes a firmware to a location in a store; signed, if there is a signing host.
pub async fn publish(
    firmware: &Firmware,
    options: &ReleaseOptions,
    host: Option<&SigningHost>,
    store: &Store,
    location: &Location,
    out: &Output,
) -> Result<Published, CliError> {
    options.check(host.is_some())?;
    let release = Release::of(firmware, options.version.as_deref())?;
    let mut plan = Plan::new(firmware, &release, options, host, store, location, out).await?;

    let project = release.project.as_deref().unwrap_or("firmware");
    let size = output::bytes(release.size.into());
    out.say(output::fact(
        "firmware",
        9,
        format_args!("{project} {} for {}, {size}", release.version, release.chip),
    ));
    for warning in &plan.warnings {
        out.warning(warning);
    }
    legacy::warn(&plan.manifest, out);
    if let Some(host) = host {
        let until = plan
            .manifest
            .expires
            .map_or_else(|| "without end".to_owned(), |end| format!("until {end}"));
        out.say(output::fact(
            "signed",
            9,
            format_args!("with the key {}, valid {until}", host.signer.key_id()),
        ));
    }
    if options.change.dry_run {
        plan.tell(out);
        let maker = Maker::of(store, &location.prefix, &plan.channel, options);
        maker.tell(&plan.manifest, out).await;
        let kept = plan.channel.legacy();
        for library in options.not_also.iter().filter(|it| kept.contains(it)) {
            plan.tell_of_stopped(*library, "would_stop_older", "would name", out)?;
        }
    } else {
        plan.upload_image(firmware, out).await?;
        let maker = Maker::of(store, &location.prefix, &plan.channel, options);
        maker.keep(&mut plan.manifest, out).await?;
        maker.add(&mut plan.manifest, &firmware.bytes, out).await?;
        plan.upload_record(&release, out).await?;
        plan.upload_manifest(&release, out).await?;
        plan.stop_legacy(&options.not_also, out).await?;
        plan.see_that_it_stands(firmware, out).await?;
        plan.print_legacy(out);
        channel::warn_of_store(store, out);
        reach::check(&plan, options, location, out).await;
    }
    let published = Published {
        version: release.version.clone(),
        chip: release.chip.to_string(),
        manifest_url: plan.manifest_url.clone(),
        image_url: plan.manifest.url.clone(),
        size: release.size,
        sha256: release.sha256.to_string(),
    };
    out.event(
        if options.change.dry_run {
            "would_publish"
        } else {
            "published"
        },
        json!({
            "version": published.version,
            "channel": options.channel,
            "rollout": plan.manifest.rollout.unwrap_or(Rollout::EVERYONE).to_string(),
            "serial": plan.manifest.serial,
            "chip": published.chip,
            "size": published.size,
            "sha256": published.sha256,
            "manifest_url": published.manifest_url,
            "image_url": published.image_url,
            "keyid": plan.manifest.signature.as_ref().map(|signature| &signature.keyid),
            "expires": plan.manifest.expires.map(|end| end.to_string()),
            "min_version": plan.manifest.min_version,
        }),
    );
    let published_or_not = if options.change.dry_run {
        "nothing was changed; without --dry-run this publishes"
    } else {
        "published"
    };
    let to = match plan.manifest.rollout.map(|rollout| rollout.to_string()) {
        None => String::new(),
        Some(percent) if percent == "0" => ", paused: no device takes it".to_owned(),
        Some(percent) => format!(", to {percent}% of devices"),
    };
    out.prose(format_args!(
        "{published_or_not} {} on {}{to}; give devices this URL{}:",
        published.version,
        options.channel,
        valid_until(&published.manifest_url)
    ));
    out.say(&published.manifest_url);
    Ok(published)
}
