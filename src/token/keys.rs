//! The keys: the first signs, all verify, a retired one for a day.

use std::fmt;
use std::time::{Duration, SystemTime};

use super::base32::Part;
use super::prf::{Block, Prf};
use super::timestamp;
use super::transaction::TransactionSecret;
use crate::limits;

/// Length of every token's MAC in bytes.
pub const MAC_BYTES: usize = 10;

/// A token's MAC: two groups of 40 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mac(pub [u64; 2]);

/// How long a retired key still verifies: a dialog that outlives it falls back to the rules.
pub const RETIRED_VERIFIES: Duration = Duration::from_secs(24 * 60 * 60);

/// Bytes of a key as it stands in the file.
pub(super) const SECRET_BYTES: usize = 16;

/// Names a key without telling it: derived from the key, the same in every process that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct KeyId(pub u32);

/// What a MAC is for. The last block of what it covers begins with it, so that no token can stand in for another.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Branch = 1,
    RecordRoute = 2,
    ToTag = 3,
    Ping = 4,
    NextHop = 5,
}

impl Purpose {
    /// The last block, with 120 bits of what the MAC covers.
    #[inline(always)]
    pub const fn last(self, bits: u128) -> Block {
        debug_assert!(bits >> 120 == 0);
        ((self as u128) << 120 | bits).to_be_bytes()
    }
}

/// What signs and verifies tokens: the first key signs, all verify. Never empty.
///
/// Immutable, part of each [`crate::snapshot::Snapshot`]. It knows no clock: whoever publishes
/// snapshots asks [`Keys::next_expiry`] and replaces the keys by [`Keys::valid_at`] then.
#[derive(Debug)]
pub struct Keys {
    first: Key,
    others: Vec<Key>,
}

/// One key with what is derived from it.
#[derive(Clone)]
pub(super) struct Key {
    id: KeyId,
    /// What MACs are made with.
    pub prf: Prf,
    transaction: [u8; 16],
    expires: Option<SystemTime>,
}

/// What is wrong with a line of the key file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyLineError {
    /// The key has another length or other characters.
    #[error("a key is 32 hexadecimal digits")]
    NotAKey,
    /// The rest of the line is no `retired=…`.
    #[error("after the key only retired=TIME may stand")]
    UnknownWord,
    /// The time has another form.
    #[error("a time is written like 2026-11-24T09:30:00Z")]
    NotATime,
    /// The same key stands there twice.
    #[error("this key stands in the file already")]
    Twice,
    /// More than [`limits::KEYS`] keys.
    #[error("a file holds at most {} keys; remove those retired for more than a day", limits::KEYS)]
    TooMany,
    /// The first key signs, so it cannot be retired.
    #[error("the first key signs and cannot be retired; put the new key above it")]
    FirstIsRetired,
    /// No key at all.
    #[error("the file holds no key; delete it and the next start makes a new one")]
    Empty,
}

impl Keys {
    /// One key from the system's random numbers, which no other process knows: dialogs do not
    /// survive a restart.
    ///
    /// # Errors
    /// The system has no random numbers to give.
    pub fn ephemeral() -> Result<Self, getrandom::Error> {
        Ok(Self::from_secret(&random_secret()?))
    }

    /// One key from 16 bytes that the caller chose: simulations and tests, where the same seed must
    /// give the same bytes.
    pub fn from_secret(secret: &[u8; SECRET_BYTES]) -> Self {
        Self { first: Key::derive(secret, None), others: Vec::new() }
    }

    /// Reads the text of a key file as it counts at the time `now`: keys that were retired more than
    /// [`RETIRED_VERIFIES`] ago are left out.
    ///
    /// A line holds 32 hexadecimal digits, optionally followed by `retired=2026-11-24T09:30:00Z`;
    /// empty lines and what follows a `#` do not count.
    ///
    /// # Errors
    /// The number of the line, from 1, and what is wrong with it.
    pub fn parse(text: &str, now: SystemTime) -> Result<Self, (usize, KeyLineError)> {
        let mut keys: Vec<Key> = Vec::new();
        let mut count = 0;
        for (number, line) in (1..).zip(text.lines()) {
            let content = line.split('#').next().unwrap_or_default();
            let mut words = content.split_ascii_whitespace();
            let Some(word) = words.next() else { continue };
            let key = parse_key(word, words).map_err(|e| (number, e))?;
            count += 1;
            let problem = if keys.iter().any(|k| k.id == key.id) {
                Some(KeyLineError::Twice)
            } else if count == 1 && key.expires.is_some() {
                Some(KeyLineError::FirstIsRetired)
            } else if count > limits::KEYS {
                Some(KeyLineError::TooMany)
            } else {
                None
            };
            if let Some(problem) = problem {
                return Err((number, problem));
            }
            keys.push(key);
        }
        let mut keys = keys.into_iter();
        let first = keys.next().ok_or((text.lines().count().max(1), KeyLineError::Empty))?;
        let others = keys.filter(|k| k.valid_at(now)).collect();
        Ok(Self { first, others })
    }

