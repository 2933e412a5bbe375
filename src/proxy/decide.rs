//! One request's decision: what it is, whether it may pass, and which way it goes. Control flow of all
//! stages is here; each stage is a module.

use sip_parser::{HeaderName, Message, RequestValues};

use crate::drop_reason::DropReason;
use crate::limits::{MESSAGE_BYTES, datagram_bytes};
use crate::net::{Now, Transport};
use crate::rules::{Action, Attempts, EgressChoice, Mode, RuleId, Set};
use crate::snapshot::Snapshot;
use crate::token::{KeyId, LoopMark, ToTag, TransactionKey, Verified};
use crate::transaction::{Handle, Onward};

use super::admit;
use super::aim::Aim;
use super::breadth::Share;
use super::forward;
use super::loops::{self, Inputted};
use super::matching::first_match;
use super::method::Method;
use super::outcome::Incoming;
use super::pinned;
use super::preprocess::Preprocessed;
use super::reply::Reply;
use super::service::emergency;
use super::set;
use super::state::Work;
use super::stateful;
use super::target::{By, NOWHERE, Search};
use super::validate::{self, Request};

/// A request that goes on.
pub(super) struct Going<'r, 'm> {
    /// What was decided about it.
    pub decided: &'r Decided<'r, 'm>,
    pub aim: &'r Aim,
    pub record_route: bool,
    /// What the rule, or the dialog's first request, wants; ACK and CANCEL are stateless, unless they belong to
    /// a transaction.
    pub mode: Mode,
    /// The requests of a dialog that it begins are to be kept, too.
    pub stateful_dialog: bool,
    /// Its Max-Breadth; none: as it came.
    pub breadth: Option<u8>,
    /// All next hops, where there are several and a transaction is kept.
    pub hops: &'r [Onward],
    /// It is too large for UDP.
    pub is_large: bool,
}

/// What is known of a request whose [`Search::aim`] was found.
#[derive(Clone, Copy)]
pub(super) struct Way<'s> {
    pub rule: Option<RuleId>,
    /// What the rule changes; the Request-URI is changed already.
    pub set: Option<&'s Set>,
    /// Signs what is written into it.
    pub signer: KeyId,
    /// Record-Route is wanted, if the request can form a dialog.
    pub records: bool,
    /// What the rule, or the dialog's first request, wants.
    pub mode: Mode,
    /// How several next hops are tried.
    pub attempts: &'s Attempts,
    /// The rule's.
    pub egress: Option<&'s EgressChoice>,
}

/// A request whose way was found.
pub(super) struct Decided<'r, 'm> {
    pub request: &'r Request<'m>,
    pub pre: &'r Preprocessed<'m>,
    pub key: TransactionKey,
    pub mark: LoopMark,
    pub way: Way<'r>,
    /// Where the decision is remembered; none: it was.
    pin: Option<&'r TransactionKey>,
}

impl<'m> Decided<'_, 'm> {
    /// It is within a dialog that somebody has let in: see [`super::matching::proves_dialog`].
    pub fn is_proven(&self) -> bool {
        self.request.to_tag.is_some() && (self.pre.dialog.is_some() || !self.way.records)
    }

    /// What goes on, and its share where it is forked.
    #[inline(always)]
    fn going<'g>(
        &'g self,
        search: &'g Search<'_>,
        is_large: bool,
    ) -> Result<(Going<'g, 'm>, Option<Share>), Stop> {
        let Self { request, way, .. } = self;
        let aim = search.aim.as_ref().ok_or(NOWHERE)?;
        let hops = search.candidates.hops();
        let forks = hops.len() > 1 && way.attempts.forks;
        let share = if forks { Some(Share::of(request.message, hops.len())?) } else { None };
        let going = Going {
            decided: self,
            aim,
            record_route: way.records && request.kind.forms_dialog(request.to_tag.is_some()),
            mode: if is_kept(request, way.mode, aim) { Mode::Stateful } else { Mode::Stateless },
            stateful_dialog: keeps(request, way.mode),
            breadth: share.map(|share| share.each),
            hops,
            is_large,
        };
        Ok((going, share))
    }

    /// What chose its listener.
    fn by(&self) -> By<'_> {
        self.pre.dialog.as_ref().map_or(By::Rule(self.way.egress), By::Dialog)
    }

    /// It may turn out to be too large: it was not decided about before, and has a transaction that can go back to UDP.
    fn may_be_large(&self) -> bool {
        self.pin.is_some() && !self.request.kind.follows_invite()
    }
}

/// A request that does not.
pub(super) enum Stop {
    Reply(Reply),
    Drop(DropReason),
    HandOver(u16),
}

