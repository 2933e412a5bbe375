#![no_main]
//! Any datagram, at every listener: what of it is answered.

#[allow(dead_code)]
#[path = "../host.rs"]
mod host;
#[path = "../reply.rs"]
mod reply;
#[allow(dead_code)]
#[path = "../../support/mod.rs"]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| reply::run(data));
