//! A pin as it is kept: in 48 bytes.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use super::{Pin, PinKind};
use crate::net::{NextHop, Now, Transport, address_bits, address_of};
use crate::token::KeyId;

/// A pin, by what it is found, and when it was made.
#[derive(Clone, Copy)]
pub struct Entry {
    /// 0: none.
    fingerprint: u64,
    packed: Packed,
    set: u32,
    stamp: Stamp,
}

const _: () = assert!(size_of::<Entry>() == 48);

impl Entry {
    pub const NONE: Self = Self { fingerprint: 0, packed: Packed::NONE, set: 0, stamp: Stamp(0) };

    /// A pin of this set, by a fingerprint that is not 0.
    #[inline(always)]
    pub fn new(fingerprint: u64, set: u32, kind: PinKind, pin: &Pin, now: Now) -> Self {
        Self { fingerprint, packed: Packed::new(pin), set, stamp: Stamp::new(kind, now) }
    }

    pub const fn is_none(&self) -> bool {
        self.fingerprint == 0
    }

    pub const fn is(&self, fingerprint: u64) -> bool {
        self.fingerprint == fingerprint
    }

    /// It is a pin of this set.
    pub const fn is_of(&self, set: u32) -> bool {
        !self.is_none() && self.set == set
    }

    pub fn holds(&self, now: Now) -> bool {
        self.stamp.holds(now)
    }

    pub fn pin(&self) -> Pin {
        self.packed.unpack()
    }
}

/// Milliseconds since the shard's start, modulo 2^31, shifted left by one; the lowest bit says INVITE. The time repeats
/// after 24 days; a pin that is found again then would need the same 128-bit hash, too.
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
#[derive(Clone, Copy)]
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
    const NONE: Self =
        Self { address: [0; 16], scope: 0, egress: 0, signer: 0, port: 0, transport: 0, flags: 0 };

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
