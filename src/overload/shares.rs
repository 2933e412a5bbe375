//! Which part of the requests that the kernel can tell ([`super::Filter`]) comes in where more comes than can be handled.
//!
//! What comes in should be somewhat more than what is let in: enough that nothing is missing, and not so much that
//! dropping it takes calls' time. Both are counted; no rate has to be known.

use crate::limits::{FILTER_COUNT, FILTER_LOOKS, FILTER_NS, LISTENERS};
use crate::net::{ListenerId, Now};

/// What of all that a filter may drop comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kept(u32);

impl Kept {
    /// There is no filter.
    pub const ALL: Self = Self(1 << 16);
    /// No filter keeps less.
    pub const LEAST: Self = Self(1 << 6);

    /// So many times as much: `part` of `whole`, between [`Self::LEAST`] and [`Self::ALL`].
    pub fn times(self, part: u64, whole: u64) -> Self {
        let times = u64::from(self.0).saturating_mul(part) / whole.max(1);
        Self(u32::try_from(times).unwrap_or(u32::MAX)).clamp(Self::LEAST, Self::ALL)
    }

    /// Of random numbers of 32 bits those below this one are kept.
    pub fn below(self) -> u32 {
        self.0.saturating_mul(1 << 16)
    }
}

/// What is kept at each listener.
pub struct Shares {
    by_listener: Box<[Share]>,
    /// When they are looked at next; none: nothing has to go.
    look_at: Option<Now>,
}

#[derive(Clone, Copy)]
struct Share {
    /// Requests that a filter may drop, since that was looked at.
    came: u32,
    /// Of these so many were dropped at a glance.
    shed: u32,
    /// So often it was looked, and there were too few.
    looks: u8,
    kept: Kept,
}

impl Default for Shares {
    fn default() -> Self {
        let share = Share { came: 0, shed: 0, looks: 0, kept: Kept::ALL };
        Self { by_listener: vec![share; LISTENERS].into(), look_at: None }
    }
}

impl Shares {
    /// A request that a filter may drop has come while a queue stands, and was dropped or not.
    pub fn count(&mut self, on: ListenerId, shed: bool, now: Now) {
        let Some(share) = self.by_listener.get_mut(usize::from(on.0)) else { return };
        share.came = share.came.saturating_add(1);
        share.shed = share.shed.saturating_add(shed.into());
        if shed && self.look_at.is_none() {
            self.look_at = Some(now.plus_ns(FILTER_NS));
        }
    }

    /// When [`Self::look`] has something to do.
    pub fn look_at(&self) -> Option<Now> {
        self.look_at
    }

    /// No filter could be had there, whatever was wanted.
    pub fn keeps_all(&mut self, on: ListenerId) {
        if let Some(share) = self.by_listener.get_mut(usize::from(on.0)) {
            share.kept = Kept::ALL;
        }
    }

    /// Tells which listeners are to keep another part from now on.
    pub fn look(&mut self, now: Now, mut change: impl FnMut(ListenerId, Kept)) {
        if self.look_at.is_none_or(|at| now < at) {
            return;
        }
        let mut goes_on = false;
        for (number, share) in (0..).zip(&mut self.by_listener) {
            if let Some(kept) = share.look() {
                change(ListenerId(number), kept);
            }
            goes_on |= share.kept != Kept::ALL || share.came > 0;
        }
        self.look_at = goes_on.then(|| now.plus_ns(FILTER_NS));
    }
}

