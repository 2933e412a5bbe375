//! A SIP endpoint over streams, with TLS or without: it takes connections and opens one to Viaduct.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::endpoint::{Party, serial};
use crate::pki::{Authority, Pair};
use crate::sip::{Message, Speaker, response};
use crate::world::{Far, PATIENCE};

/// How an answer goes back.
pub enum Way {
    Datagram(SocketAddr),
    Stream(Sender<Vec<u8>>),
}

/// A message that came in.
pub struct Taken {
    pub message: Message,
    pub way: Way,
}

/// A SIP endpoint that has Viaduct for its proxy.
pub trait Phone: Speaker {
    /// Sends a request to Viaduct.
    fn put(&self, message: &Message);
    /// The next message; fails when none comes.
    fn take(&self) -> Taken;
    /// Sends an answer back.
    fn give(&self, message: &Message, way: &Way);

    /// The next message but 100.
    fn take_after_trying(&self) -> Taken {
        let taken = self.take();
        if taken.message.start.starts_with("SIP/2.0 100") { self.take_after_trying() } else { taken }
    }

    /// The next message, which has to begin like this.
    fn expect(&self, start: &str) -> Taken {
        let taken = self.take_after_trying();
        assert!(
            taken.message.start.starts_with(start),
            "{} waits for {start}, got:\n{}",
            self.uri(),
            taken.message
        );
        taken
    }

    /// Answers a request, with a To tag if there is none.
    fn answer(&self, request: &Taken, status: &str) -> Message {
        let mut answer = response(&request.message, status);
        if !answer.value("To").contains(";tag=") {
            answer.set("To", &format!("{};tag=to{}", request.message.value("To"), serial()));
        }
        answer.add("Contact", &format!("<{}>", self.uri()));
        answer.add("Content-Length", "0");
        self.give(&answer, &request.way);
        answer
    }
}

/// A party over UDP, and where Viaduct is.
pub struct ByDatagrams(pub Party, pub SocketAddr);

impl Speaker for ByDatagrams {
    fn via(&self) -> String {
        self.0.via()
    }

    fn uri(&self) -> String {
        self.0.uri()
    }
}

impl Phone for ByDatagrams {
    fn put(&self, message: &Message) {
        self.0.send(message, self.1);
    }

    fn take(&self) -> Taken {
        let received = self.0.receive();
        Taken { message: received.message, way: Way::Datagram(received.from) }
    }

    fn give(&self, message: &Message, way: &Way) {
        let Way::Datagram(to) = way else { panic!("it came by a stream") };
        self.0.send(message, *to);
    }
}

/// What a phone over TLS shows and whom it trusts.
#[derive(Clone)]
pub struct Secrets {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Secrets {
    /// Shows this certificate, trusts this authority, and asks clients for nothing.
    pub fn new(own: &Pair, trusted: &Authority) -> Self {
        Self::asking(own, trusted, None)
    }

    /// The same, which takes clients that this authority vouches for alone.
    pub fn asking(own: &Pair, trusted: &Authority, clients: Option<&Authority>) -> Self {
        let builder = ServerConfig::builder();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let verifier = WebPkiClientVerifier::builder(roots(authority)).build().expect("a verifier");
                builder.with_client_cert_verifier(verifier)
            }
        };
        let server = builder.with_single_cert(chain(own), key(own)).expect("a server");
        let client = ClientConfig::builder().with_root_certificates(roots(trusted));
        let client = client.with_client_auth_cert(chain(own), key(own)).expect("a client");
        Self { server: Arc::new(server), client: Arc::new(client) }
    }

    /// The same, which shows no certificate where it connects.
    pub fn without_certificate(&self, trusted: &Authority) -> Self {
        let client = ClientConfig::builder().with_root_certificates(roots(trusted)).with_no_client_auth();
        Self { server: Arc::clone(&self.server), client: Arc::new(client) }
    }
}

fn roots(authority: &Authority) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("a certificate");
    roots.add(certificate).expect("an authority");
    Arc::new(roots)
}

fn chain(pair: &Pair) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pair.certificate.as_bytes())
        .map(|one| one.expect("a certificate"))
        .collect()
}

fn key(pair: &Pair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key")
}

/// An endpoint over TCP or TLS.
pub struct ByStreams<'w> {
    host: &'w Far,
    user: String,
    /// What stands in its Contact: a name or an address.
    name: String,
    address: SocketAddr,
    listener: TcpListener,
    secrets: Option<Secrets>,
    /// Where Viaduct is, and what its certificate has to be for.
    edge: (SocketAddr, String),
    inbox: Mutex<Receiver<Taken>>,
    outbox: Sender<Taken>,
    /// The connection to Viaduct that was opened, and what is below it.
    opened: Mutex<Option<(Sender<Vec<u8>>, TcpStream)>>,
}

