//! Hosts and ports (RFC 3261 §25.1; RFC 5118 on IPv6).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::block::{self, Block, Plain, Set, Work};
use crate::chars::{self, HOST, after_white, white};
use crate::error::{Error, Rule};
use crate::grammar::Text;
use crate::scan::{Window, chunk, padded};
use crate::span::Span;

/// `host = hostname / IPv4address / IPv6reference`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// A host name, as written; compared without case.
    Name(&'a [u8]),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address; written in brackets.
    V6(Ipv6Addr),
}

impl Host<'_> {
    /// The address; `None` for a name.
    pub const fn ip(&self) -> Option<IpAddr> {
        match *self {
            Self::Name(_) => None,
            Self::V4(ip) => Some(IpAddr::V4(ip)),
            Self::V6(ip) => Some(IpAddr::V6(ip)),
        }
    }

    /// The same host: names are compared without case, addresses by value (RFC 3261 §19.1.4).
    pub fn is_same(&self, other: &Host<'_>) -> bool {
        match (self, other) {
            (Self::Name(a), Host::Name(b)) => a.eq_ignore_ascii_case(b),
            (a, b) => a.ip().is_some() && a.ip() == b.ip(),
        }
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => Text(name).fmt(f),
            Self::V4(ip) => write!(f, "{ip}"),
            Self::V6(ip) => write!(f, "[{ip}]"),
        }
    }
}

/// `host [ COLON port ]`, and where the host stands.
///
/// In this order, so that what is 0 as a rule stands at its end, as it stands at the beginning of what follows in a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct HostPort {
    /// IPv6 with its brackets.
    pub host: Span,
    /// 0: there is none.
    port: u16,
    kind: Kind,
    /// IPv4 as a number; of IPv6 the octets, the first in the lowest bits.
    octets: [u64; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    None,
    Name,
    V4,
    V6,
}

impl HostPort {
    /// Neither of them, at this place.
    pub const fn none(at: usize) -> Self {
        Self { octets: [0; 2], host: Span::new(at, at), port: 0, kind: Kind::None }
    }

    /// The host, of the text that it was read of.
    #[inline(always)]
    pub fn host<'a>(&self, text: &'a [u8]) -> Option<Host<'a>> {
        match self.kind {
            Kind::V4 => Some(Host::V4((self.octets[0] as u32).into())),
            Kind::Name => Some(Host::Name(self.host.of(text))),
            Kind::V6 => {
                let octets = u128::from(self.octets[0]) | u128::from(self.octets[1]) << 64;
                Some(Host::V6(octets.to_le_bytes().into()))
            }
            Kind::None => None,
        }
    }

    #[inline(always)]
    pub const fn port(&self) -> Option<u16> {
        if self.port > 0 { Some(self.port) } else { None }
    }
}

/// `hostport = host [ ":" port ]`, as URIs have it; with `spaced` `sent-by = host [ COLON port ]`, where
/// `COLON = SWS ":" SWS`. Begins at `from`. Gives it, and where it ends.
///
/// # Errors
/// [`Rule::Host`], [`Rule::Ipv6Reference`], [`Rule::Port`].
#[inline(always)]
pub(crate) fn host_port(text: &[u8], from: usize, spaced: bool) -> Result<(HostPort, usize), Error> {
    let (kind, octets, host_end) = match ipv4_at::<Plain>(text, from) {
        Some((ip, end)) => (Kind::V4, [ip.into(), 0], end),
        None => other_host(text, from)?,
    };
    let none = HostPort { octets, host: Span::new(from, host_end), port: 0, kind };
    let colon = match text.get(host_end) {
        Some(b':') => host_end,
        Some(&c) if spaced && white(c) => after_white(text, host_end),
        _ => return Ok((none, host_end)),
    };
    if text.get(colon) != Some(&b':') {
        return Ok((none, host_end));
    }
    let digits = if spaced { after_white(text, colon + 1) } else { colon + 1 };
    match port_at(text, digits) {
        Some((port, end)) => Ok((HostPort { port, ..none }, end)),
        None => Err(no_host_port(text, from, Error::new(Rule::Port, digits))),
    }
}

