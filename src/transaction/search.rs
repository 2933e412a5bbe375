//! The search for somebody who answers, where a request has several next hops: RFC 3261 §16.6 and §16.7 over the
//! target set, one after the other or several at a time.
//!
//! ```text
//!  next hops, as addresses ─► take ─► a branch for each, at most `width` of them at a time
//!       ▲                                 │
//!       └── refused, silent, unsendable ──┤ final answer: is it the best so far, does the search go on?
//!                                         └─ none is waited for, none is left: the best answer goes back
//! ```
//!
//! Everything that is needed for a branch is kept here: no change of rules, routes or names moves what was decided.

use std::net::SocketAddr;

use super::own::Fault;
use super::slab::Handle;
use super::store::Stored;
use super::timers::SIXTY_FOUR_T1_NS;
use crate::limits::CANDIDATES;
use crate::net::{GatewayId, NextHop, Now};
use crate::overload::Standing;
use crate::status::Statuses;
use crate::stream::Number;
use crate::token::{KeyId, LoopMark};

/// A next hop of a request, with the listener that was chosen for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Onward {
    /// Where to.
    pub next_hop: NextHop,
    /// Identity of the listener that is sent from: a reload may renumber listeners.
    pub listener: u32,
    /// Another one may be chosen where that one cannot send any more: no rule named it.
    pub is_free: bool,
    /// By which stream.
    pub stream: Number,
    /// Of what is large it gets a request over TCP, and over UDP only where no connection can be made.
    pub by_size: bool,
    /// The gateway of a group that it is.
    pub gateway: Option<GatewayId>,
}

/// How a request's next hops are gone through; decided once, with the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Branches that wait for an answer at a time: 1 is one after the other.
    pub width: u8,
    /// Any refusal but 6xx has the next one tried, not only those of `failover`.
    pub forks: bool,
    /// Answers after which the next one is tried, besides silence and what cannot be sent.
    pub failover: Statuses,
    /// So long, in nanoseconds, the first answer is waited for.
    pub patience_ns: u64,
    /// Record-Route is written.
    pub record_route: bool,
    /// It is a SIPS URI.
    pub sips: bool,
    /// Signs what is written.
    pub signer: KeyId,
    /// The loop mark.
    pub mark: LoopMark,
    /// Who sent the request.
    pub source: SocketAddr,
    /// The request is too large for UDP.
    pub is_large: bool,
    /// What it counts for to a next hop that asks to be sent less.
    pub standing: Standing,
}

/// A request with several next hops that was not answered yet.
pub(super) struct Search {
    is_invite: bool,
    began: Now,
    pub terms: Terms,
    /// The request without our Record-Route and Via: what all next hops get alike.
    pub request: Stored,
    /// Our 100, of which answers of our own are made.
    pub trying: Stored,
    /// The best final answer so far.
    best: Option<Best>,
    /// Why TLS to a next hop failed last, or the kernel refused to send there.
    pub cause: Option<Fault>,
    hops: [Option<Onward>; CANDIDATES],
    next: u8,
    /// Hops that are tried once more, over UDP: a bit each.
    over_udp: u8,
    /// Client transactions whose final answer is waited for, by the number of the hop.
    waiting: [Option<Handle>; CANDIDATES],
    /// No other branch is begun.
    is_over: bool,
    /// It does not wait for the branches that there are: they cannot be cancelled.
    is_final: bool,
}

/// A final answer.
pub(super) struct Best {
    pub status: u16,
    /// As it goes back; none: one of our own stands for it.
    pub stored: Option<Stored>,
}

/// What a final answer that is no 2xx is to the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rank {
    /// The best one so far.
    Best,
    /// As good as the best, and its challenge is to be added to that one's.
    Challenge,
    /// Worse than the best.
    Worse,
}

