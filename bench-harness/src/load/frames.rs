//! WebSocket of a caller (RFC 7118): the opening handshake, and a frame for each message. No I/O.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use tungstenite::Message;
use tungstenite::error::Error;
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};

/// What is kept of frames that have come in part, at first.
const READ: usize = 16 << 10;
/// Longest answer to the handshake in bytes.
const ANSWER: usize = 8 << 10;

/// A client's end of one connection.
pub struct Frames(Stage);

enum Stage {
    Handshake {
        key: String,
        answer: Vec<u8>,
        /// Said already.
        waiting: Vec<Vec<u8>>,
    },
    Open(Box<WebSocketContext>),
}

impl Frames {
    /// Asks the server at this address for WebSocket; the request is appended to `out`.
    pub fn open(to: SocketAddr, out: &mut Vec<u8>) -> Self {
        let key = generate_key();
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {to}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n\
             Sec-WebSocket-Protocol: sip\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        out.extend_from_slice(request.as_bytes());
        Self(Stage::Handshake { key, answer: Vec::new(), waiting: Vec::new() })
    }

    /// Says a message, as soon as that can be. RFC 6455 §5.3: "The masking key is a 32-bit value chosen at random by the
    /// client. When preparing a masked frame, the client MUST pick a fresh masking key from the set of allowed 32-bit values."
    pub fn say(&mut self, message: &[u8], out: &mut Vec<u8>) {
        match &mut self.0 {
            Stage::Handshake { waiting, .. } => waiting.push(message.to_vec()),
            Stage::Open(context) => framed(context, message.to_vec(), out),
        }
    }

    /// Takes what has come; messages are appended to `text`, what has to be sent for them to `out`.
    ///
    /// # Errors
    /// The connection is of no use any more.
    pub fn hear(&mut self, bytes: &[u8], text: &mut Vec<u8>, out: &mut Vec<u8>) -> io::Result<()> {
        match &mut self.0 {
            Stage::Open(context) => read(context, bytes, text, out),
            Stage::Handshake { key, answer, waiting } => {
                answer.extend_from_slice(bytes);
                let Some(end) = memchr::memmem::find(answer, b"\r\n\r\n") else {
                    return if answer.len() < ANSWER { Ok(()) } else { Err(refused("too much")) };
                };
                is_accepted(&answer[..end], key)?;
                let (rest, waiting) = (answer.split_off(end + 4), std::mem::take(waiting));
                let mut context = WebSocketContext::new(Role::Client, Some(config()));
                waiting.into_iter().for_each(|message| framed(&mut context, message, out));
                let read = read(&mut context, &rest, text, out);
                self.0 = Stage::Open(Box::new(context));
                read
            }
        }
    }

    /// Tells the server that nothing more is said.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        if let Stage::Open(context) = &mut self.0 {
            // Fails where the server has said so before.
            let _ = context.close(&mut Pipe { bytes: &[], out }, None);
        }
    }
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(READ).write_buffer_size(0)
}

/// A frame with a mask of its own: text where the message is UTF-8 (RFC 7118 §4.2).
fn framed(context: &mut WebSocketContext, message: Vec<u8>, out: &mut Vec<u8>) {
    let message = match String::from_utf8(message) {
        Ok(text) => Message::text(text),
        Err(error) => Message::binary(error.into_bytes()),
    };
    let mut pipe = Pipe { bytes: &[], out };
    // Fails where the connection is closing; what is on it is lost, and the account says so.
    let _ = context.write(&mut pipe, message).and_then(|()| context.flush(&mut pipe));
}

fn read(
    context: &mut WebSocketContext,
    bytes: &[u8],
    text: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    let mut pipe = Pipe { bytes, out };
    loop {
        match context.read(&mut pipe) {
            Ok(Message::Text(message)) => text.extend_from_slice(message.as_bytes()),
            Ok(Message::Binary(message)) => text.extend_from_slice(&message),
            // Pings are answered with the next turn.
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_)) => {}
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(io::Error::other(error)),
        }
    }
}

