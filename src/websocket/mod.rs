//! SIP over WebSocket (RFC 7118): the handshake and the frames of one connection, without I/O.
//!
//! Place in the flow: a [`WebSocket`] stands between the plaintext of a stream (TCP for `ws`, TLS for `wss`) and the
//! messages in it. It takes the place of framing by Content-Length: RFC 7118 §5, "Each SIP message MUST be carried within a
//! single WebSocket message".
//!
//! We are the server. Connections are opened by browsers only, so there is no client side.

#![forbid(unsafe_code)]

mod connection;
mod failure;
mod handshake;
mod origins;
#[cfg(test)]
mod tests;
mod unfinished;

pub use connection::{State, WebSocket};
pub use failure::Failure;
pub use origins::{Origin, Origins};
