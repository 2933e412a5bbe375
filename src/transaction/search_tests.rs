//! Requests with several next hops: literals in, literals out, and nothing left in the end.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::context::Transactions;
use super::counts::{Cause, Full, What};
use super::events::{Arrived, Attempt, Beginning, Due, Heard, Opening, Send, SendFailure};
use super::search::{Onward, Terms};
use super::slab::Handle;
use super::table::{Place, SEARCH_BYTES, Size};
use super::timers::{LONGEST_NS, TIMER_C_NS};
use crate::limits::CANDIDATES;
use crate::net::{NextHop, Now, Transport};
use crate::overload::Standing;
use crate::status::Statuses;
use crate::stream::Number;
use crate::token::{KeyId, LoopMark, TO_TAG_LEN};

const SECOND: u64 = 1_000_000_000;
const KEY: u128 = 7;

fn address(number: usize) -> SocketAddr {
    ([10, 0, 0, 1 + number as u8], 5060).into()
}

fn back() -> Place {
    Place { listener: 1, address: ([192, 0, 2, 1], 5060).into(), stream: Number::NONE }
}

fn terms() -> Terms {
    Terms {
        width: 1,
        forks: false,
        failover: Statuses::NONE.with(408).with(503).with(404),
        patience_ns: 4 * SECOND,
        record_route: true,
        sips: false,
        signer: KeyId(3),
        mark: LoopMark(77),
        source: ([192, 0, 2, 1], 5060).into(),
        is_large: false,
        standing: Standing::New,
    }
}

fn forked() -> Terms {
    Terms { width: CANDIDATES as u8, forks: true, failover: Statuses::NONE, ..terms() }
}

const TOP: &str = "Record-Route: <sip:ours>\r\nVia: SIP/2.0/UDP 10.0.0.4;branch=z9hG4bKours\r\n";

fn alike(method: &str) -> (String, String) {
    let rest = format!(
        "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nMax-Forwards: 69\r\nFrom: <sip:anna@e>;tag=a\r\n\
         To: <sip:bob@e>\r\nCall-ID: c\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
    );
    (format!("{method} sip:bob@e SIP/2.0\r\n"), rest)
}

struct Shard {
    transactions: Transactions,
    now: Now,
    out: Vec<u8>,
    method: &'static str,
    /// Branches in the order in which they were begun.
    begun: Vec<Handle>,
    /// Finals that went back.
    finals: Vec<u16>,
}

/// The branch of this number.
fn named(number: usize) -> u64 {
    1_000 + number as u64
}

impl Shard {
    fn new(method: &'static str, hops: usize, terms: Terms) -> Self {
        let mut shard = Self {
            transactions: Transactions::new(Size { transactions: 16, blocks: 160 }),
            now: Now(5 * SECOND),
            out: vec![0; 65_535],
            method,
            begun: Vec::new(),
            finals: Vec::new(),
        };
        shard.open(KEY, hops, terms).unwrap();
        shard
    }

    fn open(&mut self, key: u128, hops: usize, terms: Terms) -> Result<(), Full> {
        let onward = |number| Onward {
            next_hop: NextHop { transport: Transport::Udp, address: address(number) },
            listener: 2,
            is_free: true,
            stream: Number::NONE,
            by_size: true,
            gateway: None,
        };
        let hops: Vec<Onward> = (0..hops).map(onward).collect();
        let (line, rest) = alike(self.method);
        let sent = format!("{line}{TOP}{rest}");
        let opening = Opening {
            key,
            method: self.method.as_bytes(),
            back: back(),
            onward: Place { listener: 2, address: address(0), stream: Number::NONE },
            gateway: None,
            branch: named(0),
            bytes: sent.as_bytes(),
            patience_ns: terms.patience_ns,
            has_waited: false,
            search: Some(Beginning { own: line.len()..line.len() + TOP.len(), hops: &hops, terms }),
        };
        self.begun.push(self.transactions.open(&opening, self.now)?);
        Ok(())
    }

    fn due(&mut self) -> Vec<(What, SocketAddr, String)> {
        let tag = |_: u128| [b't'; TO_TAG_LEN];
        let mut all = Vec::new();
        while let Some(due) = self.transactions.next(self.now, &tag, &mut self.out) {
            let (what, address, len) = match due {
                Due::Send(Send { what, place, len, .. }) => (what, place.address, len),
                Due::Silent(_) => continue,
                Due::Attempt(attempt) => (What::Branch, self.begin(&attempt), attempt.len),
            };
            let text = String::from_utf8(self.out[..len].to_vec()).unwrap();
            let line = text.lines().next().unwrap().to_owned();
            if matches!(what, What::Final | What::Best) {
                self.finals.push(line.split(' ').nth(1).unwrap().parse().unwrap());
            }
            all.push((what, address, line));
        }
        all
    }

