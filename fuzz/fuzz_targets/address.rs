#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| redis_store::entry_points::address(data));
