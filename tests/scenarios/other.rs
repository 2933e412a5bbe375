//! Other requests than INVITE (RFC 3261 §17.1.2, §17.2.2; RFC 4320).

use crate::invite::{adds_via, changes_branch, removes_via};
use crate::iut::{
    Iut, LATE_MS, T1_MS, UA1, UA2, UA3, began, none, only, request, response, towards, value, values, with,
    without,
};
use crate::named_tests;

fn ends(mut iut: Iut) {
    iut.pass(300_000);
    assert_eq!(iut.open(), 0);
}

fn answered(status: &str, forwarded: &str) {
    let (mut iut, _, got) = began("MESSAGE");
    let sent = iut.by_inside(UA2, &response(&got, status, "ua2"));
    only(&sent, UA1, &format!("SIP/2.0 {forwarded} "));
    none(&sent, UA2, "ACK");
    ends(iut);
}

/// UA1 does not get the answer: it asks again.
fn answer_is_lost(status: &str) {
    let (mut iut, message, got) = began("MESSAGE");
    let begin = format!("SIP/2.0 {}", &status[..3]);
    let answer = only(&iut.by_inside(UA2, &response(&got, status, "ua2")), UA1, &begin).to_owned();
    for _ in 0..5 {
        let sent = iut.by_ua1(&message);
        assert_eq!(only(&sent, UA1, "SIP/2.0 "), answer);
        assert!(towards(&sent, UA2).is_empty());
    }
    ends(iut);
}

fn first_ones_are_lost() {
    let (mut iut, message, got) = began("MESSAGE");
    let sent = iut.pass(T1_MS + LATE_MS);
    assert_eq!(only(&sent, UA2, "MESSAGE "), got);
    assert!(towards(&iut.by_ua1(&message), UA2).is_empty());
    only(&iut.by_inside(UA2, &response(&got, "200 OK", "ua2")), UA1, "SIP/2.0 200 ");
    ends(iut);
}

/// RFC 4320 §4.2: no 408; who asks again after that is a new request.
fn nobody_answers() {
    let (mut iut, _, _) = began("MESSAGE");
    let sent = iut.pass(64 * T1_MS + LATE_MS);
    assert!(towards(&sent, UA2).len() >= 10);
    none(&sent, UA1, "SIP/2.0 4");
    ends(iut);
}

/// RFC 4320 §4.1: "An SIP element MUST NOT send any provisional response with a Status-Code other than 100 to a
/// non-INVITE request."
fn no_provisional(flood: usize) {
    let (mut iut, _, got) = began("MESSAGE");
    for _ in 0..flood {
        none(&iut.by_inside(UA2, &response(&got, "180 Ringing", "ua2")), UA1, "SIP/2.0");
    }
    only(&iut.by_inside(UA2, &response(&got, "200 OK", "ua2")), UA1, "SIP/2.0 200 ");
    ends(iut);
}

fn then(first: &str, second: &str) {
    let (mut iut, _, got) = began("MESSAGE");
    iut.by_inside(UA2, &response(&got, first, "ua2"));
    for _ in 0..10 {
        assert!(iut.by_inside(UA2, &response(&got, second, "ua2")).is_empty());
    }
    ends(iut);
}

fn floods_before_the_answer() {
    let (mut iut, message, got) = began("MESSAGE");
    for _ in 0..50 {
        assert!(iut.by_ua1(&message).is_empty());
    }
    only(&iut.by_inside(UA2, &response(&got, "200 OK", "ua2")), UA1, "SIP/2.0 200 ");
    ends(iut);
}

fn clients_of_rfc_2543() {
    for via in ["SIP/2.0/UDP 192.0.2.1:5060", "SIP/2.0/UDP 192.0.2.1:5060;branch=1"] {
        let mut iut = Iut::new();
        let message = with(&request("MESSAGE", "sip:ua2@10.0.0.2"), "Via", via);
        let got = only(&iut.by_ua1(&message), UA2, "MESSAGE ").to_owned();
        assert!(towards(&iut.by_ua1(&message), UA2).is_empty(), "the same transaction");
        let answer =
            only(&iut.by_inside(UA2, &response(&got, "200 OK", "ua2")), UA1, "SIP/2.0 200 ").to_owned();
        assert_eq!(only(&iut.by_ua1(&message), UA1, "SIP/2.0 "), answer);
        ends(iut);
    }
}

