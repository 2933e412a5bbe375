//! Via (RFC 3261 §20.42, §25.1): who wants the response, and how it gets there.

use std::fmt;
use std::net::IpAddr;

use nom::bytes::complete::{tag_no_case, take_while1};

use crate::block::{self, Set, Work};
use crate::chars::{number, offset, white};
use crate::error::{Error, Rule};
use crate::grammar::{Text, read, separator, token};
use crate::host::{self, Host, HostPort, address, host_port, usual_host_port};
use crate::params::{Owner, Param, Params, Places, RPORT};
use crate::scan::{Window, chunk, padded_window};
use crate::span::{Part, Span};

/// `via-parm = sent-protocol LWS sent-by *( SEMI via-params )`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    /// All of it, as written.
    pub text: &'a [u8],
    version: Span,
    transport: Span,
    sent_by: Span,
    host: HostPort,
    params: Places,
}

/// Where sent-by begins behind a usual protocol.
const SENT_BY: usize = 12;

/// Begins with a usual protocol, and one space.
#[inline(always)]
fn is_usual(window: &Window) -> bool {
    window.starts_with(b"SIP/2.0/UDP ")
        || window.starts_with(b"SIP/2.0/TCP ")
        || window.starts_with(b"SIP/2.0/TLS ")
}

/// `rport` (RFC 3581).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rport {
    /// Without a value: the client asks for it.
    Asked,
    /// With a value.
    Port(u16),
}

impl<'a> Via<'a> {
    /// Parses one value of a Via list.
    ///
    /// # Errors
    /// [`Rule::Via`], [`Rule::Host`], [`Rule::Ipv6Reference`], [`Rule::Port`], [`Rule::Parameter`],
    /// [`Rule::ParameterTwice`], [`Rule::Quote`].
    pub fn parse(text: &'a [u8]) -> Result<Self, Error> {
        if text.len() > crate::MAX_MESSAGE {
            return Err(Error::new(Rule::MessageTooLarge, crate::MAX_MESSAGE));
        }
        block::widely(Parse(text))
    }

    /// [`Via::parse`] of what can stand in a message.
    #[inline(always)]
    pub(crate) fn of<S: Set>(part: Part<'a>) -> Result<Self, Error> {
        match Self::usual::<S>(part) {
            Some(usual) => Ok(usual),
            None => Self::any(part.text()),
        }
    }

    /// As [`Via::usual`] of what stands there in a message, if it has no other parameters than a branch and perhaps an
    /// `rport` behind it; and that branch.
    #[inline(always)]
    pub(crate) fn simple<S: Set>(bytes: &'a [u8], span: Span) -> Option<(Self, &'a [u8])> {
        let window: &Window = chunk(bytes, span.start.into())?;
        let text = window.get(..usize::from(span.end).wrapping_sub(span.start.into()))?;
        if !is_usual(window) {
            return None;
        }
        let (host, sent_by_end) = usual_host_port::<S>(window, SENT_BY)?;
        let (params, branch) = Places::branch_and_rport::<S>(window, sent_by_end, text.len())?;
        let sent_by = Span::new(SENT_BY, sent_by_end);
        let via = Self { text, version: Span::new(4, 7), transport: Span::new(8, 11), sent_by, host, params };
        Some((via, branch))
    }

    /// As [`Via::parse`], if it is `SIP/2.0/UDP`, TCP or TLS and an IPv4 address, with or without port and parameters,
    /// as nearly all are, and sound.
    #[inline(always)]
    pub(crate) fn usual<S: Set>(part: Part<'a>) -> Option<Self> {
        let Part { rest: text, len } = part;
        let padded;
        let window: &Window = match chunk(text, 0) {
            Some(window) => window,
            None => {
                padded = padded_window(text);
                &padded
            }
        };
        if !is_usual(window) {
            return None;
        }
        let (host, sent_by_end) = usual_host_port::<S>(window, SENT_BY)?;
        let params = Places::usual_of_via::<S>(text, sent_by_end, len)?;
        let via = Self {
            text: part.text(),
            version: Span::new(4, 7),
            transport: Span::new(8, 11),
            sent_by: Span::new(SENT_BY, sent_by_end),
            host,
            params,
        };
        (params.end() == len && via.has_sound_rport()).then_some(via)
    }

    #[inline(never)]
    pub(crate) fn any(text: &'a [u8]) -> Result<Self, Error> {
        let (version, transport, at) = sent_protocol(text)?;
        let (host, sent_by_end) = host_port(text, at, true)?;
        let (params, end) = Places::read(text, sent_by_end, Owner::Via)?;
        let via = Self { text, version, transport, sent_by: Span::new(at, sent_by_end), host, params };
        if !via.has_sound_rport() {
            return Err(Error::new(Rule::Port, end));
        }
        if end < text.len() {
            return Err(Error::new(Rule::Via, end));
        }
        Ok(via)
    }

