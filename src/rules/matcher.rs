//! All rules' conditions, compiled; first match wins.
//!
//! ```text
//!  host, network, prefix, beginning of a user …          what the request shows, as numbers (checks.rs)
//!        └──────────┬──────────┘
//!                  tree                                 the few rules that hang by them (tree.rs)
//!                   │
//!        their other conditions, `not` last             the first that holds (seen.rs)
//! ```
//!
//! What a request shows is found out when first asked for: a thing that no rule asks for costs nothing.

use std::net::IpAddr;

use sip_parser::HeaderName;

use super::automaton::Scanned;
use super::captures::{Captured, Room, User};
use super::checks::{Checks, Collector, Numbers};
use super::patterns::Patterns;
use super::seen::Seen;
use super::tree::Tree;
use super::{Rule, RuleId, Set, When};
use crate::net::{SectionId, Transport};

/// What the conditions look at; borrowed from the request.
///
/// User parts are percent-decoded once and cut at the first `;`; hosts are as received (compared
/// without case, with or without brackets).
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// Method as on the wire, ACK and CANCEL mapped to INVITE.
    pub method: &'a [u8],
    /// Came in over.
    pub transport: Transport,
    /// Came in on.
    pub listener: SectionId,
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
    /// The request's headers; `None` where it has none that any rule reads.
    pub header: Option<&'a Headers<'a>>,
}

/// What filters ask of a request, before its [`Facts`] are put together.
pub trait Shown {
    /// [`Facts::source`]
    fn source(&self) -> IpAddr;

    /// Host of Request-URI (0), From (1) or To (2), as in [`Facts`].
    fn host(&self, which: usize) -> &[u8];

    /// User likewise.
    fn user(&self, which: usize) -> &[u8];

    /// It has a header that some rule reads.
    fn has_headers(&self) -> bool;
}

impl Shown for Facts<'_> {
    fn source(&self) -> IpAddr {
        self.source
    }

    fn host(&self, which: usize) -> &[u8] {
        [self.ruri_host, self.from_host, self.to_host][which % 3]
    }

    fn user(&self, which: usize) -> &[u8] {
        [self.ruri_user, self.from_user, self.to_user][which % 3]
    }

    fn has_headers(&self) -> bool {
        self.header.is_some()
    }
}

impl Facts<'_> {
    /// Calls the function with every value of the header until it returns true; returns whether it did.
    pub(super) fn values(&self, header: &Header, found: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.header.is_some_and(|values| values(header, found))
    }
}

/// Calls the function with every value of the header, as received, until it returns true; returns
/// whether it did.
pub type Headers<'a> = dyn Fn(&Header, &mut dyn FnMut(&[u8]) -> bool) -> bool + 'a;

/// A header that a rule reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its name in lower case.
    pub name: Box<str>,
    /// What [`HeaderName::from_bytes`] makes of the name.
    pub known: HeaderName,
}

impl Header {
    /// By its name in any case.
    pub fn new(name: &str) -> Self {
        let name: Box<str> = name.to_ascii_lowercase().into();
        Self { known: HeaderName::from_bytes(name.as_bytes()), name }
    }
}

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

/// The compiled conditions of all rules; immutable, shared by the shards.
pub struct Matcher {
    numbers: Numbers,
    checks: Checks,
    tree: Tree,
    users_read: [bool; 3],
    reads_parties: bool,
}

/// Per-shard working memory of the matcher; never shared between threads.
#[derive(Default)]
pub struct Scratch {
    pub(super) scanned: Vec<Scanned>,
    /// Something was scanned.
    pub(super) is_used: bool,
    /// What the templates of the rule that matched show of the request.
    pub captured: Captured,
    room: Room,
}

impl Scratch {
    /// Makes memory large enough for what these rules capture.
    pub fn prepare(&mut self, rules: &[Rule]) {
        rules.iter().filter_map(|rule| rule.set.as_ref()).for_each(|set| set.prepare(&mut self.room));
    }

    /// Keeps what the templates of a rule show of a request, in [`Scratch::captured`]: its users as [`Facts`] has
    /// them, of Request-URI, From and To.
    pub fn capture(&mut self, set: &Set, users: [&[u8]; 3]) {
        set.capture(users, &mut self.captured, &mut self.room);
    }
}

impl Matcher {
    /// Compiles the conditions; `rules[i].id == RuleId(i)`.
    ///
    /// # Errors
    /// The first pattern that is not a regular expression or is too large.
    pub fn compile(rules: &[Rule]) -> Result<Self, PatternError> {
        let mut collector = Collector::new();
        let of_rules = rules.iter().map(|rule| collector.add(&rule.when, rule.id)).collect();
        let (numbers, checks) = collector.finish()?;
        let tree = Tree::new(of_rules, &checks, &numbers);
        let [ruri, from, to] = [0, 1, 2].map(|field| !numbers.patterns[field].is_empty());
        let users_read = [ruri || !numbers.prefixes.is_empty(), from, to];
        let is_party = |header: &Header| matches!(header.known, HeaderName::From | HeaderName::To);
        let reads_parties = rules.iter().any(reads_parties) || numbers.headers.iter().any(is_party);
        Ok(Self { numbers, checks, tree, users_read, reads_parties })
    }

    /// In how many places of its tree rules hang, all together.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.tree.places()
    }

    /// Working memory that fits this matcher; one for each shard and Plan.
    pub fn scratch(&self) -> Scratch {
        Scratch {
            scanned: self.numbers.patterns.iter().map(Patterns::scanned).collect(),
            ..Scratch::default()
        }
    }

    /// The first rule whose conditions hold. Allocates nothing. `scratch` must be this matcher's own. `shown` is of the request
    /// that `facts` are of, which are made where filters do not tell.
    #[inline(always)]
    pub fn first_match<'f>(
        &self,
        shown: &impl Shown,
        facts: impl FnOnce() -> Facts<'f>,
        scratch: &mut Scratch,
    ) -> Option<RuleId> {
        let found = match self.tree.glance(shown) {
            Some(found) => found,
            None => self.search(&facts(), scratch),
        };
        found.map(RuleId)
    }

    #[inline(never)]
    fn search(&self, facts: &Facts<'_>, scratch: &mut Scratch) -> Option<u32> {
        if std::mem::take(&mut scratch.is_used) {
            scratch.scanned.iter_mut().for_each(Scanned::forget);
        }
        self.tree.first_match(facts, &mut Seen::new(facts, &self.numbers, &self.checks, scratch))
    }

    /// Which users any rule reads: of the Request-URI, From and To.
    pub fn users_read(&self) -> [bool; 3] {
        self.users_read
    }

    /// Any rule reads something of From or To, or writes it somewhere.
    pub fn reads_parties(&self) -> bool {
        self.reads_parties
    }

    /// The headers that any rule reads: what the loop mark has to cover (RFC 5393 §4.2.1).
    pub fn headers_read(&self) -> &[Header] {
        &self.numbers.headers
    }
}

fn reads_parties(rule: &Rule) -> bool {
    let shows = |set: &Set| set.shows(User::From) || set.shows(User::To);
    asks_for_parties(&rule.when) || rule.set.as_deref().is_some_and(shows)
}

fn asks_for_parties(when: &When) -> bool {
    let hosts = [&when.from_host, &when.to_host];
    let users = [&when.from_user, &when.to_user];
    hosts.iter().any(|hosts| !hosts.is_empty())
        || users.iter().any(|user| user.is_some())
        || when.not.as_deref().is_some_and(asks_for_parties)
}
