//! `[[route]]`: conditions and actions.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use super::attempts;
use super::diagnostic::Findings;
use super::groups::Groups;
use super::listeners::Names;
use super::read::{Entry, Section};
use super::when::{self, Written};
use super::{egress, limits, mode, set, target};
use crate::limits::RULES;
use crate::net::Transport;
use crate::overload::{LimitId, Limits, Owner};
use crate::rules::{
    Action, EgressChoice, Matcher, Mode, Pattern, PatternError, Rule, RuleId, Set, Target, When, shadowed,
};

/// Rules with the places that findings about them have in the file.
#[derive(Default)]
pub(super) struct Read {
    pub rules: Vec<Rule>,
    /// Of each rule its `to` (all of it where it has none).
    pub places: Vec<Range<usize>>,
    /// Of each rule.
    patterns: Vec<Written>,
    /// Of each rule: its conditions are what the file means.
    sound: Vec<bool>,
}

/// All rules.
pub(super) fn build(
    entry: Option<Entry<'_>>,
    names: &Names,
    groups: &Groups,
    limits: &mut Limits,
    findings: &mut Findings,
) -> Read {
    let sections = entry.map(|e| e.sections("[[route]]", findings)).unwrap_or_default();
    let mut read = Read::default();
    let mut taken = HashSet::new();
    if sections.len() > RULES {
        findings.error(
            0..0,
            format!("more than {RULES} rules"),
            "conditions take lists: put those together that do the same",
        );
        return read;
    }
    for (number, mut section) in sections.into_iter().enumerate() {
        section.has_within("when", &when::KEYS);
        let whole = section.span.clone();
        let (line, _) = findings.line_column(whole.start);
        let name = name(&mut section, number, &mut taken, findings);
        let mut place = whole;
        let reader = Reader { names, groups };
        let mut patterns = Written::new();
        let whens = when::Reader { names, peers: &limits.peers };
        let conditions = whens.conditions(section.take("when"), &mut patterns, findings);
        let set = section.take("set");
        let action = reader.action(conditions.sound(), &mut section, &mut place, findings);
        let set = set.and_then(|entry| reader.set(&entry, conditions.sound(), action.as_ref(), findings));
        let limit = section.take("limit");
        section.finish(findings);
        let limit = limit_of(limit, &name, action.as_ref(), limits, findings);
        let id = RuleId(read.rules.len() as u32);
        if let Some(action) = action {
            limits.routes.push(limit);
            read.rules.push(Rule { id, name, line: line as u32, when: conditions.when, action, set });
            read.places.push(place);
            read.patterns.push(patterns);
            read.sound.push(conditions.is_sound);
        }
    }
    warn_of_transports(&read, names, findings);
    read
}

/// A key of a route that sends nothing on.
fn means_nothing(entry: &Entry<'_>, findings: &mut Findings) {
    findings.error(
        entry.span.clone(),
        format!("`{}` means nothing without `to`", entry.key),
        "leave it out, or say where requests go",
    );
}

/// What may go by the rule.
fn limit_of(
    entry: Option<Entry<'_>>,
    name: &str,
    action: Option<&Action>,
    limits: &mut Limits,
    findings: &mut Findings,
) -> Option<LimitId> {
    if let (Some(entry), Some(Action::Reject(_) | Action::Drop)) = (&entry, action) {
        means_nothing(entry, findings);
        return None;
    }
    limits::read(entry, Owner::Route, name, limits, findings)
}

/// A name of its own; `number` rules come before.
fn name(
    section: &mut Section<'_>,
    number: usize,
    taken: &mut HashSet<Box<str>>,
    findings: &mut Findings,
) -> Box<str> {
    let text = section.take("name").and_then(|e| e.text(findings));
    let (name, span): (Box<str>, _) = match text {
        Some(text) => (text.text.into(), text.span),
        None => (format!("route-{}", number + 1).into(), section.span.clone()),
    };
    if !taken.insert(name.clone()) {
        findings.error(
            span,
            format!("there are two routes «{name}»"),
            "give one of them another name: logs and metrics tell them apart by it",
        );
    }
    name
}

