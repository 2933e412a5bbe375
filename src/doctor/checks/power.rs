//! How fast cores are when they are needed.

use super::{Check, distinct, one, ranges};
use crate::doctor::facts::{Core, Facts, Idle, Told, Untold};
use crate::doctor::finding::{Status, Verdict};

pub(super) const CHECKS: &[Check] = &[
    Check {
        code: "c-states",
        group: "Power and clock",
        section: "c-states",
        subject: "idle states",
        wanted: "the shards' cores wake up within 20 µs",
        why: "the first message after a pause waits until its core is awake",
        examine: c_states,
    },
    Check {
        code: "governor",
        group: "Power and clock",
        section: "frequency-governor",
        subject: "scaling_governor",
        wanted: "performance",
        why: "a core that was idle begins slowly, just when a burst comes",
        examine: governor,
    },
    Check {
        code: "clock-source",
        group: "Power and clock",
        section: "clock-source",
        subject: "clock source",
        wanted: "one that is read without a system call",
        why: "a shard reads the clock for every batch; by a device each reading takes a microsecond or more",
        examine: clock_source,
    },
    Check {
        code: "mitigations",
        group: "Power and clock",
        section: "mitigations",
        subject: "processor vulnerabilities",
        wanted: "each is mitigated, or the processor is not affected",
        why: "they cost a part of every system call, and without them any program on this host may read the keys",
        examine: mitigations,
    },
];

/// Microseconds until a core works again that nobody notices.
const WAKE_US: u64 = 20;

/// Clock sources that the vDSO can read.
const QUICK: &[&str] =
    &["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter", "riscv_clocksource"];

fn core_of(facts: &Facts, core: usize) -> Told<&Core> {
    facts.cores.each.get(&core).ok_or_else(|| Untold::new(format!("core {core} is not online")))
}

fn c_states(facts: &Facts) -> Told<Vec<Verdict>> {
    if let Ok(limit) = facts.cores.wake_limit_us
        && u64::try_from(limit).is_ok_and(|limit| limit <= WAKE_US)
    {
        return one(Verdict::pass("/dev/cpu_dma_latency", format!("some process holds it at {limit} µs")));
    }
    let shards = facts.shard_cores()?;
    let mut slow: Vec<Idle> = Vec::new();
    let mut slow_cores = Vec::new();
    for core in &shards {
        let states = core_of(facts, *core)?.idle.clone()?;
        let of_core = states.into_iter().filter(|state| !state.disabled && state.latency_us > WAKE_US);
        let before = slow.len();
        slow.extend(of_core);
        slow_cores.extend((slow.len() > before).then_some(*core));
    }
    let deepest = slow.iter().max_by_key(|state| state.latency_us);
    let found = match deepest {
        None => format!("cores {}: none above {WAKE_US} µs", ranges(&shards)),
        Some(state) => format!("cores {}: {} takes {} µs", ranges(&slow_cores), state.name, state.latency_us),
    };
    let list = ranges(&slow_cores);
    let verdict = Verdict::hold(deepest.is_none(), Status::Warn, "idle states", found);
    one(verdict.remedy(format!("cpupower -c {list} idle-set --disable-by-latency {WAKE_US}")))
}

fn governor(facts: &Facts) -> Told<Vec<Verdict>> {
    let shards = facts.shard_cores()?;
    let governors: Told<Vec<(usize, String)>> =
        shards.iter().map(|core| Ok((*core, core_of(facts, *core)?.governor.clone()?))).collect();
    let governors = governors?;
    let slow = distinct(governors.iter().filter(|(_, name)| name != "performance").map(|(core, _)| *core));
    let names: Vec<&str> =
        governors.iter().filter(|(core, _)| slow.contains(core)).map(|(_, n)| &**n).collect();
    let found = match names.first() {
        None => format!("cores {}: performance", ranges(&shards)),
        Some(name) => format!("cores {}: {name}", ranges(&slow)),
    };
    let verdict = Verdict::hold(slow.is_empty(), Status::Warn, "scaling_governor", found);
    one(verdict.remedy(format!("cpupower -c {} frequency-set -g performance", ranges(&slow))))
}

fn clock_source(facts: &Facts) -> Told<Vec<Verdict>> {
    let clock = facts.clock.as_ref().map_err(Clone::clone)?;
    let verdict = Verdict::hold(QUICK.contains(&&**clock), Status::Warn, "clock source", clock.clone());
    one(verdict.remedy(
        "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource   # dmesg says why it was left",
    ))
}

/// Reported only: whether speed is worth the risk is not for a program to say.
fn mitigations(facts: &Facts) -> Told<Vec<Verdict>> {
    let all = facts.vulnerabilities.as_ref().map_err(Clone::clone)?;
    let names = |begin: &str| -> Vec<&str> {
        all.iter().filter(|(_, state)| state.starts_with(begin)).map(|(name, _)| &**name).collect()
    };
    let (open, mitigated) = (names("Vulnerable"), names("Mitigation"));
    let off = facts.command_line.iter().any(|line| {
        line.split_whitespace()
            .any(|word| word == "mitigations=off" || word == "nospectre_v2" || word == "nopti")
    });
    let mut found = format!("{} of {} mitigated", mitigated.len(), all.len());
    if !open.is_empty() {
        found += &format!("; open: {}", open.join(", "));
    }
    if off {
        found += "; switched off on the kernel's command line";
    }
    let verdict = Verdict::hold(open.is_empty() && !off, Status::Warn, "processor vulnerabilities", found);
    one(verdict
        .remedy("grep . /sys/devices/system/cpu/vulnerabilities/*   # firmware, microcode, mitigations=auto"))
}
