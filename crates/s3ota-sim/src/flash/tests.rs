use super::*;

const SECTOR_1: u32 = SECTOR as u32;

fn blank() -> Flash {
    Flash::in_memory(vec![0xff; 2 * SECTOR])
}

fn read<const N: usize>(flash: &mut Flash, at: u32) -> [u8; N] {
    let mut bytes = [0; N];
    flash.read_now(at, &mut bytes).unwrap();
    bytes
}

/// Power fails in the next operation.
fn cut(reached: u32, mix: Mix, flaky: bool) -> PowerCut {
    PowerCut {
        operation: 0,
        tear: Tear { reached, mix },
        flaky,
    }
}

#[test]
fn programming_needs_erased_flash_and_whole_words() {
    let mut flash = blank();
    flash.program_now(8, &[1, 2, 3, 4]).unwrap();
    assert!(matches!(
        flash.program_now(8, &[0; 4]),
        Err(FlashError::NotErased { offset: 8 })
    ));
    assert!(matches!(
        flash.program_now(9, &[0; 4]),
        Err(FlashError::NotAligned)
    ));
    assert!(matches!(
        flash.program_now(12, &[0; 3]),
        Err(FlashError::NotAligned)
    ));
    assert!(matches!(
        flash.program_now(2 * SECTOR_1, &[0; 4]),
        Err(FlashError::OutOfBounds)
    ));
    assert!(matches!(
        flash.erase_now(0, 100),
        Err(FlashError::NotAligned)
    ));
    assert!(matches!(
        flash.erase_now(SECTOR_1, 0),
        Err(FlashError::OutOfBounds)
    ));
    flash.erase_now(0, SECTOR_1).unwrap();
    assert!(flash.bytes().iter().all(|&byte| byte == 0xff));
    assert_eq!(
        flash.wear(),
        Wear {
            erases: 1,
            sectors: 1,
            programs: 1,
            bytes: 4
        }
    );
}

#[test]
fn with_rewrites_programming_clears_more_bits_and_sets_none() {
    let mut flash = blank().with_rewrites();
    flash.program_now(0, &[0x0f; 4]).unwrap();
    flash.program_now(0, &[0x33; 4]).unwrap();
    assert_eq!(read(&mut flash, 0), [0x03; 4]);
}

