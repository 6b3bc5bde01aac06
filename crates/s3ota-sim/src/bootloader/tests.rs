use super::*;
use crate::{FlashError, Mix, PowerCut, Tear};
use s3ota_image::Chip;
use s3ota_image::app::ImageBuilder;
use s3ota_image::otadata::{RECORD_LEN, Record, State};

const SLOTS: &str = "
    otadata, data, ota,     0xd000,   0x2000
    ota_0,   app,  ota_0,   0x10000,  0x10000
    ota_1,   app,  ota_1,   0x20000,  0x10000
    ota_2,   app,  ota_2,   0x30000,  0x10000
";
const FACTORY: &str = "factory, app, factory, 0x40000, 0x10000\n";

/// A flash with these records, and whole images in the slots named.
fn flash(factory: bool, records: [Record; 2], images: &[u32]) -> Flash {
    let csv = if factory {
        format!("{SLOTS}{FACTORY}")
    } else {
        SLOTS.to_owned()
    };
    let image = ImageBuilder::new(Chip::Esp32C3, "1.0.0").build();
    let mut bytes = crate::Setup::from_csv(&csv).unwrap().flash(&image).unwrap();
    for slot in 0..3u32 {
        let at = 0x10000 + slot as usize * 0x10000;
        let held: &[u8] = if images.contains(&slot) {
            &image
        } else {
            &[0xff; 64]
        };
        bytes[at..at + held.len()].copy_from_slice(held);
    }
    for (at, record) in [0xd000, 0xe000].into_iter().zip(records) {
        bytes[at..at + RECORD_LEN].copy_from_slice(&record.emit());
    }
    Flash::in_memory(bytes)
}

fn record(sequence: u32, state: State) -> Record {
    Record::new(sequence, state, [0xff; 20])
}

fn torn(sequence: u32, state: State) -> Record {
    Record {
        crc: 0,
        ..record(sequence, state)
    }
}

/// What boots: `Some(None)` is the factory app.
fn boots(flash: &mut Flash) -> Option<Option<u8>> {
    Bootloader::default().boot(flash).ok().map(|app| app.slot)
}

const ALL: &[u32] = &[0, 1, 2];
const BLANK: Record = Record::ERASED;

#[test]
fn the_valid_record_with_the_higher_sequence_decides() {
    use State::*;
    let table = [
        ([record(1, Valid), record(2, Valid)], Some(1)),
        ([record(5, Valid), record(4, Valid)], Some(1)),
        ([record(3, New), BLANK], Some(2)),
        ([record(1, Valid), record(2, Undefined)], Some(1)),
        ([record(1, Valid), record(2, PendingVerify)], Some(1)),
        ([record(1, Valid), record(2, Aborted)], Some(0)),
        ([record(1, Valid), record(2, Invalid)], Some(0)),
        ([record(1, Valid), torn(2, New)], Some(0)),
        ([torn(1, New), record(7, Other(77))], Some(0)),
    ];
    for (records, slot) in table {
        assert_eq!(
            boots(&mut flash(true, records, ALL)),
            Some(slot),
            "{records:?}"
        );
        assert_eq!(
            boots(&mut flash(false, records, ALL)),
            Some(slot),
            "{records:?}"
        );
    }
}

#[test]
fn without_a_usable_record_it_is_the_factory_app_or_the_first_slot() {
    use State::*;
    for records in [
        [BLANK, BLANK],
        [record(2, Aborted), BLANK],
        [record(2, Invalid), record(3, Aborted)],
        // Neither valid nor invalid: "factory, else all slots in turn" comes to the same first choice.
        [torn(2, New), BLANK],
        [torn(2, New), torn(3, Valid)],
    ] {
        assert_eq!(
            boots(&mut flash(true, records, ALL)),
            Some(None),
            "{records:?}"
        );
        assert_eq!(
            boots(&mut flash(false, records, ALL)),
            Some(Some(0)),
            "{records:?}"
        );
    }
}

#[test]
fn an_image_that_fails_its_checks_makes_it_try_the_lower_ones_then_the_higher() {
    let records = [record(2, State::Valid), BLANK];
    assert_eq!(boots(&mut flash(false, records, &[0, 2])), Some(Some(0)));
    assert_eq!(boots(&mut flash(false, records, &[2])), Some(Some(2)));
    assert_eq!(boots(&mut flash(true, records, &[2])), Some(None));
    assert_eq!(boots(&mut flash(false, records, &[])), None);
}

#[test]
fn blank_otadata_without_a_factory_app_gets_its_first_record() {
    let mut flash = flash(false, [BLANK, BLANK], &[1]);
    assert_eq!(boots(&mut flash), Some(Some(1)));
    let mut bytes = [0; RECORD_LEN];
    flash.read_now(0xd000, &mut bytes).unwrap();
    assert_eq!(Record::parse(&bytes), record(2, State::Valid));
}

#[test]
fn with_app_rollback_new_becomes_pending_and_pending_aborted() {
    let rollback = Bootloader { app_rollback: true };
    let mut flash = flash(false, [record(1, State::Valid), record(2, State::New)], ALL);
    let state = |flash: &mut Flash| {
        let mut bytes = [0; RECORD_LEN];
        flash.read_now(0xe000, &mut bytes).unwrap();
        Record::parse(&bytes).state
    };
    assert_eq!(rollback.boot(&mut flash).unwrap().slot, Some(1));
    assert_eq!(state(&mut flash), State::PendingVerify);
    assert_eq!(rollback.boot(&mut flash).unwrap().slot, Some(0));
    assert_eq!(state(&mut flash), State::Aborted);
    assert_eq!(rollback.boot(&mut flash).unwrap().slot, Some(0));
}

#[test]
fn power_may_fail_while_the_bootloader_writes() {
    let rollback = Bootloader { app_rollback: true };
    let records = [record(1, State::Valid), record(2, State::New)];
    // In its erase, between the two, and in its program: then the old image boots.
    for (operation, reached) in [(0, 32), (1, 0), (1, 30)] {
        let mut flash = flash(false, records, ALL);
        let tear = Tear {
            reached,
            mix: Mix::InOrder,
        };
        flash.cut_power(PowerCut {
            operation,
            tear,
            flaky: false,
        });
        let cut = rollback.boot(&mut flash);
        assert!(matches!(cut, Err(BootError::Flash(FlashError::NoPower))));
        flash.restore_power();
        assert_eq!(rollback.boot(&mut flash).unwrap().slot, Some(0));
    }
}
