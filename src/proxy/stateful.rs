//! Where stateless and stateful forwarding part: what belongs to a transaction, and what is kept of a request that
//! goes on. The state itself is [`crate::transaction`]'s.

use std::net::SocketAddr;

use sip_parser::{HeaderName, Message, Via};

use crate::drop_reason::DropReason;
use crate::group::Report;
use crate::net::Now;
use crate::overload::Standing;
use crate::snapshot::Snapshot;
use crate::token::{self, TO_TAG_LEN, ToTag, TransactionKey, owner_of_call};
use crate::transaction::{
    Arrived, Attempt, Beginning, Due, Handle, Heard, Opening, Place, SIXTY_FOUR_T1_NS, Send, SendFailure,
    Terms, Transactions, What,
};

use super::admit;
use super::answer::{self, Asker};
use super::branches::{self, Branch, Tools};
use super::breadth::Share;
use super::decide::{Decided, Going, Stop};
use super::forward;
use super::groups;
use super::outcome::{Outcome, Own};
use super::reply::Reply;
use super::state::{State, Work};
use super::validate::Request;
use super::via::response_to_source;

/// What becomes of a request because of the transactions there are; `Ok`: it is decided about.
///
/// Where any route is stateful, every request goes to the shard that its Call-ID names: only there is it known
/// whether it belongs to a transaction, and a BYE cannot overtake the ACK before it. What would belong to a shard that
/// has ended is kept by whichever receives it. The same goes for what comes by streams, wherever there are transactions: a
/// CANCEL may come by another stream than its INVITE, and so by another shard.
#[inline(always)]
pub(super) fn arrive(
    work: &mut Work,
    request: &Request<'_>,
    key: TransactionKey,
    now: Now,
) -> Result<(), Stop> {
    let is_kept_by_call = work.hands_over || request.incoming.stream.is_stream();
    if work.transactions.is_none() || !is_kept_by_call {
        return Ok(());
    }
    arrive_by_call(work, request, key, now)
}

#[inline(never)]
fn arrive_by_call(work: &mut Work, request: &Request<'_>, key: TransactionKey, now: Now) -> Result<(), Stop> {
    let Some(transactions) = &mut work.transactions else { return Ok(()) };
    let owner = owner_of_call(request.call_id, work.shards);
    if owner != work.number && !is_gone(&work.gone, owner) {
        return Err(Stop::HandOver(owner));
    }
    match transactions.on_request(key.0, request.method, now) {
        Arrived::New => Ok(()),
        Arrived::Absorbed => Err(Stop::Drop(DropReason::Absorbed)),
        Arrived::Cancels => Err(cancels(transactions, request, key)),
    }
}

#[cold]
fn cancels(transactions: &mut Transactions, request: &Request<'_>, key: TransactionKey) -> Stop {
    let message = request.message;
    let reasons = message.named_as(HeaderName::Other, b"Reason").map(|line| message.text(line.value));
    transactions.cancelled_because(key.0, reasons);
    Stop::Reply(Reply::Cancels)
}

/// That shard has ended, or never was.
fn is_gone(gone: &[bool], shard: u16) -> bool {
    gone.get(usize::from(shard)).copied().unwrap_or(true)
}

/// Keeps a request that goes on as `bytes` and is to be kept; none where no transactions are.
pub(super) fn open(
    work: &mut Work,
    snapshot: &Snapshot,
    going: &Going<'_, '_>,
    share: Option<Share>,
    bytes: &[u8],
    now: Now,
) -> Result<Option<Handle>, Stop> {
    let Some(transactions) = &mut work.transactions else { return Ok(None) };
    let Going { decided, aim, hops, .. } = going;
    let Decided { request, key, way, .. } = decided;
    let incoming = request.incoming;
    let back = response_to_source(snapshot, request.via, &incoming.from, incoming.stream);
    let back = back.unwrap_or(incoming.from);
    if !answer::may_go(snapshot, incoming.on, back, incoming.stream) {
        return Err(Stop::Drop(DropReason::ForbiddenResponseTarget));
    }
    let patience_ns = way.attempts.timeout_ns.unwrap_or(SIXTY_FOUR_T1_NS);
    let identity = |listener| snapshot.plan.listener(listener).identity;
    let (next_hop, sent, stream) = aim.sent();
    let opening = Opening {
        key: key.0,
        method: request.method,
        back: Place { listener: identity(incoming.on), address: back, stream: incoming.stream },
        onward: Place { listener: identity(sent.listener), address: next_hop.address, stream },
        gateway: aim.gateway,
        branch: branches::named(*key, 0),
        bytes,
        patience_ns,
        has_waited: work.again,
        search: (hops.len() > 1 || aim.by_size.is_some()).then(|| Beginning {
            own: branches::top_lines(bytes),
            hops,
            terms: terms(snapshot, going, share, patience_ns),
        }),
    };
    transactions.open(&opening, now).map(Some).map_err(|_| Stop::Reply(Reply::Full))
}

