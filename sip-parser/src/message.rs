//! The line index: start line, header lines, body; made in one pass.
//!
//! Everything else is lazy: a [`Message`] hands out typed values when it is asked for them.

use crate::chars::{offset, token, white};
use crate::error::{Error, Rule};
use crate::header::{HeaderName, NAMES};
use crate::list::Values;
use crate::scalars;
use crate::span::Span;
use crate::start_line::{Start, start_line};

/// One header line, folded lines included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderLine {
    /// Which header.
    pub name: HeaderName,
    /// The name as written.
    pub key: Span,
    /// The value without white space around it; folds are still in it.
    pub value: Span,
    /// The whole line with its CRLF: what to cut to remove it.
    pub line: Span,
}

impl HeaderLine {
    /// What the caller's storage is filled with at first.
    pub const EMPTY: Self = Self {
        name: HeaderName::Other,
        key: Span { start: 0, end: 0 },
        value: Span { start: 0, end: 0 },
        line: Span { start: 0, end: 0 },
    };
}

/// A message that can be delimited; single values may still break rules.
#[derive(Clone, Copy, Debug)]
pub struct Message<'m> {
    bytes: &'m [u8],
    lines: &'m [HeaderLine],
    first: [u8; NAMES],
    count: [u8; NAMES],
    start: Start,
    start_line: Span,
    defect: Option<Error>,
    body: Span,
}

const NONE: u8 = u8::MAX;

/// Most header lines that a caller can make room for.
pub const MAX_LINES: usize = NONE as usize;

/// Indexes a message.
///
/// `lines` is the caller's storage: one entry for each header line, at most [`MAX_LINES`] are used.
/// Empty lines before the start line are skipped (RFC 3261 §7.5).
///
/// # Errors
/// What keeps a message from being delimited at all: [`Rule::MessageTooLarge`], [`Rule::NotSip`],
/// [`Rule::NoEndOfHeaders`], [`Rule::TooManyHeaders`]. Lesser defects are told by
/// [`Message::defect`] and by the typed values, so that a proxy can still answer the request.
pub fn parse<'m>(bytes: &'m [u8], lines: &'m mut [HeaderLine]) -> Result<Message<'m>, Error> {
    if bytes.len() > crate::MAX_MESSAGE {
        return Err(Error::new(Rule::MessageTooLarge, crate::MAX_MESSAGE));
    }
    let begin = bytes.iter().position(|&c| c != b'\r' && c != b'\n').unwrap_or(bytes.len());
    let mut index = Index { bytes, defect: None };
    let (line_end, mut at) = index.line_end(begin).ok_or(Error::new(Rule::NotSip, begin))?;
    let start = start_line(bytes, begin, line_end)?;
    let mut first = [NONE; NAMES];
    let mut count = [0u8; NAMES];
    let room = lines.len().min(MAX_LINES);
    let mut used = 0;
    loop {
        let (end, next) = index.folded_end(at).ok_or(Error::new(Rule::NoEndOfHeaders, bytes.len()))?;
        if end == at {
            at = next;
            break;
        }
        let slot = lines[..room].get_mut(used).ok_or(Error::new(Rule::TooManyHeaders, at))?;
        *slot = index.header(at, end, next);
        let number = slot.name as usize;
        if first[number] == NONE {
            first[number] = used as u8;
        }
        count[number] = count[number].saturating_add(1);
        used += 1;
        at = next;
    }
    let mut message = Message {
        bytes,
        lines: &lines[..used],
        first,
        count,
        start,
        start_line: Span::new(begin, line_end),
        defect: index.defect,
        body: Span::new(at, bytes.len()),
    };
    message.delimit_body();
    Ok(message)
}

struct Index<'m> {
    bytes: &'m [u8],
    defect: Option<Error>,
}

impl Index<'_> {
    fn note(&mut self, rule: Rule, at: usize) {
        self.defect.get_or_insert(Error::new(rule, at));
    }

    /// End of the line that begins at `from`, and where the next begins. A CR or LF on its own does
    /// not end a line: who reads it as an end and who does not would read two messages.
    fn line_end(&mut self, from: usize) -> Option<(usize, usize)> {
        let mut search = from;
        loop {
            let at = search + memchr::memchr2(b'\r', b'\n', self.bytes.get(search..)?)?;
            if self.bytes[at] == b'\r' && self.bytes.get(at + 1) == Some(&b'\n') {
                return Some((at, at + 2));
            }
            self.note(Rule::BareLineBreak, at);
            search = at + 1;
        }
    }

    /// The same for a header line, which goes on where the next line begins with SP or HT
    /// (RFC 3261 §7.3.1).
    fn folded_end(&mut self, from: usize) -> Option<(usize, usize)> {
        let (mut end, mut next) = self.line_end(from)?;
        while end != from && matches!(self.bytes.get(next), Some(b' ' | b'\t')) {
            (end, next) = self.line_end(next)?;
        }
        Some((end, next))
    }

    /// `field-name HCOLON field-value`; HCOLON allows white space before the colon.
    fn header(&mut self, start: usize, end: usize, next: usize) -> HeaderLine {
        let line = &self.bytes[start..end];
        let key_len = line.iter().position(|&c| !token(c)).unwrap_or(line.len());
        let colon = line[key_len..].iter().position(|&c| c != b' ' && c != b'\t').map(|n| key_len + n);
        let colon = match colon {
            Some(at) if line[at] == b':' && key_len > 0 => at,
            _ => {
                let rule =
                    if memchr::memchr(b':', line).is_some() { Rule::HeaderName } else { Rule::NoColon };
                self.note(rule, start);
                let nothing = Span::new(end, end);
                let line = Span::new(start, next);
                return HeaderLine { name: HeaderName::Other, key: nothing, value: nothing, line };
            }
        };
        let mut value_start = colon + 1;
        while value_start < line.len() && white(line[value_start]) {
            value_start += 1;
        }
        let mut value_end = line.len();
        while value_end > value_start && white(line[value_end - 1]) {
            value_end -= 1;
        }
        HeaderLine {
            name: HeaderName::from_bytes(&line[..key_len]),
            key: Span::new(start, start + key_len),
            value: Span::new(start + value_start, start + value_end),
            line: Span::new(start, next),
        }
    }
}

