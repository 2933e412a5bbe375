use std::io::Write;

use super::super::sides::sides;
use super::*;
use crate::limits::LAYER_SCRATCH_BYTES;
use crate::net::Transport;
use crate::tls::{PeerName, Session};

const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sip\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// A client over TLS and the layer that it talks to.
struct Line {
    layer: Layer,
    client: Session,
    to_layer: Vec<u8>,
    /// What the client has received.
    at_client: Vec<u8>,
    /// What has come of the layer: texts, or messages.
    got: Vec<Vec<u8>>,
    scratch: Scratch,
}

impl Line {
    fn new(transport: Transport) -> Self {
        let (server, client) = sides();
        let mut to_layer = Vec::new();
        let client = Session::connect(&client, &PeerName::new("a.example").unwrap(), &mut to_layer).unwrap();
        let layer = Layer::accept(transport, Some(&server)).unwrap();
        Self { layer, client, to_layer, at_client: Vec::new(), got: Vec::new(), scratch: Scratch::default() }
    }

    fn carry(&mut self) -> Result<Standing, LayerFailure> {
        let mut standing = Ok(Standing::Open);
        while !self.to_layer.is_empty() && standing.is_ok() {
            let bytes = std::mem::take(&mut self.to_layer);
            let came;
            (came, standing) = self.layer.receive(&bytes, &mut self.scratch);
            match came {
                Came::Text => self.got.push(self.scratch.text().to_vec()),
                Came::Messages => self.got.extend(self.scratch.messages().map(<[u8]>::to_vec)),
                Came::AsIs => panic!("it is not plain"),
            }
            self.client.receive(&self.scratch.out, &mut self.at_client, &mut self.to_layer).unwrap();
            self.scratch.clear();
        }
        standing
    }

    fn send(&mut self, text: &[u8]) {
        self.client.send(text, &mut self.to_layer).unwrap();
    }

    /// The layer sends, and the client receives.
    fn answer(&mut self, text: &[u8]) -> bool {
        let (client, at_client, to_layer) = (&mut self.client, &mut self.at_client, &mut self.to_layer);
        let mut scratch = Scratch::default();
        self.layer.send(text, &mut scratch, |bytes| client.receive(bytes, at_client, to_layer).is_ok())
    }
}

#[test]
fn tcp_is_what_it_is() {
    let mut layer = Layer::accept(Transport::Tcp, None).unwrap();
    let mut scratch = Scratch::default();
    assert_eq!(layer.receive(b"OPTIONS", &mut scratch), (Came::AsIs, Ok(Standing::Open)));
    assert!(scratch.out.is_empty() && !layer.is_handshaking());
    let mut sent = Vec::new();
    assert!(layer.send(b"SIP", &mut scratch, |bytes| sent.write_all(bytes).is_ok()));
    assert_eq!(sent, b"SIP");
    assert!(!layer.send(b"SIP", &mut scratch, |_| false));
}

#[test]
fn tls_comes_and_goes_in_between() {
    let mut line = Line::new(Transport::Tls);
    assert!(line.layer.is_handshaking() && !line.answer(b"early"));
    assert_eq!(line.carry(), Ok(Standing::Open));
    assert!(!line.layer.is_handshaking());
    line.send(b"OPTIONS sip:a");
    line.send(b" SIP/2.0\r\n");
    assert_eq!(line.carry(), Ok(Standing::Open));
    assert_eq!(line.got.concat(), b"OPTIONS sip:a SIP/2.0\r\n");
    assert!(line.answer(b"SIP/2.0 200 OK\r\n"));
    assert_eq!(line.at_client, b"SIP/2.0 200 OK\r\n");
    line.client.close(&mut line.to_layer);
    assert_eq!(line.carry(), Ok(Standing::PeerClosed));
}

#[test]
fn what_ends_in_good_order_says_so() {
    let mut line = Line::new(Transport::Tls);
    line.carry().unwrap();
    line.layer.close(&mut line.scratch);
    let state = line.client.receive(&line.scratch.out, &mut line.at_client, &mut line.to_layer);
    assert_eq!(state, Ok(tls::State::PeerClosed));
    assert!(!line.answer(b"late"));
}

#[test]
fn what_is_no_tls_fails_with_its_remedy() {
    let (server, _) = sides();
    let mut layer = Layer::accept(Transport::Tls, Some(&server)).unwrap();
    let mut scratch = Scratch::default();
    let failure = layer.receive(b"OPTIONS sip:a SIP/2.0\r\n", &mut scratch).1.unwrap_err();
    layer.close(&mut scratch);
    assert!(scratch.out.is_empty() && !layer.send(b"SIP", &mut scratch, |_| true));
    let text = failure.to_string();
    assert!(text.contains("not TLS") && text.contains("the peer is to use TLS on this port"), "{text}");
    for transport in [Transport::Tls, Transport::Wss] {
        assert!(matches!(Layer::accept(transport, None), Err(LayerFailure::Tls(tls::Failure::Own(_)))));
    }
}

