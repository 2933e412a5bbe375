//! Recent decisions: a routing change must not move a transaction that is in flight.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use crate::hardware;
use crate::limits::PIN_WAYS;
use crate::net::{NextHop, Now, Transport, address_bits, address_of};
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
/// Set-associative: a set's fingerprints and times are one cache line, a pin is half of one; so a
/// look-up touches one line, or two where it finds something. Fingerprints are 64 bits of a keyed hash
/// besides those that choose the set: nobody can make two transactions collide, and by chance two in
/// a set agree once in 10^18 look-ups.
pub struct Pins {
    tags: Box<[Tags]>,
    pins: Box<[[Packed; PIN_WAYS]]>,
    evicted: u64,
    used: usize,
}

/// One set's fingerprints and times.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Tags {
    fingerprints: [u64; PIN_WAYS],
    /// When the pin was made, and its kind; see [`Stamp`].
    stamps: [Stamp; PIN_WAYS],
}

const _: () = assert!(size_of::<Tags>() == 64 && size_of::<Packed>() == 32);

/// Milliseconds since the shard's start, modulo 2^31, shifted left by one; the lowest bit says INVITE.
/// `Stamp(0)` with a fingerprint of 0 is an empty place. The time repeats after 24 days; a pin that is
/// found again then would need the same 128-bit hash, too.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp(u32);

impl Stamp {
    fn new(kind: PinKind, now: Now) -> Self {
        Self(Self::clock(now) << 1 | u32::from(kind == PinKind::Invite))
    }

    fn clock(now: Now) -> u32 {
        (now.0 / 1_000_000) as u32 & (u32::MAX >> 1)
    }

    fn age_ms(self, now: Now) -> u32 {
        Self::clock(now).wrapping_sub(self.0 >> 1) & (u32::MAX >> 1)
    }

    fn holds(self, now: Now) -> bool {
        let kind = if self.0 & 1 == 1 { PinKind::Invite } else { PinKind::Other };
        self.age_ms(now) < kind.holds_ms()
    }
}

/// A [`Pin`] in 32 bytes.
#[derive(Clone, Copy, Default)]
struct Packed {
    address: [u8; 16],
    scope: u32,
    egress: u32,
    signer: u32,
    port: u16,
    transport: u8,
    flags: u8,
}

const TRANSPORTS: [Transport; 5] =
    [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss];

impl Packed {
    #[inline(always)]
    fn new(pin: &Pin) -> Self {
        let address = pin.next_hop.address;
        let scope = match address {
            SocketAddr::V4(_) => 0,
            SocketAddr::V6(v6) => v6.scope_id(),
        };
        Self {
            address: address_bits(address.ip()).to_ne_bytes(),
            scope,
            egress: pin.egress,
            signer: pin.signer.0,
            port: address.port(),
            transport: pin.next_hop.transport as u8,
            flags: u8::from(pin.record_route) | u8::from(pin.set) << 1 | u8::from(pin.by_message) << 2,
        }
    }

    fn unpack(&self) -> Pin {
        let address = match address_of(u128::from_ne_bytes(self.address)) {
            IpAddr::V4(v4) => SocketAddr::from((v4, self.port)),
            IpAddr::V6(v6) => SocketAddrV6::new(v6, self.port, 0, self.scope).into(),
        };
        let transport = *TRANSPORTS.get(usize::from(self.transport)).unwrap_or(&Transport::Udp);
        Pin {
            next_hop: NextHop { transport, address },
            egress: self.egress,
            signer: KeyId(self.signer),
            record_route: self.flags & 1 != 0,
            set: self.flags & 2 != 0,
            by_message: self.flags & 4 != 0,
        }
    }
}

impl Pins {
    /// A table of `sets` sets (rounded up to a power of two) of [`PIN_WAYS`] pins; shards use
    /// [`crate::limits::PIN_SETS`].
    pub fn new(sets: usize) -> Self {
        let sets = sets.next_power_of_two();
        let empty = Tags { fingerprints: [0; PIN_WAYS], stamps: [Stamp(0); PIN_WAYS] };
        let tags = vec![empty; sets].into_boxed_slice();
        let pins = vec![[Packed::default(); PIN_WAYS]; sets].into_boxed_slice();
        hardware::huge_pages(&tags);
        hardware::huge_pages(&pins);
        Self { tags, pins, evicted: 0, used: 0 }
    }

    /// Tells that this transaction will be looked for, whatever its inputs
    /// ([`TransactionKey::bound_to`]): the table is larger than the caches.
    pub fn expect(&self, key: TransactionKey) {
        let (set, _) = self.place(key);
        if let (Some(tags), Some([first, ..])) = (self.tags.get(set), self.pins.get(set)) {
            hardware::prefetch(tags);
            hardware::prefetch(first);
        }
    }

    /// What was decided for this transaction, if it still holds.
    pub fn get(&self, key: TransactionKey, now: Now) -> Option<Pin> {
        let (set, fingerprint) = self.place(key);
        let tags = self.tags.get(set)?;
        let way = tags.fingerprints.iter().position(|&f| f == fingerprint)?;
        let holds = tags.stamps.get(way)?.holds(now);
        holds.then_some(self.pins.get(set)?.get(way)?.unpack())
    }

    /// Remembers a decision; replaces an earlier one for the same transaction. A full set loses its
    /// oldest pin, counted if that one still held.
    ///
    /// `pin` says it once its place is known: it is large to be carried along.
    #[inline]
    pub fn put(&mut self, key: TransactionKey, kind: PinKind, pin: impl FnOnce() -> Pin, now: Now) {
        let (set, fingerprint) = self.place(key);
        let (Some(tags), Some(pins)) = (self.tags.get_mut(set), self.pins.get_mut(set)) else { return };
        let way = tags.way_for(fingerprint, now);
        let (Some(tag), Some(stamp), Some(slot)) =
            (tags.fingerprints.get_mut(way), tags.stamps.get_mut(way), pins.get_mut(way))
        else {
            return;
        };
        if *tag == 0 {
            self.used += 1;
        } else if *tag != fingerprint && stamp.holds(now) {
            self.evicted += 1;
        }
        (*tag, *stamp, *slot) = (fingerprint, Stamp::new(kind, now), Packed::new(&pin()));
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
        self.tags.len() * PIN_WAYS
    }

    /// The set, and a fingerprint that is never 0.
    fn place(&self, key: TransactionKey) -> (usize, u64) {
        let set = key.low() as usize & (self.tags.len() - 1);
        (set, key.high().max(1))
    }
}

impl Tags {
    /// The place for this fingerprint: its own, else an empty one or one that has run out, else that of
    /// the oldest.
    fn way_for(&self, fingerprint: u64, now: Now) -> usize {
        let ways = || self.fingerprints.iter().zip(&self.stamps).enumerate();
        (self.fingerprints.iter().position(|&f| f == fingerprint))
            .or_else(|| ways().find(|(_, (f, stamp))| **f == 0 || !stamp.holds(now)).map(|(way, _)| way))
            .or_else(|| ways().max_by_key(|(_, (_, stamp))| stamp.age_ms(now)).map(|(way, _)| way))
            .unwrap_or(0)
    }
}
