//! What partition tables promise.

use s3ota_image::partition::{
    CsvProblem, Hazard, Kind, Label, MAX_PARTITIONS, Partition, PartitionError, PartitionTable,
    TableBuilder,
};

const TWO_SLOTS: &[u8] = include_bytes!("fixtures/partitions-two-slots.bin");
const TWO_SLOTS_CSV: &str = include_str!("fixtures/partitions-two-slots.csv");
const FACTORY: &[u8] = include_bytes!("fixtures/partitions-factory.bin");
const FACTORY_CSV: &str = include_str!("fixtures/partitions-factory.csv");

fn label(text: &str) -> Label {
    Label::new(text).unwrap()
}

fn data(name: &str, offset: u32, size: u32) -> Partition {
    Partition {
        label: label(name),
        kind: Kind::NVS,
        offset,
        size,
        flags: 0,
    }
}

fn app(name: &str, kind: Kind, offset: u32) -> Partition {
    Partition {
        label: label(name),
        kind,
        offset,
        size: 0x10000,
        flags: 0,
    }
}

fn ota(slot: u8, offset: u32) -> Partition {
    app(
        &format!("ota_{slot}"),
        Kind::ota_slot(slot).unwrap(),
        offset,
    )
}

/// What the builder says, after making sure the parser says the same of the same entries.
fn check(partitions: &[Partition]) -> Result<(), PartitionError> {
    let mut bytes: Vec<u8> = partitions.iter().flat_map(Partition::emit).collect();
    bytes.resize(bytes.len() + 32, 0xFF);
    let parsed = PartitionTable::parse(&bytes).map(|_| ());

    let mut builder = TableBuilder::new();
    for partition in partitions {
        builder = builder.partition(*partition);
    }
    let built = builder.to_bytes().map(|_| ());
    assert_eq!(parsed, built);
    parsed
}

// ---- Tables made by ESP-IDF's tool ----

#[test]
fn a_table_of_idf_is_read() {
    let table = PartitionTable::parse(TWO_SLOTS).unwrap();
    assert!(table.has_md5());
    assert_eq!(table.entries().count(), 5);
    assert_eq!(table.factory(), None);
    let otadata = table.otadata().unwrap();
    assert_eq!((otadata.offset, otadata.size), (0xD000, 0x2000));
    let slots: Vec<_> = table.ota_slots().map(|p| (p.offset, p.size)).collect();
    assert_eq!(slots, [(0x10000, 0x1F0000), (0x200000, 0x1F0000)]);
    assert_eq!(table.find("nvs").unwrap().kind, Kind::NVS);
    assert_eq!(table.find("nothing"), None);
    assert_eq!(table.end(), 0x3F0000);
}

#[test]
fn flags_and_unnamed_types_are_kept() {
    let table = PartitionTable::parse(FACTORY).unwrap();
    assert_eq!(table.factory().unwrap().offset, 0x10000);
    let keys = table.find("keys").unwrap();
    assert_eq!(keys.flags, Partition::ENCRYPTED | Partition::READONLY);
    let own = table.find("cfg").unwrap();
    assert_eq!((own.kind.type_, own.kind.subtype), (0x40, 1));
    assert_eq!(table.end(), 0x400000);
}

#[test]
fn a_whole_sector_is_read_as_well_as_the_table_alone() {
    let mut sector = TWO_SLOTS.to_vec();
    sector.resize(0x1000, 0x5A); // a signature, say
    assert_eq!(
        PartitionTable::parse(&sector),
        PartitionTable::parse(TWO_SLOTS)
    );
}

#[test]
fn csv_becomes_the_bytes_that_idf_makes() {
    for (csv, bytes) in [(TWO_SLOTS_CSV, TWO_SLOTS), (FACTORY_CSV, FACTORY)] {
        assert_eq!(
            TableBuilder::from_csv(csv).unwrap().to_bytes().unwrap(),
            bytes
        );
    }
}

#[test]
fn a_parsed_table_is_written_to_the_byte() {
    for bytes in [TWO_SLOTS, FACTORY] {
        let table = PartitionTable::parse(bytes).unwrap();
        assert_eq!(TableBuilder::from(table).to_bytes().unwrap(), bytes);
    }
}

