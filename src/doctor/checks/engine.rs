//! Whether the engine runs at all, and within which limits.

use super::{Check, one, size};
use crate::doctor::facts::{Capability, Facts, Told, Unit, Untold};
use crate::doctor::finding::{Status, Verdict};
use crate::plan::{EngineKind, FILES_BESIDES};

pub(super) const CHECKS: &[Check] = &[
    Check {
        code: "kernel-release",
        group: "The engine",
        section: "kernel-release",
        subject: "kernel",
        wanted: "Linux 6.1 or newer",
        why: "multishot receive and deferred task work are not in older kernels",
        examine: kernel_release,
    },
    Check {
        code: "io-uring",
        group: "The engine",
        section: "io_uring-allowed",
        subject: "io_uring",
        wanted: "io_uring is allowed",
        why: "Viaduct does all its input and output by it",
        examine: io_uring,
    },
    Check {
        code: "locked-memory",
        group: "The engine",
        section: "locked-memory-and-open-files",
        subject: "locked memory",
        wanted: "256 KiB for each shard (glommio: 512 KiB), or CAP_IPC_LOCK",
        why: "newer kernels count the rings against it, and a shard without a ring ends the process",
        examine: locked_memory,
    },
    Check {
        code: "open-files",
        group: "The engine",
        section: "locked-memory-and-open-files",
        subject: "open files",
        wanted: "a file for each listener, shard and connection, and some",
        why: "a listener without a descriptor is not served, and a connection without one not taken",
        examine: open_files,
    },
    Check {
        code: "systemd-unit",
        group: "The engine",
        section: "systemd-unit",
        subject: "viaduct.service",
        wanted: "CPUAffinity=, limits that suffice, no CPUQuota=",
        why: "a service has systemd's limits, not those of this shell",
        examine: systemd_unit,
    },
];

fn kernel_release(facts: &Facts) -> Told<Vec<Verdict>> {
    let release = facts.release.as_ref().map_err(Clone::clone)?;
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        return Err(Untold::new(format!("the release «{release}» has no number")));
    };
    let verdict = Verdict::hold((major, minor) >= (6, 1), Status::Fail, "kernel", release.clone());
    one(verdict.remedy("install a kernel of the distribution that is 6.1 or newer, and boot it"))
}

fn io_uring(facts: &Facts) -> Told<Vec<Verdict>> {
    let disabled = facts.sysctls.number("kernel.io_uring_disabled");
    let group = facts.sysctls.text("kernel.io_uring_group").unwrap_or("-1");
    let remedy = match disabled {
        Ok(1) => format!("sysctl -w kernel.io_uring_disabled=0, or run Viaduct in the group {group}"),
        Ok(2) => "sysctl -w kernel.io_uring_disabled=0".to_owned(),
        _ => "allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile"
            .into(),
    };
    let allowed = match (&facts.probe, disabled) {
        (Ok(Ok(_)), Ok(1)) => {
            Verdict::warn("kernel.io_uring_disabled", "1: here it works, for others not").remedy(remedy)
        }
        (Ok(Ok(_)), _) => Verdict::pass("io_uring", "a ring can be made"),
        (Ok(Err(missing)), _) => Verdict::fail("io_uring", missing.clone()).remedy(remedy),
        (Err(_), Ok(value)) => {
            Verdict::hold(value == 0, Status::Fail, "kernel.io_uring_disabled", value.to_string())
                .remedy(remedy)
        }
        (Err(untold), Err(_)) => return Err(untold.clone()),
    };
    let built: Vec<_> = EngineKind::BUILT.iter().map(|kind| kind.name()).collect();
    let engines = format!("{}; this build has: {}", facts.wishes.engine, built.join(", "));
    Ok(vec![allowed, Verdict::pass("[engine] kind", engines)])
}

fn shards(facts: &Facts) -> Told<u64> {
    Ok(facts.shard_cores()?.len() as u64)
}

fn ring_bytes(facts: &Facts) -> Told<u64> {
    Ok(shards(facts)? * facts.wishes.engine.locked_bytes())
}

