//! Exchanges without sockets: a forwarder of a few lines that loses, doubles and delays as told.

use std::net::SocketAddr;

use super::book::Tally;
use super::exchanges::{Exchanges, Item, Outbox, Settings, Side};
use super::mix::Mix;
use super::transport::Transport;

const CALLERS: [&str; 2] = ["10.1.0.2:5060", "10.1.0.2:5061"];
const CALLEE: &str = "10.2.0.2:5060";
const FORWARDER: &str = "10.1.0.1:5060";
const OUTSIDE: &str = "10.2.0.1:5060";
const MS: u64 = 1_000_000;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// What the way does to a message: how many copies come out.
type Way<'a> = &'a mut dyn FnMut(&str) -> usize;

/// Both sides, and the way between them.
struct Path<'a> {
    exchanges: Exchanges,
    now_ns: u64,
    way: Way<'a>,
    seen: Vec<String>,
}

fn settings(mix: &str) -> Settings {
    Settings {
        mix: mix.parse::<Mix>().unwrap(),
        // Longer than T1, so that a lost ACK is made good while the call lasts.
        hold_ns: 700 * MS,
        retransmit: true,
        callers: CALLERS.map(address).into(),
        callee: address(CALLEE),
        named: address(CALLEE),
        forwarder: address(FORWARDER),
        transport: Transport::Udp,
        fresh: false,
    }
}

impl<'a> Path<'a> {
    fn new(mix: &str, way: Way<'a>) -> Self {
        Self { exchanges: Exchanges::new(settings(mix), 7), now_ns: 0, way, seen: Vec::new() }
    }

    /// Begins one exchange and lets virtual time pass until nothing is due any more.
    fn run(&mut self) -> Tally {
        let mut out = Outbox::default();
        self.exchanges.begin(self.now_ns, self.now_ns + MS, &mut out);
        loop {
            self.carry(out);
            out = Outbox::default();
            let Some(due_ns) = self.exchanges.next_due_ns() else { break };
            self.now_ns = due_ns;
            self.exchanges.at_time(due_ns, &mut out);
        }
        let tally = self.exchanges.tally();
        assert!(tally.adds_up(), "{tally:?}");
        assert_eq!(self.exchanges.open(), 0);
        tally
    }

    fn carry(&mut self, out: Outbox) {
        let mut waiting: Vec<(Item, String)> = texts(&out);
        while !waiting.is_empty() {
            let mut answers = Outbox::default();
            for (item, text) in std::mem::take(&mut waiting) {
                self.now_ns += MS;
                self.seen.push(text.clone());
                for _ in 0..(self.way)(&text) {
                    self.forward(&item, &text, &mut answers);
                }
            }
            waiting = texts(&answers);
        }
    }

    fn forward(&mut self, item: &Item, text: &str, answers: &mut Outbox) {
        let now_ns = self.now_ns;
        match item.by {
            Side::Caller(_) => {
                assert_eq!(item.to, address(FORWARDER), "{text}");
                let (first, rest) = text.split_once("\r\n").unwrap();
                let record = if first.starts_with("INVITE") {
                    format!(
                        "Record-Route: <sip:{OUTSIDE};lr;r2>\r\nRecord-Route: <sip:{FORWARDER};lr;r2>\r\n"
                    )
                } else {
                    String::new()
                };
                let text =
                    format!("{first}\r\nVia: SIP/2.0/UDP {OUTSIDE};branch=z9hG4bKours\r\n{record}{rest}");
                self.exchanges.on_callee(text.as_bytes(), address(OUTSIDE), now_ns, answers);
            }
            Side::Callee => {
                assert_eq!(item.to, address(OUTSIDE), "{text}");
                let ours = format!("Via: SIP/2.0/UDP {OUTSIDE};branch=z9hG4bKours\r\n");
                assert!(text.contains(&ours), "{text}");
                self.exchanges.on_caller(text.replacen(&ours, "", 1).as_bytes(), now_ns, answers);
            }
        }
    }
}

fn texts(out: &Outbox) -> Vec<(Item, String)> {
    let text = |item: &Item| String::from_utf8(out.bytes[item.range.clone()].to_vec()).unwrap();
    out.items.iter().map(|item| (item.clone(), text(item))).collect()
}

#[test]
fn a_call_is_six_messages_along_the_recorded_route() {
    let mut way = |_: &str| 1;
    let mut path = Path::new("call", &mut way);
    let tally = path.run();
    let sums = Tally {
        begun: 1,
        calls: 1,
        messages: 6,
        transmissions: 6,
        delivered: 6,
        arrivals: 6,
        ..Tally::default()
    };
    assert_eq!(tally, sums);
    for method in ["ACK", "BYE"] {
        let text = path.seen.iter().find(|text| text.starts_with(method)).unwrap();
        let route = format!("Route: <sip:{FORWARDER};lr;r2>\r\nRoute: <sip:{OUTSIDE};lr;r2>\r\n");
        assert!(text.starts_with(&format!("{method} sip:callee@{CALLEE} SIP/2.0\r\n")), "{text}");
        assert!(text.contains(&route), "{text}");
        assert!(text.contains("\r\nTo: <sip:4900000007@10.2.0.2:5060>;tag=c00000007\r\n"), "{text}");
        assert!(text.contains("Via: SIP/2.0/UDP 10.1.0.2:5061;"), "callers take turns: {text}");
    }
}

#[test]
fn latency_counts_from_the_scheduled_time() {
    let mut way = |_: &str| 1;
    let mut path = Path::new("options", &mut way);
    path.run();
    let latency = path.exchanges.latency();
    assert_eq!(latency.len(), 1);
    assert!(latency.max() >= MS, "it was sent 1 ms late: {}", latency.max());
}