#[test]
fn csv_is_written_as_idf_writes_it() {
    let table = PartitionTable::parse(FACTORY).unwrap();
    let csv = TableBuilder::from(table).to_csv();
    assert_eq!(
        csv,
        "# ESP-IDF Partition Table\n\
         # Name, Type, SubType, Offset, Size, Flags\n\
         nvs,data,nvs,0x9000,16K,\n\
         otadata,data,ota,0xd000,8K,\n\
         phy_init,data,phy,0xf000,4K,\n\
         factory,app,factory,0x10000,1M,\n\
         ota_0,app,ota_0,0x110000,1M,\n\
         ota_1,app,ota_1,0x210000,1M,\n\
         keys,data,nvs_keys,0x310000,4K,encrypted:readonly\n\
         cfg,64,1,0x311000,4K,\n\
         storage,data,spiffs,0x312000,952K,\n"
    );
    assert_eq!(
        TableBuilder::from_csv(&csv).unwrap().to_bytes().unwrap(),
        FACTORY
    );
}

// ---- Damaged bytes ----

#[test]
fn a_flipped_bit_in_an_entry_is_caught_by_the_md5() {
    for byte in 0..5 * 32 {
        let mut flipped = TWO_SLOTS.to_vec();
        flipped[byte] ^= 1;
        assert!(PartitionTable::parse(&flipped).is_err(), "byte {byte}");
    }
    let mut size = TWO_SLOTS.to_vec();
    size[4 * 32 + 9] ^= 0x10;
    assert_eq!(PartitionTable::parse(&size), Err(PartitionError::Md5));
}

#[test]
fn nothing_but_the_end_follows_the_md5() {
    let error = PartitionError::AfterMd5 { index: 6 };
    let md5 = TWO_SLOTS[5 * 32..6 * 32].to_vec();
    let late = data("late", 0x3F0000, 0x1000).emit().to_vec();
    for entry in [late, md5] {
        let mut bytes = TWO_SLOTS.to_vec();
        bytes[6 * 32..7 * 32].copy_from_slice(&entry);
        assert_eq!(PartitionTable::parse(&bytes), Err(error));
    }
}

#[test]
fn a_table_without_md5_is_read() {
    let mut bytes = TWO_SLOTS.to_vec();
    bytes[5 * 32..6 * 32].fill(0xFF);
    let table = PartitionTable::parse(&bytes).unwrap();
    assert!(!table.has_md5());
    assert_eq!(table.entries().count(), 5);
}

#[test]
fn a_table_without_an_end_is_refused() {
    assert_eq!(PartitionTable::parse(&[]), Err(PartitionError::NoEndMarker));
    for length in [31, 5 * 32, 6 * 32, 7 * 32 - 1] {
        let cut = PartitionTable::parse(&TWO_SLOTS[..length]);
        assert_eq!(cut, Err(PartitionError::NoEndMarker), "{length}");
    }
    assert!(PartitionTable::parse(&TWO_SLOTS[..7 * 32]).is_ok());
}

#[test]
fn other_bytes_are_not_a_table() {
    let image = include_bytes!("fixtures/hello-esp32c3-1.0.0.bin");
    let error = PartitionError::Magic {
        index: 0,
        found: [0xE9, 5],
    };
    assert_eq!(PartitionTable::parse(image), Err(error));
}

#[test]
fn erased_flash_is_no_table() {
    let table = PartitionTable::parse(&[0xFF; 0xC00]);
    assert_eq!(table, Err(PartitionError::Empty));
    assert_eq!(
        TableBuilder::new().to_bytes(),
        Err(PartitionError::Empty),
        "nor is a table without partitions made"
    );
}

