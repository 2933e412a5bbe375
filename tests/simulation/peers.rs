//! User agents that call over datagrams and over connections of all kinds, and that lose connections on the way.
//!
//! What a callee does stands in the user part that a request is for: `busy` refuses, `mute` says nothing, others answer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use viaduct::engine::sim::{Arrives, Endpoint, Outbox, WireId};
use viaduct::net::Now;
use viaduct::random::Random;
use viaduct::tls::Client;

use super::coats::{Coat, Trust};
use super::odd::{header, method, response};
use super::world::MS;

const T1: u64 = 500 * MS;
const T2: u64 = 4_000 * MS;
/// Nobody sends anything again after 64·T1.
const PATIENCE: u64 = 64 * T1;
/// How long a call lasts.
const HOLD: u64 = 1_000 * MS;
/// Connections are opened from the ports behind this one, in order.
pub const FIRST_PORT: u16 = 20_000;

/// What requests go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Over {
    Datagrams,
    Connections,
    Tls,
    WebSocket,
    SecureWebSocket,
}

impl Over {
    const ALL: [Self; 5] =
        [Self::Datagrams, Self::Connections, Self::Tls, Self::WebSocket, Self::SecureWebSocket];

    fn via(self) -> &'static str {
        ["UDP", "TCP", "TLS", "WS", "WSS"][self as usize]
    }

    fn parameter(self) -> &'static str {
        ["", ";transport=tcp", ";transport=tls", ";transport=ws", ";transport=wss"][self as usize]
    }

    /// Of the forwarder's listener.
    fn port(self) -> u16 {
        [5060, 5070, 5071, 5080, 5081][self as usize]
    }

    /// That of a request with this Via.
    fn of_via(via: &str) -> Self {
        let is_it = |over: &Self| via.starts_with(&format!("SIP/2.0/{} ", over.via()));
        Self::ALL.into_iter().find(is_it).expect("a transport")
    }

    pub fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::SecureWebSocket)
    }

    pub fn is_websocket(self) -> bool {
        matches!(self, Self::WebSocket | Self::SecureWebSocket)
    }
}

/// What an agent does at a time.
#[derive(Clone, Debug)]
pub enum Deed {
    /// Calls this user there; the first says how requests go to the forwarder, the second how from it.
    Call { user: String, to: SocketAddr, over: [Over; 2] },
    /// Cuts one of its connections off, whoever opened it.
    Reset,
    /// Sends no more on one of them.
    Finish,
    /// Opens one, says this and nothing more.
    Babble(Over, &'static str),
    /// Opens one to be called by.
    Open(Over),
    /// Ends all of them in good order.
    Leave,
}

/// Where something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Datagram(SocketAddr),
    /// By this connection, and if it is gone by [`Way::Line`].
    Wire(WireId, Over),
    /// By the connection to the forwarder, which is opened where there is none.
    Line(Over),
}

/// A message that is sent again with growing intervals until something stops it.
struct Again {
    way: Way,
    text: String,
    next: u64,
    interval: u64,
    until: u64,
}

#[derive(Default)]
struct Wire {
    /// What lies below its messages; none as long as nothing has come by a connection of somebody else's.
    coat: Option<Coat>,
    input: Vec<u8>,
    /// Nothing more is sent on it.
    is_finished: bool,
    /// What comes by it is not looked at.
    is_deaf: bool,
}

/// What a connection is opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Line,
    Babble(&'static str),
}

/// What a caller knows of a call.
#[derive(Debug, Default)]
pub struct Call {
    /// How its INVITE went, and by which connection, if that is certain.
    over: Option<Over>,
    wire: Option<WireId>,
    /// Final answers by CSeq.
    pub finals: BTreeMap<String, BTreeSet<String>>,
    /// The BYE was answered.
    pub is_done: bool,
}

/// Caller and callee in one.
pub struct Peer {
    own: SocketAddr,
    /// The forwarder's end.
    proxy: IpAddr,
    trust: &'static Trust,
    client: Client,
    dice: Random,
    /// What to do when, latest first.
    plan: Vec<(u64, Deed)>,
    again: BTreeMap<String, Again>,
    wires: BTreeMap<WireId, Wire>,
    lines: BTreeMap<Over, WireId>,
    /// What waits for a line to be open.
    waiting: BTreeMap<Over, Vec<String>>,
    /// Connections that are being opened.
    opening: BTreeMap<Over, VecDeque<Purpose>>,
    port: u16,
    /// From which it has opened its last connection of a kind.
    ports: BTreeMap<Over, u16>,
    wakes: u64,
    /// Those that the world has cut: the agent cannot know.
    pub cut: BTreeSet<WireId>,
    /// Own calls, by Call-ID.
    pub calls: BTreeMap<String, Call>,
    /// What should not have happened.
    pub wrong: Vec<String>,
}

