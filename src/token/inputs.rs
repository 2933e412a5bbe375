//! What a decision was made from, reduced to a hash: for loop detection and for pins.

use std::net::IpAddr;

use super::base32;
use super::prf::{Block, Prf, Running, len};
use super::transaction::{Form, TransactionSecret};

/// Length of [`loop_mark`] in bytes.
pub const LOOP_MARK_LEN: usize = base32::encoded_len(8);

/// What every decision depends on (RFC 5393 §4.2.1).
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Who sent the request; an IPv4 address and its IPv4-mapped form are the same.
    pub source: IpAddr,
    /// Identity of the listener that it came in on.
    pub ingress: u32,
    /// CSeq number.
    pub cseq: u32,
    /// Method, ACK and CANCEL counted as INVITE.
    pub method: &'a [u8],
    /// Request-URI, as received.
    pub request_uri: &'a [u8],
    /// The URI in From, as received.
    pub from: &'a [u8],
    /// From tag; empty where there is none.
    pub from_tag: &'a [u8],
    /// The URI in To, as received.
    pub to: &'a [u8],
    /// Call-ID.
    pub call_id: &'a [u8],
}

/// A running hash over everything that a decision depends on. Keyed, so that nobody can write a mark that
/// stands for a request of somebody else, nor make two requests look like one.
///
/// What is hashed is the six texts of the [`Input`], their lengths and its numbers; then each text that is
/// added and its length; in the last block how many these are. So no two lists of inputs give the same
/// blocks.
#[derive(Clone)]
pub struct Inputs<'s> {
    prf: &'s Prf,
    running: Running,
    cseq: u32,
    added: u32,
    hash: u128,
}

impl<'s> Inputs<'s> {
    /// Begins with what every request has.
    #[inline]
    pub fn new(secret: &'s TransactionSecret, input: &Input<'_>) -> Self {
        let Input { source, ingress, cseq, method, request_uri, from, from_tag, to, call_id } = *input;
        let texts = [method, request_uri, from, from_tag, to, call_id];
        let [[a, b], [c, d], [e, f], [g, h], [i, j], [k, l]] = texts.map(len);
        let [m, n, o, p] = ingress.to_be_bytes();
        let source = match source {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let blocks = [[a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p], source.octets()];
        let (prf, mut running) = (secret.prf(), Running::default());
        let [hash] = prf.run(&mut running, texts, &blocks, [last(cseq, 0)]);
        Self { prf, running, cseq, added: 0, hash: u128::from_be_bytes(hash) }
    }

    /// Adds more texts that the decision depends on; the length of each is part of it.
    pub fn add<'t>(&mut self, texts: impl Iterator<Item = &'t [u8]>) {
        self.added += self.prf.take_in(&mut self.running, texts);
        let [hash] = self.prf.run(&mut self.running, [], &[], [last(self.cseq, self.added)]);
        self.hash = u128::from_be_bytes(hash);
    }

    /// The hash of all inputs so far.
    pub fn hash(&self) -> u128 {
        self.hash
    }

    /// How many texts were added.
    pub fn added(&self) -> u32 {
        self.added
    }
}

fn last(cseq: u32, added: u32) -> Block {
    Form::Inputs.last(u64::from(added).to_be_bytes(), cseq)
}

/// A hash of inputs as it is written into a Via parameter: 64 bits in lower-case base32.
pub fn loop_mark(hash: u128) -> [u8; LOOP_MARK_LEN] {
    let bits = hash as u64;
    let text = base32::encode([bits >> 24, (bits & 0xff_ffff) << 16]);
    std::array::from_fn(|n| text[n])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Keys;

    const INPUT: Input<'static> = Input {
        source: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
        ingress: 7,
        cseq: 1,
        method: b"INVITE",
        request_uri: b"sip:bob@192.0.2.9",
        from: b"sip:anna@192.0.2.1",
        from_tag: b"t",
        to: b"sip:bob@192.0.2.9",
        call_id: b"call-id",
    };

    fn hash(secret: &[u8; 16], input: &Input<'_>, added: &[&str]) -> u128 {
        let secret = Keys::from_secret(secret).transaction_secret();
        let mut inputs = Inputs::new(&secret, input);
        let (first, second) = added.split_at(added.len() / 2);
        inputs.add(first.iter().map(|text| text.as_bytes()));
        inputs.add(second.iter().map(|text| text.as_bytes()));
        inputs.hash()
    }

    fn of(input: &Input<'_>, added: &[&str]) -> u128 {
        hash(&[7; 16], input, added)
    }

    /// All are told apart; again, each is what it was.
    #[test]
    fn every_input_counts_and_keeps_its_place() {
        let other: IpAddr = "192.0.2.2".parse().unwrap();
        let hashes = [
            of(&INPUT, &[]),
            of(&Input { source: other, ..INPUT }, &[]),
            of(&Input { source: "2001:db8::1".parse().unwrap(), ..INPUT }, &[]),
            of(&Input { ingress: 8, ..INPUT }, &[]),
            of(&Input { cseq: 2, ..INPUT }, &[]),
            of(&Input { cseq: 1 << 31, ..INPUT }, &[]),
            of(&Input { method: b"BYE", ..INPUT }, &[]),
            of(&Input { request_uri: b"sip:bob@192.0.2.8", ..INPUT }, &[]),
            of(&Input { from: b"sip:anna@192.0.2.2", ..INPUT }, &[]),
            of(&Input { from_tag: b"", ..INPUT }, &[]),
            of(&Input { from_tag: b"u", ..INPUT }, &[]),
            of(&Input { to: b"sip:bob@192.0.2.8", ..INPUT }, &[]),
            of(&Input { call_id: b"call-ie", ..INPUT }, &[]),
            of(&Input { from: INPUT.to, to: INPUT.from, ..INPUT }, &[]),
            of(&Input { from: b"sip:anna@192.0.2.1t", from_tag: b"", ..INPUT }, &[]),
            of(&Input { to: b"sip:bob@192.0.2.9call-id", call_id: b"", ..INPUT }, &[]),
            of(&INPUT, &[""]),
            of(&INPUT, &["", ""]),
            of(&INPUT, &["<sip:a>"]),
            of(&INPUT, &["<sip:a>", "<sip:b>"]),
            of(&INPUT, &["<sip:b>", "<sip:a>"]),
            of(&INPUT, &["<sip:a><sip:b>"]),
            of(&INPUT, &["<sip:a><", "sip:b>"]),
        ];
        let different: std::collections::HashSet<_> = hashes.iter().collect();
        assert_eq!(different.len(), hashes.len());
        assert_eq!(of(&INPUT, &[]), hashes[0]);
        let mapped = Input { source: "::ffff:192.0.2.1".parse().unwrap(), ..INPUT };
        assert_eq!(of(&mapped, &[]), hashes[0]);
    }

    /// Also where all of them begin and end alike.
    #[test]
    fn lists_of_any_length_differ() {
        let hashes: std::collections::HashSet<_> = (0..100).map(|n| of(&INPUT, &vec!["a"; n])).collect();
        assert_eq!(hashes.len(), 100);
        let (one, other) = (["ab"; 40], [["a", "bab"]; 20].concat());
        assert_ne!(of(&INPUT, &one), of(&INPUT, &other));
    }

    #[test]
    fn a_mark_depends_on_the_key() {
        assert_ne!(loop_mark(of(&INPUT, &[])), loop_mark(hash(&[8; 16], &INPUT, &[])));
    }
}
