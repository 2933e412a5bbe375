//! The pieces of `bench-harness micro` under criterion, with its distributions and its memory of the run before:
//! `cargo bench -p bench-harness -- fib_lookup`.

#[path = "../src/cases/mod.rs"]
#[allow(dead_code)] // What only the program uses.
mod cases;
#[path = "../src/draw.rs"]
mod draw;

use std::time::{Duration, Instant};

use criterion::{Bencher, Criterion, criterion_group, criterion_main};

/// Calls that are made ready at once, as `micro` has them.
const AT_ONCE: u64 = 128;

fn pieces(criterion: &mut Criterion) {
    for name in cases::names() {
        // Built only where it is measured: large tables take seconds.
        let mut case = None;
        criterion.bench_function(&name, |bencher| {
            let case = case.get_or_insert_with(|| cases::build(&name).expect("it is one of the names"));
            measure(bencher, &mut **case);
        });
    }
}

fn measure(bencher: &mut Bencher<'_>, case: &mut dyn cases::Case) {
    bencher.iter_custom(|calls| {
        let mut time = Duration::ZERO;
        let mut left = calls;
        while left > 0 {
            let part = left.min(AT_ONCE);
            case.prepare(part as usize);
            let begin = Instant::now();
            case.run();
            time += begin.elapsed();
            left -= part;
        }
        time
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2));
    targets = pieces
}
criterion_main!(benches);
