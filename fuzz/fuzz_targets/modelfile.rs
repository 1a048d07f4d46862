//! The fuzzer's entry to `slm_fuzz::modelfile`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slm_fuzz::modelfile::run(data));
