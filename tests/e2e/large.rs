//! Rules by the ten thousand.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::mixed_rules;
use crate::sipp::{self, End};
use crate::viaduct::{Home, LISTENERS};
use crate::world::World;

const RULES: usize = 10_000;
/// Calls that are made at a time, three seconds of them.
const BATCH: u32 = 300;
const MOST_BATCHES: u32 = 10;

#[test]
fn calls_do_not_notice_reloads_of_ten_thousand_rules() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{}", mixed_rules::routes(RULES)));
    let viaduct = home.start(&world);
    let public = End { host: &world.public, address: "1.2.3.100" };
    let private = End { host: &world.private, address: "10.0.0.100" };
    let (mut reloads, mut meanwhile) = (0u32, 0u64);
    let mut slowest = Duration::ZERO;
    let reloaded = AtomicU32::new(0);
    let calls = std::thread::scope(|scope| {
        // A busy machine takes longer than 300 calls to read ten thousand rules twice.
        let calls = scope.spawn(|| {
            let mut batches = 0;
            while batches == 0 || (reloaded.load(Relaxed) < 2 && batches < MOST_BATCHES) {
                sipp::calls("call", BATCH, &public, "1.2.3.4", &private);
                batches += 1;
            }
            batches * BATCH
        });
        while !calls.is_finished() {
            home.write(&format!("{LISTENERS}{}", mixed_rules::routes(RULES - 1 - reloads as usize)));
            viaduct.signal(Signal::SIGHUP);
            reloads += 1;
            loop {
                let begin = Instant::now();
                let done = viaduct.metrics().sum("viaduct_reloads_total", &[]);
                slowest = slowest.max(begin.elapsed());
                if done == u64::from(reloads) {
                    break;
                }
                meanwhile += 1;
            }
            reloaded.store(reloads, Relaxed);
        }
        calls.join().expect("the calls succeed")
    });
    println!(
        "{reloads} reloads during {calls} calls; {meanwhile} questions answered meanwhile, the slowest after {slowest:?}"
    );
    assert!(reloads > 1, "{reloads} reloads while calls ran");
    assert!(
        meanwhile > 4 * u64::from(reloads),
        "the control thread goes on while it reads: {meanwhile} questions"
    );
    let metrics = viaduct.accounted(u64::from(calls) * 6);
    assert_eq!(metrics.sum("viaduct_dropped_total", &[]), 0);
    assert_eq!(metrics.sum("viaduct_answers_total", &[]), 0);
    viaduct.stop();
}
