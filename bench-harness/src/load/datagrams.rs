//! The load over UDP: sends in batches, drains both sides.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::sockopt::{RcvBuf, RcvBufForce, SndBuf, SndBufForce};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg, setsockopt};
use nix::sys::time::TimeSpec;
use viaduct::engine::socket::receive_drops;

use super::driver::Carrier;
use super::exchanges::{Item, Outbox, Settings, Side};
use crate::mmsg::Batch;

/// Most datagrams of one UDP_SEGMENT send: the kernel's limit of segments.
const SEGMENTS: usize = 64;
/// What fits one frame with room for headers; longer datagrams go singly, as fragments.
const SEGMENT_BYTES: usize = 1400;
/// What one UDP_SEGMENT send may hold in all.
const SEGMENTED_BYTES: usize = 65_000;
/// Datagrams taken at once.
const BATCH: usize = 64;
/// Longest message that the load takes in bytes.
const MESSAGE_BYTES: usize = 8192;
/// Socket buffers in bytes: 50 ms at 100,000 messages a second.
const BUFFER: usize = 8 << 20;

/// A socket for each caller, and the callee's.
pub struct Datagrams {
    callers: Vec<UdpSocket>,
    callee: UdpSocket,
    batch: Batch,
}

impl Datagrams {
    /// With these sockets, whose buffers it makes large.
    pub fn new(callers: Vec<UdpSocket>, callee: UdpSocket) -> io::Result<Self> {
        for socket in callers.iter().chain([&callee]) {
            socket.set_nonblocking(true)?;
            // Without the right to force them the kernel's limit holds.
            setsockopt(socket, RcvBufForce, &BUFFER).or_else(|_| setsockopt(socket, RcvBuf, &BUFFER))?;
            setsockopt(socket, SndBufForce, &BUFFER).or_else(|_| setsockopt(socket, SndBuf, &BUFFER))?;
        }
        Ok(Self { callers, callee, batch: Batch::new(BATCH, MESSAGE_BYTES) })
    }
}

impl Carrier for Datagrams {
    fn reset(&mut self, _: &Settings) {}

    fn clear(&mut self) -> io::Result<()> {
        while self.receive(&mut |_, _, _| {})? > 0 {}
        Ok(())
    }

    /// Neighbours of one length and destination go in one call.
    fn send(&mut self, out: &Outbox) -> io::Result<()> {
        for run in runs(&out.items) {
            let slices: Vec<IoSlice<'_>> =
                run.iter().map(|item| IoSlice::new(&out.bytes[item.range.clone()])).collect();
            let socket = match run[0].by {
                Side::Caller(caller) => &self.callers[caller],
                Side::Callee => &self.callee,
            };
            send(socket, run[0].to, &slices, run[0].range.len() as u16)?;
        }
        Ok(())
    }

    /// A batch of each socket.
    fn receive(&mut self, give: &mut dyn FnMut(Side, &[u8], SocketAddr)) -> io::Result<usize> {
        let mut count = 0;
        for (number, caller) in self.callers.iter().enumerate() {
            count += take(&mut self.batch, caller)?;
            self.batch.datagrams().for_each(|(bytes, from)| give(Side::Caller(number), bytes, from));
        }
        count += take(&mut self.batch, &self.callee)?;
        self.batch.datagrams().for_each(|(bytes, from)| give(Side::Callee, bytes, from));
        Ok(count)
    }

    fn wait(&self, nap: Duration) -> io::Result<()> {
        let sockets = self.callers.iter().chain([&self.callee]);
        wait(sockets.map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)).collect(), nap)
    }

    fn drops(&self) -> io::Result<u64> {
        self.callers
            .iter()
            .chain([&self.callee])
            .map(|socket| receive_drops(socket.as_raw_fd()).map(u64::from))
            .sum()
    }

    fn connections(&self) -> (u64, u64) {
        (0, 0)
    }
}

/// Waits until one of them has what is asked for.
pub fn wait(mut places: Vec<PollFd<'_>>, nap: Duration) -> io::Result<()> {
    match ppoll(&mut places, Some(TimeSpec::from_duration(nap)), None) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Items in runs that one send can take; the order between runs of one sender and destination is kept as far as
/// each run begins after the one before it.
fn runs(items: &[Item]) -> Vec<Vec<&Item>> {
    let mut runs: Vec<Vec<&Item>> = Vec::new();
    let mut open: VecDeque<usize> = VecDeque::new();
    for item in items {
        let len = item.range.len();
        let fits = |run: &Vec<&Item>| {
            let first = run[0];
            first.range.len() == len
                && len <= SEGMENT_BYTES
                && first.by == item.by
                && first.to == item.to
                && run.len() < SEGMENTS
                && (run.len() + 1) * len <= SEGMENTED_BYTES
        };
        match open.iter().copied().find(|place| fits(&runs[*place])) {
            Some(place) => runs[place].push(item),
            None => {
                open.push_front(runs.len());
                // More kinds than these are not worth the search.
                open.truncate(8);
                runs.push(vec![item]);
            }
        }
    }
    runs
}

/// Sends datagrams of one length.
fn send(socket: &UdpSocket, to: SocketAddr, slices: &[IoSlice<'_>], len: u16) -> io::Result<()> {
    let segments = [ControlMessage::UdpGsoSegments(&len)];
    let control = if slices.len() > 1 { &segments[..] } else { &[] };
    let to = SockaddrStorage::from(to);
    loop {
        match sendmsg(socket.as_raw_fd(), slices, control, MsgFlags::empty(), Some(&to)) {
            // An ICMP error of an earlier send; the datagrams count as sent and lost.
            Ok(_) | Err(nix::errno::Errno::ECONNREFUSED) => return Ok(()),
            Err(nix::errno::Errno::EINTR) => {}
            // The device is behind: what is due waits, and the lag tells.
            Err(nix::errno::Errno::EAGAIN) => std::thread::yield_now(),
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn take(batch: &mut Batch, socket: &UdpSocket) -> io::Result<usize> {
    use io::ErrorKind::{ConnectionRefused, Interrupted, WouldBlock};
    match batch.receive(socket) {
        Err(error) if matches!(error.kind(), WouldBlock | Interrupted | ConnectionRefused) => Ok(0),
        other => other,
    }
}
