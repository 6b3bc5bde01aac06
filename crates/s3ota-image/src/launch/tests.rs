//! What the stub makes of a plan, against what the bootloader makes of an image.

extern crate std;

use std::collections::BTreeMap;
use std::vec::Vec;

use sha2::{Digest, Sha256};

use super::*;
use crate::Chip;
use crate::app::{Descriptor, Hardware, Header, Image, Verifier};

/// Where the image lies on flash.
const AT: u32 = 0x20_0000;

/// An image with these segments, their checksum and SHA-256. Data are pseudorandom; the first segment has a descriptor.
fn image(chip: Chip, entry: u32, segments: &[(u32, u32)], page_bits: u8) -> Vec<u8> {
    let header = Header {
        segment_count: segments.len() as u8,
        spi_mode: 2,
        spi_size_and_speed: 0x2F,
        entry,
        wp_pin: 0xEE,
        spi_pin_drive: [0; 3],
        chip_id: chip.id(),
        min_revision_legacy: 0,
        min_revision: 3,
        max_revision: 199,
        reserved: [0; 4],
        hash_appended: 1,
    };
    let mut descriptor = Descriptor::new("1.1.0", "launch").unwrap();
    descriptor.mmu_page_size = page_bits;
    descriptor.secure_version = 2;
    let mut bytes = header.emit().to_vec();
    let mut random = 1u32;
    let mut checksum = 0xEF;
    for (index, &(address, length)) in segments.iter().enumerate() {
        bytes.extend(address.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        let from = bytes.len();
        for _ in 0..length {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            bytes.push((random >> 24) as u8);
        }
        if index == 0 {
            bytes[from..from + Descriptor::LEN].copy_from_slice(&descriptor.emit());
        }
        checksum = bytes[from..].iter().fold(checksum, |sum, byte| sum ^ byte);
    }
    while bytes.len() % 16 != 15 {
        bytes.push(0);
    }
    bytes.push(checksum);
    let digest = Sha256::digest(&bytes);
    bytes.extend(digest);
    bytes
}

fn verified(bytes: &[u8]) -> Image {
    let mut verifier = Verifier::new();
    verifier.update(bytes).unwrap();
    verifier.finish().unwrap()
}

/// The chip these images run on.
static CHIP: Hardware = Hardware {
    revision: Some(101),
    block_revision: None,
    secure_version: Some(2),
    any_max_revision: false,
    any_max_block_revision: false,
};

fn conditions() -> Conditions<'static> {
    Conditions {
        hardware: &CHIP,
        is_protected: false,
        woke: false,
    }
}

fn planned(memory: &Memory, conditions: &Conditions<'_>, bytes: &[u8]) -> Result<Plan, Refusal> {
    let read = |at, to: &mut [u8; 8]| {
        let from = (at - AT) as usize;
        bytes
            .get(from..from + 8)
            .map(|bytes| to.copy_from_slice(bytes))
            .ok_or(())
    };
    let mut made = Plan::new();
    plan(memory, conditions, &verified(bytes), AT, read, &mut made)?;
    Ok(made)
}

/// The next segment's address, so that its data lie at the same offset within their page on flash and in memory.
fn aligned(base: u32, before: &[(u32, u32)]) -> u32 {
    let at = Header::LEN as u32 + before.iter().map(|(_, length)| 8 + length).sum::<u32>() + 8;
    base + (AT + at) % PAGE
}

/// Segments as esp-hal's linker scripts and espflash make them: data and code from flash, code and data in RAM, RTC memory, and
/// padding. Those in RAM lie across pages of flash.
fn segments(memory: &Memory) -> Vec<(u32, u32)> {
    let [data, code, first, other, rtc] = memory.places.clone();
    let second = if code.is_empty() {
        data.start + 16 * PAGE
    } else {
        code.start + 16 * PAGE
    };
    let mut segments = std::vec![(aligned(data.start, &[]), 0x1_2340)];
    segments.push((first.start + 0x4000, 0x1_A004));
    segments.push((0, 0x100));
    if !rtc.is_empty() {
        segments.push((rtc.start + 0x10, 0x208));
    }
    if !other.is_empty() {
        segments.push((other.start, 0x3000));
    }
    segments.push((aligned(second, &segments), 0x2_4000));
    segments
}

