//! RFC 3261 §16.5 and §16.6 step 7: the next hop, and the listener that the request leaves from.

use std::net::SocketAddr;

use sip_parser::Host;

use crate::dns::Unresolved;
use crate::egress::{Exit, NoEgress, Pin, Question, Reason, Recent};
use crate::net::{GatewayId, ListenerId, NextHop};
use crate::overload::Throttles;
use crate::plan::Listener;
use crate::rules::{EgressChoice, Target};
use crate::snapshot::Snapshot;
use crate::stream::{Names, Number};
use crate::token::{Path, Verified};
use crate::transaction::Onward;

use super::aim::Aim;
use super::candidates::{Candidate, Candidates, NO_NEXT_HOP, Origin};
use super::forbidden::{self, Forbidden};
use super::groups;
use super::method::Method;
use super::names::Named;
use super::preprocess::Preprocessed;
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

/// What egress was asked about a request. It stays where it is, because it is large and told to who explains the decision.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    /// Where the request came in, [`crate::token::TransactionKey::low`], and the next hop that egress was asked for last.
    pub question: Question,
    /// It was asked at all.
    pub is_asked: bool,
}

impl Asked {
    /// Before the first request.
    pub const NOTHING: Self = Self {
        question: Question { next_hop: NO_NEXT_HOP, ingress: ListenerId(0), flow: 0 },
        is_asked: false,
    };
}

/// Looks for the way of one request.
pub(super) struct Search<'a> {
    pub snapshot: &'a Snapshot,
    pub recent: &'a mut Recent,
    /// What egress was asked last.
    pub asked: &'a mut Asked,
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
        let egress = self.recent.pinned(*generation, plan, fib, view, pin, &self.asked.question)?;
        // What leaves over TLS is kept as a transaction: no pin has to remember whose certificate it asks for.
        let origin = if pin.by_message { Origin::RequestUri } else { Origin::Rule };
        let stream = without_name(pin.next_hop.transport, origin);
        self.aim = Some(Aim { next_hop: pin.next_hop, egress, gateway: None, stream, by_size: None });
        Ok(())
    }

    /// The way to the first of a rule's next hops that there is a way to.
    #[inline(always)]
    pub fn by_rule(
        &mut self,
        to: &[Target],
        egress: Option<&EgressChoice>,
        request: &Request<'_>,
        pre: &Preprocessed<'_>,
    ) -> Result<(), Reply> {
        // As many rules say, and without a loop.
        if let [Target::RequestUri] = to {
            self.candidates.ask_udp(asks_udp(None, egress));
            return match self.for_us(request, pre) {
                Some(reply) => Err(reply),
                None => self.by_message(By::Rule(egress), request, pre),
            };
        }
        self.by_entries(to, egress, request, pre)
    }

    /// The same where `to` says more.
    #[inline(never)]
    fn by_entries(
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
        match self.first(0, By::Rule(egress), failure) {
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
            return self.first(0, By::Rule(egress), Some(reply)).map_err(|why| why.unwrap_or(reply));
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
                None => self.name_where_it_says(request, pre, By::Rule(egress)),
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
    #[inline(always)]
    fn for_us(&self, request: &Request<'_>, pre: &Preprocessed<'_>) -> Option<Reply> {
        let is_options = request.kind == Method::Options;
        let is_name = || matches!(pre.uri(request).host(), Some(Host::Name(_)));
        if is_options || is_name() { self.perhaps_for_us(request, pre, is_options) } else { None }
    }

    #[inline(never)]
    fn perhaps_for_us(
        &self,
        request: &Request<'_>,
        pre: &Preprocessed<'_>,
        is_options: bool,
    ) -> Option<Reply> {
        let reply = if is_options { Reply::Options } else { Reply::NotFound };
        pre.is_for_us(self.snapshot, request).then_some(reply)
    }

    /// A next hop by its address.
    #[inline(always)]
    pub(super) fn name(&mut self, next_hop: NextHop, origin: Origin) {
        let stream = self.stream_to_address(next_hop, origin);
        self.candidates.push(next_hop, stream, origin, None);
    }

    /// The way to where the message itself says.
    #[inline(never)]
    pub fn by_message(
        &mut self,
        by: By<'_>,
        request: &Request<'_>,
        pre: &Preprocessed<'_>,
    ) -> Result<(), Reply> {
        let plain = self.plainly_named(request, pre, by);
        if let Some(plain) = &plain
            && self.is_as_before(plain)
        {
            return Ok(());
        }
        self.name_by_message(request, pre, by)?;
        // Nearly always there is one, and a way to it.
        match self.choose(0, by).and_then(|()| self.spare()) {
            Ok(()) => {
                if let Some(plain) = &plain {
                    self.note_allowed(plain);
                }
                Ok(())
            }
            Err(reply) => self.by_others(reply, by),
        }
    }

    /// The same where there is no way to the first one.
    #[cold]
    #[inline(never)]
    fn by_others(&mut self, reply: Reply, by: By<'_>) -> Result<(), Reply> {
        if self.waits_for_kernel(&reply) {
            self.aim = None;
            return Err(reply);
        }
        self.first(1, by, Some(reply)).map_err(|why| why.unwrap_or(reply))
    }

    /// The way to the first of the candidates from this number on that there is a way to.
    ///
    /// # Errors
    /// There is none: why there is no way to the last one, or `failure` where there are no candidates.
    #[inline(never)]
    fn first(
        &mut self,
        mut number: usize,
        by: By<'_>,
        mut failure: Option<Reply>,
    ) -> Result<(), Option<Reply>> {
        while number < self.candidates.as_slice().len() {
            match self.choose_another(number, by).and_then(|()| self.spare()) {
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
        let chosen = (self.asked.question.next_hop, self.aim);
        for number in self.chosen + 1..self.candidates.as_slice().len() {
            let found = self.choose_another(number, by);
            if let Err(reply) = &found
                && self.waits_for_kernel(reply)
            {
                return found;
            }
            if let (Ok(()), Some(hop)) = (found, self.hop(number, by)) {
                self.candidates.add_hop(hop);
            }
        }
        (self.asked.question.next_hop, self.aim) = chosen;
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

    /// [`Search::choose`] as a function, for where a second candidate may be asked for.
    #[inline(never)]
    fn choose_another(&mut self, candidate: usize, by: By<'_>) -> Result<(), Reply> {
        self.choose(candidate, by)
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
            let listener = || self.snapshot.plan.listener(egress.listener);
            let to = &self.asked.question.next_hop.address;
            forbidden::check_egress(listener, to).map_err(forbidden)?;
            if matches!(by, By::Dialog(_)) && !listener().dialog_to.is_empty() {
                within_dialog_to(listener(), *to)?;
            }
        }
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
        let egress =
            self.recent.flow(*generation, plan, fib, view, (path.listener, reason), &self.asked.question);
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

    /// The same for the next hop that was asked for.
    #[inline(always)]
    fn listener_asked(&mut self, stream: Number, by: By<'_>) -> Result<Exit, Reply> {
        let Self { snapshot: Snapshot { generation, plan, fib, view, .. }, recent, asked, aim, .. } = self;
        let question = &asked.question;
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
        (self.asked.question.next_hop, self.asked.is_asked) = (next_hop, true);
    }
}

/// Whether in-dialog requests may go there by this listener, which says where they may.
#[cold]
fn within_dialog_to(listener: &Listener, to: SocketAddr) -> Result<(), Reply> {
    let may_go = listener.dialog_to.iter().any(|net| net.contains(&to.ip()));
    if may_go { Ok(()) } else { Err(Reply::OutsideDialogTo) }
}
