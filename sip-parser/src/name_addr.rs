//! From, To, Contact, Route and Record-Route values: a URI with a display name and parameters.

use std::fmt;

use crate::block::{self, Set, Work};
use crate::chars::{self, DISPLAY, after_white, trim, white};
use crate::error::{Error, Rule};
use crate::grammar::{Text, quoted};
use crate::params::{Owner, Param, Params, Places};
use crate::scan::{Window, chunk, padded_window};
use crate::span::{Part, Span};
use crate::uri::{Begun, Uri};

/// `( name-addr / addr-spec ) *( SEMI generic-param )` (RFC 3261 §25.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// All of it, as written.
    pub text: &'a [u8],
    /// The URI.
    pub uri: Uri<'a>,
    params: Places,
    /// Where the display name ends.
    display: u16,
    /// The URI stands in angle brackets.
    pub bracketed: bool,
}

impl<'a> NameAddr<'a> {
    /// Parses one value of a list, or the value of a From or To header.
    ///
    /// # Errors
    /// The first rule that it breaks: [`Rule::Quote`], [`Rule::DisplayName`], [`Rule::AngleBracket`],
    /// [`Rule::Parameter`], [`Rule::ParameterTwice`] or one of [`Uri::parse`].
    pub fn parse(text: &'a [u8]) -> Result<Self, Error> {
        if text.len() > crate::MAX_MESSAGE {
            return Err(Error::new(Rule::MessageTooLarge, crate::MAX_MESSAGE));
        }
        block::widely(Parse(text))
    }

    /// [`NameAddr::parse`] of what can stand in a message.
    #[inline(always)]
    pub(crate) fn of<S: Set>(part: Part<'a>) -> Result<Self, Error> {
        match Self::usual::<S>(part) {
            Some(usual) => Ok(usual),
            None => Self::any(part.text()),
        }
    }

    /// As [`NameAddr::usual`] of what stands there in a message, if it has a [`Uri::simple`], and a short tag or none. Its URI
    /// may well begin like that one. And its tag.
    #[inline(always)]
    pub(crate) fn simple<S: Set>(
        bytes: &'a [u8],
        span: Span,
        like: Option<Begun<'_>>,
    ) -> Option<(Self, Option<&'a [u8]>)> {
        let mut spec: &[u8; 1 + size_of::<Window>()] = chunk(bytes, span.start.into())?;
        let text = spec.get(..usize::from(span.end).wrapping_sub(span.start.into()))?;
        let (mut display, mut bracket) = (0, 0);
        if spec[0] == b'"' {
            display = usual_quoted::<S>(spec)?;
            bracket = display + usize::from(spec.get(display) == Some(&b' '));
            spec = chunk(bytes, u32::from(span.start) + bracket as u32)?;
        }
        let [b'<', window @ ..] = spec else { return None };
        let begun = match like {
            Some(like) => like.like::<S>(window)?,
            None => Begun::of::<S>(window)?,
        };
        let uri = Uri::simple(begun)?;
        let end = uri.text().len();
        if window.get(end) != Some(&b'>') {
            return None;
        }
        let base = bracket + 1;
        let (params, tag) = Places::short_tag::<S>(window, base, end + 1, text.len().wrapping_sub(base))?;
        Some((Self { text, uri, params, display: display as u16, bracketed: true }, tag))
    }

    /// As [`NameAddr::parse`], if it is as nearly all are, and sound: no display name or one in quotes, and a usual
    /// URI in brackets.
    #[inline(always)]
    pub(crate) fn usual<S: Set>(part: Part<'a>) -> Option<Self> {
        let Part { rest, len } = part;
        let (display, base) = match rest.first()? {
            b'<' => (0, 0),
            b'"' => {
                let end = usual_quoted::<S>(rest)?;
                (end, end + usize::from(rest.get(end) == Some(&b' ')))
            }
            _ => return None,
        };
        let [b'<', spec @ ..] = rest.get(base..)? else { return None };
        let padded;
        let window: &Window = match chunk(spec, 0) {
            Some(window) => window,
            None => {
                padded = padded_window(spec);
                &padded
            }
        };
        let uri = Uri::usual::<S>(spec, window)?;
        let end = uri.text().len();
        if spec.get(end) != Some(&b'>') {
            return None;
        }
        let params = Places::usual_tag::<S>(spec, base + 1, end + 1, len.wrapping_sub(base + 1))?;
        Some(Self { text: part.text(), uri, params, display: display as u16, bracketed: true })
    }