    /// `response-port = "rport" [EQUAL 1*DIGIT]` (RFC 3581 §8)
    #[inline(always)]
    fn has_sound_rport(&self) -> bool {
        match self.params.known_len(RPORT) {
            0 | 6 => true,
            _ => self.params().value(b"rport").is_none_or(|value| host::port(value).is_some()),
        }
    }

    /// The protocol's version, `2.0` as a rule.
    pub fn version(&self) -> &'a [u8] {
        self.version.of(self.text)
    }

    /// The transport as written; need not be one that anybody knows (RFC 4475 §3.1.1.10).
    pub fn transport(&self) -> &'a [u8] {
        self.transport.of(self.text)
    }

    /// The host of sent-by.
    #[inline(always)]
    pub fn host(&self) -> Host<'a> {
        self.host.host(self.text).unwrap_or(Host::Name(&[]))
    }

    /// Sent-by as written, port included.
    #[inline(always)]
    pub fn sent_by(&self) -> &'a [u8] {
        self.sent_by.of(self.text)
    }

    /// The port of sent-by; `None`: not written.
    #[inline(always)]
    pub const fn port(&self) -> Option<u16> {
        self.host.port()
    }

    /// The parameters.
    #[inline(always)]
    pub const fn params(&self) -> Params<'a> {
        Params::new(self.text, self.params, Owner::Via)
    }

    /// The parameter of this name, compared without case.
    #[inline]
    pub fn param(&self, name: &[u8]) -> Option<Param<'a>> {
        self.params().get(name)
    }

    /// `branch`
    #[inline]
    pub fn branch(&self) -> Option<&'a [u8]> {
        self.params().value(b"branch")
    }

    /// `rport`
    pub fn rport(&self) -> Option<Rport> {
        let param = self.params().get(b"rport")?;
        Some(param.value.and_then(host::port).map_or(Rport::Asked, Rport::Port))
    }

    /// `received` as an address; IPv6 with or without brackets (RFC 5118 §4.5).
    pub fn received(&self) -> Option<IpAddr> {
        address(self.params().value(b"received")?)
    }

    /// `maddr` as an address; a name is `None`.
    pub fn maddr(&self) -> Option<IpAddr> {
        address(self.params().value(b"maddr")?)
    }

    /// `ttl`
    pub fn ttl(&self) -> Option<u8> {
        number(self.params().value(b"ttl")?).and_then(|n| n.try_into().ok())
    }
}

/// `sent-protocol LWS`, where `sent-protocol = protocol-name SLASH protocol-version SLASH transport`: where
/// version and transport stand, and where what follows begins.
#[inline(never)]
fn sent_protocol(text: &[u8]) -> Result<(Span, Span, usize), Error> {
    let parts = (tag_no_case("SIP"), separator(b'/'), token, separator(b'/'), token, take_while1(white));
    let ((_, _, version, _, transport, _), end) = read(text, Rule::Via, parts)?;
    let span = |part: &[u8]| Span::new(offset(text, part), offset(text, part) + part.len());
    Ok((span(version), span(transport), end))
}

/// [`Via::parse`]
struct Parse<'a>(&'a [u8]);

impl<'a> Work for Parse<'a> {
    type Done = Result<Via<'a>, Error>;

    #[inline(always)]
    fn with<S: Set>(self) -> Self::Done {
        Via::of::<S>(Part::alone(self.0))
    }
}

