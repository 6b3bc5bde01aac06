//! What an archive asks of whoever links it: what the header says, and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use c_device::{archive, in_repository, target, tool};

/// The functions that the header says the archive needs.
fn allowed() -> BTreeSet<String> {
    let header = fs::read_to_string(in_repository("bindings/c/include/s3ota.h")).unwrap();
    let (_, rest) = header.split_once("From the C library: ").unwrap();
    let (names, _) = rest.split_once('.').unwrap();
    names
        .split(',')
        .map(|name| name.trim().to_owned())
        .collect()
}

/// The functions that the header declares.
fn declared() -> BTreeSet<String> {
    let header = fs::read_to_string(in_repository("bindings/c/include/s3ota.h")).unwrap();
    let calls = header
        .lines()
        .filter(|line| line.starts_with(char::is_alphabetic) || line.starts_with("const"));
    let name = |line: &str| {
        let (before, _) = line.split_once('(')?;
        let name = before.rsplit([' ', '*']).next()?;
        name.starts_with("s3ota_").then(|| name.to_owned())
    };
    calls.filter_map(name).collect()
}

/// Symbols of an object file of this kind, by `nm`.
fn symbols(nm: &str, object: &str, kinds: &[&str]) -> BTreeSet<String> {
    let output = Command::new(nm).arg(object).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let symbol = |line: &str| {
        let mut words = line.split_whitespace().rev();
        let (name, kind) = (words.next()?, words.next()?);
        kinds.contains(&kind).then(|| name.to_owned())
    };
    text.lines().filter_map(symbol).collect()
}

/// Bytes of program memory that all calls together may take.
const FLASH: u64 = 224 * 1024;

/// Bytes of program memory that the library may take in a firmware with ESP-IDF's component.
const FLASH_IN_IDF: u64 = 220 * 1024;

/// Where ESP-IDF has things on the ESP32-C3: code and constants far from each other, and both far from the mask ROM, whose `memcpy`
/// and the like all firmwares use. Calls and addresses take more instructions there than in a small program.
const ESP32_C3: &str = "MEMORY {
    code : ORIGIN = 0x42000020, LENGTH = 8M
    constants : ORIGIN = 0x3c080020, LENGTH = 4M
    variables : ORIGIN = 0x3fc80000, LENGTH = 300K
}
SECTIONS {
    .text : { *(.text .text.*) } > code
    .rodata : { *(.rodata .rodata.* .srodata .srodata.*) } > constants
    .data : { *(.data .data.* .sdata .sdata.* .bss .bss.* .sbss .sbss.*) } > variables
}
";

/// Links all calls of the header with nothing but the functions that the archive may need. The program's file.
fn links(name: &str, ld: &[&str], libgcc: &[&str], nm: &str) -> String {
    let dir = target().join("c-api/tests");
    fs::create_dir_all(&dir).unwrap();
    let program = dir.join(format!("links-{name}-{}", std::process::id()));
    let program = program.display().to_string();
    let mut link = Command::new(ld[0]);
    link.args(&ld[1..]).args(["-static", "-e", "s3ota_run"]);
    let option = if ld.len() > 1 { "-Wl," } else { "" };
    link.arg(format!("{option}--gc-sections"));
    for call in declared() {
        link.args(["-u", &call]);
    }
    // Some function: it is not called.
    for function in allowed() {
        link.arg(format!("{option}--defsym={function}=s3ota_run"));
    }
    let output = link
        .arg(archive(name))
        .args(libgcc)
        .args(["-o", &program])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    // All calls of the header are there, and no others of that name.
    let mut calls = symbols(nm, &program, &["T"]);
    calls.retain(|name| name.starts_with("s3ota_"));
    assert_eq!(calls, declared());
    program
}

#[test]
fn on_this_machine() {
    links(
        "host",
        &[&tool("gcc", "gcc"), "-nostdlib", "-no-pie"],
        &[],
        &tool("nm", "binutils"),
    );
}

#[test]
fn for_riscv() {
    let gcc = tool("riscv64-unknown-elf-gcc", "gcc-riscv64-unknown-elf");
    let nm = tool("riscv64-unknown-elf-nm", "binutils-riscv64-unknown-elf");
    for (name, march) in [
        ("riscv32imc", "-march=rv32imc"),
        ("riscv32imac", "-march=rv32imac"),
    ] {
        let program = links(
            name,
            &[&gcc, march, "-mabi=ilp32", "-nostdlib"],
            &["-lgcc"],
            &nm,
        );
        let [flash, data, bss] = sizes(&program);
        println!(
            "{name}: {flash} bytes of flash, {} of variables",
            data + bss
        );
        assert!(flash <= FLASH, "{flash} bytes");
        // Everything lies in the state.
        assert_eq!(data + bss, 0);
    }
}

/// Flash, variables with a value, variables without, by `size`.
fn sizes(program: &str) -> [u64; 3] {
    let size = Command::new("riscv64-unknown-elf-size")
        .arg(program)
        .output()
        .unwrap();
    let text = String::from_utf8(size.stdout).unwrap();
    let numbers = text.lines().nth(1).unwrap().split_whitespace();
    let numbers = numbers.take(3).map(|number| number.parse().unwrap());
    numbers.collect::<Vec<_>>().try_into().unwrap()
}

/// The calls of the component for ESP-IDF, but for the one that few applications use.
fn of_the_component() -> BTreeSet<String> {
    let sources = fs::read_dir(in_repository("bindings/esp-idf/src")).unwrap();
    let code: String = sources
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    let words: BTreeSet<_> = code
        .split(|it: char| !it.is_ascii_alphanumeric() && it != '_')
        .collect();
    let mut calls = declared();
    calls.retain(|call| words.contains(&**call) && call != "s3ota_install_from");
    calls
}

#[test]
fn in_a_firmware_with_the_component_it_keeps_to_its_budget() {
    let gcc = tool("riscv64-unknown-elf-gcc", "gcc-riscv64-unknown-elf");
    let dir = target().join("c-api/tests");
    fs::create_dir_all(&dir).unwrap();
    let place = |name: &str| dir.join(format!("esp32c3-{}{name}", std::process::id()));
    let (script, program) = (place(".ld"), place(""));
    fs::write(&script, ESP32_C3).unwrap();
    let calls = of_the_component();
    assert!(calls.len() > 12, "{calls:?}");
    let mut link = Command::new(gcc);
    link.args(["-march=rv32imc", "-mabi=ilp32", "-nostdlib", "-static"])
        .args(["-Wl,--gc-sections", "-e", "s3ota_init", "-T"])
        .arg(&script);
    for call in &calls {
        link.args(["-u", call]);
    }
    for (number, function) in allowed().into_iter().enumerate() {
        let rom = 0x4000_0354 + 4 * number;
        link.arg(format!("-Wl,--defsym={function}={rom:#x}"));
    }
    let output = link
        .arg(archive("riscv32imc"))
        .arg("-lgcc")
        .arg("-o")
        .arg(&program)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let [flash, data, bss] = sizes(&program.display().to_string());
    println!("in ESP-IDF's component: {flash} bytes of flash");
    assert!(flash <= FLASH_IN_IDF, "{flash} bytes");
    assert!(flash > 150_000, "{flash} bytes: the library is not there");
    assert_eq!(data + bss, 0);
}

#[test]
fn for_xtensa() {
    let package = "binutils-xtensa-lx106";
    let (ld, nm) = (
        tool("xtensa-lx106-elf-ld", package),
        tool("xtensa-lx106-elf-nm", package),
    );
    links("xtensa", &[&ld], &[], &nm);
}
