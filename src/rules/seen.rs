//! What a request shows to the checks: found out when first asked for, then known.

use std::cell::Cell;

use super::Facts;
use super::checks::{Asks, Check, Checks, Numbers};
use super::matcher::Scratch;
use super::names::plain_host;
use super::trie::NONE;

/// Not asked for yet.
const UNKNOWN: u32 = NONE - 1;

/// A request under the eyes of the rules.
pub(super) struct Seen<'a> {
    pub facts: &'a Facts<'a>,
    pub numbers: &'a Numbers,
    checks: &'a Checks,
    scratch: &'a mut Scratch,
    method: Cell<u32>,
    source: Cell<u32>,
    prefix: Cell<u32>,
    hosts: [Cell<u32>; 3],
}

impl<'a> Seen<'a> {
    pub fn new(
        facts: &'a Facts<'a>,
        numbers: &'a Numbers,
        checks: &'a Checks,
        scratch: &'a mut Scratch,
    ) -> Self {
        let unknown = || Cell::new(UNKNOWN);
        let hosts = [unknown(), unknown(), unknown()];
        Self {
            facts,
            numbers,
            checks,
            scratch,
            method: unknown(),
            source: unknown(),
            prefix: unknown(),
            hosts,
        }
    }

    /// All of these checks hold.
    pub fn holds(&mut self, checks: &'a [Check]) -> bool {
        checks.iter().all(|check| self.one_holds(check))
    }

    fn one_holds(&mut self, check: &'a Check) -> bool {
        let (all, values) = (self.checks, self.checks.values(check));
        match check.asks {
            Asks::Not => !values.iter().any(|&not| self.holds(&all.nots[not as usize])),
            Asks::Pattern(field) => values.iter().all(|&pattern| self.matches(field, pattern)),
            asks => {
                let mut value = self.first(asks);
                while value != NONE {
                    if is_among(value, values) {
                        return true;
                    }
                    value = self.wider(asks, value);
                }
                false
            }
        }
    }

    /// The number of what the request shows, or [`NONE`]; the narrowest network and the longest prefix.
    #[inline]
    pub fn first(&self, asks: Asks) -> u32 {
        let (facts, numbers) = (self.facts, self.numbers);
        match asks {
            Asks::Transport => facts.transport as u32,
            Asks::Listener => u32::from(facts.listener.0),
            Asks::Method => known(&self.method, || numbers.methods.number(facts.method)),
            Asks::Source => known(&self.source, || numbers.networks.narrowest(facts.source)),
            Asks::Prefix => known(&self.prefix, || numbers.prefixes.longest(facts.ruri_user)),
            Asks::Host(which) => {
                let host = [facts.ruri_host, facts.from_host, facts.to_host][usize::from(which % 3)];
                known(&self.hosts[usize::from(which % 3)], || numbers.hosts.number(plain_host(host)))
            }
            Asks::Pattern(_) | Asks::Not => NONE,
        }
    }

    /// The next wider network, the next shorter prefix, or [`NONE`].
    #[inline]
    pub fn wider(&self, asks: Asks, value: u32) -> u32 {
        match asks {
            Asks::Source => self.numbers.networks.parent(value),
            Asks::Prefix => self.numbers.prefixes.parent(value),
            _ => NONE,
        }
    }

    /// Calls `found` with patterns of the field that `wanted` wants and a value of it matches, perhaps more
    /// than once. `scan`: some of the wanted ones take the automaton.
    pub fn each_pattern(
        &mut self,
        field: u16,
        scan: bool,
        wanted: &dyn Fn(u32) -> bool,
        found: &mut dyn FnMut(&mut Self, u32),
    ) {
        let patterns = &self.numbers.patterns[usize::from(field)];
        match (self.user(field), self.numbers.header(field)) {
            (Some(text), _) => patterns.each_shape(text, wanted, |pattern| found(self, pattern)),
            (None, Some(name)) => {
                self.facts.values(name, &mut |text| {
                    patterns.each_shape(text, wanted, |pattern| found(self, pattern));
                    false
                });
            }
            (None, None) => {}
        }
        if !scan {
            return;
        }
        self.scan(field);
        let mut from = 0;
        while let Some((number, pattern)) =
            patterns.scanned_from(from, &self.scratch.scanned[usize::from(field)])
        {
            if wanted(pattern) {
                found(self, pattern);
            }
            from = number + 1;
        }
    }

    fn matches(&mut self, field: u16, pattern: u32) -> bool {
        let patterns = &self.numbers.patterns[usize::from(field)];
        if patterns.needs_scan(pattern) {
            self.scan(field);
            return patterns.was_scanned(pattern, &self.scratch.scanned[usize::from(field)]);
        }
        match (self.user(field), self.numbers.header(field)) {
            (Some(text), _) => patterns.has_shape_of(pattern, text),
            (None, Some(name)) => self.facts.values(name, &mut |text| patterns.has_shape_of(pattern, text)),
            (None, None) => false,
        }
    }

    /// The user part that a field is; `None` for headers.
    #[inline]
    fn user(&self, field: u16) -> Option<&'a [u8]> {
        match field {
            0 => Some(self.facts.ruri_user),
            1 => Some(self.facts.from_user),
            2 => Some(self.facts.to_user),
            _ => None,
        }
    }

    fn scan(&mut self, field: u16) {
        let patterns = &self.numbers.patterns[usize::from(field)];
        let (user, header) = (self.user(field), self.numbers.header(field));
        let Some(scanned) =
            self.scratch.scanned.get_mut(usize::from(field)).filter(|scanned| scanned.is_new())
        else {
            return;
        };
        match (user, header) {
            (Some(text), _) => patterns.scan(text, scanned),
            (None, Some(name)) => {
                self.facts.values(name, &mut |text| {
                    patterns.scan(text, scanned);
                    false
                });
            }
            (None, None) => {}
        }
        scanned.done();
        self.scratch.is_used = true;
    }
}

#[inline]
fn known(cell: &Cell<u32>, find: impl FnOnce() -> u32) -> u32 {
    if cell.get() == UNKNOWN {
        cell.set(find());
    }
    cell.get()
}

/// Lists are short as a rule; long ones are searched.
#[inline]
fn is_among(value: u32, values: &[u32]) -> bool {
    const SHORT: usize = 8;
    if values.len() <= SHORT { values.contains(&value) } else { values.binary_search(&value).is_ok() }
}
