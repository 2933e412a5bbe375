//! Listeners: what Viaduct receives on and sends from.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::net::{ListenerId, Transport};

/// A named (transport, address, port) that Viaduct receives on and sends from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its place in the Plan.
    pub id: ListenerId,
    /// Unique name.
    pub name: Box<str>,
    /// Stable identity: a hash of name, transport and address; tokens carry it. Unique in a Plan.
    pub identity: u32,
    /// Identities of the names in `formerly`, which tokens may still carry.
    pub formerly: Vec<u32>,
    /// Its transport.
    pub transport: Transport,
    /// Address and port; a link-local IPv6 address has its scope.
    pub bind: SocketAddr,
    /// `SO_BINDTODEVICE`, and the `oif` of lookups.
    pub device: Option<Box<str>>,
    /// `SO_MARK`, and the fwmark of lookups.
    pub mark: Option<u32>,
    /// What Via and Record-Route say, by destination: the first whose network holds it; never empty
    /// (the last is the catch-all: the configured address or the bound one).
    pub advertise: Vec<Advertise>,
    /// Where in-dialog requests may go by this listener; empty: anywhere sane.
    pub dialog_to: Vec<IpNet>,
}

/// One `advertise` entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertise {
    /// Destinations that see it; `None`: all.
    pub to: Option<IpNet>,
    /// `host:port` as it is written in Via and Record-Route: IPv6 in brackets, the port always.
    pub text: Box<str>,
    /// The host of `text` alone: lower case, an IPv6 address without brackets.
    pub host: Box<str>,
    /// `host` where it is an IP address.
    pub ip: Option<IpAddr>,
    /// The port of `text`.
    pub port: u16,
}

impl Advertise {
    /// `host` is a lower-case name or an IP address without brackets.
    pub fn new(to: Option<IpNet>, host: &str, port: u16) -> Self {
        let ip = host.parse::<IpAddr>().ok();
        let text = match ip {
            Some(ip) => SocketAddr::new(ip, port).to_string(),
            None => format!("{host}:{port}"),
        };
        Self { to, text: text.into(), host: host.into(), ip: ip.map(crate::net::canonical), port }
    }
}

impl Listener {
    /// What Via and Record-Route say of this listener towards `destination`.
    pub fn advertised(&self, destination: IpAddr) -> &Advertise {
        self.advertise
            .iter()
            .find(|a| a.to.is_none_or(|net| net.contains(&destination)))
            .unwrap_or_else(|| self.advertise.last().expect("a listener always advertises something"))
    }
}
