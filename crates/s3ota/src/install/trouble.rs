//! The error that does not go away.

/// How many checks in a row end in the same error before a device calls itself stuck.
const STUCK: u8 = 3;

/// An error in which one check after another ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// Its code, and zeros behind it. All zeros if there is none.
    pub(crate) code: [u8; Self::LONGEST],
    /// How often, up to [`STUCK`].
    pub(crate) times: u8,
}

impl Trouble {
    /// The bytes of the longest code.
    pub(crate) const LONGEST: usize = 20;

    /// One more check has ended so.
    pub(crate) fn again(&mut self, code: &str) {
        let mut again = Self::default();
        let bytes = again.code.iter_mut().zip(code.bytes());
        bytes.for_each(|(to, from)| *to = from);
        if self.code == again.code {
            again.times = self.times.min(STUCK);
        }
        again.times += 1;
        *self = again;
    }

    /// The code, if there is an error.
    pub(crate) fn code(&self) -> Option<&str> {
        let code = self.code.split(|byte| *byte == 0).next()?;
        let code = core::str::from_utf8(code).ok();
        code.filter(|code| !code.is_empty())
    }

    /// Whether so many checks ended so that the device calls itself stuck.
    pub(crate) fn is_lasting(&self) -> bool {
        self.times >= STUCK
    }
}
