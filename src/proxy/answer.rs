//! RFC 3261 §8.2.6: answers of our own, statelessly (§8.2.7).

use std::fmt::{self, Write};
use std::net::SocketAddr;

use sip_parser::{CSeq, HeaderLine, HeaderName, Message, NameAddr, Via, option_tags};

use crate::drop_reason::DropReason;
use crate::limits::RETRY_AFTER_S;
use crate::net::{ListenerId, Now};
use crate::overload::Feedback;
use crate::rewrite::Output;
use crate::snapshot::Snapshot;
use crate::stream::Number;
use crate::token::{TO_TAG_LEN, ToTag, Transaction, TransactionKey};

use super::forbidden;
use super::oc::{self, Offer};
use super::outcome::{Incoming, Outcome};
use super::reply::Reply;
use super::state::Work;
use super::validate::modern_transaction;
use super::via::{Mark, response_to_source};

/// A request to answer; possibly one that is not sound.
pub(super) struct Asker<'m> {
    bytes: &'m [u8],
    lines: &'m [HeaderLine],
    source: SocketAddr,
    pub on: ListenerId,
    pub stream: Number,
    via: Option<Via<'m>>,
}

impl<'m> Asker<'m> {
    /// What of a request is known, sound or not.
    #[cold]
    pub fn of(message: &Message<'m>, incoming: &Incoming<'m>) -> Self {
        let via = message.top_via().ok();
        let (bytes, lines) = (incoming.bytes, message.lines());
        Self { bytes, lines, source: incoming.from, on: incoming.on, stream: incoming.stream, via }
    }

    fn value(&self, name: HeaderName) -> &'m [u8] {
        first(self.lines, name).map_or(&[], |line| line.value.of(self.bytes))
    }

    fn is_ack(&self) -> bool {
        self.bytes.trim_ascii_start().starts_with(b"ACK ")
    }

    /// The same key that a sound request would have; also for one that is not sound, as far as it goes:
    /// its retransmission gets the same To tag.
    pub fn transaction(&self, work: &Work) -> TransactionKey {
        let modern = self.via.as_ref().and_then(|via| modern_transaction(via, via.branch()?));
        let transaction = modern.unwrap_or_else(|| Transaction::Rfc2543 {
            via: self.via.map_or_else(|| self.value(HeaderName::Via), |via| via.text),
            from_tag: NameAddr::parse(self.value(HeaderName::From))
                .ok()
                .and_then(|from| from.tag())
                .unwrap_or_default(),
            call_id: self.value(HeaderName::CallId),
            cseq: CSeq::parse(self.value(HeaderName::CSeq)).map_or(0, |cseq| cseq.number),
            request_uri: self.request_uri(),
        });
        TransactionKey::new(&work.secret, &transaction)
    }

    fn request_uri(&self) -> &'m [u8] {
        let line = self.bytes.trim_ascii_start().split(|&c| c == b'\r').next().unwrap_or_default();
        line.split(|&c| c == b' ').nth(1).unwrap_or_default()
    }
}

fn first(lines: &[HeaderLine], name: HeaderName) -> Option<&HeaderLine> {
    lines.iter().find(|line| line.name == name)
}

/// Answers a request, or not: "A stateless UAS MUST ignore ACK requests."
#[cold]
pub(super) fn answer(
    work: &mut Work,
    snapshot: &Snapshot,
    asker: &Asker<'_>,
    reply: Reply,
    now: Now,
    out: &mut [u8],
) -> Outcome {
    work.considered.reply = Some(reply);
    if asker.is_ack() {
        return Outcome::Drop(drop_of_ack(reply));
    }
    if first(asker.lines, HeaderName::Via).is_none() {
        return Outcome::Drop(DropReason::NotSip);
    }
    // A bare CR or LF is not copied into an answer: somebody may take it for the end of a line.
    if !asker
        .lines
        .iter()
        .filter(|line| COPIED.contains(&line.name))
        .all(|line| has_sound_breaks(line, asker))
    {
        return Outcome::Drop(DropReason::NotSip);
    }
    // A Via that names no address, or cannot be read, leaves the source to answer to.
    let to = asker.via.and_then(|via| response_to_source(snapshot, &via, &asker.source, asker.stream));
    let to = to.unwrap_or(asker.source);
    if !may_go(snapshot, asker.on, to, asker.stream) {
        return Outcome::Drop(DropReason::ForbiddenResponseTarget);
    }
    let mut output = Output::new(out);
    let feedback = snapshot.plan.overload.oc.then(|| work.admission.feedback(now));
    put(&mut output, work, snapshot, asker, reply, feedback);
    match output.finish() {
        Some(len) => Outcome::Answer { to, len, status: reply.status() },
        None => Outcome::Drop(DropReason::TooLarge),
    }
}

