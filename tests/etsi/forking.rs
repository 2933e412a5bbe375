//! SIP_CC_PR_MP_RS with forking: RFC 3261 §16.7 steps 5 to 10. UA2 and UA3 are asked at once.

use crate::iut::{Fork, UA1, UA2, UA3, none, only, response, towards, uri, value, values, with};
use crate::named_tests;

/// The first answer waits, the second one has `expected` forwarded.
fn best_of(first: &str, second: &str, expected: &str) {
    let mut fork = Fork::new();
    let sent = fork.two(first);
    assert!(towards(&sent, UA1).is_empty(), "the other one may answer better: {sent:#?}");
    let sent = fork.three(second);
    let text = only(&sent, UA1, "SIP/2.0 ");
    assert!(text.starts_with(&format!("SIP/2.0 {expected} ")), "{text}");
}

fn provisional_passes_while_an_answer_waits(first: &str) {
    let mut fork = Fork::new();
    assert!(towards(&fork.two(first), UA1).is_empty());
    only(&fork.three("180 Ringing"), UA1, "SIP/2.0 180 ");
}

fn after_ringing(status: &str, passes: bool) {
    let mut fork = Fork::new();
    only(&fork.two("180 Ringing"), UA1, "SIP/2.0 180 ");
    let sent = fork.three(status);
    let begin = format!("SIP/2.0 {status}");
    if passes { _ = only(&sent, UA1, &begin) } else { none(&sent, UA1, "SIP/2.0 ") }
}

fn challenges_are_collected() {
    let mut fork = Fork::new();
    let challenge = |request: &str, tag: &str, realm: &str| {
        let text = response(request, "401 Unauthorized", tag);
        with(&text, "WWW-Authenticate", &format!("Digest realm=\"{realm}\", nonce=\"n\""))
    };
    let (one, other) = (challenge(&fork.got[0], "ua2", "two"), challenge(&fork.got[1], "ua3", "three"));
    assert!(towards(&fork.iut.by_inside(UA2, &one), UA1).is_empty());
    let sent = fork.iut.by_inside(UA3, &other);
    let text = only(&sent, UA1, "SIP/2.0 401 ");
    let mut realms = values(text, "WWW-Authenticate");
    realms.sort_unstable();
    assert_eq!(realms, ["Digest realm=\"three\", nonce=\"n\"", "Digest realm=\"two\", nonce=\"n\""]);
}

fn the_last_to_ring_is_cancelled() {
    let mut fork = Fork::new();
    let sent = fork.two("200 OK");
    only(&sent, UA1, "SIP/2.0 200 ");
    // It has not been heard of: "If no provisional response has been received, the CANCEL request MUST NOT be sent".
    none(&sent, UA3, "CANCEL");
    let sent = fork.three("180 Ringing");
    let cancel = only(&sent, UA3, "CANCEL ");
    assert_eq!(uri(cancel), uri(&fork.got[1]));
    for header in ["Call-ID", "From", "To"] {
        assert_eq!(value(cancel, header), value(&fork.got[1], header));
    }
    assert_eq!(value(cancel, "CSeq"), "1 CANCEL");
    assert_eq!(values(cancel, "Via"), values(&fork.got[1], "Via")[..1]);
}

fn a_global_failure_waits_for_the_others_to_end() {
    let mut fork = Fork::new();
    fork.three("180 Ringing");
    let sent = fork.two("603 Decline");
    // §16.7 step 5: "it is not immediately forwarded, but the stateful proxy cancels all client pending transactions".
    none(&sent, UA1, "SIP/2.0 6");
    only(&sent, UA3, "CANCEL ");
    let sent = fork.three("487 Request Terminated");
    only(&sent, UA1, "SIP/2.0 603 ");
}

named_tests! {
    SIP_CC_PR_MP_RS_V_019 => best_of("302 Moved Temporarily", "302 Moved Temporarily", "302");
    SIP_CC_PR_MP_RS_V_021 => best_of("302 Moved Temporarily", "500 Server Internal Error", "302");
    SIP_CC_PR_MP_RS_V_023 => best_of("486 Busy Here", "200 OK", "200");
    SIP_CC_PR_MP_RS_V_025 => best_of("486 Busy Here", "486 Busy Here", "486");
    SIP_CC_PR_MP_RS_V_027 => best_of("486 Busy Here", "407 Proxy Authentication Required", "407");
    SIP_CC_PR_MP_RS_V_029 => best_of("486 Busy Here", "420 Bad Extension", "420");
    SIP_CC_PR_MP_RS_V_031 => best_of("486 Busy Here", "500 Server Internal Error", "486");
    SIP_CC_PR_MP_RS_V_033 => challenges_are_collected();
    SIP_CC_PR_MP_RS_V_035 => best_of("500 Server Internal Error", "200 OK", "200");
    SIP_CC_PR_MP_RS_V_037 => best_of("500 Server Internal Error", "486 Busy Here", "486");
    SIP_CC_PR_MP_RS_V_041 => provisional_passes_while_an_answer_waits("302 Moved Temporarily");
    SIP_CC_PR_MP_RS_V_043 => provisional_passes_while_an_answer_waits("500 Server Internal Error");
    SIP_CC_PR_MP_RS_V_045 => after_ringing("200 OK", true);
    SIP_CC_PR_MP_RS_V_047 => after_ringing("302 Moved Temporarily", false);
    SIP_CC_PR_MP_RS_V_049 => after_ringing("500 Server Internal Error", false);
    SIP_CC_PR_MP_RS_V_051 => the_last_to_ring_is_cancelled();
    SIP_CC_PR_MP_RS_V_053 => a_global_failure_waits_for_the_others_to_end();
}

/// SIP_CC_PR_MP_RS_V_039 asks for the 503 itself, which §16.7 step 6 forbids: "In other words, forwarding a 503 means
/// that the proxy knows it cannot service any requests […]. If the only response that was received is a 503, the proxy
/// SHOULD generate a 500 response and forward that upstream."
#[test]
fn two_503_come_to_a_500() {
    best_of("503 Service Unavailable", "503 Service Unavailable", "500");
}
