//! The fuzzer's entry to `slm_fuzz::tokenizer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slm_fuzz::tokenizer::run(data));
