//! The load over TCP, TLS and WebSocket: each caller has a connection to the forwarder, or each exchange one of its own; the
//! callee answers by those that the forwarder opens to it, over TCP or TLS.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use socket2::{Domain, Protocol, Socket, Type};

use super::datagrams::wait;
use super::driver::Carrier;
use super::exchanges::{Outbox, Settings, Side};
use super::frames::Frames;
use super::secure::{Secure, Session};
use super::transport::Transport;

/// What is read at a time, in bytes.
const READ: usize = 64 << 10;
/// Most bytes that wait for a peer that takes nothing; more, and the connection is lost.
const UNSENT: usize = 4 << 20;

/// Whose a connection of a caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Owner {
    /// The caller of this number, towards that forwarder.
    Caller(usize, SocketAddr),
    /// The exchange that is the n-th that was begun.
    Exchange(u64),
}

/// All connections of both sides.
pub struct Connections {
    listener: TcpListener,
    /// What TLS is made of, where that can be asked for.
    secure: Option<Secure>,
    transport: Transport,
    callers: Vec<SocketAddr>,
    /// Each exchange has a connection of its own, which ends with it.
    is_fresh: bool,
    opened: HashMap<Owner, Link>,
    /// By the address that the forwarder has connected from.
    accepted: HashMap<SocketAddr, Link>,
    begun: u64,
    lost: u64,
    room: Box<[u8]>,
}

/// One connection.
struct Link {
    stream: TcpStream,
    peer: SocketAddr,
    session: Option<Session>,
    frames: Option<Frames>,
    /// Text.
    input: Vec<u8>,
    /// For the socket.
    output: Vec<u8>,
    /// Nothing more goes by it.
    is_over: bool,
    /// Its exchange has come to its end.
    is_done: bool,
}

