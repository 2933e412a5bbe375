//! Two callees at once (RFC 3261 §16.7 steps 5 to 10).

use crate::iut::{
    FORKED, Fork, LATE_MS, T1_MS, UA1, UA2, UA3, in_dialog, none, only, response, same_transaction, towards,
    value,
};
use crate::named_tests;

/// Both ring.
fn ring(fork: &mut Fork) {
    for which in 0..2 {
        only(&fork.answer(which, "180 Ringing"), UA1, "SIP/2.0 180 ");
    }
}

fn ends(mut fork: Fork) {
    fork.iut.pass(300_000);
    assert_eq!(fork.iut.open(), 0);
}

/// Of two final answers this one goes to UA1, and no other.
fn best_of(first: &str, second: &str, expected: &str) {
    for order in [[0, 1], [1, 0]] {
        let mut fork = Fork::new();
        let mut sent = fork.answer(order[0], first);
        sent.extend(fork.answer(order[1], second));
        sent.extend(fork.iut.pass(LATE_MS));
        let finals: Vec<&str> = towards(&sent, UA1).iter().map(|sent| &sent.text[8..11]).collect();
        assert_eq!(finals, [expected], "{first}, then {second}");
        ends(fork);
    }
}

/// One answers, the other is cancelled.
fn one_answers(rings: bool) {
    let mut fork = Fork::new();
    if rings {
        ring(&mut fork);
    }
    let sent = fork.answer(0, "200 OK");
    only(&sent, UA1, "SIP/2.0 200 ");
    if !rings {
        // §9.1: UA3 has to be heard of before.
        none(&sent, UA3, "CANCEL");
        return ends(fork);
    }
    let cancel = only(&sent, UA3, "CANCEL ").to_owned();
    fork.iut.by_inside(UA3, &response(&cancel, "200 OK", "ua3"));
    let sent = fork.answer(1, "487 Request Terminated");
    only(&sent, UA3, "ACK ");
    none(&sent, UA1, "SIP/2.0");
    ends(fork);
}

/// Both do, before the CANCEL arrives: both go on (§16.7 step 5), and the caller sees to the second.
fn both_answer(rings: bool) {
    let mut fork = Fork::new();
    if rings {
        ring(&mut fork);
    }
    let tags = [0, 1].map(|which| {
        let sent = fork.answer(which, "200 OK");
        value(only(&sent, UA1, "SIP/2.0 200 "), "To").to_owned()
    });
    assert_ne!(tags[0], tags[1]);
    ends(fork);
}

fn someone_hangs_up() {
    let mut fork = Fork::new();
    ring(&mut fork);
    let ok = only(&fork.answer(0, "200 OK"), UA1, "SIP/2.0 200 ").to_owned();
    only(&fork.iut.by_ua1(&in_dialog(&ok, "ACK", 1)), UA2, "ACK ");
    let sent = fork.iut.by_ua1(&in_dialog(&ok, "BYE", 2));
    let bye = only(&sent, UA2, "BYE ").to_owned();
    none(&sent, UA3, "BYE");
    only(&fork.iut.by_inside(UA2, &response(&bye, "200 OK", "ua2")), UA1, "SIP/2.0 200 ");
    ends(fork);
}

/// All that ring are cancelled; one 487 goes on.
fn the_caller_cancels() {
    let mut fork = Fork::new();
    ring(&mut fork);
    let sent = fork.iut.by_ua1(&same_transaction(&fork.invite, "CANCEL", "<sip:ua2@10.0.0.2>"));
    only(&sent, UA1, "SIP/2.0 200 ");
    FORKED.iter().for_each(|ua| _ = only(&sent, ua, "CANCEL "));
    none(&fork.answer(0, "487 Request Terminated"), UA1, "SIP/2.0");
    only(&fork.answer(1, "487 Request Terminated"), UA1, "SIP/2.0 487 ");
    ends(fork);
}

/// One is silent: what the other one said goes on when its time is over.
fn one_is_silent() {
    let mut fork = Fork::new();
    none(&fork.answer(0, "486 Busy Here"), UA1, "SIP/2.0");
    let sent = fork.iut.pass(64 * T1_MS + LATE_MS);
    let answer = only(&sent, UA1, "SIP/2.0 4");
    assert!(answer.starts_with("SIP/2.0 486 ") || answer.starts_with("SIP/2.0 408 "), "{answer}");
    ends(fork);
}

