//! SIP_CC_PR_TR_SE: server transactions, RFC 3261 §17.2, and the 100 of §16.2.

use crate::iut::{
    Iut, LATE_MS, Sent, T1_MS, T2_MS, T4_MS, UA1, UA2, are, began, invited, none, only, request, response,
    same_transaction, towards, value, values, with,
};
use crate::named_tests;

/// A top Via as clients of RFC 2543 write it: without a branch, or with one of no such meaning.
const OLD: [&str; 2] = ["SIP/2.0/UDP 192.0.2.1:5060", "SIP/2.0/UDP 192.0.2.1:5060;branch=1"];

const TO: &str = "<sip:ua2@10.0.0.2>";

/// A request with this top Via that went on: the proxy, the request, what UA2 got.
fn sent_on(method: &str, via: &str) -> (Iut, String, String) {
    let mut iut = Iut::new();
    let request = with(&request(method, "sip:ua2@10.0.0.2"), "Via", via);
    let got = only(&iut.by_ua1(&request), UA2, method).to_owned();
    (iut, request, got)
}

fn times(sent: &[Sent], begin: &str) -> Vec<u64> {
    towards(sent, UA1).into_iter().filter(|s| s.text.starts_with(begin)).map(|s| s.at_ms).collect()
}

/// RFC 3261 §17.2.1: "MUST generate a 100 (Trying) response unless it knows that the TU will generate a provisional or final
/// response within 200 ms".
const TRYING_MS: u64 = 200;

fn trying() -> String {
    let (mut iut, _, _) = invited();
    only(&iut.pass(TRYING_MS), UA1, "SIP/2.0 100 ").to_owned()
}

fn trying_has_no_tag() {
    assert_eq!(value(&trying(), "To"), TO);
}

fn trying_has_the_timestamp() {
    let mut iut = Iut::new();
    iut.by_ua1(&with(&request("INVITE", "sip:ua2@10.0.0.2"), "Timestamp", "54"));
    let sent = iut.pass(TRYING_MS);
    assert_eq!(value(only(&sent, UA1, "SIP/2.0 100 "), "Timestamp").split(' ').next(), Some("54"));
}

fn the_last_response_again(method: &str, via: &str, status: &str) {
    let (mut iut, request, got) = sent_on(method, via);
    let begin = format!("SIP/2.0 {status}");
    let first = only(&iut.by_inside(UA2, &response(&got, status, "ua2")), UA1, &begin).to_owned();
    let sent = iut.by_ua1(&request);
    assert_eq!(only(&sent, UA1, "SIP/2.0 "), first);
    none(&sent, UA2, method);
}

fn the_late_trying_again() {
    // RFC 4320 §4.1: the only provisional response to it is a 100, "and no sooner than Timer E is reset to T2".
    for via in OLD {
        let (mut iut, bye, _) = sent_on("BYE", via);
        let sent = iut.pass(T2_MS);
        let first = only(&sent, UA1, "SIP/2.0 100 ").to_owned();
        assert_eq!(only(&iut.by_ua1(&bye), UA1, "SIP/2.0 "), first);
    }
}

const FIRST: &str = "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKfirst";

/// §9.2 and §16.10: a proxy answers the CANCEL, has the INVITE cancelled, and UA2's 487 goes back.
fn cancelled(via: &str) {
    let (mut iut, invite, got) = sent_on("INVITE", via);
    iut.by_inside(UA2, &response(&got, "180 Ringing", "ua2"));
    let sent = iut.by_ua1(&same_transaction(&invite, "CANCEL", TO));
    assert_eq!(value(only(&sent, UA1, "SIP/2.0 200 "), "CSeq"), "1 CANCEL");
    only(&sent, UA2, "CANCEL ");
    let sent = iut.by_inside(UA2, &response(&got, "487 Request Terminated", "ua2"));
    assert_eq!(value(only(&sent, UA1, "SIP/2.0 487 "), "CSeq"), "1 INVITE");
}

/// UA2 refused it: the proxy, the INVITE, and its To with UA2's tag.
fn refused(via: &str) -> (Iut, String, String) {
    let (mut iut, invite, got) = sent_on("INVITE", via);
    let sent = iut.by_inside(UA2, &response(&got, "486 Busy Here", "ua2"));
    let to = value(only(&sent, UA1, "SIP/2.0 486 "), "To").to_owned();
    (iut, invite, to)
}

