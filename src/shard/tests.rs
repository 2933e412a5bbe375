//! A shard between an engine that remembers and a handler that does what the message says.

mod again;
mod names;
mod owned;
mod pausing;
mod rehearsal;
mod streams;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use libc::sock_filter;
use proptest::prelude::*;

use super::post::{Lane, NotPosted, Received, What as Letter};
use super::*;
use crate::dns::{HostName, Question, Unresolved};
use crate::drop_reason::DropReason;
use crate::egress::{self, Exit, NoEgress, Reason, Step, bound_query};
use crate::engine::{Accepted, Event, Io, Next, Shard, SocketId};
use crate::fib::spec::{Action, Address, Family, Link, Rule};
use crate::fib::{Answer, Builder, NoRoute, Query, Route, RouteKind};
use crate::limits;
use crate::metrics::{Class, SeriesId, ShardMetrics};
use crate::net::{ListenerId, NextHop, Now, SectionId, Transport};
use crate::overload::Kept;
use crate::plan::{Bind, EgressPolicy, Engine, Plan, Section, expand};
use crate::proxy::{Came, Decision, Incoming, Outcome, Own, Tally};
use crate::rules::{Matcher, Mode};
use crate::snapshot::Snapshot;
use crate::stream::{NameId, Number, StreamId, peer_mark};
use crate::tls::PeerName;
use crate::token::Keys;
use crate::transaction::{Handle, SendFailure, What};

const PUBLIC: SocketId = SocketId(4);
const PRIVATE: SocketId = SocketId(9);
const SECOND_NS: u64 = 1_000_000_000;

/// An engine that does what it is told, when it is told.
struct FakeIo {
    free: usize,
    pending: VecDeque<(SocketId, SocketAddr, Vec<u8>, u64)>,
    woken: Vec<u16>,
    open: Vec<SocketId>,
    closing: Vec<SocketId>,
    /// Steps of the filters at sockets.
    filters: BTreeMap<SocketId, usize>,
    /// What setting one fails with.
    filter_fails: Option<i32>,
    /// One fails that is to replace another one.
    one_at_a_time: bool,
    streams: streams::FakeStreams,
}

const POOL: usize = 8;

const NONCE: u64 = 77;

/// Names that wait to be asked for.
const NAME_QUESTIONS: usize = 100;

fn name(text: &[u8]) -> Option<Question> {
    Some(Question { name: HostName::new(text)?, port: None, transport: None, sips: false })
}

impl FakeIo {
    fn new() -> Self {
        Self {
            free: POOL,
            pending: VecDeque::new(),
            woken: Vec::new(),
            open: Vec::new(),
            closing: Vec::new(),
            filters: BTreeMap::new(),
            filter_fails: None,
            one_at_a_time: false,
            streams: Default::default(),
        }
    }
}

impl Io for FakeIo {
    type Tx = Box<[u8]>;
    type Source = &'static str;

    fn tx(&mut self) -> Option<Self::Tx> {
        self.free = self.free.checked_sub(1)?;
        Some(vec![0; limits::MESSAGE_BYTES].into())
    }

    fn send(&mut self, tx: Self::Tx, len: usize, on: SocketId, to: SocketAddr, cookie: u64) {
        self.pending.push_back((on, to, tx[..len].to_vec(), cookie));
    }

    fn filter(&mut self, on: SocketId, program: &[sock_filter]) -> Result<(), i32> {
        match (program.len(), self.filter_fails) {
            (0, _) => drop(self.filters.remove(&on)),
            (_, Some(errno)) => return Err(errno),
            _ if self.one_at_a_time && self.filters.contains_key(&on) => return Err(libc::ENOMEM),
            (steps, None) => drop(self.filters.insert(on, steps)),
        }
        Ok(())
    }

    fn discard(&mut self, tx: Self::Tx) {
        assert_eq!(tx.len(), limits::MESSAGE_BYTES);
        self.free += 1;
    }

    fn wake(&mut self, shard: u16) {
        self.woken.push(shard);
    }

    fn open(&mut self, id: SocketId, _: &Self::Source) {
        assert!(!self.open.contains(&id), "{id:?} is open");
        self.open.push(id);
    }

    fn close(&mut self, id: SocketId) {
        assert!(self.open.contains(&id) && !self.closing.contains(&id), "{id:?}");
        self.closing.push(id);
    }

    fn connect(&mut self, _: SocketId, _: SocketAddr) -> Option<StreamId> {
        self.streams.connects.then(|| self.streams.adopt())
    }

    fn adopt(&mut self, _: Accepted) -> Option<StreamId> {
        Some(self.streams.adopt())
    }

    fn write(&mut self, stream: StreamId, bytes: &[u8]) -> bool {
        self.streams.write(stream, bytes)
    }

    fn has_room(&self, _: usize) -> bool {
        self.streams.has_room()
    }

    fn unread_ns(&mut self, stream: StreamId) -> Option<u64> {
        self.streams.unread.get(&stream).copied()
    }

    fn pause(&mut self, stream: StreamId) {
        self.streams.paused.insert(stream);
    }

    fn resume(&mut self, stream: StreamId) {
        assert!(self.streams.paused.remove(&stream), "{stream:?} is not paused");
    }

    fn finish(&mut self, stream: StreamId) {
        self.streams.finished.push(stream);
    }

    fn reset(&mut self, stream: StreamId) {
        self.streams.reset.push(stream);
    }
}

