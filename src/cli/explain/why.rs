//! Why a listener was taken, in words.

use crate::egress::{Candidate, Note, Question, Reason, Step as Auto, Unfit, confirm};
use crate::snapshot::Snapshot;

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

/// What helps where nobody was chosen, by what was looked at.
pub(super) fn remedy(snapshot: &Snapshot, question: &Question, notes: &[Note]) -> Option<String> {
    let Snapshot { plan, fib, view, .. } = snapshot;
    let all = notes.iter().filter_map(|note| match note {
        Note::Candidate(Candidate { listener, lost, .. }) => Some((*listener, *lost)),
        Note::Class { .. } => None,
    });
    let guesses = all.clone().filter(|(_, lost)| lost.is_none()).count();
    if guesses > 1 {
        return Some(format!(
            "{guesses} listeners could send it, so a choice would be a guess: name one in a rule \
             (egress = \"NAME\") or in [egress] no_listener"
        ));
    }
    let mut strangers = all.filter(|(_, lost)| *lost == Some(Unfit::Elsewhere)).map(|(id, _)| id);
    let stranger = strangers.find(|&id| confirm(plan, fib, view, id, question).is_ok())?;
    let name = &plan.listener(stranger).name;
    Some(format!(
        "{name} could send it, and would show its address to a network that it is not of: where that is meant, name it \
         in a rule (egress = \"{name}\") or in [egress] no_listener"
    ))
}
