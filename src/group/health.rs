//! How the gateways do: written by whichever shard hears of it, read by all, without a lock.
//!
//! A gateway is one cache line with a few ways, one for each listener that requests leave from to it. A way is a word:
//! how much of its share it gets, why it gets none, and what was reported since the [`super::Watch`] looked. A shard
//! that reports the last failure that it takes puts the way down at once; getting up again is the watch's alone, which
//! knows time.

use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use super::fault::{Fault, Heard, Ping};
use crate::limits::{CANDIDATES, GATEWAY_WAYS};
use crate::net::GatewayId;

/// All gateways' state; of fixed size, so that a gateway keeps its place over reloads.
#[derive(Debug)]
pub struct Health {
    lines: Box<[Line]>,
    /// The last answers to OPTIONS, by gateway, way and address: written by shards, taken by the watch.
    answers: Box<[[Answers; GATEWAY_WAYS]]>,
    /// Why the last OPTIONS failed, by gateway and way; 0: they did not. Written by the watch.
    faults: Box<[[AtomicU16; GATEWAY_WAYS]]>,
}

/// By the last bits of the OPTIONS' number.
type Answers = [AtomicU64; CANDIDATES];

#[derive(Debug)]
#[repr(align(64))]
struct Line {
    /// Failures in a row that put a way down.
    down_after: AtomicU32,
    ways: [Slot; GATEWAY_WAYS],
}

const _: () = assert!(size_of::<Line>() == 64);

#[derive(Debug)]
struct Slot {
    /// Identity of the listener; [`FREE`]: nobody has left by this way.
    listener: AtomicU32,
    word: AtomicU32,
}

const FREE: u32 = 0;

/// Whether requests are sent to a gateway by a way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// They are.
    #[default]
    Up,
    /// It answered 503 with Retry-After, whose time is not over.
    Aside,
    /// It does not answer.
    Down,
}

/// What is heard of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// It answered.
    Answered,
    /// It did not answer in time, or could not be sent to.
    Failed,
    /// It answered 503 with Retry-After: so many seconds.
    PutAside(u16),
}

/// What a way's word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// How much of the gateway's weight it gets, of 255; 0: it is not up.
    pub share: u8,
    /// Whether it is up.
    pub standing: Standing,
    /// It answered since the watch looked; told only where that is news.
    pub heard: bool,
    /// Failures in a row; no more are counted than [`Way::MOST_FAILURES`].
    pub failures: u8,
    /// Seconds that it asked to be left alone for since the watch looked; 0: it did not.
    pub aside_s: u16,
}

impl Way {
    /// Up, as long as nobody says otherwise.
    pub const UP: Self =
        Self { share: u8::MAX, standing: Standing::Up, heard: false, failures: 0, aside_s: 0 };
    /// As many failures as a word holds.
    pub const MOST_FAILURES: u8 = 31;

    fn pack(self) -> u32 {
        let Self { share, standing, heard, failures, aside_s } = self;
        u32::from(share)
            | (standing as u32) << 8
            | u32::from(heard) << 10
            | u32::from(failures.min(Self::MOST_FAILURES)) << 11
            | u32::from(aside_s) << 16
    }

    fn unpack(word: u32) -> Self {
        let standing = match word >> 8 & 3 {
            0 => Standing::Up,
            1 => Standing::Aside,
            _ => Standing::Down,
        };
        let failures = (word >> 11) as u8 & Self::MOST_FAILURES;
        Self {
            share: word as u8,
            standing,
            heard: word >> 10 & 1 == 1,
            failures,
            aside_s: (word >> 16) as u16,
        }
    }

    /// The same after a report.
    #[must_use]
    fn after(mut self, report: Report, down_after: u32) -> Self {
        match report {
            Report::Answered => {
                self.heard |= self.standing != Standing::Up;
                self.failures = 0;
            }
            Report::Failed => {
                self.failures = (self.failures + 1).min(Self::MOST_FAILURES);
                if self.standing == Standing::Up && u32::from(self.failures) >= down_after {
                    (self.standing, self.share) = (Standing::Down, 0);
                }
            }
            Report::PutAside(seconds) => {
                (self.standing, self.share, self.failures) = (Standing::Aside, 0, 0);
                self.aside_s = self.aside_s.max(seconds.max(1));
            }
        }
        self
    }
}

