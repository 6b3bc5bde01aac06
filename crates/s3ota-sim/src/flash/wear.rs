//! How much a flash is used.

use super::power::Operation;

/// The unit of erasing.
const SECTOR: u32 = 4096;

/// How much a flash has been used since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wear {
    /// Erase operations, of whatever length.
    pub erases: u32,
    /// Sectors erased.
    pub sectors: u32,
    /// Program operations.
    pub programs: u32,
    /// Bytes programmed.
    pub bytes: u64,
}

impl Wear {
    pub(super) fn count(&mut self, operation: &Operation) {
        match operation {
            Operation::Erase { .. } => {
                self.erases += 1;
                self.sectors += operation.length() / SECTOR;
            }
            Operation::Program { .. } => {
                self.programs += 1;
                self.bytes += u64::from(operation.length());
            }
        }
    }
}
