//! Calls with one callee, and answers that come again, late, or in the wrong order (RFC 3261 §16.7, §17.1.1, §17.2.1;
//! RFC 6026 §8).

use crate::iut::{
    Iut, LATE_MS, T1_MS, UA1, UA2, from_callee, in_dialog, invited, none, only, reflected, request, response,
    same_transaction, towards, value, values, with, without,
};
use crate::named_tests;

/// A call that is up: the proxy, the INVITE as UA2 got it, and the 200 as UA1 got it.
fn call() -> (Iut, String, String) {
    let (mut iut, _, got) = invited();
    only(&iut.by_inside(UA2, &response(&got, "180 Ringing", "ua2")), UA1, "SIP/2.0 180 ");
    let sent = iut.by_inside(UA2, &response(&got, "200 OK", "ua2"));
    let ok = only(&sent, UA1, "SIP/2.0 200 ").to_owned();
    only(&iut.by_ua1(&in_dialog(&ok, "ACK", 1)), UA2, "ACK ");
    (iut, got, ok)
}

/// Nothing is left of it once all timers have run out.
fn ends(mut iut: Iut) {
    iut.pass(300_000);
    assert_eq!(iut.open(), 0);
}

fn caller_hangs_up() {
    let (mut iut, _, ok) = call();
    let sent = iut.by_ua1(&in_dialog(&ok, "BYE", 2));
    let bye = only(&sent, UA2, "BYE ").to_owned();
    assert!(values(&bye, "Route").is_empty());
    only(&iut.by_inside(UA2, &response(&bye, "200 OK", "ua2")), UA1, "SIP/2.0 200 ");
    ends(iut);
}

fn callee_hangs_up() {
    let (mut iut, got, ok) = call();
    let sent = iut.by_inside(UA2, &from_callee(&got, &ok, "BYE"));
    let bye = only(&sent, UA1, "BYE ").to_owned();
    only(&iut.by_ua1(&response(&bye, "200 OK", "ua1")), UA2, "SIP/2.0 200 ");
    ends(iut);
}

/// Refused: acknowledged here, sent on to UA1 until it acknowledges.
fn refused(status: &str, forwarded: &str) {
    let (mut iut, invite, got) = invited();
    let sent = iut.by_inside(UA2, &response(&got, status, "ua2"));
    only(&sent, UA2, "ACK ");
    let answer = only(&sent, UA1, &format!("SIP/2.0 {forwarded} ")).to_owned();
    assert!(iut.by_ua1(&same_transaction(&invite, "ACK", value(&answer, "To"))).is_empty());
    none(&iut.pass(64 * T1_MS), UA1, "SIP/2.0");
    ends(iut);
}

/// UA1 does not get the refusal, or its ACK is lost: it comes again.
fn refusal_is_lost() {
    let (mut iut, invite, got) = invited();
    let sent = iut.by_inside(UA2, &response(&got, "407 Proxy Authentication Required", "ua2"));
    let answer = only(&sent, UA1, "SIP/2.0 407 ").to_owned();
    assert_eq!(only(&iut.pass(T1_MS + LATE_MS), UA1, "SIP/2.0 407 "), answer);
    assert!(iut.by_ua1(&same_transaction(&invite, "ACK", value(&answer, "To"))).is_empty());
    none(&iut.pass(64 * T1_MS), UA1, "SIP/2.0");
    ends(iut);
}

/// The caller floods: what is acknowledged already ends here.
fn acks_to_a_refusal_end_here() {
    let (mut iut, invite, got) = invited();
    let sent = iut.by_inside(UA2, &response(&got, "407 Proxy Authentication Required", "ua2"));
    let to = value(only(&sent, UA1, "SIP/2.0 407 "), "To").to_owned();
    for _ in 0..50 {
        assert!(iut.by_ua1(&same_transaction(&invite, "ACK", &to)).is_empty());
    }
    ends(iut);
}

/// §16.7 step 5: each 2xx goes on, and the ACK to each is the caller's.
fn acks_to_a_2xx_go_on() {
    let (mut iut, _, ok) = call();
    for _ in 0..5 {
        only(&iut.by_ua1(&in_dialog(&ok, "ACK", 1)), UA2, "ACK ");
    }
    ends(iut);
}

