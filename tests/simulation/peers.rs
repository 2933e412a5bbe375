//! User agents that call over datagrams and over connections, and that lose connections on the way.
//!
//! What a callee does stands in the user part that a request is for: `busy` refuses, `mute` says nothing, others answer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use viaduct::engine::sim::{Arrives, Endpoint, Outbox, WireId};
use viaduct::net::Now;
use viaduct::random::Random;

use super::odd::{header, method, response};
use super::world::MS;

const T1: u64 = 500 * MS;
const T2: u64 = 4_000 * MS;
/// Nobody sends anything again after 64·T1.
const PATIENCE: u64 = 64 * T1;
/// How long a call lasts.
const HOLD: u64 = 1_000 * MS;

/// What requests go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    Datagrams,
    Connections,
}

impl Over {
    fn via(self) -> &'static str {
        if self == Self::Datagrams { "UDP" } else { "TCP" }
    }

    fn parameter(self) -> &'static str {
        if self == Self::Datagrams { "" } else { ";transport=tcp" }
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
    Babble(&'static str),
    /// Ends all of them in good order.
    Leave,
}

/// Where something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Datagram(SocketAddr),
    /// By this connection, and if it is gone by [`Way::Line`].
    Wire(WireId),
    /// By the connection to the forwarder, which is opened where there is none.
    Line,
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
    input: Vec<u8>,
    /// Nothing more is sent on it.
    is_finished: bool,
}

/// What a connection is opened for.
enum Purpose {
    Line,
    Babble(&'static str),
}

/// What a caller knows of a call.
#[derive(Debug, Default)]
pub struct Call {
    /// By which connection its INVITE went, if that is certain.
    wire: Option<WireId>,
    /// Final answers by CSeq.
    pub finals: BTreeMap<String, BTreeSet<String>>,
    /// The BYE was answered.
    pub is_done: bool,
}

/// Caller and callee in one.
pub struct Peer {
    own: SocketAddr,
    /// The forwarder's listeners, for datagrams and for connections.
    proxy: [SocketAddr; 2],
    dice: Random,
    /// What to do when, latest first.
    plan: Vec<(u64, Deed)>,
    again: BTreeMap<String, Again>,
    wires: BTreeMap<WireId, Wire>,
    line: Option<WireId>,
    /// What waits for the line to be open.
    waiting: Vec<String>,
    opening: VecDeque<Purpose>,
    port: u16,
    wakes: u64,
    /// Those that the world has cut: the agent cannot know.
    pub cut: BTreeSet<WireId>,
    /// Own calls, by Call-ID.
    pub calls: BTreeMap<String, Call>,
    /// What should not have happened.
    pub wrong: Vec<String>,
}

impl Peer {
    pub fn new(own: SocketAddr, proxy: SocketAddr, dice: Random) -> Self {
        Self {
            own,
            proxy: [proxy, SocketAddr::new(proxy.ip(), 5070)],
            dice,
            plan: Vec::new(),
            again: BTreeMap::new(),
            wires: BTreeMap::new(),
            line: None,
            waiting: Vec::new(),
            opening: VecDeque::new(),
            port: 20_000,
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
                    self.lose(wire);
                }
            }
            Deed::Finish => {
                if let Some(wire) = self.any_wire() {
                    self.finish(out, wire);
                }
            }
            Deed::Babble(text) => self.open(out, Purpose::Babble(text)),
            Deed::Leave => self.wires().into_iter().for_each(|wire| self.finish(out, wire)),
        }
    }

    fn any_wire(&mut self) -> Option<WireId> {
        let wires = self.wires();
        wires.get(self.dice.below(wires.len() as u64) as usize).copied()
    }

    fn lose(&mut self, wire: WireId) {
        self.wires.remove(&wire);
        self.line = self.line.filter(|line| *line != wire);
    }

    fn finish(&mut self, out: &mut Outbox, wire: WireId) {
        out.finish(wire);
        self.wires.entry(wire).or_default().is_finished = true;
        self.line = self.line.filter(|line| *line != wire);
    }

    fn open(&mut self, out: &mut Outbox, purpose: Purpose) {
        self.port += 1;
        out.connect(SocketAddr::new(self.own.ip(), self.port), self.proxy[1]);
        self.opening.push_back(purpose);
    }

    /// Sends; the connection that it went by, if that is certain.
    fn say(&mut self, out: &mut Outbox, way: Way, text: &str) -> Option<WireId> {
        let wire = match way {
            Way::Datagram(to) => {
                out.send(self.own, to, text);
                return None;
            }
            Way::Wire(wire) if self.wires.get(&wire).is_some_and(|wire| !wire.is_finished) => Some(wire),
            Way::Wire(_) | Way::Line => self.line,
        };
        match wire {
            Some(wire) => out.write(wire, text),
            None => {
                self.waiting.push(text.to_owned());
                if !self.opening.iter().any(|purpose| matches!(purpose, Purpose::Line)) {
                    self.open(out, Purpose::Line);
                }
            }
        }
        wire
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
             Contact: <sip:peer@{own}{}>\r\nContent-Length: 0\r\n\r\n",
            over[0].via(),
            over[0].parameter()
        );
        let way = if over[0] == Over::Datagrams { Way::Datagram(self.proxy[0]) } else { Way::Line };
        let wire = self.say_again(out, format!("1 INVITE {user}"), way, &invite, now);
        self.calls.insert(user.to_owned(), Call { wire, ..Call::default() });
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
        if let (Way::Wire(came), Some(went), true) = (by, call.wire, cseq.ends_with("INVITE"))
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
        let way = if let Way::Datagram(_) = by { Way::Datagram(self.proxy[0]) } else { by };
        self.say(out, way, &ack);
    }

    /// A request of the dialog that a 200 has made, along its recorded route (RFC 3261 §12.1.2).
    fn within(&mut self, ok: &str, cseq: &str) -> (String, Way) {
        let lines = ok.lines().filter_map(|line| line.strip_prefix("Record-Route: "));
        let routes: Vec<&str> = lines.rev().collect();
        let target = header(ok, "Contact").split(['<', '>']).nth(1).expect("a Contact");
        let first = routes.first().copied().unwrap_or(target);
        let over = if first.contains("transport=tcp") { Over::Connections } else { Over::Datagrams };
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
        let expected = self.proxy[usize::from(over == Over::Connections)];
        if !first.contains(&expected.to_string()) {
            self.wrong.push(format!("{id}: {first} is recorded, {expected} was expected"));
        }
        (text, if over == Over::Connections { Way::Line } else { Way::Datagram(expected) })
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
                let over =
                    if header(text, "Via").contains("/TCP") { Over::Connections } else { Over::Datagrams };
                let contact =
                    format!("Contact: <sip:peer@{}{}>\r\nContent-Length", self.own, over.parameter());
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
                match if address == self.proxy[1] { self.opening.pop_front() } else { None } {
                    Some(Purpose::Line) => {
                        self.line = Some(wire);
                        std::mem::take(&mut self.waiting).into_iter().for_each(|text| out.write(wire, text));
                    }
                    Some(Purpose::Babble(text)) => out.write(wire, text),
                    None => {}
                }
            }
            Arrives::Bytes(bytes) => {
                let Some(own) = self.wires.get_mut(&wire) else { return };
                own.input.extend_from_slice(&bytes);
                while let Some(text) = self.wires.get_mut(&wire).and_then(|own| take_message(&mut own.input))
                {
                    self.on_message(out, Way::Wire(wire), &text, now.0);
                }
            }
            Arrives::End => {
                out.finish(wire);
                self.lose(wire);
            }
            Arrives::Reset => self.lose(wire),
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
