//! Before the tree: which of the root's branches a request may lead into, told by filters alone.
//!
//! Most requests show nothing that any rule asks for. All filters are probed in one straight line, so that
//! the processor need not wait for one before it asks the next.

use super::checks::Asks;
use super::names::plain_host;
use super::seen::Seen;

/// Branches that have a bit; those beyond are always open.
const BITS: usize = 64;

/// For what a request shows, the bit of the branch that asks for it; 0: there is none.
#[derive(Default)]
pub(super) struct Gate {
    /// No filter knows what these ask for.
    always: u64,
    source: u64,
    prefix: u64,
    hosts: [u64; 3],
    users: [u64; 3],
    headers: u64,
    /// How many branches there are.
    branches: usize,
}

impl Gate {
    /// Before the root's branches: what each asks for, and whether telling takes an automaton.
    pub fn new(branches: impl ExactSizeIterator<Item = (Asks, bool)>) -> Self {
        let mut this = Self { branches: branches.len(), ..Self::default() };
        for (at, (asks, scan)) in branches.enumerate().take(BITS) {
            let bit = match asks {
                Asks::Source => &mut this.source,
                Asks::Prefix => &mut this.prefix,
                Asks::Host(which) => &mut this.hosts[usize::from(which)],
                Asks::Pattern(field) => match this.users.get_mut(usize::from(field)) {
                    Some(_) if scan => &mut this.always,
                    Some(user) => user,
                    None => &mut this.headers,
                },
                _ => &mut this.always,
            };
            *bit |= 1 << at;
        }
        this
    }

    /// The places of the branches that the request may lead into, in order.
    #[inline]
    pub fn open(&self, seen: &Seen<'_>) -> impl Iterator<Item = usize> + use<> {
        let (facts, numbers) = (seen.facts, seen.numbers);
        let mut open = self.always;
        let mut pass = |bit: u64, may: bool| open |= if may { bit } else { 0 };
        pass(self.source, numbers.networks.may_hold(facts.source));
        pass(self.prefix, numbers.prefixes.may_begin(facts.ruri_user));
        for (bit, host) in self.hosts.into_iter().zip([facts.ruri_host, facts.from_host, facts.to_host]) {
            pass(bit, numbers.hosts.may_have(plain_host(host)));
        }
        let users = [facts.ruri_user, facts.from_user, facts.to_user];
        for ((bit, user), patterns) in self.users.into_iter().zip(users).zip(&numbers.patterns) {
            pass(bit, patterns.may_have_shape(user));
        }
        pass(self.headers, facts.header.is_some());
        let beyond = BITS..self.branches;
        std::iter::from_fn(move || {
            let at = open.trailing_zeros() as usize;
            open &= open.wrapping_sub(1);
            (at < BITS).then_some(at)
        })
        .chain(beyond)
    }
}
