//! How long messages wait before they are handled, and who has to go because of it.
//!
//! A queue that stands, and does not just come and go, is what overload is. While it stands, what begins something new
//! and has waited too long is refused, which takes a fraction of what handling it would: the queue gets shorter until
//! new requests wait no longer than they may, and as many are let in as there is time for. No rate has to be known.

use crate::limits::{LISTENERS, OVERLOAD_MESSAGES, OVERLOAD_NS};
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
    /// Queues that stand.
    standing: usize,
}

impl Waits {
    /// New requests may wait so long; `None`: nothing is ever refused.
    pub fn new(longest_ns: Option<u64>) -> Self {
        let by_listener = vec![Wait::new(longest_ns); LISTENERS].into();
        Self { by_listener, here: 0, standing: 0 }
    }

    /// As [`Wait::observe`], of a message that came in there. After a change of listeners a number may be another one's;
    /// its next messages put that right.
    #[inline]
    pub fn observe(&mut self, on: ListenerId, waited_ns: Option<u64>, now: Now) {
        self.here = usize::from(on.0);
        let Some(wait) = self.by_listener.get_mut(self.here) else { return };
        self.standing -= usize::from(wait.overloaded);
        wait.observe(waited_ns, now);
        self.standing += usize::from(wait.overloaded);
    }

    /// Of the listener that the message at hand came in on.
    #[inline]
    pub fn here(&self) -> Wait {
        self.by_listener.get(self.here).copied().unwrap_or_default()
    }

    /// Some queue stands.
    pub fn any_overloaded(&self) -> bool {
        self.standing > 0
    }
}

/// Watches how long messages of one queue have waited.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wait {
    /// So long new requests may wait; none: as long as they have to.
    longest_ns: Option<u64>,
    /// What the message at hand has waited.
    waited_ns: u64,
    /// Since when all messages have waited longer.
    since: Option<Now>,
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
        assert!(waits.any_overloaded() && !waits.here().is_overloaded());
        waits.observe(ListenerId(3), Some(LONGEST + 1), Now(101 * MS));
        assert!(waits.here().refuses(Standing::New));
        waits.observe(ListenerId(3), Some(1), Now(102 * MS));
        assert!(!waits.any_overloaded());
        let mut off = Wait::new(None);
        queue(&mut off, 0..200, 10, 1_000 * LONGEST);
        assert!(!off.refuses(Standing::New));
    }
}
