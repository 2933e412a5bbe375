//! Tells most texts that begin with none of many keys, from their first bytes alone.

use ipnet::IpNet;

use super::networks::first_bits;

/// What is compared without regard to case: ASCII letters that differ in case only, and some other
/// characters too, which does not matter to a filter.
const CASE: u64 = 0x2020_2020_2020_2020;
/// A product with it has hashed high bits.
pub(super) const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// 64-bit words of a filter: 8 KiB, so that ten of them stay in a second-level cache.
const WORDS: usize = 1024;
const SHIFT: u32 = 64 - (WORDS * 64).ilog2();

/// A set of words, seen through a mask; it may take others for its members. All filters have one size, so that a
/// place in them needs no check.
pub(super) struct Filter {
    mask: u64,
    bits: Box<[u64; WORDS]>,
}

impl Filter {
    /// Of these words, of which the bits of the mask count.
    pub fn new(mask: u64, words: impl Iterator<Item = u64>) -> Self {
        let mut this = Self { mask, bits: Box::new([0; WORDS]) };
        for word in words {
            let at = this.place(word);
            this.bits[at / 64] |= 1 << (at % 64);
        }
        this
    }

    /// Of the first bytes of keys, as many as all of them have; to be asked for [`first_word`]s. `None`: of no keys.
    pub fn of_keys<'k>(keys: impl Iterator<Item = &'k [u8]> + Clone) -> Option<Self> {
        let shortest = keys.clone().map(<[u8]>::len).min()?.min(8);
        let mask = u64::MAX.checked_shr(64 - 8 * shortest as u32).unwrap_or(0);
        Some(Self::new(mask, keys.map(first_word)))
    }

    /// Of the first bits of networks of one family, as many as all of them have; to be asked for the [`first_bits`] of
    /// addresses. `None`: of no networks.
    pub fn of_networks(networks: impl Iterator<Item = IpNet> + Clone) -> Option<Self> {
        let widest = networks.clone().map(|network| network.prefix_len()).min()?;
        let mask = u64::MAX.checked_shl(64 - u32::from(widest.min(64))).unwrap_or(0);
        Some(Self::new(mask, networks.map(|network| first_bits(network.network()))))
    }

    #[inline(always)]
    fn place(&self, word: u64) -> usize {
        ((word & self.mask).wrapping_mul(FACTOR) >> SHIFT) as usize
    }

    /// The lowest bit says whether the word may be a member; the others say nothing. So the answers of many filters
    /// are put together before any is looked at.
    #[inline(always)]
    pub fn told(&self, word: u64) -> u64 {
        let at = self.place(word);
        self.bits[at / 64] >> (at % 64)
    }

    /// Which bits of a [`first_word`] count.
    #[inline]
    pub fn mask(&self) -> u64 {
        self.mask
    }
}

/// Both ends of a text.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    /// See [`first_word`].
    pub first: u64,
    /// See [`last_word`].
    pub last: u64,
}

impl Ends {
    /// Of a text, most of which have eight bytes.
    #[inline(always)]
    pub fn of(text: &[u8]) -> Self {
        match (text.first_chunk(), text.last_chunk()) {
            (Some(first), Some(last)) => {
                Self { first: u64::from_le_bytes(*first) | CASE, last: u64::from_be_bytes(*last) | CASE }
            }
            _ => Self::of_short(text),
        }
    }

    #[inline(never)]
    fn of_short(text: &[u8]) -> Self {
        Self { first: first_word(text), last: last_word(text) }
    }
}

/// The first eight bytes of a text, the first one lowest; regardless of case.
#[inline]
pub(super) fn first_word(text: &[u8]) -> u64 {
    let word = match (text.first_chunk(), text.first_chunk(), text.last_chunk()) {
        (Some(eight), ..) => u64::from_le_bytes(*eight),
        // What both halves hold is the same in both.
        (None, Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first))
                | u64::from(u32::from_le_bytes(*last)) << (8 * (text.len() - 4))
        }
        _ => text.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    };
    word | CASE
}

/// The last eight bytes of a text, the last one lowest; regardless of case.
#[inline]
pub(super) fn last_word(text: &[u8]) -> u64 {
    let word = match (text.last_chunk(), text.first_chunk(), text.last_chunk()) {
        (Some(eight), ..) => u64::from_be_bytes(*eight),
        (None, Some(first), Some(last)) => {
            u64::from(u32::from_be_bytes(*first)) << (8 * (text.len() - 4))
                | u64::from(u32::from_be_bytes(*last))
        }
        _ => text.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    };
    word | CASE
}

/// The lowest bit says whether the bytes of a [`first_word`] that the mask shows may be or hold visual separators: they
/// are not a digit, `+`, `*` or `#`, then digits. Other texts may have none either.
#[inline(always)]
pub(super) fn may_be_separated(word: u64, mask: u64) -> u64 {
    const HIGH: u64 = 0xf0f0_f0f0_f0f0_f000;
    const DIGITS: u64 = 0x3030_3030_3030_3000;
    u64::from((word & HIGH ^ DIGITS) & mask != 0) | u64::from(NO_BEGINNING[usize::from(word as u8)])
}

/// 1 for what no number begins with that is written without separators.
static NO_BEGINNING: [u8; 256] = {
    let mut table = [1; 256];
    let beginnings = b"0123456789+*#";
    let mut at = 0;
    while at < beginnings.len() {
        table[beginnings[at] as usize] = 0;
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(keys: &[&str]) -> Filter {
        Filter::of_keys(keys.iter().map(|key| key.as_bytes())).unwrap()
    }

    #[test]
    fn what_begins_with_a_key_passes() {
        let filter = keys(&["+9912", "agent-7"]);
        assert_eq!(filter.mask(), 0xff_ffff_ffff);
        let may_have = |filter: &Filter, text: &str| filter.told(first_word(text.as_bytes())) & 1 == 1;
        for text in ["+9912", "+991234567890", "AGENT-", "agent"] {
            assert!(may_have(&filter, text), "{text}");
        }
        for text in ["+9913", "+33123456", "", "age"] {
            assert!(!may_have(&filter, text), "{text}");
        }
        assert!(may_have(&keys(&[""]), "x"), "an empty key begins every text");
        assert!(Filter::of_keys(std::iter::empty()).is_none(), "no key begins any");
    }

    #[test]
    fn ends_are_beginnings_in_reverse() {
        for text in ["", "1", "123", "1234", "12345", "1234567", "12345678", "123456789"] {
            let reversed: Vec<u8> = text.bytes().rev().collect();
            assert_eq!(last_word(text.as_bytes()), first_word(&reversed), "{text}");
        }
    }

    #[test]
    fn separators_are_seen_where_they_matter() {
        let digits = |text: &str, bytes: u32| {
            may_be_separated(first_word(text.as_bytes()), u64::MAX >> (64 - 8 * bytes)) & 1 == 0
        };
        assert!(digits("+4989123", 8) && digits("*4989", 5) && digits("1", 1) && digits("+", 1));
        assert!(
            !digits("49-89", 3)
                && !digits("4 989", 4)
                && !digits("4(9", 2)
                && !digits("4.", 2)
                && !digits("-4", 2)
        );
        assert!(digits("49-89", 2), "beyond what counts");
    }
}
