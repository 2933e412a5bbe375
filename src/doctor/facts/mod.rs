//! One snapshot of what the checks look at.

mod cores;
mod counters;
mod interrupts;
mod links;
mod memory;
mod process;
mod root;
mod running;
mod sysctls;
mod unit;
mod wishes;

pub use cores::{Core, Cores, Idle};
pub use counters::{Counters, Softnet};
pub use interrupts::{Interrupt, of_device};
pub use links::{Card, Coalescing, LinkFacts, Ring};
pub use memory::Memory;
pub use process::{Capability, Process};
pub use root::{Root, Told, Untold};
pub use running::Running;
pub use sysctls::{Sysctls, interface};
pub use unit::Unit;
pub use wishes::{NextHop, Routing, Wishes};

use crate::fib::Fib;
use crate::plan::Plan;

/// What no file tells.
pub struct Given<'a> {
    /// The configuration.
    pub plan: &'a Plan,
    /// The routing policy.
    pub fib: Told<&'a Fib>,
    /// Whether the engine's rings are to be had: the kernel's release, or what is missing in words.
    pub probe: Told<Result<String, String>>,
    /// What a running Viaduct answers on `/metrics`.
    pub metrics: Told<String>,
    /// What the driver of the interface of this name tells.
    pub card: &'a dyn Fn(&str) -> Card,
}

/// All that the checks look at.
pub struct Facts {
    /// `uname -r`
    pub release: Told<String>,
    /// The kernel's command line.
    pub command_line: Told<String>,
    /// As [`Given::probe`].
    pub probe: Told<Result<String, String>>,
    /// Cores.
    pub cores: Cores,
    /// Memory.
    pub memory: Memory,
    /// The process whose limits and cores count: a running Viaduct, or this one.
    pub process: Process,
    /// The process number of `irqbalance`, if it runs.
    pub irqbalance: Told<Option<u32>>,
    /// Values of `/proc/sys`.
    pub sysctls: Sysctls,
    /// Network interfaces, by name.
    pub links: Told<Vec<LinkFacts>>,
    /// Interrupts of the interfaces' devices.
    pub interrupts: Told<Vec<Interrupt>>,
    /// Counters of the network stack.
    pub counters: Counters,
    /// `ip_conntrack`'s table: entries for the listeners' ports.
    pub tracked: Told<usize>,
    /// The connection tracker's SIP helper is loaded.
    pub sip_helper: Told<bool>,
    /// Clock source: the one in use.
    pub clock: Told<String>,
    /// Name and state of each processor vulnerability.
    pub vulnerabilities: Told<Vec<(String, String)>>,
    /// systemd's unit for Viaduct.
    pub unit: Told<Unit>,
    /// What the configuration asks of this host.
    pub wishes: Wishes,
    /// What the routing policy says about it.
    pub routing: Told<Routing>,
    /// What a running Viaduct tells of itself.
    pub running: Told<Running>,
}

/// Reads everything; takes milliseconds, and changes nothing.
pub fn gather(root: &Root, given: Given<'_>) -> Facts {
    let process = process::find(root);
    let fib = given.fib.as_ref().ok().copied();
    let wishes = wishes::of(given.plan, fib);
    let links = links::read(root, fib, given.card);
    Facts {
        release: root.read("proc/sys/kernel/osrelease"),
        command_line: root.read("proc/cmdline"),
        probe: given.probe,
        cores: cores::read(root, &process),
        memory: memory::read(root, &process),
        irqbalance: process::named(root, "irqbalance"),
        sysctls: sysctls::read(root),
        interrupts: interrupts::read(root),
        counters: counters::read(root),
        tracked: counters::tracked(root, &wishes.ports()),
        sip_helper: counters::sip_helper(root),
        clock: root.read("sys/devices/system/clocksource/clocksource0/current_clocksource"),
        vulnerabilities: cores::vulnerabilities(root),
        unit: unit::read(root),
        routing: given.fib.map(|fib| wishes::routing(given.plan, fib)),
        running: given.metrics.and_then(|text| Running::parse(&text)),
        wishes,
        links,
        process,
    }
}

impl Facts {
    /// The cores of the shards: the configured ones, or all that the process may use.
    pub fn shard_cores(&self) -> Told<Vec<usize>> {
        match self.wishes.cores.is_empty() {
            true => self.cores.allowed.clone(),
            false => Ok(self.wishes.cores.clone()),
        }
    }

    /// The interfaces that the listeners' messages go through, down to their hardware: of a VLAN, a bond or a VRF
    /// those below it.
    pub fn listeners_links(&self) -> Told<Vec<&LinkFacts>> {
        let links = self.links.as_ref().map_err(Clone::clone)?;
        let by_name = |name: &str| links.iter().find(|link| link.name == name);
        let mut open: Vec<&LinkFacts> = self.wishes.links().into_iter().filter_map(by_name).collect();
        let mut found: Vec<&LinkFacts> = Vec::new();
        while let Some(link) = open.pop() {
            if link.name == "lo" || found.iter().any(|known| known.name == link.name) {
                continue;
            }
            open.extend(link.lower.iter().filter_map(|name| by_name(name)));
            found.push(link);
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        match found.is_empty() {
            true => Err(Untold::new(match self.wishes.links()[..] {
                [] | ["lo"] => "no listener has an address on an interface of this host".to_owned(),
                ref wanted => format!("/sys/class/net does not show {}", wanted.join(", ")),
            })),
            false => Ok(found),
        }
    }

    /// Those of them that are hardware, or a virtual machine's card.
    pub fn cards(&self) -> Told<Vec<&LinkFacts>> {
        let cards: Vec<_> = self.listeners_links()?.into_iter().filter(|link| link.is_card()).collect();
        match cards.is_empty() {
            true => Err(Untold::new("the listeners' interfaces have no device behind them")),
            false => Ok(cards),
        }
    }
}