impl<'m> Message<'m> {
    /// RFC 3261 §18.3: "If there are additional bytes in the transport packet beyond the end of the body,
    /// they MUST be discarded. If the transport packet ends before the end of the message body, this is
    /// considered an error." Without a Content-Length, "the body […] extends to the end of the packet".
    fn delimit_body(&mut self) {
        let Some(line) = self.first(HeaderName::ContentLength).copied() else { return };
        if self.count(HeaderName::ContentLength) > 1 {
            self.note(Rule::ContentLengthTwice, line.line.start.into());
            return;
        }
        let start = usize::from(line.value.start);
        match scalars::content_length(self.text(line.value)) {
            Ok(length) if length <= self.body.len() as u64 => {
                self.body.end = self.body.start + length as u16;
            }
            Ok(_) => self.note(Rule::BodyTooShort, start),
            Err(error) => self.note(error.rule, start + error.at),
        }
    }

    fn note(&mut self, rule: Rule, at: usize) {
        self.defect.get_or_insert(Error::new(rule, at));
    }

    /// All that was received, trailing octets included.
    pub fn bytes(&self) -> &'m [u8] {
        self.bytes
    }

    /// The first line.
    pub fn start(&self) -> &Start {
        &self.start
    }

    /// Where the first line stands, without its CRLF.
    pub fn start_line(&self) -> Span {
        self.start_line
    }

    /// The first broken rule of the header section's form or of the body's length; none: both are sound.
    /// The start line's own is in [`Start`].
    pub fn defect(&self) -> Option<Error> {
        self.defect
    }

    /// All header lines in order.
    pub fn lines(&self) -> &'m [HeaderLine] {
        self.lines
    }

    /// The first line of this name; not for [`HeaderName::Other`], whose lines have many names.
    pub fn first(&self, name: HeaderName) -> Option<&'m HeaderLine> {
        self.lines.get(usize::from(self.first[name as usize]))
    }

    /// How many lines have this name (up to 255).
    pub fn count(&self, name: HeaderName) -> usize {
        usize::from(self.count[name as usize])
    }

    /// All lines of this name in order.
    pub fn all(&self, name: HeaderName) -> impl Iterator<Item = &'m HeaderLine> + Clone + use<'m> {
        let first = usize::from(self.first[name as usize]).min(self.lines.len());
        self.lines[first..].iter().filter(move |line| line.name == name)
    }

    /// All lines with this name as text, long or compact form, in any case.
    pub fn named<'n>(&self, name: &'n [u8]) -> impl Iterator<Item = &'m HeaderLine> + use<'m, 'n> {
        let known = HeaderName::from_bytes(name);
        let bytes = self.bytes;
        self.lines.iter().filter(move |line| match known {
            HeaderName::Other => line.key.of(bytes).eq_ignore_ascii_case(name),
            known => line.name == known,
        })
    }

    /// The first value of this name; empty where there is none.
    pub fn value(&self, name: HeaderName) -> &'m [u8] {
        self.first(name).map_or(&[], |line| line.value.of(self.bytes))
    }

    /// The single values of a comma-separated header, over all its lines, in order.
    pub fn values(
        &self,
        name: HeaderName,
    ) -> Values<'m, impl Iterator<Item = &'m HeaderLine> + Clone + use<'m>> {
        Values::new(self.bytes, self.all(name))
    }

    /// The message's body; it may be cut at Content-Length.
    pub fn body(&self) -> Span {
        self.body
    }

    /// Where the message ends; what follows in a datagram belongs to nobody.
    pub fn end(&self) -> usize {
        usize::from(self.body.end)
    }

    /// The text of a span of this message.
    pub fn text(&self, span: Span) -> &'m [u8] {
        self.bytes.get(span.range()).unwrap_or(&[])
    }

    /// Where a slice that was taken from this message stands in it.
    pub fn span_of(&self, part: &[u8]) -> Option<Span> {
        let start = offset(self.bytes, part);
        let end = start.checked_add(part.len())?;
        (end <= self.bytes.len()).then(|| Span::new(start, end))
    }
}
