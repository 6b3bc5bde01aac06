//! What a perfect observer of the bucket would answer to each question of `s3ota fleet`.

use std::collections::BTreeMap;

use s3ota_answers::{Device, Errors, Mix, Release, Status};
use serde::Serialize;

/// All the answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Truth {
    /// The time of the newest request of a device.
    pub at: String,
    /// `fleet status`.
    pub status: Status,
    /// `fleet rollout`, by version.
    pub rollouts: BTreeMap<String, Rollout>,
    /// `fleet mix`.
    pub mix: Vec<Mix>,
    /// `fleet errors`.
    pub errors: Vec<Errors>,
    /// `fleet device`, by device, of small fleets only.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub devices: BTreeMap<String, Device>,
}

/// How a release went. What that means is not for the observer to say.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rollout {
    /// Its figures.
    #[serde(flatten)]
    pub release: Release,
    /// Those of the next lower version that was seen.
    pub before: Option<Release>,
}
