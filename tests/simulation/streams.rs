//! Calls over connections and between them and datagrams: cut into pieces at any place, reset, half closed, half open.
//!
//! What has to hold for every seed, read from what agents have seen, from the trace and from the counters:
//!
//! - a request that came in gets at most one final answer, and where nothing is lost exactly one;
//! - an answer comes by the connection that its request went by, while that is there;
//! - every transaction and every connection ends by its deadline, and nothing is left: no record, no kept message, no byte
//!   that was kept or waits, no send buffer;
//! - each message that came in, and each connection that was open, is counted once more by its end.

use std::net::SocketAddr;

use viaduct::engine::sim::Faults;
use viaduct::metrics::StreamEnd;
use viaduct::net::Now;
use viaduct::random::Random;

use super::invariants;
use super::peers::{Deed, Over, Peer};
use super::world::{Forwarder, MS, Simulation, address, trust};

const SEEDS: u64 = 60;
pub const CALLS: u64 = 16;
/// All calls are over, those too whose answer was lost after it had rung (Timer C), and agents end their connections.
const LEAVE_MS: u64 = 300_000;
/// What nobody ends is idle for so long (`STREAM_IDLE_NS`), and a little.
pub const END_MS: u64 = LEAVE_MS + 1_000_000;

/// Between datagrams and connections, and from connections to connections.
const WAYS: [[Over; 2]; 3] = [
    [Over::Datagrams, Over::Connections],
    [Over::Connections, Over::Datagrams],
    [Over::Connections, Over::Connections],
];

/// What strangers say: a message that never comes whole, none at all, keep-alives, and one that is too slow in its body.
const BABBLE: [(Over, &str); 4] = [
    (Over::Connections, "INVITE sip:x SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bKb\r\n"),
    (Over::Connections, "GET / HTTP/1.1\r\n\r\n"),
    (Over::Connections, "\r\n\r\n\r\n\r\n"),
    (
        Over::Connections,
        "MESSAGE sip:x SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bKc\r\nContent-Length: 9\r\n\r\nhalf",
    ),
];

pub fn faults(seed: u64) -> Faults {
    match seed % 4 {
        0 => Faults::NONE,
        1 | 3 => Faults { delay_ns: (100_000, 20_000_000), lost: 0, doubled: 0 },
        _ => Faults { delay_ns: (100_000, 100_000_000), lost: 50, doubled: 50 },
    }
}

/// Connections are lost, and strangers connect.
pub fn is_troubled(seed: u64) -> bool {
    seed % 4 >= 2
}

/// Agents at three hosts, each of which both networks of the other family reach.
pub fn world(seed: u64, forwarder: Forwarder) -> Simulation<Peer> {
    Simulation::with(seed, faults(seed), forwarder, |own, proxy| {
        Peer::new(own, proxy, Random::new(seed ^ u64::from_be_bytes(mixed(own))), trust())
    })
}

fn mixed(own: SocketAddr) -> [u8; 8] {
    let mut bytes = [0; 8];
    own.to_string().bytes().enumerate().for_each(|(at, byte)| bytes[at % 8] ^= byte);
    bytes
}

fn place_calls(simulation: &mut Simulation<Peer>, dice: &mut Random) {
    for number in 0..CALLS {
        let (from, way) = (dice.below(3) as usize, WAYS[dice.below(3) as usize]);
        let to = (from + 1 + dice.below(2) as usize) % 3;
        let deed = Deed::Call { user: user(number, dice), to: address(to), over: way };
        simulation.agent(from).plan(dice.below(2_000) * MS, deed);
    }
    leave(simulation);
}

/// Who is called, and so what he does.
pub fn user(number: u64, dice: &mut Random) -> String {
    let kind = ["mute", "busy", "call", "call", "call", "call"][dice.below(6) as usize];
    format!("{kind}{number}")
}

/// In the end all connections are ended in good order.
pub fn leave(simulation: &mut Simulation<Peer>) {
    (0..3).for_each(|agent| simulation.agent(agent).plan(LEAVE_MS * MS, Deed::Leave));
}

