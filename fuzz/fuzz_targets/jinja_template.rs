//! The fuzzer's entry to `slm_fuzz::jinja_template`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slm_fuzz::jinja_template::run(data));
