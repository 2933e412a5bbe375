//! What became of the request, and why: the answer of `explain`, and its form in JSON.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;

use crate::dns::Unresolved;
use crate::egress::{
    Candidate, Egress, NoEgress, Note, Question, Reason, Recorder, Step as Auto, auto_observed, bound_query,
};
use crate::fib::spec::Action;
use crate::fib::{self, Answer, Route};
use crate::net::{self, Now, Transport};
use crate::plan::{Listener, ListenerId};
use crate::proxy::{self, Decision, Incoming, Outcome, Reply, State};
use crate::rules::RuleId;
use crate::snapshot::Snapshot;

use super::facts::{From, NextHop, Request, RouteFacts};
use super::gateways::{self, GroupFacts};
use super::hops::{self, Hop};
use super::lookup::taken;
use super::names::{Lookups, Name, OF_MESSAGE};
use super::secured::TlsFacts;
use super::steps::{self, Step};
use super::why::{remedy, why};
use super::written::{self, Changed, Written};
use super::{limits, mode};

/// The answer. The names of its fields are a contract with scripts.
#[derive(Debug, Serialize)]
pub struct Account {
    /// `forward`, `reject`, `drop`; `answer` for a 2xx of our own.
    pub decision: &'static str,
    /// What the request said and where it came in.
    pub request: Request,
    /// The status of our own answer.
    pub status: Option<u16>,
    /// The reason phrase and the Warning of our own answer.
    pub answer: Vec<String>,
    /// Why it goes no further: the label of the drop reason.
    pub drop_reason: Option<&'static str>,
    /// The same in a sentence.
    #[serde(skip)]
    pub drop_sentence: Option<&'static str>,
    /// The rule that matched.
    pub rule: Option<String>,
    /// Why there is none, in words.
    #[serde(skip)]
    pub no_rule: &'static str,
    /// Its line in the configuration.
    pub rule_line: Option<u32>,
    /// The groups that the rule sends to.
    pub groups: Vec<GroupFacts>,
    /// The limits that the request counts against.
    pub limits: Vec<String>,
    /// What the rule's `set` changes.
    pub set: Vec<Changed>,
    /// `stateless`, `stateful`: how it is forwarded.
    pub mode: Option<&'static str>,
    /// What its transaction will do.
    pub transaction: Vec<String>,
    /// The names that it leads to, `[hosts]` apart, and what DNS says of them.
    pub names: Vec<Name>,
    /// All next hops in order, where there are several.
    pub next_hops: Vec<Hop>,
    /// What leads from one of them to the next.
    pub failover: Option<String>,
    /// Where it goes, or would have gone.
    pub next_hop: Option<NextHop>,
    /// What TLS asks of it.
    pub tls: Option<TlsFacts>,
    /// From where.
    pub egress: Option<From>,
    /// The route of the bound lookup: what the send will do.
    pub route: Option<RouteFacts>,
    /// The steps of the bound lookup: rules, tables, source.
    pub lookup: Vec<String>,
    /// The rule of the kernel that led to the route.
    #[serde(skip)]
    pub policy: Option<String>,
    /// Why no listener was found.
    pub no_egress: Option<String>,
    /// What could be done about it.
    pub remedy: Option<String>,
    /// Every step of the choice, in the order in which they are asked.
    pub steps: Vec<Step>,
    /// What the automatic choice asked with any source, class by class.
    pub questions: Vec<OpenQuestion>,
    /// Listeners that were considered, in order; those that lost say why.
    pub candidates: Vec<Considered>,
    /// The Record-Route values that would be written, top first.
    pub record_route: Vec<String>,
    /// The Via that would be written.
    pub via: Option<String>,
    /// The request line that would be sent.
    pub start_line: Option<String>,
    /// What else one should know.
    pub notes: Vec<String>,
}

