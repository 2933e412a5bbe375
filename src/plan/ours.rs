//! Is this us? Asked of the Request-URI, of Route values and of next hops (RFC 3261 §16.3 to §16.6).

use std::net::{IpAddr, SocketAddr};

use sip_parser::{Host, address};

use super::Plan;
use crate::net::{address_bits, address_of};

/// The port meant where a URI has none (RFC 3261 §19.1.2, for sip over UDP and TCP).
const DEFAULT_PORT: u16 = 5060;

/// Every address and name that means us, of the listeners of one [`Plan`].
///
/// IPv4-mapped IPv6 addresses are the IPv4 addresses that they mean (RFC 5118 §4.9).
pub struct Ours {
    /// Open addressing, a quarter full at most: what listeners are bound to and advertise.
    sockets: Box<[Option<(u128, u16)>]>,
    /// The addresses alone, ascending.
    ips: Vec<u128>,
    /// Advertised names, lower case, with their ports.
    names: Vec<(Box<str>, u16)>,
    domains: Vec<Box<str>>,
    /// What listeners are bound to, ascending.
    ports: Vec<u16>,
    /// All that as it stands in URIs.
    written: Box<[Box<str>]>,
}

impl Ours {
    /// Of a Plan's listeners and domains.
    pub fn new(plan: &Plan) -> Self {
        let bound = plan.listeners.iter().map(|l| (address_bits(l.bind.ip()), l.bind.port()));
        let advertised = || plan.listeners.iter().flat_map(|l| &l.advertise);
        let sockets: Vec<_> =
            bound.chain(advertised().filter_map(|a| Some((address_bits(a.ip?), a.port)))).collect();
        let names = ascending(advertised().filter(|a| a.ip.is_none()).map(|a| (a.host.clone(), a.port)));
        let ports: Vec<u16> = ascending(plan.listeners.iter().map(|l| l.bind.port()));
        Self {
            written: written(&sockets, &names, &plan.domains, &ports),
            ips: ascending(sockets.iter().map(|(ip, _)| *ip)),
            names,
            domains: plan.domains.clone(),
            ports,
            sockets: table(&sockets),
        }
    }

    /// Host and port of a URI name us: they are what a listener is bound to or advertises (no port means
    /// 5060), or the host is one of `[identity] domains` and the port, if there is one, a listener's.
    pub fn is_us(&self, host: Host<'_>, port: Option<u16>) -> bool {
        let wanted = port.unwrap_or(DEFAULT_PORT);
        match host {
            Host::V4(ip) => self.is_our_address(SocketAddr::new(ip.into(), wanted)),
            Host::V6(ip) => self.is_our_address(SocketAddr::new(ip.into(), wanted)),
            Host::Name(name) => {
                let on_port = || port.is_none_or(|port| self.ports.binary_search(&port).is_ok());
                self.is_advertised(name, Some(wanted)) || (self.is_our_domain(name) && on_port())
            }
        }
    }

    /// A host without port, such as `maddr`, names us: an address or a name of any listener, or a domain.
    pub fn is_us_host(&self, host: &[u8]) -> bool {
        match address(host) {
            Some(ip) => self.ips.binary_search(&address_bits(ip)).is_ok(),
            None => self.is_our_domain(host) || self.is_advertised(host, None),
        }
    }

    /// A listener is bound to this address and port, or advertises them: a message sent there comes back.
    #[inline]
    pub fn is_our_address(&self, socket: SocketAddr) -> bool {
        let wanted = (address_bits(socket.ip()), socket.port());
        let mut at = place(wanted);
        loop {
            match self.sockets.get(at & (self.sockets.len() - 1)) {
                Some(Some(own)) if *own != wanted => at += 1,
                found => return found.is_some_and(Option::is_some),
            }
        }
    }

    /// Hosts of URIs that mean us, with their ports and, where that is left out as a rule, without: as nearly everybody writes
    /// them.
    pub fn written(&self) -> &[Box<str>] {
        &self.written
    }

    fn is_advertised(&self, name: &[u8], port: Option<u16>) -> bool {
        let name = name.strip_suffix(b".").unwrap_or(name);
        let mut names = self.names.iter();
        names
            .any(|(own, at)| port.is_none_or(|port| port == *at) && own.as_bytes().eq_ignore_ascii_case(name))
    }

    fn is_our_domain(&self, name: &[u8]) -> bool {
        let name = name.strip_suffix(b".").unwrap_or(name);
        self.domains.iter().any(|domain| domain.as_bytes().eq_ignore_ascii_case(name))
    }
}

fn written(
    sockets: &[(u128, u16)],
    names: &[(Box<str>, u16)],
    domains: &[Box<str>],
    ports: &[u16],
) -> Box<[Box<str>]> {
    let mut written = Vec::new();
    let mut add = |host: &str, port: u16| {
        written.push(format!("{host}:{port}").into());
        if port == DEFAULT_PORT {
            written.push(host.into());
        }
    };
    for (ip, port) in sockets {
        match address_of(*ip) {
            ip if ip.is_unspecified() => {}
            IpAddr::V4(ip) => add(&ip.to_string(), *port),
            IpAddr::V6(ip) => add(&format!("[{ip}]"), *port),
        }
    }
    names.iter().for_each(|(name, port)| add(name, *port));
    for domain in domains {
        written.push(domain.clone());
        written.extend(ports.iter().map(|port| format!("{domain}:{port}").into()));
    }
    ascending(written.into_iter()).into()
}

/// Who sends chooses what is looked up, but not what is in the table: chains are as long as the configuration
/// makes them.
#[inline]
fn place((ip, port): (u128, u16)) -> usize {
    let mixed = (ip as u64 ^ (ip >> 64) as u64 ^ u64::from(port) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as usize
}

fn table(sockets: &[(u128, u16)]) -> Box<[Option<(u128, u16)>]> {
    let mut table = vec![None; (sockets.len() * 4).next_power_of_two()].into_boxed_slice();
    for socket in sockets {
        let mut at = place(*socket) & (table.len() - 1);
        while table[at].is_some_and(|other| other != *socket) {
            at = (at + 1) & (table.len() - 1);
        }
        table[at] = Some(*socket);
    }
    table
}

fn ascending<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values.dedup();
    values
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    /// Whatever collides: all that is in it is found, and nothing else.
    #[test]
    fn a_table_knows_its_sockets() {
        let socket = |n: u32| (0xffff_0000_0000 | u128::from(n % 97), (n / 97) as u16);
        let known: Vec<_> = (0..1_000).map(|n| socket(n * 2)).collect();
        let ours = Ours {
            written: Box::default(),
            sockets: table(&known),
            ips: Vec::new(),
            names: Vec::new(),
            domains: Vec::new(),
            ports: Vec::new(),
        };
        for n in 0..3_000 {
            let (ip, port) = socket(n);
            let (v4, v6) = (IpAddr::from((ip as u32).to_be_bytes()), IpAddr::V6(ip.into()));
            let is_known = known.contains(&(ip, port));
            assert_eq!(ours.is_our_address(SocketAddr::new(v4, port)), is_known, "{n}");
            assert_eq!(ours.is_our_address(SocketAddr::new(v6, port)), is_known, "{n}");
        }
    }
}
