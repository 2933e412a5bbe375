//! `ratio`: Viaduct's CPU per delivered message over the floor's, in interleaved pairs.

use std::io;
use std::time::Duration;

use serde_json::json;

use crate::load::{Generator, Sink};
use crate::measure::{Spread, Window, knee, window};
use crate::progress;
use crate::subject::{LOAD_CORE, Subject, pin};
use crate::world::{CLIENT, SINK, World};

/// Compares Viaduct with the floor that the kernel and the engine set
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The floor is `bench-harness null`: the same engine, sockets, buffers and batches, bytes forwarded
untouched but padded to the length that Viaduct's output has. Viaduct writes Record-Route, looks up
its routes and has --rules rules of which the last one matches. Both run pinned to core 0, generator
and sink on core 1, in network namespaces joined by veth.

Examples:
  bench-harness ratio
  bench-harness ratio --pairs 15 --json > ratio.json
  bench-harness ratio --limit 1.25        # exit code 1 above it")]
pub struct Args {
    /// Pairs of windows, null and Viaduct in turn
    #[arg(long, default_value_t = 9)]
    pairs: usize,
    /// Rules in Viaduct's configuration
    #[arg(long, default_value_t = 100)]
    rules: usize,
    /// Length of a window in milliseconds
    #[arg(long, default_value_t = 1500)]
    window_ms: u64,
    /// Part of null's knee that is offered
    #[arg(long, default_value_t = 0.8)]
    load: f64,
    /// Highest median ratio that counts as good
    #[arg(long)]
    limit: Option<f64>,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the comparison; `true`: within the limit.
pub fn execute(args: &Args) -> io::Result<bool> {
    let world = World::build()?;
    let folder = tempfile::tempdir()?;
    let sink = Sink::start(world.sink()?, Some(LOAD_CORE))?;
    let mut generator = Generator::new(world.client()?, SINK.into())?;
    let mut viaduct = Subject::viaduct(folder.path(), args.rules)?;
    wait_for(&mut viaduct, &mut generator, &sink)?;
    let length = sink.last_len();
    let mut null = Subject::null(folder.path(), length)?;
    wait_for(&mut null, &mut generator, &sink)?;
    // Not before the forwarders are started: they would inherit it.
    pin(LOAD_CORE)?;

    let bar = progress::spinner("finding null's knee");
    let knee = knee(&mut null, &mut generator, &sink, |rate| bar.set_message(format!("null at {rate}/s")))?;
    bar.finish_and_clear();
    let rate = (knee as f64 * args.load) as u64;

    let bar = progress::bar(args.pairs as u64, "pairs");
    let mut pairs = Vec::new();
    for pair in 0..args.pairs {
        let mut run =
            |subject| window(subject, &mut generator, &sink, rate, Duration::from_millis(args.window_ms));
        // Who goes first alternates, so that a drift of the machine favours neither.
        pairs.push(if pair.is_multiple_of(2) {
            let floor = run(&mut null)?;
            (floor, run(&mut viaduct)?)
        } else {
            let ours = run(&mut viaduct)?;
            (run(&mut null)?, ours)
        });
        bar.inc(1);
    }
    bar.finish_and_clear();
    let ratio = Spread::of(pairs.iter().map(|(floor, ours)| ours.cpu_ns / floor.cpu_ns).collect())
        .ok_or_else(|| io::Error::other("no pairs were asked for"))?;
    if args.json {
        let pairs: Vec<_> = pairs.iter().map(|(n, v)| json!({ "null": n, "viaduct": v })).collect();
        let sizes = json!({ "in": generator.message_len(), "out": length });
        println!(
            "{}",
            json!({ "cpu_per_message_vs_null": ratio, "knee": knee, "rate": rate, "bytes": sizes, "pairs": pairs })
        );
    } else {
        print(knee, rate, &pairs, ratio, (generator.message_len(), length));
    }
    Ok(args.limit.is_none_or(|limit| ratio.median <= limit))
}

/// Sends one message now and then until one arrives.
pub fn wait_for(subject: &mut Subject, generator: &mut Generator, sink: &Sink) -> io::Result<()> {
    let before = sink.messages();
    for _ in 0..200 {
        subject.check_alive()?;
        generator.run(subject.address.into(), 20, Duration::from_millis(100))?;
        if sink.messages() > before {
            sink.settle();
            return Ok(());
        }
    }
    Err(io::Error::other(format!("{} forwards nothing from {CLIENT} to {SINK}", subject.name)))
}

fn print(knee: u64, rate: u64, pairs: &[(Window, Window)], ratio: Spread, bytes: (usize, u64)) {
    println!("null's knee: {knee}/s; offered: {rate}/s; {} bytes in, {} out", bytes.0, bytes.1);
    println!(
        "{:>6} {:>14} {:>14} {:>8} {:>12} {:>12}",
        "pair", "null ns/msg", "viaduct ns/msg", "ratio", "null arr.", "viaduct arr."
    );
    for (number, (floor, ours)) in pairs.iter().enumerate() {
        println!(
            "{:>6} {:>14.0} {:>14.0} {:>8.3} {:>11.2}% {:>11.2}%{}",
            number + 1,
            floor.cpu_ns,
            ours.cpu_ns,
            ours.cpu_ns / floor.cpu_ns,
            floor.goodput() * 100.0,
            ours.goodput() * 100.0,
            if floor.on_schedule && ours.on_schedule { "" } else { "  (the generator was late)" },
        );
    }
    println!(
        "\nCPU per delivered message, Viaduct over null: {:.3} (median; {:.3} to {:.3})",
        ratio.median, ratio.min, ratio.max
    );
}
