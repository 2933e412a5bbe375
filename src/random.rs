//! Numbers that a seed repeats, and hashes made alike: SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom
//! number generators, 2014). For shares and for tests; nobody is kept from guessing them.
#![forbid(unsafe_code)]

/// What SplitMix64 adds at each step, so that zeros do not stay zero.
pub const ADDED: u64 = 0x9e37_79b9_7f4a_7c15;

/// Every bit of the result depends on every bit of the value.
pub const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The next number, any of 64 bits.
pub const fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(ADDED);
    mix(*state)
}

/// A series of numbers: the same seed, the same numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Begins a series.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        next(&mut self.0)
    }

    /// A number below `bound`; 0 for a bound of 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { ((self.next() as u128 * bound as u128) >> 64) as u64 }
    }

    /// True so many times in a thousand.
    pub const fn per_mille(&mut self, times: u16) -> bool {
        self.below(1000) < times as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_reference() {
        // The first three of the reference implementation's (splitmix64.c, Vigna 2015) from the seed 0.
        let mut random = Random::new(0);
        assert_eq!(
            [random.next(), random.next(), random.next()],
            [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]
        );
    }
}
