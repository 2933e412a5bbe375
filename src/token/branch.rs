//! The branch of the Via that Viaduct writes: what brings a response home.

use std::net::{IpAddr, SocketAddr};

use super::base32::{self, PART_LEN, Part};
use super::keys::{KeyId, Keys, MAC_BYTES, Mac, Purpose};
use super::prf::Block;
use crate::net::canonical;

/// What every branch of RFC 3261 begins with (§8.1.1.7).
pub const COOKIE: &[u8; 7] = b"z9hG4bK";

/// Version 1.
const VERSION: u8 = b'b';
/// Written for a request that is forwarded statelessly.
const STATELESS: u8 = b's';
/// Written for a request that a transaction is kept of.
const STATEFUL: u8 = b't';

/// Version, mode, and the owner in two digits: in fixed places, read before anything else.
const HEAD: usize = 4;
/// peer, ingress, connection, transaction
const FIELDS: usize = 2 + 4 + 4 + 8;
const BODY: usize = FIELDS + MAC_BYTES;
/// The body in groups of 40 bits, and how many bits of the last it does not fill.
const GROUPS: usize = (BODY * 8).div_ceil(40);
const SPARE_BITS: u32 = (GROUPS * 40 - BODY * 8) as u32;
/// What stands behind the head, two groups each.
const PARTS: usize = GROUPS / 2;
/// Its length.
const TEXT: usize = base32::encoded_len(BODY);

/// Length of a branch in bytes, the cookie included.
pub const BRANCH_LEN: usize = COOKIE.len() + HEAD + TEXT;

/// What a branch of ours says:
///
/// ```text
/// z9hG4bK b s oo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
///         │ │ │  └ 45 digits: peer 16, ingress 32, connection 32, transaction 64, MAC 80 bits
///         │ │ └ owner, two digits, the higher first
///         │ └ mode: s stateless, t kept as a transaction
///         └ version
/// ```
///
/// The MAC covers all of it and the address that the response will be sent to: a branch that somebody
/// replays cannot make Viaduct send anywhere but where the branch was bound for. The same request
/// gives the same branch (RFC 3261 §16.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    /// The shard that owns the transaction, below [`crate::limits::SHARDS`].
    pub owner: u16,
    /// The owner keeps the transaction: the response is its.
    pub stateful: bool,
    /// The mark of the peer of that connection; 0 for datagrams.
    pub peer: u16,
    /// Identity of the listener that the request came in on, which the response leaves from.
    pub ingress: u32,
    /// The connection that the request came in on; 0 for datagrams.
    pub connection: u32,
    /// Hash of the transaction: the low 64 bits of [`super::TransactionKey`].
    pub transaction: u64,
}

/// What a branch of our form says, and its MAC.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// What it says, which is not known to be true.
    pub says: Branch,
    mac: Mac,
}

impl Claim {
    /// A key of ours made the branch for a response that is sent there, as its other Vias say.
    pub fn is_true(&self, keys: &Keys, response_to: SocketAddr) -> bool {
        let signed = self.says.signed(response_to);
        keys.verify(signed.before(), signed.last, self.mac)
    }
}

impl Branch {
    /// Writes the branch, for a response that will be sent to `response_to` (scope does not count).
    ///
    /// `signer` is [`Keys::signer`] for a new transaction, and the pinned one for a retransmission.
    pub fn write(&self, keys: &Keys, signer: KeyId, response_to: SocketAddr, out: &mut [u8; BRANCH_LEN]) {
        let signed = self.signed(response_to);
        let [a, b, c] = &base32::encode(&self.parts(keys.sign(signer, signed.before(), signed.last)));
        out[..COOKIE.len()].copy_from_slice(COOKIE);
        out[COOKIE.len()..][..HEAD].copy_from_slice(&self.head());
        Self::put_first(a, out);
        Self::put_transaction([b, c], out);
    }

    /// The branch comes by datagrams and not by a connection: then its way back ([`Branch::put_way_back`]) is the same for all of
    /// its listener.
    #[inline(always)]
    pub const fn is_of_datagram(&self) -> bool {
        self.peer == 0 && self.connection == 0
    }

    /// What stands behind the fixed places as parts, of which the last one is cut short.
    #[inline(always)]
    pub(super) fn parts(&self, mac: Mac) -> [Part; PARTS] {
        let [a, b, c, d, e, f] = self.body(mac);
        [Part([a, b]), Part([c, d]), Part([e, f])]
    }

    /// Writes what says where the request came from.
    #[inline(never)]
    pub fn put_way_back(self, out: &mut [u8; BRANCH_LEN]) {
        // The MAC stands in the other parts.
        let [first, ..] = self.parts(Mac([0; 2]));
        Self::put_first(&base32::encode(&[first])[0], out);
    }

    #[inline(always)]
    fn put_first(text: &[u8; PART_LEN], out: &mut [u8; BRANCH_LEN]) {
        out[COOKIE.len() + HEAD..][..PART_LEN].copy_from_slice(text);
    }

    /// Writes what names the transaction, and the MAC, given the texts of the other parts. What stands before the parts is the
    /// same for all of its owner in its mode.
    #[inline(always)]
    pub fn put_transaction([b, c]: [&[u8; PART_LEN]; 2], out: &mut [u8; BRANCH_LEN]) {
        const SECOND: usize = COOKIE.len() + HEAD + PART_LEN;
        const THIRD: usize = SECOND + PART_LEN;
        out[SECOND..THIRD].copy_from_slice(b);
        out[THIRD..].copy_from_slice(&c[..BRANCH_LEN - THIRD]);
    }

