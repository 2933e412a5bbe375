//! Listeners: what Viaduct receives on and sends from.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::net::{ListenerId, SectionId, Transport};

/// A named (transport, address, port) that Viaduct receives on and sends from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its place in the Plan.
    pub id: ListenerId,
    /// The `[[listener]]` that it is of.
    pub section: SectionId,
    /// Unique name: the section's, with `/ADDRESS` where that stands for several.
    pub name: Box<str>,
    /// Stable identity: a hash of name, transport and address; tokens carry it. Unique in a Plan.
    pub identity: u32,
    /// Identities of the names in `formerly`, which tokens may still carry.
    pub formerly: Vec<u32>,
    /// Its transport.
    pub transport: Transport,
    /// Address and port; a link-local IPv6 address has its scope, or 0 where its interface is absent.
    pub bind: SocketAddr,
    /// The interface of a link-local IPv6 address.
    pub link: Option<Box<str>>,
    /// `SO_BINDTODEVICE`, and the `oif` of lookups.
    pub device: Option<Box<str>>,
    /// The index of `device`; 0 where it is absent, or none is given.
    pub device_index: u32,
    /// `SO_MARK`, and the fwmark of lookups.
    pub mark: Option<u32>,
    /// What Via and Record-Route say, by destination: the first whose network holds it; never empty
    /// (the last is the catch-all: the configured address or the bound one).
    pub advertise: Vec<Advertise>,
    /// Where in-dialog requests may go by this listener; empty: anywhere sane.
    pub dialog_to: Vec<IpNet>,
    /// Whether its sockets are to be had.
    pub standing: Standing,
}

/// What becomes of a listener's sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Standing {
    /// They are open as soon as the kernel allows it.
    #[default]
    Served,
    /// Its address is gone: what was received is still handled, then it is forgotten.
    Leaving,
    /// They could not be opened, which is tried again.
    Refused,
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
    /// Whether sockets can be bound: the interface that it is tied to exists, and it is to be served.
    pub fn can_be_bound(&self) -> bool {
        let on_link = self.link.is_none() || matches!(self.bind, SocketAddr::V6(v6) if v6.scope_id() != 0);
        let tied = self.device.is_none() || self.device_index != 0;
        on_link && tied && self.standing == Standing::Served
    }

    /// What Via and Record-Route say of this listener towards `destination`.
    pub fn advertised(&self, destination: IpAddr) -> &Advertise {
        &self.advertise[self.shown_of_many(destination)]
    }

    /// Which entry of `advertise` that is.
    #[inline(always)]
    pub fn shown(&self, destination: &SocketAddr) -> usize {
        if self.advertise.len() == 1 { 0 } else { self.shown_of_many(destination.ip()) }
    }

    fn shown_of_many(&self, destination: IpAddr) -> usize {
        let sees = |a: &Advertise| a.to.is_none_or(|net| net.contains(&destination));
        // The last one is for all others.
        self.advertise.iter().position(sees).unwrap_or(self.advertise.len() - 1)
    }
}
