//! Before the tree: which of the root's branches a request may lead into, told by filters alone.
//!
//! Most requests show nothing that any rule asks for. The filters are probed one behind the other: the answer
//! is nearly always no, so the processor need not wait for one before it asks the next.

use super::Facts;
use super::checks::Asks;
use super::filter::Ends;
use super::names::plain_host;
use super::seen::Seen;

/// Branches that have a bit; those beyond are always open.
pub(super) const BITS: usize = 64;

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
}

impl Gate {
    /// Before the root's branches: what each asks for, and whether telling takes an automaton.
    pub fn new(branches: impl Iterator<Item = (Asks, bool)>) -> Self {
        let mut this = Self::default();
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

    /// A bit for each branch that the request may lead into, the first one lowest. What no branch asks for is not
    /// looked at; of the rest nothing waits for a branch of the processor's.
    #[inline(always)]
    pub fn open(&self, seen: &Seen<'_>) -> u64 {
        let (facts, numbers) = (seen.facts, seen.numbers);
        let Facts { ruri_user, from_user, to_user, ruri_host, from_host, to_host, .. } = *facts;
        let mut open = self.always;
        if self.source != 0 {
            open |= bits(self.source, numbers.networks.may_hold(facts.source));
        }
        for (asked, host) in self.hosts.into_iter().zip([ruri_host, from_host, to_host]) {
            if asked != 0 {
                open |= bits(asked, numbers.hosts.may_have(plain_host(host)));
            }
        }
        let [ruri, from, to] = self.users;
        let Some([of_ruri, of_from, of_to]) = numbers.patterns.first_chunk() else { return open };
        if self.prefix | ruri != 0 {
            let user = Ends::of(ruri_user);
            open |= bits(self.prefix, numbers.prefixes.may_begin(user.first));
            open |= bits(ruri, of_ruri.may_have_shape(user));
        }
        if from != 0 {
            open |= bits(from, of_from.may_have_shape(Ends::of(from_user)));
        }
        if to != 0 {
            open |= bits(to, of_to.may_have_shape(Ends::of(to_user)));
        }
        open | bits(self.headers, facts.header.is_some())
    }
}

/// The bits, where they count.
#[inline(always)]
fn bits(bits: u64, count: bool) -> u64 {
    bits & u64::from(count).wrapping_neg()
}
