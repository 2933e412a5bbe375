//! `addr add|del ADDRESS[/LENGTH] dev NAME`

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use super::words::{Misread, Words};
use super::{Sysctls, add, device, remove};
use crate::fib::Rib;
use crate::fib::spec::{Address, Kind, Nexthops, Route, SCOPE_HOST, TABLE_LOCAL, TABLE_MAIN};

/// The metric of IPv6 routes to connected networks (`IP6_RT_PRIO_ADDRCONF`).
const CONNECTED_V6: u32 = 256;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    add: bool,
    address: IpNet,
    /// It was written with a length.
    exact: bool,
    dev: String,
    /// `noprefixroute`
    alone: bool,
    /// `nodad`: usable without detection of duplicates.
    at_once: bool,
}

impl Change {
    pub fn read(words: &mut Words<'_>) -> Result<Self, Misread> {
        let add = match words.next() {
            Some("add") => true,
            Some("del" | "delete") => false,
            _ => return Err(words.misread("`add` or `del` stands here")),
        };
        let word: String = words.value("an address")?;
        let exact = word.contains('/');
        let address = match word.parse::<IpNet>() {
            Ok(address) => address,
            Err(_) => match word.parse::<IpAddr>() {
                Ok(address) => address.into(),
                Err(_) => return Err(words.misread("an address stands here: ADDRESS/LENGTH")),
            },
        };
        let no_address = address.addr().is_multicast() || address.addr().is_unspecified();
        if add && address.addr().is_ipv6() && no_address {
            return Err(words.misread("that is no address of an interface: multicast or unspecified"));
        }
        if words.next() != Some("dev") {
            return Err(words.misread("`dev NAME` stands here"));
        }
        let dev = words.value("an interface's name")?;
        let mut change = Self { add, address, exact, dev, alone: false, at_once: false };
        while let Some(word) = words.next() {
            match word {
                "nodad" => change.at_once = true,
                "noprefixroute" => change.alone = true,
                "brd" | "broadcast" => drop(words.value::<String>("a broadcast address")?),
                _ => return Err(words.misread("`nodad`, `noprefixroute` or `broadcast` may stand here")),
            }
        }
        Ok(change)
    }

    pub fn apply(&self, host: &mut Rib, sysctls: &impl Sysctls) -> Result<(), String> {
        let dev = device(host, &self.dev)?;
        let ip = self.address.addr();
        if self.add {
            let known = |a: &Address| (a.dev, a.address) == (dev, ip);
            let same = |a: &Address| known(a) && (ip.is_ipv6() || a.network == self.address.trunc());
            if host.parts().addresses.iter().any(same) {
                return Err(format!("{} has it already", self.dev));
            }
            if ip == IpAddr::from(Ipv6Addr::LOCALHOST) && !is_loopback(host, dev) {
                return Err(format!("{ip} is for a loopback interface, and {} is none", self.dev));
            }
            // IPv4's unspecified address the kernel takes and does nothing with.
            if !ip.is_unspecified() {
                self.appear(host, dev);
            }
            return Ok(());
        }
        let meant = |a: &&Address| {
            (a.dev, a.address) == (dev, ip) && (!self.exact || a.network == self.address.trunc())
        };
        let Some(gone) = host.parts().addresses.iter().find(meant).cloned() else {
            return Err(format!("{} has no such address; see `ip address show {}`", self.dev, self.dev));
        };
        let promote = ["all", &self.dev]
            .iter()
            .any(|dev| sysctls.is_set(&format!("net/ipv4/conf/{dev}/promote_secondaries")));
        if ip.is_ipv6() {
            vanish_v6(host, &gone)
        } else {
            vanish_v4(host, &gone, promote)
        }
        Ok(())
    }
}

impl Change {
    fn appear(&self, host: &mut Rib, dev: u32) {
        let (ip, len) = (self.address.addr(), self.address.prefix_len());
        let mut own = Address { alone: self.alone, ..Address::new(dev, ip, len) };
        let peers = |a: &Address| a.dev == dev && a.network == own.network;
        own.secondary = ip.is_ipv4() && host.parts().addresses.iter().any(peers);
        // Duplicates are looked for once the link is up.
        own.tentative = ip.is_ipv6() && !self.at_once && !is_up(host, dev);
        host.address_is(own.clone());
        routes_of(host, &own);
    }
}

/// Table `local` for addresses, `main` for networks; a VRF's own for both.
fn home(host: &Rib, dev: u32, table: u32) -> u32 {
    let links = &host.parts().links;
    let link = |index: u32| links.iter().find(|link| link.index == index);
    let own = link(dev).and_then(|l| l.vrf_table.or_else(|| link(l.master)?.vrf_table));
    own.unwrap_or(table)
}

