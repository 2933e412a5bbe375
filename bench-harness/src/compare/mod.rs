//! `compare`: Viaduct, the floor and its peers side by side, interleaved over rounds.
//!
//! ```text
//!  client ── load core ──► forwarder's core: one of the peers runs, the others are stopped ──► sink
//!
//!  for each round: for each load: for each peer, in an order that turns: one window
//! ```

mod accounts;
mod estimate;
mod order;
mod peers;
mod print;
mod rates;
mod rounds;
mod selection;
mod setting;
mod syscalls;
#[cfg(test)]
mod tests;
mod window;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::certificates;
use crate::interrupt::Folder;
use crate::load::{Secure, Transport};
use crate::output::tell;
use crate::progress;
use crate::range::number;
use crate::results::against::Against;
use crate::results::model::{Load, Results, Sample};
use crate::results::{self, Histograms};
use crate::subject::{FORWARDER_CORE, LOAD_CORE, pin};
use crate::world::{INSIDE, OUTSIDE, SECURE_SINK, World};
use peers::Peer;
use rounds::Rounds;
use setting::Setting;
use syscalls::Counter;

pub use estimate::estimate;
pub use selection::{Family, Selection};
pub use window::{Bench, MESSAGES, Measured, Plan};

/// Compares Viaduct with the floor and with other proxies, interleaved over rounds
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Subjects: null-uring and null-mmsg (the floor: datagrams go on untouched, padded to the length that Viaduct's output
has), viaduct (Record-Route, automatic egress, 100 rules of which the last matches), kamailio and opensips
(stateless, Record-Route, fast allocators, errors alone logged), the latter two also with mhomed=1; and each of the three
with transactions (viaduct-stateful; the others by t_relay, with mhomed=1), which only `stateful-calls` is offered; viaduct-spinning and
null-uring-spinning, which look for the next message instead of sleeping (`[engine] spin`) and are offered `paced` alone; over TCP
viaduct-tcp, kamailio-tcp (t_relay, mhomed=1, as many TCP children as Viaduct has shards) and kamailio-tcp-stateless, which
only the two loads over TCP are offered; over TLS viaduct-tls and kamailio-tls (as kamailio-tcp, with the module tls); from
WebSocket to TCP viaduct-ws and kamailio-ws (as kamailio-tcp, with the module websocket, where that is installed). Their configurations are in bench-harness/peers; Kamailio and OpenSIPS
share 4096 MiB between their processes, or half of what is free where that is less. All ask for the same socket buffers: 8 MiB,
or `net.core.rmem_max` and `wmem_max` where those are less, which root could go beyond and the others do not. All run in the same network namespaces, pinned to the same core; who is
not measured is stopped (SIGSTOP). Who goes first turns from round to round, and all are started afresh before each round:
how memory lies is another in each process, and is part of what the intervals hold.

Loads, one window of each for each subject and round:
  messages    INVITEs that nobody answers, at 80% of the floor's knee (other proxies: of their own)
  calls       INVITE 180 200 ACK BYE 200, without transactions; not for the floor
  stateful-calls   the same with transactions, and by Viaduct without
              both at what Kamailio carries, and where OpenSIPS takes part once more at what that does, by it and Viaduct:
              calls-opensips and stateful-calls-opensips in the results
  tcp-calls   the same calls over TCP, by connections that last; nothing is sent again
  tcp-connections   OPTIONS, each by a new connection that ends with its answer
  tls-calls   the calls of tcp-calls over TLS
  tls-connections   the same as tcp-connections, over TLS
  ws-calls    the same as tcp-calls, and as many, where callers speak WebSocket and the callee TCP
  paced       single messages, far apart and at random: what forwarding adds to latency. Viaduct and the floor, asleep
              between messages, have one each in turn, so that their core sleeps half as long as others'; both spinning they take turns in
              eight short windows
  saturation  half more than the knee; system calls are counted here
  knee        rising rates until less than 99.5% arrives

