//! Both sides of requests: literals in, literals out, and nothing left in the end.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::context::Transactions;
use super::counts::{Cause, Full, Kind, What};
use super::events::{Arrived, Due, Heard, Opening, Send, SendFailure};
use super::slab::Handle;
use super::table::{Place, Size, TRANSACTION_BYTES};
use super::timers::{LONGEST_NS, TIMER_C_NS, TRYING_NS};
use super::{BLOCK_BYTES, Timer};
use crate::limits::{TRANSACTION_BLOCK_BYTES, TRANSACTION_BLOCKS, TRANSACTIONS};
use crate::net::Now;
use crate::stream::{Number, StreamId};
use crate::token::TO_TAG_LEN;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
/// A timer fires so much late at most, in milliseconds.
const LATE: u64 = 16;

struct Shard {
    transactions: Transactions,
    now: Now,
    out: Vec<u8>,
    /// [`Opening::has_waited`]
    has_waited: bool,
}

fn back() -> Place {
    Place { listener: 1, address: "192.0.2.1:5060".parse::<SocketAddr>().unwrap(), stream: Number::NONE }
}

fn onward() -> Place {
    Place { listener: 2, address: "10.0.0.100:5060".parse::<SocketAddr>().unwrap(), stream: Number::NONE }
}

fn forwarded(method: &str) -> String {
    format!(
        "{method} sip:bob@10.0.0.100 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.4;branch=z9hG4bKours\r\n\
         Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nMax-Forwards: 69\r\nFrom: <sip:anna@e>;tag=a\r\n\
         To: <sip:bob@e>\r\nCall-ID: c\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
    )
}

impl Shard {
    fn new() -> Self {
        Self::of(Size { transactions: 16, blocks: 160 })
    }

    fn of(size: Size) -> Self {
        let transactions = Transactions::new(size);
        Self { transactions, now: Now(5 * SECOND), out: vec![0; 65_535], has_waited: false }
    }

    fn open(&mut self, key: u128, method: &str) -> Result<Handle, Full> {
        self.open_by(key, method, Number::NONE)
    }

    /// The request leaves by this stream.
    fn open_by(&mut self, key: u128, method: &str, stream: Number) -> Result<Handle, Full> {
        let bytes = forwarded(method);
        let opening = Opening {
            key,
            method: method.as_bytes(),
            back: back(),
            onward: Place { stream, ..onward() },
            gateway: None,
            branch: key as u64,
            bytes: bytes.as_bytes(),
            patience_ns: u64::MAX,
            has_waited: self.has_waited,
            search: None,
        };
        self.transactions.open(&opening, self.now)
    }

    fn request(&mut self, key: u128, method: &str) -> Arrived {
        self.transactions.on_request(key, method.as_bytes(), self.now)
    }

    /// A response comes in; `true`: it went back.
    fn response(&mut self, key: u128, method: &str, status: u16) -> bool {
        let to = b"<sip:bob@e>;tag=b";
        match self.transactions.on_response(key as u64, method.as_bytes(), status, to, self.now) {
            Heard::Forward { server, status } => {
                let bytes = format!("SIP/2.0 {status} relayed\r\n\r\n");
                self.transactions.forwarded(server, status, bytes.as_bytes(), self.now);
                true
            }
            Heard::Keep { .. } | Heard::Absorbed | Heard::Stray => false,
        }
    }

    /// All that is due now: as what, to whom, and its first line.
    fn due(&mut self) -> Vec<(What, SocketAddr, String)> {
        let tag = |_: u128| [b't'; TO_TAG_LEN];
        let mut all = Vec::new();
        while let Some(due) = self.transactions.next(self.now, &tag, &mut self.out) {
            let Due::Send(Send { what, place, len, .. }) = due else { panic!("one next hop: {due:?}") };
            self.transactions.sent(what);
            let text = String::from_utf8(self.out[..len].to_vec()).unwrap();
            all.push((what, place.address, text.lines().next().unwrap().to_owned()));
        }
        all
    }

    fn whats(&mut self) -> Vec<What> {
        self.due().into_iter().map(|(what, ..)| what).collect()
    }

