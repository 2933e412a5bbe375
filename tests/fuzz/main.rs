//! The bodies of the fuzz targets, on the committed corpora and on what becomes of them.
//!
//! `VIADUCT_SEED=N` runs one mutated message; `VIADUCT_SEEDS=N` runs so many. `Cargo.toml` beside this file
//! is the crate with which libFuzzer runs the same bodies.

mod mutate;
mod parse;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use mutate::mutated;

/// How many mutated messages a target gets.
const SEEDS: u64 = 2_000;

/// A committed message, and its name.
struct Example {
    name: String,
    bytes: Vec<u8>,
}

/// The messages of one corpus. What libFuzzer adds to it has other names.
fn corpus(target: &str) -> Vec<Example> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let paths = files.map(|file| file.expect("a file").path());
    let mut examples: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "sip"))
        .map(|path| Example {
            name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            bytes: fs::read(&path).expect("a message"),
        })
        .collect();
    examples.sort_by(|a, b| a.name.cmp(&b.name));
    examples
}

/// Messages of all corpora: what is meant for one target is good for the others.
fn messages() -> Vec<Vec<u8>> {
    corpus("parse").into_iter().map(|example| example.bytes).collect()
}

/// Runs a body on a message; where that fails, says on what.
fn run(body: fn(&[u8]), message: &[u8], what: &str) {
    if let Err(cause) = catch_unwind(AssertUnwindSafe(|| body(message))) {
        eprintln!("{what}:\n{}", message.escape_ascii());
        resume_unwind(cause);
    }
}

/// The messages as they are, and every datagram that ends too early.
fn as_written_and_cut(body: fn(&[u8])) {
    for message in messages() {
        // Long ones are repetitive; every seventh place is enough of them.
        let step = if message.len() > 1500 { 7 } else { 1 };
        for len in (0..message.len()).step_by(step) {
            run(body, &message[..len], "cut");
        }
        run(body, &message, "as written");
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

fn mutations(body: fn(&[u8])) {
    let messages = messages();
    let seeds = match number("VIADUCT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("VIADUCT_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        let what = format!("seed {seed} (VIADUCT_SEED={seed} repeats it)");
        run(body, &mutated(&messages, seed), &what);
    }
}

#[test]
fn a_seed_repeats_its_message() {
    let messages = messages();
    assert_eq!(mutated(&messages, 3), mutated(&messages, 3));
    assert_ne!(mutated(&messages, 3), mutated(&messages, 7));
}

#[test]
fn messages_parse() {
    as_written_and_cut(parse::run);
}

#[test]
fn mutated_messages_parse() {
    mutations(parse::run);
}
