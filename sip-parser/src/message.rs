//! What the index knows of a message. Typed values are made of it when somebody asks for them.

use crate::block::{self, Set, Work};
use crate::chars::offset;
use crate::error::{Error, Rule};
use crate::header::HeaderName;
use crate::index::Names;
use crate::list::Values;
use crate::name_addr::NameAddr;
use crate::scalars::{self, CSeq};
use crate::scan::chunk;
use crate::span::{Part, Span};
use crate::start_line::{RequestLine, Start};
use crate::uri::{Begun, Uri};
use crate::via::Via;

/// One header line, folded lines included.
///
/// In this order and without a gap, so that one store writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct HeaderLine {
    /// The whole line with its CRLF: what to cut to remove it.
    pub line: Span,
    /// The value without white space around it; folds are still in it.
    pub value: Span,
    /// Length of the name as written.
    pub(crate) key_len: u16,
    /// Which header.
    pub name: HeaderName,
    /// What makes it sixteen bytes.
    pub(crate) filling: [u8; 5],
}

impl HeaderLine {
    /// What the caller's storage is filled with at first.
    pub const EMPTY: Self = Self {
        line: Span { start: 0, end: 0 },
        value: Span { start: 0, end: 0 },
        key_len: 0,
        name: HeaderName::Other,
        filling: [0; 5],
    };

    /// Where the name as written stands; of a line that is no header, nowhere.
    #[inline]
    pub const fn key(&self) -> Span {
        Span { start: self.line.start, end: self.line.start + self.key_len }
    }
}

/// A message that can be delimited; single values may still break rules.
#[derive(Clone, Copy, Debug)]
pub struct Message<'m> {
    pub(crate) bytes: &'m [u8],
    pub(crate) lines: &'m [HeaderLine],
    pub(crate) names: Names,
    pub(crate) start: Start,
    pub(crate) start_line: Span,
    pub(crate) defect: Option<Error>,
    pub(crate) body: Span,
}

/// Most header lines that a caller can make room for.
/// Lines are numbered in one byte, and 255 means none.
pub const MAX_LINES: usize = 255;

