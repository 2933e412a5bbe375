//! The topmost Via of a request: where its response goes, and what has to be noted in it for that.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use sip_parser::{HeaderLine, HeaderName, Host, Rport, Via, address, parse};

use crate::limits::HEADER_LINES;
use crate::net::{Transport, canonical};
use crate::overload::Feedback;
use crate::rewrite::{Edits, Output, PutShort, SHORT_BYTES, Short, put_port_and_v4};
use crate::snapshot::Snapshot;
use crate::stream::Number;
use crate::tls::PeerName;

use super::forward::New;
use super::names;
use super::oc;

/// The port of UDP and TCP where a sent-by names none (RFC 3261 §18.2.2: "or using port 5060 if none is
/// specified explicitly").
const DEFAULT_PORT: u16 = 5060;

/// What has to be noted in the topmost Via of a request.
pub(super) struct Mark<'a> {
    /// `received` and `rport` as the client wrote them: they go, whatever they say.
    stale: [Option<Range<usize>>; 2],
    /// Where the value ends.
    end: usize,
    /// Who sent the request.
    source: &'a SocketAddr,
    /// `received` is added.
    is_received_due: bool,
    /// The value of `rport` is added.
    is_rport_due: bool,
    /// The client's own `rport`, which has no value, stands last: the value is all that is added.
    is_asked_last: bool,
}

/// `rport` as nearly all clients write it.
const ASKED: usize = b";rport".len();

impl<'a> Mark<'a> {
    /// RFC 3261 §18.2.1: "If the host portion of the "sent-by" parameter contains a domain name, or if it
    /// contains an IP address that differs from the packet source address, the server MUST add a
    /// "received" parameter to that Via header field value. This parameter MUST contain the source address
    /// from which the packet was received."
    ///
    /// RFC 3581 §4: "If this Via header field value contains an "rport" parameter with no value, it MUST
    /// set the value of the parameter to the source port of the request. […] In fact, the server MUST
    /// insert a "received" parameter containing the source IP address that the request came from, even if
    /// it is identical to the value of the "sent-by" component."
    ///
    /// A `received` or `rport` value that the client wrote itself would send the response elsewhere: it
    /// is replaced, or removed where none is due.
    #[inline(always)]
    pub fn new(bytes: &[u8], via: &Via<'_>, source: &'a SocketAddr) -> Self {
        let Range { start, end } = range_in(bytes, via.text).unwrap_or_default();
        let of_message = |range: Range<usize>| start + range.start..start + range.end;
        let [received, rport] = [via.params().range(b"received"), via.params().range(b"rport")];
        let [received, rport] = [received.map(of_message), rport.map(of_message)];
        let is_rport_due = rport.is_some();
        let is_asked_last =
            rport.as_ref().is_some_and(|rport| rport.end == end && rport.start + ASKED == end);
        let is_received_due = is_rport_due || via.host().ip().is_none_or(|ip| canonical(ip) != source.ip());
        let rport = rport.filter(|_| !is_asked_last);
        Self { stale: [received, rport], end, source, is_received_due, is_rport_due, is_asked_last }
    }

    /// Where the value ends.
    #[inline(always)]
    pub fn end(&self) -> usize {
        self.end
    }

    /// Nothing that the client wrote goes.
    #[inline(always)]
    pub fn only_adds(&self) -> bool {
        matches!(self.stale, [None, None])
    }

    /// Notes it as edits.
    pub fn edit(&self, edits: &mut Edits<New>) {
        let [received, rport] = &self.stale;
        if let Some(received) = received {
            edits.delete(received.clone());
        }
        if let Some(rport) = rport {
            edits.delete(rport.clone());
        }
        if self.is_received_due {
            edits.insert(self.end, New::Marked);
        }
    }

    /// Writes the line that the Via stands in, with the changes: for an answer.
    /// `told`: what of a neighbour's offer goes ([`oc::stale`]), and what it is asked for.
    pub fn put_line(
        &self,
        bytes: &[u8],
        line: Range<usize>,
        told: Option<([Option<Range<usize>>; 4], Feedback)>,
        out: &mut Output<'_>,
    ) {
        let mut at = line.start;
        let [a, b] = self.stale.clone();
        let (offered, feedback) = told.unzip();
        let [c, d, e, f] = offered.unwrap_or_default();
        let mut stale = [a, b, c, d, e, f].map(|range| range.unwrap_or(at..at));
        stale.sort_by_key(|range| range.start);
        for range in stale {
            out.put(bytes.get(at..range.start).unwrap_or_default());
            at = at.max(range.end);
        }
        out.put(bytes.get(at..self.end).unwrap_or_default());
        self.put_added(out);
        feedback.into_iter().for_each(|feedback| oc::put(out, feedback));
        out.put(bytes.get(self.end.max(at)..line.end).unwrap_or_default());
    }

