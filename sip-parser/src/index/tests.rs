use super::*;
use crate::{HeaderName as N, NameAddr, RequestValues, Start, Uri, Via};

const CALL: &str = "INVITE sip:bob@192.0.2.4 SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK77\r\n\
    f : <sip:a@b>;tag=1\r\n\
    To:\r\n <sip:b@c>\r\n\
    A-Header-That-Has-A-Name-Of-More-Than-32-Letters: x\r\n\
    v: SIP/2.0/TCP 192.0.2.9\r\n\
    Content-Length \t:  4\r\n\
    \r\n\
    body";

/// A message whose lines are as nearly all are, but for one.
const USUAL: &str = "INVITE sip:bob@192.0.2.4 SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK77\r\n\
    v: SIP/2.0/UDP 192.0.2.9\r\n\
    Max-Forwards: 70\r\n\
    From: <sip:a@192.0.2.1>;tag=1\r\n\
    TO: b\r\n\
    X-Other: x\r\n\
    P-Access-Network-Info: y\r\n\
    Contact: <sip:a@192.0.2.1>\r\n\
    Content-Type: a/b\r\n\
    i: 7@192.0.2.1\r\n\
    Content-Length: 4\r\n\
    \r\n\
    body, and some more behind it";

/// A response that nothing follows.
const SHORT: &str = "SIP/2.0 200 OK\r\n\
    Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK77\r\n\
    Via: SIP/2.0/UDP 192.0.2.9\r\n\
    Call-ID: 7\r\n\
    Content-Length: 0\r\n\
    \r\n";

