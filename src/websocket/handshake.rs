//! The opening handshake (RFC 6455 §4.2, RFC 7118 §4.1).

use std::sync::Arc;

use memchr::memmem;
use tungstenite::error::ProtocolError;
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, create_response, write_response};
use tungstenite::http::{HeaderMap, HeaderValue};

use super::failure::Failure;
use super::origins::Origins;
use crate::limits::WS_HANDSHAKE_BYTES;

const PROTOCOL: &str = "sec-websocket-protocol";

/// The head of a request as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Handshake {
    head: Vec<u8>,
    /// From where it may come; `None`: from anywhere.
    origins: Option<Arc<Origins>>,
}

impl Handshake {
    /// From pages of these origins.
    pub fn from(origins: Arc<Origins>) -> Self {
        Self { head: Vec::new(), origins: Some(origins) }
    }

    /// Bytes of the head that have come.
    pub fn kept_bytes(&self) -> usize {
        self.head.len()
    }

    /// Takes bytes as they came. `Some`: the handshake is done, the answer is in `out`, and these bytes came behind it.
    ///
    /// # Errors
    /// It is refused; the answer is in `out`, and the connection is to be closed behind it.
    pub fn receive<'b>(&mut self, bytes: &'b [u8], out: &mut Vec<u8>) -> Result<Option<&'b [u8]>, Failure> {
        let before = self.head.len();
        let room = WS_HANDSHAKE_BYTES.saturating_sub(before);
        self.head.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        // Parsed once, when its end is there: a head that comes byte by byte costs no more.
        let from = before.saturating_sub(3);
        let end =
            memmem::find(self.head.get(from..).unwrap_or_default(), b"\r\n\r\n").map(|at| from + at + 4);
        let Some(end) = end else {
            if self.head.len() < WS_HANDSHAKE_BYTES {
                return Ok(None);
            }
            refuse("431 Request Header Fields Too Large", "", "the request is too long", out);
            return Err(Failure::HandshakeTooLarge);
        };
        accept(self.head.get(..end).unwrap_or_default(), self.origins.as_deref(), out)?;
        // The end was not there before, so it is in `bytes`.
        Ok(Some(bytes.get(end.saturating_sub(before)..).unwrap_or_default()))
    }
}

fn accept(head: &[u8], origins: Option<&Origins>, out: &mut Vec<u8>) -> Result<(), Failure> {
    let response = match Request::try_parse(head) {
        // Who asks for no WebSocket at all is told that before.
        Ok(Some((_, request))) => match create_response(&request) {
            Ok(response) => {
                check(request.headers(), origins, out)?;
                Ok(response)
            }
            Err(error) => Err(error),
        },
        Ok(None) => Err(ProtocolError::HandshakeIncomplete.into()),
        Err(error) => Err(error),
    };
    let written = response.and_then(|mut response| {
        response.headers_mut().insert(PROTOCOL, HeaderValue::from_static("sip"));
        let mut answer = Vec::new();
        write_response(&mut answer, &response).map(|()| answer)
    });
    match written {
        Ok(answer) => {
            out.extend_from_slice(&answer);
            Ok(())
        }
        Err(error) => {
            let (status, header) = status(&error);
            refuse(status, header, "this is for SIP over WebSocket (RFC 7118)", out);
            Err(Failure::Handshake(error.to_string()))
        }
    }
}

/// Whether this client gets one.
fn check(headers: &HeaderMap, origins: Option<&Origins>, out: &mut Vec<u8>) -> Result<(), Failure> {
    if let Some(Err(failure)) = origins.map(|origins| origins.check(headers)) {
        refuse("403 Forbidden", "", "pages of this origin may not connect (RFC 6455)", out);
        return Err(failure);
    }
    if !offers_sip(headers) {
        refuse("400 Bad Request", "", "the subprotocol has to be sip (RFC 7118)", out);
        return Err(Failure::NoSubprotocol);
    }
    Ok(())
}

/// RFC 7118 §4.1: "The client MUST include the value "sip" in the Sec-WebSocket-Protocol header in its handshake request."
fn offers_sip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|protocol| protocol.trim().eq_ignore_ascii_case("sip"))
}

/// What HTTP says of it, and the header that this needs.
fn status(error: &tungstenite::Error) -> (&'static str, &'static str) {
    use tungstenite::Error::Protocol;
    match error {
        Protocol(ProtocolError::WrongHttpMethod) => ("405 Method Not Allowed", "Allow: GET\r\n"),
        // RFC 6455 §4.4 and RFC 9110 §15.5.22.
        Protocol(
            ProtocolError::MissingSecWebSocketVersionHeader
            | ProtocolError::MissingConnectionUpgradeHeader
            | ProtocolError::MissingUpgradeWebSocketHeader,
        ) => {
            let header = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n";
            ("426 Upgrade Required", header)
        }
        _ => ("400 Bad Request", ""),
    }
}

fn refuse(status: &str, header: &str, text: &str, out: &mut Vec<u8>) {
    let connection = if header.contains("Connection:") { "" } else { "Connection: close\r\n" };
    let length = text.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\n{connection}{header}Content-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{text}"
    );
    out.extend_from_slice(answer.as_bytes());
}
