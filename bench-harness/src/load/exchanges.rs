//! Caller and callee of all exchanges: datagrams and the time go in, datagrams come out. No socket, no clock.
//!
//! ```text
//!  caller                      forwarder                      callee
//!    ├── INVITE ──────────────────►├── INVITE ──────────────────►│  latency: from the time it was scheduled for
//!    │◄────────────────── 180, 200 ┤◄────────────────── 180, 200 ┤
//!    ├── ACK, after a while BYE ──►├── ACK, BYE ────────────────►│  along the recorded route
//!    │◄──────────────────────  200 ┤◄────────────────────── 200  ┤
//! ```
//!
//! Responses go to where the request came from: each forwarder here sends from the address that its Via names.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::book::{Book, Leg, Tally};
use super::mix::{Kind, Mix};
use super::say::{Within, ack_to_refusal, response};
use super::scan::{Scan, Start};
use super::transport::Transport;
use crate::draw::Random;
use crate::messages::{Template, number_of};

/// RFC 3261 §17.1.1.1: "T1 is an estimate of the round-trip time (RTT), and it defaults to 500 ms."
const T1_NS: u64 = 500_000_000;
/// RFC 3261 §17.1.2.2: "the default value of T2 is 4s".
const T2_NS: u64 = 4_000_000_000;
/// Sends of an INVITE within 64 * T1.
const INVITES: u8 = 7;
/// Sends of another request, or of the 200 to an INVITE, within 64 * T1.
const OTHERS: u8 = 11;

/// So far apart are the numbers of exchanges beside each other: half of all.
const FAR: u32 = 1 << 31;

/// What is offered, between whom.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Kinds of exchanges.
    pub mix: Mix,
    /// How long a call lasts, in nanoseconds.
    pub hold_ns: u64,
    /// Send again what is not answered: over UDP.
    pub retransmit: bool,
    /// Callers' addresses; they take turns.
    pub callers: Vec<SocketAddr>,
    /// The callee's address.
    pub callee: SocketAddr,
    /// What the Request-URI and To of what begins an exchange name: the callee's address, or the forwarder's.
    pub named: SocketAddr,
    /// Where the callers' requests go.
    pub forwarder: SocketAddr,
    /// What they go by; the callee is reached by what [`Transport::of_callee`] says.
    pub transport: Transport,
    /// By connections: each exchange has a connection of its own, which ends with it. Not for calls, which have several requests.
    pub fresh: bool,
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The caller of this number.
    Caller(usize),
    /// The callee.
    Callee,
}

/// A datagram to be sent: its place in [`Outbox::bytes`].
#[derive(Clone, Debug)]
pub struct Item {
    /// By whom.
    pub by: Side,
    /// Where to.
    pub to: SocketAddr,
    /// Its bytes.
    pub range: Range<usize>,
}

/// Datagrams to be sent, in their order.
#[derive(Debug, Default)]
pub struct Outbox {
    /// All their bytes.
    pub bytes: Vec<u8>,
    /// Each of them.
    pub items: Vec<Item>,
}

impl Outbox {
    fn put(&mut self, by: Side, to: SocketAddr, write: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        let start = self.bytes.len();
        write(&mut self.bytes);
        let range = start..self.bytes.len();
        self.items.push(Item { by, to, range: range.clone() });
        &self.bytes[range]
    }

    /// Throws all away.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.items.clear();
    }
}

/// What is to be done at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    HangUp,
    RequestAgain { interval_ns: u64 },
    OkAgain { interval_ns: u64 },
    ByeAgain { interval_ns: u64 },
}

/// Both sides of all exchanges.
pub struct Exchanges {
    settings: Settings,
    /// Requests by caller, then by kind.
    requests: Vec<Vec<Template>>,
    /// `host:port` of callers and of the callee (with what its URI has for the transport), as text.
    hosts: (Vec<String>, String),
    /// The number of the first one.
    first: u32,
    book: Book,
    timers: BinaryHeap<Reverse<(u64, u32, Task)>>,
    random: Random,
    latency: Histogram<u64>,
    setup: Histogram<u64>,
    setup_at_once: Histogram<u64>,
    /// ACKs to refusals.
    acks: u64,
    /// First requests are not sent again.
    has_given_up: bool,
}

/// A histogram of nanoseconds up to a minute, three digits exact.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds in their order, and a sensible precision")
}

