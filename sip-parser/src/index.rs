//! The one pass over a message: start line, header lines, body.

use crate::chars::{self, TOKEN, white};
use crate::error::{Error, Rule};
use crate::header::{HeaderName, NAMES};
use crate::message::{HeaderLine, MAX_LINES, Message};
use crate::scalars;
use crate::scan;
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
    let mut index = Index { bytes, defect: None, first: [NONE; NAMES], count: [0; NAMES] };
    let (end, mut at) = index.line_end(begin).ok_or(Error::new(Rule::NotSip, begin))?;
    let start = start_line(bytes, begin, end)?;
    let room = lines.len().min(MAX_LINES);
    let mut used = 0;
    let body = loop {
        if let Some(body) = index.end_of_headers(at) {
            break body;
        }
        let Some(slot) = lines[..room].get_mut(used) else {
            index.note(Rule::TooManyHeaders, at);
            break bytes.len();
        };
        let Some(line) = index.header(at) else {
            index.note(Rule::NoEndOfHeaders, bytes.len());
            break bytes.len();
        };
        *slot = line;
        index.count_in(slot.name, used);
        at = usize::from(slot.line.end);
        used += 1;
    };
    let lines = &lines[..used];
    let body = index.body(body, lines);
    let Index { first, count, defect, .. } = index;
    Ok(Message { bytes, lines, first, count, start, start_line: Span::new(begin, end), defect, body })
}

/// No line of that name.
const NONE: u8 = u8::MAX;

struct Index<'m> {
    bytes: &'m [u8],
    defect: Option<Error>,
    /// Number of the first line of each name.
    first: [u8; NAMES],
    /// Number of lines of each name.
    count: [u8; NAMES],
}

impl Index<'_> {
    #[cold]
    fn note(&mut self, rule: Rule, at: usize) {
        self.defect.get_or_insert(Error::new(rule, at));
    }

    #[inline]
    fn count_in(&mut self, name: HeaderName, number: usize) {
        let name = name as usize;
        if self.count[name] == 0 {
            self.first[name] = number as u8;
        }
        self.count[name] = self.count[name].saturating_add(1);
    }

    /// Where the body begins, if the empty line stands here.
    #[inline]
    fn end_of_headers(&mut self, at: usize) -> Option<usize> {
        match self.bytes.get(at..)? {
            [b'\r', b'\n', ..] => Some(at + 2),
            [b'\n', ..] => {
                self.note(Rule::BareLineBreak, at);
                Some(at + 1)
            }
            _ => None,
        }
    }

    /// End of the line that begins at `from`, and where the next begins.
    ///
    /// RFC 3261 §7: "The start-line, each message-header line, and the empty line MUST be terminated by a
    /// carriage-return line-feed sequence (CRLF)." An LF alone ends a line for some and not for others; it
    /// does here, so that a message with bare LFs can be answered, but it is a defect, like a bare CR.
    #[inline]
    fn line_end(&mut self, from: usize) -> Option<(usize, usize)> {
        let mut at = from;
        loop {
            at += scan::line_break(self.bytes.get(at..)?)?;
            match &self.bytes[at..] {
                [b'\r', b'\n', ..] => return Some((at, at + 2)),
                [b'\n', ..] => {
                    self.note(Rule::BareLineBreak, at);
                    return Some((at, at + 1));
                }
                _ => self.note(Rule::BareLineBreak, at),
            }
            at += 1;
        }
    }

    /// The same for a header, which goes on where the next line begins with SP or HT (RFC 3261 §7.3.1).
    #[inline]
    fn folded_end(&mut self, from: usize) -> Option<(usize, usize)> {
        let (mut end, mut next) = self.line_end(from)?;
        while matches!(self.bytes.get(next), Some(b' ' | b'\t')) {
            (end, next) = self.line_end(next)?;
        }
        Some((end, next))
    }

    /// `field-name HCOLON field-value`; HCOLON allows white space before the colon. `None`: the line has
    /// no end.
    #[inline]
    fn header(&mut self, start: usize) -> Option<HeaderLine> {
        let rest = &self.bytes[start..];
        let Some((key_len, colon)) = field_name(rest) else { return self.no_header(start) };
        let name = HeaderName::at(rest, key_len);
        if name == HeaderName::Other && !chars::all(TOKEN, &rest[..key_len]) {
            return self.no_header(start);
        }
        let (end, next) = self.folded_end(start + colon + 1)?;
        Some(HeaderLine {
            name,
            key: Span::new(start, start + key_len),
            value: self.trimmed(start + colon + 1, end),
            line: Span::new(start, next),
        })
    }

    #[inline]
    fn trimmed(&self, mut start: usize, mut end: usize) -> Span {
        while start < end && white(self.bytes[start]) {
            start += 1;
        }
        while start < end && white(self.bytes[end - 1]) {
            end -= 1;
        }
        Span::new(start, end)
    }

    /// A line that is no header: a defect, kept as a line without name and value.
    #[cold]
    fn no_header(&mut self, start: usize) -> Option<HeaderLine> {
        let (end, next) = self.folded_end(start)?;
        let has_colon = self.bytes[start..end].contains(&b':');
        self.note(if has_colon { Rule::HeaderName } else { Rule::NoColon }, start);
        let nothing = Span::new(end, end);
        let line = Span::new(start, next);
        Some(HeaderLine { name: HeaderName::Other, key: nothing, value: nothing, line })
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

/// Length of a field name, and the place of the colon behind it. The name is to be checked yet: where the
/// line has no colon, the next one's may have been found. `None`: there is no colon at all.
#[inline]
fn field_name(text: &[u8]) -> Option<(usize, usize)> {
    let colon = scan::near_colon(text).or_else(|| far_colon(text))?;
    let mut len = colon;
    while let Some(b' ' | b'\t') = text[..len].last() {
        len -= 1;
    }
    Some((len, colon))
}

/// A colon anywhere in the line; not behind it, so that no series of lines is searched over and over.
fn far_colon(text: &[u8]) -> Option<usize> {
    memchr::memchr3(b':', b'\r', b'\n', text).filter(|&at| text[at] == b':')
}

#[cfg(test)]
mod tests;
