//! The target `delta` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| s3ota_fuzz::delta::target(data));
