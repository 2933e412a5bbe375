//! How long a shard sleeps on after the first completion, so that one wake-up serves several messages.
//!
//! Below saturation a wake-up costs more than the message that it is for. A ring's minimum wait (Linux 6.12) has the
//! kernel collect what comes in the meantime; worth its latency only where something is likely to come.

use crate::limits::SENDS_PER_SUBMIT;
use crate::net::Now;

/// What has come within a batch is as good as a sample of so many batches before.
const WEIGHT: u64 = 8;

/// So many messages are to be expected within the wait for it to be worth its latency.
const WORTH: u64 = 2;

/// A batch as large as this finds the shard busy: the next one fills by itself.
const LARGE: usize = SENDS_PER_SUBMIT / 2;

/// The wait, and how fast messages come.
#[derive(Clone, Copy, Debug)]
pub struct Coalesce {
    /// The wait in nanoseconds; 0: none.
    wait_ns: u64,
    /// Between two messages, in the mean of late.
    gap_ns: u64,
    last: Now,
    large: bool,
}

impl Coalesce {
    /// Nothing is known yet, so nothing is waited for.
    pub const fn new(wait_ns: u64) -> Self {
        Self { wait_ns, gap_ns: wait_ns, last: Now(0), large: false }
    }

    /// A batch begins with so many completions that bring something: sends that have ended say nothing of what comes.
    pub fn came(&mut self, completions: usize, now: Now) {
        if completions == 0 {
            return;
        }
        // However long nothing came: a few batches in a row are to be enough to know better.
        let most = self.wait_ns.saturating_mul(WORTH * 2);
        let gap_ns = (now.since(self.last) / completions as u64).min(most);
        self.gap_ns = (self.gap_ns * (WEIGHT - 1) + gap_ns) / WEIGHT;
        self.last = now;
        self.large = completions >= LARGE;
    }

    /// The batch at hand is large, or messages come so fast that more are worth waiting for.
    pub const fn expects_more(&self) -> bool {
        self.large || self.wait_ns > 0 && self.gap_ns * WORTH <= self.wait_ns
    }

    /// How long the next wait goes on after its first completion, in nanoseconds.
    pub const fn wait_ns(&self) -> u64 {
        if self.large || !self.expects_more() { 0 } else { self.wait_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT_NS: u64 = 200_000;

    /// After so many batches of so many messages, one after the other at this distance.
    fn after(batches: u64, messages: usize, every_ns: u64) -> Coalesce {
        let mut coalesce = Coalesce::new(WAIT_NS);
        (1..=batches).for_each(|batch| coalesce.came(messages, Now(batch * every_ns)));
        coalesce
    }

    #[test]
    fn a_message_now_and_then_does_not_wait() {
        assert_eq!(Coalesce::new(WAIT_NS).wait_ns(), 0);
        assert_eq!(after(100, 1, 1_000_000).wait_ns(), 0);
        assert_eq!(after(100, 1, WAIT_NS * 3 / 4).wait_ns(), 0);
    }

    #[test]
    fn many_messages_are_collected() {
        assert_eq!(after(100, 1, 50_000).wait_ns(), WAIT_NS);
        assert_eq!(after(100, 5, 300_000).wait_ns(), WAIT_NS);
    }

    #[test]
    fn a_busy_shard_does_not_wait() {
        assert_eq!(after(100, LARGE, 300_000).wait_ns(), 0);
        assert_eq!(after(100, LARGE - 1, 300_000).wait_ns(), WAIT_NS);
    }

    #[test]
    fn a_pause_is_forgotten_within_a_few_batches() {
        let mut coalesce = after(100, 1, 50_000);
        let after_a_pause = Now(100 * 50_000 + 3_600_000_000_000);
        coalesce.came(1, after_a_pause);
        (1..=20).for_each(|batch| coalesce.came(1, after_a_pause.plus_ns(batch * 50_000)));
        assert_eq!(coalesce.wait_ns(), WAIT_NS);
        // And the other way round.
        let mut coalesce = after(100, 1, 50_000);
        (1..=10u64).for_each(|batch| coalesce.came(1, Now(5_000_000 + batch * 1_000_000)));
        assert_eq!(coalesce.wait_ns(), 0);
    }

    #[test]
    fn more_is_expected_where_batches_are_large_or_come_fast() {
        assert!(!Coalesce::new(WAIT_NS).expects_more());
        assert!(!after(100, 1, 1_000_000).expects_more());
        assert!(after(100, 1, 50_000).expects_more());
        assert!(after(100, LARGE, 3_000_000).expects_more());
        let mut off = Coalesce::new(0);
        off.came(1, Now(1));
        assert!(!off.expects_more(), "what is not waited for cannot come meanwhile");
        off.came(LARGE, Now(2));
        assert!(off.expects_more());
    }

    #[test]
    fn it_is_off_at_zero() {
        let mut coalesce = Coalesce::new(0);
        (1..=100).for_each(|batch| coalesce.came(1, Now(batch)));
        assert_eq!(coalesce.wait_ns(), 0);
    }
}
