//! What tells one transaction from all others, reduced to two hashes.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

/// The parts of a request that are the same in its retransmissions, in its CANCEL and in the ACK for
/// its non-2xx answer, and in nothing else (RFC 3261 §16.11, §17.2.3).
///
/// Never among them: method, To tag, Max-Forwards, credentials.
#[derive(Clone, Copy, Debug)]
pub enum Transaction<'a> {
    /// The topmost Via's branch begins with the magic cookie.
    Rfc3261 {
        /// The branch, the cookie included, as received.
        branch: &'a [u8],
        /// `host[:port]` of the topmost Via, as received.
        sent_by: &'a [u8],
    },
    /// A client from before RFC 3261.
    Rfc2543 {
        /// The whole topmost Via value, as received.
        via: &'a [u8],
        /// From tag; empty where there is none.
        from_tag: &'a [u8],
        /// Call-ID.
        call_id: &'a [u8],
        /// CSeq number.
        cseq: u32,
        /// Request-URI, as received.
        request_uri: &'a [u8],
    },
}

/// What [`TransactionKey::strong`] is keyed with; see [`super::Keys::transaction_secret`].
#[derive(Clone)]
pub struct TransactionSecret(SipHasher13);

impl TransactionSecret {
    pub(super) fn new(secret: [u8; 16]) -> Self {
        Self(SipHasher13::new_with_key(&secret))
    }

    pub(super) fn hasher(&self) -> SipHasher13 {
        self.0
    }
}

/// Says nothing of the secret.
impl fmt::Debug for TransactionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TransactionSecret")
    }
}

/// A transaction, reduced to two hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TransactionKey {
    /// Without a key, so that a program in the kernel can compute it: names the owning shard and one
    /// path of a multipath route. A client can choose it; nothing that matters may depend on it.
    pub plain: u64,
    /// Keyed, so that nobody can make two transactions collide: pins, branch and To tag depend on it.
    pub strong: u128,
}

impl TransactionKey {
    /// Hashes the parts.
    pub fn new(secret: &TransactionSecret, transaction: &Transaction<'_>) -> Self {
        let mut strong = secret.0;
        let mut plain = Plain::new();
        // The lengths of all parts but the last come first, so that no byte can move between parts, and
        // before them the form.
        match *transaction {
            Transaction::Rfc3261 { branch, sent_by } => {
                strong.write_u64(1 << 32 | len(branch));
                for part in [branch, sent_by] {
                    strong.write(part);
                    plain.write(part);
                }
            }
            Transaction::Rfc2543 { via, from_tag, call_id, cseq, request_uri } => {
                strong.write_u64(2 << 32 | len(via));
                strong.write_u64(len(from_tag) << 32 | len(call_id));
                for part in [&cseq.to_be_bytes(), via, from_tag, call_id, request_uri] {
                    strong.write(part);
                    plain.write(part);
                }
            }
        }
        Self { plain: plain.finish(), strong: strong.finish128().as_u128() }
    }

    /// The same transaction under these decision inputs ([`super::Inputs::hash`]): what pins go by, so
    /// that nobody gets another request past the rules by giving it an earlier one's branch. The lower half
    /// of `strong` stays as it is, so that a pin's place is known before the inputs are.
    pub const fn bound_to(&self, inputs: u128) -> Self {
        Self { plain: self.plain, strong: self.strong ^ (inputs >> 64 << 64) }
    }

    /// Which of `shards` shards owns the transaction: `(plain >> 32) * shards >> 32`.
    pub const fn owner(&self, shards: u16) -> u16 {
        (((self.plain >> 32) * shards as u64) >> 32) as u16
    }
}

/// A message is shorter than 2^32 bytes.
fn len(part: &[u8]) -> u64 {
    part.len() as u64 & u64::from(u32::MAX)
}

/// The hash behind [`TransactionKey::plain`], in words of eight bytes, little endian, so that a
/// program in the kernel can compute it with a bounded loop.
///
/// For each part: `h = (h ^ word) * MULTIPLIER; h ^= h >> 29` for each word, the last one filled up
/// with zeros, then once more with the part's length as word.
struct Plain(u64);

impl Plain {
    const MULTIPLIER: u64 = 0x9fb2_1c65_1e98_df25;

    fn new() -> Self {
        Self(0x243f_6a88_85a3_08d3)
    }

    fn word(&mut self, word: u64) {
        let h = (self.0 ^ word).wrapping_mul(Self::MULTIPLIER);
        self.0 = h ^ (h >> 29);
    }

    fn write(&mut self, part: &[u8]) {
        let (words, rest) = part.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(rest) {
                *to = *from;
            }
            self.word(u64::from_le_bytes(word));
        }
        self.word(part.len() as u64);
    }

    fn finish(mut self) -> u64 {
        self.word(0);
        self.0 ^ (self.0 >> 32)
    }
}
