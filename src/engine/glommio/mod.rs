//! The engine on the runtime glommio: its reactor tells what can go on, and the sockets stay Viaduct's own.
//!
//! ```text
//!  glommio sleeps until a descriptor can be read or written, a shard is woken, or a time has come
//!    └─► Ready: a list of those that can go on ─► a turn: read them one by one ─► shard ─► sent at once
//! ```
//!
//! A listener has a device, a mark and an address that it may not have yet, and says when each datagram came: none of
//! that can be had from the runtime's sockets. So it waits for readiness (`ready`), and datagrams are read and sent by
//! calls that do not block. Connections are its streams, made of descriptors.

mod link;
mod ready;
mod send;
mod sockets;
mod streams;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use glommio::{GlommioError, LocalExecutor, LocalExecutorBuilder, ReactorErrorKind};
use libc::sock_filter;

pub use send::Tx;

use super::clock::{Clock, LONGEST_WAIT_NS};
use super::files::{self, accept_below, places};
use super::slots::Slots;
use super::socket::Socket;
use super::streams::Streams;
use super::{Accepted, Io, Neighbours, Next, Shard, SocketId, Waker};
use crate::limits::{MESSAGE_BYTES, SEND_BUFFERS, STREAM_BUFFER_BYTES, STREAM_LINGER_NS};
use crate::metrics::EngineMetrics;
use crate::net::Now;
use crate::stream::StreamId;
use link::Link;
use ready::{Readable, Ready, Who};
use send::{Sends, Told};

/// How long a turn may sleep while a socket is being closed, or where its wake-ups cannot be waited for.
const SHORT_WAIT_NS: u64 = 1_000_000;

/// Memory in bytes that the runtime registers for reading files, of which there are none: the least it takes.
const FILE_MEMORY_BYTES: usize = 64 << 10;

/// A shard's executor with its memory. Everything but [`Waker`] stays on the thread that made it.
pub struct Engine<'m> {
    executor: Rc<LocalExecutor>,
    ready: Ready,
    slots: Slots<Arc<Socket>>,
    /// What is waited for, by the number of the socket.
    waits: Box<[Option<Readable>]>,
    waker: Waker,
    wake_up: Option<Readable>,
    neighbours: Neighbours,
    streams: Streams<Link>,
    accept_below: i32,
    sends: Sends,
    /// What the shard is to be told of what it sent.
    told: Vec<Told>,
    /// Sockets that could not be opened.
    refused: Vec<SocketId>,
    /// Where a datagram is read.
    datagram: Vec<u8>,
    /// Where a stream is read.
    chunk: Vec<u8>,
    clock: Clock,
    metrics: &'m EngineMetrics,
}

