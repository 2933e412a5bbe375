//! A shard that echoes, and somebody who talks to it, in a network namespace of their own.
//!
//! UDP may lose anything, and a machine may be slow: nobody here waits without a bound. Clients count
//! what comes until a time; a run that does not end fails with a message.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak, mpsc};
use std::time::{Duration, Instant};

use crate::cli::netns::{Host, netlink, up};
use crate::engine::socket::{self, Socket};
use crate::engine::{Event, Io, Next, Shard, SocketId, Waker};
use crate::metrics::EngineMetrics;
use crate::net::{ListenerId, Now, SectionId, Transport};
use crate::plan::{Advertise, Listener};
use crate::stream::StreamId;

/// Where the echoing shard listens.
pub const OWN: &str = "127.0.0.1:5060";

/// The longest that one step of a test waits.
pub const STEP: Duration = Duration::from_secs(10);

/// The longest that a shard runs in a test.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Datagrams sent before the first answer is awaited: a few KiB of any socket's buffer.
pub const BURST: usize = 32;

pub fn listener(bind: &str) -> Listener {
    let bind: SocketAddr = bind.parse().unwrap();
    Listener {
        id: ListenerId(0),
        section: SectionId(0),
        name: "test".into(),
        identity: 1,
        formerly: Vec::new(),
        transport: Transport::Udp,
        bind,
        link: None,
        device: None,
        device_index: 0,
        mark: None,
        advertise: vec![Advertise::new(None, &bind.ip().to_string(), bind.port())],
        dialog_to: Vec::new(),
        standing: Default::default(),
    }
}

/// Runs a test in a namespace of its own, with its loopback device up.
pub fn inside(test: impl FnOnce() + Send) {
    let host = Host::new().expect("a network namespace (run as root, or in a user namespace)");
    let result = host.inside(|| {
        netlink(async |handle| up(handle, "lo").await)?;
        test();
        Ok(())
    });
    result.unwrap();
}

pub fn open(bind: &str) -> Arc<Socket> {
    let socket = Socket::open(&listener(bind), 1 << 20).unwrap();
    socket.tell_when_received(true).unwrap();
    Arc::new(socket)
}

/// Connections come in on it.
pub fn open_stream(bind: &str) -> Arc<Socket> {
    let listener = Listener { transport: Transport::Tcp, ..listener(bind) };
    Arc::new(Socket::open(&listener, 1 << 20).unwrap())
}

/// What a shard has seen so far, for the one who talks to it.
#[derive(Default)]
pub struct Seen {
    pub received: AtomicUsize,
    pub ended: AtomicUsize,
    pub closed: AtomicUsize,
    pub streams: AtomicUsize,
    pub streams_ended: AtomicUsize,
    /// Bytes of a stream that was paused.
    pub swallowed: AtomicUsize,
    /// The thread that it runs on; 0: it has not begun.
    pub thread: AtomicU64,
    stop: AtomicBool,
}

/// A filter that drops what begins with a `d`.
const NO_D: [libc::sock_filter; 4] = {
    const fn step(code: u32, no: u8, k: u32) -> libc::sock_filter {
        libc::sock_filter { code: code as u16, jt: 0, jf: no, k }
    }
    [
        step(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 8),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, b'd' as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0),
        step(libc::BPF_RET | libc::BPF_K, 0, u32::MAX),
    ]
};