fn with<T>(bytes: &[u8], look: impl FnOnce(Result<Message<'_>, Error>) -> T) -> T {
    let mut lines = [HeaderLine::EMPTY; 16];
    look(parse(bytes, &mut lines))
}

fn defect(text: &str) -> Option<Error> {
    with(text.as_bytes(), |m| m.unwrap_or_else(|e| panic!("{text}: {e}")).defect())
}

/// A request with these lines among its headers, and the place where they begin.
fn request(lines: &str) -> (String, usize) {
    let head = "OPTIONS sip:a SIP/2.0\r\nCall-ID: 1\r\n";
    (format!("{head}{lines}To: <sip:b>\r\n\r\n"), head.len())
}

#[test]
fn every_header_is_indexed_once() {
    with(CALL.as_bytes(), |message| {
        let message = message.expect("a message");
        let text = |line: &HeaderLine| {
            let part = |span: Span| String::from_utf8_lossy(message.text(span)).into_owned();
            (line.name, part(line.key()), part(line.value))
        };
        let own = |name, key: &str, value: &str| (name, key.to_string(), value.to_string());
        assert_eq!(
            message.lines().iter().map(text).collect::<Vec<_>>(),
            [
                own(N::Via, "Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK77"),
                own(N::From, "f", "<sip:a@b>;tag=1"),
                own(N::To, "To", "<sip:b@c>"),
                own(N::Other, "A-Header-That-Has-A-Name-Of-More-Than-32-Letters", "x"),
                own(N::Via, "v", "SIP/2.0/TCP 192.0.2.9"),
                own(N::ContentLength, "Content-Length", "4"),
            ]
        );
        // Lines, start line, empty line and body are all of the message, without a gap.
        let mut at = message.start_line().end + 2;
        for line in message.lines() {
            assert_eq!(line.line.start, at);
            at = line.line.end;
        }
        assert_eq!(message.body().start, at + 2);
        assert_eq!(message.text(message.body()), b"body");
        assert_eq!((message.end(), message.defect()), (CALL.len(), None));
        assert!(matches!(message.start(), Start::Request(_)));

        assert_eq!(message.count(N::Via), 2);
        assert!(message.has_each_once(&[]) && message.has_each_once(&[N::To, N::From, N::ContentLength]));
        assert!(!message.has_each_once(&[N::To, N::Via]) && !message.has_each_once(&[N::To, N::CSeq]));
        assert_eq!(message.all(N::Via).map(|l| l.line.start).collect::<Vec<_>>(), [34, 170]);
        assert_eq!(message.first(N::Via).map(|l| l.line.start), Some(34));
        assert_eq!(message.value(N::To), b"<sip:b@c>");
        assert_eq!(message.named(b"FROM").count(), 1);
        assert_eq!(message.named(b"a-header-that-has-a-name-of-more-than-32-letters").count(), 1);
        assert_eq!((message.count(N::Route), message.first(N::Route)), (0, None));
        assert_eq!((message.all(N::Route).count(), message.value(N::Route)), (0, &b""[..]));
        let via = message.value(N::Via);
        assert_eq!(message.span_of(&via[8..11]).map(|s| message.text(s)), Some(&b"UDP"[..]));
        assert_eq!(message.span_of(b"UDP"), None, "not a part of the message");
    });
}

/// Alone in its line or the first of many: what the list has first.
#[test]
fn the_topmost_via_is_the_first_value() {
    for lines in [
        "Via: SIP/2.0/UDP a;branch=1\r\n",
        "Via: SIP/2.0/UDP a;branch=1\r\nv: SIP/2.0/UDP b\r\n",
        "v: SIP/2.0/UDP a;x=\"b,c\" , SIP/2.0/UDP b\r\n",
        "Via: SIP / 2.0 / UDP\r\n a : 5060 ,SIP/2.0/UDP b\r\n",
        "Via: , SIP/2.0/UDP b\r\n",
        "Via: SIP/2.0/UDP a;x=\"b, SIP/2.0/UDP b\r\n",
        "Via: SIP/2.0/UDP a b, SIP/2.0/UDP b\r\n",
        "Via:\r\n",
        "",
    ] {
        let (text, _) = request(lines);
        with(text.as_bytes(), |message| {
            let message = message.expect("a message");
            let first = message.values(N::Via).next().map(|value| {
                let value = value?;
                Via::parse(value.text).map_err(|error| error.shifted(value.span.start.into()))
            });
            let read = message.top_via();
            let mut values = RequestValues::unread();
            message.request_via(&mut values);
            assert_eq!(values.via, read.ok(), "{lines:?}");
            assert_eq!(values.branch, values.via.as_ref().and_then(Via::branch), "{lines:?}");
            let shown = |via: Result<Via<'_>, Error>| via.map(|via| (via.text.to_vec(), via.to_string()));
            let first = first.unwrap_or(Err(Error::new(Rule::Via, 0)));
            assert_eq!(shown(read), shown(first), "{lines:?}");
        });
    }
}

/// To is read by what the Request-URI begins with: as far as both say the same, and no further.
#[test]
fn to_is_read_like_alone_whatever_the_request_uri_is() {
    const URIS: [&str; 12] = [
        "sip:1@10.0.0.1",
        "sip:1@10.0.0.12",
        "sip:1@10.0.0.1.5",
        "sip:1@10.0.0.1:5070",
        "sip:1@10.0.0.1;user=phone",
        "sip:1@10.0.0.1a",
        "sip:1@10.0.0.2",
        "sip:12@10.0.0.1",
        "sip:+33123456789@10.0.0.100;user=phone",
        "sip:+33123456789@10.0.0.10",
        "sips:1@10.0.0.1",
        "SIP:1@10.0.0.1",
    ];
    for (first, second) in URIS.iter().flat_map(|first| URIS.iter().map(move |second| (first, second))) {
        let text = format!(
            "INVITE {first} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nTo: <{second}>;tag=1\r\n\
             From: <{first}>;tag=2\r\nCall-ID: 3\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        with(text.as_bytes(), |message| {
            let message = message.expect("a message");
            let Start::Request(line) = message.start() else { panic!("{text}") };
            let mut values = RequestValues::unread();
            message.request_via(&mut values);
            message.request_values(line, &mut values);
            assert_eq!(values.uri.is_some(), Uri::parse(first.as_bytes()).is_ok(), "{text}");
            assert_eq!(values.to, message.name_addr(N::To).ok(), "{text}");
            let alone = NameAddr::parse(message.value(N::To)).map(|to| to.uri.host_text().to_vec());
            assert_eq!(values.to.map(|to| to.uri.host_text().to_vec()), alone.ok(), "{text}");
        });
    }
}

#[test]
fn empty_lines_before_the_start_line_are_skipped() {
    with(b"\r\n\r\nOPTIONS sip:a SIP/2.0\r\n\r\n", |message| {
        let message = message.expect("a message");
        assert_eq!((message.start_line().range(), message.end()), (4..25, 29));
    });
}

