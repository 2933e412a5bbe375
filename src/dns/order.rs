//! RFC 2782, "Usage rules": the order in which servers are tried.

use crate::net::NextHop;
use crate::random::Random;

use super::resolution::Target;

/// Next hops in the order in which they are to be tried. Takes no memory.
///
/// Chance is a function of the seed alone. RFC 3263 §4.4: "The stateless proxy MUST define a deterministic order to the
/// records in that case, using any algorithm at its disposal." With the transaction's hash as seed, its retransmissions
/// get the same order, and many transactions the shares that the weights ask for.
#[derive(Clone, Debug)]
pub struct Order<'a> {
    targets: &'a [Target],
    /// Targets that had their turn, a bit each.
    taken: u64,
    chance: Random,
    /// The target whose turn it is, and the next of its addresses.
    current: Option<(&'a Target, usize)>,
}

impl<'a> Order<'a> {
    /// `targets` stand in the order of their ranks; those beyond the 64th are not seen.
    pub(super) fn new(targets: &'a [Target], seed: u64) -> Self {
        let targets = targets.get(..targets.len().min(64)).unwrap_or_default();
        Self { targets, taken: 0, chance: Random::new(seed), current: None }
    }

    /// "Compute the sum of the weights of those RRs, and with each RR associate the running sum in the selected order.
    /// Then choose a uniform random number between 0 and the sum computed (inclusive), and select the RR whose running
    /// sum value is the first in the selected order which is greater than or equal to the random number selected."
    /// Before that "all those with weight 0 are placed at the beginning of the list".
    fn next_target(&mut self) -> Option<&'a Target> {
        let is_free = |at: usize, taken: u64| taken & (1 << at) == 0;
        let taken = self.taken;
        let first = (0..self.targets.len()).find(|at| is_free(*at, taken))?;
        let rank = self.targets.get(first)?.rank;
        let group = || {
            let all = self.targets.iter().enumerate();
            all.filter(move |(at, target)| target.rank == rank && is_free(*at, taken))
        };
        let sum: u64 = group().map(|(_, target)| u64::from(target.weight)).sum();
        let wanted = self.chance.below(sum + 1);
        let zeroes = group().filter(|(_, target)| target.weight == 0);
        let others = group().filter(|(_, target)| target.weight > 0);
        let mut running = 0;
        let chosen = zeroes.chain(others).find(|(_, target)| {
            running += u64::from(target.weight);
            running >= wanted
        });
        let (at, target) = chosen?;
        self.taken |= 1 << at;
        Some(target)
    }
}

impl Iterator for Order<'_> {
    type Item = NextHop;

    fn next(&mut self) -> Option<NextHop> {
        loop {
            if let Some((target, at)) = self.current
                && let Some(ip) = target.addresses.get(at)
            {
                self.current = Some((target, at + 1));
                return Some(NextHop { transport: target.transport, address: (*ip, target.port).into() });
            }
            self.current = Some((self.next_target()?, 0));
        }
    }
}