impl fmt::Display for Via<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIP/{}/{} {}", Text(self.version()), Text(self.transport()), self.host())?;
        self.port().iter().try_for_each(|port| write!(f, ":{port}"))?;
        self.params().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::altered;
    use crate::block::Plain;

    fn via(text: &str) -> Via<'_> {
        Via::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn the_parts_of_a_via() {
        let via = via("SIP/2.0/UDP [2001:db8::9:1]:6050;branch=z9hG4bKas3-111;rport;ttl=16;maddr=224.2.0.1");
        assert_eq!((via.version(), via.transport()), (&b"2.0"[..], &b"UDP"[..]));
        assert_eq!(via.host(), Host::V6("2001:db8::9:1".parse().expect("an address")));
        assert_eq!((via.sent_by(), via.port()), (&b"[2001:db8::9:1]:6050"[..], Some(6050)));
        assert_eq!(via.branch(), Some(&b"z9hG4bKas3-111"[..]));
        assert_eq!(via.rport(), Some(Rport::Asked));
        assert_eq!(via.ttl(), Some(16));
        assert_eq!(via.maddr(), Some([224, 2, 0, 1].into()));
        assert_eq!(via.received(), None);
    }

    #[test]
    fn white_space_may_stand_between_all_parts() {
        let via = via("SIP  /   2.0\r\n /UDP\r\n    192.0.2.2 : 5060 ;branch= 390skdjuw");
        assert_eq!((via.version(), via.transport(), via.port()), (&b"2.0"[..], &b"UDP"[..], Some(5060)));
        assert_eq!(via.to_string(), "SIP/2.0/UDP 192.0.2.2:5060;branch=390skdjuw");
    }

    #[test]
    fn what_a_server_noted_is_read() {
        let text = "SIP/2.0/UDP a.example;received=[2001:db8::9:255];rport=5062;branch=z9hG4bK-.!%66*_+`'~";
        assert_eq!(via(text).received(), "2001:db8::9:255".parse().ok());
        assert_eq!(via(text).rport(), Some(Rport::Port(5062)));
        assert_eq!(via(text).branch(), Some(&b"z9hG4bK-.!%66*_+`'~"[..]));
        let text = "SIP/2.0/TLS a.example;received=2001:db8::9:255";
        assert_eq!(via(text).received(), "2001:db8::9:255".parse().ok());
        assert_eq!(via("SIP/7.0/UNKNOWN a.example").transport(), b"UNKNOWN");
    }

    #[test]
    fn what_is_no_via_is_refused() {
        for (text, rule, at) in [
            ("", Rule::Via, 0),
            ("HTTP/2.0/UDP a", Rule::Via, 0),
            ("SIP2.0/UDP a", Rule::Via, 3),
            ("SIP/2.0 a", Rule::Via, 8),
            ("SIP/2.0/ a", Rule::Via, 10),
            ("SIP/2.0/UDP", Rule::Via, 11),
            ("SIP/2.0/UDP ", Rule::Host, 12),
            ("SIP/2.0/UDP;branch=1", Rule::Via, 11),
            ("SIP/2.0/UDP 192.0.2.15;;", Rule::Parameter, 23),
            ("SIP/2.0/UDP a;branch=1;branch=2", Rule::ParameterTwice, 22),
            ("SIP/2.0/UDP a b", Rule::Via, 13),
            ("SIP/2.0/UDP 2001:db8::1", Rule::Ipv6Reference, 12),
            ("SIP/2.0/UDP a:99999", Rule::Port, 14),
            ("SIP/2.0/UDP a;rport=0", Rule::Port, 21),
            ("SIP/2.0/UDP a;rport=x", Rule::Port, 21),
            ("SIP/2.0/UDP a, SIP/2.0/UDP b", Rule::Via, 13),
        ] {
            assert_eq!(Via::parse(text.as_bytes()).err(), Some(Error::new(rule, at)), "{text}");
        }
    }

    /// What the short way reads, the long way reads alike.
    #[test]
    fn the_usual_form_is_read_like_any_other() {
        let forms = [
            "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK0000000001;rport",
            "SIP/2.0/TCP 192.0.2.1;branch=z9hG4bKv1a0000kq3v7x2m5t6w4y7z2a3b4c5d6e7f2g3h4;rport",
            "SIP/2.0/UDP 192.0.2.1:5061;branch=z9hG4bK01234567890123456;Rport=1",
            "SIP/2.0/TCP 10.0.0.100;rport=5060;branch=z9hG4bK1",
            "SIP/2.0/TLS 1.2.3.4;branch=z9hG4bK.a-b;received=192.0.2.9;maddr=a",
            "SIP/2.0/UDP 192.0.2.7:5060;received=192.0.2.9;rport=5060;branch=z9hG4bK=1@b",
            "SIP/2.0/UDP 192.0.2.7:5060;rport;x=y;maddr=192.0.2.9;branch=z9hG4bK1;vl=0a1b2c3d4e5f",
        ];
        let is_simple = |text: &[u8], whole: &[u8]| {
            let read = Via::simple::<Plain>(whole, Span::new(0, text.len()));
            let Some((read, branch)) = read else { return false };
            assert_eq!(Via::any(text), Ok(read), "{}", whole.escape_ascii());
            assert_eq!(read.branch(), Some(branch), "{}", whole.escape_ascii());
            true
        };
        altered::each_in_messages(&forms, is_simple, |text| {
            let Some(read) = Via::usual::<Plain>(Part::alone(text)) else { return false };
            assert_eq!(Via::any(text), Ok(read), "{}", text.escape_ascii());
            true
        });
    }
}
