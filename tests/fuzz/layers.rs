//! The target `layers`: what holds for any bytes beneath TLS and WebSocket, however they are cut, and for both of them one
//! above the other.

use viaduct::limits::{TLS_IDLE_BYTES, TLS_RECEIVE_BYTES, WS_IDLE_BYTES, WS_RECEIVE_BYTES};
use viaduct::net::Transport;
use viaduct::stream::{Came, Layer, LayerFailure, Scratch, Standing};
use viaduct::tls::{Server, Session, State};

use crate::held::held;
use crate::tls::with_sides;
use crate::websocket::REQUEST;

/// What a connection makes of bytes.
#[derive(Debug, Default, PartialEq)]
struct Made {
    text: Vec<u8>,
    messages: Vec<Vec<u8>>,
    end: Option<Result<Standing, &'static str>>,
}

/// Takes `data` for all that a client sends by each transport. Panics where something does not hold that always should.
pub fn run(data: &[u8]) {
    let length = 1 + usize::from(data.last().copied().unwrap_or(0)) * 3;
    let pieces: Vec<&[u8]> = data.chunks(length).collect();
    with_sides(|server, client| {
        for transport in [Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss] {
            let layer = || Layer::accept(transport, Some(server)).expect("a layer");
            let whole = made(layer(), &[data]);
            assert_eq!(whole, made(layer(), &pieces), "{transport:?} in pieces of {length}");
            holds_no_more_than_its_limit(transport, server, &pieces);
        }
        holds_no_more_than_its_limit(Transport::Ws, server, &[&[REQUEST], &pieces[..]].concat());
        one_above_the_other(server, client, data, length);
    });
}

fn label(failure: &LayerFailure) -> &'static str {
    match failure {
        LayerFailure::Tls(failure) => failure.label(),
        LayerFailure::WebSocket(failure) => failure.label(),
    }
}

/// Gives the layer a piece; `false`: there can be no more.
fn give(layer: &mut Layer, piece: &[u8], scratch: &mut Scratch, made: &mut Made) -> bool {
    let (came, standing) = layer.receive(piece, scratch);
    match came {
        Came::AsIs => made.text.extend_from_slice(piece),
        Came::Text => made.text.extend_from_slice(scratch.text()),
        Came::Messages => made.messages.extend(scratch.messages().map(<[u8]>::to_vec)),
    }
    let end = standing.map_err(|failure| label(&failure));
    made.end = Some(end);
    matches!(end, Ok(Standing::Open | Standing::Handshaking))
}

fn made(mut layer: Layer, pieces: &[&[u8]]) -> Made {
    let (mut made, mut scratch) = (Made::default(), Scratch::default());
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        let goes_on = give(&mut layer, piece, &mut scratch, &mut made);
        scratch.clear();
        if !goes_on {
            break;
        }
    }
    made
}

/// What is held between two pieces, the layer itself included.
fn holds_no_more_than_its_limit(transport: Transport, server: &Server, pieces: &[&[u8]]) {
    let tls = TLS_RECEIVE_BYTES + TLS_IDLE_BYTES;
    let websocket = WS_RECEIVE_BYTES + WS_IDLE_BYTES;
    let most = match transport {
        Transport::Udp | Transport::Tcp => 0,
        Transport::Tls => tls,
        Transport::Ws => websocket,
        Transport::Wss => tls + websocket,
    };
    let before = held();
    let mut layer = Layer::accept(transport, Some(server)).expect("a layer");
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        let mut scratch = Scratch::default();
        let is_over = layer.receive(piece, &mut scratch).1.is_err();
        drop(scratch);
        let now = held() - before;
        assert!(now <= most as isize, "{transport:?} holds {now} bytes, {most} are its limit");
        if is_over {
            break;
        }
    }
}

/// WebSocket over TLS makes of bytes what WebSocket makes of them, whatever records they came in.
fn one_above_the_other(
    server: &Server,
    (mut client, mut to_server): (Session, Vec<u8>),
    data: &[u8],
    length: usize,
) {
    let alone = made(Layer::accept(Transport::Ws, None).expect("a layer"), &[REQUEST, data]);
    let mut layer = Layer::accept(Transport::Wss, Some(server)).expect("a layer");
    let (mut both, mut scratch, mut at_client) = (Made::default(), Scratch::default(), Vec::new());
    let (mut is_sent, mut goes_on) = (false, true);
    while goes_on && !to_server.is_empty() {
        let mut to_client = Vec::new();
        for piece in std::mem::take(&mut to_server).chunks(length) {
            goes_on = give(&mut layer, piece, &mut scratch, &mut both);
            to_client.extend_from_slice(&scratch.out);
            scratch.clear();
            if !goes_on {
                break;
            }
        }
        client.receive(&to_client, &mut at_client, &mut to_server).expect("what the server says");
        if client.state() == State::Open && !std::mem::replace(&mut is_sent, true) {
            [REQUEST, data].iter().for_each(|bytes| client.send(bytes, &mut to_server).expect("sent"));
        }
    }
    assert!(is_sent);
    assert_eq!(both, alone);
    if both.end == Some(Ok(Standing::Open)) {
        arrives(&mut layer, &mut client, data);
    }
}

/// What is sent through both arrives as one frame.
fn arrives(layer: &mut Layer, client: &mut Session, data: &[u8]) {
    let (mut wire, mut plain, mut answer) = (Vec::new(), Vec::new(), Vec::new());
    let is_sent = layer.send(data, &mut Scratch::default(), |bytes| {
        wire.extend_from_slice(bytes);
        true
    });
    assert!(is_sent);
    client.receive(&wire, &mut plain, &mut answer).expect("what the server says");
    assert!(
        plain.ends_with(data) && plain.len() - data.len() <= 10,
        "{} bytes for {}",
        plain.len(),
        data.len()
    );
}
