//! The parts of an account that are plain facts.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use crate::fib::{Route, table_in_words};
use crate::snapshot::Snapshot;

/// What the request said and where it came in.
#[derive(Debug, Serialize)]
pub struct Request {
    /// Its first line.
    pub start_line: String,
    /// Who sent it.
    pub source: SocketAddr,
    /// On which listener.
    pub listener: String,
    /// By which transport.
    pub transport: &'static str,
}

/// Transport, address and port.
#[derive(Debug, Serialize)]
pub struct NextHop {
    /// By which transport.
    pub transport: &'static str,
    /// To which address.
    pub address: IpAddr,
    /// And port.
    pub port: u16,
}

/// The listener it leaves from, and why.
#[derive(Debug, Serialize)]
pub struct From {
    /// Its name.
    pub listener: String,
    /// Its transport.
    pub transport: &'static str,
    /// Its address.
    pub address: IpAddr,
    /// And port.
    pub port: u16,
    /// `dialog`, `override`, `auto`, `fallback`.
    pub reason: &'static str,
    /// The step of the automatic choice.
    pub step: Option<&'static str>,
    /// The same in words.
    pub why: String,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteFacts {
    /// `main`, `local`, `default` or its number.
    pub table: String,
    /// The prefix that matched.
    pub prefix: String,
    /// The outgoing interface.
    pub dev: String,
    /// The gateway; absent: on the link.
    pub gateway: Option<IpAddr>,
    /// The source.
    pub source: IpAddr,
}

impl RouteFacts {
    pub(super) fn new(snapshot: &Snapshot, route: &Route) -> Self {
        let gone = || format!("#{}", route.dev);
        Self {
            table: table_in_words(route.table).to_string(),
            prefix: route.prefix.to_string(),
            dev: snapshot.fib.link_name(route.dev).map_or_else(gone, str::to_owned),
            gateway: route.gateway,
            source: route.source,
        }
    }
}
