//! What next hops ask to be spared: RFC 7339, and RFC 7415 where they choose its algorithm.
//!
//! One table for all shards, because the answers of a next hop come to whichever shard the kernel gives them. It is
//! written by answers that have news, and by requests to a next hop that is spared some; as long as none is, a shard reads
//! one word of it. Nobody waits for anybody: what another shard is just noting is noted by the next answer.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::bucket::{Bucket, Pace};
use super::wait::Standing;
use crate::limits::{PLEA_KNOWN_NS, PLEA_NS, THROTTLE_SETS, THROTTLE_WAYS};
use crate::net::Now;

/// How much is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// `loss`: so many of a hundred requests are not to be sent, at most 100.
    Loss(u8),
    /// `rate`: no more than so many are to be sent in a second.
    Rate(u32),
}

/// What a next hop asks for in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plea {
    /// `oc` and `oc-algo`
    pub measure: Measure,
    /// `oc-validity` in milliseconds; 0: nothing is asked for any more.
    pub validity_ms: u32,
    /// `oc-seq` in hundred thousandths; none: it takes the place of whatever was asked for before.
    pub sequence: Option<u64>,
}

/// A request that may have to go another way.
#[derive(Clone, Copy, Debug)]
pub struct Sparing {
    /// What it takes part in: what begins something goes first.
    pub standing: Standing,
    /// It is sent in any case, and only counted: nobody could be told that it was not.
    pub is_bound: bool,
    /// The same for whatever belongs to the same transaction, and known to nobody.
    pub draw: u64,
}

/// What all next hops ask for. Its size is fixed.
#[derive(Debug)]
pub struct Throttles {
    sets: Box<[[Throttle; THROTTLE_WAYS]]>,
    hasher: RandomState,
    /// Until then some next hop asks for something.
    until_ns: AtomicU64,
}

/// What one next hop asks for; all in one cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Throttle {
    /// Hash of its address; 0: of nobody.
    key: AtomicU64,
    /// Somebody writes what follows.
    is_taken: AtomicBool,
    measure: AtomicU64,
    until_ns: AtomicU64,
    sequence: AtomicU64,
    /// Until then the sequence number counts.
    known_until_ns: AtomicU64,
    /// Requests by [`Standing`].
    mix: AtomicU64,
    /// The [`Bucket`] of a rate.
    full_at: AtomicU64,
}

const _: () = assert!(size_of::<Throttle>() == 64);

/// A sequence number that is so much lower has begun anew (RFC 7339 §4.4: "significantly less than several previous
/// values"); one that is a little lower has been overtaken. In hundred thousandths.
const BEGUN_ANEW: u64 = 1_000 * 100_000;

/// Tokens that a bucket of each standing holds. RFC 7415 §3.5.2: "TAU1 = 1/2 * TAU2, and TAU2 = 10 * T", which are the
/// tokens besides the one that is taken; what is kept has twice as many.
const BURSTS: [u32; 3] = [6, 11, 21];

const RATE: u64 = 1 << 32;

impl Default for Throttles {
    fn default() -> Self {
        Self {
            sets: (0..THROTTLE_SETS).map(|_| Default::default()).collect(),
            hasher: RandomState::new(),
            until_ns: AtomicU64::new(0),
        }
    }
}

impl Throttles {
    /// No next hop asks for anything.
    #[inline]
    pub fn is_quiet(&self, now: Now) -> bool {
        self.until_ns.load(Ordering::Relaxed) <= now.0
    }

