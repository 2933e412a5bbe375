//! What tells one transaction from all others, reduced to a hash.

use std::fmt;

use super::prf::{Block, Prf, len};

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

/// What a [`TransactionKey`] is keyed with; see [`super::Keys::transaction_secret`].
#[derive(Clone)]
pub struct TransactionSecret(Box<Prf>);

impl TransactionSecret {
    pub(super) fn new(secret: &[u8; 16]) -> Self {
        Self(Box::new(Prf::new(secret)))
    }

    pub(super) fn prf(&self) -> &Prf {
        &self.0
    }
}

/// Says nothing of the secret.
impl fmt::Debug for TransactionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TransactionSecret")
    }
}

/// What is hashed under a [`TransactionSecret`]; the last block begins with it, and says of which lengths
/// the blocks before are made.
#[derive(Clone, Copy)]
pub(super) enum Form {
    Rfc3261 = 1,
    Rfc2543 = 2,
    Inputs = 3,
    Input = 4,
}

impl Form {
    #[inline(always)]
    fn last(self, lengths: [u16; 4], number: u32) -> Block {
        let lengths = lengths.into_iter().fold(0, |all, length| all << 16 | u128::from(length));
        ((self as u128) << 120 | lengths << 32 | u128::from(number)).to_be_bytes()
    }
}

/// A transaction, reduced to a hash: keyed, so that nobody can make two transactions collide. Pins, branch and To tag
/// depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TransactionKey(pub u128);

impl TransactionKey {
    /// Hashes the parts.
    #[inline(always)]
    pub fn new(secret: &TransactionSecret, transaction: &Transaction<'_>) -> Self {
        match *transaction {
            Transaction::Rfc3261 { branch, sent_by } => {
                let last = Form::Rfc3261.last([len(branch), len(sent_by), 0, 0], 0);
                Self(u128::from_be_bytes(secret.prf().of_parts([branch, sent_by], last)))
            }
            Transaction::Rfc2543 { via, from_tag, call_id, cseq, request_uri } => {
                let parts = [via, from_tag, call_id, request_uri];
                Self::of_rfc2543(secret, parts, Form::Rfc2543.last(parts.map(len), cseq))
            }
        }
    }

    #[inline(never)]
    fn of_rfc2543(secret: &TransactionSecret, parts: [&[u8]; 4], last: Block) -> Self {
        Self(u128::from_be_bytes(secret.prf().of_parts(parts, last)))
    }

    /// The same transaction under these decision inputs ([`super::Inputs::hash`]): what pins go by, so
    /// that nobody gets another request past the rules by giving it an earlier one's branch. The lower half
    /// stays as it is, so that a pin's place is known before the inputs are.
    pub const fn bound_to(self, inputs: u128) -> Self {
        Self(self.0 ^ (inputs >> 64 << 64))
    }

    /// What names the transaction where 64 bits do, and chooses one path of a multipath route.
    pub const fn low(self) -> u64 {
        self.0 as u64
    }

    /// The other 64 bits, which no single branch tells.
    pub const fn high(self) -> u64 {
        (self.0 >> 64) as u64
    }
}

/// Which of `shards` shards keeps the transactions of a call: a hash of its Call-ID, so that what follows each other
/// in a call does so on one shard.
pub fn owner_of_call(call_id: &[u8], shards: u16) -> u16 {
    (((plain(call_id) >> 32) * u64::from(shards)) >> 32) as u16
}

/// The hash behind [`owner_of_call`], without a key and in words of eight bytes, little endian. A client can choose it;
/// nothing that matters may depend on it.
///
/// `h = (h ^ word) * MULTIPLIER; h ^= h >> 29` for each word, the last one filled up with zeros, then with the length as
/// word, then with zero.
fn plain(text: &[u8]) -> u64 {
    const MULTIPLIER: u64 = 0x9fb2_1c65_1e98_df25;
    let step = |hash: u64, word: u64| {
        let h = (hash ^ word).wrapping_mul(MULTIPLIER);
        h ^ (h >> 29)
    };
    let (words, rest) = text.as_chunks::<8>();
    let mut hash =
        words.iter().fold(0x243f_6a88_85a3_08d3, |hash, word| step(hash, u64::from_le_bytes(*word)));
    hash = match text.last_chunk::<8>() {
        _ if rest.is_empty() => hash,
        // The rest is the end of the last eight bytes.
        Some(last) => step(hash, u64::from_le_bytes(*last) >> (64 - 8 * rest.len())),
        None => step(hash, rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))),
    };
    hash = step(step(hash, text.len() as u64), 0);
    hash ^ (hash >> 32)
}
