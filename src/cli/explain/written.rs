//! What the proxy wrote, read back with the parser that a neighbour would use.

use std::fmt;

use serde::Serialize;
use sip_parser::{HeaderLine, HeaderName, Message, Start, Via, parse};

use crate::limits;
use crate::proxy::response_to;
use crate::snapshot::Snapshot;
use crate::stream::Number;
use crate::token::Branch;

/// The parts of a forwarded message that Viaduct wrote.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Its first line.
    pub start_line: Option<String>,
    /// The topmost Via of a request.
    pub via: Option<String>,
    /// Record-Route values that were not there before, top first.
    pub record_route: Vec<String>,
}

/// Compares what is sent with what was received.
pub fn read(sent: &[u8], received: &[u8]) -> Written {
    let mut lines = [HeaderLine::EMPTY; limits::HEADER_LINES];
    let before =
        parse(received, &mut lines).map_or(0, |message| values(&message, HeaderName::RecordRoute).len());
    let mut lines = [HeaderLine::EMPTY; limits::HEADER_LINES];
    let Ok(message) = parse(sent, &mut lines) else { return Written::default() };
    let mut record_route = values(&message, HeaderName::RecordRoute);
    record_route.truncate(record_route.len().saturating_sub(before));
    Written {
        start_line: Some(text(message.text(message.start_line()))),
        via: values(&message, HeaderName::Via).into_iter().next(),
        record_route,
    }
}

/// What a rule's `set` has changed: the Request-URI or a header, with its values.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// `Request-URI`, or the header's name as it is written.
    pub what: String,
    /// As received.
    pub before: Vec<String>,
    /// As sent.
    pub after: Vec<String>,
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |values: &[String]| match values {
            [] => "(none)".to_owned(),
            values => values.join(" | "),
        };
        write!(f, "{}: {} → {}", self.what, shown(&self.before), shown(&self.after))
    }
}

/// What differs between what was received and what is sent, besides what every proxy writes.
pub fn changed(sent: &[u8], received: &[u8]) -> Vec<Changed> {
    let (before, after) = (parts(received), parts(sent));
    let names = before.iter().chain(&after).map(|(name, _)| name.as_str());
    let mut all: Vec<Changed> = Vec::new();
    for name in names {
        if all.iter().any(|known| known.what.eq_ignore_ascii_case(name)) {
            continue;
        }
        let values = |parts: &[(String, String)]| -> Vec<String> {
            let same = parts.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
            same.map(|(_, value)| value.clone()).collect()
        };
        all.push(Changed { what: name.to_owned(), before: values(&before), after: values(&after) });
    }
    all.retain(|changed| changed.before != changed.after);
    all
}

/// The Request-URI, then the lines of all headers but those that every proxy writes.
fn parts(bytes: &[u8]) -> Vec<(String, String)> {
    const OURS: [HeaderName; 4] =
        [HeaderName::Via, HeaderName::RecordRoute, HeaderName::Route, HeaderName::MaxForwards];
    let mut lines = [HeaderLine::EMPTY; limits::HEADER_LINES];
    let Ok(message) = parse(bytes, &mut lines) else { return Vec::new() };
    let Start::Request(line) = message.start() else { return Vec::new() };
    let uri = ("Request-URI".to_owned(), text(message.text(line.uri)));
    let lines = message.lines().iter().filter(|line| !OURS.contains(&line.name));
    let headers = lines.map(|line| (text(message.text(line.key())), text(message.text(line.value))));
    std::iter::once(uri).chain(headers).collect()
}

/// A message in a few words: method and Request-URI, or the status line and the method of its CSeq.
pub fn summary(bytes: &[u8]) -> String {
    const LONGEST: usize = 120;
    let mut lines = [HeaderLine::EMPTY; limits::HEADER_LINES];
    let line = bytes.split(|&byte| byte == b'\r' || byte == b'\n').next().unwrap_or_default();
    let mut said = text(line.get(..line.len().min(LONGEST)).unwrap_or_default());
    said.retain(|c| !c.is_control());
    let Ok(message) = parse(bytes, &mut lines) else { return said };
    let method = message.value(HeaderName::CSeq).split(|b| b.is_ascii_whitespace()).next_back();
    match message.start() {
        Start::Response(_) => format!(
            "{} ({})",
            said.strip_prefix("SIP/2.0 ").unwrap_or(&said),
            text(method.unwrap_or_default())
        ),
        _ => said.strip_suffix(" SIP/2.0").unwrap_or(&said).to_owned(),
    }
}

