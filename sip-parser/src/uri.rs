//! URIs: SIP and SIPS in full (RFC 3261 §19.1), tel (RFC 3966) and others as far as a proxy needs them.

use std::fmt;

use crate::block::{self, Set, Work, plain};
use crate::chars::{self, Class, URI, USER};
use crate::error::{Error, Rule};
use crate::grammar::{Text, escaped};
use crate::host::{Host, HostPort, host_port, usual_host_port, usual_ipv4, usual_port_of};
use crate::params::{Owner, Param, Params, Places};
use crate::scan::{Window, chunk, padded_window};
use crate::span::{Part, Span};

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

/// A parsed URI: where its parts stand in its text.
///
/// In this order, so that what few have, and is 0 else, stands together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Uri<'a> {
    /// All of it.
    text: &'a [u8],
    user: Span,
    /// Its scheme.
    pub scheme: Scheme,
    /// See [`Uri::is_user_plain`].
    plain: bool,
    host: HostPort,
    /// From behind the colon on; 0: there is none.
    password: Span,
    headers: Span,
    params: Places,
}

impl<'a> Uri<'a> {
    /// Parses a URI; all of `text` has to be one.
    ///
    /// # Errors
    /// The first rule that it breaks: [`Rule::UriScheme`], [`Rule::UriCharacter`], [`Rule::UriUser`],
    /// [`Rule::Escape`], [`Rule::Host`], [`Rule::Ipv6Reference`], [`Rule::Port`], [`Rule::Parameter`],
    /// [`Rule::ParameterTwice`]; [`Rule::MessageTooLarge`] where it could stand in no message.
    pub fn parse(text: &'a [u8]) -> Result<Self, Error> {
        if text.len() > crate::MAX_MESSAGE {
            return Err(Error::new(Rule::MessageTooLarge, crate::MAX_MESSAGE));
        }
        block::widely(Parse(text))
    }

    /// [`Uri::parse`] of what can stand in a message.
    #[inline(always)]
    pub(crate) fn of<S: Set>(part: Part<'a>) -> Result<Self, Error> {
        match Self::usual_alone::<S>(part) {
            Some(usual) => Ok(usual),
            None => Self::parse_any(part.text()),
        }
    }

    #[inline(never)]
    pub(crate) fn parse_any(text: &'a [u8]) -> Result<Self, Error> {
        match Self::read(text, false) {
            Ok(uri) if uri.text.len() == text.len() => Ok(uri),
            Ok(uri) => Err(told(text, Error::new(Rule::UriCharacter, uri.text.len()))),
            Err(error) => Err(told(text, error)),
        }
    }

    /// Parses a Request-URI.
    ///
    /// # Errors
    /// As [`Uri::parse`]; [`Rule::RequestUriBrackets`]: RFC 3261 §7.1, "The Request-URI MUST NOT contain
    /// unescaped spaces or control characters and MUST NOT be enclosed in "<>"";
    /// [`Rule::UriHeaders`]: RFC 3261 §19.1.1, Table 1 allows no headers in it.
    pub fn request(text: &'a [u8]) -> Result<Self, Error> {
        if let [b'<' | b'"', ..] = text {
            return Err(Error::new(Rule::RequestUriBrackets, 0));
        }
        let uri = Self::parse(text)?;
        match uri.headers() {
            Some(headers) => Err(Error::new(Rule::UriHeaders, text.len() - headers.len() - 1)),
            None => Ok(uri),
        }
    }

    /// As [`Uri::read`] of what `text` and the window begin with, if it is `sip:`, a user of at most 32 plain characters or
    /// none, and an IPv4 address, with or without port and parameters, as nearly all are, and sound. What follows has to be
    /// something that ends it.
    #[inline(always)]
    pub(crate) fn usual<S: Set>(text: &'a [u8], window: &Window) -> Option<Self> {
        let begin = u32::from_le_bytes(*window.first_chunk()?) | 0x20_2020;
        if begin != u32::from_le_bytes(*b"sip:") {
            return None;
        }
        let (mut user, mut at) = (NOWHERE, 4);
        let end = at + S::stops(chunk(window, at as u32)?).trailing_zeros() as usize;
        if window.get(end) == Some(&b'@') {
            if end == at {
                return None;
            }
            (user, at) = (Span::new(at, end), end + 1);
        }
        let (host, at) = usual_host_port::<S>(window, at)?;
        let params = Places::usual_of_uri::<S>(text, window, at)?;
        let text = text.get(..params.end())?;
        let plain = !user.is_empty();
        let (password, headers, scheme) = (NOWHERE, NOWHERE, Scheme::Sip);
        Some(Self { text, user, password, host, params, headers, plain, scheme })
    }