#[test]
fn no_bytes_make_it_panic() {
    let mut state = 1u32;
    for _ in 0..20_000 {
        let mut bytes = TWO_SLOTS[..7 * 32].to_vec();
        bytes[5 * 32..6 * 32].fill(0xFF); // no MD5: everything reaches the rules
        for _ in 0..3 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = (state >> 8) as usize % bytes.len();
            bytes[at] = (state >> 24) as u8;
        }
        if let Ok(table) = PartitionTable::parse(&bytes) {
            // Whatever parses can be written, and reads the same.
            let written = TableBuilder::from(table).to_bytes().unwrap();
            let again = PartitionTable::parse(&written).unwrap();
            assert!(again.entries().eq(table.entries()));
        }
    }
}

// ---- The rules ----

#[test]
fn ninety_five_partitions_fit_and_ninety_four_with_an_md5() {
    let many = |count: u32| -> Vec<Partition> {
        (0..count)
            .map(|i| data(&format!("p{i}"), 0x10000 + i * 0x1000, 0x1000))
            .collect()
    };
    let bytes = |count| {
        let mut bytes: Vec<u8> = many(count).iter().flat_map(Partition::emit).collect();
        bytes.resize(bytes.len().max(0xC00), 0xFF);
        bytes
    };
    // An end marker past the table's 0xC00 bytes does not count.
    let mut sector = bytes(96);
    sector.resize(0x1000, 0xFF);
    assert_eq!(
        PartitionTable::parse(&sector),
        Err(PartitionError::NoEndMarker)
    );
    assert_eq!(MAX_PARTITIONS, 95);
    assert_eq!(
        PartitionTable::parse(&bytes(95)).unwrap().entries().count(),
        95
    );
    assert_eq!(
        PartitionTable::parse(&bytes(96)),
        Err(PartitionError::NoEndMarker)
    );

    let build = |count| {
        many(count)
            .into_iter()
            .fold(TableBuilder::new(), TableBuilder::partition)
            .to_bytes()
    };
    assert_eq!(
        PartitionTable::parse(&build(94).unwrap())
            .unwrap()
            .entries()
            .count(),
        94
    );
    assert_eq!(build(95), Err(PartitionError::TooMany));
}

#[test]
fn overlapping_partitions_are_refused_in_any_order() {
    let (a, b) = (data("a", 0x10000, 0x2000), data("b", 0x11000, 0x1000));
    let error = PartitionError::Overlap {
        first: label("a"),
        second: label("b"),
    };
    assert_eq!(check(&[a, b]), Err(error));
    assert_eq!(check(&[b, a]), Err(error));
    assert_eq!(check(&[data("a", 0x10000, 0x1001), b]), Err(error));
    assert_eq!(check(&[data("a", 0x10000, 0x1000), b]), Ok(()));
}

#[test]
fn apps_lie_on_64_kib_and_all_else_on_4_kib() {
    let error = |offset, alignment| PartitionError::Alignment {
        label: label("p"),
        offset,
        alignment,
    };
    let slot = Kind::FACTORY;
    assert_eq!(
        check(&[app("p", slot, 0x18000)]),
        Err(error(0x18000, 0x10000))
    );
    assert_eq!(
        check(&[data("p", 0x9800, 0x1000)]),
        Err(error(0x9800, 0x1000))
    );
    let odd = Partition {
        size: 0x10001,
        ..app("p", slot, 0x10000)
    };
    let size = PartitionError::AppSize {
        label: label("p"),
        size: 0x10001,
    };
    assert_eq!(check(&[odd]), Err(size));
}

#[test]
fn a_partition_past_4_gib_is_refused() {
    let error = PartitionError::Address { label: label("p") };
    assert_eq!(check(&[data("p", 0xFFFF_F000, 0x1000)]), Err(error));
    assert_eq!(check(&[data("p", 0x10000, u32::MAX)]), Err(error));
}

#[test]
fn nothing_covers_the_bootloader_or_the_table() {
    for offset in [0, 0x1000, 0x8000] {
        let error = PartitionError::BelowTable {
            label: label("p"),
            offset,
            table_end: 0x9000,
        };
        assert_eq!(check(&[data("p", offset, 0x1000)]), Err(error));
    }
    let of_kind = |kind, offset| Partition {
        kind,
        ..data("p", offset, 0x1000)
    };
    assert_eq!(check(&[of_kind(Kind::BOOTLOADER, 0x1000)]), Ok(()));
    assert_eq!(check(&[of_kind(Kind::PARTITION_TABLE, 0x8000)]), Ok(()));
}