/// What an answer of our own says: its status and reason phrase, and the headers that tell why.
pub fn answer(sent: &[u8]) -> Vec<String> {
    let mut lines = [HeaderLine::EMPTY; limits::HEADER_LINES];
    let Ok(message) = parse(sent, &mut lines) else { return Vec::new() };
    let status = text(message.text(message.start_line()));
    let mut said = vec![status.strip_prefix("SIP/2.0 ").unwrap_or(&status).to_owned()];
    for name in ["Warning", "Unsupported", "Allow", "Accept", "Retry-After"] {
        said.extend(
            message.named(name.as_bytes()).map(|line| format!("{name}: {}", text(message.text(line.value)))),
        );
    }
    said
}

/// A response that goes no further: where its Via would have it sent.
pub fn way_back(snapshot: &Snapshot, received: &[u8]) -> Option<String> {
    let mut lines = [HeaderLine::EMPTY; limits::HEADER_LINES];
    let message = parse(received, &mut lines).ok()?;
    let Start::Response(_) = message.start() else { return None };
    let mut vias = message.values(HeaderName::Via).map_while(Result::ok);
    let ours = Via::parse(vias.next()?.text).ok().and_then(|via| Branch::unverified(via.branch()?));
    let stream = ours.map_or(Number::NONE, |branch| Number::from_bits(branch.connection));
    let to = response_to(snapshot, &Via::parse(vias.next()?.text).ok()?, stream)?;
    Some(format!("by its second Via it would go to {to}"))
}

fn values(message: &Message<'_>, name: HeaderName) -> Vec<String> {
    message.values(name).map_while(Result::ok).map(|value| text(value.text)).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_added_is_told() {
        let received = b"INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\
            Record-Route: <sip:p1;lr>, <sip:p2;lr>\r\n\r\n";
        let sent = b"INVITE sip:c@d SIP/2.0\r\nVia: SIP/2.0/UDP us;branch=z9hG4bK2\r\n\
            Via: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\
            Record-Route: <sip:us2;lr>,<sip:us1;lr>\r\nRecord-Route: <sip:p1;lr>, <sip:p2;lr>\r\n\r\n";
        assert_eq!(
            read(sent, received),
            Written {
                start_line: Some("INVITE sip:c@d SIP/2.0".into()),
                via: Some("SIP/2.0/UDP us;branch=z9hG4bK2".into()),
                record_route: vec!["<sip:us2;lr>".into(), "<sip:us1;lr>".into()],
            }
        );
        assert_eq!(read(received, received).record_route, [""; 0]);
        assert_eq!(read(b"", received), Written::default());
    }

    #[test]
    fn what_set_changed_is_told_with_its_values() {
        let received =
            b"INVITE sip:0123@b SIP/2.0\r\nVia: v\r\nMax-Forwards: 9\r\nX: 1\r\nX: 2\r\nY: 3\r\n\r\n";
        let sent =
            b"INVITE sip:33123@b SIP/2.0\r\nVia: u\r\nVia: v\r\nMax-Forwards: 8\r\nY: 3\r\nZ: 4\r\n\r\n";
        let told: Vec<String> = changed(sent, received).iter().map(Changed::to_string).collect();
        assert_eq!(told, ["Request-URI: sip:0123@b → sip:33123@b", "X: 1 | 2 → (none)", "Z: (none) → 4"]);
        assert_eq!(changed(received, received), []);
    }

    #[test]
    fn an_answer_tells_its_reason() {
        let sent = b"SIP/2.0 500 Server Internal Error\r\nWarning: 399 us \"no route\"\r\nX: y\r\n\r\n";
        assert_eq!(answer(sent), ["500 Server Internal Error", "Warning: 399 us \"no route\""]);
        assert_eq!(answer(b"nonsense"), [""; 0]);
    }
}
