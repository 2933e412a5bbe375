//! All rules' conditions, compiled; first match wins.
//!
//! ```text
//!  method  transport  listener  source  prefix  hosts        one set of rules from each dimension
//!     └────────┴──────────┴────────┴───────┴──────┘
//!                          AND                               candidates, in order
//!                           │
//!            patterns, asked once each when a candidate needs them; `not` last
//! ```
//!
//! Every set is a row of bits, one for each rule. A `not` is compiled as an entry of its own behind the
//! rules. The cheap dimensions cost the same for ten rules and for ten thousand, but for the length of
//! a row; one that no rule names costs nothing. A scan narrows the candidates at once to those whose
//! patterns it can have found.

use std::net::IpAddr;

use super::bits::{Bits, Rows};
use super::hosts::Hosts;
use super::networks::Networks;
use super::patterns::{Patterns, Scanned};
use super::prefixes::Prefixes;
use super::{Rule, RuleId, When};
use crate::net::{ListenerId, Transport};

/// What the conditions look at; borrowed from the request.
///
/// User parts are percent-decoded once and cut at the first `;`; hosts are as received (compared
/// without case, with or without brackets).
pub struct Facts<'a> {
    /// Method as on the wire, ACK and CANCEL mapped to INVITE.
    pub method: &'a [u8],
    /// Came in over.
    pub transport: Transport,
    /// Came in on.
    pub listener: ListenerId,
    /// Came from; canonical.
    pub source: IpAddr,
    /// Request-URI user, decoded; empty where there is none.
    pub ruri_user: &'a [u8],
    /// Request-URI host.
    pub ruri_host: &'a [u8],
    /// From user, decoded.
    pub from_user: &'a [u8],
    /// From host.
    pub from_host: &'a [u8],
    /// To user, decoded.
    pub to_user: &'a [u8],
    /// To host.
    pub to_host: &'a [u8],
    /// The request's headers.
    pub header: &'a Headers<'a>,
}

/// Calls the function with every value of the named header, as received, until it returns true;
/// returns whether it did.
pub type Headers<'a> = dyn Fn(&str, &mut dyn FnMut(&[u8]) -> bool) -> bool + 'a;

/// A pattern that does not compile.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct PatternError {
    /// The rule it stands in.
    pub rule: RuleId,
    /// Which key: `ruri_user`, `from_user`, `to_user`, `header`.
    pub key: &'static str,
    /// The pattern as written.
    pub pattern: Box<str>,
    /// What is wrong with it.
    pub message: String,
}

/// The fields that patterns are asked of; headers follow.
const FIELDS: [&str; 3] = ["ruri_user", "from_user", "to_user"];

/// A pattern that an entry needs: which dimension, which pattern of it.
type Need = (usize, usize);

/// What is left to ask of a candidate.
struct Entry {
    needs: Vec<Need>,
    not: Option<usize>,
}

/// Who asks for the patterns of one dimension.
struct Askers {
    /// The entries that ask for none of them.
    others: Bits,
    /// For each pattern the entries that ask for it.
    of: Vec<Vec<u32>>,
}

/// The compiled conditions of all rules; immutable, shared by the shards.
pub struct Matcher {
    rules: usize,
    entries: Vec<Entry>,
    methods: Rows<Box<str>>,
    transports: Rows<Transport>,
    listeners: Rows<ListenerId>,
    sources: Networks,
    prefixes: Prefixes,
    hosts: [Hosts; 3],
    patterns: Vec<Patterns>,
    askers: Vec<Askers>,
    headers: Vec<Box<str>>,
}

/// Per-shard working memory of the matcher; never shared between threads.
#[derive(Default)]
pub struct Scratch {
    candidates: Bits,
    possible: Bits,
    scanned: Vec<Scanned>,
}

impl Matcher {
    /// Compiles the conditions; `rules[i].id == RuleId(i)`.
    ///
    /// # Errors
    /// The first pattern that is not a regular expression or is too large.
    pub fn compile(rules: &[Rule]) -> Result<Self, PatternError> {
        let mut whens: Vec<(&When, RuleId)> = rules.iter().map(|rule| (&rule.when, rule.id)).collect();
        let mut nots = Vec::new();
        let mut at = 0;
        while let Some(&(when, rule)) = whens.get(at) {
            nots.push(when.not.as_deref().map(|not| {
                whens.push((not, rule));
                whens.len() - 1
            }));
            at += 1;
        }
        let headers = header_names(&whens);
        let mut patterns: Vec<Patterns> = FIELDS.iter().map(|key| Patterns::new(key)).collect();
        patterns.extend(headers.iter().map(|_| Patterns::new("header")));
        let entries: Vec<Entry> = (whens.iter().zip(nots))
            .map(|(&(when, rule), not)| Entry { needs: needs(when, rule, &headers, &mut patterns), not })
            .collect();
        for dimension in &mut patterns {
            dimension.compile()?;
        }
        let askers =
            patterns.iter().enumerate().map(|(n, patterns)| Askers::new(&entries, n, patterns.len()));
        let askers = askers.collect();
        let of = |field: fn(&When) -> &[Box<str>]| whens.iter().map(move |(when, _)| field(when));
        Ok(Self {
            rules: rules.len(),
            entries,
            methods: Rows::new(of(|w| &w.method)),
            transports: Rows::new(whens.iter().map(|(w, _)| &w.transport[..])),
            listeners: Rows::new(whens.iter().map(|(w, _)| &w.listener[..])),
            sources: Networks::new(whens.iter().map(|(w, _)| &w.source[..])),
            prefixes: Prefixes::new(of(|w| &w.ruri_prefix)),
            hosts: [
                Hosts::new(of(|w| &w.ruri_host)),
                Hosts::new(of(|w| &w.from_host)),
                Hosts::new(of(|w| &w.to_host)),
            ],
            patterns,
            askers,
            headers,
        })
    }

