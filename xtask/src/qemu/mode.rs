//! The two ways to a firmware on trial.

use std::fmt;
use std::path::{Path, PathBuf};

/// Who boots a firmware on trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Mode {
    /// The bootloader: `TrialMode::Switch`.
    Switch,
    /// The firmware before it: `TrialMode::Launch`.
    Launch,
}

impl Mode {
    /// Both.
    pub fn all() -> Vec<Mode> {
        vec![Self::Switch, Self::Launch]
    }

    /// The features of the example that it is built with.
    pub fn features(self) -> &'static str {
        match self {
            Self::Switch => "qemu",
            Self::Launch => "qemu,launch",
        }
    }

    /// Where the flashes, the firmwares and the transcript are.
    pub fn dir(self, dir: &Path) -> PathBuf {
        match self {
            Self::Switch => dir.to_owned(),
            Self::Launch => dir.join("launch"),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Switch => "switch",
            Self::Launch => "launch",
        })
    }
}
