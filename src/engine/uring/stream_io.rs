//! What the engine does for streams: accepts, connects, receives, sends and closes.
//!
//! Sockets are made, shut and closed by calls of their own, not by the ring: that is a few for each connection, not for
//! each message, and the ring would hand some of them to a thread.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use io_uring::squeue::Flags;
use io_uring::types::Fd;
use io_uring::{cqueue, opcode};
use socket2::SockRef;

use super::address::{Address, BYTES};
use super::ring::{Completion, Kind};
use super::{Engine, Event, Shard, SocketId, chunks};
use crate::engine::Accepted;
use crate::engine::files::{self, REST_NS};
use crate::engine::streams::Care;
use crate::limits::{STREAM_LINGER_NS, STREAM_QUEUE_MOST_BYTES};
use crate::stream::StreamId;

/// A stream's socket.
pub struct Link {
    socket: OwnedFd,
    /// Where it is connected to, for the kernel, until that has begun.
    to: Address,
}

impl From<OwnedFd> for Link {
    fn from(socket: OwnedFd) -> Self {
        Self { socket, to: Address([0; BYTES]) }
    }
}

impl AsRawFd for Link {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Engine<'_> {
    /// Somebody has connected, or the accept has ended.
    pub(super) fn accepted(&mut self, shard: &mut impl Shard<Self>, on: SocketId, completion: Completion) {
        let Completion { result, flags, .. } = completion;
        if result >= 0 {
            // SAFETY: the completion gives a new descriptor, which nobody else knows.
            let socket = unsafe { OwnedFd::from_raw_fd(result) };
            self.pass_on(shard, on, socket);
        }
        if cqueue::more(flags) {
            return self.slots.went_well(on);
        }
        // The process may have no more files: those that end make room.
        if matches!(-result, libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS) {
            self.metrics.accepts_failed.count();
            // The kernel would say the same at once.
            self.streams.resting.push(on);
            self.streams.rest_until = self.clock.now.plus_ns(REST_NS);
            return;
        }
        let passing = result >= 0 || -result == libc::ECONNABORTED;
        self.slots.ended(on, if passing { 0 } else { -result });
    }

    /// Tells the shard of a connection, unless it is gone again or takes what others need.
    pub(super) fn pass_on(&mut self, shard: &mut impl Shard<Self>, on: SocketId, socket: OwnedFd) {
        if socket.as_raw_fd() >= self.accept_below {
            self.metrics.accepts_failed.count();
            return files::refuse(Accepted::Socket(socket));
        }
        let Some(from) = files::peer(&socket) else { return };
        let accepted = Accepted::Socket(socket);
        shard.on_event(self, Event::Accepted { on, from, accepted });
    }

    pub(super) fn begin_to_connect(&mut self, on: SocketId, to: SocketAddr) -> Option<StreamId> {
        let socket = self.slots.get(on)?.outward().ok()?;
        let id = self.streams.insert(socket.into(), true)?;
        self.streams.unconnected.push((id, to));
        Some(id)
    }

    /// Begins the connects that are to begin: at the end of a batch, so that none begins whose stream is over by then.
    fn connect_streams(&mut self) {
        while let Some((id, to)) = self.streams.unconnected.pop() {
            let Some(stream) = self.streams.get(id) else { continue };
            if stream.is_gone() {
                stream.is_connecting = false;
                self.streams.changed(id);
                continue;
            }
            let len = stream.socket.to.set(to);
            let address = (&raw const stream.socket.to).cast();
            let entry = opcode::Connect::new(Fd(stream.fd()), address, len).build();
            // SAFETY: the address stands in memory of the stream's own, which stays until the connect has ended.
            if unsafe { self.ring.push(&entry.user_data(Kind::Connect.of_stream(id))) }.is_err() {
                stream.is_connecting = false;
                self.streams.fail(id, libc::EAGAIN);
            }
        }
    }

    pub(super) fn connected(&mut self, shard: &mut impl Shard<Self>, completion: Completion) {
        let id = completion.stream();
        let Some(stream) = self.streams.get(id) else { return };
        stream.is_connecting = false;
        if stream.is_over {
            return self.streams.changed(id);
        }
        if completion.result < 0 {
            return self.end_stream(shard, id, -completion.result, false);
        }
        self.streams.arm(id, self.clock.now);
        self.streams.changed(id);
        self.streams.list(id);
        shard.on_event(self, Event::Connected { stream: id });
    }