impl Connections {
    /// With nobody connected; `secure`: for what goes over TLS.
    pub fn new(listener: TcpListener, secure: Option<Secure>) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            secure,
            transport: Transport::Tcp,
            callers: Vec::new(),
            is_fresh: false,
            opened: HashMap::new(),
            accepted: HashMap::new(),
            begun: 0,
            lost: 0,
            room: vec![0; READ].into(),
        })
    }

    /// The connection that a caller's message goes by; it is opened where there is none.
    fn of_caller(&mut self, caller: usize, to: SocketAddr) -> io::Result<&mut Link> {
        let owner = if self.is_fresh { Owner::Exchange(self.begun) } else { Owner::Caller(caller, to) };
        match self.opened.entry(owner) {
            Entry::Occupied(link) => Ok(link.into_mut()),
            Entry::Vacant(place) => {
                self.begun += 1;
                let secure = secured(self.transport, self.secure.as_ref())?;
                let session = secure.map(|secure| secure.client(to.ip())).transpose()?;
                let link = Link::open(self.callers[caller], to, session)?;
                Ok(place.insert(if self.transport.is_websocket() { link.in_frames() } else { link }))
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, peer)) => {
                    let secure = secured(self.transport.of_callee(), self.secure.as_ref())?;
                    let session = secure.map(Secure::server).transpose()?;
                    self.accepted.insert(peer, Link::new(stream, peer, session)?);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Forgets those that are over; those that ended before their time are counted.
    fn sweep(&mut self) {
        let Self { opened, accepted, lost, .. } = self;
        let mut stays = |link: &mut Link| {
            *lost += u64::from(link.is_over && !link.is_done);
            if link.is_done {
                link.close();
            }
            !link.is_over && !link.is_done
        };
        opened.retain(|_, link| stays(link));
        accepted.retain(|_, link| stays(link));
    }
}

/// What TLS is made of, where this goes over it.
fn secured(transport: Transport, secure: Option<&Secure>) -> io::Result<Option<&Secure>> {
    match (transport.is_secure(), secure) {
        (true, None) => Err(io::Error::other("there are no certificates for TLS")),
        (true, secure) => Ok(secure),
        (false, _) => Ok(None),
    }
}

impl Carrier for Connections {
    fn reset(&mut self, settings: &Settings) {
        self.transport = settings.transport;
        self.callers.clone_from(&settings.callers);
        self.is_fresh = settings.fresh;
    }

    fn clear(&mut self) -> io::Result<()> {
        // Whoever has connected meanwhile is accepted to be forgotten, too.
        self.accept()?;
        self.opened.clear();
        self.accepted.clear();
        Ok(())
    }

    fn send(&mut self, out: &Outbox) -> io::Result<()> {
        for item in &out.items {
            let link = match item.by {
                Side::Caller(caller) => Some(self.of_caller(caller, item.to)?),
                // Whoever has lost the connection does not get its answer.
                Side::Callee => self.accepted.get_mut(&item.to),
            };
            if let Some(link) = link {
                link.say(&out.bytes[item.range.clone()]);
            }
        }
        self.opened.values_mut().chain(self.accepted.values_mut()).for_each(Link::write);
        Ok(())
    }

    fn receive(&mut self, take: &mut dyn FnMut(Side, &[u8], SocketAddr)) -> io::Result<usize> {
        self.accept()?;
        let Self { opened, accepted, room, .. } = self;
        let mut count = 0;
        for (owner, link) in opened.iter_mut() {
            link.write();
            // Whichever caller it is, what comes says whose it is.
            count += link.read(room, &mut |message, from| take(Side::Caller(0), message, from));
            link.is_done &= matches!(owner, Owner::Exchange(_));
        }
        for link in accepted.values_mut() {
            link.write();
            count += link.read(room, &mut |message, from| take(Side::Callee, message, from));
            link.is_done = false;
        }
        self.sweep();
        Ok(count)
    }

    fn wait(&self, nap: Duration) -> io::Result<()> {
        let links = self.opened.values().chain(self.accepted.values());
        let of = |link: &'_ Link| match link.output.is_empty() {
            true => PollFlags::POLLIN,
            false => PollFlags::POLLIN | PollFlags::POLLOUT,
        };
        let mut places: Vec<PollFd<'_>> =
            links.map(|link| PollFd::new(link.stream.as_fd(), of(link))).collect();
        places.push(PollFd::new(self.listener.as_fd(), PollFlags::POLLIN));
        wait(places, nap)
    }

    fn drops(&self) -> io::Result<u64> {
        Ok(0)
    }

    fn connections(&self) -> (u64, u64) {
        (self.begun, self.lost)
    }
}

