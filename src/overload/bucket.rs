//! A token bucket in one number: when it would be full again.

use crate::net::Now;

/// How fast tokens come, and how many there are room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// From one token to the next.
    interval_ns: u64,
    /// What a full bucket is ahead of an empty one, less one token.
    ahead_ns: u64,
}

/// A bucket; a new one is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// When it is full, if nothing is taken until then.
    pub full_at: Now,
}

const SECOND_NS: u64 = 1_000_000_000;

impl Pace {
    /// `rate` tokens a second and room for `burst`, both at least 1, shared by so many shards alike: each one has its
    /// part of both, of the burst at least one.
    pub fn of(rate: u32, burst: u32, shards: u16) -> Self {
        let shards = u64::from(shards.max(1));
        let interval_ns = SECOND_NS * shards / u64::from(rate.max(1));
        let burst = u64::from(burst).div_ceil(shards).max(1);
        Self { interval_ns, ahead_ns: interval_ns.saturating_mul(burst - 1) }
    }
}

impl Bucket {
    /// Takes a token.
    ///
    /// # Errors
    /// There is none; so many nanoseconds until there is one.
    pub fn take(&mut self, pace: Pace, now: Now) -> Result<(), u64> {
        let ahead_ns = self.full_at.since(now);
        if ahead_ns > pace.ahead_ns {
            return Err(ahead_ns - pace.ahead_ns);
        }
        self.full_at = self.full_at.max(now).plus_ns(pace.interval_ns);
        Ok(())
    }

    /// Puts back a token that was taken.
    pub fn give_back(&mut self, pace: Pace) {
        self.full_at = Now(self.full_at.0.saturating_sub(pace.interval_ns));
    }

    /// Nothing would be lost if it were forgotten.
    pub fn is_full(&self, now: Now) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (pace, mut bucket) = (Pace::of(10, 5, 1), Bucket::default());
        let mut passed = Vec::new();
        for ms in (0..1000).step_by(10) {
            if bucket.take(pace, Now(1_000_000 * (7_000 + ms))).is_ok() {
                passed.push(ms);
            }
        }
        assert_eq!(passed, [0, 10, 20, 30, 40, 100, 200, 300, 400, 500, 600, 700, 800, 900]);
        assert_eq!(bucket.take(pace, Now(7_950_000_000)), Err(50_000_000));
        assert!(bucket.is_full(Now(8_400_000_000)) && !bucket.is_full(Now(8_399_999_999)));
    }

    #[test]
    fn shards_share_rate_and_burst() {
        assert_eq!(Pace::of(100, 200, 4), Pace { interval_ns: 40_000_000, ahead_ns: 49 * 40_000_000 });
        assert_eq!(Pace::of(3, 1, 4).ahead_ns, 0);
    }

    proptest! {
        /// In no stretch of time more passes than the burst and what came in it.
        #[test]
        fn no_more_than_burst_and_rate(rate in 1u32..5_000, burst in 1u32..100, gaps in proptest::collection::vec(0u64..20_000_000, 1..300)) {
            let (pace, mut bucket, mut now) = (Pace::of(rate, burst, 1), Bucket::default(), Now(5));
            let mut passed = Vec::new();
            for gap in gaps {
                now = now.plus_ns(gap);
                let before = bucket;
                match bucket.take(pace, now) {
                    Ok(()) => {
                        passed.push(now);
                        // What is put back is there to be taken, and no more than that.
                        let taken = bucket;
                        bucket.give_back(pace);
                        prop_assert_eq!(bucket.full_at.max(now), before.full_at.max(now));
                        prop_assert_eq!(bucket.take(pace, now), Ok(()));
                        prop_assert_eq!(bucket, taken);
                    }
                    Err(wait_ns) => {
                        prop_assert_eq!(bucket, before);
                        prop_assert!(bucket.clone().take(pace, now.plus_ns(wait_ns)).is_ok());
                        prop_assert!(bucket.clone().take(pace, now.plus_ns(wait_ns - 1)).is_err());
                    }
                }
            }
            for (n, first) in passed.iter().enumerate() {
                for (m, last) in passed.iter().enumerate().skip(n) {
                    let came = (last.0 - first.0) / (SECOND_NS / u64::from(rate)) + u64::from(burst);
                    prop_assert!((m - n + 1) as u64 <= came);
                }
            }
        }
    }
}