/// Does what the first byte of a message says.
#[derive(Default)]
struct Script {
    adopted: Rc<Cell<usize>>,
    no_egress: Option<NoEgress>,
    in_haste: bool,
    nowhere: Option<(Question, Unresolved)>,
    transaction: u64,
    due: Rc<Cell<Option<Now>>>,
    /// What listeners are to keep from some moment on.
    wanted: Rc<RefCell<Vec<(ListenerId, Kept)>>>,
    look_at: Rc<Cell<Option<Now>>>,
    /// Listeners whose filters could not be had, and how often there was none any more.
    unfiltered: Rc<RefCell<Vec<ListenerId>>>,
    forgotten: Rc<Cell<usize>>,
    failed: Rc<RefCell<Vec<(Handle, SendFailure)>>>,
    gone: Cell<Option<u16>>,
    /// What the last message was said to have waited, in nanoseconds.
    waited: Rc<Cell<Option<u64>>>,
    /// It handles messages to no effect.
    is_understudy: bool,
    /// Those that understudies have handled.
    rehearsed: Rc<RefCell<Vec<Vec<u8>>>>,
}

/// The transaction of a message that says its number.
fn numbered(message: &[u8]) -> u64 {
    let number = message.split(|c| *c == b' ').skip(1).find(|word| word.len() == 1);
    number.map_or(0, |number| number[0].into())
}

fn route() -> Route {
    Route {
        kind: RouteKind::Unicast,
        table: 254,
        prefix: "10.0.0.0/24".parse().unwrap(),
        dev: 2,
        gateway: None,
        source: "10.0.0.4".parse().unwrap(),
    }
}

fn next_hop() -> NextHop {
    NextHop { transport: Transport::Udp, address: "10.0.0.100:5060".parse().unwrap() }
}

impl Handler for Script {
    fn handle(&mut self, snapshot: &Snapshot, incoming: &Incoming<'_>, _: Now, out: &mut [u8]) -> Outcome {
        if self.is_understudy {
            self.rehearsed.borrow_mut().push(incoming.bytes.to_vec());
        }
        out[..4].copy_from_slice(b"sent");
        self.nowhere = None;
        let forward = |listener, reason| {
            let egress = Exit { listener, reason, dev: route().dev };
            Outcome::Forward {
                decision: Decision {
                    stream: Number::NONE,
                    by_size: false,
                    rule: None,
                    gateway: None,
                    next_hop: next_hop(),
                    egress,
                    record_route: false,
                    mode: Mode::Stateless,
                },
                len: 4,
                transaction: None,
            }
        };
        match incoming.bytes {
            b"INVITE twice panics" if self.is_understudy => panic!("the second time"),
            bytes if bytes == b"forward" || bytes.starts_with(b"INVITE ") => {
                forward(ListenerId(1), Reason::Auto(Step::Source))
            }
            b"fallback" => forward(ListenerId(1), Reason::Fallback),
            b"nowhere" => forward(ListenerId(7), Reason::Override),
            bytes if bytes == b"relay" || bytes.starts_with(b"SIP/2.0 ") => Outcome::Relay {
                peer: peer_mark(NONCE, incoming.from),
                on: ListenerId(0),
                to: incoming.from,
                stream: Number::NONE,
                len: 4,
                status: 200,
            },
            b"answer" => Outcome::Answer { to: incoming.from, len: 4, status: 403 },
            b"unroutable" => {
                self.no_egress = Some(NoEgress::NoRoute(NoRoute::Unreachable));
                Outcome::Answer { to: incoming.from, len: 4, status: 503 }
            }
            b"ask" | b"ask, or drop" | b"ask, or another" => {
                let query = Query::to(next_hop().address.ip());
                if snapshot.fib.lookup(&query) != Answer::AskKernel {
                    return forward(ListenerId(1), Reason::Auto(Step::Source));
                }
                if incoming.bytes == b"ask, or another" && self.in_haste {
                    return forward(ListenerId(0), Reason::Auto(Step::Source));
                }
                self.no_egress = Some(NoEgress::AskKernel(query));
                match incoming.bytes {
                    b"ask, or another" => Outcome::Answer { to: incoming.from, len: 4, status: 500 },
                    b"ask" => Outcome::Answer { to: incoming.from, len: 4, status: 500 },
                    _ => Outcome::Drop(DropReason::AckUnroutable),
                }
            }
            bytes if bytes.starts_with(b"ask ") || bytes.starts_with(b"CANCEL ask ") => {
                self.transaction = numbered(bytes);
                let query = Query::to(next_hop().address.ip());
                if snapshot.fib.lookup(&query) != Answer::AskKernel {
                    return forward(ListenerId(1), Reason::Auto(Step::Source));
                }
                self.no_egress = Some(NoEgress::AskKernel(query));
                Outcome::Answer { to: incoming.from, len: 4, status: 503 }
            }
            b"name, or another" => {
                self.nowhere = name(b"a.example").map(|question| (question, Unresolved::Pending));
                forward(ListenerId(1), Reason::Auto(Step::Source))
            }
            b"hand over" if self.gone.get() != Some(1) => Outcome::HandOver(1),
            bytes if bytes.starts_with(b"HAND ") => Outcome::HandOver(1),
            b"panic" => panic!("as the message asked"),
            bytes if bytes.starts_with(b"RELAY ") => Outcome::Relay {
                peer: peer_mark(NONCE, incoming.from),
                on: ListenerId(0),
                to: incoming.from,
                stream: incoming.stream,
                len: 4,
                status: 200,
            },
            bytes if bytes.starts_with(b"name ") || bytes.starts_with(b"CANCEL ") => {
                let question = bytes.split(|c| *c == b' ').nth(1).and_then(name).expect("a name");
                self.transaction = numbered(bytes);
                let why = match snapshot.names.get(&question) {
                    Some(Ok(_)) => return forward(ListenerId(1), Reason::Auto(Step::Source)),
                    Some(Err(why)) => *why,
                    None => Unresolved::Pending,
                };
                self.nowhere = Some((question, why));
                assert!(!self.in_haste || why == Unresolved::Pending);
                Outcome::Answer { to: incoming.from, len: 4, status: 503 }
            }
            _ => Outcome::Drop(DropReason::NotSip),
        }
    }

