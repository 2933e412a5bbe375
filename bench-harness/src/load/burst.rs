//! INVITEs that go on beside a measurement of something else, from a pool that is rendered once, and a sink that
//! drains and counts them.

use std::io::{self, ErrorKind, IoSlice};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::sockopt::{RcvBuf, RcvBufForce};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg, setsockopt};

use crate::messages::{Template, number_of};
use crate::mmsg::Batch;

/// The generator wakes this often and sends what is due.
const TICK: Duration = Duration::from_micros(200);
/// Most messages of one UDP_SEGMENT send: the kernel's limit of segments and the datagram's of bytes.
const SEGMENTS: usize = 64;

/// The sink's receive buffer in bytes: 50 ms at 100,000 messages a second.
const BUFFER: usize = 8 << 20;

/// Sends INVITEs at a rate.
pub struct Generator {
    socket: UdpSocket,
    template: Template,
    number: u32,
    /// As many messages as one send takes; only their numbers change.
    pool: Vec<u8>,
}

impl Generator {
    /// A generator that calls users at `callee`.
    pub fn new(socket: UdpSocket, callee: SocketAddr) -> io::Result<Self> {
        let template = Template::invite(socket.local_addr()?, callee);
        socket.set_nonblocking(false)?;
        Ok(Self { socket, pool: pool(&template), template, number: 0 })
    }

    /// Calls users at another address from now on, with numbers that go on.
    pub fn call(&mut self, callee: SocketAddr) -> io::Result<()> {
        self.template = Template::invite(self.socket.local_addr()?, callee);
        self.pool = pool(&self.template);
        Ok(())
    }

    /// Numbers the messages from here on.
    pub fn number_from(&mut self, number: u32) {
        self.number = number;
    }

    /// Sends `rate` messages a second for `length`, evenly in ticks; distinct over the generator's life. How many it sent.
    pub fn run(&mut self, to: SocketAddr, rate: u64, length: Duration) -> io::Result<u64> {
        let begin = Instant::now();
        let scheduled = rate * length.as_micros() as u64 / 1_000_000;
        let mut messages = 0;
        loop {
            let elapsed = begin.elapsed();
            let due = (rate as f64 * elapsed.as_secs_f64()) as u64;
            while messages < due.min(scheduled) {
                let burst = (due.min(scheduled) - messages).min(SEGMENTS as u64);
                self.burst(to, burst as usize)?;
                messages += burst;
                if begin.elapsed() > length {
                    break;
                }
            }
            if elapsed >= length {
                return Ok(messages);
            }
            std::thread::sleep(TICK.saturating_sub(begin.elapsed() - elapsed));
        }
    }

    fn burst(&mut self, to: SocketAddr, count: usize) -> io::Result<()> {
        let batch = &mut self.pool[..count * self.template.len()];
        for message in batch.chunks_mut(self.template.len()) {
            self.template.renumber(self.number, message);
            self.number = self.number.wrapping_add(1);
        }
        let segment = self.template.len() as u16;
        let control = [ControlMessage::UdpGsoSegments(&segment)];
        let slices = [IoSlice::new(batch)];
        let to = SockaddrStorage::from(to);
        match sendmsg(self.socket.as_raw_fd(), &slices, &control, MsgFlags::empty(), Some(&to)) {
            Ok(_) => Ok(()),
            // An ICMP error of an earlier send; the datagrams count as sent and lost.
            Err(nix::errno::Errno::ECONNREFUSED) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// As many messages as one send takes.
fn pool(template: &Template) -> Vec<u8> {
    let mut pool = Vec::with_capacity(SEGMENTS * template.len());
    (0..SEGMENTS).for_each(|_| template.append(0, &mut pool));
    pool
}

/// Which messages have arrived, by their running numbers.
#[derive(Debug, Default)]
pub struct Ledger {
    /// A bit for each number, in chunks that are made when they are needed.
    seen: std::collections::HashMap<u32, Box<[u64; 1024]>>,
    /// Messages that had arrived before.
    pub twice: u64,
    /// Messages without a number.
    pub foreign: u64,
}

impl Ledger {
    fn enter(&mut self, number: Option<u32>) {
        let Some(number) = number else {
            self.foreign += 1;
            return;
        };
        let chunk = self.seen.entry(number >> 16).or_insert_with(|| Box::new([0; 1024]));
        let (word, bit) = ((number & 0xffff) as usize / 64, 1 << (number % 64));
        self.twice += u64::from(chunk[word] & bit != 0);
        chunk[word] |= bit;
    }
}

/// Counts and throws away what arrives.
pub struct Sink {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

#[derive(Default)]
struct Shared {
    messages: AtomicU64,
    stop: AtomicBool,
    ledger: Option<Mutex<Ledger>>,
}

impl Sink {
    /// Starts to drain the socket on a thread of its own, pinned to `core` if there is one.
    pub fn start(socket: UdpSocket, core: Option<usize>) -> io::Result<Self> {
        Self::start_with(socket, core, None)
    }

    /// The same, and keeps a ledger of the messages.
    pub fn start_with_ledger(socket: UdpSocket, core: Option<usize>) -> io::Result<Self> {
        Self::start_with(socket, core, Some(Mutex::default()))
    }

    fn start_with(socket: UdpSocket, core: Option<usize>, ledger: Option<Mutex<Ledger>>) -> io::Result<Self> {
        socket.set_nonblocking(false)?;
        // A sink that is not scheduled for a moment loses nothing. Without the right to force it the
        // kernel's limit holds.
        setsockopt(&socket, RcvBufForce, &BUFFER).or_else(|_| setsockopt(&socket, RcvBuf, &BUFFER))?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let shared = Arc::new(Shared { ledger, ..Shared::default() });
        let ours = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("sink".into()).spawn(move || {
            core.map_or(Ok(()), crate::subject::pin)?;
            ours.drain(&socket)
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Messages received so far.
    pub fn messages(&self) -> u64 {
        self.shared.messages.load(Relaxed)
    }

    /// Messages that arrived a second time, and those that are none of the load's.
    pub fn twice_and_foreign(&self) -> (u64, u64) {
        let Some(ledger) = &self.shared.ledger else { return (0, 0) };
        let ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
        (ledger.twice, ledger.foreign)
    }

    /// Waits until nothing has arrived for a while.
    pub fn settle(&self) {
        let mut last = u64::MAX;
        while std::mem::replace(&mut last, self.messages()) != self.messages() || last != self.messages() {
            std::thread::sleep(Duration::from_millis(60));
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // The count is what matters; an error of the last read changes nothing.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn drain(&self, socket: &UdpSocket) -> io::Result<()> {
        const DATAGRAMS: usize = 64;
        let mut batch = Batch::new(DATAGRAMS, 2048);
        while !self.stop.load(Relaxed) {
            let count = match batch.receive(socket) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                    continue;
                }
                count => count?,
            };
            if let Some(ledger) = &self.ledger {
                let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
                batch.datagrams().for_each(|(bytes, _)| ledger.enter(number_of(bytes)));
            }
            self.messages.fetch_add(count as u64, Relaxed);
        }
        Ok(())
    }
}
