//! Clients that are reached by the connections that they have opened, and by no other: what of them is written into the
//! requests that they send and get (RFC 5626 §5, RFC 7118).

use std::net::SocketAddr;

use sip_parser::{HeaderName, Message, option_tags};

use crate::plan::{Advertise, Listener};
use crate::rewrite::Output;
use crate::snapshot::Snapshot;
use crate::stream::Number;
use crate::token::{Flow, Path};

use super::state::Work;

/// The connections of the two sides of a request.
pub(super) struct Flows {
    /// Of who sent it.
    pub initiator: Option<Flow>,
    /// Of who gets it.
    pub responder: Option<Flow>,
    /// What of them is written into Path.
    path: Option<Ending>,
}

/// How a Path value ends.
type Ending = &'static [u8];

/// One end of a request: our listener, the other side's address, and the connection between the two.
pub(super) type End<'a> = (&'a Listener, &'a SocketAddr, Number);

impl Flows {
    /// `None`: neither side needs any, which is so of most requests. `ends` are those of who sent it and of who gets it.
    pub fn of<'a>(
        work: &Work,
        message: &Message<'_>,
        (comes_by, goes_by): (Number, Number),
        ends: impl FnOnce() -> [End<'a>; 2],
    ) -> Option<Self> {
        if !comes_by.is_stream() && goes_by.get().is_none() {
            return None;
        }
        let [from, to] = ends();
        Self::are_due((from.0, from.2), to.2).then(|| Self::of_clients(work, message, from, to))
    }

    /// Some side of the request needs any: it came by a connection to this listener, or by none, and leaves by the other.
    #[inline(always)]
    pub fn are_due((ingress, comes_by): (&Listener, Number), goes_by: Number) -> bool {
        (comes_by.is_stream() && ingress.transport.is_websocket()) || goes_by.get().is_some()
    }

    #[cold]
    fn of_clients(work: &Work, message: &Message<'_>, from: End<'_>, to: End<'_>) -> Self {
        let flow = |(_, &peer, stream): End<'_>| {
            let mark = work.mark_of(peer, stream);
            Flow { peer, connection: stream.to_bits(), serial: stream.serial(), mark }
        };
        let comes = from.0.transport.is_websocket();
        Self {
            initiator: comes.then(|| flow(from)),
            responder: to.2.get().is_some().then(|| flow(to)),
            path: if comes { path(message) } else { None },
        }
    }

    /// Writes Path, if the request is to have one.
    ///
    /// RFC 3327 §5.2: "the proxy inserts a URI for that proxy as the topmost value in the Path header field (or inserts a
    /// new topmost Path header) before proxying that request."
    ///
    /// `came_by` is the identity of the listener that the connection belongs to, which the token names. The URI is that of the
    /// side that the request leaves by: who keeps it sends there, and speaks its transport.
    pub fn put_path(
        &self,
        out: &mut Output<'_>,
        snapshot: &Snapshot,
        came_by: u32,
        (egress, advertised): (&Listener, &Advertise),
    ) {
        let (Some(ending), Some(flow)) = (self.path, self.initiator) else { return };
        let token = Path { listener: came_by, flow }.written(&snapshot.keys);
        out.put_all([b"Path: <sip:", &token, b"@"]);
        out.put_text(advertised.text.as_bytes());
        out.put_all([b";transport=", egress.transport.in_uri().as_bytes(), ending]);
    }
}

/// The end of the Path that a client's REGISTER gets.
///
/// RFC 3327 §5.2: "Intermediate proxies SHOULD NOT add a Path header field to a request unless the UA has indicated support
/// for this extension with a Supported header field value." RFC 5626 §5.1: "the first node MUST include an "ob" URI parameter
/// in its Path header field value. If the edge proxy is not the first SIP node after the UAC it MUST NOT place an "ob" URI
/// parameter in a Path header field value. The edge proxy can determine if it is the first hop by examining the Via header
/// field."
fn path(message: &Message<'_>) -> Option<Ending> {
    let is_register = message.bytes().trim_ascii_start().starts_with(b"REGISTER ");
    let supported = message.all(HeaderName::Supported).map(|line| message.text(line.value));
    let mut tags = supported.flat_map(|value| option_tags(value).map_while(Result::ok));
    let is_supported =
        |tag: &[u8]| [&b"path"[..], b"outbound"].iter().any(|known| tag.eq_ignore_ascii_case(known));
    if !is_register || !tags.any(is_supported) {
        return None;
    }
    let is_first = message.values(HeaderName::Via).nth(1).is_none();
    Some(if is_first { b";lr;ob>\r\n" } else { b";lr>\r\n" })
}
