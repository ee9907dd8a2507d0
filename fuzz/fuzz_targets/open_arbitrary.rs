//! See `seawall_fuzz::open_arbitrary`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| seawall_fuzz::open_arbitrary::run(input));
