//! Which cores shards run on, and what else runs there.

use super::{Check, distinct, one, ranges};
use crate::doctor::facts::{Facts, LinkFacts, Told, Untold, of_device};
use crate::doctor::finding::{Status, Verdict};

pub(super) const CHECKS: &[Check] = &[
    Check {
        code: "cores",
        group: "Cores and interrupts",
        section: "cores",
        subject: "[engine] cores",
        wanted: "the process may use them",
        why: "a shard that cannot be pinned keeps Viaduct from starting",
        examine: cores,
    },
    Check {
        code: "cpu-quota",
        group: "Cores and interrupts",
        section: "cores",
        subject: "cpu.max",
        wanted: "max (no quota)",
        why: "when the quota is used up, every shard stands still until the period is over",
        examine: quota,
    },
    Check {
        code: "housekeeping",
        group: "Cores and interrupts",
        section: "isolation",
        subject: "other cores",
        wanted: "a core without a shard",
        why: "the control thread, other programs and the kernel's own work have to run somewhere",
        examine: housekeeping,
    },
    Check {
        code: "isolation",
        group: "Cores and interrupts",
        section: "isolation",
        subject: "shards' cores",
        wanted: "the scheduler puts nothing else there",
        why: "whatever else runs on a shard's core delays every message behind it",
        examine: isolation,
    },
    Check {
        code: "long-batches",
        group: "Cores and interrupts",
        section: "isolation",
        subject: "running Viaduct",
        wanted: "less than one batch in 100,000 takes 5 ms or longer",
        why: "a shard was kept from its core, or its core was slow",
        examine: long_batches,
    },
    Check {
        code: "smt-siblings",
        group: "Cores and interrupts",
        section: "smt-siblings",
        subject: "shards' cores",
        wanted: "no two shards on one physical core",
        why: "two threads of one core share its execution units and its nearest caches",
        examine: smt_siblings,
    },
    Check {
        code: "numa",
        group: "Cores and interrupts",
        section: "numa",
        subject: "memory nodes",
        wanted: "shards on the network card's node",
        why: "each packet's bytes cross the link between the sockets otherwise",
        examine: numa,
    },
    Check {
        code: "interrupts",
        group: "Cores and interrupts",
        section: "interrupts",
        subject: "the card's interrupts",
        wanted: "each queue's interrupt on a core of its own, of the shards' node",
        why: "the kernel's part of a packet is done where its interrupt comes in",
        examine: interrupts,
    },
    Check {
        code: "irqbalance",
        group: "Cores and interrupts",
        section: "interrupts",
        subject: "irqbalance",
        wanted: "it does not run, or leaves the card's interrupts alone",
        why: "it moves interrupts from where they were put",
        examine: irqbalance,
    },
];

fn cores(facts: &Facts) -> Told<Vec<Verdict>> {
    let allowed = facts.cores.allowed.clone()?;
    let wanted = facts.shard_cores()?;
    let missing: Vec<usize> = wanted.iter().copied().filter(|core| !allowed.contains(core)).collect();
    let found =
        format!("shards on {}; {} may use {}", ranges(&wanted), facts.process.name(), ranges(&allowed));
    let verdict = Verdict::hold(missing.is_empty(), Status::Fail, "[engine] cores", found);
    one(verdict.remedy(format!("systemctl edit viaduct   # [Service] CPUAffinity={}", ranges(&wanted))))
}

fn quota(facts: &Facts) -> Told<Vec<Verdict>> {
    let quotas = facts.cores.quotas.as_ref().map_err(Clone::clone)?;
    match quotas.iter().find(|(_, text)| !text.starts_with("max")) {
        None => one(Verdict::pass("cpu.max", "no quota")),
        Some((group, text)) => one(Verdict::warn(format!("cpu.max of {group}"), text.clone())
            .remedy(format!("echo max > /sys/fs/cgroup{group}/cpu.max   # a service: CPUQuota= empty"))),
    }
}

fn others(facts: &Facts) -> Told<Vec<usize>> {
    let shards = facts.shard_cores()?;
    Ok(facts.cores.online.clone()?.into_iter().filter(|core| !shards.contains(core)).collect())
}

fn housekeeping(facts: &Facts) -> Told<Vec<Verdict>> {
    let others = others(facts)?;
    let verdict = Verdict::hold(!others.is_empty(), Status::Warn, "other cores", ranges(&others));
    let without_first: Vec<usize> = facts.shard_cores()?.into_iter().skip(1).collect();
    let list = without_first.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    one(verdict.remedy(format!("[engine] cores = [{list}]   # in the configuration")))
}

fn isolation(facts: &Facts) -> Told<Vec<Verdict>> {
    let isolated = facts.cores.isolated.clone()?;
    let shards = facts.shard_cores()?;
    let good = !shards.is_empty() && shards.iter().all(|core| isolated.contains(core));
    let mut found = format!("isolated: {}", ranges(&isolated));
    if !facts.cores.tickless.is_empty() {
        found += &format!("; without a tick: {}", ranges(&facts.cores.tickless));
    }
    let (subject, all) = (format!("shards' cores {}", ranges(&shards)), ranges(&shards));
    let verdict = Verdict::hold(good, Status::Warn, subject, found);
    // With all cores isolated nothing else could run.
    one(match others(facts)?.is_empty() {
        true => verdict.remedy("leave a core free first: see housekeeping"),
        false => verdict.remedy(format!("isolcpus={all} nohz_full={all}   # on the kernel's command line")),
    })
}

