//! The structs of `s3ota.h`. Its documentation is there, and a test compares the two.

use core::ffi::{c_char, c_void};

/// `s3ota_address`
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Address {
    pub family: u8,
    pub bytes: [u8; 16],
    pub reserved: u8,
    pub port: u16,
}

/// `s3ota_port`
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Port {
    pub size: u32,
    pub flash_size: u32,
    pub running: u32,
    pub reserved: u32,
    pub ctx: *mut c_void,
    pub flash_read: Option<unsafe extern "C" fn(*mut c_void, u32, *mut c_void, u32) -> i32>,
    pub flash_write: Option<unsafe extern "C" fn(*mut c_void, u32, *const c_void, u32) -> i32>,
    pub flash_erase: Option<unsafe extern "C" fn(*mut c_void, u32, u32) -> i32>,
    pub resolve:
        Option<unsafe extern "C" fn(*mut c_void, *const c_char, u8, *mut Address, u32) -> i32>,
    pub open: Option<unsafe extern "C" fn(*mut c_void, *const Address) -> i32>,
    pub connect: Option<unsafe extern "C" fn(*mut c_void, i32, u32) -> i32>,
    pub recv: Option<unsafe extern "C" fn(*mut c_void, i32, *mut c_void, u32, u32) -> i32>,
    pub send: Option<unsafe extern "C" fn(*mut c_void, i32, *const c_void, u32, u32) -> i32>,
    pub close: Option<unsafe extern "C" fn(*mut c_void, i32)>,
    pub uptime_ms: Option<unsafe extern "C" fn(*mut c_void) -> u64>,
    pub unix_time: Option<unsafe extern "C" fn(*mut c_void) -> i64>,
    pub since_power_on_ms: Option<unsafe extern "C" fn(*mut c_void) -> u64>,
    pub sleep_ms: Option<unsafe extern "C" fn(*mut c_void, u32)>,
    pub random: Option<unsafe extern "C" fn(*mut c_void, *mut c_void, u32)>,
}

/// `s3ota_log`
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Log {
    pub size: u32,
    pub most: i32,
    pub ctx: *mut c_void,
    pub line: Option<unsafe extern "C" fn(*mut c_void, i32, *const c_char)>,
}

/// `s3ota_guard`
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Guard {
    pub size: u32,
    pub partition_table: u32,
    pub reset: u8,
    pub trial_boots: u8,
    pub of: u8,
    pub bootloader: u8,
    pub boot: u32,
}

/// `s3ota_bytes`
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Bytes {
    pub data: *const u8,
    pub len: usize,
}

/// `s3ota_header`
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Header {
    pub name: *const c_char,
    pub value: *const c_char,
    pub also_to: *const c_char,
}

/// `s3ota_config`
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Config {
    pub size: u32,
    pub confirm: u32,
    pub manifest_url: *const c_char,
    pub version: *const c_char,
    pub chip: *const c_char,
    pub device_id: *const c_char,
    pub board: *const c_char,
    pub channel: *const c_char,
    pub renamed_to: *const c_char,
    pub release_keys: *const Bytes,
    pub release_key_count: usize,
    pub roots: *const Bytes,
    pub root_count: usize,
    pub headers: *const Header,
    pub header_count: usize,
    pub built_at: u64,
    pub no_built_in_roots: u8,
    pub hide_device_id: u8,
    pub jitter_percent: u8,
    pub attempts: u8,
    pub idle_ms: u32,
    pub deadline_ms: u32,
    pub first_pause_ms: u32,
    pub longest_pause_ms: u32,
    pub first_ms: u32,
    pub every_ms: u32,
    pub trial_time_ms: u32,
    pub partition_table: u32,
    pub hardware_known: u32,
    pub hardware_revision: u16,
    pub hardware_block_revision: u16,
    pub hardware_secure_version: u32,
    pub id_key: Bytes,
}

/// `s3ota_release`
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Release {
    pub size: u32,
    pub image_size: u32,
    pub version: [c_char; 48],
}

