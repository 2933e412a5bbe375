//! A network of simulated hosts in virtual time: the same shards as on io_uring, and scripted endpoints.
//!
//! One seed decides delay, loss, duplication and reordering of every datagram, so that a run can be
//! repeated by the number that a failing test prints. Which interface a datagram leaves by, and whether
//! it leaves at all, is asked of a function of the test's (`Paths`): there the routing of each host lives.

mod io;
mod streams;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;

pub use io::{SEND_BUFFERS, SimIo};
pub use streams::{Arrives, WireId};

use super::{Event, Next, Shard};
use crate::net::Now;
use crate::random::Random;

/// A host's number, in the order in which hosts were added.
pub type HostId = usize;

/// What the network does to datagrams.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// Shortest and longest delay in nanoseconds; datagrams overtake each other within it.
    pub delay_ns: (u64, u64),
    /// Lost, in a thousand.
    pub lost: u16,
    /// Delivered twice, in a thousand.
    pub doubled: u16,
}

impl Faults {
    /// A network that loses nothing and keeps the order.
    pub const NONE: Self = Self { delay_ns: (100_000, 100_000), lost: 0, doubled: 0 };
}

/// One datagram on its way, as the trace keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// When it was sent.
    pub at: Now,
    /// Who sent it.
    pub host: HostId,
    /// By which of the sender's interfaces.
    pub interface: u32,
    /// From which address.
    pub from: SocketAddr,
    /// To which.
    pub to: SocketAddr,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// How many copies arrive: 0 lost, 2 doubled.
    pub copies: u8,
}

/// A scripted user agent on a host.
pub trait Endpoint {
    /// A datagram came in on one of its addresses.
    fn on_datagram(&mut self, out: &mut Outbox, at: SocketAddr, from: SocketAddr, bytes: &[u8], now: Now);
    /// The time that it asked for has come.
    fn on_timer(&mut self, out: &mut Outbox, now: Now);
    /// Something came in on a connection, of its own or of somebody who connected to one of its addresses.
    fn on_stream(&mut self, out: &mut Outbox, wire: WireId, arrives: Arrives, now: Now) {
        let _ = (out, wire, arrives, now);
    }
}

/// What an endpoint wants.
#[derive(Debug, Default)]
pub struct Outbox {
    sends: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    wake: Option<Now>,
    acts: Vec<streams::Act>,
}

impl Outbox {
    /// Connects; [`Arrives::Opened`] or [`Arrives::Reset`] tells how that went, and the connection's number.
    pub fn connect(&mut self, from: SocketAddr, to: SocketAddr) {
        self.acts.push(streams::Act::Connect { from, to });
    }

    /// Sends bytes on a connection.
    pub fn write(&mut self, wire: WireId, bytes: impl Into<Vec<u8>>) {
        self.acts.push(streams::Act::Write(wire, bytes.into()));
    }

    /// Sends no more on a connection.
    pub fn finish(&mut self, wire: WireId) {
        self.acts.push(streams::Act::Finish(wire));
    }

    /// Cuts a connection off.
    pub fn reset(&mut self, wire: WireId) {
        self.acts.push(streams::Act::Reset(wire));
    }

    /// Sends a datagram.
    pub fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: impl Into<Vec<u8>>) {
        self.sends.push((from, to, bytes.into()));
    }

    /// Asks for [`Endpoint::on_timer`] at this instant (the earliest asked for counts).
    pub fn wake_at(&mut self, at: Now) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}

enum Host<S, E> {
    /// `wakes`: when it is going to be woken, because it asked for that.
    Shard {
        shard: Box<S>,
        io: SimIo,
        stopped: bool,
        wakes: Option<Now>,
    },
    Endpoint {
        endpoint: Box<E>,
        addresses: Vec<SocketAddr>,
    },
}

enum What {
    Deliver { from: SocketAddr, to: SocketAddr, bytes: Vec<u8> },
    Stream { wire: WireId, end: usize, arrives: Arrives },
    Wake,
}

struct Due {
    at: Now,
    order: u64,
    host: HostId,
    what: What,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// By which interface a host sends from one address to another; `None`: it has no route (the send fails
/// with ENETUNREACH).
pub type Paths<'w> = Box<dyn Fn(HostId, SocketAddr, SocketAddr) -> Option<u32> + 'w>;

/// Hosts, and what is on its way between them.
pub struct World<'w, S, E> {
    hosts: Vec<Host<S, E>>,
    queue: BinaryHeap<Reverse<Due>>,
    now: Now,
    order: u64,
    random: Random,
    faults: Faults,
    paths: Paths<'w>,
    trace: Vec<Hop>,
    wires: Vec<streams::Wire>,
}

