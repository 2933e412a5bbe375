//! Whether there is room for a request: how long it has waited, and how many came before it.
//!
//! Asked of what is decided for the first time only. What came again, and what belongs to a transaction that is kept,
//! has been let in before.

use sip_parser::Uri;

use crate::drop_reason::DropReason;
use crate::net::{ListenerId, Now};
use crate::overload::{
    Answers, Excess, Excesses, Feedback, Kept, LimitId, Limiter, Load, Policy, Shares, Standing, Waits,
};
use crate::rules::RuleId;
use crate::snapshot::Snapshot;

use super::decide::{Decided, Stop};
use super::loops::Inputted;
use super::matching::proves_dialog;
use super::method::Method;
use super::preprocess::Preprocessed;
use super::reply::Reply;
use super::service::emergency;
use super::spare::Weight;
use super::state::Work;
use super::validate::Request;

/// How a message comes to be handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// From its socket.
    In,
    /// From another shard, in whose queue it waited.
    FromShard,
    /// It was handled before, waited for an answer, and is let in.
    Again,
}

/// What a shard knows of what it was asked for lately.
pub(super) struct Admission {
    pub waits: Waits,
    /// What of requests that are told at a glance comes in at all.
    pub shares: Shares,
    /// The request at hand was let in before.
    pub is_in: bool,
    /// It came in at a socket of this shard's.
    pub is_own: bool,
    /// It may be answered where it has waited too long.
    is_answered: bool,
    limiter: Limiter,
    /// What neighbours that take part are asked for.
    load: Load,
    refused: Excesses,
    /// What may be answered of that.
    answers: Answers,
    /// Of limiters that were before: those of earlier configurations.
    evicted: u64,
}

impl Admission {
    /// For one of so many shards, made so many seconds after 1970.
    pub fn new(policy: &Policy, shards: u16, epoch_s: u64) -> Self {
        Self {
            waits: Waits::new(policy.longest_wait_ns),
            shares: Shares::default(),
            is_in: false,
            is_own: false,
            is_answered: false,
            limiter: Limiter::new(&policy.limits, shards),
            load: Load::new(epoch_s),
            refused: [0; Excess::ALL.len()],
            answers: Answers::default(),
            evicted: 0,
        }
    }

    /// Begins with a message that came so.
    pub fn begin(&mut self, on: ListenerId, waited_ns: Option<u64>, came: Came, now: Now) {
        (self.is_in, self.is_own, self.is_answered) = (came == Came::Again, came == Came::In, false);
        match came {
            Came::FromShard => self.waits.take_over(on, waited_ns, now),
            Came::In | Came::Again => self.waits.observe(on, waited_ns, now),
        }
    }

    /// Which listeners are to keep another part of what their filters may drop, from now on.
    pub fn look(&mut self, now: Now, change: &mut dyn FnMut(ListenerId, Kept)) {
        let Self { shares, waits, .. } = self;
        shares.look(now, |on, kept| {
            waits.filter(on, kept != Kept::ALL);
            change(on, kept);
        });
    }

    /// No filter could be had there, whatever was wanted.
    pub fn keeps_all(&mut self, on: ListenerId) {
        self.shares.keeps_all(on);
        self.waits.filter(on, false);
    }

    /// There is no filter any more, and listeners may have other numbers.
    pub fn unfilter(&mut self) {
        self.shares = Shares::default();
        self.waits.unfilter();
    }

    /// A request that has waited too long may be answered; else it is to be dropped, and counted there.
    pub fn may_answer(&mut self, now: Now) -> bool {
        if !self.is_answered {
            self.is_answered = self.answers.take(now);
            if !self.is_answered {
                self.load.count(true, true, now);
            }
        }
        self.is_answered
    }

    /// Another configuration: limits begin anew. Filters end by [`Self::unfilter`].
    pub fn adopt(&mut self, policy: &Policy, shards: u16) {
        self.evicted += self.limiter.evicted();
        self.waits = Waits::new(policy.longest_wait_ns);
        self.limiter = Limiter::new(&policy.limits, shards);
    }

    /// Requests that were not let in.
    pub fn refused(&self) -> Excesses {
        self.refused
    }

    /// Counts a request that is not let in.
    pub fn refuse(&mut self, excess: Excess) {
        self.refused[excess as usize] += 1;
    }

    /// Sources that were forgotten before their time.
    pub fn evicted(&self) -> u64 {
        self.evicted + self.limiter.evicted()
    }

    /// What a neighbour that takes part in overload control is asked for now.
    pub fn feedback(&self, now: Now) -> Feedback {
        self.load.feedback(now)
    }

    /// More comes than can be handled, at some listener.
    pub fn is_overloaded(&self, now: Now) -> bool {
        self.waits.any_overloaded(now)
    }

    /// Counts a request against a limit, if there is one.
    fn pass(
        &mut self,
        limit: Option<LimitId>,
        excess: Excess,
        request: &Request<'_>,
        now: Now,
    ) -> Result<(), Reply> {
        let Some(limit) = limit.filter(|_| !self.is_in) else { return Ok(()) };
        self.limiter.pass(limit, request.incoming.from.ip(), now).map_err(|refused| {
            self.refuse(excess);
            Reply::Limited(refused)
        })
    }
}

