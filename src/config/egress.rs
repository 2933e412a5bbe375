//! `egress`: from which listener a rule, or a gateway of a group, sends.

use super::diagnostic::Findings;
use super::listeners::Names;
use super::read::{Entry, Text};
use super::target::OPENS_NO_WEBSOCKET;
use super::when::transport;
use crate::net::Transport;
use crate::rules::{EgressChoice, Target};

/// A listener's name, or where it stands to the one that the request came in on.
pub(super) fn read(entry: &Entry<'_>, names: &Names, findings: &mut Findings) -> Option<EgressChoice> {
    if !entry.is_table() {
        let text = entry.text(findings)?;
        return names.find(&text, findings).map(EgressChoice::Listener);
    }
    let mut section = entry.section("`egress`", findings)?;
    let transport = section
        .need("transport", r#""udp", "tcp" or "tls": what it leaves over"#, findings)
        .and_then(|e| e.text(findings));
    let transport = transport.and_then(|text| transport_of(&text, findings));
    let port = section.take("port").and_then(|e| e.number(1..65_536, findings));
    let address = section.take("address").and_then(|e| e.text(findings));
    section.finish(findings);
    let address = match address {
        Some(text) if text.text != "received" => {
            let hint = "write \"received\", or the IP address of a listener: \"203.0.113.10\"";
            Some(text.parse("an address to leave from", hint, findings)?)
        }
        _ => None,
    };
    let port = port.and_then(|port| port.try_into().ok());
    Some(EgressChoice::Relative { transport: transport?, port, address })
}

/// A transport to leave by.
fn transport_of(text: &Text<'_>, findings: &mut Findings) -> Option<Transport> {
    let found = transport(text, findings)?;
    if found.is_websocket() {
        findings.error(
            text.span.clone(),
            format!("no connections are opened over {found}"),
            OPENS_NO_WEBSOCKET,
        );
        return None;
    }
    Some(found)
}

/// An override has to fit a literal next hop: family and transport.
pub(super) fn check(
    target: &Target,
    choice: &EgressChoice,
    names: &Names,
    entry: &Entry<'_>,
    findings: &mut Findings,
) {
    let wanted = target.transport();
    let id = match *choice {
        EgressChoice::Listener(id) => id,
        EgressChoice::Relative { transport, .. } => {
            if let Some(wanted) = wanted.filter(|wanted| *wanted != transport) {
                let message = format!("`egress` leaves by {transport}, the next hop wants {wanted}");
                let hint =
                    format!("write transport = \"{wanted}\" in `egress`, or take it out of the next hop");
                findings.error(entry.span.clone(), message, hint);
            }
            return;
        }
    };
    let listener = names.section(id);
    let family = |v4: bool| if v4 { "IPv4" } else { "IPv6" };
    if let Target::Address { ip, .. } = target
        && let Some(own) = listener.bind.is_ipv4().filter(|v4| *v4 != ip.is_ipv4())
    {
        let (own, theirs) = (family(own), family(ip.is_ipv4()));
        findings.error(
            entry.span.clone(),
            format!("the listener «{}» is {own}, the next hop {ip} is {theirs}", listener.name),
            format!("name a listener with an {theirs} address, or leave `egress` out"),
        );
    }
    if let Some(transport) = wanted.filter(|wanted| !listener.serves(*wanted)) {
        let message = format!(
            "the listener «{}» is {}, the next hop wants {transport}",
            listener.name, listener.transport
        );
        let hint = format!("name a listener of the transport {transport}, or leave `egress` out");
        findings.error(entry.span.clone(), message, hint);
    }
}
