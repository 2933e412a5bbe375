//! How long messages wait before they are handled, and who has to go because of it.
//!
//! A queue that stands, and does not just come and go, is what overload is. While it stands, what begins something new
//! and has waited too long is refused, which takes a fraction of what handling it would: the queue gets shorter until
//! new requests wait no longer than they may, and as many are let in as there is time for. No rate has to be known.

use crate::limits::{
    LISTENERS, OVERLOAD_EXCUSED_NS, OVERLOAD_EXCUSED_PART, OVERLOAD_MAKES_GOOD, OVERLOAD_MESSAGES,
    OVERLOAD_NS, OVERLOAD_OVER_NS, OVERLOAD_PACE_MESSAGES, OVERLOAD_PACE_NS, OVERLOAD_PACE_TAKES,
    OVERLOAD_PACE_TIMES, OVERLOAD_PART, OVERLOAD_PAUSE_NS,
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
    pauses: Pauses,
}

/// Finds out when the host did not let the shard work: much more time passed than the messages of a batch take.
#[derive(Clone, Copy, Debug)]
struct Pauses {
    /// When the last batch began.
    last: Moment,
    /// Its messages.
    messages: u64,
    /// What a message of a full batch takes, in nanoseconds: as soon as it is less, and slowly where it is more.
    pace_ns: u64,
}

impl Pauses {
    fn new() -> Self {
        Self { last: Moment::default(), messages: 0, pace_ns: OVERLOAD_PACE_NS }
    }

    /// A message is handled; those of a batch have the same instant.
    #[inline]
    fn message(&mut self, now: Now) -> Moment {
        if now != self.last.now {
            self.batch(now);
        }
        self.messages += 1;
        self.last
    }

    fn batch(&mut self, now: Now) {
        let gap_ns = now.since(self.last.now);
        let work_ns = (self.messages * self.pace_ns).saturating_mul(OVERLOAD_PACE_TIMES);
        let pause_ns =
            Some(gap_ns.saturating_sub(work_ns)).filter(|ns| *ns >= OVERLOAD_PAUSE_NS).unwrap_or(0);
        if self.messages >= OVERLOAD_PACE_MESSAGES {
            let each_ns = (gap_ns - pause_ns) / self.messages;
            let more_ns = each_ns.saturating_sub(self.pace_ns) / OVERLOAD_PACE_TAKES;
            self.pace_ns = each_ns.min(self.pace_ns + more_ns);
        }
        self.last = Moment { now, paused_ns: self.last.paused_ns.saturating_add(pause_ns) };
        self.messages = 0;
    }
}

/// An instant, and how long the shard had paused until then.
#[derive(Clone, Copy, Debug, Default)]
struct Moment {
    now: Now,
    paused_ns: u64,
}

impl Moment {
    fn paused_since(self, then: Self) -> u64 {
        self.paused_ns.saturating_sub(then.paused_ns)
    }

    fn worked_since(self, then: Self) -> u64 {
        self.now.since(then.now).saturating_sub(self.paused_since(then))
    }
}

impl Waits {
    /// A queue that stands is to be shorter than this; `None`: nothing is ever refused.
    pub fn new(longest_ns: Option<u64>) -> Self {
        let by_listener = vec![Wait::new(longest_ns); LISTENERS].into();
        Self { by_listener, here: 0, stood: None, pauses: Pauses::new() }
    }

    /// A message that came in there is handled at `now` and has waited so long; `None`: that is not known, and says
    /// nothing. After a change of listeners a number may be another one's; its next messages put that right.
    #[inline]
    pub fn observe(&mut self, on: ListenerId, waited_ns: Option<u64>, now: Now) {
        self.here = usize::from(on.0);
        let moment = self.pauses.message(now);
        let Some(wait) = self.by_listener.get_mut(self.here) else { return };
        wait.observe(waited_ns, moment);
        if wait.is_overloaded() && waited_ns.is_some() {
            self.stood = Some(now);
        }
    }

    /// A message that came in there has waited so long in another shard's queue, which says nothing of this one's.
    #[inline]
    pub fn take_over(&mut self, on: ListenerId, waited_ns: Option<u64>, now: Now) {
        self.here = usize::from(on.0);
        if let Some(wait) = self.by_listener.get_mut(self.here) {
            wait.forget_what_is_old(now);
            wait.waited_ns = waited_ns.unwrap_or(0);
        }
    }

    /// Where the message at hand came in.
    pub fn on(&self) -> ListenerId {
        ListenerId(self.here as u16)
    }