/// How the next hops of a request are gone through.
fn terms(snapshot: &Snapshot, going: &Going<'_, '_>, share: Option<Share>, patience_ns: u64) -> Terms {
    let Decided { request, pre, way, mark, .. } = going.decided;
    Terms {
        width: share.map_or(1, |share| share.width),
        forks: share.is_some(),
        failover: way.attempts.failover,
        patience_ns,
        record_route: going.record_route,
        sips: forward::is_sips(pre, pre.uri(request).scheme),
        signer: way.signer,
        mark: *mark,
        source: request.incoming.from,
        is_large: going.is_large,
        standing: match snapshot.plan.overload.limits.peers.has_oc() {
            true => admit::standing_onward(snapshot, going.decided),
            false => Standing::New,
        },
    }
}

/// Keeps the answer to a CANCEL.
pub(super) fn answered(
    work: &mut Work,
    snapshot: &Snapshot,
    asker: &Asker<'_>,
    outcome: &Outcome,
    now: Now,
    out: &[u8],
) {
    let (Some(Reply::Cancels), &Outcome::Answer { to, len, .. }) = (work.considered.reply, outcome) else {
        return;
    };
    let key = asker.transaction(work);
    if let Some(transactions) = &mut work.transactions {
        let listener = snapshot.plan.listener(asker.on).identity;
        let back = Place { listener, address: to, stream: asker.stream };
        transactions.cancel_answered(key.0, back, out.get(..len).unwrap_or_default(), now);
    }
}

/// A response that goes back.
pub(super) struct Answer {
    /// The server transaction that it answers; none: it is relayed statelessly.
    pub server: Option<Handle>,
    /// The status that it goes back with.
    pub status: u16,
    /// Whether it goes back now.
    pub kept: Kept,
}

/// Whether an answer goes back now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It does.
    No,
    /// It is the best one so far, and others are waited for.
    AsBest,
    /// Its challenges are added to those of the best one so far.
    ForItsChallenges,
}

/// Why a response does not go back from here.
pub(super) enum Stays {
    HandOver(u16),
    Drop(DropReason),
}

/// What becomes of a response with this branch of ours.
///
/// A process that keeps no transactions relays the answers to those that an earlier one kept.
pub(super) fn hear(
    work: &mut Work,
    snapshot: &Snapshot,
    message: &Message<'_>,
    branch: &token::Branch,
    status: u16,
    now: Now,
) -> Result<Answer, Stays> {
    let Some(transactions) = work.transactions.as_mut().filter(|_| branch.stateful) else {
        return Ok(Answer { server: None, status, kept: Kept::No });
    };
    if branch.owner != work.number {
        let is_there = !is_gone(&work.gone, branch.owner);
        return Err(if is_there {
            Stays::HandOver(branch.owner)
        } else {
            Stays::Drop(DropReason::StrayResponse)
        });
    }
    let cseq = message.cseq();
    let method = cseq.map_err(|_| Stays::Drop(DropReason::MalformedResponse))?.method;
    // The ACK needs it.
    if message.count(HeaderName::To) != 1 {
        return Err(Stays::Drop(DropReason::MalformedResponse));
    }
    let to = message.value(HeaderName::To);
    let heard = transactions.on_response(branch.transaction, method, status, to, now);
    if let Some(peer) = transactions.heard_from() {
        groups::note(snapshot, peer, groups::report_of(message, status));
    }
    match heard {
        Heard::Forward { server, status } => Ok(Answer { server: Some(server), status, kept: Kept::No }),
        Heard::Keep { server, status, adds } => {
            let kept = if adds { Kept::ForItsChallenges } else { Kept::AsBest };
            Ok(Answer { server: Some(server), status, kept })
        }
        Heard::Absorbed => Err(Stays::Drop(DropReason::Absorbed)),
        Heard::Stray => Err(Stays::Drop(DropReason::StrayResponse)),
    }
}

/// What becomes of a response without a Via below ours: it answers a CANCEL that was made here, or nothing.
pub(super) fn hear_for_us(
    work: &mut Work,
    snapshot: &Snapshot,
    message: &Message<'_>,
    status: u16,
    now: Now,
) -> Outcome {
    let cancels = message.cseq().is_ok_and(|cseq| cseq.method == b"CANCEL");
    let via = Via::parse(message.values(HeaderName::Via).next().and_then(Result::ok).map_or(&[], |v| v.text));
    let branch =
        via.ok().and_then(|via| token::Branch::unverified(via.branch()?)).filter(|b| b.stateful && cancels);
    match branch.map(|branch| hear(work, snapshot, message, &branch, status, now)) {
        Some(Err(Stays::HandOver(owner))) => Outcome::HandOver(owner),
        Some(Err(Stays::Drop(reason))) => Outcome::Drop(reason),
        Some(Ok(_)) | None => Outcome::Drop(DropReason::ResponseForUs),
    }
}

