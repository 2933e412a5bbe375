//! The one pass over a message: start line, header lines, body.

use crate::chars::{self, TOKEN, white};
use crate::error::{Error, Rule};
use crate::header::{HeaderName, NAMES};
use crate::message::{HeaderLine, MAX_LINES, Message};
use crate::scalars;
use crate::scan::{self, Breaks};
use crate::span::Span;
use crate::start_line::start_line;

/// Indexes a message.
///
/// `lines` is the caller's storage: one entry for each header line, at most [`MAX_LINES`] are used.
/// Empty lines before the start line are skipped (RFC 3261 §7.5); [`Message::start_line`] says how many.
///
/// # Errors
/// [`Rule::MessageTooLarge`], [`Rule::NotSip`]: there is nothing to answer. All other defects are told by
/// [`Message::defect`], by [`crate::Start`] and by the typed values, so that a proxy can answer the request;
/// [`Rule::NoEndOfHeaders`] among them, where complete lines are indexed and there is no body.
pub fn parse<'m>(bytes: &'m [u8], lines: &'m mut [HeaderLine]) -> Result<Message<'m>, Error> {
    if bytes.len() > crate::MAX_MESSAGE {
        return Err(Error::new(Rule::MessageTooLarge, crate::MAX_MESSAGE));
    }
    let mut begin = 0;
    while let Some([b'\r', b'\n', ..]) = bytes.get(begin..) {
        begin += 2;
    }
    let mut index =
        Index { bytes, breaks: Breaks::new(bytes), defect: None, first: [NONE; NAMES], count: [0; NAMES] };
    let (end, mut at) = index.line_end(begin, false).ok_or(Error::new(Rule::NotSip, begin))?;
    let start = start_line(bytes, begin, end)?;
    let room = lines.len().min(MAX_LINES);
    let mut slots = lines[..room].iter_mut();
    let mut used = 0;
    let body = loop {
        if let Some(body) = index.end_of_headers(at) {
            break body;
        }
        let Some(slot) = slots.next() else {
            index.note(Rule::TooManyHeaders, at);
            break bytes.len();
        };
        let Some((end, next)) = index.line_end(at, true) else {
            index.note(Rule::NoEndOfHeaders, bytes.len());
            break bytes.len();
        };
        let (name, key, value) = index.header(at, end);
        *slot = HeaderLine { name, key, value, line: Span::new(at, next) };
        index.count_in(name, used);
        at = next;
        used += 1;
    };
    let lines = &lines[..usize::from(used)];
    let body = index.body(body, lines);
    let Index { first, count, defect, .. } = index;
    Ok(Message { bytes, lines, first, count, start, start_line: Span::new(begin, end), defect, body })
}

/// No line of that name.
const NONE: u8 = u8::MAX;

/// What is known so far. Nothing but inlined functions take it by reference, so that it stays in registers.
struct Index<'m> {
    bytes: &'m [u8],
    breaks: Breaks<'m>,
    defect: Option<Error>,
    /// Number of the first line of each name.
    first: [u8; NAMES],
    /// Number of lines of each name.
    count: [u8; NAMES],
}

