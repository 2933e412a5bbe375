//! RFC 3261 §16.7, §16.11 and §18.1.2: a response goes back to where its request came from, from the very
//! listener that the request came in on.

use std::net::{SocketAddr, SocketAddrV6};

use sip_parser::{HeaderName, Message, Span, Via};

use crate::drop_reason::DropReason;
use crate::net::{ListenerId, Now};
use crate::snapshot::Snapshot;
use crate::stream::Number;
use crate::token::Branch;

use super::answer;
use super::forward::{self, New};
use super::groups;
use super::oc::{self, Offer};
use super::outcome::Outcome;
use super::state::Work;
use super::stateful::{self, Kept, Stays};
use super::via::response_to;

/// Relays a response. "The proxy MUST NOT add to, modify, or remove the message body. Unless specified
/// otherwise, the proxy MUST NOT remove any other header field values."
pub(super) fn relay(
    work: &mut Work,
    snapshot: &Snapshot,
    message: &Message<'_>,
    status: u16,
    now: Now,
    out: &mut [u8],
) -> Outcome {
    let mut offer = None;
    work.edits.clear();
    let WayBack { on, to, stream, length, branch } = match way_back(work, snapshot, message, &mut offer) {
        Ok(way) => way,
        Err(DropReason::ForeignResponse) => return Outcome::Drop(groups::hear(snapshot, message, status)),
        Err(DropReason::ResponseForUs) => return stateful::hear_for_us(work, snapshot, message, status, now),
        Err(reason) => return Outcome::Drop(reason),
    };
    let answer = match stateful::hear(work, snapshot, message, &branch, status, now) {
        Ok(answer) => answer,
        Err(Stays::HandOver(owner)) => return Outcome::HandOver(owner),
        Err(Stays::Drop(reason)) => return Outcome::Drop(reason),
    };
    // §18.3: octets behind the body are discarded, in responses too.
    work.edits.frame(message.start_line().range().start..message.end());
    if answer.status != status {
        work.edits.replace(message.start_line().range(), New::Text(SERVER_ERROR));
    }
    let feedback = offer.as_ref().map(|offer| {
        offer.edit(&mut work.edits);
        work.admission.feedback(now)
    });
    let written = work.edits.apply(message.bytes(), out, |new, out| match new {
        New::Text(text) => out.put(text),
        New::Feedback => feedback.into_iter().for_each(|feedback| oc::put(out, feedback)),
        New::Lines => length.into_iter().for_each(|length| forward::put_content_length(out, length)),
        New::Marked | New::MaxForwards(_) | New::Breadth(_) | New::RequestUri | New::Set(..) => {}
    });
    let Ok(len) = written else { return Outcome::Drop(DropReason::TooLarge) };
    if let (Some(server), Some(transactions)) = (answer.server, &mut work.transactions) {
        let bytes = out.get(..len).unwrap_or_default();
        match answer.kept {
            Kept::No => transactions.forwarded(server, answer.status, bytes, now),
            Kept::AsBest | Kept::ForItsChallenges => {
                transactions.kept(server, answer.kept == Kept::ForItsChallenges, bytes);
                return Outcome::Drop(DropReason::Absorbed);
            }
        }
    }
    Outcome::Relay { on, to, stream, peer: branch.peer, len, status: answer.status }
}

/// What a 503 goes back as, where a transaction is kept (§16.7 step 6).
const SERVER_ERROR: &[u8] = b"SIP/2.0 500 Server Internal Error";

/// By which listener, and where to, and the branch that says so.
struct WayBack {
    on: ListenerId,
    to: SocketAddr,
    /// By which stream, while that is there.
    stream: Number,
    /// The Content-Length that it lacks and needs there.
    length: Option<usize>,
    branch: Branch,
}

/// Finds the way; the topmost Via is cut out. `offer`: what the neighbour offers that gets it.
fn way_back(
    work: &mut Work,
    snapshot: &Snapshot,
    message: &Message<'_>,
    offer: &mut Option<Offer>,
) -> Result<WayBack, DropReason> {
    let mut lines = message.all(HeaderName::Via);
    let line = lines.next().ok_or(DropReason::MalformedResponse)?;
    match &message.via(line.value) {
        // What is read to its end as one value has no other behind it.
        Ok(via) => {
            let next = lines.next().map(|line| line.value);
            way_back_by(work, snapshot, message, (via, line.line), next, offer)
        }
        Err(_) => way_back_by_list(work, snapshot, message, offer),
    }
}

