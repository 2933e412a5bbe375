//! The one pass over a message: start line, header lines, body.

use std::ops::Range;

use crate::block::{self, Plain, Set, Work};
use crate::chars::{self, TOKEN, white};
use crate::error::{Error, Rule};
use crate::header::{HeaderName, NAMES};
use crate::message::{HeaderLine, MAX_LINES, Message};
use crate::scalars;
use crate::scan::{self, Breaks, chunk};
use crate::span::Span;
use crate::start_line::{Start, start_line, usual_request};

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
    block::ask();
    let mut begin = 0;
    while let Some([b'\r', b'\n', ..]) = bytes.get(begin as usize..) {
        begin += 2;
    }
    if let Some(end) = Breaks::behind(begin).next::<Plain>(bytes, begin)
        && let Some(request) = usual_request(bytes, begin as usize, end as usize)
    {
        return Ok(index(bytes, lines, Start::Request(request), begin..end, end + 2, None));
    }
    parse_other(bytes, lines, begin)
}

/// A message whose start line is no usual Request-Line.
#[inline(never)]
fn parse_other<'m>(bytes: &'m [u8], lines: &'m mut [HeaderLine], begin: u32) -> Result<Message<'m>, Error> {
    let mut defect = None;
    let line = line_end(bytes, begin, false, &mut defect);
    let (end, at) = line.ok_or(Error::new(Rule::NotSip, begin as usize))?;
    let start = start_line(bytes, begin as usize, end as usize)?;
    Ok(index(bytes, lines, start, begin..end, at, defect))
}

/// Indexes what stands at `at`, behind the start line.
#[inline(always)]
fn index<'m>(
    bytes: &'m [u8],
    lines: &'m mut [HeaderLine],
    start: Start,
    start_line: Range<u32>,
    mut at: u32,
    mut defect: Option<Error>,
) -> Message<'m> {
    let room = lines.len().min(MAX_LINES);
    let (mut used, mut body) = (0, bytes.len());
    loop {
        let more;
        (more, at) = block::widely(UsualLines { bytes, at, slots: &mut lines[used..room] });
        used += more;
        if let Some(behind) = end_of_headers(bytes, at, &mut defect) {
            body = behind;
            break;
        }
        if used == room {
            note(&mut defect, Rule::TooManyHeaders, at);
            break;
        }
        let Some(next) = unusual_line(bytes, at, &mut lines[used], &mut defect) else {
            note(&mut defect, Rule::NoEndOfHeaders, bytes.len() as u32);
            break;
        };
        at = next;
        used += 1;
    }
    let lines = &lines[..used];
    let names = Names::of(lines);
    let body = names.body(bytes, body, lines, &mut defect);
    let Names { first, count } = names;
    let start_line = Span::new(start_line.start as usize, start_line.end as usize);
    Message { bytes, lines, first, count, start, start_line, defect, body }
}

/// Reads header lines from `at` on, as long as they are as nearly all are: how many of the slots are filled, and
/// where it stopped, at the beginning of a line. Calls nothing, so that all it needs stays in registers.
struct UsualLines<'a> {
    bytes: &'a [u8],
    at: u32,
    slots: &'a mut [HeaderLine],
}

impl Work for UsualLines<'_> {
    type Done = (usize, u32);

    #[inline(always)]
    fn with<S: Set>(self) -> (usize, u32) {
        let Self { bytes, mut at, slots } = self;
        let room = slots.len();
        let (mut breaks, mut free) = (Breaks::behind(at), slots.iter_mut());
        while let Some(slot) = free.next() {
            let unread = |at| (room - free.len() - 1, at);
            let Some(end) = breaks.next::<S>(bytes, at) else { return unread(at) };
            let Some((line, behind)) = usual_line(bytes, at, end) else { return unread(at) };
            *slot = line;
            if behind <= b' ' {
                return if behind == b'\r' { (room - free.len(), end + 2) } else { unread(at) };
            }
            at = end + 2;
        }
        (room, at)
    }
}

/// The header in the line from `start` to its first break at `end`, and the first byte behind its CRLF: if its name
/// is no longer than fifteen characters, and it is written with one space before its value and none behind.
#[inline(always)]
fn usual_line(bytes: &[u8], start: u32, end: u32) -> Option<(HeaderLine, u8)> {
    let text = chunk::<18>(bytes, start)?;
    let first = text.first_chunk()?;
    let len = scan::near_colon(first)?;
    let name = match HeaderName::at(first, len) {
        Some(name) => name,
        None if chars::begins_plainly(TOKEN, first, len) => HeaderName::Other,
        None => return None,
    };
    let &[last, cr, lf, behind] = chunk(bytes, end.wrapping_sub(1))?;
    let is_usual = text[len + 1] == b' ' && text[len + 2] > b' ' && last > b' ';
    if !is_usual || u16::from_le_bytes([cr, lf]) != u16::from_le_bytes(*b"\r\n") {
        return None;
    }
    let span = |start: u32, end: u32| Span::new(start as usize, end as usize);
    let colon = start + len as u32;
    let (key, value) = (span(start, colon), span(colon + 2, end));
    Some((HeaderLine { name, key, value, line: span(start, end + 2) }, behind))
}