pub fn make_trouble(simulation: &mut Simulation<Peer>, dice: &mut Random, babble: &[(Over, &'static str)]) {
    for _ in 0..dice.below(8) {
        let deed = match dice.below(4) {
            0 => Deed::Reset,
            1 => Deed::Finish,
            _ => {
                let (over, text) = babble[dice.below(babble.len() as u64) as usize];
                Deed::Babble(over, text)
            }
        };
        simulation.agent(dice.below(3) as usize).plan(dice.below(4_000) * MS, deed);
    }
    let mut cuts: Vec<u64> = (0..dice.below(3)).map(|_| dice.below(4_000) * MS).collect();
    cuts.sort_unstable();
    for at in cuts {
        simulation.world.run_until(Now(at));
        let wires = simulation.agent(dice.below(3) as usize).wires();
        if let Some(wire) = wires.get(dice.below(wires.len() as u64) as usize).copied() {
            simulation.world.cut(wire);
            (0..3).for_each(|agent| _ = simulation.agent(agent).cut.insert(wire));
        }
    }
}

/// Calls that were placed, and those whose BYE was answered or that were refused as they should be.
fn finals(simulation: &mut Simulation<Peer>, is_troubled: bool, wrong: &mut Vec<String>) -> (u64, u64) {
    let (mut placed, mut good) = (0, 0);
    for agent in 0..3 {
        let peer = simulation.agent(agent);
        wrong.append(&mut peer.wrong);
        for (id, call) in &peer.calls {
            if call.finals.values().any(|answers| answers.len() > 1) {
                wrong.push(format!("{id}: {call:?}"));
            }
            let is = |status: &str| {
                call.finals.get("1 INVITE").is_some_and(|all| all.iter().all(|a| a.starts_with(status)))
            };
            let as_it_should = match &id[..4] {
                "mute" => is("408"),
                "busy" => is("486"),
                _ => is("200") && call.is_done,
            };
            if !as_it_should && !is_troubled {
                wrong.push(format!("{id} did not go as it should: {call:?}"));
            }
            placed += 1;
            good += u64::from(as_it_should);
        }
    }
    (placed, good)
}

fn nothing_is_left(simulation: &Simulation<Peer>, wrong: &mut Vec<String>) {
    for metrics in &simulation.metrics {
        let transactions: Vec<u64> = metrics.transactions.open.iter().map(|open| open.get()).collect();
        let streams = &metrics.streams;
        let left = [&streams.open, &streams.kept_bytes, &streams.unsent_bytes, &metrics.transactions.blocks];
        let left = left.map(|counter| counter.get());
        if transactions != [0; 4] || left != [0; 4] {
            wrong
                .push(format!("left: {transactions:?} transactions, connections, bytes and blocks {left:?}"));
        }
        let ended: u64 = StreamEnd::ALL
            .iter()
            .filter(|how| how.was_open())
            .map(|how| streams.ended[*how as usize].get())
            .sum();
        let opened = streams.accepted.get() + streams.connected.get();
        if opened != ended {
            wrong.push(format!("{opened} connections were open, {ended} ended"));
        }
    }
}

pub fn hold(simulation: &mut Simulation<Peer>, seed: u64, is_troubled: bool) -> (u64, u64) {
    let mut wrong = Vec::new();
    let counts = finals(simulation, is_troubled, &mut wrong);
    if !is_troubled && counts.0 != counts.1 {
        wrong.push(format!("{} of {} calls went as they should", counts.1, counts.0));
    }
    nothing_is_left(simulation, &mut wrong);
    invariants::no_buffer_is_lost(simulation, &mut wrong);
    invariants::what_came_in_has_its_end(simulation, &mut wrong);
    invariants::responses_leave_where_requests_came_in(simulation, &mut wrong);
    assert!(wrong.is_empty(), "seed {seed} (VIADUCT_SEED={seed} repeats it):\n  {}", wrong.join("\n  "));
    counts
}

#[test]
fn calls_over_connections_end_and_leave_nothing_in_every_world() {
    let seeds: Vec<u64> = match super::number("VIADUCT_SEED") {
        Some(seed) => vec![seed],
        None => (0..super::number("VIADUCT_SEEDS").unwrap_or(SEEDS)).collect(),
    };
    let (mut placed, mut good, mut handed_over, mut opened) = (0, 0, 0, 0);
    let mut ended = [0; StreamEnd::ALL.len()];
    for &seed in &seeds {
        let mut dice = Random::new(seed ^ 0x57e4);
        let mut simulation = world(seed, Forwarder::Streams(2));
        place_calls(&mut simulation, &mut dice);
        if is_troubled(seed) {
            make_trouble(&mut simulation, &mut dice, &BABBLE);
        }
        simulation.run_until(END_MS);
        let counts = hold(&mut simulation, seed, is_troubled(seed));
        (placed, good) = (placed + counts.0, good + counts.1);
        for metrics in &simulation.metrics {
            handed_over += metrics.handed_over.get();
            opened += metrics.streams.connected.get();
            ended.iter_mut().zip(&metrics.streams.ended).for_each(|(sum, n)| *sum += n.get());
        }
    }
    println!(
        "{} seeds, {good} of {placed} calls as they should, {handed_over} messages handed over, {opened} connections \
         opened, ended {ended:?}",
        seeds.len()
    );
    if seeds.len() as u64 >= SEEDS {
        assert!(good * 10 >= placed * 8 && handed_over > 0 && opened > 0);
        use StreamEnd::{Broken, Closed, Idle, NotFramed, TooSlow};
        let all = [Closed, Broken, NotFramed, TooSlow, Idle].map(|how| ended[how as usize]);
        assert!(all.iter().all(|&count| count > 0), "{all:?}");
    }
}

/// One call at a time, whose connections are lost on either side between its messages.
#[test]
fn a_connection_that_is_lost_in_a_dialog_is_opened_anew() {
    let mut lost = 0;
    for seed in 0..24 {
        let mut simulation = world(4 * seed + 1, Forwarder::Streams(2));
        for (number, over) in WAYS.into_iter().enumerate() {
            let begin = 10_000 * number as u64;
            let deed = Deed::Call { user: format!("call{number}"), to: address(1), over };
            simulation.agent(0).plan(begin * MS, deed);
            // The callee has answered after 300 ms at most, and the BYE comes a second later.
            for agent in [0, 1].into_iter().filter(|agent| seed >> agent & 1 == 0) {
                simulation.agent(agent).plan((begin + 700) * MS, Deed::Reset);
            }
        }
        (0..3).for_each(|agent| simulation.agent(agent).plan(LEAVE_MS * MS, Deed::Leave));
        simulation.run_until(END_MS);
        assert_eq!(hold(&mut simulation, seed, false), (3, 3), "seed {seed}");
        let broken = StreamEnd::Broken as usize;
        lost += simulation.metrics.iter().map(|metrics| metrics.streams.ended[broken].get()).sum::<u64>();
    }
    assert!(lost > 24, "{lost} connections were lost");
}

#[test]
fn a_seed_repeats_its_run_over_connections() {
    let run = |seed| {
        let mut dice = Random::new(seed);
        let mut simulation = world(seed, Forwarder::Streams(2));
        place_calls(&mut simulation, &mut dice);
        make_trouble(&mut simulation, &mut dice, &BABBLE);
        simulation.run_until(END_MS);
        simulation.story()
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(7));
}
