//! Before the tree: which of the root's branches a request may lead into, told by filters alone.
//!
//! Most requests show nothing that any rule asks for. The filters are probed one behind the other: the answer
//! is nearly always no, so the processor need not wait for one before it asks the next.

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
        let Some([of_ruri, of_from, of_to]) = numbers.patterns.first_chunk() else { return u64::MAX };
        let always = self.always | bits(self.headers, facts.header.is_some().into());
        let mut told = Told::default();
        if self.source != 0 {
            told.source = numbers.networks.told(facts.source);
        }
        if self.hosts[0] != 0 {
            told.hosts[0] = numbers.hosts.told(plain_host(facts.ruri_host));
        }
        if self.hosts[1] != 0 {
            told.hosts[1] = numbers.hosts.told(plain_host(facts.from_host));
        }
        if self.hosts[2] != 0 {
            told.hosts[2] = numbers.hosts.told(plain_host(facts.to_host));
        }
        if self.prefix | self.users[0] != 0 {
            let user = Ends::of(facts.ruri_user);
            if self.prefix != 0 {
                told.prefix = numbers.prefixes.told(user.first);
            }
            told.users[0] = of_ruri.told(user);
        }
        if self.users[1] != 0 {
            told.users[1] = of_from.told(Ends::of(facts.from_user));
        }
        if self.users[2] != 0 {
            told.users[2] = of_to.told(Ends::of(facts.to_user));
        }
        if told.any() { always | self.opened(&told) } else { always }
    }

    /// What filters open.
    #[inline(never)]
    fn opened(&self, told: &Told) -> u64 {
        let hosts = self.hosts.into_iter().zip(told.hosts);
        let users = self.users.into_iter().zip(told.users);
        let others = [(self.source, told.source), (self.prefix, told.prefix)];
        hosts.chain(users).chain(others).fold(0, |open, (asked, told)| open | bits(asked, told))
    }
}

/// What filters say of a request: the lowest bit of each tells whether it may show what some rule asks for.
#[derive(Default)]
struct Told {
    source: u64,
    prefix: u64,
    hosts: [u64; 3],
    users: [u64; 3],
}

impl Told {
    /// Any of them does.
    #[inline(always)]
    fn any(&self) -> bool {
        let [a, b, c] = self.hosts;
        let [d, e, f] = self.users;
        (self.source | self.prefix | a | b | c | d | e | f) & 1 != 0
    }
}

/// The bits, where the lowest bit of what is told is set.
#[inline(always)]
fn bits(bits: u64, told: u64) -> u64 {
    bits & (told & 1).wrapping_neg()
}
