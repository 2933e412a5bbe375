//! Down, aside, back: what becomes of a way over time.
//!
//! ```text
//!            down_after failures             up_after answers
//!      up ───────────────────────► down ────────────────────────┐
//!       ▲ │ 503, Retry-After                  (without pings:   │
//!       │ └──────────────► aside               after a rest)    ▼
//!       └── slow_return ───── ▼ ─────────────────────────── returning
//!                             └── its time is over ─────────────▲
//! ```
//!
//! While a way returns, its share grows from a tenth to all of it.

use super::health::{Health, Standing, Way};
use crate::limits::{GATEWAY_ASIDE_S, GATEWAY_REST_NS, GATEWAY_WAYS};
use crate::net::{GatewayId, Now};

/// How a group's gateways are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// So many failures in a row put a way down, 1 to [`Way::MOST_FAILURES`].
    pub down_after: u8,
    /// So many answers in a row bring it back.
    pub up_after: u8,
    /// So long, in nanoseconds, it takes to get its whole share again.
    pub slow_return_ns: u64,
    /// OPTIONS are sent; without them a way that is down comes back after a rest.
    pub is_pinged: bool,
}

/// How a way does; the metric's label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Life {
    /// It gets all of its share.
    #[default]
    Up,
    /// It gets a part that grows.
    Returning,
    /// It asked to be left alone.
    Aside,
    /// It does not answer.
    Down,
}

impl Life {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Up, Self::Returning, Self::Aside, Self::Down];

    /// The metric's label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Returning => "returning",
            Self::Aside => "aside",
            Self::Down => "down",
        }
    }
}

/// One way's life took a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Identity of the way's listener.
    pub listener: u32,
    /// What it was.
    pub from: Life,
    /// What it is.
    pub to: Life,
    /// How long it is put aside for, in seconds, from now.
    pub aside_s: u16,
}

/// What has happened to a gateway's ways since it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchCounts {
    /// Times a way went down.
    pub down: u64,
    /// Times a way was put aside.
    pub aside: u64,
    /// Times a way came back, or began to.
    pub back: u64,
}

/// One gateway's ways over time.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    ways: [Option<Known>; GATEWAY_WAYS],
    counts: WatchCounts,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    listener: u32,
    course: Course,
}

/// Where a way stands in the drawing, and since when.
#[derive(Clone, Copy, Debug, Default)]
struct Course {
    life: Life,
    since: Now,
    /// When it is no longer put aside.
    until: Now,
    /// Answers in a row while it is down.
    answers: u8,
}

/// What a way gets of its share when it begins to return: a tenth.
const FIRST_SHARE: u64 = 26;
const WHOLE_SHARE: u64 = u8::MAX as u64;
const NS_PER_S: u64 = 1_000_000_000;

impl Watch {
    /// Takes what was reported, looks at the time, and sets what the shards see. Tells each change.
    pub fn look(
        &mut self,
        health: &Health,
        gateway: GatewayId,
        settings: &Settings,
        now: Now,
        mut tell: impl FnMut(Change),
    ) {
        let known = |listener| health.ways(gateway).any(|(here, _)| here == listener);
        for way in &mut self.ways {
            *way = way.filter(|way| known(way.listener));
        }
        for (listener, _) in health.ways(gateway) {
            let Some(place) = self.place(listener) else { continue };
            let course = place.course;
            let step = |way| {
                let mut course = course;
                let way = course.step(way, settings, now);
                (way, course)
            };
            let Some(after) = health.update(gateway, listener, step) else { continue };
            place.course = after;
            if after.life != course.life || after.until != course.until {
                let aside_s = (after.until.since(now) / NS_PER_S) as u16;
                self.count(course.life, after.life);
                tell(Change { listener, from: course.life, to: after.life, aside_s });
            }
        }
    }

    /// How each way does, by its listener's identity.
    pub fn lives(&self) -> impl Iterator<Item = (u32, Life)> + '_ {
        self.ways.iter().flatten().map(|way| (way.listener, way.course.life))
    }

    /// What has happened.
    pub fn counts(&self) -> WatchCounts {
        self.counts
    }

    fn place(&mut self, listener: u32) -> Option<&mut Known> {
        let at = self.ways.iter().position(|way| way.is_some_and(|way| way.listener == listener));
        let at = at.or_else(|| self.ways.iter().position(Option::is_none))?;
        let new = Known { listener, course: Course::default() };
        Some(self.ways.get_mut(at)?.get_or_insert(new))
    }

    fn count(&mut self, from: Life, to: Life) {
        match to {
            Life::Down => self.counts.down += 1,
            Life::Aside => self.counts.aside += 1,
            Life::Returning | Life::Up => self.counts.back += u64::from(from != Life::Returning),
        }
    }
}