fn a_via_that_is_not_ours(change: fn(&str) -> String) {
    let (mut iut, _, got) = began("MESSAGE");
    assert!(iut.by_inside(UA2, &change(&response(&got, "200 OK", "ua2"))).is_empty());
    only(&iut.by_inside(UA2, &response(&got, "200 OK", "ua2")), UA1, "SIP/2.0 200 ");
}

fn malformed_provisional() {
    let (mut iut, _, got) = began("MESSAGE");
    assert!(iut.by_inside(UA2, &without(&response(&got, "100 Trying", ""), "CSeq")).is_empty());
    assert!(towards(&iut.pass(64 * T1_MS), UA2).len() >= 9, "it has not been heard of");
    ends(iut);
}

fn nobody_here() {
    let sent = Iut::new().by_ua1(&request("MESSAGE", "sip:nobody@proxy.example.net"));
    only(&sent, UA1, "SIP/2.0 404 ");
}

/// Comes back with another Request-URI: no loop.
fn spirals() {
    let (mut iut, _, got) = began("MESSAGE");
    let spiral = got.replacen("sip:ua2@10.0.0.2", "sip:ua3@10.0.0.3", 1);
    let sent = iut.by_inside(UA2, &spiral);
    let on = only(&sent, UA3, "MESSAGE sip:ua3@").to_owned();
    // Its answer goes the way back: through the proxy, to UA2.
    let sent = iut.by_inside(UA3, &response(&on, "200 OK", "ua3"));
    assert_eq!(values(only(&sent, UA2, "SIP/2.0 200 "), "Via").len(), 2);
}

fn method_of_another_request() {
    let (mut iut, _, got) = began("MESSAGE");
    let answer = with(&response(&got, "200 OK", "ua2"), "CSeq", "1 INFO");
    assert!(iut.by_inside(UA2, &answer).is_empty());
    let answer = with(&response(&got, "200 OK", "ua2"), "CSeq", "1 INVITE");
    assert!(iut.by_inside(UA2, &answer).is_empty());
    assert_eq!(
        value(only(&iut.by_inside(UA2, &response(&got, "200 OK", "ua2")), UA1, "SIP/2.0 "), "CSeq"),
        "1 MESSAGE"
    );
}

named_tests! {
    testNonInviteBusy => answered("486 Busy Here", "486");
    testNonInvite4xxResponse => answered("404 Not Found", "404");
    testNonInvite5xxResponse => answered("500 Server Internal Error", "500");
    testNonInvite6xxResponse => answered("603 Decline", "603");
    testNonInvite407Dropped => answer_is_lost("407 Proxy Authentication Required");
    testNonInvite200Dropped => answer_is_lost("200 OK");
    testNonInviteSpamRequestAfterResponse => answer_is_lost("200 OK");
    testNonInviteSpamRequestBeforeResponse => floods_before_the_answer();
    testNonInviteClientRetransmissionsWithRecovery => first_ones_are_lost();
    testNonInviteClientRetransmissionsWithTimeout => nobody_answers();
    testNonInviteDropped => first_ones_are_lost();
    testNonInviteServerRetransmission => then("200 OK", "200 OK");
    testNonInviteSpam200 => then("200 OK", "200 OK");
    testNonInviteSpam180 => no_provisional(50);
    testNonInviteWith180 => no_provisional(1);
    testNonInvite200then180 => then("200 OK", "180 Ringing");
    testNit2xxThen1xx => then("200 OK", "180 Ringing");
    testNit2xxThen4xx => then("200 OK", "404 Not Found");
    testNit4xxThen1xx => then("404 Not Found", "180 Ringing");
    testNit4xxThen2xx => then("404 Not Found", "200 OK");
    testNitMultiple4xx => then("404 Not Found", "486 Busy Here");
    testNit2543Tid => clients_of_rfc_2543();
    testNonInvite2543Tid => clients_of_rfc_2543();
    testNitUASAddsVia => a_via_that_is_not_ours(adds_via);
    testNitUASChangesProxyBranch => a_via_that_is_not_ours(changes_branch);
    testNitUASRemovesProxyVia => a_via_that_is_not_ours(removes_via);
    testNitMalformed1xxWithTimeout => malformed_provisional();
    testNonInviteNoContacts => nobody_here();
    testNonInviteSpiral => spirals();
    testNonInviteWithWrongMethodResponse => method_of_another_request();
    testNitInviteResponse => method_of_another_request();
    testNitDifferentNitResponse => method_of_another_request();
}
