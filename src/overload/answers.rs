//! How many of those that are refused because they have waited too long are answered: a part of what is let in, so that
//! answering takes the same part of a core whether that is fast, slow or shared.

use super::{Bucket, Pace};
use crate::limits::{ANSWERED_PART, ANSWERS_KEPT, ANSWERS_PER_SECOND};
use crate::net::Now;

/// What may be answered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answers {
    /// By what was let in: [`ANSWERED_PART`] is one answer.
    earned: u32,
    /// By the time.
    given: Bucket,
}

impl Answers {
    /// A request has not waited too long where a queue stands.
    #[inline]
    pub fn let_in(&mut self) {
        self.earned = (self.earned + 1).min(ANSWERED_PART * ANSWERS_KEPT);
    }

    /// One more is answered; false: it may not be.
    pub fn take(&mut self, now: Now) -> bool {
        if let Some(left) = self.earned.checked_sub(ANSWERED_PART) {
            self.earned = left;
            return true;
        }
        self.given.take(Pace::of(ANSWERS_PER_SECOND, ANSWERS_PER_SECOND, 1), now).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(answers: &mut Answers, now: Now) -> u32 {
        (0..10_000).map(|_| u32::from(answers.take(now))).sum()
    }

    #[test]
    fn what_is_let_in_earns_answers_of_which_some_are_kept() {
        let mut answers = Answers::default();
        assert_eq!(taken(&mut answers, Now(0)), ANSWERS_PER_SECOND);
        (0..10 * ANSWERED_PART - 1).for_each(|_| answers.let_in());
        assert_eq!(taken(&mut answers, Now(0)), 9);
        answers.let_in();
        assert_eq!(taken(&mut answers, Now(0)), 1);
        (0..2 * ANSWERED_PART * ANSWERS_KEPT).for_each(|_| answers.let_in());
        assert_eq!(taken(&mut answers, Now(0)), ANSWERS_KEPT);
    }

    #[test]
    fn where_nothing_is_let_in_some_are_answered() {
        let mut answers = Answers::default();
        let mut all = 0;
        for ms in 0..10_000 {
            all += u32::from(answers.take(Now(ms * 1_000_000)));
        }
        assert!((10 * ANSWERS_PER_SECOND..=11 * ANSWERS_PER_SECOND).contains(&all), "{all}");
    }
}
