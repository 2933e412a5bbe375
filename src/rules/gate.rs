//! Before the tree: which of the root's branches a request may lead into, told by filters alone.
//!
//! Most requests show nothing that any rule asks for. The filters are probed one behind the other: the answer
//! is nearly always no, so the processor need not wait for one before it asks the next.

use std::collections::HashSet;

use super::checks::{Asks, FIELDS, Numbers};
use super::filter::{Ends, Filter, first_word, may_be_separated};
use super::names::{mixed, plain_host};
use super::networks::first_bits;
use super::{Facts, Shown};

/// Branches that have a bit; those beyond are always open.
pub(super) const BITS: usize = 64;

/// For what a request shows, what branches ask for; what none asks for is not looked at.
#[derive(Default)]
pub(super) struct Gate {
    /// Branches of which no filter knows what they ask for.
    always: u64,
    /// Branches that ask for headers.
    headers: u64,
    v4: Option<Door>,
    v6: Option<Door>,
    prefix: Option<Door>,
    /// Of the Request-URI, From, To.
    hosts: [Option<Door>; 3],
    /// What users of the same three begin with, and what they end with.
    users: [[Option<Door>; 2]; 3],
}

/// What leads into a branch.
struct Door {
    filter: Filter,
    /// Its bit.
    branch: u64,
}

/// A branch of the root.
pub(super) struct Behind<'a> {
    pub asks: Asks,
    /// Telling it takes an automaton.
    pub scan: bool,
    /// The values that lead on, as `numbers` has them.
    pub values: &'a HashSet<u32>,
}

