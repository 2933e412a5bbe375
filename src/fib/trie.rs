//! Prefixes of one table: a tree of few, wide nodes.
//!
//! ```text
//!  Branch  byte 0   short: /0 … /7       children: 256
//!    └─ Branch  byte 1   short: /8 … /15      children: 256
//!         └─ Leaf   sorted by address: 10.1.0.0/16  10.1.2.0/24  10.1.2.128/25 …
//!                   each knows the closest one around it
//! ```
//!
//! More than [`LEAF`] prefixes become a branch, so a small table is one leaf and a full Internet table is
//! three nodes deep.

use super::table::Net;

/// Most prefixes of a leaf: a binary search of eight steps within some cache lines.
const LEAF: usize = 256;

/// No prefix around.
const NONE: u16 = u16::MAX;

/// An address or the address of a prefix, as a number.
pub(in crate::fib) trait Key: Copy + Ord + Send + Sync {
    /// Byte `n` from the left; 0 behind the end.
    fn byte(self, n: usize) -> u8;
    /// The first `len` bits are the same.
    fn agrees(self, other: Self, len: u8) -> bool;
}

impl Key for u32 {
    fn byte(self, n: usize) -> u8 {
        self.to_be_bytes().get(n).copied().unwrap_or(0)
    }

    fn agrees(self, other: Self, len: u8) -> bool {
        (self ^ other).leading_zeros() >= u32::from(len)
    }
}

impl Key for u128 {
    fn byte(self, n: usize) -> u8 {
        self.to_be_bytes().get(n).copied().unwrap_or(0)
    }

    fn agrees(self, other: Self, len: u8) -> bool {
        (self ^ other).leading_zeros() >= u32::from(len)
    }
}

/// Numbers of lists of alternatives ([`super::table::Lists`]) by prefix.
pub(super) struct Trie<P: Net> {
    root: Node<P>,
}

enum Node<P: Net> {
    Leaf(Leaf<P>),
    Branch(Box<Branch<P>>),
}

/// Splits by byte `depth`, the number of branches above it.
struct Branch<P: Net> {
    /// Prefixes that end before that byte does.
    short: Leaf<P>,
    children: [Option<Node<P>>; 256],
}

/// Prefixes by address, shorter ones of the same address first. One piece of memory: a lookup that no cache
/// knows waits for it once.
struct Leaf<P: Net>(Box<[Entry<P>]>);

struct Entry<P: Net> {
    key: P::Key,
    len: u8,
    /// Place of the closest prefix of this leaf that holds this one.
    around: u16,
    list: u32,
}

impl<P: Net> Entry<P> {
    fn new(prefix: P, list: u32) -> Self {
        Self { key: prefix.key(), len: prefix.prefix_len(), around: NONE, list }
    }

    fn order(&self) -> (P::Key, u8) {
        (self.key, self.len)
    }

    fn prefix(&self) -> P {
        P::from_key(self.key, self.len)
    }
}

impl<P: Net> Trie<P> {
    /// Of distinct prefixes in any order.
    pub fn new(routes: impl IntoIterator<Item = (P, u32)>) -> Self {
        let mut entries: Vec<Entry<P>> =
            routes.into_iter().map(|(prefix, list)| Entry::new(prefix, list)).collect();
        entries.sort_unstable_by_key(Entry::order);
        Self { root: Node::build(entries, 0) }
    }

    /// All prefixes that hold the address, longest first.
    pub fn around(&self, address: P::Address) -> Around<'_, P> {
        let key = P::address_key(address);
        let (leaf, depth) = self.leaf(key, usize::MAX);
        Around { trie: self, key, leaf, place: leaf.find(key), depth }
    }

    /// The leaf where prefixes around `key` stand, `depth` branches from the root or as far as there are.
    fn leaf(&self, key: P::Key, depth: usize) -> (&Leaf<P>, usize) {
        let (mut node, mut at) = (&self.root, 0);
        loop {
            let branch = match node {
                Node::Leaf(leaf) => return (leaf, at),
                Node::Branch(branch) => branch,
            };
            match &branch.children[usize::from(key.byte(at))] {
                Some(child) if at < depth => node = child,
                _ => return (&branch.short, at),
            }
            at += 1;
        }
    }
}

/// A prefix of this length belongs into the branch, not below it.
fn ends_within(len: u8, depth: usize) -> bool {
    usize::from(len) < 8 * (depth + 1)
}

impl<P: Net> Node<P> {
    /// Of distinct prefixes in order.
    fn build(entries: Vec<Entry<P>>, depth: usize) -> Self {
        if entries.len() <= LEAF {
            return Self::Leaf(Leaf::new(entries));
        }
        let mut short = Vec::new();
        let mut parts: Vec<Vec<Entry<P>>> = (0..256).map(|_| Vec::new()).collect();
        for entry in entries {
            if ends_within(entry.len, depth) {
                short.push(entry);
            } else {
                parts[usize::from(entry.key.byte(depth))].push(entry);
            }
        }
        let mut children = [const { None }; 256];
        for (child, part) in children.iter_mut().zip(parts).filter(|(_, part)| !part.is_empty()) {
            *child = Some(Self::build(part, depth + 1));
        }
        Self::Branch(Box::new(Branch { short: Leaf::new(short), children }))
    }
}

impl<P: Net> Leaf<P> {
    /// Of distinct prefixes in order. Finds the closest prefix around each one: in this order it is the
    /// last one before it that still holds it.
    fn new(mut entries: Vec<Entry<P>>) -> Self {
        let mut closest = NONE;
        for place in 0..entries.len() {
            closest = holding(&entries, closest, entries[place].key);
            entries[place].around = closest;
            closest = place as u16;
        }
        Self(entries.into())
    }

    /// The longest prefix that holds the key: prefixes nest or are apart, so it is the last one that
    /// begins before the key, or around that one.
    #[inline]
    fn find(&self, key: P::Key) -> u16 {
        match self.0.partition_point(|entry| entry.key <= key) {
            0 => NONE,
            behind => holding(&self.0, (behind - 1) as u16, key),
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

/// See [`Trie::around`].
pub(super) struct Around<'a, P: Net> {
    trie: &'a Trie<P>,
    key: P::Key,
    leaf: &'a Leaf<P>,
    /// Of the next one in the leaf.
    place: u16,
    /// Branches above the leaf.
    depth: usize,
}

impl<'a, P: Net> Iterator for Around<'a, P> {
    type Item = (P, u32);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        while self.place == NONE {
            // Prefixes of other lengths stand in the branches above; most lookups never get there.
            self.depth = self.depth.checked_sub(1)?;
            self.leaf = self.trie.leaf(self.key, self.depth).0;
            self.place = self.leaf.find(self.key);
        }
        let entry = self.leaf.0.get(usize::from(self.place))?;
        self.place = entry.around;
        Some((entry.prefix(), entry.list))
    }
}

#[cfg(test)]
mod tests;