impl Exchanges {
    /// Nothing has begun yet; exchanges are numbered from `base`.
    pub fn new(settings: Settings, base: u32) -> Self {
        let templates = |caller: &SocketAddr| {
            let of = |kind: Kind| {
                Template::of(kind.method(), (*caller, settings.named), kind.long(), settings.transport)
            };
            Kind::ALL.map(of).into()
        };
        Self {
            requests: settings.callers.iter().map(templates).collect(),
            hosts: (
                settings.callers.iter().map(ToString::to_string).collect(),
                format!("{}{}", settings.callee, settings.transport.of_callee().parameter()),
            ),
            first: base,
            book: Book::new(base),
            timers: BinaryHeap::new(),
            random: Random(u64::from(base)),
            latency: histogram(),
            setup: histogram(),
            setup_at_once: histogram(),
            acks: 0,
            has_given_up: false,
            settings,
        }
    }

    /// Offers something else from now on.
    pub fn reset(&mut self, settings: Settings) {
        let next = self.book.next_number();
        *self = Self::new(settings, next);
    }

    /// The same with other settings, and with numbers that are far from those of this one.
    pub fn beside(&self, settings: Settings) -> Self {
        Self::new(settings, self.first.wrapping_add(FAR))
    }

    /// A message is about one of these exchanges, not about one of those that are [`Self::beside`] them.
    pub fn knows(&self, message: &[u8]) -> bool {
        number_of(message).is_some_and(|number| number.wrapping_sub(self.first) < FAR)
    }

    /// Begins an exchange that was scheduled for this time.
    pub fn begin(&mut self, scheduled_ns: u64, now_ns: u64, out: &mut Outbox) {
        let kind = self.settings.mix.draw(&mut self.random);
        let number = self.book.begin(kind, scheduled_ns);
        self.request(number, kind, out);
        if self.settings.retransmit && kind != Kind::Unanswered {
            self.at(now_ns + T1_NS, number, Task::RequestAgain { interval_ns: T1_NS });
        }
    }

    /// Takes what came to a caller.
    pub fn on_caller(&mut self, bytes: &[u8], now_ns: u64, out: &mut Outbox) {
        let (Some(scan), Some(number)) = (Scan::of(bytes), number_of(bytes)) else {
            return self.book.foreign();
        };
        let Start::Response(code) = scan.start else { return self.book.foreign() };
        let invite = scan.cseq_method() == b"INVITE";
        match code {
            // Of a hop's own making: it is nobody's message.
            100 => {}
            300.. => {
                if invite {
                    self.acknowledge(number, &scan, out);
                }
                self.book.refused(number);
            }
            101..200 => _ = self.book.arrived(Some(number), Leg::Provisional),
            _ if invite => self.answered(number, &scan, now_ns, out),
            _ => {
                let leg = if scan.cseq_method() == b"BYE" { Leg::ByeFinal } else { Leg::Final };
                self.book.arrived(Some(number), leg);
                self.book.end(number);
            }
        }
    }

    /// Takes what came to the callee from there.
    pub fn on_callee(&mut self, bytes: &[u8], from: SocketAddr, now_ns: u64, out: &mut Outbox) {
        let number = number_of(bytes);
        if number.and_then(|number| self.book.get(number)).is_some_and(|e| e.kind == Kind::Unanswered) {
            return self.requested(number, now_ns);
        }
        let (Some(scan), Some(at)) = (Scan::of(bytes), number) else { return self.book.foreign() };
        match scan.start {
            Start::Request(b"ACK") => {
                if let Some((entry, _)) = self.book.arrived(number, Leg::Ack)
                    && let Some(dialog) = &mut entry.dialog
                {
                    dialog.ok = None;
                }
            }
            Start::Request(b"BYE") => {
                self.book.arrived(number, Leg::Bye);
                self.respond(at, Leg::ByeFinal, "200 OK", &scan, from, out);
            }
            Start::Request(b"INVITE") => {
                self.requested(number, now_ns);
                self.ring(at, &scan, from, now_ns, out);
            }
            Start::Request(_) => {
                self.requested(number, now_ns);
                self.respond(at, Leg::Final, "200 OK", &scan, from, out);
            }
            Start::Response(_) => self.book.foreign(),
        }
    }

