//! The one pass over a message: start line, header lines, body.

mod names;

use std::ops::Range;

use crate::block::{self, Plain, Set, Work};
use crate::chars::{self, TOKEN, white};
use crate::error::{Error, Rule};
use crate::header::{Form, HeaderName};
use crate::message::{HeaderLine, MAX_LINES, Message};
use crate::scan::{self, Break, FRAME, TAIL, Words, chunk, next_break, next_sure_break, tail};
use crate::span::Span;
use crate::start_line::{Start, start_line, usual_request, usual_response};

pub(crate) use names::Names;

/// Indexes a message.
///
/// `lines` is the caller's storage: one entry for each header line, at most [`MAX_LINES`] are used.
/// Empty lines before the start line are skipped (RFC 3261 §7.5); [`Message::start_line`] says how many.
///
/// # Errors
/// [`Rule::MessageTooLarge`], [`Rule::NotSip`]: there is nothing to answer. All other defects are told by
/// [`Message::defect`], by [`crate::Start`] and by the typed values, so that a proxy can answer the request;
/// [`Rule::NoEndOfHeaders`] among them, where complete lines are indexed and there is no body.
#[inline]
pub fn parse<'m>(bytes: &'m [u8], lines: &'m mut [HeaderLine]) -> Result<Message<'m>, Error> {
    let mut message = Message::unread(bytes);
    message.read(lines)?;
    Ok(message)
}

impl<'m> Message<'m> {
    /// As [`parse`], once, what is [`unread`](Message::unread) and stays where it is: it is large, and a processor waits where
    /// what was just written byte by byte is moved.
    ///
    /// # Errors
    /// Those of [`parse`], after which nothing but the bytes is known.
    #[inline]
    pub fn read(&mut self, lines: &'m mut [HeaderLine]) -> Result<(), Error> {
        if self.bytes.len() > crate::MAX_MESSAGE {
            return Err(Error::new(Rule::MessageTooLarge, crate::MAX_MESSAGE));
        }
        debug_assert!(self.lines.is_empty(), "a message is read once");
        block::widely(Parse { lines, into: self })
    }
}

/// [`Message::read`]
struct Parse<'a, 'm> {
    lines: &'m mut [HeaderLine],
    into: &'a mut Message<'m>,
}

impl Work for Parse<'_, '_> {
    type Done = Result<(), Error>;

    #[inline(always)]
    fn with<S: Set>(self) -> Self::Done {
        let Self { lines, into } = self;
        match usual_start::<S>(into.bytes) {
            Some(first) => {
                index::<S>(lines, first, into);
                Ok(())
            }
            None => other(lines, into),
        }
    }
}

/// Of a message that does not begin as nearly all do.
#[inline(never)]
fn other<'m>(lines: &'m mut [HeaderLine], into: &mut Message<'m>) -> Result<(), Error> {
    let mut begin = 0;
    while let Some([b'\r', b'\n', ..]) = into.bytes.get(begin as usize..) {
        begin += 2;
    }
    let first = other_start(into.bytes, begin)?;
    index::<Plain>(lines, first, into);
    Ok(())
}

/// The start line, and what is seen of what follows it.
struct First {
    start: Start,
    /// Where it stands, without its line end.
    line: Range<u32>,
    /// Where what follows it begins.
    behind: u32,
    defect: Option<Error>,
    /// Which form the line behind it has; `None`: no known one.
    form: Option<&'static Form>,
}

/// What begins as nearly all messages do.
#[inline(always)]
fn usual_start<S: Set>(bytes: &[u8]) -> Option<First> {
    let mut found = next_break::<S>(bytes, 0)?;
    if !found.may_end_a_line() {
        found = next_sure_break(bytes, found.before)?;
        // What stands before is not looked at any more: BS to SI, which no start line may have, are refused where all is read;
        // NUL to BEL are taken there, too.
        if bytes.get(..=found.before as usize)?.iter().any(|c| matches!(c, 0x08..=0x0f)) {
            return None;
        }
    }
    let Break { before, frame } = found;
    let end = before as usize + 1;
    let start = match bytes.starts_with(b"SIP/2.0 ") {
        true => Start::Response(usual_response(bytes, end)?),
        false => Start::Request(usual_request::<S>(bytes, end)?),
    };
    let form = Form::of_first::<S>(frame);
    let is_sound = form.is_some() || is_plain_end(frame);
    is_sound.then(|| First { start, line: 0..end as u32, behind: end as u32 + 2, defect: None, form })
}

#[inline(never)]
fn other_start(bytes: &[u8], begin: u32) -> Result<First, Error> {
    let mut defect = None;
    let line = line_end(bytes, begin, false, &mut defect);
    let (end, behind) = line.ok_or(Error::new(Rule::NotSip, begin as usize))?;
    let start = start_line(bytes, begin as usize, end as usize)?;
    Ok(First { start, line: begin..end, behind, defect, form: None })
}

