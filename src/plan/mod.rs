//! The configuration, validated and compiled: plain data that the stages read.
//!
//! Made by [`crate::config`], part of a [`crate::snapshot::Snapshot`].
#![forbid(unsafe_code)]

mod dns;
mod engine;
mod expansion;
#[cfg(test)]
mod expansion_tests;
mod group;
mod listener;
mod ours;
mod section;
mod tls;

pub use crate::net::{ListenerId, SectionId};
pub use dns::Dns;
pub use engine::EngineKind;
pub use expansion::{Expansion, LeftOut, expand};
pub use group::{Gateway, Group};
pub use listener::{Advertise, Listener, Standing};
pub use ours::Ours;
pub use section::{Bind, Section, Sibling};
pub use tls::{AskClients, PairFiles, Tls, TlsFault, TlsFiles, TlsNames, TlsPart};

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::limits::{COALESCE, SOCKET_BUFFER_BYTES};
use crate::net::{GroupId, NextHop, Transport};
use crate::overload::Policy;
use crate::rules::{Action, EgressChoice, Matcher, Mode, Rule, RuleId, Target};
use crate::stream::StreamLimits;

/// Everything the configuration file says, with the listeners that it stands for on this host.
#[derive(Clone)]
pub struct Plan {
    /// Where it came from, for messages: a path, or `<default>`.
    pub origin: Box<str>,
    /// `[engine]`
    pub engine: Engine,
    /// `[identity] domains`, lower case, besides the listeners' addresses.
    pub domains: Vec<Box<str>>,
    /// `[keys] file`; `None`: a throw-away key.
    pub keys_file: Option<PathBuf>,
    /// `[[listener]]`, in configured order; `sections[i].id == SectionId(i)`.
    pub sections: Arc<[Section]>,
    /// What the sections stand for now, section by section; `listeners[i].id == ListenerId(i)`.
    pub listeners: Vec<Listener>,
    /// What they stand for and cannot be served.
    pub left_out: LeftOut,
    /// `[egress]`
    pub egress: EgressPolicy,
    /// `[hosts]`: lower-case name to addresses.
    pub hosts: Arc<HashMap<Box<str>, Vec<IpAddr>>>,
    /// `[tls] names`
    pub tls_names: TlsNames,
    /// `[[group]]`, in order; `groups[i].id == GroupId(i)`.
    pub groups: Arc<[Group]>,
    /// `[dns]`
    pub dns: Dns,
    /// `[[route]]`, in order; `rules[i].id == RuleId(i)`.
    pub rules: Arc<[Rule]>,
    /// The conditions of `rules`, compiled.
    pub matcher: Arc<Matcher>,
    /// `[overload]`, `[[peer]]` and every `limit`.
    pub overload: Arc<Policy>,
    /// `[tcp]`
    pub streams: StreamLimits,
    /// `[admin] listen`; `None`: switched off with `listen = "off"`.
    pub admin: Option<SocketAddr>,
}

/// `[engine]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    /// What drives the shards.
    pub kind: EngineKind,
    /// Cores to pin shards to, one each; empty: every core the process may run on.
    pub cores: Vec<usize>,
    /// Wanted `SO_RCVBUF` and `SO_SNDBUF` in bytes.
    pub socket_buffer_bytes: usize,
    /// How a shard waits for what comes.
    pub waiting: Waiting,
}

/// How a shard waits: `[engine] spin` and `coalesce`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// How long it looks before it sleeps; zero: not at all.
    pub spin: Duration,
    /// How long it collects messages before it wakes up, where they come fast; zero: not at all.
    pub coalesce: Duration,
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            kind: EngineKind::default(),
            cores: Vec::new(),
            socket_buffer_bytes: SOCKET_BUFFER_BYTES,
            waiting: Waiting::default(),
        }
    }
}

impl Default for Waiting {
    fn default() -> Self {
        Self { spin: Duration::ZERO, coalesce: COALESCE }
    }
}

/// `[egress]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressPolicy {
    /// Automatic choice is allowed.
    pub auto: bool,
    /// Steps A.2, A.3 and B of the automatic choice are taken.
    pub nearest: bool,
    /// What happens when the automatic choice finds nothing.
    pub no_listener: NoListener,
    /// How Record-Route says that a listener is over TLS.
    pub record_route_tls: RecordRouteTls,
    /// Where requests go that are too large for UDP.
    pub large_udp: LargeUdp,
}

impl Default for EgressPolicy {
    fn default() -> Self {
        Self {
            auto: true,
            nearest: true,
            no_listener: NoListener::Reject,
            record_route_tls: RecordRouteTls::default(),
            large_udp: LargeUdp::Udp,
        }
    }
}

/// `[egress] record_route_tls`. RFC 5658 §6.2 forbids `transport=tls`, which all understand; a SIPS URI, which it asks for, has the
/// other side use SIPS for all of the dialog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordRouteTls {
    /// `"transport"`: `<sip:…;transport=tls;lr>`
    #[default]
    Transport,
    /// `"sips"`: `<sips:…;lr>`
    Sips,
}

/// `[egress] large_udp`: how requests leave that were to leave over UDP and are large (RFC 3261 §18.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LargeUdp {
    /// Over UDP all the same, in fragments: many trunks speak nothing else.
    Udp,
    /// Over TCP, and over UDP where no connection can be made.
    Tcp,
}

/// `[egress] no_listener`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoListener {
    /// Answer 5xx with a Warning.
    Reject,
    /// Use this one, counted as `fallback`.
    Use(SectionId),
}

/// Files that a process opens besides sockets: the ring and its mail for each shard, netlink, admin connections and more.
pub const FILES_BESIDES: u64 = 128;

