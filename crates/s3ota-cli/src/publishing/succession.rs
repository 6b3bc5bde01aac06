//! Whether a release may follow what a channel serves.

use clap::Args;
use s3ota_manifest::{ManifestDocument, Sha256Digest, Version};

use crate::error::CliError;
use crate::firmware::OwnVersion;

/// The heading of options that allow what looks like a mistake.
pub const MISTAKES: &str = "What looks like a mistake";

/// What may be released although it looks like a mistake.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = MISTAKES)]
pub struct SuccessionArgs {
    /// Release for another chip than the channel's: devices of the old one get no more updates from it
    #[arg(long)]
    pub other_chip: bool,

    /// Release another project than the channel's: devices take it only if their firmware expects the new name
    #[arg(long)]
    pub other_project: bool,

    /// Release for another board than the channel's, or for all: devices of the old one may get no more updates from it
    #[arg(long)]
    pub other_board: bool,

    /// Release a lower version than the channel's: devices that have the higher one keep it
    #[arg(long)]
    pub lower_version: bool,

    /// Release the same image under another version
    #[arg(long)]
    pub same_image: bool,
}

/// What is to follow.
pub struct Successor<'a> {
    pub version: &'a str,
    pub sha256: Option<Sha256Digest>,
    pub chip: Option<&'a str>,
    pub project: Option<&'a str>,
    pub board: Option<&'a str>,
}

impl<'a> Successor<'a> {
    /// A release that another channel serves.
    pub fn of(manifest: &'a ManifestDocument) -> Self {
        Self {
            version: &manifest.version,
            sha256: manifest.sha256,
            chip: manifest.chip.as_deref(),
            project: manifest.project.as_deref(),
            board: manifest.board.as_deref(),
        }
    }

    /// Refuses what must not follow `current` on `channel`, or what looks like a mistake and `args` do not allow. If `current` does not
    /// count, because someone else signed it, the latter is only a warning.
    pub fn may_follow(
        &self,
        current: &ManifestDocument,
        channel: &str,
        args: &SuccessionArgs,
        downgrade: bool,
        counts: bool,
    ) -> Result<Option<CliError>, CliError> {
        let objection = self.objection(current, channel, args, downgrade);
        match objection {
            Some(objection) if counts => Err(objection),
            warning => {
                self.must_be_the_same(current)?;
                Ok(warning.or_else(|| self.new_board(current, channel)))
            }
        }
    }

    /// A warning where the channel's releases had no board until now.
    fn new_board(&self, current: &ManifestDocument, channel: &str) -> Option<CliError> {
        let (Some(board), None) = (self.board, &current.board) else {
            return None;
        };
        let message = format!(
            "the releases on the channel {channel} had no board before, and this one is for {board}: devices with another board in their \
             settings refuse it, and devices without a board there install it on any hardware"
        );
        Some(CliError::new("publish.board", message).hint(
            "use one prefix for each board, and set the board in the firmware; devices that follow this channel now may need a release \
             without a board first",
        ))
    }

    /// Why its version is too far above that of `current`, as part of a sentence.
    pub fn leap(&self, current: &ManifestDocument) -> Option<String> {
        let new = Version::parse(self.version).ok()?;
        leap(&new, &Version::parse(&current.version).ok()?)
    }

    /// Why it should not follow `current` on `channel`, unless `args` say that it may. The reason that explains the others comes
    /// first. `downgrade` is whether devices are allowed to go back.
    pub(super) fn objection(
        &self,
        current: &ManifestDocument,
        channel: &str,
        args: &SuccessionArgs,
        downgrade: bool,
    ) -> Option<CliError> {
        let error =
            |code, message: String, hint: &str| Some(CliError::new(code, message).hint(hint));
        if let (Some(chip), Some(before)) = (self.chip, current.chip.as_deref())
            && chip != before
            && !args.other_chip
        {
            return error(
                "publish.chip",
                format!(
                    "the channel {channel} is for {before}, and this firmware is for {chip}: the {before} devices would get no more updates"
                ),
                "use one prefix for each product and kind of chip; or --other-chip to give the channel to the new one",
            );
        }
        // A manifest without a chip was written by hand, and says nothing about the project.
        if self.project != current.project.as_deref()
            && (current.project.is_some() || current.chip.is_some())
            && !args.other_project
        {
            let of = |project: Option<&str>| match project {
                Some(project) => format!("of the project {project}"),
                None => "that names no project".to_owned(),
            };
            let (before, new) = (of(current.project.as_deref()), of(self.project));
            return error(
                "publish.project",
                format!(
                    "the channel {channel} serves a firmware {before}, and this is one {new}: its devices refuse that"
                ),
                "use one prefix for each product; or --other-project if the project was renamed, and the devices expect the new name",
            );
        }
        if let Some(before) = current.board.as_deref()
            && self.board != Some(before)
            && !args.other_board
        {
            let serves =
                format!("the channel {channel} is for the board {before}, and this release");
            return error(
                "publish.board",
                match self.board {
                    Some(board) => {
                        format!("{serves} is for {board}: the {before} devices would refuse it")
                    }
                    None => format!(
                        "{serves} names none: devices of other boards would install it, too"
                    ),
                },
                &format!(
                    "publish it with --board {before}, or use one prefix for each board; or --other-board if it is meant"
                ),
            );
        }
        let (Ok(new), Ok(old)) = (
            Version::parse(self.version),
            Version::parse(&current.version),
        ) else {
            return None;
        };
        if !downgrade && !args.lower_version && new.differs_in_commit_only(&old) {
            return error(
                "publish.downgrade",
                format!(
                    "the channel {channel} serves {old}, and {new} is as many commits after the tag, on another branch: which is newer \
                     cannot be told, and devices go by the letters of the commits"
                ),
                "tag the commit and build it again; or --lower-version for the devices that do not have the other one yet",
            );
        }
        if new < old && !downgrade && !args.lower_version {
            return error(
                "publish.downgrade",
                format!(
                    "the channel {channel} serves {old}, and no device that has it goes back to {new}"
                ),
                "to withdraw a release, use s3ota yank, or publish the old code again under a higher version; or --lower-version for the \
                 devices that do not have it yet",
            );
        }
        if new != old && self.sha256.is_some() && self.sha256 == current.sha256 && !args.same_image
        {
            return error(
                "publish.same_image",
                format!(
                    "the channel {channel} serves this very image as {old}: under {new} it is the same firmware again"
                ),
                "build the firmware again with the new version, and publish that; or --same-image if it is meant",
            );
        }
        None
    }

