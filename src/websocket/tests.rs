use std::sync::Arc;

use proptest::prelude::*;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader};

use super::*;
use crate::limits::{MESSAGE_BYTES, WS_HANDSHAKE_BYTES};

const REQUEST: &str = "GET / HTTP/1.1\r\n\
    Host: sip-ws.example.com\r\n\
    Upgrade: websocket\r\n\
    Connection: keep-alive, Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Origin: http://www.example.com\r\n\
    Sec-WebSocket-Protocol: chat, sip\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// A frame as clients send it: masked.
fn frame(opcode: OpCode, payload: &[u8], is_final: bool) -> Vec<u8> {
    let header = FrameHeader { is_final, opcode, mask: Some([1, 2, 3, 4]), ..FrameHeader::default() };
    let frame = Frame::from_payload(header, payload.to_vec().into());
    let mut bytes = Vec::new();
    frame.format(&mut bytes).expect("formatted");
    bytes
}

fn text(payload: &[u8]) -> Vec<u8> {
    frame(OpCode::Data(Data::Text), payload, true)
}

/// What a connection has made of bytes.
#[derive(Debug, Default, PartialEq)]
struct Made {
    messages: Vec<Vec<u8>>,
    out: Vec<u8>,
}

impl Made {
    fn take(&mut self, socket: &mut WebSocket, bytes: &[u8]) -> Result<State, Failure> {
        socket.receive(bytes, |message| self.messages.push(message.to_vec()), &mut self.out)
    }
}

fn open() -> WebSocket {
    let mut socket = WebSocket::default();
    assert_eq!(Made::default().take(&mut socket, REQUEST.as_bytes()), Ok(State::Open));
    socket
}

/// What an open connection makes of these bytes.
fn after(bytes: &[u8]) -> (Result<State, Failure>, Made) {
    let (mut socket, mut made) = (open(), Made::default());
    let state = made.take(&mut socket, bytes);
    (state, made)
}

#[test]
fn the_handshake_answers_with_the_subprotocol() {
    let mut made = Made::default();
    assert_eq!(made.take(&mut WebSocket::default(), REQUEST.as_bytes()), Ok(State::Open));
    let answer = String::from_utf8(made.out).expect("text");
    assert!(answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n") && answer.ends_with("\r\n\r\n"));
    for line in ["sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", "sec-websocket-protocol: sip\r\n"]
    {
        assert!(answer.to_ascii_lowercase().contains(&line.to_ascii_lowercase()), "{answer}");
    }
}

#[test]
fn what_is_no_handshake_is_refused_in_http() {
    let without =
        |line: &str| REQUEST.lines().filter(|l| !l.starts_with(line)).map(|l| format!("{l}\r\n")).collect();
    let cases: [(String, &str, &str); 9] = [
        ("GET / HTTP/1.1\r\nHost: sip-ws.example.com\r\n\r\n".to_owned(), "handshake", "426 "),
        (without("Sec-WebSocket-Protocol"), "no_subprotocol", "400 "),
        (REQUEST.replace("chat, sip", "chat, sips"), "no_subprotocol", "400 "),
        (REQUEST.replace("GET ", "POST "), "handshake", "405 "),
        (without("Upgrade"), "handshake", "426 "),
        (REQUEST.replace("Version: 13", "Version: 8"), "handshake", "426 "),
        (without("Sec-WebSocket-Key"), "handshake", "400 "),
        ("OPTIONS sip:a SIP/2.0\r\nVia: x\r\n\r\n".to_owned(), "handshake", "400 "),
        ("\0\r\n\r\n".to_owned(), "handshake", "400 "),
    ];
    for (request, label, status) in cases {
        let (mut socket, mut made) = (WebSocket::default(), Made::default());
        let failure = made.take(&mut socket, request.as_bytes()).expect_err(&request);
        assert_eq!(failure.label(), label, "{request}");
        let answer = String::from_utf8_lossy(&made.out).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}\n{answer}");
        assert_eq!(made.take(&mut socket, &text(b"x")), Ok(State::Closed));
        assert!(made.messages.is_empty() && !socket.send(b"x", &mut made.out));
    }
}

