//! `overload`: five times what a shard can carry, and what is left of it.

use std::io;
use std::time::Duration;

use serde_json::json;

use crate::load::{Generator, Sink};
use crate::measure::{knee, window};
use crate::progress;
use crate::ratio::wait_for;
use crate::subject::{LOAD_CORE, Subject, pin};
use crate::world::{SINK, World};

/// Offers a multiple of what one shard can carry and checks what is left of it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Passes (exit code 0) when under overload the goodput is at least 0.9 of the peak, resident memory
stays flat, and a normal load afterwards is delivered whole.

Example:
  bench-harness overload --times 5")]
pub struct Args {
    /// How many times the knee is offered
    #[arg(long, default_value_t = 5)]
    times: u64,
    /// For how many seconds
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the overload; `true`: all three conditions hold.
pub fn execute(args: &Args) -> io::Result<bool> {
    let world = World::build()?;
    let folder = tempfile::tempdir()?;
    let sink = Sink::start(world.sink()?, Some(LOAD_CORE))?;
    let mut generator = Generator::new(world.client()?, SINK.into())?;
    let mut viaduct = Subject::viaduct(folder.path(), 100)?;
    wait_for(&mut viaduct, &mut generator, &sink)?;
    pin(LOAD_CORE)?;

    let bar = progress::spinner("finding the knee");
    let knee = knee(&mut viaduct, &mut generator, &sink, |rate| bar.set_message(format!("{rate}/s")))?;
    // Buffers are touched for the first time under load; what is compared comes after that.
    bar.set_message("warming up");
    window(&mut viaduct, &mut generator, &sink, knee * args.times, Duration::from_secs(1))?;
    let before = viaduct.resident()?;
    bar.set_message(format!("{} times {knee}/s for {} s", args.times, args.seconds));
    let length = Duration::from_secs(args.seconds);
    let over = window(&mut viaduct, &mut generator, &sink, knee * args.times, length)?;
    let after = viaduct.resident()?;
    bar.set_message("the next calls");
    let next = window(&mut viaduct, &mut generator, &sink, knee / 2, Duration::from_secs(1))?;
    bar.finish_and_clear();

    let peak = knee * args.seconds;
    let goodput = over.delivered as f64 / peak as f64;
    let growth = after as f64 / before as f64;
    let passed = goodput >= 0.9 && growth <= 1.05 && next.goodput() >= 0.999;
    if args.json {
        println!(
            "{}",
            json!({ "passed": passed, "knee": knee, "times": args.times, "offered": over.sent / args.seconds,
                    "goodput_over_peak": goodput, "resident_before": before, "resident_after": after,
                    "next_load_delivered": next.goodput() })
        );
    } else {
        println!(
            "knee: {knee}/s; offered: {}/s ({:.1} times)",
            over.sent / args.seconds,
            over.sent as f64 / peak as f64
        );
        println!("goodput over peak:       {goodput:.3}  (at least 0.9)");
        println!("resident memory:         {:.1} → {:.1} MiB  (at most 1.05 times)", mib(before), mib(after));
        println!("next load delivered:     {:.2}%  (at least 99.9%)", next.goodput() * 100.0);
        println!("{}", if passed { "PASS" } else { "FAIL" });
    }
    Ok(passed)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