fn missed_acks_have_the_2xx_again() {
    let (mut iut, _, got) = invited();
    for _ in 0..4 {
        only(&iut.by_inside(UA2, &response(&got, "200 OK", "ua2")), UA1, "SIP/2.0 200 ");
        iut.pass(T1_MS);
    }
    ends(iut);
}

/// The ACK comes when the INVITE's transaction is long gone: it has nothing to do with it.
fn late_ack() {
    let (mut iut, _, got) = invited();
    let sent = iut.by_inside(UA2, &response(&got, "200 OK", "ua2"));
    let ok = only(&sent, UA1, "SIP/2.0 200 ").to_owned();
    iut.pass(70 * T1_MS);
    only(&iut.by_ua1(&in_dialog(&ok, "ACK", 1)), UA2, "ACK ");
    ends(iut);
}

fn first_invites_are_lost() {
    let (mut iut, _, got) = invited();
    let sent = iut.pass(3 * T1_MS + 2 * LATE_MS);
    assert_eq!(towards(&sent, UA2).len(), 2);
    assert!(towards(&sent, UA2).iter().all(|again| again.text == got));
    only(&iut.by_inside(UA2, &response(&got, "200 OK", "ua2")), UA1, "SIP/2.0 200 ");
    none(&iut.pass(10 * T1_MS), UA2, "INVITE");
    ends(iut);
}

fn the_caller_sends_again() {
    let (mut iut, invite, got) = invited();
    for _ in 0..50 {
        let sent = iut.by_ua1(&invite);
        assert!(towards(&sent, UA2).is_empty());
        only(&sent, UA1, "SIP/2.0 100 ");
    }
    only(&iut.by_inside(UA2, &response(&got, "200 OK", "ua2")), UA1, "SIP/2.0 200 ");
    // RFC 6026 §7.1: in Accepted an INVITE that comes again is absorbed.
    assert!(iut.by_ua1(&invite).is_empty());
    ends(iut);
}

/// UA2 is dead.
fn nobody_answers() {
    let (mut iut, invite, _) = invited();
    let sent = iut.pass(64 * T1_MS + LATE_MS);
    let answer = only(&sent, UA1, "SIP/2.0 408 ").to_owned();
    iut.by_ua1(&same_transaction(&invite, "ACK", value(&answer, "To")));
    ends(iut);
}

/// UA1 is dead: after its INVITE, or with the answer on its way.
fn the_caller_dies(answers: bool) {
    let (mut iut, _, got) = invited();
    if answers {
        iut.by_inside(UA2, &response(&got, "486 Busy Here", "ua2"));
    }
    ends(iut);
}

/// What comes after a final answer: `goes` says whether it goes on to UA1. §16.7 step 5: "After a final response has been
/// sent on the server transaction, the following responses MUST be forwarded immediately: Any 2xx response to an INVITE
/// request".
fn then(first: &str, second: &str, goes: bool) {
    let (mut iut, _, got) = invited();
    iut.by_inside(UA2, &response(&got, first, "ua2"));
    let sent = iut.by_inside(UA2, &response(&got, second, "ua2"));
    let begin = format!("SIP/2.0 {}", &second[..3]);
    if goes {
        _ = only(&sent, UA1, &begin)
    } else {
        none(&sent, UA1, "SIP/2.0")
    }
    ends(iut);
}

/// UA2 sends its refusal again: each is acknowledged, none goes on.
fn refusal_again(status: &str) {
    let (mut iut, _, got) = invited();
    iut.by_inside(UA2, &response(&got, status, "ua2"));
    for _ in 0..5 {
        let sent = iut.by_inside(UA2, &response(&got, status, "ua2"));
        only(&sent, UA2, "ACK ");
        none(&sent, UA1, "SIP/2.0");
    }
    ends(iut);
}

fn floods(status: &str) {
    let (mut iut, _, got) = invited();
    for _ in 0..50 {
        only(&iut.by_inside(UA2, &response(&got, status, "ua2")), UA1, &format!("SIP/2.0 {status}"));
    }
    ends(iut);
}

fn provisional_is_lost() {
    // UA1 does not get the 180: the 200 is not waited for in vain.
    let (mut iut, _, got) = invited();
    iut.by_inside(UA2, &response(&got, "180 Ringing", "ua2"));
    only(&iut.by_inside(UA2, &response(&got, "200 OK", "ua2")), UA1, "SIP/2.0 200 ");
    ends(iut);
}

