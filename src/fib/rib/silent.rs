//! What the kernel does to routes without telling of each: it tells only of the link, the address or the
//! nexthop object that it does it for.

use std::net::IpAddr;

use super::table::Rewrite;
use super::{Rib, Variant};
use crate::fib::links::Links;
use crate::fib::spec::{Address, Link, Nexthop, NexthopBody, Nexthops, SCOPE_HOST, TABLE_MAIN};

impl Rib {
    /// An event told of the link: as it is now. `true`: that bears on routes of which no event tells.
    pub fn link_is(&mut self, link: Link) -> bool {
        let index = link.index;
        let before = self.parts.links.iter().position(|known| known.index == index);
        let known = before.map(|at| &self.parts.links[at]);
        let was_up = known.is_some_and(|known| known.up);
        let same = known.is_some_and(|known| (known.up, known.carrier) == (link.up, link.carrier));
        let (up, carrier) = (link.up, link.carrier);
        match before {
            Some(at) => self.parts.links[at] = link,
            None => self.parts.links.push(link),
        }
        self.stale = true;
        if same {
            return false;
        }
        if !up && was_up {
            self.objects_gone(index);
            self.disable_v4(index, false);
            self.set_dead(index, true);
        } else if up {
            if !carrier {
                self.objects_gone(index);
            }
            self.set_dead(index, false);
        }
        true
    }

    /// An event told that the link is deleted.
    pub fn link_gone(&mut self, index: u32) {
        self.parts.links.retain(|link| link.index != index);
        self.objects_gone(index);
        self.disable_v4(index, true);
        self.set_dead(index, true);
        self.stale = true;
    }

    /// An event told of a new address, or of a change of one.
    pub fn address_is(&mut self, address: Address) {
        let dev = address.dev;
        let known =
            |a: &&mut Address| (a.dev, a.address, a.network) == (dev, address.address, address.network);
        match self.parts.addresses.iter_mut().find(known) {
            Some(known) => *known = address,
            None => self.parts.addresses.push(address),
        }
        self.stale = true;
        if self.parts.links.iter().any(|link| link.index == dev && link.up) {
            self.set_dead(dev, false);
        }
    }

    /// An event told that an address is deleted.
    pub fn address_gone(&mut self, gone: &Address) {
        self.parts
            .addresses
            .retain(|a| (a.dev, a.address, a.network) != (gone.dev, gone.address, gone.network));
        self.stale = true;
        if gone.address.is_ipv6() {
            return self.forget_source_v6(gone.address, gone.dev);
        }
        if !self.parts.addresses.iter().any(|a| a.address == gone.address) {
            self.drop_source_v4(gone.address, gone.dev);
        }
        if !self.parts.addresses.iter().any(|a| a.dev == gone.dev && a.address.is_ipv4()) {
            self.disable_v4(gone.dev, true);
        }
    }

    /// An event told that a nexthop object is deleted, and so are the routes that lead there.
    pub fn object_gone(&mut self, id: u32) {
        self.parts.nexthops.remove(&id);
        let mut emptied = Vec::new();
        for (group, body) in &mut self.parts.nexthops {
            if let NexthopBody::Group(members) = body {
                members.retain(|(member, _)| *member != id);
                if members.is_empty() {
                    emptied.push(*group);
                }
            }
        }
        let drop = |variant: &Variant| match variant.nexthops {
            Nexthops::Object(object) if object == id => Rewrite::Drop,
            _ => Rewrite::Keep,
        };
        self.v4.values_mut().for_each(|table| _ = table.rewrite(drop));
        self.v6.values_mut().for_each(|table| _ = table.rewrite(drop));
        self.stale = true;
        emptied.into_iter().for_each(|group| self.object_gone(group));
    }

    /// `nexthop_flush_dev`: they go with their device, or its carrier.
    fn objects_gone(&mut self, dev: u32) {
        let gone: Vec<u32> = (self.parts.nexthops.iter())
            .filter(|(_, body)| matches!(body, NexthopBody::Single(_, path) if path.dev == dev))
            .map(|(id, _)| *id)
            .collect();
        gone.into_iter().for_each(|id| self.object_gone(id));
    }

    /// `fib_disable_ip`: routes without any other path go; `force`: those to the host itself too.
    fn disable_v4(&mut self, dev: u32, force: bool) {
        let disable = |variant: &Variant| {
            let own = variant.own();
            if !own.iter().any(|path| path.dev == dev) || (variant.scope == SCOPE_HOST && !force) {
                return Rewrite::Keep;
            }
            let paths: Vec<Nexthop> =
                own.iter().map(|path| Nexthop { dead: path.dead || path.dev == dev, ..*path }).collect();
            if paths.iter().all(|path| path.dead) {
                return Rewrite::Drop;
            }
            Rewrite::Become(Variant { nexthops: Nexthops::Own(paths), ..variant.clone() })
        };
        self.v4.values_mut().for_each(|table| _ = table.rewrite(disable));
    }

    /// Of routes with several paths the kernel marks those by this device. (IPv6 routes with one path are
    /// deleted with an event each, IPv4's by [`Rib::disable_v4`].)
    fn set_dead(&mut self, dev: u32, dead: bool) {
        let mark = |variant: &Variant| {
            let own = variant.own();
            let changes = |path: &Nexthop| path.dev == dev && path.dead != dead;
            if (dead && own.len() < 2) || !own.iter().any(changes) {
                return Rewrite::Keep;
            }
            let paths =
                own.iter().map(|path| if path.dev == dev { Nexthop { dead, ..*path } } else { *path });
            Rewrite::Become(Variant { nexthops: Nexthops::Own(paths.collect()), ..variant.clone() })
        };
        if !dead {
            self.v4.values_mut().for_each(|table| _ = table.rewrite(mark));
        }
        self.v6.values_mut().for_each(|table| _ = table.rewrite(mark));
    }

    /// `fib_sync_down_addr`: routes of table main, or of the device's VRF, that prefer a source which is gone.
    fn drop_source_v4(&mut self, source: IpAddr, dev: u32) {
        let links = Links::new(self.parts.links.clone());
        let home = links.vrf_table(links.l3_master(dev)).unwrap_or(TABLE_MAIN);
        if let Some(table) = self.v4.get_mut(&home) {
            table.rewrite(|variant| match variant.preferred_source {
                Some(preferred) if preferred == source => Rewrite::Drop,
                _ => Rewrite::Keep,
            });
        }
    }

    /// `rt6_remove_prefsrc`: the routes stay, and prefer nothing.
    fn forget_source_v6(&mut self, source: IpAddr, dev: u32) {
        let forget = |variant: &Variant| {
            let by_dev = variant.own().first().is_some_and(|path| path.dev == dev);
            if by_dev && variant.preferred_source == Some(source) {
                return Rewrite::Become(Variant { preferred_source: None, ..variant.clone() });
            }
            Rewrite::Keep
        };
        self.v6.values_mut().for_each(|table| _ = table.rewrite(forget));
    }
}