    /// Notes what the next hop asks for in an answer; `true`: it is news, and asks for something.
    ///
    /// RFC 7339 §5.4: "The scope of overload control applies to unique combinations of IP and port values." "If the
    /// "oc-seq" value extracted from the Via header is larger than the stored value, the client updates the stored values".
    pub fn hear(&self, from: SocketAddr, plea: &Plea, now: Now) -> bool {
        let asks = plea.validity_ms > 0 && plea.measure != Measure::Loss(0);
        let (key, set) = self.set(from);
        let known = set.iter().find(|throttle| throttle.key.load(Ordering::Acquire) == key);
        let place = match known {
            Some(throttle) => throttle,
            None if !asks => return false,
            // Whose time is over first makes room.
            None => {
                let until = |throttle: &&Throttle| throttle.known_until_ns.load(Ordering::Relaxed);
                let Some(first) = set.iter().min_by_key(until) else { return false };
                first
            }
        };
        if place.is_taken.swap(true, Ordering::Acquire) {
            return false;
        }
        let until_ns = place.note(key, plea, asks, now);
        place.is_taken.store(false, Ordering::Release);
        if let Some(until_ns) = until_ns {
            self.until_ns.fetch_max(until_ns, Ordering::Relaxed);
        }
        until_ns.is_some()
    }

    /// The request is not to be sent there.
    ///
    /// RFC 7339 §5.5: "The SIP client MUST NOT forward more requests to a SIP server than allowed by the current "oc" and
    /// "oc-algo" parameter values from that particular downstream server."
    pub fn spares(&self, next_hop: SocketAddr, request: Sparing, now: Now) -> bool {
        let Some((throttle, key, measure)) = self.asked_by(next_hop, now) else { return false };
        let spared = match measure {
            loss @ ..RATE => throttle.loses(loss, request, key),
            rate => throttle.exceeds(rate as u32, request.standing, now),
        };
        spared && !request.is_bound
    }

    /// A request that the next hop was not spared is not sent there after all: it takes nothing of a rate.
    pub fn give_back(&self, next_hop: SocketAddr, now: Now) {
        if let Some((throttle, _, rate @ RATE..)) = self.asked_by(next_hop, now) {
            throttle.give_back(rate as u32);
        }
    }

    /// What a next hop asks for, with where that stands and under which hash.
    fn asked_by(&self, next_hop: SocketAddr, now: Now) -> Option<(&Throttle, u64, u64)> {
        let (key, set) = self.set(next_hop);
        let is_its = |throttle: &&Throttle| throttle.key.load(Ordering::Acquire) == key;
        let throttle = set.iter().find(is_its)?;
        if throttle.until_ns.load(Ordering::Relaxed) <= now.0 {
            return None;
        }
        let measure = throttle.measure.load(Ordering::Relaxed);
        // Another next hop may have its place by now.
        is_its(&throttle).then_some((throttle, key, measure))
    }

    /// The hash of an address, never 0, and where it stands if it does.
    fn set(&self, address: SocketAddr) -> (u64, &[Throttle; THROTTLE_WAYS]) {
        let key = self.hasher.hash_one((address.ip(), address.port())).max(1);
        (key, &self.sets[key as usize & (self.sets.len() - 1)])
    }
}

impl Throttle {
    /// Notes a plea, and whose it is; gives until when it holds. `None`: it is no news, or asks for nothing.
    fn note(&self, key: u64, plea: &Plea, asks: bool, now: Now) -> Option<u64> {
        let set = |word: &AtomicU64, value| word.store(value, Ordering::Relaxed);
        if self.key.load(Ordering::Relaxed) != key {
            for word in [&self.until_ns, &self.sequence, &self.known_until_ns, &self.full_at] {
                set(word, 0);
            }
            set(&self.mix, pack(USUAL_MIX));
            self.key.store(key, Ordering::Release);
        }
        if !self.follows(plea.sequence, now) {
            return None;
        }
        let was_asking = self.until_ns.load(Ordering::Relaxed) > now.0;
        let validity_ns = (u64::from(plea.validity_ms) * 1_000_000).min(PLEA_NS);
        let until_ns = if asks { now.plus_ns(validity_ns).0 } else { 0 };
        match plea.measure {
            Measure::Loss(percent) => set(&self.measure, percent.into()),
            Measure::Rate(rate) => {
                set(&self.measure, RATE | u64::from(rate));
                // Of what another rate has let through no more counts than this one could have.
                let most_ns = u64::from(BURSTS[2]) * 1_000_000_000 / u64::from(rate.max(1));
                let full_at = self.full_at.load(Ordering::Relaxed).min(now.plus_ns(most_ns).0);
                set(&self.full_at, if was_asking { full_at } else { now.0 });
            }
        }
        set(&self.known_until_ns, until_ns.max(now.plus_ns(PLEA_KNOWN_NS).0));
        set(&self.until_ns, until_ns);
        asks.then_some(until_ns)
    }

