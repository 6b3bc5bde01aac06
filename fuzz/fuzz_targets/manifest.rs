//! The target `manifest` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| s3ota_fuzz::manifest::target(data));
