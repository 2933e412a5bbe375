//! SIP endpoints that have Viaduct for their proxy: by datagrams, and by streams with TLS or without.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};

use crate::endpoint::{Party, serial};
use crate::line::Line;
use crate::pki::{Authority, Pair};
use crate::sip::{Message, Speaker, response};
use crate::world::{Far, PATIENCE, eventually};

/// How an answer goes back.
pub enum Way {
    Datagram(SocketAddr),
    Stream(Line),
    /// By the only connection that there is.
    Same,
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
    /// The next message, if one comes within this time.
    fn try_take(&self, patience: Duration) -> Option<Taken>;
    /// Sends an answer back.
    fn give(&self, message: &Message, way: &Way);

    /// The next message; fails when none comes.
    fn take(&self) -> Taken {
        self.try_take(PATIENCE).unwrap_or_else(|| panic!("{} received nothing", self.uri()))
    }

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

    fn try_take(&self, patience: Duration) -> Option<Taken> {
        let received = self.0.receive_within(patience)?;
        Some(Taken { message: received.message, way: Way::Datagram(received.from) })
    }

    fn give(&self, message: &Message, way: &Way) {
        let Way::Datagram(to) = way else { panic!("it came by no datagram") };
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

/// An endpoint over TCP or TLS: it takes connections, and opens one to Viaduct.
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
    /// The connection to Viaduct that was opened.
    opened: Mutex<Option<Line>>,
    /// Those that it has opened.
    accepted: Arc<Mutex<Vec<Line>>>,
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
        let phone = Self {
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
            accepted: Arc::default(),
        };
        phone.accept();
        phone
    }

    fn accept(&self) {
        let listener = self.listener.try_clone().expect("a second handle");
        let (inbox, lines) = (self.outbox.clone(), Arc::clone(&self.accepted));
        let server = self.secrets.as_ref().map(|secrets| Arc::clone(&secrets.server));
        std::thread::spawn(move || {
            while let Ok((socket, _)) = listener.accept() {
                let session = server.clone().map(|server| ServerConnection::new(server).expect("a session"));
                let line = Line::new(socket, session.map(Connection::from), &inbox);
                lines.lock().expect("no panic").push(line);
            }
        });
    }

    /// Opens a connection to Viaduct.
    fn connect(&self) -> Line {
        let socket = self.host.inside(|| TcpStream::connect(self.edge.0)).expect("a connection");
        let session = self.secrets.as_ref().map(|secrets| {
            let name = ServerName::try_from(self.edge.1.clone()).expect("a name");
            ClientConnection::new(Arc::clone(&secrets.client), name).expect("a session")
        });
        Line::new(socket, session.map(Connection::from), &self.outbox)
    }

    /// Its connection to Viaduct is reset; what has come and was not looked at is lost with it.
    pub fn lose_connection(&self) {
        let is_gone = self.opened.lock().expect("no panic").take().expect("a connection").reset();
        eventually("the connection is reset", || {
            self.inbox.lock().expect("no panic").try_iter().for_each(drop);
            is_gone().then_some(())
        });
    }

    fn transport(&self) -> &'static str {
        if self.secrets.is_some() { "TLS" } else { "TCP" }
    }
}

impl Drop for ByStreams<'_> {
    /// It is gone, and the next one may listen there.
    fn drop(&mut self) {
        let ended = socket2::SockRef::from(&self.listener).shutdown(Shutdown::Both);
        ended.expect("nobody is waited for any more");
        self.opened.lock().expect("no panic").iter().for_each(Line::close);
        self.accepted.lock().expect("no panic").iter().for_each(Line::close);
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
        let is_sent = opened.as_ref().is_some_and(|line| line.send(message).is_ok());
        if !is_sent {
            let line = self.connect();
            line.send(message).expect("a connection");
            *opened = Some(line);
        }
    }

    fn try_take(&self, patience: Duration) -> Option<Taken> {
        self.inbox.lock().expect("no panic").recv_timeout(patience).ok()
    }

    fn give(&self, message: &Message, way: &Way) {
        let Way::Stream(line) = way else { panic!("it came by no stream") };
        line.send(message).expect("a connection");
    }
}
