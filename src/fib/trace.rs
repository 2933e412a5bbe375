//! What a lookup went through, for `explain` and `routes get`.

use std::net::IpAddr;

use ipnet::IpNet;

use super::spec::{Action, Kind};

/// One step of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A rule selected the packet. (Those that did not are left out.)
    Rule {
        /// Its priority.
        priority: u32,
        /// What it does.
        action: Action,
    },
    /// A rule has an attribute that this version does not know, so the lookup ended there.
    OpaqueRule {
        /// Its priority.
        priority: u32,
    },
    /// A route holds the destination.
    Route {
        /// Its table.
        table: u32,
        /// Its prefix.
        prefix: IpNet,
        /// Its type.
        kind: Kind,
    },
    /// A route holds the destination, but it has something that this version does not know.
    OpaqueRoute {
        /// Its table.
        table: u32,
        /// Its prefix.
        prefix: IpNet,
    },
    /// Routes hold the destination, but none of their paths can be used: down, or by another device.
    NoUsablePath {
        /// Their table.
        table: u32,
        /// Their prefix.
        prefix: IpNet,
    },
    /// The table has no (further) route that holds the destination.
    TableExhausted {
        /// The table.
        table: u32,
    },
    /// The rule does not accept this answer (`suppress_prefixlength`, `suppress_ifgroup`).
    Suppressed {
        /// The rule's priority.
        priority: u32,
        /// The answer's prefix.
        prefix: IpNet,
    },
    /// IPv6 found nothing with the source open and asks again with the source that it would select.
    AskedAgain {
        /// That source.
        source: IpAddr,
    },
    /// This snapshot cannot tell; the kernel was asked.
    AskedKernel,
    /// Where the source comes from.
    Source {
        /// The source.
        source: IpAddr,
        /// Why that one.
        origin: SourceOrigin,
    },
}

/// Where a source address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceOrigin {
    /// The socket is bound to it.
    Bound,
    /// The route prefers it (`src ADDRESS`).
    Preferred,
    /// Selected among the host's addresses: by scope and subnet (IPv4), by RFC 6724 (IPv6).
    Selected,
    /// The destination is this host; packets to oneself come from oneself.
    Destination,
}

/// Watches a lookup. `()` does not, and costs nothing.
pub(super) trait Observer {
    /// A step was taken.
    fn note(&mut self, step: impl FnOnce() -> Step);
}

impl Observer for () {
    fn note(&mut self, _: impl FnOnce() -> Step) {}
}

impl Observer for Vec<Step> {
    fn note(&mut self, step: impl FnOnce() -> Step) {
        self.push(step());
    }
}