impl<'w, S: Shard<SimIo>, E: Endpoint> World<'w, S, E> {
    /// An empty world.
    pub fn new(seed: u64, faults: Faults, paths: Paths<'w>) -> Self {
        Self {
            hosts: Vec::new(),
            queue: BinaryHeap::new(),
            now: Now(0),
            order: 0,
            random: Random::new(seed),
            faults,
            paths,
            trace: Vec::new(),
            wires: Vec::new(),
        }
    }

    /// Adds a host that runs a shard; it opens its sockets in its first batch, at once. Those that have the same
    /// addresses are shards of one process, numbered from 0 in the order in which they are added: a hash of both
    /// addresses says which of them a datagram comes to.
    pub fn add_shard(&mut self, shard: S) -> HostId {
        self.add(Host::Shard { shard: Box::new(shard), io: SimIo::default(), stopped: false, wakes: None })
    }

    /// Adds a host with an endpoint on these addresses; its timer is called at once.
    pub fn add_endpoint(&mut self, endpoint: E, addresses: Vec<SocketAddr>) -> HostId {
        self.add(Host::Endpoint { endpoint: Box::new(endpoint), addresses })
    }

    fn add(&mut self, host: Host<S, E>) -> HostId {
        self.hosts.push(host);
        let host = self.hosts.len() - 1;
        self.schedule(self.now, host, What::Wake);
        host
    }

    /// The time.
    pub fn now(&self) -> Now {
        self.now
    }

    /// Every datagram that was sent, in order.
    pub fn trace(&self) -> &[Hop] {
        &self.trace
    }

    /// The endpoint of a host.
    pub fn endpoint(&mut self, host: HostId) -> Option<&mut E> {
        match self.hosts.get_mut(host) {
            Some(Host::Endpoint { endpoint, .. }) => Some(endpoint),
            _ => None,
        }
    }

    /// The shard of a host, with its sockets and buffers.
    pub fn shard(&mut self, host: HostId) -> Option<(&mut S, &SimIo)> {
        match self.hosts.get_mut(host) {
            Some(Host::Shard { shard, io, .. }) => Some((shard, io)),
            _ => None,
        }
    }

    /// Has a host run soon: an endpoint's timer, a shard's batch.
    pub fn wake(&mut self, host: HostId) {
        self.schedule(self.now, host, What::Wake);
    }

    /// Runs until nothing is left to happen before `end`, which becomes the time.
    pub fn run_until(&mut self, end: Now) {
        while self.queue.peek().is_some_and(|Reverse(due)| due.at <= end) {
            self.step();
        }
        self.now = self.now.max(end);
    }

    /// Lets the next thing happen; false: there is none.
    pub fn step(&mut self) -> bool {
        let Some(Reverse(due)) = self.queue.pop() else { return false };
        self.now = due.at;
        let now = self.now;
        if let What::Stream { wire, end, arrives } = due.what {
            self.arrive(wire, end, arrives);
            return true;
        }
        match &mut self.hosts[due.host] {
            Host::Shard { shard, io, stopped, wakes } if !*stopped => {
                *wakes = wakes.filter(|at| *at > now);
                let next = batch(&mut **shard, io, now, &due.what);
                *stopped = next == Next::Stop;
                self.settle(due.host, next);
            }
            Host::Shard { .. } => {}
            Host::Endpoint { endpoint, addresses } => {
                let mut out = Outbox::default();
                match &due.what {
                    What::Wake => endpoint.on_timer(&mut out, now),
                    What::Deliver { from, to, bytes } if addresses.contains(to) => {
                        endpoint.on_datagram(&mut out, *to, *from, bytes, now);
                    }
                    What::Deliver { .. } | What::Stream { .. } => {}
                }
                self.follow(due.host, out);
            }
        }
        true
    }

    /// Does what an endpoint wants.
    fn follow(&mut self, host: HostId, out: Outbox) {
        if let Some(at) = out.wake {
            self.schedule(at.max(self.now.plus_ns(1)), host, What::Wake);
        }
        for (from, to, bytes) in out.sends {
            self.transmit(host, from, to, bytes);
        }
        for act in out.acts {
            self.act(host, act);
        }
    }

