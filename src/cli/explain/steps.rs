//! Every step of the choice in order: what it was asked, what it answered, and which listeners lost there.
//!
//! Nothing is decided here: what the egress stage noted is put in words.

use serde::Serialize;

use crate::egress::{
    self, Candidate, Egress, NoEgress, Note, Question, Reason, Recorder, Step as Auto, Unfit, auto_observed,
    bound_query,
};
use crate::fib::{Answer, Query, Route};
use crate::net::ListenerId;
use crate::plan::{Listener, NoListener};
use crate::proxy::Considered as Seen;
use crate::rules::{Action, EgressChoice};
use crate::snapshot::Snapshot;

use super::account::Considered;
use super::lookup::Lookup;

/// One step of the choice.
#[derive(Debug, Serialize)]
pub struct Step {
    /// `1`, `2` … `5 A.1` …
    pub number: &'static str,
    /// `pinned`, `dialog`, `binding`, `override`, `eligible`, `class`, `source`, `on_device`, `elsewhere`,
    /// `bound`, `fallback`, `confirm`.
    pub step: &'static str,
    /// `decides`, `passes`, `fails`, `not asked`, `n/a`.
    pub verdict: &'static str,
    /// Why, in a clause.
    pub why: String,
    /// What the routing snapshot was asked here.
    pub lookup: Option<Lookup>,
    /// The listeners that this step looked at, and why they lost.
    pub listeners: Vec<Considered>,
}

impl Step {
    fn new(number: &'static str, step: &'static str, verdict: &'static str, why: impl Into<String>) -> Self {
        Self { number, step, verdict, why: why.into(), lookup: None, listeners: Vec::new() }
    }
}

/// All steps for a question; `chosen`: what came of it, or why nothing did.
pub fn all(
    snapshot: &Snapshot,
    question: &Question,
    seen: &Seen,
    chosen: Result<Egress, Option<NoEgress>>,
) -> Vec<Step> {
    let reason = chosen.ok().map(|egress| egress.reason);
    let teller = Teller { snapshot, question, seen, reason };
    let mut steps = vec![teller.pinned()];
    let pinned = reason == Some(Reason::Pinned);
    steps.push(teller.dialog(pinned));
    steps.push(Step::new("3", "binding", "n/a", "there is no location service in this version"));
    let (step, ended) = teller.overridden(pinned || reason == Some(Reason::Dialog));
    steps.push(step);
    if ended {
        let why = "an earlier step decides";
        steps.push(Step::new("5", "auto", "not asked", why));
    } else {
        teller.automatic(&mut steps);
        steps.push(teller.fallback());
    }
    steps.push(teller.confirm(chosen));
    steps
}

struct Teller<'a> {
    snapshot: &'a Snapshot,
    question: &'a Question,
    seen: &'a Seen,
    reason: Option<Reason>,
}

