//! Request-Line and Status-Line (RFC 3261 §7.1, §7.2).

use crate::block::{Block, Set};
use crate::chars::{self, TOKEN};
use crate::error::{Error, Rule};
use crate::scan::{chunk, find, find_byte};
use crate::span::Span;

/// `Method SP Request-URI SP SIP-Version`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLine {
    /// The method, as written: methods are compared with case.
    pub method: Span,
    /// The Request-URI, unparsed: see [`crate::Uri::request`].
    pub uri: Span,
}

/// `SIP-Version SP Status-Code SP Reason-Phrase`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusLine {
    /// 100 to 699.
    pub code: u16,
    /// The reason phrase; may be empty (RFC 4475 §3.1.1.13), need not be UTF-8.
    pub reason: Span,
}

/// The first line of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// A request.
    Request(RequestLine),
    /// A response.
    Response(StatusLine),
    /// A request whose Request-Line breaks a rule, [`Rule::Version`] among them; the method is what stands
    /// before the first SP.
    BadRequest(Span, Error),
    /// A response whose Status-Line breaks a rule.
    BadResponse(Error),
}

/// Reads the line that ends at `end`, before which there is no character from BS to SI, as a Request-Line whose
/// method is of capital letters. `None`: it is something else, or not sound.
#[inline(always)]
pub(crate) fn usual_request<S: Set>(bytes: &[u8], end: usize) -> Option<RequestLine> {
    let begin: &[u8; 64] = chunk(bytes, 0)?;
    let spaces = |from: usize| Some(u64::from(S::those(begin[from..].first_chunk()?, b' ')));
    let spaces = spaces(0)? | spaces(32)? << 32;
    let letters = Block::of(begin.first_chunk()?).within(b'A', b'Z').bits();
    let method_len = (!letters).trailing_zeros();
    if method_len == 0 || method_len != spaces.trailing_zeros() {
        return None;
    }
    let (method_len, uri_start) = (method_len as usize, method_len as usize + 1);
    let uri_end = match spaces & (spaces - 1) {
        0 => find_byte::<S>(bytes, begin.len(), b' ')?,
        behind => behind.trailing_zeros() as usize,
    };
    let version = u64::from_le_bytes(*chunk(bytes, uri_end as u32)?) | LETTERS << 8;
    let is_sound = version == SIP << 8 | 0x20 && uri_end > uri_start && uri_end + 8 == end;
    is_sound.then(|| RequestLine { method: Span::new(0, method_len), uri: Span::new(uri_start, uri_end) })
}

/// The same as a Status-Line, which begins with its version.
#[inline(never)]
pub(crate) fn usual_response(bytes: &[u8], end: usize) -> Option<StatusLine> {
    let &[hundreds @ b'1'..=b'6', tens @ b'0'..=b'9', ones @ b'0'..=b'9', b' '] = chunk(bytes, 8)? else {
        return None;
    };
    let [hundreds, tens, ones] = [hundreds, tens, ones].map(|digit| u16::from(digit - b'0'));
    let code = hundreds * 100 + tens * 10 + ones;
    (end >= 12).then(|| StatusLine { code, reason: Span::new(12, end) })
}

/// Reads the line `bytes[start..end]`, without its line end.
///
/// # Errors
/// [`Rule::NotSip`] if it resembles neither form.
#[inline(never)]
pub(crate) fn start_line(bytes: &[u8], start: usize, end: usize) -> Result<Start, Error> {
    let line = bytes.get(start..end).unwrap_or(&[]);
    if is_sip(line) {
        return Ok(match status_line(line) {
            Ok((code, reason)) => {
                Start::Response(StatusLine { code, reason: Span::new(start + reason, end) })
            }
            Err(error) => Start::BadResponse(error.shifted(start)),
        });
    }
    match request_line(line) {
        Ok((method_len, uri_end)) => {
            let method = Span::new(start, start + method_len);
            let uri = Span::new(start + method_len + 1, start + uri_end);
            Ok(Start::Request(RequestLine { method, uri }))
        }
        Err(error) => bad_request(line, start, error),
    }
}