/// Indexes what follows the start line.
#[inline(always)]
fn index<'m, S: Set>(lines: &'m mut [HeaderLine], first: First, into: &mut Message<'m>) {
    let First { start, line: start_line, behind: mut at, mut defect, mut form } = first;
    let room = lines.len().min(MAX_LINES);
    let slots = &mut lines[..room];
    let Message { bytes, names, .. } = into;
    let bytes = *bytes;
    let (mut used, mut body) = (0, bytes.len());
    loop {
        if let Some(begun) = form {
            let were_used = used;
            let was_last;
            (used, at, was_last) =
                usual_lines::<S>(bytes, Begun { before: at - 3, form: begun }, used, slots, names);
            if was_last {
                body = at as usize + 2;
                break;
            }
            form = form_at(bytes, at).filter(|_| used > were_used);
            if form.is_some() {
                continue;
            }
        }
        if let Some(behind) = end_of_headers(bytes, at, &mut defect) {
            body = behind;
            break;
        }
        let Some(slot) = slots.get_mut(used) else {
            note(&mut defect, Rule::TooManyHeaders, at);
            break;
        };
        let behind = lonely_line(bytes, at, slot).or_else(|| unusual_line(bytes, at, slot, &mut defect));
        let Some(behind) = behind else {
            note(&mut defect, Rule::NoEndOfHeaders, bytes.len() as u32);
            break;
        };
        at = behind;
        names.note(slot.name, used);
        used += 1;
        form = form_at(bytes, at);
    }
    let lines = &lines[..used];
    let body = names.body(bytes, body, lines, &mut defect);
    (into.lines, into.start, into.defect, into.body) = (lines, start, defect, body);
    into.start_line = Span::new(start_line.start as usize, start_line.end as usize);
}

/// Which form the line has that begins here.
fn form_at(bytes: &[u8], at: u32) -> Option<&'static Form> {
    chunk(bytes, at.wrapping_sub(3)).and_then(Form::of_any)
}

/// The beginning of a header line that is as nearly all are.
#[derive(Clone, Copy)]
struct Begun {
    /// Where the byte before the line break before it stands.
    before: u32,
    form: &'static Form,
}

impl Begun {
    /// Where it begins.
    #[inline(always)]
    fn at(self) -> u32 {
        self.before + 3
    }

    /// Behind which byte it may end: the first one of the value of a name of one letter. The same for all names, because no byte
    /// of a longer one looks like a line end.
    #[inline(always)]
    fn first_of_value(self) -> u32 {
        self.before + 6
    }
}

/// Why no more lines are read as usual, and the one that was begun.
enum Stop<'t> {
    /// It ends here, if it does, and a line that has no known form follows.
    Unknown(Begun, Break<'t>),
    /// Too little follows to look at so many bytes at a time.
    Little(Begun),
    /// There is no slot for it.
    Full(Begun),
}

/// Reads header lines, as long as they are as nearly all are, into the slots behind the `used` ones: how many are used
/// then, where it stopped, at the beginning of a line, and whether that is the empty one. The first begins like this.
#[inline(always)]
fn usual_lines<S: Set>(
    bytes: &[u8],
    begun: Begun,
    mut used: usize,
    slots: &mut [HeaderLine],
    names: &mut Names,
) -> (usize, u32, bool) {
    let mut last;
    let mut stop = usual_lines_in::<S>(bytes, 0, begun, &mut used, slots, names);
    if let Stop::Little(begun) = stop {
        // Zeros behind it, so that it can be looked at like the rest.
        last = [0; TAIL];
        let base = tail(bytes, &mut last);
        if base <= begun.first_of_value() {
            stop = usual_lines_in::<S>(&last, base, begun, &mut used, slots, names);
        }
    }
    if let Stop::Unknown(_, found) = &mut stop
        && !found.may_end_a_line()
        && let Some(sure) = next_sure_break(bytes, found.before)
    {
        *found = sure;
    }
    match stop {
        Stop::Unknown(begun, Break { before, frame }) if is_plain_end(frame) => {
            let Some(slot) = slots.get_mut(used) else { return (used, begun.at(), false) };
            begun.form.line::<S>(begun.before, before, slot);
            names.note(begun.form.name(), used);
            (used + 1, before + 3, is_last(frame))
        }
        Stop::Unknown(begun, _) | Stop::Little(begun) | Stop::Full(begun) => (used, begun.at(), false),
    }
}