All but `paced` is compared where nobody loses any, and nobody fills its queues: a rate is carried where 99.5% arrives, 99% of
that within 50 ms, and the forwarder takes no more than 0.95 of its core. Before the rounds the most that each subject carries of each load is looked
for (as `overload --calls` looks for its peak, but coarsely): a rate is carried where two windows agree, and after each window
that a subject does not carry it is started afresh, because queues, and for half a minute transactions, keep what was left.
80% (--load) of the floor's most, or of what the slowest of a load carries, is tried then by two windows as long as those of the
rounds; where somebody who is offered the same does not carry it, it is lowered to 0.8 of that, five times at most. The report
says what was offered, and whose loss has lowered it. What is given by --knee, --calls or --tcp-calls is offered untried.

In the rounds, too, a subject that lost anything in a window is started afresh before its next one; how often is in results.json
(`begun_afresh`) and in the report. A window of which more than 0.5% was lost (messages that did not arrive, calls that failed or
needed a message again) does not count. Where that is more than one pair of windows of three, the figure is none:
`not_comparable` in results.json, and the report, have what each subject lost.

Over TLS all are asked for the same: TLS 1.3, TLS_AES_128_GCM_SHA256 and X25519 is all that the load offers and takes;
certificates are ECDSA on P-256 (`bench-harness certificates`), those of servers are verified by the load and by the
forwarders, clients are not asked for any; each handshake is a full one, because the load resumes no session and issues no
ticket. What a forwarder does unasked stays: tickets that it issues are part of its cost.

What is known after each round stands in the folder of --out already, if the run is ended early.

Passes (exit code 0) when Viaduct lost nothing of all loads but `saturation` and `knee`, nothing had to be sent again, and no subject died.

Needs root (or user namespaces, then without system calls), two cores, and a quiet machine. With the windows' usual
length nine rounds of all subjects take about an hour (it says how long first).

Examples:
  bench-harness compare
  bench-harness compare --only null                  # CPU per message over the floor
  bench-harness compare --only kamailio --rounds 3 --loads calls,stateful-calls
  bench-harness compare --only kamailio --loads tcp-calls,tcp-connections --tcp-calls 500
  bench-harness compare --only kamailio --loads tls-calls,tls-connections --tcp-calls 500
  bench-harness compare --knee 5000 --calls 400 --rounds 1 --window-ms 300    # whether it works, on a machine that is not quiet
  bench-harness compare --out results --against last-week/results.json
  bench-harness compare --opensips /opt/opensips/sbin/opensips")]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Part of the most that is carried at which all is offered: of the floor's for messages, of the slowest's for calls
    #[arg(long, default_value_t = 0.8, value_parser = number(0.01..=1.0))]
    load: f64,
    /// Take this, in messages a second, for each subject's knee instead of looking for it
    #[arg(long, value_parser = number(100.0..=1e8))]
    knee: Option<f64>,
    /// Calls a second; without it --load of what the slowest carries
    #[arg(long, value_parser = number(1.0..=1e7))]
    calls: Option<f64>,
    /// Calls a second over TCP and over TLS, and new connections over TCP, over TLS half as many; without it half of --calls, or
    /// --load of what the slowest carries
    #[arg(long, value_parser = number(1.0..=1e7))]
    tcp_calls: Option<f64>,
    /// Single messages a second
    #[arg(long, default_value_t = 400.0, value_parser = number(1.0..=1e5))]
    paced: f64,
    /// Core that the forwarders run on
    #[arg(long, default_value_t = FORWARDER_CORE)]
    core: usize,
    /// Core that callers and callee run on
    #[arg(long, default_value_t = LOAD_CORE)]
    load_core: usize,
    /// Write results.json, report.md, plots and histograms into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    against: Against,
}

/// Viaduct, in all its ways.
const OURS: [Peer; 7] = [
    Peer::Viaduct,
    Peer::ViaductSpinning,
    Peer::ViaductAtOnce,
    Peer::ViaductStateful(Transport::Udp),
    Peer::ViaductStateful(Transport::Tcp),
    Peer::ViaductStateful(Transport::Tls),
    Peer::ViaductStateful(Transport::Ws),
];