    /// What the CANCELs that are sent say of why, each with its branch.
    fn reasons(&mut self) -> Vec<(SocketAddr, String)> {
        let tag = |_: u128| [b't'; TO_TAG_LEN];
        let mut all = Vec::new();
        while let Some(due) = self.transactions.next(self.now, &tag, &mut self.out) {
            if let Due::Send(Send { what: What::Cancel, place, len, .. }) = due {
                let text = str::from_utf8(&self.out[..len]).unwrap();
                let reasons = text.lines().filter_map(|line| line.strip_prefix("Reason: "));
                all.push((place.address, reasons.collect::<Vec<_>>().join("|")));
            }
        }
        all
    }

    fn begin(&mut self, attempt: &Attempt) -> SocketAddr {
        let (line, rest) = alike(self.method);
        assert_eq!(&self.out[..attempt.len], format!("{line}{rest}").as_bytes());
        assert_eq!((attempt.key, attempt.back, attempt.terms.mark), (KEY, back(), terms().mark));
        let address = attempt.onward.next_hop.address;
        let place = Place { listener: attempt.onward.listener, address, stream: Number::NONE };
        let bytes = format!("{line}{TOP}{rest}");
        let branch = named(attempt.number.into());
        let begun = self.transactions.begin(attempt, place, branch, bytes.as_bytes(), self.now);
        self.begun.extend(begun);
        address
    }

    fn whats(&mut self) -> Vec<What> {
        self.due().into_iter().map(|(what, ..)| what).collect()
    }

    /// To which numbers of next hops requests were sent, in order.
    fn branches(&mut self) -> Vec<usize> {
        let due = self.due().into_iter().filter(|(what, ..)| *what == What::Branch);
        due.map(|(_, address, _)| (0..CANDIDATES).find(|n| self::address(*n) == address).unwrap()).collect()
    }

    /// A response to the branch of this number; `true`: it went back at once.
    fn response(&mut self, number: usize, status: u16) -> bool {
        self.response_with(number, status, "")
    }

    fn response_with(&mut self, number: usize, status: u16, headers: &str) -> bool {
        let method = self.method.as_bytes();
        let to = b"<sip:bob@e>;tag=b";
        let heard = self.transactions.on_response(named(number), method, status, to, self.now);
        let text =
            |status: u16| format!("SIP/2.0 {status} from {number}\r\n{headers}Content-Length: 0\r\n\r\n");
        match heard {
            Heard::Forward { server, status } => {
                self.transactions.forwarded(server, status, text(status).as_bytes(), self.now);
                if status >= 200 {
                    self.finals.push(status);
                }
                true
            }
            Heard::Keep { server, status, adds } => {
                self.transactions.kept(server, adds, text(status).as_bytes());
                false
            }
            Heard::Absorbed | Heard::Stray => false,
        }
    }

    fn pass(&mut self, ns: u64) -> Vec<(u64, What)> {
        let (begin, end) = (self.now, self.now.plus_ns(ns));
        let mut all = Vec::new();
        while let Some(at) = self.transactions.deadline().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            // Timers fire up to 16 ms late.
            let ms = (self.now.0 - begin.0 + 50_000_000) / 100_000_000 * 100;
            all.extend(self.whats().into_iter().map(|what| (ms, what)));
        }
        self.now = end;
        all
    }

    /// All that there is ends by its deadline, and what went back is this.
    #[track_caller]
    fn ends(mut self, finals: &[u16]) {
        self.pass(LONGEST_NS * 2);
        assert_eq!(self.finals, finals);
        let counts = self.transactions.counts();
        assert_eq!((counts.open, counts.blocks), ([0; 4], 0));
        assert_eq!(self.transactions.deadline(), None);
    }
}

#[test]
fn a_refusal_of_those_that_are_meant_has_the_next_one_tried() {
    // RFC 3263 §4.3: "failure occurs if the transaction layer reports a 503 error response […]. If a failure occurs, the
    // client SHOULD create a new request, which is identical to the previous, but has a different value of the Via
    // branch ID than the previous (and therefore constitutes a new SIP transaction). That request is sent to the next
    // element in the list".
    let mut shard = Shard::new("INVITE", 3, terms());
    assert!(!shard.response(0, 503));
    let due = shard.due();
    let whats: Vec<_> = due.iter().map(|(what, to, _)| (*what, *to)).collect();
    assert!(
        whats.contains(&(What::Ack, address(0))) && whats.contains(&(What::Branch, address(1))),
        "{whats:?}"
    );
    assert!(!shard.response(1, 404));
    assert_eq!(shard.branches(), [2]);
    assert!(shard.response(2, 180));
    assert!(shard.response(2, 200));
    assert!(shard.branches().is_empty());
    assert_eq!(shard.transactions.counts().open, [1, 0, 3, 0]);
    shard.ends(&[200]);
}

