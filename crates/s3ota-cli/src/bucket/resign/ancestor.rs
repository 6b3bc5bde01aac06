//! The release that a channel goes back to when its present one is yanked.
//!
//! The history and the yank marks lie in the bucket, where an attacker can add and remove both. So a channel goes back by itself
//! only to the release that this host's rollback state has as the last good one. Where the state has none, or the bucket
//! disagrees, the owner must name one.

use s3ota_manifest::ManifestDocument;

use super::{Doubt, SigningHost, Vouched, replayed, serial};
use crate::bucket::catalogue;
use crate::bucket::channel::{self, Channel};
use crate::error::CliError;
use crate::keys;
use crate::s3::Store;
use crate::state::rollback::Signed;
use crate::versions;

/// The requirements for the release to go back to.
pub struct Wanted<'a> {
    /// The release to go back from, which is yanked.
    pub current: &'a ManifestDocument,
    /// The version below which devices do not go back.
    pub min_version: Option<&'a str>,
}

impl<'a> Wanted<'a> {
    /// The yanked version.
    fn yanked(&self) -> &'a str {
        &self.current.version
    }

    fn is_allowed(&self, version: &str) -> bool {
        let is_below = |min_version| versions::by_precedence(version, min_version).is_lt();
        version != self.yanked() && !self.min_version.is_some_and(is_below)
    }

    /// Whether a release is for the devices that the present one is for. The channel may have been given to another product.
    fn is_for_the_same(&self, manifest: &ManifestDocument) -> bool {
        let product = |of: &ManifestDocument| (of.project.clone(), of.chip.clone());
        // A manifest that was written by hand may name neither.
        let unknown = (None, None);
        let (new, old) = (product(self.current), product(manifest));
        (new == old || new == unknown || old == unknown) && manifest.board == self.current.board
    }

    fn fits(&self, manifest: &ManifestDocument) -> bool {
        self.is_allowed(&manifest.version) && self.is_for_the_same(manifest)
    }
}

/// The last release in a channel's history that is wanted, not yanked and has its image. Nobody vouches for it.
pub async fn newest_good(
    store: &Store,
    prefix: &str,
    channel: &Channel,
    wanted: &Wanted<'_>,
) -> Result<Option<ManifestDocument>, CliError> {
    let yanked = catalogue::yanked(store, prefix).await?;
    let filed = catalogue::filed(store, prefix, &channel.name, usize::MAX).await?;
    let good = filed
        .iter()
        .rev()
        .filter_map(|(_, held)| held.manifest.as_ref().ok())
        .filter(|manifest| wanted.fits(manifest) && !yanked.contains(&manifest.version));
    for manifest in good {
        if channel::has_image(store, prefix, manifest).await? {
            return Ok(Some(manifest.clone()));
        }
    }
    Ok(None)
}

