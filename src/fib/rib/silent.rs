//! What the kernel does to routes without telling of each: it tells only of the link, the address or the
//! nexthop object that it does it for.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::table::Rewrite;
use super::{Rib, Tables, Variant};
use crate::fib::LOOPBACK;
use crate::fib::spec::{
    Address, Kind, Link, Nexthop, NexthopBody, NexthopObject, Nexthops, SCOPE_HOST, TABLE_LOCAL, TABLE_MAIN,
};
use crate::fib::table::Net;

/// What an event comes to besides what it tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Silent {
    /// Nothing.
    Nothing,
    /// Routes changed with it of which no event tells, as far as is known all that have been changed here.
    Known,
    /// Which routes changed with it cannot be known: they have to be read anew.
    Unknown,
}

impl Silent {
    fn unknown_if(doubt: bool) -> Self {
        if doubt { Self::Unknown } else { Self::Known }
    }
}

impl Rib {
    /// An event told of the link: as it is now.
    pub fn link_is(&mut self, link: Link) -> Silent {
        let index = link.index;
        let before = self.parts.links.binary_search_by_key(&index, |known| known.index);
        let known = before.map(|at| &self.parts.links[at]);
        let was_up = known.is_ok_and(|known| known.up);
        let same = known.is_ok_and(|known| (known.up, known.carrier) == (link.up, link.carrier));
        let (up, carrier) = (link.up, link.carrier);
        match before {
            // Sysctls are told of by other events, and set with the other parts.
            Ok(at) => self.parts.links[at] = Link { conf: self.parts.links[at].conf, ..link },
            Err(at) => self.parts.links.insert(at, link),
        }
        self.stale = true;
        if same {
            // A list of links shows a carrier before the kernel has done what it does, and tells, when one comes.
            let has =
                |v4: bool| self.parts.addresses.iter().any(|a| a.dev == index && a.address.is_ipv4() == v4);
            let (v4, v6) = (up && carrier && has(true), up && carrier && has(false));
            if v4 {
                self.revive_v4(index);
            }
            if v6 {
                self.set_dead_v6(index, false);
            }
            return Silent::Nothing;
        }
        if !up && was_up {
            self.objects_gone(index);
            let doubt = self.disable_v4(index, false) | self.leave_v6(index, false);
            return Silent::unknown_if(doubt);
        }
        if up {
            if !carrier {
                self.objects_gone(index);
            }
            self.revive_v4(index);
            if carrier {
                self.set_dead_v6(index, false);
            }
        }
        Silent::Known
    }

    /// An event told that the link is deleted.
    pub fn link_gone(&mut self, index: u32) -> Silent {
        self.parts.links.retain(|link| link.index != index);
        self.objects_gone(index);
        self.stale = true;
        Silent::unknown_if(self.disable_v4(index, true) | self.leave_v6(index, true))
    }

    /// An event told of a new address, or of a change of one.
    pub fn address_is(&mut self, address: Address) {
        let (dev, v6) = (address.dev, address.address.is_ipv6());
        let known =
            |a: &&mut Address| (a.dev, a.address, a.network) == (dev, address.address, address.network);
        match self.parts.addresses.iter_mut().find(known) {
            Some(known) => *known = address,
            None => self.parts.addresses.push(address),
        }
        self.stale = true;
        let Some((true, carrier)) = self.parts.sorted_links().get(dev).map(|link| (link.up, link.carrier))
        else {
            return;
        };
        if !v6 {
            self.revive_v4(dev);
        } else if carrier {
            // It may be the first since IPv6 was switched on there.
            self.set_dead_v6(dev, false);
        }
    }

