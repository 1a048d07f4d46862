//! The fuzzer's entry to `slm_fuzz::go_template`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slm_fuzz::go_template::run(data));