/// As [`host_port`], if it is an IPv4 address without a port or with one of four digits, from `from` on in a
/// window, which begins where the text does. Whoever asks has to see that neither goes on behind its end.
#[inline(always)]
pub(crate) fn usual_host_port<S: Set>(window: &Window, from: usize) -> Option<(HostPort, usize)> {
    let (ip, end) = usual_ipv4::<S>(window, from)?;
    usual_port_of(window, ip, from, end)
}

/// The address of [`usual_host_port`], as a number, and where it ends.
#[inline(always)]
pub(crate) fn usual_ipv4<S: Set>(window: &Window, from: usize) -> Option<(u32, usize)> {
    let found = ipv4_of::<S>(chunk(window, from as u32)?)?;
    Some((found.ip, from + found.len as usize))
}

/// As [`usual_host_port`] of an address that is known to stand there.
#[inline(always)]
pub(crate) fn usual_port_of(window: &Window, ip: u32, from: usize, end: usize) -> Option<(HostPort, usize)> {
    let none = HostPort { octets: [ip.into(), 0], host: Span::new(from, end), port: 0, kind: Kind::V4 };
    if window.get(end) != Some(&b':') {
        return Some((none, end));
    }
    let digits = *chunk(window, end as u32 + 1)?;
    let port = if digits == *b"5060" { 5060 } else { four_digits(digits).filter(|port| *port > 0)? };
    Some((HostPort { port, ..none }, end + 5))
}

/// `port = 1*DIGIT`, from 1 to 65,535, and where it ends.
#[inline(always)]
fn port_at(text: &[u8], at: usize) -> Option<(u16, usize)> {
    usual_port(text, at).or_else(|| port_by_digits(text, at))
}

/// The same of four digits.
#[inline(always)]
fn usual_port(text: &[u8], at: usize) -> Option<(u16, usize)> {
    let number = four_digits(*chunk(text, at as u32)?)?;
    let goes_on = text.get(at + 4).is_some_and(u8::is_ascii_digit);
    (number > 0 && !goes_on).then_some((number, at + 4))
}

/// Four digits as nearly every port has them: a number.
#[inline(always)]
fn four_digits(digits: [u8; 4]) -> Option<u16> {
    let each = u32::from_le_bytes(digits) ^ 0x3030_3030;
    // A digit and 0x76 are less than 0x80.
    if (each | each.wrapping_add(0x7676_7676)) & 0x8080_8080 != 0 {
        return None;
    }
    let pairs = each * 10 + (each >> 8);
    Some((pairs & 0xff) as u16 * 100 + (pairs >> 16 & 0xff) as u16)
}

#[inline(never)]
fn port_by_digits(text: &[u8], mut at: usize) -> Option<(u16, usize)> {
    let mut number = 0u32;
    while let Some(digit) = text.get(at).and_then(|&c| digit(c)) {
        number = number * 10 + digit;
        if number > u16::MAX.into() {
            return None;
        }
        at += 1;
    }
    (number > 0).then_some((number as u16, at))
}

/// A port and nothing else.
pub(crate) fn port(text: &[u8]) -> Option<u16> {
    port_at(text, 0).filter(|(_, end)| *end == text.len()).map(|(port, _)| port)
}

#[inline(always)]
fn digit(c: u8) -> Option<u32> {
    let digit = c.wrapping_sub(b'0');
    (digit <= 9).then_some(digit.into())
}

/// An IPv6 address without brackets breaks a rule of its own: nobody can tell its port (RFC 5118 §4.2).
#[cold]
fn no_host_port(text: &[u8], from: usize, error: Error) -> Error {
    let part = |c: &&u8| c.is_ascii_hexdigit() || matches!(c, b':' | b'.');
    let colons = text[from..].iter().take_while(part).filter(|&&c| c == b':').count();
    if colons > 1 { Error::new(Rule::Ipv6Reference, from) } else { error }
}

/// A name, or an IPv6 address in brackets, and where it ends.
#[inline(never)]
fn other_host(text: &[u8], from: usize) -> Result<(Kind, [u64; 2], usize), Error> {
    if let [b'[', inside @ ..] = &text[from..] {
        let ip = memchr::memchr(b']', inside).and_then(|len| Some((len, ipv6(&inside[..len])?)));
        let (len, ip) = ip.ok_or(Error::new(Rule::Ipv6Reference, from))?;
        let octets = u128::from_le_bytes(ip.octets());
        return Ok((Kind::V6, [octets as u64, (octets >> 64) as u64], from + len + 2));
    }
    let end = chars::run(HOST, text, from);
    match may_be_name(&text[from..end]) {
        true => Ok((Kind::Name, [0; 2], end)),
        false => Err(no_host_port(text, from, Error::new(Rule::Host, from))),
    }
}

