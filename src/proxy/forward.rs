//! RFC 3261 §16.6: the edits that make the outgoing request of the received one.
//!
//! "The proxy MUST NOT add to, modify, or remove the message body"; "Fields not detailed in the
//! processing described below MUST NOT be removed"; "The proxy MUST NOT reorder field values with a
//! common field name": what no edit touches goes out byte for byte.

use std::ops::Range;

use sip_parser::{HeaderName, Message, Scheme, Start, Uri, Value};

use crate::plan::Listener;
use crate::rewrite::{Edits, Output, TooLarge};
use crate::rules::Mode;
use crate::snapshot::Snapshot;
use crate::swar::{any_eight, has_byte, lower};
use crate::token::Dialog;

use super::branches;
use super::breadth;
use super::decide::{Decided, Going};
use super::flows::Flows;
use super::lines::Top;
use super::outcome::Incoming;
use super::preprocess::Preprocessed;
use super::set::{self, Part};
use super::state::Work;
use super::tops::Tops;
use super::usual;
use super::validate::Request;
use super::via::{Mark, range_in, response_elsewhere};

/// What a request without Max-Forwards gets ("which SHOULD be 70").
const MAX_FORWARDS: u64 = 70;

/// A text that goes into the outgoing request.
#[derive(Clone, Copy)]
pub(super) enum New {
    /// What stands on top of all headers.
    Lines,
    /// What is noted in the topmost Via.
    Marked,
    MaxForwards(u8),
    /// What a neighbour is asked for (RFC 7339).
    Feedback,
    /// The Request-URI that a rule's `set` made.
    RequestUri,
    /// Of a rule's `set`: for which of its headers, and what.
    Set(u8, Part),
    Breadth(u8),
    Text(&'static [u8]),
}

/// What stands in the lines of ours besides what is known of the request.
pub(super) struct Ours<'a> {
    /// The shard that keeps the transaction.
    pub owner: u16,
    /// The mark of who sent the request by a stream.
    pub peer: u16,
    pub flows: Option<&'a Flows>,
}

impl Ours<'_> {
    /// Of a request without flows.
    #[inline(always)]
    pub fn of(work: &Work, going: &Going<'_, '_>) -> Self {
        let Incoming { from, stream, .. } = going.decided.request.incoming;
        // A transaction that is kept is kept here; of others it says the same whichever shard a retransmission reaches.
        let owner = if going.mode == Mode::Stateful { work.number } else { 0 };
        let peer = if stream.is_stream() { work.mark_of(*from, *stream) } else { 0 };
        Self { owner, peer, flows: None }
    }
}

/// Writes the outgoing request into `out`; gives its length.
#[inline(always)]
pub(super) fn write(
    work: &mut Work,
    snapshot: &Snapshot,
    going: &Going<'_, '_>,
    out: &mut [u8],
) -> Result<usize, TooLarge> {
    match usual::write(work, snapshot, going, out) {
        Some(len) => Ok(len),
        None => write_edited(work, snapshot, going, out),
    }
}

/// The same of any request: as it was received, but for a list of edits.
#[inline(never)]
fn write_edited(
    work: &mut Work,
    snapshot: &Snapshot,
    going: &Going<'_, '_>,
    out: &mut [u8],
) -> Result<usize, TooLarge> {
    let Decided { request, pre, way, .. } = going.decided;
    let message = request.message;
    let (Incoming { on, from, stream, .. }, aim) = (request.incoming, going.aim);
    let flows = Flows::of(work, message, (*stream, aim.stream), || {
        let [ingress, egress] = [*on, aim.egress.listener].map(|id| snapshot.plan.listener(id));
        [(ingress, from, *stream), (egress, &aim.next_hop.address, aim.stream)]
    });
    let ours = Ours { flows: flows.as_ref(), ..Ours::of(work, going) };
    let Work { edits, scratch, tops, .. } = work;
    let route = pre.next_route.as_ref();
    let strict = route.filter(|route| !route.uri.is_loose_router() && going.aim.is_at(snapshot, &route.uri));
    edits.clear();
    // §18.3: "If there are additional bytes in the transport packet beyond the end of the body, they MUST
    // be discarded." §7.5: CRLFs before the start line are ignored.
    edits.frame(message.start_line().range().start..message.end());
    // Before anything else that may stand there: further branches find what is ours on top.
    if let Some(top) = message.lines().first() {
        edits.insert(usize::from(top.line.start), New::Lines);
    }
    edit_routing(edits, request, pre, strict.map(|route| &route.uri));
    let mark = Mark::new(message.bytes(), request.via, &request.incoming.from);
    mark.edit(edits);
    edit_max_forwards(edits, message, request.max_forwards);
    if let Some(breadth) = going.breadth {
        edit_breadth(edits, message, breadth);
    }
    if let Some(set) = way.set {
        set::edit(edits, message, set, &scratch.captured);
    }
    let scheme = strict.map_or(pre.uri(request).scheme, |route| route.uri.scheme);
    edits.apply(message.bytes(), out, |new, out| match new {
        New::Lines => put_lines(out, tops, &ours, snapshot, going, scheme),
        New::Marked => mark.put_added(out),
        New::MaxForwards(value) | New::Breadth(value) => out.put_number(u64::from(value)),
        // In responses only.
        New::Feedback => {}
        New::RequestUri => out.put_text(pre.uri(request).text()),
        New::Set(number, part) => {
            if let Some(set) = way.set {
                set::put(out, set, &scratch.captured, number, part);
            }
        }
        New::Text(text) => out.put_text(text),
    })
}

