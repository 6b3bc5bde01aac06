//! How updates ended lately, and what of it the User-Agent tells.

use s3ota_manifest::user_agent::{Last, State, UserAgent};

use crate::check::standing::Told;
use crate::config::{Config, SendId};
use crate::error::{Error, Name};
use crate::install::trouble::Trouble;
use crate::outcome::NoUpdate;

/// How updates ended lately.
#[derive(Default)]
pub(crate) struct Past {
    /// The error of the last one.
    pub(crate) trouble: Trouble,
    /// The release that it was about. Empty where none was known, or nothing was to be done.
    about: Name,
    /// The release that was rolled back, so that this firmware runs again. Empty if there is none.
    back: Name,
}

impl Past {
    /// Takes in how an update ended that was about this release: an error, a reason why nothing was done, or `None` where it came
    /// to its end.
    #[inline(never)]
    pub(crate) fn ended(&mut self, about: &Name, how: Result<Option<NoUpdate>, &Error>) {
        match how {
            // Neither says how the next one will end.
            Err(Error::Worn { .. } | Error::OnTrial) | Ok(Some(NoUpdate::Resting)) => return,
            Err(error) => self.trouble.again(error.code()),
            // Nothing was to be done. That is news where something was wrong.
            Ok(Some(_)) => {
                if self.trouble.code().is_some() {
                    *self = Self::default();
                }
                return;
            }
            Ok(None) => self.trouble = Trouble::default(),
        }
        self.about = about.clone();
    }

    /// What the device tells of itself.
    pub(crate) fn tell<'s>(&'s mut self, config: &'s Config<'_>, told: Told) -> UserAgent<'s> {
        self.back = told.back;
        let code = self.trouble.code();
        let version = Some(&*self.about).filter(|version| !version.is_empty());
        let state = match (&told.trial, code) {
            (Some(boots), _) => State::Trial(boots.told()),
            (None, Some(code)) if self.trouble.is_lasting() => State::Stuck(code),
            (None, _) if !self.back.is_empty() => State::Back(&self.back),
            (None, _) => State::Valid,
        };
        UserAgent {
            library: env!("CARGO_PKG_VERSION"),
            device: match &config.send_id {
                SendId::Plain => Some(config.device_id).filter(|id| !id.is_empty()),
                SendId::Hashed(hashed) => Some(hashed.as_str()),
                SendId::No => None,
            },
            firmware: Some(config.version),
            chip: Some(config.chip.name()),
            state: Some(state),
            bootloader: told.bootloader,
            last: match (code, version) {
                (Some(code), version) => Some(Last::Error { code, version }),
                (None, version) => version.map(|version| Last::Ok { version }),
            },
            image: None,
        }
    }
}