#[test]
fn names_are_unique() {
    let error = PartitionError::DuplicateLabel { label: label("p") };
    assert_eq!(
        check(&[data("p", 0x9000, 0x1000), data("p", 0xA000, 0x1000)]),
        Err(error)
    );
}

#[test]
fn there_is_one_otadata_of_two_writable_sectors() {
    let otadata = |name: &str, offset, size| Partition {
        kind: Kind::OTADATA,
        ..data(name, offset, size)
    };
    let good = otadata("a", 0xD000, 0x2000);
    assert_eq!(check(&[good]), Ok(()));
    assert_eq!(
        check(&[good, otadata("b", 0xF000, 0x2000)]),
        Err(PartitionError::SecondOtadata)
    );
    for size in [0x1000, 0x3000] {
        assert_eq!(
            check(&[otadata("a", 0xD000, size)]),
            Err(PartitionError::Otadata { size })
        );
    }
    let readonly = Partition {
        flags: Partition::READONLY,
        ..good
    };
    assert_eq!(
        check(&[readonly]),
        Err(PartitionError::Otadata { size: 0x2000 })
    );
}

#[test]
fn slots_are_in_the_order_of_their_numbers() {
    let bytes = TableBuilder::new()
        .partition(ota(2, 0x10000))
        .partition(ota(0, 0x20000))
        .partition(ota(1, 0x30000))
        .to_bytes()
        .unwrap();
    let table = PartitionTable::parse(&bytes).unwrap();
    let offsets: Vec<_> = table.ota_slots().map(|p| p.offset).collect();
    assert_eq!(offsets, [0x20000, 0x30000, 0x10000]);
}

#[test]
fn a_gap_or_a_repetition_among_the_slots_is_refused() {
    let twice = Partition {
        label: label("again"),
        ..ota(0, 0x30000)
    };
    for (slots, slot) in [
        (vec![ota(0, 0x10000), ota(2, 0x20000)], 1),
        (vec![ota(1, 0x10000)], 0),
        (vec![ota(0, 0x10000), twice], 0),
    ] {
        assert_eq!(check(&slots), Err(PartitionError::OtaSlots { slot }));
    }
}

// ---- CSV ----

fn csv(line: &str) -> Result<Partition, CsvProblem> {
    match TableBuilder::from_csv(line) {
        Ok(builder) => Ok(builder.partitions()[0]),
        Err(error) => {
            assert_eq!(error.line, 1);
            Err(error.problem)
        }
    }
}

#[test]
fn numbers_are_read_as_in_python() {
    for (text, size) in [
        ("4096", 4096),
        ("0x1000", 4096),
        ("0X1000", 4096),
        ("0o10000", 4096),
        ("0b1000000000000", 4096),
        ("4K", 4096),
        ("4k", 4096),
        ("0x4k", 4096),
        ("1M", 0x10_0000),
        ("-0x10000", 0x7000), // up to that address
        ("-64K", 0x7000),
    ] {
        assert_eq!(
            csv(&format!("p,data,nvs,,{text}")).map(|p| p.size),
            Ok(size),
            "{text}"
        );
    }
    for text in [
        "",
        "4G",
        "0x",
        "four",
        "--1",
        "-+1",
        "1.5M",
        "0x1000 0x1000",
        "$SIZE",
    ] {
        let error = CsvProblem::Size(text.into());
        assert_eq!(csv(&format!("p,data,nvs,,{text}")), Err(error), "{text}");
    }
}