/// §16.7 step 10: a 6xx has the others cancelled; a 2xx that was on its way is better (step 5).
fn a_6xx_and_a_2xx(two_hundred_first: bool) {
    let mut fork = Fork::new();
    ring(&mut fork);
    let (first, second) =
        if two_hundred_first { ("200 OK", "603 Decline") } else { ("603 Decline", "200 OK") };
    let mut sent = fork.answer(0, first);
    sent.extend(fork.answer(1, second));
    only(&sent, UA1, "SIP/2.0 200 ");
    none(&sent, UA1, "SIP/2.0 603 ");
    ends(fork);
}

/// What is spiralling comes with another Request-URI: it is no loop, and its branches are others.
fn spirals() {
    let mut fork = Fork::new();
    let spiral = fork.got[0].replacen("INVITE sip:both@10.0.0.7", "INVITE sip:ua9@10.0.0.3", 1);
    let sent = fork.iut.by_inside(UA2, &spiral);
    only(&sent, UA3, "INVITE sip:ua9@10.0.0.3");
    let back = fork.got[0].replacen("INVITE sip:both@10.0.0.7", "INVITE sip:both@10.0.0.8", 1);
    let mut fork = Fork::new();
    let sent = fork.iut.by_inside(UA2, &back);
    FORKED.iter().for_each(|ua| _ = only(&sent, ua, "INVITE sip:both@10.0.0.8"));
}

fn a_late_ack() {
    let mut fork = Fork::new();
    ring(&mut fork);
    let ok = only(&fork.answer(0, "200 OK"), UA1, "SIP/2.0 200 ").to_owned();
    fork.answer(1, "487 Request Terminated");
    fork.iut.pass(70 * T1_MS);
    only(&fork.iut.by_ua1(&in_dialog(&ok, "ACK", 1)), UA2, "ACK ");
}

named_tests! {
    test2Parallel => one_answers(true);
    testInviteForkOneAnswers => one_answers(true);
    testInviteForkAllAnswerNo1xx => both_answer(false);
    testInviteForkBothAnswerNoProvisional => both_answer(false);
    testInviteForkMerges => both_answer(true);
    testInviteForkCallerHangsUp => someone_hangs_up();
    testInviteForkCalleeHangsUp => someone_hangs_up();
    testInviteForkCallerCancels => the_caller_cancels();
    testInviteForkThreeCallerCancels => the_caller_cancels();
    testInviteForkBothBusy => best_of("486 Busy Here", "486 Busy Here", "486");
    testInviteAllBusyContacts => best_of("486 Busy Here", "486 Busy Here", "486");
    testInviteForkOneBusy => best_of("486 Busy Here", "200 OK", "200");
    testInviteFork200And4xx => best_of("404 Not Found", "200 OK", "200");
    testInviteFork200And5xx => best_of("500 Server Internal Error", "200 OK", "200");
    testInviteFork4xxAnd5xx => best_of("404 Not Found", "500 Server Internal Error", "404");
    testInviteFork4xx5xx6xx => best_of("404 Not Found", "603 Decline", "603");
    testInviteForkAll4xxResponses => best_of("404 Not Found", "404 Not Found", "404");
    testInviteForkAll5xxResponses => best_of("500 Server Internal Error", "500 Server Internal Error", "500");
    testInviteForkAll6xxResponses => best_of("603 Decline", "603 Decline", "603");
    testInviteForkRedirect => best_of("302 Moved Temporarily", "486 Busy Here", "302");
    testInviteFork200Beats6xx => a_6xx_and_a_2xx(true);
    testInviteFork6xxBeats200 => a_6xx_and_a_2xx(false);
    testInviteForkThenSpiral => spirals();
    testInviteSpiralThenFork => spirals();
    testForkedInviteClientLateAck => a_late_ack();
}

#[test]
fn a_silent_branch_does_not_hold_the_others_answer_for_ever() {
    one_is_silent();
}
