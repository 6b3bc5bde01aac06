//! `s3ota yank`: a release is withdrawn, and its channels go back to the newest good one.
//!
//! The mark comes first. From then on nobody can publish or promote the version: whoever puts it on a channel looks for
//! the mark afterwards, and this command looks at the channels after it made the mark, so one of the two sees the other.

use clap::Args;
use s3ota_manifest::{ManifestDocument, Rollout, Version, layout};
use serde_json::json;

use crate::catalogue::{self, Yank};
use crate::channel::{self, ATTEMPTS, Act, ChangeArgs, Channel, PlaceArgs};
use crate::clock;
use crate::error::CliError;
use crate::keys::Signer;
use crate::output::Output;
use crate::s3::{Condition, Location, S3Args, Store, Upload};
use crate::seal::{Lifetime, SealArgs};

/// Withdraw a release
///
/// The version is marked, for good: it cannot be published or promoted any more. Every channel that serves it goes back to
/// the release it served before, the newest one that is not withdrawn; a channel that never served another one is paused.
///
/// Devices that run the withdrawn release stay on it: nothing moves them back in silence. Build the good code under a
/// higher version and publish that; or let them go back with --allow-downgrade, a permission that is signed and ends.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota yank s3://my-bucket/lamp 1.3.0 --reason 'loses its Wi-Fi after a day'
  s3ota yank s3://my-bucket/lamp 1.3.0 --dry-run
  s3ota yank s3://my-bucket/lamp 1.3.0 --allow-downgrade --expires 14d --key release.key")]
pub struct YankArgs {
    #[command(flatten)]
    pub place: PlaceArgs,

    /// The version to withdraw
    pub version: String,

    /// Why, for the history
    #[arg(long)]
    pub reason: Option<String>,

    /// Devices that run the withdrawn release go back, until --expires: a permission that must be signed
    #[arg(long, requires = "expires")]
    pub allow_downgrade: bool,

    #[command(flatten)]
    pub change: ChangeArgs,

    #[command(flatten)]
    pub seal: SealArgs,

    #[command(flatten)]
    pub s3: S3Args,
}

/// Withdraws a release.
pub async fn run(args: YankArgs, out: &Output) -> Result<(), CliError> {
    let version = Version::parse(&args.version).map_err(|error| {
        CliError::new("publish.version", format!("{}: {error}", args.version)).usage()
    })?;
    if args.allow_downgrade && args.seal.expires == Some(Lifetime::Never) {
        let message = "a permission to go back has to end, and --expires says never";
        return Err(CliError::new("publish.expires", message)
            .hint("say how long devices may go back, such as --expires 14d")
            .usage());
    }
    let signer = args.change.signer(&args.seal, &args.s3).await?;
    if args.allow_downgrade && signer.is_none() {
        let message = "--allow-downgrade needs a signature: no device heeds it without";
        return Err(CliError::new("publish.unsigned", message)
            .hint("sign it with --key")
            .usage());
    }
    let (location, store) = args.place.open(&args.s3).await?;
    let yank = Yanking {
        version: version.to_string(),
        args: &args,
        signer: signer.as_ref(),
        store: &store,
        location: &location,
        out,
    };
    yank.must_be_possible().await?;
    if !args.change.dry_run {
        yank.mark().await?;
    }
    let mut served = 0;
    for channel in catalogue::channels(&store, &location.prefix).await? {
        served += u32::from(yank.take_off(channel).await?);
    }
    channel::warn_of_store(&store, out);
    yank.say_what_is_left(served);
    Ok(())
}

struct Yanking<'a> {
    version: String,
    args: &'a YankArgs,
    signer: Option<&'a Signer>,
    store: &'a Store,
    location: &'a Location,
    out: &'a Output,
}