/// Flash, the cache's table, and RAM.
struct Machine<'a> {
    memory: &'a Memory,
    image: &'a [u8],
    table: Vec<u32>,
    /// By the lower one of its two addresses.
    ram: BTreeMap<u32, u8>,
}

impl<'a> Machine<'a> {
    fn new(memory: &'a Memory, image: &'a [u8]) -> Self {
        Machine {
            memory,
            image,
            table: std::vec![memory.invalid; memory.entries as usize],
            ram: BTreeMap::new(),
        }
    }

    fn flash(&self, at: u32) -> u8 {
        self.image.get((at - AT) as usize).copied().unwrap_or(0xFF)
    }

    /// What the cache reads. `None`: nothing is mapped.
    fn cached(&self, address: u32) -> Option<u8> {
        assert!(self.is_mapped(address));
        let entry = self.table[(address / PAGE % self.memory.entries) as usize];
        if !self.memory.is_valid(entry) {
            return None;
        }
        let page = entry & !self.memory.valid;
        Some(self.flash(page * PAGE + address % PAGE))
    }

    fn write(&mut self, address: u32, byte: u8) {
        let [.., second, _] = self.memory.places;
        let is_second = second.contains(&address);
        let above = if is_second { self.memory.above } else { 0 };
        self.ram.insert(address - above, byte);
    }

    fn is_mapped(&self, address: u32) -> bool {
        let (mapped, _) = self.memory.places.split_at(Memory::COPIED);
        mapped.iter().any(|place| place.contains(&address))
    }

    fn set(&mut self, step: &Step) {
        for n in 0..step.count {
            self.table[(step.entry + n) as usize] = step.content + n;
        }
    }

    /// The stub.
    fn run(&mut self, plan: &Plan) {
        for step in &plan.steps {
            self.set(step);
            if step.from != 0 {
                for at in 0..step.end - step.to {
                    let byte = self.cached(step.from + at).expect("it is mapped");
                    self.write(step.to + at, byte);
                }
            }
        }
    }

    /// The bootloader, which reads flash itself.
    fn load(&mut self, segments: &[(u32, u32)], woke: bool) {
        let mut at = AT + Header::LEN as u32;
        for (index, &(address, length)) in segments.iter().enumerate() {
            at += 8;
            if self.is_mapped(address) {
                let pages = (at % PAGE + length).div_ceil(PAGE);
                for page in 0..pages {
                    let entry = (address / PAGE + page) % self.memory.entries;
                    self.table[entry as usize] = (at / PAGE + page) | self.memory.valid;
                }
            } else if address >= 0x1000_0000
                && !(woke && self.memory.places[Memory::RTC].contains(&address))
            {
                for n in 0..length {
                    let byte = self.flash(at + n);
                    self.write(address + n, byte);
                }
            }
            if index == 0 {
                self.table[self.memory.entries as usize - 1] = (at / PAGE) | self.memory.valid;
            }
            at += length;
        }
    }
}

#[test]
fn the_stub_leaves_ram_and_cache_as_the_bootloader_does() {
    for memory in Memory::ALL {
        let segments = segments(memory);
        let entry = segments[1].0 + 0x20;
        let bytes = image(memory.chip, entry, &segments, 16);
        for woke in [false, true] {
            let conditions = Conditions {
                woke,
                ..conditions()
            };
            let plan = planned(memory, &conditions, &bytes).unwrap();
            assert_eq!(plan.first_instruction, entry);
            let (mut launched, mut booted) =
                (Machine::new(memory, &bytes), Machine::new(memory, &bytes));
            launched.run(&plan);
            booted.load(&segments, woke);
            for (launched, booted) in launched.table.iter().zip(&booted.table) {
                let is_mapped = memory.is_valid(*launched);
                assert_eq!(is_mapped, memory.is_valid(*booted), "{}", memory.chip);
                assert!(!is_mapped || launched == booted, "{}", memory.chip);
            }
            assert!(launched.ram == booted.ram, "{}", memory.chip);
            let rtc = &memory.places[Memory::RTC];
            let has_rtc = launched.ram.keys().any(|at| rtc.contains(at));
            assert_eq!(has_rtc, !woke && !rtc.is_empty());
            // And what it runs from flash is there.
            let (code, length) = *segments.last().unwrap();
            assert!((code..code + length).all(|at| launched.cached(at).is_some()));
        }
    }
}

