//! What the configuration asks of this host, and what the routing policy says about it.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::fib::{Answer, Fib, Query, Route};
use crate::net::canonical;
use crate::plan::{EngineKind, Listener, Onward, Plan};
use crate::rules::{EgressChoice, Target};

/// An address that is nobody's: whoever is not a neighbour (TEST-NET-1, RFC 5737).
const ANYBODY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

const ROOT: u32 = 0;

/// What is asked.
pub struct Wishes {
    /// `[engine] kind`
    pub engine: EngineKind,
    /// `[engine] cores`; empty: all.
    pub cores: Vec<usize>,
    /// `[engine] socket_buffer`, in bytes.
    pub socket_buffer_bytes: u64,
    /// Listeners, as the host has them now.
    pub listeners: Vec<Wish>,
    /// A listener has a `mark`.
    pub marks: bool,
    /// Connections that each shard may have; 0: no listener takes any.
    pub connections: u64,
}

/// A listener.
pub struct Wish {
    /// Its port.
    pub port: u16,
    /// The interface that has its address, or that it is tied to.
    pub link: Option<String>,
}

impl Wishes {
    /// The interfaces of all listeners, each once.
    pub fn links(&self) -> Vec<&str> {
        let mut links: Vec<&str> = self.listeners.iter().filter_map(|wish| wish.link.as_deref()).collect();
        links.sort_unstable();
        links.dedup();
        links
    }

    /// The ports of all listeners, each once.
    pub fn ports(&self) -> Vec<u16> {
        let mut ports: Vec<u16> = self.listeners.iter().map(|wish| wish.port).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

pub(super) fn of(plan: &Plan, fib: Option<&Fib>) -> Wishes {
    let wish = |listener: &Listener| Wish {
        port: listener.bind.port(),
        link: home(listener, fib).or_else(|| listener.device.as_deref().map(str::to_owned)),
    };
    Wishes {
        engine: plan.engine.kind,
        cores: plan.engine.cores.clone(),
        socket_buffer_bytes: plan.engine.socket_buffer_bytes as u64,
        listeners: plan.listeners.iter().map(wish).collect(),
        marks: plan.listeners.iter().any(|listener| listener.mark.is_some()),
        connections: if plan.has_streams() { plan.streams.connections as u64 } else { 0 },
    }
}

fn home(listener: &Listener, fib: Option<&Fib>) -> Option<String> {
    let fib = fib?;
    fib.link_name(fib.home_of(listener.bind.ip())?).map(str::to_owned)
}

/// What the routing policy says.
pub struct Routing {
    /// Interfaces that are up and have an IPv4 address besides loopback.
    pub homes: Vec<String>,
    /// Networks that two interfaces have an IPv4 address of: the network, one interface, the other.
    pub shared: Vec<(IpNet, String, String)>,
    /// Ways of packets that come in by one interface and would be answered by another.
    pub ways: Vec<NextHop>,
    /// VRF devices.
    pub vrfs: Vec<String>,
    /// Listeners without a `device`, and the VRF that their address is in, if any.
    pub outside: Vec<(String, Option<String>)>,
}

/// Where somebody's packets come in, and where packets to him leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Who: a literal next hop of a rule; `None`: whoever is no neighbour.
    pub who: Option<IpAddr>,
    /// The listener that he sends to.
    pub listener: String,
    /// The interface that has its address.
    pub comes_in: String,
    /// The interface that the kernel would answer by.
    pub leaves: String,
}

pub(super) fn routing(plan: &Plan, fib: &Fib) -> Routing {
    Routing {
        homes: homes(fib),
        shared: shared(fib),
        ways: ways(plan, &fib.clone().for_user(ROOT)),
        vrfs: fib.links().filter(|link| link.vrf_table.is_some()).map(|link| link.name.to_string()).collect(),
        outside: outside(plan, fib),
    }
}

fn v4(fib: &Fib) -> impl Iterator<Item = (&str, IpNet)> {
    let assigned = fib.assigned().filter(|a| a.address.is_ipv4() && !a.address.is_loopback());
    let up = assigned.filter(|a| fib.link_up(a.dev));
    up.filter_map(|a| Some((fib.link_name(a.dev).filter(|name| *name != "lo")?, a.network)))
}

fn homes(fib: &Fib) -> Vec<String> {
    let mut homes: Vec<String> = v4(fib).map(|(link, _)| link.to_owned()).collect();
    homes.sort();
    homes.dedup();
    homes
}

fn shared(fib: &Fib) -> Vec<(IpNet, String, String)> {
    let all: Vec<(&str, IpNet)> = v4(fib).collect();
    let mut found = Vec::new();
    for (i, (link, network)) in all.iter().enumerate() {
        let other = all[i + 1..].iter().find(|(other, net)| other != link && net == network);
        if let Some((other, _)) = other.filter(|_| network.prefix_len() < 32) {
            found.push((*network, (*link).to_owned(), (*other).to_owned()));
        }
    }
    found
}

/// The kernel looks for the way back as the bound socket of the listener does
/// (Documentation/networking/ip-sysctl.rst, `rp_filter`), if that were root's (`__fib_validate_source`: no socket is known yet).
fn ways(plan: &Plan, fib: &Fib) -> Vec<NextHop> {
    let mut ways = Vec::new();
    let mut look = |listener: &Listener, who: IpAddr, literal: bool| {
        let (Some(comes_in), Some(leaves)) = (home(listener, Some(fib)), leaves_by(fib, listener, who))
        else {
            return;
        };
        let who = literal.then_some(who);
        let way = NextHop { who, listener: listener.name.to_string(), comes_in, leaves };
        if way.comes_in != way.leaves && way.comes_in != "lo" && !ways.contains(&way) {
            ways.push(way);
        }
    };
    // What is so of a listener's address is so of the one for connections beside it.
    for listener in plan.listeners.iter().filter(|own| own.bind.is_ipv4() && !plan.is_sibling(own)) {
        look(listener, ANYBODY, false);
    }
    for rule in plan.rules.iter() {
        for Onward { target, egress, .. } in plan.onward(rule) {
            if let (Target::Address { ip, .. }, Some(EgressChoice::Listener(id))) = (target, egress) {
                let own = plan.members(id).iter().filter(|own| !plan.is_sibling(own));
                own.for_each(|listener| look(listener, canonical(*ip), true));
            }
        }
    }
    ways
}

fn leaves_by(fib: &Fib, listener: &Listener, who: IpAddr) -> Option<String> {
    let src = canonical(listener.bind.ip());
    let query =
        Query { src: Some(src), oif: listener.device_index, sport: listener.bind.port(), ..Query::to(who) };
    match fib.lookup(&query) {
        Answer::Route(Route { dev, .. }) if src.is_ipv4() == who.is_ipv4() => {
            fib.link_name(dev).map(str::to_owned)
        }
        _ => None,
    }
}

fn outside(plan: &Plan, fib: &Fib) -> Vec<(String, Option<String>)> {
    let vrf = |listener: &Listener| {
        let master = fib.l3_master(fib.home_of(listener.bind.ip())?);
        (master != 0).then(|| fib.link_name(master)).flatten().map(str::to_owned)
    };
    let free = plan.listeners.iter().filter(|own| own.device.is_none() && !plan.is_sibling(own));
    free.map(|listener| (listener.name.to_string(), vrf(listener))).collect()
}
