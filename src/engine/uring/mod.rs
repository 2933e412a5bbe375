//! The engine on io_uring: one ring, one thread, one system call for a batch.
//!
//! ```text
//!  enter: submit the sends of the last batch, run task work, wait for one completion
//!    └─► drain all completions ─► settle sends ─► datagrams, one by one ─► shard
//!                                                   └─ every 64 sends: submit, settle
//! ```
//!
//! A send of a datagram with `MSG_DONTWAIT` is over when the call that submits it returns. So only
//! failures post a completion (`IOSQE_CQE_SKIP_SUCCESS`): whatever was submitted and did not fail was
//! taken by the kernel, and its buffer is free again, hot in the cache.

mod address;
mod memory;
mod probe;
mod receive;
mod send;
#[cfg(test)]
mod tests;
mod waker;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use io_uring::squeue::Flags;
use io_uring::types::{Fixed, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

pub use probe::{Kernel, Missing, probe};
pub use send::Tx;
pub use waker::Waker;

use super::socket::Socket;
use super::{Event, Io, Next, Shard, SocketId};
use crate::limits::{COMPLETIONS, ENGINE_SOCKETS, RECEIVE_BUFFERS, SEND_BUFFERS, SENDS_PER_SUBMIT};
use crate::metrics::EngineMetrics;
use crate::net::Now;
use receive::Receive;
use send::{Send, Sends};

/// What a completion is about: the upper half of its user data; the lower half is a number.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Kind {
    Receive,
    Send,
    Wake,
    Cancel,
}

impl Kind {
    const fn with(self, number: u16) -> u64 {
        (self as u64) << 32 | number as u64
    }
}

/// How far a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Receiving,
    /// Left its group; batches without a datagram from it so far.
    Draining(u8),
    /// Its receive is being cancelled.
    Ending,
}

struct Slot {
    socket: Arc<Socket>,
    state: State,
    /// Receives in a row that failed for no passing reason.
    failures: u8,
}

/// Two batches without a datagram: one to see what was queued when the socket left its group, one to see
/// that nothing followed.
const QUIET_BATCHES: u8 = 2;

/// A socket whose receives fail this often in a row is lost.
const MOST_FAILURES: u8 = 8;

/// The longest sleep: a shard looks at the clock once a second.
const LONGEST_WAIT_NS: u64 = 1_000_000_000;

/// How long sends that the kernel has taken wait to be told where nothing else happens: whoever reads the
/// counters should see them.
const SETTLE_WAIT_NS: u64 = 5_000_000;

/// How long a batch may sleep while a socket is being closed.
const CLOSING_WAIT_NS: u64 = 1_000_000;

/// How much of everything an engine has.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// A power of two.
    receive_buffers: u16,
    send_buffers: u16,
    submissions: u32,
    /// At least `submissions`.
    completions: u32,
}

impl Sizes {
    const DEFAULT: Self = Self {
        receive_buffers: RECEIVE_BUFFERS,
        send_buffers: SEND_BUFFERS,
        submissions: SEND_BUFFERS as u32,
        completions: COMPLETIONS,
    };
}

const _: () = assert!(RECEIVE_BUFFERS.is_power_of_two());

/// A shard's ring with its memory. Everything but [`Waker`] stays on the thread that made it.
pub struct Engine<'m> {
    // Dropped first: the kernel lets go of all memory below.
    ring: IoUring,
    receive: Receive,
    sends: Sends,
    slots: Vec<Option<Slot>>,
    /// Sends in the submission queue, and those the kernel has taken, in order.
    queued: Vec<u16>,
    ready: VecDeque<Completion>,
    rearm: Vec<SocketId>,
    closed: Vec<SocketId>,
    waker: Waker,
    wake_count: Box<u64>,
    start: Instant,
    metrics: &'m EngineMetrics,
}

