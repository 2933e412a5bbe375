//! How long messages wait before they are handled, and who has to go because of it.
//!
//! A queue that stands, and does not just come and go, is what overload is. While it stands, what begins something new
//! and has waited too long is refused, which takes a fraction of what handling it would: the queue gets shorter until
//! new requests wait no longer than they may, and as many are let in as there is time for. No rate has to be known.

use crate::limits::{LISTENERS, OVERLOAD_MESSAGES, OVERLOAD_NS, OVERLOAD_OVER_NS};
use crate::net::{ListenerId, Now};

/// What a request would take part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It begins something new.
    New,
    /// It belongs to a dialog.
    InDialog,
    /// It ends or settles what there is (ACK, BYE, CANCEL), or is an emergency call, or has a priority that is kept.
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
    /// Since when all messages have waited longer, and when the last of them was handled.
    since: Option<Now>,
    last: Now,
    /// How many these are.
    messages: u32,
    /// The queue stands.
    overloaded: bool,
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
        // What may wait as long as it has to makes no queue too long.
        if self.longest_ns.is_none_or(|longest| waited_ns <= longest / 2) {
            (self.since, self.messages, self.overloaded) = (None, 0, false);
            return;
        }
        // Nothing came for a while: whatever stood there has gone.
        if now.0.saturating_sub(self.last.0) >= OVERLOAD_OVER_NS {
            (self.since, self.messages) = (None, 0);
        }
        self.last = now;
        let since = *self.since.get_or_insert(now);
        self.messages = self.messages.saturating_add(1);
        self.overloaded = now.0.saturating_sub(since.0) >= OVERLOAD_NS && self.messages >= OVERLOAD_MESSAGES;
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
        // Nor is one that comes long after a queue that stood.
        queue(&mut wait, 20_000..20_101, 10, LONGEST * 2);
        assert!(wait.refuses(Standing::New));
        wait.observe(Some(LONGEST * 2), Now(25_000 * MS));
        assert!(!wait.refuses(Standing::New));
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