/// Where the body begins, if the empty line stands here.
#[inline(always)]
fn end_of_headers(bytes: &[u8], at: u32, defect: &mut Option<Error>) -> Option<usize> {
    match bytes.get(at as usize..)? {
        [b'\r', b'\n', ..] => Some(at as usize + 2),
        [b'\n', ..] => {
            note(defect, Rule::BareLineBreak, at);
            Some(at as usize + 1)
        }
        _ => None,
    }
}

/// Reads any header line, from `at` on, into its slot. Gives where the next begins; `None`: it has no end.
#[inline(never)]
fn unusual_line(bytes: &[u8], at: u32, slot: &mut HeaderLine, defect: &mut Option<Error>) -> Option<u32> {
    let (end, next) = line_end(bytes, at, true, defect)?;
    let (name, key, value) = header(bytes, at as usize, end as usize).unwrap_or_else(|rule| {
        note(defect, rule, at);
        // A line without name and value.
        let end = Span::new(end as usize, end as usize);
        (HeaderName::Other, end, end)
    });
    *slot = HeaderLine { name, key, value, line: Span::new(at as usize, next as usize) };
    Some(next)
}

/// End of the line that begins at `from`, and where the next begins. A header goes on where the next line begins
/// with SP or HT (RFC 3261 §7.3.1).
///
/// RFC 3261 §7: "The start-line, each message-header line, and the empty line MUST be terminated by a
/// carriage-return line-feed sequence (CRLF)." An LF alone ends a line for some and not for others; it
/// does here, so that a message with bare LFs can be answered, but it is a defect, like a bare CR.
#[inline(never)]
fn line_end(bytes: &[u8], from: u32, is_header: bool, defect: &mut Option<Error>) -> Option<(u32, u32)> {
    let mut at = from as usize;
    loop {
        let end = at + memchr::memchr2(b'\r', b'\n', bytes.get(at..)?)?;
        let mut next = end + 2;
        if !bytes[end..].starts_with(b"\r\n") {
            note(defect, Rule::BareLineBreak, end as u32);
            next = end + 1;
        }
        let ends = bytes[next - 1] == b'\n';
        if ends && !(is_header && matches!(bytes.get(next), Some(b' ' | b'\t'))) {
            return Some((end as u32, next as u32));
        }
        at = next;
    }
}

/// No line of that name.
const NONE: u8 = u8::MAX;

/// Which names there are.
struct Names {
    /// Number of the first line of each name.
    first: [u8; NAMES],
    /// Number of lines of each name.
    count: [u8; NAMES],
}

impl Names {
    /// The names of these lines, of which there are at most 255.
    #[inline(always)]
    fn of(lines: &[HeaderLine]) -> Self {
        let mut names = Self { first: [NONE; NAMES], count: [0; NAMES] };
        // From the last to the first, which stays.
        for number in (0..lines.len()).rev() {
            let name = lines[number].name as usize;
            names.first[name] = number as u8;
            names.count[name] += 1;
        }
        names
    }

    /// Where the body ends.
    ///
    /// RFC 3261 §18.3: "If there are additional bytes in the transport packet beyond the end of the body,
    /// they MUST be discarded. If the transport packet ends before the end of the message body, this is
    /// considered an error." Without a Content-Length "the body […] extends to the end of the transport
    /// packet".
    #[inline(always)]
    fn body(&self, bytes: &[u8], start: usize, lines: &[HeaderLine], defect: &mut Option<Error>) -> Span {
        let rest = Span::new(start, bytes.len());
        let number = HeaderName::ContentLength as usize;
        let Some(line) = lines.get(usize::from(self.first[number])) else { return rest };
        if self.count[number] > 1 {
            note(defect, Rule::ContentLengthTwice, line.line.start.into());
            return rest;
        }
        let at = u32::from(line.value.start);
        match scalars::content_length(line.value.of(bytes)) {
            Ok(length) if length <= rest.len() as u64 => {
                return Span::new(start, start + length as usize);
            }
            Ok(_) => note(defect, Rule::BodyTooShort, at),
            Err(error) => note(defect, error.rule, at + error.at as u32),
        }
        rest
    }
}

/// The first defect counts.
#[cold]
fn note(defect: &mut Option<Error>, rule: Rule, at: u32) {
    defect.get_or_insert(Error::new(rule, at as usize));
}

/// `field-name HCOLON field-value` in the line `start..end`: which header, where its name stands, and where
/// its value. HCOLON allows white space before the colon.
fn header(bytes: &[u8], start: usize, end: usize) -> Result<(HeaderName, Span, Span), Rule> {
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

/// What stands between white space.
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
