//! Sets of final status codes that refuse: 300 to 599.

/// The lowest and the highest status that a set may hold: 2xx and 6xx are never a matter of configuration.
const FIRST: u16 = 300;
const LAST: u16 = 599;

const WORDS: usize = (LAST - FIRST) as usize / 64 + 1;

/// A set of status codes from 300 to 599.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statuses([u64; WORDS]);

impl Statuses {
    /// None.
    pub const NONE: Self = Self([0; WORDS]);

    /// This set and one status more; one outside of 300 to 599 changes nothing.
    #[must_use]
    pub const fn with(mut self, status: u16) -> Self {
        if status >= FIRST && status <= LAST {
            let place = (status - FIRST) as usize;
            self.0[place / 64] |= 1 << (place % 64);
        }
        self
    }

    /// This set and all statuses of a class: 3, 4 or 5.
    #[must_use]
    pub const fn with_class(mut self, class: u16) -> Self {
        let mut status = class * 100;
        while status < (class + 1) * 100 {
            self = self.with(status);
            status += 1;
        }
        self
    }

    /// It holds this status.
    pub const fn contains(&self, status: u16) -> bool {
        if status < FIRST || status > LAST {
            return false;
        }
        let place = (status - FIRST) as usize;
        self.0[place / 64] >> (place % 64) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_it_was_given() {
        let set = Statuses::NONE.with(408).with_class(5).with(200).with(603).with(300);
        for status in 100..=699 {
            let expected = matches!(status, 300 | 408 | 500..=599);
            assert_eq!(set.contains(status), expected, "{status}");
        }
        assert!((0..=u16::MAX).all(|status| !Statuses::NONE.contains(status)));
    }
}
