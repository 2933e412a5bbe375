//! Cores: which there are, who may use them, and how they sleep.

use std::collections::BTreeMap;
use std::path::Path;

use super::process::Process;
use super::{Root, Told, Untold};

const SYSTEM: &str = "sys/devices/system/cpu";

/// The host's cores.
pub struct Cores {
    /// Those that run.
    pub online: Told<Vec<usize>>,
    /// Those that the process may use.
    pub allowed: Told<Vec<usize>>,
    /// Those that the scheduler leaves alone: `isolcpus=`, or an isolated cpuset partition.
    pub isolated: Told<Vec<usize>>,
    /// Those without a regular timer interrupt (`nohz_full=`).
    pub tickless: Vec<usize>,
    /// What is known of each that runs.
    pub each: BTreeMap<usize, Core>,
    /// Microseconds that some process allows the cores to take to wake up (`/dev/cpu_dma_latency`).
    pub wake_limit_us: Told<i32>,
    /// `cpu.max` of the process's control group and of those above: microseconds of each period, or `max`.
    pub quotas: Told<Vec<(String, String)>>,
}

/// One core.
pub struct Core {
    /// The cores that share its execution units, itself among them.
    pub siblings: Told<Vec<usize>>,
    /// Its NUMA node.
    pub node: Told<usize>,
    /// How its frequency is chosen.
    pub governor: Told<String>,
    /// How it may sleep.
    pub idle: Told<Vec<Idle>>,
}

/// A state that an idle core may be in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idle {
    /// `C6` and the like.
    pub name: String,
    /// Until it works again, in microseconds.
    pub latency_us: u64,
    /// It is switched off.
    pub disabled: bool,
}

pub(super) fn read(root: &Root, process: &Process) -> Cores {
    let online = root.cores(&format!("{SYSTEM}/online"));
    let each = online.iter().flatten().map(|&core| (core, one(root, core))).collect();
    Cores {
        allowed: process.cores.clone(),
        isolated: isolated(root),
        tickless: root.cores(&format!("{SYSTEM}/nohz_full")).unwrap_or_default(),
        each,
        wake_limit_us: wake_limit(root),
        quotas: quotas(root, process),
        online,
    }
}

fn one(root: &Root, core: usize) -> Core {
    let folder = format!("{SYSTEM}/cpu{core}");
    Core {
        siblings: root.cores(&format!("{folder}/topology/thread_siblings_list")),
        node: root.names(&folder).and_then(|names| {
            let node = names.iter().find_map(|name| name.strip_prefix("node")?.parse().ok());
            node.ok_or_else(|| Untold::new(format!("/{folder} names no node")))
        }),
        governor: root.read(&format!("{folder}/cpufreq/scaling_governor")),
        idle: idle(root, &format!("{folder}/cpuidle")),
    }
}

fn idle(root: &Root, folder: &str) -> Told<Vec<Idle>> {
    let states = root.names(folder)?;
    let state = |name: &String| {
        let file = |file| format!("{folder}/{name}/{file}");
        Ok(Idle {
            name: root.read(&file("name"))?,
            latency_us: root.number(&file("latency"))?,
            disabled: root.read(&file("disable"))? != "0",
        })
    };
    states.iter().filter(|name| name.starts_with("state")).map(state).collect()
}

fn isolated(root: &Root) -> Told<Vec<usize>> {
    let boot = root.cores(&format!("{SYSTEM}/isolated"));
    let partitions = root.cores("sys/fs/cgroup/cpuset.cpus.isolated");
    match (boot, partitions) {
        (Ok(mut cores), Ok(more)) => {
            cores.extend(more);
            cores.sort_unstable();
            cores.dedup();
            Ok(cores)
        }
        (Ok(cores), Err(_)) | (Err(_), Ok(cores)) => Ok(cores),
        (Err(untold), Err(_)) => Err(untold),
    }
}

/// Four bytes in the processor's order. Reading asks for nothing: the kernel's own request has no effect.
fn wake_limit(root: &Root) -> Told<i32> {
    let bytes = root.bytes("dev/cpu_dma_latency")?;
    let four = bytes.first_chunk().ok_or_else(|| Untold::new("/dev/cpu_dma_latency says too little"))?;
    Ok(i32::from_ne_bytes(*four))
}

/// From the process's group up to the root, which in a container is the container's own.
fn quotas(root: &Root, process: &Process) -> Told<Vec<(String, String)>> {
    const GROUPS: &str = "sys/fs/cgroup";
    root.read(&format!("{GROUPS}/cgroup.controllers"))?;
    let groups = root.read(&process.file("cgroup"))?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"));
    let own =
        own.ok_or_else(|| Untold::new(format!("/{} names no version 2 group", process.file("cgroup"))))?;
    let mut found = Vec::new();
    for group in Path::new(own.trim_matches('/')).ancestors() {
        let group = group.display();
        if let Ok(text) = root.read(&format!("{GROUPS}/{group}/cpu.max")) {
            found.push((format!("/{group}"), text));
        }
    }
    Ok(found)
}

pub(super) fn vulnerabilities(root: &Root) -> Told<Vec<(String, String)>> {
    let folder = format!("{SYSTEM}/vulnerabilities");
    let names = root.names(&folder)?;
    Ok(names
        .into_iter()
        .filter_map(|name| Some((root.read(&format!("{folder}/{name}")).ok()?, name)))
        .map(|(state, name)| (name, state))
        .collect())
}
