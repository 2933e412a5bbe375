//! The target `websocket`: what holds for any bytes that a client sends over WebSocket, and for any that are sent to it.

use viaduct::limits::{MESSAGE_BYTES, WS_RECEIVE_BYTES};
use viaduct::websocket::{State, WebSocket};

/// A handshake that is accepted: what mutations begin with.
pub const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: sip.example.net\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sip\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// A handshake and masked frames behind it: text in two parts with a ping between, binary, a close.
pub fn examples() -> Vec<Vec<u8>> {
    let frame = |first: u8, payload: &[u8]| {
        let mut bytes = vec![first, 0x80 | payload.len() as u8, 1, 2, 3, 4];
        bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ [1, 2, 3, 4][at % 4]));
        bytes
    };
    let options = b"OPTIONS sip:example.net SIP/2.0\r\nVia: SIP/2.0/WS a.invalid;branch=z9hG4bK1\r\n\r\n";
    let frames = [
        frame(0x01, &options[..20]),
        frame(0x89, b"ping"),
        frame(0x80, &options[20..]),
        frame(0x82, b"\xff\0"),
        frame(0x88, &[3, 0xe8]),
    ];
    vec![REQUEST.to_vec(), [REQUEST, &frames.concat()].concat(), frames.concat(), frame(0x81, options)]
}

/// What a connection makes of bytes.
#[derive(Debug, Default, PartialEq)]
struct Made {
    messages: Vec<Vec<u8>>,
    out: Vec<u8>,
    state: Option<Result<State, &'static str>>,
}

/// Takes `data` for all that a client sends, and for what it sends once it is open. Panics where something does not hold that
/// always should.
pub fn run(data: &[u8]) {
    let (first, second) = data.split_at(data.len() / 2);
    for before in [&b""[..], REQUEST] {
        let whole = made(&[before, data]);
        assert_eq!(whole, made(&[before, first, second]), "cut in the middle");
        assert!(whole.messages.iter().all(|message| message.len() <= MESSAGE_BYTES));
        let answer = 1_024;
        assert!(whole.out.len() <= data.len() + answer, "{} bytes answer {}", whole.out.len(), data.len());
        assert!(data.len() <= WS_RECEIVE_BYTES || whole.state.is_some());
    }
    is_framed(data);
}

fn made(parts: &[&[u8]]) -> Made {
    let (mut socket, mut made) = (WebSocket::default(), Made::default());
    for part in parts.iter().filter(|part| !part.is_empty()) {
        let message = |message: &[u8]| made.messages.push(message.to_vec());
        let state = socket.receive(part, message, &mut made.out).map_err(|failure| failure.label());
        made.state = Some(state);
        if !matches!(state, Ok(State::Open | State::Handshaking)) {
            assert!(!socket.send(b"too late", &mut made.out));
            break;
        }
    }
    made
}

/// A message that is sent is one frame with all of it.
fn is_framed(data: &[u8]) {
    let mut socket = WebSocket::default();
    let mut out = Vec::new();
    socket.receive(REQUEST, |_| panic!("there is no message"), &mut out).expect("it is a handshake");
    out.clear();
    assert!(socket.send(data, &mut out));
    assert!(out.ends_with(data) && out.len() - data.len() <= 10);
    let opcode = if str::from_utf8(data).is_ok() { 0x81 } else { 0x82 };
    assert_eq!(out.first(), Some(&opcode));
}
