#![no_main]
//! Any datagram, at every listener, where rules change all they can.

#[allow(dead_code)]
#[path = "../host.rs"]
mod host;
#[allow(dead_code)]
#[path = "../../support/mod.rs"]
mod support;
#[allow(dead_code)]
#[path = "../set.rs"]
mod set;

libfuzzer_sys::fuzz_target!(|data: &[u8]| set::run(data));