    #[inline(never)]
    pub(crate) fn any(text: &'a [u8]) -> Result<Self, Error> {
        // A value that was indexed has no white space around it; one from elsewhere may have.
        let value = trim(text);
        Self::read(value).map_err(|error| error.shifted(chars::offset(text, value)))
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

    /// `name-addr = [ display-name ] LAQUOT addr-spec RAQUOT`, or `addr-spec`; then parameters.
    #[inline(always)]
    fn read(text: &'a [u8]) -> Result<Self, Error> {
        let (display, bracket) = match text.first() {
            Some(b'<') => (0, Some(0)),
            Some(b'"') => {
                let end = quoted(text, 0)?;
                (end, Some(after_white(text, end)))
            }
            _ => plain_display(text)?,
        };
        let (spec, base) = match bracket {
            Some(at) if text.get(at) == Some(&b'<') => (&text[at..], at),
            Some(at) => return Err(Error::new(Rule::AngleBracket, at)),
            None => (addr_spec(text)?, 0),
        };
        let bracketed = bracket.is_some();
        let (from, close) = if bracketed { (1, Some(&b'>')) } else { (0, None) };
        let (uri, end) = match Uri::read(&spec[from..], bracketed) {
            Ok(uri) if spec.get(from + uri.text().len()) == close => (uri, base + from + uri.text().len()),
            _ => return Err(no_uri(spec, from, bracketed).shifted(base)),
        };
        let (params, end) = Places::read(text, end + usize::from(bracketed), Owner::NameAddr)?;
        if end < text.len() {
            return Err(Error::new(Rule::Parameter, end));
        }
        Ok(Self { text, uri, params, display: display as u16, bracketed })
    }

    /// The display name as written, quotes included; empty where there is none.
    pub fn display(&self) -> &'a [u8] {
        trim(self.text.get(..self.display.into()).unwrap_or_default())
    }

    /// The header's parameters, not the URI's.
    #[inline(always)]
    pub const fn params(&self) -> Params<'a> {
        Params::new(self.text, self.params, Owner::NameAddr)
    }

    /// The header parameter of this name, compared without case.
    #[inline]
    pub fn param(&self, name: &[u8]) -> Option<Param<'a>> {
        self.params().get(name)
    }

    /// The `tag` parameter's value.
    #[inline]
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.params().value(b"tag")
    }
}

/// As [`quoted`] of what a text begins with, of less than 32 characters and without a quoted pair, as nearly all are.
#[inline(always)]
fn usual_quoted<S: Set>(text: &[u8]) -> Option<usize> {
    let bytes = chunk(text, 1)?;
    let first = (S::those(bytes, b'"') | S::those(bytes, b'\\')).trailing_zeros() as usize;
    (bytes.get(first) == Some(&b'"')).then_some(2 + first)
}

/// Where a display name without quotes ends, and its angle bracket; `None`: there are no brackets.
#[inline(never)]
fn plain_display(text: &[u8]) -> Result<(usize, Option<usize>), Error> {
    let end = chars::run(DISPLAY, text, 0);
    match text.get(end) {
        // RFC 4475 §3.1.1.6: no white space is needed between a display name and "<".
        Some(b'<') => Ok((end, Some(end))),
        // What looks like a display name at first is a scheme.
        Some(b':') if !text[..end].iter().any(|&c| white(c)) => Ok((0, None)),
        None if end == 0 => Err(Error::new(Rule::EmptyValue, 0)),
        _ => Err(Error::new(Rule::DisplayName, end)),
    }
}