    /// Lets time pass, timer by timer; gives what was sent, with seconds after the call.
    fn pass(&mut self, ns: u64) -> Vec<(f64, What)> {
        let (begin, end) = (self.now, self.now.plus_ns(ns));
        let mut all = Vec::new();
        while let Some(at) = self.transactions.deadline().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            let seconds = ((self.now.0 - begin.0) / (100 * MS)) as f64 / 10.0;
            all.extend(self.whats().into_iter().map(|what| (seconds, what)));
        }
        self.now = end;
        all
    }

    fn open_now(&self) -> [u64; 4] {
        self.transactions.counts().open
    }

    #[track_caller]
    fn is_empty(&self) {
        assert_eq!((self.open_now(), self.transactions.counts().blocks), ([0; 4], 0));
        assert_eq!(self.transactions.deadline(), None);
    }

    fn ended(&self, cause: Cause) -> u64 {
        self.transactions.counts().ended[cause as usize]
    }
}

#[test]
fn a_call_that_is_taken() {
    let mut shard = Shard::new();
    assert_eq!(shard.request(7, "INVITE"), Arrived::New);
    shard.open(7, "INVITE").unwrap();
    assert_eq!(shard.due(), [], "a better answer may come soon");
    // Its retransmission gets a 100, and the next one that again; neither is sent on.
    assert_eq!(shard.request(7, "INVITE"), Arrived::Absorbed);
    let trying = (What::Trying, back().address, "SIP/2.0 100 Trying".to_owned());
    assert_eq!(shard.due(), [trying]);
    assert_eq!(shard.request(7, "INVITE"), Arrived::Absorbed);
    let again = (What::ResponseAgain, back().address, "SIP/2.0 100 Trying".to_owned());
    assert_eq!(shard.due(), [again]);
    assert!(shard.response(7, "INVITE", 180));
    assert_eq!(shard.request(7, "INVITE"), Arrived::Absorbed);
    assert_eq!(shard.due()[0].2, "SIP/2.0 180 relayed");
    assert!(shard.response(7, "INVITE", 200));
    assert_eq!(shard.transactions.counts().blocks, 0, "nothing is sent again from here on");
    assert_eq!(shard.request(7, "INVITE"), Arrived::Absorbed);
    assert_eq!(shard.due(), []);
    assert!(shard.response(7, "INVITE", 200), "a 2xx that comes again goes back again");
    // The ACK of an RFC 2543 client has its INVITE's key, and goes on.
    assert_eq!(shard.request(7, "ACK"), Arrived::New);
    assert_eq!(shard.pass(33 * SECOND), []);
    shard.is_empty();
    assert!(!shard.response(7, "INVITE", 200), "RFC 6026: a stray answer is not forwarded");
    assert_eq!(shard.ended(Cause::Answered), 2);
}

#[test]
fn a_call_that_is_refused() {
    let mut shard = Shard::new();
    shard.open(7, "INVITE").unwrap();
    shard.due();
    assert!(shard.response(7, "INVITE", 486));
    let ack = (What::Ack, onward().address, "ACK sip:bob@10.0.0.100 SIP/2.0".to_owned());
    assert_eq!(shard.due(), std::slice::from_ref(&ack));
    // The answer comes again: it is acknowledged here, and goes no further.
    assert!(!shard.response(7, "INVITE", 486));
    assert_eq!(shard.due(), [ack]);
    // Without an ACK the answer is sent again; with one no more.
    assert_eq!(shard.pass(2 * SECOND), [(0.5, What::ResponseAgain), (1.5, What::ResponseAgain)]);
    assert_eq!(shard.request(7, "ACK"), Arrived::Absorbed);
    assert_eq!(shard.request(7, "ACK"), Arrived::Absorbed);
    assert_eq!(shard.pass(33 * SECOND), []);
    shard.is_empty();
}

#[test]
fn an_answer_without_an_ack() {
    let mut shard = Shard::new();
    shard.open(7, "INVITE").unwrap();
    shard.response(7, "INVITE", 603);
    let sent = shard.pass(33 * SECOND);
    assert_eq!(sent.iter().filter(|(_, what)| *what == What::ResponseAgain).count(), 10);
    shard.is_empty();
    assert_eq!((shard.ended(Cause::NoAck), shard.ended(Cause::Answered)), (1, 1));
}

