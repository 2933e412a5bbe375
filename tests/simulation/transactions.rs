//! Stateful forwarding by two shards of one process, under loss, duplication, reordering and route flips.
//!
//! What has to hold for every seed, read from the trace and the counters:
//!
//! - a request that came in gets at most one final answer, but for 2xx to an INVITE; an INVITE gets one;
//! - an INVITE is answered within 200 ms, by a 100 where nothing else has come back by then, and by none behind that;
//! - a branch goes one way: from one socket to one next hop;
//! - every transaction ends by its deadline, and nothing is left: no record, no kept message, no send buffer;
//! - each message that came in is counted once, by whichever shard handled it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use viaduct::engine::sim::Faults;
use viaduct::random::Random;
use viaduct::transaction::{Cause, Timer};

use super::invariants;
use super::odd::{KINDS, Odd, header, method};
use super::world::{Forwarder, MS, Simulation};

const SEEDS: u64 = 60;
const REQUESTS: u64 = 24;
/// INVITEs that are cancelled in vain, and their answers, take their time.
const END_MS: u64 = 420_000;

fn faults(seed: u64) -> Faults {
    match seed % 3 {
        0 => Faults { delay_ns: (100_000, 20_000_000), lost: 0, doubled: 0 },
        1 => Faults { delay_ns: (100_000, 200_000_000), lost: 100, doubled: 50 },
        _ => Faults { delay_ns: (100_000, 20_000_000), lost: 100, doubled: 0 },
    }
}

fn world(seed: u64) -> Simulation<Odd> {
    let mut dice = Random::new(seed ^ 0x0dd);
    let mut simulation = Simulation::with(seed, faults(seed), Forwarder::Stateful(2), |own, proxy| {
        Odd::new(own, proxy, Random::new(seed ^ u64::from(own.port())))
    });
    for number in 0..REQUESTS {
        let kind = dice.below(KINDS.len() as u64) as usize;
        let at = dice.below(2_000) * MS;
        let callee: SocketAddr = "10.0.0.10:5060".parse().unwrap();
        simulation.agent(0).plan(at, kind, number, callee);
    }
    simulation
}

/// Final answers by Call-ID and CSeq, as they left the forwarder towards the caller.
fn finals(simulation: &Simulation<Odd>) -> BTreeMap<(String, String), BTreeSet<String>> {
    let mut finals = BTreeMap::<_, BTreeSet<String>>::new();
    for hop in simulation.world.trace().iter().filter(|hop| simulation.is_forwarder(hop.host)) {
        let text = std::str::from_utf8(&hop.bytes).expect("text");
        if text.starts_with("SIP/2.0") && !text.starts_with("SIP/2.0 1") {
            let key = (header(text, "Call-ID").to_owned(), header(text, "CSeq").to_owned());
            let what = format!("{} {}", text.lines().next().unwrap_or(""), header(text, "To"));
            finals.entry(key).or_default().insert(what);
        }
    }
    finals
}

fn one_final_answer(simulation: &Simulation<Odd>, wrong: &mut Vec<String>) {
    let finals = finals(simulation);
    for ((call_id, cseq), answers) in &finals {
        let twos = answers.iter().filter(|answer| answer.starts_with("SIP/2.0 2")).count();
        let is_invite = cseq.ends_with("INVITE");
        let others = answers.len() - if is_invite { twos } else { 0 };
        // Who is silent for too long may yet take the call.
        let may_cross = ["race", "spread", "pooled"].iter().any(|user| call_id.starts_with(user));
        if others > 1 || (is_invite && twos > 0 && others > 0 && !may_cross) {
            wrong.push(format!("{call_id} {cseq}: {answers:?}"));
        }
    }
    for hop in simulation.world.trace().iter().filter(|hop| simulation.is_ours(hop.to) && hop.copies > 0) {
        let text = std::str::from_utf8(&hop.bytes).expect("text");
        let key = (header(text, "Call-ID").to_owned(), header(text, "CSeq").to_owned());
        if method(text) == "INVITE" && !finals.contains_key(&key) {
            wrong.push(format!("{key:?} was never answered"));
        }
    }
}

