//! Framing at any split, and what it makes of what is no message.

use proptest::prelude::*;
use sip_parser::{HeaderLine, Message, parse};

use super::{Broken, Frame, Framer};
use crate::limits::{HEADER_LINES, MESSAGE_BYTES, STREAM_HEADER_BYTES};
use crate::net::Now;
use crate::stream::StreamLimits;

/// A frame that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Owned {
    Ping,
    Message(Vec<u8>),
    Broken(Broken, Vec<u8>),
}

/// What comes of these pieces, and the most that was kept meanwhile.
fn frames(pieces: &[&[u8]]) -> (Vec<Owned>, usize) {
    let (mut framer, mut all, mut most) = (Framer::default(), Vec::new(), 0);
    let mut lines = vec![HeaderLine::EMPTY; HEADER_LINES];
    for piece in pieces {
        let mut input = *piece;
        while let Some(frame) = framer.next(&mut input, &mut lines, Now(0)) {
            all.push(match frame {
                Frame::Ping => Owned::Ping,
                Frame::Message(message) => {
                    assert!(is_as_alone(&message));
                    Owned::Message(message.bytes().to_vec())
                }
                Frame::Broken(why, head) => Owned::Broken(why, head.to_vec()),
            });
        }
        assert!(input.is_empty());
        most = most.max(framer.kept_bytes());
    }
    (all, most)
}

/// A message as its bytes are read where nothing follows.
fn is_as_alone(message: &Message<'_>) -> bool {
    let mut lines = vec![HeaderLine::EMPTY; HEADER_LINES];
    let alone = parse(message.bytes(), &mut lines);
    alone.is_ok_and(|alone| format!("{alone:?}") == format!("{message:?}"))
}

/// Where the first message ends, or why that cannot be told, by its header section alone: as another element may find it.
/// `None`: that is not all there.
fn end_of_first(stream: &[u8]) -> Option<Result<usize, Broken>> {
    let begin = &stream[..stream.len().min(STREAM_HEADER_BYTES)];
    let end = memchr::memmem::find(begin, b"\r\n\r\n")? + 4;
    let mut lines = vec![HeaderLine::EMPTY; HEADER_LINES];
    let Ok(message) = parse(&stream[..end], &mut lines) else { return Some(Err(Broken::NoContentLength)) };
    Some(super::framing::length(&message, &stream[..end]))
}

fn message(method: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} sip:b@x SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK1\r\nl: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[test]
fn messages_are_the_same_wherever_the_stream_is_cut() {
    let (first, second, third) = (message("INVITE", "v=0\r\n\r\nm"), message("ACK", ""), message("BYE", "x"));
    let stream = [b"\r\n\r\n", &first[..], b"\r\n", &second, &third, b"\r\n\r\n\r\n\r\n"].concat();
    let expected = [
        Owned::Ping,
        Owned::Message(first),
        Owned::Message(second),
        Owned::Message(third),
        Owned::Ping,
        Owned::Ping,
    ];
    assert_eq!(frames(&[&stream]).0, expected);
    for cut in 0..=stream.len() {
        let (one, other) = stream.split_at(cut);
        assert_eq!(frames(&[one, other]).0, expected, "cut at {cut}");
    }
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(frames(&bytes).0, expected);
}

#[test]
fn single_line_breaks_are_nothing() {
    assert_eq!(frames(&[b"\r\n"]).0, []);
    assert_eq!(frames(&[b"\r", b"\n\r", b"\n"]).0, [Owned::Ping]);
    assert_eq!(frames(&[b"\n\n\n\n\r\r\r"]).0, []);
}

/// RFC 3261 §18.3: "The Content-Length header field MUST be used with stream oriented transports."
#[test]
fn a_stream_is_over_where_the_next_message_cannot_be_told() {
    let with = |lines: &str| format!("OPTIONS sip:x SIP/2.0\r\nTo: <sip:x>\r\n{lines}\r\n").into_bytes();
    for (head, why) in [
        (with(""), Broken::NoContentLength),
        (with("Content-Length: 3\r\nl: 4\r\n"), Broken::BadContentLength),
        (with("Content-Length: 3\r\nContent-Length: 3\r\n"), Broken::BadContentLength),
        (with("Content-Length: -1\r\n"), Broken::BadContentLength),
        (with("Content-Length: 99999999999999999999999\r\n"), Broken::BadContentLength),
        (with("Content-Length: 18446744073709551615\r\n"), Broken::MessageTooLarge),
        (with(&format!("Content-Length: {MESSAGE_BYTES}\r\n")), Broken::MessageTooLarge),
        (with("Content-Length: 0\r\nX: 1\n\nY: 2\r\n"), Broken::LineBreaks),
        (with(&"X: 1\r\n".repeat(HEADER_LINES)), Broken::HeadersTooLarge),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), Broken::NoContentLength),
    ] {
        let expected = [Owned::Broken(why, head.clone())];
        let stream = [&head[..], &message("BYE", "")].concat();
        for cut in [0, 1, head.len() / 2, head.len() - 1, head.len()] {
            let (one, other) = stream.split_at(cut);
            assert!(frames(&[one, other]).0 == expected, "{why:?}, cut at {cut}");
        }
    }
}

