//! The far side: SIP endpoints that send and receive bytes, and a capture of what came in by a link.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::sip::{Message, response};
use crate::world::{PATIENCE, eventually};

/// A SIP endpoint: one UDP socket and an identity.
pub struct Party {
    /// User part of its URIs.
    pub user: String,
    /// Where it lives.
    pub address: SocketAddr,
    socket: UdpSocket,
}

/// A message and who sent it.
pub struct Received {
    /// The message.
    pub message: Message,
    /// The datagram.
    pub bytes: Vec<u8>,
    /// The sender's address and port, as the kernel reports it.
    pub from: SocketAddr,
}

static SERIAL: AtomicU32 = AtomicU32::new(1);

/// A number that no other call of this test run got.
pub fn serial() -> u32 {
    SERIAL.fetch_add(1, Ordering::Relaxed)
}

impl Party {
    /// From a bound socket.
    pub fn new(user: &str, socket: UdpSocket, address: SocketAddr) -> Self {
        Self { user: user.into(), address, socket }
    }

    /// `sip:user@address:port`
    pub fn uri(&self) -> String {
        format!("sip:{}@{}", self.user, self.address)
    }

    /// A new branch on a new Via of this endpoint.
    pub fn via(&self) -> String {
        format!("SIP/2.0/UDP {};branch=z9hG4bKe2e{}", self.address, serial())
    }

    /// A request outside a dialog.
    pub fn request(&self, method: &str, uri: &str) -> Message {
        let n = serial();
        let mut message = Message::new(&format!("{method} {uri} SIP/2.0"));
        message.add("Via", &self.via());
        message.add("Max-Forwards", "70");
        message.add("From", &format!("\"{0}\" <{1}>;tag=from{n}", self.user, self.uri()));
        message.add("To", &format!("<{uri}>"));
        message.add("Call-ID", &format!("call{n}@{}", self.address.ip()));
        message.add("CSeq", &format!("1 {method}"));
        message.add("Contact", &format!("<{}>", self.uri()));
        message.add("Content-Length", "0");
        message
    }

    /// Sends a message.
    pub fn send(&self, message: &Message, to: SocketAddr) {
        self.send_bytes(&message.bytes(), to);
    }

    /// Sends a datagram.
    pub fn send_bytes(&self, bytes: &[u8], to: SocketAddr) {
        self.socket.send_to(bytes, to).unwrap_or_else(|e| panic!("{} → {to}: {e}", self.address));
    }

    /// The next message; fails when none comes.
    pub fn receive(&self) -> Received {
        let received = self.next_within(PATIENCE);
        received.unwrap_or_else(|e| panic!("{} ({}) received nothing: {e}", self.user, self.address))
    }

    /// The next message, if one comes soon.
    pub fn try_receive(&self) -> Option<Received> {
        self.receive_within(Duration::from_millis(500))
    }

    /// The next message, if one comes within this time.
    pub fn receive_within(&self, patience: Duration) -> Option<Received> {
        self.next_within(patience).ok()
    }