    /// An event told that an address is deleted.
    pub fn address_gone(&mut self, gone: &Address) -> Silent {
        self.parts
            .addresses
            .retain(|a| (a.dev, a.address, a.network) != (gone.dev, gone.address, gone.network));
        self.stale = true;
        if gone.address.is_ipv6() {
            if !self.routes_ipv6(gone.dev) {
                self.set_dead_v6(gone.dev, true);
                return Silent::Known;
            }
            self.forget_source_v6(gone.address);
            // IPv6 may have been switched off at the device without an event for each route
            // (`net.ipv6.route.skip_notify_on_dev_down`).
            return Silent::unknown_if(
                !self.parts.addresses.iter().any(|a| a.dev == gone.dev && a.address.is_ipv6()),
            );
        }
        let still_there = self.parts.addresses.iter().any(|a| (a.dev, a.address) == (gone.dev, gone.address));
        if !still_there && !self.is_own_v4(gone) {
            self.drop_source_v4(gone.address, gone.dev);
        }
        if !self.parts.addresses.iter().any(|a| a.dev == gone.dev && a.address.is_ipv4()) {
            return Silent::unknown_if(self.disable_v4(gone.dev, true));
        }
        Silent::Known
    }

    /// An event told of a new nexthop object, or of a change of one.
    pub fn object_is(&mut self, object: NexthopObject) {
        self.parts.nexthops.insert(object.id, object.body);
        self.stale = true;
    }

    /// Routes by nexthop objects that are not there are gone with them. Whether there were any.
    pub fn forget_orphans(&mut self) -> bool {
        let known = &self.parts.nexthops;
        let is_orphan = |variant: &Variant| match variant.nexthops {
            Nexthops::Object(id) if !known.contains_key(&id) => Rewrite::Drop,
            _ => Rewrite::Keep,
        };
        let v4 = rewrite_all(&mut self.v4, is_orphan);
        rewrite_all(&mut self.v6, is_orphan) || v4
    }

    /// An event told that a nexthop object is deleted, and so are the routes that lead there.
    pub fn object_gone(&mut self, id: u32) {
        self.forget_objects(HashSet::from([id]));
    }

    /// `nexthop_flush_dev`: they go with their device, or its carrier.
    fn objects_gone(&mut self, dev: u32) {
        let gone = (self.parts.nexthops.iter())
            .filter(|(_, body)| matches!(body, NexthopBody::Single(_, path) if path.dev == dev))
            .map(|(id, _)| *id);
        self.forget_objects(gone.collect());
    }

    /// With the groups that have no other member: groups are no members of groups, the kernel refuses them.
    fn forget_objects(&mut self, mut gone: HashSet<u32>) {
        if gone.is_empty() {
            return;
        }
        let mut emptied = Vec::new();
        for (group, body) in &mut self.parts.nexthops {
            if let NexthopBody::Group(members) = body {
                members.retain(|(member, _)| !gone.contains(member));
                emptied.extend(members.is_empty().then_some(*group));
            }
        }
        gone.extend(emptied);
        self.parts.nexthops.retain(|id, _| !gone.contains(id));
        let drop = |variant: &Variant| match variant.nexthops {
            Nexthops::Object(object) if gone.contains(&object) => Rewrite::Drop,
            _ => Rewrite::Keep,
        };
        rewrite_all(&mut self.v4, drop);
        rewrite_all(&mut self.v6, drop);
        self.stale = true;
    }

    /// `fib_disable_ip`: routes without any other path go; `force`: those to the host itself too. Whether that is in
    /// doubt.
    fn disable_v4(&mut self, dev: u32, force: bool) -> bool {
        let carrierless = self.carrierless();
        let mut doubt = false;
        let mut disable = |variant: &Variant| {
            let own = variant.own();
            if !own.iter().any(|path| path.dev == dev) || (variant.scope == SCOPE_HOST && !force) {
                return Rewrite::Keep;
            }
            let paths: Vec<Nexthop> =
                own.iter().map(|path| Nexthop { dead: path.dead || path.dev == dev, ..*path }).collect();
            if paths.iter().all(|path| path.dead) {
                doubt |= is_doubtful(own, dev, &carrierless);
                return Rewrite::Drop;
            }
            Rewrite::Become(Variant { nexthops: Nexthops::Own(paths), ..variant.clone() })
        };
        rewrite_all(&mut self.v4, &mut disable);
        doubt
    }

