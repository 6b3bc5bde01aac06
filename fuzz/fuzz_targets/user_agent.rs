//! The target `user_agent` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| s3ota_fuzz::user_agent::target(data));
