//! The gateways of a group as candidates: the best that are up, for this request.
//!
//! Where none is up, those that do not answer are tried all the same, once nothing else of the rule's `to` is left: what
//! keeps an OPTIONS from being answered need not keep calls. Those that have asked to be left alone are not.

use sip_parser::Message;

use crate::drop_reason::DropReason;
use crate::group::{Report, Select, Standing, Way, number_key, order, text_key};
use crate::net::{GatewayId, GroupId, NextHop};
use crate::plan::Gateway;
use crate::rules::{EgressChoice, Target};
use crate::snapshot::Snapshot;
use crate::stream::Number;
use crate::token::PingBranch;
use crate::transaction::Peer;

use super::candidates::Origin;
use super::preprocess::Preprocessed;
use super::reply::Reply;
use super::size::asks_udp;
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
    let via = message.top_via().ok();
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
    ///
    /// Not among the code of what is no group: its loops would be made ready there for nothing.
    #[inline(never)]
    pub(super) fn name_group(
        &mut self,
        id: GroupId,
        egress: Option<&EgressChoice>,
        request: &Request<'_>,
        pre: &Preprocessed<'_>,
    ) -> Result<(), Reply> {
        let before = self.candidates.as_slice().len();
        self.name_those(id, egress, request, pre, |way| way.share);
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
        let is_down = |way: Way| if way.standing == Standing::Down { u8::MAX } else { 0 };
        for (entry, id) in to.iter().enumerate().filter_map(|(entry, to)| Some((entry, to.group()?))) {
            self.candidates.begin(entry);
            self.name_those(id, egress, request, pre, is_down);
        }
        self.last_resort = !self.candidates.as_slice().is_empty();
    }

    /// Names the gateways of a group, each with the share of its weight that `share` gives the way to it.
    fn name_those(
        &mut self,
        id: GroupId,
        egress: Option<&EgressChoice>,
        request: &Request<'_>,
        pre: &Preprocessed<'_>,
        share: impl Fn(Way) -> u8,
    ) {
        let snapshot = self.snapshot;
        let (group, ids) = (snapshot.plan.group(id), snapshot.roster.ids(id));
        let key = self.key(group.select, request, pre);
        let of_place = |place: usize| group.gateways.get(place).zip(ids.get(place));
        let order = order(&group.members, key, |place| {
            of_place(place).map_or(0, |(gateway, id)| share(self.way(gateway, *id, egress)))
        });
        for (gateway, id) in order.as_slice().iter().filter_map(|place| of_place(usize::from(*place))) {
            let choice = gateway.egress.as_ref().or(egress);
            self.candidates.ask_udp(asks_udp(gateway.to.transport(), choice));
            self.for_each_hop(gateway, egress, |this, hop, stream| {
                this.candidates.push(hop, stream, Origin::Rule, Some(*id))
            });
        }
    }

    /// How a gateway does by the way that this request would take.
    fn way(&mut self, gateway: &Gateway, id: GatewayId, egress: Option<&EgressChoice>) -> Way {
        let snapshot = self.snapshot;
        let health = snapshot.roster.health();
        let mut ways = health.ways(id);
        let only = match (ways.next(), ways.next()) {
            (None, _) => return Way::UP,
            (Some((_, way)), None) if way.share == u8::MAX => return way,
            (Some((_, way)), None) => way,
            (Some((_, way)), Some(_)) => way,
        };
        let mut first = None;
        self.for_each_hop(gateway, egress, |_, hop, _| first = first.or(Some(hop)));
        let by = By::Rule(gateway.egress.as_ref().or(egress));
        let found = first.is_some_and(|hop| self.listener(hop, Number::NONE, by).is_ok());
        let aim = self.aim.take().filter(|_| found);
        // Why there is no way is told where it is chosen.
        aim.map_or(only, |aim| health.way(id, snapshot.plan.listener(aim.egress.listener).identity))
    }

    /// Calls `each` with the next hops that a gateway comes to, and by which streams. One whose name leads nowhere is passed over.
    fn for_each_hop(
        &mut self,
        gateway: &Gateway,
        egress: Option<&EgressChoice>,
        mut each: impl FnMut(&mut Self, NextHop, Number),
    ) {
        let egress = gateway.egress.as_ref().or(egress);
        if let Some(hop) = self.snapshot.plan.literal_hop(&gateway.to, egress) {
            let stream = self.stream_to_address(hop, Origin::Rule);
            return each(self, hop, stream);
        }
        let Some(question) = self.question_of(&gateway.to, egress) else { return };
        for hop in self.hops(&question, true).into_iter().flatten() {
            let stream = self.stream_to(hop, question.name.as_str(), Origin::Rule);
            each(self, hop, stream);
        }
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
}
