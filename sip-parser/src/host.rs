//! Hosts and ports (RFC 3261 §25.1; RFC 5118 on IPv6).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::chars::{self, HOST, white};
use crate::error::Rule;
use crate::grammar::{Parsed, Text, broken};

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

/// `host [ COLON port ]`
#[derive(Clone, Copy)]
pub(crate) struct HostPort<'a> {
    pub host: Host<'a>,
    /// The host as written, IPv6 with its brackets.
    pub host_text: &'a [u8],
    pub port: Option<u16>,
    /// Host and port as written.
    pub text: &'a [u8],
}

/// `hostport = host [ ":" port ]`, as URIs have it.
pub(crate) fn host_port(input: &[u8]) -> Parsed<'_, HostPort<'_>> {
    read(input, false).or_else(|error| unbracketed(input).unwrap_or(Err(error)))
}

/// `sent-by = host [ COLON port ]`, where `COLON = SWS ":" SWS`.
pub(crate) fn sent_by(input: &[u8]) -> Parsed<'_, HostPort<'_>> {
    read(input, true).or_else(|error| unbracketed(input).unwrap_or(Err(error)))
}

fn read(input: &[u8], spaced: bool) -> Parsed<'_, HostPort<'_>> {
    let (rest, host) = host(input)?;
    let host_text = &input[..input.len() - rest.len()];
    if matches!(rest.first(), None | Some(b';')) {
        return Ok((rest, HostPort { host, host_text, port: None, text: host_text }));
    }
    let skip = |text: &[u8]| if spaced { text.iter().take_while(|&&c| white(c)).count() } else { 0 };
    let colon = &rest[skip(rest)..];
    let [b':', after @ ..] = colon else {
        return Ok((rest, HostPort { host, host_text, port: None, text: host_text }));
    };
    let digits = &after[skip(after)..];
    let Some((rest, port)) = port_at(digits) else { return broken(Rule::Port, digits) };
    let text = &input[..input.len() - rest.len()];
    Ok((rest, HostPort { host, host_text, port: Some(port), text }))
}

/// `port = 1*DIGIT`, from 1 to 65,535, and what follows it.
#[inline]
fn port_at(text: &[u8]) -> Option<(&[u8], u16)> {
    let mut number = 0u16;
    let mut rest = text;
    while let [c @ b'0'..=b'9', after @ ..] = rest {
        number = number.checked_mul(10)?.checked_add(u16::from(c - b'0'))?;
        rest = after;
    }
    (number > 0).then_some((rest, number))
}

/// A port and nothing else.
pub(crate) fn port(text: &[u8]) -> Option<u16> {
    port_at(text).filter(|(rest, _)| rest.is_empty()).map(|(_, port)| port)
}

/// An IPv6 address without brackets breaks a rule of its own: nobody can tell its port (RFC 5118 §4.2).
fn unbracketed(input: &[u8]) -> Option<Parsed<'_, HostPort<'_>>> {
    let len = input.iter().take_while(|&&c| c.is_ascii_hexdigit() || matches!(c, b':' | b'.')).count();
    let colons = input[..len].iter().filter(|&&c| c == b':').count();
    (colons > 1).then(|| broken(Rule::Ipv6Reference, input))
}

fn host(input: &[u8]) -> Parsed<'_, Host<'_>> {
    if let [b'[', inside @ ..] = input {
        let ip = memchr::memchr(b']', inside).and_then(|len| Some((len, ipv6(&inside[..len])?)));
        let Some((len, ip)) = ip else { return broken(Rule::Ipv6Reference, input) };
        return Ok((&inside[len + 1..], Host::V6(ip)));
    }
    if let Some((len, ip)) = ipv4_at(input) {
        return Ok((&input[len..], Host::V4(ip)));
    }
    let (name, rest) = input.split_at(chars::run(HOST, input, 0));
    if may_be_name(name) { Ok((rest, Host::Name(name))) } else { broken(Rule::Host, input) }
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

/// The IPv4 address that a text begins with, and its length: four decimal numbers up to 255, without
/// leading zeros, which some read as octal. `None` also where a host name goes on behind it.
#[inline]
fn ipv4_at(text: &[u8]) -> Option<(usize, Ipv4Addr)> {
    let mut octets = [0; 4];
    let mut at = 0;
    for (place, octet) in octets.iter_mut().enumerate() {
        if place > 0 {
            at += usize::from(*text.get(at)? == b'.');
        }
        let start = at;
        let mut number = 0;
        while let Some(digit) = text.get(at).map(|c| c.wrapping_sub(b'0')).filter(|&digit| digit <= 9) {
            number = number * 10 + u32::from(digit);
            at += 1;
            if at - start > 3 {
                return None;
            }
        }
        if at == start || (text[start] == b'0' && at - start > 1) {
            return None;
        }
        *octet = number.try_into().ok()?;
    }
    let goes_on = text.get(at).is_some_and(|&c| chars::is(HOST, c));
    (!goes_on).then(|| (at, octets.into()))
}

/// An IPv4 address and nothing else.
fn ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    ipv4_at(text).filter(|(len, _)| *len == text.len()).map(|(_, ip)| ip)
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
    let inside = text.strip_prefix(b"[").and_then(|t| t.strip_suffix(b"]"));
    match inside {
        Some(inside) => ipv6(inside).map(IpAddr::V6),
        None if text.contains(&b':') => ipv6(text).map(IpAddr::V6),
        None => ipv4(text).map(IpAddr::V4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::grammar::whole;

    type Found<'a> = Result<(Host<'a>, Option<u16>), Error>;

    fn of(text: &str) -> Found<'_> {
        whole(text.as_bytes(), Rule::Host, host_port).map(|found| (found.host, found.port))
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

    #[test]
    fn sent_by_takes_white_space_around_its_colon() {
        let text = b"a.example \t: 5061 ;x";
        let (rest, found) = sent_by(text).expect("a sent-by");
        assert_eq!((found.port, found.text, rest), (Some(5061), &b"a.example \t: 5061"[..], &b" ;x"[..]));
        let (rest, found) = sent_by(b"a.example ;x").expect("a sent-by");
        assert_eq!((found.port, found.text, rest), (None, &b"a.example"[..], &b" ;x"[..]));
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