/// Whether a request has not waited too long.
///
/// # Errors
/// 503, without Retry-After: RFC 7339 §5.10.2, "A SIP server that is in overload and has started to throttle incoming
/// traffic MUST reject some requests from non-participating clients with a 503 (Service Unavailable) response without
/// the Retry-After header." What is more than is answered is dropped (see [`super::shed`]).
#[inline]
pub(super) fn by_wait(
    work: &mut Work,
    snapshot: &Snapshot,
    request: &Request<'_>,
    pre: &Preprocessed<'_>,
    inputs: &Inputted,
    now: Now,
) -> Result<(), Stop> {
    let is_overloaded = work.admission.waits.here().is_overloaded();
    if work.admission.is_in || !is_overloaded && !snapshot.plan.overload.oc {
        return Ok(());
    }
    let excess = if is_overloaded { has_waited_too_long(work, snapshot, request, pre, inputs) } else { None };
    // What no glance could tell takes its part of the answers here.
    if excess.is_some() && !work.admission.may_answer(now) {
        return Err(Stop::Drop(DropReason::Overload));
    }
    work.admission.load.count(excess.is_some(), is_overloaded, now);
    let Some(excess) = excess else {
        if is_overloaded {
            work.admission.answers.let_in();
        }
        return Ok(());
    };
    work.admission.refuse(excess);
    Err(Reply::Overloaded.into())
}

#[cold]
fn has_waited_too_long(
    work: &mut Work,
    snapshot: &Snapshot,
    request: &Request<'_>,
    pre: &Preprocessed<'_>,
    inputs: &Inputted,
) -> Option<Excess> {
    let standing = standing(work, snapshot, request, pre, inputs);
    let excess = if standing == Standing::New { Excess::New } else { Excess::InDialog };
    work.admission.waits.here().refuses(standing).then_some(excess)
}

/// What a request would take part in. ACK and CANCEL go from hop to hop and often have no token: nothing is proven by
/// them, and nobody could be answered that they were refused.
#[cold]
fn standing(
    work: &mut Work,
    snapshot: &Snapshot,
    request: &Request<'_>,
    pre: &Preprocessed<'_>,
    inputs: &Inputted,
) -> Standing {
    rank(snapshot, request, pre, || proves_dialog(work, snapshot, request, pre, inputs))
}

/// The same, where it is known how to find out whether it is within a dialog.
fn rank(
    snapshot: &Snapshot,
    request: &Request<'_>,
    pre: &Preprocessed<'_>,
    proves_dialog: impl FnOnce() -> bool,
) -> Standing {
    if request.kind.follows_invite() || is_urgent(&snapshot.plan.overload, request, pre) {
        return Standing::Kept;
    }
    let ends_something = matches!(request.kind, Method::Bye | Method::Prack);
    match proves_dialog() {
        true if ends_something => Standing::Kept,
        true => Standing::InDialog,
        false => Standing::New,
    }
}

/// What a request counts for to a next hop that asks to be sent less.
#[cold]
pub(super) fn weight(
    work: &mut Work,
    snapshot: &Snapshot,
    request: &Request<'_>,
    pre: &Preprocessed<'_>,
    inputs: &Inputted,
    now: Now,
) -> Weight {
    let standing = standing(work, snapshot, request, pre, inputs);
    Weight { standing, is_bound: request.kind.follows_invite(), now, taken_by: None }
}

/// What a request that goes on counts for to the next hops that follow the first one: by what was proven when it was decided
/// about.
#[cold]
pub(super) fn standing_onward(snapshot: &Snapshot, decided: &Decided<'_, '_>) -> Standing {
    rank(snapshot, decided.request, decided.pre, || decided.is_proven())
}

/// It is an emergency call, or has a priority that is kept.
fn is_urgent(policy: &Policy, request: &Request<'_>, pre: &Preprocessed<'_>) -> bool {
    let is_emergency =
        |uri: &Uri<'_>| uri.user().or_else(|| emergency(uri)).is_some_and(|user| policy.is_emergency(user));
    // What a rule has made of the Request-URI makes no other call of it.
    if is_emergency(request.uri) || pre.replaced.as_ref().is_some_and(is_emergency) {
        return true;
    }
    let lines = request.message.named(b"Resource-Priority");
    let mut values = lines.flat_map(|line| request.message.values_in(line)).flatten();
    !policy.priorities.is_empty() && values.any(|value| policy.keeps_priority(value.text))
}

/// The request counts against limits: what ends or settles what has begun does not, nor what is within a dialog.
#[inline]
pub(super) fn is_counted(
    work: &mut Work,
    snapshot: &Snapshot,
    request: &Request<'_>,
    pre: &Preprocessed<'_>,
    inputs: &Inputted,
) -> bool {
    !snapshot.plan.overload.limits.is_empty()
        && !work.again
        && !request.kind.follows_invite()
        && !proves_dialog(work, snapshot, request, pre, inputs)
}

/// Counts a request against the limits of its listener and its peer.
///
/// # Errors
/// There have been too many.
#[inline]
pub(super) fn by_arrival(
    work: &mut Work,
    snapshot: &Snapshot,
    request: &Request<'_>,
    now: Now,
) -> Result<(), Reply> {
    let limits = &snapshot.plan.overload.limits;
    let section = snapshot.plan.listener(request.incoming.on).section;
    let admission = &mut work.admission;
    admission.pass(limits.of_listener(section), Excess::Listener, request, now)?;
    admission.pass(limits.of_peer(request.incoming.from.ip()), Excess::Peer, request, now)
}

/// Counts it against the limit of its route.
///
/// # Errors
/// There have been too many.
#[inline]
pub(super) fn by_route(
    work: &mut Work,
    snapshot: &Snapshot,
    request: &Request<'_>,
    rule: RuleId,
    now: Now,
) -> Result<(), Reply> {
    let limit = snapshot.plan.overload.limits.of_route(rule);
    work.admission.pass(limit, Excess::Route, request, now)
}