impl<'m> Engine<'m> {
    /// Makes the executor with its rings; on the thread that runs it.
    ///
    /// # Errors
    /// The runtime's reason: as a rule, too little memory may be locked.
    pub fn new(metrics: &'m EngineMetrics) -> io::Result<Self> {
        let executor = LocalExecutorBuilder::default().io_memory(FILE_MEMORY_BYTES).make().map_err(told)?;
        metrics.receive_buffers.set(1);
        metrics.send_buffers.set(SEND_BUFFERS.into());
        Ok(Self {
            executor: Rc::new(executor),
            ready: Ready::default(),
            slots: Slots::new(places()),
            waits: (0..places()).map(|_| None).collect(),
            waker: Waker::new()?,
            wake_up: None,
            neighbours: Neighbours::new(0),
            streams: Streams::default(),
            accept_below: accept_below(),
            sends: Sends::new(SEND_BUFFERS),
            told: Vec::new(),
            refused: Vec::new(),
            datagram: Vec::with_capacity(MESSAGE_BYTES),
            chunk: vec![0; STREAM_BUFFER_BYTES],
            clock: Clock::since(Instant::now()),
            metrics,
        })
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
    pub fn run(&mut self, shard: &mut impl Shard<Self>) {
        let executor = Rc::clone(&self.executor);
        executor.run(self.drive(shard));
    }

    async fn drive(&mut self, shard: &mut impl Shard<Self>) {
        let mut who = Vec::new();
        let mut wait_ns = 0;
        loop {
            self.ready.sleep(wait_ns).await;
            self.ready.take(&mut who);
            wait_ns = match self.turn(shard, &mut who) {
                Next::Stop => break,
                Next::Wait(_) if self.has_more_to_do() => 0,
                Next::Wait(by) => self.sleep_ns(by),
            };
        }
        self.tell(shard);
        self.let_all_go();
        // The runtime takes back what is under way when it looks at its rings.
        self.ready.sleep(0).await;
        self.ready.sleep(0).await;
    }

    /// A batch: what can go on, and what the shard wants of it.
    fn turn(&mut self, shard: &mut impl Shard<Self>, who: &mut Vec<Who>) -> Next {
        if who.contains(&Who::Wake) {
            // Before the shard looks: what it is woken for from here on wakes it once more.
            self.wake_up = None;
            self.waker.take();
        }
        let now = self.clock.begin();
        self.metrics.ring_used.set(who.len() as u64);
        shard.begin(self, now);
        self.tell(shard);
        for who in who.drain(..) {
            match who {
                Who::Wake => {}
                Who::Socket(on) => self.socket_is_ready(shard, on),
                Who::Stream(id) => self.stream_is_ready(shard, id),
            }
        }
        self.look_after_closing(shard);
        self.look_after_streams(shard);
        let next = shard.end(self);
        self.send_streams();
        self.connect_streams();
        self.wait_for_sockets();
        self.wait_for_wake_up();
        self.metrics.send_buffers_used.set(self.sends.used() as u64);
        next
    }

    fn has_more_to_do(&self) -> bool {
        self.ready.any() || !self.told.is_empty() || self.streams.is_news || self.streams.any_unarmed()
    }

    fn sleep_ns(&self, by: Option<Now>) -> u64 {
        let is_short = self.slots.any_closing() || self.wake_up.is_none();
        let longest = if is_short { SHORT_WAIT_NS } else { LONGEST_WAIT_NS };
        self.clock.until(by, longest)
    }

    fn wait_for_wake_up(&mut self) {
        if self.wake_up.is_none() {
            self.wake_up = Readable::begin(&self.waker, self.ready.waker(Who::Wake)).ok();
        }
    }

    /// Tells the shard how its sends went.
    fn tell(&mut self, shard: &mut impl Shard<Self>) {
        while !self.told.is_empty() {
            let mut all = std::mem::take(&mut self.told);
            for told in all.drain(..) {
                shard.on_event(self, told.event());
            }
            if self.told.is_empty() {
                self.told = all;
            }
        }
    }

    fn let_all_go(&mut self) {
        self.waits.fill_with(|| None);
        self.wake_up = None;
        self.streams = Streams::default();
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
        let socket = self.slots.get(on).ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF));
        let result = socket.and_then(|socket| socket.send(tx.first(len), to));
        self.told.push(match result {
            Ok(()) => Told::Sent { cookie },
            Err(error) => Told::SendFailed { on, to, errno: errno(&error), cookie },
        });
        self.sends.put_back(tx);
    }

    fn discard(&mut self, tx: Tx) {
        self.sends.put_back(tx);
    }

    fn wake(&mut self, shard: u16) {
        self.neighbours.wake(shard);
    }

    fn open(&mut self, id: SocketId, source: &Arc<Socket>) {
        if !self.slots.knows(id) && !self.slots.open(id, Arc::clone(source)) {
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
        let socket = self.slots.get(on)?.outward().ok()?;
        let id = self.take_stream(socket, true)?;
        self.streams.unconnected.push((id, to));
        Some(id)
    }

    fn adopt(&mut self, accepted: Accepted) -> Option<StreamId> {
        let Accepted::Socket(socket) = accepted else { return None };
        self.take_stream(socket, false)
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

    fn pause(&mut self, stream: StreamId) {
        self.streams.pause(stream);
    }

    fn resume(&mut self, stream: StreamId) {
        if self.streams.resume(stream, self.clock.now) {
            self.ready.again(Who::Stream(stream));
        }
    }

    fn finish(&mut self, stream: StreamId) {
        // Only what is read says when the peer has closed.
        self.resume(stream);
        self.streams.finish(stream, self.clock.now.plus_ns(STREAM_LINGER_NS));
    }

    fn reset(&mut self, stream: StreamId) {
        self.streams.reset(stream);
    }
}

/// Too little memory that may be locked is what the kernel would say, too.
fn told(error: GlommioError<()>) -> io::Error {
    match error {
        GlommioError::ReactorError(ReactorErrorKind::MemLockLimit(..)) => {
            io::Error::from_raw_os_error(libc::ENOMEM)
        }
        other => other.into(),
    }
}

/// The kernel's error number, positive.
fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}
