//! From the card to the sockets: polling and the backlog.

use super::{Check, one};
use crate::doctor::facts::{Facts, LinkFacts, Softnet, Told};
use crate::doctor::finding::{Status, Verdict};

pub(super) const CHECKS: &[Check] = &[
    Check {
        code: "busy-poll",
        group: "The network card",
        section: "busy-polling",
        subject: "net.core.busy_read",
        wanted: "100 µs or less",
        why: "each receive that finds nothing polls the card so long, and other sockets of the core wait",
        examine: busy_poll,
    },
    Check {
        code: "napi-defer",
        group: "The network card",
        section: "deferred-interrupts-napi",
        subject: "napi_defer_hard_irqs",
        wanted: "with gro_flush_timeout, of 1 ms or less, or neither",
        why: "one without the other has no effect; a long timeout delays messages",
        examine: napi_defer,
    },
    Check {
        code: "backlog",
        group: "The network card",
        section: "backlog-and-budget",
        subject: "/proc/net/softnet_stat",
        wanted: "no packet dropped",
        why: "a core's backlog was full, before any socket",
        examine: backlog,
    },
    Check {
        code: "softirq-budget",
        group: "The network card",
        section: "backlog-and-budget",
        subject: "/proc/net/softnet_stat",
        wanted: "the budget is used up for less than one packet in 1,000",
        why: "packets were left in the ring until the next round",
        examine: budget,
    },
];

const BUSY_US: u64 = 100;

/// A millisecond.
const FLUSH_NS: u64 = 1_000_000;

fn busy_poll(facts: &Facts) -> Told<Vec<Verdict>> {
    let read = facts.sysctls.number("net.core.busy_read")?;
    let poll = facts.sysctls.number("net.core.busy_poll")?;
    let found = format!("busy_read {read} µs, busy_poll {poll} µs");
    let verdict = Verdict::hold(read.max(poll) <= BUSY_US, Status::Warn, "net.core.busy_read", found);
    one(verdict.remedy("sysctl -w net.core.busy_read=0 net.core.busy_poll=0"))
}

fn napi_defer(facts: &Facts) -> Told<Vec<Verdict>> {
    let links = facts.cards()?;
    let verdict = |link: &&LinkFacts| {
        let (defer, flush) = (link.defer_interrupts.clone()?, link.flush_timeout_ns.clone()?);
        let good = (defer == 0 || flush > 0) && flush <= FLUSH_NS;
        let found = format!("napi_defer_hard_irqs {defer}, gro_flush_timeout {flush} ns");
        let folder = format!("/sys/class/net/{}", link.name);
        let remedy = format!("echo 0 > {folder}/napi_defer_hard_irqs; echo 0 > {folder}/gro_flush_timeout");
        Ok(Verdict::hold(good, Status::Warn, link.name.clone(), found).remedy(remedy))
    };
    links.iter().map(verdict).collect()
}

fn backlog(facts: &Facts) -> Told<Vec<Verdict>> {
    let softnet = facts.counters.softnet.as_ref().map_err(Clone::clone)?;
    let dropped: u64 = softnet.iter().map(|core| core.dropped).sum();
    let limit = facts.sysctls.number("net.core.netdev_max_backlog").unwrap_or(1_000);
    let found = format!("{dropped} packets dropped since the start; the backlog holds {limit}");
    let verdict = Verdict::hold(dropped == 0, Status::Warn, "/proc/net/softnet_stat", found);
    one(verdict.remedy(format!("sysctl -w net.core.netdev_max_backlog={}", (limit * 4).max(4_000))))
}

fn budget(facts: &Facts) -> Told<Vec<Verdict>> {
    let softnet = facts.counters.softnet.as_ref().map_err(Clone::clone)?;
    let sum = |of: fn(&Softnet) -> u64| softnet.iter().map(of).sum::<u64>();
    let (squeezed, processed) = (sum(|core| core.squeezed), sum(|core| core.processed));
    let found = format!("{squeezed} times for {processed} packets");
    let good = squeezed.saturating_mul(1_000) <= processed;
    let budget = facts.sysctls.number("net.core.netdev_budget").unwrap_or(300);
    let verdict = Verdict::hold(good, Status::Warn, "/proc/net/softnet_stat", found);
    one(verdict.remedy(format!("sysctl -w net.core.netdev_budget={}", budget * 2)))
}
