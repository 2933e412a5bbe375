//! Sockets: read while they can be, waited for when they cannot, and read until they are empty before they are closed.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use super::ready::{Readable, Who};
use super::{Engine, errno};
use crate::engine::files::{self, ACCEPTED_PER_BATCH, REST_NS};
use crate::engine::slots::Care;
use crate::engine::socket::{Received, Socket};
use crate::engine::{Accepted, Event, Shard, SocketId};
use crate::limits::{RECEIVE_BUFFERS, SENDS_PER_SUBMIT};
use crate::net::Now;

/// What reading a socket has come to.
enum Left {
    /// There was nothing more.
    Nothing,
    /// There may be more.
    More,
    /// It failed with this error number.
    Failed(i32),
}

impl Engine<'_> {
    /// Something came in on a socket: some of it is read, and if that is not all, the rest in the next turn.
    pub(super) fn socket_is_ready(&mut self, shard: &mut impl Shard<Self>, on: SocketId) {
        self.forget_wait(on);
        let Some(socket) = self.slots.get(on).map(Arc::clone) else { return };
        let left = if socket.is_stream() {
            self.accept(shard, on, &socket)
        } else {
            self.receive(shard, on, &socket, SENDS_PER_SUBMIT)
        };
        match left {
            Left::Nothing => self.slots.ended(on, 0),
            Left::More => self.ready.again(Who::Socket(on)),
            // The process may have no more files: those that end make room.
            Left::Failed(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS)
                if socket.is_stream() =>
            {
                self.metrics.accepts_failed.count();
                self.rest(on);
            }
            Left::Failed(errno) => self.slots.ended(on, errno),
        }
    }

    fn receive(&mut self, shard: &mut impl Shard<Self>, on: SocketId, socket: &Socket, most: usize) -> Left {
        let mut bytes = std::mem::take(&mut self.datagram);
        let left = (0..most).find_map(|_| self.receive_one(shard, on, socket, &mut bytes));
        self.datagram = bytes;
        left.unwrap_or(Left::More)
    }

    /// `None`: a datagram came.
    fn receive_one(
        &mut self,
        shard: &mut impl Shard<Self>,
        on: SocketId,
        socket: &Socket,
        bytes: &mut Vec<u8>,
    ) -> Option<Left> {
        match socket.receive(bytes) {
            Ok(Received { from, truncated, received_ns }) => {
                self.slots.went_well(on);
                self.clock.received(received_ns);
                shard.on_event(self, Event::Datagram { on, from, bytes, truncated });
                self.tell(shard);
                None
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(Left::Nothing),
            Err(error) => Some(Left::Failed(errno(&error))),
        }
    }

    fn accept(&mut self, shard: &mut impl Shard<Self>, on: SocketId, socket: &Socket) -> Left {
        for _ in 0..ACCEPTED_PER_BATCH {
            match socket.accept() {
                Ok(accepted) => {
                    self.slots.went_well(on);
                    self.pass_on(shard, on, accepted);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Left::Nothing,
                // One that was gone again is no reason to leave those behind it.
                Err(error) if errno(&error) == libc::ECONNABORTED => {}
                Err(error) => return Left::Failed(errno(&error)),
            }
        }
        Left::More
    }

    /// Tells the shard of a connection, unless it is gone again or takes what others need.
    fn pass_on(&mut self, shard: &mut impl Shard<Self>, on: SocketId, socket: OwnedFd) {
        if socket.as_raw_fd() >= self.accept_below {
            self.metrics.accepts_failed.count();
            return files::refuse(Accepted::Socket(socket));
        }
        let Some(from) = files::peer(&socket) else { return };
        shard.on_event(self, Event::Accepted { on, from, accepted: Accepted::Socket(socket) });
        self.tell(shard);
    }

    /// Begins to wait for the sockets that have been read until they were empty.
    pub(super) fn wait_for_sockets(&mut self) {
        while let Some((on, _)) = self.slots.next_unarmed() {
            let Some(socket) = self.slots.get(on) else { continue };
            match Readable::begin(socket, self.ready.waker(Who::Socket(on))) {
                Ok(wait) => self.waits[usize::from(on.0)] = Some(wait),
                Err(_) => self.rest(on),
            }
        }
    }

    /// Leaves a socket alone for a while: the process may have no more files, and would hear the same at once.
    fn rest(&mut self, on: SocketId) {
        self.streams.resting.push(on);
        self.streams.rest_until = self.clock.now.plus_ns(REST_NS);
    }

    fn forget_wait(&mut self, on: SocketId) {
        if let Some(wait) = self.waits.get_mut(usize::from(on.0)) {
            *wait = None;
        }
    }

    /// Does what the closing sockets need: waits for them no longer, empties them, lets go of them.
    pub(super) fn look_after_closing(&mut self, shard: &mut impl Shard<Self>) {
        while let Some(on) = self.refused.pop() {
            shard.on_event(self, Event::Closed { on });
        }
        let mut next = 0;
        while let Some((on, care)) = self.slots.care(next) {
            match care {
                Care::Cancel => {
                    self.forget_wait(on);
                    self.slots.ended(on, libc::ECANCELED);
                    continue;
                }
                Care::Empty(by) if self.empty(shard, on, by) => {
                    self.forget_wait(on);
                    self.slots.remove(on);
                    shard.on_event(self, Event::Closed { on });
                    continue;
                }
                Care::Empty(_) | Care::Wait => {}
            }
            next += 1;
        }
        self.tell(shard);
    }

    /// Reads what a socket still has, a batch at a time; true: that was all, or its time is over.
    fn empty(&mut self, shard: &mut impl Shard<Self>, on: SocketId, by: Now) -> bool {
        let Some(socket) = self.slots.get(on).map(Arc::clone) else { return true };
        let left = if socket.is_stream() {
            self.accept(shard, on, &socket)
        } else {
            self.receive(shard, on, &socket, RECEIVE_BUFFERS.into())
        };
        match left {
            Left::Nothing => true,
            // Told by ICMP since the last call; what is queued is still there.
            Left::Failed(_) if !socket.is_stream() => self.clock.now >= by,
            Left::Failed(_) => true,
            Left::More => self.clock.now >= by,
        }
    }
}