#[test]
fn an_image_with_the_most_segments_has_a_step_for_each() {
    let memory = &Memory::ESP32C3;
    let mut segments = std::vec![(aligned(0x3C00_0000, &[]), 0x200)];
    for n in 0..15 {
        segments.push((0x3FC8_0000 + n * 0x100, 0x80));
    }
    let bytes = image(memory.chip, 0x3FC8_0000, &segments, 16);
    let plan = planned(memory, &conditions(), &bytes).unwrap();
    let needed = plan.steps.iter().filter(|step| step.count > 0);
    // And one that clears the table, and one for its last entry.
    assert_eq!(needed.count(), segments.len() + 2);
}

#[test]
fn what_the_bootloader_or_the_rom_uses_is_taken() {
    let memory = &Memory::ESP32C3;
    let refused = |address: u32, length: u32| {
        let segments = [(aligned(0x3C00_0000, &[]), 0x200), (address, length)];
        let bytes = image(memory.chip, address, &segments, 16);
        planned(memory, &conditions(), &bytes).err()
    };
    let taken = Some(Refusal::Segment);
    // Up to the loader, and one word further; by both addresses.
    assert_eq!(refused(0x3FCC_E700, 0x10), None);
    assert_eq!(refused(0x3FCC_E700, 0x14), taken);
    assert_eq!(refused(0x403C_E700, 0x10), None);
    assert_eq!(refused(0x403C_E700, 0x14), taken);
    // Around it, within it, and the ROM's.
    assert_eq!(refused(0x3FCC_0000, 0x1_E000), taken);
    assert_eq!(refused(0x3FCD_0000, 4), taken);
    assert_eq!(refused(0x3FCD_F000, 4), taken);
}

#[test]
fn a_segment_for_no_memory_is_refused() {
    let unknown = |memory: &Memory, address: u32, length: u32| {
        let first = aligned(memory.places[0].start, &[]);
        let segments = [(first, 0x200), (address, length)];
        let bytes = image(memory.chip, first, &segments, 16);
        let found = planned(memory, &conditions(), &bytes).err();
        assert_eq!(found, Some(Refusal::Segment), "{address:#x}");
    };
    // The cache's own memory, registers, beyond RAM and RTC memory, between words.
    unknown(&Memory::ESP32C3, 0x4037_C000, 0x10);
    unknown(&Memory::ESP32C3, 0x6000_0000, 0x10);
    unknown(&Memory::ESP32C3, 0x3FCD_FFFC, 0x10);
    unknown(&Memory::ESP32C3, 0x5000_1FFC, 0x10);
    unknown(&Memory::ESP32C3, 0x3FC8_0002, 0x10);
    unknown(&Memory::ESP32C3, u32::MAX - 4, 0x10);
    // The ESP32-C2 has no RTC memory.
    unknown(&Memory::ESP32C2, 0x5000_0000, 0x10);
    // PSRAM of an ESP32-S2.
    unknown(&Memory::ESP32C6, 0x3F50_0000, 0x10);
}