    /// The key that signs new tokens.
    pub fn signer(&self) -> KeyId {
        self.first.id
    }

    /// How many keys verify, the signing one included.
    pub fn count(&self) -> usize {
        1 + self.others.len()
    }

    /// Whether the key of this name still verifies.
    pub fn knows(&self, id: KeyId) -> bool {
        self.all().any(|key| key.id == id)
    }

    /// When the next retired key stops to verify; `None`: none is retired.
    pub fn next_expiry(&self) -> Option<SystemTime> {
        self.others.iter().filter_map(|k| k.expires).min()
    }

    /// The same keys without those that no longer verify at `now`.
    pub fn valid_at(&self, now: SystemTime) -> Self {
        let others = self.others.iter().filter(|k| k.valid_at(now)).cloned().collect();
        Self { first: self.first.clone(), others }
    }

    /// The secret under which a shard hashes transactions. A shard takes it once, when it starts,
    /// and keeps it: a change of keys must not make it forget what is in flight. Two processes that
    /// start with the same file hash alike.
    pub fn transaction_secret(&self) -> TransactionSecret {
        TransactionSecret::new(&self.first.transaction)
    }

    /// The MAC over these blocks, of which the last one is [`Purpose::last`], under the key named `signer`, or the first
    /// where that one is gone.
    pub(super) fn sign(&self, signer: KeyId, before: &[Block], last: Block) -> Mac {
        Mac::cut(self.named(signer).prf.of(before, [], last))
    }

    /// Whether any key made this MAC over these blocks. Takes the same time wherever the two differ.
    pub(super) fn verify(&self, before: &[Block], last: Block, mac: Mac) -> bool {
        self.all().any(|k| Mac::cut(k.prf.of(before, [], last)).is_same(mac))
    }

    /// The key of this name, or the first where it is gone.
    pub(super) fn named(&self, signer: KeyId) -> &Key {
        let other = || self.others.iter().find(|k| k.id == signer);
        if self.first.id == signer { &self.first } else { other().unwrap_or(&self.first) }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

impl Key {
    fn derive(secret: &[u8; SECRET_BYTES], expires: Option<SystemTime>) -> Self {
        let master = Prf::new(secret);
        let sub = |label: &[u8]| {
            let mut last = [0; 16];
            last[15] = label.len() as u8;
            master.of_parts([label], last)
        };
        let [a, b, c, d, ..] = sub(b"viaduct 1 key id");
        Self {
            id: KeyId(u32::from_be_bytes([a, b, c, d])),
            prf: Prf::new(&sub(b"viaduct 1 token")),
            transaction: sub(b"viaduct 1 transaction"),
            expires,
        }
    }

    fn valid_at(&self, now: SystemTime) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

/// Says which key it is, never the key.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("expires", &self.expires).finish_non_exhaustive()
    }
}

impl Mac {
    /// The first ten bytes of what was computed.
    #[inline(always)]
    pub fn cut(full: Block) -> Self {
        let all = u128::from_be_bytes(full);
        Self([(all >> 88) as u64, (all >> 48) as u64 & 0xff_ffff_ffff])
    }

    /// From a part of a token.
    #[inline(always)]
    pub fn of(Part(groups): Part) -> Self {
        Self(groups)
    }

    /// As a part of a token.
    #[inline(always)]
    pub fn part(self) -> Part {
        Part(self.0)
    }

    /// Compares without a branch that depends on the contents.
    #[inline]
    pub fn is_same(self, Self([first, second]): Self) -> bool {
        std::hint::black_box((self.0[0] ^ first) | (self.0[1] ^ second)) == 0
    }
}

/// 16 bytes from the system's random numbers.
pub(super) fn random_secret() -> Result<[u8; SECRET_BYTES], getrandom::Error> {
    let mut secret = [0; SECRET_BYTES];
    getrandom::fill(&mut secret)?;
    Ok(secret)
}

fn parse_key<'a>(word: &str, mut rest: impl Iterator<Item = &'a str>) -> Result<Key, KeyLineError> {
    let secret = parse_hex(word).ok_or(KeyLineError::NotAKey)?;
    let expires = match rest.next() {
        None => None,
        Some(word) => {
            let time = word.strip_prefix("retired=").ok_or(KeyLineError::UnknownWord)?;
            let retired = timestamp::parse(time).ok_or(KeyLineError::NotATime)?;
            Some(retired + RETIRED_VERIFIES)
        }
    };
    if rest.next().is_some() {
        return Err(KeyLineError::UnknownWord);
    }
    Ok(Key::derive(&secret, expires))
}

fn parse_hex(word: &str) -> Option<[u8; SECRET_BYTES]> {
    let digits = word.as_bytes();
    if digits.len() != 2 * SECRET_BYTES {
        return None;
    }
    let mut secret = [0; SECRET_BYTES];
    for (byte, pair) in secret.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        let value = char::from(*high).to_digit(16)? << 4 | char::from(*low).to_digit(16)?;
        *byte = value as u8;
    }
    Some(secret)
}
