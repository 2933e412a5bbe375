//! The limits that a request counts against.

use sip_parser::{HeaderLine, HeaderName, NameAddr, Start, parse};

use crate::limits::HEADER_LINES;
use crate::proxy::{Considered, Incoming};
use crate::rules::Action;
use crate::snapshot::Snapshot;

/// Each in a sentence: of the listener, the peer and the route, which none has that belongs to a dialog, or ends what there
/// is; and what the next hop may ask for.
pub fn told(snapshot: &Snapshot, incoming: &Incoming<'_>, considered: &Considered) -> Vec<String> {
    let next_hop = considered.question.map(|question| question.next_hop.address.ip());
    let peer = next_hop.and_then(|ip| snapshot.plan.overload.limits.peers.of(ip)).filter(|peer| peer.oc);
    let oc =
        peer.map(|peer| format!("peer {}: may ask to be sent less, and is told so (RFC 7339)", peer.name));
    counted(snapshot, incoming, considered).into_iter().chain(oc).collect()
}

fn counted(snapshot: &Snapshot, incoming: &Incoming<'_>, considered: &Considered) -> Vec<String> {
    let limits = &snapshot.plan.overload.limits;
    if limits.is_empty() || !begins_something(snapshot, incoming.bytes, considered) {
        return Vec::new();
    }
    let section = snapshot.plan.listener(incoming.on).section;
    let all = [
        limits.of_listener(section),
        limits.of_peer(incoming.from.ip()),
        considered.rule.and_then(|rule| limits.of_route(rule)),
    ];
    all.into_iter().flatten().filter_map(|id| limits.limit(id)).map(ToString::to_string).collect()
}

/// A To tag shows a dialog where its rule writes no token that would prove it.
fn begins_something(snapshot: &Snapshot, bytes: &[u8], considered: &Considered) -> bool {
    let mut lines = [HeaderLine::EMPTY; HEADER_LINES];
    let Ok(message) = parse(bytes, &mut lines) else { return false };
    let Start::Request(line) = message.start() else { return false };
    let rule = snapshot.plan.rule(considered.rule);
    let has_token =
        !matches!(rule.map(|rule| &rule.action), Some(Action::Forward { record_route: false, .. }));
    let to = NameAddr::parse(message.value(HeaderName::To));
    to.is_ok_and(|to| to.tag().is_none() || (has_token && considered.dialog.is_none()))
        && !matches!(message.text(line.method), b"ACK" | b"CANCEL")
}
