//! The engine on io_uring: one ring, one thread, one system call for a batch.
//!
//! ```text
//!  enter: submit the sends of the last batch, run task work, wait for one completion
//!    └─► drain all completions ─► settle sends ─► what came, one by one ─► shard
//!                                                   └─ every 64 sends: submit, settle
//! ```
//!
//! A send with `MSG_DONTWAIT` is over when the call that submits it returns. So only failures post a
//! completion (`IOSQE_CQE_SKIP_SUCCESS`): whatever was submitted and did not fail was taken by the
//! kernel, and its buffer is free again, hot in the cache; and no send ends the wait that it was
//! submitted with.

mod address;
mod chunks;
mod closing;
mod coalesce;
mod memory;
mod pool;
mod probe;
mod receive;
mod ring;
mod send;
mod settle;
mod sizes;
mod stream_io;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use io_uring::squeue::Flags;
use io_uring::types::{Fd, Fixed};
use io_uring::{cqueue, opcode};
use libc::sock_filter;

pub use probe::{Kernel, Missing, probe};
pub use send::Tx;

use super::clock::{Clock, LONGEST_WAIT_NS};
use super::files::{self, accept_below, places};
use super::slots::Slots;
use super::socket::Socket;
use super::streams::Streams;
use super::{Accepted, Event, Io, Neighbours, Next, Shard, SocketId, Waker};
use crate::limits::MESSAGE_BYTES;
use crate::metrics::EngineMetrics;
use crate::net::Now;
use crate::stream::StreamId;
use coalesce::Coalesce;
use memory::Mapping;
use pool::Pool;
use receive::Receive;
use ring::{Completion, Kind, Ring};
use send::Sends;
use sizes::Sizes;
use stream_io::Link;

/// How long sends that the kernel has taken wait to be told where nothing else happens: whoever reads the
/// counters should see them.
const SETTLE_WAIT_NS: u64 = 5_000_000;

/// How long a batch may sleep while a socket is being closed.
const CLOSING_WAIT_NS: u64 = 1_000_000;

/// Where nothing has come for so long, it is time for something else: seldom enough to delay next to no message, often enough
/// that caches stay as they are.
const IDLE_NS: u64 = 20_000;

/// How often completions that found no room are fetched before the shard goes on with those it has.
const MOST_FLUSHES: usize = 64;

/// A shard's ring with its memory. Everything but [`Waker`] stays on the thread that made it.
pub struct Engine<'m> {
    ring: Ring<'m>,
    receive: Receive,
    chunks: Pool,
    sends: Sends,
    streams: Streams<Link>,
    accept_below: i32,
    coalesce: Coalesce,
    /// How long it looks before it sleeps, in nanoseconds; 0: not at all.
    spin_ns: u64,
    /// Until when it does, if nothing comes.
    spin_until: Now,
    /// Eight bytes that a wake-up writes and nobody reads.
    wake_count: Mapping,
    waker: Waker,
    neighbours: Neighbours,
    slots: Slots<Arc<Socket>>,
    /// Sockets that could not be opened.
    refused: Vec<SocketId>,
    /// Sends in the submission queue, and those the kernel has taken, in order.
    queued: Vec<u16>,
    ready: VecDeque<Completion>,
    /// Somebody has woken the shard since its batch began: what for, it may have looked at too early.
    woken: bool,
    clock: Clock,
    metrics: &'m EngineMetrics,
}

impl<'m> Engine<'m> {
    /// Makes the ring and its memory; on the thread that runs it.
    ///
    /// # Errors
    /// The system's reason; [`probe`] says more about most of them.
    pub fn new(metrics: &'m EngineMetrics) -> io::Result<Self> {
        Self::with(Sizes::DEFAULT, metrics)
    }

    fn with(sizes: Sizes, metrics: &'m EngineMetrics) -> io::Result<Self> {
        let places = places();
        let ring = Ring::new(&sizes, places, metrics)?;
        let receive = Receive::new(ring.io(), sizes.receive_buffers, sizes.message_bytes)?;
        let chunks = chunks::new(ring.io(), sizes.stream_buffers)?;
        metrics.receive_buffers.set(sizes.receive_buffers.into());
        metrics.send_buffers.set(sizes.send_buffers.into());
        metrics.ring_entries.set(sizes.completions.into());
        let mut engine = Self {
            ring,
            receive,
            chunks,
            streams: Streams::default(),
            accept_below: sizes.accept_below.unwrap_or_else(accept_below),
            coalesce: Coalesce::new(0),
            spin_ns: 0,
            spin_until: Now::default(),
            sends: Sends::new(sizes.send_buffers)?,
            wake_count: Mapping::new(size_of::<u64>())?,
            waker: Waker::new()?,
            neighbours: Neighbours::new(0),
            slots: Slots::new(places),
            refused: Vec::new(),
            queued: Vec::with_capacity(sizes.send_buffers.into()),
            ready: VecDeque::with_capacity(sizes.completions as usize),
            woken: false,
            clock: Clock::since(Instant::now()),
            metrics,
        };
        engine.arm_wake()?;
        Ok(engine)
    }

