//! The keyed function behind every token and every hash of a transaction: PMAC over AES-128.
//!
//! J. Black and P. Rogaway, "A Block-Cipher Mode of Operation for Parallelizable Message Authentication"
//! (EUROCRYPT 2002): `T = E(E(M₁ ⊕ Δ₁) ⊕ … ⊕ E(Mₙ₋₁ ⊕ Δₙ₋₁) ⊕ Mₙ ⊕ L·x⁻¹)`, with `L = E(0)` and
//! `Δᵢ = Δᵢ₋₁ ⊕ L·x^ntz(i)`. Messages are whole blocks, so the paper's padding is never needed; what is
//! no whole block is encoded as [`Message`] says, and the last block says how.
//!
//! Blocks do not wait for each other, and processors have instructions for AES: a block costs a dozen
//! instructions. Where they are absent the library falls back to a table-free AES in software, slower and
//! with the same results: Viaducts that share keys need not be machines of one kind.

use aes::Aes128Enc;
use aes::cipher::consts::U16;
use aes::cipher::{BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, KeyInit};

/// What the cipher takes at a time.
pub(super) type Block = [u8; 16];

/// One key, ready to be used.
#[derive(Clone)]
pub(super) struct Prf {
    cipher: Aes128Enc,
    /// `L·x⁻¹`
    halved: Block,
    /// `Δᵢ` of the first blocks: most messages have no more.
    offsets: [Block; NEAR],
    /// `L·xʲ`, for each place of a block's number in binary.
    doubled: [Block; u32::BITS as usize],
}

/// Blocks whose offsets are ready; a power of two.
const NEAR: usize = 64;

/// A message of which some blocks have been taken in.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Running {
    sum: Block,
    count: u32,
}

impl Prf {
    pub fn new(key: &Block) -> Self {
        let cipher = Aes128Enc::new(key.into());
        let mut zero = Block::default().into();
        cipher.encrypt_block(&mut zero);
        let mut power = u128::from_be_bytes(zero.into());
        let halved = ((power >> 1) ^ ((power & 1) * (1 << 127 | 0x43))).to_be_bytes();
        let doubled = std::array::from_fn(|_| {
            let here = power;
            power = (power << 1) ^ ((power >> 127) * 0x87);
            here.to_be_bytes()
        });
        let offsets = std::array::from_fn(|before| offset(&doubled, before as u32));
        Self { cipher, halved, offsets, doubled }
    }

    /// The value for a message of the blocks of `parts`, then `blocks`, then the last one.
    #[inline]
    pub fn of(&self, parts: &[&[u8]], blocks: &[Block], last: Block) -> Block {
        let mut end = [last];
        self.values(&mut Running::default(), &mut [Message { parts, blocks, ..Message::ended(&mut end) }]);
        end[0]
    }

    /// Ends each of the messages in each of its ways. The first one goes on with `running`, which has taken in all but
    /// its end then; the others begin anew, or with what the first one has taken in.
    ///
    /// All messages are passed at once, because each pass costs as much as two or three blocks.
    #[inline]
    pub fn values(&self, running: &mut Running, messages: &mut [Message<'_>]) {
        let mut next = 0;
        self.cipher.encrypt_with_backend(Messages::<false> { prf: self, running, messages, next: &mut next });
        if next < messages.len() {
            self.far_values(running, messages, next);
        }
    }

    /// The values that are left, from this message on, which has more blocks than offsets are ready for.
    #[cold]
    #[inline(never)]
    fn far_values(&self, running: &mut Running, messages: &mut [Message<'_>], mut next: usize) {
        self.cipher.encrypt_with_backend(Messages::<true> { prf: self, running, messages, next: &mut next });
    }

    /// Takes in texts as parts, each with its length in a block behind it; gives the value of the message that ends here, with
    /// the block that `last` makes of how many they were.
    pub fn take_in<'t>(
        &self,
        running: &mut Running,
        texts: impl Iterator<Item = &'t [u8]>,
        last: impl FnOnce(u32) -> Block,
    ) -> Block {
        let mut end = Block::default();
        self.cipher.encrypt_with_backend(Texts { prf: self, running, texts, last, end: &mut end });
        end
    }
}

/// A message.
///
/// A part becomes as many blocks as it fills and, of its rest, one more: its last sixteen bytes, or, of a part that has
/// less, all it has. So parts and blocks follow from the blocks where each part's length is known: it has to stand in
/// `blocks` or in the last one.
pub(super) struct Message<'a> {
    /// Whether it begins with what the first one has taken in. Says nothing of that itself.
    pub forks: bool,
    pub parts: &'a [&'a [u8]],
    /// What follows the parts.
    pub blocks: &'a [Block],
    /// Ways to end it: the last blocks at first, then the values.
    pub ends: &'a mut [Block],
}