fn long_batches(facts: &Facts) -> Told<Vec<Verdict>> {
    let running = facts.running.as_ref().map_err(Clone::clone)?;
    let found = format!("{} of {} batches took 5 ms or longer", running.long_batches, running.batches);
    let rare = running.long_batches.saturating_mul(100_000) <= running.batches;
    let verdict = Verdict::hold(rare, Status::Warn, "running Viaduct", found);
    one(verdict
        .remedy("curl -s http://127.0.0.1:9060/metrics | grep long_batches   # then: isolation, interrupts"))
}

fn smt_siblings(facts: &Facts) -> Told<Vec<Verdict>> {
    let shards = facts.shard_cores()?;
    let siblings = |core: usize| -> Told<Vec<usize>> {
        let known = facts.cores.each.get(&core);
        known.ok_or_else(|| Untold::new(format!("core {core} is not online")))?.siblings.clone()
    };
    let mut shared = Vec::new();
    for (i, core) in shards.iter().enumerate() {
        let theirs = siblings(*core)?;
        shared.extend(
            shards[i + 1..].iter().filter(|other| theirs.contains(other)).map(|other| (*core, *other)),
        );
    }
    let pairs: Vec<String> = shared.iter().map(|(a, b)| format!("{a} and {b}")).collect();
    let found = if pairs.is_empty() { "each on a core of its own".into() } else { pairs.join(", ") };
    let fewer: Vec<usize> =
        shards.iter().copied().filter(|core| !shared.iter().any(|(_, second)| second == core)).collect();
    let list = fewer.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let verdict = Verdict::hold(shared.is_empty(), Status::Warn, format!("cores {}", ranges(&shards)), found);
    one(verdict.remedy(format!("[engine] cores = [{list}]   # in the configuration")))
}

fn nodes_of(facts: &Facts, cores: &[usize]) -> Told<Vec<usize>> {
    let nodes: Told<Vec<usize>> = cores
        .iter()
        .map(|core| {
            let known = facts.cores.each.get(core);
            known.ok_or_else(|| Untold::new(format!("core {core} is not online")))?.node.clone()
        })
        .collect();
    Ok(distinct(nodes?))
}

fn numa(facts: &Facts) -> Told<Vec<Verdict>> {
    let all: Vec<usize> = facts.cores.each.keys().copied().collect();
    if nodes_of(facts, &all)?.len() == 1 {
        return one(Verdict::pass("memory nodes", "one"));
    }
    let shards = facts.shard_cores()?;
    let nodes = nodes_of(facts, &shards)?;
    let verdict = |link: &&LinkFacts| {
        let node = link.node.clone()?;
        let good = node < 0 || nodes.iter().all(|shard| i64::try_from(*shard) == Ok(node));
        let found =
            format!("node {node}; the shards' cores {} are of node {}", ranges(&shards), ranges(&nodes));
        let remedy = format!("cat /sys/devices/system/node/node{node}/cpulist   # cores for [engine] cores");
        Ok(Verdict::hold(good, Status::Warn, link.name.clone(), found).remedy(remedy))
    };
    facts.cards()?.iter().map(verdict).collect()
}

fn interrupts(facts: &Facts) -> Told<Vec<Verdict>> {
    let all = facts.interrupts.as_ref().map_err(Clone::clone)?;
    let shards = facts.shard_cores()?;
    let mut verdicts = Vec::new();
    for link in facts.cards()? {
        let ours = of_device(all, link);
        let told: Told<Vec<Vec<usize>>> = ours.iter().map(|interrupt| interrupt.cores.clone()).collect();
        let cores = distinct(told?.into_iter().flatten());
        if cores.is_empty() {
            verdicts.push(Verdict::pass(link.name.clone(), "no interrupt has come from it"));
            continue;
        }
        let enough = cores.len() >= link.receive.len().min(shards.len());
        let nodes = nodes_of(facts, &shards)?;
        let near = nodes_of(facts, &cores)?.iter().all(|node| nodes.contains(node));
        let found = format!(
            "{} in use, on cores {}; receive queues: {}",
            ours.len(),
            ranges(&cores),
            link.receive.len()
        );
        let first = ours.first().map_or(0, |interrupt| interrupt.number);
        let remedy = format!(
            "echo {} > /proc/irq/{first}/smp_affinity_list   # and so for each",
            shards.first().unwrap_or(&0)
        );
        verdicts.push(Verdict::hold(enough && near, Status::Warn, link.name.clone(), found).remedy(remedy));
    }
    Ok(verdicts)
}

fn irqbalance(facts: &Facts) -> Told<Vec<Verdict>> {
    match facts.irqbalance.clone()? {
        None => one(Verdict::pass("irqbalance", "does not run")),
        Some(id) => one(Verdict::warn("irqbalance", format!("runs (process {id})"))
            .remedy("systemctl disable --now irqbalance")),
    }
}