impl Peer {
    pub fn new(own: SocketAddr, proxy: SocketAddr, dice: Random, trust: &'static Trust) -> Self {
        Self {
            own,
            proxy: proxy.ip(),
            trust,
            client: trust.client(),
            dice,
            plan: Vec::new(),
            again: BTreeMap::new(),
            wires: BTreeMap::new(),
            lines: BTreeMap::new(),
            waiting: BTreeMap::new(),
            opening: BTreeMap::new(),
            port: FIRST_PORT,
            ports: BTreeMap::new(),
            wakes: u64::MAX,
            cut: BTreeSet::new(),
            calls: BTreeMap::new(),
            wrong: Vec::new(),
        }
    }

    pub fn plan(&mut self, at: u64, deed: Deed) {
        self.plan.push((at, deed));
        self.plan.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    }

    /// Its connections.
    pub fn wires(&self) -> Vec<WireId> {
        self.wires.keys().copied().collect()
    }

    fn act(&mut self, out: &mut Outbox, deed: Deed, now: u64) {
        match deed {
            Deed::Call { user, to, over } => self.call(out, &user, to, over, now),
            Deed::Reset => {
                if let Some(wire) = self.any_wire() {
                    out.reset(wire);
                    self.lose(out, wire);
                }
            }
            Deed::Finish => {
                if let Some(wire) = self.any_wire() {
                    self.finish(out, wire);
                }
            }
            Deed::Babble(over, text) => self.open(out, over, Purpose::Babble(text)),
            Deed::Open(over) => self.open(out, over, Purpose::Line),
            Deed::Leave => self.wires().into_iter().for_each(|wire| self.finish(out, wire)),
        }
    }

    fn any_wire(&mut self) -> Option<WireId> {
        let wires = self.wires();
        wires.get(self.dice.below(wires.len() as u64) as usize).copied()
    }

    /// A connection is gone; what waited for it waits for another one.
    fn lose(&mut self, out: &mut Outbox, wire: WireId) {
        self.wires.remove(&wire);
        let over = self.lines.iter().find(|(_, line)| **line == wire).map(|(over, _)| *over);
        if let Some(over) = over {
            self.lines.remove(&over);
            if self.waiting.contains_key(&over) {
                self.open(out, over, Purpose::Line);
            }
        }
    }

    fn finish(&mut self, out: &mut Outbox, wire: WireId) {
        let own = self.wires.entry(wire).or_default();
        if let Some(coat) = own.coat.as_mut().filter(|_| !own.is_finished) {
            let mut last = Vec::new();
            coat.end(&mut last);
            out.write(wire, last);
        }
        own.is_finished = true;
        out.finish(wire);
        self.lines.retain(|_, line| *line != wire);
    }

    fn open(&mut self, out: &mut Outbox, over: Over, purpose: Purpose) {
        self.port += 1;
        if purpose == Purpose::Line {
            self.ports.insert(over, self.port);
        }
        out.connect(SocketAddr::new(self.own.ip(), self.port), self.proxy(over));
        self.opening.entry(over).or_default().push_back(purpose);
    }

    /// The forwarder's listener.
    fn proxy(&self, over: Over) -> SocketAddr {
        SocketAddr::new(self.proxy, over.port())
    }

    /// Sends; the connection that it went by, if that is certain.
    fn say(&mut self, out: &mut Outbox, way: Way, text: &str) -> Option<WireId> {
        let (wire, over) = match way {
            Way::Datagram(to) => {
                out.send(self.own, to, text);
                return None;
            }
            Way::Wire(wire, over) if self.wires.get(&wire).is_some_and(|wire| !wire.is_finished) => {
                (Some(wire), over)
            }
            Way::Wire(_, over) | Way::Line(over) => (self.lines.get(&over).copied(), over),
        };
        if let Some(wire) = wire
            && self.write(out, wire, text)
        {
            return Some(wire);
        }
        self.waiting.entry(over).or_default().push(text.to_owned());
        let opens = self.opening.get(&over).is_some_and(|purposes| purposes.contains(&Purpose::Line));
        if wire.is_none() && !opens {
            self.open(out, over, Purpose::Line);
        }
        None
    }

