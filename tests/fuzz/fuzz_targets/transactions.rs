#![no_main]
//! Any datagram, at every listener, where transactions are kept.

#[allow(dead_code)]
#[path = "../host.rs"]
mod host;
#[allow(dead_code)]
#[path = "../../support/mod.rs"]
mod support;
#[allow(dead_code)]
#[path = "../transactions.rs"]
mod transactions;

libfuzzer_sys::fuzz_target!(|data: &[u8]| transactions::run(data));
