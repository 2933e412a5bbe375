//! Calls over TLS and WebSocket, whose records and frames are cut into pieces at any place, and whose connections are lost, also in
//! the middle of a handshake. What has to hold is what holds over TCP ([`super::streams`]).

use std::net::SocketAddr;

use viaduct::metrics::StreamEnd;
use viaduct::random::Random;
use viaduct::tls::Failure;

use super::peers::{Deed, FIRST_PORT, Over, Peer};
use super::streams::{CALLS, END_MS, hold, is_troubled, leave, make_trouble, user, world};
use super::world::{Forwarder, MS, Simulation, address};

const SEEDS: u64 = 48;

/// From each kind to another one; a browser is called by the connection that it has opened.
const WAYS: [[Over; 2]; 9] = [
    [Over::Tls, Over::Datagrams],
    [Over::Datagrams, Over::Tls],
    [Over::Tls, Over::Tls],
    [Over::WebSocket, Over::Datagrams],
    [Over::Datagrams, Over::WebSocket],
    [Over::SecureWebSocket, Over::Connections],
    [Over::Connections, Over::SecureWebSocket],
    [Over::WebSocket, Over::SecureWebSocket],
    [Over::Tls, Over::WebSocket],
];

/// What strangers say: no TLS, the beginning of a record, nothing that asks for a WebSocket, and a half of what does.
const BABBLE: [(Over, &str); 5] = [
    (Over::Tls, "OPTIONS sip:x SIP/2.0\r\n\r\n"),
    (Over::Tls, "\x16\x03\x01\x02"),
    (Over::WebSocket, "GET / HTTP/1.1\r\n\r\n"),
    (Over::WebSocket, "GET / HTTP/1.1\r\nUpgrade: webso"),
    (Over::SecureWebSocket, "GET / HTTP/1.1\r\n\r\n"),
];

/// When browsers have opened their connections.
const OPEN_MS: u64 = 1_000;

/// Where an agent is called.
fn called(agent: usize, over: Over) -> SocketAddr {
    let ip = address(agent).ip();
    match over {
        Over::WebSocket => SocketAddr::new(ip, FIRST_PORT + 1),
        Over::SecureWebSocket => SocketAddr::new(ip, FIRST_PORT + 2),
        Over::Datagrams | Over::Connections | Over::Tls => address(agent),
    }
}

fn place_calls(simulation: &mut Simulation<Peer>, dice: &mut Random) {
    for agent in 0..3 {
        simulation.agent(agent).plan(0, Deed::Open(Over::WebSocket));
        simulation.agent(agent).plan(MS, Deed::Open(Over::SecureWebSocket));
    }
    for number in 0..CALLS {
        let (from, way) = (dice.below(3) as usize, WAYS[dice.below(WAYS.len() as u64) as usize]);
        let to = (from + 1 + dice.below(2) as usize) % 3;
        let deed = Deed::Call { user: user(number, dice), to: called(to, way[1]), over: way };
        simulation.agent(from).plan((OPEN_MS + dice.below(2_000)) * MS, deed);
    }
    leave(simulation);
}

fn run(seed: u64) -> Simulation<Peer> {
    let mut dice = Random::new(seed ^ 0x1a7e);
    let mut simulation = world(seed, Forwarder::Layers(2));
    place_calls(&mut simulation, &mut dice);
    if is_troubled(seed) {
        make_trouble(&mut simulation, &mut dice, &BABBLE);
    }
    simulation.run_until(END_MS);
    simulation
}

#[test]
fn calls_over_tls_and_websocket_end_and_leave_nothing_in_every_world() {
    let seeds: Vec<u64> = match super::number("VIADUCT_SEED") {
        Some(seed) => vec![seed],
        None => (0..super::number("VIADUCT_SEEDS").unwrap_or(SEEDS)).collect(),
    };
    let (mut placed, mut good, mut handshakes, mut resumed) = (0, 0, 0, 0);
    let mut ended = [0; StreamEnd::ALL.len()];
    let mut failed = [0; Failure::LABELS.len()];
    for &seed in &seeds {
        let mut simulation = run(seed);
        let counts = hold(&mut simulation, seed, is_troubled(seed));
        (placed, good) = (placed + counts.0, good + counts.1);
        for metrics in &simulation.metrics {
            let streams = &metrics.streams;
            for [whole, again] in &streams.handshakes {
                (handshakes, resumed) = (handshakes + whole.get(), resumed + again.get());
            }
            ended.iter_mut().zip(&streams.ended).for_each(|(sum, n)| *sum += n.get());
            failed.iter_mut().zip(&streams.tls_failed).for_each(|(sum, n)| *sum += n.get());
        }
    }
    println!(
        "{} seeds, {good} of {placed} calls as they should, {handshakes} handshakes and {resumed} resumed, ended {ended:?}, \
         TLS failed {failed:?}",
        seeds.len()
    );
    if seeds.len() as u64 >= SEEDS {
        assert!(good * 10 >= placed * 8 && handshakes > 0 && resumed > 0);
        use StreamEnd::{Broken, Closed, LayerFailed, TooSlow};
        let all = [Closed, Broken, LayerFailed, TooSlow].map(|how| ended[how as usize]);
        assert!(all.iter().all(|&count| count > 0), "{all:?}");
    }
}

#[test]
fn a_seed_repeats_its_run_over_layers() {
    let told = |seed| {
        let mut simulation = run(seed);
        let calls: Vec<String> = (0..3).map(|agent| format!("{:?}", simulation.agent(agent).calls)).collect();
        (simulation.story(), calls)
    };
    assert!(told(3) == told(3), "the same");
    assert!(told(3) != told(7), "others");
}