    /// What has this sequence number is newer than what was noted last; notes the number.
    fn follows(&self, sequence: Option<u64>, now: Now) -> bool {
        let Some(sequence) = sequence else { return true };
        let before = self.sequence.load(Ordering::Relaxed);
        let counts = self.known_until_ns.load(Ordering::Relaxed) > now.0;
        if counts && sequence <= before && before - sequence < BEGUN_ANEW {
            return false;
        }
        self.sequence.store(sequence, Ordering::Relaxed);
        true
    }

    /// So many of a hundred requests are lost, and this is one of them.
    ///
    /// RFC 7339 §7.2: "the second category will include requests that are not subject to reduction except when all messages
    /// in the first category have been rejected and further reduction is still needed." There are three, by [`Standing`], and
    /// how many of each there are is counted.
    fn loses(&self, percent: u64, request: Sparing, key: u64) -> bool {
        let rank = request.standing as usize;
        let count = |mix| Some(pack(counted(unpack(mix), rank)));
        let (Ok(mix) | Err(mix)) = self.mix.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count);
        let mix = counted(unpack(mix), rank);
        let all: u64 = mix.iter().sum();
        let before: u64 = mix.iter().take(rank).sum();
        // In hundredths of a request.
        let (lost, own) = ((percent * all).saturating_sub(100 * before), 100 * mix[rank]);
        (mixed(request.draw ^ key) >> 32) * own < lost << 32
    }

    /// There is no token for it.
    ///
    /// RFC 7415 §3.5.1: "when the "oc" parameter is 0 with a non-zero "oc-validity", then the client should reject 100% of
    /// SIP requests destined to the overload server."
    fn exceeds(&self, rate: u32, standing: Standing, now: Now) -> bool {
        if rate == 0 {
            return true;
        }
        let pace = Pace::of(rate, BURSTS[standing as usize], 1);
        let take = |full_at| {
            let mut bucket = Bucket { full_at: Now(full_at) };
            bucket.take(pace, now).ok().map(|()| bucket.full_at.0)
        };
        self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err()
    }

    /// Puts a token back. All standings take theirs at the same pace.
    fn give_back(&self, rate: u32) {
        let put_back = |full_at| {
            let mut bucket = Bucket { full_at: Now(full_at) };
            bucket.give_back(Pace::of(rate, 1, 1));
            Some(bucket.full_at.0)
        };
        // It never refuses.
        _ = self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, put_back);
    }
}

/// RFC 7339 §7.2: "cat1 := 80.0 // Category 1 -- Subject to reduction", "a reasonable default" until requests are counted.
const USUAL_MIX: [u64; 3] = [80, 10, 10];
/// As many requests are counted; those before them count half.
const COUNTED: u64 = 1_024;
const COUNT_BITS: u32 = 21;

fn counted(mut mix: [u64; 3], rank: usize) -> [u64; 3] {
    if mix.iter().sum::<u64>() >= COUNTED {
        mix = mix.map(|count| count / 2);
    }
    mix[rank] += 1;
    mix
}

fn pack(mix: [u64; 3]) -> u64 {
    mix.iter().fold(0, |word, count| word << COUNT_BITS | count)
}

fn unpack(word: u64) -> [u64; 3] {
    [2, 1, 0].map(|place| word >> (place * COUNT_BITS) & ((1 << COUNT_BITS) - 1))
}

/// Spreads a number over all bits: the last step of splitmix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number
/// Generators", 2014).
const fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
