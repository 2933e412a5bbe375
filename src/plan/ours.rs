//! Is this us? Asked of the Request-URI, of Route values and of next hops (RFC 3261 §16.3 to §16.6).

use std::net::{IpAddr, SocketAddr};

use sip_parser::{Host, address};

use super::{Listener, Plan};
use crate::net::canonical;

/// The port meant where a URI has none (RFC 3261 §19.1.2, for sip over UDP and TCP).
const DEFAULT_PORT: u16 = 5060;

impl Plan {
    /// Host and port of a URI name us: they are what a listener is bound to or advertises (no port means
    /// 5060), or the host is one of `[identity] domains` and the port, if there is one, a listener's.
    ///
    /// IPv4-mapped IPv6 addresses are the IPv4 addresses that they mean (RFC 5118 §4.9).
    pub fn is_us(&self, host: Host<'_>, port: Option<u16>) -> bool {
        let wanted = port.unwrap_or(DEFAULT_PORT);
        if let Some(ip) = host.ip() {
            return self.is_our_address(SocketAddr::new(ip, wanted));
        }
        let Host::Name(name) = host else { return false };
        let on_port = |l: &Listener| port.is_none_or(|port| l.bind.port() == port);
        self.listeners.iter().any(|l| l.advertises(name, |at| at == wanted))
            || (self.is_our_domain(name) && self.listeners.iter().any(on_port))
    }

    /// A host without port, such as `maddr`, names us: an address or a name of any listener, or a domain.
    pub fn is_us_host(&self, host: &[u8]) -> bool {
        match address(host).map(canonical) {
            Some(ip) => self.listeners.iter().any(|l| l.bind.ip() == ip || l.advertises_ip(ip, |_| true)),
            None => self.is_our_domain(host) || self.listeners.iter().any(|l| l.advertises(host, |_| true)),
        }
    }

    /// A listener is bound to this address and port, or advertises them: a message sent there comes back.
    pub fn is_our_address(&self, socket: SocketAddr) -> bool {
        let ip = canonical(socket.ip());
        let port = |at: u16| at == socket.port();
        self.listeners.iter().any(|l| (l.bind.ip() == ip && port(l.bind.port())) || l.advertises_ip(ip, port))
    }

    fn is_our_domain(&self, name: &[u8]) -> bool {
        let name = name.strip_suffix(b".").unwrap_or(name);
        self.domains.iter().any(|domain| domain.as_bytes().eq_ignore_ascii_case(name))
    }
}

impl Listener {
    fn advertises(&self, name: &[u8], port: impl Fn(u16) -> bool) -> bool {
        let name = name.strip_suffix(b".").unwrap_or(name);
        self.advertise
            .iter()
            .any(|a| a.ip.is_none() && port(a.port) && a.host.as_bytes().eq_ignore_ascii_case(name))
    }

    fn advertises_ip(&self, ip: IpAddr, port: impl Fn(u16) -> bool) -> bool {
        self.advertise.iter().any(|a| a.ip == Some(ip) && port(a.port))
    }
}
