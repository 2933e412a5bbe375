//! The highest rate that is carried, found by short windows of which any may be spoiled by what else a machine does.
//!
//! ```text
//!  rise until a rate is not carried ─► halve what is between ─► is the next higher one carried?
//!    ▲                                                                      │ yes
//!    └──────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Who was offered too much may keep something of it for a while (what it sends again, what it has queued), and would be judged
//! by that at lower rates: after each window that is not carried it is begun afresh.
//!
//! Pure: what a window shows is a function's answer. A window too many that fails makes a peak too low, which the last step
//! makes good; one that is passed by luck makes it too high, so what counts in the end was carried more often than not.

use std::collections::BTreeMap;

/// What a window shows of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is carried.
    Carried,
    /// It is not.
    Lost,
    /// Nothing: somebody else had the processor meanwhile.
    Spoiled,
}

impl Verdict {
    /// The same of one that had nothing left: what it carries comes from the room of its queues.
    pub fn but_full(self) -> Self {
        if self == Self::Carried { Self::Lost } else { self }
    }
}

/// How to look for it.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// Rate of the first window.
    pub first: f64,
    /// The lowest and the highest rate that are of interest.
    pub between: (f64, f64),
    /// Each rate over the one before while it rises.
    pub rise: f64,
    /// How much higher a rate may be that is not carried than the one that is found: 1.03 is three of a hundred.
    pub within: f64,
    /// Windows in all, after which what is known by then is told: the bound of its time.
    pub windows: usize,
}

/// A rate is judged by the verdict that so many windows share.
pub const AGREED: usize = 2;
/// Windows of one rate, the spoiled ones included; where they do not agree, it is not carried.
const AT_ONE_RATE: usize = 6;

/// Whether a rate is carried: two windows of it have to agree.
///
/// # Errors
/// Those of `window`.
pub fn is_carried<E>(window: impl FnMut() -> Result<Verdict, E>) -> Result<bool, E> {
    let mut left = AT_ONE_RATE;
    Seen::default().are_carried(AGREED, &mut left, window)
}

/// A rate that is known by what several make of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Settled<M> {
    /// The highest that was tried and that all carry; the lowest of all, where none was.
    pub rate: f64,
    /// Rates above it, from the highest, and who did not carry each.
    pub above: Vec<(f64, M)>,
    /// Who does not even carry that one.
    pub lost_by: Option<M>,
}

/// The first of `rate`, `rate * lower`, `rate * lower * lower`, … (`steps` of them below the first) that all members carry,
/// as `carries` answers. Who did not carry one is asked first at the next.
///
/// # Errors
/// Those of `carries`.
pub fn settle<M: Copy + PartialEq, E>(
    members: &[M],
    mut rate: f64,
    (lower, steps): (f64, usize),
    mut carries: impl FnMut(M, f64) -> Result<bool, E>,
) -> Result<Settled<M>, E> {
    let (mut above, mut order) = (Vec::new(), members.to_vec());
    loop {
        let mut lost_by = None;
        for member in &order {
            if !carries(*member, rate)? {
                lost_by = Some(*member);
                break;
            }
        }
        match lost_by {
            Some(loser) if above.len() < steps => {
                above.push((rate, loser));
                rate *= lower;
                order.sort_by_key(|member| *member != loser);
            }
            lost_by => return Ok(Settled { rate, above, lost_by }),
        }
    }
}

impl Search {
    /// The highest rate of which most windows are carried; `None`: not even the lowest, or the windows were not enough to tell.
    ///
    /// # Errors
    /// Those of `window`, which is told the rate.
    pub fn run<E>(&self, window: impl FnMut(f64) -> Result<Verdict, E>) -> Result<Option<f64>, E> {
        let mut looked = Looked { window, seen: BTreeMap::new(), left: self.windows };
        let Some(mut peak) = self.search_from(&mut looked, self.first)? else { return Ok(None) };
        // Bad luck on the way has left it too low, where the next higher rate is carried, too.
        while looked.left > 0 {
            looked.seen.clear();
            let next = peak * self.within;
            if next > self.between.1 || !looked.is_carried(next, AGREED)? {
                break;
            }
            peak = self.search_from(&mut looked, next)?.map_or(peak, |found| found.max(peak));
        }
        Ok(Some(peak))
    }