#[test]
fn an_invite_that_nobody_answers_gets_408() {
    let mut shard = Shard::new();
    shard.open(7, "INVITE").unwrap();
    let sent = shard.pass(32 * SECOND + LATE * MS);
    let again = |seconds| (seconds, What::RequestAgain);
    let expected = [
        (0.1, What::Trying),
        again(0.5),
        again(1.5),
        again(3.5),
        again(7.5),
        again(15.5),
        again(31.5),
        (32.0, What::Final),
    ];
    assert_eq!(sent, expected);
    assert_eq!(shard.request(7, "INVITE"), Arrived::Absorbed);
    assert_eq!(shard.due()[0].2, "SIP/2.0 408 Request Timeout");
    assert_eq!(shard.request(7, "ACK"), Arrived::Absorbed);
    shard.pass(6 * SECOND);
    shard.is_empty();
    assert_eq!(shard.ended(Cause::TimedOut), 1);
}

#[test]
fn a_100_goes_back_where_nothing_else_has_within_its_time() {
    let trying = |sent: Vec<(f64, What)>| sent.iter().any(|(_, what)| *what == What::Trying);
    for (answer, wanted) in [(None, true), (Some(180), false), (Some(200), false), (Some(486), false)] {
        let mut shard = Shard::new();
        shard.open(7, "INVITE").unwrap();
        assert!(!trying(shard.pass(TRYING_NS - MS)));
        answer.into_iter().for_each(|status| assert!(shard.response(7, "INVITE", status)));
        assert_eq!(trying(shard.pass(LATE * MS + MS)), wanted, "{answer:?}");
        assert!(!trying(shard.pass(TIMER_C_NS)), "{answer:?}: once");
    }
    // A 100 from behind is no answer for the caller.
    let mut shard = Shard::new();
    shard.open(7, "INVITE").unwrap();
    assert!(!shard.response(7, "INVITE", 100));
    assert!(trying(shard.pass(TRYING_NS + LATE * MS)));
    // Nor does what has waited for a name wait any longer.
    let mut shard = Shard::new();
    shard.has_waited = true;
    for method in ["INVITE", "BYE"] {
        shard.open(method.len() as u128, method).unwrap();
    }
    assert_eq!(shard.whats(), [What::Trying], "RFC 4320 gives other requests theirs late");
}

#[test]
fn timer_c_cancels_and_answers_408_where_nothing_comes() {
    let mut shard = Shard::new();
    shard.open(7, "INVITE").unwrap();
    shard.due();
    shard.response(7, "INVITE", 180);
    let c = TIMER_C_NS as f64 / SECOND as f64;
    let sent = shard.pass(TIMER_C_NS + SECOND);
    assert_eq!(sent, [(c, What::Cancel), (c + 0.5, What::RequestAgain)]);
    assert_eq!(shard.open_now(), [1, 0, 1, 1]);
    assert!(!shard.response(7, "CANCEL", 200), "the answer to our own CANCEL goes no further");
    let sent = shard.pass(32 * SECOND);
    assert_eq!(sent, [(31.0, What::Final), (31.5, What::ResponseAgain)]);
    shard.pass(33 * SECOND);
    shard.is_empty();
}

#[test]
fn a_cancel_that_matches() {
    let mut shard = Shard::new();
    shard.open(7, "INVITE").unwrap();
    shard.due();
    assert_eq!(shard.request(8, "CANCEL"), Arrived::New, "another transaction's: on, statelessly");
    // Before any answer: 200, and the CANCEL waits.
    assert_eq!(shard.request(7, "CANCEL"), Arrived::Cancels);
    assert_eq!(shard.due(), []);
    assert!(shard.response(7, "INVITE", 180));
    let cancel = (What::Cancel, onward().address, "CANCEL sip:bob@10.0.0.100 SIP/2.0".to_owned());
    assert_eq!(shard.due(), [cancel]);
    // Again, with its answer kept and without.
    assert_eq!(shard.request(7, "CANCEL"), Arrived::Cancels);
    shard.transactions.cancel_answered(7, back(), b"SIP/2.0 200 OK\r\n\r\n", shard.now);
    assert_eq!(shard.request(7, "CANCEL"), Arrived::Absorbed);
    assert_eq!(shard.due(), [(What::ResponseAgain, back().address, "SIP/2.0 200 OK".to_owned())]);
    assert!(!shard.response(7, "CANCEL", 200));
    assert!(shard.response(7, "INVITE", 487));
    assert_eq!(shard.whats(), [What::Ack]);
    assert_eq!(shard.request(7, "ACK"), Arrived::Absorbed);
    assert_eq!(shard.pass(33 * SECOND), []);
    shard.is_empty();
}

