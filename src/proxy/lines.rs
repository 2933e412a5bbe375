//! The header lines that Viaduct writes into a request: Record-Route and Via.

use std::net::SocketAddr;

use crate::net::Transport;
use crate::plan::{Advertise, Listener, RecordRouteTls};
use crate::rewrite::Output;
use crate::snapshot::Snapshot;
use crate::stream::Number;
use crate::token::{ASKED_LEN, Asked, BRANCH_LEN, Branch, Dialog, Flow, LOOP_MARK_LEN, RecordRoute, Side};

use super::flows::Flows;
use super::loops;
use super::oc;

/// Writes our Via.
///
/// RFC 3261 §16.6 step 8: "The proxy MUST insert a Via header field value into the copy before the
/// existing Via header field values."; RFC 3581 §3: "A client […] MAY include an "rport" parameter […].
/// This parameter MUST have no value".
fn put_via(
    out: &mut Output<'_>,
    transport: Transport,
    sent_by: &Advertise,
    branch: &[u8; BRANCH_LEN],
    mark: &[u8; LOOP_MARK_LEN],
    asked: Option<&[u8; ASKED_LEN]>,
) {
    match transport {
        Transport::Udp => out.put(b"Via: SIP/2.0/UDP "),
        other => {
            out.put(b"Via: SIP/2.0/");
            out.put_text(other.via().as_bytes());
            out.put(b" ");
        }
    }
    out.put_text(sent_by.text.as_bytes());
    match asked {
        None => out.put_all([b";rport;branch=", branch, loops::PARAMETER, mark, b"\r\n"]),
        Some(asked) => {
            out.put_all([b";rport;branch=", branch, loops::PARAMETER, mark]);
            oc::put_offer(out, asked);
            out.put(b"\r\n");
        }
    }
}

/// All that stands on top of a request that is sent on, and differs from one next hop to another.
pub(super) struct Top<'a> {
    /// The request came in on it.
    pub ingress: &'a Listener,
    /// Who sent it.
    pub source: &'a SocketAddr,
    /// What was chosen for the request, and is for those that follow in its dialog.
    pub egress: &'a Listener,
    /// The request leaves from it: another one where it is large.
    pub sender: &'a Listener,
    /// Who receives it.
    pub next_hop: &'a SocketAddr,
    /// Record-Route is written.
    pub record_route: bool,
    /// The Request-URI, or the topmost Route that is left, is a SIPS URI.
    pub sips: bool,
    /// The shard that owns the transaction.
    pub owner: u16,
    /// A transaction is kept.
    pub stateful: bool,
    /// Those of the dialog's requests will be kept.
    pub stateful_dialog: bool,
    /// What the tokens are bound to, and who signs them and the branch.
    pub dialog: Dialog<'a>,
    /// Where the answer will go.
    pub response_to: &'a SocketAddr,
    /// By which stream.
    pub stream: Number,
    /// The mark of its peer.
    pub peer: u16,
    /// What is known of clients that are reached by their own connections alone.
    pub flows: Option<&'a Flows>,
    /// What the branch names the transaction by.
    pub transaction: u64,
    /// The loop mark.
    pub mark: &'a [u8; LOOP_MARK_LEN],
}

