//! All rules' conditions, compiled; evaluated in order, first match wins.

use std::net::IpAddr;

use super::{Rule, RuleId};
use crate::net::{ListenerId, Transport};

/// What the conditions look at; borrowed from the request.
///
/// User parts are percent-decoded once and cut at the first `;`; hosts are as received (compared
/// without case); `method` is already mapped (ACK and CANCEL to INVITE).
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
    /// Calls the function with every value of the named header (unfolded by the caller is not
    /// needed: values are as received) until it returns true; returns whether it did.
    pub header: &'a dyn Fn(&str, &mut dyn FnMut(&[u8]) -> bool) -> bool,
}

/// Per-shard working memory of the matcher (automaton caches); never shared between threads.
#[derive(Default)]
pub struct Scratch {}

/// A pattern that does not compile.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct PatternError {
    /// The rule it stands in.
    pub rule: RuleId,
    /// Which key: `ruri_user`, `header`, …
    pub key: &'static str,
    /// What is wrong with it.
    pub message: String,
}

/// The compiled conditions of all rules; immutable, shared by the shards.
pub struct Matcher {}

impl Matcher {
    /// Compiles the conditions; `rules[i].id == RuleId(i)`.
    ///
    /// # Errors
    /// The first pattern that is not a regular expression or is too large.
    pub fn compile(rules: &[Rule]) -> Result<Self, PatternError> {
        let _ = rules;
        todo!()
    }

    /// Working memory that fits this matcher; one for each shard and Plan.
    pub fn scratch(&self) -> Scratch {
        Scratch::default()
    }

    /// The first rule whose conditions hold. Allocates nothing.
    pub fn first_match(&self, facts: &Facts<'_>, scratch: &mut Scratch) -> Option<RuleId> {
        let _ = (facts, scratch);
        todo!()
    }

    /// Whether any rule reads a header, user part …: what the loop hash has to cover (RFC 5393 §4.2.2).
    pub fn headers_read(&self) -> &[Box<str>] {
        todo!()
    }
}