/// The URI without brackets that the text begins with.
///
/// RFC 3261 §20: "If the URI is not enclosed in angle brackets, any semicolon-delimited parameters are
/// header-parameters, not URI parameters." Before that: "The Contact, From, and To header fields contain
/// a URI. If the URI contains a comma, question mark or semicolon, the URI MUST be enclosed in angle
/// brackets (< and >)."
#[inline(never)]
fn addr_spec(text: &[u8]) -> Result<&[u8], Error> {
    let end = text.iter().position(|&c| matches!(c, b';' | b',' | b'?') || white(c));
    let (spec, rest) = text.split_at(end.unwrap_or(text.len()));
    let is_separator = matches!(rest.get(after_white(rest, 0)), None | Some(b';'));
    // An "@" behind the separator, and none before: it stands within a user part.
    let in_user = spec.iter().all(|&c| c != b'@') && rest.contains(&b'@') && starts_sip(spec);
    if !is_separator || in_user {
        return Err(Error::new(Rule::AngleBracket, spec.len()));
    }
    Ok(spec)
}

/// What is wrong with a URI, or with the angle brackets around it.
#[cold]
fn no_uri(spec: &[u8], from: usize, bracketed: bool) -> Error {
    let no_bracket = Error::new(Rule::AngleBracket, from.saturating_sub(1));
    let inside = &spec[from..];
    let len = if bracketed { memchr::memchr(b'>', inside) } else { Some(inside.len()) };
    let error = len.and_then(|len| Uri::parse(&inside[..len]).err());
    error.map_or(no_bracket, |error| error.shifted(from))
}

fn starts_sip(spec: &[u8]) -> bool {
    spec.get(..3).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"sip"))
}

/// [`NameAddr::parse`]
struct Parse<'a>(&'a [u8]);

impl<'a> Work for Parse<'a> {
    type Done = Result<NameAddr<'a>, Error>;

    #[inline(always)]
    fn with<S: Set>(self) -> Self::Done {
        NameAddr::of::<S>(Part::alone(self.0))
    }
}

