//! `load`: calls through a forwarder that runs already, with an account of every message.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::{Driver, Kind, Mix, Offer, Outcome, Secure, Settings, Transport};
use crate::output::say;
use crate::progress;
use crate::range::{number, one_family};
use crate::subject::pin;

/// Makes calls through a forwarder that runs already, and accounts for every message
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Callers at --from make exchanges with users at --callee through the forwarder at --to, evenly over time and
whatever comes back (open loop); the callee answers at --callee. Both are this process, so it knows what was sent
and what arrived: messages lost, messages doubled on the way and messages sent again are told apart, and latency
counts from the time for which a request was scheduled. Dialogs follow Record-Route.

Over TCP, TLS and WebSocket each caller has a connection, or with --fresh each exchange one of its own; the callee answers by
those that the forwarder opens to it. Nothing is sent again there. A connection that breaks is opened anew; what was on it is lost.

Over WebSocket (ws, wss; RFC 7118) callers are browsers: each message is a frame with a mask of its own. The callee is behind
TCP, because nobody connects to a browser.

Over TLS (tls, wss) both sides speak TLS 1.3 with TLS_AES_128_GCM_SHA256 and X25519 and nothing else, and resume no session. They and the
forwarder take the files that `bench-harness certificates` writes.

Kinds for --mix: call, long-call (INVITE 180 200 ACK BYE 200), options, message, long-message, register (with a
200 each), unanswered (an INVITE by itself). Each user has a number of its own.

Passes (exit code 0) when --at-least of the messages arrived, every one is accounted for, and this load was not
the limit: all was sent in time (99 of 100 within 2 ms) and its own sockets lost nothing.

Examples:
  bench-harness load --to 10.1.0.1:5060 --from 10.1.0.2:5060 --callee 10.2.0.2:5060 --rate 2000
  bench-harness load --to [2001:db8::1]:5060 --from [2001:db8::2]:5060 --callee [2001:db8:1::2]:5060
  bench-harness load --to 10.1.0.1:5060 --from 10.1.0.2:5060 --callee [2001:db8:1::2]:5060     # from IPv4 to IPv6
  bench-harness load --mix call=60,long-call=10,options=20,register=10 --peers 16 --to … --from … --callee …
  bench-harness load --mix unanswered --rate 200000 --core 1 --to … --from … --callee …     # saturation
  bench-harness load --transport tcp --peers 8 --rate 500 --to … --from … --callee …
  bench-harness load --transport tcp --fresh --mix options --rate 500 --to … --from … --callee …
  bench-harness load --transport tls --certificates certificates --to 10.1.0.1:5061 --from … --callee …
  bench-harness load --transport ws --peers 8 --rate 500 --to 10.1.0.1:8080 --from … --callee …
  bench-harness load --transport wss --certificates certificates --to 10.1.0.1:443 --from … --callee …")]
pub struct Args {
    /// The forwarder's address and port
    #[arg(long)]
    to: SocketAddr,
    /// Address and port of this host to call from
    #[arg(long)]
    from: SocketAddr,
    /// Address and port of this host to answer at: what the Request-URIs name
    #[arg(long)]
    callee: SocketAddr,
    /// What messages go by
    #[arg(long, value_enum, default_value = "udp")]
    transport: Transport,
    /// By connections: one for each exchange, which ends with it; not for calls
    #[arg(long)]
    fresh: bool,
    /// tls and wss: folder of ca.pem, host.pem and host.key (`bench-harness certificates`)
    #[arg(long, value_name = "DIR", required_if_eq_any([("transport", "tls"), ("transport", "wss")]))]
    certificates: Option<PathBuf>,
    /// Exchanges a second
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: u32,
    /// For how many seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Kinds of exchanges with their weights
    #[arg(long, default_value = "call")]
    mix: Mix,
    /// Callers, at the port of --from and those that follow (by connections their ports are the kernel's choice); one is a trunk
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=512))]
    peers: u16,
    /// How long a call lasts, in milliseconds
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(0..=3_600_000))]
    hold_ms: u32,
    /// Send nothing again: what is lost stays lost
    #[arg(long)]
    no_retransmissions: bool,
    /// Spread each begin at random within its interval
    #[arg(long)]
    jitter: bool,
    /// Core to run on, which is kept busy; without it the load sleeps between sends
    #[arg(long)]
    core: Option<usize>,
    /// Smallest part of the messages that has to arrive
    #[arg(long, default_value_t = 0.999, value_parser = number(0.0..=1.0))]
    at_least: f64,
    /// How long what has begun may take to end once nothing begins any more, in seconds, besides --hold-ms: 64 * T1
    /// (RFC 3261, Timer B), and a little
    #[arg(long, default_value_t = 33, value_parser = clap::value_parser!(u64).range(1..=3600))]
    drain: u64,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    fn drain(&self) -> Duration {
        Duration::from_secs(self.drain) + Duration::from_millis(self.hold_ms.into())
    }

    /// Ports from `--from` on.
    fn callers(&self) -> io::Result<Vec<SocketAddr>> {
        let (from, peers) = (self.from, self.peers);
        let callers = (0..peers).map(|peer| Some(SocketAddr::new(from.ip(), from.port().checked_add(peer)?)));
        callers.collect::<Option<_>>().ok_or_else(|| {
            io::Error::other(format!("--from {from} with --peers {peers}: there are no ports above 65535"))
        })
    }
}

