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
    pub const LABELS: [&str; 6] =
        ["handshake", "handshake_too_large", "no_subprotocol", "too_large", "not_utf8", "protocol"];

    /// Its place among [`Failure::LABELS`].
    pub const fn index(&self) -> usize {
        match self {
            Self::Handshake(_) => 0,
            Self::HandshakeTooLarge => 1,
            Self::NoSubprotocol => 2,
            Self::TooLarge => 3,
            Self::NotUtf8 => 4,
            Self::Protocol(_) => 5,
        }
    }

    /// The metric's label.
    pub const fn label(&self) -> &'static str {
        Self::LABELS[self.index()]
    }
}
