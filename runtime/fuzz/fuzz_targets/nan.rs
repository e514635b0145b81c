#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fedmkt_fuzz::run("nan", data));