/// `hostname = *( domainlabel "." ) toplabel [ "." ]`, where `toplabel` begins with a letter: all digits
/// are no name but a broken address.
fn may_be_name(text: &[u8]) -> bool {
    if text.last().is_some_and(u8::is_ascii_alphabetic) {
        return true;
    }
    let text = text.strip_suffix(b".").unwrap_or(text);
    let last = text.rsplit(|&c| c == b'.').next().unwrap_or(&[]);
    !last.iter().all(u8::is_ascii_digit)
}

/// The IPv4 address that begins at `from`, as a number, and where it ends: four decimal
/// numbers up to 255, without leading zeros, which some read as octal. `None` also where a host name goes on
/// behind it.
#[inline(always)]
fn ipv4_at<S: Set>(text: &[u8], from: usize) -> Option<(u32, usize)> {
    // The longest one has fifteen characters.
    let found = match chunk(text, from as u32) {
        Some(bytes) => ipv4_of::<S>(bytes)?,
        None => ipv4_of::<S>(&last_bytes(text, from))?,
    };
    let end = from + found.len as usize;
    let goes_on = text.get(end).is_some_and(|&c| chars::is(HOST, c));
    (!goes_on).then_some((found.ip, end))
}

/// An IPv4 address and its length.
struct FoundIpv4 {
    ip: u32,
    len: u32,
}

/// The IPv4 address that sixteen bytes begin with; what follows is neither a digit nor a dot.
#[inline(always)]
fn ipv4_of<S: Set>(text: &[u8; 16]) -> Option<FoundIpv4> {
    let bytes = Block::of(text);
    let dots = bytes.equal(Block::all(b'.')).bits();
    let len = (!(dots | bytes.within(b'0', b'9').bits())).trailing_zeros();
    let marks = dots & ((1 << len) - 1) | 1 << len;
    let shape = &SHAPES[place(marks)];
    if shape.marks != marks {
        return None;
    }
    Some(FoundIpv4 { ip: S::numbers(text, &shape.order, &shape.least)?, len })
}

/// Where the digits of an address stand.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Shape {
    /// For each number a byte that counts nothing, and the places of its three digits; 0x80: it has less.
    order: [u8; 16],
    /// The smallest number of so many digits.
    least: [u32; 4],
    /// Bit n: a dot stands at n, or the end of the address.
    marks: u32,
}

/// The shapes of four numbers of one to three digits, each in its place.
static SHAPES: [Shape; 256] = {
    let mut shapes = [Shape { order: [0; 16], least: [0; 4], marks: 0 }; 256];
    let mut number = 0;
    while number < 81 {
        let (mut digits, mut at, mut n) = (number, 0, 0);
        let mut shape = Shape { order: [0x80; 16], least: [0; 4], marks: 0 };
        while n < 4 {
            let len = digits % 3 + 1;
            digits /= 3;
            let mut digit = 0;
            while digit < len {
                shape.order[4 * n + 4 - len + digit] = (at + digit) as u8;
                digit += 1;
            }
            shape.least[n] = [0, 10, 100][len - 1];
            at += len + 1;
            shape.marks |= 1 << (at - 1);
            n += 1;
        }
        let slot = &mut shapes[place(shape.marks)];
        assert!(slot.marks == 0, "two shapes in one place");
        *slot = shape;
        number += 1;
    }
    shapes
};

/// Where the shape with these marks stands: a number for which no two share a place, found by trying.
#[inline(always)]
const fn place(marks: u32) -> usize {
    (marks.wrapping_mul(0xfc68_3c9f) >> 24) as usize
}

/// The less than sixteen bytes that the text has from `from` on, and zeros behind them.
#[inline(always)]
fn last_bytes(text: &[u8], from: usize) -> [u8; 16] {
    match text.last_chunk() {
        Some(last) => {
            u128::from_le_bytes(*last).unbounded_shr(8 * (from + 16 - text.len()) as u32).to_le_bytes()
        }
        None => padded(text.get(from..).unwrap_or(&[])),
    }
}

