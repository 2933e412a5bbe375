//! One TLS connection: ciphertext in, plaintext out, and the other way round.

use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::{ClientConnection, Connection, HandshakeKind, ProtocolVersion, ServerConnection};

use super::certificate::Certificate;
use super::client::{Client, PeerName};
use super::failure::Failure;
use super::identities::Identities;
use super::records::Records;
use super::server::Server;

/// The first byte of every record before it is encrypted: `handshake`, or `alert` (RFC 8446 §5.1).
const FIRST_BYTES: [u8; 2] = [22, 21];

/// A connection's state of TLS.
///
/// Between calls it holds what an unfinished record or handshake message has so far, at most
/// [`TLS_RECEIVE_BYTES`](crate::limits::TLS_RECEIVE_BYTES), and nothing that is to be sent: that comes out with each call.
#[derive(Debug)]
pub struct Session {
    connection: Connection,
    records: Records,
    /// Something has come.
    heard: bool,
    /// The peer has said that it sends no more.
    peer_closed: bool,
    /// We have, or it has failed.
    closed: bool,
    /// The name that the server's certificate is verified for; none of a server's session.
    peer: Option<PeerName>,
}

/// Nothing has come, which is not the end.
struct Nothing;

impl Read for Nothing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

/// How a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing can be sent yet.
    Handshaking,
    /// Both directions are open.
    Open,
    /// The peer has said that it sends no more. Nothing of what comes behind that is taken.
    PeerClosed,
}

/// Why something was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// The handshake is not over.
    #[error("the TLS handshake is not over")]
    Handshaking,
    /// This side has said that it sends no more.
    #[error("TLS is closed on our side")]
    Closed,
}

impl Session {
    /// With a client that has connected.
    ///
    /// # Errors
    /// [`Failure::Own`]: there is no randomness.
    pub fn accept(server: &Server) -> Result<Self, Failure> {
        let connection = ServerConnection::new(Arc::clone(server.config())).map_err(Failure::of)?;
        Ok(Self {
            connection: connection.into(),
            records: Records::default(),
            heard: false,
            peer_closed: false,
            closed: false,
            peer: None,
        })
    }

    /// With a server that has to be `peer`. What is to be sent first is appended to `out`.
    ///
    /// # Errors
    /// [`Failure::Own`]: there is no randomness.
    pub fn connect(client: &Client, peer: &PeerName, out: &mut Vec<u8>) -> Result<Self, Failure> {
        let connection = ClientConnection::new(Arc::clone(client.config()), peer.get().clone());
        let connection = connection.map_err(Failure::of)?.into();
        let mut session = Self {
            connection,
            records: Records::default(),
            heard: false,
            peer_closed: false,
            closed: false,
            peer: Some(peer.clone()),
        };
        session.flush(out);
        Ok(session)
    }

