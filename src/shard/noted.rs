//! Keeps a shard from saying the same thing twice in a row.

use std::net::IpAddr;

/// Destinations that were noted lately: a small table in which a newer one takes an older one's place.
///
/// It thins what goes into the record queue; the control thread, which has room and time, decides
/// what is new.
pub(super) struct Noted(Box<[Option<IpAddr>]>);

const PLACES: usize = 256;

impl Noted {
    pub fn new() -> Self {
        Self(vec![None; PLACES].into())
    }

    /// Whether this destination's network (/24 or /64) is new here; notes it.
    pub fn is_new(&mut self, destination: IpAddr) -> bool {
        let network = network(destination);
        let place = &mut self.0[place(network)];
        place.replace(network) != Some(network)
    }

    /// Forgets all: after a change of routing or rules, old news is news again.
    pub fn clear(&mut self) {
        self.0.fill(None);
    }
}

fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => IpAddr::from((u32::from(v4) & 0xffff_ff00).to_be_bytes()),
        IpAddr::V6(v6) => IpAddr::from((u128::from(v6) >> 64 << 64).to_be_bytes()),
    }
}

fn place(network: IpAddr) -> usize {
    let bits = match network {
        IpAddr::V4(v4) => u64::from(u32::from(v4)),
        IpAddr::V6(v6) => (u128::from(v6) >> 64) as u64,
    };
    (bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_new_once_until_cleared() {
        let mut noted = Noted::new();
        assert!(noted.is_new("192.0.2.1".parse().unwrap()));
        assert!(!noted.is_new("192.0.2.200".parse().unwrap()));
        assert!(noted.is_new("192.0.3.1".parse().unwrap()));
        assert!(noted.is_new("2001:db8::1".parse().unwrap()));
        assert!(!noted.is_new("2001:db8::ffff:1".parse().unwrap()));
        noted.clear();
        assert!(noted.is_new("192.0.2.1".parse().unwrap()));
    }
}
