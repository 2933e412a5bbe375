//! The proxy under test, and the messages of those around it.

use std::net::SocketAddr;

use viaduct::limits::MESSAGE_BYTES;
use viaduct::net::{ListenerId, Now};
use viaduct::proxy::{Incoming, Outcome, State, handle};
use viaduct::snapshot::Snapshot;
use viaduct::transaction::Size;

use crate::support;

/// Calls.
pub const UA1: &str = "192.0.2.1:5060";
/// Is called.
pub const UA2: &str = "10.0.0.2:5060";
/// Is called, too, where the proxy forks.
pub const UA3: &str = "10.0.0.3:5060";
/// The proxy's address on UA1's side.
pub const OWN: &str = "192.0.2.254";

/// RFC 3261 §17.1.1.1: "defaults to 500 ms".
pub const T1_MS: u64 = 500;
/// RFC 3261 §17.1.2.2: "The default value of T2 is 4s".
pub const T2_MS: u64 = 4_000;
/// RFC 3261 §17.1.2.2: "defaults to 5s".
pub const T4_MS: u64 = 5_000;

/// The proxy's timers are never early, and at most this late.
pub const LATE_MS: u64 = 16;

/// These times or intervals are the expected ones, but for what timers may be late.
#[track_caller]
pub fn are(times: &[u64], expected: &[u64]) {
    let is = |(time, expected): (&u64, &u64)| time.abs_diff(*expected) <= LATE_MS * times.len() as u64;
    let fit = times.len() == expected.len() && times.iter().zip(expected).all(is);
    assert!(fit, "{times:?} ms, and not {expected:?}");
}

const CONFIGURATION: &str = r#"
[[listener]]
name = "outside"
bind = "udp:192.0.2.254:5060"

[[listener]]
name = "inside"
bind = "udp:10.0.0.254:5060"

[identity]
domains = ["proxy.example.net"]

[[route]]
name = "both"
when = { ruri_user = '^both$' }
to = ["sip:10.0.0.2", "sip:10.0.0.3"]
fork = true

[[route]]
name = "one after the other"
when = { ruri_user = '^serial$' }
to = ["sip:10.0.0.2", "sip:10.0.0.3"]
failover = ["4xx", "5xx"]

[[route]]
name = "nothing kept"
when = { ruri_user = '^stateless$' }
to = "request-uri"
mode = "stateless"

[[route]]
name = "all"
to = "request-uri"
"#;

/// The proxy.
pub struct Iut {
    snapshot: Snapshot,
    state: State,
    now: Now,
    began: Now,
    out: Vec<u8>,
}

/// What the proxy sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Milliseconds after the proxy began.
    pub at_ms: u64,
    pub to: SocketAddr,
    pub text: String,
}

impl Iut {
    pub fn new() -> Self {
        let snapshot = support::snapshot(CONFIGURATION, &["192.0.2.254/24", "10.0.0.254/24"], &[]);
        let state = State::with_pins(1, &snapshot, 16);
        let state = state.keeping(0, Size { transactions: 64, blocks: 1_024 }, &snapshot);
        let now = Now(1_000_000_000);
        Self { snapshot, state, now, began: now, out: vec![0; MESSAGE_BYTES] }
    }

    /// Takes a message from UA1; gives all that is sent because of it.
    pub fn by_ua1(&mut self, text: &str) -> Vec<Sent> {
        self.take(text, "outside", UA1)
    }

    /// Takes a message from UA2, or from another one on its side.
    pub fn by_inside(&mut self, ua: &str, text: &str) -> Vec<Sent> {
        self.take(text, "inside", ua)
    }

    fn take(&mut self, text: &str, listener: &str, from: &str) -> Vec<Sent> {
        let on = self.listener(listener);
        let incoming = Incoming::datagram(text.as_bytes(), on, from.parse().expect("an address"));
        let outcome = handle(&mut self.state, &self.snapshot, &incoming, self.now, &mut self.out);
        let sent = match outcome {
            Outcome::Forward { decision, len, .. } => Some((decision.next_hop.address, len)),
            Outcome::Relay { to, len, .. } | Outcome::Answer { to, len, .. } => Some((to, len)),
            Outcome::HandOver(_) | Outcome::Drop(_) => None,
        };
        let mut all: Vec<Sent> = sent.map(|(to, len)| self.sent(to, len)).into_iter().collect();
        all.extend(self.due());
        all
    }

