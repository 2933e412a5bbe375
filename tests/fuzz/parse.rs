//! The target `parse`: what holds for every datagram that is parsed.

use sip_parser::{
    CSeq, Error, HeaderLine, HeaderName, Message, NameAddr, Params, RequestValues, Rule, Start, Uri, Via,
    call_id, content_length, expires, max_forwards, option_tags, percent_decode,
};

/// Parses `data` and everything in it. Panics where something does not hold that always should.
pub fn run(data: &[u8]) {
    let mut lines = [HeaderLine::EMPTY; 160];
    let Ok(message) = sip_parser::parse(data, &mut lines) else { return };
    the_lines_are_the_message(&message);
    the_index_agrees_with_its_lines(&message);
    if message.defect().is_none() {
        another_reader_reads_the_same(&message);
        what_ends_where_it_ends_is_the_same(&message);
    }
    let mut few = [HeaderLine::EMPTY; 3];
    let few = sip_parser::parse(data, &mut few).expect("it parsed before");
    assert_eq!(few.lines(), &message.lines()[..few.lines().len()]);
    start_line_values(&message);
    what_follows_a_value_changes_nothing(&message);
    for line in message.lines() {
        line_values(&message, line);
    }
    for name in [HeaderName::Via, HeaderName::Route, HeaderName::RecordRoute, HeaderName::Contact] {
        list_values(&message, name);
    }
}

/// A value is read within the message, with what follows it in sight, as it is read alone.
fn what_follows_a_value_changes_nothing(message: &Message<'_>) {
    let uri = |uri: Result<Uri<'_>, Error>| {
        uri.map(|uri| (uri.text().to_vec(), uri.to_string(), uri.is_user_plain()))
    };
    for line in message.lines() {
        let text = message.text(line.value);
        assert_eq!(message.via(line.value), Via::parse(text));
        assert_eq!(uri(message.uri(line.value)), uri(Uri::parse(text)));
    }
    let address = |value: Result<NameAddr<'_>, Error>| {
        let parts = |value: NameAddr<'_>| (value.text.to_vec(), value.to_string(), value.uri.text().to_vec());
        value.map(parts)
    };
    for name in [HeaderName::From, HeaderName::To] {
        assert_eq!(address(message.name_addr(name)), address(NameAddr::parse(message.value(name))));
    }
    assert_eq!(message.cseq(), CSeq::parse(message.value(HeaderName::CSeq)));
    if let Start::Request(line) = message.start() {
        let mut values = RequestValues::unread();
        message.request_via(&mut values);
        message.request_values(line, &mut values);
        assert_eq!(values.via, message.top_via().ok());
        assert_eq!(values.branch, values.via.as_ref().and_then(Via::branch));
        assert_eq!(values.from_tag, values.from.as_ref().and_then(NameAddr::tag));
        assert_eq!(values.to_tag, values.to.as_ref().and_then(NameAddr::tag));
        let cseq = values.cseq.map(|cseq| (cseq.number, cseq.has_its_method));
        let method = message.text(line.method);
        assert_eq!(cseq, message.cseq().ok().map(|cseq| (cseq.number, cseq.method == method)));
        let hops = message.first(HeaderName::MaxForwards).map(|line| max_forwards(message.text(line.value)));
        assert_eq!(values.max_forwards, hops.transpose().ok());
        let absent = Error { rule: Rule::EmptyValue, at: 0 };
        let parsed = Uri::parse(message.text(line.uri));
        assert_eq!(values.uri.is_some(), parsed.is_ok());
        assert_eq!(uri(values.uri.ok_or(absent)).ok(), uri(parsed).ok());
        for (read, name) in [(values.from, HeaderName::From), (values.to, HeaderName::To)] {
            assert_eq!(address(read.ok_or(absent)).ok(), address(message.name_addr(name)).ok());
        }
        assert_eq!(values.call_id, call_id(message.value(HeaderName::CallId)).ok());
    }
}