impl<R: Into<Reply>> From<R> for Stop {
    fn from(reply: R) -> Self {
        Self::Reply(reply.into())
    }
}

/// A request that was written.
pub(super) struct Written<'s> {
    pub aim: &'s Aim,
    pub rule: Option<RuleId>,
    pub record_route: bool,
    /// Whether a transaction is kept of it.
    pub mode: Mode,
    /// In bytes.
    pub len: usize,
    /// The client transaction that is.
    pub transaction: Option<Handle>,
}

/// Decides about a request and writes what goes on.
pub(super) fn forward<'s>(
    work: &mut Work,
    search: &'s mut Search<'_>,
    message: &Message<'_>,
    incoming: &Incoming<'_>,
    now: Now,
    out: &mut [u8],
) -> Result<Written<'s>, Stop> {
    let line = validate::request_line(message, incoming)?;
    // They stay where they are read.
    let mut values = RequestValues::unread();
    message.request_via(&mut values);
    let early = early_key(work, &values);
    message.request_values(line, &mut values);
    let request = Request::of(message, incoming, line, &values)?;
    let key = early.unwrap_or_else(|| late_key(work, &request));
    forward_sound(work, search, &request, key, now, out)
}

/// The key of its transaction, known before anything else is, so that what is remembered of it is there when it is asked for. That
/// is in vain for what is refused or handed over.
#[inline(always)]
fn early_key(work: &Work, values: &RequestValues<'_>) -> Option<TransactionKey> {
    let transaction = validate::modern_transaction(values.via.as_ref()?, values.branch?)?;
    let key = TransactionKey::new(&work.secret, &transaction);
    work.pins.expect(key);
    Some(key)
}

/// The same of a client from before RFC 3261, where more than the Via tells it.
#[inline(never)]
fn late_key(work: &Work, request: &Request<'_>) -> TransactionKey {
    let key = TransactionKey::new(&work.secret, &request.old_transaction());
    work.pins.expect(key);
    key
}

/// [`forward`] of a request that is well-formed.
fn forward_sound<'s>(
    work: &mut Work,
    search: &'s mut Search<'_>,
    request: &Request<'_>,
    key: TransactionKey,
    now: Now,
    out: &mut [u8],
) -> Result<Written<'s>, Stop> {
    let snapshot = search.snapshot;
    stateful::arrive(work, request, key, now)?;
    // RFC 3261 §8.2.7: "A stateless UAS MUST ignore ACK requests." The ACK to an answer of ours carries
    // our To tag for this very transaction.
    if request.is_ack() && request.to_tag.is_some_and(|tag| ToTag::verify(&snapshot.keys, key, tag)) {
        return Err(Stop::Drop(DropReason::AckAbsorbed));
    }
    let mut pre = Preprocessed::default();
    pre.read(snapshot, request)?;
    work.considered.dialog = pre.dialog.as_ref().map(Verified::egress);
    work.counted.bad_tokens += pre.bad_tokens;
    let inputs = loops::inputs(&work.secret, snapshot, request);
    may_pass(work, snapshot, request, &pre, &inputs)?;

    search.sips = forward::is_sips(&pre, pre.uri(request).scheme);
    search.asked.question.flow = key.low();
    search.draw = key.high();
    let pin_key = key.bound_to(inputs.transaction);
    let mut pinned = pinned::way(work, search, pin_key, now);
    if now < work.bound_otherwise_until && matches!(pinned, Ok(None)) {
        pinned = pinned::way_otherwise(work, search, request, key, now);
    }
    let found = match pinned {
        Ok(Some((way, false))) => Ok(way),
        Ok(Some((way, true))) => change_again(work, search, request, &mut pre, &inputs, way),
        Ok(None) => find(work, search, request, &mut pre, &inputs, now),
        Err(wait) => Err(wait.into()),
    };
    work.note_names(&search.named);
    work.counted.spared += search.spared;
    let pin = if let Ok(None) = pinned { Some(&pin_key) } else { None };
    let decided = Decided { request, pre: &pre, key, mark: inputs.mark, way: found?, pin };
    send_on(work, search, &decided, now, out)
}

