//! What brings requests to a client down the connection that it has opened (RFC 5626 §5.2, RFC 7118).
//!
//! A browser cannot be connected to, so the connection that it came by is part of what stands for it: of the Record-Route
//! value on its side, and of the Path that was written into its REGISTER. "A proxy can use any algorithm it wants as long as
//! the flow token is unique to a flow, the flow can be recovered from the token, and the token cannot be modified by
//! attackers" (RFC 5626 §5.2).

use std::net::SocketAddr;

use super::base32::{self, Part};
use super::keys::{Key, KeyId, Keys, Mac, Purpose};
use super::prf::{Block, len};
use crate::net::{address_bits, address_of};

/// What stands before the flow: 80 bits, of which the first eight say what the token is.
const FIELD_GROUPS: usize = 2;
/// address 128, port 16, connection 32, serial 32, mark 16, and 16 that are zero
const FLOW_GROUPS: usize = 6;
const MAC_GROUPS: usize = 2;
const GROUPS: usize = FIELD_GROUPS + FLOW_GROUPS + MAC_GROUPS;

/// Length of a token with a flow in bytes: the user part of a URI in Record-Route or Path.
pub const FLOW_TOKEN_LEN: usize = GROUPS * 8;

/// A Path, bound to nothing but its flow: whoever has it may send to the client, as RFC 3327 means it.
const PATH: u8 = 3;

/// A connection that a client has opened, as a token names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The client's end; canonical, its scope does not count.
    pub peer: SocketAddr,
    /// The connection's number in this process, which another one has later.
    pub connection: u32,
    /// Which of its shard's connections it is, in order: a browser may come back by the same port, and to the same number.
    pub serial: u32,
    /// Tells the process from those before and after it.
    pub mark: u16,
}

/// A flow for a client that may be called: what Path says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Identity of the listener that the client has connected to.
    pub listener: u32,
    /// The client's connection.
    pub flow: Flow,
}

impl Path {
    /// Its text, the user part of the URI.
    pub fn written(&self, keys: &Keys) -> [u8; FLOW_TOKEN_LEN] {
        let fields = self.fields();
        write(fields, &self.flow, mac(keys.named(keys.signer()), b"", b"", fields, &self.flow))
    }

    /// Reads it; `None`: it has another form, or no key of ours made it.
    pub fn read(user: &[u8], keys: &Keys) -> Option<Self> {
        let (path, claimed) = Self::with_mac(user)?;
        let is_ours = keys.all().any(|key| mac(key, b"", b"", path.fields(), &path.flow).is_same(claimed));
        is_ours.then_some(path)
    }

    /// What a user part of this form claims, whoever made it.
    pub fn claimed(user: &[u8]) -> Option<Self> {
        Self::with_mac(user).map(|(path, _)| path)
    }

    fn with_mac(user: &[u8]) -> Option<(Self, Mac)> {
        let (fields, flow, mac) = read(user)?;
        let path = Self { listener: (fields >> 32) as u32, flow };
        (path.fields() == fields).then_some((path, mac))
    }

    fn fields(&self) -> u128 {
        u128::from(PATH) << 72 | u128::from(self.listener) << 32
    }
}

/// The text of a token with these fields for a dialog.
pub(super) fn written(
    fields: u128,
    flow: &Flow,
    keys: &Keys,
    (signer, call_id, tag): (KeyId, &[u8], &[u8]),
) -> [u8; FLOW_TOKEN_LEN] {
    write(fields, flow, mac(keys.named(signer), call_id, tag, fields, flow))
}

/// The MAC of a token with a flow. The version in the fields keeps it apart from those without; the last block is theirs.
pub(super) fn mac(key: &Key, call_id: &[u8], tag: &[u8], fields: u128, flow: &Flow) -> Mac {
    let lengths = u128::from(len(call_id)) << 96 | u128::from(len(tag)) << 80;
    let blocks: [Block; 2] = [flow.address().to_be_bytes(), flow.rest().to_be_bytes()];
    Mac::cut(key.prf.of(blocks, [call_id, tag], Purpose::RecordRoute.last(lengths | fields)))
}

impl Flow {
    fn address(&self) -> u128 {
        address_bits(self.peer.ip())
    }

    /// Port, connection, serial and mark: 96 bits.
    fn rest(&self) -> u128 {
        u128::from(self.peer.port()) << 80
            | u128::from(self.connection) << 48
            | u128::from(self.serial) << 16
            | u128::from(self.mark)
    }

    fn of(address: u128, rest: u128) -> Self {
        Self {
            peer: SocketAddr::new(address_of(address), (rest >> 80) as u16),
            connection: (rest >> 48) as u32,
            serial: (rest >> 16) as u32,
            mark: rest as u16,
        }
    }
}

const GROUP: u128 = 0xff_ffff_ffff;

fn write(fields: u128, flow: &Flow, mac: Mac) -> [u8; FLOW_TOKEN_LEN] {
    let (address, rest) = (flow.address(), flow.rest());
    // 224 bits and sixteen that are zero, in fives of bytes.
    let [a, b, c] = [address >> 88, address >> 48 & GROUP, address >> 8 & GROUP];
    let [d, e, f] = [(address & 0xff) << 32 | rest >> 64, rest >> 24 & GROUP, (rest & 0xff_ffff) << 16];
    let fields = [(fields >> 40) as u64, (fields & GROUP) as u64];
    let [a, b, c, d, e, f] = [a, b, c, d, e, f].map(|group| group as u64);
    let text = base32::encode(&[fields, [a, b], [c, d], [e, f], mac.0].map(Part));
    *text.as_flattened().first_chunk().expect("ten groups")
}