impl<'w> ByStreams<'w> {
    /// Listens from now on. `name`: what its Contact says instead of the address.
    pub fn new(
        host: &'w Far,
        user: &str,
        name: &str,
        address: &str,
        edge: (&str, &str),
        secrets: Option<&Secrets>,
    ) -> Self {
        let address: SocketAddr = address.parse().expect("an address and port");
        let listener =
            host.inside(|| TcpListener::bind(address)).unwrap_or_else(|e| panic!("{address}: {e}"));
        let (outbox, inbox) = channel();
        let accepting = listener.try_clone().expect("a second handle");
        let (sender, server) = (outbox.clone(), secrets.map(|secrets| Arc::clone(&secrets.server)));
        std::thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                let server = server.clone();
                let sender = sender.clone();
                std::thread::spawn(move || match server {
                    Some(server) => {
                        let session = ServerConnection::new(server).expect("a session");
                        converse(StreamOwned::new(session, patient(stream)), &sender, &channel());
                    }
                    None => converse(patient(stream), &sender, &channel()),
                });
            }
        });
        Self {
            host,
            user: user.into(),
            name: name.into(),
            address,
            listener,
            secrets: secrets.cloned(),
            edge: (edge.0.parse().expect("an address"), edge.1.to_owned()),
            inbox: Mutex::new(inbox),
            outbox,
            opened: Mutex::new(None),
        }
    }

    /// Opens a connection to Viaduct; what is wanted of it is told when it is used.
    fn connect(&self) -> (Sender<Vec<u8>>, TcpStream) {
        let mut stream = self.host.inside(|| TcpStream::connect(self.edge.0)).expect("a connection");
        let wire = stream.try_clone().expect("a second handle");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let line = channel::<Vec<u8>>();
        let (writer, inbox) = (line.0.clone(), self.outbox.clone());
        let client = self.secrets.as_ref().map(|secrets| Arc::clone(&secrets.client));
        let name = ServerName::try_from(self.edge.1.clone()).expect("a name");
        std::thread::spawn(move || match client {
            Some(client) => {
                let mut session = ClientConnection::new(client, name).expect("a session");
                // Nothing is written before it is over; where it fails, nobody waits for anything.
                if session.complete_io(&mut stream).is_ok() {
                    converse(StreamOwned::new(session, patient(stream)), &inbox, &line);
                }
            }
            None => converse(patient(stream), &inbox, &line),
        });
        (writer, wire)
    }

    /// Its connection to Viaduct is reset.
    pub fn lose_connection(&self) {
        let (line, wire) = self.opened.lock().expect("no panic").take().expect("a connection");
        socket2::SockRef::from(&wire).set_linger(Some(Duration::ZERO)).expect("a socket");
        line.send(Vec::new()).expect("a connection");
    }

    fn transport(&self) -> &'static str {
        if self.secrets.is_some() { "TLS" } else { "TCP" }
    }
}

impl Drop for ByStreams<'_> {
    /// The next one may listen there.
    fn drop(&mut self) {
        let ended = socket2::SockRef::from(&self.listener).shutdown(Shutdown::Both);
        ended.expect("nobody is waited for any more");
    }
}

/// A read gives up soon, so that what is to be written is.
fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(Duration::from_millis(5))).expect("a timeout");
    stream
}

/// Hands on what comes in and writes what is to be sent, until either side ends; nothing to be sent ends this one.
fn converse(
    mut stream: impl Read + Write,
    inbox: &Sender<Taken>,
    (own, outbox): &(Sender<Vec<u8>>, Receiver<Vec<u8>>),
) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        match outbox.try_recv() {
            Ok(message) if message.is_empty() => return,
            Ok(message) if stream.write_all(&message).and_then(|()| stream.flush()).is_ok() => {}
            Ok(_) | Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) => {}
        }
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => bytes.extend_from_slice(&buffer[..length]),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
        // No message here has a body.
        while let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let message = Message::parse(&bytes[..end + 4]);
            bytes.drain(..end + 4);
            if inbox.send(Taken { message, way: Way::Stream(own.clone()) }).is_err() {
                return;
            }
        }
    }
}

impl Speaker for ByStreams<'_> {
    fn via(&self) -> String {
        format!(
            "SIP/2.0/{} {}:{};branch=z9hG4bKe2e{}",
            self.transport(),
            self.name,
            self.address.port(),
            serial()
        )
    }

    fn uri(&self) -> String {
        let transport = self.transport().to_lowercase();
        format!("sip:{}@{}:{};transport={transport}", self.user, self.name, self.address.port())
    }
}

impl Phone for ByStreams<'_> {
    fn put(&self, message: &Message) {
        let mut opened = self.opened.lock().expect("no panic");
        let bytes = message.bytes();
        let is_sent = opened.as_ref().is_some_and(|(line, _)| line.send(bytes.clone()).is_ok());
        if !is_sent {
            let connection = self.connect();
            connection.0.send(bytes).expect("a connection");
            *opened = Some(connection);
        }
    }

    fn take(&self) -> Taken {
        let taken = self.inbox.lock().expect("no panic").recv_timeout(PATIENCE);
        taken.unwrap_or_else(|e| panic!("{} received nothing: {e}", self.uri()))
    }

    fn give(&self, message: &Message, way: &Way) {
        let Way::Stream(line) = way else { panic!("it came by no stream") };
        line.send(message.bytes()).expect("a connection");
    }
}
