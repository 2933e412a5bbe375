//! URIs: SIP and SIPS in full (RFC 3261 §19.1), tel (RFC 3966) and others as far as a proxy needs them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::chars::{hex, host as host_char, number, user as user_char};
use crate::error::{Error, Rule};
use crate::params::{Param, Params};

/// A URI's scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:`
    Tel,
    /// Any other.
    Other,
}

/// `host = hostname / IPv4address / IPv6reference`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// A host name, as written.
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
}

/// A parsed URI; its parts are slices of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uri<'a> {
    /// All of it, as written.
    pub text: &'a [u8],
    /// Its scheme.
    pub scheme: Scheme,
    /// The user part as written, escapes included; for `tel:` the number; `None`: there is no `@`.
    pub user: Option<&'a [u8]>,
    /// What stands between `:` and `@`.
    pub password: Option<&'a [u8]>,
    /// The host; `None` for schemes other than SIP and SIPS.
    pub host: Option<Host<'a>>,
    /// The host as written: IPv6 with its brackets; empty where there is none.
    pub host_text: &'a [u8],
    /// The port; `None`: not written.
    pub port: Option<u16>,
    /// The URI's parameters.
    pub params: Params<'a>,
    /// What follows `?`.
    pub headers: Option<&'a [u8]>,
}

impl<'a> Uri<'a> {
    /// Parses a URI; all of `text` has to be one.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn parse(text: &'a [u8]) -> Result<Self, Error> {
        if let Some(at) = text.iter().position(|&c| c <= b' ' || matches!(c, b'<' | b'>' | b'"' | 0x7f)) {
            return Err(Error::new(Rule::UriCharacter, at));
        }
        let colon = memchr::memchr(b':', text).ok_or(Error::new(Rule::UriScheme, 0))?;
        let scheme = scheme(&text[..colon])?;
        let rest = &text[colon + 1..];
        let at = colon + 1;
        match scheme {
            Scheme::Sip | Scheme::Sips => Self::sip(text, scheme, rest).map_err(|e| e.shifted(at)),
            Scheme::Tel => {
                let end = memchr::memchr(b';', rest).unwrap_or(rest.len());
                let params = Params::check(&rest[end..]).map_err(|e| e.shifted(at + end))?;
                let user = Some(&rest[..end]);
                Ok(Self { user, params, ..Self::opaque(text, scheme) })
            }
            Scheme::Other => Ok(Self::opaque(text, scheme)),
        }
    }

    fn opaque(text: &'a [u8], scheme: Scheme) -> Self {
        Self {
            text,
            scheme,
            user: None,
            password: None,
            host: None,
            host_text: &[],
            port: None,
            params: Params(&[]),
            headers: None,
        }
    }

    /// `[ userinfo "@" ] hostport uri-parameters [ headers ]`
    fn sip(text: &'a [u8], scheme: Scheme, rest: &'a [u8]) -> Result<Self, Error> {
        // "@" stands in no other part unescaped, so the last one ends the userinfo.
        let at_sign = memchr::memrchr(b'@', before_headers(rest));
        let (user, password) = match at_sign {
            Some(end) => userinfo(&rest[..end])?,
            None => (None, None),
        };
        let host_start = at_sign.map_or(0, |at| at + 1);
        let (host, host_text, port) =
            host_port(&rest[host_start..], b";?").map_err(|e| e.shifted(host_start))?;
        let tail = &rest[host_start + host_text.len()..];
        let tail = &tail[tail.iter().position(|c| matches!(c, b';' | b'?')).unwrap_or(tail.len())..];
        let headers_at = memchr::memchr(b'?', tail);
        let params = &tail[..headers_at.unwrap_or(tail.len())];
        let params_at = rest.len() - tail.len();
        escapes(params).map_err(|e| e.shifted(params_at))?;
        Ok(Self {
            text,
            scheme,
            user,
            password,
            host: Some(host),
            host_text,
            port,
            params: Params::check(params).map_err(|e| e.shifted(params_at))?,
            headers: headers_at.map(|at| &tail[at + 1..]),
        })
    }

    /// The URI parameter of this name, compared without case.
    pub fn param(&self, name: &[u8]) -> Option<Param<'a>> {
        self.params.get(name)
    }

    /// SIP or SIPS.
    pub fn is_sip(&self) -> bool {
        matches!(self.scheme, Scheme::Sip | Scheme::Sips)
    }

    /// The URI has `lr`: its owner is a loose router (RFC 3261 §19.1.1).
    pub fn is_loose_router(&self) -> bool {
        self.params.has(b"lr")
    }
}

