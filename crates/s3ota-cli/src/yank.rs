//! `s3ota yank`: a release is withdrawn, and its channels go back to the newest good one.
//!
//! The mark comes first. From then on nobody can publish or promote the version: whoever puts it on a channel looks for
//! the mark afterwards, and this command looks at the channels after it made the mark, so one of the two sees the other.

use clap::Args;
use s3ota_manifest::{ManifestDocument, Rollout, Version, layout};
use serde_json::json;

use crate::anew::{self, Desk, Origin, Said, Wanted};
use crate::catalogue::{self, Yank};
use crate::channel::{self, ATTEMPTS, Act, ChangeArgs, Channel, PlaceArgs};
use crate::clock;
use crate::error::CliError;
use crate::output::Output;
use crate::s3::{Condition, Location, S3Args, Store, Upload};
use crate::seal::{self, SealArgs};

/// Withdraw a release
///
/// The version is marked, for good: it cannot be published or promoted any more. Every channel that serves it goes back to
/// the release it served before, the newest one that is not withdrawn; a channel that never served another one is paused.
///
/// Where releases are signed, that is the release before as this host remembers it (`s3ota state show`): the history lies in the
/// bucket, where somebody may have changed it. Where this host remembers none, or the bucket says otherwise, name the release to go
/// back to with --version.
///
/// Devices that run the withdrawn release stay on it: nothing moves them back in silence. Build the good code under a
/// higher version and publish that; or let them go back with --allow-downgrade, a permission that is signed and ends.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota yank s3://my-bucket/lamp 1.3.0 --reason 'loses its Wi-Fi after a day'
  s3ota yank s3://my-bucket/lamp 1.3.0 --dry-run
  s3ota yank s3://my-bucket/lamp 1.3.0 --key kms:alias/lamp-release --version 1.2.0
  s3ota yank s3://my-bucket/lamp 1.3.0 --allow-downgrade --expires 14d --key release.key")]
pub struct YankArgs {
    #[command(flatten)]
    pub place: PlaceArgs,

    /// The version to withdraw
    #[arg(id = "release", value_name = "VERSION")]
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

    /// The version that channels go back to. It must be named where this host does not remember which one it is, as on a fresh
    /// CI machine; where no channel ever served another one, name the withdrawn version itself, and they are paused
    #[arg(id = "meant", long = "version", value_name = "VERSION")]
    pub back_to: Option<String>,

    /// What this host knows to be newer than what lies in the bucket is lost for good, as in a bucket restored from a backup: go
    /// on from what lies there. Without this, nothing is signed where something older was put back
    #[arg(long)]
    pub newer_is_lost: bool,

    #[command(flatten)]
    pub s3: S3Args,
}

/// Withdraws a release.
pub async fn run(args: YankArgs, out: &Output) -> Result<(), CliError> {
    let version = Version::parse(&args.version).map_err(|error| {
        CliError::new("publish.version", format!("{}: {error}", args.version)).usage()
    })?;
    if args.allow_downgrade {
        seal::may_allow_downgrade(&args.seal, args.change.signs(&args.seal))?;
    }
    let said = Said {
        version: args.back_to.as_deref().map(anew::canonical).transpose()?,
        newer_is_lost: args.newer_is_lost,
        ..Said::default()
    };
    let signer = args.change.signer(&args.seal, &args.s3).await?;
    let (location, store) = args.place.open(&args.s3).await?;
    let desk = match &signer {
        Some(signer) => Some(Desk::open(signer, &store, &location, said).await?),
        None => None,
    };
    let yank = Yanking {
        version: version.to_string(),
        args: &args,
        desk: desk.as_ref(),
        store: &store,
        location: &location,
        out,
    };
    yank.must_be_possible().await?;
    if !args.change.dry_run {
        yank.mark().await?;
    }
    let mut done = Done::default();
    let channels = catalogue::channels(&store, &location.prefix).await?;
    done.unknown = yank.unknown(&channels);
    for channel in channels {
        match yank.take_off(channel).await? {
            Some(Taken { may_go_back: true }) => done.allowed += 1,
            Some(_) => done.silent += 1,
            None => {}
        }
    }
    channel::warn_of_store(&store, out);
    yank.say_what_is_left(&done);
    Ok(())
}

/// That a channel does not serve the version any more.
struct Taken {
    /// Whether its devices may go back.
    may_go_back: bool,
}

/// What was done.
#[derive(Default)]
struct Done {
    /// The channels whose devices may go back.
    allowed: u32,
    /// The others that served the version.
    silent: u32,
    /// The channels of which this host knows nothing. `None` if it knows all of them, or signs nothing.
    unknown: Option<Vec<String>>,
}

/// What is to be done to a channel.
struct Change<'a> {
    /// The release it goes back to; `None` if it is paused.
    back: Option<ManifestDocument>,
    /// What signs it, and that it may be signed.
    signing: Option<(&'a Desk<'a>, Origin)>,
    /// What it shall hold.
    manifest: ManifestDocument,
}

