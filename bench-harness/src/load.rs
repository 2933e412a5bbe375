//! Open-loop load: a generator that keeps to its schedule whatever comes back, and a sink that drains.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::sockopt::{RcvBuf, RcvBufForce};
use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmsg, setsockopt,
};

use crate::messages::{Template, number_of};

/// The generator wakes this often and sends what is due.
const TICK: Duration = Duration::from_micros(200);
/// Most messages of one UDP_SEGMENT send: the kernel's limit of segments and the datagram's of bytes.
const SEGMENTS: usize = 64;

/// The sink's receive buffer in bytes: 50 ms at 100,000 messages a second.
const BUFFER: usize = 8 << 20;

/// What a run of the generator came to.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Messages sent.
    pub messages: u64,
    /// Messages the schedule asked for; more than `messages` means that the generator was the limit.
    pub scheduled: u64,
}

impl Sent {
    /// The generator kept to its schedule: it was not the limit.
    pub fn on_schedule(&self) -> bool {
        self.messages * 1000 >= self.scheduled * 995
    }
}

/// Sends INVITEs at a rate.
pub struct Generator {
    socket: UdpSocket,
    template: Template,
    number: u32,
    buffer: Vec<u8>,
}

impl Generator {
    /// A generator that calls users at `callee`.
    pub fn new(socket: UdpSocket, callee: SocketAddr) -> io::Result<Self> {
        let template = Template::invite(socket.local_addr()?, callee);
        socket.set_nonblocking(false)?;
        Ok(Self { socket, template, number: 0, buffer: Vec::with_capacity(SEGMENTS * 1024) })
    }

    /// Calls users at another address from now on, with numbers that go on.
    pub fn call(&mut self, callee: SocketAddr) -> io::Result<()> {
        self.template = Template::invite(self.socket.local_addr()?, callee);
        Ok(())
    }

    /// Numbers the messages from here on.
    pub fn number_from(&mut self, number: u32) {
        self.number = number;
    }

    /// Length of each message in bytes.
    pub fn message_len(&self) -> usize {
        self.template.len()
    }

    /// Sends `rate` messages a second for `length`, evenly in ticks; distinct over the generator's life.
    pub fn run(&mut self, to: SocketAddr, rate: u64, length: Duration) -> io::Result<Sent> {
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
                return Ok(Sent { messages, scheduled });
            }
            std::thread::sleep(TICK.saturating_sub(begin.elapsed() - elapsed));
        }
    }

    fn burst(&mut self, to: SocketAddr, count: usize) -> io::Result<()> {
        self.buffer.clear();
        for _ in 0..count {
            self.template.append(self.number, &mut self.buffer);
            self.number = self.number.wrapping_add(1);
        }
        let segment = self.template.len() as u16;
        let control = [ControlMessage::UdpGsoSegments(&segment)];
        let slices = [IoSlice::new(&self.buffer)];
        let to = SockaddrStorage::from(to);
        match sendmsg(self.socket.as_raw_fd(), &slices, &control, MsgFlags::empty(), Some(&to)) {
            Ok(_) => Ok(()),
            // An ICMP error of an earlier send; the datagrams count as sent and lost.
            Err(nix::errno::Errno::ECONNREFUSED) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
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
    last_len: AtomicU64,
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

    /// Length of the last message in bytes.
    pub fn last_len(&self) -> u64 {
        self.shared.last_len.load(Relaxed)
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
        const BATCH: usize = 64;
        let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(BATCH, None);
        let mut buffers = vec![[0u8; 2048]; BATCH];
        while !self.stop.load(Relaxed) {
            let mut slices: Vec<_> = buffers.iter_mut().map(|b| [IoSliceMut::new(b)]).collect();
            let received =
                recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), MsgFlags::MSG_WAITFORONE, None);
            let mut lengths = [0; BATCH];
            let (count, len) = match received {
                Ok(messages) => messages.fold((0, 0), |(count, _), m| {
                    lengths[count] = m.bytes;
                    (count + 1, m.bytes)
                }),
                Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            if let Some(ledger) = &self.ledger {
                let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
                for (buffer, len) in buffers.iter().zip(&lengths[..count]) {
                    ledger.enter(number_of(&buffer[..(*len).min(buffer.len())]));
                }
            }
            self.messages.fetch_add(count as u64, Relaxed);
            self.last_len.store(len as u64, Relaxed);
        }
        Ok(())
    }
}