impl Link {
    fn new(stream: TcpStream, peer: SocketAddr, session: Option<Session>) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let (input, output) = (Vec::new(), Vec::new());
        Ok(Self { stream, peer, session, frames: None, input, output, is_over: false, is_done: false })
    }

    /// Begins to connect from the address, with a port of the kernel's choice.
    fn open(from: SocketAddr, to: SocketAddr, session: Option<Session>) -> io::Result<Self> {
        let socket = socket_from(from.ip())?;
        socket.set_nonblocking(true)?;
        match socket.connect(&to.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => {
                let hint = "nobody listens there, or this host has no ports left";
                Err(io::Error::new(error.kind(), format!("{from} to {to}: {error}\n  hint: {hint}")))
            }
            _ => Self::new(socket.into(), to, session),
        }
    }

    /// Messages go in frames from now on.
    fn in_frames(mut self) -> Self {
        let mut request = Vec::new();
        self.frames = Some(Frames::open(self.peer, &mut request));
        self.put(&request);
        self
    }

    /// Has something to send.
    fn say(&mut self, text: &[u8]) {
        let Some(frames) = &mut self.frames else { return self.put(text) };
        let mut framed = Vec::with_capacity(text.len() + 16);
        frames.say(text, &mut framed);
        self.put(&framed);
    }

    /// The same below frames.
    fn put(&mut self, bytes: &[u8]) {
        match &mut self.session {
            Some(session) => session.say(bytes),
            None => self.output.extend_from_slice(bytes),
        }
    }

    /// Tells the peer that nothing more comes, as far as the layers have a word for that.
    fn close(&mut self) {
        if let Some(frames) = &mut self.frames {
            let mut closing = Vec::new();
            frames.close(&mut closing);
            self.put(&closing);
        }
        if let Some(session) = &mut self.session {
            session.close();
        }
        self.write();
    }

    /// Sends what the peer takes.
    fn write(&mut self) {
        if let Some(session) = &mut self.session {
            session.seal(&mut self.output);
        }
        while !self.output.is_empty() && !self.is_over {
            match self.stream.write(&self.output) {
                Ok(written) => drop(self.output.drain(..written)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // It is not open yet, or full.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    break;
                }
                Err(_) => self.is_over = true,
            }
        }
        self.is_over |= self.output.len() > UNSENT;
    }

    /// Gives the messages that have come, up to one reading's; how many.
    fn read(&mut self, room: &mut [u8], give: &mut dyn FnMut(&[u8], SocketAddr)) -> usize {
        match self.stream.read(room) {
            Ok(0) => self.is_over = true,
            Ok(len) => self.hear(&room[..len]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return 0,
            Err(_) => self.is_over = true,
        }
        let (mut count, mut at) = (0, 0);
        while let Some((begin, end)) = message(&self.input[at..]) {
            let bytes = &self.input[at + begin..at + end];
            self.is_done |= matches!(bytes.strip_prefix(b"SIP/2.0 "), Some([b'2'..=b'6', ..]));
            give(bytes, self.peer);
            (count, at) = (count + 1, at + end);
        }
        self.input.drain(..at);
        count
    }

    fn hear(&mut self, bytes: &[u8]) {
        match (&mut self.session, &self.frames) {
            (None, None) => return self.input.extend_from_slice(bytes),
            (None, Some(_)) => self.hear_frames(bytes),
            (Some(session), None) => self.is_over |= session.hear(bytes, &mut self.input).is_err(),
            (Some(session), Some(_)) => {
                let mut plain = Vec::new();
                self.is_over |= session.hear(bytes, &mut plain).is_err();
                self.hear_frames(&plain);
            }
        }
        // A handshake goes on, a ping is answered, a refusal is told.
        self.write();
    }

    fn hear_frames(&mut self, bytes: &[u8]) {
        let Some(frames) = &mut self.frames else { return };
        let mut answer = Vec::new();
        self.is_over |= frames.hear(bytes, &mut self.input, &mut answer).is_err();
        self.put(&answer);
    }
}

/// A socket that will connect from this address.
fn socket_from(from: IpAddr) -> io::Result<Socket> {
    let from = SocketAddr::new(from, 0);
    let socket = Socket::new(Domain::for_address(from), Type::STREAM, Some(Protocol::TCP))?;
    // The port is chosen with the destination, so that one may serve several.
    setsockopt(&socket, IpBindAddressNoPort, &true)?;
    socket.bind(&from.into())?;
    Ok(socket)
}

/// Where the first message begins and ends, if it is whole. What the load hears is SIP with one Content-Length each.
fn message(bytes: &[u8]) -> Option<(usize, usize)> {
    const LENGTH: &[u8] = b"\r\nContent-Length: ";
    let begin = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let head = begin + memchr::memmem::find(&bytes[begin..], b"\r\n\r\n")? + 4;
    let body = memchr::memmem::find(&bytes[begin..head], LENGTH).map_or(0, |at| {
        let digits = bytes[begin + at + LENGTH.len()..head].iter().take_while(|byte| byte.is_ascii_digit());
        digits.fold(0usize, |sum, digit| sum.saturating_mul(10).saturating_add(usize::from(digit - b'0')))
    });
    let end = head.saturating_add(body);
    (end <= bytes.len()).then_some((begin, end))
}

#[cfg(test)]
mod tests {
    use super::super::mix::{Kind, Mix};
    use super::super::{Driver, Offer, Settings, Transport};
    use super::*;