    /// Writes what is added at the beginning of `room`, and gives its length.
    #[inline(always)]
    pub fn put_at(&self, room: &mut [u8; SHORT_BYTES]) -> usize {
        if self.is_asked_last {
            let few = match self.source {
                SocketAddr::V4(v4) => put_port_and_v4(room, b"=", v4.port(), RECEIVED, *v4.ip()),
                SocketAddr::V6(_) => None,
            };
            return few.unwrap_or_else(|| put_filled(room, self.source));
        }
        if !self.is_received_due {
            return 0;
        }
        put_parameters(room, &self.parameters())
    }

    fn parameters(&self) -> Parameters<'_> {
        Parameters { source: self.source, with_rport: self.is_rport_due }
    }

    /// Writes what is added: never `rport` without `received`.
    pub fn put_added(&self, out: &mut Output<'_>) {
        if self.is_asked_last {
            out.put_short(&Filled(self.source));
        } else if self.is_received_due {
            out.put_short(&self.parameters());
        }
    }
}

/// How `received` begins.
const RECEIVED: &[u8; 10] = b";received=";

/// The value of an `rport` that stands last, and `received`.
struct Filled<'a>(&'a SocketAddr);

impl PutShort for Filled<'_> {
    #[inline(always)]
    fn put(&self, short: &mut Short<'_>) {
        short.text(b"=");
        short.number(self.0.port());
        short.text(RECEIVED);
        short.ip(self.0.ip());
    }
}

/// Puts it together; gives its length.
#[cold]
#[inline(never)]
fn put_filled(room: &mut [u8; SHORT_BYTES], source: &SocketAddr) -> usize {
    Short::put(room, &Filled(source))
}

/// `received`, and `rport` if that is wanted, as parameters.
struct Parameters<'a> {
    source: &'a SocketAddr,
    with_rport: bool,
}

impl PutShort for Parameters<'_> {
    #[inline(always)]
    fn put(&self, short: &mut Short<'_>) {
        short.text(RECEIVED);
        short.ip(self.source.ip());
        if self.with_rport {
            short.text(b";rport=");
            short.number(self.source.port());
        }
    }
}

/// Puts them together; gives their length.
#[inline(never)]
fn put_parameters(room: &mut [u8; SHORT_BYTES], parameters: &Parameters<'_>) -> usize {
    Short::put(room, parameters)
}

/// Where a part of the message stands in it.
pub(super) fn range_in(bytes: &[u8], part: &[u8]) -> Option<Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(bytes.as_ptr() as usize)?;
    let end = start.checked_add(part.len())?;
    (end <= bytes.len()).then_some(start..end)
}

/// Where the response to a request from `source` with this topmost Via goes that came by this stream: by the rules of
/// [`response_to`], once the Via is marked. `None`: `maddr` names nothing that we know.
#[inline(always)]
pub(super) fn response_to_source(
    snapshot: &Snapshot,
    via: &Via<'_>,
    source: &SocketAddr,
    stream: Number,
) -> Option<SocketAddr> {
    let mut to = *source;
    if stream.is_stream() {
        to.set_port(port_without_stream(via));
        return Some(to);
    }
    if let Some(maddr) = via.params().value(b"maddr") {
        return to_maddr(snapshot, via, maddr);
    }
    if !via.params().has(b"rport") {
        to.set_port(via.port().unwrap_or(DEFAULT_PORT));
    }
    Some(to)
}

/// The same where the Via names nothing that we know is taken for the source. `None`: it is the source, as of nearly all
/// clients.
#[inline(always)]
pub(super) fn response_elsewhere(
    snapshot: &Snapshot,
    via: &Via<'_>,
    source: &SocketAddr,
    stream: Number,
) -> Option<SocketAddr> {
    let params = via.params();
    let is_source = !stream.is_stream() && params.has(b"rport") && params.value(b"maddr").is_none();
    if is_source { None } else { response_not_by_rport(snapshot, via, source, stream) }
}