#[test]
fn a_file_holds_every_operation_at_once() {
    let path = std::env::temp_dir().join(format!("s3ota-flash-{}.bin", std::process::id()));
    std::fs::write(&path, vec![0xff; 2 * SECTOR]).unwrap();
    let mut flash = Flash::open(&path).unwrap();
    flash.program_now(SECTOR_1, b"text").unwrap();
    // Not closed, not flushed: what another process sees now is what a killed one leaves.
    assert_eq!(std::fs::read(&path).unwrap(), flash.bytes());
    flash.cut_power(cut(2, Mix::InOrder, false));
    assert!(matches!(
        flash.program_now(0, b"torn"),
        Err(FlashError::NoPower)
    ));
    assert_eq!(&std::fs::read(&path).unwrap()[..4], b"to\xff\xff");
    std::fs::write(&path, b"short").unwrap();
    assert_eq!(
        Flash::open(&path).unwrap_err().kind(),
        io::ErrorKind::InvalidData
    );
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn power_fails_in_the_operation_asked_for_and_then_nothing_works() {
    let mut flash = blank();
    flash.cut_power(PowerCut {
        operation: 1,
        ..cut(3, Mix::InOrder, false)
    });
    flash.program_now(0, b"one.").unwrap();
    assert!(matches!(
        flash.program_now(4, b"two."),
        Err(FlashError::NoPower)
    ));
    assert!(!flash.has_power());
    assert!(matches!(
        flash.read_now(0, &mut [0; 4]),
        Err(FlashError::NoPower)
    ));
    assert!(matches!(
        flash.erase_now(0, SECTOR_1),
        Err(FlashError::NoPower)
    ));
    flash.restore_power();
    assert_eq!(&read::<8>(&mut flash, 0), b"one.two\xff");
    assert_eq!(flash.wear().programs, 1, "a torn operation counts as none");
}

#[test]
fn a_record_holds_what_was_done_and_does_it_again() {
    let mut flash = blank();
    flash.program_now(0, b"old.").unwrap();
    let mut copy = flash.bytes().to_vec();
    flash.record();
    flash.erase_now(0, SECTOR_1).unwrap();
    flash.program_now(16, b"new.").unwrap();
    let record = flash.take_record();
    assert_eq!(record.len(), 2);
    record
        .iter()
        .for_each(|operation| operation.apply(&mut copy));
    assert_eq!(copy, flash.bytes());
}

#[test]
fn flaky_bits_read_differently_until_they_are_erased() {
    let text = [0; 64];
    // A seed that leaves some bits unsettled.
    let mut flash = blank();
    flash.cut_power(cut(0, Mix::Seeded(2), true));
    assert!(flash.program_now(0, &text).is_err());
    flash.restore_power();
    let first: [u8; 64] = read(&mut flash, 0);
    assert!((0..20).any(|_| read::<64>(&mut flash, 0) != first));
    assert_eq!(
        read(&mut flash, 64),
        [0xff; 64],
        "beyond the page nothing is flaky"
    );
    flash.erase_now(0, SECTOR_1).unwrap();
    assert!((0..20).all(|_| read(&mut flash, 0) == [0xff; 64]));
}

#[test]
fn encrypted_flash_reads_as_it_was_written_and_as_noise_where_it_is_erased() {
    let mut plain = vec![0xff; 2 * SECTOR];
    plain[..16].copy_from_slice(b"sixteen bytes it");
    let mut flash = Flash::in_memory(plain).encrypted(1).unwrap();
    assert_eq!(&read::<16>(&mut flash, 0), b"sixteen bytes it");
    assert_eq!(&read::<4>(&mut flash, 8), b"byte");
    assert_eq!(
        read(&mut flash, 64),
        [0xff; 16],
        "a sector in use is encrypted whole"
    );
    assert_ne!(
        read(&mut flash, SECTOR_1),
        [0xff; 16],
        "erased flash is not"
    );
    assert_eq!(flash.bytes()[SECTOR..], [0xff; SECTOR]);

    assert!(matches!(
        flash.program_now(SECTOR_1, &[0; 4]),
        Err(FlashError::NotAligned)
    ));
    flash.program_now(SECTOR_1 + 16, &[7; 16]).unwrap();
    assert_eq!(read(&mut flash, SECTOR_1 + 16), [7; 16]);
    assert!(matches!(
        flash.program_now(SECTOR_1 + 16, &[0; 16]),
        Err(FlashError::NotErased { .. })
    ));
}

#[test]
fn a_block_torn_under_encryption_reads_as_noise() {
    let mut flash = Flash::in_memory(vec![0xff; 2 * SECTOR])
        .encrypted(1)
        .unwrap();
    flash.cut_power(cut(8, Mix::InOrder, false));
    assert!(flash.program_now(0, &[7; 16]).is_err());
    flash.restore_power();
    assert_ne!(read::<8>(&mut flash, 0), [7; 8]);
}

#[test]
fn a_watch_tells_what_was_read_before_it_was_written() {
    let mut flash = blank();
    flash.watch_reads();
    let _: [u8; 4] = read(&mut flash, 100);
    let _: [u8; 8] = read(&mut flash, 96);
    let _: [u8; 4] = read(&mut flash, 128);
    flash.erase_now(SECTOR_1, 2 * SECTOR_1).unwrap();
    let _: [u8; 4] = read(&mut flash, SECTOR_1);
    flash.program_now(200, &[0; 4]).unwrap();
    let _: [u8; 4] = read(&mut flash, 200);
    flash.look(300..310);
    assert_eq!(flash.take_reads(), [96..160, 192..224, 288..320]);
    assert!(flash.take_reads().is_empty());
}