    /// Does what is due.
    pub fn at_time(&mut self, now_ns: u64, out: &mut Outbox) {
        while let Some(Reverse((due_ns, number, task))) = self.timers.peek().copied()
            && due_ns <= now_ns
        {
            self.timers.pop();
            self.act(number, task, now_ns, out);
        }
    }

    /// When something is due next, in nanoseconds of the load's clock.
    pub fn next_due_ns(&self) -> Option<u64> {
        self.timers.peek().map(|Reverse((due_ns, ..))| *due_ns)
    }

    /// Exchanges that have not come to their end.
    pub fn open(&self) -> u64 {
        self.book.open()
    }

    /// How long calls last.
    pub fn held(&self) -> Duration {
        Duration::from_nanos(self.settings.hold_ns)
    }

    /// The account so far.
    pub fn tally(&self) -> Tally {
        self.book.tally()
    }

    /// Forgets what was over before this time, but not its account.
    pub fn fold(&mut self, before_ns: u64) {
        self.book.fold(before_ns);
    }

    /// From the scheduled time of a first request to its first arrival, in nanoseconds.
    pub fn latency(&self) -> &Histogram<u64> {
        &self.latency
    }

    /// From the scheduled time of a call to the first arrival of its 200, in nanoseconds.
    pub fn setup(&self) -> &Histogram<u64> {
        &self.setup
    }

    /// The same of calls whose INVITE was sent once.
    pub fn setup_at_once(&self) -> &Histogram<u64> {
        &self.setup_at_once
    }

    /// From now on first requests that nobody has answered are not sent again.
    pub fn give_up(&mut self) {
        self.has_given_up = true;
    }

    /// ACKs that were sent to refusals: the next hop takes them in, so that they are in no account.
    pub fn acks(&self) -> u64 {
        self.acks
    }

    fn at(&mut self, due_ns: u64, number: u32, task: Task) {
        self.timers.push(Reverse((due_ns, number, task)));
    }

    fn caller(&self, number: u32) -> usize {
        number as usize % self.settings.callers.len()
    }

    fn request(&mut self, number: u32, kind: Kind, out: &mut Outbox) {
        let caller = self.caller(number);
        let template = &self.requests[caller][kind as usize];
        out.put(Side::Caller(caller), self.settings.forwarder, |bytes| template.append(number, bytes));
        self.book.sent(number, Leg::Request);
    }

    /// A first request has arrived.
    fn requested(&mut self, number: Option<u32>, now_ns: u64) {
        if let Some((entry, true)) = self.book.arrived(number, Leg::Request) {
            let ns = now_ns.saturating_sub(entry.scheduled_ns);
            self.latency.saturating_record(ns.max(1));
        }
    }

