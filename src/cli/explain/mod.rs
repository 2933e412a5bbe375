//! `viaduct explain`: what would happen to a request, and why.
//!
//! Asks the very [`crate::proxy::handle`] that forwards, against the configuration and the kernel's
//! routing as it is now; nothing is sent.

mod account;
mod capture;
mod facts;
mod gateways;
mod hops;
mod host;
pub(super) mod ingress;
mod limits;
mod lookup;
mod mode;
pub(super) mod moved;
mod names;
mod request;
mod secured;
mod steps;
#[cfg(test)]
mod steps_tests;
#[cfg(test)]
mod tests;
mod text;
mod why;
mod written;

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::as_user::AsUser;
use super::output;
use super::what_if::Change;
use crate::net::{Now, canonical};
use crate::plan::Listener;
use crate::proxy::Incoming;
use crate::snapshot::Snapshot;

use account::{Account, Thinker};
use host::Hosts;
use ingress::Ingress;
use moved::{Destination, Moved, NowAndThen};
use request::Wanted;

/// Says what would happen to a request, and why
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Says what would happen to a request, and why: which rule, which route, which \
listener, what would be written into Via and Record-Route, and every step of the choice with the \
listeners that lost there. Asks the code that forwards, against the configuration and the kernel's \
routing as it is now. Nothing is sent, nothing is changed.

The request is made up from --method, --ruri and --header, or read from a file (--message), or every \
SIP message of a capture is taken (--pcap). With --what-if it says what a change of the host would move.",
    after_help = "\
Examples:
  viaduct explain -c viaduct.toml --method INVITE --ruri sip:alice@10.0.0.100 \\
      --source 203.0.113.9:5060 --listener public
  viaduct explain -c viaduct.toml --ruri sip:*33123@example.net --source 203.0.113.9:5060 \\
      --listener public --header 'X-Tenant: 7'
  viaduct explain -c viaduct.toml --message captured.sip --source 203.0.113.9:5060 --listener public
  viaduct explain -c viaduct.toml --ruri sip:a@10.0.0.1 --source 203.0.113.9:5060 --json | jq .steps

Every message of a capture (pcap or pcapng; Ethernet, VLAN, Linux cooked, raw IP; UDP):
  viaduct explain -c viaduct.toml --pcap trunk.pcapng
  tcpdump -i any -w - udp port 5060 | viaduct explain -c viaduct.toml --pcap -
  viaduct explain -c viaduct.toml --pcap trunk.pcapng --json | jq -r 'select(.decision==\"reject\")'

