//! The fuzzer's entry to `slm_fuzz::answer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slm_fuzz::answer::run(data));