/// A provisional response that cannot be read is none: the INVITE is sent again until its time is over.
fn malformed_provisional() {
    let (mut iut, _, got) = invited();
    let malformed = without(&response(&got, "180 Ringing", "ua2"), "CSeq");
    assert!(iut.by_inside(UA2, &malformed).is_empty());
    let sent = iut.pass(64 * T1_MS + LATE_MS);
    assert!(towards(&sent, UA2).len() >= 6);
    only(&sent, UA1, "SIP/2.0 408 ");
    ends(iut);
}

fn clients_of_rfc_2543() {
    for via in ["SIP/2.0/UDP 192.0.2.1:5060", "SIP/2.0/UDP 192.0.2.1:5060;branch=1"] {
        let mut iut = Iut::new();
        let invite = with(&request("INVITE", "sip:ua2@10.0.0.2"), "Via", via);
        let got = only(&iut.by_ua1(&invite), UA2, "INVITE ").to_owned();
        assert!(towards(&iut.by_ua1(&invite), UA2).is_empty(), "the same transaction");
        let sent = iut.by_inside(UA2, &response(&got, "486 Busy Here", "ua2"));
        let to = value(only(&sent, UA1, "SIP/2.0 486 "), "To").to_owned();
        assert!(iut.by_ua1(&same_transaction(&invite, "ACK", &to)).is_empty());
        ends(iut);
    }
}

/// RFC 3581 §4: the answer goes to where the request came from, and the Via says so.
fn rport() {
    let mut iut = Iut::new();
    let via = "SIP/2.0/UDP client.example.net:9;branch=z9hG4bKfirst;rport";
    let sent = iut.by_ua1(&with(&request("INVITE", "sip:ua2@10.0.0.2"), "Via", via));
    let got = only(&sent, UA2, "INVITE ");
    assert!(
        values(got, "Via")[1].contains("received=192.0.2.1") && values(got, "Via")[1].contains("rport=5060")
    );
    only(&iut.pass(200), UA1, "SIP/2.0 100 ");
}

/// RFC 3261 §8.1.1.7: the magic cookie is compared like all of a Via, without case.
fn branches_in_another_case() {
    for branch in ["Z9HG4BKUPPER", "z9hg4bklower"] {
        let mut iut = Iut::new();
        let invite = request("INVITE", "sip:ua2@10.0.0.2").replacen("z9hG4bKfirst", branch, 1);
        let got = only(&iut.by_ua1(&invite), UA2, "INVITE ").to_owned();
        assert!(values(&got, "Via")[1].contains(branch));
        only(&iut.by_inside(UA2, &response(&got, "200 OK", "ua2")), UA1, "SIP/2.0 200 ");
    }
}

/// A response with our Via missing, another one above, or a branch that we did not write, is nobody's (§16.7 step 1).
fn a_via_that_is_not_ours(change: fn(&str) -> String) {
    let (mut iut, _, got) = invited();
    let answer = change(&response(&got, "200 OK", "ua2"));
    assert!(iut.by_inside(UA2, &answer).is_empty(), "{answer}");
    only(&iut.by_inside(UA2, &response(&got, "200 OK", "ua2")), UA1, "SIP/2.0 200 ");
}

pub fn adds_via(answer: &str) -> String {
    answer.replacen("Via: ", "Via: SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKadded\r\nVia: ", 1)
}

pub fn changes_branch(answer: &str) -> String {
    answer.replacen("branch=z9hG4bKb", "branch=z9hG4bKx", 1)
}

pub fn removes_via(answer: &str) -> String {
    let (before, rest) = answer.split_once("Via: ").expect("a Via");
    let (_, after) = rest.split_once("\r\n").expect("another line");
    format!("{before}{after}")
}

fn method_of_another_request() {
    let (mut iut, _, got) = invited();
    let answer = with(&response(&got, "200 OK", "ua2"), "CSeq", "1 OPTIONS");
    assert!(iut.by_inside(UA2, &answer).is_empty());
    ends(iut);
}

/// §16.3 step 4: what comes back as it was sent has looped.
fn loops() {
    let (mut iut, _, got) = invited();
    only(&reflected(&mut iut, &got, "INVITE"), UA2, "SIP/2.0 482 ");
}

/// A name of ours without a location service.
fn nobody_here() {
    only(&Iut::new().by_ua1(&request("INVITE", "sip:nobody@proxy.example.net")), UA1, "SIP/2.0 404 ");
}