/// A question with any source.
#[derive(Debug, Serialize)]
pub struct OpenQuestion {
    /// The class's mark.
    pub mark: u32,
    /// The class's device.
    pub device: Option<String>,
    /// Its route.
    pub route: Option<RouteFacts>,
    /// Why there is none.
    pub no_route: Option<String>,
}

/// A listener that was considered.
#[derive(Debug, Serialize)]
pub struct Considered {
    /// Its name.
    pub listener: String,
    /// `udp:10.0.0.4:5060`
    pub socket: String,
    /// In which step.
    pub step: &'static str,
    /// Why it lost; absent: its own lookup confirmed it.
    pub lost: Option<String>,
}

/// A shard that only thinks: what it has seen before it remembers, as the real ones do.
pub struct Thinker<'a> {
    snapshot: &'a Snapshot,
    /// The same with the names that messages have led to.
    named: Option<Snapshot>,
    state: State,
    out: Vec<u8>,
}

impl<'a> Thinker<'a> {
    /// Remembers so many transactions.
    pub fn new(snapshot: &'a Snapshot, transactions: usize) -> Self {
        let state = State::with_pins(1, snapshot, transactions);
        Self { snapshot, named: None, state, out: vec![0; crate::limits::MESSAGE_BYTES] }
    }

    /// As [`Thinker::account`], with the names that the message leads to: those that are not known yet are asked for.
    pub fn account_asking(
        &mut self,
        incoming: &Incoming<'_>,
        now: Now,
        lookups: &mut Lookups<'_>,
    ) -> Account {
        let mut account = self.account_named(incoming, now, lookups);
        let mut names = Vec::new();
        while names.len() < OF_MESSAGE
            && let Some(&(question, Unresolved::Pending)) = self.state.nowhere()
            && let Some(name) = lookups.learn(&self.snapshot.plan, question)
        {
            names.push(name);
            // What counts messages has counted this one.
            self.state.comes(true, false);
            account = self.account_named(incoming, now, lookups);
            self.state.comes(false, false);
        }
        Account { names, ..account }
    }

    fn account_named(&mut self, incoming: &Incoming<'_>, now: Now, lookups: &Lookups<'_>) -> Account {
        let names = lookups.known();
        if !Arc::ptr_eq(&self.named.as_ref().unwrap_or(self.snapshot).names, &names) {
            self.named = Some(self.snapshot.with_names(names));
        }
        self.account(incoming, now, Vec::new())
    }

    /// Hands the message to the very [`proxy::handle`] that forwards, and tells what came of it.
    pub fn account(&mut self, incoming: &Incoming<'_>, now: Now, notes: Vec<String>) -> Account {
        let Self { snapshot, named, state, out } = self;
        let snapshot = named.as_ref().unwrap_or(snapshot);
        let mut outcome = proxy::handle(state, snapshot, incoming, now, out);
        let mut account = Account::empty(snapshot, incoming, notes);
        // A running process would ask the kernel, and wait.
        if let Some(Reply::NoEgress(next_hop, NoEgress::AskKernel(_))) = state.considered().reply {
            state.comes(true, true);
            outcome = proxy::handle(state, snapshot, incoming, now, out);
            state.comes(false, false);
            if matches!(outcome, Outcome::Forward { .. }) {
                account.notes.push(passed_over(next_hop));
            }
        }
        let considered = state.considered();
        account.rule(snapshot, considered.rule);
        account.no_rule = match (&outcome, considered.reply) {
            (_, Some(Reply::NoRule | Reply::NoDialog | Reply::NoService)) => "none matches",
            (Outcome::Forward { decision, .. }, _) if decision.egress.reason == Reason::Pinned => {
                "none was asked: the transaction was decided before"
            }
            (Outcome::Forward { .. }, _) => "none was asked: the dialog's token decides",
            (Outcome::Relay { .. }, _) => "",
            _ => "none was asked",
        };
        let mut no_egress = None;
        if let Some(question) = &considered.question {
            account.next_hop(question.next_hop.transport, question.next_hop.address);
            no_egress = state.take_no_egress().map(|(_, why)| why);
            account.no_egress = no_egress.map(|why| why.in_words(&snapshot.plan, &snapshot.fib).to_string());
        }
        account.groups = gateways::all(snapshot, considered.rule, state.candidates(), &outcome);
        let egress = taken(snapshot, &considered, &outcome);
        account.outcome(snapshot, (incoming, out), &outcome, egress);
        if let Outcome::Forward { decision, .. } = &outcome {
            account.tls = TlsFacts::of(snapshot, state, decision);
        }
        account.limits = limits::told(snapshot, incoming, &considered);
        account.changes(snapshot, considered.rule, &outcome, incoming.bytes, out);
        let Some(question) = &considered.question else { return account };
        if let Some(egress) = &egress {
            account.bound_lookup(snapshot, egress.listener, question);
        }
        hops::tell(&mut account, snapshot, &considered, &outcome, state.candidates());
        if asked_automatic(&account, &outcome) {
            account.watch(snapshot, question);
        }
        account.steps = steps::all(snapshot, question, &considered, egress.ok_or(no_egress));
        account
    }
}

