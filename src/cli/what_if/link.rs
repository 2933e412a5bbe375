//! `link set NAME up|down`

use super::words::{Misread, Words};
use super::{Sysctls, address, device, is_link_local, remove};
use crate::fib::Rib;
use crate::fib::spec::{Address, Link, Nexthops};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    dev: String,
    up: bool,
}

impl Change {
    pub fn read(words: &mut Words<'_>) -> Result<Self, Misread> {
        if words.next() != Some("set") {
            return Err(words.misread("`set NAME up` or `set NAME down` stands here"));
        }
        words.skip("dev");
        let dev = words.value("an interface's name")?;
        let up = match words.next() {
            Some("up") => true,
            Some("down") => false,
            _ => return Err(words.misread("`up` or `down` stands here")),
        };
        words.end()?;
        Ok(Self { dev, up })
    }

    pub fn apply(&self, host: &mut Rib, sysctls: &impl Sysctls) -> Result<(), String> {
        let index = device(host, &self.dev)?;
        let Some(link) = host.parts().links.iter().find(|link| link.index == index).cloned() else {
            return Err(format!("there is no interface {}", self.dev));
        };
        match (self.up, link.up) {
            (true, true) | (false, false) => {}
            (true, false) => up(host, link),
            (false, true) => {
                let keeps = ["all", &self.dev]
                    .iter()
                    .any(|dev| sysctls.is_set(&format!("net/ipv6/conf/{dev}/keep_addr_on_down")));
                down(host, link, keeps);
            }
        }
        Ok(())
    }
}

/// IPv4 addresses stay and may still be sources; IPv6 addresses go, unless the sysctl says otherwise, and so
/// do all IPv6 routes.
fn down(host: &mut Rib, link: Link, keeps: bool) {
    let dev = link.index;
    host.link_is(Link { up: false, carrier: false, ..link });
    let of_link = |a: &&Address| a.dev == dev && a.address.is_ipv6();
    let gone: Vec<Address> = host.parts().addresses.iter().filter(of_link).cloned().collect();
    for address in gone {
        if keeps && !is_link_local(address.address) {
            host.address_is(Address { tentative: true, ..address });
        } else {
            host.address_gone(&address);
        }
    }
    remove(host, |route| match &route.nexthops {
        Nexthops::Own(own) => {
            route.prefix.addr().is_ipv6() && !own.is_empty() && own.iter().all(|path| path.dev == dev)
        }
        Nexthops::Object(_) => false,
    });
}

/// The routes of the addresses come back, those by gateways do not. A carrier is taken for granted; the
/// link-local IPv6 address that the kernel makes up is not known here.
fn up(host: &mut Rib, link: Link) {
    let dev = link.index;
    host.link_is(Link { up: true, carrier: true, ..link });
    let own: Vec<Address> = host.parts().addresses.iter().filter(|a| a.dev == dev).cloned().collect();
    for address in own {
        let address = Address { tentative: false, ..address };
        host.address_is(address.clone());
        address::routes_of(host, &address);
    }
}
