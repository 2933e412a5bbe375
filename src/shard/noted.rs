//! Keeps a shard from saying the same thing twice in a row.

use std::net::IpAddr;

use crate::net::Now;

/// Destinations that were noted lately: a small table in which a newer one takes an older one's place.
///
/// It thins what goes into the record queue; the control thread, which has room and time, decides
/// what is new. What was noted is forgotten after a minute, so that the control thread can tell it again.
pub(super) struct Noted {
    places: Box<[Option<(IpAddr, u32)>]>,
    forgets: Now,
}

const PLACES: usize = 256;
/// So long something is noted.
const FORGOTTEN_NS: u64 = 60 * 1_000_000_000;

impl Noted {
    pub fn new() -> Self {
        Self { places: vec![None; PLACES].into(), forgets: Now::default() }
    }

    /// Whether this destination's network (/24 or /64) is new here, for this sort of thing; notes it.
    pub fn is_new(&mut self, destination: IpAddr, sort: u32, now: Now) -> bool {
        if now >= self.forgets {
            self.clear();
            self.forgets = now.plus_ns(FORGOTTEN_NS);
        }
        let network = network(destination);
        let place = &mut self.places[place(network, sort)];
        place.replace((network, sort)) != Some((network, sort))
    }

    /// Forgets all: after a change of routing or rules, old news is news again.
    pub fn clear(&mut self) {
        self.places.fill(None);
    }
}

fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => IpAddr::from((u32::from(v4) & 0xffff_ff00).to_be_bytes()),
        IpAddr::V6(v6) => IpAddr::from((u128::from(v6) >> 64 << 64).to_be_bytes()),
    }
}

fn place(network: IpAddr, sort: u32) -> usize {
    let bits = match network {
        IpAddr::V4(v4) => u64::from(u32::from(v4)),
        IpAddr::V6(v6) => (u128::from(v6) >> 64) as u64,
    };
    ((bits ^ (u64::from(sort) << 40)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_new_once_until_cleared() {
        let mut noted = Noted::new();
        let now = Now(1);
        let mut is_new = |ip: &str, sort, now| noted.is_new(ip.parse().unwrap(), sort, now);
        assert!(is_new("192.0.2.1", 0, now));
        assert!(!is_new("192.0.2.200", 0, now));
        assert!(is_new("192.0.2.200", 1, now), "another sort of thing");
        assert!(is_new("192.0.3.1", 0, now));
        assert!(is_new("2001:db8::1", 0, now));
        assert!(!is_new("2001:db8::ffff:1", 0, now));
        assert!(!is_new("192.0.2.1", 0, now.plus_ns(FORGOTTEN_NS - 1)));
        assert!(is_new("192.0.2.1", 0, now.plus_ns(FORGOTTEN_NS)));
        noted.clear();
        assert!(noted.is_new("192.0.2.1".parse().unwrap(), 0, now.plus_ns(FORGOTTEN_NS)));
    }
}
