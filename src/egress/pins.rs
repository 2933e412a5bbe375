//! Recent decisions: a routing change must not move a transaction that is in flight.

mod entry;
mod index;

use crate::hardware::{self, Table};
use crate::net::{NextHop, Now};
use crate::token::{KeyId, TransactionKey};

use entry::Entry;
use index::Set;

/// What a transaction was decided to be: enough to treat its retransmission, its CANCEL and the ACK
/// for its non-2xx answer the same (RFC 3261 §16.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Where to.
    pub next_hop: NextHop,
    /// Identity of the listener it leaves from: a reload may renumber listeners.
    pub egress: u32,
    /// The key that signed its branch and Record-Route.
    pub signer: KeyId,
    /// Record-Route was written.
    pub record_route: bool,
    /// Its rule changed it, and changes its CANCEL and ACK alike.
    pub set: bool,
    /// The message named its next hop, not the configuration.
    pub by_message: bool,
}

/// How long a pin holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PinKind {
    /// 5 minutes: a CANCEL may come as long as it rings.
    Invite,
    /// 32 seconds: 64·T1 (RFC 3261 §17.1.2.2, Timer F).
    Other,
}

/// The longest that any does, in nanoseconds.
pub const PINNED_NS: u64 = PinKind::Invite.holds_ms() as u64 * 1_000_000;

impl PinKind {
    /// In milliseconds.
    const fn holds_ms(self) -> u32 {
        match self {
            Self::Invite => 5 * 60 * 1_000,
            Self::Other => 32 * 1_000,
        }
    }
}

/// A shard's table of recent decisions. All memory is taken at construction.
///
/// Pins stand in a ring in the order in which they were made, a newer one in the place of the oldest; an index of one
/// cache line for each set of them says where. So what is read at random, the index, is a seventh of the table and
/// stays in the caches, and the pins are written one behind the other. A pin is known by 64 bits of a keyed hash besides those
/// that choose the set: nobody can make two transactions collide, and by chance two in a set agree once in 10^18
/// look-ups.
pub struct Pins {
    index: Table<Set>,
    ring: Table<Entry>,
    /// Pins that were made: the number of the next one.
    made: u64,
    evicted: u64,
    used: usize,
}

impl Pins {
    /// A table of so many pins: rounded up to a power of two, and no fewer than eight; shards use [`crate::limits::PINS`].
    pub fn new(pins: usize) -> Self {
        let pins = pins.next_power_of_two().max(index::PINS_PER_SET);
        let (index, ring) = (Table::of(Set::EMPTY, pins / index::PINS_PER_SET), Table::of(Entry::NONE, pins));
        Self { index, ring, made: 0, evicted: 0, used: 0 }
    }

    /// Tells that this transaction will be looked for, whatever its inputs
    /// ([`TransactionKey::bound_to`]): the index is larger than the nearest caches.
    pub fn expect(&self, key: TransactionKey) {
        if let Some(set) = self.index.get(self.place(key).0) {
            hardware::prefetch(set);
        }
    }

    /// What was decided for this transaction, if it still holds.
    #[inline]
    pub fn get(&self, key: TransactionKey, now: Now) -> Option<Pin> {
        let (place, fingerprint) = self.place(key);
        let entry = self.ring.get(self.find(place, fingerprint)?)?;
        entry.holds(now).then(|| entry.pin())
    }

    /// Remembers a decision; replaces an earlier one for the same transaction. What stood where it is put is lost, counted
    /// if it still held: the oldest pin of all, and where its set is full, that of its set.
    ///
    /// `pin` says it once its place is known: it is large to be carried along.
    #[inline]
    pub fn put(&mut self, key: TransactionKey, kind: PinKind, pin: impl FnOnce() -> Pin, now: Now) {
        let (place, fingerprint) = self.place(key);
        if let Some(at) = self.find(place, fingerprint) {
            self.clear(at);
        }
        let Some(set) = self.index.get_mut(place) else { return };
        let before = set.put(fingerprint, self.made);
        if let Some(at) = before.and_then(|before| self.find_pin(before, place)) {
            self.evicted += u64::from(self.ring.get(at).is_some_and(|entry| entry.holds(now)));
            self.clear(at);
        }
        let at = self.made as usize & (self.ring.len() - 1);
        if let Some(entry) = self.ring.get_mut(at) {
            match entry.is_none() {
                true => self.used += 1,
                false => self.evicted += u64::from(entry.holds(now)),
            }
            *entry = Entry::new(fingerprint, place as u32, kind, &pin(), now);
        }
        self.made += 1;
        // The next one begins in a line that is here by now, and may end in this one.
        if let Some(next) = self.ring.get(at + 2) {
            hardware::prefetch(next);
        }
    }

    /// So many were made before, as it were.
    #[cfg(test)]
    pub(super) fn begin_at(&mut self, made: u64) {
        assert!(self.is_empty());
        self.made = made;
    }

    /// Pins that were lost before their time.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Pins in the table; one that has run out counts until its place is used again.
    pub fn len(&self) -> usize {
        self.used
    }

    /// The table holds nothing.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Pins that fit.
    pub fn capacity(&self) -> usize {
        self.ring.len()
    }

    /// The set, and a fingerprint that is never 0.
    #[inline(always)]
    fn place(&self, key: TransactionKey) -> (usize, u64) {
        (key.low() as usize & (self.index.len() - 1), key.high().max(1))
    }

    /// Where the pin of this set stands in the ring that has this fingerprint.
    #[inline]
    fn find(&self, place: usize, fingerprint: u64) -> Option<usize> {
        let set = self.index.get(place)?;
        let mut ways = set.ways_of(fingerprint);
        while ways != 0 {
            let at = self.find_pin(set.pin(ways.trailing_zeros() as usize / 8), place);
            if let Some(at) = at.filter(|at| self.ring.get(*at).is_some_and(|e| e.is(fingerprint))) {
                return Some(at);
            }
            ways &= ways - 1;
        }
        None
    }

    /// Where the pin of this set stands that has this number ([`index::lower`]), unless it is gone: an index may tell of it for
    /// longer. Once numbers have begun again it may tell of a newer one, which it then loses as if it were the oldest of its set.
    #[inline]
    fn find_pin(&self, number: u32, set: usize) -> Option<usize> {
        let age = index::lower(self.made.wrapping_sub(number.into()));
        let at = number as usize & (self.ring.len() - 1);
        let is_there = (1..=self.ring.len()).contains(&(age as usize));
        (is_there && self.ring.get(at)?.is_of(set as u32)).then_some(at)
    }

    fn clear(&mut self, at: usize) {
        if let Some(entry) = self.ring.get_mut(at) {
            *entry = Entry::NONE;
            self.used -= 1;
        }
    }
}

// A number that an index has kept for long is not taken for that of a newer pin.
const _: () = assert!(crate::limits::PINS <= index::NUMBERS / 16);