impl Default for Line {
    fn default() -> Self {
        let slot = |_| Slot { listener: AtomicU32::new(FREE), word: AtomicU32::new(Way::UP.pack()) };
        Self { down_after: AtomicU32::new(1), ways: std::array::from_fn(slot) }
    }
}

impl Health {
    /// For so many gateways, all up.
    pub fn new(gateways: usize) -> Self {
        Self {
            lines: (0..gateways).map(|_| Line::default()).collect(),
            answers: (0..gateways).map(|_| Default::default()).collect(),
            faults: (0..gateways).map(|_| Default::default()).collect(),
        }
    }

    fn line(&self, gateway: GatewayId) -> Option<&Line> {
        self.lines.get(usize::from(gateway.0))
    }

    /// The way to a gateway from this listener; one that nobody has left by is up.
    pub fn way(&self, gateway: GatewayId, listener: u32) -> Way {
        let slot = self.line(gateway).and_then(|line| line.find(listener));
        slot.map_or(Way::UP, |slot| Way::unpack(slot.word.load(Ordering::Relaxed)))
    }

    /// All ways to a gateway that are known, by their listeners' identities.
    pub fn ways(&self, gateway: GatewayId) -> impl Iterator<Item = (u32, Way)> + '_ {
        let slots = self.line(gateway).map_or(&[][..], |line| &line.ways[..]);
        slots.iter().filter_map(|slot| {
            let listener = slot.listener.load(Ordering::Relaxed);
            (listener != FREE).then(|| (listener, Way::unpack(slot.word.load(Ordering::Relaxed))))
        })
    }

    /// Notes what was heard of a gateway by the way from this listener. Writes nothing where that is no news.
    pub fn report(&self, gateway: GatewayId, listener: u32, report: Report) {
        let Some(line) = self.line(gateway) else { return };
        let down_after = line.down_after.load(Ordering::Relaxed);
        let slot = match (line.find(listener), report) {
            (Some(slot), _) => slot,
            // It is taken for up as it is.
            (None, Report::Answered) => return,
            (None, _) => match line.claim(listener) {
                Some(slot) => slot,
                None => return,
            },
        };
        let change = |word: u32| {
            let after = Way::unpack(word).after(report, down_after).pack();
            (after != word).then_some(after)
        };
        // An error says that there is nothing to write.
        let _ = slot.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
    }

    /// Takes a way for what another process knows of it.
    pub fn take_over(
        &self,
        gateway: GatewayId,
        listener: u32,
        (standing, share): (Standing, u8),
        fault: Option<Fault>,
    ) {
        if self.know(gateway, listener) {
            self.update(gateway, listener, |way| (Way { standing, share, ..way }, ()));
            self.set_fault(gateway, listener, fault);
        }
    }

    /// Has a way known, if there is room; `false`: there is none, and it counts as up whatever is reported.
    pub fn know(&self, gateway: GatewayId, listener: u32) -> bool {
        self.line(gateway).is_some_and(|line| line.find(listener).or_else(|| line.claim(listener)).is_some())
    }

    /// Forgets all ways of a gateway but those from these listeners.
    pub fn keep_ways(&self, gateway: GatewayId, keep: impl Fn(u32) -> bool) {
        let Some(line) = self.line(gateway) else { return };
        for slot in &line.ways {
            let listener = slot.listener.load(Ordering::Relaxed);
            if listener != FREE && !keep(listener) {
                self.set_fault(gateway, listener, None);
                slot.word.store(Way::UP.pack(), Ordering::Relaxed);
                slot.listener.store(FREE, Ordering::Relaxed);
            }
        }
    }

    /// Sets after how many failures in a row ways of a gateway are down.
    pub fn set_down_after(&self, gateway: GatewayId, failures: u8) {
        if let Some(line) = self.line(gateway) {
            line.down_after.store(u32::from(failures), Ordering::Relaxed);
        }
    }

    /// Changes a way, as often as reports come between.
    pub(super) fn update<R>(
        &self,
        gateway: GatewayId,
        listener: u32,
        mut change: impl FnMut(Way) -> (Way, R),
    ) -> Option<R> {
        let slot = self.line(gateway)?.find(listener)?;
        loop {
            let word = slot.word.load(Ordering::Relaxed);
            let (after, result) = change(Way::unpack(word));
            let swapped =
                slot.word.compare_exchange(word, after.pack(), Ordering::Relaxed, Ordering::Relaxed);
            if swapped.is_ok() {
                return Some(result);
            }
        }
    }

    /// Notes the final answer to the OPTIONS of this number.
    pub fn answered(&self, gateway: GatewayId, listener: u32, number: u32, status: u16) {
        if let Some(way) = self.place(gateway, listener) {
            self.hear(Ping { gateway, way, number }, Heard::Answer(status));
        }
    }

    /// Notes what became of an OPTIONS; of [`CANDIDATES`] numbers in a row each has a place of its own.
    pub fn hear(&self, ping: Ping, heard: Heard) {
        let Ping { gateway, way, number } = ping;
        let answers = self.answers.get(usize::from(gateway.0)).and_then(|ways| ways.get(usize::from(way)));
        let Some(answer) = answers.and_then(|all| all.get(number as usize % CANDIDATES)) else { return };
        let word = u64::from(number) << 16 | u64::from(heard.pack());
        // What is heard late of an older OPTIONS, or of an answered one, is no news.
        let news = |old: u64| {
            let ahead = number.wrapping_sub((old >> 16) as u32) as i32;
            let is_answer = matches!(Heard::unpack(old as u16), Some(Heard::Answer(_)));
            (old == 0 || ahead > 0 || (ahead == 0 && !is_answer)).then_some(word)
        };
        // An error says that it is none.
        let _ = answer.fetch_update(Ordering::Relaxed, Ordering::Relaxed, news);
    }

    /// Takes what was heard last: the OPTIONS' numbers, and what became of each.
    pub fn take_answers(&self, gateway: GatewayId, listener: u32) -> Vec<(u32, Heard)> {
        let way = self.place(gateway, listener).map(usize::from);
        let of_way = |way: usize| self.answers.get(usize::from(gateway.0))?.get(way);
        let taken = way.and_then(of_way).into_iter().flatten().map(|heard| heard.swap(0, Ordering::Relaxed));
        taken.filter_map(|word| Some(((word >> 16) as u32, Heard::unpack(word as u16)?))).collect()
    }

    /// The place of the way from this listener, which it keeps as long as it is known.
    pub fn place(&self, gateway: GatewayId, listener: u32) -> Option<u8> {
        let place = self.line(gateway)?.place(listener)?;
        u8::try_from(place).ok()
    }

    /// Why the last OPTIONS by the way from this listener failed; `None`: they did not, or there were none.
    pub fn fault(&self, gateway: GatewayId, listener: u32) -> Option<Fault> {
        Fault::unpack(self.fault_of(gateway, listener)?.load(Ordering::Relaxed))
    }

    /// Notes why the last OPTIONS by the way from this listener failed, or that they did not.
    pub fn set_fault(&self, gateway: GatewayId, listener: u32, fault: Option<Fault>) {
        if let Some(place) = self.fault_of(gateway, listener) {
            place.store(fault.map_or(0, Fault::pack), Ordering::Relaxed);
        }
    }

    fn fault_of(&self, gateway: GatewayId, listener: u32) -> Option<&AtomicU16> {
        let way = self.place(gateway, listener)?;
        self.faults.get(usize::from(gateway.0))?.get(usize::from(way))
    }
}