/// Another defect that comes first hides neither lone line breaks nor lines that are not read: the end of the headers, and
/// which Content-Length there is, would be anybody's guess.
#[test]
fn what_a_first_defect_hides_is_found() {
    let with = |lines: &str| format!("OPTIONS sip:x SIP/2.0\r\nNoColon\r\n{lines}\r\n").into_bytes();
    let many = "X: 1\r\n".repeat(HEADER_LINES);
    for (head, why) in [
        (with("Content-Length: 10\r\nX: y\n\r\nBYE sip:x SIP/2.0\r\n"), Broken::LineBreaks),
        (with("Content-Length: 0\r\nX: y\nContent-Length: 9\r\n"), Broken::LineBreaks),
        (with("Content-Length: 0\r\nX: y\r\r\n"), Broken::LineBreaks),
        (with(&format!("Content-Length: 5\r\n{many}Content-Length: 500\r\n")), Broken::HeadersTooLarge),
        (with(&format!("Content-Length: 5\r\n{many}")), Broken::HeadersTooLarge),
    ] {
        for cut in [0, head.len() / 2] {
            let (one, other) = head.split_at(cut);
            assert!(frames(&[one, other]).0 == [Owned::Broken(why, head.clone())], "{why:?}, cut at {cut}");
        }
    }
    let sound = [&with("Content-Length: 4\r\n")[..], b"body"].concat();
    assert_eq!(
        frames(&[&sound]).0,
        [Owned::Message(sound.clone())],
        "it is told, and refused where it is handled"
    );
}

#[test]
fn headers_without_end_are_cut_at_a_line_and_end_the_stream() {
    let long = [b"OPTIONS sip:x SIP/2.0\r\n".to_vec(), b"X: 123456\r\n".repeat(4_000)].concat();
    for piece in [100, 4_096, long.len()] {
        let pieces: Vec<&[u8]> = long.chunks(piece).collect();
        let (all, most) = frames(&pieces);
        let [Owned::Broken(Broken::HeadersTooLarge, head)] = &all[..] else { panic!("{all:?}") };
        assert!(head.ends_with(b"\r\n\r\n") && head.len() <= STREAM_HEADER_BYTES + 4);
        assert!(most <= 2 * STREAM_HEADER_BYTES);
    }
    let (all, _) = frames(&[&vec![b'x'; STREAM_HEADER_BYTES + 1]]);
    assert!(matches!(all[..], [Owned::Broken(Broken::HeadersTooLarge, _)]));
}

#[test]
fn headers_have_one_limit_whether_they_come_at_once_or_in_pieces() {
    let (begin, end) = (&b"OPTIONS sip:x SIP/2.0\r\nX: "[..], &b"\r\nl: 0\r\n\r\n"[..]);
    for over in [0, 1] {
        let value = vec![b'x'; STREAM_HEADER_BYTES + over - begin.len() - end.len()];
        let whole = [begin, &value, end].concat();
        for piece in [1_000, whole.len()] {
            let pieces: Vec<&[u8]> = whole.chunks(piece).collect();
            let (all, _) = frames(&pieces);
            let is_message = all == [Owned::Message(whole.clone())];
            let is_too_large = matches!(all[..], [Owned::Broken(Broken::HeadersTooLarge, _)]);
            assert_eq!((is_message, is_too_large), (over == 0, over == 1), "in pieces of {piece}");
        }
    }
}

#[test]
fn a_message_of_the_largest_size_passes() {
    let head = message("MESSAGE", "").len() + 4;
    let whole = message("MESSAGE", &"x".repeat(MESSAGE_BYTES - head));
    assert_eq!(whole.len(), MESSAGE_BYTES);
    let pieces: Vec<&[u8]> = whole.chunks(4_096).collect();
    assert_eq!(frames(&pieces).0, [Owned::Message(whole.clone())]);
}

#[test]
fn nothing_is_kept_once_a_message_is_whole() {
    let whole = message("INVITE", "body");
    let mut framer = Framer::default();
    let mut lines = vec![HeaderLine::EMPTY; HEADER_LINES];
    let (one, other) = whole.split_at(9);
    let mut input = one;
    assert!(framer.next(&mut input, &mut lines, Now(5)).is_none());
    assert!(framer.is_within() && framer.deadline(&StreamLimits::default()) > Some(Now(5)));
    let mut input = other;
    assert!(framer.next(&mut input, &mut lines, Now(6)).is_some());
    assert!(framer.next(&mut input, &mut lines, Now(6)).is_none());
    assert_eq!((framer.deadline(&StreamLimits::default()), framer.kept_bytes()), (None, 0));
}

