//! From what the configuration says and the addresses that the host has to listeners. Pure.
//!
//! | address | an interface's name | all addresses |
//! |---|---|---|
//! | IPv4, IPv6 | yes | yes |
//! | loopback | yes | only where the host has no other |
//! | IPv6 link-local | yes, with its interface | no: each serves one link only |
//! | tentative (duplicate address detection runs or has failed) | no | no |
//! | temporary (RFC 8981) | no: it changes daily, and nobody is told | no |
//! | deprecated (RFC 4862 §5.5.4) | yes, behind the others | yes, behind the others |
//! | of another VRF than the socket | yes | no |
//!
//! A section for UDP stands for a listener for TCP, too, on each of its addresses, named `NAME/tcp`, unless `tcp = false`.
//! An address that a `[[listener]]` names itself is that one's; of two that both follow the host, the first
//! configured has it.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::{Advertise, Bind, Listener, Section, Standing};
use crate::fib::Fib;
use crate::fib::spec::Address;
use crate::limits::{LEFT_OUT_NAMED, LISTENERS};
use crate::net::{ListenerId, Transport};

/// The listeners that sections stand for on a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expansion {
    /// Section by section; numbered.
    pub listeners: Vec<Listener>,
    /// What cannot be served.
    pub left_out: LeftOut,
}

/// Listeners that a section stands for and that cannot be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// There are [`LISTENERS`] already.
    pub beyond: usize,
    /// The names of the first of them.
    pub named: Vec<Box<str>>,
    /// Names that have the identity of another listener, which comes second.
    pub alike: Vec<(Box<str>, Box<str>)>,
}

/// What makes two sockets the same to the kernel.
type SocketKey = (Transport, SocketAddr, Option<Box<str>>);

/// The listeners that these sections stand for on a host with these links and addresses.
pub fn expand(sections: &[Section], fib: &Fib) -> Expansion {
    let mut made =
        Made { fib, expansion: Expansion::default(), sockets: HashSet::new(), ids: HashMap::new() };
    // Who names an address has it, wherever the section stands in the file.
    for follows in [false, true] {
        for section in sections.iter().filter(|section| section.bind.follows() == follows) {
            made.add(section);
        }
    }
    // Behind all that the file names: a listener for TCP of its own goes before.
    for section in sections {
        if let Some(transport) = section.also() {
            made.add(&Section { transport, ..section.clone() });
        }
    }
    let mut expansion = made.expansion;
    expansion.listeners.sort_by_key(|listener| listener.section);
    number(&mut expansion.listeners);
    expansion
}

/// Numbers listeners by their places.
pub(super) fn number(listeners: &mut [Listener]) {
    for (place, listener) in (0..).zip(listeners) {
        listener.id = ListenerId(place);
    }
}

impl Expansion {
    /// Keeps listeners that are no longer served, until what they have received is handled.
    #[must_use]
    pub fn with_leaving<'a>(mut self, gone: impl Iterator<Item = &'a Listener>) -> Self {
        let room = LISTENERS.saturating_sub(self.listeners.len());
        let leaving = gone.take(room).map(|l| Listener { standing: Standing::Leaving, ..l.clone() });
        self.listeners.extend(leaving);
        self.listeners.sort_by_key(|listener| listener.section);
        number(&mut self.listeners);
        self
    }
}

struct Made<'f> {
    fib: &'f Fib,
    expansion: Expansion,
    sockets: HashSet<SocketKey>,
    /// Every identity, present and former, with its listener's name.
    ids: HashMap<u32, Box<str>>,
}

