//! The configuration held against the kernel: [`crate::findings`] with their places in the file.

use super::Places;
use super::diagnostic::Findings;
use crate::dns::Directory;
use crate::egress::View;
use crate::fib::Fib;
use crate::findings::{Examiner, Subject};
use crate::plan::Plan;

/// Adds what does not fit this host. An override with a literal next hop that it cannot reach is an error;
/// everything else is a warning or a note, because links and routes come and go. `names`: what was resolved.
pub fn hold_against(
    plan: &Plan,
    places: &Places,
    fib: &Fib,
    names: Option<&Directory>,
    findings: &mut Findings,
) {
    let view = View::new(plan, fib);
    let examiner = match names {
        Some(names) => Examiner::with_names(plan, fib, &view, names),
        None => Examiner::new(plan, fib, &view),
    };
    for finding in examiner.all() {
        let place = match &finding.subject {
            Subject::Host => None,
            Subject::Listener(id, _) => places.listeners.get(usize::from(id.0)),
            Subject::Rule(id, _) => usize::try_from(id.0).ok().and_then(|at| places.rules.get(at)),
            Subject::HostName(name) => places.hosts.get(name),
        };
        findings.of_host(place.cloned().unwrap_or(0..0), finding);
    }
}
