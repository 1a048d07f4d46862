//! The fuzzer's entry to `slm_fuzz::text_stream`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slm_fuzz::text_stream::run(data));