    pub(super) fn take_over_accepted(&mut self, accepted: Accepted) -> Option<StreamId> {
        let Accepted::Socket(socket) = accepted else { return None };
        let id = self.streams.insert(socket.into(), false)?;
        self.streams.arm(id, self.clock.now);
        Some(id)
    }

    pub(super) fn stream_received(&mut self, shard: &mut impl Shard<Self>, completion: Completion) {
        let Completion { result, flags, .. } = completion;
        let id = completion.stream();
        let lives = |engine: &mut Self| {
            engine.streams.get(id).is_some_and(|stream| !stream.is_over && !stream.is_finishing())
        };
        if let Some(buffer) = cqueue::buffer_select(flags) {
            if let Ok(len @ 1..) = usize::try_from(result)
                && lives(self)
            {
                // SAFETY: the completion says that the kernel has filled the buffer; it is given back
                // below, after the event that borrows it.
                let bytes = unsafe { self.chunks.read(buffer, len) };
                shard.on_event(self, Event::Received { stream: id, bytes });
                self.streams.was_read(id);
            }
            self.chunks.give_back(buffer);
        }
        if cqueue::more(flags) {
            return;
        }
        self.ring.writer_ended();
        let Some(stream) = self.streams.get(id) else { return };
        stream.is_receiving = false;
        stream.is_read |= result == 0;
        self.streams.changed(id);
        match result {
            0 => {
                if lives(self) {
                    shard.on_event(self, Event::Received { stream: id, bytes: &[] });
                }
            }
            1.. => self.streams.arm(id, self.clock.now),
            error => match -error {
                libc::ENOBUFS => self.starved(id),
                // It was paused, and may have been resumed since.
                libc::EINTR | libc::EAGAIN | libc::ECANCELED => self.streams.arm(id, self.clock.now),
                errno => self.end_stream(shard, id, errno, false),
            },
        }
    }

    /// A stream has found no receive buffer.
    fn starved(&mut self, id: StreamId) {
        if self.chunks.is_all_lent() {
            self.metrics.receive_starved.count();
        }
        self.streams.starved(id, self.clock.now);
    }

    pub(super) fn stream_sent(&mut self, shard: &mut impl Shard<Self>, completion: Completion) {
        if completion.is(Kind::StreamSend) {
            self.ring.writer_ended();
        }
        let id = completion.stream();
        let taken = usize::try_from(completion.result).unwrap_or(0);
        self.streams.took(id, taken);
        if self.streams.get(id).is_none_or(|stream| stream.is_over) {
            return;
        }
        match -completion.result {
            // None was taken: the peer has closed, or the kernel says why.
            0 => self.end_stream(shard, id, libc::EPIPE, false),
            errno @ 1.. if errno != libc::EINTR && errno != libc::EAGAIN => {
                self.end_stream(shard, id, errno, false)
            }
            _ if taken > 0 => shard.on_event(self, Event::Wrote { stream: id, bytes: taken }),
            _ => {}
        }
    }

    /// Tells the shard of the sends that were tried at once and that the kernel has taken.
    pub(super) fn settle_streams(&mut self, shard: &mut impl Shard<Self>) {
        let mut sent = std::mem::take(&mut self.streams.at_once);
        for id in sent.drain(..) {
            if let Some(bytes) = self.streams.took_at_once(id) {
                shard.on_event(self, Event::Wrote { stream: id, bytes });
            }
        }
        self.streams.at_once = sent;
    }

    /// Begins to send what was written, all of a stream at a time.
    pub(super) fn send_streams(&mut self) {
        while let Some(id) = self.streams.next_unsent() {
            if !self.start_send(id) {
                self.streams.fail(id, libc::EAGAIN);
            }
        }
    }

