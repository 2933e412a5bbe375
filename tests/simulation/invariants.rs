//! What has to hold in every world; read from the trace and the counters, not from Viaduct's own state.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;

use viaduct::drop_reason::DropReason;
use viaduct::egress::Reason;
use viaduct::engine::sim::{Endpoint, Hop};
use viaduct::metrics::{Class, SeriesId};

use super::world::Simulation;

/// Everything that is wrong.
pub fn check(simulation: &mut Simulation) -> Vec<String> {
    let mut wrong = Vec::new();
    responses_leave_where_requests_came_in(simulation, &mut wrong);
    one_transaction_one_egress(simulation, &mut wrong);
    no_buffer_is_lost(simulation, &mut wrong);
    each_message_is_counted_once(simulation, &mut wrong);
    wrong
}

/// A header's values in order, one for each line; the agents and Viaduct write one value a line.
fn values<'h>(hop: &'h Hop, name: &str) -> Vec<&'h str> {
    let text = std::str::from_utf8(&hop.bytes).unwrap_or("");
    let head = text.split("\r\n\r\n").next().unwrap_or("");
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

fn is_response(hop: &Hop) -> bool {
    hop.bytes.starts_with(b"SIP/2.0")
}

/// What makes a Via value the same on its way: sent-by and branch, without what others add to it.
fn identity(via: &str) -> Key {
    let mut parts = via.split(';');
    let sent_by = parts.next().unwrap_or("").to_owned();
    let branch = parts.find_map(|p| p.strip_prefix("branch=")).unwrap_or("").to_owned();
    (sent_by, branch)
}

/// A Via value's sent-by and branch.
type Key = (String, String);
/// A way that a request took: from which address, to which, with which branch of ours.
type Way = (SocketAddr, SocketAddr, String);

pub fn responses_leave_where_requests_came_in<E: Endpoint>(
    simulation: &Simulation<E>,
    wrong: &mut Vec<String>,
) {
    let mut came_in: HashMap<Key, BTreeSet<SocketAddr>> = HashMap::new();
    for hop in simulation.world.trace() {
        let Some(top) = values(hop, "Via").first().map(|via| identity(via)) else {
            wrong.push(format!("a message without Via: {hop:?}"));
            continue;
        };
        match (simulation.is_forwarder(hop.host), is_response(hop)) {
            (false, false) => {
                came_in.entry(top).or_default().insert(hop.to);
            }
            (true, true) => {
                let listeners = came_in.get(&top).cloned().unwrap_or_default();
                if !listeners.contains(&hop.from) {
                    wrong.push(format!(
                        "a response for {top:?} left from {}, its request came in on {listeners:?}",
                        hop.from
                    ));
                }
            }
            _ => {}
        }
    }
}

fn one_transaction_one_egress<E: Endpoint>(simulation: &Simulation<E>, wrong: &mut Vec<String>) {
    let mut decided: HashMap<Key, BTreeSet<Way>> = HashMap::new();
    let forwarded =
        simulation.world.trace().iter().filter(|h| simulation.is_forwarder(h.host) && !is_response(h));
    for hop in forwarded {
        let vias = values(hop, "Via");
        let [ours, theirs, ..] = vias[..] else {
            wrong.push(format!("a request left with less than two Vias: {hop:?}"));
            continue;
        };
        let (_, branch) = identity(ours);
        decided.entry(identity(theirs)).or_default().insert((hop.from, hop.to, branch));
    }
    let more: usize = decided.values().map(|ways| ways.len() - 1).sum();
    if more as u64 > simulation.egress_moved() {
        let ways = decided.iter().filter(|(_, ways)| ways.len() > 1);
        wrong.push(format!(
            "{more} transactions took more than one way, {} were counted as moved: {:?}",
            simulation.egress_moved(),
            ways.collect::<Vec<_>>()
        ));
    }
}

pub fn no_buffer_is_lost<E: Endpoint>(simulation: &mut Simulation<E>, wrong: &mut Vec<String>) {
    for shard in 0..simulation.metrics.len() {
        if let Some((_, io)) = simulation.world.shard(shard)
            && io.buffers_held() != 0
        {
            wrong.push(format!("{} send buffers are lost", io.buffers_held()));
        }
    }
}

pub fn each_message_is_counted_once<E: Endpoint>(simulation: &Simulation<E>, wrong: &mut Vec<String>) {
    let trace = simulation.world.trace().iter();
    let arrived: u64 = trace.filter(|hop| simulation.is_ours(hop.to)).map(|hop| u64::from(hop.copies)).sum();
    let received = what_came_in_has_its_end(simulation, wrong);
    if arrived != received {
        wrong.push(format!("{arrived} arrived, {received} counted as received"));
    }
}

/// Each message that came in was sent on, answered or dropped; how many came in.
pub fn what_came_in_has_its_end<E: Endpoint>(simulation: &Simulation<E>, wrong: &mut Vec<String>) -> u64 {
    let (mut received, mut sent, mut dropped, mut answered) = (0, 0, 0, 0);
    for metrics in &simulation.metrics {
        for series in (0..simulation.plan.listeners.len() as u16).map(SeriesId) {
            for &class in Class::ALL {
                received += metrics.traffic.received_count(series, class);
                sent +=
                    Reason::ALL.iter().map(|r| metrics.traffic.sent_count(series, class, *r)).sum::<u64>();
            }
        }
        dropped += DropReason::ALL.iter().map(|&reason| metrics.dropped_count(reason)).sum::<u64>();
        answered += metrics.answers().map(|(_, count)| count).sum::<u64>();
    }
    if received != sent + dropped + answered {
        wrong.push(format!("{received} received, {sent} sent on, {answered} answered, {dropped} dropped"));
    }
    received
}