    fn listener(&self, name: &str) -> ListenerId {
        self.snapshot.plan.listener_named(name).expect("a listener of the configuration").id
    }

    fn sent(&self, to: SocketAddr, len: usize) -> Sent {
        let text = String::from_utf8_lossy(&self.out[..len]).into_owned();
        Sent { at_ms: (self.now.0 - self.began.0) / 1_000_000, to, text }
    }

    fn due(&mut self) -> Vec<Sent> {
        let mut all = Vec::new();
        while let Some(own) = self.state.next(&self.snapshot, self.now, &mut self.out) {
            all.push(self.sent(own.to, own.len));
        }
        all
    }

    /// Lets time pass; gives what is sent meanwhile.
    pub fn pass(&mut self, ms: u64) -> Vec<Sent> {
        let end = self.now.plus_ns(ms * 1_000_000);
        let mut all = Vec::new();
        while let Some(at) = self.state.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            all.extend(self.due());
        }
        self.now = end;
        all
    }

    /// Transactions that are open.
    pub fn open(&self) -> u64 {
        self.state.tally(self.now).transactions.open.iter().sum()
    }
}

/// UA2 sends a request back as it got it, but for the method. By whom it came is among what the first decision was made
/// by (RFC 5393 §4.2.2), so that the first time it spirals; gives what is sent when it does so again.
pub fn reflected(iut: &mut Iut, got: &str, method: &str) -> Vec<Sent> {
    let (_, rest) = got.split_once(' ').expect("a method");
    let back = with(&format!("{method} {rest}"), "CSeq", &format!("1 {method}"));
    let sent = iut.by_inside(UA2, &back);
    let again = only(&sent, UA2, &format!("{method} ")).to_owned();
    iut.by_inside(UA2, &again)
}

/// Those that went there.
pub fn towards<'s>(sent: &'s [Sent], ua: &str) -> Vec<&'s Sent> {
    let ua: SocketAddr = ua.parse().expect("an address");
    sent.iter().filter(|sent| sent.to == ua).collect()
}

/// The only one that went there with this beginning.
#[track_caller]
pub fn only<'s>(sent: &'s [Sent], ua: &str, begin: &str) -> &'s str {
    let found: Vec<_> = towards(sent, ua).into_iter().filter(|sent| sent.text.starts_with(begin)).collect();
    assert_eq!(found.len(), 1, "one `{begin}` to {ua} among {sent:#?}");
    &found[0].text
}

/// Nothing with this beginning went there.
#[track_caller]
pub fn none(sent: &[Sent], ua: &str, begin: &str) {
    let found: Vec<_> = towards(sent, ua).into_iter().filter(|sent| sent.text.starts_with(begin)).collect();
    assert!(found.is_empty(), "no `{begin}` to {ua}: {found:#?}");
}

/// A request of UA1's.
pub fn request(method: &str, uri: &str) -> String {
    let lines = [
        &format!("{method} {uri} SIP/2.0"),
        "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKfirst",
        "Max-Forwards: 70",
        "From: \"One\" <sip:ua1@192.0.2.1>;tag=ua1",
        "To: <sip:ua2@10.0.0.2>",
        "Call-ID: purposes@192.0.2.1",
        &format!("CSeq: 1 {method}"),
        "Contact: <sip:ua1@192.0.2.1>",
        "Content-Length: 0",
    ];
    lines.join("\r\n") + "\r\n\r\n"
}

/// The same with another value in a header, which it may have had or not.
pub fn with(text: &str, header: &str, value: &str) -> String {
    let (start, rest) = text.split_once("\r\n").expect("lines");
    format!("{start}\r\n{header}: {value}\r\n{}", without(rest, header))
}

/// The same without a header.
pub fn without(text: &str, header: &str) -> String {
    let begin = format!("{header}:");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    let lines: Vec<&str> = head.split("\r\n").filter(|line| !line.starts_with(&begin)).collect();
    lines.join("\r\n") + "\r\n\r\n" + body
}

/// The values of a header, each line one.
pub fn values<'t>(text: &'t str, header: &str) -> Vec<&'t str> {
    let begin = format!("{header}:");
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    head.split("\r\n").filter_map(|line| line.strip_prefix(&begin)).map(str::trim).collect()
}