impl<'m> Message<'m> {
    /// A message of which nothing is known yet, for [`Message::read`].
    #[inline(always)]
    pub fn unread(bytes: &'m [u8]) -> Self {
        let start = Start::BadResponse(Error::new(Rule::NotSip, 0));
        let (start_line, body) = (Span::new(0, 0), Span::new(0, 0));
        Self { bytes, lines: &[], names: Names::NONE, start, start_line, defect: None, body }
    }

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
        self.lines.get(self.names.first(name))
    }

    /// How many lines have this name.
    #[inline]
    pub fn count(&self, name: HeaderName) -> usize {
        match self.names.has_several(name) {
            true => self.all(name).count(),
            false => usize::from(self.first(name).is_some()),
        }
    }

    /// Each of these names, none of which is [`HeaderName::Other`], has one line.
    #[inline(always)]
    pub fn has_each_once(&self, names: &[HeaderName]) -> bool {
        self.names.has_each_once(names)
    }

    /// One of these names, or more, has several lines.
    #[inline(always)]
    pub fn has_any_again(&self, names: &[HeaderName]) -> bool {
        self.names.has_any_again(names)
    }

    /// All lines of this name in order.
    #[inline]
    pub fn all(&self, name: HeaderName) -> Lines<'m> {
        let is_alone = !self.names.has_several(name);
        let end = if is_alone { self.lines.len() } else { self.names.end_of_several() };
        let rest = self.lines.get(self.names.first(name)..end).unwrap_or(&[]);
        Lines { rest, name, is_alone }
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
            .filter(move |line| known != HeaderName::Other || line.key().of(bytes).eq_ignore_ascii_case(name))
    }

    /// The first value of this name; empty where there is none.
    #[inline(always)]
    pub fn value(&self, name: HeaderName) -> &'m [u8] {
        self.first(name).map_or(&[], |line| line.value.of(self.bytes))
    }

    /// The values of one line, whatever header it is, separated by commas.
    pub fn values_in(&self, line: &'m HeaderLine) -> Values<'m> {
        Values::new(self.bytes, Lines { rest: std::slice::from_ref(line), name: line.name, is_alone: true })
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
        let mut via = block::widely(ViaOf(self, self.span(HeaderName::Via)));
        if via.is_err() {
            via = self.first_of_vias();
        }
        via
    }

    /// The value of From or To, or of another header of which there is one: as [`NameAddr::parse`] of [`Message::value`].
    ///
    /// # Errors
    /// As [`NameAddr::parse`].
    #[inline(always)]
    pub fn name_addr(&self, name: HeaderName) -> Result<NameAddr<'m>, Error> {
        block::widely(NameAddrOf(self, name))
    }

    /// The URI that stands there: as [`Uri::parse`] of its text.
    ///
    /// # Errors
    /// As [`Uri::parse`].
    #[inline(always)]
    pub fn uri(&self, span: Span) -> Result<Uri<'m>, Error> {
        block::widely(UriOf(self, span))
    }

    /// The Via that stands there: as [`Via::parse`] of its text.
    ///
    /// # Errors
    /// As [`Via::parse`].
    #[inline(always)]
    pub fn via(&self, span: Span) -> Result<Via<'m>, Error> {
        block::widely(ViaOf(self, span))
    }

    /// CSeq: as [`CSeq::parse`] of [`Message::value`].
    ///
    /// # Errors
    /// As [`CSeq::parse`].
    #[inline]
    pub fn cseq(&self) -> Result<CSeq<'m>, Error> {
        CSeq::of(self.bytes, self.span(HeaderName::CSeq))
    }

    /// Reads the topmost Via and its branch, which tell a request's transaction, before [`Message::request_values`].
    #[inline(always)]
    pub fn request_via(&self, into: &mut RequestValues<'m>) {
        block::widely(RequestViaOf(self, into));
    }

    /// Reads what a proxy needs of every request besides, all at once: that costs less than one after the other. The values, which
    /// are large, are written where they stay, which begins as [`RequestValues::unread`] and is what [`Message::request_via`] has
    /// written into. Each is as the function gives it that [`RequestValues`] names.
    #[inline(always)]
    pub fn request_values(&self, line: &RequestLine, into: &mut RequestValues<'m>) {
        block::widely(RequestValuesOf(self, line, into));
    }

    /// CSeq of a request with this method.
    #[inline(never)]
    fn sequence(&self, method: Span) -> Option<Sequence> {
        let cseq = self.cseq().ok()?;
        Some(Sequence { number: cseq.number, has_its_method: cseq.method == self.text(method) })
    }

    /// See [`RequestValues::max_forwards`].
    #[inline(never)]
    fn max_forwards(&self) -> Option<Option<u8>> {
        match self.first(HeaderName::MaxForwards) {
            Some(line) => scalars::max_forwards(self.text(line.value)).ok().map(Some),
            None => Some(None),
        }
    }

    /// Where [`Message::value`] stands.
    #[inline(always)]
    fn span(&self, name: HeaderName) -> Span {
        self.first(name).map_or(Span::default(), |line| line.value)
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

    /// The same message without what follows its end: as [`crate::parse`] reads it where nothing does.
    #[inline]
    #[must_use]
    pub fn alone(self) -> Self {
        Self { bytes: self.bytes.get(..self.end()).unwrap_or(self.bytes), ..self }
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

/// What a proxy reads of every request. `None`: absent or not sound; what breaks which rule is told by the function that each
/// names. Branch and tags are also none where a sound value has none.
#[derive(Clone, Debug)]
pub struct RequestValues<'m> {
    /// The topmost Via: see [`Message::top_via`].
    pub via: Option<Via<'m>>,
    /// The Request-URI: see [`Message::uri`].
    pub uri: Option<Uri<'m>>,
    /// From: see [`Message::name_addr`].
    pub from: Option<NameAddr<'m>>,
    /// To.
    pub to: Option<NameAddr<'m>>,
    /// Call-ID: see [`crate::call_id`].
    pub call_id: Option<&'m [u8]>,
    /// CSeq: see [`Message::cseq`].
    pub cseq: Option<Sequence>,
    /// The first Max-Forwards: sound, and there. See [`crate::max_forwards`]; where there is none, that is sound.
    pub max_forwards: Option<Option<u8>>,
    /// The topmost Via's branch: see [`Via::branch`].
    pub branch: Option<&'m [u8]>,
    /// From's tag: see [`NameAddr::tag`].
    pub from_tag: Option<&'m [u8]>,
    /// To's.
    pub to_tag: Option<&'m [u8]>,
}

/// What the CSeq of a request says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// See [`CSeq::number`].
    pub number: u32,
    /// Its method is the request's.
    pub has_its_method: bool,
}

impl RequestValues<'_> {
    /// Of no request.
    ///
    /// Not a constant, because all its bytes would be copied.
    #[inline(always)]
    pub fn unread() -> Self {
        Self {
            via: None,
            uri: None,
            from: None,
            to: None,
            call_id: None,
            cseq: None,
            max_forwards: None,
            branch: None,
            from_tag: None,
            to_tag: None,
        }
    }
}

/// [`Message::request_via`]
struct RequestViaOf<'p, 'm>(&'p Message<'m>, &'p mut RequestValues<'m>);