impl Share {
    /// What is kept from now on, if that is something else.
    fn look(&mut self) -> Option<Kept> {
        let Self { came, shed, looks, kept: before } = *self;
        if shed > 0 && came < FILTER_COUNT && looks < FILTER_LOOKS {
            self.looks += 1;
            return None;
        }
        (self.came, self.shed, self.looks) = (0, 0, 0);
        // Half as much again as what is let in.
        let (came, wanted) = (u64::from(came), u64::from(came - shed) * 3 / 2 + 1);
        let most = before.times(3, 2);
        let kept = if came == 0 { most } else { before.times(wanted, came).clamp(before.times(1, 4), most) };
        // A filter that drops little is not worth it, and neither is one that is little better.
        let most = Kept::ALL.times(if before == Kept::ALL { 6 } else { 7 }, 8);
        let kept = if kept >= most { Kept::ALL } else { kept };
        let is_other = kept < before.times(7, 8) || kept > before.times(9, 8) || kept == Kept::ALL;
        (is_other && kept != before).then(|| {
            self.kept = kept;
            kept
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: ListenerId = ListenerId(2);

    impl Kept {
        /// From 0 to 1.
        fn part(self) -> f64 {
            f64::from(self.0) / f64::from(Self::ALL.0)
        }
    }

    /// Requests that come each 100 ms, and of which so many are let in at most; after so many of those, what is kept.
    fn kept_after(shares: &mut Shares, periods: u64, comes: u64, most: u64, from: u64) -> f64 {
        let mut kept = shares.by_listener[2].kept;
        for period in from..from + periods {
            let begin = Now(period * FILTER_NS);
            let come = (comes as f64 * kept.part()) as u64;
            (0..come).for_each(|number| shares.count(HERE, number >= most, begin));
            shares.look(begin.plus_ns(FILTER_NS), |on, now| {
                assert_eq!(on, HERE);
                assert_ne!(now, kept, "what stays as it is is not told");
                kept = now;
            });
        }
        kept.part()
    }

    #[test]
    fn half_as_much_again_comes_in_as_is_let_in() {
        let mut shares = Shares::default();
        assert_eq!(kept_after(&mut shares, 5, 900, 1_000, 0), 1.0, "there is time for all");
        assert_eq!(shares.look_at(), None);
        let kept = kept_after(&mut shares, 10, 10_000, 1_000, 10);
        assert!((0.13..=0.17).contains(&kept), "{kept}");
        let kept = kept_after(&mut shares, 10, 20_000, 1_000, 20);
        assert!((0.065..=0.085).contains(&kept), "{kept}");
        // The load goes: within a second nothing is dropped any more.
        assert_eq!(kept_after(&mut shares, 10, 500, 1_000, 30), 1.0);
        assert_eq!(shares.look_at(), None);
    }

    #[test]
    fn what_is_little_too_much_needs_no_filter() {
        let mut shares = Shares::default();
        assert_eq!(kept_after(&mut shares, 20, 1_900, 1_000, 0), 1.0);
        assert!(kept_after(&mut shares, 20, 2_100, 1_000, 20) < 0.75);
    }

    #[test]
    fn where_little_comes_a_filter_ends_as_soon() {
        let mut shares = Shares::default();
        assert!(kept_after(&mut shares, 20, 100_000, 100, 0) < 0.01);
        assert_eq!(kept_after(&mut shares, 18, 50, 100, 20), 1.0);
    }

    #[test]
    fn what_cannot_be_had_is_not_counted_on() {
        let mut shares = Shares::default();
        assert!(kept_after(&mut shares, 1, 10_000, 100, 0) < 1.0);
        shares.keeps_all(HERE);
        assert_eq!(shares.by_listener[2].kept, Kept::ALL);
        assert!(kept_after(&mut shares, 1, 10_000, 100, 1) < 1.0, "it is wanted again");
    }

    #[test]
    fn few_are_counted_for_longer_and_nothing_at_all_opens() {
        let mut shares = Shares::default();
        // Six in a period, of which one is let in: after some periods there are enough to say.
        assert_eq!(kept_after(&mut shares, 5, 6, 1, 0), 1.0);
        let kept = kept_after(&mut shares, 10, 6, 1, 5);
        assert!(kept < 0.5, "{kept}");
        let mut nothing_let_in = Shares::default();
        let kept = kept_after(&mut nothing_let_in, 50, 100_000, 0, 0);
        assert!((Kept::LEAST.part()..0.01).contains(&kept), "{kept}");
        assert_eq!(kept_after(&mut nothing_let_in, 20, 0, 0, 50), 1.0);
    }

    #[test]
    fn parts_have_bounds() {
        assert_eq!(Kept::ALL.times(5, 1), Kept::ALL);
        assert_eq!(Kept::ALL.times(0, 0), Kept::LEAST);
        assert_eq!(Kept::ALL.times(1, 4).below(), 1 << 30);
        assert_eq!(Kept::ALL.below(), u32::MAX);
    }
}
