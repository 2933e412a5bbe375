//! The basic rules of RFC 3261 §25.1 that more than one header's value is made of.

use std::fmt;

use nom::character::complete::char;
use nom::error::{ErrorKind, ParseError};
use nom::sequence::delimited;
use nom::{IResult, Parser};

use crate::block::Block;
use crate::chars::{self, Class, TOKEN};
use crate::error::{Error, Rule};
use crate::scan::find;

/// What a nom parser leaves, and what it found.
pub(crate) type Parsed<'a, T> = IResult<&'a [u8], T, Broken>;

/// How many bytes were left when a nom parser stopped: the place, seen from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    left: usize,
}

impl ParseError<&[u8]> for Broken {
    fn from_error_kind(input: &[u8], _: ErrorKind) -> Self {
        Self { left: input.len() }
    }

    fn append(_: &[u8], _: ErrorKind, inner: Self) -> Self {
        inner
    }
}

/// What `parser` reads of the beginning of `text`, and where it ends; it breaks `rule` where it stops.
pub(crate) fn read<'a, P>(text: &'a [u8], rule: Rule, mut parser: P) -> Result<(P::Output, usize), Error>
where
    P: Parser<&'a [u8], Error = Broken>,
{
    match parser.parse(text) {
        Ok((rest, value)) => Ok((value, text.len() - rest.len())),
        Err(nom::Err::Error(broken) | nom::Err::Failure(broken)) => {
            Err(Error::new(rule, text.len() - broken.left))
        }
        // No parser here asks for more: all of them are of nom's "complete" kind.
        Err(nom::Err::Incomplete(_)) => Err(Error::new(rule, text.len())),
    }
}

/// `SWS = [LWS]`
fn sws(input: &[u8]) -> Parsed<'_, ()> {
    Ok((&input[chars::after_white(input, 0)..], ()))
}

/// `SWS c SWS`: SLASH, and whatever else may stand between white space.
pub(crate) fn separator<'a>(c: u8) -> impl Parser<&'a [u8], Output = std::primitive::char, Error = Broken> {
    delimited(sws, char(std::primitive::char::from(c)), sws)
}

/// `token`
pub(crate) fn token(input: &[u8]) -> Parsed<'_, &[u8]> {
    match chars::run(TOKEN, input, 0) {
        0 => Err(nom::Err::Error(Broken { left: input.len() })),
        len => Ok((&input[len..], &input[..len])),
    }
}

/// `quoted-string = SWS DQUOTE *(qdtext / quoted-pair ) DQUOTE`: where the one ends whose opening quote stands
/// at `from`. In a quoted-pair the second octet stands for itself, whatever it is (RFC 4475 §3.1.1.2 has NUL).
///
/// # Errors
/// [`Rule::Quote`] at `from`: it does not begin, or does not end.
#[inline(always)]
pub(crate) fn quoted(text: &[u8], from: usize) -> Result<usize, Error> {
    let error = Error::new(Rule::Quote, from);
    if text.get(from) != Some(&b'"') {
        return Err(error);
    }
    let mut at = from + 1;
    loop {
        at = find(text, at, |block| block.equal(Block::all(b'"')).or(block.equal(Block::all(b'\\'))));
        match text.get(at) {
            None => return Err(error),
            Some(b'"') => return Ok(at + 1),
            Some(_) if at + 2 > text.len() => return Err(error),
            Some(_) => at += 2,
        }
    }
}

/// Where the characters of a class end, and escapes among them: `escaped = "%" HEXDIG HEXDIG`.
///
/// # Errors
/// [`Rule::Escape`] at a `%` that two such digits do not follow.
#[inline(always)]
pub(crate) fn escaped(class: Class, text: &[u8], from: usize) -> Result<usize, Error> {
    let end = chars::run(class, text, from);
    if text.get(end) == Some(&b'%') { behind_escapes(class, text, end) } else { Ok(end) }
}

#[inline(never)]
fn behind_escapes(class: Class, text: &[u8], mut at: usize) -> Result<usize, Error> {
    loop {
        match &text[at..] {
            [b'%', a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => at += 3,
            [b'%', ..] => return Err(Error::new(Rule::Escape, at)),
            [c, ..] if chars::is(class, *c) => at += 1,
            _ => return Ok(at),
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
            assert_eq!(quoted(text, 0), Ok(len));
        }
        for text in [&b"\""[..], b"\"a", br#""a\""#, br#""\"#, b"", b"a"] {
            assert_eq!(quoted(text, 0), Err(Error::new(Rule::Quote, 0)));
        }
    }

    #[test]
    fn an_escape_has_two_digits() {
        let user = |text: &str| escaped(chars::USER, text.as_bytes(), 0);
        assert_eq!(user("%61a%2Fb"), Ok(8));
        assert_eq!(user("a%6"), Err(Error::new(Rule::Escape, 1)));
        assert_eq!(user("%zz"), Err(Error::new(Rule::Escape, 0)));
        assert_eq!(user("%z0"), Err(Error::new(Rule::Escape, 0)));
        assert_eq!(user("%0z"), Err(Error::new(Rule::Escape, 0)));
        assert_eq!(user("a%"), Err(Error::new(Rule::Escape, 1)));
        assert_eq!(user("a@"), Ok(1));
        assert_eq!(user(""), Ok(0));
    }

    #[test]
    fn bytes_that_are_no_text_can_be_shown() {
        assert_eq!(Text(b"a\xffb\xc3\xa4").to_string(), "a\u{fffd}b\u{e4}");
    }
}
