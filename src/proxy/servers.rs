//! By which stream a next hop is reached, and whose certificate is asked for there.
//!
//! RFC 5922 §7.3: "the client MUST compare the original domain portion of the SIP AUS used as input to the RFC 3263 server location
//! procedures to the SIP domain identities obtained from the certificate": the name before DNS made addresses of it.

use crate::net::{NextHop, Transport};
use crate::stream::{NameId, Number};

use super::candidates::Origin;
use super::target::Search;

impl Search<'_> {
    /// To a next hop that the URI's host has led to: a rule's, or the message's.
    pub(super) fn stream_to(&mut self, hop: NextHop, host: &str, origin: Origin) -> Number {
        self.stream_to_name(hop, host, origin, origin == Origin::Rule)
    }

    fn stream_to_name(&mut self, hop: NextHop, host: &str, origin: Origin, is_configured: bool) -> Number {
        match hop.transport {
            Transport::Tls => {}
            // Browsers connect, and show no certificate: nobody is known to have that name.
            Transport::Wss => return Number::OPENED,
            other => return without_name(other, origin),
        }
        // What can be in no certificate is nobody's: the address that DNS has for it may be anybody's, and says so by a certificate.
        Number::named(self.servers.number(host, is_configured).unwrap_or(NameId::NOBODY))
    }

    /// To a next hop whose address the URI itself has: its certificate has to be for that, or for the name that `[tls] names`
    /// has for it.
    pub(super) fn stream_to_address(&mut self, hop: NextHop, origin: Origin) -> Number {
        let snapshot = self.snapshot;
        let name = || snapshot.plan.tls_names.of(hop.address.ip());
        match if hop.transport == Transport::Tls { name() } else { None } {
            Some(name) => self.stream_to_name(hop, name, origin, true),
            None => without_name(hop.transport, origin),
        }
    }
}

/// RFC 5923 §9.3: "Absent such a guarantee of an identity tied to a specific connection, a normal TCP or SCTP connection
/// cannot be used to send requests in the backwards direction without a significant risk of inadvertent (or otherwise)
/// connection hijacking." Where the message itself names its next hop, that takes nothing from anybody: a client behind
/// a NAT is reached by no other connection than its own; nor is one without a certificate over TLS.
pub(super) fn without_name(transport: Transport, origin: Origin) -> Number {
    match (transport, origin) {
        (Transport::Udp, _) => Number::NONE,
        (_, Origin::Rule) => Number::OPENED,
        (_, Origin::RequestUri | Origin::Route | Origin::Flow) => Number::ANY,
    }
}
