//! The IP layer: what may come between a packet and its socket.

use super::{Check, one, size};
use crate::doctor::facts::{Facts, LinkFacts, NextHop, Told, Untold, interface};
use crate::doctor::finding::{Status, Verdict};

pub(super) const CHECKS: &[Check] = &[
    Check {
        code: "conntrack",
        group: "The IP layer",
        section: "connection-tracking-bypass",
        subject: "connection tracking",
        wanted: "no entry for the listeners' ports",
        why: "each message costs a lookup, each new peer an entry, and a full table drops packets",
        examine: conntrack,
    },
    Check {
        code: "conntrack-table",
        group: "The IP layer",
        section: "connection-tracking-bypass",
        subject: "nf_conntrack_count",
        wanted: "less than three quarters of nf_conntrack_max",
        why: "packets of new flows are dropped when the table is full",
        examine: conntrack_table,
    },
    Check {
        code: "sip-helper",
        group: "The IP layer",
        section: "connection-tracking-bypass",
        subject: "nf_conntrack_sip",
        wanted: "not loaded",
        why: "the kernel's SIP helper may rewrite addresses in messages, behind Viaduct's back",
        examine: sip_helper,
    },
    Check {
        code: "rp-filter",
        group: "The IP layer",
        section: "reverse-path-filter",
        subject: "rp_filter",
        wanted: "0 or 2 where packets come in by another interface than they are answered by",
        why: "the strict filter drops them, without a word",
        examine: rp_filter,
    },
    Check {
        code: "arp",
        group: "The IP layer",
        section: "arp-on-hosts-with-several-interfaces",
        subject: "ARP",
        wanted: "arp_filter=1, or arp_ignore=1 and arp_announce=2, where two interfaces share a network",
        why: "either interface answers for the other's address, and packets come in by the wrong one",
        examine: arp,
    },
    Check {
        code: "vrf",
        group: "The IP layer",
        section: "policy-routing-and-vrf",
        subject: "net.ipv4.udp_l3mdev_accept",
        wanted: "0, and a device for listeners in a VRF",
        why: "a socket outside of all VRFs gets nothing from inside, or, with 1, answers into another routing world",
        examine: vrf,
    },
    Check {
        code: "marks",
        group: "The IP layer",
        section: "policy-routing-and-vrf",
        subject: "net.ipv4.conf.all.src_valid_mark",
        wanted: "1 where listeners have a mark and the filter is strict",
        why: "the filter looks for the way back without the mark, and drops what only the mark would route",
        examine: marks,
    },
    Check {
        code: "ip-forward",
        group: "The IP layer",
        section: "ip-forwarding",
        subject: "forwarding of packets",
        wanted: "0: Viaduct does not need it",
        why: "the host passes packets from one network to the other, past Viaduct and its rules",
        examine: ip_forward,
    },
    Check {
        code: "mtu",
        group: "The IP layer",
        section: "mtu-and-fragments",
        subject: "MTU",
        wanted: "1500 or more",
        why: "a larger message is sent in fragments, and many firewalls drop those",
        examine: mtu,
    },
    Check {
        code: "fragments",
        group: "The IP layer",
        section: "mtu-and-fragments",
        subject: "reassembly",
        wanted: "none failed, and memory for 4 MiB",
        why: "a message of which a fragment is lost is lost",
        examine: fragments,
    },
];

/// The kernel's default for the memory of fragments (net/ipv4/ip_fragment.c).
const FRAGMENT_BYTES: u64 = 4 << 20;

fn conntrack(facts: &Facts) -> Told<Vec<Verdict>> {
    let ports: Vec<String> = facts.wishes.ports().iter().map(u16::to_string).collect();
    if ports.is_empty() {
        return Err(Untold::new("there is no listener"));
    }
    let ports = ports.join(", ");
    let tracked = facts.tracked.clone()?;
    let found = format!("{tracked} entries for UDP ports {ports}");
    let rule = format!("udp dport {{ {ports} }} notrack");
    one(Verdict::hold(tracked == 0, Status::Warn, "connection tracking", found).remedy(format!(
        "nft add table inet viaduct; \
         nft 'add chain inet viaduct in {{ type filter hook prerouting priority raw; }}'; \
         nft 'add rule inet viaduct in {rule}'   # and udp sport on the output hook"
    )))
}

