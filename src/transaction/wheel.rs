//! A timing wheel: setting, taking back and firing a timer cost the same however many there are.

use crate::net::Now;

/// Resolution: a timer fires up to so much late, and never early.
const TICK_NS: u64 = 16_000_000;

/// Slots: the wheel's turn, 262 s, is longer than any timer.
const SLOTS: usize = 16_384;

const WORDS: usize = SLOTS / 64;

/// Numbers are kept one higher, so that memory of zeros is an empty wheel that nobody has to write.
const NONE: u32 = 0;

/// Timers of nodes that somebody else numbers from 0, at most one for each.
pub struct Wheel {
    /// The first node of each slot.
    heads: Box<[u32]>,
    nodes: Box<[Node]>,
    /// One bit for each slot that has a node.
    occupied: Box<[u64]>,
    /// All ticks before this one are over.
    cursor: u64,
    armed: usize,
}

/// A node's neighbours in its slot.
#[derive(Clone, Copy, Default)]
struct Node {
    previous: u32,
    next: u32,
    slot: u32,
}

/// Bytes of the wheel for each node.
pub const NODE_BYTES: usize = size_of::<Node>();

impl Wheel {
    /// For nodes numbered below `nodes`.
    pub fn new(nodes: usize) -> Self {
        Self {
            heads: vec![NONE; SLOTS].into(),
            nodes: vec![Node::default(); nodes].into(),
            occupied: vec![0; WORDS].into(),
            cursor: 0,
            armed: 0,
        }
    }

    /// Has a node's timer fire at this instant, instead of any other. What lies behind the wheel's turn
    /// fires at its end.
    pub fn set(&mut self, node: u32, at: Now) {
        self.cancel(node);
        let tick = at.0.div_ceil(TICK_NS).clamp(self.cursor, self.cursor + SLOTS as u64 - 1);
        let slot = (tick % SLOTS as u64) as usize;
        let next = std::mem::replace(&mut self.heads[slot], node + 1);
        self.nodes[node as usize] = Node { previous: NONE, next, slot: slot as u32 + 1 };
        if next != NONE {
            self.nodes[next as usize - 1].previous = node + 1;
        }
        self.occupied[slot / 64] |= 1 << (slot % 64);
        self.armed += 1;
    }

    /// Takes a node's timer back, if it has one.
    pub fn cancel(&mut self, node: u32) {
        let Node { previous, next, slot } = std::mem::take(&mut self.nodes[node as usize]);
        if slot == NONE {
            return;
        }
        let slot = slot as usize - 1;
        if next != NONE {
            self.nodes[next as usize - 1].previous = previous;
        }
        match previous {
            NONE => self.heads[slot] = next,
            previous => self.nodes[previous as usize - 1].next = next,
        }
        if self.heads[slot] == NONE {
            self.occupied[slot / 64] &= !(1 << (slot % 64));
        }
        self.armed -= 1;
    }

    /// Says that so much time has passed: what is set from here on has the whole turn before it.
    pub fn advance(&mut self, now: Now) {
        if let Some(ticks) = (now.0 / TICK_NS).checked_sub(self.cursor) {
            self.cursor += self.first(ticks).unwrap_or(ticks);
        }
    }

    /// A timer is due.
    pub fn is_due(&self, now: Now) -> bool {
        let ticks = (now.0 / TICK_NS).checked_sub(self.cursor);
        ticks.is_some_and(|ticks| self.first(ticks).is_some())
    }

    /// Takes a node whose timer is due. Those of a tick come latest first.
    pub fn pop(&mut self, now: Now) -> Option<u32> {
        self.advance(now);
        if self.cursor > now.0 / TICK_NS {
            return None;
        }
        let node = self.heads[(self.cursor % SLOTS as u64) as usize].checked_sub(1)?;
        self.cancel(node);
        Some(node)
    }

    /// When the first timer is due.
    pub fn deadline(&self) -> Option<Now> {
        let ahead = self.first(u64::MAX)?;
        Some(Now((self.cursor + ahead).saturating_mul(TICK_NS)))
    }

