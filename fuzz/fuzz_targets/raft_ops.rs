//! See `seawall_fuzz::raft_ops`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| seawall_fuzz::raft_ops::run(input));