    /// Links that are up without a carrier. Of a path by one of them the kernel says that it is dead also where it only
    /// is to be passed over (`ignore_routes_with_linkdown`): the route does not go with the last other path.
    fn carrierless(&self) -> Vec<u32> {
        let links = self.parts.links.iter().filter(|link| link.up && !link.carrier);
        links.map(|link| link.index).collect()
    }

    /// `fib_sync_up`: the paths by this device are alive again, whether there is a carrier or not.
    fn revive_v4(&mut self, dev: u32) {
        let revive = |variant: &Variant| marked(variant, dev, false);
        rewrite_all(&mut self.v4, revive);
    }

    /// `rt6_disable_ip`: IPv6 routes by the device go. There has been an event for each, unless the sysctl
    /// `net.ipv6.route.skip_notify_on_dev_down` is set. Paths of others are marked; `gone`: they go too. Whether that
    /// is in doubt.
    fn leave_v6(&mut self, dev: u32, gone: bool) -> bool {
        let carrierless = self.carrierless();
        let mut doubt = false;
        let mut leave = |variant: &Variant| {
            let own = variant.own();
            if !own.iter().any(|path| path.dev == dev) {
                return Rewrite::Keep;
            }
            if own.iter().all(|path| path.dev == dev || path.dead) {
                doubt |= is_doubtful(own, dev, &carrierless);
                return Rewrite::Drop;
            }
            if !gone {
                return marked(variant, dev, true);
            }
            let left = own.iter().filter(|path| path.dev != dev).copied().collect();
            Rewrite::Become(Variant { nexthops: Nexthops::Own(left), ..variant.clone() })
        };
        rewrite_all(&mut self.v6, &mut leave);
        doubt
    }

    /// `rt6_sync_up`, which waits for the carrier, and `rt6_sync_down_dev`: of routes with several paths the kernel
    /// marks those by this device. (Routes with one path are deleted with an event each.)
    fn set_dead_v6(&mut self, dev: u32, dead: bool) {
        let mark = |variant: &Variant| {
            if dead && variant.own().len() < 2 { Rewrite::Keep } else { marked(variant, dev, dead) }
        };
        rewrite_all(&mut self.v6, mark);
    }

    /// `inet_addr_type_dev_table`: without this address of the device, table local (or the VRF's) still delivers it to
    /// this host.
    pub(super) fn is_own_v4(&self, gone: &Address) -> bool {
        let IpAddr::V4(address) = gone.address else { return false };
        let links = self.parts.sorted_links();
        let home = links.vrf_table(links.l3_master(gone.dev)).unwrap_or(TABLE_LOCAL);
        let around = |id| self.v4.get(&id).into_iter().flat_map(|table| table.around(address));
        let mut routes: Vec<_> = around(home).collect();
        if home == TABLE_LOCAL && self.parts.merged {
            routes.extend(around(TABLE_MAIN));
            routes.sort_by_key(|(prefix, _)| Reverse(prefix.prefix_len()));
        }
        // The events of what the kernel made for the address come later.
        let made_for_it = |prefix: Ipv4Net, v: &Variant| {
            v.preferred_source == Some(gone.address)
                && v.own().iter().all(|path| path.dev == gone.dev)
                && (prefix.prefix_len() == 32 || IpNet::V4(prefix) == gone.network)
        };
        let leads_on =
            |v: &Variant| refuses(v.kind) || v.own().is_empty() || v.own().iter().any(|path| !path.dead);
        let mut alternatives =
            routes.into_iter().flat_map(|(prefix, list)| list.iter().map(move |v| (prefix, v)));
        let next = alternatives.find(|(prefix, v)| !made_for_it(*prefix, v) && leads_on(v));
        next.is_some_and(|(_, v)| v.kind == Kind::Local)
    }

