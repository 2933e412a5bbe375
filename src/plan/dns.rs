//! `[dns]`, and the names that a configuration asks for.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::Plan;
use crate::dns::{HostName, Kind, Question, Served, Settings};
use crate::limits;
use crate::net::{NextHop, Transport, canonical};
use crate::rules::{EgressChoice, Target};

/// `[dns]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Name servers; empty: those of /etc/resolv.conf.
    pub servers: Vec<SocketAddr>,
    /// How long a server may take; `None`: as /etc/resolv.conf says.
    pub timeout: Option<Duration>,
    /// How often a server is asked; `None`: as /etc/resolv.conf says.
    pub attempts: Option<usize>,
    /// What is kept, and how long.
    pub keep: Settings,
    /// New names of messages that are looked up in a second.
    pub per_second: u32,
    /// Messages of a shard that wait for names.
    pub queue: usize,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout: None,
            attempts: None,
            keep: Settings {
                min_ttl: Duration::from_secs(10),
                max_ttl: Duration::from_secs(3_600),
                negative_ttl: Duration::from_secs(60),
                stale: Duration::from_secs(86_400),
                names: limits::DNS_NAMES,
            },
            per_second: 100,
            queue: limits::PARKED_FOR_NAMES,
        }
    }
}

impl Plan {
    /// What there are listeners for, now or once the host has the addresses.
    pub fn served(&self) -> Served {
        self.sections.iter().fold(Served::default(), |served, section| {
            let families: &[Kind] = match section.bind.is_ipv4() {
                Some(true) => &[Kind::A],
                Some(false) => &[Kind::Aaaa],
                None => &[Kind::A, Kind::Aaaa],
            };
            // Over WebSocket nothing is opened, whoever offers it.
            let opened = [section.transport].into_iter().filter(|transport| !transport.is_websocket());
            opened.chain(section.also()).fold(served, |served, transport| {
                families.iter().fold(served, |served, kind| served.and(transport, *kind))
            })
        })
    }

    /// What a rule's entry asks DNS, if it has a name.
    pub fn question_of(&self, target: &Target, egress: Option<&EgressChoice>) -> Option<Question> {
        let Target::Name { transport, host, port, .. } = target else { return None };
        let forced = egress.map(|choice| self.transport_of(choice, *transport));
        let name = HostName::new(host.as_bytes())?;
        Some(Question { name, port: *port, transport: forced.or(*transport), sips: false })
    }

    /// What all rules and groups ask DNS, each once.
    pub fn questions(&self) -> Vec<Question> {
        let of_rules = self.rules.iter().flat_map(|rule| self.onward(rule));
        let of_rules = of_rules.filter_map(|onward| self.question_of(onward.target, onward.egress.as_ref()));
        let gateways = self.groups.iter().flat_map(|group| &group.gateways);
        let of_groups = gateways.filter_map(|to| self.question_of(&to.to, to.egress.as_ref()));
        let asked = |question: &Question| !self.hosts.contains_key(question.name.as_str());
        let mut all: Vec<Question> = of_rules.chain(of_groups).filter(asked).collect();
        all.sort_unstable_by_key(|q| (q.name.as_str().to_owned(), q.port, q.transport));
        all.dedup();
        all
    }

    /// Where a name of `[hosts]` leads to; `None`: it does not stand there, and DNS is asked.
    pub fn hosts_of<'p>(&'p self, question: &Question) -> Option<impl Iterator<Item = NextHop> + use<'p>> {
        let addresses: &[IpAddr] = self.hosts.get(question.name.as_str())?;
        let transport = match (question.sips, question.transport) {
            (true, Some(Transport::Ws | Transport::Wss)) => Transport::Wss,
            (true, _) => Transport::Tls,
            (false, transport) => transport.unwrap_or(Transport::Udp),
        };
        let port = question.port.unwrap_or(transport.default_port());
        Some(
            addresses
                .iter()
                .map(move |ip| NextHop { transport, address: SocketAddr::new(canonical(*ip), port) }),
        )
    }
}
