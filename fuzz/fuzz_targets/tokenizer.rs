#![no_main]

// The library panics where a tokenizer makes no sense; that is caught, and must not end the process before.
libfuzzer_sys::fuzz_target!(
    init: std::panic::set_hook(Box::new(|_| {})),
    |data: &[u8]| text::entry_points::tokenizer(data)
);
