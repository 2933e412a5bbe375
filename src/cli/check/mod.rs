//! `viaduct check`: hold a configuration against the live kernel.

mod sockets;

pub use sockets::CODES as SOCKET_CODES;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use annotate_snippets::Renderer;
use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use super::as_user::AsUser;
use super::{CONFIGURATION, FAILED, output};
use crate::config::{self, Findings, Loaded, Places, Severity};
use crate::control;
use crate::egress::View;
use crate::fib::Fib;
use crate::group::Member;
use crate::plan::{Gateway, Group, Listener, Plan};
use crate::rules::{Action, EgressChoice, Mode, Rule, Target};
use crate::token::Keys;

/// So long names may take to be resolved.
const NAMES_WITHIN: Duration = Duration::from_secs(3);

const BOLD: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// Compiles a configuration and holds it against this host's routing
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Errors keep the configuration from being used (exit code 78). Warnings do not: addresses, links and
routes come and go.

With --sockets it also says of each listener and of the admin address whether `run` could have the
socket here and now: which other process has the port (root is told of all), and whether this user
may have it; ask as the user that Viaduct runs as. Nothing is taken from anybody, and what a running
Viaduct has is no error. Exit code 1: one that `run` does not start without cannot be had.

Examples:
  viaduct check -c viaduct.toml
  viaduct check -c viaduct.toml --sockets
  viaduct check -c viaduct.toml --json | jq '.findings[].message'")]
pub struct Args {
    /// Configuration file
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// Also try whether the sockets can be had here and now, which disturbs nobody
    #[arg(long)]
    pub sockets: bool,
    /// Whose sockets are meant
    #[command(flatten)]
    pub user: AsUser,
    /// Findings as JSON on standard output
    #[arg(long)]
    pub json: bool,
}

/// Prints the findings; 0 ok, 78 not; 1: a socket that is needed cannot be had.
pub fn execute(args: Args) -> ExitCode {
    let fib = match control::netlink::dump(0) {
        Ok(fib) => args.user.of(fib),
        Err(error) => {
            output::tell(format_args!("viaduct check: {error}"));
            return FAILED.into();
        }
    };
    let checked = Checked::new(&args, &fib);
    let told = match args.json {
        true => format!("{:#}\n", checked.as_json(&fib)),
        false => checked.findings.render(&Renderer::styled()) + &checked.summary(&fib),
    };
    output::print(told, checked.exit_code())
}

/// What a file comes to.
struct Checked {
    /// None: it is not used.
    plan: Option<Plan>,
    findings: Findings,
    /// A word for each listener's socket, where that was asked for.
    sockets: Option<Vec<&'static str>>,
}

/// What the key file has to be.
const KEY_FILE: &str = "the user that Viaduct runs as owns the file, and alone; where there is none, `run` makes it, in a \
     folder that this user may write to";

/// What to write where there is no route.
const NO_ROUTE: &str = "write [[route]] with `to`: to = \"sip:10.0.0.100:5060\", or to = \"request-uri\"; README.md has some to copy";

/// Looks at the key file; false: the configuration is not used with it.
fn hold_keys(plan: &Plan, places: &Places, findings: &mut Findings) -> bool {
    let place = || places.keys.clone();
    match plan.keys_file.as_deref().map(|path| Keys::check(path, SystemTime::now())) {
        None => true,
        Some(Ok(warnings)) => {
            warnings.into_iter().for_each(|warning| {
                findings.warn(place(), warning, KEY_FILE).code("key-file");
            });
            true
        }
        Some(Err(error)) => {
            findings.error(place(), error.to_string(), KEY_FILE).code("key-file");
            false
        }
    }
}

impl Checked {
    fn new(args: &Args, fib: &Fib) -> Self {
        let resolve = |plan: &Plan| control::names_now(plan, NAMES_WITHIN).ok();
        let loaded = match config::load_resolving(&args.config, fib, &resolve) {
            Ok(loaded) => loaded,
            Err(findings) => return Self { plan: None, findings, sockets: None },
        };
        let Loaded { plan, warnings: mut findings, places } = loaded;
        if plan.rules.is_empty() {
            findings
                .warn(0..0, "there is no route, so every request outside of a dialog is refused", NO_ROUTE)
                .code("no-route");
        }
        let is_used = hold_keys(&plan, &places, &mut findings);
        let sockets = (is_used && args.sockets).then(|| sockets::examine(&plan, &places, &mut findings));
        Self { plan: is_used.then_some(plan), findings, sockets }
    }

    fn exit_code(&self) -> ExitCode {
        match self.plan {
            None => CONFIGURATION.into(),
            Some(_) if self.findings.has_errors() => FAILED.into(),
            Some(_) => ExitCode::SUCCESS,
        }
    }

