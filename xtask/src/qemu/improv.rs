//! Wi-Fi credentials: the example `advanced` takes them over Improv Serial, keeps them on flash, and has them after a power cut.
//!
//! Its Ethernet plays the part of a network called `qemu`. Serial port, protocol, flash and what decides are those of a board.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::bootloader::Bootloader;
use super::device::Device;
use super::emulator::Switches;
use super::scenarios::Bench;
use super::variants::{CHIP, Settings};
use crate::{Result, paths, toolchain};

/// The name of the scenario.
pub const NAME: &str = "Wi-Fi credentials over Improv";

/// The example.
pub const PACKAGE: &str = "advanced";

/// Its flash.
pub const FLASHED: &str = "flash-advanced";

/// How long a device may take to answer: joining a network may take 20 seconds.
const PATIENCE: Duration = Duration::from_secs(90);

/// Builds the example, unless it is there and that is enough. Its ELF file.
pub fn build(dir: &Path, settings: Settings<'_>, missing: bool) -> Result<PathBuf> {
    let elf = dir.join("firmware").join(format!("{PACKAGE}.elf"));
    if missing && elf.exists() {
        return Ok(elf);
    }
    println!("building {PACKAGE}, {}", settings.mode);
    let target_dir = toolchain::target_dir();
    let mut build = toolchain::cargo_build(CHIP, &target_dir)?;
    build
        .args(["--quiet", "--locked", "--package", PACKAGE, "--features"])
        .arg(format!("{CHIP},{}", settings.mode.features()))
        .current_dir(paths::firmware())
        .env("WIFI_SSID", "")
        .env("WIFI_PASSWORD", "")
        .env("MANIFEST_URL", settings.manifest_url)
        .env("ROOT_CA", settings.root_ca)
        .env("RELEASE_KEY", "");
    toolchain::run(build, PACKAGE)?;
    let built = toolchain::built(CHIP, PACKAGE, &target_dir)?;
    let bytes = fs::read(&built).map_err(|error| paths::about(&built, &error))?;
    paths::write_if_changed(&elf, &bytes)?;
    Ok(elf)
}

/// A packet with a command, as a client sends it: <https://www.improv-wifi.com/serial/>.
fn command(number: u8, data: &[u8]) -> Vec<u8> {
    let length = |bytes: &[u8]| bytes.len() as u8;
    let inner = [&[number, length(data)], data].concat();
    let mut packet = [&b"IMPROV\x01\x03"[..], &[length(&inner)], &inner].concat();
    packet.push(
        packet
            .iter()
            .fold(0, |sum: u8, byte| sum.wrapping_add(*byte)),
    );
    packet.push(b'\n');
    packet
}

/// "Send Wi-Fi settings".
fn connect(ssid: &str, password: &str) -> Vec<u8> {
    let counted = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    command(1, &[counted(ssid), counted(password)].concat())
}

/// What a packet from a device says, if this line is one: its type, and its bytes or texts.
pub fn said(line: &[u8]) -> Option<String> {
    const RESULT: u8 = 4;
    let packet = line.strip_prefix(b"IMPROV\x01")?;
    let (kind, rest) = packet.split_first()?;
    let (length, rest) = rest.split_first()?;
    let data = rest.get(..usize::from(*length))?;
    let mut words = Vec::new();
    let mut rest = data;
    if *kind == RESULT {
        let (number, texts) = data.split_first()?;
        words.push(format!("{number:02x}"));
        rest = texts.get(1..)?;
        while let Some((length, after)) = rest.split_first() {
            let (text, after) = after.split_at_checked(usize::from(*length))?;
            words.push(String::from_utf8_lossy(text).into_owned());
            rest = after;
        }
    }
    words.extend(rest.iter().map(|byte| format!("{byte:02x}")));
    Some(format!("Improv packet {kind}: {}", words.join(" ")))
}

/// Where the partition `nvs` is, in `firmware/partitions/4mb.csv`.
const NVS: Range<usize> = 0x9000..0xd000;

const NETWORK: &str = "qemu";
const PASSWORD: &str = "a password of the emulator";
const UNKNOWN: &str = "elsewhere";