impl Search {
    /// Over these next hops, at most [`CANDIDATES`] of them; begun now.
    pub fn new(
        is_invite: bool,
        now: Now,
        terms: Terms,
        hops: &[Onward],
        request: Stored,
        trying: Stored,
    ) -> Self {
        Self {
            is_invite,
            began: now,
            terms,
            request,
            trying,
            best: None,
            cause: None,
            hops: std::array::from_fn(|number| {
                let hop = hops.get(number)?;
                Some(Onward { by_size: hop.by_size && terms.is_large, ..*hop })
            }),
            next: 0,
            over_udp: 0,
            waiting: [None; CANDIDATES],
            is_over: false,
            is_final: false,
        }
    }

    /// There is no other next hop to try.
    pub fn is_exhausted(&self) -> bool {
        let is_last = self.hops.get(usize::from(self.next)).is_none_or(Option::is_none);
        self.is_over || (is_last && self.over_udp == 0)
    }

    /// The next hop to try now, with its number; a hop that is tried once more has another one the second time, so that its
    /// branch has another name.
    pub fn take(&mut self) -> Option<(u8, Onward)> {
        if !self.wants_branch() {
            return None;
        }
        if self.over_udp != 0 {
            let number = self.over_udp.trailing_zeros() as u8;
            self.over_udp &= self.over_udp - 1;
            let hop = self.hops.get(usize::from(number)).copied().flatten()?;
            return Some((number + CANDIDATES as u8, hop));
        }
        let number = self.next;
        self.next += 1;
        self.hops[usize::from(number)].map(|hop| (number, hop))
    }

    /// There is something to do for it.
    pub fn is_due(&self) -> bool {
        self.wants_branch() || self.is_finished()
    }

    /// Another branch is to be begun.
    pub fn wants_branch(&self) -> bool {
        !self.is_exhausted() && self.waiting().count() < usize::from(self.terms.width)
    }

    /// The best answer is to be sent.
    ///
    /// §16.7 step 6: "A stateful proxy MUST send a final response to a response context's server transaction if no
    /// final responses have been immediately forwarded by the above rules and all client transactions in this response
    /// context have been terminated."
    pub fn is_finished(&self) -> bool {
        self.is_final || (self.is_exhausted() && self.waiting().next().is_none())
    }

    /// A branch was begun for the hop of this number.
    pub fn began(&mut self, number: u8, client: Handle) {
        if let Some(place) = self.waiting.get_mut(usize::from(number) % CANDIDATES) {
            *place = Some(client);
        }
    }

    /// A branch could not be sent; `true`: it was to leave over TCP for its size, and is tried once more over UDP.
    ///
    /// RFC 3261 §18.1.1: "if the attempt to establish the connection generates either an ICMP Protocol Not Supported, or
    /// results in a TCP reset, the element SHOULD retry the request, using UDP." A connection that is not made for another
    /// reason is no better.
    pub fn falls_back(&mut self, client: Handle) -> bool {
        let place = self.waiting.iter().position(|waiting| *waiting == Some(client));
        let hop = place.and_then(|place| Some((place, self.hops.get_mut(place)?.as_mut()?)));
        let Some((place, hop)) = hop.filter(|(_, hop)| hop.by_size && !self.is_over) else { return false };
        hop.by_size = false;
        self.over_udp |= 1 << place;
        self.leave(client);
        true
    }

    /// The branches whose final answer is waited for.
    pub fn waiting(&self) -> impl Iterator<Item = Handle> + use<> {
        self.waiting.into_iter().flatten()
    }

    /// The caller of another request than INVITE has given up after 64·T1 (§17.1.2.2, Timer F): what would be begun then
    /// would happen behind its back.
    pub const fn stop_by(&mut self, now: Now) {
        if !self.is_invite && now.0 >= self.began.0.saturating_add(SIXTY_FOUR_T1_NS) {
            self.stop();
        }
    }

    /// No other branch is begun.
    pub const fn stop(&mut self) {
        self.is_over = true;
    }