    #[test]
    fn a_message_ends_where_its_length_says() {
        let text = b"\r\n\r\nACK a SIP/2.0\r\nContent-Length: 3\r\n\r\nabcBYE b SIP/2.0\r\n\r\n";
        let (begin, end) = message(text).unwrap();
        assert_eq!(&text[begin..end], b"ACK a SIP/2.0\r\nContent-Length: 3\r\n\r\nabc");
        assert_eq!(message(&text[..end - 1]), None);
        let rest = &text[end..];
        assert_eq!(message(rest), Some((0, rest.len())));
        assert_eq!(message(b"\r\n\r\n"), None);
    }

    /// Who forwards nothing: the callee, to which callers connect themselves.
    fn straight(mix: Mix, fresh: bool, transport: Transport) -> super::super::Outcome {
        let callee = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = callee.local_addr().unwrap();
        let settings = Settings {
            mix,
            hold_ns: 50_000_000,
            retransmit: false,
            callers: ["127.0.0.2:5060", "127.0.0.3:5060"].map(|address| address.parse().unwrap()).into(),
            callee: at,
            named: at,
            forwarder: at,
            transport,
            fresh,
        };
        let folder = tempfile::tempdir().unwrap();
        crate::certificates::make(folder.path(), &[at.ip()]).unwrap();
        let secure = (transport == Transport::Tls).then(|| Secure::read(folder.path()).unwrap());
        let mut driver = Driver::over_connections(callee, secure, settings, false).unwrap();
        let offer = Offer {
            rate: 200.0,
            length: Duration::from_millis(500),
            jitter: false,
            drain: Duration::from_secs(5),
            gives_up: false,
        };
        driver.run(&offer).unwrap()
    }

    #[test]
    fn callers_keep_their_connections_and_each_message_is_accounted_for() {
        for transport in [Transport::Tcp, Transport::Tls] {
            let outcome = straight(Mix::only(Kind::Call), false, transport);
            let tally = outcome.tally;
            assert!(tally.adds_up() && tally.failed == 0, "{tally:?}");
            // A machine that is busy with other tests is not in time with all of them.
            assert!(tally.begun > 20 && tally.delivered == 6 * tally.begun, "{tally:?}");
            assert_eq!((outcome.connected, outcome.disconnected, outcome.in_flight), (2, 0, 0));
        }
    }

    #[test]
    fn each_exchange_has_a_connection_of_its_own_where_that_is_asked_for() {
        for transport in [Transport::Tcp, Transport::Tls] {
            let outcome = straight(Mix::only(Kind::Options), true, transport);
            let tally = outcome.tally;
            assert!(tally.begun > 20 && tally.delivered == 2 * tally.begun, "{tally:?}");
            assert_eq!((tally.failed, outcome.connected), (0, tally.begun));
        }
    }

    #[test]
    fn a_rate_that_queues_is_not_carried_although_connections_lose_nothing() {
        let mut sound = straight(Mix::only(Kind::Call), false, Transport::Tcp);
        // Whatever the machine did meanwhile.
        sound.scheduled = sound.tally.begun;
        sound.lag.reset();
        sound.latency.reset();
        (sound.open, sound.took) = (20, Duration::from_millis(610));
        assert!(sound.is_carried());
        let mut queued = sound.clone();
        // 200 calls a second of 50 ms are ten at a time, or a few more.
        queued.open = 60;
        assert!(!queued.is_carried());
        let drained = super::super::Outcome { took: Duration::from_millis(900), ..sound.clone() };
        assert!(!drained.is_carried());
        let mut slow = sound.clone();
        slow.latency.record_n(60_000_000, 100).unwrap();
        assert!(!slow.is_carried());
        slow.lag.record_n(15_000_000, 2).unwrap();
        slow.lag.record_n(1_000, 98).unwrap();
        assert!(slow.is_carried(), "the load was late itself");
        // One that was lost waits for all the time that there is.
        let mut lost = sound;
        (lost.tally.begun, lost.tally.failed, lost.took) = (1_000, 1, Duration::from_secs(5));
        lost.scheduled = 1_000;
        assert!(lost.is_carried());
    }
}