/// Bytes behind what Content-Length says belong to nobody; fewer are an error.
#[test]
fn the_body_ends_where_content_length_says() {
    let body = |length: &str| {
        let text = format!("OPTIONS sip:a SIP/2.0\r\n{length}\r\n12345");
        let behind = |m: Message<'_>| (m.body().len(), m.end() + 5 - m.body().len() == text.len());
        with(text.as_bytes(), |m| m.map(|m| (behind(m), m.defect()))).expect("a message")
    };
    assert_eq!(body(""), ((5, true), None));
    assert_eq!(body("l: 0\r\n"), ((0, true), None));
    assert_eq!(body("Content-Length:0003\r\n"), ((3, true), None));
    assert_eq!(body("Content-Length: 5\r\n"), ((5, true), None));
    assert_eq!(body("Content-Length: 6\r\n").1, Some(Error::new(Rule::BodyTooShort, 39)));
    let wrapped = "Content-Length: 18446744073709551615\r\n";
    assert_eq!(body(wrapped).1, Some(Error::new(Rule::BodyTooShort, 39)));
    for text in ["-5", "4 2", "0x5", "18446744073709551616", "5,5", ""] {
        let error = body(&format!("Content-Length: {text}\r\n")).1.map(|e| e.rule);
        assert_eq!(error, Some(Rule::ContentLength), "{text}");
    }
    // RFC 4475 §3.3.9, and nothing is gained by letting two equal ones through.
    for second in ["Content-Length: 5", "l: 5", "CONTENT-LENGTH : 13"] {
        let error = body(&format!("Content-Length: 5\r\n{second}\r\n")).1;
        assert_eq!(error, Some(Error::new(Rule::ContentLengthTwice, 23)), "{second}");
    }
}

#[test]
fn what_cannot_be_delimited_is_no_message() {
    for (text, rule, at) in [
        ("", Rule::NotSip, 0),
        ("\r\n\r\n", Rule::NotSip, 4),
        ("jaK", Rule::NotSip, 0),
        ("OPTIONS sip:a SIP/2.0", Rule::NotSip, 0),
        ("GET / HTTP/1.1\r\n\r\n", Rule::NotSip, 0),
    ] {
        let error = with(text.as_bytes(), |m| m.map(|_| ()));
        assert_eq!(error, Err(Error::new(rule, at)), "{text:?}");
    }
    let mut large = b"OPTIONS sip:a SIP/2.0\r\n\r\n".to_vec();
    large.resize(crate::MAX_MESSAGE, b'x');
    assert!(with(&large, |m| m.is_ok_and(|m| m.end() == crate::MAX_MESSAGE)));
    large.push(b'x');
    let error = with(&large, |m| m.map(|_| ()));
    assert_eq!(error, Err(Error::new(Rule::MessageTooLarge, crate::MAX_MESSAGE)));
}

/// RFC 3261 §7: "Note that the empty line MUST be present even if the message-body is not."
#[test]
fn a_header_section_without_end_is_a_defect() {
    for (text, known) in [
        ("OPTIONS sip:a SIP/2.0\r\n", 0),
        ("OPTIONS sip:a SIP/2.0\r\nTo: a\r\n", 1),
        ("OPTIONS sip:a SIP/2.0\r\nTo: a\r\nl: 0", 1),
        ("OPTIONS sip:a SIP/2.0\r\nTo: a\r\nl", 1),
        ("OPTIONS sip:a SIP/2.0\r\nTo: a\r\nl: 7\r\n ", 1),
        ("OPTIONS sip:a SIP/2.0\r\nTo: a\r\nl: 7\r\n", 2),
    ] {
        with(text.as_bytes(), |message| {
            let message = message.expect("a message");
            assert_eq!(message.defect(), Some(Error::new(Rule::NoEndOfHeaders, text.len())), "{text:?}");
            assert_eq!((message.lines().len(), message.body().len()), (known, 0), "{text:?}");
        });
    }
    // A CR that ends the datagram is bare as well.
    assert_eq!(defect("OPTIONS sip:a SIP/2.0\r\nl: 0\r").map(|e| e.at), Some(27));
}

