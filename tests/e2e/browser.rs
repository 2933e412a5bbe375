//! SIP over WebSocket as a browser speaks it (RFC 7118): it does not know its address, and takes no connections.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use socket2::{Domain, Socket, Type};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Bytes, Error, Message as Frame, WebSocket};

use crate::endpoint::serial;
use crate::sip::{Dialog, Message, Speaker, response};
use crate::world::{Far, PATIENCE};

/// What a WebSocket goes by.
pub trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

/// A browser with a SIP library.
pub struct Browser {
    user: String,
    /// What it takes for its host.
    host: String,
    /// Its transport, as it stands in a Via.
    transport: &'static str,
    pub socket: WebSocket<Box<dyn Stream>>,
    /// Below all layers.
    pub wire: TcpStream,
}

/// A connection of this host, from this port.
pub fn connect(host: &Far, from: u16, to: &str) -> TcpStream {
    let to: SocketAddr = to.parse().expect("an address");
    let stream = host.inside(|| {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        let any: IpAddr =
            if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        socket.bind(&SocketAddr::new(any, from).into())?;
        socket.connect(&to.into())?;
        Ok(TcpStream::from(socket))
    });
    let stream = stream.expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

impl Browser {
    /// Opens its connection.
    pub fn new(user: &str, host: &Far, to: &str) -> Self {
        Self::from_port(user, host, 0, to)
    }

    /// Opens its connection from this port.
    pub fn from_port(user: &str, host: &Far, port: u16, to: &str) -> Self {
        let wire = connect(host, port, to);
        let stream = Box::new(wire.try_clone().expect("a clone"));
        Self::over(user, stream, wire, ("WS", &format!("ws://{to}/")))
    }

    /// Opens it over TLS, to who proves by this authority to be `name`.
    pub fn secure(user: &str, host: &Far, to: &str, (authority, name): (&str, &str)) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
            roots.add(certificate.expect("PEM")).expect("an authority");
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("versions").with_root_certificates(roots).with_no_client_auth();
        let server = ServerName::try_from(name.to_owned()).expect("a name");
        let wire = connect(host, 0, to);
        let tls = ClientConnection::new(Arc::new(config), server).expect("TLS");
        let stream = Box::new(StreamOwned::new(tls, wire.try_clone().expect("a clone")));
        Self::over(user, stream, wire, ("WSS", &format!("wss://{name}/")))
    }

    fn over(
        user: &str,
        stream: Box<dyn Stream>,
        wire: TcpStream,
        (transport, url): (&'static str, &str),
    ) -> Self {
        let mut request = url.into_client_request().expect("a URL");
        request.headers_mut().insert("Sec-WebSocket-Protocol", "sip".parse().expect("a value"));
        let (socket, answer) = tungstenite::client(request, stream).unwrap_or_else(|e| panic!("{url}: {e}"));
        assert_eq!(answer.headers()["Sec-WebSocket-Protocol"], "sip");
        Self { user: user.to_owned(), host: format!("h{}.invalid", serial()), transport, socket, wire }
    }

    /// A request outside a dialog. There is no Content-Length: RFC 7118 §5 needs none.
    pub fn request(&self, method: &str, uri: &str) -> Message {
        let n = serial();
        let mut message = Message::new(&format!("{method} {uri} SIP/2.0"));
        for (name, value) in [
            ("Via", self.via()),
            ("Max-Forwards", "70".to_owned()),
            ("From", format!("<sip:{}@example.net>;tag=ws{n}", self.user)),
            ("To", format!("<{uri}>")),
            ("Call-ID", format!("ws{n}")),
            ("CSeq", format!("1 {method}")),
            ("Contact", format!("<{}>", self.uri())),
        ] {
            message.add(name, &value);
        }
        message
    }

    pub fn send(&mut self, message: &Message) {
        let text = String::from_utf8(message.bytes()).expect("text");
        self.socket.send(Frame::text(text)).expect("sent");
    }

    /// A request of a dialog.
    pub fn send_in(&mut self, dialog: &mut Dialog, method: &str) {
        let request = dialog.request(self, method);
        self.send(&request);
    }

    /// The next message that is no 100, which has to begin like this.
    pub fn receive(&mut self, start: &str) -> Message {
        let begin = Instant::now();
        loop {
            assert!(begin.elapsed() < PATIENCE, "{} waits for {start}", self.user);
            let message =
                self.next().unwrap_or_else(|other| panic!("{} waits for {start}, got {other}", self.user));
            if !message.start.starts_with("SIP/2.0 100 ") {
                assert!(message.start.starts_with(start), "{} waits for {start}, got:\n{message}", self.user);
                return message;
            }
        }
    }

    /// The next message, if one comes within this time.
    pub fn next_within(&mut self, patience: Duration) -> Option<Message> {
        self.wire.set_read_timeout(Some(patience)).expect("a timeout");
        self.next().ok()
    }

    /// The next message, or what there is instead.
    fn next(&mut self) -> Result<Message, String> {
        let bytes: Bytes = match self.read() {
            Ok(Frame::Text(text)) => text.into(),
            Ok(Frame::Binary(bytes)) => bytes,
            other => return Err(format!("{other:?}")),
        };
        Ok(Message::parse(&bytes))
    }

    /// The next frame; a read with a timeout is not resumed by itself.
    fn read(&mut self) -> Result<Frame, Error> {
        loop {
            match self.socket.read() {
                Err(Error::Io(error)) if error.kind() == ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    /// The next frame that is no SIP message; `None`: the connection is over.
    pub fn next_frame(&mut self) -> Option<Frame> {
        match self.read() {
            Ok(frame) => Some(frame),
            Err(Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(_)) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Answers a request; the answer has a Contact and a To tag.
    pub fn answer(&mut self, request: &Message, status: &str) -> Message {
        let mut answer = response(request, status);
        if !answer.value("To").contains(";tag=") {
            answer.set("To", &format!("{};tag=to{}", request.value("To"), serial()));
        }
        answer.add("Contact", &format!("<{}>", self.uri()));
        self.send(&answer);
        answer
    }

    /// It is gone without a word to its peer but a reset.
    pub fn vanish(self) {
        socket2::SockRef::from(&self.wire).set_linger(Some(Duration::ZERO)).expect("a reset");
    }
}

impl Speaker for Browser {
    fn via(&self) -> String {
        format!("SIP/2.0/{} {};branch=z9hG4bKws{}", self.transport, self.host, serial())
    }

    fn uri(&self) -> String {
        format!("sip:{}@{};transport=ws", self.user, self.host)
    }
}
