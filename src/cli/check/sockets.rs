//! `check --sockets`: whether `run` could have its sockets here and now.

use crate::config::{Diagnostic, Findings, Places, Severity};
use crate::control::trial::{self, Holder, Trial};
use crate::findings::Subject;
use crate::plan::{Listener, Plan};

const RUNNING: &str = "port-running";
const IN_USE: &str = "port-in-use";
const PRIVILEGED: &str = "port-privileged";
const REFUSED: &str = "socket-refused";

/// The codes of what is found here.
pub const CODES: [&str; 4] = [RUNNING, IN_USE, PRIVILEGED, REFUSED];

/// So many addresses of a finding are named.
const NAMED: usize = 4;

/// Asks for every socket and adds what stands against some. The answers in a word each, by listener.
pub fn examine(plan: &Plan, places: &Places, findings: &mut Findings) -> Vec<&'static str> {
    let (trials, admin) = trial::sockets(plan);
    for (section, place) in plan.sections.iter().zip(&places.listeners) {
        let asked = plan.listeners.iter().zip(&trials).filter(|(listener, _)| listener.section == section.id);
        for (obstacle, listeners) in obstacles(plan, asked) {
            let subject = Subject::Listener(section.id, section.name.clone());
            let hint = format!("{}; {}", obstacle.remedy(listeners[0]), obstacle.follows);
            let message = format!("{subject}: {}", obstacle.of(&addresses(&listeners)));
            obstacle.add(findings, place, message, hint).subject = Some(subject);
        }
    }
    if let Some((address, trial)) = plan.admin.zip(admin)
        && let Some(obstacle) = Obstacle::of_trial(&trial, true)
    {
        let message = obstacle.of(&format!("the admin address {address}"));
        let hint = format!("[admin] listen names another, or \"off\"; {}", obstacle.follows);
        obstacle.add(findings, &places.admin, message, hint);
    }
    trials.iter().map(word).collect()
}

/// Stable: JSON's `socket`.
fn word(trial: &Trial) -> &'static str {
    match trial {
        Trial::Free => "free",
        Trial::Later => "later",
        Trial::Taken(who) | Trial::Shared(who) if is_running(who) => "running",
        Trial::Taken(_) => "in use",
        Trial::Shared(_) => "shared",
        Trial::Privileged => "privileged",
        Trial::Refused(_) => "refused",
    }
}

/// Nobody but a `viaduct run` has it, which keeps it over a reload.
fn is_running(who: &[Holder]) -> bool {
    !who.is_empty() && who.iter().all(Holder::is_run)
}

/// What stands against a socket, told around its address.
#[derive(Debug, PartialEq, Eq)]
struct Obstacle {
    severity: Severity,
    code: &'static str,
    before: String,
    after: String,
    follows: &'static str,
}

/// Each obstacle with the listeners that it stands against, as they come.
fn obstacles<'a>(
    plan: &Plan,
    asked: impl Iterator<Item = (&'a Listener, &'a Trial)>,
) -> Vec<(Obstacle, Vec<&'a Listener>)> {
    let mut found: Vec<(Obstacle, Vec<&Listener>)> = Vec::new();
    for (listener, trial) in asked {
        let Some(obstacle) = Obstacle::of_trial(trial, plan.is_needed(listener)) else { continue };
        match found.iter_mut().find(|(known, _)| *known == obstacle) {
            Some((_, listeners)) => listeners.push(listener),
            None => found.push((obstacle, vec![listener])),
        }
    }
    found
}