    fn refuse(&mut self, _: &Snapshot, incoming: &Incoming<'_>, _: Now, out: &mut [u8]) -> Outcome {
        out[..4].copy_from_slice(b"full");
        Outcome::Answer { to: incoming.from, len: 4, status: 503 }
    }

    fn waited(&mut self, _: ListenerId, ns: Option<u64>, _: Came, _: Now) {
        self.waited.set(ns);
    }

    fn unreached(&mut self, _: SocketAddr, _: &[u8]) -> bool {
        false
    }

    fn sheds(&mut self, _: &Snapshot, _: &[u8], _: Now) -> bool {
        false
    }

    fn look(&mut self, _: Now, change: &mut dyn FnMut(ListenerId, Kept)) {
        self.look_at.take();
        self.wanted.take().into_iter().for_each(|(on, kept)| change(on, kept));
    }

    fn keeps_all(&mut self, on: ListenerId) {
        self.unfiltered.borrow_mut().push(on);
    }

    fn unfilter(&mut self) {
        self.forgotten.set(self.forgotten.get() + 1);
    }

    fn look_at(&self) -> Option<Now> {
        self.look_at.get()
    }

    fn adopt(&mut self, _: &Snapshot, _: Now) {
        self.adopted.set(self.adopted.get() + 1);
    }

    fn tally(&self, _: Now) -> Tally {
        Tally { pins: 3, ..Tally::default() }
    }

    fn take_no_egress(&mut self) -> Option<(NextHop, NoEgress)> {
        self.no_egress.take().map(|why| (next_hop(), why))
    }

    fn comes(&mut self, _: bool, in_haste: bool) {
        self.in_haste = in_haste;
    }

    fn nowhere(&self) -> Option<&(Question, Unresolved)> {
        self.nowhere.as_ref()
    }

    fn transaction(&self) -> u64 {
        self.transaction
    }

    fn transaction_of(&mut self, incoming: &Incoming<'_>) -> Option<u64> {
        Some(numbered(incoming.bytes))
    }

    fn is_due(&self, now: Now) -> bool {
        self.due.get().is_some_and(|due| due <= now)
    }

    fn deadline(&self) -> Option<Now> {
        self.due.get()
    }

    fn next(&mut self, _: &Snapshot, _: Now, out: &mut [u8]) -> Option<Own> {
        self.due.take()?;
        out[..5].copy_from_slice(b"again");
        let to = next_hop().address;
        Some(Own {
            gateway: None,
            what: What::RequestAgain,
            on: ListenerId(1),
            to,
            stream: Number::NONE,
            len: 5,
            transaction: Handle::from_bits(7),
        })
    }

    fn send_failed(&mut self, transaction: Handle, why: SendFailure) {
        self.failed.borrow_mut().push((transaction, why));
    }

    fn lost(&mut self, transaction: Handle, _: SocketAddr, why: SendFailure) {
        self.failed.borrow_mut().push((transaction, why));
    }

    fn name_of(&self, _: NameId) -> Option<Arc<PeerName>> {
        None
    }

    fn shard_gone(&mut self, shard: u16) {
        self.gone.set(Some(shard));
    }

    fn understudy(&self, _: &Snapshot) -> Option<Self> {
        let rehearsed = Rc::clone(&self.rehearsed);
        Some(Self { is_understudy: true, rehearsed, ..Self::default() })
    }
}

fn section(id: u16, ip: &str) -> Section {
    Section {
        id: SectionId(id),
        name: ip.into(),
        transport: Transport::Udp,
        bind: Bind::Address(ip.parse().unwrap()),
        port: 5060,
        tcp: crate::plan::Sibling::Absent,
        device: None,
        mark: None,
        advertise: Vec::new(),
        dialog_to: Vec::new(),
        formerly: Vec::new(),
        origins: None,
        tls: None,
    }
}

fn plan() -> Arc<Plan> {
    plan_of([section(0, "10.0.0.1"), section(1, "10.0.0.2")].into())
}

fn plan_of(sections: Arc<[Section]>) -> Arc<Plan> {
    Arc::new(Plan {
        origin: "test".into(),
        engine: Engine::default(),
        domains: Vec::new(),
        keys_file: None,
        listeners: expand(&sections, &opaque("10.0.0.1").build()).listeners,
        sections,
        left_out: Default::default(),
        streams: Default::default(),
        egress: EgressPolicy::default(),
        hosts: Default::default(),
        tls_names: Default::default(),
        groups: Default::default(),
        dns: Default::default(),
        rules: Default::default(),
        overload: Default::default(),
        matcher: Matcher::compile(&[]).unwrap().into(),
        admin: None,
    })
}

/// A host with this address and 10.0.0.2, whose routing policy this version does not understand.
fn opaque(first: &str) -> Builder {
    let address = |ip: &str| Address::new(2, ip.parse().unwrap(), 24);
    let host = Builder::new().link(Link::up(2, "eth0")).address(address(first)).address(address("10.0.0.2"));
    host.rule(Rule { opaque: true, ..Rule::new(Family::V4, 1, Action::Table(254)) })
}

fn publication(generation: u64, plan: Arc<Plan>, sockets: &[SocketId]) -> Publication<&'static str> {
    let keys = Arc::new(Keys::from_secret(&[7; 16]));
    let bound = |socket, series| Bound { socket, series: SeriesId(series) };
    Publication {
        snapshot: Snapshot::new(generation, plan, Arc::new(opaque("10.0.0.1").build()), keys, Arc::default()),
        bindings: Arc::new(Bindings::new(Box::new([bound(PUBLIC, 0), bound(PRIVATE, 1)]), &[])),
        sockets: Arc::new([sockets.iter().map(|id| (*id, "source")).collect()]),
        sockets_since: std::time::Instant::now(),
        stopping: false,
    }
}

