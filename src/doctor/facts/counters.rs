//! Counters of the network stack since the host (or the network namespace) started.

use std::collections::HashMap;

use super::{Root, Told, Untold};

/// The counters.
pub struct Counters {
    /// For each core its share of received packets.
    pub softnet: Told<Vec<Softnet>>,
    /// `Protocol.Counter` of `/proc/net/snmp` and `/proc/net/netstat`, and the names of `/proc/net/snmp6`.
    named: HashMap<String, u64>,
}

/// One line of `/proc/net/softnet_stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Softnet {
    /// Packets.
    pub processed: u64,
    /// Packets lost because the backlog was full.
    pub dropped: u64,
    /// Times that the budget or the time was over while packets were left.
    pub squeezed: u64,
}

impl Counters {
    /// A counter by its name: `Udp.RcvbufErrors`.
    pub fn get(&self, name: &str) -> Told<u64> {
        let value = self.named.get(name).copied();
        value.ok_or_else(|| Untold::new(format!("the kernel does not count {name}")))
    }

    /// The sum of those that there are.
    pub fn sum(&self, names: &[&str]) -> Told<u64> {
        let all: Vec<u64> = names.iter().filter_map(|name| self.get(name).ok()).collect();
        match all.is_empty() {
            true => self.get(names[0]),
            false => Ok(all.iter().fold(0, |sum, value| sum.saturating_add(*value))),
        }
    }
}

pub(super) fn read(root: &Root) -> Counters {
    let mut named = HashMap::new();
    for file in ["proc/net/snmp", "proc/net/netstat"] {
        pairs(&root.read(file).unwrap_or_default(), &mut named);
    }
    for line in root.read("proc/net/snmp6").unwrap_or_default().lines() {
        if let [name, value] = line.split_whitespace().collect::<Vec<_>>()[..]
            && let Ok(value) = value.parse()
        {
            named.insert(name.to_owned(), value);
        }
    }
    Counters { softnet: root.read("proc/net/softnet_stat").and_then(|text| softnet(&text)), named }
}

/// Lines in pairs: the names, then the values.
fn pairs(text: &str, named: &mut HashMap<String, u64>) {
    let lines: Vec<&str> = text.lines().collect();
    for pair in lines.chunks_exact(2) {
        let (names, values) = (pair[0].split_whitespace(), pair[1].split_whitespace());
        let protocol = pair[0].split(':').next().unwrap_or_default();
        for (name, value) in names.zip(values).skip(1) {
            if let Ok(value) = value.parse() {
                named.insert(format!("{protocol}.{name}"), value);
            }
        }
    }
}

fn softnet(text: &str) -> Told<Vec<Softnet>> {
    let row = |line: &str| {
        let mut columns = line.split_whitespace().map(|column| u64::from_str_radix(column, 16).ok());
        let mut next = || columns.next().flatten();
        Some(Softnet { processed: next()?, dropped: next()?, squeezed: next()? })
    };
    let rows: Option<Vec<Softnet>> = text.lines().map(row).collect();
    rows.filter(|rows| !rows.is_empty()).ok_or_else(|| Untold::new("/proc/net/softnet_stat is unclear"))
}

/// Entries of the connection tracker that are UDP with one of these ports.
pub(super) fn tracked(root: &Root, ports: &[u16]) -> Told<usize> {
    let count: u64 = root.number("proc/sys/net/netfilter/nf_conntrack_count")?;
    if count == 0 {
        return Ok(0);
    }
    let table = root.read("proc/net/nf_conntrack")?;
    let wanted: Vec<String> =
        ports.iter().flat_map(|port| [format!("sport={port}"), format!("dport={port}")]).collect();
    let ours = |line: &&str| {
        let mut words = line.split_whitespace();
        words.clone().any(|word| word == "udp") && words.any(|word| wanted.iter().any(|w| w == word))
    };
    Ok(table.lines().filter(ours).count())
}

/// Modules that were built in have no entry in `/proc/modules`, but one in `/sys/module`.
pub(super) fn sip_helper(root: &Root) -> Told<bool> {
    if root.has("sys/module") {
        Ok(root.has("sys/module/nf_conntrack_sip") || root.has("sys/module/nf_nat_sip"))
    } else {
        root.read("proc/modules").map(|text| text.lines().any(|line| line.starts_with("nf_conntrack_sip ")))
    }
}