fn addresses(listeners: &[&Listener]) -> String {
    let named: Vec<String> = (listeners.iter().take(NAMED))
        .map(|listener| format!("{}:{}", listener.transport, listener.bind))
        .collect();
    match listeners.len() - named.len() {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

impl Obstacle {
    fn of_trial(trial: &Trial, is_needed: bool) -> Option<Self> {
        let (severity, follows) = match is_needed {
            true => (Severity::Error, "`run` does not start without it"),
            false => (Severity::Warning, "`run` starts without it, and tries again every second"),
        };
        let none = String::new();
        let (severity, code, before, after, follows) = match trial {
            Trial::Free | Trial::Later => return None,
            Trial::Taken(who) | Trial::Shared(who) if is_running(who) => {
                let follows = "a second `run` beside it would not have it for itself";
                (Severity::Note, RUNNING, have(who), none, follows)
            }
            Trial::Taken(who) => (severity, IN_USE, have(who), none, follows),
            Trial::Shared(who) => {
                let after = ", and shares it with others of this user (SO_REUSEPORT)".into();
                let follows = "`run` starts beside it, and each of them gets a part of what comes";
                (Severity::Warning, IN_USE, have(who), after, follows)
            }
            Trial::Privileged => {
                let needs = ": it needs CAP_NET_BIND_SERVICE (or sysctl net.ipv4.ip_unprivileged_port_start)";
                (severity, PRIVILEGED, "this user may not have".into(), needs.to_owned(), follows)
            }
            Trial::Refused(why) => {
                (severity, REFUSED, "there is no socket for".into(), format!(": {why}"), follows)
            }
        };
        Some(Self { severity, code, before, after, follows })
    }

    fn of(&self, addresses: &str) -> String {
        format!("{} {addresses}{}", self.before, self.after)
    }

    /// What to do for such a listener.
    fn remedy(&self, listener: &Listener) -> String {
        match self.code {
            RUNNING => "a reload keeps it".into(),
            IN_USE => {
                let port = listener.bind.port();
                format!(
                    "end that process (root sees it by: ss -lutnp 'sport = :{port}'), or choose another port"
                )
            }
            PRIVILEGED => {
                "ask as the user that Viaduct runs as; a service has it by AmbientCapabilities=".into()
            }
            _ => "mend the cause, or change the listener".into(),
        }
    }

    fn add<'a>(
        &self,
        findings: &'a mut Findings,
        place: &std::ops::Range<usize>,
        message: String,
        hint: String,
    ) -> &'a mut Diagnostic {
        let finding = match self.severity {
            Severity::Error => findings.error(place.clone(), message, hint),
            Severity::Warning => findings.warn(place.clone(), message, hint),
            Severity::Note => findings.note(place.clone(), message, hint),
        };
        finding.code(self.code)
    }
}

/// Who has it, as far as that is known.
fn have(who: &[Holder]) -> String {
    let names: Vec<String> = who.iter().map(ToString::to_string).collect();
    match &names[..] {
        [] => "another process has".into(),
        [one] => format!("{one} has"),
        several => format!("{} have", several.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_needed_is_a_warning_and_what_can_be_had_is_nothing() {
        assert_eq!(Obstacle::of_trial(&Trial::Free, true), None);
        assert_eq!(Obstacle::of_trial(&Trial::Later, true), None);
        let unknown = Trial::Taken(Vec::new());
        let needed = Obstacle::of_trial(&unknown, true).expect("an obstacle");
        assert_eq!(
            (needed.severity, needed.code, word(&unknown)),
            (Severity::Error, "port-in-use", "in use")
        );
        assert_eq!(needed.of("udp:192.0.2.1:5060"), "another process has udp:192.0.2.1:5060");
        let shared = Obstacle::of_trial(&Trial::Shared(Vec::new()), true).expect("an obstacle");
        assert_eq!((shared.severity, shared.code), (Severity::Warning, "port-in-use"), "`run` starts");
        assert!(shared.follows.contains("a part of what comes"), "{shared:?}");
        let extra = Obstacle::of_trial(&Trial::Privileged, false).expect("an obstacle");
        assert_eq!((extra.severity, extra.code), (Severity::Warning, "port-privileged"));
        let refused = Obstacle::of_trial(&Trial::Refused("it rains".into()), true).expect("an obstacle");
        assert_eq!(refused.of("tcp:192.0.2.1:5060"), "there is no socket for tcp:192.0.2.1:5060: it rains");
    }
}