/// The same in a text that begins at `base` in the message. Calls nothing, so that all it needs stays in registers.
///
/// One look at each line break sees that the line before it is sound, and which header the line behind it has.
#[inline(always)]
fn usual_lines_in<'t, S: Set>(
    text: &'t [u8],
    base: u32,
    mut begun: Begun,
    into: &mut usize,
    slots: &mut [HeaderLine],
    names: &mut Names,
) -> Stop<'t> {
    let mut number = *into as u32;
    let mut free = slots.get_mut(*into..).unwrap_or_default().iter_mut();
    let mut words = Words::behind(begun.first_of_value() - base);
    let stop = 'lines: loop {
        let Some(mut word) = words.next::<S>(text) else { break Stop::Little(begun) };
        while let Some(Break { before, frame }) = word.next() {
            let before = base + before;
            let Some(next) = Form::of::<S>(frame) else {
                break 'lines Stop::Unknown(begun, Break { before, frame });
            };
            let Some(slot) = free.next() else { break 'lines Stop::Full(begun) };
            begun.form.line::<S>(begun.before, before, slot);
            names.note(begun.form.name(), number as usize);
            number += 1;
            begun = Begun { before, form: next };
        }
    };
    *into = number as usize;
    stop
}

/// A line ends here with something visible and CRLF, and what follows does not continue it.
#[inline(always)]
fn is_plain_end(frame: &[u8; FRAME]) -> bool {
    let [last, cr, lf, behind, ..] = *frame;
    last > b' ' && (is_last(frame) || [cr, lf] == *b"\r\n" && (behind > b' ' || behind == b'\r'))
}

/// A line ends here, and the empty one follows.
#[inline(always)]
fn is_last(frame: &[u8; FRAME]) -> bool {
    frame[1..].starts_with(b"\r\n\r\n")
}

/// A line with one space before its value, which ends with the byte at `last`.
#[inline(always)]
fn header_line(name: HeaderName, at: usize, space: usize, last: usize) -> HeaderLine {
    let (value, line) = (Span::new(space + 1, last + 1), Span::new(at, last + 3));
    HeaderLine { line, value, key_len: (space - 1 - at) as u16, name, ..HeaderLine::EMPTY }
}

/// As [`usual_lines`], of one line that has no known form, or that little follows: into its slot. Gives where the next
/// begins.
#[inline(never)]
fn lonely_line(bytes: &[u8], at: u32, slot: &mut HeaderLine) -> Option<u32> {
    let before = at.checked_sub(3)?;
    let mut frame = frame_at(bytes, before);
    // What ends the line before does not count here.
    (frame[0], frame[1], frame[2]) = (b'x', b'\r', b'\n');
    let (name, len) = match Form::of_any(&frame) {
        Some(form) => (form.name(), form.len() - 1),
        None => (HeaderName::Other, plain_name(&frame)?),
    };
    let end = at + memchr::memchr2(b'\r', b'\n', bytes.get(at as usize..)?)? as u32;
    if !is_plain_end(&frame_at(bytes, end - 1)) {
        return None;
    }
    *slot = header_line(name, at as usize, at as usize + len + 1, end as usize - 1);
    Some(end + 2)
}

/// The bytes from `at` on, and zeros behind the last of the message.
fn frame_at(bytes: &[u8], at: u32) -> [u8; FRAME] {
    scan::padded_to(bytes.get(..at as usize + FRAME).unwrap_or(bytes), at as usize)
}

/// Length of the name, no longer than fifteen characters, of the line that begins with the fourth byte, if its value follows
/// behind one space.
fn plain_name(frame: &[u8; FRAME]) -> Option<usize> {
    let line = frame[3..].first_chunk()?;
    let len = scan::near_colon(line)?;
    let is_usual = frame[len + 4] == b' ' && frame[len + 5] > b' ' && chars::begins_plainly(TOKEN, line, len);
    is_usual.then_some(len)
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
    let (name, key_len, value) = header(bytes, at as usize, end as usize).unwrap_or_else(|rule| {
        note(defect, rule, at);
        // A line without name and value.
        (HeaderName::Other, 0, Span::new(end as usize, end as usize))
    });
    let line = Span::new(at as usize, next as usize);
    *slot = HeaderLine { line, value, key_len: key_len as u16, name, ..HeaderLine::EMPTY };
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

/// The first defect counts.
#[cold]
fn note(defect: &mut Option<Error>, rule: Rule, at: u32) {
    defect.get_or_insert(Error::new(rule, at as usize));
}

/// `field-name HCOLON field-value` in the line `start..end`: which header, how long its name is, and where
/// its value stands. HCOLON allows white space before the colon.
fn header(bytes: &[u8], start: usize, end: usize) -> Result<(HeaderName, usize, Span), Rule> {
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
    Ok((HeaderName::from_bytes(&text[..len]), len, value))
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