    /// Of the listener that the message at hand came in on.
    #[inline]
    pub fn here(&self) -> Wait {
        self.by_listener.get(self.here).copied().unwrap_or_default()
    }

    /// Whether a filter keeps a part of what comes to a listener out of its queue, from now on.
    pub fn filter(&mut self, on: ListenerId, is_filtered: bool) {
        if let Some(wait) = self.by_listener.get_mut(usize::from(on.0)) {
            wait.is_filtered = is_filtered;
        }
    }

    /// There is no filter any more.
    pub fn unfilter(&mut self) {
        self.by_listener.iter_mut().for_each(|wait| wait.is_filtered = false);
    }

    /// Some queue stands, or did a moment ago: what nobody sends to any more says so no more.
    pub fn any_overloaded(&self, now: Now) -> bool {
        self.stood.is_some_and(|stood| now.since(stood) < OVERLOAD_OVER_NS)
    }
}

/// Watches how long messages of one queue have waited.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wait {
    /// A queue that stands is to be shorter; none: as long as it has to be.
    longest_ns: Option<u64>,
    /// What the message at hand has waited.
    waited_ns: u64,
    /// When the last message was handled.
    last: Moment,
    /// What of that waiting is put down to pauses of the host.
    excuse: Excuse,
    /// What there is since all messages have waited too long without an excuse.
    queue: Option<Queue>,
    /// What was seen since it is known that the queue stands; `None`: it does not.
    standing: Option<Stand>,
    /// A part of what would be in the queue does not come in ([`super::Shares`]).
    is_filtered: bool,
}

/// All of its messages have waited too long.
#[derive(Clone, Copy, Debug)]
struct Queue {
    /// So long the shard has worked on it, in nanoseconds.
    worked_ns: u64,
    messages: u32,
}

/// A queue that stands: what came since some moment. Requests are refused, so that some messages wait little; but as long as
/// many do not, more comes than there is time for.
#[derive(Clone, Copy, Debug)]
struct Stand {
    since: Now,
    messages: u32,
    /// Of these so many have waited too long.
    long: u32,
}

impl Stand {
    fn new(since: Now) -> Self {
        Self { since, messages: 0, long: 0 }
    }

    /// With one more message, which has waited too long or not; `None`: it stands no more. How long it is says nothing where a
    /// filter keeps others out.
    fn with(self, is_long: bool, is_filtered: bool, now: Now) -> Option<Self> {
        let Self { since, messages, long } = self;
        let with =
            Self { since, messages: messages.saturating_add(1), long: long.saturating_add(is_long.into()) };
        match now.since(since) < OVERLOAD_OVER_NS {
            true => Some(with),
            false => (is_filtered || with.goes_on()).then(|| Self::new(now)),
        }
    }

    fn goes_on(self) -> bool {
        self.long >= OVERLOAD_MESSAGES && u64::from(self.long) * OVERLOAD_PART >= self.messages.into()
    }
}

/// What piled up while the host paused is worked off, and refusing calls would help nobody. That much of a queue is
/// excused, and less with all work that is done: where as much comes as there is time for, the queue outlives its
/// excuse. A host that pauses too often is one that has too little time, so that excuses are rationed.
#[derive(Clone, Copy, Debug, Default)]
struct Excuse {
    /// So much, in nanoseconds, of what messages waited then.
    ns: u64,
    /// So much was used up then of what there is for pauses to come.
    used_ns: u64,
    then: Moment,
}

impl Wait {
    fn new(longest_ns: Option<u64>) -> Self {
        Self { longest_ns, ..Self::default() }
    }

    #[inline]
    fn observe(&mut self, waited_ns: Option<u64>, moment: Moment) {
        self.waited_ns = waited_ns.unwrap_or(0);
        self.forget_what_is_old(moment.now);
        let Some(waited_ns) = waited_ns else { return };
        let last = std::mem::replace(&mut self.last, moment);
        // What may wait as long as it has to makes no queue too long.
        let Some(longest_ns) = self.longest_ns else { return };
        let is_long = waited_ns > longest_ns / 2;
        match self.standing {
            // More comes than there is time for, and pauses explain nothing.
            Some(standing) => self.standing = standing.with(is_long, self.is_filtered, moment.now),
            None if is_long => self.comes_or_stands(waited_ns, longest_ns, last),
            None => self.queue = None,
        }
    }

    /// Nothing came for a while: whatever stood there has gone.
    #[inline]
    fn forget_what_is_old(&mut self, now: Now) {
        if now.since(self.last.now) >= OVERLOAD_OVER_NS {
            (self.queue, self.standing) = (None, None);
        }
    }

