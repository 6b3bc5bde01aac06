//! Other people's tools judge what this crate reads and writes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use s3ota_image::{
    Chip,
    app::{Image, ImageBuilder, SignatureKind, Verifier},
    otadata::{Record, State},
    partition::{PartitionTable, TableBuilder},
};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

const IMAGES: [&str; 3] = [
    "hello-esp32c3-1.0.0.bin",
    "hello-esp32c3-1.1.0.bin",
    "hello-esp32c6-1.0.0.bin",
];

// ---- App images: esptool, espsecure, espflash ----

#[test]
#[ignore = "needs esptool: pip install 'esptool>=5'"]
fn esptool_agrees_about_real_images() {
    let esptool = Judge::new("esptool");
    for name in IMAGES {
        esptool.confirms(&Path::new(FIXTURES).join(name));
    }
}

#[test]
#[ignore = "needs esptool: pip install 'esptool>=5'"]
fn esptool_reads_the_limits_of_an_image_as_we_do() {
    let esptool = Judge::new("esptool");
    let image = ImageBuilder::new(Chip::Esp32C3, "1.0.0")
        .revisions(3, 199)
        .block_revisions(101, 299)
        .secure_version(7)
        .build();
    let file = scratch("limits.bin", &image);
    esptool.confirms(&file);
    let says = esptool.image_info(&file);
    for line in [
        "minimal chip revision: v0.3",
        "maximal chip revision: v1.99",
        "secure version: 7",
    ] {
        assert!(
            says.lines().any(|found| found.starts_with(line)),
            "{line} in\n{says}"
        );
    }
}

#[test]
#[ignore = "needs esptool: pip install 'esptool>=5'"]
fn esptool_calls_every_built_image_valid() {
    let esptool = Judge::new("esptool");
    for chip in Chip::ALL {
        let image = ImageBuilder::new(chip, "1.2.3")
            .project_name("kettle")
            .length(40_000);
        esptool.confirms(&scratch(&format!("built-{chip}.bin"), &image.build()));
    }
    let arduino = ImageBuilder::new(Chip::Esp32, "v5.1.4").project_name("arduino-lib-builder");
    esptool.confirms(&scratch("built-arduino.bin", &arduino.build()));
    let two_segments = ImageBuilder::new(Chip::Esp32S3, "1.2.3").length(9 << 20);
    esptool.confirms(&scratch("built-two-segments.bin", &two_segments.build()));
}

#[test]
#[ignore = "needs esptool: pip install 'esptool>=5'"]
fn esptool_and_the_verifier_refuse_the_same_damage() {
    let esptool = Judge::new("esptool");
    let good = ImageBuilder::new(Chip::Esp32C3, "1.2.3")
        .length(4096)
        .build();
    // In the data (checksum and digest wrong), in the checksum, in the digest.
    for byte in [1000, good.len() - 33, good.len() - 1] {
        let mut damaged = good.clone();
        damaged[byte] ^= 0x40;
        assert!(verify(&damaged).is_err());
        let says = esptool.image_info(&scratch(&format!("damaged-{byte}.bin"), &damaged));
        assert!(says.contains("invalid"), "byte {byte}: {says}");
    }
}

#[test]
#[ignore = "needs esptool: pip install 'esptool>=5'"]
fn images_signed_by_espsecure_are_accepted() {
    let espsecure = Judge::new("espsecure");
    let good = Path::new(FIXTURES).join(IMAGES[0]);
    for (scheme, kind) in [
        ("rsa3072", SignatureKind::Rsa),
        ("ecdsa256", SignatureKind::Ecdsa),
        ("ecdsa384", SignatureKind::Ecdsa),
    ] {
        let key = scratch(&format!("{scheme}.pem"), b"");
        fs::remove_file(&key).unwrap();
        espsecure.run(|c| {
            c.args(["generate-signing-key", "--version", "2"])
                .args(["--scheme", scheme])
                .arg(&key)
        });
        let signed = scratch(&format!("signed-{scheme}.bin"), b"");
        espsecure.run(|c| {
            c.args(["sign-data", "--version", "2"])
                .arg("--keyfile")
                .arg(&key)
                .arg("--output")
                .args([&signed, &good])
        });
        let signed = fs::read(&signed).unwrap();
        let image = verify(&signed).expect(scheme);
        assert!(image.signed);
        assert_eq!(image.signature, Some(kind));
        let sector = &signed[image.signature_offset() as usize..];
        assert_eq!(
            SignatureKind::parse(sector.first_chunk().unwrap()),
            Some(kind)
        );
        assert_eq!(
            u64::from(image.image_length),
            fs::metadata(&good).unwrap().len()
        );
    }
}

// ---- Partition tables: espflash, and ESP-IDF's own gen_esp32part ----

