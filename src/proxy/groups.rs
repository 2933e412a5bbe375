//! The gateways of a group as candidates: the best that are up, for this request.
//!
//! Where none is up, those that do not answer are tried all the same, once nothing else of the rule's `to` is left: what
//! keeps an OPTIONS from being answered need not keep calls. Those that have asked to be left alone are not.

use std::net::SocketAddr;

use sip_parser::Message;

use crate::drop_reason::DropReason;
use crate::group::{Order, Report, Select, number_key, order, text_key};
use crate::net::{GatewayId, GroupId, NextHop, canonical};
use crate::plan::{Gateway, Group};
use crate::rules::{EgressChoice, Target};
use crate::snapshot::Snapshot;
use crate::token::PingBranch;
use crate::transaction::Peer;

use super::candidates::Origin;
use super::preprocess::Preprocessed;
use super::reply::Reply;
use super::target::{By, Search};
use super::validate::Request;

/// A gateway's own `egress`.
pub fn egress_of(snapshot: &Snapshot, gateway: GatewayId) -> Option<EgressChoice> {
    let (group, place) = snapshot.roster.place(gateway)?;
    snapshot.plan.group(group).gateways.get(place)?.egress
}

/// Notes what answers an OPTIONS to a gateway; any other response with a branch that is none of a request's is foreign.
#[cold]
pub(super) fn hear(snapshot: &Snapshot, message: &Message<'_>, status: u16) -> DropReason {
    let via = message.top_via().and_then(Result::ok);
    let asked = via.and_then(|via| PingBranch::read(via.branch()?, &snapshot.keys));
    let Some(PingBranch { gateway, listener, number }) = asked else { return DropReason::ForeignResponse };
    if status >= 200 {
        snapshot.roster.health().answered(gateway, listener, number, status);
    }
    DropReason::PingAnswer
}

/// What a response says of the gateway that it came from.
///
/// RFC 3261 §21.5.4: "If no Retry-After is given, the client MUST act as if it had received a 500 (Server Internal
/// Error) response."
pub(super) fn report_of(message: &Message<'_>, status: u16) -> Report {
    let seconds = if status == 503 { retry_after_s(message) } else { None };
    seconds.map_or(Report::Answered, Report::PutAside)
}

/// The seconds of a Retry-After, at most so many as a number of 16 bits holds; `None`: there is none, or it asks for
/// nothing. A comment and parameters may follow (§20.33).
fn retry_after_s(message: &Message<'_>) -> Option<u16> {
    let line = message.named(b"Retry-After").next()?;
    let text = message.text(line.value).trim_ascii_start();
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    let seconds =
        digits.fold(0u16, |sum, byte| sum.saturating_mul(10).saturating_add(u16::from(byte - b'0')));
    (seconds > 0).then_some(seconds)
}

/// Notes what was heard of a gateway, or that nothing was.
pub(super) fn note(snapshot: &Snapshot, peer: Peer, report: Report) {
    snapshot.roster.health().report(peer.gateway, peer.listener, report);
}

impl Search<'_> {
    /// Names the gateways of a group that are up, best first.
    ///
    /// # Errors
    /// None is.
    pub(super) fn name_group(
        &mut self,
        id: GroupId,
        egress: Option<&EgressChoice>,
        request: &Request<'_>,
        pre: &Preprocessed<'_>,
    ) -> Result<(), Reply> {
        let snapshot = self.snapshot;
        let (group, ids, health) =
            (snapshot.plan.group(id), snapshot.roster.ids(id), snapshot.roster.health());
        let key = self.key(group.select, request, pre);
        let share = |place: usize| ids.get(place).map_or(0, |id| health.share(*id));
        let before = self.candidates.as_slice().len();
        self.name_all(group, ids, &order(&group.members, key, share), egress, true);
        if self.candidates.as_slice().len() > before { Ok(()) } else { Err(Reply::NoGateway) }
    }

    /// Names the gateways of all groups of `to` that do not answer.
    #[cold]
    pub(super) fn name_those_down(
        &mut self,
        to: &[Target],
        egress: Option<&EgressChoice>,
        request: &Request<'_>,
        pre: &Preprocessed<'_>,
    ) {
        let snapshot = self.snapshot;
        let health = snapshot.roster.health();
        for (entry, id) in to.iter().enumerate().filter_map(|(entry, to)| Some((entry, to.group()?))) {
            self.candidates.begin(entry);
            let (group, ids) = (snapshot.plan.group(id), snapshot.roster.ids(id));
            let key = self.key(group.select, request, pre);
            let is_down = |place: usize| ids.get(place).is_some_and(|id| health.is_down(*id));
            let order = order(&group.members, key, |place| if is_down(place) { u8::MAX } else { 0 });
            self.name_all(group, ids, &order, egress, false);
        }
        self.last_resort = !self.candidates.as_slice().is_empty();
    }

    fn key(&self, select: Select, request: &Request<'_>, pre: &Preprocessed<'_>) -> u64 {
        match select {
            Select::Weighted => self.draw,
            Select::CallId => text_key(request.call_id),
            // A Request-URI without a number is as good as a call's first.
            Select::Number => {
                let number = pre.uri(request).user().and_then(number_key);
                number.unwrap_or_else(|| text_key(request.call_id))
            }
        }
    }

    fn name_all(
        &mut self,
        group: &Group,
        ids: &[GatewayId],
        order: &Order,
        egress: Option<&EgressChoice>,
        up_only: bool,
    ) {
        for place in order.as_slice().iter().map(|place| usize::from(*place)) {
            let (Some(gateway), Some(id)) = (group.gateways.get(place), ids.get(place)) else { continue };
            self.name_gateway(gateway, *id, egress, up_only);
        }
    }

    fn name_gateway(
        &mut self,
        gateway: &Gateway,
        id: GatewayId,
        egress: Option<&EgressChoice>,
        up_only: bool,
    ) {
        let egress = gateway.egress.as_ref().or(egress);
        let name = |this: &mut Self, next_hop: NextHop| {
            if !up_only || this.is_up(id, next_hop, egress) {
                this.candidates.push(next_hop, Origin::Rule, Some(id));
            }
        };
        if let Target::Address { ip, port, .. } = &gateway.to {
            let transport = self.transport_of(egress, gateway.to.transport());
            let address = SocketAddr::new(canonical(*ip), *port);
            return name(self, NextHop { transport, address });
        }
        // One whose name leads nowhere is passed over as one that is down.
        let question = self.snapshot.plan.question_of(&gateway.to, egress);
        let hops = question.and_then(|question| self.hops(&question, true).ok());
        hops.into_iter().flatten().for_each(|next_hop| name(self, next_hop));
    }

    /// Whether a gateway that is up by some way is up by the one that this request would take.
    fn is_up(&mut self, id: GatewayId, next_hop: NextHop, egress: Option<&EgressChoice>) -> bool {
        let snapshot = self.snapshot;
        let health = snapshot.roster.health();
        if health.ways(id).count() < 2 {
            return true;
        }
        // Why there is no way is told where it is chosen.
        let Ok(aim) = self.listener(next_hop, By::Rule(egress)) else { return true };
        let listener = snapshot.plan.listener(aim.egress.listener).identity;
        health.way(id, listener).share > 0
    }
}
