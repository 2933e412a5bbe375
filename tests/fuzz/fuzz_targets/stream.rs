#![no_main]
//! Any bytes of a connection, as messages.

#[allow(dead_code)]
#[path = "../stream.rs"]
mod stream;

libfuzzer_sys::fuzz_target!(|data: &[u8]| stream::run(data));