What a change would move, in the words of `ip`; several are made one after the other:
  viaduct explain -c viaduct.toml --ruri sip:a@10.5.0.1 --source 203.0.113.9:5060 \\
      --listener public --what-if 'route add 10.5.0.0/16 via 10.0.0.9'
  viaduct explain -c viaduct.toml --what-if 'link set eth1 down'
  viaduct explain -c viaduct.toml --dst 10.5.0.1 --dst 192.0.2.7:5080 --what-if 'link set eth1 down'
  viaduct explain -c viaduct.toml --pcap trunk.pcapng --what-if 'addr del 10.0.0.4/24 dev eth1' \\
      --what-if 'rule add from 10.0.0.5 lookup 100'"
)]
pub struct Args {
    /// Configuration file; without it the built-in default is asked
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Method of the request
    #[arg(long, default_value = "INVITE", conflicts_with = "message")]
    method: String,
    /// Request-URI
    #[arg(
        long,
        value_name = "URI",
        required_unless_present_any = ["message", "pcap", "dst", "what_if"],
        conflicts_with = "message"
    )]
    ruri: Option<String>,
    /// Who sends it: IP:PORT, IPv6 in brackets
    #[arg(long, value_name = "IP:PORT", value_parser = source, required_unless_present_any = ["pcap", "dst", "what_if"])]
    source: Option<SocketAddr>,
    /// Name of the listener it comes in on; needed where there is more than one. With --pcap: where messages
    /// are taken to come in whose destination is no listener of this host. Of next hops and --dst: where requests
    /// to them come in; without it, on the first listener that is up both before and after the changes, for next
    /// hops of those that the rule asks for
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// A header of the request, 'Name: value'; replaces the one that would be made up; may be repeated
    #[arg(long = "header", value_name = "HEADER", conflicts_with = "message")]
    headers: Vec<String>,
    /// Read the whole message from a file (- for standard input) instead of making one up
    #[arg(long, value_name = "FILE")]
    message: Option<PathBuf>,
    /// Explain every SIP message of a capture, pcap or pcapng (- for standard input): a line each, and sums;
    /// with --json an object a line
    #[arg(long, value_name = "FILE", conflicts_with_all = ["message", "ruri", "source", "headers"])]
    pcap: Option<PathBuf>,
    /// A change of the host that is only thought of, as `ip` takes it: route add|replace|del, addr add|del,
    /// link set NAME up|down, rule add|del; may be repeated. Says what would move, from where to where: the
    /// request, the rules' literal next hops, the destinations of --dst, the messages of --pcap; and what
    /// `check` would find. Needs no request
    #[arg(long, value_name = "CHANGE", allow_hyphen_values = true)]
    what_if: Vec<Change>,
    /// A destination that --what-if holds against the change, by the automatic choice; may be repeated
    #[arg(long, value_name = "IP[:PORT]", requires = "what_if")]
    dst: Vec<Destination>,
    #[command(flatten)]
    user: AsUser,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn source(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<SocketAddr>() {
        Ok(source) if source.port() == 0 => Err("nothing is sent from port 0".into()),
        Ok(source) => Ok(SocketAddr::new(canonical(source.ip()), source.port())),
        Err(_) => Err("not ADDRESS:PORT (IPv6 in brackets)".into()),
    }
}

/// Why there is nothing to explain, with the exit code.
struct Failure(u8, String);

/// Prints what would happen.
pub fn execute(args: Args) -> ExitCode {
    let done = match &args.pcap {
        Some(path) => capture::explain(&args, path),
        None => explain(&args).map(|answer| output::print(answer, ExitCode::SUCCESS)),
    };
    done.unwrap_or_else(|Failure(code, message)| {
        output::tell(format_args!("viaduct explain: {message}"));
        ExitCode::from(code)
    })
}

fn explain(args: &Args) -> Result<String, Failure> {
    let hosts = Hosts::new(args)?;
    let mut notes = hosts.notes.clone();
    let request = request(args, &hosts, &mut notes)?;
    match (request, &hosts.then) {
        (request, Some(then)) => {
            let on = match (&request, &args.listener) {
                (Some(request), _) => Some(request.listener),
                (None, Some(_)) => Some(listener(&hosts, args.listener.as_deref(), None)?),
                (None, None) => None,
            };
            let on = on.map(|listener| &*listener.name);
            let both = NowAndThen { now: &hosts.now, then, on };
            shown(args, &moved(args, both, request, notes))
        }
        (Some(request), None) => shown(args, &account(&hosts.now, &request, notes)),
        (None, None) => Err(Failure(super::USAGE, "there is nothing to explain".into())),
    }
}

/// A request, and where it is taken to come in.
struct Request<'a> {
    bytes: Vec<u8>,
    source: SocketAddr,
    listener: &'a Listener,
}

/// The request that is asked about; `None`: no request is.
fn request<'a>(
    args: &Args,
    hosts: &'a Hosts,
    notes: &mut Vec<String>,
) -> Result<Option<Request<'a>>, Failure> {
    let asked = args.ruri.is_some() || args.message.is_some();
    let source = match (asked, args.source) {
        (true, Some(source)) => source,
        (true, None) => return Err(Failure(super::USAGE, "a request needs --source".into())),
        (false, None) => return Ok(None),
        (false, Some(_)) => {
            return Err(Failure(super::USAGE, "--source needs a request: --ruri or --message".into()));
        }
    };
    let listener = listener(hosts, args.listener.as_deref(), Some(source))?;
    let bytes = message(args, source, listener, notes)?;
    Ok(Some(Request { bytes, source, listener }))
}