    /// `false`: the ring takes nothing.
    fn start_send(&mut self, id: StreamId) -> bool {
        let Some(stream) = self.streams.get(id) else { return true };
        if stream.is_gone() || stream.is_connecting || stream.is_sending || !stream.has_more() {
            return true;
        }
        let (fd, waits) = (Fd(stream.fd()), stream.is_patient);
        let bytes = stream.next_bytes();
        let len = bytes.len().min(STREAM_QUEUE_MOST_BYTES) as u32;
        let entry = opcode::Send::new(fd, bytes.as_ptr(), len);
        // SAFETY: the bytes are the stream's, which neither changes nor moves them before the send has ended, and which
        // stays until then. One that does not wait has ended when it was submitted, and `settle` comes after that.
        let pushed = unsafe {
            if waits {
                let entry = entry.flags(libc::MSG_NOSIGNAL).build();
                self.ring.push_writer(&entry.user_data(Kind::StreamSend.of_stream(id)))
            } else {
                // A part of it is a failure, which is told: MSG_WAITALL.
                let entry = entry.flags(libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT | libc::MSG_WAITALL).build();
                let data = Kind::StreamSendAtOnce.of_stream(id);
                self.ring.push(&entry.flags(Flags::SKIP_SUCCESS).user_data(data))
            }
        };
        stream.is_sending = pushed.is_ok();
        let (is_at_once, has_further) = (stream.is_sending && !waits, stream.has_further());
        if is_at_once {
            self.streams.at_once.push(id);
            // Nothing but the next batch sends what is behind it.
            self.streams.is_news |= has_further;
        }
        pushed.is_ok()
    }

    /// A stream is over for its shard; what is under way on it is ended.
    fn end_stream(&mut self, shard: &mut impl Shard<Self>, id: StreamId, errno: i32, reset: bool) {
        if !self.streams.over(id) {
            return;
        }
        if let Some(stream) = self.streams.get(id) {
            // SAFETY: asks for no memory. Where it fails the connection is gone already.
            unsafe { libc::shutdown(stream.fd(), libc::SHUT_RDWR) };
            if reset {
                // SAFETY: the descriptor is the stream's, which stays open meanwhile.
                let socket = unsafe { std::os::fd::BorrowedFd::borrow_raw(stream.fd()) };
                let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
            }
        }
        shard.on_event(self, Event::Ended { stream: id, errno });
    }

    /// Does what the closing streams need.
    pub(super) fn look_after_streams(&mut self, shard: &mut impl Shard<Self>) {
        self.streams.is_news = false;
        if self.clock.now >= self.streams.rest_until {
            while let Some(on) = self.streams.resting.pop() {
                self.slots.ended(on, 0);
            }
        }
        while let Some((id, errno)) = self.streams.next_failed() {
            self.end_stream(shard, id, errno, true);
        }
        while let Some((id, care)) = self.streams.next_care(self.clock.now) {
            match care {
                Care::Shut => {
                    if let Some(stream) = self.streams.get(id) {
                        stream.is_shut = true;
                        // SAFETY: asks for no memory.
                        unsafe { libc::shutdown(stream.fd(), libc::SHUT_WR) };
                    }
                }
                Care::End => self.end_stream(shard, id, 0, false),
                Care::Reset => self.end_stream(shard, id, 0, true),
                Care::Gone => self.streams.remove(id),
                Care::Wait => {}
            }
        }
    }

    /// Begins the connects, the sends and the receives that are to begin.
    pub(super) fn arm_streams(&mut self) -> io::Result<()> {
        self.connect_streams();
        self.send_streams();
        self.chunks.lend();
        self.streams.settle_armed(self.clock.now);
        while let Some(id) = self.streams.next_paused() {
            let cancel = opcode::AsyncCancel::new(Kind::StreamReceive.of_stream(id)).build();
            // SAFETY: the entry points to nothing.
            unsafe { self.ring.push(&cancel.user_data(Kind::StreamCancel.of_stream(id))) }?;
        }
        // Each takes a buffer at least: more would only be told that there are none.
        for _ in 0..self.chunks.lent() {
            let Some(id) = self.streams.next_unarmed() else { break };
            let Some(stream) = self.streams.get(id) else { continue };
            let entry = opcode::RecvMulti::new(Fd(stream.fd()), chunks::GROUP).build();
            // SAFETY: the buffers stay until the ring has ended all receives (`Drop`).
            unsafe { self.ring.push_writer(&entry.user_data(Kind::StreamReceive.of_stream(id))) }?;
        }
        self.streams.is_news |= self.streams.any_unarmed();
        Ok(())
    }

    /// Closes a stream once all is sent, or when that has taken too long.
    pub(super) fn finish_stream(&mut self, id: StreamId) {
        // Only what is read says when the peer has closed.
        self.streams.resume(id, self.clock.now);
        self.streams.finish(id, self.clock.now.plus_ns(STREAM_LINGER_NS));
    }
}
