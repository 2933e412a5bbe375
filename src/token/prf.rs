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
const NEAR_BYTES: u32 = NEAR as u32 * BLOCK_BYTES;
const BLOCK_BYTES: u32 = size_of::<Block>() as u32;

/// A message of which some blocks have been taken in.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Running {
    sum: Block,
    /// How many bytes these blocks have.
    pub bytes: u32,
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

    /// The value for a message of `blocks`, then the blocks of `parts`, then the last one.
    #[inline(always)]
    pub fn of<const PARTS: usize>(
        &self,
        blocks: impl AsRef<[Block]>,
        parts: [&[u8]; PARTS],
        last: Block,
    ) -> Block {
        let mut whole = Whole { blocks, parts, last, value: Block::default() };
        self.pass(&mut whole);
        whole.value
    }

    /// The same without `blocks`.
    #[inline(always)]
    pub fn of_parts<const PARTS: usize>(&self, parts: [&[u8]; PARTS], last: Block) -> Block {
        // An array of none, not a slice that is empty: then there is no loop for them.
        const NONE: [Block; 0] = [];
        self.of(NONE, parts, last)
    }

    /// Computes all values of a pass, which costs as much as two blocks.
    #[inline(always)]
    pub fn pass(&self, pass: &mut impl Pass) {
        if self.run::<false>(pass) > NEAR_BYTES {
            self.far_pass(pass);
        }
    }

    /// The same where some message may have more blocks than offsets are ready for.
    #[cold]
    #[inline(never)]
    fn far_pass(&self, pass: &mut impl Pass) {
        self.run::<true>(pass);
    }

    /// Takes in texts as parts, each with its length in a block behind it; gives the value of the message that ends here, with
    /// the block that `last` makes of how many they were.
    pub fn take_in<'t>(
        &self,
        running: &mut Running,
        texts: impl Iterator<Item = &'t [u8]>,
        last: impl FnMut(u32) -> Block,
    ) -> Block {
        let mut texts = Texts { running, texts, last, value: Block::default() };
        self.far_pass(&mut texts);
        texts.value
    }

    #[inline(always)]
    fn run<const FAR: bool>(&self, pass: &mut impl Pass) -> u32 {
        let mut bytes = 0;
        self.cipher.encrypt_with_backend(Passing::<_, FAR> { prf: self, pass, bytes: &mut bytes });
        bytes
    }
}

/// Messages whose values are computed in one go.
pub(super) trait Pass {
    /// Takes the messages in, of which each begins as a copy of `new`, and keeps their values: those that count are of the
    /// last time. Gives [`Running::bytes`] of the longest, or more. To be inlined: what is not cannot use the processor's
    /// features.
    fn take_in<C: Cipher, const FAR: bool>(&mut self, new: Taking<'_, C, FAR>) -> u32;
}

/// One message.
///
/// A part becomes as many blocks as it fills and, of its rest, one more: its last sixteen bytes, or, of a part that has
/// less, all it has. So parts and blocks follow from the blocks where each part's length is known: it has to stand in
/// a block whose place is known, or in the last one.
struct Whole<'a, B, const PARTS: usize> {
    blocks: B,
    parts: [&'a [u8]; PARTS],
    last: Block,
    value: Block,
}

impl<B: AsRef<[Block]>, const PARTS: usize> Pass for Whole<'_, B, PARTS> {
    #[inline(always)]
    fn take_in<C: Cipher, const FAR: bool>(&mut self, mut new: Taking<'_, C, FAR>) -> u32 {
        self.blocks.as_ref().iter().for_each(|block| new.block(*block));
        self.parts.iter().for_each(|part| new.part(part));
        self.value = new.end(self.last);
        new.running.bytes
    }
}

/// Texts of which nobody knows beforehand how many they are.
struct Texts<'a, I, L> {
    running: &'a mut Running,
    texts: I,
    last: L,
    value: Block,
}

impl<'t, I: Iterator<Item = &'t [u8]>, L: FnMut(u32) -> Block> Pass for Texts<'_, I, L> {
    #[inline(always)]
    fn take_in<C: Cipher, const FAR: bool>(&mut self, mut new: Taking<'_, C, FAR>) -> u32 {
        new.running = *self.running;
        let mut count = 0;
        for text in self.texts.by_ref() {
            new.text(text);
            count += 1;
        }
        *self.running = new.running;
        self.value = new.end((self.last)(count));
        new.running.bytes
    }
}

/// AES, where the processor's features are known.
pub(super) trait Cipher: BlockCipherEncBackend<BlockSize = U16> {}

impl<B: BlockCipherEncBackend<BlockSize = U16>> Cipher for B {}

struct Passing<'a, P, const FAR: bool> {
    prf: &'a Prf,
    pass: &'a mut P,
    bytes: &'a mut u32,
}

impl<P, const FAR: bool> BlockSizeUser for Passing<'_, P, FAR> {
    type BlockSize = U16;
}

impl<P: Pass, const FAR: bool> BlockCipherEncClosure for Passing<'_, P, FAR> {
    #[inline(always)]
    fn call<C: Cipher>(self, cipher: &C) {
        let Self { prf, pass, bytes } = self;
        *bytes = pass.take_in(Taking::<C, FAR> { cipher, prf, running: Running::default() });
    }
}

/// A message that is being taken in. `FAR`: it may have more blocks than offsets are ready for; else nobody sees what was
/// taken in under wrong ones.
pub(super) struct Taking<'a, C, const FAR: bool> {
    cipher: &'a C,
    prf: &'a Prf,
    pub running: Running,
}

