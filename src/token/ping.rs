//! The branch of an OPTIONS that asks whether a gateway lives: what brings its answer to whoever asked.

use super::base32::{self, PART_LEN, Part};
use super::branch::COOKIE;
use super::keys::{Keys, Mac, Purpose};
use super::prf::Block;
use crate::net::GatewayId;

/// Version 1, and the sign that no request was forwarded.
const HEAD: &[u8; 2] = b"bp";

/// A part for what it says, one for the MAC.
const TEXT: usize = 2 * PART_LEN;

/// Length of such a branch in bytes.
pub const PING_BRANCH_LEN: usize = COOKIE.len() + HEAD.len() + TEXT;

/// What the branch of an OPTIONS of ours says; a MAC covers all of it, so that nobody can answer what was not sent
/// to him.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PingBranch {
    /// The gateway that is asked.
    pub gateway: GatewayId,
    /// Identity of the listener that it left from.
    pub listener: u32,
    /// Its number.
    pub number: u32,
}

impl PingBranch {
    /// Writes the branch.
    pub fn write(&self, keys: &Keys) -> String {
        let mac = keys.sign(keys.signer(), &[], self.signed());
        let texts = base32::encode(&[self.part(), mac.part()]);
        let bytes = COOKIE.iter().chain(HEAD).chain(texts.as_flattened());
        bytes.map(|byte| char::from(*byte)).collect()
    }

    /// Reads the branch of a response's topmost Via. `None`: it is of another kind, or no key of ours made it.
    pub fn read(branch: &[u8], keys: &Keys) -> Option<Self> {
        let (cookie, rest) = branch.split_first_chunk::<{ COOKIE.len() }>()?;
        let text = rest.strip_prefix(HEAD).filter(|_| cookie.eq_ignore_ascii_case(COOKIE))?;
        let [Part([a, b]), mac] = base32::decode::<TEXT, 2>(text.try_into().ok()?)?;
        let bits = u128::from(a) << 40 | u128::from(b);
        let this = Self {
            gateway: GatewayId((bits >> 64) as u16),
            listener: (bits >> 32) as u32,
            number: bits as u32,
        };
        keys.verify(&[], this.signed(), Mac::of(mac)).then_some(this)
    }

    fn bits(&self) -> u128 {
        u128::from(self.gateway.0) << 64 | u128::from(self.listener) << 32 | u128::from(self.number)
    }

    fn part(&self) -> Part {
        let bits = self.bits();
        Part([(bits >> 40) as u64, bits as u64 & 0xff_ffff_ffff])
    }

    fn signed(&self) -> Block {
        Purpose::Ping.last(self.bits())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(n: u8) -> Keys {
        Keys::from_secret(&[n; 16])
    }

    #[test]
    fn what_is_written_is_read() {
        for (gateway, listener, number) in [(0, 0, 0), (u16::MAX, u32::MAX, u32::MAX), (7, 0x1234_5678, 9)] {
            let branch = PingBranch { gateway: GatewayId(gateway), listener, number };
            let text = branch.write(&keys(1));
            assert_eq!(text.len(), PING_BRANCH_LEN);
            assert_eq!(PingBranch::read(text.as_bytes(), &keys(1)), Some(branch));
            assert_eq!(PingBranch::read(text.as_bytes(), &keys(2)), None);
            assert_eq!(super::super::Branch::owner_named(text.as_bytes()), None, "it is none of a request's");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_one_by_chance(text in "z9hG4bKbp[a-z2-7]{30,34}", bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            prop_assert_eq!(PingBranch::read(text.as_bytes(), &keys(1)), None);
            prop_assert_eq!(PingBranch::read(&bytes, &keys(1)), None);
        }
    }

    #[test]
    fn nobody_makes_one_up() {
        let text = PingBranch { gateway: GatewayId(7), listener: 1, number: 9 }.write(&keys(1));
        for at in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[at] = if other[at] == b'a' { b'c' } else { b'a' };
            assert!(PingBranch::read(&other, &keys(1)).is_none(), "{at}");
        }
        for len in 0..text.len() {
            assert_eq!(PingBranch::read(&text.as_bytes()[..len], &keys(1)), None);
        }
        assert_eq!(PingBranch::read(format!("{text}a").as_bytes(), &keys(1)), None);
    }
}