/// The shard that keeps the transaction of a request of ours, of which the beginning is known; `None`: none does, or it
/// is none of ours.
pub fn owner_of_quoted(quoted: &[u8]) -> Option<u16> {
    quoted_branch(quoted).map(|(branch, _)| branch.owner)
}

/// Our branch and the method of a request whose beginning is known. The topmost Via of what we send is ours, and
/// written in one form.
fn quoted_branch(quoted: &[u8]) -> Option<(token::Branch, &[u8])> {
    const VIA: &[u8] = b"\r\nVia: ";
    let method = quoted.get(..memchr::memchr(b' ', quoted)?)?;
    let value = quoted.get(memchr::memmem::find(quoted, VIA)? + VIA.len()..)?;
    let value = value.get(..memchr::memchr(b'\r', value)?)?;
    let branch = token::Branch::unverified(Via::parse(value).ok()?.branch()?)?;
    branch.stateful.then_some((branch, method))
}

impl State {
    /// [`State::next`] has something to do.
    pub fn is_due(&self, now: Now) -> bool {
        self.work.transactions.as_ref().is_some_and(|transactions| transactions.is_due(now))
    }

    /// When it will have.
    pub fn deadline(&self) -> Option<Now> {
        self.work.transactions.as_ref().and_then(|transactions| transactions.deadline())
    }

    /// Does what is due for transactions until there is a message to send, which is then in `out`.
    pub fn next(&mut self, snapshot: &Snapshot, now: Now, out: &mut [u8]) -> Option<Own> {
        let to_tag = |hash| {
            let mut tag = [0; TO_TAG_LEN];
            ToTag::write(&snapshot.keys, TransactionKey(hash), &mut tag);
            tag
        };
        while let Some(due) = self.work.transactions.as_mut()?.next(now, &to_tag, out) {
            let own = match due {
                Due::Send(send) => self.send(snapshot, &send),
                Due::Silent(peer) => {
                    groups::note(snapshot, peer, Report::Failed);
                    None
                }
                Due::Attempt(attempt) => self.attempt(snapshot, &attempt, now, out),
            };
            if own.is_some() {
                return own;
            }
        }
        None
    }

    /// What a transaction sends, if there is a socket for it: from one whose address the host has not, the kernel might
    /// send under another host's name.
    fn send(&mut self, snapshot: &Snapshot, send: &Send) -> Option<Own> {
        let transactions = self.work.transactions.as_mut()?;
        let Send { what, place: Place { listener, address, stream }, len, request } = *send;
        match snapshot.view.by_identity(listener).filter(|&on| snapshot.view.is_up(on)) {
            Some(on) => {
                transactions.sent(what);
                Some(Own { what, gateway: None, on, to: address, stream, len, transaction: request })
            }
            None => {
                request.into_iter().for_each(|request| transactions.failed(request, SendFailure::Other));
                None
            }
        }
    }

    /// Begins another branch of a request, of which `out` holds what all next hops get alike.
    fn attempt(&mut self, snapshot: &Snapshot, attempt: &Attempt, now: Now, out: &mut [u8]) -> Option<Own> {
        let Self { lines, recent, candidates, servers, throttles, work, kept, .. } = self;
        let kept = kept.get_mut(..attempt.len)?;
        kept.copy_from_slice(out.get(..attempt.len)?);
        let tools = Tools { snapshot, lines, recent, candidates, servers, throttles, work, now };
        let written = branches::write(tools, attempt, kept, out);
        let transactions = work.transactions.as_mut()?;
        let Some(Branch { on, place, named, len }) = written else {
            transactions.cannot_begin(attempt);
            return None;
        };
        let begun = transactions.begin(attempt, place, named, out.get(..len)?, now)?;
        transactions.sent(What::Branch);
        let gateway = attempt.onward.gateway;
        let Place { address: to, stream, .. } = place;
        Some(Own { what: What::Branch, gateway, on, to, stream, len, transaction: Some(begun) })
    }

    /// ICMP says that a request did not reach `to`; `quoted`: as much of it as is known (RFC 3261 §18.4). Who made that
    /// up would have to know our branch. Gives whether a request waited for that.
    pub fn unreached(&mut self, to: SocketAddr, quoted: &[u8]) -> bool {
        let (Some(transactions), Some((branch, method))) =
            (&mut self.work.transactions, quoted_branch(quoted))
        else {
            return false;
        };
        transactions.unreached(branch.transaction, method, to)
    }

    /// A request has left by a connection with this peer, which has ended.
    pub fn lost(&mut self, transaction: Handle, peer: SocketAddr, why: SendFailure) {
        if let Some(transactions) = &mut self.work.transactions {
            transactions.lost(transaction, peer, why);
        }
    }

    /// A request could not be sent.
    pub fn send_failed(&mut self, transaction: Handle, why: SendFailure) {
        if let Some(transactions) = &mut self.work.transactions {
            transactions.failed(transaction, why);
        }
    }
}
