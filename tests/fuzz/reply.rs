//! The target `reply`: what holds for every answer of our own.

use sip_parser::{CSeq, HeaderLine, HeaderName, Message, NameAddr, Start, Uri, Via, call_id, parse};
use viaduct::drop_reason::DropReason;
use viaduct::limits::MESSAGE_BYTES;
use viaduct::proxy::{Incoming, Outcome};
use viaduct::token::TO_TAG_LEN;

use crate::host::{self, Host};

/// Feeds `data` to a host at each of its listeners. Panics where something does not hold that always
/// should.
pub fn run(data: &[u8]) {
    let mut out = vec![0; MESSAGE_BYTES];
    host::at_every_place(data, |host, incoming| {
        let outcome = host.handle(incoming, &mut out);
        if let Outcome::Answer { len, .. } = outcome {
            answered(host, incoming, &outcome, &out[..len]);
        }
    });
}

fn answered(host: &mut Host, incoming: &Incoming<'_>, outcome: &Outcome, sent: &[u8]) {
    let (mut lines, mut more) = ([HeaderLine::EMPTY; 160], [HeaderLine::EMPTY; 200]);
    let request = parse(incoming.bytes, &mut lines).expect("what is answered can be read");
    let answer = parse(sent, &mut more).expect("what goes out parses");
    assert!(matches!(request.start(), Start::Request(_) | Start::BadRequest(..)));
    let method = match request.start() {
        Start::Request(line) => request.text(line.method),
        Start::BadRequest(method, _) => request.text(*method),
        _ => panic!("a response is never answered"),
    };
    assert_ne!(method, b"ACK", "an ACK is never answered");
    is_a_final_response(&answer, outcome);
    goes_where_the_via_says(host, incoming, &request, outcome);
    copies_the_request(incoming, &request, &answer);
    is_the_same_again(host, incoming, outcome, sent);
    its_ack_is_absorbed(host, incoming, &request, &answer);
}

/// RFC 3261 §16.11: no provisional responses; and nothing but headers.
fn is_a_final_response(answer: &Message<'_>, outcome: &Outcome) {
    let Start::Response(line) = answer.start() else { panic!("an answer is a response") };
    assert!(matches!(outcome, Outcome::Answer { status, .. } if *status == line.code));
    assert!((200..700).contains(&line.code) && !line.reason.is_empty());
    assert_eq!(answer.defect(), None);
    assert_eq!(answer.count(HeaderName::ContentLength), 1);
    assert_eq!(answer.value(HeaderName::ContentLength), b"0");
    assert_eq!(usize::from(answer.body().start), answer.bytes().len());
}

fn top_via<'m>(request: &Message<'m>) -> Option<Via<'m>> {
    Via::parse(request.values(HeaderName::Via).next()?.ok()?.text).ok()
}

fn goes_where_the_via_says(host: &Host, incoming: &Incoming<'_>, request: &Message<'_>, outcome: &Outcome) {
    let Outcome::Answer { to, .. } = *outcome else { return };
    assert_eq!(to.is_ipv4(), incoming.from.is_ipv4());
    assert!(!to.ip().is_multicast() && !to.ip().is_unspecified() && !to.ip().is_loopback() && to.port() > 0);
    assert!(!host.is_ours(to));
    match top_via(request) {
        Some(via) => assert_eq!(to, host::response_goes_to(&via, incoming.from).unwrap_or(to)),
        None => assert_eq!(to, incoming.from),
    }
}

