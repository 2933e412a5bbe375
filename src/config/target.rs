//! `to`: where a rule sends a request.

use std::net::{IpAddr, Ipv6Addr};

use sip_parser::{Host, Scheme, Uri};
use strsim::levenshtein;

use super::diagnostic::Findings;
use super::groups::{self, Groups};
use super::read::{Entry, Text};
use crate::dns::HostName;
use crate::limits::CANDIDATES;
use crate::net::{Transport, canonical};
use crate::rules::Target;
use crate::tls::PeerName;

/// Why nothing is sent to where a WebSocket would have to be opened.
pub(super) const OPENS_NO_WEBSOCKET: &str = "browsers open theirs, and requests that name one by its Record-Route or Path \
    go down it: write \"request-uri\" for those, or a next hop over another transport";

/// Where the request itself says.
const REQUEST_URI: &str = "request-uri";

/// So many letters added, left out or changed are a slip.
const SLIPS: usize = 3;

/// The parameter that says how a next hop is reached.
const TRANSPORT: &str = "transport";

/// All of `to`: one entry, or a list of them.
pub(super) fn read(entry: &Entry<'_>, groups: &Groups, findings: &mut Findings) -> Option<Box<[Target]>> {
    if entry.is_empty() {
        findings.error(entry.span.clone(), "`to` is an empty list", "name a next hop, or reject");
        return None;
    }
    let entries = entry.values(findings);
    if entries.len() > CANDIDATES {
        findings.error(
            entry.span.clone(),
            format!("`to` has {} entries, {CANDIDATES} at most", entries.len()),
            "a name stands for all of its addresses; or let several routes share the numbers",
        );
        return None;
    }
    let mut targets = Vec::<Target>::with_capacity(entries.len());
    for entry in &entries {
        let target = one(entry, groups, findings)?;
        if targets.contains(&target) {
            findings.error(
                entry.span.clone(),
                "this next hop stands in the list already",
                "each is tried once, in the order of the list",
            );
            return None;
        }
        targets.push(target);
    }
    Some(targets.into())
}

/// A next hop, a group, or `"request-uri"`.
fn one(entry: &Entry<'_>, groups: &Groups, findings: &mut Findings) -> Option<Target> {
    let text = entry.text(findings)?;
    match text.text {
        REQUEST_URI => Some(Target::RequestUri),
        "location" => {
            findings.error(
                text.span,
                "to = \"location\" is not available in this version",
                "there is no location service yet; name a next hop, or \"request-uri\"",
            );
            None
        }
        name if groups.has(name) => {
            let hint = format!("write to = \"{}{name}\"", groups::PREFIX);
            findings.error(text.span, format!("«{name}» is a group"), hint);
            None
        }
        _ => match text.text.strip_prefix(groups::PREFIX) {
            Some(name) => {
                let id = groups.find(&text, name, findings)?;
                Some(Target::Group { id, name: name.into() })
            }
            None => next_hop(&text, Of::Route, findings),
        },
    }
}

/// Whose next hop it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// `to` of a route, which may say `"request-uri"` instead.
    Route,
    /// `to` of a gateway.
    Gateway,
}

/// An address or a name to send to.
pub(super) fn next_hop(text: &Text<'_>, of: Of, findings: &mut Findings) -> Option<Target> {
    let uri = match Uri::parse(text.text.as_bytes()) {
        Ok(uri) => uri,
        Err(error) => {
            let message = format!("«{}» is not a SIP URI: {}", text.text, error.rule.reason());
            findings.error(text.span.clone(), message, meant(text.text, of, error.at as usize));
            return None;
        }
    };
    let transport = transport(&uri, text, findings)?;
    let written = text.text.into();
    let host = uri.host()?;
    if let Host::Name(name) = host {
        let Some(host) = HostName::new(name) else {
            findings.error(
                text.span.clone(),
                format!("«{}» is no name that DNS knows", String::from_utf8_lossy(name)),
                "labels of at most 63 letters, digits and hyphens, 253 characters in all",
            );
            return None;
        };
        if transport.is_some_and(Transport::is_secure) && PeerName::new(host.as_str()).is_none() {
            findings.error(
                text.span.clone(),
                format!("no certificate can be for «{}»", host.as_str()),
                "labels neither begin nor end with a hyphen there",
            );
            return None;
        }
        return Some(Target::Name { uri: written, transport, host: host.as_str().into(), port: uri.port() });
    }
    let ip = canonical(host.ip()?);
    literal(ip, text, findings)?;
    Some(Target::Address { uri: written, transport, ip, port: uri.port() })
}