impl fmt::Display for Uri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lossy = String::from_utf8_lossy;
        match self.scheme {
            Scheme::Sip => f.write_str("sip:")?,
            Scheme::Sips => f.write_str("sips:")?,
            Scheme::Tel => write!(f, "tel:{}", lossy(self.user.unwrap_or(&[])))?,
            Scheme::Other => return write!(f, "{}", lossy(self.text)),
        }
        if let (true, Some(user)) = (self.is_sip(), self.user) {
            write!(f, "{}", lossy(user))?;
            self.password.iter().try_for_each(|password| write!(f, ":{}", lossy(password)))?;
            f.write_str("@")?;
        }
        self.host.iter().try_for_each(|host| write!(f, "{host}"))?;
        self.port.iter().try_for_each(|port| write!(f, ":{port}"))?;
        write!(f, "{}", lossy(self.params.text()))?;
        self.headers.iter().try_for_each(|headers| write!(f, "?{}", lossy(headers)))
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{}", String::from_utf8_lossy(name)),
            Self::V4(ip) => write!(f, "{ip}"),
            Self::V6(ip) => write!(f, "[{ip}]"),
        }
    }
}

fn scheme(text: &[u8]) -> Result<Scheme, Error> {
    let legal = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'.');
    if !text.first().is_some_and(u8::is_ascii_alphabetic) || !text.iter().all(legal) {
        return Err(Error::new(Rule::UriScheme, 0));
    }
    Ok(match text {
        t if t.eq_ignore_ascii_case(b"sip") => Scheme::Sip,
        t if t.eq_ignore_ascii_case(b"sips") => Scheme::Sips,
        t if t.eq_ignore_ascii_case(b"tel") => Scheme::Tel,
        _ => Scheme::Other,
    })
}

/// The headers part may hold an escaped URI, but no bare "@" that belongs to the userinfo; a user part
/// may hold "?". So headers begin at the first "?" behind the last "@" that precedes a host.
fn before_headers(rest: &[u8]) -> &[u8] {
    let Some(question) = memchr::memchr(b'?', rest) else { return rest };
    if memchr::memchr(b'@', &rest[..question]).is_some() || memchr::memchr(b'@', &rest[question..]).is_none()
    {
        return &rest[..question];
    }
    rest
}

type UserInfo<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

fn userinfo(text: &[u8]) -> Result<UserInfo<'_>, Error> {
    let colon = memchr::memchr(b':', text);
    let user = &text[..colon.unwrap_or(text.len())];
    if user.is_empty() {
        return Err(Error::new(Rule::UriUser, 0));
    }
    if let Some(at) = text.iter().position(|&c| !user_char(c)) {
        return Err(Error::new(Rule::UriUser, at));
    }
    escapes(text)?;
    Ok((Some(user), colon.map(|at| &text[at + 1..])))
}

fn escapes(text: &[u8]) -> Result<(), Error> {
    for at in memchr::memchr_iter(b'%', text) {
        let digits = text.get(at + 1..at + 3);
        if !digits.is_some_and(|d| d.iter().all(|&c| hex(c))) {
            return Err(Error::new(Rule::Escape, at));
        }
    }
    Ok(())
}

