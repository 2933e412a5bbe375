//! How long messages wait before they are handled, and who has to go because of it.
//!
//! A queue that stands, and does not just come and go, is what overload is. While it stands, what begins something new
//! and has waited too long is refused, which takes a fraction of what handling it would: the queue gets shorter until
//! new requests wait no longer than they may, and as many are let in as there is time for. No rate has to be known.

use crate::limits::{
    LISTENERS, OVERLOAD_MAKES_GOOD, OVERLOAD_MESSAGES, OVERLOAD_NS, OVERLOAD_OVER_NS, OVERLOAD_PAUSE_NS,
    OVERLOAD_PAUSED_NS, OVERLOAD_SHRINKS,
};
use crate::net::{ListenerId, Now};

/// What a request would take part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It begins something new.
    New,
    /// It belongs to a dialog.
    InDialog,
    /// It ends or settles what there is (ACK, BYE, CANCEL, PRACK), or is an emergency call, or has a priority that is kept.
    Kept,
}

/// How long messages have waited at each listener: each has a queue of its own, and answers, which nobody sends too many
/// of, wait little in theirs while requests stand in another one.
pub struct Waits {
    by_listener: Box<[Wait]>,
    /// Where the message at hand came in.
    here: usize,
    /// When a queue was last seen to stand.
    stood: Option<Now>,
}

impl Waits {
    /// New requests may wait so long; `None`: nothing is ever refused.
    pub fn new(longest_ns: Option<u64>) -> Self {
        let by_listener = vec![Wait::new(longest_ns); LISTENERS].into();
        Self { by_listener, here: 0, stood: None }
    }

    /// As [`Wait::observe`], of a message that came in there. After a change of listeners a number may be another one's;
    /// its next messages put that right.
    #[inline]
    pub fn observe(&mut self, on: ListenerId, waited_ns: Option<u64>, now: Now) {
        self.here = usize::from(on.0);
        let Some(wait) = self.by_listener.get_mut(self.here) else { return };
        wait.observe(waited_ns, now);
        if wait.overloaded {
            self.stood = Some(now);
        }
    }

    /// A message that came in there has waited so long in another shard's queue, which says nothing of this one's.
    #[inline]
    pub fn take_over(&mut self, on: ListenerId, waited_ns: Option<u64>) {
        self.here = usize::from(on.0);
        if let Some(wait) = self.by_listener.get_mut(self.here) {
            wait.waited_ns = waited_ns.unwrap_or(0);
        }
    }

    /// Of the listener that the message at hand came in on.
    #[inline]
    pub fn here(&self) -> Wait {
        self.by_listener.get(self.here).copied().unwrap_or_default()
    }

    /// Some queue stands, or did a moment ago: what nobody sends to any more says so no more.
    pub fn any_overloaded(&self, now: Now) -> bool {
        self.stood.is_some_and(|stood| now.0.saturating_sub(stood.0) < OVERLOAD_OVER_NS)
    }
}

/// Watches how long messages of one queue have waited.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wait {
    /// So long new requests may wait; none: as long as they have to.
    longest_ns: Option<u64>,
    /// What the message at hand has waited.
    waited_ns: u64,
    /// When the last message was handled.
    last: Now,
    /// What there is since all messages have waited too long.
    queue: Option<Queue>,
    /// The queue stands: from when it was seen to until some message has waited little.
    overloaded: bool,
}

/// A queue all of whose messages have waited too long.
#[derive(Clone, Copy, Debug)]
struct Queue {
    /// When it was first seen.
    since: Now,
    /// For how long the host had paused then, in nanoseconds; 0: it had not.
    pause_ns: u64,
    /// How long it has paused since.
    paused_ns: u64,
    /// The message that has waited longest.
    longest: Seen,
    /// Its messages.
    messages: u32,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Now,
    waited_ns: u64,
}

impl Wait {
    /// New requests may wait so long; `None`: nothing is ever refused.
    pub fn new(longest_ns: Option<u64>) -> Self {
        Self { longest_ns, ..Self::default() }
    }

    /// A message is handled at `now` that has waited so long; `None`: that is not known, and says nothing.
    #[inline]
    pub fn observe(&mut self, waited_ns: Option<u64>, now: Now) {
        self.waited_ns = waited_ns.unwrap_or(0);
        let Some(waited_ns) = waited_ns else { return };
        let gap_ns = since(std::mem::replace(&mut self.last, now), now);
        // What may wait as long as it has to makes no queue too long.
        if self.longest_ns.is_none_or(|longest| waited_ns <= longest / 2) {
            (self.queue, self.overloaded) = (None, false);
            return;
        }
        // Nothing came for a while: whatever stood there has gone.
        if gap_ns >= OVERLOAD_OVER_NS {
            (self.queue, self.overloaded) = (None, false);
        }
        let seen = Seen { at: now, waited_ns };
        self.overloaded |= match &mut self.queue {
            Some(queue) => queue.stands(seen, gap_ns),
            None => {
                self.queue = Some(Queue::new(seen, gap_ns));
                false
            }
        };
    }