fn conntrack_table(facts: &Facts) -> Told<Vec<Verdict>> {
    let count = facts.sysctls.number("net.netfilter.nf_conntrack_count")?;
    let max = facts.sysctls.number("net.netfilter.nf_conntrack_max")?;
    let status = if count >= max { Status::Fail } else { Status::Warn };
    let good = count.saturating_mul(4) < max.saturating_mul(3) || max == 0;
    let verdict = Verdict::hold(good, status, "nf_conntrack_count", format!("{count} of {max}"));
    one(verdict.remedy(format!("sysctl -w net.netfilter.nf_conntrack_max={}", max.saturating_mul(4))))
}

fn sip_helper(facts: &Facts) -> Told<Vec<Verdict>> {
    let loaded = facts.sip_helper.clone()?;
    let found = if loaded { "loaded" } else { "not loaded" };
    one(Verdict::hold(!loaded, Status::Warn, "nf_conntrack_sip", found)
        .remedy("rmmod nf_nat_sip nf_conntrack_sip   # and blacklist them in /etc/modprobe.d"))
}

/// Strict on an interface of a listener: looked up as the kernel looks it up.
fn rp_filter(facts: &Facts) -> Told<Vec<Verdict>> {
    let routing = facts.routing.as_ref().map_err(Clone::clone)?;
    let links = facts.wishes.links();
    let verdict = |link: &&str| {
        let value = facts.sysctls.of_interface(link, "rp_filter")?;
        let ways = routing.ways.iter().filter(|way| way.comes_in == **link);
        let worst = ways.max_by_key(|way| way.who.is_some());
        let found = || format!("{value}; interfaces with IPv4: {}", routing.homes.join(", "));
        Ok(match worst.filter(|_| value == 1) {
            None => Verdict::pass(*link, found()),
            Some(way) => asymmetric(link, way),
        })
    };
    match links.is_empty() {
        true => Err(Untold::new("no listener has an address on an interface of this host")),
        false => links.iter().map(verdict).collect(),
    }
}

fn asymmetric(link: &str, way: &NextHop) -> Verdict {
    let NextHop { who, listener, comes_in, leaves } = way;
    let (status, from) = match who {
        Some(who) => (Status::Fail, format!("{who}, the next hop of a rule,")),
        None => (Status::Warn, format!("a sender without a route by {comes_in}")),
    };
    let found = format!(
        "1 (strict): what {from} sends to «{listener}» there is dropped, for the way back is by {leaves}"
    );
    Verdict::new(status, link, found)
        .remedy(format!("sysctl -w {}=2   # loose: any way back will do", interface(link, "rp_filter")))
}

fn arp(facts: &Facts) -> Told<Vec<Verdict>> {
    let shared = &facts.routing.as_ref().map_err(Clone::clone)?.shared;
    if shared.is_empty() {
        return one(Verdict::pass("ARP", "no two interfaces share an IPv4 network"));
    }
    let parted = |link: &str| -> Told<bool> {
        let value = |name| facts.sysctls.of_interface(link, name);
        Ok(value("arp_filter")? >= 1 || (value("arp_ignore")? >= 1 && value("arp_announce")? >= 2))
    };
    let verdict = |(network, first, second): &(ipnet::IpNet, String, String)| {
        let good = parted(first)? && parted(second)?;
        let found = if good {
            "each answers for its own addresses"
        } else {
            "each answers for the other's addresses"
        };
        let set =
            |link: &str| format!("{}=1 {}=2", interface(link, "arp_ignore"), interface(link, "arp_announce"));
        let subject = format!("{first} and {second} ({network})");
        let remedy = format!("sysctl -w {} {}", set(first), set(second));
        Ok(Verdict::hold(good, Status::Warn, subject, found).remedy(remedy))
    };
    shared.iter().map(verdict).collect()
}