/// The same where values share a line.
#[cold]
fn way_back_by_list(
    work: &mut Work,
    snapshot: &Snapshot,
    message: &Message<'_>,
    offer: &mut Option<Offer>,
) -> Result<WayBack, DropReason> {
    let mut vias = message.values(HeaderName::Via);
    let malformed = DropReason::MalformedResponse;
    let top = vias.next().ok_or(malformed)?.map_err(|_| malformed)?;
    let via = message.via(top.span).map_err(|_| malformed)?;
    let next = vias.next().map(|value| value.map_or(Span::default(), |value| value.span));
    way_back_by(work, snapshot, message, (&via, top.cut()), next, offer)
}

/// The second Via where it cannot be read as the only value of its line.
#[cold]
fn second_of_list<'m>(message: &Message<'m>) -> Result<Via<'m>, DropReason> {
    let second = message.values(HeaderName::Via).nth(1).and_then(Result::ok);
    second.and_then(|value| message.via(value.span).ok()).ok_or(DropReason::MalformedResponse)
}

/// The way by the topmost Via, of which it is said what to cut, and the one below it.
fn way_back_by(
    work: &mut Work,
    snapshot: &Snapshot,
    message: &Message<'_>,
    (via, cut): (&Via<'_>, Span),
    next: Option<Span>,
    offer: &mut Option<Offer>,
) -> Result<WayBack, DropReason> {
    // "If the value of the "sent-by" parameter in that header field value does not correspond to a value
    // that the client transport is configured to insert into requests, the response MUST be silently
    // discarded." The branch says it better: its MAC proves that we inserted the whole value, also when
    // what we advertise has changed since.
    let claim = via.branch().and_then(Branch::claim).ok_or(DropReason::ForeignResponse)?;
    check_form(message)?;
    // §16.7 step 3: "If no Via header field values remain in the response, the response was meant for this
    // element and MUST NOT be forwarded."
    let whole = message.via(next.ok_or(DropReason::ResponseForUs)?);
    let listed;
    let next = match &whole {
        Ok(next) => next,
        Err(_) => {
            listed = second_of_list(message)?;
            &listed
        }
    };
    let stream = Number::from_bits(claim.says.connection);
    let to = response_to(snapshot, next, stream).ok_or(DropReason::BadBranch)?;
    if !claim.is_true(&snapshot.keys, to) {
        work.counted.bad_tokens += 1;
        return Err(DropReason::BadBranch);
    }
    let branch = claim.says;
    let on = snapshot.view.by_identity(branch.ingress).filter(|&on| snapshot.view.is_up(on));
    let on = on.ok_or(DropReason::ListenerGone)?;
    if !answer::may_go(snapshot, on, to, stream) {
        return Err(DropReason::ForbiddenResponseTarget);
    }
    // "the proxy MUST remove that header field value from the response and forward the result to the
    // location indicated in the next Via header field value."
    work.edits.delete(cut.range());
    let overload = &snapshot.plan.overload;
    if overload.oc {
        *offer = Offer::of(message.bytes(), next);
    }
    if overload.oc || overload.limits.peers.has_oc() {
        let below = message.values(HeaderName::Via).skip(2);
        let below = below.filter_map(|via| message.via(via.ok()?.span).ok());
        oc::strip(message.bytes(), next, offer.is_some(), &mut work.edits);
        below.for_each(|via| oc::strip(message.bytes(), &via, false, &mut work.edits));
    }
    let length = stream.is_stream() && message.first(HeaderName::ContentLength).is_none();
    if length && let Some(line) = message.lines().first() {
        work.edits.insert(usize::from(line.line.start), New::Lines);
    }
    let length = length.then(|| message.body().len());
    Ok(WayBack { on, to: on_link(snapshot, on, to), stream, length, branch })
}

/// §18.3: "If the transport packet ends before the end of the message body, this is considered an error.
/// If the message is a response, it MUST be discarded."
fn check_form(message: &Message<'_>) -> Result<(), DropReason> {
    let sound = message.defect().is_none() && message.count(HeaderName::CSeq) == 1 && message.cseq().is_ok();
    if sound { Ok(()) } else { Err(DropReason::MalformedResponse) }
}

/// A link-local address in a Via cannot say its link; it is the one that the request came in on.
fn on_link(snapshot: &Snapshot, on: ListenerId, to: SocketAddr) -> SocketAddr {
    let SocketAddr::V6(v6) = to else { return to };
    if !v6.ip().is_unicast_link_local() {
        return to;
    }
    let link = match snapshot.plan.listener(on).bind {
        SocketAddr::V6(own) if own.scope_id() != 0 => own.scope_id(),
        _ => snapshot.view.home(on).unwrap_or(0),
    };
    SocketAddrV6::new(*v6.ip(), v6.port(), 0, link).into()
}
