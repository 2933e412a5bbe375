//! RFC 3261 §16, stateless (§16.11) or over transactions: validate, preprocess, target, forward, respond.
//!
//! Pure: bytes, addresses, a snapshot and `now` go in; an [`Outcome`] and the bytes to send come out.
//!
//! ```text
//!  sheds                        more comes than can be handled: does it go at a glance?
//!  handle ─┬─ response ── respond    §16.7   by its branch; stateful: is there a transaction? ► Relay
//!          └─ request ─── validate   §16.3   is it well-formed, may it pass?
//!                         stateful   §17.2   has its transaction been here before?
//!                         preprocess §16.4   Route and Request-URI: what is ours goes
//!                         loops      §16.3   has it been here before?
//!                         admit              is there room for it?
//!                         decide     §16.5   pin, dialog or rule
//!                         pinned     §16.11  was its transaction decided about before?
//!                         candidates §16.5   next hops, in order
//!                         target     §16.6   next hop, listener
//!                         says       §16.6   next hops that the message itself names
//!                         spare              does it ask to be sent less?
//!                         size       §18.1.1 too large for UDP?
//!                         forward    §16.6   the edits ───────────────────► Forward
//!                         usual              the same where there are no others than in most
//!                         stateful   §17.1   keep what goes on
//!                         branches   §16.6   later: the request to the next hop that follows
//!                         answer     §8.2.6  where any of them refuses ───► Answer
//! ```
#![forbid(unsafe_code)]

mod admit;
mod aim;
mod answer;
mod branches;
mod breadth;
mod candidates;
mod decide;
mod flows;
mod forbidden;
mod forward;
mod groups;
mod lines;
mod loops;
mod matching;
mod method;
mod names;
mod oc;
mod outcome;
mod pinned;
mod place;
mod preprocess;
mod reply;
mod respond;
mod says;
mod servers;
mod service;
mod set;
mod shed;
mod size;
mod spare;
mod state;
mod stateful;
mod target;
mod tops;
mod usual;
mod validate;
mod via;

pub use admit::Came;
pub use answer::may_answer_to;
pub use candidates::{Candidate, Origin};
pub use forbidden::Forbidden;
pub use groups::egress_of;
pub use outcome::{Considered, Decision, Incoming, NameCounts, Outcome, Own, Tally};
pub use reply::Reply;
pub use state::State;
pub use stateful::owner_of_quoted;
pub use validate::Flaw;
pub use via::{name_of_client, response_to};

use sip_parser::{Error, Message, Rule, Start, parse};

use crate::drop_reason::DropReason;
use crate::net::Now;
use crate::overload::Excess;
use crate::snapshot::Snapshot;

use aim::Aim;
use answer::Asker;
use decide::{Stop, Written};
use names::Named;
use state::Work;
use target::Search;

/// Handles one message. Allocates nothing.
pub fn handle(
    state: &mut State,
    snapshot: &Snapshot,
    incoming: &Incoming<'_>,
    now: Now,
    out: &mut [u8],
) -> Outcome {
    let State { lines, recent, asked, candidates, rewritten, servers, throttles, work, .. } = state;
    candidates.clear();
    asked.is_asked = false;
    work.considered = Considered::default();
    work.nowhere = None;
    // RFC 5626 §3.5.1 knows the double CRLF for streams only; over UDP, too, such datagrams keep a
    // binding in a NAT alive and want no answer. Some clients send NULs.
    if incoming.bytes.iter().all(|b| matches!(b, b'\r' | b'\n' | b' ' | 0)) {
        return Outcome::Drop(DropReason::KeepAlive);
    }
    let mut parsed = Message::unread(incoming.bytes);
    let message = match incoming.read() {
        Some(message) => message,
        None => match parsed.read(lines) {
            Ok(()) => &parsed,
            Err(Error { rule: Rule::MessageTooLarge, .. }) => return Outcome::Drop(DropReason::TooLarge),
            Err(_) => return Outcome::Drop(DropReason::NotSip),
        },
    };
    match message.start() {
        // What was cut at the end of its headers has lost its body.
        Start::Response(_) if incoming.broken.is_some() => Outcome::Drop(DropReason::MalformedResponse),
        Start::Response(status) => {
            let outcome = respond::relay(work, snapshot, message, status.code, now, out);
            // Who it is handed over to hears it.
            if !matches!(outcome, Outcome::HandOver(_)) {
                work.counted.pleas += u64::from(oc::hear(throttles, snapshot, message, incoming, now));
            }
            outcome
        }
        Start::BadResponse(_) => Outcome::Drop(DropReason::MalformedResponse),
        Start::Request(_) | Start::BadRequest(..) => {
            asked.question.ingress = incoming.on;
            let search = Search {
                snapshot,
                recent,
                candidates,
                asked,
                draw: 0,
                last_resort: false,
                named: Named { in_haste: work.in_haste, ..Named::default() },
                servers,
                sips: false,
                aim: None,
                nonce: work.nonce,
                client: None,
                rewritten: Some(rewritten),
                chosen: 0,
                throttles,
                weight: None,
                spared: 0,
            };
            on_request(work, search, message, incoming, now, out)
        }
    }
}

/// Answers a request for which there is no room, before anything is decided about it; anything else is dropped.
pub fn refuse(
    state: &mut State,
    snapshot: &Snapshot,
    incoming: &Incoming<'_>,
    now: Now,
    out: &mut [u8],
) -> Outcome {
    let State { lines, asked, work, .. } = state;
    asked.is_asked = false;
    work.considered = Considered::default();
    match parse(incoming.bytes, lines) {
        Ok(message) if matches!(message.start(), Start::Request(_) | Start::BadRequest(..)) => {
            answer::answer(work, snapshot, &Asker::of(&message, incoming), Reply::Full, now, out)
        }
        _ => Outcome::Drop(DropReason::NotHandedOver),
    }
}

fn on_request(
    work: &mut Work,
    mut search: Search<'_>,
    message: &Message<'_>,
    incoming: &Incoming<'_>,
    now: Now,
    out: &mut [u8],
) -> Outcome {
    let snapshot = search.snapshot;
    let stop = match decide::forward(work, &mut search, message, incoming, now, out) {
        Ok(Written { aim, rule, record_route, mode, len, transaction }) => {
            let &Aim { ref next_hop, egress, gateway, stream, by_size } = aim;
            if by_size.is_some() {
                let (next_hop, egress, stream) = aim.sent();
                let decision =
                    Decision { rule, next_hop, stream, by_size: true, gateway, egress, record_route, mode };
                return Outcome::Forward { decision, len, transaction };
            }
            let next_hop = *next_hop;
            let decision =
                Decision { rule, next_hop, stream, by_size: false, gateway, egress, record_route, mode };
            return Outcome::Forward { decision, len, transaction };
        }
        Err(stop) => stop,
    };
    search.give_back();
    let reply = match stop {
        Stop::Drop(reason) => return Outcome::Drop(reason),
        Stop::HandOver(owner) => return Outcome::HandOver(owner),
        Stop::Reply(reply) => reply,
    };
    if reply == Reply::Spared {
        work.admission.refuse(Excess::NextHop);
    }
    let asker = Asker::of(message, incoming);
    let outcome = answer::answer(work, snapshot, &asker, reply, now, out);
    stateful::answered(work, snapshot, &asker, &outcome, now, out);
    outcome
}

#[cfg(test)]
mod tests;