/// A line that is no Request-Line: of a request nevertheless, if it has a method and names a SIP version.
#[cold]
fn bad_request(line: &[u8], start: usize, error: Error) -> Result<Start, Error> {
    match memchr::memchr(b' ', line) {
        Some(len) if len > 0 && line.windows(4).any(is_sip) => {
            Ok(Start::BadRequest(Span::new(start, start + len), error.shifted(start)))
        }
        _ => Err(Error::new(Rule::NotSip, start)),
    }
}

/// Begins with the name of a SIP version. RFC 3261 §7.1: "The SIP-Version string is case-insensitive".
#[inline(always)]
fn is_sip(text: &[u8]) -> bool {
    text.first_chunk().is_some_and(|name| u32::from_le_bytes(*name) | LETTERS as u32 == SIP as u32)
}

/// Is the name of SIP 2.0.
#[inline(always)]
fn is_version(text: &[u8; 7]) -> bool {
    let [a, b, c, d, e, f, g] = *text;
    u64::from_le_bytes([a, b, c, d, e, f, g, 0]) | LETTERS == SIP
}

/// `SIP/2.0` in lower case.
const SIP: u64 = u64::from_le_bytes(*b"sip/2.0\0");
/// What makes its letters small.
const LETTERS: u64 = 0x20_2020;

/// Where method and Request-URI end in the line; one SP stands between them.
///
/// RFC 3261 §7.1: "No CR or LF are allowed except in the end-of-line CRLF sequence. No linear whitespace
/// (LWS) is allowed in any of the elements." So the last SP separates the version.
#[inline(always)]
fn request_line(line: &[u8]) -> Result<(usize, usize), Error> {
    let method_len = chars::run(TOKEN, line, 0);
    if line.get(method_len) != Some(&b' ') || method_len == 0 {
        return Err(Error::new(Rule::Method, 0));
    }
    let uri_start = method_len + 1;
    match line.split_last_chunk() {
        Some(([before @ .., b' '], version))
            if is_version(version)
                && before.len() > uri_start
                && white(before, uri_start) == before.len() =>
        {
            Ok((method_len, before.len()))
        }
        _ => Err(bad_rest(line, uri_start)),
    }
}

/// Where the first SP or HT stands at `from` or behind it, or the end of the text.
#[inline(always)]
fn white(text: &[u8], from: usize) -> usize {
    find(text, from, |block| block.equal(Block::all(b' ')).or(block.equal(Block::all(b'\t'))))
}

/// What is wrong behind the method.
#[cold]
fn bad_rest(line: &[u8], uri_start: usize) -> Error {
    let rest = &line[uri_start - 1..];
    let Some(space) = memchr::memrchr(b' ', rest).filter(|&at| at > 0) else {
        return Error::new(Rule::StartLineSpace, uri_start - 1);
    };
    let uri_end = uri_start - 1 + space;
    let version = &line[uri_end + 1..];
    if !is_sip(version) {
        return Error::new(Rule::StartLineSpace, uri_end);
    }
    if version.first_chunk().is_none_or(|name| version.len() > 7 || !is_version(name)) {
        return Error::new(Rule::Version, uri_end + 1);
    }
    let white = memchr::memchr2(b' ', b'\t', &line[uri_start..uri_end]);
    Error::new(Rule::StartLineSpace, uri_start + white.unwrap_or(0))
}

