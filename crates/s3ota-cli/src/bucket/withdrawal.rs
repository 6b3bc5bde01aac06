//! A yank: a version is withdrawn, and its channels go back to the newest good one.
//!
//! The mark comes first. From then on nobody can publish or promote the version. A command that puts it on a channel looks for
//! the mark afterwards, and this one reads the channels after it has made the mark, so one of the two sees the other.

use s3ota_manifest::{ManifestDocument, Rollout, Version, layout};
use serde_json::json;

use super::artefacts;
use super::catalogue::{self, Yank};
use super::channel::{self, ATTEMPTS, Act, ChangeArgs, Channel};
use super::resign::{self, Doubt, Origin, SigningHost, Wanted};
use super::seal::Lifetime;
use crate::clock;
use crate::error::CliError;
use crate::output::Output;
use crate::s3::{Condition, Location, Put, Store, Upload};
use crate::versions;

/// A channel that no longer serves the version.
struct Taken {
    /// Whether its devices may go back.
    may_go_back: bool,
}

/// The result.
#[derive(Default)]
struct Done {
    /// The channels whose devices may go back.
    allowed: Vec<String>,
    /// The other channels that served the version.
    silent: Vec<String>,
    /// The channels that this host's state has no entry for. `None` if it has all of them, or nothing is signed.
    unknown: Option<Vec<String>>,
    /// The channels that were paused on it before, and stay so.
    paused: Vec<String>,
}

/// The change of a channel.
struct Change<'a> {
    /// The release it goes back to; `None` if it is paused.
    back: Option<ManifestDocument>,
    /// What signs it, and the proof that it may be signed.
    signing: Option<(&'a SigningHost, Origin)>,
    /// The new manifest.
    manifest: ManifestDocument,
}

/// A version to yank, and how.
pub struct Withdrawal<'a> {
    /// The version.
    pub version: String,
    /// The reason, for the history.
    pub reason: Option<&'a str>,
    /// Whether devices that run it may go back.
    pub allow_downgrade: bool,
    /// Whether to go on where this host knows a newer release than the bucket holds.
    pub newer_is_lost: bool,
    /// How long the manifests are valid; `None` for as long as those before.
    pub lifetime: Option<Lifetime>,
    /// The name for the history, ACLs, --dry-run.
    pub change: &'a ChangeArgs,
    /// What signs; `None` if nothing is signed.
    pub host: Option<&'a SigningHost>,
    /// The bucket.
    pub store: &'a Store,
    /// Where the releases are.
    pub location: &'a Location,
    /// Where it is reported.
    pub out: &'a Output,
}

