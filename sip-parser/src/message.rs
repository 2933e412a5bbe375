//! What the index knows of a message. Typed values are made of it when somebody asks for them.

use crate::chars::offset;
use crate::error::{Error, Rule};
use crate::header::{HeaderName, NAMES};
use crate::list::Values;
use crate::span::Span;
use crate::start_line::Start;
use crate::via::Via;

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
    pub(crate) bytes: &'m [u8],
    pub(crate) lines: &'m [HeaderLine],
    pub(crate) first: [u8; NAMES],
    pub(crate) count: [u8; NAMES],
    pub(crate) start: Start,
    pub(crate) start_line: Span,
    pub(crate) defect: Option<Error>,
    pub(crate) body: Span,
}

/// Most header lines that a caller can make room for.
/// Lines are numbered in one byte, and 255 means none.
pub const MAX_LINES: usize = 255;

impl<'m> Message<'m> {
    /// All that was received, trailing octets included.
    #[inline]
    pub fn bytes(&self) -> &'m [u8] {
        self.bytes
    }

    /// The first line.
    #[inline]
    pub fn start(&self) -> &Start {
        &self.start
    }

    /// Where the first line stands, without its CRLF.
    #[inline]
    pub fn start_line(&self) -> Span {
        self.start_line
    }

    /// The first broken rule of the header section's form or of the body's length; none: both are sound.
    /// The start line's own is in [`Start`].
    #[inline]
    pub fn defect(&self) -> Option<Error> {
        self.defect
    }

    /// All header lines in order.
    #[inline]
    pub fn lines(&self) -> &'m [HeaderLine] {
        self.lines
    }

    /// The first line of this name; not for [`HeaderName::Other`], whose lines have many names.
    #[inline]
    pub fn first(&self, name: HeaderName) -> Option<&'m HeaderLine> {
        self.lines.get(usize::from(self.first[name as usize]))
    }

    /// How many lines have this name (up to 255).
    #[inline]
    pub fn count(&self, name: HeaderName) -> usize {
        usize::from(self.count[name as usize])
    }

    /// All lines of this name in order.
    #[inline]
    pub fn all(&self, name: HeaderName) -> Lines<'m> {
        let first = usize::from(self.first[name as usize]);
        Lines { rest: self.lines.get(first..).unwrap_or(&[]), name, left: self.count[name as usize] }
    }

    /// All lines with this name as text, long or compact form, in any case.
    pub fn named<'n>(&self, name: &'n [u8]) -> impl Iterator<Item = &'m HeaderLine> + use<'m, 'n> {
        self.named_as(HeaderName::from_bytes(name), name)
    }

    /// As [`Message::named`], where the caller knows already what `HeaderName::from_bytes(name)` is.
    #[inline]
    pub fn named_as<'n>(
        &self,
        known: HeaderName,
        name: &'n [u8],
    ) -> impl Iterator<Item = &'m HeaderLine> + use<'m, 'n> {
        let bytes = self.bytes;
        self.all(known)
            .filter(move |line| known != HeaderName::Other || line.key.of(bytes).eq_ignore_ascii_case(name))
    }

    /// The first value of this name; empty where there is none.
    #[inline(always)]
    pub fn value(&self, name: HeaderName) -> &'m [u8] {
        self.first(name).map_or(&[], |line| line.value.of(self.bytes))
    }

    /// The values of one line, whatever header it is, separated by commas.
    pub fn values_in(&self, line: &'m HeaderLine) -> Values<'m> {
        Values::new(self.bytes, Lines { rest: std::slice::from_ref(line), name: line.name, left: 1 })
    }

    /// The single values of a comma-separated header, over all its lines, in order.
    #[inline]
    pub fn values(&self, name: HeaderName) -> Values<'m> {
        Values::new(self.bytes, self.all(name))
    }

    /// The topmost Via, which is the first value of the first line.
    ///
    /// # Errors
    /// As [`Values`] and [`Via::parse`] tell them, with the place in the message; [`Rule::Via`]: there is none.
    #[inline(always)]
    pub fn top_via(&self) -> Result<Via<'m>, Error> {
        // What is read to its end as one value has no other behind it. It is large, and written to one place only.
        let mut via = Via::parse(self.value(HeaderName::Via));
        if via.is_err() {
            via = self.first_of_vias();
        }
        via
    }

    #[cold]
    fn first_of_vias(&self) -> Result<Via<'m>, Error> {
        let value = self.values(HeaderName::Via).next().unwrap_or(Err(Error::new(Rule::Via, 0)))?;
        Via::parse(value.text).map_err(|error| error.shifted(value.span.start.into()))
    }

    /// The message's body; it may be cut at Content-Length.
    #[inline]
    pub fn body(&self) -> Span {
        self.body
    }

    /// Where the message ends; what follows in a datagram belongs to nobody.
    #[inline]
    pub fn end(&self) -> usize {
        usize::from(self.body.end)
    }

    /// The text of a span of this message.
    #[inline]
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

/// Iterator over the header lines of one name.
#[derive(Clone, Debug)]
pub struct Lines<'m> {
    rest: &'m [HeaderLine],
    name: HeaderName,
    /// How many are still to come.
    left: u8,
}

impl<'m> Iterator for Lines<'m> {
    type Item = &'m HeaderLine;

    #[inline]
    fn next(&mut self) -> Option<&'m HeaderLine> {
        self.left = self.left.checked_sub(1)?;
        let (place, line) = self.rest.iter().enumerate().find(|(_, line)| line.name == self.name)?;
        self.rest = &self.rest[place + 1..];
        Some(line)
    }
}