/// As where there are several next hops.
#[test]
fn a_cancelled_invite_is_terminated_whatever_becomes_of_its_only_branch() {
    for why in [SendFailure::Other, SendFailure::Broken] {
        let mut shard = Shard::new();
        let client = shard.open_by(7, "INVITE", Number::OPENED).unwrap();
        shard.due();
        assert_eq!(shard.request(7, "CANCEL"), Arrived::Cancels);
        shard.transactions.failed(client, why);
        assert_eq!(shard.due()[0].2, "SIP/2.0 487 Request Terminated");
    }
}

/// The values of the CANCELs that are sent.
fn reasons_sent(shard: &mut Shard) -> Vec<String> {
    let tag = |_: u128| [b't'; TO_TAG_LEN];
    let mut all = Vec::new();
    while let Some(due) = shard.transactions.next(shard.now, &tag, &mut shard.out) {
        let Due::Send(Send { what, len, .. }) = due else { panic!("one next hop: {due:?}") };
        let text = str::from_utf8(&shard.out[..len]).unwrap();
        let reasons = text.lines().filter_map(|line| line.strip_prefix("Reason: ")).map(str::to_owned);
        all.extend(reasons.filter(|_| what == What::Cancel));
    }
    all
}

#[test]
fn a_cancel_says_what_the_received_one_said() {
    // RFC 3326 §2: "Proxies generating a CANCEL request upon reception of a CANCEL from the previous hop that contains a
    // Reason header field SHOULD copy it into the new CANCEL request."
    let values: [&[u8]; 2] = [b"SIP;cause=200", b"Q.850;cause=16"];
    for is_ringing in [true, false] {
        let mut shard = Shard::new();
        shard.open(7, "INVITE").unwrap();
        if is_ringing {
            shard.response(7, "INVITE", 180);
        }
        assert_eq!(shard.request(7, "CANCEL"), Arrived::Cancels);
        shard.transactions.cancelled_because(7, values.into_iter());
        // Once more, as by a stream, on which an answered CANCEL is not kept.
        shard.transactions.cancelled_because(7, values.into_iter());
        if !is_ringing {
            assert_eq!(reasons_sent(&mut shard), [""; 0], "it has to ring first");
            shard.response(7, "INVITE", 180);
        }
        assert_eq!(reasons_sent(&mut shard), ["SIP;cause=200", "Q.850;cause=16"]);
        shard.response(7, "CANCEL", 200);
        shard.response(7, "INVITE", 487);
        shard.request(7, "ACK");
        shard.pass(LONGEST_NS);
        shard.is_empty();
    }
}

#[test]
fn what_cancels_say_takes_no_more_than_its_room() {
    // An eighth of the blocks is left to what is under way; each INVITE takes two with its 180.
    let mut shard = Shard::of(Size { transactions: 32, blocks: 32 });
    let long = [b'x'; TRANSACTION_BLOCK_BYTES];
    let values: [&[u8]; 2] = [&long, b"SIP;cause=200"];
    for key in 0..13 {
        shard.open(key, "INVITE").unwrap();
        shard.response(key, "INVITE", 180);
    }
    assert_eq!(shard.transactions.counts().blocks, 26);
    for key in 0..13 {
        shard.request(key, "CANCEL");
        shard.transactions.cancelled_because(key, values.into_iter());
    }
    assert_eq!(shard.transactions.counts().blocks, 28);
    assert_eq!(reasons_sent(&mut shard), ["SIP;cause=200"; 2]);
    shard.pass(2 * LONGEST_NS);
    shard.is_empty();
}

#[test]
fn a_cancel_that_crosses_the_200() {
    let mut shard = Shard::new();
    shard.open(7, "INVITE").unwrap();
    shard.response(7, "INVITE", 180);
    shard.due();
    assert!(shard.response(7, "INVITE", 200));
    // §9.2: "the CANCEL request has no effect on the processing of the original request".
    assert_eq!(shard.request(7, "CANCEL"), Arrived::Cancels);
    assert_eq!(shard.due(), []);
    shard.pass(33 * SECOND);
    shard.is_empty();
}

#[test]
fn a_200_after_the_cancel_still_goes_back() {
    let mut shard = Shard::new();
    shard.open(7, "INVITE").unwrap();
    shard.response(7, "INVITE", 180);
    shard.request(7, "CANCEL");
    shard.due();
    assert!(shard.response(7, "INVITE", 200));
    shard.pass(33 * SECOND);
    shard.is_empty();
}