    fn summary(&self, fib: &Fib) -> String {
        let findings = &self.findings;
        let count = |severity| findings.list().iter().filter(|f| f.severity == severity).count();
        let errors = count(Severity::Error);
        let counts =
            [("error", errors), ("warning", count(Severity::Warning)), ("note", count(Severity::Note))];
        let counts = counts
            .map(|(what, count)| format!("{count} {what}{}", if count == 1 { "" } else { "s" }))
            .join(", ");
        let mut out = String::new();
        if let Some(plan) = &self.plan {
            tables(plan, self.sockets.as_deref(), fib, &mut out);
        }
        let verdict = if errors == 0 { format!("{GOOD}ok{GOOD:#}") } else { format!("{BAD}not ok{BAD:#}") };
        // Writing to a String does not fail.
        let _ = writeln!(out, "{}: {verdict} ({counts})", findings.origin());
        out
    }
}

fn tables(plan: &Plan, sockets: Option<&[&str]>, fib: &Fib, out: &mut String) {
    let view = View::new(plan, fib);
    // A column more where sockets were asked for.
    let socket = |word: &str| sockets.map_or(String::new(), |_| format!(" {word:<10}"));
    let _ = writeln!(
        out,
        "{BOLD}{:<24} {:<34} {:<14}{} advertised{BOLD:#}",
        "listener",
        "bound to",
        "state",
        socket("socket")
    );
    for (at, listener) in plan.listeners.iter().enumerate() {
        let bound = format!("{}:{}", listener.transport, listener.bind);
        let advertised: Vec<&str> = listener.advertise.iter().map(|a| &*a.text).collect();
        let (state, word) = (view.state(listener.id).label(), sockets.map_or("", |sockets| sockets[at]));
        let (name, socket, advertised) = (&listener.name, socket(word), advertised.join(", "));
        let _ = writeln!(out, "{name:<24} {bound:<34} {state:<14}{socket} {advertised}");
    }
    groups(plan, out);
    let _ = writeln!(out, "{BOLD}{:<24} {:<34} egress{BOLD:#}", "route", "does");
    for rule in plan.rules.iter() {
        let (does, egress) = action(plan, rule);
        let _ = writeln!(out, "{:<24} {does:<34} {egress}", rule.name);
    }
    limits(plan, out);
}

fn limits(plan: &Plan, out: &mut String) {
    let policy = &plan.overload;
    for limit in &policy.limits.list {
        let _ = writeln!(out, "{BOLD}limit{BOLD:#} of {limit}");
    }
    for peer in policy.limits.peers.list().iter().filter(|peer| peer.oc) {
        let _ =
            writeln!(out, "{BOLD}overload{BOLD:#}: peer {} may ask to be sent less (RFC 7339)", peer.name);
    }
    let wait = policy.longest_wait_ns.map(|ns| format!("queues stay shorter than {} ms", ns / 1_000_000));
    let wait = wait.unwrap_or_else(|| "nothing is refused however long it waits".into());
    let _ = writeln!(out, "{BOLD}overload{BOLD:#}: {wait}");
}

fn groups(plan: &Plan, out: &mut String) {
    if !plan.groups.is_empty() {
        let _ = writeln!(
            out,
            "{BOLD}{:<24} {:<34} {:<14} egress{BOLD:#}",
            "group", "gateway", "priority, weight"
        );
    }
    for group in plan.groups.iter() {
        for (gateway, member) in group.gateways.iter().zip(&group.members) {
            let numbers = format!("{}, {}", member.priority, member.weight);
            let egress = gateway.egress.map_or("the route's".into(), |choice| egress(plan, &choice));
            let _ = writeln!(out, "{:<24} {:<34} {numbers:<16} {egress}", group.name, gateway.uri);
        }
        let asked = match &group.pinging {
            Some(pinging) => format!("asked every {} s", pinging.every_ns / 1_000_000_000),
            None => "not asked".into(),
        };
        let _ = writeln!(out, "{:<24} select {}, {asked}", "", group.select.as_str());
    }
}

fn group_as_json(plan: &Plan, group: &Group) -> Value {
    let gateway = |(gateway, member): (&Gateway, &Member)| {
        json!({
            "to": gateway.uri, "priority": member.priority, "weight": member.weight,
            "egress": gateway.egress.map(|choice| egress(plan, &choice)),
        })
    };
    let gateways: Vec<Value> = group.gateways.iter().zip(&group.members).map(gateway).collect();
    let every_s = group.pinging.as_ref().map(|pinging| pinging.every_ns / 1_000_000_000);
    json!({ "name": group.name, "select": group.select.as_str(), "gateways": gateways, "ping_every_s": every_s })
}