impl<'a> Message<'a> {
    /// Nothing but ends.
    #[inline(always)]
    pub fn ended(ends: &'a mut [Block]) -> Self {
        Self { forks: false, parts: &[], blocks: &[], ends }
    }
}

/// What is done in one go, where the processor's features are known. Unless `FAR`, it ends before the first message that has
/// more blocks than offsets are ready for.
struct Messages<'a, 'm, const FAR: bool> {
    prf: &'a Prf,
    running: &'a mut Running,
    messages: &'a mut [Message<'m>],
    /// The number of the next one.
    next: &'a mut usize,
}

impl<const FAR: bool> BlockSizeUser for Messages<'_, '_, FAR> {
    type BlockSize = U16;
}

impl<const FAR: bool> BlockCipherEncClosure for Messages<'_, '_, FAR> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        let mut taking = Taking::<_, FAR> { backend, prf: self.prf, running: *self.running };
        while let Some(message) = self.messages.get_mut(*self.next) {
            if *self.next > 0 {
                taking.running = if message.forks { *self.running } else { Running::default() };
            }
            for part in message.parts {
                taking.part(part);
            }
            for block in message.blocks {
                taking.block(*block);
            }
            // Nobody sees what was taken in under wrong offsets.
            if !FAR && taking.running.count as usize > NEAR {
                return;
            }
            if *self.next == 0 {
                *self.running = taking.running;
            }
            taking.end(message.ends);
            *self.next += 1;
        }
    }
}

/// The same for texts of which nobody knows beforehand how many they are.
struct Texts<'a, I, L> {
    prf: &'a Prf,
    running: &'a mut Running,
    texts: I,
    last: L,
    end: &'a mut Block,
}

impl<I, L> BlockSizeUser for Texts<'_, I, L> {
    type BlockSize = U16;
}

impl<'t, I: Iterator<Item = &'t [u8]>, L: FnOnce(u32) -> Block> BlockCipherEncClosure for Texts<'_, I, L> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        let mut taking = Taking::<_, true> { backend, prf: self.prf, running: *self.running };
        let mut count = 0;
        for text in self.texts {
            let [a, b] = len(text).to_be_bytes();
            taking.part(text);
            taking.block([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b]);
            count += 1;
        }
        *self.running = taking.running;
        *self.end = (self.last)(count);
        taking.end(std::slice::from_mut(self.end));
    }
}

/// A message that is being taken in. All is inlined: what is not cannot use the processor's features. `FAR`: it may have
/// more blocks than offsets are ready for.
struct Taking<'a, B, const FAR: bool> {
    backend: &'a B,
    prf: &'a Prf,
    running: Running,
}

impl<B: BlockCipherEncBackend<BlockSize = U16>, const FAR: bool> Taking<'_, B, FAR> {
    #[inline(always)]
    fn block(&mut self, block: Block) {
        let Running { sum, count } = self.running;
        let offset = match FAR && count as usize >= NEAR {
            true => offset(&self.prf.doubled, count),
            false => self.prf.offsets[count as usize % NEAR],
        };
        let sum = xor(sum, encrypt(self.backend, xor(block, offset)));
        self.running = Running { sum, count: count.wrapping_add(1) };
    }

    #[inline(always)]
    fn end(&self, ends: &mut [Block]) {
        for end in ends {
            *end = encrypt(self.backend, xor(xor(self.running.sum, *end), self.prf.halved));
        }
    }

    #[inline(always)]
    fn part(&mut self, part: &[u8]) {
        let mut rest = part;
        while let Some((block, behind)) = rest.split_first_chunk()
            && !behind.is_empty()
        {
            self.block(*block);
            rest = behind;
        }
        match part.last_chunk() {
            Some(last) => self.block(*last),
            None => self.short(part),
        }
    }

    /// The block of a part of less than sixteen bytes: its beginning and end, which meet or overlap.
    #[inline(always)]
    fn short(&mut self, part: &[u8]) {
        // Each of them taken in by itself, so that none is put together byte by byte.
        if let (Some(first), Some(last)) = (part.first_chunk::<8>(), part.last_chunk::<8>()) {
            self.block(std::array::from_fn(|at| if at < 8 { first[at] } else { last[at - 8] }));
        } else if let (Some(first), Some(last)) = (part.first_chunk::<4>(), part.last_chunk::<4>()) {
            self.block(std::array::from_fn(|at| match at {
                0..4 => first[at],
                8..12 => last[at - 8],
                _ => 0,
            }));
        } else if let (Some(first), Some(last)) = (part.first(), part.last()) {
            let middle = part[part.len() / 2];
            self.block([*first, 0, 0, 0, middle, 0, 0, 0, *last, 0, 0, 0, 0, 0, 0, 0]);
        }
    }
}

