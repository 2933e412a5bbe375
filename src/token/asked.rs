//! Whom a request was sent to: what shows that an answer comes from there.

use std::net::SocketAddr;

use super::base32;
use super::keys::{KeyId, Keys, MAC_BYTES, Mac, Purpose};
use super::prf::Block;
use crate::net::address_bits;

/// Length of the token in bytes.
pub const ASKED_LEN: usize = base32::encoded_len(MAC_BYTES);

/// Makes and knows the token in our Via that names its next hop, without telling it: a MAC of the transaction and of the
/// address. A branch shows that an answer is to a request of ours; this, that it comes from whom that was sent to. So no
/// next hop speaks for another one, though it may write another one's address on its datagrams.
pub enum Asked {}

impl Asked {
    /// Writes the token of a request with this [`super::Branch::transaction`] that is sent to `next_hop` (scope does not
    /// count).
    pub fn write(
        keys: &Keys,
        signer: KeyId,
        transaction: u64,
        next_hop: SocketAddr,
        out: &mut [u8; ASKED_LEN],
    ) {
        let (before, last) = signed(transaction, next_hop);
        let mac = keys.sign(signer, &before, last);
        [*out] = base32::encode(&[mac.part()]);
    }

    /// Whether an answer of this transaction with this token comes from the next hop, if it comes from there.
    pub fn verify(keys: &Keys, transaction: u64, from: SocketAddr, token: &[u8]) -> bool {
        let (before, last) = signed(transaction, from);
        let part = <&[u8; ASKED_LEN]>::try_from(token).ok().and_then(base32::decode);
        part.is_some_and(|[mac]| keys.verify(&before, last, Mac::of(mac)))
    }
}

fn signed(transaction: u64, address: SocketAddr) -> ([Block; 1], Block) {
    let number = u128::from(transaction) << 16 | u128::from(address.port());
    ([address_bits(address.ip()).to_be_bytes()], Purpose::NextHop.last(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_next_hop_of_the_transaction_shows_its_token() {
        let keys = Keys::from_secret(b"a key for tests.");
        let (here, mut token) = ("192.0.2.9:5060".parse().unwrap(), [0; ASKED_LEN]);
        Asked::write(&keys, keys.signer(), 7, here, &mut token);
        assert!(Asked::verify(&keys, 7, here, &token));
        assert!(!Asked::verify(&keys, 8, here, &token));
        for other in ["192.0.2.9:5061", "192.0.2.8:5060", "[2001:db8::9]:5060"] {
            assert!(!Asked::verify(&keys, 7, other.parse().unwrap(), &token), "{other}");
        }
        assert!(!Asked::verify(&Keys::from_secret(b"another of these"), 7, here, &token));
        for at in 0..token.len() {
            let mut other = token;
            other[at] = if other[at] == b'a' { b'b' } else { b'a' };
            assert!(!Asked::verify(&keys, 7, here, &other) && !Asked::verify(&keys, 7, here, &token[..at]));
        }
    }
}