impl Top<'_> {
    /// Writes Record-Route and Via.
    ///
    /// RFC 3261 §16.11: "the component of the branch parameter that makes it unique MUST be the same each time a
    /// retransmitted request is forwarded"; §16.6 step 8: "CANCEL and ACK requests (for non-2xx responses) MUST have the
    /// same branch value as the corresponding request they cancel or acknowledge."
    #[inline(always)]
    pub fn put(&self, out: &mut Output<'_>, snapshot: &Snapshot) {
        if self.record_route {
            self.put_record_routes(out, snapshot);
        }
        if let Some(flows) = self.flows {
            let advertised = self.ingress.advertised(self.source.ip());
            flows.put_path(out, snapshot, self.ingress.identity, advertised);
        }
        let mut branch = [0; BRANCH_LEN];
        Branch {
            owner: self.owner,
            stateful: self.stateful,
            peer: self.peer,
            ingress: self.ingress.identity,
            connection: self.stream.to_bits(),
            transaction: self.transaction,
        }
        .write(&snapshot.keys, self.dialog.signer, *self.response_to, &mut branch);
        let Self { sender, next_hop, mark, .. } = *self;
        let takes_oc = snapshot.plan.overload.limits.peers.takes_oc(next_hop.ip());
        let asked = takes_oc.then(|| self.asked(snapshot));
        put_via(out, sender.transport, sender.advertised(next_hop.ip()), &branch, mark, asked.as_ref());
    }

    /// What shows that an answer comes from the next hop.
    #[cold]
    fn asked(&self, snapshot: &Snapshot) -> [u8; ASKED_LEN] {
        let mut token = [0; ASKED_LEN];
        Asked::write(&snapshot.keys, self.dialog.signer, self.transaction, *self.next_hop, &mut token);
        token
    }

    /// Writes one value, or two where the sides differ, the egress-facing one on top (RFC 5658 §5).
    ///
    /// RFC 3261 §16.6 step 4: "it MUST insert a Record-Route header field value into the copy before any
    /// existing Record-Route header field values".
    fn put_record_routes(&self, out: &mut Output<'_>, snapshot: &Snapshot) {
        let ingress = self.ingress.advertised(self.source.ip());
        let egress = self.egress.advertised(self.next_hop.ip());
        let (initiator, responder) = (self.ingress.identity, self.egress.identity);
        let paired = self.ingress.id != self.egress.id || ingress.text != egress.text || self.flows.is_some();
        let stateful = self.stateful_dialog;
        let far = RecordRoute { initiator, responder, side: Side::Responder, paired, stateful };
        if let Some(flows) = self.flows {
            let near = RecordRoute { side: Side::Initiator, ..far };
            self.put_of_flow(out, snapshot, self.egress, egress, &far, flows.responder.as_ref());
            self.put_of_flow(out, snapshot, self.ingress, ingress, &near, flows.initiator.as_ref());
        } else if paired {
            let near = RecordRoute { side: Side::Initiator, ..far };
            let [far, near] = RecordRoute::written([far, near], &snapshot.keys, &self.dialog);
            self.put_value(out, snapshot, (self.egress, egress), &far);
            self.put_value(out, snapshot, (self.ingress, ingress), &near);
        } else {
            let [only] = RecordRoute::written([far], &snapshot.keys, &self.dialog);
            self.put_value(out, snapshot, (self.egress, egress), &only);
        }
    }

    /// A value on the side of a client that is reached by its own connection alone, if there is one.
    #[cold]
    fn put_of_flow(
        &self,
        out: &mut Output<'_>,
        snapshot: &Snapshot,
        listener: &Listener,
        advertised: &Advertise,
        token: &RecordRoute,
        flow: Option<&Flow>,
    ) {
        match flow {
            Some(flow) => {
                let text = token.with_flow(flow, &snapshot.keys, &self.dialog);
                self.put_value(out, snapshot, (listener, advertised), &text);
            }
            None => {
                let [text] = RecordRoute::written([*token], &snapshot.keys, &self.dialog);
                self.put_value(out, snapshot, (listener, advertised), &text);
            }
        }
    }

    /// "The URI placed in the Record-Route header field value MUST be a SIP or SIPS URI. This URI MUST
    /// contain an lr parameter"; "If the Request-URI contains a SIPS URI, […] the URI placed into the
    /// Record-Route header field MUST be a SIPS URI." Not so on a side without TLS, where a SIPS request should not have come
    /// from: "note that UDP is not a valid transport for SIPS" (§26.2.2), and who took it at its word would be lost.
    fn put_value(
        &self,
        out: &mut Output<'_>,
        snapshot: &Snapshot,
        (listener, advertised): (&Listener, &Advertise),
        token: &[u8],
    ) {
        let asked = snapshot.plan.egress.record_route_tls == RecordRouteTls::Sips;
        let is_sips = match listener.transport {
            Transport::Tls => self.sips || asked,
            other => self.sips && other.is_secure(),
        };
        match is_sips {
            true => out.put_all([b"Record-Route: <sips:", token, b"@"]),
            false => out.put_all([b"Record-Route: <sip:", token, b"@"]),
        }
        out.put_text(advertised.text.as_bytes());
        let transports_differ = self.ingress.transport != self.egress.transport;
        // A SIPS URI has said it: what else a `transport` says there is what TLS is over.
        let is_said = is_sips && listener.transport == Transport::Tls;
        if is_said {
            out.put(b";lr>\r\n");
            return;
        }
        if transports_differ || !matches!(listener.transport, Transport::Udp) {
            out.put(b";transport=");
            out.put_text(listener.transport.in_uri().as_bytes());
        }
        out.put(b";lr>\r\n");
    }
}