impl Made<'_> {
    fn add(&mut self, section: &Section) {
        let fib = self.fib;
        match &section.bind {
            Bind::Address(ip) => {
                self.push(section, section.name.clone(), SocketAddr::new(*ip, section.port), None)
            }
            Bind::LinkLocal(ip, link) => {
                let scope = fib.link_index(link).unwrap_or(0);
                let bind = SocketAddrV6::new(*ip, section.port, 0, scope).into();
                self.push(section, section.name.clone(), bind, Some(link.clone()));
            }
            Bind::Interface(name) => {
                let Some(index) = fib.link_index(name) else { return };
                self.push_all(section, fib.assigned().filter(|a| a.dev == index && section.ties(fib, a)));
            }
            Bind::All { v4, v6 } => {
                let wanted = |a: &&Address| {
                    (if a.address.is_ipv4() { *v4 } else { *v6 })
                        && link_local(a.address).is_none()
                        && section.ties(fib, a)
                        && (section.device.is_some() || fib.l3_master(a.dev) == 0)
                };
                let loopback = !fib.assigned().filter(served).any(|a| wanted(&a) && !a.address.is_loopback());
                let all = fib.assigned().filter(|a| wanted(a) && a.address.is_loopback() == loopback);
                self.push_all(section, all);
            }
        }
    }

    fn push_all<'a>(&mut self, section: &Section, addresses: impl Iterator<Item = &'a Address>) {
        let mut addresses: Vec<&Address> = addresses.filter(served).collect();
        addresses.sort_by_key(|a| a.deprecated);
        for address in addresses {
            let link =
                link_local(address.address).and_then(|ip| Some((ip, self.fib.link_name(address.dev)?)));
            match link {
                Some((ip, link)) => {
                    let bind = SocketAddrV6::new(ip, section.port, 0, address.dev).into();
                    self.push(
                        section,
                        format!("{}/{ip}%{link}", section.name).into(),
                        bind,
                        Some(link.into()),
                    );
                }
                None => {
                    let name = format!("{}/{}", section.name, address.address).into();
                    self.push(section, name, SocketAddr::new(address.address, section.port), None);
                }
            }
        }
    }

    fn push(&mut self, section: &Section, name: Box<str>, bind: SocketAddr, link: Option<Box<str>>) {
        let is_sibling = section.also() == Some(section.transport);
        let name = if is_sibling { format!("{name}/tcp").into() } else { name };
        let key = (section.transport, bind, section.device.clone());
        if self.sockets.contains(&key) {
            return;
        }
        if self.expansion.listeners.len() >= LISTENERS {
            let left_out = &mut self.expansion.left_out;
            left_out.beyond += 1;
            if left_out.named.len() < LEFT_OUT_NAMED {
                left_out.named.push(name);
            }
            return;
        }
        let (own, formerly) = section.identities(&name, bind);
        let taken = std::iter::once(&own).chain(&formerly).find_map(|id| self.ids.get(id));
        if let Some(other) = taken {
            let pair = (name, other.clone());
            return self.expansion.left_out.alike.push(pair);
        }
        self.ids.extend(std::iter::once(own).chain(formerly.iter().copied()).map(|id| (id, name.clone())));
        self.sockets.insert(key);
        let listener = section.listener(self.fib, name, bind, link, (own, formerly));
        self.expansion.listeners.push(listener);
    }
}

impl Section {
    /// An address that a socket of this section can serve: with a device, one of that device or VRF.
    fn ties(&self, fib: &Fib, address: &Address) -> bool {
        let Some(device) = &self.device else { return true };
        let index = fib.link_index(device);
        index == Some(address.dev) || index == Some(fib.l3_master(address.dev)).filter(|master| *master != 0)
    }

    /// The identity of a listener of this name in tokens, and those of its earlier names.
    pub fn identities(&self, name: &str, bind: SocketAddr) -> (u32, Vec<u32>) {
        let hash = |name: &str| identity(name, self.transport, bind);
        let mut formerly: Vec<u32> = self.formerly.iter().map(|name| hash(name)).collect();
        if let Some(address) = name.strip_prefix(&*self.name).filter(|rest| !rest.is_empty()) {
            formerly.extend(self.formerly.iter().map(|old| hash(&format!("{old}{address}"))));
        }
        (hash(name), formerly)
    }

    fn listener(
        &self,
        fib: &Fib,
        name: Box<str>,
        bind: SocketAddr,
        link: Option<Box<str>>,
        (identity, formerly): (u32, Vec<u32>),
    ) -> Listener {
        let mut advertise = self.advertise.clone();
        if advertise.last().is_none_or(|last| last.to.is_some()) {
            advertise.push(Advertise::new(None, &bind.ip().to_string(), bind.port()));
        }
        let device_index = self.device.as_deref().and_then(|device| fib.link_index(device)).unwrap_or(0);
        Listener {
            id: ListenerId(0),
            section: self.id,
            name,
            identity,
            formerly,
            transport: self.transport,
            bind,
            link,
            device: self.device.clone(),
            device_index,
            mark: self.mark,
            advertise,
            dialog_to: self.dialog_to.clone(),
            standing: Standing::Served,
        }
    }
}

fn served(address: &&Address) -> bool {
    address.usable() && !address.temporary
}

fn link_local(address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Some(ip),
        _ => None,
    }
}

/// FNV-1a over name, transport and address: stable over versions, because tokens carry it. The index of a
/// link is no part of it: it changes when the interface is made anew.
fn identity(name: &str, transport: Transport, bind: SocketAddr) -> u32 {
    let address = SocketAddr::new(bind.ip(), bind.port());
    let text = format!("{name}|{transport}|{address}");
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