    /// Has the shard sleep on for so many nanoseconds after the first completion, where messages come fast enough for
    /// one wake-up to serve several. False: the kernel cannot (Linux 6.12 can), and the shard wakes up at the first.
    pub fn coalesce(&mut self, ns: u64) -> bool {
        let can = self.ring.can_collect();
        self.coalesce = Coalesce::new(if can { ns } else { 0 });
        can || ns == 0
    }

    /// Has the shard look for what comes for so many nanoseconds before it sleeps; a second is for ever.
    pub fn spin(&mut self, ns: u64) {
        self.spin_ns = if ns < LONGEST_WAIT_NS { ns } else { u64::MAX };
        self.spin_until = self.clock.now.plus_ns(self.spin_ns);
    }

    /// What wakes this engine's shard.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Makes this engine's shard, by its number, and the others of this process known to each other; they count their time
    /// from one moment on. Before it runs.
    pub fn meet(&mut self, own: u16, neighbours: Neighbours) {
        neighbours.add(own, self.waker());
        self.clock = Clock::since(neighbours.start);
        self.neighbours = neighbours;
    }

    /// Drives the shard until it says [`Next::Stop`].
    ///
    /// # Errors
    /// The ring itself fails; nothing that a message or a socket does.
    pub fn run(&mut self, shard: &mut impl Shard<Self>) -> io::Result<()> {
        let mut wait = 0;
        loop {
            self.enter(shard, wait)?;
            self.drain()?;
            self.woken = false;
            let now = self.clock.begin();
            if !self.ready.is_empty() {
                self.something_came(now);
            }
            shard.begin(self, now);
            self.settle(shard);
            self.handle_ready(shard)?;
            if self.slots.any_closing() || !self.refused.is_empty() {
                self.look_after_closing(shard)?;
            }
            self.look_after_streams(shard);
            let next = shard.end(self);
            self.arm_streams()?;
            self.receive.lend();
            self.arm_receives()?;
            self.metrics.send_buffers_used.set(self.sends.used() as u64);
            wait = match next {
                Next::Stop => return self.send_last(shard),
                Next::Wait(_) if self.woken || self.streams.is_news || !self.ready.is_empty() => 0,
                Next::Wait(by) => self.sleep_ns(by),
            };
        }
    }

    fn something_came(&mut self, now: Now) {
        let brings = |completion: &&Completion| completion.brings_something();
        self.coalesce.came(self.ready.iter().filter(brings).count(), now);
        self.spin_until = now.plus_ns(self.spin_ns);
    }

    /// Submits what is queued, and waits. A shard that looks instead of sleeping has its turn every now and then all the same,
    /// so that all of it is still in the caches when something comes.
    fn enter(&mut self, shard: &mut impl Shard<Self>, wait_ns: u64) -> io::Result<()> {
        let spin_ns = self.spin_until.since(self.clock.now).min(wait_ns);
        if spin_ns > 0 {
            if self.ring.spin(spin_ns.min(IDLE_NS))? {
                self.metrics.spun_waits.count();
            } else if spin_ns > IDLE_NS {
                shard.idle();
            }
            return Ok(());
        }
        let collect_ns = self.coalesce.wait_ns();
        if collect_ns == 0 || wait_ns <= collect_ns {
            return self.ring.enter(wait_ns);
        }
        self.metrics.coalesced_waits.count();
        self.ring.enter_and_collect(wait_ns, collect_ns)
    }

    fn sleep_ns(&self, by: Option<Now>) -> u64 {
        let longest = match (self.slots.any_closing(), self.all_settled()) {
            (true, _) => CLOSING_WAIT_NS,
            (false, false) => SETTLE_WAIT_NS,
            (false, true) => LONGEST_WAIT_NS,
        };
        self.clock.until(by, longest)
    }

