//! The network card: queues and who works on them, rings, when it interrupts.

use super::{Check, distinct};
use crate::doctor::facts::{Coalescing, Facts, LinkFacts, Told, Untold};
use crate::doctor::finding::{Status, Verdict};

pub(super) const CHECKS: &[Check] = &[
    Check {
        code: "receive-queues",
        group: "The network card",
        section: "receive-queues-rss",
        subject: "receive queues",
        wanted: "as many as shards, or RPS",
        why: "a single queue has one core do the kernel's part for all flows",
        examine: receive_queues,
    },
    Check {
        code: "rps",
        group: "The network card",
        section: "receive-packet-steering-rps",
        subject: "rps_cpus",
        wanted: "off where there is a queue for each shard",
        why: "packets that a queue of their own could bring are handed from core to core",
        examine: rps,
    },
    Check {
        code: "rfs",
        group: "The network card",
        section: "receive-flow-steering-rfs",
        subject: "net.core.rps_sock_flow_entries",
        wanted: "both tables have entries, or none has",
        why: "with one of the two there is a table and no steering",
        examine: rfs,
    },
    Check {
        code: "xps",
        group: "The network card",
        section: "transmit-packet-steering-xps",
        subject: "xps_cpus",
        wanted: "each of several transmit queues has cores",
        why: "shards that send by one queue wait for its lock",
        examine: xps,
    },
    Check {
        code: "rings",
        group: "The network card",
        section: "rings",
        subject: "receive ring",
        wanted: "no packet missed, or the largest ring",
        why: "what comes while the kernel is busy waits there, and what does not fit is lost",
        examine: rings,
    },
    Check {
        code: "coalescing",
        group: "The network card",
        section: "interrupt-coalescing",
        subject: "rx-usecs",
        wanted: "100 µs or less, or adaptive",
        why: "every message waits so long on its way in",
        examine: coalescing,
    },
];

/// Microseconds that a packet may wait for its interrupt.
const COALESCING_US: u32 = 100;

/// One verdict for each card.
fn each_card(facts: &Facts, verdict: impl Fn(&LinkFacts) -> Told<Verdict>) -> Told<Vec<Verdict>> {
    facts.cards()?.into_iter().map(verdict).collect()
}

/// The cores that RPS hands packets of this interface to.
fn steered(link: &LinkFacts) -> Told<Vec<usize>> {
    let all: Told<Vec<Vec<usize>>> = link.receive.iter().map(|(_, cores)| cores.clone()).collect();
    Ok(distinct(all?.into_iter().flatten()))
}

fn mask(cores: &[usize]) -> String {
    let top = cores.iter().copied().max().unwrap_or(0) / 32;
    let group = |group: usize| {
        let bits =
            cores.iter().filter(|core| **core / 32 == group).fold(0u32, |bits, core| bits | 1 << (core % 32));
        format!("{bits:x}")
    };
    (0..=top).rev().map(group).collect::<Vec<_>>().join(",")
}

fn receive_queues(facts: &Facts) -> Told<Vec<Verdict>> {
    let shards = facts.shard_cores()?;
    each_card(facts, |link| {
        let queues = link.receive.len();
        let steered = steered(link)?.len();
        let good = queues >= shards.len() || steered >= shards.len();
        let found = format!("queues: {queues}, shards: {}; RPS hands on to {steered} cores", shards.len());
        let remedy = format!(
            "ethtool -L {} combined {}   # or RPS where the card has no more",
            link.name,
            shards.len()
        );
        Ok(Verdict::hold(good, Status::Warn, link.name.clone(), found).remedy(remedy))
    })
}

fn rps(facts: &Facts) -> Told<Vec<Verdict>> {
    let shards = facts.shard_cores()?;
    each_card(facts, |link| {
        let (queues, steered) = (link.receive.len(), steered(link)?);
        let needless = queues >= shards.len() && queues > 1 && !steered.is_empty();
        let found = match steered.is_empty() {
            true => format!("off; queues: {queues}"),
            false => format!("mask {}; queues: {queues}", mask(&steered)),
        };
        let remedy = format!("echo 0 | tee /sys/class/net/{}/queues/rx-*/rps_cpus", link.name);
        Ok(Verdict::hold(!needless, Status::Warn, link.name.clone(), found).remedy(remedy))
    })
}