struct Yanking<'a> {
    version: String,
    args: &'a YankArgs,
    desk: Option<&'a Desk<'a>>,
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
        // What it says is not signed; but nobody can go back to something newer.
        let is_lower = catalogue::by_version(&manifest.version, &self.version).is_lt();
        is_lower && says("action", "yank") && says("from", &self.version)
    }

    fn dry_run(&self) -> bool {
        self.args.change.dry_run
    }

    /// What is done to a channel that serves it.
    fn act<'a>(&self, current: &ManifestDocument, change: &Change<'a>) -> Act<'a> {
        Act {
            action: "yank",
            from: Some(self.version.clone()),
            by: self.args.change.by(),
            signing: change.signing,
            lifetime: self
                .args
                .seal
                .expires
                .or_else(|| channel::lifetime(current)),
            unsigned: self.args.change.unsigned,
            older: None,
        }
    }

    /// A version that nobody released is most likely misspelt; and what is in the way of signing is said before anything is
    /// done.
    async fn must_be_possible(&self) -> Result<(), CliError> {
        let wanted = std::slice::from_ref(&self.version);
        let recorded = catalogue::records(self.store, self.prefix(), wanted).await?;
        // One that was published by hand has no record.
        let mut exists = !recorded.is_empty();
        let channels = catalogue::channels(self.store, self.prefix()).await?;
        let mut unknown = Vec::new();
        for channel in &channels {
            let Ok(manifest) = channel.manifest(self.store) else {
                continue;
            };
            exists |= self.is_yanked(manifest);
            let change = match self.change(channel).await {
                Err(error) if error.code == "sign.unknown" => {
                    unknown.push(error);
                    continue;
                }
                change => change?,
            };
            if let Some(change) = change
                && let Some(warning) = channel.may_be_signed_so(&self.act(manifest, &change))?
            {
                self.out.warning(&warning);
            }
        }
        // The release that a channel could go back to says more than that another one would be paused.
        let is_of_pause = |error: &CliError| {
            error
                .hint
                .as_ref()
                .is_some_and(|it| it.contains(&self.version))
        };
        if let Some(error) = unknown.into_iter().min_by_key(is_of_pause) {
            return Err(error);
        }
        if let Some(desk) = self.desk {
            self.nothing_is_hidden(desk, &channels)?;
            // Everything that shows it may have been deleted, with its mark.
            exists |= desk.knows_yanked(&self.version);
        }
        if exists {
            return Ok(());
        }
        let message = format!("there is no release {} at {}", self.version, self.location);
        Err(CliError::new("release.unknown", message).hint("`s3ota list` shows the ones there are"))
    }

    /// Refuses where a channel does not show what this host knows it serves: it would be left with what is withdrawn, once that
    /// is put back.
    fn nothing_is_hidden(&self, desk: &Desk<'_>, channels: &[Channel]) -> Result<(), CliError> {
        for channel in channels {
            desk.present(channel)?;
        }
        for (name, newest) in desk.channels() {
            if newest.version != self.version || self.args.newer_is_lost {
                continue;
            }
            match channels.iter().find(|channel| channel.name == name) {
                Some(channel) => desk.must_have_signed(channel)?,
                None => {
                    let found = format!("there is no manifest of {name} at {}", self.location);
                    return Err(anew::replayed(&found, &name, &newest));
                }
            }
        }
        Ok(())
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
        match self.desk {
            Some(desk) => desk.remember_yanked(version),
            None => Ok(()),
        }
    }

    /// What is to be done to a channel, if anything is.
    async fn change(&self, channel: &Channel) -> Result<Option<Change<'_>>, CliError> {
        let Ok(current) = channel.manifest(self.store) else {
            return Ok(None);
        };
        let vouch = |meant: Option<&str>| match self.desk {
            Some(desk) => {
                let vouched = desk.vouch(channel, self.store, meant)?;
                Ok(Some((desk, Origin::Bucket(vouched))))
            }
            None => Ok::<_, CliError>(None),
        };
        if !self.is_yanked(current) {
            if !(self.args.allow_downgrade && self.went_back(current) && !current.downgrade) {
                return Ok(None);
            }
            anew::refuse_yanked(self.desk, self.store, self.prefix(), &current.version).await?;
            let meant = self.desk.and_then(|desk| desk.said().version.as_deref());
            return Ok(Some(Change {
                back: Some(current.clone()),
                signing: vouch(meant)?,
                manifest: current.clone(),
            }));
        }
        if let Some(change) = self.back(channel, current).await? {
            return Ok(Some(change));
        }
        let paused = Rollout::from_percent(0).ok();
        if current.rollout == paused {
            return Ok(None);
        }
        // A channel without a good one is paused. That it is the newest that serves the version, and not what someone put back
        // there, this host knows; or who says --version has looked.
        let meant = self.desk.and_then(|desk| desk.said().version.as_deref());
        Ok(Some(Change {
            back: None,
            signing: vouch(meant.map(|_| &*self.version))?,
            manifest: ManifestDocument {
                rollout: paused,
                ..current.clone()
            },
        }))
    }

    /// What a channel that serves the version goes back to, if to anything.
    async fn back(
        &self,
        channel: &Channel,
        current: &ManifestDocument,
    ) -> Result<Option<Change<'_>>, CliError> {
        let wanted = |floor| Wanted {
            yanked: &self.version,
            floor,
        };
        let Some(desk) = self.desk else {
            let wanted = wanted(current.min_version.as_deref());
            let good = anew::newest_good(self.store, self.prefix(), channel, &wanted).await?;
            return Ok(good.map(|good| Change {
                back: Some(good.clone()),
                signing: None,
                manifest: good,
            }));
        };
        // Before anything of it counts: the history is what came before this one.
        desk.must_have_signed(channel)?;
        let floor = desk.last(channel)?.min_version;
        let wanted = wanted(floor.as_deref());
        let ancestor = desk.ancestor(self.store, self.prefix(), channel, &wanted);
        Ok(ancestor.await?.map(|(good, vouched)| Change {
            back: Some(good.clone()),
            signing: Some((desk, Origin::Bucket(vouched))),
            manifest: good,
        }))
    }

    /// Lets a channel go back to what it served before, if it serves the version; `None` if it does not.
    async fn take_off(&self, mut channel: Channel) -> Result<Option<Taken>, CliError> {
        for _ in 0..ATTEMPTS {
            let Some(change) = self.change(&channel).await? else {
                self.leave(&channel).await?;
                return Ok(None);
            };
            let act = self.act(channel.manifest(self.store)?, &change);
            let Change {
                back, mut manifest, ..
            } = change;
            manifest.downgrade = back.is_some() && self.args.allow_downgrade;
            channel.stamp(&mut manifest, &act).await?;
            if !self.dry_run() {
                match channel
                    .replace(
                        self.store,
                        &manifest,
                        self.desk,
                        self.args.change.public_read,
                    )
                    .await
                {
                    // Someone changed the channel meanwhile: look again at what it serves.
                    Err(error) if error.code == "s3.conflict" => {
                        if let Some(desk) = self.desk {
                            desk.look_again()?;
                        }
                        channel = Channel::read(self.store, self.prefix(), &channel.name).await?;
                        continue;
                    }
                    result => result?,
                }
            }
            self.tell(&channel.name, back.as_ref());
            return Ok(Some(Taken {
                may_go_back: manifest.downgrade,
            }));
        }
        let message = format!(
            "the channel {} is changed by others all the time, and may still serve {}",
            channel.name, self.version
        );
        Err(CliError::new("s3.conflict", message).hint("stop whatever publishes, and yank again"))
    }

    /// A channel on which nothing is to be changed: not taken off. Whoever took the version off may have been cut off before
    /// he had told devices with older libraries.
    async fn leave(&self, channel: &Channel) -> Result<(), CliError> {
        if !self.dry_run() {
            channel
                .update_older(self.store, self.args.change.public_read)
                .await?;
        }
        Ok(())
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

    /// The channels of which this host knows nothing: what lies there may have been put back. `None` if there is none such.
    fn unknown(&self, channels: &[Channel]) -> Option<Vec<String>> {
        let desk = self.desk?;
        let unknown = channels
            .iter()
            .filter(|channel| desk.known(&channel.name).is_none())
            .map(|channel| channel.name.clone());
        let unknown: Vec<_> = unknown.collect();
        (!unknown.is_empty() || desk.channels().is_empty()).then_some(unknown)
    }

    /// What a person has to know and to do.
    fn say_what_is_left(&self, done: &Done) {
        let version = &self.version;
        let served = done.allowed + done.silent;
        if served == 0 {
            match &done.unknown {
                None => self.out.say(format_args!("no channel serves {version}")),
                Some(unknown) => self.out.warning(&cannot_tell(version, unknown)),
            }
        }
        if self.dry_run() {
            self.out
                .say("nothing was changed; without --dry-run this is done");
            return;
        }
        if done.allowed > 0 {
            self.out.say(format_args!(
                "devices that run {version} may go back, until the permission ends; those that do not know the date stay"
            ));
        }
        if done.allowed == 0 || done.silent > 0 {
            let stay = format!(
                "devices that run {version} stay on it: nothing moves a device back in silence"
            );
            let advice = CliError::new("release.left", stay).hint(format!(
                "to move them, publish the good code under a version higher than {version}"
            ));
            self.out.warning(&advice);
        }
    }
}

/// Nothing in the bucket serves a version, and this host cannot know whether that is so.
fn cannot_tell(version: &str, unknown: &[String]) -> CliError {
    let of = match unknown {
        [] => "what was served here".to_owned(),
        unknown => unknown.join(", "),
    };
    let message = format!(
        "nothing that lies in the bucket now serves {version}; but this host knows nothing of {of}, and cannot tell whether something \
         older was put back there"
    );
    CliError::new("sign.unknown", message).hint(
        "compare with `s3ota status` on the host that has released, and yank there; or bring over what it knows: `s3ota state export` \
         there, `s3ota state import` here",
    )
}