    /// A branch was refused with this status, 300 to 699; what is kept of the best answer so far is given back where it
    /// is replaced.
    ///
    /// §16.7 step 5: a 6xx "is not immediately forwarded, but the stateful proxy SHOULD cancel all client pending
    /// transactions […], and it MUST NOT create any new branches in this context."
    pub fn on_refusal(&mut self, client: Handle, status: u16) -> (Rank, Option<Stored>) {
        let goes_on = status < 600 && (self.terms.forks || self.terms.failover.contains(status));
        self.is_over |= !goes_on;
        // "A CANCEL request SHOULD NOT be sent to cancel a request other than INVITE" (§9.1): waiting would not end them.
        self.is_final |= status >= 600 && !self.is_invite;
        self.leave(client);
        self.rank(status, false)
    }

    /// A branch was silent (408) or could not be sent (503: "the proxy MUST behave as if the forwarded request received
    /// a 503", §16.9); none: it could not even be begun, or none of them is wanted any more (487). What is given back is as for [`Search::on_refusal`].
    pub fn on_loss(&mut self, client: Option<Handle>, status: u16) -> Option<Stored> {
        if let Some(client) = client {
            self.leave(client);
        }
        self.rank(status, true).1
    }

    /// A branch is no longer waited for.
    pub fn leave(&mut self, client: Handle) {
        for place in self.waiting.iter_mut().filter(|place| **place == Some(client)) {
            *place = None;
        }
    }

    /// Of equals the later one is better, unless it is none that was received.
    fn rank(&mut self, status: u16, is_loss: bool) -> (Rank, Option<Stored>) {
        match self.best.as_ref().map(|best| best.status) {
            Some(best) if is_challenge(best) && is_challenge(status) => (Rank::Challenge, None),
            Some(best) if self.order(best) < self.order(status) + u16::from(is_loss) => (Rank::Worse, None),
            _ => {
                let replaced = self.best.replace(Best { status, stored: None });
                (Rank::Best, replaced.and_then(|best| best.stored))
            }
        }
    }

    /// The order in which final answers are chosen, the best first.
    ///
    /// §16.7 step 6: "It MUST choose from the 6xx class responses if any exist in the context. If no 6xx class responses
    /// are present, the proxy SHOULD choose from the lowest response class stored in the response context. The proxy MAY
    /// select any response within that chosen class. The proxy SHOULD give preference to responses that provide
    /// information affecting resubmission of this request, such as 401, 407, 415, 420, and 484 if the 4xx class is
    /// chosen." 408 and 503 say least: somebody did not answer; and 408 is no answer to another request than
    /// INVITE (RFC 4320 §4.2).
    const fn order(&self, status: u16) -> u16 {
        if status == 408 && !self.is_invite {
            return u16::MAX - 1;
        }
        let class = if status >= 600 { 0 } else { status / 100 };
        let within = match status {
            401 | 407 => 0,
            415 | 420 | 484 => 1,
            408 | 503 => 3,
            _ => 2,
        };
        class * 4 + within
    }

    /// The best answer is kept in these bytes; gives back what was.
    pub fn keep_best(&mut self, stored: Option<Stored>) -> Option<Stored> {
        let best = self.best.as_mut()?;
        std::mem::replace(&mut best.stored, stored)
    }

    /// What is kept of the best answer.
    pub fn best(&self) -> Option<&Best> {
        self.best.as_ref()
    }

    /// The streams of all next hops.
    pub fn streams(&self) -> impl Iterator<Item = Number> {
        self.hops.iter().flatten().map(|hop| hop.stream)
    }

    /// All messages that are kept.
    pub fn into_stored(self) -> impl Iterator<Item = Stored> {
        [Some(self.request), Some(self.trying), self.best.and_then(|best| best.stored)].into_iter().flatten()
    }
}

/// §16.7 step 7: "If the selected response is a 401 (Unauthorized) or 407 (Proxy Authentication Required)".
pub(super) const fn is_challenge(status: u16) -> bool {
    matches!(status, 401 | 407)
}