/// Early media: a 183 with a tag of its own goes on like any other.
fn early_media() {
    let (mut iut, _, got) = invited();
    for tag in ["a", "b"] {
        let sent = iut.by_inside(UA2, &response(&got, "183 Session Progress", tag));
        assert!(value(only(&sent, UA1, "SIP/2.0 183 "), "To").ends_with(&format!("tag={tag}")));
    }
}

fn info_in_a_call() {
    let (mut iut, _, ok) = call();
    let sent = iut.by_ua1(&in_dialog(&ok, "INFO", 2));
    let info = only(&sent, UA2, "INFO ").to_owned();
    only(&iut.by_inside(UA2, &response(&info, "200 OK", "ua2")), UA1, "SIP/2.0 200 ");
}

named_tests! {
    testInviteBasic => drop(call());
    testInviteCallerHangsUp => caller_hangs_up();
    testInviteCalleeHangsUp => callee_hangs_up();
    testInviteBusy => refused("486 Busy Here", "486");
    testInvite480Response => refused("480 Temporarily Unavailable", "480");
    testInvite488Response => refused("488 Not Acceptable Here", "488");
    testInvite500Response => refused("500 Server Internal Error", "500");
    testInvite503Response => refused("503 Service Unavailable", "500");
    testInvite600Response => refused("600 Busy Everywhere", "600");
    testInvite603Response => refused("603 Decline", "603");
    testInviteNotFound => refused("404 Not Found", "404");
    testBasic302 => refused("302 Moved Temporarily", "302");
    testInviteBasicRedirect => refused("302 Moved Temporarily", "302");
    testInvite407Dropped => refusal_is_lost();
    testInviteAck407Dropped => refusal_is_lost();
    testInviteNotFoundServerRetransmits => refusal_again("404 Not Found");
    testInviteServerRetransmits486 => refusal_again("486 Busy Here");
    testInviteServerRetransmits503 => refusal_again("503 Service Unavailable");
    testInviteServerRetransmits603 => refusal_again("603 Decline");
    testInviteClientSpamsAck407 => acks_to_a_refusal_end_here();
    testInviteClientSpamsAck200 => acks_to_a_2xx_go_on();
    testInviteClientLateAck => late_ack();
    testInviteClientMissedAck => missed_acks_have_the_2xx_again();
    testInviteClientMissedAck2 => missed_acks_have_the_2xx_again();
    testInviteClientRetransmissionsWithRecovery => first_invites_are_lost();
    testInviteClientRetransmitsAfter200 => the_caller_sends_again();
    testInviteClientSpamsInvite => the_caller_sends_again();
    testInviteClientDiesAfterFirstInvite => the_caller_dies(false);
    testInviteClientDiesAfterSecondInvite => the_caller_dies(true);
    testInviteServerDead => nobody_answers();
    testInvite1xxDropped => provisional_is_lost();
    testInvite2xxThen1xx => then("200 OK", "180 Ringing", false);
    testInvite2xxThen4xx => then("200 OK", "486 Busy Here", false);
    testInvite2xxThen6xx => then("200 OK", "603 Decline", false);
    testInvite4xxThen1xx => then("486 Busy Here", "180 Ringing", false);
    testInvite4xxThen2xx => then("486 Busy Here", "200 OK", true);
    testInvite6xxThen2xx => then("603 Decline", "200 OK", true);
    testInviteMultiple4xx => then("486 Busy Here", "404 Not Found", false);
    testInviteServerSends180After200 => then("200 OK", "180 Ringing", false);
    testInviteServerSpams180 => floods("180 Ringing");
    testInviteServerSpams200 => floods("200 OK");
    testInviteMalformed1xxWithTimeout => malformed_provisional();
    testInvite2543Tid => clients_of_rfc_2543();
    testInviteForRport => rport();
    testInviteBasicUpperCaseBranch => branches_in_another_case();
    testInviteUASAddsVia => a_via_that_is_not_ours(adds_via);
    testInviteUASChangesProxyBranch => a_via_that_is_not_ours(changes_branch);
    testInviteUASRemovesProxyVia => a_via_that_is_not_ours(removes_via);
    testInviteUnknownCSeq => method_of_another_request();
    testInviteNonInviteResponse => method_of_another_request();
    testInviteLoop => loops();
    testInviteNoSuchUser => nobody_here();
    testEarlyMedia => early_media();
    testInfo => info_in_a_call();
}
