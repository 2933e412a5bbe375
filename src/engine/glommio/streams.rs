//! What the engine does for streams: connects, receives, sends and closes.

use std::io;
use std::net::Shutdown;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::task::Poll;
use std::time::Duration;

use socket2::SockRef;

use super::ready::Who;
use super::send::Told;
use super::{Engine, errno};
use crate::engine::streams::{Care, Stream};
use crate::engine::{Event, Shard};
use crate::stream::StreamId;

/// How often a stream is read in a turn; then it is the others' turn.
const READS_PER_TURN: usize = 16;

impl Engine<'_> {
    /// Takes a socket in. `None`: there are too many.
    pub(super) fn take_stream(&mut self, socket: OwnedFd, is_connecting: bool) -> Option<StreamId> {
        let id = self.streams.insert(socket.into(), is_connecting)?;
        let waker = self.ready.waker(Who::Stream(id));
        self.streams.get(id)?.socket.wakes(waker);
        if !is_connecting {
            self.streams.arm(id, self.clock.now);
        }
        Some(id)
    }

    /// A stream can go on.
    pub(super) fn stream_is_ready(&mut self, shard: &mut impl Shard<Self>, id: StreamId) {
        if self.streams.get(id).is_some_and(|stream| stream.is_connecting) {
            return self.look_at_connect(shard, id);
        }
        if let Some(stream) = self.streams.get(id) {
            stream.is_sending = false;
        }
        self.send_stream(id);
        self.tell(shard);
        self.read_stream(shard, id);
    }

    /// Begins the connects that are to begin: at the end of a turn, so that none begins whose stream is over by then.
    pub(super) fn connect_streams(&mut self) {
        while let Some((id, to)) = self.streams.unconnected.pop() {
            let Some(stream) = self.streams.get(id) else { continue };
            if stream.is_gone() {
                stream.is_connecting = false;
                self.streams.changed(id);
                continue;
            }
            match stream.socket.connect(to) {
                Ok(()) => self.ready.again(Who::Stream(id)),
                Err(error) => {
                    stream.is_connecting = false;
                    self.streams.fail(id, errno(&error));
                }
            }
        }
    }

    fn look_at_connect(&mut self, shard: &mut impl Shard<Self>, id: StreamId) {
        let Some(stream) = self.streams.get(id).filter(|stream| !stream.is_gone()) else { return };
        let Poll::Ready(how) = stream.socket.connected() else { return };
        stream.is_connecting = false;
        if let Err(error) = how {
            return self.end_stream(shard, id, errno(&error), false);
        }
        self.streams.arm(id, self.clock.now);
        self.streams.changed(id);
        self.streams.list(id);
        shard.on_event(self, Event::Connected { stream: id });
        self.tell(shard);
    }

    fn read_stream(&mut self, shard: &mut impl Shard<Self>, id: StreamId) {
        let mut chunk = std::mem::take(&mut self.chunk);
        let is_done = (0..READS_PER_TURN).any(|_| !self.read_once(shard, id, &mut chunk));
        self.chunk = chunk;
        if !is_done {
            self.ready.again(Who::Stream(id));
        }
    }

    /// False: there is nothing to read now, or ever.
    fn read_once(&mut self, shard: &mut impl Shard<Self>, id: StreamId, chunk: &mut [u8]) -> bool {
        let can_be_read = |stream: &&mut Stream<_>| !(stream.is_gone() || stream.is_read || stream.is_paused);
        let Some(stream) = self.streams.get(id).filter(can_be_read) else { return false };
        let is_heard = !stream.is_finishing();
        match stream.socket.read(chunk) {
            Poll::Pending => return false,
            Poll::Ready(Ok(len)) => {
                stream.is_read = len == 0;
                if len == 0 {
                    // A send that has failed took the reset with it, and what is read looks like an end in good order.
                    if let Some(errno) = self.streams.failure(id) {
                        self.end_stream(shard, id, errno, true);
                        return false;
                    }
                    self.streams.changed(id);
                }
                if is_heard {
                    shard.on_event(self, Event::Received { stream: id, bytes: &chunk[..len] });
                    self.tell(shard);
                }
            }
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Poll::Ready(Err(error)) => self.end_stream(shard, id, errno(&error), false),
        }
        true
    }

    /// Sends what was written since the last time.
    pub(super) fn send_streams(&mut self) {
        while let Some(id) = self.streams.next_unsent() {
            self.send_stream(id);
        }
    }

    /// Sends as much as the kernel takes; the rest follows when it takes more, and stays as it is until then.
    fn send_stream(&mut self, id: StreamId) {
        while let Some(stream) = self.streams.get(id)
            && !stream.is_gone()
            && !stream.is_connecting
            && !stream.is_sending
            && stream.has_more()
        {
            match stream.send(|socket, bytes| socket.write(bytes)) {
                Poll::Pending => {
                    stream.is_sending = true;
                    return;
                }
                // None was taken: the peer has closed.
                Poll::Ready(Ok(0)) => return self.streams.fail(id, libc::EPIPE),
                Poll::Ready(Ok(bytes)) => {
                    self.streams.took(id, bytes);
                    self.told.push(Told::Wrote { stream: id, bytes });
                }
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Ready(Err(error)) => return self.streams.fail(id, errno(&error)),
            }
        }
    }

    /// A stream is over for its shard.
    fn end_stream(&mut self, shard: &mut impl Shard<Self>, id: StreamId, errno: i32, reset: bool) {
        if let Some(stream) = self.streams.get(id) {
            // Nothing of it is the kernel's.
            (stream.is_connecting, stream.is_receiving, stream.is_sending) = (false, false, false);
        }
        if !self.streams.over(id) {
            return;
        }
        if let Some(stream) = self.streams.get(id) {
            // SAFETY: the descriptor is the stream's, which stays open meanwhile.
            let socket = unsafe { BorrowedFd::borrow_raw(stream.fd()) };
            let socket = SockRef::from(&socket);
            // Where it fails the connection is gone already.
            let _ = socket.shutdown(Shutdown::Both);
            if reset {
                let _ = socket.set_linger(Some(Duration::ZERO));
            }
        }
        shard.on_event(self, Event::Ended { stream: id, errno });
        self.tell(shard);
    }

    /// Reads the new streams, sends what waits, and does what the closing ones need.
    pub(super) fn look_after_streams(&mut self, shard: &mut impl Shard<Self>) {
        self.streams.is_news = false;
        if self.clock.now >= self.streams.rest_until {
            while let Some(on) = self.streams.resting.pop() {
                self.slots.ended(on, 0);
            }
        }
        self.streams.settle_armed(self.clock.now);
        while let Some(id) = self.streams.next_unarmed() {
            self.read_stream(shard, id);
        }
        self.send_streams();
        self.tell(shard);
        while let Some((id, errno)) = self.streams.next_failed() {
            self.end_stream(shard, id, errno, true);
        }
        while let Some((id, care)) = self.streams.next_care(self.clock.now) {
            match care {
                Care::Shut => self.shut(id),
                Care::End => self.end_stream(shard, id, 0, false),
                Care::Reset => self.end_stream(shard, id, 0, true),
                Care::Gone => self.streams.remove(id),
                Care::Wait => {}
            }
        }
    }

    fn shut(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get(id) else { return };
        stream.is_shut = true;
        // SAFETY: the descriptor is the stream's, which stays open meanwhile.
        let socket = unsafe { BorrowedFd::borrow_raw(stream.fd()) };
        // Where it fails the connection is gone already.
        let _ = SockRef::from(&socket).shutdown(Shutdown::Write);
    }
}
