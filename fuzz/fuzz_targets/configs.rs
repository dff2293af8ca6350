#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| text::entry_points::configs(fuzz::scratch(), data));