/// RFC 3261 §7: "The start-line, each message-header line, and the empty line MUST be terminated by a
/// carriage-return line-feed sequence (CRLF)."
#[test]
fn a_bare_cr_or_lf_is_a_defect() {
    for (lines, at) in [
        ("a: b\rc: d\r\n", 4),
        ("a: b\nc: d\r\n", 4),
        ("a: \"b\\\nc\"\r\n", 6),
        ("a: b\r\r\n", 4),
        ("a: b\r\n \rc\r\n", 7),
        ("a: b\n c\r\n", 4),
    ] {
        let (text, base) = request(lines);
        assert_eq!(defect(&text), Some(Error::new(Rule::BareLineBreak, base + at)), "{lines:?}");
    }
    assert_eq!(defect("OPTIONS sip:a\rb SIP/2.0\r\n\r\n").map(|e| e.at), Some(13));
    assert_eq!(defect("OPTIONS sip:a SIP/2.0\r\n\n").map(|e| e.at), Some(23));
    // In a body they are nobody's business.
    assert_eq!(defect("OPTIONS sip:a SIP/2.0\r\n\r\na\rb\nc"), None);
}

/// A message with LF alone is refused, but its headers are there for the answer.
#[test]
fn a_message_with_lf_alone_can_be_answered() {
    let text = CALL.replace("\r\n", "\n");
    with(text.as_bytes(), |message| {
        let message = message.expect("a message");
        assert_eq!(message.defect(), Some(Error::new(Rule::BareLineBreak, 32)));
        assert_eq!(message.lines().len(), 6);
        assert_eq!(message.value(N::To), b"<sip:b@c>");
    });
}

#[test]
fn a_line_that_is_no_header_is_a_defect_and_hides_no_other() {
    for (lines, rule) in [
        ("Foobar roobar\r\n", Rule::NoColon),
        ("x\r\n", Rule::NoColon),
        (" \r\n", Rule::NoColon),
        (": a\r\n", Rule::HeaderName),
        (" : a\r\n", Rule::HeaderName),
        ("a b: c\r\n", Rule::HeaderName),
        ("a@b: c\r\n", Rule::HeaderName),
        ("Vi\0a: c\r\n", Rule::HeaderName),
        ("Via\0: c\r\n", Rule::HeaderName),
        ("J\u{fc}: c\r\n", Rule::HeaderName),
        ("(A-Name-Of-More-Than-32-Characters): x\r\n", Rule::HeaderName),
    ] {
        let (text, base) = request(lines);
        // What begins with white space continues the line before it.
        let wanted = (!lines.starts_with(' ')).then(|| Error::new(rule, base));
        assert_eq!(defect(&text), wanted, "{lines:?}");
        with(text.as_bytes(), |message| {
            assert_eq!(message.expect("a message").value(N::To), b"<sip:b>", "{lines:?}");
        });
    }
    // The line behind the start line continues nothing.
    assert_eq!(defect("OPTIONS sip:a SIP/2.0\r\n b: c\r\n\r\n"), Some(Error::new(Rule::HeaderName, 23)));
    assert_eq!(defect(&request("a: b\r\nFoobar\r\nFoo bar: c\r\n").0).map(|e| e.rule), Some(Rule::NoColon));
}

#[test]
fn nul_and_utf8_pass_within_values() {
    let (text, _) = request("a: \"\\\0\" \u{feff}\u{5927}\x07\r\n");
    assert_eq!(defect(&text), None);
}

#[test]
fn more_headers_than_there_is_room_for_can_still_be_answered() {
    let (text, base) = request("a: b\r\n");
    let mut lines = [HeaderLine::EMPTY; 2];
    let message = parse(text.as_bytes(), &mut lines).expect("a message");
    assert_eq!(message.defect(), Some(Error::new(Rule::TooManyHeaders, base + 6)));
    assert_eq!((message.lines().len(), message.end(), message.body().len()), (2, text.len(), 0));
    let mut enough = [HeaderLine::EMPTY; 3];
    assert_eq!(parse(text.as_bytes(), &mut enough).expect("a message").defect(), None);

    // Lines are numbered in one byte: more room than that is not used.
    let many = request(&"a: b\r\n".repeat(MAX_LINES)).0;
    let mut lines = [HeaderLine::EMPTY; 300];
    let message = parse(many.as_bytes(), &mut lines).expect("a message");
    assert_eq!(message.lines().len(), MAX_LINES);
    assert_eq!(message.defect().map(|e| e.rule), Some(Rule::TooManyHeaders));
    assert_eq!(message.first(N::Via), None);
}

