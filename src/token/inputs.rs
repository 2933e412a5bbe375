//! What a decision was made from, reduced to a hash: for loop detection and for pins.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

use super::base32;
use super::transaction::TransactionSecret;

/// Length of [`loop_mark`] in bytes.
pub const LOOP_MARK_LEN: usize = base32::encoded_len(8);

/// A running hash over everything that a decision depends on (RFC 5393 §4.2.1). Keyed, so that nobody
/// can write a mark that stands for a request of somebody else, nor make two requests look like one.
///
/// What is hashed is all inputs, then how long each was, then how many there were: no two lists give the
/// same bytes.
#[derive(Clone, Copy, Debug)]
pub struct Inputs {
    hasher: SipHasher13,
    lengths: [[u8; 4]; BLOCK],
    count: usize,
}

/// So many lengths are hashed at once.
const BLOCK: usize = 16;

impl Inputs {
    /// Nothing hashed yet.
    pub fn new(secret: &TransactionSecret) -> Self {
        let mut hasher = secret.hasher();
        // What is hashed for a transaction begins with another number.
        hasher.write_u64(u64::MAX);
        Self { hasher, lengths: [[0; 4]; BLOCK], count: 0 }
    }

    /// Adds one input; its length is part of it.
    #[inline]
    pub fn add(&mut self, input: &[u8]) {
        self.hasher.write(input);
        self.lengths[self.count % BLOCK] = (input.len() as u32).to_le_bytes();
        self.count += 1;
        if self.count.is_multiple_of(BLOCK) {
            self.hasher.write(self.lengths.as_flattened());
        }
    }

    /// The hash of all inputs so far.
    pub fn hash(&self) -> u128 {
        let used = self.count % BLOCK;
        let mut lengths = self.lengths;
        lengths[used] = (self.count as u32).to_le_bytes();
        let mut hasher = self.hasher;
        hasher.write(lengths[..=used].as_flattened());
        hasher.finish128().as_u128()
    }
}

/// A hash of inputs as it is written into a Via parameter: 64 bits in lower-case base32.
pub fn loop_mark(hash: u128) -> [u8; LOOP_MARK_LEN] {
    let mut text = [0; LOOP_MARK_LEN];
    base32::encode(&(hash as u64).to_be_bytes(), &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Keys;

    fn of(parts: &[&str]) -> Inputs {
        let mut inputs = Inputs::new(&Keys::from_secret(&[7; 16]).transaction_secret());
        parts.iter().for_each(|p| inputs.add(p.as_bytes()));
        inputs
    }

    #[test]
    fn the_same_inputs_give_the_same_mark_and_others_another() {
        assert_eq!(of(&["sip:a@b", "sip:c@d"]).hash(), of(&["sip:a@b", "sip:c@d"]).hash());
        for other in [&["sip:a@bs", "ip:c@d"][..], &["sip:a@b"], &["sip:c@d", "sip:a@b"], &["sip:a@b", ""]] {
            assert_ne!(of(&["sip:a@b", "sip:c@d"]).hash(), of(other).hash());
        }
    }

    /// Where a block of lengths is full, the next one begins.
    #[test]
    fn lists_of_any_length_differ() {
        let hashes: std::collections::HashSet<_> = (0..100).map(|n| of(&vec!["a"; n]).hash()).collect();
        assert_eq!(hashes.len(), 100);
        let (one, other) = (["ab"; 40], [["a", "bab"]; 20].concat());
        assert_ne!(of(&one).hash(), of(&other).hash());
    }

    #[test]
    fn a_mark_depends_on_the_key() {
        let other = Inputs::new(&Keys::from_secret(&[8; 16]).transaction_secret());
        assert_ne!(loop_mark(of(&[]).hash()), loop_mark(other.hash()));
    }
}