#[test]
fn another_request_that_is_answered() {
    let mut shard = Shard::new();
    shard.open(9, "BYE").unwrap();
    assert_eq!(shard.request(9, "BYE"), Arrived::Absorbed);
    assert_eq!(shard.due(), [], "\"discarded\" while nothing was answered");
    assert_eq!(shard.request(9, "OPTIONS"), Arrived::New, "another method, another transaction");
    assert!(!shard.response(9, "BYE", 100) && !shard.response(9, "BYE", 183));
    assert!(shard.response(9, "BYE", 200));
    assert!(!shard.response(9, "BYE", 200));
    assert_eq!(shard.request(9, "BYE"), Arrived::Absorbed);
    assert_eq!(shard.due()[0].2, "SIP/2.0 200 relayed");
    assert_eq!(shard.pass(33 * SECOND), []);
    shard.is_empty();
}

#[test]
fn another_request_that_nobody_answers_ends_without_a_word() {
    // RFC 4320 §4.2: "an element that cannot respond before the transaction expires will not send a final
    // response at all."
    let mut shard = Shard::new();
    shard.open(9, "BYE").unwrap();
    let sent = shard.pass(33 * SECOND);
    assert_eq!(sent.iter().filter(|(_, what)| *what == What::RequestAgain).count(), 10);
    let others: Vec<_> = sent.into_iter().filter(|(_, what)| *what != What::RequestAgain).collect();
    assert_eq!(others, [(3.5, What::Trying)], "the late 100 alone");
    shard.is_empty();
    assert_eq!(shard.ended(Cause::TimedOut), 2);
}

#[test]
fn no_408_to_another_request_than_invite() {
    let mut shard = Shard::new();
    shard.open(9, "BYE").unwrap();
    assert!(!shard.response(9, "BYE", 408));
    shard.pass(10 * SECOND);
    assert_eq!(shard.request(9, "BYE"), Arrived::Absorbed, "it is not sent on anew");
    assert_eq!(shard.due(), []);
    shard.pass(33 * SECOND);
    shard.is_empty();
}

#[test]
fn what_cannot_be_sent_is_answered_500() {
    for method in ["INVITE", "BYE"] {
        let mut shard = Shard::new();
        let client = shard.open(7, method).unwrap();
        shard.due();
        shard.transactions.failed(client, SendFailure::Other);
        let failed = (What::Final, back().address, "SIP/2.0 500 Next Hop Unreachable".to_owned());
        assert_eq!(shard.due(), [failed]);
        assert_eq!(shard.request(7, method), Arrived::Absorbed);
        assert_eq!(shard.whats(), [What::ResponseAgain]);
        shard.pass(33 * SECOND);
        shard.is_empty();
        assert_eq!(shard.ended(Cause::Failed), 1);
        shard.transactions.failed(client, SendFailure::Other);
        shard.is_empty();
    }
}

/// RFC 7118 §5.3: "SIP responses can only be sent over the existing WebSocket connection".
#[test]
fn a_request_whose_answer_can_come_by_no_other_connection_ends_with_it() {
    for (method, provisional) in [("INVITE", 180), ("BYE", 100)] {
        for rings in [false, true] {
            let mut shard = Shard::new();
            let client = shard.open_by(7, method, Number::new(0, StreamId::first(3))).unwrap();
            shard.due();
            if rings {
                shard.response(7, method, provisional);
            }
            shard.transactions.lost(client, "10.0.0.100:5061".parse().unwrap(), SendFailure::Ended);
            assert_eq!(shard.due(), [], "another one's connection");
            shard.transactions.lost(client, onward().address, SendFailure::Ended);
            // What had not left yet is told besides.
            shard.transactions.failed(client, SendFailure::Connection(None));
            let failed = (What::Final, back().address, "SIP/2.0 430 Flow Failed".to_owned());
            assert_eq!(shard.due(), [failed], "{method} {rings}");
            assert!(!shard.response(7, method, 200));
            shard.transactions.failed(client, SendFailure::Ended);
            assert!(shard.pass(40 * SECOND).iter().all(|(_, what)| *what == What::ResponseAgain));
            shard.is_empty();
        }
    }
    // Answered, it has nothing to lose.
    let mut shard = Shard::new();
    let client = shard.open_by(7, "INVITE", Number::new(0, StreamId::first(3))).unwrap();
    assert!(shard.response(7, "INVITE", 200));
    shard.transactions.failed(client, SendFailure::Ended);
    assert_eq!(shard.due(), []);
}