/// A listener to leave from, in words.
fn egress(plan: &Plan, choice: &EgressChoice) -> String {
    match choice {
        EgressChoice::Listener(id) => plan.section(*id).name.to_string(),
        EgressChoice::Relative { transport, port, address } => {
            let address = address.map_or("the receiving address".into(), |a| a.to_string());
            let port = port.map_or("its port".into(), |p| p.to_string());
            format!("{transport} from {address}, {port}")
        }
    }
}

/// What a rule does, and from where, in words.
fn action(plan: &Plan, rule: &Rule) -> (String, String) {
    match &rule.action {
        Action::Reject(status) => (format!("answers {status}"), String::new()),
        Action::Drop => ("drops".into(), String::new()),
        Action::Forward { to, egress, mode, attempts, .. } => {
            let name = |target: &Target| match target {
                Target::RequestUri => "the Request-URI".to_owned(),
                Target::Group { name, .. } => format!("the group {name}"),
                Target::Address { uri, .. } | Target::Name { uri, .. } => uri.to_string(),
            };
            let names: Vec<String> = to.iter().map(name).collect();
            let next = if attempts.forks { ", and at once " } else { ", then " };
            let to = format!("to {}", names.join(next));
            let egress = egress.map_or("automatic".to_owned(), |choice| self::egress(plan, &choice));
            let to = match &rule.set {
                Some(set) => format!("{to}, changes {set}"),
                None => to,
            };
            match mode {
                Mode::Stateless => (to, egress),
                Mode::Stateful => (to, format!("{egress}, stateful")),
            }
        }
    }
}

impl Checked {
    fn as_json(&self, fib: &Fib) -> Value {
        let (plan, findings) = (self.plan.as_ref(), &self.findings);
        let finding = |finding: &config::Diagnostic| {
            let (line, column) = findings.line_column(finding.span.start);
            let subject = finding.subject.as_ref();
            json!({
                "code": finding.code, "severity": finding.severity.label(),
                "subject": subject.map(|s| json!({ "kind": s.kind(), "name": s.name() })),
                "file": findings.origin(), "line": line, "column": column,
                "message": finding.message, "hint": finding.hint,
            })
        };
        let all: Vec<Value> = findings.list().iter().map(finding).collect();
        let view = plan.map(|plan| View::new(plan, fib));
        let listener = |listener: &Listener| {
            let state = view.as_ref().map(|view| view.state(listener.id).label());
            let advertised: Vec<&str> = listener.advertise.iter().map(|a| &*a.text).collect();
            let mut value = json!({
                "name": listener.name, "transport": listener.transport.as_str(),
                "address": listener.bind.ip().to_string(), "port": listener.bind.port(),
                "device": listener.device, "mark": listener.mark, "advertised": advertised, "state": state,
            });
            if let Some(sockets) = &self.sockets {
                value["socket"] = sockets[usize::from(listener.id.0)].into();
            }
            value
        };
        let listeners: Option<Vec<Value>> = plan.map(|plan| plan.listeners.iter().map(listener).collect());
        let rules: Option<Vec<Value>> = plan.map(|plan| {
            let rule = |rule: &Rule| {
                let (does, egress) = action(plan, rule);
                json!({ "name": rule.name, "line": rule.line, "does": does, "egress": egress })
            };
            plan.rules.iter().map(rule).collect()
        });
        let groups: Option<Vec<Value>> =
            plan.map(|plan| plan.groups.iter().map(|group| group_as_json(plan, group)).collect());
        let limits: Option<Vec<String>> =
            plan.map(|plan| plan.overload.limits.list.iter().map(ToString::to_string).collect());
        let wait_ms = plan.map(|plan| plan.overload.longest_wait_ns.map(|ns| ns / 1_000_000));
        json!({
            "ok": plan.is_some() && !findings.has_errors(), "findings": all, "listeners": listeners, "groups": groups, "rules": rules,
            "limits": limits, "overload": { "max_wait_ms": wait_ms },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fib::Builder;

    #[test]
    fn next_hops_that_are_asked_at_once_are_told_apart_from_those_in_turn() {
        let does = |more: &str| {
            let listener = "[[listener]]\nname = \"a\"\nbind = \"udp:10.0.0.4:5060\"\n";
            let route = "[[route]]\nto = [\"sip:10.0.0.8\", \"sip:10.0.0.9\"]\n";
            let text = format!("{listener}{route}{more}");
            let plan = config::from_str("test.toml", &text, &Builder::host().build()).unwrap().plan;
            action(&plan, &plan.rules[0]).0
        };
        assert_eq!(does(""), "to sip:10.0.0.8, then sip:10.0.0.9");
        assert_eq!(does("fork = true"), "to sip:10.0.0.8, and at once sip:10.0.0.9");
    }
}