impl fmt::Display for NameAddr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.display().is_empty() {
            write!(f, "{} ", Text(self.display()))?;
        }
        write!(f, "<{}>{}", self.uri, self.params())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::altered;
    use crate::block::Plain;

    fn value(text: &str) -> NameAddr<'_> {
        NameAddr::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn display_names_with_and_without_quotes() {
        for (text, display) in [
            ("\"J Rosenberg \\\\\\\"\"       <sip:a@h>\r\n  ;\r\n  tag = 1", "\"J Rosenberg \\\\\\\"\""),
            ("caller<sip:a@h>;tag=1", "caller"),
            ("token1~` token2'+_ token3*%!.- <sip:a@h>;tag=1", "token1~` token2'+_ token3*%!.-"),
            ("J\u{fc}rgen <sip:a@h>;tag=1", "J\u{fc}rgen"),
            ("\"a, <b>\" <sip:a@h>;tag=1", "\"a, <b>\""),
            ("\"\"<sip:a@h>;tag=1", "\"\""),
            ("<sip:a@h>;tag=1", ""),
            (" <sip:a@h> ; tag=1 ", ""),
            ("sip:a@h;tag=1", ""),
        ] {
            let value = value(text);
            assert_eq!((value.display(), value.tag()), (display.as_bytes(), Some(&b"1"[..])), "{text}");
            assert_eq!(value.uri.text(), b"sip:a@h", "{text}");
            assert_eq!(value.bracketed, text.contains("sip:a@h>"), "{text}");
        }
    }

    #[test]
    fn parameters_belong_to_the_uri_or_to_the_header() {
        let inside = value("<sip:a@h;x;tag=1>;y");
        assert_eq!((inside.tag(), inside.uri.param(b"x").is_some()), (None, true));
        let outside = value("sip:+19725552222@gw1.example.net;unknownparam");
        assert!(outside.param(b"unknownparam").is_some() && outside.uri.params().text().is_empty());
        let old = value(" sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n");
        assert_eq!(old.tag(), Some(&b"1918181833n"[..]));
        assert_eq!(value("isbn:2983792873").uri.text(), b"isbn:2983792873");
    }

    #[test]
    fn what_is_no_name_addr_is_refused() {
        for (text, rule, at) in [
            ("", Rule::EmptyValue, 0),
            (" ", Rule::EmptyValue, 1),
            ("\"Mr. J. User <sip:j.user@example.com>", Rule::Quote, 0),
            ("\"a\" sip:a@h", Rule::AngleBracket, 4),
            ("\"Watson, Thomas\" < sip:t.watson@example.org >", Rule::UriCharacter, 18),
            ("<sip:t.watson@example.org >", Rule::UriCharacter, 25),
            ("Watson, Thomas <sip:t.watson@example.org>", Rule::DisplayName, 6),
            ("a:b <sip:h>", Rule::AngleBracket, 3),
            ("a b:c", Rule::DisplayName, 3),
            ("alan@jasomi.com", Rule::DisplayName, 4),
            ("<sip:a@h", Rule::AngleBracket, 0),
            ("<>", Rule::UriScheme, 1),
            ("<sip:a@h>x", Rule::Parameter, 9),
            ("<sip:a@h>;tag=1;tag=2", Rule::ParameterTwice, 15),
            ("<sip:a@h>;", Rule::Parameter, 10),
            ("sip:a@h, sip:b@h", Rule::AngleBracket, 7),
            ("sip:a@h?Subject=x", Rule::AngleBracket, 7),
            ("sip:+1303;phone-context=x@h;tag=1", Rule::AngleBracket, 9),
            ("sip:a@h tag=1", Rule::AngleBracket, 7),
        ] {
            assert_eq!(NameAddr::parse(text.as_bytes()).err(), Some(Error::new(rule, at)), "{text}");
        }
    }

    #[test]
    fn a_route_has_angle_brackets() {
        assert!(NameAddr::route(b"<sip:h;lr>").is_ok_and(|route| route.uri.is_loose_router()));
        assert_eq!(NameAddr::route(b"sip:h;lr").err(), Some(Error::new(Rule::AngleBracket, 0)));
    }

    /// What the short way reads, the long way reads alike.
    #[test]
    fn the_usual_form_is_read_like_any_other() {
        let forms = [
            "\"Alice\" <sip:+33987654321@192.0.2.1>;tag=9fxced76sl",
            "<sip:+33123456789@10.0.0.100>",
            "\"A \\\" b\"<sip:a@10.0.0.1:5060;user=phone>;tag=1234-5678.abcdefghijkl",
        ];
        // URIs that begin like those, and end before, with, or behind them.
        let windows: Vec<Window> = ["10.0.0.100", "10.0.0.10;1", "10.0.0.1", "192.0.2.1:5060", "192.0.2.11"]
            .iter()
            .flat_map(|host| ["+33123456789", "+33987654321", "a"].map(|user| format!("sip:{user}@{host}>")))
            .map(|text| padded_window(text.as_bytes()))
            .collect();
        let is_simple = |text: &[u8], whole: &[u8]| {
            let simple = |like| NameAddr::simple::<Plain>(whole, Span::new(0, text.len()), like);
            let mut likes = windows.iter().map(Begun::of::<Plain>).chain([None]);
            likes.all(|like| {
                let Some((read, tag)) = simple(like) else { return simple(None).is_some() };
                assert_eq!(NameAddr::any(text), Ok(read), "{}", whole.escape_ascii());
                assert_eq!(read.tag(), tag, "{}", whole.escape_ascii());
                true
            })
        };
        altered::each_in_messages(&forms, is_simple, |text| {
            let Some(read) = NameAddr::usual::<Plain>(Part::alone(text)) else { return false };
            assert_eq!(NameAddr::any(text), Ok(read), "{}", text.escape_ascii());
            true
        });
    }
}
