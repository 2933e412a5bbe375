//! TLS between the bytes of a stream and the SIP messages in them (RFC 3261 §26.2, RFC 5922, RFC 5630).
//!
//! Place in the flow: a [`Session`] stands between the socket's bytes and the framing. It does no I/O: ciphertext goes
//! in and plaintext comes out, and the other way round; whatever has to be written to the peer comes out with every call.
//!
//! ```text
//!  socket ──► Session::receive ──► plaintext ──► framing
//!         ◄── Session::send    ◄── plaintext ◄── messages
//! ```
//!
//! [`Server`] and [`Client`] are what sessions are made of: certificates, whom they trust, and what they ask of the peer.
//! Paths are validated by rustls and webpki; names by the rules of SIP domains ([`Identities`]).

#![forbid(unsafe_code)]

mod authorities;
mod certificate;
mod client;
mod credentials;
mod failure;
mod identities;
mod pem;
mod records;
mod server;
mod session;
mod sessions;
#[cfg(test)]
mod tests;
mod verify;

pub use authorities::{Authorities, AuthoritiesError};
pub use certificate::Certificate;
pub use client::{Client, PeerName};
pub use credentials::{ChainFault, Credentials, CredentialsError};
pub use failure::{Cause, Failure, date};
pub use identities::Identities;
pub use server::{ClientCertificates, Server};
pub use session::{NotSent, Session, State};

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// Tells what time it is to whoever asks whether a certificate is valid; of the system's clock unless a test says otherwise.
pub type Clock = Arc<dyn rustls::time_provider::TimeProvider>;

/// The system's clock.
pub fn system_clock() -> Clock {
    Arc::new(rustls::time_provider::DefaultTimeProvider)
}

/// Cipher suites, key exchanges and signatures: what rustls takes for safe, by aws-lc.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