impl Withdrawal<'_> {
    /// Marks the version, and makes every channel that serves it go back.
    pub async fn carry_out(&self) -> Result<(), CliError> {
        self.must_be_possible().await?;
        if !self.dry_run() {
            self.mark().await?;
        }
        let mut done = Done::default();
        let channels = catalogue::channels(self.store, self.prefix()).await?;
        done.unknown = self.unknown(&channels);
        for channel in channels {
            let has_it = channel.readable().is_some_and(|it| self.is_yanked(it));
            let name = channel.name.clone();
            match self.take_off(channel).await? {
                Some(Taken { may_go_back: true }) => done.allowed.push(name),
                Some(_) => done.silent.push(name),
                None if has_it => done.paused.push(name),
                None => {}
            }
        }
        channel::warn_of_store(self.store, self.out);
        self.say_what_is_left(&done);
        Ok(())
    }

    fn prefix(&self) -> &str {
        &self.location.prefix
    }

    fn is_yanked(&self, manifest: &ManifestDocument) -> bool {
        manifest.version == self.version
    }

    /// Whether a channel has gone back from the version already.
    fn went_back(&self, manifest: &ManifestDocument) -> bool {
        let says = |field: &str, text: &str| {
            manifest.extra.get(field).and_then(|it| it.as_str()) == Some(text)
        };
        // These fields are not signed; but nobody can go back to something newer.
        let is_lower = versions::by_precedence(&manifest.version, &self.version).is_lt();
        is_lower && says("action", "yank") && says("from", &self.version)
    }

    fn dry_run(&self) -> bool {
        self.change.dry_run
    }

    /// The entry in the history.
    fn act<'a>(&self, current: &ManifestDocument, change: &Change<'a>) -> Act<'a> {
        Act {
            action: "yank",
            from: Some(self.version.clone()),
            by: self.change.by(),
            signing: change.signing,
            lifetime: self.lifetime.or_else(|| channel::lifetime(current)),
            unsigned: self.change.unsigned,
            legacy: None,
        }
    }

    /// Refuses a version that was never released, most likely misspelt. Whatever prevents signing is reported before anything is
    /// changed.
    async fn must_be_possible(&self) -> Result<(), CliError> {
        let wanted = std::slice::from_ref(&self.version);
        let recorded = catalogue::records(self.store, self.prefix(), wanted).await?;
        // A version that was published by hand has no record.
        let mut exists = !recorded.is_empty();
        let channels = catalogue::channels(self.store, self.prefix()).await?;
        let mut unknown = Vec::new();
        for channel in &channels {
            let Ok(manifest) = channel.manifest(self.store) else {
                continue;
            };
            exists |= self.is_yanked(manifest);
            let change = match self.change_of(channel).await {
                Err(Doubt::Unknown { error, version }) => {
                    unknown.push((version, error));
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
        // The release that a channel could go back to is the more useful hint, before that another one would be paused.
        let is_of_pause = |(version, _): &(String, CliError)| *version == self.version;
        if let Some((_, error)) = unknown.into_iter().min_by_key(is_of_pause) {
            return Err(error);
        }
        if let Some(host) = self.host {
            self.nothing_is_hidden(host, &channels)?;
            // Everything else that shows it may have been deleted, with its mark.
            exists |= host.knows_yanked(&self.version);
        }
        if exists {
            return Ok(());
        }
        let message = format!("there is no release {} at {}", self.version, self.location);
        Err(CliError::new("release.unknown", message).hint("`s3ota list` shows the releases"))
    }

    /// Refuses where a channel does not show what this host knows that it serves: it would be left with the yanked version, once
    /// that is put back.
    fn nothing_is_hidden(&self, host: &SigningHost, channels: &[Channel]) -> Result<(), CliError> {
        for channel in channels {
            host.present(channel)?;
        }
        for (name, newest) in host.channels() {
            if newest.version != self.version || self.newer_is_lost {
                continue;
            }
            match channels.iter().find(|channel| channel.name == name) {
                Some(channel) => host.must_have_signed(channel)?,
                None => {
                    let found = format!("there is no manifest of {name} at {}", self.location);
                    return Err(resign::replayed(&found, &name, &newest));
                }
            }
        }
        Ok(())
    }

    /// Marks the version for good.
    async fn mark(&self) -> Result<(), CliError> {
        let version = Version::parse(&self.version)
            .map_err(|error| CliError::new("publish.version", error.to_string()))?;
        let key = layout::yanked_key(self.prefix(), &version)
            .map_err(|error| CliError::new("s3.url", error.to_string()))?;
        let yank = Yank {
            date: Some(clock::timestamp().to_string()),
            by: self.change.by(),
            reason: self.reason.map(str::to_owned),
        };
        let json = yank.to_json(&self.version);
        let upload = Upload {
            public_read: self.change.public_read,
            ..Upload::manifest(&key, &json)
        };
        // A mark that is there stays, with its name and its reason.
        let put = self.store.put_if(&Condition::Absent, &upload).await?;
        let existed = put != Put::Written;
        let note = if existed { " already" } else { "" };
        let version = &self.version;
        self.out.say(format_args!(
            "{version} is marked as yanked{note}: it cannot be published or promoted"
        ));
        self.out
            .event("yanked", json!({ "version": version, "existed": existed }));
        match self.host {
            Some(host) => host.remember_yanked(version),
            None => Ok(()),
        }
    }

    /// The change of a channel, if it needs one.
    async fn change_of(&self, channel: &Channel) -> Result<Option<Change<'_>>, Doubt> {
        let Ok(current) = channel.manifest(self.store) else {
            return Ok(None);
        };
        let vouch = |meant: Option<&str>| match self.host {
            Some(host) => {
                let vouched = host.vouch(channel, self.store, meant)?;
                Ok(Some((host, Origin::Bucket(vouched))))
            }
            None => Ok::<_, Doubt>(None),
        };
        if !self.is_yanked(current) {
            if !(self.allow_downgrade && self.went_back(current) && !current.downgrade) {
                return Ok(None);
            }
            resign::refuse_yanked(self.host, self.store, self.prefix(), &current.version).await?;
            let meant = self.host.and_then(|host| host.intent().version.as_deref());
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
        // A channel without a good release is paused. This host knows that it is the newest manifest that serves the version, and not
        // one that was put back; or the user, by --version, has checked.
        let meant = self.host.and_then(|host| host.intent().version.as_deref());
        Ok(Some(Change {
            back: None,
            signing: vouch(meant.map(|_| &*self.version))?,
            manifest: ManifestDocument {
                rollout: paused,
                ..current.clone()
            },
        }))
    }

    /// The release that a channel goes back to, if there is one.
    async fn back(
        &self,
        channel: &Channel,
        current: &ManifestDocument,
    ) -> Result<Option<Change<'_>>, Doubt> {
        let wanted = |min_version| Wanted {
            current,
            min_version,
        };
        let Some(host) = self.host else {
            let wanted = wanted(current.min_version.as_deref());
            let good = resign::newest_good(self.store, self.prefix(), channel, &wanted).await?;
            return Ok(good.map(|good| Change {
                back: Some(good.clone()),
                signing: None,
                manifest: good,
            }));
        };
        // First of all: the history is what came before this manifest.
        host.must_have_signed(channel)?;
        let min_version = host.last(channel)?.min_version;
        let wanted = wanted(min_version.as_deref());
        let ancestor = host.ancestor(self.store, self.prefix(), channel, &wanted);
        Ok(ancestor.await?.map(|(good, vouched)| Change {
            back: Some(good.clone()),
            signing: Some((host, Origin::Bucket(vouched))),
            manifest: good,
        }))
    }

    /// Makes a channel go back to what it served before, if it serves the version; `None` if it does not.
    async fn take_off(&self, mut channel: Channel) -> Result<Option<Taken>, CliError> {
        for _ in 0..ATTEMPTS {
            let Some(change) = self.change_of(&channel).await? else {
                self.leave(&channel).await?;
                return Ok(None);
            };
            let act = self.act(channel.manifest(self.store)?, &change);
            let Change {
                back, mut manifest, ..
            } = change;
            manifest.downgrade = back.is_some() && self.allow_downgrade;
            artefacts::leave_out_missing(self.store, self.prefix(), &mut manifest).await;
            channel.stamp(&mut manifest, &act).await?;
            if !self.dry_run() {
                let public_read = self.change.public_read;
                let put = channel.try_replace(self.store, &manifest, self.host, public_read);
                // Someone changed the channel in the meantime: look again at what it serves.
                if put.await? != Put::Written {
                    if let Some(host) = self.host {
                        host.look_again()?;
                    }
                    channel = Channel::read(self.store, self.prefix(), &channel.name).await?;
                    continue;
                }
            }
            self.tell(&channel.name, back.as_ref());
            return Ok(Some(Taken {
                may_go_back: manifest.downgrade,
            }));
        }
        let message = format!(
            "the channel {} keeps changing, and may still serve {}",
            channel.name, self.version
        );
        Err(CliError::new("s3.conflict", message).hint("stop whatever publishes, and yank again"))
    }

    /// A channel that needs no change. The command that took the version off may have been interrupted before it updated the
    /// manifests of legacy clients.
    async fn leave(&self, channel: &Channel) -> Result<(), CliError> {
        if !self.dry_run() {
            channel
                .update_legacy(self.store, self.change.public_read)
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
                "{name} {pause} paused: it has never served another release that is good, of the same project, chip and board, and whose image exists"
            )),
        }
    }

    /// The channels that this host's state has no entry for: their manifests may have been put back. `None` if there are none.
    fn unknown(&self, channels: &[Channel]) -> Option<Vec<String>> {
        let host = self.host?;
        let unknown = channels
            .iter()
            .filter(|channel| host.known(&channel.name).is_none())
            .map(|channel| channel.name.clone());
        let unknown: Vec<_> = unknown.collect();
        (!unknown.is_empty() || host.channels().is_empty()).then_some(unknown)
    }

    /// Reports what the user has to know and to do.
    fn say_what_is_left(&self, done: &Done) {
        let version = &self.version;
        let (allowed, silent) = (&done.allowed, &done.silent);
        for name in &done.paused {
            self.out.prose(format_args!(
                "{name} stays paused on {version}: it has no release to go back to"
            ));
        }
        if allowed.is_empty() && silent.is_empty() {
            match &done.unknown {
                None if !done.paused.is_empty() => {}
                None => self.out.say(format_args!("no channel serves {version}")),
                Some(unknown) => self.out.warning(&cannot_tell(version, unknown)),
            }
        }
        if self.dry_run() {
            self.out
                .say("nothing was changed; without --dry-run this is done");
            return;
        }
        if !allowed.is_empty() {
            self.out.prose(format_args!(
                "devices{} that run {version} may go back, until the permission ends; devices that do not know the date stay",
                of_channels(allowed)
            ));
        }
        if allowed.is_empty() || !silent.is_empty() {
            let stay = format!(
                "devices{} that run {version} stay on it: nothing moves a device back silently",
                of_channels(silent)
            );
            let advice = CliError::new("release.left", stay).hint(format!(
                "to move them, publish the good code under a version higher than {version}"
            ));
            self.out.warning(&advice);
        }
    }
}

/// ` of stable and beta`; empty for no channels.
fn of_channels(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => format!(" of {}", names.join(" and ")),
    }
}

/// Nothing in the bucket serves a version, and this host cannot know whether that is true.
fn cannot_tell(version: &str, unknown: &[String]) -> CliError {
    let of = match unknown {
        [] => "what was served here".to_owned(),
        unknown => unknown.join(", "),
    };
    let message = format!(
        "nothing in the bucket serves {version} now; but this host knows nothing about {of}, and cannot tell whether something older \
         was put back there"
    );
    CliError::new("sign.unknown", message).hint(
        "compare with `s3ota status` on the host that has released, and yank there; or copy its state: `s3ota state export` there, \
         `s3ota state import` here",
    )
}
