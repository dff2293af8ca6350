#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| score::entry_points::options(fuzz::scratch(), data));