    fn next_within(&self, patience: Duration) -> io::Result<Received> {
        let mut buffer = vec![0; 65_535];
        self.socket.set_read_timeout(Some(patience))?;
        let (length, from) = loop {
            match self.socket.recv_from(&mut buffer) {
                // A receive with a timeout is not resumed by itself.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        buffer.truncate(length);
        Ok(Received { message: Message::parse(&buffer), bytes: buffer, from })
    }

    /// The next request, which must have this method.
    pub fn receive_request(&self, method: &str) -> Received {
        let received = self.receive();
        assert!(
            received.message.start.starts_with(&format!("{method} ")),
            "{} waits for {method}, got:\n{}",
            self.user,
            received.message
        );
        received
    }

    /// The next response, which must have this status.
    pub fn receive_response(&self, status: u16) -> Received {
        self.is_response(self.receive(), status)
    }

    fn is_response(&self, received: Received, status: u16) -> Received {
        assert!(
            received.message.start.starts_with(&format!("SIP/2.0 {status} ")),
            "{} waits for {status}, got:\n{}",
            self.user,
            received.message
        );
        received
    }

    /// The same, behind a 100 or without one: on a busy machine that may have been due.
    pub fn receive_response_but_100(&self, status: u16) -> Received {
        let received = self.receive();
        if received.message.start.starts_with("SIP/2.0 100 ") {
            return self.receive_response(status);
        }
        self.is_response(received, status)
    }

    /// Nothing has come in that was not received.
    pub fn received_nothing(&self) {
        self.socket.set_nonblocking(true).expect("non-blocking");
        let mut buffer = vec![0; 65_535];
        if let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
            panic!("{} got from {from}:\n{}", self.user, String::from_utf8_lossy(&buffer[..length]));
        }
        self.socket.set_nonblocking(false).expect("blocking");
    }

    /// Answers a request where it came from; the answer has a Contact and, if new, a To tag.
    pub fn answer(&self, request: &Received, status: &str) -> Message {
        let mut answer = response(&request.message, status);
        if !answer.value("To").contains(";tag=") {
            answer.set("To", &format!("{};tag=to{}", request.message.value("To"), serial()));
        }
        answer.add("Contact", &format!("<{}>", self.uri()));
        answer.add("Content-Length", "0");
        self.send(&answer, request.from);
        answer
    }
}

/// A datagram seen on a link.
#[derive(Debug)]
pub struct Seen {
    /// From.
    pub source: SocketAddr,
    /// To.
    pub destination: SocketAddr,
    /// First line of its payload.
    pub start: String,
}

/// A capture of the UDP datagrams that come in by one interface, whatever address they are for.
pub struct Tap {
    socket: Socket,
    own: Vec<IpAddr>,
}

const ETH_P_ALL: u16 = 3;

impl Tap {
    /// Opens a capture in the namespace of the calling thread.
    pub fn open(device: &str) -> io::Result<Self> {
        let protocol = Protocol::from(i32::from(ETH_P_ALL.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol))?;
        socket.set_recv_buffer_size(4 << 20)?;
        socket.set_nonblocking(true)?;
        let own = nix::ifaddrs::getifaddrs()?
            .filter(|entry| entry.interface_name == device || entry.interface_name == "lo")
            .filter_map(|entry| entry.address)
            .filter_map(|a| {
                a.as_sockaddr_in()
                    .map(|v4| IpAddr::V4(v4.ip()))
                    .or_else(|| a.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
            })
            .collect();
        Ok(Self { socket, own })
    }

    /// What came in since the last look.
    pub fn seen(&mut self) -> Vec<Seen> {
        let mut seen = Vec::new();
        let mut buffer = vec![0; 65_535];
        while let Ok(length) = self.socket.read(&mut buffer) {
            let datagram = datagram(&buffer[..length]);
            seen.extend(datagram.filter(|datagram| !self.own.contains(&datagram.source.ip())));
        }
        seen
    }

    /// Waits for one that begins like this.
    pub fn wait_for(&mut self, start: &str) -> Seen {
        eventually(&format!("a datagram `{start}…` on the link"), || {
            self.seen().into_iter().find(|datagram| datagram.start.starts_with(start))
        })
    }

    /// No datagram has come in since the last look.
    pub fn saw_nothing(&mut self) {
        let seen = self.seen();
        assert!(seen.is_empty(), "this link should have stayed silent: {seen:?}");
    }
}

fn datagram(packet: &[u8]) -> Option<Seen> {
    const UDP: u8 = 17;
    let (source, destination, udp): (IpAddr, IpAddr, &[u8]) = match packet.first()? >> 4 {
        4 if *packet.get(9)? == UDP => {
            let header = usize::from(packet[0] & 15) * 4;
            let address = |at: usize| -> Option<IpAddr> {
                Some(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?).into())
            };
            (address(12)?, address(16)?, packet.get(header..)?)
        }
        6 if *packet.get(6)? == UDP => {
            let address = |at: usize| -> Option<IpAddr> {
                Some(Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?).into())
            };
            (address(8)?, address(24)?, packet.get(40..)?)
        }
        _ => return None,
    };
    let port = |at: usize| Some(u16::from_be_bytes([*udp.get(at)?, *udp.get(at + 1)?]));
    let text = String::from_utf8_lossy(udp.get(8..)?).into_owned();
    Some(Seen {
        source: SocketAddr::new(source, port(0)?),
        destination: SocketAddr::new(destination, port(2)?),
        start: text.lines().next().unwrap_or_default().to_string(),
    })
}

/// A little time for something that must not happen; only what would have happened at once is caught.
pub fn settle() {
    std::thread::sleep(Duration::from_millis(150));
}
