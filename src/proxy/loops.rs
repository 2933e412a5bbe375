//! Loop detection (RFC 5393 §4.2): has this request been here before, in the same form?

use memchr::memmem::Finder;
use sip_parser::{HeaderLine, HeaderName, Via};

use crate::snapshot::Snapshot;
use crate::token::{BRANCH_LEN, Branch, Input, Inputs, LOOP_MARK_LEN, LoopMark, Parties, TransactionSecret};

use super::validate::Request;

/// `;vl=`: the Via parameter that holds the mark. It is no part of the branch: the branch of a CANCEL has
/// to be its INVITE's, and a CANCEL may lack a header that a rule reads.
pub(super) const PARAMETER: &[u8; 4] = b";vl=";

/// What finds [`PARAMETER`]; made once, because making it costs more than using it.
pub(super) fn finder() -> Finder<'static> {
    Finder::new(PARAMETER)
}

/// The inputs of a decision.
pub(super) struct Inputted {
    /// All but headers that rules name: the same for an INVITE, its CANCEL and the ACK for its non-2xx answer. What pins
    /// are bound to.
    pub transaction: u128,
    /// All, as it is written into our Via.
    pub mark: LoopMark,
    /// The request has some header that a rule reads.
    pub has_headers: bool,
}

/// Hashes everything that the decision about a request depends on.
///
/// RFC 5393 §4.2.1: "This second part MUST vary with any field used by the location service logic in
/// determining where to retarget or forward this request. […] Hence, the second part MUST depend at least
/// on the received Request-URI and any Route header field values used when processing the received
/// request." and "MUST NOT vary with the request method. CANCEL and non-200 ACK requests MUST have the
/// same": they count as INVITE. §4.2.4: "implementations SHOULD include at least one field in the input
/// to the hash that varies between different transactions […]. The Call-ID and CSeq fields would be good
/// inputs".
#[inline(always)]
pub(super) fn inputs(secret: &TransactionSecret, snapshot: &Snapshot, request: &Request<'_>) -> Inputted {
    let matcher = &snapshot.plan.matcher;
    if has_routes(request) || matcher.reads_parties() || !matcher.headers_read().is_empty() {
        return with_lines(secret, snapshot, request);
    }
    let hash = input(snapshot, request).hash(secret);
    Inputted { transaction: hash, mark: LoopMark::of(hash), has_headers: false }
}

/// What every decision depends on.
#[inline(always)]
fn input<'m>(snapshot: &Snapshot, request: &Request<'m>) -> Input<'m> {
    Input {
        source: request.incoming.from.ip(),
        ingress: snapshot.plan.listener(request.incoming.on).identity,
        cseq: request.cseq,
        method: request.method_of_rules(),
        request_uri: request.uri.text(),
        call_id: request.call_id,
    }
}

#[inline(always)]
fn has_routes(request: &Request<'_>) -> bool {
    request.message.first(HeaderName::Route).is_some()
}

/// The same with who calls whom and the lines that matter, where one of them may.
#[inline(never)]
fn with_lines(secret: &TransactionSecret, snapshot: &Snapshot, request: &Request<'_>) -> Inputted {
    let (message, matcher) = (request.message, &snapshot.plan.matcher);
    let parties = matcher.reads_parties();
    let mut inputs = (has_routes(request) || parties).then(|| begun(secret, snapshot, request, parties));
    let transaction = inputs.as_ref().map_or_else(|| input(snapshot, request).hash(secret), Inputs::hash);
    let mut has_headers = false;
    for header in matcher.headers_read() {
        let mut lines = message.named_as(header.known, header.name.as_bytes()).peekable();
        if lines.peek().is_some() {
            has_headers = true;
            let inputs = inputs.get_or_insert_with(|| begun(secret, snapshot, request, parties));
            inputs.add(lines.map(|line| message.text(line.value)));
        }
    }
    let mark = LoopMark::of(inputs.map_or(transaction, |inputs| inputs.hash()));
    Inputted { transaction, mark, has_headers }
}

/// All but the headers that rules name: with From and To if they count, and the Routes.
fn begun<'s>(
    secret: &'s TransactionSecret,
    snapshot: &Snapshot,
    request: &Request<'_>,
    with_parties: bool,
) -> Inputs<'s> {
    let message = request.message;
    let routes = message.all(HeaderName::Route).map(|line| message.text(line.value));
    // A token of ours in Route is for one dialog.
    let mut parties = Parties { from_tag: request.from_tag, ..Parties::default() };
    if with_parties {
        (parties.from, parties.to) = (request.from.uri.text(), request.to.uri.text());
    }
    Inputs::new(secret, &input(snapshot, request), &parties, routes)
}

/// [`Inputted::transaction`] as it was while rules read From and To, where they read neither now, or the other way about.
#[cold]
#[inline(never)]
pub(super) fn transaction_otherwise(
    secret: &TransactionSecret,
    snapshot: &Snapshot,
    request: &Request<'_>,
) -> u128 {
    let parties = !snapshot.plan.matcher.reads_parties();
    match has_routes(request) || parties {
        true => begun(secret, snapshot, request, parties).hash(),
        false => input(snapshot, request).hash(secret),
    }
}

/// Whether one of our Vias in the request holds the mark of these very inputs.
///
/// RFC 5393 §4.2.2: "Each Via header field value in the request whose sent-by value matches a value placed
/// into previous requests by this proxy MUST be inspected for the "second part" […]. If these values are
/// equal, the request has looped and the proxy MUST reject the request with a 482 (Loop Detected)
/// response. If the values differ, the request is spiraling and processing continues to the next step."
/// A Via of ours is known by its branch and by the mark, which nobody else can make.
#[inline(always)]
pub(super) fn has_looped(request: &Request<'_>, mark: LoopMark, finder: &Finder<'_>) -> bool {
    // Branch and mark of ours do not fit into the Vias of most clients.
    let may_hold = |line: &HeaderLine| line.value.len() >= BRANCH_LEN + PARAMETER.len() + LOOP_MARK_LEN;
    request.message.all(HeaderName::Via).any(may_hold) && has_mark(request, mark, finder)
}

#[inline(never)]
fn has_mark(request: &Request<'_>, mark: LoopMark, finder: &Finder<'_>) -> bool {
    let message = request.message;
    let mut lines = message.all(HeaderName::Via);
    lines.any(|line| holds(message.text(line.value), mark, finder)) && ours(request, &mark.text())
}

/// The mark stands somewhere in the text.
fn holds(text: &[u8], mark: LoopMark, finder: &Finder<'_>) -> bool {
    let mark = mark.text();
    let behind = |at: usize| text.get(at + PARAMETER.len()..);
    finder.find_iter(text).any(|at| behind(at).is_some_and(|rest| rest.starts_with(&mark)))
}

/// The slow half: only where the mark was seen.
fn ours(request: &Request<'_>, mark: &[u8; LOOP_MARK_LEN]) -> bool {
    let name = &PARAMETER[1..PARAMETER.len() - 1];
    request.message.values(HeaderName::Via).map_while(Result::ok).any(|value| {
        Via::parse(value.text).is_ok_and(|via| {
            via.params().value(name) == Some(mark)
                && via.branch().is_some_and(|branch| Branch::owner_named(branch).is_some())
        })
    })
}
