//! Parts gathered before they are hashed.

use std::hash::Hasher;

use siphasher::sip128::{Hash128, Hasher128};

/// Hashes parts as one text. It gathers them first, because the bookkeeping of a hasher between parts of a
/// few bytes costs more than the hash itself (half of it, for the parts of a transaction).
#[derive(Clone, Copy, Debug)]
pub(super) struct Gathered<H> {
    hasher: H,
    buffer: [u8; ROOM],
    len: usize,
}

/// Holds what most requests are told by.
const ROOM: usize = 256;

impl<H: Hasher + Hasher128 + Copy> Gathered<H> {
    pub fn new(hasher: H) -> Self {
        Self { hasher, buffer: [0; ROOM], len: 0 }
    }

    #[inline]
    pub fn add(&mut self, part: &[u8]) {
        match self.buffer.get_mut(self.len..self.len + part.len()) {
            Some(room) => {
                room.copy_from_slice(part);
                self.len += part.len();
            }
            None => {
                self.hasher.write(&self.buffer[..self.len]);
                self.hasher.write(part);
                self.len = 0;
            }
        }
    }

    /// The hash of what was added so far.
    pub fn hash(&self) -> Hash128 {
        let mut hasher = self.hasher;
        hasher.write(&self.buffer[..self.len]);
        hasher.finish128()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use siphasher::sip128::SipHasher13;

    #[test]
    fn the_hash_is_that_of_the_parts_joined() {
        for sizes in [&[0, 1, 2, 3][..], &[255, 1, 1], &[256], &[257, 3], &[100, 100, 100, 100, 7], &[]] {
            let mut gathered = Gathered::new(SipHasher13::new_with_key(&[3; 16]));
            let mut plain = SipHasher13::new_with_key(&[3; 16]);
            for (n, &size) in (1..).zip(sizes) {
                gathered.add(&vec![n; size]);
                plain.write(&vec![n; size]);
            }
            assert_eq!(gathered.hash().as_u128(), plain.finish128().as_u128(), "{sizes:?}");
        }
    }
}