    /// Refuses other bytes under the version that the channel serves.
    pub fn must_be_the_same(&self, current: &ManifestDocument) -> Result<(), CliError> {
        let (Ok(new), Ok(old)) = (
            Version::parse(self.version),
            Version::parse(&current.version),
        ) else {
            return Ok(());
        };
        let same_bytes =
            current.sha256.is_none() || self.sha256.is_none() || current.sha256 == self.sha256;
        if new == old && !same_bytes {
            return Err(already_there(self.version));
        }
        Ok(())
    }

    /// Refuses a version whose record names other bytes.
    pub fn must_be_recorded_as(&self, record: &[u8]) -> Result<(), CliError> {
        let record = ManifestDocument::parse(record).ok();
        let record = match record {
            Some(record) if record.sha256 == self.sha256 => return Ok(()),
            record => record,
        };
        let before = record.as_ref().and_then(|record| record.chip.as_deref());
        match (self.chip, before) {
            (Some(chip), Some(before)) if chip != before => {
                let version = self.version;
                let message = format!(
                    "{version} is published here already, for {before}, and this firmware is for {chip}"
                );
                Err(CliError::new("publish.exists", message)
                    .hint("use one prefix for each product and kind of chip"))
            }
            _ => Err(already_there(self.version)),
        }
    }
}

fn already_there(version: &str) -> CliError {
    let message = format!(
        "{version} is published already, with another image: devices that have it would never take this one, \
         since its version is not higher"
    );
    CliError::new("publish.exists", message)
        .hint("raise the version of the firmware, build it and publish that")
}

/// The largest step of a major version that is taken for one. Beyond it the new version is a date, a commit or a slip.
const LEAP: u64 = 10;

/// Why a version looks like a mistake where the last one was `current`, as part of a sentence. `own` is how the image spells it.
pub fn oddity(
    own: &OwnVersion,
    version: &Version<'_>,
    current: Option<&Version<'_>>,
) -> Option<String> {
    let text = &own.text;
    if text.len() >= own.room {
        return Some(format!(
            "`{text}` fills the field for the version, so the build may have cut it off"
        ));
    }
    let is_dirty = |identifiers: &str| identifiers.split(['.', '-']).any(|it| it == "dirty");
    if is_dirty(version.pre()) || is_dirty(version.build()) {
        return Some(format!(
            "{version} was built from files that are not committed"
        ));
    }
    current.and_then(|current| leap(version, current))
}

/// Why a version is too far above the last one, as part of a sentence.
fn leap(version: &Version<'_>, current: &Version<'_>) -> Option<String> {
    let is_leap = version.major() > current.major().saturating_add(LEAP);
    is_leap.then(|| {
        format!(
            "{version} is far above {current}, and devices that take it refuse every lower version from then on"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn odd(text: &str, current: &str) -> bool {
        let version = Version::parse(text).unwrap();
        let own = OwnVersion {
            text: text.to_owned(),
            room: 31,
        };
        oddity(&own, &version, Version::parse(current).ok().as_ref()).is_some()
    }

    #[test]
    fn versions_that_look_like_mistakes_are_noticed() {
        for text in [
            "1.2.3-dirty",
            "1.2.3-9-g0a1b2c3-dirty",
            "1.2.3+dirty",
            "2026.11.28",
            "1.2.3-rc.1-10-g0a1b2c3d4e5f6-di",
        ] {
            assert!(odd(text, "1.2.2"), "{text}");
        }
        for text in [
            "1.2.3",
            "2.0.0",
            "11.0.0",
            "1.2.3-9-g0a1b2c3",
            "1.2.20261128",
            "1.3.0-dirtyish",
        ] {
            assert!(!odd(text, "1.2.2"), "{text}");
        }
        assert!(!odd("2026.11.28", "2025.1.0"));
        assert!(!odd("2026.11.28", ""), "the first of a channel");
    }
}
