//! The fuzzer's entry to `slm_fuzz::registry`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slm_fuzz::registry::run(data));
