//! RFC 3261 §16.5 and §16.6 step 7: the next hop, and the listener that the request leaves from.

use std::net::SocketAddr;

use sip_parser::{Host, Uri};

use crate::dns::{HostName, Question as Name, Unresolved};
use crate::egress::{Exit, NoEgress, Pin, Question, Reason, Recent};
use crate::net::{GatewayId, NextHop, Transport, canonical};
use crate::overload::Throttles;
use crate::plan::Listener;
use crate::rules::{EgressChoice, Target};
use crate::snapshot::Snapshot;
use crate::stream::{Names, Number, peer_mark};
use crate::token::{Path, Verified};
use crate::transaction::Onward;

use super::aim::Aim;
use super::candidates::{Candidate, Candidates, Origin};
use super::forbidden::{self, Forbidden};
use super::groups;
use super::method::Method;
use super::names::Named;
use super::place::Place;
use super::preprocess::{Preprocessed, explicit_transport};
use super::reply::Reply;
use super::servers::without_name;
use super::size::asks_udp;
use super::spare::Weight;
use super::validate::Request;

/// What is answered where an entry of `to` has no address at all.
pub(super) const NOWHERE: Reply = Reply::Unresolved { why: Unresolved::NoAddress, by_rule: true };

/// What chooses the listener.
#[derive(Clone, Copy)]
pub(super) enum By<'a> {
    /// A valid token.
    Dialog(&'a Verified),
    /// A rule, with its `egress` if it names one.
    Rule(Option<&'a EgressChoice>),
}

/// Looks for the way of one request.
pub(super) struct Search<'a> {
    pub snapshot: &'a Snapshot,
    pub recent: &'a mut Recent,
    /// Where the request came in, [`crate::token::TransactionKey::low`], and the next hop that egress was asked for last.
    pub question: Question,
    /// It was asked at all.
    pub has_asked: bool,
    /// What chooses a gateway where each request is for itself: none can be made up for another one.
    pub draw: u64,
    /// No gateway of a group was up.
    pub last_resort: bool,
    /// Where the request may go, in order.
    pub candidates: &'a mut Candidates,
    /// What became of names.
    pub named: Named,
    /// The names of servers over TLS.
    pub servers: &'a mut Names,
    /// A SIPS URI says where it goes: no hop may be without TLS (RFC 3261 §26.2.2).
    pub sips: bool,
    /// What was found: it is large, and not moved once it is there.
    pub aim: Option<Aim>,
    /// [`super::state::Work::nonce`]
    pub nonce: Option<u64>,
    /// The connection that a Route of ours names, and why the request leaves by it.
    pub client: Option<(Path, Reason)>,
    /// Room for the Request-URI that a rule's `set` makes.
    pub rewritten: Option<&'a mut [u8]>,
    /// Which of the candidates it is.
    pub chosen: usize,
    /// What next hops ask for, what the request counts for to them if any does, and how many are spared it.
    pub throttles: &'a Throttles,
    pub weight: Option<Weight>,
    pub spared: u64,
}