    /// The queue stands.
    #[inline]
    pub fn is_overloaded(&self) -> bool {
        self.overloaded
    }

    /// The message at hand has to go, if it is a request that would take part so. Those in a dialog may wait four
    /// times as long: what has begun shall end.
    pub fn refuses(&self, standing: Standing) -> bool {
        let Some(longest_ns) = self.longest_ns.filter(|_| self.overloaded) else { return false };
        match standing {
            Standing::New => self.waited_ns > longest_ns,
            Standing::InDialog => self.waited_ns > longest_ns.saturating_mul(4),
            Standing::Kept => false,
        }
    }
}

impl Queue {
    /// Where nothing had come for a while, the gap is no longer than what waited in it.
    fn new(first: Seen, gap_ns: u64) -> Self {
        let pause_ns = pause(gap_ns).min(first.waited_ns);
        Self { since: first.at, pause_ns, paused_ns: 0, longest: first, messages: 1 }
    }

    /// Another message of it is handled; `true`: it has stood for long enough.
    ///
    /// What piled up while the host paused is worked off, and refusing calls would help nobody: there is some time to make
    /// good its pauses. But where they come one after the other, and after half a second it is no less, the host has too
    /// little time for what comes.
    fn stands(&mut self, seen: Seen, gap_ns: u64) -> bool {
        self.paused_ns += pause(gap_ns);
        self.messages = self.messages.saturating_add(1);
        if seen.waited_ns > self.longest.waited_ns {
            self.longest = seen;
        }
        if self.messages < OVERLOAD_MESSAGES {
            return false;
        }
        let all_ns = since(self.since, seen.at);
        let made_good_ns = (self.pause_ns + self.paused_ns).saturating_mul(OVERLOAD_MAKES_GOOD);
        all_ns.saturating_sub(self.paused_ns) >= OVERLOAD_NS.saturating_add(made_good_ns)
            || all_ns >= OVERLOAD_PAUSED_NS && !shrinks(self.longest, seen)
    }
}

/// So much of what passed between two messages the host has paused.
fn pause(gap_ns: u64) -> u64 {
    if gap_ns >= OVERLOAD_PAUSE_NS { gap_ns } else { 0 }
}

/// What messages wait has fallen by enough since.
fn shrinks(before: Seen, now: Seen) -> bool {
    now.waited_ns.saturating_add(since(before.at, now.at) / OVERLOAD_SHRINKS) < before.waited_ns
}