    /// Working memory that fits this matcher; one for each shard and Plan.
    pub fn scratch(&self) -> Scratch {
        Scratch {
            candidates: Bits::none(self.entries.len()),
            possible: Bits::none(self.entries.len()),
            scanned: self.patterns.iter().map(Patterns::scanned).collect(),
        }
    }

    /// The first rule whose conditions hold. Allocates nothing. `scratch` must be this matcher's own.
    pub fn first_match(&self, facts: &Facts<'_>, scratch: &mut Scratch) -> Option<RuleId> {
        self.candidates(facts, &mut scratch.candidates);
        for scanned in &mut scratch.scanned {
            scanned.forget();
        }
        let mut from = 0;
        while let Some(at) = scratch.candidates.next(from).filter(|&at| at < self.rules) {
            if self.holds(at, facts, scratch) {
                return Some(RuleId(at as u32));
            }
            from = at + 1;
        }
        None
    }

    /// Which users any rule reads: of the Request-URI, From and To.
    pub fn users_read(&self) -> [bool; 3] {
        let [ruri, from, to] = [0, 1, 2].map(|field| self.patterns.get(field).is_some_and(|p| p.len() > 0));
        [ruri || self.prefixes.is_asked(), from, to]
    }

    /// The header names that any rule reads: what the loop mark has to cover (RFC 5393 §4.2.2).
    pub fn headers_read(&self) -> &[Box<str>] {
        &self.headers
    }

    fn candidates(&self, facts: &Facts<'_>, out: &mut Bits) {
        out.copy(self.methods.get_by(|method| method.as_bytes().cmp(facts.method)));
        if self.transports.is_asked() {
            out.and(self.transports.get_by(|transport| transport.cmp(&facts.transport)));
        }
        if self.listeners.is_asked() {
            out.and(self.listeners.get_by(|listener| listener.cmp(&facts.listener)));
        }
        if self.sources.is_asked() {
            out.and(self.sources.get(facts.source));
        }
        if self.prefixes.is_asked() {
            out.and(self.prefixes.get(facts.ruri_user));
        }
        for (hosts, host) in self.hosts.iter().zip([facts.ruri_host, facts.from_host, facts.to_host]) {
            if hosts.is_asked() {
                out.and(hosts.get(host));
            }
        }
    }

    /// What the sets cannot tell: patterns, and that a `not` does not hold. Its depth is bounded by
    /// the configuration's ([`crate::limits::NOT_DEPTH`]).
    fn holds(&self, at: usize, facts: &Facts<'_>, scratch: &mut Scratch) -> bool {
        let entry = &self.entries[at];
        scratch.candidates.has(at)
            && entry.needs.iter().all(|&need| self.found(need, facts, scratch))
            && !entry.not.is_some_and(|not| self.holds(not, facts, scratch))
    }

    fn found(&self, (dimension, pattern): Need, facts: &Facts<'_>, scratch: &mut Scratch) -> bool {
        let (patterns, scanned) = (&self.patterns[dimension], &mut scratch.scanned[dimension]);
        if scanned.is_new() {
            match dimension {
                0 => patterns.scan(facts.ruri_user, scanned),
                1 => patterns.scan(facts.from_user, scanned),
                2 => patterns.scan(facts.to_user, scanned),
                header => {
                    (facts.header)(&self.headers[header - FIELDS.len()], &mut |value| {
                        patterns.scan(value, scanned);
                        false
                    });
                }
            }
            scanned.done();
            let possible = &mut scratch.possible;
            self.askers[dimension].possible(scanned, possible);
            scratch.candidates.and(possible);
        }
        scanned.has(pattern)
    }
}

impl Askers {
    fn new(entries: &[Entry], dimension: usize, patterns: usize) -> Self {
        let mut others = Bits::none(entries.len());
        let mut of = vec![Vec::new(); patterns];
        for (at, entry) in entries.iter().enumerate() {
            let mut asked = entry.needs.iter().filter(|(n, _)| *n == dimension).map(|&(_, pattern)| pattern);
            match asked.next() {
                // A header may be asked for twice; the first is enough to narrow by.
                Some(pattern) => of[pattern].push(at as u32),
                None => others.insert(at),
            }
        }
        Self { others, of }
    }

    /// The entries that may hold after this scan.
    fn possible(&self, scanned: &Scanned, out: &mut Bits) {
        out.copy(&self.others);
        for &entry in scanned.found().flat_map(|pattern| &self.of[pattern]) {
            out.insert(entry as usize);
        }
    }
}

fn header_names(whens: &[(&When, RuleId)]) -> Vec<Box<str>> {
    let names = whens.iter().flat_map(|(when, _)| when.header.iter().map(|(name, _)| name));
    let mut names: Vec<Box<str>> = names.map(|name| name.to_ascii_lowercase().into()).collect();
    names.sort();
    names.dedup();
    names
}

fn needs(when: &When, rule: RuleId, headers: &[Box<str>], patterns: &mut [Patterns]) -> Vec<Need> {
    let fields = [&when.ruri_user, &when.from_user, &when.to_user];
    let fields = fields.into_iter().enumerate().filter_map(|(n, p)| p.as_ref().map(|p| (n, p)));
    let headers = when.header.iter().filter_map(|(name, pattern)| {
        let at = headers.iter().position(|known| known.eq_ignore_ascii_case(name))?;
        Some((FIELDS.len() + at, pattern))
    });
    fields.chain(headers).map(|(n, pattern)| (n, patterns[n].add(pattern, rule))).collect()
}
