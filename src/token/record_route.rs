//! The token in Record-Route: what brings the later requests of a dialog to the right listener.

use std::hash::Hasher;

use siphasher::sip128::SipHasher24;

use super::base32;
use super::joined::joined;
use super::keys::{Key, KeyId, Keys, MAC_BYTES, Purpose, cut, same};

/// Version 1: no flows. A version that names a flow for a side is longer.
const VERSION: u8 = 1;

/// version, flags, both listeners
const FIELDS: usize = 1 + 1 + 4 + 4;
const BODY: usize = FIELDS + MAC_BYTES;

/// Length of a token in bytes: the user part of the URI in Record-Route.
pub const RECORD_ROUTE_LEN: usize = base32::encoded_len(BODY);

const RESPONDER_SIDE: u8 = 1;
const PAIRED: u8 = 2;

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
    /// Writes the token for a dialog.
    pub fn write(&self, dialog: &DialogMac, out: &mut [u8; RECORD_ROUTE_LEN]) {
        let fields = self.fields();
        base32::encode(&joined::<BODY>(&[&fields, &dialog.of(&fields)]), out);
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
        let bound =
            |tag: &[u8]| keys.all().any(|key| same(&DialogMac::under(key, call_id, tag).of(fields), mac));
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
        [VERSION, responder_side | paired, a, b, c, d, e, f, g, h]
    }
}

/// Binds tokens to one dialog: a MAC that has taken in the Call-ID and the From tag of the initiator, and
/// waits for a token's fields.
///
/// The Call-ID's length stands before it, so that no byte can move from it to the tag; the fields, of
/// fixed length, stand last.
pub struct DialogMac(SipHasher24);

impl DialogMac {
    /// For the dialog with this Call-ID and this From tag of the initiator (empty where it has none).
    ///
    /// `signer` is [`Keys::signer`] for a new transaction, and the pinned one for a retransmission.
    pub fn new(keys: &Keys, signer: KeyId, call_id: &[u8], from_tag: &[u8]) -> Self {
        Self::under(keys.named(signer), call_id, from_tag)
    }

    fn under(key: &Key, call_id: &[u8], from_tag: &[u8]) -> Self {
        let mut hasher = key.hasher(Purpose::RecordRoute);
        hasher.write_u64(call_id.len() as u64);
        hasher.write(call_id);
        hasher.write(from_tag);
        Self(hasher)
    }

    fn of(&self, fields: &[u8; FIELDS]) -> [u8; MAC_BYTES] {
        let mut hasher = self.0;
        hasher.write(fields);
        cut(hasher)
    }
}

fn decode(user: &[u8]) -> Option<(RecordRoute, [u8; BODY])> {
    let body: [u8; BODY] = base32::decode(user)?;
    let [version, flags, a, b, c, d, e, f, g, h, ..] = body;
    if version != VERSION || flags & !(RESPONDER_SIDE | PAIRED) != 0 {
        return None;
    }
    let token = RecordRoute {
        initiator: u32::from_be_bytes([a, b, c, d]),
        responder: u32::from_be_bytes([e, f, g, h]),
        side: if flags & RESPONDER_SIDE == 0 { Side::Initiator } else { Side::Responder },
        paired: flags & PAIRED != 0,
    };
    Some((token, body))
}
