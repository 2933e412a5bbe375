//! The shard that an engine drives.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::Cache;
use sip_parser::HeaderLine;

use super::again::Again;
use super::clock::BatchClock;
use super::handler::Handler;
use super::noted::Noted;
use super::panics;
use super::parking::{Parked, Parking, Stay};
use super::pausing::Paused;
use super::post::{Lane, Post};
use super::publication::{Publication, Published};
use super::questions::Questions;
use super::record::{Record, RecordKind, Records, Sort};
use super::rehearsal::Rehearsal;
use super::secure::Clients;
use super::waiting::{Verdict, Waiting};
use crate::dns;
use crate::drop_reason::DropReason;
use crate::egress::{Exit, Question, Reason, confirm};
use crate::engine::{Event, Io, Next, Shard, SocketId};
use crate::fib::Query;
use crate::limits;
use crate::metrics::{Class, ShardMetrics};
use crate::net::{ListenerId, NextHop, Now};
use crate::overload::Throttles;
use crate::proxy::{self, Incoming};
use crate::snapshot::Snapshot;
use crate::stream::{Connections, Scratch};

/// What a shard is made from.
pub struct Setup<S> {
    /// Its number, from 0.
    pub number: u16,
    /// Where it finds the newest publication.
    pub published: Published<S>,
    /// What it counts in.
    pub metrics: Arc<ShardMetrics>,
    /// What it tells the log through.
    pub records: Records,
    /// What it asks the kernel through.
    pub questions: Questions<Query>,
    /// What it asks for names through.
    pub names: Questions<dns::Question>,
    /// What it hands messages to other shards through.
    pub post: Post,
    /// A random number of the process: all shards have the same one.
    pub nonce: u64,
    /// What next hops ask to be spared: all shards have the same, too.
    pub throttles: Arc<Throttles>,
}

/// Why a shard stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The process stops.
    Asked,
    /// Too many panics.
    Panics,
}

/// One core's shard.
pub struct Worker<S, H = proxy::State> {
    pub(super) number: u16,
    published: Cache<Published<S>, Arc<Publication<S>>>,
    pub(super) current: Arc<Publication<S>>,
    started: bool,
    pub(super) handler: H,
    pub(super) metrics: Arc<ShardMetrics>,
    records: Records,
    pub(super) questions: Questions<Query>,
    pub(super) names: Questions<dns::Question>,
    pub(super) post: Post,
    pub(super) nonce: u64,
    pub(super) streams: Connections,
    /// When their times are looked at next.
    pub(super) look_at_streams: Now,
    /// Where the headers of streams are read.
    pub(super) lines: Box<[HeaderLine]>,
    /// Where layers write what they receive.
    pub(super) scratch: Scratch,
    /// Where layers write what they send.
    pub(super) sealed: Scratch,
    pub(super) clients: Clients,
    pub(super) again: Again,
    pub(super) paused: Paused,
    /// Where requests are refused that found no room.
    pub(super) refusal: Box<[u8]>,
    pub(super) parking: Parking,
    pub(super) waiting: Waiting,
    /// Sockets that the engine has, whether or not it is closing them; by number.
    pub(super) open: Box<[Option<Open>]>,
    pub(super) in_flight: u64,
    pub(super) now: Now,
    pub(super) stop_by: Option<Now>,
    pub(super) end: Option<End>,
    pub(super) panic_rate: panics::Rate,
    pub(super) noted: Noted,
    /// With whom connections were not made.
    pub(super) unconnected: Noted,
    batch: BatchClock,
    /// Where the shard looks for messages instead of sleeping.
    rehearsal: Option<Box<Rehearsal<H>>>,
}

/// A message, and what is known of it besides.
pub(super) struct Arrival<'a> {
    pub incoming: Incoming<'a>,
    pub socket: SocketId,
    pub class: Class,
    pub stay: Stay,
    /// Before this batch, in nanoseconds, if that is known.
    pub waited_ns: Option<u64>,
}

#[derive(Default)]
pub(super) struct Open {
    closing: bool,
    /// The kernel drops a part of what comes.
    pub is_filtered: bool,
    /// It was told that it takes no filter.
    pub is_unfilterable: bool,
}

impl<S, H> Drop for Worker<S, H> {
    /// However it ends: others are not to hand over to it.
    fn drop(&mut self) {
        self.post.leave(self.number);
    }
}

impl<S> Worker<S> {
    /// A shard that forwards.
    pub fn new(setup: Setup<S>) -> Self {
        let current = setup.published.load_full();
        let handler = proxy::State::new(setup.number, current.sockets.len(), &current.snapshot);
        let handler = handler.of_process(setup.nonce).beside(Arc::clone(&setup.throttles));
        Self::with_handler(setup, handler)
    }
}