/// RFC 3261 §16.9: "the proxy MUST behave as if the forwarded request received a 503", and §18.2.2: the server "SHOULD open a
/// connection" for its answer.
#[test]
fn a_request_whose_connection_has_broken_is_given_up_and_still_heard() {
    for method in ["INVITE", "BYE"] {
        let mut shard = Shard::new();
        let client = shard.open_by(7, method, Number::OPENED).unwrap();
        shard.due();
        shard.transactions.failed(client, SendFailure::Broken);
        let failed = (What::Final, back().address, "SIP/2.0 500 Next Hop Unreachable".to_owned());
        assert_eq!(shard.due(), [failed]);
        // By another connection: who rings is cancelled.
        shard.response(7, method, if method == "INVITE" { 180 } else { 100 });
        let cancel: &[What] = if method == "INVITE" { &[What::Cancel] } else { &[] };
        assert_eq!(shard.whats(), cancel);
        shard.pass(100 * SECOND);
        shard.is_empty();
    }
    let mut shard = Shard::new();
    let client = shard.open_by(7, "INVITE", Number::OPENED).unwrap();
    shard.response(7, "INVITE", 180);
    shard.due();
    shard.transactions.failed(client, SendFailure::Broken);
    assert_eq!(shard.due(), [], "it has arrived");
    assert!(shard.response(7, "INVITE", 200));
}

/// Both in one batch, so that the failure is not told yet.
#[test]
fn an_answer_shows_that_a_request_has_arrived_whatever_was_said_of_its_way() {
    for why in [SendFailure::Other, SendFailure::Connection(None)] {
        let mut shard = Shard::new();
        let client = shard.open(7, "INVITE").unwrap();
        shard.due();
        shard.transactions.failed(client, why);
        assert!(shard.response(7, "INVITE", 180));
        assert_eq!(shard.due(), [], "it rings");
        shard.transactions.failed(client, why);
        assert!(shard.response(7, "INVITE", 200));
        assert_eq!(shard.due(), []);
        assert!(shard.response(7, "INVITE", 200), "those that come again go on, too");
    }
    for why in [SendFailure::Other, SendFailure::Ended, SendFailure::Broken] {
        let mut shard = Shard::new();
        let client = shard.open(7, "BYE").unwrap();
        shard.due();
        shard.transactions.failed(client, why);
        assert!(shard.response(7, "BYE", 200));
        assert_eq!(shard.due(), []);
    }
    // Behind a connection that has ended a provisional answer is the last one, and nothing can be cancelled by it.
    for is_cancelled in [false, true] {
        let mut shard = Shard::new();
        let client = shard.open(7, "INVITE").unwrap();
        shard.due();
        if is_cancelled {
            shard.request(7, "CANCEL");
        }
        shard.transactions.failed(client, SendFailure::Ended);
        shard.response(7, "INVITE", 180);
        assert_eq!(shard.whats(), [What::Final]);
    }
}

/// Both in one batch: the answer is the one that was given, and it goes back once.
#[test]
fn a_refusal_counts_although_its_connection_has_broken() {
    for (method, provisional) in [("INVITE", 180), ("BYE", 100)] {
        let mut shard = Shard::new();
        let client = shard.open_by(7, method, Number::OPENED).unwrap();
        shard.due();
        shard.transactions.failed(client, SendFailure::Broken);
        assert!(shard.response(7, method, 486), "{method}");
        let ack: &[What] = if method == "INVITE" { &[What::Ack] } else { &[] };
        assert_eq!(shard.whats(), ack);
        shard.pass(100 * SECOND);
        shard.is_empty();
        // One that is at work has arrived.
        let mut shard = Shard::new();
        let client = shard.open_by(7, method, Number::OPENED).unwrap();
        shard.due();
        shard.transactions.failed(client, SendFailure::Broken);
        shard.response(7, method, provisional);
        assert_eq!(shard.whats(), []);
        assert!(shard.response(7, method, 486), "{method}");
        shard.pass(100 * SECOND);
        shard.is_empty();
    }
}

