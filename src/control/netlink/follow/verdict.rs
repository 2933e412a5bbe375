//! What a comparison comes to. The kernel shows a change at one moment and tells of it at another (an IPv4 dump takes no
//! lock), so that a single comparison may meet a change in between: what differs has to differ twice.

use std::collections::HashSet;

use ipnet::IpNet;

use super::background::Compared;

/// What a comparison comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Same,
    /// Something differs that did not in the comparison before: it is to be compared again soon.
    Suspected,
    /// Only what the kernel tells nobody of.
    Untold,
    /// What is left in the comparison differed in the one before, too.
    Differs,
}

/// What differed in the last comparison.
#[derive(Default)]
pub struct Suspicion {
    prefixes: HashSet<(u32, IpNet)>,
    parts: Vec<&'static str>,
}

impl Suspicion {
    /// Leaves in the comparison what the one before has found, too; remembers what is new in it.
    pub fn judge(&mut self, compared: &mut Compared) -> Verdict {
        let before = std::mem::take(self);
        if compared.is_same() {
            return Verdict::Same;
        }
        if compared.is_untold() {
            return Verdict::Untold;
        }
        let found =
            Self { prefixes: compared.prefixes.iter().copied().collect(), parts: compared.parts.clone() };
        compared.prefixes.retain(|place| before.prefixes.contains(place));
        compared.parts.retain(|part| before.parts.contains(part));
        if compared.is_same() {
            *self = found;
            return Verdict::Suspected;
        }
        Verdict::Differs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fib::Builder;

    fn comparison(prefixes: &[&str], parts: &[&'static str]) -> Compared {
        let place = |net: &&str| (254, net.parse().expect("a prefix"));
        Compared {
            read: Builder::host().rib(),
            prefixes: prefixes.iter().map(place).collect(),
            parts: parts.to_vec(),
            moves_ipv6: false,
        }
    }

    /// The verdicts on comparisons in turn, and how much each has left.
    fn verdicts(all: &[(&[&str], &[&'static str])]) -> Vec<(Verdict, usize)> {
        let mut suspicion = Suspicion::default();
        let mut verdict = |(prefixes, parts): &(&[&str], &[&'static str])| {
            let mut compared = comparison(prefixes, parts);
            (suspicion.judge(&mut compared), compared.prefixes.len() + compared.parts.len())
        };
        all.iter().map(&mut verdict).collect()
    }

    const ONE: &str = "10.0.0.0/8";
    const OTHER: &str = "2001:db8::/32";

    #[test]
    fn a_change_that_was_shown_before_it_was_told_is_no_difference() {
        let told = verdicts(&[(&[ONE], &[]), (&[], &[])]);
        assert_eq!(told, [(Verdict::Suspected, 0), (Verdict::Same, 0)]);
        // Each is another one.
        let told = verdicts(&[(&[ONE], &[]), (&[OTHER], &[]), (&[], &["links"]), (&[], &["rules"])]);
        assert_eq!(told, [(Verdict::Suspected, 0); 4]);
        // Long ago does not count.
        let told = verdicts(&[(&[ONE], &[]), (&[], &[]), (&[ONE], &[])]);
        assert_eq!(told[2].0, Verdict::Suspected);
    }

    #[test]
    fn what_differs_twice_differs() {
        let told = verdicts(&[(&[ONE], &[]), (&[ONE, OTHER], &["rules"]), (&[OTHER], &[])]);
        assert_eq!(told, [(Verdict::Suspected, 0), (Verdict::Differs, 1), (Verdict::Suspected, 0)]);
        let told = verdicts(&[(&[], &["rules"]), (&[], &["rules"])]);
        assert_eq!(told, [(Verdict::Suspected, 0), (Verdict::Differs, 1)]);
    }

    #[test]
    fn what_nobody_is_told_of_needs_no_second_look() {
        assert_eq!(verdicts(&[(&[], &["address labels"])]), [(Verdict::Untold, 1)]);
    }
}