    /// Sends by a connection; `false`: it is not open yet.
    fn write(&mut self, out: &mut Outbox, wire: WireId, text: &str) -> bool {
        let coat = self.wires.get_mut(&wire).and_then(|own| own.coat.as_mut()).filter(|coat| coat.is_open());
        let Some(coat) = coat else { return false };
        let mut bytes = Vec::new();
        coat.put(text.as_bytes(), &mut self.dice, &mut bytes);
        out.write(wire, bytes);
        true
    }

    /// A connection to the forwarder is there.
    fn on_opened(&mut self, out: &mut Outbox, wire: WireId, over: Over) {
        let mut first = Vec::new();
        let own = self.wires.entry(wire).or_default();
        match self.opening.get_mut(&over).and_then(VecDeque::pop_front) {
            Some(Purpose::Babble(text)) => {
                own.is_deaf = true;
                first.extend_from_slice(text.as_bytes());
            }
            Some(Purpose::Line) | None => {
                own.coat = Some(Coat::connect(over, &self.client, self.proxy, &mut first));
                self.lines.insert(over, wire);
            }
        }
        out.write(wire, first);
        self.flush(out, wire);
    }

    /// What has waited for a connection is sent, once it is open.
    fn flush(&mut self, out: &mut Outbox, wire: WireId) {
        let over = self.lines.iter().find(|(_, line)| **line == wire).map(|(over, _)| *over);
        let is_open = self.wires.get(&wire).is_some_and(|own| own.coat.as_ref().is_some_and(Coat::is_open));
        let waiting = over.filter(|_| is_open).and_then(|over| self.waiting.remove(&over));
        for text in waiting.unwrap_or_default() {
            self.write(out, wire, &text);
        }
    }

    fn on_bytes(&mut self, out: &mut Outbox, wire: WireId, bytes: &[u8], now: u64) {
        let Some(own) = self.wires.get_mut(&wire).filter(|own| !own.is_deaf) else { return };
        let coat = own.coat.get_or_insert_with(|| Coat::accept(bytes[0], self.trust));
        let (was_open, mut back) = (coat.is_open(), Vec::new());
        let taken = coat.take(bytes, &mut own.input, &mut back);
        let opens = coat.is_open() && !was_open;
        if !own.is_finished {
            out.write(wire, back);
        }
        if taken.is_err() {
            out.reset(wire);
            return self.lose(out, wire);
        }
        if opens {
            self.flush(out, wire);
        }
        while let Some(text) = self.wires.get_mut(&wire).and_then(|own| take_message(&mut own.input)) {
            let over = Over::of_via(header(&text, "Via"));
            self.on_message(out, Way::Wire(wire, over), &text, now);
        }
    }

    fn say_again(&mut self, out: &mut Outbox, key: String, way: Way, text: &str, now: u64) -> Option<WireId> {
        let wire = self.say(out, way, text);
        if matches!(way, Way::Datagram(_)) {
            let again =
                Again { way, text: text.to_owned(), next: now + T1, interval: T1, until: now + PATIENCE };
            self.again.insert(key, again);
        }
        wire
    }

    fn call(&mut self, out: &mut Outbox, user: &str, to: SocketAddr, over: [Over; 2], now: u64) {
        let (own, uri) = (self.own, format!("sip:{user}@{to}{}", over[1].parameter()));
        let invite = format!(
            "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/{} {own};branch=z9hG4bK{user}I\r\nMax-Forwards: 70\r\n\
             From: <sip:peer@{own}>;tag=f{user}\r\nTo: <sip:{user}@{to}>\r\nCall-ID: {user}\r\nCSeq: 1 INVITE\r\n\
             Contact: <{}>\r\nContent-Length: 0\r\n\r\n",
            over[0].via(),
            self.contact(over[0])
        );
        let wire = self.say_again(out, format!("1 INVITE {user}"), self.way(over[0]), &invite, now);
        self.calls.insert(user.to_owned(), Call { over: Some(over[0]), wire, ..Call::default() });
    }