fn is_up(host: &Rib, dev: u32) -> bool {
    host.parts().links.iter().any(|link| link.index == dev && link.up)
}

fn is_loopback(host: &Rib, dev: u32) -> bool {
    host.parts().links.iter().any(|link| link.index == dev && link.loopback)
}

/// `fib_add_ifaddr`, `addrconf_prefix_route`: makes the routes of an address.
pub(super) fn routes_of(host: &mut Rib, own: &Address) {
    let (dev, ip, up) = (own.dev, own.address, is_up(host, own.dev));
    let loopback = is_loopback(host, dev);
    let source = primary_of(host, own);
    let (local, main) = (home(host, dev, TABLE_LOCAL), home(host, dev, TABLE_MAIN));
    let to_itself = Route::new(ip.into(), dev, None).in_table(local).of_kind(Kind::Local).with_metric(0);
    let to_network = Route::new(own.network, dev, None);
    if ip.is_ipv6() {
        if !own.tentative {
            add(host, to_itself);
        }
        if up && !own.alone {
            add(host, to_network.in_table(main).with_metric(CONNECTED_V6));
        }
        return;
    }
    add(host, Route { scope: SCOPE_HOST, ..to_itself.with_source(source) });
    let has_network = !own.alone && own.network.prefix_len() < own.network.max_prefix_len();
    if has_network && up && !own.secondary {
        let route = to_network.with_source(source);
        add(
            host,
            if loopback {
                Route { scope: SCOPE_HOST, ..route.in_table(local).of_kind(Kind::Local) }
            } else {
                route.in_table(main)
            },
        );
    }
}

/// IPv4: the address whose network this one belongs to.
fn primary_of(host: &Rib, own: &Address) -> IpAddr {
    let primary = |a: &&Address| a.dev == own.dev && a.network == own.network && !a.secondary;
    let found = host.parts().addresses.iter().filter(|_| own.secondary).find(primary);
    found.map_or(own.address, |a| a.address)
}

/// `inet_del_ifa`: with a primary address go those of its network, or the first of them takes its place.
fn vanish_v4(host: &mut Rib, gone: &Address, promote: bool) {
    let of_network = |a: &&Address| a.dev == gone.dev && a.network == gone.network && a.secondary;
    let secondaries: Vec<Address> = match gone.secondary {
        true => Vec::new(),
        false => host.parts().addresses.iter().filter(of_network).cloned().collect(),
    };
    for secondary in &secondaries {
        remove_routes_v4(host, secondary);
        if !promote {
            host.address_gone(secondary);
        }
    }
    remove_routes_v4(host, gone);
    host.address_gone(gone);
    if !promote {
        return;
    }
    for (place, secondary) in secondaries.into_iter().enumerate() {
        host.address_is(Address { secondary: place > 0, ..secondary });
    }
    let left: Vec<Address> = host.parts().addresses.to_vec();
    for own in left.iter().filter(|a| a.dev == gone.dev && a.network == gone.network) {
        routes_of(host, own);
    }
}

/// The routes that the kernel made for the address itself.
fn remove_routes_v4(host: &mut Rib, gone: &Address) {
    let again = |a: &&Address| a.dev == gone.dev && a.address == gone.address;
    let still_there = host.parts().addresses.iter().filter(again).count() > 1;
    let (local, main) = (home(host, gone.dev, TABLE_LOCAL), home(host, gone.dev, TABLE_MAIN));
    remove(host, |route| {
        let to_itself = !still_there
            && route.table == local
            && route.kind == Kind::Local
            && route.prefix == IpNet::from(gone.address);
        let to_network = !gone.secondary
            && !gone.alone
            && (route.table == main || route.table == local)
            && route.prefix == gone.network
            && route.preferred_source == Some(gone.address);
        (to_itself || to_network) && is_direct(route, gone.dev)
    });
}

fn vanish_v6(host: &mut Rib, gone: &Address) {
    let (local, main) = (home(host, gone.dev, TABLE_LOCAL), home(host, gone.dev, TABLE_MAIN));
    host.address_gone(gone);
    let shared = host.parts().addresses.iter().any(|a| a.dev == gone.dev && a.network == gone.network);
    remove(host, |route| {
        let to_itself =
            route.table == local && route.kind == Kind::Local && route.prefix == IpNet::from(gone.address);
        let to_network = !shared
            && !gone.alone
            && route.table == main
            && route.prefix == gone.network
            && route.metric == CONNECTED_V6
            && route.kind == Kind::Unicast;
        (to_itself || to_network) && is_direct(route, gone.dev)
    });
}

/// By this device, without a gateway.
fn is_direct(route: &Route, dev: u32) -> bool {
    match &route.nexthops {
        Nexthops::Own(own) => own.iter().all(|path| path.dev == dev && path.gateway.is_none()),
        Nexthops::Object(_) => false,
    }
}