#[test]
fn another_refusal_ends_the_search_and_is_the_better_answer() {
    let mut shard = Shard::new("INVITE", 3, terms());
    shard.response(0, 503);
    shard.branches();
    assert!(shard.response(1, 486), "the 503 is of a higher class");
    assert!(shard.branches().is_empty());
    shard.ends(&[486]);
}

#[test]
fn the_best_of_all_answers_goes_back() {
    // §16.7 step 6: "It MUST choose from the 6xx class responses if any exist in the context. If no 6xx class
    // responses are present, the proxy SHOULD choose from the lowest response class stored in the response context. […]
    // The proxy SHOULD give preference to responses that provide information affecting resubmission of this request,
    // such as 401, 407, 415, 420, and 484 if the 4xx class is chosen." "if a proxy forwarded a request to 4 locations,
    // and received 503, 407, 501, and 404 responses, it may choose to forward the 407".
    for (answers, best) in [
        (&[503, 407, 501, 404][..], 407),
        (&[503, 503], 500),
        (&[500, 404], 404),
        (&[404, 302], 302),
        (&[484, 404], 484),
        (&[404, 415], 415),
        (&[486, 408], 486),
        (&[408, 480], 480),
        (&[404, 603], 603),
        (&[486, 480], 480),
    ] {
        let mut shard = Shard::new("INVITE", answers.len(), forked());
        shard.due();
        for (number, &status) in answers.iter().enumerate() {
            shard.response(number, status);
        }
        shard.due();
        shard.ends(&[best]);
    }
}

#[test]
fn silence_has_the_next_one_tried_and_is_answered_408_in_the_end() {
    let mut shard = Shard::new("INVITE", 2, terms());
    let sent = shard.pass(4 * SECOND + 20_000_000);
    let again = |ms| (ms, What::RequestAgain);
    assert_eq!(sent, [(200, What::Trying), again(500), again(1_500), again(3_500), (4_000, What::Branch)]);
    let sent = shard.pass(4 * SECOND + 20_000_000);
    assert_eq!(sent, [again(500), again(1_500), again(3_500), (4_000, What::Final)]);
    assert_eq!(shard.finals, [408]);
    assert_eq!(shard.transactions.counts().open, [1, 0, 2, 0], "what comes late is still known");
    shard.ends(&[408]);
}

#[test]
fn who_answers_late_is_cancelled_but_a_call_that_was_taken_is_taken() {
    // §9.1: "If no provisional response has been received, the CANCEL request MUST NOT be sent; rather, the client MUST
    // wait for the arrival of a provisional response before sending the request."
    let mut shard = Shard::new("INVITE", 2, terms());
    shard.pass(5 * SECOND);
    assert!(!shard.response(0, 180), "nobody is told of the ringing of one that was given up");
    let cancel = (What::Cancel, address(0), "CANCEL sip:bob@e SIP/2.0".to_owned());
    assert_eq!(shard.due(), [cancel]);
    assert!(shard.response(1, 180));
    assert!(!shard.response(0, 487));
    assert_eq!(shard.whats(), [What::Ack]);
    assert!(shard.response(1, 200));
    shard.ends(&[200]);

    // §16.7 step 5: "the following responses MUST be forwarded immediately: […] Any 2xx response"; step 10: "the proxy
    // MUST generate a CANCEL request for all pending client transactions associated with this response context."
    let mut shard = Shard::new("INVITE", 3, terms());
    shard.pass(5 * SECOND);
    assert!(shard.response(1, 180));
    assert!(shard.response(0, 200));
    assert_eq!(shard.due(), [(What::Cancel, address(1), "CANCEL sip:bob@e SIP/2.0".to_owned())]);
    assert!(shard.response(1, 200), "both have taken the call");
    shard.ends(&[200, 200]);
}

/// §16.7 step 6: "It MUST choose from the 6xx class responses if any exist in the context." Step 5: "it MUST NOT create any new
/// branches in this context."
#[test]
fn a_late_refusal_is_an_answer_all_the_same() {
    let mut shard = Shard::new("INVITE", 2, terms());
    shard.pass(5 * SECOND);
    assert!(!shard.response(0, 603));
    assert!(shard.whats().contains(&What::Ack));
    shard.response(1, 503);
    shard.due();
    shard.ends(&[603]);

    let mut shard = Shard::new("INVITE", 3, terms());
    shard.pass(5 * SECOND);
    shard.response(0, 603);
    shard.response(1, 503);
    assert!(shard.branches().is_empty());
    shard.ends(&[603]);

    // By another connection than the one that its request has left by, and that has broken.
    let mut shard = Shard::new("INVITE", 2, terms());
    shard.due();
    shard.transactions.failed(shard.begun[0], SendFailure::Broken);
    shard.branches();
    shard.response(0, 486);
    shard.response(1, 503);
    shard.due();
    shard.ends(&[486]);
}

