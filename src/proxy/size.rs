//! RFC 3261 §18.1.1: requests that are too large for UDP leave over TCP, where `[egress] large_udp` says so.
//!
//! "If a request is within 200 bytes of the path MTU, or if it is larger than 1300 bytes and the path MTU is unknown, the
//! request MUST be sent using an RFC 2914 congestion controlled transport protocol, such as TCP. If this causes a change in
//! the transport protocol from the one indicated in the top Via, the value in the top Via MUST be changed."
//!
//! What was decided stays: the next hop, the listener that its answers and the dialog know it by, and what the transaction
//! goes back to where no connection can be made. Only our Via and the connection are other ones, and a listener of the same
//! address lends them.

use crate::egress::{Question, confirm};
use crate::net::{ListenerId, NextHop, Transport};
use crate::plan::LargeUdp;
use crate::rules::EgressChoice;
use crate::transaction::Onward;

use super::aim::Aim;
use super::candidates::Candidate;
use super::decide::Going;
use super::groups;
use super::target::{By, Search};

/// The largest request in bytes that is sent over UDP: the path MTU is not known.
const LARGEST: usize = 1_300;

/// Whether a rule or a gateway asks for UDP in so many words.
pub(super) fn asks_udp(to: Option<Transport>, egress: Option<&EgressChoice>) -> bool {
    let by_egress = matches!(egress, Some(EgressChoice::Relative { transport: Transport::Udp, .. }));
    by_egress || to == Some(Transport::Udp)
}

impl Search<'_> {
    /// Whether requests of this many bytes are too large for UDP here.
    pub(super) fn is_large(&self, bytes: usize) -> bool {
        bytes > LARGEST && self.snapshot.plan.egress.large_udp == LargeUdp::Tcp
    }

    /// The request is large: where it may, it leaves over TCP, and its only next hop is kept for where it cannot.
    #[cold]
    pub(super) fn by_size(&mut self, by: By<'_>) {
        let chosen = self.candidates.get(self.chosen);
        let found = self.aim.as_ref().zip(chosen).and_then(|(aim, own)| self.stream_beside(aim, own, by));
        if found.is_some()
            && self.candidates.hops().is_empty()
            && let Some(only) = self.hop(self.chosen, by)
        {
            self.candidates.add_hop(only);
        }
        self.aim.iter_mut().for_each(|aim| aim.by_size = found);
    }

    /// The listener that a large request leaves from over TCP instead; `None`: there is none that can send there, the
    /// configuration asks for UDP or for another listener, or it does not leave over UDP.
    pub(super) fn stream_beside(&self, aim: &Aim, candidate: &Candidate, by: By<'_>) -> Option<ListenerId> {
        let is_wanted = self.snapshot.plan.egress.large_udp == LargeUdp::Tcp && !candidate.asks_udp;
        let own = candidate.gateway.and_then(|gateway| groups::egress_of(self.snapshot, gateway));
        let named = match (own.as_ref(), by) {
            (Some(choice), _) | (None, By::Rule(Some(choice))) => Some(choice),
            (None, By::Rule(None) | By::Dialog(_)) => None,
        };
        is_wanted.then(|| self.over_tcp(aim, named)).flatten()
    }

    /// The listener beside the chosen one that can send to the same next hop over TCP; `named`: what chose that one.
    pub(super) fn over_tcp(&self, aim: &Aim, named: Option<&EgressChoice>) -> Option<ListenerId> {
        if aim.next_hop.transport != Transport::Udp {
            return None;
        }
        let (plan, fib, view) = (&*self.snapshot.plan, &*self.snapshot.fib, &self.snapshot.view);
        let beside = view.sibling(plan, aim.egress.listener, Transport::Tcp)?;
        // Never silently another one than a rule names.
        if let Some(EgressChoice::Listener(section)) = named
            && plan.listener(beside).section != *section
        {
            return None;
        }
        let next_hop = NextHop { transport: Transport::Tcp, ..aim.next_hop };
        let question = Question { next_hop, ..self.asked.question };
        confirm(plan, fib, view, beside, &question).ok().map(|_| beside)
    }
}

impl Going<'_, '_> {
    /// It leaves by a stream, by this transport or where another of its next hops is tried.
    pub fn may_leave_by_stream(&self, transport: Transport) -> bool {
        let by_stream =
            |hop: &Onward| hop.next_hop.transport != Transport::Udp || (self.is_large && hop.by_size);
        transport != Transport::Udp || self.hops.iter().any(by_stream)
    }
}