    /// Reads the branch of a response's topmost Via; `None`: it has another form.
    pub fn claim(branch: &[u8]) -> Option<Claim> {
        let (head, text) = shape(branch)?;
        let (says, mac) = Self::of_body(owner(head)?, head[1] == STATEFUL, base32::decode(text)?)?;
        Some(Claim { says, mac })
    }

    /// Reads the branch of a response that has no Via below, so that there is nothing to verify it by: good for
    /// finding a transaction whose hash nobody can guess, and for nothing else.
    pub fn unverified(branch: &[u8]) -> Option<Self> {
        Self::claim(branch).map(|claim| claim.says)
    }

    /// The owning shard that a branch of our form names; says nothing about its MAC.
    pub fn owner_named(branch: &[u8]) -> Option<u16> {
        shape(branch).and_then(|(head, _)| owner(head))
    }

    fn head(&self) -> [u8; HEAD] {
        [VERSION, self.mode(), base32::digit((self.owner >> 5) as u8), base32::digit(self.owner as u8)]
    }

    fn mode(&self) -> u8 {
        if self.stateful { STATEFUL } else { STATELESS }
    }

    /// Fields and MAC as groups of 40 bits; the last one has 24.
    #[inline(always)]
    fn body(&self, mac: Mac) -> [u64; GROUPS] {
        let (Self { peer, ingress, connection, transaction, .. }, Mac([first, second])) = (*self, mac);
        [
            u64::from(peer) << 24 | u64::from(ingress >> 8),
            u64::from(ingress & 0xff) << 32 | u64::from(connection),
            transaction >> 24,
            (transaction & 0xff_ffff) << 16 | first >> 24,
            (first & 0xff_ffff) << 16 | second >> 24,
            (second & 0xff_ffff) << SPARE_BITS,
        ]
    }

    /// What [`Branch::body`] was made of; `None`: a spare bit is set, so that each branch has one form only.
    #[inline(always)]
    fn of_body(owner: u16, stateful: bool, body: [Part; PARTS]) -> Option<(Self, Mac)> {
        let [Part([a, b]), Part([c, d]), Part([e, f])] = body;
        let branch = Self {
            owner,
            stateful,
            peer: (a >> 24) as u16,
            ingress: (a << 8) as u32 | (b >> 32) as u32,
            connection: b as u32,
            transaction: c << 24 | d >> 16,
        };
        let mac = Mac([(d & 0xffff) << 24 | e >> 16, (e & 0xffff) << 24 | f >> SPARE_BITS]);
        (f.trailing_zeros() >= SPARE_BITS).then_some((branch, mac))
    }

    /// What the MAC covers. An IPv4 address and its IPv4-mapped form are the same.
    #[inline(always)]
    pub(super) fn signed(&self, destination: SocketAddr) -> Signed {
        let numbers = [
            u64::from(VERSION) << 56
                | u64::from(self.mode()) << 48
                | u64::from(self.owner) << 32
                | u64::from(self.peer) << 16
                | u64::from(destination.port()),
            u64::from(self.ingress) << 32 | u64::from(self.connection),
        ];
        let numbers = u128::from(numbers[0]) << 64 | u128::from(numbers[1]);
        let (v4, v6) = match canonical(destination.ip()) {
            IpAddr::V4(ip) => (ip.to_bits(), None),
            IpAddr::V6(ip) => (0, Some(ip.to_bits())),
        };
        Signed {
            before: [numbers, v6.unwrap_or_default()].map(u128::to_be_bytes),
            is_v6: v6.is_some(),
            last: Purpose::Branch.last(u128::from(v4) << 64 | u128::from(self.transaction)),
        }
    }
}

/// What a branch's MAC covers, as blocks: the destination's port, and what the branch says; its address in a block of its
/// own, if it is of IPv6, and in the last one, if it is of IPv4.
#[derive(Clone, Copy)]
pub(super) struct Signed {
    /// Of which the second one counts where the address is of IPv6.
    pub before: [Block; 2],
    pub is_v6: bool,
    pub last: Block,
}

impl Signed {
    #[inline(always)]
    pub fn before(&self) -> &[Block] {
        if self.is_v6 { &self.before } else { &self.before[..1] }
    }
}

/// Head and body of a branch of our form. The cookie is compared without case, because a neighbour
/// that folds case folds it, too.
fn shape(branch: &[u8]) -> Option<(&[u8; HEAD], &[u8; TEXT])> {
    let branch: &[u8; BRANCH_LEN] = branch.try_into().ok()?;
    let (cookie, rest) = branch.split_first_chunk::<{ COOKIE.len() }>()?;
    let (head, text) = (rest.first_chunk::<HEAD>()?, rest.last_chunk()?);
    let ours = (cookie == COOKIE || cookie.eq_ignore_ascii_case(COOKIE))
        && head[0] == VERSION
        && matches!(head[1], STATELESS | STATEFUL);
    ours.then_some((head, text))
}

fn owner(head: &[u8; HEAD]) -> Option<u16> {
    Some(u16::from(base32::value(head[2])?) << 5 | u16::from(base32::value(head[3])?))
}
