//! Some prefixes that stand together, in order.

use std::sync::Arc;

use super::{Entry, Key, LEAF, NONE};
use crate::fib::table::Net;

/// Prefixes by address, shorter ones of the same address first. They are one piece of memory; where in it to look
/// stands beside the pointer to it, so that a lookup waits for one line of it, or two.
pub(super) struct Leaf<P: Net> {
    entries: Arc<[Entry<P>]>,
    /// How many entries have no higher bits than these in the half byte by which the leaf's branch would split, from 0.
    ends: [u8; 15],
    kind: Kind,
}

/// Nothing but a byte with room for what [`super::Node`] is otherwise.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    Leaf,
}

/// Two in a cache line.
const _: () = assert!(size_of::<Option<super::Node<ipnet::Ipv4Net>>>() == 32);
const _: () = assert!(LEAF <= u8::MAX as usize);

// A derived one would ask for `P: Clone` where a pointer is copied.
impl<P: Net> Clone for Leaf<P> {
    fn clone(&self) -> Self {
        Self { entries: Arc::clone(&self.entries), ends: self.ends, kind: self.kind }
    }
}

/// By what a leaf with `depth` branches above it is divided.
#[inline]
fn half_byte<K: Key>(key: K, depth: usize) -> usize {
    usize::from(key.byte(depth) >> 4)
}

impl<P: Net> Leaf<P> {
    /// Of distinct prefixes in order, `depth` branches below the root. Finds the closest prefix around each one: in
    /// this order it is the last one before it that still holds it.
    pub fn new(mut entries: Vec<Entry<P>>, depth: usize) -> Self {
        let mut closest = NONE;
        for place in 0..entries.len() {
            closest = holding(&entries, closest, entries[place].key);
            entries[place].around = closest;
            closest = place as u16;
        }
        let upto = |half| entries.partition_point(|entry| half_byte(entry.key, depth) <= half);
        // One more than fits is there for the moment in which a leaf becomes a branch.
        let ends = std::array::from_fn(|half| upto(half).min(LEAF) as u8);
        Self { entries: entries.into(), ends, kind: Kind::Leaf }
    }

    /// All of them, in order.
    #[inline]
    pub fn entries(&self) -> &[Entry<P>] {
        &self.entries
    }

    /// The one at this place.
    #[inline]
    pub fn get(&self, place: u16) -> Option<&Entry<P>> {
        self.entries.get(usize::from(place))
    }

    /// Both are the same piece of memory.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.entries, &other.entries)
    }

    fn position(&self, entry: &Entry<P>) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&entry.order(), Entry::order)
    }

    /// The list of exactly this prefix.
    pub fn list(&self, entry: &Entry<P>) -> Option<u32> {
        self.position(entry).ok().map(|place| self.entries[place].list)
    }

    /// Puts a prefix in; the list that it had.
    pub fn set(&mut self, entry: Entry<P>, depth: usize) -> Option<u32> {
        match self.position(&entry) {
            Ok(place) => {
                Some(std::mem::replace(&mut Arc::make_mut(&mut self.entries)[place].list, entry.list))
            }
            Err(place) => {
                let mut entries = Vec::with_capacity(self.entries.len() + 1);
                entries.extend_from_slice(&self.entries[..place]);
                entries.push(entry);
                entries.extend_from_slice(&self.entries[place..]);
                *self = Self::new(entries, depth);
                None
            }
        }
    }

    /// Takes a prefix out, if it is there.
    pub fn remove(&mut self, gone: &Entry<P>, depth: usize) {
        if let Ok(place) = self.position(gone) {
            let mut entries = self.entries.to_vec();
            entries.remove(place);
            *self = Self::new(entries, depth);
        }
    }

    /// The place of the longest prefix that holds the key: prefixes nest or are apart, so it is the last one that
    /// begins before the key, or around that one. [`NONE`]: there is none here.
    #[inline]
    pub fn find(&self, key: P::Key, depth: usize) -> u16 {
        let half = half_byte(key, depth);
        let begin = half.checked_sub(1).map_or(0, |before| usize::from(self.ends[before]));
        let end = self.ends.get(half).map_or(self.entries.len(), |end| usize::from(*end));
        let near = self.entries.get(begin..end).unwrap_or_default();
        match begin + near.partition_point(|entry| entry.key <= key) {
            0 => NONE,
            behind => holding(&self.entries, (behind - 1) as u16, key),
        }
    }
}

/// The first of this one and those around it that holds the key.
#[inline]
fn holding<P: Net>(entries: &[Entry<P>], mut place: u16, key: P::Key) -> u16 {
    while let Some(entry) = entries.get(usize::from(place)) {
        if entry.key.agrees(key, entry.len) {
            return place;
        }
        place = entry.around;
    }
    NONE
}
