//! The process whose cores and limits count, and others that bear on it.

use super::{Root, Told, Untold};
use crate::doctor::facts::root::core_list;

/// A running Viaduct where exactly one is found, else this program itself.
pub struct Process {
    /// Its number; `None`: this program.
    pub id: Option<u32>,
    /// Cores that it may use.
    pub cores: Told<Vec<usize>>,
    /// The limit of locked memory, in bytes.
    pub locked_memory: Told<Limit>,
    /// The limit of open files (the hard one: Viaduct raises the other).
    pub open_files: Told<Limit>,
    /// Effective capabilities, as bits.
    pub capabilities: Told<u64>,
    /// Memory of it that lies in swap, in KiB.
    pub swapped_kib: Told<u64>,
}

/// A limit; `None`: there is none.
pub type Limit = Option<u64>;

/// Bits of the capabilities that matter here (capabilities(7), `linux/capability.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// `CAP_NET_ADMIN`
    NetAdmin = 12,
    /// `CAP_IPC_LOCK`
    IpcLock = 14,
}

impl Process {
    /// A file of it below `/proc`.
    pub fn file(&self, name: &str) -> String {
        match self.id {
            Some(id) => format!("proc/{id}/{name}"),
            None => format!("proc/self/{name}"),
        }
    }

    /// In words.
    pub fn name(&self) -> String {
        self.id.map_or("this shell".into(), |id| format!("viaduct (process {id})"))
    }

    /// It may do this.
    pub fn may(&self, capability: Capability) -> Told<bool> {
        self.capabilities.clone().map(|bits| bits & (1 << capability as u32) != 0)
    }
}

pub(super) fn find(root: &Root) -> Process {
    let id = running(root);
    let file = |name: &str| id.map_or(format!("proc/self/{name}"), |id| format!("proc/{id}/{name}"));
    let status = root.read(&file("status"));
    let field = |name: &str| {
        let text = status.as_ref().map_err(Clone::clone)?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim).ok_or_else(|| Untold::new(format!("/{} has no {name}", file("status"))))
    };
    let unclear = |name: &str| Untold::new(format!("/{}: {name} is unclear", file("status")));
    let limits = root.read(&file("limits"));
    let limit = |name: &str, hard: bool| {
        let text = limits.as_ref().map_err(Clone::clone)?;
        let found = text.lines().find_map(|line| line.strip_prefix(name));
        let words = found.map(|rest| rest.split_whitespace().nth(usize::from(hard)).unwrap_or_default());
        match words {
            Some("unlimited") => Ok(None),
            Some(word) => word.parse().map(Some).map_err(|_| Untold::new(format!("{name}: «{word}»"))),
            None => Err(Untold::new(format!("/{} has no {name}", file("limits")))),
        }
    };
    Process {
        cores: field("Cpus_allowed_list")
            .and_then(|list| core_list(list).ok_or_else(|| unclear("Cpus_allowed_list"))),
        locked_memory: limit("Max locked memory", false),
        open_files: limit("Max open files", true),
        capabilities: field("CapEff")
            .and_then(|bits| u64::from_str_radix(bits, 16).map_err(|_| unclear("CapEff"))),
        swapped_kib: field("VmSwap")
            .and_then(|size| size.trim_end_matches(" kB").trim().parse().map_err(|_| unclear("VmSwap"))),
        id,
    }
}

/// The one `viaduct run` of this network namespace; `None` where there is none, or several.
fn running(root: &Root) -> Option<u32> {
    let here = root.target("proc/self/ns/net").ok();
    let is_it = |id: &u32| {
        let arguments = root.read(&format!("proc/{id}/cmdline")).unwrap_or_default();
        let there = root.target(&format!("proc/{id}/ns/net")).ok();
        arguments.split('\0').nth(1) == Some("run") && (here.is_none() || here == there)
    };
    let mut found = all_named(root, "viaduct").ok()?.into_iter().filter(is_it);
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

/// A process of this name. Where those of others are hidden (`hidepid`, proc(5)), none is no answer.
pub(super) fn named(root: &Root, name: &str) -> Told<Option<u32>> {
    match all_named(root, name)?.first() {
        None if !root.has("proc/1/comm") => Err(Untold::new("/proc hides processes of others")),
        found => Ok(found.copied()),
    }
}

fn all_named(root: &Root, name: &str) -> Told<Vec<u32>> {
    let numbers = root.names("proc")?.into_iter().filter_map(|entry| entry.parse().ok());
    let all: Vec<u32> = numbers.collect();
    if all.is_empty() {
        return Err(Untold::new("/proc shows no process"));
    }
    let called = |id: &u32| root.read(&format!("proc/{id}/comm")).is_ok_and(|comm| comm == name);
    Ok(all.into_iter().filter(called).collect())
}
