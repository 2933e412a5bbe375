//! `viaduct explain`: what would happen to a request, and why.
//!
//! Asks the very [`crate::proxy::handle`] that forwards, against the configuration and the kernel's
//! routing as it is now; nothing is sent.

mod account;
mod moved;
mod request;
#[cfg(test)]
mod tests;
mod text;
mod written;

use std::borrow::Cow;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::what_if::Change;
use crate::config;
use crate::control::{self, netlink};
use crate::fib::Builder;
use crate::net::canonical;
use crate::plan::{Listener, Plan};
use crate::proxy::Incoming;
use crate::snapshot::Snapshot;
use crate::token::Keys;

use account::account;
use moved::Moved;
use request::Wanted;

/// Says what would happen to a request, and why
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Says what would happen to a request, and why: which rule, which route, which \
listener, what would be written into Via and Record-Route. Asks the code that forwards, against the \
configuration and the kernel's routing as it is now. Nothing is sent, nothing is changed.",
    after_help = "\
Examples:
  viaduct explain -c viaduct.toml --method INVITE --ruri sip:alice@10.0.0.100 \\
      --source 203.0.113.9:5060 --listener public
  viaduct explain -c viaduct.toml --ruri sip:*33123@example.net --source 203.0.113.9:5060 \\
      --listener public --header 'X-Tenant: 7'
  viaduct explain -c viaduct.toml --message captured.sip --source 203.0.113.9:5060 --listener public
  viaduct explain -c viaduct.toml --ruri sip:a@10.0.0.1 --source 203.0.113.9:5060 --json | jq .egress
  viaduct explain -c viaduct.toml --ruri sip:a@10.5.0.1 --source 203.0.113.9:5060 --listener public \\
      --what-if 'route add 10.5.0.0/16 via 10.0.0.9'"
)]
pub struct Args {
    /// Configuration file; without it the built-in default is asked
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Method of the request
    #[arg(long, default_value = "INVITE", conflicts_with = "message")]
    method: String,
    /// Request-URI
    #[arg(long, value_name = "URI", required_unless_present = "message", conflicts_with = "message")]
    ruri: Option<String>,
    /// Who sends it: IP:PORT, IPv6 in brackets
    #[arg(long, value_name = "IP:PORT")]
    source: SocketAddr,
    /// Name of the listener it comes in on; needed where there is more than one
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// A header of the request, 'Name: value'; replaces the one that would be made up; may be repeated
    #[arg(long = "header", value_name = "HEADER", conflicts_with = "message")]
    headers: Vec<String>,
    /// Read the whole message from a file (- for standard input) instead of making one up
    #[arg(long, value_name = "FILE")]
    message: Option<PathBuf>,
    /// A change of the host's routes that is only thought of, as `ip` takes it: route add|replace|del
    /// PREFIX [via ADDRESS] [dev NAME] [table T] [metric N] [src ADDRESS]; may be repeated. Says what
    /// would move: this request, and the rules' literal next hops
    #[arg(long, value_name = "CHANGE")]
    what_if: Vec<Change>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How long names in rules may take.
const NAMES_WITHIN: Duration = Duration::from_secs(5);

/// Why there is nothing to explain, with the exit code.
struct Failure(u8, String);

/// Prints what would happen.
pub fn execute(args: Args) -> ExitCode {
    match explain(&args) {
        Ok(answer) => {
            anstream::print!("{answer}");
            ExitCode::SUCCESS
        }
        Err(Failure(code, message)) => {
            anstream::eprintln!("viaduct explain: {message}");
            ExitCode::from(code)
        }
    }
}

fn explain(args: &Args) -> Result<String, Failure> {
    let mut notes = Vec::new();
    let (plan, host) = plan_and_host(args)?;
    let source = SocketAddr::new(canonical(args.source.ip()), args.source.port());
    let listener = listener(&plan, args.listener.as_deref(), source)?;
    let bytes = message(args, source, listener, &mut notes)?;
    let keys = keys(plan.keys_file.as_deref(), &mut notes)?;
    let names = control::resolve_now(&plan, NAMES_WITHIN)
        .map_err(|error| Failure(super::FAILED, format!("cannot resolve names: {error}")))?;
    let on = listener.id;
    let (plan, keys, names) = (Arc::new(plan), Arc::new(keys), Arc::new(names));
    let snapshot_of = |generation, host: Builder| {
        let fib = Arc::new(host.build());
        Snapshot::new(generation, Arc::clone(&plan), fib, Arc::clone(&keys), Arc::clone(&names))
    };
    let snapshot = snapshot_of(1, host.clone());
    if !snapshot.view.is_up(on) {
        notes.push(format!(
            "listener {} is not up ({}): it receives nothing now",
            snapshot.plan.listener(on).name,
            snapshot.view.state(on).in_words()
        ));
    }
    let incoming = Incoming { bytes: &bytes, on, from: source };
    let now = account(&snapshot, &incoming, notes.clone());
    if args.what_if.is_empty() {
        return shown(args, &now);
    }
    let changed = snapshot_of(2, after(&args.what_if, host)?);
    let then = account(&changed, &incoming, notes);
    shown(
        args,
        &Moved {
            changes: args.what_if.iter().map(Change::to_string).collect(),
            moves: moved::moves(&now, &then),
            next_hops: moved::next_hops(&snapshot, &changed, on),
            now,
            then,
        },
    )
}

fn shown(args: &Args, answer: &(impl Serialize + Display)) -> Result<String, Failure> {
    if !args.json {
        return Ok(answer.to_string());
    }
    let json = serde_json::to_string_pretty(answer);
    json.map(|text| text + "\n").map_err(|e| Failure(super::FAILED, e.to_string()))
}

/// The host after all changes, one after the other.
fn after(changes: &[Change], mut host: Builder) -> Result<Builder, Failure> {
    for change in changes {
        let fib = host.clone().build();
        host = change.apply(host, &fib).map_err(|why| Failure(super::FAILED, why))?;
    }
    Ok(host)
}

/// The configuration, held against the kernel's routing as it is now, and that.
fn plan_and_host(args: &Args) -> Result<(Plan, Builder), Failure> {
    let host = netlink::read(1).map_err(|error| Failure(super::FAILED, error.to_string()))?;
    let fib = host.clone().build();
    let loaded = match &args.config {
        Some(path) => config::load(path, &fib),
        None => config::default(&fib),
    };
    match loaded {
        Ok(loaded) => Ok((loaded.plan, host)),
        Err(findings) => {
            Err(Failure(super::CONFIGURATION, format!("the configuration has errors\n{findings}")))
        }
    }
}

/// The listener of this name, or the only one that could have received it.
fn listener<'a>(plan: &'a Plan, name: Option<&str>, source: SocketAddr) -> Result<&'a Listener, Failure> {
    let names = |listeners: &[&Listener]| listeners.iter().map(|l| &*l.name).collect::<Vec<_>>().join(", ");
    let all: Vec<&Listener> = plan.listeners.iter().collect();
    let wrong = |what: String| Err(Failure(super::USAGE, what));
    let listener = match (name, &all[..]) {
        (Some(name), _) => match plan.listener_named(name) {
            Some(listener) => listener,
            None => return wrong(format!("there is no listener `{name}`; there are: {}", names(&all))),
        },
        (None, [only]) => only,
        (None, _) => return wrong(format!("--listener is needed; there are: {}", names(&all))),
    };
    if listener.bind.is_ipv4() != source.is_ipv4() {
        let Listener { name, bind, .. } = listener;
        return wrong(format!(
            "listener `{name}` ({bind}) cannot receive from {source}: other address family"
        ));
    }
    Ok(listener)
}

