//! The bodies of the fuzz targets, on the committed corpora and on what becomes of them.
//!
//! `VIADUCT_SEED=N` runs one mutated message; `VIADUCT_SEEDS=N` runs so many. `Cargo.toml` beside this file
//! is the crate with which libFuzzer runs the same bodies.

mod forward;
#[path = "../support/held.rs"]
mod held;
mod host;
mod layers;
mod mutate;
mod parse;
#[allow(dead_code)]
#[path = "../support/pki.rs"]
mod pki;
mod reply;
mod set;
mod stream;
#[allow(dead_code)]
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod transactions;
mod websocket;

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use mutate::mutated;
use viaduct::egress::Reason;
use viaduct::proxy::Outcome;

/// How many mutated messages a target gets.
const SEEDS: u64 = 5_000;

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

/// The messages of all corpora: what is meant for one target is good for the others.
fn messages() -> Vec<Vec<u8>> {
    ["parse", "forward", "reply"].into_iter().flat_map(corpus).map(|example| example.bytes).collect()
}

/// What a host makes of messages, and what follows: these hold tokens of its own.
fn messages_with_tokens() -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    for (outcome, sent) in corpus("forward").iter().flat_map(|example| host::becomes(&example.bytes)) {
        if matches!(outcome, Outcome::Forward { .. }) {
            messages.extend([response_to(&sent), within_its_dialog(&sent), sent]);
        }
    }
    messages
}

/// What has the headers of this request passes for a response to it.
fn response_to(request: &[u8]) -> Vec<u8> {
    let line = request.iter().position(|&c| c == b'\r').expect("a start line");
    [b"SIP/2.0 200 OK", &request[line..]].concat()
}

/// The request again with what was recorded as its route, and with a To tag.
fn within_its_dialog(request: &[u8]) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = request.split_inclusive(|&c| c == b'\n').map(<[u8]>::to_vec).collect();
    for line in &mut lines {
        if let Some(value) = line.strip_prefix(b"Record-Route:") {
            *line = [b"Route:", value].concat();
        } else if line.to_ascii_lowercase().starts_with(b"to:") {
            line.splice(line.len() - 2..line.len(), *b";tag=b\r\n");
        }
    }
    lines.concat()
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
    mutations_of(&[messages(), messages_with_tokens()].concat(), SEEDS, body);
}

fn mutations_of(examples: &[Vec<u8>], seeds: u64, body: fn(&[u8])) {
    let seeds = match number("VIADUCT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("VIADUCT_SEEDS").unwrap_or(seeds),
    };
    for seed in seeds {
        let what = format!("seed {seed} (VIADUCT_SEED={seed} repeats it)");
        run(body, &mutated(examples, seed), &what);
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

/// The corpus is about what it says it is about.
#[test]
fn examples_are_forwarded() {
    let mut reasons = BTreeSet::new();
    for Example { name, bytes } in corpus("forward") {
        let became = host::becomes(&bytes);
        let seen = became.iter().filter_map(|(outcome, _)| match outcome {
            Outcome::Forward { decision, .. } => Some(decision.egress.reason.label()),
            _ => None,
        });
        assert!(seen.clone().count() > 0, "{name}: {became:?}");
        reasons.extend(seen);
    }
    assert_eq!(reasons, BTreeSet::from(["auto", "override"]));
}

#[test]
fn messages_with_tokens_are_taken_for_ours() {
    let became: Vec<_> = messages_with_tokens().iter().flat_map(|message| host::becomes(message)).collect();
    let count = |what: fn(&Outcome) -> bool| became.iter().filter(|(outcome, _)| what(outcome)).count();
    assert!(count(|outcome| matches!(outcome, Outcome::Relay { .. })) > 0);
    let in_dialog = |outcome: &Outcome| matches!(outcome, Outcome::Forward { decision, .. } if decision.egress.reason == Reason::Dialog);
    assert!(count(in_dialog) > 0);
}

#[test]
fn messages_are_forwarded() {
    as_written_and_cut(forward::run);
}

#[test]
fn mutated_messages_are_forwarded() {
    mutations(forward::run);
}

#[test]
fn examples_are_answered() {
    let mut statuses = BTreeSet::new();
    for Example { name, bytes } in corpus("reply") {
        let became = host::becomes(&bytes);
        let seen = became.iter().filter_map(|(outcome, _)| match outcome {
            Outcome::Answer { status, .. } => Some(*status),
            _ => None,
        });
        assert!(seen.clone().count() > 0, "{name}: {became:?}");
        statuses.extend(seen);
    }
    assert_eq!(statuses, BTreeSet::from([200, 400, 403, 404, 416, 420, 481, 483, 500, 503, 505, 603]));
}

#[test]
fn messages_are_answered() {
    as_written_and_cut(reply::run);
}

#[test]
fn mutated_messages_are_answered() {
    mutations(reply::run);
}

#[test]
fn messages_leave_no_transaction() {
    for message in messages() {
        run(transactions::run, &message, "as written");
    }
    assert!(transactions::ended() > 20, "{} transactions", transactions::ended());
    assert!(transactions::branches() > 10, "{} further next hops", transactions::branches());
}

#[test]
fn mutated_messages_leave_no_transaction() {
    mutations(transactions::run);
}

#[test]
fn messages_are_changed() {
    as_written_and_cut(set::run);
}

#[test]
fn mutated_messages_are_changed() {
    mutations(set::run);
}

/// A hello is another one each time, so that a seed repeats what becomes of it but not its random bytes.
#[test]
fn mutated_hellos_are_taken_for_tls() {
    let hello = tls::hello();
    for len in 0..=hello.len() {
        run(tls::run, &hello[..len], "cut");
    }
    mutations_of(&[hello, b"OPTIONS sip:a SIP/2.0\r\n\r\n".to_vec()], SEEDS / 5, tls::run);
}

#[test]
fn mutated_frames_are_taken_for_websocket() {
    let examples = websocket::examples();
    for example in &examples {
        for len in 0..=example.len() {
            run(websocket::run, &example[..len], "cut");
        }
    }
    mutations_of(&examples, SEEDS, websocket::run);
}

#[test]
fn streams_are_framed() {
    for stream in stream::examples(&messages()) {
        run(stream::run, &stream, "as written");
    }
    as_written_and_cut(stream::run);
}

#[test]
fn mutated_streams_are_framed() {
    mutations_of(&[stream::examples(&messages()), messages()].concat(), SEEDS, stream::run);
}

/// Bytes that no TLS begins with, hellos, frames, and text that stands for nothing.
#[test]
fn mutated_bytes_go_through_layers() {
    let frames = websocket::examples();
    for example in &frames {
        run(layers::run, example, "as written");
    }
    let long = [frames[2].clone(), vec![0x81, 0xfe, 0xff, 0xff, 1, 2, 3, 4], vec![b'x'; 70_000]].concat();
    run(layers::run, &long, "as written");
    mutations_of(&[vec![tls::hello()], frames].concat(), SEEDS / 10, layers::run);
}