/// RFC 6455 §10.2: "If the origin indicated is unacceptable to the server, then it SHOULD respond to the WebSocket handshake with a
/// reply containing HTTP 403 Forbidden status code."
#[test]
fn pages_of_other_origins_are_refused_where_some_are_named() {
    let origins = ["https://phone.example.com", "http://www.example.com:80"];
    let origins = Arc::new(Origins::new(origins.map(|text| Origin::parse(text).expect("an origin"))));
    let line = "Origin: http://www.example.com\r\n";
    let tried = |headers: &str, origins: Option<&Arc<Origins>>| {
        let mut socket = origins.cloned().map_or_else(WebSocket::default, WebSocket::from);
        let mut made = Made::default();
        let state = made.take(&mut socket, REQUEST.replace(line, headers).as_bytes());
        (state, String::from_utf8(made.out).expect("text"))
    };
    for headers in [line, "oRIGIN: HTTPS://phone.Example.com:443\r\n", ""] {
        assert_eq!(tried(headers, Some(&origins)).0, Ok(State::Open), "{headers}");
    }
    for (headers, shown) in [
        ("Origin: https://www.example.com\r\n", "https://www.example.com"),
        ("Origin: null\r\n", "null"),
        ("Origin: \r\n", ""),
        ("Origin: http://www.example.com\r\nOrigin: https://evil.example\r\n", "https://evil.example"),
        (
            "Origin: http://www.example.com https://evil.example\r\n",
            "http://www.example.com https://evil.example",
        ),
    ] {
        let (state, answer) = tried(headers, Some(&origins));
        assert_eq!(state, Err(Failure::Origin(shown.to_owned())), "{headers}");
        assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
        assert_eq!(tried(headers, None).0, Ok(State::Open), "{headers}");
    }
}

#[test]
fn a_handshake_has_an_end() {
    let (mut socket, mut made) = (WebSocket::default(), Made::default());
    let line = "GET / HTTP/1.1\r\nX: ".to_owned() + &"x".repeat(WS_HANDSHAKE_BYTES);
    let (first, last) = line.as_bytes().split_at(WS_HANDSHAKE_BYTES - 1);
    assert_eq!(made.take(&mut socket, first), Ok(State::Handshaking));
    assert_eq!(made.take(&mut socket, last), Err(Failure::HandshakeTooLarge));
    assert!(made.out.starts_with(b"HTTP/1.1 431 "));
}

#[test]
fn messages_are_whole_whatever_their_frames() {
    let mut bytes = [text(b"one"), frame(OpCode::Data(Data::Binary), b"\xff\0", true)].concat();
    for (opcode, part, is_final) in
        [(Data::Text, "tw", false), (Data::Continue, "", false), (Data::Continue, "o", true)]
    {
        bytes.extend(frame(OpCode::Data(opcode), part.as_bytes(), is_final));
        bytes.extend(frame(OpCode::Control(Control::Pong), b"", true));
    }
    let (state, made) = after(&bytes);
    assert_eq!(state, Ok(State::Open));
    assert_eq!(made.messages, [b"one".to_vec(), b"\xff\0".to_vec(), b"two".to_vec()]);
    assert!(made.out.is_empty());
}

/// What an open connection keeps after these bytes, and whether something has begun.
fn kept(socket: &mut WebSocket, bytes: &[u8]) -> (usize, bool) {
    assert_eq!(Made::default().take(socket, bytes), Ok(State::Open));
    (socket.kept_bytes(), socket.is_within())
}

#[test]
fn what_is_not_whole_is_known_however_it_is_cut() {
    let (begin, go_on) = (OpCode::Data(Data::Text), OpCode::Data(Data::Continue));
    let ping = frame(OpCode::Control(Control::Ping), b"are you there", true);
    let frames = [
        (text(b"whole"), (0, false)),
        (ping.clone(), (0, false)),
        (frame(begin, &[b'a'; 300], false), (300, true)),
        (ping, (300, true)),
        (frame(go_on, &[b'b'; 7_000], false), (7_300, true)),
        (frame(go_on, b"c", true), (0, false)),
    ];
    for step in [1, 2, 7, 10_000] {
        let mut socket = open();
        for (bytes, expected) in &frames {
            let all: Vec<_> = bytes.chunks(step).map(|part| kept(&mut socket, part)).collect();
            let (last, parts) = all.split_last().expect("a frame has bytes");
            assert_eq!(last, expected, "by {step}");
            assert!(parts.iter().all(|(_, is_within)| *is_within), "by {step}");
        }
    }
    let announced = frame(begin, &[b'a'; 60_000], true);
    assert_eq!(kept(&mut open(), &announced[..8]), (60_000, true), "there is memory for it");
    let mut waiting = WebSocket::default();
    Made::default().take(&mut waiting, &REQUEST.as_bytes()[..90]).expect("a part of a handshake");
    assert_eq!((waiting.kept_bytes(), waiting.is_within()), (90, false));
}

#[test]
fn parts_that_are_too_much_together_are_not_waited_for() {
    let first = frame(OpCode::Data(Data::Text), &[b'a'; 40_000], false);
    let second = frame(OpCode::Data(Data::Continue), &[b'a'; 40_000], true);
    let (state, made) = after(&[&first[..], &second[..8]].concat());
    assert_eq!(state, Err(Failure::TooLarge));
    assert!(made.out.starts_with(&[0x88, 2, 3, 0xf1]), "1009: {:?}", made.out);
}

#[test]
fn pings_are_answered() {
    let pings =
        [frame(OpCode::Control(Control::Ping), b"a", true), frame(OpCode::Control(Control::Ping), b"", true)];
    assert_eq!(
        after(&pings.concat()),
        (Ok(State::Open), Made { messages: vec![], out: b"\x8a\x01a\x8a\x00".to_vec() })
    );
}