/// Writes a request whose way was found, and keeps what is to be kept of it.
#[inline(always)]
fn send_on<'s>(
    work: &mut Work,
    search: &'s mut Search<'_>,
    decided: &Decided<'_, '_>,
    now: Now,
    out: &mut [u8],
) -> Result<Written<'s>, Stop> {
    let snapshot = search.snapshot;
    let mut is_large = false;
    loop {
        let (going, share) = decided.going(search, is_large)?;
        let len = forward::write(work, snapshot, &going, out).map_err(|_| Reply::TooLarge)?;
        // How large it is, is known once it is written.
        if !is_large && search.is_large(len) && decided.may_be_large() {
            is_large = true;
            search.by_size(decided.by());
            continue;
        }
        let (mode, record_route, rule) = (going.mode, going.record_route, decided.way.rule);
        // A transaction that is kept needs no pin.
        if let (Some(key), Mode::Stateless) = (decided.pin, mode) {
            pinned::put(work, snapshot, &going, *key, now);
        }
        // What is no larger than the smallest datagram may go anywhere.
        if len > datagram_bytes(true) && len > most_bytes(going.aim) {
            return Err(Reply::TooLarge.into());
        }
        let transaction = match mode {
            Mode::Stateful => {
                let written = out.get(..len).unwrap_or_default();
                stateful::open(work, snapshot, &going, share, written, now)?
            }
            Mode::Stateless => None,
        };
        let aim = search.aim.as_ref().ok_or(NOWHERE)?;
        return Ok(Written { aim, rule, record_route, mode, len, transaction });
    }
}

/// What is left of RFC 3261 §16.3 once the syntax is sound.
fn may_pass(
    work: &mut Work,
    snapshot: &Snapshot,
    request: &Request<'_>,
    pre: &Preprocessed<'_>,
    inputs: &Inputted,
) -> Result<(), Stop> {
    if request.max_forwards == Some(0) {
        return Err(no_further(work, snapshot, request, pre, inputs));
    }
    if loops::has_looped(request, inputs.mark, &work.marks) {
        return Err(Reply::Loop.into());
    }
    // "If the request contains a Proxy-Require header field […] with one or more option-tags this element
    // does not understand, the element MUST return a 420 (Bad Extension) response." We understand none.
    // §8.2.2.3: "Require and Proxy-Require MUST NOT be used in a SIP CANCEL request, or in an ACK request
    // sent for a non-2xx response. These header fields MUST be ignored if they are present".
    let ignored = request.kind.follows_invite();
    if !ignored && request.message.first(HeaderName::ProxyRequire).is_some() {
        return Err(Reply::ProxyRequire.into());
    }
    Ok(())
}

/// What becomes of a request that may go no further.
///
/// "If the request contains a Max-Forwards header field with a field value of zero (0), the element MUST NOT forward the
/// request. If the request was for OPTIONS, the element MAY act as the final recipient and respond per Section 11. Otherwise,
/// the element MUST return a 483 (Too many hops) response." We are the final recipient of what names us, unless a rule
/// refuses it; and what a rule drops gets no answer this way, either.
#[cold]
#[inline(never)]
fn no_further(
    work: &mut Work,
    snapshot: &Snapshot,
    request: &Request<'_>,
    pre: &Preprocessed<'_>,
    inputs: &Inputted,
) -> Stop {
    let is_dialog = pre.dialog.is_some();
    let rule = if is_dialog { None } else { first_match(work, snapshot, request, pre, inputs) };
    work.considered.rule = rule;
    let is_ours = request.kind == Method::Options && pre.is_for_us(snapshot, request);
    match snapshot.plan.rule(rule).map(|rule| &rule.action) {
        Some(Action::Drop) => Stop::Drop(DropReason::Rule),
        Some(Action::Reject(status)) if is_ours => Reply::Rejected(*status).into(),
        _ if is_ours => Reply::Options.into(),
        _ => Reply::TooManyHops.into(),
    }
}