    /// Does what a shard wants after a batch: sends, wakes others, and wakes it when it asks for that. How the sends
    /// went it is told in a batch of its own.
    fn settle(&mut self, host: HostId, mut next: Next) {
        while let Host::Shard { io, .. } = &mut self.hosts[host] {
            let (given, woken) = (std::mem::take(&mut io.given), std::mem::take(&mut io.woken));
            let calls = std::mem::take(&mut io.calls);
            for shard in woken {
                let mut shards =
                    (0..self.hosts.len()).filter(|&h| matches!(self.hosts[h], Host::Shard { .. }));
                if let Some(neighbour) = shards.nth(usize::from(shard)) {
                    self.schedule(self.now, neighbour, What::Wake);
                }
            }
            for call in calls {
                self.call(host, call);
            }
            match self.send_given(host, given) {
                Some(after) => next = after,
                None => break,
            }
        }
        let at = match next {
            Next::Wait(Some(at)) => at.max(self.now.plus_ns(1)),
            Next::Wait(None) | Next::Stop => return,
        };
        if let Host::Shard { wakes, .. } = &mut self.hosts[host]
            && wakes.is_none_or(|other| at < other)
        {
            *wakes = Some(at);
            self.schedule(at, host, What::Wake);
        }
    }

    /// Sends what a shard gave and tells it how that went; `None`: it gave nothing.
    fn send_given(&mut self, host: HostId, given: Vec<io::Given>) -> Option<Next> {
        let mut ends = Vec::with_capacity(given.len());
        for io::Given { on, from, to, bytes, cookie } in given {
            let errno = match from {
                None => libc::EBADF,
                Some(from) if self.transmit(host, from, to, bytes) => 0,
                Some(_) => libc::ENETUNREACH,
            };
            ends.push((on, to, cookie, errno));
        }
        let now = self.now;
        let Host::Shard { shard, io, stopped, .. } = &mut self.hosts[host] else { return None };
        if ends.is_empty() {
            return None;
        }
        shard.begin(io, now);
        for (on, to, cookie, errno) in ends {
            let event = match errno {
                0 => Event::Sent { cookie },
                errno => Event::SendFailed { on, to, errno, cookie },
            };
            shard.on_event(io, event);
        }
        let next = shard.end(io);
        *stopped |= next == Next::Stop;
        Some(next)
    }

    /// Puts a datagram on its way; false: its host has no route.
    fn transmit(&mut self, host: HostId, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) -> bool {
        let Some(interface) = (self.paths)(host, from, to) else { return false };
        let copies =
            match (self.random.per_mille(self.faults.lost), self.random.per_mille(self.faults.doubled)) {
                (true, _) => 0,
                (false, true) => 2,
                (false, false) => 1,
            };
        let receiver = self.owner(from, to);
        let hop = Hop { at: self.now, host, interface, from, to, bytes, copies };
        for _ in 0..copies {
            let (shortest, longest) = self.faults.delay_ns;
            let delay = shortest + self.random.below(longest - shortest + 1);
            if let Some(receiver) = receiver {
                let what = What::Deliver { from, to, bytes: hop.bytes.clone() };
                self.schedule(self.now.plus_ns(delay), receiver, what);
            }
        }
        self.trace.push(hop);
        true
    }

    fn owner(&self, from: SocketAddr, to: SocketAddr) -> Option<HostId> {
        let has = |host: &Host<S, E>| match host {
            Host::Shard { io, .. } => io.socket_at(to).is_some(),
            Host::Endpoint { addresses, .. } => addresses.contains(&to),
        };
        let owners = || (0..self.hosts.len()).filter(|&number| has(&self.hosts[number]));
        let mut hasher = DefaultHasher::new();
        (from, to).hash(&mut hasher);
        owners().nth(hasher.finish() as usize % owners().count().max(1))
    }

    fn schedule(&mut self, at: Now, host: HostId, what: What) {
        self.order += 1;
        self.queue.push(Reverse(Due { at, order: self.order, host, what }));
    }
}

/// One batch of one event, as an idle shard on io_uring has it.
fn batch<S: Shard<SimIo>>(shard: &mut S, io: &mut SimIo, now: Now, what: &What) -> Next {
    shard.begin(io, now);
    if let What::Deliver { from, to, bytes } = what
        && let Some(on) = io.socket_at(*to)
    {
        shard.on_event(io, Event::Datagram { on, from: *from, bytes, truncated: false });
    }
    for on in std::mem::take(&mut io.closed) {
        shard.on_event(io, Event::Closed { on });
    }
    shard.end(io)
}