#[test]
fn the_colon_is_found_wherever_it_stands() {
    for len in 1..80 {
        let (key, value) = ("a".repeat(len), "b".repeat(len % 9));
        let text = format!("OPTIONS sip:a SIP/2.0\r\n{key}:{value}\r\n\r\n");
        with(text.as_bytes(), |message| {
            let message = message.expect("a message");
            let line = &message.lines()[0];
            assert_eq!((message.text(line.key()), message.defect()), (key.as_bytes(), None));
            assert_eq!(message.text(line.value), value.as_bytes());
        });
        let none = format!("OPTIONS sip:a SIP/2.0\r\n{key}\r\na:\r\n\r\n");
        assert_eq!(defect(&none).map(|e| e.rule), Some(Rule::NoColon));
    }
}

/// Key and value of a header line, and where it ends.
type PlainLine = (Span, Span, usize);

/// The plainest reading of a message: a byte at a time. Its header lines and the first defect; `None`: there is
/// no start line.
fn plainly(bytes: &[u8]) -> Option<(Vec<PlainLine>, Option<Error>)> {
    let mut defects = Vec::new();
    let mut line_end = |from: usize, folds: bool| {
        let mut at = from;
        loop {
            let len = bytes.get(at..)?.iter().position(|&c| c == b'\n')?;
            for at in at..=at + len {
                let crlf = |at: usize| bytes[at..].starts_with(b"\r\n");
                match bytes[at] {
                    b'\r' if !crlf(at) => defects.push(Error::new(Rule::BareLineBreak, at)),
                    b'\n' if at == from || !crlf(at - 1) => defects.push(Error::new(Rule::BareLineBreak, at)),
                    _ => {}
                }
            }
            at += len + 1;
            if !folds || !matches!(bytes.get(at), Some(b' ' | b'\t')) {
                let text = bytes[from..at].strip_suffix(b"\n").expect("a line");
                let end = if text.ends_with(b"\r") { at - 2 } else { at - 1 };
                return Some((end, at, defects.first().copied()));
            }
        }
    };
    let begin = bytes.chunks(2).take_while(|pair| *pair == b"\r\n").count() * 2;
    let (_, mut at, mut defect) = line_end(begin, false)?;
    let mut lines = Vec::new();
    while !bytes[at..].starts_with(b"\r\n") && bytes.get(at) != Some(&b'\n') {
        let Some((end, next, first)) = line_end(at, true) else {
            let bare = bytes[at..].iter().enumerate().find(|(n, c)| {
                **c == b'\n' && bytes[at + n - 1] != b'\r'
                    || **c == b'\r' && bytes.get(at + n + 1) != Some(&b'\n')
            });
            let error = bare.map_or(Error::new(Rule::NoEndOfHeaders, bytes.len()), |(n, _)| {
                Error::new(Rule::BareLineBreak, at + n)
            });
            return Some((lines, defect.or(Some(error))));
        };
        defect = defect.or(first);
        let colon = bytes[at..end].iter().position(|&c| c == b':');
        let name_end = |colon: usize| bytes[at..at + colon].trim_ascii_end().len();
        let is_header = colon.is_some_and(|colon| {
            let name = &bytes[at..at + colon];
            let white = &name[name_end(colon)..];
            chars::all(TOKEN, &name[..name_end(colon)]) && white.iter().all(|c| matches!(c, b' ' | b'\t'))
        });
        lines.push(match colon {
            Some(colon) if is_header => {
                let value = chars::trim(&bytes[at + colon + 1..end]);
                let start = if value.is_empty() { end } else { chars::offset(bytes, value) };
                (Span::new(at, at + name_end(colon)), Span::new(start, start + value.len()), next)
            }
            _ => {
                let rule = if colon.is_some() { Rule::HeaderName } else { Rule::NoColon };
                defect = defect.or(Some(Error::new(rule, at)));
                (Span::new(at, at), Span::new(end, end), next)
            }
        });
        at = next;
    }
    let bare = (bytes.get(at) == Some(&b'\n')).then(|| Error::new(Rule::BareLineBreak, at));
    Some((lines, defect.or(bare)))
}