#[test]
fn a_503_goes_back_as_500() {
    let mut shard = Shard::new();
    shard.open(7, "INVITE").unwrap();
    let heard = shard.transactions.on_response(7, b"INVITE", 503, b"<sip:b@e>;tag=b", shard.now);
    assert!(matches!(heard, Heard::Forward { status: 500, .. }), "{heard:?}");
}

#[test]
fn a_full_slab_refuses_and_counts() {
    let mut shard = Shard::of(Size { transactions: 2, blocks: 160 });
    for key in 0..2 {
        shard.open(key, "INVITE").unwrap();
    }
    assert_eq!(shard.open(2, "INVITE"), Err(Full::Transactions));
    let mut shard = Shard::of(Size { transactions: 16, blocks: 8 });
    let opened = (0..16).take_while(|&key| shard.open(key, "INVITE").is_ok()).count();
    assert!((1..16).contains(&opened));
    assert_eq!(shard.transactions.counts().refused, [0, 1]);
    // Those that are under way end as ever.
    for key in 0..opened as u128 {
        assert!(shard.response(key, "INVITE", 486));
        shard.due();
        assert_eq!(shard.request(key, "ACK"), Arrived::Absorbed);
    }
    assert_eq!(shard.transactions.counts().sent[What::Ack as usize], opened as u64);
    shard.pass(33 * SECOND);
    shard.is_empty();
}

#[test]
fn a_transaction_takes_what_is_said() {
    assert_eq!(TRANSACTION_BYTES, 312, "say it in ARCHITECTURE.md and limits.rs, too");
    let bytes = TRANSACTIONS * TRANSACTION_BYTES * 9 / 8 + TRANSACTION_BLOCKS * BLOCK_BYTES;
    assert!(bytes < 512 << 20, "{} MiB a shard", bytes >> 20);
    assert_eq!(BLOCK_BYTES, TRANSACTION_BLOCK_BYTES + 4);
}

#[test]
fn every_count_has_its_place() {
    for (at, timer) in Timer::ALL.into_iter().enumerate() {
        assert_eq!(timer as usize, at);
    }
    assert!(Kind::ALL.into_iter().enumerate().all(|(at, kind)| kind as usize == at));
    assert!(Cause::ALL.into_iter().enumerate().all(|(at, cause)| cause as usize == at));
    assert!(What::ALL.into_iter().enumerate().all(|(at, what)| what as usize == at));
    assert!(Full::ALL.into_iter().enumerate().all(|(at, full)| full as usize == at));
}

proptest! {
    /// Whatever comes in whatever order: every transaction ends by its deadline, at most one final answer but for
    /// 2xx goes back on each, and nothing is left.
    #[test]
    fn whatever_comes_nothing_is_left(
        steps in prop::collection::vec((0u128..5, 0usize..9, 0u64..9_000), 1..120)
    ) {
        let mut shard = Shard::of(Size { transactions: 4, blocks: 24 });
        let mut clients = Vec::new();
        let mut finals = [0; 5];
        for (key, step, passes_ms) in steps {
            let method = if key % 2 == 0 { "INVITE" } else { "BYE" };
            match step {
                0 | 1 => {
                    if shard.request(key, method) == Arrived::New {
                        finals[key as usize] = 0;
                        clients.extend(shard.open(key, method));
                    }
                }
                2 => drop(shard.request(key, "ACK")),
                3 => {
                    if shard.request(key, "CANCEL") == Arrived::Cancels {
                        shard.transactions.cancel_answered(key, back(), b"SIP/2.0 200 OK\r\n\r\n", shard.now);
                    }
                }
                4 => drop(shard.response(key, method, 180)),
                5 => finals[key as usize] += i32::from(shard.response(key, method, 486)),
                6 => {
                    let passed = shard.response(key, method, 200);
                    finals[key as usize] += i32::from(passed && method == "BYE");
                }
                7 => drop(shard.response(key, "CANCEL", 200)),
                _ => clients.drain(..).for_each(|client| shard.transactions.failed(client, SendFailure::Other)),
            }
            prop_assert!(finals.iter().all(|finals| *finals <= 1), "{finals:?}");
            shard.pass(passes_ms * MS);
        }
        shard.pass(LONGEST_NS + SECOND);
        let counts = shard.transactions.counts();
        prop_assert_eq!((counts.open, counts.blocks), ([0; 4], 0));
        prop_assert_eq!(shard.transactions.deadline(), None);
    }
}
