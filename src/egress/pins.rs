//! Recent decisions: a routing change must not move a transaction that is in flight.

use crate::net::{NextHop, Now};
use crate::token::{KeyId, TransactionKey};

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
}

/// How long a pin holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PinKind {
    /// 5 minutes: a CANCEL may come as long as it rings.
    Invite,
    /// 32 seconds: 64·T1 (RFC 3261 §17.1.2.2, Timer F).
    Other,
}

/// A shard's table of recent decisions. All memory is taken at construction.
pub struct Pins {}

impl Pins {
    /// A table of `sets` sets (rounded up to a power of two) of [`crate::limits::PIN_WAYS`] pins;
    /// shards use [`crate::limits::PIN_SETS`].
    pub fn new(sets: usize) -> Self {
        let _ = sets;
        todo!()
    }

    /// What was decided for this transaction, if it still holds.
    pub fn get(&self, key: &TransactionKey, now: Now) -> Option<Pin> {
        let _ = (key, now);
        todo!()
    }

    /// Remembers a decision; replaces an earlier one for the same transaction. A full set loses its
    /// oldest pin, counted if that one still held.
    pub fn put(&mut self, key: &TransactionKey, kind: PinKind, pin: Pin, now: Now) {
        let _ = (key, kind, pin, now);
        todo!()
    }

    /// Pins that were lost before their time.
    pub fn evicted(&self) -> u64 {
        todo!()
    }

    /// Pins in the table; one that has run out counts until its place is used again.
    pub fn len(&self) -> usize {
        todo!()
    }

    /// The table holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Pins that fit.
    pub fn capacity(&self) -> usize {
        todo!()
    }
}
