//! What a `[[route]]` says, validated.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::Set;
use crate::net::{GroupId, SectionId, Transport};
use crate::status::Statuses;

/// A rule's number: its place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(pub u32);

/// One `[[route]]`.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its place in the Plan.
    pub id: RuleId,
    /// Its name; unique; `route-N` where none is given.
    pub name: Box<str>,
    /// The line of the configuration it begins on, for messages; from 1.
    pub line: u32,
    /// When it applies.
    pub when: When,
    /// What it does.
    pub action: Action,
    /// What it changes in what it sends on.
    pub set: Option<Arc<Set>>,
}

/// A rule's conditions; all that are given must hold. An empty one matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct When {
    /// Any of these methods (ACK and CANCEL count as INVITE); upper case as on the wire.
    pub method: Vec<Box<str>>,
    /// Came in over any of these.
    pub transport: Vec<Transport>,
    /// Came in on any of these.
    pub listener: Vec<SectionId>,
    /// Came from any of these networks.
    pub source: Vec<IpNet>,
    /// Pattern on the Request-URI's user part.
    pub ruri_user: Option<Pattern>,
    /// Number prefixes of the Request-URI's user part, without visual separators.
    pub ruri_prefix: Vec<Box<str>>,
    /// Request-URI hosts, lower case, exact.
    pub ruri_host: Vec<Box<str>>,
    /// Pattern on the From URI's user part.
    pub from_user: Option<Pattern>,
    /// From hosts.
    pub from_host: Vec<Box<str>>,
    /// Pattern on the To URI's user part.
    pub to_user: Option<Pattern>,
    /// To hosts.
    pub to_host: Vec<Box<str>>,
    /// Header name and a pattern that any of its values matches.
    pub header: Vec<(Box<str>, Pattern)>,
    /// Must not match.
    pub not: Option<Box<When>>,
}

/// A regular expression, as written in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern(pub Box<str>);

/// What a rule does with a request that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send it on.
    Forward {
        /// The next hops, in the order in which they are tried: 1 to [`crate::limits::CANDIDATES`].
        to: Box<[Target]>,
        /// From which listener; `None`: automatic.
        egress: Option<EgressChoice>,
        /// Stateless or stateful.
        mode: Mode,
        /// Write Record-Route on requests that can form a dialog.
        record_route: bool,
        /// How its next hops are tried, where it is stateful.
        attempts: Attempts,
    },
    /// Answer with this status, 300 to 699.
    Reject(u16),
    /// Say nothing.
    Drop,
}

impl Rule {
    /// What its `to` says, in order; empty where it does not forward.
    pub fn targets(&self) -> &[Target] {
        match &self.action {
            Action::Forward { to, .. } => to,
            Action::Reject(_) | Action::Drop => &[],
        }
    }

    /// Its `egress`, if it names one.
    pub fn egress(&self) -> Option<&EgressChoice> {
        match &self.action {
            Action::Forward { egress, .. } => egress.as_ref(),
            Action::Reject(_) | Action::Drop => None,
        }
    }

    /// The names that its `to` says, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.targets().iter().filter_map(Target::name)
    }
}

/// One entry of `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The topmost foreign Route, else the Request-URI.
    RequestUri,
    /// A literal next hop.
    Address {
        /// As written.
        uri: Box<str>,
        /// From `transport=` or the scheme; `None`: the egress listener's, else UDP.
        transport: Option<Transport>,
        /// IP literal; canonical.
        ip: IpAddr,
        /// The port, where one is written; else that of the transport that it is sent by.
        port: Option<u16>,
    },
    /// A next hop by name, resolved by `[hosts]` or DNS.
    Name {
        /// As written.
        uri: Box<str>,
        /// From `transport=` or the scheme.
        transport: Option<Transport>,
        /// Lower-case host name.
        host: Box<str>,
        /// The port, where one is written.
        port: Option<u16>,
    },
    /// The gateways of a `[[group]]`, in the order that its selection gives.
    Group {
        /// Its number.
        id: GroupId,
        /// Its name.
        name: Box<str>,
    },
}

impl Target {
    /// The host name that is to be resolved for it.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Name { host, .. } => Some(host),
            Self::RequestUri | Self::Address { .. } | Self::Group { .. } => None,
        }
    }

    /// The group that it is.
    pub fn group(&self) -> Option<GroupId> {
        match self {
            Self::Group { id, .. } => Some(*id),
            Self::RequestUri | Self::Address { .. } | Self::Name { .. } => None,
        }
    }

    /// The URI, as it is written.
    pub fn uri(&self) -> Option<&str> {
        match self {
            Self::Address { uri, .. } | Self::Name { uri, .. } => Some(uri),
            Self::RequestUri | Self::Group { .. } => None,
        }
    }

    /// The port that is written, else that of the transport that it asks for, else UDP's: whatever rule leads to it.
    pub fn usual_port(&self) -> Option<u16> {
        let (Self::Address { port, .. } | Self::Name { port, .. }) = self else { return None };
        Some(port.unwrap_or(self.transport().unwrap_or(Transport::Udp).default_port()))
    }

    /// The transport that it asks for.
    pub fn transport(&self) -> Option<Transport> {
        match self {
            Self::Address { transport, .. } | Self::Name { transport, .. } => *transport,
            Self::RequestUri | Self::Group { .. } => None,
        }
    }
}

/// `egress`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EgressChoice {
    /// A `[[listener]]` by name.
    Listener(SectionId),
    /// Relative to the listener the request came in on.
    Relative {
        /// Transport to leave by.
        transport: Transport,
        /// Local port to leave from; `None`: the ingress listener's.
        port: Option<u16>,
        /// Local address; `None`: `"received"`, the ingress listener's.
        address: Option<IpAddr>,
    },
}

/// `timeout`, `failover` and `fork`: how the next hops of a stateful rule are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts {
    /// So long, in nanoseconds, the first answer of a next hop is waited for; `None`: as long as the RFC says (64·T1,
    /// RFC 3261 Timers B and F).
    pub timeout_ns: Option<u64>,
    /// Answers after which the next one is tried, besides silence and what cannot be sent.
    pub failover: Statuses,
    /// All at a time instead of one after the other.
    pub forks: bool,
}

impl Attempts {
    /// What a rule has that says nothing.
    ///
    /// RFC 3263 §4.3 asks for 503, silence and what cannot be sent; 408, 500, 502 and 504 say of a next hop that it, or
    /// somebody behind it, has failed, and nothing of the request.
    pub const DEFAULT: Self = Self {
        timeout_ns: None,
        failover: Statuses::NONE.with(408).with(500).with(502).with(503).with(504),
        forks: false,
    };
}

/// `mode`; of a dialog's later requests, what its first one had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// RFC 3261 §16.11
    Stateless,
    /// A transaction is kept: RFC 3261 §16.2 to §16.10.
    #[default]
    Stateful,
}

impl Mode {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stateless => "stateless",
            Self::Stateful => "stateful",
        }
    }
}