#[inline(never)]
fn response_not_by_rport(
    snapshot: &Snapshot,
    via: &Via<'_>,
    source: &SocketAddr,
    stream: Number,
) -> Option<SocketAddr> {
    response_to_source(snapshot, via, source, stream)
}

/// Where a response with this topmost Via goes, if its request came by this stream once that is gone; `None`: the Via names
/// nothing that we know.
///
/// Over UDP:
/// RFC 3261 §18.2.2, with RFC 3581 §4 between its second and third step: "if […] there is no "maddr"
/// parameter, but there is both a "received" parameter and an "rport" parameter, the response MUST be
/// sent to the IP address listed in the "received" parameter, and the port in the "rport" parameter."
///
/// By a stream, where `maddr` does not count: "the response MUST be sent using the existing connection to the source of the
/// original request that created the transaction, if that connection is still open. […] If that connection is no longer
/// open, the server SHOULD open a connection to the IP address in the "received" parameter, if present, using the port in
/// the "sent-by" value, or the default port for that transport, if no port is specified."
pub fn response_to(snapshot: &Snapshot, via: &Via<'_>, stream: Number) -> Option<SocketAddr> {
    if stream.is_stream() {
        // Where there is no `received`, the request's source is the sent-by.
        let source = via.received().or_else(|| via.host().ip())?;
        return Some(SocketAddr::new(canonical(source), port_without_stream(via)));
    }
    if let Some(maddr) = via.params().value(b"maddr") {
        return to_maddr(snapshot, via, maddr);
    }
    // "if the top Via has a "received" parameter, the response MUST be sent to the address in the
    // "received" parameter, using the port indicated in the "sent-by" value, or using port 5060"
    let port = via.port().unwrap_or(DEFAULT_PORT);
    if let Some(received) = via.received() {
        let port = match via.rport() {
            Some(Rport::Port(rport)) => rport,
            Some(Rport::Asked) | None => port,
        };
        return Some(SocketAddr::new(canonical(received), port));
    }
    // "if it is not receiver-tagged, the response MUST be sent to the address indicated by the "sent-by"
    // value"
    Some(SocketAddr::new(names::first(snapshot, &via.host())?, port))
}

/// Whose certificate is asked for where a response goes to this address by a new connection over TLS, because that of its request
/// is gone; `None`: whoever wrote its topmost Via can have none.
///
/// The sent-by is what stands for the client, as a URI's host does for a server: a name is compared as it is, an address stands for
/// itself, or for the name that `[tls] names` has for where the response goes.
pub fn name_of_client(snapshot: &Snapshot, response: &[u8], to: IpAddr) -> Option<PeerName> {
    let mut lines = vec![HeaderLine::EMPTY; HEADER_LINES];
    let message = parse(response, &mut lines).ok()?;
    let via = Via::parse(message.values(HeaderName::Via).next()?.ok()?.text).ok()?;
    match via.host() {
        Host::Name(name) => PeerName::new(str::from_utf8(name).ok()?),
        Host::V4(_) | Host::V6(_) => match snapshot.plan.tls_names.of(to) {
            Some(name) => PeerName::new(name),
            None => via.host().ip().map(|ip| PeerName::of_address(canonical(ip))),
        },
    }
}

/// The port that a connection to whoever wrote this Via is opened to.
#[inline(never)]
fn port_without_stream(via: &Via<'_>) -> u16 {
    let is_tls = via.transport().eq_ignore_ascii_case(b"TLS");
    let default = if is_tls { Transport::Tls } else { Transport::Tcp }.default_port();
    via.port().unwrap_or(default)
}

/// "if the Via header field value contains a "maddr" parameter, the response MUST be forwarded to the
/// address listed there, using the port indicated in "sent-by", or port 5060 if none is present."
#[inline(never)]
fn to_maddr(snapshot: &Snapshot, via: &Via<'_>, maddr: &[u8]) -> Option<SocketAddr> {
    let ip = address(maddr).or_else(|| names::first(snapshot, &Host::Name(maddr)))?;
    Some(SocketAddr::new(canonical(ip), via.port().unwrap_or(DEFAULT_PORT)))
}
