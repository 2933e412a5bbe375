//! The automatic choice: what the kernel would choose, as far as listeners allow.

use super::trace::Observer;
use super::{Egress, NoEgress, Question, View};
use crate::fib::Fib;
use crate::plan::Plan;

/// The automatic choice (design section 5, "Auto"), with `[egress] no_listener` applied.
///
/// # Errors
/// Why nothing was found, of the first class of listeners that was asked.
pub fn auto(plan: &Plan, fib: &Fib, view: &View, question: &Question) -> Result<Egress, NoEgress> {
    auto_observed(plan, fib, view, question, &mut ())
}

/// [`auto`], and tells `observer` what was looked at on the way.
///
/// # Errors
/// As [`auto`].
pub fn auto_observed(
    plan: &Plan,
    fib: &Fib,
    view: &View,
    question: &Question,
    observer: &mut impl Observer,
) -> Result<Egress, NoEgress> {
    let _ = (plan, fib, view, question, observer);
    todo!()
}
