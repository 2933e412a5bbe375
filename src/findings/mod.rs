//! The configuration held against the kernel's routing: what does not fit, why, and what to do about it.
//!
//! Place in the flow: none of a message's. [`crate::config`] asks at load, [`crate::control`] again after
//! every change of routes, both the same code. Pure: a [`Plan`], a [`Fib`] and their [`View`] go in.
//!
//! An [`Examiner`] goes through numbered units (the host with its listeners, then each rule, then each
//! name of `[hosts]`), so that who has little time can go through ten thousand rules in slices.
#![forbid(unsafe_code)]

mod code;
mod host;
mod listeners;
mod next_hop;
#[cfg(test)]
mod properties_tests;
mod rules;
#[cfg(test)]
mod tests;

pub use code::Code;
pub use listeners::what_a_bind_takes;
pub use rules::ingresses;

use std::fmt;
use std::net::IpAddr;

use crate::dns::{Directory, Question, Unresolved};
use crate::egress::View;
use crate::fib::Fib;
use crate::limits;
use crate::net::{ListenerId, NextHop, SectionId};
use crate::plan::{Ours, Plan};
use crate::rules::RuleId;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration is not used.
    Error,
    /// It is used; somebody should look at it.
    Warning,
    /// It works; one should know.
    Note,
}

impl Severity {
    /// JSON's `severity`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// What a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// The host: an address or a default route.
    Host,
    /// A listener.
    Listener(SectionId, Box<str>),
    /// A rule.
    Rule(RuleId, Box<str>),
    /// A name in `[hosts]`.
    HostName(Box<str>),
}

impl Subject {
    /// The key of JSON's `subject`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Listener(..) => "listener",
            Self::Rule(..) => "route",
            Self::HostName(_) => "hosts",
        }
    }

    /// Its name; none for the host.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Host => None,
            Self::Listener(_, name) | Self::Rule(_, name) | Self::HostName(name) => Some(name),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{} «{name}»", self.kind()),
            None => f.write_str("this host"),
        }
    }
}

/// One thing that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What sort of thing.
    pub code: Code,
    /// How bad.
    pub severity: Severity,
    /// What it is about.
    pub subject: Subject,
    /// What of it: a next hop, an address; empty: all of it. Code, subject's name and this tell findings
    /// apart.
    pub about: Box<str>,
    /// One sentence without its subject and without a full stop.
    pub cause: String,
    /// What to do, likewise.
    pub remedy: String,
}

/// What tells a finding from others, also over a reload.
pub type Key = (Code, Option<Box<str>>, Box<str>);

impl Finding {
    fn new(code: Code, severity: Severity, subject: &Subject, about: impl fmt::Display) -> Self {
        let about = about.to_string().into();
        Self { code, severity, subject: subject.clone(), about, cause: String::new(), remedy: String::new() }
    }

    fn because(mut self, cause: impl Into<String>) -> Self {
        self.cause = cause.into();
        self
    }

    fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// What tells it from others.
    pub fn key(&self) -> Key {
        (self.code, self.subject.name().map(Into::into), self.about.clone())
    }

    /// Subject and cause in a sentence, without a full stop.
    pub fn message(&self) -> String {
        format!("{}: {}", self.subject, self.cause)
    }
}

/// Holds one Plan against one Fib.
pub struct Examiner<'a> {
    plan: &'a Plan,
    fib: &'a Fib,
    view: &'a View,
    ours: Ours,
    /// Names of `[hosts]` that no rule's `to` names; those are examined with their rules.
    names: Vec<&'a str>,
    /// What DNS said; `None`: nobody has asked.
    resolved: Option<&'a Directory>,
}

/// What was found in a unit.
#[derive(Debug, Default)]
pub struct Found {
    /// In the order of the configuration.
    pub findings: Vec<Finding>,
    /// Next hops that were asked for: the measure of the work.
    pub asked: usize,
}

impl<'a> Examiner<'a> {
    /// `view` is that of `plan` and `fib`. Names are those of `[hosts]`: nothing is said of others.
    pub fn new(plan: &'a Plan, fib: &'a Fib, view: &'a View) -> Self {
        let mut named: Vec<&str> = plan.names().collect();
        named.sort_unstable();
        let mut names: Vec<&str> = plan.hosts.keys().map(|name| &**name).collect();
        names.retain(|name| named.binary_search(name).is_err());
        names.sort_unstable();
        Self { plan, fib, view, ours: Ours::new(plan), names, resolved: None }
    }

    /// As [`Examiner::new`], where names were resolved: one that has no address is found.
    pub fn with_names(plan: &'a Plan, fib: &'a Fib, view: &'a View, resolved: &'a Directory) -> Self {
        Self { resolved: Some(resolved), ..Self::new(plan, fib, view) }
    }

    /// How many units there are; at least one.
    pub fn units(&self) -> usize {
        1 + self.plan.rules.len() + self.names.len()
    }

    /// Goes through one unit; beyond the last there is nothing to find.
    pub fn unit(&self, number: usize) -> Found {
        let mut found = Found::default();
        let rules = &self.plan.rules;
        match number.checked_sub(1) {
            None => {
                listeners::examine(self, &mut found);
                host::examine(self, &mut found);
            }
            Some(at) if at < rules.len() => rules::examine(self, &rules[at], &mut found),
            Some(at) => {
                if let Some(name) = self.names.get(at - rules.len()) {
                    rules::examine_name(self, name, &mut found);
                }
            }
        }
        found
    }

    /// Goes through everything.
    pub fn all(&self) -> Vec<Finding> {
        (0..self.units()).flat_map(|unit| self.unit(unit).findings).collect()
    }

    fn subject(&self, listener: ListenerId) -> Subject {
        let listener = self.plan.listener(listener);
        Subject::Listener(listener.section, listener.name.clone())
    }

    /// Where a name leads to; `None`: nobody knows yet.
    fn leads_to(&self, question: &Question) -> Option<Result<Vec<NextHop>, Unresolved>> {
        if let Some(hosts) = self.plan.hosts_of(question) {
            return Some(Ok(hosts.take(limits::ADDRESSES_PER_NAME).collect()));
        }
        let found = self.resolved?.get(question)?.as_ref();
        Some(found.map(|found| found.ordered(0).collect()).map_err(|why| *why))
    }
}

/// Addresses that mean nothing outside of somebody's own network: RFC 1918, RFC 6598, RFC 4193,
/// loopback and link-local ones.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let shared = matches!(v4.octets(), [100, second, ..] if second & 0xc0 == 64);
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || shared
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_loopback(),
    }
}
