//! Why a listener was taken, in words.

use crate::egress::{Reason, Step as Auto};

/// Why a listener was taken, in a sentence.
pub(super) fn why(reason: Reason, rule: Option<&str>, device: &str) -> String {
    match reason {
        Reason::Pinned => "the same transaction was decided before".into(),
        Reason::Dialog => "the dialog's token names it".into(),
        Reason::Binding => "the registration came in on it".into(),
        Reason::Override => format!("rule {} names it", rule.unwrap_or("(none)")),
        Reason::Auto(Auto::Source) => "the kernel's source for this destination is its address".into(),
        Reason::Auto(Auto::OnDevice) => {
            format!("the kernel's source is no listener, and its address lives on {device}, too")
        }
        Reason::Auto(Auto::Elsewhere) => {
            format!("the kernel's source is no listener, and it is the only one that would leave by {device}")
        }
        Reason::Auto(Auto::Bound) => {
            "no route without a source address, and its own is the first that has one".into()
        }
        Reason::Fallback => "nothing was found, and [egress] no_listener names it".into(),
        Reason::Response => "the request came in on it, says the token in the Via".into(),
    }
}