const JOINED: &str = "the emulator's network joined";

const IS_READY: &str = "Improv packet 1: 02";
const IS_PROVISIONED: &str = "Improv packet 1: 04";
const CANNOT_CONNECT: &str = "Improv packet 2: 03";

/// It has none, is asked, refuses a network that is not there, takes the one that is, and has it after a power cut and after another
/// installation.
pub fn provision(bench: &Bench) -> Result<String> {
    let flash = Bootloader::Stock.flash(&bench.dir, FLASHED);
    let mut device = Device::new(bench, NAME, &flash, false)?;
    let typing = Switches {
        typing: true,
        ..Switches::default()
    };
    let outcome = (|| {
        device.power_on_with(typing)?;
        device.expect(&["no Wi-Fi credentials yet: enter them over Improv"])?;
        device.send(&command(3, &[]))?;
        let info = device.expect_in(PATIENCE, &["Improv packet 4: 03 "])?;
        if !info.contains(&format!(" {PACKAGE} 1.0.0 ESP32-C3 ")) {
            return Err(format!("it says that it is: {info}"));
        }
        device.send(&command(2, &[]))?;
        device.expect_in(PATIENCE, &[IS_READY])?;

        device.send(&connect(UNKNOWN, PASSWORD))?;
        device.expect_in(PATIENCE, &[CANNOT_CONNECT])?;
        device.send(&connect(NETWORK, PASSWORD))?;
        device.expect_in(PATIENCE, &[IS_PROVISIONED])?;
        // It says so when they are saved, not before.
        device.cut_power();
        let bytes = fs::read(&device.flash).map_err(|error| paths::about(&device.flash, &error))?;
        let kept = bytes.get(NVS).ok_or("the flash is too small")?;
        let has = |text: &str| {
            let mut windows = kept.windows(text.len());
            windows.any(|window| window == text.as_bytes())
        };
        if !has(PASSWORD) || has(UNKNOWN) {
            return Err("the partition nvs does not hold those that work, and only them".into());
        }

        device.power_on_with(typing)?;
        device.expect(&[JOINED])?;
        device.send(&command(2, &[]))?;
        device.expect_in(PATIENCE, &[IS_PROVISIONED])?;
        device.cut_power();

        device.note("installed again, as the web installer does it");
        let mut bytes = fs::read(&flash).map_err(|error| paths::about(&flash, &error))?;
        let place = bytes.get_mut(NVS).ok_or("the flash is too small")?;
        place.copy_from_slice(kept);
        fs::write(&device.flash, bytes).map_err(|error| paths::about(&device.flash, &error))?;
        device.power_on()?;
        device.expect(&[JOINED])?;
        Ok("taken over UART0, on flash, in use after a power cut and after another installation; others are not kept".to_owned())
    })();
    device.end(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_as_the_protocol_has_them() {
        assert_eq!(command(2, &[]), b"IMPROV\x01\x03\x02\x02\x00\xe5\n");
        let connect = connect("home", "secret");
        assert!(connect.starts_with(b"IMPROV\x01\x03\x0e\x01\x0c\x04home\x06secret"));
        assert_eq!(
            said(b"IMPROV\x01\x01\x01\x04\xe4\n").as_deref(),
            Some(IS_PROVISIONED)
        );
        let info = b"IMPROV\x01\x04\x08\x03\x06\x04lamp\x00.\n";
        assert_eq!(said(info).as_deref(), Some("Improv packet 4: 03 lamp "));
        assert_eq!(said(b"INFO - IMPROV"), None);
        assert_eq!(said(b"IMPROV\x01\x04\x08\x03"), None);
    }

    #[test]
    fn what_is_waited_for_is_what_the_board_support_says() {
        let support = paths::firmware().join("s3ota-esp/src/improv");
        let text = |file: &str| fs::read_to_string(support.join(file)).unwrap();
        assert!(text("mod.rs").contains("no Wi-Fi credentials yet: enter them over Improv"));
        assert!(text("cable.rs").contains(JOINED));
        assert!(text("cable.rs").contains(&format!("b\"{NETWORK}\"")));
    }
}