impl Teller<'_> {
    fn name(&self, listener: ListenerId) -> &str {
        &self.snapshot.plan.listener(listener).name
    }

    /// The listener cannot send there, because …
    fn unfit(&self, listener: ListenerId) -> Option<Unfit> {
        let Snapshot { plan, fib, view, .. } = self.snapshot;
        egress::confirm(plan, fib, view, listener, self.question).err()
    }

    fn words(&self, own: &Listener, why: Unfit) -> String {
        why.in_words(own, &self.snapshot.fib).to_string()
    }

    fn pinned(&self) -> Step {
        match self.reason {
            Some(Reason::Pinned) => {
                Step::new("1", "pinned", "decides", "the same transaction was decided before")
            }
            _ => Step::new("1", "pinned", "passes", "no such transaction in flight is known here"),
        }
    }

    fn dialog(&self, decided: bool) -> Step {
        let step = |verdict, why: String| Step::new("2", "dialog", verdict, why);
        if decided {
            return step("not asked", "an earlier step decides".into());
        }
        let Some(identity) = self.seen.dialog else {
            return step("passes", "no Route of ours with a valid token".into());
        };
        let Some(listener) = self.snapshot.view.by_identity(identity) else {
            return step("fails", "the token's listener is no longer in the configuration".into());
        };
        let name = self.name(listener);
        match self.reason {
            Some(Reason::Dialog) => {
                step("decides", format!("the token names the other side's listener {name}"))
            }
            _ => {
                let why = self.unfit(listener).map_or("it cannot send".into(), |why| {
                    self.words(self.snapshot.plan.listener(listener), why)
                });
                step("fails", format!("the token names {name}: {why}"))
            }
        }
    }

    /// The step, and whether the choice ends here.
    fn overridden(&self, decided: bool) -> (Step, bool) {
        let step = |verdict, why: String| Step::new("4", "override", verdict, why);
        if decided {
            return (step("not asked", "an earlier step decides".into()), true);
        }
        let plan = &self.snapshot.plan;
        let rule = plan.rule(self.seen.rule);
        let Some(rule) = rule else { return (step("passes", "no rule was asked".into()), false) };
        let Action::Forward { egress: Some(choice), .. } = &rule.action else {
            return (step("passes", format!("rule {} names no listener", rule.name)), false);
        };
        let named = match choice {
            EgressChoice::Listener(id) => plan.section(*id).name.to_string(),
            EgressChoice::Relative { transport, .. } => {
                format!("a socket over {transport} relative to where it came in")
            }
        };
        let Snapshot { plan, fib, view, .. } = self.snapshot;
        match egress::overridden(plan, fib, view, choice, self.question) {
            Ok(egress) => {
                let taken = self.name(egress.listener);
                let mut step = step("decides", format!("rule {} names {named}: {taken}", rule.name));
                let transport = self.question.next_hop.transport;
                let others = plan.listeners_for(transport).filter(|own| own.id != egress.listener);
                step.listeners = others
                    .map(|own| {
                        Considered::new(own, Auto::Source, Some("the rule names another".into())).unasked()
                    })
                    .collect();
                (step, true)
            }
            Err(why) => {
                let why = why.in_words(plan, fib);
                (step("fails", format!("rule {} names {named}: {why}", rule.name)), true)
            }
        }
    }

    fn automatic(&self, steps: &mut Vec<Step>) {
        let Snapshot { plan, fib, view, .. } = self.snapshot;
        if !plan.egress.auto {
            steps.push(Step::new("5", "auto", "fails", "switched off: [egress] auto = false"));
            return;
        }
        steps.push(self.eligible());
        let mut recorder = Recorder::default();
        // What it answers is known already: it is the same code that was asked before.
        let _ = auto_observed(plan, fib, view, self.question, &mut recorder);
        let mut rest = &recorder.0[..];
        while let Some((Note::Class { first, query, answer, .. }, after)) = rest.split_first() {
            let end = after.iter().position(|note| matches!(note, Note::Class { .. })).unwrap_or(after.len());
            let (candidates, next) = after.split_at(end);
            let asked = candidates.iter().filter_map(|note| match note {
                Note::Candidate(candidate) => Some(*candidate),
                Note::Class { .. } => None,
            });
            let class = Class { teller: self, first: *first, asked: asked.collect(), last: next.is_empty() };
            class.tell(query, answer, steps);
            rest = next;
        }
    }

    /// Which listeners may be chosen at all.
    fn eligible(&self) -> Step {
        let view = &self.snapshot.view;
        let vrf = view.vrf(self.question.ingress);
        let next_hop = &self.question.next_hop;
        let mut step = Step::new("5", "eligible", "passes", String::new());
        for own in self.snapshot.plan.listeners_for(next_hop.transport) {
            let lost = if own.transport != next_hop.transport {
                Some(format!("it speaks {}, and {} is wanted", own.transport, next_hop.transport))
            } else if own.bind.is_ipv4() != next_hop.address.is_ipv4() {
                Some("its address is of the other family".to_owned())
            } else if view.vrf(own.id) != vrf {
                Some("it is in another VRF than where the request came in".to_owned())
            } else if !view.is_up(own.id) {
                Some(format!("not up: {}", view.state(own.id).in_words()))
            } else {
                None
            };
            step.listeners.push(Considered::new(own, Auto::Source, lost).unasked());
        }
        let fit = step.listeners.iter().filter(|l| l.lost.is_none()).count();
        step.why = format!(
            "{fit} of {} listeners are up and of transport {}, family and VRF",
            step.listeners.len(),
            next_hop.transport
        );
        if fit == 0 {
            step.verdict = "fails";
        }
        step
    }

    fn fallback(&self) -> Step {
        let step = |verdict, why: String| Step::new("6", "fallback", verdict, why);
        match (self.reason, self.snapshot.plan.egress.no_listener) {
            (Some(Reason::Fallback), NoListener::Use(id)) => step(
                "decides",
                format!(
                    "nothing was found, and [egress] no_listener names {}",
                    self.snapshot.plan.section(id).name
                ),
            ),
            (Some(_), _) => step("not asked", "an earlier step decides".into()),
            (None, NoListener::Reject) => {
                step("fails", "[egress] no_listener = \"reject\": an answer 5xx".into())
            }
            (None, NoListener::Use(id)) => {
                let Snapshot { plan, fib, view, .. } = self.snapshot;
                let asked = egress::of_section(plan, fib, view, id, self.question, Reason::Fallback);
                let why =
                    asked.err().map_or("it was not asked".into(), |why| why.in_words(plan, fib).to_string());
                step("fails", format!("[egress] no_listener names {}: {why}", plan.section(id).name))
            }
        }
    }

    /// The bound lookup, which is what the send will do.
    fn confirm(&self, chosen: Result<Egress, Option<NoEgress>>) -> Step {
        let step = |verdict, why: String| Step::new("7", "confirm", verdict, why);
        let Snapshot { plan, fib, view, .. } = self.snapshot;
        match chosen {
            Ok(egress) => {
                let own = plan.listener(egress.listener);
                let name = &own.name;
                let mut step = step(
                    "decides",
                    format!("bound to {}, {name} sends {}", own.bind.ip(), egress.route.in_words(fib)),
                );
                let query = bound_query(fib, view, own, self.question).ok();
                step.lookup = query.map(|query| Lookup::new(self.snapshot, &query));
                step
            }
            Err(Some(NoEgress::Unfit(listener, why))) => {
                let own = plan.listener(listener);
                let mut step = step("fails", format!("{}: {}", own.name, self.words(own, why)));
                let query = bound_query(fib, view, own, self.question).ok().filter(|_| view.is_up(listener));
                step.lookup = query.map(|query| Lookup::new(self.snapshot, &query));
                step
            }
            Err(_) => step("not asked", "there is no listener to confirm".into()),
        }
    }
}