impl<'m> Work for RequestViaOf<'_, 'm> {
    type Done = ();

    #[inline(always)]
    fn with<S: Set>(self) -> Self::Done {
        let Self(message, values) = self;
        match Via::simple::<S>(message.bytes, message.span(HeaderName::Via)) {
            Some((via, branch)) => (values.via, values.branch) = (Some(via), Some(branch)),
            None => {
                values.via = message.top_via().ok();
                values.branch = values.via.as_ref().and_then(Via::branch);
            }
        }
    }
}

/// [`Message::request_values`]
struct RequestValuesOf<'p, 'm>(&'p Message<'m>, &'p RequestLine, &'p mut RequestValues<'m>);

impl<'m> Work for RequestValuesOf<'_, 'm> {
    type Done = ();

    #[inline(always)]
    fn with<S: Set>(self) -> Self::Done {
        let Self(message, line, values) = self;
        let uri = line.uri;
        // Not by closures, which would not be compiled for the set. One after the other, so that nothing has to be kept.
        let begun = match chunk(message.bytes, uri.start.into()) {
            Some(window) => Begun::of::<S>(window),
            None => None,
        };
        match begun.and_then(|begun| Uri::simple_of_len(begun, uri)) {
            Some(uri) => values.uri = Some(uri),
            None => values.uri = message.uri(uri).ok(),
        }
        // RFC 3261 §8.1.1.1: "The initial Request-URI of the message SHOULD be set to the value of the URI in the To field."
        match NameAddr::simple::<S>(message.bytes, message.span(HeaderName::To), begun) {
            Some((to, tag)) => (values.to, values.to_tag) = (Some(to), tag),
            None => {
                values.to = message.name_addr(HeaderName::To).ok();
                values.to_tag = values.to.as_ref().and_then(NameAddr::tag);
            }
        }
        match NameAddr::simple::<S>(message.bytes, message.span(HeaderName::From), None) {
            Some((from, tag)) => (values.from, values.from_tag) = (Some(from), tag),
            None => {
                values.from = message.name_addr(HeaderName::From).ok();
                values.from_tag = values.from.as_ref().and_then(NameAddr::tag);
            }
        }
        match scalars::simple_call_id::<S>(message.bytes, message.span(HeaderName::CallId)) {
            Some(call_id) => values.call_id = Some(call_id),
            None => values.call_id = scalars::call_id(message.value(HeaderName::CallId)).ok(),
        }
        match CSeq::simple_number(message.bytes, message.span(HeaderName::CSeq), line.method) {
            Some(number) => values.cseq = Some(Sequence { number, has_its_method: true }),
            None => values.cseq = message.sequence(line.method),
        }
        match scalars::simple_max_forwards(message.bytes, message.span(HeaderName::MaxForwards)) {
            Some(hops) => values.max_forwards = Some(Some(hops)),
            None => values.max_forwards = message.max_forwards(),
        }
    }
}

/// [`Message::name_addr`]: what fits into two registers.
struct NameAddrOf<'p, 'm>(&'p Message<'m>, HeaderName);

impl<'m> Work for NameAddrOf<'_, 'm> {
    type Done = Result<NameAddr<'m>, Error>;

    #[inline(always)]
    fn with<S: Set>(self) -> Self::Done {
        NameAddr::of::<S>(Part::of(self.0.bytes, self.0.span(self.1)))
    }
}

/// [`Message::uri`]
struct UriOf<'p, 'm>(&'p Message<'m>, Span);

impl<'m> Work for UriOf<'_, 'm> {
    type Done = Result<Uri<'m>, Error>;

    #[inline(always)]
    fn with<S: Set>(self) -> Self::Done {
        Uri::of::<S>(Part::of(self.0.bytes, self.1))
    }
}

/// [`Message::via`]
struct ViaOf<'p, 'm>(&'p Message<'m>, Span);

impl<'m> Work for ViaOf<'_, 'm> {
    type Done = Result<Via<'m>, Error>;

    #[inline(always)]
    fn with<S: Set>(self) -> Self::Done {
        Via::of::<S>(Part::of(self.0.bytes, self.1))
    }
}

/// Iterator over the header lines of one name.
#[derive(Clone, Debug)]
pub struct Lines<'m> {
    rest: &'m [HeaderLine],
    name: HeaderName,
    /// The first of what is left is the only one.
    is_alone: bool,
}

impl<'m> Iterator for Lines<'m> {
    type Item = &'m HeaderLine;

    #[inline]
    fn next(&mut self) -> Option<&'m HeaderLine> {
        if self.is_alone {
            return std::mem::take(&mut self.rest).first();
        }
        let (place, line) = self.rest.iter().enumerate().find(|(_, line)| line.name == self.name)?;
        self.rest = &self.rest[place + 1..];
        Some(line)
    }
}
