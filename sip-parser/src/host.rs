//! Hosts and ports (RFC 3261 §25.1; RFC 5118 on IPv6).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::chars::{self, HOST, after_white};
use crate::error::{Error, Rule};
use crate::grammar::Text;

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
pub(crate) struct HostPort<'a> {
    pub host: Host<'a>,
    /// Where the host ends, IPv6 with its brackets.
    pub host_end: usize,
    pub port: Option<u16>,
    /// Where the port ends, or the host if there is none.
    pub end: usize,
}

/// `hostport = host [ ":" port ]`, as URIs have it; with `spaced` `sent-by = host [ COLON port ]`, where
/// `COLON = SWS ":" SWS`. Begins at `from`.
///
/// # Errors
/// [`Rule::Host`], [`Rule::Ipv6Reference`], [`Rule::Port`].
#[inline(always)]
pub(crate) fn host_port(text: &[u8], from: usize, spaced: bool) -> Result<HostPort<'_>, Error> {
    let (host, host_end) = match ipv4_at(text, from) {
        Some((ip, end)) => (Host::V4(ip), end),
        None => other_host(text, from)?,
    };
    let colon = if spaced { after_white(text, host_end) } else { host_end };
    if text.get(colon) != Some(&b':') {
        return Ok(HostPort { host, host_end, port: None, end: host_end });
    }
    let digits = if spaced { after_white(text, colon + 1) } else { colon + 1 };
    match port_at(text, digits) {
        Some((port, end)) => Ok(HostPort { host, host_end, port: Some(port), end }),
        None => Err(no_host_port(text, from, Error::new(Rule::Port, digits))),
    }
}

/// `port = 1*DIGIT`, from 1 to 65,535, and where it ends.
#[inline(always)]
fn port_at(text: &[u8], mut at: usize) -> Option<(u16, usize)> {
    let mut number = 0u32;
    while let Some(digit) = digit_at(text, at) {
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
fn digit_at(text: &[u8], at: usize) -> Option<u32> {
    let digit = text.get(at)?.wrapping_sub(b'0');
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
fn other_host(text: &[u8], from: usize) -> Result<(Host<'_>, usize), Error> {
    if let [b'[', inside @ ..] = &text[from..] {
        let ip = memchr::memchr(b']', inside).and_then(|len| Some((len, ipv6(&inside[..len])?)));
        let (len, ip) = ip.ok_or(Error::new(Rule::Ipv6Reference, from))?;
        return Ok((Host::V6(ip), from + len + 2));
    }
    let end = chars::run(HOST, text, from);
    let name = &text[from..end];
    if may_be_name(name) {
        Ok((Host::Name(name), end))
    } else {
        Err(no_host_port(text, from, Error::new(Rule::Host, from)))
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

/// The IPv4 address that begins at `from`, and where it ends: four decimal numbers up to 255, without leading
/// zeros, which some read as octal. `None` also where a host name goes on behind it.
#[inline(always)]
fn ipv4_at(text: &[u8], from: usize) -> Option<(Ipv4Addr, usize)> {
    let (a, at) = octet_at(text, from)?;
    let (b, at) = octet_at(text, dot_at(text, at)?)?;
    let (c, at) = octet_at(text, dot_at(text, at)?)?;
    let (d, at) = octet_at(text, dot_at(text, at)?)?;
    let goes_on = text.get(at).is_some_and(|&c| chars::is(HOST, c));
    (!goes_on).then(|| (Ipv4Addr::new(a, b, c, d), at))
}

/// What follows the dot that stands at `at`.
#[inline(always)]
fn dot_at(text: &[u8], at: usize) -> Option<usize> {
    (text.get(at) == Some(&b'.')).then_some(at + 1)
}

#[inline(always)]
fn octet_at(text: &[u8], at: usize) -> Option<(u8, usize)> {
    let first = digit_at(text, at)?;
    let Some(second) = digit_at(text, at + 1) else { return Some((first as u8, at + 1)) };
    if first == 0 {
        return None;
    }
    let two = first * 10 + second;
    let Some(third) = digit_at(text, at + 2) else { return Some((two as u8, at + 2)) };
    let number = u8::try_from(two * 10 + third).ok()?;
    Some((number, at + 3))
}

/// An IPv4 address and nothing else.
fn ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    ipv4_at(text, 0).filter(|(_, end)| *end == text.len()).map(|(ip, _)| ip)
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

    type Found<'a> = Result<(Host<'a>, Option<u16>), Error>;

    fn of(text: &str) -> Found<'_> {
        let found = host_port(text.as_bytes(), 0, false)?;
        if found.end < text.len() {
            return Err(Error::new(Rule::Host, found.end));
        }
        Ok((found.host, found.port))
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
        let found = host_port(text, 0, true).expect("a sent-by");
        assert_eq!((found.port, found.host_end, found.end), (Some(5061), 9, 17));
        let found = host_port(b"a.example ;x", 0, true).expect("a sent-by");
        assert_eq!((found.port, found.host_end, found.end), (None, 9, 9));
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