impl Yanking<'_> {
    fn prefix(&self) -> &str {
        &self.location.prefix
    }

    fn is_yanked(&self, manifest: &ManifestDocument) -> bool {
        manifest.version == self.version
    }

    /// Whether a channel went back from the version already.
    fn went_back(&self, manifest: &ManifestDocument) -> bool {
        let says = |field: &str, text: &str| {
            manifest.extra.get(field).and_then(|it| it.as_str()) == Some(text)
        };
        says("action", "yank") && says("from", &self.version)
    }

    fn dry_run(&self) -> bool {
        self.args.change.dry_run
    }

    /// What is done to a channel that serves it.
    fn act<'a>(
        &'a self,
        lifetime: Option<Lifetime>,
        source: Option<&'a ManifestDocument>,
    ) -> Act<'a> {
        Act {
            action: "yank",
            from: Some(self.version.clone()),
            by: self.args.change.by(),
            signer: self.signer,
            source,
            lifetime: self.args.seal.expires.or(lifetime),
            unsigned: self.args.change.unsigned,
            older: None,
        }
    }

    /// A version that nobody released is most likely misspelt; and where a signature is needed, that is said before
    /// anything is done.
    async fn must_be_possible(&self) -> Result<(), CliError> {
        let wanted = std::slice::from_ref(&self.version);
        let recorded = catalogue::records(self.store, self.prefix(), wanted).await?;
        // One that was published by hand has no record.
        let mut exists = !recorded.is_empty();
        for channel in catalogue::channels(self.store, self.prefix()).await? {
            if let Ok(manifest) = channel.manifest(self.store)
                && self.is_yanked(manifest)
            {
                exists = true;
                if let Some(signer) = self.signer
                    && self
                        .newest_good(&channel, manifest.min_version.as_deref())
                        .await?
                        .is_none()
                {
                    signer.must_have_signed(manifest)?;
                }
                if let Some(warning) = channel.may_be_signed_so(&self.act(None, None))? {
                    self.out.warning(&warning);
                }
            }
        }
        if exists {
            return Ok(());
        }
        let message = format!("there is no release {} at {}", self.version, self.location);
        Err(CliError::new("release.unknown", message).hint("`s3ota list` shows the ones there are"))
    }

    /// Marks the version, once and for all.
    async fn mark(&self) -> Result<(), CliError> {
        let version = Version::parse(&self.version)
            .map_err(|error| CliError::new("publish.version", error.to_string()))?;
        let key = layout::yanked_key(self.prefix(), &version)
            .map_err(|error| CliError::new("s3.url", error.to_string()))?;
        let yank = Yank {
            date: Some(clock::timestamp().to_string()),
            by: self.args.change.by(),
            reason: self.args.reason.clone(),
        };
        let json = yank.to_json(&self.version);
        let upload = Upload {
            condition: Condition::Absent,
            public_read: self.args.change.public_read,
            ..Upload::manifest(&key, &json)
        };
        let existed = match self.store.put(&upload, |_| {}).await {
            // Who marked it first, and why, stays.
            Err(error) if error.code == "s3.conflict" => true,
            result => {
                result?;
                false
            }
        };
        let note = if existed { " already" } else { "" };
        let version = &self.version;
        self.out.say(format_args!(
            "{version} is marked as yanked{note}: it cannot be published or promoted"
        ));
        self.out
            .event("yanked", json!({ "version": version, "existed": existed }));
        Ok(())
    }

    /// Lets a channel go back to what it served before, if it serves the version. Says whether it did.
    async fn take_off(&self, mut channel: Channel) -> Result<bool, CliError> {
        for _ in 0..ATTEMPTS {
            let Ok(current) = channel.manifest(self.store) else {
                return Ok(false);
            };
            let (back, mut manifest) = if self.is_yanked(current) {
                let floor = current.min_version.as_deref();
                let back = self.newest_good(&channel, floor).await?;
                if back.is_none() && current.rollout == Rollout::from_percent(0).ok() {
                    return self.leave(&channel).await;
                }
                // A channel without a good one is paused.
                let paused = || ManifestDocument {
                    rollout: Rollout::from_percent(0).ok(),
                    ..current.clone()
                };
                let manifest = back.clone().unwrap_or_else(paused);
                (back, manifest)
            } else if self.args.allow_downgrade && self.went_back(current) && !current.downgrade {
                (Some(current.clone()), current.clone())
            } else {
                return self.leave(&channel).await;
            };
            let source = back.clone().unwrap_or_else(|| current.clone());
            manifest.downgrade = back.is_some() && self.args.allow_downgrade;
            let act = self.act(channel::lifetime(current), Some(&source));
            channel.stamp(&mut manifest, &act).await?;
            if !self.dry_run() {
                match channel
                    .replace(self.store, &manifest, self.args.change.public_read)
                    .await
                {
                    // Someone changed the channel meanwhile: look again at what it serves.
                    Err(error) if error.code == "s3.conflict" => {
                        channel = Channel::read(self.store, self.prefix(), &channel.name).await?;
                        continue;
                    }
                    result => result?,
                }
            }
            self.tell(&channel.name, back.as_ref());
            return Ok(true);
        }
        let message = format!(
            "the channel {} is changed by others all the time, and may still serve {}",
            channel.name, self.version
        );
        Err(CliError::new("s3.conflict", message).hint("stop whatever publishes, and yank again"))
    }

    /// A channel on which nothing is to be changed: not taken off. Whoever took the version off may have been cut off before
    /// he had told devices with older libraries.
    async fn leave(&self, channel: &Channel) -> Result<bool, CliError> {
        if !self.dry_run() {
            channel
                .update_older(self.store, self.args.change.public_read)
                .await?;
        }
        Ok(false)
    }

    /// What the channel served last before that version, that is not withdrawn, whose image is still there, and that
    /// devices are not forbidden to go back to.
    async fn newest_good(
        &self,
        channel: &Channel,
        floor: Option<&str>,
    ) -> Result<Option<ManifestDocument>, CliError> {
        let yanked = catalogue::yanked(self.store, self.prefix()).await?;
        let history =
            catalogue::history(self.store, self.prefix(), &channel.name, usize::MAX).await?;
        let good = history
            .iter()
            .rev()
            .filter_map(|held| held.manifest.as_ref().ok())
            // Anyone who can write to the bucket could have filed one.
            .filter(|manifest| {
                self.signer
                    .is_none_or(|signer| signer.must_have_signed(manifest).is_ok())
            })
            .filter(|manifest| !self.is_yanked(manifest) && !yanked.contains(&manifest.version))
            .filter(|manifest| {
                floor.is_none_or(|floor| catalogue::by_version(floor, &manifest.version).is_le())
            });
        for manifest in good {
            let key = channel::image_key(self.prefix(), &manifest.version, manifest.sha256);
            let there = match key {
                Some(key) if manifest.url.contains(&layout::url_path(&key)) => {
                    self.store.head(&key).await?.is_some()
                }
                // It lies elsewhere, for its owner to look after.
                _ => true,
            };
            if there {
                return Ok(Some(manifest.clone()));
            }
        }
        Ok(None)
    }

    fn tell(&self, name: &str, back: Option<&ManifestDocument>) {
        let event = if self.dry_run() {
            "would_return"
        } else {
            "returned"
        };
        let rollout = back.map_or(Rollout::from_percent(0).ok(), |good| {
            Some(good.rollout.unwrap_or(Rollout::EVERYONE))
        });
        self.out.event(
            event,
            json!({
                "channel": name, "from": self.version, "to": back.map(|good| &good.version),
                "rollout": rollout.map(|rollout| rollout.to_string()),
            }),
        );
        let would = if self.dry_run() { "would go" } else { "went" };
        let pause = if self.dry_run() { "would be" } else { "is" };
        match back {
            Some(good) => self
                .out
                .say(format_args!("{name} {would} back to {}", good.version)),
            None => self.out.say(format_args!(
                "{name} {pause} paused: it never served another release that is good and still there"
            )),
        }
    }

    /// What a person has to know and to do.
    fn say_what_is_left(&self, served: u32) {
        let version = &self.version;
        if self.dry_run() {
            self.out
                .say("nothing was changed; without --dry-run this is done");
            return;
        }
        if served == 0 {
            self.out.say(format_args!("no channel serves {version}"));
        }
        let advice = CliError::new(
            "release.left",
            format!(
                "devices that run {version} stay on it: nothing moves a device back in silence"
            ),
        )
        .hint(format!(
            "to move them, publish the good code under a version higher than {version}"
        ));
        self.out.warning(&advice);
    }
}