/// Sends every datagram back to where it came from, or three times, or away, on one that says so; closes a socket, or has
/// it filtered, on one that says so.
#[derive(Default)]
pub struct Echo {
    pub sockets: Vec<(SocketId, Arc<Socket>)>,
    /// Where `away` goes.
    pub to: Option<SocketAddr>,
    /// The first batch waits for a word from here.
    pub gate: Option<mpsc::Receiver<()>>,
    /// How long messages are collected, in nanoseconds.
    pub coalesce_ns: u64,
    /// How long is looked before sleeping, in nanoseconds.
    pub spin_ns: u64,
    /// How often it was told that nothing comes while it is looked for.
    pub idle: usize,
    pub batches: usize,
    pub truncated: usize,
    /// How long each datagram had waited, in nanoseconds.
    pub waited_ns: Vec<Option<u64>>,
    /// Messages that it has given to the engine.
    pub given: usize,
    pub sent: usize,
    /// Those that had not left when batches ended.
    pub unsent: usize,
    pub failed: Vec<i32>,
    pub no_buffer: usize,
    /// Who sent last.
    pub from: Option<SocketAddr>,
    pub closed: Vec<SocketId>,
    /// Bytes that the kernel has taken of what was written to streams.
    pub wrote: usize,
    /// How streams ended.
    pub errors: Vec<i32>,
    /// The stream that was paused; what comes by it is kept here.
    pub paused: Option<StreamId>,
    pub swallowed: Vec<u8>,
    /// That one is resumed when a batch begins, and paused when anything comes.
    pub is_halting: bool,
    pub now: Now,
    pub seen: Arc<Seen>,
}

impl Echo {
    pub fn on(socket: &Arc<Socket>) -> Self {
        Self { sockets: vec![(SocketId(0), Arc::clone(socket))], ..Self::default() }
    }

    pub fn received(&self) -> usize {
        self.seen.received.load(Ordering::Relaxed)
    }

    /// Every datagram received has an end.
    pub fn assert_accounted(&self) {
        let closing = self.closed.len();
        assert_eq!(self.received(), self.sent + self.failed.len() + self.no_buffer + closing);
    }
}

impl<I: Io<Source = Arc<Socket>>> Shard<I> for Echo {
    fn begin(&mut self, io: &mut I, now: Now) {
        self.now = now;
        if let Some(stream) = self.paused.filter(|_| self.is_halting) {
            io.resume(stream);
        }
        // SAFETY: asks for this thread's own name.
        self.seen.thread.store(unsafe { libc::pthread_self() }, Ordering::Relaxed);
        self.batches += 1;
        for (id, socket) in self.sockets.drain(..) {
            io.open(id, &socket);
        }
        if let Some(gate) = self.gate.take() {
            gate.recv_timeout(STEP).expect("a word that the shard may go on");
        }
    }