struct Bench {
    io: FakeIo,
    shard: Worker<&'static str, Script>,
    published: Published<&'static str>,
    metrics: Arc<ShardMetrics>,
    records: Records,
    questions: Questions<Query>,
    names: Questions<Question>,
    now: Now,
    plan: Arc<Plan>,
    adopted: Rc<Cell<usize>>,
    post: Post,
    due: Rc<Cell<Option<Now>>>,
    wanted: Rc<RefCell<Vec<(ListenerId, Kept)>>>,
    look_at: Rc<Cell<Option<Now>>>,
    unfiltered: Rc<RefCell<Vec<ListenerId>>>,
    forgotten: Rc<Cell<usize>>,
    failed: Rc<RefCell<Vec<(Handle, SendFailure)>>>,
    waited: Rc<Cell<Option<u64>>>,
    rehearsed: Rc<RefCell<Vec<Vec<u8>>>>,
}

impl Bench {
    fn new() -> Self {
        Self::of(|shard| shard)
    }

    /// Of such a shard.
    fn of(made: impl FnOnce(Worker<&'static str, Script>) -> Worker<&'static str, Script>) -> Self {
        install_hook();
        let plan = plan();
        let published =
            Arc::new(ArcSwap::from_pointee(publication(1, Arc::clone(&plan), &[PUBLIC, PRIVATE])));
        let metrics = Arc::new(ShardMetrics::default());
        metrics.traffic.open(SeriesId(0));
        metrics.traffic.open(SeriesId(1));
        let (records, post) = (Records::default(), Post::new(2));
        let (questions, names) = (Questions::new(limits::KERNEL_QUESTIONS), Questions::new(NAME_QUESTIONS));
        let setup = Setup {
            number: 0,
            published: Arc::clone(&published),
            metrics: Arc::clone(&metrics),
            records: records.clone(),
            questions: questions.clone(),
            names: names.clone(),
            post: post.clone(),
            nonce: NONCE,
            throttles: Arc::default(),
        };
        let script = Script::default();
        let adopted = Rc::clone(&script.adopted);
        let (due, failed) = (Rc::clone(&script.due), Rc::clone(&script.failed));
        let (wanted, look_at) = (Rc::clone(&script.wanted), Rc::clone(&script.look_at));
        let (unfiltered, forgotten) = (Rc::clone(&script.unfiltered), Rc::clone(&script.forgotten));
        let (waited, rehearsed) = (Rc::clone(&script.waited), Rc::clone(&script.rehearsed));
        let shard = made(Worker::with_handler(setup, script));
        let now = Now(SECOND_NS);
        let mut bench = Self {
            io: FakeIo::new(),
            shard,
            published,
            metrics,
            records,
            questions,
            names,
            now,
            plan,
            adopted,
            post,
            due,
            wanted,
            look_at,
            unfiltered,
            forgotten,
            failed,
            waited,
            rehearsed,
        };
        assert_eq!(bench.batch(&[]), Next::Wait(None));
        bench
    }

    fn batch(&mut self, messages: &[&[u8]]) -> Next {
        self.shard.begin(&mut self.io, self.now);
        for bytes in messages {
            let from = "192.0.2.1:5060".parse().unwrap();
            self.shard.on_event(&mut self.io, Event::Datagram { on: PUBLIC, from, bytes, truncated: false });
        }
        self.shard.end(&mut self.io)
    }

    /// The other shard's box takes nothing more that arrives.
    fn fill(&mut self) {
        let by_stream = Number::new(0, StreamId::first(9));
        let (from, class) = ("192.0.2.1:5060".parse().unwrap(), Class::OtherMethod);
        for _ in 0..limits::HANDED_OVER_OF_STREAMS {
            let (listener, waited_ns, since) = (7, None, self.now);
            let letter =
                Received { socket: PUBLIC, listener, from, stream: by_stream, class, waited_ns, since };
            self.post.send(1, b"hand over", Letter::Received(letter)).unwrap();
        }
        self.batch(&vec![&b"hand over"[..]; limits::HANDED_OVER]);
    }

    /// Ends every send under way, well or with an error.
    fn complete(&mut self, errno: Option<i32>) -> Vec<(SocketId, SocketAddr)> {
        let mut done = Vec::new();
        self.shard.begin(&mut self.io, self.now);
        while let Some((on, to, bytes, cookie)) = self.io.pending.pop_front() {
            assert!(bytes == b"sent" || bytes == b"again", "{bytes:?}");
            self.io.free += 1;
            done.push((on, to));
            let event = match errno {
                None => Event::Sent { cookie },
                Some(errno) => Event::SendFailed { on, to, errno, cookie },
            };
            self.shard.on_event(&mut self.io, event);
        }
        self.shard.end(&mut self.io);
        done
    }

    /// Publishes, as a later generation, what the kernel answers to these questions.
    fn tell(&mut self, answers: &[Query]) {
        let generation = self.published.load().snapshot.generation + 1;
        let mut told = publication(generation, Arc::clone(&self.plan), &[PUBLIC, PRIVATE]);
        let mut fib = opaque("10.0.0.1").build();
        for query in answers {
            fib = fib.with_answer(query, Answer::Route(route())).unwrap();
        }
        told.snapshot.fib = Arc::new(fib);
        told.sockets = Arc::clone(&self.published.load().sockets);
        self.published.store(Arc::new(told));
    }

    fn received(&self) -> u64 {
        let of = |series| {
            Class::ALL.iter().map(move |c| self.metrics.traffic.received_count(SeriesId(series), *c))
        };
        of(0).chain(of(1)).sum()
    }

    fn sent(&self) -> u64 {
        let t = &self.metrics.traffic;
        let of = |s| {
            let each =
                move |c: &Class| Reason::ALL.iter().map(|r| t.sent_count(SeriesId(s), *c, *r)).sum::<u64>();
            Class::ALL.iter().map(each).sum::<u64>()
        };
        of(0) + of(1)
    }

    fn answered(&self) -> u64 {
        self.metrics.answers().map(|(_, n)| n).sum()
    }

    fn dropped(&self) -> u64 {
        DropReason::ALL.iter().map(|r| self.metrics.dropped_count(*r)).sum()
    }

    fn records(&self) -> Vec<RecordKind> {
        std::iter::from_fn(|| self.records.pop()).map(|r| r.kind).collect()
    }

    fn accounted(&self) -> u64 {
        let parked = self.metrics.parked_now.get() + self.metrics.parked_for_names_now.get();
        let waiting = parked + self.io.pending.len() as u64;
        self.sent() + self.answered() + self.dropped() + waiting
    }
}

#[test]
fn each_message_leaves_by_the_socket_of_its_listener_and_is_counted_when_it_has_left() {
    let mut bench = Bench::new();
    bench.batch(&[b"forward", b"relay", b"answer"]);
    assert_eq!((bench.sent(), bench.answered()), (0, 0), "not before the kernel has taken them");
    assert_eq!(bench.metrics.in_flight.get(), 3);
    let from = "192.0.2.1:5060".parse().unwrap();
    assert_eq!(bench.complete(None), [(PRIVATE, next_hop().address), (PUBLIC, from), (PUBLIC, from)]);
    let traffic = &bench.metrics.traffic;
    assert_eq!(traffic.sent_count(SeriesId(1), Class::NotSip, Reason::Auto(Step::Source)), 1);
    assert_eq!(traffic.sent_count(SeriesId(0), Class::NotSip, Reason::Response), 1);
    assert_eq!(bench.metrics.answers().collect::<Vec<_>>(), [(403, 1)]);
    assert_eq!((bench.metrics.in_flight.get(), bench.metrics.pins.get()), (0, 3));
    assert_eq!(bench.io.free, POOL);
}

#[test]
fn no_answer_leaves_from_a_socket_whose_address_is_gone() {
    let mut bench = Bench::new();
    let mut gone = publication(2, Arc::clone(&bench.plan), &[PUBLIC, PRIVATE]);
    let (keys, names) = (Arc::clone(&gone.snapshot.keys), Arc::clone(&gone.snapshot.names));
    gone.snapshot =
        Snapshot::new(2, Arc::clone(&bench.plan), Arc::new(opaque("10.0.0.9").build()), keys, names);
    bench.published.store(Arc::new(gone));
    bench.batch(&[b"answer", b"forward"]);
    assert_eq!(bench.metrics.dropped_count(DropReason::ListenerGone), 1);
    assert_eq!(bench.complete(None), [(PRIVATE, next_hop().address)], "what came in goes on all the same");
    assert_eq!(bench.io.free, POOL);
}

#[test]
fn a_send_that_fails_is_a_drop_and_nothing_else() {
    for (errno, reason) in [
        (libc::EAGAIN, DropReason::SendQueueFull),
        (libc::ENETUNREACH, DropReason::SendFailed),
        (libc::EMSGSIZE, DropReason::TooLarge),
        (libc::EBADF, DropReason::ListenerGone),
    ] {
        let mut bench = Bench::new();
        bench.batch(&[b"forward", b"answer"]);
        bench.complete(Some(errno));
        assert_eq!(bench.metrics.dropped_count(reason), 2);
        assert_eq!((bench.dropped(), bench.sent(), bench.answered()), (2, 0, 0));
        // Told once for each socket, not for each message.
        assert_eq!(bench.records().len(), 2);
        bench.batch(&[b"forward"]);
        bench.complete(Some(errno));
        assert_eq!(bench.records(), []);
    }
}

#[test]
fn a_panic_costs_its_message_and_no_buffer() {
    let mut bench = Bench::new();
    assert_eq!(bench.batch(&[b"panic", b"forward"]), Next::Wait(None));
    bench.complete(None);
    assert_eq!((bench.metrics.dropped_count(DropReason::Panic), bench.sent()), (1, 1));
    assert_eq!(bench.io.free, POOL);
    let [RecordKind::Panic { cause: Some((on, _)), message, place }] = bench.records()[..] else {
        panic!("one record")
    };
    assert_eq!((on, message.as_str()), (ListenerId(0), "as the message asked"));
    assert!(place.as_str().contains("tests.rs:"), "{place:?}");
}

#[test]
fn a_few_panics_a_second_are_survived_and_more_stop_the_shard() {
    let mut bench = Bench::new();
    let few = vec![&b"panic"[..]; limits::PANICS_PER_SECOND as usize];
    for second in 1..4 {
        bench.now = Now(second * SECOND_NS);
        assert_eq!(bench.batch(&few), Next::Wait(None));
    }
    bench.now = Now(4 * SECOND_NS);
    bench.records();
    assert_eq!(bench.batch(&few), Next::Wait(None));
    assert_eq!(bench.batch(&[b"panic", b"forward"]), Next::Stop);
    assert_eq!(bench.shard.ended(), Some(End::Panics));
    assert_eq!(bench.metrics.dropped_count(DropReason::Stopping), 1, "what came after is accounted for");
    assert_eq!(bench.records().last(), Some(&RecordKind::TooManyPanics));
}

#[test]
fn an_empty_pool_sheds_load_with_a_name() {
    let mut bench = Bench::new();
    bench.batch(&[&b"forward"[..]; POOL + 2]);
    assert_eq!(bench.metrics.dropped_count(DropReason::NoSendBuffer), 2);
    bench.complete(None);
    assert_eq!((bench.sent(), bench.io.free), (POOL as u64, POOL));
}

#[test]
fn a_truncated_datagram_and_an_unknown_socket_are_named_drops() {
    let mut bench = Bench::new();
    let from = "192.0.2.1:5060".parse().unwrap();
    bench.shard.begin(&mut bench.io, bench.now);
    for (on, truncated) in [(PUBLIC, true), (SocketId(77), false)] {
        let event = Event::Datagram { on, from, bytes: b"forward", truncated };
        bench.shard.on_event(&mut bench.io, event);
    }
    bench.shard.end(&mut bench.io);
    assert_eq!(bench.metrics.dropped_count(DropReason::Truncated), 1);
    assert_eq!(bench.metrics.dropped_count(DropReason::ListenerGone), 1);
}

#[test]
fn a_listener_that_the_plan_does_not_have_sends_nothing() {
    let mut bench = Bench::new();
    bench.batch(&[b"nowhere"]);
    assert_eq!(bench.metrics.dropped_count(DropReason::ListenerGone), 1);
    assert_eq!((bench.io.pending.len(), bench.io.free), (0, POOL));
}

#[test]
fn a_destination_without_egress_is_told_once_until_something_changes() {
    let mut bench = Bench::new();
    bench.batch(&[b"unroutable", b"unroutable", b"answer", b"fallback"]);
    let no_egress = RecordKind::NoEgress {
        on: ListenerId(0),
        next_hop: next_hop(),
        why: NoEgress::NoRoute(NoRoute::Unreachable),
    };
    assert_eq!(bench.records(), [no_egress]);
    let way = {
        let Snapshot { plan, fib, view, .. } = &bench.published.load().snapshot;
        let asked = egress::Question { next_hop: next_hop(), ingress: ListenerId(0), flow: 0 };
        bound_query(fib, view, plan.listener(ListenerId(1)), &asked).unwrap()
    };
    bench.tell(&[way]);
    bench.batch(&[b"fallback", b"unroutable"]);
    let fallback = RecordKind::Fallback { listener: ListenerId(1), next_hop: next_hop(), route: route() };
    assert_eq!(bench.records(), [fallback, no_egress], "one of either sort");
}

#[test]
fn a_full_record_queue_loses_records_and_counts_them() {
    let mut bench = Bench::new();
    for second in 1..400 {
        bench.now = Now(second * SECOND_NS);
        bench.batch(&[&b"panic"[..]; 4]);
    }
    let kept = bench.records().len();
    assert_eq!(kept, limits::RECORDS);
    assert_eq!(bench.metrics.records_lost.get(), 399 * 4 - kept as u64);
}

#[test]
fn sockets_follow_the_publication() {
    let mut bench = Bench::new();
    assert_eq!(bench.io.open, [PUBLIC, PRIVATE]);
    let more = SocketId(11);
    bench.published.store(Arc::new(publication(2, Arc::clone(&bench.plan), &[PUBLIC, more])));
    bench.batch(&[]);
    assert_eq!((&bench.io.open[..], &bench.io.closing[..]), (&[PUBLIC, PRIVATE, more][..], &[PRIVATE][..]));
    assert_eq!(bench.metrics.generation.get(), 2);
    bench.shard.on_event(&mut bench.io, Event::Closed { on: PRIVATE });
    assert_eq!(bench.records(), [], "as asked");
    bench.shard.on_event(&mut bench.io, Event::Closed { on: more });
    assert_eq!(bench.records(), [RecordKind::SocketLost { socket: more }]);
}

#[test]
fn a_new_plan_is_adopted_and_a_new_fib_is_not() {
    let mut bench = Bench::new();
    bench.published.store(Arc::new(publication(2, Arc::clone(&bench.plan), &[PUBLIC, PRIVATE])));
    bench.batch(&[]);
    assert_eq!(bench.metrics.generation.get(), 2);
    assert_eq!(bench.adopted.get(), 0);
    bench.published.store(Arc::new(publication(3, plan(), &[PUBLIC, PRIVATE])));
    bench.batch(&[]);
    assert_eq!(bench.adopted.get(), 1);
}

impl Bench {
    /// The handler wants listeners to keep so much, from half a second on; the next batch is a second later.
    fn want(&mut self, wanted: &[(u16, Kept)]) {
        let at = self.now.plus_ns(SECOND_NS / 2);
        self.look_at.set(Some(at));
        self.wanted.replace(wanted.iter().map(|(on, kept)| (ListenerId(*on), *kept)).collect());
        assert_eq!(self.batch(&[]), Next::Wait(Some(at)), "the shard wakes for it");
        self.now = self.now.plus_ns(SECOND_NS);
        self.batch(&[]);
    }
}

#[test]
fn sockets_have_the_filters_that_the_handler_wants() {
    let half = Kept::ALL.times(1, 2);
    let mut bench = Bench::new();
    bench.want(&[(1, half)]);
    assert_eq!(bench.io.filters.keys().copied().collect::<Vec<_>>(), [PRIVATE]);
    assert_eq!(bench.records(), [RecordKind::Filtered { on: ListenerId(1), begins: true }]);
    bench.want(&[(1, Kept::LEAST), (7, half)]);
    assert_eq!(bench.io.filters.len(), 1);
    assert_eq!(bench.records(), [], "it goes on, and there is no seventh listener");
    bench.want(&[(1, Kept::ALL), (0, half)]);
    assert_eq!(bench.io.filters.keys().copied().collect::<Vec<_>>(), [PUBLIC]);
    let filtered = |on, begins| RecordKind::Filtered { on: ListenerId(on), begins };
    assert_eq!(bench.records(), [filtered(1, false), filtered(0, true)]);
    // Another plan may number its listeners otherwise, even where its rules are the same.
    let mut renumbered = Arc::into_inner(plan()).unwrap();
    renumbered.matcher = Arc::clone(&bench.plan.matcher);
    bench.published.store(Arc::new(publication(2, Arc::new(renumbered), &[PUBLIC, PRIVATE])));
    bench.batch(&[]);
    assert!(bench.io.filters.is_empty());
    assert_eq!((bench.adopted.get(), bench.forgotten.take()), (0, 1));
    assert_eq!(bench.records(), [filtered(0, false)]);
    // After a panic nothing is known of what was.
    bench.want(&[(0, half), (1, half)]);
    assert_eq!(bench.io.filters.len(), 2);
    bench.batch(&[b"panic"]);
    assert!(bench.io.filters.is_empty());
    assert_eq!(bench.forgotten.get(), 1);
}

#[test]
fn a_socket_that_takes_no_filter_is_told_once_and_has_none() {
    let half = Kept::ALL.times(1, 2);
    let mut bench = Bench::new();
    bench.want(&[(0, half)]);
    bench.records();
    bench.io.filter_fails = Some(libc::ENOMEM);
    bench.want(&[(0, Kept::LEAST)]);
    assert!(bench.io.filters.is_empty());
    let none = RecordKind::NoFilter { on: ListenerId(0), errno: libc::ENOMEM };
    assert_eq!(bench.records(), [none, RecordKind::Filtered { on: ListenerId(0), begins: false }]);
    bench.want(&[(0, half)]);
    assert_eq!(bench.records(), []);
    assert_eq!(bench.unfiltered.take(), [ListenerId(0); 2]);
    bench.io.filter_fails = None;
    bench.want(&[(0, half)]);
    assert_eq!(bench.io.filters.len(), 1, "it is tried again");
    // One for which there is room only once the old one is gone.
    bench.io.one_at_a_time = true;
    bench.want(&[(0, Kept::LEAST)]);
    assert_eq!((bench.io.filters.len(), bench.unfiltered.take()), (1, vec![]));
}

#[test]
fn old_publications_are_let_go_at_the_next_batch() {
    let mut bench = Bench::new();
    let first = bench.published.load_full();
    bench.published.store(Arc::new(publication(2, Arc::clone(&bench.plan), &[PUBLIC, PRIVATE])));
    assert!(Arc::strong_count(&first) > 1);
    bench.batch(&[]);
    assert_eq!(Arc::strong_count(&first), 1);
}

#[test]
fn stopping_waits_for_sockets_and_sends_but_not_for_ever() {
    let mut bench = Bench::new();
    bench.batch(&[b"forward"]);
    let last = Publication { stopping: true, ..publication(2, Arc::clone(&bench.plan), &[]) };
    bench.published.store(Arc::new(last));
    let by = bench.now.plus_ns(limits::STOP_NS);
    assert_eq!(bench.batch(&[b"forward"]), Next::Wait(Some(by)), "what is still queued is forwarded");
    bench.complete(None);
    assert_eq!(bench.sent(), 2);
    for socket in [PUBLIC, PRIVATE] {
        assert_eq!(bench.shard.ended(), None);
        bench.shard.on_event(&mut bench.io, Event::Closed { on: socket });
        bench.batch(&[]);
    }
    assert_eq!(bench.shard.ended(), Some(End::Asked));

    let mut hanging = Bench::new();
    let last = Publication { stopping: true, ..publication(2, Arc::clone(&hanging.plan), &[]) };
    hanging.published.store(Arc::new(last));
    hanging.batch(&[]);
    hanging.now = by;
    assert_eq!(hanging.batch(&[]), Next::Stop);
}

#[test]
fn time_spent_on_batches_adds_up() {
    let mut bench = Bench::new();
    let before = bench.metrics.busy_ns.get();
    bench.batch(&[&b"forward"[..]; 4]);
    assert!(bench.metrics.busy_ns.get() > before);
    assert!(bench.metrics.worst_batch_ns.get() > 0);
    assert_eq!(bench.metrics.batches.get(), 2);
}

proptest! {
    /// Whatever comes in whatever order: each message one counter, each buffer comes back.
    #[test]
    fn every_message_is_accounted_for_by_exactly_one_counter(
        steps in prop::collection::vec((0usize..9, 0u8..4), 1..80),
    ) {
        let messages: [&[u8]; 9] = [
            b"forward", b"relay", b"answer", b"panic", b"nowhere", b"unroutable", b"fallback", b"", b"junk",
        ];
        let mut bench = Bench::new();
        for (i, (message, then)) in steps.iter().enumerate() {
            bench.now = Now((i as u64 + 1) * SECOND_NS);
            bench.batch(&[messages[*message]]);
            prop_assert_eq!(bench.accounted(), bench.received());
            match then {
                0 => drop(bench.complete(None)),
                1 => drop(bench.complete(Some(libc::ECONNREFUSED))),
                _ => {}
            }
            prop_assert_eq!(bench.accounted(), bench.received());
        }
        bench.complete(None);
        prop_assert_eq!(bench.accounted(), steps.len() as u64);
        prop_assert_eq!(bench.io.free, POOL);
        prop_assert_eq!(bench.shard.ended(), None);
    }
}

#[test]
fn a_message_that_only_the_kernel_can_route_waits_for_its_answer() {
    let mut bench = Bench::new();
    let waits = bench.batch(&[b"ask", b"ask, or drop", b"forward"]);
    let Next::Wait(Some(by)) = waits else { panic!("{waits:?}") };
    assert_eq!(by, bench.now.plus_ns(limits::PARKED_NS));
    assert_eq!((bench.io.pending.len(), bench.dropped()), (1, 0), "neither answered nor dropped");
    assert_eq!((bench.metrics.parked.get(), bench.metrics.parked_now.get()), (2, 2));
    assert_eq!(bench.accounted(), bench.received());
    let asked: Vec<Query> = std::iter::from_fn(|| bench.questions.pop()).collect();
    assert_eq!(asked, [Query::to(next_hop().address.ip()); 2]);
    // Something else is published first: the question stays open.
    bench.tell(&[]);
    bench.batch(&[]);
    assert_eq!((bench.metrics.parked.get(), bench.metrics.parked_now.get()), (2, 2));
    bench.tell(&asked[..1]);
    assert_eq!(bench.batch(&[]), Next::Wait(None));
    assert_eq!(bench.complete(None).len(), 3);
    assert_eq!((bench.sent(), bench.answered(), bench.metrics.parked_now.get()), (3, 0, 0));
    assert_eq!(bench.accounted(), bench.received());
    assert_eq!(bench.io.free, POOL);
    assert_eq!(bench.records(), []);
}

#[test]
fn a_message_does_not_wait_for_the_kernel_for_ever_nor_do_any_number_of_them() {
    let mut bench = Bench::new();
    let many = vec![&b"ask, or drop"[..]; limits::PARKED + 3];
    bench.batch(&many);
    assert_eq!(bench.metrics.dropped_count(DropReason::AckUnroutable), 3);
    assert_eq!(bench.metrics.parked_now.get(), limits::PARKED as u64);
    bench.now = bench.now.plus_ns(limits::PARKED_NS);
    assert_eq!(bench.batch(&[b"ask"]), Next::Wait(Some(bench.now.plus_ns(limits::PARKED_NS))));
    assert_eq!(bench.dropped(), many.len() as u64, "the answer came too late");
    assert_eq!(bench.metrics.parked_now.get(), 1);
    // Published over and over without its answer, it is given up as well.
    for _ in 0..limits::PARKED_TRIES {
        bench.tell(&[]);
        bench.batch(&[]);
    }
    bench.complete(None);
    assert_eq!((bench.answered(), bench.metrics.parked_now.get()), (1, 0));
    assert_eq!(bench.accounted(), bench.received());
}

#[test]
fn a_message_whose_time_is_over_costs_others_that_wait_neither_a_question_nor_a_try() {
    let mut bench = Bench::new();
    bench.batch(&[b"ask, or drop"]);
    bench.now = bench.now.plus_ns(limits::PARKED_NS / 2);
    bench.batch(&[b"ask"]);
    let by = bench.now.plus_ns(limits::PARKED_NS);
    while bench.questions.pop().is_some() {}
    bench.now = bench.now.plus_ns(limits::PARKED_NS / 2);
    assert_eq!(bench.batch(&[]), Next::Wait(Some(by)));
    assert_eq!((bench.dropped(), bench.metrics.parked_now.get(), bench.questions.pop()), (1, 1, None));
    // It is decided as often as any other.
    for _ in 1..limits::PARKED_TRIES {
        assert_eq!(bench.metrics.parked_now.get(), 1);
        bench.tell(&[]);
        bench.batch(&[]);
    }
    assert_eq!((bench.answered(), bench.metrics.parked_now.get()), (0, 1));
    assert_eq!(bench.accounted(), bench.received());
}

#[test]
fn a_message_that_waits_is_not_taken_for_one_of_the_listener_that_has_its_sockets_number_later() {
    let mut bench = Bench::new();
    bench.batch(&[b"ask"]);
    let query = bench.questions.pop().expect("it is asked");
    let mut told = publication(2, Arc::clone(&bench.plan), &[PUBLIC, PRIVATE]);
    told.snapshot.fib = Arc::new(told.snapshot.fib.with_answer(&query, Answer::Route(route())).unwrap());
    let bound = |socket, series| Bound { socket, series: SeriesId(series) };
    told.bindings = Arc::new(Bindings::new(Box::new([bound(PRIVATE, 0), bound(PUBLIC, 1)]), &[]));
    bench.published.store(Arc::new(told));
    assert_eq!(bench.batch(&[]), Next::Wait(None));
    assert_eq!(bench.metrics.dropped_count(DropReason::ListenerGone), 1);
    assert_eq!(bench.complete(None), []);
    assert_eq!(bench.accounted(), bench.received());
}

#[test]
fn a_message_that_cannot_wait_for_the_kernel_goes_elsewhere() {
    let mut bench = Bench::new();
    let mut many = vec![&b"ask, or drop"[..]; limits::PARKED - 1];
    many.extend([&b"ask, or another"[..]; 2]);
    bench.batch(&many);
    assert_eq!(bench.metrics.parked_now.get(), limits::PARKED as u64, "as long as there is room, it waits");
    assert_eq!(bench.complete(None), [(PUBLIC, next_hop().address)]);
    bench.now = bench.now.plus_ns(limits::PARKED_NS);
    bench.batch(&[]);
    assert_eq!(bench.complete(None), [(PUBLIC, next_hop().address)], "its time is over");
    assert_eq!((bench.answered(), bench.metrics.parked_now.get()), (0, 0));
    assert_eq!(bench.accounted(), bench.received());
    assert_eq!(bench.io.free, POOL);
}

/// As where it waits for a name.
#[test]
fn a_cancel_waits_for_the_kernel_with_its_invite_though_nobody_else_may() {
    for (parked, questions) in [(limits::PARKED - 1, 0), (0, limits::KERNEL_QUESTIONS - 1)] {
        let mut bench = Bench::new();
        bench.io.free += limits::PARKED;
        bench.batch(&vec![&b"ask"[..]; parked]);
        for _ in 0..questions {
            assert!(bench.questions.ask(Query::to(next_hop().address.ip())));
        }
        bench.batch(&[b"ask 2"]);
        bench.batch(&[b"ask 1", b"CANCEL ask 3", b"CANCEL ask 2", b"CANCEL ask again 2"]);
        let waiting = parked as u64 + 2;
        assert_eq!((bench.metrics.parked.get(), bench.metrics.parked_now.get()), (waiting, waiting));
        bench.complete(None);
        assert_eq!(bench.answered(), 3, "they have none, or one already");
        bench.tell(&[Query::to(next_hop().address.ip())]);
        bench.batch(&[]);
        assert_eq!((bench.complete(None).len() as u64, bench.metrics.parked_now.get()), (waiting, 0));
        assert_eq!(bench.accounted(), bench.received());
    }
}
