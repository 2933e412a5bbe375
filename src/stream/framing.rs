//! Messages in a stream of bytes.
//!
//! RFC 3261 §18.3: "In the case of stream-oriented transports such as TCP, the Content-Length header field indicates
//! the size of the body. The Content-Length header field MUST be used with stream oriented transports."
//!
//! ```text
//!  Between ── a byte that is no CR or LF ─► Headers ── empty line ─► Body ── Content-Length bytes ─► Between
//!     └ CRLF CRLF: Ping                        └ too long, no length, two lengths ─► Broken, for good
//! ```

use std::sync::LazyLock;

use memchr::memmem::Finder;
use sip_parser::{HeaderLine, HeaderName, Message, Rule, content_length, parse};

use super::StreamLimits;
use crate::limits::{MESSAGE_BYTES, STREAM_HEADER_BYTES};
use crate::net::Now;

/// What a stream holds.
#[derive(Clone, Copy, Debug)]
pub enum Frame<'a> {
    /// A double CRLF, which wants one back (RFC 5626 §4.4.1).
    Ping,
    /// A message, from its first byte to its last: read once, for framing and for all who handle it.
    Message(Message<'a>),
    /// No message can be told from here on; what there is of the header section, which may be answered.
    Broken(Broken, &'a [u8]),
}

/// Why messages cannot be told from each other any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The header section has more than [`STREAM_HEADER_BYTES`], or more lines than are read.
    HeadersTooLarge,
    /// The whole message has more than [`MESSAGE_BYTES`].
    MessageTooLarge,
    /// There is no Content-Length.
    NoContentLength,
    /// There are several, or one that is no number.
    BadContentLength,
    /// Lines end in two ways: another element may see the end of the headers elsewhere.
    LineBreaks,
}

/// The framing of one connection. Keeps bytes of a message that has not come whole, and no more than [`MESSAGE_BYTES`].
#[derive(Debug, Default)]
pub struct Framer {
    /// The beginning of a message.
    partial: Vec<u8>,
    /// What of it has been looked through for the end of the headers.
    scanned: usize,
    /// The message's length, once its headers are there.
    need: Option<usize>,
    /// How much of CRLF CRLF has come.
    line_breaks: u8,
    /// `partial` was given out whole.
    is_out: bool,
    is_broken: bool,
    /// When the message's first byte came.
    since: Now,
}

const PING: &[u8; 4] = b"\r\n\r\n";
const END_OF_HEADERS: &[u8; 4] = b"\r\n\r\n";

