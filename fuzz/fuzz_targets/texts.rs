#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wire::entry_points::texts(data));
