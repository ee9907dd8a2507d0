//! See `seawall_fuzz::open_mutated`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| seawall_fuzz::open_mutated::run(input));