/// Header sections as they should not be, among such as they should, with what makes two readings of them.
fn any_head() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        4 => "(Content-Length|content-length|l|L)[ \t]{0,2}:[ \t]{0,2}[0-9]{1,3}(\r\n [0-9]?)?\r\n",
        1 => "(l|Content-Length): ?(-1|x|99999|18446744073709551616|)\r\n",
        4 => "(Via|X|To): [a-z,;=]{0,60}(\r\n[ \t][a-z:]{0,9})?\r\n",
        1 => "(NoColon|l|: 1|\u{e9}: 1|Via : x)\r\n",
        1 => "X: [a-z]{0,9}(\n|\r|\r\r\n|\n\r\n|\n\n)(l: [0-9]\r\n)?",
    ];
    let start = prop_oneof![
        8 => Just("INVITE sip:b@x SIP/2.0\r\n"),
        2 => Just("SIP/2.0 200 OK\r\n"),
        1 => Just("INVITE sip:b@x SIP/3.0\r\n"),
        1 => Just("GET /\r\n"),
        1 => Just("OPTIONS sip:x SIP/2.0\n"),
    ];
    (start, prop::collection::vec(line, 0..8))
        .prop_map(|(start, lines)| [start.as_bytes(), lines.concat().as_bytes(), b"\r\n"].concat())
}

/// Pieces of these lengths, over and over; the last one is what is left.
fn cut_up<'s>(stream: &'s [u8], lengths: &[usize]) -> Vec<&'s [u8]> {
    let (mut rest, mut pieces) = (stream, Vec::new());
    for length in lengths.iter().cycle() {
        let (piece, behind) = rest.split_at((*length).min(rest.len()));
        pieces.push(piece);
        rest = behind;
        if rest.is_empty() {
            break;
        }
    }
    pieces
}

proptest! {
    /// Where a message ends, its headers alone say, however much of its body and of what follows was there when it was read.
    #[test]
    fn a_message_ends_where_its_headers_say(
        heads in prop::collection::vec((any_head(), 0usize..1_000), 1..4),
        cuts in prop::collection::vec(1usize..300, 1..20),
    ) {
        let stream: Vec<u8> = heads.iter().flat_map(|(head, body)| [&head[..], &vec![b'x'; *body]].concat()).collect();
        let (mut rest, mut expected) = (&stream[..], Vec::new());
        // A body may end within the headers that follow it, before their line breaks.
        let begin = |rest: &[u8]| rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        while let Some(end) = end_of_first(rest) {
            match end {
                Ok(end) if end <= rest.len() => {
                    expected.push(Ok(rest[..end].to_vec()));
                    rest = &rest[end..];
                    rest = &rest[begin(rest)..];
                }
                Ok(_) => break,
                Err(broken) => {
                    expected.push(Err(broken));
                    break;
                }
            }
        }
        for pieces in [&[&stream[..]][..], &cut_up(&stream, &cuts)] {
            let framed: Vec<Result<Vec<u8>, Broken>> = frames(pieces).0.into_iter().filter_map(|frame| match frame {
                Owned::Message(bytes) => Some(Ok(bytes)),
                Owned::Broken(broken, _) => Some(Err(broken)),
                Owned::Ping => None,
            }).collect();
            prop_assert_eq!(&framed, &expected);
        }
    }

    /// No input makes it keep more than a message, and every byte that it is given it takes.
    #[test]
    fn no_input_makes_it_keep_more_than_its_limit(
        pieces in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..3_000),
                "(INVITE sip:x SIP/2.0\r\n)?(l: [0-9]{1,6}\r\n){0,2}(\r\n){0,3}[a-z]{0,300}".prop_map(String::into_bytes),
            ],
            0..40,
        )
    ) {
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let (_, most) = frames(&pieces);
        prop_assert!(most <= 2 * MESSAGE_BYTES);
    }

    /// However messages follow each other and are cut, they come out as they were.
    #[test]
    fn any_cuts_give_the_same_messages(
        bodies in prop::collection::vec("[a-z\r\n]{0,400}", 1..8),
        cuts in prop::collection::vec(1usize..200, 1..40),
    ) {
        let messages: Vec<Vec<u8>> = bodies.iter().map(|body| message("INFO", body)).collect();
        let stream = messages.concat();
        prop_assert_eq!(frames(&cut_up(&stream, &cuts)).0, messages.into_iter().map(Owned::Message).collect::<Vec<_>>());
    }
}