/// A response may go there, or will be asked about again where its stream is gone: by that it goes to who asked.
pub(super) fn may_go(snapshot: &Snapshot, on: ListenerId, to: SocketAddr, stream: Number) -> bool {
    stream.is_stream() || may_answer_to(snapshot, on, to)
}

/// A response may be sent from this listener to this address: a Via may name any, and what is received may have been sent to
/// make us send there.
pub fn may_answer_to(snapshot: &Snapshot, on: ListenerId, to: SocketAddr) -> bool {
    let listener = snapshot.plan.listener(on);
    listener.bind.is_ipv4() == to.is_ipv4()
        && forbidden::check(&snapshot.ours, to).is_ok()
        && forbidden::check_egress(|| listener, &to).is_ok()
}

/// CR and LF stand in the line together or not at all.
fn has_sound_breaks(line: &HeaderLine, asker: &Asker<'_>) -> bool {
    let mut parts = line.line.of(asker.bytes).split(|&c| c == b'\n').peekable();
    std::iter::from_fn(|| parts.next().map(|part| (part, parts.peek().is_none()))).all(|(part, is_last)| {
        memchr::memchr(b'\r', part) == (!is_last).then(|| part.len().saturating_sub(1))
    })
}

/// Why an ACK goes no further, where another request would get this reply.
fn drop_of_ack(reply: Reply) -> DropReason {
    match reply {
        Reply::Malformed(_) | Reply::Scheme => DropReason::MalformedAck,
        Reply::Loop | Reply::TooManyHops => DropReason::AckLoop,
        Reply::Unresolved { .. } | Reply::NoEgress(..) | Reply::NotSecure(_) | Reply::FlowFailed => {
            DropReason::AckUnroutable
        }
        Reply::TooLarge => DropReason::TooLarge,
        _ => DropReason::AckRefused,
    }
}

fn put(
    output: &mut Output<'_>,
    work: &Work,
    snapshot: &Snapshot,
    asker: &Asker<'_>,
    reply: Reply,
    feedback: Option<Feedback>,
) {
    output.put(b"SIP/2.0 ");
    output.put_number(u64::from(reply.status()));
    output.put(b" ");
    output.put(reply.phrase().as_bytes());
    output.put(b"\r\n");
    let mut seen = [false; COPIED.len()];
    for line in asker.lines {
        let Some(place) = COPIED.iter().position(|name| *name == line.name) else { continue };
        // "The Via header field values in the response MUST equal the Via header field values in the
        // request and MUST maintain the same ordering." Of others a sound request has one.
        let again = std::mem::replace(&mut seen[place], true);
        match (line.name, again) {
            (HeaderName::Via, false) => put_top_via(output, asker, line, feedback),
            (HeaderName::Via, true) => output.put(line.line.of(asker.bytes)),
            (HeaderName::To, false) => put_to(output, work, snapshot, asker, line),
            (_, false) => output.put(line.line.of(asker.bytes)),
            (_, true) => {}
        }
    }
    put_extra(output, work, snapshot, asker, reply);
    output.put(b"Content-Length: 0\r\n\r\n");
}

/// "The From field of the response MUST equal the From header field of the request. The Call-ID header
/// field of the response MUST equal the Call-ID header field of the request. The CSeq header field of the
/// response MUST equal the CSeq field of the request."
const COPIED: [HeaderName; 5] =
    [HeaderName::Via, HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq];

fn put_top_via(output: &mut Output<'_>, asker: &Asker<'_>, line: &HeaderLine, feedback: Option<Feedback>) {
    match &asker.via {
        Some(via) => {
            let is_told = |_: &Feedback| Offer::of(asker.bytes, via).is_some();
            let told = feedback.filter(is_told).map(|feedback| (oc::stale(asker.bytes, via), feedback));
            let mark = Mark::new(asker.bytes, via, &asker.source);
            mark.put_line(asker.bytes, line.line.range(), told, output);
        }
        None => output.put(line.line.of(asker.bytes)),
    }
}

/// "If a request contained a To tag in the request, the To header field in the response MUST equal that
/// of the request. However, if the To header field in the request did not contain a tag, […] the UAS MUST
/// add a tag to the To header field in the response". §8.2.7: "To header tags MUST be generated for
/// responses in a stateless manner - in a manner that will generate the same tag for the same request
/// consistently."
fn put_to(output: &mut Output<'_>, work: &Work, snapshot: &Snapshot, asker: &Asker<'_>, line: &HeaderLine) {
    let bytes = asker.bytes;
    // A `tag` without a value is none, but a second one behind it would not be read.
    if !NameAddr::parse(line.value.of(bytes)).is_ok_and(|to| !to.params().has(b"tag")) {
        return output.put(line.line.of(bytes));
    }
    let mut tag = [0; TO_TAG_LEN];
    ToTag::write(&snapshot.keys, asker.transaction(work), &mut tag);
    let (whole, value_end) = (line.line.range(), usize::from(line.value.end));
    output.put(bytes.get(whole.start..value_end).unwrap_or_default());
    output.put(b";tag=");
    output.put(&tag);
    output.put(bytes.get(value_end..whole.end).unwrap_or_default());
}