    /// Takes all completions, also those that wait in the kernel for room.
    fn drain(&mut self) -> io::Result<()> {
        self.take_completions();
        for _ in 0..MOST_FLUSHES {
            if !self.ring.overflown() {
                break;
            }
            self.metrics.ring_overflows.count();
            self.ring.submit()?;
            self.take_completions();
        }
        Ok(())
    }

    fn take_completions(&mut self) {
        for completion in self.ring.completions() {
            if completion.is(Kind::Send) {
                // Only failures are told.
                self.sends.fail(completion.number(), completion.result.min(0).saturating_neg());
                continue;
            }
            if completion.is(Kind::StreamSendAtOnce) {
                self.streams.fell_short(completion.stream());
            }
            self.woken |= completion.is(Kind::Wake);
            self.ready.push_back(completion);
        }
    }

    fn handle_ready(&mut self, shard: &mut impl Shard<Self>) -> io::Result<()> {
        self.metrics.ring_used.set(self.ready.len() as u64);
        self.metrics.receive_buffers_used.set(self.ready.len() as u64);
        while let Some(completion) = self.ready.pop_front() {
            self.expect_next();
            let before = self.unsubmitted();
            let number = completion.number();
            if completion.is(Kind::Receive) {
                self.received(shard, SocketId(number), completion);
            } else if completion.is(Kind::Wake) {
                self.ring.writer_ended();
                self.arm_wake()?;
            } else if completion.is(Kind::StreamReceive) {
                self.stream_received(shard, completion);
            } else if completion.is(Kind::StreamCancel) {
                self.streams.cancelled(completion.stream());
            } else if completion.is(Kind::StreamSend) || completion.is(Kind::StreamSendAtOnce) {
                self.stream_sent(shard, completion);
            } else if completion.is(Kind::Accept) {
                self.accepted(shard, SocketId(number), completion);
            } else if completion.is(Kind::Connect) {
                self.connected(shard, completion);
            } else if completion.is(Kind::Cancel) && completion.result < 0 {
                self.slots.not_cancelled(SocketId(number));
            }
            self.send_many(shard, before)?;
        }
        // From its beginning again, so that it stays in the caches.
        self.ready.clear();
        Ok(())
    }

    /// What comes behind this message was written some hundred microseconds ago, by the kernel: while this one is handled,
    /// the next one comes nearer.
    #[inline]
    fn expect_next(&self) {
        if let Some(next) = self.ready.front()
            && next.is(Kind::Receive)
            && let (Some(buffer), Ok(len)) = (cqueue::buffer_select(next.flags), usize::try_from(next.result))
        {
            self.receive.expect(buffer, len);
        }
    }

    fn received(&mut self, shard: &mut impl Shard<Self>, on: SocketId, completion: Completion) {
        let Completion { result, flags, .. } = completion;
        if let Some(buffer) = cqueue::buffer_select(flags) {
            if let Ok(len) = usize::try_from(result)
                // SAFETY: the completion says that the kernel has filled the buffer; it is given back
                // below, after the event that borrows it.
                && let Some(datagram) = unsafe { self.receive.read(buffer, len) }
            {
                let receive::Datagram { from, bytes, truncated, received_ns } = datagram;
                self.clock.received(received_ns);
                shard.on_event(self, Event::Datagram { on, from, bytes, truncated });
            }
            self.receive.give_back(buffer);
        }
        if cqueue::more(flags) {
            return self.slots.went_well(on);
        }
        self.ring.writer_ended();
        if result == -libc::ENOBUFS && self.receive.is_all_lent() {
            self.metrics.receive_starved.count();
        }
        self.slots.ended(on, if result < 0 { -result } else { 0 });
    }

    fn arm_receives(&mut self) -> io::Result<()> {
        while let Some((id, again)) = self.slots.next_unarmed() {
            let Some(socket) = self.slots.get(id) else { continue };
            if again {
                self.metrics.receive_restarts.count();
            }
            if socket.is_stream() {
                let entry = opcode::AcceptMulti::new(Fd(socket.fd())).flags(libc::SOCK_CLOEXEC).build();
                // SAFETY: the entry points to nothing; the socket is open until its accept has ended (`Slots`).
                unsafe { self.ring.push(&entry.user_data(Kind::Accept.with(id.0))) }?;
                continue;
            }
            // By its own descriptor: a receive lasts, and before Linux 6.13 one that was started by the
            // ring's table would keep every file alive that was taken out of the table since.
            let entry = opcode::RecvMsgMulti::new(Fd(socket.fd()), self.receive.header(), receive::GROUP)
                .build()
                .user_data(Kind::Receive.with(id.0));
            // SAFETY: header and buffers stay until the ring has ended all receives (`Drop`); the socket is
            // open until its receive has ended (`Slots`).
            unsafe { self.ring.push_writer(&entry) }?;
        }
        Ok(())
    }