/// §16.7 step 5: "If a 6xx response is received, it is not immediately forwarded, but the stateful proxy SHOULD cancel all client
/// pending transactions as described in Section 10, and it MUST NOT create any new branches in this context."
#[test]
fn a_6xx_that_crosses_our_cancel_ends_the_search() {
    let crossed = || {
        let mut shard = Shard::new("INVITE", 3, terms());
        shard.pass(5 * SECOND);
        assert!(shard.response(1, 180));
        shard.response(0, 180);
        let cancel = |number| (What::Cancel, address(number), "CANCEL sip:bob@e SIP/2.0".to_owned());
        assert_eq!(shard.due(), [cancel(0)]);
        assert!(!shard.response(0, 603));
        let due = shard.due();
        assert!(due.contains(&cancel(1)), "{due:?}");
        assert_eq!(due.len(), 2, "and its ACK: {due:?}");
        shard
    };
    let mut shard = crossed();
    assert!(!shard.response(1, 487));
    let due = shard.due();
    assert!(due.contains(&(What::Best, back().address, "SIP/2.0 603 from 0".to_owned())), "{due:?}");
    shard.ends(&[603]);
    // "Until a final response has been sent on the server transaction, the following responses MUST be forwarded
    // immediately: […] Any 2xx response".
    let mut shard = crossed();
    assert!(shard.response(1, 200));
    shard.ends(&[200]);
    // Once there is an answer, nothing else goes back.
    let mut shard = Shard::new("INVITE", 2, terms());
    shard.pass(5 * SECOND);
    shard.response(0, 180);
    assert!(shard.response(1, 200));
    assert!(!shard.response(0, 603));
    shard.ends(&[200]);
}

#[test]
fn a_late_refusal_comes_to_nothing_once_there_is_an_answer() {
    for method in ["INVITE", "OPTIONS"] {
        let mut shard = Shard::new(method, 2, terms());
        shard.pass(5 * SECOND);
        assert!(shard.response(1, 200));
        assert!(!shard.response(0, 603));
        shard.due();
        shard.ends(&[200]);
    }
}

#[test]
fn what_cannot_be_sent_has_the_next_one_tried() {
    // §16.9: "the proxy MUST behave as if the forwarded request received a 503".
    let mut shard = Shard::new("INVITE", 2, terms());
    shard.due();
    shard.transactions.failed(shard.begun[0], SendFailure::Other);
    assert_eq!(shard.branches(), [1]);
    shard.transactions.failed(shard.begun[1], SendFailure::Other);
    assert_eq!(shard.due(), [(What::Final, back().address, "SIP/2.0 500 Next Hop Unreachable".to_owned())]);
    assert_eq!(shard.transactions.counts().ended[Cause::Failed as usize], 2);
    shard.ends(&[500]);
}

/// A connection that breaks is as good as silence whose time is over: nobody knows whether the request has arrived.
#[test]
fn a_connection_that_breaks_has_the_next_one_tried_but_a_call_that_was_taken_is_taken() {
    let mut shard = Shard::new("INVITE", 2, terms());
    shard.due();
    shard.transactions.failed(shard.begun[0], SendFailure::Broken);
    assert_eq!(shard.branches(), [1]);
    shard.transactions.failed(shard.begun[0], SendFailure::Broken);
    assert_eq!(shard.due(), [], "once");
    assert!(shard.response(0, 200), "by another connection");
    shard.ends(&[200]);
}

/// Both in one batch.
#[test]
fn what_was_refused_was_refused_although_its_connection_has_broken() {
    for method in ["INVITE", "MESSAGE"] {
        let mut shard = Shard::new(method, 2, terms());
        shard.due();
        shard.transactions.failed(shard.begun[0], SendFailure::Broken);
        assert!(shard.response(0, 486), "{method}: it has no other one tried");
        assert!(shard.branches().is_empty());
        shard.ends(&[486]);
    }
    // One that rings has arrived, and one that lets others be tried is no failure besides.
    let mut shard = Shard::new("INVITE", 2, terms());
    shard.due();
    shard.transactions.failed(shard.begun[0], SendFailure::Broken);
    assert!(shard.response(0, 180));
    assert!(shard.branches().is_empty());
    assert!(!shard.response(0, 404));
    assert_eq!(shard.branches(), [1]);
    assert!(!shard.response(1, 503));
    shard.due();
    shard.ends(&[404]);
}