    /// The same, of a bench that is put back by `afresh` after each window that is not carried, so that no rate is judged by
    /// what was left of another, and nothing of the search is left after it.
    ///
    /// # Errors
    /// Those of `window`, which is told the rate, and of `afresh`.
    pub fn run_afresh<B, E>(
        &self,
        bench: &mut B,
        mut window: impl FnMut(&mut B, f64) -> Result<Verdict, E>,
        mut afresh: impl FnMut(&mut B) -> Result<(), E>,
    ) -> Result<Option<f64>, E> {
        self.run(|rate| {
            let verdict = window(bench, rate)?;
            if verdict != Verdict::Carried {
                afresh(bench)?;
            }
            Ok(verdict)
        })
    }

    /// Rises from a rate, then halves what is between.
    fn search_from<E>(
        &self,
        looked: &mut Looked<impl FnMut(f64) -> Result<Verdict, E>>,
        rate: f64,
    ) -> Result<Option<f64>, E> {
        let Some((low, high)) = self.bracket(looked, rate)? else { return Ok(None) };
        self.narrow(looked, low, high).map(Some)
    }

    /// A rate that is carried for sure, and one above that is not.
    fn bracket<E>(
        &self,
        looked: &mut Looked<impl FnMut(f64) -> Result<Verdict, E>>,
        mut rate: f64,
    ) -> Result<Option<(f64, f64)>, E> {
        let (lowest, most) = self.between;
        // One window that is carried is enough to go on, and too little to stay.
        while rate < most && looked.is_carried(rate, 1)? {
            rate = (rate * self.rise).min(most);
        }
        let mut high = rate;
        loop {
            if looked.is_carried(rate, AGREED)? {
                return Ok(Some((rate, high)));
            }
            if rate <= lowest || looked.left == 0 {
                return Ok(None);
            }
            high = rate;
            rate = (rate / self.rise).max(lowest);
        }
    }

