//! What a decision was made from, reduced to a hash: for loop detection and for pins.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

use super::base32;
use super::transaction::TransactionSecret;

/// Length of [`Inputs::mark`] in bytes.
pub const LOOP_MARK_LEN: usize = base32::encoded_len(8);

/// A running hash over everything that a decision depends on (RFC 5393 §4.2.1). Keyed, so that nobody
/// can write a mark that stands for a request of somebody else, nor make two requests look like one.
#[derive(Clone, Copy, Debug)]
pub struct Inputs(SipHasher13);

impl Inputs {
    /// Nothing hashed yet.
    pub fn new(secret: &TransactionSecret) -> Self {
        let mut hasher = secret.hasher();
        // No part is that long: what is hashed here never equals what is hashed for a transaction.
        hasher.write_u32(u32::MAX);
        Self(hasher)
    }

    /// Adds one input; its length is part of it.
    pub fn add(&mut self, input: &[u8]) {
        self.0.write_u32(input.len() as u32);
        self.0.write(input);
    }

    /// The hash of all inputs so far.
    pub fn hash(&self) -> u128 {
        self.0.finish128().as_u128()
    }

    /// The hash as it is written into a Via parameter: lower-case base32.
    pub fn mark(&self) -> [u8; LOOP_MARK_LEN] {
        let mut text = [0; LOOP_MARK_LEN];
        base32::encode(&(self.hash() as u64).to_be_bytes(), &mut text);
        text
    }
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
        assert_eq!(of(&["sip:a@b", "sip:c@d"]).mark(), of(&["sip:a@b", "sip:c@d"]).mark());
        for other in [&["sip:a@bs", "ip:c@d"][..], &["sip:a@b"], &["sip:c@d", "sip:a@b"], &["sip:a@b", ""]] {
            assert_ne!(of(&["sip:a@b", "sip:c@d"]).mark(), of(other).mark());
            assert_ne!(of(&["sip:a@b", "sip:c@d"]).hash(), of(other).hash());
        }
    }

    #[test]
    fn a_mark_depends_on_the_key() {
        let other = Inputs::new(&Keys::from_secret(&[8; 16]).transaction_secret());
        assert_ne!(of(&[]).mark(), other.mark());
    }
}