/// RFC 3261 §17.2.1: "The server transaction MUST generate a 100 (Trying) response unless it knows that the TU will generate a
/// provisional or final response within 200 ms". How many INVITEs got a 100, and how many something better at once.
fn an_invite_is_answered_in_time(simulation: &Simulation<Odd>, wrong: &mut Vec<String>) -> [usize; 2] {
    let mut begun = BTreeMap::<&str, u64>::new();
    let mut answers = BTreeMap::<&str, Vec<(u64, &str)>>::new();
    for hop in simulation.world.trace().iter().filter(|hop| simulation.is_forwarder(hop.host)) {
        let text = std::str::from_utf8(&hop.bytes).expect("text");
        let call = header(text, "Call-ID");
        if method(text) == "INVITE" {
            begun.entry(call).or_insert(hop.at.0);
        } else if text.starts_with("SIP/2.0") && header(text, "CSeq").ends_with("INVITE") {
            answers.entry(call).or_default().push((hop.at.0, text.get(8..11).unwrap_or_default()));
        }
    }
    let mut counts = [0; 2];
    for (call, begun) in begun {
        let all = answers.get(call).map_or(&[][..], Vec::as_slice);
        let first = all.first().map_or(u64::MAX, |(at, _)| at - begun);
        let first_100 = all.iter().position(|(_, status)| *status == "100");
        let others = all.iter().skip_while(|(_, status)| *status == "100");
        if first > 200 * MS || others.clone().any(|(_, status)| *status == "100") {
            wrong.push(format!("{call}: begun at {begun}, answered {all:?}"));
        }
        counts[usize::from(first_100.is_none())] += 1;
    }
    counts
}

/// Where a request left from and went to.
type Way = (SocketAddr, SocketAddr);

/// All that is sent on a branch takes one way, whatever changes meanwhile: "The destination address, port, and transport for
/// the CANCEL MUST be identical to those used to send the original request." (§9.1)
fn one_way_for_each_branch(simulation: &Simulation<Odd>, wrong: &mut Vec<String>) -> usize {
    let mut ways = BTreeMap::<String, BTreeSet<Way>>::new();
    let mut branches = BTreeMap::<String, BTreeSet<String>>::new();
    for hop in simulation.world.trace().iter().filter(|hop| simulation.is_forwarder(hop.host)) {
        let text = std::str::from_utf8(&hop.bytes).expect("text");
        let Some((_, branch)) =
            header(text, "Via").split_once("branch=").filter(|_| !text.starts_with("SIP/2.0"))
        else {
            continue;
        };
        let branch = branch.split(';').next().unwrap_or_default().to_owned();
        if method(text) == "INVITE" || method(text) == "MESSAGE" {
            branches.entry(header(text, "Call-ID").to_owned()).or_default().insert(branch.clone());
        }
        ways.entry(branch).or_default().insert((hop.from, hop.to));
    }
    for (branch, ways) in ways.iter().filter(|(_, ways)| ways.len() > 1) {
        wrong.push(format!("{branch} went several ways: {ways:?}"));
    }
    branches.values().filter(|branches| branches.len() > 1).count()
}