/// Start line, header lines, empty line and body stand one behind the other, without a gap.
fn the_lines_are_the_message(message: &Message<'_>) {
    let bytes = message.bytes();
    let line_break = |at: usize| if bytes[at..].starts_with(b"\r\n") { 2 } else { 1 };
    let start = message.start_line();
    assert!(bytes[..start.start.into()].iter().all(|c| matches!(c, b'\r' | b'\n')));
    let mut at = usize::from(start.end) + line_break(start.end.into());
    for header in message.lines() {
        let (HeaderLine { value, line, .. }, key) = (header, header.key());
        assert_eq!(usize::from(line.start), at);
        assert!(bytes[line.range()].ends_with(b"\n"));
        assert!(line.start <= key.start && key.end <= value.start && value.end < line.end);
        let value = message.text(*value);
        assert_eq!(value, trim(value), "white space around a value");
        at = line.end.into();
    }
    let whole = |rule| !matches!(rule, Rule::NoEndOfHeaders | Rule::TooManyHeaders);
    let body = message.body();
    if message.defect().is_none_or(|defect| whole(defect.rule)) && usize::from(body.start) < bytes.len() {
        assert_eq!(usize::from(body.start), at + line_break(at));
    }
    assert!(message.end() <= bytes.len() && usize::from(body.start) <= message.end());
    assert!(message.defect().is_none_or(|defect| defect.at as usize <= bytes.len()));
}

fn the_index_agrees_with_its_lines(message: &Message<'_>) {
    for line in message.lines() {
        let key = message.text(line.key());
        assert_eq!(HeaderName::from_bytes(key), line.name);
        let same: Vec<_> = message.lines().iter().filter(|other| other.name == line.name).collect();
        assert_eq!(message.all(line.name).collect::<Vec<_>>(), same);
        assert_eq!(message.first(line.name), Some(same[0]));
        assert_eq!(message.count(line.name), same.len());
        if !key.is_empty() {
            assert!(message.named(key).any(|other| other == line));
        }
        assert_eq!(message.span_of(key).map(|span| message.text(span)), Some(key));
    }
}

fn trim(text: &[u8]) -> &[u8] {
    let white = |c: &u8| matches!(c, b' ' | b'\t' | b'\r' | b'\n');
    let start = text.iter().position(|c| !white(c)).unwrap_or(text.len());
    let end = text.iter().rposition(|c| !white(c)).map_or(start, |at| at + 1);
    &text[start..end]
}

/// The plainest way to read a header section: unfold, cut at CRLF, cut at the first colon.
fn another_reader_reads_the_same(message: &Message<'_>) {
    let from = usize::from(message.start_line().end) + 2;
    let text = &message.bytes()[from - 2..message.body().start.into()];
    let mut found = Vec::new();
    let mut rest = text.strip_suffix(b"\r\n\r\n").expect("the empty line");
    while let Some(inside) = rest.strip_prefix(b"\r\n") {
        let is_end = |at: &usize| {
            inside[*at..].starts_with(b"\r\n") && !matches!(inside.get(at + 2), Some(b' ' | b'\t'))
        };
        let len = (0..inside.len()).find(is_end).unwrap_or(inside.len());
        let colon = inside[..len].iter().position(|&c| c == b':').expect("a colon");
        found.push((inside[..colon].trim_ascii_end(), trim(&inside[colon + 1..len])));
        rest = &inside[len..];
    }
    let lines = message.lines().iter().map(|line| (message.text(line.key()), message.text(line.value)));
    assert!(found.iter().copied().eq(lines));
}

/// What follows the end changes nothing, and neither do empty lines before the start.
fn what_ends_where_it_ends_is_the_same(message: &Message<'_>) {
    let start = usize::from(message.start_line().start);
    let mut lines = [HeaderLine::EMPTY; 160];
    let cut = sip_parser::parse(&message.bytes()[start..message.end()], &mut lines).expect("a message");
    assert_eq!((cut.defect(), cut.end()), (None, message.end() - start));
    assert_eq!(cut.text(cut.body()), message.text(message.body()));
    assert_eq!(cut.lines().len(), message.lines().len());
}

fn start_line_values(message: &Message<'_>) {
    let inside = |error: &Error| assert!(error.at <= u32::from(message.start_line().end));
    match message.start() {
        Start::Request(line) => {
            assert!(message.text(line.method).iter().all(u8::is_ascii_graphic));
            let text = message.text(line.uri);
            match Uri::request(text) {
                Ok(parsed) => uri(&parsed),
                Err(error) => assert!(error.at as usize <= text.len()),
            }
        }
        Start::Response(line) => assert!((100..700).contains(&line.code)),
        Start::BadRequest(method, error) => {
            assert!(!method.is_empty());
            inside(error);
        }
        Start::BadResponse(error) => inside(error),
    }
}