impl SigningHost {
    /// The release to go back to from what a channel holds now, which is ours and its newest: the one before by this host's rollback
    /// state, or the one that the command line names. `None` if there never was another one.
    pub async fn ancestor(
        &self,
        store: &Store,
        prefix: &str,
        channel: &Channel,
        wanted: &Wanted<'_>,
    ) -> Result<Option<(ManifestDocument, Vouched)>, Doubt> {
        let Some(current) = self.present(channel)? else {
            return Ok(None);
        };
        let before = self.before(store, prefix, channel, current).await?;
        let yanked = catalogue::yanked(store, prefix).await?;
        let is_yanked = |version: &str| yanked.contains(version) || self.knows_yanked(version);
        let expected = self.expected(channel, current, wanted, &before)?;
        let name = &channel.name;
        // A channel that never served another release has nothing to go back to, whatever the others go back to.
        let is_its_only_one = expected.is_none() && !before.iter().any(|it| wanted.fits(it));
        if let Some(meant) = &self.intent().version
            && !is_its_only_one
        {
            let named = before.iter().find(|it| it.version == *meant);
            let problem = match named {
                None => Some(format!("{name} has never served it under this key")),
                Some(_) if !wanted.is_allowed(meant) => Some(match wanted.min_version {
                    Some(min_version) if meant != wanted.yanked() => {
                        format!("devices of {name} do not go below {min_version}")
                    }
                    _ => "it is the one to yank".to_owned(),
                }),
                Some(named) if !wanted.is_for_the_same(named) => Some(format!(
                    "it is of another project, or for another chip or board, than {}",
                    wanted.yanked()
                )),
                Some(_) if is_yanked(meant) => Some("it was yanked".to_owned()),
                Some(named) => {
                    let lack = channel::image_lack(store, prefix, named).await?;
                    lack.map(|lack| lack.message)
                }
            };
            return match (problem, named) {
                (None, Some(named)) => Ok(Some((named.clone(), Vouched(())))),
                (problem, _) => Err(Doubt::Refused(CliError::new(
                    "sign.history",
                    format!(
                        "{name} cannot go back to {meant}: {}. Nothing was signed",
                        problem.unwrap_or_default()
                    ),
                )
                .hint(
                    "name another version with --version, or publish good code under a higher version",
                ))),
            };
        }

        let mut good = None;
        for manifest in &before {
            if wanted.fits(manifest)
                && !is_yanked(&manifest.version)
                && channel::has_image(store, prefix, manifest).await?
            {
                good = Some(manifest);
                break;
            }
        }
        match (expected, good) {
            (None, None) => Ok(None),
            (Some(expected), Some(good)) if Signed::of(good)? == expected => {
                Ok(Some((good.clone(), Vouched(()))))
            }
            (Some(expected), good) => {
                let version = &expected.version;
                let filed = before.iter().find(|it| it.version == *version);
                let why = match filed {
                    _ if yanked.contains(version) => "is marked as yanked, but not by this host",
                    None => "is not in the history",
                    Some(filed) if Signed::of(filed)? != expected => {
                        "is in the history, but not with its last manifest"
                    }
                    Some(_) => "has no image any more",
                };
                let message = format!(
                    "this host knows that {name} served {version} before, but in the bucket {version} {why}. Nothing was signed"
                );
                Err(Doubt::Refused(CliError::new("sign.history", message).hint(match good {
                    Some(good) => format!(
                        "find out who did that. To go back to another release, name it: {} is in the bucket, --version {0}",
                        good.version
                    ),
                    None => format!(
                        "find out who did that. To stop {}, run `s3ota rollout … pause --channel {name}`, or publish good code under a \
                         higher version",
                        wanted.yanked()
                    ),
                })))
            }
            (None, Some(good)) => {
                let message = format!(
                    "by its history, {name} served {} before; this host does not know the release before, and an attacker who can write to \
                     the bucket may have changed the history. Nothing was signed",
                    good.version
                );
                let error = CliError::new("sign.unknown", message).hint(format!(
                    "name the release to go back to, with --version {} if you know from elsewhere that it is the right one; or copy the \
                     state of another host: `s3ota state export` there, `s3ota state import` here",
                    good.version
                ));
                Err(Doubt::Unknown {
                    version: good.version.clone(),
                    error,
                })
            }
        }
    }

    /// What this key signed for a channel before the present manifest, newest first: by the signed serials, not by the names of
    /// objects.
    async fn before(
        &self,
        store: &Store,
        prefix: &str,
        channel: &Channel,
        current: &ManifestDocument,
    ) -> Result<Vec<ManifestDocument>, CliError> {
        let mut before = Vec::new();
        for (key, held) in catalogue::filed(store, prefix, &channel.name, usize::MAX).await? {
            let Ok(manifest) = &held.manifest else {
                continue;
            };
            // Unsigned, or signed by someone else: it has never been a release of this key.
            if keys::verify(held.bytes(), &[self.signer.key()]).is_err() {
                continue;
            }
            // If the release to go back to is named, planted documents beside it do no harm.
            let is_named = self.intent().version.is_some();
            if manifest.channel.as_deref() != Some(&*channel.name) {
                if is_named {
                    continue;
                }
                let message = format!(
                    "{} is in the history of {}, but was signed for {}: someone put it there. Nothing was signed",
                    self.object(&key),
                    channel.name,
                    manifest.channel.as_deref().unwrap_or("no channel")
                );
                return Err(CliError::new("sign.channel", message).hint(
                    "find out who writes to your bucket, and remove the object; or name the release to go back to with --version",
                ));
            }
            if serial(manifest) > serial(current) {
                if self.intent().newer_is_lost {
                    continue;
                }
                let found = format!(
                    "{} holds {} with the serial {}, but {} is newer",
                    self.object(&channel.key),
                    current.version,
                    serial(current),
                    self.object(&key)
                );
                return Err(replayed(&found, &channel.name, &Signed::of(manifest)?));
            }
            before.push(manifest.clone());
        }
        before.sort_by_key(|manifest| std::cmp::Reverse(serial(manifest)));
        Ok(before)
    }

    /// The release to go back to by this host's rollback state. `None` where others have changed the channel since: this host does
    /// not know what they released.
    fn expected(
        &self,
        channel: &Channel,
        current: &ManifestDocument,
        wanted: &Wanted<'_>,
        before: &[ManifestDocument],
    ) -> Result<Option<Signed>, CliError> {
        let Some(known) = self.known(&channel.name) else {
            return Ok(None);
        };
        if known.newest() != Some(&Signed::of(current)?) {
            return Ok(None);
        }
        // The state does not say what a release is for, but its manifest does, and that is signed.
        let others = before.iter().filter(|it| !wanted.is_for_the_same(it));
        let others = others.map(Signed::of).collect::<Result<Vec<_>, _>>()?;
        let is_good = |signed: &&Signed| {
            wanted.is_allowed(&signed.version)
                && !self.knows_yanked(&signed.version)
                && !others.contains(signed)
        };
        Ok(known.releases().find(is_good).cloned())
    }
}