/// RFC 5626 §7: "If a request for a particular AOR and instance-id fails with a 430 (Flow Failed) response, the proxy SHOULD replace
/// the failed branch with another target".
#[test]
fn a_client_that_is_gone_while_it_rings_has_the_next_one_tried() {
    let mut shard = Shard::new("INVITE", 2, terms());
    shard.due();
    shard.response(0, 180);
    shard.transactions.failed(shard.begun[0], SendFailure::Ended);
    assert_eq!(shard.branches(), [1]);
    assert!(!shard.response(0, 200) && shard.response(1, 200));
    shard.ends(&[200]);
}

#[test]
fn a_branch_that_cannot_be_begun_counts_as_one_that_failed() {
    let mut shard = Shard::new("INVITE", 3, terms());
    shard.due();
    shard.response(0, 404);
    let tag = |_: u128| [b't'; TO_TAG_LEN];
    let mut attempts = 0;
    while let Some(due) = shard.transactions.next(shard.now, &tag, &mut shard.out) {
        if let Due::Attempt(attempt) = due {
            attempts += 1;
            shard.transactions.cannot_begin(&attempt);
        } else if let Due::Send(Send { what: What::Best, len, .. }) = due {
            assert!(shard.out[..len].starts_with(b"SIP/2.0 404 from 0\r\n"));
            shard.finals.push(404);
        }
    }
    assert_eq!(attempts, 2);
    shard.ends(&[404]);
}

#[test]
fn a_6xx_ends_everything_and_waits_for_those_that_are_cancelled() {
    // §16.7 step 5: a 6xx "is not immediately forwarded, but the stateful proxy SHOULD cancel all client pending
    // transactions as described in Section 10, and it MUST NOT create any new branches in this context."
    let mut shard = Shard::new("INVITE", 3, Terms { width: 2, ..forked() });
    shard.due();
    shard.response(0, 180);
    assert!(!shard.response(1, 603));
    let whats = shard.whats();
    assert!(whats.contains(&What::Cancel) && !whats.contains(&What::Branch), "{whats:?}");
    assert!(!shard.response(0, 487));
    let due = shard.due();
    assert!(due.contains(&(What::Best, back().address, "SIP/2.0 603 from 1".to_owned())), "{due:?}");
    shard.ends(&[603]);
}

#[test]
fn another_request_than_invite_does_not_wait_for_what_cannot_be_cancelled() {
    let mut shard = Shard::new("MESSAGE", 2, forked());
    assert_eq!(shard.branches(), [1]);
    assert!(shard.response(0, 603));
    shard.ends(&[603]);
}

#[test]
fn all_at_a_time_and_the_first_to_take_the_call() {
    let mut shard = Shard::new("INVITE", 4, forked());
    assert_eq!(shard.branches(), [1, 2, 3]);
    // "Any provisional response other than 100 (Trying)" is forwarded, of whichever branch.
    for number in 0..3 {
        assert!(!shard.response(number, 100) && shard.response(number, 180));
    }
    assert!(!shard.response(0, 486));
    assert!(shard.response(1, 200));
    let mut cancelled: Vec<_> = shard.due().into_iter().filter(|(what, ..)| *what == What::Cancel).collect();
    cancelled.sort_by_key(|(_, to, _)| *to);
    let to: Vec<_> = cancelled.iter().map(|(_, to, _)| *to).collect();
    assert_eq!(to, [address(2)], "the fourth has not answered yet: \"MUST wait\"");
    assert!(!shard.response(3, 183), "a final answer has gone back");
    assert_eq!(shard.whats(), [What::Cancel]);
    assert!(!shard.response(2, 487) && !shard.response(3, 487));
    shard.ends(&[200]);
}

#[test]
fn breadth_that_does_not_suffice_has_the_others_follow() {
    // RFC 5393 §5.5: "that proxy may parallel fork to 4 of these targets initially […]. If one of these transactions
    // completes with a failure response, the outgoing Max-Breadth drops to 3, allowing the proxy to forward to one of
    // the 4 remaining targets".
    let mut shard = Shard::new("INVITE", 5, Terms { width: 2, ..forked() });
    assert_eq!(shard.branches(), [1]);
    shard.response(1, 486);
    assert_eq!(shard.branches(), [2]);
    shard.response(0, 404);
    assert_eq!(shard.branches(), [3]);
    shard.response(2, 200);
    assert!(shard.branches().is_empty());
    shard.ends(&[200]);
}