    /// Where it is reached: as a browser by the connection that it has opened.
    fn contact(&self, over: Over) -> String {
        let opened = self.ports.get(&over).filter(|_| over.is_websocket());
        let port = opened.copied().unwrap_or(self.own.port());
        format!("sip:peer@{}{}", SocketAddr::new(self.own.ip(), port), over.parameter())
    }

    /// To the forwarder.
    fn way(&self, over: Over) -> Way {
        if over == Over::Datagrams { Way::Datagram(self.proxy(over)) } else { Way::Line(over) }
    }

    fn on_message(&mut self, out: &mut Outbox, by: Way, text: &str, now: u64) {
        if text.starts_with("SIP/2.0") {
            self.heard(out, by, text, now);
        } else {
            self.answer(out, by, text, now);
        }
    }

    /// A caller has got a response.
    fn heard(&mut self, out: &mut Outbox, by: Way, text: &str, now: u64) {
        let (id, cseq) = (header(text, "Call-ID").to_owned(), header(text, "CSeq").to_owned());
        let status: u16 = text[8..11].parse().expect("a status");
        let Some(call) = self.calls.get_mut(&id) else { return };
        if let (Way::Wire(came, _), Some(went), true) = (by, call.wire, cseq.ends_with("INVITE"))
            && came != went
            && self.wires.contains_key(&went)
            && !self.cut.contains(&went)
        {
            self.wrong.push(format!("{id} {cseq}: asked by {went}, {status} came by {came}"));
        }
        self.again.remove(&format!("{cseq} {id}"));
        if status < 200 {
            return;
        }
        let what = format!("{status} {}", header(text, "To"));
        let is_first = call.finals.entry(cseq.clone()).or_default().insert(what);
        match (cseq.ends_with("INVITE"), status < 300) {
            (true, true) => {
                let (ack, way) = self.within(text, "1 ACK");
                self.say(out, way, &ack);
                if is_first {
                    let (bye, way) = self.within(text, "2 BYE");
                    let again = Again {
                        way,
                        text: bye,
                        next: now + HOLD,
                        interval: T1,
                        until: now + HOLD + PATIENCE,
                    };
                    self.again.insert(format!("2 BYE {id}"), again);
                }
            }
            (true, false) => self.acknowledge(out, by, text),
            (false, good) => call.is_done |= good,
        }
    }

    /// To a refusal, by the way that the INVITE went (RFC 3261 §17.1.1.3).
    fn acknowledge(&mut self, out: &mut Outbox, by: Way, refusal: &str) {
        let (to, id) = (header(refusal, "To"), header(refusal, "Call-ID"));
        let uri = to.split(['<', '>']).nth(1).expect("a URI");
        let ack = format!(
            "ACK {uri} SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {to}\r\nCall-ID: {id}\r\nCSeq: 1 ACK\r\n\
             Content-Length: 0\r\n\r\n",
            header(refusal, "Via"),
            header(refusal, "From")
        );
        let way = if let Way::Datagram(_) = by { self.way(Over::Datagrams) } else { by };
        self.say(out, way, &ack);
    }

