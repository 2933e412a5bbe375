//! Messages that are kept to be sent again: in blocks, so that each takes what it needs.

use crate::limits::TRANSACTION_BLOCK_BYTES as BLOCK;

/// Numbers are kept one higher: 0 is none.
const NONE: u32 = 0;

/// A kept message. It is given back by [`Store::free`], or its blocks are lost.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Stored {
    first: u32,
    len: u32,
}

/// All blocks. Their memory is taken at once and touched as it is used.
pub struct Store {
    blocks: Box<[u8]>,
    next: Box<[u32]>,
    /// The first block that was given back.
    free: u32,
    /// Blocks before this one have been used.
    fresh: u32,
    used: usize,
}

/// Bytes of a block with what belongs to it.
pub const BLOCK_BYTES: usize = BLOCK + size_of::<u32>();

impl Store {
    /// With so many blocks.
    pub fn new(blocks: usize) -> Self {
        Self {
            blocks: vec![0; blocks * BLOCK].into(),
            next: vec![NONE; blocks].into(),
            free: NONE,
            fresh: 0,
            used: 0,
        }
    }

    /// Blocks in use.
    pub fn used(&self) -> usize {
        self.used
    }

    /// A message of so many bytes would leave an eighth of all blocks for those that are under way.
    pub fn has_room_for_new(&self, bytes: usize) -> bool {
        self.used + bytes.div_ceil(BLOCK) <= self.next.len() - self.next.len() / 8
    }

    /// Keeps a message; `None`: there is no room.
    pub fn put(&mut self, bytes: &[u8]) -> Option<Stored> {
        if self.used + bytes.len().div_ceil(BLOCK) > self.next.len() {
            return None;
        }
        // From the end, so that each block is told the one behind it.
        let mut first = NONE;
        for part in bytes.chunks(BLOCK).rev() {
            let block = self.take();
            self.next[block as usize] = first;
            let begin = block as usize * BLOCK;
            self.blocks[begin..begin + part.len()].copy_from_slice(part);
            first = block + 1;
        }
        Some(Stored { first, len: bytes.len() as u32 })
    }

    fn take(&mut self) -> u32 {
        self.used += 1;
        match self.free.checked_sub(1) {
            Some(block) => {
                self.free = self.next[block as usize];
                block
            }
            None => {
                self.fresh += 1;
                self.fresh - 1
            }
        }
    }

    /// Copies a message to the beginning of `out`, which is large enough for any; gives its length.
    pub fn copy(&self, stored: &Stored, out: &mut [u8]) -> usize {
        let len = stored.len as usize;
        let mut at = stored.first;
        for part in out[..len].chunks_mut(BLOCK) {
            let Some(block) = at.checked_sub(1) else { break };
            let begin = block as usize * BLOCK;
            part.copy_from_slice(&self.blocks[begin..begin + part.len()]);
            at = self.next[block as usize];
        }
        len
    }

    /// Gives a message's blocks back.
    pub fn free(&mut self, stored: Stored) {
        let mut at = stored.first;
        while let Some(block) = at.checked_sub(1) {
            at = std::mem::replace(&mut self.next[block as usize], self.free);
            self.free = block + 1;
            self.used -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(store: &Store, stored: &Stored) -> Vec<u8> {
        let mut out = vec![0; 65_535];
        let len = store.copy(stored, &mut out);
        out[..len].to_vec()
    }

    #[test]
    fn messages_come_out_as_they_went_in() {
        let mut store = Store::new(300);
        let text: Vec<u8> = (0..65_535u32).map(|n| ((n * 7) >> 3) as u8).collect();
        let mut kept = Vec::new();
        for len in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 65_535] {
            kept.push((len, store.put(&text[..len]).unwrap()));
        }
        for (len, stored) in &kept {
            assert_eq!(read(&store, stored), &text[..*len]);
        }
        for (_, stored) in kept {
            store.free(stored);
        }
        assert_eq!(store.used(), 0);
    }

    #[test]
    fn a_full_store_refuses_and_what_is_given_back_is_used_again() {
        let mut store = Store::new(8);
        let first = store.put(&[1; 3 * BLOCK]).unwrap();
        let second = store.put(&[2; 5 * BLOCK]).unwrap();
        assert_eq!(store.put(b"x"), None);
        store.free(first);
        assert_eq!(store.put(&[3; 4 * BLOCK]), None);
        let third = store.put(&[3; 3 * BLOCK]).unwrap();
        assert_eq!(read(&store, &second), [2; 5 * BLOCK]);
        assert_eq!(read(&store, &third), [3; 3 * BLOCK]);
        store.free(second);
        store.free(third);
        assert_eq!(store.used(), 0);
    }

    #[test]
    fn an_eighth_is_left_to_those_under_way() {
        let mut store = Store::new(16);
        assert!(store.has_room_for_new(14 * BLOCK) && !store.has_room_for_new(14 * BLOCK + 1));
        let stored = store.put(&[0; 14 * BLOCK]).unwrap();
        assert!(!store.has_room_for_new(1));
        assert!(store.put(b"an answer").is_some());
        store.free(stored);
    }
}
