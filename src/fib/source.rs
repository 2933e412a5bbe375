//! Source selection: by scope and subnet for IPv4, by RFC 6724 for IPv6.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

use super::links::Links;
use super::spec::{Address, Label, SCOPE_HOST, SCOPE_LINK};

/// An IPv4 address of the host.
#[derive(Clone)]
struct Address4 {
    dev: u32,
    l3_master: u32,
    address: Ipv4Addr,
    network: Ipv4Net,
    scope: u8,
    secondary: bool,
}

/// The host's IPv4 addresses: devices by index, on each device in the kernel's order.
#[derive(Clone)]
pub(super) struct Sources4 {
    addresses: Vec<Address4>,
    by_address: Vec<(Ipv4Addr, u32)>,
}

impl Sources4 {
    pub fn new(addresses: &[Address], links: &Links) -> Self {
        let mut own: Vec<Address4> = addresses
            .iter()
            .filter_map(|a| match (a.address, a.network) {
                (std::net::IpAddr::V4(address), IpNet::V4(network)) => Some(Address4 {
                    dev: a.dev,
                    l3_master: links.l3_master(a.dev),
                    address,
                    network,
                    scope: a.scope,
                    secondary: a.secondary,
                }),
                _ => None,
            })
            .collect();
        own.sort_by_key(|a| a.dev);
        let mut by_address: Vec<_> = own.iter().map(|a| (a.address, a.dev)).collect();
        by_address.sort_by_key(|(address, _)| *address);
        Self { addresses: own, by_address }
    }

    /// The devices that carry the address, ascending.
    pub fn homes(&self, address: Ipv4Addr) -> impl Iterator<Item = u32> + '_ {
        let place = self.by_address.partition_point(|(other, _)| *other < address);
        let from = self.by_address.get(place..).unwrap_or_default();
        from.iter().take_while(move |(other, _)| *other == address).map(|(_, dev)| *dev)
    }

    /// What the kernel's `inet_select_addr` gives: a primary address of `dev` whose scope is not
    /// narrower than `scope`, at best one whose subnet holds `towards`; else one of another device.
    pub fn select(&self, links: &Links, dev: u32, towards: Option<Ipv4Addr>, scope: u8) -> Option<Ipv4Addr> {
        // Addresses of the host alone, as 127.0.0.1, count as the link's where 127.0.0.0/8 is routed.
        let localnet_scope =
            if links.get(dev).is_some_and(|link| link.conf.route_localnet) { SCOPE_LINK } else { SCOPE_HOST };
        let mut on_dev = self
            .addresses
            .iter()
            .filter(|a| a.dev == dev && !a.secondary && a.scope.min(localnet_scope) <= scope);
        let first = on_dev.clone().next();
        let best = match towards {
            Some(towards) => on_dev.find(|a| a.network.contains(&towards)).or(first),
            None => first,
        };
        if let Some(best) = best {
            return Some(best.address);
        }
        // Loopback comes first, as its index is the lowest; within a VRF the VRF device does.
        let master = links.l3_master(dev);
        let elsewhere = |a: &&Address4| !a.secondary && a.scope != SCOPE_LINK && a.scope <= scope;
        let on_master = self.addresses.iter().filter(|a| master != 0 && a.dev == master).find(elsewhere);
        let anywhere = || self.addresses.iter().filter(|a| a.l3_master == master).find(elsewhere);
        on_master.or_else(anywhere).map(|a| a.address)
    }
}

/// An IPv6 address of the host that may be a source.
#[derive(Clone)]
struct Address6 {
    dev: u32,
    l3_master: u32,
    address: Ipv6Addr,
    prefix_len: u8,
    scope: u8,
    label: u32,
    preferred: bool,
    optimistic: bool,
    /// Temporary where temporary addresses are preferred, not temporary where they are not.
    wanted_privacy: bool,
}

/// The host's IPv6 addresses and the label table.
#[derive(Clone)]
pub(super) struct Sources6 {
    addresses: Vec<Address6>,
    /// As numbers, which compare faster than addresses.
    by_address: Vec<(u128, u32)>,
    labels: Vec<Label>,
}

impl Sources6 {
    pub fn new(addresses: &[Address], labels: Vec<Label>, links: &Links) -> Self {
        let mut own: Vec<Address6> = addresses
            .iter()
            .filter(|a| a.usable())
            .filter_map(|a| {
                let std::net::IpAddr::V6(address) = a.address else { return None };
                let conf = links.get(a.dev).map(|link| link.conf).unwrap_or_default();
                let second_rate = a.deprecated || (a.optimistic && !conf.use_optimistic);
                Some(Address6 {
                    dev: a.dev,
                    l3_master: links.l3_master(a.dev),
                    address,
                    prefix_len: a.network.prefix_len(),
                    scope: scope(address),
                    label: label(&labels, address, a.dev),
                    preferred: always_preferred(address) || !second_rate,
                    optimistic: a.optimistic,
                    wanted_privacy: a.temporary == conf.prefer_temporary,
                })
            })
            .collect();
        own.sort_by_key(|a| a.dev);
        let mut by_address: Vec<_> = own.iter().map(|a| (a.address.to_bits(), a.dev)).collect();
        by_address.sort_unstable();
        Self { addresses: own, by_address, labels }
    }

