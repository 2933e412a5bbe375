//! The target `tls`: what holds for any bytes that a peer sends as TLS, and for any that are sent through it.

use std::cell::RefCell;

use viaduct::limits::TLS_RECEIVE_BYTES;
use viaduct::tls::{
    Authorities, Client, ClientCertificates, Credentials, PeerName, Server, Session, State, system_clock,
};

use crate::pki::Authority;

/// Two sides that trust each other.
struct Sides {
    server: Server,
    client: Client,
}

impl Sides {
    fn new() -> Self {
        let authority = Authority::new("Fuzz");
        let pair = authority.issue(&["sip:example.net"]);
        let own =
            Credentials::from_pem(pair.certificate.as_bytes(), pair.key.as_bytes()).expect("credentials");
        let authorities = Authorities::from_pem(authority.pem().as_bytes()).expect("authorities");
        let clients = ClientCertificates::Optional(authorities.clone());
        Self {
            server: Server::new(&own, &[], &clients, system_clock()).expect("a server"),
            client: Client::new(&authorities, Some(&own), system_clock()).expect("a client"),
        }
    }

    fn connect(&self) -> (Session, Vec<u8>) {
        let mut hello = Vec::new();
        let name = PeerName::new("example.net").expect("a name");
        (Session::connect(&self.client, &name, &mut hello).expect("a client"), hello)
    }
}

thread_local! {
    static SIDES: RefCell<Sides> = RefCell::new(Sides::new());
}

/// What a client says first: what mutations begin with.
pub fn hello() -> Vec<u8> {
    SIDES.with_borrow(|sides| sides.connect().1)
}

/// Gives a server, and a client with the hello that it has sent.
pub fn with_sides(work: impl FnOnce(&Server, (Session, Vec<u8>))) {
    SIDES.with_borrow(|sides| work(&sides.server, sides.connect()));
}

/// Takes `data` for what a client sends, for what a server answers, and for what is sent through a connection. Panics
/// where something does not hold that always should.
pub fn run(data: &[u8]) {
    SIDES.with_borrow(|sides| {
        let accept = || Session::accept(&sides.server).expect("a server");
        let whole = received(accept(), &[data]);
        let (first, second) = data.split_at(data.len() / 2);
        assert_eq!(whole, received(accept(), &[first, second]), "cut in the middle");
        let _ = received(sides.connect().0, &[data]);
        arrives(sides, data);
    });
}

/// How a session ends that receives these.
fn received(mut session: Session, parts: &[&[u8]]) -> Result<State, &'static str> {
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    let mut state = Ok(session.state());
    for part in parts.iter().filter(|part| !part.is_empty()) {
        state = session.receive(part, &mut plain, &mut out).map_err(|failure| failure.label());
        assert!(plain.is_empty(), "nobody has agreed on a key");
        // A flight of ours: certificates and what is around them.
        assert!(out.len() <= TLS_RECEIVE_BYTES);
        if state.is_err() {
            break;
        }
        assert!(session.send(b"too early", &mut out).is_err() || state != Ok(State::Handshaking));
    }
    assert!(session.verified_peer().is_none() && session.identities().is_empty());
    state
}

/// What is sent through a connection arrives, in pieces of any length.
fn arrives(sides: &Sides, data: &[u8]) {
    let (mut client, mut to_server) = sides.connect();
    let mut server = Session::accept(&sides.server).expect("a server");
    let (mut to_client, mut at_server, mut at_client) = (Vec::new(), Vec::new(), Vec::new());
    let piece = 1 + usize::from(data.first().copied().unwrap_or(0)) * 8;
    let mut is_sent = false;
    while !to_server.is_empty() || !to_client.is_empty() {
        for part in std::mem::take(&mut to_server).chunks(piece) {
            server.receive(part, &mut at_server, &mut to_client).expect("received");
        }
        for part in std::mem::take(&mut to_client).chunks(piece) {
            client.receive(part, &mut at_client, &mut to_server).expect("received");
        }
        if client.state() == State::Open && !std::mem::replace(&mut is_sent, true) {
            client.send(data, &mut to_server).expect("sent");
        }
    }
    assert!(is_sent && at_server == data && at_client.is_empty());
}
