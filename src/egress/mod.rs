//! From which listener a message leaves: pins, then the dialog's side, an override, the automatic choice.
//!
//! Place in the flow: [`crate::proxy`] knows the next hop and asks here; every choice is confirmed by
//! the bound lookup, which is what the send will do. Pure: a [`Fib`](crate::fib::Fib) and a [`Plan`](crate::plan::Plan) go in.
//!
//! | function | answers for | never |
//! |---|---|---|
//! | [`Recent::pinned`] | a transaction decided before | another listener |
//! | [`Recent::dialog`] | a valid dialog token | gives up while a path exists |
//! | [`overridden`] | a rule's `egress` | another listener |
//! | [`auto`] | everything else; [`Recent`] remembers | a listener that the kernel would not send from |
//! | [`confirm`] | one given listener | |
#![forbid(unsafe_code)]

mod auto;
mod choose;
mod pins;
mod recent;
mod trace;
mod view;
mod words;

pub use auto::{auto, auto_observed};
pub use choose::{any_source_query, bound_query, confirm, of_section, overridden};
pub use pins::{PINNED_NS, Pin, PinKind, Pins};
pub use recent::Recent;
pub use trace::{Candidate, Note, Observer, Recorder};
pub use view::{ListenerState, View};

use std::net::SocketAddr;

use crate::fib::{NoRoute, Query, Route, RouteKind};
use crate::net::{NextHop, Transport};
use crate::plan::{ListenerId, SectionId};

/// Why a message leaves by a listener; the metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The same transaction was decided before.
    Pinned,
    /// A valid dialog token.
    Dialog,
    /// The location service (later).
    Binding,
    /// A rule's `egress`.
    Override,
    /// The automatic choice.
    Auto(Step),
    /// `no_listener` named it.
    Fallback,
    /// A response, by the token in its branch.
    Response,
}

/// Which step of the automatic choice answered (design: A.1, A.2, A.3, B).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The route's source is the listener's address.
    Source,
    /// The listener's address lives on the route's device.
    OnDevice,
    /// The listener's address lives on a loopback or dummy device, and it is the only one whose bound lookup agrees.
    Elsewhere,
    /// No route with any source; the first listener whose bound lookup answers.
    Bound,
}

impl Reason {
    /// All reasons, in the order of [`Reason::index`].
    pub const ALL: [Self; 10] = [
        Self::Pinned,
        Self::Dialog,
        Self::Binding,
        Self::Override,
        Self::Auto(Step::Source),
        Self::Auto(Step::OnDevice),
        Self::Auto(Step::Elsewhere),
        Self::Auto(Step::Bound),
        Self::Fallback,
        Self::Response,
    ];

    /// Its place in [`Reason::ALL`], for tables of counters.
    pub const fn index(self) -> usize {
        match self {
            Self::Pinned => 0,
            Self::Dialog => 1,
            Self::Binding => 2,
            Self::Override => 3,
            Self::Auto(Step::Source) => 4,
            Self::Auto(Step::OnDevice) => 5,
            Self::Auto(Step::Elsewhere) => 6,
            Self::Auto(Step::Bound) => 7,
            Self::Fallback => 8,
            Self::Response => 9,
        }
    }

    /// The metric's label, and `egress.reason` of `explain --json`: the automatic choice's step is
    /// told apart by [`Reason::step`].
    pub const fn label(self) -> &'static str {
        match self {
            Self::Pinned => "pinned",
            Self::Dialog => "dialog",
            Self::Binding => "binding",
            Self::Override => "override",
            Self::Auto(_) => "auto",
            Self::Fallback => "fallback",
            Self::Response => "response",
        }
    }

    /// The automatic choice's step as a label; empty for other reasons.
    pub const fn step(self) -> &'static str {
        match self {
            Self::Auto(Step::Source) => "source",
            Self::Auto(Step::OnDevice) => "on_device",
            Self::Auto(Step::Elsewhere) => "elsewhere",
            Self::Auto(Step::Bound) => "bound",
            _ => "",
        }
    }
}

/// A choice, confirmed by the bound lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Egress {
    /// The listener.
    pub listener: ListenerId,
    /// Why.
    pub reason: Reason,
    /// The route that its sends take.
    pub route: Route,
}

impl Egress {
    /// What a message needs of it.
    pub const fn exit(&self) -> Exit {
        Exit { listener: self.listener, reason: self.reason, dev: self.route.dev }
    }
}

/// What a message needs of an [`Egress`]: it is carried along with each, so it is small. The rest of the route is asked for again
/// ([`confirm`]) by who tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The listener.
    pub listener: ListenerId,
    /// Why.
    pub reason: Reason,
    /// Index of the interface that its sends leave by.
    pub dev: u32,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Where to; the transport is decided.
    pub next_hop: NextHop,
    /// Where the request came in.
    pub ingress: ListenerId,
    /// [`crate::token::TransactionKey::low`]: one transaction takes one path of a multipath route.
    pub flow: u64,
}

/// Why no listener can send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoEgress {
    /// `[egress] auto = false`, and nothing else named a listener.
    AutoOff,
    /// No listener of the wanted transport and family (in the ingress listener's VRF) is up.
    NoListener,
    /// The kernel routes it from a source that is no listener, and nothing nearer was found.
    SourceIsNoListener(Route),
    /// The same, and a listener that is not up has that source, or would have an address of the network behind the route's
    /// device: what is meant for it leaves by no other.
    SourceDown(Route, ListenerId, ListenerState),
    /// The same, and of the listeners whose addresses live elsewhere more than one could send it.
    Several(Route, [ListenerId; 2]),
    /// Nothing leaves this host for that destination.
    NoRoute(NoRoute),
    /// The route is for broadcast or multicast: SIP is sent to one host.
    Kind(RouteKind),
    /// The chosen listener, or the one on the kernel's source, cannot reach the next hop.
    Unfit(ListenerId, Unfit),
    /// The `[[listener]]` that is asked for stands for no address of this host now.
    NoAddress(SectionId),
    /// An override names a transport, address and port that no listener has.
    NoSuchListener(Transport, SocketAddr),
    /// The snapshot does not know the answer to this question; the kernel does.
    AskKernel(Query),
}

/// Why a named listener cannot reach a next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Other address family.
    Family,
    /// Other transport.
    Transport,
    /// It is not up.
    Down(ListenerState),
    /// The next hop is a link-local address on another link, or on none that can be told.
    Link,
    /// The bound lookup finds no route.
    NoRoute(NoRoute),
    /// The bound lookup finds a route that is for broadcast or multicast.
    Kind(RouteKind),
    /// The bound lookup leaves by another device than the route with any source.
    Device(Route),
    /// Its address lives on an interface of its own, and the route is by another one.
    Elsewhere,
    /// Its device, mark or VRF is not that of the sockets that the route is for.
    Tied,
    /// The snapshot does not know the answer to this question; the kernel does.
    AskKernel(Query),
}

#[cfg(test)]
mod tests;
