//! Which answers to an OPTIONS say that a gateway lives.

/// A set of final statuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alive([u64; WORDS]);

/// Statuses from 200 to 699.
const FIRST: u16 = 200;
const COUNT: usize = 500;
const WORDS: usize = COUNT.div_ceil(64);

impl Default for Alive {
    /// Every final answer but 408, 503 and 504: whoever refuses an OPTIONS lives; these three say that somebody does
    /// not.
    fn default() -> Self {
        let mut all = Self::none();
        for status in (FIRST..FIRST + COUNT as u16).filter(|status| !matches!(status, 408 | 503 | 504)) {
            all.add(status);
        }
        all
    }
}

impl Alive {
    /// No status.
    pub const fn none() -> Self {
        Self([0; WORDS])
    }

    /// Adds a status, 200 to 699; others do not count.
    pub fn add(&mut self, status: u16) {
        if let Some((word, bit)) = place(status) {
            self.0[word] |= bit;
        }
    }

    /// Whether an answer with this status says that the gateway lives.
    pub fn has(&self, status: u16) -> bool {
        place(status).is_some_and(|(word, bit)| self.0[word] & bit != 0)
    }
}

fn place(status: u16) -> Option<(usize, u64)> {
    let number = usize::from(status.checked_sub(FIRST)?);
    (number < COUNT).then_some((number / 64, 1 << (number % 64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_answers_lives_but_for_three_statuses() {
        let alive = Alive::default();
        for status in [200, 299, 404, 405, 407, 486, 500, 501, 603, 699] {
            assert!(alive.has(status), "{status}");
        }
        for status in [100, 199, 408, 503, 504, 700, 0, u16::MAX] {
            assert!(!alive.has(status), "{status}");
        }
    }

    #[test]
    fn a_set_has_what_was_added() {
        let mut alive = Alive::none();
        [200, 404, 700, 50].into_iter().for_each(|status| alive.add(status));
        let all: Vec<u16> = (0..1_000).filter(|status| alive.has(*status)).collect();
        assert_eq!(all, [200, 404]);
    }
}
