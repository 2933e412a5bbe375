//! Request-Line and Status-Line (RFC 3261 §7.1, §7.2).

use crate::chars::{self, TOKEN, number};
use crate::error::{Error, Rule};
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

const VERSION: &[u8] = b"SIP/2.0";

/// Reads the line `bytes[start..end]`, without its line end.
///
/// # Errors
/// [`Rule::NotSip`] if it resembles neither form.
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
    let not_sip = Error::new(Rule::NotSip, start);
    let method_len = memchr::memchr(b' ', line).ok_or(not_sip)?;
    let method = Span::new(start, start + method_len);
    match request_line(line, method_len) {
        Ok(uri) => {
            Ok(Start::Request(RequestLine { method, uri: Span::new(start + uri.start, start + uri.end) }))
        }
        Err(_) if method_len == 0 || !line.windows(4).any(is_sip) => Err(not_sip),
        Err(error) => Ok(Start::BadRequest(method, error.shifted(start))),
    }
}

/// Begins with the name of a SIP version. RFC 3261 §7.1: "The SIP-Version string is case-insensitive".
fn is_sip(text: &[u8]) -> bool {
    text.get(..4).is_some_and(|name| name.eq_ignore_ascii_case(b"SIP/"))
}

/// Where the Request-URI stands in the line.
///
/// RFC 3261 §7.1: "No CR or LF are allowed except in the end-of-line CRLF sequence. No linear whitespace
/// (LWS) is allowed in any of the elements." So the last SP separates the version.
#[inline]
fn request_line(line: &[u8], method_len: usize) -> Result<std::ops::Range<usize>, Error> {
    let (method, rest) = line.split_at(method_len);
    if !chars::all(TOKEN, method) {
        return Err(Error::new(Rule::Method, 0));
    }
    let uri_start = method_len + 1;
    let space = memchr::memrchr(b' ', rest).filter(|&at| at > 0);
    let uri_end = method_len + space.ok_or(Error::new(Rule::StartLineSpace, method_len))?;
    let version = &line[uri_end + 1..];
    if !is_sip(version) {
        return Err(Error::new(Rule::StartLineSpace, uri_end));
    }
    if !version.eq_ignore_ascii_case(VERSION) {
        return Err(Error::new(Rule::Version, uri_end + 1));
    }
    match memchr::memchr2(b' ', b'\t', &line[uri_start..uri_end]) {
        Some(at) => Err(Error::new(Rule::StartLineSpace, uri_start + at)),
        None if uri_start == uri_end => Err(Error::new(Rule::StartLineSpace, uri_start)),
        None => Ok(uri_start..uri_end),
    }
}

/// The status code, and where the reason phrase begins. The SP before an empty one may be missing.
fn status_line(line: &[u8]) -> Result<(u16, usize), Error> {
    let version_len = memchr::memchr(b' ', line).ok_or(Error::new(Rule::StartLineSpace, line.len()))?;
    if !line[..version_len].eq_ignore_ascii_case(VERSION) {
        return Err(Error::new(Rule::Version, 0));
    }
    let rest = &line[version_len + 1..];
    let code_len = memchr::memchr(b' ', rest).unwrap_or(rest.len());
    match number(&rest[..code_len]) {
        Some(code @ 100..=699) if code_len == 3 => {
            Ok((code as u16, (version_len + 1 + code_len + 1).min(line.len())))
        }
        _ => Err(Error::new(Rule::StatusCode, version_len + 1)),
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
