//! `fib`: a full Internet table in Viaduct's snapshot: how long it loads, what it holds, what a lookup costs.

use std::hint::black_box;
use std::io;
use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;
use serde_json::json;
use viaduct::fib::spec::{Link, Route};
use viaduct::fib::{Answer, Builder, Fib, Query};

use crate::draw::{Random, inside, internet};
use crate::measure::{Spread, resident};
use crate::progress;

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
    /// IPv4 routes
    #[arg(long, default_value_t = 1_000_000)]
    v4: usize,
    /// IPv6 routes
    #[arg(long, default_value_t = 200_000)]
    v6: usize,
    /// Seed of prefixes and destinations
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

/// Lookups of one run.
const CALLS: usize = 4096;
/// Runs; the median counts.
const RUNS: usize = 101;
/// Destinations that Zipf's law draws from.
const NEIGHBOURS: usize = 1024;

/// Runs the measurement.
pub fn execute(args: &Args) -> io::Result<bool> {
    let mut random = Random(args.seed);
    let bar = progress::spinner("drawing routes");
    let nets = internet(args.v4, args.v6, &mut random);
    let before = resident()?;
    bar.set_message(format!("loading {} routes", nets.len()));
    let begin = Instant::now();
    let fib = load(&nets);
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
        let mut within = || inside(nets[random.below(nets.len())], &mut random);
        let spread: Vec<IpAddr> = (0..CALLS * 16).map(|_| within()).collect();
        let neighbours: Vec<IpAddr> = (0..NEIGHBOURS).map(|_| within()).collect();
        let zipf = (0..CALLS).map(|_| neighbours[random.zipf(NEIGHBOURS)]).collect::<Vec<_>>();
        rows.push((family, "zipf", lookups(&fib, &zipf)));
        rows.push((family, "random", lookups(&fib, &spread)));
    }
    bar.finish_and_clear();
    print(args, nets.len(), seconds, bytes, &rows);
    Ok(true)
}

fn print(args: &Args, routes: usize, seconds: f64, bytes: u64, rows: &[(&str, &str, Spread)]) {
    if args.json {
        let lookups: Vec<_> = rows
            .iter()
            .map(|(family, draw, ns)| json!({ "family": family, "destinations": draw, "ns": ns }))
            .collect();
        println!("{}", json!({ "routes": routes, "load_s": seconds, "bytes": bytes, "lookups": lookups }));
        return;
    }
    println!("{routes} routes: loaded in {seconds:.2} s, {:.0} bytes each", bytes as f64 / routes as f64);
    for (family, draw, ns) in rows {
        println!("{family} {draw:7} {:7.1} ns a lookup ({:.1} to {:.1})", ns.median, ns.min, ns.max);
    }
}

/// Time of one lookup in nanoseconds, over many runs.
fn lookups(fib: &Fib, destinations: &[IpAddr]) -> Spread {
    let runs = (0..RUNS).map(|run| {
        let part = &destinations[run * CALLS % destinations.len()..][..CALLS];
        let begin = Instant::now();
        for destination in part {
            let answer = fib.lookup(black_box(&Query::to(*destination)));
            assert!(matches!(answer, Answer::Route(_)), "{destination}: {answer:?}");
        }
        begin.elapsed().as_nanos() as f64 / CALLS as f64
    });
    Spread::of(runs.collect()).expect("there are runs")
}

/// A host with two upstreams; routes go by either.
fn load(nets: &[IpNet]) -> Fib {
    let gateway = |text: &str| Some(text.parse().expect("an address"));
    let mut host = Builder::host()
        .link(Link::up(2, "east"))
        .link(Link::up(3, "west"))
        .assign(2, "192.0.2.1/25".parse().expect("a network"))
        .assign(3, "192.0.2.129/25".parse().expect("a network"))
        .assign(2, "2001:db8:e::1/64".parse().expect("a network"))
        .assign(3, "2001:db8:f::1/64".parse().expect("a network"));
    for (number, net) in nets.iter().enumerate() {
        let (dev, v4, v6) = match number % 3 {
            0 => (2, "192.0.2.2", "2001:db8:e::2"),
            1 => (3, "192.0.2.130", "2001:db8:f::2"),
            _ => (3, "192.0.2.131", "2001:db8:f::3"),
        };
        host = host.route(Route::new(*net, dev, gateway(if net.addr().is_ipv4() { v4 } else { v6 })));
    }
    host.build()
}
