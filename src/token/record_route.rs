//! The token in Record-Route: what brings the later requests of a dialog to the right listener.

use super::base32;
use super::joined::joined;
use super::keys::{Key, KeyId, Keys, MAC_BYTES, Mac, Purpose, cut, same};
use super::prf::{Running, len};

/// Version 1: no flows. A version that names a flow for a side is longer.
const VERSION: u8 = 1;

/// version, flags, both listeners
const FIELDS: usize = 1 + 1 + 4 + 4;
const BODY: usize = FIELDS + MAC_BYTES;

/// Length of a token in bytes: the user part of the URI in Record-Route.
pub const RECORD_ROUTE_LEN: usize = base32::encoded_len(BODY);

const RESPONDER_SIDE: u8 = 1;
const PAIRED: u8 = 2;
const STATEFUL: u8 = 4;

/// One of the two sides of a dialog, named after who stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who sent the request that Record-Route was written into.
    Initiator,
    /// Who answers it.
    Responder,
}

/// What a Record-Route value of ours says. It is written as the *user part* of its URI:
/// `<sip:aeaa…@203.0.113.10:5060;lr>`.
///
/// The user part, and not a parameter, because it is what survives. RFC 3261 §19.1.1 (table 1) allows
/// both in a Route and in a Request-URI, but a strict router moves the value into the Request-URI
/// (§16.6 step 6), where older stacks rebuild the URI from user, host, port and the parameters that
/// they know; and URIs with different user parts are never equal (§19.1.4), while an unknown parameter
/// is ignored in comparison, so a neighbour that drops duplicates by comparing would take our two
/// values on one address for one. Lower-case base32 needs no escaping there. So "a proxy need only
/// place enough information in those URIs to recognize them as values it provided when they later
/// appear" (§16.4) is met by the user part alone, wherever it appears.
///
/// 160 bits: version 8, flags 8, the initiator's side's listener 32, the responder's 32, MAC 80. The
/// MAC covers the token, the Call-ID and the From tag of the initiator: the token is good for this
/// dialog only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRoute {
    /// Identity of the listener that faces the initiator: the request came in on it.
    pub initiator: u32,
    /// Identity of the listener that faces the responder: the request left from it.
    pub responder: u32,
    /// Which of the two this value's own address belongs to.
    pub side: Side,
    /// This is one of two values that stand next to each other; both name both listeners.
    pub paired: bool,
    /// The dialog's requests are forwarded statefully: the rule that let the first one through says so.
    pub stateful: bool,
}

/// Who sent an in-dialog request.
pub type Sender = Side;

/// A token that holds, and from which side it was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What it says.
    pub token: RecordRoute,
    /// Who sent the request.
    pub sender: Sender,
}

impl Verified {
    /// Identity of the listener that the request leaves by: the one that faces the other side.
    pub const fn egress(&self) -> u32 {
        match self.sender {
            Side::Initiator => self.token.responder,
            Side::Responder => self.token.initiator,
        }
    }

    /// Identity of the listener that faces the sender.
    pub const fn ingress(&self) -> u32 {
        match self.sender {
            Side::Initiator => self.token.initiator,
            Side::Responder => self.token.responder,
        }
    }
}

impl RecordRoute {
    /// The texts of these tokens for a dialog.
    #[inline]
    pub fn written<const N: usize>(
        tokens: [Self; N],
        keys: &Keys,
        dialog: &Dialog<'_>,
    ) -> [[u8; RECORD_ROUTE_LEN]; N] {
        let fields = tokens.map(|token| token.fields());
        let macs = dialog.macs(keys.named(dialog.signer), fields);
        std::array::from_fn(|n| {
            let mut text = [0; RECORD_ROUTE_LEN];
            base32::encode(&joined::<BODY>(&[&fields[n], &macs[n]]), &mut text);
            text
        })
    }

    /// Whether a user part has the form of a token; says nothing about its MAC. What has the form but
    /// does not verify is counted, what has not is an ordinary user.
    pub fn looks_like(user: &[u8]) -> bool {
        decode(user).is_some()
    }