/// RFC 3261 §8.2.6.2: Via, From, To, Call-ID and CSeq are the request's, byte for byte, but for what has to
/// be noted in the topmost Via, and for the To tag.
fn copies_the_request(incoming: &Incoming<'_>, request: &Message<'_>, answer: &Message<'_>) {
    let lines = |message: &Message<'_>, name| -> Vec<String> {
        message.all(name).map(|line| message.text(line.line).escape_ascii().to_string()).collect()
    };
    let mut vias = lines(request, HeaderName::Via);
    if let Some(marked) = host::marked_via_line(request, incoming.from) {
        vias[0] = marked.escape_ascii().to_string();
    }
    assert_eq!(lines(answer, HeaderName::Via), vias);
    for name in [HeaderName::From, HeaderName::CallId, HeaderName::CSeq] {
        // A request may have too many of them.
        assert_eq!(
            lines(answer, name).iter().collect::<Vec<_>>(),
            lines(request, name).iter().take(1).collect::<Vec<_>>()
        );
    }
    let Some(to) = request.first(HeaderName::To) else { return assert_eq!(answer.count(HeaderName::To), 0) };
    let (to, answered) = (request.text(to.value), answer.value(HeaderName::To));
    assert_eq!(answer.count(HeaderName::To), 1);
    match NameAddr::parse(to).map(|to| to.params().has(b"tag")) {
        Ok(false) => {
            let tag = NameAddr::parse(answered).expect("a To").tag().expect("a To tag");
            assert_eq!(tag.len(), TO_TAG_LEN);
            assert_eq!(answered, [to, b";tag=", tag].concat());
        }
        Ok(true) | Err(_) => assert_eq!(answered, to),
    }
}

/// RFC 3261 §8.2.7: "in a manner that will generate the same tag for the same request consistently"; and it
/// takes no more room than it has.
fn is_the_same_again(host: &mut Host, incoming: &Incoming<'_>, outcome: &Outcome, sent: &[u8]) {
    let mut out = sent.to_vec();
    for restarted in [false, true] {
        if restarted {
            host.restart();
        }
        out.fill(0);
        assert_eq!(host.handle(incoming, &mut out), *outcome);
        assert_eq!(out, sent);
    }
    let short = host.handle(incoming, &mut out[..sent.len() - 1]);
    assert_eq!(short, Outcome::Drop(DropReason::TooLarge));
}

/// RFC 3261 §17.1.1.3: the ACK to it has the Request-URI, the topmost Via and the Routes of its INVITE, and
/// our To tag.
fn its_ack_is_absorbed(host: &mut Host, incoming: &Incoming<'_>, invite: &Message<'_>, answer: &Message<'_>) {
    let Some((uri, via, number)) = what_an_ack_takes(invite) else { return };
    let mut ack = [b"ACK ", uri, b" SIP/2.0\r\nVia: ", via.text].concat();
    ack.extend_from_slice(format!("\r\nCSeq: {number} ACK\r\n").as_bytes());
    let copied = [HeaderName::Route, HeaderName::From, HeaderName::CallId];
    let copied = copied.iter().flat_map(|name| invite.all(*name).map(|line| invite.text(line.line)));
    let to = answer.all(HeaderName::To).map(|line| answer.text(line.line));
    copied.chain(to).for_each(|line| ack.extend_from_slice(line));
    ack.extend_from_slice(b"\r\n");
    let outcome = host.handle(&Incoming { bytes: &ack, ..*incoming }, &mut []);
    assert_eq!(outcome, Outcome::Drop(DropReason::AckAbsorbed), "{}", ack.escape_ascii());
}

/// Of an INVITE that an ACK can be made of and that is in no dialog.
fn what_an_ack_takes<'m>(invite: &Message<'m>) -> Option<(&'m [u8], Via<'m>, u32)> {
    let Start::Request(line) = invite.start() else { return None };
    let once = [HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq];
    let uri = invite.text(line.uri);
    let sound = invite.defect().is_none()
        && invite.text(line.method) == b"INVITE"
        && once.iter().all(|name| invite.count(*name) == 1)
        && Uri::request(uri).is_ok_and(|uri| uri.is_sip())
        && NameAddr::parse(invite.value(HeaderName::From)).is_ok()
        && NameAddr::parse(invite.value(HeaderName::To)).is_ok_and(|to| !to.params().has(b"tag"))
        && call_id(invite.value(HeaderName::CallId)).is_ok();
    let number = CSeq::parse(invite.value(HeaderName::CSeq)).ok()?.number;
    top_via(invite).filter(|via| sound && via.branch() != Some(b"z9hG4bK")).map(|via| (uri, via, number))
}