impl<S, H: Handler> Worker<S, H> {
    /// A shard with this handler.
    pub fn with_handler(setup: Setup<S>, handler: H) -> Self {
        let mut published = Cache::new(setup.published);
        let current = Arc::clone(published.load());
        let mut streams = Connections::default();
        streams.limit(current.snapshot.plan.streams);
        Self {
            number: setup.number,
            published,
            current,
            started: false,
            handler,
            metrics: setup.metrics,
            records: setup.records,
            questions: setup.questions,
            names: setup.names,
            post: setup.post,
            nonce: setup.nonce,
            streams,
            look_at_streams: Now::default(),
            lines: vec![HeaderLine::EMPTY; limits::HEADER_LINES].into(),
            scratch: Scratch::default(),
            sealed: Scratch::default(),
            clients: Clients::default(),
            again: Again::default(),
            paused: Paused::default(),
            refusal: vec![0; limits::MESSAGE_BYTES].into(),
            parking: Parking::default(),
            waiting: Waiting::default(),
            open: (0..limits::ENGINE_SOCKETS).map(|_| None).collect(),
            in_flight: 0,
            now: Now::default(),
            stop_by: None,
            end: None,
            panic_rate: panics::Rate::default(),
            noted: Noted::new(),
            unconnected: Noted::new(),
            batch: BatchClock::default(),
            rehearsal: None,
        }
    }

    /// A shard that looks for messages instead of sleeping.
    #[must_use]
    pub fn spinning(mut self) -> Self {
        self.rehearsal = Some(Box::new(Rehearsal::new(&self.handler, &self.current.snapshot)));
        self
    }

    /// Why the shard stopped; `None`: it has not.
    pub fn ended(&self) -> Option<End> {
        self.end
    }
}

impl<I: Io, H: Handler> Shard<I> for Worker<I::Source, H> {
    fn begin(&mut self, io: &mut I, now: Now) {
        self.batch.begin();
        self.now = now;
        let newest = self.published.load();
        if !Arc::ptr_eq(newest, &self.current) {
            let newest = Arc::clone(newest);
            let anew = newest.snapshot.generation != self.current.snapshot.generation;
            self.take_over(io, newest);
            if anew {
                let all = self.parking.take_all();
                self.unpark(io, all);
            }
            self.on_names(io, anew);
        } else if !self.started {
            self.open_and_close(io);
        }
        self.started = true;
        // They make room for messages of this batch.
        if self.parking.deadline().is_some_and(|by| now >= by) {
            let due = self.parking.take_due(now);
            self.unpark(io, due);
        }
        if self.waiting.deadline().is_some_and(|by| now >= by) {
            self.end_waiting(io);
        }
    }

    fn on_event(&mut self, io: &mut I, event: Event<'_>) {
        self.batch.comes();
        match event {
            Event::Datagram { on, from, bytes, truncated } => {
                self.on_datagram(io, on, from, bytes, truncated)
            }
            Event::Sent { cookie } => self.on_sent(cookie),
            Event::SendFailed { on, to, errno, cookie } => self.on_send_failed(on, to, errno, cookie),
            Event::Closed { on } => self.on_closed(on),
            Event::Accepted { on, from, accepted } => self.on_accepted(io, on, from, accepted),
            Event::Connected { stream } => self.on_connected(stream),
            Event::Received { stream, bytes } => self.on_received(io, stream, bytes),
            Event::Wrote { stream, bytes } => self.on_wrote(stream, bytes),
            Event::Ended { stream, errno } => self.on_ended(io, stream, errno),
        }
    }

    fn end(&mut self, io: &mut I) -> Next {
        if self.end.is_none() {
            self.look_after_others(io);
        }
        self.send_due(io, limits::DUE_PER_BATCH);
        self.look_at_filters(io);
        self.copy_tally();
        self.batch.end(self.now, &self.metrics);
        if self.end.is_none()
            && let Some(by) = self.stop_by
            && (self.now >= by || (self.drained() && self.no_streams_left(io)))
        {
            self.end = Some(End::Asked);
        }
        if self.end.is_some() {
            return Next::Stop;
        }
        let letters = self.has_post().then_some(self.now);
        let (kernel, names) = (self.parking.deadline(), self.waiting.deadline());
        let streams = (!self.streams.is_empty()).then_some(self.look_at_streams);
        let (again, filters) = (self.tries_again(), self.handler.look_at());
        let own = [self.handler.deadline(), letters, again, streams, filters];
        Next::Wait(own.into_iter().chain([self.stop_by, kernel, names]).flatten().min())
    }

