//! The header lines that Viaduct writes into a request: Record-Route and Via.

use std::net::IpAddr;

use crate::net::Transport;
use crate::plan::{Advertise, Listener};
use crate::rewrite::Sink;
use crate::snapshot::Snapshot;
use crate::token::{BRANCH_LEN, Dialog, KeyId, LOOP_MARK_LEN, RecordRoute, Side};

use super::loops;

/// Writes our Via.
///
/// RFC 3261 §16.6 step 8: "The proxy MUST insert a Via header field value into the copy before the
/// existing Via header field values."; RFC 3581 §3: "A client […] MAY include an "rport" parameter […].
/// This parameter MUST have no value".
pub(super) fn put_via(
    ink: &mut impl Sink,
    transport: Transport,
    sent_by: &Advertise,
    branch: &[u8; BRANCH_LEN],
    mark: &[u8; LOOP_MARK_LEN],
) {
    ink.put(b"Via: SIP/2.0/");
    ink.put(transport.via().as_bytes());
    ink.put(b" ");
    ink.put(sent_by.text.as_bytes());
    ink.put(b";rport;branch=");
    ink.put(branch);
    ink.put(loops::PARAMETER);
    ink.put(mark);
    ink.put(b"\r\n");
}

/// What the two sides of a dialog will see of us.
pub(super) struct RecordRoutes<'a> {
    /// The request came in on it.
    pub ingress: &'a Listener,
    /// Who sent it.
    pub source: IpAddr,
    /// The request leaves from it.
    pub egress: &'a Listener,
    /// Who receives it.
    pub next_hop: IpAddr,
    /// The Request-URI, or the topmost Route that is left, is a SIPS URI.
    pub sips: bool,
    /// Signs the tokens.
    pub signer: KeyId,
    /// Call-ID and From tag, to which the tokens are bound.
    pub dialog: (&'a [u8], &'a [u8]),
}

impl RecordRoutes<'_> {
    /// Writes one value, or two where the sides differ, the egress-facing one on top (RFC 5658 §5).
    ///
    /// RFC 3261 §16.6 step 4: "it MUST insert a Record-Route header field value into the copy before any
    /// existing Record-Route header field values".
    pub fn put(&self, ink: &mut impl Sink, snapshot: &Snapshot) {
        let ingress = self.ingress.advertised(self.source);
        let egress = self.egress.advertised(self.next_hop);
        let paired = self.ingress.id != self.egress.id || ingress.text != egress.text;
        let transports_differ = self.ingress.transport != self.egress.transport;
        let (call_id, from_tag) = self.dialog;
        let dialog = Dialog { signer: self.signer, call_id, from_tag };
        let mut value = |side, listener: &Listener, text: &str| {
            let (initiator, responder) = (self.ingress.identity, self.egress.identity);
            let token = RecordRoute { initiator, responder, side, paired };
            let [token] = RecordRoute::written([token], &snapshot.keys, &dialog);
            // "The URI placed in the Record-Route header field value MUST be a SIP or SIPS URI. This URI
            // MUST contain an lr parameter"; "If the Request-URI contains a SIPS URI, […] the URI placed
            // into the Record-Route header field MUST be a SIPS URI."
            match self.sips {
                true => ink.put(b"Record-Route: <sips:"),
                false => ink.put(b"Record-Route: <sip:"),
            }
            ink.put(&token);
            ink.put(b"@");
            ink.put(text.as_bytes());
            if transports_differ || !matches!(listener.transport, Transport::Udp) {
                ink.put(b";transport=");
                ink.put(listener.transport.as_str().as_bytes());
            }
            ink.put(b";lr>\r\n");
        };
        value(Side::Responder, self.egress, &egress.text);
        if paired {
            value(Side::Initiator, self.ingress, &ingress.text);
        }
    }
}