fn ack_ends_here() {
    for via in OLD {
        let (mut iut, invite, to) = refused(via);
        assert!(iut.by_ua1(&same_transaction(&invite, "ACK", &to)).is_empty());
        // And again, in Confirmed.
        assert!(iut.by_ua1(&same_transaction(&invite, "ACK", &to)).is_empty());
    }
}

fn completed_after_a_refusal() {
    let (mut iut, _, _) = refused(FIRST);
    // Sent again by itself: that is Completed.
    assert_eq!(times(&iut.pass(T1_MS + LATE_MS), "SIP/2.0 486 ").len(), 1);
}

fn timer_g() -> Vec<u64> {
    let (mut iut, _, _) = refused(FIRST);
    times(&iut.pass(64 * T1_MS), "SIP/2.0 486 ")
}

fn timer_h() {
    let (mut iut, _, _) = refused(FIRST);
    iut.pass(64 * T1_MS + LATE_MS);
    none(&iut.pass(64 * T1_MS), UA1, "SIP/2.0");
    assert_eq!(iut.open(), 0);
}

fn timer_i() {
    let (mut iut, invite, to) = refused(FIRST);
    iut.by_ua1(&same_transaction(&invite, "ACK", &to));
    iut.pass(T4_MS - 1);
    assert!(iut.by_ua1(&same_transaction(&invite, "ACK", &to)).is_empty(), "still Confirmed");
    iut.pass(100);
    // Nobody knows it any more: an ACK goes on like any other.
    only(&iut.by_ua1(&same_transaction(&invite, "ACK", &to)), UA2, "ACK ");
}

fn timer_j() {
    let (mut iut, bye, got) = began("BYE");
    iut.by_inside(UA2, &response(&got, "200 OK", "ua2"));
    for _ in 0..7 {
        iut.pass(4_500);
        only(&iut.by_ua1(&bye), UA1, "SIP/2.0 200 ");
    }
    iut.pass(1_000);
    // After 64·T1 it is a new request.
    only(&iut.by_ua1(&bye), UA2, "BYE ");
}

named_tests! {
    SIP_CC_PR_TR_SE_V_001 => _ = trying();
    SIP_CC_PR_TR_SE_V_003 => trying_has_no_tag();
    SIP_CC_PR_TR_SE_V_005 => trying_has_the_timestamp();
    SIP_CC_PR_TR_SE_V_007 => the_last_response_again("INVITE", OLD[0], "180 Ringing");
    SIP_CC_PR_TR_SE_V_009 => the_last_response_again("INVITE", FIRST, "486 Busy Here");
    SIP_CC_PR_TR_SE_V_011 => the_last_response_again("INVITE", OLD[1], "486 Busy Here");
    SIP_CC_PR_TR_SE_V_013 => the_late_trying_again();
    SIP_CC_PR_TR_SE_V_015 => the_last_response_again("BYE", FIRST, "200 OK");
    SIP_CC_PR_TR_SE_V_017 => the_last_response_again("BYE", OLD[1], "200 OK");
    SIP_CC_PR_TR_SE_V_019 => cancelled(FIRST);
    SIP_CC_PR_TR_SE_V_021 => cancelled(OLD[0]);
    SIP_CC_PR_TR_SE_V_023 => cancelled(OLD[1]);
    SIP_CC_PR_TR_SE_V_025 => ack_ends_here();
    SIP_CC_PR_TR_SE_V_027 => completed_after_a_refusal();
    SIP_CC_PR_TR_SE_TI_001 => are(&timer_g()[..1], &[T1_MS]);
    SIP_CC_PR_TR_SE_TI_003 => are(&timer_g()[1..4], &[3 * T1_MS, 7 * T1_MS, 7 * T1_MS + T2_MS]);
    SIP_CC_PR_TR_SE_TI_005 => timer_h();
    SIP_CC_PR_TR_SE_TI_007 => timer_i();
    SIP_CC_PR_TR_SE_TI_009 => timer_j();
}

/// SIP_CC_PR_TR_SE_V_009 for the answer of all forms of Via: none is another request.
#[test]
fn a_refusal_is_sent_again_to_all_forms_of_via() {
    for via in OLD.into_iter().chain([FIRST]) {
        the_last_response_again("INVITE", via, "486 Busy Here");
        assert!(values(via, "Via").is_empty());
    }
}