#[test]
fn kinds_are_names_or_numbers() {
    let kind = |type_, subtype| csv(&format!("p,{type_},{subtype},,64K")).map(|p| p.kind);
    let numbers = |type_, subtype| Ok(Kind { type_, subtype });
    assert_eq!(kind("app", "factory"), Ok(Kind::FACTORY));
    assert_eq!(kind("APP", "OTA_15"), numbers(0, 0x1F));
    assert_eq!(kind("0", "0x10"), numbers(0, 0x10));
    assert_eq!(kind("data", "ota"), Ok(Kind::OTADATA));
    assert_eq!(kind("data", "littlefs"), numbers(1, 0x83));
    assert_eq!(kind("data", ""), numbers(1, 6));
    assert_eq!(kind("0x40", "0xFE"), numbers(0x40, 0xFE));
    assert_eq!(kind("app", ""), Err(CsvProblem::Subtype("".into())));
    assert_eq!(
        kind("app", "ota_16"),
        Err(CsvProblem::Subtype("ota_16".into()))
    );
    assert_eq!(kind("app", "nvs"), Err(CsvProblem::Subtype("nvs".into())));
    assert_eq!(kind("data", "256"), Err(CsvProblem::Subtype("256".into())));
    assert_eq!(kind("", "ota_0"), Err(CsvProblem::Type("".into())));
    assert_eq!(kind("apps", "ota_0"), Err(CsvProblem::Type("apps".into())));
}

#[test]
fn an_empty_offset_is_the_next_aligned_place() {
    let builder = TableBuilder::from_csv("a,data,nvs,,0x1001\nb,data,phy,,4K\nc,app,ota_0,,64K");
    let offsets: Vec<_> = builder
        .unwrap()
        .partitions()
        .iter()
        .map(|p| p.offset)
        .collect();
    assert_eq!(offsets, [0x9000, 0xB000, 0x10000]);
}

#[test]
fn the_line_with_the_mistake_is_named() {
    let error =
        TableBuilder::from_csv("# comment\n\na,data,nvs,0x9000,8K\n b,data,phy,0xA000,4K\n")
            .unwrap_err();
    assert_eq!(error.line, 4);
    assert_eq!(
        error.problem,
        CsvProblem::Overlap {
            offset: 0xA000,
            free: 0xB000
        }
    );
    assert!(
        error
            .to_string()
            .starts_with("line 4 of the partition CSV: ")
    );
}

#[test]
fn mistakes_in_a_line_are_told_apart() {
    let long = "seventeen_letters";
    for (line, problem) in [
        (
            "seventeen_letters,data,nvs,,4K",
            CsvProblem::Name(long.into()),
        ),
        ("p,data,nvs,here,4K", CsvProblem::Offset("here".into())),
        ("p,data,nvs,-1,4K", CsvProblem::Offset("-1".into())),
        ("p,data,nvs,,4K,hidden", CsvProblem::Flag("hidden".into())),
        (
            "p,data,nvs,0x8000,4K",
            CsvProblem::Overlap {
                offset: 0x8000,
                free: 0x9000,
            },
        ),
        ("p,data,nvs,0xFFFFF000,8K", CsvProblem::Address),
        ("p,data,nvs,0x20000,-0x10000", CsvProblem::Address),
        ("p,bootloader,primary,,28K", CsvProblem::Bootloader),
        ("p,bootloader,primary,N/A,N/A", CsvProblem::Bootloader),
        ("p,data,nvs,,N/A", CsvProblem::Size("N/A".into())),
        ("p,data,nvs,N/A,4K", CsvProblem::Offset("N/A".into())),
        ("p,data,nvs,,", CsvProblem::Size("".into())),
    ] {
        assert_eq!(csv(line), Err(problem), "{line}");
    }
}

#[test]
fn the_bootloader_and_the_table_may_be_listed() {
    let builder = TableBuilder::from_csv(
        "boot,bootloader,primary,0x1000,28K\n\
         table,partition_table,primary,0x8000,4K\n\
         nvs,data,nvs,,16K\n",
    )
    .unwrap();
    assert_eq!(builder.partitions()[2].offset, 0x9000);
    builder.to_bytes().unwrap();
}

#[test]
fn the_build_places_the_bootloader_and_the_table() {
    let csv = "bootloader, bootloader, primary, N/A, N/A\n\
               table, partition_table, primary, n/a, N/A\n\
               nvs, data, nvs, , 16K\n";
    for (table, bootloader) in [(0x8000, 0), (0x10000, 0x1000), (0xC000, 0x2000)] {
        let builder = TableBuilder::from_csv_at(csv, table, Some(bootloader)).unwrap();
        let places: Vec<_> = builder
            .partitions()
            .iter()
            .map(|p| (p.offset, p.size))
            .collect();
        assert_eq!(
            places,
            [
                (bootloader, table - bootloader),
                (table, 0x1000),
                (table + 0x1000, 0x4000)
            ]
        );
        let bytes = builder.to_bytes().unwrap();
        assert!(PartitionTable::parse_at(&bytes, table).is_ok());
    }
}