#[test]
fn a_cancel_ends_the_search() {
    // §16.10: "the element MUST generate CANCEL requests for all pending client transactions in the context".
    let mut shard = Shard::new("INVITE", 3, terms());
    shard.due();
    shard.response(0, 180);
    assert_eq!(shard.transactions.on_request(KEY, b"CANCEL", shard.now), Arrived::Cancels);
    assert_eq!(shard.whats(), [What::Cancel]);
    // Whatever it answers, nobody else is asked; and that it had no time for a call that is no longer wanted is no answer.
    shard.response(0, 503);
    assert!(shard.branches().is_empty());
    shard.ends(&[487]);
}

/// §9.2: "If the original request was an INVITE, the UAS SHOULD immediately respond to the INVITE with a 487 (Request
/// Terminated). A CANCEL request has no impact on the processing of transactions with any other method defined in this
/// specification."
#[test]
fn a_cancel_while_no_branch_is_there_has_the_invite_terminated_and_nothing_else() {
    for (method, terminated) in [("INVITE", true), ("MESSAGE", false)] {
        let mut shard = Shard::new(method, 3, terms());
        shard.due();
        shard.response(0, 503);
        assert_eq!(shard.transactions.on_request(KEY, b"CANCEL", shard.now), Arrived::Cancels);
        let due = shard.due();
        let was = (What::Final, back().address, "SIP/2.0 487 Request Terminated".to_owned());
        assert_eq!(
            (due.contains(&was), shard.begun.len()),
            (terminated, if terminated { 1 } else { 2 }),
            "{due:?}"
        );
        shard.response(1, 200);
        shard.ends(&[if terminated { 487 } else { 200 }]);
    }
}

/// A branch that cannot be cancelled yet may never answer, or turn out not to have been sent.
#[test]
fn a_cancelled_invite_is_terminated_whatever_becomes_of_its_branch() {
    let mut shard = Shard::new("INVITE", 3, terms());
    shard.due();
    shard.transactions.on_request(KEY, b"CANCEL", shard.now);
    shard.transactions.failed(shard.begun[0], SendFailure::Other);
    assert_eq!(shard.due(), [(What::Final, back().address, "SIP/2.0 487 Request Terminated".to_owned())]);
    shard.ends(&[487]);
    let mut shard = Shard::new("INVITE", 3, terms());
    shard.due();
    shard.transactions.on_request(KEY, b"CANCEL", shard.now);
    shard.ends(&[487]);
    // What somebody says is said.
    let mut shard = Shard::new("INVITE", 3, terms());
    shard.due();
    shard.transactions.on_request(KEY, b"CANCEL", shard.now);
    assert!(shard.response(0, 486));
    shard.ends(&[486]);
}

#[test]
fn a_cancel_between_two_branches_is_answered_with_what_there_is() {
    let mut shard = Shard::new("INVITE", 3, terms());
    shard.due();
    shard.response(0, 404);
    assert_eq!(shard.transactions.on_request(KEY, b"CANCEL", shard.now), Arrived::Cancels);
    assert!(shard.branches().is_empty());
    shard.ends(&[404]);
}

#[test]
fn a_cancel_reaches_every_branch() {
    let mut shard = Shard::new("INVITE", 3, forked());
    shard.due();
    for number in 0..3 {
        shard.response(number, 180);
    }
    shard.transactions.on_request(KEY, b"CANCEL", shard.now);
    assert_eq!(shard.whats(), [What::Cancel; 3]);
    for number in 0..2 {
        assert!(!shard.response(number, 487));
    }
    assert!(shard.response(2, 487));
    shard.ends(&[487]);
}

/// RFC 3326 §3.1: "A proxy forks an INVITE request and one of the branches returns a 200 (OK). The forking proxy includes this
/// status code in a Reason header field in the CANCEL request that it sends to the rest of the branches."
#[test]
fn the_rest_of_the_branches_hear_why_they_are_cancelled() {
    let elsewhere = "SIP ;cause=200 ;text=\"Call completed elsewhere\"";
    for (status, reason) in [(200, elsewhere), (600, "SIP ;cause=600"), (603, "SIP ;cause=603")] {
        let mut shard = Shard::new("INVITE", 3, forked());
        shard.due();
        shard.response(0, 180);
        shard.response(1, status);
        assert_eq!(shard.reasons(), [(address(0), reason.to_owned())]);
        // Who begins to ring later, too.
        shard.response(2, 180);
        assert_eq!(shard.reasons(), [(address(2), reason.to_owned())]);
    }
    // One after the other: whoever was given up and rings when another one has taken the call.
    let mut shard = Shard::new("INVITE", 2, terms());
    shard.pass(5 * SECOND);
    shard.response(1, 200);
    shard.response(0, 180);
    assert_eq!(shard.reasons(), [(address(0), elsewhere.to_owned())]);
    // A caller's own reason is the better one, and without one there is none.
    for (values, said) in [(&[b"Q.850;cause=16".as_slice()][..], "Q.850;cause=16"), (&[], "")] {
        let mut shard = Shard::new("INVITE", 2, forked());
        shard.due();
        shard.response(0, 180);
        shard.transactions.on_request(KEY, b"CANCEL", shard.now);
        shard.transactions.cancelled_because(KEY, values.iter().copied());
        assert_eq!(shard.reasons(), [(address(0), said.to_owned())]);
    }
}

