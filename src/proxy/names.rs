//! Host names that appear in messages: known from `[hosts]` and the resolver, or not at all.

use std::net::IpAddr;

use sip_parser::{Host, Uri};

use crate::net::{Transport, canonical};
use crate::plan::Ours;
use crate::snapshot::Snapshot;

use super::preprocess::transport_of;

/// Longest host name (RFC 1035 §2.3.4).
const NAME_BYTES: usize = 255;

/// The addresses of a host name; empty: it is unknown.
pub(super) fn of<'s>(snapshot: &'s Snapshot, name: &[u8]) -> &'s [IpAddr] {
    let name = name.strip_suffix(b".").unwrap_or(name);
    let mut lower = [0; NAME_BYTES];
    let Some(lower) = lower.get_mut(..name.len()) else { return &[] };
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    let known = std::str::from_utf8(lower).ok().and_then(|name| snapshot.names.get(name));
    known.map_or(&[], Vec::as_slice)
}

/// The address of a host: itself, or the first of a name's.
pub(super) fn first(snapshot: &Snapshot, host: &Host<'_>) -> Option<IpAddr> {
    match host {
        Host::Name(name) => of(snapshot, name).first().copied(),
        Host::V4(ip) => Some((*ip).into()),
        Host::V6(ip) => Some(canonical((*ip).into())),
    }
}

/// Whether a URI's host and port name us. A port that none of our listeners has is somebody else's on the
/// same machine; where none is written, the scheme's or the transport's is meant.
pub(super) fn names_us(ours: &Ours, uri: &Uri<'_>) -> bool {
    let default_port = transport_of(uri).default_port();
    let implied = (default_port != Transport::Udp.default_port()).then_some(default_port);
    uri.host().is_some_and(|host| ours.is_us(host, uri.port().or(implied)))
}