/// Runs the load; `true`: enough arrived, all is accounted for, and the load was not the limit.
pub fn execute(args: &Args) -> io::Result<bool> {
    // The callee may be of the other family: it is the forwarder that sends there.
    one_family(&[("--to", args.to), ("--from", args.from)])?;
    let callers = args.callers()?;
    let settings = Settings {
        mix: args.mix.clone(),
        hold_ns: u64::from(args.hold_ms) * 1_000_000,
        retransmit: !args.no_retransmissions && !args.transport.is_stream(),
        callers,
        callee: args.callee,
        named: args.callee,
        forwarder: args.to,
        transport: args.transport,
        fresh: args.fresh,
    };
    let mut driver = driver(args, settings)?;
    args.core.map_or(Ok(()), pin)?;
    let bar = progress::spinner("calling");
    bar.set_message(format!("{}/s to {} for {} s", args.rate, args.to, args.seconds));
    let offer = Offer {
        rate: f64::from(args.rate),
        length: Duration::from_secs(args.seconds),
        jitter: args.jitter,
        drain: args.drain(),
        gives_up: false,
    };
    let outcome = driver.run(&offer)?;
    bar.finish_and_clear();
    let passed = part(&outcome) >= args.at_least
        && outcome.tally.adds_up()
        && outcome.in_flight == 0
        && outcome.on_schedule();
    let reasons = reasons(args, &outcome);
    if args.json {
        say!("{}", to_json(&outcome, passed, &reasons))?;
    } else {
        print(&outcome, passed, &reasons)?;
    }
    Ok(passed)
}

fn driver(args: &Args, settings: Settings) -> io::Result<Driver> {
    let spin = args.core.is_some();
    if args.transport.is_stream() {
        if args.fresh && Kind::ALL.iter().any(|kind| args.mix.has(*kind) && !kind.is_one_request()) {
            return Err(io::Error::other(
                "--fresh is for exchanges of one request and its answer: --mix options",
            ));
        }
        let folder = args.certificates.as_deref().filter(|_| args.transport.is_secure());
        let secure = folder.map(Secure::read).transpose()?;
        let callee = named(args.callee, TcpListener::bind(args.callee))?;
        return Driver::over_connections(callee, secure, settings, spin);
    }
    if args.fresh {
        return Err(io::Error::other("--fresh is about connections: --transport tcp, tls, ws or wss"));
    }
    let bind = |address: &SocketAddr| named(*address, UdpSocket::bind(address));
    let callers = settings.callers.iter().map(bind).collect::<io::Result<_>>()?;
    Driver::new(callers, bind(&args.callee)?, settings, spin)
}

/// An error that says which address it is about.
fn named<T>(address: SocketAddr, bound: io::Result<T>) -> io::Result<T> {
    bound.map_err(|error| {
        let hint = "it has to be an address of this host, with a port that is free";
        io::Error::new(error.kind(), format!("{address}: {error}\n  hint: {hint}"))
    })
}

fn part(outcome: &Outcome) -> f64 {
    outcome.tally.delivered as f64 / outcome.tally.messages.max(1) as f64
}