/// RFC 6455 §4.1 and RFC 7118 §4.1: the server switches protocols, shows that it has read the key, and agrees to `sip`.
fn is_accepted(answer: &[u8], key: &str) -> io::Result<()> {
    let answer = std::str::from_utf8(answer).map_err(|_| refused("no text"))?;
    let mut lines = answer.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 101 ") {
        return Err(refused(status));
    }
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(':')).collect();
    let says = |name: &str, value: &str| {
        headers.iter().any(|(own, said)| own.eq_ignore_ascii_case(name) && said.trim() == value)
    };
    let expected = derive_accept_key(key.as_bytes());
    match says("Sec-WebSocket-Accept", &expected) && says("Sec-WebSocket-Protocol", "sip") {
        true => Ok(()),
        false => Err(refused("another key or protocol")),
    }
}

fn refused(why: &str) -> io::Error {
    io::Error::other(format!("no WebSocket: {why}"))
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

#[cfg(test)]
mod tests {
    use viaduct::websocket::{State, WebSocket};

    use super::*;

    const TO: &str = "10.1.0.1:8080";

    /// What the server has heard, and what it says to that.
    fn serve(server: &mut WebSocket, bytes: &[u8]) -> (Vec<String>, Vec<u8>) {
        let (mut heard, mut out) = (Vec::new(), Vec::new());
        let state = server.receive(
            bytes,
            |message| heard.push(String::from_utf8(message.to_vec()).unwrap()),
            &mut out,
        );
        assert!(matches!(state, Ok(State::Open | State::Closed)), "{state:?}");
        (heard, out)
    }

    #[test]
    fn what_is_said_early_waits_and_each_message_is_one_masked_frame() {
        let (mut out, mut text, mut server) = (Vec::new(), Vec::new(), WebSocket::default());
        let mut client = Frames::open(TO.parse().unwrap(), &mut out);
        assert!(out.starts_with(b"GET / HTTP/1.1\r\nHost: 10.1.0.1:8080\r\n"));
        let (_, answer) = serve(&mut server, &out);
        out.clear();
        client.say(b"OPTIONS early", &mut out);
        assert!(out.is_empty());
        // The answer comes in two parts, with a frame behind it.
        let mut both = answer;
        assert!(server.send(b"SIP/2.0 200 OK", &mut both));
        client.hear(&both[..20], &mut text, &mut out).unwrap();
        client.hear(&both[20..], &mut text, &mut out).unwrap();
        assert_eq!(text, b"SIP/2.0 200 OK");
        client.say(b"OPTIONS late", &mut out);
        client.say(b"OPTIONS late", &mut out);
        // RFC 6455 §5.2: a final frame of text, and the mask bit with the length.
        let frame = |length: usize| [0x81, 0x80 | length as u8];
        assert_eq!((&out[..2], &out[19..21]), (&frame(13)[..], &frame(12)[..]));
        let (first, second) = (&out[19..37], &out[37..]);
        assert!(first.len() == second.len() && first != second, "each has a mask of its own");
        assert_eq!(serve(&mut server, &out).0, ["OPTIONS early", "OPTIONS late", "OPTIONS late"]);
    }

    #[test]
    fn a_ping_is_answered_and_a_close_said() {
        let (mut out, mut text, mut server) = (Vec::new(), Vec::new(), WebSocket::default());
        let mut client = Frames::open(TO.parse().unwrap(), &mut out);
        let (_, mut answer) = serve(&mut server, &out);
        answer.extend_from_slice(b"\x89\x02hi");
        out.clear();
        client.hear(&answer, &mut text, &mut out).unwrap();
        assert_eq!(out[..2], [0x8a, 0x82], "a masked pong");
        client.close(&mut out);
        serve(&mut server, &out);
    }

    #[test]
    fn who_does_not_agree_is_not_spoken_to() {
        for answer in [
            "HTTP/1.1 400 Bad Request\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Protocol: sip\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        ] {
            let (mut text, mut out) = (Vec::new(), Vec::new());
            let mut client = Frames::open(TO.parse().unwrap(), &mut out);
            let error = client.hear(answer.as_bytes(), &mut text, &mut out).unwrap_err();
            assert!(error.to_string().contains("no WebSocket"), "{error}");
        }
        let head = "HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
                    sec-websocket-protocol: sip";
        is_accepted(head.as_bytes(), "dGhlIHNhbXBsZSBub25jZQ==").unwrap();
    }
}
