#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| score::entry_points::onnx(fuzz::scratch(), data));
