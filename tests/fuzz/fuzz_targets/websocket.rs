#![no_main]
//! Any bytes of a client, as WebSocket.

#[path = "../websocket.rs"]
mod websocket;

libfuzzer_sys::fuzz_target!(|data: &[u8]| websocket::run(data));
