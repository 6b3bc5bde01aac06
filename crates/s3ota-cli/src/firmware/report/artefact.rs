//! A delta or a compressed image, as its header describes it.

use std::fmt;

use s3ota_codec::{Header, Refused, Section, VERSION, encode};
use serde_json::{Value, json};

use crate::error::CliError;
use crate::output::{bytes, hex};

/// What an artefact says of itself.
#[derive(Debug, Clone)]
pub struct ArtefactReport {
    header: Header,
    length: usize,
}

impl ArtefactReport {
    /// From the artefact's bytes.
    pub fn of(bytes: &[u8]) -> Result<Self, CliError> {
        let header = Header::parse(bytes).map_err(refused)?;
        let length = bytes.len();
        Ok(Self { header, length })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Whether the artefact is whole, as far as its `bytes` alone can show: a compressed image is unpacked, and each section of a delta
    /// must begin in them.
    pub fn check(&self, bytes: &[u8]) -> Result<(), CliError> {
        if self.header.base_size == 0 {
            return encode::apply(&[], bytes).map(drop).map_err(refused);
        }
        let begins = |section: &Section| (section.artefact as usize) < bytes.len();
        match self.header.sections().iter().all(begins) {
            true => Ok(()),
            false => Err(refused(Refused::Truncated)),
        }
    }

    /// The report for programs. `base` is null if the artefact needs none.
    pub fn to_json(&self) -> Value {
        let needs_base = self.header.base_size > 0;
        json!({
            "format": VERSION,
            "bytes": self.length,
            "base": needs_base.then(|| hex(&self.header.base)),
            "base_bytes": self.header.base_size,
            "result": hex(&self.header.result),
            "result_bytes": self.header.result_size,
            "sections": self.header.sections().len(),
        })
    }
}

/// An artefact that cannot be used, and what to do.
pub fn refused(refused: Refused) -> CliError {
    let error = CliError::new("delta.invalid", refused.to_string());
    match refused {
        Refused::Version(_) => error.hint("use the version of s3ota that made it, or a newer one"),
        Refused::Base { .. } => error.hint("name the image that it was made from"),
        _ => error.hint("the file is damaged: make it again with `s3ota delta`"),
    }
}

impl fmt::Display for ArtefactReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = &self.header;
        if header.base_size > 0 {
            writeln!(f, "a delta, {}", bytes(self.length as u64))?;
            writeln!(f, "  applies to  {}", bytes(header.base_size.into()))?;
            writeln!(f, "    sha256    {}", hex(&header.base))?;
        } else {
            writeln!(f, "a compressed image, {}", bytes(self.length as u64))?;
        }
        writeln!(f, "  makes       {}", bytes(header.result_size.into()))?;
        writeln!(f, "    sha256    {}", hex(&header.result))?;
        write!(f, "  format      {VERSION}")?;
        match header.sections().len() {
            1 => Ok(()),
            n => write!(
                f,
                ", in {n} sections: a download that is cut off resumes at one"
            ),
        }
    }
}
