//! What the engine keeps for a message between its send and its completion: which counter it belongs to.

use crate::egress::Reason;
use crate::group::Ping;
use crate::metrics::{Class, SeriesId, ShardMetrics};
use crate::net::GatewayId;
use crate::transaction::Handle;

/// As what a message leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cookie {
    /// Forwarded or relayed.
    Message {
        /// The listener that it leaves from.
        series: SeriesId,
        /// Its class.
        class: Class,
        /// Why it leaves from there.
        reason: Reason,
    },
    /// An answer of our own with this status.
    Answer(u16),
    /// Sent by a transaction, which has counted it.
    Own,
}

const ANSWER: u32 = 1 << 31;
const OWN: u32 = 1 << 30;
const PING: u32 = 1 << 29;
const REASON_BITS: u32 = 4;
const CLASS_BITS: u32 = 6;

const _: () = assert!(u16::BITS + CLASS_BITS + REASON_BITS <= PING.trailing_zeros());
const _: () = assert!(Reason::ALL.len() <= 1 << REASON_BITS && Class::ALL.len() <= 1 << CLASS_BITS);

impl Cookie {
    /// Packs it, with the transaction that is to be told where the send fails.
    pub fn with(self, transaction: Option<Handle>) -> u64 {
        transaction.map_or(0, Handle::to_bits) << 32 | u64::from(self.pack())
    }

    /// The transaction that [`Cookie::with`] was given.
    pub fn transaction(packed: u64) -> Option<Handle> {
        if Self::ping(packed).is_some() { None } else { Handle::from_bits(packed >> 32) }
    }

    /// That of an OPTIONS of our own, which counts as nothing: its number stands where others have a transaction.
    pub fn of_ping(ping: Ping) -> u64 {
        let Ping { gateway, way, number } = ping;
        u64::from(number) << 32 | u64::from(PING | u32::from(way) << 16 | u32::from(gateway.0))
    }

    /// The OPTIONS that [`Cookie::of_ping`] was given; `None`: it is something else's.
    pub fn ping(packed: u64) -> Option<Ping> {
        let (number, low) = ((packed >> 32) as u32, packed as u32);
        let is_ping = low & (ANSWER | OWN | PING) == PING;
        is_ping.then_some(Ping { gateway: GatewayId(low as u16), way: (low >> 16) as u8, number })
    }

    fn pack(self) -> u32 {
        match self {
            Self::Own => OWN,
            Self::Answer(status) => ANSWER | u32::from(status),
            Self::Message { series, class, reason } => {
                (u32::from(series.0) << CLASS_BITS | class as u32) << REASON_BITS | reason.index() as u32
            }
        }
    }

    /// Unpacks it; `None`: nothing that [`Cookie::with`] gives, but perhaps [`Cookie::of_ping`].
    pub fn unpack(packed: u64) -> Option<Self> {
        let packed = packed as u32;
        if packed & ANSWER != 0 {
            return Some(Self::Answer(packed as u16));
        }
        if packed & OWN != 0 {
            return Some(Self::Own);
        }
        if packed & PING != 0 {
            return None;
        }
        let reason = packed & ((1 << REASON_BITS) - 1);
        let class = (packed >> REASON_BITS) & ((1 << CLASS_BITS) - 1);
        Some(Self::Message {
            series: SeriesId((packed >> (REASON_BITS + CLASS_BITS)) as u16),
            class: *Class::ALL.get(class as usize)?,
            reason: *Reason::ALL.get(reason as usize)?,
        })
    }

    /// Counts it as sent.
    pub fn count(self, metrics: &ShardMetrics) {
        match self {
            Self::Message { series, class, reason } => metrics.traffic.sent(series, class, reason),
            Self::Answer(status) => metrics.answered(status),
            Self::Own => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        let mut all = vec![Cookie::Answer(100), Cookie::Answer(699), Cookie::Own];
        for class in Class::ALL {
            for reason in Reason::ALL {
                for series in [SeriesId(0), SeriesId(7), SeriesId::OTHER] {
                    all.push(Cookie::Message { series, class: *class, reason });
                }
            }
        }
        for cookie in all {
            for transaction in [None, Handle::from_bits(1), Handle::from_bits(1 << 31)] {
                let packed = cookie.with(transaction);
                assert_eq!(
                    (Cookie::unpack(packed), Cookie::transaction(packed)),
                    (Some(cookie), transaction)
                );
                assert_eq!(Cookie::ping(packed), None);
            }
        }
    }

    #[test]
    fn an_options_of_ours_is_nothing_else() {
        for (gateway, way, number) in [(0, 0, 0), (u16::MAX, 3, u32::MAX), (7, 1, 8)] {
            let ping = Ping { gateway: GatewayId(gateway), way, number };
            let packed = Cookie::of_ping(ping);
            assert_eq!(Cookie::ping(packed), Some(ping));
            assert_eq!((Cookie::unpack(packed), Cookie::transaction(packed)), (None, None));
        }
    }
}
