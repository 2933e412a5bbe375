//! A bounded number of records, found by their number or by a hash.

use std::num::NonZeroU32;

/// Numbers are kept one higher: 0 is none.
const NONE: u32 = 0;

/// Bits of a [`Handle`] that name the place; the others count how often it was used.
const PLACE_BITS: u32 = 20;

/// So many records of a place are told apart: a number of 31 bits, so that one more than it fits into 32.
const GENERATIONS: u32 = 1 << (31 - PLACE_BITS);

/// A record: its place, and which of those that stood there one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle(NonZeroU32);

impl Handle {
    fn new(place: usize, generation: u32) -> Self {
        Self(NonZeroU32::MIN.saturating_add(generation << PLACE_BITS | place as u32))
    }

    /// The number of the place, from 0.
    pub const fn place(self) -> u32 {
        (self.0.get() - 1) & ((1 << PLACE_BITS) - 1)
    }

    /// As a number of 32 bits that is not 0.
    pub const fn to_bits(self) -> u64 {
        self.0.get() as u64
    }

    /// What [`Handle::to_bits`] gave; `None`: 0, or nothing that it gives.
    pub fn from_bits(bits: u64) -> Option<Self> {
        u32::try_from(bits).ok().and_then(NonZeroU32::new).map(Self)
    }
}

/// Records of one kind. Memory for all of them is taken at once and touched as it is used.
pub struct Slab<T> {
    entries: Vec<Entry<T>>,
    capacity: usize,
    /// The first free place.
    free: u32,
    used: usize,
}

struct Entry<T> {
    generation: u32,
    next_free: u32,
    value: Option<T>,
}

impl<T> Slab<T> {
    /// Bytes of a record.
    pub const ENTRY_BYTES: usize = size_of::<Entry<T>>();

    /// Room for so many, at most 2^20.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.min(1 << PLACE_BITS);
        Self { entries: Vec::with_capacity(capacity), capacity, free: NONE, used: 0 }
    }

    /// There is no room.
    pub fn is_full(&self) -> bool {
        self.used == self.capacity
    }

    /// Keeps a record; `None`: there is no room.
    pub fn insert(&mut self, value: T) -> Option<Handle> {
        let place = match self.free.checked_sub(1) {
            Some(place) => place as usize,
            None if self.entries.len() < self.capacity => {
                self.entries.push(Entry { generation: 0, next_free: NONE, value: None });
                self.entries.len() - 1
            }
            None => return None,
        };
        let entry = &mut self.entries[place];
        self.free = std::mem::replace(&mut entry.next_free, NONE);
        entry.value = Some(value);
        self.used += 1;
        Some(Handle::new(place, entry.generation))
    }

    /// The record, if it is still there.
    pub fn get(&self, handle: Handle) -> Option<&T> {
        let entry = self.entries.get(handle.place() as usize)?;
        entry.value.as_ref().filter(|_| handle == Handle::new(handle.place() as usize, entry.generation))
    }

    /// The record, if it is still there.
    pub fn get_mut(&mut self, handle: Handle) -> Option<&mut T> {
        let entry = self.entries.get_mut(handle.place() as usize)?;
        let is_it = handle == Handle::new(handle.place() as usize, entry.generation);
        entry.value.as_mut().filter(|_| is_it)
    }

    /// The record that stands at a place now.
    pub fn at(&self, place: u32) -> Option<Handle> {
        let entry = self.entries.get(place as usize)?;
        entry.value.as_ref().map(|_| Handle::new(place as usize, entry.generation))
    }

    /// Takes a record out.
    pub fn remove(&mut self, handle: Handle) -> Option<T> {
        self.get(handle)?;
        let entry = &mut self.entries[handle.place() as usize];
        let value = entry.value.take();
        entry.generation = (entry.generation + 1) % GENERATIONS;
        entry.next_free = std::mem::replace(&mut self.free, handle.place() + 1);
        self.used -= 1;
        value
    }
}

/// Finds places by a hash that nobody can choose.
pub struct Index {
    heads: Box<[u32]>,
    /// By place: the next one of the same head.
    next: Box<[u32]>,
}

/// Bytes of the index for each place.
pub const INDEX_BYTES: usize = 2 * size_of::<u32>();

impl Index {
    /// For places below `places`.
    pub fn new(places: usize) -> Self {
        let heads = places.next_power_of_two();
        Self { heads: vec![NONE; heads].into(), next: vec![NONE; places].into() }
    }

    fn head(&self, hash: u64) -> usize {
        hash as usize & (self.heads.len() - 1)
    }

    /// Enters a place that is not in it.
    pub fn insert(&mut self, hash: u64, place: u32) {
        let head = self.head(hash);
        self.next[place as usize] = std::mem::replace(&mut self.heads[head], place + 1);
    }

    /// The first place of this hash that is the wanted one.
    pub fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mut at = self.heads[self.head(hash)];
        while let Some(place) = at.checked_sub(1) {
            if is_it(place) {
                return Some(place);
            }
            at = self.next[place as usize];
        }
        None
    }

    /// Takes a place out.
    pub fn remove(&mut self, hash: u64, place: u32) {
        let next = std::mem::replace(&mut self.next[place as usize], NONE);
        let head = self.head(hash);
        if self.heads[head] == place + 1 {
            self.heads[head] = next;
            return;
        }
        let mut at = self.heads[head];
        while let Some(before) = at.checked_sub(1) {
            at = self.next[before as usize];
            if at == place + 1 {
                self.next[before as usize] = next;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_handle_is_good_for_its_own_record_alone() {
        let mut slab = Slab::new(1);
        let first = slab.insert("first").unwrap();
        assert_eq!(slab.insert("no room"), None);
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second").unwrap();
        assert_eq!(first.place(), second.place());
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.get_mut(second), Some(&mut "second"));
        assert_eq!(slab.at(0), Some(second));
        assert_eq!((slab.used, slab.is_full()), (1, true));
    }

    #[test]
    fn a_handle_survives_as_a_number() {
        let handle = Handle::new(77, 9);
        assert_eq!(Handle::from_bits(handle.to_bits()), Some(handle));
        assert_eq!(Handle::from_bits(0), None);
    }

    proptest! {
        #[test]
        fn slab_and_index_do_what_a_map_does(steps in prop::collection::vec((0u64..30, any::<bool>()), 1..300)) {
            let (mut slab, mut index) = (Slab::new(16), Index::new(16));
            let mut model = HashMap::<u64, Handle>::new();
            for (key, inserts) in steps {
                // Few heads, so that many share one.
                let hash = key % 5;
                let found = index.find(hash, |place| {
                    slab.at(place).and_then(|handle| slab.get(handle)) == Some(&key)
                });
                prop_assert_eq!(found, model.get(&key).map(|handle| handle.place()));
                match (inserts, model.get(&key).copied()) {
                    (true, None) => match slab.insert(key) {
                        Some(handle) => {
                            index.insert(hash, handle.place());
                            model.insert(key, handle);
                        }
                        None => prop_assert_eq!(model.len(), 16),
                    },
                    (false, Some(handle)) => {
                        index.remove(hash, handle.place());
                        prop_assert_eq!(slab.remove(handle), Some(key));
                        model.remove(&key);
                    }
                    _ => {}
                }
                prop_assert_eq!(slab.used, model.len());
            }
        }
    }
}
