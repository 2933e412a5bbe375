//! Where the listener is given: by a pin, a dialog token or a rule; and the test that all must pass.

use super::pins::Pin;
use super::{Egress, NoEgress, Question, Unfit, View};
use crate::fib::{Fib, Route};
use crate::plan::{ListenerId, Plan};
use crate::rules::EgressChoice;

/// Confirms that `listener` can send to the next hop: transport, family, state, link, bound lookup.
///
/// # Errors
/// Why it cannot.
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

/// The listener of a transaction that was decided before; `question.next_hop` is the pin's.
///
/// # Errors
/// The listener is gone, not up or without a path: decide anew and count `egress_moved`.
pub fn pinned(
    plan: &Plan,
    fib: &Fib,
    view: &View,
    pin: &Pin,
    question: &Question,
) -> Result<Egress, NoEgress> {
    let _ = (plan, fib, view, pin, question);
    todo!()
}

/// A dialog's listener, named by the identity in a valid token: it, else its sibling of the wanted
/// transport, else the automatic choice. The `reason` tells: anything but [`super::Reason::Dialog`]
/// is to be counted.
///
/// # Errors
/// No listener can reach the next hop.
pub fn dialog(
    plan: &Plan,
    fib: &Fib,
    view: &View,
    identity: u32,
    question: &Question,
) -> Result<Egress, NoEgress> {
    let _ = (plan, fib, view, identity, question);
    todo!()
}

/// A rule's `egress`: never silently another socket.
///
/// # Errors
/// The listener that the rule names cannot reach the next hop, or there is none.
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