impl Framer {
    /// The next frame of what was received; `input` loses what was taken of it. `None`: all of it was, and there is no
    /// whole message yet. `lines` is memory to read headers in, which a message stays in.
    pub fn next<'f, 'i: 'f>(
        &'f mut self,
        input: &mut &'i [u8],
        lines: &'f mut [HeaderLine],
        now: Now,
    ) -> Option<Frame<'f>> {
        if self.is_out {
            self.forget();
        }
        if self.is_broken {
            *input = &[];
            return None;
        }
        if !self.partial.is_empty() {
            return self.go_on(input, lines);
        }
        if self.between(input) {
            return Some(Frame::Ping);
        }
        if input.is_empty() {
            return None;
        }
        self.since = now;
        self.begin(input, lines)
    }

    /// Skips line breaks between messages (§7.5); `true`: there was a ping among them, and more may follow.
    fn between(&mut self, input: &mut &[u8]) -> bool {
        while let Some((&byte, rest)) = input.split_first() {
            if !matches!(byte, b'\r' | b'\n') {
                self.line_breaks = 0;
                return false;
            }
            *input = rest;
            self.line_breaks = match PING.get(usize::from(self.line_breaks)) {
                Some(due) if *due == byte => self.line_breaks + 1,
                _ => u8::from(byte == b'\r'),
            };
            if usize::from(self.line_breaks) == PING.len() {
                self.line_breaks = 0;
                return true;
            }
        }
        false
    }

    /// The message that begins here, where all of it is there; else keeps what there is of it.
    fn begin<'f, 'i: 'f>(
        &'f mut self,
        input: &mut &'i [u8],
        lines: &'f mut [HeaderLine],
    ) -> Option<Frame<'f>> {
        let all = std::mem::take(input);
        match read(all, lines) {
            Reading::Whole(message) => {
                *input = all.get(message.bytes().len()..).unwrap_or_default();
                Some(Frame::Message(message))
            }
            Reading::Body(need) => {
                self.need = Some(need);
                self.partial = all.to_vec();
                None
            }
            Reading::Headers => {
                self.partial = all.get(..STREAM_HEADER_BYTES).unwrap_or(all).to_vec();
                self.headers_go_on()
            }
            Reading::Broken(broken, end) => {
                self.is_broken = true;
                Some(Frame::Broken(broken, all.get(..end).unwrap_or_default()))
            }
        }
    }

    /// Keeps what there is of a message that has begun until it is whole.
    fn go_on<'f>(&'f mut self, input: &mut &[u8], lines: &'f mut [HeaderLine]) -> Option<Frame<'f>> {
        let (all, before) = (std::mem::take(input), self.partial.len());
        let missing = self.need.unwrap_or(MESSAGE_BYTES).saturating_sub(before);
        let taken = all.get(..missing).unwrap_or(all);
        self.make_room(taken.len());
        self.partial.extend_from_slice(taken);
        if self.need.is_some_and(|need| self.partial.len() < need) {
            return None;
        }
        if self.need.is_none() && !self.has_headers() {
            return self.headers_go_on();
        }
        match read(&self.partial, lines) {
            Reading::Whole(message) => {
                // What was taken beyond its end belongs to the next one.
                *input = all.get(message.bytes().len().saturating_sub(before)..).unwrap_or_default();
                self.is_out = true;
                Some(Frame::Message(message))
            }
            Reading::Body(need) => {
                self.need = Some(need);
                None
            }
            // Their end was found.
            Reading::Headers => None,
            Reading::Broken(broken, end) => {
                (self.is_broken, self.is_out) = (true, true);
                Some(Frame::Broken(broken, self.partial.get(..end).unwrap_or_default()))
            }
        }
    }

    /// The end of the headers is there; looks only where it has not looked yet.
    fn has_headers(&self) -> bool {
        let from = self.scanned.saturating_sub(END_OF_HEADERS.len() - 1);
        let to = self.partial.len().min(STREAM_HEADER_BYTES);
        self.partial.get(from..to).is_some_and(|unseen| end_of_headers(unseen).is_some())
    }

    /// The end of the headers is still to come, unless they are too long.
    fn headers_go_on(&mut self) -> Option<Frame<'_>> {
        self.scanned = self.partial.len();
        if self.scanned < STREAM_HEADER_BYTES {
            return None;
        }
        (self.is_broken, self.is_out) = (true, true);
        self.partial.truncate(STREAM_HEADER_BYTES);
        if let Some(end) = memchr::memmem::rfind(&self.partial, b"\r\n") {
            // Whole lines, and their end, so that the sender can be told.
            self.partial.truncate(end + 2);
            self.partial.extend_from_slice(b"\r\n");
        }
        Some(Frame::Broken(Broken::HeadersTooLarge, &self.partial))
    }

    /// Memory for so many bytes more. What was only announced takes none, and at most half of what is taken is not in use
    /// yet.
    fn make_room(&mut self, bytes: usize) {
        let (len, has) = (self.partial.len(), self.partial.capacity());
        if has - len < bytes {
            let most = self.need.unwrap_or(MESSAGE_BYTES);
            let wanted = (2 * has).min(most).max(len + bytes);
            self.partial.reserve_exact(wanted - len);
        }
    }

    fn forget(&mut self) {
        (self.partial, self.scanned, self.need, self.is_out) = (Vec::new(), 0, None, false);
    }

    /// When the rest of a message is to be there that has begun; `None`: none has.
    pub fn deadline(&self, limits: &StreamLimits) -> Option<Now> {
        if self.partial.is_empty() || self.is_out {
            return None;
        }
        let headers_by = self.since.plus_ns(limits.header_ns);
        Some(if self.need.is_none() { headers_by } else { headers_by.plus_ns(limits.body_ns) })
    }

    /// What there is of a message may come so many nanoseconds later.
    pub fn waited(&mut self, ns: u64) {
        self.since = self.since.plus_ns(ns);
    }

    /// Memory that it keeps, in bytes.
    pub fn kept_bytes(&self) -> usize {
        self.partial.capacity()
    }

    /// A message has begun and is not whole.
    pub fn is_within(&self) -> bool {
        !self.partial.is_empty() && !self.is_out
    }
}

