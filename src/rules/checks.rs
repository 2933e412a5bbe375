//! Conditions as numbers: every method, network, prefix, host and pattern that rules name has one.

use std::collections::HashMap;
use std::ops::Range;

use ipnet::IpNet;

use super::names::Names;
use super::networks::Networks;
use super::patterns::{Collected, Patterns};
use super::trie::Trie;
use super::{Header, PatternError, RuleId, When};

/// What a check looks at; in the order in which checks are made, cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Asks {
    Transport,
    Listener,
    Method,
    Source,
    /// Of the Request-URI, From, To.
    Host(u8),
    Prefix,
    /// Of a field: the users of Request-URI, From, To; then headers.
    Pattern(u16),
    /// That the [`Nots`] of this number do not hold.
    Not,
}

/// The fields that patterns are asked of; headers follow.
pub(super) const FIELDS: [&str; 3] = ["ruri_user", "from_user", "to_user"];

/// One of these values; of a pattern only one.
#[derive(Clone, Debug)]
pub(super) struct Check {
    pub asks: Asks,
    /// Where in [`Checks::values`] they stand, ascending.
    pub values: Range<u32>,
}

/// All checks of all rules.
#[derive(Default)]
pub(super) struct Checks {
    /// What checks name.
    pub values: Vec<u32>,
    /// For each `not` what must not hold all together.
    pub nots: Vec<Vec<Check>>,
}

impl Checks {
    /// The values that a check names.
    #[inline]
    pub fn values(&self, check: &Check) -> &[u32] {
        &self.values[check.values.start as usize..check.values.end as usize]
    }
}

/// What rules name, numbered, to be found in a request.
pub(super) struct Numbers {
    pub methods: Names,
    pub hosts: Names,
    pub networks: Networks,
    pub prefixes: Prefixes,
    /// The fields' patterns.
    pub patterns: Vec<Patterns>,
    /// The headers that patterns are asked of.
    pub headers: Vec<Header>,
}

/// Number prefixes, compared without visual separators.
pub(super) struct Prefixes {
    /// As they are compared.
    texts: Vec<Vec<u8>>,
    trie: Trie,
}

impl Prefixes {
    fn new(texts: Vec<Vec<u8>>) -> Self {
        Self { trie: Trie::new(&texts, |c| (!is_separator(c)).then_some(c)), texts }
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The prefix of a number, as it is compared.
    pub fn text(&self, number: u32) -> &[u8] {
        &self.texts[number as usize]
    }

    /// The longest prefix of a user, or [`NONE`].
    #[inline]
    pub fn longest(&self, user: &[u8]) -> u32 {
        self.trie.longest(user.iter().copied())
    }

    /// The longest other prefix that a prefix begins with, or [`NONE`].
    #[inline]
    pub fn parent(&self, prefix: u32) -> u32 {
        self.trie.parent(prefix)
    }
}

/// RFC 3966 §3: visual-separator, and the space that a decoded `%20` is.
pub(super) fn is_separator(c: u8) -> bool {
    matches!(c, b'-' | b'.' | b'(' | b')' | b' ')
}

impl Numbers {
    /// The header that a field is; `None` for users.
    pub fn header(&self, field: u16) -> Option<&Header> {
        self.headers.get(usize::from(field).checked_sub(FIELDS.len())?)
    }
}

/// Numbers what rules name, as it meets them.
pub(super) struct Collector {
    methods: Names,
    hosts: Names,
    networks: Numbered<IpNet>,
    prefixes: Numbered<Vec<u8>>,
    headers: Numbered<Box<str>>,
    patterns: Vec<Collected>,
    checks: Checks,
}

struct Numbered<T> {
    list: Vec<T>,
    numbers: HashMap<T, u32>,
}

impl<T: Clone + Eq + std::hash::Hash> Numbered<T> {
    fn new() -> Self {
        Self { list: Vec::new(), numbers: HashMap::new() }
    }

    fn add(&mut self, value: T) -> u32 {
        *self.numbers.entry(value).or_insert_with_key(|value| {
            self.list.push(value.clone());
            self.list.len() as u32 - 1
        })
    }
}

impl Collector {
    pub fn new() -> Self {
        Self {
            methods: Names::new(false),
            hosts: Names::new(true),
            networks: Numbered::new(),
            prefixes: Numbered::new(),
            headers: Numbered::new(),
            patterns: FIELDS.iter().map(|key| Collected::new(key)).collect(),
            checks: Checks::default(),
        }
    }

    /// The checks of a condition, in the order in which they are made. The depth of `not` is bounded by
    /// the configuration's ([`crate::limits::NOT_DEPTH`]).
    pub fn add(&mut self, when: &When, rule: RuleId) -> Vec<Check> {
        let mut checks = Vec::new();
        let mut push = |asks, values: Vec<u32>, all: &mut Checks| {
            if !values.is_empty() {
                checks.push(all.check(asks, values));
            }
        };
        let all = &mut self.checks;
        push(Asks::Transport, when.transport.iter().map(|t| *t as u32).collect(), all);
        push(Asks::Listener, when.listener.iter().map(|l| u32::from(l.0)).collect(), all);
        push(Asks::Method, when.method.iter().map(|name| self.methods.add(name)).collect(), all);
        push(Asks::Source, when.source.iter().map(|net| self.networks.add(net.trunc())).collect(), all);
        for (which, hosts) in (0..).zip([&when.ruri_host, &when.from_host, &when.to_host]) {
            push(Asks::Host(which), hosts.iter().map(|name| self.hosts.add(name)).collect(), all);
        }
        let plain = |text: &str| text.bytes().filter(|&c| !is_separator(c)).collect();
        push(Asks::Prefix, when.ruri_prefix.iter().map(|text| self.prefixes.add(plain(text))).collect(), all);
        let users = [&when.ruri_user, &when.from_user, &when.to_user];
        for (field, pattern) in (0..).zip(users).filter_map(|(n, pattern)| Some((n, pattern.as_ref()?))) {
            push(Asks::Pattern(field), vec![self.patterns[usize::from(field)].add(pattern, rule)], all);
        }
        for (name, pattern) in &when.header {
            let field = FIELDS.len() + self.headers.add(name.to_ascii_lowercase().into()) as usize;
            if field == self.patterns.len() {
                self.patterns.push(Collected::new("header"));
            }
            push(Asks::Pattern(field as u16), vec![self.patterns[field].add(pattern, rule)], all);
        }
        if let Some(not) = &when.not {
            let not = self.add(not, rule);
            self.checks.nots.push(not);
            let number = self.checks.nots.len() as u32 - 1;
            checks.push(self.checks.check(Asks::Not, vec![number]));
        }
        checks
    }

    /// What has been numbered, ready to be found.
    ///
    /// # Errors
    /// The first pattern that is not a regular expression or is too large.
    pub fn finish(self) -> Result<(Numbers, Checks), PatternError> {
        let patterns = self.patterns.iter().map(Collected::compile).collect::<Result<Vec<_>, _>>()?;
        let numbers = Numbers {
            methods: self.methods,
            hosts: self.hosts,
            networks: Networks::new(&self.networks.list),
            prefixes: Prefixes::new(self.prefixes.list),
            patterns,
            headers: self.headers.list.iter().map(|name| Header::new(name)).collect(),
        };
        Ok((numbers, self.checks))
    }
}

impl Checks {
    fn check(&mut self, asks: Asks, mut values: Vec<u32>) -> Check {
        values.sort_unstable();
        values.dedup();
        let begin = self.values.len() as u32;
        self.values.extend(values);
        Check { asks, values: begin..self.values.len() as u32 }
    }
}