    fn arm_wake(&mut self) -> io::Result<()> {
        let into = self.wake_count.at(0, size_of::<u64>());
        let entry = opcode::Read::new(Fd(self.waker.fd()), into, size_of::<u64>() as u32).build();
        // SAFETY: counter and waker stay until the ring has ended the read (`Drop`).
        unsafe { self.ring.push_writer(&entry.user_data(Kind::Wake.with(0))) }
    }
}

impl Io for Engine<'_> {
    type Tx = Tx;
    type Source = Arc<Socket>;

    fn tx(&mut self) -> Option<Tx> {
        self.sends.take()
    }

    fn waited_ns(&self) -> Option<u64> {
        self.clock.waited_ns
    }

    fn send(&mut self, tx: Tx, len: usize, on: SocketId, to: SocketAddr, cookie: u64) {
        let (number, bytes, address, address_len) = self.sends.begin(tx, on, to, cookie);
        self.queued.push(number);
        if !self.slots.knows(on) {
            return self.sends.fail(number, libc::EBADF);
        }
        let entry = opcode::Send::new(Fixed(u32::from(on.0)), bytes, len.min(MESSAGE_BYTES) as u32)
            .flags(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
            .dest_addr(address.cast())
            .dest_addr_len(address_len)
            .build()
            .flags(Flags::SKIP_SUCCESS)
            .user_data(Kind::Send.with(number));
        // SAFETY: the buffer with its address is under way, which is to say nobody's, until the ring has
        // submitted the send and `settle` finishes it.
        if unsafe { self.ring.push(&entry) }.is_err() {
            self.sends.fail(number, libc::EAGAIN);
        }
    }

    fn discard(&mut self, tx: Tx) {
        self.sends.put_back(tx);
    }

    fn wake(&mut self, shard: u16) {
        self.neighbours.wake(shard);
    }

    fn open(&mut self, id: SocketId, source: &Arc<Socket>) {
        if self.slots.knows(id) {
            return;
        }
        if self.ring.set_file(id.0, source.fd()).is_err() || !self.slots.open(id, Arc::clone(source)) {
            self.refused.push(id);
        }
        source.end_filter();
    }

    fn filter(&mut self, on: SocketId, program: &[sock_filter]) -> Result<(), i32> {
        self.slots.get(on).ok_or(libc::EBADF)?.filter(program)
    }

    fn close(&mut self, id: SocketId) {
        self.slots.leave(id, self.clock.now);
    }

    fn connect(&mut self, on: SocketId, to: SocketAddr) -> Option<StreamId> {
        self.begin_to_connect(on, to)
    }

    fn adopt(&mut self, accepted: Accepted) -> Option<StreamId> {
        self.take_over_accepted(accepted)
    }

    fn refuse(&mut self, accepted: Accepted) {
        files::refuse(accepted);
    }

    fn write(&mut self, stream: StreamId, bytes: &[u8]) -> bool {
        self.streams.write(stream, bytes)
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.streams.has_room(bytes)
    }

    fn unread_ns(&mut self, stream: StreamId) -> Option<u64> {
        self.streams.unread_ns(stream, self.clock.now)
    }

    fn pause(&mut self, stream: StreamId) {
        self.streams.pause(stream);
        self.streams.end_receive(stream);
    }

    fn resume(&mut self, stream: StreamId) {
        self.streams.resume(stream, self.clock.now);
    }

    fn finish(&mut self, stream: StreamId) {
        self.finish_stream(stream);
    }

    fn reset(&mut self, stream: StreamId) {
        self.streams.reset(stream);
    }
}

impl Drop for Engine<'_> {
    fn drop(&mut self) {
        // Closing a ring does not end what is under way: the kernel does that later, by itself. Where it
        // will not say that all has ended, it keeps the memory.
        if !self.ring.quiesce(self.ready.drain(..)) {
            self.receive.keep();
            self.chunks.keep();
            self.wake_count.keep();
            std::mem::forget(std::mem::take(&mut self.streams));
        }
        self.sends.keep_if_held();
    }
}