/// The status code, and where the reason phrase begins. The SP before an empty one may be missing.
fn status_line(line: &[u8]) -> Result<(u16, usize), Error> {
    let code = match line.split_first_chunk() {
        Some((version, [b' ', rest @ ..])) if is_version(version) => rest,
        _ if line.contains(&b' ') => return Err(Error::new(Rule::Version, 0)),
        _ => return Err(Error::new(Rule::StartLineSpace, line.len())),
    };
    let begin = line.len() - code.len();
    match *code {
        [a @ b'1'..=b'6', b @ b'0'..=b'9', c @ b'0'..=b'9', ref rest @ ..]
            if matches!(rest, [] | [b' ', ..]) =>
        {
            let digits = [a, b, c].map(|digit| u16::from(digit - b'0'));
            Ok((digits[0] * 100 + digits[1] * 10 + digits[2], (begin + 4).min(line.len())))
        }
        _ => Err(Error::new(Rule::StatusCode, begin)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(line: &str) -> Result<Start, Error> {
        start_line(line.as_bytes(), 0, line.len())
    }

    #[test]
    fn the_parts_of_a_start_line() {
        let span = Span::new;
        let uri = |method, uri| Ok(Start::Request(RequestLine { method, uri }));
        assert_eq!(start("INVITE sip:a SIP/2.0"), uri(span(0, 6), span(7, 12)));
        assert_eq!(start("re%47IST sip:a sip/2.0"), uri(span(0, 8), span(9, 14)));
        // What the Request-URI is made of is looked at when it is parsed.
        assert_eq!(start("A <sip:a> SIP/2.0"), uri(span(0, 1), span(2, 9)));
        let status = |code, reason| Ok(Start::Response(StatusLine { code, reason }));
        assert_eq!(start("SIP/2.0 200 = 2**3 * 5**2"), status(200, span(12, 25)));
        assert_eq!(start("SIP/2.0 100 "), status(100, span(12, 12)));
        assert_eq!(start("SIP/2.0 699"), status(699, span(11, 11)));
    }

    #[test]
    fn broken_request_lines_can_still_be_answered() {
        for (line, method, rule, at) in [
            ("INVITE  sip:a SIP/2.0", 6, Rule::StartLineSpace, 7),
            ("INVITE sip:a  SIP/2.0", 6, Rule::StartLineSpace, 12),
            ("INVITE sip:a; lr SIP/2.0", 6, Rule::StartLineSpace, 13),
            ("INVITE sip:a\tb SIP/2.0", 6, Rule::StartLineSpace, 12),
            ("INVITE sip:a SIP/2.0  ", 6, Rule::StartLineSpace, 21),
            ("INVITE  SIP/2.0", 6, Rule::StartLineSpace, 7),
            ("INVITE SIP/2.0", 6, Rule::StartLineSpace, 6),
            ("INVITE sip:a SIP/7.0", 6, Rule::Version, 13),
            ("INVITE sip:a SIP/2.00", 6, Rule::Version, 13),
            ("IN\0VITE sip:a SIP/2.0", 7, Rule::Method, 0),
            ("IN/VITE sip:a SIP/2.0", 7, Rule::Method, 0),
        ] {
            let wanted = Start::BadRequest(Span::new(0, method), Error::new(rule, at));
            assert_eq!(start(line), Ok(wanted), "{line}");
        }
    }

    #[test]
    fn broken_status_lines_are_responses() {
        for (line, rule, at) in [
            ("SIP/2.0", Rule::StartLineSpace, 7),
            ("SIP/7.0 200 OK", Rule::Version, 0),
            ("SIP/2.0 4294967301 better not break the receiver", Rule::StatusCode, 8),
            ("SIP/2.0 99 x", Rule::StatusCode, 8),
            ("SIP/2.0 700 x", Rule::StatusCode, 8),
            ("SIP/2.0 0200 x", Rule::StatusCode, 8),
            ("SIP/2.0  200 x", Rule::StatusCode, 8),
            ("SIP/2.0 2x0 x", Rule::StatusCode, 8),
        ] {
            assert_eq!(start(line), Ok(Start::BadResponse(Error::new(rule, at))), "{line}");
        }
    }

    #[test]
    fn what_names_no_sip_version_is_not_sip() {
        for line in
            ["", " ", "INVITE", "INVITE sip:alan@jasomi.com", "GET / HTTP/1.1", " sip:a SIP/2.0", "SIP"]
        {
            assert_eq!(start(line), Err(Error::new(Rule::NotSip, 0)), "{line}");
        }
    }
}
