//! From, To, Contact, Route and Record-Route values: `name-addr` or `addr-spec` with parameters.

use std::fmt;

use crate::chars::{offset, token, trim, white};
use crate::error::{Error, Rule};
use crate::list::quoted_len;
use crate::params::{Param, Params};
use crate::uri::Uri;

/// `( name-addr / addr-spec ) *( SEMI generic-param )` (RFC 3261 §25.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// All of it, as written.
    pub text: &'a [u8],
    /// The URI stands in angle brackets.
    pub bracketed: bool,
    /// The display name as written, quotes included; empty where there is none.
    pub display: &'a [u8],
    /// The URI.
    pub uri: Uri<'a>,
    /// The header's parameters, not the URI's.
    pub params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    /// Parses one value of a list, or the value of a From or To header.
    ///
    /// # Errors
    /// The first rule that it breaks; in the URI too.
    pub fn parse(text: &'a [u8]) -> Result<Self, Error> {
        let value = trim(text);
        let shift = offset(text, value);
        Self::parse_trimmed(value).map_err(|e| e.shifted(shift))
    }

    fn parse_trimmed(value: &'a [u8]) -> Result<Self, Error> {
        let display_len = match value.first() {
            None => return Err(Error::new(Rule::EmptyValue, 0)),
            Some(b'"') => quoted_len(value)?,
            // RFC 4475 §3.1.1.6: no white space is needed between a display name and "<".
            Some(_) => match memchr::memchr(b'<', value) {
                Some(open) if is_display(&value[..open]) => open,
                Some(open) if memchr::memchr3(b':', b';', b'@', &value[..open]).is_none() => {
                    return Err(Error::new(Rule::DisplayName, 0));
                }
                _ => return Self::addr_spec(value),
            },
        };
        let rest = &value[display_len..];
        let open = rest.iter().position(|&c| !white(c)).map_or(value.len(), |n| display_len + n);
        if value.get(open) != Some(&b'<') {
            return Err(Error::new(Rule::AngleBracket, open));
        }
        let inside = &value[open + 1..];
        let close = memchr::memchr(b'>', inside).ok_or(Error::new(Rule::AngleBracket, open))?;
        let uri = Uri::parse(&inside[..close]).map_err(|e| e.shifted(open + 1))?;
        let params = open + 1 + close + 1;
        Ok(Self {
            text: value,
            bracketed: true,
            display: trim(&value[..display_len]),
            uri,
            params: Params::check(&value[params..]).map_err(|e| e.shifted(params))?,
        })
    }

    /// RFC 3261 §20: "If the URI is not enclosed in angle brackets, any semicolon-delimited parameters are
    /// header-parameters, not URI parameters."
    fn addr_spec(value: &'a [u8]) -> Result<Self, Error> {
        let at_sign = memchr::memrchr(b'@', value).unwrap_or(0);
        let semicolon = memchr::memchr(b';', &value[at_sign..]).map(|n| at_sign + n);
        let end = semicolon.unwrap_or(value.len());
        Ok(Self {
            text: value,
            bracketed: false,
            display: &[],
            uri: Uri::parse(trim(&value[..end]))?,
            params: Params::check(&value[end..]).map_err(|e| e.shifted(end))?,
        })
    }

    /// Parses one value of Route or Record-Route, where the URI has to stand in angle brackets:
    /// `route-param = name-addr *( SEMI rr-param )` (RFC 3261 §25.1).
    ///
    /// # Errors
    /// As [`NameAddr::parse`], and [`Rule::AngleBracket`].
    pub fn route(text: &'a [u8]) -> Result<Self, Error> {
        let route = Self::parse(text)?;
        if route.bracketed { Ok(route) } else { Err(Error::new(Rule::AngleBracket, 0)) }
    }

    /// The header parameter of this name, compared without case.
    pub fn param(&self, name: &[u8]) -> Option<Param<'a>> {
        self.params.get(name)
    }

    /// The `tag` parameter's value.
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.params.value(b"tag")
    }
}

/// `*(token LWS)`
fn is_display(text: &[u8]) -> bool {
    text.iter().all(|&c| token(c) || white(c))
}

impl fmt::Display for NameAddr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.display.is_empty() {
            write!(f, "{} ", String::from_utf8_lossy(self.display))?;
        }
        write!(f, "<{}>{}", self.uri, String::from_utf8_lossy(self.params.text()))
    }
}