impl Gate {
    /// Before the root's branches, no two of which ask for the same.
    pub fn new<'a>(branches: impl Iterator<Item = Behind<'a>>, numbers: &Numbers) -> Self {
        let mut this = Self::default();
        for (at, behind) in branches.enumerate().take(BITS) {
            this.add(1 << at, &behind, numbers);
        }
        this
    }

    fn add(&mut self, branch: u64, behind: &Behind<'_>, numbers: &Numbers) {
        let door = |filter| Some(Door { filter, branch });
        let values = || behind.values.iter().copied();
        match behind.asks {
            Asks::Source => {
                let [v4, v6] = [true, false].map(|is_v4| {
                    let networks = values().map(|number| numbers.networks.network(number));
                    Filter::of_networks(networks.filter(move |network| network.addr().is_ipv4() == is_v4))
                });
                (self.v4, self.v6) = (v4.and_then(door), v6.and_then(door));
            }
            Asks::Prefix => {
                self.prefix =
                    Filter::of_keys(values().map(|number| numbers.prefixes.text(number))).and_then(door);
            }
            Asks::Host(which) => {
                let words = values().map(|number| mixed(numbers.hosts.name(number)));
                self.hosts[usize::from(which % 3)] = door(Filter::new(u64::MAX, words));
            }
            Asks::Pattern(field) => match self.users.get_mut(usize::from(field)) {
                Some(_) if behind.scan => self.always |= branch,
                Some(user) => {
                    let keys = numbers.patterns[usize::from(field)].keys(behind.values);
                    *user = keys.map(|keys| Filter::of_keys(keys.into_iter()).and_then(door));
                }
                None => self.headers |= branch,
            },
            Asks::Transport | Asks::Listener | Asks::Method | Asks::Not => self.always |= branch,
        }
    }

    /// Whether a filter tells requests without any of these values from those that lead into a branch which asks for them.
    pub fn tells(asks: Asks, values: &[u32], numbers: &Numbers) -> bool {
        match asks {
            Asks::Source | Asks::Prefix | Asks::Host(_) => true,
            Asks::Pattern(field) => match numbers.patterns.get(usize::from(field)) {
                Some(patterns) if usize::from(field) < FIELDS.len() => {
                    !values.iter().any(|&pattern| patterns.needs_scan(pattern))
                }
                _ => false,
            },
            Asks::Transport | Asks::Listener | Asks::Method | Asks::Not => false,
        }
    }

    /// A bit for each branch that the request may lead into, the first one lowest; `None`: filters open some, see
    /// [`Gate::open`].
    #[inline(always)]
    pub fn glance(&self, shown: &impl Shown) -> Option<u64> {
        let mut told = 0;
        self.each(shown, |_, answer| told |= answer);
        (told & 1 == 0).then(|| self.always(shown))
    }

    /// The same with what filters open.
    pub fn open(&self, facts: &Facts<'_>) -> u64 {
        let mut open = self.always(facts);
        self.each(facts, |door, answer| open |= bits(door.branch, answer));
        open
    }

    #[inline(always)]
    fn always(&self, shown: &impl Shown) -> u64 {
        self.always | bits(self.headers, shown.has_headers().into())
    }

    /// Calls the function with each door and an answer, the lowest bit of which says whether it may be open.
    #[inline(always)]
    fn each(&self, shown: &impl Shown, mut told: impl FnMut(&Door, u64)) {
        let source = shown.source();
        if let Some(door) = if source.is_ipv4() { &self.v4 } else { &self.v6 } {
            told(door, door.filter.told(first_bits(source)));
        }
        for (which, door) in self.hosts.iter().enumerate() {
            if let Some(door) = door {
                told(door, door.filter.told(mixed(plain_host(shown.host(which)))));
            }
        }
        if let Some(door) = &self.prefix {
            let word = first_word(shown.user(0));
            told(door, door.filter.told(word) | may_be_separated(word, door.filter.mask()));
        }
        // One by one, because the compiler makes a loop of a list of them.
        let [ruri, from, to] = &self.users;
        Self::each_of_user(ruri, shown.user(0), &mut told);
        Self::each_of_user(from, shown.user(1), &mut told);
        Self::each_of_user(to, shown.user(2), &mut told);
    }

    #[inline(always)]
    fn each_of_user([begins, ends]: &[Option<Door>; 2], user: &[u8], told: &mut impl FnMut(&Door, u64)) {
        if begins.is_none() && ends.is_none() {
            return;
        }
        let Ends { first, last } = Ends::of(user);
        if let Some(door) = begins {
            told(door, door.filter.told(first));
        }
        if let Some(door) = ends {
            told(door, door.filter.told(last));
        }
    }
}

/// The bits, where the lowest bit of what is told is set.
#[inline(always)]
fn bits(bits: u64, told: u64) -> u64 {
    bits & (told & 1).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::super::checks::Collector;
    use super::super::{Pattern, RuleId, When};
    use super::*;

    /// A rule hangs by what is told here before it hangs by anything else.
    #[test]
    fn what_no_filter_tells_is_not_told() {
        let pattern = |text: &str| Pattern(text.into());
        let when = When {
            method: vec!["INFO".into()],
            source: vec!["192.0.2.0/24".parse().unwrap()],
            ruri_user: Some(pattern("^33[0-9]+$")),
            from_user: Some(pattern("(a|b)+c?")),
            ruri_host: vec!["a.example".into()],
            header: vec![("x-tenant".into(), pattern("^red$"))],
            ..When::default()
        };
        let mut collector = Collector::new();
        let mut rule = collector.add(&when, RuleId(0));
        let (numbers, checks) = collector.finish().unwrap();
        rule.sort_by_key(|check| check.asks);
        let told: Vec<(Asks, bool)> = rule
            .iter()
            .map(|check| (check.asks, Gate::tells(check.asks, checks.values(check), &numbers)))
            .collect();
        let header = FIELDS.len() as u16;
        let wanted = [
            (Asks::Method, false),
            (Asks::Source, true),
            (Asks::Host(0), true),
            (Asks::Pattern(0), true),
            (Asks::Pattern(1), false),
            (Asks::Pattern(header), false),
        ];
        assert_eq!(told, wanted);
    }
}