    /// How many ticks after the cursor, at most `within`, the first slot with a node lies.
    fn first(&self, within: u64) -> Option<u64> {
        if self.armed == 0 {
            return None;
        }
        let start = (self.cursor % SLOTS as u64) as usize;
        let words = within.saturating_add(start as u64 % 64).min(SLOTS as u64) as usize / 64;
        let found = (0..=words).find_map(|step| {
            let word = (start / 64 + step) % WORDS;
            let mask = match step {
                0 => u64::MAX << (start % 64),
                WORDS => !(u64::MAX << (start % 64)),
                _ => u64::MAX,
            };
            let bits = self.occupied[word] & mask;
            (bits != 0).then(|| word * 64 + bits.trailing_zeros() as usize)
        })?;
        let ahead = ((found + SLOTS - start) % SLOTS) as u64;
        (ahead <= within).then_some(ahead)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    fn fired(wheel: &mut Wheel, now: u64) -> Vec<u32> {
        std::iter::from_fn(|| wheel.pop(Now(now * MS))).collect()
    }

    #[test]
    fn timers_fire_in_order_and_never_early() {
        let mut wheel = Wheel::new(4);
        wheel.set(0, Now(500 * MS));
        wheel.set(1, Now(100 * MS));
        wheel.set(2, Now(181_000 * MS));
        assert_eq!(wheel.deadline(), Some(Now(112 * MS)));
        assert!(fired(&mut wheel, 99).is_empty());
        assert!(fired(&mut wheel, 111).is_empty());
        assert_eq!(fired(&mut wheel, 112), [1]);
        assert_eq!(fired(&mut wheel, 1_000), [0]);
        assert!(fired(&mut wheel, 180_999).is_empty());
        assert_eq!(fired(&mut wheel, 181_008), [2]);
        assert_eq!((wheel.armed, wheel.deadline()), (0, None));
    }

    #[test]
    fn a_timer_of_now_is_due_in_the_same_batch() {
        let mut wheel = Wheel::new(2);
        assert!(fired(&mut wheel, 10_007).is_empty());
        wheel.set(1, Now(10_007 * MS));
        assert!(!wheel.is_due(Now(9_000 * MS)));
        wheel.set(1, Now(0));
        assert!(wheel.is_due(Now(10_007 * MS)));
        assert_eq!(fired(&mut wheel, 10_007), [1]);
    }

    #[test]
    fn what_is_taken_back_or_set_anew_does_not_fire() {
        let mut wheel = Wheel::new(3);
        for node in 0..3 {
            wheel.set(node, Now(32 * MS));
        }
        wheel.cancel(1);
        wheel.set(0, Now(64 * MS));
        assert_eq!(fired(&mut wheel, 50), [2]);
        assert_eq!(fired(&mut wheel, 64), [0]);
        wheel.cancel(0);
        assert_eq!(wheel.armed, 0);
    }

    #[test]
    fn beyond_its_turn_a_timer_fires_at_the_end_of_it() {
        let mut wheel = Wheel::new(1);
        wheel.set(0, Now(u64::MAX));
        assert_eq!(wheel.deadline(), Some(Now((SLOTS as u64 - 1) * TICK_NS)));
    }

    proptest! {
        #[test]
        fn it_does_what_a_sorted_map_does(
            steps in prop::collection::vec((0u32..40, 0u64..300_000, 0u64..40_000), 1..200)
        ) {
            let mut wheel = Wheel::new(40);
            let mut model = BTreeMap::<u32, u64>::new();
            let mut now = 0;
            for (node, after, passes) in steps {
                if after % 7 == 0 {
                    wheel.cancel(node);
                    model.remove(&node);
                } else {
                    let at = now + after.min(260_000);
                    wheel.set(node, Now(at * MS));
                    model.insert(node, at);
                }
                now += passes;
                let due = |at: &u64| (at * MS).div_ceil(TICK_NS) <= now * MS / TICK_NS;
                let first = model.values().min().map(|at| (at * MS).div_ceil(TICK_NS) * TICK_NS);
                if let (Some(first), Some(deadline)) = (first, wheel.deadline()) {
                    prop_assert!(deadline.0 >= first && deadline.0 < first + TICK_NS.max(passes * MS + TICK_NS));
                }
                prop_assert_eq!(wheel.is_due(Now(now * MS)), model.values().any(due));
                let mut expected: Vec<u32> = model.iter().filter(|(_, at)| due(at)).map(|(n, _)| *n).collect();
                let mut got = fired(&mut wheel, now);
                got.sort_unstable();
                expected.sort_unstable();
                prop_assert_eq!(got, expected);
                model.retain(|_, at| !due(at));
                prop_assert_eq!(wheel.armed, model.len());
            }
        }
    }
}
