//! Streams whose receives are to be started, each in its turn.
//!
//! ```text
//!  arm ──► the last of the queue ... the first ──next_unarmed──► the kernel
//!                 ▲                      ▲                           │ no buffer
//!                 └── it has read since ─│───────────────────────────┤
//!                                        └── it has read nothing ────┘
//! ```
//!
//! Where more streams can be read than there are receive buffers, those that are armed first take all of them. So whoever has
//! got none keeps its place before those that have read since.

use std::collections::VecDeque;

use super::streams::{Stream, Streams};
use crate::net::Now;
use crate::stream::StreamId;

/// Who waits to be armed.
#[derive(Default)]
pub struct Unarmed {
    queue: VecDeque<StreamId>,
    /// It was their turn, and they have found no buffer: they are the next ones, in this order.
    again: Vec<StreamId>,
    /// Those whose turn it was last, and when that was.
    tried: Vec<StreamId>,
    tried_at: Now,
    /// Their receives are to be ended.
    ending: Vec<StreamId>,
}

impl<S> Stream<S> {
    /// It is paused, and the kernel has not been told yet to end its receive.
    fn receives_for_nobody(&self) -> bool {
        self.is_paused && self.is_receiving && !self.is_cancelling && !self.is_over
    }
}

impl<S> Streams<S> {
    /// The receive of a stream is to be started, behind those that wait for the same.
    pub fn arm(&mut self, id: StreamId, now: Now) {
        let Some(stream) = self.get(id).filter(|stream| !stream.is_paused) else { return };
        stream.unread_since.get_or_insert(now);
        self.unarmed.queue.push_back(id);
    }

    /// The receive of a stream has ended because there was no buffer.
    pub fn starved(&mut self, id: StreamId, now: Now) {
        if self.get(id).is_some_and(|stream| stream.is_in_turn) {
            self.unarmed.again.push(id);
        } else {
            self.arm(id, now);
        }
    }

    /// The kernel has looked at those whose turn it was: a receive that lasts waits for the peer, and not for a buffer. Now it is
    /// the next ones' turn.
    pub fn settle_armed(&mut self, now: Now) {
        self.unarmed.tried_at = now;
        while let Some(id) = self.unarmed.again.pop() {
            self.unarmed.queue.push_front(id);
        }
        while let Some(id) = self.unarmed.tried.pop() {
            let Some(stream) = self.get(id) else { continue };
            stream.is_in_turn = false;
            if stream.is_receiving {
                stream.unread_since = None;
            }
        }
    }

    /// The next stream whose receive is to be started; it counts as started from now on.
    pub fn next_unarmed(&mut self) -> Option<StreamId> {
        while let Some(id) = self.unarmed.queue.pop_front() {
            let Some(stream) = self.get(id) else { continue };
            if stream.is_over || stream.is_receiving || stream.is_read || stream.is_paused {
                continue;
            }
            (stream.is_receiving, stream.is_in_turn) = (true, true);
            self.unarmed.tried.push(id);
            return Some(id);
        }
        None
    }

    /// Some wait to be armed.
    pub fn any_unarmed(&self) -> bool {
        !self.unarmed.queue.is_empty()
    }

    /// A stream is not to be read until [`Streams::resume`]: its shard has no room for what comes, and so it does not wait for a
    /// buffer.
    pub fn pause(&mut self, id: StreamId) {
        let Some(stream) = self.get(id) else { return };
        (stream.is_paused, stream.unread_since, stream.is_in_turn) = (true, None, false);
    }

    /// The receive of a paused stream, which the kernel goes on with by itself, is to be ended.
    pub fn end_receive(&mut self, id: StreamId) {
        if self.get(id).is_some_and(|stream| stream.receives_for_nobody()) {
            self.unarmed.ending.push(id);
        }
    }

    /// A stream is to be read again; `false`: it was not paused.
    pub fn resume(&mut self, id: StreamId, now: Now) -> bool {
        let Some(stream) = self.get(id).filter(|stream| stream.is_paused) else { return false };
        stream.is_paused = false;
        if !stream.is_receiving {
            self.arm(id, now);
        }
        true
    }

    /// The next stream whose receive is to be ended because it is paused; that counts as begun from now on.
    pub fn next_paused(&mut self) -> Option<StreamId> {
        while let Some(id) = self.unarmed.ending.pop() {
            if let Some(stream) = self.get(id).filter(|stream| stream.receives_for_nobody()) {
                stream.is_cancelling = true;
                return Some(id);
            }
        }
        None
    }

    /// The kernel has said how ending a receive went: where that one goes on all the same, it is to be ended anew.
    pub fn cancelled(&mut self, id: StreamId) {
        let Some(stream) = self.get(id) else { return };
        stream.is_cancelling = false;
        if stream.receives_for_nobody() {
            self.unarmed.ending.push(id);
            self.is_news = true;
        }
    }

    /// Bytes of a stream have been read.
    pub fn was_read(&mut self, id: StreamId) {
        if let Some(stream) = self.get(id) {
            (stream.unread_since, stream.is_in_turn) = (None, false);
        }
    }