    /// As [`Uri::usual`], if it begins so, and has no parameter but `user=phone`.
    #[inline(always)]
    pub(crate) fn simple(begun: Begun<'a>) -> Option<Self> {
        let Begun { window, user_end, ip, host_end } = begun;
        let user_end = user_end as usize;
        let (host, at) = usual_port_of(window, ip, user_end + 1, host_end as usize)?;
        let params = Places::user_phone(window, at)?;
        let (text, user) = (window.get(..params.end())?, Span::new(4, user_end));
        let (password, headers, scheme) = (NOWHERE, NOWHERE, Scheme::Sip);
        Some(Self { text, user, password, host, params, headers, plain: true, scheme })
    }

    /// The same, if it is as long as that.
    #[inline(always)]
    pub(crate) fn simple_of_len(begun: Begun<'a>, span: Span) -> Option<Self> {
        let len = usize::from(span.end).wrapping_sub(span.start.into());
        Self::simple(begun).filter(|uri| uri.text.len() == len)
    }

    /// As [`Uri::parse`], if it is as nearly all are, and sound.
    #[inline(always)]
    pub(crate) fn usual_alone<S: Set>(part: Part<'a>) -> Option<Self> {
        let Part { rest, len } = part;
        let padded;
        let window: &Window = match chunk(rest, 0) {
            Some(window) => window,
            None => {
                padded = padded_window(rest);
                &padded
            }
        };
        let uri = Self::usual::<S>(rest, window)?;
        (uri.text.len() == len).then_some(uri)
    }

    /// Reads the URI that the text begins with. Where it stands in angle brackets, `>` is its end, so that nothing behind
    /// is looked at.
    ///
    /// # Errors
    /// As [`Uri::parse`], but [`Rule::UriCharacter`] and [`Rule::MessageTooLarge`].
    #[inline(always)]
    pub(crate) fn read(whole: &'a [u8], in_brackets: bool) -> Result<Self, Error> {
        let (scheme, at) = scheme(whole)?;
        let is_sip = matches!(scheme, Scheme::Sip | Scheme::Sips);
        let (user, password, at) = match is_sip {
            true => userinfo(whole, at, in_brackets)?,
            false => other_part(whole, at, scheme)?,
        };
        let (host, at) = if is_sip { host_port(whole, at, false)? } else { (HostPort::none(at), at) };
        if is_sip && !matches!(whole.get(at), None | Some(b';' | b'?' | b'>')) {
            return Err(Error::new(Rule::Host, at));
        }
        let (params, mut end) = match scheme {
            Scheme::Other => (Places::default(), at),
            _ => Places::read(whole, at, Owner::Uri)?,
        };
        let mut headers = Span::default();
        if is_sip && whole.get(end) == Some(&b'?') {
            let begin = end + 1;
            end = some(URI, whole, begin, Rule::UriCharacter)?;
            headers = Span::new(begin, end);
        }
        let text = whole.get(..end).unwrap_or(whole);
        let plain = is_sip && is_plain(user.of(whole));
        Ok(Self { text, user, password, host, params, headers, plain, scheme })
    }