/// Runs the comparison, writes what was asked for and prints it; `true`: Viaduct lost nothing below the knee, and no
/// figure is worse than those it is held against.
pub fn execute(args: &Args) -> io::Result<bool> {
    let old = args.against.read()?;
    args.out.as_deref().map_or(Ok(()), results::prepare)?;
    let is_given = args.knee.is_some() && args.calls.is_some();
    let estimate = estimate(&args.selection, is_given).as_secs();
    tell!("{} rounds, about {} in all", args.selection.rounds(), progress::minutes(estimate));
    let (results, histograms) = run(args)?;
    let results = results.concluded();
    if let Some(folder) = &args.out {
        results::write(folder, &results, &histograms)?;
    }
    print::summary(&results)?;
    let below = |sample: &&Sample| !matches!(sample.load, Load::Saturation | Load::Knee);
    let lost = |sample: &Sample| sample.lost + sample.retransmissions + sample.failed;
    let ours = |sample: &&Sample| OURS.iter().any(|peer| peer.name() == sample.subject);
    let ours = results.samples.iter().filter(ours);
    let lost = ours.filter(below).map(lost).sum::<u64>();
    results.died.iter().for_each(|(name, why)| tell!("{name} died: {why}"));
    Ok((lost == 0 && results.died.is_empty()) & old.judge(&results)?)
}

/// Addresses that a certificate has to be for.
fn ends() -> [IpAddr; 3] {
    [INSIDE, OUTSIDE, *SECURE_SINK.ip()].map(IpAddr::V4)
}

/// Measures all that was asked for and can be had here.
///
/// # Errors
/// No namespaces, no second core, or a forwarder that does not start; what is not installed is no error, but told.
pub fn run(args: &Args) -> io::Result<(Results, Histograms)> {
    let world = World::build()?;
    let folder = Folder::new()?;
    let setting = Setting::here(args.core, args.selection.opensips.clone(), folder.path().to_owned())?;
    let mut results = Results::begin();
    let counter = match Counter::new() {
        Ok(counter) => Some(counter),
        Err(error) => {
            results
                .skipped
                .insert("syscalls".into(), format!("the kernel's tracepoints cannot be used: {error}"));
            None
        }
    };
    let loads = args.selection.loads();
    let mut peers = Vec::new();
    let all = OURS.into_iter().chain(args.selection.families().iter().flat_map(|family| family.peers()));
    for peer in all.filter(|peer| loads.iter().any(|load| peer.takes(*load))) {
        match peer.missing(&setting) {
            Some(why) => _ = results.skipped.insert(peer.name().into(), why),
            None => peers.push(peer),
        }
    }
    let spin = args.core != args.load_core;
    certificates::make(folder.path(), &ends())?;
    let secure = Secure::read(folder.path())?;
    let bench = Bench::new(&world, args.core, spin, counter)?.with_tls(secure, spin)?;
    // Forwarders are started on threads that are pinned elsewhere.
    pin(args.load_core)?;
    let mut rounds = Rounds::start(bench, &peers, &setting, results)?;
    let bar = progress::planned("knees");
    let done = rounds.run(
        &rounds::Ask {
            rounds: args.selection.rounds(),
            window: args.selection.window(),
            part_of_most: args.load,
            knee: args.knee,
            calls: args.calls,
            tcp_calls: args.tcp_calls,
            paced: args.paced,
            loads,
        },
        &bar,
        &|results, histograms| match &args.out {
            Some(folder) => results::write(folder, results, histograms).map(drop),
            None => Ok(()),
        },
    );
    bar.finish_and_clear();
    if let Err(error) = done {
        rounds.ends_by(&error);
        let (results, histograms) = rounds.into_results();
        if let Some(folder) = &args.out {
            results::write(folder, &results, &histograms)?;
        }
        return Err(error);
    }
    Ok(rounds.into_results())
}
