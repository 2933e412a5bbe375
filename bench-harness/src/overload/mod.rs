//! `overload`: a multiple of what a shard can carry, and what is left of it.
//!
//! `messages` offers INVITEs that nobody answers, which measures the engine; `calls` whole calls, which measures what is
//! let in.

mod calls;
mod judge;
mod messages;
mod window;

use std::io;
use std::path::PathBuf;

/// Offers a multiple of what one shard can carry and checks what is left of it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without --calls INVITEs are offered that nobody answers, with overload control off: what the engine does when its queues
are full. Passes (exit code 0) when the goodput is at least 0.9 of the knee (the median of the rounds), resident memory stays
flat, the load sent what it should and lost nothing itself, and half of the knee afterwards is delivered whole.

With --calls whole calls are offered (INVITE 180 200 ACK BYE 200, automatic egress, overload control as it is by
default). Without transactions, because there refusing is dearest beside forwarding, and what a shard carries is bounded
by its core; with them by the table of transactions, which empties 32 s after a call. Refusals are acknowledged.
What is not answered is sent again after 0.5 s, 1.5 s, 3.5 s … (RFC 3261, Timers A and E), as callers do: what is dropped
comes back, so that more than five times the peak comes in. At the end of the time callers hang up. With
--no-retransmissions each message is sent once. Request-URIs are numbers at Viaduct's address, as trunks (and SIPp) write
them, of which a filter at the socket drops a part; with --name-callee they are at the callee's, which it cannot tell.

One core of load can hardly offer five times what a whole core of Viaduct's carries, and answer what is let in: the property
`load` fails then, and what is left of the peak is the load's own. With --core-part Viaduct has a part of its core only, by a
control group's quota in each 5 ms (root).

The peak is the highest rate at which 995 of 1,000 calls are completed and no more than 5 messages sent again. Windows of up
to 0.75 s look for it, in some two minutes: rates rise until one fails, then the distance is halved. Each rate is judged by
two windows that agree; one that fails while others had the processors counts for nothing. After each window that is not
carried Viaduct is started afresh, so that none is judged by what another left. Then, in each round,
a window as long as the overload has to be carried at that rate right before it: where three are not, the rate is lowered.
Figures are medians of the rounds; printed with them is the round whose goodput is the median. Passes when
  peak      it was carried in each round
  goodput   calls completed in a second are at least 0.9 of the peak's
  latency   99 of 100 calls that were let in with their first INVITE have their 200 within 50 ms of the time for which
            that was scheduled
  account   in all rounds, each message that was sent is forwarded, answered, or counted under a reason by Viaduct or by the kernel
  load      the generator held the rate, and its own sockets lost nothing
  after     half of the peak afterwards is completed whole

Examples:
  bench-harness overload --times 5
  bench-harness overload --calls --seconds 10 --out results
  bench-harness overload --calls --seconds 1 --rounds 1 --windows 24   # in half a minute, and less exactly
  bench-harness overload --calls --core-part 0.25
  bench-harness overload --calls --stateful --seconds 2 --rounds 5 --json")]
pub struct Args {
    /// How many times the knee is offered
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100))]
    times: u64,
    /// For how many seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Look for the knee, or the peak, by so many windows at most; fewer find it less exactly
    #[arg(long, value_parser = windows)]
    windows: Option<usize>,
    /// How often (calls: each time behind the peak)
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Offer whole calls
    #[arg(long)]
    calls: bool,
    /// Calls: take this for the peak, in calls a second, instead of looking for it
    #[arg(long, requires = "calls", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    peak: Option<u32>,
    /// Calls: with transactions
    #[arg(long, requires = "calls")]
    stateful: bool,
    /// Calls: let Viaduct have such a part of its core (between 0.01 and 1), so that the load's own core is not the limit
    #[arg(long, requires = "calls", value_name = "PART", value_parser = part)]
    core_part: Option<f64>,
    /// Calls: send nothing again that is not answered
    #[arg(long, requires = "calls")]
    no_retransmissions: bool,
    /// Calls: name the callee's address in Request-URI and To, not Viaduct's: no filter at the socket tells then what begins
    #[arg(long, requires = "calls")]
    name_callee: bool,
    /// Calls: write results.json and report.md into this folder
    #[arg(long, value_name = "DIR", requires = "calls")]
    out: Option<PathBuf>,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

/// Fewer would not reach it.
fn windows(text: &str) -> Result<usize, String> {
    let windows = text.parse().ok().filter(|windows| (12..=1_000).contains(windows));
    windows.ok_or_else(|| "not a number from 12 to 1000".to_owned())
}

fn part(text: &str) -> Result<f64, String> {
    let part = text.parse().ok().filter(|part| (0.01..=1.0).contains(part));
    part.ok_or_else(|| "not a number from 0.01 to 1".to_owned())
}

/// Runs the overload; `true`: all conditions hold.
pub fn execute(args: &Args) -> io::Result<bool> {
    if args.calls { calls::execute(args) } else { messages::execute(args) }
}