#[test]
fn challenges_of_all_branches_go_back_together() {
    // §16.7 step 7: "the proxy MUST collect any WWW-Authenticate and Proxy-Authenticate header field values from all
    // other 401 (Unauthorized) and 407 (Proxy Authentication Required) responses received so far in this response
    // context and add them to this response without modification before forwarding."
    let mut shard = Shard::new("INVITE", 3, forked());
    shard.due();
    shard.response_with(0, 407, "Proxy-Authenticate: Digest realm=\"a\"\r\n");
    shard.response_with(1, 404, "");
    assert!(!shard.response_with(2, 401, "WWW-Authenticate: Digest realm=\"b\"\r\n"));
    let due = shard.due();
    assert!(due.iter().any(|(what, _, line)| *what == What::Best && line == "SIP/2.0 407 from 0"), "{due:?}");
    assert_eq!(shard.transactions.on_request(KEY, b"INVITE", shard.now), Arrived::Absorbed);
    let tag = |_: u128| [b't'; TO_TAG_LEN];
    let Some(Due::Send(Send { len, .. })) = shard.transactions.next(shard.now, &tag, &mut shard.out) else {
        panic!()
    };
    assert_eq!(
        std::str::from_utf8(&shard.out[..len]).unwrap(),
        "SIP/2.0 407 from 0\r\nProxy-Authenticate: Digest realm=\"a\"\r\nContent-Length: 0\r\n\
         WWW-Authenticate: Digest realm=\"b\"\r\n\r\n"
    );
    shard.ends(&[407]);
}

#[test]
fn timer_c_is_each_branchs_own() {
    // §16.8: "If the client transaction has received a provisional response, the proxy MUST generate a CANCEL request
    // matching that transaction. If the client transaction has not received a provisional response, the proxy MUST
    // behave as if the transaction received a 408 (Request Timeout) response."
    let mut shard = Shard::new("INVITE", 2, terms());
    shard.due();
    shard.response(0, 180);
    let sent = shard.pass(TIMER_C_NS + SECOND);
    assert_eq!(sent.iter().filter(|(_, what)| *what == What::Cancel).count(), 1);
    shard.pass(32 * SECOND);
    assert!(shard.response(1, 200), "nobody answered the CANCEL: the second was tried");
    shard.ends(&[200]);
}

#[test]
fn other_requests_go_on_too_and_end_without_a_word() {
    let mut shard = Shard::new("MESSAGE", 3, terms());
    let branches = shard.pass(5 * SECOND);
    assert!(branches.contains(&(4_000, What::Branch)), "{branches:?}");
    assert!(!shard.response(1, 503));
    assert_eq!(shard.branches(), [2]);
    // The last one has the time that the RFC gives it, and RFC 4320 has nothing said of its end.
    let sent = shard.pass(33 * SECOND);
    assert!(!sent.iter().any(|(_, what)| *what == What::Final), "{sent:?}");
    assert_eq!(shard.transactions.on_request(KEY, b"MESSAGE", shard.now), Arrived::Absorbed);
    shard.ends(&[500]);
}

#[test]
fn nobody_else_is_asked_once_the_caller_of_another_request_has_given_up() {
    // RFC 4321 §1.1: "The non-INVITE transaction defined in RFC 3261 [1] is designed to have a fixed and finite duration
    // (dependent on T1)."
    let patience_ns = 20 * SECOND;
    let mut shard = Shard::new("MESSAGE", 3, Terms { patience_ns, ..terms() });
    let begun = |sent: &[(u64, What)]| sent.iter().filter(|(_, what)| *what == What::Branch).count();
    assert_eq!(begun(&shard.pass(25 * SECOND)), 1);
    assert_eq!(begun(&shard.pass(100 * SECOND)), 0);
    let mut shard = Shard::new("INVITE", 3, Terms { patience_ns, ..terms() });
    assert_eq!(begun(&shard.pass(125 * SECOND)), 2, "an INVITE waits");
}

