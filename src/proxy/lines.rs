//! The header lines that Viaduct writes into a request: Record-Route and Via.

use std::net::SocketAddr;

use crate::net::Transport;
use crate::plan::{Advertise, Listener, RecordRouteTls};
use crate::rewrite::Output;
use crate::snapshot::Snapshot;
use crate::stream::Number;
use crate::token::{
    ASKED_LEN, Asked, BRANCH_LEN, Branch, Covered, Dialog, Flow, Keys, LOOP_MARK_LEN, LoopMark, PART_LEN,
    RecordRoute, Side, base32_texts, parts_onward,
};

use super::flows::Flows;
use super::loops;
use super::oc;
use super::tops::{Known, Places, Sides, Tops};

/// What our Via has of a transaction.
const BRANCH_AND_MARK: usize = BRANCH_LEN + loops::PARAMETER.len() + LOOP_MARK_LEN;

/// How our Via ends, where the next hop is not asked whether it wants to be sent less.
pub(super) const VIA_END: &[u8] = b"\r\n";

/// What lines depend on that are the same in many requests: listeners and who is at their other end, of who sent the request, of
/// who gets it, and where it leaves from; the shard that the branch names; and [`flags`].
#[inline(always)]
pub(super) fn sides(ends: [(&Listener, &SocketAddr); 3], owner: u16, flags: u8) -> Sides {
    let [(ingress, source), (egress, next_hop), (sender, _)] = ends;
    let shows_one = (ingress.advertise.len() | egress.advertise.len() | sender.advertise.len()) == 1;
    let shown = if shows_one { 0 } else { shown(ingress, source, egress, sender, next_hop) };
    Sides::new([ingress.id, egress.id, sender.id], shown, owner, flags)
}

/// Which of its addresses each listener shows, 16 bits each.
#[cold]
#[inline(never)]
fn shown(
    ingress: &Listener,
    source: &SocketAddr,
    egress: &Listener,
    sender: &Listener,
    next_hop: &SocketAddr,
) -> u64 {
    let shown = |listener: &Listener, to| listener.shown(to) as u64 & 0xffff;
    shown(ingress, source) | shown(egress, next_hop) << 16 | shown(sender, next_hop) << 32
}

/// What else they depend on: see [`Top`].
#[inline(always)]
pub(super) fn flags(stateful: bool, record_route: bool, sips: bool, stateful_dialog: bool) -> u8 {
    u8::from(stateful) << 3 | u8::from(record_route) << 2 | u8::from(sips) << 1 | u8::from(stateful_dialog)
}

/// What lines have of one request.
pub(super) struct Own<'a> {
    pub branch: Branch,
    /// Where the answer will go.
    pub response_to: &'a SocketAddr,
    /// What the tokens are bound to, and who signs them and the branch.
    pub dialog: Dialog<'a>,
    /// The loop mark.
    pub mark: LoopMark,
}

impl Own<'_> {
    /// The texts that are its own: two parts of the branch, the loop mark, and the MAC of the tokens.
    #[inline(always)]
    pub fn texts(&self, keys: &Keys, places: &Places) -> [[u8; PART_LEN]; 4] {
        let of_token = places.token.as_ref().map(|(token, _)| *token);
        let (branch, mac) = parts_onward(keys, &self.branch, *self.response_to, of_token, &self.dialog);
        base32_texts(&[branch[1], branch[2], self.mark.part(), mac])
    }

    /// Puts them where they belong.
    #[inline(always)]
    pub fn put(&self, [b, c, mark, mac]: &[[u8; PART_LEN]; 4], places: &Places, text: &mut [u8]) {
        if let Some((_, [first, second])) = places.token {
            put_mac(text, first, mac);
            put_mac(text, second, mac);
        }
        let own = text.get_mut(places.branch..).and_then(<[u8]>::first_chunk_mut::<BRANCH_AND_MARK>);
        if let Some((own, value)) = own.and_then(|own| own.split_first_chunk_mut()) {
            value[loops::PARAMETER.len()..].copy_from_slice(&mark[..LOOP_MARK_LEN]);
            Branch::put_transaction([b, c], own);
            let branch = self.branch;
            if !branch.is_of_datagram() {
                branch.put_way_back(own);
            }
        }
    }
}