impl Course {
    /// What becomes of it by now, and what the shards shall see.
    fn step(&mut self, mut way: Way, settings: &Settings, now: Now) -> Way {
        self.reported(&mut way, now);
        match self.life {
            Life::Aside if now >= self.until && way.failures >= settings.down_after => self.goes_down(now),
            Life::Aside if now >= self.until => self.returns(now),
            Life::Down => {
                self.answers = if way.failures > 0 { 0 } else { self.answers };
                self.answers = self.answers.saturating_add(u8::from(way.heard));
                let rested = !settings.is_pinged && now >= self.since.plus_ns(GATEWAY_REST_NS);
                way.failures = 0;
                if self.answers >= settings.up_after || rested {
                    self.returns(now);
                }
            }
            Life::Up | Life::Returning | Life::Aside => {}
        }
        if self.life == Life::Returning && now >= self.since.plus_ns(settings.slow_return_ns) {
            *self = Self { life: Life::Up, since: now, ..Self::default() };
        }
        (way.standing, way.share) = self.shown(settings, now);
        way.heard = false;
        way
    }

    /// What shards have made of it at once.
    fn reported(&mut self, way: &mut Way, now: Now) {
        let aside_s = std::mem::take(&mut way.aside_s);
        if aside_s > 0 {
            let until = now.plus_ns(u64::from(aside_s.min(GATEWAY_ASIDE_S)) * NS_PER_S);
            self.until = self.until.max(until);
            if self.life != Life::Aside {
                (self.life, self.since) = (Life::Aside, now);
            }
        }
        if way.standing == Standing::Down && self.life != Life::Down {
            way.failures = 0;
            self.goes_down(now);
        }
    }

    fn goes_down(&mut self, now: Now) {
        *self = Self { life: Life::Down, since: now, ..Self::default() };
    }

    fn returns(&mut self, now: Now) {
        *self = Self { life: Life::Returning, since: now, ..Self::default() };
    }