    fn idle(&mut self) {
        self.batch.idle();
        if let Some(rehearsal) = &mut self.rehearsal {
            rehearsal.rehearse(&self.current.snapshot, self.now);
        }
    }
}

impl<S, H: Handler> Worker<S, H> {
    /// What other shards have sent, and what there is to do for connections: behind a batch's messages, which would wait for it.
    fn look_after_others<I: Io<Source = S>>(&mut self, io: &mut I) {
        let now = self.now;
        if now >= self.look_at_streams && !self.streams.is_empty() {
            self.end_overdue_streams(io);
        }
        if self.tries_again().is_some_and(|at| now >= at) {
            self.try_again(io);
        }
        self.read_post(io);
    }

    fn take_over<I: Io<Source = S>>(&mut self, io: &mut I, newest: Arc<Publication<S>>) {
        let old = std::mem::replace(&mut self.current, newest);
        if !Arc::ptr_eq(&old.snapshot.plan, &self.current.snapshot.plan) {
            self.rename_streams();
            self.unfilter(io);
            if let Some(rehearsal) = &mut self.rehearsal {
                rehearsal.adopt(&self.current.snapshot, self.now);
            }
        }
        if !Arc::ptr_eq(&old.snapshot.plan.matcher, &self.current.snapshot.plan.matcher) {
            self.handler.adopt(&self.current.snapshot, self.now);
            self.streams.limit(self.current.snapshot.plan.streams);
        }
        self.verify_anew(&old.snapshot);
        if !self.started || !Arc::ptr_eq(&old.sockets, &self.current.sockets) {
            self.open_and_close(io);
        }
        if self.current.stopping && self.stop_by.is_none() {
            self.stop_by = Some(self.now.plus_ns(limits::STOP_NS));
        }
        if old.snapshot.generation != self.current.snapshot.generation {
            self.noted.clear();
            self.unconnected.clear();
        }
        self.metrics.generation.set(self.current.snapshot.generation);
    }