/// Listeners of one mark and device, and what was looked at among them.
struct Class<'a> {
    teller: &'a Teller<'a>,
    /// The first of them.
    first: ListenerId,
    asked: Vec<Candidate>,
    /// The last class that was asked: it is the one that decided, if any did.
    last: bool,
}

impl Class<'_> {
    fn tell(&self, query: &Query, answer: &Answer, steps: &mut Vec<Step>) {
        let snapshot = self.teller.snapshot;
        let first = snapshot.plan.listener(self.first);
        let tie = match (first.mark, first.device.as_deref()) {
            (None, None) => "neither mark nor device".to_owned(),
            (Some(mark), None) => format!("mark {mark}"),
            (None, Some(device)) => format!("device {device}"),
            (Some(mark), Some(device)) => format!("mark {mark} and device {device}"),
        };
        let lookup = Lookup::new(snapshot, query);
        let found = match (&lookup.route, &lookup.no_route) {
            (Some(route), _) => format!("with any source: {route}"),
            (None, why) => format!("with any source: {}", why.as_deref().unwrap_or_default()),
        };
        let why = format!("listeners with {tie}; {found}");
        steps.push(Step { lookup: Some(lookup), ..Step::new("5", "class", "passes", why) });
        let route = match answer {
            Answer::Route(route) => Some(*route),
            Answer::No(_) | Answer::AskKernel => None,
        };
        for (number, step) in [
            ("5 A.1", Auto::Source),
            ("5 A.2", Auto::OnDevice),
            ("5 A.3", Auto::Elsewhere),
            ("5 B", Auto::Bound),
        ] {
            steps.push(self.step(number, step, route.as_ref()));
        }
    }

    fn step(&self, number: &'static str, step: Auto, route: Option<&Route>) -> Step {
        let label = Reason::Auto(step).step();
        let asked: Vec<&Candidate> = self.asked.iter().filter(|c| c.step == step).collect();
        let won = asked.iter().find(|c| c.lost.is_none()).map(|c| c.listener);
        let decides = self.last && self.teller.reason == Some(Reason::Auto(step));
        let past = asked.is_empty() && !self.was_reached(step, route);
        let (verdict, why) = match (decides, won) {
            (true, Some(winner)) => ("decides", format!("{}: {}", self.teller.name(winner), meaning(step))),
            _ if past => ("not asked", self.why_not(step, route)),
            (_, Some(_)) => ("fails", "several could, and a choice among them would be a guess".to_owned()),
            (_, None) => ("fails", format!("none: {}", meaning(step))),
        };
        let mut told = Step::new(number, label, verdict, why);
        if !past {
            told.listeners = self.members().map(|own| self.member(own, step, route, won, &asked)).collect();
        }
        told
    }

    fn members(&self) -> impl Iterator<Item = &Listener> {
        let plan = &self.teller.snapshot.plan;
        let first = plan.listener(self.first);
        let key = |l: &Listener| (l.transport, l.bind.is_ipv4(), l.mark, l.device.clone());
        let wanted = key(first);
        plan.listeners.iter().filter(move |l| key(l) == wanted)
    }

    fn member(
        &self,
        own: &Listener,
        step: Auto,
        route: Option<&Route>,
        won: Option<ListenerId>,
        asked: &[&Candidate],
    ) -> Considered {
        let lost = match (asked.iter().find(|c| c.listener == own.id), route) {
            (Some(candidate), _) => candidate.lost.map(|why| self.teller.words(own, why)),
            (None, Some(route)) => Some(self.not_asked(own, step, route, won)),
            (None, None) => Some("an earlier one answered".into()),
        };
        Considered::new(own, step, lost)
    }

    /// Why a member was not even asked in this step.
    fn not_asked(&self, own: &Listener, step: Auto, route: &Route, won: Option<ListenerId>) -> String {
        let Snapshot { plan, fib, view, .. } = self.teller.snapshot;
        let dev = fib.link_name(route.dev).unwrap_or("that interface");
        let home = view.home(own.id);
        match step {
            Auto::Source if own.bind.ip() != route.source => {
                format!("its address is not the route's source {}", route.source)
            }
            Auto::Source => {
                let port = plan.listener(self.teller.question.ingress).bind.port();
                match won.map(|winner| plan.listener(winner).bind.port()) {
                    Some(winner) if winner == port && own.bind.port() != port => {
                        format!("the request came in on port {port}, and that port goes first")
                    }
                    _ => "the same address, configured later".into(),
                }
            }
            Auto::OnDevice if home != Some(route.dev) => match home.and_then(|home| fib.link_name(home)) {
                Some(home) => format!("its address lives on {home}, not on {dev}"),
                None => "its address is on no interface".into(),
            },
            Auto::Elsewhere if !view.is_up(own.id) => view.state(own.id).in_words().into(),
            Auto::Elsewhere if home == Some(route.dev) => format!("its address lives on {dev}: asked in A.2"),
            Auto::OnDevice | Auto::Elsewhere | Auto::Bound => "an earlier one answered".into(),
        }
    }

    /// The step was gone through, though perhaps nobody was there to be asked.
    fn was_reached(&self, step: Auto, route: Option<&Route>) -> bool {
        let nearest = self.teller.snapshot.plan.egress.nearest;
        let decided = |earlier: &[Auto]| {
            self.last && earlier.iter().any(|step| self.teller.reason == Some(Reason::Auto(*step)))
        };
        match step {
            Auto::Source => route.is_some(),
            Auto::OnDevice => route.is_some() && nearest && !decided(&[Auto::Source]),
            Auto::Elsewhere => route.is_some() && nearest && !decided(&[Auto::Source, Auto::OnDevice]),
            Auto::Bound => route.is_none() && nearest,
        }
    }

    fn why_not(&self, step: Auto, route: Option<&Route>) -> String {
        let why = match (step, route.is_some()) {
            (Auto::Bound, true) => "there is a route with any source",
            (Auto::Source | Auto::OnDevice | Auto::Elsewhere, false) => "there is no route with any source",
            _ if !self.teller.snapshot.plan.egress.nearest => "switched off: [egress] nearest = false",
            _ => "an earlier step decides",
        };
        why.into()
    }
}

/// What a listener has to be for this step.
fn meaning(step: Auto) -> &'static str {
    match step {
        Auto::Source => "a listener on the route's source, whose own lookup succeeds",
        Auto::OnDevice => {
            "a listener whose address lives on the route's device, and whose own lookup leaves by it"
        }
        Auto::Elsewhere => {
            "the only listener on a loopback or dummy device whose own lookup leaves by the route's device"
        }
        Auto::Bound => "the first listener whose own lookup finds a route",
    }
}