/// The offset of the block that `before` blocks stand before: `Δᵢ` holds `L·xʲ` for each bit of the Gray code
/// of `i`, because from one code to the next the bit `ntz(i)` changes.
fn offset(doubled: &[Block; u32::BITS as usize], before: u32) -> Block {
    let number = before.wrapping_add(1);
    let gray = number ^ (number >> 1);
    let with =
        |sum, (place, power): (u32, &Block)| if gray >> place & 1 == 1 { xor(sum, *power) } else { sum };
    (0..).zip(doubled).fold(Block::default(), with)
}

#[inline(always)]
fn encrypt<B: BlockCipherEncBackend<BlockSize = U16>>(backend: &B, block: Block) -> Block {
    let mut block = aes::Block::from(block);
    backend.encrypt_block((&mut block).into());
    block.into()
}

#[inline(always)]
fn xor(a: Block, b: Block) -> Block {
    std::array::from_fn(|at| a[at] ^ b[at])
}

/// A part's length as it stands in a block, as the number whose bytes it is. No part of a message is longer than
/// [`crate::limits::MESSAGE_BYTES`].
#[inline(always)]
pub(super) fn len(part: &[u8]) -> u16 {
    debug_assert!(part.len() <= crate::limits::MESSAGE_BYTES);
    part.len() as u16
}

/// The block of two numbers, the lowest byte of the first one first.
#[inline(always)]
pub(super) fn block_of([first, second]: [u64; 2]) -> Block {
    (u128::from(second) << 64 | u128::from(first)).to_le_bytes()
}