    /// `fib_sync_down_addr`: routes of table main, or of the device's VRF, that prefer a source which is gone. Those
    /// that refuse stay (`fib_table_flush`).
    fn drop_source_v4(&mut self, source: IpAddr, dev: u32) {
        let links = self.parts.sorted_links();
        let home = links.vrf_table(links.l3_master(dev)).unwrap_or(TABLE_MAIN);
        if let Some(table) = self.v4.get_mut(&home) {
            table.rewrite(|variant| match variant.preferred_source {
                Some(preferred) if preferred == source && !refuses(variant.kind) => Rewrite::Drop,
                _ => Rewrite::Keep,
            });
        }
    }

    /// The kernel has not taken IPv6 from the device. Where it does (`addrconf_ifdown`: the device goes or IPv6 is
    /// switched off there), it deletes all routes by it first, with an event each, then the addresses, and
    /// touches no other route.
    fn routes_ipv6(&self, dev: u32) -> bool {
        let by_dev = |variant: &Variant| matches!(variant.own(), [path] if path.dev == dev);
        self.v6.values().any(|table| table.any(by_dev))
    }

    /// Some path by one of the devices is alive, for all that is known.
    pub(super) fn leads_ipv6_by(&self, devices: &HashSet<u32>) -> bool {
        let by_dev =
            |variant: &Variant| variant.own().iter().any(|path| devices.contains(&path.dev) && !path.dead);
        !devices.is_empty() && self.v6.values().any(|table| table.any(by_dev))
    }

    /// `rt6_remove_prefsrc`: the routes stay, and prefer nothing, unless another device still has the address.
    /// Those of nexthop objects keep what they prefer. (Kernels before 6.6 forget it at routes by `dev` alone;
    /// what differs there the next audit finds.)
    fn forget_source_v6(&mut self, source: IpAddr) {
        let links = self.parts.sorted_links();
        let holders: Vec<&Address> =
            self.parts.addresses.iter().filter(|a| a.address == source && a.usable()).collect();
        let link_local = matches!(source, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let is_kept = |dev: u32| {
            let serves = |a: &&Address| {
                links.l3_master(a.dev) == links.l3_master(dev) && (a.dev == dev || !link_local)
            };
            holders.iter().any(serves)
        };
        let forget = |variant: &Variant| match &variant.nexthops {
            Nexthops::Own(own)
                if variant.preferred_source == Some(source)
                    && !is_kept(own.first().map_or(LOOPBACK, |path| path.dev)) =>
            {
                Rewrite::Become(Variant { preferred_source: None, ..variant.clone() })
            }
            _ => Rewrite::Keep,
        };
        rewrite_all(&mut self.v6, forget);
    }
}

/// Does the same to every variant of these tables; whether anything changed.
fn rewrite_all<P: Net + Ord>(tables: &mut Tables<P>, mut each: impl FnMut(&Variant) -> Rewrite) -> bool {
    let mut changed = false;
    for table in tables.values_mut() {
        changed |= table.rewrite(&mut each);
    }
    changed
}

/// Some path by another device may be less dead than it is said to be.
fn is_doubtful(paths: &[Nexthop], dev: u32, carrierless: &[u32]) -> bool {
    paths.iter().any(|path| path.dev != dev && carrierless.contains(&path.dev))
}

/// The paths by this device dead, or alive.
fn marked(variant: &Variant, dev: u32, dead: bool) -> Rewrite {
    let own = variant.own();
    if !own.iter().any(|path| path.dev == dev && path.dead != dead) {
        return Rewrite::Keep;
    }
    let paths = own.iter().map(|path| if path.dev == dev { Nexthop { dead, ..*path } } else { *path });
    Rewrite::Become(Variant { nexthops: Nexthops::Own(paths.collect()), ..variant.clone() })
}

fn refuses(kind: Kind) -> bool {
    matches!(kind, Kind::Blackhole | Kind::Unreachable | Kind::Prohibit | Kind::Throw)
}
