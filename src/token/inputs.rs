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
    /// Call-ID.
    pub call_id: &'a [u8],
}

/// From and To of a request, where decisions depend on them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parties<'a> {
    /// The URI in From, as received.
    pub from: &'a [u8],
    /// From tag; empty where there is none.
    pub from_tag: &'a [u8],
    /// The URI in To, as received.
    pub to: &'a [u8],
}

impl Input<'_> {
    /// The hash of a request of which a decision depends on nothing else. Keyed as [`Inputs`], and never the same as one of theirs.
    #[inline(always)]
    pub fn hash(&self, secret: &TransactionSecret) -> u128 {
        let Some(short) = up_to_nine(self.method) else { return self.hash_with_method(secret) };
        self.hash_parts(secret, [self.request_uri, self.call_id], short)
    }

    /// The same where the method is a part.
    #[cold]
    #[inline(never)]
    fn hash_with_method(&self, secret: &TransactionSecret) -> u128 {
        self.hash_parts(secret, [self.request_uri, self.call_id, self.method], Default::default())
    }

    #[inline(always)]
    fn hash_parts<const PARTS: usize>(
        &self,
        secret: &TransactionSecret,
        parts: [&[u8]; PARTS],
        short: (u64, u8),
    ) -> u128 {
        let last = Last::new(Form::Input, short, self.cseq).with(0);
        u128::from_be_bytes(secret.prf().of(self.blocks(&Parties::default()), parts, last))
    }

    /// The lengths of all texts, and the numbers but CSeq's.
    #[inline(always)]
    fn blocks(&self, parties: &Parties<'_>) -> [Block; 2] {
        let Self { source, ingress, method, request_uri, call_id, .. } = *self;
        let Parties { from, from_tag, to } = *parties;
        let [a, b, c, d, e] = [request_uri, from, from_tag, to, call_id].map(len);
        let lengths = [four([a, b, c, d]), four([e, len(method), 0, 0]) | u64::from(ingress) << 32];
        [block_of(lengths), address_bits(source).to_be_bytes()]
    }
}