    fn on_event(&mut self, io: &mut I, event: Event<'_>) {
        match event {
            Event::Datagram { on, from, bytes, truncated } => {
                self.seen.received.fetch_add(1, Ordering::Relaxed);
                self.truncated += usize::from(truncated);
                self.waited_ns.push(io.waited_ns());
                self.from = Some(from);
                self.on_datagram(io, on, from, bytes);
            }
            Event::Sent { cookie } => {
                assert_eq!(cookie, 7);
                self.sent += 1;
                self.seen.ended.fetch_add(1, Ordering::Relaxed);
            }
            Event::SendFailed { errno, .. } => {
                self.failed.push(errno);
                self.seen.ended.fetch_add(1, Ordering::Relaxed);
            }
            Event::Closed { on } => {
                self.closed.push(on);
                self.seen.closed.fetch_add(1, Ordering::Relaxed);
            }
            Event::Accepted { accepted, .. } => {
                self.seen.streams.fetch_add(1, Ordering::Relaxed);
                assert!(io.adopt(accepted).is_some());
            }
            Event::Connected { stream } => assert!(io.write(stream, b"hello")),
            Event::Received { stream, bytes } => self.on_bytes(io, stream, bytes),
            Event::Wrote { bytes, .. } => self.wrote += bytes,
            Event::Ended { errno, .. } => {
                self.errors.push(errno);
                self.seen.streams_ended.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn end(&mut self, _: &mut I) -> Next {
        self.unsent += self.given - self.sent - self.failed.len();
        let soon = self.is_halting.then(|| self.now.plus_ns(100_000));
        if self.seen.stop.load(Ordering::Relaxed) { Next::Stop } else { Next::Wait(soon) }
    }

    fn idle(&mut self) {
        self.idle += 1;
    }
}

impl Echo {
    fn on_datagram(&mut self, io: &mut impl Io, on: SocketId, from: SocketAddr, bytes: &[u8]) {
        if bytes == b"close" {
            return io.close(on);
        }
        if bytes == b"filter" || bytes == b"everything" {
            let steps = if bytes == b"filter" { &NO_D[..] } else { &[] };
            assert_eq!(io.filter(on, steps), Ok(()));
        }
        let to = if bytes == b"away" { self.to } else { None };
        for _ in 0..if bytes == b"thrice" { 3 } else { 1 } {
            let Some(mut tx) = io.tx() else {
                self.no_buffer += 1;
                return;
            };
            tx.as_mut()[..bytes.len()].copy_from_slice(bytes);
            self.given += 1;
            io.send(tx, bytes.len(), on, to.unwrap_or(from), 7);
        }
    }

    /// Sends them back; closes in good order where the peer does, or where it asks for that, and cuts off one that takes
    /// nothing. Pauses one that says so, and does with that what another one says.
    fn on_bytes(&mut self, io: &mut impl Io, stream: StreamId, bytes: &[u8]) {
        match bytes {
            b"" => io.finish(stream),
            bytes if self.paused == Some(stream) => {
                self.swallowed.extend(bytes);
                self.seen.swallowed.store(self.swallowed.len(), Ordering::Relaxed);
                if self.is_halting {
                    io.pause(stream);
                }
            }
            b"pause" | b"halt" => {
                (self.paused, self.is_halting) = (Some(stream), bytes == b"halt");
                assert!(io.write(stream, b"paused"));
                io.pause(stream);
            }
            b"resume" => io.resume(self.paused.unwrap()),
            b"finish it" => io.finish(self.paused.unwrap()),
            b"reset it" => io.reset(self.paused.unwrap()),
            b"finish" => {
                io.write(stream, b"the last");
                io.finish(stream);
            }
            b"twice" => assert!(io.write(stream, b"one") && io.write(stream, b"two")),
            b"connect" => assert!(io.connect(SocketId(0), self.to.unwrap()).is_some()),
            b"connect not" => {
                let stream = io.connect(SocketId(0), self.to.unwrap()).unwrap();
                io.reset(stream);
            }
            bytes if !io.write(stream, bytes) => io.reset(stream),
            _ => {}
        }
    }
}

/// What a test talks to a shard by. The shard stops when it is dropped, by a panic too.
pub struct Talk {
    waker: Waker,
    seen: Arc<Seen>,
    sockets: Vec<Weak<Socket>>,
}

impl Talk {
    /// Waits until the shard has seen enough, but not for ever.
    pub fn until(&self, what: &str, enough: impl Fn(&Seen) -> bool) {
        let deadline = Instant::now() + STEP;
        while !enough(&self.seen) {
            assert!(Instant::now() < deadline, "the shard has not seen in {STEP:?}: {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Interrupts what the shard's thread waits for.
    pub fn interrupt(&self) {
        self.until("its thread", |seen| seen.thread.load(Ordering::Relaxed) != 0);
        // SAFETY: the thread runs until `self` is dropped; the caller has a handler for the signal.
        let done = unsafe { libc::pthread_kill(self.seen.thread.load(Ordering::Relaxed), libc::SIGUSR1) };
        assert_eq!(done, 0);
    }

    /// CPU time of the shard's thread so far.
    pub fn cpu(&self) -> Duration {
        self.until("its thread", |seen| seen.thread.load(Ordering::Relaxed) != 0);
        let mut clock = 0;
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the thread runs until `self` is dropped, and so does its clock.
        let done = unsafe {
            libc::pthread_getcpuclockid(self.seen.thread.load(Ordering::Relaxed), &raw mut clock)
                | libc::clock_gettime(clock, &raw mut time)
        };
        assert_eq!(done, 0);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }

    pub fn until_received(&self, count: usize) {
        let what = format!("{count} datagrams, but for those that the kernel says it dropped");
        self.until(&what, |seen| seen.received.load(Ordering::Relaxed) + self.drops() >= count);
    }

    pub fn until_ended(&self, count: usize) {
        let what = format!("{count} sends ended, but for datagrams that the kernel says it dropped");
        self.until(&what, |seen| seen.ended.load(Ordering::Relaxed) + self.drops() >= count);
    }

    pub fn any_closed(&self) -> bool {
        self.seen.closed.load(Ordering::Relaxed) > 0
    }

    pub fn until_closed(&self, count: usize) {
        self.until(&format!("{count} sockets closed"), |seen| seen.closed.load(Ordering::Relaxed) >= count);
    }

    fn drops(&self) -> usize {
        self.sockets.iter().filter_map(Weak::upgrade).map(|socket| socket.drops().full as usize).sum()
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.seen.stop.store(true, Ordering::Relaxed);
        self.waker.wake();
    }
}

/// Runs the shard while `talk` talks to it, and stops it then. `drive` makes an engine, says how to wake it, and runs the
/// shard. Returns shard and metrics.
pub fn run(
    mut echo: Echo,
    talk: impl FnOnce(&Talk) + Send + 'static,
    drive: impl FnOnce(&mut Echo, &EngineMetrics, Box<dyn FnOnce(Waker) + '_>) + Send + 'static,
) -> (Echo, EngineMetrics) {
    let (ended, has_ended) = mpsc::channel();
    // A thread is in the namespace of the one that starts it.
    std::thread::spawn(move || {
        let metrics = EngineMetrics::default();
        let sockets = echo.sockets.iter().map(|(_, socket)| Arc::downgrade(socket)).collect();
        let seen = Arc::clone(&echo.seen);
        let mut talker = None;
        let begin = |waker| {
            let talking = Talk { waker, seen, sockets };
            talker = Some(std::thread::spawn(move || talk(&talking)));
        };
        drive(&mut echo, &metrics, Box::new(begin));
        talker.expect("somebody talks").join().expect("the talk went well");
        // Nobody listens where the deadline has passed.
        let _ = ended.send((echo, metrics));
    });
    match has_ended.recv_timeout(DEADLINE) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("the shard has not ended within {DEADLINE:?}"),
        Err(mpsc::RecvTimeoutError::Disconnected) => panic!("shard or talk panicked, see above"),
    }
}

/// Somebody who sends to a shard and waits for answers.
pub struct Client(UdpSocket);

impl Client {
    pub fn new() -> Self {
        Self::between("127.0.0.1:0", OWN)
    }

    pub fn between(own: &str, to: &str) -> Self {
        let socket = UdpSocket::bind(own).unwrap();
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(STEP)).unwrap();
        Self(socket)
    }

    pub fn send(&self, bytes: &[u8]) {
        self.0.send(bytes).unwrap();
    }

    /// Sends to whoever may be there.
    pub fn throw(&self, bytes: &[u8]) {
        // A socket that is not there is told by ICMP to the next call.
        let _ = self.0.send(bytes);
    }

    /// The next datagram; `None`: nothing came in time.
    pub fn receive(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 70_000];
        let len = self.0.recv(&mut buffer).ok()?;
        buffer.truncate(len);
        Some(buffer)
    }

    /// Sends the same again and again until an answer comes: a new interface loses what comes too early.
    pub fn insist(&self, bytes: &[u8]) {
        self.0.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let deadline = Instant::now() + STEP;
        loop {
            self.throw(bytes);
            if self.receive().is_some() {
                break;
            }
            assert!(Instant::now() < deadline, "no answer in {STEP:?}");
        }
        self.0.set_read_timeout(Some(STEP)).unwrap();
    }

    /// Takes datagrams until there were so many, but for those that the kernel says it dropped.
    pub fn receive_all(&self, count: usize) {
        let mut heard = 0;
        while heard + self.drops() < count {
            assert!(self.receive().is_some(), "{heard} of {count} came, {} dropped", self.drops());
            heard += 1;
        }
        assert!(heard > 0, "the kernel dropped all {count}");
    }

    fn drops(&self) -> usize {
        socket::receive_drops(std::os::fd::AsRawFd::as_raw_fd(&self.0)).unwrap() as usize
    }
}