/// Whether Record-Route has to be a SIPS URI: §16.6 step 4, "If the Request-URI contains a SIPS URI, or the topmost Route
/// header field value […] contains a SIPS URI, the URI placed into the Record-Route header field MUST be a SIPS URI."
/// `scheme` is that of the Request-URI.
pub(super) fn is_sips(pre: &Preprocessed<'_>, scheme: Scheme) -> bool {
    let route = pre.next_route.as_ref().map(|route| route.uri.scheme);
    scheme == Scheme::Sips || route == Some(Scheme::Sips)
}

/// Does something with what stands on top of the request, whose Request-URI has this scheme.
pub(super) fn with_top<R>(
    ours: &Ours<'_>,
    snapshot: &Snapshot,
    going: &Going<'_, '_>,
    scheme: Scheme,
    then: impl FnOnce(&Top<'_>) -> R,
) -> R {
    let Going { decided, aim, .. } = going;
    let Decided { request, pre, key, way, mark, .. } = decided;
    let source = &request.incoming.from;
    let egress = snapshot.plan.listener(aim.egress.listener);
    let Request { call_id, from_tag, .. } = **request;
    let back = response_elsewhere(snapshot, request.via, source, request.incoming.stream);
    then(&Top {
        ingress: snapshot.plan.listener(request.incoming.on),
        source,
        egress,
        sender: aim.sender(&snapshot.plan),
        next_hop: &aim.next_hop.address,
        record_route: going.record_route,
        sips: is_sips(pre, scheme),
        owner: ours.owner,
        stateful: going.mode == Mode::Stateful,
        stateful_dialog: going.stateful_dialog,
        dialog: Dialog { signer: way.signer, call_id, from_tag },
        response_to: back.as_ref().unwrap_or(source),
        stream: request.incoming.stream,
        peer: ours.peer,
        flows: ours.flows,
        transaction: branches::named(*key, 0),
        mark: *mark,
    })
}

/// Steps 3, 4, 8 and 9: what is new stands on top of all headers, so before the existing values.
fn put_lines(
    out: &mut Output<'_>,
    tops: &mut Tops,
    ours: &Ours<'_>,
    snapshot: &Snapshot,
    going: &Going<'_, '_>,
    scheme: Scheme,
) {
    let request = going.decided.request;
    let message = request.message;
    let lacks_content_length = with_top(ours, snapshot, going, scheme, |top| {
        top.put(out, snapshot, tops);
        lacks_content_length(going, top.sender)
    });
    // "If the copy does not contain a Max-Forwards header field, the proxy MUST add one with a field
    // value, which SHOULD be 70."
    if request.max_forwards.is_none() {
        out.put(b"Max-Forwards: ");
        out.put_number(MAX_FORWARDS);
        out.put(b"\r\n");
    }
    if let Some(value) = going.breadth
        && message.named_as(HeaderName::Other, breadth::NAME).next().is_none()
    {
        out.put(breadth::NAME);
        out.put(b": ");
        out.put_number(u64::from(value));
        out.put(b"\r\n");
    }
    if lacks_content_length {
        put_content_length(out, message.body().len());
    }
}

/// "If the request will be sent to the next hop using a stream-based transport and the copy contains no
/// Content-Length header field, the proxy MUST insert one with the correct value for the body".
#[inline(always)]
pub(super) fn lacks_content_length(going: &Going<'_, '_>, sender: &Listener) -> bool {
    going.decided.request.message.first(HeaderName::ContentLength).is_none()
        && going.may_leave_by_stream(sender.transport)
}

/// Writes the header that a stream needs.
pub(super) fn put_content_length(out: &mut Output<'_>, bytes: usize) {
    out.put(b"Content-Length: ");
    out.put_number(bytes as u64);
    out.put(b"\r\n");
}

/// Step 3: "If the copy contains a Max-Forwards header field, the proxy MUST decrement its value by one
/// (1)."
fn edit_max_forwards(edits: &mut Edits<New>, message: &Message<'_>, value: Option<u8>) {
    if let (Some(value), Some(line)) = (value, message.first(HeaderName::MaxForwards)) {
        edits.replace(line.value.range(), New::MaxForwards(value.saturating_sub(1)));
    }
}

/// RFC 5393 §5.3.3: "All proxied requests MUST contain a single Max-Breadth header field value." Where there is none, it
/// is written with the new lines.
fn edit_breadth(edits: &mut Edits<New>, message: &Message<'_>, breadth: u8) {
    if let Some(line) = message.named_as(HeaderName::Other, breadth::NAME).next() {
        edits.replace(line.value.range(), New::Breadth(breadth));
    }
}

/// Steps 2 and 6, and what §16.4 asked for: the Request-URI and the Route values.
///
/// Step 6: "If that URI does not contain an lr parameter, the proxy MUST modify the copy as follows: The
/// proxy MUST place the Request-URI into the Route header field as the last value. The proxy MUST then
/// place the first Route header field value into the Request-URI and remove that value from the Route
/// header field."
fn edit_routing(
    edits: &mut Edits<New>,
    request: &Request<'_>,
    pre: &Preprocessed<'_>,
    strict: Option<&Uri<'_>>,
) {
    let message = request.message;
    let Start::Request(line) = message.start() else { return };
    let (bytes, uri) = (message.bytes(), pre.uri(request));
    let mut kept = pre.kept.clone();
    if let Some(strict) = strict {
        kept.start += 1;
        put_uri(edits, bytes, line.uri.range(), strict, false);
    } else if pre.rewritten {
        edits.replace(line.uri.range(), New::RequestUri);
    } else if pre.replaced.is_some() {
        put_uri(edits, bytes, line.uri.range(), uri, pre.maddr_stripped);
    } else if pre.maddr_stripped || may_have_what_is_not_allowed(uri) {
        for part in not_in_request_uri(bytes, uri, pre.maddr_stripped).into_iter().flatten() {
            edits.delete(part);
        }
    }
    if message.first(HeaderName::Route).is_some() {
        let end = cut_routes(edits, message, &kept);
        if strict.is_some() {
            append_route(edits, request, pre, end);
        }
    }
}

/// Puts the Request-URI behind the Route value that ends at `end`, or into a line of its own.
fn append_route(edits: &mut Edits<New>, request: &Request<'_>, pre: &Preprocessed<'_>, end: Option<usize>) {
    let message = request.message;
    let top = message.first(HeaderName::Route).map(|line| usize::from(line.line.start));
    let Some(at) = end.or(top) else { return };
    let (before, behind) = if end.is_some() { (", <", ">") } else { ("Route: <", ">\r\n") };
    edits.insert(at, New::Text(before.as_bytes()));
    match pre.rewritten {
        true => edits.insert(at, New::RequestUri),
        false => put_uri(edits, message.bytes(), at..at, pre.uri(request), pre.maddr_stripped),
    }
    edits.insert(at, New::Text(behind.as_bytes()));
}

/// Cuts out all Route values but the kept ones, and lines that are left empty. Gives the end of the last
/// kept value.
fn cut_routes(edits: &mut Edits<New>, message: &Message<'_>, kept: &Range<usize>) -> Option<usize> {
    if kept.is_empty() {
        message.all(HeaderName::Route).for_each(|line| edits.delete(line.line.range()));
        return None;
    }
    let mut end = None;
    let mut line = LineCut::default();
    for (place, value) in message.values(HeaderName::Route).map_while(Result::ok).enumerate() {
        if value.is_first {
            line.finish(edits);
            line = LineCut::default();
        }
        if kept.contains(&place) {
            end = Some(usize::from(value.span.end));
        }
        line.add(&value, kept.contains(&place));
    }
    line.finish(edits);
    end
}

/// What is cut out of one Route line. Kept values follow each other without a gap.
#[derive(Default)]
struct LineCut {
    line: Range<usize>,
    first: Option<usize>,
    kept: Option<Range<usize>>,
    last: usize,
}

impl LineCut {
    fn add(&mut self, value: &Value<'_>, kept: bool) {
        let span = value.span.range();
        self.line = value.line.line.range();
        self.first.get_or_insert(span.start);
        self.last = span.end;
        if kept {
            self.kept = Some(self.kept.as_ref().map_or(span.start, |k| k.start)..span.end);
        }
    }

    fn finish(&self, edits: &mut Edits<New>) {
        match (&self.kept, self.first) {
            (None, Some(_)) => edits.delete(self.line.clone()),
            (Some(kept), Some(first)) => {
                for cut in [first..kept.start, kept.end..self.last] {
                    if !cut.is_empty() {
                        edits.delete(cut);
                    }
                }
            }
            (_, None) => {}
        }
    }
}

/// Writes a URI of the message as Request-URI (or as the Route that becomes one).
///
/// Step 2: "If the URI contains any parameters not allowed in a Request-URI, they MUST be removed."
fn put_uri(edits: &mut Edits<New>, bytes: &[u8], at: Range<usize>, uri: &Uri<'_>, without_maddr: bool) {
    let Some(text) = range_in(bytes, uri.text()) else { return };
    let mut cuts = not_in_request_uri(bytes, uri, without_maddr).map(|cut| cut.unwrap_or(text.end..text.end));
    cuts.sort_by_key(|cut| cut.start);
    let (mut place, mut begin) = (at.clone(), text.start);
    let tail = std::iter::once(text.end..text.end);
    for cut in cuts.into_iter().chain(tail) {
        if begin < cut.start {
            edits.replace_by_received(place.clone(), begin..cut.start);
            // What follows stands behind it.
            place = at.end..at.end;
        }
        begin = begin.max(cut.end);
    }
}

/// A Request-URI that was received may have parts that do not go into one; most have not, and are told by their letters.
#[inline]
pub(super) fn may_have_what_is_not_allowed(uri: &Uri<'_>) -> bool {
    let text = uri.params().text();
    let has_m = || any_eight(text, |eight| has_byte(lower(eight), b'm'));
    // `;method` has seven letters already.
    let may_be_method = || text != b";user=phone" && has_m().unwrap_or(text.len() >= b";method".len());
    uri.headers().is_some() || may_be_method()
}

/// The parts of a URI that do not go into a Request-URI: headers and `method` (§19.1.1, table 1); and, as
/// §16.4 asks for, "the maddr and any non-default port or transport parameter".
fn not_in_request_uri(bytes: &[u8], uri: &Uri<'_>, without_maddr: bool) -> [Option<Range<usize>>; 5] {
    let param = |name: &[u8]| uri.param(name).and_then(|p| range_in(bytes, p.with_semicolon));
    let headers = uri.headers().and_then(|headers| {
        let range = range_in(bytes, headers)?;
        Some(range.start.checked_sub(1)?..range.end)
    });
    if !without_maddr {
        return [headers, param(b"method"), None, None, None];
    }
    let default_port = super::preprocess::transport_of(uri).default_port();
    let port = uri.port().filter(|port| *port != default_port).and_then(|_| port_range(bytes, uri));
    let transport = param(b"transport");
    [headers, param(b"method"), param(b"maddr"), port, transport]
}

/// `:port`
pub(super) fn port_range(bytes: &[u8], uri: &Uri<'_>) -> Option<Range<usize>> {
    let start = range_in(bytes, uri.host_text())?.end;
    let rest = bytes.get(start..range_in(bytes, uri.text())?.end)?;
    let len = rest.iter().position(|c| matches!(c, b';' | b'?')).unwrap_or(rest.len());
    Some(start..start + len)
}