/// `host [ ":" port ]`, up to one of `ends` or the end; white space around the colon is taken
/// (RFC 3261 §20.42 allows it in Via; URIs have none, they were checked before).
pub(crate) fn host_port<'a>(text: &'a [u8], ends: &[u8]) -> Result<(Host<'a>, &'a [u8], Option<u16>), Error> {
    let len = text.iter().position(|c| ends.contains(c)).unwrap_or(text.len());
    let part = &text[..len];
    let host_len = if part.first() == Some(&b'[') {
        memchr::memchr(b']', part).ok_or(Error::new(Rule::Ipv6Reference, 0))? + 1
    } else if memchr::memchr_iter(b':', part).nth(1).is_some() {
        // An IPv6 address without brackets: nobody can tell its port (RFC 5118 §4.2).
        return Err(Error::new(Rule::Ipv6Reference, 0));
    } else {
        part.iter().position(|&c| !host_char(c)).unwrap_or(part.len())
    };
    let host_text = &part[..host_len];
    let host = host(host_text)?;
    let after = &part[host_len..];
    let mut at = after.iter().position(|&c| !crate::chars::white(c)).unwrap_or(after.len());
    if at == after.len() {
        return Ok((host, host_text, None));
    }
    if after[at] != b':' {
        return Err(Error::new(Rule::Host, host_len + at));
    }
    at += 1;
    let digits = crate::chars::trim(&after[at..]);
    match number(digits) {
        Some(port @ 1..=65_535) => Ok((host, host_text, Some(port as u16))),
        _ => Err(Error::new(Rule::Port, host_len + at)),
    }
}

fn host(text: &[u8]) -> Result<Host<'_>, Error> {
    match text {
        [] => Err(Error::new(Rule::Host, 0)),
        [b'[', inner @ .., b']'] => ipv6(inner).map(Host::V6).ok_or(Error::new(Rule::Ipv6Reference, 0)),
        _ => {
            let last = text.rsplit(|c| *c == b'.').find(|label| !label.is_empty()).unwrap_or(&[]);
            if !last.iter().all(u8::is_ascii_digit) {
                return Ok(Host::Name(text));
            }
            // RFC 3261 §25.1: the last label of a host name begins with a letter, so this is an address.
            let ip = std::str::from_utf8(text).ok().and_then(|t| t.parse::<Ipv4Addr>().ok());
            ip.map(Host::V4).ok_or(Error::new(Rule::Host, 0))
        }
    }
}

/// An IPv6 address without brackets. Three colons before an embedded IPv4 address are taken as two: the
/// grammar of RFC 3261 allowed them by mistake (RFC 5118 §4.10).
pub(crate) fn ipv6(text: &[u8]) -> Option<Ipv6Addr> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(ip) = text.parse() {
        return Some(ip);
    }
    let (head, tail) = text.split_once(":::")?;
    let tail = tail.parse::<Ipv4Addr>().ok()?;
    let mut buffer = [0; 64];
    let len = head.len() + 2;
    buffer.get_mut(..head.len())?.copy_from_slice(head.as_bytes());
    buffer.get_mut(head.len()..len)?.copy_from_slice(b"::");
    let prefix: Ipv6Addr = std::str::from_utf8(buffer.get(..len)?).ok()?.parse().ok()?;
    let [.., low_a, low_b] = tail.to_ipv6_mapped().segments();
    let mut segments = prefix.segments();
    if segments[6..] != [0, 0] {
        return None;
    }
    segments[6..].copy_from_slice(&[low_a, low_b]);
    Some(segments.into())
}

/// Percent-decodes `text` once into `buffer`; bytes that do not fit are left out.
pub fn percent_decode<'b>(text: &[u8], buffer: &'b mut [u8]) -> &'b [u8] {
    let (mut read, mut written) = (0, 0);
    while let (Some(&c), Some(slot)) = (text.get(read), buffer.get_mut(written)) {
        let escaped = text.get(read + 1..read + 3).filter(|_| c == b'%').and_then(byte_of);
        read += if escaped.is_some() { 3 } else { 1 };
        *slot = escaped.unwrap_or(c);
        written += 1;
    }
    &buffer[..written]
}

fn byte_of(digits: &[u8]) -> Option<u8> {
    let digit = |c: u8| char::from(c).to_digit(16);
    let [high, low] = digits else { return None };
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}
