//! Via (RFC 3261 §20.42, §25.1): who wants the response, and how it gets there.

use std::fmt;
use std::net::IpAddr;

use crate::chars::{number, token, trim, white};
use crate::error::{Error, Rule};
use crate::params::{Param, Params};
use crate::uri::{Host, host_port, ipv6};

/// `sent-protocol LWS sent-by *( SEMI via-params )`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    /// All of it, as written.
    pub text: &'a [u8],
    /// The protocol's version, `2.0` as a rule.
    pub version: &'a [u8],
    /// The transport as written.
    pub transport: &'a [u8],
    /// The host of sent-by.
    pub host: Host<'a>,
    /// Sent-by as written, port included.
    pub sent_by: &'a [u8],
    /// The port of sent-by; `None`: not written.
    pub port: Option<u16>,
    /// The parameters.
    pub params: Params<'a>,
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
    /// [`Rule::Via`], and the rules of host, port and parameters.
    pub fn parse(text: &'a [u8]) -> Result<Self, Error> {
        let mut at = 0;
        let protocol = part(text, &mut at)?;
        slash(text, &mut at)?;
        let version = part(text, &mut at)?;
        slash(text, &mut at)?;
        let transport = part(text, &mut at)?;
        if !protocol.eq_ignore_ascii_case(b"SIP") || !text.get(at).is_some_and(|&c| white(c)) {
            return Err(Error::new(Rule::Via, at));
        }
        skip_white(text, &mut at);
        let rest = &text[at..];
        let end = memchr::memchr(b';', rest).unwrap_or(rest.len());
        let (host, _, port) = host_port(rest, b";").map_err(|e| e.shifted(at))?;
        let params = Params::check(&rest[end..]).map_err(|e| e.shifted(at + end))?;
        let via = Self { text, version, transport, host, sent_by: trim(&rest[..end]), port, params };
        via.check_rport().ok_or(Error::new(Rule::Port, at + end))?;
        Ok(via)
    }

    fn check_rport(&self) -> Option<()> {
        match self.params.get(b"rport") {
            None => Some(()),
            Some(param) => param.value.is_none_or(|v| port_of(v).is_some()).then_some(()),
        }
    }

    /// The parameter of this name, compared without case.
    pub fn param(&self, name: &[u8]) -> Option<Param<'a>> {
        self.params.get(name)
    }

    /// `branch`
    pub fn branch(&self) -> Option<&'a [u8]> {
        self.params.value(b"branch")
    }

    /// `rport`
    pub fn rport(&self) -> Option<Rport> {
        let param = self.params.get(b"rport")?;
        Some(param.value.and_then(port_of).map_or(Rport::Asked, Rport::Port))
    }

    /// `received` as an address; IPv6 with or without brackets (RFC 5118 §4.5).
    pub fn received(&self) -> Option<IpAddr> {
        address(self.params.value(b"received")?)
    }

    /// `maddr` as an address; a name is `None`.
    pub fn maddr(&self) -> Option<IpAddr> {
        address(self.params.value(b"maddr")?)
    }

    /// `ttl`
    pub fn ttl(&self) -> Option<u8> {
        number(self.params.value(b"ttl")?).and_then(|n| n.try_into().ok())
    }
}

/// An IP address with or without brackets.
pub fn address(text: &[u8]) -> Option<IpAddr> {
    let text = match text {
        [b'[', inner @ .., b']'] => inner,
        text => text,
    };
    match memchr::memchr(b':', text) {
        Some(_) => ipv6(text).map(IpAddr::V6),
        None => std::str::from_utf8(text).ok()?.parse().ok(),
    }
}

fn port_of(text: &[u8]) -> Option<u16> {
    number(text).filter(|&n| n > 0).and_then(|n| n.try_into().ok())
}

fn part<'a>(text: &'a [u8], at: &mut usize) -> Result<&'a [u8], Error> {
    let rest = &text[*at..];
    let len = rest.iter().position(|&c| !token(c)).unwrap_or(rest.len());
    if len == 0 {
        return Err(Error::new(Rule::Via, *at));
    }
    *at += len;
    Ok(&rest[..len])
}

/// SLASH allows white space around it.
fn slash(text: &[u8], at: &mut usize) -> Result<(), Error> {
    skip_white(text, at);
    if text.get(*at) != Some(&b'/') {
        return Err(Error::new(Rule::Via, *at));
    }
    *at += 1;
    skip_white(text, at);
    Ok(())
}

fn skip_white(text: &[u8], at: &mut usize) {
    while text.get(*at).is_some_and(|&c| white(c)) {
        *at += 1;
    }
}

impl fmt::Display for Via<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lossy = String::from_utf8_lossy;
        write!(f, "SIP/{}/{} {}", lossy(self.version), lossy(self.transport), self.host)?;
        self.port.iter().try_for_each(|port| write!(f, ":{port}"))?;
        write!(f, "{}", lossy(self.params.text()))
    }
}
