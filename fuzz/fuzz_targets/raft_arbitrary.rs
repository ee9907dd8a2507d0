//! See `seawall_fuzz::raft_arbitrary`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| seawall_fuzz::raft_arbitrary::run(input));