    /// Reads the token from the user part of a Route or Request-URI that names us, and says who sent
    /// the request: the bound tag is the sender's From tag if the initiator sent it, and its To tag if
    /// the responder did. `None` if no key of ours made it for this dialog.
    ///
    /// An element that uses one tag for both directions leaves the sender open; then the own side of
    /// a paired value decides, because each side meets the value that faces it first.
    pub fn verify(
        user: &[u8],
        keys: &Keys,
        call_id: &[u8],
        from_tag: &[u8],
        to_tag: &[u8],
    ) -> Option<Verified> {
        let (token, body) = decode(user)?;
        let (fields, mac) = body.split_first_chunk::<FIELDS>()?;
        let mac = mac.first_chunk::<MAC_BYTES>()?;
        let bound = |from_tag: &[u8]| {
            let dialog = Dialog { signer: keys.signer(), call_id, from_tag };
            keys.all().any(|key| dialog.macs(key, [*fields]).iter().all(|own| same(own, mac)))
        };
        let sender = if bound(from_tag) {
            if from_tag == to_tag && token.paired { token.side } else { Side::Initiator }
        } else if bound(to_tag) {
            Side::Responder
        } else {
            return None;
        };
        Some(Verified { token, sender })
    }

    /// Whether this is the mate of `other`: the other value of the same pair.
    pub fn is_mate_of(&self, other: &Self) -> bool {
        self.paired
            && other.paired
            && self.side != other.side
            && (self.initiator, self.responder) == (other.initiator, other.responder)
    }

    fn fields(&self) -> [u8; FIELDS] {
        let responder_side = if self.side == Side::Responder { RESPONDER_SIDE } else { 0 };
        let paired = if self.paired { PAIRED } else { 0 };
        let [a, b, c, d] = self.initiator.to_be_bytes();
        let [e, f, g, h] = self.responder.to_be_bytes();
        let stateful = if self.stateful { STATEFUL } else { 0 };
        [VERSION, responder_side | paired | stateful, a, b, c, d, e, f, g, h]
    }
}

/// What tokens are bound to, and by which key.
#[derive(Clone, Copy, Debug)]
pub struct Dialog<'a> {
    /// [`Keys::signer`] for a new transaction, and the pinned one for a retransmission.
    pub signer: KeyId,
    /// Call-ID.
    pub call_id: &'a [u8],
    /// From tag of the initiator; empty where it has none.
    pub from_tag: &'a [u8],
}

impl Dialog<'_> {
    /// The MACs of tokens with these fields. The last block holds the fields and the lengths of Call-ID and
    /// tag, so that no byte can move from one to the other.
    #[inline]
    fn macs<const N: usize>(&self, key: &Key, fields: [[u8; FIELDS]; N]) -> [Mac; N] {
        let ([a, b], [c, d]) = (len(self.call_id), len(self.from_tag));
        let lasts =
            fields.map(|[e, f, g, h, i, j, k, l, m, n]| [0, 0, a, b, c, d, e, f, g, h, i, j, k, l, m, n]);
        let parts = [self.call_id, self.from_tag];
        key.prf(Purpose::RecordRoute).run(&mut Running::default(), parts, &[], lasts).map(cut)
    }
}

fn decode(user: &[u8]) -> Option<(RecordRoute, [u8; BODY])> {
    let body: [u8; BODY] = base32::decode(user)?;
    let [version, flags, a, b, c, d, e, f, g, h, ..] = body;
    if version != VERSION || flags & !(RESPONDER_SIDE | PAIRED | STATEFUL) != 0 {
        return None;
    }
    let token = RecordRoute {
        initiator: u32::from_be_bytes([a, b, c, d]),
        responder: u32::from_be_bytes([e, f, g, h]),
        side: if flags & RESPONDER_SIDE == 0 { Side::Initiator } else { Side::Responder },
        paired: flags & PAIRED != 0,
        stateful: flags & STATEFUL != 0,
    };
    Some((token, body))
}
