//! Network interfaces.

use super::{Root, Told};
use crate::fib::Fib;

/// An interface.
pub struct LinkFacts {
    /// Its name.
    pub name: String,
    /// The device behind it, by its name on its bus; `None`: it is software.
    pub device: Option<String>,
    /// The interfaces that it is made of.
    pub lower: Vec<String>,
    /// Largest packet in bytes.
    pub mtu: Told<u32>,
    /// The NUMA node of its device; -1 where there is but one.
    pub node: Told<i64>,
    /// Numbers of its device's interrupts, where its bus tells.
    pub interrupts: Vec<u32>,
    /// For each receive queue the cores that packets are handed on to (RPS).
    pub receive: Vec<(String, Told<Vec<usize>>)>,
    /// Entries of the flow tables of all receive queues (RFS).
    pub flow_entries: u64,
    /// For each transmit queue the cores that send by it (XPS); a single queue has none.
    pub transmit: Vec<(String, Told<Vec<usize>>)>,
    /// Empty polls before interrupts are switched on again.
    pub defer_interrupts: Told<u64>,
    /// Nanoseconds until then.
    pub flush_timeout_ns: Told<u64>,
    /// Packets that the device had no room for.
    pub missed: Told<u64>,
    /// What its driver tells.
    pub card: Card,
}

/// What a driver tells.
#[derive(Clone, Debug)]
pub struct Card {
    /// The receive ring.
    pub ring: Told<Ring>,
    /// When interrupts are raised.
    pub coalescing: Told<Coalescing>,
}

/// Descriptors of a receive ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    /// There are.
    pub receive: u32,
    /// There may be.
    pub receive_max: u32,
}

/// When the card raises a receive interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coalescing {
    /// So many microseconds after a packet.
    pub receive_us: u32,
    /// The driver chooses by the load.
    pub adaptive: bool,
}

impl LinkFacts {
    /// A device is behind it.
    pub fn is_card(&self) -> bool {
        self.device.is_some()
    }
}

const CLASS: &str = "sys/class/net";

/// `/sys` shows the interfaces of the network namespace that it was mounted in; those that are not the routing
/// policy's are left out.
pub(super) fn read(root: &Root, fib: Option<&Fib>, card: &dyn Fn(&str) -> Card) -> Told<Vec<LinkFacts>> {
    let ours = |name: &String| match (fib, root.number::<u32>(&format!("{CLASS}/{name}/ifindex"))) {
        (Some(fib), Ok(index)) => fib.link_index(name) == Some(index),
        _ => true,
    };
    let names = root.names(CLASS)?.into_iter().filter(ours);
    // Files in this folder (bonding_masters) are no interfaces.
    let links = names.filter(|name| root.has(&format!("{CLASS}/{name}/mtu")));
    Ok(links.map(|name| one(root, name, card)).collect())
}

fn one(root: &Root, name: String, card: &dyn Fn(&str) -> Card) -> LinkFacts {
    let folder = format!("{CLASS}/{name}");
    let file = |file: &str| format!("{folder}/{file}");
    let entries = root.names(&folder).unwrap_or_default();
    let lower = entries.iter().filter_map(|entry| entry.strip_prefix("lower_")).map(str::to_owned).collect();
    let queues = root.names(&file("queues")).unwrap_or_default();
    let queues = |kind: &str, map: &str| {
        let named = queues.iter().filter(|queue| queue.starts_with(kind));
        named.map(|queue| (queue.clone(), root.mask(&file(&format!("queues/{queue}/{map}"))))).collect()
    };
    let receive: Vec<(String, Told<Vec<usize>>)> = queues("rx-", "rps_cpus");
    let table = |queue: &str| root.number::<u64>(&file(&format!("queues/{queue}/rps_flow_cnt"))).unwrap_or(0);
    let flow_entries = receive.iter().map(|(queue, _)| table(queue)).sum();
    let device = root.target(&file("device")).ok();
    LinkFacts {
        device: device.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned())),
        lower,
        mtu: root.number(&file("mtu")),
        // A virtio device is a child of the one on the bus.
        node: root.number(&file("device/numa_node")).or_else(|_| root.number(&file("device/../numa_node"))),
        interrupts: interrupts(root, &folder),
        transmit: queues("tx-", "xps_cpus"),
        flow_entries,
        receive,
        defer_interrupts: root.number(&file("napi_defer_hard_irqs")),
        flush_timeout_ns: root.number(&file("gro_flush_timeout")),
        missed: missed(root, &folder),
        card: card(&name),
        name,
    }
}

fn interrupts(root: &Root, folder: &str) -> Vec<u32> {
    let numbers = |path: &str| root.names(&format!("{folder}/{path}")).ok();
    let names = numbers("device/msi_irqs").or_else(|| numbers("device/../msi_irqs")).unwrap_or_default();
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

fn missed(root: &Root, folder: &str) -> Told<u64> {
    let counter = |name: &str| root.number::<u64>(&format!("{folder}/statistics/{name}"));
    Ok(counter("rx_missed_errors")?.saturating_add(counter("rx_fifo_errors")?))
}