impl Search<'_> {
    /// The way of a transaction that was decided before.
    pub fn pinned(&mut self, pin: &Pin) -> Result<(), NoEgress> {
        self.ask(pin.next_hop);
        let Snapshot { generation, plan, fib, view, .. } = self.snapshot;
        let egress = self.recent.pinned(*generation, plan, fib, view, pin, &self.question)?;
        // What leaves over TLS is kept as a transaction: no pin has to remember whose certificate it asks for.
        let origin = if pin.by_message { Origin::RequestUri } else { Origin::Rule };
        let stream = without_name(pin.next_hop.transport, origin);
        self.aim = Some(Aim { next_hop: pin.next_hop, egress, gateway: None, stream, by_size: None });
        Ok(())
    }

    /// The way to the first of a rule's next hops that there is a way to.
    pub fn by_rule(
        &mut self,
        to: &[Target],
        egress: Option<&EgressChoice>,
        request: &Request<'_>,
        pre: &Preprocessed<'_>,
    ) -> Result<(), Reply> {
        let (mut failure, mut is_down) = (None, false);
        for (entry, target) in to.iter().enumerate() {
            self.candidates.begin(entry);
            self.candidates.ask_udp(asks_udp(target.transport(), egress));
            if let Err(reply) = self.name_target(target, egress, request, pre) {
                if self.waits(&reply) {
                    return Err(reply);
                }
                is_down |= matches!(reply, Reply::NoGateway);
                failure = Some(reply);
            }
        }
        match self.first(By::Rule(egress), failure) {
            Ok(()) => Ok(()),
            Err(why) => self.by_those_down(to, egress, request, pre, (why.unwrap_or(NOWHERE), is_down)),
        }
    }

    /// The way to the first of the gateways that are down that there is a way to, where a group has no others; else what
    /// was to be answered.
    #[cold]
    #[inline(never)]
    fn by_those_down(
        &mut self,
        to: &[Target],
        egress: Option<&EgressChoice>,
        request: &Request<'_>,
        pre: &Preprocessed<'_>,
        (reply, is_down): (Reply, bool),
    ) -> Result<(), Reply> {
        // Once the kernel has answered, or a next hop that lives asks no more, it is decided anew.
        if is_down && !matches!(reply, Reply::NoEgress(_, NoEgress::AskKernel(_)) | Reply::Spared) {
            self.candidates.clear();
            self.name_those_down(to, egress, request, pre);
            return self.first(By::Rule(egress), Some(reply)).map_err(|why| why.unwrap_or(reply));
        }
        Err(reply)
    }

    /// The next hops that an entry of a rule's `to` comes to.
    #[inline(always)]
    fn name_target(
        &mut self,
        target: &Target,
        egress: Option<&EgressChoice>,
        request: &Request<'_>,
        pre: &Preprocessed<'_>,
    ) -> Result<(), Reply> {
        match target {
            Target::RequestUri => match self.for_us(request, pre) {
                Some(reply) => Err(reply),
                None => self.name_by_message(request, pre, By::Rule(egress)),
            },
            Target::Address { .. } => {
                if let Some(hop) = self.snapshot.plan.literal_hop(target, egress) {
                    self.name(hop, Origin::Rule);
                }
                Ok(())
            }
            Target::Name { .. } => match self.question_of(target, egress) {
                Some(question) => self.by_name(&question, Origin::Rule),
                None => Ok(()),
            },
            Target::Group { id, .. } => self.name_group(*id, egress, request, pre),
        }
    }

    /// What a request for ourselves is answered. An address of ours is found out where the next hop is checked; a name
    /// may lead anywhere.
    #[inline]
    fn for_us(&self, request: &Request<'_>, pre: &Preprocessed<'_>) -> Option<Reply> {
        let is_options = request.kind == Method::Options;
        let is_name = || matches!(pre.uri(request).host(), Some(Host::Name(_)));
        let is_for_us = (is_options || is_name()) && pre.is_for_us(self.snapshot, request);
        is_for_us.then_some(if is_options { Reply::Options } else { Reply::NotFound })
    }

    /// A next hop by its address.
    #[inline]
    fn name(&mut self, next_hop: NextHop, origin: Origin) {
        let stream = self.stream_to_address(next_hop, origin);
        self.candidates.push(next_hop, stream, origin, None);
    }

    /// The way to where the message itself says, by the dialog that it belongs to.
    pub fn by_dialog(
        &mut self,
        dialog: &Verified,
        request: &Request<'_>,
        pre: &Preprocessed<'_>,
    ) -> Result<(), Reply> {
        self.name_by_message(request, pre, By::Dialog(dialog))?;
        self.first(By::Dialog(dialog), None).map_err(|why| why.unwrap_or(NOWHERE))
    }

    /// The way to the first of the candidates that there is a way to.
    ///
    /// # Errors
    /// There is none: why there is no way to the last one, or `failure` where there are no candidates.
    fn first(&mut self, by: By<'_>, mut failure: Option<Reply>) -> Result<(), Option<Reply>> {
        let mut number = 0;
        while number < self.candidates.as_slice().len() {
            match self.choose(number, by).and_then(|()| self.spare()) {
                Ok(()) => {
                    self.chosen = number;
                    return Ok(());
                }
                Err(reply) if self.waits_for_kernel(&reply) => {
                    self.aim = None;
                    return Err(Some(reply));
                }
                // Once the kernel has answered, or a next hop asks no more, it is decided anew.
                Err(_)
                    if matches!(
                        failure,
                        Some(Reply::NoEgress(_, NoEgress::AskKernel(_)) | Reply::Spared)
                    ) => {}
                Err(reply) => failure = Some(reply),
            }
            number += 1;
        }
        self.aim = None;
        Err(failure)
    }

    /// Only the kernel can tell the way to a next hop, and the request can wait until it has: no other one takes its
    /// place meanwhile.
    fn waits_for_kernel(&self, reply: &Reply) -> bool {
        matches!(reply, Reply::NoEgress(_, NoEgress::AskKernel(_))) && !self.named.in_haste
    }

    /// There are candidates behind the chosen one.
    #[inline(always)]
    pub fn has_more(&self) -> bool {
        self.chosen + 1 < self.candidates.as_slice().len()
    }

    /// Chooses the listeners of the candidates that follow the chosen one, as far as there are any: where a request goes
    /// that fails there.
    ///
    /// # Errors
    /// The kernel has to be asked for the way to one of them, and the request can wait.
    pub fn go_through(&mut self, by: By<'_>) -> Result<(), Reply> {
        let Some(first) = self.hop(self.chosen, by) else { return Ok(()) };
        self.candidates.add_hop(first);
        let chosen = (self.question.next_hop, self.aim);
        for number in self.chosen + 1..self.candidates.as_slice().len() {
            let found = self.choose(number, by);
            if let Err(reply) = &found
                && self.waits_for_kernel(reply)
            {
                return found;
            }
            if let (Ok(()), Some(hop)) = (found, self.hop(number, by)) {
                self.candidates.add_hop(hop);
            }
        }
        (self.question.next_hop, self.aim) = chosen;
        Ok(())
    }

    /// The candidate of this number as what is kept of it: [`Search::aim`] is the way there.
    pub(super) fn hop(&self, number: usize, by: By<'_>) -> Option<Onward> {
        let (snapshot, aim, candidate) = (self.snapshot, self.aim.as_ref()?, self.candidates.get(number)?);
        // What a dialog may go to is narrowed by the listener that was chosen for it; a connection is that listener's.
        let is_free = matches!(by, By::Rule(None)) && candidate.origin != Origin::Flow;
        Some(Onward {
            next_hop: aim.next_hop,
            listener: snapshot.plan.listener(aim.egress.listener).identity,
            is_free: is_free
                && candidate.gateway.is_none_or(|own| groups::egress_of(snapshot, own).is_none()),
            stream: aim.stream,
            by_size: self.stream_beside(aim, candidate, by).is_some(),
            gateway: candidate.gateway,
        })
    }

    /// The way to a next hop by the automatic choice.
    pub fn automatic(&mut self, next_hop: NextHop, stream: Number) -> Result<(), Reply> {
        self.listener(next_hop, stream, By::Rule(None)).map(drop)
    }

    /// The next hops that the message itself says.
    ///
    /// §16.6 step 7: "the proxy MUST apply the procedures to the first value in the Route header field, if
    /// present, else the Request-URI. […] Independently of which URI is being used as input to the
    /// procedures of [4], if the Request-URI specifies a SIPS resource, the proxy MUST follow the
    /// procedures of [4] as if the input URI were a SIPS URI."
    fn name_by_message(
        &mut self,
        request: &Request<'_>,
        pre: &Preprocessed<'_>,
        by: By<'_>,
    ) -> Result<(), Reply> {
        if let Some(path) = pre.flow {
            return self.name_flow(path, by);
        }
        let (uri, origin) = match &pre.next_route {
            Some(route) => (&route.uri, Origin::Route),
            None => (pre.uri(request), Origin::RequestUri),
        };
        let is_stripped = origin == Origin::RequestUri && pre.maddr_stripped;
        let transport = self.transport(uri, is_stripped, by)?;
        let Place { host, port } = Place::of(uri, is_stripped).ok_or(Reply::Scheme)?;
        if let Host::Name(name) = host {
            return self.name_by_name(name, (port, transport), origin);
        }
        // "if no transport protocol is specified, but the TARGET is a numeric IP address, the client SHOULD use UDP for
        // a SIP URI, and TCP for a SIPS URI" (RFC 3263 §4.1).
        let transport = match self.sips {
            true => transport.filter(|t| *t == Transport::Wss).unwrap_or(Transport::Tls),
            false => transport.unwrap_or(Transport::Udp),
        };
        let port = port.unwrap_or(transport.default_port());
        // Each by itself, because what either may be is put together field by field.
        match host {
            Host::V4(ip) => self.name(NextHop { transport, address: (ip, port).into() }, origin),
            other => {
                let ip = other.ip().map(canonical).ok_or(Reply::Scheme)?;
                self.name(NextHop { transport, address: SocketAddr::new(ip, port) }, origin);
            }
        }
        Ok(())
    }

    /// The next hops that a host name of the message leads to, with the port and the transport that are asked for.
    #[inline(never)]
    fn name_by_name(
        &mut self,
        host: &[u8],
        (port, transport): (Option<u16>, Option<Transport>),
        origin: Origin,
    ) -> Result<(), Reply> {
        let unknown = || Reply::Unresolved { why: Unresolved::NoSuchName, by_rule: false };
        let name = HostName::new(host).filter(|name| !self.is_nobodys(name)).ok_or_else(unknown)?;
        self.by_name(&Name { name, port, transport, sips: self.sips }, origin)
    }

    /// The egress listener's transport if a rule or a dialog names one, else the URI's; `None`: nothing says which. In a
    /// dialog what the remote target asks for explicitly goes first. `sips` is never downgraded. Where a maddr is stripped, so is
    /// what the URI says.
    fn transport(&self, uri: &Uri<'_>, is_stripped: bool, by: By<'_>) -> Result<Option<Transport>, Reply> {
        let written = uri.params().value(b"transport").filter(|_| !is_stripped);
        let explicit = written.and_then(Transport::from_token);
        if self.sips {
            return Ok(explicit_transport(uri).filter(|_| written.is_some()));
        }
        match by {
            By::Rule(Some(choice)) => Ok(Some(self.snapshot.plan.transport_of(choice, explicit))),
            _ if explicit.is_none() && written.is_some() => {
                Err(Reply::Unresolved { why: Unresolved::NoTransport, by_rule: false })
            }
            By::Rule(None) => Ok(explicit),
            By::Dialog(dialog) => {
                let listener = self.snapshot.view.by_identity(dialog.egress());
                let own = listener.map(|id| self.snapshot.plan.listener(id).transport);
                Ok(explicit.or(own))
            }
        }
    }

    /// Finds the listener for a candidate, which is then [`Search::aim`]. Not everything that a message names is sent to.
    #[inline(always)]
    fn choose(&mut self, candidate: usize, by: By<'_>) -> Result<(), Reply> {
        let Some(candidate) = self.candidates.get(candidate) else { return Err(NOWHERE) };
        // Borrowed, because each copy of an address takes a dozen instructions.
        let &Candidate { ref next_hop, origin, gateway, stream, .. } = candidate;
        match (origin, gateway, by) {
            (_, Some(gateway), By::Rule(egress)) => {
                let next_hop = *next_hop;
                return self.gateway((next_hop, stream), gateway, egress);
            }
            (Origin::Flow, ..) => {
                let next_hop = *next_hop;
                return self.by_flow(next_hop, stream);
            }
            (Origin::Rule | Origin::RequestUri | Origin::Route, ..) => {}
        }
        let is_named = origin != Origin::Rule;
        let forbidden = |why| match why {
            Forbidden::Ourselves if origin == Origin::RequestUri => Reply::NotFound,
            why => Reply::Forbidden(why),
        };
        if is_named {
            forbidden::check(&self.snapshot.ours, next_hop.address).map_err(forbidden)?;
        }
        self.is_secure_enough(next_hop)?;
        self.ask(*next_hop);
        let egress = self.listener_asked(stream, by)?;
        if is_named {
            let listener = self.snapshot.plan.listener(egress.listener);
            let to = &self.question.next_hop.address;
            forbidden::check_egress(listener, to).map_err(forbidden)?;
            if matches!(by, By::Dialog(_)) && !listener.dialog_to.is_empty() {
                within_dialog_to(listener, *to)?;
            }
        }
        Ok(())
    }

    /// The client's end of the connection that a Route of ours names.
    ///
    /// RFC 5626 §5.3.1: "the proxy removes the Route header field value and forwards the request over the 'logical flow'
    /// identified by the flow token, that is known to deliver data to the specific target UA instance. […] If the flow no
    /// longer exists, the proxy SHOULD send a 430 (Flow Failed) response to the request."
    #[cold]
    fn name_flow(&mut self, path: Path, by: By<'_>) -> Result<(), Reply> {
        let Path { listener, flow } = path;
        let listener = self.snapshot.view.by_identity(listener).ok_or(Reply::FlowFailed)?;
        if self.nonce.is_some_and(|nonce| flow.mark != peer_mark(nonce, flow.peer)) {
            return Err(Reply::FlowFailed);
        }
        let reason = if matches!(by, By::Dialog(_)) { Reason::Dialog } else { Reason::Binding };
        self.client = Some((path, reason));
        let transport = self.snapshot.plan.listener(listener).transport;
        let stream = Number::from_bits(flow.connection).with_serial(flow.serial);
        self.candidates.push(NextHop { transport, address: flow.peer }, stream, Origin::Flow, None);
        Ok(())
    }

    /// [`Search::aim`] is that connection, whatever a rule says of listeners.
    #[cold]
    fn by_flow(&mut self, next_hop: NextHop, stream: Number) -> Result<(), Reply> {
        if self.sips && !next_hop.transport.is_secure() {
            return Err(Reply::NotSecure(next_hop));
        }
        let (path, reason) = self.client.ok_or(Reply::FlowFailed)?;
        self.ask(next_hop);
        let Snapshot { generation, plan, fib, view, .. } = self.snapshot;
        let egress = self.recent.flow(*generation, plan, fib, view, (path.listener, reason), &self.question);
        let egress = egress.map_err(|why| match why {
            NoEgress::NoListener => Reply::FlowFailed,
            // The connection may well be there, and its client's binding stays: the way back to it may come again.
            _ => Reply::NoEgress(next_hop, why),
        })?;
        let next_hop = next_hop.on_link(egress.dev);
        self.aim = Some(Aim { next_hop, egress, gateway: None, stream, by_size: None });
        Ok(())
    }

    #[inline(never)]
    fn gateway(
        &mut self,
        (next_hop, stream): (NextHop, Number),
        gateway: GatewayId,
        egress: Option<&EgressChoice>,
    ) -> Result<(), Reply> {
        let own = groups::egress_of(self.snapshot, gateway);
        self.listener(next_hop, stream, By::Rule(own.as_ref().or(egress)))?;
        self.aim.iter_mut().for_each(|aim| aim.gateway = Some(gateway));
        Ok(())
    }

    /// Finds the listener for a next hop, which is then [`Search::aim`].
    #[inline(always)]
    pub(super) fn listener(&mut self, next_hop: NextHop, stream: Number, by: By<'_>) -> Result<Exit, Reply> {
        self.is_secure_enough(&next_hop)?;
        self.ask(next_hop);
        self.listener_asked(stream, by)
    }

    #[inline(always)]
    fn is_secure_enough(&self, next_hop: &NextHop) -> Result<(), Reply> {
        if self.sips && !next_hop.transport.is_secure() { Err(Reply::NotSecure(*next_hop)) } else { Ok(()) }
    }

    /// The same for the next hop of [`Search::question`].
    #[inline(always)]
    fn listener_asked(&mut self, stream: Number, by: By<'_>) -> Result<Exit, Reply> {
        let Self { snapshot: Snapshot { generation, plan, fib, view, .. }, recent, question, aim, .. } = self;
        let egress = match by {
            By::Rule(None) => recent.auto(*generation, plan, fib, view, question),
            By::Rule(Some(choice)) => recent.overridden(*generation, plan, fib, view, choice, question),
            By::Dialog(dialog) => recent.dialog(*generation, plan, fib, view, dialog.egress(), question),
        };
        let egress = egress.map_err(|why| Reply::NoEgress(question.next_hop, why))?;
        let next_hop = question.next_hop;
        let found = aim.insert(Aim { next_hop, egress, gateway: None, stream, by_size: None });
        if found.next_hop.address.is_ipv6() {
            found.next_hop = question.next_hop.on_link(egress.dev);
        }
        Ok(egress)
    }

    #[inline(always)]
    fn ask(&mut self, next_hop: NextHop) {
        (self.question.next_hop, self.has_asked) = (next_hop, true);
    }
}

/// Whether in-dialog requests may go there by this listener, which says where they may.
#[cold]
fn within_dialog_to(listener: &Listener, to: SocketAddr) -> Result<(), Reply> {
    let may_go = listener.dialog_to.iter().any(|net| net.contains(&to.ip()));
    if may_go { Ok(()) } else { Err(Reply::OutsideDialogTo) }
}
