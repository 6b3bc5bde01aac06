//! A request as S3 sees it, and what the device says in it.

use s3ota::manifest::user_agent::{Bootloader, Boots, Fetched, Last, State, UserAgent};

/// The place of a release in the scenario's list: what stands for its version.
pub(crate) type Version = u8;

/// What a device says about itself, with versions by their place in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) firmware: Version,
    pub(crate) stands: Stands,
    pub(crate) last: Option<Outcome>,
    pub(crate) bootloader: Option<Bootloader>,
    pub(crate) fetched: Option<Fetched>,
}

/// How the running firmware stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stands {
    Valid,
    /// On trial, in this boot.
    Trial(u8),
    /// It runs because this release was rolled back.
    Back(Version),
    Stuck(&'static str),
}

/// How the last update ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done(Version),
    Failed(&'static str, Option<Version>),
}

/// What a device asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Object {
    Manifest,
    Image,
    Artefact,
}

/// A request of a device, and the answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'r> {
    /// The second from the start. A device makes one request a second at most.
    pub(crate) at: u64,
    pub(crate) said: Said,
    pub(crate) object: Object,
    pub(crate) key: &'r str,
    pub(crate) status: u16,
    /// The code of S3's error.
    pub(crate) error: Option<&'static str>,
    /// Bytes of the body that were sent.
    pub(crate) sent: u64,
    /// Bytes of the object, if it was found.
    pub(crate) size: Option<u32>,
    /// Milliseconds until the last byte was sent, and until the first.
    pub(crate) took: u64,
    pub(crate) turned: u64,
}

impl Said {
    /// The User-Agent's fields.
    pub(crate) fn agent<'a>(
        &self,
        device: Option<&'a str>,
        chip: &'a str,
        versions: &'a [String],
    ) -> UserAgent<'a> {
        let version = |index: Version| versions.get(usize::from(index)).map_or("", String::as_str);
        UserAgent {
            library: env!("CARGO_PKG_VERSION"),
            device,
            firmware: Some(version(self.firmware)),
            chip: Some(chip),
            state: Some(match self.stands {
                Stands::Valid => State::Valid,
                Stands::Trial(boot) => State::Trial(Some(Boots {
                    boot,
                    of: s3ota::DEFAULT_TRIAL_BOOTS,
                })),
                Stands::Back(from) => State::Back(version(from)),
                Stands::Stuck(code) => State::Stuck(code),
            }),
            bootloader: self.bootloader,
            last: self.last.map(|last| match last {
                Outcome::Done(of) => Last::Ok {
                    version: version(of),
                },
                Outcome::Failed(code, of) => Last::Error {
                    code,
                    version: of.map(version),
                },
            }),
            image: self.fetched,
        }
    }
}
