//! Requests that share the name of a transaction, come back, or are answered by what answers another (RFC 3261 §17.1.3,
//! §17.2.3, §16.3 step 4).

use crate::iut::{Iut, UA1, UA2, began, only, reflected, request, response, towards, with};
use crate::named_tests;

/// Two requests of different methods with one branch: each has its own transaction, and its own answer.
fn collide(first: &str, second: &str) {
    let (mut iut, _, got) = began(first);
    let other = request(second, "sip:ua2@10.0.0.2");
    let sent = iut.by_ua1(&other);
    let got_other = only(&sent, UA2, &format!("{second} ")).to_owned();
    only(&iut.by_inside(UA2, &response(&got_other, "200 OK", "ua2")), UA1, "SIP/2.0 200 ");
    only(&iut.by_inside(UA2, &response(&got, "200 OK", "ua2")), UA1, "SIP/2.0 200 ");
    iut.pass(300_000);
    assert_eq!(iut.open(), 0);
}

/// An ACK with the branch of a transaction that nobody has answered: it is not an answer's, and leaves it alone.
fn ack_collides(method: &str) {
    let (mut iut, _, got) = began(method);
    iut.by_ua1(&request("ACK", "sip:ua2@10.0.0.2"));
    only(&iut.by_inside(UA2, &response(&got, "200 OK", "ua2")), UA1, "SIP/2.0 200 ");
}

/// The answer's CSeq names another method, which has no transaction of this name.
fn answered_as(method: &str, other: &str) {
    let (mut iut, _, got) = began(method);
    let answer = with(&response(&got, "200 OK", "ua2"), "CSeq", &format!("1 {other}"));
    assert!(iut.by_inside(UA2, &answer).is_empty());
    only(&iut.by_inside(UA2, &response(&got, "200 OK", "ua2")), UA1, "SIP/2.0 200 ");
}

/// The request comes back from UA2, as it is or with another method: it has looped, or is an ACK, which nobody answers.
fn comes_back(method: &str, back_as: &str) {
    let (mut iut, _, got) = began(method);
    let sent = reflected(&mut iut, &got, back_as);
    if back_as == "ACK" {
        assert!(sent.is_empty(), "{sent:#?}");
    } else {
        only(&sent, UA2, "SIP/2.0 482 ");
    }
    only(&iut.by_inside(UA2, &response(&got, "200 OK", "ua2")), UA1, "SIP/2.0 200 ");
}

/// RFC 3261 §17.1.3 and §7.3.1: a server may have altered the case of a branch. What we read of ours is lower case, so
/// that such an answer is taken for what it says or for nobody's, but never for another's.
fn case_of_the_branch_altered(method: &str) {
    let (mut iut, _, got) = began(method);
    let answer = response(&got, "200 OK", "ua2");
    let at = answer.find("branch=z9hG4bK").expect("a branch") + "branch=z9hG4bK".len();
    let (before, after) = answer.split_at(at);
    let end = after.find([';', '\r']).expect("an end");
    let altered = format!("{before}{}{}", after[..end].to_uppercase(), &after[end..]);
    let sent: Vec<_> = iut.by_inside(UA2, &altered);
    assert!(towards(&sent, UA1).len() == sent.len() && sent.len() <= 1, "{sent:#?}");
    iut.by_inside(UA2, &answer);
    iut.pass(300_000);
    assert_eq!(iut.open(), 0);
}

/// The caller's branch comes back altered in case as well: the transaction is found by ours.
fn both_answered(first: &str, second: &str) {
    let mut iut = Iut::new();
    let got = [first, second].map(|method| {
        let sent = iut.by_ua1(&request(method, "sip:ua2@10.0.0.2"));
        only(&sent, UA2, &format!("{method} ")).to_owned()
    });
    for got in &got {
        only(&iut.by_inside(UA2, &response(got, "200 OK", "ua2")), UA1, "SIP/2.0 200 ");
    }
}

named_tests! {
    testInviteAndNitCollide => collide("INVITE", "OPTIONS");
    testNitAndInviteCollide => collide("OPTIONS", "INVITE");
    testNonInviteWithInviteCollision => collide("OPTIONS", "INVITE");
    testNitAndDifferentNitCollide => collide("OPTIONS", "INFO");
    testInviteAndAckCollide => ack_collides("INVITE");
    testNitAndAckCollide => ack_collides("OPTIONS");
    testInviteAckResponse => answered_as("INVITE", "ACK");
    testInviteAndAckResponse => answered_as("INVITE", "ACK");
    testInviteAndResponse => answered_as("INVITE", "MESSAGE");
    testInviteAndNitResponse => answered_as("INVITE", "OPTIONS");
    testNitAckResponse => answered_as("OPTIONS", "ACK");
    testNitAndAckResponse => answered_as("OPTIONS", "ACK");
    testNitAndResponse => answered_as("OPTIONS", "MESSAGE");
    testNitAndInviteResponse => answered_as("OPTIONS", "INVITE");
    testNitAndDifferentNitResponse => both_answered("OPTIONS", "INFO");
    testInviteReflectedAsAck => comes_back("INVITE", "ACK");
    testInviteReflectedAsNonInvite => comes_back("INVITE", "OPTIONS");
    testNitReflected => comes_back("OPTIONS", "OPTIONS");
    testNitReflectedAsAck => comes_back("OPTIONS", "ACK");
    testNitReflectedAsInvite => comes_back("OPTIONS", "INVITE");
    testNitReflectedAsDifferentNit => comes_back("OPTIONS", "INFO");
    testInviteBranchCaseAltered => case_of_the_branch_altered("INVITE");
    testNitBranchCaseAltered => case_of_the_branch_altered("OPTIONS");
}