fn since(then: Now, now: Now) -> u64 {
    now.0.saturating_sub(then.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const LONGEST: u64 = 40 * MS;

    /// So many messages at each millisecond, each of which has waited so long.
    fn queue(wait: &mut Wait, ms: std::ops::Range<u64>, each_ms: u32, waited_ns: u64) {
        for now in ms {
            (0..each_ms).for_each(|_| wait.observe(Some(waited_ns), Now(now * MS)));
        }
    }

    #[test]
    fn a_queue_that_comes_and_goes_is_no_overload() {
        let mut wait = Wait::new(Some(LONGEST));
        queue(&mut wait, 0..45, 10, LONGEST + 1);
        assert!(!wait.refuses(Standing::New));
        queue(&mut wait, 45..46, 1, LONGEST / 2);
        queue(&mut wait, 46..95, 10, LONGEST + 1);
        assert!(!wait.refuses(Standing::New));
        // Few messages that wait for a busy machine are none either.
        let mut wait = Wait::new(Some(LONGEST));
        (0..u64::from(OVERLOAD_MESSAGES) - 1)
            .for_each(|n| wait.observe(Some(LONGEST * 2), Now(n * 100 * MS)));
        assert!(!wait.refuses(Standing::New));
        // Nor is one that comes long after a queue that stood: this one has twice as long as it had waited, and 50 ms.
        queue(&mut wait, 20_000..20_210, 10, LONGEST * 2);
        assert!(!wait.refuses(Standing::New));
        queue(&mut wait, 20_210..20_211, 10, LONGEST * 2);
        assert!(wait.refuses(Standing::New));
        wait.observe(Some(LONGEST * 2), Now(25_000 * MS));
        assert!(!wait.refuses(Standing::New));
    }

    /// Messages at each millisecond of work, of which each takes so much off what they have waited, in tenths.
    fn work(wait: &mut Wait, now_ms: &mut u64, waited_us: &mut u64, ms: u64, off_tenths: u64) {
        for _ in 0..ms {
            (0..10).for_each(|_| wait.observe(Some(*waited_us * 1_000), Now(*now_ms * MS)));
            *now_ms += 1;
            *waited_us -= off_tenths * 100;
        }
    }

    /// Nothing waits, then the host pauses for so many milliseconds: the instant, and what waits then in microseconds.
    fn paused(ms: u64) -> (Wait, u64, u64) {
        let mut wait = Wait::new(Some(LONGEST));
        wait.observe(Some(0), Now(0));
        (wait, ms, 1_000 * ms)
    }

    #[test]
    fn what_piled_up_while_the_host_paused_is_worked_off() {
        let (mut wait, mut now, mut waited) = paused(300);
        // At half of the load.
        work(&mut wait, &mut now, &mut waited, 70, 10);
        assert!(!wait.is_overloaded());
        // It pauses once more, and what comes waits for both.
        (now, waited) = (now + 100, waited + 100_000);
        work(&mut wait, &mut now, &mut waited, 300, 10);
        assert_eq!((wait.is_overloaded(), waited), (false, 30_000));
        // So much more comes that it takes twice as long.
        let (mut wait, mut now, mut waited) = paused(100);
        work(&mut wait, &mut now, &mut waited, 160, 5);
        assert_eq!((wait.is_overloaded(), waited), (false, 20_000));
    }

    #[test]
    fn a_queue_that_stands_longer_than_a_pause_explains_is_overload() {
        // It may have piled up in 30 ms, of which twice as many are left to work it off; or in 230 ms, but not for longer
        // than half a second.
        for (pause_ms, more_ms) in [(0, 85), (200, 275)] {
            let (mut wait, mut now, mut waited) = paused(30);
            work(&mut wait, &mut now, &mut waited, 25, 0);
            (now, waited) = (now + pause_ms, waited + 1_000 * pause_ms);
            work(&mut wait, &mut now, &mut waited, more_ms, 0);
            assert!(!wait.is_overloaded(), "{pause_ms}");
            work(&mut wait, &mut now, &mut waited, 1, 0);
            assert!(wait.is_overloaded(), "{pause_ms}");
            // It is until some message has waited little, however fast the queue gets shorter once calls are refused.
            waited = 400_000;
            work(&mut wait, &mut now, &mut waited, 100, 20);
            assert!(wait.is_overloaded());
            wait.observe(Some(LONGEST / 2), Now(now * MS));
            assert!(!wait.is_overloaded());
        }
    }

    #[test]
    fn pauses_without_end_are_overload_too() {
        let (mut wait, mut now, mut waited) = (Wait::new(Some(LONGEST)), 0, 60_000);
        while !wait.is_overloaded() && now < 10_000 {
            work(&mut wait, &mut now, &mut waited, 10, 10);
            (now, waited) = (now + 20, waited + 20_000);
        }
        assert!((500..550).contains(&now), "{now}");
    }

    #[test]
    fn new_requests_go_first_those_of_dialogs_later_and_some_never() {
        let mut wait = Wait::new(Some(LONGEST));
        let refused = |wait: &Wait| {
            [Standing::New, Standing::InDialog, Standing::Kept].map(|standing| wait.refuses(standing))
        };
        queue(&mut wait, 0..101, 10, LONGEST);
        assert!(wait.is_overloaded());
        assert_eq!(refused(&wait), [false, false, false]);
        wait.observe(Some(LONGEST + 1), Now(101 * MS));
        assert_eq!(refused(&wait), [true, false, false]);
        wait.observe(Some(4 * LONGEST + 1), Now(101 * MS));
        assert_eq!(refused(&wait), [true, true, false]);
        // What waits little at another listener says nothing of this one.
        let mut waits = Waits::new(Some(LONGEST));
        for now in 0..101 {
            (0..10).for_each(|_| waits.observe(ListenerId(3), Some(LONGEST + 1), Now(now * MS)));
            waits.observe(ListenerId(4), Some(1), Now(now * MS));
        }
        assert!(waits.any_overloaded(Now(101 * MS)) && !waits.here().is_overloaded());
        // Nor does what waited, much or little, in another shard's queue.
        waits.take_over(ListenerId(3), Some(1));
        assert!(waits.here().is_overloaded() && !waits.here().refuses(Standing::New));
        waits.take_over(ListenerId(3), Some(LONGEST + 1));
        assert!(waits.here().refuses(Standing::New));
        waits.observe(ListenerId(3), Some(LONGEST + 1), Now(101 * MS));
        assert!(waits.here().refuses(Standing::New));
        waits.observe(ListenerId(3), Some(1), Now(102 * MS));
        assert!(!waits.here().is_overloaded());
        assert!(
            !waits.any_overloaded(Now(101 * MS + OVERLOAD_OVER_NS)),
            "it has ended, also if nothing comes"
        );
        let mut off = Wait::new(None);
        queue(&mut off, 0..200, 10, 1_000 * LONGEST);
        assert!(!off.refuses(Standing::New));
    }
}
