//! The lines that stand on top of requests, as they were written before: between the same two listeners they are the
//! same but for what is bound to a dialog and a transaction, and that stands at the same places.

use crate::limits::TOPS;
use crate::net::ListenerId;
use crate::rewrite::Output;
use crate::token::Covered;

/// The longest lines that are kept, in bytes: two Record-Routes and a Via with names of eighty letters.
pub(super) const TOP_BYTES: usize = 512;

/// A quarter of them.
const STEP: usize = TOP_BYTES / 4;

/// All that the lines depend on besides.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Sides(u64, u64);

impl Sides {
    const NONE: Self = Self(0, 0);

    /// Listeners, of who sent the request, of who gets it, and where it leaves from; which of its addresses each of them shows, 16
    /// bits each; which shard the branch names; `flags` are less than sixteen.
    #[inline(always)]
    pub fn new(listeners: [ListenerId; 3], shown: u64, owner: u16, flags: u8) -> Self {
        let [ingress, egress, sender] = listeners.map(|ListenerId(id)| u64::from(id));
        let others = 1 << 62 | u64::from(flags) << 58 | u64::from(owner) << 48;
        Self(others | sender << 32 | egress << 16 | ingress, shown)
    }

    #[inline(always)]
    fn place(self) -> usize {
        let mixed = (self.0 ^ self.1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as usize % TOPS
    }
}

const _: () = assert!(crate::limits::SHARDS <= 1 << 10);

/// What belongs to a dialog or a transaction, and where it stands in the lines.
#[derive(Clone, Copy, Default)]
pub(super) struct Places {
    /// What the MAC of the token in Record-Route covers of it, and where it begins; of a pair, in either value.
    pub token: Option<(Covered, [usize; 2])>,
    /// Where our Via's branch begins.
    pub branch: usize,
}

/// Lines that were written before. All memory is taken at construction.
pub(super) struct Tops {
    generation: u64,
    known: Box<[Known; TOPS]>,
}

/// Those of one pair of sides.
#[derive(Clone, Copy)]
pub(super) struct Known {
    sides: Sides,
    pub places: Places,
    len: usize,
    text: [u8; TOP_BYTES],
}

impl Known {
    const NONE: Self =
        Self { sides: Sides::NONE, places: Places { token: None, branch: 0 }, len: 0, text: [0; TOP_BYTES] };

    /// The lines; none where they are longer than what is kept.
    pub fn text(&self) -> &[u8] {
        self.text.get(..self.len).unwrap_or_default()
    }

    /// Copies the lines, and gives their length; `None`: they are longer than what is kept. By large steps, of which the last one
    /// takes what is behind them along: a call costs as much as a step.
    #[inline(always)]
    pub fn copy_to(&self, room: &mut [u8; TOP_BYTES]) -> Option<usize> {
        let ([a, b, c, d], _) = self.text.as_chunks::<STEP>() else { return None };
        let ([to_a, to_b, to_c, to_d], _) = room.as_chunks_mut::<STEP>() else { return None };
        if self.len == 0 {
            return None;
        }
        *to_a = *a;
        if self.len > STEP {
            *to_b = *b;
        }
        if self.len > 2 * STEP {
            *to_c = *c;
        }
        if self.len > 3 * STEP {
            *to_d = *d;
        }
        Some(self.len)
    }
}

impl Tops {
    pub fn new() -> Self {
        Self { generation: 0, known: Box::new([Known::NONE; TOPS]) }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.known.iter_mut().for_each(|known| known.sides = Sides::NONE);
    }

    /// The lines of these sides that are kept, if they are, under the snapshot of this generation.
    #[inline(always)]
    pub fn get(&self, generation: u64, sides: Sides) -> Option<&Known> {
        let known = &self.known[sides.place()];
        (known.sides == sides && self.generation == generation).then_some(known)
    }

    /// Keeps the lines of these sides, as `write` writes them under the snapshot of this generation.
    pub fn keep(
        &mut self,
        generation: u64,
        sides: Sides,
        write: impl FnOnce(&mut Output<'_>) -> Places,
    ) -> &Known {
        if self.generation != generation {
            self.clear();
            self.generation = generation;
        }
        let known = &mut self.known[sides.place()];
        known.sides = sides;
        let mut out = Output::new(&mut known.text);
        known.places = write(&mut out);
        known.len = out.finish().unwrap_or(0);
        known
    }
}