/// What begins with some bytes of a stream.
enum Reading<'m> {
    /// A message, without what follows it.
    Whole(Message<'m>),
    /// A message that is so long, of whose body a part is still to come.
    Body(usize),
    /// The end of the headers is still to come.
    Headers,
    /// No message can be told; where the header section ends.
    Broken(Broken, usize),
}

/// Reads the message at the beginning. Where it ends is what its reader finds: there is no other reading that could find
/// another end.
fn read<'m>(bytes: &'m [u8], lines: &'m mut [HeaderLine]) -> Reading<'m> {
    #[cfg(test)]
    assert!(!bytes.starts_with(b"PANIC "), "as the message asked");
    let bytes = bytes.get(..MESSAGE_BYTES).unwrap_or(bytes);
    let parsed = parse(bytes, lines);
    if let Ok(message) = &parsed
        && message.defect().is_none()
        && message.has_each_once(&[HeaderName::ContentLength])
        && usize::from(message.body().start) <= STREAM_HEADER_BYTES
    {
        return Reading::Whole(message.alone());
    }
    let begin = bytes.get(..STREAM_HEADER_BYTES).unwrap_or(bytes);
    let Some(end) = end_of_headers(begin) else { return Reading::Headers };
    // What is no SIP has no Content-Length either.
    let whole = parsed.map_err(|_| Broken::NoContentLength);
    let head = begin.get(..end).unwrap_or_default();
    match whole.and_then(|message| Ok((length(&message, head)?, message))) {
        Ok((need, message)) if need <= bytes.len() => Reading::Whole(message.alone()),
        Ok((need, _)) => Reading::Body(need),
        Err(broken) => Reading::Broken(broken, end),
    }
}

/// Where the body begins.
fn end_of_headers(bytes: &[u8]) -> Option<usize> {
    // Made once: that takes longer than to find it.
    static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(END_OF_HEADERS));
    FINDER.find(bytes).map(|at| at + END_OF_HEADERS.len())
}

/// The length of a message whose header section this is, with its empty line.
pub(super) fn length(message: &Message<'_>, head: &[u8]) -> Result<usize, Broken> {
    // Only the first defect is told: behind any other one the lines may end elsewhere, or be too many, all the same.
    match message.defect().map(|defect| defect.rule) {
        None | Some(Rule::BodyTooShort) => {}
        Some(Rule::BareLineBreak) => return Err(Broken::LineBreaks),
        Some(_) if has_bare_break(head) => return Err(Broken::LineBreaks),
        Some(_) if !ends_with_lines(message, head) => return Err(Broken::HeadersTooLarge),
        Some(_) => {}
    }
    match message.count(HeaderName::ContentLength) {
        0 => return Err(Broken::NoContentLength),
        1 => {}
        // RFC 3261 knows one; which of two another element goes by is anybody's guess.
        _ => return Err(Broken::BadContentLength),
    }
    let body =
        content_length(message.value(HeaderName::ContentLength)).map_err(|_| Broken::BadContentLength)?;
    let whole = usize::try_from(body).ok().and_then(|body| head.len().checked_add(body));
    whole.filter(|len| *len <= MESSAGE_BYTES).ok_or(Broken::MessageTooLarge)
}

/// There is a CR or an LF that stands alone.
fn has_bare_break(head: &[u8]) -> bool {
    memchr::memchr2_iter(b'\r', b'\n', head).any(|at| match head.get(at) {
        Some(b'\r') => head.get(at + 1) != Some(&b'\n'),
        _ => at.checked_sub(1).and_then(|before| head.get(before)) != Some(&b'\r'),
    })
}

/// All lines of the header section were read.
fn ends_with_lines(message: &Message<'_>, head: &[u8]) -> bool {
    let last = message.lines().last().map(|line| usize::from(line.line.end));
    last.is_none_or(|end| end + b"\r\n".len() == head.len())
}