/// The value of a header's first line.
#[track_caller]
pub fn value<'t>(text: &'t str, header: &str) -> &'t str {
    values(text, header).first().copied().unwrap_or_else(|| panic!("no {header} in {text}"))
}

/// The URI of a request.
pub fn uri(text: &str) -> &str {
    text.split(' ').nth(1).unwrap_or_default()
}

/// A response of UA2's to a request that it has got; its tag is `tag`.
pub fn response(request: &str, status: &str, tag: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for name in ["Record-Route", "Via", "From", "Call-ID", "CSeq"] {
        values(request, name).iter().for_each(|value| text += &format!("{name}: {value}\r\n"));
    }
    let to = value(request, "To");
    let tag =
        if to.contains(";tag=") || status.starts_with("100") { String::new() } else { format!(";tag={tag}") };
    text + &format!("To: {to}{tag}\r\nContact: <sip:ua2@10.0.0.2>\r\nContent-Length: 0\r\n\r\n")
}

/// The ACK or CANCEL that belongs to a request; `to` is its To.
pub fn same_transaction(request: &str, method: &str, to: &str) -> String {
    let invite = without(request, "Contact").replacen("INVITE ", &format!("{method} "), 1);
    let (start, _) = invite.split_once("\r\n").expect("lines");
    let start = start.to_owned();
    let text = with(&with(&invite, "CSeq", &format!("1 {method}")), "To", to);
    // `with` puts its header first; the start line stays where it is.
    assert!(text.starts_with(&start));
    text
}

/// A request within the dialog that UA1 has by this 200, as it got it.
pub fn in_dialog(ok: &str, method: &str, number: u32) -> String {
    let mut text =
        request(method, "sip:ua2@10.0.0.2").replacen("z9hG4bKfirst", &format!("z9hG4bK{method}{number}"), 1);
    text = with(&with(&text, "To", value(ok, "To")), "CSeq", &format!("{number} {method}"));
    let routes: Vec<&str> = values(ok, "Record-Route").into_iter().rev().collect();
    if routes.is_empty() { text } else { with(&text, "Route", &routes.join(", ")) }
}

/// The same of UA2, which has its dialog by the INVITE that it got and its own 200.
pub fn from_callee(got: &str, ok: &str, method: &str) -> String {
    let lines = [
        &format!("{method} sip:ua1@192.0.2.1 SIP/2.0"),
        "Via: SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKcallee",
        "Max-Forwards: 70",
        &format!("Route: {}", values(got, "Record-Route").join(", ")),
        &format!("From: {}", value(ok, "To")),
        &format!("To: {}", value(got, "From")),
        &format!("Call-ID: {}", value(got, "Call-ID")),
        &format!("CSeq: 1 {method}"),
        "Content-Length: 0",
    ];
    lines.join("\r\n") + "\r\n\r\n"
}

/// An INVITE of UA1's that went on to UA2: the proxy, the INVITE, and what UA2 got.
pub fn invited() -> (Iut, String, String) {
    began("INVITE")
}

/// The same with another method.
pub fn began(method: &str) -> (Iut, String, String) {
    let mut iut = Iut::new();
    let request = request(method, "sip:ua2@10.0.0.2");
    let got = only(&iut.by_ua1(&request), UA2, method).to_owned();
    (iut, request, got)
}

/// An INVITE of UA1's that went to UA2 and UA3 at once.
pub struct Fork {
    pub iut: Iut,
    pub invite: String,
    /// As each of them got it.
    pub got: [String; 2],
}

/// Who is asked at once.
pub const FORKED: [&str; 2] = [UA2, UA3];

impl Fork {
    pub fn new() -> Self {
        let mut iut = Iut::new();
        let invite = request("INVITE", "sip:both@10.0.0.7");
        let sent = iut.by_ua1(&invite);
        let got = FORKED.map(|ua| only(&sent, ua, "INVITE ").to_owned());
        Self { iut, invite, got }
    }

    /// UA2 answers.
    pub fn two(&mut self, status: &str) -> Vec<Sent> {
        self.answer(0, status)
    }

    /// UA3 answers.
    pub fn three(&mut self, status: &str) -> Vec<Sent> {
        self.answer(1, status)
    }

    /// UA2 (0) or UA3 (1) answers.
    pub fn answer(&mut self, which: usize, status: &str) -> Vec<Sent> {
        self.iut.by_inside(FORKED[which], &response(&self.got[which], status, ["ua2", "ua3"][which]))
    }
}
