//! The configuration held against the kernel: [`crate::findings`] with their places in the file.

use std::ops::Range;

use super::Places;
use super::diagnostic::Findings;
use crate::dns::Directory;
use crate::egress::View;
use crate::fib::Fib;
use crate::findings::{Code, Examiner, Subject};
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
            Subject::Listener(id, _) => of_listener(places, usize::from(id.0), finding.code),
            Subject::Rule(id, _) => usize::try_from(id.0).ok().and_then(|at| places.rules.get(at)),
            Subject::HostName(name) => places.hosts.get(name),
        };
        findings.of_host(place.cloned().unwrap_or(0..0), finding);
    }
}

/// What is so of a listener's device stands where that is named.
fn of_listener(places: &Places, number: usize, code: Code) -> Option<&Range<usize>> {
    let is_of_the_device = matches!(code, Code::DeviceAbsent | Code::DeviceDown);
    let device = places.devices.get(number).and_then(Option::as_ref).filter(|_| is_of_the_device);
    device.or_else(|| places.listeners.get(number))
}
