use super::*;
use crate::{FlashError, Mix, PowerCut, Tear};
use s3ota_image::Chip;
use s3ota_image::app::{Descriptor, Hardware, Header, ImageBuilder, Misfit};
use s3ota_image::otadata::{RECORD_LEN, Record, State};
use sha2::Digest;

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

// ---- What an image asks of the chip ----

/// A flash with this image in ota_1, in force, and an ordinary one in ota_0.
fn flash_with(image: &[u8]) -> Flash {
    let records = [record(1, State::Valid), record(2, State::New)];
    let mut bytes = flash(false, records, &[0]).bytes().to_vec();
    bytes[0x20000..0x20000 + image.len()].copy_from_slice(image);
    Flash::in_memory(bytes)
}

/// Whether an image boots on this chip, rather than the one before.
fn boots_on(silicon: impl Into<Silicon>, image: &[u8]) -> bool {
    let mut flash = flash_with(image);
    let app = Bootloader::default().boot_on(&mut flash, &mut silicon.into());
    app.unwrap().slot == Some(1)
}

fn builder() -> ImageBuilder {
    ImageBuilder::new(Chip::Esp32C3, "1.1.0")
}

fn reason(image: &[u8], hardware: Hardware) -> Option<Misfit> {
    let header = Header::parse(image.first_chunk().unwrap()).unwrap();
    let descriptor = Descriptor::parse(image[32..].first_chunk().unwrap());
    hardware.accepts(&header, descriptor.as_ref()).err()
}

#[test]
fn an_image_for_another_chip_falls_back() {
    let silicon = Silicon {
        chip: Some(Chip::Esp32C3),
        ..Silicon::default()
    };
    assert!(boots_on(silicon, &builder().build()));
    let other = ImageBuilder::new(Chip::Esp32C6, "1.1.0").build();
    assert!(!boots_on(silicon, &other));
    assert!(boots_on(Silicon::default(), &other), "of any chip");
}

/// Two judges that were written apart: the bootloader here, and what a device asks before it writes.
#[test]
fn what_the_library_calls_a_misfit_falls_back_and_nothing_else() {
    let numbers = [0, 1, 3, 100, 199, 300, 301, 25_185, 65_534, 65_535];
    let mut flash = flash_with(&builder().build());
    let mut boots_on = |hardware: Hardware, image: &[u8]| {
        flash.erase_now(0x20000, 0x21000).unwrap();
        flash.program_now(0x20000, image).unwrap();
        let app = Bootloader::default().boot_on(&mut flash, &mut hardware.into());
        app.unwrap().slot == Some(1)
    };
    let mut refused = 0;
    for found in numbers {
        for least in numbers {
            for greatest in numbers {
                for lifted in [false, true] {
                    let chip = Hardware {
                        revision: Some(found),
                        any_max_revision: lifted,
                        ..Hardware::default()
                    };
                    let block = Hardware {
                        block_revision: Some(found),
                        any_max_block_revision: lifted,
                        ..Hardware::default()
                    };
                    for (hardware, image) in [
                        (chip, builder().revisions(least, greatest)),
                        (block, builder().block_revisions(least, greatest)),
                    ] {
                        let image = image.build();
                        let misfit = reason(&image, hardware);
                        refused += usize::from(misfit.is_some());
                        assert_eq!(boots_on(hardware, &image), misfit.is_none(), "{misfit:?}");
                    }
                }
            }
        }
    }
    assert!(refused > 500, "{refused}");
}

#[test]
fn the_esp32_has_no_efuse_block_revision() {
    let image = |chip| ImageBuilder::new(chip, "1").block_revisions(100, 0).build();
    let hardware = Hardware {
        block_revision: Some(0),
        ..Hardware::default()
    };
    assert!(boots_on(hardware, &image(Chip::Esp32)));
    assert!(!boots_on(hardware, &image(Chip::Esp32C3)));
}

#[test]
fn without_a_descriptor_whatever_lies_in_its_place_is_taken_for_the_limits() {
    let image = |byte| builder().without_descriptor().payload(&[byte; 256]).build();
    let hardware = Hardware {
        block_revision: Some(100),
        ..Hardware::default()
    };
    assert!(boots_on(hardware, &image(0)));
    assert!(
        !boots_on(hardware, &image(0x62)),
        "v251.86, which no chip has"
    );
}

#[test]
fn a_segment_that_pages_cannot_put_where_it_is_to_lie_falls_back() {
    for chip in Chip::ALL {
        let built = ImageBuilder::new(chip, "1.1.0").build();
        assert!(boots_on(Silicon::default(), &built));
        for off in [4, 0x1000] {
            let mut image = built.clone();
            let address = u32::from_le_bytes(image[24..28].try_into().unwrap()) + off;
            image[24..28].copy_from_slice(&address.to_le_bytes());
            let end = image.len() - 32;
            let digest: [u8; 32] = sha2::Sha256::digest(&image[..end]).into();
            image[end..].copy_from_slice(&digest);
            assert!(!boots_on(Silicon::default(), &image), "{chip}");
        }
    }
}

fn anti_rollback(secure_version: u32) -> Silicon {
    Silicon::from(Hardware {
        secure_version: Some(secure_version),
        ..Hardware::default()
    })
}

#[test]
fn with_anti_rollback_a_lower_secure_version_does_not_boot() {
    let image = |version| builder().secure_version(version).build();
    // The one before has secure version 0: at 0 it is the way back, above nothing boots.
    for (image, burnt, boots) in [
        (image(0), 0, Some(1)),
        (image(3), 3, Some(1)),
        (image(4), 3, Some(1)),
        (image(2), 3, None),
        (
            builder().without_descriptor().payload(&[0; 256]).build(),
            0,
            Some(0),
        ),
    ] {
        let mut flash = flash_with(&image);
        let app = Bootloader::default().boot_on(&mut flash, &mut anti_rollback(burnt));
        assert_eq!(app.ok().and_then(|app| app.slot), boots, "{burnt}");
        if image[32..36] == [0x32, 0x54, 0xCD, 0xAB] {
            let hardware = anti_rollback(burnt).hardware;
            assert_eq!(reason(&image, hardware).is_none(), boots == Some(1));
        }
    }
}

#[test]
fn with_anti_rollback_the_secure_version_of_a_confirmed_app_is_burnt() {
    let mut flash = flash_with(&builder().secure_version(5).build());
    let mut silicon = anti_rollback(0);
    let bootloader = Bootloader::default();
    assert_eq!(
        bootloader.boot_on(&mut flash, &mut silicon).unwrap().slot,
        Some(1)
    );
    assert_eq!(
        silicon.hardware.secure_version,
        Some(0),
        "not while it is new"
    );

    flash.erase_now(0xe000, 0xf000).unwrap();
    flash
        .program_now(0xe000, &record(2, State::Valid).emit())
        .unwrap();
    assert_eq!(
        bootloader.boot_on(&mut flash, &mut silicon).unwrap().slot,
        Some(1)
    );
    assert_eq!(silicon.hardware.secure_version, Some(5));

    // The way back is gone, whatever otadata says.
    flash.erase_now(0xe000, 0xf000).unwrap();
    flash
        .program_now(0xe000, &record(2, State::Aborted).emit())
        .unwrap();
    assert_eq!(
        bootloader.boot_on(&mut flash, &mut silicon).unwrap().slot,
        Some(1)
    );
}
