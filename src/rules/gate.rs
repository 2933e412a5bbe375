//! Before the tree: which of the root's branches a request may lead into, told by filters alone.
//!
//! Most requests show nothing that any rule asks for. The filters are probed one behind the other: the answer
//! is nearly always no, so the processor need not wait for one before it asks the next.

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
        // What no branch asks for is not looked at.
        if self.source != 0 && numbers.networks.may_hold(facts.source) {
            open |= self.source;
        }
        if self.prefix != 0 && numbers.prefixes.may_begin(facts.ruri_user) {
            open |= self.prefix;
        }
        let [ruri, from, to] = self.hosts;
        for (bit, host) in [(ruri, facts.ruri_host), (from, facts.from_host), (to, facts.to_host)] {
            if bit != 0 && numbers.hosts.may_have(plain_host(host)) {
                open |= bit;
            }
        }
        let [ruri, from, to] = self.users;
        let users = [(ruri, facts.ruri_user), (from, facts.from_user), (to, facts.to_user)];
        for ((bit, user), patterns) in users.iter().zip(&numbers.patterns) {
            if *bit != 0 && patterns.may_have_shape(user) {
                open |= bit;
            }
        }
        if facts.header.is_some() {
            open |= self.headers;
        }
        let beyond = BITS..self.branches;
        std::iter::from_fn(move || {
            let at = open.trailing_zeros() as usize;
            open &= open.wrapping_sub(1);
            (at < BITS).then_some(at)
        })
        .chain(beyond)
    }
}
