//! The target `journal` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| s3ota_fuzz::journal::target(data));
