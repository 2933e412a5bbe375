//! The basic rules of RFC 3261 §25.1 as nom parsers; the grammars of the header values are made of them.

use std::fmt;

use nom::character::complete::char;
use nom::error::{ErrorKind, ParseError};
use nom::sequence::delimited;
use nom::{IResult, Parser};

use crate::chars::{self, Class, TOKEN, white};
use crate::error::{Error, Rule};

/// What a parser leaves, and what it found.
pub(crate) type Parsed<'a, T> = IResult<&'a [u8], T, Broken>;

/// A broken rule, and how many bytes were left when it broke: the place, seen from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    rule: Option<Rule>,
    left: usize,
}

impl ParseError<&[u8]> for Broken {
    fn from_error_kind(input: &[u8], _: ErrorKind) -> Self {
        Self { rule: None, left: input.len() }
    }

    fn append(_: &[u8], _: ErrorKind, inner: Self) -> Self {
        inner
    }
}

/// `parser` breaks this rule where it does not name one itself.
#[inline(always)]
pub(crate) fn rule<'a, P>(rule: Rule, mut parser: P) -> impl FnMut(&'a [u8]) -> Parsed<'a, P::Output>
where
    P: Parser<&'a [u8], Error = Broken>,
{
    move |input| {
        parser.parse(input).map_err(|e| {
            e.map(|broken: Broken| Broken { rule: broken.rule.or(Some(rule)), left: broken.left })
        })
    }
}

/// The rule is broken here.
#[inline]
pub(crate) fn broken<T>(rule: Rule, input: &[u8]) -> Parsed<'_, T> {
    Err(nom::Err::Error(Broken { rule: Some(rule), left: input.len() }))
}

/// All of `text` has to be what `parser` reads; else this rule is broken where it stops.
#[inline(always)]
pub(crate) fn whole<'a, P>(text: &'a [u8], otherwise: Rule, mut parser: P) -> Result<P::Output, Error>
where
    P: Parser<&'a [u8], Error = Broken>,
{
    let (rule, left) = match parser.parse(text) {
        Ok(([], value)) => return Ok(value),
        Ok((rest, _)) => (None, rest.len()),
        Err(nom::Err::Error(broken) | nom::Err::Failure(broken)) => (broken.rule, broken.left),
        // No parser here asks for more: all of them are of nom's "complete" kind.
        Err(nom::Err::Incomplete(_)) => (None, 0),
    };
    Err(Error::new(rule.unwrap_or(otherwise), text.len().saturating_sub(left)))
}

/// `SWS = [LWS]`
#[inline]
pub(crate) fn sws(input: &[u8]) -> Parsed<'_, &[u8]> {
    let rest = after_white(input);
    Ok((rest, &input[..input.len() - rest.len()]))
}

/// What follows `SWS`: the same without a parser, where it is hardly ever there.
#[inline(always)]
pub(crate) fn after_white(input: &[u8]) -> &[u8] {
    let mut rest = input;
    while let [c, after @ ..] = rest
        && white(*c)
    {
        rest = after;
    }
    rest
}

/// `SWS c SWS`: SEMI, SLASH, EQUAL, COLON …
#[inline]
pub(crate) fn separator<'a>(c: u8) -> impl Parser<&'a [u8], Output = std::primitive::char, Error = Broken> {
    delimited(sws, char(std::primitive::char::from(c)), sws)
}

/// One or more characters of a class.
#[inline]
pub(crate) fn some<'a>(class: Class) -> impl FnMut(&'a [u8]) -> Parsed<'a, &'a [u8]> {
    move |input| match chars::run(class, input, 0) {
        0 => Err(nom::Err::Error(Broken { rule: None, left: input.len() })),
        len => Ok((&input[len..], &input[..len])),
    }
}

/// `token`
#[inline]
pub(crate) fn token(input: &[u8]) -> Parsed<'_, &[u8]> {
    some(TOKEN).parse(input)
}

/// `quoted-string = SWS DQUOTE *(qdtext / quoted-pair ) DQUOTE`, from the opening quote to the closing
/// one. In a quoted-pair the second octet stands for itself, whatever it is (RFC 4475 §3.1.1.2 has NUL).
pub(crate) fn quoted(input: &[u8]) -> Parsed<'_, &[u8]> {
    if input.first() != Some(&b'"') {
        return broken(Rule::Quote, input);
    }
    let mut at = 1;
    while let Some(found) = memchr::memchr2(b'"', b'\\', input.get(at..).unwrap_or(&[])) {
        at += found + 1;
        if input[at - 1] == b'"' {
            return Ok((&input[at..], &input[..at]));
        }
        at += 1;
    }
    broken(Rule::Quote, input)
}

/// One or more characters of a class and escapes: `escaped = "%" HEXDIG HEXDIG`.
#[inline]
pub(crate) fn escaped<'a>(class: Class) -> impl FnMut(&'a [u8]) -> Parsed<'a, &'a [u8]> {
    move |input| {
        let mut at = 0;
        loop {
            at += chars::run(class, &input[at..], 0);
            match &input[at..] {
                [b'%', a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => at += 3,
                rest @ [b'%', ..] => return broken(Rule::Escape, rest),
                rest if at == 0 => return Err(nom::Err::Error(Broken { rule: None, left: rest.len() })),
                rest => return Ok((rest, &input[..at])),
            }
        }
    }
}

/// Bytes that are text as a rule; others are shown as U+FFFD.
pub(crate) struct Text<'a>(pub &'a [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            f.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                f.write_str("\u{fffd}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_string_ends_at_its_quote() {
        for (text, len) in [
            (&b"\"\" x"[..], 2),
            (b"\"a b\"<", 5),
            (br#""a\"b" c"#, 6),
            (br#""\\" ""#, 4),
            (b"\"BEL:\\\x07 NUL:\\\x00 \" <", 16),
        ] {
            let (_, found) = quoted(text).expect("it ends");
            assert_eq!(found.len(), len);
        }
        for text in [&b"\""[..], b"\"a", br#""a\""#, br#""\"#, b"", b"a"] {
            assert!(quoted(text).is_err());
        }
    }

    #[test]
    fn an_escape_has_two_digits() {
        let user = |text: &'static [u8]| whole(text, Rule::UriUser, escaped(chars::USER));
        assert_eq!(user(b"%61a%2Fb"), Ok(&b"%61a%2Fb"[..]));
        assert_eq!(user(b"a%6"), Err(Error::new(Rule::Escape, 1)));
        assert_eq!(user(b"%zz"), Err(Error::new(Rule::Escape, 0)));
        assert_eq!(user(b"%z0"), Err(Error::new(Rule::Escape, 0)));
        assert_eq!(user(b"%0z"), Err(Error::new(Rule::Escape, 0)));
        assert_eq!(user(b"a%"), Err(Error::new(Rule::Escape, 1)));
        assert_eq!(user(b"a@"), Err(Error::new(Rule::UriUser, 1)));
        assert_eq!(user(b""), Err(Error::new(Rule::UriUser, 0)));
    }

    #[test]
    fn bytes_that_are_no_text_can_be_shown() {
        assert_eq!(Text(b"a\xffb\xc3\xa4").to_string(), "a\u{fffd}b\u{e4}");
    }
}
