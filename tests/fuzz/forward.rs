//! The target `forward`: what holds for every request that goes on, and for its dialog.

use std::net::SocketAddr;

use sip_parser::{CSeq, HeaderLine, HeaderName, Message, NameAddr, Start, Uri, Via, parse};
use viaduct::drop_reason::DropReason;
use viaduct::egress::Reason;
use viaduct::limits::MESSAGE_BYTES;
use viaduct::net::ListenerId;
use viaduct::proxy::{Decision, Incoming, Outcome};
use viaduct::token::{Branch, RecordRoute};

use crate::host::{self, Host};

/// Feeds `data` to a host at each of its listeners. Panics where something does not hold that always
/// should.
pub fn run(data: &[u8]) {
    let mut out = vec![0; MESSAGE_BYTES];
    host::at_every_place(data, |host, incoming| match host.handle(incoming, &mut out) {
        Outcome::Forward { decision, len, .. } => forwarded(host, incoming, &decision, &out[..len]),
        Outcome::Relay { to, len, .. } => relayed(host, incoming, to, &out[..len]),
        Outcome::Answer { .. } | Outcome::HandOver(_) | Outcome::Drop(_) => {}
    });
}

/// A response goes on as it came, without its topmost Via.
fn relayed(host: &Host, incoming: &Incoming<'_>, to: SocketAddr, sent: &[u8]) {
    is_a_place_to_send_to(host, to);
    let (mut lines, mut more) = ([HeaderLine::EMPTY; 200], [HeaderLine::EMPTY; 200]);
    let received = parse(incoming.bytes, &mut lines).expect("it was understood");
    let sent = parse(sent, &mut more).expect("what goes out parses");
    assert_eq!((received.defect(), sent.defect()), (None, None));
    assert_eq!(sent.text(sent.start_line()), received.text(received.start_line()));
    assert_eq!(sent.text(sent.body()), received.text(received.body()));
    assert_eq!(sent.end(), sent.bytes().len());
    assert_eq!(texts(&sent, HeaderName::Via), texts(&received, HeaderName::Via)[1..]);
    let others = |message: &Message<'_>| -> Vec<String> {
        let others = message.lines().iter().filter(|line| line.name != HeaderName::Via);
        others.map(|line| message.text(line.line).escape_ascii().to_string()).collect()
    };
    assert_eq!(others(&sent), others(&received));
}

fn is_a_place_to_send_to(host: &Host, to: SocketAddr) {
    assert!(!to.ip().is_multicast() && !to.ip().is_unspecified() && !to.ip().is_loopback() && to.port() > 0);
    assert!(!host.is_ours(to));
}

/// A request as it came in and as it goes on.
struct Hop<'m> {
    incoming: &'m Incoming<'m>,
    received: Message<'m>,
    decision: &'m Decision,
    sent: Message<'m>,
}

fn forwarded(host: &mut Host, incoming: &Incoming<'_>, decision: &Decision, sent: &[u8]) {
    is_a_place_to_send_to(host, decision.next_hop.address);
    let (mut lines, mut more) = ([HeaderLine::EMPTY; 200], [HeaderLine::EMPTY; 200]);
    let received = parse(incoming.bytes, &mut lines).expect("it was understood");
    let sent = parse(sent, &mut more).expect("what goes out parses");
    assert_eq!((received.defect(), sent.defect()), (None, None));
    assert_eq!(sent.text(sent.body()), received.text(received.body()));
    assert_eq!(sent.end(), sent.bytes().len());
    let hop = Hop { incoming, received, decision, sent };
    let added = hop.added_lines(host);
    hop.other_lines_are_as_received(added);
    hop.routes_are_cut_at_the_top();
    hop.is_sent_the_same_way_again(host);
    hop.stays_within_the_buffer(host);
    hop.its_cancel_follows(host);
    hop.its_response_comes_back(host);
    hop.its_dialog_stays(host);
}

