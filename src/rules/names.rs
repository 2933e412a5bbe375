//! Names that rules ask for, numbered: hosts, methods.

use super::filter::{Ends, FACTOR, first_word};
use super::trie::NONE;

/// A set of names; each has a number.
pub(super) struct Names {
    names: Vec<Box<str>>,
    /// Open addressing, half empty at most: a name's hash and its number.
    slots: Vec<Slot>,
    any_case: bool,
}

#[derive(Clone, Copy)]
struct Slot {
    hash: u32,
    number: u32,
}

const EMPTY: Slot = Slot { hash: 0, number: NONE };

impl Names {
    /// No names yet. `any_case`: they are compared without regard to case.
    pub fn new(any_case: bool) -> Self {
        Self { names: Vec::new(), slots: vec![EMPTY; 2], any_case }
    }

    /// The number of a name, which is added where it is new.
    pub fn add(&mut self, name: &str) -> u32 {
        let known = self.number(name.as_bytes());
        if known != NONE {
            return known;
        }
        let number = self.names.len() as u32;
        self.names.push(name.into());
        if self.names.len() * 2 > self.slots.len() {
            self.slots = vec![EMPTY; self.slots.len() * 2];
            (0..=number).for_each(|number| self.put(number));
        } else {
            self.put(number);
        }
        number
    }

    fn put(&mut self, number: u32) {
        let hash = hash(self.names[number as usize].as_bytes());
        let mut at = hash as usize & (self.slots.len() - 1);
        while self.slots[at].number != NONE {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = Slot { hash, number };
    }

    /// The name of a number.
    pub fn name(&self, number: u32) -> &[u8] {
        self.names[number as usize].as_bytes()
    }

    /// The number of a name, or [`NONE`].
    pub fn number(&self, name: &[u8]) -> u32 {
        let hash = hash(name);
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at & mask];
            if slot.number == NONE || slot.hash == hash && self.is(slot.number, name) {
                return slot.number;
            }
            at += 1;
        }
    }

    fn is(&self, number: u32, name: &[u8]) -> bool {
        let known = self.name(number);
        if self.any_case { known.eq_ignore_ascii_case(name) } else { known == name }
    }
}

/// A host without brackets and without the dot of a fully qualified name.
#[inline(always)]
pub(super) fn plain_host(host: &[u8]) -> &[u8] {
    match host {
        [.., b']' | b'.'] => stripped(host),
        host => host,
    }
}

#[inline(never)]
fn stripped(host: &[u8]) -> &[u8] {
    let host = match host {
        [b'[', inner @ .., b']'] => inner,
        host => host,
    };
    host.strip_suffix(b".").unwrap_or(host)
}

/// Equal for names that differ in case only. Who sends chooses what is looked up, but not what is in the
/// table: chains are as long as the configuration makes them.
#[inline]
fn hash(name: &[u8]) -> u32 {
    (mixed(name).wrapping_mul(FACTOR) >> 32) as u32
}

/// All of a name in one word, of which a product's high bits are a hash.
#[inline(always)]
pub(super) fn mixed(name: &[u8]) -> u64 {
    // Beginning and end of what has up to sixteen bytes are all of it.
    let Ends { first, last } = Ends::of(name);
    let state = first ^ last.rotate_left(29) ^ name.len() as u64;
    if name.len() > 16 { mixed_long(name, state) } else { state }
}

#[inline(never)]
fn mixed_long(name: &[u8], mut state: u64) -> u64 {
    for eight in name.as_chunks::<8>().0 {
        state = (state ^ first_word(eight)).wrapping_mul(FACTOR);
        state ^= state >> 32;
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_numbers_as_they_grow() {
        let mut names = Names::new(true);
        let text = |n: u32| format!("{}gateway-{n}.example", "x".repeat(n as usize % 23));
        for n in 0..1000 {
            assert_eq!(names.add(&text(n)), n);
        }
        assert_eq!(names.add(&text(7)), 7);
        for n in 0..1000 {
            assert_eq!(names.number(text(n).to_ascii_uppercase().as_bytes()), n);
        }
        assert_eq!(names.number(b"gateway-1000.example"), NONE);
        assert_eq!(names.number(b""), NONE);
    }

    #[test]
    fn case_counts_where_it_should() {
        let mut names = Names::new(false);
        assert_eq!((names.add("INVITE"), names.add("BYE"), names.add("")), (0, 1, 2));
        assert_eq!((names.number(b"INVITE"), names.number(b"invite"), names.number(b"")), (0, NONE, 2));
    }

    #[test]
    fn brackets_and_the_last_dot_do_not_count() {
        assert_eq!(plain_host(b"[2001:db8::1]"), b"2001:db8::1");
        assert_eq!(plain_host(b"a.example."), b"a.example");
        assert_eq!(plain_host(b"["), b"[");
    }
}
