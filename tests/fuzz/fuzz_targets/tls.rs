#![no_main]
//! Any bytes of a peer, as TLS.

#[allow(dead_code)]
#[path = "../../support/pki.rs"]
mod pki;
#[path = "../tls.rs"]
mod tls;

libfuzzer_sys::fuzz_target!(|data: &[u8]| tls::run(data));