#[test]
fn a_close_is_answered_and_ends_it() {
    let close = frame(OpCode::Control(Control::Close), &1000_u16.to_be_bytes(), true);
    let (state, made) = after(&[close, text(b"late")].concat());
    assert_eq!(state, Ok(State::Closed));
    assert_eq!((made.messages.len(), made.out), (0, b"\x88\x02\x03\xe8".to_vec()));
}

#[test]
fn our_close_waits_for_the_clients() {
    let (mut socket, mut made) = (open(), Made::default());
    socket.close(&mut made.out);
    assert_eq!(made.out, b"\x88\x02\x03\xe9");
    assert!(!socket.send(b"x", &mut made.out));
    assert_eq!(made.take(&mut socket, &text(b"on its way")), Ok(State::Open));
    assert_eq!(made.messages.len(), 1);
    let close = frame(OpCode::Control(Control::Close), &1001_u16.to_be_bytes(), true);
    assert_eq!(made.take(&mut socket, &close), Ok(State::Closed));
}

#[test]
fn what_breaks_the_protocol_is_told_by_a_close_code() {
    let mut unmasked = Vec::new();
    Frame::message(b"x".to_vec(), OpCode::Data(Data::Text), true).format(&mut unmasked).expect("formatted");
    let too_large = [
        frame(OpCode::Data(Data::Text), &[b'a'; 40_000], false),
        frame(OpCode::Data(Data::Continue), &[b'a'; 40_000], true),
    ];
    let huge = [&[0x82, 0xff][..], &u64::MAX.to_be_bytes(), &[0; 4]].concat();
    let cases = [
        (unmasked, "protocol", 1002),
        (frame(OpCode::Data(Data::Continue), b"x", true), "protocol", 1002),
        (frame(OpCode::Data(Data::Reserved(3)), b"x", true), "protocol", 1002),
        (frame(OpCode::Control(Control::Ping), &[0; 126], true), "protocol", 1002),
        (frame(OpCode::Control(Control::Ping), b"", false), "protocol", 1002),
        (text(b"\xff"), "not_utf8", 1007),
        (too_large.concat(), "too_large", 1009),
        (huge, "too_large", 1009),
        (frame(OpCode::Data(Data::Binary), &vec![0; MESSAGE_BYTES + 1], true), "too_large", 1009),
    ];
    for (bytes, label, code) in cases {
        let (state, made) = after(&bytes);
        assert_eq!(state.expect_err(label).label(), label);
        let close = [&[0x88, 2][..], &u16::to_be_bytes(code)].concat();
        assert_eq!((made.messages.len(), made.out), (0, close), "{label}");
    }
}

#[test]
fn messages_are_sent_as_text_where_they_are() {
    let (socket, mut out) = (open(), Vec::new());
    assert!(socket.send(b"SIP/2.0 200 OK\r\n", &mut out));
    assert!(out.starts_with(b"\x81\x10SIP/2.0"));
    out.clear();
    assert!(socket.send(b"\xff", &mut out));
    assert_eq!(out, b"\x82\x01\xff");
    out.clear();
    assert!(socket.send(&[b'a'; 300], &mut out));
    assert_eq!((out.len(), &out[..4]), (304, &[0x81, 126, 1, 44][..]));
    assert!(!WebSocket::default().send(b"early", &mut out));
}

#[test]
fn bytes_may_be_cut_at_every_place() {
    let bytes = [
        REQUEST.as_bytes(),
        &text(b"first"),
        &frame(OpCode::Control(Control::Ping), b"p", true),
        &text(&[b'b'; 200]),
    ];
    let bytes = bytes.concat();
    let mut whole = Made::default();
    assert_eq!(whole.take(&mut WebSocket::default(), &bytes), Ok(State::Open));
    assert_eq!(whole.messages.len(), 2);
    for cut in 0..=bytes.len() {
        let (mut socket, mut made) = (WebSocket::default(), Made::default());
        let (first, second) = bytes.split_at(cut);
        made.take(&mut socket, first).expect("taken");
        assert_eq!(made.take(&mut socket, second), Ok(State::Open), "cut at {cut}");
        assert_eq!(made, whole, "cut at {cut}");
    }
    let (mut socket, mut made) = (WebSocket::default(), Made::default());
    for byte in bytes.chunks(1) {
        made.take(&mut socket, byte).expect("taken");
    }
    assert_eq!(made, whole);
}

proptest! {
    /// Nothing that a client sends makes more of it.
    #[test]
    fn what_comes_out_is_no_more_than_what_came(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let (_, made) = after(&bytes);
        prop_assert!(made.out.len() <= bytes.len() + 4);
        prop_assert!(made.messages.iter().map(Vec::len).sum::<usize>() <= bytes.len());
    }
}
