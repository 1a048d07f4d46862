//! The fuzzer's entry to `slm_fuzz::tool_calls`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slm_fuzz::tool_calls::run(data));
