//! The shape of netlink messages: headers and attributes, read with every length checked.
//!
//! The values are read here and not by `netlink-packet-route`, because a routing decision needs to know
//! of every attribute whether it was understood, and needs some that the crate does not have (nexthop
//! objects, port masks, DSCP and flow label of rules).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

pub const AF_INET: u8 = libc::AF_INET as u8;
pub const AF_INET6: u8 = libc::AF_INET6 as u8;

const HEADER: usize = 16;

/// A message that is not shaped as netlink messages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// One netlink message.
pub struct Message<'a> {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    pub payload: &'a [u8],
}

/// The messages of one datagram; an error ends it.
pub fn messages(mut rest: &[u8]) -> impl Iterator<Item = Result<Message<'_>, Malformed>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let message = split(rest);
        rest = match &message {
            Some((_, after)) => after,
            None => &[],
        };
        Some(message.map(|(message, _)| message).ok_or(Malformed))
    })
}

fn split(rest: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let len = usize::try_from(u32_at(rest, 0)?).ok()?;
    let message = Message {
        kind: u16_at(rest, 4)?,
        flags: u16_at(rest, 6)?,
        sequence: u32_at(rest, 8)?,
        payload: rest.get(HEADER..len)?,
    };
    Some((message, rest.get(align(len)..).unwrap_or_default()))
}

/// The attributes in these bytes, as (type, value) without the flag bits; an error ends it.
pub fn attributes(mut rest: &[u8]) -> impl Iterator<Item = Result<(u16, &[u8]), Malformed>> {
    const TYPE_BITS: u16 = 0x3fff;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let attribute = (|| {
            let len = usize::from(u16_at(rest, 0)?);
            let value = rest.get(4..len)?;
            Some((u16_at(rest, 2)? & TYPE_BITS, value, rest.get(align(len)..).unwrap_or_default()))
        })();
        rest = attribute.map_or(&[], |(_, _, after)| after);
        Some(attribute.map(|(kind, value, _)| (kind, value)).ok_or(Malformed))
    })
}

const fn align(len: usize) -> usize {
    len.saturating_add(3) & !3
}

pub fn u8_at(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_ne_bytes(*b))
}

pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_ne_bytes(*b))
}

pub fn u32_be_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_be_bytes(*b))
}

pub fn u64_be_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|b| u64::from_be_bytes(*b))
}

/// An address of 4 or 16 bytes.
pub fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(v4).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|v6| Ipv6Addr::from(v6).into())
}

/// A prefix whose address is absent when it is all zero.
pub fn prefix(family: u8, bytes: Option<&[u8]>, len: u8) -> Option<IpNet> {
    let address = match (bytes, family) {
        (Some(bytes), _) => address(bytes)?,
        (None, AF_INET) => Ipv4Addr::UNSPECIFIED.into(),
        (None, _) => Ipv6Addr::UNSPECIFIED.into(),
    };
    IpNet::new(address, len).ok().map(|net| net.trunc())
}

/// The bytes of an address.
pub fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// A name that ends with a NUL.
pub fn name(bytes: &[u8]) -> Option<Box<str>> {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    std::str::from_utf8(bytes.get(..end)?).ok().map(Into::into)
}

/// A request under construction.
pub struct Request(Vec<u8>);

impl Request {
    /// A request of this type; `body` is the type's fixed header.
    pub fn new(kind: u16, flags: u16, body: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | libc::NLM_F_REQUEST as u16).to_ne_bytes());
        bytes.extend_from_slice(body);
        Self(bytes)
    }

    /// Appends an attribute.
    #[must_use]
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let len = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&len.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(align(self.0.len()), 0);
        self
    }

    /// The bytes to send.
    pub fn finish(mut self, sequence: u32) -> Vec<u8> {
        let len = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[0..4].copy_from_slice(&len.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_back() {
        let bytes = Request::new(1, 0, &[]).attribute(7, &[1, 2, 3]).attribute(9, &[4]).finish(5);
        let message = messages(&bytes).next().unwrap().unwrap_or_else(|_| panic!("malformed"));
        assert_eq!((message.kind, message.sequence), (1, 5));
        let read: Vec<_> = attributes(message.payload).collect::<Result<_, _>>().unwrap();
        assert_eq!(read, [(7, &[1, 2, 3][..]), (9, &[4][..])]);
    }

    #[test]
    fn lengths_that_lie_are_malformed_and_end_the_reading() {
        for bytes in [&[3, 0, 1, 0][..], &[9, 0, 1, 0, 0], &[4], &[0, 0, 0, 0]] {
            let read: Vec<_> = attributes(bytes).collect();
            assert_eq!(read, [Err(Malformed)], "{bytes:?}");
        }
        let mut long = Request::new(1, 0, &[]).finish(1);
        long[0] = 200;
        assert!(messages(&long).all(|message| message.is_err()));
    }
}
