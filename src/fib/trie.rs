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
//! three nodes deep. A clone shares all nodes; a change copies the few on its way to the root.

mod differences;
mod leaf;

use std::sync::Arc;

pub(super) use differences::Differences;
use leaf::Leaf;

use super::table::Net;

/// Most prefixes of a leaf: their places fit into a byte.
const LEAF: usize = u8::MAX as usize;

/// A branch of fewer prefixes becomes a leaf again: well below [`LEAF`], so that a prefix that comes and goes
/// does not have it rebuilt each time.
const SPARSE: usize = LEAF / 2;

/// No prefix around.
const NONE: u16 = u16::MAX;

/// An address or the address of a prefix, as a number.
pub(in crate::fib) trait Key: Copy + Ord + Send + Sync {
    /// Byte `n` from the left, below their number.
    fn byte(self, n: usize) -> u8;
    /// What networks of different owners differ in: the first 16 bits of an IPv4 address, 32 of an IPv6 one.
    fn top(self) -> u32;
    /// The first `len` bits are the same.
    fn agrees(self, other: Self, len: u8) -> bool;
}

impl Key for u32 {
    #[inline]
    fn byte(self, n: usize) -> u8 {
        (self.wrapping_shl(8 * n as u32) >> 24) as u8
    }

    #[inline]
    fn top(self) -> u32 {
        self >> 16
    }

    #[inline]
    fn agrees(self, other: Self, len: u8) -> bool {
        // A shift by all 32 bits is one of 64.
        u64::from(self ^ other) >> (32 - u32::from(len.min(32))) == 0
    }
}

impl Key for u128 {
    #[inline]
    fn byte(self, n: usize) -> u8 {
        (self.wrapping_shl(8 * n as u32) >> 120) as u8
    }

    #[inline]
    fn top(self) -> u32 {
        (self >> 96) as u32
    }

    #[inline]
    fn agrees(self, other: Self, len: u8) -> bool {
        (self ^ other).checked_shr(128 - u32::from(len.min(128))).unwrap_or(0) == 0
    }
}

/// Numbers of lists of alternatives ([`super::table::Lists`]) by prefix.
pub(super) struct Trie<P: Net> {
    root: Node<P>,
}

enum Node<P: Net> {
    Leaf(Leaf<P>),
    Branch(Arc<Branch<P>>),
}

/// Splits by byte `depth`, the number of branches above it.
struct Branch<P: Net> {
    /// Prefixes that end before that byte does.
    short: Leaf<P>,
    children: [Option<Node<P>>; 256],
    /// Prefixes in it and below.
    count: usize,
}

/// A prefix and the number of its list.
#[derive(Clone, Copy)]
pub(super) struct Entry<P: Net> {
    key: P::Key,
    len: u8,
    /// Place of the closest prefix of this leaf that holds this one.
    around: u16,
    pub list: u32,
}

// Derived ones would ask for `P: Clone` where pointers are copied.
impl<P: Net> Clone for Trie<P> {
    fn clone(&self) -> Self {
        Self { root: self.root.clone() }
    }
}

impl<P: Net> Clone for Node<P> {
    fn clone(&self) -> Self {
        match self {
            Self::Leaf(leaf) => Self::Leaf(leaf.clone()),
            Self::Branch(branch) => Self::Branch(Arc::clone(branch)),
        }
    }
}

impl<P: Net> Clone for Branch<P> {
    fn clone(&self) -> Self {
        Self { short: self.short.clone(), children: self.children.clone(), count: self.count }
    }
}

impl<P: Net> Entry<P> {
    fn new(prefix: P, list: u32) -> Self {
        Self { key: prefix.key(), len: prefix.prefix_len(), around: NONE, list }
    }

    fn order(&self) -> (P::Key, u8) {
        (self.key, self.len)
    }

    pub fn prefix(&self) -> P {
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

    /// How many prefixes it has.
    pub fn len(&self) -> usize {
        self.root.len()
    }

    /// The list of exactly this prefix.
    pub fn get(&self, prefix: P) -> Option<u32> {
        let wanted = Entry::new(prefix, 0);
        let (mut node, mut depth) = (&self.root, 0);
        loop {
            match node {
                Node::Leaf(leaf) => return leaf.list(&wanted),
                Node::Branch(branch) if ends_within(wanted.len, depth) => return branch.short.list(&wanted),
                Node::Branch(branch) => {
                    node = branch.children[usize::from(wanted.key.byte(depth))].as_ref()?;
                    depth += 1;
                }
            }
        }
    }

    /// Gives the prefix this list; the one that it had.
    pub fn set(&mut self, prefix: P, list: u32) -> Option<u32> {
        self.root.set(Entry::new(prefix, list), 0)
    }

    /// Takes the prefix out; the list that it had.
    pub fn remove(&mut self, prefix: P) -> Option<u32> {
        // Asked first, so that nothing is copied for a prefix that is not there.
        let list = self.get(prefix)?;
        self.root.remove(&Entry::new(prefix, 0), 0);
        Some(list)
    }

    /// All prefixes with their lists, by address, shorter ones of the same address first.
    pub fn sorted(&self) -> Vec<(P, u32)> {
        let mut entries = Vec::with_capacity(self.len());
        self.root.collect(&mut entries);
        entries.sort_unstable_by_key(Entry::order);
        entries.iter().map(|entry| (entry.prefix(), entry.list)).collect()
    }

    /// All prefixes that hold the address, longest first.
    pub fn around(&self, address: P::Address) -> Around<'_, P> {
        let key = P::address_key(address);
        let (leaf, depth) = self.leaf(key, usize::MAX);
        Around { trie: self, key, leaf, place: leaf.find(key, depth), depth }
    }

