//! The target `stream`: what holds for any bytes of a connection, however they are cut, held against a framing that is
//! written to be read and not to be fast.

use sip_parser::{HeaderLine, Message, parse};
use viaduct::limits::{HEADER_LINES, MESSAGE_BYTES, STREAM_HEADER_BYTES};
use viaduct::net::Now;
use viaduct::stream::{Broken, Frame, Framer, StreamLimits};

/// What the framing keeps at most: a message, or the headers of one with room that the last growth left.
const KEPT_BYTES: usize =
    if MESSAGE_BYTES > 2 * STREAM_HEADER_BYTES { MESSAGE_BYTES } else { 2 * STREAM_HEADER_BYTES };

/// A frame that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Owned {
    Ping,
    Message(Vec<u8>),
    Broken(Broken, Vec<u8>),
}

/// What mutations begin with: these messages one behind the other, each with its length, and pings between them.
pub fn examples(messages: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let framed = |message: &Vec<u8>| {
        let end = memchr::memmem::find(message, b"\r\n\r\n")?;
        let (head, body) = (&message[..end], &message[end + 4..]);
        let lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
        let mut framed = Vec::new();
        for line in lines.filter(|line| content_length(line).is_none()) {
            framed.extend_from_slice(line);
            framed.extend_from_slice(b"\r\n");
        }
        framed.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        framed.extend_from_slice(body);
        Some(framed)
    };
    let framed: Vec<Vec<u8>> =
        messages.iter().filter_map(framed).filter(|message| message.len() < 4_000).collect();
    let pairs = framed.windows(2).map(|pair| pair.join(&b"\r\n\r\n"[..]));
    pairs.chain(framed.chunks(5).map(<[Vec<u8>]>::concat)).collect()
}

/// Takes `data` for all that comes by a connection. Panics where something does not hold that always should.
pub fn run(data: &[u8]) {
    let whole = frames(&[data]);
    let (first, second) = data.split_at(data.len() / 2);
    assert_eq!(whole, frames(&[first, second]), "cut in the middle");
    let length = 1 + usize::from(data.last().copied().unwrap_or(0)) % 61;
    let pieces: Vec<&[u8]> = data.chunks(length).collect();
    assert_eq!(whole, frames(&pieces), "in pieces of {length}");
    let told: Vec<Told> = whole.iter().map(Told::of).collect();
    assert_eq!(told, naive(data));
}

/// What comes of these pieces.
fn frames(pieces: &[&[u8]]) -> Vec<Owned> {
    let (mut framer, mut all) = (Framer::default(), Vec::new());
    let mut lines = vec![HeaderLine::EMPTY; HEADER_LINES];
    let mut came = 0;
    for piece in pieces {
        let mut input = *piece;
        while let Some(frame) = framer.next(&mut input, &mut lines, Now(0)) {
            all.push(match frame {
                Frame::Ping => Owned::Ping,
                Frame::Message(message) => {
                    assert!(is_as_alone(&message), "what framing read is what there is to read");
                    Owned::Message(message.bytes().to_vec())
                }
                Frame::Broken(why, head) => Owned::Broken(why, head.to_vec()),
            });
        }
        came += piece.len();
        assert!(input.is_empty(), "all is taken");
        // What was only announced takes nothing.
        let most = KEPT_BYTES.min(2 * came + 8);
        assert!(framer.kept_bytes() <= most, "{} bytes are kept of {came}", framer.kept_bytes());
        assert!(
            framer.deadline(&StreamLimits::default()).is_some() || !framer.is_within(),
            "what has begun has its time"
        );
    }
    all
}

/// A message as its bytes are read where nothing follows.
fn is_as_alone(message: &Message<'_>) -> bool {
    let mut lines = vec![HeaderLine::EMPTY; HEADER_LINES];
    let alone = parse(message.bytes(), &mut lines);
    alone.is_ok_and(|alone| format!("{alone:?}") == format!("{message:?}"))
}

/// What two readings have to agree on.
#[derive(Debug, PartialEq, Eq)]
enum Told<'d> {
    Ping,
    Message(&'d [u8]),
    /// Nothing can be told from here on.
    Over,
}

impl<'d> Told<'d> {
    fn of(owned: &'d Owned) -> Self {
        match owned {
            Owned::Ping => Self::Ping,
            Owned::Message(bytes) => Self::Message(bytes),
            Owned::Broken(..) => Self::Over,
        }
    }
}

/// The same with all of it at hand, line by line.
fn naive(mut rest: &[u8]) -> Vec<Told<'_>> {
    let mut told = Vec::new();
    loop {
        let breaks = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let (before, message) = rest.split_at(breaks);
        told.extend(memchr::memmem::find_iter(before, b"\r\n\r\n").map(|_| Told::Ping));
        if message.is_empty() {
            return told;
        }
        let head = &message[..message.len().min(STREAM_HEADER_BYTES)];
        let Some(end) = memchr::memmem::find(head, b"\r\n\r\n").map(|at| at + 4) else {
            if head.len() == STREAM_HEADER_BYTES {
                told.push(Told::Over);
            }
            return told;
        };
        let Some(length) = length(&head[..end]) else {
            told.push(Told::Over);
            return told;
        };
        if length > message.len() {
            return told;
        }
        told.push(Told::Message(&message[..length]));
        rest = &message[length..];
    }
}

/// The length of the message that has this header section; `None`: it is not certain.
fn length(head: &[u8]) -> Option<usize> {
    // Whether it is SIP at all is not the framing's to say.
    parse(head, &mut vec![HeaderLine::EMPTY; HEADER_LINES]).ok()?;
    let mut lines: Vec<&[u8]> = Vec::new();
    let mut rest = head;
    while let Some(end) = memchr::memmem::find(rest, b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    // A CR or an LF by itself may be the end of a line to others.
    if lines.iter().any(|line| line.iter().any(|byte| matches!(byte, b'\r' | b'\n'))) {
        return None;
    }
    lines.pop();
    let mut headers: Vec<Vec<u8>> = Vec::new();
    for line in &lines[1..] {
        match (line.first(), headers.last_mut()) {
            // The colon stands on a header's first line (RFC 3261 §25.1, HCOLON).
            (Some(b' ' | b'\t'), Some(folded)) if folded.contains(&b':') => folded.extend_from_slice(line),
            _ => headers.push(line.to_vec()),
        }
    }
    let lengths: Vec<&[u8]> = headers.iter().filter_map(|header| content_length(header)).collect();
    let [value] = lengths[..] else { return None };
    if headers.len() > HEADER_LINES || value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = value.iter().position(|digit| *digit != b'0').map_or(&b"0"[..], |at| &value[at..]);
    let body: usize =
        if digits.len() > 8 { usize::MAX } else { str::from_utf8(digits).ok()?.parse().ok()? };
    head.len().checked_add(body).filter(|length| *length <= MESSAGE_BYTES)
}

/// The value, where the line is a Content-Length.
fn content_length(line: &[u8]) -> Option<&[u8]> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = line[..colon].trim_ascii_end();
    let is_it = name.eq_ignore_ascii_case(b"Content-Length") || name.eq_ignore_ascii_case(b"l");
    is_it.then(|| line[colon + 1..].trim_ascii())
}
