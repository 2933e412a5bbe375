//! ACK, answers to it, and what has its transaction's name (RFC 3261 §17.1.1.3, §13.2.2.4).

use crate::iut::{
    Iut, UA1, UA2, in_dialog, invited, only, reflected, request, response, same_transaction, towards, value,
    with,
};
use crate::named_tests;

/// An ACK to a 2xx as UA2 got it, and the proxy.
fn to_a_2xx() -> (Iut, String, String) {
    let (mut iut, _, got) = invited();
    let sent = iut.by_inside(UA2, &response(&got, "200 OK", "ua2"));
    let ok = only(&sent, UA1, "SIP/2.0 200 ").to_owned();
    let ack = in_dialog(&ok, "ACK", 1);
    let on = only(&iut.by_ua1(&ack), UA2, "ACK ").to_owned();
    (iut, ack, on)
}

/// Nobody answers an ACK: what does goes no further than UA1, and keeps nothing here from ending.
fn answered(cseq: &str) {
    let (mut iut, _, on) = to_a_2xx();
    let answer = with(&response(&on, "200 OK", "ua2"), "CSeq", cseq);
    let sent = iut.by_inside(UA2, &answer);
    assert!(sent.len() <= 1 && towards(&sent, UA2).is_empty(), "{sent:#?}");
    iut.pass(300_000);
    assert_eq!(iut.open(), 0);
}

/// The ACK comes back from UA2 as it is, or as another request: it has looped, and an ACK is not answered.
fn comes_back(method: &str) {
    let (mut iut, _, on) = to_a_2xx();
    let sent = reflected(&mut iut, &on, method);
    if method == "ACK" {
        assert!(sent.is_empty(), "{sent:#?}");
    } else {
        only(&sent, UA2, "SIP/2.0 482 ");
    }
}

/// Another request has the same branch: RFC 3261 §17.2.3 tells them apart by the method.
fn shares_its_branch_with(method: &str) {
    let (mut iut, ack, _) = to_a_2xx();
    let other = with(&ack.replacen("ACK ", &format!("{method} "), 1), "CSeq", &format!("2 {method}"));
    let sent = iut.by_ua1(&other);
    let got = only(&sent, UA2, &format!("{method} ")).to_owned();
    only(&iut.by_inside(UA2, &response(&got, "200 OK", "ua2")), UA1, "SIP/2.0 200 ");
    only(&iut.by_ua1(&ack), UA2, "ACK ");
}

/// The ACK to a refusal is made here: what answers it is nobody's.
fn to_a_refusal_is_answered(cseq: &str) {
    let (mut iut, _, got) = invited();
    let sent = iut.by_inside(UA2, &response(&got, "486 Busy Here", "ua2"));
    let ack = only(&sent, UA2, "ACK ").to_owned();
    let answer = with(&response(&ack, "200 OK", "ua2"), "CSeq", cseq);
    assert!(iut.by_inside(UA2, &answer).is_empty());
    iut.pass(300_000);
    assert_eq!(iut.open(), 0);
}

fn to_a_refusal_comes_back(method: &str) {
    let (mut iut, _, got) = invited();
    let sent = iut.by_inside(UA2, &response(&got, "486 Busy Here", "ua2"));
    let ack = only(&sent, UA2, "ACK ").to_owned();
    let back = with(&ack.replacen("ACK ", &format!("{method} "), 1), "CSeq", &format!("1 {method}"));
    let sent = iut.by_inside(UA2, &back);
    assert!(towards(&sent, UA1).is_empty(), "{sent:#?}");
    iut.pass(300_000);
    assert_eq!(iut.open(), 0);
}

/// A request with the branch of an INVITE that was refused: its own transaction.
fn of_a_refusal_shares_its_branch_with(method: &str) {
    let (mut iut, invite, got) = invited();
    let sent = iut.by_inside(UA2, &response(&got, "486 Busy Here", "ua2"));
    let to = value(only(&sent, UA1, "SIP/2.0 486 "), "To").to_owned();
    if method != "INVITE" {
        let other = request(method, "sip:ua2@10.0.0.2");
        only(&iut.by_ua1(&other), UA2, &format!("{method} "));
    }
    assert!(iut.by_ua1(&same_transaction(&invite, "ACK", &to)).is_empty());
    iut.pass(300_000);
    assert_eq!(iut.open(), 0);
}

/// An ACK with another branch than its INVITE's is none of it: it goes on.
fn another_branch() {
    let (mut iut, invite, got) = invited();
    let sent = iut.by_inside(UA2, &response(&got, "486 Busy Here", "ua2"));
    let to = value(only(&sent, UA1, "SIP/2.0 486 "), "To").to_owned();
    let ack = same_transaction(&invite, "ACK", &to).replacen("z9hG4bKfirst", "z9hG4bKother", 1);
    only(&iut.by_ua1(&ack), UA2, "ACK ");
    // The refusal comes again until its own ACK does.
    assert!(!towards(&iut.pass(2_000), UA1).is_empty());
}

fn clients_of_rfc_2543() {
    for via in ["SIP/2.0/UDP 192.0.2.1:5060", "SIP/2.0/UDP 192.0.2.1:5060;branch=1"] {
        let mut iut = Iut::new();
        let sent = iut.by_ua1(&with(&request("ACK", "sip:ua2@10.0.0.2"), "Via", via));
        only(&sent, UA2, "ACK ");
    }
}

named_tests! {
    testAck200AndAckResponse => answered("1 ACK");
    testAck200AndInviteResponse => answered("1 INVITE");
    testAck200AndNitResponse => answered("1 OPTIONS");
    testAck200WithResponse => answered("1 ACK");
    testAck200InviteResponse => answered("1 INVITE");
    testAck200NitResponse => answered("1 OPTIONS");
    testNonInviteWithAck200 => answered("1 ACK");
    testAck200Reflected => comes_back("ACK");
    testAck200ReflectedAsInvite => comes_back("INVITE");
    testAck200ReflectedAsNit => comes_back("OPTIONS");
    testAck200AndInviteCollide => shares_its_branch_with("INVITE");
    testAck200AndNitCollide => shares_its_branch_with("INFO");
    testAckFailureAndAckResponse => to_a_refusal_is_answered("1 ACK");
    testAckFailureAndInviteResponse => to_a_refusal_is_answered("1 INVITE");
    testAckFailureAndNitResponse => to_a_refusal_is_answered("1 OPTIONS");
    testAckFailureWithResponse => to_a_refusal_is_answered("1 ACK");
    testAckFailureInviteResponse => to_a_refusal_is_answered("1 INVITE");
    testAckFailureNitResponse => to_a_refusal_is_answered("1 OPTIONS");
    testNonInviteWithAckFailure => to_a_refusal_is_answered("1 ACK");
    testAckFailureReflected => to_a_refusal_comes_back("ACK");
    testAckFailureReflectedAsInvite => to_a_refusal_comes_back("INVITE");
    testAckFailureReflectedAsNit => to_a_refusal_comes_back("OPTIONS");
    testAckFailureAndInviteCollide => of_a_refusal_shares_its_branch_with("INVITE");
    testAckFailureAndNitCollide => of_a_refusal_shares_its_branch_with("OPTIONS");
    testInviteBadAckTid1 => another_branch();
    testInviteBadAckTid2 => another_branch();
    testAck2543Tid => clients_of_rfc_2543();
}
