//! One WebSocket connection: plaintext in, SIP messages out, and the other way round.

use std::io::{self, Read, Write};
use std::sync::Arc;

use tungstenite::error::Error;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, FrameHeader};
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Message, Utf8Bytes};

use super::failure::Failure;
use super::handshake::Handshake;
use super::origins::Origins;
use super::unfinished::Unfinished;
use crate::limits::{MESSAGE_BYTES, WS_READ_BYTES};

/// A connection with a client.
///
/// Between calls it holds an unfinished frame and the earlier parts of its message, at most
/// [`WS_RECEIVE_BYTES`](crate::limits::WS_RECEIVE_BYTES), and nothing that is to be sent: that comes out with each call.
#[derive(Debug, Default)]
pub struct WebSocket(Stage, Unfinished);

#[derive(Debug)]
enum Stage {
    Handshake(Handshake),
    Open(Box<WebSocketContext>),
    Closed,
}

impl Default for Stage {
    fn default() -> Self {
        Self::Handshake(Handshake::default())
    }
}

/// How a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing can be sent yet.
    Handshaking,
    /// Messages go both ways.
    Open,
    /// Both sides have said that they end it: the stream is to be closed once all is written.
    Closed,
}

impl WebSocket {
    /// One that pages of these origins alone may open.
    pub fn from(origins: Arc<Origins>) -> Self {
        Self(Stage::Handshake(Handshake::from(origins)), Unfinished::default())
    }

    /// Takes bytes as they came, cut anywhere. Each WebSocket message is given to `message`, be it text or binary (RFC 7118
    /// §4.2: servers "MUST accept both text and binary frames"), in order. The answer to the handshake, pongs and close
    /// frames are appended to `out`, which grows by no more than what came and the answer.
    ///
    /// # Errors
    /// The connection is to be closed, after `out` is sent: it ends with what tells the client why.
    pub fn receive(
        &mut self,
        mut bytes: &[u8],
        mut message: impl FnMut(&[u8]),
        out: &mut Vec<u8>,
    ) -> Result<State, Failure> {
        if let Stage::Handshake(handshake) = &mut self.0 {
            match handshake.receive(bytes, out) {
                Ok(None) => return Ok(State::Handshaking),
                Ok(Some(rest)) => {
                    bytes = rest;
                    self.0 = Stage::Open(Box::new(WebSocketContext::new(Role::Server, Some(config()))));
                }
                Err(failure) => {
                    self.0 = Stage::Closed;
                    return Err(failure);
                }
            }
        }
        let Stage::Open(context) = &mut self.0 else { return Ok(State::Closed) };
        let bytes = self.1.came(bytes);
        let mut pipe = Pipe { bytes, out };
        let error = loop {
            match context.read(&mut pipe) {
                Ok(Message::Text(text)) => message(text.as_bytes()),
                Ok(Message::Binary(binary)) => message(&binary),
                // Pings are answered, and a close frame is, with the next turn.
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_)) => {}
                Err(error) => break error,
            }
        };
        let (failure, code) = match error {
            Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if !self.1.is_too_large() {
                    return Ok(State::Open);
                }
                (Failure::TooLarge, CloseCode::Size)
            }
            Error::ConnectionClosed | Error::AlreadyClosed => {
                self.0 = Stage::Closed;
                return Ok(State::Closed);
            }
            Error::Capacity(_) => (Failure::TooLarge, CloseCode::Size),
            Error::Utf8(_) => (Failure::NotUtf8, CloseCode::Invalid),
            other => (Failure::Protocol(other.to_string()), CloseCode::Protocol),
        };
        // A close frame may be on its way already; then the stream's end says it.
        let _ = context.close(&mut pipe, Some(closing(code)));
        self.0 = Stage::Closed;
        Err(failure)
    }

    /// Puts a SIP message into a frame, which is appended to `out`: text where it is UTF-8, binary where not (RFC 7118 §4.2).
    /// False: nothing can be sent, not yet or no longer.
    pub fn send(&self, message: &[u8], out: &mut Vec<u8>) -> bool {
        let Stage::Open(context) = &self.0 else { return false };
        if !context.can_write() {
            return false;
        }
        let data = if str::from_utf8(message).is_ok() { Data::Text } else { Data::Binary };
        let header = FrameHeader { opcode: OpCode::Data(data), ..FrameHeader::default() };
        // A `Vec` takes everything.
        let is_written = header.format(message.len() as u64, out).is_ok();
        out.extend_from_slice(message);
        is_written
    }

    /// The opening handshake is not over.
    pub const fn is_handshaking(&self) -> bool {
        matches!(self.0, Stage::Handshake(_))
    }

    /// Nothing can be sent any more: one side has said that it ends it, or it has failed.
    pub fn is_closed(&self) -> bool {
        match &self.0 {
            Stage::Handshake(_) => false,
            Stage::Open(context) => !context.can_write(),
            Stage::Closed => true,
        }
    }

    /// A message or a frame has begun and is not whole.
    pub const fn is_within(&self) -> bool {
        matches!(self.0, Stage::Open(_)) && self.1.is_within()
    }

    /// Memory for what is not whole, in bytes.
    pub fn kept_bytes(&self) -> usize {
        match &self.0 {
            Stage::Handshake(handshake) => handshake.kept_bytes(),
            Stage::Open(_) => self.1.message_bytes(),
            Stage::Closed => 0,
        }
    }

    /// Says that we end it (RFC 6455 §7.1.2), because we stop or it was idle. The client answers, which makes
    /// [`State::Closed`] of it.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        if let Stage::Open(context) = &mut self.0 {
            // Fails where both have said so already.
            let _ = context.close(&mut Pipe { bytes: &[], out }, Some(closing(CloseCode::Away)));
        }
    }
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(WS_READ_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(MESSAGE_BYTES))
        .max_frame_size(Some(MESSAGE_BYTES))
}

fn closing(code: CloseCode) -> CloseFrame {
    CloseFrame { code, reason: Utf8Bytes::from_static("") }
}

/// What has come, and where goes what is to be sent.
struct Pipe<'p> {
    bytes: &'p [u8],
    out: &'p mut Vec<u8>,
}

impl Read for Pipe<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.bytes.read(buffer)
    }
}

impl Write for Pipe<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