/// Compiles the conditions and tells which rules can never match.
pub(super) fn compile(read: &Read, findings: &mut Findings) -> Option<Matcher> {
    let Read { rules, places, .. } = read;
    let place = |id: RuleId| places.get(id.0 as usize).cloned().unwrap_or(0..0);
    for (rule, by) in shadowed(read.sound().map(|(rule, _)| rule)) {
        let (rule, by) = (&rules[rule.0 as usize], &rules[by.0 as usize]);
        let takes = if rule.when == by.when { "has the same conditions" } else { "takes all its requests" };
        let (name, line) = (&by.name, by.line);
        let message = format!("the route «{}» can never match: «{name}» (line {line}) {takes}", rule.name);
        let hint = format!("put it before «{name}», or delete it");
        findings.warn(place(rule.id), message, hint).code("shadowed-rule");
    }
    match Matcher::compile(rules) {
        Ok(matcher) => Some(matcher),
        Err(error) => {
            let message =
                format!("`{}`: the pattern «{}» {}", error.key, error.pattern, verb(&error.message));
            findings.error(
                read.place_of(&error),
                message,
                "the syntax is that of the Rust regex crate, on bytes: '^\\*33[0-9]+$'",
            );
            None
        }
    }
}

impl Read {
    /// The rules whose conditions are what the file means, with their places.
    fn sound(&self) -> impl Iterator<Item = (&Rule, &Range<usize>)> {
        let all = self.rules.iter().zip(&self.places).zip(&self.sound);
        all.filter_map(|(rule, is_sound)| is_sound.then_some(rule))
    }

    /// Where the pattern stands.
    fn place_of(&self, error: &PatternError) -> Range<usize> {
        let rule = error.rule.0 as usize;
        let all = self.patterns.get(rule).into_iter().flatten();
        let own = |(key, pattern, _): &&(&str, Pattern, Range<usize>)| {
            *key == error.key && pattern.0 == error.pattern
        };
        let found = all.clone().find(own).map(|(.., place)| place);
        found.or_else(|| self.places.get(rule)).cloned().unwrap_or(0..0)
    }
}

fn verb(message: &str) -> String {
    if message.starts_with("needs") { message.to_owned() } else { format!("is not valid: {message}") }
}

/// A rule on a transport that no listener has cannot match.
fn warn_of_transports(read: &Read, names: &Names, findings: &mut Findings) {
    for (rule, place) in read.sound() {
        let served = |t: &Transport| names.sections().iter().any(|s| s.serves(*t));
        // Where the rule names listeners, theirs count: see `contradictions`.
        let is_any_listener = rule.when.listener.is_empty() && !rule.when.transport.is_empty();
        if is_any_listener && !rule.when.transport.iter().any(served) {
            let wanted: Vec<&str> = rule.when.transport.iter().map(|t| t.as_str()).collect();
            findings
                .warn(
                    place.clone(),
                    format!(
                        "the route «{}» can never match: no listener has the transport {}",
                        rule.name,
                        wanted.join(", ")
                    ),
                    "write a [[listener]] of that transport, or leave it out of `when`",
                )
                .code("rule-without-listener");
        }
    }
}

struct Reader<'a> {
    names: &'a Names,
    groups: &'a Groups,
}

/// What a route says besides `to`.
struct Way<'d> {
    egress: Option<Entry<'d>>,
    mode: Option<Entry<'d>>,
    record_route: Option<Entry<'d>>,
    attempts: attempts::Keys<'d>,
}

