//! `fib`: a full Internet table in Viaduct's snapshot: how long it loads, what it holds, what a lookup costs.

use std::io;
use std::time::Instant;

use serde_json::json;

use crate::cases::fib::{DRAWS, Lookup, table};
use crate::draw::Random;
use crate::measure::{Spread, resident};
use crate::output::say;
use crate::range::Table;
use crate::{progress, timing};

/// Measures the routing snapshot at the size of a full Internet table
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Prefixes and lengths are drawn as they are in the Internet's default-free zone, by a seed. Lookups are
whole ones, rules and source selection included, with any source; each figure is the median of many
runs of 4096 calls. \"zipf\" draws destinations from 1024 by Zipf's law, as a trunk's neighbours are;
\"random\" from all that the table holds, which no cache does.

Examples:
  bench-harness fib
  bench-harness fib --v4 10000 --v6 0 --json")]
pub struct Args {
    #[command(flatten)]
    table: Table,
    /// Seed of prefixes and destinations
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the measurement.
pub fn execute(args: &Args) -> io::Result<bool> {
    args.table.check()?;
    let mut random = Random(args.seed);
    let bar = progress::spinner("drawing routes");
    let nets = args.table.nets(&mut random);
    let before = resident()?;
    bar.set_message(format!("loading {} routes", nets.len()));
    let begin = Instant::now();
    let fib = table(&nets);
    let seconds = begin.elapsed().as_secs_f64();
    let bytes = resident()?.saturating_sub(before);
    bar.set_message("looking up");
    let mut rows = Vec::new();
    for (family, nets) in [
        ("IPv4", nets.iter().filter(|net| net.addr().is_ipv4()).collect::<Vec<_>>()),
        ("IPv6", nets.iter().filter(|net| net.addr().is_ipv6()).collect::<Vec<_>>()),
    ] {
        if nets.is_empty() {
            continue;
        }
        for draw in DRAWS {
            let mut lookup = Lookup::over(&fib, draw, &nets, &mut random);
            rows.push((family, draw, timing::spread(&mut lookup)));
        }
    }
    bar.finish_and_clear();
    print(args, nets.len(), seconds, bytes, &rows)?;
    Ok(true)
}

fn print(
    args: &Args,
    routes: usize,
    seconds: f64,
    bytes: u64,
    rows: &[(&str, &str, Spread)],
) -> io::Result<()> {
    if args.json {
        let lookups: Vec<_> = rows
            .iter()
            .map(|(family, draw, ns)| json!({ "family": family, "destinations": draw, "ns": ns }))
            .collect();
        say!("{}", json!({ "routes": routes, "load_s": seconds, "bytes": bytes, "lookups": lookups }))?;
        return Ok(());
    }
    say!("{routes} routes: loaded in {seconds:.2} s, {:.0} bytes each", bytes as f64 / routes as f64)?;
    for (family, draw, ns) in rows {
        say!("{family} {draw:7} {:7.1} ns a lookup ({:.1} to {:.1})", ns.median, ns.min, ns.max)?;
    }
    Ok(())
}