impl Line {
    fn place(&self, listener: u32) -> Option<usize> {
        self.ways.iter().position(|slot| slot.listener.load(Ordering::Relaxed) == named(listener))
    }

    fn find(&self, listener: u32) -> Option<&Slot> {
        self.ways.get(self.place(listener)?)
    }

    /// Takes a free slot; another shard may take one for the same listener at the same moment.
    fn claim(&self, listener: u32) -> Option<&Slot> {
        for slot in &self.ways {
            let taken =
                slot.listener.compare_exchange(FREE, named(listener), Ordering::Relaxed, Ordering::Relaxed);
            match taken {
                Ok(_) => return Some(slot),
                Err(other) if other == named(listener) => return Some(slot),
                Err(_) => {}
            }
        }
        None
    }
}

/// An identity that is not [`FREE`].
fn named(listener: u32) -> u32 {
    listener.max(FREE + 1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const G: GatewayId = GatewayId(1);

    fn health(down_after: u8) -> Health {
        let health = Health::new(2);
        health.set_down_after(G, down_after);
        health
    }

    #[test]
    fn a_word_holds_what_a_way_is() {
        for standing in [Standing::Up, Standing::Aside, Standing::Down] {
            for (share, heard, failures, aside_s) in
                [(0, true, 31, u16::MAX), (255, false, 0, 0), (77, true, 5, 9)]
            {
                let way = Way { share, standing, heard, failures, aside_s };
                assert_eq!(Way::unpack(way.pack()), way);
            }
        }
    }

    #[test]
    fn failures_in_a_row_put_a_way_down_and_an_answer_between_does_not() {
        let health = health(3);
        for report in [Report::Failed, Report::Failed, Report::Answered, Report::Failed, Report::Failed] {
            health.report(G, 7, report);
            assert_eq!((health.way(G, 7).standing, health.way(G, 7).share), (Standing::Up, 255));
        }
        health.report(G, 7, Report::Failed);
        assert_eq!((health.way(G, 7).standing, health.way(G, 7).share), (Standing::Down, 0));
        // An answer does not bring it up: that is the watch's.
        health.report(G, 7, Report::Answered);
        let way = health.way(G, 7);
        assert_eq!((way.standing, way.heard, way.failures), (Standing::Down, true, 0));
    }

    #[test]
    fn one_way_that_is_down_leaves_the_others() {
        let health = health(1);
        health.report(G, 7, Report::Failed);
        assert!(health.know(G, 8));
        assert_eq!((health.way(G, 7).share, health.way(G, 8).share), (0, 255));
        assert_eq!(health.way(GatewayId(0), 7), Way::UP, "the neighbour has its own line");
    }

    #[test]
    fn a_503_puts_aside_at_once_for_the_longest_time_asked() {
        let health = health(3);
        for seconds in [5, 30, 10] {
            health.report(G, 7, Report::PutAside(seconds));
        }
        let way = health.way(G, 7);
        assert_eq!((way.standing, way.share, way.aside_s), (Standing::Aside, 0, 30));
    }

    #[test]
    fn ways_beyond_the_room_count_as_up() {
        let health = health(1);
        let all = 1..=GATEWAY_WAYS as u32;
        assert!(all.clone().all(|listener| health.know(G, listener)));
        assert!(!health.know(G, 99));
        health.report(G, 99, Report::Failed);
        assert_eq!(health.way(G, 99), Way::UP);
        // A listener that is gone makes room.
        health.keep_ways(G, |listener| listener != 2);
        assert!(health.know(G, 99));
        assert_eq!(health.ways(G).count(), GATEWAY_WAYS);
    }

    #[test]
    fn what_is_no_news_claims_no_way() {
        let health = health(1);
        health.report(G, 7, Report::Answered);
        assert_eq!(health.ways(G).count(), 0);
        health.report(GatewayId(9), 7, Report::Failed);
        assert_eq!(health.way(GatewayId(9), 7), Way::UP, "there is no such gateway");
    }

    #[test]
    fn an_answer_is_taken_once() {
        let health = health(1);
        health.answered(G, 7, 5, 200);
        assert_eq!(health.take_answers(G, 7), [], "nobody has asked by this way");
        health.know(G, 7);
        health.answered(G, 7, 5, 200);
        health.answered(G, 7, 6, 503);
        let answers = [(5, Heard::Answer(200)), (6, Heard::Answer(503))];
        assert_eq!(health.take_answers(G, 7), answers);
        assert_eq!(health.take_answers(G, 7), []);
    }

    #[test]
    fn a_way_that_is_forgotten_leaves_no_fault_behind() {
        let health = health(1);
        health.set_fault(G, 7, Some(Fault::Connection));
        assert_eq!(health.fault(G, 7), None, "nobody has asked by this way");
        health.know(G, 7);
        health.set_fault(G, 7, Some(Fault::Connection));
        assert_eq!((health.fault(G, 7), health.fault(G, 8)), (Some(Fault::Connection), None));
        health.keep_ways(G, |_| false);
        health.know(G, 8);
        assert_eq!(health.fault(G, 8), None);
    }

    #[test]
    fn no_report_is_lost_between_threads() {
        let health = Arc::new(health(31));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| (0..10).for_each(|_| health.report(G, 7, Report::Failed)));
            }
        });
        assert_eq!(health.way(G, 7).failures, 30);
        assert_eq!(health.ways(G).count(), 1);
    }
}