#[derive(Clone, Copy)]
struct Completion {
    data: u64,
    result: i32,
    flags: u32,
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
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(sizes.completions)
            .build(sizes.submissions)?;
        ring.submitter().register_files_sparse(u32::from(ENGINE_SOCKETS))?;
        let receive = Receive::new(&ring, sizes.receive_buffers)?;
        metrics.receive_buffers.set(sizes.receive_buffers.into());
        metrics.send_buffers.set(sizes.send_buffers.into());
        metrics.ring_entries.set(sizes.completions.into());
        let mut engine = Self {
            ring,
            receive,
            sends: Sends::new(sizes.send_buffers)?,
            slots: (0..ENGINE_SOCKETS).map(|_| None).collect(),
            queued: Vec::with_capacity(sizes.send_buffers.into()),
            ready: VecDeque::with_capacity(sizes.completions as usize),
            rearm: Vec::with_capacity(ENGINE_SOCKETS.into()),
            closed: Vec::with_capacity(ENGINE_SOCKETS.into()),
            waker: Waker::new()?,
            wake_count: Box::new(0),
            start: Instant::now(),
            metrics,
        };
        engine.arm_wake()?;
        Ok(engine)
    }

    /// What wakes this engine's shard.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Drives the shard until it says [`Next::Stop`].
    ///
    /// # Errors
    /// The ring itself fails; nothing that a message or a socket does.
    pub fn run(&mut self, shard: &mut impl Shard<Self>) -> io::Result<()> {
        let mut wait = 0;
        loop {
            self.enter(wait)?;
            self.drain();
            shard.begin(self, self.now());
            self.settle(shard);
            self.handle_ready(shard)?;
            self.advance_closing(shard)?;
            let next = shard.end(self);
            self.receive.publish();
            self.rearm_receives()?;
            self.observe();
            wait = match next {
                Next::Stop => return self.finish(shard),
                Next::Wait(by) => self.sleep_ns(by),
            };
        }
    }

    fn now(&self) -> Now {
        Now(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn sleep_ns(&self, by: Option<Now>) -> u64 {
        let closing = self.slots.iter().flatten().any(|slot| slot.state != State::Receiving);
        let longest = match (closing, self.queued.is_empty()) {
            (true, _) => CLOSING_WAIT_NS,
            (false, false) => SETTLE_WAIT_NS,
            (false, true) => LONGEST_WAIT_NS,
        };
        by.map_or(longest, |by| by.0.saturating_sub(self.now().0).min(longest))
    }

    /// Submits what is queued, runs task work and waits for a completion, at most so long.
    fn enter(&mut self, wait_ns: u64) -> io::Result<()> {
        let time = Timespec::new().sec(wait_ns / 1_000_000_000).nsec((wait_ns % 1_000_000_000) as u32);
        let entered = self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&time));
        self.passing(entered)
    }

    fn submit(&mut self) -> io::Result<()> {
        let submitted = self.ring.submitter().submit();
        self.passing(submitted)
    }

    /// Timeout and signal are as good as success; a busy ring is drained and tried again.
    fn passing(&self, result: io::Result<usize>) -> io::Result<()> {
        match result {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR) => Ok(()),
                Some(libc::EBUSY | libc::EAGAIN | libc::ENOMEM) => {
                    self.metrics.ring_overflows.count();
                    Ok(())
                }
                _ => Err(error),
            },
        }
    }

    fn drain(&mut self) {
        if self.ring.submission().cq_overflow() {
            self.metrics.ring_overflows.count();
        }
        for entry in self.ring.completion() {
            let (data, result, flags) = (entry.user_data(), entry.result(), entry.flags());
            if data >> 32 == Kind::Send as u64 {
                // Only failures are told. A number of a send fits 16 bits.
                self.sends.fail(data as u16, -result);
            } else {
                self.ready.push_back(Completion { data, result, flags });
            }
        }
    }

    /// Tells the shard how the sends went that the kernel has taken.
    fn settle(&mut self, shard: &mut impl Shard<Self>) {
        if self.queued.is_empty() || !self.ring.submission().is_empty() {
            return;
        }
        let mut queued = std::mem::take(&mut self.queued);
        for number in queued.drain(..) {
            if let Some(Send { on, to, cookie, errno }) = self.sends.finish(number) {
                shard.on_event(
                    self,
                    match errno {
                        0 => Event::Sent { cookie },
                        errno => Event::SendFailed { on, to, errno, cookie },
                    },
                );
            }
        }
        // A shard does not send in answer to these events, but if it did, nothing would be lost.
        queued.append(&mut self.queued);
        self.queued = queued;
    }

    fn handle_ready(&mut self, shard: &mut impl Shard<Self>) -> io::Result<()> {
        self.metrics.ring_used.set(self.ready.len() as u64);
        self.metrics.receive_buffers_used.set(self.ready.len() as u64);
        while let Some(completion) = self.ready.pop_front() {
            let number = completion.data as u16;
            match completion.data >> 32 {
                kind if kind == Kind::Receive as u64 => self.received(shard, SocketId(number), completion),
                kind if kind == Kind::Wake as u64 => self.arm_wake()?,
                _ => {}
            }
            if self.queued.len() >= SENDS_PER_SUBMIT {
                self.submit()?;
                self.drain();
                self.settle(shard);
            }
        }
        Ok(())
    }

    fn received(&mut self, shard: &mut impl Shard<Self>, on: SocketId, completion: Completion) {
        let Completion { result, flags, .. } = completion;
        if let Some(buffer) = cqueue::buffer_select(flags) {
            if let Ok(len) = usize::try_from(result)
                && let Some(datagram) = self.receive.read(buffer, len)
            {
                let receive::Datagram { from, bytes, truncated } = datagram;
                shard.on_event(self, Event::Datagram { on, from, bytes, truncated });
            }
            self.receive.give_back(buffer);
        }
        let Some(slot) = self.slots.get_mut(usize::from(on.0)).and_then(Option::as_mut) else { return };
        match slot.state {
            State::Draining(_) if result >= 0 => slot.state = State::Draining(0),
            _ => {}
        }
        slot.failures = match -result {
            ..=0 | libc::ENOBUFS | libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH => 0,
            _ => slot.failures.saturating_add(1),
        };
        if cqueue::more(flags) {
            return;
        }
        if result == -libc::ENOBUFS {
            self.metrics.receive_starved.count();
        }
        if slot.state == State::Ending || slot.failures >= MOST_FAILURES {
            self.closed.push(on);
        } else {
            self.rearm.push(on);
        }
    }

    /// Cancels the receives of sockets that have run empty, and lets go of those that have ended.
    fn advance_closing(&mut self, shard: &mut impl Shard<Self>) -> io::Result<()> {
        for place in 0..self.slots.len() {
            let Some(slot) = &mut self.slots[place] else { continue };
            let State::Draining(quiet) = slot.state else { continue };
            slot.state = State::Draining(quiet + 1);
            if quiet + 1 >= QUIET_BATCHES && !self.rearm.contains(&SocketId(place as u16)) {
                slot.state = State::Ending;
                let number = place as u16;
                let cancel = opcode::AsyncCancel::new(Kind::Receive.with(number)).build();
                self.push(cancel.user_data(Kind::Cancel.with(number)))?;
            }
        }
        while let Some(id) = self.closed.pop() {
            self.ring.submitter().register_files_update(u32::from(id.0), &[-1])?;
            self.slots[usize::from(id.0)] = None;
            shard.on_event(self, Event::Closed { on: id });
        }
        Ok(())
    }

    fn rearm_receives(&mut self) -> io::Result<()> {
        while let Some(id) = self.rearm.pop() {
            self.metrics.receive_restarts.count();
            self.arm_receive(id)?;
        }
        Ok(())
    }

    fn arm_receive(&mut self, id: SocketId) -> io::Result<()> {
        let file = Fixed(u32::from(id.0));
        let entry = opcode::RecvMsgMulti::new(file, self.receive.header(), receive::GROUP).build();
        self.push(entry.user_data(Kind::Receive.with(id.0)))
    }

    fn arm_wake(&mut self) -> io::Result<()> {
        let into = (&raw mut *self.wake_count).cast();
        let entry = opcode::Read::new(io_uring::types::Fd(self.waker.fd()), into, 8).build();
        self.push(entry.user_data(Kind::Wake.with(0)))
    }

    fn push(&mut self, entry: squeue::Entry) -> io::Result<()> {
        for _ in 0..16 {
            // SAFETY: what the entry points to (receive header, wake counter, send buffer and address)
            // is owned by the engine, does not move, and outlives the ring.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return Ok(());
            }
            self.submit()?;
        }
        Err(io::Error::other("the submission queue stays full"))
    }

    fn observe(&self) {
        self.metrics.send_buffers_used.set(self.sends.used() as u64);
    }

    /// The last sends leave; what failed of them is still told.
    fn finish(&mut self, shard: &mut impl Shard<Self>) -> io::Result<()> {
        self.submit()?;
        self.drain();
        self.settle(shard);
        Ok(())
    }
}