/// What somebody may have meant who wrote this, which is no URI from that byte on.
fn meant(text: &str, of: Of, at: usize) -> String {
    if levenshtein(&text.to_ascii_lowercase(), REQUEST_URI) <= SLIPS {
        return match of {
            Of::Route => format!("did you mean \"{REQUEST_URI}\"?"),
            Of::Gateway => "a gateway is one next hop: write sip:ADDRESS:PORT".to_owned(),
        };
    }
    let bare = match text.parse::<Ipv6Addr>() {
        Ok(address) => format!("sip:[{address}]"),
        Err(_) => format!("sip:{text}"),
    };
    // A word may be anything.
    let is_host =
        text.contains(['.', ':']) && Uri::parse(bare.as_bytes()).is_ok_and(|uri| uri.host().is_some());
    if is_host {
        return format!("did you mean \"{bare}\"?");
    }
    let wrong = match text.get(at..) {
        Some(rest) if at > 0 && !rest.is_empty() => format!(", and look at «{rest}»"),
        _ => String::new(),
    };
    let or = if of == Of::Route { format!(", or \"{REQUEST_URI}\"") } else { String::new() };
    format!("write sip:ADDRESS:PORT (IPv6 in brackets){or}{wrong}")
}

fn transport(uri: &Uri<'_>, text: &Text<'_>, findings: &mut Findings) -> Option<Option<Transport>> {
    warn_of_slips(uri, text, findings);
    let mut refuse = |message: String, hint: &str| {
        findings.error(text.span.clone(), message, hint);
        None
    };
    match uri.scheme {
        Scheme::Sip | Scheme::Sips => {}
        Scheme::Tel | Scheme::Other => {
            return refuse(format!("«{}» is no next hop", text.text), "write sip:ADDRESS:PORT");
        }
    }
    if uri.headers().is_some() {
        return refuse("a next hop has no headers".into(), "leave out what follows the question mark");
    }
    let written = uri.params().value(TRANSPORT.as_bytes());
    let Some(value) = written else { return Some((uri.scheme == Scheme::Sips).then_some(Transport::Tls)) };
    match Transport::from_token(value)
        .map(|asked| if uri.scheme == Scheme::Sips { secured(asked) } else { asked })
    {
        Some(Transport::Udp) if uri.scheme == Scheme::Sips => {
            refuse("a sips next hop is not reached over UDP".into(), "leave `transport` out, or write sip:")
        }
        Some(transport) if transport.is_websocket() => {
            refuse(format!("no connections are opened over {transport}"), OPENS_NO_WEBSOCKET)
        }
        Some(transport) => Some(Some(transport)),
        None => refuse(
            format!("«{}» is not a transport", String::from_utf8_lossy(value)),
            "transports are udp, tcp and tls",
        ),
    }
}

/// A misspelt `transport` is a parameter like any other, and the next hop is reached over UDP.
fn warn_of_slips(uri: &Uri<'_>, text: &Text<'_>, findings: &mut Findings) {
    for param in uri.params().iter() {
        let name = String::from_utf8_lossy(param.name);
        if (1..=TRANSPORT.len() / 3).contains(&levenshtein(TRANSPORT, &name.to_ascii_lowercase())) {
            let message = format!("«{name}» says nothing of a next hop");
            findings.warn(text.span.clone(), message, format!("did you mean `{TRANSPORT}`?"));
        }
    }
}

/// What a transport becomes in a `sips` URI, where it says what TLS is over (RFC 3261 §26.2.2).
const fn secured(transport: Transport) -> Transport {
    match transport {
        Transport::Tcp => Transport::Tls,
        Transport::Ws => Transport::Wss,
        other => other,
    }
}

fn literal(ip: IpAddr, text: &Text<'_>, findings: &mut Findings) -> Option<()> {
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    if ip.is_unspecified() || ip.is_multicast() || broadcast {
        findings.error(
            text.span.clone(),
            format!("{ip} is no address to send a request to"),
            "name the address of one host",
        );
        return None;
    }
    Some(())
}