impl Index<'_> {
    #[inline(always)]
    fn note(&mut self, rule: Rule, at: usize) {
        self.defect = noted(self.defect, rule, at);
    }

    #[inline(always)]
    fn count_in(&mut self, name: HeaderName, number: u8) {
        let name = name as usize;
        if self.count[name] == 0 {
            self.first[name] = number;
        }
        // There are at most 255 lines.
        self.count[name] += 1;
    }

    /// Where the body begins, if the empty line stands here.
    #[inline(always)]
    fn end_of_headers(&mut self, at: usize) -> Option<usize> {
        // One comparison for nearly all lines.
        match self.bytes.get(at) {
            Some(c) if *c > b'\r' => None,
            Some(b'\r') if self.bytes.get(at + 1) == Some(&b'\n') => Some(at + 2),
            Some(b'\n') => {
                self.note(Rule::BareLineBreak, at);
                Some(at + 1)
            }
            _ => None,
        }
    }

    /// End of the line that begins at `from`, and where the next begins. A header goes on where the next line
    /// begins with SP or HT (RFC 3261 §7.3.1).
    ///
    /// RFC 3261 §7: "The start-line, each message-header line, and the empty line MUST be terminated by a
    /// carriage-return line-feed sequence (CRLF)." An LF alone ends a line for some and not for others; it
    /// does here, so that a message with bare LFs can be answered, but it is a defect, like a bare CR.
    #[inline(always)]
    fn line_end(&mut self, from: usize, is_header: bool) -> Option<(usize, usize)> {
        let mut at = from;
        loop {
            let end = self.breaks.next(at)?;
            // No fold, and no empty line: nearly always.
            if let Some([b'\r', b'\n', c]) = self.bytes.get(end..end + 3)
                && *c > b' '
            {
                return Some((end, end + 2));
            }
            let next = match &self.bytes[end..] {
                [b'\r', b'\n', ..] => end + 2,
                [c, ..] => {
                    if matches!(c, b'\r' | b'\n') {
                        self.note(Rule::BareLineBreak, end);
                    }
                    at = end + 1;
                    if *c != b'\n' {
                        continue;
                    }
                    at
                }
                [] => return None,
            };
            if !is_header || !matches!(self.bytes.get(next), Some(b' ' | b'\t')) {
                return Some((end, next));
            }
            at = next;
        }
    }

    /// `field-name HCOLON field-value` in the line `start..end`: which header, where its name stands, and where
    /// its value.
    #[inline(always)]
    fn header(&mut self, start: usize, end: usize) -> (HeaderName, Span, Span) {
        if let Some(line) = self.bytes[start..].first_chunk::<32>()
            && let Some(first) = line.first_chunk()
            && let Some(len) = scan::near_colon(first)
        {
            let name = HeaderName::at(first, len);
            if name != HeaderName::Other || is_token(self.bytes, start, start + len) {
                let value = match line[len + 1..] {
                    // One space before it and none behind it, as a rule.
                    [b' ', c, ..] if c > b' ' && self.bytes[end - 1] > b' ' => {
                        Span::new(start + len + 2, end)
                    }
                    _ => trimmed(self.bytes, start + len + 1, end),
                };
                return (name, Span::new(start, start + len), value);
            }
        }
        unusual_header(self.bytes, start, end).unwrap_or_else(|rule| {
            self.note(rule, start);
            // A line without name and value.
            (HeaderName::Other, Span::new(end, end), Span::new(end, end))
        })
    }

    /// Where the body ends.
    ///
    /// RFC 3261 §18.3: "If there are additional bytes in the transport packet beyond the end of the body,
    /// they MUST be discarded. If the transport packet ends before the end of the message body, this is
    /// considered an error." Without a Content-Length "the body […] extends to the end of the transport
    /// packet".
    fn body(&mut self, start: usize, lines: &[HeaderLine]) -> Span {
        let rest = Span::new(start, self.bytes.len());
        let number = HeaderName::ContentLength as usize;
        let Some(line) = lines.get(usize::from(self.first[number])) else { return rest };
        if self.count[number] > 1 {
            self.note(Rule::ContentLengthTwice, line.line.start.into());
            return rest;
        }
        let at = usize::from(line.value.start);
        match scalars::content_length(line.value.of(self.bytes)) {
            Ok(length) if length <= rest.len() as u64 => {
                return Span::new(start, start + length as usize);
            }
            Ok(_) => self.note(Rule::BodyTooShort, at),
            Err(error) => self.note(error.rule, at + error.at),
        }
        rest
    }
}

/// The first defect counts.
#[cold]
fn noted(defect: Option<Error>, rule: Rule, at: usize) -> Option<Error> {
    defect.or(Some(Error::new(rule, at)))
}

/// A header with white space before its colon, with a long name or near the end of the message. HCOLON allows
/// that white space.
#[cold]
fn unusual_header(bytes: &[u8], start: usize, end: usize) -> Result<(HeaderName, Span, Span), Rule> {
    let text = &bytes[start..end];
    let colon = memchr::memchr(b':', text).ok_or(Rule::NoColon)?;
    let mut len = colon;
    while let Some(b' ' | b'\t') = text[..len].last() {
        len -= 1;
    }
    if !chars::all(TOKEN, &text[..len]) {
        return Err(Rule::HeaderName);
    }
    let value = trimmed(bytes, start + colon + 1, end);
    Ok((HeaderName::from_bytes(&text[..len]), Span::new(start, start + len), value))
}

#[inline(never)]
fn is_token(bytes: &[u8], start: usize, end: usize) -> bool {
    start < end && chars::run(TOKEN, bytes, start) == end
}

/// What stands between white space.
#[cold]
fn trimmed(bytes: &[u8], mut start: usize, mut end: usize) -> Span {
    while start < end && white(bytes[start]) {
        start += 1;
    }
    while start < end && white(bytes[end - 1]) {
        end -= 1;
    }
    Span::new(start, end)
}

#[cfg(test)]
mod tests;