fn line_values(message: &Message<'_>, line: &HeaderLine) {
    let text = message.text(line.value);
    match line.name {
        HeaderName::From | HeaderName::To => name_addr(text),
        HeaderName::CSeq => {
            if let Ok(cseq) = CSeq::parse(text) {
                assert!(cseq.number < 1 << 31);
                assert_eq!(CSeq::parse(cseq.to_string().as_bytes()), Ok(cseq));
            }
        }
        HeaderName::CallId => assert!(call_id(text).is_err() || text.iter().all(u8::is_ascii_graphic)),
        // What is no number for one of them is none for the others.
        HeaderName::MaxForwards | HeaderName::ContentLength | HeaderName::Expires => {
            let hops = max_forwards(text).map(u64::from);
            let length = content_length(text);
            assert!(hops.is_err() || hops == length);
            assert!(length.is_err() || expires(text).is_ok());
        }
        HeaderName::Require | HeaderName::ProxyRequire | HeaderName::Supported => {
            for tag in option_tags(text).flatten() {
                assert!(!tag.is_empty() && tag.iter().all(u8::is_ascii_graphic));
            }
        }
        _ => {}
    }
}

/// All values of a list, and what is left of the list when one of them is cut out.
fn list_values(message: &Message<'_>, name: HeaderName) {
    for value in message.values(name).flatten() {
        assert_eq!(message.text(value.span), value.text);
        assert!(!value.text.is_empty());
        if name == HeaderName::Via { via(value.text) } else { name_addr(value.text) }
    }
    let Ok(values) = message.values(name).collect::<Result<Vec<_>, _>>() else { return };
    if message.defect().is_some() {
        return;
    }
    for (place, value) in values.iter().enumerate().take(4) {
        let mut bytes = message.bytes().to_vec();
        bytes.drain(value.cut().range());
        let mut lines = [HeaderLine::EMPTY; 160];
        let rest = sip_parser::parse(&bytes, &mut lines).expect("a message");
        assert_eq!(rest.defect(), None);
        let left = rest.values(name).map(|v| v.expect("a value").text);
        let wanted = values.iter().enumerate().filter(|(other, _)| *other != place).map(|(_, v)| v.text);
        assert!(left.eq(wanted), "cutting value {place} of {name:?}");
    }
}

fn params(params: &Params<'_>) {
    let text = params.text();
    for param in params.iter() {
        assert!(!param.name.is_empty() && param.value.is_none_or(|value| !value.is_empty()));
        assert_eq!(param.with_semicolon.first(), Some(&b';'));
        assert!(text.len() >= param.with_semicolon.len());
        let same = params.get(param.name).expect("it is there");
        assert!(same.name.eq_ignore_ascii_case(param.name));
    }
    for name in [&b"lr"[..], b"Transport", b"MADDR", b"branch", b"rport", b"received", b"tag", b"ttl"] {
        assert_eq!(params.get(name), params.iter().find(|param| param.name.eq_ignore_ascii_case(name)));
    }
}

/// Print, parse, print: the same. What is no UTF-8 cannot be printed as it is.
fn prints<T: std::fmt::Display>(text: &[u8], value: &T, parse: impl Fn(&[u8]) -> Option<String>) {
    if str::from_utf8(text).is_ok() {
        let printed = value.to_string();
        assert_eq!(parse(printed.as_bytes()), Some(printed.clone()), "of {}", text.escape_ascii());
    }
}

fn uri(uri: &Uri<'_>) {
    params(&uri.params());
    prints(uri.text(), uri, |text| Uri::parse(text).ok().map(|uri| uri.to_string()));
    let mut buffer = [0; 64];
    let user = uri.user().unwrap_or_default();
    assert!(percent_decode(user, &mut buffer).len() <= user.len());
    assert_eq!(uri.host().is_some(), uri.is_sip());
    assert!(uri.port().is_none_or(|port| port > 0));
}

fn name_addr(text: &[u8]) {
    match NameAddr::parse(text) {
        Ok(value) => {
            uri(&value.uri);
            params(&value.params());
            assert_eq!(NameAddr::route(text).is_ok(), value.bracketed);
            prints(text, &value, |text| NameAddr::parse(text).ok().map(|value| value.to_string()));
        }
        Err(error) => assert!(error.at as usize <= text.len()),
    }
}

fn via(text: &[u8]) {
    match Via::parse(text) {
        Ok(via) => {
            params(&via.params());
            assert_eq!(via.rport().is_some(), via.params().has(b"rport"));
            let _ = (via.received(), via.maddr(), via.ttl());
            prints(text, &via, |text| Via::parse(text).ok().map(|via| via.to_string()));
        }
        Err(error) => assert!(error.at as usize <= text.len()),
    }
}
