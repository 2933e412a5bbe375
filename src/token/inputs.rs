//! What a decision was made from, reduced to a hash: for loop detection and for pins.

use std::net::IpAddr;

use super::base32::{self, Part};
use super::prf::{Block, Cipher, Pass, Prf, Running, Taking, block_of, four, len};
use super::transaction::{Form, TransactionSecret};
use crate::net::address_bits;

/// Length of a [`LoopMark`] in bytes.
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
/// What is hashed is the lengths of the [`Input`]'s texts and its numbers, its texts but the method; then each text that is
/// added and its length; in the last block the method and how many these are. A method that does not fit there is
/// added as the first of them, which its length tells. So no two lists of inputs give the same blocks.
#[derive(Clone)]
pub struct Inputs<'s> {
    prf: &'s Prf,
    running: Running,
    last: Last,
    added: u32,
    hash: u128,
}

impl<'s> Inputs<'s> {
    /// Begins with what every request has, and the first texts that are added.
    #[inline(always)]
    pub fn new<'t>(
        secret: &'s TransactionSecret,
        input: &Input<'t>,
        first: impl Iterator<Item = &'t [u8]> + Clone,
    ) -> Self {
        let Input { source, ingress, cseq, method, request_uri, from, from_tag, to, call_id } = *input;
        let texts = [request_uri, from, from_tag, to, call_id];
        let [a, b, c, d, e] = texts.map(len);
        let lengths = [four([a, b, c, d]), four([e, len(method), 0, 0]) | u64::from(ingress) << 32];
        let blocks = [block_of(lengths), address_bits(source).to_be_bytes()];
        let (prf, short) = (secret.prf(), up_to_nine(method));
        let last = Last::new(short.unwrap_or_default(), cseq);
        match short {
            Some(_) => Self::begin(prf, blocks, texts, last, first),
            None => {
                let mut this = Self::begin(prf, blocks, texts, last, std::iter::empty());
                this.add(std::iter::once(method).chain(first));
                this
            }
        }
    }

    #[inline(always)]
    fn begin<'t>(
        prf: &'s Prf,
        blocks: [Block; 2],
        texts: [&[u8]; 5],
        last: Last,
        first: impl Iterator<Item = &'t [u8]> + Clone,
    ) -> Self {
        let (running, added, hash) = (Running::default(), 0, Block::default());
        let mut beginning = Beginning { blocks, texts, first, last, running, added, hash };
        prf.pass(&mut beginning);
        let Beginning { running, added, hash, .. } = beginning;
        Self { prf, running, last, added, hash: u128::from_be_bytes(hash) }
    }

    /// Adds more texts that the decision depends on; the length of each is part of it.
    pub fn add<'t>(&mut self, texts: impl Iterator<Item = &'t [u8]>) {
        let Self { prf, running, last, added, hash } = self;
        let last = |count| {
            *added += count;
            last.with(*added)
        };
        *hash = u128::from_be_bytes(prf.take_in(running, texts, last));
    }

    /// The hash of all inputs so far.
    pub fn hash(&self) -> u128 {
        self.hash
    }

    /// The same as it is written.
    pub fn mark(&self) -> LoopMark {
        LoopMark(self.hash as u64)
    }

    /// How many texts were added.
    pub fn added(&self) -> u32 {
        self.added
    }
}

/// What every request has, and what is added at once.
struct Beginning<'a, I> {
    blocks: [Block; 2],
    texts: [&'a [u8]; 5],
    first: I,
    last: Last,
    running: Running,
    added: u32,
    hash: Block,
}

impl<'t, I: Iterator<Item = &'t [u8]> + Clone> Pass for Beginning<'_, I> {
    #[inline(always)]
    fn take_in<C: Cipher, const FAR: bool>(&mut self, mut new: Taking<'_, C, FAR>) -> u32 {
        self.blocks.iter().for_each(|block| new.block(*block));
        self.texts.iter().for_each(|text| new.part(text));
        self.added = 0;
        for text in self.first.clone() {
            if new.is_lost() {
                return new.running.bytes;
            }
            new.text(text);
            self.added += 1;
        }
        (self.running, self.hash) = (new.running, new.end(self.last.with(self.added)));
        new.running.bytes
    }
}

/// The last block but for how many texts were added: which form it has, the method, and CSeq's number.
#[derive(Clone, Copy)]
struct Last([u64; 2]);