fn vrf(facts: &Facts) -> Told<Vec<Verdict>> {
    let routing = facts.routing.as_ref().map_err(Clone::clone)?;
    if routing.vrfs.is_empty() {
        return one(Verdict::pass("VRFs", "none"));
    }
    let accept = facts.sysctls.number("net.ipv4.udp_l3mdev_accept")?;
    let inside = routing.outside.iter().find_map(|(name, vrf)| Some((name, vrf.as_ref()?)));
    one(match inside {
        Some((listener, vrf)) if accept == 0 => {
            let found =
                format!("the address of «{listener}» is in {vrf}, its socket is not: nothing comes in");
            Verdict::fail("VRFs", found)
                .remedy(format!("device = \"{vrf}\"   # in the [[listener]] «{listener}»"))
        }
        _ if accept != 0 && !routing.outside.is_empty() => {
            let found = "1: listeners without a device get packets of all VRFs".to_owned();
            Verdict::warn("net.ipv4.udp_l3mdev_accept", found)
                .remedy("sysctl -w net.ipv4.udp_l3mdev_accept=0")
        }
        _ => Verdict::pass("VRFs", format!("{}; udp_l3mdev_accept is {accept}", routing.vrfs.join(", "))),
    })
}

fn marks(facts: &Facts) -> Told<Vec<Verdict>> {
    const NAME: &str = "net.ipv4.conf.all.src_valid_mark";
    if !facts.wishes.marks {
        return one(Verdict::pass(NAME, "no listener has a mark"));
    }
    let value = facts.sysctls.number(NAME)?;
    let strict = |link: &&str| facts.sysctls.of_interface(link, "rp_filter") == Ok(1);
    let strict: Vec<&str> = facts.wishes.links().into_iter().filter(strict).collect();
    let found = match strict.is_empty() {
        true => format!("{value}; no listener's interface is strict"),
        false => format!("{value}; strict: {}", strict.join(", ")),
    };
    let verdict = Verdict::hold(strict.is_empty() || value == 1, Status::Warn, NAME, found);
    one(verdict.remedy(format!("sysctl -w {NAME}=1   # and mark what comes in: see tuning.md")))
}

fn ip_forward(facts: &Facts) -> Told<Vec<Verdict>> {
    const NAMES: [&str; 2] = ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"];
    let verdict = |name: &&str| {
        let value = facts.sysctls.number(name)?;
        let verdict = Verdict::hold(value == 0, Status::Warn, *name, value.to_string());
        Ok(verdict.remedy(format!("sysctl -w {name}=0   # unless this host routes or runs containers")))
    };
    // A host without IPv6 has but the first.
    let told: Vec<Told<Verdict>> = NAMES.iter().map(verdict).collect();
    match told.iter().any(Result::is_ok) {
        true => Ok(told.into_iter().filter_map(Result::ok).collect()),
        false => told.into_iter().collect(),
    }
}

fn mtu(facts: &Facts) -> Told<Vec<Verdict>> {
    let verdict = |link: &LinkFacts| {
        let mtu = link.mtu.clone()?;
        let verdict = Verdict::hold(mtu >= 1_500, Status::Warn, link.name.clone(), mtu.to_string());
        Ok(verdict.remedy(format!("ip link set {} mtu 1500   # where the network carries it", link.name)))
    };
    facts.listeners_links()?.into_iter().map(verdict).collect()
}

fn fragments(facts: &Facts) -> Told<Vec<Verdict>> {
    let failed = facts.counters.sum(&["Ip.ReasmFails", "Ip6ReasmFails"])?;
    let memory = facts.sysctls.number("net.ipv4.ipfrag_high_thresh")?;
    let memory6 = facts.sysctls.number("net.ipv6.ip6frag_high_thresh").unwrap_or(memory);
    let least = memory.min(memory6);
    let found = format!("{failed} failed since the start; memory {}", size(least));
    let verdict = Verdict::hold(failed == 0 && least >= FRAGMENT_BYTES, Status::Warn, "reassembly", found);
    one(verdict.remedy("nstat -az IpReasmFails Ip6ReasmFails; sysctl -w net.ipv4.ipfrag_high_thresh=8388608"))
}