fn rfs(facts: &Facts) -> Told<Vec<Verdict>> {
    let global = facts.sysctls.number("net.core.rps_sock_flow_entries")?;
    each_card(facts, |link| {
        let own = link.flow_entries;
        let found = format!("{global} in all, {own} of its queues");
        let remedy = if own > 0 {
            format!("sysctl -w net.core.rps_sock_flow_entries={own}")
        } else {
            "sysctl -w net.core.rps_sock_flow_entries=0".to_owned()
        };
        Ok(Verdict::hold((global > 0) == (own > 0), Status::Warn, link.name.clone(), found).remedy(remedy))
    })
}

fn xps(facts: &Facts) -> Told<Vec<Verdict>> {
    each_card(facts, |link| {
        if link.transmit.len() < 2 {
            return Ok(Verdict::pass(link.name.clone(), "one transmit queue"));
        }
        let empty = |(_, cores): &&(String, Told<Vec<usize>>)| cores.as_ref().is_ok_and(Vec::is_empty);
        let without = link.transmit.iter().filter(empty).count();
        if let Some((_, Err(untold))) = link.transmit.iter().find(|(_, cores)| cores.is_err()) {
            return Err(untold.clone());
        }
        let found = format!("{without} of {} transmit queues without cores", link.transmit.len());
        let remedy = format!(
            "echo 1 > /sys/class/net/{}/queues/tx-0/xps_cpus   # 2 for tx-1, 4 for tx-2 …",
            link.name
        );
        Ok(Verdict::hold(without == 0, Status::Warn, link.name.clone(), found).remedy(remedy))
    })
}

fn rings(facts: &Facts) -> Told<Vec<Verdict>> {
    each_card(facts, |link| {
        let missed = link.missed.clone()?;
        let ring = link.card.ring.clone();
        let largest = ring.as_ref().is_ok_and(|ring| ring.receive >= ring.receive_max);
        let shown = match &ring {
            Ok(ring) => format!("{} of {} descriptors", ring.receive, ring.receive_max),
            Err(untold) => format!("its size cannot be told: {untold}"),
        };
        let found = format!("{missed} packets missed; {shown}");
        let most = ring.map_or("N".into(), |ring| ring.receive_max.to_string());
        let verdict = Verdict::hold(missed == 0 || largest, Status::Warn, link.name.clone(), found);
        Ok(verdict.remedy(format!("ethtool -G {} rx {most}", link.name)))
    })
}

fn coalescing(facts: &Facts) -> Told<Vec<Verdict>> {
    let cards = facts.cards()?;
    let told: Vec<(&LinkFacts, _)> =
        cards.iter().filter_map(|link| Some((*link, link.card.coalescing.as_ref().ok()?))).collect();
    if told.is_empty() {
        let names: Vec<String> = cards.iter().map(|link| format!("ethtool -c {}", link.name)).collect();
        let why = cards.iter().find_map(|link| link.card.coalescing.as_ref().err()).map(ToString::to_string);
        return Err(Untold::new(format!("{} (try: {})", why.unwrap_or_default(), names.join("; "))));
    }
    let verdict = |(link, set): &(&LinkFacts, &Coalescing)| {
        let adaptive = if set.adaptive { ", adaptive" } else { "" };
        let found = format!("{} µs{adaptive}", set.receive_us);
        let good = set.adaptive || set.receive_us <= COALESCING_US;
        let remedy = format!("ethtool -C {} rx-usecs 20", link.name);
        Verdict::hold(good, Status::Warn, link.name.clone(), found).remedy(remedy)
    };
    Ok(told.iter().map(verdict).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_written_as_the_kernel_reads_them() {
        assert_eq!((mask(&[]), mask(&[0, 1, 3]), mask(&[0, 33])), ("0".into(), "b".into(), "2,1".into()));
    }
}