    fn narrow<E>(
        &self,
        looked: &mut Looked<impl FnMut(f64) -> Result<Verdict, E>>,
        mut low: f64,
        mut high: f64,
    ) -> Result<f64, E> {
        while high / low > self.within && looked.left > 0 {
            let middle = (low * high).sqrt();
            if looked.is_carried(middle, AGREED)? {
                low = middle;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}

/// Windows so far.
struct Looked<W> {
    window: W,
    /// Of each rate (its bits, which order as it does).
    seen: BTreeMap<u64, Seen>,
    left: usize,
}

/// Windows of one rate: those that were carried, lost, and all.
#[derive(Default)]
struct Seen {
    carried: usize,
    lost: usize,
    all: usize,
}

impl Seen {
    /// So many are carried before two are lost; takes more, of those that are left, until that is known.
    fn are_carried<E>(
        &mut self,
        enough: usize,
        left: &mut usize,
        mut window: impl FnMut() -> Result<Verdict, E>,
    ) -> Result<bool, E> {
        while self.carried < enough && self.lost < AGREED && self.all < AT_ONE_RATE && *left > 0 {
            match window()? {
                Verdict::Carried => self.carried += 1,
                Verdict::Lost => self.lost += 1,
                Verdict::Spoiled => {}
            }
            self.all += 1;
            *left -= 1;
        }
        Ok(self.carried >= enough)
    }
}

impl<E, W: FnMut(f64) -> Result<Verdict, E>> Looked<W> {
    /// So many windows of this rate are carried before two are lost.
    fn is_carried(&mut self, rate: f64, enough: usize) -> Result<bool, E> {
        let Self { window, seen, left } = self;
        seen.entry(rate.to_bits()).or_default().are_carried(enough, left, || window(rate))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::draw::Random;

    const SEARCH: Search =
        Search { first: 1_000.0, between: (50.0, 1e6), rise: 1.6, within: 1.03, windows: 100 };

    /// A forwarder that carries `capacity`, on a machine that spoils a part of the windows, known or not, and lets a part
    /// of those just above it pass.
    struct Simulated {
        capacity: f64,
        spoiled: usize,
        unseen: usize,
        lucky: usize,
        random: Random,
        windows: usize,
    }

    impl Simulated {
        fn new(capacity: f64, seed: u64) -> Self {
            Self { capacity, spoiled: 0, unseen: 0, lucky: 0, random: Random(seed), windows: 0 }
        }

        /// In one of a hundred times `part`.
        fn happens(&mut self, part: usize) -> bool {
            self.random.below(100) < part
        }

        fn window(&mut self, rate: f64) -> Verdict {
            self.windows += 1;
            let lucky = rate < self.capacity * 1.15 && self.happens(self.lucky);
            let (spoiled, unseen) = (self.happens(self.spoiled), self.happens(self.unseen));
            match rate <= self.capacity || lucky {
                _ if spoiled => Verdict::Spoiled,
                true if !unseen => Verdict::Carried,
                _ => Verdict::Lost,
            }
        }

        fn peak(&mut self, search: &Search) -> Option<f64> {
            let found: Result<_, Infallible> = search.run(|rate| Ok(self.window(rate)));
            let Ok(found) = found;
            found
        }
    }

    #[test]
    fn any_capacity_is_found_from_below_on_a_quiet_machine() {
        for capacity in [50.0, 51.0, 333.0, 999.0, 1_000.0, 1_001.0, 7_777.0, 250_000.0] {
            let mut simulated = Simulated::new(capacity, 1);
            let peak = simulated.peak(&SEARCH).unwrap();
            assert!((capacity / 1.031..=capacity).contains(&peak), "{peak} of {capacity}");
            assert!(simulated.windows < 40, "{} windows", simulated.windows);
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_said_or_cut() {
        assert_eq!(Simulated::new(49.0, 1).peak(&SEARCH), None);
        assert_eq!(Simulated::new(0.0, 1).peak(&SEARCH), None);
        assert_eq!(Simulated::new(1e9, 1).peak(&SEARCH), Some(1e6));
    }

    #[test]
    fn one_bad_window_anywhere_changes_nothing() {
        let quiet = Simulated::new(7_777.0, 1).peak(&SEARCH);
        for bad in 0..40 {
            let (mut simulated, mut windows) = (Simulated::new(7_777.0, 1), 0);
            let found: Result<_, Infallible> = SEARCH.run(|rate| {
                windows += 1;
                Ok(if windows == bad { Verdict::Lost } else { simulated.window(rate) })
            });
            assert_eq!(found, Ok(quiet), "window {bad}");
        }
    }

    /// Of a thousand searches where an eighth of the windows fails for no reason, a fifth is known to be spoiled and a tenth
    /// of those just above passes.
    #[test]
    fn noise_moves_the_peak_by_little_and_hardly_ever_up() {
        let (mut near, mut above) = (0, 0);
        for seed in 0..1_000 {
            let capacity = 2_000.0 + 17.0 * seed as f64;
            let mut simulated =
                Simulated { spoiled: 20, unseen: 12, lucky: 10, ..Simulated::new(capacity, seed) };
            let peak = simulated.peak(&SEARCH).unwrap();
            near += usize::from((capacity * 0.9..capacity * 1.05).contains(&peak));
            above += usize::from(peak > capacity * 1.05);
            assert!(peak < capacity * 1.25, "{peak} of {capacity}");
            assert!(simulated.windows <= SEARCH.windows);
        }
        assert!(near >= 950 && above <= 40, "{near} near, {above} above");
    }

    #[test]
    fn its_time_has_an_end_and_too_few_windows_tell_what_they_can() {
        let mut spoiled = Simulated { spoiled: 100, ..Simulated::new(5_000.0, 1) };
        assert_eq!(spoiled.peak(&SEARCH), None);
        assert!(spoiled.windows <= SEARCH.windows);
        let mut simulated = Simulated::new(5_000.0, 1);
        let few = Search { windows: 14, ..SEARCH };
        let peak = simulated.peak(&few).unwrap();
        assert!((2_000.0..=5_000.0).contains(&peak) && simulated.windows <= 14, "{peak}");
    }

    /// Carries less after a window that was too much for it, until it is begun afresh.
    #[derive(Default)]
    struct Burdened {
        burden: f64,
        begun: usize,
    }

    impl Burdened {
        const CAPACITY: f64 = 20_000.0;

        fn window(&mut self, rate: f64) -> Result<Verdict, Infallible> {
            if rate + self.burden <= Self::CAPACITY {
                return Ok(Verdict::Carried);
            }
            self.burden += rate;
            Ok(Verdict::Lost)
        }

        fn afresh(&mut self) -> Result<(), Infallible> {
            (self.burden, self.begun) = (0.0, self.begun + 1);
            Ok(())
        }
    }

    #[test]
    fn no_rate_is_judged_by_what_another_left() {
        let mut kept = Burdened::default();
        let Ok(found) = SEARCH.run(|rate| kept.window(rate));
        assert!(found.is_none_or(|peak| peak < Burdened::CAPACITY / 2.0), "{found:?}");
        let mut fresh = Burdened::default();
        let Ok(found) = SEARCH.run_afresh(&mut fresh, Burdened::window, Burdened::afresh);
        let least = Burdened::CAPACITY / 1.031;
        assert!(found.is_some_and(|peak| (least..=Burdened::CAPACITY).contains(&peak)), "{found:?}");
        assert!(fresh.begun > 2 && fresh.burden == 0.0, "{} times", fresh.begun);
    }

    #[test]
    fn errors_end_it() {
        assert_eq!(SEARCH.run(|_| Err::<Verdict, _>("gone")), Err("gone"));
        assert_eq!(is_carried(|| Err("gone")), Err("gone"));
        assert_eq!(settle(&[1], 1.0, (0.8, 5), |_, _| Err("gone")), Err("gone"));
    }

    #[test]
    fn two_windows_have_to_agree() {
        use Verdict::{Carried, Lost, Spoiled};
        for (windows, carried) in [
            (&[Carried, Carried][..], true),
            (&[Lost, Lost], false),
            (&[Carried, Lost, Carried], true),
            (&[Lost, Carried, Spoiled, Lost], false),
            (&[Spoiled, Carried, Spoiled, Spoiled, Spoiled, Carried], true),
            (&[Spoiled, Carried, Spoiled, Spoiled, Spoiled, Spoiled], false),
        ] {
            let mut left = windows.iter();
            let found: Result<_, Infallible> = is_carried(|| Ok(*left.next().unwrap()));
            assert_eq!((found, left.len()), (Ok(carried), 0), "{windows:?}");
        }
    }

    #[test]
    fn what_only_queues_have_room_for_is_not_carried() {
        use Verdict::{Carried, Lost, Spoiled};
        assert_eq!([Carried, Lost, Spoiled].map(Verdict::but_full), [Lost, Lost, Spoiled]);
    }

    #[test]
    fn a_rate_is_lowered_until_all_carry_it() {
        let mut asked = Vec::new();
        let settled = |capacities: &[f64], asked: &mut Vec<(usize, f64)>| {
            let members: Vec<_> = (0..capacities.len()).collect();
            let found: Result<_, Infallible> = settle(&members, 1_000.0, (0.5, 3), |member, rate| {
                asked.push((member, rate));
                Ok(rate <= capacities[member])
            });
            let Ok(found) = found;
            found
        };
        let at_once = Settled { rate: 1_000.0, above: Vec::new(), lost_by: None };
        assert_eq!(settled(&[5_000.0, 1_000.0], &mut asked), at_once);
        assert_eq!(asked.len(), 2);
        asked.clear();
        let third = settled(&[600.0, 300.0], &mut asked);
        assert_eq!(third, Settled { rate: 250.0, above: vec![(1_000.0, 0), (500.0, 1)], lost_by: None });
        assert_eq!(asked, [(0, 1_000.0), (0, 500.0), (1, 500.0), (1, 250.0), (0, 250.0)]);
        let never = settled(&[1_000.0, 100.0], &mut asked);
        assert_eq!((never.rate, never.above.len(), never.lost_by), (125.0, 3, Some(1)));
    }
}