/// Puts a MAC where it belongs.
#[inline(always)]
fn put_mac(text: &mut [u8], at: usize, mac: &[u8; PART_LEN]) {
    if let Some(room) = text.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *room = *mac;
    }
}

/// All that stands on top of a request that is sent on, and differs from one next hop to another.
#[derive(Clone, Copy)]
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
    pub mark: LoopMark,
}

impl Top<'_> {
    /// Writes Record-Route and Via.
    ///
    /// RFC 3261 §16.11: "the component of the branch parameter that makes it unique MUST be the same each time a
    /// retransmitted request is forwarded"; §16.6 step 8: "CANCEL and ACK requests (for non-2xx responses) MUST have the
    /// same branch value as the corresponding request they cancel or acknowledge."
    pub fn put(&self, out: &mut Output<'_>, snapshot: &Snapshot, tops: &mut Tops) {
        let asks = oc::asks(snapshot, self.next_hop);
        if self.flows.is_some() {
            self.put_anew(out, snapshot, asks);
            return;
        }
        let sides = self.sides();
        let known = match tops.get(snapshot.generation, sides) {
            Some(known) => known,
            None => self.keep(tops, sides, snapshot),
        };
        match known.text() {
            [] => _ = self.put_anew(out, snapshot, asks),
            text => self.put_again(out, snapshot, (text, &known.places), asks),
        }
    }

    fn sides(&self) -> Sides {
        let Self { ingress, source, egress, sender, next_hop, .. } = *self;
        let flags = flags(self.stateful, self.record_route, self.sips, self.stateful_dialog);
        sides([(ingress, source), (egress, next_hop), (sender, next_hop)], self.owner, flags)
    }

    /// Keeps the lines of these sides.
    #[cold]
    #[inline(never)]
    pub fn keep<'t>(&self, tops: &'t mut Tops, sides: Sides, snapshot: &Snapshot) -> &'t Known {
        // The way back of a connection is its own.
        let this = Self { stream: Number::NONE, peer: 0, ..*self };
        tops.keep(snapshot.generation, sides, |out| this.put_anew(out, snapshot, false))
    }

    /// Writes the lines that are known, with what belongs to this request in its places.
    fn put_again(
        &self,
        out: &mut Output<'_>,
        snapshot: &Snapshot,
        (text, places): (&[u8], &Places),
        asks: bool,
    ) {
        let Self { response_to, dialog, mark, .. } = *self;
        let own = Own { branch: self.branch(), response_to, dialog, mark };
        let texts = own.texts(&snapshot.keys, places);
        let text = if asks { text.strip_suffix(VIA_END).unwrap_or(text) } else { text };
        own.put(&texts, places, out.put_to_be_changed(text));
        if asks {
            self.put_asked(out, snapshot);
        }
    }

    /// Writes the lines; gives where in all that was written there stands what belongs to this request.
    ///
    /// RFC 3261 §16.6 step 8: "The proxy MUST insert a Via header field value into the copy before the
    /// existing Via header field values."; RFC 3581 §3: "A client […] MAY include an "rport" parameter […].
    /// This parameter MUST have no value".
    #[cold]
    #[inline(never)]
    pub fn put_anew(&self, out: &mut Output<'_>, snapshot: &Snapshot, asks: bool) -> Places {
        let token = if self.record_route { Some(self.put_record_routes(out, snapshot)) } else { None };
        if let Some(flows) = self.flows {
            let advertised = self.egress.advertised(self.next_hop.ip());
            flows.put_path(out, snapshot, self.ingress.identity, (self.egress, advertised));
        }
        let mut branch = [0; BRANCH_LEN];
        self.branch().write(&snapshot.keys, self.dialog.signer, *self.response_to, &mut branch);
        out.put_all([b"Via: SIP/2.0/", self.sender.transport.via().as_bytes(), b" "]);
        out.put_text(self.sender.advertised(self.next_hop.ip()).text.as_bytes());
        out.put(b";rport;branch=");
        let at = out.written();
        out.put_all([&branch, loops::PARAMETER, &self.mark.text()]);
        if asks {
            self.put_asked(out, snapshot)
        } else {
            out.put(VIA_END)
        }
        Places { token, branch: at }
    }

    /// Ends our Via with what asks the next hop whether it wants to be sent less, and shows that an answer comes from it.
    #[cold]
    #[inline(never)]
    pub fn put_asked(&self, out: &mut Output<'_>, snapshot: &Snapshot) {
        let mut token = [0; ASKED_LEN];
        Asked::write(&snapshot.keys, self.dialog.signer, self.transaction, *self.next_hop, &mut token);
        oc::put_offer(out, &token);
        out.put(VIA_END);
    }

    fn branch(&self) -> Branch {
        Branch {
            owner: self.owner,
            stateful: self.stateful,
            peer: self.peer,
            ingress: self.ingress.identity,
            connection: self.stream.to_bits(),
            transaction: self.transaction,
        }
    }

    /// Writes one value, or two where the sides differ, the egress-facing one on top (RFC 5658 §5). Gives what the MAC of the token
    /// covers of it, and where it begins in each of them.
    ///
    /// RFC 3261 §16.6 step 4: "it MUST insert a Record-Route header field value into the copy before any
    /// existing Record-Route header field values".
    fn put_record_routes(&self, out: &mut Output<'_>, snapshot: &Snapshot) -> (Covered, [usize; 2]) {
        let ingress = self.ingress.advertised(self.source.ip());
        let egress = self.egress.advertised(self.next_hop.ip());
        let (initiator, responder) = (self.ingress.identity, self.egress.identity);
        let paired = self.ingress.id != self.egress.id || ingress.text != egress.text || self.flows.is_some();
        let stateful = self.stateful_dialog;
        let far = RecordRoute { initiator, responder, side: Side::Responder, paired, stateful };
        let near = RecordRoute { side: Side::Initiator, ..far };
        let [to_responder, to_initiator] =
            self.flows.map_or([None; 2], |flows| [flows.responder.as_ref(), flows.initiator.as_ref()]);
        let of_far = self.put_token(out, snapshot, (self.egress, egress), &far, to_responder);
        let of_near = match paired {
            true => self.put_token(out, snapshot, (self.ingress, ingress), &near, to_initiator),
            false => of_far,
        };
        (far.covered(), [of_far, of_near])
    }

    /// Writes a value, on the side of a client that is reached by its own connection alone, if there is one. Gives where
    /// its MAC begins.
    fn put_token(
        &self,
        out: &mut Output<'_>,
        snapshot: &Snapshot,
        side: (&Listener, &Advertise),
        token: &RecordRoute,
        flow: Option<&Flow>,
    ) -> usize {
        if let Some(flow) = flow {
            return self.put_value(out, snapshot, side, &token.with_flow(flow, &snapshot.keys, &self.dialog));
        }
        self.put_value(out, snapshot, side, &token.written(&snapshot.keys, &self.dialog))
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
    ) -> usize {
        let asked = snapshot.plan.egress.record_route_tls == RecordRouteTls::Sips;
        let is_sips = match listener.transport {
            Transport::Tls => self.sips || asked,
            other => self.sips && other.is_secure(),
        };
        match is_sips {
            true => out.put_all([b"Record-Route: <sips:", token]),
            false => out.put_all([b"Record-Route: <sip:", token]),
        }
        let end = out.written();
        out.put(b"@");
        out.put_text(advertised.text.as_bytes());
        let transports_differ = self.ingress.transport != self.egress.transport;
        // A SIPS URI has said it: what else a `transport` says there is what TLS is over.
        let is_said = is_sips && listener.transport == Transport::Tls;
        if !is_said && (transports_differ || !matches!(listener.transport, Transport::Udp)) {
            out.put(b";transport=");
            out.put_text(listener.transport.in_uri().as_bytes());
        }
        out.put(b";lr>\r\n");
        end.saturating_sub(PART_LEN)
    }
}
