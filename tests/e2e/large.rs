//! Rules by the ten thousand.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::mixed_rules;
use crate::sipp::{self, End};
use crate::viaduct::{Home, LISTENERS};
use crate::world::World;

const RULES: usize = 10_000;

#[test]
fn calls_do_not_notice_reloads_of_ten_thousand_rules() {
    let world = World::new();
    let home = Home::new(&format!("{LISTENERS}{}", mixed_rules::routes(RULES)));
    let viaduct = home.start(&world);
    let public = End { host: &world.public, address: "1.2.3.100" };
    let private = End { host: &world.private, address: "10.0.0.100" };
    let (mut reloads, mut meanwhile) = (0, 0);
    let mut slowest = Duration::ZERO;
    std::thread::scope(|scope| {
        let calls = scope.spawn(|| sipp::calls("call", 300, &public, "1.2.3.4", &private));
        while !calls.is_finished() {
            home.write(&format!("{LISTENERS}{}", mixed_rules::routes(RULES - 1 - reloads as usize)));
            viaduct.signal(Signal::SIGHUP);
            reloads += 1;
            loop {
                let begin = Instant::now();
                let done = viaduct.metrics().sum("viaduct_reloads_total", &[]);
                slowest = slowest.max(begin.elapsed());
                if done == reloads {
                    break;
                }
                meanwhile += 1;
            }
        }
    });
    println!("{reloads} reloads; {meanwhile} questions answered meanwhile, the slowest after {slowest:?}");
    assert!(reloads > 1, "{reloads} reloads while calls ran");
    assert!(meanwhile > 4 * reloads, "the control thread goes on while it reads: {meanwhile} questions");
    let metrics = viaduct.accounted(300 * 6);
    assert_eq!(metrics.sum("viaduct_dropped_total", &[]), 0);
    assert_eq!(metrics.sum("viaduct_answers_total", &[]), 0);
    viaduct.stop();
}