impl Reader<'_> {
    fn action(
        &self,
        when: Option<&When>,
        section: &mut Section<'_>,
        place: &mut Range<usize>,
        findings: &mut Findings,
    ) -> Option<Action> {
        let (to, reject, drop) = (section.take("to"), section.take("reject"), section.take("drop"));
        let egress = section.take("egress");
        let mode = section.take("mode");
        let record_route = section.take("record_route");
        let attempts = attempts::Keys::take(section);
        let given: Vec<&str> = [("to", &to), ("reject", &reject), ("drop", &drop)]
            .iter()
            .filter(|(_, e)| e.is_some())
            .map(|(k, _)| *k)
            .collect();
        if given.len() != 1 {
            let message = match given.len() {
                0 => "this route says neither `to` nor `reject` nor `drop`".to_owned(),
                _ => format!("`{}` contradict each other", given.join("` and `")),
            };
            findings.error(section.span.clone(), message, "a route does one of the three");
            return None;
        }
        if let Some(to) = to {
            *place = to.span.clone();
            return self.forward(when, &to, Way { egress, mode, record_route, attempts }, findings);
        }
        for entry in [&egress, &mode, &record_route].into_iter().flatten().chain(attempts.given()) {
            means_nothing(entry, findings);
        }
        match (reject, drop) {
            (Some(entry), _) => {
                let status = entry.number(300..700, findings)?;
                Some(Action::Reject(status.try_into().ok()?))
            }
            (None, Some(entry)) => {
                if entry.boolean(findings)? {
                    return Some(Action::Drop);
                }
                findings.error(entry.span, "`drop = false` does nothing", "write drop = true, or `to`");
                None
            }
            (None, None) => None,
        }
    }

    /// What is changed in what is sent on.
    fn set(
        &self,
        entry: &Entry<'_>,
        when: Option<&When>,
        action: Option<&Action>,
        findings: &mut Findings,
    ) -> Option<Arc<Set>> {
        let set = set::read(entry, when, findings)?;
        match action {
            Some(Action::Reject(_) | Action::Drop) => means_nothing(entry, findings),
            Some(Action::Forward { mode: Mode::Stateless, .. })
                if set.changes_uri() && when.is_some_and(|when| !when.header.is_empty()) =>
            {
                let message = "the Request-URI is changed where a header is there: a CANCEL may lack it";
                let hint = "its CANCEL must have the Request-URI of the INVITE that was sent on (RFC 3261 §9.1): write \
                            mode = \"stateful\", or leave the header out of `when`";
                findings.warn(entry.span.clone(), message, hint).code("set-by-header");
            }
            Some(Action::Forward { .. }) | None => {}
        }
        Some(Arc::new(set))
    }

    fn forward(
        &self,
        when: Option<&When>,
        to: &Entry<'_>,
        way: Way<'_>,
        findings: &mut Findings,
    ) -> Option<Action> {
        let Way { egress, mode, record_route, attempts } = way;
        let targets = target::read(to, self.groups, findings);
        let egress = match egress {
            Some(entry) => {
                let choice = egress::read(&entry, self.names, findings)?;
                for target in targets.iter().flatten() {
                    self.check_egress(target, &choice, &entry, findings);
                }
                Some(choice)
            }
            None => None,
        };
        let written = mode.and_then(|e| e.text(findings));
        let stateless = written.as_ref().filter(|text| text.text == Mode::Stateless.as_str());
        if let Some((text, when)) = stateless.zip(when) {
            let targets = targets.as_deref().unwrap_or_default();
            let ways = mode::Ways { names: self.names, groups: self.groups };
            ways.hold_stateless(when, targets, egress.as_ref(), text, findings);
        }
        let mode = written.map_or(Mode::default(), |text| mode::read(&text, findings));
        let record_route = record_route.and_then(|e| e.boolean(findings)).unwrap_or(true);
        let attempts = attempts.read(mode, findings);
        let to = targets?;
        Some(Action::Forward { to, egress, mode, record_route, attempts })
    }

    /// A gateway with an `egress` of its own does not care for the rule's.
    fn check_egress(
        &self,
        target: &Target,
        choice: &EgressChoice,
        entry: &Entry<'_>,
        findings: &mut Findings,
    ) {
        let Target::Group { id, .. } = target else {
            return egress::check(target, choice, self.names, entry, findings);
        };
        for gateway in self.groups.group(*id).gateways.iter().filter(|gateway| gateway.egress.is_none()) {
            egress::check(&gateway.to, choice, self.names, entry, findings);
        }
    }
}
