//! Whether a boot that could not be counted may be a trial boot.

use s3ota::{Error, LayoutError};

/// Whether the firmware may be on trial after the guard has failed with this error.
///
/// It is not if the library cannot have started a trial: with a partition table that has no slots for it; and on a chip with
/// flash encryption, because esp-storage reads flash as it is. In all other cases the boot must be limited.
pub(crate) fn may_be_on_trial(error: &Error, is_encrypted: bool) -> bool {
    match error {
        Error::Layout(LayoutError::NoOtadata | LayoutError::TooFewSlots | LayoutError::Slots) => {
            false
        }
        Error::Layout(LayoutError::Table(_)) => !is_encrypted,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use s3ota_image::partition::PartitionError;

    use super::*;

    #[test]
    fn a_table_without_room_for_a_trial_leaves_no_doubt() {
        for table in [
            LayoutError::NoOtadata,
            LayoutError::TooFewSlots,
            LayoutError::Slots,
        ] {
            assert!(!may_be_on_trial(&table.clone().into(), false), "{table}");
        }
    }

    #[test]
    fn a_flash_that_cannot_be_read_leaves_it_open_unless_it_is_encrypted() {
        let unreadable: Error = LayoutError::Table(PartitionError::NoEndMarker).into();
        assert!(may_be_on_trial(&unreadable, false));
        assert!(!may_be_on_trial(&unreadable, true));
        let nowhere: Error = LayoutError::RunningUnknown { offset: 0x1_0000 }.into();
        assert!(may_be_on_trial(&nowhere, false));
        assert!(may_be_on_trial(&nowhere, true));
        assert!(may_be_on_trial(&Error::TrialBoots(0), false));
    }
}