/// A running hash over everything that a decision depends on. Keyed, so that nobody can write a mark that
/// stands for a request of somebody else, nor make two requests look like one.
///
/// What is hashed is the lengths of the [`Input`]'s texts and its numbers, its texts but the method, those of [`Parties`] among
/// them; then each text that is added and its length; in the last block the method and how many these are. A method that does
/// not fit there is added as the first of them, which its length tells. So no two lists of inputs give the same blocks.
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
    pub fn new<'t>(
        secret: &'s TransactionSecret,
        input: &Input<'t>,
        parties: &Parties<'t>,
        first: impl Iterator<Item = &'t [u8]> + Clone,
    ) -> Self {
        let Input { cseq, method, request_uri, call_id, .. } = *input;
        let Parties { from, from_tag, to } = *parties;
        let texts = [request_uri, from, from_tag, to, call_id];
        let (prf, short) = (secret.prf(), up_to_nine(method));
        let last = Last::new(Form::Inputs, short.unwrap_or_default(), cseq);
        let blocks = input.blocks(parties);
        match short {
            Some(_) => Self::begin(prf, blocks, texts, last, first),
            None => {
                let mut this = Self::begin(prf, blocks, texts, last, std::iter::empty());
                this.add(std::iter::once(method).chain(first));
                this
            }
        }
    }

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
    fn new(form: Form, (eight, ninth): (u64, u8), cseq: u32) -> Self {
        Self([form as u64 | eight << 8, eight >> 56 | u64::from(ninth) << 8 | u64::from(cseq) << 32])
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
    /// Of the hash of all inputs.
    pub const fn of(hash: u128) -> Self {
        Self(hash as u64)
    }

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
        call_id: b"call-id",
    };

    const PARTIES: Parties<'static> =
        Parties { from: b"sip:anna@192.0.2.1", from_tag: b"t", to: b"sip:bob@192.0.2.9" };

    /// That input and others that differ from it in one thing, or shift something from one to the next.
    fn others() -> Vec<Input<'static>> {
        let methods: [&[u8]; 8] = [
            b"BYE",
            b"INVITF",
            b"JNVITE",
            b"INVITE\0",
            b"SUBSCRIBE",
            b"SUBSCRIBF",
            b"SUBSCRIBER",
            b"SUBSCRIBES",
        ];
        let sources = ["192.0.2.2", "2001:db8::1"].map(|source| source.parse().unwrap());
        let of_source = sources.into_iter().map(|source| Input { source, ..INPUT });
        let of_method = methods.into_iter().map(|method| Input { method, ..INPUT });
        let of_others = [
            INPUT,
            Input { ingress: 8, ..INPUT },
            Input { cseq: 2, ..INPUT },
            Input { cseq: 1 << 31, ..INPUT },
            Input { request_uri: b"sip:bob@192.0.2.8", ..INPUT },
            Input { request_uri: b"sip:bob@192.0.2.9call-id", call_id: b"", ..INPUT },
            Input { call_id: b"call-ie", ..INPUT },
            Input { call_id: b"call-idSUBSCRIBER", method: b"", ..INPUT },
        ];
        of_others.into_iter().chain(of_source).chain(of_method).collect()
    }

    fn secret() -> TransactionSecret {
        Keys::from_secret(&[7; 16]).transaction_secret()
    }

    fn hash(secret: &TransactionSecret, input: &Input<'_>, parties: &Parties<'_>, added: &[&str]) -> u128 {
        let mut inputs = Inputs::new(secret, input, parties, std::iter::empty());
        let (first, second) = added.split_at(added.len() / 2);
        inputs.add(first.iter().map(|text| text.as_bytes()));
        inputs.add(second.iter().map(|text| text.as_bytes()));
        inputs.hash()
    }

    fn of(input: &Input<'_>, added: &[&str]) -> u128 {
        hash(&secret(), input, &PARTIES, added)
    }

    fn between(parties: Parties<'_>) -> u128 {
        hash(&secret(), &INPUT, &parties, &[])
    }

    /// All are told apart, with parties and without; again, each is what it was.
    #[test]
    fn every_input_counts_and_keeps_its_place() {
        let mut hashes = vec![
            of(&Input { method: b"", ..INPUT }, &["SUBSCRIBER"]),
            between(Parties { from: b"sip:anna@192.0.2.2", ..PARTIES }),
            between(Parties { from_tag: b"", ..PARTIES }),
            between(Parties { from_tag: b"u", ..PARTIES }),
            between(Parties { to: b"sip:bob@192.0.2.8", ..PARTIES }),
            between(Parties { from: PARTIES.to, to: PARTIES.from, ..PARTIES }),
            between(Parties { from: b"sip:anna@192.0.2.1t", from_tag: b"", ..PARTIES }),
            between(Parties { to: b"sip:bob@192.0.2.9call-id", ..PARTIES }),
            between(Parties::default()),
            of(&INPUT, &[""]),
            of(&INPUT, &["", ""]),
            of(&INPUT, &["<sip:a>"]),
            of(&INPUT, &["<sip:a>", "<sip:b>"]),
            of(&INPUT, &["<sip:b>", "<sip:a>"]),
            of(&INPUT, &["<sip:a><sip:b>"]),
            of(&INPUT, &["<sip:a><", "sip:b>"]),
        ];
        let all = || others().into_iter().flat_map(|input| [input.hash(&secret()), of(&input, &[])]);
        hashes.extend(all());
        let different: std::collections::HashSet<_> = hashes.iter().collect();
        assert_eq!(different.len(), hashes.len());
        assert!(all().eq(hashes[hashes.len() - 2 * others().len()..].iter().copied()));
        let mapped = Input { source: "::ffff:192.0.2.1".parse().unwrap(), ..INPUT };
        assert_eq!(of(&mapped, &[]), of(&INPUT, &[]));
        assert_eq!(mapped.hash(&secret()), INPUT.hash(&secret()));
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
        let secret = secret();
        let long = Input { method: b"SUBSCRIBER", ..INPUT };
        for (input, count, with_method) in [(&INPUT, 2, 2), (&long, 2, 3), (&INPUT, 90, 90)] {
            let texts = vec!["<sip:a>"; count];
            let at_once = Inputs::new(&secret, input, &PARTIES, texts.iter().map(|text| text.as_bytes()));
            assert_eq!((at_once.hash(), at_once.added), (of(input, &texts), with_method));
        }
    }

    #[test]
    fn a_mark_depends_on_the_key() {
        let other = Keys::from_secret(&[8; 16]).transaction_secret();
        assert_ne!(LoopMark::of(of(&INPUT, &[])), LoopMark::of(hash(&other, &INPUT, &PARTIES, &[])));
        assert_ne!(LoopMark::of(INPUT.hash(&secret())), LoopMark::of(INPUT.hash(&other)));
    }
}
