//! SIP_CC_PR_TR_CL: client transactions, RFC 3261 §17.1 and §9.1.

use crate::iut::{
    LATE_MS, Sent, T1_MS, T2_MS, UA1, UA2, are, began, invited, none, only, request, response,
    same_transaction, towards, uri, value, values,
};
use crate::named_tests;

const TO: &str = "<sip:ua2@10.0.0.2>";

/// Milliseconds from one to the next, beginning with the send at 0.
fn intervals(sent: &[Sent], begin: &str) -> Vec<u64> {
    let times =
        towards(sent, UA2).into_iter().filter(|sent| sent.text.starts_with(begin)).map(|sent| sent.at_ms);
    let mut before = 0;
    times.map(|at| at - std::mem::replace(&mut before, at)).collect()
}

fn cancels_what_proceeds() {
    let (mut iut, invite, got) = invited();
    iut.by_inside(UA2, &response(&got, "180 Ringing", "ua2"));
    let sent = iut.by_ua1(&same_transaction(&invite, "CANCEL", TO));
    let cancel = only(&sent, UA2, "CANCEL ");
    assert_eq!(uri(cancel), uri(&got));
    for header in ["Call-ID", "To", "From"] {
        assert_eq!(value(cancel, header), value(&got, header));
    }
    assert_eq!(value(cancel, "CSeq"), "1 CANCEL");
}

fn cancels_nothing_that_has_not_been_heard_of() {
    let (mut iut, invite, _) = invited();
    none(&iut.by_ua1(&same_transaction(&invite, "CANCEL", TO)), UA2, "CANCEL");
    none(&iut.pass(T1_MS), UA2, "CANCEL");
}

fn cancels_nothing_that_is_answered_first() {
    let (mut iut, invite, got) = invited();
    iut.by_ua1(&same_transaction(&invite, "CANCEL", TO));
    let mut sent = iut.by_inside(UA2, &response(&got, "486 Busy Here", "ua2"));
    sent.extend(iut.pass(64 * T1_MS));
    none(&sent, UA2, "CANCEL");
}

fn acknowledges(status: &str) {
    let (mut iut, _, got) = invited();
    let answer = response(&got, status, "ua2");
    let sent = iut.by_inside(UA2, &answer);
    let ack = only(&sent, UA2, "ACK ");
    assert_eq!(uri(ack), uri(&got));
    for header in ["Call-ID", "From"] {
        assert_eq!(value(ack, header), value(&got, header));
    }
    assert_eq!(value(ack, "CSeq"), "1 ACK");
    assert_eq!(values(ack, "Via"), values(&got, "Via")[..1]);
    assert_eq!(value(ack, "To"), value(&answer, "To"));
}

fn proceeds_at_183() {
    let (mut iut, _, got) = invited();
    only(&iut.by_inside(UA2, &response(&got, "183 Session Progress", "ua2")), UA1, "SIP/2.0 183 ");
    // What is proceeding is not sent again.
    none(&iut.pass(4 * T1_MS), UA2, "INVITE");
}

fn timer_a(number: usize, expected_ms: u64) {
    let (mut iut, _, _) = invited();
    are(&intervals(&iut.pass(8 * T1_MS), "INVITE ")[number..=number], &[expected_ms]);
}

fn no_ack_after_timer_b() {
    let (mut iut, _, _) = invited();
    let sent = iut.pass(64 * T1_MS + LATE_MS);
    none(&sent, UA2, "ACK");
    only(&sent, UA1, "SIP/2.0 408 ");
}

fn not_sent_again_once_it_proceeds() {
    let (mut iut, _, got) = invited();
    iut.by_inside(UA2, &response(&got, "180 Ringing", "ua2"));
    none(&iut.pass(64 * T1_MS), UA2, "INVITE");
}

fn timer_e() {
    let (mut iut, _, _) = began("BYE");
    let times = intervals(&iut.pass(64 * T1_MS), "BYE ");
    are(&times[..5], &[T1_MS, 2 * T1_MS, 4 * T1_MS, T2_MS, T2_MS]);
}

fn nothing_after_timer_f() {
    let (mut iut, _, _) = began("BYE");
    iut.pass(64 * T1_MS + LATE_MS);
    none(&iut.pass(64 * T1_MS), UA2, "BYE");
}

fn timer_e_once_it_proceeds() {
    let (mut iut, _, got) = began("BYE");
    iut.pass(3 * T1_MS);
    iut.by_inside(UA2, &response(&got, "100 Trying", ""));
    // "If Timer E fires while in the "Proceeding" state, […] Timer E MUST be reset with a value of T2 seconds."
    let times = intervals(&iut.pass(3 * T2_MS), "BYE ");
    are(&times[1..], &[T2_MS, T2_MS]);
}

fn ends_by_timer_f() {
    let (mut iut, _, got) = began("BYE");
    iut.pass(64 * T1_MS + LATE_MS);
    // Nobody knows it any more: RFC 4320 has no 408 sent, and a late answer goes nowhere.
    let sent = iut.by_inside(UA2, &response(&got, "200 OK", "ua2"));
    assert!(sent.is_empty(), "{sent:#?}");
    iut.pass(64 * T1_MS);
    assert_eq!(iut.open(), 0);
    // Another BYE is another transaction.
    only(&iut.by_ua1(&request("BYE", "sip:ua2@10.0.0.2")), UA2, "BYE ");
}

named_tests! {
    SIP_CC_PR_TR_CL_V_001 => cancels_what_proceeds();
    SIP_CC_PR_TR_CL_V_003 => cancels_nothing_that_has_not_been_heard_of();
    SIP_CC_PR_TR_CL_V_005 => cancels_nothing_that_is_answered_first();
    SIP_CC_PR_TR_CL_V_007 => acknowledges("410 Gone");
    SIP_CC_PR_TR_CL_V_009 => acknowledges("603 Decline");
    SIP_CC_PR_TR_CL_V_011 => proceeds_at_183();
    SIP_CC_PR_TR_CL_TI_001 => timer_a(0, T1_MS);
    SIP_CC_PR_TR_CL_TI_003 => timer_a(1, 2 * T1_MS);
    SIP_CC_PR_TR_CL_TI_005 => no_ack_after_timer_b();
    SIP_CC_PR_TR_CL_TI_007 => not_sent_again_once_it_proceeds();
    SIP_CC_PR_TR_CL_TI_013 => timer_e();
    SIP_CC_PR_TR_CL_TI_015 => nothing_after_timer_f();
    SIP_CC_PR_TR_CL_TI_017 => timer_e_once_it_proceeds();
    SIP_CC_PR_TR_CL_TI_019 => ends_by_timer_f();
}