    /// All of it, as written.
    #[inline(always)]
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// The user part as written, escapes included, up to `:` or `@`; for `tel:` the number. `None`: there
    /// is no `@`. What stands behind a `;` in it belongs to it (RFC 4475 §3.1.1.9).
    #[inline(always)]
    pub fn user(&self) -> Option<&'a [u8]> {
        (!self.user.is_empty()).then(|| self.user.of(self.text))
    }

    /// The user part is known to be what is meant: no longer than 64 bytes, and of letters, digits and `* + - . _` alone. Of a
    /// long one, or one with other characters, nothing is known.
    #[inline(always)]
    pub const fn is_user_plain(&self) -> bool {
        self.plain
    }

    /// What stands between `:` and `@`.
    #[inline(always)]
    pub fn password(&self) -> Option<&'a [u8]> {
        (self.password.start > 0).then(|| self.password.of(self.text))
    }

    /// The host; `None` for schemes other than SIP and SIPS.
    #[inline(always)]
    pub fn host(&self) -> Option<Host<'a>> {
        self.host.host(self.text)
    }

    /// The host as written: IPv6 with its brackets; empty where there is none.
    #[inline(always)]
    pub fn host_text(&self) -> &'a [u8] {
        self.host.host.of(self.text)
    }

    /// The port, 1 to 65,535; `None`: not written.
    #[inline(always)]
    pub const fn port(&self) -> Option<u16> {
        self.host.port()
    }

    /// The URI's parameters; of other schemes than SIP, SIPS and tel none.
    #[inline(always)]
    pub const fn params(&self) -> Params<'a> {
        Params::new(self.text, self.params, Owner::Uri)
    }

    /// What follows `?`.
    #[inline(always)]
    pub fn headers(&self) -> Option<&'a [u8]> {
        (!self.headers.is_empty()).then(|| self.headers.of(self.text))
    }

    /// The URI parameter of this name, compared without case.
    #[inline]
    pub fn param(&self, name: &[u8]) -> Option<Param<'a>> {
        self.params().get(name)
    }

    /// SIP or SIPS.
    pub const fn is_sip(&self) -> bool {
        matches!(self.scheme, Scheme::Sip | Scheme::Sips)
    }

    /// The URI has `lr`: its owner is a loose router (RFC 3261 §19.1.1).
    pub fn is_loose_router(&self) -> bool {
        self.params().has(b"lr")
    }
}

/// What begins with `sip:` in small letters, a user of at most 32 plain characters, and an IPv4 address.
#[derive(Clone, Copy)]
pub(crate) struct Begun<'a> {
    window: &'a Window,
    user_end: u32,
    ip: u32,
    host_end: u32,
}

impl<'a> Begun<'a> {
    /// If the window begins so. What follows has to be neither a digit nor a dot.
    #[inline(always)]
    pub fn of<S: Set>(window: &'a Window) -> Option<Self> {
        let user_end = 4 + S::stops(chunk(window, 4)?).trailing_zeros();
        if !window.starts_with(b"sip:") || user_end == 4 || window.get(user_end as usize) != Some(&b'@') {
            return None;
        }
        let (ip, host_end) = usual_ipv4::<S>(window, user_end as usize + 1)?;
        Some(Self { window, user_end, ip, host_end: host_end as u32 })
    }

    /// The same of another window, which may well begin alike.
    #[inline(always)]
    pub fn like<'b, S: Set>(self, window: &'b Window) -> Option<Begun<'b>> {
        let same = S::differences(chunk(window, 0)?, chunk(self.window, 0)?).trailing_zeros();
        if same >= self.host_end {
            return Some(Begun { window, ..self });
        }
        Begun::of::<S>(window)
    }
}

/// [`Uri::parse`]
struct Parse<'a>(&'a [u8]);

impl<'a> Work for Parse<'a> {
    type Done = Result<Uri<'a>, Error>;

    #[inline(always)]
    fn with<S: Set>(self) -> Self::Done {
        Uri::of::<S>(Part::alone(self.0))
    }
}

impl fmt::Display for Uri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme {
            Scheme::Sip => f.write_str("sip:")?,
            Scheme::Sips => f.write_str("sips:")?,
            Scheme::Tel => {
                return write!(f, "tel:{}{}", Text(self.user().unwrap_or_default()), self.params());
            }
            Scheme::Other => return Text(self.text()).fmt(f),
        }
        if let Some(user) = self.user() {
            Text(user).fmt(f)?;
            self.password().iter().try_for_each(|password| write!(f, ":{}", Text(password)))?;
            f.write_str("@")?;
        }
        self.host().iter().try_for_each(|host| host.fmt(f))?;
        self.port().iter().try_for_each(|port| write!(f, ":{port}"))?;
        self.params().fmt(f)?;
        self.headers().iter().try_for_each(|headers| write!(f, "?{}", Text(headers)))
    }
}

/// The error as [`Uri::parse`] tells it: what may stand nowhere in a URI breaks a rule of its own.
#[cold]
fn told(text: &[u8], error: Error) -> Error {
    let at = error.at as usize;
    match text.get(at) {
        Some(&c) if c != b'%' && !chars::is(URI, c) => Error::new(Rule::UriCharacter, at),
        _ => error,
    }
}

