//! `rules`: routes by the thousand: how long they load, what they hold, what they add to a message.

use std::hint::black_box;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use serde_json::json;
use viaduct::plan::Plan;
use viaduct::proxy::Outcome;
use viaduct::rules::Scratch;

use crate::cases::mixed_rules;
use crate::cases::rules::{Prepared, load};
use crate::cases::support::Shard;
use crate::draw::Random;
use crate::measure::Spread;
use crate::messages::Template;
use crate::output::say;
use crate::progress;
use crate::range::count;

/// Measures what `[[route]]` rules cost, by their number
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The rules ask for everything that rules can ask for, one to five conditions each. Tables of all sizes are
measured in turn, many times; each figure is a median. \"rest\" are requests that only the last rule takes;
\"zipf\" requests that satisfy one of 1024 rules, drawn by Zipf's law; \"random\" ones that satisfy any rule.
\"own work\" is all that is done for an INVITE of some 600 bytes that only the last rule takes:
parse, decide, rewrite.

Examples:
  bench-harness rules
  bench-harness rules --sizes 1,100000 --json
  bench-harness rules --write 10000 >rules.toml")]
pub struct Args {
    /// Numbers of rules
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100, 1_000, 10_000], value_parser = count(1..=1_000_000))]
    sizes: Vec<usize>,
    /// Seed of the requests that are drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print a configuration with so many rules and measure nothing
    #[arg(long, value_name = "RULES", value_parser = count(1..=1_000_000))]
    write: Option<usize>,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

/// Matches of one run.
const CALLS: usize = 4096;
/// Messages of one run.
const MESSAGES: u32 = 1024;
/// Runs of each; the median counts.
const RUNS: usize = 51;
/// Rules that Zipf's law draws from.
const POPULAR: usize = 1024;

/// A table of rules under measurement.
struct Table {
    rules: usize,
    load_ms: f64,
    bytes: u64,
    plan: Plan,
    scratch: Scratch,
    shard: Shard,
    pool: Vec<Prepared>,
    /// For each of [`DRAWS`] which requests of the pool.
    draws: [Vec<usize>; 3],
    /// For each of [`DRAWS`] the nanoseconds of one match, run by run.
    matches: [Vec<f64>; 3],
    /// Nanoseconds of one message, run by run.
    own_work: Vec<f64>,
}

const DRAWS: [&str; 3] = ["rest", "zipf", "random"];

/// Runs the measurement.
pub fn execute(args: &Args) -> io::Result<bool> {
    if let Some(rules) = args.write {
        print!("{}", mixed_rules::configuration(rules));
        return Ok(true);
    }
    let bar = progress::spinner("loading");
    let mut tables = Vec::new();
    for &rules in &args.sizes {
        bar.set_message(format!("loading {rules} rules"));
        tables.push(Table::load(rules, args.seed)?);
    }
    let mut branch = 0;
    for run in 0..RUNS {
        bar.set_message(format!("measuring, round {} of {RUNS}", run + 1));
        for table in &mut tables {
            table.run();
        }
        for table in &mut tables {
            table.own_work.push(own_work(&mut table.shard, branch));
        }
        branch += MESSAGES;
    }
    bar.finish_and_clear();
    print(args, tables)?;
    Ok(true)
}

fn print(args: &Args, tables: Vec<Table>) -> io::Result<()> {
    let spread = |values: &[f64]| Spread::of(values.to_vec()).expect("there are runs");
    let rows: Vec<_> = (tables.iter())
        .map(|table| (table, table.matches.each_ref().map(|m| spread(m)), spread(&table.own_work)))
        .collect();
    if args.json {
        let rows = rows.iter().map(|(table, matches, own_work)| {
            json!({
                "rules": table.rules, "load_ms": table.load_ms, "bytes": table.bytes,
                "match_ns": { DRAWS[0]: matches[0], DRAWS[1]: matches[1], DRAWS[2]: matches[2] },
                "own_work_ns": own_work,
            })
        });
        say!("{}", json!(rows.collect::<Vec<_>>()))?;
        return Ok(());
    }
    let Some((first, ..)) = rows.first() else { return Ok(()) };
    // Round by round, because what else the machine does slows all tables of a round alike.
    let more = |table: &Table| {
        let pairs = table.own_work.iter().zip(&first.own_work);
        spread(&pairs.map(|(this, first)| this - first).collect::<Vec<f64>>()).median
    };
    say!("   rules  load ms      KiB   rest ns   zipf ns random ns   own work ns      more   ratio")?;
    for (table, [rest, zipf, random], own) in &rows {
        say!(
            "{:8} {:8.1} {:8} {:9.1} {:9.1} {:9.1} {:13.1} {:9.1} {:7.3}",
            table.rules,
            table.load_ms,
            table.bytes / 1024,
            rest.median,
            zipf.median,
            random.median,
            own.median,
            more(table),
            1.0 + more(table) / (own.median - more(table))
        )?;
    }
    Ok(())
}

impl Table {
    fn load(rules: usize, seed: u64) -> io::Result<Self> {
        let text = mixed_rules::configuration(rules);
        let before = crate::measure::resident()?;
        let begin = Instant::now();
        let plan = load(&text).map_err(io::Error::other)?;
        let load_ms = begin.elapsed().as_secs_f64() * 1e3;
        let bytes = crate::measure::resident()?.saturating_sub(before);
        let mut random = Random(seed);
        let popular: Vec<usize> = (0..POPULAR).map(|_| random.below(rules)).collect();
        let request = |n: usize| if n + 1 == rules { mixed_rules::plain() } else { mixed_rules::request(n) };
        // The last rule's first, then popular ones, then any.
        let rest = std::iter::once(rules - 1);
        let any: Vec<usize> = (0..CALLS).map(|_| random.below(rules)).collect();
        let pool = rest.chain(popular).chain(any).map(|n| Prepared::new(request(n), &plan)).collect();
        let zipf = (0..CALLS).map(|_| 1 + random.zipf(POPULAR)).collect();
        let draws = [vec![0; CALLS], zipf, (1 + POPULAR..1 + POPULAR + CALLS).collect()];
        let scratch = plan.matcher.scratch();
        let shard = Shard::new(&text, mixed_rules::ADDRESSES, &[]);
        let (matches, own_work) = Default::default();
        Ok(Self { rules, load_ms, bytes, plan, scratch, shard, pool, draws, matches, own_work })
    }

    fn run(&mut self) {
        for (requests, times) in self.draws.iter().zip(&mut self.matches) {
            let begin = Instant::now();
            for &request in requests {
                let found = self.pool[request].matched(&self.plan.matcher, &mut self.scratch);
                assert!(black_box(found), "the last rule takes everything");
            }
            times.push(begin.elapsed().as_nanos() as f64 / requests.len() as f64);
        }
    }
}

/// Nanoseconds for one message, of new transactions.
fn own_work(shard: &mut Shard, branch: u32) -> f64 {
    let on = shard.listener("public");
    let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
    let from = address("192.0.2.1:5060");
    let template = Template::invite(from, address("10.0.0.100:5060"));
    let mut messages = Vec::new();
    (branch..branch + MESSAGES).for_each(|number| template.append(number, &mut messages));
    let begin = Instant::now();
    for message in messages.chunks(template.len()) {
        let (outcome, _) = shard.handle(black_box(message), on, from);
        assert!(matches!(outcome, Outcome::Forward { .. }), "{outcome:?}");
    }
    begin.elapsed().as_nanos() as f64 / f64::from(MESSAGES)
}
