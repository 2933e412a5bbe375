//! SIP_CC_PR_MP_RS without forking: RFC 3261 §16.7 and §16.11.

use crate::iut::{Iut, UA1, UA2, invited, only, request, response, values};
use crate::named_tests;

const UA1_VIA: &str = "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKfirst";

#[track_caller]
fn comes_back(iut: &mut Iut, got: &str, status: &str) {
    let sent = iut.by_inside(UA2, &response(got, status, "ua2"));
    let text = only(&sent, UA1, &format!("SIP/2.0 {status}"));
    assert_eq!(values(text, "Via"), [UA1_VIA]);
}

fn of_a_transaction(status: &str) {
    let (mut iut, _, got) = invited();
    comes_back(&mut iut, &got, status);
}

fn without_a_transaction() {
    // For a stateful proxy RFC 6026 §7.3 has undone this: "The proxy MUST NOT forward the response if there is no
    // matching transaction state machine." So it is asked of a stateless route, which has none.
    let mut iut = Iut::new();
    let sent = iut.by_ua1(&request("INVITE", "sip:stateless@10.0.0.2"));
    let got = only(&sent, UA2, "INVITE").to_owned();
    assert_eq!(iut.open(), 0);
    comes_back(&mut iut, &got, "200 OK");
}

named_tests! {
    SIP_CC_PR_MP_RS_V_001 => without_a_transaction();
    SIP_CC_PR_MP_RS_V_003 => without_a_transaction();
    SIP_CC_PR_MP_RS_V_005 => of_a_transaction("200 OK");
    SIP_CC_PR_MP_RS_V_013 => of_a_transaction("302 Moved Temporarily");
    SIP_CC_PR_MP_RS_V_015 => of_a_transaction("500 Server Internal Error");
    SIP_CC_PR_MP_RS_V_017 => of_a_transaction("603 Decline");
}