/// `scheme = ALPHA *( ALPHA / DIGIT / "+" / "-" / "." )`, and what follows the colon behind it.
#[inline(always)]
fn scheme(text: &[u8]) -> Result<(Scheme, usize), Error> {
    match text.get(..4) {
        Some([b'S' | b's', b'I' | b'i', b'P' | b'p', b':']) => Ok((Scheme::Sip, 4)),
        _ => other_scheme(text),
    }
}

#[inline(never)]
fn other_scheme(text: &[u8]) -> Result<(Scheme, usize), Error> {
    let legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'.');
    let len = text.iter().take_while(|&&c| legal(c)).count();
    if !text.first().is_some_and(u8::is_ascii_alphabetic) || text.get(len) != Some(&b':') {
        return Err(Error::new(Rule::UriScheme, len));
    }
    let scheme = match &text[..len] {
        t if t.eq_ignore_ascii_case(b"sips") => Scheme::Sips,
        t if t.eq_ignore_ascii_case(b"tel") => Scheme::Tel,
        _ => Scheme::Other,
    };
    Ok((scheme, len + 1))
}

/// See [`Uri::is_user_plain`].
fn is_plain(user: &[u8]) -> bool {
    (1..=64).contains(&user.len()) && user.iter().all(|&c| plain(c))
}

/// User, password, and where what follows them begins.
type UserInfo = (Span, Span, usize);

/// No user, or no password.
const NOWHERE: Span = Span { start: 0, end: 0 };

/// `telephone-uri = "tel:" telephone-subscriber` (RFC 3966 §3): the number, before its parameters. Of schemes
/// that nobody knows all is taken as it is.
#[cold]
fn other_part(text: &[u8], from: usize, scheme: Scheme) -> Result<UserInfo, Error> {
    if scheme == Scheme::Other {
        return Ok((NOWHERE, NOWHERE, some(URI, text, from, Rule::UriCharacter)?));
    }
    let number = &text[from..chars::run(USER, text, from)];
    let end = from + memchr::memchr(b';', number).unwrap_or(number.len());
    match text.get(end) {
        None | Some(b';' | b'>') if end > from => Ok((Span::new(from, end), NOWHERE, end)),
        _ => Err(Error::new(Rule::UriUser, end)),
    }
}

/// `userinfo = ( user / telephone-subscriber ) [ ":" password ] "@"`: user, password, and what follows them. An
/// `@` stands in no other part of a URI unescaped, so where there is one, there is a user.
#[inline(always)]
fn userinfo(text: &[u8], from: usize, in_brackets: bool) -> Result<UserInfo, Error> {
    let end = chars::run(USER, text, from);
    match text.get(end) {
        Some(b'@') if end > from => Ok((Span::new(from, end), NOWHERE, end + 1)),
        None => Ok((NOWHERE, NOWHERE, from)),
        Some(b'>') if in_brackets => Ok((NOWHERE, NOWHERE, from)),
        _ => unusual_userinfo(text, from, in_brackets),
    }
}

/// With a password or escapes; or what begins like a user is a host.
#[inline(never)]
fn unusual_userinfo(text: &[u8], from: usize, in_brackets: bool) -> Result<UserInfo, Error> {
    let close = if in_brackets { b'>' } else { b'@' };
    let at = memchr::memchr2(b'@', close, &text[from..]);
    if at.is_none_or(|at| text[from + at] != b'@') {
        return Ok((NOWHERE, NOWHERE, from));
    }
    let user_end = some(USER, text, from, Rule::UriUser)?;
    let (password, end) = match text.get(user_end) {
        // password = *( … ): it may be empty.
        Some(b':') => {
            let end = escaped(USER, text, user_end + 1)?;
            (Span::new(user_end + 1, end), end)
        }
        _ => (NOWHERE, user_end),
    };
    if text.get(end) != Some(&b'@') {
        return Err(Error::new(Rule::UriUser, end));
    }
    Ok((Span::new(from, user_end), password, end + 1))
}

/// Where one or more characters of a class and escapes end; where there are none, this rule is broken.
fn some(class: Class, text: &[u8], from: usize, rule: Rule) -> Result<usize, Error> {
    match escaped(class, text, from)? {
        end if end == from => Err(Error::new(rule, from)),
        end => Ok(end),
    }
}

