//! Comma-separated values (RFC 3261 §7.3.1), with their places: what to cut to remove one.

use crate::error::{Error, Rule};
use crate::message::HeaderLine;
use crate::span::Span;

/// One value of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'m> {
    /// The value's text without white space around it.
    pub text: &'m [u8],
    /// Where it stands in the message.
    pub span: Span,
    /// The line that it stands in.
    pub line: &'m HeaderLine,
    /// It is the first of its line.
    pub is_first: bool,
    /// Where the next value of the same line begins; `None`: it is the line's last.
    pub next: Option<u16>,
}

impl Value<'_> {
    /// What to cut to remove the value and leave the rest of its line sound: the whole line if it is
    /// the only one, else the value with the comma behind or before it.
    pub fn cut(&self) -> Span {
        match (self.is_first, self.next) {
            (true, None) => self.line.line,
            (_, Some(next)) => Span { start: self.span.start, end: next },
            (false, None) => Span { start: self.span.start, end: self.line.value.end },
        }
    }
}

/// Iterator over the values of all lines of a header.
#[derive(Clone, Debug)]
pub struct Values<'m, L> {
    bytes: &'m [u8],
    lines: L,
    current: Option<(&'m HeaderLine, usize)>,
}

impl<'m, L: Iterator<Item = &'m HeaderLine>> Values<'m, L> {
    pub(crate) fn new(bytes: &'m [u8], lines: L) -> Self {
        Self { bytes, lines, current: None }
    }
}

impl<'m, L: Iterator<Item = &'m HeaderLine>> Iterator for Values<'m, L> {
    type Item = Result<Value<'m>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let (line, at) = match self.current.take() {
            Some(place) => place,
            None => {
                let line = self.lines.next()?;
                (line, usize::from(line.value.start))
            }
        };
        Some(self.value(line, at))
    }
}

impl<'m, L> Values<'m, L> {
    fn value(&mut self, line: &'m HeaderLine, at: usize) -> Result<Value<'m>, Error> {
        let end = usize::from(line.value.end);
        let rest = &self.bytes[at..end];
        let len = until_comma(rest).map_err(|error| error.shifted(at))?;
        let text = crate::chars::trim(&rest[..len]);
        if text.is_empty() {
            return Err(Error::new(Rule::EmptyValue, at));
        }
        let start = at + crate::chars::offset(rest, text);
        let next = (len < rest.len()).then(|| {
            let after = &rest[len + 1..];
            let skip = after.iter().position(|&c| !crate::chars::white(c)).unwrap_or(after.len());
            at + len + 1 + skip
        });
        self.current = next.map(|next| (line, next));
        Ok(Value {
            text,
            span: Span::new(start, start + text.len()),
            line,
            is_first: at == usize::from(line.value.start),
            next: next.map(|next| next as u16),
        })
    }
}

/// Length up to the first comma outside quotes, angle brackets and comments' reach.
fn until_comma(text: &[u8]) -> Result<usize, Error> {
    let mut at = 0;
    while let Some(found) = text[at..].iter().position(|&c| matches!(c, b',' | b'"' | b'<')) {
        let found = at + found;
        at = match text[found] {
            b',' => return Ok(found),
            b'"' => found + quoted_len(&text[found..]).map_err(|e| e.shifted(found))?,
            _ => {
                let close = memchr::memchr(b'>', &text[found..]);
                found + 1 + close.ok_or(Error::new(Rule::AngleBracket, found))?
            }
        };
    }
    Ok(text.len())
}

/// Length of the quoted string that `text` begins with, quotes included (RFC 3261 §25.1: quoted-string).
pub(crate) fn quoted_len(text: &[u8]) -> Result<usize, Error> {
    let mut at = 1;
    loop {
        let rest = text.get(at..).unwrap_or(&[]);
        let found = memchr::memchr2(b'"', b'\\', rest).ok_or(Error::new(Rule::Quote, 0))?;
        at += found + 1;
        if rest[found] == b'"' {
            return Ok(at);
        }
        // quoted-pair: the next octet stands for itself, whatever it is.
        at += 1;
    }
}