impl<C, const FAR: bool> Clone for Taking<'_, C, FAR> {
    #[inline(always)]
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<C: Cipher, const FAR: bool> Taking<'_, C, FAR> {
    /// More was taken in than offsets are ready for: nobody will see what comes of it.
    #[inline(always)]
    pub fn is_lost(&self) -> bool {
        !FAR && self.running.bytes > NEAR_BYTES
    }

    /// Takes in a block.
    #[inline(always)]
    pub fn block(&mut self, block: Block) {
        let Running { sum, bytes } = self.running;
        let offset = match FAR && bytes >= NEAR_BYTES {
            true => offset(&self.prf.doubled, bytes / BLOCK_BYTES),
            false => self.prf.offsets[(bytes / BLOCK_BYTES) as usize % NEAR],
        };
        let sum = xor(sum, encrypt(self.cipher, xor(block, offset)));
        self.running = Running { sum, bytes: bytes.wrapping_add(BLOCK_BYTES) };
    }

    /// The value of the message that ends with this block.
    #[inline(always)]
    pub fn end(&self, last: Block) -> Block {
        encrypt(self.cipher, xor(xor(self.running.sum, last), self.prf.halved))
    }

    /// Takes in the blocks of a part.
    #[inline(always)]
    pub fn part(&mut self, part: &[u8]) {
        let (Some(first), Some(last)) = (part.first_chunk(), part.last_chunk()) else {
            return self.short(part);
        };
        match part.len() {
            ..=16 => {}
            // As most are, so that it is not worth a loop.
            17..=32 => self.block(*first),
            33.. => self.all_but_last(part),
        }
        self.block(*last);
    }

    /// Takes in the blocks of a part, and its length in a block behind it.
    #[inline(always)]
    pub fn text(&mut self, text: &[u8]) {
        let [a, b] = len(text).to_be_bytes();
        self.part(text);
        self.block([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b]);
    }

    /// The blocks of a part that stand before its last one.
    #[inline(always)]
    fn all_but_last(&mut self, part: &[u8]) {
        let mut rest = part;
        while let Some((block, behind)) = rest.split_first_chunk()
            && !behind.is_empty()
        {
            self.block(*block);
            rest = behind;
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
fn encrypt<C: Cipher>(cipher: &C, block: Block) -> Block {
    let mut block = aes::Block::from(block);
    cipher.encrypt_block((&mut block).into());
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

    /// A message that may go on with what was taken in before, and ends in several ways.
    struct Steps<'a> {
        running: Running,
        blocks: &'a [Block],
        parts: &'a [&'a [u8]],
        ends: [Block; 2],
        found: (Running, [Block; 2]),
    }

    impl Pass for Steps<'_> {
        #[inline(always)]
        fn take_in<C: Cipher, const FAR: bool>(&mut self, mut new: Taking<'_, C, FAR>) -> u32 {
            new.running = self.running;
            self.blocks.iter().for_each(|block| new.block(*block));
            self.parts.iter().for_each(|part| new.part(part));
            self.found = (new.running, self.ends.map(|last| new.end(last)));
            new.running.bytes
        }
    }

    fn steps(
        prf: &Prf,
        running: Running,
        blocks: &[Block],
        parts: &[&[u8]],
        ends: [Block; 2],
    ) -> (Running, [Block; 2]) {
        let mut steps = Steps { running, blocks, parts, ends, found: Default::default() };
        prf.pass(&mut steps);
        steps.found
    }

    fn taken_in(prf: &Prf, part: &[u8]) -> Running {
        steps(prf, Running::default(), &[], &[part], Default::default()).0
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
            let value = prf.of_parts([before.as_flattened()], *last);
            assert_eq!(value, oracle(&key, &bytes[..16 * count]), "{count} blocks");
        }
    }

    /// Every machine of every version computes this.
    #[test]
    fn its_values_are_known() {
        let key = std::array::from_fn(|n| n as u8);
        let text: [u8; 16] = std::array::from_fn(|n| n as u8);
        assert_eq!(
            format!("{:032x}", u128::from_be_bytes(Prf::new(&key).of_parts([], text))),
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
            let (lasts, blocks) = ([[1; 16]; 2], blocks_of(&part));
            let (running, _) = steps(&prf, Running::default(), &before, &[], lasts);
            let (by_part, ends) = steps(&prf, running, &[], &[&part], lasts);
            let (by_blocks, same) = steps(&prf, running, &blocks, &[], lasts);
            prop_assert_eq!((ends, by_part.bytes), (same, by_blocks.bytes));
            let all = [before, blocks, vec![[1; 16]]].concat();
            prop_assert_eq!(ends[0], oracle(&[7; 16], all.as_flattened()));
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
            let (running, _) = steps(&prf, Running::default(), first, &[], lasts);
            let (running, ends) = steps(&prf, running, second, &[], lasts);
            let (_, longer) = steps(&prf, running, &[], &[first.as_flattened()], lasts);
            for (at, last) in lasts.iter().enumerate() {
                let message = [blocks.as_flattened(), last].concat();
                prop_assert_eq!(ends[at], oracle(&key, &message));
                let message = [blocks.as_flattened(), first.as_flattened(), last].concat();
                prop_assert_eq!(longer[at], oracle(&key, &message));
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
            let Running { sum, bytes } = taken_in(&prf, part);
            (sum, bytes / BLOCK_BYTES)
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