    fn respond(
        &mut self,
        number: u32,
        leg: Leg,
        status: &str,
        request: &Scan<'_>,
        to: SocketAddr,
        out: &mut Outbox,
    ) {
        let mut tag = *b"c00000000";
        for (place, digit) in tag[1..].iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(number >> (28 - 4 * place) & 0xf) as usize];
        }
        out.put(Side::Callee, to, |bytes| response(request, status, &tag, &self.hosts.1, bytes));
        self.book.sent(number, leg);
    }

    /// Answers an INVITE, or its repetition.
    fn ring(&mut self, number: u32, invite: &Scan<'_>, from: SocketAddr, now_ns: u64, out: &mut Outbox) {
        let Some(entry) = self.book.get(number) else { return };
        let known = entry.sent(Leg::Final) > 0;
        if known && entry.arrived(Leg::Ack) > 0 {
            return;
        }
        if !known {
            self.respond(number, Leg::Provisional, "180 Ringing", invite, from, out);
        }
        self.respond(number, Leg::Final, "200 OK", invite, from, out);
        if !known
            && self.settings.retransmit
            && let Some(entry) = self.book.get(number)
        {
            let ok = out.items.last().map(|item| (out.bytes[item.range.clone()].to_vec(), item.to));
            entry.dialog.get_or_insert_default().ok = ok;
            self.at(now_ns + T1_NS, number, Task::OkAgain { interval_ns: T1_NS });
        }
    }

    /// Acknowledges the refusal of an INVITE, towards where that went (RFC 3261 §17.1.1.3).
    fn acknowledge(&mut self, number: u32, refusal: &Scan<'_>, out: &mut Outbox) {
        let caller = self.caller(number);
        let (host, to) = (&self.hosts.0[caller], self.settings.forwarder);
        let target = &self.hosts.1;
        let via = format!("{} {host}", self.settings.transport.via());
        out.put(Side::Caller(caller), to, |bytes| ack_to_refusal(refusal, (&via, number), target, bytes));
        self.acks += 1;
    }

    /// Acknowledges the 200 to an INVITE, and lays down the BYE.
    fn answered(&mut self, number: u32, ok: &Scan<'_>, now_ns: u64, out: &mut Outbox) {
        let caller = self.caller(number);
        let Some((_, first)) = self.book.arrived(Some(number), Leg::Final) else { return };
        let within = Within::of(ok);
        let to = within.next_hop().unwrap_or(self.settings.forwarder);
        let transport = self.settings.transport.via();
        let via = format!("SIP/2.0/{transport} {};branch=z9hG4bK{number:08x}", self.hosts.0[caller]);
        out.put(Side::Caller(caller), to, |bytes| within.request("ACK", via.as_bytes(), "1", bytes));
        self.book.sent(number, Leg::Ack);
        if first && let Some(entry) = self.book.get(number) {
            let ns = now_ns.saturating_sub(entry.scheduled_ns).max(1);
            self.setup.saturating_record(ns);
            if entry.sent(Leg::Request) == 1 {
                self.setup_at_once.saturating_record(ns);
            }
            let mut bye = Vec::with_capacity(1024);
            within.request("BYE", via.as_bytes(), "2", &mut bye);
            entry.dialog.get_or_insert_default().bye = Some((bye, to));
            self.at(now_ns + self.settings.hold_ns, number, Task::HangUp);
        }
    }

    fn act(&mut self, number: u32, task: Task, now_ns: u64, out: &mut Outbox) {
        let caller = self.caller(number);
        let Some(entry) = self.book.get(number).filter(|entry| !entry.over) else { return };
        let unheard = entry.arrived(Leg::Provisional) == 0 && entry.arrived(Leg::Final) == 0;
        let kind = entry.kind;
        let dialog = entry.dialog.as_deref();
        match task {
            Task::HangUp => {
                let Some((bye, to)) = dialog.and_then(|dialog| dialog.bye.as_ref()) else { return };
                out.put(Side::Caller(caller), *to, |bytes| bytes.extend_from_slice(bye));
                self.book.sent(number, Leg::Bye);
                if self.settings.retransmit {
                    self.at(now_ns + T1_NS, number, Task::ByeAgain { interval_ns: T1_NS });
                }
            }
            Task::RequestAgain { interval_ns } if unheard => {
                let (sends, next_ns) = match kind.is_call() {
                    true => (INVITES, interval_ns * 2),
                    false => (OTHERS, (interval_ns * 2).min(T2_NS)),
                };
                if entry.sent(Leg::Request) >= sends || self.has_given_up {
                    return self.book.end(number);
                }
                self.request(number, kind, out);
                self.at(now_ns + next_ns, number, Task::RequestAgain { interval_ns: next_ns });
            }
            Task::RequestAgain { .. } => {}
            Task::ByeAgain { interval_ns } => {
                let next_ns = (interval_ns * 2).min(T2_NS);
                let again = Task::ByeAgain { interval_ns: next_ns };
                let bye = dialog.and_then(|dialog| dialog.bye.clone());
                self.again(number, Leg::Bye, Side::Caller(caller), bye, (now_ns + next_ns, again), out);
            }
            Task::OkAgain { interval_ns } => {
                let Some(ok) = dialog.and_then(|dialog| dialog.ok.clone()) else { return };
                let next_ns = (interval_ns * 2).min(T2_NS);
                let again = Task::OkAgain { interval_ns: next_ns };
                self.again(number, Leg::Final, Side::Callee, Some(ok), (now_ns + next_ns, again), out);
            }
        }
    }

    /// Sends a kept message again, or gives the exchange up.
    fn again(
        &mut self,
        number: u32,
        leg: Leg,
        by: Side,
        message: Option<(Vec<u8>, SocketAddr)>,
        next: (u64, Task),
        out: &mut Outbox,
    ) {
        let spent = self.book.get(number).is_none_or(|entry| entry.sent(leg) >= OTHERS);
        let Some((message, to)) = message.filter(|_| !spent) else { return self.book.end(number) };
        out.put(by, to, |bytes| bytes.extend_from_slice(&message));
        self.book.sent(number, leg);
        self.at(next.0, number, next.1);
    }
}