fn request_uri<'m>(message: &Message<'m>) -> (&'m [u8], &'m [u8]) {
    let Start::Request(line) = message.start() else { panic!("a request is a request") };
    (message.text(line.method), message.text(line.uri))
}

/// All values of that name, up to one that cannot be told from the next: not all are a proxy's to judge.
fn texts<'m>(message: &Message<'m>, name: HeaderName) -> Vec<&'m [u8]> {
    message.values(name).map_while(Result::ok).map(|value| value.text).collect()
}

/// All lines of that name, as they stand there.
fn lines<'m>(message: &Message<'m>, name: HeaderName) -> Vec<&'m [u8]> {
    message.all(name).map(|line| message.text(line.line)).collect()
}

impl Hop<'_> {
    /// What stands on top: Record-Route if wanted, our Via, Max-Forwards if there was none.
    fn added_lines(&self, host: &Host) -> usize {
        let plan = &host.snapshot.plan;
        let Decision { egress, next_hop, record_route, .. } = *self.decision;
        let egress_text = &plan.listener(egress.listener).advertised(next_hop.address.ip()).text;
        let ingress = plan.listener(self.incoming.on);
        let mut recorded = Vec::new();
        if record_route {
            recorded.push(egress_text);
            if egress.listener != self.incoming.on {
                recorded.push(&ingress.advertised(self.incoming.from.ip()).text);
            }
        }
        let values = texts(&self.sent, HeaderName::RecordRoute);
        for (text, value) in recorded.iter().zip(values) {
            let route = NameAddr::route(value).expect("a Record-Route");
            assert!(route.uri.is_loose_router() && route.uri.user().is_some_and(RecordRoute::looks_like));
            let at = value.iter().position(|&c| c == b'@').expect("a host") + 1;
            assert_eq!(value[at..].strip_suffix(b";lr>"), Some(text.as_bytes()));
        }
        let via = Via::parse(texts(&self.sent, HeaderName::Via)[0]).expect("ours");
        assert!(via.branch().and_then(Branch::owner_named).is_some());
        assert_eq!((via.transport(), via.sent_by()), (&b"UDP"[..], egress_text.as_bytes()));
        assert_eq!(via.rport(), Some(sip_parser::Rport::Asked));

        let mut names = vec![HeaderName::RecordRoute; recorded.len()];
        names.push(HeaderName::Via);
        if self.received.count(HeaderName::MaxForwards) == 0 {
            names.push(HeaderName::MaxForwards);
            assert_eq!(self.sent.value(HeaderName::MaxForwards), b"70");
        }
        let found: Vec<_> = self.sent.lines().iter().take(names.len()).map(|line| line.name).collect();
        assert_eq!(found, names);
        names.len()
    }

    /// All that was not ours to touch is there byte for byte and in the same order.
    fn other_lines_are_as_received(&self, added: usize) {
        let not_route = |line: &&HeaderLine| line.name != HeaderName::Route;
        let sent = self.sent.lines()[added..].iter().filter(not_route);
        let sent: Vec<_> = sent.map(|line| self.sent.text(line.line).escape_ascii().to_string()).collect();
        let top = self.received.first(HeaderName::Via);
        let expected = self.received.lines().iter().filter(not_route).map(|line| {
            let bytes = self.received.bytes();
            let text = match line.name {
                HeaderName::Via if Some(line) == top => {
                    host::marked_via_line(&self.received, self.incoming.from).expect("a Via")
                }
                HeaderName::MaxForwards => {
                    let hops = sip_parser::max_forwards(self.received.text(line.value)).expect("a number");
                    let before = &bytes[line.line.range().start..line.value.range().start];
                    let after = &bytes[line.value.range().end..line.line.range().end];
                    [before, (hops - 1).to_string().as_bytes(), after].concat()
                }
                _ => self.received.text(line.line).to_vec(),
            };
            text.escape_ascii().to_string()
        });
        assert_eq!(sent, expected.collect::<Vec<_>>());
    }

    /// Route values go from the top, and only such as name us; the Request-URI stays, unless a strict
    /// router has moved it or has to find it moved, or its `maddr` is us.
    fn routes_are_cut_at_the_top(&self) {
        let (received, sent) =
            (texts(&self.received, HeaderName::Route), texts(&self.sent, HeaderName::Route));
        let ((method, uri), (sent_method, sent_uri)) = (request_uri(&self.received), request_uri(&self.sent));
        assert_eq!(method, sent_method);
        if uri == sent_uri {
            assert!(received.ends_with(&sent), "Route values are kept from the end");
            let cut = &received[..received.len() - sent.len()];
            assert!(cut.iter().all(|route| is_ours(route)), "not ours: {}", cut.concat().escape_ascii());
            return;
        }
        let parsed = Uri::request(sent_uri).expect("a Request-URI");
        if received.is_empty() {
            let was = Uri::request(uri).expect("a Request-URI");
            assert!(was.params().has(b"maddr") && !parsed.params().has(b"maddr"));
            assert_eq!((was.user(), was.host()), (parsed.user(), parsed.host()));
        } else {
            let of = |text| NameAddr::route(text).ok().map(|route| (route.uri.user(), route.uri.host()));
            let was = Uri::request(uri).expect("a Request-URI");
            let sources = received.iter().map(|text| of(text)).chain([Some((was.user(), was.host()))]);
            assert!(sources.flatten().any(|source| source == (parsed.user(), parsed.host())));
            // What is left is a run of what was there, but for the URI that a strict router finds behind it.
            let is_kept = |kept: &[&[u8]]| kept.is_empty() || received.windows(kept.len()).any(|w| w == kept);
            assert!(is_kept(&sent) || is_kept(&sent[..sent.len() - 1]));
        }
    }

    /// RFC 3261 §16.11: a retransmission is forwarded in the same form, from memory or without.
    fn is_sent_the_same_way_again(&self, host: &mut Host) {
        let mut out = vec![0; MESSAGE_BYTES];
        for restarted in [false, true] {
            if restarted {
                host.restart();
            }
            let outcome = host.handle(self.incoming, &mut out);
            let Outcome::Forward { decision, len, .. } = outcome else { panic!("again: {outcome:?}") };
            assert_eq!(&out[..len], self.sent.bytes());
            assert_eq!(decision.next_hop, self.decision.next_hop);
            assert_eq!(decision.egress.listener, self.decision.egress.listener);
            assert_eq!(decision.egress.reason == Reason::Pinned, !restarted && self.is_pinned());
        }
    }

    /// An ACK or a CANCEL begins nothing.
    fn is_pinned(&self) -> bool {
        !matches!(request_uri(&self.received).0, b"ACK" | b"CANCEL")
    }

    /// It takes a buffer of its own length, and none that is shorter.
    fn stays_within_the_buffer(&self, host: &mut Host) {
        let mut out = self.sent.bytes().to_vec();
        let len = out.len();
        assert!(matches!(host.handle(self.incoming, &mut out), Outcome::Forward { len: n, .. } if n == len));
        match host.handle(self.incoming, &mut out[..len - 1]) {
            Outcome::Answer { status: 513, len: answer, .. } => assert!(answer < len),
            Outcome::Drop(DropReason::TooLarge | DropReason::ForbiddenResponseTarget) => {}
            other => panic!("in {} of {len} bytes: {other:?}", len - 1),
        }
    }

    /// RFC 3261 §16.6 step 8, §16.10: a CANCEL goes where its INVITE went, with the same branch.
    fn its_cancel_follows(&self, host: &mut Host) {
        let (method, uri) = request_uri(&self.received);
        if method != b"INVITE" {
            return;
        }
        let number = CSeq::parse(self.received.value(HeaderName::CSeq)).expect("a CSeq").number;
        let mut cancel = [b"CANCEL ", uri, b" SIP/2.0\r\nVia: "].concat();
        cancel.extend_from_slice(texts(&self.received, HeaderName::Via)[0]);
        cancel.extend_from_slice(format!("\r\nCSeq: {number} CANCEL\r\n").as_bytes());
        for name in [HeaderName::Route, HeaderName::From, HeaderName::To, HeaderName::CallId] {
            cancel.extend(lines(&self.received, name).concat());
        }
        // A rule reads it.
        let read = self.received.named(b"X-Trunk").map(|line| self.received.text(line.line));
        read.for_each(|line| cancel.extend_from_slice(line));
        cancel.extend_from_slice(b"\r\n");
        let mut out = vec![0; MESSAGE_BYTES];
        for restarted in [false, true] {
            if restarted {
                host.restart();
            }
            let outcome = host.handle(&Incoming { bytes: &cancel, ..*self.incoming }, &mut out);
            let Outcome::Forward { decision, len, .. } = outcome else { panic!("CANCEL: {outcome:?}") };
            assert_eq!(decision.next_hop, self.decision.next_hop);
            assert_eq!(decision.egress.listener, self.decision.egress.listener);
            let mut index = [HeaderLine::EMPTY; 200];
            let sent = parse(&out[..len], &mut index).expect("a CANCEL");
            assert_eq!(branch_of(&sent), branch_of(&self.sent));
        }
    }

    /// The next hop answers: exactly our Via goes, and what is left goes back to where the request came from,
    /// by the listener that it came in on.
    fn its_response_comes_back(&self, host: &mut Host) {
        let vias = lines(&self.sent, HeaderName::Via);
        let values = texts(&self.sent, HeaderName::Via);
        let mut rest = Vec::new();
        for name in [HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq] {
            rest.extend(lines(&self.sent, name).concat());
        }
        rest.extend_from_slice(b"X-Own: , ;\t\r\nContent-Length: 4\r\n\r\n\0\xff\r\n");
        let response = |vias: &[u8]| [b"SIP/2.0 200 OK\r\n", vias, &rest].concat();
        let joined = |values: &[&[u8]]| [b"v: ", values.join(&b" ,\r\n "[..]).as_slice(), b"\r\n"].concat();
        self.comes_back(host, &response(&vias.concat()), &response(&vias[1..].concat()));
        self.comes_back(host, &response(&joined(&values)), &response(&joined(&values[1..])));
    }

    fn comes_back(&self, host: &mut Host, response: &[u8], expected: &[u8]) {
        let mut out = vec![0; MESSAGE_BYTES];
        let (on, from) = (self.decision.egress.listener, self.decision.next_hop.address);
        let outcome = host.handle(&Incoming::datagram(response, on, from), &mut out);
        let via = Via::parse(texts(&self.received, HeaderName::Via)[0]).expect("theirs");
        let source = host::response_goes_to(&via, self.incoming.from);
        match outcome {
            Outcome::Relay { on, to, len, status: 200, .. } => {
                assert_eq!(out[..len].escape_ascii().to_string(), expected.escape_ascii().to_string());
                assert_eq!(on, self.incoming.on);
                assert_eq!(to, source.unwrap_or(to));
            }
            // `maddr` names what is no place to send to.
            Outcome::Drop(DropReason::ForbiddenResponseTarget | DropReason::BadBranch) => {
                assert_eq!(source, None);
            }
            other => panic!("{other:?}"),
        }
    }

    /// Both sides end the dialog, by loose and by strict routing: it leaves by the listener of the other
    /// side, and no Route of ours is left.
    fn its_dialog_stays(&self, host: &mut Host) {
        let Decision { egress, next_hop, record_route, .. } = *self.decision;
        let (from, to) = (self.received.value(HeaderName::From), self.received.value(HeaderName::To));
        let tag = |value| NameAddr::parse(value).expect("it was read before").tag();
        // A tag without value is none, and leaves no place for one.
        let has_place = NameAddr::parse(to).is_ok_and(|to| to.tag().is_some() || !to.params().has(b"tag"));
        if !record_route || tag(from).is_none() || !has_place || is_link_local(next_hop.address) {
            return;
        }
        let to = match tag(to) {
            Some(_) => to.to_vec(),
            None => [to, b";tag=b"].concat(),
        };
        assert!(tag(&to).is_some());
        let mut ours = texts(&self.sent, HeaderName::RecordRoute);
        ours.truncate(if egress.listener == self.incoming.on { 1 } else { 2 });
        let caller = (self.incoming.on, self.incoming.from);
        let callee = (egress.listener, next_hop.address);
        let target = |place: (_, SocketAddr)| format!("<sip:{}>", place.1).into_bytes();
        let (to_caller, to_callee) = (target(caller), target(callee));
        self.leaves(host, &bye(&self.received, (&to, from), &to_caller, &ours), callee, caller);
        ours.reverse();
        self.leaves(host, &bye(&self.received, (from, &to), &to_callee, &ours), caller, callee);
        ours.push(&to_callee);
        self.leaves(host, &bye(&self.received, (from, &to), ours[0], &ours[1..]), caller, callee);
    }

    /// A request that comes in at one place leaves at the other.
    fn leaves(
        &self,
        host: &mut Host,
        bye: &[u8],
        at: (ListenerId, SocketAddr),
        to: (ListenerId, SocketAddr),
    ) {
        let mut out = vec![0; MESSAGE_BYTES];
        let outcome = host.handle(&Incoming::datagram(bye, at.0, at.1), &mut out);
        let Outcome::Forward { decision, len, .. } = outcome else {
            panic!("{outcome:?}: {}", bye.escape_ascii())
        };
        assert_eq!((decision.egress.listener, decision.next_hop.address), to);
        assert_eq!((decision.egress.reason, decision.rule), (Reason::Dialog, None));
        let mut index = [HeaderLine::EMPTY; 200];
        let sent = parse(&out[..len], &mut index).expect("a BYE");
        assert_eq!(sent.count(HeaderName::Route), 0);
        assert_eq!(request_uri(&sent).1, format!("sip:{}", to.1).as_bytes());
    }
}

