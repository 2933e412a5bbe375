//! Handshakes between our own two sides, with certificates of our own authorities.

mod handshakes;
mod names;
mod streams;

use std::sync::Arc;

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

use super::*;
use crate::pki::{Authority, Pair};

/// The beginning of 2026, in seconds since 1970.
const NOW: u64 = 1_767_225_600;

/// It is that.
#[derive(Debug)]
struct In2026;

impl TimeProvider for In2026 {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(NOW)))
    }
}

fn clock() -> Clock {
    Arc::new(In2026)
}

impl Pair {
    fn credentials(&self) -> Credentials {
        Credentials::from_pem(self.certificate.as_bytes(), self.key.as_bytes()).expect("credentials")
    }

    /// With another authority's certificate behind its own.
    fn chained(mut self, above: &Authority) -> Self {
        self.certificate += &above.pem();
        self
    }
}

impl Authority {
    fn trusted(&self) -> Authorities {
        Authorities::from_pem(self.pem().as_bytes()).expect("authorities")
    }
}

fn server(pair: &Pair) -> Server {
    Server::new(&pair.credentials(), &[], &ClientCertificates::Off, clock()).expect("a server")
}

fn client(authority: &Authority) -> Client {
    Client::new(&authority.trusted(), None, clock()).expect("a client")
}

fn name(text: &str) -> PeerName {
    PeerName::new(text).expect("a name")
}

/// Two sides and what is between them.
struct Line {
    client: Session,
    server: Session,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    /// What has arrived.
    at_server: Vec<u8>,
    at_client: Vec<u8>,
}

impl Line {
    fn new(client: &Client, peer: &str, server: &Server) -> Self {
        let mut to_server = Vec::new();
        let client = Session::connect(client, &name(peer), &mut to_server).expect("a client");
        let server = Session::accept(server).expect("a server");
        let (to_client, at_server, at_client) = (Vec::new(), Vec::new(), Vec::new());
        Self { client, server, to_server, to_client, at_server, at_client }
    }

    /// Carries everything over, in pieces of this length, until nothing is under way.
    fn carry(&mut self, piece: usize) -> Result<(), (&'static str, Failure)> {
        while !self.to_server.is_empty() || !self.to_client.is_empty() {
            for part in std::mem::take(&mut self.to_server).chunks(piece) {
                let received = self.server.receive(part, &mut self.at_server, &mut self.to_client);
                received.map_err(|failure| ("server", failure))?;
            }
            for part in std::mem::take(&mut self.to_client).chunks(piece) {
                let received = self.client.receive(part, &mut self.at_client, &mut self.to_server);
                received.map_err(|failure| ("client", failure))?;
            }
        }
        Ok(())
    }

    /// Both open, and bytes come through either way.
    fn talk(&mut self) -> Result<(), (&'static str, Failure)> {
        self.carry(usize::MAX)?;
        assert_eq!((self.client.state(), self.server.state()), (State::Open, State::Open));
        self.client.send(b"ping", &mut self.to_server).expect("sent");
        self.server.send(b"pong", &mut self.to_client).expect("sent");
        self.carry(usize::MAX)?;
        assert!(self.at_server.ends_with(b"ping") && self.at_client.ends_with(b"pong"));
        Ok(())
    }
}