#[test]
fn a_table_elsewhere_has_other_room_below_it() {
    let csv = "nvs,data,nvs,0x9000,4K\nota_0,app,ota_0,0x20000,1M\n";
    let bytes = TableBuilder::from_csv(csv).unwrap().to_bytes().unwrap();
    assert!(PartitionTable::parse_at(&bytes, 0x6000).is_ok());
    let below = PartitionTable::parse_at(&bytes, 0x10000).unwrap_err();
    let (label, offset, table_end) = (label("nvs"), 0x9000, 0x11000);
    assert_eq!(
        below,
        PartitionError::BelowTable {
            label,
            offset,
            table_end
        }
    );
    let overlap = TableBuilder::from_csv_at(csv, 0x10000, None).unwrap_err();
    assert_eq!(overlap.line, 1);
    assert_eq!(
        TableBuilder::from(PartitionTable::parse(&bytes).unwrap())
            .at(0x10000)
            .to_bytes(),
        Err(below)
    );
}

#[test]
fn a_byte_order_mark_is_not_part_of_the_first_name() {
    let builder = TableBuilder::from_csv("\u{FEFF}nvs,data,nvs,,16K\r\n").unwrap();
    assert_eq!(builder.partitions()[0].label.as_str(), "nvs");
}

// ---- What bites later ----

/// What is said of a table with these slots, otadata and factory.
fn hazards(sizes: &[&str], otadata: bool, factory: bool) -> Vec<Hazard> {
    let mut csv = String::from("nvs,data,nvs,,16K\n");
    if otadata {
        csv += "otadata,data,ota,,8K\n";
    }
    if factory {
        csv += "factory,app,factory,,1M\n";
    }
    for (slot, size) in sizes.iter().enumerate() {
        csv += &format!("ota_{slot},app,ota_{slot},,{size}\n");
    }
    let bytes = TableBuilder::from_csv(&csv).unwrap().to_bytes().unwrap();
    let table = PartitionTable::parse(&bytes).unwrap();
    table.hazards().collect()
}

#[test]
fn a_table_that_stops_updates_later_is_said_to() {
    let unequal = |slot: &str| Hazard::UnequalSlots {
        smallest: label(slot),
        size: 1 << 20,
        largest: 2 << 20,
    };
    let one = |factory| Hazard::OneSlot { factory };
    for (sizes, otadata, factory, expected) in [
        (&["1M", "1M"][..], true, false, &[][..]),
        (&["1M", "1M"], true, true, &[]),
        (&["1M", "1M", "1M"], true, false, &[]),
        (&["1M"], true, true, &[one(true)]),
        (&["1M"], true, false, &[one(false)]),
        (&[], true, true, &[Hazard::NoSlots]),
        (&["1M", "1M"], false, false, &[Hazard::NoOtadata]),
        (&[], false, true, &[Hazard::NoSlots, Hazard::NoOtadata]),
        (&["2M", "1M"], true, false, &[unequal("ota_1")]),
        (&["1M", "2M"], true, true, &[unequal("ota_0")]),
    ] {
        let found = hazards(sizes, otadata, factory);
        assert_eq!(found, expected, "{sizes:?}");
        for hazard in found {
            assert!(hazard.to_string().contains(';'), "a next step: {hazard}");
        }
    }
}

#[test]
fn the_largest_image_that_always_fits_is_the_smallest_slot() {
    let csv = "ota_0,app,ota_0,,2M\nota_1,app,ota_1,,1M\n";
    let bytes = TableBuilder::from_csv(csv).unwrap().to_bytes().unwrap();
    let table = PartitionTable::parse(&bytes).unwrap();
    assert_eq!(table.largest_image(), Some(1 << 20));
}
