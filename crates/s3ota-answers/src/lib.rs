#![doc = include_str!("../README.md")]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What stands for a version, chip, bootloader or state that the logs do not tell.
pub const UNKNOWN: &str = "unknown";

/// How many devices have each value.
pub type Counts = BTreeMap<String, u64>;

/// `fleet status`: the fleet as of one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The moment: the newest sighting, or the one that was asked for.
    pub at: String,
    /// All devices in the logs.
    pub devices: u64,
    /// Those seen within a time before the moment: `24h`, `7d`, `30d`.
    pub seen: Counts,
    /// By the firmware of each device's last sighting.
    pub versions: Counts,
    /// By its chip.
    pub chips: Counts,
    /// By its kind of bootloader.
    pub boot: Counts,
    /// By the channel of the last sighting that has one.
    pub channels: Counts,
    /// Devices that run a firmware on trial.
    pub on_trial: u64,
    /// Devices that run a firmware because a release was rolled back.
    pub rolled_back: u64,
    /// Devices whose last checks all ended in the same error.
    pub stuck: u64,
    /// Devices whose last update attempt ended in an error.
    pub failing: u64,
    /// Those, by the error's code.
    pub errors: Counts,
    /// Devices not seen for longer than `silent_after`.
    pub silent: u64,
    /// After what time a device counts as silent, in seconds.
    pub silent_after: u64,
    /// The silent ones, the longest silent first.
    pub silent_devices: Vec<Silent>,
    /// Requests of devices that do not send their ids. A log line that was delivered twice may count twice.
    pub without_id: u64,
    /// How far the newest release has come.
    pub rollout: Option<Progress>,
}

/// A device that is silent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silent {
    /// Its id.
    pub device: String,
    /// When it was last seen.
    pub since: String,
    /// What it ran then.
    pub version: String,
}

/// How far a channel's release has come, beside the percentage that it was published with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The channel.
    pub channel: String,
    /// Its release: the manifest's, or the highest version seen.
    pub version: String,
    /// The percentage of devices that may take it, where the bucket was asked.
    pub percent: Option<f64>,
    /// The devices of the channel.
    pub devices: u64,
    /// Those that run the release.
    pub running: u64,
    /// `running` of `devices`, from 0 to 1.
    pub share: f64,
}

/// `fleet device ID`: the story of one device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its id.
    pub device: String,
    /// When it was first seen.
    pub first_seen: String,
    /// When it was last seen.
    pub last_seen: String,
    /// What it ran then.
    pub version: String,
    /// On which chip.
    pub chip: String,
    /// The channel it asked for last.
    pub channel: String,
    /// Its state, as it tells it: `valid`, `trial:N/M`, `back:VERSION`, `stuck:CODE`.
    pub state: String,
    /// The outcome of its last update attempt, as it tells it: `ok@VERSION`, `CODE`, `CODE@VERSION`.
    pub last: String,
    /// What happened, the oldest first.
    pub story: Vec<Event>,
}

/// Something that happened to a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When it was first seen to be so.
    pub at: String,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What can happen to a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// It was seen for the first time.
    Seen {
        /// What it ran.
        version: String,
    },
    /// Its firmware is another one.
    Version {
        /// What it ran before.
        from: String,
        /// What it runs now.
        to: String,
    },
    /// A firmware is on trial.
    Trial {
        /// Which.
        version: String,
    },
    /// The trial went well.
    Confirmed {
        /// Of what.
        version: String,
    },
    /// It went back from a release.
    RolledBack {
        /// From which.
        of: String,
    },
    /// An update attempt ended in an error.
    Error {
        /// Its code.
        code: String,
    },
    /// The first attempt that ended well after an error.
    Recovered,
    /// It was not seen for longer than `silent_after`; `at` is when it was last seen before.
    Silent {
        /// When it was seen again, if it was.
        until: Option<String>,
    },
}

/// `fleet rollout`: how a release does.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// The figures of the release.
    #[serde(flatten)]
    pub release: Release,
    /// Those of the release before.
    pub before: Option<Release>,
    /// What they mean.
    pub verdict: Verdict,
    /// The same in a sentence.
    pub sentence: String,
}

/// The figures of a release.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// Its version.
    pub version: String,
    /// When it was published, or first seen to run.
    pub since: Option<String>,
    /// All devices in the logs.
    pub devices: u64,
    /// Devices that have tried it: they have run it, gone back from it, or tried to install it.
    pub tried: u64,
    /// Devices that run it, by their last sighting.
    pub running: u64,
    /// Devices that have confirmed it.
    pub confirmed: u64,
    /// Devices that went back from it, or failed to install it.
    pub failed: u64,
    /// `failed` of `tried`, from 0 to 1.
    pub failure_rate: f64,
    /// How many devices have run it up to a moment: hourly for three days, then daily.
    pub curve: Vec<Point>,
}

/// A point of an adoption curve.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// The moment.
    pub at: String,
    /// Devices that have run the release by then.
    pub running: u64,
}

/// Whether a rollout should go on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Go on.
    Healthy,
    /// Wait and look: too few devices have tried it, or more of them fail than with the release before.
    #[default]
    Watch,
    /// Stop.
    Failing,
}

/// `fleet mix`: devices by version at the end of a day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mix {
    /// The UTC day.
    pub day: String,
    /// A version.
    pub version: String,
    /// How many devices ran it by their last sighting up to the end of the day. Versions without any are left out.
    pub devices: u64,
}

/// `fleet errors`: devices that told of an error, by day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errors {
    /// The UTC day.
    pub day: String,
    /// The error's code.
    pub code: String,
    /// How many devices told of it on that day.
    pub devices: u64,
}

/// All of it: what the page shows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The fleet now.
    pub status: Status,
    /// The newest release, if any was seen.
    pub rollout: Option<Rollout>,
    /// The versions over time.
    pub mix: Vec<Mix>,
    /// The errors over time.
    pub errors: Vec<Errors>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_flat_object() {
        let event = Event {
            at: "2026-11-20T08:00:00Z".into(),
            what: What::RolledBack { of: "1.2.0".into() },
        };
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(
            json,
            serde_json::json!({ "at": "2026-11-20T08:00:00Z", "event": "rolled_back", "of": "1.2.0" })
        );
        assert_eq!(serde_json::from_value::<Event>(json).unwrap(), event);
    }

    #[test]
    fn a_rollout_is_one_object_with_the_release_before_inside() {
        let release = Release {
            version: "1.2.0".into(),
            ..Release::default()
        };
        let rollout = Rollout {
            release,
            before: Some(Release::default()),
            verdict: Verdict::Healthy,
            sentence: String::new(),
        };
        let json = serde_json::to_value(&rollout).unwrap();
        assert_eq!(
            (&json["version"], &json["verdict"]),
            (&"1.2.0".into(), &"healthy".into())
        );
        assert_eq!(json["before"]["version"], "");
        assert_eq!(serde_json::from_value::<Rollout>(json).unwrap(), rollout);
    }
}
