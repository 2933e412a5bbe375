//! Why a WebSocket connection failed.

use thiserror::Error;

/// Why there is no WebSocket connection, or no longer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// The request is no HTTP, or no WebSocket handshake.
    #[error("the WebSocket handshake is not one: {0}")]
    Handshake(String),
    /// Its head is longer than the limit.
    #[error("the WebSocket handshake is longer than {} bytes", crate::limits::WS_HANDSHAKE_BYTES)]
    HandshakeTooLarge,
    /// RFC 7118 §4.1: "The client MUST include the value "sip" in the Sec-WebSocket-Protocol header".
    #[error("the client does not offer the WebSocket subprotocol «sip»")]
    NoSubprotocol,
    /// RFC 6455 §10.2: "If the origin indicated is unacceptable to the server, then it SHOULD respond to the WebSocket handshake with
    /// a reply containing HTTP 403 Forbidden status code."
    #[error("a page of «{0}» would connect, which is none of `origins`")]
    Origin(String),
    /// A message is larger than the limit.
    #[error("a WebSocket message is larger than {} bytes", crate::limits::MESSAGE_BYTES)]
    TooLarge,
    /// A text message is not UTF-8.
    #[error("a WebSocket text message is not UTF-8")]
    NotUtf8,
    /// A frame breaks the protocol.
    #[error("the WebSocket protocol is broken: {0}")]
    Protocol(String),
}

impl Failure {
    /// All labels, in the order of the enum.
    pub const LABELS: [&str; 7] =
        ["handshake", "handshake_too_large", "no_subprotocol", "origin", "too_large", "not_utf8", "protocol"];

    /// Its place among [`Failure::LABELS`].
    pub const fn index(&self) -> usize {
        match self {
            Self::Handshake(_) => 0,
            Self::HandshakeTooLarge => 1,
            Self::NoSubprotocol => 2,
            Self::Origin(_) => 3,
            Self::TooLarge => 4,
            Self::NotUtf8 => 5,
            Self::Protocol(_) => 6,
        }
    }

    /// The metric's label.
    pub const fn label(&self) -> &'static str {
        Self::LABELS[self.index()]
    }
}