    /// The longest prefix that holds the address.
    #[inline]
    pub fn longest(&self, address: P::Address) -> Option<&Entry<P>> {
        let key = P::address_key(address);
        let (mut node, mut depth) = (&self.root, 0);
        let leaf = loop {
            match node {
                Node::Leaf(leaf) => break leaf,
                Node::Branch(branch) => match &branch.children[usize::from(key.byte(depth))] {
                    Some(child) => node = child,
                    None => break &branch.short,
                },
            }
            depth += 1;
        };
        match leaf.get(leaf.find(key, depth)) {
            // In a branch above, if anywhere.
            None if depth > 0 => self.around(address).entry(),
            found => found,
        }
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
            return Self::Leaf(Leaf::new(entries, depth));
        }
        let count = entries.len();
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
        Self::Branch(Arc::new(Branch { short: Leaf::new(short, depth), children, count }))
    }

    fn len(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.entries().len(),
            Self::Branch(branch) => branch.count,
        }
    }

    fn set(&mut self, entry: Entry<P>, depth: usize) -> Option<u32> {
        match self {
            Self::Leaf(leaf) => {
                let before = leaf.set(entry, depth);
                if leaf.entries().len() > LEAF {
                    *self = Self::build(leaf.entries().to_vec(), depth);
                }
                before
            }
            Self::Branch(branch) => {
                let branch = Arc::make_mut(branch);
                let before = branch.set(entry, depth);
                branch.count += usize::from(before.is_none());
                before
            }
        }
    }

    /// The prefix is there.
    fn remove(&mut self, gone: &Entry<P>, depth: usize) {
        match self {
            Self::Leaf(leaf) => leaf.remove(gone, depth),
            Self::Branch(branch) => {
                let branch = Arc::make_mut(branch);
                branch.remove(gone, depth);
                branch.count -= 1;
                if branch.count < SPARSE {
                    let mut entries = Vec::with_capacity(branch.count);
                    self.collect(&mut entries);
                    entries.sort_unstable_by_key(Entry::order);
                    *self = Self::Leaf(Leaf::new(entries, depth));
                }
            }
        }
    }

    fn collect(&self, into: &mut Vec<Entry<P>>) {
        match self {
            Self::Leaf(leaf) => into.extend_from_slice(leaf.entries()),
            Self::Branch(branch) => {
                into.extend_from_slice(branch.short.entries());
                branch.children.iter().flatten().for_each(|child| child.collect(into));
            }
        }
    }
}

impl<P: Net> Branch<P> {
    fn set(&mut self, entry: Entry<P>, depth: usize) -> Option<u32> {
        if ends_within(entry.len, depth) {
            return self.short.set(entry, depth);
        }
        match &mut self.children[usize::from(entry.key.byte(depth))] {
            Some(child) => child.set(entry, depth + 1),
            none => {
                *none = Some(Node::Leaf(Leaf::new(vec![entry], depth + 1)));
                None
            }
        }
    }

    fn remove(&mut self, gone: &Entry<P>, depth: usize) {
        if ends_within(gone.len, depth) {
            return self.short.remove(gone, depth);
        }
        let child = &mut self.children[usize::from(gone.key.byte(depth))];
        if let Some(node) = child {
            node.remove(gone, depth + 1);
            if node.len() == 0 {
                *child = None;
            }
        }
    }
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

impl<'a, P: Net> Around<'a, P> {
    #[inline]
    fn entry(&mut self) -> Option<&'a Entry<P>> {
        while self.place == NONE {
            // Prefixes of other lengths stand in the branches above; most lookups never get there.
            self.depth = self.depth.checked_sub(1)?;
            self.leaf = self.trie.leaf(self.key, self.depth).0;
            self.place = self.leaf.find(self.key, self.depth);
        }
        let entry = self.leaf.get(self.place)?;
        self.place = entry.around;
        Some(entry)
    }
}

impl<P: Net> Iterator for Around<'_, P> {
    type Item = (P, u32);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.entry().map(|entry| (entry.prefix(), entry.list))
    }
}

#[cfg(test)]
mod tests;