impl Io for Engine<'_> {
    type Tx = Tx;
    type Source = Arc<Socket>;

    fn tx(&mut self) -> Option<Tx> {
        self.sends.take()
    }

    fn send(&mut self, tx: Tx, len: usize, on: SocketId, to: SocketAddr, cookie: u32) {
        let known = self.slots.get(usize::from(on.0)).is_some_and(Option::is_some);
        let send = Send { on, to, cookie, errno: if known { 0 } else { libc::EBADF } };
        let (number, bytes, address, address_len) = self.sends.begin(tx, send);
        self.queued.push(number);
        if !known {
            return;
        }
        let len = len.min(crate::limits::MESSAGE_BYTES) as u32;
        let entry = opcode::Send::new(Fixed(u32::from(on.0)), bytes, len)
            .flags(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
            .dest_addr(address.cast())
            .dest_addr_len(address_len)
            .build()
            .flags(Flags::SKIP_SUCCESS)
            .user_data(Kind::Send.with(number));
        if self.push(entry).is_err() {
            self.sends.fail(number, libc::EAGAIN);
        }
    }

    fn discard(&mut self, tx: Tx) {
        self.sends.put_back(tx);
    }

    fn open(&mut self, id: SocketId, source: &Arc<Socket>) {
        let place = usize::from(id.0);
        let registered = self.ring.submitter().register_files_update(u32::from(id.0), &[source.fd()]);
        let slot = Slot { socket: Arc::clone(source), state: State::Receiving, failures: 0 };
        match self.slots.get_mut(place) {
            Some(empty @ None) if registered.is_ok() => {
                *empty = Some(slot);
                if self.arm_receive(id).is_err() {
                    self.closed.push(id);
                }
            }
            _ => self.closed.push(id),
        }
    }

    fn close(&mut self, id: SocketId) {
        let Some(slot) = self.slots.get_mut(usize::from(id.0)).and_then(Option::as_mut) else { return };
        // Where it fails (no route to its own address) the socket is drained all the same.
        let _ = slot.socket.leave_group();
        if slot.state == State::Receiving {
            slot.state = State::Draining(0);
        }
    }
}