/// A gateway that was silent once gets no new request: nobody brings it up again.
fn a_silent_gateway_is_left_alone(simulation: &Simulation<Odd>, wrong: &mut Vec<String>) -> usize {
    // The rule's `timeout`; other requests count at Timer F only: RFC 4320 §4.1 keeps who is at work from saying so before.
    const SILENCE: [(&str, u64); 2] = [("INVITE", 3_000 * MS), ("MESSAGE", 32_000 * MS)];
    let mute: SocketAddr = "[fd00::10]:5060".parse().unwrap();
    let mut firsts = BTreeMap::<String, u64>::new();
    let mut known = u64::MAX;
    for hop in simulation.world.trace().iter().filter(|hop| simulation.is_forwarder(hop.host)) {
        let text = std::str::from_utf8(&hop.bytes).expect("text");
        let Some((_, silence)) = SILENCE.iter().find(|(own, _)| *own == method(text)) else { continue };
        if hop.to == mute && header(text, "To").contains("pooled") && !text.starts_with("SIP/2.0") {
            let first = *firsts.entry(header(text, "Via").to_owned()).or_insert(hop.at.0);
            known = known.min(first + silence + 50 * MS);
        }
    }
    if known > simulation.world.now().0 {
        return 0;
    }
    let late: Vec<&String> = firsts.iter().filter(|(_, at)| **at > known).map(|(via, _)| via).collect();
    let last_resorts: u64 = simulation.metrics.iter().map(|metrics| metrics.last_resorts.get()).sum();
    if !late.is_empty() && last_resorts == 0 {
        wrong.push(format!("{late:?} went to a gateway that was known to be silent"));
    }
    let id = simulation.roster.ids(viaduct::net::GroupId(0))[1];
    if simulation.roster.health().ways(id).all(|(_, way)| way.share > 0) {
        wrong.push("the silent gateway is up".into());
    }
    1
}

fn nothing_is_left(simulation: &Simulation<Odd>, wrong: &mut Vec<String>) {
    for metrics in &simulation.metrics {
        let open: Vec<u64> = metrics.transactions.open.iter().map(|open| open.get()).collect();
        if open != [0; 4] || metrics.transactions.blocks.get() != 0 {
            wrong.push(format!("left: {open:?} transactions, {} blocks", metrics.transactions.blocks.get()));
        }
    }
}

#[test]
fn transactions_end_and_answer_once_in_every_world() {
    let seeds: Vec<u64> = match super::number("VIADUCT_SEED") {
        Some(seed) => vec![seed],
        None => (0..super::number("VIADUCT_SEEDS").unwrap_or(SEEDS)).collect(),
    };
    let (mut searches, mut silent, mut tried) = (0, 0, [0; 2]);
    let (mut handed_over, mut ended, mut timers) = (0, [0; Cause::ALL.len()], [0; Timer::ALL.len()]);
    for &seed in &seeds {
        let mut simulation = world(seed);
        simulation.run_until(END_MS);
        let mut wrong = Vec::new();
        one_final_answer(&simulation, &mut wrong);
        let counts = an_invite_is_answered_in_time(&simulation, &mut wrong);
        tried.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n);
        searches += one_way_for_each_branch(&simulation, &mut wrong);
        silent += a_silent_gateway_is_left_alone(&simulation, &mut wrong);
        nothing_is_left(&simulation, &mut wrong);
        invariants::no_buffer_is_lost(&mut simulation, &mut wrong);
        invariants::each_message_is_counted_once(&simulation, &mut wrong);
        invariants::responses_leave_where_requests_came_in(&simulation, &mut wrong);
        assert!(
            wrong.is_empty(),
            "seed {seed} (VIADUCT_SEED={seed} repeats it):\n  {}{}",
            wrong.join("\n  "),
            if seeds.len() == 1 { simulation.story() } else { String::new() }
        );
        for metrics in &simulation.metrics {
            handed_over += metrics.handed_over.get();
            ended.iter_mut().zip(&metrics.transactions.ended).for_each(|(sum, n)| *sum += n.get());
            timers.iter_mut().zip(&metrics.transactions.timers).for_each(|(sum, n)| *sum += n.get());
        }
    }
    println!("{} seeds, {handed_over} messages handed over, ended {ended:?}, timers {timers:?}", seeds.len());
    if seeds.len() as u64 >= SEEDS {
        assert!(handed_over > 0 && searches > 0 && silent > 0 && tried.iter().all(|&n| n > 0), "{tried:?}");
        // Answered, without an ACK, timed out: all of it happened. Sends do not fail here.
        assert!(ended[..3].iter().all(|&n| n > 0), "{ended:?}");
        assert!(timers.iter().all(|&n| n > 0), "{timers:?}");
    }
}
