#![no_main]
//! Any datagram, at every listener: what of it is forwarded.

#[path = "../forward.rs"]
mod forward;
#[allow(dead_code)]
#[path = "../host.rs"]
mod host;
#[allow(dead_code)]
#[path = "../../support/mod.rs"]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| forward::run(data));