/// An IPv6 address without brackets. Three colons before an embedded IPv4 address are taken as two: the
/// grammar of RFC 3261 asked for them by mistake (RFC 5118 §4.10).
pub(crate) fn ipv6(text: &[u8]) -> Option<Ipv6Addr> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(ip) = text.parse() {
        return Some(ip);
    }
    let (head, tail) = text.split_once(":::")?;
    let tail: Ipv4Addr = tail.parse().ok()?;
    let mut buffer = [0; 40];
    let (head_text, rest) = buffer.split_at_mut_checked(head.len())?;
    head_text.copy_from_slice(head.as_bytes());
    rest.get_mut(..2)?.copy_from_slice(b"::");
    let prefix: Ipv6Addr = std::str::from_utf8(buffer.get(..head.len() + 2)?).ok()?.parse().ok()?;
    let mut octets = prefix.octets();
    let (prefix, low) = octets.split_last_chunk_mut::<4>()?;
    // The "::" has to stand for at least one group, besides the two of the IPv4 address.
    if *low != [0; 4] || prefix.last_chunk::<2>() != Some(&[0; 2]) {
        return None;
    }
    *low = tail.octets();
    Some(octets.into())
}

/// An IP address, IPv6 with or without brackets: `received` and `maddr` (RFC 5118 §4.5).
pub fn address(text: &[u8]) -> Option<IpAddr> {
    block::widely(Address(text))
}

/// [`address`]
struct Address<'a>(&'a [u8]);

impl Work for Address<'_> {
    type Done = Option<IpAddr>;

    #[inline(always)]
    fn with<S: Set>(self) -> Self::Done {
        match ipv4_at::<S>(self.0, 0) {
            Some((ip, end)) if end == self.0.len() => Some(IpAddr::V4(ip.into())),
            _ => ipv6_address(self.0),
        }
    }
}

