//! Parses the INVITE that measurements use as a proxy does, many times: nanoseconds for each, and something
//! for valgrind to count instructions in, of the index and of the values apart:
//!
//! ```text
//! cargo build --release -p sip-parser --example parse_one
//! target/release/examples/parse_one 1000000
//! for part in index values response; do
//!     valgrind --tool=callgrind --collect-atstart=no --toggle-collect="*counted_$part*" \
//!         target/release/examples/parse_one 1000
//! done
//! ```

#[path = "../../tests/support/traffic.rs"]
#[allow(dead_code)] // The message is wanted here, not a configuration.
mod traffic;

use std::hint::black_box;
use std::time::Instant;

use sip_parser::{
    Error, HeaderLine, HeaderName, Message, RequestValues, Rport, Rule, Sequence, Start, parse,
};

/// A response as it comes back through two proxies.
const RESPONSE: &[u8] = b"SIP/2.0 200 OK\r\n\
    Via: SIP/2.0/UDP 192.0.2.254:5060;rport;branch=z9hG4bK0a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p;vl=0a1b2c3d4e\r\n\
    Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK77ef4c230;received=192.0.2.7\r\n\
    Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK0000000001;rport=5060;received=192.0.2.1\r\n\
    Record-Route: <sip:0a1b2c3d4e5f6g7h8i9j@10.0.0.4;lr>\r\n\
    Record-Route: <sip:0a1b2c3d4e5f6g7h8i9j@192.0.2.254;lr>\r\n\
    From: \"Alice\" <sip:+33987654321@192.0.2.1>;tag=9fxced76sl\r\n\
    To: <sip:+33123456789@10.0.0.100>;tag=314159\r\n\
    Call-ID: 3848276298220188511@192.0.2.1\r\n\
    CSeq: 1 INVITE\r\n\
    Contact: <sip:+33123456789@10.0.0.100:5060>\r\n\
    Content-Length: 0\r\n\
    \r\n";

/// What a proxy keeps of a request while it decides about it.
struct Request<'p, 'm> {
    values: &'p RequestValues<'m>,
    cseq: Sequence,
    call_id: &'m [u8],
    max_forwards: Option<u8>,
}

impl<'p, 'm> Request<'p, 'm> {
    fn new(values: &'p RequestValues<'m>) -> Option<Self> {
        let (call_id, cseq, max_forwards) = (values.call_id?, values.cseq?, values.max_forwards?);
        Some(Self { values, cseq, call_id, max_forwards })
    }

    /// What is asked of the values, once each.
    fn asked(&self) -> Option<usize> {
        let RequestValues { via, uri, from, to, .. } = self.values;
        let (via, uri) = (via.as_ref()?, uri.as_ref()?);
        let (from, to) = (from.as_ref()?, to.as_ref()?);
        let params = &uri.params();
        let asked = [params.has(b"maddr"), params.value(b"transport").is_some(), params.has(b"lr")];
        let stale = [via.param(b"received"), via.param(b"maddr")];
        let port = match via.rport() {
            Some(Rport::Port(port)) => usize::from(port),
            Some(Rport::Asked) => 1,
            None => 0,
        };
        let RequestValues { branch, from_tag, to_tag, .. } = *self.values;
        let slices = [branch, Some(via.sent_by()), from_tag, to_tag, uri.user()];
        let more = [self.call_id, from.uri.text(), to.uri.text()];
        let len = slices.iter().flatten().chain(&more).map(|slice| slice.len()).sum::<usize>();
        let found = asked.iter().filter(|asked| **asked).count() + stale.iter().flatten().count();
        let Sequence { number, has_its_method } = self.cseq;
        let hops = self.max_forwards.map_or(0, usize::from);
        Some(len + found + port + hops + number as usize + usize::from(has_its_method))
    }
}

/// The index.
#[inline(never)]
fn counted_index<'m>(bytes: &'m [u8], lines: &'m mut [HeaderLine]) -> Result<Message<'m>, Error> {
    parse(bytes, lines)
}

/// Every value that a proxy reads to forward a request.
#[inline(never)]
fn counted_values(message: &Message<'_>) -> Result<usize, Error> {
    let no_request = Error { rule: Rule::NotSip, at: 0 };
    let Start::Request(line) = message.start() else { return Err(no_request) };
    let mut values = RequestValues::unread();
    message.request_via(&mut values);
    message.request_values(line, &mut values);
    Request::new(&values).and_then(|request| request.asked()).ok_or(no_request)
}

/// The index of a response, and the values that a proxy reads to relay it.
#[inline(never)]
fn counted_response(bytes: &[u8], lines: &mut [HeaderLine]) -> Result<usize, Error> {
    let message = parse(bytes, lines)?;
    let mut sum = message.cseq()?.method.len() + message.end();
    for value in message.values(HeaderName::Via).take(2) {
        let via = message.via(value?.span)?;
        sum += via.branch().map_or(0, <[u8]>::len) + usize::from(via.received().is_some());
        sum += usize::from(via.params().has(b"maddr"));
    }
    Ok(sum)
}

fn main() -> Result<(), Error> {
    let times: u32 = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let mut lines = [HeaderLine::EMPTY; 160];
    let invite = traffic::invite(1);
    let start = Instant::now();
    for _ in 0..times {
        let message = counted_index(black_box(&invite), &mut lines)?;
        black_box(counted_values(black_box(&message))?);
    }
    let each = start.elapsed().as_nanos() / u128::from(times.max(1));
    println!("{} bytes, {times} times, {each} ns each", invite.len());
    for _ in 0..times {
        black_box(counted_response(black_box(RESPONSE), &mut lines)?);
    }
    Ok(())
}