/// CSVs, and whether they make a table.
const TABLES: [(&str, bool); 14] = [
    (include_str!("fixtures/partitions-two-slots.csv"), true),
    (include_str!("fixtures/partitions-factory.csv"), true),
    (
        "nvs,data,nvs,0x9000,24K,\nphy,data,phy,,4K,\napp0,app,factory,,1M,",
        true,
    ),
    (
        "a,app,ota_0,0x10000,1M,encrypted\nb,app,ota_1,,1M,encrypted",
        true,
    ),
    ("sixteen_letters_,app,factory,0x10000,0x100000,", true),
    (
        "a,app,factory,0x10000,1M,\nx,data,undefined,,12K,readonly",
        true,
    ),
    ("a,app,factory,0x18000,1M,", false),      // not on 64 KiB
    ("a,app,factory,0x10000,0x10001,", false), // odd app size
    (
        "n,data,nvs,0x9800,0x6000,\na,app,factory,0x10000,1M,",
        false,
    ), // not on 4 KiB
    ("a,app,ota_0,0x10000,1M,\nb,app,ota_1,0x20000,1M,", false), // overlap
    ("a,app,ota_0,0x10000,1M,\na,app,ota_1,,1M,", false), // one name twice
    ("o,data,ota,0x9000,4K,\na,app,ota_0,0x10000,1M,", false), // short otadata
    ("a,app,ota_0,0x8000,1M,", false),         // on the table
    ("a,app,ota_0,0x10000,1M,hidden", false),  // unknown flag
];

#[test]
#[ignore = "needs espflash: cargo install espflash --locked"]
fn espflash_makes_the_same_table_of_a_csv() {
    let espflash = Judge::new("espflash");
    for (i, (csv, good)) in TABLES
        .into_iter()
        .enumerate()
        .filter(|(_, (_, good))| *good)
    {
        let input = scratch(&format!("espflash-{i}.csv"), csv.as_bytes());
        let made = scratch(&format!("espflash-{i}.bin"), b"");
        espflash.run(|c| {
            c.args(["partition-table", "--to-binary", "--output"])
                .args([&made, &input])
        });
        let ours = TableBuilder::from_csv(csv).unwrap().to_bytes().unwrap();
        assert_eq!(fs::read(&made).unwrap(), ours, "{csv}");
        assert_eq!(PartitionTable::parse(&ours).is_ok(), good);
    }
}

#[test]
#[ignore = "needs esp-idf-defs: pip install esp-idf-defs esptool"]
fn gen_esp32part_agrees_about_every_csv() {
    let python = Judge::new("python3");
    let negative_size = ("a,app,factory,0x10000,-0x200000,\nb,data,fat,,1M,", true);
    for (i, (csv, good)) in TABLES.into_iter().chain([negative_size]).enumerate() {
        let input = scratch(&format!("idf-{i}.csv"), csv.as_bytes());
        let made = scratch(&format!("idf-{i}.bin"), b"");
        let back = scratch(&format!("idf-{i}-back.csv"), b"");
        let output = python.output(|c| c.args(["-c", GEN_ESP32PART]).args([&input, &made, &back]));
        assert_eq!(output.status.success(), good, "{csv}\n{output:?}");

        let ours = TableBuilder::from_csv(csv)
            .ok()
            .and_then(|t| t.to_bytes().ok());
        assert_eq!(ours.is_some(), good, "{csv}");
        if let Some(ours) = ours {
            assert_eq!(fs::read(&made).unwrap(), ours, "{csv}");
            let table = PartitionTable::parse(&ours).unwrap();
            let csv = fs::read_to_string(&back).unwrap();
            assert_eq!(TableBuilder::from(table).to_csv(), csv);
        }
    }
}

#[test]
#[ignore = "needs esp-idf-defs: pip install esp-idf-defs esptool"]
fn gen_esp32part_agrees_about_other_places() {
    let python = Judge::new("python3");
    let tables = [
        "nvs,data,nvs,,16K\notadata,data,ota,,8K\nota_0,app,ota_0,,1M\nota_1,app,ota_1,,1M",
        "bootloader,bootloader,primary,N/A,N/A\nptable,partition_table,primary,N/A,N/A\nnvs,data,nvs,,16K",
        "bootloader,bootloader,primary,,\nnvs,data,nvs,,16K\nnext,bootloader,ota,,N/A",
        "ptable,partition_table,primary,,\nnvs,data,nvs,,16K\nnext,partition_table,ota,,N/A",
        "nvs,data,nvs,0x9000,16K\nfactory,app,factory,0x20000,1M",
    ];
    let places = [(0x8000, 0), (0x8000, 0x1000), (0x10000, 0x2000)];
    for (i, (csv, (table, bootloader))) in tables
        .into_iter()
        .flat_map(|csv| places.map(|places| (csv, places)))
        .enumerate()
    {
        let input = scratch(&format!("placed-{i}.csv"), csv.as_bytes());
        let made = scratch(&format!("placed-{i}.bin"), b"");
        let output = python.output(|c| {
            c.args(["-c", PLACED])
                .args([&input, &made])
                .args([table.to_string(), bootloader.to_string()])
        });
        let ours = TableBuilder::from_csv_at(csv, table, Some(bootloader))
            .ok()
            .and_then(|t| t.to_bytes().ok());
        assert_eq!(output.status.success(), ours.is_some(), "{csv}\n{output:?}");
        if let Some(ours) = ours {
            assert_eq!(fs::read(&made).unwrap(), ours, "{csv}");
        }
    }
}

