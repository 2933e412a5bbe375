//! Where the pins of a set stand, in one cache line.

use crate::swar;

/// Places of a set.
pub const WAYS: usize = 15;
/// So many pins there are for each set: half as many as it has places, so that few sets are ever full.
pub const PINS_PER_SET: usize = 8;
/// A pin's number begins again after so many.
pub const NUMBERS: usize = 1 << 24;

/// The lower bits of a number, which an index keeps.
#[inline(always)]
pub const fn lower(made: u64) -> u32 {
    made as u32 & (NUMBERS as u32 - 1)
}

/// The pins of a set, in the order in which they were made.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Set {
    /// Eight bits of each fingerprint that are never 0; of a place that was never used they are. The last one is none.
    tags: [u8; WAYS + 1],
    numbers: [[u8; 3]; WAYS],
    /// The place that is used next: an empty one, or that of the oldest.
    next: u8,
}

const _: () = assert!(size_of::<Set>() == 64);

impl Set {
    pub const EMPTY: Self = Self { tags: [0; WAYS + 1], numbers: [[0; 3]; WAYS], next: 0 };

    /// Places that may be those of this fingerprint: the highest bit of each of sixteen bytes.
    #[inline(always)]
    pub fn ways_of(&self, fingerprint: u64) -> u128 {
        swar::places_of(self.tags, tag(fingerprint))
    }

    /// The number of the pin in this place.
    #[inline(always)]
    pub fn pin(&self, way: usize) -> u32 {
        let [a, b, c] = self.numbers.get(way).copied().unwrap_or_default();
        u32::from_le_bytes([a, b, c, 0])
    }

    /// Notes a new pin by its number; gives that of the pin that had its place.
    #[inline(always)]
    pub fn put(&mut self, fingerprint: u64, made: u64) -> Option<u32> {
        let way = usize::from(self.next);
        let before = self.pin(way);
        let (place, tag_there) = (self.numbers.get_mut(way)?, self.tags.get_mut(way)?);
        let [a, b, c, _] = (made as u32).to_le_bytes();
        *place = [a, b, c];
        let was = std::mem::replace(tag_there, tag(fingerprint));
        self.next = if way + 1 < WAYS { way as u8 + 1 } else { 0 };
        (was != 0).then_some(before)
    }
}

#[inline(always)]
fn tag(fingerprint: u64) -> u8 {
    ((fingerprint >> 56) as u8).max(1)
}
