//! `viaduct check`: hold a configuration against the live kernel.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use annotate_snippets::Renderer;
use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use super::{CONFIGURATION, FAILED, output};
use crate::config::{self, Findings, Loaded, Severity};
use crate::control::{self, netlink};
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

Examples:
  viaduct check -c viaduct.toml
  viaduct check -c viaduct.toml --json | jq '.findings[].message'")]
pub struct Args {
    /// Configuration file
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// Findings as JSON on standard output
    #[arg(long)]
    pub json: bool,
}

/// Prints the findings; 0 ok, 78 not.
pub fn execute(args: Args) -> ExitCode {
    let fib = match netlink::dump(0) {
        Ok(fib) => fib,
        Err(error) => {
            output::tell(format_args!("viaduct check: {error}"));
            return FAILED.into();
        }
    };
    let resolve = |plan: &Plan| control::names_now(plan, NAMES_WITHIN).ok();
    let (plan, findings) = match config::load_resolving(&args.config, &fib, &resolve) {
        Ok(loaded) => with_keys(loaded),
        Err(findings) => (None, findings),
    };
    let told = match args.json {
        true => format!("{:#}\n", as_json(plan.as_ref(), &findings, &fib)),
        false => findings.render(&Renderer::styled()) + &summary(plan.as_ref(), &findings, &fib),
    };
    output::print(told, if plan.is_some() { ExitCode::SUCCESS } else { CONFIGURATION.into() })
}

/// What the key file has to be.
const KEY_FILE: &str =
    "the user that Viaduct runs as owns the file, and alone; where there is none, `run` makes it";

/// Looks at the key file, without which the configuration is not used.
fn with_keys(loaded: Loaded) -> (Option<Plan>, Findings) {
    let Loaded { plan, warnings: mut findings, places } = loaded;
    match plan.keys_file.as_deref().map(|path| Keys::check(path, SystemTime::now())) {
        None => {}
        Some(Ok(warnings)) => warnings.into_iter().for_each(|warning| {
            findings.warn(places.keys.clone(), warning, KEY_FILE).code("key-file");
        }),
        Some(Err(error)) => {
            findings.error(places.keys, error.to_string(), KEY_FILE).code("key-file");
            return (None, findings);
        }
    }
    (Some(plan), findings)
}

fn summary(plan: Option<&Plan>, findings: &Findings, fib: &Fib) -> String {
    let count = |severity| findings.list().iter().filter(|f| f.severity == severity).count();
    let errors = count(Severity::Error);
    let counts = [("error", errors), ("warning", count(Severity::Warning)), ("note", count(Severity::Note))];
    let counts =
        counts.map(|(what, count)| format!("{count} {what}{}", if count == 1 { "" } else { "s" })).join(", ");
    let mut out = String::new();
    if let Some(plan) = plan {
        tables(plan, fib, &mut out);
    }
    let verdict = if errors == 0 { format!("{GOOD}ok{GOOD:#}") } else { format!("{BAD}not ok{BAD:#}") };
    // Writing to a String does not fail.
    let _ = writeln!(out, "{}: {verdict} ({counts})", findings.origin());
    out
}

fn tables(plan: &Plan, fib: &Fib, out: &mut String) {
    let view = View::new(plan, fib);
    let _ = writeln!(out, "{BOLD}{:<24} {:<34} {:<14} advertised{BOLD:#}", "listener", "bound to", "state");
    for listener in &plan.listeners {
        let bound = format!("{}:{}", listener.transport, listener.bind);
        let advertised: Vec<&str> = listener.advertise.iter().map(|a| &*a.text).collect();
        let state = view.state(listener.id).label();
        let _ = writeln!(out, "{:<24} {bound:<34} {state:<14} {}", listener.name, advertised.join(", "));
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
        Action::Forward { to, egress, mode, .. } => {
            let name = |target: &Target| match target {
                Target::RequestUri => "the Request-URI".to_owned(),
                Target::Group { name, .. } => format!("the group {name}"),
                Target::Address { uri, .. } | Target::Name { uri, .. } => uri.to_string(),
            };
            let names: Vec<String> = to.iter().map(name).collect();
            let to = format!("to {}", names.join(", then "));
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

fn as_json(plan: Option<&Plan>, findings: &Findings, fib: &Fib) -> Value {
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
        json!({
            "name": listener.name, "transport": listener.transport.as_str(),
            "address": listener.bind.ip().to_string(), "port": listener.bind.port(),
            "device": listener.device, "mark": listener.mark, "advertised": advertised, "state": state,
        })
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
        "ok": plan.is_some(), "findings": all, "listeners": listeners, "groups": groups, "rules": rules,
        "limits": limits, "overload": { "max_wait_ms": wait_ms },
    })
}
