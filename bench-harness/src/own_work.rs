//! `own-work`: what full tables add to the work for one message.

use std::hint::black_box;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use ipnet::IpNet;
use serde_json::json;
use viaduct::fib::Builder;
use viaduct::fib::spec::{Link, Route};
use viaduct::proxy::Outcome;

use crate::cases::mixed_rules;
use crate::cases::support::Shard;
use crate::draw::{Random, inside};
use crate::measure::Spread;
use crate::messages::Template;
use crate::output::say;
use crate::progress;
use crate::range::{Table, count};

/// Measures what full tables add to the work for one message
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Parses, decides and rewrites INVITEs of some 600 bytes, each a new transaction that only the last rule takes, to
destinations of the routing table: by one rule and one route, and by all of them, in turn. Destinations are drawn
from 1024 by Zipf's law, as a trunk's neighbours are, or at random from the whole table.

What is printed first is the difference of the runs that were disturbed least: nine tenths of either side's took longer.
Whatever else runs on a machine, or beside a virtual one, only adds to times. The median of the differences of
neighbouring runs, which has it all in it, stands behind.

Examples:
  bench-harness own-work
  bench-harness own-work --rules 100 --v4 10000 --v6 0")]
pub struct Args {
    /// Rules
    #[arg(long, default_value_t = 10_000, value_parser = count(1..=1_000_000))]
    rules: usize,
    #[command(flatten)]
    table: Table,
    /// Pairs of runs
    #[arg(long, default_value_t = 201, value_parser = count(1..=100_000))]
    pairs: usize,
    /// Seed of prefixes and destinations
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

/// Messages of one run.
const MESSAGES: usize = 1024;
/// Destinations that Zipf's law draws from.
const NEIGHBOURS: usize = 1024;

/// Who sends all of it.
const CALLER: &str = "192.0.2.1:5060";

/// Nanoseconds a message, run by run.
#[derive(Default)]
struct Times {
    small: Vec<f64>,
    large: Vec<f64>,
}

/// What full tables add, by how destinations are drawn; nanoseconds a message.
pub struct Extra {
    /// `zipf` or `random`
    pub draw: &'static str,
    /// In the runs that were disturbed least ([`Spread::quiet`]).
    pub more: f64,
    /// Those by one rule and one route.
    pub small: f64,
    /// Those by all of them.
    pub large: f64,
    /// Median of the differences of neighbouring runs.
    pub median: f64,
}

/// Runs the measurement.
pub fn execute(args: &Args) -> io::Result<bool> {
    args.table.check()?;
    let bar = progress::spinner("drawing routes");
    let rows = measure(args, |message| bar.set_message(message));
    bar.finish_and_clear();
    print(args, &rows)?;
    Ok(true)
}

impl Args {
    /// Tables as full as they get, and so many pairs.
    pub fn full(pairs: usize) -> Self {
        Self { rules: 10_000, table: Table::FULL, pairs, seed: 1, json: false }
    }
}

/// Both draws, and `told` how far it is.
pub fn measure(args: &Args, told: impl Fn(String)) -> [Extra; 2] {
    let mut random = Random(args.seed);
    let nets = args.table.nets(&mut random);
    told("loading".to_owned());
    let mut small = shard(1, &["0.0.0.0/0".parse().expect("a prefix")]);
    let mut large = shard(args.rules, &nets);
    // Listeners are IPv4: so are the destinations.
    let reached: Vec<&IpNet> = nets.iter().filter(|net| net.addr().is_ipv4()).collect();
    let mut within = || inside(reached[random.below(reached.len())], &mut random);
    let neighbours: Vec<Template> = (0..NEIGHBOURS).map(|_| template(within())).collect();
    let anywhere: Vec<Template> = (0..MESSAGES * 16).map(|_| template(within())).collect();
    let mut number = 0;
    // One after the other: who sends to a few neighbours does not send to the whole table in between.
    ["zipf", "random"].map(|draw| {
        let mut times = Times::default();
        for pair in 0..args.pairs {
            told(format!("{draw}: pair {} of {}", pair + 1, args.pairs));
            let message = |place: usize| {
                number += 1;
                let template = match draw {
                    "zipf" => &neighbours[random.zipf(NEIGHBOURS)],
                    _ => &anywhere[(pair * MESSAGES + place) % anywhere.len()],
                };
                let mut message = Vec::new();
                template.append(number, &mut message);
                message
            };
            let messages: Vec<Vec<u8>> = (0..MESSAGES).map(message).collect();
            times.pair(pair, &mut small, &mut large, &messages);
        }
        times.extra(draw)
    })
}

impl Times {
    /// Each side is first as often as second.
    fn pair(&mut self, number: usize, small: &mut Shard, large: &mut Shard, messages: &[Vec<u8>]) {
        if number.is_multiple_of(2) {
            self.small.push(run(small, messages));
            self.large.push(run(large, messages));
        } else {
            self.large.push(run(large, messages));
            self.small.push(run(small, messages));
        }
    }

    fn extra(self, draw: &'static str) -> Extra {
        let differences = self.small.iter().zip(&self.large).map(|(small, large)| large - small).collect();
        let median = Spread::of(differences).map_or(f64::NAN, |spread| spread.median);
        let [small, large] =
            [self.small, self.large].map(|times| Spread::of(times).map_or(f64::NAN, |spread| spread.quiet));
        Extra { draw, more: large - small, small, large, median }
    }
}

fn print(args: &Args, rows: &[Extra]) -> io::Result<()> {
    if args.json {
        let rows = rows.iter().map(|Extra { draw, more, small, large, median }| {
            json!({
                "destinations": draw,
                "extra_ns": more,
                "small_ns": small,
                "large_ns": large,
                "median_extra_ns": median,
            })
        });
        say!("{}", json!(rows.collect::<Vec<_>>()))?;
        return Ok(());
    }
    for Extra { draw, more, small, large, median } in rows {
        say!(
            "{draw:7} {more:7.1} ns more a message by full tables ({small:.1} and {large:.1}, ratio {:.3}; \
             median of differences {median:.1})",
            large / small
        )?;
    }
    Ok(())
}

/// So many rules, and these routes by one gateway.
fn shard(rules: usize, nets: &[IpNet]) -> Shard {
    let mut host = Builder::host().link(Link::up(2, "eth0"));
    for address in mixed_rules::ADDRESSES {
        host = host.assign(2, address.parse().expect("address/length"));
    }
    host = host.assign(2, "2001:db8:e::1/64".parse().expect("address/length"));
    for net in nets {
        let gateway = if net.addr().is_ipv4() { "192.0.2.2" } else { "2001:db8:e::2" };
        host = host.route(Route::new(*net, 2, gateway.parse().ok()));
    }
    Shard::on(&mixed_rules::configuration(rules), host.build())
}

fn template(to: IpAddr) -> Template {
    Template::invite(CALLER.parse().expect("an address"), SocketAddr::new(to, 5060))
}

/// Nanoseconds for one message. By the same machine code wherever it is called.
#[inline(never)]
fn run(shard: &mut Shard, messages: &[Vec<u8>]) -> f64 {
    let on = shard.listener("public");
    let from = CALLER.parse().expect("an address");
    let begin = Instant::now();
    for message in messages {
        let (outcome, _) = shard.handle(black_box(message), on, from);
        assert!(matches!(outcome, Outcome::Forward { .. }), "{outcome:?}");
    }
    begin.elapsed().as_nanos() as f64 / messages.len() as f64
}