/// What is said of a next hop that is left out here, because nobody has asked the kernel.
fn passed_over(next_hop: net::NextHop) -> String {
    let net::NextHop { transport, address } = next_hop;
    format!(
        "only the kernel can tell the way to {transport}:{address}: a running process asks it and waits for the answer; \
         here that next hop is left out"
    )
}

/// The automatic choice was asked: it answered, it fell back, or it found nothing.
fn asked_automatic(account: &Account, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Forward { decision, .. } => {
            matches!(decision.egress.reason, Reason::Auto(_) | Reason::Fallback)
        }
        _ => account.no_egress.is_some(),
    }
}

impl Account {
    fn outcome(
        &mut self,
        snapshot: &Snapshot,
        (incoming, out): (&Incoming<'_>, &[u8]),
        outcome: &Outcome,
        egress: Option<Egress>,
    ) {
        let sent = |len: usize| out.get(..len).unwrap_or_default();
        match outcome {
            &Outcome::Forward { decision, len, .. } => {
                self.forward(snapshot, &decision, written::read(sent(len), incoming.bytes));
                if let Some(Egress { listener, reason, route }) = egress {
                    self.leaves(snapshot, listener, reason, &route);
                }
            }
            &Outcome::Answer { len, status, .. } => {
                self.decision = if status < 300 { "answer" } else { "reject" };
                self.status = Some(status);
                self.answer = written::answer(sent(len));
            }
            &Outcome::Relay { on, to, len, .. } => {
                self.relay(snapshot, on, to, written::read(sent(len), incoming.bytes));
            }
            // It keeps no transactions, so none of them is another's.
            Outcome::HandOver(_) => {}
            Outcome::Drop(reason) => {
                self.drop_reason = Some(reason.label());
                self.drop_sentence = Some(reason.describe());
                self.notes.extend(written::way_back(snapshot, incoming.bytes));
            }
        }
    }

    /// How it ends, where it is not forwarded.
    pub fn ending(&self) -> String {
        match self.answer.first() {
            Some(answer) => format!("{}: {answer}", self.decision),
            None => {
                format!("{} {}", self.decision, self.drop_reason.unwrap_or_default()).trim_end().to_owned()
            }
        }
    }

    fn empty(snapshot: &Snapshot, incoming: &Incoming<'_>, notes: Vec<String>) -> Self {
        let listener = snapshot.plan.listener(incoming.on);
        let end = incoming.bytes.windows(2).position(|w| w == b"\r\n").unwrap_or(incoming.bytes.len());
        let start_line = incoming.bytes.get(..end).unwrap_or_default();
        Self {
            decision: "drop",
            request: Request {
                start_line: String::from_utf8_lossy(start_line).into_owned(),
                source: incoming.from,
                listener: listener.name.to_string(),
                transport: listener.transport.as_str(),
            },
            status: None,
            answer: Vec::new(),
            drop_reason: None,
            drop_sentence: None,
            rule: None,
            no_rule: "",
            rule_line: None,
            groups: Vec::new(),
            limits: Vec::new(),
            set: Vec::new(),
            mode: None,
            transaction: Vec::new(),
            names: Vec::new(),
            next_hops: Vec::new(),
            failover: None,
            next_hop: None,
            tls: None,
            egress: None,
            route: None,
            lookup: Vec::new(),
            policy: None,
            no_egress: None,
            remedy: None,
            steps: Vec::new(),
            questions: Vec::new(),
            candidates: Vec::new(),
            record_route: Vec::new(),
            via: None,
            start_line: None,
            notes,
        }
    }

    fn rule(&mut self, snapshot: &Snapshot, rule: Option<RuleId>) {
        let rule = snapshot.plan.rule(rule);
        self.rule = rule.map(|rule| rule.name.to_string());
        self.rule_line = rule.map(|rule| rule.line);
    }

    /// What the rule's `set` has changed.
    fn changes(
        &mut self,
        snapshot: &Snapshot,
        rule: Option<RuleId>,
        outcome: &Outcome,
        from: &[u8],
        out: &[u8],
    ) {
        let rule = snapshot.plan.rule(rule);
        if let (Some(_), Outcome::Forward { len, .. }) = (rule.and_then(|rule| rule.set.as_ref()), outcome) {
            self.set = written::changed(out.get(..*len).unwrap_or_default(), from);
        }
    }

    fn next_hop(&mut self, transport: Transport, address: SocketAddr) {
        let (transport, port) = (transport.as_str(), address.port());
        self.next_hop = Some(NextHop { transport, address: address.ip(), port });
    }

    fn forward(&mut self, snapshot: &Snapshot, decision: &Decision, written: Written) {
        self.decision = "forward";
        self.next_hop(decision.next_hop.transport, decision.next_hop.address);
        self.mode = Some(decision.mode.as_str());
        let method = self.request.start_line.split(' ').next().unwrap_or_default();
        let timeout_ns = hops::attempts(snapshot, decision.rule).timeout_ns;
        let over = mode::Over { stream: decision.stream.is_stream(), by_size: decision.by_size };
        self.transaction = mode::in_words(decision.mode, method, timeout_ns, over);
        self.record_route = written.record_route;
        self.via = written.via;
        self.start_line = written.start_line;
    }

    fn leaves(&mut self, snapshot: &Snapshot, listener: ListenerId, reason: Reason, route: &Route) {
        let own = snapshot.plan.listener(listener);
        self.route = Some(RouteFacts::new(snapshot, route));
        self.egress = Some(From {
            listener: own.name.to_string(),
            transport: own.transport.as_str(),
            address: own.bind.ip(),
            port: own.bind.port(),
            reason: reason.label(),
            step: Some(reason.step()).filter(|step| !step.is_empty()),
            why: why(reason, self.rule.as_deref(), &route_device(snapshot, route)),
        });
    }

    /// Asks the bound lookup again, with all its steps.
    fn bound_lookup(&mut self, snapshot: &Snapshot, listener: ListenerId, question: &Question) {
        let own = snapshot.plan.listener(listener);
        let Ok(query) = bound_query(&snapshot.fib, &snapshot.view, own, question) else { return };
        let (answer, steps) = snapshot.fib.lookup_traced(&query);
        self.lookup = steps.iter().map(|step| step.in_words().to_string()).collect();
        // Without rules of the operator's the kernel keeps `main` in one with `local`: then the rule that
        // was asked is not the one that people know, and tells them nothing.
        let led = steps.iter().rfind(|step| match (step, answer) {
            (fib::Step::Rule { action: Action::Table(table), .. }, Answer::Route(route)) => {
                *table == route.table
            }
            _ => false,
        });
        self.policy = led.map(|step| step.in_words().to_string());
    }

    /// A response: it goes back by its token; no rule and no choice takes part.
    fn relay(&mut self, snapshot: &Snapshot, on: ListenerId, to: SocketAddr, written: Written) {
        self.decision = "forward";
        let own = snapshot.plan.listener(on);
        self.next_hop(own.transport, to);
        self.egress = Some(From {
            listener: own.name.to_string(),
            transport: own.transport.as_str(),
            address: own.bind.ip(),
            port: own.bind.port(),
            reason: Reason::Response.label(),
            step: None,
            why: why(Reason::Response, None, ""),
        });
        self.start_line = written.start_line;
    }

    /// Asks the automatic choice again, with somebody who takes notes.
    fn watch(&mut self, snapshot: &Snapshot, question: &Question) {
        let Snapshot { plan, fib, view, .. } = snapshot;
        let mut recorder = Recorder::default();
        // What it answers is known already: it is the same code that was asked before.
        let _ = auto_observed(plan, fib, view, question, &mut recorder);
        if self.no_egress.is_some() {
            self.remedy = remedy(snapshot, question, &recorder.0);
        }
        for note in recorder.0 {
            match note {
                Note::Class { query, answer, .. } => {
                    self.questions.push(OpenQuestion {
                        mark: query.mark,
                        device: Some(query.oif)
                            .filter(|&index| index != 0)
                            .and_then(|index| fib.link_name(index))
                            .map(str::to_owned),
                        route: match answer {
                            Answer::Route(route) => Some(RouteFacts::new(snapshot, &route)),
                            Answer::No(_) | Answer::AskKernel => None,
                        },
                        no_route: match answer {
                            Answer::Route(_) => None,
                            Answer::No(why) => Some(why.in_words().into()),
                            Answer::AskKernel => Some(
                                crate::egress::NoEgress::AskKernel(query).in_words(plan, fib).to_string(),
                            ),
                        },
                    });
                }
                Note::Candidate(Candidate { listener, step, lost }) => {
                    let own = plan.listener(listener);
                    let lost = lost.map(|why| why.in_words(own, fib).to_string());
                    self.candidates.push(Considered::new(own, step, lost));
                }
            }
        }
        self.not_asked(snapshot, question);
    }

    /// Every listener has its reason, those that nobody asked, too.
    fn not_asked(&mut self, snapshot: &Snapshot, question: &Question) {
        let Snapshot { plan, fib, view, .. } = snapshot;
        let asked: Vec<String> = self.candidates.iter().map(|c| c.listener.clone()).collect();
        let others = plan.listeners_for(question.next_hop.transport);
        for own in others.filter(|own| !asked.iter().any(|name| **name == *own.name)) {
            let lost = match crate::egress::confirm(plan, fib, view, own.id, question) {
                Err(why) => why.in_words(own, fib).to_string(),
                Ok(route) => match self.no_egress {
                    Some(_) => format!("could send {}, but no step chose it", route.in_words(fib)),
                    None => format!("could send {}, but another one comes first", route.in_words(fib)),
                },
            };
            self.candidates.push(Considered::new(own, Auto::Source, Some(lost)).unasked());
        }
    }
}

impl Considered {
    pub(super) fn new(own: &Listener, step: Auto, lost: Option<String>) -> Self {
        Self {
            listener: own.name.to_string(),
            socket: format!("{}:{}", own.transport, own.bind),
            step: Reason::Auto(step).step(),
            lost,
        }
    }

    /// The same, in no step of the automatic choice.
    pub(super) fn unasked(self) -> Self {
        Self { step: "", ..self }
    }
}

fn route_device(snapshot: &Snapshot, route: &Route) -> String {
    snapshot.fib.link_name(route.dev).unwrap_or("that interface").to_owned()
}
