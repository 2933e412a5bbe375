//! The lines that stand on top of requests, as they were written before: between the same two listeners they are the
//! same but for what is bound to a dialog and a transaction, and that stands at the same places.

use crate::limits::TOPS;
use crate::net::ListenerId;
use crate::rewrite::Output;
use crate::token::Covered;

/// The longest lines that are kept, in bytes: two Record-Routes and a Via with names of eighty letters.
pub(super) const TOP_BYTES: usize = 512;

/// A listener, and which of the addresses that it shows.
pub(super) type Side = (ListenerId, u16);

/// All that the lines depend on besides.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Sides(u128);

impl Sides {
    const NONE: Self = Self(0);

    /// Listeners, and which of the addresses that they show; which shard the branch names; `flags` are less than sixteen.
    #[inline(always)]
    pub fn new(ingress: Side, egress: Side, sender: Side, owner: u16, flags: u8) -> Self {
        let side = |(ListenerId(id), shown): Side| u64::from(id) << 16 | u64::from(shown);
        let high = u64::from(owner) << 37 | 1 << 36 | side(ingress) << 4 | u64::from(flags);
        Self(u128::from(high) << 64 | u128::from(side(egress) << 32 | side(sender)))
    }

    #[inline(always)]
    fn place(self) -> usize {
        let mixed = (self.0 as u64 ^ (self.0 >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as usize % TOPS
    }
}

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
    #[inline(always)]
    pub fn text(&self) -> &[u8] {
        self.text.get(..self.len).unwrap_or_default()
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
