//! Sockets that are being closed: their receives are cancelled, they are read until they are empty, and let go of.

use std::io;
use std::sync::Arc;

use io_uring::opcode;

use super::ring::Kind;
use super::{Engine, Event, Shard, SocketId};
use crate::engine::files::ACCEPTED_PER_BATCH;
use crate::engine::slots::Care;
use crate::engine::socket::Received;
use crate::limits::{MESSAGE_BYTES, RECEIVE_BUFFERS};
use crate::net::Now;

impl Engine<'_> {
    /// Does what the closing sockets need: cancels their receives, empties them, lets go of them.
    pub(super) fn look_after_closing(&mut self, shard: &mut impl Shard<Self>) -> io::Result<()> {
        while let Some(on) = self.refused.pop() {
            shard.on_event(self, Event::Closed { on });
        }
        let mut next = 0;
        while let Some((id, care)) = self.slots.care(next) {
            match care {
                Care::Cancel => {
                    let is_stream = self.slots.get(id).is_some_and(|socket| socket.is_stream());
                    let kind = if is_stream { Kind::Accept } else { Kind::Receive };
                    let cancel = opcode::AsyncCancel::new(kind.with(id.0)).build();
                    // SAFETY: the entry points to nothing.
                    unsafe { self.ring.push(&cancel.user_data(Kind::Cancel.with(id.0))) }?;
                }
                Care::Empty(by) if self.empty(shard, id, by)? => {
                    self.let_go(shard, id)?;
                    continue;
                }
                Care::Empty(_) | Care::Wait => {}
            }
            next += 1;
        }
        Ok(())
    }

    /// Reads what a socket without a receive still has, a batch at a time; true: that was all.
    fn empty(&mut self, shard: &mut impl Shard<Self>, on: SocketId, by: Now) -> io::Result<bool> {
        let Some(socket) = self.slots.get(on).map(Arc::clone) else { return Ok(true) };
        if socket.is_stream() {
            for _ in 0..ACCEPTED_PER_BATCH {
                match socket.accept() {
                    Ok(accepted) => self.pass_on(shard, on, accepted),
                    // One that was gone again is no reason to leave those behind it.
                    Err(error) if error.raw_os_error() == Some(libc::ECONNABORTED) => {}
                    Err(_) => return Ok(true),
                }
            }
            return Ok(self.clock.now >= by);
        }
        let mut bytes = Vec::with_capacity(MESSAGE_BYTES);
        for _ in 0..RECEIVE_BUFFERS {
            match socket.receive(&mut bytes) {
                Ok(Received { from, truncated, received_ns }) => {
                    let before = self.unsubmitted();
                    self.clock.received(received_ns);
                    shard.on_event(self, Event::Datagram { on, from, bytes: &bytes, truncated });
                    self.send_many(shard, before)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                // Told to us by ICMP since the last call; what is queued is still there.
                Err(_) => {}
            }
        }
        Ok(self.clock.now >= by)
    }

    fn let_go(&mut self, shard: &mut impl Shard<Self>, on: SocketId) -> io::Result<()> {
        // What is sent from it leaves before its number may mean another socket.
        self.send_all(shard)?;
        // Where the table cannot be changed, the next socket of this number replaces the entry.
        let _ = self.ring.set_file(on.0, -1);
        self.slots.remove(on);
        shard.on_event(self, Event::Closed { on });
        Ok(())
    }
}
