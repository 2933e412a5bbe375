//! Parses a 600-byte INVITE as a proxy does, many times: nanoseconds for each, and something for valgrind
//! to count instructions in:
//!
//! ```text
//! cargo build --release -p sip-parser --example parse_one
//! target/release/examples/parse_one 1000000
//! valgrind --tool=callgrind --collect-atstart=no --toggle-collect='*counted*' \
//!     target/release/examples/parse_one 1000
//! ```

use std::hint::black_box;
use std::time::Instant;

use sip_parser::{
    CSeq, Error, HeaderLine, HeaderName, NameAddr, Start, Uri, Via, call_id, max_forwards, parse,
};

const INVITE: &[u8] = b"INVITE sip:+4930123456@198.51.100.20:5060;transport=udp;user=phone SIP/2.0\r\n\
    Via: SIP/2.0/UDP 203.0.113.10:5060;branch=z9hG4bK8f2a6c1d.0;rport\r\n\
    Max-Forwards: 70\r\n\
    Route: <sip:198.51.100.7;lr>\r\n\
    From: \"Anna\" <sip:+4989654321@203.0.113.10>;tag=1c1897304182\r\n\
    To: <sip:+4930123456@198.51.100.20>\r\n\
    Call-ID: 63211a0e2c@203.0.113.10\r\n\
    CSeq: 1 INVITE\r\n\
    Contact: <sip:203.0.113.10:5060>\r\n\
    Supported: 100rel,timer\r\n\
    Allow: INVITE,ACK,CANCEL,BYE\r\n\
    Session-Expires: 1800\r\n\
    User-Agent: Gateway/7.2\r\n\
    Content-Type: application/sdp\r\n\
    Content-Length: 62\r\n\
    \r\n\
    v=0\r\no=- 1 1 IN IP4 203.0.113.10\r\ns=-\r\nc=IN IP4 203.0.113.10\r\nt=0\r\n";

/// The index, and every value that a proxy reads to forward a request.
#[inline(never)]
fn counted(bytes: &[u8], lines: &mut [HeaderLine]) -> Result<usize, Error> {
    let message = parse(bytes, lines)?;
    let Start::Request(line) = *message.start() else { return Ok(0) };
    let uri = Uri::request(message.text(line.uri))?;
    let mut sum = uri.host_text.len();
    if let Some(value) = message.values(HeaderName::Via).next() {
        let via = Via::parse(value?.text)?;
        sum += via.branch().map_or(0, <[u8]>::len) + usize::from(via.rport().is_some());
        sum += usize::from(via.params.has(b"received")) + usize::from(via.params.has(b"maddr"));
    }
    if let Some(value) = message.values(HeaderName::Route).next() {
        sum += usize::from(NameAddr::route(value?.text)?.uri.is_loose_router());
    }
    for name in [HeaderName::From, HeaderName::To] {
        sum += NameAddr::parse(message.value(name))?.tag().map_or(0, <[u8]>::len) + message.count(name);
    }
    sum += CSeq::parse(message.value(HeaderName::CSeq))?.method.len();
    sum += call_id(message.value(HeaderName::CallId))?.len();
    sum += usize::from(max_forwards(message.value(HeaderName::MaxForwards))?);
    Ok(sum + message.count(HeaderName::ProxyRequire) + message.end())
}

fn main() -> Result<(), Error> {
    let times: u32 = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let mut lines = [HeaderLine::EMPTY; 160];
    let start = Instant::now();
    for _ in 0..times {
        black_box(counted(black_box(INVITE), &mut lines)?);
    }
    let each = start.elapsed().as_nanos() / u128::from(times.max(1));
    println!("{} bytes, {times} times, {each} ns each", INVITE.len());
    Ok(())
}