    /// The label table, in the order in which it is gone through.
    pub fn labels(&self) -> &[Label] {
        &self.labels
    }

    /// The devices that carry the address (a link-local one often lives on several), ascending.
    pub fn homes(&self, address: Ipv6Addr) -> impl Iterator<Item = u32> + '_ {
        let address = address.to_bits();
        let place = self.by_address.partition_point(|(other, _)| *other < address);
        let from = self.by_address.get(place..).unwrap_or_default();
        from.iter().take_while(move |(other, _)| *other == address).map(|(_, dev)| *dev)
    }

    /// The source that [`Sources6::select`] gives for every destination of global scope which is no address of the
    /// host, by this device: its only address of global scope, if nothing is against it. Rule 5, "Prefer outgoing
    /// interface", comes before all that depends on the destination.
    pub fn only(&self, dev: u32) -> Option<Ipv6Addr> {
        let mut global = self.addresses.iter().filter(|a| a.dev == dev && a.scope > SCOPE6_LINK);
        match (global.next(), global.next()) {
            (Some(only), None) if only.scope == SCOPE6_GLOBAL && only.preferred => Some(only.address),
            _ => None,
        }
    }

    /// RFC 6724 §5 as the kernel does it; `dev` is the outgoing device, 0 if it is not known.
    pub fn select(&self, links: &Links, dst: Ipv6Addr, dev: u32) -> Option<Ipv6Addr> {
        let dst_scope = scope(dst);
        // RFC 6724 §4: for multicast and link-local destinations "the set of candidate source
        // addresses MUST only include addresses assigned to interfaces belonging to the same link as
        // the outgoing interface."
        let same_link = dev != 0
            && (dst.is_multicast()
                || dst_scope <= SCOPE6_LINK
                || links.get(dev).is_some_and(|link| link.conf.use_oif_addrs_only));
        let master = if dev == 0 { 0 } else { links.l3_master(dev) };
        let dst_label = label(&self.labels, dst, dev);
        let rank = |a: &Address6| {
            (
                a.address == dst,                  // rule 1
                fitting_scope(a.scope, dst_scope), // rule 2
                a.preferred,                       // rule 3
                dev == 0 || a.dev == dev,          // rule 5
                a.label == dst_label,              // rule 6
                a.wanted_privacy,                  // rule 7
                is_orchid(a.address) == is_orchid(dst),
                common_prefix(a.address, dst).min(u32::from(a.prefix_len)), // rule 8
                !a.optimistic,
            )
        };
        let candidates =
            self.addresses.iter().filter(|a| if same_link { a.dev == dev } else { a.l3_master == master });
        // The first of equals, where `max_by_key` would take the last.
        let best =
            candidates.map(|a| (rank(a), a)).reduce(|best, next| if next.0 > best.0 { next } else { best });
        best.map(|(_, a)| a.address)
    }
}

const SCOPE6_LINK: u8 = 2;
const SCOPE6_SITE: u8 = 5;
const SCOPE6_GLOBAL: u8 = 14;

/// RFC 6724 §3.1, in the numbers of multicast scopes.
fn scope(address: Ipv6Addr) -> u8 {
    let octets = address.octets();
    match octets {
        [0xff, second, ..] => second & 0x0f,
        [0xfe, second, ..] if second & 0xc0 == 0x80 => SCOPE6_LINK,
        [0xfe, second, ..] if second & 0xc0 == 0xc0 => SCOPE6_SITE,
        _ if address.is_loopback() => SCOPE6_LINK,
        _ => SCOPE6_GLOBAL,
    }
}

/// Rule 2, "Prefer appropriate scope": the smallest that reaches, else the largest.
fn fitting_scope(source: u8, destination: u8) -> i16 {
    if source >= destination { -i16::from(source) } else { i16::from(source) - 128 }
}

/// Loopback, IPv4-mapped, IPv4-compatible and reserved addresses have no lifetime to speak of.
fn always_preferred(address: Ipv6Addr) -> bool {
    matches!(address.octets(), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ..]) || address.to_ipv4_mapped().is_some()
}

/// RFC 4843: 2001:10::/28.
fn is_orchid(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    first == 0x2001 && second & 0xfff0 == 0x0010
}

fn common_prefix(a: Ipv6Addr, b: Ipv6Addr) -> u32 {
    (a.to_bits() ^ b.to_bits()).leading_zeros()
}

/// The first line that holds the address, in the kernel's order (longest prefix first).
fn label(labels: &[Label], address: Ipv6Addr, dev: u32) -> u32 {
    let holds = |l: &&Label| l.prefix.contains(&address) && (l.dev == 0 || l.dev == dev);
    labels.iter().find(holds).map_or(u32::MAX, |l| l.label)
}
