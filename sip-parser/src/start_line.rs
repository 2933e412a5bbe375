//! Request-Line and Status-Line (RFC 3261 §7.1, §7.2).

use crate::chars::{is_token, number, token};
use crate::error::{Error, Rule};
use crate::span::Span;

/// `Method SP Request-URI SP SIP-Version`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLine {
    /// The method, as written: methods are compared with case.
    pub method: Span,
    /// The Request-URI, unparsed: see [`crate::Uri::parse`].
    pub uri: Span,
}

/// `SIP-Version SP Status-Code SP Reason-Phrase`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusLine {
    /// 100 to 699.
    pub code: u16,
    /// The reason phrase; may be empty, need not be UTF-8.
    pub reason: Span,
}

/// The first line of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// A request.
    Request(RequestLine),
    /// A response.
    Response(StatusLine),
    /// A request whose Request-Line breaks a rule; the method is what stands before the first SP.
    BadRequest(Span, Error),
    /// A response whose Status-Line breaks a rule.
    BadResponse(Error),
}

const VERSION: &[u8] = b"SIP/2.0";

/// Reads the line `bytes[start..end]`, without its CRLF.
///
/// # Errors
/// [`Rule::NotSip`] if it resembles neither form.
pub(crate) fn start_line(bytes: &[u8], start: usize, end: usize) -> Result<Start, Error> {
    let line = &bytes[start..end];
    let is_sip = |part: &[u8]| part.get(..4).is_some_and(|p| p.eq_ignore_ascii_case(b"SIP/"));
    if is_sip(line) {
        return Ok(status_line(line, start));
    }
    let not_sip = Error::new(Rule::NotSip, start);
    let method_end = memchr::memchr(b' ', line).ok_or(not_sip)?;
    if !line.iter().take(method_end).any(|&c| token(c)) || memchr::memmem::find(line, b"SIP/").is_none() {
        return Err(not_sip);
    }
    let method = Span::new(start, start + method_end);
    Ok(match request_line(line, method_end) {
        Ok(uri) => {
            let uri = Span::new(start + uri.start, start + uri.end);
            Start::Request(RequestLine { method, uri })
        }
        Err(error) => Start::BadRequest(method, error.shifted(start)),
    })
}

/// Where the Request-URI stands in the line.
fn request_line(line: &[u8], method_end: usize) -> Result<std::ops::Range<usize>, Error> {
    if !is_token(&line[..method_end]) {
        return Err(Error::new(Rule::Method, 0));
    }
    // RFC 3261 §7.1: "No LWS is allowed in any of the elements", so the last SP separates the version.
    let uri_start = method_end + 1;
    let uri_end = memchr::memrchr(b' ', line).filter(|&at| at > uri_start);
    let uri_end = uri_end.ok_or(Error::new(Rule::StartLineSpace, method_end))?;
    let version = &line[uri_end + 1..];
    if version.is_empty() || !version.get(..4).is_some_and(|p| p.eq_ignore_ascii_case(b"SIP/")) {
        return Err(Error::new(Rule::StartLineSpace, uri_end));
    }
    // RFC 3261 §7.1: "The SIP-Version string is case-insensitive".
    if !version.eq_ignore_ascii_case(VERSION) {
        return Err(Error::new(Rule::Version, uri_end + 1));
    }
    match line[uri_start..uri_end].iter().position(|&c| matches!(c, b' ' | b'\t')) {
        Some(at) => Err(Error::new(Rule::StartLineSpace, uri_start + at)),
        None => Ok(uri_start..uri_end),
    }
}

fn status_line(line: &[u8], start: usize) -> Start {
    let bad = |rule, at: usize| Start::BadResponse(Error::new(rule, start + at));
    let Some(version_end) = memchr::memchr(b' ', line) else { return bad(Rule::StartLineSpace, 0) };
    if !line[..version_end].eq_ignore_ascii_case(VERSION) {
        return bad(Rule::Version, 0);
    }
    let rest = &line[version_end + 1..];
    let code_end = memchr::memchr(b' ', rest).unwrap_or(rest.len());
    let code = match number(&rest[..code_end]) {
        Some(code @ 100..=699) if code_end == 3 => code as u16,
        _ => return bad(Rule::StatusCode, version_end + 1),
    };
    let reason = (version_end + 1 + code_end + 1).min(line.len());
    Start::Response(StatusLine { code, reason: Span::new(start + reason, start + line.len()) })
}