/// Percent-decodes `text` once into `buffer`; what does not fit is left out. An escape without two digits
/// stays as it is.
pub fn percent_decode<'b>(text: &[u8], buffer: &'b mut [u8]) -> &'b [u8] {
    let (mut read, mut written) = (0, 0);
    while let (Some(&c), Some(slot)) = (text.get(read), buffer.get_mut(written)) {
        let decoded = match &text[read..] {
            [b'%', high, low, ..] => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        read += if decoded.is_some() { 3 } else { 1 };
        *slot = decoded.unwrap_or(c);
        written += 1;
    }
    &buffer[..written]
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::altered;
    use crate::block::Plain;

    fn uri(text: &str) -> Uri<'_> {
        Uri::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn the_parts_of_a_sip_uri() {
        let uri = uri("SIPS:a;b?c:pw@[2001:db8::1]:5061;transport=TCP;lr;x=%20?Subject=a%20b&p=1");
        assert_eq!(uri.scheme, Scheme::Sips);
        assert_eq!(uri.user(), Some(&b"a;b?c"[..]));
        assert_eq!(uri.password(), Some(&b"pw"[..]));
        assert_eq!(uri.host(), Some(Host::V6("2001:db8::1".parse().expect("an address"))));
        assert_eq!(uri.host_text(), b"[2001:db8::1]");
        assert_eq!(uri.port(), Some(5061));
        assert_eq!(uri.params().value(b"transport"), Some(&b"TCP"[..]));
        assert!(uri.is_loose_router() && uri.is_sip());
        assert_eq!(uri.headers(), Some(&b"Subject=a%20b&p=1"[..]));
    }

    #[test]
    fn users_as_clients_write_them() {
        for (text, user) in [
            ("sip:*33123@h", Some("*33123")),
            ("sip:#31#123@h", Some("#31#123")),
            ("sip:+1-(303)-555;phone-context=+1@h", Some("+1-(303)-555;phone-context=+1")),
            ("sip:user;par=u%40example.net@example.com", Some("user;par=u%40example.net")),
            ("sip:sips%3Auser%40example.com@example.net", Some("sips%3Auser%40example.com")),
            ("sip:null-%00-null@h", Some("null-%00-null")),
            ("sip:j\u{fc}rgen@h", Some("j\u{fc}rgen")),
            ("sip:u:@h", Some("u")),
            ("sip:h", None),
        ] {
            assert_eq!(uri(text).user(), user.map(str::as_bytes), "{text}");
        }
        assert_eq!(uri("sip:u:@h").password(), Some(&b""[..]));
    }

    #[test]
    fn a_user_that_is_what_is_meant_is_told() {
        for (text, plain) in [
            ("sip:+4930123456@192.0.2.1", true),
            ("sip:alice@gateway.example", true),
            ("sip:123456789012345@192.0.2.1", true),
            ("sip:1234567890123456@192.0.2.1", true),
            ("sip:*12.a-b_c@192.0.2.1", true),
            ("sip:(12)@192.0.2.1", false),
            ("sip:192.0.2.1:5060", false),
            ("sip:1;phone-context=a@192.0.2.1", false),
            ("sip:1;a@192.0.2.1:5060", false),
            ("sip:%31@192.0.2.1:5060", false),
            ("sip:a%3B@192.0.2.1:5060", false),
            ("tel:+4930123456;ext=7", false),
        ] {
            assert_eq!(uri(text).is_user_plain(), plain, "{text}");
        }
        for len in 1..80 {
            for host in ["192.0.2.1", "a.example"] {
                let text = format!("sip:{}@{host}", "1".repeat(len));
                // Of what would not fit into that, nothing may be said.
                assert!(!uri(&text).is_user_plain() || len <= 64, "{text}");
                assert!(uri(&text).is_user_plain() || len > 40, "{text}");
            }
        }
    }
    #[test]
    fn other_schemes_are_kept_whole() {
        let tel = uri("tel:+1-303-555;ext=7");
        assert_eq!((tel.scheme, tel.user()), (Scheme::Tel, Some(&b"+1-303-555"[..])));
        assert_eq!(tel.params().value(b"ext"), Some(&b"7"[..]));
        for text in ["isbn:2983792873", "http://www.example.com/?a=b", "soap.beep://192.0.2.103:3002"] {
            assert_eq!((uri(text).scheme, uri(text).host()), (Scheme::Other, None));
            assert_eq!(uri(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_uri_is_refused() {
        for (text, rule, at) in [
            ("", Rule::UriScheme, 0),
            ("user@example.com", Rule::UriScheme, 4),
            ("1sip:h", Rule::UriScheme, 4),
            (":h", Rule::UriScheme, 0),
            (" sip:h", Rule::UriCharacter, 0),
            ("sip:h ", Rule::UriCharacter, 5),
            ("sip:a b@h", Rule::UriCharacter, 5),
            ("sip:a\0@h", Rule::UriCharacter, 5),
            ("sip:a@h; lr", Rule::UriCharacter, 8),
            ("sip:a@h>", Rule::UriCharacter, 7),
            ("sip:", Rule::Host, 4),
            ("sip:@h", Rule::UriUser, 4),
            ("sip:a@", Rule::Host, 6),
            ("sip:a@b@c", Rule::Host, 7),
            ("sip:a:b:c@h", Rule::UriUser, 7),
            ("sip:a^b@h", Rule::UriUser, 5),
            ("sip:a%4@h", Rule::Escape, 5),
            ("sip:2001:db8::10", Rule::Ipv6Reference, 4),
            ("sip:h:0", Rule::Port, 6),
            ("sip:h:5060:1", Rule::Host, 10),
            ("sip:h;;a", Rule::Parameter, 6),
            ("sip:h;lr;lr", Rule::ParameterTwice, 8),
            ("sip:h?", Rule::UriCharacter, 6),
            ("sip:h?a=%", Rule::Escape, 8),
            ("tel:", Rule::UriUser, 4),
            ("tel:a b", Rule::UriCharacter, 5),
            ("isbn:", Rule::UriCharacter, 5),
            ("isbn:a b", Rule::UriCharacter, 6),
        ] {
            assert_eq!(Uri::parse(text.as_bytes()), Err(Error::new(rule, at)), "{text}");
        }
    }

    /// RFC 3261 §7.1: "The Request-URI MUST NOT contain unescaped spaces or control characters and MUST
    /// NOT be enclosed in "<>"."
    #[test]
    fn a_request_uri_has_neither_brackets_nor_headers() {
        let refused = |text: &str| Uri::request(text.as_bytes()).expect_err(text);
        assert_eq!(refused("<sip:user@example.com>"), Error::new(Rule::RequestUriBrackets, 0));
        let escaped = "sip:user@example.com?Route=%3Csip:example.com%3E";
        assert_eq!(refused(escaped), Error::new(Rule::UriHeaders, 20));
        assert_eq!(refused("sip:a b"), Error::new(Rule::UriCharacter, 5));
        assert!(Uri::request(b"sip:user@example.com;lr").is_ok());
    }

    #[test]
    fn escapes_are_decoded_once() {
        let mut buffer = [0; 16];
        let mut decode = |text: &'static str| percent_decode(text.as_bytes(), &mut buffer).to_vec();
        assert_eq!(decode("a%3Bb"), b"a;b");
        assert_eq!(decode("%25%34%31"), b"%41");
        assert_eq!(decode("%00"), b"\0");
        assert_eq!(decode("%4"), b"%4");
        assert_eq!(decode("%zz%"), b"%zz%");
        assert_eq!(decode("%30123456789abcdef"), b"0123456789abcdef");
        assert_eq!(decode("0123456789abcdefg"), b"0123456789abcdef", "one more than fits");
    }

    /// What the short way reads, the long way reads alike.
    #[test]
    fn the_usual_form_is_read_like_any_other() {
        let forms = [
            "sip:+33123456789@10.0.0.100:5060;user=phone",
            "SIP:a@192.0.2.1",
            "sip:a-b.c@1.2.3.4;transport=udp",
            "sip:abc@255.255.255.255:65535",
            "sip:192.0.2.1:5060;lr;transport=tcp;ob",
            "sip:a@192.0.2.1;maddr=192.0.2.2;x=y;a",
        ];
        let is_simple = |text: &[u8], whole: &[u8]| {
            let begun = Begun::of::<Plain>(chunk(whole, 0).expect("a window"));
            let read = begun.and_then(|begun| Uri::simple_of_len(begun, Span::new(0, text.len())));
            let Some(uri) = read else { return false };
            assert_eq!(Uri::parse_any(text), Ok(uri), "{}", whole.escape_ascii());
            true
        };
        altered::each_in_messages(&forms, is_simple, |text| {
            let Some(uri) = Uri::usual_alone::<Plain>(Part::alone(text)) else { return false };
            assert_eq!(Uri::parse_any(text), Ok(uri), "{}", text.escape_ascii());
            true
        });
    }
}
