//! The token in Record-Route: what brings the later requests of a dialog to the right listener.

use super::base32::{self, Part};
use super::flow::{self, FLOW_TOKEN_LEN, Flow};
use super::keys::{Key, KeyId, Keys, MAC_BYTES, Mac, Purpose};
use super::prf::{Block, Cipher, Pass, Taking, len};

/// Version 1: no flow.
const VERSION: u8 = 1;
/// The same with the flow of the value's own side, and longer.
const VERSION_WITH_FLOW: u8 = 2;

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
/// dialog only. Of a pair without a flow it does not cover whose side the value stands for, so that both
/// have one MAC: whoever gets one of them gets the other, too.
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

/// What the MAC of a token covers of it, which is the same for both of a pair: 80 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Covered(u128);

impl Covered {
    /// The last block of what the MAC covers. It holds the lengths of Call-ID and tag, which are the blocks before, so that
    /// no byte can move from one to the other.
    #[inline(always)]
    pub(super) fn last(self, call_id: &[u8], tag: &[u8]) -> Block {
        let lengths = u128::from(len(call_id)) << 96 | u128::from(len(tag)) << 80;
        Purpose::RecordRoute.last(lengths | self.0)
    }
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
    /// The connection of who stands on the token's own side.
    pub flow: Option<Flow>,
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

    /// The connection that the request leaves by, where whom it goes to is reached by no other.
    pub fn flow_onward(&self) -> Option<Flow> {
        self.flow.filter(|_| self.token.side != self.sender)
    }
}

impl RecordRoute {
    /// The text of a token that names the connection of who stands on its own side.
    #[cold]
    pub fn with_flow(&self, flow: &Flow, keys: &Keys, dialog: &Dialog<'_>) -> [u8; FLOW_TOKEN_LEN] {
        let Dialog { signer, call_id, from_tag } = *dialog;
        flow::written(self.fields_of(VERSION_WITH_FLOW), flow, keys, (signer, call_id, from_tag))
    }

    /// Its text for a dialog: what it says, then a MAC, a part each.
    pub fn written(&self, keys: &Keys, dialog: &Dialog<'_>) -> [u8; RECORD_ROUTE_LEN] {
        let Dialog { signer, call_id, from_tag } = *dialog;
        let full = keys.named(signer).prf.of_parts([call_id, from_tag], self.last(call_id, from_tag));
        let text = base32::encode(&[self.part(), Mac::cut(full).part()]);
        *text.as_flattened().first_chunk().expect("two are all of it")
    }

    /// What the MAC covers of it.
    #[inline(always)]
    pub fn covered(&self) -> Covered {
        Covered(self.of_both_sides())
    }

    #[inline(always)]
    fn last(&self, call_id: &[u8], tag: &[u8]) -> Block {
        self.covered().last(call_id, tag)
    }

    /// Whether a user part has the form of a token; says nothing about its MAC. What has the form but
    /// does not verify is counted, what has not is an ordinary user.
    pub fn looks_like(user: &[u8]) -> bool {
        match user.try_into() {
            Ok(user) => decode(user).is_some(),
            Err(_) => decode_with_flow(user).is_some(),
        }
    }

    /// Identity of the listener whose address stands beside the token.
    pub const fn own(&self) -> u32 {
        match self.side {
            Side::Initiator => self.initiator,
            Side::Responder => self.responder,
        }
    }

    /// Version, flags and both listeners: 80 bits.
    #[inline(always)]
    fn fields(&self) -> u128 {
        self.fields_of(VERSION)
    }

    /// The same for either value of a pair.
    #[inline(always)]
    fn of_both_sides(&self) -> u128 {
        let side = if self.paired { RESPONDER_SIDE } else { 0 };
        self.fields() & !(u128::from(side) << 64)
    }

    #[inline(always)]
    fn fields_of(&self, version: u8) -> u128 {
        let responder_side = if self.side == Side::Responder { RESPONDER_SIDE } else { 0 };
        let paired = if self.paired { PAIRED } else { 0 };
        let stateful = if self.stateful { STATEFUL } else { 0 };
        u128::from(version) << 72
            | u128::from(responder_side | paired | stateful) << 64
            | u128::from(self.initiator) << 32
            | u128::from(self.responder)
    }

    /// The fields as they begin the text.
    fn part(&self) -> Part {
        let fields = self.fields();
        Part([(fields >> 40) as u64, fields as u64 & 0xff_ffff_ffff])
    }
}

/// Reads tokens of one request.
pub struct Verifier<'a> {
    keys: &'a Keys,
    call_id: &'a [u8],
    from_tag: &'a [u8],
    to_tag: &'a [u8],
    /// What the token that was read last has in common with its mate, which follows it as a rule, and whom it is bound to.
    known: Option<(u128, Mac, Sender)>,
}

impl<'a> Verifier<'a> {
    /// For a request with this Call-ID and these tags.
    pub fn new(keys: &'a Keys, call_id: &'a [u8], from_tag: &'a [u8], to_tag: &'a [u8]) -> Self {
        Self { keys, call_id, from_tag, to_tag, known: None }
    }

