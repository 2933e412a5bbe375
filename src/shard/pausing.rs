//! Connections that bring more than there is room for: they are not read until there is, so that their peers wait.
//!
//! ```text
//!  a message finds no room ──► again ─► its connection: paused ─ what still comes ─► backlog
//!  room in the other's box ──► again is empty ─► backlog, piece by piece ─► read on
//! ```
//!
//! What was cut out of a piece is handled as a whole, so that what is kept of a connection is what its socket gave, whatever its
//! layer is; what finds no room meanwhile goes behind the first such message. What other shards have sent is read all the while:
//! two whose boxes are full make room for each other. Who asks, and takes no answers, is not heard until it does.

use std::collections::VecDeque;

use super::handler::Handler;
use super::post::Lane;
use super::worker::Worker;
use crate::engine::Io;
use crate::limits;
use crate::stream::StreamId;

/// Pieces that a connection brings before others that were paused have their turn: two hold a message of most sizes whole.
const PIECES_IN_TURN: usize = 2;

/// Connections that are paused until there is room, in the order in which they go on.
#[derive(Default)]
pub(super) struct Paused(VecDeque<Waits>);

struct Waits {
    stream: StreamId,
    /// A message of it waits for room with that shard.
    behind: Option<u16>,
}

impl Paused {
    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<S, H: Handler> Worker<S, H> {
    /// Reads no more of a connection until there is room. `behind`: a message of it waits for that with this shard.
    pub(super) fn pause<I: Io<Source = S>>(&mut self, io: &mut I, stream: StreamId, behind: Option<u16>) {
        if self.is_new_pause(io, stream) {
            self.paused.0.push_back(Waits { stream, behind });
        }
    }

    /// The same, until the peer has taken what is sent to it.
    fn pause_for_peer<I: Io<Source = S>>(&mut self, io: &mut I, stream: StreamId) {
        if self.is_new_pause(io, stream) {
            self.streams.wait_for_peer(stream);
        }
    }

    /// `false`: it was paused before, or is being closed.
    fn is_new_pause<I: Io<Source = S>>(&mut self, io: &mut I, stream: StreamId) -> bool {
        let is_new = self.streams.pause(stream, self.now);
        if is_new {
            self.metrics.streams.paused.count();
            io.pause(stream);
        }
        is_new
    }

    /// Pauses a connection that is to be read, where what comes by it may find no room.
    fn look_for_room<I: Io<Source = S>>(&mut self, io: &mut I, stream: StreamId) {
        if self.has_no_room() {
            self.pause(io, stream, None);
        } else if self.streams.asks_too_much(stream) {
            self.pause_for_peer(io, stream);
        }
    }

    /// What has come in by a connection waits until that is read again, where it is not now; `false`: it does not.
    #[inline]
    pub(super) fn waits_for_room<I: Io<Source = S>>(
        &mut self,
        io: &mut I,
        stream: StreamId,
        bytes: &[u8],
    ) -> bool {
        (self.has_no_room() || !self.streams.is_read_on(stream)) && self.may_wait_for_room(io, stream, bytes)
    }

    #[cold]
    fn may_wait_for_room<I: Io<Source = S>>(&mut self, io: &mut I, stream: StreamId, bytes: &[u8]) -> bool {
        if !bytes.is_empty() {
            self.look_for_room(io, stream);
        }
        let waits = self.streams.keep_for_later(stream, bytes);
        if waits {
            self.keep_less(io);
            self.metrics.streams.kept_bytes.set(self.streams.kept_bytes() as u64);
        }
        waits
    }

    /// What comes by any connection may find none.
    fn has_no_room(&self) -> bool {
        self.again.is_half_full(Lane::Arrives) || self.again.is_half_full(Lane::Leaves)
    }

    /// A peer has taken something of what is sent to it: its connection may go on.
    #[cold]
    pub(super) fn on_taken(&mut self, stream: StreamId) {
        if self.streams.may_ask(stream) {
            self.paused.0.push_back(Waits { stream, behind: None });
            self.again.is_due(self.now);
        }
    }

    /// Goes on with the connections that there is room for, and no further than their answers find room by the next batch.
    pub(super) fn resume_streams<I: Io<Source = S>>(&mut self, io: &mut I) {
        let mut pieces = (self.streams.queue_bytes() / 4 / limits::STREAM_BUFFER_BYTES).max(1);
        let mut have_more = false;
        for _ in 0..self.paused.0.len() {
            if pieces == 0 || self.has_no_room() {
                break;
            }
            let Some(Waits { stream, behind }) = self.paused.0.pop_front() else { break };
            if behind.is_some_and(|shard| self.again.waits_for(shard, Lane::Arrives)) {
                self.paused.0.push_back(Waits { stream, behind });
            } else if self.streams.asks_too_much(stream) {
                self.streams.wait_for_peer(stream);
            } else {
                let turn = pieces.min(PIECES_IN_TURN);
                let (taken, has_more) = self.resume(io, stream, turn);
                pieces -= taken;
                have_more |= has_more;
            }
        }
        if have_more || pieces == 0 {
            self.again.is_due(self.now);
        }
    }

    /// Goes on with a connection by so many pieces at most; how many it were, and whether there are more that there is room for.
    fn resume<I: Io<Source = S>>(&mut self, io: &mut I, stream: StreamId, most: usize) -> (usize, bool) {
        // It may have ended.
        let Some(mut backlog) = self.streams.take_backlog(stream, self.now) else { return (0, false) };
        let mut taken = 0;
        loop {
            let is_others_turn = taken == most && !backlog.is_read();
            if is_others_turn {
                self.wait_for_turn(stream);
            } else if !backlog.is_read() {
                self.look_for_room(io, stream);
            }
            if self.streams.is_paused(stream) {
                self.streams.put_backlog(stream, backlog);
                return (taken, is_others_turn);
            }
            if !self.is_read(stream) {
                return (taken, false);
            }
            let Some(piece) = backlog.next_piece() else { break };
            taken += 1;
            self.receive(io, stream, piece);
        }
        if backlog.has_end() {
            self.receive(io, stream, &[]);
        } else {
            io.resume(stream);
        }
        (taken, false)
    }

    /// A connection that the engine does not read yet waits until the others have had their turns.
    fn wait_for_turn(&mut self, stream: StreamId) {
        if self.streams.pause(stream, self.now) {
            self.paused.0.push_back(Waits { stream, behind: None });
        }
    }
}