    /// How long a stream has waited for its turn, in nanoseconds; `None`: it does not.
    pub fn unread_ns(&mut self, id: StreamId, now: Now) -> Option<u64> {
        let tried_at = self.unarmed.tried_at;
        let stream = self.get(id)?;
        let until = if stream.is_in_turn { tried_at } else { now };
        Some(until.since(stream.unread_since?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn streams(many: usize) -> (Streams<()>, Vec<StreamId>) {
        let mut streams = Streams::default();
        let ids: Vec<_> = (0..many).map(|_| streams.insert((), false).unwrap()).collect();
        ids.iter().for_each(|id| streams.arm(*id, Now(0)));
        (streams, ids)
    }

    fn ends(streams: &mut Streams<()>, id: StreamId) {
        streams.get(id).unwrap().is_receiving = false;
    }

    /// The kernel has so few buffers that they suffice for the first that is armed.
    fn turn(streams: &mut Streams<()>, armed_at_a_time: usize, now: Now) -> StreamId {
        streams.settle_armed(now);
        let armed: Vec<_> = (0..armed_at_a_time).map_while(|_| streams.next_unarmed()).collect();
        streams.was_read(armed[0]);
        for id in &armed {
            ends(streams, *id);
            streams.starved(*id, now);
        }
        armed[0]
    }

    #[test]
    fn each_has_its_turn_however_many_are_armed_at_a_time() {
        for at_a_time in [1, 2, 3, 7, 9] {
            let (mut streams, ids) = streams(7);
            let read: Vec<_> = (0..70).map(|_| turn(&mut streams, at_a_time, Now(0))).collect();
            for turns in read.chunks(7) {
                assert_eq!(turns, ids, "{at_a_time} at a time");
            }
        }
    }

    #[test]
    fn a_stream_waits_until_its_turn_in_which_it_is_read() {
        let (mut streams, ids) = streams(3);
        let at = |seconds: u64| Now(seconds * SECOND_NS);
        let read = [1, 2].map(|second| turn(&mut streams, 3, at(second)));
        assert_eq!(read, [ids[0], ids[1]]);
        let unread = |streams: &mut Streams<()>| [0, 1, 2].map(|n| streams.unread_ns(ids[n], at(9)));
        // Who was read waits anew from then on; who was not does since it is there.
        streams.settle_armed(at(3));
        assert_eq!(unread(&mut streams), [8, 7, 9].map(|seconds| Some(seconds * SECOND_NS)));
        // There are buffers again. What comes later has not waited for one.
        while streams.next_unarmed().is_some() {}
        assert_eq!(unread(&mut streams), [2, 1, 3].map(|seconds| Some(seconds * SECOND_NS)));
        streams.was_read(ids[1]);
        streams.settle_armed(at(4));
        assert_eq!((unread(&mut streams), streams.any_unarmed()), ([None; 3], false));
    }

    #[test]
    fn a_paused_stream_is_not_armed_until_it_is_resumed() {
        let (mut streams, ids) = streams(2);
        streams.pause(ids[0]);
        assert_eq!([streams.next_unarmed(), streams.next_unarmed()], [Some(ids[1]), None]);
        assert_eq!((streams.next_paused(), streams.unread_ns(ids[0], Now(9))), (None, None));
        streams.arm(ids[0], Now(9));
        assert_eq!(streams.next_unarmed(), None);
        assert!(streams.resume(ids[0], Now(9)) && !streams.resume(ids[0], Now(9)));
        assert_eq!(streams.next_unarmed(), Some(ids[0]));
    }

    #[test]
    fn the_receive_of_a_paused_stream_is_ended_until_the_kernel_has_done_that() {
        let (mut streams, ids) = streams(1);
        let pause = |streams: &mut Streams<_>| {
            streams.pause(ids[0]);
            streams.end_receive(ids[0]);
        };
        assert_eq!(streams.next_unarmed(), Some(ids[0]));
        pause(&mut streams);
        assert_eq!([streams.next_paused(), streams.next_paused()], [Some(ids[0]), None]);
        pause(&mut streams);
        assert_eq!(streams.next_paused(), None, "that is under way");
        streams.cancelled(ids[0]);
        assert_eq!(streams.next_paused(), Some(ids[0]), "it went on");
        ends(&mut streams, ids[0]);
        streams.cancelled(ids[0]);
        assert_eq!((streams.next_paused(), streams.next_unarmed()), (None, None));
        // One that is resumed meanwhile is armed once its receive has ended, and not before.
        streams.resume(ids[0], Now(0));
        assert_eq!(streams.next_unarmed(), Some(ids[0]));
        pause(&mut streams);
        assert!(streams.next_paused().is_some() && streams.resume(ids[0], Now(0)));
        assert_eq!(streams.next_unarmed(), None);
    }

    #[test]
    fn one_that_is_over_or_read_to_its_end_is_not_armed() {
        let (mut streams, ids) = streams(4);
        streams.over(ids[0]);
        streams.get(ids[1]).unwrap().is_read = true;
        streams.remove(ids[2]);
        assert_eq!([streams.next_unarmed(), streams.next_unarmed()], [Some(ids[3]), None]);
        streams.arm(ids[3], Now(0));
        assert_eq!(streams.next_unarmed(), None, "its receive is under way");
    }
}
