//! Rules that can never match because an earlier one takes all of their requests.

use std::collections::HashMap;

use ipnet::IpNet;

use super::logic::{implies, plain_prefix};
use super::{Rule, RuleId, When};

/// Rules without any condition that an index can go by are compared with every later rule; so many of
/// them, and no more, to keep the time in bounds.
const COMPARED_WITH_ALL: usize = 64;

/// For each of these rules that can never match: the first of them that takes everything it could match. They
/// stand in the order in which they are asked.
///
/// Sound, not complete: a rule whose requests are taken by several others together is not told, and of
/// patterns little more than their equality is seen.
pub fn shadowed<'r>(rules: impl IntoIterator<Item = &'r Rule>) -> Vec<(RuleId, RuleId)> {
    let rules: Vec<&Rule> = rules.into_iter().collect();
    let index = Index::new(&rules);
    let taken_by = |(at, rule): (usize, &&Rule)| {
        let earlier = index.candidates(&rule.when).into_iter().filter(|&n| n < at);
        let first = earlier.filter(|&n| implies(&rule.when, &rules[n].when)).min()?;
        Some((rule.id, rules[first].id))
    };
    rules.iter().enumerate().filter_map(taken_by).collect()
}

/// Something that a condition names.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Named<'r> {
    Method(&'r str),
    Transport(u8),
    Listener(u16),
    Source(IpNet),
    Prefix(String),
    /// Of the Request-URI, From, To.
    Host(u8, &'r str),
    /// Of the user fields.
    Pattern(u8, &'r str),
    Header(String, &'r str),
}

/// Finds rules by what they name.
struct Index<'r> {
    /// Each rule stands under all values of that one of its conditions which fewest rules share.
    by: HashMap<Named<'r>, Vec<usize>>,
    /// Prefix lengths of the networks that stand there, of IPv4 and IPv6.
    lengths: [Vec<u8>; 2],
    /// Rules that name nothing.
    general: Vec<usize>,
}

impl<'r> Index<'r> {
    fn new(rules: &[&'r Rule]) -> Self {
        let named: Vec<Vec<Vec<Named<'r>>>> = rules.iter().map(|rule| conditions(&rule.when)).collect();
        let mut shared: HashMap<&Named<'r>, usize> = HashMap::new();
        for name in named.iter().flatten().flatten() {
            *shared.entry(name).or_default() += 1;
        }
        let mut this = Self { by: HashMap::new(), lengths: [Vec::new(), Vec::new()], general: Vec::new() };
        for (rule, conditions) in named.iter().enumerate() {
            let load = |names: &&Vec<Named<'r>>| names.iter().map(|name| shared[name]).max();
            match conditions.iter().min_by_key(load) {
                Some(names) => names.iter().for_each(|name| this.put(name, rule)),
                None if this.general.len() < COMPARED_WITH_ALL => this.general.push(rule),
                None => {}
            }
        }
        this
    }

    fn put(&mut self, name: &Named<'r>, rule: usize) {
        if let Named::Source(network) = name {
            let lengths = &mut self.lengths[usize::from(network.addr().is_ipv6())];
            if !lengths.contains(&network.prefix_len()) {
                lengths.push(network.prefix_len());
            }
        }
        self.by.entry(name.clone()).or_default().push(rule);
    }

    /// All rules that may take everything that `when` asks for, and others. Whatever takes all values of a
    /// condition takes its first one: it stands under that value or a wider one.
    fn candidates(&self, when: &'r When) -> Vec<usize> {
        let mut found = self.general.clone();
        let mut look = |name: Named<'r>| found.extend(self.by.get(&name).into_iter().flatten());
        for name in conditions(when).into_iter().filter_map(|mut names| names.drain(..).next()) {
            match name {
                Named::Source(network) => {
                    let lengths = &self.lengths[usize::from(network.addr().is_ipv6())];
                    for &length in lengths.iter().filter(|&&length| length <= network.prefix_len()) {
                        if let Ok(wider) = IpNet::new(network.addr(), length) {
                            look(Named::Source(wider.trunc()));
                        }
                    }
                }
                Named::Prefix(prefix) => prefix
                    .char_indices()
                    .map(|(at, c)| at + c.len_utf8())
                    .for_each(|end| look(Named::Prefix(prefix[..end].to_owned()))),
                name => look(name),
            }
        }
        found
    }
}

/// What each condition of a rule names.
fn conditions(when: &When) -> Vec<Vec<Named<'_>>> {
    let hosts = [&when.ruri_host, &when.from_host, &when.to_host];
    let patterns = [&when.ruri_user, &when.from_user, &when.to_user];
    let mut all: Vec<Vec<Named<'_>>> = vec![
        when.source.iter().map(|network| Named::Source(network.trunc())).collect(),
        when.ruri_prefix.iter().map(|prefix| Named::Prefix(plain_prefix(prefix))).collect(),
        when.listener.iter().map(|id| Named::Listener(id.0)).collect(),
        when.method.iter().map(|method| Named::Method(method)).collect(),
        when.transport.iter().map(|transport| Named::Transport(*transport as u8)).collect(),
    ];
    all.extend((0..).zip(hosts).map(|(n, hosts)| hosts.iter().map(|host| Named::Host(n, host)).collect()));
    for (n, pattern) in (0..).zip(patterns) {
        all.extend(pattern.as_ref().map(|pattern| vec![Named::Pattern(n, &pattern.0)]));
    }
    for (name, pattern) in &when.header {
        all.push(vec![Named::Header(name.to_ascii_lowercase(), &pattern.0)]);
    }
    all.retain(|names| !names.is_empty());
    all
}