fn branch_of<'m>(message: &Message<'m>) -> &'m [u8] {
    let via = Via::parse(texts(message, HeaderName::Via)[0]).expect("ours");
    via.branch().expect("a branch")
}

/// A BYE within the dialog of `request`; `target` and `routes` in angle brackets.
fn bye(request: &Message<'_>, (from, to): (&[u8], &[u8]), target: &[u8], routes: &[&[u8]]) -> Vec<u8> {
    let parts: [&[u8]; 11] = [
        b"BYE ",
        &target[1..target.len() - 1],
        b" SIP/2.0\r\nVia: SIP/2.0/UDP a.example;branch=z9hG4bKbye\r\nRoute: ",
        &routes.join(&b", "[..]),
        b"\r\nFrom: ",
        from,
        b"\r\nTo: ",
        to,
        b"\r\nCSeq: 9 BYE\r\n",
        &lines(request, HeaderName::CallId).concat(),
        b"\r\n",
    ];
    parts.concat()
}

/// A token says so whatever its host has become.
fn is_ours(route: &[u8]) -> bool {
    let text = String::from_utf8_lossy(route).to_ascii_lowercase();
    let user = NameAddr::route(route).ok().and_then(|route| route.uri.user());
    user.is_some_and(RecordRoute::looks_like) || host::OUR_NAMES.iter().any(|name| text.contains(name))
}

/// Such an address means something with its link only, and a URI cannot say that.
fn is_link_local(address: SocketAddr) -> bool {
    matches!(address, SocketAddr::V6(v6) if v6.ip().is_unicast_link_local())
}
