//! Where a URI says that its owner is.

use std::net::IpAddr;

use sip_parser::{Host, Uri, address};

/// Host and port of a URI, as the procedures of RFC 3263 begin: `maddr` goes before the host.
pub(super) struct Place<'a> {
    pub host: Host<'a>,
    pub port: Option<u16>,
}

impl<'a> Place<'a> {
    /// `None`: the URI has no host.
    #[inline(always)]
    pub fn of(uri: &Uri<'a>, without_maddr: bool) -> Option<Self> {
        if without_maddr {
            return Some(Self { host: uri.host()?, port: None });
        }
        let host = match uri.params().value(b"maddr") {
            None => uri.host()?,
            Some(maddr) => match address(maddr) {
                Some(IpAddr::V4(ip)) => Host::V4(ip),
                Some(IpAddr::V6(ip)) => Host::V6(ip),
                None => Host::Name(maddr),
            },
        };
        Some(Self { host, port: uri.port() })
    }
}