/// What would happen to the request now.
fn account(now: &Snapshot, request: &Request<'_>, mut notes: Vec<String>) -> Account {
    let Request { bytes, source, listener } = request;
    let incoming = Incoming::on(bytes, listener, *source);
    if let Err(why) = ingress::up(now, listener.id) {
        notes.push(why.note(&listener.name));
    }
    let (now, names) = names::named(now, &incoming);
    let told = host::told(&now, &incoming);
    let account = Thinker::new(told.as_ref().unwrap_or(&now), TRANSACTIONS).account(&incoming, Now(0), notes);
    Account { names, ..account }
}

/// Transactions that are remembered where there is one message.
const TRANSACTIONS: usize = 1;

fn moved(args: &Args, both: NowAndThen<'_>, request: Option<Request<'_>>, notes: Vec<String>) -> Moved {
    let account = |snapshot: &Snapshot, on: Ingress| {
        let Some(Request { bytes, source, .. }) = &request else { return (None, None) };
        match on {
            Ok(on) => {
                let incoming = Incoming::on(bytes, snapshot.plan.listener(on), *source);
                (Some(Thinker::new(snapshot, TRANSACTIONS).account(&incoming, Now(0), notes.clone())), None)
            }
            Err(why) => (None, Some(why)),
        }
    };
    let (here, there) = both.ingresses(None);
    let (before, now_not_received) = account(both.now, here);
    let (after, then_not_received) = account(both.then, there);
    Moved {
        changes: args.what_if.iter().map(Change::to_string).collect(),
        moves: moved::moves(before.as_ref(), after.as_ref()),
        now: before,
        now_not_received,
        then: after,
        then_not_received,
        effects: both.effects(&args.dst),
        notes,
    }
}

fn shown(args: &Args, answer: &(impl Serialize + Display)) -> Result<String, Failure> {
    if !args.json {
        return Ok(answer.to_string());
    }
    let json = serde_json::to_string_pretty(answer);
    json.map(|text| text + "\n").map_err(|e| Failure(super::FAILED, e.to_string()))
}

/// The listener of this name, or the only one that could have received it: of those that there are now, else of
/// those that there would be.
fn listener<'a>(
    hosts: &'a Hosts,
    name: Option<&str>,
    source: Option<SocketAddr>,
) -> Result<&'a Listener, Failure> {
    let plans = || std::iter::once(&hosts.now.plan).chain(hosts.then.iter().map(|then| &then.plan));
    let names = || {
        let mut all: Vec<&str> = Vec::new();
        for own in plans().flat_map(|plan| &plan.listeners) {
            if !all.contains(&&*own.name) {
                all.push(&own.name);
            }
        }
        all.join(", ")
    };
    let wrong = |what: String| Err(Failure(super::USAGE, what));
    let found = match name {
        Some(name) => plans().find_map(|plan| plan.listener_named(name)),
        None => plans().find(|plan| !plan.listeners.is_empty()).and_then(|plan| {
            // Of one that takes connections besides, a datagram is meant.
            let mut own = plan.listeners.iter().filter(|own| !plan.is_sibling(own));
            own.next().filter(|_| own.next().is_none())
        }),
    };
    let Some(listener) = found else {
        return wrong(match (name, names()) {
            (_, none) if none.is_empty() => {
                "there is no listener: the host has none of the addresses that they would follow".into()
            }
            (Some(name), all) => format!("there is no listener `{name}`; there are: {all}"),
            (None, all) => format!("--listener is needed; there are: {all}"),
        });
    };
    if let Some(source) = source.filter(|source| listener.bind.is_ipv4() != source.is_ipv4()) {
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
        let name = match path.to_str() {
            Some("-") => "standard input".into(),
            _ => path.display().to_string(),
        };
        let read = request::read(path)
            .map_err(|error| Failure(super::FAILED, format!("cannot read {name}: {error}")))?;
        let (bytes, mended) = read.ok_or_else(|| Failure(super::FAILED, format!("{name} is empty")))?;
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