    fn shown(&self, settings: &Settings, now: Now) -> (Standing, u8) {
        match self.life {
            Life::Up => (Standing::Up, u8::MAX),
            Life::Aside => (Standing::Aside, 0),
            Life::Down => (Standing::Down, 0),
            Life::Returning => {
                let gone_ns = now.since(self.since).min(settings.slow_return_ns);
                let more = u128::from(WHOLE_SHARE - FIRST_SHARE) * u128::from(gone_ns);
                let share = FIRST_SHARE + (more / u128::from(settings.slow_return_ns.max(1))) as u64;
                (Standing::Up, share as u8)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::health::Report;
    use super::*;

    const G: GatewayId = GatewayId(0);
    const L: u32 = 7;
    const SETTINGS: Settings =
        Settings { down_after: 3, up_after: 2, slow_return_ns: 10 * NS_PER_S, is_pinged: true };

    struct World {
        health: Health,
        watch: Watch,
        settings: Settings,
        now: Now,
        changes: Vec<Change>,
    }

    fn world(settings: Settings) -> World {
        let health = Health::new(1);
        health.set_down_after(G, settings.down_after);
        health.know(G, L);
        World { health, watch: Watch::default(), settings, now: Now(0), changes: Vec::new() }
    }

    impl World {
        fn hear(&mut self, report: Report) -> (Life, u8) {
            self.health.report(G, L, report);
            self.after_ms(0)
        }

        fn hear_times(&mut self, report: Report, times: usize) {
            for _ in 0..times {
                self.hear(report);
            }
        }

        fn after_ms(&mut self, ms: u64) -> (Life, u8) {
            self.now = self.now.plus_ns(ms * 1_000_000);
            let Self { health, watch, settings, now, changes } = self;
            watch.look(health, G, settings, *now, |change| changes.push(change));
            (watch.lives().next().unwrap().1, health.way(G, L).share)
        }
    }

    #[test]
    fn it_goes_down_and_comes_back_slowly() {
        let mut world = world(SETTINGS);
        assert_eq!(world.hear(Report::Failed), (Life::Up, 255));
        assert_eq!(world.hear(Report::Failed), (Life::Up, 255));
        assert_eq!(world.hear(Report::Failed), (Life::Down, 0));
        // Answers in a row, not all that ever came.
        assert_eq!(world.hear(Report::Answered), (Life::Down, 0));
        assert_eq!(world.hear(Report::Failed), (Life::Down, 0));
        assert_eq!(world.hear(Report::Answered), (Life::Down, 0));
        assert_eq!(world.hear(Report::Answered), (Life::Returning, 26));
        let halfway = world.after_ms(5_000);
        assert_eq!(halfway, (Life::Returning, 26 + 114));
        assert_eq!(world.after_ms(5_000), (Life::Up, 255));
        let turns: Vec<(Life, Life)> = world.changes.iter().map(|c| (c.from, c.to)).collect();
        assert_eq!(
            turns,
            [(Life::Up, Life::Down), (Life::Down, Life::Returning), (Life::Returning, Life::Up)]
        );
        assert_eq!(world.watch.counts(), WatchCounts { down: 1, aside: 0, back: 1 });
    }

    #[test]
    fn it_falls_again_while_it_returns() {
        let mut world = world(SETTINGS);
        world.hear_times(Report::Failed, 3);
        world.hear_times(Report::Answered, 2);
        assert_eq!(world.hear(Report::Failed), (Life::Returning, 26));
        world.hear(Report::Failed);
        assert_eq!(world.hear(Report::Failed), (Life::Down, 0));
    }

    #[test]
    fn it_is_left_alone_for_as_long_as_it_asks() {
        let mut world = world(SETTINGS);
        assert_eq!(world.hear(Report::PutAside(5)), (Life::Aside, 0));
        assert_eq!(world.changes.last().unwrap().aside_s, 5);
        // Answers to earlier requests do not call it back, and another 503 holds it longer.
        assert_eq!(world.hear(Report::Answered), (Life::Aside, 0));
        world.after_ms(4_000);
        assert_eq!(world.hear(Report::PutAside(3)), (Life::Aside, 0));
        assert_eq!(world.after_ms(2_999), (Life::Aside, 0));
        assert_eq!(world.after_ms(1), (Life::Returning, 26));
    }

    #[test]
    fn one_that_does_not_answer_meanwhile_is_down_afterwards() {
        let mut world = world(SETTINGS);
        world.hear(Report::PutAside(5));
        world.hear_times(Report::Failed, 3);
        assert_eq!(world.after_ms(0).0, Life::Aside);
        assert_eq!(world.after_ms(5_000), (Life::Down, 0));
    }

    #[test]
    fn nobody_is_put_aside_for_a_day() {
        let mut world = world(SETTINGS);
        world.hear(Report::PutAside(u16::MAX));
        assert_eq!(world.after_ms(u64::from(GATEWAY_ASIDE_S) * 1_000).0, Life::Returning);
    }

    #[test]
    fn without_pings_it_comes_back_after_a_rest() {
        let mut world = world(Settings { is_pinged: false, slow_return_ns: 0, ..SETTINGS });
        world.hear_times(Report::Failed, 3);
        assert_eq!(world.after_ms(GATEWAY_REST_NS / 1_000_000 - 1), (Life::Down, 0));
        assert_eq!(world.after_ms(1), (Life::Up, 255), "without a slow return it gets all at once");
    }

    #[test]
    fn a_way_that_is_forgotten_is_not_told_of() {
        let mut world = world(SETTINGS);
        world.hear_times(Report::Failed, 3);
        world.health.keep_ways(G, |_| false);
        let World { health, watch, settings, now, .. } = &mut world;
        watch.look(health, G, settings, *now, |_| panic!("there is none"));
        assert_eq!(watch.lives().count(), 0);
        health.know(G, L);
        watch.look(health, G, settings, *now, |_| panic!("it begins anew"));
        assert_eq!(watch.lives().next(), Some((L, Life::Up)));
    }

    proptest! {
        /// Whatever is heard: what shards see follows from the life, it is never down before `down_after` failures in a
        /// row, and each change is told once.
        #[test]
        fn thresholds_hold(
            down_after in 1u8..6,
            up_after in 1u8..6,
            heard in prop::collection::vec((0u8..8, 0u64..3_000), 1..200),
        ) {
            let mut world = world(Settings { down_after, up_after, ..SETTINGS });
            let (mut failures, mut answers, mut life) = (0u32, 0u32, Life::Up);
            for (kind, ms) in heard {
                let report = match kind {
                    0..4 => Report::Failed,
                    4..7 => Report::Answered,
                    _ => Report::PutAside(2),
                };
                match report {
                    Report::Failed => (failures, answers) = (failures + 1, 0),
                    Report::Answered => (failures, answers) = (0, answers + 1),
                    Report::PutAside(_) => (failures, answers) = (0, 0),
                }
                world.changes.clear();
                let (now, share) = world.hear(report);
                prop_assert_eq!(share == 0, matches!(now, Life::Down | Life::Aside));
                prop_assert!(share != 255 || now != Life::Returning);
                if now == Life::Down && life != Life::Down {
                    prop_assert!(failures >= u32::from(down_after));
                }
                if life == Life::Down && now != Life::Down {
                    prop_assert!(now == Life::Aside || answers >= u32::from(up_after));
                }
                prop_assert!(world.changes.len() <= 1);
                prop_assert!(life == now || world.changes[0].to == now);
                life = now;
                let (later, _) = world.after_ms(ms);
                prop_assert!(later != Life::Down || life == Life::Down || life == Life::Aside);
                life = later;
            }
        }
    }
}
