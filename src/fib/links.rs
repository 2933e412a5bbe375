//! Interfaces by index and by name.

use std::ops::Deref;

use super::spec::Link;

/// All interfaces, by index ascending (which is, but for renumbered devices, the kernel's own order).
#[derive(Clone)]
pub(super) struct Links<L = Vec<Link>>(L);

impl<L: Deref<Target = [Link]>> Links<L> {
    /// Of links by index ascending.
    pub fn of(links: L) -> Self {
        debug_assert!(links.is_sorted_by_key(|link| link.index), "links stand by index");
        Self(links)
    }

    pub fn get(&self, index: u32) -> Option<&Link> {
        let place = self.0.binary_search_by_key(&index, |link| link.index).ok()?;
        self.0.get(place)
    }

    pub fn by_name(&self, name: &str) -> Option<u32> {
        self.0.iter().find(|link| &*link.name == name).map(|link| link.index)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Link> {
        self.0.iter()
    }

    /// There is no IPv6 at the device; see [`LinkConf::without_ipv6`](super::spec::LinkConf).
    pub fn lacks_ipv6(&self, index: u32) -> bool {
        self.get(index).is_some_and(|link| link.conf.without_ipv6)
    }

    /// The device is there for its addresses alone (the loopback device, a dummy, a VRF): what leaves by it goes nowhere.
    pub fn leads_nowhere(&self, index: u32) -> bool {
        self.get(index).is_some_and(|link| link.loopback || link.dummy || link.vrf_table.is_some())
    }

    pub fn group(&self, index: u32) -> Option<u32> {
        self.get(index).map(|link| link.group)
    }

    pub fn is_vrf(&self, index: u32) -> bool {
        self.vrf_table(index).is_some()
    }

    pub fn vrf_table(&self, index: u32) -> Option<u32> {
        self.get(index).and_then(|link| link.vrf_table)
    }

    /// The VRF that the device belongs to or is; 0 for none.
    pub fn l3_master(&self, index: u32) -> u32 {
        match self.get(index) {
            Some(link) if link.vrf_table.is_some() => index,
            Some(link) if link.master != 0 && self.is_vrf(link.master) => link.master,
            _ => 0,
        }
    }
}