/// One of the next hops that a rule sends to.
#[derive(Clone, Copy, Debug)]
pub struct Onward<'p> {
    /// Where to; no group.
    pub target: &'p Target,
    /// From which listener; `None`: automatic.
    pub egress: Option<EgressChoice>,
    /// The group that it is a gateway of.
    pub group: Option<&'p Group>,
}

impl Plan {
    /// The listener with this number.
    pub fn listener(&self, id: ListenerId) -> &Listener {
        &self.listeners[usize::from(id.0)]
    }

    /// The rule that was found, if one was.
    pub fn rule(&self, found: Option<RuleId>) -> Option<&Rule> {
        self.rules.get(found?.0 as usize)
    }

    /// The `[[listener]]` with this number.
    pub fn section(&self, id: SectionId) -> &Section {
        &self.sections[usize::from(id.0)]
    }

    /// The listeners that a `[[listener]]` stands for now; none where it follows the host's addresses and
    /// there is none.
    pub fn members(&self, section: SectionId) -> &[Listener] {
        let from = self.listeners.partition_point(|l| l.section < section);
        let rest = self.listeners.get(from..).unwrap_or_default();
        rest.get(..rest.partition_point(|l| l.section == section)).unwrap_or_default()
    }

    /// The listener stands beside the one for datagrams that its `[[listener]]` is about.
    pub fn is_sibling(&self, listener: &Listener) -> bool {
        let section = self.sections.get(usize::from(listener.section.0));
        section.is_some_and(|section| section.transport != listener.transport)
    }

    /// The listeners that say something where this transport is wanted: of one for datagrams and its sibling the one that has
    /// it.
    pub fn listeners_for(&self, transport: Transport) -> impl Iterator<Item = &Listener> {
        let is_meant =
            move |own: &&Listener| own.transport == transport || !self.section(own.section).serves(transport);
        self.listeners.iter().filter(is_meant)
    }

    /// Nobody has asked for the listener: it stands beside another one because that is usual, and may be missing.
    pub fn is_extra(&self, listener: &Listener) -> bool {
        self.is_sibling(listener) && self.section(listener.section).tcp == Sibling::Usual
    }

    /// A start fails without the listener's sockets: it does not come and go with the host's addresses, and somebody has
    /// asked for it.
    pub fn is_needed(&self, listener: &Listener) -> bool {
        !self.section(listener.section).bind.follows() && !self.is_extra(listener)
    }

    /// The same configuration on a host that has changed.
    #[must_use]
    pub fn with_listeners(&self, expansion: Expansion) -> Self {
        let Expansion { listeners, left_out } = expansion;
        Self { listeners, left_out, ..self.clone() }
    }

    /// The transport that a rule's `egress` decides for; `asked`: what the next hop asks for, which counts where the
    /// listener has several.
    pub fn transport_of(&self, choice: &EgressChoice, asked: Option<Transport>) -> Transport {
        match *choice {
            EgressChoice::Listener(id) => {
                let section = self.section(id);
                asked.filter(|asked| section.serves(*asked)).unwrap_or(section.transport)
            }
            EgressChoice::Relative { transport, .. } => transport,
        }
    }

    /// Where a literal next hop is, as sent to by this `egress`; `None`: the target is none.
    pub fn literal_hop(&self, target: &Target, egress: Option<&EgressChoice>) -> Option<NextHop> {
        let Target::Address { transport, ip, port, .. } = target else { return None };
        let decided = egress.map(|choice| self.transport_of(choice, *transport));
        let transport = decided.or(*transport).unwrap_or(Transport::Udp);
        let port = port.unwrap_or(transport.default_port());
        Some(NextHop { transport, address: SocketAddr::new(*ip, port) })
    }

    /// The group with this number.
    pub fn group(&self, id: GroupId) -> &Group {
        &self.groups[usize::from(id.0)]
    }

    /// What a rule's `to` says, in order; of a group its gateways.
    pub fn onward<'p>(&'p self, rule: &'p Rule) -> impl Iterator<Item = Onward<'p>> {
        let egress = match &rule.action {
            Action::Forward { egress, .. } => *egress,
            Action::Reject(_) | Action::Drop => None,
        };
        rule.targets().iter().flat_map(move |target| {
            let group = target.group().map(|id| self.group(id));
            let of_gateway = move |gateway: &'p Gateway| Onward {
                target: &gateway.to,
                egress: gateway.egress.or(egress),
                group,
            };
            let alone = group.is_none().then_some(Onward { target, egress, group });
            alone.into_iter().chain(group.into_iter().flat_map(|g| &g.gateways).map(of_gateway))
        })
    }

    /// The names that rules and groups name as next hops; some perhaps more than once.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().flat_map(Rule::names).chain(self.groups.iter().flat_map(Group::names))
    }

    /// Some rule forwards statefully.
    pub fn is_stateful(&self) -> bool {
        let is_stateful = |rule: &Rule| matches!(rule.action, Action::Forward { mode: Mode::Stateful, .. });
        self.rules.iter().any(is_stateful)
    }

    /// Requests of datagrams may have to be kept, too: for a stateful rule, or because they leave over TLS, to clients by
    /// their connections, or over TCP for their size.
    pub fn keeps_all(&self) -> bool {
        let by_size = self.egress.large_udp == LargeUdp::Tcp;
        let is_kept = |transport: Transport| transport.is_secure() || transport.is_websocket();
        by_size || self.is_stateful() || self.sections.iter().any(|section| is_kept(section.transport))
    }

    /// Some listener takes connections.
    pub fn has_streams(&self) -> bool {
        self.sections.iter().any(|section| section.also().is_some() || section.transport != Transport::Udp)
    }

    /// The listener of this name.
    pub fn listener_named(&self, name: &str) -> Option<&Listener> {
        self.listeners.iter().find(|l| &*l.name == name)
    }
}
