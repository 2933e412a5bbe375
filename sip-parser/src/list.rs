//! Comma-separated values (RFC 3261 §7.3.1), with their places: what to cut to remove one.

use crate::block::Block;
use crate::chars::{after_white, offset, trim};
use crate::error::{Error, Rule};
use crate::grammar::quoted;
use crate::message::{HeaderLine, Lines};
use crate::scan::find;
use crate::span::Span;

/// One value of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'m> {
    /// The value's text without white space around it; never empty.
    pub text: &'m [u8],
    /// Where it stands in the message.
    pub span: Span,
    /// The line that it stands in.
    pub line: &'m HeaderLine,
    /// It is the first of its line.
    pub is_first: bool,
    /// Where the value before it ends; if it is the first, where the line's value begins.
    before: u16,
    /// Where the next value of the line begins.
    next: Option<u16>,
}

impl Value<'_> {
    /// What to cut to remove this one value and leave the rest of its line sound: the whole line if the
    /// value is the only one, else the value with the comma behind it, or before it if it is the last.
    pub const fn cut(&self) -> Span {
        match (self.is_first, self.next) {
            (true, None) => self.line.line,
            (false, None) => Span { start: self.before, end: self.span.end },
            (_, Some(next)) => Span { start: self.span.start, end: next },
        }
    }
}

/// Iterator over the values of all lines of a header.
///
/// Yields an error, with its place in the message, where a value is empty or a quote or bracket does not
/// close; then goes on with the next line.
#[derive(Clone, Debug)]
pub struct Values<'m> {
    bytes: &'m [u8],
    lines: Lines<'m>,
    /// The line that is being read, where its next value begins and where the one before that ends.
    current: Option<(&'m HeaderLine, usize, usize)>,
}

impl<'m> Values<'m> {
    pub(crate) fn new(bytes: &'m [u8], lines: Lines<'m>) -> Self {
        Self { bytes, lines, current: None }
    }

    #[inline(always)]
    fn value(&mut self, line: &'m HeaderLine, at: usize, before: usize) -> Result<Value<'m>, Error> {
        let end = usize::from(line.value.end);
        let rest = self.bytes.get(at..end).unwrap_or(&[]);
        let len = until_comma(rest).map_err(|error| error.shifted(at))?;
        let is_first = at == usize::from(line.value.start);
        let text = trim(&rest[..len]);
        let start = if text.is_empty() { at } else { offset(self.bytes, text) };
        let span = Span::new(start, start + text.len());
        let next = (len < rest.len()).then(|| at + after_white(rest, len + 1));
        self.current = next.map(|next| (line, next, usize::from(span.end)));
        if text.is_empty() {
            return Err(Error::new(Rule::EmptyValue, at));
        }
        Ok(Value { text, span, line, is_first, before: before as u16, next: next.map(|next| next as u16) })
    }
}

impl<'m> Iterator for Values<'m> {
    type Item = Result<Value<'m>, Error>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (line, at, before) = match self.current.take() {
            Some(place) => place,
            None => {
                let line = self.lines.next()?;
                let at = usize::from(line.value.start);
                (line, at, at)
            }
        };
        Some(self.value(line, at, before))
    }
}

/// Length up to the first comma that stands neither in quotes nor in angle brackets.
#[inline(always)]
fn until_comma(text: &[u8]) -> Result<usize, Error> {
    let mut at = 0;
    loop {
        at = find(text, at, |block| {
            // The comma and "<" differ in one bit.
            let either = block.or(Block::all(b',' ^ b'<')).equal(Block::all(b'<'));
            either.or(block.equal(Block::all(b'"')))
        });
        at = match text.get(at) {
            None | Some(b',') => return Ok(at),
            Some(b'"') => quoted(text, at)?,
            Some(_) => match find(text, at, |block| block.equal(Block::all(b'>'))) {
                close if close == text.len() => return Err(Error::new(Rule::AngleBracket, at)),
                close => close + 1,
            },
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HeaderName, parse};

    fn message(routes: &str) -> String {
        format!("OPTIONS sip:a SIP/2.0\r\nCall-ID: 1\r\n{routes}To: <sip:b>\r\n\r\n")
    }

    fn values(routes: &str) -> Vec<Result<String, Error>> {
        let text = message(routes);
        let mut lines = [HeaderLine::EMPTY; 8];
        let message = parse(text.as_bytes(), &mut lines).expect("a message");
        let values = message.values(HeaderName::Route);
        values
            .map(|value| {
                let value = value?;
                assert_eq!(value.span.of(text.as_bytes()), value.text);
                Ok(String::from_utf8_lossy(value.text).into_owned())
            })
            .collect()
    }

    #[test]
    fn values_are_told_apart_over_lines() {
        let routes = "Route: <sip:a,b;lr> ,\r\n \"x, \\\",<\" <sip:c>;d=\"e,f\"\r\nrOUTE :<sip:g>\r\n";
        let wanted = ["<sip:a,b;lr>", "\"x, \\\",<\" <sip:c>;d=\"e,f\"", "<sip:g>"];
        assert_eq!(values(routes), wanted.map(|v| Ok(v.to_string())));
        assert_eq!(values(""), []);
    }

    #[test]
    fn broken_values_are_told_with_their_place() {
        let base = message("").find("To:").expect("a To") + "Route: ".len();
        let error = |rule, at| Err(Error::new(rule, base + at));
        let good = |text: &str| Ok(text.to_string());
        assert_eq!(values("Route: \r\n"), [error(Rule::EmptyValue, 0)]);
        assert_eq!(
            values("Route: <sip:a>,,<sip:b>\r\n"),
            [good("<sip:a>"), error(Rule::EmptyValue, 8), good("<sip:b>")]
        );
        assert_eq!(values("Route: <sip:a>,\r\n"), [good("<sip:a>"), error(Rule::EmptyValue, 8)]);
        assert_eq!(values("Route: <sip:a, <sip:b\r\n"), [error(Rule::AngleBracket, 0)]);
        assert_eq!(values("Route: \"a, b\r\nRoute: <c>\r\n"), [error(Rule::Quote, 0), good("<c>")]);
    }

    #[test]
    fn what_is_left_after_a_cut_is_sound() {
        let without = |routes: &str, number: usize| {
            let mut text = message(routes);
            let mut lines = [HeaderLine::EMPTY; 8];
            let message = parse(text.as_bytes(), &mut lines).expect("a message");
            let value = message.values(HeaderName::Route).nth(number);
            let cut = value.expect("so many").expect("a value").cut().range();
            text.replace_range(cut, "");
            let (_, rest) = text.split_once("Call-ID: 1\r\n").expect("the line before");
            rest.strip_suffix("To: <sip:b>\r\n\r\n").expect("the line behind").to_string()
        };
        let routes = "Route: <sip:a> , <sip:b>,\r\n <sip:c>\r\nroute:<sip:d>\r\n";
        assert_eq!(without(routes, 0), "Route: <sip:b>,\r\n <sip:c>\r\nroute:<sip:d>\r\n");
        assert_eq!(without(routes, 1), "Route: <sip:a> , <sip:c>\r\nroute:<sip:d>\r\n");
        assert_eq!(without(routes, 2), "Route: <sip:a> , <sip:b>\r\nroute:<sip:d>\r\n");
        assert_eq!(without(routes, 3), "Route: <sip:a> , <sip:b>,\r\n <sip:c>\r\n");
    }
}
