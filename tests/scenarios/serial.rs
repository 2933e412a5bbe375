//! One callee after the other, on any 4xx or 5xx.

use crate::iut::{
    Iut, LATE_MS, Sent, T1_MS, UA1, UA2, UA3, in_dialog, none, only, request, response, same_transaction,
};
use crate::named_tests;

struct Serial {
    iut: Iut,
    invite: String,
    got: String,
}

impl Serial {
    fn new() -> Self {
        let mut iut = Iut::new();
        let invite = request("INVITE", "sip:serial@10.0.0.7");
        let sent = iut.by_ua1(&invite);
        let got = only(&sent, UA2, "INVITE ").to_owned();
        none(&sent, UA3, "INVITE");
        Self { iut, invite, got }
    }

    /// UA2 refuses: UA3's turn.
    fn refused(status: &str) -> (Self, String) {
        let mut serial = Self::new();
        let sent = serial.two(status);
        only(&sent, UA2, "ACK ");
        none(&sent, UA1, "SIP/2.0");
        let got = only(&sent, UA3, "INVITE ").to_owned();
        (serial, got)
    }

    fn two(&mut self, status: &str) -> Vec<Sent> {
        self.iut.by_inside(UA2, &response(&self.got, status, "ua2"))
    }

    fn three(&mut self, got: &str, status: &str) -> Vec<Sent> {
        self.iut.by_inside(UA3, &response(got, status, "ua3"))
    }

    fn ends(mut self) {
        self.iut.pass(500_000);
        assert_eq!(self.iut.open(), 0);
    }
}

/// UA2 refuses, UA3 answers: this goes to UA1.
fn then(first: &str, second: &str, expected: &str) {
    let (mut serial, got) = Serial::refused(first);
    let sent = serial.three(&got, second);
    only(&sent, UA1, &format!("SIP/2.0 {expected} "));
    serial.ends();
}

/// A 6xx ends the search (§16.7 step 5).
fn a_6xx_ends_it() {
    let mut serial = Serial::new();
    let sent = serial.two("603 Decline");
    none(&sent, UA3, "INVITE");
    only(&sent, UA1, "SIP/2.0 603 ");
    serial.ends();
}

fn hangs_up() {
    let (mut serial, got) = Serial::refused("486 Busy Here");
    let ok = only(&serial.three(&got, "200 OK"), UA1, "SIP/2.0 200 ").to_owned();
    only(&serial.iut.by_ua1(&in_dialog(&ok, "ACK", 1)), UA2, "ACK ");
    serial.ends();
}

/// The caller cancels while the second one rings: nobody else is asked.
fn cancels() {
    let (mut serial, got) = Serial::refused("486 Busy Here");
    serial.three(&got, "180 Ringing");
    let sent = serial.iut.by_ua1(&same_transaction(&serial.invite, "CANCEL", "<sip:ua2@10.0.0.2>"));
    only(&sent, UA3, "CANCEL ");
    none(&sent, UA2, "CANCEL");
    only(&serial.three(&got, "487 Request Terminated"), UA1, "SIP/2.0 487 ");
    // And while the first one does.
    let mut serial = Serial::new();
    serial.two("180 Ringing");
    only(
        &serial.iut.by_ua1(&same_transaction(&serial.invite, "CANCEL", "<sip:ua2@10.0.0.2>")),
        UA2,
        "CANCEL ",
    );
    let sent = serial.two("487 Request Terminated");
    none(&sent, UA3, "INVITE");
    only(&sent, UA1, "SIP/2.0 487 ");
    serial.ends();
}

/// UA2 is dead: after Timer B it is UA3's turn.
fn the_first_is_dead() {
    let mut serial = Serial::new();
    let sent = serial.iut.pass(64 * T1_MS + LATE_MS);
    none(&sent, UA1, "SIP/2.0 4");
    let got = only(&sent, UA3, "INVITE ").to_owned();
    only(&serial.three(&got, "200 OK"), UA1, "SIP/2.0 200 ");
    serial.ends();
}

fn spirals() {
    let (mut serial, got) = Serial::refused("486 Busy Here");
    let spiral = got.replacen("INVITE sip:serial@10.0.0.7", "INVITE sip:ua9@10.0.0.2", 1);
    let sent = serial.iut.by_inside(UA3, &spiral);
    only(&sent, UA2, "INVITE sip:ua9@10.0.0.2");
}

named_tests! {
    test2Serial => then("486 Busy Here", "200 OK", "200");
    testInviteSeqForkOneBusy => then("486 Busy Here", "200 OK", "200");
    testInviteSeqAllBusyContacts => then("486 Busy Here", "486 Busy Here", "486");
    testInviteSeqFork200And4xx => then("404 Not Found", "200 OK", "200");
    testInviteSeqFork200And5xx => then("500 Server Internal Error", "200 OK", "200");
    testInviteSeqFork4xxAnd5xx => then("404 Not Found", "500 Server Internal Error", "404");
    testInviteSeqFork4xx5xx6xx => then("404 Not Found", "603 Decline", "603");
    testInviteSeqForkAll4xxResponses => then("404 Not Found", "404 Not Found", "404");
    testInviteSeqForkAll5xxResponses => then("500 Server Internal Error", "500 Server Internal Error", "500");
    testInviteSeqFork6xxResponse => a_6xx_ends_it();
    testInviteSeqForkCallerHangsUp => hangs_up();
    testInviteSeqForkCalleeHangsUp => hangs_up();
    testInviteSeqForkCallerCancels => cancels();
    testInviteSeqForkThenSpiral => spirals();
    testInviteSpiralThenSeqFork => spirals();
    testInviteTransportFailure => the_first_is_dead();
}