fn message(
    args: &Args,
    source: SocketAddr,
    listener: &Listener,
    notes: &mut Vec<String>,
) -> Result<Vec<u8>, Failure> {
    if let Some(path) = &args.message {
        let failed = |error| Failure(super::FAILED, format!("cannot read {}: {error}", path.display()));
        let (bytes, mended) = request::read(path).map_err(failed)?;
        if mended {
            notes.push("the message's line ends were made CRLF, and its header section was closed".into());
        }
        return Ok(bytes);
    }
    let wanted = Wanted {
        method: &args.method,
        ruri: args.ruri.as_deref().unwrap_or_default(),
        source,
        transport: listener.transport,
        headers: &args.headers,
    };
    request::build(&wanted).map_err(|problem| Failure(super::USAGE, problem.to_string()))
}

/// The running process's keys if we may read them; the answer is the same but for the tokens.
fn keys(path: Option<&Path>, notes: &mut Vec<String>) -> Result<Keys, Failure> {
    let why: Cow<'_, str> = match path.map(|path| Keys::load(path, SystemTime::now())) {
        Some(Ok(loaded)) => {
            notes.extend(loaded.warnings);
            return Ok(loaded.keys);
        }
        Some(Err(error)) => error.to_string().into(),
        None => "the configuration has no key file".into(),
    };
    notes.push(format!(
        "{why}. A throw-away key stands in: tokens in Via and Record-Route will differ from those of the \
         running process, and its dialogs' Routes are not recognised here"
    ));
    Keys::ephemeral().map_err(|e| Failure(super::FAILED, format!("no random numbers for a key: {e}")))
}
