//! What was written to a connection and the kernel has not taken yet, and who waits to hear of it.

use std::collections::VecDeque;

use super::Waiting;
use crate::limits::{STREAM_DRAIN_NS, STREAM_STALLED_NS, STREAM_WAITING};
use crate::net::Now;

/// Bytes by their place in the stream, from its beginning on.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    written: u64,
    taken: u64,
    /// When the kernel took something last, or had nothing to take.
    progressed: Now,
    /// What had been written when something began to wait, and when that was: the next one begins once that is taken.
    mark: (u64, Now),
    /// Answers that found no room otherwise are, or were, among it since it was empty last.
    has_answers: bool,
    /// In order, each behind the last byte of what it waits for: the first, which takes no memory of its own, because mostly
    /// there is no more than one,
    first: Option<(u64, Waiting)>,
    /// and those behind it.
    others: VecDeque<(u64, Waiting)>,
}

impl Unsent {
    /// So many bytes were given to the engine.
    pub fn wrote(&mut self, bytes: usize, now: Now) {
        let begins = self.bytes() == 0;
        self.written += bytes as u64;
        if begins {
            (self.progressed, self.mark) = (now, (self.written, now));
        }
    }

    /// Somebody waits to hear of what was written last. `false`: more wait than are kept.
    pub fn waits(&mut self, waiting: Waiting) -> bool {
        let waiting = (self.written, waiting);
        if self.first.is_none() {
            self.first = Some(waiting);
        } else if self.others.len() + 1 < STREAM_WAITING {
            self.others.push_back(waiting);
        } else {
            return false;
        }
        true
    }

    /// The kernel has taken so many bytes: nobody waits for those any more, and whoever did is told.
    pub fn took(&mut self, bytes: usize, now: Now, mut left: impl FnMut(Waiting)) {
        self.taken = self.written.min(self.taken + bytes as u64);
        self.progressed = now;
        if self.taken >= self.mark.0 {
            self.mark = (self.written, now);
        }
        let taken = self.taken;
        while let Some((_, waiting)) = self.first.take_if(|(end, _)| *end <= taken) {
            self.first = self.others.pop_front();
            left(waiting);
        }
        if self.bytes() == 0 {
            self.has_answers = false;
            // A connection that is idle keeps nothing.
            self.others = VecDeque::new();
        }
    }

    /// From now on the peer can take something.
    pub fn begins(&mut self, now: Now) {
        (self.progressed, self.mark) = (now, (self.written, now));
    }

    /// An answer waits behind what waits already.
    pub fn queues_answer(&mut self) {
        self.has_answers = true;
    }

    /// Whoever takes so little may still be at answers to what it has asked.
    pub fn has_answers(&self) -> bool {
        self.has_answers
    }

    /// How many bytes wait.
    pub fn bytes(&self) -> usize {
        (self.written - self.taken) as usize
    }

    /// The peer takes nothing, or so little that what waits is of no use when it comes.
    pub fn is_stalled(&self, now: Now) -> bool {
        let stalled = now >= self.progressed.plus_ns(STREAM_STALLED_NS);
        self.bytes() > 0 && (stalled || now >= self.mark.1.plus_ns(STREAM_DRAIN_NS))
    }

    /// Those whose bytes were not taken.
    pub fn into_waiting(self) -> Vec<Waiting> {
        self.first.into_iter().chain(self.others).map(|(_, waiting)| waiting).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn who(cookie: u64) -> Waiting {
        Waiting { shard: 0, cookie }
    }

    /// A trunk that always has something under way.
    #[test]
    fn who_waits_is_forgotten_with_its_bytes_though_others_always_follow() {
        let mut unsent = Unsent::default();
        unsent.wrote(500, Now(0));
        assert!(unsent.waits(who(0)));
        for n in 1..10_000 {
            unsent.wrote(500, Now(n));
            assert!(unsent.waits(who(n)), "{n}");
            unsent.took(500, Now(n), |left| assert_eq!(left, who(n - 1)));
            assert!(!unsent.is_stalled(Now(n)));
        }
        unsent.took(499, Now(0), |_| ());
        assert_eq!(unsent.into_waiting(), [who(9_999)], "all but the one whose last byte is missing");
    }

    #[test]
    fn those_who_wait_are_told_in_order_and_there_is_an_end_to_them() {
        let (mut unsent, mut told) = (Unsent::default(), Vec::new());
        let many = STREAM_WAITING as u64;
        for n in 0..=many {
            unsent.wrote(10, Now(0));
            assert_eq!(unsent.waits(who(n)), n < many, "{n}");
        }
        unsent.took(25, Now(1), |left| told.push(left));
        assert_eq!(told, [who(0), who(1)]);
        assert!(unsent.waits(who(many)), "there is room again");
        unsent.took(5, Now(1), |left| told.push(left));
        assert_eq!(told[2..], [who(2)]);
        assert_eq!(unsent.into_waiting(), (3..=many).map(who).collect::<Vec<_>>());
    }

    #[test]
    fn what_waits_for_too_long_is_stalled_though_a_byte_leaves_now_and_then() {
        let mut unsent = Unsent::default();
        assert!(!unsent.is_stalled(Now(u64::MAX)), "nothing waits");
        unsent.wrote(1_000, Now(SECOND));
        let stalled = Now(SECOND + STREAM_STALLED_NS);
        assert!(!unsent.is_stalled(Now(stalled.0 - 1)) && unsent.is_stalled(stalled));
        let end = SECOND + STREAM_DRAIN_NS;
        for now in (SECOND..end).step_by(SECOND as usize) {
            unsent.took(1, Now(now), |_| ());
            assert!(!unsent.is_stalled(Now(now)), "{now}");
        }
        unsent.took(1, Now(end - 1), |_| ());
        assert!(!unsent.is_stalled(Now(end - 1)) && unsent.is_stalled(Now(end)));
    }

    #[test]
    fn a_slow_peer_that_takes_all_in_time_is_not_stalled() {
        let mut unsent = Unsent::default();
        unsent.wrote(1_000, Now(0));
        for second in 1..200 {
            unsent.wrote(100, Now(second * SECOND));
            unsent.took(100, Now(second * SECOND), |_| ());
            assert!(!unsent.is_stalled(Now(second * SECOND)), "{second}");
        }
        assert_eq!(unsent.bytes(), 1_000);
    }
}
