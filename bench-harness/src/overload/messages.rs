//! INVITEs that nobody answers, several times as many as a shard can carry.

use std::io;
use std::time::Duration;

use serde_json::json;

use super::Args;
use crate::compare::{Bench, MESSAGES, Plan};
use crate::peak::Search;
use crate::progress;
use crate::results::model::{Load, Sample};
use crate::subject::{FORWARDER_CORE, LOAD_CORE, Subject, as_before, pin_from_here};
use crate::world::World;

/// Runs the overload; `true`: all three conditions hold.
pub fn execute(args: &Args) -> io::Result<bool> {
    let world = World::build()?;
    let folder = tempfile::tempdir()?;
    let start = || Subject::viaduct(folder.path(), 100);
    let mut viaduct = start()?;
    let mut bench = Bench::new(&world, FORWARDER_CORE, true, None)?;
    bench.wait_for(&mut viaduct, Load::Messages)?;
    let everywhere = pin_from_here(LOAD_CORE)?;

    let bar = progress::spinner("finding the knee");
    let told = |rate: f64| bar.set_message(format!("{rate:.0}/s"));
    let search = Search { windows: args.windows.unwrap_or(MESSAGES.windows), ..MESSAGES };
    let knee = bench.knee(&mut viaduct, &search, &|| as_before(&everywhere, start), &told)?;
    let mut offer = |rate: f64, seconds: u64| -> io::Result<Sample> {
        let plan = Plan { load: Load::Saturation, rate, length: Duration::from_secs(seconds) };
        Ok(bench.window(&mut viaduct, plan, 0)?.sample)
    };
    // Buffers are touched for the first time under load; what is compared comes after that.
    bar.set_message("warming up");
    let before = offer(knee * args.times as f64, 1)?.resident_bytes;
    bar.set_message(format!("{} times {knee:.0}/s for {} s", args.times, args.seconds));
    let over = offer(knee * args.times as f64, args.seconds)?;
    let after = over.resident_bytes;
    bar.set_message("the next calls");
    let next = offer(knee / 2.0, 1)?;
    bar.finish_and_clear();

    let peak = knee * args.seconds as f64;
    let goodput = over.delivered as f64 / peak;
    let growth = after as f64 / before as f64;
    let next = next.delivered as f64 / next.sent.max(1) as f64;
    let passed = goodput >= 0.9 && growth <= 1.05 && next >= 0.999;
    if args.json {
        println!(
            "{}",
            json!({ "passed": passed, "knee": knee, "times": args.times, "offered": over.sent / args.seconds,
                    "goodput_over_peak": goodput, "resident_before": before, "resident_after": after,
                    "next_load_delivered": next })
        );
    } else {
        println!(
            "knee: {knee:.0}/s; offered: {}/s ({:.1} times)",
            over.sent / args.seconds,
            over.sent as f64 / peak
        );
        println!("goodput over peak:       {goodput:.3}  (at least 0.9)");
        println!("resident memory:         {:.1} → {:.1} MiB  (at most 1.05 times)", mib(before), mib(after));
        println!("next load delivered:     {:.2}%  (at least 99.9%)", next * 100.0);
        println!("{}", if passed { "PASS" } else { "FAIL" });
    }
    Ok(passed)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