impl Last {
    #[inline(always)]
    fn new((eight, ninth): (u64, u8), cseq: u32) -> Self {
        let form = Form::Inputs as u64;
        Self([form | eight << 8, eight >> 56 | u64::from(ninth) << 8 | u64::from(cseq) << 32])
    }

    #[inline(always)]
    fn with(self, added: u32) -> Block {
        let Self([first, second]) = self;
        // No message has more than 65,535 lines.
        block_of([first, second | u64::from(added as u16) << 16])
    }
}

/// A text of up to nine bytes: the first eight as a number, the first one lowest, and the ninth. `None`: it is longer.
#[inline(always)]
fn up_to_nine(text: &[u8]) -> Option<(u64, u8)> {
    if let Some((eight, rest)) = text.split_first_chunk() {
        let eight = u64::from_le_bytes(*eight);
        return match *rest {
            [] => Some((eight, 0)),
            [ninth] => Some((eight, ninth)),
            _ => None,
        };
    }
    let number = match (text.first_chunk(), text.last_chunk()) {
        // What both halves hold is the same in both.
        (Some(first), Some(last)) => {
            let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
            u64::from(first) | u64::from(last) << (8 * (text.len() - 4))
        }
        _ => text.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)),
    };
    Some((number, 0))
}

/// A hash of inputs as it is written into a Via parameter: 64 bits in lower-case base32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopMark(pub u64);

impl LoopMark {
    /// As a part, which is longer than the mark.
    #[inline]
    pub fn part(self) -> Part {
        Part([self.0 >> 24, (self.0 & 0xff_ffff) << 16])
    }

    /// Its text.
    pub fn text(self) -> [u8; LOOP_MARK_LEN] {
        let [text] = base32::encode(&[self.part()]);
        std::array::from_fn(|n| text[n])
    }
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
        let mut inputs = Inputs::new(&secret, input, std::iter::empty());
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
            of(&Input { method: b"INVITF", ..INPUT }, &[]),
            of(&Input { method: b"JNVITE", ..INPUT }, &[]),
            of(&Input { method: b"INVITE\0", ..INPUT }, &[]),
            of(&Input { method: b"SUBSCRIBE", ..INPUT }, &[]),
            of(&Input { method: b"SUBSCRIBF", ..INPUT }, &[]),
            of(&Input { method: b"SUBSCRIBER", ..INPUT }, &[]),
            of(&Input { method: b"SUBSCRIBES", ..INPUT }, &[]),
            of(&Input { method: b"", ..INPUT }, &["SUBSCRIBER"]),
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

    #[test]
    fn nine_bytes_are_a_number_and_ten_are_none() {
        let text = b"SUBSCRIBER";
        for len in 0..=9 {
            let eight = std::array::from_fn(|n| if n < len { text[n] } else { 0 });
            let ninth = if len == 9 { b'E' } else { 0 };
            assert_eq!(up_to_nine(&text[..len]), Some((u64::from_le_bytes(eight), ninth)));
        }
        assert_eq!(up_to_nine(text), None);
    }

    /// Also where all of them begin and end alike.
    #[test]
    fn lists_of_any_length_differ() {
        let hashes: std::collections::HashSet<_> = (0..100).map(|n| of(&INPUT, &vec!["a"; n])).collect();
        assert_eq!(hashes.len(), 100);
        let (one, other) = (["ab"; 40], [["a", "bab"]; 20].concat());
        assert_ne!(of(&INPUT, &one), of(&INPUT, &other));
    }

    /// At once or one after the other, also where the method is one of them, and where offsets are not ready for all.
    #[test]
    fn texts_may_be_given_with_what_every_request_has() {
        let secret = Keys::from_secret(&[7; 16]).transaction_secret();
        let long = Input { method: b"SUBSCRIBER", ..INPUT };
        for (input, count, with_method) in [(&INPUT, 2, 2), (&long, 2, 3), (&INPUT, 90, 90)] {
            let texts = vec!["<sip:a>"; count];
            let at_once = Inputs::new(&secret, input, texts.iter().map(|text| text.as_bytes()));
            assert_eq!((at_once.hash(), at_once.added()), (of(input, &texts), with_method));
        }
    }

    #[test]
    fn a_mark_depends_on_the_key() {
        assert_ne!(of(&INPUT, &[]) as u64, hash(&[8; 16], &INPUT, &[]) as u64);
    }
}
