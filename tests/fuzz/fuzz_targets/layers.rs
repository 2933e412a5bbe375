#![no_main]
//! Any bytes of a client, beneath TLS and WebSocket.

#[path = "../../support/held.rs"]
mod held;
#[path = "../layers.rs"]
mod layers;
#[allow(dead_code)]
#[path = "../../support/pki.rs"]
mod pki;
#[allow(dead_code)]
#[path = "../tls.rs"]
mod tls;
#[allow(dead_code)]
#[path = "../websocket.rs"]
mod websocket;

libfuzzer_sys::fuzz_target!(|data: &[u8]| layers::run(data));
