//! Sets of rules as rows of bits, and a table of them.

use std::cmp::Ordering;

/// A set of rules: one bit each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits(Box<[u64]>);

impl Bits {
    /// The empty set over so many rules.
    pub fn none(rules: usize) -> Self {
        Self(vec![0; rules.div_ceil(64)].into())
    }

    pub fn insert(&mut self, rule: usize) {
        self.0[rule / 64] |= 1 << (rule % 64);
    }

    pub fn has(&self, rule: usize) -> bool {
        self.0[rule / 64] & (1 << (rule % 64)) != 0
    }

    /// Becomes equal to the other, which is over as many rules.
    pub fn copy(&mut self, other: &Self) {
        self.0.copy_from_slice(&other.0);
    }

    pub fn and(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word &= other;
        }
    }

    pub fn or(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word |= other;
        }
    }

    /// The first rule in it that is not below `from`.
    pub fn next(&self, from: usize) -> Option<usize> {
        let mut at = from / 64;
        let mut word = self.0.get(at)? & (u64::MAX << (from % 64));
        while word == 0 {
            at += 1;
            word = *self.0.get(at)?;
        }
        Some(at * 64 + word.trailing_zeros() as usize)
    }
}

/// For each value that a dimension names: the rules that it satisfies, those included that do not ask.
pub(super) struct Rows<K> {
    rows: Vec<(K, Bits)>,
    others: Bits,
}

impl<K: Ord + Clone> Rows<K> {
    /// `keys` has an item for each rule: the values it asks for; empty: any.
    pub fn new<'k>(keys: impl ExactSizeIterator<Item = &'k [K]> + Clone) -> Self
    where
        K: 'k,
    {
        let mut others = Bits::none(keys.len());
        let mut named: Vec<K> = keys.clone().flatten().cloned().collect();
        named.sort();
        named.dedup();
        for (rule, _) in keys.clone().enumerate().filter(|(_, keys)| keys.is_empty()) {
            others.insert(rule);
        }
        let mut rows: Vec<_> = named.into_iter().map(|key| (key, others.clone())).collect();
        for (rule, keys) in keys.enumerate() {
            for key in keys {
                if let Ok(at) = rows.binary_search_by(|(row, _)| row.cmp(key)) {
                    rows[at].1.insert(rule);
                }
            }
        }
        Self { rows, others }
    }

    /// Any rule asks for a value.
    pub fn is_asked(&self) -> bool {
        !self.rows.is_empty()
    }

    /// The rules for the value that `order` calls equal.
    pub fn get_by(&self, order: impl Fn(&K) -> Ordering) -> &Bits {
        let found = self.rows.binary_search_by(|(key, _)| order(key));
        found.map_or(&self.others, |at| &self.rows[at].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(bits: &Bits) -> Vec<usize> {
        std::iter::successors(bits.next(0), |at| bits.next(at + 1)).collect()
    }

    #[test]
    fn members_come_in_order() {
        let mut bits = Bits::none(200);
        for rule in [199, 0, 63, 64, 130] {
            bits.insert(rule);
        }
        assert_eq!(members(&bits), [0, 63, 64, 130, 199]);
        assert_eq!((bits.next(65), bits.next(200), bits.next(10_000)), (Some(130), None, None));
        assert!(bits.has(64) && !bits.has(65));
    }

    #[test]
    fn rules_that_do_not_ask_are_in_every_row() {
        let keys: [&[u8]; 3] = [&[1, 2], &[], &[2]];
        let rows = Rows::new(keys.into_iter());
        let of = |key: u8| members(rows.get_by(|k| k.cmp(&key)));
        assert_eq!((of(1), of(2), of(9)), (vec![0, 1], vec![0, 1, 2], vec![1]));
    }
}
