//! What user agents have between their connections and their messages: nothing, TLS, WebSocket, or both.

use std::net::IpAddr;
use std::path::Path;
use std::sync::OnceLock;

use tempfile::TempDir;
use viaduct::random::Random;
use viaduct::tls::{
    Authorities, Client, ClientCertificates, Credentials, PeerName, Server, Session, State, system_clock,
};

use super::peers::Over;
use super::pki::Authority;

/// An authority that all trust, and what both sides of all connections show. Its keys have signatures of one length, so that a seed
/// cuts the same bytes into the same pieces each time.
pub struct Trust {
    folder: TempDir,
    client: Client,
    server: Server,
}

impl Trust {
    /// The only one, for these addresses.
    pub fn of(addresses: &[&str]) -> &'static Self {
        static TRUST: OnceLock<Trust> = OnceLock::new();
        TRUST.get_or_init(|| Self::new(addresses))
    }

    fn new(addresses: &[&str]) -> Self {
        let authority = Authority::of_even_signatures("A");
        let (pair, pem) = (authority.issue(addresses), authority.pem());
        let folder = TempDir::new().expect("a folder");
        for (name, text) in [("own.crt", &pair.certificate), ("own.key", &pair.key), ("ca.pem", &pem)] {
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        let own = Credentials::from_pem(pair.certificate.as_bytes(), pair.key.as_bytes()).expect("a pair");
        let trusted = Authorities::from_pem(pem.as_bytes()).expect("an authority");
        let client = Client::new(&trusted, None, system_clock()).expect("a client");
        let server = Server::new(&own, &[], &ClientCertificates::Off, system_clock()).expect("a server");
        Self { folder, client, server }
    }

    /// Where `own.crt`, `own.key` and `ca.pem` are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// With sessions to resume of its own.
    pub fn client(&self) -> Client {
        self.client.apart()
    }
}

/// What a connection wears.
#[derive(Default)]
pub struct Coat {
    tls: Option<Session>,
    socket: Socket,
}

/// WebSocket, as a client has it.
#[derive(Default)]
enum Socket {
    #[default]
    None,
    /// It is to be asked for, once what is below is open.
    Wanted,
    /// The answer as far as it has come.
    Asked(Vec<u8>),
    /// What has come of a frame.
    Open(Vec<u8>),
}

/// It is closed for a reason that the other side has been told.
#[derive(Debug)]
pub struct Failed;

const ASKING: &str = "GET / HTTP/1.1\r\nHost: edge\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Protocol: sip\r\n\r\n";

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

impl Coat {
    /// Of a connection to this address; what has to be sent first is appended to `out`.
    pub fn connect(over: Over, client: &Client, to: IpAddr, out: &mut Vec<u8>) -> Self {
        let name = PeerName::of_address(to);
        let tls = over.is_secure().then(|| Session::connect(client, &name, out).expect("a session"));
        let socket = if over.is_websocket() { Socket::Wanted } else { Socket::None };
        let mut coat = Self { tls, socket };
        coat.ask(out);
        coat
    }

    /// Of a connection that somebody else has opened, whose first byte this is: that of a TLS record, or of a message.
    pub fn accept(first: u8, trust: &Trust) -> Self {
        const HANDSHAKE: u8 = 22;
        let tls = (first == HANDSHAKE).then(|| Session::accept(&trust.server).expect("a session"));
        Self { tls, socket: Socket::None }
    }

    /// Messages can be sent.
    pub fn is_open(&self) -> bool {
        let is_up = self.tls.as_ref().is_none_or(|session| session.state() == State::Open);
        is_up && matches!(self.socket, Socket::None | Socket::Open(_))
    }

    /// Takes what came; the text in it is appended to `text`, and what has to be sent to `out`.
    ///
    /// # Errors
    /// Nothing more comes of it.
    pub fn take(&mut self, bytes: &[u8], text: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<(), Failed> {
        let mut plain = Vec::new();
        match &mut self.tls {
            Some(session) => {
                let state = session.receive(bytes, &mut plain, out).map_err(|_| Failed)?;
                if state == State::PeerClosed {
                    session.close(out);
                }
            }
            None => plain.extend_from_slice(bytes),
        }
        self.ask(out);
        if let Socket::Asked(answer) = &mut self.socket {
            answer.append(&mut plain);
            let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(()) };
            if !answer.starts_with(b"HTTP/1.1 101 ") {
                return Err(Failed);
            }
            plain = answer.split_off(end + 4);
            self.socket = Socket::Open(Vec::new());
        }
        let Socket::Open(input) = &mut self.socket else {
            text.append(&mut plain);
            return Ok(());
        };
        input.append(&mut plain);
        let mut closing = None;
        while let Some((opcode, mut payload)) = frame(input) {
            match opcode {
                CLOSE => closing = Some(framed(FINAL | CLOSE, &payload)),
                _ => text.append(&mut payload),
            }
        }
        if let Some(closing) = closing {
            self.below(&closing, out);
        }
        Ok(())
    }

    /// A message, in as many frames as the dice say.
    pub fn put(&mut self, text: &[u8], dice: &mut Random, out: &mut Vec<u8>) {
        let Socket::Open(_) = self.socket else { return self.below(text, out) };
        let (mut frames, mut rest, mut opcode) = (Vec::new(), text, TEXT);
        while !rest.is_empty() {
            let length =
                if dice.per_mille(700) { rest.len() } else { 1 + dice.below(rest.len() as u64) as usize };
            let (piece, behind) = rest.split_at(length);
            let is_last = if behind.is_empty() { FINAL } else { 0 };
            frames.extend(framed(is_last | opcode, piece));
            (rest, opcode) = (behind, CONTINUATION);
        }
        self.below(&frames, out);
    }

    /// What says that nothing more is sent.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        if let Socket::Open(_) = self.socket {
            const NORMAL: [u8; 2] = 1_000_u16.to_be_bytes();
            self.below(&framed(FINAL | CLOSE, &NORMAL), out);
        }
        if let Some(session) = &mut self.tls {
            session.close(out);
        }
    }

    /// Asks for a WebSocket, if that is what is wanted and can be asked for.
    fn ask(&mut self, out: &mut Vec<u8>) {
        let is_up = self.tls.as_ref().is_none_or(|session| session.state() == State::Open);
        if matches!(self.socket, Socket::Wanted) && is_up {
            self.socket = Socket::Asked(Vec::new());
            self.below(ASKING.as_bytes(), out);
        }
    }

    /// Through TLS, if there is one: where it is closed, nothing is sent.
    fn below(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match &mut self.tls {
            Some(session) => _ = session.send(bytes, out),
            None => out.extend_from_slice(bytes),
        }
    }
}

/// A client's frame, masked with zeros (RFC 6455 §5.2).
fn framed(begins: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    let mut frame = vec![begins];
    match length {
        0..126 => frame.push(MASKED | length as u8),
        _ => {
            frame.push(MASKED | 126);
            frame.extend(u16::try_from(length).expect("a short message").to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// The first frame of a server's, if it is whole: its opcode and payload.
fn frame(input: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (first, length) = (*input.first()?, usize::from(*input.get(1)?));
    let (head, length) = match length {
        126 => (4, usize::from(u16::from_be_bytes([*input.get(2)?, *input.get(3)?]))),
        short => (2, short),
    };
    let whole = head + length;
    (input.len() >= whole).then(|| (first & 0xf, input.drain(..whole).skip(head).collect()))
}
