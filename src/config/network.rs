//! Networks, and addresses with ports, as the file writes them.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use super::diagnostic::Findings;
use super::read::Text;

/// A network; an address alone stands for itself.
pub(super) fn network(text: &Text<'_>, findings: &mut Findings) -> Option<IpNet> {
    if let Ok(ip) = text.text.parse::<IpAddr>() {
        return Some(IpNet::from(ip));
    }
    match text.text.parse::<IpNet>() {
        Ok(network) if network == network.trunc() => Some(network),
        Ok(network) => {
            findings.error(
                text.span.clone(),
                format!("{network} has bits beyond its prefix length"),
                format!("write {} for the network, or the address alone", network.trunc()),
            );
            None
        }
        Err(_) => {
            findings.error(
                text.span.clone(),
                format!("«{}» is not a network", text.text),
                "write an address and a length: 10.0.0.0/8, 2001:db8::/32",
            );
            None
        }
    }
}

/// A host, with brackets and scope taken off, and a port.
pub(super) struct HostPort<'t> {
    pub host: &'t str,
    /// What follows `%` in brackets.
    pub scope: Option<&'t str>,
    pub port: Option<u16>,
}

/// Splits `host`, `host:port`, `[v6]`, `[v6%scope]:port`.
pub(super) fn host_port<'t>(
    text: &'t str,
    place: &Text<'_>,
    findings: &mut Findings,
) -> Option<HostPort<'t>> {
    let mut wrong = |message: String, hint: String| {
        findings.error(place.span.clone(), message, hint);
        None
    };
    if text.parse::<Ipv6Addr>().is_ok() {
        return wrong(
            format!(
                "an IPv6 address stands in brackets: nobody can tell where «{text}» ends and its port begins"
            ),
            bracketed(text),
        );
    }
    let (host, rest) = match text.strip_prefix('[') {
        Some(inner) => match inner.split_once(']') {
            Some((host, rest)) => (host, rest),
            None => {
                return wrong(format!("«{text}» lacks its closing bracket"), "write [ADDRESS]:PORT".into());
            }
        },
        None => text.split_at(text.rfind(':').unwrap_or(text.len())),
    };
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => None,
        Some(digits) => match digits.parse::<u16>() {
            Ok(port) if port > 0 => Some(port),
            _ => {
                return wrong(
                    format!("«{digits}» is not a port"),
                    "a port is a number from 1 to 65535".into(),
                );
            }
        },
        None => return wrong(format!("«{rest}» follows the bracket"), "write [ADDRESS]:PORT".into()),
    };
    let (host, scope) = match host.split_once('%') {
        Some((host, scope)) => (host, Some(scope)),
        None => (host, None),
    };
    Some(HostPort { host, scope, port })
}

/// How an address without brackets is to be written; four digits behind an address that is whole without them are its port.
fn bracketed(text: &str) -> String {
    let is_port = |last: &str| last.len() == 4 && last.bytes().all(|digit| digit.is_ascii_digit());
    match text.rsplit_once(':') {
        Some((host, port)) if is_port(port) && host.parse::<Ipv6Addr>().is_ok() => {
            format!("write [{host}]:{port}; or [{text}]:PORT, if {port} is part of the address")
        }
        _ => format!("write [{text}]:5060"),
    }
}