fn is_read_plainly(bytes: &[u8]) {
    let mut lines = [HeaderLine::EMPTY; 16];
    let Ok(message) = parse(bytes, &mut lines) else { return };
    let (plain, defect) = plainly(bytes).expect("a start line");
    let found = message.lines().iter().map(|l| (l.key(), l.value, usize::from(l.line.end)));
    assert!(found.eq(plain), "{}", bytes.escape_ascii());
    for line in message.lines() {
        let named: Vec<_> = message.lines().iter().filter(|other| other.name == line.name).collect();
        assert_eq!(HeaderName::from_bytes(message.text(line.key())), line.name);
        assert!(message.all(line.name).eq(named.iter().copied()));
        assert_eq!((message.count(line.name), message.first(line.name)), (named.len(), Some(named[0])));
    }
    // What is said of the body is told after the rest.
    let rules = [Rule::ContentLength, Rule::ContentLengthTwice, Rule::BodyTooShort];
    let of_lines = message.defect().filter(|defect| !rules.contains(&defect.rule));
    assert_eq!(of_lines, defect, "{}", bytes.escape_ascii());
}

/// So long that no line ends among 64 bytes, and that a line begins before the last bytes that are looked at by themselves.
#[test]
fn long_lines_are_read_as_plainly_as_can_be_wherever_they_stand() {
    for len in (1..300).step_by(3) {
        let value = "x".repeat(len);
        for (first, second) in [(&*value, "y"), ("y", &*value), (&*value, &*value)] {
            let text = format!(
                "INVITE sip:bob@192.0.2.4 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1\r\nSubject: {first}\r\nTo: a\r\n\
                 Call-ID: {second}\r\n\r\n"
            );
            for end in text.len() - 2 * len.min(80) - 10..=text.len() {
                is_read_plainly(&text.as_bytes()[..end]);
            }
            is_read_plainly((text + &"\n".repeat(len)).as_bytes());
        }
    }
}

#[test]
fn every_mutation_and_every_prefix_is_read_as_plainly_as_can_be() {
    for text in [CALL, USUAL, SHORT] {
        for end in 0..=text.len() {
            is_read_plainly(&text.as_bytes()[..end]);
        }
        for at in 0..text.len() {
            for c in *b"\r\n \t:;\0\x08\x0b\x0fa-\x80" {
                let mut bytes = text.as_bytes().to_vec();
                bytes[at] = c;
                is_read_plainly(&bytes);
                bytes.insert(at, b'\r');
                is_read_plainly(&bytes);
                bytes[at] = b'\n';
                is_read_plainly(&bytes);
            }
        }
    }
}

/// Names in other letters, and values with more than ASCII, are indexed like all others.
#[test]
fn unusual_letters_change_no_place() {
    let places = |text: &[u8]| {
        with(text, |message| {
            let message = message.expect("a message");
            assert_eq!(message.defect(), None);
            let counts = [N::Via, N::From, N::To, N::ContentLength].map(|name| message.count(name));
            (message.lines().to_vec(), counts, message.body())
        })
    };
    for text in [USUAL, SHORT] {
        let usual = places(text.as_bytes());
        let (head, body) = text.split_once("\r\n\r\n").expect("a body");
        for number in 1..head.lines().count() {
            for change in [str::to_ascii_lowercase, str::to_ascii_uppercase] {
                let lines = head.lines().enumerate();
                let changed =
                    lines.map(|(n, line)| if n == number { change(line) } else { line.to_string() });
                let changed = changed.collect::<Vec<_>>().join("\r\n") + "\r\n\r\n" + body;
                assert_eq!(places(changed.as_bytes()), usual, "{changed}");
            }
        }
        for at in text.match_indices(['a', '1', '7', 'b']).map(|(at, _)| at) {
            let mut changed = text.as_bytes().to_vec();
            changed[at] = 0xe9;
            let is_value =
                |line: &HeaderLine| line.value.range().contains(&at) && line.name != N::ContentLength;
            if usual.0.iter().any(is_value) {
                assert_eq!(places(&changed), usual, "{}", changed.escape_ascii());
            }
        }
    }
}