#[test]
fn other_pages_than_those_of_64_kib_are_refused() {
    let memory = &Memory::ESP32C2;
    let first = aligned(0x3C00_0000, &[]);
    let found = |bits, address| {
        let bytes = image(memory.chip, first, &[(first, 0x200), (address, 0x10)], bits);
        planned(memory, &conditions(), &bytes).err()
    };
    assert_eq!(found(15, 0), Some(Refusal::PageSize));
    assert_eq!(found(14, 0), Some(Refusal::PageSize));
    assert_eq!(found(200, 0), Some(Refusal::PageSize));
    assert_eq!(found(0, 0), None);
    // Of an older ESP-IDF, for pages of 32 KiB: it does not say so, but a segment shows it.
    let second = aligned(0x4201_8000, &[(first, 0x200)]);
    assert_eq!(found(0, second), Some(Refusal::PageSize));
}

#[test]
fn an_image_that_this_chip_must_not_run_is_refused() {
    let memory = &Memory::ESP32C3;
    let first = aligned(0x3C00_0000, &[]);
    let bytes = image(memory.chip, first, &[(first, 0x200)], 16);
    let found = |conditions: &Conditions<'_>| planned(memory, conditions, &bytes).err();
    assert_eq!(found(&conditions()), None);
    let protected = Conditions {
        is_protected: true,
        ..conditions()
    };
    assert_eq!(found(&protected), Some(Refusal::Protected));
    let on = |hardware: Hardware| {
        let conditions = Conditions {
            hardware: &hardware,
            ..conditions()
        };
        found(&conditions)
    };
    for revision in [2, 200] {
        let revision = Some(revision);
        assert_eq!(on(Hardware { revision, ..CHIP }), Some(Refusal::Misfit));
    }
    let secure_version = Some(3);
    let newer = Hardware {
        secure_version,
        ..CHIP
    };
    assert_eq!(on(newer), Some(Refusal::Misfit));
    let other = Memory {
        chip: Chip::Esp32C6,
        ..Memory::ESP32C3
    };
    assert_eq!(
        planned(&other, &conditions(), &bytes).err(),
        Some(Refusal::Misfit)
    );
}

#[test]
fn flash_that_cannot_be_read_is_refused() {
    let memory = &Memory::ESP32C2;
    let first = aligned(0x3C00_0000, &[]);
    let bytes = image(memory.chip, first, &[(first, 0x200)], 16);
    let failing = |_, _: &mut [u8; 8]| Err(());
    assert_eq!(
        plan(
            memory,
            &conditions(),
            &verified(&bytes),
            AT,
            failing,
            &mut Plan::new()
        ),
        Err(Refusal::Unreadable)
    );
}

#[test]
fn beyond_the_flash_that_a_chip_can_map_nothing_is_mapped() {
    // 4 MB on the ESP32-C2, 16 MB on the ESP32-C3.
    for (memory, end) in [(&Memory::ESP32C2, 4 << 20), (&Memory::ESP32C3, 16 << 20)] {
        assert!(memory.is_valid(memory.content(end - PAGE)));
        assert!(!memory.is_valid(memory.content(end)));
    }
}

#[test]
fn only_what_the_bootloader_refuses_too_is_the_images_fault() {
    for of_image in [Refusal::Image, Refusal::Misfit] {
        assert!(of_image.is_of_image(), "{of_image}");
    }
    for launchers in [
        Refusal::Protected,
        Refusal::PageSize,
        Refusal::Unreadable,
        Refusal::Segment,
    ] {
        assert!(!launchers.is_of_image(), "{launchers}");
    }
}

#[test]
fn the_numbers_that_a_device_logs_are_those_of_the_document() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/troubleshooting.md");
    let document = std::fs::read_to_string(path).unwrap();
    let (_, table) = document.split_once("## Not launched").unwrap();
    let rows = table.lines().filter(|line| line.starts_with('|')).skip(2);
    let rows: Vec<&str> = rows.collect();
    let all = [
        Refusal::Image,
        Refusal::Misfit,
        Refusal::Unreadable,
        Refusal::Protected,
        Refusal::PageSize,
        Refusal::Segment,
    ];
    assert_eq!(rows.len(), all.len());
    for (row, why) in rows.iter().zip(all) {
        let begins = std::format!("| {} | {why} |", why.number());
        assert!(row.starts_with(&begins), "{row}");
    }
}
