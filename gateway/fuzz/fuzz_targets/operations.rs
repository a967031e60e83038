//! The target `operations` of `gateway::nfs::testing::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| gateway_fuzz::run("operations", input));