    fn comes_or_stands(&mut self, waited_ns: u64, longest_ns: u64, last: Moment) {
        let moment = self.last;
        self.excuse.renew(moment, moment.paused_since(last));
        if waited_ns.saturating_sub(self.excuse.ns) <= longest_ns / 2 {
            self.queue = None;
            return;
        }
        let worked_ns = moment.worked_since(last);
        let queue = match self.queue {
            Some(Queue { worked_ns: before_ns, messages }) => {
                Queue { worked_ns: before_ns.saturating_add(worked_ns), messages: messages.saturating_add(1) }
            }
            None => Queue { worked_ns: 0, messages: 1 },
        };
        self.queue = Some(queue);
        if queue.worked_ns >= OVERLOAD_NS && queue.messages >= OVERLOAD_MESSAGES {
            self.standing = Some(Stand::new(moment.now));
            (self.queue, self.excuse.ns) = (None, 0);
        }
    }

    /// The queue stands.
    #[inline]
    pub fn is_overloaded(&self) -> bool {
        self.standing.is_some()
    }

    /// The message at hand has to go, if it is a request that would take part so. Those in a dialog may wait eight
    /// times as long: what has begun shall end.
    pub fn refuses(&self, standing: Standing) -> bool {
        let Some(longest_ns) = self.longest_ns.filter(|_| self.is_overloaded()) else { return false };
        match standing {
            Standing::New => self.waited_ns > longest_ns / 2,
            Standing::InDialog => self.waited_ns > longest_ns.saturating_mul(4),
            Standing::Kept => false,
        }
    }
}

