//! From which listener a message leaves: pins, then the dialog's side, an override, the automatic choice.
//!
//! Place in the flow: [`crate::proxy`] knows the next hop and asks here; every choice is confirmed by
//! the bound lookup, which is what the send will do. Pure: a [`Fib`] and a [`Plan`] go in.
#![forbid(unsafe_code)]

use crate::fib::{Fib, Route};
use crate::net::NextHop;
use crate::plan::{ListenerId, Plan};
use crate::rules::EgressChoice;

/// The listeners of a [`Plan`] as a [`Fib`] sees them; part of each snapshot.
pub struct View {}

impl View {
    /// Looks up devices, homes of addresses and states of all listeners.
    pub fn new(plan: &Plan, fib: &Fib) -> Self {
        let _ = (plan, fib);
        Self {}
    }
}

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
    /// The listener's address lives elsewhere, and it is the only one whose bound lookup agrees.
    Elsewhere,
    /// No route with any source; the first listener whose bound lookup answers.
    Bound,
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

/// What is asked.
pub struct Question {
    /// Where to.
    pub next_hop: NextHop,
    /// Where the request came in.
    pub ingress: ListenerId,
    /// Hash of the transaction key: one transaction takes one path of a multipath route.
    pub flow: u64,
}

/// Why no listener can send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoEgress {
    /// No listener of the wanted transport and family.
    NoListener,
    /// The kernel routes it from a source that is no listener, and nothing nearer was found.
    SourceIsNoListener(Route),
    /// Nothing leaves this host for that destination.
    NoRoute(crate::fib::NoRoute),
    /// The chosen listener cannot reach the next hop.
    Unfit(ListenerId, Unfit),
    /// The snapshot does not know.
    AskKernel,
}

/// Why a named listener cannot reach a next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Other address family.
    Family,
    /// Other transport.
    Transport,
    /// Its address is absent or its device is down.
    Down,
    /// The bound lookup finds no route.
    NoRoute(crate::fib::NoRoute),
    /// There is no such listener.
    Unknown,
}

/// Confirms that `listener` can send to the next hop: family, transport, state, bound lookup.
pub fn confirm(
    plan: &Plan,
    fib: &Fib,
    view: &View,
    listener: ListenerId,
    question: &Question,
) -> Result<Route, Unfit> {
    let _ = (plan, fib, view, listener, question);
    todo!()
}

/// The automatic choice (design section 5, "Auto"), with `[egress] no_listener` applied.
pub fn auto(plan: &Plan, fib: &Fib, view: &View, question: &Question) -> Result<Egress, NoEgress> {
    let _ = (plan, fib, view, question);
    todo!()
}

/// A rule's `egress`: never silently another socket.
pub fn overridden(
    plan: &Plan,
    fib: &Fib,
    view: &View,
    choice: &EgressChoice,
    question: &Question,
) -> Result<Egress, NoEgress> {
    let _ = (plan, fib, view, choice, question);
    todo!()
}