    /// A request of the dialog that a 200 has made, along its recorded route (RFC 3261 §12.1.2).
    fn within(&mut self, ok: &str, cseq: &str) -> (String, Way) {
        let lines = ok.lines().filter_map(|line| line.strip_prefix("Record-Route: "));
        let routes: Vec<&str> = lines.rev().collect();
        let target = header(ok, "Contact").split(['<', '>']).nth(1).expect("a Contact");
        let first = routes.first().copied().unwrap_or(target);
        let recorded = |over: &Over| first.contains(&format!("@{};", self.proxy(*over)));
        let over = Over::ALL.into_iter().find(recorded);
        let went = self.calls.get(header(ok, "Call-ID")).and_then(|call| call.over);
        if over.is_none() || over != went {
            self.wrong.push(format!("{}: {first} is recorded, it went over {went:?}", header(ok, "Call-ID")));
        }
        let over = over.unwrap_or(Over::Datagrams);
        let (id, method) = (header(ok, "Call-ID"), cseq.split(' ').nth(1).unwrap_or(""));
        let mut text = format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/{} {};branch=z9hG4bK{id}{}\r\n",
            over.via(),
            self.own,
            &method[..1]
        );
        routes.iter().for_each(|route| text += &format!("Route: {route}\r\n"));
        text += &format!(
            "Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {id}\r\nCSeq: {cseq}\r\nContent-Length: 0\r\n\r\n",
            header(ok, "From"),
            header(ok, "To")
        );
        (text, self.way(over))
    }

    /// What a callee does with a request.
    fn answer(&mut self, out: &mut Outbox, by: Way, text: &str, now: u64) {
        let key = format!("final {}", header(text, "Call-ID"));
        match method(text) {
            "ACK" => _ = self.again.remove(&key),
            "BYE" => {
                self.again.remove(&key);
                self.say(out, by, &response(text, "200 OK"));
            }
            _ if header(text, "Call-ID").starts_with("mute") || self.again.contains_key(&key) => {}
            _ if header(text, "Call-ID").starts_with("busy") => {
                self.say_again(out, key, by, &response(text, "486 Busy Here"), now);
            }
            _ => {
                self.say(out, by, &response(text, "180 Ringing"));
                let over = Over::of_via(header(text, "Via"));
                let contact = format!("Contact: <{}>\r\nContent-Length", self.contact(over));
                let ok = response(text, "200 OK").replace("Content-Length", &contact);
                let next = now + self.dice.below(300) * MS;
                // Whatever the transport: nobody else sends it again (RFC 3261 §13.3.1.4).
                self.again
                    .insert(key, Again { way: by, text: ok, next, interval: T1, until: next + PATIENCE });
            }
        }
    }

    fn wake(&mut self, out: &mut Outbox, now: u64) {
        let due = self.again.values().map(|again| again.next.min(again.until));
        let next = due.chain(self.plan.last().map(|(at, _)| *at)).min().unwrap_or(u64::MAX).max(now + MS);
        if next < self.wakes {
            self.wakes = next;
            out.wake_at(Now(next));
        }
    }
}

impl Endpoint for Peer {
    fn on_datagram(&mut self, out: &mut Outbox, _: SocketAddr, from: SocketAddr, bytes: &[u8], now: Now) {
        let text = std::str::from_utf8(bytes).expect("text");
        self.on_message(out, Way::Datagram(from), text, now.0);
        self.wake(out, now.0);
    }

    fn on_timer(&mut self, out: &mut Outbox, now: Now) {
        if now.0 >= self.wakes {
            self.wakes = u64::MAX;
        }
        while self.plan.last().is_some_and(|(at, _)| *at <= now.0) {
            let (_, deed) = self.plan.pop().expect("one");
            self.act(out, deed, now.0);
        }
        self.again.retain(|_, again| now.0 < again.until);
        let due: Vec<String> =
            self.again.iter().filter(|(_, again)| again.next <= now.0).map(|(key, _)| key.clone()).collect();
        for key in due {
            let again = self.again.get_mut(&key).expect("one");
            again.next = now.0 + again.interval;
            again.interval = (2 * again.interval).min(T2);
            let (way, text) = (again.way, again.text.clone());
            self.say(out, way, &text);
            // Nobody repeats a request on a connection (RFC 3261 §17.1.2.2).
            if !matches!(way, Way::Datagram(_)) && !text.starts_with("SIP/2.0") {
                self.again.remove(&key);
            }
        }
        self.wake(out, now.0);
    }

    fn on_stream(&mut self, out: &mut Outbox, wire: WireId, arrives: Arrives, now: Now) {
        match arrives {
            Arrives::Opened(address) => {
                self.wires.insert(wire, Wire::default());
                let is_it = |over: &Over| *over != Over::Datagrams && self.proxy(*over) == address;
                if let Some(over) = Over::ALL.into_iter().find(is_it) {
                    self.on_opened(out, wire, over);
                }
            }
            Arrives::Bytes(bytes) => self.on_bytes(out, wire, &bytes, now.0),
            Arrives::End => {
                out.finish(wire);
                self.lose(out, wire);
            }
            Arrives::Reset => self.lose(out, wire),
        }
        self.wake(out, now.0);
    }
}

/// The first message, if it is whole: by its length, which each has.
fn take_message(input: &mut Vec<u8>) -> Option<String> {
    let breaks = input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    input.drain(..breaks);
    let head = input.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&input[..head]).expect("text");
    let body: usize = header(text, "Content-Length").parse().expect("a length");
    (input.len() >= head + body)
        .then(|| String::from_utf8(input.drain(..head + body).collect()).expect("text"))
}
