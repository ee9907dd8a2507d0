//! See `seawall_fuzz::verify_tool`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| seawall_fuzz::verify_tool::run(input));