/// What keeps the load from having passed.
fn reasons(args: &Args, outcome: &Outcome) -> Vec<String> {
    let (tally, mut all) = (&outcome.tally, Vec::new());
    let left = outcome.scheduled.saturating_sub(tally.begun);
    let none_stayed = args.transport.is_stream() && outcome.disconnected >= outcome.connected;
    if tally.delivered == 0 && none_stayed {
        all.push(format!("nothing arrived: each connection to {} was refused or broke", args.to));
    } else if tally.delivered == 0 {
        let (to, callee) = (args.to, args.callee);
        all.push(format!("nothing arrived: does a forwarder listen at {to}, and send on to {callee}?"));
    } else if part(outcome) < args.at_least {
        all.push(format!("{:.3}% arrived, not {}%", part(outcome) * 100.0, args.at_least * 100.0));
    }
    if !tally.adds_up() {
        all.push("not every message is accounted for".to_owned());
    }
    if outcome.in_flight > 0 {
        all.push(format!("{} exchanges had not ended after {:?}", outcome.in_flight, args.drain()));
    }
    if left > 0 && outcome.idle >= HAD_TIME {
        all.push(format!(
            "{left} of {} exchanges could not begin, though this load had time",
            outcome.scheduled
        ));
    } else if !outcome.on_schedule() && tally.delivered > 0 {
        all.push("the load was the limit, not the forwarder: lower --rate, or give it a --core".to_owned());
    }
    all
}

/// A load that is idle for so much of its time is no limit.
const HAD_TIME: f64 = 0.2;

fn to_json(outcome: &Outcome, passed: bool, reasons: &[String]) -> serde_json::Value {
    let us = |ns: u64| ns as f64 / 1e3;
    let quantiles = |of: &hdrhistogram::Histogram<u64>| {
        json!({ "p50": us(of.value_at_quantile(0.5)), "p99": us(of.value_at_quantile(0.99)),
                "p999": us(of.value_at_quantile(0.999)), "max": us(of.max()) })
    };
    json!({ "passed": passed, "reasons": reasons, "scheduled": outcome.scheduled, "seconds": outcome.took.as_secs_f64(),
            "account": outcome.tally, "in_flight": outcome.in_flight, "latency_us": quantiles(&outcome.latency),
            "lag_us": quantiles(&outcome.lag), "idle": outcome.idle, "own_drops": outcome.own_drops,
            "connected": outcome.connected, "disconnected": outcome.disconnected })
}

fn print(outcome: &Outcome, passed: bool, reasons: &[String]) -> io::Result<()> {
    let tally = &outcome.tally;
    say!(
        "exchanges: {} of {} scheduled ({} calls), {} failed, {} refused, {} in flight",
        tally.begun,
        outcome.scheduled,
        tally.calls,
        tally.failed,
        tally.refused,
        outcome.in_flight
    )?;
    say!(
        "messages:  {} sent, {} delivered ({:.3}%), {} never arrived",
        tally.messages,
        tally.delivered,
        part(outcome) * 100.0,
        tally.missing
    )?;
    say!(
        "sends:     {}, of which {} again; {} lost, {} doubled on the way, {} late, {} foreign",
        tally.transmissions,
        tally.retransmissions,
        tally.lost,
        tally.doubled,
        tally.late,
        tally.foreign
    )?;
    for (name, of) in [("latency:  ", &outcome.latency), ("own lag:  ", &outcome.lag)] {
        if of.is_empty() {
            say!("{name} –")?;
            continue;
        }
        let us = |quantile| of.value_at_quantile(quantile) as f64 / 1e3;
        say!("{name} p50 {:.0} µs, p99 {:.0} µs, p99.9 {:.0} µs", us(0.5), us(0.99), us(0.999))?;
    }
    say!(
        "this load: {:.0}% idle, {} datagrams lost at its own sockets",
        outcome.idle * 100.0,
        outcome.own_drops
    )?;
    if outcome.connected > 0 {
        say!(
            "callers:   {} connections opened, {} lost by either side",
            outcome.connected,
            outcome.disconnected
        )?;
    }
    reasons.iter().try_for_each(|reason| say!("{reason}"))?;
    say!("{}", if passed { "PASS" } else { "FAIL" })?;
    Ok(())
}
