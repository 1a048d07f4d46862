//! The fuzzer's entry to `slm_fuzz::gguf`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slm_fuzz::gguf::run(data));
