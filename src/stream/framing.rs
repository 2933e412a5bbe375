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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A double CRLF, which wants one back (RFC 5626 §4.4.1).
    Ping,
    /// A message, from its first byte to its last.
    Message(&'a [u8]),
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
    /// whole message yet. `lines` is memory to read headers in.
    pub fn next<'f, 'i: 'f>(
        &'f mut self,
        input: &mut &'i [u8],
        lines: &mut [HeaderLine],
        now: Now,
    ) -> Option<Frame<'f>> {
        if self.is_out {
            self.forget();
        }
        if self.is_broken {
            *input = &[];
            return None;
        }
        if self.partial.is_empty() {
            if self.between(input) {
                return Some(Frame::Ping);
            }
            if input.is_empty() {
                return None;
            }
            self.since = now;
            match whole(input, lines) {
                Some(Ok(len)) => {
                    let (message, rest) = input.split_at(len);
                    *input = rest;
                    return Some(Frame::Message(message));
                }
                Some(Err(broken)) => return Some(self.broken(broken, input)),
                None => {}
            }
        }
        self.collect(input, lines)
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

    /// Keeps what there is of a message until it is whole.
    fn collect<'f>(&'f mut self, input: &mut &[u8], lines: &mut [HeaderLine]) -> Option<Frame<'f>> {
        if self.need.is_none() {
            let room = STREAM_HEADER_BYTES.saturating_sub(self.partial.len());
            let (taken, rest) = input.split_at(room.min(input.len()));
            self.partial.extend_from_slice(taken);
            let from = self.scanned.saturating_sub(END_OF_HEADERS.len() - 1);
            let unseen = self.partial.get(from..).unwrap_or_default();
            let Some(end) = end_of_headers(unseen).map(|end| from + end) else {
                self.scanned = self.partial.len();
                *input = rest;
                if self.partial.len() < STREAM_HEADER_BYTES {
                    return None;
                }
                return Some(self.broken_in_partial(Broken::HeadersTooLarge));
            };
            match length(self.partial.get(..end).unwrap_or_default(), lines) {
                Err(broken) => {
                    self.partial.truncate(end);
                    return Some(self.broken_in_partial(broken));
                }
                Ok(need) => {
                    self.need = Some(need);
                    // What was taken beyond the headers may belong to the next message.
                    let before = self.partial.len() - taken.len();
                    let used = end.saturating_sub(before);
                    self.partial.truncate(end);
                    *input = input.get(used..).unwrap_or_default();
                }
            }
        }
        let need = self.need?;
        let missing = need.saturating_sub(self.partial.len());
        let (taken, rest) = input.split_at(missing.min(input.len()));
        self.make_room(taken.len(), need);
        self.partial.extend_from_slice(taken);
        *input = rest;
        if self.partial.len() < need {
            return None;
        }
        self.is_out = true;
        Some(Frame::Message(&self.partial))
    }

    /// Memory for so many bytes more of a message of this length. What was only announced takes none, and at most half of
    /// what is taken is not in use yet.
    fn make_room(&mut self, bytes: usize, need: usize) {
        let (len, has) = (self.partial.len(), self.partial.capacity());
        if has - len < bytes {
            let wanted = (2 * has).min(need).max(len + bytes);
            self.partial.reserve_exact(wanted - len);
        }
    }

    fn broken<'f, 'i: 'f>(&'f mut self, broken: Broken, input: &mut &'i [u8]) -> Frame<'f> {
        self.is_broken = true;
        let head = std::mem::take(input);
        let end = end_of_headers(head).unwrap_or(head.len());
        Frame::Broken(broken, head.get(..end).unwrap_or_default())
    }

    fn broken_in_partial(&mut self, broken: Broken) -> Frame<'_> {
        (self.is_broken, self.is_out) = (true, true);
        if !self.partial.ends_with(END_OF_HEADERS)
            && let Some(end) = memchr::memmem::rfind(&self.partial, b"\r\n")
        {
            // Whole lines, and their end, so that the sender can be told.
            self.partial.truncate(end + 2);
            self.partial.extend_from_slice(b"\r\n");
        }
        Frame::Broken(broken, &self.partial)
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

    /// Memory that it keeps, in bytes.
    pub fn kept_bytes(&self) -> usize {
        self.partial.capacity()
    }

    /// A message has begun and is not whole.
    pub fn is_within(&self) -> bool {
        !self.partial.is_empty() && !self.is_out
    }
}

/// The length of the message at the beginning; `None`: its headers or its body are not all there.
fn whole(input: &[u8], lines: &mut [HeaderLine]) -> Option<Result<usize, Broken>> {
    let begin = input.get(..STREAM_HEADER_BYTES).unwrap_or(input);
    let end = end_of_headers(begin)?;
    match length(begin.get(..end)?, lines) {
        Ok(need) => (need <= input.len()).then_some(Ok(need)),
        Err(broken) => Some(Err(broken)),
    }
}

/// Where the body begins.
fn end_of_headers(bytes: &[u8]) -> Option<usize> {
    // Made once: that takes longer than to find it.
    static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(END_OF_HEADERS));
    FINDER.find(bytes).map(|at| at + END_OF_HEADERS.len())
}

/// The length of a message with this header section, which ends with its empty line.
fn length(head: &[u8], lines: &mut [HeaderLine]) -> Result<usize, Broken> {
    #[cfg(test)]
    assert!(!head.starts_with(b"PANIC "), "as the message asked");
    // What is no SIP has no Content-Length either.
    let message = parse(head, lines).map_err(|_| Broken::NoContentLength)?;
    // Only the first defect is told: behind any other one the lines may end elsewhere, or be too many, all the same.
    match message.defect().map(|defect| defect.rule) {
        None | Some(Rule::BodyTooShort) => {}
        Some(Rule::BareLineBreak) => return Err(Broken::LineBreaks),
        Some(_) if has_bare_break(head) => return Err(Broken::LineBreaks),
        Some(_) if !ends_with_lines(&message, head) => return Err(Broken::HeadersTooLarge),
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
