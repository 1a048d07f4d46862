//! The fuzzer's entry to `slm_fuzz::tar`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slm_fuzz::tar::run(data));
