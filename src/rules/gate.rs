//! Before the tree: which of the root's branches a request may lead into, told by filters alone.
//!
//! Most requests show nothing that any rule asks for. The filters are probed one behind the other: the answer
//! is nearly always no, so the processor need not wait for one before it asks the next.

use super::checks::Asks;
use super::filter::{first_word, last_word};
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
        let ruri = if self.prefix | self.users[0] != 0 { first_word(facts.ruri_user) } else { 0 };
        if self.prefix != 0 && numbers.prefixes.may_begin(ruri) {
            open |= self.prefix;
        }
        let host = |bit: u64, host: &[u8]| match bit {
            0 => 0,
            bit if numbers.hosts.may_have(plain_host(host)) => bit,
            _ => 0,
        };
        open |= host(self.hosts[0], facts.ruri_host)
            | host(self.hosts[1], facts.from_host)
            | host(self.hosts[2], facts.to_host);
        let user =
            |field: usize, first: u64, user: &[u8]| match (self.users[field], numbers.patterns.get(field)) {
                (bit, Some(patterns)) if bit != 0 && patterns.may_have_shape(first, last_word(user)) => bit,
                _ => 0,
            };
        open |= user(0, ruri, facts.ruri_user);
        if self.users[1] != 0 {
            open |= user(1, first_word(facts.from_user), facts.from_user);
        }
        if self.users[2] != 0 {
            open |= user(2, first_word(facts.to_user), facts.to_user);
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