/// Fields, flow and MAC of a text of this form; those of one value have one text only.
pub(super) fn read(user: &[u8]) -> Option<(u128, Flow, Mac)> {
    let parts = base32::decode::<FLOW_TOKEN_LEN, { GROUPS / 2 }>(user.try_into().ok()?)?;
    let [Part([first, second]), Part([a, b]), Part([c, d]), Part([e, f]), mac] = parts;
    let wide = |group: u64| u128::from(group);
    let address = wide(a) << 88 | wide(b) << 48 | wide(c) << 8 | wide(d) >> 32;
    let rest = wide(d & 0xffff_ffff) << 64 | wide(e) << 24 | wide(f) >> 16;
    let is_whole = f & 0xffff == 0;
    is_whole.then(|| (wide(first) << 40 | wide(second), Flow::of(address, rest), Mac::of(mac)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{Dialog, RecordRoute, Side, Verifier};

    fn keys() -> Keys {
        Keys::from_secret(b"a key for tests.")
    }

    fn flow(peer: &str) -> Flow {
        Flow { peer: peer.parse().unwrap(), connection: 0x1234_5678, serial: 0x9abc_def0, mark: 0xfedc }
    }

    const PEERS: [&str; 3] = ["192.0.2.7:51234", "[2001:db8::ff:1]:443", "0.0.0.0:65535"];

    #[test]
    fn a_path_is_read_as_it_was_written_and_no_other() {
        let keys = keys();
        for peer in PEERS {
            let path = Path { listener: 0x89ab_cdef, flow: flow(peer) };
            let text = path.written(&keys);
            assert!(text.len() <= 80);
            assert_eq!(Path::claimed(&text), Some(path));
            assert_eq!(Path::read(&text, &keys), Some(path));
            assert_eq!(Path::read(&text, &Keys::from_secret(b"another key ....")), None);
            for place in 0..text.len() {
                let mut other = text;
                other[place] = if other[place] == b'q' { b'a' } else { b'q' };
                assert_eq!(Path::read(&other, &keys), None, "{place}");
            }
        }
        assert_eq!((Path::claimed(&[b'a'; FLOW_TOKEN_LEN]), Path::claimed(b"alice")), (None, None));
    }

    #[test]
    fn each_part_of_a_flow_is_read_as_it_was_written_and_belongs_to_the_mac() {
        let keys = keys();
        let one = flow(PEERS[0]);
        let texts = [
            one,
            Flow { peer: "192.0.2.7:51235".parse().unwrap(), ..one },
            Flow { connection: one.connection + 1, ..one },
            Flow { serial: one.serial + 1, ..one },
            Flow { mark: one.mark + 1, ..one },
            Flow { connection: u32::MAX, serial: u32::MAX, mark: u16::MAX, ..one },
        ]
        .map(|flow| {
            let text = Path { listener: 7, flow }.written(&keys);
            assert_eq!(Path::read(&text, &keys), Some(Path { listener: 7, flow }));
            text
        });
        for (at, text) in texts.iter().enumerate() {
            let mac = FLOW_TOKEN_LEN - 8 * MAC_GROUPS;
            assert!(texts[..at].iter().all(|other| other[mac..] != text[mac..]), "{at}");
        }
    }

    #[test]
    fn a_record_route_with_a_flow_belongs_to_its_dialog() {
        let keys = keys();
        let token =
            RecordRoute { initiator: 11, responder: 22, side: Side::Initiator, paired: true, stateful: true };
        let dialog = Dialog { signer: keys.signer(), call_id: b"call", from_tag: b"alice" };
        for peer in PEERS {
            let text = token.with_flow(&flow(peer), &keys, &dialog);
            assert!(RecordRoute::looks_like(&text) && Path::claimed(&text).is_none());
            let read =
                |call_id: &[u8], from: &[u8], to: &[u8]| Verifier::new(&keys, call_id, from, to).read(&text);
            let by_bob = read(b"call", b"bob", b"alice").unwrap();
            assert_eq!((by_bob.token, by_bob.sender, by_bob.egress()), (token, Side::Responder, 11));
            assert_eq!(by_bob.flow_onward(), Some(flow(peer)));
            // Who sends by the flow himself is not sent back by it.
            let by_alice = read(b"call", b"alice", b"bob").unwrap();
            assert_eq!((by_alice.sender, by_alice.flow_onward()), (Side::Initiator, None));
            assert_eq!(read(b"call", b"carol", b"bob"), None);
            assert_eq!(read(b"calla", b"lice", b"bob"), None);
            assert_eq!(Path::read(&text, &keys), None, "nothing of a dialog leads there without it");
        }
    }

    #[test]
    fn a_flow_of_one_dialog_is_of_no_use_to_another() {
        let keys = keys();
        let token = RecordRoute {
            initiator: 11,
            responder: 22,
            side: Side::Responder,
            paired: true,
            stateful: false,
        };
        let dialog = |call_id| Dialog { signer: keys.signer(), call_id, from_tag: b"alice" };
        let [one, other] = [&b"one"[..], b"other"].map(dialog);
        let mut mixed = token.with_flow(&flow(PEERS[0]), &keys, &one);
        let flows = 8 * FIELD_GROUPS..FLOW_TOKEN_LEN - 8 * MAC_GROUPS;
        mixed[flows.clone()].copy_from_slice(&token.with_flow(&flow(PEERS[1]), &keys, &other)[flows]);
        for call_id in [&b"one"[..], b"other"] {
            assert_eq!(Verifier::new(&keys, call_id, b"alice", b"bob").read(&mixed), None);
        }
    }
}
