//! Random draws that a seed replays.

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
pub struct Random(pub u64);

impl Random {
    /// The next number, any of 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// One of the values, as often as its weight says.
    pub fn weighted(&mut self, weights: &[(u8, u64)]) -> u8 {
        let mut at = self.next() % weights.iter().map(|(_, weight)| weight).sum::<u64>();
        for (value, weight) in weights {
            if at < *weight {
                return *value;
            }
            at -= weight;
        }
        weights[0].0
    }

    /// Rank below `end` by Zipf's law with exponent 1: the n-th is 1/n times as frequent as the first.
    pub fn zipf(&mut self, end: usize) -> usize {
        let uniform = self.next() as f64 / u64::MAX as f64;
        (((end + 1) as f64).powf(uniform) as usize - 1).min(end - 1)
    }
}