fn locked_memory(facts: &Facts) -> Told<Vec<Verdict>> {
    let process = &facts.process;
    let needed = ring_bytes(facts)?;
    // glommio looks at the limit all the same.
    if facts.wishes.engine == EngineKind::Uring && process.may(Capability::IpcLock) == Ok(true) {
        return one(Verdict::pass(process.name(), "has CAP_IPC_LOCK, so no limit counts"));
    }
    let limit = process.locked_memory.clone()?;
    let found = limit.map_or("no limit".into(), size);
    let verdict =
        Verdict::hold(limit.is_none_or(|limit| limit >= needed), Status::Fail, process.name(), found);
    let wanted = format!("{} for {} shards", size(needed), shards(facts)?);
    one(verdict.wanted(wanted).remedy("systemctl edit viaduct   # [Service] LimitMEMLOCK=64M"))
}

fn open_files(facts: &Facts) -> Told<Vec<Verdict>> {
    let limit = facts.process.open_files.clone()?;
    let needed = files_needed(facts)?;
    let found = limit.map_or("no limit".into(), |limit| limit.to_string());
    let is_enough = |files: u64| limit.is_none_or(|limit| limit >= files);
    let connections = shards(facts)? * facts.wishes.connections;
    let all = needed + connections;
    let worst = if is_enough(needed) { Status::Warn } else { Status::Fail };
    let verdict = Verdict::hold(is_enough(all), worst, facts.process.name(), found);
    let wanted = match connections {
        0 => format!("{needed} or more"),
        some => format!("{needed} or more, and {some} for as many connections as [tcp] allows"),
    };
    one(verdict
        .wanted(wanted)
        .remedy(format!("systemctl edit viaduct   # [Service] LimitNOFILE={}", all.next_power_of_two())))
}

fn files_needed(facts: &Facts) -> Told<u64> {
    Ok(shards(facts)? * (facts.wishes.listeners.len() as u64 + 2) + FILES_BESIDES)
}

fn systemd_unit(facts: &Facts) -> Told<Vec<Verdict>> {
    let unit = facts.unit.as_ref().map_err(Clone::clone)?;
    let mut lacks = Vec::new();
    if unit.get("CPUAffinity").is_none_or(str::is_empty) {
        lacks.push("no CPUAffinity=".to_owned());
    }
    let too_small =
        |limit: Option<Option<u64>>, needed: u64| limit.flatten().is_some_and(|limit| limit < needed);
    let memory = unit.limit("LimitMEMLOCK");
    if memory.is_none() || too_small(memory, ring_bytes(facts)?) {
        lacks.push(format!("LimitMEMLOCK={}", unit.get("LimitMEMLOCK").unwrap_or("(systemd's default)")));
    }
    if too_small(unit.limit("LimitNOFILE"), files_needed(facts)?) {
        lacks.push(format!("LimitNOFILE={}", unit.get("LimitNOFILE").unwrap_or_default()));
    }
    if let Some(quota) = unit.get("CPUQuota").filter(|quota| !quota.is_empty()) {
        lacks.push(format!("CPUQuota={quota}"));
    }
    lacks.extend(lacking_capabilities(facts, unit));
    let found = if lacks.is_empty() { "as tuning.md has it".to_owned() } else { lacks.join("; ") };
    let verdict = Verdict::hold(lacks.is_empty(), Status::Warn, unit.path.clone(), found);
    one(verdict.remedy("systemctl edit --full viaduct   # the unit in tuning.md"))
}

/// What the listeners need and a service of a user other than root has by its unit only.
fn lacking_capabilities(facts: &Facts, unit: &Unit) -> Vec<String> {
    if unit.get("User").is_none_or(|user| user.is_empty() || user == "root") {
        return Vec::new();
    }
    let given = unit.list("AmbientCapabilities");
    let has = |name: &str| given.iter().any(|given| given.eq_ignore_ascii_case(name));
    let mut lacks = Vec::new();
    if facts.wishes.marks && !has("CAP_NET_ADMIN") && !has("CAP_NET_RAW") {
        lacks.push(
            "a listener has a mark, and there is no AmbientCapabilities=CAP_NET_ADMIN or CAP_NET_RAW".into(),
        );
    }
    let open_from = facts.sysctls.number("net.ipv4.ip_unprivileged_port_start").unwrap_or(1024);
    let privileged = facts.wishes.ports().into_iter().find(|port| u64::from(*port) < open_from);
    if let Some(port) = privileged.filter(|_| !has("CAP_NET_BIND_SERVICE")) {
        lacks.push(format!(
            "a listener has port {port}, and there is no AmbientCapabilities=CAP_NET_BIND_SERVICE"
        ));
    }
    lacks
}