fn put_extra(output: &mut Output<'_>, work: &Work, snapshot: &Snapshot, asker: &Asker<'_>, reply: Reply) {
    match reply {
        // §11.2: "Allow, Accept, Accept-Encoding, Accept-Language, and Supported header fields SHOULD be
        // present in a 200 (OK) response to an OPTIONS request. If the response is generated by a proxy,
        // the Allow header field SHOULD be omitted as it is ambiguous since a proxy is method agnostic."
        Reply::Options => {
            output.put(b"Accept: */*\r\nAccept-Encoding: identity\r\nAccept-Language: en\r\nSupported:\r\n");
        }
        // §16.3: "The response MUST include an Unsupported (Section 20.40) header field listing those
        // option-tags the element did not understand."
        Reply::ProxyRequire => put_unsupported(output, asker),
        Reply::NoEgress(next_hop, why) => {
            let Snapshot { plan, fib, .. } = snapshot;
            put_warning(output, snapshot, asker, |text| {
                let (transport, address) = (next_hop.transport, next_hop.address);
                write!(
                    text,
                    "no listener for {transport}:{address}: {}; candidates:",
                    why.in_words(plan, fib)
                )?;
                let candidates = plan
                    .listeners
                    .iter()
                    .filter(|l| l.transport == transport && l.bind.is_ipv4() == address.is_ipv4());
                for listener in candidates.take(CANDIDATES) {
                    let state = if snapshot.view.is_up(listener.id) { "" } else { " (down)" };
                    write!(text, " {} {}{state}", listener.name, listener.bind)?;
                }
                Ok(())
            });
        }
        // RFC 5630 §5.3: "the proxy SHOULD include a Warning header with warn-code 380 "SIPS Not Allowed"."
        Reply::NotSecure(next_hop) => put_warning_of(output, snapshot, asker, b"380", |text| {
            write!(text, "SIPS Not Allowed: the next hop {next_hop} is not over TLS")
        }),
        Reply::Full | Reply::NoGateway => put_retry_after(output, RETRY_AFTER_S),
        Reply::Limited(refused) => put_retry_after(output, refused.retry_after_s.into()),
        Reply::Unresolved { why, .. } => put_warning(output, snapshot, asker, |text| match &work.nowhere {
            Some((question, _)) => write!(text, "{question} {}", why.in_words()),
            None => write!(text, "the next hop {}", why.in_words()),
        }),
        _ => {}
    }
}

fn put_retry_after(output: &mut Output<'_>, seconds: u64) {
    output.put(b"Retry-After: ");
    output.put_number(seconds);
    output.put(b"\r\n");
}

/// Most listeners that a Warning names.
const CANDIDATES: usize = 4;

fn put_unsupported(output: &mut Output<'_>, asker: &Asker<'_>) {
    output.put(b"Unsupported: ");
    let mut separator = b"".as_slice();
    for line in asker.lines.iter().filter(|line| line.name == HeaderName::ProxyRequire) {
        for tag in option_tags(line.value.of(asker.bytes)).map_while(Result::ok) {
            output.put(separator);
            output.put(tag);
            separator = b", ";
        }
    }
    output.put(b"\r\n");
}

/// `Warning: 399 host:port "text"` (RFC 3261 §20.43: "399 Miscellaneous warning: The warning text can
/// include arbitrary information to be presented to a human user or logged.")
fn put_warning(
    output: &mut Output<'_>,
    snapshot: &Snapshot,
    asker: &Asker<'_>,
    write: impl FnOnce(&mut Quoted<'_, '_>) -> fmt::Result,
) {
    put_warning_of(output, snapshot, asker, b"399", write);
}

fn put_warning_of(
    output: &mut Output<'_>,
    snapshot: &Snapshot,
    asker: &Asker<'_>,
    code: &[u8; 3],
    write: impl FnOnce(&mut Quoted<'_, '_>) -> fmt::Result,
) {
    output.put_all([b"Warning: ".as_slice(), code, b" "]);
    output.put(snapshot.plan.listener(asker.on).advertised(asker.source.ip()).text.as_bytes());
    output.put(b" \"");
    let _ = write(&mut Quoted(output));
    output.put(b"\"\r\n");
}

/// Writes the inside of a quoted string (RFC 3261 §25.1: qdtext, quoted-pair).
struct Quoted<'a, 'o>(&'a mut Output<'o>);

impl fmt::Write for Quoted<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            match byte {
                b'"' | b'\\' => self.0.put(&[b'\\', byte]),
                b' '..=b'~' | 0x80.. => self.0.put(&[byte]),
                _ => self.0.put(b" "),
            }
        }
        Ok(())
    }
}