/// With or without brackets.
#[inline(never)]
fn ipv6_address(text: &[u8]) -> Option<IpAddr> {
    let inside = text.strip_prefix(b"[").map_or(Some(text), |text| text.strip_suffix(b"]"));
    ipv6(inside?).map(IpAddr::V6)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Found<'a> = Result<(Host<'a>, Option<u16>), Error>;

    fn of(text: &str) -> Found<'_> {
        let (found, end) = host_port(text.as_bytes(), 0, false)?;
        if end < text.len() {
            return Err(Error::new(Rule::Host, end));
        }
        Ok((found.host(text.as_bytes()).expect("a host"), found.port()))
    }

    fn v6(text: &str) -> Host<'static> {
        Host::V6(text.parse().expect("an address"))
    }

    #[test]
    fn hosts_and_ports_are_told_apart() {
        assert_eq!(of("a.example"), Ok((Host::Name(b"a.example"), None)));
        assert_eq!(of("a.example.:5060"), Ok((Host::Name(b"a.example."), Some(5060))));
        assert_eq!(of("host1"), Ok((Host::Name(b"host1"), None)));
        assert_eq!(of("1.2.3.4.example"), Ok((Host::Name(b"1.2.3.4.example"), None)));
        assert_eq!(of("192.0.2.1:65535"), Ok((Host::V4([192, 0, 2, 1].into()), Some(65535))));
        assert_eq!(of("[2001:db8::10]"), Ok((v6("2001:db8::10"), None)));
        // RFC 5118 §4.3: "the port number is considered to be part of the IPv6 address".
        assert_eq!(of("[2001:db8::10:5070]"), Ok((v6("2001:db8::10:5070"), None)));
        assert_eq!(of("[2001:db8::10]:5070"), Ok((v6("2001:db8::10"), Some(5070))));
        assert_eq!(of("[::ffff:192.0.2.1]"), Ok((v6("::ffff:192.0.2.1"), None)));
    }

    #[test]
    fn three_colons_before_an_ipv4_address_are_two() {
        assert_eq!(of("[2001:db8:::192.0.2.1]"), Ok((v6("2001:db8::192.0.2.1"), None)));
        assert_eq!(of("[:::192.0.2.1]"), Ok((v6("::192.0.2.1"), None)));
        for text in ["[1:2:3:4:5:6:::1.2.3.4]", "[1:::2:::1.2.3.4]", "[:::]", "[1:::2]", "[a::b:::1.2.3.4]"] {
            assert_eq!(of(text), Err(Error::new(Rule::Ipv6Reference, 0)), "{text}");
        }
    }

    #[test]
    fn what_is_no_host_or_port_is_refused() {
        for (text, rule, at) in [
            ("", Rule::Host, 0),
            (".", Rule::Host, 0),
            ("1.2.3", Rule::Host, 0),
            ("1.2.3.256", Rule::Host, 0),
            ("1.2.3.04", Rule::Host, 0),
            ("1.2.3.4.5", Rule::Host, 0),
            ("4294967297", Rule::Host, 0),
            ("a b", Rule::Host, 1),
            ("a :5060", Rule::Host, 1),
            ("a:", Rule::Port, 2),
            ("a:0", Rule::Port, 2),
            ("a:65536", Rule::Port, 2),
            ("a:99999999999999999999", Rule::Port, 2),
            ("a:5060x", Rule::Host, 6),
            ("2001:db8::10", Rule::Ipv6Reference, 0),
            ("::1", Rule::Ipv6Reference, 0),
            ("[2001:db8::10", Rule::Ipv6Reference, 0),
            ("[]", Rule::Ipv6Reference, 0),
            ("[fe80::1%eth0]", Rule::Ipv6Reference, 0),
            ("[192.0.2.1]", Rule::Ipv6Reference, 0),
        ] {
            assert_eq!(of(text), Err(Error::new(rule, at)), "{text}");
        }
    }

    /// Four digits at once are the same as one after the other.
    #[test]
    fn a_port_is_a_number_whatever_follows() {
        for number in 0..=99_999u32 {
            let wanted = u16::try_from(number).ok().filter(|port| *port > 0);
            for text in [format!("{number}"), format!("{number:04};x"), format!("{number:05}>")] {
                let digits = text.trim_end_matches([';', 'x', '>']).len();
                assert_eq!(port_at(text.as_bytes(), 0), wanted.map(|port| (port, digits)), "{text}");
            }
        }
        for (at, c) in (0..4).flat_map(|at| (0..=u8::MAX).map(move |c| (at, c))) {
            let mut text = *b"5060";
            text[at] = c;
            assert_eq!(port_at(&text, 0), port_by_digits(&text, 0), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn sent_by_takes_white_space_around_its_colon() {
        let text = b"a.example \t: 5061 ;x";
        let (found, end) = host_port(text, 0, true).expect("a sent-by");
        assert_eq!((found.port(), found.host.end, end), (Some(5061), 9, 17));
        let (found, end) = host_port(b"a.example ;x", 0, true).expect("a sent-by");
        assert_eq!((found.port(), found.host.end, end), (None, 9, 9));
        assert!(host_port(b"a.example : ;x", 0, true).is_err());
    }

    #[test]
    fn hosts_are_compared_without_case_and_by_value() {
        assert!(Host::Name(b"A.Example").is_same(&Host::Name(b"a.eXAMPLE")));
        assert!(!Host::Name(b"a").is_same(&Host::Name(b"b")));
        assert!(v6("2001:db8::1").is_same(&v6("2001:DB8:0::1")));
        assert!(!Host::Name(b"a").is_same(&v6("::1")));
        // RFC 5118 §4.9 leaves it to whoever asks "is this us" that this is 192.0.2.1 too.
        assert!(!v6("::ffff:192.0.2.1").is_same(&Host::V4([192, 0, 2, 1].into())));
    }

    #[test]
    fn addresses_come_with_and_without_brackets() {
        assert_eq!(address(b"192.0.2.1"), Some(IpAddr::from([192, 0, 2, 1])));
        assert_eq!(address(b"[2001:db8::9:255]"), "2001:db8::9:255".parse().ok());
        assert_eq!(address(b"2001:db8::9:255"), "2001:db8::9:255".parse().ok());
        for text in ["", "a.example", "[192.0.2.1]", "[::1", "::1]"] {
            assert_eq!(address(text.as_bytes()), None, "{text}");
        }
    }
}