/// The way by the dialog's token, else by the first rule that matches.
fn find<'s: 'm, 'm>(
    work: &mut Work,
    search: &mut Search<'s>,
    request: &Request<'m>,
    pre: &mut Preprocessed<'m>,
    inputs: &Inputted,
    now: Now,
) -> Result<Way<'s>, Stop> {
    let (snapshot, signer) = (search.snapshot, search.snapshot.keys.signer());
    admit::by_wait(work, snapshot, request, pre, inputs, now)?;
    if !search.throttles.is_quiet(now) {
        search.weight = Some(admit::weight(work, snapshot, request, pre, inputs, now));
    }
    if let Some(dialog) = &pre.dialog {
        search.by_message(By::Dialog(dialog), request, pre)?;
        work.counted.egress_moved += u64::from(search.aim.as_ref().is_some_and(Aim::left_dialog));
        let mode = if dialog.token.stateful { Mode::Stateful } else { Mode::Stateless };
        if search.has_more() && search.aim.as_ref().is_some_and(|aim| is_kept(request, mode, aim)) {
            search.go_through(By::Dialog(dialog))?;
        }
        let attempts = &Attempts::DEFAULT;
        return Ok(Way { rule: None, set: None, signer, records: true, mode, attempts, egress: None });
    }
    let is_counted = admit::is_counted(work, snapshot, request, pre, inputs);
    if is_counted {
        admit::by_arrival(work, snapshot, request, now)?;
    }
    let rule = first_match(work, snapshot, request, pre, inputs);
    work.considered.rule = rule;
    let rule = snapshot.plan.rule(rule);
    let to_us = request.kind == Method::Options && pre.is_for_us(snapshot, request);
    let (id, to, egress, record_route, mode, attempts) = match rule.map(|rule| (rule.id, &rule.action)) {
        Some((_, Action::Reject(status))) => return Err(Reply::Rejected(*status).into()),
        Some((_, Action::Drop)) => return Err(Stop::Drop(DropReason::Rule)),
        // Nobody's phone rings at `sip:our.address`: that is how a peer asks whether we live.
        _ if to_us && pre.uri(request).user().is_none() => return Err(Reply::Options.into()),
        Some((id, Action::Forward { to, egress, record_route, mode, attempts })) => {
            (id, to, egress, *record_route, *mode, attempts)
        }
        None if pre.named_us && request.to_tag.is_some() => return Err(Reply::NoDialog.into()),
        None if emergency(pre.uri(request)).is_some() => return Err(Reply::NoService.into()),
        None => return Err(Reply::NoRule.into()),
    };
    if is_counted {
        admit::by_route(work, snapshot, request, id, now)?;
    }
    // Within a dialog the Request-URI is the remote target, and nobody's to change.
    let set = rule.and_then(|rule| rule.set.as_deref()).filter(|_| request.to_tag.is_none());
    if let Some(set) = set {
        change(work, search, set, request, pre)?;
    }
    let found = search.by_rule(to, egress.as_ref(), request, pre);
    work.counted.last_resorts += u64::from(search.last_resort);
    found?;
    if search.has_more() && search.aim.as_ref().is_some_and(|aim| is_kept(request, mode, aim)) {
        search.go_through(By::Rule(egress.as_ref()))?;
    }
    Ok(Way { rule: Some(id), set, signer, records: record_route, mode, attempts, egress: egress.as_ref() })
}

/// Whether a transaction is kept of the request, where its rule wants this.
fn is_kept(request: &Request<'_>, wanted: Mode, aim: &Aim) -> bool {
    keeps(request, wanted) || needs(request, aim)
}

/// The rule has a transaction kept of the request. An ACK has none, and a CANCEL that finds none goes on without.
fn keeps(request: &Request<'_>, mode: Mode) -> bool {
    mode == Mode::Stateful && !request.kind.follows_invite()
}

/// Whoever sent the request by a stream will not send it again, so that neither UDP nor a connection that breaks must lose it;
/// and its CANCEL may come by another stream, and has to leave with the same branch. A transaction is kept, whatever the rule
/// or the dialog says. Likewise for what leaves over TLS: whether the next hop is who it has to be is known later, and has to be
/// answered then; for what goes to a client by its connection, which may be gone; and for what leaves over TCP for its size.
fn needs(request: &Request<'_>, aim: &Aim) -> bool {
    let by_stream = request.incoming.stream.is_stream()
        || aim.next_hop.transport.is_secure()
        || aim.stream.get().is_some()
        || aim.by_size.is_some();
    by_stream && !request.kind.follows_invite()
}

/// The most that one message may have where this leads.
pub(super) fn most_bytes(aim: &Aim) -> usize {
    let is_datagram = aim.next_hop.transport == Transport::Udp && aim.by_size.is_none();
    if is_datagram { datagram_bytes(aim.next_hop.address.is_ipv4()) } else { MESSAGE_BYTES }
}

/// Changes the request as its rule says.
fn change<'s: 'm, 'm>(
    work: &mut Work,
    search: &mut Search<'s>,
    set: &Set,
    request: &Request<'m>,
    pre: &mut Preprocessed<'m>,
) -> Result<(), Reply> {
    set::apply(work, set, request, pre, search.rewritten.take().unwrap_or_default())
}

/// Changes a request of a transaction that was decided before as its rule changed the first one: what that said of
/// the Request-URI is not kept.
#[cold]
fn change_again<'s: 'm, 'm>(
    work: &mut Work,
    search: &mut Search<'s>,
    request: &Request<'m>,
    pre: &mut Preprocessed<'m>,
    inputs: &Inputted,
    way: Way<'s>,
) -> Result<Way<'s>, Stop> {
    let snapshot = search.snapshot;
    let rule = first_match(work, snapshot, request, pre, inputs);
    work.considered.rule = rule;
    let rule = snapshot.plan.rule(rule);
    let set = rule.and_then(|rule| rule.set.as_deref());
    if let Some(set) = set {
        change(work, search, set, request, pre)?;
    }
    Ok(Way { set, ..way })
}