/// Four numbers in one, the first one lowest.
#[inline(always)]
pub(super) fn four([a, b, c, d]: [u16; 4]) -> u64 {
    u64::from(a) | u64::from(b) << 16 | u64::from(c) << 32 | u64::from(d) << 48
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use pmac::digest::Update;
    use pmac::{KeyInit as _, Mac, Pmac};
    use proptest::prelude::*;

    use super::*;

    fn oracle(key: &Block, message: &[u8]) -> Block {
        Pmac::<aes::Aes128>::new(key.into()).chain(message).finalize().into_bytes().into()
    }

    fn taken_in(prf: &Prf, part: &[u8]) -> Running {
        let mut running = Running::default();
        prf.values(&mut running, &mut [Message { parts: &[part], ..Message::ended(&mut []) }]);
        running
    }

    /// The library's own PMAC, for every length up to a message's.
    #[test]
    fn it_is_pmac() {
        let key = std::array::from_fn(|n| n as u8);
        let prf = Prf::new(&key);
        let bytes: Vec<u8> = (0..4_096 * 16u32).map(|n| (n * 7 + n / 251) as u8).collect();
        let (blocks, _) = bytes.as_chunks::<16>();
        for count in (1..200).chain([1_023, 1_024, 1_025, 4_096]) {
            let (last, before) = blocks[..count].split_last().unwrap();
            let value = prf.of(&[before.as_flattened()], &[], *last);
            assert_eq!(value, oracle(&key, &bytes[..16 * count]), "{count} blocks");
        }
    }

    /// Every machine of every version computes this.
    #[test]
    fn its_values_are_known() {
        let key = std::array::from_fn(|n| n as u8);
        let text: [u8; 16] = std::array::from_fn(|n| n as u8);
        assert_eq!(
            format!("{:032x}", u128::from_be_bytes(Prf::new(&key).of(&[], &[], text))),
            "ebbd822fa458daf6dfdad7c27da76338"
        );
    }

    /// The blocks of a part as its description has them.
    fn blocks_of(part: &[u8]) -> Vec<Block> {
        let (whole, rest) = part.as_chunks::<16>();
        let mut blocks = whole.to_vec();
        let mut last = Block::default();
        match (part.len(), rest.len()) {
            (_, 0) => return blocks,
            (16.., _) => last = *part.last_chunk().unwrap(),
            (len @ 8.., _) => {
                last[..8].copy_from_slice(&part[..8]);
                last[8..].copy_from_slice(&part[len - 8..]);
            }
            (len @ 4.., _) => {
                last[..4].copy_from_slice(&part[..4]);
                last[8..12].copy_from_slice(&part[len - 4..]);
            }
            (len, _) => (last[0], last[4], last[8]) = (part[0], part[len / 2], part[len - 1]),
        }
        blocks.push(last);
        blocks
    }

    proptest! {
        /// Wherever a part begins and ends, with and without offsets that are ready.
        #[test]
        fn a_part_is_taken_in_as_its_blocks(before in 0usize..80, part in proptest::collection::vec(any::<u8>(), 0..1_200)) {
            let prf = Prf::new(&[7; 16]);
            let before = vec![[9; 16]; before];
            let (mut by_part, mut by_blocks) = (Running::default(), Running::default());
            let (mut part_end, mut blocks_end) = ([[1; 16]], [[1; 16]]);
            for running in [&mut by_part, &mut by_blocks] {
                prf.values(running, &mut [Message { blocks: &before, ..Message::ended(&mut []) }]);
            }
            prf.values(&mut by_part, &mut [Message { parts: &[&part], ..Message::ended(&mut part_end) }]);
            let blocks = blocks_of(&part);
            prf.values(&mut by_blocks, &mut [Message { blocks: &blocks, ..Message::ended(&mut blocks_end) }]);
            prop_assert_eq!((part_end, by_part.count), (blocks_end, by_blocks.count));
            let all = [before, blocks, vec![[1; 16]]].concat();
            prop_assert_eq!(part_end[0], oracle(&[7; 16], all.as_flattened()));
        }

        #[test]
        fn it_is_pmac_under_any_key_and_in_any_steps(
            key: Block,
            blocks in proptest::collection::vec(any::<Block>(), 0..100),
            cut in 0usize..100,
            lasts: [Block; 2],
        ) {
            let prf = Prf::new(&key);
            let (first, second) = blocks.split_at(cut.min(blocks.len()));
            let (mut running, mut ends, mut forked, mut anew) = (Running::default(), lasts, lasts, lasts);
            let common = [first.as_flattened()];
            prf.values(&mut running, &mut [Message { parts: &common, ..Message::ended(&mut []) }]);
            prf.values(&mut running, &mut [
                Message { blocks: second, ..Message::ended(&mut ends) },
                Message { forks: true, blocks: first, ..Message::ended(&mut forked) },
                Message { parts: &common, blocks: second, ..Message::ended(&mut anew) },
            ]);
            prop_assert_eq!(ends, anew);
            for (at, last) in lasts.iter().enumerate() {
                let message = [blocks.as_flattened(), last].concat();
                prop_assert_eq!(ends[at], oracle(&key, &message));
                let message = [blocks.as_flattened(), first.as_flattened(), last].concat();
                prop_assert_eq!(forked[at], oracle(&key, &message));
            }
        }

        /// With its length, a part is told from all others.
        #[test]
        fn a_part_is_its_blocks(parts in proptest::collection::vec(proptest::collection::vec(0u8..2, 0..40), 2..60)) {
            let prf = Prf::new(&[7; 16]);
            let mut known: HashMap<(usize, Block), Vec<u8>> = HashMap::new();
            for part in parts {
                let sum = taken_in(&prf, &part).sum;
                let other = known.entry((part.len(), sum)).or_insert_with(|| part.clone());
                prop_assert_eq!(&*other, &part);
            }
        }
    }

    /// The same, one bit for another, at every place of every length.
    #[test]
    fn every_bit_of_a_part_counts() {
        let prf = Prf::new(&[7; 16]);
        let sum = |part: &[u8]| {
            let Running { sum, count } = taken_in(&prf, part);
            (sum, count)
        };
        for len in 0..70 {
            let part = vec![0x5a; len];
            assert_eq!(sum(&part).1 as usize, len.div_ceil(16));
            for bit in 0..8 * len {
                let mut other = part.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(sum(&part).0, sum(&other).0, "bit {bit} of {len} bytes");
            }
        }
    }
}