    /// Reads the token from the user part of a Route or Request-URI that names us, and says who sent
    /// the request: the bound tag is the sender's From tag if the initiator sent it, and its To tag if
    /// the responder did. `None` if no key of ours made it for this dialog.
    ///
    /// An element that uses one tag for both directions leaves the sender open; then the own side of
    /// a paired value decides, because each side meets the value that faces it first.
    pub fn read(&mut self, user: &[u8]) -> Option<Verified> {
        match user.try_into() {
            Ok(user) => self.read_usual(user).map(|(token, sender)| Verified { token, sender, flow: None }),
            Err(_) => self.read_with_flow(user),
        }
    }

    /// The same of a token without a flow: what it says, and who sent the request.
    pub fn read_usual(&mut self, user: &[u8; RECORD_ROUTE_LEN]) -> Option<(RecordRoute, Sender)> {
        let (token, mac) = decode(user)?;
        let bound_by = match self.known {
            Some((known, its_mac, sender)) if known == token.of_both_sides() && its_mac.is_same(mac) => {
                sender
            }
            _ => self.bound_by(&token, mac)?,
        };
        Some((token, self.sender(&token, bound_by)))
    }

    fn sender(&self, token: &RecordRoute, bound_by: Sender) -> Sender {
        if self.from_tag == self.to_tag && token.paired { token.side } else { bound_by }
    }

    /// The same for a token with a flow.
    #[cold]
    fn read_with_flow(&self, user: &[u8]) -> Option<Verified> {
        let (token, flow, mac) = decode_with_flow(user)?;
        let fields = token.fields_of(VERSION_WITH_FLOW);
        let is_bound_to = |tag: &[u8]| {
            self.keys.all().any(|key| flow::mac(key, self.call_id, tag, fields, &flow).is_same(mac))
        };
        let bound_by = match is_bound_to(self.from_tag) {
            true => Side::Initiator,
            false => is_bound_to(self.to_tag).then_some(Side::Responder)?,
        };
        Some(Verified { token, sender: self.sender(&token, bound_by), flow: Some(flow) })
    }

    /// Whose tag the token is bound to, the sender's first.
    fn bound_by(&mut self, token: &RecordRoute, mac: Mac) -> Option<Sender> {
        let sender = self.keys.all().find_map(|key| {
            let [initiator, responder] = self.macs(key, token);
            match initiator.is_same(mac) {
                true => Some(Side::Initiator),
                false => responder.is_same(mac).then_some(Side::Responder),
            }
        })?;
        self.known = Some((token.of_both_sides(), mac, sender));
        Some(sender)
    }

    /// The MACs that the token would have for each of the tags.
    fn macs(&self, key: &Key, token: &RecordRoute) -> [Mac; 2] {
        let Self { call_id, from_tag, to_tag, .. } = *self;
        let ends = [from_tag, to_tag].map(|tag| (tag, token.last(call_id, tag)));
        let mut bound = Bound { call_id, ends, macs: Default::default() };
        key.prf.pass(&mut bound);
        bound.macs.map(Mac::cut)
    }
}

/// What the MACs of a token cover that is bound to each of the tags of a request, with their last blocks.
struct Bound<'a> {
    call_id: &'a [u8],
    ends: [(&'a [u8], Block); 2],
    macs: [Block; 2],
}

impl Pass for Bound<'_> {
    #[inline(always)]
    fn take_in<C: Cipher, const FAR: bool>(&mut self, mut new: Taking<'_, C, FAR>) -> u32 {
        new.part(self.call_id);
        let mut bytes = 0;
        for ((tag, last), mac) in self.ends.iter().zip(&mut self.macs) {
            let mut bound = new.clone();
            bound.part(tag);
            bytes |= bound.running.bytes;
            *mac = bound.end(*last);
        }
        bytes
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

fn decode(user: &[u8; RECORD_ROUTE_LEN]) -> Option<(RecordRoute, Mac)> {
    let [Part(groups), mac] = base32::decode(user)?;
    Some((of_groups(groups, VERSION)?, Mac::of(mac)))
}

fn decode_with_flow(user: &[u8]) -> Option<(RecordRoute, Flow, Mac)> {
    let (fields, flow, mac) = flow::read(user)?;
    let groups = [(fields >> 40) as u64, fields as u64 & 0xff_ffff_ffff];
    Some((of_groups(groups, VERSION_WITH_FLOW)?, flow, mac))
}

#[inline(always)]
fn of_groups([a, b]: [u64; 2], wanted: u8) -> Option<RecordRoute> {
    let (version, flags) = ((a >> 32) as u8, (a >> 24) as u8);
    if version != wanted || flags & !(RESPONDER_SIDE | PAIRED | STATEFUL) != 0 {
        return None;
    }
    Some(RecordRoute {
        initiator: (a << 8) as u32 | (b >> 32) as u32,
        responder: b as u32,
        side: if flags & RESPONDER_SIDE == 0 { Side::Initiator } else { Side::Responder },
        paired: flags & PAIRED != 0,
        stateful: flags & STATEFUL != 0,
    })
}
