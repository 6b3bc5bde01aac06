//! The story of one device, from all that it said.

use s3ota_answers::{Event, What};

use crate::request::{Outcome, Said, Stands, Version};
use crate::time::rfc3339;

fn name(versions: &[String], version: Version) -> String {
    versions
        .get(usize::from(version))
        .cloned()
        .unwrap_or_default()
}

/// The state as the User-Agent has it.
pub(crate) fn state(stands: Stands, versions: &[String]) -> String {
    match stands {
        Stands::Valid => "valid".to_owned(),
        Stands::Trial(boot) => format!("trial:{boot}/{}", s3ota::DEFAULT_TRIAL_BOOTS),
        Stands::Back(from) => format!("back:{}", name(versions, from)),
        Stands::Stuck(code) => format!("stuck:{code}"),
    }
}

/// The outcome as the User-Agent has it, empty if there is none.
pub(crate) fn last(last: Option<Outcome>, versions: &[String]) -> String {
    match last {
        None => String::new(),
        Some(Outcome::Done(version)) => format!("ok@{}", name(versions, version)),
        Some(Outcome::Failed(code, Some(version))) => {
            format!("{code}@{}", name(versions, version))
        }
        Some(Outcome::Failed(code, None)) => code.to_owned(),
    }
}

/// What happened, by what changed from one request to the next. What a request does not say has not changed.
pub(crate) fn tell(
    told: &[(u64, Said)],
    versions: &[String],
    start: u64,
    newest: u64,
    silent: u64,
) -> Vec<Event> {
    let time = |second: u64| rfc3339(start + second);
    let name = |version| name(versions, version);
    let mut story = Vec::new();
    let mut tell = |at: u64, what: What| {
        story.push(Event { at: time(at), what });
    };
    let mut before: Option<(u64, Said)> = None;
    let mut error: Option<&str> = None;
    for &(at, said) in told {
        let version = name(said.firmware);
        let mut changed = false;
        match before {
            None => tell(at, What::Seen { version }),
            Some((then, was)) => {
                if at - then > silent {
                    let until = Some(time(at));
                    tell(then, What::Silent { until });
                }
                changed = was.firmware != said.firmware;
                if changed {
                    let from = name(was.firmware);
                    tell(at, What::Version { from, to: version });
                }
            }
        }
        let version = name(said.firmware);
        let was = before.map(|(_, was)| was.stands);
        let was_on_trial = matches!(was, Some(Stands::Trial(_)));
        match said.stands {
            Stands::Trial(_) if changed || !was_on_trial => tell(at, What::Trial { version }),
            Stands::Valid if was_on_trial && !changed => tell(at, What::Confirmed { version }),
            Stands::Back(from) if was != Some(said.stands) => {
                tell(at, What::RolledBack { of: name(from) });
            }
            _ => {}
        }
        let failed = match said.last {
            Some(Outcome::Failed(code, _)) => Some(Some(code)),
            Some(Outcome::Done(_)) => Some(None),
            None => None,
        };
        if let Some(failed) = failed {
            match (failed, error) {
                (Some(code), known) if known != failed => {
                    let code = code.to_owned();
                    tell(at, What::Error { code });
                }
                (None, Some(_)) => tell(at, What::Recovered),
                _ => {}
            }
            error = failed;
        }
        before = Some((at, said));
    }
    if let Some((then, _)) = before
        && newest - then > silent
    {
        tell(then, What::Silent { until: None });
    }
    story
}