impl Excuse {
    /// What is left of it after the work since, and for what the host has paused a moment ago.
    fn renew(&mut self, now: Moment, paused_ns: u64) {
        let left_ns = self.ns.saturating_sub(now.worked_since(self.then) / OVERLOAD_MAKES_GOOD);
        let again_ns = now.now.since(self.then.now) / OVERLOAD_EXCUSED_PART;
        let used_ns = self.used_ns.saturating_sub(again_ns);
        let more_ns = paused_ns.min(OVERLOAD_EXCUSED_NS - used_ns);
        *self = Self { ns: left_ns + more_ns, used_ns: used_ns + more_ns, then: now };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const LONGEST: u64 = 40 * MS;
    const HERE: ListenerId = ListenerId(3);

    /// A shard's time and what messages wait, both in microseconds.
    struct Shard {
        waits: Waits,
        now_us: u64,
        waited_us: u64,
    }

    impl Shard {
        fn new() -> Self {
            let mut waits = Waits::new(Some(LONGEST));
            waits.observe(HERE, Some(0), Now(0));
            Self { waits, now_us: 0, waited_us: 0 }
        }

        fn pause(&mut self, ms: u64) {
            (self.now_us, self.waited_us) = (self.now_us + ms * 1_000, self.waited_us + ms * 1_000);
        }

        /// Ten messages in each millisecond, in which what they have waited grows by so many tenths of it.
        fn work(&mut self, ms: u64, grows: i64) {
            for _ in 0..ms * 10 {
                self.now_us += 100;
                self.waited_us = self.waited_us.saturating_add_signed(grows * 10);
                self.waits.observe(HERE, Some(self.waited_us * 1_000), Now(self.now_us * 1_000));
            }
        }

        /// In this many milliseconds of such work it is overload; `None`: not in ten seconds.
        fn works_until_overload(&mut self, grows: i64) -> Option<u64> {
            (1..10_000).find(|_| {
                self.work(1, grows);
                self.waits.here().is_overloaded()
            })
        }

        fn is_overloaded(&self) -> bool {
            self.waits.here().is_overloaded()
        }
    }

    #[test]
    fn a_queue_that_comes_and_goes_is_no_overload() {
        let mut shard = Shard::new();
        for _ in 0..3 {
            shard.waited_us = LONGEST / 1_000 + 1;
            shard.work(22, 0);
            assert!(!shard.is_overloaded());
            shard.waited_us = LONGEST / 2_000;
            shard.work(1, 0);
        }
        shard.waited_us = LONGEST / 1_000 + 1;
        assert_eq!(shard.works_until_overload(0), Some(26));
        // Long after it nothing stands any more.
        shard.now_us += 5_000_000;
        shard.work(1, 0);
        assert!(!shard.is_overloaded());
    }

    #[test]
    fn few_messages_that_wait_for_a_busy_machine_are_no_overload() {
        let mut waits = Waits::new(Some(LONGEST));
        for number in 1..u64::from(OVERLOAD_MESSAGES) {
            waits.observe(HERE, Some(LONGEST * 2), Now(number * 4 * MS));
        }
        assert!(!waits.here().is_overloaded());
        waits.observe(HERE, Some(LONGEST * 2), Now(u64::from(OVERLOAD_MESSAGES) * 4 * MS));
        assert!(waits.here().is_overloaded());
    }

    #[test]
    fn what_piled_up_while_the_host_paused_is_worked_off() {
        // At half of the load it takes as long as the pause; where it pauses once more, as long as both.
        let mut shard = Shard::new();
        shard.pause(300);
        shard.work(70, -10);
        shard.pause(100);
        shard.work(330, -10);
        assert_eq!((shard.is_overloaded(), shard.waited_us), (false, 0));
        // At two thirds of it twice as long.
        let mut shard = Shard::new();
        shard.pause(100);
        shard.work(200, -5);
        assert_eq!((shard.is_overloaded(), shard.waited_us), (false, 0));
    }

    #[test]
    fn a_queue_that_outlives_the_excuse_of_a_pause_is_overload() {
        // Nothing waited before: half of what may has to come first, with the work that makes it a queue that stands.
        let mut shard = Shard::new();
        assert_eq!(shard.works_until_overload(8), Some(20 * 10 / 8 + 26));
        // It grows as fast after a pause, and while the excuse gets less, too.
        let mut shard = Shard::new();
        shard.pause(300);
        assert_eq!(shard.works_until_overload(8), Some(20 * 10 / 13 + 26));
    }

    #[test]
    fn a_queue_stands_as_long_as_a_filter_keeps_others_out() {
        let mut shard = Shard::new();
        shard.waited_us = LONGEST / 1_000;
        assert_eq!(shard.works_until_overload(0), Some(26));
        shard.waits.filter(HERE, true);
        shard.waited_us = 0;
        shard.work(5_000, 0);
        assert!(shard.is_overloaded());
        shard.waits.filter(HERE, false);
        shard.work(2_100, 0);
        assert!(!shard.is_overloaded());
    }

    #[test]
    fn a_queue_stands_until_few_messages_wait_long_for_a_second() {
        let mut shard = Shard::new();
        shard.waited_us = LONGEST / 1_000;
        assert_eq!(shard.works_until_overload(0), Some(26));
        // Calls are refused, and in most of the time nothing waits.
        for _ in 0..100 {
            shard.waited_us = LONGEST / 1_000;
            shard.work(30, 0);
            shard.waited_us = 0;
            shard.work(70, 0);
            assert!(shard.is_overloaded());
        }
        // Less of it waits: it stands for the rest of a second, and one more.
        for _ in 0..20 {
            shard.waited_us = LONGEST / 1_000;
            shard.work(20, 0);
            shard.waited_us = 0;
            shard.work(80, 0);
        }
        assert!(!shard.is_overloaded());
        // A pause is excused again, and one soon after the queue was last seen to stand is not.
        shard.pause(100);
        shard.work(300, -10);
        assert!(!shard.is_overloaded());
        shard.waited_us = LONGEST / 1_000;
        assert_eq!(shard.works_until_overload(0), Some(26));
        shard.waited_us = 0;
        shard.pause(100);
        shard.work(1, 0);
        assert!(shard.is_overloaded() && shard.waits.here().refuses(Standing::New));
    }

    #[test]
    fn what_comes_one_by_one_keeps_no_queue_alive() {
        for (each_ms, every_second_waits) in [(500, false), (250, true), (900, true)] {
            let mut shard = Shard::new();
            shard.waited_us = LONGEST / 1_000;
            assert_eq!(shard.works_until_overload(0), Some(26));
            for number in 0..12 {
                let waited = if every_second_waits && number % 2 == 0 { 2 * LONGEST } else { 1 };
                let now = Now(shard.now_us * 1_000 + number * each_ms * MS);
                shard.waits.observe(HERE, Some(waited), now);
            }
            assert!(!shard.is_overloaded(), "{each_ms} {every_second_waits}");
        }
    }

    #[test]
    fn a_host_that_pauses_more_often_than_it_may_excuses_nothing() {
        let mut shard = Shard::new();
        while !shard.is_overloaded() && shard.now_us < 10_000_000 {
            shard.work(10, -10);
            shard.pause(20);
        }
        assert!((700_000..1_500_000).contains(&shard.now_us), "{} us", shard.now_us);
        // With a quarter of that it goes on for ever.
        let mut shard = Shard::new();
        while shard.now_us < 20_000_000 {
            shard.work(40, -10);
            shard.pause(10);
            assert!(!shard.is_overloaded());
        }
    }

    #[test]
    fn a_batch_that_takes_long_because_much_has_come_is_no_pause() {
        // A thousand messages in 12 ms, as long as it takes: quick ones first, then those of a slower build.
        for each_us in [12, 120] {
            let mut shard = Shard::new();
            shard.waited_us = LONGEST / 1_000;
            let begun_us = shard.now_us;
            while !shard.is_overloaded() && shard.now_us < begun_us + 10_000_000 {
                shard.now_us += 1_000 * each_us;
                (0..1_000).for_each(|_| shard.waits.observe(HERE, Some(LONGEST), Now(shard.now_us * 1_000)));
            }
            let took_ms = (shard.now_us - begun_us) / 1_000;
            assert!(took_ms <= if each_us == 12 { 72 } else { 2_000 }, "{each_us}: {took_ms} ms");
        }
        // The same at its usual pace, then a pause in a batch like it.
        let mut shard = Shard::new();
        for extra_ms in [0, 0, 0, 200, 0, 0] {
            shard.now_us += 12_000 + extra_ms * 1_000;
            let waited = if extra_ms > 0 { 5 * LONGEST } else { 0 };
            (0..1_000).for_each(|_| shard.waits.observe(HERE, Some(waited), Now(shard.now_us * 1_000)));
            assert!(!shard.is_overloaded());
        }
    }

    #[test]
    fn a_listener_where_little_comes_is_not_excused_by_gaps_in_which_the_shard_worked() {
        let (mut waits, there) = (Waits::new(Some(LONGEST)), ListenerId(4));
        for ms in 1..1_000 {
            waits.observe(HERE, Some(1), Now(ms * MS));
            if ms % 10 == 0 {
                waits.observe(there, Some(LONGEST * 2), Now(ms * MS));
            }
        }
        waits.observe(there, Some(LONGEST * 2), Now(1_000 * MS));
        assert!(waits.here().is_overloaded());
    }

    #[test]
    fn new_requests_go_first_those_of_dialogs_later_and_some_never() {
        let refused = |waits: &Waits| {
            [Standing::New, Standing::InDialog, Standing::Kept].map(|standing| waits.here().refuses(standing))
        };
        let mut shard = Shard::new();
        shard.waited_us = LONGEST / 1_000;
        shard.work(60, 0);
        let mut waits = shard.waits;
        assert!(waits.here().is_overloaded());
        waits.observe(HERE, Some(LONGEST / 2), Now(61 * MS));
        assert_eq!(refused(&waits), [false, false, false]);
        waits.observe(HERE, Some(LONGEST / 2 + 1), Now(61 * MS));
        assert_eq!(refused(&waits), [true, false, false]);
        waits.observe(HERE, Some(4 * LONGEST), Now(61 * MS));
        assert_eq!(refused(&waits), [true, false, false]);
        waits.observe(HERE, Some(4 * LONGEST + 1), Now(61 * MS));
        assert_eq!(refused(&waits), [true, true, false]);
        let mut off = Shard { waits: Waits::new(None), ..Shard::new() };
        off.waited_us = 1_000 * LONGEST;
        off.work(200, 0);
        assert_eq!(refused(&off.waits), [false; 3]);
    }

    #[test]
    fn what_waits_elsewhere_says_nothing_of_a_queue() {
        let (mut waits, there) = (Waits::new(Some(LONGEST)), ListenerId(4));
        for now in 1..101 {
            (0..10).for_each(|_| waits.observe(HERE, Some(LONGEST + 1), Now(now * MS)));
            waits.observe(there, Some(1), Now(now * MS));
        }
        assert!(waits.any_overloaded(Now(101 * MS)) && !waits.here().is_overloaded());
        // Nor does what waited, much or little, in another shard's queue.
        waits.take_over(HERE, Some(1), Now(101 * MS));
        assert!(waits.here().is_overloaded() && !waits.here().refuses(Standing::New));
        waits.take_over(HERE, Some(LONGEST + 1), Now(101 * MS));
        assert!(waits.here().refuses(Standing::New));
        // As long as something comes here.
        waits.take_over(HERE, Some(LONGEST + 1), Now(100 * MS + OVERLOAD_OVER_NS));
        assert!(!waits.here().is_overloaded());
        assert!(
            !waits.any_overloaded(Now(101 * MS + OVERLOAD_OVER_NS)),
            "it has ended, also if nothing comes"
        );
    }
}