/// CSV in, checked binary out, for these offsets of table and bootloader.
const PLACED: &str = "
import sys
from esp_idf_defs.partitions import PartitionTable
table, bootloader = int(sys.argv[3]), int(sys.argv[4])
made, _ = PartitionTable.from_file(open(sys.argv[1], 'rb'), table, bootloader)
made.verify(table)
open(sys.argv[2], 'wb').write(made.to_binary())
";

/// CSV in, checked binary and CSV out.
const GEN_ESP32PART: &str = "
import sys
from esp_idf_defs.partitions import PartitionTable
table, _ = PartitionTable.from_file(open(sys.argv[1], 'rb'))
table.verify(0x8000)
open(sys.argv[2], 'wb').write(table.to_binary())
open(sys.argv[3], 'w').write(table.to_csv())
";

// ---- otadata ----

#[test]
#[ignore = "needs esp-idf-defs: pip install esp-idf-defs esptool"]
fn another_implementation_writes_the_same_otadata() {
    let python = Judge::new("python3");
    let sequences = [0, 1, 2, 3, 255, 256, 0x1234_5678, 0xFFFF_FFFE];
    let arguments = sequences.map(|sequence: u32| sequence.to_string());
    let output = python.run(|c| c.args(["-c", OTADATA]).args(arguments));
    let lines = String::from_utf8(output.stdout).unwrap();
    let mut lines = lines.lines();
    for sequence in sequences {
        for state in [State::New, State::Valid, State::Aborted, State::Undefined] {
            let ours = Record::new(sequence, state, [0xFF; 20]);
            let hex: String = ours
                .emit()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            assert_eq!(lines.next(), Some(hex.as_str()), "{ours:?}");
        }
    }
}

/// Each sequence in four states, as hexadecimal.
const OTADATA: &str = "
import sys
from esp_idf_defs.otadata import OtaDataSelectEntry
for sequence in sys.argv[1:]:
    for state in (0, 2, 4, 0xFFFFFFFF):
        print(OtaDataSelectEntry(int(sequence), state).to_bytes().hex())
";

// ---- The judges ----

/// A tool.
struct Judge {
    program: &'static str,
}

impl Judge {
    fn new(program: &'static str) -> Judge {
        Judge { program }
    }

    fn output<'a>(&self, arguments: impl FnOnce(&mut Command) -> &mut Command + 'a) -> Output {
        let mut command = Command::new(self.program);
        arguments(&mut command);
        command.output().expect(self.program)
    }

    fn run<'a>(&self, arguments: impl FnOnce(&mut Command) -> &mut Command + 'a) -> Output {
        let output = self.output(arguments);
        assert!(output.status.success(), "{}: {output:?}", self.program);
        output
    }

    /// What esptool says of an image, good or bad, in lower case.
    fn image_info(&self, file: &Path) -> String {
        let output = self.output(|c| c.arg("image-info").arg(file));
        let says = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&says).to_lowercase()
    }

    /// Checksum and hash are valid, and esptool reads the same as we.
    fn confirms(&self, file: &Path) {
        let image = verify(&fs::read(file).unwrap()).unwrap();
        let says = self.image_info(file);
        let line = |start: &str| {
            let line = says.lines().find(|line| line.starts_with(start));
            line.unwrap_or_else(|| panic!("{}: no {start:?} in\n{says}", file.display()))
        };
        let digest: String = image
            .digest
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert!(line("checksum:").ends_with("(valid)"), "{says}");
        assert_eq!(
            line("validation hash:"),
            format!("validation hash: {digest} (valid)")
        );
        assert!(line("chip id:").starts_with(&format!("chip id: {} ", image.header.chip_id)));
        let descriptor = image.descriptor.unwrap();
        assert_eq!(
            line("app version:"),
            format!("app version: {}", descriptor.version())
        );
        let project = format!("project name: {}", descriptor.project_name());
        assert_eq!(line("project name:"), project);
    }
}

fn verify(bytes: &[u8]) -> Result<Image, s3ota_image::ImageError> {
    let mut verifier = Verifier::new();
    verifier.update(bytes)?;
    verifier.finish()
}

/// A file for a judge to read or write.
fn scratch(name: &str, bytes: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, bytes).unwrap();
    path
}