#[test]
fn websocket_gives_whole_messages_over_either() {
    let frames = b"\x81\x83\0\0\0\0one\x82\x83\0\0\0\0two\x89\x80\0\0\0\0";
    let mut layer = Layer::accept(Transport::Ws, None).unwrap();
    let mut scratch = Scratch::default();
    assert!(layer.is_handshaking());
    let came = layer.receive(&[UPGRADE, frames].concat(), &mut scratch);
    assert_eq!(came, (Came::Messages, Ok(Standing::Open)));
    assert!(scratch.messages().eq([b"one", b"two"]));
    assert!(scratch.out.starts_with(b"HTTP/1.1 101") && scratch.out.ends_with(b"\x8a\0"));

    let mut line = Line::new(Transport::Wss);
    line.carry().unwrap();
    assert!(line.layer.is_handshaking() && !line.answer(b"early"));
    line.send(UPGRADE);
    line.send(frames);
    assert_eq!(line.carry(), Ok(Standing::Open));
    assert_eq!(line.got, [b"one", b"two"]);
    assert!(line.at_client.starts_with(b"HTTP/1.1 101") && line.at_client.ends_with(b"\x8a\0"));
    line.at_client.clear();
    assert!(line.answer(b"three"));
    assert_eq!(line.at_client, b"\x81\x05three");
}

#[test]
fn a_websocket_that_breaks_is_told_over_tls() {
    let mut line = Line::new(Transport::Wss);
    line.carry().unwrap();
    line.send(b"GET / HTTP/1.1\r\n\r\n");
    assert!(matches!(line.carry(), Err(LayerFailure::WebSocket(websocket::Failure::Handshake(_)))));
    assert!(line.at_client.starts_with(b"HTTP/1.1 426"));
    assert!(!line.answer(b"late"));
}

#[test]
fn a_page_of_another_origin_is_told_so_over_either() {
    let origins = Arc::new(Origins::new(websocket::Origin::parse("https://a.example")));
    let other = "\r\nOrigin: https://b.example\r\n\r\n";
    let upgrade = str::from_utf8(UPGRADE).unwrap().replace("\r\n\r\n", other);
    let mut layer = Layer::accept(Transport::Ws, None).unwrap().of_origins(&origins);
    let mut scratch = Scratch::default();
    let failed = LayerFailure::WebSocket(websocket::Failure::Origin("https://b.example".to_owned()));
    assert_eq!(layer.receive(upgrade.as_bytes(), &mut scratch).1, Err(failed.clone()));
    assert!(scratch.out.starts_with(b"HTTP/1.1 403"));
    let mut line = Line::new(Transport::Wss);
    line.layer = std::mem::take(&mut line.layer).of_origins(&origins);
    line.carry().unwrap();
    line.send(upgrade.as_bytes());
    assert_eq!(line.carry(), Err(failed));
    assert!(line.at_client.starts_with(b"HTTP/1.1 403"));
    let (mut plain, mut scratch) = (Layer::Plain.of_origins(&origins), Scratch::default());
    assert_eq!(plain.receive(upgrade.as_bytes(), &mut scratch), (Came::AsIs, Ok(Standing::Open)));
}

/// What comes in the same read as the record that breaks TLS, or as its end.
#[test]
fn what_came_before_a_failure_of_tls_is_there() {
    let broken = b"\x17\x03\x03\0\x20no record that anybody has encrypted";
    for (transport, text) in
        [(Transport::Tls, &b"SIP/2.0 200 OK\r\n"[..]), (Transport::Wss, b"\x81\x83\0\0\0\0one")]
    {
        let mut line = Line::new(transport);
        line.carry().unwrap();
        if transport == Transport::Wss {
            line.send(UPGRADE);
            line.carry().unwrap();
        }
        line.got.clear();
        line.send(text);
        line.to_layer.extend_from_slice(broken);
        let (came, standing) = line.layer.receive(&line.to_layer, &mut line.scratch);
        assert!(matches!(standing, Err(LayerFailure::Tls(_))), "{standing:?}");
        match came {
            Came::Messages => assert!(line.scratch.messages().eq([b"one"])),
            _ => assert_eq!(line.scratch.text(), text),
        }
        assert!(line.layer.is_closed() && !line.layer.send(b"late", &mut Scratch::default(), |_| true));
    }
}

#[test]
fn a_websocket_that_both_sides_have_ended_is_closed() {
    let close = b"\x88\x82\0\0\0\0\x03\xe8";
    let (mut layer, mut scratch) = (Layer::accept(Transport::Ws, None).unwrap(), Scratch::default());
    layer.receive(UPGRADE, &mut scratch).1.unwrap();
    assert!(!layer.is_closed());
    assert_eq!(layer.receive(close, &mut scratch), (Came::Messages, Ok(Standing::Closed)));
    assert!(layer.is_closed());
    let mut line = Line::new(Transport::Wss);
    line.carry().unwrap();
    line.send(UPGRADE);
    line.send(close);
    line.client.close(&mut line.to_layer);
    assert_eq!(line.carry(), Ok(Standing::Closed), "TLS being at its end, too");
}

#[test]
fn memory_for_rare_messages_is_given_back() {
    let mut scratch = Scratch::default();
    scratch.text.resize(10 * LAYER_SCRATCH_BYTES, 0);
    scratch.clear();
    assert!(scratch.text.is_empty() && scratch.text.capacity() <= LAYER_SCRATCH_BYTES);
}