    /// Takes bytes as they came, cut anywhere. Plaintext is appended to `plaintext`, what is to be sent (handshake, alerts)
    /// to `out`. Plaintext is at most as long as `ciphertext` and what was held.
    ///
    /// # Errors
    /// The connection is to be closed, after `out` is sent: it ends with the alert that tells the peer why. What was
    /// appended to `plaintext` before is genuine.
    pub fn receive(
        &mut self,
        ciphertext: &[u8],
        plaintext: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<State, Failure> {
        if let (false, Some(first)) = (self.heard, ciphertext.first()) {
            self.heard = true;
            if !FIRST_BYTES.contains(first) {
                self.closed = true;
                return Err(Failure::NotTls);
            }
        }
        let taken = self.take(ciphertext, plaintext);
        self.flush(out);
        // The alert is the last that the peer hears.
        self.closed |= taken.is_err();
        taken?;
        Ok(self.state())
    }

    fn take(&mut self, mut ciphertext: &[u8], plaintext: &mut Vec<u8>) -> Result<(), Failure> {
        while !ciphertext.is_empty() {
            let (all, before) = (ciphertext, (plaintext.len(), self.connection.is_handshaking()));
            let read = self.connection.read_tls(&mut ciphertext);
            let read = read.map_err(|error| Failure::Protocol(error.to_string()))?;
            if read == 0 {
                // It has said that it sends no more.
                return Ok(());
            }
            self.records.came(all.get(..read).unwrap_or(all));
            let processed = self.connection.process_new_packets();
            // Ends with an error where the peer may send more, which is no failure here; what was read is there.
            let _ = self.connection.reader().read_to_end(plaintext);
            if before != (plaintext.len(), self.connection.is_handshaking()) {
                self.records.brought();
            }
            self.peer_closed = processed.map_err(Failure::of)?.peer_has_closed();
        }
        if self.records.take_large() {
            // The memory for that is given back before the next read, whenever that is.
            let _ = self.connection.read_tls(&mut Nothing);
        }
        Ok(())
    }

    /// Encrypts; records are appended to `out`.
    ///
    /// # Errors
    /// Nothing can be sent, now or any more.
    pub fn send(&mut self, mut plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), NotSent> {
        if self.closed {
            return Err(NotSent::Closed);
        }
        if self.connection.is_handshaking() {
            return Err(NotSent::Handshaking);
        }
        while !plaintext.is_empty() {
            match self.connection.writer().write(plaintext) {
                Ok(written @ 1..) => plaintext = plaintext.get(written..).unwrap_or_default(),
                // Its buffer is emptied in each turn, so it is not full.
                Ok(0) | Err(_) => return Err(NotSent::Closed),
            }
            self.flush(out);
        }
        Ok(())
    }

    /// Tells the peer that nothing more is sent (`close_notify`), once and unless it has failed.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        self.connection.send_close_notify();
        self.flush(out);
    }

    /// The stream has ended. An end that the peer has not announced may be somebody else's (RFC 8446 §6.1).
    ///
    /// # Errors
    /// The handshake had begun and was not over.
    pub fn end(&self) -> Result<(), Failure> {
        let has_begun = self.heard || self.peer.is_some();
        if has_begun && self.connection.is_handshaking() { Err(Failure::Closed) } else { Ok(()) }
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        while self.connection.wants_write() {
            // A `Vec` takes everything.
            if !matches!(self.connection.write_tls(out), Ok(1..)) {
                return;
            }
        }
    }

    /// Nothing can be sent any more: this side has said so, or it has failed.
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    /// How it stands.
    pub fn state(&self) -> State {
        match (self.connection.is_handshaking(), self.peer_closed) {
            (_, true) => State::PeerClosed,
            (true, false) => State::Handshaking,
            (false, false) => State::Open,
        }
    }

    /// A record has begun and is not whole.
    pub const fn is_within(&self) -> bool {
        self.records.is_within()
    }

    /// Memory for what is not whole, in bytes, beyond what an idle session has.
    pub const fn kept_bytes(&self) -> usize {
        self.records.kept_bytes()
    }

    /// The server that this is verified to be, where it was us who connected and the handshake is over. Messages for no
    /// other name may use this connection (RFC 5923 §8).
    pub fn verified_peer(&self) -> Option<&PeerName> {
        self.peer.as_ref().filter(|_| !self.connection.is_handshaking())
    }

    /// The SIP domains of the peer's certificate, which one of our authorities has issued; none without a certificate,
    /// and during the handshake.
    pub fn identities(&self) -> Identities {
        let own = self.connection.peer_certificates().and_then(<[_]>::first);
        let own = own.filter(|_| !self.connection.is_handshaking());
        own.and_then(Certificate::read).map(|certificate| certificate.identities).unwrap_or_default()
    }

    /// The handshake used what an earlier connection had agreed on.
    pub fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// `TLSv1.2` or `TLSv1.3`; `None` before it is known.
    pub fn version(&self) -> Option<&'static str> {
        match self.connection.protocol_version()? {
            ProtocolVersion::TLSv1_2 => Some("TLSv1.2"),
            ProtocolVersion::TLSv1_3 => Some("TLSv1.3"),
            _ => None,
        }
    }
}
