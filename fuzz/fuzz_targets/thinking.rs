//! The fuzzer's entry to `slm_fuzz::thinking`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slm_fuzz::thinking::run(data));
