//! CANCEL, and what crosses it (RFC 3261 §9, §16.10).

use crate::iut::{
    Iut, LATE_MS, T1_MS, UA1, UA2, began, invited, none, only, response, same_transaction, value, with,
};
use crate::named_tests;

const TO: &str = "<sip:ua2@10.0.0.2>";

/// UA1 cancels an INVITE that was answered like this before, if at all: the proxy, what UA2 has got, the CANCEL.
fn cancelled(provisional: Option<&str>) -> (Iut, String, Option<String>) {
    let (mut iut, invite, got) = invited();
    if let Some(status) = provisional {
        iut.by_inside(UA2, &response(&got, status, "ua2"));
    }
    let sent = iut.by_ua1(&same_transaction(&invite, "CANCEL", TO));
    assert_eq!(value(only(&sent, UA1, "SIP/2.0 200 "), "CSeq"), "1 CANCEL");
    let cancel = sent.iter().find(|sent| sent.text.starts_with("CANCEL ")).map(|sent| sent.text.clone());
    (iut, got, cancel)
}

fn ends(mut iut: Iut) {
    iut.pass(300_000);
    assert_eq!(iut.open(), 0);
}

fn terminated(iut: &mut Iut, got: &str) {
    let sent = iut.by_inside(UA2, &response(got, "487 Request Terminated", "ua2"));
    only(&sent, UA1, "SIP/2.0 487 ");
    only(&sent, UA2, "ACK ");
}

fn while_it_rings() {
    let (mut iut, got, cancel) = cancelled(Some("180 Ringing"));
    let cancel = cancel.expect("it goes on at once");
    assert!(iut.by_inside(UA2, &response(&cancel, "200 OK", "ua2")).is_empty());
    terminated(&mut iut, &got);
    ends(iut);
}

/// §9.1: "If no provisional response has been received, the CANCEL request MUST NOT be sent".
fn before_anything_is_heard() {
    let (mut iut, got, cancel) = cancelled(None);
    assert_eq!(cancel, None);
    let sent = iut.by_inside(UA2, &response(&got, "180 Ringing", "ua2"));
    only(&sent, UA2, "CANCEL ");
    terminated(&mut iut, &got);
    ends(iut);
}

/// §9.1: after 64·T1 the INVITE counts as cancelled, whatever UA2 does.
fn no_487(provisional: Option<&str>) {
    let (mut iut, got, _) = cancelled(provisional);
    if provisional.is_none() {
        iut.by_inside(UA2, &response(&got, "180 Ringing", "ua2"));
    }
    let sent = iut.pass(64 * T1_MS + LATE_MS);
    only(&sent, UA1, "SIP/2.0 408 ");
    ends(iut);
}

fn nothing_is_ever_heard() {
    let (mut iut, _, _) = cancelled(None);
    let sent = iut.pass(64 * T1_MS + LATE_MS);
    none(&sent, UA2, "CANCEL");
    only(&sent, UA1, "SIP/2.0 408 ");
    ends(iut);
}

/// The answer was on its way when the CANCEL came: it goes on, and the CANCEL to nowhere.
fn crosses(status: &str, forwarded: &str) {
    let (mut iut, got, _) = cancelled(Some("180 Ringing"));
    only(&iut.by_inside(UA2, &response(&got, status, "ua2")), UA1, &format!("SIP/2.0 {forwarded} "));
    ends(iut);
}

/// It was answered before the CANCEL came: "the CANCEL request has no effect" (§9.2).
fn too_late(status: &str) {
    let (mut iut, invite, got) = invited();
    iut.by_inside(UA2, &response(&got, status, "ua2"));
    let sent = iut.by_ua1(&same_transaction(&invite, "CANCEL", TO));
    only(&sent, UA1, "SIP/2.0 200 ");
    none(&sent, UA2, "CANCEL");
    ends(iut);
}

/// §9.2: a CANCEL matches by its Via; what its CSeq says besides the method changes nothing.
fn another_number() {
    let (mut iut, invite, got) = invited();
    iut.by_inside(UA2, &response(&got, "180 Ringing", "ua2"));
    let cancel = with(&same_transaction(&invite, "CANCEL", TO), "CSeq", "7 CANCEL");
    let sent = iut.by_ua1(&cancel);
    only(&sent, UA1, "SIP/2.0 200 ");
    // Ours is made of the INVITE.
    assert_eq!(value(only(&sent, UA2, "CANCEL "), "CSeq"), "1 CANCEL");
}

/// The CANCEL's own answer is lost: it comes again, and so does the answer.
fn again() {
    let (mut iut, invite, _) = invited();
    let cancel = same_transaction(&invite, "CANCEL", TO);
    let answer = only(&iut.by_ua1(&cancel), UA1, "SIP/2.0 200 ").to_owned();
    for _ in 0..5 {
        assert_eq!(only(&iut.by_ua1(&cancel), UA1, "SIP/2.0 "), answer);
    }
}

/// §9.1: "A CANCEL request SHOULD NOT be sent to cancel a request other than INVITE": it is answered, and that is all.
fn of_another_request(status: Option<&str>) {
    let (mut iut, message, got) = began("MESSAGE");
    if let Some(status) = status {
        iut.by_inside(UA2, &response(&got, status, "ua2"));
    }
    let cancel = same_transaction(&message.replacen("MESSAGE ", "INVITE ", 1), "CANCEL", TO);
    let sent = iut.by_ua1(&cancel);
    only(&sent, UA1, "SIP/2.0 200 ");
    none(&sent, UA2, "CANCEL");
    ends(iut);
}

named_tests! {
    testInviteCallerCancels => while_it_rings();
    testInviteNoAnswerCancel => while_it_rings();
    testInviteCallerCancelsNo487 => no_487(Some("180 Ringing"));
    testCancelTimeout => no_487(Some("180 Ringing"));
    testInviteCancelBefore1xx => before_anything_is_heard();
    testInviteCancelBefore1xxNo487 => no_487(None);
    testInviteCancelBefore1xxNo487or1xx => nothing_is_ever_heard();
    testInviteCallerCancelsWithRace => crosses("200 OK", "200");
    testInvite200BeatsCancelClientSide => crosses("200 OK", "200");
    testInvite486BeatsCancelClientSide => crosses("486 Busy Here", "486");
    testInvite503BeatsCancelClientSide => crosses("503 Service Unavailable", "500");
    testInvite486BeatsCancelServerSide => too_late("486 Busy Here");
    testInvite503BeatsCancelServerSide => too_late("503 Service Unavailable");
    testInviteCancelCSeq => another_number();
    testCancelInviteCSeq => another_number();
    testNonInvite200ThenCancel => of_another_request(Some("200 OK"));
    testNonInvite400ThenCancel => of_another_request(Some("400 Bad Request"));
    testNonInvite500ThenCancel => of_another_request(Some("500 Server Internal Error"));
    testNonInviteWith180andCancel => of_another_request(Some("180 Ringing"));
}

#[test]
fn a_cancel_that_comes_again_is_answered_alike() {
    again();
}