#[test]
fn one_next_hop_takes_no_more_room_than_before() {
    let shard = Shard::new("INVITE", 2, terms());
    assert_eq!(shard.transactions.counts().blocks, 3, "what was sent, what all get alike, our 100");
    assert_eq!(SEARCH_BYTES, 640, "say it in README.md, too");
    let mut shard = Shard::new("INVITE", 2, terms());
    for key in 8..12 {
        let opened = shard.open(key, 2, terms());
        assert_eq!(opened.is_ok(), key < 11, "a quarter of all transactions may search");
    }
}

proptest! {
    /// Whatever comes in whatever order: at most one final answer that is no 2xx goes back, none behind a 2xx; every
    /// transaction ends by its deadline, and nothing is left.
    #[test]
    fn whatever_comes_nothing_is_left(
        is_invite in any::<bool>(),
        forks in any::<bool>(),
        width in 1u8..5,
        hops in 2usize..6,
        steps in prop::collection::vec((0u8..12, 0usize..6, 0usize..10, 0u64..40), 1..60),
    ) {
        const STATUSES: [u16; 10] = [100, 180, 200, 302, 401, 404, 407, 408, 503, 603];
        const WHY: [SendFailure; 3] = [SendFailure::Other, SendFailure::Broken, SendFailure::Ended];
        let method = if is_invite { "INVITE" } else { "MESSAGE" };
        let terms = if forks { Terms { width, ..forked() } } else { terms() };
        let mut shard = Shard::new(method, hops, terms);
        for (what, number, status, seconds) in steps {
            match what {
                0..=5 => { shard.response_with(number, STATUSES[status], "WWW-Authenticate: x\r\n"); }
                6 => { shard.transactions.on_request(KEY, b"CANCEL", shard.now); }
                7 => { shard.transactions.on_request(KEY, method.as_bytes(), shard.now); }
                8 => { shard.transactions.on_request(KEY, b"ACK", shard.now); }
                9 => if let Some(&client) = shard.begun.get(number) { shard.transactions.failed(client, WHY[status % 3]); },
                10 => { shard.pass(seconds * SECOND); }
                _ => { shard.due(); }
            }
        }
        shard.pass(LONGEST_NS * hops as u64 + 100 * SECOND);
        let others = shard.finals.iter().filter(|status| **status >= 300).count();
        // A branch that was given up may yet be taken: "Any 2xx response to an INVITE request" goes back.
        prop_assert!(others <= 1 && shard.finals.iter().skip(1).all(|status| *status < 300), "{:?}", shard.finals);
        prop_assert!(!is_invite || !shard.finals.is_empty(), "an INVITE is answered");
        prop_assert!(is_invite || shard.finals.len() <= 1, "{:?}", shard.finals);
        let counts = shard.transactions.counts();
        prop_assert_eq!((counts.open, counts.blocks), ([0; 4], 0));
        prop_assert_eq!(shard.transactions.deadline(), None);
    }
}

/// RFC 3261 §18.1.1: over UDP where no connection is made, and no other time.
#[test]
fn what_is_large_is_tried_once_more_before_the_next_one() {
    let mut shard = Shard::new("INVITE", 2, Terms { is_large: true, ..terms() });
    for (failed, next) in [(0, Some(0)), (1, Some(1)), (2, Some(1)), (3, None)] {
        shard.transactions.failed(shard.begun[failed], SendFailure::Connection(None));
        assert_eq!(shard.branches().first().copied(), next, "after attempt {failed}");
    }
    assert_eq!(shard.finals, [500]);
    // Who is reached and refuses is not asked again, nor who may have it by a connection that broke.
    let mut shard = Shard::new("INVITE", 2, Terms { is_large: true, ..terms() });
    shard.due();
    shard.transactions.failed(shard.begun[0], SendFailure::Broken);
    assert_eq!(shard.branches(), [1]);
    let mut shard = Shard::new("INVITE", 2, Terms { is_large: true, ..terms() });
    shard.response(0, 404);
    assert_eq!(shard.branches(), [1]);
    // What is small has nothing to go back to, and what was cancelled goes nowhere.
    let mut shard = Shard::new("INVITE", 2, terms());
    shard.transactions.failed(shard.begun[0], SendFailure::Connection(None));
    assert_eq!(shard.branches(), [1]);
    let mut shard = Shard::new("INVITE", 2, Terms { is_large: true, ..terms() });
    assert_eq!(shard.transactions.on_request(KEY, b"CANCEL", shard.now), Arrived::Cancels);
    shard.transactions.failed(shard.begun[0], SendFailure::Connection(None));
    assert!(shard.branches().is_empty());
}