    fn open_and_close<I: Io<Source = S>>(&mut self, io: &mut I) {
        let wanted = self.current.sockets.get(usize::from(self.number)).map_or(&[][..], |s| &s[..]);
        let mut kept = vec![false; self.open.len()];
        for (id, source) in wanted {
            let Some(place) = self.open.get_mut(usize::from(id.0)) else { continue };
            kept[usize::from(id.0)] = true;
            if place.is_none() {
                *place = Some(Open::default());
                io.open(*id, source);
            }
        }
        for (number, (open, kept)) in (0..).zip(self.open.iter_mut().zip(kept)) {
            if let Some(open) = open.as_mut().filter(|o| !kept && !o.closing) {
                open.closing = true;
                io.close(SocketId(number));
            }
        }
        let delay_ns = u64::try_from(self.current.sockets_since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.metrics.sockets_delay_ns.set(delay_ns);
        self.metrics.generation.set(self.current.snapshot.generation);
    }

    fn on_datagram<I: Io<Source = S>>(
        &mut self,
        io: &mut I,
        socket: SocketId,
        from: SocketAddr,
        bytes: &[u8],
        truncated: bool,
    ) {
        let Some(on) = self.current.bindings.listener(socket) else {
            return self.metrics.dropped(DropReason::ListenerGone);
        };
        let class = Class::of(bytes);
        if let Some(bound) = self.current.bindings.bound(on) {
            self.metrics.traffic.received(bound.series, class);
        }
        if self.end.is_some() {
            return self.metrics.dropped(DropReason::Stopping);
        }
        if truncated {
            return self.metrics.dropped(DropReason::Truncated);
        }
        let incoming = Incoming::datagram(bytes, on, from);
        let waited_ns = io.waited_ns();
        self.decide(io, &Arrival { incoming, socket, class, stay: Stay::default(), waited_ns });
    }

    pub(super) fn decide<I: Io<Source = S>>(&mut self, io: &mut I, arrival: &Arrival<'_>) {
        let incoming = &arrival.incoming;
        self.handler.waited(incoming.on, arrival.waited_ns, arrival.stay.came(), self.now);
        if self.handler.sheds(&self.current.snapshot, incoming.bytes, self.now) {
            return self.drop_arrived(incoming, DropReason::Overload);
        }
        if self.waits_behind_invite(arrival) {
            return;
        }
        let Some(mut tx) = io.tx() else {
            if incoming.stream.is_stream() {
                return self.keep_arrival(io, arrival, self.number, DropReason::NoSendBuffer);
            }
            return self.metrics.dropped(DropReason::NoSendBuffer);
        };
        self.handler.comes(arrival.stay.is_over_again(), arrival.stay.in_haste);
        let outcome =
            panics::guard(|| self.handler.handle(&self.current.snapshot, incoming, self.now, tx.as_mut()));
        match outcome {
            Ok(outcome) => match self.look_for_answers(arrival, &outcome) {
                Verdict::Goes => {
                    if let Some(rehearsal) = &mut self.rehearsal {
                        rehearsal.keep(incoming, &outcome, self.now);
                    }
                    self.act(io, tx, arrival, outcome);
                    self.send_due(io, limits::DUE_PER_MESSAGE);
                }
                Verdict::Stays => io.discard(tx),
                Verdict::Hurries => {
                    io.discard(tx);
                    let Arrival { incoming, socket, class, waited_ns, stay } = *arrival;
                    let stay = Stay { in_haste: true, ..stay };
                    self.decide(io, &Arrival { incoming, socket, class, waited_ns, stay });
                }
            },
            Err(caught) => {
                io.discard(tx);
                self.drop_arrived(incoming, DropReason::Panic);
                self.on_panic(io, Some(incoming), *caught);
            }
        }
    }

    /// Decides anew about messages that waited: there may be answers, or their time is over.
    pub(super) fn unpark<I: Io<Source = S>>(&mut self, io: &mut I, messages: Vec<Parked>) {
        for Parked { socket, listener, from, stream, bytes, class, stay, .. } in messages {
            let Some(on) = self.listener_of(socket, listener) else {
                self.metrics.dropped(DropReason::ListenerGone);
                continue;
            };
            let incoming = Incoming { stream, ..Incoming::datagram(&bytes, on, from) };
            self.decide(io, &Arrival { incoming, socket, class, stay, waited_ns: None });
        }
        self.metrics.parked_now.set(self.parking.len() as u64);
        self.metrics.parked_for_names_now.set(self.waiting.len() as u64);
    }

    fn on_closed(&mut self, socket: SocketId) {
        let closed = self.open.get_mut(usize::from(socket.0)).and_then(Option::take);
        if closed.is_some_and(|open| !open.closing) {
            self.record(RecordKind::SocketLost { socket });
        }
    }

    /// A request that came in on `ingress` leaves from the listener that `no_listener` names, or from one elsewhere.
    pub(super) fn note_fallback(&mut self, ingress: ListenerId, egress: Exit, next_hop: NextHop) {
        if !self.noted.is_new(next_hop.address.ip(), Sort::FITS.number(), self.now) {
            return;
        }
        let Snapshot { plan, fib, view, .. } = &self.current.snapshot;
        // Of several paths any one tells the operator where it goes.
        let question = Question { next_hop, ingress, flow: 0 };
        let Ok(route) = confirm(plan, fib, view, egress.listener, &question) else { return };
        let listener = egress.listener;
        self.record(match egress.reason {
            Reason::Fallback => RecordKind::Fallback { listener, next_hop, route },
            _ => RecordKind::Elsewhere { listener, next_hop, route },
        });
    }

    pub(super) fn record(&self, kind: RecordKind) {
        let generation = self.current.snapshot.generation;
        if !self.records.push(Record { shard: self.number, generation, kind }) {
            self.metrics.records_lost.count();
        }
    }

    fn copy_tally(&self) {
        let tally = self.handler.tally(self.now);
        let m = &self.metrics;
        m.pins.set(tally.pins);
        m.pin_hits.set(tally.pin_hits);
        m.pin_evictions.set(tally.pin_evictions);
        m.egress_moved.set(tally.egress_moved);
        m.bad_tokens.set(tally.bad_tokens);
        m.last_resorts.set(tally.last_resorts);
        m.admission.set(&tally.refused, tally.sources_forgotten, tally.overloaded);
        m.admission.set_next_hops(tally.spared, tally.pleas, tally.throttled);
        m.names_found.set(tally.names.found);
        m.names_stale.set(tally.names.stale);
        m.transactions.set(&tally.transactions);
        m.in_flight.set(self.in_flight);
        m.streams.unsent_bytes.set(self.streams.unsent_bytes() as u64);
    }

    fn drained(&self) -> bool {
        self.in_flight == 0
            && self.parking.len() == 0
            && self.waiting.len() == 0
            && [Lane::Arrives, Lane::Leaves].into_iter().all(|lane| self.post.is_empty(self.number, lane))
            && self.again.len() == 0
            && self.paused.is_empty()
            && !self.streams.any_undrained()
            && self.open.iter().all(Option::is_none)
    }
}