/// `s3ota_source`
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Source {
    pub size: u32,
    pub reserved: u32,
    pub ctx: *mut c_void,
    pub read: Option<unsafe extern "C" fn(*mut c_void, *mut c_void, u32, u32) -> i32>,
    pub seek: Option<unsafe extern "C" fn(*mut c_void, u32) -> i32>,
}

/// `s3ota_hooks`
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Hooks {
    pub size: u32,
    pub reserved: u32,
    pub ctx: *mut c_void,
    pub may_start: Option<unsafe extern "C" fn(*mut c_void, *const Release) -> i32>,
    pub start: Option<unsafe extern "C" fn(*mut c_void, *const Release)>,
    pub progress: Option<unsafe extern "C" fn(*mut c_void, u32, u32)>,
    pub no_update: Option<unsafe extern "C" fn(*mut c_void, i32)>,
    pub error: Option<unsafe extern "C" fn(*mut c_void, i32, *const c_char, u32)>,
    pub stop: Option<unsafe extern "C" fn(*mut c_void)>,
    pub complete: Option<unsafe extern "C" fn(*mut c_void, *const Release)>,
    pub confirmed: Option<unsafe extern "C" fn(*mut c_void)>,
    pub before_restart: Option<unsafe extern "C" fn(*mut c_void, i32)>,
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::mem::{offset_of, size_of};
    use std::path::Path;
    use std::process::Command;
    use std::string::String;
    use std::vec::Vec;
    use std::{format, fs, println};

    use super::*;
    use crate::{codes, config, hooks, state};

    /// Assertions for C: the size of a struct, and the place of each of its fields.
    macro_rules! layout {
        ($to:ident, $rust:ident as $c:literal { $($field:ident),+ $(,)? }) => {
            writeln!($to, "_Static_assert(sizeof({}) == {}, {:?});", $c, size_of::<$rust>(), $c).unwrap();
            $(
                let (field, offset) = (stringify!($field), offset_of!($rust, $field));
                writeln!($to, "_Static_assert(offsetof({}, {field}) == {offset}, \"{field}\");", $c).unwrap();
                let size = {
                    fn size<T, F>(_: fn(&T) -> &F) -> usize { size_of::<F>() }
                    size(|it: &$rust| &it.$field)
                };
                writeln!($to, "_Static_assert(sizeof((({} *)0)->{field}) == {size}, \"{field}\");", $c).unwrap();
            )+
            // Every field of C's is one of these.
            let fields = [$(stringify!($field)),+];
            let in_header = fields_of($c);
            assert_eq!(in_header, fields, "{}", $c);
        };
    }

    fn header() -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/s3ota.h");
        fs::read_to_string(path).unwrap()
    }

    /// The header without comments.
    fn code() -> String {
        let header = header();
        let mut code = String::new();
        let mut rest = &*header;
        while let Some((before, comment)) = rest.split_once("/*") {
            code.push_str(before);
            rest = comment.split_once("*/").unwrap().1;
        }
        code + rest
    }

    /// The fields of a struct, in their order.
    fn fields_of(name: &str) -> Vec<String> {
        let code = code();
        let begin = format!("typedef struct {name} {{");
        let (_, rest) = code.split_once(&begin).unwrap();
        let (body, _) = rest.split_once('}').unwrap();
        let name = |field: &str| match field.split_once("(*") {
            Some((_, function)) => String::from(function.split_once(')').unwrap().0),
            None => {
                let field = field.split('[').next().unwrap();
                let name = field.rsplit([' ', '*']).next().unwrap();
                String::from(name)
            }
        };
        let fields = body
            .split(';')
            .map(str::trim)
            .filter(|field| !field.is_empty());
        fields.map(name).collect()
    }

    #[test]
    fn the_header_has_the_same_structs_and_constants() {
        let mut c = String::from("#include \"s3ota.h\"\n");
        layout!(c, Address as "s3ota_address" { family, bytes, reserved, port });
        layout!(c, Port as "s3ota_port" {
            size, flash_size, running, reserved, ctx, flash_read, flash_write, flash_erase, resolve, open, connect,
            recv, send, close, uptime_ms, unix_time, since_power_on_ms, sleep_ms, random,
        });
        layout!(c, Log as "s3ota_log" { size, most, ctx, line });
        layout!(c, Guard as "s3ota_guard" { size, partition_table, reset, trial_boots, of, bootloader, boot });
        layout!(c, Bytes as "s3ota_bytes" { data, len });
        layout!(c, Header as "s3ota_header" { name, value, also_to });
        layout!(c, Config as "s3ota_config" {
            size, confirm, manifest_url, version, chip, device_id, board, channel, renamed_to, release_keys,
            release_key_count, roots, root_count, headers, header_count, built_at, no_built_in_roots, hide_device_id,
            jitter_percent, attempts, idle_ms, deadline_ms, first_pause_ms, longest_pause_ms, first_ms, every_ms,
            trial_time_ms, partition_table, hardware_known, hardware_revision, hardware_block_revision,
            hardware_secure_version, id_key,
        });
        layout!(c, Release as "s3ota_release" { size, image_size, version });
        layout!(c, Source as "s3ota_source" { size, reserved, ctx, read, seek });
        layout!(c, Hooks as "s3ota_hooks" {
            size, reserved, ctx, may_start, start, progress, no_update, error, stop, complete, confirmed,
            before_restart,
        });
        let numbers = [
            ("MAX_RELEASE_KEYS", config::MAX_RELEASE_KEYS),
            ("MAX_HEADERS", config::MAX_HEADERS),
            ("MAX_ROOTS", config::MAX_ROOTS),
            ("NONE", hooks::NONE as usize),
            ("WEAR_WORDS", s3ota::Wear::WORDS),
            ("DEFAULT_TRIAL_BOOTS", s3ota::DEFAULT_TRIAL_BOOTS.into()),
        ];
        for (name, number) in numbers {
            writeln!(c, "_Static_assert(S3OTA_{name} == {number}u, \"{name}\");").unwrap();
        }
        for (name, number) in codes::CONSTANTS {
            let kind = if *number < 0 { "ERR_" } else { "" };
            writeln!(
                c,
                "_Static_assert(S3OTA_{kind}{name} == {number}, \"{name}\");"
            )
            .unwrap();
        }
        writeln!(
            c,
            "_Static_assert(S3OTA_STATE_SIZE >= {}, \"state\");",
            state::SIZE
        )
        .unwrap();
        compile(&c);
        // And every error of the header is one of these.
        let code = code();
        let in_header = code.matches("#define S3OTA_ERR_").count();
        let here = codes::CONSTANTS
            .iter()
            .filter(|(_, number)| *number < 0)
            .count();
        assert_eq!(in_header, here);
    }

    fn compile(source: &str) {
        let dir = std::env::temp_dir().join(format!("s3ota-header-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let file = dir.join("layout.c");
        fs::write(&file, source).unwrap();
        let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
        let output = Command::new("gcc")
            .args([
                "-std=c11",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-fsyntax-only",
                "-I",
            ])
            .arg(include)
            .arg(&file)
            .output()
            .expect("gcc: apt-get install gcc");
        fs::remove_dir_all(&dir).unwrap();
        println!("{source}");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Every code that the library has is one of the header's.
    #[test]
    fn the_library_has_no_code_that_the_header_lacks() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates");
        let mut found = 0;
        for file in [
            "s3ota/src/error.rs",
            "s3ota-manifest/src/error.rs",
            "s3ota-tls/src/error.rs",
            "s3ota-image/src/app/error.rs",
            "s3ota-image/src/app/hardware.rs",
        ] {
            let source = fs::read_to_string(crates.join(file)).unwrap();
            for name in source.split('"').skip(1).step_by(2) {
                let is_code = name.split_once('.').is_some_and(|(group, rest)| {
                    let is_word = |it: &str| {
                        !it.is_empty() && it.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
                    };
                    is_word(group) && is_word(rest)
                });
                if is_code {
                    found += 1;
                    assert_ne!(codes::number(name), codes::OTHER, "{name} in {file}");
                }
            }
        }
        assert!(found > 40, "only {found} codes were found");
    }
}
