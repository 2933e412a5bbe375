//! Host names that appear in messages and rules: known from `[hosts]` and DNS, or not yet.

use std::net::{IpAddr, SocketAddr};

use sip_parser::{Host, Uri};

use crate::dns::{HostName, Order, Question, Unresolved};
use crate::limits::CANDIDATES;
use crate::net::{NextHop, Transport, canonical};
use crate::plan::Ours;
use crate::rules::{EgressChoice, Target};
use crate::snapshot::Snapshot;

use super::candidates::Origin;
use super::outcome::NameCounts;
use super::preprocess::transport_of;
use super::reply::Reply;
use super::target::Search;

/// Where a name leads to, in order.
pub(super) enum Leads<'s, H> {
    /// By `[hosts]`.
    Hosts(H),
    /// By DNS, in the order of this transaction.
    Dns(Order<'s>),
    /// Likewise, by an answer that no server could tell anew when its time was over.
    Stale(Order<'s>),
}

impl<H: Iterator<Item = NextHop>> Iterator for Leads<'_, H> {
    type Item = NextHop;

    fn next(&mut self) -> Option<NextHop> {
        match self {
            Self::Hosts(hosts) => hosts.next(),
            Self::Dns(order) | Self::Stale(order) => order.next(),
        }
    }
}

/// Where a question leads to, in the order of the seed.
pub(super) fn look_up<'s>(
    snapshot: &'s Snapshot,
    question: &Question,
    seed: u64,
) -> Result<Leads<'s, impl Iterator<Item = NextHop> + use<'s>>, Unresolved> {
    if let Some(hosts) = snapshot.plan.hosts_of(question) {
        return Ok(Leads::Hosts(hosts));
    }
    match snapshot.names.get(question) {
        None => Err(Unresolved::Pending),
        Some(Err(why)) => Err(*why),
        Some(Ok(found)) if found.stale => Ok(Leads::Stale(found.ordered(seed))),
        Some(Ok(found)) => Ok(Leads::Dns(found.ordered(seed))),
    }
}

/// Whether a question leads to this address and port.
pub(super) fn leads_to(snapshot: &Snapshot, question: &Question, address: SocketAddr) -> bool {
    look_up(snapshot, question, 0).is_ok_and(|mut hops| hops.any(|hop| hop.address == address))
}

/// The address of a host: itself, or the first that `[hosts]` has for its name. Responses do not wait for DNS: where a
/// Via has a name, what was received stands beside it (RFC 3261 §18.2.1).
pub(super) fn first(snapshot: &Snapshot, host: &Host<'_>) -> Option<IpAddr> {
    match host {
        Host::Name(name) => {
            let name = HostName::new(name)?;
            snapshot.plan.hosts.get(name.as_str())?.first().copied().map(canonical)
        }
        Host::V4(ip) => Some((*ip).into()),
        Host::V6(ip) => Some(canonical((*ip).into())),
    }
}

/// Whether a URI's host and port name us. A port that none of our listeners has is somebody else's on the
/// same machine; where none is written, the scheme's or the transport's is meant.
pub(super) fn names_us(ours: &Ours, uri: &Uri<'_>) -> bool {
    let transport = transport_of(uri);
    let default_port = transport.default_port();
    let implied = (default_port != Transport::Udp.default_port()).then_some(default_port);
    let is_us = |port| uri.host().is_some_and(|host| ours.is_us(host, port));
    // "the default port for a SIP URI using the "sip" scheme and the "ws" transport parameter is 80" (RFC 7118 §5.5): browsers
    // write that all the same that have connected to `wss://` without a port.
    let is_us_over_tls = || transport == Transport::Ws && is_us(Some(Transport::Wss.default_port()));
    is_us(uri.port().or(implied)) || (uri.port().is_none() && is_us_over_tls())
}

/// What became of the names that a request leads to.
#[derive(Default)]
pub(super) struct Named {
    /// The request cannot wait: neither for a name that is not known yet, nor for the kernel where there is another way.
    pub in_haste: bool,
    /// The last name that leads nowhere, perhaps only for now.
    pub nowhere: Option<(Question, Unresolved)>,
    pub counts: NameCounts,
}

impl<'a> Search<'a> {
    /// Nobody has such a name, whom DNS need not be asked for (RFC 6761 §6.4: "Users MAY assume that queries for "invalid"
    /// names will always return NXDOMAIN responses"): browsers call themselves so, who do not know their own. `[hosts]` may
    /// have one.
    pub fn is_nobodys(&self, name: &HostName) -> bool {
        let name = name.as_str();
        name.rsplit('.').next() == Some("invalid") && !self.snapshot.plan.hosts.contains_key(name)
    }

    /// What a rule's entry asks DNS, if it has a name. RFC 3261 §16.6 step 7: "if the Request-URI specifies a SIPS resource, the
    /// proxy MUST follow the procedures of [4] as if the input URI were a SIPS URI."
    pub fn question_of(&self, target: &Target, egress: Option<&EgressChoice>) -> Option<Question> {
        let question = self.snapshot.plan.question_of(target, egress)?;
        // Over TLS it is reached the same way either way, and then what the configuration asks for has the answer.
        let is_secure = question.transport.is_some_and(Transport::is_secure);
        Some(Question { sips: self.sips && !is_secure, ..question })
    }

    /// Adds the next hops that a name leads to.
    ///
    /// # Errors
    /// It leads nowhere, or not yet.
    pub fn by_name(&mut self, question: &Question, origin: Origin) -> Result<(), Reply> {
        for hop in self.hops(question, origin == Origin::Rule)? {
            let stream = self.stream_to(hop, question.name.as_str(), origin);
            self.candidates.push(hop, stream, origin, None);
        }
        Ok(())
    }

    /// The next hops that a name leads to, as many as are tried.
    ///
    /// # Errors
    /// It leads nowhere, or not yet.
    #[inline(never)]
    pub fn hops(
        &mut self,
        question: &Question,
        by_rule: bool,
    ) -> Result<impl Iterator<Item = NextHop> + use<'a>, Reply> {
        let leads = match look_up(self.snapshot, question, self.asked.question.flow) {
            Ok(leads) => leads,
            Err(why) => {
                self.named.nowhere = Some((*question, why));
                return Err(Reply::Unresolved { why, by_rule });
            }
        };
        let counts = &mut self.named.counts;
        counts.found += u64::from(!matches!(leads, Leads::Hosts(_)));
        counts.stale += u64::from(matches!(leads, Leads::Stale(_)));
        Ok(leads.take(CANDIDATES))
    }

    /// A request waits for a name that nobody has asked for yet, unless it may go elsewhere before, or cannot wait.
    pub fn waits(&self, reply: &Reply) -> bool {
        let pending = matches!(reply, Reply::Unresolved { why: Unresolved::Pending, .. });
        pending && !self.named.in_haste && self.candidates.as_slice().is_empty()
    }
}
