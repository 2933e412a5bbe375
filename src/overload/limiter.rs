//! What has passed each limit lately.
//!
//! Each shard has buckets of its own, with its part of rate and burst: shards share nothing that they write.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use super::bucket::{Bucket, Pace};
use super::limit::{LimitId, Limits, Per, SourcePrefix};
use crate::limits::{LIMITED_SETS, LIMITED_WAYS};
use crate::net::Now;

/// A shard's buckets. All memory is taken when it is made.
pub struct Limiter {
    limits: Vec<Counted>,
    /// Buckets of sources; none where no limit is for each source.
    sources: Box<[[Source; LIMITED_WAYS]]>,
    prefix: SourcePrefix,
    hasher: RandomState,
    evicted: u64,
}

struct Counted {
    pace: Pace,
    per: Per,
    status: u16,
    /// Of all sources together.
    bucket: Bucket,
}

/// A source's bucket of a limit.
#[derive(Clone, Copy)]
struct Source {
    of: Option<(LimitId, IpAddr)>,
    bucket: Bucket,
}

const NOBODY: Source = Source { of: None, bucket: Bucket { full_at: Now(0) } };

/// A request that a limit does not let pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What it is answered.
    pub status: u16,
    /// When it may come again, in seconds from now, at least 1.
    pub retry_after_s: u32,
}

impl Limiter {
    /// For one of so many shards.
    pub fn new(limits: &Limits, shards: u16) -> Self {
        let counted = |limit: &super::Limit| Counted {
            pace: Pace::of(limit.rate, limit.burst, shards),
            per: limit.per,
            status: limit.status,
            bucket: Bucket::default(),
        };
        let is_per_source = limits.list.iter().any(|limit| limit.per == Per::Source);
        let sets = if is_per_source { LIMITED_SETS } else { 0 };
        Self {
            limits: limits.list.iter().map(counted).collect(),
            sources: vec![[NOBODY; LIMITED_WAYS]; sets].into(),
            prefix: limits.sources,
            hasher: RandomState::new(),
            evicted: 0,
        }
    }

    /// Lets a request pass, and counts it.
    ///
    /// # Errors
    /// There have been too many.
    pub fn pass(&mut self, id: LimitId, source: IpAddr, now: Now) -> Result<(), Refused> {
        let Some(limit) = self.limits.get_mut(id.0 as usize) else { return Ok(()) };
        let (pace, status) = (limit.pace, limit.status);
        let taken = match limit.per {
            Per::Owner => limit.bucket.take(pace, now),
            Per::Source => self.source(id, self.prefix.of(source), now).take(pace, now),
        };
        taken.map_err(|wait_ns| Refused {
            status,
            retry_after_s: u32::try_from(wait_ns.div_ceil(1_000_000_000)).unwrap_or(u32::MAX).max(1),
        })
    }

    /// Buckets of sources that were forgotten before they were full again.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// The bucket of a source. Where its set is full, the one that is full again first is forgotten.
    fn source(&mut self, id: LimitId, source: IpAddr, now: Now) -> &mut Bucket {
        let place = self.hasher.hash_one((id, source)) as usize & (self.sources.len() - 1);
        let set = &mut self.sources[place];
        let of = Some((id, source));
        let way = set.iter().position(|known| known.of == of).unwrap_or_else(|| {
            let first = (0..set.len()).min_by_key(|&way| set[way].bucket.full_at).unwrap_or(0);
            self.evicted += u64::from(!set[first].bucket.is_full(now));
            set[first] = Source { of, bucket: Bucket::default() };
            first
        });
        &mut set[way].bucket
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Limit, Owner};
    use super::*;

    fn limits(per: Per) -> Limits {
        let limit = Limit { owner: Owner::Route, name: "r".into(), rate: 10, burst: 3, per, status: 480 };
        Limits { list: vec![limit], ..Limits::default() }
    }

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn what_is_too_much_is_told_when_to_come_again() {
        let mut limiter = Limiter::new(&limits(Per::Owner), 1);
        let mut pass = |source, ms: u64| limiter.pass(LimitId(0), address(source), Now(ms * 1_000_000));
        assert_eq!([pass(1, 5_000), pass(2, 5_000), pass(3, 5_010)], [Ok(()); 3]);
        assert_eq!(pass(4, 5_020), Err(Refused { status: 480, retry_after_s: 1 }));
        assert_eq!(pass(4, 5_100), Ok(()));
        let slow = Limit { rate: 1, burst: 5, ..limits(Per::Owner).list[0].clone() };
        let mut limiter = Limiter::new(&Limits { list: vec![slow], ..Limits::default() }, 4);
        let mut pass = || limiter.pass(LimitId(0), address(1), Now(0));
        assert_eq!([pass(), pass()], [Ok(()); 2]);
        assert_eq!(pass().unwrap_err().retry_after_s, 4);
        assert_eq!(limiter.pass(LimitId(7), address(1), Now(0)), Ok(()));
    }

    #[test]
    fn each_source_has_its_own_rate() {
        let mut limiter = Limiter::new(&limits(Per::Source), 1);
        for source in [1, 2] {
            let passed = (0..9).filter(|_| limiter.pass(LimitId(0), address(source), Now(7)).is_ok()).count();
            assert_eq!(passed, 3);
        }
        // An IPv6 host has one, however many addresses it sends from.
        let v6 = |host: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, host]);
        let passed = (0..9).filter(|host| limiter.pass(LimitId(0), v6(*host), Now(7)).is_ok()).count();
        assert_eq!((passed, limiter.evicted()), (3, 0));
        // More sources than fit: the memory stays what it is, and is counted as too small.
        for source in 0..4 * (LIMITED_SETS * LIMITED_WAYS) as u32 {
            assert!(limiter.pass(LimitId(0), address(source + 10), Now(8)).is_ok());
        }
        assert!(limiter.evicted() > 2 * (LIMITED_SETS * LIMITED_WAYS) as u64);
        // Those that are full again are nobody's loss.
        let before = limiter.evicted();
        assert!(limiter.pass(LimitId(0), address(1), Now(60_000_000_000)).is_ok());
        assert_eq!(limiter.evicted(), before);
    }
}