#[test]
fn each_kind_comes_to_its_end() {
    for (kind, messages) in [
        ("long-call", 6),
        ("options", 2),
        ("message", 2),
        ("long-message", 2),
        ("register", 2),
        ("unanswered", 1),
    ] {
        let mut way = |_: &str| 1;
        let tally = Path::new(kind, &mut way).run();
        assert_eq!((tally.messages, tally.delivered, tally.failed), (messages, messages, 0), "{kind}");
    }
}

#[test]
fn what_is_lost_is_sent_again_and_both_are_told() {
    // The message that is lost once, and how many sends repair it.
    for (lost, repeated) in [("INVITE", 1), ("SIP/2.0 200 OK", 1), ("ACK", 1), ("BYE", 1)] {
        let mut left = 1;
        let mut way = |text: &str| {
            let gone = left > 0 && text.starts_with(lost);
            left -= usize::from(gone);
            usize::from(!gone)
        };
        let tally = Path::new("call", &mut way).run();
        assert_eq!(
            (tally.lost, tally.doubled, tally.missing, tally.failed),
            (1, 0, 0, 0),
            "{lost}: {tally:?}"
        );
        assert!(tally.retransmissions >= repeated, "{lost}: {tally:?}");
        assert_eq!(tally.delivered, 6, "{lost}");
    }
}

#[test]
fn what_never_arrives_is_given_up_and_counted() {
    let mut way = |text: &str| usize::from(!text.starts_with("INVITE"));
    let tally = Path::new("call", &mut way).run();
    assert_eq!((tally.transmissions, tally.lost, tally.missing, tally.failed), (7, 7, 1, 1), "{tally:?}");
    let mut way = |text: &str| usize::from(!text.starts_with("OPTIONS"));
    let tally = Path::new("options", &mut way).run();
    assert_eq!((tally.transmissions, tally.retransmissions, tally.failed), (11, 10, 1), "{tally:?}");
}

#[test]
fn callers_that_have_given_up_send_nothing_again() {
    // The first INVITE is lost, and the caller hangs up before, or after, it sends another one.
    for (given_up_ms, sent) in [(400, 1), (600, 2)] {
        let mut way = |_: &str| 0;
        let mut path = Path::new("call", &mut way);
        path.exchanges.begin(0, 0, &mut Outbox::default());
        for now_ms in 0..40_000 {
            if now_ms == given_up_ms {
                path.exchanges.give_up();
            }
            path.exchanges.at_time(now_ms * MS, &mut Outbox::default());
        }
        let tally = path.exchanges.tally();
        assert_eq!((tally.transmissions, tally.failed, path.exchanges.open()), (sent, 1, 0), "{tally:?}");
    }
}

#[test]
fn calls_let_in_with_their_first_invite_are_told_by_themselves() {
    let mut left = 1;
    let mut way = |text: &str| {
        let gone = left > 0 && text.starts_with("INVITE");
        left -= usize::from(gone);
        usize::from(!gone)
    };
    let mut path = Path::new("call", &mut way);
    path.run();
    path.run();
    assert_eq!((path.exchanges.setup().len(), path.exchanges.setup_at_once().len()), (2, 1));
    assert!(path.exchanges.setup_at_once().max() < 100 * MS && path.exchanges.setup().max() > 500 * MS);
}

#[test]
fn what_the_way_doubles_is_not_taken_for_a_retransmission() {
    let mut way = |text: &str| if text.starts_with("BYE") { 2 } else { 1 };
    let tally = Path::new("call", &mut way).run();
    assert_eq!((tally.doubled, tally.lost, tally.failed), (1, 0, 0), "{tally:?}");
    // The callee answers each of them, as RFC 3261 §17.2.2 has it.
    assert_eq!(tally.retransmissions, 1, "{tally:?}");
}

#[test]
fn a_refusal_of_the_forwarders_making_is_a_failed_exchange() {
    let mut way = |_: &str| 0;
    let mut path = Path::new("call", &mut way);
    let mut out = Outbox::default();
    path.exchanges.begin(0, 0, &mut out);
    let refusal = b"SIP/2.0 503 No\r\nCSeq: 1 INVITE\r\nCall-ID: 00000007-7f3a@load\r\n\r\n";
    path.exchanges.on_caller(refusal, MS, &mut out);
    path.exchanges.on_caller(b"SIP/2.0 200 OK\r\n\r\n", MS, &mut out);
    let tally = path.exchanges.tally();
    assert_eq!((tally.refused, tally.failed, tally.foreign, path.exchanges.open()), (1, 1, 1, 0));
}

#[test]
fn each_of_two_forwarders_has_exchanges_of_its_own() {
    const OTHER: &str = "10.1.0.3:5060";
    let mut first = Exchanges::new(settings("unanswered"), u32::MAX - 1);
    let mut second = first.beside(Settings { forwarder: address(OTHER), ..settings("unanswered") });
    for number in 0..8 {
        let is_first = number % 2 == 0;
        let mut out = Outbox::default();
        let sender = if is_first { &mut first } else { &mut second };
        sender.begin(MS, MS, &mut out);
        let Item { to, range, .. } = out.items[0].clone();
        assert_eq!(to, address(if is_first { FORWARDER } else { OTHER }));
        let message = &out.bytes[range];
        assert_eq!((first.knows(message), second.knows(message)), (is_first, !is_first));
    }
    assert!(!first.knows(b"INVITE sip:a@b SIP/2.0\r\n\r\n"), "nobody's");
}
